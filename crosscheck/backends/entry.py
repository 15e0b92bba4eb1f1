"""One case as it is called, and as the plain module that tools expect: tensors in, tensors out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from crosscheck.backends.interface import Case
from crosscheck.backends.values import hollows, pass_on, real_integers
from crosscheck.trees import map_tensors, tensors


def call(case: Case) -> Any:
    """Run the case's entry once. ``forward`` goes through ``__call__``, hooks included."""
    with real_integers(case.real_integers):
        return method(case)(*case.args, **case.kwargs)


def fresh_inputs(case: Case) -> Case:
    """``case`` with copies of its tensors."""
    args, kwargs = map_tensors(
        lambda t: t.detach().clone().requires_grad_(t.requires_grad), (case.args, dict(case.kwargs))
    )
    return dataclasses.replace(case, args=args, kwargs=kwargs)


def method(case: Case) -> Any:
    """What the case calls."""
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


def processors(module: torch.nn.Module) -> dict[torch.nn.Module, Any]:
    """The attention processors in use: what some pipelines change for the time of their call."""
    return {m: vars(m)["processor"] for m in module.modules() if "processor" in vars(m)}


@contextmanager
def emptied(case: Case) -> Iterator[None]:
    """A pipeline's component as it was called, each tensor it holds swapped for one on meta; as it was, afterwards."""

    def empty(held: torch.Tensor) -> torch.Tensor:
        return held if held.is_meta or (case.real_integers and not hollows(held)) else _empty(held)

    with swapped(case, empty):
        yield


@contextmanager
def swapped(case: Case, replace: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[None]:
    """A component as it was called, ``replace(tensor)`` for each tensor it holds; as it was, afterwards.

    No copy: what a pipeline does to a component during its call happens to the component that is counted. A tensor
    that is held twice is replaced by one.
    """
    swaps: list[tuple[dict[str, Any], str, Any]] = []
    made: dict[int, torch.Tensor] = {}
    try:
        for module, processor in case.processors.items():
            swaps.append((vars(module), "processor", vars(module)["processor"]))
            vars(module)["processor"] = processor
        for module in case.module.modules():
            for store in (module._parameters, module._buffers, vars(module)):
                for name, held in store.items():
                    if not isinstance(held, torch.Tensor):
                        continue
                    if id(held) not in made:
                        made[id(held)] = replace(held)
                    if made[id(held)] is not held:
                        swaps.append((store, name, held))
                        store[name] = made[id(held)]
        yield
    finally:
        for store, name, held in reversed(swaps):
            store[name] = held


def _empty(tensor: torch.Tensor) -> torch.Tensor:
    if 0 in tensor.stride():  # of a pipeline without weights: one element for all
        hollow = torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")
    else:
        hollow = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")
    return torch.nn.Parameter(hollow, tensor.requires_grad) if isinstance(tensor, torch.nn.Parameter) else hollow
