"""The closed forms of the video transformers and of ControlNet against hands' arithmetic and the real classes."""

from __future__ import annotations

import dataclasses
import inspect
import json
from dataclasses import asdict, astuple
from math import prod
from typing import Any

import diffusers
import pytest
import sympy
import torch
from closed_forms import VIDEO
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from installed import needs
from published_configs import SDXL, sdxl_inputs, unet_inputs
from real_models import arguments
from strategies import Drawn, unets

from crosscheck.backends.aten import Aten
from crosscheck.case import Case
from crosscheck.closed_form.architectures import (
    controlnet,
)
from crosscheck.closed_form.layers import ACTIVATIONS
from crosscheck.closed_form.options import NoClosedForm
from crosscheck.closed_form.work import Work
from crosscheck.models import configs
from crosscheck.tracing.calling import case_of

pytestmark = needs("diffusers>=0.42", "the classes have the options that the closed forms were read off with")
drawn_models = settings(suppress_health_check=[HealthCheck.too_slow])


def count(class_name: str, config: dict[str, Any], inputs: dict[str, Any]) -> Work:
    return VIDEO[class_name].forward(config, inputs)


def real_case(class_name: str, config: dict[str, Any], inputs: dict[str, tuple[int, ...]]) -> Case:
    """The real class on meta and its inputs."""
    parameters = inspect.signature(getattr(diffusers, class_name)).parameters
    with torch.device("meta"):
        model = getattr(diffusers, class_name)(**{k: v for k, v in config.items() if k in parameters}).eval()
    given = arguments({name: shape for name, shape in inputs.items() if not name.startswith("image_rotary_emb")})
    if class_name == "LTXVideoTransformer3DModel":  # any grid of so many tokens
        given |= {"num_frames": inputs["hidden_states"][1], "height": 1, "width": 1}
        given.setdefault("encoder_attention_mask", None)
    if "image_rotary_emb.0" in inputs:
        given["image_rotary_emb"] = tuple(torch.zeros(inputs[f"image_rotary_emb.{i}"]) for i in (0, 1))
    given.setdefault("encoder_hidden_states", None)
    return dataclasses.replace(case_of(model, (), given), real_integers=True)


def traced(case: Case) -> dict[str, int]:
    """MACs of one forward by op, by crosscheck's own trace."""
    with torch.no_grad():
        return dict(Aten().run(case).by_op)


def assert_equal_to_trace(class_name: str, config: dict[str, Any], inputs: dict[str, tuple[int, ...]]) -> None:
    case = real_case(class_name, config, inputs)
    assert {spec.name: spec.shape for spec in case.inputs} == inputs
    assert asdict(count(class_name, config, inputs)) == traced(case)


# -- by hand -----------------------------------------------------------------------------------------------------------

WAN = {
    "num_attention_heads": 2,
    "attention_head_dim": 2,
    "in_channels": 2,
    "out_channels": 3,
    "text_dim": 5,
    "freq_dim": 6,
    "ffn_dim": 7,
    "num_layers": 2,
}
WAN_INPUTS = {"hidden_states": (1, 2, 2, 4, 5), "timestep": (1,), "encoder_hidden_states": (1, 3, 5)}
LTX = {
    "num_attention_heads": 2,
    "attention_head_dim": 4,
    "cross_attention_dim": 8,
    "caption_channels": 5,
    "in_channels": 3,
    "out_channels": 2,
    "num_layers": 2,
}
LTX_INPUTS = {"hidden_states": (1, 6, 3), "timestep": (1,), "encoder_hidden_states": (1, 3, 5)}
COGVIDEOX = {
    "num_attention_heads": 2,
    "attention_head_dim": 8,
    "in_channels": 3,
    "out_channels": 4,
    "time_embed_dim": 6,
    "text_embed_dim": 5,
    "num_layers": 2,
    "sample_height": 4,
    "sample_width": 4,
    "sample_frames": 5,
    "max_text_seq_length": 7,
}
COGVIDEOX_INPUTS = {"hidden_states": (1, 2, 3, 4, 4), "timestep": (1,), "encoder_hidden_states": (1, 7, 5)}
CONTROLNET = {
    "block_out_channels": [8],
    "down_block_types": ["CrossAttnDownBlock2D"],
    "layers_per_block": 1,
    "attention_head_dim": 2,
    "cross_attention_dim": 6,
    "conditioning_embedding_out_channels": [3, 5],
    "norm_num_groups": 4,
}
CONTROLNET_INPUTS = {
    "sample": (1, 4, 4, 5),
    "timestep": (),
    "encoder_hidden_states": (1, 3, 6),
    "controlnet_cond": (1, 3, 8, 9),
}


class TestByHand:
    """The arithmetic is in the test; each number is the trace's too."""

    def test_wan(self):
        # 2 x 2 x 2 = 8 patches of 2 x 1 x 2 x 2 (the fifth column is none), 3 tokens of text, width 2 heads x 2 = 4.
        time = 6 * 4 + 4 * 4 + 4 * 6 * 4
        text = 3 * (5 * 4 + 4 * 4)
        # To itself q, k, v, out on 8; to the text q and out on 8, k and v on 3; the MLP to 7 and back.
        block = 4 * 8 * 4 * 4 + (2 * 8 + 2 * 3) * 4 * 4 + 2 * 8 * 4 * 7
        out = 8 * 4 * (3 * 2 * 2)

        assert count("WanTransformer3DModel", WAN, WAN_INPUTS) == Work(
            conv=8 * 4 * (2 * 2 * 2), linear=time + text + 2 * block + out, attention=2 * 2 * 8 * (8 + 3) * 4
        )
        assert_equal_to_trace("WanTransformer3DModel", WAN, WAN_INPUTS)

    def test_wan_with_an_image(self):
        config = WAN | {"image_dim": 6, "added_kv_proj_dim": 4}
        inputs = WAN_INPUTS | {"encoder_hidden_states": (1, 510, 5), "encoder_hidden_states_image": (1, 9, 6)}
        # 519 tokens of context, of which the last 512 pass as text and the first 7 as image.
        more = 9 * (6 * 6 + 6 * 4) + (510 - 3) * (5 * 4 + 4 * 4) + 2 * 2 * (512 - 3 + 7) * 4 * 4
        without = count("WanTransformer3DModel", WAN, WAN_INPUTS)

        assert count("WanTransformer3DModel", config, inputs) == without + Work(
            linear=more, attention=2 * 2 * 8 * (519 - 3) * 4
        )
        assert_equal_to_trace("WanTransformer3DModel", config, inputs)

    def test_ltx_video(self):
        # 6 tokens of 3, 3 of text, width 2 heads x 4 = 8, one timestep of 256 sinusoids, MLP of 4 x 8.
        time = 256 * 8 + 8 * 8 + 8 * 6 * 8
        text = 3 * (5 * 8 + 8 * 8)
        block = 4 * 6 * 8 * 8 + (2 * 6 + 2 * 3) * 8 * 8 + 2 * 6 * 8 * 32
        ends = 6 * (3 * 8 + 8 * 2)

        assert count("LTXVideoTransformer3DModel", LTX, LTX_INPUTS) == Work(
            linear=time + text + 2 * block + ends, attention=2 * 2 * 6 * (6 + 3) * 8
        )
        assert_equal_to_trace("LTXVideoTransformer3DModel", LTX, LTX_INPUTS)

    def test_cogvideox(self):
        # 2 frames of 2 x 2 patches of 3 x 2 x 2, so 8, and 7 tokens of text: 15 together, width 2 heads x 8 = 16.
        time = 16 * 6 + 6 * 6
        # Two modulations by 6 vectors; q, k, v, out and an MLP of 4 x 16 on all tokens.
        block = 2 * 6 * 6 * 16 + 15 * (4 * 16 * 16 + 2 * 16 * 64)
        out = 6 * 2 * 16 + 8 * 16 * (4 * 2 * 2)
        work = Work(
            conv=8 * 16 * (3 * 2 * 2), linear=time + 7 * 5 * 16 + 2 * block + out, attention=2 * 2 * 15 * 15 * 16
        )

        assert count("CogVideoXTransformer3DModel", COGVIDEOX, COGVIDEOX_INPUTS) == work
        # At another size than the config's, 5 frames or 2 latent ones, positions are made anew: 4 patches times 3
        # frequencies for height and for width, 2 frames times 2.
        other = COGVIDEOX | {"sample_frames": 9}
        assert count("CogVideoXTransformer3DModel", other, COGVIDEOX_INPUTS) == work + Work(matmul=2 * 4 * 3 + 2 * 2)
        for config in (COGVIDEOX, other):
            assert_equal_to_trace("CogVideoXTransformer3DModel", config, COGVIDEOX_INPUTS)

    def test_controlnet(self):
        # 4 x 5 = 20 pixels of 8 channels, temb 32, 3 tokens of 6, an image of 8 x 9 = 72; resnets: 1 down, 2 mid.
        condition = 72 * 9 * (3 * 3 + 3 * 3) + 20 * 9 * (3 * 5 + 5 * 8)
        resnets = 3 * 20 * 9 * (8 * 8 + 8 * 8)
        # A transformer each: projections in and out, q, k, v, out; q and out on pixels, k and v on text; a GEGLU.
        projections = 2 * 2 * 20 * 8 * 8
        block = 4 * 20 * 8 * 8 + 2 * 20 * 8 * 8 + 2 * 3 * 6 * 8 + 20 * 8 * 64 + 20 * 32 * 8
        # Of the first convolution's residual, the down block's and the middle's.
        zero_convolutions = 3 * 20 * 8 * 8
        expected = Work(
            conv=20 * 9 * 4 * 8 + condition + resnets + projections + zero_convolutions,
            linear=8 * 32 + 32 * 32 + 3 * 32 * 8 + 2 * block,
            attention=2 * 2 * 20 * (20 + 3) * 8,
        )

        assert count("ControlNetModel", CONTROLNET, CONTROLNET_INPUTS) == expected
        assert_equal_to_trace("ControlNetModel", CONTROLNET, CONTROLNET_INPUTS)


# -- published models --------------------------------------------------------------------------------------------------


def published(model: str, component: str = "transformer") -> dict[str, Any]:
    return json.loads((configs.CATALOGUE / model / component / "config.json").read_text())


def latents(*shape: int, text: tuple[int, int], **more: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    named = {name.replace("__", "."): given for name, given in more.items()}
    return {"hidden_states": shape, "timestep": (shape[0],), "encoder_hidden_states": (shape[0], *text), **named}


UMT5 = (512, 4096)
T5 = (226, 4096)
#: Wan-AI/Wan2.1-I2V-14B-480P-Diffusers and -FLF2V-14B-720P-Diffusers, and Wan2.2-TI2V-5B-Diffusers.
WAN_I2V = {"in_channels": 36, "image_dim": 1280, "added_kv_proj_dim": 5120}
WAN_FLF2V = WAN_I2V | {"pos_embed_seq_len": 514}
WAN_TI2V = {"in_channels": 48, "out_channels": 48, "num_attention_heads": 24, "ffn_dim": 14336, "num_layers": 30}
#: What CogVideoX1.5-5B-I2V has other than the defaults.
COGVIDEOX_15 = {
    "num_attention_heads": 48,
    "in_channels": 32,
    "ofs_embed_dim": 512,
    "num_layers": 42,
    "patch_size_t": 2,
    "use_rotary_positional_embeddings": True,
}
ROTATION = {"image_rotary_emb__0": (11 * 48 * 85, 64), "image_rotary_emb__1": (11 * 48 * 85, 64)}
SDXL_IMAGE = {"controlnet_cond": (1, 3, 1024, 1024)}


@pytest.mark.parametrize(
    ("class_name", "config", "inputs"),
    [
        pytest.param(
            "WanTransformer3DModel", published("wan21-1.3b"), latents(1, 16, 21, 60, 104, text=UMT5), id="wan21-1.3b"
        ),
        pytest.param(
            "WanTransformer3DModel", published("wan21-14b"), latents(2, 16, 21, 90, 160, text=UMT5), id="wan21-14b"
        ),
        pytest.param(
            "WanTransformer3DModel",
            WAN_I2V,
            latents(1, 36, 21, 60, 104, text=UMT5, encoder_hidden_states_image=(1, 257, 1280)),
            id="wan21-14b-i2v",
        ),
        pytest.param(
            "WanTransformer3DModel",
            WAN_FLF2V,
            latents(1, 36, 21, 90, 160, text=UMT5, encoder_hidden_states_image=(2, 257, 1280)),
            id="wan21-14b-flf2v",
        ),
        pytest.param(
            "WanTransformer3DModel",
            WAN_TI2V,
            latents(1, 48, 31, 44, 80, text=UMT5) | {"timestep": (1, 31 * 22 * 40)},
            id="wan22-5b-ti2v",
        ),
        pytest.param(
            "LTXVideoTransformer3DModel",
            published("ltx-video"),
            latents(1, 21 * 15 * 22, 128, text=(128, 4096), encoder_attention_mask=(1, 128)),
            id="ltx-video",
        ),
        pytest.param(
            "CogVideoXTransformer3DModel",
            published("cogvideox-2b"),
            latents(2, 13, 16, 60, 90, text=T5),
            id="cogvideox-2b",
        ),
        pytest.param(
            "CogVideoXTransformer3DModel",
            published("cogvideox-2b"),
            latents(1, 9, 16, 60, 80, text=T5),
            id="cogvideox-2b, another size",
        ),
        pytest.param(
            "CogVideoXTransformer3DModel",
            COGVIDEOX_15,
            latents(1, 22, 32, 96, 170, text=T5, ofs=(1,), **ROTATION),
            id="cogvideox15-5b-i2v",
        ),
        pytest.param(
            "ControlNetModel",
            published("sd15-controlnet", "controlnet"),
            unet_inputs(64, 768, controlnet_cond=(1, 3, 512, 512)),
            id="sd15-controlnet",
        ),
        pytest.param("ControlNetModel", SDXL, sdxl_inputs(128) | SDXL_IMAGE, id="sdxl-controlnet"),
    ],
)
def test_published_sizes(class_name, config, inputs):
    assert_equal_to_trace(class_name, config, inputs)


# -- random models -----------------------------------------------------------------------------------------------------


@st.composite
def wans(draw: st.DrawFn) -> Drawn:
    """WanTransformer3DModel on text, on images too, which have their own projections or not."""
    small, batch = st.integers(1, 9), draw(st.integers(1, 3))
    heads, head_dim = draw(st.integers(1, 3)), 2 * draw(st.integers(1, 6))
    patch = [draw(st.integers(1, 3)) for _ in range(3)]
    sizes = [draw(st.integers(length, length + 6)) for length in patch]
    tokens = prod(size // length for size, length in zip(sizes, patch, strict=True))
    image, projected = draw(st.sampled_from([None, "one", "pair"])), draw(st.booleans())
    images = draw(small)
    context = 0 if image is None else images * (2 if image == "pair" else 1)
    text = draw(st.integers(512 - context, 530)) if projected else draw(small)
    config = {
        "patch_size": patch,
        "num_attention_heads": heads,
        "attention_head_dim": head_dim,
        "in_channels": draw(small),
        "out_channels": draw(st.none() | small),
        "text_dim": draw(small),
        "freq_dim": draw(st.integers(2, 9)),
        "ffn_dim": draw(small),
        "num_layers": draw(st.integers(1, 2)),
        "image_dim": draw(small),
        "pos_embed_seq_len": context if image == "pair" else None,
        "added_kv_proj_dim": heads * head_dim if projected else None,
    }
    inputs = {
        "hidden_states": (batch, config["in_channels"], *sizes),
        "timestep": draw(st.sampled_from([(1,), (batch,), (batch, 1), (1, tokens), (batch, tokens)])),
        "encoder_hidden_states": (batch, text, config["text_dim"]),
    }
    if image is not None:
        inputs["encoder_hidden_states_image"] = (batch * context // images, images, config["image_dim"])
    return Drawn("WanTransformer3DModel", config, "forward", inputs)


@st.composite
def ltx_videos(draw: st.DrawFn) -> Drawn:
    """LTXVideoTransformer3DModel, with a timestep a video or a token."""
    small, batch, tokens = st.integers(1, 9), draw(st.integers(1, 3)), draw(st.integers(1, 40))
    heads, head_dim = draw(st.tuples(st.integers(1, 4), small).filter(lambda s: prod(s) >= 6 and prod(s) % 2 == 0))
    config = {
        "in_channels": draw(small),
        "out_channels": draw(st.none() | small),
        "num_attention_heads": heads,
        "attention_head_dim": head_dim,
        "cross_attention_dim": heads * head_dim,
        "num_layers": draw(st.integers(1, 2)),
        "activation_fn": draw(st.sampled_from(ACTIVATIONS)),
        "caption_channels": draw(small),
    }
    text, per_token = draw(small), [(batch, tokens), (batch, tokens, 1)]
    inputs = {
        "hidden_states": (batch, tokens, config["in_channels"]),
        "timestep": draw(st.sampled_from([(batch,), (batch, 1), *per_token, *[()] * (batch == 1)])),
        "encoder_hidden_states": (batch, text, config["caption_channels"]),
    }
    if draw(st.booleans()):
        inputs["encoder_attention_mask"] = (batch, text)
    if draw(st.booleans()):
        inputs["video_coords"] = (batch, 3, tokens)
    return Drawn("LTXVideoTransformer3DModel", config, "forward", inputs)


@st.composite
def cogvideoxs(draw: st.DrawFn) -> Drawn:
    """CogVideoXTransformer3DModel, 1.0 and 1.5, with each kind of positions."""
    small, batch, ratio = st.integers(1, 9), draw(st.integers(1, 3)), draw(st.integers(1, 4))
    positions = draw(st.sampled_from(["rotary", "made", "learned"]))
    heads, head_dim = draw(
        st.tuples(st.integers(1, 3), st.integers(2, 9))
        if positions == "rotary"
        else st.sampled_from([(1, 16), (2, 8), (1, 48), (3, 16)])
    )
    side = draw(st.integers(1, 3))
    length = draw(st.sampled_from([None, 1, 2, 3] if positions == "rotary" else [None, 1]))
    rest = (0, 0) if length else (draw(st.integers(0, side - 1)), draw(st.integers(0, side - 1)))
    frames = (length or 1) * draw(st.integers(1, 4))
    height, width = (side * draw(st.integers(1, 4)) + more for more in rest)
    trained = positions == "learned" or draw(st.booleans())
    config = {
        "num_attention_heads": heads,
        "attention_head_dim": head_dim,
        "in_channels": draw(small),
        "out_channels": draw(small),
        "time_embed_dim": draw(small),
        "text_embed_dim": draw(small),
        "num_layers": draw(st.integers(1, 2)),
        "sample_height": height if trained else draw(st.integers(side, 12)),
        "sample_width": width if trained else draw(st.integers(side, 12)),
        "sample_frames": (frames - 1) * ratio + 1 if draw(st.booleans()) else draw(small),
        "patch_size": side,
        "patch_size_t": length,
        "temporal_compression_ratio": ratio,
        "max_text_seq_length": draw(small),
        "activation_fn": draw(st.sampled_from(ACTIVATIONS)),
        "use_rotary_positional_embeddings": positions != "made",
        "use_learned_positional_embeddings": positions == "learned",
    }
    text = draw(small) if positions == "rotary" else config["max_text_seq_length"]
    times = draw(st.sampled_from([1, batch]))
    inputs = {
        "hidden_states": (batch, frames, config["in_channels"], height, width),
        "timestep": (times,),
        "encoder_hidden_states": (batch, text, config["text_embed_dim"]),
    }
    if config["time_embed_dim"] > 1 and draw(st.booleans()):
        config["ofs_embed_dim"] = config["time_embed_dim"]
        inputs["ofs"] = (draw(st.sampled_from([1, times])),)
    return Drawn("CogVideoXTransformer3DModel", config, "forward", inputs)


@st.composite
def controlnets(draw: st.DrawFn) -> Drawn:
    """ControlNetModel with a random UNet's way down and conditions, as far as it has them."""
    unet = draw(unets())
    inputs = {name: shape for name, shape in unet.inputs.items() if name != "timestep_cond"}
    config = {name: value for name, value in unet.config.items() if name in controlnet.DEFAULTS}
    config |= {"norm_num_groups": unet.config["norm_num_groups"], "act_fn": unet.config["act_fn"]}
    config |= {"encoder_hid_dim": None, "encoder_hid_dim_type": None}
    config["mid_block_type"] = config["mid_block_type"] or "UNetMidBlock2D"
    config["cross_attention_dim"] = inputs.get("encoder_hidden_states", (1, 1, 7))[2]
    layers = config["layers_per_block"]
    config["layers_per_block"] = min(layers) if isinstance(layers, list) else layers
    if draw(st.booleans()):
        config["num_attention_heads"], config["attention_head_dim"] = config["attention_head_dim"], 8
    if config.get("class_embed_type") == "identity":
        inputs["class_labels"] = (inputs["class_labels"][0], 4 * config["block_out_channels"][0])
    if config.get("class_embed_type") == "simple_projection":
        config["class_embed_type"] = "projection"
    steps = draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    config["conditioning_embedding_out_channels"] = steps
    config["conditioning_channels"] = draw(st.integers(1, 4))
    config["controlnet_conditioning_channel_order"] = draw(st.sampled_from(["rgb", "bgr"]))
    batch, _, *extent = inputs["sample"]
    factor = 2 ** (len(steps) - 1)
    image = [size * factor - draw(st.integers(0, factor - 1)) for size in extent]
    inputs["controlnet_cond"] = (draw(st.sampled_from([1, batch])), config["conditioning_channels"], *image)
    return Drawn("ControlNetModel", config, "forward", inputs)


class TestRandomModels:
    @drawn_models
    @given(wans())
    def test_wan(self, drawn):
        assert_equal_to_trace(drawn.class_name, drawn.config, drawn.inputs)

    @drawn_models
    @given(ltx_videos())
    def test_ltx_video(self, drawn):
        assert_equal_to_trace(drawn.class_name, drawn.config, drawn.inputs)

    @drawn_models
    @given(cogvideoxs())
    def test_cogvideox(self, drawn):
        assert_equal_to_trace(drawn.class_name, drawn.config, drawn.inputs)

    @drawn_models
    @given(controlnets())
    def test_controlnet(self, drawn):
        assert_equal_to_trace(drawn.class_name, drawn.config, drawn.inputs)


# -- symbols -----------------------------------------------------------------------------------------------------------

BATCH, F, H, W, TEXT = sympy.symbols("batch f h w text", integer=True, positive=True)


def assert_substitutes(class_name, config, inputs, symbols, sizes):
    formula = count(class_name, config, inputs(*symbols))
    assert formula.total.free_symbols == set(symbols)
    for values in sizes:
        work = count(class_name, config, inputs(*values))
        assert all(isinstance(macs, int) for macs in astuple(work))
        chosen = dict(zip(symbols, values, strict=True))
        assert [sympy.sympify(macs).subs(chosen) for macs in astuple(formula)] == list(astuple(work))


class TestSymbols:
    #: Also what no patches of 2 fill: a rest makes no patch, in the formula as in the model.
    sizes = [(1, 21, 60, 104, 512), (2, 1, 61, 103, 77), (3, 9, 2, 3, 1)]

    @pytest.mark.parametrize("per_token", [False, True])
    def test_wan(self, per_token):
        def inputs(batch, f, h, w, text):
            timestep = (batch, f * (h // 2) * (w // 2)) if per_token else (batch,)
            return latents(batch, 16, f, h, w, text=(text, 4096)) | {"timestep": timestep}

        assert_substitutes("WanTransformer3DModel", {}, inputs, (BATCH, F, H, W, TEXT), self.sizes)

    def test_wan_with_an_image(self):
        def inputs(batch, f, h, w, text):
            shapes = latents(batch, 36, f, h, w, text=(text, 4096))
            return shapes | {"encoder_hidden_states_image": (batch, 257, 1280)}

        sizes = [(1, 21, 60, 104, 512), (2, 3, 9, 9, 255)]
        assert_substitutes("WanTransformer3DModel", WAN_I2V, inputs, (BATCH, F, H, W, TEXT), sizes)

    def test_ltx_video(self):
        def inputs(batch, tokens, text):
            return latents(batch, tokens, 128, text=(text, 4096))

        sizes = [(1, 21 * 15 * 22, 128), (2, 1, 77)]
        assert_substitutes("LTXVideoTransformer3DModel", {}, inputs, (BATCH, F, TEXT), sizes)

    def test_cogvideox(self):
        def inputs(batch, f, h, w):
            return latents(batch, f, 16, h, w, text=T5)

        # The config's own size first, where no positions are made, then one frame, then one patch.
        sizes = [(1, 13, 60, 90), (1, 13, 60, 91), (2, 1, 60, 90), (1, 3, 2, 3)]
        assert_substitutes("CogVideoXTransformer3DModel", {}, inputs, (BATCH, F, H, W), sizes)

    def test_cogvideox_15(self):
        def inputs(batch, f, h, w, text):
            return latents(batch, f, 32, h, w, text=(text, 4096), ofs=(1,))

        sizes = [(1, 22, 96, 170, 226), (2, 2, 4, 6, 77)]
        assert_substitutes("CogVideoXTransformer3DModel", COGVIDEOX_15, inputs, (BATCH, F, H, W, TEXT), sizes)
        # The linear layer takes no rest, which the formula can't know.
        with pytest.raises(NoClosedForm, match="rest of 21 over a patch of 2"):
            count("CogVideoXTransformer3DModel", COGVIDEOX_15, inputs(1, 21, 96, 170, 226))

    def test_controlnet(self):
        def inputs(batch, h, w, text):
            image = (batch, 3, 8 * h, 8 * w)
            shapes = {"sample": (batch, 4, h, w), "encoder_hidden_states": (batch, text, 1280)}
            return shapes | {"timestep": (), "controlnet_cond": image}

        sizes = [(1, 64, 64, 77), (2, 65, 3, 154)]
        assert_substitutes("ControlNetModel", {}, inputs, (BATCH, H, W, TEXT), sizes)


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("class_name", "module"), VIDEO.items())
def test_defaults_are_the_library_s(class_name, module):
    parameters = inspect.signature(getattr(diffusers, class_name)).parameters

    assert {name: parameters[name].default for name in module.DEFAULTS} == module.DEFAULTS


ROTARY = COGVIDEOX | {"use_rotary_positional_embeddings": True}
LEARNED = ROTARY | {"use_learned_positional_embeddings": True}


@pytest.mark.parametrize(
    ("class_name", "config", "inputs", "named"),
    [
        (class_name, tiny | config, shapes | inputs, named)
        for class_name, tiny, shapes, cases in [
            (
                "WanTransformer3DModel",
                WAN,
                WAN_INPUTS,
                [
                    ({"attention_head_dim": 3}, {}, "attention_head_dim=3"),
                    ({"patch_size": [2, 2]}, {}, "patch_size is 2, not 3"),
                    ({"patch_size": 2}, {}, "patch_size is 1, not 3"),
                    ({"rope_max_seq_len": 1}, {}, "rope_max_seq_len=1"),
                    ({}, {"hidden_states": (1, 2, 2, 1, 5)}, "too small"),
                    ({}, {"hidden_states": (1, 3, 2, 4, 5)}, "channels"),
                    ({}, {"timestep": ()}, "timestep"),
                    ({}, {"timestep": (1, 7)}, "tokens of timestep is 7"),
                    ({}, {"encoder_hidden_states_image": (1, 3, 5)}, "not None"),
                    ({"image_dim": 5, "pos_embed_seq_len": 8}, {"encoder_hidden_states_image": (2, 3, 5)}, "6, not 8"),
                    ({"image_dim": 5, "pos_embed_seq_len": 8}, {"encoder_hidden_states_image": (1, 4, 5)}, "1, not 2"),
                    ({"added_kv_proj_dim": 5}, {}, "added_kv_proj_dim is 5"),
                ],
            ),
            (
                "LTXVideoTransformer3DModel",
                LTX,
                LTX_INPUTS,
                [
                    ({"cross_attention_dim": 9}, {}, "cross_attention_dim is 9, not 8"),
                    ({"num_attention_heads": 1, "cross_attention_dim": 4}, {}, "less than 6"),
                    ({"activation_fn": "relu"}, {}, "relu"),
                    ({"qk_norm": None}, {}, "qk_norm"),
                    ({}, {"timestep": (5,)}, "timesteps is 5, not 1 or 6"),
                ],
            ),
            (
                "CogVideoXTransformer3DModel",
                COGVIDEOX,
                COGVIDEOX_INPUTS,
                [
                    ({"attention_head_dim": 4}, {}, "width 8 over 16"),
                    ({"patch_size": [2, 2]}, {}, "patch_size"),
                    ({"patch_size_t": 2}, {}, "patch_size_t"),
                    ({"out_channels": None}, {}, "out_channels=None"),
                    ({"ofs_embed_dim": 6}, {}, "'ofs' is missing"),
                    ({"ofs_embed_dim": 4}, {"ofs": (1,)}, "ofs_embed_dim is 4, not 6"),
                    ({"use_learned_positional_embeddings": True}, {}, "use_rotary_positional_embeddings"),
                    ({}, {"encoder_hidden_states": (1, 6, 5)}, "tokens of encoder_hidden_states is 6, not 7"),
                    ({}, {"timestep_cond": (1, 6)}, "timestep_cond"),
                    ({}, {"timestep": ()}, "timestep"),
                    (ROTARY | {"patch_size_t": 2}, {"hidden_states": (1, 2, 3, 4, 5)}, "rest of 5"),
                    (LEARNED, {"hidden_states": (1, 2, 3, 4, 6)}, r"\[4, 6\], not \[4, 4\]"),
                ],
            ),
            (
                "ControlNetModel",
                CONTROLNET,
                CONTROLNET_INPUTS,
                [
                    ({"mid_block_type": None}, {}, "mid_block_type"),
                    ({"layers_per_block": [1]}, {}, "layers_per_block"),
                    ({"cross_attention_dim": [6]}, {}, "cross_attention_dim"),
                    ({"encoder_hid_dim": 7}, {"encoder_hidden_states": (1, 3, 7)}, "encoder_hid_dim=7"),
                    ({"conditioning_embedding_out_channels": []}, {}, "names no channels"),
                    ({"conditioning_embedding_out_channels": None}, {}, "conditioning_embedding_out_channels=None"),
                    ({"controlnet_conditioning_channel_order": "gbr"}, {}, "gbr"),
                    ({}, {"controlnet_cond": (1, 3, 8, 11)}, r"\(4, 6\), not \(4, 5\)"),
                    ({}, {"controlnet_cond": (1, 4, 8, 9)}, "channels of controlnet_cond is 4, not 3"),
                    ({}, {"timestep_cond": (1, 6)}, "timestep_cond"),
                ],
            ),
        ]
        for config, inputs, named in cases
    ],
)
def test_refused_is_what_the_model_refuses(class_name, config, inputs, named):
    with pytest.raises(NoClosedForm, match=named):
        count(class_name, config, inputs)
    with pytest.raises(Exception):  # noqa: B017, PT011  whatever the model raises
        traced(real_case(class_name, config, inputs))


@pytest.mark.parametrize(
    ("class_name", "config", "inputs", "named"),
    [
        # The slices run from the wrong end (transformer_wan.py:89-91).
        ("WanTransformer3DModel", WAN | {"added_kv_proj_dim": 4}, WAN_INPUTS, "3 tokens is shorter than the 512"),
        # Attention broadcasts a batch of one, by a rule of torch's.
        ("WanTransformer3DModel", WAN, WAN_INPUTS | {"encoder_hidden_states": (2, 3, 5)}, "batch of encoder_hidden"),
        ("ControlNetModel", CONTROLNET | {"class_embed_type": "simple_projection"}, CONTROLNET_INPUTS, "simple"),
        ("ControlNetModel", CONTROLNET, CONTROLNET_INPUTS | {"cross_attention_kwargs.scale": (1,)}, "scale"),
        ("LTXVideoTransformer3DModel", LTX, LTX_INPUTS | {"unheard_of": (1,)}, "unheard_of"),
    ],
)
def test_refused_is_also_what_is_not_derived(class_name, config, inputs, named):
    with pytest.raises(NoClosedForm, match=named):
        count(class_name, config, inputs)
