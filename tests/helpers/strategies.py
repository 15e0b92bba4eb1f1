"""Hypothesis strategies: small random models, as (class, config, method, shapes of its inputs). No torch in here."""

from __future__ import annotations

from typing import Any, NamedTuple

from hypothesis import strategies as st


class Drawn(NamedTuple):
    """A model and one call of it."""

    class_name: str
    config: dict[str, Any]
    entry: str
    inputs: dict[str, tuple[int, ...]]


_ACTIVATIONS = st.sampled_from(["silu", "mish", "gelu"])


def _one_or_each(draw: st.DrawFn, values: st.SearchStrategy[Any], levels: int) -> Any:
    """Draw one value for all levels, or a list with one for each."""
    return draw(st.one_of(values, st.lists(values, min_size=levels, max_size=levels)))


def _each(value: Any, levels: int) -> list[Any]:
    return value if isinstance(value, list) else [value] * levels


def _channels(draw: st.DrawFn, groups: int, levels: int) -> list[int]:
    # At least two channels a group: torch's group_norm refuses single values.
    return [groups * draw(st.integers(2, 5)) for _ in range(levels)]


def _extent(draw: st.DrawFn, smallest: int = 1) -> tuple[int, int]:
    """Draw height and width, odd and non-square ones too."""
    sizes = st.integers(smallest, smallest + 18)
    return draw(sizes), draw(sizes)


def _blocks(draw: st.DrawFn, direction: str, levels: int) -> list[str]:
    kinds = st.sampled_from([f"{direction}Block2D", f"CrossAttn{direction}Block2D"])
    old_name = draw(st.sampled_from(["", "", "UNetRes"]))
    return [old_name + kind for kind in draw(st.lists(kinds, min_size=levels, max_size=levels))]


def _needs_text(config: dict[str, Any]) -> bool:
    blocks = [*config["down_block_types"], *config["up_block_types"], config["mid_block_type"] or ""]
    attends = any("CrossAttn" in block for block in blocks)
    return attends or config["encoder_hid_dim"] is not None or config.get("addition_embed_type") == "text"


def _depths(draw: st.DrawFn, layers: list[int]) -> dict[str, Any]:
    """Transformer depths: an int, a list, or lists in a list, with those of the up path given or left to mirror."""
    depth = st.integers(0, 2)
    name, reverse = "transformer_layers_per_block", "reverse_transformer_layers_per_block"
    nested = [[draw(depth) for _ in range(n + 1)] for n in layers]
    mixed = [draw(st.sampled_from([n[:-1], n[0]])) for n in nested]
    kind = draw(st.sampled_from(["default", "one", "each", "both", "nested"]))
    return {
        "default": {},
        "one": {name: nested[0][0]},
        "each": {name: [n[0] for n in nested]},
        "both": {name: [n[0] for n in nested], reverse: [n[-1] for n in nested]},
        "nested": {name: mixed, reverse: nested[::-1]},
    }[kind]


def _time(draw: st.DrawFn, batch: int) -> tuple[dict[str, Any], dict[str, tuple[int, ...]]]:
    config: dict[str, Any] = {
        "time_embedding_type": draw(st.sampled_from(["positional", "fourier"])),
        "time_embedding_dim": draw(st.sampled_from([None, 6, 16])),
        "time_embedding_act_fn": draw(st.none() | _ACTIVATIONS),
        "timestep_post_act": draw(st.none() | _ACTIVATIONS),
        "time_cond_proj_dim": draw(st.sampled_from([None, 5])),
    }
    inputs: dict[str, tuple[int, ...]] = {"timestep": draw(st.sampled_from([(), (1,), (batch,)]))}
    if config["time_cond_proj_dim"] and draw(st.booleans()):
        inputs["timestep_cond"] = (draw(st.sampled_from([1, batch])), 5)
    return config, inputs


def _time_width(config: dict[str, Any]) -> int:
    factor = 2 if config["time_embedding_type"] == "fourier" else 4
    return config["time_embedding_dim"] or factor * config["block_out_channels"][0]


def _class(draw: st.DrawFn, width: int, batch: int) -> tuple[dict[str, Any], dict[str, tuple[int, ...]]]:
    kind = draw(st.sampled_from(["table", "timestep", "identity", "projection", "simple_projection"]))
    concat = draw(st.booleans())
    rows = batch if concat else draw(st.sampled_from([1, batch]))
    config: dict[str, Any] = {"class_embeddings_concat": concat}
    if kind == "table":
        return {**config, "num_class_embeds": 10}, {"class_labels": (rows,)}
    config["class_embed_type"] = kind
    if kind == "timestep":
        return config, {"class_labels": (rows,)}
    if kind == "identity":
        return config, {"class_labels": (rows, width)}
    return {**config, "projection_class_embeddings_input_dim": 7}, {"class_labels": (rows, 7)}


def _added(draw: st.DrawFn, text_width: int, batch: int) -> tuple[dict[str, Any], dict[str, tuple[int, ...]]]:
    if draw(st.booleans()):
        # Heads of two channels and more: torch's einsum writes a sum over one as a product without a sum.
        heads = draw(st.sampled_from([n for n in range(1, text_width) if text_width % n == 0]))
        return {"addition_embed_type": "text", "addition_embed_type_num_heads": heads}, {}
    pooled, ids, rows = draw(st.integers(1, 9)), draw(st.integers(1, 6)), draw(st.sampled_from([1, batch]))
    config = {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 4,
        "projection_class_embeddings_input_dim": pooled + 4 * ids,
    }
    return config, {"added_cond_kwargs.text_embeds": (rows, pooled), "added_cond_kwargs.time_ids": (rows, ids)}


@st.composite
def unets(draw: st.DrawFn) -> Drawn:
    """UNet2DConditionModel of one to four levels, with every option that has a closed form."""
    levels, groups, batch = (
        draw(st.sampled_from([1, 2, 2, 3, 4])),
        draw(st.sampled_from([1, 2, 4])),
        draw(st.integers(1, 3)),
    )
    channels = _channels(draw, groups, levels)
    layers = _one_or_each(draw, st.integers(1, 2), levels)
    width, padding = draw(st.integers(2, 12)), draw(st.sampled_from([0, 1]))
    projected = draw(st.booleans())
    config: dict[str, Any] = {
        "in_channels": draw(st.sampled_from([4, 7, 9])),
        "out_channels": draw(st.integers(1, 8)),
        "down_block_types": _blocks(draw, "Down", levels),
        "mid_block_type": draw(st.sampled_from(["UNetMidBlock2DCrossAttn", "UNetMidBlock2D", None])),
        "up_block_types": _blocks(draw, "Up", levels),
        "only_cross_attention": _one_or_each(draw, st.booleans(), levels),
        "block_out_channels": channels,
        "layers_per_block": layers,
        "downsample_padding": padding,
        "act_fn": draw(_ACTIVATIONS),
        "norm_num_groups": groups,
        "cross_attention_dim": width if projected else draw(st.sampled_from([width, [width] * levels])),
        "encoder_hid_dim": 11 if projected else None,
        "encoder_hid_dim_type": draw(st.sampled_from(["text_proj", None])) if projected else None,
        "attention_head_dim": _one_or_each(draw, st.integers(1, min(channels)), levels),
        "use_linear_projection": draw(st.booleans()),
        "upcast_attention": draw(st.booleans()),
        "resnet_time_scale_shift": draw(st.sampled_from(["default", "scale_shift"])),
        "resnet_skip_time_act": draw(st.booleans()),
        "conv_in_kernel": draw(st.sampled_from([1, 3, 5])),
        "conv_out_kernel": draw(st.integers(1, 5)),
        **_depths(draw, _each(layers, levels)),
    }
    # Two rows and columns must reach each downsampling without padding, and an even last kernel takes one.
    height, breadth = _extent(draw, 2**levels if padding == 0 else 2)
    inputs: dict[str, tuple[int, ...]] = {
        "sample": (batch, config["in_channels"], height, breadth),
        "encoder_hidden_states": (batch, draw(st.integers(1, 90)), 11 if projected else width),
    }
    time, more = _time(draw, batch)
    config, inputs = config | time, inputs | more
    condition = draw(st.sampled_from(["class", "added", None]))
    if condition == "class":
        labels, more = _class(draw, _time_width(config), batch)
        config, inputs = config | labels, inputs | more
    elif condition == "added" and isinstance(config["cross_attention_dim"], int):
        added, more = _added(draw, 11 if projected else width, batch)
        config, inputs = config | added, inputs | more
    if not _needs_text(config) and draw(st.booleans()):
        del inputs["encoder_hidden_states"]
    return Drawn("UNet2DConditionModel", config, "forward", inputs)


@st.composite
def autoencoders(draw: st.DrawFn, entry: str | None = None) -> Drawn:
    """AutoencoderKL of one to four levels; encode, decode or forward."""
    levels, groups = draw(st.integers(1, 4)), draw(st.sampled_from([1, 2, 4]))
    entry = entry or draw(st.sampled_from(["encode", "decode", "forward"]))
    down = st.sampled_from(["DownEncoderBlock2D", "DownEncoderBlock2D", "AttnDownEncoderBlock2D"])
    up = st.sampled_from(["UpDecoderBlock2D", "UpDecoderBlock2D", "AttnUpDecoderBlock2D"])
    config = {
        "in_channels": draw(st.integers(1, 4)),
        "out_channels": draw(st.integers(1, 4)),
        "down_block_types": draw(st.lists(down, min_size=levels, max_size=levels)),
        "up_block_types": draw(st.lists(up, min_size=levels, max_size=levels)),
        "block_out_channels": _channels(draw, groups, levels),
        "layers_per_block": draw(st.integers(1, 2)),
        "latent_channels": draw(st.sampled_from([1, 4, 16])),
        "norm_num_groups": groups,
        "use_quant_conv": draw(st.booleans()),
        "use_post_quant_conv": draw(st.booleans()),
        "mid_block_add_attention": draw(st.booleans()),
    }
    name, channels = ("z", "latent_channels") if entry == "decode" else ("x", "in_channels")
    extent = _extent(draw, 1 if entry == "decode" else 2**levels)
    shape = (draw(st.integers(1, 3)), config[channels], *extent)
    return Drawn("AutoencoderKL", config, entry, {"sample" if entry == "forward" else name: shape})


def _transformer(draw: st.DrawFn) -> dict[str, Any]:
    heads = draw(st.integers(1, 4))
    return {
        "hidden_size": heads * draw(st.integers(1, 6)),
        "intermediate_size": draw(st.integers(1, 20)),
        "projection_dim": draw(st.integers(1, 12)),
        "num_hidden_layers": draw(st.integers(1, 3)),
        "num_attention_heads": heads,
    }


@st.composite
def text_encoders(draw: st.DrawFn) -> Drawn:
    """CLIPTextModel, with and without projection."""
    config = {
        **_transformer(draw),
        "max_position_embeddings": draw(st.integers(1, 77)),
        "vocab_size": 50,
        "bos_token_id": 48,
        "eos_token_id": 49,
    }
    tokens = draw(st.integers(1, config["max_position_embeddings"]))
    name = draw(st.sampled_from(["CLIPTextModel", "CLIPTextModelWithProjection"]))
    return Drawn(name, config, "forward", {"input_ids": (draw(st.integers(1, 3)), tokens)})


def _vision(draw: st.DrawFn) -> dict[str, Any]:
    patch = draw(st.integers(1, 6))
    size = draw(st.integers(patch, 20))
    return {**_transformer(draw), "num_channels": draw(st.integers(1, 4)), "image_size": size, "patch_size": patch}


def _images(draw: st.DrawFn, vision: dict[str, Any]) -> tuple[int, ...]:
    return (draw(st.integers(1, 3)), vision["num_channels"], vision["image_size"], vision["image_size"])


@st.composite
def vision_encoders(draw: st.DrawFn) -> Drawn:
    """CLIPVisionModel, with and without projection."""
    config = _vision(draw)
    name = draw(st.sampled_from(["CLIPVisionModel", "CLIPVisionModelWithProjection"]))
    return Drawn(name, config, "forward", {"pixel_values": _images(draw, config)})


@st.composite
def safety_checkers(draw: st.DrawFn) -> Drawn:
    """StableDiffusionSafetyChecker, its vision part in the new key, the old one or both."""
    vision = _vision(draw)
    parts = draw(st.sampled_from(["new", "old", "both"]))
    config: dict[str, Any] = {"projection_dim": draw(st.integers(1, 9))}
    if parts != "new":
        config["vision_config_dict"] = vision
    if parts != "old":
        config["vision_config"] = vision if parts == "new" else _vision(draw)
    images = _images(draw, vision)
    return Drawn("StableDiffusionSafetyChecker", config, "forward", {"clip_input": images, "images": images})
