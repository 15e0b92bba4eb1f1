"""Reads model folders. They come from strangers: what a config may name and how large it may be is decided here.

No torch, and nothing a config names is imported or built here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from crosscheck.errors import ConfigError
from crosscheck.records import Workload

CATALOGUE = Path(__file__).parents[1] / "catalogue"

#: A published config is a few kB; the largest of the catalogue is 5.
MAX_BYTES = 1_000_000
#: Layers, blocks and heads of one component. The largest published ones have below 200.
MAX_LAYERS = 1_024
#: Tokens that a tokenizer pads every prompt to, and steps that a scheduler was trained with: real, not hollow.
MAX_LENGTH = 2**17
#: Latent pixels or frames of what a pipeline makes by itself. Published: 1,024, of autoencoders.
MAX_SAMPLE = 4_096
#: How transformers writes that a tokenizer has no limit (VERY_LARGE_INTEGER, tokenization_utils_base.py).
UNLIMITED = int(1e30)
_UNLIMITED = {("model_max_length", UNLIMITED), ("lambda_min_clipped", float("-inf"))}
#: Any other whole number in a config: widths, vocabularies, positions.
MAX_NUMBER = 2**27
MAX_ITEMS = 1_024

#: How many of something there are; other numbers may be negative, such as the index of a layer counted from the end.
_NUMBERS = re.compile(r"(^num_|(layers|blocks|depths|heads|experts)(_per_\w+)?$)")
_COUNTS = re.compile(r"(^|_)(layers?|blocks|depths?|heads|experts)(_|$)")
#: Keys through which a config could bring code of its own, or weights in formats that are unpacked by code.
_REFUSED_KEYS = frozenset({"auto_map", "quantization_config", "trust_remote_code", "custom_pipeline"})
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

CONFIG_NAMES = ("config.json", "scheduler_config.json", "tokenizer_config.json", "preprocessor_config.json")


class ComponentConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of model_index.json with its config."""

    name: str
    library: str
    class_name: str
    config: dict[str, Any]


class PipelineConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A model folder, read and found harmless."""

    name: str
    class_name: str
    components: tuple[ComponentConfig, ...]
    options: dict[str, Any]
    """Plain arguments of the pipeline's own, such as ``requires_safety_checker``."""
    written_by: str = ""
    """The release of diffusers that wrote the folder, where it says so."""


def catalogue() -> list[str]:
    """Names of the pipelines shipped with crosscheck."""
    return sorted(path.parent.name for path in CATALOGUE.glob("*/model_index.json"))


def read(folder: Path, name: str) -> PipelineConfig:
    """Read a folder in the hub's layout. Raises `ConfigError`, naming file and key, for what is not allowed."""
    index_path = folder / "model_index.json"
    if not index_path.is_file():
        above = f"; did you mean {folder.parent}?" if (folder.parent / index_path.name).is_file() else ""
        raise ConfigError(f"{folder} has no model_index.json; allowed: a diffusers pipeline folder{above}")
    index = read_json(index_path)
    components: list[ComponentConfig] = []
    options: dict[str, Any] = {}
    for key, value in index.items():
        if key.startswith("_"):
            continue
        if is_component(value):
            if value[0] is not None and value[1] is not None:
                components.append(_component(folder, index_path, key, value))
            else:
                options[key] = None
        elif isinstance(value, bool | int | float | str | None) or _is_labels(value):
            options[key] = value
        else:
            raise ConfigError(f"{index_path}: {key}: got {value!r}; allowed: [library, class] or a plain value")
    return PipelineConfig(
        name=name,
        class_name=class_name(index, "_class_name", index_path),
        components=tuple(components),
        options=options,
        written_by=str(index.get("_diffusers_version", "")),
    )


#: crosscheck's own file beside the configs: what a model's publishers generate with, and how large it is.
STATED = "crosscheck.json"
WORKLOAD = {"height": int, "width": int, "num_frames": int, "num_inference_steps": int, "guidance_scale": float}
#: num_inference_steps where neither the folder nor the caller says.
STEPS = 30
#: Of each component: the tokens of text it gets, where these are not the tokenizer's maximum; its parameters.
TOKENS, PARAMETERS = "tokens", "parameters"


class Stated(msgspec.Struct, frozen=True, kw_only=True):
    """Statements of a model folder in crosscheck's own file."""

    workload: Workload = Workload(batch_size=1)
    """What its publishers generate with; None for what they leave to the pipeline."""
    tokens: dict[str, int] = {}
    """Of text, by component."""
    parameters: dict[str, int] = {}
    """By component."""


def stated(folder: Path) -> Stated:
    """Statements of a model folder; empty where it has no such file."""
    path = folder / STATED
    content = _decoded(path) if path.is_file() else {}
    for key, value in content.items():
        by_component = key in (TOKENS, PARAMETERS)
        if not by_component and key not in WORKLOAD:
            raise ConfigError(f"{path}: {key} is not known; allowed: {', '.join((*WORKLOAD, TOKENS, PARAMETERS))}")
        numbers = value.values() if by_component and isinstance(value, dict) else [value]
        if not all(type(number) in (int, WORKLOAD.get(key, int)) for number in numbers):
            raise ConfigError(f"{path}: {key}: got {value!r}; allowed: a number")
    workload = Workload.of_call(content)
    return Stated(workload=workload, tokens=content.get(TOKENS, {}), parameters=content.get(PARAMETERS, {}))


def is_component(value: Any) -> bool:
    """Whether an entry of model_index.json is a component: [library, class], or [null, null] for none."""
    return isinstance(value, list) and len(value) == 2 and all(isinstance(v, str | None) for v in value)


def _is_labels(value: Any) -> bool:
    """A pipeline's names of classes (DiT's ``id2label``)."""
    return isinstance(value, dict) and all(isinstance(label, str) for label in value.values())


def _component(folder: Path, index_path: Path, name: str, value: list[str]) -> ComponentConfig:
    library, cls = value
    for what, text in (("component name", name), ("library", library), ("class", cls)):
        plain_name(index_path, what, text)
    folder = folder / name
    if not folder.is_dir():
        raise ConfigError(f"{index_path}: component {name!r} has no folder {name}/ with its config")
    config: dict[str, Any] = {}
    for file_name in CONFIG_NAMES:
        if (folder / file_name).is_file():
            config = read_json(folder / file_name)
            break
    else:
        raise ConfigError(f"{folder} has no config; allowed: one of {', '.join(CONFIG_NAMES)}")
    return ComponentConfig(name=name, library=library, class_name=cls, config=config)


def plain_name(path: Path, what: str, text: str) -> None:
    """Refuse what is no plain name: a path, a file, a name of another folder."""
    if not _NAME.fullmatch(text):
        raise ConfigError(f"{path}: {what} {text!r} is not allowed; allowed: a plain name")


def class_name(config: Mapping[str, Any], key: str, path: Path) -> str:
    """A class named in a config: one plain name, no path, no file, no list."""
    name = config.get(key)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError(f"{path}: {key}: got {name!r}; allowed: the plain name of one class")
    return name


def read_json(path: Path) -> dict[str, Any]:
    """One config file as a dictionary. Raises `ConfigError` for broken, oversized or refused content."""
    content = _decoded(path)
    for key, value in _entries(content):
        _check(path, key, value)
    return content


def _decoded(path: Path) -> dict[str, Any]:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ConfigError(f"{path}: {size:,} bytes; allowed: up to {MAX_BYTES:,}")
        content = json.loads(path.read_bytes())  # which reads the -Infinity that diffusers writes
    except ValueError as error:
        raise ConfigError(f"{path}: not valid JSON: {error}") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: nested too deeply") from error
    except OSError as error:
        raise ConfigError(f"{path}: can't be read: {error.strerror}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: got a {type(content).__name__}; allowed: a JSON object")
    return content


def _entries(tree: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if key:
        yield key, tree
    if isinstance(tree, dict):
        for name, value in tree.items():
            yield from _entries(value, name)
    elif isinstance(tree, list):
        for value in tree:
            yield from _entries(value, key)


def _limit(key: str) -> int:
    if key == "model_max_length" or key.endswith("_timesteps"):
        return MAX_LENGTH
    if key in ("sample_size", "sample_height", "sample_width", "sample_frames"):
        return MAX_SAMPLE
    return MAX_LAYERS if _COUNTS.search(key) and "dim" not in key else MAX_NUMBER


def _check(path: Path, key: str, value: Any) -> None:
    if key in _REFUSED_KEYS and value is not None and value is not False:
        raise ConfigError(f"{path}: {key} is refused: it brings code or formats of its own; remove it")
    if isinstance(value, int | float) and not isinstance(value, bool):
        limit = _limit(key)
        if value < 0 and _NUMBERS.search(key):
            raise ConfigError(f"{path}: {key}: got {value}; allowed: 0 to {limit:,}")
        if not abs(value) <= limit and (key, value) not in _UNLIMITED:
            raise ConfigError(f"{path}: {key}: got {value}; allowed: up to {limit:,}")
    if isinstance(value, list | dict) and len(value) > MAX_ITEMS:
        raise ConfigError(f"{path}: {key}: got {len(value):,} items; allowed: up to {MAX_ITEMS:,}")
