"""The command line: the only module that prints or exits.

stdout is the result, stderr progress and summary. Exit status 0: all agree or explained; 1: a residual, an unequal
reference, an uncounted component, one that a witness could not run, a changed total, a failure that no cause predicts;
2: usage, bad input, unlike ledgers, or nothing was measured.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, TextIO, TypeAlias

import typer

from crosscheck import completion
from crosscheck.records import CrosscheckError, UsageError, meant

if TYPE_CHECKING:
    from crosscheck.measure import Progress
    from crosscheck.records import Ledger, Witness
    from crosscheck.sweep import Point

UNEXPLAINED, BAD_INPUT, INTERRUPTED = 1, 2, 130

Form: TypeAlias = Annotated[Literal["table", "json", "markdown"], typer.Option("--format", help="What to print.")]
Model: TypeAlias = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="Catalogue name, folder or hub id.", autocompletion=completion.models),
]

app = typer.Typer(
    name="crosscheck",
    help="The same diffusion model under every FLOP counter, each difference explained to the last MAC. "
    "--debug shows the traceback of an error.",
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _release(asked: bool) -> None:
    if asked:
        from crosscheck import __version__

        _print(f"crosscheck {__version__}", sys.stdout)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the release.", callback=_release)] = False,
) -> None:
    """Before any command."""


def main() -> NoReturn:
    """Run the command line; every error is one line, after its traceback if --debug is given."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    interrupts = _interrupts()
    try:
        status = app(args=arguments, prog_name="crosscheck", standalone_mode=False) or 0
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    except Exception as error:
        status = INTERRUPTED if interrupts else BAD_INPUT
        if debug:
            traceback.print_exc()
        if not interrupts:
            _say(f"error: {_described(error, arguments)}")
    if status == INTERRUPTED:
        _say("interrupted; no file was left half-written")
    sys.exit(status)


def _interrupts() -> list[int]:
    """Ctrl-C, remembered: a package interrupted while it is imported may answer with an error of its own."""
    received: list[int] = []

    def interrupt(number: int, frame: object) -> NoReturn:
        received.append(number)
        raise KeyboardInterrupt

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)
    return received


def _described(error: Exception, arguments: Sequence[str]) -> str:
    """What was got, what is allowed, what to do."""
    if isinstance(error, CrosscheckError):
        return str(error)
    if isinstance(error, typer.TyperException):
        got = f"; got: {shlex.join(arguments)}" if isinstance(error, typer.BadParameter) else ""
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "crosscheck"
        return f"{error.format_message().rstrip('.')}{got}; {command} --help shows what is allowed"
    return f"{type(error).__name__}: {error}; --debug shows where"


def _say(text: str) -> None:
    from crosscheck.report.text import plain

    _print(f"crosscheck: {plain(text, longest=4_000)}", sys.stderr)


def _show(result: str) -> None:
    """The result of a command, and nothing where there is none."""
    if text := result.rstrip():
        _print(text, sys.stdout)


def _print(text: str, stream: TextIO) -> None:
    """A line that a reader who has gone (``| head -1``) does not turn into an error."""
    try:
        print(text, file=stream, flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # else Python's own flush at exit fails once more
        if not isinstance(error, BrokenPipeError):
            raise


@app.command()
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
    from crosscheck import backends, pipelines, report
    from crosscheck import ledger as files
    from crosscheck.report import explore
    from crosscheck.run import check_pipeline, check_pipelines

    chosen = models or ["sd21-base"]
    pages = (output or Path()) if html else None
    if html:
        explore.require()
    backends.choose(backend)
    json_folder = json if json is not None and len(chosen) > 1 else None
    if len(chosen) > 1:
        _distinct((model, pipelines.locate(model)[0]) for model in chosen)
    if json is not None and not json_folder and json.is_dir():
        raise UsageError(f"--json {json} is a folder; with one model it names a file")
    for folder in (output, json_folder, pages):
        _writable(folder)
    _beside(json if not json_folder else None)
    options = {
        **_arguments(height, width, frames, batch_size, steps, guidance_scale, scheduler),
        "backends": backend,
    }
    several = check_pipelines(chosen, **options) if len(chosen) > 1 else None
    ledgers = []
    for model in chosen:
        with _progress(model) as progress:
            ledger = next(several) if several else check_pipeline(model, progress=progress, **options)
        ledgers.append(ledger)
        if form != "json":
            _show(report.FORMATS[form](ledger))
        if output:
            _wrote(report.write(ledger, output))
            _save(ledger, output / f"{report.stem(ledger.model)}.json")
        if pages:
            _wrote(explore.write(ledger, pages))
        if json_folder:
            _save(ledger, json_folder / f"{report.stem(ledger.model)}.json")
        elif json:
            _save(ledger, json)
    if form == "json":
        _show(files.dumps(ledgers if len(ledgers) > 1 else ledgers[0]))
    _index(ledgers, output)
    return _judge(ledgers)


@app.command("report")
def report_(
    ledgers: Annotated[
        list[Path], typer.Argument(metavar="LEDGER...", help="Ledgers that run, doctor and witness wrote.")
    ],
    output: Annotated[Path, typer.Option("-o", metavar="DIR", help="Where the reports go.")],
    html: Annotated[bool, typer.Option("--html", help="Write pages to explore, too.")] = False,
) -> int:
    """Write reports from ledgers again, without torch; with a doctor's among them, the scoreboard of counters too."""
    from crosscheck import ledger as files
    from crosscheck import report
    from crosscheck.report import counters, explore, scoreboard
    from crosscheck.report import witness as pages

    if html:
        explore.require()
    seen = {path: found for path in ledgers if (found := files.load_witness(path))}
    paths = [path for path in ledgers if path not in seen]
    loaded = _load(paths)
    _distinct((str(path), ledger.model) for path, ledger in zip(paths, loaded, strict=True))
    _writable(output)
    _wrote(pages.write([*seen.values()], output))
    for ledger in loaded:
        _wrote(report.write(ledger, output))
        if html:
            _wrote(explore.write(ledger, output))
    _index(loaded, output)
    models, doctors = [ledger for ledger in loaded if ledger.workload], [*filter(counters.is_doctors, loaded)]
    if models and doctors:
        _wrote(scoreboard.write(models, doctors[0], output))
    return _judge(loaded) if loaded else 0


@app.command()
def compare(
    ledgers: Annotated[
        list[Path], typer.Argument(metavar="LEDGER LEDGER...", help="Ledgers, two or more of each model.")
    ],
    output: Annotated[Path | None, typer.Option("-o", metavar="DIR", help="Write versions.md and its chart.")] = None,
    form: Form = "table",
) -> int:
    """Say what changed between runs of the same case, by how many MACs, and why."""
    from crosscheck.report import compare, drift

    loaded = _load(ledgers)
    compared = compare(loaded)
    _writable(output)
    _show(drift.FORMATS[form](compared))
    if output:
        _wrote(drift.write(compared, output))
    return UNEXPLAINED if _problems(loaded) or compared.changed_totals else 0


@app.command()
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

    from crosscheck import report
    from crosscheck.report import gate as pages
    from crosscheck.report.text import plural
    from crosscheck.run import check_pipeline

    (before,) = _load([baseline])
    work = before.workload
    if work is None:
        raise UsageError(f"{baseline} is of a module by itself; give the ledger of a pipeline")
    with _progress(before.model) as progress:
        fresh = check_pipeline(
            model or before.model,
            height=work.height,
            width=work.width,
            num_frames=work.frames,
            batch_size=work.batch_size,
            num_inference_steps=work.steps,
            guidance_scale=work.guidance_scale,
            scheduler=work.scheduler or None,
            backends=list(dict.fromkeys(name for part in before.components for name in part.backends)),
            progress=progress,
        )
    found = report.regressions(before, structs.replace(fresh, model=before.model))
    _show(pages.FORMATS[form](found))
    outcome = f"{plural(len(found), 'change')} since" if found else "as in"
    _say(f"{before.model}: {outcome} {baseline}")
    return UNEXPLAINED if found else 0


@app.command()
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
    from crosscheck import configs, pipelines
    from crosscheck import formula as closed
    from crosscheck.report import formula as pages

    _positive(height=height, width=width, frames=frames, batch_size=batch_size, tokens=tokens)
    name, folder = pipelines.locate(model)
    asked: dict[str, Any] = {"height": height, "width": width, "frames": frames, "tokens": tokens}
    parts = closed.parts(configs.read(folder, name), configs.stated(folder), batch_size=batch_size, **asked)
    chosen = [part for part in parts if component in (None, part.name)]
    if not chosen:
        names = [part.name for part in parts]
        hint = meant(component or "", names)
        allowed = ", ".join(names) or "none of this model"
        raise UsageError(f"no closed form for component {component!r} of {name}; {hint}allowed: {allowed}")
    _show(pages.FORMATS[form]([*map(closed.written, chosen)]))
    return 0


@app.command()
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
    from crosscheck.report import sweep as pages

    _writable(output)
    _beside(json)
    axes = _arguments(height, width, frames, batch_size, steps, guidance_scale, scheduler)
    points = sweeps.sweep(models, {name: values for name, values in axes.items() if values}, engine=engine)
    failed = [point for point in points if point.macs is None]
    if len(failed) == len(points):
        raise UsageError(f"no point could be counted; the first says: {failed[0].error}")
    _show(pages.FORMATS[form](points))
    if output:
        _wrote(pages.write(points, output))
    if json:
        _save(points, json)
    for point in failed:
        _say(f"{point.model}: {point.error}")
    return UNEXPLAINED if failed else 0


@app.command()
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
    from crosscheck import doctor as examination
    from crosscheck.report import counters

    if fuzz is not None:
        if output or json or form != "table":
            raise UsageError("--fuzz prints what it finds; leave out -o, --json and --format")
        return _fuzz(backend, fuzz, seed or 0)
    if seed is not None:
        raise UsageError(f"--seed {seed} goes with --fuzz N, which is not given")
    _writable(output)
    _beside(json)
    with _progress("doctor") as progress:
        ledger = examination.examine(backend, progress=progress)
    _show(counters.FORMATS[form](ledger))
    if output:
        _wrote(counters.write(ledger, output))
        _save(ledger, output / f"{counters.FILE}.json")
    if json:
        _save(ledger, json)
    return _judge([ledger])


def _fuzz(backends: Sequence[str] | None, programs: int, seed: int) -> int:
    from crosscheck.doctor.fuzz import fuzz

    unexplained = False
    for result in fuzz(backends, programs, seed):
        names = ", ".join(result.backends)
        if result.error or result.finding:
            unexplained = True
            _say(f"{names}: {result.error or 'not explained, after ' + format(result.programs, ',') + ' programs'}")
        if result.finding:
            _print(f"# {result.finding.what}\n{result.finding.repro}", sys.stdout)
        elif not result.error and not result.programs:
            _say(f"{names}: not here; crosscheck doctor says why")
        elif not result.error:
            _say(
                f"{names}: {result.programs:,} random modules, each explained to the last MAC"
                + (f"; {result.predicted:,} without a number, as predicted" if result.predicted else "")
            )
    return UNEXPLAINED if unexplained else 0


def _positive(**sizes: int | None) -> None:
    for name, size in sizes.items():
        if size is not None and size < 1:
            raise UsageError(f"{name.replace('_', ' ')}: got {size}; allowed: a whole number from 1")


def _arguments(
    height: Any, width: Any, frames: Any, batch_size: Any, steps: Any, guidance_scale: Any, scheduler: Any
) -> dict[str, Any]:
    """Our options by the names that a pipeline's call has for them."""
    return {
        "height": height,
        "width": width,
        "num_frames": frames,
        "batch_size": batch_size,
        "num_inference_steps": steps,
        "guidance_scale": guidance_scale,
        "scheduler": scheduler,
    }


@app.command()
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
    from crosscheck.report import witness as pages

    for folder in (output, json.parent if json else None):
        _writable(folder)
    from crosscheck.witnesses.observe import observe

    asked = {
        "height": height,
        "width": width,
        "num_frames": frames,
        "num_inference_steps": None,
        "guidance_scale": None,
    }
    with _progress(model) as progress:
        seen = observe(model, with_, component=component, dtype=dtype, asked=asked, progress=progress)
    for name, reason in seen.refused.items():
        _say(f"{seen.model}: {name}: {reason}")
    if not seen.components:
        raise UsageError(f"{seen.model}: no component could be run")
    _show(pages.FORMATS[form](seen))
    if json:
        _save(seen, json)
    if output:
        _save(seen, output / f"{pages.ledger_file(seen)}.json")
        _wrote(pages.write([seen], output))
    return UNEXPLAINED if seen.refused or any(pages.problems(seen)) else 0


@app.command()
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
    from crosscheck import claims
    from crosscheck import ledger as files
    from crosscheck.report import claims as pages
    from crosscheck.report.text import plural

    read = claims.load(file)
    if allow_code:
        sys.path.insert(0, str(file.parent.resolve()))
    _writable(output)
    ledgers = _load([path for place in ledger or [] for path in files.runs(place)])
    with _progress(file.name) as progress:
        found, weighed = claims.audit_all(read, ledgers, allow_code=allow_code, progress=progress)
    _show(pages.FORMATS[form](found, weighed, read.overhead))
    if output:
        _wrote(pages.write(found, weighed, read.overhead, output))
    refuted = sum(claim.verdict == "refuted" for claim in found)
    _say(f"{file}: {plural(len(found), 'claim')}, {refuted:,} refuted")
    return UNEXPLAINED if refuted else 0


@app.command("list")
def list_(
    what: Annotated[
        str,
        typer.Argument(metavar="backends|models|causes", help="What to list.", autocompletion=completion.lists),
    ],
    form: Form = "table",
) -> int:
    """List backends, catalogue models or causes."""
    from crosscheck import listing

    if what not in listing.LISTS:
        raise UsageError(f"can't list {what!r}; {meant(what, listing.LISTS)}allowed: {', '.join(listing.LISTS)}")
    _show(listing.LIST_FORMATS[form](listing.LISTS[what]()))
    return 0


@app.command()
def explain(
    cause: Annotated[
        str,
        typer.Argument(metavar="CAUSE", help="A cause's name, as reports have it.", autocompletion=completion.causes),
    ],
    form: Form = "table",
) -> int:
    """Say what a cause is, which backends it concerns, and where its source is."""
    from crosscheck import listing

    _show(listing.CAUSE_FORMATS[form](listing.explain(cause)))
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


def _problems(ledgers: Sequence[Ledger]) -> bool:
    """Say what is not settled; whether anything is not."""
    from crosscheck import report

    problems = [f"{ledger.model}: {problem}" for ledger in ledgers for problem in report.problems(ledger)]
    for problem in problems:
        _say(problem)
    return bool(problems)


def _judge(ledgers: Sequence[Ledger]) -> int:
    from crosscheck.records import Counted

    if _problems(ledgers):
        return UNEXPLAINED
    for ledger in ledgers:
        if not any(isinstance(outcome, Counted) for part in ledger.components for outcome in part.backends.values()):
            raise UsageError(f"{ledger.model}: nothing was measured")
    _say(f"{', '.join(ledger.model for ledger in ledgers)}: every counter is explained to the last MAC")
    return 0


def _index(ledgers: Sequence[Ledger], folder: Path | None) -> None:
    """Several reports get a page that leads to them, unless a README of the user's lies there."""
    from crosscheck import report
    from crosscheck.files import write_atomically

    if not folder or len(ledgers) < 2:
        return
    page, text = folder / "README.md", report.index(ledgers)
    if page.exists() and not page.read_bytes().startswith(text.splitlines()[0].encode()):
        _say(f"kept {page}: it is not an index of reports")
    else:
        _wrote([write_atomically(page, text)])


def _save(record: Ledger | Witness | Sequence[Point], path: Path) -> None:
    from crosscheck import ledger
    from crosscheck.files import write_atomically

    _wrote([write_atomically(path, ledger.dumps(record))])


def _wrote(paths: Sequence[Path]) -> None:
    for path in paths:
        _say(f"wrote {path}")


def _distinct(models: Iterable[tuple[str, str]]) -> None:
    """Refuse two sources, each with its model's label, that would be written to one file."""
    from crosscheck import report

    files: dict[str, str] = {}
    for source, label in models:
        file = report.stem(label)
        if file in files:
            raise UsageError(f"{files[file]!r} and {source!r} would both be written as {file}; do one at a time")
        files[file] = source


def _beside(file: Path | None) -> None:
    """A file goes into a folder that is there: one that is not is a slip more often than a wish."""
    if file is None:
        return
    if not file.parent.exists():
        raise UsageError(f"can't write {file}: there is no folder {file.parent}; make it first, or give another FILE")
    _writable(file.parent)


def _writable(folder: Path | None) -> None:
    if folder is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):  # the only sure test: a mount may refuse what the mode allows
            pass
    except OSError as error:
        raise UsageError(f"can't write to {folder}: {error.strerror}; give a folder that can be written") from error


@contextmanager
def _progress(model: str) -> Iterator[Progress]:
    """A line on stderr that says what is done."""
    from rich.console import Console

    console = Console(stderr=True)
    with console.status(f"{model}: loading") as status:

        def done(case: str, tool: str) -> None:
            status.update(f"{model}: {case}: {tool} done")

        yield done
