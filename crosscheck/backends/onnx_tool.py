"""onnx-tool (ThanatosShinji/onnx-tool): the nodes of an ONNX file.

Its "MACs" are instructions: a multiply-add is 1, and so is an addition, a comparison, a bias; a division is 4, an
exponential 32, a square root 24 (onnx_tool/node.py:19-36 of 1.0.1). `onnx_tool.model_profile` prints the sum, which is
that of ``Graph.macs`` (onnx_tool/__init__.py:81-96, graph.py:1444), exact up to 2**53.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_tool

from crosscheck.backends import onnx_graph
from crosscheck.backends.entry import Entry
from crosscheck.case import Backend, Case, Count, NotApplicable
from crosscheck.records import Evidence, NodeRow


@dataclass(frozen=True)
class OnnxToolRun:
    """Results of onnx-tool for a graph, and the graph."""

    macs: float | Exception
    nodes: tuple[NodeRow, ...]


class OnnxTool(Backend):
    """``onnx_tool.Model(file).graph``, its shapes inferred and its nodes profiled, as ``model_profile`` does."""

    name = "onnx-tool"
    distribution = "onnx-tool"
    # the exporter puts one flag on the whole tree when it is done: torch/onnx utils.select_model_mode_for_export
    leaves_behind = frozenset({"training flag changed"})

    def run(self, case: Case) -> OnnxToolRun:
        if case.device == "meta":
            raise NotApplicable(
                "onnx-tool reads an ONNX file, and torch.onnx exports no model on meta: it reads values"
            )
        entry = Entry(case)
        model = onnx_graph.export(entry, entry.inputs)
        nodes = onnx_graph.rows(model)
        try:
            graph = onnx_tool.Model(model).graph
            graph.graph_reorder_nodes()
            graph.shape_infer()
            graph.profile()
        except Exception as error:
            return OnnxToolRun(macs=error, nodes=nodes)
        return OnnxToolRun(macs=graph.macs[0], nodes=nodes)

    def read(self, result: OnnxToolRun) -> Count:
        if isinstance(result.macs, Exception):
            raise result.macs
        return Count(macs=round(result.macs))

    def evidence(self, result: OnnxToolRun) -> Evidence:
        return Evidence(exported=result.nodes)
