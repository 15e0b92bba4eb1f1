"""Pipelines of every family: what runs hollow is what really runs, call by call."""

import inspect
from typing import Any

import families
import pytest
import torch
from installed import needs
from PIL import Image
from real_runs import observed, told

import crosscheck
from crosscheck.hollow import Hollow
from crosscheck.run import modules

pytestmark = needs("diffusers>=0.42", "the classes that the newest release has")

#: Arguments that keep a tiny run tiny, where a class takes them; the rest are its own defaults.
SMALL: dict[str, Any] = {
    "prompt": "a cat",
    "class_labels": [1],
    "height": 64,
    "width": 64,
    "num_frames": 9,
    "num_inference_steps": 2,
    "max_sequence_length": 16,
    "complex_human_instruction": None,
    "use_resolution_binning": False,
    "sag_scale": 0.0,
    "image": Image.new("RGB", (64, 64)),
    "control_image": Image.new("RGB", (64, 64)),
    "mask_image": Image.new("L", (64, 64), 255),
    "video": [Image.new("RGB", (64, 64))] * 9,
    "strength": 1.0,
}
#: What single classes need besides.
OWN: dict[str, dict[str, Any]] = {
    "StableDiffusionUpscalePipeline": {"image": Image.new("RGB", (16, 16))},
    "CogVideoXPipeline": {"max_sequence_length": 226},  # its learned positions are for as many
    "CogVideoXVideoToVideoPipeline": {"max_sequence_length": 226},
    "FluxKontextPipeline": {"max_area": 64 * 64, "_auto_resize": False},
    "FluxKontextInpaintPipeline": {"max_area": 64 * 64, "_auto_resize": False},
}


def call(pipe: Any) -> dict[str, Any]:
    name = type(pipe).__name__
    parameters = inspect.signature(pipe.__call__).parameters
    given = SMALL | OWN.get(name, {})
    return {key: value for key, value in given.items() if key in parameters}


@pytest.mark.parametrize("name", families.FAMILIES)
def test_hollow_is_what_really_runs(name):
    pipe = families.build(name)
    pipe.set_progress_bar_config(disable=True)
    with torch.no_grad():
        torch.manual_seed(0)
        real, outside = observed(modules(pipe), lambda: pipe(**call(pipe)))
        torch.manual_seed(0)
        hollow = Hollow(modules(pipe))
        with hollow.answering():
            pipe(**call(pipe))

    said = told(hollow)
    assert said == real
    assert hollow.outside_macs == outside
    assert any(macs for calls in said.values() for macs, _ in calls)


def test_there_are_many():
    assert len(families.FAMILIES) >= 60


def test_a_cache_is_not_what_a_config_says():
    from diffusers import PyramidAttentionBroadcastConfig

    pipe = families.build("FluxPipeline")
    asked = {"backends": (), "height": 64, "width": 64, "num_inference_steps": 2}

    # the pipeline itself leaves an empty registry of hooks on its transformer
    assert crosscheck.check_pipeline(pipe, **asked).component("transformer").recommended.status == "confirmed"
    pipe.transformer.enable_cache(
        PyramidAttentionBroadcastConfig(
            spatial_attention_block_skip_range=2, current_timestep_callback=lambda: pipe._current_timestep
        )
    )
    cached = crosscheck.check_pipeline(pipe, **asked)

    assert cached.component("transformer").recommended.status == "unconfirmed"
    assert cached.generation.recommended.macs
