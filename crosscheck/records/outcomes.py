"""Outcomes of a backend: an exact ``int`` in MACs, or why it is not known, which is never 0."""

from __future__ import annotations

from operator import attrgetter
from typing import TypeAlias

import msgspec

from crosscheck.records.base import Record
from crosscheck.records.census import Evidence


class Term(Record, frozen=True, kw_only=True):
    """One named cause with its exact, signed share of a gap, in MACs."""

    cause: str
    """Its name, which ``crosscheck explain`` knows."""
    macs: int
    """Beyond the reference; negative where the backend falls short of it."""


class Measured(Record, frozen=True, kw_only=True, tag_field="status", tag="measured"):
    """A backend's own number, before it is held against the reference."""

    version: str
    """Of the tool that was run."""
    macs: int
    """What the tool returned, in MACs of one forward."""
    seconds: float
    """That the tool took."""
    by_op: dict[str, int] = {}
    """MACs by headline op, where the tool tells them apart."""
    uncounted: dict[str, int] = {}
    """Operations the tool itself says it did not count, and how often."""
    isolated: bool = True
    """Ran in a process of its own."""
    memory: int = 0
    """Bytes by which the peak of that process grew."""


class Counted(Measured, frozen=True, kw_only=True, tag_field="status", tag="counted"):
    """A backend's number, its gap to the reference, and the terms that explain the gap."""

    gap: int
    """``macs`` less the reference's."""
    terms: tuple[Term, ...]
    """The causes that were predicted to apply, each with its share of the gap."""
    residual: int
    """``gap`` less the terms; explained means 0."""
    stale_excuse: str = ""
    """The sourced prediction that this backend gives no number here, which it did."""


_KNOWN = property(attrgetter("predicted_by"), doc="`predicted_by`, by the name that it has in a ledger.")


class Skipped(Record, frozen=True, kw_only=True, tag_field="status", tag="skipped"):
    """A backend that does not apply, and why."""

    reason: str
    """In its own words: what is not installed, or which case it does not cover."""
    predicted_by: str = msgspec.field(name="known", default="")
    """The sourced cause that predicts this, if one does."""
    known = _KNOWN


class Failed(Record, frozen=True, kw_only=True, tag_field="status", tag="failed"):
    """A backend that broke, in its own words."""

    error: str
    """The first line of what was raised."""
    version: str = ""
    """Of the tool that was run."""
    predicted_by: str = msgspec.field(name="known", default="")
    """The sourced cause that predicts this failure, if one does."""
    known = _KNOWN


Raw: TypeAlias = Measured | Skipped | Failed


class CaseResult(Record, frozen=True, kw_only=True):
    """Outcomes of the backends for one case, and the census of its forward."""

    outcomes: dict[str, Raw]
    evidence: Evidence = Evidence()
    changes: dict[str, tuple[str, ...]] = {}
    """What each backend left changed on the module or on torch."""


Outcome: TypeAlias = Counted | Skipped | Failed
