"""Evidence from real executions: what a math library logged on the CPU, what a GPU's counters say.

The record of an execution is raw; what it means is worked out here, without torch, and again whenever it is read.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import NamedTuple

import msgspec

from crosscheck.records import Component, Execution, Term, Witness, Witnessed
from crosscheck.witnesses import blas_log, ncu

#: What was measured and came with this release, one file a model, processor and precision.
LEDGERS = Path(__file__).parent / "ledgers"
#: Why a processor executes another number than the shapes give: cause -> what it is, and its source.
CAUSES = blas_log.CAUSES | ncu.CAUSES


class Account(NamedTuple):
    """One operation: what was executed for it, and why that is not what its shapes give."""

    executed: int | None
    """MACs; None where the processor's record gives no size."""
    terms: tuple[Term, ...]
    residual: int | None


def account(execution: Execution) -> Account:
    """What one operation of ``execution`` executed, held against its MACs."""
    source = ncu if execution.kernels else blas_log
    macs = source.executed(execution)
    if macs is None:
        return Account(None, (), None)
    terms = tuple(term for term in source.terms(execution) if term.macs)
    return Account(macs, terms, macs - execution.macs - sum(term.macs for term in terms))


def executed(witnessed: Witnessed) -> int | None:
    """MACs executed in one forward; None where any operation's are not known."""
    if any(primitive.macs is None for primitive in witnessed.elsewhere):
        return None
    total = sum(primitive.count * (primitive.macs or 0) for primitive in witnessed.elsewhere)
    for execution in witnessed.executions:
        macs = account(execution).executed
        if macs is None:
            return None
        total += len(execution.paths) * macs
    return total


def by_module(witnessed: Witnessed) -> dict[str, int | None]:
    """MACs executed by the operations of each module itself, by its path; None where any is not known."""
    found: dict[str, int | None] = {}
    for execution in witnessed.executions:
        macs = account(execution).executed
        for path in execution.paths:
            known = found.get(path, 0)
            found[path] = None if macs is None or known is None else known + macs
    return found


def unsized(witnessed: Witnessed) -> list[Execution]:
    """Operations that were executed and left no size in the processor's record."""
    return [execution for execution in witnessed.executions if account(execution).executed is None]


def unexplained(witnessed: Witnessed) -> list[Execution]:
    """Operations of which the processor executed another number than their shapes give, for no cause that is known."""
    return [execution for execution in witnessed.executions if account(execution).residual]


def runs(executions: list[Execution] | tuple[Execution, ...]) -> int:
    """How many operations they are."""
    return sum(len(execution.paths) for execution in executions)


def confirms(witnessed: Witnessed) -> bool:
    """Whether every operation is sized and explained, nothing ran beside them, and their MACs are the recommended."""
    by_shapes = sum(len(execution.paths) * execution.macs for execution in witnessed.executions)
    settled = not (unsized(witnessed) or unexplained(witnessed) or witnessed.elsewhere)
    return settled and by_shapes == witnessed.recommended


def processor(witness: Witness) -> str:
    """What readers call the processor: ``CPU``, ``H100``."""
    if witness.witness == "cpu":
        return "CPU"
    named = re.sub(r"^NVIDIA\s+|\s+\d+\s*GB.*$", "", witness.processor)
    return named or "GPU"


def confirming(component: Component) -> tuple[str, ...]:
    """Which witnesses that came with this release confirm the recommended number of ``component``.

    Known by its class, parameters, inputs and number: another model's, if it is the same in all of these.
    """
    found = (
        processor(witness) + ("" if witness.witness == "cpu" else f" {part.dtype}")
        for witness in committed()
        for part in witness.components
        if _identity(part) == _identity(component) and part.recommended == component.recommended.macs and confirms(part)
    )
    return tuple(dict.fromkeys(found))


def _identity(part: Component | Witnessed) -> tuple[object, ...]:
    return part.class_name, part.params, tuple((tensor.name, tensor.shape) for tensor in part.inputs)


@functools.cache
def committed() -> tuple[Witness, ...]:
    """The ledgers of `LEDGERS`."""
    return tuple(msgspec.json.decode(path.read_bytes(), type=Witness) for path in sorted(LEDGERS.glob("*.json")))
