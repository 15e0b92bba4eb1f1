"""WanTransformer3DModel of diffusers 0.42.1, as Wan 2.1 and 2.2 use it, from text and from images."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from crosscheck.closed_form import arithmetic
from crosscheck.closed_form.arithmetic import Size
from crosscheck.closed_form.layers import Tokens, attention, feed_forward, linear, patched, timestep_embedding
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

#: What decides MACs, with the defaults of models/transformers/transformer_wan.py:572-590.
DEFAULTS: Options = {
    "patch_size": (1, 2, 2),
    "num_attention_heads": 40,
    "attention_head_dim": 128,
    "in_channels": 16,
    "out_channels": 16,
    "text_dim": 4096,
    "freq_dim": 256,
    "ffn_dim": 13824,
    "num_layers": 40,
    "image_dim": None,
    "added_kv_proj_dim": None,
    "rope_max_seq_len": 1024,
    "pos_embed_seq_len": None,
}
COVERED = {
    "patch_size": range(1, 1 << 10),
    "attention_head_dim": range(2, 1 << 20, 2),  # rotated in pairs
}
READ = ("hidden_states", "timestep", "encoder_hidden_states", "encoder_hidden_states_image")
#: Where there are projections for images, the last so many tokens of the context are text, whatever was given
#: (transformer_wan.py:88-91).
TEXT_TOKENS = 512


def forward(config: Options, inputs: Inputs) -> Work:
    """``transformer(hidden_states, timestep, encoder_hidden_states, encoder_hidden_states_image)``."""
    refuse_inputs(inputs, READ)
    options = complete(config, DEFAULTS)
    refuse_uncovered(options, COVERED)
    batch, grid = _patches(options, inputs)
    patch, channels = options["patch_size"], options["in_channels"]
    width = options["num_attention_heads"] * options["attention_head_dim"]
    video = Tokens(prod(grid), width)
    image_work, images = _images(options, inputs, batch, width)
    text_batch, text, features = shape_of(inputs, "encoder_hidden_states", 3)
    agree("the batch of encoder_hidden_states", text_batch, batch)
    agree("the width of encoder_hidden_states", features, options["text_dim"])
    times = _times(inputs, batch, video.count)
    layers: int = options["num_layers"]
    block = (
        attention(batch, video, video, options["num_attention_heads"], options["attention_head_dim"])
        + _cross_attention(options, batch, video, text + images)
        + feed_forward(batch * video.count, width, options["ffn_dim"], width, "gelu-approximate")
    )
    return (
        Work(conv=arithmetic.conv(batch, channels, width, patch, grid))
        + timestep_embedding(times, options["freq_dim"], width)
        + linear(times, width, 6 * width)
        + timestep_embedding(batch * text, features, width)
        + image_work
        + layers * block
        + linear(batch * video.count, width, (options["out_channels"] or channels) * prod(patch))
    )


def _patches(options: Options, inputs: Inputs) -> tuple[Size, Sequence[Size]]:
    """The batch, and the patches along each axis: there are rotary frequencies for only so many."""
    batch, channels, *sizes = shape_of(inputs, "hidden_states", 5)
    agree("the number of channels of hidden_states", channels, options["in_channels"])
    patch = options["patch_size"]
    agree("the number of dimensions of patch_size", len(patch) if isinstance(patch, (list, tuple)) else 1, 3)
    grid = patched(sizes, patch)
    for size in grid:
        if isinstance(size, int) and size > options["rope_max_seq_len"]:
            msg = f"{size} patches along an axis are more than rope_max_seq_len={options['rope_max_seq_len']}"
            raise NoClosedForm(msg)
    return batch, grid


def _times(inputs: Inputs, batch: Size, tokens: Size) -> Size:
    """Timesteps that are embedded: one for all, one a video, or (Wan 2.2 TI2V) one a token."""
    shape = shape_of(inputs, "timestep", 2 if len(inputs.get("timestep", ())) == 2 else 1)
    agree("the batch of timestep", shape[0], 1, batch)
    if len(shape) == 2:
        agree("the number of tokens of timestep", shape[1], 1, tokens)
    return prod(shape)


def _images(options: Options, inputs: Inputs, batch: Size, width: int) -> tuple[Work, Size]:
    """WanImageEmbedding, and the tokens it puts before the text's.

    With ``pos_embed_seq_len`` a video has two images, first and last, side by side (transformer_wan.py:297-300).
    """
    name, features, length = "encoder_hidden_states_image", options["image_dim"], options["pos_embed_seq_len"]
    if name not in inputs:
        return Work(), 0
    rows, count, got = shape_of(inputs, name, 3)
    agree(f"the width of {name}", got, features)
    pair = 1 if length is None else 2
    agree(f"the batch of {name}", rows, pair * batch)
    if length is not None:
        agree(f"the number of tokens of {name}", pair * count, length)
    return feed_forward(rows * count, features, features, width, "gelu"), pair * count


def _cross_attention(options: Options, batch: Size, video: Tokens, context: Size) -> Work:
    """Attention to the text; with projections for images, the same queries attend to these apart."""
    heads, head_dim, added = (
        options[name] for name in ("num_attention_heads", "attention_head_dim", "added_kv_proj_dim")
    )
    if added is None:
        return attention(batch, video, Tokens(context, video.width), heads, head_dim)
    agree("added_kv_proj_dim", added, video.width)
    if isinstance(context, int) and context < TEXT_TOKENS:
        msg = f"a context of {context} tokens is shorter than the {TEXT_TOKENS} of the text beside images"
        raise NoClosedForm(msg)
    images = context - TEXT_TOKENS
    return (
        attention(batch, video, Tokens(TEXT_TOKENS, video.width), heads, head_dim)
        + 2 * linear(batch * images, added, video.width)
        + Work(attention=arithmetic.attention(batch, heads, video.count, images, head_dim, head_dim))
    )


def _inputs(config: Options, sizes: Sizes) -> Inputs:
    batch, height, width, frames, tokens = sizes
    return {
        "hidden_states": (batch, config.get("in_channels", 16), frames, height, width),
        "timestep": (batch,),
        "encoder_hidden_states": (batch, tokens, config.get("text_dim", 4096)),
    }


FORMS = {
    "WanTransformer3DModel": {"forward": Form(forward, _inputs)},
}
