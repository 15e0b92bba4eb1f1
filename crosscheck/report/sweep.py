"""A sweep as a table and a chart: where attention overtakes the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crosscheck.files import write_atomically
from crosscheck.ledger import dumps
from crosscheck.report.chart import INK, available, drawn
from crosscheck.report.text import WORDS, count, escape, percent, plain, table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from crosscheck.sweep import Point

_ATTENTION, _REST = "#0072b2", "#d55e00"


def text(points: Sequence[Point]) -> str:
    """The table, and where attention overtakes, for a terminal."""
    return "\n\n".join(_blocks(points, plain, "simple"))


def write(points: Sequence[Point], folder: Path) -> list[Path]:
    """Write ``sweep.md`` and its chart into ``folder``; each file appears whole or not at all."""
    drawn = {"sweep.svg": svg(points)} if available() and any(_counted(points)) else {}
    pages = drawn | {"sweep.md": markdown(points, tuple(drawn))}
    return [write_atomically(folder / name, content) for name, content in pages.items()][::-1]


def markdown(points: Sequence[Point], charts: Sequence[str] = ()) -> str:
    """The page; ``charts`` are the addresses of its images."""
    page = ["# Sweep", *(f"![MACs of a generation]({name})" for name in charts), *_blocks(points, escape, "pipe")]
    return "\n\n".join(page) + "\n"


FORMATS: dict[str, Callable[[Sequence[Point]], str]] = {"table": text, "json": dumps, "markdown": markdown}


def _blocks(points: Sequence[Point], said: Callable[[str], str], style: str) -> Iterator[str]:
    swept = [name for name in WORDS if any(name in point.asked for point in points)]
    headers = ("Model", *(WORDS[name] for name in swept), "MACs of a generation", "attention", "")
    rows = [
        (
            said(point.model),
            *(said(_said(point.asked.get(name))) for name in swept),
            count(point.macs),
            percent(_attention(point), point.macs) if point.macs else "",
            said(point.error or point.status),
        )
        for point in points
    ]
    yield table("l" + "r" * (len(headers) - 2) + "l", headers, rows, style)
    if lines := [*overtakes(points, said)]:
        yield "\n".join(f"- {line}" for line in lines)


def overtakes(points: Sequence[Point], said: Callable[[str], str] = plain) -> Iterator[str]:
    """For each model the first point of a growing image at which attention is more than all the rest."""
    for model in dict.fromkeys(point.model for point in points):
        lines: dict[Any, list[Point]] = {}
        for point in _counted(points):
            if point.model == model and "height" in point.asked:
                others = tuple((k, str(v)) for k, v in point.asked.items() if k not in ("height", "width"))
                lines.setdefault(others, []).append(point)
        for others, line in lines.items():
            growing = sorted(line, key=_pixels)
            above = [point for point in growing if 2 * _attention(point) > (point.macs or 0)]
            where = f" ({', '.join(f'{WORDS[k]} {v}' for k, v in others)})" if others else ""
            if above and above[0] is not growing[0]:
                before = growing[growing.index(above[0]) - 1]
                yield (
                    f"{said(model)}{where}: attention overtakes all the rest between {_size(before)} and "
                    f"{_size(above[0])} pixels"
                )
            elif growing:
                verb = "is more than" if above else "stays below"
                yield f"{said(model)}{where}: attention {verb} all the rest at every size here"


def _counted(points: Sequence[Point]) -> list[Point]:
    return [point for point in points if point.macs is not None]


def _attention(point: Point) -> int:
    return point.by_op.get("attention", 0) + point.by_op.get("matmul", 0)


def _pixels(point: Point) -> int:
    return int(point.asked["height"]) * int(point.asked.get("width", point.asked["height"]))


def _size(point: Point) -> str:
    return f"{point.asked['height']} x {point.asked.get('width', point.asked['height'])}"


def _said(value: Any) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


# -- the chart ---------------------------------------------------------------------------------------------------------


def svg(points: Sequence[Point]) -> str:
    """MACs of a generation along the first axis that grows: all, and of these attention and the rest."""
    return drawn("MACs of a generation over the sweep", lambda: _figure(points))


def _figure(points: Sequence[Point]) -> Figure:
    from matplotlib.figure import Figure

    models = list(dict.fromkeys(point.model for point in _counted(points)))
    figure = Figure(figsize=(7.0, 2.6 * len(models) + 0.3), layout="constrained")
    for axes, model in zip(figure.subplots(len(models), 1, squeeze=False)[:, 0], models, strict=True):
        _panel(axes, model, [point for point in _counted(points) if point.model == model])
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
        x = [p.asked[along] if numeric else plain(_said(p.asked.get(along)), 24) for p in ordered]
        total = [(p.macs or 0) / 1e12 for p in ordered]
        attention = [_attention(p) / 1e12 for p in ordered]
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
