"""A module with its inputs as a case, and a case as it is called."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.parameter import is_lazy

from crosscheck.case import Case
from crosscheck.errors import UsageError
from crosscheck.hints import describe
from crosscheck.tracing.real_integers import hollows, real_integers
from crosscheck.tracing.tensor_trees import map_tensors, specs, tensors


def case_of(
    module: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], name: str = "", entry: str = "forward"
) -> Case:
    """``module`` with its inputs as a case. Inputs follow a module on meta there."""
    if not isinstance(module, torch.nn.Module):
        raise UsageError(
            f"got {describe(module)}; allowed: a torch.nn.Module and its inputs (check_pipeline takes pipelines)"
        )
    held = [*module.parameters(), *module.buffers(), *(t for _, t in tensors((args, dict(kwargs))))]
    device = "meta" if any(t.is_meta for t in held) else held[0].device.type if held else "cpu"
    if device == "meta":
        args, kwargs = map_tensors(lambda t: t.to("meta"), (args, dict(kwargs)))
    method = getattr(module, entry)
    return Case(
        name=name or type(module).__name__,
        class_name=type(module).__name__,
        entry=entry,
        inputs=specs(method, args, kwargs),
        module=module,
        args=args,
        kwargs=kwargs,
        config=_config(module),
        device=device,
    )


def _config(module: Any) -> Mapping[str, Any] | None:
    """The config of a library's own class; a class of the caller's is not what its config says."""
    if type(module).__module__.partition(".")[0] not in {"diffusers", "transformers"}:
        return None
    config: Any = getattr(module, "config", None)
    if hasattr(config, "to_dict"):
        return dict(config.to_dict())
    return dict(config) if isinstance(config, Mapping) else None


def params(module: Any) -> int:
    """Elements of a module's parameters, shared ones once."""
    return sum(p.numel() for p in module.parameters() if not is_lazy(p))


def call(case: Case) -> Any:
    """Run the case's entry once. ``forward`` goes through ``__call__``, hooks included."""
    with real_integers(case.real_integers):
        return method(case)(*case.args, **case.kwargs)


def method(case: Case) -> Any:
    """The method that the case calls."""
    return case.module if case.entry == "forward" else getattr(case.module, case.entry)


def fresh_inputs(case: Case) -> Case:
    """``case`` with copies of its tensors."""
    args, kwargs = map_tensors(
        lambda t: t.detach().clone().requires_grad_(t.requires_grad), (case.args, dict(case.kwargs))
    )
    return dataclasses.replace(case, args=args, kwargs=kwargs)


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
