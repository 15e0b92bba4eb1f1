"""SanaTransformer2DModel of diffusers 0.42.1: linear attention, written out, and convolutions for an MLP."""

from __future__ import annotations

from crosscheck.closed_form.arithmetic import Size
from crosscheck.closed_form.layers import (
    SINUSOIDS,
    Tokens,
    attention,
    conv2d,
    glumb_conv,
    grid_positions,
    linear,
    matmul,
    patch_grid,
    timestep_embedding,
)
from crosscheck.closed_form.options import Inputs, Options, agree, complete, refuse_inputs, refuse_uncovered, shape_of
from crosscheck.closed_form.sizes import Form, Sizes, image_inputs
from crosscheck.closed_form.work import Work

#: What decides MACs, with the defaults of models/transformers/sana_transformer.py:342-365.
DEFAULTS: Options = {
    "in_channels": 32,
    "out_channels": 32,
    "num_attention_heads": 70,
    "attention_head_dim": 32,
    "num_layers": 20,
    "num_cross_attention_heads": 20,
    "cross_attention_head_dim": 112,
    "cross_attention_dim": 2240,
    "caption_channels": 2304,
    "mlp_ratio": 2.5,
    "sample_size": 32,
    "patch_size": 1,
    "interpolation_scale": None,
    "guidance_embeds": False,
    "qk_norm": None,
}
COVERED = {
    "patch_size": range(1, 1 << 20),
    # Norms come before the heads are split, so one as wide as a head does not fit (sana_transformer.py:158-168).
    "qk_norm": (None, "rms_norm_across_heads", "layer_norm_across_heads", "l2"),
}


def forward(config: Options, inputs: Inputs) -> Work:
    """``transformer(hidden_states, encoder_hidden_states, timestep, guidance)``."""
    options = complete(config, DEFAULTS)
    refuse_uncovered(options, COVERED)
    guided: bool = options["guidance_embeds"]
    read = ("hidden_states", "encoder_hidden_states", "timestep", *["guidance"] * guided)
    refuse_inputs(inputs, read, weightless=("attention_mask", "encoder_attention_mask", "controlnet_block_samples"))
    batch, channels, *extent = shape_of(inputs, "hidden_states", 4)
    text_batch, text, features = shape_of(inputs, "encoder_hidden_states", 3)
    heads, head_dim, patch = options["num_attention_heads"], options["attention_head_dim"], options["patch_size"]
    width, depth = heads * head_dim, int(options["num_layers"])
    agree("the number of channels of hidden_states", channels, options["in_channels"])
    agree("the batch of encoder_hidden_states", text_batch, batch)
    agree("the width of encoder_hidden_states", features, options["caption_channels"])
    agree("the batch of timestep", *shape_of(inputs, "timestep", 1), batch)
    agree("cross_attention_dim", options["cross_attention_dim"], width)
    grid = patch_grid(extent, patch)
    image = Tokens(grid[0] * grid[1], width)
    cross = (options["num_cross_attention_heads"], options["cross_attention_head_dim"])
    block = (
        _linear_attention(batch, image, heads)
        + attention(batch, image, Tokens(text, width), *cross)
        + glumb_conv(batch, width, int(options["mlp_ratio"] * width), grid)
    )
    work = (
        conv2d(batch, channels, width, patch, grid)
        + timestep_embedding(batch, SINUSOIDS, width)
        + linear(batch, width, 6 * width)
        + timestep_embedding(batch * text, features, width)
        + depth * block
        + linear(batch * image.count, width, patch**2 * (options["out_channels"] or channels))
    )
    if guided:
        (rows,) = shape_of(inputs, "guidance", 1)
        agree("the batch of guidance", rows, 1, batch)
        work += timestep_embedding(rows, SINUSOIDS, width)
    if options["interpolation_scale"] is not None:
        work += grid_positions(grid, options["sample_size"] // patch, width)
    return work


def _linear_attention(batch: Size, tokens: Tokens, heads: int) -> Work:
    """SanaLinearAttnProcessor2_0: (v @ k) @ q with a row of ones below v, for the sums that divide the result."""
    head_dim = tokens.width // heads
    projections = 4 * linear(batch * tokens.count, tokens.width, tokens.width)
    return projections + 2 * matmul(batch * heads, head_dim + 1, head_dim, tokens.count)


def _inputs(config: Options, sizes: Sizes) -> Inputs:
    guidance = {"guidance": (sizes.batch,)} if config.get("guidance_embeds") else {}
    return {**image_inputs("caption_channels", 32)(config, sizes), **guidance}


FORMS = {
    "SanaTransformer2DModel": {"forward": Form(forward, _inputs)},
}
