"""crosscheck's own trace as a backend: one forward under the tracer, and of a module in training another."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import Any

from msgspec import structs

from crosscheck.case import Backend, Case, Count
from crosscheck.records import Census, Evidence
from crosscheck.tracing.calling import call, fresh_inputs
from crosscheck.tracing.fused_layers import natives
from crosscheck.tracing.snapshot import preserved
from crosscheck.tracing.tracer import Traced, Tracer


class Aten(Backend):
    """The trace as a backend."""

    name = "aten"
    distribution = "torch"

    def run(self, case: Case) -> Traced:
        evaluated = _evaluated(case)  # first: what it changes is put back, what the trace itself changes is not
        traced = _traced(case)
        if evaluated is None or _work(evaluated) == _work(traced.census):
            return traced
        return traced._replace(census=structs.replace(traced.census, evaluated=evaluated))

    def read(self, result: Traced) -> Count:
        return Count(macs=sum(result.by_op.values()), by_op=result.by_op)

    def evidence(self, result: Traced) -> Evidence:
        return Evidence(census=result.census)


def _traced(case: Case) -> Traced:
    tracer = Tracer(case.module)
    with tracer.tracing():
        call(case)
    return tracer.traced(case.device, natives(case))


def _evaluated(case: Case) -> Census | None:
    """The census of a module that is in training, in evaluation; None where there is no other."""
    modules = list(case.module.modules())
    if not any(m.training for m in modules) or any(_is_in_the_making(m) for m in modules):
        return None
    with preserved(case.module, values=case.device != "meta"), suppress(Exception):  # it may run in training only
        case.module.eval()
        return _traced(fresh_inputs(case)).census
    return None


def _is_in_the_making(module: Any) -> bool:
    """Whether its first forward differs from its second: lazy modules, and those still to be compiled."""
    return "Lazy" in type(module).__name__ or type(module).__name__ == "OptimizedModule"


def _work(census: Census) -> Counter[Any]:
    """The work of one forward, wherever it ran."""
    work: Counter[Any] = Counter()
    for row in census.ops:
        work[row.op, row.aten, row.shapes, row.out, row.function] += row.count
    return work
