"""torch-flops (zugexiaodui/torch_flops): a graph by torch.fx, run operator by operator.

It counts FLOPs, each addition and multiplication by itself: 2 k - 1 for a dot product of k, 1 for a bias
(torch_flops/flops_ops.py:16-34 of 0.4.1). Beside each operator it reads CUDA's memory
(torch_flops/flops_engine.py:298-301), so without a GPU it gives no number. No cause explains its gap.
"""

from __future__ import annotations

import torch
from torch_flops import TorchFLOPsByFX

from crosscheck.backends.exact import halved
from crosscheck.case import Backend, Case, Count, NotApplicable


class TorchFlops(Backend):
    """``TorchFLOPsByFX(model).propagate(*inputs)``, its total halved."""

    name = "torch-flops"
    distribution = "torch-flops"
    leaves_behind = frozenset({"training flag changed"})  # torch_flops/flops_engine.py:381, eval() for good

    def run(self, case: Case) -> int:
        if case.device != "cuda":
            raise NotApplicable("torch-flops reads the memory of a GPU beside every operator: it needs CUDA tensors")
        inputs = case.args
        if case.kwargs or case.entry != "forward" or not all(isinstance(x, torch.Tensor) for x in inputs):
            raise NotApplicable("torch-flops gives a model's forward positional tensors alone")
        counter = TorchFLOPsByFX(case.module)
        counter.propagate(*inputs)
        return int(counter.print_total_flops(show=False))

    def read(self, result: int) -> Count:
        return Count(macs=halved(result))
