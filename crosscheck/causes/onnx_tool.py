"""onnx-tool: instructions for the nodes of an exported ONNX graph.

All but the causes of a broadcast product, of a transposed convolution and of the export are what onnx-tool counts
beside products. Shapes are those of ONNX's inference; onnx-tool infers its own.
"""

from __future__ import annotations

from math import prod

from crosscheck.causes.reading import products
from crosscheck.causes.tool import Sees, Tool
from crosscheck.records import Census, NodeRow, Shape

ONNX_TOOL = Tool(
    "onnx-tool",
    backends=("onnx-tool",),
    release="1.0.1",
    installed="crosscheck[counters]",
    sees=Sees.EXPORT,
    evaluates=True,
)

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


@ONNX_TOOL.cause(
    "onnx-tool-bias",
    "onnx-tool counts the bias of a convolution and of a Gemm, which a linear layer of rows is, 1 MAC an output "
    "element. That of other linear layers is an addition of its own.",
    "onnx_tool/node.py:876-877,2069-2070,2574-2575 (1.0.1)",
)
def _bias(census: Census) -> int:
    layers = {"Conv", "ConvTranspose", "Gemm"}
    return sum(_biases(node) * _out(node) for node in census.exported if node.op_type in layers)


def _biases(node: NodeRow) -> int:
    return int(len(node.inputs) > 2)


@ONNX_TOOL.cause(
    "onnx-tool-transposed-conv",
    "onnx-tool charges a transposed convolution by its output, as it does the others, and by the output channels of a "
    "group: from 8 to 12 channels of an image and with a stride of 2 that is six times as much.",
    "onnx_tool/node.py:2569-2573 (1.0.1)",
)
def _transposed(census: Census) -> int:
    nodes = (node for node in census.exported if node.op_type == "ConvTranspose")
    return sum((_out(node) - _in(node)) * prod((node.inputs[1] or ())[1:]) for node in nodes)


@ONNX_TOOL.cause(
    "onnx-tool-named-padding",
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


@ONNX_TOOL.cause(
    "onnx-tool-broadcast",
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


@ONNX_TOOL.cause(
    "onnx-tool-einsum",
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


@ONNX_TOOL.cause(
    "onnx-tool-elementwise",
    "onnx-tool counts arithmetic, also that of attention's scale, of biases that are added, and of shapes: 1 MAC an "
    "element, 4 for a division, 24 for a square root, 32 for a power or an exponential, 39 to 64 for others.",
    "onnx_tool/node.py:19-36,241-244,262-265,318,375,414,448,459,470,481,533,671,722-723,945,2096,2130,2140,2334 "
    "(1.0.1)",
)
def _elementwise(census: Census) -> int:
    sums = (node for node in census.exported if node.op_type == "Sum")
    return _weighted(census, _ELEMENTWISE) + sum((len(node.inputs) - 1) * _out(node) for node in sums)


@ONNX_TOOL.cause(
    "onnx-tool-activation",
    "onnx-tool counts activations: 32 MACs an element for a sigmoid, 34 for GELU, 76 for tanh, 1 or 2 for ReLU and "
    "its kind.",
    "onnx_tool/node.py:19-36,241-244,401,503,513-514,555,568,581,591,612,646,654,925 (1.0.1)",
)
def _activations(census: Census) -> int:
    return _weighted(census, _ACTIVATIONS)


@ONNX_TOOL.cause(
    "onnx-tool-softmax",
    "onnx-tool charges a softmax, also that of attention, 36 MACs an element, its logarithm 80.",
    "onnx_tool/node.py:387,525 (1.0.1)",
)
def _softmax(census: Census) -> int:
    return _weighted(census, _SOFTMAX)


@ONNX_TOOL.cause(
    "onnx-tool-norm",
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


@ONNX_TOOL.cause(
    "onnx-tool-pool",
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


@ONNX_TOOL.cause(
    "onnx-tool-resample",
    "onnx-tool charges bilinear upsampling 4 MACs an output element, bicubic 8.",
    "onnx_tool/node.py:1210-1220 (1.0.1)",
)
def _resample(census: Census) -> int:
    nodes = (node for node in census.exported if node.op_type == "Resize")
    return sum(_RESIZE[str(node.attributes.get("mode", "nearest"))] * _out(node) for node in nodes)


@ONNX_TOOL.cause(
    "onnx-tool-reduction",
    "onnx-tool charges a mean, a sum or a maximum 1 MAC an element that goes in, a norm 25.",
    "onnx_tool/node.py:1784-1786,1799-1802,1827-1830,2087-2089 (1.0.1)",
)
def _reductions(census: Census) -> int:
    nodes = (node for node in census.exported if node.op_type in _REDUCTIONS)
    return sum(_REDUCTIONS[node.op_type] * _in(node) for node in nodes)


@ONNX_TOOL.cause(
    "onnx-tool-recurrent",
    "Beside the products of LSTM and GRU onnx-tool counts biases, gates and states.",
    "onnx_tool/node.py:1957-1971,2662-2675 (1.0.1)",
)
def _recurrent(census: Census) -> int:
    nodes = (node for node in census.exported if node.op_type in {"LSTM", "GRU"} and node.inputs[0])
    return sum(node.count * (_steps(node) * _gates(node)) for node in nodes)


def _steps(node: NodeRow) -> int:
    return prod((node.inputs[0] or ())[:2])


def _gates(node: NodeRow) -> int:
    """One step's biases, and for each element of one direction's state additions, sigmoids, tanh and blending."""
    bias = _volume(node.inputs[3]) if len(node.inputs) > 3 else 0
    gates, each = (4, 4 + 3 * _EXP + 2 * _TANH + 4) if node.op_type == "LSTM" else (3, 3 + 2 * _EXP + _TANH + 5)
    return bias + (node.inputs[1] or (0, 0))[1] // gates * each


@ONNX_TOOL.cause(
    "onnx-tool-export",
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
