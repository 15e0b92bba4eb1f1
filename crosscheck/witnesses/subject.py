"""The subject of a witness: a component with real tensors and random weights, run once, its products between marks."""

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

from crosscheck.case import Case
from crosscheck.pipelines.check import run_with_cases
from crosscheck.records import Ledger, OpRow, Workload
from crosscheck.tracing.calling import call, swapped
from crosscheck.tracing.quick_meta import QuickMeta
from crosscheck.tracing.tensor_trees import map_tensors, tensors
from crosscheck.tracing.tracer import Tracer
from crosscheck.witnesses.evidence import Execution

#: Random values, repeated: no count hangs on them, and drawing billions takes half a minute.
_BLOCK = 1 << 20
#: As small as weights are, so that values stay finite through any depth.
_SPREAD = 0.02


class _Marks:
    """Marks where each operator with products begins and ends, and keeps what ran between them."""

    def __init__(self, begin: Callable[[int], None], end: Callable[[], None]) -> None:
        self._begin, self._end = begin, end
        self.operations: list[Execution] = []

    def begins(self) -> None:
        """An operation is about to run."""
        self._begin(len(self.operations))

    def ended(self, ran: OpRow | None, path: str, arguments: Mapping[str, Any]) -> None:
        """It ran, if ``ran`` has it."""
        self._end()
        if ran is None:
            return
        self.operations.append(
            Execution(
                op=ran.op,
                aten=ran.aten,
                shapes=ran.shapes,
                out=ran.out,
                paths=(path,),
                macs=ran.macs,
                is_causal=bool(arguments.get("is_causal")),
                transposed=bool(arguments.get("transposed")),
            )
        )


def reference_run(model: Any, asked: Workload) -> tuple[Ledger, dict[str, Case]]:
    """A pipeline's ledger by the reference alone, and its components at batch 1."""
    return run_with_cases(model, asked, backends=["analytic", "aten"])


def run(case: Case, begin: Callable[[int], None], end: Callable[[], None]) -> list[Execution]:
    """Run ``case`` once and say what it ran, each by itself; ``begin`` gets each one's place in what is returned.

    Raises `UncountedError` where an operator that may hold MACs has no rule.
    """
    marks = _Marks(begin, end)
    with Tracer(case.module, marks).tracing():
        call(case)
    return marks.operations


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
