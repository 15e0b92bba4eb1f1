"""What a generation calls, in closed form: for pipelines whose every component has one, and schedulers of a known rule.

Without torch. Which calls a pipeline makes was read off diffusers 0.42.1 and is held against its own run by the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from crosscheck.closed_form import in_writing
from crosscheck.closed_form.options import NoClosedForm
from crosscheck.closed_form.work import Work
from crosscheck.models import configs
from crosscheck.records import HEADLINE, Workload

#: Evaluations of the denoiser for so many steps. Heun's and KDPM2's second-order steps take two, but for the last.
_EVALUATIONS: Mapping[str, Callable[[int], int]] = {
    **dict.fromkeys(
        "DDIMScheduler DDPMScheduler EulerDiscreteScheduler EulerAncestralDiscreteScheduler "
        "DPMSolverMultistepScheduler UniPCMultistepScheduler LCMScheduler FlowMatchEulerDiscreteScheduler".split(),
        lambda steps: steps,
    ),
    "HeunDiscreteScheduler": lambda steps: 2 * steps - 1,
    "KDPM2DiscreteScheduler": lambda steps: 2 * steps - 1,
}


class Calls(NamedTuple):
    """Calls of one component, and how many times the batch of images each takes."""

    name: str
    calls: int
    branches: int = 1


Structure: TypeAlias = Callable[[Mapping[str, configs.ComponentConfig], Mapping[str, Any], Workload], list[Calls]]


def evaluations(scheduler: str, config: Mapping[str, Any], steps: int) -> int:
    """Calls of the denoiser in so many steps. Raises NoClosedForm where only a run tells, or refuses."""
    if not 1 < steps < config.get("num_train_timesteps", 1000):
        raise NoClosedForm(f"some schedulers refuse {steps} steps")
    if scheduler == "PNDMScheduler" and config.get("skip_prk_steps"):
        return steps + 1  # the second step is taken twice (scheduling_pndm.py, set_timesteps)
    if scheduler not in _EVALUATIONS:
        raise NoClosedForm(f"how often {scheduler} evaluates the denoiser has no closed form")
    return _EVALUATIONS[scheduler](steps)


def _encoders(by_name: Mapping[str, configs.ComponentConfig], calls: int) -> list[Calls]:
    return [Calls(name, calls) for name in by_name if name.startswith("text_encoder")]


def _text_to_image(denoiser: str, *, guided: bool, unconditional: bool) -> Structure:
    """Text encoders, once more for the empty prompt; the denoiser on both branches at once; one decode."""

    def structure(
        by_name: Mapping[str, configs.ComponentConfig], options: Mapping[str, Any], asked: Workload
    ) -> list[Calls]:
        distilled = by_name[denoiser].config.get("time_cond_proj_dim") is not None  # guidance is an input of the model
        guides = guided and (asked.guidance_scale or 0) > 1 and not distilled
        zeros = bool(options.get("force_zeros_for_empty_prompt"))  # no encoding of the empty prompt
        texts = _encoders(by_name, 2 if guides and unconditional and not zeros else 1)
        own = by_name["scheduler"]
        if ("FlowMatch" in asked.scheduler) != ("FlowMatch" in own.class_name):
            raise NoClosedForm(f"whether {asked.scheduler} goes with this pipeline has no closed form")
        evaluated = evaluations(asked.scheduler, own.config, asked.steps or configs.STEPS)
        checker = [Calls("safety_checker", 1)] if "safety_checker" in by_name else []
        return [*texts, Calls(denoiser, evaluated, 1 + guides), Calls("vae_decoder", 1), *checker]

    return structure


_STRUCTURES: Mapping[str, Structure] = {
    "StableDiffusionPipeline": _text_to_image("unet", guided=True, unconditional=True),
    "StableDiffusionXLPipeline": _text_to_image("unet", guided=True, unconditional=True),
    "StableDiffusion3Pipeline": _text_to_image("transformer", guided=True, unconditional=True),
    "PixArtAlphaPipeline": _text_to_image("transformer", guided=True, unconditional=True),
    "PixArtSigmaPipeline": _text_to_image("transformer", guided=True, unconditional=True),
    "DiTPipeline": _text_to_image("transformer", guided=True, unconditional=False),
    "FluxPipeline": _text_to_image("transformer", guided=False, unconditional=False),
}
#: The guidance scale that each takes by itself.
GUIDANCE: Mapping[str, float] = {
    "StableDiffusionPipeline": 7.5,
    "StableDiffusionXLPipeline": 5.0,
    "StableDiffusion3Pipeline": 7.0,
    "PixArtAlphaPipeline": 4.5,
    "PixArtSigmaPipeline": 4.5,
    "DiTPipeline": 4.0,
    "FluxPipeline": 3.5,
}


#: They make the nearest of a list of sizes, and resize the image to what was asked (``use_resolution_binning``).
_BINNED = frozenset({"PixArtAlphaPipeline", "PixArtSigmaPipeline"})


class Generation:
    """A model folder's closed form of a whole generation. Raises NoClosedForm where one of its parts has none."""

    def __init__(self, folder: Path, name: str) -> None:
        self._config = configs.read(folder, name)
        if self._config.class_name not in _STRUCTURES:
            raise NoClosedForm(f"what {self._config.class_name} calls has no closed form")
        self._structure = _STRUCTURES[self._config.class_name]
        self._by_name = {component.name: component for component in self._config.components}
        self._stated = configs.stated(folder)
        self._formulas: dict[str, in_writing.Formula] = {}

    @property
    def own(self) -> Workload:
        """The model's own workload: one image, by its own scheduler."""
        stated = self._stated.workload
        own_guidance = GUIDANCE[self._config.class_name]
        return Workload(
            batch_size=1,
            steps=configs.STEPS if stated.steps is None else stated.steps,
            guidance_scale=own_guidance if stated.guidance_scale is None else stated.guidance_scale,
            scheduler=self._by_name["scheduler"].class_name,
        )

    def work(self, asked: Workload) -> dict[str, Work]:
        """MACs by component of all its calls together, by op; sizes in pixels."""
        if self._config.class_name in _BINNED and {asked.height, asked.width} - {None}:
            raise NoClosedForm(
                f"which size {self._config.class_name} takes for {asked.height} x {asked.width} has no closed form"
            )
        parts = in_writing.parts(
            self._config, self._stated, height=asked.height, width=asked.width, batch_size=asked.batch_size
        )
        by_name = {part.name: part for part in parts}
        result: dict[str, Work] = {}
        for name, calls, branches in self._structure(self._by_name, self._config.options, asked):
            if name not in by_name:
                raise NoClosedForm(f"{name} has no closed form")
            part = by_name[name]
            if name not in self._formulas:
                self._formulas[name] = part.formula()
            sizes = part.sizes._replace(batch=branches * asked.batch_size)
            values = dict(zip(in_writing.SYMBOLS, sizes, strict=True))
            by_op = self._formulas[name].by_op
            result[name] = Work(**{op: calls * by_op[op].at(values) for op in HEADLINE})
        return result
