"""Any module: one forward under every backend, reconciled."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from crosscheck import reconcile
from crosscheck.backends import registry
from crosscheck.engine.measure import TIME_LIMIT, measure, notes
from crosscheck.errors import UncountedError
from crosscheck.ledger import environment
from crosscheck.records import Component, Failed, Measured


def check(
    module: Any,
    *inputs: Any,
    backends: Sequence[str] | None = None,
    time_limit: float = TIME_LIMIT,
    **kwargs: Any,
) -> Component:
    """Count one forward of any ``torch.nn.Module`` with every backend, and explain each difference.

    ``inputs`` and ``kwargs`` go to the forward. On meta tensors nothing is computed. Each backend runs in a process of
    its own, with tensors on a GPU in this one. The module, its inputs and torch are left as they were.

    ``backends`` names some, or ``all``; the default is the core ones, and the two references are always among them.
    ``time_limit`` is in seconds, for each. ``check(...)["thop"]`` is a backend's outcome: `Counted`, `Skipped` or
    `Failed`.

    Raises `UncountedError` where the module can't be counted exactly: its own forward raises, reads values that meta
    tensors don't have, or runs an operator that may hold MACs and has no rule.
    """
    from crosscheck.tracing.calling import case_of, params

    case = case_of(module, inputs, kwargs)
    names = registry.choose(backends)
    (result,) = measure([case], names, time_limit=time_limit)
    trace = result.outcomes["aten"]
    if not isinstance(trace, Measured):
        reason = trace.error if isinstance(trace, Failed) else trace.reason
        raise UncountedError(f"{type(module).__name__}: {reason}{_misgiven(module, inputs, kwargs)}")
    return reconcile.component(case, result, params(module), environment(case.device), notes(case))


def _misgiven(module: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """The parameters of a forward, where it can't be called with what it was given."""
    try:
        signature = inspect.signature(module.forward)
    except ValueError:  # of a frozen script
        return ""
    try:
        signature.bind(*args, **kwargs)
    except TypeError:
        return f"; its forward takes ({', '.join(map(str, signature.parameters.values()))})"
    return ""
