"""Closed forms of image transformers and AutoencoderDC, against hands' arithmetic and the trace of the real classes."""

from __future__ import annotations

import inspect
import json
from dataclasses import astuple
from pathlib import Path
from typing import Any

import diffusers
import pytest
import sympy
import torch
from closed_forms import IMAGE
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from real_models import arguments
from strategies import Drawn

import crosscheck
from crosscheck.backends.aten import Aten
from crosscheck.closed_form.architectures import autoencoder_dc as dc
from crosscheck.closed_form.architectures import dit_transformer_2d as dit
from crosscheck.closed_form.architectures import pixart_transformer_2d as pixart
from crosscheck.closed_form.architectures import sana_transformer_2d as sana
from crosscheck.closed_form.architectures import sd3_transformer_2d as sd3
from crosscheck.closed_form.options import NoClosedForm
from crosscheck.closed_form.work import Work
from crosscheck.tracing.calling import case_of

drawn_models = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
CATALOGUE = Path(crosscheck.__file__).parent / "catalogue"
SMALL_DC = {
    "encoder_block_out_channels": [8, 8],
    "decoder_block_out_channels": [8, 8],
    "latent_channels": 4,
    "attention_head_dim": 4,
    "encoder_block_types": ["ResBlock", "EfficientViTBlock"],
    "decoder_block_types": ["ResBlock", "EfficientViTBlock"],
    "encoder_layers_per_block": [1, 1],
    "decoder_layers_per_block": [1, 1],
    "encoder_qkv_multiscales": [[], [3]],
    "decoder_qkv_multiscales": [[], [3]],
}


def counted(drawn: Drawn) -> Work:
    return IMAGE[drawn.class_name, drawn.entry](drawn.config, drawn.inputs)


def traced(drawn: Drawn) -> Work:
    """The real class, on meta."""
    cls = getattr(diffusers, drawn.class_name)
    with torch.device("meta"):
        parameters = inspect.signature(cls).parameters
        module = cls(**{name: value for name, value in drawn.config.items() if name in parameters}).eval()
    with torch.no_grad():
        return Work(**Aten().run(case_of(module, (), arguments(drawn.inputs), entry=drawn.entry)).by_op)


def published(folder: str, component: str = "transformer") -> dict[str, Any]:
    return json.loads((CATALOGUE / folder / component / "config.json").read_text())


def sd3_inputs(batch: Any, height: Any, width: Any, text: Any = 333, config: Any = sd3.DEFAULTS) -> dict[str, Any]:
    return {
        "hidden_states": (batch, config["in_channels"], height, width),
        "encoder_hidden_states": (batch, text, config["joint_attention_dim"]),
        "pooled_projections": (batch, config["pooled_projection_dim"]),
        "timestep": (batch,),
    }


def captioned(batch: Any, height: Any, width: Any, text: Any, channels: int, features: int) -> dict[str, Any]:
    return {
        "hidden_states": (batch, channels, height, width),
        "encoder_hidden_states": (batch, text, features),
        "timestep": (batch,),
    }


def conditions(batch: Any) -> dict[str, Any]:
    return {"added_cond_kwargs.resolution": (batch, 2), "added_cond_kwargs.aspect_ratio": (batch, 1)}


def labelled(batch: Any, height: Any, width: Any, channels: int = 4) -> dict[str, Any]:
    return {"hidden_states": (batch, channels, height, width), "timestep": (batch,), "class_labels": (batch,)}


PIXART = published("pixart-alpha")
SIGMA = published("pixart-sigma")
DIT = published("dit-xl-2-256")
SANA = published("sana-1600m")
DCAE = published("sana-1600m", "vae")
SD35 = published("sd35-large")

FULL_SIZE = {
    "sd3-medium": Drawn("SD3Transformer2DModel", published("sd3-medium"), "forward", sd3_inputs(2, 128, 128)),
    "sd35-large": Drawn("SD3Transformer2DModel", SD35, "forward", sd3_inputs(2, 128, 96)),
    "sd35-medium's two attentions": Drawn(
        "SD3Transformer2DModel", SD35 | {"dual_attention_layers": list(range(13))}, "forward", sd3_inputs(1, 64, 64)
    ),
    "pixart-alpha": Drawn(
        "PixArtTransformer2DModel", PIXART, "forward", captioned(2, 128, 128, 120, 4, 4096) | conditions(2)
    ),
    "pixart-alpha, another size": Drawn(
        "PixArtTransformer2DModel", PIXART, "forward", captioned(2, 104, 160, 120, 4, 4096) | conditions(2)
    ),
    "pixart-sigma": Drawn("PixArtTransformer2DModel", SIGMA, "forward", captioned(2, 128, 128, 300, 4, 4096)),
    "pixart-sigma, by its old name": Drawn("Transformer2DModel", SIGMA, "forward", captioned(1, 128, 64, 300, 4, 4096)),
    "dit": Drawn("DiTTransformer2DModel", DIT, "forward", labelled(2, 32, 32)),
    "dit, by its old name": Drawn("Transformer2DModel", DIT, "forward", labelled(2, 32, 32)),
    "dit, another size": Drawn("DiTTransformer2DModel", DIT, "forward", labelled(1, 64, 64)),
    "sana": Drawn("SanaTransformer2DModel", SANA, "forward", captioned(2, 32, 32, 300, 32, 2304)),
    "dc-ae encode": Drawn("AutoencoderDC", DCAE, "encode", {"x": (1, 3, 1024, 1024)}),
    "dc-ae decode": Drawn("AutoencoderDC", DCAE, "decode", {"z": (1, 32, 32, 32)}),
    "dc-ae decode of few pixels": Drawn("AutoencoderDC", DCAE, "decode", {"z": (2, 32, 5, 6)}),
}


@pytest.mark.parametrize("drawn", FULL_SIZE.values(), ids=FULL_SIZE.keys())
def test_published_models(drawn):
    assert counted(drawn) == traced(drawn)


class TestByHand:
    """The arithmetic is in the test."""

    def test_sd3(self):
        # Width 8, 2 heads of 4; 3 x 2 patches of 2 x 2 pixels of 1 channel, 5 tokens of 6, a pooled prompt of 7.
        config = {
            "num_attention_heads": 2,
            "attention_head_dim": 4,
            "caption_projection_dim": 8,
            "in_channels": 1,
            "out_channels": 1,
            "num_layers": 2,
            "joint_attention_dim": 6,
            "pooled_projection_dim": 7,
            "dual_attention_layers": [0],
        }
        embeddings = (256 * 8 + 8 * 8) + (7 * 8 + 8 * 8) + 5 * 6 * 8
        # q, k, v on all 11 tokens; out and MLP on image and text; 9 and 6 modulations; a second attention of the image.
        first = 3 * 11 * 64 + 11 * 64 + 2 * 11 * 8 * 32 + (9 + 6) * 64 + 4 * 6 * 64
        # No out, no MLP and two modulations of the text.
        last = 3 * 11 * 64 + 6 * 64 + 2 * 6 * 8 * 32 + (6 + 2) * 64
        out = 2 * 64 + 6 * 8 * 4
        expected = Work(
            conv=6 * 8 * 4, linear=embeddings + first + last + out, attention=2 * 2 * 11 * 11 * 8 + 2 * 6 * 6 * 8
        )

        inputs = sd3_inputs(1, 6, 5, 5, {"in_channels": 1, "joint_attention_dim": 6, "pooled_projection_dim": 7})
        drawn = Drawn("SD3Transformer2DModel", config, "forward", inputs)
        assert counted(drawn) == traced(drawn) == expected

    def test_pixart(self):
        # Width 12, 1 head; 2 x 3 patches of 2 x 2 pixels of 1 channel, 5 captions of 7 as wide as the image then.
        config = {
            "num_attention_heads": 1,
            "attention_head_dim": 12,
            "in_channels": 1,
            "out_channels": None,
            "num_layers": 2,
            "cross_attention_dim": 12,
            "caption_channels": 7,
        }
        # The timestep; two numbers of the size and one of the aspect ratio, 4 wide each; six modulations once.
        time = 256 * 12 + 12 * 12 + 3 * (256 * 4 + 4 * 4) + 6 * 144
        captions = 5 * (7 * 12 + 12 * 12)
        block = 4 * 6 * 144 + (2 * 6 + 2 * 5) * 144 + 2 * 6 * 12 * 48
        attention = 2 * 6 * (6 + 5) * 12
        # Not the trained 64 x 64 patches: 6 positions x 3 frequencies, for rows and for columns.
        positions = 2 * 6 * 3
        expected = Work(
            conv=6 * 12 * 4, linear=time + captions + 2 * block + 6 * 12 * 4, attention=2 * attention, matmul=positions
        )

        drawn = Drawn("PixArtTransformer2DModel", config, "forward", captioned(1, 4, 6, 5, 1, 7) | conditions(1))
        assert counted(drawn) == traced(drawn) == expected

    def test_dit(self):
        # Width 8, 2 heads of 4; 2 images of the trained 2 x 2 patches of 2 x 2 pixels of 3 channels.
        config = {
            "num_attention_heads": 2,
            "attention_head_dim": 4,
            "in_channels": 3,
            "out_channels": 6,
            "num_layers": 3,
            "sample_size": 4,
        }
        # The timestep is embedded in each block, and once more at the end: 4 times.
        time = 4 * (256 * 8 + 8 * 8)
        block = 6 * 64 + 4 * 4 * 64 + 2 * 4 * 8 * 32
        out = 2 * 64 + 4 * 8 * (4 * 6)
        expected = 2 * Work(conv=4 * 8 * 12, linear=time + 3 * block + out, attention=3 * 2 * 4 * 4 * 8)

        drawn = Drawn("DiTTransformer2DModel", config, "forward", labelled(2, 4, 4, 3))
        assert counted(drawn) == traced(drawn) == expected

    def test_sana(self):
        # Width 8, 2 heads of 4, and 3 heads of 5 for 6 captions of 7; 3 x 4 pixels of 2 channels; 8 * 2.5 = 20 hidden.
        config = {
            "in_channels": 2,
            "out_channels": 2,
            "num_attention_heads": 2,
            "attention_head_dim": 4,
            "num_layers": 1,
            "num_cross_attention_heads": 3,
            "cross_attention_head_dim": 5,
            "cross_attention_dim": 8,
            "caption_channels": 7,
        }
        time = 256 * 8 + 8 * 8 + 6 * 64
        captions = 6 * (7 * 8 + 8 * 8)
        linear = 4 * 12 * 64 + (2 * 12 + 2 * 6) * 8 * 15
        conv = 12 * (2 * 8) + 12 * (8 * 40 + 9 * 40 + 20 * 8)
        # v with its row of ones, 5 x 12, times k, 12 x 4; that times q, 4 x 12; 2 heads.
        expected = Work(
            conv=conv,
            linear=time + captions + linear + 12 * 8 * 2,
            attention=2 * 12 * 6 * 15,
            matmul=2 * (5 * 12 * 4 + 5 * 4 * 12),
        )

        drawn = Drawn("SanaTransformer2DModel", config, "forward", captioned(1, 3, 4, 6, 2, 7))
        assert counted(drawn) == traced(drawn) == expected

    @pytest.mark.parametrize(
        ("pixels", "products"),
        [
            # 2 heads at 2 scales; more pixels than the 4 channels of a head: (5 x 6 x 4) twice, linear in the pixels;
            ((2, 3), 4 * 2 * (5 * 6 * 4)),
            # as many: scores of 4 x 4 pixels.
            ((2, 2), 4 * 2 * (4 * 4 * 4)),
        ],
    )
    def test_dc_ae(self, pixels, products):
        n = pixels[0] * pixels[1]
        ends = 9 * n * 4 * 8 + 9 * 4 * n * 8 * 3
        up_and_resnet = 9 * n * 8 * 32 + 2 * 9 * 4 * n * 8 * 8
        # 24 channels of q, k and v: 3 x 3 on each alone, then 1 x 1 in groups of 4; the MLP has 2 x 32 hidden ones.
        scale = n * 24 * (9 + 4)
        mlp = n * (8 * 64 + 9 * 64 + 32 * 8)
        expected = Work(conv=ends + up_and_resnet + scale + mlp, linear=n * (3 * 8 * 8 + 2 * 8 * 8), matmul=products)

        drawn = Drawn("AutoencoderDC", SMALL_DC, "decode", {"z": (1, 4, *pixels)})
        assert counted(drawn) == traced(drawn) == expected


ACTIVATIONS = st.sampled_from(["gelu", "gelu-approximate", "geglu", "geglu-approximate", "swiglu", "linear-silu"])


def _extent(draw: st.DrawFn, patch: int, sample: int) -> tuple[int, int]:
    """Any size, or the trained one, with a rest beside the patches or not."""
    rest = st.integers(0, patch - 1)
    if draw(st.booleans()):
        return sample // patch * patch + draw(rest), sample // patch * patch + draw(rest)
    sizes = st.integers(patch, 6 * patch)
    return draw(sizes), draw(sizes)


def _rows(draw: st.DrawFn, batch: int) -> tuple[int]:
    return (draw(st.sampled_from([1, batch])),)


@st.composite
def sd3_models(draw: st.DrawFn) -> Drawn:
    heads, head_dim, layers = draw(st.integers(1, 3)), 4 * draw(st.integers(1, 2)), draw(st.integers(1, 3))
    patch, batch = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    config = {
        "patch_size": patch,
        "in_channels": draw(st.integers(1, 4)),
        "out_channels": draw(st.none() | st.integers(1, 5)),
        "num_layers": layers,
        "num_attention_heads": heads,
        "attention_head_dim": head_dim,
        "caption_projection_dim": heads * head_dim,
        "joint_attention_dim": draw(st.integers(1, 9)),
        "pooled_projection_dim": draw(st.integers(1, 9)),
        "pos_embed_max_size": draw(st.integers(6, 9)),
        "dual_attention_layers": draw(st.lists(st.integers(0, layers))),
        "qk_norm": draw(st.sampled_from([None, "layer_norm", "fp32_layer_norm", "rms_norm"])),
    }
    inputs = sd3_inputs(batch, *_extent(draw, patch, 6 * patch), draw(st.integers(1, 9)), config)
    inputs["timestep"] = _rows(draw, batch)
    inputs["encoder_hidden_states"] = (*_rows(draw, batch), *inputs["encoder_hidden_states"][1:])  # it is broadcast
    return Drawn("SD3Transformer2DModel", config, "forward", inputs)


@st.composite
def pixart_models(draw: st.DrawFn) -> Drawn:
    added, sample = draw(st.sampled_from([(None, 128), (None, 12), (True, 12), (False, 128), (False, 12)]))
    adds = sample == 128 if added is None else added
    heads, patch, batch = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    head_dim = 12 if adds else 4 * draw(st.integers(1, 3))
    captions = draw(st.none() | st.integers(1, 9))
    attended = heads * head_dim if captions else draw(st.integers(1, 9))
    config = {
        "num_attention_heads": heads,
        "attention_head_dim": head_dim,
        "in_channels": draw(st.integers(1, 4)),
        "out_channels": draw(st.none() | st.integers(1, 5)),
        "num_layers": draw(st.integers(0, 3)),
        "cross_attention_dim": draw(st.sampled_from([attended, attended, None])),
        "sample_size": sample,
        "patch_size": patch,
        "activation_fn": draw(ACTIVATIONS),
        "interpolation_scale": draw(st.sampled_from([None, 2])),
        "use_additional_conditions": added,
        "caption_channels": captions,
    }
    extent = _extent(draw, patch, sample)
    text, width = draw(st.integers(1, 9)), captions or attended
    inputs = captioned(batch, *extent, text, config["in_channels"], width)
    if adds:
        inputs |= conditions(batch) | {"timestep": _rows(draw, batch)}
    elif draw(st.booleans()):
        inputs |= conditions(batch)
    if draw(st.booleans()):
        inputs["encoder_attention_mask"] = (batch, text)
    return Drawn("PixArtTransformer2DModel", config, "forward", inputs)


@st.composite
def dit_models(draw: st.DrawFn) -> Drawn:
    heads, head_dim = draw(st.integers(1, 3)), 4 * draw(st.integers(1, 3))
    patch, batch, sample = draw(st.integers(1, 3)), draw(st.integers(1, 3)), 12
    config = {
        "num_attention_heads": heads,
        "attention_head_dim": head_dim,
        "in_channels": draw(st.integers(1, 4)),
        "out_channels": draw(st.none() | st.integers(1, 5)),
        "num_layers": draw(st.integers(1, 3)),
        "sample_size": sample,
        "patch_size": patch,
        "activation_fn": draw(ACTIVATIONS),
        "norm_type": "ada_norm_zero",
        "num_embeds_ada_norm": 10,
    }
    grids = [(n, n) for n in range(1, 7)] + [(1, 2), (1, 3), (4, 1), (2, 4), (2, 8), (sample // patch,) * 2]
    rows, columns = draw(st.sampled_from(grids))
    rest = st.integers(0, patch - 1)
    inputs = labelled(batch, rows * patch + draw(rest), columns * patch + draw(rest), config["in_channels"])
    name = draw(st.sampled_from(["DiTTransformer2DModel", "Transformer2DModel"]))
    return Drawn(name, config, "forward", inputs | {"timestep": _rows(draw, batch)})


@st.composite
def sana_models(draw: st.DrawFn) -> Drawn:
    heads, head_dim, sample = draw(st.integers(1, 3)), 4 * draw(st.integers(1, 2)), draw(st.integers(3, 5))
    patch, batch, guided = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.booleans())
    config = {
        "in_channels": draw(st.integers(1, 4)),
        "out_channels": draw(st.none() | st.integers(1, 5)),
        "num_attention_heads": heads,
        "attention_head_dim": head_dim,
        "num_layers": draw(st.integers(0, 3)),
        "num_cross_attention_heads": draw(st.integers(1, 3)),
        "cross_attention_head_dim": draw(st.integers(1, 6)),
        "cross_attention_dim": heads * head_dim,
        "caption_channels": draw(st.integers(1, 9)),
        "mlp_ratio": draw(st.sampled_from([1, 2.5, 2.7])),
        "sample_size": sample,
        "patch_size": patch,
        "interpolation_scale": draw(st.sampled_from([None, 1, 2])),
        "guidance_embeds": guided,
        "qk_norm": draw(st.sampled_from([None, "rms_norm_across_heads", "layer_norm_across_heads", "l2"])),
    }
    extent, text = _extent(draw, patch, sample), draw(st.integers(1, 9))
    inputs = captioned(batch, *extent, text, config["in_channels"], config["caption_channels"])
    if guided:
        inputs["guidance"] = _rows(draw, batch)
    return Drawn("SanaTransformer2DModel", config, "forward", inputs)


def _dc_part(draw: st.DrawFn, part: str, levels: int) -> dict[str, Any]:
    kinds = st.sampled_from(["ResBlock", "EfficientViTBlock"])
    each = {"min_size": levels, "max_size": levels}
    layers = draw(st.lists(st.integers(1, 2), **each))
    if levels > 1 and draw(st.booleans()):
        layers[0] = 0
    scales = st.sampled_from([[], [3], [5], [1, 3]])
    return {
        f"{part}_block_types": draw(st.one_of(kinds, st.lists(kinds, **each))),
        f"{part}_block_out_channels": draw(st.lists(st.sampled_from([8, 16, 32]), **each)),
        f"{part}_layers_per_block": layers,
        f"{part}_qkv_multiscales": draw(st.lists(scales, **each)),
    }


@st.composite
def dc_models(draw: st.DrawFn) -> Drawn:
    levels = draw(st.integers(1, 3))
    config = {
        **_dc_part(draw, "encoder", levels),
        **_dc_part(draw, "decoder", levels),
        "in_channels": draw(st.integers(1, 4)),
        "latent_channels": draw(st.sampled_from([1, 2, 8])),
        "attention_head_dim": draw(st.sampled_from([3, 4, 8])),
        "downsample_block_type": draw(st.sampled_from(["pixel_unshuffle", "Conv"])),
        "upsample_block_type": draw(st.sampled_from(["pixel_shuffle", "interpolate"])),
        "decoder_norm_types": draw(st.sampled_from(["rms_norm", "batch_norm"])),
        "encoder_out_shortcut": draw(st.booleans()),
        "decoder_in_shortcut": draw(st.booleans()),
    }
    entry = draw(st.sampled_from(["encode", "decode", "forward"]))
    small = st.integers(1, 4)
    if entry == "decode":
        return Drawn(
            "AutoencoderDC", config, entry, {"z": (draw(small), config["latent_channels"], *draw(pairs(small)))}
        )
    height, width = (size * 2 ** (levels - 1) for size in draw(pairs(small)))
    if config["downsample_block_type"] == "Conv" and config["encoder_layers_per_block"][0] == 0:
        height -= draw(st.integers(0, 1))  # the one convolution that takes odd sizes: no shortcut beside it
    name = "x" if entry == "encode" else "sample"
    return Drawn("AutoencoderDC", config, entry, {name: (draw(small), config["in_channels"], height, width)})


def pairs(values: st.SearchStrategy[int]) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(values, values)


class TestRandomModels:
    """The closed form from the config alone; the trace, op by op, from the real class."""

    @drawn_models
    @given(sd3_models())
    def test_sd3(self, drawn):
        assert counted(drawn) == traced(drawn)

    @drawn_models
    @given(pixart_models())
    def test_pixart(self, drawn):
        assert counted(drawn) == traced(drawn)

    @drawn_models
    @given(dit_models())
    def test_dit(self, drawn):
        assert counted(drawn) == traced(drawn)

    @drawn_models
    @given(sana_models())
    def test_sana(self, drawn):
        assert counted(drawn) == traced(drawn)

    @drawn_models
    @given(dc_models())
    def test_dc_ae(self, drawn):
        assert counted(drawn) == traced(drawn)


class TestSymbols:
    """Exact at every size that the model takes, a rest beside the patches, the trained size and one patch included."""

    batch, h, w, text = sympy.symbols("batch h w text", integer=True, positive=True)

    @pytest.mark.parametrize(
        ("form", "config", "inputs", "sizes"),
        [
            pytest.param(sd3.forward, SD35, sd3_inputs, [(1, 128, 128, 333), (2, 65, 3, 77)], id="sd3"),
            pytest.param(
                pixart.forward,
                PIXART,
                lambda b, h, w, t: captioned(b, h, w, t, 4, 4096) | conditions(b),
                [(1, 128, 128, 120), (2, 129, 128, 1), (1, 3, 2, 5), (3, 100, 101, 300)],
                id="pixart",
            ),
            pytest.param(
                sana.forward,
                SANA | {"interpolation_scale": 1, "patch_size": 2},
                lambda b, h, w, t: captioned(b, h, w, t, 32, 2304),
                [(1, 32, 32, 300), (2, 33, 33, 3), (1, 2, 3, 1), (4, 7, 40, 2)],
                id="sana",
            ),
        ],
    )
    def test_with_text(self, form, config, inputs, sizes):
        self.assert_substitutes(form, config, inputs, (self.batch, self.h, self.w, self.text), sizes)

    def test_dit(self):
        sizes = [(1, 32, 32), (2, 33, 32), (1, 64, 64), (2, 2, 3), (1, 4, 16)]
        self.assert_substitutes(dit.legacy, DIT, labelled, (self.batch, self.h, self.w), sizes)

    @pytest.mark.parametrize(
        ("form", "name", "channels", "sizes"),
        [
            (dc.decode, "z", 32, [(1, 32, 32), (2, 5, 6), (1, 1, 1), (1, 4, 8), (1, 3, 11)]),
            (dc.encode, "x", 3, [(1, 1024, 1024), (2, 64, 32), (1, 160, 192)]),
            (dc.forward, "sample", 3, [(1, 1024, 1024), (2, 64, 32)]),
        ],
    )
    def test_dc_ae(self, form, name, channels, sizes):
        def inputs(batch, height, width):
            return {name: (batch, channels, height, width)}

        self.assert_substitutes(form, DCAE, inputs, (self.batch, self.h, self.w), sizes)

    def test_a_rest_beside_the_patches_is_dropped(self):
        assert sd3.forward(SD35, sd3_inputs(1, 65, 65)) == sd3.forward(SD35, sd3_inputs(1, 64, 64))

    @staticmethod
    def assert_substitutes(form, config, inputs, symbols, sizes):
        formula = form(config, inputs(*symbols))
        assert formula.total.free_symbols == set(symbols)
        for values in sizes:
            work = form(config, inputs(*values))
            assert all(isinstance(macs, int) for macs in astuple(work))
            chosen = dict(zip(symbols, values, strict=True))
            assert [sympy.sympify(macs).subs(chosen) for macs in astuple(formula)] == list(astuple(work))


@pytest.mark.parametrize(
    ("class_name", "defaults"),
    [
        ("SD3Transformer2DModel", sd3.DEFAULTS),
        ("PixArtTransformer2DModel", pixart.DEFAULTS),
        ("DiTTransformer2DModel", dit.DEFAULTS),
        ("Transformer2DModel", dit.LEGACY_DEFAULTS),
        ("SanaTransformer2DModel", sana.DEFAULTS),
        ("AutoencoderDC", dc.DEFAULTS),
    ],
)
def test_defaults_are_the_library_s(class_name, defaults):
    parameters = inspect.signature(getattr(diffusers, class_name)).parameters

    assert defaults == {name: parameters[name].default for name in defaults}


#: What torch and diffusers raise where shapes or options do not fit.
RAISED = (
    RuntimeError,
    ZeroDivisionError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    NotImplementedError,
    AssertionError,
)
SD3_SMALL = {
    "num_attention_heads": 1,
    "attention_head_dim": 8,
    "caption_projection_dim": 8,
    "num_layers": 1,
    "joint_attention_dim": 6,
    "pooled_projection_dim": 6,
    "pos_embed_max_size": 4,
}
PIXART_SMALL = {"num_attention_heads": 1, "attention_head_dim": 12, "num_layers": 1, "cross_attention_dim": 12}
DIT_SMALL = {"num_attention_heads": 1, "attention_head_dim": 8, "num_layers": 1, "num_embeds_ada_norm": 4}
SANA_SMALL = {"num_attention_heads": 1, "attention_head_dim": 8, "num_layers": 1, "cross_attention_dim": 8}


def refused():
    """Models that refuse a call, or can't be built, and what the closed form names."""
    inputs = sd3_inputs(2, 6, 6, 3, {"in_channels": 16, "joint_attention_dim": 6, "pooled_projection_dim": 6})
    for option, value, named in [
        ("caption_projection_dim", 12, "caption_projection_dim is 12, not 8"),
        ("attention_head_dim", 6, "caption_projection_dim is 8, not 6"),
        ("qk_norm", "l2", "qk_norm"),
        ("in_channels", 4, "channels of hidden_states"),
        ("patch_size", 7, "patches"),
    ]:
        yield "SD3Transformer2DModel", SD3_SMALL | {option: value}, "forward", inputs, named
    for name, shape, named in [
        ("hidden_states", (2, 16, 10, 6), "pos_embed_max_size=4"),
        ("encoder_hidden_states", (3, 3, 6), "batch of encoder_hidden_states"),
        ("encoder_hidden_states", (2, 3, 5), "width of encoder_hidden_states"),
        ("pooled_projections", (2, 5), "width of pooled_projections"),
        ("timestep", (3,), "batch of timestep"),
        ("timestep", (), "timestep"),
    ]:
        yield "SD3Transformer2DModel", SD3_SMALL, "forward", inputs | {name: shape}, named
    plain = captioned(2, 6, 6, 3, 4, 12)
    added = plain | conditions(2)
    for config, given_, named in [
        ({}, plain, "resolution"),
        ({"attention_head_dim": 16, "cross_attention_dim": 12}, added, "width of the embeddings"),
        ({"sample_size": 64}, plain | {"timestep": (1,)}, "batch of timestep"),
        ({"cross_attention_dim": 11}, added, "width of the captions"),
        ({"caption_channels": 11}, added, "width of encoder_hidden_states"),
        ({"norm_type": "ada_norm_zero"}, added, "norm_type"),
        ({"sample_size": 1}, plain, "grid of 0"),
        ({"attention_head_dim": 6, "num_attention_heads": 3, "cross_attention_dim": 12}, added, "multiple of 4"),
    ]:
        yield "PixArtTransformer2DModel", PIXART_SMALL | config, "forward", given_, named
    for config, given_, named in [
        ({}, labelled(1, 4, 10), "rest of 1 x 10 patches"),
        ({}, labelled(2, 4, 4) | {"timestep": (3,)}, "batch of timestep"),
        ({}, {"hidden_states": (2, 4, 4, 4), "timestep": (2,)}, "class_labels"),
        ({"num_layers": 0}, labelled(1, 4, 4), "num_layers"),
        ({"norm_type": "ada_norm_single"}, labelled(1, 4, 4), "norm_type"),
        ({"patch_size": 5}, labelled(1, 4, 4), "patches"),
        ({"attention_head_dim": 6}, labelled(1, 4, 4), "multiple of 4"),
    ]:
        yield "DiTTransformer2DModel", DIT_SMALL | config, "forward", given_, named
    plain = captioned(2, 6, 6, 3, 32, 2304)
    for config, given_, named in [
        ({"guidance_embeds": True}, plain, "guidance"),
        ({}, plain | {"guidance": (2,)}, "guidance"),
        ({"cross_attention_dim": None}, plain, "cross_attention_dim"),
        ({"cross_attention_dim": 9}, plain, "cross_attention_dim"),
        ({"num_attention_heads": 2, "cross_attention_dim": 16, "qk_norm": "rms_norm"}, plain, "qk_norm"),
        ({}, plain | {"timestep": (1,)}, "batch of timestep"),
    ]:
        yield "SanaTransformer2DModel", SANA_SMALL | config, "forward", given_, named
    for config, entry, shape, named in [
        ({}, "encode", (1, 3, 5, 4), "size 5"),
        ({}, "decode", (1, 3, 4, 4), "channels of z"),
        ({"encoder_block_out_channels": [8, 12], "latent_channels": 12}, "encode", (1, 3, 4, 4), "32 channels over 12"),
        ({"latent_channels": 3}, "encode", (1, 3, 4, 4), "8 channels over 3"),
        ({"latent_channels": 3}, "decode", (1, 3, 4, 4), "8 channels over 3"),
        ({"decoder_qkv_multiscales": [[], [2]]}, "decode", (1, 4, 4, 4), "kernels"),
        ({"attention_head_dim": 9}, "decode", (1, 4, 4, 4), "heads of 9"),
        ({"decoder_block_types": "DownBlock"}, "decode", (1, 4, 4, 4), "DownBlock"),
        ({"decoder_block_types": ["ResBlock"]}, "decode", (1, 4, 4, 4), "decoder_block_types"),
        ({"encoder_layers_per_block": [0, 1], "encoder_block_out_channels": [8, 6]}, "encode", (1, 3, 4, 4), "over 4"),
    ]:
        yield "AutoencoderDC", SMALL_DC | config, entry, {"z" if entry == "decode" else "x": shape}, named


class TestRefusals:
    @pytest.mark.parametrize(("class_name", "config", "entry", "inputs", "named"), list(refused()))
    def test_where_the_model_itself_raises(self, class_name, config, entry, inputs, named):
        drawn = Drawn(class_name, config, entry, inputs)

        with pytest.raises(NoClosedForm, match=named):
            counted(drawn)
        with pytest.raises(RAISED):
            traced(drawn)

    @pytest.mark.parametrize(
        ("form", "config", "inputs", "named"),
        [
            (sd3.forward, SD35, sd3_inputs(1, 64, 64) | {"joint_attention_kwargs.ip": (1, 4, 8)}, "ip"),
            (sd3.forward, SD35 | {"pos_embed_max_size": None}, sd3_inputs(1, 64, 64), "pos_embed_max_size"),
            (pixart.forward, PIXART | {"attention_type": "gated"}, captioned(1, 64, 64, 1, 4, 4096), "attention_type"),
            (dit.forward, DIT, labelled(1, 32, 32) | {"encoder_hidden_states": (1, 1, 1)}, "encoder_hidden_states"),
            (dit.legacy, DIT | {"norm_type": "layer_norm"}, labelled(1, 32, 32), "norm_type"),
            (dit.legacy, {"patch_size": 2}, labelled(1, 32, 32), "norm_type='layer_norm'"),
            (dit.legacy, DIT | {"cross_attention_dim": 8}, labelled(1, 32, 32), "cross_attention_dim"),
            (dit.legacy, DIT | {"patch_size": None}, labelled(1, 32, 32), "patch_size"),
            (dit.legacy, PIXART | {"double_self_attention": True}, captioned(1, 64, 64, 1, 4, 4096), "double_self"),
            (dc.decode, DCAE | {"decoder_layers_per_block": [3, 3, 0, 3, 3, 3]}, {"z": (1, 32, 4, 4)}, "layers"),
            (dc.decode, DCAE | {"decoder_norm_types": "layer_norm"}, {"z": (1, 32, 4, 4)}, "decoder_norm_types"),
            (dc.encode, DCAE, {"z": (1, 3, 32, 32)}, "input 'z'"),
        ],
    )
    def test_what_is_not_covered(self, form, config, inputs, named):
        with pytest.raises(NoClosedForm, match=named):
            form(config, inputs)
