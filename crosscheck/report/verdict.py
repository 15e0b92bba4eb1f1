"""A ledger in words: one outcome, and the whole run in one sentence."""

from __future__ import annotations

from collections.abc import Iterator

from crosscheck.records import Component, Counted, Failed, Ledger, Outcome, Skipped, Status
from crosscheck.report.text import names, plain, plural, signed

_SHOWN = 3
_WRONG: dict[Status, str] = {
    "unequal": "closed form and trace differ for {}",
    "uncounted": "{} could not be counted",
}


def verdict(outcome: Outcome) -> str:
    """``exact``, ``explained``, ``residual``, ``stale excuse``, ``skipped``, ``failed (known)`` or ``failed``."""
    match outcome:
        case Counted(stale_excuse=str(excuse)) if excuse:
            return "stale excuse"
        case Counted(residual=0):
            return "explained" if outcome.gap else "exact"
        case Counted():
            return "residual"
        case Skipped():
            return "skipped"
        case Failed():
            return "failed (known)" if outcome.predicted_by else "failed"


def reference(component: Component) -> int | None:
    """The number that backends are held against, in MACs; with nothing recommended, taken from a backend's gap."""
    if component.recommended.macs is not None:
        return component.recommended.macs
    return next((o.macs - o.gap for o in component.backends.values() if isinstance(o, Counted)), None)


def outcomes(ledger: Ledger) -> Iterator[tuple[Component, str, Outcome]]:
    """Every component under every backend."""
    for component in ledger.components:
        for backend, outcome in component.backends.items():
            yield component, backend, outcome


def problems(ledger: Ledger) -> list[str]:
    """Obstacles to a settled run, the gravest first, as plain text; empty when all is explained."""
    wrong = [(c.name, c.recommended) for c in ledger.components]
    if ledger.generation and not any(total.status in _WRONG for _, total in wrong):
        wrong.append(("the generation", ledger.generation.recommended))
    found = [
        _WRONG[total.status].format(name) + (f" ({total.reason})" if total.reason else "")
        for name, total in wrong
        if total.status in _WRONG
    ]
    residuals, failures = [], []
    for component, backend, outcome in outcomes(ledger):
        if isinstance(outcome, Counted) and outcome.residual:
            residuals.append(f"{backend} leaves a residual of {signed(outcome.residual)} MACs in {component.name}")
        if isinstance(outcome, Counted) and outcome.stale_excuse:
            failures.append(
                f"{backend} counted {component.name}, where {outcome.stale_excuse} predicts no number: a stale excuse"
            )
        elif isinstance(outcome, Failed) and not outcome.predicted_by:
            failures.append(f"{backend} failed on {component.name} and no cause predicts it ({outcome.error})")
    return found + residuals + failures


def sentence(ledger: Ledger) -> str:
    """The verdict on the whole run, not escaped."""
    if found := problems(ledger):
        more = [f"{len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
        return f"Not settled: {names(['; '.join(map(plain, found[:_SHOWN])), *more])}."
    explained = _explained(ledger)
    return f"{explained}; {_recommendation(ledger)}." if explained else "No backend counted anything."


def _explained(ledger: Ledger) -> str:
    counted = {backend for _, backend, outcome in outcomes(ledger) if isinstance(outcome, Counted)}
    if not counted:
        return ""
    subject = f"All {len(counted)} backends are" if len(counted) > 1 else "The one backend is"
    text = f"{subject} explained to the last MAC for {plural(len(ledger.components), 'component')}"
    others = [verdict(outcome) for _, _, outcome in outcomes(ledger) if not isinstance(outcome, Counted)]
    asides = [f"{others.count(kind)} {kind}" for kind in dict.fromkeys(others)]
    return f"{text} ({names(asides)})" if asides else text


def _recommendation(ledger: Ledger) -> str:
    unconfirmed = [plain(c.name) for c in ledger.components if c.recommended.status != "confirmed"]
    if unconfirmed:
        return f"the recommended totals are unconfirmed (no closed form for {names(unconfirmed)})"
    if ledger.generation and ledger.generation.recommended.status != "confirmed":
        return "the recommended totals are confirmed by closed form and trace, the generation's is unconfirmed"
    return "the recommended totals are confirmed by closed form and trace"
