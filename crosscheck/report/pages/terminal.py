"""A run in a few lines, for a terminal."""

from __future__ import annotations

from crosscheck.records import Ledger
from crosscheck.report.pages.bridges import numbers
from crosscheck.report.text import LONG, count, plain, table
from crosscheck.report.verdict import outcomes, sentence, verdict


def summary(ledger: Ledger) -> str:
    """Every backend's number and verdict, the recommended totals, and the verdict on the whole."""
    rows = [(plain(c.name), plain(b), *numbers(o), verdict(o)) for c, b, o in outcomes(ledger)]
    totals = [(plain(c.name), c.recommended) for c in ledger.components]
    if ledger.generation:
        totals.append(("one generation", ledger.generation.recommended))
    lines = [(name, count(total.macs), count(total.flops), total.status) for name, total in totals]
    backends = table("llrrl", ("component", "backend", "MACs", "gap", "verdict"), rows, style="simple")
    recommended = table("lrrl", ("recommended", "MACs", "FLOPs", "status"), lines, style="simple")
    return f"{plain(ledger.model)}\n\n{backends}\n\n{recommended}\n\n{plain(sentence(ledger), LONG)}\n"
