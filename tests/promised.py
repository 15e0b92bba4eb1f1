"""Fail unless the releases that a tox environment promises are the ones in use: ``python tests/promised.py ENV``."""

from __future__ import annotations

import configparser
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

TOX = Path(__file__).parent.parent / "tox.ini"


def tox() -> configparser.ConfigParser:
    """The file as it is written."""
    config = configparser.ConfigParser(interpolation=None)
    config.read(TOX)
    return config


def environments() -> list[str]:
    """The environments of ``env_list`` that install releases."""
    listed = [name for line in tox()["tox"]["env_list"].split() for name in expanded(line)]
    return [name for name in listed if name.startswith("torch")]


def pins(environment: str) -> Iterator[Requirement]:
    """The lines of ``deps`` that apply to ``environment``."""
    for line in tox()["testenv"]["deps"].split("\n"):
        condition, _, pin = line.partition(": ")
        if pin and any(factor in environment.split("-") for factor in expanded(condition)):
            yield Requirement(pin)


def expanded(text: str) -> list[str]:
    """``torch{2.0.1,2.2.2}-x`` as both that it stands for."""
    head, _, rest = text.partition("{")
    choices, brace, tail = rest.partition("}")
    return [head + choice + tail for choice in choices.split(",")] if brace else [text]


def main() -> None:
    promised = list(pins(sys.argv[1]))
    named = {Requirement(pin).name for pin in ("torch", "diffusers", "transformers", "accelerate")}
    assert named <= {pin.name for pin in promised}, (
        f"{sys.argv[1]} promises no {named - {pin.name for pin in promised}}"
    )
    for pin in promised:
        installed = Version(version(pin.name))
        assert pin.specifier.contains(installed.public), f"{sys.argv[1]} promises {pin}; installed is {installed}"
    import torch  # the one that is imported, too

    assert Version(torch.__version__).public == Version(version("torch")).public
    print("in use:", *(f"{pin.name} {version(pin.name)}" for pin in promised))


if __name__ == "__main__":
    main()
