"""ptflops (sovrasov/flops-counter.pytorch): its aten engine, a TorchDispatchMode with a rule for each of six operators.

ptflops/aten_engine.py:77-146 and ptflops/aten_ops.py:109-116 of 0.7.5. Biases are MACs to it.
"""

from __future__ import annotations

import contextlib
import io
from typing import Any

import torch
from ptflops import get_model_complexity_info

from crosscheck.backends.entry import Entry
from crosscheck.backends.interface import Backend, Case, Count


class _Named(torch.nn.Module):
    """Takes its inputs by name: all that ptflops can give to a model of several."""

    def __init__(self, entry: Entry) -> None:
        super().__init__()
        self.entry = entry
        self.training = entry.training

    def forward(self, **named: Any) -> Any:
        return self.entry(*named.values())


class PtflopsAten(Backend):
    """ptflops with ``backend="aten"``."""

    name = "ptflops-aten"
    distribution = "ptflops"
    leaves_behind = frozenset({"training flag changed"})  # ptflops/aten_engine.py:114, eval() for good

    def run(self, case: Case) -> int:
        entry = Entry(case)
        named = {f"x{i}": tensor for i, tensor in enumerate(entry.inputs)}
        with contextlib.redirect_stdout(io.StringIO()) as said:
            macs, _ = get_model_complexity_info(
                _Named(entry),
                (1,),  # the size of an input that is made elsewhere
                input_constructor=lambda size: named,
                as_strings=False,
                print_per_layer_stat=False,
                backend="aten",
            )
        if macs is None:  # an exception, which it prints
            raise RuntimeError(said.getvalue().partition("the following exception:")[2].strip())
        return int(macs)

    def read(self, result: int) -> Count:
        return Count(macs=result)
