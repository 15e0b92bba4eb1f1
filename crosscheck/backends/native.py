"""Which layers torch runs as one kernel of its own, instead of by their parts.

nn.MultiheadAttention and nn.TransformerEncoderLayer do in evaluation, without gradients, on real tensors, where no mode
or hook would miss their parts (torch/nn/modules/activation.py:1355-1433, transformer.py:838-917 of 2.13.0). A trace of
ours is such a mode, so it never sees that; a tool that is none, does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any
from unittest import mock

import torch
from torch import nn

from crosscheck.backends.entry import call
from crosscheck.backends.interface import Case

_KERNELS: dict[Any, str] = {
    nn.MultiheadAttention: "_native_multi_head_attention",
    nn.TransformerEncoderLayer: "_transformer_encoder_layer_fwd",
}


def natives(case: Case) -> frozenset[int]:
    """Ids of the layers that run as one kernel, and of all that is inside them.

    The forward is run, up to twice: the conditions are torch's, and not repeated here.
    """
    layers: list[Any] = [module for module in case.module.modules() if isinstance(module, tuple(_KERNELS))]
    if case.device == "meta" or not layers:
        return frozenset()
    found = _run(case)
    outer = [module for module in layers if id(module) in found and isinstance(module, nn.TransformerEncoderLayer)]
    if outer:
        with ExitStack() as stack:
            for module in outer:  # a hook has them run by their parts
                stack.callback(module.register_forward_hook(lambda *_: None).remove)
            found |= _run(case)
    return frozenset(id(part) for layer in layers if id(layer) in found for part in layer.modules())


def _run(case: Case) -> set[int]:
    found: set[int] = set()
    modes = {module: module.training for module in case.module.modules()}
    try:
        case.module.eval()
        with ExitStack() as stack, torch.no_grad():
            for cls, kernel in _KERNELS.items():
                stack.enter_context(_watching(cls, kernel, found))
            stack.enter_context(suppress(Exception))  # one that runs once only
            call(case)
    finally:
        for module, training in modes.items():
            module.training = training
    return found


@contextmanager
def _watching(cls: type[nn.Module], kernel: str, found: set[int]) -> Iterator[None]:
    inside: list[int] = []
    forward: Callable[..., Any] = cls.forward
    original = getattr(torch, kernel)

    def entered(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        inside.append(id(module))
        try:
            return forward(module, *args, **kwargs)
        finally:
            inside.pop()

    def run(*args: Any, **kwargs: Any) -> Any:
        found.update(inside[-1:])
        return original(*args, **kwargs)

    with mock.patch.object(cls, "forward", entered), mock.patch.object(torch, kernel, run):
        yield
