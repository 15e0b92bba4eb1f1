"""A census, read: what causes ask of it, whichever tool they are about."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from math import prod
from typing import Any

from msgspec import structs

from crosscheck.records import HEADLINE, CallRow, Census, ModuleRow, OpRow, Shape


def evaluated(census: Census) -> Census:
    """The census of evaluation."""
    if census.evaluated is None:
        return census
    return structs.replace(census.evaluated, exported=census.exported)  # torch.onnx exports what it has put there


def fused(census: Census, *layers: str) -> frozenset[int]:
    """Indices of the modules that torch runs as one kernel, of those that are ``layers``: () for any.

    That is in evaluation and without gradients.
    """
    if not any(module.native for module in census.modules):
        return frozenset()
    recording = {row.module for row in census.ops if row.grad}
    return frozenset(
        i
        for i, module in enumerate(census.modules)
        if module.native and not module.training and i not in recording and (not layers or module.base in layers)
    )


def without_padding(census: Census) -> dict[int, Fraction]:
    """The modules that see no padding, which torch leaves out without gradients, and what part of the tokens they do.

    To be asked of tools that count in evaluation.
    """
    seen = {i: Fraction(*module.tokens) for i, module in enumerate(census.modules) if module.tokens}
    return {} if any(row.grad and row.module in seen for row in census.ops) else seen


def products(census: Census) -> Iterator[OpRow]:
    """The rows that have MACs."""
    return (row for row in census.ops if row.op in HEADLINE and row.macs)


def traced(row: OpRow) -> str:
    """The name of an operator in a trace by torch.jit: the function it came from, or its own if autograd called it."""
    return row.aten if row.function in {"", "grad", "backward"} else row.function


def elements(row: OpRow) -> int:
    """Elements of the first input, over all of the row's operations."""
    return row.count * prod(row.shapes[0])


def is_complex(row: OpRow) -> bool:
    """Whether numbers are pairs: four MACs for each."""
    return row.dtype.startswith("complex")


def as_real(row: OpRow) -> int:
    """MACs of a product where one of complex numbers, which is four of real ones, counts as one."""
    if row.complex_part:
        return row.macs // 2 if row.complex_part == 3 else 0
    return row.macs // 4 if is_complex(row) else row.macs


def as_ran(row: OpRow) -> int:
    """The same where what counts is an operator that ran: three for a complex convolution."""
    return row.macs // 2 if row.complex_part == 3 else row.macs // 4 if is_complex(row) else row.macs


def sparse_as_dense(census: Census, sees: Callable[[OpRow], bool]) -> int:
    """MACs that are too many where products of sparse tensors are counted as if those were dense."""
    return sum(row.dense_macs - row.macs for row in census.ops if row.dense_macs and sees(row))


def complex_as_real(census: Census, sees: Callable[[OpRow], bool], counted: Callable[[OpRow], int] = as_ran) -> int:
    """MACs missing where products of complex numbers count as less than four, of those that a tool sees."""
    return -sum(row.macs - counted(row) for row in products(census) if sees(row))


def attention_macs(census: Census) -> int:
    """MACs of every scaled_dot_product_attention."""
    return sum(row.macs for row in census.ops if row.op == "attention")


def has_compiled(census: Census) -> bool:
    """Whether torch.compile made a part of the model."""
    return any(module.class_name == "torch._dynamo.eval_frame.OptimizedModule" for module in census.modules)


def has_scripted(census: Census) -> bool:
    """Whether torch.jit.script made a part of the model."""
    return any(module.class_name == "torch.jit._script.RecursiveScriptModule" for module in census.modules)


def has_lazy(census: Census) -> bool:
    """Whether a part had no sizes before its first forward."""
    return any(".Lazy" in module.class_name for module in census.modules)


#: Gates of torch's recurrent layers and cells.
GATES = {"RNN": 1, "RNNCell": 1, "GRU": 3, "GRUCell": 3, "LSTM": 4, "LSTMCell": 4}


def gate_charges(row: OpRow, module: ModuleRow) -> Fraction:
    """Charges of thop and its fork on top of the products of a recurrent layer: biases, gates and states.

    For each element of a state, (7, 13) in GRU is 7 without and 13 with biases; (1, 3) in RNN, (8, 16) in LSTM. A state
    comes from two products, each of which gets half of it.
    """
    if row.op != "linear" or projects_state(row, module):
        return Fraction(0)
    gates = GATES[module.base]
    own, biases = {1: (1, 2), 3: (7, 6), 4: (8, 8)}[gates]
    if row.aten == "mkldnn_rnn_layer":
        states, biased = prod(row.shapes[0][:-1]) * row.shapes[2][1], any(len(shape) == 1 for shape in row.shapes)
        return Fraction(row.count * states * (own + biases * biased))
    return Fraction(row.count * prod(row.out) * (own + biases * (row.aten == "addmm")), 2 * gates)


def without_batch(module: ModuleRow) -> int:
    """Times that thop and ptflops count a step of a recurrent layer whose input has no batch: its width."""
    widths = [shape[1] for name, shape in module.parameters.items() if name == "weight_ih_l0"]
    unbatched = not module.packed_outputs and any(len(shape) == 2 for shape in module.outputs)
    return widths[0] if widths and unbatched else 1


def projects_state(row: OpRow, module: ModuleRow) -> bool:
    """Whether a product is the one by which an LSTM makes its hidden state smaller than its cell's."""
    wide = module.parameters.get("weight_hr_l0", (0, 0))[1]
    return row.op == "linear" and bool(wide) and row.out[-1] < wide


def by_name(module: ModuleRow, names: str) -> bool:
    """Whether a module of exactly one of torch's classes ``names`` was called without an input by position."""
    return 0 in module.positional_counts and is_one_of(module, names)


def is_one_of(row: ModuleRow, names: str) -> bool:
    """Whether a module is exactly one of torch's own classes ``names``."""
    package, _, name = row.class_name.rpartition(".")
    return package.startswith("torch.nn.modules.") and name in names.split()


def summed(census: Census, share: Callable[[OpRow, ModuleRow], int | Fraction]) -> int:
    """``share`` of each row of operations and the modules it ran in; parts make a whole."""
    return int(sum(share(row, census.modules[row.module]) for row in census.ops))


def einsum(equation: str, shapes: Sequence[tuple[int, ...]]) -> tuple[list[str], str, dict[str, int]]:
    """The terms of its operands, its output, and the size of each index; ``...`` is spelled out in capitals."""
    inputs, arrow, output = equation.partition("->")
    terms = inputs.split(",")
    if "..." in equation:
        terms, output = _without_ellipsis(terms, output, shapes)
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        for letter, size in zip(term, shape, strict=True):
            sizes[letter] = max(sizes.get(letter, 1), size)
    if not arrow:
        letters = "".join(terms)
        output = "".join(letter for letter in sizes if letters.count(letter) == 1)
    return terms, output, sizes


def _without_ellipsis(terms: Sequence[str], output: str, shapes: Sequence[tuple[int, ...]]) -> tuple[list[str], str]:
    """With a capital letter for each dimension that ``...`` stands for, the last ones in common."""
    hidden = [len(shape) - len(term.replace("...", "")) for term, shape in zip(terms, shapes, strict=True)]
    free = [letter for letter in "ZYXWVUTSRQPONMLKJIHGFEDCBA" if letter not in "".join(terms)][: max(hidden)]
    named = ["".join(free[len(free) - count :]) for count in hidden]
    expanded = [term.replace("...", name) for term, name in zip(terms, named, strict=True)]
    return expanded, output.replace("...", "".join(free))


# -- calls of functions ------------------------------------------------------------------------------------------------

TENSOR = "T"


def argument(call: CallRow, position: int, name: str, default: Any = None) -> Any:
    """The argument given for a parameter: a plain value, `TENSOR`, or the name of another type."""
    positional, named = given(call)
    word = positional[position] if position < len(positional) else named.get(name)
    if word is None:
        return default
    try:
        return ast.literal_eval(word)
    except (ValueError, SyntaxError):  # a name: T, or that of a type
        return word


def given(call: CallRow) -> tuple[list[str], dict[str, str]]:
    """A call's arguments in words: those by position, those by name."""
    named = [word for word in call.arguments if re.match(r"\w+=", word)]
    return list(call.arguments[: len(call.arguments) - len(named)]), dict(word.split("=", 1) for word in named)


def tensor(call: CallRow, position: int, name: str) -> Shape:
    """The shape of the tensor given for a parameter."""
    positional, named = given(call)
    words = [*positional, *named.values()]
    at = position
    if position >= len(positional) and name in named:
        at = len(positional) + list(named).index(name)
    return call.shapes[sum(word == TENSOR for word in words[:at])]


def real_macs(call: CallRow) -> int:
    """MACs of a call's row, were its numbers real."""
    return call.macs // 4 if call.is_complex else call.macs
