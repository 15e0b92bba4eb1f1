"""Transforms that torch.func puts around a tensor: torch.vmap, which hides a dimension, and differentiation."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

import torch

_DERIVATIVES = ("TransformType.Grad", "TransformType.Jvp")


def is_mapped(tensor: torch.Tensor) -> bool:
    """Whether torch.vmap hides a dimension of it."""
    return bool(torch._C._functorch.is_batchedtensor(tensor))


def mapped_calls(tensors: Iterable[torch.Tensor]) -> int:
    """Number of calls that torch.vmap makes one: the product of the dimensions that it hides in them."""
    sizes = {}
    functorch = torch._C._functorch
    for tensor in tensors:
        shown = tensor
        while (mapped := is_mapped(shown)) or functorch.is_gradtrackingtensor(shown):
            held = functorch.get_unwrapped(shown)
            if mapped:
                sizes[functorch.maybe_get_level(shown)] = held.shape[functorch.maybe_get_bdim(shown)]
            shown = held
    return prod(sizes.values())


def is_differentiated() -> bool:
    """Whether a transform that differentiates is on: torch.func.grad, jvp and their kind."""
    functorch = torch._C._functorch
    if functorch.peek_interpreter_stack() is None:
        return False
    stack = getattr(functorch, "get_interpreter_stack", None)  # before torch 2.3 only the innermost can be asked
    return any(str(one.key()) in _DERIVATIVES for one in (stack() if stack else [functorch.peek_interpreter_stack()]))
