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
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from crosscheck.case import called
from crosscheck.errors import UncountedError, one_line
from crosscheck.pipelines.distinct_calls import REGISTRY, Calls, batch, changing, hollow_case, key, traced, values
from crosscheck.records import HEADLINE
from crosscheck.tracing import aten_rules
from crosscheck.tracing.patching import replaced
from crosscheck.tracing.snapshot import preserved
from crosscheck.tracing.tensor_trees import map_tensors

#: Methods of a component that a pipeline calls, besides calling it.
_ENTRIES = re.compile(r"_?(en|de)code|get_\w+_features|quantize|generate")


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
        name = aten_rules.key(func)
        if not self._hollow.inside and aten_rules.kind(name) in HEADLINE:
            shapes = tuple(tuple(a.shape) for a in args if isinstance(a, torch.Tensor))
            out = result if isinstance(result, torch.Tensor) else result[0]  # fused attention gives statistics too
            _, macs = aten_rules.macs(name, args, shapes, tuple(out.shape), "", out.dtype.is_complex) or ("", 0)
            self.macs += macs
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
        shapes, state = (name, key(args), key(kwargs)), self._states[component]
        asked = (shapes, self._values(shapes, args, kwargs), state)
        if asked not in self._answers or changing(module):
            calls, result = self._trace(module, entry, name, args, kwargs)
            if calls.case.real_integers:
                self._by_value[shapes] = self._by_value.get(shapes, frozenset()) | calls.compared
            now = self._values(shapes, args, kwargs)
            distinct = (shapes, now, None if calls.by_op is None else tuple(calls.by_op.items()))
            # Something it keeps, such as a table: the next call may run otherwise.
            self._states[component] += any(calls.trace.changes.values())
            calls = self._calls.setdefault(distinct, calls)
            self._answers[shapes, now, state] = (calls, result)
        else:
            calls, result = self._answers[asked]
        calls.calls += 1
        return map_tensors(_zeros, result)

    def _values(self, shapes: Any, args: Any, kwargs: Any) -> Any:
        """The values that tell one input of these shapes from another: none, while its forward read none."""
        compared = self._by_value.get(shapes)
        return None if compared is None else values((args, kwargs), compared)

    def _trace(
        self, module: torch.nn.Module, entry: str, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Calls, Any]:
        case = hollow_case(module, args, kwargs, name, entry)
        self.inside = True
        try:
            case, trace, result, compared = traced(case)
        except Exception:
            try:
                case = hollow_case(module, args, kwargs, name, entry, real_integers=True)
                case, trace, result, compared = traced(case)
            except Exception as error:
                raise UncountedError(
                    f"{name} ({type(module).__name__}) can't be run hollow: {one_line(error)}"
                ) from error
        finally:
            self.inside = False
        if self._places[id(module)].partition(".")[0] in self._written:
            case = dataclasses.replace(case, config=None)  # it is no longer what its config says
        return Calls(case=case, trace=trace, batch_size=batch(case), compared=compared), result

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
            stack.enter_context(replaced(torch.nn.Module, "__call__", run))
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
        """Writes of a pipeline or its callbacks to a component between calls: the next call may run otherwise."""

        def noticing(name: str) -> Any:
            original = getattr(torch.nn.Module, name)

            def write(module: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
                place = self._places.get(id(module)) if not self.inside else None
                attribute, *value = (*args, *kwargs.values())
                if place and attribute != REGISTRY and not (value and _held(module, attribute) is value[0]):
                    component = place.partition(".")[0]
                    self._states[component] += 1
                    self._written.add(component)
                return original(module, *args, **kwargs)

            return replaced(torch.nn.Module, name, write)

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
            replaced(DiffusionPipeline, "device", device),
            replaced(DiffusionPipeline, "_execution_device", device),
            replaced(ModelMixin, "device", device),
            replaced(PreTrainedModel, "device", device),
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

    with replaced(VaeImageProcessor, "postprocess", postprocess):
        yield


def _zeros(tensor: torch.Tensor) -> torch.Tensor:
    return torch.zeros(tensor.shape, dtype=tensor.dtype) if tensor.is_meta else tensor


@contextmanager
def _attribute(owner: Any, name: str, value: Any) -> Iterator[None]:
    object.__setattr__(owner, name, value)
    try:
        yield
    finally:
        object.__delattr__(owner, name)


_NOTHING = object()


def _held(module: torch.nn.Module, name: str) -> Any:
    own = vars(module)
    stores = (own, *(own.get(store, {}) for store in ("_parameters", "_buffers", "_modules")))
    return next((store[name] for store in stores if name in store), _NOTHING)
