"""State that a run of a pipeline changes and is put back: scheduler, tokenizers, generators, the environment."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from crosscheck.tracing.patching import replaced_items


@contextmanager
def undisturbed(pipe: Any, call: Mapping[str, Any]) -> Iterator[None]:
    """Afterwards the scheduler, the tokenizers, the pipeline and the generators it is called with are as they were.

    Tokenizers warn of the forks that count what they were used for, unless they were told not to use threads.
    """
    scheduler = getattr(pipe, "scheduler", None)
    given = call.get("generator") or []
    generators = given if isinstance(given, list | tuple) else [given]
    saved = [(owner, _copied(vars(owner))) for owner in (pipe, scheduler) if owner is not None]
    fast = [part.backend_tokenizer for part in pipe.components.values() if hasattr(part, "backend_tokenizer")]
    lengths = [(tokenizer, tokenizer.padding, tokenizer.truncation) for tokenizer in fast]
    drawn = [(generator, generator.get_state()) for generator in generators]
    unthreaded = replaced_items(os.environ, {"TOKENIZERS_PARALLELISM": "false"})
    with torch.random.fork_rng(devices=[]), unthreaded:
        try:
            yield
        finally:
            for owner, attributes in saved:
                vars(owner).clear()
                vars(owner).update(attributes)
            for generator, state in drawn:
                generator.set_state(state)
            for tokenizer, padding, truncation in lengths:
                tokenizer.enable_padding(**padding) if padding else tokenizer.no_padding()
                tokenizer.enable_truncation(**truncation) if truncation else tokenizer.no_truncation()


def _copied(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Lists as they are now: a scheduler keeps its past steps in one."""
    return {name: list(value) if type(value) is list else value for name, value in attributes.items()}
