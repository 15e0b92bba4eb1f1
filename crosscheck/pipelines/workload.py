"""Workloads of pipelines: refused where no pipeline is run with them, completed where nobody said."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any

from msgspec import structs

from crosscheck.errors import ConfigError, UsageError
from crosscheck.hints import did_you_mean
from crosscheck.models import configs
from crosscheck.records import CALL_NAMES, DENOISERS, Workload

PROMPT = "a photograph of an astronaut riding a horse"
#: Any of ImageNet's classes does.
LABEL = 207

#: Pixels of one side, images of a batch, frames and steps. The pipeline's own tensors outside its components are real.
MAX_SIDE, MAX_BATCH, MAX_FRAMES, MAX_STEPS = 8_192, 1_024, 10_000, 10_000
MAX_PIXELS = MAX_SIDE * MAX_SIDE

#: Pictures that a pipeline may take, and their modes; its size is then that of what goes in.
_PICTURES = {"image": "RGB", "mask_image": "L", "control_image": "RGB"}


def check_workload(asked: Workload) -> None:
    """Refuse sizes and a guidance scale that no pipeline is run with. Raises `UsageError`."""
    scale = asked.guidance_scale
    if scale is not None and not (isinstance(scale, int | float) and math.isfinite(scale)):
        raise UsageError(f"guidance scale: got {scale!r}; allowed: a finite number")
    limits = {
        "height": (asked.height, MAX_SIDE),
        "width": (asked.width, MAX_SIDE),
        "frames": (asked.frames, MAX_FRAMES),
        "batch size": (asked.batch_size, MAX_BATCH),
        "steps": (asked.steps, MAX_STEPS),
    }
    for what, (size, limit) in limits.items():
        if size is not None and not (type(size) is int and 1 <= size <= limit):
            raise UsageError(f"{what}: got {size!r}; allowed: a whole number from 1 to {limit:,}")
    pixels = math.prod(size or 1 for size in (asked.height, asked.width, asked.frames)) * asked.batch_size
    if pixels > MAX_PIXELS * (4 if asked.frames else 1):
        raise UsageError(f"batch size x height x width: got {pixels:,} pixels; allowed: up to {MAX_PIXELS:,} in all")


def completed(pipe: Any, asked: Workload, call: Mapping[str, Any]) -> tuple[Workload, dict[str, Any]]:
    """The whole workload, and the arguments of the pipeline's call that stand for it.

    What the pipeline takes and nobody gave is its own default, or made here: a prompt, an image, a mask, a label.
    """
    parameters = inspect.signature(pipe.__call__).parameters
    sized = any(name in parameters for name in (*_PICTURES, "video"))
    for field in ("height", "width", "frames", "guidance_scale"):
        name, value = CALL_NAMES.get(field, field), getattr(asked, field)
        if value is not None and name not in parameters and not (sized and field in ("height", "width")):
            raise UsageError(f"{type(pipe).__name__} takes no {name}; got {value!r}")
    whole = structs.replace(
        asked,
        **_size(pipe, asked, parameters),
        frames=_frames(pipe, asked, parameters),
        steps=(asked.steps or configs.STEPS) if "num_inference_steps" in parameters else None,
        guidance_scale=_guidance(asked, parameters),
    )
    check_workload(structs.replace(whole, steps=None, guidance_scale=None))
    named = {name: value for name, value in whole.call.items() if name not in ("batch_size", "scheduler")}
    arguments = {name: value for name, value in named.items() if name in parameters}
    if "guidance_scale" in parameters:
        arguments["guidance_scale"] = whole.guidance_scale
    return whole, {**arguments, **_made(whole, parameters, {name for name, value in call.items() if value is not None})}


def _size(pipe: Any, asked: Workload, parameters: Mapping[str, inspect.Parameter]) -> dict[str, int | None]:
    """Height and width: what was asked for, else the call's own default, else the denoiser's sample size."""
    sizes = {name: getattr(asked, name) for name in ("height", "width") if getattr(asked, name) is not None}
    if len(sizes) == 2:
        return sizes
    own = {name: parameters[name].default for name in ("height", "width") if name in parameters}
    default = own if own and all(type(size) is int for size in own.values()) else _default_size(pipe)
    return {**default, **sizes}


def _frames(pipe: Any, asked: Workload, parameters: Mapping[str, inspect.Parameter]) -> int | None:
    if "num_frames" not in parameters:
        return None
    frames = parameters["num_frames"].default if asked.frames is None else asked.frames
    if frames is None:
        frames = getattr(denoiser(pipe).config, "sample_frames", None)
    return frames if type(frames) is int else None


def _guidance(asked: Workload, parameters: Mapping[str, inspect.Parameter]) -> float | None:
    if asked.guidance_scale is not None or "guidance_scale" not in parameters:
        return asked.guidance_scale
    default: float | None = parameters["guidance_scale"].default
    return default


def _made(whole: Workload, parameters: Mapping[str, inspect.Parameter], given: set[str]) -> dict[str, Any]:
    """Inputs that a pipeline needs, of the workload's size and number."""
    from PIL import Image

    made: dict[str, Any] = {}
    count = whole.batch_size
    if "prompt" in parameters:
        made["prompt"] = None if "prompt_embeds" in given else [PROMPT] * count if count > 1 else PROMPT
    elif "class_labels" in parameters:
        made["class_labels"] = [LABEL] * count
    elif "batch_size" in parameters:
        made["batch_size"] = count
    if whole.height is not None and whole.width is not None:
        size = (whole.width, whole.height)
        made.update({name: Image.new(mode, size) for name, mode in _PICTURES.items() if name in parameters})
        if "video" in parameters:
            made["video"] = [Image.new("RGB", size)] * (whole.frames or 1)
    return made


def denoiser(pipe: Any) -> Any:
    """The component that a pipeline runs at every step; None where it has none by name."""
    return next((part for name in DENOISERS if (part := getattr(pipe, name, None))), None)


def _default_size(pipe: Any) -> dict[str, int]:
    """Height and width that the pipeline takes by itself: its denoiser's sample size in pixels."""
    config = getattr(denoiser(pipe), "config", None)
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


def check_arguments(pipe: Any, call: Mapping[str, Any]) -> None:
    """Refuse what the pipeline would take in ``**kwargs`` and ignore."""
    taken = [name for name, p in inspect.signature(pipe.__call__).parameters.items() if p.kind is not p.VAR_KEYWORD]
    for name in call:
        if name not in taken:
            hint = did_you_mean(name, taken)
            raise UsageError(f"{type(pipe).__name__} takes no {name!r}; {hint}allowed: {', '.join(taken)}")
