"""The CPU witness: one real forward in float32, and what MKL and oneDNN log of it.

It runs in a forked process, in a thread of its own there: the caller's module needs no copy, and OpenMP, whose threads
do not survive a fork, starts new ones for a new thread.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import io
import multiprocessing
import os
import secrets
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import torch

from crosscheck.case import Case
from crosscheck.engine.processes import can_fork, death
from crosscheck.errors import CrosscheckError, UncountedError, UsageError, one_line
from crosscheck.tracing.calling import case_of, params
from crosscheck.witnesses import blas_log, subject
from crosscheck.witnesses.evidence import Execution, Primitive
from crosscheck.witnesses.witnessed import Witnessed

#: What a process with torch's libraries holds beside a model.
_BASE = 1 << 30
#: Seconds for one forward. The largest measured, SDXL's decoder, takes six minutes on two cores.
TIME_LIMIT = 3_600.0


def witness(module: torch.nn.Module, *args: Any, **kwargs: Any) -> Witnessed:
    """Run ``module(*args, **kwargs)`` once on the CPU and read from the math libraries' log what was executed.

    Floating tensors are run in float32, those on meta with random values; the module is left as it was. ``.macs`` is
    None where a product left no size in the log: ``.executions`` says which.

    Raises `UsageError` where there is no such log or the forward would not fit into memory, `UncountedError` where the
    forward fails.
    """
    case = case_of(module, args, kwargs)
    if case.device not in ("cpu", "meta"):
        raise UsageError(f"got a {case.class_name} on {case.device}; allowed: on the CPU or on meta")
    return run(dataclasses.replace(case, args=args, kwargs=kwargs))  # integers keep their values


def unavailable() -> str:
    """Why there is no CPU witness here; empty where there is one."""
    if not (torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()):
        missing = " and ".join(
            name
            for name, library in (("MKL", torch.backends.mkl), ("oneDNN", torch.backends.mkldnn))
            if not library.is_available()
        )
        return f"this torch {torch.__version__} is built without {missing}, whose log is read"
    if not can_fork():
        return f"the log is read in a forked process, and none can be forked here ({sys.platform}, or a daemon)"
    return ""


def run(case: Case, recommended: int | None = None, time_limit: float = TIME_LIMIT) -> Witnessed:
    """MACs that the math libraries executed for one forward of ``case``, whose reference is ``recommended`` MACs."""
    if reason := unavailable():
        raise UsageError(f"no CPU witness: {reason}")
    needed, free = _forked(lambda _: _Message(memory=subject.memory(case)), time_limit).memory + _BASE, available()
    if needed > free:
        raise UsageError(
            f"{case.name} needs about {needed / 1e9:.1f} GB in float32, {free / 1e9:.1f} GB are free; "
            "choose a smaller size or component"
        )
    message = _forked(lambda folder: _logged(case, folder / "log"), time_limit)
    logged = {None if key == "" else int(key): calls for key, calls in message.log.items()}
    executions = subject.executions(message.operations, lambda place: {"primitives": logged.get(place, ())})
    by_shapes = sum(operation.macs for operation in message.operations)
    return Witnessed(
        name=case.name,
        class_name=case.class_name,
        params=params(case.module),
        inputs=case.inputs,
        dtype="float32",
        recommended=by_shapes if recommended is None else recommended,
        executions=executions,
        elsewhere=logged.get(None, ()),
    )


def available() -> int:
    """Bytes that a new process may take: free memory, less where a control group allows less."""
    page = os.sysconf("SC_PAGE_SIZE")
    free = page * os.sysconf("SC_AVPHYS_PAGES")
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():  # counts what caches would give back
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        free = 1024 * int(lines["MemAvailable"].split()[0])
    group = Path("/sys/fs/cgroup")
    try:
        limit = int((group / "memory.max").read_text()) - int((group / "memory.current").read_text())
    except (OSError, ValueError):  # no group, or "max"
        return free
    return min(free, limit)


# -- the process that runs it ------------------------------------------------------------------------------------------


class _Message(msgspec.Struct):
    memory: int = 0
    operations: list[Execution] = []
    log: dict[str, tuple[Primitive, ...]] = {}
    error: str = ""


def _forked(work: Callable[[Path], _Message], time_limit: float) -> _Message:
    """The result of ``work`` in a process of its own, given a folder that is gone afterwards."""
    context = multiprocessing.get_context("fork")
    inbox, outbox = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(outbox, work), daemon=True)
    process.start()
    outbox.close()
    try:
        if not inbox.poll(time_limit):
            raise UncountedError(f"time limit of {time_limit:g} s reached; it was stopped")
        message = msgspec.msgpack.decode(inbox.recv_bytes(), type=_Message)
    except EOFError:
        process.join()
        raise CrosscheckError(f"the witness gave no answer: {death(process.exitcode)}") from None
    finally:
        inbox.close()
        process.kill()
        process.join()
    if message.error:
        raise UncountedError(message.error)
    return message


def _child(outbox: Any, work: Callable[[Path], _Message]) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as thread:
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # what the forward prints is no line of the log
                message = thread.submit(work, Path(folder)).result()
        except BaseException as error:
            message = _Message(error=one_line(error))
    outbox.send_bytes(msgspec.msgpack.encode(message))


def _logged(case: Case, log: Path) -> _Message:
    """Run the case with the process's own output, where the libraries write, going to ``log``."""
    libc, marks = ctypes.CDLL(None), blas_log.Marks(secrets.token_hex())
    sink = os.open(log, os.O_WRONLY | os.O_CREAT)
    os.dup2(sink, 1)

    def say(operation: int | None) -> None:
        # Through the buffer that the libraries write to, in order; on a line of its own, whatever was written.
        libc.puts(f"\n{marks.line(operation)}".encode())

    with ExitStack() as stack:
        real = stack.enter_context(subject.real(case, "cpu", torch.float32))
        stack.enter_context(torch.backends.mkl.verbose(torch.backends.mkl.VERBOSE_ON))
        stack.enter_context(torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON))
        operations = subject.run(real, say, lambda: say(None))
    libc.fflush(None)
    with log.open(errors="replace") as lines:
        found = {"" if key is None else str(key): calls for key, calls in marks.read(lines).items()}
    return _Message(operations=operations, log=found)
