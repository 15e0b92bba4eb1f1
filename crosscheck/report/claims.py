"""An audit of published numbers, as a table, JSON and a page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import get_args

import msgspec

from crosscheck.claims import said
from crosscheck.files import write_atomically
from crosscheck.records import Audited, Verdict
from crosscheck.report.text import count, details, escape, plain, plural, signed, table

#: Other conventions that a page lists for a claim.
_OTHERS = 12


def text(found: Sequence[Audited]) -> str:
    """A table for a terminal."""
    rows = [
        (plain(a.name), plain(a.published), a.verdict, plain(a.convention), count(a.exact), count(a.recommended))
        for a in found
    ]
    headers = ("claim", "published", "verdict", "convention", "which is", "recommended")
    return table("lrllrr", headers, rows, style="simple")


def json(found: Sequence[Audited]) -> str:
    """``{"claims": [...]}``, every field that is known."""
    return msgspec.json.format(msgspec.json.encode({"claims": [_told(a) for a in found]}), indent=1).decode() + "\n"


def _told(audited: Audited) -> dict[str, object]:
    """The fields that are always there, whatever they hold, and those that are known."""
    always = {"convention": audited.convention, "exact": audited.exact, "recommended": audited.recommended}
    return {**msgspec.to_builtins(audited), **always}


def markdown(found: Sequence[Audited]) -> str:
    """The page."""
    return "\n\n".join(_blocks(found)) + "\n"


def write(found: Sequence[Audited], folder: Path) -> list[Path]:
    """Write ``claims.md`` into ``folder``."""
    return [write_atomically(folder / "claims.md", markdown(found))]


FORMATS: dict[str, Callable[[Sequence[Audited]], str]] = {"table": text, "json": json, "markdown": markdown}


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
    verdicts = [(verdict, count(sum(a.verdict == verdict for a in found))) for verdict in get_args(Verdict)]
    yield table("lr", ("Verdict", "Claims"), verdicts)
    if habits := _habits(found):
        yield "\n".join(f"- {habit}" for habit in habits)
    rows = [
        (
            f"[{escape(a.name)}](#claim-{place})",
            escape(a.published),
            a.verdict,
            escape(a.convention),
            count(a.recommended),
        )
        for place, a in enumerate(found, 1)
    ]
    yield table("lrllr", ("Claim", "Published", "Verdict", "Convention", "Recommended"), rows)
    for place, audited in enumerate(found, 1):
        yield f'## <a id="claim-{place}"></a>{escape(audited.name)}'
        yield from _claim(audited)


def _claim(a: Audited) -> Iterator[str]:
    yield f"{escape(a.published)} for {escape(a.component)} of {escape(a.model)}. Source: {escape(a.source)}."
    if a.exact is None:
        yield f"**Refuted**: none of {a.space:,} numbers comes within 0.1 %. Recommended: {count(a.recommended)}."
        return
    off = "" if not a.distance else f", {signed(a.distance)} from what is published"
    words = {"reproduced": "Reproduced", "ambiguous": "Ambiguous", "near": "Near, not explained"}[a.verdict]
    yield (
        f"**{words}**: {escape(a.convention)}, {a.exact:,}{off}. Recommended: {count(a.recommended)}. "
        f"Of {a.space:,} numbers tried; one drawn from the decade around it prints as any of them with probability "
        f"{a.chance:.2g}."
    )
    if a.recommended is not None and len(a.steps) > 1:
        before = [a.recommended, *(step.exact for step in a.steps)]
        rows = [("as recommended", "", count(a.recommended))]
        rows += [
            (escape(said(step.convention)), signed(step.exact - last), count(step.exact))
            for last, step in zip(before, a.steps, strict=False)
        ]
        yield table("lrr", ("One change after the other", "Change", "Comes to"), rows)
    if a.others:
        listed = [f"- {escape(said(fit.convention))}: {fit.exact:,}" for fit in a.others[:_OTHERS]]
        more = len(a.others) - len(listed)
        listed += [f"- and {more:,} more"] if more else []
        yield details(f"{plural(len(a.others), 'convention')} more with these digits", "\n".join(listed))


def _habits(found: Sequence[Audited]) -> list[str]:
    """What published numbers have in common, of those that a convention explains alone."""
    told = [a for a in found if a.verdict == "reproduced"]
    signs = {
        "leave out attention": ("without attention", "plain", "attention-not-counted", "as calflops counts"),
        "call MACs FLOPs": ("MACs called FLOPs",),
        "count one guidance branch": ("one guidance branch",),
    }
    return [
        f"{sum(any(sign in a.convention for sign in those) for a in told):,} of {len(told):,} reproduced ones {what}"
        for what, those in signs.items()
    ]
