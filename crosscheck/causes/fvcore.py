"""fvcore: handles over a jit trace."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from math import prod

from crosscheck.causes.reading import (
    TENSOR,
    complex_as_real,
    einsum,
    elements,
    given,
    products,
    real_macs,
    summed,
    tensor,
    traced,
)
from crosscheck.causes.tool import Sees, Tool
from crosscheck.records import CallRow, Census, ModuleRow, OpRow, UnusedRow

FVCORE = Tool(
    "fvcore",
    backends=("fvcore", "fvcore-plain", "fvcore-meta"),
    release="0.1.5.post20221221",
    installed="crosscheck",
    sees=Sees.TRACE,
    on_meta_alone=("fvcore-meta",),
    misses_attention=("fvcore-plain", "fvcore-meta"),
)


def _fvcore_norms(census: Census, function: str) -> int:
    """5 an element with weights, 4 without; the weight is an input of the operator.

    Inside of torch.vmap the trace holds what its rules call: the operators behind the functions, which have no handle.
    """
    rows = (row for row in census.ops if row.op == "norm" and row.function == function and row.mapped == 1)
    return sum((5 if len(row.shapes) > 1 else 4) * elements(row) for row in rows)


@FVCORE.cause(
    "fvcore-layernorm-5",
    "fvcore charges layer_norm 5 an element with weights, 4 without: operations, not multiply-adds.",
    "fvcore/nn/flop_count.py:38; fvcore/nn/jit_handles.py:230-248",
)
def _fvcore_layernorm(census: Census) -> int:
    return _fvcore_norms(census, "layer_norm")


@FVCORE.cause(
    "fvcore-groupnorm-5",
    "fvcore charges group_norm 5 an element with weights, 4 without: operations, not multiply-adds.",
    "fvcore/nn/flop_count.py:37; fvcore/nn/jit_handles.py:230-248",
)
def _fvcore_groupnorm(census: Census) -> int:
    return _fvcore_norms(census, "group_norm")


@FVCORE.cause(
    "fvcore-batchnorm",
    "fvcore charges batch_norm 2 an element in evaluation (1 without weights) and 5 in training (4), instance_norm as "
    "in training.",
    "fvcore/nn/flop_count.py:36,39; fvcore/nn/jit_handles.py:251-258",
)
def _fvcore_batchnorm(census: Census) -> int:
    def charge(row: OpRow, module: ModuleRow) -> int:
        if row.op != "norm" or row.function not in {"batch_norm", "instance_norm"} or row.mapped > 1:
            return 0
        affine = bool(module.params)
        statistics = len(row.shapes) == (5 if affine else 3)  # running mean and variance, used in evaluation
        training = module.training or row.function == "instance_norm" or not statistics
        return ((4 if training else 1) + affine) * elements(row)

    return summed(census, charge)


@FVCORE.cause(
    "fvcore-upsample",
    "fvcore charges nearest upsampling 1, bilinear upsampling and grid sampling 4 for each output element.",
    "fvcore/nn/flop_count.py:40-41,43",
)
def _fvcore_upsample(census: Census) -> int:
    each = {"upsample_nearest2d": 1, "upsample_bilinear2d": 4, "grid_sampler_2d": 4, "grid_sampler_3d": 4}
    return sum(each.get(row.aten, 0) * row.count * prod(row.out) for row in census.ops)


@FVCORE.cause(
    "fvcore-adaptive-avgpool",
    "fvcore charges adaptive average pooling 1 for each input element.",
    "fvcore/nn/flop_count.py:42",
)
def _fvcore_adaptive_avgpool(census: Census) -> int:
    return sum(
        elements(row)
        for row in census.ops
        if row.function == "adaptive_avg_pool2d" and (row.op == "resample" or row.aten == "mean")
    )


@FVCORE.cause(
    "fvcore-einsum",
    "fvcore takes half of the operations that numpy.einsum_path prints, which are one too many and rounded to four "
    "digits, in an order of contraction that numpy chooses; an einsum that multiplies nothing costs half an operation "
    "an element.",
    'fvcore/nn/jit_handles.py:174-214 (einsum_flop_jit); numpy/_core/einsumfunc.py (einsum_path: opt_cost, "%.3e")',
)
def _fvcore_einsum(census: Census) -> int:
    charged = sum(row.count * _einsum_charge(row.equation, row.shapes) for row in census.einsums if row.mapped == 1)
    return charged - sum(row.macs for row in census.ops if row.function == "einsum" and row.mapped == 1)


def _einsum_charge(equation: str, shapes: Sequence[tuple[int, ...]]) -> int:
    """The charge of einsum_flop_jit."""
    terms, output, sizes = einsum(equation, shapes)
    if _renamed(terms, output) in ("abc,abd->acd", "abc,adc->adb"):
        return prod(sizes.values())
    return int(float(f"{_operations(terms, output, sizes) + 1:.3e}") / 2)


def _operations(terms: Sequence[str], output: str, sizes: Mapping[str, int]) -> int:
    """Operations of the cheapest order in which pairs are contracted; numpy takes one or two operands at once.

    Of a contraction: the product of all its sizes, once for each operand but the first, once more where an index is
    summed over. An order with an intermediate larger than every operand and the output is not looked at.
    """
    result = frozenset(output)

    def contracted(parts: list[frozenset[str]], which: Sequence[int]) -> tuple[int, list[frozenset[str]]]:
        indices = frozenset[str]().union(*(parts[i] for i in which))
        others = [part for i, part in enumerate(parts) if i not in which]
        remaining = indices & result.union(*others)
        factor = max(1, len(which) - 1) + (remaining != indices)
        return factor * prod(sizes[letter] for letter in indices), [*others, remaining]

    operands = [frozenset(term) for term in terms]
    if len(operands) < 3 or frozenset[str]().union(*operands) == result:
        return contracted(operands, range(len(operands)))[0]
    largest = max(prod(sizes[letter] for letter in term) for term in (*terms, output))
    orders = [(0, operands)]
    for left in range(len(operands), 1, -1):
        longer = [
            (spent + cost, parts)
            for spent, before in orders
            for cost, parts in (contracted(before, pair) for pair in combinations(range(left), 2))
            if prod(sizes[letter] for letter in parts[-1]) <= largest
        ]
        if not longer:
            spent, parts = min(orders, key=lambda order: order[0])
            return spent + contracted(parts, range(left))[0]
        orders = longer
    return min(spent for spent, _ in orders)


def _renamed(terms: Sequence[str], output: str) -> str:
    """The equation with its letters in order of appearance."""
    equation = f"{','.join(terms)}->{output}"
    letters = dict.fromkeys(letter for letter in equation if letter.isalpha())
    names = dict(zip(letters, "abcdefghijklmnopqrstuvwxyz", strict=False))
    return "".join(names.get(letter, letter) for letter in equation)


_FVCORE_HANDLED = frozenset(
    "linear matmul __matmul__ __rmatmul__ linalg_matmul mm bmm addmm einsum lstm_cell gru_cell rnn_tanh_cell "
    "rnn_relu_cell".split()
)


def _fvcore_sees(row: OpRow) -> bool:
    if row.op == "conv":
        return row.function != "conv_tbc"
    if row.function == "multi_head_attention_forward":
        return row.aten in {"addmm", "mm", "bmm", "linear"}  # the last in inference mode
    return traced(row) in _FVCORE_HANDLED


@FVCORE.cause(
    "fvcore-named-padding",
    'A convolution with padding="same" or "valid" is traced as aten::_convolution_mode, which has no handle.',
    "fvcore/nn/flop_count.py:29 (aten::_convolution alone)",
)
def _fvcore_named_padding(census: Census) -> int:
    return -sum(row.macs for row in census.ops if row.op == "conv" and row.function == "_convolution_mode")


@FVCORE.cause(
    "fvcore-meta-no-convolution",
    "On meta a convolution is a Python function to the tracer, so the trace holds its shape arithmetic and no "
    "convolution: none is counted, silently.",
    "torch/_meta_registrations.py, meta_conv; pytorch #189298",
    variants=("fvcore-meta",),
    seen_in=("torch<2.5",),
)
def _fvcore_meta(census: Census) -> int:
    return -sum(row.macs for row in _convolutions(census))


def _convolutions(census: Census) -> Iterator[OpRow]:
    """Convolutions but those with named padding, which have a cause of their own."""
    return (row for row in census.ops if row.op == "conv" and row.function not in {"_convolution_mode", "conv_tbc"})


@FVCORE.cause(
    "fvcore-no-handle",
    "Products without a handle are not counted: baddbmm, dot, bilinear, the layers of LSTM and GRU.",
    "fvcore/nn/flop_count.py:26-44; listed by unsupported_ops()",
)
def _fvcore_no_handle(census: Census) -> int:
    return -sum(row.macs for row in products(census) if row.op != "attention" and not _fvcore_sees(row))


@FVCORE.cause(
    "fvcore-linear-vector",
    "fvcore multiplies the elements of a linear layer's input by the first size of its weight: too much where the "
    "weight is a vector.",
    "fvcore/nn/jit_handles.py:109",
)
def _fvcore_linear(census: Census) -> int:
    calls = [call for call in census.calls if call.function == "F.linear" and not call.kernel and call.mapped == 1]
    charged = ((call, prod(tensor(call, 0, "input")) * tensor(call, 1, "weight")[0]) for call in calls)
    return sum(call.count * charge - real_macs(call) for call, charge in charged if len(tensor(call, 1, "weight")) == 1)


_MATMUL = frozenset("torch.matmul Tensor.matmul Tensor.__matmul__".split())


@FVCORE.cause(
    "fvcore-matmul",
    "fvcore multiplies the elements of a matmul's first operand by the last size of the second: too little where the "
    "first is broadcast.",
    "fvcore/nn/jit_handles.py:226",
)
def _fvcore_matmul(census: Census) -> int:
    return sum(
        call.count * prod(tensor(call, 0, "input")) * tensor(call, 1, "other")[-1] - real_macs(call)
        for call in _matmuls(census)
    )


def _matmuls(census: Census) -> Iterator[CallRow]:
    """Those of the model's own whose operands the trace has as they were given: torch.vmap adds a dimension."""
    return (call for call in census.calls if call.function in _MATMUL and not call.kernel and call.mapped == 1)


@FVCORE.cause(
    "fvcore-unused",
    "What reaches no output of the model is not in the trace: products, norms and resampling whose result nobody uses.",
    "fvcore/nn/jit_analysis.py:203 (_get_trace_graph); torch/csrc/jit/passes/dead_code_elimination.cpp (2.13.0)",
)
def _fvcore_unused(census: Census) -> int:
    return -sum(map(_unused_charge, census.graph.unused)) if census.graph else 0


def _unused_charge(row: UnusedRow) -> int:
    """The charge of fvcore for a row."""
    each, first = row.count * prod(row.out), row.count * prod(row.shapes[0])
    if row.aten == "_convolution":
        transposed = row.out[1] != row.shapes[1][0]
        return (first if transposed else each) * prod(row.shapes[1][1:])
    if row.aten == "linear":
        return first * row.shapes[1][0]
    if row.aten in {"matmul", "mm", "bmm"}:
        return first * row.shapes[1][-1]
    if row.aten == "addmm":
        return row.count * prod(row.shapes[1]) * row.shapes[2][-1]
    if row.aten == "einsum":
        return row.count * _einsum_charge(row.equation, row.shapes)
    if row.aten in {"layer_norm", "group_norm"}:
        return (5 if len(row.shapes) > 1 else 4) * first
    if row.aten == "batch_norm":
        return {1: 4, 3: 1 if row.shapes[1] == row.shapes[2] else 5, 5: 2}[len(row.shapes)] * first
    resampled = {"upsample_nearest2d": 1, "upsample_bilinear2d": 4, "grid_sampler": 4}
    return first if row.aten == "adaptive_avg_pool2d" else resampled.get(row.aten, 0) * each


@FVCORE.cause(
    "fvcore-unused-attention",
    "Attention that reaches no output of the model is not in the trace.",
    "fvcore/nn/jit_analysis.py:203 (_get_trace_graph); torch/csrc/jit/passes/dead_code_elimination.cpp (2.13.0)",
    variants=("fvcore",),
)
def _fvcore_unused_attention(census: Census) -> int:
    rows = census.graph.unused if census.graph else ()
    return -sum(
        row.count * prod(row.out[:-1]) * row.shapes[1][-2] * (row.shapes[0][-1] + row.shapes[2][-1])
        for row in rows
        if row.aten == "scaled_dot_product_attention"
    )


@FVCORE.cause(
    "fvcore-complex-as-real",
    "A product of complex numbers counts as one multiply-add; it is four. For a convolution torch runs three.",
    "fvcore/nn/jit_handles.py:82-124 (shapes alone); aten/src/ATen/native/Convolution.cpp, complex_convolution",
)
def _fvcore_complex(census: Census) -> int:
    return complex_as_real(census, lambda row: _fvcore_sees(row) and row.function != "_convolution_mode")


@FVCORE.fails(
    "fvcore-matmul-vector",
    "fvcore asks a matmul's second operand for its last size but one, and a vector has none.",
    "fvcore/nn/jit_handles.py:225",
    words="^IndexError: list index out of range",
)
def _matmul_vector(census: Census) -> bool:
    return any(len(tensor(call, 1, "other")) == 1 for call in _matmuls(census))


@FVCORE.fails(
    "fvcore-sparse",
    "fvcore counts in a trace by torch.jit, where a sparse tensor has no sizes.",
    "fvcore/nn/jit_handles.py:33-36 (get_shape), 225",
    words="'NoneType' object is not subscriptable",
)
def _sparse(census: Census) -> bool:
    return any(row.dense_macs and _fvcore_sees(row) for row in census.ops)


@FVCORE.fails(
    "fvcore-out",
    "fvcore takes all inputs of matmul, mm and bmm for operands; with out= there is one more.",
    "fvcore/nn/jit_handles.py:119,223-224",
    words=r"^AssertionError: (3|\[\[)",
)
def _out(census: Census) -> bool:
    return any(
        call.function in {"torch.matmul", "torch.mm", "torch.bmm"} and given(call)[1].get("out") == TENSOR
        for call in census.calls
    )


@FVCORE.fails(
    "fvcore-bool-number",
    "fvcore counts in a trace by torch.jit, which knows no operator that takes a Python bool for a "
    "number: masked_fill(mask, False) where 0 would do.",
    "torch/csrc/jit/ir/alias_analysis.cpp:623 (2.13.0)",
    words=r"We don't have an op for aten::\w+",
)
def _bool_number(census: Census) -> bool:
    return bool(census.bool_numbers)


@FVCORE.fails(
    "fvcore-meta-assertion",
    "While torch traces, sizes are tensors; the meta kernel of a convolution in two dimensions or more "
    "asserts on them.",
    "torch 2.6.0 torch/_meta_registrations.py, calc_conv_nd_return_shape; pytorch #189298",
    words=r"AssertionError: tensor\(False\)",
    variants=("fvcore-meta",),
    only_in="torch>=2.5,<2.9",
)
def _meta_assertion(census: Census) -> bool:
    return any(len(row.out) > 3 for row in _convolutions(census))


@FVCORE.fails(
    "fvcore-meta-tensor-condition",
    "While torch traces, sizes are tensors; the meta kernel of a convolution checks them with a "
    "condition that has to be a bool.",
    "torch/_meta_registrations.py, calc_conv_nd_return_shape; torch/__init__.py, _check_with; pytorch #189298",
    words="TypeError: cond must be a bool",
    variants=("fvcore-meta",),
    only_in="torch>=2.9",
)
def _meta_tensor_condition(census: Census) -> bool:
    return any(True for _ in _convolutions(census))
