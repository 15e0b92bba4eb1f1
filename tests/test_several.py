"""Several models in one run: side by side, in order, and what they have in common counted once."""

import dataclasses

import pytest
import tiny
import torch
from measure_releases import timeless

import crosscheck
from crosscheck import configs, measure
from crosscheck.hollow import Hollow, most_expensive, single
from crosscheck.memory import Memory
from crosscheck.records import CrosscheckError
from crosscheck.run import check_pipelines


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two models with the same text encoder and decoder."""
    first = tiny.folder(tmp_path_factory.mktemp("models") / "first")
    second = tiny.folder(first.parent / "second")
    tiny.edit(second / "unet" / "config.json", block_out_channels=[12, 16])
    return [str(first), str(second)]


def test_as_one_by_one(folders):
    together = list(check_pipelines(folders))
    assert [ledger.model for ledger in together] == ["first", "second"]
    for folder, ledger in zip(folders, together, strict=True):
        assert timeless(ledger, census=True) == timeless(crosscheck.check_pipeline(folder), census=True)


def test_an_error_is_the_model_s_own(folders):
    with pytest.raises(CrosscheckError, match="height"):
        list(check_pipelines(folders, height=33))


def decoder(folder, change=lambda vae: None):
    """The case of its decoder, as the pipeline calls it."""
    from crosscheck import pipelines

    _, pipe, _ = pipelines.load(folder)
    change(pipe.vae)
    hollow = Hollow({"vae": pipe.vae})
    with hollow.answering(), torch.no_grad():
        pipe.vae.decode(torch.zeros(1, 4, 16, 16, dtype=pipe.vae.dtype))
    return single(most_expensive(hollow.cases()["vae_decoder"]))


def tiled(vae):
    vae.enable_tiling()


def upcast(vae):
    vae.half()


def wrapped_around(vae):
    vae.decoder.conv_in.padding_mode = "circular"


def strided(vae):
    vae.decoder.conv_out.stride = (2, 2)


def other_processors(vae):
    from diffusers.models.attention_processor import AttnProcessor

    vae.set_attn_processor(AttnProcessor())


def test_an_equal_module_is_recalled_and_another_is_not(folders, tmp_path):
    memory, names = Memory(tmp_path), ("thop",)
    case = decoder(folders[0])
    assert memory.recall(case, names) is None
    (result,) = measure.measure([case], names, memory=memory)

    with torch.no_grad():  # whether gradients are recorded is part of it
        assert memory.recall(case, names) is None
    assert memory.recall(decoder(folders[1]), names).outcomes["thop"] == result.outcomes["thop"]
    for change in (tiled, upcast, wrapped_around, strided, other_processors):
        assert memory.recall(decoder(folders[0], change), names) is None, change
    larger = dataclasses.replace(case, args=(torch.empty(1, 4, 24, 16, device="meta"),))
    for other in (larger, dataclasses.replace(case, config=None), dataclasses.replace(case, args=(object(),))):
        assert memory.recall(other, names) is None
    assert memory.recall(case, ("fvcore",)) is None


def test_what_failed_is_asked_again(folders, tmp_path):
    memory, case = Memory(tmp_path), decoder(folders[0])
    measure.measure([case], ("fvcore-meta",), memory=memory)
    assert memory.recall(case, ("fvcore-meta",)) is None


def test_the_catalogue_s_models_share_parts():
    read = {name: configs.read(configs.CATALOGUE / name, name) for name in ("sd15", "sd15-inpaint")}
    parts = {name: {part.name: part.config for part in config.components} for name, config in read.items()}
    assert parts["sd15"]["text_encoder"] == parts["sd15-inpaint"]["text_encoder"]
