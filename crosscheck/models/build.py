"""Name, folder, hub id or a user's own pipe -> the real diffusers pipeline, its modules on meta."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from crosscheck.errors import ConfigError, CrosscheckError, UsageError, one_line
from crosscheck.hints import describe, did_you_mean
from crosscheck.models import configs, tokenizers
from crosscheck.records import Workload
from crosscheck.tracing.patching import replaced, replaced_items

#: Modules of one model. Published: SDXL's UNet has 1,930.
MAX_PARTS = 20_000

_PRECISION = frozenset({"torch_dtype", "dtype"})


def load(model: Any) -> tuple[str, Any, Workload]:
    """The label, the diffusers pipeline and the stated workload of a name, folder, hub id, or the caller's pipe."""
    if not isinstance(model, str | Path):
        from diffusers import DiffusionPipeline

        if not isinstance(model, DiffusionPipeline):
            raise UsageError(
                f"got {describe(model)}; allowed: a model's name, a folder or a diffusers pipeline "
                "(crosscheck.check takes modules)"
            )
        return type(model).__name__, model, Workload(batch_size=1)
    name, folder = locate(str(model))
    return name, build(configs.read(folder, name)), configs.stated(folder).workload


def locate(model: str) -> tuple[str, Path]:
    """The label and folder of a catalogue name, a folder or a hub id."""
    if model in configs.catalogue():
        return model, configs.CATALOGUE / model
    path = Path(model)
    if model and path.is_dir():
        return path.resolve().name, path
    if model.count("/") == 1 and not model.startswith((".", "/", "~")) and not path.exists():
        from crosscheck.models import hub

        return model, hub.fetch(model)
    address = re.search(r"huggingface\.co/([\w.-]+/[\w.-]+)", model)
    hint = f"did you mean {address[1]!r}? " if address else did_you_mean(model, configs.catalogue())
    but = "; a file is none of these: a model is known by its configs, not its weights" if path.is_file() else ""
    raise UsageError(
        f"unknown model {model!r}; {hint}allowed: {', '.join(configs.catalogue())}, a pipeline's folder, or a hub id "
        f"org/name{but}"
    )


def build(config: configs.PipelineConfig) -> Any:
    """The real pipeline with every module on meta: no weights, no code but the two libraries'."""
    import diffusers
    import transformers
    from diffusers import DiffusionPipeline

    for library in (diffusers, transformers):
        library.logging.set_verbosity_error()
    where = f"{config.name}: model_index.json"
    if config.written_by and not hasattr(diffusers, config.class_name):
        where += f", written by diffusers {config.written_by} (installed: {diffusers.__version__})"
    pipeline_class = _class(diffusers, config.class_name, (DiffusionPipeline,), where)
    if pipeline_class is DiffusionPipeline:
        raise ConfigError(f"{where}: DiffusionPipeline is the base of all pipelines; name the one it is")
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

    from crosscheck.tracing.real_integers import RealIntegers

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
            return tokenizers.tokenizer(cls, config.config)
        if issubclass(cls, SchedulerMixin):
            return cls.from_config(config.config)
        with torch.device("meta"), RealIntegers(), _bounded(where), _unfilled():
            module = _model(cls, config.config)
    except CrosscheckError:
        raise
    except Exception as error:
        raise ConfigError(f"{where}: {config.class_name} can't be built: {first_line(error)}") from error
    return _weightless(module) if isinstance(module, torch.nn.Module) else module


@contextmanager
def _bounded(where: str) -> Iterator[None]:
    """Refuse a model of more parts than any there is: numbers that are allowed one by one may multiply."""
    import torch

    original, parts = torch.nn.Module.__init__, 0

    def initialised(self: Any, *args: Any, **kwargs: Any) -> None:
        nonlocal parts
        parts += 1
        if parts > MAX_PARTS:
            raise ConfigError(f"{where}: more than {MAX_PARTS:,} modules; lower its numbers of layers and blocks")
        original(self, *args, **kwargs)

    with replaced(torch.nn.Module, "__init__", initialised):
        yield


@contextmanager
def _unfilled() -> Iterator[None]:
    """Half the time of building a model on meta would go into the random values of weights that it does not have."""
    import torch

    def unless_on_meta(fill: Any) -> Any:
        return lambda tensor, *args, **kwargs: tensor if tensor.is_meta else fill(tensor, *args, **kwargs)

    fills = vars(torch.nn.init).items()
    random = {name: unless_on_meta(f) for name, f in fills if name.endswith(("uniform_", "normal_", "orthogonal_"))}
    with replaced_items(vars(torch.nn.init), random):
        yield


def _weightless(module: Any) -> Any:
    """The module with zeros on the CPU for what it holds on meta, one stored element each: a pipeline may read them."""
    import torch

    zeros: dict[int, Any] = {}  # by the tensor they stand for: tied ones stay tied
    for part in module.modules():
        for store in (part._parameters, part._buffers):
            for name, held in store.items():
                if held is None or not held.is_meta:
                    continue
                if id(held) not in zeros:
                    expanded = torch.zeros((), dtype=held.dtype).expand(held.shape)
                    parameter = isinstance(held, torch.nn.Parameter)
                    made = torch.nn.Parameter(expanded, held.requires_grad) if parameter else expanded
                    zeros[id(held)] = held, made
                store[name] = zeros[id(held)][1]
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


def first_line(error: BaseException) -> str:
    """The first line of a library's error; refusals of values and files say by themselves what is wrong."""
    return one_line(error, (CrosscheckError, ValueError, OSError))
