"""The distinct inputs of a component: how one is traced, what tells it from another, and it at batch 1."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from typing import Any

import torch

from crosscheck.backends.aten import Aten
from crosscheck.case import Case
from crosscheck.engine.job import outcome_of
from crosscheck.errors import UncountedError
from crosscheck.records import CaseResult, Failed, Measured
from crosscheck.tracing.calling import case_of, emptied, method, processors
from crosscheck.tracing.quick_meta import QuickMeta
from crosscheck.tracing.real_integers import hollows, real_integers, standing_for
from crosscheck.tracing.snapshot import Snapshot
from crosscheck.tracing.tensor_trees import map_tensors, specs, tensors
from crosscheck.tracing.tracer import Tracer


@dataclasses.dataclass(kw_only=True)
class Calls:
    """One distinct input of a component, and how often it came."""

    case: Case
    trace: CaseResult
    """The trace of one call."""
    batch_size: int
    compared: frozenset[int] = frozenset()
    """Which of its floating inputs it compares by value, counted among all its tensors."""
    calls: int = 0

    @property
    def by_op(self) -> Mapping[str, int] | None:
        """MACs of one call, by the trace; None where an operator that may hold MACs has no rule."""
        outcome = self.trace.outcomes["aten"]
        return outcome.by_op if isinstance(outcome, Measured) else None

    @property
    def macs(self) -> int | None:
        """MACs of one call, by the trace."""
        return None if self.by_op is None else sum(self.by_op.values())


#: Where diffusers keeps the hooks of its caches on a module.
REGISTRY = "_diffusers_hook"


def hollow_case(
    module: torch.nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    name: str,
    entry: str,
    *,
    real_integers: bool = False,
) -> Case:
    """A component with the inputs it was called with, on meta; with ``real_integers`` those that are, on the CPU."""

    def placed(tensor: torch.Tensor) -> torch.Tensor:
        if not real_integers:
            return tensor.to("meta")
        return standing_for(tensor) if hollows(tensor) else tensor.cpu()

    given = case_of(module, args, dict(kwargs), name, entry)
    args, kwargs = map_tensors(placed, (args, dict(kwargs)))
    return dataclasses.replace(
        given,
        args=args,
        kwargs=kwargs,
        config=None if extended(module) else given.config,
        device="meta",
        hollow=True,
        real_integers=real_integers,
        processors=processors(module),
    )


def traced(case: Case) -> tuple[Case, CaseResult, Any, frozenset[int]]:
    """One forward, what it left changed included; as before, where it raises."""
    started = time.perf_counter()
    before = Snapshot(case.module, values=False)
    answered: list[Any] = []
    with emptied(case), QuickMeta(), real_integers(case.real_integers) as mode:
        tracer = Tracer(case.module)
        try:
            with tracer.tracing():
                answered.append(method(case)(*case.args, **case.kwargs))
        except Exception as error:
            if not (answered and isinstance(error, UncountedError)):
                before.restore()
                raise
            # It ran to its end, so the pipeline can go on; that this component can't be counted is in its record.
            return case, CaseResult(outcomes={"aten": Failed(error=str(error))}), answered[0], frozenset()
    (result,) = answered
    found, seconds = tracer.traced(case.device), time.perf_counter() - started
    outcome, evidence = outcome_of(Aten(), found, seconds, isolated=False), Aten().evidence(found)
    changes = {"aten": tuple(sorted(before.changes()))}
    compared = {id(tensor) for tensor in mode.compared} if mode else set()
    given = enumerate(tensor for _, tensor in tensors((case.args, case.kwargs)))
    places = frozenset(i for i, tensor in given if id(tensor) in compared and hollows(tensor))
    case = dataclasses.replace(case, reads_values=bool(mode and mode.read))
    return case, CaseResult(outcomes={"aten": outcome}, evidence=evidence, changes=changes), result, places


def batch(case: Case) -> int:
    """Size of the first dimension of the first input that has one."""
    return next((spec.shape[0] for spec in case.inputs if spec.shape), 1)


def extended(module: torch.nn.Module) -> bool:
    """Whether adapters, caches or tiles change it beyond what its config says."""
    registries = (getattr(m, REGISTRY, None) for m in module.modules())  # some pipelines make empty ones
    altered = getattr(module, "peft_config", None) or getattr(module, "use_tiling", False)
    return bool(altered) or any(registry and registry.hooks for registry in registries)


def changing(module: torch.nn.Module) -> bool:
    """Whether calls with equal inputs may differ: a part was replaced by code that may keep a count."""
    return any("forward" in vars(m) or m._forward_hooks or m._forward_pre_hooks for m in module.modules())


class _Same:
    """Equal to itself alone; holds its object, whose id is not given to another as long."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self._value is other._value

    def __hash__(self) -> int:
        return id(self._value)


def key(tree: Any) -> Any:
    """Equal for inputs that a forward on meta can't tell apart: shapes and dtypes, and plain values as they are."""
    if isinstance(tree, torch.Tensor):
        return (tuple(tree.shape), tree.dtype)
    if isinstance(tree, Mapping):
        return tuple((name, key(value)) for name, value in tree.items())
    if isinstance(tree, list | tuple):
        return tuple(key(item) for item in tree)
    return (type(tree), tree) if isinstance(tree, str | int | float | bool | type(None)) else _Same(tree)


def values(tree: Any, compared: frozenset[int]) -> Any:
    """Values of the integers and booleans among the inputs, and of those that the forward compares."""
    given = enumerate(tensor for _, tensor in tensors(tree))
    chosen = (tensor for i, tensor in given if i in compared or not hollows(tensor))
    return tuple(t.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes() for t in chosen)


def single(calls: Calls) -> Case:
    """The case at batch 1: one image, one guidance branch; of real integers the last row, which guidance leaves."""
    batch = calls.batch_size

    def one(tensor: torch.Tensor) -> torch.Tensor:
        if not tensor.dim() or tensor.shape[0] != batch:
            return tensor
        if not tensor.is_meta:
            return tensor[-1:]
        return torch.empty((1, *tensor.shape[1:]), dtype=tensor.dtype, device=tensor.device)

    case = calls.case
    if batch == 1:
        return case
    args, kwargs = map_tensors(one, (case.args, dict(case.kwargs)))
    inputs = specs(getattr(case.module, case.entry), args, kwargs)
    return dataclasses.replace(case, args=args, kwargs=kwargs, inputs=inputs)


def most_expensive(cases: list[Calls]) -> Calls:
    """The input that costs most for one image and one guidance branch."""
    return max(cases, key=lambda calls: (calls.macs or 0) / calls.batch_size)
