"""Configs come from strangers: what is not allowed is refused by name, in one line, before anything is built."""

import json
import re
import shutil
import sys
import types

import pytest

from crosscheck.errors import ConfigError, UsageError
from crosscheck.models import build as pipelines
from crosscheck.models import configs


@pytest.fixture
def folder(tmp_path):
    """A copy of a catalogue folder to be spoiled."""
    copy = tmp_path / "model"
    shutil.copytree(configs.CATALOGUE / "sd21-base", copy)
    return copy


def edit(path, **changes):
    config = json.loads(path.read_text())
    config.update(changes)
    path.write_text(json.dumps(config))


def build(folder):
    return pipelines.build(configs.read(folder, folder.name))


def test_the_catalogue_is_read():
    assert len(configs.catalogue()) >= 24
    for name in configs.catalogue():
        assert configs.read(configs.CATALOGUE / name, name).components


@pytest.mark.parametrize(
    ("file_name", "changes", "message"),
    [
        ("unet/config.json", {"auto_map": {"AutoModel": "evil.Model"}}, "auto_map is refused"),
        ("text_encoder/config.json", {"quantization_config": {"quant_method": "bitsandbytes"}},
         "quantization_config is refused"),
        ("text_encoder/config.json", {"trust_remote_code": True}, "trust_remote_code is refused"),
        ("vae/config.json", {"deep": {"deeper": [{"auto_map": {}}]}}, "auto_map is refused"),
        ("model_index.json", {"_class_name": ["pipeline", "StableDiffusionPipeline"]}, "_class_name: got ['pipeline'"),
        ("model_index.json", {"_class_name": "my_pipeline.py"}, "_class_name: got 'my_pipeline.py'"),
        ("model_index.json", {"_class_name": "TomorrowPipeline", "_diffusers_version": "9.1.0"},
         "written by diffusers 9.1.0 (installed: "),
        ("model_index.json", {"_class_name": "DiffusionPipeline"}, "DiffusionPipeline is the base of all pipelines"),
        ("unet/config.json", {"layers_per_block": -2}, "layers_per_block: got -2; allowed: 0 to 1,024"),
        ("unet/config.json", {"layers_per_block": 900, "transformer_layers_per_block": 900},
         "more than 20,000 modules; lower its numbers of layers and blocks"),
        ("scheduler/scheduler_config.json", {"num_train_timesteps": 2**27}, "num_train_timesteps: got 134217728"),
        ("model_index.json", {"_class_name": "os"}, "class 'os' is not allowed; allowed: subclasses of DiffusionPipel"),
        ("model_index.json", {"_class_name": "UNet2DConditionModel"}, "class 'UNet2DConditionModel' is not allowed"),
        ("model_index.json", {"../evil": ["diffusers", "AutoencoderKL"]}, "component name '../evil' is not allowed"),
        ("model_index.json", {"/etc": ["diffusers", "AutoencoderKL"]}, "component name '/etc' is not allowed"),
        ("model_index.json", {"</script>|": ["diffusers", "AutoencoderKL"]}, "component name '</script>|' is not"),
        ("model_index.json", {"unet": ["subprocess", "Popen"]}, "library 'subprocess' is not allowed"),
        ("model_index.json", {"unet": ["diffusers", "load_image"]}, "class 'load_image' is not allowed"),
        ("model_index.json", {"unet": ["transformers", "pipeline"]}, "class 'pipeline' is not allowed"),
        ("model_index.json", {"unet": ["stable_diffusion", "StableDiffusionPipeline"]}, "is not allowed; allowed: sub"),
        ("model_index.json", {"unet": ["diffusers.models", "UNet2DConditionModel"]}, "library 'diffusers.models' is"),
        ("model_index.json", {"extra": {"a": 1}}, "extra: got {'a': 1}; allowed: [library, class] or a plain value"),
        ("model_index.json", {"vae2": ["diffusers", "AutoencoderKL"]}, "component 'vae2' has no folder vae2/"),
        ("unet/config.json", {"layers_per_block": 10**9}, "layers_per_block: got 1000000000; allowed: up to 1,024"),
        ("unet/config.json", {"transformer_layers_per_block": [1, 2, 10**9, 1]}, "allowed: up to 1,024"),
        ("text_encoder/config.json", {"num_hidden_layers": 10**9}, "num_hidden_layers: got 1000000000"),
        ("text_encoder/config.json", {"hidden_size": 10**12}, "hidden_size: got 1000000000000; allowed: up to"),
        ("text_encoder/config.json", {"hidden_size": 1e400}, "hidden_size: got inf; allowed: up to"),
        ("unet/config.json", {"block_out_channels": [320] * 5_000}, "got 5,000 items; allowed: up to 1,024"),
        ("unet/config.json", {"down_block_types": ["NoSuchBlock2D"] * 4}, "UNet2DConditionModel can't be built"),
        ("unet/config.json", {"block_out_channels": [321, 640, 1280, 1280]}, "UNet2DConditionModel can't be built"),
    ],
)  # fmt: skip
def test_hostile_and_broken_configs_are_refused(folder, file_name, changes, message):
    edit(folder / file_name, **changes)

    with pytest.raises(ConfigError) as caught:
        build(folder)

    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "model_index.json").unlink(), "has no model_index.json"),
        (lambda f: (f / "model_index.json").write_text("{"), "not valid JSON"),
        (lambda f: (f / "model_index.json").write_text("[1]"), "got a list; allowed: a JSON object"),
        (lambda f: (f / "model_index.json").write_text('{"_class_name": 3}'), "_class_name: got 3"),
        (lambda f: (f / "unet/config.json").write_text("[" * 100_000), "config.json"),
        (lambda f: (f / "unet/config.json").write_text(" " * 2_000_000), "2,000,000 bytes; allowed: up to 1,000,000"),
        (lambda f: (f / "unet/config.json").unlink(), "has no config; allowed: one of config.json"),
        (lambda f: (f / "unet/config.json").write_bytes(b"\xff\xfe{}"), "not valid JSON"),
    ],
)
def test_broken_folders_are_refused(folder, spoil, message):
    spoil(folder)
    with pytest.raises(ConfigError) as caught:
        build(folder)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_component_is_refused(folder):
    index = json.loads((folder / "model_index.json").read_text())
    del index["unet"]
    (folder / "model_index.json").write_text(json.dumps(index))

    with pytest.raises(ConfigError, match="StableDiffusionPipeline can't be built"):
        build(folder)


@pytest.mark.parametrize("key", ["_attn_implementation", "attn_implementation", "_attn_implementation_internal"])
def test_no_kernels_are_fetched_for_an_attention_name(folder, monkeypatch, key):
    """transformers takes a hub repository's name there; a planted ``kernels`` package raises when it is imported."""

    class Planted(types.ModuleType):
        def __getattr__(self, name):
            raise AssertionError("kernels was used")

    monkeypatch.setitem(sys.modules, "kernels", Planted("kernels"))
    edit(folder / "text_encoder/config.json", **{key: "kernels-community/flash-attn"})

    pipe = build(folder)

    assert pipe.text_encoder.config._attn_implementation == "sdpa"


def test_weights_beside_the_configs_are_never_read(folder):
    for name in ("pytorch_model.bin", "diffusion_pytorch_model.safetensors", "model.safetensors"):
        (folder / "unet" / name).write_bytes(b"not weights")
        (folder / "text_encoder" / name).write_bytes(b"not weights")
    (folder / "unet" / "modeling.py").write_text("raise SystemExit")

    weight = build(folder).unet.conv_in.weight
    assert weight.untyped_storage().nbytes() == 4  # one zero for all of them


def test_an_unknown_model_is_refused_with_the_nearest_name():
    with pytest.raises(UsageError, match="unknown model 'sd21-bse'; did you mean 'sd21-base'"):
        pipelines.locate("sd21-bse")


def test_a_missing_component_is_named(folder):
    index = json.loads((folder / "model_index.json").read_text())
    del index["vae"]
    (folder / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(ConfigError, match=r"StableDiffusionPipeline can't be built: .*vae"):
        build(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"stepps": 3}, "stepps is not known; allowed: height, width"),
        ({"height": "512"}, "height: got '512'; allowed: a number"),
        ({"tokens": {"unet": None}}, "tokens: got {'unet': None}; allowed: a number"),
        ({"parameters": 3.5}, "parameters: got 3.5; allowed: a number"),
    ],
)
def test_what_a_folder_may_state(folder, content, message):
    (folder / "crosscheck.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=re.escape(message)):
        configs.stated(folder)
