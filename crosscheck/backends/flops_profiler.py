"""flops-profiler (cli99): replaced functions of torch, whose MACs go to the module that runs.

It returns FLOPs and MACs; MACs are products of linear, convolution and matrix functions alone, FLOPs all else besides,
so they are not twice the MACs (flops_profiler/profiler.py:680-688 of 0.1.2). It takes any arguments and any method, so
it gets those of the case and no wrapper.
"""

from __future__ import annotations

from flops_profiler.profiler import get_model_profile

from crosscheck.case import Backend, Case, Count
from crosscheck.tracing.real_integers import real_integers


class FlopsProfiler(Backend):
    """flops-profiler as it comes, its MACs."""

    name = "flops-profiler"
    distribution = "flops-profiler"
    # flops_profiler/profiler.py:1477, eval() for good; 1177, bmm is matmul from then on; 137, a misspelt name, so that
    # a shared module gets a hook twice and keeps one; of torch.Tensor what it inherited it has from then on
    leaves_behind = frozenset(
        {
            "training flag changed",
            "torch.bmm replaced",
            "forward pre-hook added",
            *(f"Tensor.{name} replaced" for name in "matmul mm bmm addmm mul add baddbmm".split()),
        }
    )

    def run(self, case: Case) -> int:
        with real_integers(case.real_integers):
            _, macs, _ = get_model_profile(
                case.module,
                args=list(case.args),
                kwargs=dict(case.kwargs),
                print_profile=False,
                warm_up=0,  # for timings, which are not asked for
                func_name=case.entry,
            )
        return int(macs)

    def read(self, result: int) -> Count:
        return Count(macs=result)
