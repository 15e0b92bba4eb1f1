"""The closed forms against published numbers, hands' arithmetic, and torch's counter on the real classes."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from dataclasses import asdict, astuple
from pathlib import Path

import pytest
import sympy
from hypothesis import HealthCheck, given, settings
from installed import holds, needs
from published_configs import (
    CLIP_G,
    CLIP_H,
    CLIP_L,
    SAFETY_CHECKER,
    SD15,
    SD21,
    SDXL,
    SDXL_REFINER,
    SSD_1B,
    UNCLIP,
    VAE,
    X4_UPSCALER,
    sdxl_inputs,
    unet_inputs,
)
from real_models import CLASSES, torch_macs, traced_macs
from strategies import Drawn, autoencoders, safety_checkers, text_encoders, unets, vision_encoders

import crosscheck
from crosscheck.closed_form.architectures import autoencoder_kl, clip, unet_2d_condition
from crosscheck.closed_form.forms import count
from crosscheck.closed_form.options import NoClosedForm
from crosscheck.closed_form.work import Work
from crosscheck.reconcile import unequal_ops

pytestmark = pytest.mark.releases

every_option = needs("diffusers>=0.30", "the classes have the options that the closed forms were read off with")
mid_block = needs("diffusers>=0.24", "UNetMidBlock2D in UNet2DConditionModel")
drawn_models = settings(suppress_health_check=[HealthCheck.too_slow])

PLAIN = {
    "block_out_channels": [32, 64],
    "down_block_types": ["DownBlock2D"] * 2,
    "mid_block_type": "UNetMidBlock2D",
    "up_block_types": ["UpBlock2D"] * 2,
}
TWO_IMAGES = {"sample": (2, 4, 9, 9), "encoder_hidden_states": (2, 77, 2048)}


class TestWork:
    def test_adds_op_by_op(self):
        one, two = Work(conv=1, linear=2), Work(linear=3, attention=4, matmul=5)

        assert one + two == Work(conv=1, linear=5, attention=4, matmul=5)

    def test_is_multiplied_from_both_sides(self):
        work = Work(conv=1, linear=2, attention=3, matmul=4)

        assert 2 * work == work * 2 == Work(conv=2, linear=4, attention=6, matmul=8)
        assert (sympy.Symbol("n") * work).total == 10 * sympy.Symbol("n")

    def test_total_is_all_four(self):
        assert Work(conv=1, linear=20, attention=300, matmul=4000).total == 4321


class TestByHand:
    """The arithmetic is in the test."""

    def test_text_encoder(self):
        # A layer on n = 77 tokens of d: q, k, v, out = 4 n d^2; MLP = 2 n d 4d; scores and values = 2 n^2 d.
        def by_hand(layers: int, d: int) -> Work:
            return Work(linear=layers * (4 + 8) * 77 * d * d, attention=layers * 2 * 77 * 77 * d)

        tokens = {"input_ids": (1, 77)}
        assert count("CLIPTextModel", CLIP_L, "forward", tokens) == by_hand(12, 768)
        assert count("CLIPTextModel", CLIP_H, "forward", tokens) == by_hand(23, 1024)
        # The projection meets one vector a prompt, not 77: two prompts here.
        with_projection = by_hand(32, 1280) * 2 + Work(linear=2 * 1280 * 1280)
        assert count("CLIPTextModelWithProjection", CLIP_G, "forward", {"input_ids": (2, 77)}) == with_projection

    def test_safety_checker(self):
        # ViT-L/14 on 224 x 224: 16 x 16 patches of 3 x 14 x 14 and a class token; 17 + 3 concepts of 768.
        n, d = 257, 1024
        by_hand = Work(
            conv=256 * d * 3 * 14 * 14,
            linear=24 * 12 * n * d * d + d * 768,
            attention=24 * 2 * n * n * d,
            matmul=768 * (17 + 3),
        )
        inputs = {"clip_input": (1, 3, 224, 224), "images": (1, 512, 512, 3)}
        assert count("StableDiffusionSafetyChecker", SAFETY_CHECKER, "forward", inputs) == by_hand

    def test_unet_of_one_level(self):
        # 8 channels, 4 x 5 = 20 pixels, 3 tokens of 6, 2 heads of 4, temb 32; down, mid, up: 1, 2, 2 resnets.
        config = {
            "block_out_channels": [8],
            "down_block_types": ["CrossAttnDownBlock2D"],
            "up_block_types": ["UpBlock2D"],
            "mid_block_type": "UNetMidBlock2DCrossAttn",
            "layers_per_block": 1,
            "attention_head_dim": 2,
            "cross_attention_dim": 6,
        }
        ends = 20 * 9 * (4 * 8 + 8 * 4)
        resnets = 3 * 20 * 9 * (8 * 8 + 8 * 8)
        # Up: each resnet gets 8 channels beside a skip of 8, and has a 1x1 shortcut.
        up = 2 * 20 * (9 * (16 * 8 + 8 * 8) + 16 * 8)
        projections = 2 * 2 * 20 * 8 * 8
        time = 8 * 32 + 32 * 32 + 5 * 32 * 8
        # A transformer block: q, k, v, out; q and out on pixels, k and v on text; GEGLU to 64, back from 32.
        block = 4 * 20 * 8 * 8 + 2 * 20 * 8 * 8 + 2 * 3 * 6 * 8 + 20 * 8 * 64 + 20 * 32 * 8
        # Two heads of 4 channels, scores and values: to 20 pixels and to 3 tokens.
        attention = 2 * 20 * (20 + 3) * (4 + 4)
        inputs = {"sample": (1, 4, 4, 5), "timestep": (), "encoder_hidden_states": (1, 3, 6)}

        assert count("UNet2DConditionModel", config, "forward", inputs) == Work(
            conv=ends + resnets + up + projections, linear=time + 2 * block, attention=2 * attention
        )

    def test_vae_of_one_level(self):
        # 64 channels, 3 x 5 = 15 pixels, no sampling: conv in and out, 2 resnets and an attention in the middle.
        mid = Work(conv=2 * 2 * 15 * 9 * 64 * 64, linear=4 * 15 * 64 * 64, attention=2 * 15 * 15 * 64)
        resnet = Work(conv=2 * 15 * 9 * 64 * 64)
        decoder = Work(conv=15 * (9 * 4 * 64 + 9 * 64 * 3 + 4 * 4)) + mid + 2 * resnet
        encoder = Work(conv=15 * (9 * 3 * 64 + 9 * 64 * 8 + 8 * 8)) + mid + resnet

        assert count("AutoencoderKL", {}, "decode", {"z": (1, 4, 3, 5)}) == decoder
        assert count("AutoencoderKL", {}, "encode", {"x": (1, 3, 3, 5)}) == encoder
        assert count("AutoencoderKL", {}, "forward", {"sample": (2, 3, 3, 5)}) == 2 * (encoder + decoder)


class TestFullSize:
    @pytest.mark.parametrize(
        ("class_name", "config", "entry", "inputs", "macs"),
        [
            ("UNet2DConditionModel", SD15, "forward", unet_inputs(64, 768), 401_636_720_640),
            ("UNet2DConditionModel", SD21, "forward", unet_inputs(64, 1024), 402_128_732_160),
            ("UNet2DConditionModel", SDXL, "forward", sdxl_inputs(128), 3_380_618_199_040),
            ("AutoencoderKL", VAE, "decode", {"z": (1, 4, 64, 64)}, 1_257_259_466_752),
            ("CLIPTextModel", CLIP_L, "forward", {"input_ids": (1, 77)}, 6_649_251_840),
            ("CLIPTextModel", CLIP_H, "forward", {"input_ids": (1, 77)}, 22_563_616_768),
        ],
    )
    def test_totals_that_torch_counts_on_meta(self, class_name, config, entry, inputs, macs):
        assert count(class_name, config, entry, inputs).total == macs

    def test_ops_of_stable_diffusion_2_1(self):
        assert count("UNet2DConditionModel", SD21, "forward", unet_inputs(64, 1024)) == Work(
            conv=209_180_426_240, linear=129_922_170_880, attention=63_026_135_040
        )

    def test_a_published_count_is_ours_without_attention_and_with_layer_norm(self):
        """https://github.com/Nota-NetsPresso/BK-SDM/issues/53 prints thop's numbers for Stable Diffusion v1.4.

        thop does not see scaled_dot_product_attention, and takes LayerNorm as 4 MACs an element.
        """
        unet = count("UNet2DConditionModel", SD15, "forward", unet_inputs(64, 768))
        decode = count("AutoencoderKL", VAE, "decode", {"z": (1, 4, 64, 64)})
        text = count("CLIPTextModel", CLIP_L, "forward", {"input_ids": (1, 77)})
        # 3 norms a transformer block; 5 blocks each of 320, 640, 1280 channels, one of 1280 in the middle.
        unet_norms = 4 * 3 * (5 * 4096 * 320 + 5 * 1024 * 640 + 5 * 256 * 1280 + 64 * 1280)
        # 2 norms a layer and one at the end.
        text_norms = 4 * (2 * 12 + 1) * 77 * 768

        assert unet.total - unet.attention + unet_norms == 338_749_194_240
        # It counts the decoder without post_quant_conv, 4 x 4 weights on 64 x 64 latents.
        assert decode.total - decode.attention - 4 * 4 * 64 * 64 == 1_240_079_532_032
        assert text.total - text.attention + text_norms == 6_545_882_112

    @pytest.mark.parametrize(
        ("config", "inputs"),
        [
            pytest.param(SD15 | {"in_channels": 9}, unet_inputs(9, 768, 9), id="inpaint"),
            pytest.param(SD15 | {"time_cond_proj_dim": 256}, unet_inputs(9, 768, timestep_cond=(1, 256)), id="lcm"),
            pytest.param(UNCLIP, unet_inputs(9, 1024, class_labels=(1, 2048)), id="unclip"),
            pytest.param(X4_UPSCALER, unet_inputs(9, 1024, 7, class_labels=(1,)), id="x4-upscaler"),
            pytest.param(SDXL_REFINER, sdxl_inputs(9, 1280, 5), id="sdxl-refiner"),
            pytest.param(SSD_1B, sdxl_inputs(9), id="ssd-1b", marks=mid_block),
            pytest.param(PLAIN, {"sample": (1, 4, 9, 9), "timestep": (1,)}, id="no text", marks=mid_block),
            # Embeddings of the one condition are computed once, for both images.
            pytest.param(SDXL, sdxl_inputs(9) | TWO_IMAGES, id="sdxl, two images of one condition"),
        ],
    )
    def test_published_unets_at_an_odd_size(self, config, inputs):
        assert_equal_to_torch(Drawn("UNet2DConditionModel", config, "forward", inputs))


def assert_equal_to_torch(drawn: Drawn) -> None:
    """Convolution apart, the rest together: torch's counter can't tell attention from products."""
    work = count(*drawn)
    traced = traced_macs(drawn)

    if holds("transformers>=4.43"):
        assert {op: getattr(work, op) for op in traced} == traced
    else:  # attention is written out, as products
        assert unequal_ops(asdict(work), traced) == ""
    if holds("torch>=2.1"):
        assert (work.conv, work.linear + work.attention + work.matmul) == torch_macs(drawn)


class TestRandomModels:
    """The closed form from the config alone; the trace, op by op, and torch's counter from the real class."""

    @every_option
    @drawn_models
    @given(unets())
    def test_unet(self, drawn):
        assert_equal_to_torch(drawn)

    @every_option
    @drawn_models
    @given(autoencoders())
    def test_autoencoder(self, drawn):
        assert_equal_to_torch(drawn)

    @drawn_models
    @given(text_encoders())
    def test_text_encoder(self, drawn):
        assert_equal_to_torch(drawn)

    @drawn_models
    @given(vision_encoders())
    def test_vision_encoder(self, drawn):
        assert_equal_to_torch(drawn)

    @drawn_models
    @given(safety_checkers())
    def test_safety_checker(self, drawn):
        assert_equal_to_torch(drawn)


class TestSymbols:
    h, w = sympy.symbols("h w", integer=True, positive=True)
    batch, tokens = sympy.symbols("batch tokens", integer=True, positive=True)

    @pytest.mark.parametrize(
        "config", [SD21, SD21 | {"downsample_padding": 0}, SDXL], ids=["sd21", "padding-0", "sdxl"]
    )
    def test_unet(self, config):
        def inputs(batch, height, width, tokens):
            return {
                "sample": (batch, 4, height, width),
                "timestep": (),
                "encoder_hidden_states": (batch, tokens, config["cross_attention_dim"]),
                "added_cond_kwargs.text_embeds": (batch, 1280),
                "added_cond_kwargs.time_ids": (batch, 6),
            }

        symbols = (self.batch, self.h, self.w, self.tokens)
        sizes = [(1, 64, 64, 77), (2, 65, 65, 77), (2, 68, 72, 77), (3, 72, 65, 154), (1, 97, 64, 1)]
        self.assert_substitutes("UNet2DConditionModel", config, "forward", inputs, symbols, sizes)

    @pytest.mark.parametrize(
        ("entry", "name", "channels"), [("decode", "z", 4), ("encode", "x", 3), ("forward", "sample", 3)]
    )
    def test_autoencoder(self, entry, name, channels):
        def inputs(batch, height, width):
            return {name: (batch, channels, height, width)}

        sizes = [(1, 64, 64), (2, 65, 65), (2, 68, 72), (1, 511, 513)]
        self.assert_substitutes("AutoencoderKL", VAE, entry, inputs, (self.batch, self.h, self.w), sizes)

    @pytest.mark.parametrize("class_name", ["CLIPTextModel", "CLIPTextModelWithProjection"])
    def test_text_encoder(self, class_name):
        def inputs(batch, tokens):
            return {"input_ids": (batch, tokens)}

        self.assert_substitutes(class_name, CLIP_G, "forward", inputs, (self.batch, self.tokens), [(1, 77), (4, 3)])

    @pytest.mark.parametrize("class_name", ["CLIPVisionModelWithProjection", "StableDiffusionSafetyChecker"])
    def test_vision(self, class_name):
        name = "clip_input" if class_name == "StableDiffusionSafetyChecker" else "pixel_values"

        def inputs(batch):
            return {name: (batch, 3, 224, 224)}

        self.assert_substitutes(class_name, {}, "forward", inputs, (self.batch,), [(1,), (5,)])

    @staticmethod
    def assert_substitutes(class_name, config, entry, inputs, symbols, sizes):
        formula = count(class_name, config, entry, inputs(*symbols))
        assert formula.total.free_symbols == set(symbols)
        for values in sizes:
            work = count(class_name, config, entry, inputs(*values))
            assert all(isinstance(macs, int) for macs in astuple(work))
            chosen = dict(zip(symbols, values, strict=True))
            assert [sympy.sympify(macs).subs(chosen) for macs in astuple(formula)] == list(astuple(work))


class TestConfigs:
    @pytest.mark.parametrize(
        ("class_name", "defaults"),
        [
            pytest.param("UNet2DConditionModel", unet_2d_condition.DEFAULTS, marks=every_option),
            pytest.param("AutoencoderKL", autoencoder_kl.DEFAULTS, marks=every_option),
            ("CLIPTextModel", clip.TEXT_DEFAULTS),
            ("CLIPVisionModel", clip.VISION_DEFAULTS),
            ("StableDiffusionSafetyChecker", {"projection_dim": clip.PROJECTION_DIM}),
        ],
    )
    def test_defaults_are_the_library_s(self, class_name, defaults):
        cls, config_class = CLASSES[class_name]
        parameters = inspect.signature(config_class or cls).parameters

        assert defaults == {name: parameters[name].default for name in defaults}

    def test_keys_that_the_class_does_not_know_change_nothing(self):
        config = SD21 | {"_class_name": "UNet2DConditionModel", "update_after_step": 0, "sample_size": 64}

        assert count("UNet2DConditionModel", config, "forward", unet_inputs(64, 1024)).total == 402_128_732_160

    def test_a_text_encoder_is_found_in_a_clip_config(self, tmp_path):
        """As CLIPTextConfig.from_pretrained reads the same file; the outer projection_dim is not the text model's."""
        config = {"model_type": "clip", "projection_dim": 9, "text_config": {**CLIP_L, "model_type": "clip_text_model"}}
        (tmp_path / "config.json").write_text(json.dumps(config))
        read = CLASSES["CLIPTextModel"][1].from_pretrained(tmp_path).to_dict()

        for name in ("CLIPTextModel", "CLIPTextModelWithProjection"):
            expected = count(name, read, "forward", {"input_ids": (1, 77)})
            assert count(name, config, "forward", {"input_ids": (1, 77)}) == expected

    def test_masks_and_controlnet_residuals_meet_no_weight(self):
        more = {"encoder_attention_mask": (1, 77), "down_block_additional_residuals__0": (1, 320, 64, 64)}

        inputs = unet_inputs(64, 1024, **more)
        assert count("UNet2DConditionModel", SD21, "forward", inputs).total == 402_128_732_160


def unet_refusals():
    inputs = unet_inputs(64, 1024)
    for option, value in {
        "down_block_types": ["SimpleCrossAttnDownBlock2D"] * 4,
        "up_block_types": ["UpBlock2D"] * 3,
        "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
        "num_attention_heads": 8,
        "dual_cross_attention": True,
        "attention_type": "gated",
        "resnet_time_scale_shift": "spatial",
        "class_embed_type": "unheard_of",
        "class_embeddings_concat": True,
        "addition_embed_type": "image",
        "encoder_hid_dim_type": "image_proj",
        "time_embedding_type": "learned",
        "conv_in_kernel": 4,
        "downsample_padding": 2,
        "layers_per_block": [2, 2],
        "transformer_layers_per_block": [1, [1, 1, 1], 1, 1],
        "reverse_transformer_layers_per_block": [[1, 1], 1, 1, 1],
        "cross_attention_dim": None,
    }.items():
        # Nested depths are short only for the up block that has transformers.
        up = {"up_block_types": ["CrossAttnUpBlock2D"] * 4} if "reverse" in option else {}
        yield pytest.param(SD21 | up | {option: value}, inputs, option.removeprefix("reverse_"), id=option)
    for name, shape in {
        "sample": (1, 5, 64, 64),
        "encoder_hidden_states": (2, 77, 1024),
        "cross_attention_kwargs.gligen": (1, 30, 768),
        "added_cond_kwargs.image_embeds": (1, 4, 768),
        "timestep": (3,),
        "timestep_cond": (1, 256),
    }.items():
        yield pytest.param(SD21, inputs | {name: shape}, name.split(".")[0], id=f"{name} {shape}")
    yield pytest.param(SD21, {"sample": (1, 4, 64, 64)}, "encoder_hidden_states", id="no text")
    yield pytest.param(SD21, inputs | {"encoder_hidden_states": (1, 77, 768)}, "width", id="narrow text")
    yield pytest.param(SD21, inputs | {"sample": (1, 4, 0, 64)}, "positive", id="empty")
    yield pytest.param(SD21 | {"num_class_embeds": 9}, inputs, "class_labels", id="no labels")
    yield pytest.param(SDXL, unet_inputs(64, 2048), "text_embeds", id="no added conditions")
    yield pytest.param(SDXL, sdxl_inputs(64, ids=5), "time_ids", id="too few time ids")
    yield pytest.param(SD21 | {"downsample_padding": 0}, unet_inputs(4, 1024), "too small", id="small without padding")
    projected = {"encoder_hid_dim": 1024, "cross_attention_dim": [8, 8, 8, 8]}
    yield pytest.param(SD21 | projected, inputs, "cross_attention_dim", id="text projected to a list of widths")


class TestRefusals:
    @pytest.mark.parametrize(("config", "inputs", "named"), list(unet_refusals()))
    def test_unet(self, config, inputs, named):
        with pytest.raises(NoClosedForm, match=named):
            count("UNet2DConditionModel", config, "forward", inputs)

    @pytest.mark.parametrize(
        ("class_name", "config", "entry", "inputs", "named"),
        [
            ("UNet1DModel", {}, "forward", {}, "UNet1DModel.forward has no closed form"),
            ("UNet2DConditionModel", {}, "encode", {}, "UNet2DConditionModel.encode has no closed form"),
            ("AutoencoderKL", {"block_out_channels": [64, 64]}, "decode", {"z": (1, 4, 8, 8)}, "down_block_types"),
            ("AutoencoderKL", {"up_block_types": ["UpBlock2D"]}, "decode", {"z": (1, 4, 8, 8)}, "UpBlock2D"),
            ("AutoencoderKL", {}, "decode", {"z": (1, 3, 8, 8)}, "channels of z is 3, not 4"),
            ("AutoencoderKL", VAE, "encode", {"x": (1, 3, 8, 7)}, "too small"),
            ("AutoencoderKL", VAE, "decode", {"sample": (1, 4, 8, 8)}, "sample"),
            ("CLIPTextModel", CLIP_L, "forward", {}, "input_ids"),
            ("CLIPTextModel", CLIP_L, "forward", {"input_ids": (1, 78)}, "max_position_embeddings=77"),
            ("CLIPTextModel", CLIP_L | {"hidden_size": 770}, "forward", {"input_ids": (1, 77)}, "hidden_size=770"),
            ("CLIPTextModel", CLIP_L, "forward", {"inputs_embeds": (1, 77, 768)}, "inputs_embeds"),
            ("CLIPVisionModel", {}, "forward", {"pixel_values": (1, 3, 225, 224)}, "225, not 224"),
            ("CLIPVisionModel", {"patch_size": [4, 4, 0]}, "forward", {"pixel_values": (1, 3, 224, 224)}, "patch_size"),
        ],
    )
    def test_others(self, class_name, config, entry, inputs, named):
        with pytest.raises(NoClosedForm, match=named):
            count(class_name, config, entry, inputs)


BARE = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "diffusers", "transformers", "sympy", "numpy"}:
            raise ImportError(f"{name} is not here")

sys.meta_path.insert(0, Refuse())
from crosscheck.backends.analytic import count

print(count(%r, %r, "forward", %r).total)
"""


@pytest.mark.parametrize(
    ("class_name", "config", "inputs", "macs"),
    [
        # by tests/standalone_sd21.py, unet() and text_encoder()
        ("UNet2DConditionModel", SD21, unet_inputs(64, 1024), 402_128_732_160),
        ("CLIPTextModel", CLIP_H, {"input_ids": (1, 77)}, 22_563_616_768),
    ],
)
def test_counts_where_the_libraries_can_not_be_imported(class_name, config, inputs, macs):
    root = str(Path(crosscheck.__file__).parents[1])
    ran = subprocess.run(
        [sys.executable, "-c", BARE % (class_name, config, inputs)],
        env=os.environ | {"PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.stderr == ""
    assert int(ran.stdout) == macs
