"""ptflops: six operators of aten, biases counted."""

from __future__ import annotations

import re
from math import prod

from crosscheck.causes.declare import NoNumber, cause, complex_as_real, no_number, products
from crosscheck.records import Census, Failed, OpRow

_ATEN = frozenset({"ptflops-aten"})
_HANDLED = frozenset("mm matmul addmm bmm convolution _convolution".split())


@cause(
    "ptflops-aten-bias",
    _ATEN,
    "ptflops counts the bias of a linear layer or a convolution as a MAC for each output element, and likewise what "
    "addmm adds.",
    "ptflops/aten_ops.py:51-52,93-94 (0.7.5)",
)
def _bias(census: Census) -> int:
    return sum(row.count * prod(row.out) for row in products(census) if _has_bias(row))


def _has_bias(row: OpRow) -> bool:
    return row.aten == "addmm" or (row.aten in {"convolution", "_convolution"} and len(row.shapes) == 3)


@cause(
    "ptflops-aten-fused-attention",
    _ATEN,
    "The fused kernels of scaled_dot_product_attention have no rule, so on a CPU attention counts as 0, silently; on "
    "meta it is two products, which have one.",
    "ptflops/aten_ops.py:109-116 (0.7.5)",
)
def _fused_attention(census: Census) -> int:
    return -sum(row.macs for row in products(census) if _is_fused(row))


def _is_fused(row: OpRow) -> bool:
    return row.aten.startswith("_scaled_dot_product")


@cause(
    "ptflops-aten-no-rule",
    _ATEN,
    "Products other than mm, addmm, bmm and convolutions have no rule: baddbmm, matrix-vector and outer products, "
    "in-place ones, the fused kernels of nn.MultiheadAttention, nn.TransformerEncoderLayer and LSTM.",
    "ptflops/aten_ops.py:109-116 (0.7.5)",
)
def _no_rule(census: Census) -> int:
    return -sum(row.macs for row in products(census) if row.aten not in _HANDLED and not _is_fused(row))


@cause(
    "ptflops-aten-complex-as-real",
    _ATEN,
    "A product of complex numbers counts as one multiply-add; it is four.",
    "ptflops/aten_ops.py:23-106 (0.7.5), of shapes alone",
)
def _complex(census: Census) -> int:
    return complex_as_real(census, lambda row: row.aten in _HANDLED)


no_number(
    NoNumber(
        name="ptflops-aten-lazy",
        summary="ptflops counts the parameters before the first forward, when those of a lazy module have no size.",
        source="ptflops/aten_engine.py:113; ptflops/pytorch_engine.py:162 (0.7.5)",
        backends=_ATEN,
        outcome=Failed,
        words=re.compile("Attempted to use an uninitialized parameter"),
        only_in="",
        applies=lambda census: any(".Lazy" in module.class_name for module in census.modules),
    )
)
