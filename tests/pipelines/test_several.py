"""Several models in one run: side by side, in order, and what they have in common counted once."""

import dataclasses

import pytest
import tiny
import torch
from scripts import measure_releases

import crosscheck
from crosscheck.engine import measure
from crosscheck.engine.shared_counts import SharedCounts
from crosscheck.errors import CrosscheckError
from crosscheck.models import configs
from crosscheck.pipelines.distinct_calls import most_expensive, single
from crosscheck.pipelines.hollow import Hollow
from crosscheck.pipelines.several import check_pipelines
from crosscheck.records import Workload


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two models with the same text encoder and decoder."""
    first = tiny.folder(tmp_path_factory.mktemp("models") / "first")
    second = tiny.folder(first.parent / "second")
    tiny.edit(second / "unet" / "config.json", block_out_channels=[12, 16])
    return [str(first), str(second)]


def test_as_one_by_one(folders):
    together = list(check_pipelines(folders, Workload(batch_size=1)))
    assert [ledger.model for ledger in together] == ["first", "second"]
    for folder, ledger in zip(folders, together, strict=True):
        assert measure_releases.timeless(ledger, census=True) == measure_releases.timeless(
            crosscheck.check_pipeline(folder), census=True
        )


def test_an_error_is_the_model_s_own(folders):
    with pytest.raises(CrosscheckError, match="height"):
        list(check_pipelines(folders, Workload(batch_size=1, height=33)))


def decoder(folder, change=lambda vae: None):
    """The case of its decoder, as the pipeline calls it."""
    from crosscheck.models import build

    _, pipe, _ = build.load(folder)
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


@pytest.fixture
def memory(tmp_path, monkeypatch):
    """A memory, and the tools that it knows of a case."""
    tools = []

    def counted(cases, names, *, already_counted, **options):
        tools.append({case.name: set(already_counted[case.name].outcomes) for case in cases})
        return measure.measure(cases, names, already_counted=already_counted, **options)

    monkeypatch.setattr("crosscheck.engine.shared_counts.measure", counted)
    memory = SharedCounts(tmp_path)

    def remembered(case, names=("thop",)):
        (result,) = memory.measure([case], names, {})
        return tools[-1][case.name], result

    return remembered


def test_an_equal_module_is_recalled_and_another_is_not(folders, memory):
    case = decoder(folders[0])
    tools, result = memory(case)
    assert tools == set()

    with torch.no_grad():  # whether gradients are recorded is part of it
        assert memory(case)[0] == set()
    tools, recalled = memory(decoder(folders[1]))
    assert tools == {"thop"}
    assert recalled.outcomes == result.outcomes
    for change in (tiled, upcast, wrapped_around, strided, other_processors):
        assert memory(decoder(folders[0], change))[0] == set(), change
    larger = dataclasses.replace(case, args=(torch.empty(1, 4, 24, 16, device="meta"),))
    for other in (larger, dataclasses.replace(case, config=None), dataclasses.replace(case, args=(object(),))):
        assert memory(other)[0] == set()


def test_what_failed_is_asked_again(folders, memory):
    case, names = decoder(folders[0]), ("thop", "fvcore-meta")
    memory(case, names)
    assert memory(case, names)[0] == {"thop"}


def test_the_catalogue_s_models_share_parts():
    read = {name: configs.read(configs.CATALOGUE / name, name) for name in ("sd15", "sd15-inpaint")}
    parts = {name: {part.name: part.config for part in config.components} for name, config in read.items()}
    assert parts["sd15"]["text_encoder"] == parts["sd15-inpaint"]["text_encoder"]
