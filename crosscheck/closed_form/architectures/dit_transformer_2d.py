"""DiTTransformer2DModel of diffusers 0.42.1, and Transformer2DModel, the name that older configs have for it."""

from __future__ import annotations

from math import isqrt

from crosscheck.closed_form.architectures import pixart_transformer_2d
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

#: What decides MACs, with the defaults of models/transformers/dit_transformer_2d.py:72-90.
DEFAULTS: Options = {
    "num_attention_heads": 16,
    "attention_head_dim": 72,
    "in_channels": 4,
    "out_channels": None,
    "num_layers": 28,
    "sample_size": 32,
    "patch_size": 2,
    "activation_fn": "gelu-approximate",
    "norm_type": "ada_norm_zero",
}
COVERED = {
    "num_layers": range(1, 1 << 20),
    "sample_size": range(1, 1 << 20),
    "patch_size": range(1, 1 << 20),
    "activation_fn": ACTIVATIONS,
    "norm_type": ("ada_norm_zero",),
}
#: Options of Transformer2DModel that the classes it stands for do not have: only these values mean the same in all.
LEGACY_DEFAULTS: Options = {
    "norm_type": "layer_norm",
    "num_vector_embeds": None,
    "only_cross_attention": False,
    "double_self_attention": False,
}
LEGACY = {"ada_norm_zero": ("cross_attention_dim", "caption_channels"), "ada_norm_single": ()}


def forward(config: Options, inputs: Inputs) -> Work:
    """``transformer(hidden_states, timestep, class_labels)``.

    Every block embeds the timestep for itself, and the output does once more, with the first block's weights
    (dit_transformer_2d.py:208).
    """
    options = complete(config, DEFAULTS)
    refuse_uncovered(options, COVERED)
    refuse_inputs(inputs, ("hidden_states", "timestep", "class_labels"))
    batch, channels, *extent = shape_of(inputs, "hidden_states", 4)
    (rows,) = shape_of(inputs, "timestep", 1)
    agree("the number of channels of hidden_states", channels, options["in_channels"])
    agree("the batch of timestep", rows, 1, batch)
    agree("the batch of class_labels", *shape_of(inputs, "class_labels", 1), batch)
    heads, head_dim, patch = options["num_attention_heads"], options["attention_head_dim"], options["patch_size"]
    width, depth = heads * head_dim, int(options["num_layers"])
    grid = patch_grid(extent, patch)
    image = Tokens(grid[0] * grid[1], width)
    if isinstance(batch * image.count, int):  # it puts the patches into squares (dit_transformer_2d.py:214-217)
        square = isqrt(image.count) ** 2
        agree(f"the rest of {batch} x {image.count} patches over a square of {square}", batch * image.count % square, 0)
    block = (
        linear(batch, width, 6 * width)
        + attention(batch, image, image, heads, head_dim)
        + feed_forward(batch * image.count, width, 4 * width, width, options["activation_fn"])
    )
    out = channels if options["out_channels"] is None else options["out_channels"]
    return (
        conv2d(batch, channels, width, patch, grid)
        + grid_positions(grid, options["sample_size"] // patch, width)
        + (depth + 1) * timestep_embedding(rows, SINUSOIDS, width)
        + depth * block
        + linear(batch, width, 2 * width)
        + linear(batch * image.count, width, patch**2 * out)
    )


def legacy(config: Options, inputs: Inputs) -> Work:
    """Transformer2DModel on patches, which loads as DiT or PixArt by its norm (model_loading_utils.py:53-58)."""
    options = complete(config, LEGACY_DEFAULTS)
    refuse_uncovered(
        options, {name: (value,) for name, value in LEGACY_DEFAULTS.items()} | {"norm_type": tuple(LEGACY)}
    )
    norm = options["norm_type"]
    for name in LEGACY[norm]:
        agree(f"{name} with norm_type={norm!r}", config.get(name), None)
    return (forward if norm == "ada_norm_zero" else pixart_transformer_2d.forward)(config, inputs)


dit_inputs = image_inputs(None, 4)


def legacy_inputs(config: Options, sizes: Sizes) -> Inputs:
    """The name that older configs have for two classes."""
    return (dit_inputs if config.get("norm_type") == "ada_norm_zero" else pixart_transformer_2d.pixart_inputs)(
        config, sizes
    )


FORMS = {
    "Transformer2DModel": {"forward": Form(legacy, legacy_inputs)},
    "DiTTransformer2DModel": {"forward": Form(forward, dit_inputs)},
}
