"""Runs of one question held against each other: which numbers changed, by how many MACs, and which terms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations, product

import msgspec
from packaging.version import Version

from crosscheck.errors import UnlikeLedgersError, UsageError
from crosscheck.ledger import PACKAGES
from crosscheck.records import Component, Counted, Ledger, Outcome, Recommended, Record, Term
from crosscheck.report.text import UNKNOWN, count, giga, names, plain, plural, signed, signed_percent
from crosscheck.report.verdict import verdict

UNSETTLED = ("stale excuse", "residual", "failed")
_SEVERITY = ("failed (known)", *UNSETTLED)
RECOMMENDED = "recommended"
GENERATION = "generation"


class Cell(Record, frozen=True, kw_only=True):
    """One number of one run; ``macs`` is None where there is none, and ``verdict`` says why."""

    macs: int | None
    verdict: str
    gap: int | None = None
    """None for a recommended total."""
    terms: tuple[Term, ...] = ()
    predicted_by: str = msgspec.field(name="known", default="")
    """What predicts that there is no number."""

    def __str__(self) -> str:
        if self.macs is None:
            return self.verdict
        if self.gap is None:
            return giga(self.macs)
        unsettled = f" {self.verdict}" if self.verdict in UNSETTLED else ""
        return signed_percent(self.gap, self.macs - self.gap) + unsettled

    def until(self, later: Cell) -> str:
        """Changes from this run to a later one; empty where there are none."""
        changes = []
        if self.macs is not None and later.macs is not None and self.macs != later.macs:
            difference = signed(later.macs - self.macs)
            changes.append(f"{count(self.macs)}, then {count(later.macs)} MACs ({difference})")
        if self.verdict != later.verdict:
            changes.append(f"{self.verdict}, then {later.verdict}")
        changes += [f"no longer {text}" for text in _texts(self, later)]
        changes += [f"now {text}" for text in _texts(later, self)]
        return ", ".join(changes)


class Row(Record, frozen=True, kw_only=True):
    """One backend's number of one component of a model, across the runs."""

    model: str
    device: str
    component: str
    backend: str
    cells: tuple[Cell, ...]

    @property
    def last(self) -> Cell:
        """The last run of this model."""
        return next(cell for cell in reversed(self.cells) if cell.verdict != NOT_RUN)

    @property
    def outcomes(self) -> dict[Cell, tuple[int, ...]]:
        """Each distinct outcome, with the runs it is in, from 1."""
        found: dict[Cell, tuple[int, ...]] = {}
        for number, cell in enumerate(self.cells, start=1):
            if cell.verdict != NOT_RUN:
                found[cell] = (*found.get(cell, ()), number)
        return found

    @property
    def others(self) -> dict[Cell, tuple[int, ...]]:
        """The outcomes that are not the last run's."""
        return {cell: runs for cell, runs in self.outcomes.items() if cell != self.last}

    @property
    def changes(self) -> str:
        """Changes from other runs to the last; empty where there are none."""
        return "; ".join(f"from {numbered(runs)}: {cell.until(self.last)}" for cell, runs in self.others.items())


ABSENT, NOT_RUN = "absent", "not run"


class Comparison(Record, frozen=True, kw_only=True):
    """Models in several environments, a column each, older releases first. Its strings are not escaped."""

    models: tuple[str, ...]
    environments: tuple[dict[str, str], ...]
    labels: tuple[tuple[str, ...], ...]
    """For each run the releases that set it apart."""
    rows: tuple[Row, ...]

    @property
    def changed(self) -> tuple[Row, ...]:
        """The rows in which any run differs from another in the number, its verdict or its terms."""
        return tuple(row for row in self.rows if row.others)

    @property
    def changed_totals(self) -> bool:
        """Whether a recommended total, of a component or of the generation, differs between runs."""
        totals = [{cell.macs for cell in row.outcomes} for row in self.rows if row.backend == RECOMMENDED]
        return any(len(macs) > 1 for macs in totals)

    @property
    def summary(self) -> str:
        """The outcome in one line."""
        totals = "a recommended total changed" if self.changed_totals else "no recommended total changed"
        numbers, runs = plural(len(self.rows), "number"), plural(len(self.labels), "run")
        return f"{names(map(plain, self.models))}: {len(self.changed)} of {numbers} changed over {runs}; {totals}."


def compare(ledgers: Sequence[Ledger]) -> Comparison:
    """Hold runs of the same model and workload against each other; each model in two environments or more.

    Runs are in the order of their releases, and in the order given where these are equal.
    """
    if len(ledgers) < 2:
        raise UsageError(f"got {plural(len(ledgers), 'ledger')}: give two or more, of one model and workload")
    by_model: dict[str, list[Ledger]] = {}
    for ledger in sorted(ledgers, key=lambda ledger: _order(ledger.environment)):
        by_model.setdefault(ledger.model, []).append(ledger)
    _check_alike(by_model)
    runs: dict[tuple[str, int], dict[str, Ledger]] = {}
    for model, runs_of_it in by_model.items():
        seen: list[str] = []
        for ledger in runs_of_it:
            key = _same_environment(ledger)
            runs.setdefault((key, seen.count(key)), {})[model] = ledger
            seen.append(key)
    columns = sorted(runs.values(), key=lambda run: _order(_environment(run)))
    environments = tuple(_environment(run) for run in columns)
    return Comparison(
        models=tuple(by_model),
        environments=environments,
        labels=_labels(environments),
        rows=tuple(row for model in by_model for row in _rows(model, [run.get(model) for run in columns])),
    )


def regressions(baseline: Ledger, fresh: Ledger) -> list[str]:
    """Changes that a gate stops: a recommended total or a counter's verdict that is not as it was.

    Another model under the same name is no bad question here: it is what the gate is for.
    """
    found = []
    for row in _rows(baseline.model, [baseline, fresh]):
        before, after = row.cells
        total = row.backend == RECOMMENDED and before.macs != after.macs
        if total or before.verdict != after.verdict:
            found.append(f"{row.component}: {row.backend}: {before.until(after)}")
    return found


def numbered(runs: Sequence[int]) -> str:
    """``run 3``, ``runs 1, 2 and 5 to 9``."""
    spans: list[list[int]] = []
    for run in runs:
        if spans and spans[-1][-1] == run - 1:
            spans[-1].append(run)
        else:
            spans.append([run])
    parts = [f"{s[0]} to {s[-1]}" if len(s) > 2 else f"{s[0]} and {s[1]}" if len(s) > 1 else str(s[0]) for s in spans]
    return f"{'run' if len(runs) == 1 else 'runs'} {', '.join(parts)}"


def reasons(cell: Cell, other: Cell) -> list[Term]:
    """The terms of one outcome that another has not; what predicts that there is no number is one of 0."""
    changed = cell.predicted_by and cell.predicted_by != other.predicted_by
    predicted = [Term(cause=cell.predicted_by, macs=0)] if changed else []
    return sorted(set(cell.terms) - set(other.terms), key=lambda term: (term.cause, term.macs)) + predicted


def _texts(cell: Cell, other: Cell) -> list[str]:
    return [f"{term.cause} {signed(term.macs)}" if term.macs else term.cause for term in reasons(cell, other)]


# -- which runs belong together ----------------------------------------------------------------------------------------


def _check_alike(by_model: Mapping[str, Sequence[Ledger]]) -> None:
    """Refuse what is not the same question asked twice."""
    alone = [model for model, runs_of_it in by_model.items() if len(runs_of_it) < 2]
    if alone:
        another = next(model for model in by_model if model != alone[-1])
        raise UnlikeLedgersError(
            f"the ledgers differ in model ({plain(another)} and {plain(alone[-1])}), and {plain(alone[-1])} has one "
            "alone: compare runs of one model and workload"
        )
    for model, runs_of_it in by_model.items():
        for one, other in combinations(runs_of_it, 2):
            if differences := _differences(one, other):
                raise UnlikeLedgersError(
                    f"the ledgers of {plain(model)} differ in {differences}: compare runs of one model and workload"
                )


def _differences(one: Ledger, other: Ledger) -> str:
    """The parts of the question that differ, with both values."""
    if (one.workload is None) != (other.workload is None):
        return "kind (a pipeline and a module by itself)"
    pairs = [
        (field, getattr(one.workload, field), getattr(other.workload, field))
        for field in (one.workload.__struct_fields__ if one.workload else ())
    ]
    pairs.append(("device", one.environment.get("device", UNKNOWN), other.environment.get("device", UNKNOWN)))
    theirs = {component.name: component for component in other.components}
    for component in one.components:
        if component.name in theirs:
            pairs += _component_pairs(component, theirs[component.name])
    return names(f"{field} ({plain(str(a))} and {plain(str(b))})" for field, a, b in pairs if a != b)


def _component_pairs(one: Component, other: Component) -> list[tuple[str, object, object]]:
    """What was put in, where both runs name the input: releases pass on more or fewer of those that are None."""
    shapes = {spec.name: spec.shape for spec in other.inputs}
    pairs: list[tuple[str, object, object]] = [(f"class of {one.name}", one.class_name, other.class_name)]
    pairs += [(f"{one.name}: {s.name}", s.shape, shapes[s.name]) for s in one.inputs if s.name in shapes]
    return pairs


def _environment(run: Mapping[str, Ledger]) -> dict[str, str]:
    """The releases of a run; the device is the model's."""
    first = next(iter(run.values())).environment
    return {key: value for key, value in first.items() if key != "device"}


def _same_environment(ledger: Ledger) -> str:
    return repr(sorted((key, value) for key, value in ledger.environment.items() if key != "device"))


def _order(environment: Mapping[str, str]) -> tuple[Version, ...]:
    return tuple(_release(environment.get(package, "0")) for package in (*PACKAGES, "python"))


def _release(text: str) -> Version:
    try:
        return Version(text)
    except ValueError:  # not a version, or one of thousands of digits
        return Version("0")


def _labels(environments: Sequence[Mapping[str, str]]) -> tuple[tuple[str, ...], ...]:
    """For each run the fewest releases that tell it from the others, the best known packages first."""
    keys = dict.fromkeys((*PACKAGES, *sorted({key for environment in environments for key in environment})))
    chosen: list[str] = []
    for key in keys:
        if _distinct(environments, [*chosen, key]) > _distinct(environments, chosen):
            chosen.append(key)
    return tuple(tuple(f"{key} {env[key]}" for key in chosen if key in env) for env in environments)


def _distinct(environments: Iterable[Mapping[str, str]], keys: Sequence[str]) -> int:
    return len({tuple(environment.get(key) for key in keys) for environment in environments})


# -- their numbers -----------------------------------------------------------------------------------------------------


def _rows(model: str, ledgers: Sequence[Ledger | None]) -> list[Row]:
    runs = [_cells(ledger) if ledger else {} for ledger in ledgers]
    components = dict.fromkeys(component for run in runs for component, _ in run)
    backends = dict.fromkeys(backend for run in runs for _, backend in run)
    missing = [Cell(macs=None, verdict=ABSENT if ledger else NOT_RUN) for ledger in ledgers]
    return [
        Row(
            model=model,
            device=next(ledger for ledger in ledgers if ledger).environment.get("device", UNKNOWN),
            component=c,
            backend=b,
            cells=tuple(run.get((c, b), absent) for run, absent in zip(runs, missing, strict=True)),
        )
        for c, b in product(components, backends)
        if any((c, b) in run for run in runs)
    ]


def _cells(ledger: Ledger) -> dict[tuple[str, str], Cell]:
    """Every number of a run, by component and backend, with the recommended ones."""
    cells: dict[tuple[str, str], Cell] = {}
    for component in ledger.components:
        cells[component.name, RECOMMENDED] = _recommended(component.recommended)
        for backend, outcome in component.backends.items():
            if backend != RECOMMENDED:  # of strangers: the name stands for the total
                cells[component.name, backend] = _outcome(outcome)
    if ledger.generation:
        cells[GENERATION, RECOMMENDED] = _recommended(ledger.generation.recommended)
    return cells


def _outcome(outcome: Outcome) -> Cell:
    if isinstance(outcome, Counted):
        return Cell(macs=outcome.macs, verdict=verdict(outcome), gap=outcome.gap, terms=outcome.terms)
    return Cell(macs=None, verdict=verdict(outcome), predicted_by=outcome.predicted_by)


def _recommended(total: Recommended) -> Cell:
    return Cell(macs=total.macs, verdict=total.status)


def worst(comparison: Comparison) -> dict[str, list[Cell]]:
    """For each counter, on each device, its worst outcome in each run over all models and components.

    A failure, else the largest gap; where it counted nothing at all, why not.
    """
    found: dict[str, list[Cell]] = {}
    for row in comparison.rows:
        if row.backend != RECOMMENDED:
            name = row.backend if row.device == "meta" else f"{row.backend} on {row.device}"
            before = found.setdefault(name, list(row.cells))
            found[name] = [max(pair, key=_badness) for pair in zip(before, row.cells, strict=True)]
    return found


def _badness(cell: Cell) -> tuple[int, float]:
    rank = 1 + _SEVERITY.index(cell.verdict) if cell.verdict in _SEVERITY else 0
    if cell.macs is None or cell.gap is None:
        return rank, -1.0
    return rank, abs(cell.gap) / (cell.macs - cell.gap or 1)


def heads(label: tuple[str, ...]) -> list[str]:
    """A run's label in lines: torch and diffusers by their releases alone."""
    return [part.removeprefix("torch ").removeprefix("diffusers ") for part in label]
