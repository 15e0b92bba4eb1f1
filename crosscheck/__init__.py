"""crosscheck: the same model under every FLOP counter, each difference explained to the last MAC.

Importing this package imports neither torch nor a counter: names are loaded when first used.
"""

from __future__ import annotations

import importlib
from typing import Any

_NAMES = {
    "check": "crosscheck.engine.check",
    "check_pipeline": "crosscheck.pipelines.check",
    "witness": "crosscheck.witnesses.cpu",
    "CrosscheckError": "crosscheck.errors",
    "UncountedError": "crosscheck.errors",
    "UsageError": "crosscheck.errors",
    "ConfigError": "crosscheck.errors",
    "Counted": "crosscheck.records",
    "Skipped": "crosscheck.records",
    "Failed": "crosscheck.records",
    "Term": "crosscheck.records",
    "Component": "crosscheck.records",
    "Ledger": "crosscheck.records",
}

__version__ = "0.1.0"
__all__ = ["__version__", *_NAMES]  # noqa: PLE0604  the keys above are strings


def __getattr__(name: str) -> Any:
    try:
        module = _NAMES[name]
    except KeyError:
        raise AttributeError(f"module 'crosscheck' has no attribute {name!r}") from None
    return getattr(importlib.import_module(module), name)


def __dir__() -> list[str]:
    return sorted(__all__)
