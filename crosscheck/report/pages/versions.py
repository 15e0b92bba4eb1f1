"""A comparison as text for a terminal, and as a page: which releases can be trusted, what drifted, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from crosscheck import causes
from crosscheck.files import write_atomically
from crosscheck.records import dumps
from crosscheck.report.comparison import (
    RECOMMENDED,
    UNSETTLED,
    Cell,
    Comparison,
    Row,
    heads,
    numbered,
    reasons,
    worst,
)
from crosscheck.report.pages.bridges import link
from crosscheck.report.pages.footnotes import anchors, explanations
from crosscheck.report.text import count, details, escape, names, plain, signed, table

NAME = "versions"


def text(comparison: Comparison) -> str:
    """The comparison for a terminal."""
    runs = [f"run {number}" for number in range(1, len(comparison.labels) + 1)]
    legend = [(run, plain(", ".join(label))) for run, label in zip(runs, comparison.labels, strict=True)]
    matrix = [(*map(plain, _key(row)), *map(str, row.cells), _mark(row)) for row in comparison.rows]
    changes = [f"{' '.join(map(plain, _key(row)))}: {plain(row.changes)}" for row in comparison.changed]
    blocks = [
        table("ll", ("", ""), legend, style="plain").strip("\n"),
        table(f"lll{'r' * len(runs)}l", ("model", "component", "backend", *runs, ""), matrix, style="simple"),
        "\n".join(changes),
        "\n".join(plain(f"{cause}: {_explained(cause)}") for cause in _causes(comparison)),
        comparison.summary,
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def write(comparison: Comparison, folder: Path) -> list[Path]:
    """Write ``versions.md`` and its chart into ``folder``; each file appears whole or not at all."""
    from crosscheck.report.charts import versions as chart
    from crosscheck.report.charts.style import available

    drawn = {f"{NAME}.svg": chart.svg(comparison)} if available() else {}
    pages = {f"{NAME}.md": markdown(comparison, tuple(drawn))} | drawn
    return [write_atomically(folder / name, page) for name, page in pages.items()]


def markdown(comparison: Comparison, charts: tuple[str, ...] = ()) -> str:
    """The comparison as a page; ``charts`` are the addresses of its images, relative to where it will lie."""
    return "\n\n".join(_blocks(comparison, charts)) + "\n"


FORMATS: dict[str, Callable[[Comparison], str]] = {"table": text, "json": dumps, "markdown": markdown}


def _blocks(comparison: Comparison, charts: tuple[str, ...]) -> Iterator[str]:
    targets = anchors(_causes(comparison))
    yield "# Counters by release"
    yield f"**{escape(comparison.summary)}**"
    yield from _runs(comparison)
    yield from _trust(comparison)
    yield from (f"![The worst gap of each counter in each run]({chart})" for chart in charts)
    yield from _totals(comparison)
    yield from _drift(comparison, targets)
    yield from explanations(targets)
    yield from _matrix(comparison)


def _runs(comparison: Comparison) -> Iterator[str]:
    yield "## Runs"
    packages = list(dict.fromkeys(key for environment in comparison.environments for key in environment))
    differing = [p for p in packages if len({env.get(p) for env in comparison.environments}) > 1]
    rows = [
        (str(number), *(escape(environment.get(package, "")) for package in differing))
        for number, environment in enumerate(comparison.environments, start=1)
    ]
    yield table("r" + "l" * len(differing), ("Run", *map(escape, differing)), rows)
    first = comparison.environments[0]
    common = [f"{escape(package)} {escape(first[package])}" for package in packages if package not in differing]
    if common:
        yield f"In all of them: {', '.join(common)}."


def _trust(comparison: Comparison) -> Iterator[str]:
    yield "## Which releases can be trusted"
    yield (
        "The worst of each counter over all models and components: a failure, else the largest gap in percent of the "
        "reference. Every gap is explained to the last MAC unless it says residual. A column is a run: its number, "
        "torch, diffusers."
    )
    rows = [(escape(backend), *map(_short, cells)) for backend, cells in worst(comparison).items()]
    yield table("l" + "r" * len(comparison.labels), ("Counter", *_heads(comparison)), rows)


def _totals(comparison: Comparison) -> Iterator[str]:
    yield "## Recommended totals"
    rows = [
        (escape(row.model), escape(row.component), _total(row)) for row in comparison.rows if row.backend == RECOMMENDED
    ]
    yield table("llr", ("Model", "Component", "MACs"), rows)


def _total(row: Row) -> str:
    """One integer where all runs have the same, else each with its runs."""
    if len({cell.macs for cell in row.outcomes}) == 1:
        return count(row.last.macs)
    return "; ".join(f"**{_exact(cell)}** in {numbered(runs)}" for cell, runs in row.outcomes.items())


def _drift(comparison: Comparison, targets: dict[str, str]) -> Iterator[str]:
    yield "## What drifted"
    rows = [
        (*map(escape, _key(row)), numbered(runs), _exact(cell), _exact(row.last), _difference(cell, row.last),
         ", ".join(link(cause, targets) for cause in _why(cell, row.last)))
        for row in comparison.changed
        for cell, runs in row.others.items()
    ]  # fmt: skip
    headers = ("Model", "Component", "Counter", "In", "MACs there", "In the last run", "Difference", "Why")
    yield table("llllrrrl", headers, rows) if rows else "Nothing."


def _why(cell: Cell, last: Cell) -> list[str]:
    """The causes by which an outcome differs from the last one's."""
    return list(dict.fromkeys(term.cause for term in (*reasons(cell, last), *reasons(last, cell))))


def _causes(comparison: Comparison) -> list[str]:
    """The causes by which outcomes differ, as they first appear."""
    changed = comparison.changed
    return list(dict.fromkeys(cause for row in changed for cell in row.others for cause in _why(cell, row.last)))


def _explained(cause: str) -> str:
    entry = causes.find(cause)
    if entry is None:
        return "no explanation on record"
    return f"{entry.summary} ({names(entry.releases, last='or')})" if entry.releases else entry.summary


def _exact(cell: Cell) -> str:
    return cell.verdict if cell.macs is None else count(cell.macs)


def _difference(cell: Cell, last: Cell) -> str:
    return "" if cell.macs is None or last.macs is None else signed(cell.macs - last.macs)


def _matrix(comparison: Comparison) -> Iterator[str]:
    yield "## Every number"
    yield "Recommended totals in GMACs, counters as their gap in percent of the reference."
    for model in comparison.models:
        rows, previous = [], None
        for row in comparison.rows:
            if row.model == model:
                name = "" if row.component == previous else f"**{escape(row.component)}**"
                rows.append((name, escape(row.backend), *map(_short, row.cells), _mark(row)))
                previous = row.component
        headers = ("Component", "Counter", *_heads(comparison), "")
        yield details(escape(model), table(f"ll{'r' * len(comparison.labels)}l", headers, rows))


def _heads(comparison: Comparison) -> Iterator[str]:
    """The run's number over what sets it apart."""
    for number, label in enumerate(comparison.labels, start=1):
        yield "<br>".join((f"{number}", *map(escape, heads(label))))


def _short(cell: Cell) -> str:
    return f"**{cell}**" if cell.verdict in UNSETTLED else str(cell).replace(" %", "")


def _mark(row: Row) -> str:
    return "changed" if row.others else "same"


def _key(row: Row) -> tuple[str, str, str]:
    return row.model, row.component, row.backend
