"""CLIP of transformers 5.23.0, text and vision, with and without projection, and Stable Diffusion's safety checker."""

from __future__ import annotations

from crosscheck.closed_form.arithmetic import Size, conv_out
from crosscheck.closed_form.layers import Tokens, attention, conv2d, linear, matmul
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
from crosscheck.closed_form.sizes import Form, Shapes, Sizes, prompt_inputs
from crosscheck.closed_form.work import Work

#: What decides MACs, with the defaults of CLIPTextConfig (models/clip/configuration_clip.py:48-53).
TEXT_DEFAULTS: Options = {
    "hidden_size": 512,
    "intermediate_size": 2048,
    "projection_dim": 512,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "max_position_embeddings": 77,
}
#: What decides MACs, with the defaults of CLIPVisionConfig (configuration_clip.py:97-104).
VISION_DEFAULTS: Options = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "projection_dim": 512,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "num_channels": 3,
    "image_size": 224,
    "patch_size": 32,
}
#: The default of CLIPConfig (configuration_clip.py:163).
PROJECTION_DIM = 512
#: Concepts that the safety checker compares with (stable_diffusion/safety_checker.py:42-43): all, and special care.
CONCEPTS = (17, 3)


def text_model(config: Options, inputs: Inputs) -> Work:
    """CLIPTextModel."""
    return _text(_text_options(config), inputs)[0]


def text_model_with_projection(config: Options, inputs: Inputs) -> Work:
    """CLIPTextModelWithProjection: the projection meets one vector, the pooled one, a prompt."""
    options = _text_options(config)
    work, rows = _text(options, inputs)
    return work + linear(rows, options["hidden_size"], options["projection_dim"])


def vision_model(config: Options, inputs: Inputs) -> Work:
    """CLIPVisionModel."""
    return _vision(_vision_options(config), inputs, "pixel_values")[0]


def vision_model_with_projection(config: Options, inputs: Inputs) -> Work:
    """CLIPVisionModelWithProjection: the projection meets one vector, the class token's, an image."""
    options = _vision_options(config)
    work, batch = _vision(options, inputs, "pixel_values")
    return work + linear(batch, options["hidden_size"], options["projection_dim"])


def safety_checker(config: Options, inputs: Inputs) -> Work:
    """StableDiffusionSafetyChecker: a CLIPVisionModel, a projection, and cosines with two tables of concepts."""
    options = complete(_vision_part(config), VISION_DEFAULTS)
    projection = config.get("projection_dim", PROJECTION_DIM)
    work, batch = _vision(options, inputs, "clip_input", weightless=("images",))
    work += linear(batch, options["hidden_size"], projection)
    return work + sum((matmul(batch, 1, projection, concepts) for concepts in CONCEPTS), Work())


def _text_options(config: Options) -> Options:
    """The text part of a config, which may be nested in a CLIP model's (configuration_utils.py:887)."""
    return complete(config.get("text_config", config), TEXT_DEFAULTS)


def _vision_options(config: Options) -> Options:
    return complete(config.get("vision_config", config), VISION_DEFAULTS)


def _vision_part(config: Options) -> Options:
    """CLIPConfig's vision part: ``vision_config_dict``, where old files have it, wins, with *its* defaults.

    configuration_clip.py:201-236 overwrites vision_config with all of CLIPVisionConfig(**vision_config_dict).
    """
    part = config.get("vision_config_dict")
    if part is None:
        part = config.get("vision_config")
    return part or {}


def _encoder(options: Options, batch: Size, count: Size) -> Work:
    """CLIPEncoder: per layer the attention with its four projections, and an MLP of two."""
    width, inner, heads = options["hidden_size"], options["intermediate_size"], options["num_attention_heads"]
    layers: int = options["num_hidden_layers"]
    if width % heads:
        msg = f"hidden_size={width} is not a multiple of num_attention_heads={heads}"
        raise NoClosedForm(msg)
    tokens = Tokens(count, width)
    layer = attention(batch, tokens, tokens, heads, width // heads) + 2 * linear(batch * count, width, inner)
    return layers * layer


def _text(options: Options, inputs: Inputs) -> tuple[Work, Size]:
    """The text transformer, and the number of its prompts."""
    refuse_inputs(inputs, ("input_ids",), weightless=("attention_mask", "position_ids"))
    rows, count = shape_of(inputs, "input_ids", 2)
    if isinstance(count, int) and count > options["max_position_embeddings"]:
        msg = f"{count} tokens are more than max_position_embeddings={options['max_position_embeddings']}"
        raise NoClosedForm(msg)
    return _encoder(options, rows, count), rows


def _vision(options: Options, inputs: Inputs, name: str, weightless: tuple[str, ...] = ()) -> tuple[Work, Size]:
    """The vision transformer on its patches and one class token, and the number of images."""
    refuse_inputs(inputs, (name,), weightless)
    refuse_uncovered(options, {"image_size": range(1, 1 << 20), "patch_size": range(1, 1 << 20)})
    batch, channels, *extent = shape_of(inputs, name, 4)
    agree(f"the number of channels of {name}", channels, options["num_channels"])
    for size in extent:  # modeling_clip.py:204-207 takes no other size
        agree(f"the size of {name}", size, options["image_size"])
    grid = conv_out(options["image_size"], options["patch_size"], options["patch_size"])
    patches = conv2d(batch, channels, options["hidden_size"], options["patch_size"], (grid, grid))
    return patches + _encoder(options, batch, grid * grid + 1), batch


def _vision_inputs(name: str) -> Shapes:
    def shapes(config: Options, sizes: Sizes) -> Inputs:
        part = config.get("vision_config", config) or {}
        side = part.get("image_size", 224)
        return {name: (sizes.batch, part.get("num_channels", 3), side, side)}

    return shapes


FORMS = {
    "CLIPTextModel": {"forward": Form(text_model, prompt_inputs)},
    "CLIPTextModelWithProjection": {"forward": Form(text_model_with_projection, prompt_inputs)},
    "CLIPVisionModel": {"forward": Form(vision_model, _vision_inputs("pixel_values"))},
    "CLIPVisionModelWithProjection": {"forward": Form(vision_model_with_projection, _vision_inputs("pixel_values"))},
    "StableDiffusionSafetyChecker": {"forward": Form(safety_checker, _vision_inputs("clip_input"))},
}
