"""The command line in a process of its own."""

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from typing import Any

START = "from crosscheck.cli import main; main()"

BLOCK = """
import signal, sys

# Where the tests run in the background of a shell, an interrupt is ignored, and so in every child.
signal.signal(signal.SIGINT, signal.default_int_handler)

class Without:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, *rest):
        return None if name.partition(".")[0] in {names!r} else self.finder.find_spec(name, *rest)

sys.meta_path[:] = map(Without, sys.meta_path)
"""

TORCH_AND_TOOLS = ("torch", "diffusers", "transformers", "thop", "fvcore")


def arguments(*args: object, without: Iterable[str] = (), first: str = "") -> list[str]:
    """The command; ``without`` names packages that are not found, ``first`` is Python to run before it."""
    return [sys.executable, "-c", BLOCK.format(names=set(without)) + first + "\n" + START, *map(str, args)]


def environment(*paths: object) -> dict[str, str]:
    """This process's, with ``paths`` to import from."""
    return os.environ | {"PYTHONPATH": os.pathsep.join([*map(str, paths), os.environ.get("PYTHONPATH", "")])}


def cli(*args: object, paths: Sequence[object] = (), **options: Any) -> subprocess.CompletedProcess[str]:
    """Run ``crosscheck`` with ``args`` to its end."""
    code = {name: options.pop(name) for name in ("without", "first") if name in options}
    return subprocess.run(
        arguments(*args, **code), capture_output=True, text=True, env=environment(*paths), timeout=600, **options
    )


def tells(text: str, words: str) -> bool:
    """Whether the text holds ``words``; ``[...]`` in them stands for what another library or the system words."""
    return bool(re.search(".*".join(map(re.escape, words.split("[...]"))), text, re.DOTALL))


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The one line on stderr of a command that ended with exit status 2 and gave no result."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("crosscheck: error: ")
    return line
