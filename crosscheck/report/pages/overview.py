"""The list of all reports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from crosscheck.backends import registry
from crosscheck.records import Component, Counted, Ledger
from crosscheck.report.pages.totals import workload
from crosscheck.report.tally import is_doctors
from crosscheck.report.text import count, escape, percent, ratio, stem, table
from crosscheck.report.verdict import problems


def index(ledgers: Sequence[Ledger]) -> str:
    """The page that leads to the reports of ``ledgers``, which lie beside it, with the totals they recommend."""
    return "\n\n".join(_blocks(ledgers)) + "\n"


def _blocks(ledgers: Sequence[Ledger]) -> Iterator[str]:
    yield "# Reports"
    if doctors := [ledger for ledger in ledgers if is_doctors(ledger)]:
        yield "How far off each counter is: [scoreboard](scoreboard.md). What it gets right: [counters](counters.md)."
    ledgers = [ledger for ledger in ledgers if ledger not in doctors]
    yield "The totals to use, in MACs (FLOPs = 2 x MACs). Each report explains every backend's gap to them."
    yield "## One generation"
    rows = [(_link(ledger, "md", escape(ledger.model)), *_generation(ledger)) for ledger in ledgers]
    yield table("lrrll", ("Model", "MACs", "TMACs", "Status", "Ledger"), rows)
    asked = [(ledger.model, ledger.workload) for ledger in ledgers if ledger.workload]
    yield "\n".join(f"- {escape(model)}: {escape(workload(work))}" for model, work in asked)
    yield "## One forward"
    forwards = [
        ("" if n else escape(ledger.model), escape(c.name), count(c.recommended.macs), c.recommended.status)
        for ledger in ledgers
        for n, c in enumerate(ledger.components)
    ]
    yield table("llrl", ("Model", "Component", "MACs", "Status"), forwards)
    yield "## How far off each counter is"
    yield "On one forward of the denoiser, all of it explained."
    yield models(ledgers)


#: Counters of the models' table: those that run by default, without what they are held against.
_COUNTERS = tuple(name for name in registry.CORE if name not in registry.REFERENCES)


def models(ledgers: Sequence[Ledger]) -> str:
    """One row a model: its denoiser's forward, a whole generation, and how far off each counter is on the forward."""
    rows = []
    for ledger in ledgers:
        part = ledger.denoiser
        total = ledger.generation.recommended if ledger.generation else None
        if part is None or part.recommended.macs is None or total is None or total.macs is None:
            continue
        off = (_off(part, name) for name in _COUNTERS)
        forward, whole = ratio(part.recommended.macs, 10**9), ratio(total.macs, 10**12)
        rows.append((escape(ledger.model), forward, part.recommended.status, whole, total.status, *off))
    headers = ("Model", "One forward, GMACs", "Status", "One generation, TMACs", "Status", *_COUNTERS)
    return table("lrlrl" + "r" * len(_COUNTERS), headers, rows)


def _off(component: Component, name: str) -> str:
    outcome = component.backends.get(name)
    if not isinstance(outcome, Counted) or component.recommended.macs is None:
        return ""
    return "0" if outcome.gap == 0 else percent(outcome.gap, component.recommended.macs)


def _generation(ledger: Ledger) -> tuple[str, ...]:
    total = ledger.generation.recommended if ledger.generation else None
    macs, tera = ("", "") if total is None else (count(total.macs), ratio(total.macs, 10**12) if total.macs else "")
    status = "**not settled**" if problems(ledger) else total.status if total else ""
    return macs, tera, status, _link(ledger, "json", "JSON")


def _link(ledger: Ledger, suffix: str, text: str) -> str:
    return f"[{text}]({stem(ledger.model)}.{suffix})"
