"""LTXVideoTransformer3DModel of diffusers 0.42.1; its latents come as tokens, packed by the pipeline."""

from __future__ import annotations

from math import prod

from crosscheck.closed_form.arithmetic import Size
from crosscheck.closed_form.layers import (
    ACTIVATIONS,
    SINUSOIDS,
    Tokens,
    attention,
    feed_forward,
    linear,
    timestep_embedding,
)
from crosscheck.closed_form.options import (
    Inputs,
    NoClosedForm,
    Options,
    agree,
    complete,
    refuse_inputs,
    refuse_uncovered,
    shape_of,
)
from crosscheck.closed_form.sizes import Form, Sizes
from crosscheck.closed_form.work import Work

#: What decides MACs, with the defaults of models/transformers/transformer_ltx.py:432-448.
DEFAULTS: Options = {
    "in_channels": 128,
    "out_channels": 128,
    "num_attention_heads": 32,
    "attention_head_dim": 64,
    "cross_attention_dim": 2048,
    "num_layers": 28,
    "activation_fn": "gelu-approximate",
    "qk_norm": "rms_norm_across_heads",
    "caption_channels": 4096,
}
COVERED = {"activation_fn": ACTIVATIONS, "qk_norm": ("rms_norm_across_heads",)}
READ = ("hidden_states", "encoder_hidden_states", "timestep")
#: A mask, and what the rotary embedding multiplies elementwise.
WEIGHTLESS = ("encoder_attention_mask", "video_coords", "rope_interpolation_scale")


def forward(config: Options, inputs: Inputs) -> Work:
    """``transformer(hidden_states, encoder_hidden_states, timestep, encoder_attention_mask, ...)``."""
    refuse_inputs(inputs, READ, WEIGHTLESS)
    options = complete(config, DEFAULTS)
    refuse_uncovered(options, COVERED)
    heads, head_dim = options["num_attention_heads"], options["attention_head_dim"]
    width = heads * head_dim
    # The text is projected to this width, so there is no other for the cross attention.
    agree("cross_attention_dim", options["cross_attention_dim"], width)
    if width % 2 or width < 6:  # pairs are rotated, and each of three axes needs one
        msg = f"num_attention_heads={heads} times attention_head_dim={head_dim} is odd or less than 6"
        raise NoClosedForm(msg)
    batch, count, channels = shape_of(inputs, "hidden_states", 3)
    text_batch, text_count, features = shape_of(inputs, "encoder_hidden_states", 3)
    agree("the number of channels of hidden_states", channels, options["in_channels"])
    agree("the batch of encoder_hidden_states", text_batch, batch)
    agree("the width of encoder_hidden_states", features, options["caption_channels"])
    times = _times(inputs, batch, count)
    video, text = Tokens(count, width), Tokens(text_count, width)
    layers: int = options["num_layers"]
    block = (
        attention(batch, video, video, heads, head_dim)
        + attention(batch, video, text, heads, head_dim)
        + feed_forward(batch * count, width, 4 * width, width, options["activation_fn"])
    )
    return (
        linear(batch * count, channels, width)
        + timestep_embedding(times, SINUSOIDS, width)
        + linear(times, width, 6 * width)
        + timestep_embedding(batch * text_count, features, width)
        + layers * block
        + linear(batch * count, width, options["out_channels"] or channels)
    )


def _times(inputs: Inputs, batch: Size, count: Size) -> Size:
    """Timesteps that are embedded: in any shape, one a video or one a token (transformer_ltx.py:553-560)."""
    shape = shape_of(inputs, "timestep", len(inputs.get("timestep", ())))
    times = prod(shape)
    agree("the number of timesteps", times, batch, batch * count)
    return times


def _inputs(config: Options, sizes: Sizes) -> Inputs:
    batch, height, width, frames, tokens = sizes
    return {
        "hidden_states": (batch, frames * height * width, config.get("in_channels", 128)),
        "timestep": (batch,),
        "encoder_hidden_states": (batch, tokens, config.get("caption_channels", 4096)),
    }


FORMS = {
    "LTXVideoTransformer3DModel": {"forward": Form(forward, _inputs)},
}
