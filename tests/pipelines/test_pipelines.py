"""Whole pipelines: the published totals, real calls, every counter explained."""

import pytest
import torch
from installed import COUNTING, attention_as_products, needs
from places import REPORTS
from scripts import measure_releases

import crosscheck
from crosscheck import ledger, reconcile
from crosscheck.backends import registry
from crosscheck.errors import UncountedError, UsageError
from crosscheck.ledger import environment
from crosscheck.models import build
from crosscheck.records import Counted
from crosscheck.report import verdict

pytestmark = pytest.mark.releases

# SD 2.1-base at 512x512, by tests/standalone_sd21.py; the UNet by op as the CPU's kernels log it (tests/witnesses).
# Decoder: 1,257,259,401,216 and post_quant_conv's 4 x 4 x 64 x 64. Text: 23 layers of 1,024.
UNET = {"conv": 209_180_426_240, "linear": 129_922_170_880, "attention": 63_026_135_040, "matmul": 0}
UNET_MACS, DECODER_MACS, TEXT_MACS = 402_128_732_160, 1_257_259_401_216 + 4 * 4 * 64 * 64, 22_563_616_768


@pytest.fixture(scope="module")
def runs():
    """Each catalogue model once, under the eight core backends."""
    return {name: crosscheck.check_pipeline(name) for name in ("sd15", "sd21-base", "sd21", "sdxl-base")}


def test_sd21_base_is_counted_as_published(runs):
    run = runs["sd21-base"]

    recommended = {c.name: c.recommended for c in run.components}
    assert {name: total.status for name, total in recommended.items()} == dict.fromkeys(recommended, "confirmed")
    assert recommended["unet"].by_op == UNET
    assert recommended["unet"].macs == sum(UNET.values()) == UNET_MACS
    assert recommended["vae_decoder"].macs == DECODER_MACS
    assert recommended["text_encoder"].macs == TEXT_MACS
    assert run.component("unet").params == 865_910_724
    assert (run.workload.height, run.workload.width, run.workload.steps) == (512, 512, 30)
    assert (run.workload.guidance_scale, run.workload.scheduler) == (7.5, "PNDMScheduler")
    assert [(s.name, s.shape, s.dtype) for s in run.component("unet").inputs] == [
        ("sample", (1, 4, 64, 64), "float32"),
        ("timestep", (), "int64"),
        ("encoder_hidden_states", (1, 77, 1024), "float32"),
    ]


def test_a_generation_is_what_the_pipeline_calls(runs):
    generation = runs["sd21-base"].generation

    # PNDM repeats a step: 31 UNet calls for 30 steps, at batch 2 for guidance; the prompt and the empty one are encoded
    assert {c.name: (c.calls, c.batch_size, c.macs) for c in generation.components} == {
        "text_encoder": (2, 1, 2 * TEXT_MACS),
        "unet": (31, 2, 31 * 2 * UNET_MACS),
        "vae_decoder": (1, 1, DECODER_MACS),
    }
    assert generation.recommended.status == "confirmed"
    assert generation.recommended.macs == 26_234_368_094_208 == 31 * 2 * UNET_MACS + 2 * TEXT_MACS + DECODER_MACS
    assert generation.recommended.flops == 2 * 26_234_368_094_208
    assert generation.outside_macs == 0


@pytest.mark.parametrize("model", ["sd15", "sd21-base", "sd21", "sdxl-base"])
def test_every_backend_is_counted_and_explained(runs, model):
    for component in runs[model].components:
        assert component.recommended.status == "confirmed", component.recommended.reason
        assert list(component.backends) == list(registry.CORE)
        for name in COUNTING:
            outcome = component[name]
            assert isinstance(outcome, Counted), (component.name, name, outcome)
            assert outcome.residual == 0, (component.name, name, outcome)


@needs("transformers>=4.43", "plain layers, and attention by scaled_dot_product_attention, as thop's users have them")
def test_other_published_totals(runs):
    # BK-SDM repository, issue 53 (SD 1.4, thop 0.1.1): 338,749,194,240; 1,240,079,532,032; 6,545,882,112.
    # Its decoder was measured alone: post_quant_conv's 65,536 are ours.
    sd15 = runs["sd15"]
    assert sd15.component("unet")["thop-plain"].macs == 338_749_194_240
    assert sd15.component("vae_decoder")["thop-plain"].macs == 1_240_079_532_032 + 65_536
    assert sd15.component("text_encoder")["thop-plain"].macs == 6_545_882_112
    # measured over torch 2.0 to 2.15: thop with the patch 3381.87649024 G, torch's counter 3380.61819904 G
    sdxl = runs["sdxl-base"]
    assert sdxl.component("unet").recommended.macs == 3_380_618_199_040
    assert sdxl.component("unet")["thop"].macs == 3_381_876_490_240
    assert [c.name for c in sdxl.components] == ["text_encoder", "text_encoder_2", "unet", "vae_decoder"]
    assert {s.name for s in sdxl.component("unet").inputs} >= {
        "added_cond_kwargs.text_embeds",
        "added_cond_kwargs.time_ids",
    }


def test_the_safety_checker_is_counted_apart(runs):
    run = runs["sd15"]
    checker = run.component("safety_checker")

    # its two written-out products, 3 and 17 concepts of 768; 24 layers of attention over 257 tokens of 1,024
    products = (3 + 17) * 768 + 24 * 2 * 257 * 257 * 1024
    assert checker.recommended.by_op["matmul"] + checker.recommended.by_op["attention"] == products
    assert "answered with zeros" in checker.notes[0]
    without = run.generation.recommended.macs - next(
        c.macs for c in run.generation.components if c.name == "safety_checker"
    )
    assert f"{without:,}" in run.to_markdown()


def test_the_reconciliation_made_again_is_the_same(runs):
    for run in runs.values():
        reconciled, changed = reconcile.reconcile_again(run)
        assert reconciled == run
        assert changed == ()


def test_a_ledger_holds_its_census_in_less_than_a_megabyte(runs):
    for run in runs.values():
        assert len(run.to_json()) < 1_000_000


def test_attention_seen_by_the_observer_is_the_attention_that_ran(runs):
    for run in runs.values():
        for component in run.components:
            ran = sum(row.macs for row in component.census.ops if row.op == "attention")
            assert ran == sum(row.macs for row in component.census.attention)


# -- smaller runs: the references alone --------------------------------------------------------------------------------


def calls(model="sd21-base", **call):
    run = crosscheck.check_pipeline(model, backends=(), **call)
    return {c.name: (c.calls, c.batch_size) for c in run.generation.components}, run


@pytest.mark.parametrize(
    ("call", "unet"),
    [
        # Heun evaluates twice a step, but for the last: 2 x 30 - 1
        ({"scheduler": "HeunDiscreteScheduler"}, (59, 2)),
        ({"scheduler": "DDIMScheduler"}, (30, 2)),
        ({"scheduler": "DPMSolverMultistepScheduler"}, (30, 2)),
        ({"guidance_scale": 1.0}, (31, 1)),
        ({"num_inference_steps": 5}, (6, 2)),
        ({"num_inference_steps": 5, "batch_size": 3}, (6, 6)),
        ({"num_inference_steps": 5, "num_images_per_prompt": 2}, (6, 4)),
        ({"num_inference_steps": 5, "negative_prompt": "no"}, (6, 2)),
    ],
)
def test_schedulers_guidance_and_batches(call, unet):
    found, run = calls(**call)
    assert found["unet"] == unet
    assert run.generation.recommended.status == "confirmed"
    assert run.component("unet").recommended.macs == UNET_MACS
    assert run.component("unet").inputs[0].shape == (1, 4, 64, 64)


def test_guidance_off_encodes_one_prompt():
    found, _ = calls(guidance_scale=1.0, num_inference_steps=1)
    assert found["text_encoder"] == (1, 1)


def test_an_odd_latent_is_confirmed():
    _, run = calls(height=520, width=456, num_inference_steps=1)  # latents of 65 x 57: strides round
    assert run.component("unet").inputs[0].shape == (1, 4, 65, 57)
    assert run.generation.recommended.status == "confirmed"


TINY = {
    "unet": {
        "block_out_channels": [32, 64],
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
        "layers_per_block": 1,
        "cross_attention_dim": 32,
        "attention_head_dim": 8,
        "sample_size": 8,
    },
    "vae": {
        "block_out_channels": [32, 64],
        "down_block_types": ["DownEncoderBlock2D"] * 2,
        "up_block_types": ["UpDecoderBlock2D"] * 2,
        "latent_channels": 4,
    },
    "text_encoder": {
        "hidden_size": 32,
        "intermediate_size": 37,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "vocab_size": 1000,
    },
}


def tiny_pipe():
    """A user's own pipeline: real random weights on the CPU."""
    from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    _, shipped, _ = build.load("sd21-base")
    torch.manual_seed(0)
    return StableDiffusionPipeline(
        unet=UNet2DConditionModel(**TINY["unet"]),
        vae=AutoencoderKL(**TINY["vae"]),
        text_encoder=CLIPTextModel(CLIPTextConfig(**TINY["text_encoder"])),
        tokenizer=shipped.tokenizer,
        scheduler=shipped.scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def snapshot(pipe):
    parts = {name: part for name, part in pipe.components.items() if isinstance(part, torch.nn.Module)}
    return {
        "attributes": dict(vars(pipe)),
        "scheduler": dict(vars(pipe.scheduler)),
        "config": dict(pipe.config),
        "tensors": {
            (n, k): (id(t), t.device, t._version)
            for n, p in parts.items()
            for k, t in p.state_dict(keep_vars=True).items()
        },
        "modules": {(n, k): sorted(vars(m)) for n, p in parts.items() for k, m in p.named_modules()},
        "rng": torch.get_rng_state().tolist(),
        "device": type(pipe).device,
        "call": torch.nn.Module.__call__,
    }


@pytest.mark.parametrize("fails", [False, True])
def test_a_users_pipe_with_real_weights_is_counted_hollow_and_left_as_it_was(fails):
    pipe = tiny_pipe()
    before = snapshot(pipe)
    call = {"scheduler": "HeunDiscreteScheduler", "num_inference_steps": 3}

    if fails:
        with pytest.raises(UsageError):
            calls(pipe, height=13, **call)
    else:
        found, run = calls(pipe, **call)
        assert found == {"text_encoder": (2, 1), "unet": (5, 2), "vae_decoder": (1, 1)}  # 2 x 3 - 1
        assert run.model == "StableDiffusionPipeline"
        assert run.workload.scheduler == "HeunDiscreteScheduler"
        assert run.generation.recommended.status == "confirmed"

    assert snapshot(pipe) == before


def test_prompts_may_be_given_as_embeddings():
    embeds = torch.zeros(1, 7, 32)

    found, run = calls(tiny_pipe(), num_inference_steps=3, prompt_embeds=embeds, negative_prompt_embeds=embeds)

    assert found == {"unet": (4, 2), "vae_decoder": (1, 1)}
    assert run.component("unet").inputs[2].shape == (1, 7, 32)


@needs("torch>=2.1", "torch's own counter")
def test_a_users_pipe_is_counted_as_it_really_runs():
    """Torch's own counter over a real call on the CPU, attention as products, against the hollow one."""
    from torch.utils.flop_counter import FlopCounterMode

    pipe = tiny_pipe()
    pipe.set_progress_bar_config(disable=True)
    _, run = calls(pipe, num_inference_steps=2)
    with attention_as_products(), FlopCounterMode(display=False) as counter:
        pipe("a photograph", num_inference_steps=2, guidance_scale=7.5, height=16, width=16)

    assert run.workload.height == 16
    assert run.generation.recommended.macs == counter.get_total_flops() // 2


def test_a_changed_module_is_not_what_its_config_says():
    """With closed form and trace unequal nothing is recommended."""
    pipe = tiny_pipe()
    pipe.unet.conv_out = torch.nn.Sequential(pipe.unet.conv_out, torch.nn.Conv2d(4, 4, 1))

    _, run = calls(pipe, num_inference_steps=1)

    # the added convolution: 4 x 4 channels on 8 x 8
    assert run.component("unet").recommended.status == "unequal"
    assert run.component("unet").recommended.macs is None
    assert run.component("unet")["aten"].residual == 4 * 4 * 8 * 8
    assert run.generation.recommended.macs is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"height": 515}, "StableDiffusionPipeline rejects this call: ."),
        ({"height": 0}, "height: got 0; allowed: a whole number from 1 to 8,192"),
        ({"width": -8}, "width: got -8"),
        ({"height": 10**9}, "height: got 1000000000"),
        ({"num_inference_steps": 0}, "steps: got 0"),
        ({"batch_size": 0}, "batch size: got 0"),
        ({"batch_size": 1_024, "height": 4_096, "width": 4_096}, "got 17,179,869,184 pixels; allowed: up to"),
        (
            {"scheduler": "HeunDiscreteSchedule"},
            "unknown scheduler 'HeunDiscreteSchedule'; did you mean 'HeunDiscreteS",
        ),
        ({"scheduler": "os.system"}, "unknown scheduler 'os.system'"),
        ({"negative_promt": "no"}, "StableDiffusionPipeline takes no 'negative_promt'; did you mean 'negative_prompt'"),
    ],
)
def test_what_the_pipeline_or_we_reject(call, message):
    with pytest.raises(UsageError, match=message):
        crosscheck.check_pipeline("sd21-base", backends=(), **call)


@pytest.mark.parametrize(
    ("model", "call", "message"),
    [
        ("dit-xl-2-256", {"height": 512}, "DiTPipeline takes no height; got 512"),
        ("dit-xl-2-256", {"num_frames": 8}, "DiTPipeline takes no num_frames; got 8"),
        ("wan21-1.3b", {"num_frames": 0}, "frames: got 0; allowed: a whole number from 1"),
        ("flux1-dev", {"strength": 0.5}, "FluxPipeline takes no 'strength'"),
    ],
)
@needs("diffusers>=0.42", "the classes that the newest release has")
def test_what_other_pipelines_do_not_take(model, call, message):
    with pytest.raises(UsageError, match=message):
        crosscheck.check_pipeline(model, backends=(), **call)


def test_a_component_that_can_not_run_hollow_is_named():
    _, pipe, _ = build.load("sd21-base")
    pipe.unet.forward = lambda *args, **kwargs: [args[0] if args[0].sum() > 0 else None]

    with pytest.raises(UncountedError, match=r"unet \(UNet2DConditionModel\) can't be run hollow"):
        crosscheck.check_pipeline(pipe, backends=())


def test_an_operator_without_a_rule_leaves_its_component_uncounted():
    pipe = tiny_pipe()
    forward = pipe.text_encoder.forward
    pipe.text_encoder.forward = lambda *args, **kwargs: (torch.linalg.qr(torch.ones(4, 4)), forward(*args, **kwargs))[1]

    _, run = calls(pipe, num_inference_steps=1)

    recommended = run.component("text_encoder").recommended
    assert (recommended.status, recommended.macs) == ("uncounted", None)
    assert "linalg_qr" in recommended.reason
    assert run.component("unet").recommended.status == "confirmed"
    assert (run.generation.recommended.status, run.generation.recommended.macs) == ("uncounted", None)
    assert verdict.problems(run)


def test_a_list_of_prompts_is_a_batch():
    found, run = calls(tiny_pipe(), num_inference_steps=2, prompt=["a", "b", "c"])
    assert found["unet"] == (3, 6)
    assert run.workload.batch_size == 3


def test_products_outside_every_component_are_beside_the_total(monkeypatch):
    _, pipe, _ = build.load("sd21-base")
    scheduler = type(pipe.scheduler)
    original = scheduler.step

    def step(*args, **kwargs):
        torch.ones(3, 4) @ torch.ones(4, 5)
        return original(*args, **kwargs)

    monkeypatch.setattr(scheduler, "step", step)
    _, run = calls(pipe, num_inference_steps=2)

    assert run.generation.outside_macs == 3 * (3 * 4 * 5)  # three calls for two steps
    assert run.generation.recommended.macs == 3 * 2 * UNET_MACS + 2 * TEXT_MACS + DECODER_MACS


# -- the committed reports ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["sd15", "sd21-base", "sd21", "sdxl-base"])
@pytest.mark.parametrize(
    ("folder", "suffix"),
    [(REPORTS, ".json"), (REPORTS / "ledgers" / measure_releases.folder_name(environment()), ".json.gz")],
    ids=["own", "releases"],
)
def test_the_committed_ledgers_are_not_stale(runs, folder, suffix, model):
    fresh = runs[model]
    old = ledger.load(folder / f"{model}{suffix}") if folder.is_dir() else None
    if old is None or measure_releases.folder_name(old.environment) != measure_releases.folder_name(fresh.environment):
        pytest.skip("no ledger of the releases in use")
    alike = measure_releases.releases(fresh.environment) == measure_releases.releases(old.environment)
    assert measure_releases.timeless(fresh, census=alike) == measure_releases.timeless(old, census=alike), (
        f"run: crosscheck run {model}; see the README"
    )
