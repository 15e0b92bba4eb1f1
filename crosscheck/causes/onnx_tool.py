"""onnx-tool: instructions for the nodes of an exported ONNX graph.

All but the causes of a broadcast product, of a transposed convolution and of the export are what onnx-tool counts
beside products. Shapes are those of ONNX's inference; onnx-tool infers its own.
"""

from __future__ import annotations

import re
from math import prod

from crosscheck.causes.declare import (
    TENSOR,
    PredictedFailure,
    cause,
    given,
    has_lazy,
    is_complex,
    predict_failure,
    products,
    without_padding,
)
from crosscheck.records import Census, NodeRow, OpRow, Shape

_ONNX_TOOL = frozenset({"onnx-tool"})

# What one instruction of a kind is worth there.
_DIV, _EXP, _LOG, _SIN, _SQRT = 4, 32, 43, 39, 24
_TANH = _EXP + 2 + _DIV
_ATAN = _SQRT + 3 + 1 + _DIV

#: For each element that comes out: arithmetic.
_ELEMENTWISE = {
    **dict.fromkeys("Add Sub Mul Mod Min Max Neg Abs Ceil Floor Round Sign CumSum".split(), 1),
    **dict.fromkeys("Equal Greater GreaterOrEqual Less LessOrEqual Not And Or Xor".split(), 1),
    "Div": _DIV,
    "Reciprocal": _DIV,
    "Exp": _EXP,
    "Pow": _EXP,
    "Log": _LOG,
    "Sin": _SIN,
    "Cos": _SIN,
    "Sqrt": _SQRT,
    "Atan": 2 * _ATAN,
}
#: For each element that comes out: activations, where the exporter has a node for them. The weight of Tanh is doubled.
_ACTIVATIONS = {
    "Relu": 1,
    "Clip": 2,
    "PRelu": 2,
    "LeakyRelu": 2,
    "HardSigmoid": 4,
    "HardSwish": 5,
    "Sigmoid": _EXP,
    "Gelu": _EXP + 2,
    "Elu": _EXP + 3,
    "Softplus": _EXP + 1 + _LOG,
    "Tanh": 2 * _TANH,
}
_SOFTMAX = {"Softmax": _EXP + _DIV, "LogSoftmax": _EXP + _DIV + 1 + _LOG}
_REDUCTIONS = {
    **dict.fromkeys("ReduceMean ReduceSum ReduceMin ReduceMax ReduceProd".split(), 1),
    "ReduceL2": 1 + _SQRT,
}
_RESIZE = {"nearest": 0, "linear": 4, "cubic": 8}
#: Functions that the exporter writes as an Einsum.
_EINSUMS = frozenset("einsum outer ger tensordot".split())


def _volume(shape: Shape | None) -> int:
    """Elements, as onnx-tool counts them: none in a tensor without dimensions."""
    return prod(shape) if shape else 0


def _out(node: NodeRow) -> int:
    return node.count * _volume(node.outputs[0])


def _in(node: NodeRow) -> int:
    return node.count * _volume(node.inputs[0])


def _weighted(census: Census, weights: dict[str, int]) -> int:
    return sum(weights[node.op_type] * _out(node) for node in census.exported if node.op_type in weights)


@cause(
    "onnx-tool-bias",
    _ONNX_TOOL,
    "onnx-tool counts the bias of a convolution and of a Gemm, which a linear layer of rows is, 1 MAC an output "
    "element. That of other linear layers is an addition of its own.",
    "onnx_tool/node.py:876-877,2069-2070,2574-2575 (1.0.1)",
)
def _bias(census: Census) -> int:
    layers = {"Conv", "ConvTranspose", "Gemm"}
    return sum(_biases(node) * _out(node) for node in census.exported if node.op_type in layers)


def _biases(node: NodeRow) -> int:
    return int(len(node.inputs) > 2)


@cause(
    "onnx-tool-transposed-conv",
    _ONNX_TOOL,
    "onnx-tool charges a transposed convolution by its output, as it does the others, and by the output channels of a "
    "group: from 8 to 12 channels of an image and with a stride of 2 that is six times as much.",
    "onnx_tool/node.py:2569-2573 (1.0.1)",
)
def _transposed(census: Census) -> int:
    nodes = (node for node in census.exported if node.op_type == "ConvTranspose")
    return sum((_out(node) - _in(node)) * prod((node.inputs[1] or ())[1:]) for node in nodes)


@cause(
    "onnx-tool-named-padding",
    _ONNX_TOOL,
    'onnx-tool takes the output of a convolution with padding="same" or "valid" for one of two dimensions at most, and '
    "of the latter without its dilation.",
    "onnx_tool/node.py:1988-1998 (1.0.1)",
)
def _named_padding(census: Census) -> int:
    nodes = (node for node in census.exported if node.op_type == "Conv" and "auto_pad" in node.attributes)
    return sum(
        (_seen_outputs(node) - _out(node)) * (prod((node.inputs[1] or ())[1:]) + _biases(node)) for node in nodes
    )


def _seen_outputs(node: NodeRow) -> int:
    first, kernel, out = node.inputs[0], node.inputs[1], node.outputs[0]
    if first is None or kernel is None or out is None:
        return 0
    strides = node.attributes["strides"]
    if not isinstance(strides, tuple) or node.attributes["auto_pad"] == "NOTSET":
        return _out(node)
    less = [k - 1 if node.attributes["auto_pad"] == "VALID" else 0 for k in kernel[2:]]
    sizes = [-(-(size - k) // stride) for size, k, stride in zip(first[2:], less, strides, strict=True)]
    return node.count * prod(out[:2]) * prod(sizes if len(sizes) == 2 else sizes[:1])


@cause(
    "onnx-tool-broadcast",
    _ONNX_TOOL,
    "Of a product whose two operands are both broadcast, onnx-tool takes the batch of the larger one.",
    "onnx_tool/node.py:838-841,874-875 (1.0.1)",
)
def _broadcast(census: Census) -> int:
    nodes = (node for node in census.exported if node.op_type == "MatMul" and None not in node.inputs + node.outputs)
    return sum(
        node.count * _unlike(node.inputs[0] or (), node.inputs[1] or (), node.outputs[0] or ()) for node in nodes
    )


def _unlike(a: Shape, b: Shape, out: Shape) -> int:
    batch = max(prod(a[:-2]), prod(b[:-2]))
    return (batch - prod(out[:-2])) * prod(out[-2:]) * a[-1]


@cause(
    "onnx-tool-einsum",
    _ONNX_TOOL,
    "onnx-tool charges an einsum the product of all its sizes, also where nothing is summed.",
    "onnx_tool/node.py:1090-1101 (1.0.1)",
)
def _einsum(census: Census) -> int:
    if not census.exported:
        return 0
    nodes = (node for node in census.exported if node.op_type == "Einsum")
    ran = sum(row.macs for row in products(census) if row.function in _EINSUMS)
    return sum(node.count * _sizes(node) for node in nodes) - ran


def _sizes(node: NodeRow) -> int:
    """The product of all sizes; that of the last operand is taken where they differ."""
    terms = str(node.attributes["equation"]).replace(" ", "").partition("->")[0].split(",")
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, node.inputs, strict=False):
        sizes.update(zip(term, shape or (), strict=False))
    return prod(sizes.values())


@cause(
    "onnx-tool-elementwise",
    _ONNX_TOOL,
    "onnx-tool counts arithmetic, also that of attention's scale, of biases that are added, and of shapes: 1 MAC an "
    "element, 4 for a division, 24 for a square root, 32 for a power or an exponential, 39 to 64 for others.",
    "onnx_tool/node.py:19-36,241-244,262-265,318,375,414,448,459,470,481,533,671,722-723,945,2096,2130,2140,2334 "
    "(1.0.1)",
)
def _elementwise(census: Census) -> int:
    sums = (node for node in census.exported if node.op_type == "Sum")
    return _weighted(census, _ELEMENTWISE) + sum((len(node.inputs) - 1) * _out(node) for node in sums)


@cause(
    "onnx-tool-activation",
    _ONNX_TOOL,
    "onnx-tool counts activations: 32 MACs an element for a sigmoid, 34 for GELU, 76 for tanh, 1 or 2 for ReLU and "
    "its kind.",
    "onnx_tool/node.py:19-36,241-244,401,503,513-514,555,568,581,591,612,646,654,925 (1.0.1)",
)
def _activations(census: Census) -> int:
    return _weighted(census, _ACTIVATIONS)


@cause(
    "onnx-tool-softmax",
    _ONNX_TOOL,
    "onnx-tool charges a softmax, also that of attention, 36 MACs an element, its logarithm 80.",
    "onnx_tool/node.py:387,525 (1.0.1)",
)
def _softmax(census: Census) -> int:
    return _weighted(census, _SOFTMAX)


@cause(
    "onnx-tool-norm",
    _ONNX_TOOL,
    "onnx-tool charges a layer norm 7 MACs an element and 29 a row of the first normalized dimension, group and "
    "instance norm 7 an element, batch norm 31. The scale and shift of a group norm are arithmetic of their own.",
    "onnx_tool/node.py:434,1487-1490,2366-2372 (1.0.1)",
)
def _norms(census: Census) -> int:
    each = {"InstanceNormalization": 7, "BatchNormalization": 2 + _SQRT + _DIV + 1}
    layers = (node for node in census.exported if node.op_type == "LayerNormalization" and node.inputs[0])
    return _weighted(census, each) + sum(7 * _in(node) + 29 * _in(node) // _normalized(node) for node in layers)


def _normalized(node: NodeRow) -> int:
    axis = node.attributes.get("axis", -1)
    return (node.inputs[0] or ())[axis if isinstance(axis, int) else -1]


@cause(
    "onnx-tool-pool",
    _ONNX_TOOL,
    "onnx-tool charges pooling by its window, of three dimensions by the first alone; pooling of all, each element "
    "that goes in and 4 for each that comes out.",
    "onnx_tool/node.py:1287-1293,1367-1371 (1.0.1)",
)
def _pools(census: Census) -> int:
    windows = (node for node in census.exported if node.op_type in {"AveragePool", "MaxPool"})
    whole = (node for node in census.exported if node.op_type == "GlobalAveragePool")
    return sum(_window(node) * _out(node) for node in windows) + sum(_in(node) + _DIV * _out(node) for node in whole)


def _window(node: NodeRow) -> int:
    kernel = node.attributes.get("kernel_shape", ())
    sizes = kernel if isinstance(kernel, tuple) else ()
    return prod(sizes) if len(sizes) == 2 else sizes[0]


@cause(
    "onnx-tool-resample",
    _ONNX_TOOL,
    "onnx-tool charges bilinear upsampling 4 MACs an output element, bicubic 8.",
    "onnx_tool/node.py:1210-1220 (1.0.1)",
)
def _resample(census: Census) -> int:
    nodes = (node for node in census.exported if node.op_type == "Resize")
    return sum(_RESIZE[str(node.attributes.get("mode", "nearest"))] * _out(node) for node in nodes)


@cause(
    "onnx-tool-reduction",
    _ONNX_TOOL,
    "onnx-tool charges a mean, a sum or a maximum 1 MAC an element that goes in, a norm 25.",
    "onnx_tool/node.py:1784-1786,1799-1802,1827-1830,2087-2089 (1.0.1)",
)
def _reductions(census: Census) -> int:
    nodes = (node for node in census.exported if node.op_type in _REDUCTIONS)
    return sum(_REDUCTIONS[node.op_type] * _in(node) for node in nodes)


@cause(
    "onnx-tool-recurrent",
    _ONNX_TOOL,
    "Beside the products of LSTM and GRU onnx-tool counts biases, gates and states.",
    "onnx_tool/node.py:1957-1971,2662-2675 (1.0.1)",
)
def _recurrent(census: Census) -> int:
    nodes = (node for node in census.exported if node.op_type in {"LSTM", "GRU"} and node.inputs[0])
    return sum(node.count * (_steps(node) * _gates(node)) for node in nodes)


def _steps(node: NodeRow) -> int:
    return prod((node.inputs[0] or ())[:2])


def _gates(node: NodeRow) -> int:
    """Of one step: biases, and for each element of one direction's state additions, sigmoids, tanh and blending."""
    bias = _volume(node.inputs[3]) if len(node.inputs) > 3 else 0
    gates, each = (4, 4 + 3 * _EXP + 2 * _TANH + 4) if node.op_type == "LSTM" else (3, 3 + 2 * _EXP + _TANH + 5)
    return bias + (node.inputs[1] or (0, 0))[1] // gates * each


@cause(
    "onnx-tool-export",
    _ONNX_TOOL,
    "The exported graph is without the products that reach no output, and holds once those that are alike.",
    "torch/onnx/_internal/torchscript_exporter/utils.py:638,644,1178 (2.13.0)",
)
def _export(census: Census) -> int:
    if not census.exported:
        return 0
    ran = sum(row.macs for row in products(census) if row.function not in _EINSUMS)
    return sum(node.count * _product(node) for node in census.exported) - ran


def _product(node: NodeRow) -> int:
    """MACs of a node that is a product, as the reference has them; an Einsum has its own cause."""
    if node.op_type not in {"Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU"}:
        return 0
    first, second, out = node.inputs[0], node.inputs[1], node.outputs[0]
    if first is None or second is None or out is None:
        return 0
    if node.op_type in {"LSTM", "GRU"}:
        return _steps(node) * (_volume(second) + _volume(node.inputs[2]))
    if node.op_type == "Conv":
        return prod(out) * prod(second[1:])
    if node.op_type == "ConvTranspose":
        return prod(first) * prod(second[1:])
    return prod(out) * first[-2 if node.attributes.get("transA") else -1]


# -- no number ---------------------------------------------------------------------------------------------------------

predict_failure(
    PredictedFailure(
        name="onnx-tool-native-layer",
        summary="Without gradients torch runs nn.MultiheadAttention and nn.TransformerEncoderLayer as one kernel, for "
        "which the exporter has no node; it puts a model in evaluation first.",
        source="torch/onnx/_internal/torchscript_exporter/utils.py:134,1792 (2.13.0)",
        backends=_ONNX_TOOL,
        words=re.compile(r"aten::(_native_multi_head_attention|_transformer_encoder_layer_fwd)'? to ONNX"),
        applies=lambda census: any(census.modules[row.module].native and not row.grad for row in census.ops),
    )
)


predict_failure(
    PredictedFailure(
        name="onnx-tool-lstm-projection",
        summary="The exporter has no node for an LSTM with proj_size.",
        source="torch/onnx/_internal/torchscript_exporter/symbolic_opset9.py:4257-4260 (2.13.0)",
        backends=_ONNX_TOOL,
        words=re.compile("LSTMs with projections"),
        applies=lambda census: any("weight_hr_l0" in module.parameters for module in census.modules),
    )
)


def _is_grouped(row: OpRow) -> bool:
    """Of a single head of keys the call alone tells whether it is for a group or broadcast, which is exported."""
    if row.op != "attention":
        return False
    query, key = row.shapes[:2]
    return prod(query[:-2]) > prod(key[:-2]) > prod(query[:-3])


predict_failure(
    PredictedFailure(
        name="onnx-tool-grouped-queries",
        summary="The exporter has no graph for attention of grouped queries.",
        source="torch/onnx/_internal/torchscript_exporter/symbolic_opset14.py:155-158 (2.13.0)",
        backends=_ONNX_TOOL,
        words=re.compile("not implemented if enable_gqa is True"),
        applies=lambda census: (
            any(map(_is_grouped, census.ops))
            or any(given(call)[1].get("enable_gqa") == "True" for call in census.calls)
        ),
    )
)
_NO_NODE = frozenset(
    "rms_norm bilinear addbmm inner vdot addmv addr kron chain_matmul linalg_multi_dot matrix_power "
    "linalg_matrix_power linalg_vecdot cov corrcoef".split()
)
predict_failure(
    PredictedFailure(
        name="onnx-tool-not-exported",
        summary="The exporter has no node for rms_norm, bilinear, addbmm, inner, vdot, addmv, addr, kron, cov, several "
        "of torch.linalg, and for x.mT, x.mH and x.H.",
        source="torch/onnx/_internal/torchscript_exporter/utils.py:1792 (2.13.0)",
        backends=_ONNX_TOOL,
        words=re.compile(r"Exporting the operator 'aten::\w+' to ONNX"),
        applies=lambda census: bool(census.transposed) or any(row.function in _NO_NODE for row in census.ops),
    )
)


def _is_uneven(row: OpRow) -> bool:
    dimensions = re.fullmatch(r"_?adaptive_(avg|max)_pool(\d)d", row.aten)
    if not dimensions:
        return False
    number = int(dimensions[2])
    return any(size % out for size, out in zip(row.shapes[0][-number:], row.out[-number:], strict=True))


predict_failure(
    PredictedFailure(
        name="onnx-tool-uneven-pool",
        summary="The exporter has no node for an adaptive pooling into windows of unequal sizes.",
        source="torch/onnx/_internal/torchscript_exporter/symbolic_opset9.py:1711-1718 (2.13.0)",
        backends=_ONNX_TOOL,
        words=re.compile("output size that are not factor of input size"),
        applies=lambda census: any(map(_is_uneven, census.ops)),
    )
)


predict_failure(
    PredictedFailure(
        name="onnx-tool-unbatched-adaptive-pool",
        summary="The exporter takes the sizes after the second for those that AdaptiveMaxPool1d pools; without a batch "
        "there are none.",
        source="torch/onnx/_internal/torchscript_exporter/symbolic_opset9.py:1700,1719 (2.13.0)",
        backends=_ONNX_TOOL,
        words=re.compile("ONNX export of operator max_pool1d_with_indices"),
        applies=lambda census: any(
            call.function == "F.adaptive_max_pool1d" and len(call.shapes[0]) == 2 for call in census.calls
        ),
    )
)
predict_failure(
    PredictedFailure(
        name="onnx-tool-out",
        summary="The exporter's functions for matmul, mm, bmm, addmm, baddbmm, mul and add take no out=.",
        source="torch/onnx/_internal/torchscript_exporter/symbolic_opset9.py:602,610,615,621,5584 (2.13.0)",
        backends=_ONNX_TOOL,
        words=re.compile(r"positional arguments but \d+ were given|A mismatch between the number of arguments"),
        applies=lambda census: any(given(call)[1].get("out") == TENSOR for call in census.calls),
    )
)
predict_failure(
    PredictedFailure(
        name="onnx-tool-packed-sequence",
        summary="The exporter takes a sequence that is packed and then padded, and no other packed one.",
        source="torch/onnx/_internal/torchscript_exporter/symbolic_opset9.py:4648-4650,4673-4675 (2.13.0)",
        backends=_ONNX_TOOL,
        words=re.compile("these operations must occur in pairs"),
        applies=lambda census: "packed sequence" in census.untraceable,
    )
)


def _is_unbatched_pool(node: NodeRow) -> bool:
    kernel, x = node.attributes.get("kernel_shape", ()), node.inputs[0]
    pool = node.op_type in {"AveragePool", "MaxPool"} and isinstance(kernel, tuple) and x is not None
    return pool and (len(x or ()) < 3 or len(x or ()) != len(kernel) + 2)  # type: ignore[arg-type]


predict_failure(
    PredictedFailure(
        name="onnx-tool-unbatched-pool",
        summary="The exporter writes a pool as it comes, and ONNX has none without a batch: onnx-tool finds no shape.",
        source="onnx_tool/node.py:1254-1284 (1.0.1)",
        backends=_ONNX_TOOL,
        words=re.compile("IndexError: list index out of range|local variable 'outshape'"),
        applies=lambda census: any(map(_is_unbatched_pool, census.exported)),
    )
)
predict_failure(
    PredictedFailure(
        name="onnx-tool-complex",
        summary="The exporter knows no complex numbers.",
        source="torch/csrc/jit/passes/onnx/helper.cpp, ATenTypeToOnnxType (2.13.0)",
        backends=_ONNX_TOOL,
        words=re.compile(r"Unknown number type: complex|Complex\w+ is an unexpected tensor scalar type"),
        applies=lambda census: any(row.complex_part or is_complex(row) for row in census.ops),
    )
)
predict_failure(
    PredictedFailure(
        name="onnx-tool-vector",
        summary="onnx-tool takes no vector for an operand of a product.",
        source="onnx_tool/node.py:814-815 (1.0.1)",
        backends=_ONNX_TOOL,
        words=re.compile("Gemm inputs must have rank >= 2"),
        applies=lambda census: any(
            node.op_type == "MatMul" and any(shape is not None and len(shape) < 2 for shape in node.inputs)
            for node in census.exported
        ),
    )
)
#: What the exporter makes and onnx-tool has no class for.
_UNKNOWN = frozenset(
    "Acos AffineGrid ArgMin Asin Bernoulli BitShift BitwiseAnd Celu Col2Im ConcatFromSequence Det EyeLike "
    "GlobalMaxPool If IsInf IsNaN Loop Multinomial RNN RandomNormal RandomUniform ReduceL1 ReduceLogSumExp STFT "
    "Scatter Selu SequenceAt SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength Size Softsign "
    "SplitToSequence Tan ThresholdedRelu Unique".split()
)
predict_failure(
    PredictedFailure(
        name="onnx-tool-unknown-node",
        summary="onnx-tool has no class for the node, so no shape behind it: RNN, SELU, CELU, branches, loops.",
        source="onnx_tool/node.py:209-210,2822-2829 (1.0.1)",
        backends=_ONNX_TOOL,
        words=re.compile(r"this Node \w+-.* has no value_infer"),
        applies=lambda census: any(node.op_type in _UNKNOWN for node in census.exported),
    )
)


def _is_spelled_out(node: NodeRow) -> bool:
    equation = str(node.attributes["equation"])
    return "->" in equation and "." not in equation


predict_failure(
    PredictedFailure(
        name="onnx-tool-einsum-operands",
        summary="onnx-tool takes an einsum of two operands alone, without an ellipsis and with an output.",
        source="onnx_tool/node.py:1070-1074,1077-1088 (1.0.1)",
        backends=_ONNX_TOOL,
        words=re.compile("IndexError: list index out of range|KeyError"),
        applies=lambda census: any(
            node.op_type == "Einsum" and not (len(node.inputs) == 2 and _is_spelled_out(node))
            for node in census.exported
        ),
    )
)
predict_failure(
    PredictedFailure(
        name="onnx-tool-lazy",
        summary="The exporter takes the parameters before the first forward, when those of a lazy module have no size.",
        source="torch/jit/_trace.py:83 (2.13.0)",
        backends=_ONNX_TOOL,
        words=re.compile("Attempted to use an uninitialized parameter"),
        applies=has_lazy,
    )
)
predict_failure(
    PredictedFailure(
        name="onnx-tool-padding",
        summary="The exporter has no node for the nested tensor that nn.TransformerEncoder makes of tokens without "
        "padding.",
        source="torch/onnx/_internal/torchscript_exporter/utils.py:134,1792 (2.13.0)",
        backends=_ONNX_TOOL,
        words=re.compile("aten::_nested_tensor_from_mask'? to ONNX"),
        applies=lambda census: bool(without_padding(census)),
    )
)
