"""crosscheck's own trace as a backend: one forward under the tracer."""

from __future__ import annotations

from crosscheck.case import Backend, Case, Count
from crosscheck.records import Evidence
from crosscheck.tracing.calling import call
from crosscheck.tracing.fused_layers import natives
from crosscheck.tracing.tracer import Traced, Tracer


class Aten(Backend):
    """The trace as a backend."""

    name = "aten"
    distribution = "torch"

    def run(self, case: Case) -> Traced:
        tracer = Tracer(case.module)
        with tracer.tracing():
            call(case)
        return tracer.traced(case.device, natives(case))

    def read(self, result: Traced) -> Count:
        return Count(macs=sum(result.by_op.values()), by_op=result.by_op)

    def evidence(self, result: Traced) -> Evidence:
        return Evidence(census=result.census)


class AtenEvaluated(Aten):
    """The trace of a module in training, in evaluation: tools that call ``eval()`` see it so."""

    name = "aten-evaluated"

    def run(self, case: Case) -> Traced:
        case.module.eval()
        return super().run(case)

    def evidence(self, result: Traced) -> Evidence:
        return Evidence(evaluated=result.census)
