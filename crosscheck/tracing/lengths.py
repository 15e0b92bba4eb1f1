"""Lengths over which softmax, average pooling and Fourier transforms add up: a headline has none of it."""

from __future__ import annotations

from math import prod
from typing import Any

from crosscheck.records import Op, Shape


def reduced_size(op: Op, name: str, args: Any, shapes: tuple[Shape, ...], out: Shape) -> int:
    """Size of the dimension a softmax runs over; what an average pooling adds up over one channel, all windows; points
    of one Fourier transform.
    """
    if op == "softmax" and shapes[0]:
        length: int = shapes[0][args[1]]
        return length
    if op == "fft":
        sizes = out if name == "_fft_c2r" else shapes[0]  # of the real side, which has all points
        return prod(sizes[dim] for dim in args[1])
    if name not in {"avg_pool2d", "avg_pool3d"}:
        return 0
    dims = int(name[-2])
    stated = dict(zip(("kernel", "stride", "padding", "ceil", "include_pad"), args[1:], strict=False))
    kernel, padding = _each(stated["kernel"], dims), _each(stated.get("padding", 0), dims)
    stride = _each(stated.get("stride") or kernel, dims)
    margin = padding if stated.get("include_pad", True) else (0,) * dims
    sides = zip(shapes[0][-dims:], out[-dims:], kernel, stride, padding, margin, strict=True)
    return prod(
        sum(max(min(i * s - p + k, size + m) - max(i * s - p, -m), 0) for i in range(outputs))
        for size, outputs, k, s, p, m in sides
    )


def _each(value: Any, dims: int) -> tuple[int, ...]:
    """A size for each dimension."""
    given = (value,) if isinstance(value, int) else tuple(value)
    return given * dims if len(given) == 1 else given
