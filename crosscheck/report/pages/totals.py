"""The totals to use, and where in the model they are spent."""

from __future__ import annotations

from collections.abc import Iterator

from crosscheck.records import (
    FLOPS_PER_MAC,
    HEADLINE,
    Generation,
    GenerationCase,
    GenerationComponent,
    Ledger,
    Recommended,
    TensorSpec,
    Workload,
)
from crosscheck.report.text import LONG, count, details, escape, giga, percent, plain, ratio, table
from crosscheck.witnesses.ledgers import confirming

_OPTIONAL = "safety_checker"
_WHOLE = "**one generation**"


def recommended(ledger: Ledger) -> Iterator[str]:
    """Per forward and per generation, in MACs and FLOPs."""
    yield "## Recommended totals"
    yield "**One forward** of each component, for one image and one guidance branch:"
    rows = [
        (escape(c.name), count(r.macs), count(r.flops), giga(r.macs), r.status, ", ".join(confirming(c)))
        for c in ledger.components
        for r in [c.recommended]
    ]
    yield table("lrrrll", ("Component", "MACs", "FLOPs", "GMACs", "Status", "Witnesses"), rows)
    if ledger.generation and ledger.workload:
        yield f"**One generation**: {escape(workload(ledger.workload))}."
        yield from _generation(ledger.generation)
    if asides := _asides(ledger):
        yield "\n".join(f"- {aside}" for aside in asides)


def breakdown(ledger: Ledger) -> Iterator[str]:
    """Shares: of each component in a generation, of each op in a component."""
    yield "## Where the MACs are"
    generation = ledger.generation
    total = generation.recommended.macs if generation else None
    parts = {escape(part.name): part.macs for part in generation.components} if generation else {}
    parts[_WHOLE] = total
    rows = [
        (name, *(percent(part.by_op.get(op, 0), part.macs) for op in HEADLINE), _share(parts.get(name), total))
        for name, part in _totals(ledger, _WHOLE)
        if part.macs and part.by_op
    ]
    headers = ("Component", *HEADLINE, "Share of a generation")
    yield table("l" + "r" * (len(headers) - 1), headers, rows) if rows else "No total to divide."


def _totals(ledger: Ledger, whole: str) -> list[tuple[str, Recommended]]:
    """The recommendation for each component and, called ``whole``, for the generation."""
    totals = [(escape(component.name), component.recommended) for component in ledger.components]
    return [*totals, (whole, ledger.generation.recommended)] if ledger.generation else totals


def workload(work: Workload) -> str:
    """The workload in one line, not escaped."""
    parts = [f"batch {work.batch_size:,}"]
    if work.height is not None and work.width is not None:
        parts.append(f"{work.height} x {work.width} pixels")
    if work.frames is not None:
        parts.append(f"{work.frames:,} frames")
    if work.steps is not None:
        parts.append(f"{work.steps:,} steps" + (f" of {plain(work.scheduler)}" if work.scheduler else ""))
    if work.guidance_scale is not None:
        parts.append(f"guidance {work.guidance_scale:g}")
    return ", ".join(parts)


def shapes(inputs: tuple[TensorSpec, ...]) -> str:
    """``sample 1 x 4 x 64 x 64 float32, ...``, not escaped."""
    return ", ".join(
        f"{plain(tensor.name)} {' x '.join(map(str, tensor.shape)) or 'scalar'} {plain(tensor.dtype)}"
        for tensor in inputs
    )


def _generation(generation: Generation) -> Iterator[str]:
    total = generation.recommended
    rows = [_part(part, total.macs) for part in generation.components]
    rows.append(
        ("**total**", "", "", f"**{count(total.macs)}**", f"**{count(total.flops)}**", _share(total.macs, total.macs))
    )
    if (less := _without_optional(generation)) is not None:
        rows.append(
            (f"total without {_OPTIONAL}", "", "", count(less), count(FLOPS_PER_MAC * less), _share(less, total.macs))
        )
    yield table("lrrrrr", ("Component", "Calls", "Batch", "MACs", "FLOPs", "Share"), rows)
    if total.macs is not None:
        tera = [
            f"{ratio(units, 10**12)} {name}" for units, name in ((total.macs, "TMACs"), (total.flops or 0, "TFLOPs"))
        ]
        yield f"In all {' = '.join(tera)}, {total.status}."
    if cases := _cases(generation):
        yield cases


def _part(part: GenerationComponent, total: int | None) -> tuple[str, ...]:
    batch = "varies" if part.batch_size is None else count(part.batch_size)
    flops = None if part.macs is None else FLOPS_PER_MAC * part.macs
    return escape(part.name), count(part.calls), batch, count(part.macs), count(flops), _share(part.macs, total)


def _share(part: int | None, total: int | None) -> str:
    return "" if part is None or not total else percent(part, total)


def _without_optional(generation: Generation) -> int | None:
    """MACs of all components but the safety checker, where there is one."""
    rest = [part.macs for part in generation.components if part.name != _OPTIONAL]
    counted = [macs for macs in rest if macs is not None]
    return sum(counted) if 0 < len(counted) == len(rest) < len(generation.components) else None


def _cases(generation: Generation) -> str:
    """The distinct inputs, where a component has several or closed form and trace differ on one."""
    rows = [
        (escape(part.name), escape(shapes(case.inputs), LONG), *map(count, _numbers(case)))
        for part in generation.components
        for case in part.cases
        if len(part.cases) > 1 or (None not in {case.analytic, case.aten} and case.analytic != case.aten)
    ]
    headers = ("Component", "Inputs", "Calls", "Batch", "MACs of a call", "Closed form", "Trace")
    return details("The distinct inputs of a component", table("llrrrrr", headers, rows)) if rows else ""


def _numbers(case: GenerationCase) -> tuple[int | None, ...]:
    return case.calls, case.batch_size, case.macs, case.analytic, case.aten


def _asides(ledger: Ledger) -> list[str]:
    """Remarks beside the totals: reasons, causal attention, products outside every component."""
    totals = _totals(ledger, "the generation")
    lines = [f"**{name}** is {total.status}: {escape(total.reason)}" for name, total in totals if total.reason]
    lines += [
        f"**{name}** with causal attention counted as its triangle: {total.causal_macs:,} MACs"
        for name, total in totals
        if total.causal_macs is not None
    ]
    if ledger.generation and (macs := ledger.generation.outside_macs):
        lines.append(f"outside every component, beside the total and not in it: {macs:,} MACs")
    return lines
