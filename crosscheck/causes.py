"""The knowledge: named, sourced reasons why a counter differs from conv + linear + attention + matmul.

Each cause predicts an exact, signed integer from the census and the tool's version. None is shown the gap. The causes
of one backend are disjoint: an operation's share is in one of them only.

Sources are files and lines of thop 0.1.1.post2209072238, fvcore 0.1.5.post20221221 and torch 2.13.0.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from math import prod
from types import MappingProxyType
from typing import NamedTuple

from crosscheck.records import HEADLINE, Census, ModuleRow, OpRow, Term

Version = tuple[int, ...]


class Cause(NamedTuple):
    """One named reason, the backends it applies to, and how much it explains."""

    name: str
    summary: str
    source: str
    backends: frozenset[str]
    predict: Callable[[Census], int]
    """MACs that the backend counts beyond the reference (negative: short of it) for this reason."""
    since: Version = ()
    before: Version = (10**6,)
    """Versions of the tool: ``since`` <= version < ``before``."""


class KnownFailure(NamedTuple):
    """A crash that a source predicts: the tool's own words, and where they apply."""

    name: str
    summary: str
    source: str
    backends: frozenset[str]
    error: re.Pattern[str]
    applies: Callable[[Census | None], bool]
    since: Version = ()
    before: Version = (10**6,)


_CAUSES: dict[str, Cause] = {}
CAUSES: Mapping[str, Cause] = MappingProxyType(_CAUSES)
KNOWN_FAILURES: dict[str, KnownFailure] = {}

_THOP = frozenset({"thop", "thop-plain", "thop-query-only"})
_FVCORE = frozenset({"fvcore", "fvcore-plain"})
_FLOP_COUNTER = frozenset({"flop_counter"})


def _cause(
    name: str, backends: frozenset[str], summary: str, source: str, since: Version = (), before: Version = (10**6,)
) -> Callable[[Callable[[Census], int]], Callable[[Census], int]]:
    def add(predict: Callable[[Census], int]) -> Callable[[Census], int]:
        _CAUSES[name] = Cause(name, summary, source, backends, predict, since, before)
        return predict

    return add


def explain(backend: str, version: str, census: Census) -> tuple[Term, ...]:
    """The causes that fire for ``backend`` on what ran, each with its share of the gap in MACs."""
    terms = (
        Term(cause=cause.name, macs=cause.predict(census))
        for cause in _CAUSES.values()
        if backend in cause.backends and cause.since <= parsed(version) < cause.before
    )
    return tuple(term for term in terms if term.macs)


def known_failure(backend: str, version: str, error: str, census: Census | None) -> str:
    """The name of the sourced cause that predicts this failure; "" where none does."""
    for known in KNOWN_FAILURES.values():
        in_range = known.since <= parsed(version) < known.before
        if backend in known.backends and in_range and known.error.search(error) and known.applies(census):
            return known.name
    return ""


def parsed(version: str) -> Version:
    """``2.13.0+cpu`` as (2, 13, 0)."""
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0]))


def _products(census: Census) -> Iterator[OpRow]:
    return (row for row in census.ops if row.op in HEADLINE and row.macs)


def _elements(row: OpRow) -> int:
    """Elements of the first input, over all of the row's operations."""
    return row.count * prod(row.shapes[0])


def _attention(census: Census) -> int:
    return sum(row.macs for row in census.ops if row.op == "attention")


# -- attention, whoever misses it --------------------------------------------------------------------------------------


@_cause(
    "attention-not-counted",
    frozenset({"thop-plain", "fvcore-plain"}),
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

_NORMS = "BatchNorm1d BatchNorm2d BatchNorm3d LayerNorm InstanceNorm1d InstanceNorm2d InstanceNorm3d SyncBatchNorm"
_CONVS = "Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d"


def _is(row: ModuleRow, names: str) -> bool:
    """Whether a module is exactly one of torch's own classes ``names``."""
    package, _, name = row.class_name.rpartition(".")
    return package.startswith("torch.nn.modules.") and name in names.split()


def _hooked(census: Census, names: str) -> Iterator[tuple[OpRow, ModuleRow]]:
    """Operations in modules of the exact classes ``names`` entered through ``__call__``, where a hook fires."""
    for row in census.ops:
        module = census.modules[row.module]
        if _is(module, names) and not row.direct:
            yield row, module


def _affine(row: OpRow) -> bool:
    return len(row.shapes) > 1 and row.shapes[1] != ()


def _thop_norm(census: Census, names: str, *, affine: bool) -> int:
    each = 4 if affine else 2
    return sum(each * _elements(row) for row, module in _hooked(census, names)
               if row.op == "norm" and bool(module.params) is affine)  # fmt: skip


@_cause(
    "thop-layernorm-4",
    _THOP,
    "thop charges 4 MACs an element for LayerNorm with weights. It has no rule for GroupNorm, so one UNet is half and "
    "half.",
    "thop/vision/basic_hooks.py:69-79 doubles thop/vision/calc_func.py:58-60 (2 an element)",
)
def _thop_layernorm(census: Census) -> int:
    return _thop_norm(census, "LayerNorm", affine=True)


@_cause(
    "thop-layernorm-2",
    _THOP,
    "thop charges 2 MACs an element for LayerNorm without weights.",
    "thop/vision/calc_func.py:58-60",
)
def _thop_plain_layernorm(census: Census) -> int:
    return _thop_norm(census, "LayerNorm", affine=False)


@_cause(
    "thop-batchnorm",
    _THOP,
    "thop charges BatchNorm and InstanceNorm 4 MACs an element with weights, 2 without.",
    "thop/profile.py:31-33,35-37; thop/vision/basic_hooks.py:69-79",
)
def _thop_batchnorm(census: Census) -> int:
    names = _NORMS.replace("LayerNorm", "")
    return _thop_norm(census, names, affine=True) + _thop_norm(census, names, affine=False)


_UPSAMPLE = {"upsample_nearest": 1, "upsample_linear1d": 5, "upsample_bilinear2d": 11, "upsample_bicubic2d": 259}


@_cause(
    "thop-upsample",
    _THOP,
    "thop charges nn.Upsample 1 (nearest), 5 (linear), 11 (bilinear) or 259 (bicubic) MACs an output element; "
    "F.interpolate is not seen.",
    "thop/vision/calc_func.py:98-109",
)
def _thop_upsample(census: Census) -> int:
    def each(row: OpRow) -> int:
        return next((macs for name, macs in _UPSAMPLE.items() if row.aten.startswith(name)), 0)

    rows = _hooked(census, "Upsample UpsamplingBilinear2d UpsamplingNearest2d")
    return sum(each(row) * row.count * prod(row.out) for row, _ in rows if row.op == "resample")


@_cause(
    "thop-softmax",
    _THOP,
    "thop charges nn.Softmax 3n - 1 MACs for each row of n.",
    "thop/vision/calc_func.py:76-81",
)
def _thop_softmax(census: Census) -> int:
    rows = (row for row, _ in _hooked(census, "Softmax") if row.op == "softmax")
    return sum(_elements(row) // row.length * (3 * row.length - 1) for row in rows)


@_cause(
    "thop-prelu",
    _THOP,
    "thop charges nn.PReLU 1 MAC an element.",
    "thop/vision/basic_hooks.py:95-100",
)
def _thop_prelu(census: Census) -> int:
    return sum(_elements(row) for row, _ in _hooked(census, "PReLU") if row.op == "activation")


@_cause(
    "thop-avgpool",
    _THOP,
    "thop charges nn.AvgPool 1 MAC an output element.",
    "thop/vision/calc_func.py:84-86",
)
def _thop_avgpool(census: Census) -> int:
    rows = _hooked(census, "AvgPool1d AvgPool2d AvgPool3d")
    return sum(row.count * prod(row.out) for row, _ in rows if row.op == "resample")


@_cause(
    "thop-transposed-conv",
    _THOP,
    "thop charges a transposed convolution by its output, so a stride multiplies it: x 4 for stride 2 in 2-D.",
    "thop/vision/basic_hooks.py:24-46; thop/vision/calc_func.py:38-44",
)
def _thop_transposed(census: Census) -> int:
    total = 0
    for row, _ in _hooked(census, "ConvTranspose1d ConvTranspose2d ConvTranspose3d"):
        if row.op == "conv":
            x, weight = row.shapes[:2]
            groups = row.out[1] // weight[1]
            total += row.count * prod(row.out) * (x[1] // groups) * prod(weight[2:]) - row.macs
    return total


def _thop_sees(row: OpRow, module: ModuleRow) -> bool:
    return (row.op == "linear" and row.function == "linear" and _is(module, "Linear")) or (
        row.op == "conv" and _is(module, _CONVS)
    )


@_cause(
    "thop-no-rule",
    _THOP,
    "Products outside the exact classes that thop has rules for are not counted: F.linear, matmul, einsum, subclasses "
    "of nn.Linear and nn.Conv2d, nn.MultiheadAttention.",
    "thop/profile.py:188 (type(m) in register_hooks)",
)
def _thop_no_rule(census: Census) -> int:
    return -sum(
        row.macs
        for row in _products(census)
        if row.op != "attention" and not _thop_sees(row, census.modules[row.module])
    )


@_cause(
    "thop-direct-forward",
    _THOP,
    "A module whose forward is called directly, not through __call__, fires no hook.",
    "torch/nn/modules/module.py, _call_impl (hooks run there)",
)
def _thop_direct(census: Census) -> int:
    return -sum(row.macs for row in _products(census) if row.direct and _thop_sees(row, census.modules[row.module]))


# -- fvcore: handles over a jit trace ----------------------------------------------------------------------------------


def _fvcore_norms(census: Census, function: str, *, affine: bool) -> int:
    rows = (row for row in census.ops if row.op == "norm" and row.function == function)
    return sum((5 if affine else 4) * _elements(row) for row in rows if _affine(row) is affine)


@_cause(
    "fvcore-layernorm-5",
    _FVCORE,
    "fvcore charges layer_norm 5 an element with weights, 4 without: operations, not multiply-adds.",
    "fvcore/nn/flop_count.py:38; fvcore/nn/jit_handles.py:225-243",
)
def _fvcore_layernorm(census: Census) -> int:
    return _fvcore_norms(census, "layer_norm", affine=True) + _fvcore_norms(census, "layer_norm", affine=False)


@_cause(
    "fvcore-groupnorm-5",
    _FVCORE,
    "fvcore charges group_norm 5 an element with weights, 4 without: operations, not multiply-adds.",
    "fvcore/nn/flop_count.py:37; fvcore/nn/jit_handles.py:225-243",
)
def _fvcore_groupnorm(census: Census) -> int:
    return _fvcore_norms(census, "group_norm", affine=True) + _fvcore_norms(census, "group_norm", affine=False)


@_cause(
    "fvcore-upsample",
    _FVCORE,
    "fvcore charges nearest upsampling 1 and bilinear 4 for each output element.",
    "fvcore/nn/flop_count.py:40-41",
)
def _fvcore_upsample(census: Census) -> int:
    each = {"upsample_nearest2d": 1, "upsample_bilinear2d": 4}
    return sum(each.get(row.aten, 0) * row.count * prod(row.out) for row in census.ops if row.op == "resample")


_FVCORE_HANDLED = frozenset("linear matmul __matmul__ mm bmm addmm einsum multi_head_attention_forward".split())


def _fvcore_sees(row: OpRow) -> bool:
    if row.op == "conv":
        return True
    if row.function == "multi_head_attention_forward":
        return row.aten in {"addmm", "mm", "bmm"}
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
    "fvcore-no-handle",
    _FVCORE,
    "Products without a handle are not counted: baddbmm, dot, bilinear, the layers of LSTM and GRU.",
    "fvcore/nn/flop_count.py:26-44; listed by unsupported_ops()",
)
def _fvcore_no_handle(census: Census) -> int:
    return -sum(row.macs for row in _products(census) if row.op != "attention" and not _fvcore_sees(row))


# -- torch's own counter -----------------------------------------------------------------------------------------------


@_cause(
    "flop_counter-cpu-attention",
    _FLOP_COUNTER,
    "The fused CPU kernel of scaled_dot_product_attention has no formula, so attention counts as 0, silently.",
    "torch/utils/flop_counter.py:729-751 lacks _scaled_dot_product_flash_attention_for_cpu; pytorch #195460",
    since=(2, 4),
    before=(2, 15),
)
def _flop_counter_cpu(census: Census) -> int:
    return -sum(row.macs for row in census.ops if row.aten == "_scaled_dot_product_flash_attention_for_cpu")


_UNREGISTERED = frozenset("mv addmv dot vdot addr _trilinear mul mkldnn_rnn_layer addbmm _addmm_activation".split())


@_cause(
    "flop_counter-no-formula",
    _FLOP_COUNTER,
    "Matrix-vector products, dot and outer products, bilinear layers and the fused CPU LSTM have no formula.",
    "torch/utils/flop_counter.py:729-751",
)
def _flop_counter_no_formula(census: Census) -> int:
    return -sum(row.macs for row in _products(census) if row.aten in _UNREGISTERED)
