"""One case as it is called, and as the plain module that tools expect: tensors in, tensors out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from crosscheck.backends.interface import Case
from crosscheck.trees import map_tensors, tensors


class ReadsAnswered(TorchFunctionMode):
    """On meta, answer a read of floating values with zeros: a tensor moved to the CPU stays hollow, numbers are 0.

    Integers and booleans are not answered: they steer control flow, and a made-up one could choose another branch.
    """

    def __init__(self) -> None:
        super().__init__()
        self.read: list[torch.Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        subject = args[0] if args else None
        if not (isinstance(subject, torch.Tensor) and subject.is_meta and subject.is_floating_point()):
            return func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        if name == "cpu":
            return subject
        if name in {"numpy", "item", "tolist"}:
            self.read.append(subject)
            return getattr(torch.zeros(subject.shape, dtype=subject.dtype), name)(*args[1:], **kwargs)
        return func(*args, **kwargs)


def call(case: Case) -> Any:
    """Run the case's entry once. ``forward`` goes through ``__call__``, hooks included."""
    with ReadsAnswered() if case.reads_values else nullcontext():
        return _method(case)(*case.args, **case.kwargs)


def _method(case: Case) -> Any:
    return case.module if case.entry == "forward" else getattr(case.module, case.entry)


class Entry(torch.nn.Module):
    """Calls a case's entry with its tensors put back in their places.

    A tracer's inputs and outputs must be tensors, a profiler's positional; the component is the only child, so rules
    by module class see it as they would see it alone. Values that the forward reads are outputs too: a tracer drops
    what reaches none.
    """

    def __init__(self, case: Case) -> None:
        super().__init__()
        self._case = case
        self.component = case.module
        self.training = case.module.training  # what a tool puts back on the whole tree when it is done

    @property
    def inputs(self) -> tuple[torch.Tensor, ...]:
        """Every tensor among the case's arguments."""
        return tuple(tensor for _, tensor in tensors((self._case.args, dict(self._case.kwargs))))

    def forward(self, *flat: torch.Tensor) -> tuple[torch.Tensor, ...]:
        given: Iterator[torch.Tensor] = iter(flat)
        args, kwargs = map_tensors(lambda _: next(given), (self._case.args, dict(self._case.kwargs)))
        reads = ReadsAnswered()
        with reads if self._case.reads_values else nullcontext():
            result = _method(self._case)(*args, **kwargs)
        return tuple(tensor for _, tensor in tensors((result, reads.read)))
