"""The functions that counters replace on ``torch``, ``torch.nn.functional`` and ``torch.Tensor``, and an observer.

A replaced attribute sees what no mode of torch's does: the name under which a function was called (``a @ b`` is no
``a.matmul(b)``), how its arguments were given, and calls by Python code of torch's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F

_OWNERS = {"F": F, "torch": torch, "Tensor": torch.Tensor}
_NAMES = {
    "F": "linear conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d scaled_dot_product_attention "
    "multi_head_attention_forward relu prelu elu leaky_relu relu6 hardtanh silu gelu softmax batch_norm layer_norm "
    "instance_norm group_norm avg_pool1d avg_pool2d avg_pool3d max_pool1d max_pool2d max_pool3d adaptive_avg_pool1d "
    "adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d upsample "
    "interpolate",
    "torch": "matmul mm bmm addmm baddbmm einsum mul add",
    "Tensor": "matmul __matmul__ mm bmm addmm baddbmm mul add",
}

Wrap = Callable[[str, Callable[..., Any]], Callable[..., Any]]
"""Makes of a name, such as ``F.linear``, and the function the one that takes its place."""


@contextmanager
def observing(wrap: Wrap) -> Iterator[None]:
    """Replace each of the functions while inside."""
    with ExitStack() as stack:
        for place, names in _NAMES.items():
            owner = _OWNERS[place]
            for name in names.split():
                function = wrap(f"{place}.{name}", getattr(owner, name))
                stack.enter_context(mock.patch.object(owner, name, function))
        yield


def words(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str, ...]:
    """How arguments were given: ``T`` for a tensor, a plain value as Python writes it, else the type's name."""
    return (*map(_word, args), *(f"{name}={_word(value)}" for name, value in kwargs.items()))


def _word(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return "T"
    if value is None or type(value) in (bool, int, float, str):
        return repr(value)
    if isinstance(value, list | tuple) and all(type(item) in (bool, int, float) for item in value):
        return repr(tuple(value) if type(value) is torch.Size else value)
    return type(value).__name__
