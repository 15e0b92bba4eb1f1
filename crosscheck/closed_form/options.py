"""Options and input shapes as a closed form reads them, and refusals of what it does not cover.

A number is given only where it is derived. Everything else is refused by name: an option's value, an input, a shape
for which the model's own forward would raise.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any, TypeAlias

from crosscheck.closed_form.arithmetic import Size

Options: TypeAlias = Mapping[str, Any]
Shape: TypeAlias = tuple[Size, ...]
Inputs: TypeAlias = Mapping[str, Shape]


class NoClosedForm(Exception):  # noqa: N818 - a refusal with a reason, not an error of the program
    """A class, option, input or shape that no closed form covers."""


def complete(config: Options, defaults: Options) -> Options:
    """The config as the library reads it: defaults for what is missing, keys that its class does not know left out."""
    return {name: config.get(name, default) for name, default in defaults.items()}


def refuse_uncovered(options: Options, covered: Mapping[str, Container[Any]]) -> None:
    """Raise for a value (in a list: for one of its values) that is not among the covered ones."""
    for name, allowed in covered.items():
        given = options[name]
        for value in given if isinstance(given, (list, tuple)) else (given,):
            if value not in allowed:
                msg = f"{name}={value!r} is not covered, only {allowed}"
                raise NoClosedForm(msg)


def refuse_inputs(inputs: Inputs, read: Container[str], weightless: tuple[str, ...] = ()) -> None:
    """Raise for an input that is neither read nor known to meet no weight (by its name's beginning)."""
    for name in inputs:
        if name not in read and not name.startswith(weightless):
            msg = f"input {name!r} is not covered"
            raise NoClosedForm(msg)


def shape_of(inputs: Inputs, name: str, rank: int) -> Shape:
    """Shape of an input that the forward needs."""
    if name not in inputs:
        msg = f"input {name!r} is missing, got {sorted(inputs)}"
        raise NoClosedForm(msg)
    shape = inputs[name]
    if len(shape) != rank or any(isinstance(size, int) and size < 1 for size in shape):
        msg = f"input {name!r} has shape {tuple(shape)}, not {rank} positive sizes"
        raise NoClosedForm(msg)
    return tuple(shape)


def agree(what: str, got: Size, *allowed: Size) -> None:
    """Raise where the model's forward would, because two sizes do not fit."""
    if got not in allowed:
        msg = f"{what} is {got}, not {' or '.join(map(str, allowed))}"
        raise NoClosedForm(msg)


def per_level(options: Options, name: str, levels: int) -> list[Any]:
    """An option that is one value for all levels or a list with one for each."""
    value = options[name]
    if isinstance(value, int):
        return [value] * levels
    if not isinstance(value, (list, tuple)) or len(value) != levels:
        msg = f"{name}={value!r} does not give one value for each of {levels} levels"
        raise NoClosedForm(msg)
    return list(value)
