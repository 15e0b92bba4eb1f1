"""What a pipeline's components really run, on real tensors: each outermost call with its shapes and MACs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from typing import Any
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from crosscheck.pipelines.check import modules
from crosscheck.pipelines.hollow import Hollow
from crosscheck.records import HEADLINE, TensorSpec
from crosscheck.tracing import aten_rules
from crosscheck.tracing.snapshot import Snapshot
from crosscheck.tracing.tensor_trees import specs
from crosscheck.tracing.tracer import Tracer

ENTRIES = ("encode", "decode", "_encode", "_decode", "get_text_features", "get_image_features", "quantize")


class Outside(TorchDispatchMode):
    """Products outside every component."""

    macs, inside = 0, False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if not self.inside and aten_rules.kind(name) in HEADLINE and isinstance(result, torch.Tensor):
            shapes = tuple(tuple(a.shape) for a in args if isinstance(a, torch.Tensor))
            _, macs = aten_rules.macs(name, args, shapes, tuple(result.shape), "", result.dtype.is_complex) or ("", 0)
            self.macs += macs
        return result


def told(hollow: Hollow) -> dict[str, list[Any]]:
    """The same of a hollow run."""
    calls: dict[str, list[Any]] = {}
    for name, distinct in hollow.cases().items():
        for case in distinct:
            calls.setdefault(name, []).extend([[case.macs, shapes_of(case.case.inputs)]] * case.calls)
    return {name: sorted(found) for name, found in calls.items()}


def shapes_of(inputs: Iterable[TensorSpec]) -> list[Any]:
    return sorted([spec.name, list(spec.shape)] for spec in inputs)


def observed(components: Mapping[str, torch.nn.Module], run: Callable[[], Any]) -> tuple[dict[str, list[Any]], int]:
    """Component -> [MACs, shapes of its inputs] of each call, while ``run`` runs; and the MACs outside of them."""
    places: dict[int, str] = {}
    for name, component in components.items():
        for path, module in component.named_modules():
            places.setdefault(id(module), f"{name}.{path}" if path else name)
    calls: dict[str, list[Any]] = {}
    original = torch.nn.Module.__call__
    outside = Outside()

    def traced(module: torch.nn.Module, name: str, method: Any, forward: Any, args: Any, kwargs: Any) -> Any:
        shapes = shapes_of(specs(forward, args, kwargs))
        tracer = Tracer(module)
        outside.inside = True
        try:
            with tracer.tracing():
                result = method(*args, **kwargs)
        finally:
            outside.inside = False
        macs = sum(tracer.traced("cpu").by_op.values())
        if macs or name in components:
            calls.setdefault(name, []).append([macs, shapes])
        return result

    def called(module: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
        if outside.inside or id(module) not in places:
            return original(module, *args, **kwargs)
        return traced(module, places[id(module)], functools.partial(original, module), module.forward, args, kwargs)

    def entry(module: torch.nn.Module, name: str, method: Any) -> Any:
        def entered(*args: Any, **kwargs: Any) -> Any:
            if outside.inside:
                return method(*args, **kwargs)
            place = places[id(module)]
            place = f"{place}_{name}r" if name in ("encode", "decode") else f"{place}.{name}"
            return traced(module, place, method, method, args, kwargs)

        return functools.wraps(method)(entered)

    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(torch.nn.Module, "__call__", called))
        for module in components.values():
            for name in ENTRIES:
                method = getattr(module, name, None)
                if callable(method) and not isinstance(method, torch.nn.Module):
                    stack.callback(object.__delattr__, module, name)
                    object.__setattr__(module, name, entry(module, name, method))
        stack.enter_context(outside)
        run()
    return {name: sorted(found) for name, found in calls.items()}, outside.macs


def compare(make: Callable[[], Any], arguments: Callable[[Any], Mapping[str, Any]]) -> dict[str, list[Any]]:
    """A pipeline run really, and made anew and run hollow: equal, call by call, and left as it was. What it ran."""
    torch.manual_seed(0)
    pipe = make()
    pipe.set_progress_bar_config(disable=True)
    torch.manual_seed(0)
    with torch.no_grad():
        real, real_outside = observed(modules(pipe), lambda: pipe(**arguments(pipe)))
    torch.manual_seed(0)
    pipe = make()
    pipe.set_progress_bar_config(disable=True)
    before = {name: Snapshot(part, values=False) for name, part in modules(pipe).items()}
    hollow = Hollow(modules(pipe))
    torch.manual_seed(0)
    with hollow.answering(), torch.no_grad():
        pipe(**arguments(pipe))
    hollow_calls = told(hollow)
    assert hollow_calls == real
    assert hollow.outside_macs == real_outside
    assert any(macs for calls in hollow_calls.values() for macs, _ in calls)
    assert {name: state.changes() for name, state in before.items()} == dict.fromkeys(before, frozenset())
    return hollow_calls
