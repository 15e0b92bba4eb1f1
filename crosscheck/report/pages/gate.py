"""Changes that a gate stopped: lines, JSON and a list. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from crosscheck.records import dumps
from crosscheck.report.text import escape, plain


def text(changes: Sequence[str]) -> str:
    """A line for each change."""
    return "\n".join(map(plain, changes))


def json(changes: Sequence[str]) -> str:
    """``{"changes": [...]}``."""
    return dumps({"changes": changes})


def markdown(changes: Sequence[str]) -> str:
    """A list, also where it is empty a sentence."""
    return "\n".join(f"- {escape(change)}" for change in changes) or "No recommended total and no verdict changed."


FORMATS: dict[str, Callable[[Sequence[str]], str]] = {"table": text, "json": json, "markdown": markdown}
