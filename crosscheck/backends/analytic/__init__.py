"""Closed forms per architecture: MACs from the config and the shapes of the inputs alone.

Nothing runs, and neither torch, diffusers, transformers nor sympy is imported. With ints for sizes the answer is ints;
with sympy symbols (integer, positive) it is the formula, exact under substitution at any size, roundings included.

Counted are convolutions, nn.Linear, scaled_dot_product_attention calls and products written out. Biases, norms,
softmax, activations and resampling are no MACs. Read off diffusers 0.42.1 and transformers 5.23.0, with their default
attention, which is scaled_dot_product_attention everywhere; causal attention is counted densely.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from crosscheck.backends.analytic import (
    autoencoder_dc,
    autoencoder_kl,
    clip,
    cogvideox_transformer_3d,
    controlnet,
    dit_transformer_2d,
    flux_transformer_2d,
    ltx_video_transformer_3d,
    pixart_transformer_2d,
    sana_transformer_2d,
    sd3_transformer_2d,
    t5,
    unet_2d_condition,
    wan_transformer_3d,
)
from crosscheck.backends.analytic.options import Inputs, NoClosedForm, Options
from crosscheck.backends.analytic.work import Work
from crosscheck.backends.interface import Backend, Case, Count, NotApplicable
from crosscheck.formulas import Size
from crosscheck.records import HEADLINE

__all__ = ["FORMS", "Analytic", "NoClosedForm", "Work", "count"]

Form: TypeAlias = Callable[[Options, Inputs], Work]

#: Class name -> method -> closed form.
FORMS: Mapping[str, Mapping[str, Form]] = {
    "UNet2DConditionModel": {"forward": unet_2d_condition.forward},
    "AutoencoderKL": {
        "encode": autoencoder_kl.encode,
        "decode": autoencoder_kl.decode,
        "forward": autoencoder_kl.forward,
    },
    "CLIPTextModel": {"forward": clip.text_model},
    "CLIPTextModelWithProjection": {"forward": clip.text_model_with_projection},
    "CLIPVisionModel": {"forward": clip.vision_model},
    "CLIPVisionModelWithProjection": {"forward": clip.vision_model_with_projection},
    "StableDiffusionSafetyChecker": {"forward": clip.safety_checker},
    "T5EncoderModel": {"forward": t5.t5_encoder},
    "UMT5EncoderModel": {"forward": t5.umt5_encoder},
    "FluxTransformer2DModel": {"forward": flux_transformer_2d.forward},
    "SD3Transformer2DModel": {"forward": sd3_transformer_2d.forward},
    "PixArtTransformer2DModel": {"forward": pixart_transformer_2d.forward},
    "Transformer2DModel": {"forward": dit_transformer_2d.legacy},
    "DiTTransformer2DModel": {"forward": dit_transformer_2d.forward},
    "SanaTransformer2DModel": {"forward": sana_transformer_2d.forward},
    "LTXVideoTransformer3DModel": {"forward": ltx_video_transformer_3d.forward},
    "WanTransformer3DModel": {"forward": wan_transformer_3d.forward},
    "CogVideoXTransformer3DModel": {"forward": cogvideox_transformer_3d.forward},
    "ControlNetModel": {"forward": controlnet.forward},
    "AutoencoderDC": {"encode": autoencoder_dc.encode, "decode": autoencoder_dc.decode},
}


def count(class_name: str, config: Mapping[str, Any], entry: str, inputs: Mapping[str, tuple[Size, ...]]) -> Work:
    """MACs of one call of a model's method, by op.

    ``config`` is the model's published config.json; missing keys take the library's defaults. ``inputs`` maps the
    method's parameters, nested ones dotted (``added_cond_kwargs.time_ids``), to their shapes; absent ones are absent.

    Raises NoClosedForm, naming the class, option, input or shape, where no number is derived.
    """
    form = FORMS.get(class_name, {}).get(entry)
    if form is None:
        covered = ", ".join(f"{name}.{method}" for name, methods in FORMS.items() for method in methods)
        msg = f"{class_name}.{entry} has no closed form; covered are {covered}"
        raise NoClosedForm(msg)
    return form(config, inputs)


class Analytic(Backend):
    """The closed form as a backend: from a case's config and shapes, never from its module."""

    name = "analytic"
    distribution = ""

    def run(self, case: Case) -> Work:
        if case.config is None:
            raise NotApplicable(f"no closed form for class {case.class_name}")
        try:
            return count(case.class_name, case.config, case.entry, {spec.name: spec.shape for spec in case.inputs})
        except NoClosedForm as reason:
            raise NotApplicable(str(reason)) from reason

    def read(self, result: Work) -> Count:
        return Count(macs=result.total, by_op={op: getattr(result, op) for op in HEADLINE})
