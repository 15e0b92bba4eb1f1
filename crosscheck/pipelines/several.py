"""Several models: counted one after another, run hollow side by side, what they have in common counted once."""

from __future__ import annotations

import gc
import multiprocessing
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from crosscheck.engine.processes import can_fork, processors
from crosscheck.errors import CrosscheckError
from crosscheck.pipelines.check import run_with_cases
from crosscheck.records import Ledger, Workload


def check_pipelines(models: Sequence[str], asked: Workload, **options: Any) -> Iterator[Ledger]:
    """`check_pipeline` of each, in order, what they have in common once.

    One is counted at a time, by as many tools as there are processors; running the next ones hollow takes one each.
    """
    if not can_fork() or processors() == 1:
        yield from (run_with_cases(model, asked, **options)[0] for model in models)
        return
    from diffusers import DiffusionPipeline  # noqa: F401  once, here: it takes as long as a model

    import crosscheck.pipelines.hollow  # noqa: F401

    folder = tempfile.TemporaryDirectory()
    pool = ProcessPoolExecutor(3, multiprocessing.get_context("fork"), initializer=_prepare)
    work = partial(_encoded, folder=Path(folder.name), asked=asked, **options)
    try:
        for encoded in pool.map(work, models):
            yield msgspec.msgpack.decode(encoded, type=Ledger)
    except BrokenProcessPool as error:
        raise CrosscheckError(
            "a process that counted a model died (out of memory?); run fewer models at once"
        ) from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        folder.cleanup()


def _prepare() -> None:
    """Make this process one that counts models, beside another."""
    import torch

    torch.set_num_threads(1)
    gc.disable()  # a collection walks through all of torch, for a fifth of the time


def _encoded(model: str, folder: Path, asked: Workload, **options: Any) -> bytes:
    """A ledger as bytes: a default that was pickled is no longer the default to msgspec, and would be written."""
    from crosscheck.engine.shared_counts import SharedCounts

    return msgspec.msgpack.encode(run_with_cases(model, asked, count=SharedCounts(folder).measure, **options)[0])
