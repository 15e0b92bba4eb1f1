"""The command line: the only module that prints or exits.

stdout is the result, stderr progress and summary. Exit status 0: all agree or explained; 1: a residual, an unequal
reference, an uncounted component, a changed total, a failure that no cause predicts; 2: usage, bad input, unlike
ledgers, or nothing was measured.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from crosscheck.records import CrosscheckError, UsageError

if TYPE_CHECKING:
    from crosscheck.measure import Progress
    from crosscheck.records import Ledger

UNEXPLAINED, BAD_INPUT, INTERRUPTED = 1, 2, 130

app = typer.Typer(
    name="crosscheck",
    help="The same diffusion model under every FLOP counter, each difference explained to the last MAC. "
    "--debug shows the traceback of an error.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main() -> NoReturn:
    """Run the command line; every error is one line, unless --debug is given."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    try:
        status = app(args=arguments, standalone_mode=False)
        sys.stdout.flush()
    except KeyboardInterrupt:
        _say("interrupted; no file was left half-written")
        status = INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python's own flush at exit complains
        status = 0
    except (CrosscheckError, typer.TyperException) as error:
        if debug:
            raise
        text = error.format_message() if isinstance(error, typer.TyperException) else str(error)
        _say(f"error: {' '.join(text.split())}")
        status = BAD_INPUT
    except typer.Abort:
        status = INTERRUPTED
    except Exception as error:
        if debug:
            raise
        _say(f"error: {type(error).__name__}: {' '.join(str(error).split())}; --debug shows where")
        status = BAD_INPUT
    sys.exit(status or 0)


def _say(text: str) -> None:
    print(f"crosscheck: {text}", file=sys.stderr)


@app.command()
def run(
    models: Annotated[
        list[str] | None, typer.Argument(metavar="[MODEL]...", help="Catalogue name, folder or hub id.")
    ] = None,
    backend: Annotated[
        list[str] | None, typer.Option("--backend", "-b", help="A backend, or all; default the core ones.")
    ] = None,
    height: Annotated[int | None, typer.Option(help="Pixels; default the model's own.")] = None,
    width: Annotated[int | None, typer.Option(help="Pixels; default the model's own.")] = None,
    batch_size: Annotated[int, typer.Option(help="Images of a generation.")] = 1,
    steps: Annotated[int, typer.Option(help="num_inference_steps.")] = 30,
    guidance_scale: Annotated[float | None, typer.Option(help="Default the pipeline's own.")] = None,
    scheduler: Annotated[str | None, typer.Option(metavar="CLASS", help="A scheduler class of diffusers.")] = None,
    output: Annotated[Path | None, typer.Option("-o", metavar="DIR", help="Write report, ledger and chart.")] = None,
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the ledger; a folder with several models.")
    ] = None,
) -> int:
    """Count models under every backend and explain each difference."""
    from crosscheck import backends, pipelines, report

    chosen = models or ["sd21-base"]
    backends.choose(backend)
    json_folder = json if json is not None and len(chosen) > 1 else None
    for folder in (output, json_folder, json.parent if json and not json_folder else None):
        _writable(folder)
    ledgers = []
    for model in chosen:
        with _progress(model) as progress:
            ledger = pipelines.check_pipeline(
                model,
                height=height,
                width=width,
                batch_size=batch_size,
                num_inference_steps=steps,
                guidance_scale=guidance_scale,
                scheduler=scheduler,
                backends=backend,
                progress=progress,
            )
        ledgers.append(ledger)
        print(report.summary(ledger))
        if output:
            _wrote(report.write(ledger, output))
            _save(ledger, output / f"{report.stem(ledger.model)}.json")
        if json_folder:
            _save(ledger, json_folder / f"{report.stem(ledger.model)}.json")
        elif json:
            _save(ledger, json)
    _index(ledgers, output)
    return _judge(ledgers)


@app.command("report")
def report_(
    ledgers: Annotated[list[Path], typer.Argument(metavar="LEDGER...", help="Ledgers that run wrote.")],
    output: Annotated[Path, typer.Option("-o", metavar="DIR", help="Where the reports go.")],
) -> int:
    """Write reports from ledgers again, without torch."""
    from crosscheck import report

    loaded = _load(ledgers)
    _writable(output)
    for ledger in loaded:
        _wrote(report.write(ledger, output))
    _index(loaded, output)
    return _judge(loaded)


@app.command()
def compare(
    ledgers: Annotated[list[Path], typer.Argument(metavar="LEDGER LEDGER...", help="Ledgers of one model.")],
) -> int:
    """Say what changed between runs of the same case."""
    from crosscheck.report import comparison

    compared = comparison.compare(_load(ledgers))
    print(compared.text)
    return UNEXPLAINED if compared.changed_totals else 0


@app.command("list")
def list_(
    what: Annotated[str, typer.Argument(metavar="backends|models|causes", help="What to list.")],
) -> int:
    """List backends, catalogue models or causes."""
    from crosscheck import listing

    if what not in listing.LISTS:
        raise UsageError(f"can't list {what!r}; allowed: {', '.join(listing.LISTS)}")
    print(listing.LISTS[what]())
    return 0


def _load(paths: Sequence[Path]) -> list[Ledger]:
    """Ledgers with their reconciliation made again; where it changed, the new one counts and a line says so."""
    from crosscheck import ledger, reconcile

    loaded = []
    for path in paths:
        remade, changed = reconcile.again(ledger.load(path))
        if changed:
            _say(f"{path}: reconciled again with this crosscheck; changed: {'; '.join(changed)}")
        loaded.append(remade)
    return loaded


def _judge(ledgers: Sequence[Ledger]) -> int:
    from crosscheck import report

    problems = [f"{ledger.model}: {problem}" for ledger in ledgers for problem in report.problems(ledger)]
    for problem in problems:
        _say(problem)
    if problems:
        return UNEXPLAINED
    _say(f"{', '.join(ledger.model for ledger in ledgers)}: every counter is explained to the last MAC")
    return 0


def _index(ledgers: Sequence[Ledger], folder: Path | None) -> None:
    """Several reports get a page that leads to them."""
    from crosscheck import report
    from crosscheck.files import write_atomically

    if folder and len(ledgers) > 1:
        _wrote([write_atomically(folder / "README.md", report.index(ledgers))])


def _save(ledger: Ledger, path: Path) -> None:
    from crosscheck.files import write_atomically

    _wrote([write_atomically(path, ledger.to_json())])


def _wrote(paths: Sequence[Path]) -> None:
    for path in paths:
        _say(f"wrote {path}")


def _writable(folder: Path | None) -> None:
    if folder is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"can't write to {folder}: {error.strerror}; give a folder that can be written") from error
    if not os.access(folder, os.W_OK):
        raise UsageError(f"can't write to {folder}: permission denied; give a folder that can be written")


@contextmanager
def _progress(model: str) -> Iterator[Progress]:
    """A line on stderr that says what is done."""
    from rich.console import Console

    console = Console(stderr=True)
    with console.status(f"{model}: loading") as status:

        def done(case: str, tool: str) -> None:
            status.update(f"{model}: {case}: {tool} done")

        yield done
