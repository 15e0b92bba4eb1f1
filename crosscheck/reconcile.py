"""Raw totals and census -> gaps -> terms and residual -> what to recommend. Pure: no torch, no counter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import fsum, log2, prod

from msgspec import structs

from crosscheck import causes
from crosscheck.case import Case
from crosscheck.errors import ConfigError
from crosscheck.records import (
    HEADLINE,
    OPS,
    CaseResult,
    Census,
    Component,
    Counted,
    Failed,
    Generation,
    GenerationCase,
    GenerationComponent,
    Ledger,
    Measured,
    OpRow,
    Outcome,
    Recommended,
    Shape,
    Skipped,
    Status,
)


def component(
    case: Case, result: CaseResult, params: int, environment: causes.Environment, notes: Sequence[str] = ()
) -> Component:
    """The record of one case: its recommendation, and every backend's outcome held against the reference."""
    census = result.evidence.whole
    recommended, outcomes = reconcile(result.outcomes, census, environment)
    return Component(
        name=case.name,
        class_name=case.class_name,
        entry=case.entry,
        params=params,
        inputs=case.inputs,
        recommended=recommended,
        backends=outcomes,
        other_ops=_other_ops(census),
        notes=(*notes, *_beside(census)),
        census=census,
    )


def reconcile(
    outcomes: Mapping[str, Measured | Skipped | Failed], census: Census | None, environment: causes.Environment
) -> tuple[Recommended, dict[str, Outcome]]:
    """Hold every measured backend against the reference: the closed form where there is one, else the trace."""
    recommended, reference = _recommend(outcomes, census)
    predicted = {name: causes.predicted(name, environment, census) for name in outcomes}
    held = {
        name: _counted(name, outcome, reference, census, environment, predicted[name])
        if isinstance(outcome, Measured)
        else _without_number(outcome, predicted[name])
        for name, outcome in outcomes.items()
    }
    return recommended, held


def _recommend(
    outcomes: Mapping[str, Measured | Skipped | Failed], census: Census | None
) -> tuple[Recommended, int | None]:
    analytic, trace = outcomes.get("analytic"), outcomes.get("aten")
    if not isinstance(trace, Measured):
        why = trace.error if isinstance(trace, Failed) else trace.reason if isinstance(trace, Skipped) else "not run"
        reference = analytic.macs if isinstance(analytic, Measured) else None
        return Recommended(status="uncounted", reason=f"aten: {why}"), reference
    saving = sum(row.macs - row.causal_macs for row in census.attention) if census else 0
    if not isinstance(analytic, Measured):
        why = analytic.reason if isinstance(analytic, Skipped) else getattr(analytic, "error", "not run")
        return Recommended.from_ops("unconfirmed", trace.by_op, saving, f"analytic: {why}"), trace.macs
    if differing := unequal_ops(analytic.by_op, trace.by_op):
        return Recommended(status="unequal", reason=f"analytic and aten differ in {differing}"), analytic.macs
    return Recommended.from_ops("confirmed", trace.by_op, saving), analytic.macs


def unequal_ops(closed_form: Mapping[str, int], trace: Mapping[str, int]) -> str:
    """Differences between the two references; "" where they are equal.

    Attention and written-out products count together: which of the two it is depends on versions, the work does not.
    """
    split = {
        "conv": ("conv",),
        "linear": ("linear",),
        "attention + matmul": ("attention", "matmul"),
    }
    sums = {
        what: tuple(sum(side.get(op, 0) for op in ops) for side in (closed_form, trace)) for what, ops in split.items()
    }
    return "; ".join(f"{what}: {a:,} and {b:,}" for what, (a, b) in sums.items() if a != b)


def _without_number(outcome: Skipped | Failed, predicted: Sequence[causes.PredictedFailure]) -> Outcome:
    words = outcome.reason if isinstance(outcome, Skipped) else outcome.error
    names = (entry.name for entry in predicted if isinstance(outcome, entry.outcome) and entry.words.search(words))
    return structs.replace(outcome, predicted_by=next(names, ""))


def _counted(
    name: str,
    outcome: Measured,
    reference: int | None,
    census: Census | None,
    environment: causes.Environment,
    predicted: Sequence[causes.PredictedFailure],
) -> Outcome:
    if reference is None:
        return Failed(error=f"counted {outcome.macs:,}, but there is no reference to hold it against",
                      version=outcome.version)  # fmt: skip
    terms = causes.explain(name, environment, census) if census else ()
    gap = outcome.macs - reference
    return Counted(
        version=outcome.version,
        macs=outcome.macs,
        seconds=outcome.seconds,
        by_op=outcome.by_op,
        uncounted=outcome.uncounted,
        isolated=outcome.isolated,
        memory=outcome.memory,
        gap=gap,
        terms=terms,
        residual=gap - sum(term.macs for term in terms),
        stale_excuse=predicted[0].name if predicted else "",
    )


def _other_ops(census: Census | None) -> dict[str, int]:
    """Output elements of what is no headline op."""
    sums: dict[str, int] = {}
    for row in census.ops if census else ():
        if row.op not in HEADLINE:
            sums[row.op] = sums.get(row.op, 0) + row.count * prod(row.out)
    return {op: sums[op] for op in OPS if op in sums}


_WAYS_OUT = frozenset({"numpy", "__array__", "__dlpack__", "data_ptr"})


def _beside(census: Census | None) -> Iterator[str]:
    """What has no part in a total that a reader may look for there."""
    ops = census.ops if census else ()
    if census and (ways_out := sorted(_WAYS_OUT.intersection(census.untraceable))):
        yield f"its forward takes numbers out of torch by {' and '.join(ways_out)}: what is done there is not seen"
    if census and "random" in census.untraceable:
        yield "its forward draws random numbers by Python or numpy: this is what one draw runs, from their state then"
    if dense := sum(row.dense_macs for row in ops):
        stored = sum(row.macs for row in ops if row.dense_macs)
        yield f"products of sparse tensors are {stored:,} MACs by the entries that are stored; of dense ones {dense:,}"
    if transforms := [row for row in ops if row.op == "fft"]:
        flops = fsum(
            (5 if row.aten == "_fft_c2c" else 2.5) * row.count * prod(_points(row)) * log2(row.reduced_size or 1)
            for row in transforms
        )
        yield (
            "Fourier transforms are in no total; by the usual convention, 5 N log2 N for N complex points and half of "
            f"it for real ones, they are {round(flops):,} FLOPs"
        )


def _points(row: OpRow) -> Shape:
    """The shape of the side of a Fourier transform that has all points."""
    return row.out if row.aten == "_fft_c2r" else row.shapes[0]


# -- a generation ------------------------------------------------------------------------------------------------------


def generation(
    cases: Mapping[str, Sequence[GenerationCase]], by_op: Mapping[str, int], outside_macs: int, unknown: Sequence[str]
) -> Generation:
    """All calls of a generation, by the reference. ``unknown`` names what could not be counted, with the reason."""
    components = tuple(_generation_component(name, distinct) for name, distinct in cases.items())
    every = [case for distinct in cases.values() for case in distinct]
    if unknown or any(case.macs is None for case in every):
        reason = "; ".join(unknown) or "a call has no count"
        return Generation(
            components=components,
            recommended=Recommended(status="uncounted", reason=reason),
            outside_macs=outside_macs,
        )
    status: Status = "confirmed" if all(c.analytic == c.aten == c.macs for c in every) else "unconfirmed"
    without = [name for name, distinct in cases.items() if any(c.analytic is None for c in distinct)]
    reason = f"no closed form for: {', '.join(without)}" if without else ""
    return Generation(
        components=components,
        recommended=Recommended.from_ops(status, by_op, reason=reason),
        outside_macs=outside_macs,
    )


def _generation_component(name: str, cases: Sequence[GenerationCase]) -> GenerationComponent:
    sizes = {case.batch_size for case in cases}
    return GenerationComponent(
        name=name,
        calls=sum(case.calls for case in cases),
        batch_size=sizes.pop() if len(sizes) == 1 else None,
        macs=None if any(c.macs is None for c in cases) else sum(c.calls * (c.macs or 0) for c in cases),
        cases=tuple(cases),
    )


# -- a ledger again ----------------------------------------------------------------------------------------------------


def reconcile_again(ledger: Ledger) -> tuple[Ledger, tuple[str, ...]]:
    """The ledger with its reconciliation made anew from raw totals and census, and the cells that changed."""
    components, changed = [], []
    for old in ledger.components:
        try:
            recommended, outcomes = reconcile(old.backends, old.census, ledger.environment)
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:  # of strangers
            raise ConfigError(f"{old.name}: the ledger can't be reconciled again: {error}") from error
        changed += [f"{old.name}: {name}" for name, outcome in outcomes.items() if outcome != old.backends[name]]
        if recommended != old.recommended:
            changed.append(f"{old.name}: recommended")
        components.append(structs.replace(old, recommended=recommended, backends=outcomes))
    return structs.replace(ledger, components=tuple(components)), tuple(changed)
