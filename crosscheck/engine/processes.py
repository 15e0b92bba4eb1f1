"""Many jobs: each in a forked process of its own, side by side; tensors on a GPU here, one after another.

Nothing that a tool does there reaches the caller or another tool, each begins from the caller's state, and a crash, a
hang or a death costs one job. A process that was forked has none of the threads of its parent, and so computes with
one, as a data loader's workers do (torch/utils/data/_utils/worker.py, set_num_threads); a GPU's context it can't use.
"""

from __future__ import annotations

import dataclasses
import functools
import gc
import multiprocessing
import os
import random
import signal
import sys
import time
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection, wait
from typing import Any, TypeAlias

import msgspec

from crosscheck.case import Case
from crosscheck.engine.job import count
from crosscheck.records import CaseResult, Failed

Progress: TypeAlias = Callable[[str, str], None]
"""Called with a case's name and a tool's as each job ends."""
Job: TypeAlias = tuple[int, tuple[str, ...]]
"""A case by its place, and the backends of one tool."""


def can_fork() -> bool:
    """A daemon, such as a cluster's worker, may have no children."""
    forks = "fork" in multiprocessing.get_all_start_methods() and sys.platform != "darwin"
    return forks and not multiprocessing.current_process().daemon


def processors() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_children(cases: Sequence[Case], jobs: Sequence[Job], time_limit: float, progress: Progress) -> list[CaseResult]:
    """Run each job in a forked process of its own, as many at once as there are processors."""
    if any(cases[case].device == "meta" for case, _ in jobs):
        _warm()
    results: dict[int, CaseResult] = {}
    waiting, running = deque(enumerate(jobs)), list[_Child]()
    try:
        while waiting or running:
            while waiting and len(running) < processors():
                index, (case, names) = waiting.popleft()
                running.append(_start(index, cases[case], names, time_limit))
            wait([c.inbox for c in running], max(0.0, min(c.deadline for c in running) - time.monotonic()))
            for child in list(running):
                case, names = jobs[child.index]
                result = _heard(child, names, time_limit)
                if result is None:
                    continue
                if result is _NEVER_STARTED:
                    result = count(cases[case], names, isolated=False)
                results[child.index] = result
                running.remove(child)
                progress(cases[case].name, names[0])
    finally:
        for child in running:
            child.process.kill()
            child.process.join()
    return [results[i] for i in range(len(jobs))]


def in_process(cases: Sequence[Case], jobs: Sequence[Job], progress: Progress) -> list[CaseResult]:
    """Run each job in this process, one after another."""
    results = []
    for case, names in jobs:
        results.append(count(cases[case], names, isolated=False))
        progress(cases[case].name, names[0])
    return results


@dataclasses.dataclass
class _Child:
    process: Any
    inbox: Connection
    index: int
    deadline: float
    ready: bool = False


_NEVER_STARTED = CaseResult(outcomes={})


@functools.cache
def _warm() -> None:
    """Have torch import its Python meta kernels once, here, and not again in every child."""
    import torch

    torch.conv2d(torch.empty(1, 1, 1, 1, device="meta"), torch.empty(1, 1, 1, 1, device="meta"))


def _start(index: int, case: Case, names: tuple[str, ...], time_limit: float) -> _Child:
    context = multiprocessing.get_context("fork")
    inbox, outbox = context.Pipe(duplex=False)
    process = context.Process(target=_child_main, args=(outbox, case, names, random.getstate()), daemon=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of forks beside threads; see the docstring
        process.start()
    outbox.close()
    return _Child(process, inbox, index, time.monotonic() + time_limit)


def _child_main(outbox: Connection, case: Case, names: tuple[str, ...], drawn: Any) -> None:
    import torch

    random.setstate(drawn)  # which Python seeds anew in each child (random.py, register_at_fork)
    gc.disable()  # a collection would touch, and so copy, every page it shares with the parent
    torch.set_num_threads(1)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    outbox.send_bytes(b"")  # alive: from here on a hang is the tool's own
    run = functools.partial(count, case, names, isolated=True)
    result = _with_a_short_stack(run) if case.hollow else run()
    outbox.send_bytes(msgspec.msgpack.encode(result))


def _with_a_short_stack(run: Callable[[], CaseResult]) -> CaseResult:
    """In a thread of its own: beside each operation ``torch.jit`` notes the whole stack of calls, and the caller's here
    is as deep as the model's.

    Torch's modes are a thread's own: what runs here may need gradients on or off, and no other.
    """
    import torch

    grad = torch.is_grad_enabled()
    with ThreadPoolExecutor(1, initializer=torch.set_grad_enabled, initargs=(grad,)) as thread:
        return thread.submit(run).result()


def _heard(child: _Child, names: tuple[str, ...], time_limit: float) -> CaseResult | None:
    """The result of a child that is done, died or ran out of time; None while it works."""
    result: CaseResult | None = None
    try:
        while result is None and child.inbox.poll():
            message = child.inbox.recv_bytes()
            if message:
                result = msgspec.msgpack.decode(message, type=CaseResult)
            child.ready = True
    except EOFError:
        child.process.join()
        result = _all_failed(names, death(child.process.exitcode))
    if result is None and time.monotonic() >= child.deadline:
        child.process.kill()
        over = f"time limit of {time_limit:g} s reached; it was stopped"
        result = _all_failed(names, over) if child.ready else _NEVER_STARTED
    if result is not None:
        child.process.join()
        child.inbox.close()
    return result


def death(exitcode: int | None) -> str:
    """The end of a process in words, from its exit code."""
    if exitcode is None or exitcode >= 0:
        return f"its process ended with exit status {exitcode}"
    name = signal.Signals(-exitcode).name
    return f"its process was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")


def _all_failed(names: Sequence[str], error: str) -> CaseResult:
    return CaseResult(outcomes={name: Failed(error=error) for name in names})
