"""fvcore (facebookresearch/fvcore): handles over the graph of a torch.jit trace.

Its "flops" are multiply-adds for products, and operations for norms and resampling (fvcore/nn/flop_count.py:25-44 of
0.1.5.post20221221). The trace is made once and read twice, with and without a handle for attention.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from math import prod
from typing import Any

from torch.utils._python_dispatch import _disable_current_modes

from crosscheck.backends.entry import Entry
from crosscheck.backends.exact import exact
from crosscheck.backends.jit_graph import graphs, quick_calls, traceable_convolutions
from crosscheck.case import Backend, Case, Count, NotApplicable
from crosscheck.closed_form import arithmetic
from crosscheck.records import Evidence, TracedGraph
from crosscheck.tracing.patching import replaced


@dataclass(frozen=True)
class FvcoreRun:
    """fvcore's totals with and without the handle for attention, what it says it did not count, and what it read."""

    handled: int
    plain: int
    unsupported: dict[str, int]
    graph: TracedGraph


class Fvcore(Backend):
    """fvcore with a handle for aten::scaled_dot_product_attention."""

    name = "fvcore"
    distribution = "fvcore"

    def run(self, case: Case) -> FvcoreRun:
        from fvcore.nn import FlopCountAnalysis, jit_analysis

        logging.getLogger("fvcore").setLevel(logging.ERROR)  # one warning for each operation it does not count
        entry = Entry(case)
        traces: list[Any] = []

        def trace(*args: Any) -> Any:
            """The same graph for both readings: changing a handle makes fvcore trace again."""
            if not traces:
                with traceable_convolutions() if case.device == "meta" else nullcontext():
                    traces.append(original(*args))
            return traces[0]

        original = jit_analysis._get_scoped_trace_graph
        with replaced(jit_analysis, "_get_scoped_trace_graph", trace), graphs() as read, _quickly():
            analysis = FlopCountAnalysis(entry, entry.inputs).ancestor_mode("caller")
            plain = exact(analysis.total())
            unsupported = dict(analysis.unsupported_ops())
            analysis.set_op_handle("aten::scaled_dot_product_attention", attention_handle)
            handled = exact(analysis.total())
        return FvcoreRun(handled=handled, plain=plain, unsupported=unsupported, graph=read[-1])

    def read(self, result: FvcoreRun) -> Count:
        left = {op: n for op, n in result.unsupported.items() if op != "aten::scaled_dot_product_attention"}
        return Count(macs=result.handled, uncounted=left)

    def evidence(self, result: FvcoreRun) -> Evidence:
        return Evidence(graph=result.graph)


class FvcorePlain(Fvcore):
    """fvcore as shipped."""

    name = "fvcore-plain"

    def read(self, result: FvcoreRun) -> Count:
        return Count(macs=result.plain, uncounted=result.unsupported)


class FvcoreMeta(Backend):
    """fvcore as shipped, on meta tensors: what someone gets who does as with any other counter."""

    name = "fvcore-meta"
    distribution = "fvcore"

    def run(self, case: Case) -> FvcoreRun:
        from fvcore.nn import FlopCountAnalysis

        if case.device != "meta":
            raise NotApplicable("on real tensors fvcore as shipped is fvcore-plain")
        logging.getLogger("fvcore").setLevel(logging.ERROR)
        entry = Entry(case)
        with (
            _disable_current_modes(),
            graphs() as read,
            _quickly(),
        ):  # torch's own meta kernels, on which it depends what is traced
            analysis = FlopCountAnalysis(entry, entry.inputs).ancestor_mode("caller")
            plain = exact(analysis.total())
            unsupported = dict(analysis.unsupported_ops())
        return FvcoreRun(handled=plain, plain=plain, unsupported=unsupported, graph=read[-1])

    def read(self, result: FvcoreRun) -> Count:
        return Count(macs=result.plain, uncounted=result.unsupported)

    def evidence(self, result: FvcoreRun) -> Evidence:
        return Evidence(graph=result.graph)


@contextmanager
def _quickly() -> Iterator[None]:
    """Leave out fvcore's scope for every module too: operations are copied out of every scope they are in."""
    from fvcore.nn import jit_analysis

    with replaced(jit_analysis, "_named_modules_without_dup", lambda model: [("", model)]), quick_calls():
        yield


def attention_handle(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """The handle its users add: B x H x N_q x N_kv x (d_qk + d_v) from the traced shapes of query, key and value."""
    query, key, value = (v.type().sizes() for v in inputs[:3])
    out = outputs[0].type().sizes()
    return int(arithmetic.attention(1, prod(out[:-2]), query[-2], key[-2], query[-1], value[-1]))
