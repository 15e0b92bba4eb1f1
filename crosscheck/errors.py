"""The errors that crosscheck raises: each one line saying what was got, what is allowed, what to do."""

from __future__ import annotations


class CrosscheckError(Exception):
    """A refusal by crosscheck: one line saying what was got, what is allowed, what to do."""


class UsageError(CrosscheckError, ValueError):
    """A bad argument, name or size."""


class ConfigError(CrosscheckError, ValueError):
    """A model folder, config, ledger or claims file that is broken or not allowed."""


class UnlikeLedgersError(CrosscheckError, ValueError):
    """Ledgers of different cases: comparing them would compare two questions."""


class UncountedError(CrosscheckError, RuntimeError):
    """A module that can't be counted exactly, and why."""


def one_line(error: BaseException, plain: tuple[type[BaseException], ...] = (CrosscheckError,)) -> str:
    """An error in its own words: the class, unless it is a ``plain`` one, and the first line of its text."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    text = text.encode(errors="replace").decode()
    return text if text and isinstance(error, plain) else f"{type(error).__name__}: {text}".removesuffix(": ")
