"""UNet2DConditionModel of diffusers 0.42.1, as Stable Diffusion 1.x, 2.x, SDXL and their kin use it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from crosscheck.closed_form.arithmetic import Size
from crosscheck.closed_form.layers import (
    Extent,
    Tokens,
    conv2d,
    downsampled,
    layer_inputs,
    resnet,
    same_padding,
    transformer_2d,
)
from crosscheck.closed_form.options import (
    Inputs,
    NoClosedForm,
    Options,
    agree,
    complete,
    per_level,
    refuse_inputs,
    refuse_uncovered,
    shape_of,
)
from crosscheck.closed_form.sizes import Form, Sizes
from crosscheck.closed_form.unet_embeddings import embeddings, time_widths
from crosscheck.closed_form.work import Work

#: What decides MACs, with the defaults of models/unets/unet_2d_condition.py:178-242.
DEFAULTS: Options = {
    "in_channels": 4,
    "out_channels": 4,
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "mid_block_type": "UNetMidBlock2DCrossAttn",
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    "only_cross_attention": False,
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "downsample_padding": 1,
    "cross_attention_dim": 1280,
    "transformer_layers_per_block": 1,
    "reverse_transformer_layers_per_block": None,
    "encoder_hid_dim": None,
    "encoder_hid_dim_type": None,
    "attention_head_dim": 8,
    "num_attention_heads": None,
    "dual_cross_attention": False,
    "use_linear_projection": False,
    "class_embed_type": None,
    "addition_embed_type": None,
    "addition_time_embed_dim": None,
    "num_class_embeds": None,
    "resnet_time_scale_shift": "default",
    "time_embedding_type": "positional",
    "time_embedding_dim": None,
    "time_cond_proj_dim": None,
    "conv_in_kernel": 3,
    "conv_out_kernel": 3,
    "projection_class_embeddings_input_dim": None,
    "attention_type": "default",
    "class_embeddings_concat": False,
    "addition_embed_type_num_heads": 64,
}
_DOWN = ("DownBlock2D", "CrossAttnDownBlock2D")
_UP = ("UpBlock2D", "CrossAttnUpBlock2D")
COVERED = {
    # unet_2d_blocks.py:77 and :362 take the names of old files, too
    "down_block_types": (*_DOWN, *(f"UNetRes{name}" for name in _DOWN)),
    "mid_block_type": (None, "UNetMidBlock2D", "UNetMidBlock2DCrossAttn"),
    "up_block_types": (*_UP, *(f"UNetRes{name}" for name in _UP)),
    # With an even kernel the up path meets skips of another size, and forward raises for most images.
    "conv_in_kernel": range(1, 100, 2),
    "downsample_padding": (0, 1),
    # unet_2d_condition.py:243-246 raises: attention_head_dim *is* the number of heads, a misnomer that configs keep.
    "num_attention_heads": (None,),
    # Its blocks raise in every forward: the mask that unet_2d_blocks.py:1275 passes is none of
    # DualTransformer2DModel's arguments (dual_transformer_2d.py:97-104).
    "dual_cross_attention": (False,),
    "resnet_time_scale_shift": ("default", "scale_shift"),
    "time_embedding_type": ("positional", "fourier"),
    "class_embed_type": (None, "timestep", "identity", "projection", "simple_projection"),
    "addition_embed_type": (None, "text", "text_time"),
    "encoder_hid_dim_type": (None, "text_proj"),
    "attention_type": ("default",),
}
READ = (
    "sample",
    "timestep",
    "timestep_cond",
    "class_labels",
    "encoder_hidden_states",
    "added_cond_kwargs.text_embeds",
    "added_cond_kwargs.time_ids",
)
#: Only added to something: masks, and what a ControlNet or a T2I-Adapter hands over.
WEIGHTLESS = (
    "attention_mask",
    "encoder_attention_mask",
    "down_block_additional_residuals",
    "mid_block_additional_residual",
    "down_intrablock_additional_residuals",
)


def forward(config: Options, inputs: Inputs) -> Work:
    """One call of the UNet."""
    refuse_inputs(inputs, READ, WEIGHTLESS)
    options = complete(config, DEFAULTS)
    refuse_uncovered(options, COVERED)
    batch, channels, height, width = shape_of(inputs, "sample", 4)
    agree("the number of channels of sample", channels, options["in_channels"])
    blocks = Blocks.read(options, inputs, batch, (height, width))
    return embeddings(options, inputs, batch) + blocks.work()


def _text(options: Options, inputs: Inputs, batch: Size) -> Tokens | None:
    """The text as the blocks see it."""
    if "encoder_hidden_states" not in inputs:
        return None
    rows, count, width = shape_of(inputs, "encoder_hidden_states", 3)
    agree("the batch of encoder_hidden_states", rows, batch)
    return Tokens(count, width if options["encoder_hid_dim"] is None else options["cross_attention_dim"])


def _per_layer(name: str, depths: Any, layers: int) -> list[int]:
    """Depth of each transformer of a block: one for all, or a list that may be longer than the block."""
    if isinstance(depths, int):
        return [depths] * layers
    if not isinstance(depths, (list, tuple)) or len(depths) < layers:
        msg = f"{name}: {depths!r} does not give a depth for each of {layers} layers"
        raise NoClosedForm(msg)
    return list(depths[:layers])


@dataclass(frozen=True)
class Blocks:
    """Down, mid and up path. Level 0 has the sample's extent; the up block of a level mirrors its down block."""

    options: Options
    batch: Size
    text: Tokens | None
    extents: list[Extent]
    channels: list[int]
    layers: list[int]
    heads: list[int]
    text_widths: list[int]
    only_cross: list[bool]
    down_depths: list[Any]
    up_depths: list[Any]

    @classmethod
    def read(cls, options: Options, inputs: Inputs, batch: Size, extent: Extent) -> Blocks:
        levels = len(options["block_out_channels"])
        for name in ("down_block_types", "up_block_types"):
            agree(f"the number of {name}", len(options[name]), levels)
        extents = [same_padding(extent, options["conv_in_kernel"])]
        for _ in range(levels - 1):
            extents.append(downsampled(extents[-1], options["downsample_padding"]))
        return cls(
            options=options,
            batch=batch,
            text=_text(options, inputs, batch),
            extents=extents,
            channels=per_level(options, "block_out_channels", levels),
            layers=per_level(options, "layers_per_block", levels),
            heads=per_level(options, "attention_head_dim", levels),
            text_widths=per_level(options, "cross_attention_dim", levels),
            only_cross=per_level(options, "only_cross_attention", levels),
            down_depths=per_level(options, "transformer_layers_per_block", levels),
            up_depths=_up_depths(options, levels),
        )

    def work(self) -> Work:
        first, levels = self.channels[0], range(len(self.channels))
        end = same_padding(self.extents[0], self.options["conv_out_kernel"])
        return (
            conv2d(self.batch, self.options["in_channels"], first, self.options["conv_in_kernel"], self.extents[0])
            + sum((self.down(level) for level in levels), Work())
            + self.mid()
            + sum((self.up(level) for level in levels), Work())
            + conv2d(self.batch, first, self.options["out_channels"], self.options["conv_out_kernel"], end)
        )

    def down(self, level: int) -> Work:
        """The resnets, transformers after them, and the downsampling convolution, which the last level lacks."""
        out, layers = self.channels[level], self.layers[level]
        work = self.resnets(level, layer_inputs(self.channels[max(level - 1, 0)], out, layers))
        if "CrossAttn" in self.options["down_block_types"][level]:
            depths = _per_layer("transformer_layers_per_block", self.down_depths[level], layers)
            work += self.transformers(level, depths, only_cross=self.only_cross[level])
        if level + 1 < len(self.channels):
            work += conv2d(self.batch, out, out, 3, self.extents[level + 1])
        return work

    def mid(self) -> Work:
        """Two resnets around a transformer, or one resnet alone (num_layers=0, unet_2d_blocks.py:311-315).

        Here only_cross_attention does not reach the transformer (unet_2d_blocks.py:811-821).
        """
        kind, last = self.options["mid_block_type"], len(self.channels) - 1
        if kind is None:
            return Work()
        one = self.resnets(last, [self.channels[last]])
        if kind == "UNetMidBlock2D":
            return one
        depths = _per_layer("transformer_layers_per_block", self.down_depths[last], 1)
        return 2 * one + self.transformers(last, depths, only_cross=False)

    def up(self, level: int) -> Work:
        """One resnet more than in the down block, each on its input beside a skip (unet_2d_blocks.py:2350-2357).

        The upsampled image takes the extent of the next skips, also where that is not twice its own
        (unet_2d_condition.py:1204-1205).
        """
        last = len(self.channels) - 1
        out, layers = self.channels[level], self.layers[level] + 1
        inputs = layer_inputs(self.channels[min(level + 1, last)], out, layers)
        skips = [*[out] * (layers - 1), self.channels[max(level - 1, 0)]]
        work = self.resnets(level, [a + b for a, b in zip(inputs, skips, strict=True)])
        if "CrossAttn" in self.options["up_block_types"][last - level]:
            depths = _per_layer("transformer_layers_per_block of the up path", self.up_depths[last - level], layers)
            work += self.transformers(level, depths, only_cross=self.only_cross[level])
        if level > 0:
            work += conv2d(self.batch, out, out, 3, self.extents[level - 1])
        return work

    def resnets(self, level: int, inputs: Iterable[int]) -> Work:
        """Resnets of one level, by their input channels."""
        time = time_widths(self.options)[1] * (2 if self.options["class_embeddings_concat"] else 1)
        if self.options["resnet_time_scale_shift"] == "scale_shift":
            time *= 2
        out, extent = self.channels[level], self.extents[level]
        return sum((resnet(self.batch, extent, channels, out, time) for channels in inputs), Work())

    def transformers(self, level: int, depths: Iterable[int], *, only_cross: bool) -> Work:
        """Transformers of one level, by their depths."""
        if self.text is None:
            msg = "input 'encoder_hidden_states' is missing"
            raise NoClosedForm(msg)
        agree("the width of encoder_hidden_states", self.text.width, self.text_widths[level])
        place = (self.batch, self.extents[level], self.channels[level], self.text, self.heads[level])
        projection = self.options["use_linear_projection"]
        return sum(
            (transformer_2d(*place, depth=n, linear_projection=projection, only_cross=only_cross) for n in depths),
            Work(),
        )


def _up_depths(options: Options, levels: int) -> list[Any]:
    """Depths of the up blocks, in their order.

    Lists of lists are not reversed: the two paths differ in layers (unet_2d_condition.py:545-548 wants both).
    """
    name, reverse = "transformer_layers_per_block", "reverse_transformer_layers_per_block"
    if options[reverse] is not None:
        return per_level(options, reverse, levels)
    depths = per_level(options, name, levels)
    if any(isinstance(depth, (list, tuple)) for depth in depths):
        msg = f"{name}={options[name]!r} has lists in it but {reverse} is None"
        raise NoClosedForm(msg)
    return depths[::-1]


def unet_inputs(config: Options, sizes: Sizes) -> Inputs:
    """Inputs of the UNet."""
    batch, height, width, _, tokens = sizes
    text = config.get("encoder_hid_dim") or config.get("cross_attention_dim", 1280)
    text = max(text) if isinstance(text, list) else text
    shapes: dict[str, Any] = {
        "sample": (batch, config.get("in_channels", 4), height, width),
        "timestep": (),
        "encoder_hidden_states": (batch, tokens, text),
    }
    if config.get("time_cond_proj_dim"):
        shapes["timestep_cond"] = (batch, config["time_cond_proj_dim"])
    if config.get("num_class_embeds"):
        shapes["class_labels"] = (batch,)
    elif config.get("class_embed_type") == "projection":
        shapes["class_labels"] = (batch, config["projection_class_embeddings_input_dim"])
    if config.get("addition_embed_type") == "text_time":
        ids = 6  # the widths of the pooled text and of any number of ids are added before they meet a weight
        pooled = config["projection_class_embeddings_input_dim"] - ids * config["addition_time_embed_dim"]
        shapes["added_cond_kwargs.text_embeds"] = (batch, pooled)
        shapes["added_cond_kwargs.time_ids"] = (batch, ids)
    return shapes


FORMS = {
    "UNet2DConditionModel": {"forward": Form(forward, unet_inputs)},
}
