"""AutoencoderKL of diffusers 0.42.1: encode, decode, and forward, which is both."""

from __future__ import annotations

from crosscheck.closed_form.arithmetic import Size
from crosscheck.closed_form.layers import Extent, conv2d, downsampled, layer_inputs, mid_attention, resnet
from crosscheck.closed_form.options import Inputs, Options, agree, complete, refuse_inputs, refuse_uncovered, shape_of
from crosscheck.closed_form.sizes import Form, Sizes, latent_scale
from crosscheck.closed_form.work import Work

#: What decides MACs, with the defaults of models/autoencoders/autoencoder_kl.py:78-98.
DEFAULTS: Options = {
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ("DownEncoderBlock2D",),
    "up_block_types": ("UpDecoderBlock2D",),
    "block_out_channels": (64,),
    "layers_per_block": 1,
    "latent_channels": 4,
    "use_quant_conv": True,
    "use_post_quant_conv": True,
    "mid_block_add_attention": True,
}
COVERED = {
    "down_block_types": ("DownEncoderBlock2D", "AttnDownEncoderBlock2D"),
    "up_block_types": ("UpDecoderBlock2D", "AttnUpDecoderBlock2D"),
}


def encode(config: Options, inputs: Inputs) -> Work:
    """``vae.encode(x)``; the moments it gives have twice the latent channels."""
    refuse_inputs(inputs, ("x",))
    options = _read(config)
    batch, extent = _image(inputs, "x", options["in_channels"])
    return _encode(options, batch, extent)


def decode(config: Options, inputs: Inputs) -> Work:
    """``vae.decode(z)``."""
    refuse_inputs(inputs, ("z",))
    options = _read(config)
    batch, extent = _image(inputs, "z", options["latent_channels"])
    return _decode(options, batch, extent)


def forward(config: Options, inputs: Inputs) -> Work:
    """``vae(sample)``: encode, then decode the posterior's mode or sample."""
    refuse_inputs(inputs, ("sample",))
    options = _read(config)
    batch, extent = _image(inputs, "sample", options["in_channels"])
    return _encode(options, batch, extent) + _decode(options, batch, _extents(options, extent)[-1])


def _read(config: Options) -> Options:
    options = complete(config, DEFAULTS)
    refuse_uncovered(options, COVERED)
    levels = len(options["block_out_channels"])
    for name in COVERED:
        agree(f"the number of {name}", len(options[name]), levels)
    return options


def _image(inputs: Inputs, name: str, channels: int) -> tuple[Size, Extent]:
    batch, got, height, width = shape_of(inputs, name, 4)
    agree(f"the number of channels of {name}", got, channels)
    return batch, (height, width)


def _extents(options: Options, extent: Extent) -> list[Extent]:
    """Extent of each level of the encoder, which downsamples with padding 0 (vae.py:125)."""
    extents = [extent]
    for _ in options["block_out_channels"][1:]:
        extents.append(downsampled(extents[-1], 0))
    return extents


def _encode(options: Options, batch: Size, extent: Extent) -> Work:
    channels, extents = options["block_out_channels"], _extents(options, extent)
    moments = 2 * options["latent_channels"]
    work = conv2d(batch, options["in_channels"], channels[0], 3, extent)
    for level, kind in enumerate(options["down_block_types"]):
        before, attends = channels[max(level - 1, 0)], kind.startswith("Attn")
        work += _layers(batch, extents[level], before, channels[level], options["layers_per_block"], attends=attends)
        if level + 1 < len(channels):
            work += conv2d(batch, channels[level], channels[level], 3, extents[level + 1])
    work += _mid(options, batch, extents[-1]) + conv2d(batch, channels[-1], moments, 3, extents[-1])
    return work + (conv2d(batch, moments, moments, 1, extents[-1]) if options["use_quant_conv"] else Work())


def _decode(options: Options, batch: Size, extent: Extent) -> Work:
    channels, latent = options["block_out_channels"][::-1], options["latent_channels"]
    work = conv2d(batch, latent, latent, 1, extent) if options["use_post_quant_conv"] else Work()
    work += conv2d(batch, latent, channels[0], 3, extent) + _mid(options, batch, extent)
    for step, kind in enumerate(options["up_block_types"]):
        before, attends = channels[max(step - 1, 0)], kind.startswith("Attn")
        work += _layers(batch, extent, before, channels[step], options["layers_per_block"] + 1, attends=attends)
        if step + 1 < len(channels):
            extent = (2 * extent[0], 2 * extent[1])
            work += conv2d(batch, channels[step], channels[step], 3, extent)
    return work + conv2d(batch, channels[-1], options["out_channels"], 3, extent)


def _layers(batch: Size, extent: Extent, before: int, channels: int, layers: int, *, attends: bool) -> Work:
    """The resnets of one level, each followed by attention in the Attn... blocks."""
    resnets = (resnet(batch, extent, given, channels) for given in layer_inputs(before, channels, layers))
    return sum(resnets, Work()) + mid_attention(batch, extent, channels) * (layers * attends)


def _mid(options: Options, batch: Size, extent: Extent) -> Work:
    """UNetMidBlock2D: resnet, attention unless it is switched off, resnet."""
    channels = options["block_out_channels"][-1]
    attention = mid_attention(batch, extent, channels) if options["mid_block_add_attention"] else Work()
    return 2 * resnet(batch, extent, channels, channels) + attention


def latents(config: Options, sizes: Sizes) -> Inputs:
    """Inputs of ``decode``."""
    return {"z": (sizes.batch, config.get("latent_channels", 4), sizes.height, sizes.width)}


def images(config: Options, sizes: Sizes) -> Inputs:
    """Inputs of ``encode``."""
    scale = latent_scale(config)
    return {"x": (sizes.batch, config.get("in_channels", 3), scale * sizes.height, scale * sizes.width)}


FORMS = {
    "AutoencoderKL": {"encode": Form(encode, images), "decode": Form(decode, latents), "forward": Form(forward, None)},
}
