"""What Tab offers, in a real shell, without torch."""

import os
import shutil
import subprocess
import sys

import pytest
import tiny
from command import START, TORCH_AND_TOOLS, environment

from crosscheck.backends import registry
from crosscheck.cli import listing
from crosscheck.models import configs

pytestmark = pytest.mark.skipif(not shutil.which("bash"), reason="no bash")

WATCHED = """
import atexit, sys
atexit.register(lambda: print(*sys.modules.keys() & {names}, sep="", end="", file=sys.stderr))
"""
SHELL = """
source <(_CROSSCHECK_COMPLETE=source_bash crosscheck) && COMP_WORDS=(crosscheck "$@") COMP_CWORD=$#
_crosscheck_completion crosscheck && printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with models, and a command on the PATH."""
    place = tmp_path_factory.mktemp("shell")
    for name in ("mine", "models/other", 'm\\";touch done;"'):
        tiny.folder(place / name)
    command = place / "bin" / "crosscheck"
    command.parent.mkdir()
    command.write_text(f"#!{sys.executable}\n{WATCHED.format(names=set(TORCH_AND_TOOLS))}{START}\n")
    command.chmod(0o755)
    return place


@pytest.fixture(scope="module")
def offered(place):
    """What is offered for the last of the words."""

    def offered(*words: str) -> list[str]:
        paths = environment() | {"PATH": f"{place / 'bin'}{os.pathsep}{os.environ['PATH']}"}
        done = subprocess.run(
            ["bash", "--norc", "-c", SHELL, "bash", *words], capture_output=True, text=True, cwd=place, env=paths
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.split()

    return offered


HALVES = ["vae_encoder", "vae_decoder"]
OFFERED = {
    "run sd21": ["sd21", "sd21-base"],
    "run sd15 sd21-": ["sd21-base"],
    "run m": ["mine"],
    "run models/": ["models/other"],
    "run models": [],  # what there is no value for is left to the shell, which knows files
    "sweep sd21-": ["sd21-base"],
    "formula mi": ["mine"],
    "witness mi": ["mine"],
    "gate baseline.json mi": ["mine"],
    "run -b fvcore": ["fvcore", "fvcore-plain", "fvcore-meta"],
    "doctor --backend al": ["all"],
    "run --scheduler Heun": ["HeunDiscreteScheduler"],
    "explain thop-layernorm": ["thop-layernorm-4", "thop-layernorm-2"],
    "explain three": ["three-tf32"],
    "list ": [*listing.LISTS],
    "witness sd15 --with ": ["cpu", "ncu"],
    "run --format ": ["table", "json", "markdown"],
    "formula sd21-base --component ": ["text_encoder", "unet", *HALVES],
    "witness ./mine --height 64 --component vae": HALVES,
    "formula nomodel --component ": [],
    "formula org/name --component ": [],
}


@pytest.mark.parametrize("line", OFFERED)
def test_values_are_completed(offered, line):
    assert offered(*line.split(" ")) == OFFERED[line]


def test_everything_is_offered_before_a_letter_is_typed(offered):
    assert offered("run", "") == [*configs.catalogue(), "mine"]
    assert offered("run", "-b", "") == [*registry.table(), "all"]
    assert offered("explain", "") == listing.every_cause()


def test_a_name_that_a_shell_would_run_is_not_offered(place, offered):
    assert offered("run", "m") == ["mine"]
    assert (place / 'm\\";touch done;"').is_dir()
