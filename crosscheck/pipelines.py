"""Name, folder, hub id or a user's own pipe -> the real diffusers pipeline, its modules on meta."""

from __future__ import annotations

import difflib
import inspect
import json
import tempfile
from pathlib import Path
from typing import Any

from crosscheck import configs
from crosscheck.records import ConfigError, CrosscheckError, UsageError

_PRECISION = frozenset({"torch_dtype", "dtype"})


def load(model: Any) -> tuple[str, Any]:
    """The label and the diffusers pipeline of a catalogue name, a folder, a hub id, or a pipeline of the caller's."""
    if not isinstance(model, str | Path):
        from diffusers import DiffusionPipeline

        if not isinstance(model, DiffusionPipeline):
            raise UsageError(f"got a {type(model).__name__}; allowed: a model's name, a folder or a diffusers pipeline")
        return type(model).__name__, model
    name, folder = locate(str(model))
    return name, build(configs.read(folder, name))


def locate(model: str) -> tuple[str, Path]:
    """The label and folder of a catalogue name, a folder or a hub id."""
    if model in configs.catalogue():
        return model, configs.CATALOGUE / model
    path = Path(model)
    if path.is_dir():
        return path.resolve().name, path
    if model.count("/") == 1 and not model.startswith((".", "/", "~")) and not path.exists():
        from crosscheck import hub

        return model, hub.fetch(model)
    near = difflib.get_close_matches(model, configs.catalogue(), n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise UsageError(
        f"unknown model {model!r}; {hint}allowed: {', '.join(configs.catalogue())}, a pipeline's folder, or a hub id "
        "org/name"
    )


def build(config: configs.PipelineConfig) -> Any:
    """The real pipeline with every module on meta: no weights, no code but the two libraries'."""
    import diffusers
    import transformers
    from diffusers import DiffusionPipeline

    for library in (diffusers, transformers):
        library.logging.set_verbosity_error()
    pipeline_class = _class(diffusers, config.class_name, (DiffusionPipeline,), f"{config.name}: model_index.json")
    wanted = {name for name in inspect.signature(pipeline_class.__init__).parameters if name != "self"}
    given = {c.name: _component(c, f"{config.name}: {c.name}") for c in config.components if c.name in wanted}
    options = {name: value for name, value in config.options.items() if name in wanted}
    try:
        return pipeline_class(**options, **given)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{config.name}: {config.class_name} can't be built: {first_line(error)}") from error


def _component(config: configs.ComponentConfig, where: str) -> Any:
    import diffusers
    import torch
    import transformers
    from diffusers import ModelMixin, SchedulerMixin

    if config.library == "diffusers":
        cls = _class(diffusers, config.class_name, (ModelMixin, SchedulerMixin), where)
    elif config.library == "transformers":
        bases = (
            transformers.PreTrainedModel,
            transformers.PreTrainedTokenizerBase,
            transformers.ImageProcessingMixin,
            transformers.FeatureExtractionMixin,
            transformers.ProcessorMixin,
        )
        cls = _class(transformers, config.class_name, bases, where)
    else:
        package = getattr(diffusers.pipelines, config.library, None)
        if package is None:
            raise ConfigError(f"{where}: library {config.library!r} is not allowed; allowed: diffusers, transformers")
        cls = _class(package, config.class_name, (ModelMixin, transformers.PreTrainedModel), where)
    try:
        if issubclass(cls, transformers.PreTrainedTokenizerBase):
            return _tokenizer(cls, config.config)
        if issubclass(cls, SchedulerMixin):
            return cls.from_config(config.config)
        with torch.device("meta"):
            module = _model(cls, config.config)
    except CrosscheckError:
        raise
    except Exception as error:
        raise ConfigError(f"{where}: {config.class_name} can't be built: {first_line(error)}") from error
    return module


def _model(cls: Any, config: dict[str, Any]) -> Any:
    import transformers
    from diffusers import ModelMixin

    if issubclass(cls, ModelMixin):
        return cls.from_config(config).eval()
    if not issubclass(cls, transformers.PreTrainedModel):
        return cls(**config)
    chosen = cls.config_class.from_dict(_ours(config))
    if getattr(cls, "_supports_sdpa", False):
        chosen._attn_implementation = "sdpa"
    return cls(chosen).eval()


def _ours(config: Any) -> Any:
    """A config that leaves the attention implementation and the precision to us.

    transformers would fetch kernels for an attention name it finds, and build in half precision beside the others.
    """
    if isinstance(config, dict):
        return {k: _ours(v) for k, v in config.items() if "attn_implementation" not in k and k not in _PRECISION}
    return [_ours(v) for v in config] if isinstance(config, list) else config


def _class(package: Any, name: str, bases: tuple[type, ...], where: str) -> Any:
    cls = getattr(package, name, None)
    if not (isinstance(cls, type) and issubclass(cls, bases)):
        allowed = ", ".join(base.__name__ for base in bases)
        raise ConfigError(
            f"{where}: class {name!r} is not allowed; allowed: subclasses of {allowed} that are installed"
        )
    return cls


def _tokenizer(cls: Any, config: dict[str, Any]) -> Any:
    """A real byte-level tokenizer with the model's own lengths and special tokens, and a vocabulary of single bytes.

    Pipelines pad to the tokenizer's maximum length, so its words do not matter and its limit does.
    """
    from tokenizers.pre_tokenizers import ByteLevel

    letters = sorted(ByteLevel.alphabet())
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    with tempfile.TemporaryDirectory() as folder:
        files = {
            "vocab.json": json.dumps({word: i for i, word in enumerate(words)}),
            "merges.txt": "#version: 0.2\n",
            "tokenizer_config.json": json.dumps({k: v for k, v in config.items() if not k.endswith("_file")}),
        }
        for name, text in files.items():
            (Path(folder) / name).write_text(text, encoding="utf-8")
        return cls.from_pretrained(folder, local_files_only=True)


def first_line(error: BaseException) -> str:
    """What an error of a library says first."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
