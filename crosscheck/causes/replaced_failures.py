"""Failures that several of the counters that replace torch's functions share."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

from crosscheck.causes.reading import TENSOR, argument, by_name, given, has_lazy, has_scripted, is_one_of, tensor
from crosscheck.causes.replaced import CONVS, Counter, is_root, refusal
from crosscheck.records import CallRow, Census, ModuleRow

_POOLS = [f"F.{kind}_pool{n}d" for kind in "avg max adaptive_avg adaptive_max".split() for n in (1, 2, 3)]
_RECURRENT = "RNN GRU LSTM RNNCell GRUCell LSTMCell"
RESIZING = "F.interpolate F.upsample"


def any_call(census: Census, names: str, holds: Callable[[CallRow], bool]) -> bool:
    """Whether something holds for a call of one of the functions ``names``."""
    return any(call.function in names.split() and holds(call) for call in census.calls)


@refusal(
    "TOOL counts the parameters before the first forward, when those of a lazy module have no size.",
    "Attempted to use an uninitialized parameter",
)
def lazy(census: Census, counter: Counter) -> bool:
    return has_lazy(census)


@refusal("TOOL registers hooks in every module, and a scripted one takes none.", "is not supported on ScriptModules")
def scripted(census: Census, counter: Counter) -> bool:
    return has_scripted(census)


@refusal("TOOL asks the first parameter for its device, and a module without parameters has none.", "^StopIteration")
def no_parameters(census: Census, counter: Counter) -> bool:
    return not any(module.params for module in census.modules)


@refusal(
    "TOOL takes the second size of a convolution's input for its channels, which without a batch are the first.",
    "^AssertionError",
)
def unbatched_convolution(census: Census, counter: Counter) -> bool:
    return any_call(census, CONVS, _is_unbatched)


def _is_unbatched(call: CallRow) -> bool:
    x, weight = tensor(call, 0, "input"), tensor(call, 1, "weight")
    return len(x) < len(weight) and weight[1] * argument(call, 6, "groups", 1) != x[1]


@refusal(
    "TOOL takes a stride, padding or dilation that is no tuple for one number: a list is none.",
    "^TypeError: (unsupported operand type|can't multiply|can only concatenate)",
)
def convolution_lists(census: Census, counter: Counter) -> bool:
    places = ((3, "stride"), (4, "padding"), (5, "dilation"))
    return any_call(census, CONVS, lambda call: any(isinstance(argument(call, *place), list) for place in places))


_SCALE_FACTORS = (
    "TOOL compares the number of scale factors with the batch; where it is another, it takes them for one number.",
    r"^TypeError: unsupported operand type\(s\) for \*\* or pow\(\): '(tuple|list)'",
)


@refusal(*_SCALE_FACTORS)
def scale_factors(census: Census, counter: Counter) -> bool:
    return any_call(census, RESIZING, _takes_several_for_one)


@refusal(*_SCALE_FACTORS)
def scale_factors_by_name(census: Census, counter: Counter) -> bool:
    """Where they are given by position, another failure comes before."""
    return any_call(census, RESIZING, lambda call: len(given(call)[0]) == 1 and _takes_several_for_one(call))


def _takes_several_for_one(call: CallRow) -> bool:
    scale = _scale(call)
    return isinstance(scale, list) or (isinstance(scale, tuple) and len(scale) != tensor(call, 0, "input")[0])


def _scale(call: CallRow) -> Any:
    """The scale factor that counts: where a size is given, none does."""
    return None if argument(call, 1, "size") is not None else argument(call, 2, "scale_factor")


@refusal(
    "TOOL takes what follows the equation of an einsum for its operands, where it may be a list of them.",
    "^AttributeError: '(list|tuple)' object has no attribute 'shape'",
)
def einsum_list(census: Census, counter: Counter) -> bool:
    return any_call(census, "torch.einsum", lambda call: any(word in ("list", "tuple") for word in call.arguments))


@refusal(
    "TOOL takes the first argument of an einsum for its equation, where it may be an operand and lists follow each.",
    "^AttributeError: 'Tensor' object has no attribute 'replace'",
)
def einsum_sublists(census: Census, counter: Counter) -> bool:
    return any_call(census, "torch.einsum", lambda call: call.arguments[0] == TENSOR)


#: Signatures of the functions that work FLOPs out, where they take less than torch's own.
_SIGNATURES: dict[str, Callable[..., None]] = {
    "F.gelu": lambda input, **kwargs: None,
    **dict.fromkeys(_POOLS, lambda input, kernel_size, stride=None, padding=0, dilation=None, ceil_mode=False,
                            count_include_pad=True, divisor_override=None, return_indices=None: None),
    **dict.fromkeys(("torch.mm", "torch.bmm"), lambda input, other, *, out=None: None),
    "torch.baddbmm": lambda self, mat1, mat2, *, beta=1, alpha=1, out=None: None,
}  # fmt: skip


@refusal(
    "The functions of TOOL take fewer arguments than torch's, or by other names: gelu's approximation by position, "
    "the output size of a pool by name, the operands of mm, bmm and baddbmm by name.",
    r"^TypeError: _\w+_flops_compute\(\) (missing|takes|got)",
)
def arguments(census: Census, counter: Counter) -> bool:
    return any(
        _unbound(call, _SIGNATURES[call.function])
        for call in census.calls
        if call.function in _SIGNATURES and (call.function.startswith("F.") or call.function in counter.counted)
    )


def _unbound(call: CallRow, signature: Callable[..., None]) -> bool:
    positional, named = given(call)
    try:
        inspect.signature(signature).bind(*positional, **named)
    except TypeError:
        return True
    return False


@refusal("TOOL takes the input of an interpolation by position alone.", "^IndexError: tuple index out of range")
def interpolate_by_name(census: Census, counter: Counter) -> bool:
    return any_call(census, RESIZING, lambda call: not given(call)[0])


@refusal(
    "TOOL has hooks for recurrent layers, which take the input by position, and hooks are given none by name.",
    "^IndexError: tuple index out of range",
)
def recurrent_by_name(census: Census, counter: Counter) -> bool:
    return any(by_name(module, _RECURRENT) for module in _hooked(census, counter))


@refusal(
    "TOOL asks the input of a recurrent layer for its shape, and a packed sequence has none.",
    "^AttributeError: 'PackedSequence' object has no attribute 'shape'",
)
def packed_sequence(census: Census, counter: Counter) -> bool:
    return any(module.packed_outputs and is_one_of(module, _RECURRENT) for module in _hooked(census, counter))


def _hooked(census: Census, counter: Counter) -> Iterator[ModuleRow]:
    """Modules whose own hooks run."""
    return (module for module in census.modules if counter.root or not is_root(module))
