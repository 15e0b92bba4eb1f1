"""The component API: a pipeline's MACs by component, in GMACs and percent, as profilers of pipelines print them.

Numbers are the recommended ones. ``counter="thop-query-only"`` takes a counter's own instead, and its users' total:
the denoiser times the steps, one text encoder, one decoder.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from crosscheck.errors import UncountedError, UsageError
from crosscheck.records import DENOISERS, Counted, Ledger

_GIGA = 10**9
_LABELS = dict(zip(DENOISERS, ("UNet", "Transformer"), strict=True))


class ModelManager:
    """Loads pipelines without weights."""

    def load_model(self, model: str) -> Any:
        """The diffusers pipeline of a catalogue name, a folder or a hub id; its weights are neither read nor needed."""
        from crosscheck.models import build

        return build.load(model)[1]


def get_model_manager() -> ModelManager:
    """A manager that loads models."""
    return ModelManager()


def create_profiler(
    enabled: bool = True, counter: str | None = None, show: Callable[[str], None] | None = print
) -> Profiler:
    """A profiler; one that is not ``enabled`` does nothing. ``show`` is given each line of a breakdown."""
    return Profiler(enabled=enabled, counter=counter, show=show)


class Profiler:
    """Counts the components of diffusers pipelines, in MACs."""

    def __init__(self, *, enabled: bool, counter: str | None, show: Callable[[str], None] | None) -> None:
        self.enabled = enabled
        self._counter = counter
        self._show = show

    def summarize_macs(
        self,
        pipe: Any,
        height: int | None = None,
        width: int | None = None,
        steps: int = 30,
        prompt: str | list[str] | None = None,
        guidance_scale: float | None = None,
    ) -> dict[str, float]:
        """GMACs of one denoiser call, one text encoding, one decoding, and all of ``steps``; {} where not enabled.

        A component is at batch 1: one image, one guidance branch. Shares are of every component that runs. The total
        is what a generation really runs, with the pipeline's own scheduler and both branches; by a counter, it is what
        its users make of it.
        """
        if not self.enabled:
            return {}
        run = self.profile_pipeline(pipe, height, width, steps, prompt, guidance_scale)
        denoiser = self._denoiser(run)
        parts = {_LABELS[denoiser]: self._macs(run, denoiser), "Text encoder": self._text(run)}
        parts["VAE decoder"] = self._macs(run, name) if (name := _decoder(run)) else 0
        shares, total = self._generation(run, denoiser, parts, steps)
        names = (f"{_LABELS[denoiser]} per-step", "Text encoder once", "VAE decode once")
        summary = {f"{name} (GMACs)": macs / _GIGA for name, macs in zip(names, parts.values(), strict=True)}
        summary[f"Total {steps} steps (GMACs)"] = total / _GIGA
        for line in (
            *(f"{name}: {gmacs:,.3f}" for name, gmacs in summary.items()),
            *(f"{name}: {100 * macs / total:.2f} %" for name, macs in shares.items()),
        ):
            if self._show:
                self._show(line)
        return summary

    def profile_pipeline(
        self,
        pipe: Any,
        height: int | None = None,
        width: int | None = None,
        steps: int = 30,
        prompt: str | list[str] | None = None,
        guidance_scale: float | None = None,
    ) -> Ledger:
        """The ledger of a run of ``pipe``. Raises `UsageError` where the profiler is not enabled."""
        if not self.enabled:
            raise UsageError("the profiler is not enabled: create_profiler(enabled=True)")
        from crosscheck.pipelines.check import check_pipeline

        call: dict[str, Any] = {} if prompt is None else {"prompt": prompt}
        return check_pipeline(
            pipe,
            height=height,
            width=width,
            num_inference_steps=steps,
            guidance_scale=guidance_scale,
            backends=[self._counter] if self._counter else ["analytic"],
            **call,
        )

    def measure_unet_macs(self, pipe: Any, height: int | None = None, width: int | None = None) -> int:
        """MACs of one call of the denoiser, for one image and one guidance branch; 0 where not enabled."""
        return self._measured(pipe, height, width, lambda run: self._macs(run, self._denoiser(run)))

    def measure_vae_decode_macs(self, pipe: Any, height: int | None = None, width: int | None = None) -> int:
        """MACs of decoding one image; 0 where not enabled."""
        return self._measured(pipe, height, width, lambda run: self._macs(run, _decoder(run) or "vae_decoder"))

    def measure_text_encoder_macs(self, pipe: Any) -> int:
        """MACs of encoding one prompt, by all of the pipeline's text encoders; 0 where not enabled."""
        return self._measured(pipe, None, None, self._text)

    def _measured(self, pipe: Any, height: int | None, width: int | None, read: Callable[[Ledger], int]) -> int:
        return read(self.profile_pipeline(pipe, height, width, steps=1)) if self.enabled else 0

    @staticmethod
    def _denoiser(run: Ledger) -> str:
        if run.denoiser is None:
            raise UsageError(f"{run.pipeline} has no {' or '.join(DENOISERS)}; crosscheck.check_pipeline counts any")
        return run.denoiser.name

    def _text(self, run: Ledger) -> int:
        return sum(self._macs(run, part.name) for part in run.components if part.name.startswith("text_encoder"))

    def _macs(self, run: Ledger, name: str) -> int:
        component = run.component(name)
        if self._counter:
            outcome = component[self._counter]
            if not isinstance(outcome, Counted):
                raise UncountedError(f"{name}: {self._counter} gives no number: {outcome}")
            return outcome.macs
        if component.recommended.macs is None:
            raise UncountedError(f"{name} is {component.recommended.status}: {component.recommended.reason}")
        return component.recommended.macs

    def _generation(self, run: Ledger, denoiser: str, parts: dict[str, int], steps: int) -> tuple[dict[str, int], int]:
        """MACs of each part in all steps, and their total."""
        if self._counter:
            shares = {name: macs * (steps if name == _LABELS[denoiser] else 1) for name, macs in parts.items()}
            return shares, sum(shares.values())
        generation = run.generation
        if generation is None or generation.recommended.macs is None:
            raise UncountedError("the generation is not counted")
        shares = dict.fromkeys(parts, 0)
        named = {denoiser: _LABELS[denoiser], _decoder(run): "VAE decoder"}
        for part in generation.components:
            name = "Text encoder" if part.name.startswith("text_encoder") else named.get(part.name, part.name)
            shares[name] = shares.get(name, 0) + (part.macs or 0)
        return shares, generation.recommended.macs


def _decoder(run: Ledger) -> str | None:
    """The component that makes the image: ``vae_decoder``, or Kandinsky's ``movq_decoder``; None without one."""
    return next((part.name for part in run.components if part.name.endswith("_decoder")), None)


def _has(run: Ledger, name: str) -> bool:
    return any(part.name == name for part in run.components)
