"""torchprofile (zhijian-liu/torchprofile): handlers over the graph of a ``torch.jit`` trace.

Its "MACs" are multiply-adds for products, and operations for elementwise products, norms, means and resampling
(torchprofile/handlers.py:10-207 of 0.1.0).
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

from torchprofile import profile_macs

from crosscheck.backends.entry import Entry
from crosscheck.backends.jit_graph import graphs, quick_calls, traceable_convolutions
from crosscheck.case import Backend, Case, Count
from crosscheck.records import Evidence, TracedGraph


@dataclass(frozen=True)
class TorchprofileRun:
    """The return value of torchprofile, and the graph that it read."""

    returned: int
    graph: TracedGraph


class Torchprofile(Backend):
    """``torchprofile.profile_macs``."""

    name = "torchprofile"
    distribution = "torchprofile"

    def run(self, case: Case) -> TorchprofileRun:
        entry = Entry(case)
        convolutions = traceable_convolutions() if case.device == "meta" else nullcontext()
        with convolutions, graphs() as traced, quick_calls():
            macs = profile_macs(entry, entry.inputs)
        return TorchprofileRun(returned=macs, graph=traced[-1])

    def read(self, result: TorchprofileRun) -> Count:
        return Count(macs=result.returned)

    def evidence(self, result: TorchprofileRun) -> Evidence:
        return Evidence(graph=result.graph)
