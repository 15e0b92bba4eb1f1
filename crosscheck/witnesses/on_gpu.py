"""The program that Nsight Compute watches: one forward on the GPU, a range around each operation, or its speed.

``python -m crosscheck.witnesses.on_gpu REQUEST.json``: counters are read inside the ranges alone, after one forward
that lets the libraries choose their kernels; what was run goes to a file.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import torch

from crosscheck.case import Case
from crosscheck.records import Record, Workload
from crosscheck.tracing.calling import call
from crosscheck.witnesses import ncu, subject
from crosscheck.witnesses.evidence import Execution, Speed

#: Forwards timed, after as many as warm up.
_REPEATS = 20
#: A square product large enough to keep every tensor core busy.
_PRODUCT = 8192


class Request(Record, frozen=True, kw_only=True):
    """A request to the program."""

    model: str
    asked: Workload
    component: str
    dtype: str
    answer: str
    """The file to write."""
    timed: bool = False
    """Its speed, instead of what it runs."""


class Answer(Record, frozen=True, kw_only=True):
    """The program's answer: what it ran, or how fast."""

    processor: str
    environment: dict[str, str]
    operations: list[Execution] = []
    speed: Speed | None = None


def main() -> None:
    """Do what the request asks for."""
    request = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Request)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    _, cases = subject.reference_run(request.model, request.asked)
    dtype = getattr(torch, request.dtype)
    with subject.real(cases[request.component], "cuda", dtype) as case:
        call(case)
        torch.cuda.synchronize()
        answer = Answer(
            processor=torch.cuda.get_device_name(),
            environment={
                "cuda": torch.version.cuda or "",
                "cudnn": str(torch.backends.cudnn.version()),
                "device": "cuda",
            },
            operations=[] if request.timed else _marked(case),
            speed=_speed(case, dtype) if request.timed else None,
        )
    Path(request.answer).write_bytes(msgspec.json.encode(answer))


def _marked(case: Case) -> list[Execution]:
    runtime: Any = torch.cuda.cudart()

    def begin(operation: int) -> None:
        torch.cuda.nvtx.range_push(f"{ncu.RANGE} {operation}")
        runtime.cudaProfilerStart()

    def end() -> None:
        runtime.cudaProfilerStop()
        torch.cuda.nvtx.range_pop()

    operations = subject.run(case, begin, end)
    torch.cuda.synchronize()
    return operations


def _speed(case: Case, dtype: torch.dtype) -> Speed:
    a, b = (torch.randn(_PRODUCT, _PRODUCT, device="cuda", dtype=dtype) for _ in range(2))
    eager = _seconds(lambda: call(case))
    try:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            call(case)
        replayed = _seconds(graph.replay)
    except RuntimeError:  # something in it waits for the GPU
        torch.cuda.synchronize()
        replayed = None
    return Speed(
        seconds=eager,
        graph_seconds=replayed,
        product_size=_PRODUCT,
        product_seconds=_seconds(lambda: torch.mm(a, b)),
    )


def _seconds(run: Callable[[], object]) -> float:
    """Median of one run, by the GPU's own clock."""
    times: list[float] = []
    for _ in range(2 * _REPEATS):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        torch.cuda.synchronize()
        times.append(float(start.elapsed_time(end)) / 1e3)
    return round(statistics.median(times[_REPEATS:]), 7)


if __name__ == "__main__":
    main()
