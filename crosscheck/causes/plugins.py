"""Causes that other packages bring: entry points of the group ``crosscheck.causes``, ``name = "module"``.

Importing such a module declares a `Tool` and its causes, as the files beside this one do.
"""

from __future__ import annotations

import functools
import importlib
import sys
import warnings
from importlib.metadata import entry_points

from crosscheck.causes.tool import all_or_nothing
from crosscheck.errors import one_line

GROUP = "crosscheck.causes"


def load() -> None:
    """Import the modules of all entry points, once for what the path holds.

    One that can't be imported costs its own causes alone: none of them is declared, the gaps that they would explain
    stay residuals, and a `RuntimeWarning` of one line names it.
    """
    _load(tuple(sys.path))


@functools.cache
def _load(path: tuple[str, ...]) -> None:
    for point in entry_points(group=GROUP):
        try:
            with all_or_nothing():
                importlib.import_module(point.module)
        except (Exception, SystemExit) as error:
            why = f"{point.name} = {point.value!r} of {GROUP} brings no causes: {one_line(error)}"
            warnings.warn(why, RuntimeWarning, stacklevel=2)
