"""Completions that Tab offers for values of the command line. Imports no torch and asks no network."""

from __future__ import annotations

import glob
import importlib.util
import os.path
import re
from contextlib import suppress
from pathlib import Path

import typer  # noqa: TC002  typer looks for the annotation

from crosscheck.errors import CrosscheckError

#: Folders by other names are left to the user to quote: shells evaluate what they are offered.
_PLAIN = re.compile(r"[\w./+-]+")


def models(incomplete: str) -> list[str]:
    """Catalogue names, and folders of pipelines."""
    from crosscheck.models import configs

    folders = (os.path.dirname(index) for index in glob.glob(f"{glob.escape(incomplete)}*/model_index.json"))
    return [*configs.catalogue(), *sorted(folder for folder in folders if _PLAIN.fullmatch(folder))]


def backends() -> list[str]:
    """Every registered backend, and ``all``."""
    from crosscheck.backends.registry import table

    return [*table(), "all"]


def causes() -> list[str]:
    """Every cause that can be explained."""
    from crosscheck.cli.listing import every_cause

    return every_cause()


def lists() -> list[str]:
    """The names of the lists."""
    from crosscheck.cli.listing import LISTS

    return [*LISTS]


def components(ctx: typer.Context) -> list[str]:
    """Components of the model that the command line names, of the catalogue or in a folder."""
    from crosscheck.case import called
    from crosscheck.cli import listing
    from crosscheck.models import configs

    model = next(iter(ctx.args), "")  # not among ctx.params yet: the option before the cursor has no value
    folder = configs.CATALOGUE / model if model in configs.catalogue() else Path(model)
    found: list[str] = []
    with suppress(CrosscheckError):
        for component in configs.read(folder, model).components:
            coder = component.class_name.startswith(("Autoencoder", "AsymmetricAutoencoder", "VQ"))
            entries = ("encode", "decode") if coder else ("forward",)
            found += [called(component.name, entry) for entry in entries if listing.is_model(component)]
    return found


def schedulers() -> list[str]:
    """The classes that diffusers names where it says what it has."""
    found = importlib.util.find_spec("diffusers")
    if not found or not found.origin:
        return []
    stated = (Path(found.origin).parent / "schedulers" / "__init__.py").read_text()
    return sorted(set(re.findall(r'"(\w+Scheduler)"', stated)))
