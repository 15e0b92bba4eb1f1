"""A sweep as a table and a chart: where attention overtakes the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crosscheck.files import write_atomically
from crosscheck.records import dumps
from crosscheck.report.charts.style import available
from crosscheck.report.text import WORDS, count, escape, percent, plain, setting, table

if TYPE_CHECKING:
    from crosscheck.sweep import Point


def text(points: Sequence[Point]) -> str:
    """The table, and where attention overtakes, for a terminal."""
    return "\n\n".join(_blocks(points, plain, "simple"))


def write(points: Sequence[Point], folder: Path) -> list[Path]:
    """Write ``sweep.md`` and its chart into ``folder``; each file appears whole or not at all."""
    from crosscheck.report.charts import sweep as chart

    drawn = {"sweep.svg": chart.svg(points)} if available() and any(_counted(points)) else {}
    pages = drawn | {"sweep.md": markdown(points, tuple(drawn))}
    return [write_atomically(folder / name, content) for name, content in pages.items()][::-1]


def markdown(points: Sequence[Point], charts: Sequence[str] = ()) -> str:
    """The page; ``charts`` are the addresses of its images."""
    page = ["# Sweep", *(f"![MACs of a generation]({name})" for name in charts), *_blocks(points, escape, "pipe")]
    return "\n\n".join(page) + "\n"


FORMATS: dict[str, Callable[[Sequence[Point]], str]] = {"table": text, "json": dumps, "markdown": markdown}


def _blocks(points: Sequence[Point], shown: Callable[[str], str], style: str) -> Iterator[str]:
    swept = [name for name in WORDS if any(name in point.asked for point in points)]
    headers = ("Model", *(WORDS[name] for name in swept), "MACs of a generation", "attention", "")
    rows = [
        (
            shown(point.model),
            *(shown(setting(point.asked.get(name))) for name in swept),
            count(point.macs),
            percent(point.attention, point.macs) if point.macs else "",
            shown(point.error or point.status),
        )
        for point in points
    ]
    yield table("l" + "r" * (len(headers) - 2) + "l", headers, rows, style)
    if lines := [*overtakes(points, shown)]:
        yield "\n".join(f"- {line}" for line in lines)


def overtakes(points: Sequence[Point], shown: Callable[[str], str] = plain) -> Iterator[str]:
    """For each model the first point of a growing image at which attention is more than all the rest."""
    for model in dict.fromkeys(point.model for point in points):
        lines: dict[Any, list[Point]] = {}
        for point in _counted(points):
            if point.model == model and "height" in point.asked:
                others = tuple((k, str(v)) for k, v in point.asked.items() if k not in ("height", "width"))
                lines.setdefault(others, []).append(point)
        for others, line in lines.items():
            growing = sorted(line, key=_pixels)
            above = [point for point in growing if 2 * point.attention > (point.macs or 0)]
            where = f" ({', '.join(f'{WORDS[k]} {v}' for k, v in others)})" if others else ""
            if above and above[0] is not growing[0]:
                before = growing[growing.index(above[0]) - 1]
                yield (
                    f"{shown(model)}{where}: attention overtakes all the rest between {_size(before)} and "
                    f"{_size(above[0])} pixels"
                )
            elif growing:
                verb = "is more than" if above else "stays below"
                yield f"{shown(model)}{where}: attention {verb} all the rest at every size here"


def _counted(points: Sequence[Point]) -> list[Point]:
    return [point for point in points if point.macs is not None]


def _pixels(point: Point) -> int:
    return int(point.asked["height"]) * int(point.asked.get("width", point.asked["height"]))


def _size(point: Point) -> str:
    return f"{point.asked['height']} x {point.asked.get('width', point.asked['height'])}"
