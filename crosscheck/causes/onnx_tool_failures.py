"""Failures of onnx-tool: what torch.onnx does not export, and what onnx-tool does not take."""

from __future__ import annotations

import re
from math import prod

from crosscheck.causes.onnx_tool import ONNX_TOOL
from crosscheck.causes.reading import TENSOR, given, has_lazy, is_complex, without_padding
from crosscheck.records import Census, NodeRow, OpRow


@ONNX_TOOL.fails(
    "onnx-tool-native-layer",
    "Without gradients torch runs nn.MultiheadAttention and nn.TransformerEncoderLayer as one kernel, for "
    "which the exporter has no node; it puts a model in evaluation first.",
    "torch/onnx/_internal/torchscript_exporter/utils.py:134,1792 (2.13.0)",
    words=r"aten::(_native_multi_head_attention|_transformer_encoder_layer_fwd)'? to ONNX",
)
def _native_layer(census: Census) -> bool:
    return any(census.modules[row.module].native and not row.grad for row in census.ops)


@ONNX_TOOL.fails(
    "onnx-tool-lstm-projection",
    "The exporter has no node for an LSTM with proj_size.",
    "torch/onnx/_internal/torchscript_exporter/symbolic_opset9.py:4257-4260 (2.13.0)",
    words="LSTMs with projections",
)
def _lstm_projection(census: Census) -> bool:
    return any("weight_hr_l0" in module.parameters for module in census.modules)


def _is_grouped(row: OpRow) -> bool:
    """Of a single head of keys the call alone tells whether it is for a group or broadcast, which is exported."""
    if row.op != "attention":
        return False
    query, key = row.shapes[:2]
    return prod(query[:-2]) > prod(key[:-2]) > prod(query[:-3])


@ONNX_TOOL.fails(
    "onnx-tool-grouped-queries",
    "The exporter has no graph for attention of grouped queries.",
    "torch/onnx/_internal/torchscript_exporter/symbolic_opset14.py:155-158 (2.13.0)",
    words="not implemented if enable_gqa is True",
)
def _grouped_queries(census: Census) -> bool:
    return any(map(_is_grouped, census.ops)) or any(given(call)[1].get("enable_gqa") == "True" for call in census.calls)


_NO_NODE = frozenset(
    "rms_norm bilinear addbmm inner vdot addmv addr kron chain_matmul linalg_multi_dot matrix_power "
    "linalg_matrix_power linalg_vecdot cov corrcoef pdist _grouped_mm _int_mm _weight_int8pack_mm".split()
)


@ONNX_TOOL.fails(
    "onnx-tool-not-exported",
    "The exporter has no node for rms_norm, bilinear, addbmm, inner, vdot, addmv, addr, kron, cov, pdist, several of "
    "torch.linalg and all of torch.fft, products of groups, integers or sparse tensors, and for x.mT, x.mH and x.H.",
    "torch/onnx/_internal/torchscript_exporter/utils.py:1792 (2.13.0)",
    words=r"Exporting the operator 'aten::\w+' to ONNX",
)
def _not_exported(census: Census) -> bool:
    return bool(census.transposed) or any(
        row.function in _NO_NODE or row.function.startswith("fft_") or row.dense_macs for row in census.ops
    )


def _is_uneven(row: OpRow) -> bool:
    dimensions = re.fullmatch(r"_?adaptive_(avg|max)_pool(\d)d", row.aten)
    if not dimensions:
        return False
    number = int(dimensions[2])
    return any(size % out for size, out in zip(row.shapes[0][-number:], row.out[-number:], strict=True))


@ONNX_TOOL.fails(
    "onnx-tool-uneven-pool",
    "The exporter has no node for an adaptive pooling into windows of unequal sizes.",
    "torch/onnx/_internal/torchscript_exporter/symbolic_opset9.py:1711-1718 (2.13.0)",
    words="output size that are not factor of input size",
)
def _uneven_pool(census: Census) -> bool:
    return any(map(_is_uneven, census.ops))


@ONNX_TOOL.fails(
    "onnx-tool-unbatched-adaptive-pool",
    "The exporter takes the sizes after the second for those that AdaptiveMaxPool1d pools; without a batch "
    "there are none.",
    "torch/onnx/_internal/torchscript_exporter/symbolic_opset9.py:1700,1719 (2.13.0)",
    words="ONNX export of operator max_pool1d_with_indices",
)
def _unbatched_adaptive_pool(census: Census) -> bool:
    return any(call.function == "F.adaptive_max_pool1d" and len(call.shapes[0]) == 2 for call in census.calls)


@ONNX_TOOL.fails(
    "onnx-tool-out",
    "The exporter's functions for matmul, mm, bmm, addmm, baddbmm, mul and add take no out=.",
    "torch/onnx/_internal/torchscript_exporter/symbolic_opset9.py:602,610,615,621,5584 (2.13.0)",
    words=r"positional arguments but \d+ were given|A mismatch between the number of arguments",
)
def _out_fails(census: Census) -> bool:
    return any(given(call)[1].get("out") == TENSOR for call in census.calls)


@ONNX_TOOL.fails(
    "onnx-tool-packed-sequence",
    "The exporter takes a sequence that is packed and then padded, and no other packed one.",
    "torch/onnx/_internal/torchscript_exporter/symbolic_opset9.py:4648-4650,4673-4675 (2.13.0)",
    words="these operations must occur in pairs",
)
def _packed_sequence(census: Census) -> bool:
    return "packed sequence" in census.untraceable


def _is_unbatched_pool(node: NodeRow) -> bool:
    kernel, x = node.attributes.get("kernel_shape", ()), node.inputs[0]
    pool = node.op_type in {"AveragePool", "MaxPool"} and isinstance(kernel, tuple) and x is not None
    return pool and (len(x or ()) < 3 or len(x or ()) != len(kernel) + 2)  # type: ignore[arg-type]


@ONNX_TOOL.fails(
    "onnx-tool-unbatched-pool",
    "The exporter writes a pool as it comes, and ONNX has none without a batch: onnx-tool finds no shape.",
    "onnx_tool/node.py:1254-1284 (1.0.1)",
    words="IndexError: list index out of range|local variable 'outshape'",
)
def _unbatched_pool(census: Census) -> bool:
    return any(map(_is_unbatched_pool, census.exported))


@ONNX_TOOL.fails(
    "onnx-tool-complex",
    "The exporter knows no complex numbers.",
    "torch/csrc/jit/passes/onnx/helper.cpp, ATenTypeToOnnxType (2.13.0)",
    words=r"Unknown number type: complex|Complex\w+ is an unexpected tensor scalar type",
)
def _complex(census: Census) -> bool:
    return any(row.complex_part or is_complex(row) for row in census.ops)


@ONNX_TOOL.fails(
    "onnx-tool-vector",
    "onnx-tool takes no vector for an operand of a product.",
    "onnx_tool/node.py:814-815 (1.0.1)",
    words="Gemm inputs must have rank >= 2",
)
def _vector(census: Census) -> bool:
    return any(
        node.op_type == "MatMul" and any(shape is not None and len(shape) < 2 for shape in node.inputs)
        for node in census.exported
    )


#: What the exporter makes and onnx-tool has no class for.
_UNKNOWN = frozenset(
    "Acos AffineGrid ArgMin Asin Bernoulli BitShift BitwiseAnd Celu Col2Im ConcatFromSequence Det EyeLike "
    "GlobalMaxPool If IsInf IsNaN Loop Multinomial RNN RandomNormal RandomUniform ReduceL1 ReduceLogSumExp STFT "
    "Scatter Selu SequenceAt SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength Size Softsign "
    "SplitToSequence Tan ThresholdedRelu Unique".split()
)


@ONNX_TOOL.fails(
    "onnx-tool-unknown-node",
    "onnx-tool has no class for the node, so no shape behind it: RNN, SELU, CELU, branches, loops.",
    "onnx_tool/node.py:209-210,2822-2829 (1.0.1)",
    words=r"this Node \w+-.* has no value_infer",
)
def _unknown_node(census: Census) -> bool:
    return any(node.op_type in _UNKNOWN for node in census.exported)


def _is_spelled_out(node: NodeRow) -> bool:
    equation = str(node.attributes["equation"])
    return "->" in equation and "." not in equation


@ONNX_TOOL.fails(
    "onnx-tool-einsum-operands",
    "onnx-tool takes an einsum of two operands alone, without an ellipsis and with an output.",
    "onnx_tool/node.py:1070-1074,1077-1088 (1.0.1)",
    words="IndexError: list index out of range|KeyError",
)
def _einsum_operands(census: Census) -> bool:
    return any(
        node.op_type == "Einsum" and not (len(node.inputs) == 2 and _is_spelled_out(node)) for node in census.exported
    )


ONNX_TOOL.fails(
    "onnx-tool-lazy",
    "The exporter takes the parameters before the first forward, when those of a lazy module have no size.",
    "torch/jit/_trace.py:83 (2.13.0)",
    words="Attempted to use an uninitialized parameter",
)(has_lazy)


@ONNX_TOOL.fails(
    "onnx-tool-padding",
    "The exporter has no node for the nested tensor that nn.TransformerEncoder makes of tokens without padding.",
    "torch/onnx/_internal/torchscript_exporter/utils.py:134,1792 (2.13.0)",
    words="aten::_nested_tensor_from_mask'? to ONNX",
)
def _padding(census: Census) -> bool:
    return bool(without_padding(census))
