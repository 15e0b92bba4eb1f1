"""The chart of a doctor's ledger: how many cases of each kind a counter gets right. SVG, for light and dark pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crosscheck.report.charts.style import INK, drawn
from crosscheck.report.tally import exact, groups, shown
from crosscheck.report.text import plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from crosscheck.records import Ledger

_STEPS = ((1.0, "#009e73"), (0.75, "#8fd3bd"), (0.25, "#f0c75e"), (0.0, "#d55e00"))
"""The share of cases that are exact, from which on a cell has this colour."""
_LEFT, _CELL, _ROW, _HEAD, _LEGEND = 1.7, 1.15, 0.3, 0.4, 0.3
"""Inches: the names' width, a kind's width, the heights of a counter, of the kinds' names and of the legend."""


def svg(ledger: Ledger) -> str:
    """The chart of ``ledger``: the same text for the same ledger."""
    return drawn("Cases that each counter gets right, by kind", lambda: _figure(ledger))


def _figure(ledger: Ledger) -> Figure:
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    rows, columns = shown(ledger), groups(ledger)
    width = _LEFT + _CELL * len(columns) + 0.1
    height = _HEAD + _ROW * len(rows) + _LEGEND
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((_LEFT / width, _LEGEND / height, 1 - (_LEFT + 0.1) / width, _ROW * len(rows) / height))
    axes.set_xlim(0, len(columns))
    axes.set_ylim(len(rows), 0)
    axes.patch.set_visible(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.set_yticks([row + 0.5 for row in range(len(rows))], [plain(name, 22) for name in rows])
    axes.set_xticks([column + 0.5 for column in range(len(columns))], [plain(name, 20) for name in columns])
    for row, backend in enumerate(rows):
        for column, group in enumerate(columns):
            right, cases = exact(ledger, backend, group)
            colour = next(colour for share, colour in _STEPS if right >= share * cases)
            axes.add_patch(Rectangle((column + 0.03, row + 0.08), 0.94, 0.84, facecolor=colour, linewidth=0))
            axes.text(column + 0.5, row + 0.52, f"{right} of {cases}", ha="center", va="center", color="#101418")
    figure.text(_LEFT / width, 0.08 / height, "cases with the exact number, of all of their kind", color=INK)
    return figure
