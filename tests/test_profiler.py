"""The component API gives the recommended numbers, by the names that its users know."""

import pytest
from scripts import standalone_sd21 as by_hand

from crosscheck.errors import UsageError
from crosscheck.profiler import create_profiler, get_model_manager

#: By a program that knows nothing of the package.
UNET, VAE, TEXT = by_hand.unet(), by_hand.vae_decoder(), by_hand.text_encoder()
#: PNDM makes 31 calls of 30 steps, at both guidance branches; two prompts, one decode.
GENERATION = 31 * 2 * UNET + 2 * TEXT + VAE


def test_the_program_by_hand_gives_the_numbers_of_the_readme():
    assert (UNET, VAE, TEXT) == (402_128_732_160, 1_257_259_466_752, 22_563_616_768)
    assert by_hand.generation() == GENERATION == 26_234_368_094_208


@pytest.fixture(scope="module")
def pipe():
    return get_model_manager().load_model("sd21-base")


def test_the_summary_is_the_recommended_numbers(pipe):
    lines = []
    profiler = create_profiler(enabled=True, show=lines.append)
    summary = profiler.summarize_macs(pipe=pipe, height=512, width=512, steps=30, prompt="a cat", guidance_scale=7.5)
    assert summary == {
        "UNet per-step (GMACs)": UNET / 1e9,
        "Text encoder once (GMACs)": TEXT / 1e9,
        "VAE decode once (GMACs)": VAE / 1e9,
        "Total 30 steps (GMACs)": GENERATION / 1e9,
    }
    assert lines == [
        "UNet per-step (GMACs): 402.129",
        "Text encoder once (GMACs): 22.564",
        "VAE decode once (GMACs): 1,257.259",
        "Total 30 steps (GMACs): 26,234.368",
        "UNet: 95.04 %",
        "Text encoder: 0.17 %",
        "VAE decoder: 4.79 %",
    ]


@pytest.mark.parametrize(
    ("model", "decoder", "named"),
    [
        ("kandinsky3", "movq_decoder", {"UNet", "Text encoder", "VAE decoder"}),
        ("sd15-controlnet", "vae_decoder", {"UNet", "Text encoder", "VAE decoder", "controlnet", "safety_checker"}),
    ],
)
def test_shares_are_of_all_that_runs(model, decoder, named):
    lines = []
    pipe = get_model_manager().load_model(model)
    summary = create_profiler(show=lines.append).summarize_macs(pipe, steps=30)
    run = create_profiler(show=None).profile_pipeline(pipe, steps=30)
    assert summary["VAE decode once (GMACs)"] == run.component(decoder).recommended.macs / 1e9 > 0
    shares = dict(line.removesuffix(" %").split(": ") for line in lines if line.endswith(" %"))
    assert shares.keys() == named
    assert sum(map(float, shares.values())) == pytest.approx(100, abs=0.03)  # each is rounded to two places


def test_a_counter_gives_its_own_rule(pipe):
    summary = create_profiler(counter="thop-query-only", show=None).summarize_macs(pipe, 512, 512, 30, "a cat", 7.5)
    # N x N for cross-attention and softmax: 402,128,732,160 + 59,468,513,280 + 956,989,440, and LayerNorm's 138,608,640
    assert summary["UNet per-step (GMACs)"] == 462_692_843_520 / 1e9
    parts = [summary[f"{name} (GMACs)"] for name in ("UNet per-step", "Text encoder once", "VAE decode once")]
    assert summary["Total 30 steps (GMACs)"] == pytest.approx(30 * parts[0] + parts[1] + parts[2], abs=1e-6)


def test_components_are_measured_by_themselves(pipe):
    profiler = create_profiler()
    assert profiler.measure_unet_macs(pipe, 512, 512) == UNET
    assert profiler.measure_vae_decode_macs(pipe, 512, 512) == VAE
    assert profiler.measure_text_encoder_macs(pipe) == TEXT
    assert profiler.profile_pipeline(pipe, 512, 512).generation.recommended.macs == GENERATION


def test_several_text_encoders_are_one_text_encoding():
    pipe = get_model_manager().load_model("flux1-schnell")
    summary = create_profiler(show=None).summarize_macs(pipe, steps=4)
    # CLIP ViT-L 6,649,251,840, T5-XXL on 256 tokens
    assert summary["Text encoder once (GMACs)"] > 6.649_251_840
    assert set(summary) == {
        "Transformer per-step (GMACs)",
        "Text encoder once (GMACs)",
        "VAE decode once (GMACs)",
        "Total 4 steps (GMACs)",
    }


def test_one_that_is_not_enabled_does_nothing():
    profiler = create_profiler(enabled=False)
    assert profiler.summarize_macs(pipe=None) == {}
    assert profiler.measure_unet_macs(None) == profiler.measure_vae_decode_macs(None) == 0
    assert profiler.measure_text_encoder_macs(None) == 0
    with pytest.raises(UsageError, match="not enabled"):
        profiler.profile_pipeline(None)
