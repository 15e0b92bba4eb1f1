"""A case as the plain module that tools expect: tensors in, tensors out; `call` runs it as it is called."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from crosscheck.case import Case
from crosscheck.tracing.calling import call, method
from crosscheck.tracing.real_integers import pass_on, real_integers
from crosscheck.tracing.tensor_trees import map_tensors, tensors

__all__ = ["Entry", "call"]


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
        # What a tool puts back on the whole tree when it is done; a frozen script has none.
        self.training = getattr(case.module, "training", False)

    @property
    def inputs(self) -> tuple[torch.Tensor, ...]:
        """Every tensor among the case's arguments."""
        return tuple(tensor for _, tensor in tensors((self._case.args, dict(self._case.kwargs))))

    def to(self, *args: Any, **kwargs: Any) -> Entry:
        """Stays where it is: a tool that asks a parameter where would bring real integers to meta."""
        return self

    def forward(self, *flat: torch.Tensor) -> tuple[torch.Tensor, ...]:
        for tensor, own in zip(flat, self.inputs, strict=True):
            pass_on(own, tensor)  # a tracer's tensors are others
        # A tool may bring what is real to where the parameters are, on meta.
        given: Iterator[torch.Tensor] = (
            own if tensor.is_meta and not own.is_meta else tensor for tensor, own in zip(flat, self.inputs, strict=True)
        )
        args, kwargs = map_tensors(lambda _: next(given), (self._case.args, dict(self._case.kwargs)))
        with real_integers(self._case.real_integers) as mode:
            result = method(self._case)(*args, **kwargs)
        return tuple(tensor for _, tensor in tensors((result, mode.read if mode else [])))
