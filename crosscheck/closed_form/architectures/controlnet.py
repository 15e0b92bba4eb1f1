"""ControlNetModel of diffusers 0.42.1: the way down and the middle of a UNet, beside it an encoder of the condition."""

from __future__ import annotations

from itertools import pairwise

from crosscheck.closed_form.architectures import unet_2d_condition
from crosscheck.closed_form.architectures.unet_2d_condition import Blocks
from crosscheck.closed_form.arithmetic import Size
from crosscheck.closed_form.layers import Extent, conv2d, downsampled
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
from crosscheck.closed_form.unet_embeddings import embeddings
from crosscheck.closed_form.work import Work

#: What decides MACs, with the defaults of models/controlnets/controlnet.py:185-221.
DEFAULTS: Options = {
    "in_channels": 4,
    "conditioning_channels": 3,
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "mid_block_type": "UNetMidBlock2DCrossAttn",
    "only_cross_attention": False,
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "downsample_padding": 1,
    "cross_attention_dim": 1280,
    "transformer_layers_per_block": 1,
    "encoder_hid_dim": None,
    "encoder_hid_dim_type": None,
    "attention_head_dim": 8,
    "num_attention_heads": None,
    "use_linear_projection": False,
    "class_embed_type": None,
    "addition_embed_type": None,
    "addition_time_embed_dim": None,
    "num_class_embeds": None,
    "resnet_time_scale_shift": "default",
    "projection_class_embeddings_input_dim": None,
    "controlnet_conditioning_channel_order": "rgb",
    "conditioning_embedding_out_channels": (16, 32, 96, 256),
    "addition_embed_type_num_heads": 64,
}
COVERED = {
    **{
        name: unet_2d_condition.COVERED[name]
        for name in ("down_block_types", "downsample_padding", "resnet_time_scale_shift", "addition_embed_type")
    },
    "mid_block_type": ("UNetMidBlock2D", "UNetMidBlock2DCrossAttn"),
    "layers_per_block": range(1, 1 << 10),
    "cross_attention_dim": range(1, 1 << 20),
    "class_embed_type": (None, "timestep", "identity", "projection"),
    # Its projection is made and loaded, but forward leaves it out (controlnet.py:603).
    "encoder_hid_dim": (None,),
    "controlnet_conditioning_channel_order": ("rgb", "bgr"),
    "conditioning_embedding_out_channels": range(1, 1 << 20),
}
READ = (
    "sample",
    "timestep",
    "encoder_hidden_states",
    "controlnet_cond",
    "class_labels",
    "added_cond_kwargs.text_embeds",
    "added_cond_kwargs.time_ids",
)
#: Added to something or multiplied elementwise.
WEIGHTLESS = ("attention_mask", "conditioning_scale")


def forward(config: Options, inputs: Inputs) -> Work:
    """One call of the ControlNet."""
    refuse_inputs(inputs, READ, WEIGHTLESS)
    options = complete(config, DEFAULTS)
    refuse_uncovered(options, COVERED)
    for name in ("layers_per_block", "cross_attention_dim"):  # one for all levels, other than in a UNet
        agree(f"the type of {name}", type(options[name]), int)
    batch, channels, height, width = shape_of(inputs, "sample", 4)
    agree("the number of channels of sample", channels, options["in_channels"])
    unet = _as_unet(options)
    blocks = Blocks.read(unet, inputs, batch, (height, width))
    return (
        embeddings(unet, inputs, batch)
        + conv2d(batch, channels, blocks.channels[0], 3, (height, width))
        + _condition(options, inputs, batch, (height, width))
        + sum((blocks.down(level) for level in range(len(blocks.channels))), Work())
        + blocks.mid()
        + _zero_convolutions(blocks)
    )


def _as_unet(options: Options) -> Options:
    """The options of a UNet with these blocks on its way down; what is named for its way up is never met.

    Here num_attention_heads is what it says, where it is given (controlnet.py:231).
    """
    return {
        **unet_2d_condition.DEFAULTS,
        **options,
        "up_block_types": options["down_block_types"],
        "reverse_transformer_layers_per_block": options["transformer_layers_per_block"],
        "attention_head_dim": options["num_attention_heads"] or options["attention_head_dim"],
    }


def _condition(options: Options, inputs: Inputs, batch: Size, extent: Extent) -> Work:
    """ControlNetConditioningEmbedding: from the image's size to the sample's, in steps of two convolutions."""
    rows, channels, *sizes = shape_of(inputs, "controlnet_cond", 4)
    agree("the batch of controlnet_cond", rows, 1, batch)
    agree("the number of channels of controlnet_cond", channels, options["conditioning_channels"])
    steps = options["conditioning_embedding_out_channels"]
    if not isinstance(steps, (list, tuple)) or not steps:
        msg = f"conditioning_embedding_out_channels={steps!r} names no channels"
        raise NoClosedForm(msg)
    size: Extent = (sizes[0], sizes[1])
    work = conv2d(rows, channels, steps[0], 3, size)
    for before, after in pairwise(steps):
        work += conv2d(rows, before, before, 3, size)
        size = downsampled(size, 1)
        work += conv2d(rows, before, after, 3, size)
    agree("the extent of the embedded controlnet_cond", size, extent)
    return work + conv2d(rows, steps[-1], options["block_out_channels"][0], 3, size)


def _zero_convolutions(blocks: Blocks) -> Work:
    """A 1x1 convolution of each residual: of the first convolution, every layer, every downsampling, the middle."""
    batch, channels, extents = blocks.batch, blocks.channels, blocks.extents
    work = conv2d(batch, channels[0], channels[0], 1, extents[0])
    for level, out in enumerate(channels):
        work += blocks.layers[level] * conv2d(batch, out, out, 1, extents[level])
        if level + 1 < len(channels):
            work += conv2d(batch, out, out, 1, extents[level + 1])
    return work + conv2d(batch, channels[-1], channels[-1], 1, extents[-1])


def _inputs(config: Options, sizes: Sizes) -> Inputs:
    scale = 2 ** (len(config.get("conditioning_embedding_out_channels", (16, 32, 96, 256))) - 1)
    image = (sizes.batch, config.get("conditioning_channels", 3), scale * sizes.height, scale * sizes.width)
    return {**unet_2d_condition.unet_inputs(config, sizes), "controlnet_cond": image}


FORMS = {
    "ControlNetModel": {"forward": Form(forward, _inputs)},
}
