"""State that a counter may not change: the module it is given, torch's functions, the random state.

A `Snapshot` taken before names every change after, and puts everything back.
"""

from __future__ import annotations

import copy
import functools
import random
import sys
import types
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
import torch.nn.functional as F
from torch.nn.parameter import is_lazy

from crosscheck.tracing.tensor_trees import attributes

_PATCHABLE = (torch, F, torch.Tensor, torch.nn.Module, torch._C._nn)
_PLAIN = (dict, OrderedDict, list, set)
#: What has attributes and keeps no state in them, or state that is looked after otherwise.
_NO_STATE = (
    torch.nn.Module,
    type,
    types.ModuleType,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodType,
    functools.partial,
    functools._lru_cache_wrapper,
)
_UNSET = object()


class Snapshot:
    """State of ``module`` and of torch. ``values=False`` leaves out tensors' contents: meta tensors have none."""

    def __init__(self, module: torch.nn.Module, *, values: bool) -> None:
        self._modules = [(m, _saved(vars(m))) for m in module.modules()]
        self._types = [(m, type(m)) for m, _ in self._modules]
        self._lazy = [
            (store, name, parameter)
            for m, _ in self._modules
            for store in (m._parameters, m._buffers)
            for name, parameter in store.items()
            if is_lazy(parameter)
        ]
        inner = list(_inner(module))
        self._inner = [(held, _contents(held)) for held in inner if not isinstance(held, torch.Tensor)]
        self._caches = [(cache, cache.cache_info().misses) for cache in _caches({type(m) for m, _ in self._modules})]
        loose = (held for held in inner if isinstance(held, torch.Tensor) and not held.is_meta and not is_lazy(held))
        held_tensors = {id(t): t for t in (*_tensors(module), *loose)} if values else {}
        self._values = [(t, t.detach().clone()) for t in held_tensors.values()]
        self._functions = [(owner, dict(vars(owner))) for owner in _PATCHABLE]
        self._classes = [(c, dict(vars(c))) for c in {type(m) for m, _ in self._modules}]
        self._rng = (random.getstate(), torch.get_rng_state()) if values else None
        self._modes = (torch.is_grad_enabled(), torch.get_default_dtype())
        for store, name, parameter in self._lazy:
            store[name] = _fresh(parameter)  # it becomes a real one in place at the first forward

    def changes(self) -> frozenset[str]:
        """Changes since then without their place, so that like changes count once."""
        found: set[str] = set()
        for module, before in self._modules:
            found.update(_module_changes(before, vars(module)))
        for held, before in self._inner:
            if _differs_inside(before, _contents(held)):
                found.add(f"a {type(held).__name__} in it changed")
        found.update(
            f"cache of {cache.__qualname__} filled"
            for cache, misses in self._caches
            if cache.cache_info().misses != misses
        )
        for owner, before in (*self._functions, *self._classes):
            now = vars(owner)
            found.update(
                f"{owner.__name__}.{name} replaced"
                for name in {*before, *now}
                if before.get(name, _UNSET) is not now.get(name, _UNSET)
                and not _benign(owner, name)
                and name != "manual_seed"  # wrapped by torch._dynamo when torch imports it: put back, no fault
            )
        if any(not torch.equal(tensor, value) for tensor, value in self._values if tensor.shape == value.shape):
            found.add("values of its tensors changed")
        if self._modes != (torch.is_grad_enabled(), torch.get_default_dtype()):
            found.add("grad mode or default dtype changed")
        return frozenset(found)

    def restore(self) -> None:
        """Put everything back as it was."""
        for module, cls in self._types:
            if type(module) is not cls:
                module.__class__ = cls  # a lazy module changes its class at the first forward
        for module, before in self._modules:
            now = vars(module)
            for name in set(now) - set(before):
                del now[name]
            for name, (value, contents) in before.items():
                now[name] = value
                if contents is not None:
                    _refill(value, contents)
        for held, contents in self._inner:
            _refill(held if type(held) in _PLAIN else vars(held), contents)
        for cache, misses in self._caches:
            if cache.cache_info().misses != misses:
                cache.cache_clear()
        for store, name, parameter in self._lazy:
            store[name] = parameter
        for owner, before in (*self._functions, *self._classes):
            for name in {*before, *vars(owner)}:
                if before.get(name, _UNSET) is not vars(owner).get(name, _UNSET) and not _benign(owner, name):
                    if name in before:
                        setattr(owner, name, before[name])
                    else:
                        delattr(owner, name)
        with torch.no_grad():
            for tensor, value in self._values:
                if tensor.shape == value.shape and not torch.equal(tensor, value):
                    tensor.data.copy_(value)
        if self._rng:
            random.setstate(self._rng[0])
            torch.set_rng_state(self._rng[1])
        torch.set_grad_enabled(self._modes[0])
        torch.set_default_dtype(self._modes[1])


def _fresh(lazy: Any) -> Any:
    """A lazy parameter or buffer like it; torch can copy the first only."""
    if isinstance(lazy, torch.nn.Parameter):
        return copy.deepcopy(lazy)
    return type(lazy)(device=lazy.device, dtype=lazy.dtype)


@contextmanager
def preserved(module: torch.nn.Module, *, values: bool) -> Iterator[Snapshot]:
    """Everything as it was afterwards, also after an error."""
    snapshot = Snapshot(module, values=values)
    try:
        yield snapshot
    finally:
        snapshot.restore()


def _tensors(module: torch.nn.Module) -> Iterator[torch.Tensor]:
    seen: set[int] = set()
    for m in module.modules():
        for value in (*m._parameters.values(), *m._buffers.values(), *vars(m).values()):
            if isinstance(value, torch.Tensor) and not is_lazy(value) and not value.is_meta and id(value) not in seen:
                seen.add(id(value))
                yield value


def _saved(attributes: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Each attribute, and a copy of what is in it where it is a plain container."""
    return {name: (value, value.copy() if type(value) in _PLAIN else None) for name, value in attributes.items()}


def _inner(module: torch.nn.Module) -> Iterator[Any]:
    """Objects deeper down in a module's attributes that a forward may change: containers, plain objects, tensors."""
    own = [value for m in module.modules() for name, value in vars(m).items() if "hook" not in name]
    waiting = [inner for value in own if type(value) in _PLAIN for inner in _inside(value)]
    waiting += [value for value in own if type(value) not in _PLAIN]
    seen: set[int] = set()
    while waiting:
        held = waiting.pop()
        if id(held) in seen or isinstance(held, _NO_STATE):
            continue
        seen.add(id(held))
        if isinstance(held, tuple):
            waiting += [*tuple.__iter__(held)]  # a class of the caller's may have no length
        elif isinstance(held, torch.Tensor):
            yield held
        elif type(held) in _PLAIN or attributes(held) is not None:
            yield held
            waiting += _inside(_contents(held))


def _inside(container: Any) -> Any:
    return container.values() if isinstance(container, dict) else container


def _contents(held: Any) -> Any:
    return (held if type(held) in _PLAIN else vars(held)).copy()


def _differs_inside(old: Any, new: Any) -> bool:
    if isinstance(old, dict):
        return old.keys() != new.keys() or any(_differs(value, new[key]) for key, value in old.items())
    return len(old) != len(new) or any(map(_differs, old, new))


def _caches(classes: set[type]) -> Iterator[Any]:
    """The ``lru_cache``s of a model's code: methods', functions' beside them, and those inside a decorator's own."""
    places = {id(place): vars(place) for cls in classes for place in (cls, sys.modules.get(cls.__module__, cls))}
    for place in places.values():
        for value in place.values():
            for held in (value, *_enclosed(value)):
                if isinstance(held, functools._lru_cache_wrapper):
                    yield held


def _enclosed(value: Any) -> Iterator[Any]:
    """Contents of a function's closure."""
    for cell in (isinstance(value, types.FunctionType) and value.__closure__) or ():
        with suppress(ValueError):  # an empty one
            yield cell.cell_contents


def _refill(container: Any, contents: Any) -> None:
    container.clear()
    if isinstance(container, list):
        container.extend(contents)
    else:
        container.update(contents)


_WORDS = {
    "_parameters": "parameter",
    "_buffers": "buffer",
    "_modules": "child module",
    "_forward_hooks": "forward hook",
    "_forward_pre_hooks": "forward pre-hook",
}


def _module_changes(before: dict[str, tuple[Any, Any]], now: dict[str, Any]) -> Iterator[str]:
    for name in before.keys() | now.keys():
        value, contents = before.get(name, (_UNSET, None))
        new = now.get(name, _UNSET)
        if new is value and not contents and not (contents is not None and new):
            continue  # most attributes are the same object, most containers empty
        old = value if contents is None else contents
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _entry_changes(name, old, new)
        elif name == "training" and old != new:
            yield "training flag changed"
        elif _differs(old, new):
            yield f"attribute {name} changed"


def _entry_changes(name: str, old: dict[Any, Any], new: dict[Any, Any]) -> Iterator[str]:
    hook = "hook" in name
    word = _WORDS.get(name, f"attribute {name}")
    for key in old.keys() | new.keys():
        what = word if hook else f"{word} {key}"
        if key not in old or key not in new:
            yield f"{what} {'removed' if key in old else 'added'}"
        elif _differs(old[key], new[key]):
            yield f"{what} replaced"


def _differs(old: Any, new: Any) -> bool:
    if old is new or isinstance(old, torch.Tensor) or isinstance(new, torch.Tensor):
        return old is not new
    if isinstance(old, list | set | int | float | str | tuple):
        try:
            return bool(old != new)
        except Exception:  # an element that can't be compared, such as an array
            return False
    return True


def _benign(owner: Any, name: str) -> bool:
    """Submodules appear as attributes when something imports them; classes keep caches of their own."""
    return isinstance(vars(owner).get(name), types.ModuleType) or name in _CACHES


_CACHES = frozenset(
    "__annotations__ __abstractmethods__ __doc__ __dict__ __weakref__ __slotnames__ _abc_impl _is_full_backward_hook "
    "__warningregistry__".split()
)
