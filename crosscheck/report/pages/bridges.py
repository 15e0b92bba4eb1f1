"""Every backend's number, and the bridge from the reference to it, term by term."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from crosscheck.records import Component, Counted, Ledger, Outcome
from crosscheck.report.pages.totals import shapes
from crosscheck.report.text import LONG, count, escape, names, signed, signed_percent, table
from crosscheck.report.verdict import outcomes, reference, verdict

_WIDEST = 5


def headline(ledger: Ledger) -> Iterator[str]:
    """Every component under every backend: its number, how far off it is, and the verdict."""
    yield "## Every backend"
    rows, previous = [], None
    for component, backend, outcome in outcomes(ledger):
        name = "" if component is previous else f"**{escape(component.name)}**"
        rows.append((name, escape(backend), *numbers(outcome), _verdict(outcome)))
        previous = component
    yield table("llrrl", ("Component", "Backend", "MACs", "Gap", "Verdict"), rows)


def bridges(ledger: Ledger, anchors: Mapping[str, str]) -> Iterator[str]:
    """For each component the tables whose columns add up; ``anchors`` has the link of each cause's explanation."""
    yield "## From the reference to each number"
    yield "Each column adds up to the last MAC: the reference, its terms and the residual give the tool's own number."
    for component in ledger.components:
        yield f"### {escape(component.name)}"
        yield _about(component)
        off = {name: o for name, o in component.backends.items() if isinstance(o, Counted) and (o.gap or o.residual)}
        if (base := reference(component)) is not None:
            yield from (_bridge(base, part, anchors) for part in _portions(off))
        exact = [escape(name) for name, outcome in component.backends.items() if verdict(outcome) == "exact"]
        if exact:
            yield f"No gap: {names(exact)}."


def cause_names(ledger: Ledger) -> list[str]:
    """The causes of all terms and known failures, each once, as they first appear."""
    found: dict[str, None] = {}
    for _, _, outcome in outcomes(ledger):
        if isinstance(outcome, Counted):
            found |= dict.fromkeys(term.cause for term in outcome.terms)
        elif outcome.predicted_by:
            found[outcome.predicted_by] = None
    return list(found)


def link(cause: str, anchors: Mapping[str, str]) -> str:
    """The cause's name, leading to its explanation."""
    return f"[{escape(cause)}](#{anchors[cause]})"


def numbers(outcome: Outcome) -> tuple[str, str]:
    """MACs, and the gap in percent of the reference; empty where nothing was counted."""
    if not isinstance(outcome, Counted):
        return "", ""
    return count(outcome.macs), signed_percent(outcome.gap, outcome.macs - outcome.gap)


def _verdict(outcome: Outcome) -> str:
    word = verdict(outcome)
    return f"**{word}**" if word in {"residual", "failed"} else word


def _about(component: Component) -> str:
    entry = "" if component.entry == "forward" else f".{escape(component.entry)}"
    inputs = escape(shapes(component.inputs), LONG)
    text = f"{escape(component.class_name)}{entry}, {component.params:,} parameters; {inputs}."
    total = component.recommended
    if total.macs is None:
        return text
    ops = " + ".join(f"{escape(op)} {macs:,}" for op, macs in total.by_op.items() if macs)
    return f"{text}<br>Reference: {total.macs:,} MACs" + (f" = {ops}." if ops else ".")


def _portions(off: Mapping[str, Counted]) -> Iterator[dict[str, Counted]]:
    """``off`` in parts of about equal length, none with more than ``_WIDEST`` backends."""
    items = list(off.items())
    tables = -(-len(items) // _WIDEST)
    for index in range(tables):
        yield dict(items[index * len(items) // tables : (index + 1) * len(items) // tables])


def _bridge(base: int, off: Mapping[str, Counted], anchors: Mapping[str, str]) -> str:
    causes = dict.fromkeys(term.cause for outcome in off.values() for term in outcome.terms)
    rows = [("reference", *(count(base) for _ in off))]
    for cause in causes:
        shares = [[term.macs for term in outcome.terms if term.cause == cause] for outcome in off.values()]
        rows.append((link(cause, anchors), *(signed(sum(share)) if share else "" for share in shares)))
    rows.append(("residual", *(signed(outcome.residual) for outcome in off.values())))
    rows.append(("**the tool's number**", *(f"**{count(outcome.macs)}**" for outcome in off.values())))
    return table("l" + "r" * len(off), ("MACs", *(escape(name) for name in off)), rows)
