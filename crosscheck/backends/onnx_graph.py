"""The ONNX graph that torch.onnx makes of a forward, and the shapes in it by ONNX's own inference."""

from __future__ import annotations

import inspect
import io
from collections import Counter
from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from crosscheck.records import NodeRow, Shape
from crosscheck.tracing.patching import replaced

#: Elements of what shapes are computed from. More are weights, whose values tell no shape.
_FEW = 64


def export(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> Any:
    """The ``onnx.ModelProto`` of one forward by the exporter over ``torch.jit``, in the opset it takes by itself."""
    file = io.BytesIO()
    # up to torch 2.4 there is no other exporter that could be asked for
    by_jit = {"dynamo": False} if "dynamo" in inspect.signature(torch.onnx.export).parameters else {}
    with replaced(torch._C, "_jit_onnx_log", lambda *_: None):  # it prints past sys.stdout
        torch.onnx.export(module, inputs, file, **by_jit)
    return onnx.load_from_string(file.getvalue())


def rows(model: Any) -> tuple[NodeRow, ...]:
    """The nodes of ``model``, those alike in one row; without constants."""
    shapes = _shapes(model)
    found: Counter[tuple[Any, ...]] = Counter()
    for node in model.graph.node:
        if node.op_type != "Constant":
            inputs, outputs = (tuple(shapes.get(name) for name in names) for names in (node.input, node.output))
            found[node.op_type, inputs, outputs, tuple(sorted(_attributes(node)))] += 1
    return tuple(
        NodeRow(op_type=op_type, inputs=inputs, outputs=outputs, attributes=dict(attributes), count=count)
        for (op_type, inputs, outputs, attributes), count in found.items()
    )


def _attributes(node: Any) -> Iterator[tuple[str, int | str | tuple[int, ...]]]:
    kinds = onnx.AttributeProto
    for attribute in node.attribute:
        if attribute.type == kinds.INT:
            yield attribute.name, attribute.i
        elif attribute.type == kinds.STRING:
            yield attribute.name, attribute.s.decode(errors="replace")
        elif attribute.type == kinds.INTS:
            yield attribute.name, tuple(attribute.ints)


def _shapes(model: Any) -> dict[str, Shape]:
    """The shapes of all tensors that can be known.

    ONNX's inference stops where a shape is computed in the graph, as that of a chunk is. What can be computed is, and
    put in as a value; then it goes on.
    """
    graph = _without_weights(model)
    while True:
        inferred = onnx.shape_inference.infer_shapes(graph).graph
        shapes = {
            info.name: tuple(dim.dim_value for dim in info.type.tensor_type.shape.dim)
            for info in (*inferred.input, *inferred.output, *inferred.value_info)
            if _is_known(info)
        }
        shapes.update({tensor.name: tuple(tensor.dims) for tensor in inferred.initializer})
        if not _computed(graph, shapes):
            return shapes


def _is_known(info: Any) -> bool:
    kind = info.type.tensor_type
    return kind.HasField("shape") and all(dim.HasField("dim_value") for dim in kind.shape.dim)


def _without_weights(model: Any) -> Any:
    """A copy in which weights are inputs."""
    light = onnx.ModelProto(ir_version=model.ir_version)
    light.opset_import.extend(model.opset_import)
    light.functions.extend(model.functions)
    light.graph.name = model.graph.name
    light.graph.node.extend(model.graph.node)
    light.graph.input.extend(model.graph.input)
    light.graph.output.extend(model.graph.output)
    for tensor in model.graph.initializer:
        if prod(tensor.dims) <= _FEW:
            light.graph.initializer.append(tensor)
        else:
            info = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            light.graph.input.append(info)
    return light


def _computed(model: Any, shapes: dict[str, Shape]) -> bool:
    """Put values in the place of nodes whose outputs can be computed; whether there were any."""
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    remaining, before = [], len(model.graph.node)
    for node in model.graph.node:
        results = _results(node, values, shapes, model)
        if results is None:
            remaining.append(node)
            continue
        values.update(zip(node.output, results, strict=True))
        model.graph.initializer.extend(
            numpy_helper.from_array(result, name) for name, result in zip(node.output, results, strict=True)
        )
    remaining = [type(node).FromString(node.SerializeToString()) for node in remaining]
    del model.graph.node[:]
    model.graph.node.extend(remaining)
    return len(remaining) < before


def _results(node: Any, values: dict[str, Any], shapes: dict[str, Shape], model: Any) -> list[Any] | None:
    """Results of a node whose inputs are known, where both are few."""
    if node.op_type == "Shape" and node.input[0] in shapes:
        given = {node.input[0]: np.broadcast_to(np.float32(0), shapes[node.input[0]])}
    else:
        given = {name: values[name] for name in node.input if name in values}
        if len(given) < len({name for name in node.input if name}):
            return None
    types = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UNDEFINED, None) for name in given]
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UNDEFINED, None) for name in node.output]
    graph = onnx.helper.make_graph([node], "one", types, ends)
    alone = onnx.helper.make_model(graph, opset_imports=model.opset_import)
    try:
        results = [np.asarray(result) for result in ReferenceEvaluator(alone).run(None, given)]
    except Exception:  # it has no rule for it, or one for other types
        return None
    return results if all(result.size <= _FEW for result in results) else None
