"""Counters that put functions of their own in the place of torch's: calflops, flops-profiler and DeepSpeed.

All three come from one design: a replaced function works MACs out from its arguments and gives them to the module whose
hooks are around it. They differ in which functions they replace, and in their mistakes. Here is what several share; the
file of each says what of it is so in which lines of its source, under which name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod
from typing import NamedTuple, TypeVar

from crosscheck.causes.reading import argument, products, real_macs, tensor, without_padding
from crosscheck.causes.tool import Cause, PredictedFailure, Tool
from crosscheck.records import CallRow, Census, ModuleRow, OpRow

CONVS = "F.conv1d F.conv2d F.conv3d"
TRANSPOSED = "F.conv_transpose1d F.conv_transpose2d F.conv_transpose3d"
ATTENTION = "F.scaled_dot_product_attention"


class Counter(NamedTuple):
    """One of them."""

    tool: Tool
    title: str
    """As sentences have it."""
    counted: frozenset[str]
    """Functions whose MACs it adds up."""
    root: bool = True
    """Whether calls by the profiled module itself, in no module within, count."""
    split_twice: bool = False
    """Whether it divides by a transposed convolution's groups what is one group's already."""
    sums_by_parent: bool = True
    """Whether it sums a module that several parents share under each of them."""

    def cause(self, name: str, reason: Reason, source: str) -> None:
        """Declare a cause that it has in common with others. Raises as `Tool.cause`."""
        summary = reason.summary.replace("TOOL", self.title)
        self.tool.cause(name, summary, source)(lambda census: reason.predict(census, self))

    def fails(self, name: str, refusal: Refusal, source: str) -> None:
        """Declare a failure that it has in common with others. Raises as `Tool.fails`."""
        summary = refusal.summary.replace("TOOL", self.title)
        self.tool.fails(name, summary, source, words=refusal.words)(lambda census: refusal.applies(census, self))


class Reason(NamedTuple):
    """A cause that several have in common; TOOL stands for each."""

    summary: str
    predict: Callable[[Census, Counter], int]


class Refusal(NamedTuple):
    """A failure that several have in common; TOOL stands for each."""

    summary: str
    words: str
    """A regular expression for the counter's own words."""
    applies: Callable[[Census, Counter], bool]


def reason(summary: str) -> Callable[[Callable[[Census, Counter], int]], Reason]:
    """Make the decorated function what a `Reason` predicts, in MACs."""
    return lambda predict: Reason(summary, predict)


def refusal(summary: str, words: str) -> Callable[[Callable[[Census, Counter], bool]], Refusal]:
    """Make the decorated function tell where a `Refusal` applies."""
    return lambda applies: Refusal(summary, words, applies)


def functions(matrices: str, *others: str) -> frozenset[str]:
    """The functions that all three replace, with some for products of matrices and others."""
    return frozenset(f"F.linear {CONVS} {TRANSPOSED} {matrices} {' '.join(others)}".split())


# -- what they count of a call -----------------------------------------------------------------------------------------


def _calls(census: Census, counter: Counter) -> Iterator[CallRow]:
    """The calls whose MACs the tool adds up."""
    return (
        call
        for call in census.calls
        if call.function in counter.counted and (counter.root or not is_root(census.modules[call.module]))
    )


def by_the_model(census: Census, counter: Counter) -> Iterator[CallRow]:
    """Calls of a function that the tool counts, made by the model itself and not by torch's kernels."""
    return (call for call in _calls(census, counter) if not call.kernel)


def is_root(module: ModuleRow) -> bool:
    """Whether it is the one that is profiled."""
    return any("" in paths for paths in module.paths)


def _charge(call: CallRow, counter: Counter) -> int:
    """The charge of a tool for all the calls of a row."""
    name = call.function.partition(".")[2]
    return call.count * _RULES[name.rstrip("123d") if name.startswith("conv") else name](call, counter)


def _linear(call: CallRow, counter: Counter) -> int:
    return prod(tensor(call, 0, "input")) * tensor(call, 1, "weight")[0]


def _conv(call: CallRow, counter: Counter) -> int:
    """MACs of a convolution by the size of the output as the tool works it out."""
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


def _conv_transpose(call: CallRow, counter: Counter) -> int:
    x, weight = tensor(call, 0, "input"), tensor(call, 1, "weight")
    filters = weight[1]
    if counter.split_twice:
        filters //= argument(call, 6, "groups", 1)
    return prod(x) * filters * prod(weight[2:])


def _matmul(call: CallRow, counter: Counter) -> int:
    return prod(tensor(call, 0, "input")) * tensor(call, 1, "other")[-1]


def _addmm(call: CallRow, counter: Counter) -> int:
    return prod(tensor(call, 1, "mat1")) * tensor(call, 2, "mat2")[-1]


def _attention(call: CallRow, counter: Counter) -> int:
    query, key, value = call.shapes[:3]
    return prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


_RULES: dict[str, Callable[[CallRow, Counter], int]] = {
    "linear": _linear,
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    **dict.fromkeys("matmul __matmul__ mm bmm".split(), _matmul),
    **dict.fromkeys("addmm baddbmm".split(), _addmm),
    "scaled_dot_product_attention": _attention,
    "einsum": lambda call, counter: 0,
}


def off(census: Census, counter: Counter, names: str) -> int:
    """MACs by which the rules of the functions ``names`` are off, over the model's calls outside of torch.vmap."""
    calls = (
        call
        for call in by_the_model(census, counter)
        if call.function.partition(".")[2] in names.split() and call.mapped == 1
    )
    return sum(_charge(call, counter) - real_macs(call) for call in calls)


# -- causes ------------------------------------------------------------------------------------------------------------


@reason("scaled_dot_product_attention is none of the functions that TOOL replaces: attention counts as 0, silently.")
def attention(census: Census, counter: Counter) -> int:
    return -sum(row.macs for row in products(census) if _is_attention(row))


def _is_attention(row: OpRow) -> bool:
    return row.op == "attention"


def no_rule(census: Census, counter: Counter) -> int:
    """MACs, below 0, of products by other ways than what it replaces; of attention too, where it replaces that."""
    own = ATTENTION in counter.counted
    replaced = sum(call.macs for call in census.calls if call.function in counter.counted)
    return replaced - sum(row.macs for row in products(census) if own or not _is_attention(row))


@reason("TOOL has FLOPs for torch.einsum, and 0 MACs.")
def einsum_without_macs(census: Census, counter: Counter) -> int:
    return -sum(real_macs(call) for call in by_the_model(census, counter) if call.function == "torch.einsum")


@reason("Inside of torch.vmap tensors show their shapes without the mapped dimension, by which TOOL counts.")
def vmap(census: Census, counter: Counter) -> int:
    calls = (call for call in by_the_model(census, counter) if call.mapped != 1 and call.function != "torch.einsum")
    return sum(_charge(call, counter) - real_macs(call) for call in calls)


@reason(
    "TOOL multiplies the elements of the first operand by the last size of the second: too little where the first is "
    "broadcast, too much where the second is a vector, or sparse."
)
def matmul(census: Census, counter: Counter) -> int:
    return off(census, counter, "matmul __matmul__ mm bmm")


@reason(
    "TOOL multiplies the elements of the input by the first size of the weight: too much where the weight is a vector, "
    "whose length that is, or sparse."
)
def linear(census: Census, counter: Counter) -> int:
    return off(census, counter, "linear")


@reason(
    'With padding="same" torch pads an even kernel on one side more; TOOL does not, and finds an output one smaller.'
)
def same_padding(census: Census, counter: Counter) -> int:
    return off(census, counter, "conv1d conv2d conv3d")


@reason(
    "On meta many of torch's kernels are written in Python and call functions that TOOL has replaced: products count "
    "once more."
)
def meta_kernels(census: Census, counter: Counter) -> int:
    return sum(_charge(call, counter) for call in _calls(census, counter) if call.kernel)


@reason("A product of complex numbers counts as one multiply-add; it is four.")
def complex_as_real(census: Census, counter: Counter) -> int:
    return sum(real_macs(call) - call.macs for call in _calls(census, counter))


@reason("A module that several parents share is summed under each, with all of its calls.")
def shared_module(census: Census, counter: Counter) -> int:
    return sum((census.modules[call.module].visits - 1) * _charge(call, counter) for call in _calls(census, counter))


@reason("A compiled module hands attributes on to the module inside it, so TOOL adds what that one counted to both.")
def compiled(census: Census, counter: Counter) -> int:
    inside = (call for call in _calls(census, counter) if _is_compiled(census.modules[call.module]))
    visits = ((census.modules[call.module].visits if counter.sums_by_parent else 1, call) for call in inside)
    return sum(times * _charge(call, counter) for times, call in visits)


def _is_compiled(module: ModuleRow) -> bool:
    """Whether it is what torch.compile wrapped, by the name it has there."""
    return any(path.rpartition(".")[2] == "_orig_mod" for paths in module.paths for path in paths)


@reason(
    "In evaluation and without gradients nn.TransformerEncoder leaves out the tokens that its mask calls padding, on "
    "real tensors, and TOOL counts the others."
)
def padding(census: Census, counter: Counter) -> int:
    seen = without_padding(census)
    calls = (call for call in by_the_model(census, counter) if call.module in seen)
    return int(sum((seen[call.module] - 1) * _charge(call, counter) for call in calls))


# -- their order -------------------------------------------------------------------------------------------------------

#: What follows a tool's name in the names of its causes and failures: they are listed by kind, then by tool.
_KINDS = (
    "attention no-rule einsum vmap matmul linear same-padding meta-kernels complex-as-real shared-module compiled "
    "transposed-groups attention-batch own-forward padding lazy scripted no-parameters unbatched-convolution "
    "convolution-lists scale-factors einsum-list einsum-sublists arguments attention-by-name transposed-convolution "
    "named-padding upsample interpolate-by-name recurrent-by-name"
).split()
_LISTED_WITH = {"packed-sequence": "recurrent-by-name"}
Entry = TypeVar("Entry", Cause, PredictedFailure)


def side_by_side(registry: dict[str, Entry], tools: tuple[str, ...]) -> None:
    """Put what ``tools`` have declared in order by kind, in the places that they have; others stay where they are."""
    kinds = {f"{tool}-{kind}": kind for tool in tools for kind in (*_KINDS, *_LISTED_WITH)}
    theirs = [name for name in registry if name in kinds]
    listed = iter(sorted(theirs, key=lambda name: _KINDS.index(_LISTED_WITH.get(kinds[name], kinds[name]))))
    ordered = [(name, registry[name]) for name in (next(listed) if name in kinds else name for name in registry)]
    registry.clear()
    registry.update(ordered)
