"""ptflops' engine for PyTorch: hooks and replaced functions; biases counted.

A hook of a module of exactly one of its classes counts by the arguments of the one function that such a module calls; a
replaced function counts wherever it is called.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from math import prod

from crosscheck.causes.reading import argument, is_one_of, products, projects_state, real_macs, tensor, without_batch
from crosscheck.causes.tool import Sees, Tool
from crosscheck.records import CallRow, Census, ModuleRow, OpRow

PTFLOPS = Tool(
    "ptflops",
    backends=("ptflops",),
    release="0.7.5",
    installed="crosscheck[counters]",
    sees=Sees.MODULES | Sees.FUNCTIONS,
    evaluates=True,
)
_CONVS = "F.conv1d F.conv2d F.conv3d F.conv_transpose1d F.conv_transpose2d F.conv_transpose3d".split()
_POOLS = [f"F.{kind}_pool{n}d" for kind in "avg max adaptive_avg adaptive_max".split() for n in (1, 2, 3)]
NORMS = {
    "F.batch_norm": "BatchNorm1d BatchNorm2d BatchNorm3d",
    "F.instance_norm": "InstanceNorm1d InstanceNorm2d InstanceNorm3d",
    "F.group_norm": "GroupNorm",
    "F.layer_norm": "LayerNorm",
}
#: Function -> the modules that call it and have a hook.
HOOKED = {
    "F.linear": "Linear",
    **dict.fromkeys(_CONVS[:3], "Conv1d Conv2d Conv3d"),
    **dict.fromkeys(_CONVS[3:], "ConvTranspose1d ConvTranspose2d ConvTranspose3d"),
    **NORMS,
    "F.relu": "ReLU",
    "F.prelu": "PReLU",
    "F.elu": "ELU",
    "F.leaky_relu": "LeakyReLU",
    "F.hardtanh": "ReLU6",  # which calls no relu6
    "F.gelu": "GELU",
    **dict.fromkeys(
        _POOLS,
        "AvgPool1d AvgPool2d AvgPool3d MaxPool1d MaxPool2d MaxPool3d AdaptiveAvgPool1d AdaptiveAvgPool2d "
        "AdaptiveAvgPool3d AdaptiveMaxPool1d AdaptiveMaxPool2d AdaptiveMaxPool3d",
    ),
    "F.interpolate": "Upsample",
    "F.multi_head_attention_forward": "MultiheadAttention",
}
_MATMULS = frozenset("torch.matmul Tensor.matmul torch.mm Tensor.mm torch.bmm Tensor.bmm".split())
_ADDMMS = frozenset("torch.addmm Tensor.addmm torch.baddbmm".split())
_ELEMENTWISE = frozenset("torch.mul Tensor.mul torch.add Tensor.add".split())
_INPUT = frozenset({*"F.relu F.prelu F.elu F.relu6 F.gelu F.silu F.softmax".split(), *_POOLS})
RESIZING = frozenset({"F.interpolate", "F.upsample"})
_REPLACED = _MATMULS | _ADDMMS | _ELEMENTWISE | _INPUT | RESIZING


def _hooked(census: Census) -> Iterator[CallRow]:
    """Calls of a module whose hook counts them."""
    return (
        call
        for call in census.calls
        if call.function in HOOKED and is_one_of(census.modules[call.module], HOOKED[call.function])
    )


def _numel(call: CallRow) -> int:
    return call.count * prod(tensor(call, 0, "input"))


def _by_module(call: CallRow, module: ModuleRow) -> int:
    """The charge of its module's hook for the calls of a row."""
    if call.function == "F.linear" or call.function in _CONVS:
        return _products(call) + _biases(call)
    if call.function == "F.interpolate":
        return call.count * prod(call.out[1:])
    if call.function == "F.multi_head_attention_forward":
        return _multi_head(call, module)
    weighted = call.function in NORMS and call.function != "F.layer_norm" and module.params
    return (2 if weighted else 1) * _numel(call)


def _products(call: CallRow) -> int:
    """MACs of a linear layer or a convolution, without the bias."""
    x, weight = tensor(call, 0, "input"), tensor(call, 1, "weight")
    if call.function == "F.linear":
        return call.count * prod(x) * weight[0]
    positions = x[2:] if "transpose" in call.function else call.out[2:]
    return call.count * x[0] * prod(positions) * prod(weight)


def _biases(call: CallRow) -> int:
    """Charge for the bias of a linear layer or a convolution: the batch is the input's first size, whatever that is."""
    if len(call.shapes) < 3:
        return 0
    out = call.out if call.function == "F.linear" else (call.shapes[0][0], *call.out[1:])
    return call.count * prod(out)


def _multi_head(call: CallRow, module: ModuleRow) -> int:
    """Charge by the first sizes of query, key and value, whose projections are as wide; softmax and scaling too."""
    if len(call.shapes[0]) < 3:
        return 0  # no number
    (n_q, batch, d), (n_k, _, d_k), (n_v, _, d_v) = call.shapes[:3]
    heads: int = argument(call, 4, "num_heads")
    biased = argument(call, 6, "in_proj_bias") == "T"
    macs = n_q * d + n_q * d * d + n_k * d_k * d_k + n_v * d_v * d_v
    macs += (n_q + n_k + n_v) * d if biased else 0
    macs += heads * n_q * n_k * (d // heads + 1 + d_v // heads)
    return call.count * batch * (macs + n_q * d_v * (d_v + 1))


def _by_function(call: CallRow) -> int:
    """The charge of a replaced function for the calls of a row."""
    if call.function in _MATMULS:
        return call.count * prod(tensor(call, 0, "input")) * tensor(call, 1, "other")[-1]
    if call.function in _ADDMMS:
        return call.count * (prod(tensor(call, 1, "mat1")) * tensor(call, 2, "mat2")[-1] + _added(call))
    if call.function in _ELEMENTWISE:
        return _elementwise(call)
    return int(_resized(call)) if call.function in RESIZING else _numel(call)


def _resized(call: CallRow) -> float:
    """The output's elements; by a scale factor that is no tuple, those before it is rounded."""
    scale = argument(call, 2, "scale_factor")
    if argument(call, 1, "size") is not None or not isinstance(scale, int | float):
        return call.count * prod(call.out)
    x = tensor(call, 0, "input")
    return float(call.count * prod(x) * scale ** (len(x) - 2))


def _added(call: CallRow) -> int:
    beta: float = argument(call, 3, "beta", 1)
    return prod(tensor(call, 0, "input")) if beta != 0 else 0


def _elementwise(call: CallRow) -> int:
    """The larger of both sizes in each dimension, counted from the first and not the last."""
    first, second = call.shapes[0] if call.shapes else (), call.shapes[1] if len(call.shapes) > 1 else ()
    depth = max(len(first), len(second))
    sizes = zip(*(shape + (1,) * (depth - len(shape)) for shape in (first, second)), strict=True)
    each: int = prod(max(pair) for pair in sizes)
    return call.count * each


def _replaced(census: Census, names: frozenset[str] | set[str] = _REPLACED) -> Iterator[CallRow]:
    """Calls of a replaced function by the model, not by torch's own kernels."""
    return (call for call in census.calls if call.function in names and not call.kernel)


@PTFLOPS.cause(
    "ptflops-bias",
    "ptflops counts the bias of nn.Linear and the convolutions as a MAC for each output element, and what addmm and "
    "baddbmm add as one for each of its elements.",
    "ptflops/pytorch_ops.py:41-43,85-90,390-394 (0.7.5)",
)
def _pytorch_bias(census: Census) -> int:
    layers = sum(_biases(call) for call in _hooked(census) if call.function == "F.linear" or call.function in _CONVS)
    return layers + sum(call.count * _added(call) for call in _replaced(census, _ADDMMS))


@PTFLOPS.cause(
    "ptflops-unbatched-convolution",
    "ptflops takes the first size of a convolution's input for the batch, which without one is the channels, and "
    "leaves the next out.",
    "ptflops/pytorch_ops.py:65,77-83 (0.7.5)",
)
def _unbatched(census: Census) -> int:
    calls = (call for call in _hooked(census) if call.function in _CONVS and call.mapped == 1)
    return sum(_products(call) - real_macs(call) for call in calls)


@PTFLOPS.cause(
    "ptflops-attention",
    "scaled_dot_product_attention is no module and none of the functions that ptflops replaces: attention counts as 0, "
    "silently.",
    "ptflops/pytorch_engine.py:348-390,434-456 (0.7.5)",
)
def _attention(census: Census) -> int:
    return -sum(row.macs for row in products(census) if row.op == "attention")


@PTFLOPS.cause(
    "ptflops-no-rule",
    "Products outside modules of its exact classes and outside the functions that ptflops replaces count as 0: "
    "F.linear and F.conv2d, subclasses, modules whose forward is called directly, a @ b, einsum, torch.mv.",
    "ptflops/pytorch_engine.py:223-229,348-349,434-456 (0.7.5)",
)
def _pytorch_no_rule(census: Census) -> int:
    seen = sum(call.macs for call in _hooked(census)) + sum(call.macs for call in _replaced(census))
    in_modules = sum(row.macs for _, row in _recurrent_rows(census))
    return seen + in_modules - sum(row.macs for row in products(census) if row.op != "attention")


@PTFLOPS.cause(
    "ptflops-matmul",
    "ptflops multiplies the elements of the first operand by the last size of the second: too little where the first "
    "is broadcast, too much where the second is a vector.",
    "ptflops/pytorch_ops.py:385-387 (0.7.5)",
)
def _matmul(census: Census) -> int:
    calls = (call for call in _replaced(census, _MATMULS) if call.mapped == 1)
    return sum(_by_function(call) - real_macs(call) for call in calls)


@PTFLOPS.cause(
    "ptflops-vmap",
    "Inside of torch.vmap tensors show their shapes without the mapped dimension, by which ptflops counts.",
    "ptflops/pytorch_ops.py:35-43,60-92,385-394 (0.7.5), of shapes alone; torch/_functorch/vmap.py (2.13.0)",
)
def _vmap(census: Census) -> int:
    layers = (call for call in _hooked(census) if call.function == "F.linear" or call.function in _CONVS)
    functions = _replaced(census, _MATMULS | _ADDMMS)
    return sum(_products(call) - real_macs(call) for call in layers if call.mapped != 1) + sum(
        _by_function(call) - call.count * _added(call) * (call.function in _ADDMMS) - real_macs(call)
        for call in functions
        if call.mapped != 1
    )


@PTFLOPS.cause(
    "ptflops-norm",
    "ptflops charges nn.BatchNorm, nn.InstanceNorm and nn.GroupNorm 2 MACs an element with weights and 1 without, "
    "nn.LayerNorm always 1.",
    "ptflops/pytorch_ops.py:51-57,296-304 (0.7.5)",
)
def _norm(census: Census) -> int:
    return _modules(census, NORMS)


def _modules(census: Census, names: object) -> int:
    calls = (call for call in _hooked(census) if call.function in names)  # type: ignore[operator]
    return sum(_by_module(call, census.modules[call.module]) for call in calls)


@PTFLOPS.cause(
    "ptflops-activation",
    "ptflops charges F.relu, prelu, elu, relu6, gelu, silu and softmax 1 MAC an element.",
    "ptflops/pytorch_ops.py:347-348,422-450 (0.7.5)",
)
def _activation(census: Census) -> int:
    return sum(map(_by_function, _replaced(census, _INPUT - frozenset(_POOLS))))


@PTFLOPS.cause(
    "ptflops-activation-module",
    "ptflops charges modules such as nn.ReLU and nn.GELU 1 MAC an element by a hook, and the function that they call "
    "once more.",
    "ptflops/pytorch_ops.py:30-32,276-281,323-324 (0.7.5)",
)
def _activation_module(census: Census) -> int:
    return _modules(census, "F.relu F.prelu F.elu F.leaky_relu F.hardtanh F.gelu".split())


@PTFLOPS.cause(
    "ptflops-pool",
    "ptflops charges pools 1 MAC an input element as functions, and those of torch.nn once more by a hook.",
    "ptflops/pytorch_ops.py:46-48,283-294,430-441 (0.7.5)",
)
def _pool(census: Census) -> int:
    return sum(_by_function(call) for call in _replaced(census, frozenset(_POOLS))) + _modules(census, _POOLS)


@PTFLOPS.cause(
    "ptflops-upsample",
    "ptflops charges F.interpolate 1 MAC an output element, and nn.Upsample those of the first of its batch once more.",
    "ptflops/pytorch_ops.py:21-27,351-382 (0.7.5)",
)
def _upsample(census: Census) -> int:
    functions = int(sum(map(_resized, _replaced(census, RESIZING))))  # a sum of all, and then no fraction
    return functions + _modules(census, {"F.interpolate"})


@PTFLOPS.cause(
    "ptflops-elementwise",
    "ptflops charges torch.mul and torch.add 1 MAC an element, of sizes that it compares from the first; the operators "
    "* and + it does not see.",
    "ptflops/pytorch_ops.py:397-419 (0.7.5)",
)
def _mul_add(census: Census) -> int:
    return sum(map(_by_function, _replaced(census, _ELEMENTWISE)))


@PTFLOPS.cause(
    "ptflops-multihead-attention",
    "ptflops reckons nn.MultiheadAttention as a whole, with biases, scaling and softmax, and counts the products that "
    "it sees in it besides.",
    "ptflops/pytorch_ops.py:180-243 (0.7.5)",
)
def _multihead(census: Census) -> int:
    return _modules(census, {"F.multi_head_attention_forward"})


@PTFLOPS.cause(
    "ptflops-recurrent",
    "ptflops adds to the products of nn.RNN, nn.LSTM, nn.GRU and their cells what they do to each element, and biases.",
    "ptflops/pytorch_ops.py:105-177 (0.7.5)",
)
def _recurrent(census: Census) -> int:
    return int(sum(_recurrent_extras(census, cell, row) for cell, row in _recurrent_rows(census)))


@PTFLOPS.cause(
    "ptflops-lstm-projection",
    "ptflops leaves out the product by which an nn.LSTM with proj_size projects its states.",
    "ptflops/pytorch_ops.py:105-109,143-150 (0.7.5)",
)
def _projection(census: Census) -> int:
    return -sum(row.macs for _, row in _recurrent_rows(census) if projects_state(row, census.modules[row.module]))


@PTFLOPS.cause(
    "ptflops-unbatched-recurrent",
    "ptflops multiplies by both leading sizes of the input of nn.RNN, nn.GRU and nn.LSTM; without a batch they are the "
    "steps and the width.",
    "ptflops/pytorch_ops.py:138-140,156-157 (0.7.5)",
)
def _unbatched_recurrent(census: Census) -> int:
    rows = ((without_batch(census.modules[row.module]), cell, row) for cell, row in _recurrent_rows(census))
    return int(sum((times - 1) * _recurrent_charge(census, cell, row) for times, cell, row in rows))


#: Gates, and operations on each element of the state besides the products.
_CELLS = {"RNN": (1, 1), "LSTM": (4, 10), "GRU": (3, 7)}


def _recurrent_rows(census: Census) -> Iterator[tuple[str, OpRow]]:
    for row in products(census):
        for cell in _CELLS:
            if is_one_of(census.modules[row.module], f"{cell} {cell}Cell") and not row.direct:
                yield cell, row


def _recurrent_charge(census: Census, cell: str, row: OpRow) -> Fraction:
    """The charge of its hook for a row of products."""
    left_out = projects_state(row, census.modules[row.module])
    return Fraction(0) if left_out else row.macs + _recurrent_extras(census, cell, row)


def _recurrent_extras(census: Census, cell: str, row: OpRow) -> Fraction:
    """Half of it for each of the two products that a state comes from."""
    if projects_state(row, census.modules[row.module]):
        return Fraction(0)
    gates, each = _CELLS[cell]
    if row.aten == "mkldnn_rnn_layer":  # a layer in one direction at once
        biases = sum(shape[0] for shape in row.shapes[3:5]) if _is_biased(census, row.module) else 0
        return Fraction(row.count * prod(row.shapes[0][:-1]) * (each * row.shapes[2][-1] + biases))
    states = row.count * prod(row.out)  # gates of every step, by the input's product or by the state's
    return Fraction(states * each, 2 * gates) + (states if row.aten == "addmm" else 0)


def _is_biased(census: Census, module: int) -> bool:
    """Whether recurrent layers have biases: the fused kernel is given zeros where they have none."""
    layers = [row for row in census.ops if row.module == module and row.aten == "mkldnn_rnn_layer"]
    weights = sum(row.count * (prod(row.shapes[1]) + prod(row.shapes[2])) for row in layers)
    row = census.modules[module]
    return weights != row.params * row.calls * len(row.paths)


@PTFLOPS.cause(
    "ptflops-meta-kernels",
    "On meta many of torch's kernels are written in Python and call functions that ptflops has replaced: what those do "
    "counts too.",
    "ptflops/pytorch_engine.py:342-345 (0.7.5)",
)
def _kernels(census: Census) -> int:
    return sum(_by_function(call) for call in census.calls if call.kernel and call.function in _REPLACED)


@PTFLOPS.cause(
    "ptflops-shared-module",
    "A module that several parents share is summed under each, with all of its calls.",
    "ptflops/pytorch_engine.py:96-103 (0.7.5)",
)
def _shared(census: Census) -> int:
    modules = census.modules
    layers = sum((modules[call.module].visits - 1) * _by_module(call, modules[call.module]) for call in _hooked(census))
    recurrent = sum(
        (modules[row.module].visits - 1) * _recurrent_charge(census, cell, row) for cell, row in _recurrent_rows(census)
    )
    return int(layers + recurrent)


@PTFLOPS.cause(
    "ptflops-complex-as-real",
    "A product of complex numbers counts as one multiply-add; it is four.",
    "ptflops/pytorch_ops.py:35-43,60-92,385-394 (0.7.5), of shapes alone",
)
def _pytorch_complex(census: Census) -> int:
    return sum(real_macs(call) - call.macs for calls in (_hooked(census), _replaced(census)) for call in calls)
