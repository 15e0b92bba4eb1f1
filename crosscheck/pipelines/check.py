"""A whole pipeline through the whole flow: load, run hollow, measure, reconcile -> the ledger of a run."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

from msgspec import structs

from crosscheck import reconcile
from crosscheck.backends import registry
from crosscheck.engine.job import NOTHING
from crosscheck.engine.measure import TIME_LIMIT, measure, notes
from crosscheck.engine.processes import Progress
from crosscheck.errors import CrosscheckError, UncountedError, UsageError
from crosscheck.hints import describe, did_you_mean
from crosscheck.ledger import environment
from crosscheck.models import build
from crosscheck.models.build import first_line
from crosscheck.pipelines.workload import check_arguments, check_workload, completed
from crosscheck.records import (
    HEADLINE,
    SCHEMA,
    CaseResult,
    Component,
    Generation,
    GenerationCase,
    Ledger,
    Workload,
)

if TYPE_CHECKING:
    from crosscheck.case import Case
    from crosscheck.pipelines.distinct_calls import Calls
    from crosscheck.pipelines.hollow import Hollow


Count: TypeAlias = Callable[..., list[CaseResult]]
"""`measure`, or what takes its place."""

#: What answers for components is put into torch's own classes, for the whole process.
_TURN = threading.RLock()


def check_pipeline(
    model: Any = "sd21-base",
    *,
    height: int | None = None,
    width: int | None = None,
    num_frames: int | None = None,
    num_inference_steps: int | None = None,
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
    Sizes are pixels; None takes the model's own default, else the pipeline's, 30 steps. ``scheduler`` names a
    diffusers scheduler class. Anything else goes to the pipeline's call; images, masks and labels it needs are made
    where none are given. The pipeline is left as it was. ``backends`` and ``time_limit`` are as `check` has them;
    ``progress`` is told the case and the tool that are done.

    Raises `UsageError` for a size or name that is not allowed, `ConfigError` for a folder that is not.
    """
    asked = Workload(
        batch_size=batch_size,
        height=height,
        width=width,
        frames=num_frames,
        steps=num_inference_steps,
        guidance_scale=guidance_scale,
        scheduler=_named_scheduler(scheduler),
    )
    ledger, _ = run_with_cases(model, asked, backends=backends, call=call, time_limit=time_limit, progress=progress)
    return ledger


def _named_scheduler(scheduler: object) -> str:
    if scheduler == "":
        raise UsageError("unknown scheduler ''; allowed: a scheduler class of diffusers")
    if scheduler is not None and not isinstance(scheduler, str):
        got = describe(scheduler)
        raise UsageError(f"scheduler: got {got}; allowed: the name of a scheduler class of diffusers")
    return scheduler or ""


def run_with_cases(
    model: Any,
    asked: Workload,
    *,
    backends: Sequence[str] | None = None,
    call: Mapping[str, Any] = MappingProxyType({}),
    count: Count = measure,
    time_limit: float = TIME_LIMIT,
    progress: Progress = lambda case, tool: None,
) -> tuple[Ledger, dict[str, Case]]:
    """The ledger of a run, and its components at batch 1 by name, to run them elsewhere.

    ``count`` is `measure`, or takes its place.
    """
    names = registry.choose(backends)
    if isinstance(call.get("prompt"), list | tuple):
        asked = structs.replace(asked, batch_size=len(call["prompt"]))
    check_workload(asked)
    with _TURN:
        limited = partial(count, time_limit=time_limit, progress=progress)
        return _run_with_cases(model, asked, names, call, limited)


def _run_with_cases(
    model: Any,
    asked: Workload,
    names: Sequence[str],
    call: Mapping[str, Any],
    count: Count,
) -> tuple[Ledger, dict[str, Case]]:
    label, pipe, stated = build.load(model)
    from crosscheck.pipelines.preserved import undisturbed  # with torch, which refusals above do without

    with undisturbed(pipe, call):
        own = getattr(pipe, "scheduler", None)
        if asked.scheduler:
            if own is None:
                raise UsageError(f"{type(pipe).__name__} has no scheduler to replace; got {asked.scheduler!r}")
            pipe.scheduler = _scheduler(asked.scheduler, own)
        workload, arguments = completed(pipe, _or_stated(asked, stated), call)
        check_arguments(pipe, call)
        hollow = _run(pipe, {**arguments, **call})
        scheduler = type(pipe.scheduler).__name__ if own is not None else ""
        recorded = environment()
        cases = _cases(hollow)
        components = _components(cases, names, recorded, count)
    ledger = Ledger(
        schema=SCHEMA,
        model=label,
        pipeline=type(pipe).__name__,
        workload=structs.replace(workload, scheduler=scheduler),
        environment=recorded,
        components=components,
        generation=_generation(hollow, components),
    )
    return ledger, {name: case for name, (case, _) in cases.items()}


def _or_stated(asked: Workload, stated: Workload) -> Workload:
    """The workload completed by what the model's publishers generate with."""
    names = ("height", "width", "frames", "steps", "guidance_scale")
    return structs.replace(asked, **{name: getattr(stated, name) for name in names if getattr(asked, name) is None})


def _scheduler(name: str, original: Any) -> Any:
    """The scheduler called ``name``, made from the pipeline's own scheduler's config."""
    import diffusers
    from diffusers import SchedulerMixin

    cls: Any = getattr(diffusers, name, None) if name.isidentifier() else None
    if needed := getattr(cls, "_backends", None):  # what diffusers puts in place of a class that it can't import
        raise UsageError(f"scheduler {name!r} needs {', '.join(needed)}; install what is missing, or choose another")
    if not (isinstance(cls, type) and issubclass(cls, SchedulerMixin) and issubclass(cls, diffusers.ConfigMixin)):
        schedulers = [n for n in dir(diffusers) if n.endswith("Scheduler") and "Flax" not in n]
        raise UsageError(
            f"unknown scheduler {name!r}; {did_you_mean(name, schedulers)}allowed: a scheduler class of diffusers"
        )
    try:
        return cls.from_config(original.config)  # type: ignore[attr-defined]
    except Exception as error:
        was = type(original).__name__
        raise UsageError(f"{name} can't be made from {was}'s config: {first_line(error)}; choose another") from error


# -- what it runs ------------------------------------------------------------------------------------------------------


def _run(pipe: Any, call: Mapping[str, Any]) -> Hollow:
    """One whole call of the pipeline, hollow."""
    from crosscheck.pipelines.hollow import Hollow

    hollow = Hollow(modules(pipe))
    pipe.set_progress_bar_config(disable=True)
    try:
        with _no_other_size(pipe), hollow.answering():
            pipe(**call)
    except CrosscheckError:
        raise
    except (ValueError, TypeError) as error:
        raise UsageError(f"{type(pipe).__name__} rejects this call: {first_line(error)}") from error
    except Exception as error:
        raise UncountedError(f"{type(pipe).__name__} can't be run hollow: {first_line(error)}") from error
    return hollow


@contextmanager
def _no_other_size(pipe: Any) -> Iterator[None]:
    """Refuse a size that the pipeline warns of and rounds: the totals would be those of another."""

    def refuse(record: logging.LogRecord) -> bool:
        if "divisible" in record.getMessage():
            raise UsageError(f"{type(pipe).__name__} would take another size: {record.getMessage()}")
        return record.levelno >= level

    loggers = [logging.getLogger(cls.__module__) for cls in type(pipe).__mro__ if "Pipeline" in cls.__name__]
    level = loggers[0].getEffectiveLevel()
    with ExitStack() as stack:
        for logger in loggers:
            stack.callback(logger.setLevel, logger.level)
            stack.callback(logger.removeFilter, refuse)
            logger.addFilter(refuse)
            logger.setLevel(logging.WARNING)
        yield


def modules(pipe: Any) -> dict[str, Any]:
    """The pipeline's components that are torch modules, by name."""
    import torch

    return {name: part for name, part in pipe.components.items() if isinstance(part, torch.nn.Module)}


def _cases(hollow: Hollow) -> dict[str, tuple[Case, CaseResult]]:
    """Each component at batch 1 of its most expensive input, and what is known of it already."""
    from crosscheck.pipelines.distinct_calls import most_expensive, single

    chosen = {name: most_expensive(calls) for name, calls in hollow.cases().items()}
    return {name: (single(calls), calls.trace if calls.batch_size == 1 else NOTHING) for name, calls in chosen.items()}


def _components(
    found: Mapping[str, tuple[Case, CaseResult]],
    names: Sequence[str],
    recorded: Mapping[str, str],
    count: Count,
) -> tuple[Component, ...]:
    import torch

    from crosscheck.tracing.calling import params

    cases = [case for case, _ in found.values()]
    traced = {name: trace for name, (_, trace) in found.items()}
    with torch.no_grad():  # as pipelines run
        results = count(cases, names, already_counted=traced)
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
    from crosscheck.case import NotApplicable

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
