"""Layers that torch runs as one kernel of its own, instead of by their parts.

nn.MultiheadAttention and nn.TransformerEncoderLayer do in evaluation, without gradients, on real tensors, where no mode
or hook would miss their parts (torch/nn/modules/activation.py:1355-1433, transformer.py:838-917 of 2.13.0). So does
nn.TransformerEncoder leave out the tokens that its mask calls padding (transformer.py:527-531). A trace of ours is such
a mode, so it never sees that; a tool that is none, does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch
from torch import nn

from crosscheck.case import Case
from crosscheck.tracing.calling import call
from crosscheck.tracing.patching import replaced

_KERNELS: dict[Any, str] = {
    nn.MultiheadAttention: "_native_multi_head_attention",
    nn.TransformerEncoderLayer: "_transformer_encoder_layer_fwd",
}


Tokens = tuple[int, int]
"""How many torch keeps, and of how many."""


def natives(case: Case) -> dict[int, Tokens]:
    """Ids of the layers that run as one kernel, and of all that is inside them; (0, 0) where no token is left out.

    The forward is run, up to twice: the conditions are torch's, and not repeated here.
    """
    layers: list[Any] = [module for module in case.module.modules() if isinstance(module, tuple(_KERNELS))]
    if case.device == "meta" or not layers:
        return {}
    found, padded = _run(case)
    outer = [module for module in layers if id(module) in found and isinstance(module, nn.TransformerEncoderLayer)]
    if outer:
        with ExitStack() as stack:
            for module in outer:  # a hook has them run by their parts
                stack.callback(module.register_forward_hook(lambda *_: None).remove)
            found |= _run(case)[0]
    seen = {id(part): padded[id(layer)] for layer in layers if id(layer) in padded for part in layer.modules()}
    return {id(p): seen.get(id(p), (0, 0)) for layer in layers if id(layer) in found for p in layer.modules()}


def _run(case: Case) -> tuple[set[int], dict[int, Tokens]]:
    found: set[int] = set()
    padded: dict[int, Tokens] = {}

    def ran(module: nn.Module, *_: Any) -> None:
        found.add(id(module))

    def left_out(encoder: nn.Module, _: Any, mask: torch.Tensor, *others: Any) -> None:
        for layer in encoder.layers:
            left, tokens = padded.get(id(layer), (0, 0))
            padded[id(layer)] = (left + int(mask.sum()), tokens + mask.numel())

    modes = {m: m.training for m in case.module.modules() if hasattr(m, "training")}  # a frozen script has none
    try:
        case.module.eval()
        with ExitStack() as stack, torch.no_grad():
            for cls, kernel in _KERNELS.items():
                stack.enter_context(_watching(cls, kernel, ran))
            stack.enter_context(_watching(nn.TransformerEncoder, "_nested_tensor_from_mask", left_out))
            stack.enter_context(suppress(Exception))  # one that runs once only
            call(case)
    finally:
        for module, training in modes.items():
            module.training = training
    return found, padded


@contextmanager
def _watching(cls: type[nn.Module], kernel: str, ran: Callable[..., None]) -> Iterator[None]:
    """Tell ``ran`` of each call of ``kernel`` in the forward of a module of ``cls``."""
    inside: list[nn.Module] = []
    forward: Callable[..., Any] = cls.forward
    original = getattr(torch, kernel)

    def entered(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        inside.append(module)
        try:
            return forward(module, *args, **kwargs)
        finally:
            inside.pop()

    def run(*args: Any, **kwargs: Any) -> Any:
        if inside:
            ran(inside[-1], *args)
        return original(*args, **kwargs)

    with replaced(cls, "forward", entered), replaced(torch, kernel, run):
        yield
