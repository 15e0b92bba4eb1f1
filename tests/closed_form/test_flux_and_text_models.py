"""The closed forms of T5 and of FLUX against hands' arithmetic and the real classes."""

from __future__ import annotations

import json
from typing import Any

import pytest
import sympy
import torch
from closed_forms import T5
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from installed import needs

from crosscheck.backends.aten import Aten
from crosscheck.closed_form.forms import count
from crosscheck.closed_form.options import NoClosedForm
from crosscheck.closed_form.work import Work
from crosscheck.models import configs
from crosscheck.tracing.calling import case_of

pytestmark = needs("diffusers>=0.42", "the classes have the options that the closed forms were read off with")
drawn_models = settings(suppress_health_check=[HealthCheck.too_slow])


def t5_traced(class_name: str, config: dict[str, Any], shape: tuple[int, int]) -> tuple[Work, int]:
    """MACs of one call by the trace, and by torch's own counter in all."""
    import transformers

    cls = getattr(transformers, class_name)
    with torch.device("meta"):
        module = cls(cls.config_class(**config)).eval()
    return traced(module, {"input_ids": torch.zeros(shape, dtype=torch.long, device="meta")})


def flux_traced(config: dict[str, Any], inputs: dict[str, tuple[int, ...]]) -> tuple[Work, int]:
    from diffusers import FluxTransformer2DModel

    with torch.device("meta"):
        module = FluxTransformer2DModel(**config).eval()
    return traced(module, {name: torch.zeros(shape, device="meta") for name, shape in inputs.items()})


def traced(module: torch.nn.Module, given: dict[str, Any]) -> tuple[Work, int]:
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad():
        by_op = Aten().run(case_of(module, (), given)).by_op
        with FlopCounterMode(display=False) as counter:
            module(**given)
    return Work(**by_op), counter.get_total_flops() // 2


def flux_inputs(config: dict[str, Any], batch: int, image: int, text: int, axes: int = 3) -> dict[str, tuple[int, ...]]:
    return {
        "hidden_states": (batch, image, config["in_channels"]),
        "encoder_hidden_states": (batch, text, config["joint_attention_dim"]),
        "pooled_projections": (batch, config["pooled_projection_dim"]),
        "timestep": (batch,),
        "img_ids": (image, axes),
        "txt_ids": (text, axes),
        **({"guidance": (batch,)} if config.get("guidance_embeds") else {}),
    }


FLUX = {
    "in_channels": 4, "num_layers": 1, "num_single_layers": 1, "attention_head_dim": 8, "num_attention_heads": 1,
    "joint_attention_dim": 6, "pooled_projection_dim": 5, "axes_dims_rope": (2, 2, 4),
}  # fmt: skip


def test_t5_by_hand():
    # 2 x 7 tokens of 6; heads 2 of 4: q, k, v, o are 6 x 8; a gated MLP has three matrices of 6 x 5
    config = {"d_model": 6, "d_kv": 4, "num_heads": 2, "d_ff": 5, "num_layers": 1, "feed_forward_proj": "gated-gelu"}
    work = count("T5EncoderModel", config, "forward", {"input_ids": (2, 7)})
    assert work == Work(linear=4 * 14 * 6 * 8 + 3 * 14 * 6 * 5, attention=2 * 2 * 7 * 7 * (4 + 4))
    # not gated: two matrices
    ungated = count("T5EncoderModel", config | {"feed_forward_proj": "relu"}, "forward", {"input_ids": (2, 7)})
    assert work.linear - ungated.linear == 14 * 6 * 5


def test_flux_by_hand():
    # 2 image and 3 text tokens, width 8.
    # Conditions: 256 x 8 + 8 x 8 of the time, 5 x 8 + 8 x 8 of the pooled prompt. In: 2 x 4 x 8 and 3 x 6 x 8.
    # Joint block: 2 x 8 x 48 modulations, 5 tokens through q, k, v, out (8 x 8) and an MLP of 2 x (8 x 32).
    # Single block: 8 x 24, q, k, v, 8 x 32 up, (8 + 32) x 8 out. Out: 8 x 16 modulations, 2 tokens x 8 x 4.
    conditions = 256 * 8 + 8 * 8 + 5 * 8 + 8 * 8
    joint = 2 * 8 * 48 + 5 * 4 * 8 * 8 + 5 * 2 * 8 * 32
    single = 8 * 24 + 5 * 3 * 8 * 8 + 5 * 8 * 32 + 5 * 40 * 8
    linear = conditions + 2 * 4 * 8 + 3 * 6 * 8 + joint + single + 8 * 16 + 2 * 8 * 4
    # SDPA of 5 x 5 in each block; positions x frequencies of the one axis with more than one frequency
    expected = Work(linear=linear, attention=2 * 5 * 5 * (8 + 8), matmul=5 * 2)
    assert count("FluxTransformer2DModel", FLUX, "forward", flux_inputs(FLUX, 1, 2, 3)) == expected
    assert flux_traced(FLUX, flux_inputs(FLUX, 1, 2, 3))[0] == expected


@pytest.mark.parametrize(
    ("model", "component"),
    [("flux1-dev", "text_encoder_2"), ("kandinsky3", "text_encoder"), ("wan21-1.3b", "text_encoder"),
     ("auraflow", "text_encoder"), ("hunyuan-dit", "text_encoder_2")],
)  # fmt: skip
def test_published_t5s(model, component):
    part = next(c for c in configs.read(configs.CATALOGUE / model, model).components if c.name == component)
    ours = count(part.class_name, part.config, "forward", {"input_ids": (1, 77)})
    assert (ours, ours.total) == t5_traced(part.class_name, part.config, (1, 77))


@pytest.mark.parametrize("model", ["flux1-dev", "flux1-schnell"])
def test_published_fluxes(model):
    config = json.loads((configs.CATALOGUE / model / "transformer" / "config.json").read_text())
    inputs = flux_inputs(config, 1, 65 * 33, 512)
    ours = count("FluxTransformer2DModel", config, "forward", inputs)
    plain = {key: value for key, value in config.items() if not key.startswith("_")}
    # torch's counter has no formula for outer products, which are elementwise to it
    assert (ours, ours.total - ours.matmul) == flux_traced(plain, inputs)


@st.composite
def t5s(draw: st.DrawFn) -> tuple[str, dict[str, Any], tuple[int, int]]:
    config = {
        "d_model": draw(st.integers(1, 9)),
        "d_kv": draw(st.integers(1, 6)),
        "num_heads": draw(st.integers(1, 4)),
        "d_ff": draw(st.integers(1, 9)),
        "num_layers": draw(st.integers(1, 3)),
        "vocab_size": 20,
        "feed_forward_proj": draw(st.sampled_from(["relu", "gated-gelu", "gated-silu"])),
    }
    return draw(st.sampled_from(T5)), config, (draw(st.integers(1, 3)), draw(st.integers(1, 12)))


@st.composite
def fluxes(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, tuple[int, ...]]]:
    axes = draw(st.lists(st.integers(1, 4).map(lambda n: 2 * n), min_size=1, max_size=3))
    config = {
        "patch_size": draw(st.integers(1, 2)),
        "in_channels": draw(st.integers(1, 6)),
        "out_channels": draw(st.sampled_from([None, 3])),
        "num_layers": draw(st.integers(0, 2)),
        "num_single_layers": draw(st.integers(0, 2)),
        "attention_head_dim": sum(axes),
        "num_attention_heads": draw(st.integers(1, 3)),
        "joint_attention_dim": draw(st.integers(1, 8)),
        "pooled_projection_dim": draw(st.integers(1, 8)),
        "guidance_embeds": draw(st.booleans()),
        "axes_dims_rope": tuple(axes),
    }
    tokens = st.integers(1, 9)
    return config, flux_inputs(config, draw(st.integers(1, 3)), draw(tokens), draw(tokens), len(axes))


@drawn_models
@given(t5s())
def test_random_t5s(drawn):
    ours = count(drawn[0], drawn[1], "forward", {"input_ids": drawn[2]})
    assert (ours, ours.total) == t5_traced(*drawn)


@drawn_models
@given(fluxes())
def test_random_fluxes(drawn):
    ours = count("FluxTransformer2DModel", drawn[0], "forward", drawn[1])
    assert (ours, ours.total - ours.matmul) == flux_traced(*drawn)


def test_symbols_give_the_ints():
    batch, image, text = sympy.symbols("batch image text", integer=True, positive=True)
    formula = count("FluxTransformer2DModel", FLUX, "forward", flux_inputs(FLUX, batch, image, text))
    for sizes in ((1, 2, 3), (2, 9, 5)):
        ints = count("FluxTransformer2DModel", FLUX, "forward", flux_inputs(FLUX, *sizes))
        assert formula.total.subs(dict(zip((batch, image, text), sizes, strict=True))) == ints.total


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_states": (1, 2, 5)}, "the width of hidden_states is 5, not 4"),
        ({"guidance": (1,)}, "input 'guidance' is not covered"),
        ({"timestep": (2,)}, "the batch of timestep is 2, not 1"),
        ({"joint_attention_kwargs.ip_hidden_states": (1, 2, 3)}, "is not covered"),
    ],
)
def test_what_flux_refuses(changes, message):
    with pytest.raises(NoClosedForm, match=message):
        count("FluxTransformer2DModel", FLUX, "forward", flux_inputs(FLUX, 1, 2, 3) | changes)


def test_what_t5_refuses():
    with pytest.raises(NoClosedForm, match="feed_forward_proj='gated-x' is not covered"):
        count("T5EncoderModel", {"feed_forward_proj": "gated-x"}, "forward", {"input_ids": (1, 2)})
