"""Laws that any count obeys: the number of one of the doctor's cases follows from that of another."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

#: The label of a doctor's ledger.
NAME = "counters"


class Law(NamedTuple):
    """A law that any count obeys: the number of case ``left`` follows from that of ``right``."""

    name: str
    meaning: str
    left: str
    right: str
    holds: Callable[[int, int, int, int], bool]
    """Of both numbers, then of both truths."""


def _same(left: int, right: int, *truths: int) -> bool:
    return left == right


def _in_proportion(left: int, right: int, truth: int, other: int) -> bool:
    return left * other == right * truth


#: The group of the cases that the laws are about.
CALLED = "how it is called"
_CALLED = f"{CALLED}: "
LAWS = (
    Law("tokens", "twice the tokens are twice the linear layers and four times the attention",
        f"{_CALLED}128 tokens", f"{_CALLED}64 tokens", _in_proportion),
    Law("batch", "two images are twice one", f"{_CALLED}64 tokens of 2 images", f"{_CALLED}64 tokens", _in_proportion),
    Law("alias", "a layer under two parents costs what it costs under one",
        f"{_CALLED}a layer under two parents", f"{_CALLED}a layer called twice", _same),
    Law("again", "counted again in the same process, the same", f"{_CALLED}64 tokens, counted twice",
        f"{_CALLED}64 tokens", _same),
    Law("meta", "on meta as on real tensors", f"{_CALLED}64 tokens on the CPU", f"{_CALLED}64 tokens", _same),
)  # fmt: skip
