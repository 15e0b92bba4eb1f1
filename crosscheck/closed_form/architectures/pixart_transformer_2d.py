"""PixArtTransformer2DModel of diffusers 0.42.1: PixArt-alpha and PixArt-sigma."""

from __future__ import annotations

from crosscheck.closed_form.arithmetic import Size
from crosscheck.closed_form.layers import (
    ACTIVATIONS,
    SINUSOIDS,
    Tokens,
    attention,
    conv2d,
    feed_forward,
    grid_positions,
    linear,
    patch_grid,
    timestep_embedding,
)
from crosscheck.closed_form.options import Inputs, Options, agree, complete, refuse_inputs, refuse_uncovered, shape_of
from crosscheck.closed_form.sizes import Form, Sizes, image_inputs
from crosscheck.closed_form.work import Work

#: What decides MACs, with the defaults of models/transformers/pixart_transformer_2d.py:85-108.
DEFAULTS: Options = {
    "num_attention_heads": 16,
    "attention_head_dim": 72,
    "in_channels": 4,
    "out_channels": 8,
    "num_layers": 28,
    "cross_attention_dim": 1152,
    "sample_size": 128,
    "patch_size": 2,
    "activation_fn": "gelu-approximate",
    "norm_type": "ada_norm_single",
    "use_additional_conditions": None,
    "caption_channels": None,
    "attention_type": "default",
}
COVERED = {
    "sample_size": range(1, 1 << 20),
    "patch_size": range(1, 1 << 20),
    "activation_fn": ACTIVATIONS,
    "norm_type": ("ada_norm_single",),
    "attention_type": ("default",),
}
CONDITIONS = ("added_cond_kwargs.resolution", "added_cond_kwargs.aspect_ratio")


def forward(config: Options, inputs: Inputs) -> Work:
    """``transformer(hidden_states, encoder_hidden_states, timestep, added_cond_kwargs)``."""
    options = complete(config, DEFAULTS)
    refuse_uncovered(options, COVERED)
    read = ("hidden_states", "encoder_hidden_states", "timestep", *CONDITIONS)
    refuse_inputs(inputs, read, weightless=("attention_mask", "encoder_attention_mask"))
    batch, channels, *extent = shape_of(inputs, "hidden_states", 4)
    agree("the number of channels of hidden_states", channels, options["in_channels"])
    heads, head_dim, patch = options["num_attention_heads"], options["attention_head_dim"], options["patch_size"]
    width, depth = heads * head_dim, int(options["num_layers"])
    grid = patch_grid(extent, patch)
    image = Tokens(grid[0] * grid[1], width)
    rows = batch * image.count
    block = attention(batch, image, image, heads, head_dim) + feed_forward(
        rows, width, 4 * width, width, options["activation_fn"]
    )
    captions, text = _captions(options, inputs, batch, width)
    if options["cross_attention_dim"] is not None:
        agree("the width of the captions that are attended to", text.width, options["cross_attention_dim"])
        block += attention(batch, image, text, heads, head_dim)
    out = channels if options["out_channels"] is None else options["out_channels"]
    return (
        conv2d(batch, channels, width, patch, grid)
        + grid_positions(grid, options["sample_size"] // patch, width)
        + _conditions(options, inputs, batch, width)
        + captions
        + depth * block
        + linear(rows, width, patch**2 * out)
    )


def _conditions(options: Options, inputs: Inputs, batch: Size, width: int) -> Work:
    """AdaLayerNormSingle: the timestep, and where conditions are added each number of size and aspect ratio.

    Left to None, they are added to a model of 128 x 128 latents (pixart_transformer_2d.py:125-129). Their embeddings,
    a third as wide, side by side are as wide as the timestep's (embeddings.py:1945-1950, normalization.py:250).
    """
    added = options["use_additional_conditions"]
    if added is None:
        added = options["sample_size"] == 128
    (rows,) = shape_of(inputs, "timestep", 1)
    agree("the batch of timestep", rows, *((1, batch) if added else (batch,)))
    work = timestep_embedding(rows, SINUSOIDS, width) + linear(batch, width, 6 * width)
    if not added:
        return work
    third, numbers = width // 3, 0
    for name in CONDITIONS:
        condition_batch, count = shape_of(inputs, name, 2)
        agree(f"the batch of {name}", condition_batch, batch)
        work += timestep_embedding(batch * count, SINUSOIDS, third)
        numbers += count
    agree(f"the width of the embeddings of {' and '.join(CONDITIONS)}", numbers * third, width)
    return work


def _captions(options: Options, inputs: Inputs, batch: Size, width: int) -> tuple[Work, Tokens]:
    """MACs of projecting the captions, and the captions afterwards."""
    features = options["caption_channels"]
    if features is None and options["cross_attention_dim"] is None:
        return Work(), Tokens(0, 0)
    rows, count, given = shape_of(inputs, "encoder_hidden_states", 3)
    agree("the batch of encoder_hidden_states", rows, batch)
    if features is None:
        return Work(), Tokens(count, given)
    agree("the width of encoder_hidden_states", given, features)
    return timestep_embedding(rows * count, features, width), Tokens(count, width)


def pixart_inputs(config: Options, sizes: Sizes) -> Inputs:
    """Inputs of the transformer."""
    given = image_inputs("caption_channels", 4)(config, sizes)
    added = config.get("use_additional_conditions")
    if added is None:  # pixart_transformer_2d.py: so by default for the models of 1024 pixels
        added = config.get("sample_size", 128) == 128
    names = {"added_cond_kwargs.resolution": 2, "added_cond_kwargs.aspect_ratio": 1} if added else {}
    return {**given, **{name: (sizes.batch, count) for name, count in names.items()}}


FORMS = {
    "PixArtTransformer2DModel": {"forward": Form(forward, pixart_inputs)},
}
