"""Words for what was given instead of what was wanted."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from crosscheck.errors import UsageError


def did_you_mean(got: str, allowed: Iterable[str]) -> str:
    """``did you mean 'thop'? ``, to go before what is allowed; empty where nothing is near ``got``."""
    names = {name.casefold(): name for name in allowed}
    parts = [part.strip() for part in got.casefold().split(",")]
    if len(parts) > 1 and all(part in names for part in parts):
        return f"did you mean {' and '.join(repr(names[part]) for part in parts)}, each by itself? "
    (word, *_) = parts
    near = [word] if word in names else [name for name in names if word and name.startswith(word)]
    near = near or [name for name in names if len(word) > 2 and word in name]
    near = near or difflib.get_close_matches(word, names, n=1)
    return f"did you mean {' or '.join(repr(names[name]) for name in sorted(near, key=len)[:3])}? " if near else ""


def describe(got: object) -> str:
    """A reader's name for a value given where another was wanted."""
    if got is None:
        return "None"
    return f"the class {got.__name__}" if isinstance(got, type) else f"a {type(got).__name__}"


def require_list(what: str, got: object) -> None:
    """Refuse one thing, or a text, where several in a list are wanted."""
    if isinstance(got, str) or not isinstance(got, Iterable):
        example = f", such as [{got!r}]" if isinstance(got, str) else ""
        raise UsageError(f"{what}: got {got!r}; allowed: a list{example}")
