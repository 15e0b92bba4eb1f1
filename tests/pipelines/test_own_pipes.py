"""A pipe of the caller's, with what callers change about pipes: counted as it would run, and left as it was."""

import logging
from concurrent.futures import ThreadPoolExecutor

import families
import pytest
import torch
import torch.nn.functional as F
from installed import needs
from real_runs import compare

import crosscheck
from crosscheck.errors import UncountedError, UsageError

pytestmark = needs("diffusers>=0.42", "the classes that the newest release has")


def changed(class_name, change):
    def make():
        pipe = families.build(class_name)
        change(pipe)
        return pipe

    return make


def ran(class_name, change, **own):
    """MACs of its components in all, as it really runs and hollow."""
    compared = compare(changed(class_name, change), lambda pipe: families.call(pipe) | own)
    return {name: sum(macs for macs, _ in calls) for name, calls in compared.items()}


def as_it_is(class_name, **own):
    return ran(class_name, lambda pipe: None, **own)


def tiled(pipe):
    pipe.vae.enable_tiling()
    pipe.vae.tile_sample_min_size, pipe.vae.tile_latent_min_size = 32, 16


def test_tiles_overlap_and_attend_to_themselves_alone():
    assert ran("StableDiffusionPipeline", tiled)["vae_decoder"] != as_it_is("StableDiffusionPipeline")["vae_decoder"]


def test_slices_are_the_same_work_one_image_at_a_time():
    two = {"prompt": ["a cat", "a dog"]}
    sliced = compare(
        changed("StableDiffusionPipeline", lambda pipe: pipe.vae.enable_slicing()),
        lambda pipe: families.call(pipe) | two,
    )
    whole = as_it_is("StableDiffusionPipeline", **two)
    assert sum(macs for macs, _ in sliced["vae_decoder"]) == whole["vae_decoder"]


@pytest.mark.parametrize(
    "change",
    [
        lambda pipe: pipe.fuse_qkv_projections(),
        lambda pipe: pipe.enable_attention_slicing(),
        lambda pipe: pipe.unet.set_attn_processor(__import__("diffusers").models.attention_processor.AttnProcessor()),
    ],
    ids=["fused projections", "attention slicing", "other processors"],
)
def test_other_ways_to_the_same_work(change):
    assert ran("StableDiffusionPipeline", change) == as_it_is("StableDiffusionPipeline")


def test_a_replaced_scheduler():
    from diffusers import HeunDiscreteScheduler

    def heun(pipe):
        pipe.scheduler = HeunDiscreteScheduler.from_config(pipe.scheduler.config)

    compared = compare(
        changed("StableDiffusionPipeline", heun), lambda p: families.call(p) | {"num_inference_steps": 3}
    )
    assert len(compared["unet"]) == 2 * 3 - 1  # two calls a step, and one for the last


def skipping(pipe):
    """As DeepCache does: the inner blocks run every other step, and their last result is used again."""
    middle, calls, results = pipe.unet.mid_block, [], []
    forward = middle.forward

    def cached(*args, **kwargs):
        calls.append(None)
        if len(calls) % 2:
            results[:] = [forward(*args, **kwargs)]
        return results[0]

    middle.forward = cached


def test_blocks_that_are_skipped():
    steps = {"num_inference_steps": 4}
    # SD 1.5's scheduler calls 5 times for 4 steps: blocks of the 2nd and 4th call are left out
    compared = compare(changed("StableDiffusionPipeline", skipping), lambda pipe: families.call(pipe) | steps)
    skipped, whole = sorted({macs for macs, _ in compared["unet"]})
    assert [macs for macs, _ in compared["unet"]] == [skipped] * 2 + [whole] * 3
    assert whole == as_it_is("StableDiffusionPipeline", **steps)["unet"] // 5


def test_an_adapter_costs_what_its_ranks_say():
    peft = pytest.importorskip("peft")

    def adapted(pipe):
        pipe.transformer.add_adapter(peft.LoraConfig(r=4, target_modules=["to_q"]))

    compared = compare(changed("FluxPipeline", adapted), families.call)["transformer"]
    tokens = dict(map(tuple, compared[0][1]))
    image, text = tokens["hidden_states"][1], tokens["encoder_hidden_states"][1]
    # Each to_q is 16 -> 16, its adapter 16 -> 4 -> 16; one double block over the image's tokens, one single over all
    added = (16 * 4 + 4 * 16) * (image + image + text)
    assert sum(macs for macs, _ in compared) == as_it_is("FluxPipeline")["transformer"] + len(compared) * added

    pipe = changed("FluxPipeline", adapted)()
    run = crosscheck.check_pipeline(pipe, backends=("thop",), height=64, width=64, num_inference_steps=2)
    transformer = run.component("transformer")
    assert (transformer.recommended.status, transformer.backends["thop"].residual) == ("unconfirmed", 0)


def test_true_guidance_in_flux_is_two_calls_a_step():
    guided = {"true_cfg_scale": 2.0, "negative_prompt": "a dog", "num_inference_steps": 3}
    compared = compare(lambda: families.build("FluxPipeline"), lambda pipe: families.call(pipe) | guided)
    assert len(compared["transformer"]) == 2 * 3


def test_images_of_one_prompt_share_its_encoding():
    compared = compare(
        lambda: families.build("StableDiffusionPipeline"), lambda p: families.call(p) | {"num_images_per_prompt": 3}
    )
    assert len(compared["text_encoder"]) == 2  # the prompt and the negative one
    assert dict(compared["unet"][0][1])["sample"][0] == 2 * 3


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


def test_a_size_that_would_be_rounded_is_refused():
    pipe = families.build("FluxPipeline")
    logger = logging.getLogger("diffusers.pipelines.flux.pipeline_flux")
    before = (logger.level, list(logger.filters))
    with pytest.raises(UsageError, match=r"FluxPipeline would take another size: ."):
        crosscheck.check_pipeline(pipe, backends=(), height=66, width=64)
    assert (logger.level, logger.filters) == before


def test_a_cache_that_decides_on_values_is_named():
    from diffusers import FirstBlockCacheConfig

    pipe = families.build("FluxPipeline")
    pipe.transformer.enable_cache(FirstBlockCacheConfig(threshold=0.2))
    with pytest.raises(UncountedError, match="its forward decides on a floating value"):
        crosscheck.check_pipeline(pipe, backends=(), height=64, width=64, num_inference_steps=4)


def at_the_first_step(change):
    """A callback, which pipelines call after each step."""

    def callback(pipe, step, timestep, tensors):
        if step == 0:
            change(pipe)
        return tensors

    return {"callback_on_step_end": callback, "num_inference_steps": 3}


def without_middle(pipe):
    pipe.unet.mid_block = None


def test_what_a_callback_changes_counts_from_then_on():
    whole = as_it_is("StableDiffusionPipeline", num_inference_steps=3)["unet"]
    less = ran("StableDiffusionPipeline", lambda pipe: None, **at_the_first_step(without_middle))["unet"]
    none = ran("StableDiffusionPipeline", without_middle, num_inference_steps=3)["unet"]
    calls = 3 + 1  # PNDM takes the second step twice
    assert calls * (whole - less) == (calls - 1) * (whole - none)


def test_no_closed_form_confirms_what_a_callback_changed():
    pipe = families.build("StableDiffusionPipeline")
    run = crosscheck.check_pipeline(pipe, backends=(), **families.call(pipe) | at_the_first_step(without_middle))
    assert run.generation.recommended.status == "unconfirmed"
    assert pipe.unet.mid_block is not None


def test_tiles_have_a_total_and_no_closed_form():
    pipe = changed("StableDiffusionPipeline", tiled)()
    run = crosscheck.check_pipeline(pipe, backends=("thop",), **families.call(pipe))
    assert run.component("vae_decoder").recommended.status == "unconfirmed"
    assert run.component("vae_decoder")["thop"].residual == 0
    assert run.generation.recommended.macs == sum(part.macs for part in run.generation.components)


def test_attention_outside_every_component():
    def outside(pipe):
        q = torch.zeros(1, 2, 64, 8)
        F.scaled_dot_product_attention(q, q, q)

    pipe = families.build("StableDiffusionPipeline")
    run = crosscheck.check_pipeline(pipe, backends=(), **families.call(pipe) | at_the_first_step(outside))
    assert run.generation.outside_macs == 2 * 64 * 64 * (8 + 8)


def test_tokenizers_and_generators_are_as_before():
    pipe = families.build("StableDiffusionPipeline")
    tokens, generator = pipe.tokenizer("a cat").input_ids, torch.Generator().manual_seed(3)
    crosscheck.check_pipeline(pipe, backends=(), **families.call(pipe) | {"generator": generator})
    assert pipe.tokenizer("a cat").input_ids == tokens
    assert (pipe.tokenizer.backend_tokenizer.padding, pipe.tokenizer.backend_tokenizer.truncation) == (None, None)
    assert torch.equal(generator.get_state(), torch.Generator().manual_seed(3).get_state())


def test_two_threads_take_turns():
    def total(_):
        pipe = families.build("StableDiffusionPipeline")
        return crosscheck.check_pipeline(pipe, backends=(), **families.call(pipe)).generation.recommended.macs

    with ThreadPoolExecutor(2) as threads:
        assert len(set(threads.map(total, range(2)))) == 1
