"""The records of crosscheck: data only, immutable, with units in their names; JSON in and out.

Imports the errors and hints alone.
"""

from crosscheck.records.base import FLOPS_PER_MAC, HEADLINE, OPS, SCHEMA, Op, Record, Shape, Status, TensorSpec, dumps
from crosscheck.records.census import (
    AttentionRow,
    CallRow,
    Census,
    EinsumRow,
    Evidence,
    ModuleRow,
    NodeRow,
    OpRow,
    TracedGraph,
    UnusedRow,
)
from crosscheck.records.outcomes import CaseResult, Counted, Failed, Measured, Outcome, Raw, Skipped, Term
from crosscheck.records.run import (
    CALL_NAMES,
    DENOISERS,
    Component,
    Generation,
    GenerationCase,
    GenerationComponent,
    Ledger,
    Recommended,
    Workload,
)

__all__ = [
    "CALL_NAMES",
    "DENOISERS",
    "FLOPS_PER_MAC",
    "HEADLINE",
    "OPS",
    "SCHEMA",
    "AttentionRow",
    "CallRow",
    "CaseResult",
    "Census",
    "Component",
    "Counted",
    "EinsumRow",
    "Evidence",
    "Failed",
    "Generation",
    "GenerationCase",
    "GenerationComponent",
    "Ledger",
    "Measured",
    "ModuleRow",
    "NodeRow",
    "Op",
    "OpRow",
    "Outcome",
    "Raw",
    "Recommended",
    "Record",
    "Shape",
    "Skipped",
    "Status",
    "TensorSpec",
    "Term",
    "TracedGraph",
    "UnusedRow",
    "Workload",
    "dumps",
]
