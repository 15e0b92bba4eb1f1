"""The knowledge: named, sourced reasons why a counter differs from conv + linear + attention + matmul.

Each cause predicts an exact, signed integer from the census and the installed releases. None is shown the gap. The
causes of one backend are disjoint: an operation's share is in one of them only.

Sources are files and lines of thop 0.1.1.post2209072238, fvcore 0.1.5.post20221221 and torch 2.13.0.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod
from types import MappingProxyType
from typing import NamedTuple

from packaging.requirements import Requirement

from crosscheck.records import HEADLINE, Census, Failed, ModuleRow, OpRow, Skipped, Term

Environment = Mapping[str, str]
"""Package -> installed release, as a ledger records it."""


class Cause(NamedTuple):
    """One named reason, the backends it applies to, and how much it explains."""

    name: str
    summary: str
    source: str
    backends: frozenset[str]
    predict: Callable[[Census], int]
    """MACs that the backend counts beyond the reference (negative: short of it) for this reason."""
    only_in: str = ""
    """The releases it applies to, e.g. ``torch>=2.3,<2.15``; "" for all."""
    seen_in: tuple[str, ...] = ()
    """The releases in which models as they come show it, by any of these conditions; in others a model has to be
    changed first."""

    @property
    def releases(self) -> tuple[str, ...]:
        """The releases in which models as they come show it; () where that does not depend on them."""
        return (self.only_in,) if self.only_in else self.seen_in


class NoNumber(NamedTuple):
    """A backend without a number, as a source predicts it: the outcome, in its own words, and where they apply."""

    name: str
    summary: str
    source: str
    backends: frozenset[str]
    outcome: type[Failed | Skipped]
    words: re.Pattern[str]
    only_in: str
    applies: Callable[[Census], bool]

    @property
    def releases(self) -> tuple[str, ...]:
        """The releases it applies to; () where that does not depend on them."""
        return (self.only_in,) if self.only_in else ()


_CAUSES: dict[str, Cause] = {}
CAUSES: Mapping[str, Cause] = MappingProxyType(_CAUSES)

_THOP = frozenset({"thop", "thop-plain", "thop-query-only"})
_FVCORE = frozenset({"fvcore", "fvcore-plain", "fvcore-meta"})
_FLOP_COUNTER = frozenset({"flop_counter"})


def _cause(
    name: str,
    backends: frozenset[str],
    summary: str,
    source: str,
    only_in: str = "",
    seen_in: tuple[str, ...] = (),
) -> Callable[[Callable[[Census], int]], Callable[[Census], int]]:
    def add(predict: Callable[[Census], int]) -> Callable[[Census], int]:
        _CAUSES[name] = Cause(name, summary, source, backends, predict, only_in, seen_in)
        return predict

    return add


def explain(backend: str, environment: Environment, census: Census) -> tuple[Term, ...]:
    """The causes that fire for ``backend`` on what ran, each with its share of the gap in MACs."""
    terms = (
        Term(cause=cause.name, macs=cause.predict(census))
        for cause in _CAUSES.values()
        if backend in cause.backends and holds(cause.only_in, environment)
    )
    return tuple(term for term in terms if term.macs)


def no_number(backend: str, environment: Environment, census: Census | None) -> NoNumber | None:
    """The entry that predicts no number of ``backend`` on what ran, if one does."""
    return next(
        (
            entry
            for entry in NO_NUMBER.values()
            if backend in entry.backends and holds(entry.only_in, environment) and census and entry.applies(census)
        ),
        None,
    )


def known(name: str) -> Cause | NoNumber | None:
    """The cause or the predicted lack of a number called ``name``."""
    return CAUSES.get(name) or NO_NUMBER.get(name)


def holds(condition: str, environment: Environment) -> bool:
    """Whether installed releases meet ``torch>=2.3,<2.15``, ``no peft`` (is not installed), several joined by ``and``.

    "" always holds.
    """
    if not condition:
        return True
    first, _, others = condition.partition(" and ")
    if others:
        return holds(first, environment) and holds(others, environment)
    if condition.startswith("no "):
        return condition.removeprefix("no ") not in environment
    requirement = Requirement(condition)
    installed = environment.get(requirement.name)
    return installed is not None and requirement.specifier.contains(installed, prereleases=True)


def _products(census: Census) -> Iterator[OpRow]:
    return (row for row in census.ops if row.op in HEADLINE and row.macs)


def _elements(row: OpRow) -> int:
    """Elements of the first input, over all of the row's operations."""
    return row.count * prod(row.shapes[0])


def _complex(row: OpRow) -> bool:
    return row.dtype.startswith("complex")


def _attention(census: Census) -> int:
    return sum(row.macs for row in census.ops if row.op == "attention")


# -- attention, whoever misses it --------------------------------------------------------------------------------------


@_cause(
    "attention-not-counted",
    frozenset({"thop-plain", "fvcore-plain", "fvcore-meta"}),
    "scaled_dot_product_attention is not counted: it is a functional call, which module hooks don't see, and "
    "the trace holds one operator that has no handle.",
    "thop/profile.py:188 (hooks only); fvcore/nn/flop_count.py:26-44 (no aten::scaled_dot_product_attention)",
)
def _attention_not_counted(census: Census) -> int:
    return -_attention(census)


@_cause(
    "query-only-n-by-n",
    frozenset({"thop-query-only"}),
    "Attention is charged N_q x N_q instead of N_q x N_kv, with the query's width for the value's: cross-attention "
    "over 77 tokens costs as much as self-attention over the whole image.",
    "the rule B H N N D + B H N N + B H N N D with N and D from the query alone",
)
def _query_only(census: Census) -> int:
    return sum(row.query_only_macs - row.macs for row in census.attention) - _query_softmax(census)


@_cause(
    "softmax-as-macs",
    frozenset({"thop-query-only"}),
    "One MAC is charged for each element of the softmax: B x H x N x N. A softmax has no multiply-accumulate.",
    "the middle term of B H N N D + B H N N + B H N N D",
)
def _query_softmax(census: Census) -> int:
    return sum(row.count * prod(row.query[:-1]) * row.query[-2] for row in census.attention)


# -- thop: a rule for each exact module class --------------------------------------------------------------------------

Share = Callable[[OpRow, ModuleRow], int]
"""MACs that one row of operations adds to a gap, given the modules it ran in."""

_THOP_CHARGES: list[Share] = []
_CONVS = "Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d"
#: Classes with rules of their own (thop/profile.py:58-63), whose products no cause here reckons.
_RECURRENT = "RNN LSTM GRU RNNCell LSTMCell GRUCell"


def _is(row: ModuleRow, names: str) -> bool:
    """Whether a module is exactly one of torch's own classes ``names``."""
    package, _, name = row.class_name.rpartition(".")
    return package.startswith("torch.nn.modules.") and name in names.split()


def _summed(census: Census, share: Share) -> int:
    return sum(share(row, census.modules[row.module]) for row in census.ops)


def _thop_charge(name: str, classes: str, summary: str, source: str) -> Callable[[Share], Share]:
    """A cause by which thop charges for an operation in modules of exactly ``classes``, where its hook fires."""

    def add(share: Share) -> Share:
        def hooked(row: OpRow, module: ModuleRow) -> int:
            return share(row, module) if _is(module, classes) and not row.direct else 0

        _THOP_CHARGES.append(hooked)
        _cause(name, _THOP, summary, source)(lambda census: _summed(census, hooked))
        return share

    return add


@_thop_charge(
    "thop-layernorm-4",
    "LayerNorm",
    "thop charges 4 MACs an element for LayerNorm with weights. It has no rule for GroupNorm, so one UNet is half and "
    "half.",
    "thop/vision/basic_hooks.py:60-69 doubles thop/vision/calc_func.py:43-45 (2 an element)",
)
def _thop_layernorm(row: OpRow, module: ModuleRow) -> int:
    return 4 * _elements(row) if row.op == "norm" and module.params else 0


@_thop_charge(
    "thop-layernorm-2",
    "LayerNorm",
    "thop charges 2 MACs an element for LayerNorm without weights.",
    "thop/vision/calc_func.py:43-45",
)
def _thop_plain_layernorm(row: OpRow, module: ModuleRow) -> int:
    return 2 * _elements(row) if row.op == "norm" and not module.params else 0


@_thop_charge(
    "thop-batchnorm",
    "BatchNorm1d BatchNorm2d BatchNorm3d InstanceNorm1d InstanceNorm2d InstanceNorm3d SyncBatchNorm",
    "thop charges BatchNorm and InstanceNorm 4 MACs an element with weights, 2 without.",
    "thop/profile.py:29-31,33-35,69; thop/vision/basic_hooks.py:60-69",
)
def _thop_batchnorm(row: OpRow, module: ModuleRow) -> int:
    return (4 if module.params else 2) * _elements(row) if row.op == "norm" else 0


_UPSAMPLE = {"upsample_nearest": 1, "upsample_linear1d": 5, "upsample_bilinear2d": 11, "upsample_bicubic2d": 259}


@_thop_charge(
    "thop-upsample",
    "Upsample UpsamplingBilinear2d UpsamplingNearest2d",
    "thop charges nn.Upsample 1 (nearest), 5 (linear), 11 (bilinear) or 259 (bicubic) MACs an output element; "
    "F.interpolate is not seen.",
    "thop/vision/calc_func.py:75-87",
)
def _thop_upsample(row: OpRow, module: ModuleRow) -> int:
    each = next((macs for name, macs in _UPSAMPLE.items() if row.aten.startswith(name)), 0)
    return each * row.count * prod(row.out)


@_thop_charge(
    "thop-softmax",
    "Softmax",
    "thop charges nn.Softmax 3n - 1 MACs for each row of n.",
    "thop/vision/calc_func.py:57-62",
)
def _thop_softmax(row: OpRow, module: ModuleRow) -> int:
    return _elements(row) // row.length * (3 * row.length - 1) if row.op == "softmax" else 0


@_thop_charge("thop-prelu", "PReLU", "thop charges nn.PReLU 1 MAC an element.", "thop/vision/basic_hooks.py:82-87")
def _thop_prelu(row: OpRow, module: ModuleRow) -> int:
    return _elements(row) if row.op == "activation" else 0


@_thop_charge(
    "thop-avgpool",
    "AvgPool1d AvgPool2d AvgPool3d",
    "thop charges nn.AvgPool 1 MAC an output element.",
    "thop/vision/calc_func.py:65-66",
)
def _thop_avgpool(row: OpRow, module: ModuleRow) -> int:
    return row.count * prod(row.out) if row.op == "resample" else 0


@_thop_charge(
    "thop-adaptive-avgpool",
    "AdaptiveAvgPool2d AdaptiveAvgPool3d",
    "thop charges nn.AdaptiveAvgPool one MAC an output element and one for each input element that goes into it.",
    "thop/vision/basic_hooks.py:114-121; thop/vision/calc_func.py:69-72",
)
def _thop_adaptive_avgpool(row: OpRow, module: ModuleRow) -> int:
    pools = row.op == "resample" or row.aten == "mean"  # an output of size 1 is a mean
    return _elements(row) + row.count * prod(row.out) if pools else 0


@_thop_charge(
    "thop-transposed-conv",
    "ConvTranspose1d ConvTranspose2d ConvTranspose3d",
    "thop charges a transposed convolution by its output, so a stride multiplies it: x 4 for stride 2 in 2-D.",
    "thop/vision/basic_hooks.py:22-34; thop/vision/calc_func.py:28-34",
)
def _thop_transposed(row: OpRow, module: ModuleRow) -> int:
    if row.op != "conv":
        return 0
    x, weight = row.shapes[:2]
    groups = row.out[1] // weight[1]
    return row.count * prod(row.out) * (x[1] // groups) * prod(weight[2:]) - row.macs


def _thop_rule(row: OpRow, module: ModuleRow) -> bool:
    """Whether a product ran in a module of a class with a rule for it."""
    return (
        (row.op == "linear" and row.function == "linear" and _is(module, "Linear"))
        or (row.op == "conv" and _is(module, _CONVS))
        or _is(module, _RECURRENT)
    )


def _thop_missed(census: Census, why: Callable[[OpRow, ModuleRow], bool]) -> int:
    """MACs of the products without a rule, of those that are missed for this reason."""
    rows = ((row, census.modules[row.module]) for row in _products(census) if row.op != "attention")
    return sum(row.macs for row, module in rows if not _thop_rule(row, module) and why(row, module))


def _lora_compatible(row: OpRow, module: ModuleRow) -> bool:
    return module.class_name in {
        "diffusers.models.lora.LoRACompatibleConv",
        "diffusers.models.lora.LoRACompatibleLinear",
    }


def _eager_attention(row: OpRow, module: ModuleRow) -> bool:
    attention = module.class_name.startswith("transformers.") and module.class_name.endswith("Attention")
    return attention and row.aten in {"bmm", "baddbmm"}


@_cause(
    "thop-lora-compatible",
    _THOP,
    "diffusers made convolutions and linear layers of LoRACompatibleConv and LoRACompatibleLinear, unless peft was "
    "there from 0.22: subclasses, for which thop has no rule, so that it counts almost nothing of a UNet.",
    "thop/profile.py:188 (type(m) in register_hooks); diffusers 0.21.4 models/lora.py:103,170",
    seen_in=("diffusers>=0.19,<0.22", "diffusers>=0.22,<0.27 and no peft"),
)
def _thop_lora_compatible(census: Census) -> int:
    return -_thop_missed(census, _lora_compatible)


@_cause(
    "thop-eager-attention",
    _THOP,
    "transformers wrote attention out as two products before CLIP took scaled_dot_product_attention: functional calls, "
    "which thop does not see, and the patch of scaled_dot_product_attention adds nothing.",
    "thop/profile.py:188 (hooks only); transformers 4.42.4 models/clip/modeling_clip.py:273,313",
    seen_in=("transformers<4.43",),
)
def _thop_eager_attention(census: Census) -> int:
    return -_thop_missed(census, _eager_attention)


@_cause(
    "thop-no-rule",
    _THOP,
    "Products outside the exact classes that thop has rules for are not counted: F.linear, matmul, einsum, subclasses "
    "of nn.Linear and nn.Conv2d, nn.MultiheadAttention.",
    "thop/profile.py:188 (type(m) in register_hooks)",
)
def _thop_no_rule(census: Census) -> int:
    return -_thop_missed(
        census, lambda row, module: not (_lora_compatible(row, module) or _eager_attention(row, module))
    )


@_cause(
    "thop-attention-unpatched",
    frozenset({"thop", "thop-query-only"}),
    "Attention called by a name that was imported from torch, not looked up on torch.nn.functional, passes the patch.",
    "torch/nn/functional.py (the attribute that is patched is one name of several)",
)
def _thop_unpatched(census: Census) -> int:
    return sum(row.macs for row in census.attention) - _attention(census)


@_cause(
    "thop-direct-forward",
    _THOP,
    "A module whose forward is called directly, not through __call__, fires no hook.",
    "torch/nn/modules/module.py, _call_impl (hooks run there)",
)
def _thop_direct(census: Census) -> int:
    return -sum(row.macs for row in _products(census) if row.direct and _thop_rule(row, census.modules[row.module]))


@_cause(
    "thop-shared-module",
    _THOP,
    "A module that several parents share gets a hook from each and is summed under each: twice shared counts 4 times.",
    "thop/profile.py:209 (model.apply registers a hook a visit); thop/profile.py:214-233 (dfs_count adds a visit)",
)
def _thop_shared(census: Census) -> int:
    def charged(row: OpRow, module: ModuleRow) -> int:
        counted = row.macs if _thop_rule(row, module) and not row.direct else 0
        return (module.visits**2 - 1) * (counted + sum(charge(row, module) for charge in _THOP_CHARGES))

    return _summed(census, charged)


@_cause(
    "thop-complex-as-real",
    _THOP,
    "A product of complex numbers counts as one multiply-add; it is four.",
    "thop/vision/calc_func.py:90-91 (shapes alone)",
)
def _thop_complex(census: Census) -> int:
    def share(row: OpRow, module: ModuleRow) -> int:
        seen = row.macs and not row.direct and _thop_rule(row, module)
        return -3 * row.macs // 4 if seen and _complex(row) else 0

    return _summed(census, share)


# -- fvcore: handles over a jit trace ----------------------------------------------------------------------------------


def _fvcore_norms(census: Census, function: str) -> int:
    """5 an element with weights, 4 without; the weight is an input of the operator."""
    rows = (row for row in census.ops if row.op == "norm" and row.function == function)
    return sum((5 if len(row.shapes) > 1 else 4) * _elements(row) for row in rows)


@_cause(
    "fvcore-layernorm-5",
    _FVCORE,
    "fvcore charges layer_norm 5 an element with weights, 4 without: operations, not multiply-adds.",
    "fvcore/nn/flop_count.py:38; fvcore/nn/jit_handles.py:230-248",
)
def _fvcore_layernorm(census: Census) -> int:
    return _fvcore_norms(census, "layer_norm")


@_cause(
    "fvcore-groupnorm-5",
    _FVCORE,
    "fvcore charges group_norm 5 an element with weights, 4 without: operations, not multiply-adds.",
    "fvcore/nn/flop_count.py:37; fvcore/nn/jit_handles.py:230-248",
)
def _fvcore_groupnorm(census: Census) -> int:
    return _fvcore_norms(census, "group_norm")


@_cause(
    "fvcore-batchnorm",
    _FVCORE,
    "fvcore charges batch_norm 2 an element in evaluation (1 without weights) and 5 in training (4), instance_norm as "
    "in training.",
    "fvcore/nn/flop_count.py:36,39; fvcore/nn/jit_handles.py:251-258",
)
def _fvcore_batchnorm(census: Census) -> int:
    def charge(row: OpRow, module: ModuleRow) -> int:
        if row.op != "norm" or row.function not in {"batch_norm", "instance_norm"}:
            return 0
        affine = bool(module.params)
        statistics = len(row.shapes) == (5 if affine else 3)  # running mean and variance, used in evaluation
        training = module.training or row.function == "instance_norm" or not statistics
        return ((4 if training else 1) + affine) * _elements(row)

    return _summed(census, charge)


@_cause(
    "fvcore-upsample",
    _FVCORE,
    "fvcore charges nearest upsampling 1, bilinear upsampling and grid sampling 4 for each output element.",
    "fvcore/nn/flop_count.py:40-41,43",
)
def _fvcore_upsample(census: Census) -> int:
    each = {"upsample_nearest2d": 1, "upsample_bilinear2d": 4, "grid_sampler_2d": 4, "grid_sampler_3d": 4}
    return sum(each.get(row.aten, 0) * row.count * prod(row.out) for row in census.ops)


@_cause(
    "fvcore-adaptive-avgpool",
    _FVCORE,
    "fvcore charges adaptive average pooling 1 for each input element.",
    "fvcore/nn/flop_count.py:42",
)
def _fvcore_adaptive_avgpool(census: Census) -> int:
    return sum(
        _elements(row)
        for row in census.ops
        if row.function == "adaptive_avg_pool2d" and (row.op == "resample" or row.aten == "mean")
    )


@_cause(
    "fvcore-einsum",
    _FVCORE,
    "fvcore takes half of the operations that numpy.einsum_path prints, which are rounded to four digits; so it also "
    "charges an einsum that multiplies nothing half an operation an element.",
    'fvcore/nn/jit_handles.py:141-189 (einsum_flop_jit); numpy/_core/einsumfunc.py (einsum_path, "%.3e")',
)
def _fvcore_einsum(census: Census) -> int:
    if any(len(row.shapes) > 2 for row in census.einsums):
        return 0  # contracted in an order that numpy searches for
    charged = sum(row.count * _einsum_charge(row.equation, row.shapes) for row in census.einsums)
    return charged - sum(row.macs for row in census.ops if row.function == "einsum")


def _einsum_charge(equation: str, shapes: Sequence[tuple[int, ...]]) -> int:
    """What einsum_flop_jit says of one or two operands, which numpy contracts at once.

    Its operations: the product of all sizes, once more where an index is summed over.
    """
    inputs, _, output = equation.partition("->")
    terms = inputs.split(",")
    if "..." in equation:
        terms, output = _without_ellipsis(terms, output, shapes)
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        for letter, size in zip(term, shape, strict=True):
            sizes[letter] = max(sizes.get(letter, 1), size)
    if not equation.count("->"):
        letters = "".join(terms)
        output = "".join(letter for letter in sizes if letters.count(letter) == 1)
    operations = prod(sizes.values()) * (1 + bool(sizes.keys() - set(output)))
    if _renamed(terms, output) in ("abc,abd->acd", "abc,adc->adb"):
        return operations // 2
    return int(float(f"{operations:.3e}") / 2)


def _renamed(terms: Sequence[str], output: str) -> str:
    """The equation with its letters in order of appearance."""
    equation = f"{','.join(terms)}->{output}"
    letters = dict.fromkeys(letter for letter in equation if letter.isalpha())
    names = dict(zip(letters, "abcdefghijklmnopqrstuvwxyz", strict=False))
    return "".join(names.get(letter, letter) for letter in equation)


def _without_ellipsis(terms: Sequence[str], output: str, shapes: Sequence[tuple[int, ...]]) -> tuple[list[str], str]:
    """With a capital letter for each dimension that ``...`` stands for, the last ones in common."""
    hidden = [len(shape) - len(term.replace("...", "")) for term, shape in zip(terms, shapes, strict=True)]
    free = [letter for letter in "ZYXWVUTSRQPONMLKJIHGFEDCBA" if letter not in "".join(terms)][: max(hidden)]
    named = ["".join(free[len(free) - count :]) for count in hidden]
    expanded = [term.replace("...", name) for term, name in zip(terms, named, strict=True)]
    return expanded, output.replace("...", "".join(free))


_FVCORE_HANDLED = frozenset(
    "linear matmul __matmul__ __rmatmul__ mm bmm addmm einsum lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell".split()
)


def _fvcore_sees(row: OpRow) -> bool:
    if row.op == "conv":
        return True
    if row.function == "multi_head_attention_forward":
        return row.aten in {"addmm", "mm", "bmm", "linear"}  # the last in inference mode
    return row.function in _FVCORE_HANDLED


@_cause(
    "fvcore-named-padding",
    _FVCORE,
    'A convolution with padding="same" or "valid" is traced as aten::_convolution_mode, which has no handle.',
    "fvcore/nn/flop_count.py:29 (aten::_convolution alone)",
)
def _fvcore_named_padding(census: Census) -> int:
    return -sum(row.macs for row in census.ops if row.op == "conv" and row.function == "_convolution_mode")


@_cause(
    "fvcore-meta-no-convolution",
    frozenset({"fvcore-meta"}),
    "On meta a convolution is a Python function to the tracer, so the trace holds its shape arithmetic and no "
    "convolution: none is counted, silently.",
    "torch/_meta_registrations.py, meta_conv; pytorch #189298",
    seen_in=("torch<2.5",),
)
def _fvcore_meta(census: Census) -> int:
    return -sum(row.macs for row in _convolutions(census))


def _convolutions(census: Census) -> Iterator[OpRow]:
    """Convolutions but those with named padding, which have a cause of their own."""
    return (row for row in census.ops if row.op == "conv" and row.function != "_convolution_mode")


@_cause(
    "fvcore-no-handle",
    _FVCORE,
    "Products without a handle are not counted: baddbmm, dot, bilinear, the layers of LSTM and GRU.",
    "fvcore/nn/flop_count.py:26-44; listed by unsupported_ops()",
)
def _fvcore_no_handle(census: Census) -> int:
    return -sum(row.macs for row in _products(census) if row.op != "attention" and not _fvcore_sees(row))


@_cause(
    "fvcore-complex-as-real",
    _FVCORE,
    "A product of complex numbers counts as one multiply-add; it is four.",
    "fvcore/nn/jit_handles.py:82-124 (shapes alone)",
)
def _fvcore_complex(census: Census) -> int:
    return -sum(3 * row.macs // 4 for row in _products(census) if _complex(row) and _fvcore_sees(row))


# -- torch's own counter -----------------------------------------------------------------------------------------------


@_cause(
    "flop_counter-cpu-attention",
    _FLOP_COUNTER,
    "The fused CPU kernel of scaled_dot_product_attention has no formula, so attention counts as 0, silently.",
    "torch/utils/flop_counter.py:729-751 lacks _scaled_dot_product_flash_attention_for_cpu; pytorch #195460",
    only_in="torch>=2.3,<2.15",
)
def _flop_counter_cpu(census: Census) -> int:
    return -sum(row.macs for row in census.ops if row.aten == "_scaled_dot_product_flash_attention_for_cpu")


_UNREGISTERED = frozenset(
    "mv addmv dot vdot addr _trilinear mul mkldnn_rnn_layer addbmm _addmm_activation _int_mm".split()
)


@_cause(
    "flop_counter-no-formula",
    _FLOP_COUNTER,
    "Matrix-vector products, dot and outer products, in-place and integer ones, bilinear layers and the fused CPU LSTM "
    "have no formula.",
    "torch/utils/flop_counter.py:729-751",
)
def _flop_counter_no_formula(census: Census) -> int:
    return -sum(row.macs for row in _products(census) if not _flop_counter_sees(row))


def _flop_counter_sees(row: OpRow) -> bool:
    return row.aten not in _UNREGISTERED and not row.aten.endswith("_")


@_cause(
    "flop_counter-complex-as-real",
    _FLOP_COUNTER,
    "A product of complex numbers counts as one multiply-add; it is four.",
    "torch/utils/flop_counter.py:729-751 (formulas of shapes alone)",
)
def _flop_counter_complex(census: Census) -> int:
    return -sum(3 * row.macs // 4 for row in _products(census) if _complex(row) and _flop_counter_sees(row))


# -- no number at all --------------------------------------------------------------------------------------------------

NO_NUMBER: dict[str, NoNumber] = {
    entry.name: entry
    for entry in (
        NoNumber(
            name="flop_counter-absent",
            summary="torch had no FlopCounterMode before 2.1.",
            source="torch 2.0.1 has no torch/utils/flop_counter.py",
            backends=_FLOP_COUNTER,
            outcome=Skipped,
            words=re.compile("no FlopCounterMode"),
            only_in="torch<2.1",
            applies=lambda census: True,
        ),
        NoNumber(
            name="fvcore-bool-number",
            summary="fvcore counts in a trace by torch.jit, which knows no operator that takes a Python bool for a "
            "number: masked_fill(mask, False) where 0 would do.",
            source="torch/csrc/jit/ir/alias_analysis.cpp:623 (2.13.0)",
            backends=_FVCORE,
            outcome=Failed,
            words=re.compile(r"We don't have an op for aten::\w+"),
            only_in="",
            applies=lambda census: bool(census.bool_numbers),
        ),
        NoNumber(
            name="fvcore-meta-assertion",
            summary="While torch traces, sizes are tensors; the meta kernel of a convolution in two dimensions or more "
            "asserts on them.",
            source="torch 2.6.0 torch/_meta_registrations.py, calc_conv_nd_return_shape; pytorch #189298",
            backends=frozenset({"fvcore-meta"}),
            outcome=Failed,
            words=re.compile(r"AssertionError: tensor\(False\)"),
            only_in="torch>=2.5,<2.9",
            applies=lambda census: any(len(row.out) > 3 for row in _convolutions(census)),
        ),
        NoNumber(
            name="fvcore-meta-tensor-condition",
            summary="While torch traces, sizes are tensors; the meta kernel of a convolution checks them with a "
            "condition that has to be a bool.",
            source="torch/_meta_registrations.py, calc_conv_nd_return_shape; torch/__init__.py, _check_with; "
            "pytorch #189298",
            backends=frozenset({"fvcore-meta"}),
            outcome=Failed,
            words=re.compile("TypeError: cond must be a bool"),
            only_in="torch>=2.9",
            applies=lambda census: any(True for _ in _convolutions(census)),
        ),
    )
}
