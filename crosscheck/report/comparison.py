"""Runs of one question held against each other: which numbers changed, by how many MACs, and which terms."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise, product

from crosscheck.records import Counted, Ledger, Recommended, Record, Term, UnlikeLedgersError, UsageError
from crosscheck.report.text import count, escape, names, plain, plural, signed, table
from crosscheck.report.verdict import verdict

RECOMMENDED = "recommended"
GENERATION = "generation"
_FIRST = ("torch", "diffusers", "transformers", "thop", "fvcore")
_NAMED = 3


class Cell(Record, frozen=True, kw_only=True):
    """One number of one run; ``macs`` is None where there is none, and ``verdict`` says why."""

    macs: int | None
    verdict: str
    terms: tuple[Term, ...] = ()

    def __str__(self) -> str:
        return self.verdict if self.macs is None else count(self.macs)

    def until(self, later: Cell) -> str:
        """What changed from this run to a later one; empty where nothing did."""
        changes = []
        if self.macs is not None and later.macs is not None and self.macs != later.macs:
            changes.append(f"{signed(later.macs - self.macs)} MACs")
        if self.verdict != later.verdict:
            changes.append(f"{self.verdict}, then {later.verdict}")
        changes += [f"no longer {text}" for text in _texts(set(self.terms) - set(later.terms))]
        changes += [f"now {text}" for text in _texts(set(later.terms) - set(self.terms))]
        return ", ".join(changes)


class Row(Record, frozen=True, kw_only=True):
    """One backend's number of one component, across the runs."""

    component: str
    backend: str
    cells: tuple[Cell, ...]

    @property
    def changed(self) -> bool:
        """Whether any run differs from the first in the number, its verdict or its terms."""
        return bool(self.changes)

    @property
    def changes(self) -> str:
        """What changed from each run to the next; empty where nothing did."""
        steps = [before.until(after) for before, after in pairwise(self.cells)]
        if len(steps) == 1:
            return steps[0]
        return "; ".join(f"in run {number}: {step}" for number, step in enumerate(steps, start=2) if step)


class Comparison(Record, frozen=True, kw_only=True):
    """The same model and workload in several environments, a column each. Its strings are not escaped."""

    model: str
    labels: tuple[str, ...]
    """What sets each run's environment apart."""
    rows: tuple[Row, ...]

    @property
    def changed_totals(self) -> bool:
        """Whether a recommended total, of a component or of the generation, differs between runs."""
        return any(len({cell.macs for cell in row.cells}) > 1 for row in self.rows if row.backend == RECOMMENDED)

    @property
    def summary(self) -> str:
        """The outcome in one line."""
        changed = sum(row.changed for row in self.rows)
        totals = "a recommended total changed" if self.changed_totals else "no recommended total changed"
        numbers, runs = plural(len(self.rows), "number"), plural(len(self.labels), "run")
        return f"{plain(self.model)}: {changed} of {numbers} changed over {runs}; {totals}."

    @property
    def markdown(self) -> str:
        """The comparison as a page."""
        cells = [[escape(cell) for cell in row] for row in self._grid()]
        return f"# {escape(self.model)}\n\n**{escape(self.summary)}**\n\n{table(self._align(), cells[0], cells[1:])}\n"

    @property
    def text(self) -> str:
        """The comparison for a terminal."""
        cells = [[plain(cell) for cell in row] for row in self._grid()]
        return f"{table(self._align(), cells[0], cells[1:], style='simple')}\n\n{self.summary}\n"

    def _align(self) -> str:
        return f"ll{'r' * len(self.labels)}l"

    def _grid(self) -> list[tuple[str, ...]]:
        rows = [(r.component, r.backend, *map(str, r.cells), r.changes or "same") for r in self.rows]
        return [("Component", "Backend", *self.labels, "Change"), *rows]


def compare(ledgers: Sequence[Ledger]) -> Comparison:
    """Hold runs of the same model and workload against each other, in the order given."""
    if len(ledgers) < 2:
        raise UsageError(f"got {plural(len(ledgers), 'ledger')}: give two or more, of one model and workload")
    for other in ledgers[1:]:
        if differences := _differences(ledgers[0], other):
            raise UnlikeLedgersError(f"the ledgers differ in {differences}: compare runs of one model and workload")
    runs = [_cells(ledger) for ledger in ledgers]
    components = dict.fromkeys(component for run in runs for component, _ in run)
    backends = dict.fromkeys(backend for run in runs for _, backend in run)
    rows = [key for key in product(components, backends) if any(key in run for run in runs)]
    absent = Cell(macs=None, verdict="absent")
    return Comparison(
        model=ledgers[0].model,
        labels=_labels([ledger.environment for ledger in ledgers]),
        rows=tuple(Row(component=c, backend=b, cells=tuple(run.get((c, b), absent) for run in runs)) for c, b in rows),
    )


def _texts(terms: Iterable[Term]) -> list[str]:
    return [f"{term.cause} {signed(term.macs)}" for term in sorted(terms, key=lambda term: (term.cause, term.macs))]


def _differences(one: Ledger, other: Ledger) -> str:
    """The parts of the question that differ, with both values."""
    fields = one.workload.__struct_fields__
    pairs = [(field, getattr(one.workload, field), getattr(other.workload, field)) for field in fields]
    pairs.insert(0, ("model", one.model, other.model))
    return names(f"{field} ({plain(str(a))} and {plain(str(b))})" for field, a, b in pairs if a != b)


def _cells(ledger: Ledger) -> dict[tuple[str, str], Cell]:
    """Every number of a run, by component and backend, with the recommended ones."""
    cells: dict[tuple[str, str], Cell] = {}
    for component in ledger.components:
        cells[component.name, RECOMMENDED] = _recommended(component.recommended)
        for backend, outcome in component.backends.items():
            counted = outcome if isinstance(outcome, Counted) else None
            cells[component.name, backend] = Cell(
                macs=counted.macs if counted else None,
                verdict=verdict(outcome),
                terms=counted.terms if counted else (),
            )
    cells[GENERATION, RECOMMENDED] = _recommended(ledger.generation.recommended)
    return cells


def _recommended(total: Recommended) -> Cell:
    return Cell(macs=total.macs, verdict=total.status)


def _labels(environments: Sequence[dict[str, str]]) -> tuple[str, ...]:
    """For each run the versions that set it apart, the best known packages first, and its number where none does."""
    keys = dict.fromkeys((*_FIRST, *sorted({key for environment in environments for key in environment})))
    differing = [key for key in keys if len({environment.get(key) for environment in environments}) > 1][:_NAMED]
    labels = [", ".join(f"{key} {env.get(key, 'absent')}" for key in differing) for env in environments]
    return tuple(
        label if label and labels.count(label) == 1 else f"{label} run {number}".strip()
        for number, label in enumerate(labels, start=1)
    )
