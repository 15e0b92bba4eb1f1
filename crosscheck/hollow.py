"""Run a real pipeline with hollow components: its own Python, scheduler and guidance; no weights, no arithmetic.

Each call of a component is answered by one traced forward on meta for each distinct input, and by zeros of the
output's shape. What comes out is how often the pipeline really called what, with which shapes.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from crosscheck.backends import rules
from crosscheck.backends.aten import Aten, Tracer
from crosscheck.backends.entry import call
from crosscheck.backends.interface import Case
from crosscheck.backends.meta import QuickMeta
from crosscheck.measure import CaseResult, case_of, measured, one_line
from crosscheck.records import HEADLINE, Failed, Measured, UncountedError
from crosscheck.trees import map_tensors

#: Methods of a component that a pipeline calls, besides calling it.
ENTRIES = ("decode", "encode")


@dataclasses.dataclass(kw_only=True)
class Calls:
    """One distinct input of a component, and how often it came."""

    case: Case
    trace: CaseResult
    """The trace of one call."""
    batch_size: int
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


@contextmanager
def emptied(modules: Iterable[torch.nn.Module]) -> Iterator[None]:
    """The modules themselves with every tensor they hold swapped for one on meta, and their own again afterwards.

    No copy: what a pipeline does to a component during its call happens to the component that is counted.
    """
    swapped: list[tuple[dict[str, Any], str, Any]] = []
    empty: dict[int, torch.Tensor] = {}
    try:
        for module in {id(m): m for root in modules for m in root.modules()}.values():
            for store in (module._parameters, module._buffers, vars(module)):
                for name, held in store.items():
                    if isinstance(held, torch.Tensor) and not held.is_meta:
                        swapped.append((store, name, held))
                        if id(held) not in empty:
                            empty[id(held)] = _empty(held)
                        store[name] = empty[id(held)]
        yield
    finally:
        for store, name, held in swapped:
            store[name] = held


def _empty(tensor: torch.Tensor) -> torch.Tensor:
    hollow = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")
    return torch.nn.Parameter(hollow, tensor.requires_grad) if isinstance(tensor, torch.nn.Parameter) else hollow


class _Outside(TorchDispatchMode):
    """Counts products that the pipeline runs outside every component, on real tensors."""

    def __init__(self, hollow: Hollow) -> None:
        super().__init__()
        self._hollow = hollow
        self.macs = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if not self._hollow.inside and rules.kind(name) in HEADLINE and isinstance(result, torch.Tensor):
            shapes = tuple(tuple(a.shape) for a in args if isinstance(a, torch.Tensor))
            work = rules.macs(name, args, shapes, tuple(result.shape), "", result.dtype.is_complex)
            self.macs += sum(macs for _, macs in work)
        return result


class Hollow:
    """Answers the calls of a pipeline's components and keeps count of them."""

    def __init__(self, components: Mapping[str, torch.nn.Module]) -> None:
        self._names = {id(module): name for name, module in components.items()}
        self._components = components
        self._answers: dict[Any, tuple[Calls, Any]] = {}
        self.inside = False
        self.outside_macs = 0

    def cases(self) -> dict[str, list[Calls]]:
        """Component name -> its distinct inputs, in the order they first came. ``vae.decode`` is ``vae_decoder``."""
        found: dict[str, list[Calls]] = {}
        for calls, _ in self._answers.values():
            found.setdefault(calls.case.name, []).append(calls)
        return found

    def _answer(self, module: torch.nn.Module, entry: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        name = self._names[id(module)] + ("" if entry == "forward" else f"_{entry}r")
        key = (name, _key(args), _key(kwargs))
        if key not in self._answers:
            self._answers[key] = self._trace(module, entry, name, args, kwargs)
        calls, result = self._answers[key]
        calls.calls += 1
        return map_tensors(lambda t: torch.zeros(t.shape, dtype=t.dtype) if t.is_meta else t, result)

    def _trace(
        self, module: torch.nn.Module, entry: str, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Calls, Any]:
        args, kwargs = map_tensors(lambda t: t.to("meta"), (args, kwargs))
        case = case_of(module, args, kwargs, name, entry)
        self.inside = True
        try:
            trace, result = _traced(case)
        except (NotImplementedError, RuntimeError):
            # torch refuses to read a meta tensor's values; answered with zeros, and said so in the record.
            case = dataclasses.replace(case, reads_values=True)
            try:
                trace, result = _traced(case)
            except Exception as error:
                raise UncountedError(
                    f"{name} ({type(module).__name__}) can't be run hollow: {one_line(error)}"
                ) from error
        finally:
            self.inside = False
        return Calls(case=case, trace=trace, batch_size=_batch(case)), result

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Inside, the components' calls are answered; everything is as before afterwards, also after an error."""
        original = torch.nn.Module.__call__
        hollow = self

        def called(module: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
            if hollow.inside or id(module) not in hollow._names:
                return original(module, *args, **kwargs)
            return hollow._answer(module, "forward", args, kwargs)

        with ExitStack() as stack:
            stack.enter_context(mock.patch.object(torch.nn.Module, "__call__", called))
            for module in self._components.values():
                for entry in ENTRIES:
                    if hasattr(type(module), entry):
                        stack.enter_context(_attribute(module, entry, self._entry(module, entry)))
            stack.enter_context(self._on_cpu())
            outside = stack.enter_context(_Outside(self))
            yield
            self.outside_macs = outside.macs

    def _entry(self, module: torch.nn.Module, entry: str) -> Callable[..., Any]:
        original = getattr(module, entry)

        @functools.wraps(original)
        def run(*args: Any, **kwargs: Any) -> Any:
            if self.inside:
                return original(*args, **kwargs)
            return self._answer(module, entry, args, kwargs)

        return run

    @contextmanager
    def _on_cpu(self) -> Iterator[None]:
        """Outside the components the pipeline lives on the CPU: that is where zeros are given back."""
        from diffusers import DiffusionPipeline
        from diffusers.models.modeling_utils import ModelMixin
        from transformers import PreTrainedModel

        device = property(lambda _: torch.device("meta" if self.inside else "cpu"))
        with (
            mock.patch.object(DiffusionPipeline, "device", device),
            mock.patch.object(DiffusionPipeline, "_execution_device", device),
            mock.patch.object(ModelMixin, "device", device),
            mock.patch.object(PreTrainedModel, "device", device),
        ):
            yield


def _traced(case: Case) -> tuple[CaseResult, Any]:
    started = time.perf_counter()
    tracer = Tracer(case.module)
    answered: list[Any] = []
    try:
        with QuickMeta(), tracer.tracing():
            answered.append(call(case))
    except UncountedError as error:
        if not answered:
            raise
        # It ran to its end, so the pipeline can go on; that this component can't be counted is said in its record.
        return CaseResult(outcomes={"aten": Failed(error=str(error))}), answered[0]
    (result,) = answered
    count, seconds = tracer.count(case.device), time.perf_counter() - started
    outcome, census = measured(Aten(), count, seconds, isolated=False)
    return CaseResult(outcomes={"aten": outcome}, census=census), result


@contextmanager
def _attribute(owner: Any, name: str, value: Any) -> Iterator[None]:
    object.__setattr__(owner, name, value)
    try:
        yield
    finally:
        object.__delattr__(owner, name)


def _key(tree: Any) -> Any:
    """Equal for inputs that a forward on meta can't tell apart: shapes and dtypes, and plain values as they are."""
    if isinstance(tree, torch.Tensor):
        return (tuple(tree.shape), tree.dtype)
    if isinstance(tree, Mapping):
        return tuple((key, _key(value)) for key, value in tree.items())
    if isinstance(tree, list | tuple):
        return tuple(_key(item) for item in tree)
    return tree if isinstance(tree, str | int | float | bool | type(None)) else id(tree)


def _batch(case: Case) -> int:
    """Size of the first dimension of the first input that has one."""
    return next((spec.shape[0] for spec in case.inputs if spec.shape), 1)


def single(calls: Calls) -> Case:
    """The case at batch 1: one image, one guidance branch."""
    batch = calls.batch_size

    def first(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.dim() and tensor.shape[0] == batch:
            return torch.empty((1, *tensor.shape[1:]), dtype=tensor.dtype, device=tensor.device)
        return tensor

    case = calls.case
    if batch == 1:
        return case
    args, kwargs = map_tensors(first, (case.args, dict(case.kwargs)))
    return dataclasses.replace(
        case_of(case.module, args, kwargs, case.name, case.entry), reads_values=case.reads_values
    )


def most_expensive(cases: list[Calls]) -> Calls:
    """The input that costs most for one image and one guidance branch."""
    return max(cases, key=lambda calls: (calls.macs or 0) / calls.batch_size)
