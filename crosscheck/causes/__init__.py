"""The knowledge: named, sourced reasons why a counter differs from conv + linear + attention + matmul.

May import records and errors, and neither torch nor a counter; other rooms import from here, the front door.

Each cause predicts an exact, signed integer from the census and the installed releases. None is shown the gap. The
causes of one backend are disjoint: an operation's share is in one of them only. Sources are files and lines of the
release that the `tool.Tool` has, and of torch 2.13.0, where they name no other.

`tool` has a counter's traits and how causes are declared, `reading` what they ask of a census, `releases` conditions on
what is installed, `plugins` what other packages bring; `shared` and `jit` are about all tools with a trait, the other
files about a tool each.
"""

from __future__ import annotations

import importlib
import pkgutil

from msgspec import structs

from crosscheck.causes import plugins
from crosscheck.causes.releases import Environment, holds, in_words
from crosscheck.causes.replaced import side_by_side
from crosscheck.causes.tool import CAUSES, PREDICTED_FAILURES, Cause, PredictedFailure, ran_for, seen_by
from crosscheck.records import Census, Term

__all__ = [
    "CAUSES",
    "PREDICTED_FAILURES",
    "Cause",
    "Environment",
    "PredictedFailure",
    "declared",
    "explain",
    "find",
    "holds",
    "in_words",
    "predicted",
    "without_attention",
]

#: In this order causes are listed, and the terms of a ledger follow one another; a file that is not named comes last.
_ORDER = (
    "shared flop_counter fvcore jit onnx_tool onnx_tool_failures ptflops_aten ptflops ptflops_failures "
    "calflops flops_profiler deepspeed thop thop_failures torchinfo torchprofile torch_flops ultralytics_thop"
).split()
for _file in (*_ORDER, *(module.name for module in pkgutil.iter_modules(__path__))):
    importlib.import_module(f"{__name__}.{_file}")
side_by_side(CAUSES, ("calflops", "flops-profiler", "deepspeed"))
side_by_side(PREDICTED_FAILURES, ("calflops", "flops-profiler", "deepspeed"))


def declared() -> tuple[Cause | PredictedFailure, ...]:
    """Every cause and every predicted failure, those of other packages too."""
    plugins.load()
    return (*CAUSES.values(), *PREDICTED_FAILURES.values())


def explain(backend: str, environment: Environment, census: Census) -> tuple[Term, ...]:
    """The causes that fire for ``backend`` on what ran, each with its share of the gap in MACs."""
    plugins.load()
    ran = ran_for(backend, census)
    looked_at = {"given": census, "ran": ran, "seen": seen_by(backend, ran)}
    terms = (
        Term(cause=cause.name, macs=cause.predict(looked_at[cause.looks_at]))
        for cause in CAUSES.values()
        if backend in cause.backends and holds(cause.only_in, environment)
    )
    return tuple(term for term in terms if term.macs)


def without_attention(census: Census) -> Census:
    """The census less scaled_dot_product_attention: the causes then predict as if it were not there."""
    return structs.replace(
        census,
        ops=tuple(row for row in census.ops if row.op != "attention"),
        calls=tuple(call for call in census.calls if call.function != "F.scaled_dot_product_attention"),
        attention=(),
    )


def predicted(backend: str, environment: Environment, census: Census | None) -> tuple[PredictedFailure, ...]:
    """The entries that predict no number of ``backend`` on what ran: which of several comes first, no census tells."""
    plugins.load()
    return tuple(
        entry
        for entry in PREDICTED_FAILURES.values()
        if backend in entry.backends and holds(entry.only_in, environment) and census and entry.applies(census)
    )


def find(name: str) -> Cause | PredictedFailure | None:
    """The cause or the predicted lack of a number called ``name``."""
    plugins.load()
    return CAUSES.get(name) or PREDICTED_FAILURES.get(name)
