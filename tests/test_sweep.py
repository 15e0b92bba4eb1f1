"""Sweeps: the closed form of a generation is the pipeline's own run; a failed point costs that point only."""

import json
import re
from pathlib import Path

import pytest
import tiny
from command import TORCH_AND_TOOLS, cli, refused

import crosscheck
from crosscheck import sweep
from crosscheck.closed_form.generation import GUIDANCE, Generation, evaluations
from crosscheck.closed_form.options import NoClosedForm
from crosscheck.errors import UsageError
from crosscheck.models import configs
from crosscheck.records import Workload
from crosscheck.report.pages import sweep as pages

#: By tests/standalone_sd21.py.
UNET, DECODER, TEXT = 402_128_732_160, 1_257_259_466_752, 22_563_616_768


def points(*models, **axes):
    return sweep.sweep(models, axes)


# -- the closed form of a generation -----------------------------------------------------------------------------------


def test_a_generation_by_hand():
    (point,) = points("sd21-base", num_inference_steps=[30], guidance_scale=[7.5])
    # PNDM's 31 calls at batch 2, two texts, one image
    assert point.macs == 31 * 2 * UNET + 2 * TEXT + DECODER == 26_234_368_094_208
    assert point.components == {"unet": 62 * UNET, "text_encoder": 2 * TEXT, "vae_decoder": DECODER}
    assert point.status == "closed form"


@pytest.mark.parametrize(
    ("model", "call"),
    [
        ("sd21-base", {"num_inference_steps": 3, "guidance_scale": 1.0, "height": 520, "width": 456}),
        ("sd21-base", {"num_inference_steps": 3, "scheduler": "HeunDiscreteScheduler", "batch_size": 2}),
        ("sd15", {"num_inference_steps": 2}),
        ("sdxl-base", {"num_inference_steps": 2, "height": 768, "width": 640}),
        ("lcm-sdxl", {}),
        ("sd3-medium", {"num_inference_steps": 2, "guidance_scale": 1.0}),
        ("sd3-medium", {"num_inference_steps": 2, "height": 512, "width": 768}),
        ("pixart-alpha", {"num_inference_steps": 2}),
        ("pixart-sigma", {"num_inference_steps": 2, "guidance_scale": 1.0}),
        ("dit-xl-2-256", {"num_inference_steps": 2}),
        ("flux1-schnell", {"height": 768, "width": 1024, "batch_size": 2}),
    ],
)
def test_it_is_what_the_pipeline_runs(model, call):
    axes = {name: [value] for name, value in call.items()}
    (point,) = points(model, **axes)
    run = crosscheck.check_pipeline(model, backends=(), **call).generation

    assert point.status == "closed form"
    assert point.components == {part.name: part.macs for part in run.components}
    assert {op: macs for op, macs in point.by_op.items() if macs} == {
        op: macs for op, macs in run.recommended.by_op.items() if macs
    }


def test_schedulers():
    assert evaluations("PNDMScheduler", {"skip_prk_steps": True}, 30) == 31
    assert evaluations("HeunDiscreteScheduler", {}, 30) == 59
    with pytest.raises(NoClosedForm, match="how often PNDMScheduler evaluates"):
        evaluations("PNDMScheduler", {}, 30)


def test_a_pipeline_without_one_is_named():
    with pytest.raises(NoClosedForm, match="what WanPipeline calls has no closed form"):
        Generation(configs.CATALOGUE / "wan21-1.3b", "wan21-1.3b")


def test_a_size_that_a_pipeline_chooses_itself_is_run():
    """PixArt makes 1024 x 1024 for 512 x 512, and resizes the image."""
    small, own = points("pixart-alpha", height=[512, 1024], num_inference_steps=[1])
    assert small.macs == own.macs
    with pytest.raises(NoClosedForm, match="which size PixArtAlphaPipeline takes"):
        Generation(configs.CATALOGUE / "pixart-alpha", "pixart-alpha").work(
            Workload(
                batch_size=1,
                steps=1,
                guidance_scale=1.0,
                scheduler="DPMSolverMultistepScheduler",
                height=512,
                width=512,
            )
        )


def test_defaults_are_the_pipeline_s():
    import inspect

    import diffusers

    for name, guidance in GUIDANCE.items():
        own = inspect.signature(getattr(diffusers, name).__call__).parameters["guidance_scale"].default
        assert own == guidance, name


# -- points ------------------------------------------------------------------------------------------------------------


def test_the_grid_is_every_combination_in_order():
    found = points("sd21-base", height=[512, 768], num_inference_steps=[2, 3])
    assert [(p.asked["height"], p.asked["width"], p.asked["num_inference_steps"]) for p in found] == [
        (512, 512, 2), (512, 512, 3), (768, 768, 2), (768, 768, 3)
    ]  # fmt: skip
    assert found[1].macs - found[0].macs == 2 * UNET


@pytest.mark.parametrize(
    ("model", "axes"),
    [
        ("sd21-base", {"guidance_scale": [float("nan")]}),
        ("sd21-base", {"height": [8200]}),
        ("sd21-base", {"num_inference_steps": [1000]}),
        ("flux1-dev", {"scheduler": ["EulerDiscreteScheduler"]}),
    ],
)
def test_what_a_run_refuses_has_no_number(model, axes):
    (point,) = points(model, **axes)
    assert point.macs is None
    assert point.error


def test_one_step_of_pndm_is_one_call():
    (one,) = points("sd21-base", num_inference_steps=[1])
    assert one.components["unet"] == 2 * UNET  # both branches


def test_a_failed_point_costs_that_point_only():
    good, bad, last = points("sd21-base", height=[512, 515, 768])
    assert good.macs
    assert last.macs
    assert (bad.macs, bad.error) == (None, "height: got 515; allowed: a multiple of 8 (StableDiffusionPipeline)")


def test_what_has_no_closed_form_is_traced(tmp_path):
    folder = tiny.folder(tmp_path / "tiny")
    tiny.edit(folder / "model_index.json", _class_name="StableDiffusionImg2ImgPipeline")

    good, bad = points(str(folder), height=[32], num_inference_steps=[4, 0])

    assert good.status == "confirmed"
    assert set(good.components) == {"text_encoder", "vae_encoder", "unet", "vae_decoder"}
    assert (bad.macs, bad.error) == (None, "steps: got 0; allowed: a whole number from 1 to 10,000")


def test_an_engine_that_joblib_does_not_know(tmp_path):
    folder = tiny.folder(tmp_path / "tiny")
    tiny.edit(folder / "model_index.json", _class_name="StableDiffusionImg2ImgPipeline")
    with pytest.raises(UsageError, match="engine 'nowhere'"):
        sweep.sweep([str(folder)], {"num_inference_steps": [2, 4]}, engine="nowhere")


def test_a_dask_cluster_is_an_engine(tmp_path):
    distributed = pytest.importorskip("distributed")
    folder = tiny.folder(tmp_path / "tiny")
    tiny.edit(folder / "model_index.json", _class_name="StableDiffusionImg2ImgPipeline")
    axes = {"num_inference_steps": [2, 4]}
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster),
    ):
        found = sweep.sweep([str(folder)], axes, engine="dask")
        assert cluster.scheduler.transition_counter > 0
    assert [p.macs for p in found] == [p.macs for p in sweep.sweep([str(folder)], axes, engine="threading", jobs=1)]


def test_too_many_points():
    with pytest.raises(UsageError, match="got 1,000,000 points; allowed: up to 100,000"):
        points("sd21-base", height=list(range(8, 8008, 8)), num_inference_steps=list(range(1, 1001)))


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def attention_and_rest(pixels):
    """Of a generation of Stable Diffusion 2.1-base: a latent of pixels / 8, side by side."""
    latent = (pixels // 8) ** 2
    # Five blocks 320 wide over all latents, five 640 wide over a quarter, five 1,280 wide over a sixteenth, one over a
    # 64th: scores and values of itself, and of 77 tokens of text. The decoder has one, 512 wide; the text encoder 23.
    blocks = ((5, 320, 1), (5, 640, 4), (5, 1280, 16), (1, 1280, 64))
    attention = sum(n * 2 * width * (latent // part) * (latent // part + 77) for n, width, part in blocks)
    text = 23 * 2 * 1024 * 77 * 77
    # The rest at 64 x 64 is published, and all of it grows as the pixels do, but for the time's embedding (two layers,
    # and one in each of the resnets, of 20,160 channels in all) and for keys and values of the text.
    fixed = 320 * 1280 + 1280 * 1280 + 1280 * 20_160
    fixed += sum(n * 2 * 77 * 1024 * width for n, width, _ in blocks)
    unet = fixed + (209_180_426_240 + 129_922_170_880 - fixed) * latent // 64**2
    decoder = (DECODER - 2 * 512 * 64**4) * latent // 64**2
    return (
        62 * attention + 2 * 512 * latent**2 + 2 * text,
        62 * unet + decoder + 2 * (TEXT - text),
    )


def test_the_command(place):
    heights = [argument for height in range(1024, 1537, 128) for argument in ("--height", height)]
    done = cli("sweep", "sd21-base", *heights, "-o", "out", "--json", "points.json", without=TORCH_AND_TOOLS)

    assert done.returncode == 0, done.stderr
    assert sum(attention_and_rest(512)) == 62 * UNET + DECODER + 2 * TEXT  # as published
    assert [attention > rest for attention, rest in map(attention_and_rest, (1152, 1280))] == [False, True]
    assert "attention overtakes all the rest between 1152 x 1152 and 1280 x 1280 pixels" in done.stdout
    read = json.loads(Path("points.json").read_text())
    assert [point["asked"]["height"] for point in read] == [1024, 1152, 1280, 1408, 1536]
    assert sorted(p.name for p in Path("out").iterdir()) == ["sweep.md", "sweep.svg"]
    page = Path("out/sweep.md").read_text()
    assert f"{read[0]['macs']:,}" in page
    assert "![MACs of a generation](sweep.svg)" in page
    assert "prefers-color-scheme" in Path("out/sweep.svg").read_text()


def test_a_point_that_fails_is_said_and_the_exit_status_too(place):
    done = cli("sweep", "sd21-base", "--height", 512, "--height", 515)
    assert done.returncode == 1
    assert "crosscheck: sd21-base: height: got 515; allowed: a multiple of 8" in done.stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("sd21-bas", "--height", 512), "unknown model 'sd21-bas'; did you mean"),
        (("sd21-base", "--height", 515), "no point could be counted; the first says: height: got 515"),
        (("sd21-base", "--steps", 0), "steps: got 0"),
    ],
)
def test_bad_input_is_one_line(place, args, message):
    assert message in refused(cli("sweep", *args))


def test_an_axis_that_there_is_not_is_not_left_out(place):
    """A closed form that does not know it would give the number of another workload."""
    (point,) = sweep.sweep([str(tiny.folder(place / "tiny"))], {"hieght": [64]})
    assert point.macs is None
    assert "takes no 'hieght'; did you mean 'height'?" in point.error


@pytest.mark.parametrize(
    ("models", "axes", "message"),
    [
        ("sd15", {"height": [512]}, r"^models: got 'sd15'; allowed: a list, such as \['sd15'\]$"),
        (["sd15"], {"height": 512}, r"^height: got 512; allowed: a list$"),
    ],
)
def test_one_where_several_are_wanted_is_refused(models, axes, message):
    with pytest.raises(UsageError, match=message):
        sweep.sweep(models, axes)


def test_a_name_from_outside_is_harmless_on_the_page():
    page = pages._blocks([sweep.Point(model="<script>|", asked={}, macs=1, by_op={"conv": 1})], pages.escape, "pipe")
    assert not re.search("<script>", "\n".join(page))


def test_refusals_print_nothing_else():
    assert "unknown model" in refused(cli("sweep", "nothing"))
