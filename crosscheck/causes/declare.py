"""What a cause is, and how one is declared: the files beside this one declare those of a tool each."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from math import prod
from typing import Any, NamedTuple

from crosscheck.records import HEADLINE, CallRow, Census, Failed, ModuleRow, OpRow, Shape, Skipped


class Cause(NamedTuple):
    """One named reason, the backends it applies to, and how much it explains."""

    name: str
    summary: str
    source: str
    backends: frozenset[str]
    predict: Callable[[Census], int]
    """MACs that the backend counts beyond the reference (negative: short of it) for this reason."""
    only_in: str = ""
    """The releases it applies to, e.g. ``torch>=2.3,<2.15``; "" for all."""
    seen_in: tuple[str, ...] = ()
    """The releases in which models as they come show it, by any of these conditions; in others a model has to be
    changed first."""

    @property
    def releases(self) -> tuple[str, ...]:
        """The releases in which models as they come show it; () where that does not depend on them."""
        return (self.only_in,) if self.only_in else self.seen_in


class NoNumber(NamedTuple):
    """A backend without a number, as a source predicts it: the outcome, in its own words, and where they apply."""

    name: str
    summary: str
    source: str
    backends: frozenset[str]
    outcome: type[Failed | Skipped]
    words: re.Pattern[str]
    only_in: str
    applies: Callable[[Census], bool]

    @property
    def releases(self) -> tuple[str, ...]:
        """The releases it applies to; () where that does not depend on them."""
        return (self.only_in,) if self.only_in else ()


CAUSES: dict[str, Cause] = {}
NO_NUMBER: dict[str, NoNumber] = {}


def cause(
    name: str,
    backends: frozenset[str],
    summary: str,
    source: str,
    only_in: str = "",
    seen_in: tuple[str, ...] = (),
) -> Callable[[Callable[[Census], int]], Callable[[Census], int]]:
    """Declare the decorated function as what a cause predicts."""

    def add(predict: Callable[[Census], int]) -> Callable[[Census], int]:
        CAUSES[name] = Cause(name, summary, source, backends, predict, only_in, seen_in)
        return predict

    return add


def no_number(entry: NoNumber) -> None:
    """Declare when a backend has no number."""
    NO_NUMBER[entry.name] = entry


def products(census: Census) -> Iterator[OpRow]:
    """What has MACs."""
    return (row for row in census.ops if row.op in HEADLINE and row.macs)


def elements(row: OpRow) -> int:
    """Elements of the first input, over all of the row's operations."""
    return row.count * prod(row.shapes[0])


def is_complex(row: OpRow) -> bool:
    """Whether numbers are pairs: four MACs for each."""
    return row.dtype.startswith("complex")


def complex_as_real(census: Census, sees: Callable[[OpRow], bool]) -> int:
    """What is missing where a product of complex numbers, four MACs, counts as one, of those that a tool sees."""
    return -sum(3 * row.macs // 4 for row in products(census) if is_complex(row) and sees(row))


def attention_macs(census: Census) -> int:
    """MACs of every scaled_dot_product_attention."""
    return sum(row.macs for row in census.ops if row.op == "attention")


def is_one_of(row: ModuleRow, names: str) -> bool:
    """Whether a module is exactly one of torch's own classes ``names``."""
    package, _, name = row.class_name.rpartition(".")
    return package.startswith("torch.nn.modules.") and name in names.split()


def summed(census: Census, share: Callable[[OpRow, ModuleRow], int]) -> int:
    """``share`` of each row of operations and the modules it ran in."""
    return sum(share(row, census.modules[row.module]) for row in census.ops)


# -- calls of functions ------------------------------------------------------------------------------------------------

TENSOR = "T"


def argument(call: CallRow, position: int, name: str, default: Any = None) -> Any:
    """What was given for a parameter: a plain value, `TENSOR`, or the name of another type."""
    positional, named = given(call)
    word = positional[position] if position < len(positional) else named.get(name)
    if word is None:
        return default
    try:
        return ast.literal_eval(word)
    except (ValueError, SyntaxError):  # a name: T, or that of a type
        return word


def given(call: CallRow) -> tuple[list[str], dict[str, str]]:
    """A call's arguments in words: those by position, those by name."""
    named = [word for word in call.arguments if re.match(r"\w+=", word)]
    return list(call.arguments[: len(call.arguments) - len(named)]), dict(word.split("=", 1) for word in named)


def tensor(call: CallRow, position: int, name: str) -> Shape:
    """The shape of the tensor given for a parameter."""
    positional, named = given(call)
    words = [*positional, *named.values()]
    at = position
    if position >= len(positional) and name in named:
        at = len(positional) + list(named).index(name)
    return call.shapes[sum(word == TENSOR for word in words[:at])]


def real_macs(call: CallRow) -> int:
    """MACs of a call's row, were its numbers real."""
    return call.macs // 4 if call.is_complex else call.macs
