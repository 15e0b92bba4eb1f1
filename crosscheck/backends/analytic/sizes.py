"""The shapes that a pipeline gives a model for one image and one guidance branch, from its config and a few free sizes.

What a closed form needs besides them (channels, widths, how an image is cut into tokens) is the config's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

from crosscheck.backends.analytic.options import Inputs, NoClosedForm, Options
from crosscheck.formulas import Size


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


def inputs(class_name: str, entry: str, config: Options, sizes: Sizes) -> Inputs:
    """Shapes of what goes into a method of a model. Raises NoClosedForm for a class that is not covered."""
    shapes = _SHAPES.get((class_name, entry))
    if shapes is None:
        raise NoClosedForm(f"{class_name}.{entry} has no closed form in latent sizes")
    return shapes(config, sizes)


def _unet(config: Options, sizes: Sizes) -> Inputs:
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


def _controlnet(config: Options, sizes: Sizes) -> Inputs:
    scale = 2 ** (len(config.get("conditioning_embedding_out_channels", (16, 32, 96, 256))) - 1)
    image = (sizes.batch, config.get("conditioning_channels", 3), scale * sizes.height, scale * sizes.width)
    return {**_unet(config, sizes), "controlnet_cond": image}


def _decode(config: Options, sizes: Sizes) -> Inputs:
    return {"z": (sizes.batch, config.get("latent_channels", 4), sizes.height, sizes.width)}


def _encode(config: Options, sizes: Sizes) -> Inputs:
    scale = latent_scale(config)
    return {"x": (sizes.batch, config.get("in_channels", 3), scale * sizes.height, scale * sizes.width)}


def _prompt(config: Options, sizes: Sizes) -> Inputs:
    return {"input_ids": (sizes.batch, sizes.tokens)}


def _flux(config: Options, sizes: Sizes) -> Inputs:
    batch, height, width, _, tokens = sizes
    image = (height // 2) * (width // 2)  # packed two by two (pipeline_flux.py, _pack_latents)
    axes = len(config.get("axes_dims_rope", (16, 56, 56)))
    return {
        "hidden_states": (batch, image, config.get("in_channels", 64)),
        "encoder_hidden_states": (batch, tokens, config.get("joint_attention_dim", 4096)),
        "pooled_projections": (batch, config.get("pooled_projection_dim", 768)),
        "timestep": (batch,),
        "img_ids": (image, axes),
        "txt_ids": (tokens, axes),
        **({"guidance": (batch,)} if config.get("guidance_embeds") else {}),
    }


def _image(text: str | None, channels: int) -> Shapes:
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


def _sd3(config: Options, sizes: Sizes) -> Inputs:
    pooled = {"pooled_projections": (sizes.batch, config.get("pooled_projection_dim", 2048))}
    return {**_image("joint_attention_dim", 16)(config, sizes), **pooled}


def _pixart(config: Options, sizes: Sizes) -> Inputs:
    given = _image("caption_channels", 4)(config, sizes)
    added = config.get("use_additional_conditions")
    if added is None:  # pixart_transformer_2d.py: so by default for the models of 1024 pixels
        added = config.get("sample_size", 128) == 128
    names = {"added_cond_kwargs.resolution": 2, "added_cond_kwargs.aspect_ratio": 1} if added else {}
    return {**given, **{name: (sizes.batch, count) for name, count in names.items()}}


def _sana(config: Options, sizes: Sizes) -> Inputs:
    guidance = {"guidance": (sizes.batch,)} if config.get("guidance_embeds") else {}
    return {**_image("caption_channels", 32)(config, sizes), **guidance}


def _wan(config: Options, sizes: Sizes) -> Inputs:
    batch, height, width, frames, tokens = sizes
    return {
        "hidden_states": (batch, config.get("in_channels", 16), frames, height, width),
        "timestep": (batch,),
        "encoder_hidden_states": (batch, tokens, config.get("text_dim", 4096)),
    }


def _ltx(config: Options, sizes: Sizes) -> Inputs:
    batch, height, width, frames, tokens = sizes
    return {
        "hidden_states": (batch, frames * height * width, config.get("in_channels", 128)),
        "timestep": (batch,),
        "encoder_hidden_states": (batch, tokens, config.get("caption_channels", 4096)),
    }


def _cogvideox(config: Options, sizes: Sizes) -> Inputs:
    batch, height, width, frames, _ = sizes
    tokens = config.get("max_text_seq_length", 226)  # the model takes no other number
    return {
        "hidden_states": (batch, frames, config.get("in_channels", 16), height, width),
        "timestep": (batch,),
        "encoder_hidden_states": (batch, tokens, config.get("text_embed_dim", 4096)),
    }


def _vision(name: str) -> Shapes:
    def shapes(config: Options, sizes: Sizes) -> Inputs:
        part = config.get("vision_config", config) or {}
        side = part.get("image_size", 224)
        return {name: (sizes.batch, part.get("num_channels", 3), side, side)}

    return shapes


def _transformer_2d(config: Options, sizes: Sizes) -> Inputs:
    """The name that older configs have for two classes."""
    return (_image(None, 4) if config.get("norm_type") == "ada_norm_zero" else _pixart)(config, sizes)


_SHAPES: Mapping[tuple[str, str], Shapes] = {
    ("UNet2DConditionModel", "forward"): _unet,
    ("ControlNetModel", "forward"): _controlnet,
    ("AutoencoderKL", "decode"): _decode,
    ("AutoencoderKL", "encode"): _encode,
    ("AutoencoderDC", "decode"): _decode,
    ("AutoencoderDC", "encode"): _encode,
    ("CLIPTextModel", "forward"): _prompt,
    ("CLIPTextModelWithProjection", "forward"): _prompt,
    ("T5EncoderModel", "forward"): _prompt,
    ("UMT5EncoderModel", "forward"): _prompt,
    ("CLIPVisionModel", "forward"): _vision("pixel_values"),
    ("CLIPVisionModelWithProjection", "forward"): _vision("pixel_values"),
    ("StableDiffusionSafetyChecker", "forward"): _vision("clip_input"),
    ("FluxTransformer2DModel", "forward"): _flux,
    ("SD3Transformer2DModel", "forward"): _sd3,
    ("PixArtTransformer2DModel", "forward"): _pixart,
    ("DiTTransformer2DModel", "forward"): _image(None, 4),
    ("Transformer2DModel", "forward"): _transformer_2d,
    ("SanaTransformer2DModel", "forward"): _sana,
    ("LTXVideoTransformer3DModel", "forward"): _ltx,
    ("WanTransformer3DModel", "forward"): _wan,
    ("CogVideoXTransformer3DModel", "forward"): _cogvideox,
}


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
