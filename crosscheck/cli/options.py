"""Options that commands share, and the workload that they are."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import typer

from crosscheck.cli import completion
from crosscheck.errors import UsageError
from crosscheck.records import Workload

Form: TypeAlias = Annotated[Literal["table", "json", "markdown"], typer.Option("--format", help="What to print.")]
Model: TypeAlias = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="Catalogue name, folder or hub id.", autocompletion=completion.models),
]


def workload(
    height: int | None = None,
    width: int | None = None,
    frames: int | None = None,
    batch_size: int = 1,
    steps: int | None = None,
    guidance_scale: float | None = None,
    scheduler: str | None = None,
) -> Workload:
    """The workload that a command asks of a pipeline. Raises `UsageError` for a scheduler without a name."""
    if scheduler == "":
        raise UsageError("unknown scheduler ''; allowed: a scheduler class of diffusers")
    return Workload(
        batch_size=batch_size,
        height=height,
        width=width,
        frames=frames,
        steps=steps,
        guidance_scale=guidance_scale,
        scheduler=scheduler or "",
    )


def positive(**sizes: int | None) -> None:
    """Refuse sizes below 1."""
    for name, size in sizes.items():
        if size is not None and size < 1:
            raise UsageError(f"{name.replace('_', ' ')}: got {size}; allowed: a whole number from 1")
