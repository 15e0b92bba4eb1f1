"""What each counter gets right."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from crosscheck.cli import completion
from crosscheck.cli.options import Form
from crosscheck.cli.output import (
    UNEXPLAINED,
    beside,
    judge,
    print_line,
    progress_of,
    save,
    say,
    show,
    writable,
    wrote,
)
from crosscheck.errors import UsageError


def doctor(
    backend: Annotated[
        list[str] | None,
        typer.Option(
            "--backend",
            "-b",
            help="A backend; default every one that is installed.",
            autocompletion=completion.backends,
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", metavar="DIR", help="Write counters.md, its ledger and chart.")
    ] = None,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the ledger.")] = None,
    fuzz: Annotated[
        int | None,
        typer.Option(metavar="N", help="Instead, count N random modules under each counter and print what is found."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="With --fuzz: the same seed gives the same modules; default 0.")
    ] = None,
    form: Form = "table",
) -> int:
    """Say what each installed counter gets right, one operation at a time, against truth worked out by hand."""
    from crosscheck.doctor.examine import examine
    from crosscheck.doctor.laws import NAME
    from crosscheck.report.pages import counters as page

    if fuzz is not None:
        if output or json or form != "table":
            raise UsageError("--fuzz prints what it finds; leave out -o, --json and --format")
        return _fuzz(backend, fuzz, seed or 0)
    if seed is not None:
        raise UsageError(f"--seed {seed} goes with --fuzz N, which is not given")
    writable(output)
    beside(json)
    with progress_of("doctor") as progress:
        ledger = examine(backend, progress=progress)
    show(page.FORMATS[form](ledger))
    if output:
        wrote(page.write(ledger, output))
        save(ledger.to_json(), output / f"{NAME}.json")
    if json:
        save(ledger.to_json(), json)
    return judge([ledger])


def _fuzz(backends: Sequence[str] | None, programs: int, seed: int) -> int:
    from crosscheck.doctor.fuzz import fuzz

    unexplained = False
    for result in fuzz(backends, programs, seed):
        names = ", ".join(result.backends)
        if result.error or result.finding:
            unexplained = True
            say(f"{names}: {result.error or 'not explained, after ' + format(result.programs, ',') + ' programs'}")
        if result.finding:
            print_line(f"# {result.finding.what}\n{result.finding.repro}", sys.stdout)
        elif not result.error and not result.programs:
            say(f"{names}: not here; crosscheck doctor says why")
        elif not result.error:
            say(
                f"{names}: {result.programs:,} random modules, each explained to the last MAC"
                + (f"; {result.predicted:,} without a number, as predicted" if result.predicted else "")
            )
    return UNEXPLAINED if unexplained else 0
