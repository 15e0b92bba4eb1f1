"""Kinds of layers that a processor ran, and what it executed beyond their shapes, by cause."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from crosscheck.records import Op
from crosscheck.witnesses.accounting import account
from crosscheck.witnesses.evidence import Execution

#: What a layer's products are, to a reader.
KINDS = ("convolution", "linear", "self-attention", "cross-attention", "written-out product")
_KIND: dict[Op, str] = {"conv": "convolution", "linear": "linear", "matmul": "written-out product"}


def kind(execution: Execution) -> str:
    """The one of `KINDS` that an operation is; attention over keys of another length is cross-attention."""
    if execution.op == "attention" and len(execution.shapes) > 2:
        query, key = execution.shapes[:2]
        return "self-attention" if query[-2] == key[-2] else "cross-attention"
    return _KIND.get(execution.op, "written-out product")


def by_cause(executions: Sequence[Execution]) -> Counter[str]:
    """MACs executed beyond the shapes', by cause; ``unexplained`` what no cause is known for."""
    found: Counter[str] = Counter()
    for execution in executions:
        accounted, times = account(execution), len(execution.paths)
        for term in accounted.terms:
            found[term.cause] += times * term.macs
        found["unexplained"] += times * (accounted.residual or 0)
    return Counter({cause: macs for cause, macs in found.items() if macs})
