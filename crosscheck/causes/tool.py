"""A counter's traits, declared once, with the causes of its gaps and the failures that its source predicts.

The file of a counter declares them::

    from math import prod

    from crosscheck.causes.tool import Sees, Tool

    MINE = Tool("my-counter", backends=("my-counter",), release="1.0", installed="my-package", sees=Sees.OPERATORS)


    @MINE.cause("my-counter-softmax", "my-counter charges a MAC an element of softmax.", "my_counter/rules.py:12-15")
    def softmax(census):
        return sum(row.count * prod(row.out) for row in census.ops if row.op == "softmax")

Making a `Tool` declares it; it joins the causes and failures that several tools share, by its traits. A name is
declared once: a second time raises `ValueError`.
"""

from __future__ import annotations

import contextlib
import enum
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import KW_ONLY, dataclass
from typing import Literal, NamedTuple

from msgspec import structs

from crosscheck.causes.reading import evaluated, fused
from crosscheck.records import Census, Failed, Skipped


class Cause(NamedTuple):
    """One named reason, the backends it applies to, and how much it explains."""

    name: str
    """As reports have it, with its tool first: ``thop-layernorm-4``."""
    summary: str
    """A sentence for readers."""
    source: str
    """File and lines of the tool, and its release where that is not the `Tool`'s."""
    backends: frozenset[str]
    """Those it applies to."""
    predict: Callable[[Census], int]
    """MACs that the backend counts beyond the reference (negative: short of it) for this reason."""
    only_in: str = ""
    """The releases it applies to, e.g. ``torch>=2.3,<2.15``; "" for all."""
    seen_in: tuple[str, ...] = ()
    """The releases in which models as they come show it, by any of these conditions; in others a model has to be
    changed first."""
    looks_at: Literal["seen", "ran", "given"] = "seen"
    """Which census: of what the backend sees; with what torch hides from it; of the caller's own mode."""

    @property
    def releases(self) -> tuple[str, ...]:
        """The releases in which models as they come show it; () where that does not depend on them."""
        return (self.only_in,) if self.only_in else self.seen_in


class PredictedFailure(NamedTuple):
    """A backend without a number, as a source predicts it: the outcome, in its own words, and where they apply."""

    name: str
    """As reports have it, with its tool first: ``thop-compiled``."""
    summary: str
    """A sentence for readers."""
    source: str
    """As of a `Cause`."""
    backends: frozenset[str]
    """Those it applies to."""
    words: re.Pattern[str]
    """What the backend's own words have to match."""
    applies: Callable[[Census], bool]
    """Whether it is predicted for what ran."""
    outcome: type[Failed | Skipped] = Failed
    """What becomes of the backend."""
    only_in: str = ""
    """As of a `Cause`."""

    @property
    def releases(self) -> tuple[str, ...]:
        """The releases it applies to; () where that does not depend on them."""
        return (self.only_in,) if self.only_in else ()


class Sees(enum.Flag):
    """Units that a counter counts by; several for one that has several ways."""

    MODULES = enum.auto()
    """Calls of modules of the classes that it has rules for, by hooks."""
    FUNCTIONS = enum.auto()
    """Calls of functions of torch, in whose place it puts its own."""
    OPERATORS = enum.auto()
    """Operators, as torch dispatches them."""
    TRACE = enum.auto()
    """Operators in the graph that torch.jit makes of a run."""
    EXPORT = enum.auto()
    """Nodes of the ONNX graph that torch.onnx makes of such a trace."""
    SYMBOLS = enum.auto()
    """Calls in the graph that torch.fx makes without a run."""


@dataclass(frozen=True)
class Tool:
    """A counter: what the causes have to know of it. Raises `ValueError` for a name or a backend that has one."""

    name: str
    """As the field has it."""
    _: KW_ONLY
    backends: tuple[str, ...]
    """The names that it is run by: itself, and variants."""
    release: str
    """The one that the sources of its causes are files and lines of."""
    installed: str
    """What pip installs it with."""
    sees: Sees
    """What it counts by."""
    evaluates: bool = False
    """Calls ``eval()`` before it counts."""
    on_meta_alone: tuple[str, ...] = ()
    """Backends that count without content whatever they are given: torch has no fused kernels there."""
    misses_attention: tuple[str, ...] = ()
    """Backends that don't see scaled_dot_product_attention by itself."""
    attention_by_query: tuple[str, ...] = ()
    """Backends that charge it B H N N D + B H N N + B H N N D, with N and D from the query alone."""

    def __post_init__(self) -> None:
        if self.name in TOOLS:
            raise ValueError(f"the tool {self.name!r} is declared twice; a tool has one declaration")
        for backend in self.backends:
            if other := tool_of(backend):
                raise ValueError(f"the backend {backend!r} of {self.name!r} is {other.name!r}'s; it has one tool")
        for backend in (*self.on_meta_alone, *self.misses_attention, *self.attention_by_query):
            self._require(backend)
        TOOLS[self.name] = self
        for name in _WHOM:
            _join(name, self)

    def _require(self, backend: str) -> None:
        if backend not in self.backends:
            raise ValueError(f"{backend!r} is no backend of {self.name!r}; allowed: {', '.join(self.backends)}")

    def _among(self, variants: tuple[str, ...]) -> frozenset[str]:
        for backend in variants:
            self._require(backend)
        return frozenset(variants or self.backends)

    @property
    def by_operator(self) -> tuple[str, ...]:
        """Backends to which a layer that torch runs as one kernel is one operator."""
        if not self.sees & (Sees.OPERATORS | Sees.TRACE):
            return ()
        return tuple(backend for backend in self.backends if backend not in self.on_meta_alone)

    @property
    def by_function(self) -> tuple[str, ...]:
        """Backends that count what calls functions, and nothing else."""
        return self.backends if self.sees == Sees.FUNCTIONS else ()

    @property
    def traced(self) -> tuple[str, ...]:
        """Backends that can't count what torch.jit can't trace."""
        return self.backends if self.sees & (Sees.TRACE | Sees.EXPORT) else ()

    @property
    def evaluating(self) -> tuple[str, ...]:
        """Backends that count in evaluation, whatever mode a model is in."""
        return self.backends if self.evaluates else ()

    def cause(
        self,
        name: str,
        summary: str,
        source: str,
        *,
        variants: tuple[str, ...] = (),
        only_in: str = "",
        seen_in: tuple[str, ...] = (),
        looks_at: Literal["seen", "ran", "given"] = "seen",
    ) -> Callable[[Callable[[Census], int]], Callable[[Census], int]]:
        """Declare the decorated function as what a cause predicts, in MACs; the rest is as of `Cause`.

        ``variants`` are the backends it applies to, if not all of the tool's. Raises `ValueError` for a name that is
        taken or a variant that the tool has not.
        """
        backends = self._among(variants)

        def declare(predict: Callable[[Census], int]) -> Callable[[Census], int]:
            _declare(Cause(name, summary, source, backends, predict, only_in, seen_in, looks_at))
            return predict

        return declare

    def fails(
        self,
        name: str,
        summary: str,
        source: str,
        *,
        words: str,
        variants: tuple[str, ...] = (),
        outcome: type[Failed | Skipped] = Failed,
        only_in: str = "",
    ) -> Callable[[Callable[[Census], bool]], Callable[[Census], bool]]:
        """Declare that the tool has no number where the decorated function says so; the rest is of `PredictedFailure`.

        ``words`` is a regular expression. ``variants`` and errors are as of `Tool.cause`.
        """
        backends = self._among(variants)

        def declare(applies: Callable[[Census], bool]) -> Callable[[Census], bool]:
            _declare(PredictedFailure(name, summary, source, backends, re.compile(words), applies, outcome, only_in))
            return applies

        return declare


TOOLS: dict[str, Tool] = {}
CAUSES: dict[str, Cause] = {}
PREDICTED_FAILURES: dict[str, PredictedFailure] = {}

Whom = Callable[[Tool], Iterable[str]]
"""The backends of a tool that a trait of its concerns."""
#: Of what several tools share, by name.
_WHOM: dict[str, Whom] = {}


def tool_of(backend: str) -> Tool | None:
    """The tool that a backend runs; None for one that nobody has declared."""
    return next((tool for tool in TOOLS.values() if backend in tool.backends), None)


def shared_cause(
    name: str, whom: Whom, summary: str, source: str, *, looks_at: Literal["seen", "ran", "given"] = "seen"
) -> Callable[[Callable[[Census], int]], Callable[[Census], int]]:
    """Declare a cause of every tool with a trait, of those too that are declared later. Raises as `Tool.cause`."""

    def declare(predict: Callable[[Census], int]) -> Callable[[Census], int]:
        _declare(Cause(name, summary, source, frozenset(), predict, looks_at=looks_at))
        _share(name, whom)
        return predict

    return declare


def shared_failure(
    name: str, whom: Whom, summary: str, source: str, *, words: str
) -> Callable[[Callable[[Census], bool]], Callable[[Census], bool]]:
    """Declare a failure of every tool with a trait, of those too that are declared later. Raises as `Tool.fails`."""

    def declare(applies: Callable[[Census], bool]) -> Callable[[Census], bool]:
        _declare(PredictedFailure(name, summary, source, frozenset(), re.compile(words), applies))
        _share(name, whom)
        return applies

    return declare


def _declare(entry: Cause | PredictedFailure) -> None:
    if entry.name in CAUSES or entry.name in PREDICTED_FAILURES:
        raise ValueError(f"{entry.name!r} is declared twice; a cause or a predicted failure has a name of its own")
    if isinstance(entry, Cause):
        CAUSES[entry.name] = entry
    else:
        PREDICTED_FAILURES[entry.name] = entry


def _share(name: str, whom: Whom) -> None:
    _WHOM[name] = whom
    for tool in TOOLS.values():
        _join(name, tool)


def _join(name: str, tool: Tool) -> None:
    more = frozenset(_WHOM[name](tool))
    if name in CAUSES:
        CAUSES[name] = CAUSES[name]._replace(backends=CAUSES[name].backends | more)
    else:
        entry = PREDICTED_FAILURES[name]
        PREDICTED_FAILURES[name] = entry._replace(backends=entry.backends | more)


@contextlib.contextmanager
def all_or_nothing() -> Iterator[None]:
    """Inside, what is declared stays only if nothing is raised."""
    before = [(registry, dict(registry)) for registry in (TOOLS, CAUSES, PREDICTED_FAILURES, _WHOM)]
    try:
        yield
    except BaseException:
        for registry, entries in before:
            registry.clear()
            registry.update(entries)  # type: ignore[arg-type]
        raise


# -- what a backend counts of what ran ---------------------------------------------------------------------------------


def ran_for(backend: str, census: Census) -> Census:
    """``census`` of the mode that ``backend`` counts in."""
    tool = tool_of(backend)
    return evaluated(census) if tool and backend in tool.evaluating else census


def seen_by(backend: str, census: Census) -> Census:
    """``census`` without what ``backend`` can't see as it is inside one kernel."""
    hidden = hidden_from(backend, census)
    if not hidden:
        return census
    return structs.replace(
        census,
        ops=tuple(row for row in census.ops if row.module not in hidden),
        calls=tuple(row for row in census.calls if row.module not in hidden),
    )


def hidden_from(backend: str, census: Census) -> frozenset[int]:
    """Indices of the modules that ``backend`` can't see into, as torch runs them as one kernel.

    Tools that count by functions have hooks inside nn.TransformerEncoderLayer, which have it run by its parts.
    """
    tool = tool_of(backend)
    if tool and backend in tool.by_operator:
        return fused(census)
    if tool and backend in tool.by_function:
        return fused(census, "MultiheadAttention")
    return frozenset()
