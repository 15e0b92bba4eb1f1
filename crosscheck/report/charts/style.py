"""The style of all charts, for light and dark pages, and how one becomes an SVG."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.util import find_spec
from io import StringIO
from typing import TYPE_CHECKING, Any

from crosscheck.report.text import escape

if TYPE_CHECKING:
    from matplotlib.figure import Figure


INK = "#010203"
"""Stands for the reader's own text colour until the SVG is written."""
FAINT = 0.65
RED = "#e5383b"
COLOURS = ("#3b82c4", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#b5651d", "#8c6bb1")
"""Told apart by colour-blind readers, on white and on black; hatched once they run out."""
_STYLE = "<style>svg{color:#1f2328}@media(prefers-color-scheme:dark){svg{color:#e6edf3}}</style>"
_FONTS = "system-ui, -apple-system, Segoe UI, Noto Sans, Helvetica, Arial, sans-serif"
SETTINGS: dict[Any, Any] = {
    "svg.hashsalt": "crosscheck",
    "svg.fonttype": "none",
    "font.family": ["DejaVu Sans"],
    "font.size": 9.0,
    "text.parse_math": False,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.labelcolor": INK,
    "hatch.color": INK,
    "hatch.linewidth": 0.5,
}


def available() -> bool:
    """Whether the library that draws is installed."""
    return find_spec("matplotlib") is not None


def drawn(title: str, draw: Callable[[], Figure]) -> str:
    """The SVG of what ``draw`` makes, in the style of all charts."""
    from matplotlib import style

    out = StringIO()
    with style.context(SETTINGS, after_reset=True):
        draw().savefig(out, format="svg", transparent=True)
    return themed(out.getvalue(), title)


def themed(drawing: str, title: str) -> str:
    """``drawing`` in the reader's own ink, light or dark, without what a picture has no need of."""
    drawing = re.sub(r"<!DOCTYPE.*?>|<!--.*?-->|<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r'style="[^"]*"', lambda found: _in_ink(found[0]), drawing)
    head = f"<title>{escape(title)}</title>\n{_STYLE}"
    drawing = re.sub(r"<svg\b[^>]*>", lambda found: f'{found[0][:-1]} role="img">\n{head}', drawing, count=1)
    return re.sub(r"[ \t]*\n\s*", "\n", drawing)


def _in_ink(style: str) -> str:
    return style.replace(INK, "currentColor").replace("'DejaVu Sans'", _FONTS)
