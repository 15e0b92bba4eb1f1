"""The chart of a comparison: the worst gap of each counter in each run. SVG, for light and dark pages."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import TYPE_CHECKING

from crosscheck.report.charts.style import FAINT, INK, RED, drawn
from crosscheck.report.comparison import UNSETTLED, heads, worst
from crosscheck.report.text import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from crosscheck.report.comparison import Cell, Comparison

_STEPS = ((0, "#009e73", "exact"), (1, "#8fd3bd", "up to 1 %"), (10, "#f0c75e", "up to 10 %"))
_WORST = ("#d55e00", "more than 10 %")
_NONE = ("none", "no number")
_UNSETTLED = (RED, "not explained")
_LEFT, _CELL, _ROW, _HEAD, _LEGEND = 1.7, 0.72, 0.3, 0.62, 0.36
"""Inches: the names' width, a run's width, the heights of a counter, of the runs' names and of the legend."""


def svg(comparison: Comparison) -> str:
    """The chart of ``comparison``: the same text for the same ledgers."""
    return drawn("The worst gap of each counter in each run", lambda: _figure(comparison))


def _figure(comparison: Comparison) -> Figure:
    from matplotlib.figure import Figure

    counters = worst(comparison)
    width = _LEFT + _CELL * len(comparison.labels) + 0.1
    height = _HEAD + _ROW * len(counters) + _LEGEND
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((_LEFT / width, _LEGEND / height, 1 - (_LEFT + 0.1) / width, _ROW * len(counters) / height))
    axes.set_xlim(0, len(comparison.labels))
    axes.set_ylim(len(counters), 0)
    axes.patch.set_visible(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.set_yticks([row + 0.5 for row in range(len(counters))], [plain(name, 22) for name in counters])
    names = ["\n".join(plain(part, 12) for part in heads(label)) for label in comparison.labels]
    axes.set_xticks([run + 0.5 for run in range(len(names))], names, size=7.5)
    for row, cells in enumerate(counters.values()):
        for run, cell in enumerate(cells):
            _cell(axes, row, run, cell)
    _legend(figure, chain.from_iterable(counters.values()))
    return figure


def _cell(axes: Axes, row: int, run: int, cell: Cell) -> None:
    from matplotlib.patches import Rectangle

    colour, _ = _look(cell)
    hollow = colour == "none"
    axes.add_patch(
        Rectangle((run + 0.03, row + 0.06), 0.94, 0.88, facecolor=colour, edgecolor=INK if hollow else "none",
                  linewidth=0.5, alpha=FAINT if hollow else 1)
    )  # fmt: skip
    text = plain(str(cell).replace(" (known)", "").removesuffix(" %"), 10)
    dark = INK if hollow else "#101418"
    axes.text(run + 0.5, row + 0.5, text, ha="center", va="center", size=7, color=dark)


def _look(cell: Cell) -> tuple[str, str]:
    """Fill and meaning, by the share of the reference that a counter is off."""
    if cell.verdict in UNSETTLED:
        return _UNSETTLED
    if cell.macs is None or cell.gap is None:
        return _NONE
    for percent, colour, meaning in _STEPS:
        if 100 * abs(cell.gap) <= percent * (cell.macs - cell.gap):
            return colour, meaning
    return _WORST


def _legend(figure: Figure, cells: Iterable[Cell]) -> None:
    from matplotlib.patches import Patch

    looks = [*((colour, meaning) for _, colour, meaning in _STEPS), _WORST, _NONE]
    looks += [_UNSETTLED] if any(_look(cell) == _UNSETTLED for cell in cells) else []
    handles = [
        Patch(facecolor=colour, edgecolor=INK if colour == "none" else "none", linewidth=0.5, label=meaning)
        for colour, meaning in looks
    ]
    figure.legend(handles=handles, loc="lower left", ncols=len(handles), frameon=False, borderaxespad=0.2,
                  handlelength=1.2, columnspacing=1.6)  # fmt: skip
