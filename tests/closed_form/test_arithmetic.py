"""Each formula against the multiplications of explicit loops, and its symbolic form against its ints."""

from __future__ import annotations

from itertools import product

import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from crosscheck.closed_form import arithmetic

SIZES = st.integers(1, 5)
FEW = st.integers(1, 3)
loops = settings(max_examples=4 * settings().max_examples)  # they take no time


def counted(*ranges: int) -> int:
    """How often the body of nested loops runs: one multiplication each time."""
    return sum(1 for _ in product(*map(range, ranges)))


def windows(size: int, kernel: int, stride: int, padding: int, dilation: int) -> list[list[int]]:
    """Padded positions under the kernel, for each place of it that fits."""
    places = range(0, size + 2 * padding, stride)
    taps = [[start + dilation * k for k in range(kernel)] for start in places]
    return [under for under in taps if under[-1] < size + 2 * padding]


@loops
@given(st.integers(1, 20), FEW, FEW, st.integers(0, 2), FEW)
def test_conv_out_is_the_number_of_places_of_the_kernel(size, kernel, stride, padding, dilation):
    places = windows(size, kernel, stride, padding, dilation)
    if places:  # else torch refuses
        assert arithmetic.conv_out(size, kernel, stride, padding, dilation) == len(places)


@loops
@given(FEW, FEW, FEW, FEW, st.lists(st.tuples(st.integers(3, 6), FEW, FEW, st.integers(0, 1)), min_size=1, max_size=3))
def test_conv_multiplies_each_tap_of_each_window(batch, groups, ins, outs, dims):
    # For each image, output channel and window: one product for each tap and input channel of the same group.
    places = [windows(size, kernel, stride, padding, 1) for size, kernel, stride, padding in dims]
    channels = product(range(groups * ins), range(groups * outs))
    pairs = sum(1 for i, o in channels if i // ins == o // outs)
    taps = sum(1 for window in product(*places) for _ in product(*window))

    out = [arithmetic.conv_out(*dim) for dim in dims]
    kernel = [kernel for _, kernel, _, _ in dims]
    assert arithmetic.conv(batch, groups * ins, groups * outs, kernel, out, groups) == batch * pairs * taps


@loops
@given(FEW, FEW, FEW, FEW, st.lists(st.tuples(SIZES, FEW), min_size=1, max_size=3))
def test_conv_transpose_scatters_each_input_element(batch, groups, ins, outs, dims):
    # For each image, input element and output channel of the same group: one product for each tap of the kernel.
    channels = product(range(groups * ins), range(groups * outs))
    pairs = sum(1 for i, o in channels if i // ins == o // outs)
    scattered = counted(*(size for size, _ in dims), *(kernel for _, kernel in dims))

    size, kernel = zip(*dims, strict=True)
    assert arithmetic.conv_transpose(batch, groups * ins, groups * outs, kernel, size, groups) == (
        batch * pairs * scattered
    )


@given(SIZES, SIZES, SIZES)
def test_linear_is_a_dot_product_for_each_output(rows, in_features, out_features):
    # for row, for o, for i: y[row, o] += x[row, i] * w[o, i]
    assert arithmetic.linear(rows, in_features, out_features) == counted(rows, out_features, in_features)


@given(FEW, SIZES, SIZES, SIZES)
def test_matmul_is_a_dot_product_for_each_output(batch, n, k, m):
    # for b, for i, for j, for l: c[b, i, j] += a[b, i, l] * b[b, l, j]
    assert arithmetic.matmul(batch, n, k, m) == counted(batch, n, m, k)


def attention_products(n_q: int, n_kv: int, d_qk: int, d_v: int, *, causal: bool) -> int:
    """One head: a score is d_qk products, its use d_v; a causal row i sees no key after i."""
    pairs = [(i, j) for i in range(n_q) for j in range(n_kv) if not causal or j <= i]
    return sum(counted(d_qk) + counted(d_v) for _ in pairs)


@loops
@given(FEW, FEW, SIZES, SIZES, SIZES, SIZES)
def test_attention_is_scores_and_weighted_values(batch, heads, n_q, n_kv, d_qk, d_v):
    expected = batch * heads * attention_products(n_q, n_kv, d_qk, d_v, causal=False)
    assert arithmetic.attention(batch, heads, n_q, n_kv, d_qk, d_v) == expected


@loops
@given(FEW, FEW, st.integers(1, 9), st.integers(1, 9), SIZES, SIZES)
def test_causal_attention_stops_at_the_diagonal(batch, heads, n_q, n_kv, d_qk, d_v):
    expected = batch * heads * attention_products(n_q, n_kv, d_qk, d_v, causal=True)
    assert arithmetic.causal_attention(batch, heads, n_q, n_kv, d_qk, d_v) == expected


def test_causal_attention_of_clip_by_hand():
    # 77 rows see 1, 2, .. 77 keys: 77 * 78 / 2 = 3003 pairs of 77 * 77 = 5929. 12 heads, 64 + 64 products a pair.
    assert arithmetic.causal_attention(1, 12, 77, 77, 64, 64) == 12 * 3003 * 128 == 4_612_608
    assert arithmetic.attention(1, 12, 77, 77, 64, 64) == 12 * 5929 * 128 == 9_106_944


@given(SIZES, SIZES)
def test_outer_is_a_mac_a_product(n, m):
    # for i, for j: c[i, j] = x[i] * y[j]
    assert arithmetic.outer(n, m) == counted(n, m)


@given(FEW, SIZES, SIZES, SIZES)
def test_bilinear_is_a_mac_a_weight(rows, in1_features, in2_features, out_features):
    # for row, for k, for i, for j: y[row, k] += x1[row, i] * a[k, i, j] * x2[row, j]
    expected = counted(rows, out_features, in1_features, in2_features)
    assert arithmetic.bilinear(rows, in1_features, in2_features, out_features) == expected


@given(SIZES, st.integers(0, 2))
def test_real_macs_are_the_products_of_real_parts(n, complex_operands):
    # A complex number has two parts, a real one one; each part of the one meets each part of the other.
    parts = (2 if complex_operands > 0 else 1, 2 if complex_operands > 1 else 1)
    assert arithmetic.real_macs(n, complex_operands) == counted(n, *parts)


@given(st.integers(-9, 9), st.integers(-9, 9))
def test_smaller_is_min(a, b):
    assert arithmetic.smaller(a, b) == min(a, b)


@pytest.mark.parametrize(
    "formula",
    [
        lambda a, b, c: arithmetic.smaller(a, b) + c,
        lambda a, b, c: (
            arithmetic.conv_out(a, 3, 2, 1) + arithmetic.conv_out(b + 1, 3, 2) + arithmetic.conv_out(c, 1, 3)
        ),
        lambda a, b, c: arithmetic.conv(a, 4, 6, (3, 3), (b, c), 2),
        lambda a, b, c: arithmetic.conv_transpose(a, 4, 6, (3, 3), (b, c), 2),
        arithmetic.linear,
        lambda a, b, c: arithmetic.matmul(a, b, 3, c),
        lambda a, b, c: arithmetic.attention(a, 2, b, c, 3, 4),
        lambda a, b, c: arithmetic.causal_attention(a, 2, b, c, 3, 4),
        lambda a, b, c: arithmetic.outer(a * b, c),
        lambda a, b, c: arithmetic.bilinear(a, b, c, 2),
        lambda a, b, c: arithmetic.real_macs(a * b * c),
    ],
)
@loops
@given(sizes=st.tuples(*[st.integers(1, 99)] * 3))
def test_symbols_give_what_ints_give(formula, sizes):
    symbols = sympy.symbols("a b c", integer=True, positive=True)
    expected = formula(*sizes)

    assert isinstance(expected, int)
    assert formula(*symbols).subs(dict(zip(symbols, sizes, strict=True))) == expected
