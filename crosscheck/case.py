"""The interface of a backend, and the case that it is given: no torch, no tool."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from crosscheck.records import Evidence, TensorSpec


class NotApplicable(Exception):  # noqa: N818  an answer, not an error
    """Raised by a backend that has no answer for a case; its text is the reason in `Skipped`."""


def called(name: str, entry: str) -> str:
    """The name of a component's calls by method: ``vae.decode`` is ``vae_decoder``."""
    if entry == "forward":
        return name
    return f"{name}_{entry}r" if entry in ("decode", "encode") else f"{name}.{entry}"


@dataclass(frozen=True, kw_only=True)
class Case:
    """One component with concrete inputs: what every backend counts."""

    name: str
    class_name: str
    """Class without its module, as model configs name it."""
    entry: str
    """The method to call: ``forward``, ``decode`` or ``encode``."""
    inputs: tuple[TensorSpec, ...]
    module: Any = None
    """The ``torch.nn.Module``; None where only closed forms are asked."""
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] | None = None
    """Its published config, for classes of diffusers and transformers."""
    device: str = "meta"
    hollow: bool = False
    """A pipeline's component: it holds real tensors, and is counted with empty ones in their place."""
    real_integers: bool = False
    """Its forward reads values: integers and booleans are real, on the CPU, and floating ones on meta."""
    reads_values: bool = False
    """It reads floating values, or their order: they were answered as if all were 0."""
    processors: Mapping[Any, Any] = field(default_factory=dict)
    """Attention processors by module as they were when the pipeline called it."""
    repeats: int = 1
    """Times that a tool is run on it in one process; its last number counts."""


@dataclass(frozen=True, kw_only=True)
class Count:
    """A tool's answer for a case, in MACs."""

    macs: int
    by_op: Mapping[str, int] = field(default_factory=dict)
    uncounted: Mapping[str, int] = field(default_factory=dict)
    """Operations the tool itself reports as seen and not counted."""


class Backend(ABC):
    """A counter, as its library ships it: a translation, not an opinion.

    A backend runs its tool once in `run` and reads its number from what came back in `read`. Backends that inherit the
    same `run` are variants of one tool and share one run.
    """

    name: ClassVar[str]
    distribution: ClassVar[str]
    """The installed distribution whose version is recorded; "" for crosscheck's own."""
    leaves_behind: ClassVar[frozenset[str]] = frozenset()
    """Changes this tool is known to leave on a module, as a snapshot names them; others fail the row."""

    @abstractmethod
    def run(self, case: Case) -> Any:
        """Run the tool on ``case``. Raises `NotApplicable` with the reason where it has no answer."""

    @abstractmethod
    def read(self, result: Any) -> Count:
        """The number of this variant, from what `run` returned."""

    def evidence(self, result: Any) -> Evidence:
        """Facts about the forward that the tool knows beside its number, from what `run` returned."""
        return Evidence()
