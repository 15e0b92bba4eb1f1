"""What there is."""

from __future__ import annotations

from typing import Annotated

import typer

from crosscheck.cli import completion
from crosscheck.cli.options import Form
from crosscheck.cli.output import (
    show,
)
from crosscheck.errors import UsageError
from crosscheck.hints import did_you_mean


def list_(
    what: Annotated[
        str,
        typer.Argument(metavar="backends|models|causes", help="What to list.", autocompletion=completion.lists),
    ],
    form: Form = "table",
) -> int:
    """List backends, catalogue models or causes."""
    from crosscheck.cli import listing

    if what not in listing.LISTS:
        raise UsageError(f"can't list {what!r}; {did_you_mean(what, listing.LISTS)}allowed: {', '.join(listing.LISTS)}")
    show(listing.LIST_FORMATS[form](listing.LISTS[what]()))
    return 0


def explain(
    cause: Annotated[
        str,
        typer.Argument(metavar="CAUSE", help="A cause's name, as reports have it.", autocompletion=completion.causes),
    ],
    form: Form = "table",
) -> int:
    """Say what a cause is, which backends it concerns, and where its source is."""
    from crosscheck.cli import listing

    show(listing.CAUSE_FORMATS[form](listing.explain(cause)))
    return 0
