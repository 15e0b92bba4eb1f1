"""Calls that some counters can't take: stateless calls, reentrant checkpoints, gradients inside a forward."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch

from crosscheck.tracing.patching import replaced
from crosscheck.tracing.tensor_trees import flat


class UntraceableCalls:
    """Calls of a forward that can't be traced, by the names that a `Census` has."""

    def __init__(self, modules: Iterable[torch.nn.Module], leaves: Mapping[int, torch.Tensor]) -> None:
        self._modules, self._leaves = list(modules), leaves
        self.found: set[str] = set()
        self._enclosed: frozenset[int] = frozenset()
        """Inside a reentrant checkpoint, ids of the tensors that it was not given: the module's, its function's."""

    def operator(self, args: Iterable[Any]) -> None:
        """Hear of the arguments of an operator."""
        if self._enclosed and any(id(x) in self._enclosed for x in args):
            self.found.add("checkpoint")

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Hear of them while inside."""
        transforms = sys.modules.get("torch._functorch.eager_transforms")
        checkpoint: Any = getattr(sys.modules.get("torch.utils.checkpoint"), "CheckpointFunction", None)
        with ExitStack() as stack:
            stack.enter_context(self._watching_draws())
            stack.enter_context(self._noted(torch.nn.utils.stateless, "_functional_call", "functional_call"))
            stack.enter_context(self._watching_grad())
            if hasattr(transforms, "_autograd_grad"):
                stack.enter_context(self._noted(transforms, "_autograd_grad", "func.grad"))
            if checkpoint is not None:
                stack.enter_context(self._watching_checkpoints(checkpoint))
            yield

    @contextmanager
    def _noted(self, owner: Any, name: str, use: str) -> Iterator[None]:
        original = getattr(owner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self.found.add(use)
            return original(*args, **kwargs)

        with replaced(owner, name, call):
            yield

    @contextmanager
    def _watching_draws(self) -> Iterator[None]:
        """Draws from the generators of Python and numpy: the next forward may be another."""
        before = _generators()
        yield
        if _generators() != before:
            self.found.add("random")

    @contextmanager
    def _watching_grad(self) -> Iterator[None]:
        original = torch.autograd.grad

        def grad(outputs: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            if any(id(x) in self._leaves for x in flat((inputs,))):
                self.found.add("grad of a leaf")
            return original(outputs, inputs, *args, **kwargs)

        with replaced(torch.autograd, "grad", grad):
            yield

    @contextmanager
    def _watching_checkpoints(self, checkpoint: Any) -> Iterator[None]:
        """Products of parameters inside of a function of autograd's."""
        original = checkpoint.forward

        def forward(*args: Any) -> Any:
            own = {id(x) for module in self._modules for x in _tensors(module)}
            enclosed = own.union(map(id, _closure(args[1]))).difference(map(id, args))
            outer, self._enclosed = self._enclosed, frozenset(enclosed)
            try:
                return original(*args)
            finally:
                self._enclosed = outer

        with replaced(checkpoint, "forward", staticmethod(forward)):
            yield


def _generators() -> tuple[Any, ...]:
    """The state of each."""
    numpy: Any = sys.modules.get("numpy.random")
    state = numpy.get_state() if numpy else ()
    return random.getstate(), *(bytes(part) if hasattr(part, "tobytes") else part for part in state)


def _tensors(module: torch.nn.Module) -> Iterator[torch.Tensor]:
    return (x for x in (*module._parameters.values(), *module._buffers.values()) if x is not None)


def _closure(function: Any) -> Iterator[torch.Tensor]:
    """Tensors that a function has from around it."""
    for cell in getattr(function, "__closure__", None) or ():
        with suppress(ValueError):  # a name there may have no value yet
            if isinstance(cell.cell_contents, torch.Tensor):
                yield cell.cell_contents
