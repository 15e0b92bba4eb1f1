"""The text of a Python program, written a line at a time, with its MACs by definition.

Each line is run on meta as soon as it is written, which gives the shapes for the next; its MACs are worked out from
these shapes, apart from everything that counts. A line that torch refuses is left out. All that is computed is
returned, so that no tracer may drop it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

Shape = tuple[int, ...]
PRELUDE = '''import torch
import torch.nn.functional as F
from torch import nn


class OwnLinear(nn.Linear):
    """A subclass that changes nothing."""


class OwnConv2d(nn.Conv2d):
    """A subclass that changes nothing."""
'''


class Program(NamedTuple):
    """A module's source, the shapes that go in, and its MACs."""

    source: str
    shapes: tuple[Shape, ...]
    macs: int

    def module(self) -> torch.nn.Module:
        """The module, on meta."""
        with torch.device("meta"):
            made: torch.nn.Module = _namespace(self.source)["Root"]()
        return made

    def repro(self, backend: str) -> str:
        """A program of its own that shows what ``backend`` says."""
        inputs = ", ".join(f"torch.zeros{shape}" for shape in self.shapes)
        return (
            f'{self.source}\n\nif __name__ == "__main__":\n    import crosscheck\n\n'
            f'    with torch.device("meta"), torch.no_grad():\n'
            f"        check = crosscheck.check(Root(), {inputs}, backends=({backend!r},))\n"
            f"    print({self.macs:_}, check[{backend!r}])\n"
        )


PLAIN = Program(
    source=PRELUDE
    + """

class Root(nn.Module):
    def __init__(self):
        super().__init__()
        self.m1 = nn.Linear(6, 2)

    def forward(self, x0):
        return self.m1(x0)
""",
    shapes=((2, 6),),
    macs=2 * 6 * 2,
)


def _namespace(source: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "fuzzed"}
    exec(source, names)  # noqa: S102  written by this file
    return names


_PRELUDED = _namespace(PRELUDE)


class Line(NamedTuple):
    """One call: the layers that it needs, its text, and its MACs from the shapes that go in and come out."""

    layers: tuple[str, ...]
    call: str
    macs: Callable[[Shape], int] = lambda out: 0


class ClassText:
    """A class that is being written, and an instance of it to run its lines on."""

    def __init__(self, name: str, shapes: tuple[Shape, ...]) -> None:
        self.name = name
        self.layers: list[str] = []
        self.lines: list[str] = []
        self.values: dict[str, Any] = {}
        self.unused: list[str] = []
        self.macs = 0
        self._count = 0
        self.scope: dict[str, Any] = {**_PRELUDED, "self": torch.nn.Module()}
        with torch.device("meta"):
            for i, shape in enumerate(shapes):
                self._store(f"x{i}", torch.zeros(shape))
        self.arguments = list(self.values)

    def _store(self, name: str, value: Any) -> None:
        self.values[name] = self.scope[name] = value
        self.unused.append(name)

    def fresh(self) -> str:
        """A name for a layer."""
        self._count += 1
        return f"self.m{self._count}"

    def add(self, line: Line, uses: tuple[str, ...]) -> str | None:
        """Run a line and keep it; None where torch refuses it, or it is no tensor."""
        try:
            with torch.device("meta"), torch.no_grad():
                for layer in line.layers:
                    exec(layer, self.scope)  # noqa: S102
                value = eval(line.call, self.scope)  # noqa: S307
        except (RuntimeError, ValueError, TypeError, IndexError, AssertionError):
            return None
        if not isinstance(value, torch.Tensor) or not value.numel() or value.numel() > 100_000:
            return None
        name = f"x{len(self.values)}"
        self.layers += line.layers
        self.lines.append(f"{name} = {line.call}")
        self.macs += line.macs(tuple(value.shape))
        self._store(name, value)
        self.unused = [unused for unused in self.unused if unused not in uses]
        return name

    def source(self) -> str:
        """The class as text."""
        layers = self.layers or ["pass"]
        body = [
            *self.lines,
            f"return [{', '.join(self.unused)}]" if len(self.unused) > 1 else f"return {self.unused[0]}",
        ]
        lines = [f"class {self.name}(nn.Module):", "    def __init__(self):", "        super().__init__()"]
        lines += [f"        {layer}" for layer in layers]
        lines += ["", f"    def forward(self, {', '.join(self.arguments)}):", *(f"        {line}" for line in body)]
        return "\n".join(lines) + "\n"
