"""An audit of published numbers, as a table, JSON and a page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import get_args

import msgspec

from crosscheck.audit.conventions import HABITS
from crosscheck.audit.published import SIGNIFICANT
from crosscheck.audit.records import Audited, Overhead, Verdict, Weighed
from crosscheck.audit.verdicts import convention_text
from crosscheck.files import write_atomically
from crosscheck.records import dumps
from crosscheck.report.pages import counter_claims
from crosscheck.report.text import count, details, escape, plain, plural, signed, table

#: Other conventions that a page lists for a claim.
_OTHERS = 12


def text(found: Sequence[Audited], weighed: Sequence[Weighed] = (), overheads: Sequence[Overhead] = ()) -> str:
    """A table for a terminal, and a line for each claim of a counter."""
    rows = [
        (
            plain(a.name),
            plain(a.published),
            a.verdict,
            plain(a.convention),
            "" if a.exact is None else count(a.exact),
            "" if a.exact is None else f"{a.chance:.2g}{' (no evidence)' if a.chance >= SIGNIFICANT else ''}",
            count(a.recommended),
        )
        for a in found
    ]
    headers = ("claim", "published", "verdict", "convention", "which is", "chance", "recommended")
    lines = [f"{plain(one.accuracy.name)}: {counter_claims.sentence(one)}" for one in weighed]
    lines += [f"{plain(one.name)}: {counter_claims.cost(one)}" for one in overheads]
    return "\n\n".join([table("lrllrrr", headers, rows, style="simple"), *lines])


def json(found: Sequence[Audited], weighed: Sequence[Weighed] = (), overheads: Sequence[Overhead] = ()) -> str:
    """``{"claims": [...]}``, every field that is known; those of counters beside them."""
    record: dict[str, object] = {"claims": [_told(a) for a in found]}
    record |= {name: those for name, those in (("accuracy", weighed), ("overhead", overheads)) if those}
    return dumps(record)


def _told(audited: Audited) -> dict[str, object]:
    """The fields that are always there, whatever they hold, and those that are known."""
    always = {"convention": audited.convention, "exact": audited.exact, "recommended": audited.recommended}
    return {**msgspec.to_builtins(audited), **always}


def markdown(found: Sequence[Audited], weighed: Sequence[Weighed] = (), overheads: Sequence[Overhead] = ()) -> str:
    """The page."""
    return "\n\n".join((*_blocks(found), *counter_claims.blocks(weighed, overheads), *_each(found))) + "\n"


def write(
    found: Sequence[Audited], weighed: Sequence[Weighed], overheads: Sequence[Overhead], folder: Path
) -> list[Path]:
    """Write ``claims.md`` into ``folder``."""
    return [write_atomically(folder / "claims.md", markdown(found, weighed, overheads))]


FORMATS: dict[str, Callable[[Sequence[Audited], Sequence[Weighed], Sequence[Overhead]], str]] = {
    "table": text,
    "json": json,
    "markdown": markdown,
}


def _blocks(found: Sequence[Audited]) -> Iterator[str]:
    yield "# Published numbers, audited"
    yield (
        "Each number is held against every number that a finite space of conventions has for its model: a MAC or two "
        "FLOPs; attention in, out, or as N x N of the queries; what each counter counts, and each of its causes; one "
        "forward, all calls or as many as steps; one guidance branch or both; components left out; parameters; "
        "decimal and binary prefixes. **Reproduced**: the simplest convention that prints these digits is alone. "
        "**Ambiguous**: two are equally simple. **Near**: none prints the digits, one is less than 0.1 % off, which is "
        "no explanation. **Refuted**: none of these."
    )
    verdicts = [
        (verdict, count(len(those)), count(sum(a.chance >= SIGNIFICANT for a in those)) if verdict != "refuted" else "")
        for verdict in get_args(Verdict)
        for those in [[a for a in found if a.verdict == verdict]]
    ]
    yield table("lrr", ("Verdict", "Claims", "No evidence: likely by chance"), verdicts)
    yield "## What published numbers do"
    yield (
        "Of those where it can be told: attention is part of the model, the unit is FLOPs, a generation is guided. "
        "Where several conventions are equally simple, all of them agree. A number that several sources print counts "
        "once. Left out are digits that five of a hundred numbers would hit by chance. A near one is not explained; "
        "what is said of it is what its simplest convention does."
    )
    yield habits(found)
    yield "## Every claim"
    rows = [
        (
            f"[{escape(a.name)}](#claim-{place})",
            escape(a.published),
            a.verdict + (", no evidence" if a.exact is not None and a.chance >= SIGNIFICANT else ""),
            escape(a.convention),
            count(a.recommended),
        )
        for place, a in enumerate(found, 1)
    ]
    yield table("lrllr", ("Claim", "Published", "Verdict", "Convention", "Recommended"), rows)


def _each(found: Sequence[Audited]) -> Iterator[str]:
    for place, audited in enumerate(found, 1):
        yield f'## <a id="claim-{place}"></a>{escape(audited.name)}'
        yield from _claim(audited)


def _claim(a: Audited) -> Iterator[str]:
    yield f"{escape(a.published)} for {escape(a.component)} of {escape(a.model)}. Source: {escape(a.source)}."
    odds = f"one drawn from the decade around it would be with probability {a.chance:.2g}"
    if a.exact is None:
        yield (
            f"**Refuted**: none of {a.space:,} numbers comes within 0.1 %; {odds}. Recommended: {count(a.recommended)}."
        )
        return
    off = "" if not a.distance else f", {signed(a.distance)} from what is published"
    words = {"reproduced": "Reproduced", "ambiguous": "Ambiguous", "near": "Near, not explained"}[a.verdict]
    yield (
        f"**{words}**: {escape(a.convention)}, {a.exact:,}{off}. Recommended: {count(a.recommended)}. "
        f"{a.space:,} numbers were tried, {a.simple:,} of them as simple; {odds}"
        + (", which is no evidence." if a.chance >= SIGNIFICANT else ".")
    )
    if a.recommended is not None and (len(a.steps) > 1 or any(step.parts for step in a.steps)):
        before = [a.recommended, *(step.exact for step in a.steps)]
        rows = [("as recommended", "", count(a.recommended))]
        for last, step in zip(before, a.steps, strict=False):
            rows.append((escape(convention_text(step.convention)), signed(step.exact - last), count(step.exact)))
            rows += [(f"of which {escape(part.cause)}", signed(part.macs), "") for part in step.parts]
        yield table("lrr", ("One change after the other", "Change", "Comes to"), rows)
    if a.others:
        listed = [f"- {escape(convention_text(fit.convention))}: {fit.exact:,}" for fit in a.others[:_OTHERS]]
        more = len(a.others) - len(listed)
        listed += [f"- and {more:,} more"] if more else []
        alike = "as simple and as near" if a.verdict == "near" else "with these digits"
        yield details(f"{plural(len(a.others), 'convention')} more {alike}", "\n".join(listed))


def habits(found: Sequence[Audited]) -> str:
    """The scoreboard: of the claims that can have a habit, those that have it."""
    told = {(a.model, a.component, a.exact): a for a in found if a.exact is not None and a.chance < SIGNIFICANT}
    near = [a for a in told.values() if a.verdict == "near"]
    explained = [a for a in told.values() if a.verdict != "near"]
    rows = [
        (habit, *(_share_of([a.habits[habit] for a in those if habit in a.habits]) for those in (explained, near)))
        for habit in HABITS
    ]
    return table("lrr", ("They", "Explained", "Near, not explained"), rows)


def _share_of(has: Sequence[bool]) -> str:
    return f"{sum(has):,} of {len(has):,}" if has else "can't be told of any"
