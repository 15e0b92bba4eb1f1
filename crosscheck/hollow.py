"""Run a real pipeline with hollow components: its own Python, scheduler and guidance; no weights, no arithmetic.

Each call of a component is answered by one traced forward on meta for each distinct input, and by zeros of the
output's shape. What comes out is how often the pipeline really called what, with which shapes.

A forward is traced with everything on meta. Where that raises, because it reads values, it is traced again with its
integers real; only then do their values belong to what makes an input distinct.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from crosscheck.backends import rules
from crosscheck.backends.aten import Aten, Tracer
from crosscheck.backends.entry import emptied, method, processors
from crosscheck.backends.interface import Case, called
from crosscheck.backends.meta import QuickMeta
from crosscheck.backends.values import hollows, real_integers, standing_for
from crosscheck.measure import case_of, measured
from crosscheck.records import HEADLINE, CaseResult, Failed, Measured, UncountedError, one_line
from crosscheck.state import Snapshot, preserved
from crosscheck.trees import map_tensors, specs, tensors

#: Methods of a component that a pipeline calls, besides calling it.
_ENTRIES = re.compile(r"_?(en|de)code|get_\w+_features|quantize|generate")
#: Where diffusers keeps the hooks of its caches on a module.
_REGISTRY = "_diffusers_hook"


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
        if not self._hollow.inside and rules.kind(name) in HEADLINE:
            shapes = tuple(tuple(a.shape) for a in args if isinstance(a, torch.Tensor))
            out = result if isinstance(result, torch.Tensor) else result[0]  # fused attention gives statistics too
            work = rules.macs(name, args, shapes, tuple(out.shape), "", out.dtype.is_complex)
            self.macs += sum(macs for _, macs in work)
        return result


class _Leaked(TorchFunctionMode):
    """Answers with zeros for tensors on meta that a hook carried out of a component."""

    def __init__(self, hollow: Hollow) -> None:
        super().__init__()
        self._hollow = hollow

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not self._hollow.inside and getattr(func, "__name__", "") != "__get__":
            args, kwargs = map_tensors(_zeros, (args, kwargs or {}))
        return func(*args, **(kwargs or {}))


class Hollow:
    """Answers the calls of a pipeline's components and keeps count of them."""

    def __init__(self, components: Mapping[str, torch.nn.Module]) -> None:
        self._components = components
        self._places: dict[int, str] = {}
        for name, component in components.items():
            for path, module in component.named_modules():
                self._places.setdefault(id(module), f"{name}.{path}" if path else name)
        self._calls: dict[Any, Calls] = {}
        self._answers: dict[Any, tuple[Calls, Any]] = {}
        self._states: Counter[str] = Counter()
        self._written: set[str] = set()
        self._by_value: dict[Any, frozenset[int]] = {}
        self.inside = False
        self.outside_macs = 0

    def cases(self) -> dict[str, list[Calls]]:
        """Component name -> its distinct inputs, in the order they first came. ``vae.decode`` is ``vae_decoder``.

        A part that the pipeline called by itself has its dotted path, if it holds any MACs.
        """
        found: dict[str, list[Calls]] = {}
        for calls in self._calls.values():
            if calls.macs != 0 or calls.case.name in self._components:
                found.setdefault(calls.case.name, []).append(calls)
        return found

    def _answer(self, module: torch.nn.Module, entry: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        place = self._places[id(module)]
        name, component = called(place, entry), place.partition(".")[0]
        shapes, state = (name, _key(args), _key(kwargs)), self._states[component]
        asked = (shapes, self._values(shapes, args, kwargs), state)
        if asked not in self._answers or _changing(module):
            calls, result = self._trace(module, entry, name, args, kwargs)
            if calls.case.real_integers:
                self._by_value[shapes] = self._by_value.get(shapes, frozenset()) | calls.compared
            values = self._values(shapes, args, kwargs)
            distinct = (shapes, values, None if calls.by_op is None else tuple(calls.by_op.items()))
            # Something it keeps, such as a table: the next call may run otherwise.
            self._states[component] += any(calls.trace.changes.values())
            calls = self._calls.setdefault(distinct, calls)
            self._answers[shapes, values, state] = (calls, result)
        else:
            calls, result = self._answers[asked]
        calls.calls += 1
        return map_tensors(_zeros, result)

    def _values(self, shapes: Any, args: Any, kwargs: Any) -> Any:
        """The values that tell one input of these shapes from another: none, while its forward read none."""
        compared = self._by_value.get(shapes)
        return None if compared is None else _values((args, kwargs), compared)

    def _trace(
        self, module: torch.nn.Module, entry: str, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Calls, Any]:
        case = hollow_case(module, args, kwargs, name, entry)
        self.inside = True
        try:
            case, trace, result, compared = _traced(case)
        except Exception:
            try:
                case = hollow_case(module, args, kwargs, name, entry, real_integers=True)
                case, trace, result, compared = _traced(case)
            except Exception as error:
                raise UncountedError(
                    f"{name} ({type(module).__name__}) can't be run hollow: {one_line(error)}"
                ) from error
        finally:
            self.inside = False
        if self._places[id(module)].partition(".")[0] in self._written:
            case = dataclasses.replace(case, config=None)  # it is no longer what its config says
        return Calls(case=case, trace=trace, batch_size=_batch(case), compared=compared), result

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Inside, the components' calls are answered; everything is as before afterwards, also after an error."""
        original = torch.nn.Module.__call__
        hollow = self

        def run(module: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
            if hollow.inside or id(module) not in hollow._places:
                return original(module, *args, **kwargs)
            return hollow._answer(module, "forward", args, kwargs)

        with ExitStack() as stack:
            for module in self._components.values():
                stack.enter_context(preserved(module, values=False))
            stack.enter_context(mock.patch.object(torch.nn.Module, "__call__", run))
            stack.enter_context(self._noticing_changes())
            for module in self._components.values():
                for entry in filter(_ENTRIES.fullmatch, dir(type(module))):
                    if callable(getattr(module, entry)):
                        stack.enter_context(_attribute(module, entry, self._entry(module, entry)))
            stack.enter_context(self._on_cpu())
            stack.enter_context(_blank_pictures())
            stack.enter_context(_Leaked(self))
            outside = stack.enter_context(_Outside(self))
            yield
            self.outside_macs = outside.macs

    @contextmanager
    def _noticing_changes(self) -> Iterator[None]:
        """What a pipeline or its callbacks write to a component between calls: the next call may run otherwise."""

        def noticing(name: str) -> Any:
            original = getattr(torch.nn.Module, name)

            def write(module: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
                place = self._places.get(id(module)) if not self.inside else None
                key, *value = (*args, *kwargs.values())
                if place and key != _REGISTRY and not (value and _held(module, key) is value[0]):
                    component = place.partition(".")[0]
                    self._states[component] += 1
                    self._written.add(component)
                return original(module, *args, **kwargs)

            return mock.patch.object(torch.nn.Module, name, write)

        with noticing("__setattr__"), noticing("__delattr__"), noticing("add_module"):
            yield

    def _entry(self, module: torch.nn.Module, entry: str) -> Callable[..., Any]:
        original = getattr(module, entry)

        @functools.wraps(original)
        def run(*args: Any, **kwargs: Any) -> Any:
            if self.inside:
                return original(*args, **kwargs)
            if entry == "generate":
                place = f"{self._places[id(module)]} ({type(module).__name__})"
                raise UncountedError(f"{place} can't be run hollow: how many tokens it generates depends on values")
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


@contextmanager
def _blank_pictures() -> Iterator[None]:
    """The decoder's zeros become pictures at once: drawing those of a video would take longer than all the rest."""
    from diffusers.image_processor import VaeImageProcessor
    from PIL import Image

    original = VaeImageProcessor.postprocess
    modes = {1: "L", 3: "RGB", 4: "RGBA"}

    def postprocess(self: Any, image: torch.Tensor, output_type: str = "pil", *args: Any, **kwargs: Any) -> Any:
        if isinstance(image, torch.Tensor) and image.dim() == 4:
            count, channels, height, width = image.shape
            if output_type == "np":
                return torch.zeros(count, height, width, channels).numpy()
            if output_type == "pil" and channels in modes:
                return [Image.new(modes[channels], (width, height))] * count
        return original(self, image, output_type, *args, **kwargs)

    with mock.patch.object(VaeImageProcessor, "postprocess", postprocess):
        yield


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
        config=None if _extended(module) else given.config,
        device="meta",
        hollow=True,
        real_integers=real_integers,
        processors=processors(module),
    )


def _traced(case: Case) -> tuple[Case, CaseResult, Any, frozenset[int]]:
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
    count, seconds = tracer.count(case.device), time.perf_counter() - started
    outcome, said = measured(Aten(), count, seconds, isolated=False)
    census = said.census if said else None
    changes = {"aten": tuple(sorted(before.changes()))}
    compared = {id(tensor) for tensor in mode.compared} if mode else set()
    given = enumerate(tensor for _, tensor in tensors((case.args, case.kwargs)))
    places = frozenset(i for i, tensor in given if id(tensor) in compared and hollows(tensor))
    case = dataclasses.replace(case, reads_values=bool(mode and mode.read))
    return case, CaseResult(outcomes={"aten": outcome}, census=census, changes=changes), result, places


def _zeros(tensor: torch.Tensor) -> torch.Tensor:
    return torch.zeros(tensor.shape, dtype=tensor.dtype) if tensor.is_meta else tensor


@contextmanager
def _attribute(owner: Any, name: str, value: Any) -> Iterator[None]:
    object.__setattr__(owner, name, value)
    try:
        yield
    finally:
        object.__delattr__(owner, name)


class _Same:
    """Equal to itself alone; holds its object, whose id is not given to another as long."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self._value is other._value

    def __hash__(self) -> int:
        return id(self._value)


def _key(tree: Any) -> Any:
    """Equal for inputs that a forward on meta can't tell apart: shapes and dtypes, and plain values as they are."""
    if isinstance(tree, torch.Tensor):
        return (tuple(tree.shape), tree.dtype)
    if isinstance(tree, Mapping):
        return tuple((key, _key(value)) for key, value in tree.items())
    if isinstance(tree, list | tuple):
        return tuple(_key(item) for item in tree)
    return (type(tree), tree) if isinstance(tree, str | int | float | bool | type(None)) else _Same(tree)


def _values(tree: Any, compared: frozenset[int]) -> Any:
    """What the integers and booleans among the inputs hold, and those that the forward compares."""
    given = enumerate(tensor for _, tensor in tensors(tree))
    chosen = (tensor for i, tensor in given if i in compared or not hollows(tensor))
    return tuple(t.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes() for t in chosen)


_NOTHING = object()


def _held(module: torch.nn.Module, name: str) -> Any:
    own = vars(module)
    stores = (own, *(own.get(store, {}) for store in ("_parameters", "_buffers", "_modules")))
    return next((store[name] for store in stores if name in store), _NOTHING)


def _changing(module: torch.nn.Module) -> bool:
    """Whether calls with equal inputs may differ: something of it was replaced by code that may keep a count."""
    return any("forward" in vars(m) or m._forward_hooks or m._forward_pre_hooks for m in module.modules())


def _extended(module: torch.nn.Module) -> bool:
    """Whether adapters, caches or tiles make of it what its config does not say."""
    registries = (getattr(m, _REGISTRY, None) for m in module.modules())  # some pipelines make empty ones
    altered = getattr(module, "peft_config", None) or getattr(module, "use_tiling", False)
    return bool(altered) or any(registry and registry.hooks for registry in registries)


def _batch(case: Case) -> int:
    """Size of the first dimension of the first input that has one."""
    return next((spec.shape[0] for spec in case.inputs if spec.shape), 1)


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
