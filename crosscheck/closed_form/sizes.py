"""The free sizes of a closed form, and what a pipeline makes of them for one image and one guidance branch.

What a closed form needs besides them (channels, widths, how an image is cut into tokens) is the config's, and each
architecture says which shapes go into it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from crosscheck.closed_form.arithmetic import Size
from crosscheck.closed_form.options import Inputs, Options
from crosscheck.closed_form.work import Work


class Sizes(NamedTuple):
    """The free sizes: ints, polynomials or sympy symbols."""

    batch: Size
    height: Size
    """Of the latent, as the following."""
    width: Size
    frames: Size
    tokens: Size
    """Of the text."""


Shapes: TypeAlias = Callable[[Options, Sizes], Inputs]


class Form(NamedTuple):
    """A closed form of one method of a class."""

    work: Callable[[Options, Inputs], Work]
    """MACs from config and shapes."""
    inputs: Shapes | None
    """The shapes that go in, from config and free sizes; None where no pipeline calls it so."""


def prompt_inputs(config: Options, sizes: Sizes) -> Inputs:
    """Inputs of a text encoder."""
    return {"input_ids": (sizes.batch, sizes.tokens)}


def image_inputs(text: str | None, channels: int) -> Shapes:
    """A transformer on the latent itself; ``text`` is the option with the width of the text's vectors."""

    def shapes(config: Options, sizes: Sizes) -> Inputs:
        batch, height, width, _, tokens = sizes
        given: dict[str, Any] = {
            "hidden_states": (batch, config.get("in_channels", channels), height, width),
            "timestep": (batch,),
        }
        if text is None:
            return {**given, "class_labels": (batch,)}
        return {**given, "encoder_hidden_states": (batch, tokens, config[text])}

    return shapes


def latent_scale(config: Options) -> int:
    """Pixels of a side that become one of the latent, by the autoencoder's config."""
    channels = config.get("block_out_channels") or config.get("encoder_block_out_channels")
    steps = len(channels) if channels else len(config["dim_mult"])
    if "patch_size" in config and "spatio_temporal_scaling" in config:  # LTX: patches, and steps that scale
        return int(config["patch_size"] * 2 ** sum(map(bool, config["spatio_temporal_scaling"])))
    return int(2 ** (steps - 1))


def latent_frames(config: Options, frames: int) -> int:
    """Frames of the latent: the first by itself, then so many at once."""
    if "spatio_temporal_scaling" in config:
        once = config.get("patch_size_t", 1) * 2 ** sum(map(bool, config["spatio_temporal_scaling"]))
    elif "dim_mult" in config:
        once = 2 ** sum(map(bool, config.get("temperal_downsample", (False, True, True))))
    else:
        once = config.get("temporal_compression_ratio", 1)
    return int((frames - 1) // once + 1)
