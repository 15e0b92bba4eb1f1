"""SD3Transformer2DModel of diffusers 0.42.1: blocks of joint attention over image and text."""

from __future__ import annotations

from crosscheck.closed_form.arithmetic import Size
from crosscheck.closed_form.layers import (
    SINUSOIDS,
    Tokens,
    attention,
    conv2d,
    feed_forward,
    linear,
    patch_grid,
    qkv_attention,
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
from crosscheck.closed_form.sizes import Form, Sizes, image_inputs
from crosscheck.closed_form.work import Work

#: What decides MACs, with the defaults of models/transformers/transformer_sd3.py:120-137.
DEFAULTS: Options = {
    "patch_size": 2,
    "in_channels": 16,
    "num_layers": 18,
    "attention_head_dim": 64,
    "num_attention_heads": 18,
    "joint_attention_dim": 4096,
    "caption_projection_dim": 1152,
    "pooled_projection_dim": 2048,
    "out_channels": 16,
    "pos_embed_max_size": 96,
    "dual_attention_layers": (),
    "qk_norm": None,
}
COVERED = {
    "patch_size": range(1, 1 << 20),
    "pos_embed_max_size": range(1, 1 << 20),
    "qk_norm": (None, "layer_norm", "fp32_layer_norm", "rms_norm"),
}


def forward(config: Options, inputs: Inputs) -> Work:
    """``transformer(hidden_states, encoder_hidden_states, pooled_projections, timestep)``."""
    options = complete(config, DEFAULTS)
    refuse_uncovered(options, COVERED)
    read = ("hidden_states", "encoder_hidden_states", "pooled_projections", "timestep")
    refuse_inputs(inputs, read, weightless=("block_controlnet_hidden_states",))
    batch, channels, *extent = shape_of(inputs, "hidden_states", 4)
    text_batch, text, features = shape_of(inputs, "encoder_hidden_states", 3)
    pooled_batch, pooled = shape_of(inputs, "pooled_projections", 2)
    heads, head_dim, patch = options["num_attention_heads"], options["attention_head_dim"], options["patch_size"]
    width = heads * head_dim
    agree("the number of channels of hidden_states", channels, options["in_channels"])
    agree("the batch of encoder_hidden_states", text_batch, 1, batch)
    agree("the width of encoder_hidden_states", features, options["joint_attention_dim"])
    agree("the batch of pooled_projections", pooled_batch, batch)
    agree("the width of pooled_projections", pooled, options["pooled_projection_dim"])
    (times,) = shape_of(inputs, "timestep", 1)
    agree("the batch of timestep", times, 1, batch)
    agree("caption_projection_dim", options["caption_projection_dim"], width)
    agree(f"the rest of width {width} over 4, for the sinusoids of rows and columns", width % 4, 0)
    grid = patch_grid(extent, patch)
    for size in grid:  # embeddings.py:343-350
        if isinstance(size, int) and size > options["pos_embed_max_size"]:
            msg = f"{size} patches in a row are more than pos_embed_max_size={options['pos_embed_max_size']}"
            raise NoClosedForm(msg)
    image = Tokens(grid[0] * grid[1], width)
    place = (batch, image, Tokens(text, width), heads)
    last, dual = options["num_layers"] - 1, options["dual_attention_layers"]
    blocks = (_block(*place, last=i == last, dual=i in dual) for i in range(options["num_layers"]))
    return (
        conv2d(batch, channels, width, patch, grid)
        + timestep_embedding(times, SINUSOIDS, width)
        + timestep_embedding(batch, pooled, width)
        + linear(text_batch * text, features, width)
        + sum(blocks, Work())
        + linear(batch, width, 2 * width)
        + linear(batch * image.count, width, patch**2 * (options["out_channels"] or channels))
    )


def _block(batch: Size, image: Tokens, text: Tokens, heads: int, *, last: bool, dual: bool) -> Work:
    """JointTransformerBlock: six modulations a stream; ``dual`` adds three and attention of the image alone.

    In the last block the text has two modulations and gives q, k and v, but nothing comes out (attention.py:607, 669).
    """
    width = image.width
    work = (
        linear(batch, width, (9 if dual else 6) * width)
        + linear(batch, width, (2 if last else 6) * width)
        + qkv_attention(batch, Tokens(image.count + text.count, width), heads)
    )
    for stream in (image,) if last else (image, text):
        rows = batch * stream.count
        work += linear(rows, width, width) + feed_forward(rows, width, 4 * width, width, "gelu-approximate")
    return work + (attention(batch, image, image, heads, width // heads) if dual else Work())


def _inputs(config: Options, sizes: Sizes) -> Inputs:
    pooled = {"pooled_projections": (sizes.batch, config.get("pooled_projection_dim", 2048))}
    return {**image_inputs("joint_attention_dim", 16)(config, sizes), **pooled}


FORMS = {
    "SD3Transformer2DModel": {"forward": Form(forward, _inputs)},
}
