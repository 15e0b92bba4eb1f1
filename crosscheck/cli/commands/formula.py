"""Closed forms, and generations over a grid."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from crosscheck.cli import completion
from crosscheck.cli.options import Form, Model, positive
from crosscheck.cli.output import (
    UNEXPLAINED,
    beside,
    save,
    say,
    show,
    writable,
    wrote,
)
from crosscheck.errors import UsageError
from crosscheck.hints import did_you_mean


def formula(
    model: Model,
    component: Annotated[
        str | None,
        typer.Option(help="One component; default all that have a closed form.", autocompletion=completion.components),
    ] = None,
    height: Annotated[int | None, typer.Option(help="Pixels to evaluate at; default the model's own.")] = None,
    width: Annotated[int | None, typer.Option(help="Pixels.")] = None,
    frames: Annotated[int | None, typer.Option(help="Frames of a video.")] = None,
    batch_size: Annotated[int, typer.Option(help="Images.")] = 1,
    tokens: Annotated[int | None, typer.Option(help="Tokens of text; default the model's own.")] = None,
    form: Form = "table",
) -> int:
    """Print the closed form of MACs, as text and LaTeX, and evaluate it; torch is not needed."""
    from crosscheck.closed_form import in_writing
    from crosscheck.models import build, configs
    from crosscheck.report.pages import formula as page

    positive(height=height, width=width, frames=frames, batch_size=batch_size, tokens=tokens)
    name, folder = build.locate(model)
    asked: dict[str, Any] = {"height": height, "width": width, "frames": frames, "tokens": tokens}
    parts = in_writing.parts(configs.read(folder, name), configs.stated(folder), batch_size=batch_size, **asked)
    chosen = [part for part in parts if component in (None, part.name)]
    if not chosen:
        names = [part.name for part in parts]
        hint = did_you_mean(component or "", names)
        allowed = ", ".join(names) or "none of this model"
        raise UsageError(f"no closed form for component {component!r} of {name}; {hint}allowed: {allowed}")
    show(page.FORMATS[form]([*map(in_writing.written, chosen)]))
    return 0


def sweep(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...", help="Catalogue names, folders or hub ids.", autocompletion=completion.models
        ),
    ],
    height: Annotated[list[int] | None, typer.Option(help="Pixels; give it again for each point.")] = None,
    width: Annotated[list[int] | None, typer.Option(help="Pixels; default the height, where one is given.")] = None,
    frames: Annotated[list[int] | None, typer.Option(help="Frames of a video.")] = None,
    batch_size: Annotated[list[int] | None, typer.Option(help="Images of a generation.")] = None,
    steps: Annotated[list[int] | None, typer.Option(help="num_inference_steps.")] = None,
    guidance_scale: Annotated[list[float] | None, typer.Option(help="Guidance scale.")] = None,
    scheduler: Annotated[
        list[str] | None,
        typer.Option(metavar="CLASS", help="Scheduler classes.", autocompletion=completion.schedulers),
    ] = None,
    engine: Annotated[
        str | None, typer.Option(metavar="NAME", help="joblib's backend for points that must be traced.")
    ] = None,
    output: Annotated[Path | None, typer.Option("-o", metavar="DIR", help="Write sweep.md and its chart.")] = None,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the points.")] = None,
    form: Form = "table",
) -> int:
    """Count generations over sizes, batches, steps and guidance: from the closed form where there is one."""
    from crosscheck import sweep as sweeps
    from crosscheck.records import CALL_NAMES, dumps
    from crosscheck.report.pages import sweep as page

    writable(output)
    beside(json)
    axes: dict[str, Any] = {
        "height": height,
        "width": width,
        "frames": frames,
        "batch_size": batch_size,
        "steps": steps,
        "guidance_scale": guidance_scale,
        "scheduler": scheduler,
    }
    given = {CALL_NAMES.get(name, name): values for name, values in axes.items() if values}
    points = sweeps.sweep(models, given, engine=engine)
    failed = [point for point in points if point.macs is None]
    if len(failed) == len(points):
        raise UsageError(f"no point could be counted; the first says: {failed[0].error}")
    show(page.FORMATS[form](points))
    if output:
        wrote(page.write(points, output))
    if json:
        save(dumps(points), json)
    for point in failed:
        say(f"{point.model}: {point.error}")
    return UNEXPLAINED if failed else 0
