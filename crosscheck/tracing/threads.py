"""Threads that a forward starts: a mode sees its own thread only, and products there have no place."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

from crosscheck.records import HEADLINE
from crosscheck.tracing import aten_rules
from crosscheck.tracing.patching import replaced


class _Elsewhere(TorchDispatchMode):
    """Stays in a thread that the forward starts."""

    def __init__(self, unplaced: Callable[[str], None]) -> None:
        super().__init__()
        self._unplaced = unplaced

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = aten_rules.key(func)
        if aten_rules.kind(name) in HEADLINE or not aten_rules.is_placed(name):
            self._unplaced(f"{func.overloadpacket._qualified_op_name} in a thread")
        return func(*args, **(kwargs or {}))


@contextmanager
def watching_threads(unplaced: Callable[[str], None]) -> Iterator[None]:
    """Tell ``unplaced`` of each operator with products in a thread that is started inside."""
    original = threading.Thread.run

    def run(thread: threading.Thread) -> None:
        with _Elsewhere(unplaced):
            original(thread)

    with replaced(threading.Thread, "run", run):
        yield
