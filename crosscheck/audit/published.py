"""Numbers as they are published: their digits, their unit, and how likely a hit is by chance."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from fractions import Fraction
from typing import NamedTuple

from crosscheck.audit.records import Claim

_PREFIXES = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5, "b": 3}
_PRINTED = re.compile(r"(?:\d{1,3}(?:,\d{3})+|[\d_]+)(?:\.\d+)?(?:[eE][+-]?\d{1,2})?", re.ASCII)
#: Digits that a number may have.
_LONGEST = 40
_UNIT = re.compile(r"^\s*([kmgtpb]?)\s*(flops?|macs?|madds?|params?|parameters)?\s*$", re.IGNORECASE)
#: How far off a number may be to be called near, as a share of it.
_NEAR = Fraction(1, 1000)
#: A hit that is likelier by chance is no evidence for its convention.
SIGNIFICANT = 0.05


class Unit(NamedTuple):
    """A unit as printed."""

    kind: str
    """``flops``, ``macs``, ``params``; empty where it does not say."""
    power: int
    """Of 1,000."""

    def prefix(self, binary: bool = False) -> int:
        """The factor of the prefix."""
        return int((1024 if binary else 1000) ** self.power)

    def decimal(self, exact: int, binary: bool) -> int:
        """The same magnitude with a decimal prefix."""
        return exact * self.prefix() // self.prefix(binary)


class Published(NamedTuple):
    """A number as printed."""

    value: Decimal
    unit: Unit

    def prints(self, exact: int, binary: bool = False) -> bool:
        """Whether ``exact`` has the same digits, rounded to the places that are printed."""
        with localcontext(prec=3 * _LONGEST):
            scaled = Decimal(exact) / self.unit.prefix(binary)
            return scaled.quantize(self._step, rounding=ROUND_HALF_EVEN) == self.value

    def whole(self, binary: bool = False) -> int:
        """The number without its prefix, rounded to a whole one."""
        return int((self.value * self.unit.prefix(binary)).to_integral_value())

    @property
    def _step(self) -> Decimal:
        return Decimal(1).scaleb(int(self.value.as_tuple().exponent))

    def near(self, exact: int, binary: bool = False) -> bool:
        """Whether ``exact`` is less than 0.1 % off."""
        return abs(exact - self.whole(binary)) < _NEAR * self.whole(binary)

    def chance(self, candidates: Sequence[int]) -> float:
        """Share of the decade around it, by its logarithm, that prints as one of ``candidates``."""
        step = float(self._step * self.unit.prefix())
        digits = {round(candidate / step) for candidate in candidates}
        return self._covered(((digit - 0.5) * step, (digit + 0.5) * step) for digit in digits)

    def chance_near(self, candidates: Sequence[int]) -> float:
        """Share of the decade around it, by its logarithm, that is near one of ``candidates``."""
        off = float(_NEAR)
        return self._covered((candidate / (1 + off), candidate / (1 - off)) for candidate in candidates)

    def _covered(self, intervals: Iterable[tuple[float, float]]) -> float:
        middle = float(self.whole()) or 1.0
        low, high = middle / math.sqrt(10), middle * math.sqrt(10)
        covered, reached = 0.0, low
        for first, last in sorted(intervals):
            start, end = max(first, reached), min(last, high)
            if end > start:
                covered += math.log(end / start)
                reached = end
        return covered / math.log(10)


def published(claim: Claim) -> Published:
    """The number of ``claim``. Raises `ValueError` where it is none, or its unit is not known."""
    text = claim.value.strip()
    if not _PRINTED.fullmatch(text) or not text.strip("_") or len(text) > _LONGEST:
        raise ValueError(f"value: got {claim.value!r}; allowed: a number as printed, such as '339.224' or '10,232.3'")
    value = Decimal(text.replace(",", "").replace("_", ""))
    match = _UNIT.match(claim.unit)
    if match is None or (match[1] == "b" and not (match[2] or "").lower().startswith("param")):
        raise ValueError(f"unit: got {claim.unit!r}; allowed: FLOPs, MACs or params, with k, M, G, T, P or (params) B")
    kind = (match[2] or "").lower()
    name = "macs" if kind.startswith("ma") else "params" if kind.startswith("p") else "flops" if kind else ""
    return Published(value, Unit(name, _PREFIXES[match[1].lower()]))
