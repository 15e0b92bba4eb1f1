"""The GPU witness: one forward under Nsight Compute, whose counters say what each kernel multiplied."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import torch

from crosscheck.errors import CrosscheckError, UsageError
from crosscheck.records import Workload
from crosscheck.witnesses import ncu, subject
from crosscheck.witnesses.on_gpu import Answer, Request

DTYPES = tuple(ncu.TENSOR)

#: What Nsight Compute says, and what to do.
_REFUSALS = {
    "ERR_NVGPUCTRPERM": "the driver lets administrators alone read counters; run as root, or load the driver with "
    "NVreg_RestrictProfilingToAdminUsers=0",
    "LibraryNotLoaded": "Nsight Compute can't reach the driver's counters in this machine or container",
    "out of memory": "the model does not fit into the GPU's memory; choose a smaller size or component",
}


def unavailable() -> str:
    """Why there is no GPU witness here; empty where there is one."""
    if not torch.cuda.is_available():
        return f"torch {torch.__version__} sees no CUDA GPU"
    if shutil.which("ncu") is None:
        return "ncu is not on the PATH; install Nsight Compute, which comes with the CUDA toolkit"
    return ""


def run(model: str, asked: Workload, component: str, dtype: str) -> tuple[Answer, dict[str, Any]]:
    """Run one forward of a model's component: what its machine is, and the fields of `Witnessed` that it gives.

    Raises `UsageError` where counters can't be read here, `CrosscheckError` where the program fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)

        def ask(timed: bool) -> tuple[list[str], Path]:
            request = Request(
                model=model,
                asked=asked,
                component=component,
                dtype=dtype,
                answer=str(place / f"answer-{timed}.json"),
                timed=timed,
            )
            file = place / f"request-{timed}.json"
            file.write_bytes(msgspec.json.encode(request))
            return [sys.executable, "-W", "ignore", "-m", "crosscheck.witnesses.on_gpu", str(file)], Path(
                request.answer
            )

        program, answer = ask(timed=True)
        _called(program)
        speed = msgspec.json.decode(answer.read_bytes(), type=Answer).speed
        program, answer = ask(timed=False)
        table = place / "counters.csv"
        _called([*_watching(table, dtype), *program], table)
        found = msgspec.json.decode(answer.read_bytes(), type=Answer)
        kernels = ncu.read(table.read_text())
    executions = subject.executions(found.operations, lambda i: {"kernels": kernels.get(i, ())})
    return found, {"dtype": dtype, "executions": executions, "speed": speed}


def _watching(table: Path, dtype: str) -> list[str]:
    """The profiler's command. Each pass over the counters runs the program again: to save and restore memory around
    each kernel takes longer. Clocks stay as they are: no counter depends on them.
    """
    metrics = ",".join((ncu.TENSOR[dtype], ncu.FFMA))
    options = "--clock-control none --replay-mode application --profile-from-start off --nvtx --csv --page raw"
    return ["ncu", *options.split(), "--print-units", "base", "--log-file", str(table), "--metrics", metrics]


def _called(command: list[str], log: Path | None = None) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    output = done.stdout + done.stderr + (log.read_text() if log and log.exists() else "")
    for sign, reason in _REFUSALS.items():
        if sign in output and (done.returncode or sign.startswith("ERR")):
            raise UsageError(f"no GPU witness: {reason}")
    if done.returncode:
        errors = re.findall(r"^(?:==ERROR== .*|\S*(?:Error|Exception): .*)$", output, re.MULTILINE)
        last = errors[-1] if errors else (output.strip().splitlines() or ["no output"])[-1]
        raise CrosscheckError(f"{command[0]} ended with exit status {done.returncode}: {last}")


def version() -> str:
    """Nsight Compute's own."""
    output = subprocess.run(["ncu", "--version"], capture_output=True, text=True, check=False).stdout
    match = re.search(r"Version (\S+)", output)
    return match[1] if match else ""
