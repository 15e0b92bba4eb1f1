"""Cases x backends -> outcomes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from crosscheck.backends import registry
from crosscheck.case import Case
from crosscheck.engine.job import NOTHING, count, merged
from crosscheck.engine.processes import Progress, can_fork, in_children, in_process
from crosscheck.errors import UsageError
from crosscheck.records import CaseResult, Evidence, Failed, Measured

CLOSED_FORM = ("analytic",)

#: Seconds one tool may take on one case. The slowest core backend takes two on SDXL's UNet.
TIME_LIMIT = 600.0


def measure(
    cases: Sequence[Case],
    names: Sequence[str],
    *,
    already_counted: Mapping[str, CaseResult] = MappingProxyType({}),
    time_limit: float = TIME_LIMIT,
    progress: Progress = lambda case, tool: None,
) -> list[CaseResult]:
    """Count every case with every backend of ``names``; one `CaseResult` for each case, in order.

    ``already_counted`` holds what was counted already, by the case's name: it is not counted again.
    """
    if not (isinstance(time_limit, int | float) and time_limit > 0):
        raise UsageError(f"time limit: got {time_limit!r}; allowed: seconds, more than 0")
    jobs = [
        (i, tuple(name for name in group if name not in already_counted.get(case.name, NOTHING).outcomes))
        for i, case in sorted(enumerate(cases), key=lambda entry: -_size(entry[1]))  # the longest first
        for group in tools(names)
    ]
    jobs = [(i, group) for i, group in jobs if group and group != CLOSED_FORM]
    jobs += [(i, tuple(registry.EVALUATED)) for i, group in jobs if "aten" in group and _can_be_evaluated(cases[i])]
    isolated = can_fork() and all(case.device in {"meta", "cpu"} for case in cases)
    results = in_children(cases, jobs, time_limit, progress) if isolated else in_process(cases, jobs, progress)
    parts = [[already_counted.get(case.name, NOTHING), *_closed_form(case, names)] for case in cases]
    for (i, _), result in zip(jobs, results, strict=True):
        parts[i].append(result)
    return [_judged(merged(found), names) for found in parts]


def tools(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Names grouped by the file they come from: variants of a tool share a process, and may share a run."""
    table, groups = registry.table(), dict[str, list[str]]()
    for name in names:
        groups.setdefault(table[name].partition(":")[0], []).append(name)
    return [tuple(group) for group in groups.values()]


def notes(case: Case) -> list[str]:
    """Notes that a reader needs on how ``case`` was counted."""
    found = []
    if case.reads_values:
        found.append("its forward reads floating values; on meta they were answered with zeros")
    if case.device in {"meta", "cpu"} and not can_fork():
        found.append("no process can be forked here: the backends ran in one, not isolated")
    return found


def _closed_form(case: Case, names: Sequence[str]) -> Iterator[CaseResult]:
    """The closed form needs no process of its own, and gets no module: config and shapes are all it may know."""
    if set(CLOSED_FORM) <= set(names):
        yield count(dataclasses.replace(case, module=None, args=(), kwargs={}), CLOSED_FORM, isolated=False)


def _can_be_evaluated(case: Case) -> bool:
    """Whether a module is in training, and its first forward as any other: neither lazy nor still to be compiled."""
    modules = list(case.module.modules())
    in_the_making = ("Lazy" in type(m).__name__ or type(m).__name__ == "OptimizedModule" for m in modules)
    return any(getattr(m, "training", False) for m in modules) and not any(in_the_making)


def _size(case: Case) -> int:
    return sum(1 for _ in case.module.modules()) if case.module is not None else 0


def _judged(result: CaseResult, names: Sequence[str]) -> CaseResult:
    """Outcomes of ``names``, in order; failed where changes are left that the forward, as traced, does not make."""
    own = set(result.changes.get("aten", ()))
    outcomes = {name: result.outcomes[name] for name in names}
    for name in outcomes.keys() & result.changes.keys():
        outcome, left = outcomes[name], result.changes[name]
        foreign = [change for change in left if change not in own]
        if foreign and isinstance(outcome, Measured):
            outcomes[name] = Failed(error=f"changed what it was given: {'; '.join(foreign)}", version=outcome.version)
    return CaseResult(outcomes=outcomes, evidence=Evidence(census=result.evidence.whole), changes=result.changes)
