"""Claims as their file has them, and what an audit says of each."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec

from crosscheck.records import Record, Term

Verdict: TypeAlias = Literal["reproduced", "ambiguous", "near", "refuted"]
Amount: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
Seconds: TypeAlias = Annotated[float, msgspec.Meta(gt=0, lt=1e9)]


class Claim(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A number that somebody published, as it is printed."""

    name: str
    model: str
    component: str
    """A component's name, or ``generation``."""
    value: str
    """Its digits are its precision."""
    unit: str
    """``GMACs``, ``TFLOPs``, ``M params``; ``G`` alone says neither."""
    source: str
    height: Amount | None = None
    width: Amount | None = None
    frames: Amount | None = None
    batch_size: Amount | None = None
    steps: Amount | None = None
    guidance_scale: Annotated[float, msgspec.Meta(ge=0, le=1000)] | None = None
    scheduler: str | None = None
    calls: Amount | None = None
    """Calls of the component that the number is of; default one."""
    counter: str | None = None
    """The backend that it was counted with, where the source says so: no other's conventions are tried."""

    @property
    def forwards(self) -> int:
        """The number of one-image forwards that the claimed number covers, for a component."""
        return (self.calls or 1) * (self.batch_size or 1)


class Accuracy(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A claim about a counter: that it is right about attention, everywhere or more often than another."""

    name: str
    counter: str
    than: str | None = None
    """The other counter; without one, that it is as right on every model."""
    source: str


class Overhead(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A claim about a counter's cost, with times measured side by side, in turn."""

    name: str
    counter: str
    what: str
    """What was run, and where."""
    plain: tuple[Seconds, ...]
    """Of a forward by itself."""
    counted: tuple[Seconds, ...]
    """Of one under the counter."""
    source: str


class Claims(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file of claims."""

    claim: tuple[Claim, ...] = ()
    accuracy: tuple[Accuracy, ...] = ()
    overhead: tuple[Overhead, ...] = ()


class Misjudged(Record, frozen=True, kw_only=True):
    """The error of a counter on one component's attention, in MACs."""

    model: str
    component: str
    attention: int
    """What it is."""
    off: int
    than: int | None = None
    """How far off the other counter is."""


class Weighed(Record, frozen=True, kw_only=True):
    """A claim of accuracy, held against every component that has attention and that the counters have numbers of."""

    accuracy: Accuracy
    components: tuple[Misjudged, ...]


class Fit(Record, frozen=True, kw_only=True):
    """A convention under which a model comes to a number."""

    convention: tuple[str, ...]
    """What it does otherwise than the recommended total; empty where nothing."""
    exact: int
    """What it comes to, in the units of ``unit`` without its prefix."""
    parts: tuple[Term, ...] = ()
    """Of one change of a bridge, what it is made of, where that is known; they add up to it."""


class Audited(Record, frozen=True, kw_only=True):
    """A claim, and the simplest convention that prints its digits."""

    name: str
    model: str
    component: str
    verdict: Verdict
    published: str
    convention: str = ""
    exact: int | None = None
    """What that convention comes to, where one prints the digits, or is near."""
    recommended: int | None = None
    """The recommended total, in the claim's unit without its prefix."""
    distance: int | None = None
    """``exact`` less the published number, rounded to a whole one."""
    steps: tuple[Fit, ...] = ()
    """From the recommended total to ``exact``, one change after the other, and what each comes to."""
    others: tuple[Fit, ...] = ()
    """Further conventions that print the same digits: not told apart at this precision; of one that is near, those
    that are near and as simple."""
    habits: dict[str, bool] = {}
    """What published numbers are often found to do, and whether this one does; where the simplest conventions agree."""
    space: int = 0
    """Numbers that were tried."""
    simple: int = 0
    """Of them, by conventions as simple as ``convention``; all, where none fits."""
    chance: float = 0.0
    """That a number drawn from the decade around the published one prints as any of ``simple``; or, where no number
    prints the digits, that it is near one."""
    source: str = ""
