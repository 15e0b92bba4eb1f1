"""ptflops (sovrasov/flops-counter.pytorch), by both of its engines. Both count in MACs, biases among them.

The pytorch engine, its default, has hooks for exact module classes and replaces functions of torch
(ptflops/pytorch_engine.py:313-414 and ptflops/pytorch_ops.py:261-405 of 0.7.5). The aten engine is a TorchDispatchMode
with a rule for each of six operators (ptflops/aten_engine.py:77-146 and ptflops/aten_ops.py:109-116).

Inputs go by name, as those of a model of several have to. Then the pytorch engine takes a batch for one image; of one
positional input it would divide the modules' part by the batch, and not the functions' (pytorch_engine.py:69-71).
"""

from __future__ import annotations

import contextlib
import io
from typing import Any

import torch
from ptflops import get_model_complexity_info

from crosscheck.backends.entry import Entry
from crosscheck.case import Backend, Case, Count


class _Named(torch.nn.Module):
    """Takes its inputs by name: all that ptflops can give to a model of several."""

    def __init__(self, entry: Entry) -> None:
        super().__init__()
        self.entry = entry
        self.training = entry.training

    def forward(self, **named: Any) -> Any:
        return self.entry(*named.values())


class Ptflops(Backend):
    """ptflops as it comes: ``backend="pytorch"``."""

    name = "ptflops"
    distribution = "ptflops"
    # ptflops/pytorch_engine.py:35, eval() for good; 299-333, a shared module keeps what was set on it twice; of
    # torch.Tensor what it inherited it has from then on
    leaves_behind = frozenset(
        {
            "training flag changed",
            *(
                f"attribute __{name}__ changed"
                for name in "flops params ptflops_backup_flops ptflops_backup_params".split()
            ),
            *(f"Tensor.{name} replaced" for name in "matmul mm bmm addmm mul add".split()),
        }
    )

    def run(self, case: Case) -> int:
        return _count(case, "pytorch")

    def read(self, result: int) -> Count:
        return Count(macs=result)


class PtflopsAten(Backend):
    """ptflops with ``backend="aten"``."""

    name = "ptflops-aten"
    distribution = "ptflops"
    leaves_behind = frozenset({"training flag changed"})  # ptflops/aten_engine.py:114, eval() for good

    def run(self, case: Case) -> int:
        return _count(case, "aten")

    def read(self, result: int) -> Count:
        return Count(macs=result)


def _count(case: Case, engine: str) -> int:
    entry = Entry(case)
    named = {f"x{i}": tensor for i, tensor in enumerate(entry.inputs)}
    with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.redirect_stderr(io.StringIO()):
        macs, _ = get_model_complexity_info(
            _Named(entry),
            (1,),  # the size of an input that is made elsewhere
            input_constructor=lambda size: named,
            as_strings=False,
            print_per_layer_stat=False,
            backend=engine,
        )
    if macs is None:  # an exception, which it prints
        raise RuntimeError(printed.getvalue().partition("the following exception:")[2].strip())
    return int(macs)
