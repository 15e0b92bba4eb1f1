"""A model's components, each run once for a witness -> the witness's ledger."""

from __future__ import annotations

import platform
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch

from crosscheck.errors import CrosscheckError, UsageError
from crosscheck.hints import did_you_mean
from crosscheck.ledger import environment
from crosscheck.records import SCHEMA, Workload
from crosscheck.tracing.calling import params
from crosscheck.witnesses import cpu, gpu, subject
from crosscheck.witnesses.witnessed import Witness, Witnessed


def observe(
    model: Any,
    witness: Literal["cpu", "ncu"],
    *,
    component: str | None = None,
    dtype: str | None = None,
    asked: Workload,
    progress: Callable[[str, str], None] = lambda component, what: None,
) -> Witness:
    """Run ``component`` of ``model``, or each, for one image and one guidance branch, and say what was executed.

    A component that can't be run, dies or runs
    out of time is in ``refused`` with the reason. Raises `UsageError` where the witness is not available here.
    """
    _possible(witness, dtype)
    ledger, cases = subject.reference_run(model, asked)
    if component is not None and component not in cases:
        raise UsageError(
            f"no component {component!r} in {ledger.model}; {did_you_mean(component, cases)}allowed: {', '.join(cases)}"
        )
    machine = {"processor": _processor(), **environment("cpu"), **_libraries()}
    found: list[Witnessed] = []
    refused: dict[str, str] = {}
    for name in cases if component is None else [component]:
        case, reference = cases[name], ledger.component(name)
        try:
            if witness == "cpu":
                found.append(cpu.run(case, reference.recommended.macs))
            else:
                answer, observed = gpu.run(str(model), asked, name, dtype or gpu.DTYPES[0])
                machine |= {**answer.environment, "processor": answer.processor, "ncu": gpu.version()}
                found.append(
                    Witnessed(
                        name=name,
                        class_name=case.class_name,
                        params=params(case.module),
                        inputs=case.inputs,
                        recommended=reference.recommended.macs,
                        **observed,
                    )
                )
        except CrosscheckError as error:
            refused[name] = str(error)
        progress(name, witness)
    return Witness(
        schema=SCHEMA,
        witness=witness,
        processor=machine.pop("processor"),
        model=ledger.model,
        workload=ledger.workload,
        environment=machine,
        components=tuple(found),
        refused=refused,
    )


def _possible(witness: str, dtype: str | None) -> None:
    if witness == "cpu" and dtype not in (None, "float32"):
        raise UsageError(f"--dtype {dtype!r} with the CPU witness; allowed: float32, whose products MKL and oneDNN log")
    if dtype is not None and dtype not in gpu.DTYPES:
        raise UsageError(f"unknown dtype {dtype!r}; allowed: {', '.join(gpu.DTYPES)}")
    if reason := (cpu if witness == "cpu" else gpu).unavailable():
        raise UsageError(f"no {witness} witness: {reason}")


def _processor() -> str:
    """The processor's own name, where the system tells it."""
    try:
        match = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        match = None
    return match[1] if match else platform.processor() or platform.machine()


def _libraries() -> dict[str, str]:
    """Releases of the math libraries, as torch was built with them."""
    built_with = torch.__config__.show()
    patterns = {"mkl": r"Math Kernel Library Version (\S+?)-", "onednn": r"MKL-DNN v(\S+)"}
    return {name: match[1] for name, pattern in patterns.items() if (match := re.search(pattern, built_with))}
