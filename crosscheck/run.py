"""A whole pipeline through the whole flow: load, run hollow, measure, reconcile -> the ledger of a run."""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from crosscheck import backends as registry
from crosscheck import pipelines, reconcile
from crosscheck.ledger import environment
from crosscheck.measure import TIME_LIMIT, Progress, measure, notes, params
from crosscheck.pipelines import first_line
from crosscheck.records import (
    HEADLINE,
    SCHEMA,
    Component,
    ConfigError,
    CrosscheckError,
    Generation,
    GenerationCase,
    Ledger,
    UncountedError,
    UsageError,
    Workload,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from crosscheck.hollow import Calls, Hollow

STEPS = 30
PROMPT = "a photograph of an astronaut riding a horse"

#: Pixels of one side, images of a batch, and steps. The pipeline's own tensors outside its components are real.
MAX_SIDE, MAX_BATCH, MAX_STEPS = 8_192, 1_024, 10_000
MAX_PIXELS = MAX_SIDE * MAX_SIDE


def check_pipeline(
    model: Any = "sd21-base",
    *,
    height: int | None = None,
    width: int | None = None,
    num_inference_steps: int = STEPS,
    guidance_scale: float | None = None,
    batch_size: int = 1,
    scheduler: str | None = None,
    backends: Sequence[str] | None = None,
    time_limit: float = TIME_LIMIT,
    progress: Progress = lambda case, tool: None,
    **call: Any,
) -> Ledger:
    """Count every component of a pipeline under every backend, and what one generation really runs.

    ``model`` is a catalogue name, a folder in the hub's layout, a hub id, or a diffusers pipeline of the caller's.
    Sizes are pixels; None takes the pipeline's own default. ``scheduler`` names a diffusers scheduler class. Anything
    else goes to the pipeline's call. The pipeline is left as it was.

    Raises `UsageError` for a size or name that is not allowed, `ConfigError` for a folder that is not.
    """
    names = registry.choose(backends)
    if isinstance(call.get("prompt"), list | tuple):
        batch_size = len(call["prompt"])
    counts = {"batch_size": batch_size, "num_inference_steps": num_inference_steps}
    _check_sizes(height=height, width=width, **counts)
    if guidance_scale is not None and not (isinstance(guidance_scale, int | float) and math.isfinite(guidance_scale)):
        raise UsageError(f"guidance scale: got {guidance_scale!r}; allowed: a finite number")
    label, pipe = pipelines.load(model)
    with _undisturbed(pipe):
        if scheduler is not None:
            pipe.scheduler = _scheduler(scheduler, pipe.scheduler)
        if height is None or width is None:
            default_height, default_width = _default_size(pipe)
            height, width = height or default_height, width or default_width
            _check_sizes(height=height, width=width, **counts)
        if guidance_scale is None:
            guidance_scale = inspect.signature(pipe.__call__).parameters["guidance_scale"].default
        workload = Workload(
            batch_size=batch_size,
            height=height,
            width=width,
            steps=num_inference_steps,
            guidance_scale=guidance_scale,
            scheduler=type(pipe.scheduler).__name__,
        )
        _check_arguments(pipe, call)
        prompt = None if "prompt_embeds" in call else [PROMPT] * batch_size if batch_size > 1 else PROMPT
        asked = {
            "prompt": prompt,
            "height": height,
            "width": width,
            "guidance_scale": guidance_scale,
            "num_inference_steps": num_inference_steps,
        }
        hollow = _run(pipe, {**asked, **call})
        recorded = environment()
        components = _components(hollow, names, recorded, time_limit, progress)
    return Ledger(
        schema=SCHEMA,
        model=label,
        pipeline=type(pipe).__name__,
        workload=workload,
        environment=recorded,
        components=components,
        generation=_generation(hollow, components),
    )


# -- what to ask of it -------------------------------------------------------------------------------------------------


def _check_sizes(*, batch_size: int, num_inference_steps: int, height: int | None, width: int | None) -> None:
    limits = {
        "height": (height, MAX_SIDE),
        "width": (width, MAX_SIDE),
        "batch size": (batch_size, MAX_BATCH),
        "steps": (num_inference_steps, MAX_STEPS),
    }
    for what, (size, limit) in limits.items():
        if size is not None and not (type(size) is int and 1 <= size <= limit):
            raise UsageError(f"{what}: got {size!r}; allowed: a whole number from 1 to {limit:,}")
    pixels = batch_size * (height or 1) * (width or 1)
    if pixels > MAX_PIXELS:
        raise UsageError(f"batch size x height x width: got {pixels:,} pixels; allowed: up to {MAX_PIXELS:,} in all")


def _check_arguments(pipe: Any, call: Mapping[str, Any]) -> None:
    """Refuse what the pipeline would take in ``**kwargs`` and ignore."""
    known = [name for name, p in inspect.signature(pipe.__call__).parameters.items() if p.kind is not p.VAR_KEYWORD]
    for name in call:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise UsageError(f"{type(pipe).__name__} takes no {name!r}; {hint}allowed: {', '.join(known)}")


def _default_size(pipe: Any) -> tuple[int, int]:
    """Height and width that the pipeline takes by itself: its denoiser's sample size in pixels."""
    denoiser = getattr(pipe, "unet", None) or getattr(pipe, "transformer", None)
    sample = getattr(pipe, "default_sample_size", None) or getattr(
        getattr(denoiser, "config", None), "sample_size", None
    )
    if sample is None:
        raise UsageError(f"{type(pipe).__name__} has no default size; give height and width")
    sizes = tuple(sample) if isinstance(sample, list | tuple) else (sample, sample)
    if len(sizes) != 2 or not all(type(size) is int for size in sizes):
        raise ConfigError(f"sample_size: got {sample!r}; allowed: one whole number, or two")
    return sizes[0] * pipe.vae_scale_factor, sizes[1] * pipe.vae_scale_factor


@contextmanager
def _undisturbed(pipe: Any) -> Iterator[None]:
    """Components without their tensors; afterwards they, the scheduler and the pipeline are as they were."""
    import torch

    from crosscheck.hollow import emptied

    kept = [(owner, _copied(vars(owner))) for owner in (pipe, pipe.scheduler)]
    with torch.random.fork_rng(devices=[]), emptied(_modules(pipe).values()):
        try:
            yield
        finally:
            for owner, attributes in kept:
                vars(owner).clear()
                vars(owner).update(attributes)


def _copied(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Lists as they are now: a scheduler keeps its past steps in one."""
    return {name: list(value) if type(value) is list else value for name, value in attributes.items()}


def _scheduler(name: str, original: Any) -> Any:
    """The scheduler called ``name``, made from the pipeline's own scheduler's config."""
    import diffusers
    from diffusers import SchedulerMixin

    cls: Any = getattr(diffusers, name, None) if name.isidentifier() else None
    if needed := getattr(cls, "_backends", None):  # what diffusers puts in place of a class that it can't import
        raise UsageError(f"scheduler {name!r} needs {', '.join(needed)}; install what is missing, or choose another")
    if not (isinstance(cls, type) and issubclass(cls, SchedulerMixin) and issubclass(cls, diffusers.ConfigMixin)):
        known = [n for n in dir(diffusers) if n.endswith("Scheduler") and "Flax" not in n]
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UsageError(f"unknown scheduler {name!r}; {hint}allowed: a scheduler class of diffusers")
    try:
        return cls.from_config(original.config)  # type: ignore[attr-defined]
    except Exception as error:
        was = type(original).__name__
        raise UsageError(f"{name} can't be made from {was}'s config: {first_line(error)}; choose another") from error


# -- what it runs ------------------------------------------------------------------------------------------------------


def _run(pipe: Any, call: Mapping[str, Any]) -> Hollow:
    """One whole call of the pipeline, hollow."""
    from crosscheck.hollow import Hollow

    hollow = Hollow(_modules(pipe))
    pipe.set_progress_bar_config(disable=True)
    try:
        with hollow.answering():
            pipe(**call)
    except CrosscheckError:
        raise
    except (ValueError, TypeError) as error:
        raise UsageError(f"{type(pipe).__name__} rejects this call: {first_line(error)}") from error
    except Exception as error:
        raise UncountedError(f"{type(pipe).__name__} can't be run hollow: {first_line(error)}") from error
    return hollow


def _modules(pipe: Any) -> dict[str, Any]:
    import torch

    return {name: part for name, part in pipe.components.items() if isinstance(part, torch.nn.Module)}


def _components(
    hollow: Hollow, names: Sequence[str], recorded: Mapping[str, str], time_limit: float, progress: Progress
) -> tuple[Component, ...]:
    import torch

    from crosscheck import hollow as running

    chosen = {name: running.most_expensive(calls) for name, calls in hollow.cases().items()}
    cases = [running.single(calls) for calls in chosen.values()]
    known = {name: calls.trace for name, calls in chosen.items() if calls.batch_size == 1}
    with torch.no_grad():  # as pipelines run
        results = measure(cases, names, known=known, time_limit=time_limit, progress=progress)
    return tuple(
        reconcile.component(case, result, params(case.module), recorded, notes(case))
        for case, result in zip(cases, results, strict=True)
    )


def _generation(hollow: Hollow, components: Sequence[Component]) -> Generation:
    cases: dict[str, list[GenerationCase]] = {}
    by_op: dict[str, int] = dict.fromkeys(HEADLINE, 0)
    unknown = {
        c.name: f"{c.name} is {c.recommended.status}: {c.recommended.reason}"
        for c in components
        if c.recommended.macs is None
    }
    for name, distinct in hollow.cases().items():
        for calls in distinct:
            case, differing = _generation_case(calls)
            cases.setdefault(name, []).append(case)
            if differing:
                unknown.setdefault(name, f"{name}: analytic and aten differ in {differing}")
            for op, macs in (calls.by_op or {}).items():
                by_op[op] += calls.calls * macs
    return reconcile.generation(cases, by_op, hollow.outside_macs, list(unknown.values()))


def _generation_case(calls: Calls) -> tuple[GenerationCase, str]:
    """The reference's count of one distinct input, and where closed form and trace differ."""
    from crosscheck.backends.analytic import Analytic
    from crosscheck.backends.interface import NotApplicable

    try:
        backend = Analytic()
        closed_form = backend.read(backend.run(calls.case))
    except NotApplicable:
        analytic, differing = None, ""
    else:
        analytic = closed_form.macs
        differing = "" if calls.by_op is None else reconcile.unequal_ops(closed_form.by_op, calls.by_op)
    return GenerationCase(
        inputs=calls.case.inputs,
        calls=calls.calls,
        batch_size=calls.batch_size,
        macs=None if differing else calls.macs,
        analytic=analytic,
        aten=calls.macs,
    ), differing
