"""Values inside a forward on meta: integers and booleans are real, floating tensors are hollow.

Masks, lengths and indices steer what a model runs, and cost nothing to compute; what floats hold changes no count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from crosscheck.errors import UncountedError
from crosscheck.tracing import replaced_functions
from crosscheck.tracing.patching import replaced
from crosscheck.tracing.tensor_trees import map_tensors

#: Functions that hand a tensor's values to Python.
_READS = frozenset({"item", "tolist", "numpy", "__int__", "__float__", "__index__", "__array__"})
#: Functions whose result holds the same values whatever the tensor they take shape and device from.
_CONSTANTS = frozenset("new_zeros new_ones new_full new_tensor zeros_like ones_like full_like".split())
_COMPARISONS = frozenset(
    "eq ne gt ge lt le __eq__ __ne__ __gt__ __ge__ __lt__ __le__ isnan isinf equal bool int long".split()
)
#: Functions whose result holds nothing but values of what goes in.
_PASSES = frozenset("cat unsqueeze squeeze view reshape flatten expand repeat __getitem__".split())
_FILLS = {torch.zeros: 0, torch.ones: 1, torch.full: None}
_FILLED = {"new_zeros": 0, "zeros_like": 0, "new_ones": 1, "ones_like": 1}
#: The attribute in which a tensor on meta keeps the real one that it stands for.
REAL = "_crosscheck_real"
#: Functions that choose by floating values: what they choose among zeros is real.
_CHOICES = frozenset("topk sort argsort argmax argmin max min".split())


class RealIntegers(TorchFunctionMode):
    """Keeps integers real and floats on meta, whatever devices a forward names; operations on both go to meta.

    A floating value that is read is answered with 0, and an order of floating values is that of zeros: both are kept in
    ``read``. A comparison of the forward's own inputs has their real result; they are kept in ``compared``. Any other
    branch that depends on a floating value is not answered: torch raises.
    """

    def __init__(self) -> None:
        super().__init__()
        self.read: list[torch.Tensor] = []
        self.compared: list[torch.Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        func = replaced_functions.original(func)
        name = getattr(func, "__name__", "")
        given = list(_tensors((*args, *kwargs.values())))
        if name in {"__get__", "__set__"}:
            return func(*args, **kwargs)
        if not any(tensor.is_meta for tensor in given):
            return self._real(func, args, kwargs)
        if _decides(name, args, kwargs) and all(not tensor.is_meta or _has_values(tensor) for tensor in given):
            self.compared += (source for tensor in given for source in _sources(tensor))
            return func(*_placed(_mapped(_real, args), "cpu"), **_placed(_mapped(_real, kwargs), "cpu"))
        subject = given[0]
        if name in _READS and subject.is_meta and subject.is_floating_point():
            self.read.append(subject)
            return _unknown(func(*_zeros(args), **_zeros(kwargs)))
        if name in {"cpu", "cuda"}:
            return subject
        if name in _CHOICES and subject.is_floating_point():
            return self._chosen(func, args, kwargs, subject)
        if name == "masked_select":
            return subject.new_empty(int(args[1].expand(subject.shape).sum()))
        return self._hollow(func, name, args, kwargs, given)

    def _real(self, func: Any, args: Any, kwargs: Any) -> Any:
        """No floating tensor of the forward goes in: an integer that comes out is real, on whichever device it was."""
        result = func(*args, **kwargs)
        if isinstance(result, torch.Tensor) and result.is_meta and func in _FILLS:
            value = _FILLS[func] if func is not torch.full else (args[1] if len(args) > 1 else kwargs["fill_value"])
            _remember_filled(result, value)
        if isinstance(result, torch.Tensor) and result.is_meta and not hollows(result):
            real: torch.Tensor = func(*_placed(args, "cpu"), **_placed(kwargs, "cpu"))
            return real.zero_() if func is torch.empty else real
        return result

    def _hollow(self, func: Any, name: str, args: Any, kwargs: Any, given: list[torch.Tensor]) -> Any:
        if name in _CONSTANTS:
            result = func(*args, **kwargs)
            if hollows(result) and name in _FILLED:
                _remember_filled(result, _FILLED[name])
            return result if hollows(result) else func(*_placed(args, "cpu"), **{**kwargs, "device": "cpu"})
        if name == "__getitem__":
            args = _by_index(args)
        if name == "repeat_interleave" and "output_size" not in kwargs:
            repeats = kwargs.get("repeats", args[1] if len(args) > 1 else None)
            if isinstance(repeats, torch.Tensor) and not repeats.is_meta and repeats.numel() > 1:
                kwargs = {**kwargs, "output_size": int(repeats.sum())}
        result = func(*_placed(_emptied(args), "meta"), **_placed(_emptied(kwargs), "meta"))
        if name in _PASSES and all(not tensor.is_meta or _has_values(tensor) for tensor in given):
            sources = [source for tensor in given for source in _sources(tensor)]
            remember(result, func(*_mapped(_real, args), **_mapped(_real, kwargs)), *sources)
        return result

    def _chosen(self, func: Any, args: Any, kwargs: Any, subject: torch.Tensor) -> Any:
        result = func(*_emptied(args), **_emptied(kwargs))
        if not any(not hollows(tensor) for tensor in _tensors((result,))):
            return result  # a maximum over everything, or of two tensors
        self.read.append(subject)
        real = func(*_zeros(args), **_zeros(kwargs))
        return map_tensors(lambda t: t.to("meta") if hollows(t) else t, real)


class Unknown(float):
    """A floating value that was read: 0 to whoever reckons with it, and nothing that could be decided by."""

    __hash__ = float.__hash__

    def _decide(self, *_: Any) -> bool:
        raise UncountedError("its forward decides on a floating value")

    __lt__ = __le__ = __gt__ = __ge__ = __eq__ = __ne__ = __bool__ = _decide

    def _reckon(self, *_: Any) -> Unknown:
        return Unknown(0.0)

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _reckon
    __truediv__ = __rtruediv__ = __neg__ = __abs__ = __pow__ = _reckon


def _unknown(value: Any) -> Any:
    if isinstance(value, list):
        return [_unknown(item) for item in value]
    return Unknown(value) if type(value) is float else value


def standing_for(tensor: torch.Tensor) -> torch.Tensor:
    """An empty tensor on meta that remembers the real one."""
    hollow = tensor.to("meta")
    if not tensor.is_meta:
        remember(hollow, tensor)
    return hollow


def remember(hollow: torch.Tensor, real: torch.Tensor, *sources: torch.Tensor) -> None:
    """Until it is changed in place; ``sources`` are the inputs whose values it holds, if it is no input itself."""
    setattr(hollow, REAL, (real, hollow._version, sources))


def _remember_filled(hollow: torch.Tensor, value: Any) -> None:
    remember(hollow, torch.full((), value, dtype=hollow.dtype).expand(hollow.shape))


def _sources(tensor: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Itself, and what it was made of."""
    return (tensor, *getattr(tensor, REAL)[2]) if _has_values(tensor) else (tensor,)


def pass_on(own: torch.Tensor, tensor: torch.Tensor) -> None:
    """Have ``tensor``, which takes its place, remember what ``own`` does."""
    if _has_values(own):
        remember(tensor, _real(own))


def _has_values(tensor: torch.Tensor) -> bool:
    return hasattr(tensor, REAL) and bool(getattr(tensor, REAL)[1] == tensor._version)


def _real(value: Any) -> Any:
    return getattr(value, REAL)[0] if isinstance(value, torch.Tensor) and _has_values(value) else value


def _decides(name: str, args: Any, kwargs: Any) -> bool:
    """Whether floating values become booleans or integers: a comparison, or a mask that came as numbers."""
    dtypes = [v for v in (*args[1:], *kwargs.values()) if isinstance(v, torch.dtype)]
    integers = bool(dtypes) and not (dtypes[0].is_floating_point or dtypes[0].is_complex)
    return name in _COMPARISONS or (integers and name not in _CONSTANTS)


def hollows(tensor: torch.Tensor) -> bool:
    """Whether a tensor holds numbers that no count depends on."""
    return bool(tensor.is_floating_point() or tensor.is_complex())


def _tensors(tree: Any) -> Iterator[torch.Tensor]:
    for value in tree:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def _mapped(function: Callable[[Any], Any], tree: Any) -> Any:
    if isinstance(tree, list | tuple):
        return type(tree)(_mapped(function, value) for value in tree) if type(tree) in (list, tuple) else tree
    if isinstance(tree, dict):
        return {key: _mapped(function, value) for key, value in tree.items()}
    return function(tree)


def _emptied(tree: Any) -> Any:
    """On meta. Integers without dimensions, which torch takes anywhere, stay: in a jit trace all sizes are such."""

    def empty(value: Any) -> Any:
        moved = isinstance(value, torch.Tensor) and not value.is_meta and (value.dim() or hollows(value))
        return value.to("meta") if moved else value

    return _mapped(empty, tree)


def _zeros(tree: Any) -> Any:
    return _mapped(
        lambda v: torch.zeros(v.shape, dtype=v.dtype) if isinstance(v, torch.Tensor) and v.is_meta else v, tree
    )


def _placed(tree: Any, device: str) -> Any:
    """With every device named in it replaced."""

    def describe(value: Any) -> bool:
        return isinstance(value, torch.device) or (isinstance(value, str) and value.partition(":")[0] in _DEVICES)

    return _mapped(lambda v: torch.device(device) if describe(v) else v, tree)


_DEVICES = frozenset({"cpu", "cuda", "meta"})


def _by_index(args: Any) -> Any:
    """With real boolean masks as the indices they select, which meta tensors can be indexed with."""

    def indices(value: Any) -> list[Any]:
        mask = isinstance(value, torch.Tensor) and value.dtype == torch.bool and not value.is_meta
        return list(value.nonzero(as_tuple=True)) if mask else [value]

    source, index = args[0], args[1]
    parts = index if isinstance(index, tuple) else (index,)
    return (source, tuple(i for part in parts for i in indices(part)), *args[2:])


@contextmanager
def real_integers(wanted: bool) -> Iterator[RealIntegers | None]:
    """Where ``wanted``, integers are real inside; ``torch.autocast("meta")``, which torch refuses, is the CPU's."""
    if not wanted:
        yield None
        return
    original = torch.autocast.__init__

    def initialised(self: Any, device_type: str, *args: Any, **kwargs: Any) -> None:
        original(self, "cpu" if device_type == "meta" else device_type, *args, **kwargs)

    with replaced(torch.autocast, "__init__", initialised), RealIntegers() as mode:
        yield mode
