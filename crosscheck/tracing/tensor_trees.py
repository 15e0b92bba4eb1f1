"""Tensors inside the arguments and results of a call: lists, dictionaries, dataclasses, plain objects."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch

from crosscheck.records import Shape, TensorSpec
from crosscheck.tracing import versions

_LEAVES = (str, bytes, int, float, complex, bool, type(None), type, torch.dtype, torch.device, torch.Generator)


def map_tensors(function: Callable[[torch.Tensor], Any], tree: Any) -> Any:
    """``tree`` with every tensor replaced by ``function(tensor)``; what holds no tensor is passed as it is."""
    return _map(function, tree, {})


def _map(function: Callable[[torch.Tensor], Any], tree: Any, done: dict[int, Any]) -> Any:
    if isinstance(tree, torch.Tensor):
        return function(tree)
    if isinstance(tree, (*_LEAVES, torch.nn.Module)) or callable(tree):
        return tree
    if id(tree) in done:
        return done[id(tree)]
    if isinstance(tree, tuple):
        items = [_map(function, item, done) for item in tree]
        return type(tree)(*items) if hasattr(tree, "_fields") else type(tree)(items)
    if isinstance(tree, list):
        return [_map(function, item, done) for item in tree]
    if attributes(tree) is None and not isinstance(tree, dict):
        return tree
    return _map_object(function, tree, done)


def _map_object(function: Callable[[torch.Tensor], Any], tree: Any, done: dict[int, Any]) -> Any:
    """Dictionaries (a model's output is one, with the same values as attributes too) and plain objects."""
    if not any(True for _ in tensors(tree)):
        return tree
    result = done[id(tree)] = copy.copy(tree)
    for key, value in list((attributes(tree) or {}).items()):
        object.__setattr__(result, key, _map(function, value, done))
    if isinstance(tree, dict):
        for key, value in tree.items():
            dict.__setitem__(result, key, _map(function, value, done))
    return result


def tensors(tree: Any, name: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor of ``tree`` with its dotted name, each object entered once."""
    yield from _tensors(tree, name, set())


def _tensors(tree: Any, name: str, seen: set[int]) -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(tree, torch.Tensor):
        yield name, tree
    if isinstance(tree, (*_LEAVES, torch.Tensor, torch.nn.Module)) or callable(tree) or id(tree) in seen:
        return
    seen.add(id(tree))
    for key, value in _items(tree):
        yield from _tensors(value, f"{name}.{key}" if name else str(key), seen)


def _items(tree: Any) -> list[tuple[Any, Any]]:
    if isinstance(tree, Mapping):
        return list(tree.items())
    if isinstance(tree, list | tuple):
        return list(enumerate(tree))
    return list((attributes(tree) or {}).items())


def attributes(held: Any) -> dict[str, Any] | None:
    """The dictionary of an object's attributes; None where it has none, or won't show it."""
    try:
        own = held.__dict__
    except Exception:  # what a class of the caller's raises
        return None
    return own if type(own) is dict else None


def flat(tree: Iterable[Any]) -> Iterator[Any]:
    """The contents of lists and tuples, however deep."""
    for item in tree:
        if isinstance(item, list | tuple):
            yield from flat(item)
        else:
            yield item


def shape(tensor: torch.Tensor) -> Shape:
    """The sizes of a tensor; of a nested one the rows of all its parts, and the last size, which they share."""
    if not tensor.is_nested:
        return tuple(tensor.shape)
    held = tensor._values if tensor.layout is not torch.strided else tensor.values()
    try:
        width: int = tensor.size(-1)
    except RuntimeError:  # the parts differ in it
        return (held.numel(),)
    return held.numel() // width, width


def specs(method: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[TensorSpec, ...]:
    """Name, shape and dtype of each tensor given to ``method``, by its parameters' names where they bind."""
    try:
        given: dict[str, Any] = dict(versions.signature(method).bind(*args, **kwargs).arguments)
    except (TypeError, ValueError):
        given = {**{f"input_{i}": arg for i, arg in enumerate(args)}, **kwargs}
    if isinstance(given.get("kwargs"), dict):
        given.update(given.pop("kwargs"))
    return tuple(
        TensorSpec(name=name, shape=shape(tensor), dtype=str(tensor.dtype).removeprefix("torch."))
        for name, tensor in tensors(given)
    )
