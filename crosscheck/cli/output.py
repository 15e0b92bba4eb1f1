"""Output that commands share: what they print, read and write, and how they end. Nothing else prints."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from crosscheck.errors import UsageError

if TYPE_CHECKING:
    from crosscheck.engine.processes import Progress
    from crosscheck.records import Ledger


#: Exit status where something is not settled.
UNEXPLAINED = 1


def say(text: str) -> None:
    """A line on stderr."""
    from crosscheck.report.text import plain

    print_line(f"crosscheck: {plain(text, longest=4_000)}", sys.stderr)


def show(result: str) -> None:
    """The result of a command, and nothing where there is none."""
    if text := result.rstrip():
        print_line(text, sys.stdout)


def print_line(text: str, stream: TextIO) -> None:
    """A line that a reader who has gone (``| head -1``) does not turn into an error."""
    try:
        print(text, file=stream, flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # else Python's own flush at exit fails once more
        if not isinstance(error, BrokenPipeError):
            raise


def load(paths: Sequence[Path]) -> list[Ledger]:
    """Ledgers with their reconciliation made again; where it changed, the new one counts and a line says so."""
    from crosscheck import ledger, reconcile

    loaded = []
    for path in paths:
        remade, changed = reconcile.reconcile_again(ledger.load(path))
        if changed:
            say(f"{path}: reconciled again with this crosscheck; changed: {'; '.join(changed)}")
        loaded.append(remade)
    return loaded


def say_problems(ledgers: Sequence[Ledger]) -> bool:
    """Say what is not settled; whether anything is not."""
    from crosscheck.report.verdict import problems

    found = [f"{ledger.model}: {problem}" for ledger in ledgers for problem in problems(ledger)]
    for problem in found:
        say(problem)
    return bool(found)


def judge(ledgers: Sequence[Ledger]) -> int:
    """The exit status that ledgers come to, and why on stderr."""
    from crosscheck.records import Counted

    if say_problems(ledgers):
        return UNEXPLAINED
    for ledger in ledgers:
        if not any(isinstance(outcome, Counted) for part in ledger.components for outcome in part.backends.values()):
            raise UsageError(f"{ledger.model}: nothing was measured")
    say(f"{', '.join(ledger.model for ledger in ledgers)}: every counter is explained to the last MAC")
    return 0


def write_index(ledgers: Sequence[Ledger], folder: Path | None) -> None:
    """Several reports get a page that leads to them, unless a README of the user's lies there."""
    from crosscheck.files import write_atomically
    from crosscheck.report.pages.overview import index

    if not folder or len(ledgers) < 2:
        return
    page, text = folder / "README.md", index(ledgers)
    if page.exists() and not page.read_bytes().startswith(text.splitlines()[0].encode()):
        say(f"kept {page}: it is not an index of reports")
    else:
        wrote([write_atomically(page, text)])


def save(text: str, path: Path) -> None:
    """Write a result to a file, and say so."""
    from crosscheck.files import write_atomically

    wrote([write_atomically(path, text)])


def wrote(paths: Sequence[Path]) -> None:
    """Say which files were written."""
    for path in paths:
        say(f"wrote {path}")


def distinct(models: Iterable[tuple[str, str]]) -> None:
    """Refuse two sources, each with its model's label, that would be written to one file."""
    from crosscheck.report.text import stem

    files: dict[str, str] = {}
    for source, label in models:
        file = stem(label)
        if file in files:
            raise UsageError(f"{files[file]!r} and {source!r} would both be written as {file}; do one at a time")
        files[file] = source


def beside(file: Path | None) -> None:
    """A file goes into a folder that is there: one that is not is a slip more often than a wish."""
    if file is None:
        return
    if not file.parent.exists():
        raise UsageError(f"can't write {file}: there is no folder {file.parent}; make it first, or give another FILE")
    writable(file.parent)


def writable(folder: Path | None) -> None:
    """Make a folder, and refuse one that can't be written."""
    if folder is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):  # the only sure test: a mount may refuse what the mode allows
            pass
    except OSError as error:
        raise UsageError(f"can't write to {folder}: {error.strerror}; give a folder that can be written") from error


@contextmanager
def progress_of(model: str) -> Iterator[Progress]:
    """A line on stderr that says what is done."""
    from rich.console import Console

    console = Console(stderr=True)
    with console.status(f"{model}: loading") as status:

        def done(case: str, tool: str) -> None:
            status.update(f"{model}: {case}: {tool} done")

        yield done
