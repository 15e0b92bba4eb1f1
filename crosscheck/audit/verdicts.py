"""Audit of published numbers: which convention prints these digits, and what the right number is.

A number is explained only by a convention that prints exactly its digits; how likely that is by chance is worked out
from the space of conventions.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from crosscheck.audit.conventions import HABITS, Convention, conventions, counters, parts, simplest
from crosscheck.audit.published import Unit, published
from crosscheck.audit.records import Accuracy, Audited, Claim, Claims, Fit, Misjudged, Verdict, Weighed
from crosscheck.errors import ConfigError, UsageError, one_line
from crosscheck.records import FLOPS_PER_MAC, Ledger, Term, Workload

# -- claims as they are written ----------------------------------------------------------------------------------------


def load(path: Path) -> Claims:
    """Read a claims file. Raises `ConfigError` naming file, line and field of what is malformed."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: can't be read: {getattr(error, 'strerror', '') or error}") from error
    try:
        claims = msgspec.toml.decode(text, type=Claims)
    except msgspec.DecodeError as error:
        quoted = "; write it in quotes, as it is printed" if "Expected `str`, got" in str(error) else ""
        raise ConfigError(f"{_place(path, text, str(error))}: {error}{quoted}; a claim has: {_FIELDS}") from error
    if claims == Claims():
        raise ConfigError(f"{path}: holds no claim; write a [[claim]] with: {_FIELDS}")
    for index, overhead in enumerate(claims.overhead):
        if not overhead.plain or len(overhead.plain) != len(overhead.counted):
            place = _place(path, text, f"$.overhead[{index}].counted")
            raise ConfigError(f"{place}: counted: got {len(overhead.counted)} times; allowed: one for each of plain's")
    for index, claim in enumerate(claims.claim):
        if claim.calls and claim.component == "generation":
            place = _place(path, text, f"$.claim[{index}].calls")
            raise ConfigError(f"{place}: calls: got {claim.calls}; allowed: with a component alone, not a generation")
        try:
            published(claim)
        except ValueError as error:
            field = "unit" if "unit" in str(error) else "value"
            raise ConfigError(f"{_place(path, text, f'$.claim[{index}].{field}')}: {error}") from error
    return claims


_FIELDS = ", ".join(Claim.__struct_fields__)


def _place(path: Path, text: str, error: str) -> str:
    """``file:line``, from where an error says it is: ``$.claim[2].value``."""
    lines = text.splitlines()
    if match := re.search(r"line (\d+)", error):
        return f"{path}:{match[1]}"
    if not (match := re.search(r"\$\.(\w+)\[(\d+)\](?:\.(\w+))?", error)):
        return str(path)
    starts = [number for number, line in enumerate(lines) if re.match(rf"\s*\[\[\s*{match[1]}\s*\]\]", line)]
    if int(match[2]) >= len(starts):
        return str(path)
    start = starts[int(match[2])]
    field = match[3] or (named[1] if (named := re.search(r"field `(\w+)`", error)) else None)
    end = next((number for number in starts if number > start), len(lines))
    found = (n for n in range(start, end) if field and re.match(rf"\s*{field}\s*=", lines[n]))
    return f"{path}:{next(found, start) + 1}"


# -- the verdict -------------------------------------------------------------------------------------------------------


def audit(claim: Claim, ledger: Ledger) -> Audited:
    """The meaning of ``claim``, held against the ledger of its model and workload.

    Raises `UsageError` for a component or counter that the ledger does not have.
    """
    number = published(claim)
    if claim.component == "generation" and ledger.generation is None:
        raise UsageError("a module by itself has no generation; its component is 'forward'")
    backends = sorted({name for component in ledger.components for name in component.backends})
    if claim.counter not in (None, *backends):
        raise UsageError(f"no numbers of counter {claim.counter!r}; there are those of: {', '.join(backends)}")
    right = _recommended(ledger, claim, number.unit)
    every = list(conventions(ledger, claim, number.unit))
    tried = simplest(every)
    fits = [c for c in tried if number.prints(c.exact, c.binary)]
    near = [] if fits else [c for c in tried if number.near(c.exact, c.binary)]
    found = sorted(fits or near, key=lambda c: (len(c.switches), not fits and abs(c.exact - number.whole(c.binary))))
    level = [c for c in found if len(c.switches) == len(found[0].switches)]
    chosen = level[0] if level else None
    simple = [c for c in tried if not chosen or len(c.switches) <= len(chosen.switches)]
    verdict: Verdict = "refuted"
    if chosen:
        verdict = "near" if near else "reproduced" if len(level) == 1 else "ambiguous"
    return Audited(
        name=claim.name,
        model=claim.model,
        component=claim.component,
        verdict=verdict,
        published=f"{claim.value} {claim.unit}",
        convention=convention_text(chosen.switches) if chosen else "",
        exact=chosen.exact if chosen else None,
        recommended=right,
        distance=chosen.exact - number.whole(chosen.binary) if chosen else None,
        steps=_steps(chosen, every, right, lambda switch, change: parts(switch, change, ledger, claim, number.unit))
        if chosen
        else (),
        others=tuple(Fit(convention=c.switches, exact=c.exact) for c in (found if fits else level)[1:]),
        habits=_agreed(level),
        space=_distinct(tried),
        simple=_distinct(simple),
        chance=(number.chance if fits else number.chance_near)(
            [number.unit.decimal(c.exact, c.binary) for c in simple]
        ),
        source=claim.source,
    )


def _distinct(those: Sequence[Convention]) -> int:
    return len({(convention.exact, convention.binary) for convention in those})


def _agreed(level: Sequence[Convention]) -> dict[str, bool]:
    """The habits that all of ``level`` have, or none of them."""
    found = {habit: {convention.habits.get(habit) for convention in level} for habit in HABITS}
    return {habit: True in has for habit, has in found.items() if len(has) == 1 and None not in has}


def convention_text(switches: Sequence[str]) -> str:
    """A convention in words."""
    return ", ".join(switches) or "as recommended"


def _steps(
    chosen: Convention,
    every: Sequence[Convention],
    right: int | None,
    made_of: Callable[[str, int], tuple[Term, ...]],
) -> tuple[Fit, ...]:
    """One switch after the other from ``right``, where the space has what comes between; else two at once."""
    in_space = {frozenset(convention.switches): convention.exact for convention in every}
    steps, done, waiting = [], frozenset[str](), list[str]()
    for switch in chosen.switches:
        waiting.append(switch)
        if (reached := done | {*waiting}) in in_space:
            change = in_space[reached] - (in_space.get(done) or right or 0)
            made = made_of(switch, change) if len(waiting) == 1 else ()
            steps.append(Fit(convention=tuple(waiting), exact=in_space[reached], parts=made))
            done, waiting = reached, []
    return tuple(steps)


def _recommended(ledger: Ledger, claim: Claim, unit: Unit) -> int | None:
    if unit.kind == "params":
        those = [ledger.component(claim.component)] if claim.component != "generation" else ledger.components
        return sum(component.params for component in those)
    if claim.component == "generation":
        macs = ledger.generation.recommended.macs if ledger.generation else None
    else:
        macs = ledger.component(claim.component).recommended.macs
        macs = None if macs is None else macs * claim.forwards
    return None if macs is None else macs * (FLOPS_PER_MAC if unit.kind == "flops" else 1)


# -- a file of claims --------------------------------------------------------------------------------------------------


def audit_all(
    claims: Claims,
    ledgers: Sequence[Ledger] = (),
    *,
    allow_code: bool = False,
    progress: Callable[[str, str], None] = lambda model, what: None,
) -> tuple[list[Audited], list[Weighed]]:
    """Audit ``claims`` of models and of counters.

    A model is run once for each workload, where none of ``ledgers`` has it already.

    A model of the form ``module:function`` is code of the caller's, which gives a module and its inputs: it runs only
    with ``allow_code``. Raises `UsageError` for a model or component that there is not.
    """
    runs: dict[tuple[object, ...], Ledger] = {}
    found = []
    for claim in claims.claim:
        key = claim.model, *(getattr(claim, name) for name in _WORKLOAD)
        given = next((ledger for ledger in ledgers if _holds(ledger, claim)), None)
        try:
            ledger = given or runs.get(key) or _run(claim, allow_code)
            found.append(audit(claim, ledger))
        except UsageError as error:
            raise UsageError(f"{claim.name}: {error}") from error
        runs.setdefault(key, ledger)
        progress(claim.model, claim.name)
    return found, [weigh(accuracy, [*ledgers, *runs.values()]) for accuracy in claims.accuracy]


def _first_of_each(ledgers: Sequence[Ledger]) -> list[Ledger]:
    first: dict[str, Ledger] = {}
    for ledger in ledgers:
        first.setdefault(ledger.model, ledger)
    return [*first.values()]


def weigh(accuracy: Accuracy, ledgers: Sequence[Ledger]) -> Weighed:
    """Hold what is claimed of a counter against every component with attention, of the first ledger of each model.

    Raises `UsageError` where no ledger has numbers of the counters.
    """
    found = []
    for ledger in _first_of_each(ledgers):
        for component in ledger.components:
            attention = component.recommended.by_op.get("attention", 0)
            off = {name: outcome.macs - aside - attention for name, outcome, aside in counters(component, ledger)}
            if attention and accuracy.counter in off and (accuracy.than is None or accuracy.than in off):
                found.append(
                    Misjudged(
                        model=ledger.model,
                        component=component.name,
                        attention=attention,
                        off=off[accuracy.counter],
                        than=off[accuracy.than] if accuracy.than else None,
                    )
                )
    if not found:
        both = accuracy.counter + (f" and {accuracy.than}" if accuracy.than else "")
        raise UsageError(f"{accuracy.name}: no ledger has numbers of {both}; give one that has, with --ledger")
    return Weighed(accuracy=accuracy, components=tuple(found))


_FORWARD = ("height", "width", "frames", "guidance_scale")
"""What one forward of a component depends on, and the branches that it is run with."""
_WORKLOAD = (*_FORWARD, "steps", "scheduler", "batch_size")


def _holds(ledger: Ledger, claim: Claim) -> bool:
    """Whether a ledger is of the claim's model and workload; what a claim leaves open is the model's own."""
    matters = _WORKLOAD if claim.component == "generation" else _FORWARD
    stated = {name: getattr(claim, name) for name in matters if getattr(claim, name) is not None}
    return ledger.model == claim.model and ledger.workload is not None and all(
        getattr(ledger.workload, name) == value for name, value in stated.items()
    )  # fmt: skip


def _run(claim: Claim, allow_code: bool) -> Ledger:
    if ":" in claim.model and "://" not in claim.model:
        return _code(claim, allow_code)
    from crosscheck.pipelines.check import run_with_cases

    asked = Workload(
        batch_size=(claim.batch_size or 1) if claim.component == "generation" else 1,
        height=claim.height,
        width=claim.width,
        frames=claim.frames,
        steps=claim.steps,
        guidance_scale=claim.guidance_scale,
        scheduler=claim.scheduler or "",
    )
    return run_with_cases(claim.model, asked, backends=["all"])[0]


def _code(claim: Claim, allow_code: bool) -> Ledger:
    """The ledger of a module that the caller's own function makes."""
    if not allow_code:
        raise UsageError(f"model {claim.model!r} is code, which runs only with --allow-code")
    from crosscheck import ledger
    from crosscheck.engine.check import check

    place, _, name = claim.model.partition(":")
    try:
        module, *inputs = getattr(importlib.import_module(place), name)()
    except Exception as error:
        raise UsageError(f"{claim.model} can't be called: {one_line(error)}") from error
    component = msgspec.structs.replace(check(module, *inputs, backends=["all"]), name=claim.component)
    return ledger.of_modules(claim.model, [component])
