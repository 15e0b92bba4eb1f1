"""The meaning of an execution: MACs executed, and why they are not those that its shapes give."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from crosscheck.records import Term
from crosscheck.witnesses import blas_log, ncu
from crosscheck.witnesses.evidence import Execution, Primitive

#: Why a processor executes another number than the shapes give: cause -> what it is, and its source.
CAUSES = blas_log.CAUSES | ncu.CAUSES


class Account(NamedTuple):
    """One operation: what was executed for it, and why that is not what its shapes give."""

    executed: int | None
    """MACs; None where the processor's record gives no size."""
    terms: tuple[Term, ...]
    residual: int | None


def account(execution: Execution) -> Account:
    """MACs that one operation of ``execution`` executed, held against its own."""
    source = ncu if execution.kernels else blas_log
    macs = source.executed(execution)
    if macs is None:
        return Account(None, (), None)
    terms = tuple(term for term in source.terms(execution) if term.macs)
    return Account(macs, terms, macs - execution.macs - sum(term.macs for term in terms))


def executed(executions: Iterable[Execution], elsewhere: Iterable[Primitive] = ()) -> int | None:
    """MACs executed in all; None where those of any operation, or of any product beside them, are not known."""
    macs = [None if p.macs is None else p.count * p.macs for p in elsewhere]
    for execution in executions:
        of_one = account(execution).executed
        macs.append(None if of_one is None else len(execution.paths) * of_one)
    sized = [number for number in macs if number is not None]
    return sum(sized) if len(sized) == len(macs) else None


def by_module(executions: Iterable[Execution]) -> dict[str, int | None]:
    """MACs executed by the operations of each module itself, by its path; None where any is not known."""
    found: dict[str, int | None] = {}
    for execution in executions:
        macs = account(execution).executed
        for path in execution.paths:
            before = found.get(path, 0)
            found[path] = None if macs is None or before is None else before + macs
    return found


def runs(executions: Iterable[Execution]) -> int:
    """Number of operations."""
    return sum(len(execution.paths) for execution in executions)
