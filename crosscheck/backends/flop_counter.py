"""torch.utils.flop_counter.FlopCounterMode, as shipped. Its FLOPs are two a MAC (torch/utils/flop_counter.py)."""

from __future__ import annotations

from crosscheck.backends.exact import halved
from crosscheck.case import Backend, Case, Count, NotApplicable
from crosscheck.tracing import versions
from crosscheck.tracing.calling import call


class FlopCounter(Backend):
    """torch's own counter."""

    name = "flop_counter"
    distribution = "torch"

    def run(self, case: Case) -> int:
        counter = versions.flop_counter_mode()
        if counter is None:
            raise NotApplicable("this torch has no FlopCounterMode: it came with 2.1")
        with counter(display=False) as mode:
            call(case)
        return int(mode.get_total_flops())

    def read(self, result: int) -> Count:
        return Count(macs=halved(result))
