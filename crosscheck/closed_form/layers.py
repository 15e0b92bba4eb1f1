"""Closed forms of the layers that the architectures share, from diffusers 0.42.1 ``models/``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from crosscheck.closed_form import arithmetic
from crosscheck.closed_form.arithmetic import Size, conv_out
from crosscheck.closed_form.options import NoClosedForm
from crosscheck.closed_form.work import Work

Extent: TypeAlias = tuple[Size, Size]
"""Height and width."""


class Tokens(NamedTuple):
    """A sequence: so many vectors of so many features."""

    count: Size
    width: int


def linear(rows: Size, in_features: int, out_features: int) -> Work:
    """nn.Linear on so many vectors."""
    return Work(linear=arithmetic.linear(rows, in_features, out_features))


def matmul(batch: Size, n: Size, k: Size, m: Size) -> Work:
    """A product written out."""
    return Work(matmul=arithmetic.matmul(batch, n, k, m))


def conv2d(batch: Size, in_channels: int, out_channels: int, kernel: int, out: Extent) -> Work:
    """nn.Conv2d with a square kernel, by its output's extent."""
    return Work(conv=arithmetic.conv(batch, in_channels, out_channels, (kernel, kernel), out))


def same_padding(extent: Extent, kernel: int) -> Extent:
    """Extent after a convolution padded by (kernel - 1) // 2: the same for an odd kernel, one less for an even one."""
    height, width = (conv_out(size, kernel, padding=(kernel - 1) // 2) for size in extent)
    return height, width


def downsampled(extent: Extent, padding: int) -> Extent:
    """Extent after Downsample2D, a 3x3 convolution of stride 2.

    Padding 0 means one more row and column at the end (downsampling.py:139-141), which an extent of 1 does not survive.
    """
    smallest = 1 if padding else 2
    if any(isinstance(size, int) and size < smallest for size in extent):
        msg = f"an extent of {extent} is too small to be downsampled with padding {padding}"
        raise NoClosedForm(msg)
    height, width = (conv_out(size if padding else size + 1, 3, 2, padding) for size in extent)
    return height, width


def resnet(batch: Size, extent: Extent, in_channels: int, out_channels: int, time: int = 0) -> Work:
    """ResnetBlock2D: two 3x3 convolutions, a 1x1 shortcut if channels change, ``time`` weights a channel's time shift.

    ``time`` is the width of the time embedding, twice that where it gives scale and shift, 0 where there is none.
    """
    shortcut = conv2d(batch, in_channels, out_channels, 1, extent) if in_channels != out_channels else Work()
    return (
        conv2d(batch, in_channels, out_channels, 3, extent)
        + conv2d(batch, out_channels, out_channels, 3, extent)
        + shortcut
        + linear(batch, time, out_channels)
    )


def layer_inputs(before: int, channels: int, layers: int) -> list[int]:
    """Input channels of a block's layers, one after another."""
    return [before, *[channels] * layers][:layers]


def attention(batch: Size, query: Tokens, context: Tokens, heads: int, head_dim: int) -> Work:
    """Attention: to_q and to_out on the query's tokens, to_k and to_v on the context's, and the SDPA call."""
    inner = heads * head_dim
    return (
        2 * linear(batch * query.count, query.width, inner)
        + 2 * linear(batch * context.count, context.width, inner)
        + Work(attention=arithmetic.attention(batch, heads, query.count, context.count, head_dim, head_dim))
    )


def qkv_attention(batch: Size, tokens: Tokens, heads: int) -> Work:
    """q, k and v of all tokens, as wide as these, and one SDPA call over them, without a projection out."""
    head_dim = tokens.width // heads
    return 3 * linear(batch * tokens.count, tokens.width, tokens.width) + Work(
        attention=arithmetic.attention(batch, heads, tokens.count, tokens.count, head_dim, head_dim)
    )


def mid_attention(batch: Size, extent: Extent, channels: int) -> Work:
    """Self-attention over the pixels with one head as wide as all the channels (vae.py:140, unet_2d_blocks.py:686)."""
    pixels = Tokens(extent[0] * extent[1], channels)
    return attention(batch, pixels, pixels, 1, channels)


def basic_transformer_block(batch: Size, hidden: Tokens, text: Tokens, heads: int, *, only_cross: bool) -> Work:
    """BasicTransformerBlock: attention to itself (or, ``only_cross``, to the text), to the text, and a GEGLU.

    GEGLU projects to twice its inner width of 4 x width (activations.py:105, attention.py:1709).
    """
    head_dim = hidden.width // heads
    rows = batch * hidden.count
    return (
        attention(batch, hidden, text if only_cross else hidden, heads, head_dim)
        + attention(batch, hidden, text, heads, head_dim)
        + linear(rows, hidden.width, 8 * hidden.width)
        + linear(rows, 4 * hidden.width, hidden.width)
    )


def transformer_2d(
    batch: Size,
    extent: Extent,
    channels: int,
    text: Tokens,
    heads: int,
    *,
    depth: int = 1,
    linear_projection: bool = False,
    only_cross: bool = False,
) -> Work:
    """Transformer2DModel on an image: a projection in, ``depth`` blocks, a projection out.

    Its inner width is heads * (channels // heads), less than the channels where the division leaves a rest.
    """
    hidden = Tokens(extent[0] * extent[1], heads * (channels // heads))
    projection = (
        linear(batch * hidden.count, channels, hidden.width)
        if linear_projection
        else conv2d(batch, channels, hidden.width, 1, extent)
    )
    return 2 * projection + depth * basic_transformer_block(batch, hidden, text, heads, only_cross=only_cross)


def timestep_embedding(rows: Size, in_features: int, width: int) -> Work:
    """TimestepEmbedding: two linear layers."""
    return linear(rows, in_features, width) + linear(rows, width, width)


#: Activations of a FeedForward (attention.py:1712-1723), and those that multiply one half with the other.
ACTIVATIONS = ("gelu", "gelu-approximate", "geglu", "geglu-approximate", "swiglu", "linear-silu")
GATED = ("geglu", "swiglu")


def feed_forward(rows: Size, width: int, inner: int, out: int, activation: str) -> Work:
    """FeedForward: gated activations project to twice the inner width (activations.py:105, :141)."""
    return linear(rows, width, (2 if activation in GATED else 1) * inner) + linear(rows, inner, out)


def patched(sizes: Sequence[Size], patch: Sequence[int]) -> tuple[Size, ...]:
    """Patches along each dimension. A rest makes none, but one must fit."""
    for size, length in zip(sizes, patch, strict=True):
        if isinstance(size, int) and size < length:
            msg = f"sizes of {tuple(sizes)} are too small for patches of {tuple(patch)}"
            raise NoClosedForm(msg)
    return tuple(size // length for size, length in zip(sizes, patch, strict=True))


#: Sinusoids of a number that conditions a transformer (Timesteps(num_channels=256) in embeddings.py).
SINUSOIDS = 256


def patch_grid(extent: Sequence[Size], patch: int) -> Extent:
    """Rows and columns of PatchEmbed's patches."""
    rows, columns = patched(extent, (patch, patch))
    return rows, columns


def grid_positions(grid: Extent, trained: int, width: int) -> Work:
    """PatchEmbed's sinusoids of rows and of columns, made anew for a grid other than the trained square one.

    Each is an outer product of all patches and width / 4 frequencies (embeddings.py:214-249, 372-384). Next to a single
    frequency or patch torch multiplies elementwise.
    """
    if trained < 1 or width % 4:
        msg = f"no sinusoids for a grid of {trained} patches and a width of {width}, which has to be a multiple of 4"
        raise NoClosedForm(msg)
    patches, frequencies = grid[0] * grid[1], width // 4
    if frequencies == 1:
        return Work()
    differs = arithmetic.smaller(1, abs(grid[0] - trained) + abs(grid[1] - trained))
    several = arithmetic.smaller(1, patches - 1)
    return Work(matmul=2 * arithmetic.outer(patches, frequencies) * differs * several)


def glumb_conv(batch: Size, channels: int, hidden: int, extent: Extent) -> Work:
    """GLUMBConv: to twice the hidden channels, 3x3 on each of these alone, gated, and back."""
    depthwise = arithmetic.conv(batch, 2 * hidden, 2 * hidden, (3, 3), extent, groups=2 * hidden)
    expand = conv2d(batch, channels, 2 * hidden, 1, extent)
    return expand + Work(conv=depthwise) + conv2d(batch, hidden, channels, 1, extent)
