"""A page to explore where a model's MACs are, under every counter: one file that needs nothing else. Pure.

The page is ``explore.html``, filled with what is here worked out from a ledger. It sums, doubles and sorts by itself.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from html import escape
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec import structs

from crosscheck import causes
from crosscheck.errors import UsageError
from crosscheck.files import write_atomically
from crosscheck.records import (
    FLOPS_PER_MAC,
    HEADLINE,
    OPS,
    Census,
    Component,
    Counted,
    Generation,
    GenerationComponent,
    Ledger,
    ModuleRow,
    Outcome,
)
from crosscheck.report.charts.style import COLOURS
from crosscheck.report.pages.bridges import cause_names
from crosscheck.report.pages.footnotes import explained
from crosscheck.report.pages.totals import shapes, workload
from crosscheck.report.text import plain, stem
from crosscheck.report.verdict import reference, sentence, verdict

_TEMPLATE = Path(__file__).with_name("explore.html")
_OTHERS = tuple(op for op in OPS if op not in HEADLINE)
_RISKY = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


class _Row(NamedTuple):
    """Modules alike, and what they ran."""

    place: int
    """Index of their row."""
    number: int
    """How many there are."""
    census: Census


class _Cell(NamedTuple):
    """The part of it that a term is looked for in."""

    row: _Row
    op: str
    """The operation that has ``macs``; empty where there is none."""
    macs: int
    census: Census


def require() -> None:
    """Raises `UsageError` where the library that draws the map is not installed."""
    if find_spec("plotly") is None:
        raise UsageError("--html needs plotly, which is not installed; pip install 'crosscheck[report]'")


def write(ledger: Ledger, folder: Path) -> list[Path]:
    """Write ``MODEL.html`` into ``folder``."""
    return [write_atomically(folder / f"{stem(ledger.model)}.html", html(ledger))]


def html(ledger: Ledger) -> str:
    """The page: the same text for the same ledger and release of plotly."""
    from plotly.offline import get_plotlyjs

    filled = {
        "title": escape(plain(ledger.model)),
        "data": msgspec.json.encode(data(ledger)).decode().translate(_RISKY),
        "plotly": re.sub("</(?=script)", r"<\\/", get_plotlyjs(), flags=re.IGNORECASE),
    }
    page = re.sub(r"\{\{(title|data|plotly)\}\}", lambda found: filled[found[1]], _TEMPLATE.read_text("utf-8"))
    return page.replace("{{scripts}}", " ".join(_hashes(page)), 1)


def _hashes(page: str) -> Iterator[str]:
    """Hashes by which a Content-Security-Policy knows the page's own scripts."""
    for script in re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL):
        yield f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'"


def data(ledger: Ledger) -> dict[str, Any]:
    """All that the page shows. Counts are text: JavaScript's numbers end at 2^53."""
    generation, work = ledger.generation, ledger.workload
    parts = {part.name: part for part in generation.components} if generation else {}
    return {
        "model": plain(ledger.model),
        "about": workload(work) if work else "",
        "sentence": sentence(ledger),
        "flops_per_mac": str(FLOPS_PER_MAC),
        "colours": dict(zip(HEADLINE, COLOURS, strict=False)) | dict(zip(_OTHERS, COLOURS, strict=False)),
        "components": [_component(ledger, c, parts.get(c.name)) for c in ledger.components],
        "generation": _generation(generation) if generation else None,
        "causes": {plain(name): [*map(plain, explained(name))] for name in cause_names(ledger)},
        "environment": [[plain(name), plain(release)] for name, release in ledger.environment.items()],
    }


def _text(number: int | None) -> str | None:
    return None if number is None else str(number)


def _generation(generation: Generation) -> dict[str, Any]:
    return {
        "status": generation.recommended.status,
        "macs": _text(generation.recommended.macs),
        "reason": plain(generation.recommended.reason),
        "outside": str(generation.outside_macs),
        "components": [
            {
                "name": plain(part.name),
                "calls": str(part.calls),
                "batch": _text(part.batch_size),
                "macs": _text(part.macs),
            }
            for part in generation.components
        ],
    }


def _component(ledger: Ledger, component: Component, part: GenerationComponent | None) -> dict[str, Any]:
    census, inputs = component.census, shapes(component.inputs)
    rows = [*_rows(census)] if census else []
    cells = [cell for row in rows for cell in _cells(row)]
    return {
        "name": plain(component.name),
        "about": f"{plain(component.class_name)}, {component.params:,} parameters; {inputs}",
        "status": component.recommended.status,
        "reason": plain(component.recommended.reason),
        "macs": _text(component.recommended.macs),
        "reference": _text(reference(component)),
        "times": _text(_times(component, part)),
        "modules": [*_modules(census, rows)] if census else [],
        "other": {plain(op): str(n) for op, n in component.other_ops.items()},
        "backends": [
            {"name": plain(name), "verdict": verdict(outcome), **_outcome(name, outcome, cells, ledger.environment)}
            for name, outcome in component.backends.items()
        ],
        "notes": [*map(plain, filter(None, (component.derivation, *component.notes)))],
    }


def _outcome(backend: str, outcome: Outcome, cells: Sequence[_Cell], environment: Mapping[str, str]) -> dict[str, Any]:
    if not isinstance(outcome, Counted):
        cause = f"{outcome.predicted_by}: " if outcome.predicted_by else ""
        return {"why": plain(cause + getattr(outcome, "reason", getattr(outcome, "error", "")))}
    return {
        "version": plain(outcome.version),
        "macs": str(outcome.macs),
        "gap": str(outcome.gap),
        "residual": str(outcome.residual),
        "terms": [*_terms(backend, outcome, cells, environment)],
    }


def _times(component: Component, part: GenerationComponent | None) -> int | None:
    """Number of the component's forwards in a generation; None where its calls differ in more than the batch."""
    one = component.recommended.macs
    times = part.forwards if part else 0
    return times if part and one is not None and part.macs == times * one else None


# -- places ------------------------------------------------------------------------------------------------------------


def _modules(census: Census, rows: Sequence[_Row]) -> Iterator[dict[str, Any]]:
    """Each row of modules, with what one of them ran: MACs, and output elements of the other operations."""
    ran = {row.place: row for row in rows}
    for index, module in enumerate(census.modules):
        sums = dict.fromkeys(OPS, 0)
        row = ran.get(index)
        for op in row.census.ops if row else ():
            sums[op.op] += op.macs if op.op in HEADLINE else op.count * prod(op.out)
        each = {op: str(n // row.number) for op, n in sums.items() if row and n}
        yield {
            "paths": _paths(module),
            "class": plain(module.class_name.rpartition(".")[2]),
            "params": str(module.params),
            "macs": {op: each[op] for op in HEADLINE if op in each},
            "other": {op: each[op] for op in _OTHERS if op in each},
        }


def _paths(module: ModuleRow) -> list[str]:
    """One path of each module, where it has several."""
    return [plain(paths[0]) for paths in module.paths if paths]


def _rows(census: Census) -> Iterator[_Row]:
    """Census of each row of modules, as if nothing else had run.

    Rows of older ledgers are left out where their modules can't have run the same each.
    """
    for index, module in enumerate(census.modules):
        alone = Census(
            modules=(module,),
            ops=tuple(structs.replace(row, module=0) for row in census.ops if row.module == index),
            attention=tuple(structs.replace(row, module=0) for row in census.attention if row.module == index),
            calls=tuple(structs.replace(row, module=0) for row in census.calls if row.module == index),
            device=census.device,
        )
        number = len(_paths(module))
        counts = [row.count for rows in (alone.ops, alone.attention, alone.calls) for row in rows]
        if number and not any(count % number for count in counts):
            yield _Row(index, number, alone)


def _cells(row: _Row) -> Iterator[_Cell]:
    """A row of modules by operation, where they ran several with MACs."""
    macs = Counter[str]()
    for ran in row.census.ops:
        macs[ran.op] += ran.macs
    several = [op for op in macs if macs[op]]
    if len(several) < 2:
        yield _Cell(row, "".join(several), macs.total(), row.census)
        return
    yield _Cell(row, "", 0, structs.replace(row.census, ops=(), attention=()))
    for op, share in macs.items():
        ops = tuple(ran for ran in row.census.ops if ran.op == op)
        attention = row.census.attention if op == "attention" else ()
        yield _Cell(row, op, share, structs.replace(row.census, ops=ops, attention=attention, calls=()))


def _terms(backend: str, outcome: Counted, cells: Sequence[_Cell], environment: Mapping[str, str]) -> Iterator[Any]:
    """The terms of a gap, each with its share in every module, where those are known to be its shares.

    A cause is asked again about each part of the census alone. Its answers are taken where they add up to the term,
    and where none takes more from an operation than is there.
    """
    answers = [{term.cause: term.macs for term in causes.explain(backend, environment, c.census)} for c in cells]
    left = [cell.macs for cell in cells]
    for term in outcome.terms:
        shares = [answer.get(term.cause, 0) for answer in answers]
        after = [macs + min(share, 0) for macs, share in zip(left, shares, strict=True)]
        divides = not any(share % cell.row.number for share, cell in zip(shares, cells, strict=True))
        placed = None
        if sum(shares) == term.macs and divides and min(after, default=0) >= 0:
            left = after
            placed = [[c.row.place, c.op, str(n // c.row.number)] for n, c in zip(shares, cells, strict=True) if n]
        yield {"cause": plain(term.cause), "macs": str(term.macs), "placed": placed}
