"""Names that stand for something else for a while: put in place, and back, also after an error."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

_INHERITED = object()
_F = TypeVar("_F", bound=Callable[..., Any])


def like(original: Callable[..., Any]) -> Callable[[_F], _F]:
    """Give the function that takes the place of ``original`` its name and the signature that callers look for."""

    def dress(function: _F) -> _F:
        functools.update_wrapper(function, original)
        with suppress(TypeError, ValueError):  # a builtin has none
            function.__signature__ = inspect.signature(original)  # type: ignore[attr-defined]
        return function

    return dress


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Inside, ``owner.name`` is ``value``; afterwards its own again, and an inherited one is inherited again."""
    own = vars(owner).get(name, _INHERITED)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if own is _INHERITED:
            delattr(owner, name)
        else:
            setattr(owner, name, own)


@contextmanager
def replaced_items(mapping: MutableMapping[Any, Any], items: Mapping[Any, Any]) -> Iterator[None]:
    """Inside, ``mapping`` has these entries; afterwards as before."""
    before = {key: mapping[key] for key in items if key in mapping}
    mapping.update(items)
    try:
        yield
    finally:
        for key in items:
            if key in before:
                mapping[key] = before[key]
            else:
                del mapping[key]
