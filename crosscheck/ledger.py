"""Ledgers as JSON: in and out, read with suspicion; and the provenance that goes into them."""

from __future__ import annotations

import gzip
import io
import platform
import zlib
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeVar

import msgspec
from packaging.version import Version

from crosscheck.errors import ConfigError
from crosscheck.records import FLOPS_PER_MAC, SCHEMA, Component, Counted, Generation, Ledger, Recommended

#: The largest ledger of the catalogue, with its census, is a fifth of this.
MAX_BYTES = 16_000_000

T = TypeVar("T")
_GZIP = b"\x1f\x8b"
_WANTED = "give a file that crosscheck wrote with --json or -o"


#: Packages whose release decides a count.
PACKAGES = ("torch", "diffusers", "transformers", "accelerate", "peft", "thop", "fvcore")


def environment(device: str = "meta") -> dict[str, str]:
    """Releases that decide a count: Python's, the packages', and the device. No host, no path, no clock."""
    found = {"python": platform.python_version(), "device": device}
    for name in PACKAGES:
        try:
            found[name] = str(Version(version(name)))
        except PackageNotFoundError:
            continue
    return found


class Stamp(msgspec.Struct):
    """A file's own statement of its kind, whatever else is in it."""

    schema: int
    witness: str = ""
    """Empty in the ledger of a run."""
    workload: dict[str, object] | None = None


def of_modules(model: str, components: Sequence[Component], device: str = "meta") -> Ledger:
    """The ledger of modules counted by themselves, with `crosscheck.check`."""
    return Ledger(schema=SCHEMA, model=model, environment=environment(device), components=tuple(components))


def load(path: Path) -> Ledger:
    """Read a ledger. Raises `ConfigError` for an unknown schema and for a record that contradicts itself."""
    content = read(path)
    stamp(path, content)
    ledger = decoded(path, content, Ledger)
    for contradiction in contradictions(ledger):
        raise ConfigError(f"{path}: the record contradicts itself: {contradiction}")
    return ledger


def runs(path: Path) -> list[Path]:
    """``path``; where it is a folder, each file in it that is the ledger of a pipeline's run, by name.

    Raises `ConfigError` for a folder without any.
    """
    if not path.is_dir():
        return [path]
    files = (*path.glob("*.json"), *path.glob("*.json.gz"))
    found = sorted(filter(_is_of_a_run, files), key=lambda file: file.stem)
    if not found:
        raise ConfigError(f"{path}: holds no ledger of a run; crosscheck run MODEL --json {path}/MODEL.json writes one")
    return found


def _is_of_a_run(path: Path) -> bool:
    try:
        return decoded(path, read(path), Stamp).workload is not None
    except ConfigError:
        return False


def read(path: Path) -> bytes:
    """The file's JSON, unpacked where it is gzipped. Raises `ConfigError` where it can't be read or is too long."""
    try:
        with path.open("rb") as file:  # a pipe has no size
            content = file.read(MAX_BYTES + 1)
        if content.startswith(_GZIP):
            content = gzip.GzipFile(fileobj=io.BytesIO(content)).read(MAX_BYTES + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ConfigError(f"{path}: not a ledger: a broken gzip file; {_WANTED}") from error
    except OSError as error:
        raise ConfigError(f"{path}: can't be read: {error.strerror}; {_WANTED}") from error
    if len(content) > MAX_BYTES:
        raise ConfigError(f"{path}: too long; allowed: up to {MAX_BYTES:,} bytes")
    return content


def stamp(path: Path, content: bytes) -> Stamp:
    """The kind of a ledger. Raises `ConfigError` for another schema, and for what is no ledger."""
    stated = decoded(path, content, Stamp)
    if stated.schema != SCHEMA:
        raise ConfigError(
            f"{path}: schema {stated.schema}; allowed: {SCHEMA}; read it with the crosscheck that wrote it"
        )
    return stated


def decoded(path: Path, content: bytes, kind: type[T]) -> T:
    """``content`` as a record. Raises `ConfigError` where it is none."""
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: not a ledger: {error}; {_WANTED}") from error


def contradictions(ledger: Ledger) -> Iterator[str]:
    """Contradictions between a ledger's own numbers."""
    names = [component.name for component in ledger.components]
    yield from (f"{name} is there {names.count(name)} times, not once" for name in names if names.count(name) > 1)
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
                if name == "aten" and component.census:
                    rows = component.census.ops
                    odd = next((row for row in rows if row.count < 1 or row.macs % row.count), None)
                    if odd:
                        yield f"{where}: census: {odd.macs} MACs of {odd.aten} are not those of {odd.count} alike"
                    ran = sum(row.macs for row in rows)
                    yield from _differs(f"{where}: aten: macs", outcome.macs, ran)
    if ledger.generation:
        yield from _generation_contradictions(ledger.generation)


def _generation_contradictions(generation: Generation) -> Iterator[str]:
    yield from _unequal("generation", generation.recommended)
    for part in generation.components:
        yield from _differs(f"generation: {part.name}: calls", part.calls, sum(case.calls for case in part.cases))
        if part.macs is not None:
            total = sum(case.calls * (case.macs or 0) for case in part.cases)
            yield from _differs(f"generation: {part.name}: macs", part.macs, total)
        sizes = {case.batch_size for case in part.cases}
        size = sizes.pop() if len(sizes) == 1 else None
        yield from _differs(f"generation: {part.name}: batch_size", part.batch_size, size)
        if generation.recommended.status == "confirmed":
            for case in part.cases:
                yield from _differs(f"generation: {part.name}: analytic", case.analytic, case.aten)
    if generation.recommended.macs is not None:
        total = sum(part.macs or 0 for part in generation.components)
        yield from _differs("generation: recommended", generation.recommended.macs, total)


def _unequal(where: str, total: Recommended) -> Iterator[str]:
    if total.macs is not None:
        yield from _differs(f"{where}: recommended flops", total.flops, FLOPS_PER_MAC * total.macs)
        yield from _differs(f"{where}: recommended macs", total.macs, sum(total.by_op.values()))


def _differs(what: str, stated: int | None, derived: int | None) -> Iterator[str]:
    if stated != derived:
        yield f"{what} is {stated}, its parts give {derived}"
