"""Output shapes of the commonest operators on meta, worked out here.

Torch's own Meta kernels of these are Python references that decompose into a dozen primitives each; they take most of
the time of a forward on meta. Where a case is not the plain one, contiguous and of one dtype, torch's kernel answers.
Every tool runs above this, and sees the same operators as without it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from crosscheck.tracing import versions


class QuickMeta(TorchDispatchMode):
    """While entered, answers the commonest operators on meta with empty tensors of the right shape."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # True would import torch._dynamo, a second and a half (torch/utils/_python_dispatch.py:109)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        rule = RULES.get(func)
        if rule is not None and (not kwargs or kwargs.keys() == {"approximate"}):  # of gelu: no matter of shapes
            answer = rule(*args)
            if answer is not None:
                return answer
        return func(*args, **(kwargs or {}))


def _plain(*tensors: Any) -> bool:
    """Contiguous floating meta tensors of one dtype; None stands for an absent weight."""
    given = [t for t in tensors if t is not None]
    return all(
        type(t) in _TYPES and t.is_meta and t.dtype == given[0].dtype and t.is_floating_point() and _row_major(t)
        for t in given
    )


def _row_major(tensor: Tensor) -> bool:
    """Contiguous in its strides too: where a size is 1, ``is_contiguous`` takes any, and torch would keep them."""
    expected = 1
    for size, stride in zip(reversed(tensor.shape), reversed(tensor.stride()), strict=True):
        if stride != expected:
            return False
        expected *= max(size, 1)
    return True


_TYPES = (Tensor, torch.nn.Parameter)


def _same(x: Any, *_: Any) -> Tensor | None:
    return x.new_empty(x.shape) if _plain(x) else None


def _with_number(x: Any, number: Any) -> Tensor | None:
    return x.new_empty(x.shape) if isinstance(number, int | float) and _plain(x) else None


def _binary(x: Any, y: Any) -> Tensor | None:
    if isinstance(y, Tensor):
        return x.new_empty(torch.broadcast_shapes(x.shape, y.shape)) if _plain(x, y) else None
    return _with_number(x, y)


def _mean(x: Any, dims: Any, keepdim: bool = False) -> Tensor | None:
    if not _plain(x) or not dims:
        return None
    reduced = {dim % x.dim() for dim in dims if -x.dim() <= dim < x.dim()}
    if len(reduced) != len(dims):
        return None
    return x.new_empty([1 if i in reduced else n for i, n in enumerate(x.shape) if keepdim or i not in reduced])


def _vector_norm(x: Any, order: Any = 2, dims: Any = None, keepdim: bool = False) -> Tensor | None:
    return _mean(x, dims, keepdim)


def _cat(parts: Any, dim: int = 0) -> Tensor | None:
    shape = list(parts[0].shape) if parts else []
    if not shape or not _plain(*parts) or not -len(shape) <= dim < len(shape):
        return None
    shape[dim] = 0
    for part in parts:
        other = list(part.shape)
        if len(other) != len(shape) or 0 in other:
            return None
        shape[dim] += other[dim]
        other[dim] = shape[dim]
        if other != shape:
            return None
    return parts[0].new_empty(shape)


def _addmm(bias: Any, x: Any, weight: Any) -> Tensor | None:
    return _mm(x, weight) if bias.dtype == x.dtype else None


def _mm(x: Any, weight: Any) -> Tensor | None:
    # the weight arrives transposed, and so not contiguous
    fits = x.is_meta and weight.is_meta and x.dtype == weight.dtype and x.dim() == weight.dim() == 2
    return x.new_empty((x.shape[0], weight.shape[1])) if fits and x.shape[1] == weight.shape[0] else None


def _bmm(x: Any, y: Any) -> Tensor | None:
    fits = x.is_meta and y.is_meta and x.dtype == y.dtype and x.dim() == y.dim() == 3
    alike = fits and x.shape[0] == y.shape[0] and x.shape[2] == y.shape[1]
    return x.new_empty((x.shape[0], x.shape[1], y.shape[2])) if alike else None


def _layer_norm(x: Any, shape: Any, weight: Any, bias: Any, eps: float) -> tuple[Tensor, Tensor, Tensor] | None:
    if not _plain(x, weight, bias) or x.dtype != torch.float32 or tuple(x.shape[-len(shape) :]) != tuple(shape):
        return None
    statistics = (*x.shape[: -len(shape)], *(1 for _ in shape))
    return x.new_empty(x.shape), x.new_empty(statistics), x.new_empty(statistics)


def _group_norm(
    x: Any, weight: Any, bias: Any, n: int, channels: int, positions: int, groups: int, eps: float
) -> tuple[Tensor, Tensor, Tensor] | None:
    if not _plain(x, weight, bias) or x.dtype != torch.float32 or channels % groups:
        return None
    return x.new_empty(x.shape), x.new_empty((n, groups)), x.new_empty((n, groups))


def _convolution(
    x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, transposed: bool, extra: Any, groups: int
) -> Tensor | None:
    if transposed or not _plain(x, weight, bias) or x.dim() != weight.dim() or x.shape[1] != weight.shape[1] * groups:
        return None
    if {len(stride), len(padding), len(dilation)} != {x.dim() - 2}:
        return None  # one value for all dimensions
    dimensions = zip(x.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True)
    sizes = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in dimensions]
    return x.new_empty((x.shape[0], weight.shape[0], *sizes)) if all(size > 0 for size in sizes) else None


RULES: dict[Any, Callable[..., Any]] = {
    **dict.fromkeys(
        (
            torch.ops.aten.silu.default,
            torch.ops.aten.gelu.default,
            torch.ops.aten.sigmoid.default,
            torch.ops.aten.tanh.default,
            torch.ops.aten.neg.default,
            torch.ops.aten.rsqrt.default,
            torch.ops.aten._softmax.default,
            *versions.safe_softmax(),
        ),
        _same,
    ),
    **dict.fromkeys(
        (
            torch.ops.aten.add.Tensor,
            torch.ops.aten.sub.Tensor,
            torch.ops.aten.mul.Tensor,
            torch.ops.aten.mul.Scalar,
            torch.ops.aten.div.Tensor,
        ),
        _binary,
    ),
    **dict.fromkeys((torch.ops.aten.pow.Tensor_Scalar, torch.ops.aten.clamp_min.default), _with_number),
    torch.ops.aten.mean.dim: _mean,
    torch.ops.aten.linalg_vector_norm.default: _vector_norm,
    torch.ops.aten.cat.default: _cat,
    torch.ops.aten.addmm.default: _addmm,
    torch.ops.aten.mm.default: _mm,
    torch.ops.aten.bmm.default: _bmm,
    torch.ops.aten.native_layer_norm.default: _layer_norm,
    torch.ops.aten.native_group_norm.default: _group_norm,
    torch.ops.aten.convolution.default: _convolution,
}
