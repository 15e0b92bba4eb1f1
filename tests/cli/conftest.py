"""The command line where torch is imported already."""

import subprocess
import sys

import pytest

from crosscheck.cli import app


@pytest.fixture
def here(capsys, monkeypatch):
    """The command in this process: ``here("run", "tiny")``, as `command.cli` in one of its own."""

    def run(*args: object) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", ["crosscheck", *map(str, args)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            app.main()
        return subprocess.CompletedProcess(sys.argv, ended.value.code or 0, *capsys.readouterr())

    return run
