"""The doctor: every installed counter on one operation or layer at a time, whose MACs were worked out by hand.

What comes out is a ledger of modules, as `crosscheck.check` of each would give.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec import structs

from crosscheck import ledger, reconcile
from crosscheck.backends import registry
from crosscheck.doctor.laws import NAME
from crosscheck.engine.measure import measure
from crosscheck.engine.processes import Progress
from crosscheck.errors import CrosscheckError
from crosscheck.records import Component, Ledger

if TYPE_CHECKING:
    from crosscheck.doctor.cases import DoctorCase


def examine(backends: Sequence[str] | None = None, *, progress: Progress = lambda case, tool: None) -> Ledger:
    """Count every case with every backend of ``backends``, by default all that are registered.

    Raises `CrosscheckError` where the reference is not what was worked out by hand.
    """
    from crosscheck.doctor.cases import cases

    names = registry.choose(backends or ["all"])
    for name in names:
        with contextlib.suppress(Exception, SystemExit):
            registry.load(name)  # once, here: every case is counted in a process of its own
    components = []
    for device in ("meta", "cpu"):
        chosen = [case for case in cases() if case.device == device]
        components += _counted(chosen, names, progress)
    order = {_full_name(case): i for i, case in enumerate(cases())}
    return ledger.of_modules(NAME, sorted(components, key=lambda component: order[component.name]))


def _full_name(case: DoctorCase) -> str:
    return f"{case.group}: {case.name}"


def _counted(chosen: Sequence[DoctorCase], names: Sequence[str], progress: Progress) -> list[Component]:
    import torch

    from crosscheck.tracing.calling import case_of, params

    built = []
    for case in chosen:
        with torch.device(case.device):
            inputs = tuple(torch.zeros(shape, dtype=case.dtype) for shape in case.shapes)
            built.append((case, case.model(), inputs))
    prepared = [
        dataclasses.replace(case_of(module, inputs, {}, name=_full_name(case)), repeats=case.repeats)
        for case, module, inputs in built
    ]
    with torch.no_grad():  # as counters are used
        results = measure(prepared, names, progress=progress)
    environment = ledger.environment()
    components = []
    for (case, module, _), ready, result in zip(built, prepared, results, strict=True):
        component = reconcile.component(ready, result, params(module), environment)
        if component.recommended.macs != case.macs:
            raise CrosscheckError(
                f"{case.name}: the trace counts {component.recommended.macs}, by hand it is {case.derivation}; "
                f"{component.recommended.reason}"
            )
        components.append(structs.replace(component, group=case.group, derivation=case.derivation))
    return components
