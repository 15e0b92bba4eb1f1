"""The releases in use, and what they allow."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from crosscheck import causes, ledger
from crosscheck.backends import registry

INSTALLED = ledger.environment()


def holds(condition: str) -> bool:
    """Whether the releases in use meet ``torch>=2.5``."""
    return causes.holds(condition, INSTALLED)


def needs(condition: str, why: str) -> pytest.MarkDecorator:
    """Skip a test where the releases in use don't meet a condition."""
    return pytest.mark.skipif(not holds(condition), reason=f"{why}: {condition}")


def extra(name: str) -> Any:
    """A counter of the ``counters`` extra, as a parameter; skipped where its package is not installed.

    Which is asked without importing it: DeepSpeed takes seconds, in each process that collects tests.
    """
    package = distribution(registry.COUNTERS[name])
    try:
        metadata.distribution(package)
    except metadata.PackageNotFoundError:
        return pytest.param(name, marks=pytest.mark.skip(reason=f"{package} is not installed"))
    return name


def distribution(place: str) -> str:
    """What the class of a backend, ``module:Class``, says of its ``distribution``, read and not run."""
    module, _, name = place.partition(":")
    spec = importlib.util.find_spec(module)
    assert spec
    assert spec.origin
    (body,) = (n.body for n in ast.parse(Path(spec.origin).read_text()).body if getattr(n, "name", None) == name)
    (value,) = (n.value for n in body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "distribution")
    return str(ast.literal_eval(value))


#: The core backends that give numbers here: torch 2.0 has no counter of its own.
COUNTING = tuple(name for name in registry.CORE if name != "flop_counter" or holds("torch>=2.1"))


def attention_as_products() -> contextlib.AbstractContextManager[Any]:
    """Inside, scaled_dot_product_attention on the CPU runs as matrix products, which torch's counter sees."""
    if holds("torch>=2.3"):
        from torch.nn.attention import SDPBackend, sdpa_kernel

        return sdpa_kernel(SDPBackend.MATH)
    from torch.backends.cuda import sdp_kernel

    return sdp_kernel(enable_flash=False, enable_mem_efficient=False, enable_math=True)
