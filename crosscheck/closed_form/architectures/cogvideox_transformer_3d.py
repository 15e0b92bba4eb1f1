"""CogVideoXTransformer3DModel of diffusers 0.42.1: CogVideoX 1.0 and 1.5, from text and from images."""

from __future__ import annotations

from math import prod
from typing import Any

from crosscheck.closed_form import arithmetic
from crosscheck.closed_form.arithmetic import Size, smaller
from crosscheck.closed_form.layers import (
    ACTIVATIONS,
    Tokens,
    attention,
    feed_forward,
    linear,
    patched,
    timestep_embedding,
)
from crosscheck.closed_form.options import Inputs, Options, agree, complete, refuse_inputs, refuse_uncovered, shape_of
from crosscheck.closed_form.sizes import Form, Sizes
from crosscheck.closed_form.work import Work

#: What decides MACs, with the defaults of models/transformers/cogvideox_transformer_3d.py:223-250.
DEFAULTS: Options = {
    "num_attention_heads": 30,
    "attention_head_dim": 64,
    "in_channels": 16,
    "out_channels": 16,
    "time_embed_dim": 512,
    "ofs_embed_dim": None,
    "text_embed_dim": 4096,
    "num_layers": 30,
    "sample_width": 90,
    "sample_height": 60,
    "sample_frames": 49,
    "patch_size": 2,
    "patch_size_t": None,
    "temporal_compression_ratio": 4,
    "max_text_seq_length": 226,
    "activation_fn": "gelu-approximate",
    "use_rotary_positional_embeddings": False,
    "use_learned_positional_embeddings": False,
}
COVERED = {
    "out_channels": range(1, 1 << 20),
    "patch_size": range(1, 1 << 10),
    "patch_size_t": (None, *range(1, 1 << 10)),
    "activation_fn": ACTIVATIONS,
}
READ = ("hidden_states", "encoder_hidden_states", "timestep", "ofs")
#: Multiplied elementwise.
WEIGHTLESS = ("image_rotary_emb",)


def forward(config: Options, inputs: Inputs) -> Work:
    """``transformer(hidden_states, encoder_hidden_states, timestep, ofs=..., image_rotary_emb=...)``."""
    refuse_inputs(inputs, READ, WEIGHTLESS)
    options = complete(config, DEFAULTS)
    refuse_uncovered(options, COVERED)
    agree("the type of patch_size", type(options["patch_size"]), int)
    batch, frames, channels, height, width = shape_of(inputs, "hidden_states", 5)
    agree("the number of channels of hidden_states", channels, options["in_channels"])
    text_batch, text, features = shape_of(inputs, "encoder_hidden_states", 3)
    agree("the batch of encoder_hidden_states", text_batch, batch)
    agree("the width of encoder_hidden_states", features, options["text_embed_dim"])
    heads, head_dim = options["num_attention_heads"], options["attention_head_dim"]
    inner, conditions = heads * head_dim, options["time_embed_dim"]
    grid = _grid(options, (frames, height, width))
    video = batch * prod(grid)
    both = Tokens(text + prod(grid), inner)
    patch = options["patch_size"] ** 2 * (options["patch_size_t"] or 1)
    embedded = arithmetic.linear(video, channels * patch, inner)
    times, time_work = _times(options, inputs, batch)
    layers: int = options["num_layers"]
    block = (
        2 * linear(times, conditions, 6 * inner)
        + attention(batch, both, both, heads, head_dim)
        + feed_forward(batch * both.count, inner, 4 * inner, inner, options["activation_fn"])
    )
    return (
        (Work(conv=embedded) if options["patch_size_t"] is None else Work(linear=embedded))
        + linear(batch * text, features, inner)
        + _positions(options, (frames, height, width), text, inner)
        + time_work
        + layers * block
        + linear(times, conditions, 2 * inner)
        + linear(video, inner, options["out_channels"] * patch)
    )


def _grid(options: Options, sizes: tuple[Size, Size, Size]) -> tuple[Size, ...]:
    """Patches along each axis. A convolution leaves a rest out, but the linear layer of CogVideoX 1.5 takes none."""
    side, length = options["patch_size"], options["patch_size_t"]
    patch = (length or 1, side, side)
    if length is not None:
        for size, divisor in zip(sizes, patch, strict=True):
            if isinstance(size, int):
                agree(f"the rest of {size} over a patch of {divisor}", size % divisor, 0)
    return patched(sizes, patch)


def _times(options: Options, inputs: Inputs, batch: Size) -> tuple[Size, Work]:
    """The embedded times, one for all or one a video, and the work of it; ``ofs`` is added to them."""
    (times,) = shape_of(inputs, "timestep", 1)
    agree("the batch of timestep", times, 1, batch)
    width, offsets = options["time_embed_dim"], options["ofs_embed_dim"]
    work = timestep_embedding(times, options["num_attention_heads"] * options["attention_head_dim"], width)
    if offsets:
        (rows,) = shape_of(inputs, "ofs", 1)
        agree("the batch of ofs", rows, 1, times)
        agree("ofs_embed_dim", offsets, width)
        work += timestep_embedding(rows, offsets, width)
    return times, work


def _positions(options: Options, sizes: tuple[Size, Size, Size], text: Size, width: int) -> Work:
    """The sinusoids of the positions, made anew in each call for all but the config's own size.

    Each is an outer product of positions and frequencies (embeddings.py:249): of all the pixels of a frame, for height
    and for width 3/16 of the features, and of the frames, 1/8 of them.
    """
    rotary, learned = options["use_rotary_positional_embeddings"], options["use_learned_positional_embeddings"]
    if rotary and not learned:
        return Work()
    agree("use_rotary_positional_embeddings beside learned ones", rotary, learned)
    agree(f"the rest of width {width} over 16", width % 16, 0)
    agree("patch_size_t beside positions of single frames", options["patch_size_t"], None, 1)
    agree("the number of tokens of encoder_hidden_states", text, options["max_text_seq_length"])
    frames, *extent = sizes
    given: list[Any] = [options["sample_height"], options["sample_width"]]
    if learned:  # embeddings.py:554-558
        agree("the extent of hidden_states", extent, given)
    all_frames = (frames - 1) * options["temporal_compression_ratio"] + 1
    distance = sum(abs(a - b) for a, b in zip((all_frames, *extent), (options["sample_frames"], *given), strict=True))
    pixels = prod(patched(extent, [options["patch_size"]] * 2))
    outer = 2 * _outer(pixels, 3 * width // 16) + _outer(frames, width // 8)
    return Work(matmul=smaller(1, distance) * outer)


def _outer(positions: Size, frequencies: int) -> Size:
    """Next to a single position torch multiplies elementwise."""
    return smaller(1, positions - 1) * arithmetic.outer(positions, frequencies)


def _inputs(config: Options, sizes: Sizes) -> Inputs:
    batch, height, width, frames, _ = sizes
    tokens = config.get("max_text_seq_length", 226)  # the model takes no other number
    return {
        "hidden_states": (batch, frames, config.get("in_channels", 16), height, width),
        "timestep": (batch,),
        "encoder_hidden_states": (batch, tokens, config.get("text_embed_dim", 4096)),
    }


FORMS = {
    "CogVideoXTransformer3DModel": {"forward": Form(forward, _inputs)},
}
