"""Ledgers as JSON: in and out, read with suspicion."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from crosscheck.records import FLOPS_PER_MAC, SCHEMA, ConfigError, Counted, Ledger, Recommended

#: The largest ledger of the catalogue, with its census, is a fifth of this.
MAX_BYTES = 16_000_000


class _Versioned(msgspec.Struct):
    schema: int


def dumps(ledger: Ledger) -> str:
    """The ledger as JSON text, schema 1."""
    return msgspec.json.format(msgspec.json.encode(ledger), indent=1).decode() + "\n"


def load(path: Path) -> Ledger:
    """Read a ledger. Raises `ConfigError` for an unknown schema and for a record that contradicts itself."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"{path}: {path.stat().st_size:,} bytes; allowed: up to {MAX_BYTES:,}")
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: can't be read: {error.strerror}") from error
    try:
        schema = msgspec.json.decode(content, type=_Versioned).schema
        if schema != SCHEMA:
            raise ConfigError(f"{path}: schema {schema}; allowed: {SCHEMA}; read it with the crosscheck that wrote it")
        ledger = msgspec.json.decode(content, type=Ledger)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: not a ledger: {error}") from error
    for contradiction in contradictions(ledger):
        raise ConfigError(f"{path}: the record contradicts itself: {contradiction}")
    return ledger


def contradictions(ledger: Ledger) -> Iterator[str]:
    """Where a ledger's own numbers don't add up."""
    for component in ledger.components:
        where = component.name
        yield from _unequal(where, component.recommended)
        for name, outcome in component.backends.items():
            if isinstance(outcome, Counted):
                yield from _differs(f"{where}: {name}: residual", outcome.residual,
                                    outcome.gap - sum(term.macs for term in outcome.terms))  # fmt: skip
                if component.recommended.macs is not None:
                    yield from _differs(f"{where}: {name}: gap", outcome.gap, outcome.macs - component.recommended.macs)
                if outcome.by_op:
                    yield from _differs(f"{where}: {name}: macs", outcome.macs, sum(outcome.by_op.values()))
    generation = ledger.generation
    yield from _unequal("generation", generation.recommended)
    for part in generation.components:
        yield from _differs(f"generation: {part.name}: calls", part.calls, sum(case.calls for case in part.cases))
        if part.macs is not None:
            total = sum(case.calls * (case.macs or 0) for case in part.cases)
            yield from _differs(f"generation: {part.name}: macs", part.macs, total)
    if generation.recommended.macs is not None:
        total = sum(part.macs or 0 for part in generation.components)
        yield from _differs("generation: recommended", generation.recommended.macs, total)


def _unequal(where: str, total: Recommended) -> Iterator[str]:
    if total.macs is not None:
        yield from _differs(f"{where}: recommended flops", total.flops, FLOPS_PER_MAC * total.macs)
        yield from _differs(f"{where}: recommended macs", total.macs, sum(total.by_op.values()))


def _differs(what: str, stated: int | None, derived: int) -> Iterator[str]:
    if stated != derived:
        yield f"{what} is {stated}, its parts give {derived}"
