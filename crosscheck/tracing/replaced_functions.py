"""The functions that counters replace on ``torch``, ``torch.nn.functional`` and ``torch.Tensor``, and an observer.

A replaced attribute sees what no mode of torch's does: the name under which a function was called (``a @ b`` is no
``a.matmul(b)``), how its arguments were given, and calls by Python code of torch's own.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any

import torch
import torch.nn.functional as F

from crosscheck.tracing.patching import replaced

_OWNERS = {"F": F, "torch": torch, "Tensor": torch.Tensor}
_NAMES = {
    "F": "linear conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d scaled_dot_product_attention "
    "multi_head_attention_forward relu prelu elu leaky_relu relu6 hardtanh silu gelu softmax batch_norm layer_norm "
    "instance_norm group_norm avg_pool1d avg_pool2d avg_pool3d max_pool1d max_pool2d max_pool3d adaptive_avg_pool1d "
    "adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d upsample "
    "interpolate",
    "torch": "matmul mm bmm addmm baddbmm einsum mul add",
    "Tensor": "matmul __matmul__ mm bmm addmm baddbmm mul add",
}

_FUNCTIONS = [(place, name) for place, names in _NAMES.items() for name in names.split()]
_ORIGINALS = {(place, name): getattr(_OWNERS[place], name) for place, name in _FUNCTIONS}
_INHERITED = object()
_AS_IT_CAME = {(place, name): vars(_OWNERS[place]).get(name, _INHERITED) for place, name in _FUNCTIONS}
_BUILT_IN = (
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.MethodWrapperType,
)

Wrap = Callable[[str, Callable[..., Any]], Callable[..., Any]]
"""Makes of a name, such as ``F.linear``, and the function the one that takes its place."""


@contextmanager
def observing(wrap: Wrap) -> Iterator[None]:
    """Replace each of the functions while inside."""
    with imports_undisturbed(), ExitStack() as stack:
        for place, name in _FUNCTIONS:
            function = wrap(f"{place}.{name}", getattr(_OWNERS[place], name))
            stack.enter_context(replaced(_OWNERS[place], name, function))
        yield


class _TorchImports(MetaPathFinder):
    """Has modules of torch find torch's own functions while they are imported."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path) if fullname.startswith("torch.") else None
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module: Any) -> None:
            now = {(place, name): vars(_OWNERS[place]).get(name, _INHERITED) for place, name in _FUNCTIONS}
            _put(_AS_IT_CAME)
            try:
                execute(module)
            finally:
                _put(now)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]  # of this import's loader alone
        return spec


def _put(functions: dict[tuple[str, str], Any]) -> None:
    for (place, name), function in functions.items():
        owner = _OWNERS[place]
        if vars(owner).get(name, _INHERITED) is function:
            continue
        if function is _INHERITED:
            delattr(owner, name)
        else:
            setattr(owner, name, function)


@contextmanager
def imports_undisturbed() -> Iterator[None]:
    """While inside, modules of torch that are imported see none of the functions that a counter put in place.

    Torch imports torch._dynamo at a kernel in Python or a checkpoint, and it keeps what it finds: from then on
    torch.compile would not know torch.add.
    """
    finder = _TorchImports()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


def original(function: Any) -> Any:
    """Torch's own function, where ``function`` has taken its place.

    Torch hands a mode what has the function's name, also of a call that did not go through it, such as ``a + b``. A
    mode of ours that called it would have a counter count what it can't see.
    """
    if isinstance(function, _BUILT_IN):
        return function
    for key in _FUNCTIONS:
        if getattr(_OWNERS[key[0]], key[1]) is function:
            return _ORIGINALS[key]
    return function


def words(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str, ...]:
    """Arguments in words: ``T`` for a tensor, a plain value as Python writes it, else the type's name."""
    return (*map(_word, args), *(f"{name}={_word(value)}" for name, value in kwargs.items()))


def _word(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return "T"
    if value is None or type(value) in (bool, int, float, str):
        return repr(value)
    if isinstance(value, list | tuple) and all(type(item) in (bool, int, float) for item in value):
        return repr(tuple(value) if type(value) is torch.Size else value)
    return type(value).__name__
