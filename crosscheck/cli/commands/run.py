"""Count models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crosscheck.cli import completion
from crosscheck.cli.options import Form, workload
from crosscheck.cli.output import (
    beside,
    distinct,
    judge,
    progress_of,
    save,
    show,
    writable,
    write_index,
    wrote,
)
from crosscheck.errors import UsageError


def run(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL]...", help="Catalogue name, folder or hub id.", autocompletion=completion.models
        ),
    ] = None,
    backend: Annotated[
        list[str] | None,
        typer.Option(
            "--backend", "-b", help="A backend, or all; default the core ones.", autocompletion=completion.backends
        ),
    ] = None,
    height: Annotated[int | None, typer.Option(help="Pixels; default the model's own.")] = None,
    width: Annotated[int | None, typer.Option(help="Pixels; default the model's own.")] = None,
    batch_size: Annotated[int, typer.Option(help="Images of a generation.")] = 1,
    frames: Annotated[int | None, typer.Option(help="num_frames of a video; default the model's own.")] = None,
    steps: Annotated[int | None, typer.Option(help="num_inference_steps; default the model's own, else 30.")] = None,
    guidance_scale: Annotated[float | None, typer.Option(help="Default the pipeline's own.")] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="CLASS", help="A scheduler class of diffusers.", autocompletion=completion.schedulers),
    ] = None,
    output: Annotated[Path | None, typer.Option("-o", metavar="DIR", help="Write report, ledger and chart.")] = None,
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the ledger; a folder with several models.")
    ] = None,
    html: Annotated[
        bool, typer.Option("--html", help="Write a page to explore, into DIR or the current folder.")
    ] = False,
    form: Form = "table",
) -> int:
    """Count models under every backend and explain each difference."""
    from crosscheck.backends import registry
    from crosscheck.models import build
    from crosscheck.pipelines.check import run_with_cases
    from crosscheck.pipelines.several import check_pipelines
    from crosscheck.records import compact
    from crosscheck.report.explore import page as explorer
    from crosscheck.report.pages import run as page
    from crosscheck.report.text import stem

    chosen = models or ["sd21-base"]
    pages = (output or Path()) if html else None
    if html:
        explorer.require()
    registry.choose(backend)
    json_folder = json if json is not None and len(chosen) > 1 else None
    if len(chosen) > 1:
        distinct((model, build.locate(model)[0]) for model in chosen)
    if json is not None and not json_folder and json.is_dir():
        raise UsageError(f"--json {json} is a folder; with one model it names a file")
    for folder in (output, json_folder, pages):
        writable(folder)
    beside(json if not json_folder else None)
    asked = workload(height, width, frames, batch_size, steps, guidance_scale, scheduler)
    several = check_pipelines(chosen, asked, backends=backend) if len(chosen) > 1 else None
    ledgers = []
    for model in chosen:
        with progress_of(model) as progress:
            if several:
                ledger = next(several)
            else:
                ledger, _ = run_with_cases(model, asked, backends=backend, progress=progress)
        ledgers.append(ledger)
        if form != "json":
            show(page.FORMATS[form](ledger))
        if output:
            wrote(page.write(ledger, output))
            save(ledger.to_json(), output / f"{stem(ledger.model)}.json")
        if pages:
            wrote(explorer.write(ledger, pages))
        if json_folder:
            save(ledger.to_json(), json_folder / f"{stem(ledger.model)}.json")
        elif json:
            save(ledger.to_json(), json)
    if form == "json":
        show(compact(ledgers if len(ledgers) > 1 else ledgers[0]))
    write_index(ledgers, output)
    return judge(ledgers)
