"""Closed forms per architecture: MACs from the config and the shapes of the inputs alone.

Nothing runs, and neither torch, diffusers, transformers nor sympy is imported. With ints for sizes the answer is ints;
with sympy symbols (integer, positive) it is the formula, exact under substitution at any size, roundings included.

Counted are convolutions, nn.Linear, scaled_dot_product_attention calls and products written out. Biases, norms,
softmax, activations and resampling are no MACs. Read off diffusers 0.42.1 and transformers 5.23.0, with their default
attention, which is scaled_dot_product_attention everywhere; causal attention is counted densely.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crosscheck.closed_form.architectures import (
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
from crosscheck.closed_form.arithmetic import Size
from crosscheck.closed_form.options import Inputs, NoClosedForm
from crosscheck.closed_form.sizes import Form, Sizes
from crosscheck.closed_form.work import Work

_ARCHITECTURES = (
    unet_2d_condition,
    autoencoder_kl,
    clip,
    t5,
    flux_transformer_2d,
    sd3_transformer_2d,
    pixart_transformer_2d,
    dit_transformer_2d,
    sana_transformer_2d,
    ltx_video_transformer_3d,
    wan_transformer_3d,
    cogvideox_transformer_3d,
    controlnet,
    autoencoder_dc,
)
#: Class name -> method -> closed form.
FORMS: Mapping[str, Mapping[str, Form]] = {
    name: methods for architecture in _ARCHITECTURES for name, methods in architecture.FORMS.items()
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
    return form.work(config, inputs)


def inputs_of(class_name: str, entry: str, config: Mapping[str, Any], sizes: Sizes) -> Inputs:
    """Shapes of what goes into a method of a model. Raises NoClosedForm for a class that is not covered."""
    form = FORMS.get(class_name, {}).get(entry)
    if form is None or form.inputs is None:
        raise NoClosedForm(f"{class_name}.{entry} has no closed form in latent sizes")
    return form.inputs(config, sizes)
