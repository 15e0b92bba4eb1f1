"""Conditions on installed releases: whether they hold, and in words."""

from __future__ import annotations

import re
from collections.abc import Mapping

from packaging.requirements import Requirement

Environment = Mapping[str, str]
"""Package -> installed release, as a ledger records it."""


def holds(condition: str, environment: Environment) -> bool:
    """Whether installed releases meet ``torch>=2.3,<2.15``, ``no peft`` (is not installed), several joined by ``and``.

    "" always holds.
    """
    if not condition:
        return True
    first, _, others = condition.partition(" and ")
    if others:
        return holds(first, environment) and holds(others, environment)
    if condition.startswith("no "):
        return condition.removeprefix("no ") not in environment
    requirement = Requirement(condition)
    installed = environment.get(requirement.name)
    return installed is not None and requirement.specifier.contains(installed, prereleases=True)


def in_words(condition: str) -> str:
    """``torch>=2.3,<2.15`` as ``torch 2.3 to 2.14``, the last before the end: minor releases are numbered without gaps.

    Raises `ValueError` for a condition of another form.
    """
    parts = re.fullmatch(r"([\w.-]+)>=(\d+\.\d+),<(\d+)\.([1-9]\d*)", condition)
    if parts is None:
        raise ValueError(f"{condition!r} is no range of minor releases; allowed: one such as torch>=2.3,<2.15")
    package, first, major, end = parts.groups()
    return f"{package} {first} to {major}.{int(end) - 1}"
