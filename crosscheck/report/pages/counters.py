"""Results of each counter, one operation at a time: tables and page of a doctor's ledger. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from crosscheck.doctor.laws import LAWS, NAME, Law
from crosscheck.files import write_atomically
from crosscheck.records import Component, Counted, Failed, Ledger, Outcome, Skipped, compact
from crosscheck.report.pages.bridges import cause_names, link
from crosscheck.report.pages.footnotes import anchors, explanations, provenance
from crosscheck.report.tally import groups, shown
from crosscheck.report.text import count, escape, names, plain, plural, signed, table
from crosscheck.report.verdict import outcomes, verdict

#: A wrong number of any size is one wrong number here.
_WORDS = {"exact": "exact", "explained": "wrong and explained", "failed (known)": "failing as predicted"}
_UNSETTLED = ("residual", "failed", "stale excuse")


def text(ledger: Ledger) -> str:
    """For a terminal: every case under every counter that counted one, the laws, the causes by number."""
    listed, notes = shown(ledger), {name: i for i, name in enumerate(cause_names(ledger), start=1)}
    heads = [plain(name).replace("-", "-\n") for name in listed]
    rows, group = [], ""
    for component in ledger.components:
        if component.group != group:
            group = component.group
            rows.append((f"-- {plain(group)}", *[""] * (len(listed) + 1)))
        cells = (_cell(component.backends[name], lambda cause: str(notes[cause])) for name in listed)
        rows.append((plain(_name(component)), count(component.recommended.macs), *cells))
    cases = table("lr" + "r" * len(listed), ("case", "MACs", *heads), rows, style="simple")
    causes = "\n".join(f"{number:>3} {plain(name)}" for name, number in notes.items())
    laws = table("l" + "l" * len(LAWS), ("law", *(law.name for law in LAWS)), _law_rows(ledger, listed), style="simple")
    parts = [cases, f"causes:\n{causes}", laws, *map(plain, _not_there(ledger)), plain(sentence(ledger))]
    return "\n\n".join(parts) + "\n"


def write(ledger: Ledger, folder: Path) -> list[Path]:
    """Write ``counters.md`` and its chart into ``folder``; each file appears whole or not at all."""
    from crosscheck.report.charts import counters as chart
    from crosscheck.report.charts.style import available

    drawn = {f"{NAME}.svg": chart.svg(ledger)} if available() else {}
    pages = drawn | {f"{NAME}.md": markdown(ledger, tuple(drawn))}
    return [write_atomically(folder / name, page) for name, page in pages.items()][::-1]


def markdown(ledger: Ledger, charts: Sequence[str] = ()) -> str:
    """The page; ``charts`` are the addresses of its images."""
    return "\n\n".join(_blocks(ledger, charts)) + "\n"


FORMATS: dict[str, Callable[[Ledger], str]] = {"table": text, "json": compact, "markdown": markdown}


def _blocks(ledger: Ledger, charts: Sequence[str]) -> Iterator[str]:
    targets, listed = anchors(cause_names(ledger)), shown(ledger)
    yield "# Counters, one operation at a time"
    yield f"**{escape(sentence(ledger))}**"
    yield (
        "Every counter ran on tensors without content if not said otherwise. The truth of a "
        "case is worked out by hand, as its table shows: conv + linear + attention + matmul, dense, in "
        "multiply-accumulates."
    )
    yield from (f"![Cases that each counter gets right, by kind]({chart})" for chart in charts)
    yield "## What each gets right"
    kinds = [*_WORDS.values(), "unexplained"]
    rows = [(escape(name), _version(ledger, name), *_tally(ledger, name, kinds)) for name in listed]
    yield table("ll" + "r" * len(kinds), ("Counter", "Release", *kinds), rows)
    yield from map(escape, _not_there(ledger))
    yield "## Laws that a count obeys"
    yield "\n".join(f"- **{law.name}**: {law.meaning}." for law in LAWS)
    yield table("l" + "l" * len(LAWS), ("Counter", *(law.name for law in LAWS)), _law_rows(ledger, listed))
    yield "## Every case"
    yield "A number is what a counter says where that is wrong, with the causes; = is exact."
    for group in groups(ledger):
        yield f"### {escape(group)}"
        yield _cases([c for c in ledger.components if c.group == group], listed, targets)
    yield from explanations(targets)
    yield from provenance(ledger)


def sentence(ledger: Ledger) -> str:
    """All cells in one sentence."""
    counters = [name for name in shown(ledger) if name != "aten"]  # which is what the others are held against
    words = [verdict(outcome) for _, name, outcome in outcomes(ledger) if name in counters]
    parts = [f"{words.count(word):,} {meaning}" for word, meaning in _WORDS.items() if word in words]
    parts.append(f"{sum(words.count(word) for word in _UNSETTLED) or 'none'} unexplained")
    return f"{plural(len(ledger.components), 'case')} under {plural(len(counters), 'counter')}: {names(parts)}."


def _name(component: Component) -> str:
    """A case's own, without its group's."""
    return component.name.removeprefix(f"{component.group}: ")


def _not_there(ledger: Ledger) -> list[str]:
    """A line that names the counters without any answer, with the reason."""
    skipped = {name: o.reason for _, name, o in outcomes(ledger) if isinstance(o, Skipped)}
    absent = skipped.keys() - set(shown(ledger))
    lines = [f"{name}: {why}" for name, why in skipped.items() if name in absent]
    return [f"Not counted with: {'; '.join(lines)}."] if lines else []


def _version(ledger: Ledger, backend: str) -> str:
    found = (o.version for _, name, o in outcomes(ledger) if name == backend and isinstance(o, Counted | Failed))
    return escape(next(filter(None, found), ""))


def _tally(ledger: Ledger, backend: str, kinds: Sequence[str]) -> list[str]:
    words = [verdict(outcome) for _, name, outcome in outcomes(ledger) if name == backend]
    tally = {kind: words.count(word) for word, kind in _WORDS.items()}
    tally["unexplained"] = sum(words.count(word) for word in _UNSETTLED)
    return [f"{tally[kind]:,}" for kind in kinds]


def _cases(components: Sequence[Component], shown: Sequence[str], targets: Mapping[str, str]) -> str:
    rows = []
    for component in components:
        total, derivation = component.recommended.macs or 0, component.derivation
        truth = count(total) if derivation == str(total) else f"{count(total)} = {escape(derivation)}"
        cells = (_cell(component.backends[name], lambda cause: link(cause, targets), "<br>") for name in shown)
        rows.append((escape(_name(component)), truth, *cells))
    return table("ll" + "r" * len(shown), ("Case", "MACs", *map(escape, shown)), rows)


def _cell(outcome: Outcome, name: Callable[[str], str], gap: str = " ") -> str:
    """``=``, or the wrong number and its causes, or why there is none."""
    match outcome:
        case Counted(gap=0, residual=0, stale_excuse=""):
            return "="
        case Counted():
            rest = [f"residual {signed(outcome.residual)}"] if outcome.residual else []
            causes = [name(term.cause) for term in outcome.terms]
            return f"{count(outcome.macs)}{gap}{(',' + gap.strip()).join([*causes, *rest])}"
        case Failed(predicted_by=str(cause)) if cause:
            return f"fails{gap}{name(cause)}"
        case Failed():
            return "fails"
        case Skipped():
            return "-"


def _law_rows(ledger: Ledger, shown: Sequence[str]) -> list[tuple[str, ...]]:
    cases = {component.name: component for component in ledger.components}
    return [(escape(name), *(_law_cell(law, cases, name) for law in LAWS)) for name in shown]


def _law_cell(law: Law, cases: Mapping[str, Component], backend: str) -> str:
    pair = [cases.get(law.left), cases.get(law.right)]
    macs = [o.macs for c in pair if c and isinstance(o := c.backends[backend], Counted)]
    truths = [c.recommended.macs or 0 for c in pair if c]
    if len(macs) < 2:
        return "-"
    return "kept" if law.holds(*macs, *truths) else f"broken: {count(macs[0])} after {count(macs[1])}"
