"""torch.utils.flop_counter.FlopCounterMode, as shipped. Its FLOPs are two a MAC (torch/utils/flop_counter.py)."""

from __future__ import annotations

from crosscheck import versions
from crosscheck.backends.entry import call
from crosscheck.backends.interface import Backend, Case, Count, NotApplicable
from crosscheck.records import FLOPS_PER_MAC


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
        macs, half = divmod(result, FLOPS_PER_MAC)
        if half:
            raise ValueError(f"{result} FLOPs is not a whole number of MACs")
        return Count(macs=macs)
