"""The module of a tree that is running: entered by a call, or by ``forward`` itself, where hooks see nothing."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from torch.nn.parameter import is_lazy
from torch.nn.utils.rnn import PackedSequence

from crosscheck.records import ModuleRow, Shape
from crosscheck.tracing import transforms
from crosscheck.tracing.fused_layers import Tokens
from crosscheck.tracing.patching import like, replaced
from crosscheck.tracing.tensor_trees import shape

_CONTAINERS = (torch.nn.Sequential, torch.nn.ModuleList, torch.nn.ModuleDict)


class Frame(NamedTuple):
    """A module that is running, by its id."""

    module: int
    direct: bool
    """Its ``forward`` was entered by itself."""


class RunningModules:
    """The modules below ``root``, the one that is running, and what was seen of each."""

    def __init__(self, root: torch.nn.Module, unplaced: Callable[[str], None]) -> None:
        self._unplaced = unplaced
        self._thread = threading.get_ident()
        self.paths: dict[int, list[str]] = {}
        self.modules: dict[int, torch.nn.Module] = {}
        for path, module in root.named_modules(remove_duplicate=False):
            self.paths.setdefault(id(module), []).append(path)
            self.modules[id(module)] = module
        self._visits: Counter[int] = Counter()
        self._visit(root)
        # Now: a lazy module changes its class at its first forward.
        self._class_names = {key: f"{type(m).__module__}.{type(m).__qualname__}" for key, m in self.modules.items()}
        self._bases = {key: _base(type(m)) for key, m in self.modules.items()}
        self._outputs: dict[int, list[Shape]] = {
            key: [] for key, module in self.modules.items() if module._parameters and _is_leaf(module)
        }
        self._positional_counts: dict[int, set[int]] = {key: set() for key, base in self._bases.items() if base}
        self._packed_outputs: dict[int, list[tuple[int, int]]] = {key: [] for key in self._outputs}
        self._calls: Counter[int] = Counter()
        self._direct: Counter[int] = Counter()
        self._mapped: set[int] = set()
        self._derived: set[int] = set()
        self._stack = [Frame(id(root), False)]
        self.leaves: dict[int, torch.Tensor] = {}
        """Given to modules, and able to have a gradient."""

    def _visit(self, module: torch.nn.Module) -> None:
        self._visits[id(module)] += 1
        for child in module.children():
            self._visit(child)

    @property
    def innermost(self) -> Frame:
        """The module that runs now."""
        return self._stack[-1]

    @property
    def called(self) -> int:
        """The innermost module that was entered through ``__call__``: where hooks would place what runs now."""
        return next(frame.module for frame in reversed(self._stack) if not frame.direct)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Know the module that is running while inside."""
        original_call = torch.nn.Module.__call__

        @like(original_call)
        def called(module: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
            self._given(id(module), args)
            with self._entered(module, direct=False) if id(module) in self.paths else nullcontext():
                result = original_call(module, *args, **kwargs)
            self._returned(id(module), len(args), result)
            return result

        def watched(forward: Callable[..., Any]) -> Callable[..., Any]:
            @like(forward)
            def run(module: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
                # The module on top is in its own call: this is that call's forward, or its super's.
                direct = id(module) in self.paths and self.innermost.module != id(module)
                with self._entered(module, direct=True) if direct else nullcontext():
                    return forward(module, *args, **kwargs)

            return run

        classes = {type(m) for m in self.modules.values() if not isinstance(m, torch.jit.ScriptModule)}
        forwards: list[tuple[Any, Any]] = [(cls, cls.forward) for cls in classes]  # before any is replaced
        with ExitStack() as stack:
            stack.enter_context(replaced(torch.nn.Module, "__call__", called))
            for cls, forward in forwards:
                stack.enter_context(replaced(cls, "forward", watched(forward)))
            yield

    @contextmanager
    def _entered(self, module: torch.nn.Module, direct: bool) -> Iterator[None]:
        """Operations belong to the innermost module of the tree; one made in passing is no part of it."""
        if threading.get_ident() != self._thread:
            self._unplaced(f"{type(module).__name__} in a thread")
            yield
            return
        (self._direct if direct else self._calls)[id(module)] += 1
        self._stack.append(Frame(id(module), direct))
        try:
            yield
        finally:
            self._stack.pop()

    def _given(self, module: int, args: tuple[Any, ...]) -> None:
        if args and isinstance(args[0], torch.Tensor) and transforms.is_mapped(args[0]):
            self._mapped.add(module)
        if transforms.is_differentiated():
            self._derived.add(module)
        self.leaves.update((id(x), x) for x in args if isinstance(x, torch.Tensor) and x.requires_grad and x.is_leaf)

    def _returned(self, module: int, positional: int, result: Any) -> None:
        if module in self._positional_counts:
            self._positional_counts[module].add(positional)
        if module in self._outputs:
            self._outputs[module].append(_first_shape(result))
            first = result[0] if isinstance(result, tuple) and result else result
            if isinstance(first, PackedSequence):
                self._packed_outputs[module].append((len(first.batch_sizes), int(first.batch_sizes[0])))

    def row(self, key: int, tokens: Tokens | None) -> ModuleRow:
        """The row of the module with this id, its paths left out.

        ``tokens`` are those that torch keeps where it may run the module as one kernel, (0, 0) where it keeps all.
        """
        module = self.modules[key]
        parameters = _parameters(module) if key in self._outputs else {}
        positional = tuple(sorted(self._positional_counts.get(key, ())))
        return ModuleRow(
            class_name=self._class_names[key],
            base=self._bases[key],
            paths=(),
            params=sum(p.numel() for p in module._parameters.values() if p is not None and not is_lazy(p)),
            training=getattr(module, "training", False),
            leaf=next(module.children(), None) is None,
            calls=self._calls[key],
            direct=self._direct[key],
            visits=self._visits[key],
            native=tokens is not None,
            tokens=tokens if tokens and any(tokens) else (),
            parameters=parameters,
            outputs=tuple(self._outputs[key]) if parameters else (),
            positional_counts=() if positional == (1,) else positional,
            packed_outputs=tuple(self._packed_outputs.get(key, ())),
            mapped=key in self._mapped,
            derived=key in self._derived,
        )


def _base(cls: type) -> str:
    """The nearest class of torch.nn among ``cls`` and its bases; a lazy one is what it becomes."""
    torchs = (base for base in cls.__mro__ if base.__module__.startswith("torch.nn.modules."))
    name = next((base.__name__ for base in torchs if "Lazy" not in base.__name__), "")
    return "" if name == "Module" else name


def _is_leaf(module: torch.nn.Module) -> bool:
    """Whether it has no children but empty containers."""
    return all(isinstance(child, _CONTAINERS) and not len(child) for child in module.children())


def _parameters(module: torch.nn.Module) -> dict[str, Shape]:
    return {name: tuple(p.shape) for name, p in module.named_parameters(recurse=False) if not is_lazy(p)}


def _first_shape(result: Any) -> Shape:
    """Shape of the first tensor in it; () where there is none."""
    while isinstance(result, list | tuple) and result:  # a packed sequence is a tuple
        result = result[0]
    return shape(result) if isinstance(result, torch.Tensor) else ()
