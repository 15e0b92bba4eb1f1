"""DeepSpeed's flops profiler: replaced functions of torch, whose MACs go to the module that runs.

It returns FLOPs and MACs; MACs are products of linear, convolution, matrix and attention functions alone, FLOPs all
else besides, so they are not twice the MACs (deepspeed/profiling/flops_profiler/profiler.py:523-531 of 0.19.8).
"""

from __future__ import annotations

import logging
from typing import Any

from crosscheck.backends.entry import Entry
from crosscheck.case import Backend, Case, Count


def _imported() -> Any:
    """DeepSpeed's profiler; while it is imported, it logs which accelerator it has found."""
    logging.disable(logging.WARNING)
    try:
        from deepspeed.profiling.flops_profiler import get_model_profile
    finally:
        logging.disable(logging.NOTSET)
    return get_model_profile


get_model_profile = _imported()


class DeepSpeed(Backend):
    """DeepSpeed's flops profiler as it comes, its MACs."""

    name = "deepspeed"
    distribution = "deepspeed"
    # profiler.py:1238, eval() for good; of torch.Tensor what it inherited it has from then on
    leaves_behind = frozenset(
        {
            "training flag changed",
            *(f"Tensor.{name} replaced" for name in "matmul __matmul__ mm bmm addmm mul add".split()),
        }
    )

    def run(self, case: Case) -> int:
        logging.getLogger("DeepSpeed").setLevel(logging.ERROR)  # it says when it starts and ends
        entry = Entry(case)
        _, macs, _ = get_model_profile(
            entry,
            args=list(entry.inputs),
            print_profile=False,
            warm_up=0,  # for timings, which are not asked for
            as_string=False,
        )
        return int(macs)

    def read(self, result: int) -> Count:
        return Count(macs=result)
