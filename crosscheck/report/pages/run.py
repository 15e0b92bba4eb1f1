"""Reports: a ledger in, markdown and a chart out. Pure: the same ledger gives the same bytes, without torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from crosscheck.files import write_atomically
from crosscheck.records import Ledger, compact
from crosscheck.report.pages.bridges import bridges, cause_names, headline
from crosscheck.report.pages.footnotes import DEFINITIONS, anchors, explanations, left_out, provenance
from crosscheck.report.pages.terminal import summary
from crosscheck.report.pages.totals import breakdown, recommended
from crosscheck.report.text import LONG, escape, stem
from crosscheck.report.verdict import sentence

_NO_CHART = "The chart needs matplotlib: `pip install 'crosscheck[report]'`, and write the report to a folder."


def markdown(ledger: Ledger, charts: Sequence[str] = ()) -> str:
    """The report; ``charts`` are the addresses of its images, relative to where it will lie."""
    return "\n\n".join(_blocks(ledger, charts)) + "\n"


FORMATS: dict[str, Callable[[Ledger], str]] = {"table": summary, "json": compact, "markdown": markdown}


def write(ledger: Ledger, folder: Path) -> list[Path]:
    """Write ``MODEL.md`` and its chart into ``folder``; each file appears whole or not at all."""
    from crosscheck.report.charts import run as chart
    from crosscheck.report.charts.style import available
    from crosscheck.report.pages import counters
    from crosscheck.report.tally import is_doctors

    if is_doctors(ledger):
        return counters.write(ledger, folder)

    drawn = {f"{stem(ledger.model)}.svg": chart.svg(ledger)} if available() and ledger.components else {}
    pages = drawn | {f"{stem(ledger.model)}.md": markdown(ledger, tuple(drawn))}
    return [write_atomically(folder / name, text) for name, text in pages.items()][::-1]


def _blocks(ledger: Ledger, charts: Sequence[str]) -> Iterator[str]:
    targets = anchors(cause_names(ledger))
    yield f"# {escape(ledger.model)}"
    yield f"**{escape(sentence(ledger), LONG)}**"
    yield from recommended(ledger)
    yield from headline(ledger)
    yield "\n\n".join(f"![How far off each backend is, and why]({quote(chart)})" for chart in charts) or _NO_CHART
    yield from breakdown(ledger)
    yield from bridges(ledger, targets)
    yield from left_out(ledger, targets)
    yield from explanations(targets)
    yield DEFINITIONS
    yield from provenance(ledger)
