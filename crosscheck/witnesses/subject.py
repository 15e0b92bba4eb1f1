"""What a witness watches: a component with real tensors and random weights, run once, its products between marks."""

from __future__ import annotations

import dataclasses
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from msgspec import structs
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import TorchDispatchMode

from crosscheck.backends import rules
from crosscheck.backends.aten import OpKey, Tracer
from crosscheck.backends.entry import call, swapped
from crosscheck.backends.interface import Case
from crosscheck.backends.meta import QuickMeta
from crosscheck.measure import TIME_LIMIT
from crosscheck.records import HEADLINE, Execution, Ledger
from crosscheck.trees import map_tensors, tensors

#: Random values, repeated: no count hangs on them, and drawing billions takes half a minute.
_BLOCK = 1 << 20
#: As small as weights are, so that values stay finite through any depth.
_SPREAD = 0.02


class Marked(Tracer):
    """The trace, which says where each operator with products begins and ends."""

    def __init__(self, root: torch.nn.Module, begin: Callable[[int], None], end: Callable[[], None]) -> None:
        super().__init__(root)
        self._begin, self._end = begin, end
        self._kept: list[OpKey] = []
        self.operations: list[Execution] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if not (rules.kind(name) in HEADLINE or (name == "mul" and self._function in rules.OUTER_FUNCTIONS)):
            return super().__torch_dispatch__(func, types, args, kwargs)
        self._kept.clear()
        self._begin(len(self.operations))
        try:
            result = super().__torch_dispatch__(func, types, args, kwargs)
        finally:
            self._end()
        given = dict(zip((a.name for a in func._schema.arguments), args, strict=False)) | (kwargs or {})
        key = self._kept[0]
        self.operations.append(
            Execution(
                op=key.op,
                aten=key.aten,
                shapes=key.shapes,
                out=key.out,
                paths=(self._paths[key.module][0],),
                macs=sum(kept.macs for kept in self._kept),
                is_causal=bool(given.get("is_causal")),
                transposed=bool(given.get("transposed")),
            )
        )
        return result

    def _keep(self, key: OpKey) -> None:
        self._kept.append(key)
        super()._keep(key)


def of(model: Any, asked: Mapping[str, Any]) -> tuple[Ledger, dict[str, Case]]:
    """A pipeline's ledger by the reference alone, and its components at batch 1."""
    from crosscheck.run import examined

    return examined(
        model,
        batch_size=1,
        scheduler=None,
        backends=["analytic", "aten"],
        time_limit=TIME_LIMIT,
        progress=lambda case, tool: None,
        asked=asked,
        call={},
    )


def run(case: Case, begin: Callable[[int], None], end: Callable[[], None]) -> list[Execution]:
    """Run ``case`` once and say what it ran, each by itself; ``begin`` gets each one's place in what is returned.

    Raises `UncountedError` where an operator that may hold MACs has no rule.
    """
    marked = Marked(case.module, begin, end)
    with marked.tracing():
        call(case)
    return marked.operations


@contextmanager
def real(case: Case, device: str, dtype: torch.dtype) -> Iterator[Case]:
    """``case`` with real tensors on ``device``: random where there were no values. Its module is put back after."""
    block = torch.randn(_BLOCK, generator=torch.Generator(device).manual_seed(0), device=device)
    block = (_SPREAD * block).to(dtype)

    def made(tensor: torch.Tensor) -> torch.Tensor:
        if is_lazy(tensor):  # the forward makes it
            return tensor
        placed = dtype if tensor.is_floating_point() else tensor.dtype
        if not _empty(tensor):
            filled = tensor.detach().to(device, placed)
        elif tensor.is_floating_point():
            filled = torch.empty(tensor.numel(), device=device, dtype=placed)
            for part in filled.split(_BLOCK):
                part.copy_(block[: part.numel()])
            filled = filled.view(tensor.shape)
        else:  # the first index, or nothing masked
            filled = torch.full(tensor.shape, tensor.dtype is torch.bool, device=device, dtype=placed)
        if device == "cuda" and filled.dim() == 4:
            filled = filled.contiguous(memory_format=torch.channels_last)  # what convolutions are fastest with there
        return torch.nn.Parameter(filled, False) if isinstance(tensor, torch.nn.Parameter) else filled

    with swapped(case, made), torch.no_grad():
        args, kwargs = map_tensors(made, (case.args, dict(case.kwargs)))
        yield dataclasses.replace(case, args=args, kwargs=kwargs, device=device, hollow=False, real_integers=False)


def _empty(tensor: torch.Tensor) -> bool:
    """Whether it holds no values: on meta, or one element for all."""
    return tensor.is_meta or (tensor.numel() > 1 and 0 in tensor.stride())


def executions(ran: Sequence[Execution], found: Callable[[int], dict[str, Any]]) -> tuple[Execution, ...]:
    """Operations alike together; ``found`` gives what was executed for the one at a place: primitives or kernels."""
    alike: dict[Execution, list[str]] = {}
    for place, operation in enumerate(ran):
        alike.setdefault(structs.replace(operation, paths=(), **found(place)), []).extend(operation.paths)
    return tuple(structs.replace(operation, paths=tuple(paths)) for operation, paths in alike.items())


# -- how much memory it takes ------------------------------------------------------------------------------------------


class _Peak(TorchDispatchMode):
    """Bytes of the tensors that operators make, as long as each lives."""

    def __init__(self) -> None:
        super().__init__()
        self._tensors: Counter[int] = Counter()
        self._live = self.bytes = 0
        self.given: set[int] = set()
        """Storages that were there before."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for _, tensor in tensors((result,)):
            storage = tensor.untyped_storage()
            if storage._cdata in self.given:
                continue
            self._tensors[storage._cdata] += 1
            if self._tensors[storage._cdata] == 1:
                self._live += storage.nbytes()
                self.bytes = max(self.bytes, self._live)
            weakref.finalize(tensor, self._release, storage._cdata, storage.nbytes())
        return result

    def _release(self, storage: int, size: int) -> None:
        self._tensors[storage] -= 1
        if not self._tensors[storage]:
            self._live -= size


def memory(case: Case) -> int:
    """Bytes that a forward in float32 adds: tensors that are made for it, and what is live at its peak.

    A bound from above, mostly: attention is fused on real tensors, and written out here. A forward that reads values
    can't be run without any, and then only its tensors are known. It runs ``case`` once.
    """
    sizes: list[int] = []
    peak = _Peak()

    def on_meta(tensor: torch.Tensor) -> torch.Tensor:
        if is_lazy(tensor):
            return tensor
        dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
        if _empty(tensor) or tensor.dtype != dtype:
            sizes.append(tensor.numel() * dtype.itemsize)
        hollow = tensor.detach().to("meta", dtype)
        peak.given.add(hollow.untyped_storage()._cdata)
        return hollow

    with swapped(case, on_meta), torch.no_grad(), QuickMeta():
        args, kwargs = map_tensors(on_meta, (case.args, dict(case.kwargs)))
        with suppress(Exception), peak:
            call(dataclasses.replace(case, args=args, kwargs=kwargs))
    return sum(sizes) + peak.bytes
