"""What equal modules with equal inputs were counted for, in a folder: models share text encoders and decoders.

Equal means: the same config, the same tree of classes with the same plain attributes and processors, parameters of the
same shapes, and inputs that a forward on meta can't tell apart.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch

from crosscheck.backends.interface import Case
from crosscheck.records import CaseResult, Measured

_PLAIN = (str, int, float, bool, type(None), torch.dtype, torch.device, torch.Size)


class Memory:
    """Results by what was counted; several processes may use one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def recall(self, case: Case, names: Sequence[str]) -> CaseResult | None:
        """What ``names`` said of an equal case, if they were asked."""
        place = self._place(case, names)
        if place is None or not place.exists():
            return None
        return msgspec.msgpack.decode(place.read_bytes(), type=CaseResult)

    def keep(self, case: Case, names: Sequence[str], result: CaseResult) -> None:
        """Remember a result in which every tool gave a number; another may do better next time."""
        place = self._place(case, names)
        if place is None or not all(isinstance(outcome, Measured) for outcome in result.outcomes.values()):
            return
        with tempfile.NamedTemporaryFile(dir=self._folder, delete=False) as file:
            file.write(msgspec.msgpack.encode(result))
        os.replace(file.name, place)

    def _place(self, case: Case, names: Sequence[str]) -> Path | None:
        if not case.hollow or case.config is None or case.real_integers:
            return None
        given = _described((case.args, dict(case.kwargs)))
        if given is None:
            return None
        described = (names, case.entry, case.device, torch.is_grad_enabled(), given, _modules(case), dict(case.config))
        return self._folder / hashlib.sha256(repr(described).encode()).hexdigest()


def _modules(case: Case) -> list[Any]:
    """Of each module its class, what its attributes, parameters and buffers are like, and its attention processor."""
    return [
        (
            path,
            _class(module),
            sorted((name, repr(said)) for name, value in vars(module).items() if (said := _described(value))),
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
