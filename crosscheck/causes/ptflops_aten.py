"""ptflops' engine for aten: six operators; biases counted."""

from __future__ import annotations

from math import prod

from crosscheck.causes.reading import complex_as_real, has_lazy, products, sparse_as_dense
from crosscheck.causes.tool import Sees, Tool
from crosscheck.records import Census, OpRow

PTFLOPS_ATEN = Tool(
    "ptflops-aten",
    backends=("ptflops-aten",),
    release="0.7.5",
    installed="crosscheck[counters]",
    sees=Sees.OPERATORS,
    evaluates=True,
)
_HANDLED = frozenset("mm matmul addmm bmm convolution _convolution".split())


@PTFLOPS_ATEN.cause(
    "ptflops-aten-bias",
    "ptflops counts the bias of a linear layer or a convolution as a MAC for each output element, and likewise what "
    "addmm adds.",
    "ptflops/aten_ops.py:51-52,93-94 (0.7.5)",
)
def _bias(census: Census) -> int:
    return sum(row.count * prod(row.out) for row in products(census) if _has_bias(row))


def _has_bias(row: OpRow) -> bool:
    return row.aten == "addmm" or (row.aten in {"convolution", "_convolution"} and len(row.shapes) == 3)


@PTFLOPS_ATEN.cause(
    "ptflops-aten-fused-attention",
    "The fused kernels of scaled_dot_product_attention have no rule, so on a CPU attention counts as 0, silently; on "
    "meta it is two products, which have one.",
    "ptflops/aten_ops.py:109-116 (0.7.5)",
)
def _fused_attention(census: Census) -> int:
    return -sum(row.macs for row in products(census) if _is_fused(row))


def _is_fused(row: OpRow) -> bool:
    return row.aten.startswith("_scaled_dot_product")


@PTFLOPS_ATEN.cause(
    "ptflops-aten-no-rule",
    "Products other than mm, addmm, bmm and convolutions have no rule: baddbmm, matrix-vector and outer products, "
    "in-place ones, the fused kernels of nn.MultiheadAttention, nn.TransformerEncoderLayer and LSTM.",
    "ptflops/aten_ops.py:109-116 (0.7.5)",
)
def _no_rule(census: Census) -> int:
    return -sum(row.macs for row in products(census) if row.aten not in _HANDLED and not _is_fused(row))


@PTFLOPS_ATEN.cause(
    "ptflops-aten-complex-as-real",
    "A product of complex numbers counts as one multiply-add; it is four. For a convolution torch runs three.",
    "ptflops/aten_ops.py:23-106 (0.7.5), of shapes alone; aten/src/ATen/native/Convolution.cpp, complex_convolution",
)
def _complex(census: Census) -> int:
    return complex_as_real(census, lambda row: row.aten in _HANDLED)


@PTFLOPS_ATEN.cause(
    "ptflops-aten-sparse-as-dense",
    "ptflops knows shapes alone: of a sparse tensor all elements count, those too that it does not store.",
    "ptflops/aten_ops.py:30-33,48-49 (0.7.5)",
)
def _sparse(census: Census) -> int:
    return sparse_as_dense(census, lambda row: row.aten in _HANDLED)


PTFLOPS_ATEN.fails(
    "ptflops-aten-lazy",
    "ptflops counts the parameters before the first forward, when those of a lazy module have no size.",
    "ptflops/aten_engine.py:113; ptflops/pytorch_engine.py:162 (0.7.5)",
    words="Attempted to use an uninitialized parameter",
)(has_lazy)
