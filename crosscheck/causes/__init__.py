"""The knowledge: named, sourced reasons why a counter differs from conv + linear + attention + matmul.

Each cause predicts an exact, signed integer from the census and the installed releases. None is shown the gap. The
causes of one backend are disjoint: an operation's share is in one of them only.

Sources are files and lines of thop 0.1.1.post2209072238, fvcore 0.1.5.post20221221 and torch 2.13.0; of other
counters the release is named.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import structs
from packaging.requirements import Requirement

from crosscheck.causes import (
    attention,
    flop_counter,
    fvcore,
    jit,
    onnx_tool,
    ptflops,
    replaced,
    thop,
    torchinfo,
    torchprofile,
    ultralytics_thop,
)
from crosscheck.causes.declare import CAUSES, PREDICTED_FAILURES, Cause, PredictedFailure, ran_for, seen_by
from crosscheck.records import Census, Term

__all__ = [
    "CAUSES",
    "PREDICTED_FAILURES",
    "Cause",
    "Environment",
    "PredictedFailure",
    "explain",
    "find",
    "holds",
    "predicted",
    "without_attention",
]

Environment = Mapping[str, str]
"""Package -> installed release, as a ledger records it."""


def explain(backend: str, environment: Environment, census: Census) -> tuple[Term, ...]:
    """The causes that fire for ``backend`` on what ran, each with its share of the gap in MACs."""
    ran = ran_for(backend, census)
    looked_at = {"given": census, "ran": ran, "seen": seen_by(backend, ran)}
    terms = (
        Term(cause=cause.name, macs=cause.predict(looked_at[cause.of]))
        for cause in CAUSES.values()
        if backend in cause.backends and holds(cause.only_in, environment)
    )
    return tuple(term for term in terms if term.macs)


def without_attention(census: Census) -> Census:
    """What ran, less scaled_dot_product_attention: the causes then predict as if it were not there."""
    return structs.replace(
        census,
        ops=tuple(row for row in census.ops if row.op != "attention"),
        calls=tuple(call for call in census.calls if call.function != "F.scaled_dot_product_attention"),
        attention=(),
    )


def predicted(backend: str, environment: Environment, census: Census | None) -> tuple[PredictedFailure, ...]:
    """The entries that predict no number of ``backend`` on what ran: which of several comes first, no census tells."""
    return tuple(
        entry
        for entry in PREDICTED_FAILURES.values()
        if backend in entry.backends and holds(entry.only_in, environment) and census and entry.applies(census)
    )


def find(name: str) -> Cause | PredictedFailure | None:
    """The cause or the predicted lack of a number called ``name``."""
    return CAUSES.get(name) or PREDICTED_FAILURES.get(name)


def holds(condition: str, environment: Environment) -> bool:
    """Whether installed releases meet ``torch>=2.3,<2.15``, ``no peft`` (is not installed), several joined by ``and``.

    "" always holds.
    """
    if not condition:
        return True
    first, _, others = condition.partition(" and ")
    if others:
        return holds(first, environment) and holds(others, environment)
    if condition.startswith("no "):
        return condition.removeprefix("no ") not in environment
    requirement = Requirement(condition)
    installed = environment.get(requirement.name)
    return installed is not None and requirement.specifier.contains(installed, prereleases=True)
