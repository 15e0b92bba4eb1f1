"""FluxTransformer2DModel of diffusers 0.42.1: joint blocks on text and image, then single blocks on both together."""

from __future__ import annotations

from collections.abc import Sequence

from crosscheck.closed_form import arithmetic
from crosscheck.closed_form.arithmetic import Size
from crosscheck.closed_form.layers import SINUSOIDS, Tokens, linear, qkv_attention, timestep_embedding
from crosscheck.closed_form.options import Inputs, Options, agree, complete, refuse_inputs, shape_of
from crosscheck.closed_form.sizes import Form, Sizes
from crosscheck.closed_form.work import Work

#: What decides MACs, with the defaults of models/transformers/transformer_flux.py.
DEFAULTS: Options = {
    "patch_size": 1,
    "in_channels": 64,
    "out_channels": None,
    "num_layers": 19,
    "num_single_layers": 38,
    "attention_head_dim": 128,
    "num_attention_heads": 24,
    "joint_attention_dim": 4096,
    "pooled_projection_dim": 768,
    "guidance_embeds": False,
    "axes_dims_rope": (16, 56, 56),
}
#: Inner width of a block's MLP over its width.
MLP_RATIO = 4


def forward(config: Options, inputs: Inputs) -> Work:
    """``transformer(...)``, with positions for the image and the text, and ``guidance`` where it is embedded."""
    options = complete(config, DEFAULTS)
    read = ("hidden_states", "encoder_hidden_states", "pooled_projections", "timestep", "img_ids", "txt_ids")
    guided: bool = options["guidance_embeds"]
    refuse_inputs(inputs, (*read, *["guidance"] * guided), weightless=("controlnet_",))
    batch, image, channels = shape_of(inputs, "hidden_states", 3)
    text_batch, text, features = shape_of(inputs, "encoder_hidden_states", 3)
    pooled_batch, pooled = shape_of(inputs, "pooled_projections", 2)
    agree("the batch of encoder_hidden_states", text_batch, batch)
    agree("the batch of pooled_projections", pooled_batch, batch)
    agree("the width of hidden_states", channels, options["in_channels"])
    agree("the width of encoder_hidden_states", features, options["joint_attention_dim"])
    agree("the width of pooled_projections", pooled, options["pooled_projection_dim"])
    for name in ["timestep", *["guidance"] * guided]:
        agree(f"the batch of {name}", *shape_of(inputs, name, 1), batch)
    heads, head_dim = options["num_attention_heads"], options["attention_head_dim"]
    width = heads * head_dim
    both = Tokens(image + text, width)
    conditions = (1 + guided) * timestep_embedding(batch, SINUSOIDS, width) + timestep_embedding(batch, pooled, width)
    out = options["patch_size"] ** 2 * (options["out_channels"] or options["in_channels"])
    joint, single = options["num_layers"], options["num_single_layers"]
    blocks: Work = joint * _joint_block(batch, both, heads) + single * _single_block(batch, both, heads)
    return (
        conditions
        + linear(batch * image, channels, width)
        + linear(batch * text, features, width)
        + rotary_embedding(both.count, options["axes_dims_rope"], inputs)
        + blocks
        + linear(batch, width, 2 * width)
        + linear(batch * image, width, out)
    )


def rotary_embedding(count: Size, axes: Sequence[int], inputs: Inputs) -> Work:
    """The outer product of positions and frequencies of each axis; half an axis's width is its frequencies.

    Next to a single frequency torch multiplies elementwise.
    """
    ids = [shape_of(inputs, name, len(inputs[name]))[-1] for name in ("txt_ids", "img_ids") if name in inputs]
    agree("the number of axes of txt_ids and img_ids", len(ids), 2)
    agree("the number of axes of img_ids", ids[1], ids[0])
    frequencies = sum(axis // 2 for axis in axes[: ids[0]] if axis // 2 > 1)
    return Work(matmul=arithmetic.outer(count, frequencies))


def _joint_block(batch: Size, both: Tokens, heads: int) -> Work:
    """Six modulations, projections and an MLP for each of the streams: as many weights a token in both."""
    rows, width = batch * both.count, both.width
    return (
        2 * linear(batch, width, 6 * width)
        + qkv_attention(batch, both, heads)
        + linear(rows, width, width)
        + 2 * linear(rows, width, MLP_RATIO * width)
    )


def _single_block(batch: Size, both: Tokens, heads: int) -> Work:
    """Three modulations; the projection out takes the attention's and the MLP's result side by side."""
    rows, width = batch * both.count, both.width
    return (
        linear(batch, width, 3 * width)
        + qkv_attention(batch, both, heads)
        + linear(rows, width, MLP_RATIO * width)
        + linear(rows, (1 + MLP_RATIO) * width, width)
    )


def _inputs(config: Options, sizes: Sizes) -> Inputs:
    batch, height, width, _, tokens = sizes
    image = (height // 2) * (width // 2)  # packed two by two (pipeline_flux.py, _pack_latents)
    axes = len(config.get("axes_dims_rope", (16, 56, 56)))
    return {
        "hidden_states": (batch, image, config.get("in_channels", 64)),
        "encoder_hidden_states": (batch, tokens, config.get("joint_attention_dim", 4096)),
        "pooled_projections": (batch, config.get("pooled_projection_dim", 768)),
        "timestep": (batch,),
        "img_ids": (image, axes),
        "txt_ids": (tokens, axes),
        **({"guidance": (batch,)} if config.get("guidance_embeds") else {}),
    }


FORMS = {
    "FluxTransformer2DModel": {"forward": Form(forward, _inputs)},
}
