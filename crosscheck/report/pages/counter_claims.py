"""Claims about counters rather than models: how right they are on attention, and what they cost. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from statistics import median

from crosscheck.audit.records import Misjudged, Overhead, Weighed
from crosscheck.report.text import count, details, escape, percent, signed, table


def sentence(weighed: Weighed) -> str:
    """The verdict of the components in a sentence."""
    those = weighed.components
    if weighed.accuracy.than:
        closer = sum(abs(one.off) < abs(one.than or 0) for one in those)
        farther = sum(abs(one.off) > abs(one.than or 0) for one in those)
        return (
            f"{_holds(closer == len(those), closer == 0)}: closer than {escape(weighed.accuracy.than)} on {closer:,} "
            f"of {len(those):,} components with attention, as far off on {len(those) - closer - farther:,}, "
            f"farther off on {farther:,}"
        )
    low, high = min(those, key=_share), max(those, key=_share)
    return (
        f"{_holds(_share(low) == _share(high), _share(low) != _share(high))}: off by {_where(low)} to {_where(high)}; "
        f"right on {sum(not one.off for one in those):,} of {len(those):,} components with attention"
    )


def cost(overhead: Overhead) -> str:
    """The cost by the measured times; how little is minimal is for the reader."""
    plain, counted = median(overhead.plain), median(overhead.counted)
    ratios = sorted(b / a for a, b in zip(overhead.plain, overhead.counted, strict=True))
    return (
        f"Measured: {counted / plain:.2f} x a forward by itself ({counted:.3g} s and {plain:.3g} s, medians of "
        f"{len(ratios)} in turn; {ratios[0]:.2f} to {ratios[-1]:.2f} x), on {escape(overhead.what)}"
    )


def blocks(weighed: Sequence[Weighed], overheads: Sequence[Overhead]) -> Iterator[str]:
    """The section of a page; nothing where nothing is claimed."""
    if weighed or overheads:
        yield "## What is claimed of counters"
    for one in weighed:
        yield f"### {escape(one.accuracy.name)}"
        yield f"Source: {escape(one.accuracy.source)}. **{sentence(one)}.**"
        others = (escape(one.accuracy.than),) if one.accuracy.than else ()
        rows = [
            (
                escape(part.model),
                escape(part.component),
                count(part.attention),
                *(cell for off in (part.off, part.than) if off is not None for cell in (signed(off), _off(off, part))),
            )
            for part in one.components
        ]
        headers = ["Model", "Component", "Attention, MACs"]
        headers += [cell for name in (escape(one.accuracy.counter), *others) for cell in (name, "of it")]
        yield details("Every component", table("ll" + "r" * (len(headers) - 2), headers, rows))
    for overhead in overheads:
        yield f"### {escape(overhead.name)}"
        yield f"Source: {escape(overhead.source)}. **{cost(overhead)}.**"


def _holds(always: bool, never: bool) -> str:
    return "Holds" if always else "Does not hold" if never else "Holds in part"


def _share(one: Misjudged) -> Fraction:
    return Fraction(one.off, one.attention)


def _off(off: int, one: Misjudged) -> str:
    return percent(off, one.attention)


def _where(one: Misjudged) -> str:
    return f"{_off(one.off, one)} of it on {escape(one.model)}'s {escape(one.component)}"
