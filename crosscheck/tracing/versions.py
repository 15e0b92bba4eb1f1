"""Differences between versions of torch, diffusers and transformers: nothing else asks which is installed.

What a counter counts differently by version is knowledge about the counter, and stands in `crosscheck.causes`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


def signature(method: Callable[..., Any]) -> inspect.Signature:
    """The parameters of a model's own method.

    Up to diffusers 0.36 the hook of ``decode`` and ``encode`` (diffusers/utils/accelerate_utils.py) hides them: its
    wrapper does not say what it wraps, so the method is taken from the wrapper's closure.
    """
    function = inspect.unwrap(method)
    function = getattr(function, "__func__", function)
    if getattr(function, "__module__", "") == "diffusers.utils.accelerate_utils" and function.__closure__:
        own = inspect.signature(function.__closure__[0].cell_contents)
        return own.replace(parameters=list(own.parameters.values())[1:])  # without self
    return inspect.signature(method)


def flop_counter_mode() -> Any:
    """FlopCounterMode of torch, or None: it came with torch 2.1."""
    try:
        from torch.utils.flop_counter import FlopCounterMode
    except ImportError:
        return None
    return FlopCounterMode


def add_tokens_encoder(tokenizer: Any) -> None:
    """Give a fast tokenizer of transformers up to 4.33 the attribute that diffusers asks it for."""
    if not hasattr(tokenizer, "added_tokens_encoder"):
        tokenizer.added_tokens_encoder = tokenizer.get_added_vocab()


def safe_softmax() -> list[Any]:
    """The operator of attention's softmax on meta, which came with torch 2.5; before, it is ``_softmax``."""
    import torch

    return [torch.ops.aten._safe_softmax.default] if hasattr(torch.ops.aten, "_safe_softmax") else []


@contextmanager
def meta_kernel(operator: str, kernel: Callable[..., Any]) -> Iterator[None]:
    """Inside, ``aten::operator`` has a Meta kernel: torch's own where it ships one, else ``kernel``."""
    import torch

    if torch._C._dispatch_has_kernel_for_dispatch_key(f"aten::{operator}", "Meta"):
        yield
        return
    library = torch.library.Library("aten", "IMPL")
    library.impl(operator, kernel, "Meta")
    try:
        yield
    finally:
        del library  # which takes the kernel away; _destroy came with torch 2.1
