"""Counters that put functions of their own in the place of torch's: calflops, flops-profiler and DeepSpeed.

All three come from one design: a replaced function works MACs out from its arguments and gives them to the module whose
hooks are around it. They differ in which functions they replace, and in their mistakes.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterator
from math import prod
from typing import Any, NamedTuple

from crosscheck.causes.declare import (
    TENSOR,
    PredictedFailure,
    argument,
    by_name,
    cause,
    given,
    has_lazy,
    has_scripted,
    is_one_of,
    predict_failure,
    products,
    real_macs,
    tensor,
    without_padding,
)
from crosscheck.records import CallRow, Census, ModuleRow, OpRow

_CONVS = "F.conv1d F.conv2d F.conv3d"
_TRANSPOSED = "F.conv_transpose1d F.conv_transpose2d F.conv_transpose3d"
_ATTENTION = "F.scaled_dot_product_attention"
_POOLS = [f"F.{kind}_pool{n}d" for kind in "avg max adaptive_avg adaptive_max".split() for n in (1, 2, 3)]


class _Tool(NamedTuple):
    """One of them."""

    name: str
    counted: frozenset[str]
    """Functions whose MACs it adds up."""
    sources: dict[str, str]
    """Where its source has a rule, or lacks one."""
    root: bool = True
    """Whether calls by the profiled module itself, in no module within, count."""
    split_twice: bool = False
    """Whether it divides by a transposed convolution's groups what is one group's already."""


def _functions(matrices: str, *others: str) -> frozenset[str]:
    return frozenset(f"F.linear {_CONVS} {_TRANSPOSED} {matrices} {' '.join(others)}".split())


_CALFLOPS = _Tool(
    "calflops",
    _functions("torch.matmul Tensor.matmul torch.addmm Tensor.addmm torch.baddbmm torch.einsum"),
    {
        "lazy": "calflops/calculate_pipline.py:135 (0.3.2)",
        "hooks": "calflops/calculate_pipline.py:87 (0.3.2)",
        "functions": "calflops/pytorch_ops.py:452-525 (0.3.2)",
        "einsum": "calflops/pytorch_ops.py:308 (0.3.2)",
        "matmul": "calflops/pytorch_ops.py:278 (0.3.2)",
        "same": "calflops/pytorch_ops.py:96-111 (0.3.2)",
        "linear": "calflops/pytorch_ops.py:37-40 (0.3.2)",
        "wrapper": "calflops/pytorch_ops.py:358-364 (0.3.2)",
        "parameters": "calflops/flops_counter.py:121 (0.3.2)",
        "unbatched": "calflops/pytorch_ops.py:84 (0.3.2)",
        "lists": "calflops/pytorch_ops.py:94-107 (0.3.2)",
        "scale": "calflops/pytorch_ops.py:246-250 (0.3.2)",
        "operands": "calflops/pytorch_ops.py:295 (0.3.2)",
        "binding": "calflops/pytorch_ops.py:67-79,312 (0.3.2)",
        "first": "calflops/pytorch_ops.py:230 (0.3.2)",
        "shared": "calflops/utils.py:278-282 (0.3.2)",
        "recurrent": "calflops/pytorch_ops.py:400,428 (0.3.2)",
        "packed": "calflops/pytorch_ops.py:401 (0.3.2)",
    },
    split_twice=True,
)
_FLOPS_PROFILER = _Tool(
    "flops-profiler",
    _functions(
        "torch.matmul Tensor.matmul torch.mm Tensor.mm torch.bmm Tensor.bmm torch.addmm Tensor.addmm torch.baddbmm "
        "Tensor.baddbmm torch.einsum"
    ),
    {
        "lazy": "flops_profiler/profiler.py:195 (0.1.2)",
        "hooks": "flops_profiler/profiler.py:104 (0.1.2)",
        "functions": "flops_profiler/profiler.py:1035-1130 (0.1.2)",
        "einsum": "flops_profiler/profiler.py:956 (0.1.2)",
        "matmul": "flops_profiler/profiler.py:926 (0.1.2)",
        "linear": "flops_profiler/profiler.py:680-683 (0.1.2)",
        "wrapper": "flops_profiler/profiler.py:1007-1012 (0.1.2)",
        "parameters": "flops_profiler/profiler.py:71 (0.1.2)",
        "unbatched": "flops_profiler/profiler.py:741 (0.1.2)",
        "lists": "flops_profiler/profiler.py:751-761 (0.1.2)",
        "scale": "flops_profiler/profiler.py:895-898 (0.1.2)",
        "operands": "flops_profiler/profiler.py:943 (0.1.2)",
        "binding": "flops_profiler/profiler.py:714-727,922,960 (0.1.2)",
        "shared": "flops_profiler/profiler.py:1397-1402 (0.1.2)",
        "recurrent": "flops_profiler/profiler.py:1219,1246 (0.1.2)",
        "packed": "flops_profiler/profiler.py:1220 (0.1.2)",
    },
    root=False,
)
_DEEPSPEED = _Tool(
    "deepspeed",
    _functions(
        "torch.matmul Tensor.matmul Tensor.__matmul__ torch.mm Tensor.mm torch.bmm Tensor.bmm torch.addmm Tensor.addmm "
        "torch.baddbmm torch.einsum",
        _ATTENTION,
    ),
    {
        "lazy": "deepspeed/profiling/flops_profiler/profiler.py:183 (0.19.8)",
        "hooks": "deepspeed/profiling/flops_profiler/profiler.py:104 (0.19.8)",
        "shared": "deepspeed/profiling/flops_profiler/profiler.py:1184-1185 (0.19.8)",
        "functions": "deepspeed/profiling/flops_profiler/profiler.py:890-973 (0.19.8)",
        "einsum": "deepspeed/profiling/flops_profiler/profiler.py:803 (0.19.8)",
        "matmul": "deepspeed/profiling/flops_profiler/profiler.py:773 (0.19.8)",
        "same": "deepspeed/profiling/flops_profiler/profiler.py:582-597 (0.19.8)",
        "linear": "deepspeed/profiling/flops_profiler/profiler.py:523-526 (0.19.8)",
        "wrapper": "deepspeed/profiling/flops_profiler/profiler.py:877-883 (0.19.8)",
        "unbatched": "deepspeed/profiling/flops_profiler/profiler.py:570 (0.19.8)",
        "lists": "deepspeed/profiling/flops_profiler/profiler.py:580-593 (0.19.8)",
        "operands": "deepspeed/profiling/flops_profiler/profiler.py:790 (0.19.8)",
        "binding": "deepspeed/profiling/flops_profiler/profiler.py:553-565,769,830 (0.19.8)",
        "first": "deepspeed/profiling/flops_profiler/profiler.py:721 (0.19.8)",
        "recurrent": "deepspeed/profiling/flops_profiler/profiler.py:1070,1097 (0.19.8)",
        "packed": "deepspeed/profiling/flops_profiler/profiler.py:1071 (0.19.8)",
    },
)
_TOOLS = (_CALFLOPS, _FLOPS_PROFILER, _DEEPSPEED)


# -- what they count of a call -----------------------------------------------------------------------------------------


def _calls(census: Census, tool: _Tool) -> Iterator[CallRow]:
    """Those whose MACs the tool adds up."""
    return (
        call
        for call in census.calls
        if call.function in tool.counted and (tool.root or not _is_root(census.modules[call.module]))
    )


def _by_the_model(census: Census, tool: _Tool) -> Iterator[CallRow]:
    """Those of a function that the tool counts, made by the model itself and not by the kernels of torch."""
    return (call for call in _calls(census, tool) if not call.kernel)


def _is_root(module: ModuleRow) -> bool:
    return any("" in paths for paths in module.paths)


def _charge(call: CallRow, tool: _Tool) -> int:
    """What a tool counts for all the calls of a row."""
    name = call.function.partition(".")[2]
    return call.count * _RULES[name.rstrip("123d") if name.startswith("conv") else name](call, tool)


def _linear(call: CallRow, tool: _Tool) -> int:
    return prod(tensor(call, 0, "input")) * tensor(call, 1, "weight")[0]


def _conv(call: CallRow, tool: _Tool) -> int:
    """By the size of the output as the tool works it out."""
    x, weight = tensor(call, 0, "input"), tensor(call, 1, "weight")
    sizes = call.out[2:]
    if argument(call, 4, "padding", 0) == "same":
        dilation = argument(call, 5, "dilation", 1)
        spans = [
            d * (kernel - 1)
            for kernel, d in zip(
                weight[2:], dilation if isinstance(dilation, tuple) else (dilation,) * len(weight[2:]), strict=True
            )
        ]
        sizes = tuple(n + 2 * (span // 2) - span for n, span in zip(x[2:], spans, strict=True))
    return x[0] * prod(sizes) * prod(weight)


def _conv_transpose(call: CallRow, tool: _Tool) -> int:
    x, weight = tensor(call, 0, "input"), tensor(call, 1, "weight")
    filters = weight[1]
    if tool.split_twice:
        filters //= argument(call, 6, "groups", 1)
    return prod(x) * filters * prod(weight[2:])


def _matmul(call: CallRow, tool: _Tool) -> int:
    return prod(tensor(call, 0, "input")) * tensor(call, 1, "other")[-1]


def _addmm(call: CallRow, tool: _Tool) -> int:
    return prod(tensor(call, 1, "mat1")) * tensor(call, 2, "mat2")[-1]


def _attention(call: CallRow, tool: _Tool) -> int:
    query, key, value = call.shapes[:3]
    return prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


_RULES: dict[str, Callable[[CallRow, _Tool], int]] = {
    "linear": _linear,
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    **dict.fromkeys("matmul __matmul__ mm bmm".split(), _matmul),
    **dict.fromkeys("addmm baddbmm".split(), _addmm),
    "scaled_dot_product_attention": _attention,
    "einsum": lambda call, tool: 0,
}


def _off(census: Census, tool: _Tool, names: str) -> int:
    """How far the rules of some functions are off, by the calls of the model outside of torch.vmap."""
    calls = (
        call
        for call in _by_the_model(census, tool)
        if call.function.partition(".")[2] in names.split() and call.mapped == 1
    )
    return sum(_charge(call, tool) - real_macs(call) for call in calls)


# -- causes ------------------------------------------------------------------------------------------------------------


def _of(
    tools: tuple[_Tool, ...], kind: str, summary: str, source: str
) -> Callable[[Callable[[Census, _Tool], int]], Callable[[Census, _Tool], int]]:
    """A cause for each tool: ``source`` is the key of its lines."""

    def add(predict: Callable[[Census, _Tool], int]) -> Callable[[Census, _Tool], int]:
        for tool in tools:
            words = summary.replace("TOOL", {"deepspeed": "DeepSpeed"}.get(tool.name, tool.name))
            cause(f"{tool.name}-{kind}", frozenset({tool.name}), words, tool.sources[source])(
                lambda census, tool=tool: predict(census, tool)  # type: ignore[misc]
            )
        return predict

    return add


@_of(
    (_CALFLOPS, _FLOPS_PROFILER),
    "attention",
    "scaled_dot_product_attention is none of the functions that TOOL replaces: attention counts as 0, silently.",
    "functions",
)
def _no_attention(census: Census, tool: _Tool) -> int:
    return -sum(row.macs for row in products(census) if _is_attention(row))


def _is_attention(row: OpRow) -> bool:
    return row.op == "attention"


_NO_RULE = (
    (
        _CALFLOPS,
        "Products by other ways than the functions that calflops replaces count as 0: a @ b, mm, bmm, "
        "Tensor.baddbmm, mv, LSTM and GRU.",
    ),
    (
        _FLOPS_PROFILER,
        "Products by other ways than the functions that flops-profiler replaces count as 0: a @ b, mv, LSTM and GRU.",
    ),
    (
        _DEEPSPEED,
        "Products by other ways than the functions that DeepSpeed replaces count as 0: Tensor.baddbmm, mv, LSTM "
        "and GRU.",
    ),
)


def _no_rule(census: Census, tool: _Tool) -> int:
    own = _ATTENTION in tool.counted
    replaced = sum(call.macs for call in census.calls if call.function in tool.counted)
    return replaced - sum(row.macs for row in products(census) if own or not _is_attention(row))


for _tool, _summary in _NO_RULE:
    _of((_tool,), "no-rule", _summary, "functions")(_no_rule)


@_of(
    _TOOLS,
    "einsum",
    "TOOL has FLOPs for torch.einsum, and 0 MACs.",
    "einsum",
)
def _einsum(census: Census, tool: _Tool) -> int:
    return -sum(real_macs(call) for call in _by_the_model(census, tool) if call.function == "torch.einsum")


@_of(
    _TOOLS,
    "vmap",
    "Inside of torch.vmap tensors show their shapes without the mapped dimension, by which TOOL counts.",
    "wrapper",
)
def _vmap(census: Census, tool: _Tool) -> int:
    calls = (call for call in _by_the_model(census, tool) if call.mapped > 1 and call.function != "torch.einsum")
    return sum(_charge(call, tool) - real_macs(call) for call in calls)


@_of(
    _TOOLS,
    "matmul",
    "TOOL multiplies the elements of the first operand by the last size of the second: too little where the first is "
    "broadcast, too much where the second is a vector.",
    "matmul",
)
def _matmul_off(census: Census, tool: _Tool) -> int:
    return _off(census, tool, "matmul __matmul__ mm bmm")


@_of(
    (_CALFLOPS, _DEEPSPEED),
    "same-padding",
    'With padding="same" torch pads an even kernel on one side more; TOOL does not, and finds an output one smaller.',
    "same",
)
def _same_padding(census: Census, tool: _Tool) -> int:
    return _off(census, tool, "conv1d conv2d conv3d")


@_of(
    (_FLOPS_PROFILER, _DEEPSPEED),
    "meta-kernels",
    "On meta many of torch's kernels are written in Python and call functions that TOOL has replaced: products count "
    "once more.",
    "wrapper",
)
def _kernels(census: Census, tool: _Tool) -> int:
    return sum(_charge(call, tool) for call in _calls(census, tool) if call.kernel)


@_of(
    _TOOLS,
    "complex-as-real",
    "A product of complex numbers counts as one multiply-add; it is four.",
    "linear",
)
def _complex(census: Census, tool: _Tool) -> int:
    return sum(real_macs(call) - call.macs for call in _calls(census, tool))


@_of(
    (_CALFLOPS, _FLOPS_PROFILER),
    "shared-module",
    "A module that several parents share is summed under each, with all of its calls.",
    "shared",
)
def _shared(census: Census, tool: _Tool) -> int:
    return sum((census.modules[call.module].visits - 1) * _charge(call, tool) for call in _calls(census, tool))


@_of(
    _TOOLS,
    "compiled",
    "A compiled module hands attributes on to the module inside it, so TOOL adds what that one counted to both.",
    "shared",
)
def _compiled(census: Census, tool: _Tool) -> int:
    inside = (call for call in _calls(census, tool) if _is_compiled(census.modules[call.module]))
    visits = ((census.modules[call.module].visits if tool is not _DEEPSPEED else 1, call) for call in inside)
    return sum(times * _charge(call, tool) for times, call in visits)


def _is_compiled(module: ModuleRow) -> bool:
    """Whether it is what torch.compile wrapped, by the name it has there."""
    return any(path.rpartition(".")[2] == "_orig_mod" for paths in module.paths for path in paths)


@cause(
    "calflops-transposed-groups",
    frozenset({"calflops"}),
    "The weight of a transposed convolution holds one group's filters, which calflops divides by the groups once more.",
    "calflops/pytorch_ops.py:140,161 (0.3.2)",
)
def _transposed_groups(census: Census) -> int:
    return _off(census, _CALFLOPS, "conv_transpose1d conv_transpose2d conv_transpose3d")


@cause(
    "deepspeed-attention-batch",
    frozenset({"deepspeed"}),
    "DeepSpeed counts attention by the query's leading sizes: too little where keys and values have more.",
    "deepspeed/profiling/flops_profiler/profiler.py:867-868 (0.19.8)",
)
def _attention_batch(census: Census) -> int:
    return _off(census, _DEEPSPEED, "scaled_dot_product_attention")


@cause(
    "flops-profiler-own-forward",
    frozenset({"flops-profiler"}),
    "flops-profiler calls forward itself, so that the hooks of the model do not run: functions that the model calls "
    "outside its children are lost, of an nn.Linear by itself all.",
    "flops_profiler/profiler.py:1507-1511,1009-1012 (0.1.2)",
)
def _own_forward(census: Census) -> int:
    tool = _FLOPS_PROFILER
    return -sum(c.macs for c in census.calls if c.function in tool.counted and _is_root(census.modules[c.module]))


@_of(
    _TOOLS,
    "padding",
    "In evaluation and without gradients nn.TransformerEncoder leaves out the tokens that its mask calls padding, on "
    "real tensors, and TOOL counts the others.",
    "linear",
)
def _padding(census: Census, tool: _Tool) -> int:
    seen = without_padding(census)
    calls = (call for call in _by_the_model(census, tool) if call.module in seen)
    return int(sum((seen[call.module] - 1) * _charge(call, tool) for call in calls))


# -- no number ---------------------------------------------------------------------------------------------------------


def _fails(
    tools: tuple[_Tool, ...], kind: str, summary: str, source: str, words: str, applies: Callable[[Census], bool]
) -> None:
    for tool in tools:
        predict_failure(
            PredictedFailure(
                name=f"{tool.name}-{kind}",
                summary=summary.replace("TOOL", {"deepspeed": "DeepSpeed"}.get(tool.name, tool.name)),
                source=tool.sources[source],
                backends=frozenset({tool.name}),
                words=re.compile(words),
                applies=applies,
            )
        )


_fails(
    _TOOLS,
    "lazy",
    "TOOL counts the parameters before the first forward, when those of a lazy module have no size.",
    "lazy",
    "Attempted to use an uninitialized parameter",
    has_lazy,
)
_fails(
    _TOOLS,
    "scripted",
    "TOOL registers hooks in every module, and a scripted one takes none.",
    "hooks",
    "is not supported on ScriptModules",
    has_scripted,
)


def _any(names: str, holds: Callable[[CallRow], bool]) -> Callable[[Census], bool]:
    return lambda census: any(call.function in names.split() and holds(call) for call in census.calls)


_fails(
    (_CALFLOPS, _FLOPS_PROFILER),
    "no-parameters",
    "TOOL asks the first parameter for its device, and a module without parameters has none.",
    "parameters",
    "^StopIteration",
    lambda census: not any(module.params for module in census.modules),
)


def _is_unbatched(call: CallRow) -> bool:
    x, weight = tensor(call, 0, "input"), tensor(call, 1, "weight")
    return len(x) < len(weight) and weight[1] * argument(call, 6, "groups", 1) != x[1]


_fails(
    _TOOLS,
    "unbatched-convolution",
    "TOOL takes the second size of a convolution's input for its channels, which without a batch are the first.",
    "unbatched",
    "^AssertionError",
    _any(_CONVS, _is_unbatched),
)
_fails(
    _TOOLS,
    "convolution-lists",
    "TOOL takes a stride, padding or dilation that is no tuple for one number: a list is none.",
    "lists",
    "^TypeError: (unsupported operand type|can't multiply|can only concatenate)",
    _any(
        _CONVS,
        lambda call: any(
            isinstance(argument(call, at, name), list) for at, name in ((3, "stride"), (4, "padding"), (5, "dilation"))
        ),
    ),
)


def _scale(call: CallRow) -> Any:
    """The scale factor that counts: where a size is given, none does."""
    return None if argument(call, 1, "size") is not None else argument(call, 2, "scale_factor")


def _batch(call: CallRow) -> int:
    return tensor(call, 0, "input")[0]


def _takes_several_for_one(call: CallRow) -> bool:
    scale = _scale(call)
    return isinstance(scale, list) or (isinstance(scale, tuple) and len(scale) != _batch(call))


_SCALE_FACTORS = (
    "scale-factors",
    "TOOL compares the number of scale factors with the batch; where it is another, it takes them for one number.",
    "scale",
    r"^TypeError: unsupported operand type\(s\) for \*\* or pow\(\): '(tuple|list)'",
)
_fails((_CALFLOPS,), *_SCALE_FACTORS, _any("F.interpolate F.upsample", _takes_several_for_one))
_fails(
    (_FLOPS_PROFILER,),
    *_SCALE_FACTORS,  # where it is given by position, it fails before
    _any("F.interpolate F.upsample", lambda call: len(given(call)[0]) == 1 and _takes_several_for_one(call)),
)
_fails(
    _TOOLS,
    "einsum-list",
    "TOOL takes what follows the equation of an einsum for its operands, where it may be a list of them.",
    "operands",
    "^AttributeError: '(list|tuple)' object has no attribute 'shape'",
    _any("torch.einsum", lambda call: any(word in ("list", "tuple") for word in call.arguments)),
)
_fails(
    _TOOLS,
    "einsum-sublists",
    "TOOL takes the first argument of an einsum for its equation, where it may be an operand and lists follow each.",
    "operands",
    "^AttributeError: 'Tensor' object has no attribute 'replace'",
    _any("torch.einsum", lambda call: call.arguments[0] == TENSOR),
)

#: Signatures of the functions that work FLOPs out, where they take less than torch's own.
_SIGNATURES: dict[str, Callable[..., None]] = {
    "F.gelu": lambda input, **kwargs: None,
    **dict.fromkeys(_POOLS, lambda input, kernel_size, stride=None, padding=0, dilation=None, ceil_mode=False,
                            count_include_pad=True, divisor_override=None, return_indices=None: None),
    **dict.fromkeys(("torch.mm", "torch.bmm"), lambda input, other, *, out=None: None),
    "torch.baddbmm": lambda self, mat1, mat2, *, beta=1, alpha=1, out=None: None,
}  # fmt: skip


def _unbound(call: CallRow, signature: Callable[..., None]) -> bool:
    positional, named = given(call)
    try:
        inspect.signature(signature).bind(*positional, **named)
    except TypeError:
        return True
    return False


def _any_unbound(census: Census, tool: _Tool) -> bool:
    return any(
        _unbound(call, _SIGNATURES[call.function])
        for call in census.calls
        if call.function in _SIGNATURES and (call.function.startswith("F.") or call.function in tool.counted)
    )


for _tool in _TOOLS:
    _fails(
        (_tool,),
        "arguments",
        "The functions of TOOL take fewer arguments than torch's, or by other names: gelu's approximation by position, "
        "the output size of a pool by name, the operands of mm, bmm and baddbmm by name.",
        "binding",
        r"^TypeError: _\w+_flops_compute\(\) (missing|takes|got)",
        functools.partial(_any_unbound, tool=_tool),
    )
predict_failure(
    PredictedFailure(
        name="deepspeed-attention-by-name",
        summary="DeepSpeed's function takes query, key and value by position alone; by name, as in diffusers, they are "
        "missing.",
        source="deepspeed/profiling/flops_profiler/profiler.py:863 (0.19.8)",
        backends=frozenset({"deepspeed"}),
        words=re.compile(r"^TypeError: _attn_flops_compute\(\) missing"),
        applies=_any(_ATTENTION, lambda call: given(call)[0][:3] != [TENSOR] * 3),
    )
)
predict_failure(
    PredictedFailure(
        name="flops-profiler-transposed-convolution",
        summary="flops-profiler misspells groups, so that every transposed convolution ends in a NameError.",
        source="flops_profiler/profiler.py:813 (0.1.2)",
        backends=frozenset({"flops-profiler"}),
        words=re.compile("^NameError: name 'grofups'"),
        applies=_any(_TRANSPOSED, lambda call: True),
    )
)
predict_failure(
    PredictedFailure(
        name="flops-profiler-named-padding",
        summary='flops-profiler reckons with padding="same" and "valid" as with numbers.',
        source="flops_profiler/profiler.py:751,757-760 (0.1.2)",
        backends=frozenset({"flops-profiler"}),
        words=re.compile("^TypeError: unsupported operand type"),
        applies=_any(_CONVS, lambda call: isinstance(argument(call, 4, "padding"), str)),
    )
)
predict_failure(
    PredictedFailure(
        name="flops-profiler-upsample",
        summary="flops-profiler takes the size and scale of an interpolation by name alone; nn.Upsample gives them by "
        "position.",
        source="flops_profiler/profiler.py:885 (0.1.2)",
        backends=frozenset({"flops-profiler"}),
        words=re.compile(r"^TypeError: _upsample_flops_compute\(\) takes 1 positional argument"),
        applies=_any("F.interpolate F.upsample", lambda call: len(given(call)[0]) > 1),
    )
)
_fails(
    (_CALFLOPS, _DEEPSPEED),
    "interpolate-by-name",
    "TOOL takes the input of an interpolation by position alone.",
    "first",
    "^IndexError: tuple index out of range",
    _any("F.interpolate F.upsample", lambda call: not given(call)[0]),
)


def _hooked(census: Census, tool: _Tool) -> Iterator[ModuleRow]:
    """Modules whose own hooks run."""
    return (module for module in census.modules if tool.root or not _is_root(module))


_RECURRENT = "RNN GRU LSTM RNNCell GRUCell LSTMCell"
for _tool in _TOOLS:
    _fails(
        (_tool,),
        "recurrent-by-name",
        "TOOL has hooks for recurrent layers, which take the input by position, and hooks are given none by name.",
        "recurrent",
        "^IndexError: tuple index out of range",
        lambda census, tool=_tool: any(by_name(module, _RECURRENT) for module in _hooked(census, tool)),  # type: ignore[misc]
    )
    _fails(
        (_tool,),
        "packed-sequence",
        "TOOL asks the input of a recurrent layer for its shape, and a packed sequence has none.",
        "packed",
        "^AttributeError: 'PackedSequence' object has no attribute 'shape'",
        lambda census, tool=_tool: any(  # type: ignore[misc]
            module.packed_outputs and is_one_of(module, _RECURRENT) for module in _hooked(census, tool)
        ),
    )
