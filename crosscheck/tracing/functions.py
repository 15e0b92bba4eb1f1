"""The torch function that is running: its name, and what only its arguments tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from crosscheck.records import EinsumRow
from crosscheck.tracing.patching import like, replaced
from crosscheck.tracing.transforms import mapped_calls

_OPERATORS = (torch._ops.OpOverload, torch._ops.OpOverloadPacket)
#: Ways out of torch for a tensor's values.
_WAYS_OUT = frozenset({"numpy", "__array__", "__dlpack__", "data_ptr"})
#: Ways into it that a mode sees, and those that it does not.
_WAYS_IN = frozenset({"tensor", "as_tensor", "asarray"})
_UNSEEN_WAYS_IN = ("from_numpy", "from_dlpack", "frombuffer")
#: Properties and methods of tensors, and the operator that each is.
_TRANSPOSED = {"mT": ("mT",), "mH": ("mH",), "adjoint": ("mH",), "H": ("matrix_H",)}


class RunningFunction(TorchFunctionMode):
    """Names the outermost torch function that is running, and keeps the equations of einsums."""

    name = ""
    by_operator = False
    complex_convolutions: int | None = None
    """Real convolutions run so far for a complex one; None outside of such."""
    passing: Any = None
    """The function whose call is on its way to outer modes."""

    def __init__(self) -> None:
        super().__init__()
        self.einsums: Counter[EinsumRow] = Counter()
        self.transposed: set[str] = set()
        self.packing: set[str] = set()
        self.ways_out: set[str] = set()
        """By which numbers that are no integers left torch: what is done with them there is not seen."""
        self.came_back = False
        """Whether such came into torch after others had left it."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # Torch hands over what took the function's place, which has seen this call, and so does to an outer mode.
        func = self.passing = getattr(func, "observed", func)
        # The mode is off while a function runs, so a name stays until that function returns.
        self.name = getattr(func, "__name__", "").partition(".")[0]  # of an overload, the operator's
        self.by_operator = isinstance(func, _OPERATORS)
        if self.name in {"__get__", "adjoint"}:
            read = self.name if self.name == "adjoint" else getattr(func.__self__, "__name__", "")
            self.transposed.update(_TRANSPOSED.get(read, ()))
        if self.name in _WAYS_OUT and not _is_integer(args[0]):
            self.ways_out.add(self.name)
        if self.name in _WAYS_IN and hasattr(args[0] if args else None, "__array_interface__"):
            self._came_in()
        if self.name in {"_pack_padded_sequence", "_pad_packed_sequence"}:
            self.packing.add(self.name)
        if self.name == "einsum" and isinstance(args[0], str):
            operands = args[1] if isinstance(args[1], list | tuple) else args[1:]
            shapes = tuple(tuple(x.shape) for x in operands)
            equation, mapped = args[0].replace(" ", ""), mapped_calls(operands)
            self.einsums[EinsumRow(equation=equation, shapes=shapes, count=1, mapped=mapped)] += 1
        if self.name.startswith("conv"):
            given = (*args, *(kwargs or {}).values())
            if any(isinstance(value, str) for value in given):
                self.name = "_convolution_mode"  # what padding="same" goes through; some tools know it not
            if any(isinstance(value, torch.Tensor) and value.is_complex() for value in given):
                self.complex_convolutions = 0
        try:
            return func(*args, **(kwargs or {}))
        finally:
            self.name, self.by_operator, self.complex_convolutions, self.passing = "", False, None, None

    def _came_in(self) -> None:
        self.came_back = self.came_back or bool(self.ways_out - {"data_ptr"})

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Be on, and hear of numbers that come into torch by functions that no mode sees."""

        def heard(original: Callable[..., Any]) -> Callable[..., Any]:
            @like(original)
            def come_in(*args: Any, **kwargs: Any) -> Any:
                self._came_in()
                return original(*args, **kwargs)

            return come_in

        with ExitStack() as stack:
            for name in _UNSEEN_WAYS_IN:
                stack.enter_context(replaced(torch, name, heard(getattr(torch, name))))
            stack.enter_context(self)
            yield


def _is_integer(tensor: torch.Tensor) -> bool:
    """Whether its elements are whole numbers, such as lengths, or bools."""
    return not (tensor.is_floating_point() or tensor.is_complex())
