"""The command line: its commands, and how it ends.

stdout is the result, stderr progress and summary. Exit status 0: all agree or explained; 1: a residual, an unequal
reference, an uncounted component, one that a witness could not run, a changed total, a failure that no cause predicts;
2: usage, bad input, unlike ledgers, or nothing was measured.
"""

from __future__ import annotations

import gc
import shlex
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from crosscheck.cli.commands.audit import audit
from crosscheck.cli.commands.doctor import doctor
from crosscheck.cli.commands.formula import formula, sweep
from crosscheck.cli.commands.lists import explain, list_
from crosscheck.cli.commands.report import compare, gate, report
from crosscheck.cli.commands.run import run
from crosscheck.cli.commands.witness import witness
from crosscheck.cli.output import print_line, say
from crosscheck.errors import CrosscheckError

BAD_INPUT, INTERRUPTED = 2, 130


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

        print_line(f"crosscheck {__version__}", sys.stdout)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the release.", callback=_release)] = False,
) -> None:
    """Before any command."""


for _command in (run, report, compare, gate, formula, sweep, doctor, witness, audit):
    app.command()(_command)
app.command("list")(list_)
app.command()(explain)


def main() -> NoReturn:
    """Run the command line; every error is one line, after its traceback if --debug is given."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    interrupts = _interrupts()
    gc.disable()  # a collection walks through all of torch, for a fifth of the time of a run
    try:
        status = app(args=arguments, prog_name="crosscheck", standalone_mode=False) or 0
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    except Exception as error:
        status = INTERRUPTED if interrupts else BAD_INPUT
        if debug:
            traceback.print_exc()
        if not interrupts:
            say(f"error: {_described(error, arguments)}")
    if status == INTERRUPTED:
        say("interrupted; no file was left half-written")
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
    """The error in one line: what was got, what is allowed, what to do."""
    if isinstance(error, CrosscheckError):
        return str(error)
    if isinstance(error, typer.TyperException):
        got = f"; got: {shlex.join(arguments)}" if isinstance(error, typer.BadParameter) else ""
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "crosscheck"
        return f"{error.format_message().rstrip('.')}{got}; {command} --help shows what is allowed"
    return f"{type(error).__name__}: {error}; --debug shows where"
