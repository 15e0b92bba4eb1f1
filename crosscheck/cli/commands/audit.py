"""What published numbers mean."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from crosscheck.cli.options import Form
from crosscheck.cli.output import (
    UNEXPLAINED,
    load,
    progress_of,
    say,
    show,
    writable,
    wrote,
)


def audit(
    file: Annotated[Path, typer.Argument(metavar="CLAIMS.toml", help="Published numbers, a [[claim]] each.")],
    ledger: Annotated[
        list[Path] | None,
        typer.Option(metavar="LEDGER", help="A run to take instead of running its model again; or a folder of them."),
    ] = None,
    allow_code: Annotated[
        bool, typer.Option(help="Let a claim's model be module:function, and run it; a module may lie beside the file.")
    ] = False,
    form: Form = "table",
    output: Annotated[Path | None, typer.Option("-o", metavar="DIR", help="Write claims.md.")] = None,
) -> int:
    """Say what published numbers mean: the convention that prints their digits, and the right total."""
    from crosscheck import ledger as ledgers
    from crosscheck.audit import verdicts
    from crosscheck.report.pages import claims as page
    from crosscheck.report.text import plural

    read = verdicts.load(file)
    if allow_code:
        sys.path.insert(0, str(file.parent.resolve()))
    writable(output)
    loaded = load([path for place in ledger or [] for path in ledgers.runs(place)])
    with progress_of(file.name) as progress:
        found, weighed = verdicts.audit_all(read, loaded, allow_code=allow_code, progress=progress)
    show(page.FORMATS[form](found, weighed, read.overhead))
    if output:
        wrote(page.write(found, weighed, read.overhead, output))
    refuted = sum(claim.verdict == "refuted" for claim in found)
    say(f"{file}: {plural(len(found), 'claim')}, {refuted:,} refuted")
    return UNEXPLAINED if refuted else 0
