"""The chart of a sweep: MACs of a generation along an axis, all, and of these attention and the rest. SVG."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from crosscheck.report.charts.style import INK, drawn
from crosscheck.report.text import WORDS, plain, setting

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from crosscheck.sweep import Point


_ATTENTION, _REST = "#0072b2", "#d55e00"


def svg(points: Sequence[Point]) -> str:
    """MACs of a generation along the first axis that grows: all, and of these attention and the rest."""
    return drawn("MACs of a generation over the sweep", lambda: _figure(points))


def _figure(points: Sequence[Point]) -> Figure:
    from matplotlib.figure import Figure

    counted = [point for point in points if point.macs is not None]
    models = list(dict.fromkeys(point.model for point in counted))
    figure = Figure(figsize=(7.0, 2.6 * len(models) + 0.3), layout="constrained")
    for axes, model in zip(figure.subplots(len(models), 1, squeeze=False)[:, 0], models, strict=True):
        _panel(axes, model, [point for point in counted if point.model == model])
    return figure


def _panel(axes: Axes, model: str, points: list[Point]) -> None:
    along = next((n for n in WORDS if len({str(p.asked.get(n)) for p in points}) > 1), next(iter(WORDS)))
    numeric = all(isinstance(p.asked.get(along), int | float) for p in points)
    lines: dict[Any, list[Point]] = {}
    for point in points:
        same = ("height", "width") if along == "height" else (along,)
        lines.setdefault(tuple((k, str(v)) for k, v in point.asked.items() if k not in same), []).append(point)
    for index, line in enumerate(lines.values()):
        ordered = sorted(line, key=lambda p: p.asked[along]) if numeric else line
        x = [p.asked[along] if numeric else plain(setting(p.asked.get(along)), 24) for p in ordered]
        total = [(p.macs or 0) / 1e12 for p in ordered]
        attention = [p.attention / 1e12 for p in ordered]
        rest = [t - a for t, a in zip(total, attention, strict=True)]
        for values, color, label in ((total, INK, "all"), (attention, _ATTENTION, "attention"), (rest, _REST, "rest")):
            axes.plot(x, values, color=color, label=label if index == 0 else None, marker=".", linewidth=1.2)
    axes.set_title(plain(model, 40), loc="left", size=9)
    axes.set_xlabel(WORDS[along])
    axes.set_ylabel("TMACs a generation")
    axes.set_ylim(bottom=0)
    axes.grid(color=INK, alpha=0.12, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
