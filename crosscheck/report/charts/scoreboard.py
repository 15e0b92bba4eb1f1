"""The chart of the scoreboard: how far off each counter is on every model's denoiser. SVG, for light and dark pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

from crosscheck.records import Counted
from crosscheck.report.charts.style import INK, drawn
from crosscheck.report.text import plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from crosscheck.records import Ledger

_EXACT, _OFF = "#009e73", "#d55e00"
_LEFT, _PLOT, _RIGHT, _ROW, _FOOT = 1.5, 5.6, 1.4, 0.3, 0.55
"""Inches: the widths of the names, the dots and the words beside them, the heights of a counter and of the axis."""


def svg(ledgers: Sequence[Ledger], counters: Sequence[str]) -> str:
    """The chart of ``counters`` on ``ledgers``: the same text for the same ledgers."""
    return drawn(
        "How far off each counter is on every model's denoiser, in percent", lambda: _figure(shares(ledgers, counters))
    )


def shares(ledgers: Sequence[Ledger], counters: Sequence[str]) -> dict[str, list[Fraction]]:
    """Gaps of each counter that has a number on each denoiser, in percent; those with the widest last."""
    parts = [part for ledger in ledgers if (part := ledger.denoiser) and part.recommended.macs]
    found = {
        name: [
            Fraction(100 * outcome.gap, outcome.macs - outcome.gap)
            for part in parts
            if isinstance(outcome := part.backends.get(name), Counted)
        ]
        for name in counters
    }
    return dict(sorted(((name, off) for name, off in found.items() if off), key=lambda item: max(map(abs, item[1]))))


def _figure(off: Mapping[str, Sequence[Fraction]]) -> Figure:
    from matplotlib.figure import Figure

    width, height = _LEFT + _PLOT + _RIGHT, _ROW * len(off) + _FOOT
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((_LEFT / width, _FOOT / height, _PLOT / width, 1 - _FOOT / height))
    axes.set_ylim(len(off) - 0.5, -0.5)
    axes.patch.set_visible(False)
    axes.spines[:].set_visible(False)
    axes.grid(axis="x", color=INK, alpha=0.1)
    axes.axvline(0, color=INK, linewidth=1)
    axes.tick_params(length=0)
    axes.set_yticks(range(len(off)), [plain(name, 22) for name in off])
    axes.set_xlabel("off by, in % of conv + linear + attention + matmul; a dot is a model's denoiser, one forward")
    for row, gaps in enumerate(off.values()):
        colours = [_OFF if gap else _EXACT for gap in gaps]
        axes.scatter([float(gap) for gap in gaps], [row] * len(gaps), s=26, c=colours, alpha=0.6, linewidths=0)
        right = sum(not gap for gap in gaps)
        axes.text(1.02, row, f"exact on {right} of {len(gaps)}", transform=axes.get_yaxis_transform(), va="center")
    return figure
