"""The laws that every backend is tested with, for authors of backends too.

A law takes the name of a registered backend and raises `BrokenLawError`, saying what was counted and what the law
wants, or returns. What the backend's causes explain is taken off its numbers first. `LAWS` has them all::

    from crosscheck import testing


    @pytest.mark.parametrize("law", testing.LAWS)
    def test_laws(law):
        law("my-counter")
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from crosscheck.engine.check import check
from crosscheck.records import Counted


class BrokenLawError(AssertionError):
    """A backend's numbers break a law that every count obeys."""


class _Attention(nn.Module):
    """A convolution, a linear layer and one attention head: every op that a headline has, but matmul."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 8, 3, padding=1)
        self.linear = nn.Linear(8, 24)

    def forward(self, x: Any) -> Any:
        q, k, v = self.linear(self.conv(x).flatten(2).transpose(1, 2)).unsqueeze(1).chunk(3, dim=-1)
        return F.scaled_dot_product_attention(q, k, v).squeeze(1)


class _Twice(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Any) -> Any:
        return self.module(x) + self.module(x)


class _Reshapes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(()))  # some counters ask a module's first parameter where it is

    def forward(self, x: Any) -> Any:
        return x.flatten(1).unflatten(1, x.shape[1:]).transpose(1, 2).contiguous()[:, :1]


def _macs(backend: str, module: nn.Module, *shape: int) -> int:
    """MACs that ``backend`` counts, less those of its declared causes."""
    outcome = check(module.to("meta"), torch.zeros(shape, device="meta"), backends=(backend,))[backend]
    if not isinstance(outcome, Counted):
        raise BrokenLawError(f"{backend} gives no number: {outcome}")
    return outcome.macs - sum(term.macs for term in outcome.terms)


def _equal(law: str, backend: str, got: int, wanted: int) -> None:
    if got != wanted:
        raise BrokenLawError(f"{law}: {backend} counts {got:,} MACs; the law wants {wanted:,}")


def doubling_the_batch_doubles_macs(backend: str) -> None:
    """Twice the images are twice the work."""
    one, two = (_macs(backend, _Attention(), batch, 4, 6, 6) for batch in (1, 2))
    _equal("doubling the batch", backend, two, 2 * one)


def a_module_called_twice_counts_twice(backend: str) -> None:
    """Calls count, not modules."""
    once, twice = _macs(backend, _Attention(), 1, 4, 6, 6), _macs(backend, _Twice(_Attention()), 1, 4, 6, 6)
    _equal("calling a module twice", backend, twice, 2 * once)


def sequential_adds_up(backend: str) -> None:
    """The parts of a chain make the whole."""
    first, second = nn.Conv2d(4, 8, 3), nn.Conv2d(8, 2, 1)
    parts = _macs(backend, first, 1, 4, 6, 6) + _macs(backend, second, 1, 8, 4, 4)
    _equal("chaining modules", backend, _macs(backend, nn.Sequential(first, second), 1, 4, 6, 6), parts)


def reshaping_is_free(backend: str) -> None:
    """A module that only moves data has no MACs."""
    _equal("reshaping", backend, _macs(backend, _Reshapes(), 2, 4, 6), 0)


def repeating_changes_nothing(backend: str) -> None:
    """The same count again, on the same module."""
    module = _Attention()
    first, second = (_macs(backend, module, 1, 4, 6, 6) for _ in range(2))
    _equal("counting again", backend, second, first)


LAWS: tuple[Callable[[str], None], ...] = (
    doubling_the_batch_doubles_macs,
    a_module_called_twice_counts_twice,
    sequential_adds_up,
    reshaping_is_free,
    repeating_changes_nothing,
)
