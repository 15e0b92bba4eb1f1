"""torchprofile: handlers over a jit trace."""

from __future__ import annotations

import re
from math import prod

from crosscheck.causes.reading import as_ran, complex_as_real, fused, products, traced
from crosscheck.causes.tool import Sees, Tool
from crosscheck.records import AttentionRow, Census, ModuleRow, OpRow, UnusedRow

TORCHPROFILE = Tool(
    "torchprofile",
    backends=("torchprofile",),
    release="0.1.0",
    installed="crosscheck[counters]",
    sees=Sees.TRACE,
)

#: Functions of torch written in Python: a trace by torch.jit holds what they call.
_PYTHON = frozenset(
    "multi_head_attention_forward local_response_norm lp_pool1d lp_pool2d lp_pool3d gaussian_nll_loss __rdiv__".split()
)
#: Functions that such a trace looks into, as into those: torch records no operator of these names.
_CELLS = frozenset("lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell".split())
_MUL = frozenset("mul mul_ multiply multiply_".split()) | _PYTHON | _CELLS
_MEAN = _PYTHON | frozenset(
    "mean avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d".split()
)
_MEANS = frozenset("mean avg_pool2d avg_pool3d _adaptive_avg_pool2d _adaptive_avg_pool3d".split())
_PRODUCTS = frozenset("linear matmul linalg_matmul __rmatmul__ addmm addmv bmm baddbmm lstm".split()) | _PYTHON | _CELLS


def _outputs(row: OpRow | UnusedRow) -> int:
    return row.count * prod(row.out)


@TORCHPROFILE.cause(
    "torchprofile-elementwise-product",
    "torchprofile counts 1 MAC for each element of an elementwise product: scales, gates, rotary embeddings.",
    "torchprofile/handlers.py:73-74,191-192 (0.1.0)",
)
def _elementwise(census: Census) -> int:
    rows = (row for row in census.ops if row.aten in {"mul", "mul_"} and row.function in _MUL and not _is_dropout(row))
    return sum(_outputs(row) for row in rows if row.out)  # those of no dimensions are among the sizes


def _is_dropout(row: OpRow) -> bool:
    """Of attention weights, which is one operator in the trace; nothing else there is a product of two tensors."""
    return row.function == "multi_head_attention_forward" and len(row.shapes) == 2


@TORCHPROFILE.cause(
    "torchprofile-size-products",
    "While torch.jit traces, sizes are tensors, so a product of two of them is one MAC to torchprofile.",
    "torchprofile/handlers.py:73-74; torchprofile/trace.py:76 (0.1.0)",
)
def _sizes(census: Census) -> int:
    return census.graph.size_products if census.graph else 0


@TORCHPROFILE.cause(
    "torchprofile-norm-1",
    "torchprofile charges layer_norm, group_norm, batch_norm and instance_norm with weights 1 MAC an element; rms_norm "
    "has no handler.",
    "torchprofile/handlers.py:87-94,194-197 (0.1.0)",
)
def _norms(census: Census) -> int:
    return sum(_outputs(row) for row in census.ops if row.op == "norm" and _has_weights(row, census))


def _has_weights(row: OpRow, census: Census) -> bool:
    if row.mapped > 1:
        return False  # torch.vmap calls the operators behind the functions
    if row.function in {"layer_norm", "group_norm"}:
        return len(row.shapes) > 1
    # running statistics are inputs too
    return row.function in {"batch_norm", "instance_norm"} and bool(census.modules[row.module].params)


@TORCHPROFILE.cause(
    "torchprofile-mean",
    "torchprofile charges a mean and average pooling 1 MAC an output element.",
    "torchprofile/handlers.py:97-98,198-204 (0.1.0)",
)
def _means(census: Census) -> int:
    return sum(_outputs(row) for row in census.ops if row.aten in _MEANS and row.function in _MEAN)


@TORCHPROFILE.cause(
    "torchprofile-leaky-relu",
    "torchprofile charges leaky_relu 1 MAC an element.",
    "torchprofile/handlers.py:101-102,205 (0.1.0)",
)
def _leaky_relu(census: Census) -> int:
    return sum(_outputs(row) for row in census.ops if row.aten == row.function == "leaky_relu")


@TORCHPROFILE.cause(
    "torchprofile-resample",
    "torchprofile charges bilinear upsampling 4 MACs an output element, grid sampling 4 (bilinear) or 16 (bicubic).",
    "torchprofile/handlers.py:105-106,147-155 (0.1.0)",
)
def _resample(census: Census) -> int:
    return sum(_samples(row) * _outputs(row) for row in census.ops if row.op == "resample")


#: Of grid sampling, by its interpolation.
_SAMPLES = {0: 4, 1: 0, 2: 16}


def _samples(row: OpRow) -> int:
    if row.aten.startswith("grid_sampler"):
        return _SAMPLES[row.interpolation]
    return 4 if row.aten == "upsample_bilinear2d" else 0


def _is_seen(row: OpRow) -> bool:
    """Whether a product has a handler, whatever it makes of it."""
    if row.op == "conv":
        return row.function not in {"_convolution_mode", "conv_tbc"}
    return row.op == "attention" or traced(row) in _PRODUCTS


@TORCHPROFILE.cause(
    "torchprofile-transposed-conv",
    "torchprofile charges a transposed convolution by its output, so a stride multiplies it, and by all input "
    "channels, so groups do.",
    "torchprofile/handlers.py:77-84 (0.1.0)",
)
def _transposed(census: Census) -> int:
    return sum(_convolution(row) - as_ran(row) for row in census.ops if row.op == "conv" and _is_seen(row))


def _convolution(row: OpRow | UnusedRow) -> int:
    first, second, *kernel = row.shapes[1]
    return _outputs(row) * (second if row.out[1] == first else first) * prod(kernel)


@TORCHPROFILE.cause(
    "torchprofile-einsum",
    "torchprofile charges an einsum the product of all its sizes, also where nothing is summed or one operand only is "
    "there, and for three operands or more as if they were multiplied at once. One with an ellipsis it does not count.",
    "torchprofile/handlers.py:128-144 (0.1.0)",
)
def _einsum(census: Census) -> int:
    charged = sum(row.count * _einsum_charge(row.equation, row.shapes) for row in census.einsums if row.mapped == 1)
    return charged - sum(row.macs for row in products(census) if row.function == "einsum" and row.mapped == 1)


def _einsum_charge(equation: str, shapes: tuple[tuple[int, ...], ...]) -> int:
    if "." in equation:
        return 0
    terms = equation.partition("->")[0].split(",")
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        sizes.update(zip(term, shape, strict=True))
    return prod(sizes.values())


@TORCHPROFILE.cause(
    "torchprofile-lstm-projection",
    "torchprofile takes the width of an LSTM from its last hidden state, which is the projection's where there is one.",
    "torchprofile/handlers.py:109-125 (0.1.0)",
)
def _projection(census: Census) -> int:
    return sum(
        len(module.paths) * sum(_lstm(module, prod(out[:-1])) for out in module.outputs)
        - sum(row.macs for row in products(census) if row.module == i and row.function == "lstm" and not row.direct)
        for i, module in enumerate(census.modules)
        if "weight_hr_l0" in module.parameters
    )


@TORCHPROFILE.cause(
    "torchprofile-packed-sequence",
    "torchprofile multiplies by the first two sizes of what an LSTM returns; of a packed sequence the second is its "
    "width.",
    "torchprofile/handlers.py:117 (0.1.0)",
)
def _packed(census: Census) -> int:
    modules = (module for module in census.modules if module.base == "LSTM" and module.packed_outputs)
    return sum(
        len(module.paths) * (_lstm(module, prod(out)) - _lstm(module, out[0]))
        for module in modules
        for out in module.outputs
        if len(out) == 2
    )


def _lstm(module: ModuleRow, steps: int) -> int:
    """Four gates a layer and direction, of ``width`` each, as it sees it."""
    width, inputs = module.parameters["weight_hh_l0"][1], module.parameters["weight_ih_l0"][1]
    layers = sum(re.fullmatch(r"weight_ih_l\d+", name) is not None for name in module.parameters)
    directions = 2 if "weight_ih_l0_reverse" in module.parameters else 1
    gates = (inputs + width) + (layers - 1) * (width * directions + width)
    return steps * directions * 4 * width * gates


@TORCHPROFILE.cause(
    "torchprofile-attention-without-batch",
    "torchprofile takes the first dimension of a query for the batch; of one of two dimensions that are its tokens.",
    "torchprofile/handlers.py:164-176 (0.1.0)",
)
def _attention(census: Census) -> int:
    rows = (row for row in census.attention if len(row.query) == 2)
    return sum((row.query[0] - 1) * row.macs for row in rows)


@TORCHPROFILE.cause(
    "torchprofile-named-padding",
    'A convolution with padding="same" or "valid" is traced as aten::_convolution_mode, which has no handler.',
    "torchprofile/handlers.py:180-207 (0.1.0, aten::_convolution alone)",
)
def _named_padding(census: Census) -> int:
    return -sum(row.macs for row in census.ops if row.op == "conv" and row.function == "_convolution_mode")


@TORCHPROFILE.cause(
    "torchprofile-no-handler",
    "Products without a handler are not counted, with a warning that it swallows: mm, mv, dot, outer products, "
    "bilinear, GRU.",
    "torchprofile/handlers.py:180-207; torchprofile/profile.py:47-48 (0.1.0)",
)
def _no_handler(census: Census) -> int:
    rows = (row for row in products(census) if row.function not in {"_convolution_mode", "einsum"})
    return -sum(row.macs for row in rows if not _is_seen(row))


@TORCHPROFILE.fails(
    "torchprofile-sparse",
    "torchprofile counts in a trace by torch.jit, where a sparse tensor has no sizes.",
    "torchprofile/ir.py:30; torchprofile/handlers.py:40 (0.1.0)",
    words="object of type 'NoneType' has no len",
)
def _sparse(census: Census) -> bool:
    return any(row.dense_macs and _is_seen(row) for row in census.ops)


@TORCHPROFILE.cause(
    "torchprofile-unused",
    "What reaches no output of the model is not in the trace: the last block's text tokens, attention weights that "
    "nobody asked for.",
    "torchprofile/trace.py:76 (0.1.0); torch/csrc/jit/passes/dead_code_elimination.cpp (2.13.0)",
)
def _unused(census: Census) -> int:
    return -sum(map(_charge, census.graph.unused)) if census.graph else 0


def _charge(row: UnusedRow) -> int:
    """The charge of torchprofile for a product."""
    if row.aten in {"linear", "matmul", "bmm"}:
        return _outputs(row) * row.shapes[0][-1]
    if row.aten in {"addmm", "addmv", "baddbmm"}:
        return _outputs(row) * row.shapes[1][-1]
    if row.aten == "_convolution":
        return _convolution(row)
    if row.aten == "scaled_dot_product_attention":
        return _outputs(row) // row.out[-1] * row.shapes[1][-2] * (row.shapes[0][-1] + row.shapes[2][-1])
    if row.aten == "einsum":
        return row.count * _einsum_charge(row.equation, row.shapes)
    if row.aten == "lstm":
        (*_, inputs), (states, *_, width) = row.shapes
        directions = row.out[-1] // width
        gates = inputs + width + (states // directions - 1) * (directions + 1) * width
        return row.count * prod(row.out[:2]) * directions * 4 * width * gates
    if row.aten == "grid_sampler":
        return _SAMPLES[row.interpolation] * _outputs(row)
    each = {"mm": 0, "upsample_nearest2d": 0, "upsample_bilinear2d": 4, "batch_norm": len(row.shapes) == 5}
    if row.aten in {"layer_norm", "group_norm", "instance_norm"}:
        return _outputs(row) * (len(row.shapes) > 1)
    if row.aten.startswith("mul") and not row.out:
        return 0  # of sizes
    return _outputs(row) * each.get(row.aten, 1)


@TORCHPROFILE.cause(
    "torchprofile-complex-as-real",
    "A product of complex numbers counts as one multiply-add; it is four.",
    "torchprofile/handlers.py:10-84 (0.1.0), of shapes alone",
)
def _complex(census: Census) -> int:
    return complex_as_real(census, _is_seen)


def _heads_differ(row: AttentionRow) -> bool:
    sizes = {(shape[0], prod(shape[1:-2])) for shape in (row.query, row.key, row.value)}
    return len(sizes) > 1


@TORCHPROFILE.fails(
    "torchprofile-unequal-heads",
    "torchprofile asserts that query, key and value have the same batch and heads: no grouped queries.",
    "torchprofile/handlers.py:171-173 (0.1.0)",
    words="AssertionError",
)
def _unequal_heads(census: Census) -> bool:
    return any(map(_heads_differ, census.attention))


def _is_broadcast(row: OpRow) -> bool:
    return row.aten == "baddbmm" and (len(row.shapes[0]) != 3 or row.shapes[0][1:] != row.out[1:])


@TORCHPROFILE.fails(
    "torchprofile-baddbmm-broadcast",
    "torchprofile asserts that what baddbmm adds has the shape of the product.",
    "torchprofile/handlers.py:30-36 (0.1.0)",
    words="AssertionError|ValueError: not enough values to unpack",
)
def _baddbmm_broadcast(census: Census) -> bool:
    return any(map(_is_broadcast, census.ops))


@TORCHPROFILE.fails(
    "torchprofile-bool-number",
    "torchprofile counts in a trace by torch.jit, which knows no operator that takes a Python bool for a "
    "number: masked_fill(mask, False) where 0 would do.",
    "torch/csrc/jit/ir/alias_analysis.cpp:623 (2.13.0)",
    words=r"We don't have an op for aten::\w+",
)
def _bool_number(census: Census) -> bool:
    return bool(census.bool_numbers)


@TORCHPROFILE.fails(
    "torchprofile-complex-convolution",
    "Torch makes a complex convolution of three real ones and a complex number, which torchprofile can't read.",
    "torchprofile/trace.py:98 (0.1.0)",
    words="'torch._C.Node' object has no attribute 'cs'",
)
def _complex_convolution(census: Census) -> bool:
    return any(row.complex_part for row in census.ops)


@TORCHPROFILE.fails(
    "torchprofile-native-layer",
    "In evaluation and without gradients torch runs nn.MultiheadAttention on a CPU as one kernel, whose "
    "second result is no tensor; torchprofile takes it for one.",
    "torchprofile/ir.py:25 (0.1.0); torch/nn/modules/activation.py:1433",
    words="'NoneType' object has no attribute 'lower'",
)
def _native_layer(census: Census) -> bool:
    return _runs_natively("MultiheadAttention", census) and not _runs_natively("TransformerEncoderLayer", census)


def _runs_natively(layer: str, census: Census) -> bool:
    return any(census.modules[i].base == layer for i in fused(census))
