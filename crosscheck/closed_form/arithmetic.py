"""Closed-form MACs of one operation from its shapes.

Pure arithmetic: ints in, an int out; sympy symbols in, a sympy formula out. So only ``+ - * //`` and ``abs`` are used,
and a maximum, minimum or ceiling is written with these.

A MAC is one product that is added to a sum: a dot product of n is n MACs. Counted is what the definition of the
operation multiplies, whatever algorithm a library picks (Winograd, FFT, three-product complex multiplication), and
densely: zeros of the padding and entries behind a mask are multiplied like any other. Biases are no MACs.

What has no accumulation, or more than two factors, has no usual count. One convention for each:

==================  ======================================  ====================================================
outer product       one MAC a product                       a dot product of length 1
bilinear form       one MAC a use of a weight               ``x1[i] * A[k, i, j] * x2[j]`` is one term, not two
complex product     4 MACs, 2 with one real operand         (a + bi)(c + di) has 4 real products, (a + bi) c has 2
==================  ======================================  ====================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, TypeAlias

#: An int or a sympy expression. ``Any``, because naming sympy's type would import it, and it is untyped anyway.
Size: TypeAlias = Any


def smaller(a: Size, b: Size) -> Size:
    """min(a, b), for symbols too; a + b - abs(a - b) is always even."""
    if hasattr(a, "least") or hasattr(b, "least"):  # polynomials keep minima as they are
        return a.least(b) if hasattr(a, "least") else b.least(a)
    return (a + b - abs(a - b)) // 2


def conv_out(size: Size, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> Size:
    """Output size of a convolution in one dimension (the formula under "Shape" of torch.nn.Conv1d)."""
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def conv(
    batch: Size, in_channels: int, out_channels: int, kernel: Sequence[int], out: Sequence[Size], groups: int = 1
) -> Size:
    """A convolution of any dimension: each output element is a dot product over one group's channels and the kernel."""
    return batch * out_channels * prod(out) * (in_channels // groups) * prod(kernel)


def conv_transpose(
    batch: Size, in_channels: int, out_channels: int, kernel: Sequence[int], size: Sequence[Size], groups: int = 1
) -> Size:
    """A transposed convolution: each *input* element meets every weight of its group once, cropped results too."""
    return batch * in_channels * prod(size) * (out_channels // groups) * prod(kernel)


def linear(rows: Size, in_features: int, out_features: int) -> Size:
    """``[rows, in_features] @ [in_features, out_features]``; rows are all the leading dimensions together."""
    return rows * in_features * out_features


def matmul(batch: Size, n: Size, k: Size, m: Size) -> Size:
    """``[batch, n, k] @ [batch, k, m]``; a vector has n or m of 1."""
    return batch * n * k * m


def attention(batch: Size, heads: int, n_q: Size, n_kv: Size, d_qk: int, d_v: int) -> Size:
    """scaled_dot_product_attention, dense: q @ k.T, then weights @ v; heads are the query's (grouped k, v repeat)."""
    return matmul(batch * heads, n_q, d_qk, n_kv) + matmul(batch * heads, n_q, n_kv, d_v)


def causal_pairs(n_q: Size, n_kv: Size) -> Size:
    """Query-key pairs that torch's ``is_causal`` leaves: row i sees min(i + 1, n_kv) keys (mask aligned top left).

    The first ``t = min(n_q, n_kv)`` rows make a triangle, the rest of the rows see all keys.
    """
    t = smaller(n_q, n_kv)
    return t * (t + 1) // 2 + (n_q - t) * n_kv


def causal_attention(batch: Size, heads: int, n_q: Size, n_kv: Size, d_qk: int, d_v: int) -> Size:
    """scaled_dot_product_attention with ``is_causal``, only the pairs that the mask leaves."""
    return batch * heads * causal_pairs(n_q, n_kv) * (d_qk + d_v)


def outer(n: Size, m: Size) -> Size:
    """``x[:, None] * y[None, :]`` of vectors of n and m."""
    return n * m


def bilinear(rows: Size, in1_features: int, in2_features: int, out_features: int) -> Size:
    """torch.nn.Bilinear: ``x1 @ A[k] @ x2`` for each row and each output k."""
    return rows * in1_features * in2_features * out_features


def real_macs(complex_macs: Size, complex_operands: int = 2) -> Size:
    """Real MACs of so many MACs where both operands are complex, one of them, or none."""
    return complex_macs * (1, 2, 4)[complex_operands]
