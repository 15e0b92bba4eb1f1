"""A census from what a trace kept: modules that ran the same share a row, and so do operations alike in them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import structs

from crosscheck.records import HEADLINE, AttentionRow, CallRow, Census, ModuleRow, OpRow
from crosscheck.tracing.functions import RunningFunction
from crosscheck.tracing.fused_layers import Tokens
from crosscheck.tracing.modules import RunningModules
from crosscheck.tracing.sdpa import AttentionCall


class Tally:
    """Rows of one for everything that ran, whose ``module`` is the module's id, and how often each did."""

    def __init__(self) -> None:
        self.ops: Counter[OpRow] = Counter()
        self.calls: Counter[CallRow] = Counter()
        self.attention: Counter[tuple[AttentionCall, int, str]] = Counter()
        """Call, module and the outermost torch function."""
        self.bool_numbers: set[str] = set()

    def by_op(self) -> dict[str, int]:
        """MACs by headline op."""
        sums: dict[str, int] = dict.fromkeys(HEADLINE, 0)
        for row, count in self.ops.items():
            if row.op in sums:
                sums[row.op] += row.macs * count
        return sums

    def of_each_module(self) -> defaultdict[int, set[tuple[Any, int]]]:
        """The rows of each module, and how often each ran."""
        work: defaultdict[int, set[tuple[Any, int]]] = defaultdict(set)
        for rows in (self.ops, self.calls):
            for row, count in rows.items():
                work[row.module].add((structs.replace(row, module=0), count))
        for (call, module, function), count in self.attention.items():
            work[module].add(((call, function), count))
        return work


def census(
    tally: Tally,
    modules: RunningModules,
    function: RunningFunction,
    untraceable: set[str],
    device: str,
    native: Mapping[int, Tokens],
) -> Census:
    """The census in distinct rows; ``native`` are ids of modules that torch may run as one kernel."""
    rows: dict[Any, list[tuple[str, ...]]] = {}
    alike: dict[Any, ModuleRow] = {}
    place: dict[int, Any] = {}
    work = tally.of_each_module()
    for key, paths in modules.paths.items():
        row = modules.row(key, native.get(key))
        root = paths[0] == ""  # which has a row of its own
        place[key] = msgspec.msgpack.encode(row), frozenset(work[key]), root
        alike.setdefault(place[key], row)
        rows.setdefault(place[key], []).append(tuple(paths))
    order = {distinct: i for i, distinct in enumerate(rows)}
    index = {key: order[distinct] for key, distinct in place.items()}
    return Census(
        device=device,
        modules=tuple(structs.replace(alike[distinct], paths=tuple(paths)) for distinct, paths in rows.items()),
        ops=_merged(tally.ops, index),
        attention=_attention_rows(tally.attention, index),
        bool_numbers=tuple(sorted(tally.bool_numbers)),
        untraceable=tuple(sorted(untraceable)),
        transposed=tuple(sorted(function.transposed)),
        einsums=tuple(structs.replace(row, count=count) for row, count in function.einsums.items()),
        calls=_merged(tally.calls, index),
    )


def _merged(rows: Counter[Any], index: Mapping[int, int]) -> tuple[Any, ...]:
    """Rows of one in the rows of their modules, alike ones together."""
    merged: Counter[Any] = Counter()
    for row, count in rows.items():
        merged[structs.replace(row, module=index[row.module])] += count
    return tuple(structs.replace(row, count=count, **_times(row, count)) for row, count in merged.items())


def _times(row: OpRow | CallRow, count: int) -> dict[str, int]:
    """The MACs of ``count`` alike."""
    dense = {"dense_macs": row.dense_macs * count} if isinstance(row, OpRow) else {}
    return {"macs": row.macs * count, **dense}


def _attention_rows(
    calls: Counter[tuple[AttentionCall, int, str]], index: Mapping[int, int]
) -> tuple[AttentionRow, ...]:
    merged: Counter[tuple[AttentionCall, int, str]] = Counter()
    for (call, module, function), count in calls.items():
        merged[call, index[module], function] += count
    return tuple(
        AttentionRow(
            **call._asdict(),
            module=module,
            function=function,
            count=count,
            macs=call.macs * count,
            causal_macs=call.causal_macs * count,
            query_only_macs=call.query_only_macs * count,
        )
        for (call, module, function), count in merged.items()
    )
