"""Text for readers: untrusted strings made harmless, exact integers and their ratios, tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any

from tabulate import tabulate

from crosscheck.records import CALL_NAMES

UNKNOWN = "unknown"
#: Arguments of a pipeline's call, as a reader calls them.
WORDS = {
    CALL_NAMES.get(field, field): word
    for field, word in {
        "height": "height",
        "width": "width",
        "frames": "frames",
        "batch_size": "batch",
        "steps": "steps",
        "guidance_scale": "guidance",
        "scheduler": "scheduler",
    }.items()
}
_LONGEST = 600
#: Characters of a sentence or a list that is made of several names.
LONG = 4_000
_RISKY = re.compile(
    r"""[\\`*\[\]<>|&#$~]            # code, emphasis, links, HTML, table cells, headings, math
      | _(?![^\W_])                  # an underscore that could end an emphasis; none inside a word can
      | (?<=:)// | (?<=www)\.        # addresses that would become links
      | ^(?:[-+=]+|\d+[.)])(?=\s|$)  # lists, rules and underlines
    """,
    re.VERBOSE | re.IGNORECASE,
)
_ALIGN = {"l": "left", "r": "right"}


def plain(text: str, longest: int = _LONGEST) -> str:
    """``text`` on one line: what can't be printed becomes a space, what is longer than ``longest`` is cut."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * longest]).split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def escape(text: str, longest: int = _LONGEST) -> str:
    """``text`` as it reads, without any meaning in markdown, HTML or XML: risky characters become entities."""
    return _RISKY.sub(lambda found: "".join(f"&#{ord(c)};" for c in found[0]), plain(text, longest))


def stem(model: str) -> str:
    """The file name, without its end, for a model's report: ``org/name`` becomes ``org--name``."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", model.replace("/", "--"))[:120].lstrip(".") or "model"


def names(items: Iterable[str], last: str = "and") -> str:
    """``a, b and c``; the items are escaped already."""
    *most, end = [*items] or [""]
    return f"{', '.join(most)} {last} {end}" if most else end


def plural(number: int, noun: str) -> str:
    """``1 backend``, ``8 backends``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def count(number: int | None) -> str:
    """An exact integer with thousands separators."""
    return UNKNOWN if number is None else f"{number:,}"


def signed(number: int) -> str:
    """An exact integer with its sign, and 0 without."""
    return f"{number:+,}" if number else "0"


def ratio(part: int, whole: int, places: int = 3) -> str:
    """``part / whole`` without sign, rounded once, from the exact fraction."""
    units = round(Fraction(abs(part) * 10**places, abs(whole)))
    return f"{units // 10**places:,}.{units % 10**places:0{places}d}"


def percent(part: int, whole: int, places: int = 2) -> str:
    """``part`` in percent of ``whole``; what is not 0 never reads as 0."""
    if not whole:
        return "n/a"
    if not part:
        return "0 %"
    digits = ratio(100 * part, whole, places)
    sign = "-" if (part < 0) != (whole < 0) else ""
    return f"{sign}{digits} %" if digits.strip("0.") else f"{sign}<{digits[:-1]}1 %"


def signed_percent(part: int, whole: int) -> str:
    """``percent`` to three places, with a plus where it is positive."""
    text = percent(part, whole, places=3)
    return text if part <= 0 or not whole else f"+{text}"


def giga(macs: int | None) -> str:
    """MACs in GMACs, to three places."""
    return UNKNOWN if macs is None else f"{'-' if macs < 0 else ''}{ratio(macs, 10**9)}"


def table(align: str, headers: Sequence[str], rows: Iterable[Sequence[str]], style: str = "pipe") -> str:
    """A table, in markdown if not told otherwise; ``align`` is one of ``l r`` a column, cells are escaped already."""
    columns = [_ALIGN[letter] for letter in align]
    body = list(rows)
    grid = tabulate(body, list(headers), tablefmt=style, colalign=columns if body else None, disable_numparse=True)
    return str(grid)


def details(summary: str, body: str) -> str:
    """``body`` folded away under ``summary``."""
    return f"<details>\n<summary>{summary}</summary>\n\n{body}\n\n</details>"


def setting(value: Any) -> str:
    """A setting of a pipeline's call, in a word."""
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
