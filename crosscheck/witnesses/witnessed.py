"""A component with what a processor executed for one forward of it, and the ledger of such."""

from __future__ import annotations

import re
from typing import Literal

from crosscheck.records import Record, TensorSpec, Workload, compact
from crosscheck.witnesses import accounting
from crosscheck.witnesses.evidence import Execution, Primitive, Speed


class Witnessed(Record, frozen=True, kw_only=True):
    """One component with what a processor executed for one forward of it."""

    name: str
    """As of a `Component`; so are the next three."""
    class_name: str
    params: int
    inputs: tuple[TensorSpec, ...]
    dtype: str
    """What it was run in."""
    recommended: int | None
    """MACs of one forward, by the reference."""
    executions: tuple[Execution, ...]
    """What ran, alike ones together."""
    elsewhere: tuple[Primitive, ...] = ()
    """Products that the library logged outside every operation."""
    speed: Speed | None = None
    """Measured on a GPU alone."""

    @property
    def macs(self) -> int | None:
        """MACs executed, all of them sized by the processor's own record; None where any is not."""
        return accounting.executed(self.executions, self.elsewhere)

    @property
    def by_module(self) -> dict[str, int | None]:
        """MACs executed by each module itself, by its path ("" is the component); None where any is not known."""
        return accounting.by_module(self.executions)


class Witness(Record, frozen=True, kw_only=True):
    """The ledger of a witness: evidence from a real execution. Raw; what it says is made from it again."""

    schema: int
    witness: Literal["cpu", "ncu"]
    processor: str
    model: str
    workload: Workload | None = None
    environment: dict[str, str]
    components: tuple[Witnessed, ...]
    refused: dict[str, str] = {}
    """Components that were not run, and why."""

    def to_json(self) -> str:
        """The ledger as JSON (schema 1)."""
        return compact(self)


def unsized(witnessed: Witnessed) -> list[Execution]:
    """Operations that were executed and left no size in the processor's record."""
    return [execution for execution in witnessed.executions if accounting.account(execution).executed is None]


def unexplained(witnessed: Witnessed) -> list[Execution]:
    """Operations of which the processor executed another number than their shapes give, for no cause that is known."""
    return [execution for execution in witnessed.executions if accounting.account(execution).residual]


def confirms(witnessed: Witnessed) -> bool:
    """Whether every operation is sized and explained, nothing ran beside them, and their MACs are the recommended."""
    by_shapes = sum(len(execution.paths) * execution.macs for execution in witnessed.executions)
    settled = not (unsized(witnessed) or unexplained(witnessed) or witnessed.elsewhere)
    return settled and by_shapes == witnessed.recommended


def processor(witness: Witness) -> str:
    """The processor's name for readers: ``CPU``, ``H100``."""
    if witness.witness == "cpu":
        return "CPU"
    named = re.sub(r"^NVIDIA\s+|\s+\d+\s*GB.*$", "", witness.processor)
    return named or "GPU"
