"""Foundations of all records: units, ops, their base, JSON out.

One multiply-accumulate (MAC) is two floating-point operations (FLOPs); this is the only place that says so.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import msgspec

FLOPS_PER_MAC = 2
SCHEMA = 1
Op: TypeAlias = Literal[
    "conv",
    "linear",
    "attention",
    "matmul",
    "softmax",
    "norm",
    "activation",
    "elementwise",
    "resample",
    "embedding",
    "fft",
]
OPS: tuple[Op, ...] = get_args(Op)

#: What everybody means by MACs. The other ops are listed beside them, in elements, and never added.
HEADLINE: tuple[Op, ...] = ("conv", "linear", "attention", "matmul")
Status: TypeAlias = Literal["confirmed", "unconfirmed", "unequal", "uncounted"]
Shape: TypeAlias = tuple[int, ...]


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all records: immutable, named fields, JSON in and out."""


class TensorSpec(Record, frozen=True, kw_only=True):
    """One tensor that goes into a case."""

    name: str
    """The parameter it is given for; dotted inside dictionaries (``added_cond_kwargs.time_ids``)."""
    shape: Shape
    """Sizes of its dimensions; () of a scalar."""
    dtype: str
    """As torch names it: ``float32``."""


def dumps(record: object) -> str:
    """A record, or several in a list, as JSON text for readers."""
    return msgspec.json.format(msgspec.json.encode(record), indent=1).decode() + "\n"


def compact(record: object) -> str:
    """A ledger, or several in a list, as JSON text of one line: programs read it, and it is long."""
    return msgspec.json.encode(record).decode() + "\n"
