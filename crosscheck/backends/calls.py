"""The functions that counters replace on ``torch``, ``torch.nn.functional`` and ``torch.Tensor``, and an observer.

A replaced attribute sees what no mode of torch's does: the name under which a function was called (``a @ b`` is no
``a.matmul(b)``), how its arguments were given, and calls by Python code of torch's own.
"""

from __future__ import annotations

import types
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

_FUNCTIONS = [(place, name) for place, names in _NAMES.items() for name in names.split()]
_ORIGINALS = {(place, name): getattr(_OWNERS[place], name) for place, name in _FUNCTIONS}
_BUILT_IN = (
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.MethodWrapperType,
)

Wrap = Callable[[str, Callable[..., Any]], Callable[..., Any]]
"""Makes of a name, such as ``F.linear``, and the function the one that takes its place."""


@contextmanager
def observing(wrap: Wrap) -> Iterator[None]:
    """Replace each of the functions while inside."""
    with ExitStack() as stack:
        for place, name in _FUNCTIONS:
            function = wrap(f"{place}.{name}", getattr(_OWNERS[place], name))
            stack.enter_context(mock.patch.object(_OWNERS[place], name, function))
        yield


def original(function: Any) -> Any:
    """Torch's own function, where ``function`` has taken its place.

    Torch hands a mode what has the function's name, also of a call that did not go through it, such as ``a + b``. A
    mode of ours that called it would have a counter count what it can't see.
    """
    if isinstance(function, _BUILT_IN):
        return function
    for key in _FUNCTIONS:
        if getattr(_OWNERS[key[0]], key[1]) is function:
            return _ORIGINALS[key]
    return function


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
