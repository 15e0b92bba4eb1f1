"""Generations over a grid of workloads: from the closed form where there is one, else by a run of the pipeline each.

Runs go through joblib, on both processors here; the name of another engine of joblib's goes to it unchanged, which is
how a Dask or Ray cluster is used. A point that fails costs that point alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from crosscheck import configs, pipelines
from crosscheck.backends.analytic.options import NoClosedForm
from crosscheck.generation import Asked, Generation
from crosscheck.records import HEADLINE, CrosscheckError, Record, UsageError

#: The pipeline's own guidance where neither the workload nor the caller says, as `crosscheck.run` takes it.
GUIDANCE = {
    "StableDiffusionPipeline": 7.5,
    "StableDiffusionXLPipeline": 5.0,
    "StableDiffusion3Pipeline": 7.0,
    "PixArtAlphaPipeline": 4.5,
    "PixArtSigmaPipeline": 4.5,
    "DiTPipeline": 4.0,
    "FluxPipeline": 3.5,
}
STEPS = 30
#: Points of one sweep.
MAX_POINTS = 100_000


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


def sweep(
    models: Iterable[str], axes: Mapping[str, Sequence[Any]], *, engine: str | None = None, jobs: int = -1
) -> list[Point]:
    """Count every model at every combination of ``axes``: names of `check_pipeline`'s arguments with their values.

    Raises `UsageError` for an unknown model or too many points. Points are in the order of the axes.
    """
    grid = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    located = [pipelines.locate(model) for model in models]
    if len(located) * len(grid) > MAX_POINTS:
        raise UsageError(f"got {len(located) * len(grid):,} points; allowed: up to {MAX_POINTS:,}")
    asked = [{**point, "width": point["height"]} if _square(point) else point for point in grid]
    points: list[Point | None] = []
    traced: list[tuple[int, str, str, dict[str, Any]]] = []
    for name, folder in located:
        form = _closed_form(name, folder) if not {"num_frames"} & set(axes) else None
        for point in asked:
            found = form.point(point) if form else None
            if found is None:
                traced.append((len(points), name, str(folder), point))
            points.append(found)
    for (index, *_), found in zip(traced, _traced(traced, engine, jobs), strict=True):
        points[index] = found
    return [point for point in points if point is not None]


def dumps(points: Sequence[Point]) -> str:
    """The points as JSON."""
    return msgspec.json.format(msgspec.json.encode(points), indent=1).decode() + "\n"


def _square(point: Mapping[str, Any]) -> bool:
    return "height" in point and "width" not in point


class _Form:
    """A model's generation in closed form."""

    def __init__(self, name: str, generation: Generation, stated: Mapping[str, Any], guidance: float) -> None:
        self._name, self._generation = name, generation
        self._steps = stated.get("num_inference_steps", STEPS)
        self._guidance = stated.get("guidance_scale", guidance)

    def point(self, point: Mapping[str, Any]) -> Point | None:
        """None where this workload has no closed form."""
        asked = Asked(
            point.get("batch_size", 1),
            point.get("num_inference_steps", self._steps),
            point.get("guidance_scale", self._guidance),
            point.get("scheduler", self._generation.scheduler),
        )
        for what in ("batch_size", "num_inference_steps"):
            if point.get(what, 1) < 1:
                return _failed(self._name, point, f"{what}: got {point[what]}; allowed: a whole number from 1")
        try:
            work = self._generation.work(asked, height=point.get("height"), width=point.get("width"))
        except NoClosedForm:
            return None
        except CrosscheckError as error:
            return _failed(self._name, point, str(error))
        components = {name: part.total for name, (_, part) in work.items()}
        return Point(
            model=self._name,
            asked=dict(point),
            macs=sum(components.values()),
            by_op={op: sum(getattr(part, op) for _, part in work.values()) for op in HEADLINE},
            components=components,
            status="closed form",
        )


def _closed_form(name: str, folder: Any) -> _Form | None:
    config = configs.read(folder, name)
    try:
        return _Form(name, Generation(folder, name), configs.stated(folder), GUIDANCE[config.class_name])
    except (NoClosedForm, KeyError):
        return None


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
    from crosscheck.run import check_pipeline

    try:
        generation = check_pipeline(folder, backends=(), **point).generation
    except Exception as error:
        text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        return _failed(name, point, text if isinstance(error, CrosscheckError) else f"{type(error).__name__}: {text}")
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
