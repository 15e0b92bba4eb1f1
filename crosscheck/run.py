"""A whole pipeline through the whole flow: load, run hollow, measure, reconcile -> the ledger of a run."""

from __future__ import annotations

import gc
import inspect
import logging
import math
import multiprocessing
import os
import tempfile
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import msgspec

from crosscheck import backends as registry
from crosscheck import configs, pipelines, reconcile
from crosscheck.ledger import environment
from crosscheck.measure import NOTHING, TIME_LIMIT, Progress, can_fork, measure, notes, params, processors
from crosscheck.pipelines import first_line
from crosscheck.records import (
    HEADLINE,
    SCHEMA,
    CaseResult,
    Component,
    ConfigError,
    CrosscheckError,
    Generation,
    GenerationCase,
    Ledger,
    UncountedError,
    UsageError,
    Workload,
    meant,
    named,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from crosscheck.backends.interface import Case
    from crosscheck.hollow import Calls, Hollow
    from crosscheck.memory import Memory

PROMPT = "a photograph of an astronaut riding a horse"
#: Any of ImageNet's classes does.
LABEL = 207

#: Pixels of one side, images of a batch, frames and steps. The pipeline's own tensors outside its components are real.
MAX_SIDE, MAX_BATCH, MAX_FRAMES, MAX_STEPS = 8_192, 1_024, 10_000, 10_000
MAX_PIXELS = MAX_SIDE * MAX_SIDE


#: What answers for components is put into torch's own classes, for the whole process.
_TURN = threading.RLock()


@contextmanager
def _alone() -> Iterator[None]:
    """One at a time, and no garbage collection: it would walk through all of torch, for a fifth of the time."""
    with _TURN:
        collecting = gc.isenabled()
        gc.disable()
        try:
            yield
        finally:
            if collecting:
                gc.enable()


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
    ledger, _ = examined(
        model,
        batch_size=batch_size,
        scheduler=scheduler,
        backends=backends,
        time_limit=time_limit,
        progress=progress,
        asked={
            "height": height,
            "width": width,
            "num_frames": num_frames,
            "num_inference_steps": num_inference_steps,
            "guidance_scale": guidance_scale,
        },
        call=call,
    )
    return ledger


@_alone()
def examined(
    model: Any,
    *,
    batch_size: int,
    scheduler: str | None,
    backends: Sequence[str] | None,
    time_limit: float,
    progress: Progress,
    asked: Mapping[str, Any],
    call: Mapping[str, Any],
) -> tuple[Ledger, dict[str, Case]]:
    """The ledger of a run, and its components at batch 1 by name, to run them elsewhere; ``asked`` is the workload."""
    names = registry.choose(backends)
    if isinstance(call.get("prompt"), list | tuple):
        batch_size = len(call["prompt"])
    check_workload(batch_size, asked)
    label, pipe, defaults = pipelines.load(model)
    with _undisturbed(pipe, call):
        own = getattr(pipe, "scheduler", None)
        if scheduler is not None:
            if own is None:
                raise UsageError(f"{type(pipe).__name__} has no scheduler to replace; got {scheduler!r}")
            pipe.scheduler = _scheduler(scheduler, own)
        asked = {**defaults, **{name: value for name, value in asked.items() if value is not None}}
        asked, sizes = _completed(pipe, asked, batch_size, call)
        _check_arguments(pipe, call)
        hollow = _run(pipe, {**asked, **call})
        workload = Workload(
            batch_size=batch_size,
            height=sizes.get("height"),
            width=sizes.get("width"),
            frames=sizes.get("num_frames"),
            steps=asked.get("num_inference_steps"),
            guidance_scale=asked.get("guidance_scale"),
            scheduler=type(pipe.scheduler).__name__ if own is not None else "",
        )
        recorded = environment()
        cases = _cases(hollow)
        components = _components(cases, names, recorded, time_limit, progress)
    ledger = Ledger(
        schema=SCHEMA,
        model=label,
        pipeline=type(pipe).__name__,
        workload=workload,
        environment=recorded,
        components=components,
        generation=_generation(hollow, components),
    )
    return ledger, {name: case for name, (case, _) in cases.items()}


def check_pipelines(models: Sequence[str], **options: Any) -> Iterator[Ledger]:
    """`check_pipeline` of each, in order, what they have in common once.

    One is counted at a time, by as many tools as there are processors; running the next ones hollow takes one each.
    """
    if not can_fork() or processors() == 1:
        yield from (check_pipeline(model, **options) for model in models)
        return
    from diffusers import DiffusionPipeline  # noqa: F401  once, here: it takes as long as a model

    import crosscheck.hollow  # noqa: F401

    folder = tempfile.TemporaryDirectory()
    fork = multiprocessing.get_context("fork")
    pool = ProcessPoolExecutor(3, fork, initializer=_remember_in, initargs=(Path(folder.name), fork.Lock()))
    try:
        for encoded in pool.map(partial(_encoded, **options), models):
            yield msgspec.msgpack.decode(encoded, type=Ledger)
    except BrokenProcessPool as error:
        raise CrosscheckError(
            "a process that counted a model died (out of memory?); run fewer models at once"
        ) from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        folder.cleanup()


def _encoded(model: str, **options: Any) -> bytes:
    """A ledger as bytes: a default that was pickled is no longer the default to msgspec, and would be written."""
    return msgspec.msgpack.encode(check_pipeline(model, **options))


_memory: Memory | None = None


def _remember_in(folder: Path, turn: Any) -> None:
    """In a process that counts several models, beside another."""
    import torch

    from crosscheck.memory import Memory

    torch.set_num_threads(1)
    global _memory
    _memory = Memory(folder, turn)


# -- what to ask of it -------------------------------------------------------------------------------------------------


def check_workload(batch_size: int, asked: Mapping[str, Any]) -> None:
    """Refuse sizes and a guidance scale that no pipeline is run with. Raises `UsageError`."""
    guidance_scale = asked.get("guidance_scale")
    if guidance_scale is not None and not (isinstance(guidance_scale, int | float) and math.isfinite(guidance_scale)):
        raise UsageError(f"guidance scale: got {guidance_scale!r}; allowed: a finite number")
    limits = {
        "height": (asked.get("height"), MAX_SIDE),
        "width": (asked.get("width"), MAX_SIDE),
        "frames": (asked.get("num_frames"), MAX_FRAMES),
        "batch size": (batch_size, MAX_BATCH),
        "steps": (asked.get("num_inference_steps"), MAX_STEPS),
    }
    for what, (size, limit) in limits.items():
        if size is not None and not (type(size) is int and 1 <= size <= limit):
            raise UsageError(f"{what}: got {size!r}; allowed: a whole number from 1 to {limit:,}")
    pixels = math.prod(asked.get(name) or 1 for name in ("height", "width", "num_frames")) * batch_size
    if pixels > MAX_PIXELS * (4 if asked.get("num_frames") else 1):
        raise UsageError(f"batch size x height x width: got {pixels:,} pixels; allowed: up to {MAX_PIXELS:,} in all")


def _completed(
    pipe: Any, asked: Mapping[str, Any], batch_size: int, call: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arguments of the pipeline's call, and the sizes they stand for.

    What the pipeline takes and nobody gave is its own default, or made here: a prompt, an image, a mask, a label.
    """
    from PIL import Image

    parameters = inspect.signature(pipe.__call__).parameters
    made = {"image": "RGB", "mask_image": "L", "control_image": "RGB"}
    sized = any(name in parameters for name in (*made, "video"))  # its size is that of what goes in
    for name in ("height", "width", "num_frames", "guidance_scale"):
        if name in asked and name not in parameters and not (sized and name in ("height", "width")):
            raise UsageError(f"{type(pipe).__name__} takes no {name}; got {asked[name]!r}")
    sizes = {name: asked[name] for name in ("height", "width") if name in asked}
    if len(sizes) < 2:
        own = {name: parameters[name].default for name in ("height", "width") if name in parameters}
        default = own if own and all(type(size) is int for size in own.values()) else _default_size(pipe)
        sizes = {**default, **sizes}
    result: dict[str, Any] = {name: size for name, size in sizes.items() if name in parameters}
    if "num_frames" in parameters:
        frames = asked.get("num_frames", parameters["num_frames"].default)
        if frames is None:
            frames = getattr(_denoiser(pipe).config, "sample_frames", None)
        if type(frames) is int:
            sizes["num_frames"] = result["num_frames"] = frames
    if "num_inference_steps" in parameters:
        result["num_inference_steps"] = asked.get("num_inference_steps", configs.STEPS)
    if "guidance_scale" in parameters:
        result["guidance_scale"] = asked.get("guidance_scale", parameters["guidance_scale"].default)
    check_workload(batch_size, sizes)
    given = {name for name, value in call.items() if value is not None}
    if "prompt" in parameters:
        result["prompt"] = None if "prompt_embeds" in given else [PROMPT] * batch_size if batch_size > 1 else PROMPT
    elif "class_labels" in parameters:
        result["class_labels"] = [LABEL] * batch_size
    elif "batch_size" in parameters:
        result["batch_size"] = batch_size
    if sizes:
        size = (sizes["width"], sizes["height"])
        result.update({name: Image.new(mode, size) for name, mode in made.items() if name in parameters})
        if "video" in parameters:
            result["video"] = [Image.new("RGB", size)] * sizes.get("num_frames", 1)
    return result, sizes


def _denoiser(pipe: Any) -> Any:
    return getattr(pipe, "unet", None) or getattr(pipe, "transformer", None)


def _default_size(pipe: Any) -> dict[str, int]:
    """Height and width that the pipeline takes by itself: its denoiser's sample size in pixels."""
    config = getattr(_denoiser(pipe), "config", None)
    sample = getattr(pipe, "default_sample_size", None) or getattr(config, "sample_size", None)
    if sample is None:
        sample = getattr(config, "sample_height", None), getattr(config, "sample_width", None)
        if None in sample:
            return {}
    scale = getattr(pipe, "vae_scale_factor", None) or getattr(pipe, "vae_scale_factor_spatial", None)
    if "Upscale" in type(pipe).__name__:  # its sample is the small image that goes in
        scale = 1
    if scale is None:
        scale = 2 ** (len(pipe.vae.config.block_out_channels) - 1) if hasattr(pipe, "vae") else 1
    sides = tuple(sample) if isinstance(sample, list | tuple) else (sample, sample)
    if len(sides) != 2 or not all(type(side) is int for side in sides):
        raise ConfigError(f"sample_size: got {sample!r}; allowed: one whole number, or two")
    return {"height": sides[0] * scale, "width": sides[1] * scale}


def _check_arguments(pipe: Any, call: Mapping[str, Any]) -> None:
    """Refuse what the pipeline would take in ``**kwargs`` and ignore."""
    known = [name for name, p in inspect.signature(pipe.__call__).parameters.items() if p.kind is not p.VAR_KEYWORD]
    for name in call:
        if name not in known:
            hint = meant(name, known)
            raise UsageError(f"{type(pipe).__name__} takes no {name!r}; {hint}allowed: {', '.join(known)}")


@contextmanager
def _undisturbed(pipe: Any, call: Mapping[str, Any]) -> Iterator[None]:
    """Afterwards the scheduler, the tokenizers, the pipeline and the generators it is called with are as they were.

    Tokenizers warn of the forks that count what they were used for, unless they were told not to use threads.
    """
    import torch

    scheduler = getattr(pipe, "scheduler", None)
    given = call.get("generator") or []
    generators = given if isinstance(given, list | tuple) else [given]
    kept = [(owner, _copied(vars(owner))) for owner in (pipe, scheduler) if owner is not None]
    fast = [part.backend_tokenizer for part in pipe.components.values() if hasattr(part, "backend_tokenizer")]
    lengths = [(tokenizer, tokenizer.padding, tokenizer.truncation) for tokenizer in fast]
    drawn = [(generator, generator.get_state()) for generator in generators]
    unthreaded = mock.patch.dict(os.environ, {"TOKENIZERS_PARALLELISM": "false"})
    with torch.random.fork_rng(devices=[]), unthreaded:
        try:
            yield
        finally:
            for owner, attributes in kept:
                vars(owner).clear()
                vars(owner).update(attributes)
            for generator, state in drawn:
                generator.set_state(state)
            for tokenizer, padding, truncation in lengths:
                tokenizer.enable_padding(**padding) if padding else tokenizer.no_padding()
                tokenizer.enable_truncation(**truncation) if truncation else tokenizer.no_truncation()


def _copied(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Lists as they are now: a scheduler keeps its past steps in one."""
    return {name: list(value) if type(value) is list else value for name, value in attributes.items()}


def _scheduler(name: str, original: Any) -> Any:
    """The scheduler called ``name``, made from the pipeline's own scheduler's config."""
    import diffusers
    from diffusers import SchedulerMixin

    if not isinstance(name, str):
        raise UsageError(f"scheduler: got {named(name)}; allowed: the name of a scheduler class of diffusers")
    cls: Any = getattr(diffusers, name, None) if name.isidentifier() else None
    if needed := getattr(cls, "_backends", None):  # what diffusers puts in place of a class that it can't import
        raise UsageError(f"scheduler {name!r} needs {', '.join(needed)}; install what is missing, or choose another")
    if not (isinstance(cls, type) and issubclass(cls, SchedulerMixin) and issubclass(cls, diffusers.ConfigMixin)):
        known = [n for n in dir(diffusers) if n.endswith("Scheduler") and "Flax" not in n]
        raise UsageError(f"unknown scheduler {name!r}; {meant(name, known)}allowed: a scheduler class of diffusers")
    try:
        return cls.from_config(original.config)  # type: ignore[attr-defined]
    except Exception as error:
        was = type(original).__name__
        raise UsageError(f"{name} can't be made from {was}'s config: {first_line(error)}; choose another") from error


# -- what it runs ------------------------------------------------------------------------------------------------------


def _run(pipe: Any, call: Mapping[str, Any]) -> Hollow:
    """One whole call of the pipeline, hollow."""
    from crosscheck.hollow import Hollow

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
    from crosscheck import hollow as running

    chosen = {name: running.most_expensive(calls) for name, calls in hollow.cases().items()}
    return {
        name: (running.single(calls), calls.trace if calls.batch_size == 1 else NOTHING)
        for name, calls in chosen.items()
    }


def _components(
    found: Mapping[str, tuple[Case, CaseResult]],
    names: Sequence[str],
    recorded: Mapping[str, str],
    time_limit: float,
    progress: Progress,
) -> tuple[Component, ...]:
    import torch

    cases, known = [case for case, _ in found.values()], {name: trace for name, (_, trace) in found.items()}
    with torch.no_grad():  # as pipelines run
        count = _memory.measure if _memory else measure
        results = count(cases, names, known=known, time_limit=time_limit, progress=progress)
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
