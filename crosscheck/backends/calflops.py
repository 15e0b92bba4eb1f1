"""calflops (MrYxJ/calculate-flops.pytorch): replaced functions of torch, whose MACs go to the module that runs.

It returns FLOPs and MACs; MACs are products of linear, convolution and matrix functions alone, FLOPs all else besides,
so they are not twice the MACs (calflops/pytorch_ops.py:37-44 and flops_counter.py:166-187 of 0.3.2).
"""

from __future__ import annotations

from calflops import calculate_flops

from crosscheck.backends.entry import Entry
from crosscheck.case import Backend, Case, Count


class Calflops(Backend):
    """calflops as it comes, its MACs."""

    name = "calflops"
    distribution = "calflops"
    # calflops/flops_counter.py:112, eval() for good; of torch.Tensor what it inherited it has from then on
    leaves_behind = frozenset(
        {"training flag changed", *(f"Tensor.{name} replaced" for name in "matmul addmm mul add".split())}
    )

    def run(self, case: Case) -> int:
        entry = Entry(case)
        _, macs, _ = calculate_flops(entry, args=list(entry.inputs), print_results=False, output_as_string=False)
        return int(macs)

    def read(self, result: int) -> Count:
        return Count(macs=result)
