"""The configs of a pipeline on the Hugging Face hub: JSON files only, never weights or code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from crosscheck.errors import ConfigError
from crosscheck.models import configs


def fetch(repo_id: str) -> Path:
    """Download model_index.json and each component's config; the folder they are in.

    Raises `ConfigError` in one line where the hub can't be reached, or has no such pipeline, or wants a login.
    """
    reachable = _reachable(repo_id)
    index = _download(repo_id, "model_index.json", reachable)
    for name, value in configs.read_json(index).items():
        if not name.startswith("_") and configs.is_component(value) and value[0] is not None:
            configs.plain_name(index, "component name", name)
            _download_config(repo_id, name, value[1] or "", reachable)
    return index.parent


def _reachable(repo_id: str) -> bool:
    """One quick question: the library's own download asks six times, over half a minute."""
    from huggingface_hub import constants, get_session, hf_hub_url, logging

    logging.set_verbosity_error()
    if constants.HF_HUB_OFFLINE:
        return False
    try:
        answer = get_session().head(hf_hub_url(repo_id, "model_index.json"), timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except Exception:
        return False
    if answer.status_code >= 500:
        raise ConfigError(f"{repo_id}: the hub answered with status {answer.status_code}; try again later")
    return True


def _download_config(repo_id: str, component: str, class_name: str, reachable: bool) -> None:
    """The component's config, under the name that its kind has on the hub."""
    kinds = {
        "Tokenizer": "tokenizer_config.json",
        "Scheduler": "scheduler_config.json",
        "Processor": "preprocessor_config.json",
        "Extractor": "preprocessor_config.json",
    }
    file_name = next((file for kind, file in kinds.items() if kind in class_name), "config.json")
    _download(repo_id, f"{component}/{file_name}", reachable)


def _download(repo_id: str, file_name: str, reachable: bool) -> Path:
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(repo_id, file_name, local_files_only=not reachable))
    except Exception as error:
        raise ConfigError(f"{repo_id}: {file_name}: {_reason(error)}") from error


def _reason(error: Any) -> str:
    from huggingface_hub import errors

    reasons = {
        "GatedRepoError": "it is gated; accept its terms on the hub and log in with: hf auth login",
        "RepositoryNotFoundError": "there is no such model on the hub, or it is private; check the name org/name",
        "EntryNotFoundError": "the model has no such file; allowed: a diffusers pipeline",
        "LocalEntryNotFoundError": "the hub can't be reached and nothing is cached; give a folder or a catalogue name",
        "HFValidationError": "not a hub id; allowed: org/name",
    }
    for name, reason in reasons.items():
        kind = getattr(errors, name, None)
        if kind is not None and isinstance(error, kind) and type(error).__name__ == name:
            return reason
    return f"the hub answered with an error: {next(iter(str(error).splitlines()), type(error).__name__)}"
