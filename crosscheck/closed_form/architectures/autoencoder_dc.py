"""AutoencoderDC of diffusers 0.42.1: encode, decode, and forward, which is both."""

from __future__ import annotations

from typing import NamedTuple

from crosscheck.closed_form import arithmetic
from crosscheck.closed_form.architectures import autoencoder_kl
from crosscheck.closed_form.arithmetic import Size, conv_out
from crosscheck.closed_form.layers import Extent, conv2d, glumb_conv, linear, matmul
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
from crosscheck.closed_form.sizes import Form
from crosscheck.closed_form.work import Work

#: What decides MACs, with the defaults of models/autoencoders/autoencoder_dc.py:433-454.
DEFAULTS: Options = {
    "in_channels": 3,
    "latent_channels": 32,
    "attention_head_dim": 32,
    "encoder_block_types": "ResBlock",
    "decoder_block_types": "ResBlock",
    "encoder_block_out_channels": (128, 256, 512, 512, 1024, 1024),
    "decoder_block_out_channels": (128, 256, 512, 512, 1024, 1024),
    "encoder_layers_per_block": (2, 2, 2, 3, 3, 3),
    "decoder_layers_per_block": (3, 3, 3, 3, 3, 3),
    "encoder_qkv_multiscales": ((), (), (), (5,), (5,), (5,)),
    "decoder_qkv_multiscales": ((), (), (), (5,), (5,), (5,)),
    "upsample_block_type": "pixel_shuffle",
    "downsample_block_type": "pixel_unshuffle",
    "decoder_norm_types": "rms_norm",
    "encoder_out_shortcut": True,
    "decoder_in_shortcut": True,
}
COVERED = {
    "encoder_block_types": ("ResBlock", "EfficientViTBlock"),
    "decoder_block_types": ("ResBlock", "EfficientViTBlock"),
    "decoder_norm_types": ("rms_norm", "batch_norm"),
}


class Level(NamedTuple):
    """One resolution of the encoder or the decoder."""

    channels: int
    layers: int
    kind: str
    scales: tuple[int, ...]


def encode(config: Options, inputs: Inputs) -> Work:
    """``vae.encode(x)``."""
    refuse_inputs(inputs, ("x",))
    options = _read(config)
    return _encode(options, *_image(inputs, "x", options["in_channels"]))[0]


def decode(config: Options, inputs: Inputs) -> Work:
    """``vae.decode(z)``."""
    refuse_inputs(inputs, ("z",))
    options = _read(config)
    return _decode(options, *_image(inputs, "z", options["latent_channels"]))


def forward(config: Options, inputs: Inputs) -> Work:
    """``vae(sample)``: encode, then decode."""
    refuse_inputs(inputs, ("sample",))
    options = _read(config)
    batch, extent = _image(inputs, "sample", options["in_channels"])
    work, latent = _encode(options, batch, extent)
    return work + _decode(options, batch, latent)


def _read(config: Options) -> Options:
    options = complete(config, DEFAULTS)
    refuse_uncovered(options, COVERED)
    return options


def _image(inputs: Inputs, name: str, channels: int) -> tuple[Size, Extent]:
    batch, got, height, width = shape_of(inputs, name, 4)
    agree(f"the number of channels of {name}", got, channels)
    return batch, (height, width)


def _levels(options: Options, part: str) -> list[Level]:
    """Levels of the encoder or the decoder, the finest first; it alone may have no layers, and no resolution then."""
    channels = options[f"{part}_block_out_channels"]
    count = len(channels)
    kinds = options[f"{part}_block_types"]
    layers, scales = options[f"{part}_layers_per_block"], options[f"{part}_qkv_multiscales"]
    lists = (layers, [kinds] * count if isinstance(kinds, str) else kinds, scales)
    for name, values in zip(("layers_per_block", "block_types", "qkv_multiscales"), lists, strict=True):
        agree(f"the number of {part}_{name}", len(values), count)
    if any(n < 1 for n in layers[1:]) or sum(layers) < 1:
        msg = f"{part}_layers_per_block={layers!r} has no layers in a level other than the first"
        raise NoClosedForm(msg)
    return [Level(*level) for level in zip(channels, *lists, strict=True)]


def _encode(options: Options, batch: Size, extent: Extent) -> tuple[Work, Extent]:
    """And the extent of the latents. Images enter at the first level that has layers."""
    levels = _levels(options, "encoder")
    if levels[0].layers:
        work = conv2d(batch, options["in_channels"], levels[0].channels, 3, extent)
    else:
        del levels[0]
        work, extent = _down(options, batch, extent, options["in_channels"], levels[0].channels, shortcut=False)
    for level, after in zip(levels, [*levels[1:], None], strict=True):
        work += _blocks(options, batch, extent, level)
        if after:
            more, extent = _down(options, batch, extent, level.channels, after.channels, shortcut=True)
            work += more
    if options["encoder_out_shortcut"]:
        _fits("latent_channels", levels[-1].channels, options["latent_channels"])
    return work + conv2d(batch, levels[-1].channels, options["latent_channels"], 3, extent), extent


def _decode(options: Options, batch: Size, extent: Extent) -> Work:
    levels = _levels(options, "decoder")
    channels = levels[-1].channels
    if options["decoder_in_shortcut"]:
        _fits("latent_channels", channels, options["latent_channels"])
    work = conv2d(batch, options["latent_channels"], channels, 3, extent)
    for level in reversed(levels if levels[0].layers else levels[1:]):
        if level is not levels[-1]:
            _fits("channels before it", 4 * level.channels, channels)
            more, extent = _up(options, batch, extent, channels, level.channels)
            work += more
        channels = level.channels
        work += _blocks(options, batch, extent, level)
    if levels[0].layers:
        return work + conv2d(batch, channels, options["in_channels"], 3, extent)
    return work + _up(options, batch, extent, channels, options["in_channels"])[0]


def _fits(what: str, channels: int, parts: int) -> None:
    """Shortcuts repeat channels, or average groups of them, so one number is a multiple of the other."""
    agree(f"the rest of {channels} channels over {parts} {what}, in a shortcut,", channels % parts, 0)


def _down(
    options: Options, batch: Size, extent: Extent, channels: int, out: int, *, shortcut: bool
) -> tuple[Work, Extent]:
    """DCDownBlock2d: a quarter of the channels, four pixels of which become one, or a convolution of stride 2."""
    unshuffle = options["downsample_block_type"] == "pixel_unshuffle"
    if unshuffle or shortcut:
        for size in extent:
            if isinstance(size, int):
                agree(f"the rest of size {size} over 2, before downsampling,", size % 2, 0)
    if shortcut:
        _fits("channels after it", 4 * channels, out)
    if unshuffle:
        agree(f"the rest of {out} channels over 4, for pixel_unshuffle,", out % 4, 0)
        return conv2d(batch, channels, out // 4, 3, extent), (extent[0] // 2, extent[1] // 2)
    height, width = (conv_out(size, 3, 2, 1) for size in extent)
    return conv2d(batch, channels, out, 3, (height, width)), (height, width)


def _up(options: Options, batch: Size, extent: Extent, channels: int, out: int) -> tuple[Work, Extent]:
    """DCUpBlock2d: a convolution on four times the pixels, or to four times the channels: as many MACs."""
    doubled = (2 * extent[0], 2 * extent[1])
    return conv2d(batch, channels, out, 3, doubled), doubled


def _blocks(options: Options, batch: Size, extent: Extent, level: Level) -> Work:
    """The layers of one level: ResBlock, two 3x3 convolutions, or EfficientViTBlock."""
    channels = level.channels
    if level.kind == "ResBlock":
        return 2 * level.layers * conv2d(batch, channels, channels, 3, extent)
    one = _attention(options, batch, extent, level) + glumb_conv(batch, channels, 4 * channels, extent)
    return level.layers * one


def _attention(options: Options, batch: Size, extent: Extent, level: Level) -> Work:
    """SanaMultiscaleLinearAttention: attention on q, k and v, and on each scale's convolutions of them.

    (v @ k) @ q with a row of ones below v where there are more pixels than head_dim, v @ (k @ q) where not
    (attention_processor.py:912-926, 5252): the cheaper one, 2 x head_dim x min(pixels, head_dim + 1) MACs a pixel.
    """
    head_dim, pixels = options["attention_head_dim"], extent[0] * extent[1]
    heads = level.channels // head_dim
    inner = heads * head_dim
    if not heads or any(kernel % 2 == 0 for kernel in level.scales):
        msg = f"no attention of heads of {head_dim} in {level.channels} channels, with kernels {level.scales}"
        raise NoClosedForm(msg)
    groups = heads * (1 + len(level.scales))
    work = 3 * linear(batch * pixels, level.channels, inner)
    for kernel in level.scales:
        depthwise = arithmetic.conv(batch, 3 * inner, 3 * inner, (kernel, kernel), extent, groups=3 * inner)
        grouped = arithmetic.conv(batch, 3 * inner, 3 * inner, (1, 1), extent, groups=3 * heads)
        work += Work(conv=depthwise + grouped)
    work += 2 * matmul(batch * groups, pixels, head_dim, arithmetic.smaller(pixels, head_dim + 1))
    return work + linear(batch * pixels, groups * head_dim, level.channels)


FORMS = {
    "AutoencoderDC": {"encode": Form(encode, autoencoder_kl.images), "decode": Form(decode, autoencoder_kl.latents)},
}
