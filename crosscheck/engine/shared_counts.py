"""Counts of equal modules with equal inputs, kept in a folder: models share text encoders and decoders.

Equal means: the same config, the same tree of classes with the same plain attributes and processors, parameters of the
same shapes, and inputs that a forward on meta can't tell apart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch
from filelock import FileLock

from crosscheck.case import Case
from crosscheck.engine.job import NOTHING, merged
from crosscheck.engine.measure import measure
from crosscheck.records import CaseResult, Measured

_PLAIN = (str, int, float, bool, type(None), torch.dtype, torch.device, torch.Size)


class SharedCounts:
    """Results by what was counted, and the turn to count: one process at a time has it, and what it finds is there for
    the next.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._turn = FileLock(folder / "turn")

    def measure(
        self, cases: Sequence[Case], names: Sequence[str], already_counted: Mapping[str, CaseResult], **options: Any
    ) -> list[CaseResult]:
        """Measure as `crosscheck.engine.measure.measure` does, without counting again what is remembered."""
        places = [self._place(case) for case in cases]
        with self._turn:
            remembered = {
                case.name: merged([_recalled(place), already_counted.get(case.name, NOTHING)])
                for case, place in zip(cases, places, strict=True)
            }
            results = measure(cases, names, already_counted=remembered, **options)
            for place, result in zip(places, results, strict=True):
                _save(place, result)
        return results

    def _place(self, case: Case) -> Path | None:
        """The file of all that equals ``case``; None where no text describes it for certain."""
        if not case.hollow or case.config is None or case.real_integers:
            return None
        given = _described((case.args, dict(case.kwargs)))
        if given is None:
            return None
        described = (case.entry, case.device, torch.is_grad_enabled(), given, _modules(case), dict(case.config))
        return self._folder / hashlib.sha256(repr(described).encode()).hexdigest()


def _recalled(place: Path | None) -> CaseResult:
    if place is None or not place.exists():
        return NOTHING
    return msgspec.msgpack.decode(place.read_bytes(), type=CaseResult)


def _save(place: Path | None, result: CaseResult) -> None:
    """Only numbers: a tool that gave none may do better next time."""
    if place is not None:
        numbers = {name: outcome for name, outcome in result.outcomes.items() if isinstance(outcome, Measured)}
        place.write_bytes(msgspec.msgpack.encode(msgspec.structs.replace(result, outcomes=numbers)))


def _modules(case: Case) -> list[Any]:
    """Of each module its class, what its attributes, parameters and buffers are like, and its attention processor."""
    return [
        (
            path,
            _class(module),
            sorted((name, repr(found)) for name, value in vars(module).items() if (found := _described(value))),
            _class(case.processors.get(module)),
        )
        for path, module in case.module.named_modules()
    ]


def _class(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _described(value: Any) -> Any:
    """Shapes and plain values; None where something else is among them, which no text describes for certain."""
    if isinstance(value, torch.Tensor):
        return tuple(value.shape), value.dtype
    if isinstance(value, Mapping):
        return _described(tuple(value.items()))
    if isinstance(value, list | tuple):
        parts = [_described(item) for item in value]
        return None if None in parts else parts
    return (value,) if isinstance(value, _PLAIN) else None
