"""What a processor executes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from crosscheck.cli import completion
from crosscheck.cli.options import Form, Model, workload
from crosscheck.cli.output import (
    UNEXPLAINED,
    progress_of,
    save,
    say,
    show,
    writable,
    wrote,
)
from crosscheck.errors import UsageError


def witness(
    model: Model,
    with_: Annotated[
        Literal["cpu", "ncu"], typer.Option("--with", help="The CPU's math libraries, or a GPU under Nsight Compute.")
    ],
    component: Annotated[
        str | None, typer.Option(help="One component; default each.", autocompletion=completion.components)
    ] = None,
    dtype: Annotated[str | None, typer.Option(help="On a GPU; default bfloat16. The CPU runs float32.")] = None,
    height: Annotated[int | None, typer.Option(help="Pixels; default the model's own.")] = None,
    width: Annotated[int | None, typer.Option(help="Pixels; default the model's own.")] = None,
    frames: Annotated[int | None, typer.Option(help="num_frames of a video; default the model's own.")] = None,
    output: Annotated[Path | None, typer.Option("-o", metavar="DIR", help="Write report, ledger and charts.")] = None,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the ledger.")] = None,
    form: Form = "table",
) -> int:
    """Run a model once for real, with random weights, and hold what the processor executed against its MACs."""
    from crosscheck.report.pages import witness as page

    for folder in (output, json.parent if json else None):
        writable(folder)
    from crosscheck.witnesses.observe import observe

    with progress_of(model) as progress:
        seen = observe(
            model, with_, component=component, dtype=dtype, asked=workload(height, width, frames), progress=progress
        )
    for name, reason in seen.refused.items():
        say(f"{seen.model}: {name}: {reason}")
    if not seen.components:
        raise UsageError(f"{seen.model}: no component could be run")
    show(page.FORMATS[form](seen))
    if json:
        save(seen.to_json(), json)
    if output:
        save(seen.to_json(), output / f"{page.ledger_file(seen)}.json")
        wrote(page.write([seen], output))
    return UNEXPLAINED if seen.refused or any(page.problems(seen)) else 0
