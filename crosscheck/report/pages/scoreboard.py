"""The accuracy of each counter, from ledgers of models and of single operations. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import msgspec

from crosscheck import causes
from crosscheck.backends import registry
from crosscheck.errors import ConfigError
from crosscheck.files import write_atomically
from crosscheck.records import Census, Component, Counted, Failed, Ledger, Record, Skipped, dumps
from crosscheck.report.charts import scoreboard as chart
from crosscheck.report.charts.style import available
from crosscheck.report.text import escape, percent, table
from crosscheck.report.verdict import verdict

FILE = "scoreboard"


class Off(Record, frozen=True, kw_only=True):
    """Error of a counter on one component, in MACs."""

    model: str
    component: str
    gap: int
    macs: int
    """What it should be."""


class Score(Record, frozen=True, kw_only=True):
    """One counter on a set of models, and on single operations.

    A model is counted without its weights; a counter that needs them has a number of single operations alone.
    """

    backend: str
    version: str
    components: int
    """Of the models, with a number."""
    failed: int
    """Of the models and of single operations, without one."""
    lowest: Off | None = None
    """None, as of the next three, where it has no number of any model."""
    highest: Off | None = None
    lowest_without: Off | None = None
    """Attention left out on both sides."""
    highest_without: Off | None = None
    wrong: int
    """Single operations with a number that is not exact."""
    operations: int
    seconds: float
    """For all components of the models, one after another."""
    memory: int
    """Bytes by which the peak of its process grew, at most."""


def scores(models: Sequence[Ledger], operations: Ledger | None) -> tuple[Score, ...]:
    """A score for each counter that has a number of some model or operation."""
    ledgers = (*models, operations) if operations else models
    names = dict.fromkeys(name for ledger in ledgers for part in ledger.components for name in part.backends)
    found = (_score(name, models, operations) for name in names if name not in registry.REFERENCES)
    return tuple(score for score in found if score)


def _score(backend: str, models: Sequence[Ledger], operations: Ledger | None) -> Score | None:
    parts = [(ledger, part) for ledger in models for part in ledger.components if backend in part.backends]
    counted = [
        (ledger, part, outcome) for ledger, part in parts if isinstance(outcome := part.backends[backend], Counted)
    ]
    cases = operations.components if operations else ()
    single = [part.backends[backend] for part in cases if backend in part.backends]
    tried = [outcome for outcome in single if not isinstance(outcome, Skipped)]
    version = next((o.version for o in (*(o for *_, o in counted), *tried) if not isinstance(o, Skipped)), "")
    if not version:
        return None
    whole = [_off(ledger, part, outcome.gap, outcome.macs - outcome.gap) for ledger, part, outcome in counted]
    without = [_without_attention(ledger, part, backend) for ledger, part, _ in counted if part.census]
    failures = sum(isinstance(part.backends[backend], Failed) for _, part in parts)
    words = [verdict(outcome) for outcome in tried]
    return Score(
        backend=backend,
        version=version,
        components=len(counted),
        failed=failures + sum(isinstance(outcome, Failed) for outcome in tried),
        lowest=min(whole, key=_share, default=None),
        highest=max(whole, key=_share, default=None),
        lowest_without=min(without, key=_share, default=None),
        highest_without=max(without, key=_share, default=None),
        wrong=sum(word in {"explained", "residual"} for word in words),
        operations=sum(isinstance(outcome, Counted) for outcome in tried),
        seconds=round(sum(outcome.seconds for *_, outcome in counted), 1),
        memory=max((outcome.memory for *_, outcome in counted), default=0),
    )


def _off(ledger: Ledger, part: Component, gap: int, macs: int) -> Off:
    return Off(model=ledger.model, component=part.name, gap=gap, macs=macs)


def _share(off: Off) -> Fraction:
    return Fraction(off.gap, off.macs) if off.macs else Fraction(0)


def _without_attention(ledger: Ledger, part: Component, backend: str) -> Off:
    """Prediction of the causes where scaled_dot_product_attention is not there."""
    rest = causes.without_attention(part.census or Census(modules=(), ops=()))
    gap = sum(term.macs for term in causes.explain(backend, ledger.environment, rest))
    return _off(ledger, part, gap, sum(row.macs for row in rest.ops))


def write(models: Sequence[Ledger], operations: Ledger, folder: Path) -> list[Path]:
    """Write ``scoreboard.md``, ``scoreboard.json`` and its chart into ``folder``.

    Counters that are in the latter and in no ledger keep their score: some can't be installed together.
    """
    record = folder / f"{FILE}.json"
    try:
        saved = msgspec.json.decode(record.read_bytes(), type=tuple[Score, ...]) if record.exists() else ()
    except msgspec.DecodeError as error:
        raise ConfigError(f"{record}: not a scoreboard: {error}; delete it") from error
    found = merged(saved, scores(models, operations))
    drawn = {f"{FILE}.svg": chart.svg(models, [one.backend for one in found])} if available() else {}
    pages = {f"{FILE}.md": page(found), f"{FILE}.json": dumps(found), **drawn}
    return [write_atomically(folder / name, content) for name, content in pages.items()]


def merged(saved: Iterable[Score], new: Sequence[Score]) -> tuple[Score, ...]:
    """Both, by name; of a counter in both, the new."""
    return tuple(sorted({score.backend: score for score in (*saved, *new)}.values(), key=lambda score: score.backend))


def board(found: Iterable[Score]) -> str:
    """The scoreboard as a table."""
    rows = [
        (
            escape(score.backend),
            escape(score.version),
            _range(score.lowest, score.highest),
            _range(score.lowest_without, score.highest_without),
            f"{score.wrong} of {score.operations}",
            str(score.failed),
            f"{score.seconds:,.0f} s" if score.components else "",
            f"{score.memory / 2**20:,.0f} MiB" if score.components else "",
            "no" if score.components else "yes",
        )
        for score in found
    ]
    headers = (
        "Counter",
        "Release",
        "Off by",
        "Attention aside",
        "Operations wrong",
        "Crashes",
        "Time",
        "Memory",
        "Weights",
    )
    return table("llrrrrrrl", headers, rows)


def _range(low: Off | None, high: Off | None) -> str:
    if low is None or high is None:
        return ""
    ends = [percent(off.gap, off.macs) if off.macs else "0 %" for off in (low, high)]
    return ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"


def page(found: Sequence[Score]) -> str:
    """The scoreboard with what its columns mean."""
    worst = "\n".join(
        f"- **{escape(score.backend)}**: {_where(score.lowest)}, {_where(score.highest)}."
        for score in found
        if score.lowest and score.highest
    )
    parts = (
        "# Scoreboard",
        "Every counter on one forward of every component of the catalogue, without weights, and on single operations. "
        "`thop` and `fvcore` are with what their users add for attention, `thop-plain` and `fvcore-plain` as they are "
        "shipped, `thop-query-only` with a rule of N x N for it, `fvcore-meta` as shipped on meta; the others as they "
        "are shipped.",
        board(found),
        _COLUMNS,
        "## Where each is furthest off",
        worst,
    )
    return "\n\n".join(parts) + "\n"


def _where(off: Off) -> str:
    return f"{percent(off.gap, off.macs)} on {escape(off.model)}'s {escape(off.component)}"


#: The releases in which attention on a CPU has no formula in torch's counter.
_BLIND = causes.in_words(causes.CAUSES["flop_counter-cpu-attention"].only_in)
_COLUMNS = f"""\
- **Off by**: the lowest and the highest gap of all components, in percent of conv + linear + attention + matmul.
- **Attention aside**: the same with scaled_dot_product_attention left out of both numbers.
- On real tensors on a CPU `flop_counter` counts no attention with {_BLIND}; here all is on meta.
- **Operations wrong**: of the single operations in [counters.md](counters.md) that it has a number for.
- **Crashes**: components and single operations on which it fails.
- **Time** and **memory**: for all components together, without imports; the growth of its process's peak, at most.
- **Weights**: whether it needs them; the others count on tensors without content."""
