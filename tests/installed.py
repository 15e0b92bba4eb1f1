"""The releases in use, and what they allow."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from crosscheck import causes, ledger
from crosscheck.backends import registry
from crosscheck.case import NotApplicable

INSTALLED = ledger.environment()


def holds(condition: str) -> bool:
    """Whether the releases in use meet ``torch>=2.5``."""
    return causes.holds(condition, INSTALLED)


def needs(condition: str, why: str) -> pytest.MarkDecorator:
    """Skip a test where the releases in use don't meet a condition."""
    return pytest.mark.skipif(not holds(condition), reason=f"{why}: {condition}")


def extra(name: str) -> Any:
    """A counter of the ``counters`` extra, as a parameter; skipped where its package is not installed."""
    try:
        registry.load(name)
    except NotApplicable as reason:
        return pytest.param(name, marks=pytest.mark.skip(reason=str(reason)))
    return name


#: The core backends that give numbers here: torch 2.0 has no counter of its own.
COUNTING = tuple(name for name in registry.CORE if name != "flop_counter" or holds("torch>=2.1"))


def attention_as_products() -> contextlib.AbstractContextManager[Any]:
    """Inside, scaled_dot_product_attention on the CPU runs as matrix products, which torch's counter sees."""
    if holds("torch>=2.3"):
        from torch.nn.attention import SDPBackend, sdpa_kernel

        return sdpa_kernel(SDPBackend.MATH)
    from torch.backends.cuda import sdp_kernel

    return sdp_kernel(enable_flash=False, enable_mem_efficient=False, enable_math=True)
