"""The charts of a witness's page: what was executed against what is needed, in all and by kind of layer. SVG."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from crosscheck.report.charts.style import COLOURS, INK, RED, drawn
from crosscheck.report.text import count, plain, signed, signed_percent
from crosscheck.witnesses.accounting import CAUSES
from crosscheck.witnesses.kinds import KINDS, by_cause, kind
from crosscheck.witnesses.witnessed import Witness

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDTH, _ROW, _AXIS, _LEGEND = 9.0, 0.3, 0.55, 0.24
"""Inches: the page's width, a row's height, the axis, a line of the legend."""
_LEFT, _RIGHT = 0.26, 0.7
"""In page widths: where bars begin and end."""
_LEGEND_COLUMNS = 4
_MORE = ("#7a8b2f", "#404a55", "#c9a0dc")
"""For the causes that the other charts' colours don't reach."""


class Row(NamedTuple):
    """One bar: a name, the MACs that are needed, and by cause those executed beyond them."""

    name: str
    needed: int
    beyond: Counter[str]

    @property
    def executed(self) -> int:
        """MACs executed."""
        return self.needed + sum(self.beyond.values())


def charts(seen: Sequence[Witness], name: str) -> dict[str, str]:
    """File name -> SVG; the second only where something was executed beyond what is needed."""
    parts = [(witness, part) for witness in seen for part in witness.components if part.macs is not None]
    components = [
        Row(
            f"{witness.model} {part.name}, {_precision(part.dtype)}",
            part.recommended or 0,
            by_cause(part.executions),
        )
        for witness, part in parts
    ]
    drawn = {f"{name}.svg": _svg(components, "Executed MACs of each component, in percent of what it needs", 100.0)}
    layers = [
        Row(f"{layer}, {_precision(dtype)}", sum(len(e.paths) * e.macs for e in those), by_cause(those))
        for dtype in sorted({part.dtype for _, part in parts})
        for layer in KINDS
        for those in [[e for _, part in parts if part.dtype == dtype for e in part.executions if kind(e) == layer]]
        if those
    ]
    if any(row.beyond for row in layers):
        drawn[f"{name}-layers.svg"] = _svg(layers, "MACs beyond what is needed, by kind of layer, in percent", 0.0)
    return drawn


def _precision(dtype: str) -> str:
    return {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}.get(dtype, dtype)


def _svg(rows: Sequence[Row], title: str, base: float) -> str:
    return drawn(title, lambda: _figure(rows, title, base))


def _figure(rows: Sequence[Row], title: str, base: float) -> Figure:
    """Bars by cause, after a grey one of ``base`` percent: what is needed."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    fills = dict(zip(CAUSES, (*COLOURS, *_MORE), strict=True)) | {"unexplained": RED}
    causes = [cause for cause in fills if any(cause in row.beyond for row in rows)]
    legend = _LEGEND * -(-len(causes) // _LEGEND_COLUMNS)
    height = _ROW * len(rows) + _AXIS + legend + 0.1
    figure = Figure(figsize=(_WIDTH, height))
    bottom = _AXIS / height
    axes = figure.add_axes((_LEFT, bottom, _RIGHT - _LEFT, _ROW * len(rows) / height))
    axes.patch.set_visible(False)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(INK)
    axes.tick_params(axis="y", length=0)
    axes.set_yticks(range(len(rows)), [plain(row.name, 44) for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel(title)
    for place, row in enumerate(rows):
        if base:
            axes.barh(place, base, height=0.6, color="#8a9199")
        left, negative = base, 0.0
        for cause, macs in row.beyond.items():
            width = 100 * macs / row.needed if row.needed else 0.0
            axes.barh(place, width, left=left if width > 0 else negative, height=0.6, color=fills[cause])
            left, negative = (left + width, negative) if width > 0 else (left, negative + width)
        beyond = row.executed - row.needed
        label = f"{count(row.executed)} MACs" if base else signed(beyond)
        share = f" ({signed_percent(beyond, row.needed)})" if beyond and row.needed else ", exactly" if base else ""
        axes.annotate(
            label + share,
            (1.0, place),
            xycoords=("axes fraction", "data"),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            annotation_clip=False,
        )
    if causes:
        figure.legend(
            [Patch(color=fills[cause]) for cause in causes],
            causes,
            loc="upper left",
            bbox_to_anchor=(0.01, 1.0),
            ncols=_LEGEND_COLUMNS,
            frameon=False,
            handlelength=1.0,
        )
    return figure
