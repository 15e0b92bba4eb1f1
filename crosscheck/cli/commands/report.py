"""From ledgers: reports again, comparisons, a gate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crosscheck.cli import completion
from crosscheck.cli.options import Form
from crosscheck.cli.output import (
    UNEXPLAINED,
    distinct,
    judge,
    load,
    progress_of,
    say,
    say_problems,
    show,
    writable,
    write_index,
    wrote,
)
from crosscheck.errors import UsageError


def report(
    ledgers: Annotated[
        list[Path], typer.Argument(metavar="LEDGER...", help="Ledgers that run, doctor and witness wrote.")
    ],
    output: Annotated[Path, typer.Option("-o", metavar="DIR", help="Where the reports go.")],
    html: Annotated[bool, typer.Option("--html", help="Write pages to explore, too.")] = False,
) -> int:
    """Write reports from ledgers again, without torch; with a doctor's among them, the scoreboard of counters too."""
    from crosscheck.report.explore import page as explorer
    from crosscheck.report.pages import run, scoreboard
    from crosscheck.report.pages import witness as witness_pages
    from crosscheck.report.tally import is_doctors
    from crosscheck.witnesses.ledgers import load_witness

    if html:
        explorer.require()
    seen = {path: found for path in ledgers if (found := load_witness(path))}
    paths = [path for path in ledgers if path not in seen]
    loaded = load(paths)
    distinct((str(path), ledger.model) for path, ledger in zip(paths, loaded, strict=True))
    writable(output)
    wrote(witness_pages.write([*seen.values()], output))
    for ledger in loaded:
        wrote(run.write(ledger, output))
        if html:
            wrote(explorer.write(ledger, output))
    write_index(loaded, output)
    models, doctors = [ledger for ledger in loaded if ledger.workload], [*filter(is_doctors, loaded)]
    if models and doctors:
        wrote(scoreboard.write(models, doctors[0], output))
    return judge(loaded) if loaded else 0


def compare(
    ledgers: Annotated[
        list[Path], typer.Argument(metavar="LEDGER LEDGER...", help="Ledgers, two or more of each model.")
    ],
    output: Annotated[Path | None, typer.Option("-o", metavar="DIR", help="Write versions.md and its chart.")] = None,
    form: Form = "table",
) -> int:
    """Say what changed between runs of the same case, by how many MACs, and why."""
    from crosscheck.report import comparison
    from crosscheck.report.pages import versions

    loaded = load(ledgers)
    compared = comparison.compare(loaded)
    writable(output)
    show(versions.FORMATS[form](compared))
    if output:
        wrote(versions.write(compared, output))
    return UNEXPLAINED if say_problems(loaded) or compared.changed_totals else 0


def gate(
    baseline: Annotated[Path, typer.Argument(metavar="BASELINE.json", help="The ledger to hold a new run against.")],
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL]",
            help="Where the model is now; default the baseline's own name.",
            autocompletion=completion.models,
        ),
    ] = None,
    form: Form = "table",
) -> int:
    """Run the baseline's case again; fail when a recommended total or a counter's verdict changed."""
    from msgspec import structs

    from crosscheck.pipelines.check import run_with_cases
    from crosscheck.report.comparison import regressions
    from crosscheck.report.pages import gate as page
    from crosscheck.report.text import plural

    (before,) = load([baseline])
    if before.workload is None:
        raise UsageError(f"{baseline} is of a module by itself; give the ledger of a pipeline")
    with progress_of(before.model) as progress:
        names = list(dict.fromkeys(name for part in before.components for name in part.backends))
        fresh, _ = run_with_cases(model or before.model, before.workload, backends=names, progress=progress)
    found = regressions(before, structs.replace(fresh, model=before.model))
    show(page.FORMATS[form](found))
    outcome = f"{plural(len(found), 'change')} since" if found else "as in"
    say(f"{before.model}: {outcome} {baseline}")
    return UNEXPLAINED if found else 0
