"""Generations over a grid of workloads: from the closed form where there is one, else by a run of the pipeline each.

Runs go through joblib, on both processors here; the name of another engine of joblib's goes to it unchanged, which is
how a Dask or Ray cluster is used. A point that fails costs that point alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from crosscheck.closed_form.generation import Generation
from crosscheck.closed_form.options import NoClosedForm
from crosscheck.errors import CrosscheckError, UsageError, one_line
from crosscheck.hints import require_list
from crosscheck.models import build
from crosscheck.pipelines.check import check_pipeline
from crosscheck.pipelines.workload import check_workload
from crosscheck.records import HEADLINE, Record, Workload

#: Points of one sweep.
MAX_POINTS = 100_000

#: Arguments of a pipeline's call that the closed form of a generation knows.
_KNOWN = {"height", "width", "batch_size", "num_inference_steps", "guidance_scale", "scheduler"}


class Point(Record, frozen=True, kw_only=True):
    """One generation: what was asked, and its MACs, or why they are not known."""

    model: str
    asked: dict[str, Any]
    """The swept arguments of the pipeline's call."""
    macs: int | None = None
    by_op: dict[str, int] = {}
    components: dict[str, int] = {}
    """MACs of all calls of each component."""
    status: str = ""
    """``closed form``, or the status of the traced generation."""
    error: str = ""

    @property
    def attention(self) -> int:
        """MACs of attention, written out as products too."""
        return self.by_op.get("attention", 0) + self.by_op.get("matmul", 0)


def sweep(
    models: Iterable[str], axes: Mapping[str, Sequence[Any]], *, engine: str | None = None, jobs: int = -1
) -> list[Point]:
    """Count every model at every combination of ``axes``: names of `check_pipeline`'s arguments with their values.

    Raises `UsageError` for an unknown model or too many points. Points are in the order of the axes.
    """
    require_list("models", models)
    for name, values in axes.items():
        require_list(name, values)
    grid = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    located = [build.locate(model) for model in models]
    if len(located) * len(grid) > MAX_POINTS:
        raise UsageError(f"got {len(located) * len(grid):,} points; allowed: up to {MAX_POINTS:,}")
    asked = [{**point, "width": point["height"]} if _square(point) else point for point in grid]
    points: list[Point | None] = []
    traced: list[tuple[int, str, str, dict[str, Any]]] = []
    for name, folder in located:
        form = _closed_form(name, folder) if axes.keys() <= _KNOWN else None
        for point in asked:
            found = _reckoned(name, form, point) if form else None
            if found is None:
                traced.append((len(points), name, str(folder), point))
            points.append(found)
    for (index, *_), found in zip(traced, _traced(traced, engine, jobs), strict=True):
        points[index] = found
    return [point for point in points if point is not None]


def _square(point: Mapping[str, Any]) -> bool:
    return "height" in point and "width" not in point


def _closed_form(name: str, folder: Path) -> Generation | None:
    try:
        return Generation(folder, name)
    except NoClosedForm:
        return None


def _reckoned(name: str, generation: Generation, point: Mapping[str, Any]) -> Point | None:
    """A point by the closed form; None where this workload has none."""
    asked = Workload.of_call({**generation.own.call, **point})
    try:
        check_workload(Workload.of_call(point))
        work = generation.work(asked)
    except NoClosedForm:
        return None
    except CrosscheckError as error:
        return _failed(name, point, str(error))
    components = {part: done.total for part, done in work.items()}
    return Point(
        model=name,
        asked=dict(point),
        macs=sum(components.values()),
        by_op={op: sum(getattr(done, op) for done in work.values()) for op in HEADLINE},
        components=components,
        status="closed form",
    )


def _traced(jobs: Sequence[tuple[int, str, str, dict[str, Any]]], engine: str | None, workers: int) -> list[Point]:
    if not jobs:
        return []
    from joblib import Parallel, delayed, parallel_config

    try:
        with parallel_config(engine or "loky", n_jobs=workers if len(jobs) > 1 else 1):
            return list(Parallel()(delayed(_run)(name, folder, point) for _, name, folder, point in jobs))
    except (ValueError, ImportError) as error:
        raise UsageError(f"engine {engine!r}: {next(iter(str(error).splitlines()), '')}") from error


def _run(name: str, folder: str, point: Mapping[str, Any]) -> Point:
    """One run of the pipeline; every error is the point's own."""
    try:
        generation = check_pipeline(folder, backends=(), **point).generation
    except Exception as error:
        return _failed(name, point, one_line(error))
    assert generation is not None
    total = generation.recommended
    return Point(
        model=name,
        asked=dict(point),
        macs=total.macs,
        by_op=total.by_op,
        components={part.name: part.macs for part in generation.components if part.macs is not None},
        status=total.status,
        error="" if total.macs is not None else total.reason,
    )


def _failed(name: str, point: Mapping[str, Any], error: str) -> Point:
    return Point(model=name, asked=dict(point), error=error)
