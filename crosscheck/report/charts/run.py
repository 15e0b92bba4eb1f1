"""The chart of a ledger: how far each backend is off, and by which causes. SVG, for light and dark pages."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from crosscheck.records import Component, Counted, Ledger, Outcome, Term
from crosscheck.report.charts.style import COLOURS, FAINT, INK, RED, drawn
from crosscheck.report.text import count, plain, signed_percent
from crosscheck.report.verdict import reference, verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RESIDUAL = "residual (not explained)"
_HATCHES = ("", "/////", "-----", "xxxxx")
_WIDTH, _ROW, _TITLE, _AXIS, _LEGEND = 9.0, 0.24, 0.44, 0.5, 0.22
"""Inches: the page's width; the heights of a backend, a component's title, the axis, a line of the legend."""
_LEFT, _RIGHT, _TEXT, _EDGE = 0.175, 0.75, 0.905, 0.99
"""In page widths: where bars begin and end, where labels end, and the right edge, up to which causes are marked."""
_CHIP, _CHIPS = 0.014, 6
"""The page's share for the mark of one cause beside a label, and how many there is room for."""
_LEGEND_COLUMNS = 3
_THINNEST = 0.0025
"""A term narrower than this share of the axis is drawn this wide, to be seen."""
_CAP = 100
"""Percent; a bar beyond it is cut, with an arrow."""


class Look(NamedTuple):
    """Fill of the bars of one cause."""

    colour: str
    hatch: str = ""


class Panel(NamedTuple):
    """One component: a row for each backend, in percent of ``reference`` MACs."""

    component: Component
    reference: int

    def percent(self, macs: int) -> float:
        """For the length of a bar, ten times the cap at most."""
        most = 10 * _CAP * self.reference
        return max(-most, min(100 * macs, most)) / self.reference if self.reference > 0 else 0.0

    def bars(self, outcome: Outcome) -> list[tuple[str, float]]:
        """Cause and signed percent of each part of a gap, the residual last."""
        if not isinstance(outcome, Counted):
            return []
        parts = (*outcome.terms, Term(cause=RESIDUAL, macs=outcome.residual))
        return [(part.cause, self.percent(part.macs)) for part in parts if part.macs]


def svg(ledger: Ledger) -> str:
    """The chart of ``ledger``: the same text for the same ledger."""
    panels = [Panel(component, reference(component) or 0) for component in ledger.components]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")
        return drawn(f"{ledger.model}: how far each backend is off, by cause", lambda: _figure(panels))


def _figure(panels: Sequence[Panel]) -> Figure:
    from matplotlib.figure import Figure

    gaps = [panel.bars(outcome) for panel in panels for outcome in panel.component.backends.values()]
    looks, limits = _looks(gaps), _limits(gaps)
    legend = _LEGEND * -(-len(looks) // _LEGEND_COLUMNS) + 0.1 if looks else 0.0
    heights = [_ROW * max(1, len(panel.component.backends)) for panel in panels]
    height = legend + sum(heights) + _TITLE * len(panels) + _AXIS
    figure = Figure(figsize=(_WIDTH, height))
    top = height - legend
    for panel, rows in zip(panels, heights, strict=True):
        top -= _TITLE + rows
        axes = figure.add_axes((_LEFT, top / height, _RIGHT - _LEFT, rows / height))
        _frame(axes, panel, limits, last=panel is panels[-1])
        for row, outcome in enumerate(panel.component.backends.values()):
            bars = panel.bars(outcome)
            _bars(axes, row, bars, looks)
            _chips(axes, row, bars, looks)
            _label(axes, row, outcome)
        _title(figure, panel, (top + rows + 0.07) / height)
    if looks:
        _legend(figure, looks)
    return figure


def _looks(gaps: Iterable[Sequence[tuple[str, float]]]) -> dict[str, Look]:
    """A look for each cause, the largest first, so that the plain colours go to what matters."""
    sizes: dict[str, float] = {}
    for cause, percent in (bar for bars in gaps for bar in bars):
        sizes[cause] = max(sizes.get(cause, 0.0), abs(percent))
    unexplained = sizes.pop(RESIDUAL, None)
    ranked = sorted(sizes, key=lambda cause: (-sizes[cause], cause))
    looks = {
        cause: Look(COLOURS[n % len(COLOURS)], _HATCHES[n // len(COLOURS) % len(_HATCHES)])
        for n, cause in enumerate(ranked)
    }
    return looks if unexplained is None else looks | {RESIDUAL: Look(RED)}


def _limits(gaps: Iterable[Sequence[tuple[str, float]]]) -> tuple[float, float]:
    """The axis that all components share, so that equal bars are equal percentages."""
    sums = [(sum(p for _, p in bars if p < 0), sum(p for _, p in bars if p > 0)) for bars in gaps]
    low, high = (min((s[0] for s in sums), default=0.0), max((s[1] for s in sums), default=0.0))
    low, high = max(low, -_CAP), min(high, _CAP)
    margin = 0.04 * (high - low) or 1.0
    return low - margin, high + margin


def _frame(axes: Axes, panel: Panel, limits: tuple[float, float], *, last: bool) -> None:
    names = [plain(name, 22) for name in panel.component.backends]
    axes.patch.set_visible(False)
    axes.set_xlim(limits)
    axes.set_ylim(max(1, len(names)) - 0.5, -0.5)
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.tick_params(length=0, labelbottom=last)
    axes.spines[:].set_visible(False)
    axes.grid(axis="x", color=INK, alpha=0.12, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.axvline(0, color=INK, linewidth=0.9, alpha=FAINT, zorder=0.5)
    if last:
        axes.set_xlabel("gap in % of the reference", alpha=FAINT)


def _bars(axes: Axes, row: int, bars: Sequence[tuple[str, float]], looks: Mapping[str, Look]) -> None:
    """Bars: additions to the reference go right of 0, omissions left."""
    low, high = axes.get_xlim()
    ends = {True: 0.0, False: 0.0}
    for cause, percent in bars:
        width = max(abs(percent), _THINNEST * (high - low)) * (1 if percent > 0 else -1)
        look = looks[cause]
        axes.barh(row, width, left=ends[percent > 0], height=0.66, color=look.colour, hatch=look.hatch, linewidth=0)
        ends[percent > 0] += width
    for cut, edge, marker in ((ends[True] > high, high, ">"), (ends[False] < low, low, "<")):
        if cut:
            axes.plot(edge, row, marker=marker, color=INK, markersize=5, clip_on=False)


def _label(axes: Axes, row: int, outcome: Outcome) -> None:
    """Beside the bar: how far off, or in a word why there is no number."""
    text = word = verdict(outcome)
    if isinstance(outcome, Counted) and outcome.gap:
        text = signed_percent(outcome.gap, outcome.macs - outcome.gap) + (" residual" if word == "residual" else "")
    elif word == "exact":
        axes.plot(0, row, marker="o", markersize=4.5, color=INK)
    axes.text(
        _across(_TEXT),
        row,
        plain(text, 24),
        transform=axes.get_yaxis_transform(),
        ha="right",
        va="center_baseline",
        weight="bold" if word in {"residual", "failed"} else "normal",
        alpha=FAINT if word in {"skipped", "failed (known)"} else 1.0,
    )


def _chips(axes: Axes, row: int, bars: Sequence[tuple[str, float]], looks: Mapping[str, Look]) -> None:
    """The causes at work, whatever their size: a mark each, the same size for all."""
    from matplotlib.patches import Rectangle

    left, width = _across(_TEXT + 0.006), _across(_CHIP) - _across(0)
    for n, cause in enumerate(list(dict.fromkeys(cause for cause, _ in bars))[:_CHIPS]):
        look = looks[cause]
        chip = Rectangle(
            (left + n * width, row - 0.22), 0.8 * width, 0.44, facecolor=look.colour, hatch=look.hatch, linewidth=0
        )
        chip.set(transform=axes.get_yaxis_transform(), clip_on=False)
        axes.add_artist(chip)


def _across(share: float) -> float:
    """A place on the page in widths of the bars' area."""
    return (share - _LEFT) / (_RIGHT - _LEFT)


def _title(figure: Figure, panel: Panel, height: float) -> None:
    figure.text(0.01, height, plain(panel.component.name, 40), weight="bold", size=11)
    total = f"reference {count(panel.reference)} MACs" if panel.reference else "no reference"
    figure.text(_EDGE, height, total, ha="right", alpha=FAINT)


def _legend(figure: Figure, looks: Mapping[str, Look]) -> None:
    from matplotlib.patches import Patch

    handles = [
        Patch(facecolor=look.colour, hatch=look.hatch, linewidth=0, label=plain(cause, 34).lstrip("_") or "?")
        for cause, look in looks.items()
    ]
    figure.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(0.0, 1.0), ncols=_LEGEND_COLUMNS, frameon=False,
        handlelength=1.2, handleheight=1.0, borderaxespad=0.2, columnspacing=1.6,
    )  # fmt: skip
