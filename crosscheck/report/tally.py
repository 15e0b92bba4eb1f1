"""A doctor's ledger, read: its groups of cases, the counters in it, and how many cases each gets right."""

from __future__ import annotations

from crosscheck.records import Ledger, Skipped
from crosscheck.report.verdict import outcomes, verdict


def is_doctors(ledger: Ledger) -> bool:
    """Whether a ledger is of single operations, each in a group."""
    return bool(ledger.components) and all(component.group for component in ledger.components)


def groups(ledger: Ledger) -> list[str]:
    """The kinds of cases, in order."""
    return list(dict.fromkeys(component.group for component in ledger.components))


def shown(ledger: Ledger) -> list[str]:
    """Counters that are there, and have an answer for a module."""
    there = dict.fromkeys(name for _, name, outcome in outcomes(ledger) if not isinstance(outcome, Skipped))
    return list(there)


def exact(ledger: Ledger, backend: str, group: str) -> tuple[int, int]:
    """Number of cases of ``group`` that a counter gets right, and of all."""
    parts = [component for component in ledger.components if component.group == group]
    words = [verdict(component.backends[backend]) for component in parts if backend in component.backends]
    return words.count("exact"), len(words)
