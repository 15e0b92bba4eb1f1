"""Audit of published numbers: which convention prints these digits, and what the right number is.

The conventions tried are a finite, declared space, made from a ledger alone: `bases` says what is counted, `Convention`
what else is done to it. A number is explained only by a convention that prints exactly its digits; how likely that is
by chance is worked out from the space.
"""

from __future__ import annotations

import importlib
import itertools
import math
import re
from collections.abc import Callable, Iterator, Sequence
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import msgspec

from crosscheck.records import (
    FLOPS_PER_MAC,
    Audited,
    Claim,
    Component,
    ConfigError,
    Counted,
    Fit,
    Ledger,
    UsageError,
    one_line,
)

_PREFIXES = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5, "b": 3}
_UNIT = re.compile(r"^\s*([kmgtpb]?)\s*(flops?|macs?|madds?|params?|parameters)?\s*$", re.IGNORECASE)
#: How far off a number may be to be called near, as a share of it.
_NEAR = Fraction(1, 1000)
#: Terms of one counter that are tried by themselves and two together.
_TERMS = 2


class Unit(NamedTuple):
    """A unit as printed."""

    kind: str
    """``flops``, ``macs``, ``params``; empty where it does not say."""
    power: int
    """Of 1,000."""


class Published(NamedTuple):
    """A number as printed."""

    value: Decimal
    unit: Unit

    def prints(self, exact: int, binary: bool = False) -> bool:
        """Whether ``exact`` comes to the same digits, rounded to the places that are printed."""
        base = 1024 if binary else 1000
        scaled = Decimal(exact) / Decimal(base) ** self.unit.power
        return scaled.quantize(self._step, rounding=ROUND_HALF_EVEN) == self.value

    @property
    def whole(self) -> int:
        """The number without its prefix, rounded to a whole one."""
        return int((self.value * Decimal(1000) ** self.unit.power).to_integral_value())

    @property
    def _step(self) -> Decimal:
        return Decimal(1).scaleb(int(self.value.as_tuple().exponent))

    def chance(self, candidates: Sequence[int]) -> float:
        """Share of the decade around it, by its logarithm, that prints as one of ``candidates``."""
        step = float(self._step * Decimal(1000) ** self.unit.power)
        middle = float(self.whole) or 1.0
        low, high = middle / math.sqrt(10), middle * math.sqrt(10)
        covered, reached = 0.0, low
        for candidate in sorted({round(c / step) for c in candidates if low <= c <= high}):
            start, end = max((candidate - 0.5) * step, reached), min((candidate + 0.5) * step, high)
            if end > start > 0:
                covered += math.log(end / start)
                reached = end
        return covered / math.log(10)


class Convention(NamedTuple):
    """One way to come to a number: what it does otherwise than the recommended total in the unit that is printed."""

    counted: tuple[str, ...]
    """Of one forward."""
    taken: tuple[str, ...]
    """How often, in which unit, and of which components."""
    exact: int
    binary: bool = False

    @property
    def switches(self) -> tuple[str, ...]:
        """All of it."""
        return (*self.counted, *self.taken)


# -- claims as they are written ----------------------------------------------------------------------------------------


class _File(msgspec.Struct, forbid_unknown_fields=True):
    claim: list[Claim]


def load(path: Path) -> list[Claim]:
    """Read a claims file. Raises `ConfigError` naming file, line and field of what is malformed."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: can't be read: {getattr(error, 'strerror', '') or error}") from error
    try:
        claims = msgspec.toml.decode(text, type=_File).claim
    except msgspec.DecodeError as error:
        raise ConfigError(f"{_place(path, text, str(error))}: {error}; a claim has: {_FIELDS}") from error
    for index, claim in enumerate(claims):
        try:
            published(claim)
        except ValueError as error:
            field = "unit" if "unit" in str(error) else "value"
            raise ConfigError(f"{_place(path, text, f'$.claim[{index}].{field}')}: {error}") from error
    return claims


_FIELDS = ", ".join(Claim.__struct_fields__)


def _place(path: Path, text: str, said: str) -> str:
    """``file:line``, from where an error says it is: ``$.claim[2].value``."""
    lines = text.splitlines()
    if match := re.search(r"line (\d+)", said):
        return f"{path}:{match[1]}"
    if not (match := re.search(r"\$\.claim\[(\d+)\](?:\.(\w+))?", said)):
        return str(path)
    starts = [number for number, line in enumerate(lines) if re.match(r"\s*\[\[\s*claim\s*\]\]", line)]
    if int(match[1]) >= len(starts):
        return str(path)
    start = starts[int(match[1])]
    field = match[2] or (named[1] if (named := re.search(r"field `(\w+)`", said)) else None)
    end = next((number for number in starts if number > start), len(lines))
    found = (n for n in range(start, end) if field and re.match(rf"\s*{field}\s*=", lines[n]))
    return f"{path}:{next(found, start) + 1}"


def published(claim: Claim) -> Published:
    """The number of ``claim``. Raises `ValueError` where it is none, or its unit is not known."""
    try:
        value = Decimal(claim.value.replace(",", "").replace("_", "").strip())
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite() or value < 0:
        raise ValueError(f"value: got {claim.value!r}; allowed: a number as printed, such as '339.224'")
    match = _UNIT.match(claim.unit)
    if match is None or (match[1] == "b" and not (match[2] or "").lower().startswith("param")):
        raise ValueError(f"unit: got {claim.unit!r}; allowed: FLOPs, MACs or params, with k, M, G, T, P or (params) B")
    kind = (match[2] or "").lower()
    name = "macs" if kind.startswith("ma") else "params" if kind.startswith("p") else "flops" if kind else ""
    return Published(value, Unit(name, _PREFIXES[match[1].lower()]))


# -- the conventions ---------------------------------------------------------------------------------------------------

_SQUARE = "attention as N_q x N_q with softmax"
_HALF = "MACs called FLOPs"
_DOUBLE = "FLOPs called MACs"


def conventions(ledger: Ledger, claim: Claim, unit: Unit) -> Iterator[Convention]:
    """Every number that the declared space has for ``claim``."""
    found = _generation(ledger) if claim.component == "generation" else _component(ledger, claim)
    for counted, taken, macs in found:
        for factor, switch in _factors(unit):
            told = (*taken, switch) if switch else taken
            yield Convention(counted, told, factor * macs)
            if unit.power:
                yield Convention(counted, (*told, "binary prefix"), factor * macs, binary=True)
    yield from _parameters(ledger, claim, unit)


def _factors(unit: Unit) -> tuple[tuple[int, str], ...]:
    """What a MAC is taken for, and the switch that it is; a unit that does not say is taken for MACs."""
    if unit.kind == "flops":
        return (FLOPS_PER_MAC, ""), (1, _HALF)
    return (1, ""), (FLOPS_PER_MAC, _DOUBLE if unit.kind else "2 for each MAC")


def _parameters(ledger: Ledger, claim: Claim, unit: Unit) -> Iterator[Convention]:
    switch = () if unit.kind == "params" else ("parameters instead",)
    for component in ledger.components:
        if claim.component in (component.name, "generation"):
            yield Convention((), switch, component.params)


def _component(ledger: Ledger, claim: Claim) -> Iterator[tuple[tuple[str, ...], tuple[str, ...], int]]:
    """One forward or more of one component."""
    component = ledger.component(claim.component)
    for counted, macs in bases(component):
        for times, taken in _times(ledger, claim):
            yield counted, taken, times * macs


def _times(ledger: Ledger, claim: Claim) -> Iterator[tuple[int, tuple[str, ...]]]:
    """How often a forward for one image and one branch may be taken."""
    asked = (claim.calls or 1) * (claim.batch_size or 1)
    yield asked, ()
    part = (
        next((p for p in ledger.generation.components if p.name == claim.component), None)
        if ledger.generation
        else None
    )
    if part is None or ledger.workload is None:
        return
    branches = (part.batch_size or 1) // ledger.workload.batch_size
    steps = claim.steps or ledger.workload.steps or 1
    often = {part.calls: f"all {part.calls:,} calls"} if steps == ledger.workload.steps else {}
    if branches > 1:
        yield asked * branches, ("both guidance branches",)
    for calls, name in ({steps: f"times {steps:,} steps"} | often).items():
        if calls > 1 and claim.calls is None:
            yield asked * calls, (name,)
            if branches > 1:
                yield asked * calls * branches, (name, "both guidance branches")


def _generation(ledger: Ledger) -> Iterator[tuple[tuple[str, ...], tuple[str, ...], int]]:
    """All components, or some, over a generation, counted each by the same rule or the denoiser by one of its own."""
    if ledger.generation is None or ledger.workload is None:
        return
    names = [part.name for part in ledger.generation.components if part.macs is not None]
    left_out = [*itertools.chain.from_iterable(itertools.combinations(names, k) for k in range(len(names)))]
    for counted, macs_of in _rules(ledger, names):
        for counting, taken in _countings(ledger):
            sums = {name: counting(name) * macs_of[name] for name in names}
            for without in left_out:
                told = tuple(f"without {name}" for name in without)
                yield counted, (*taken, *told), sum(macs for name, macs in sums.items() if name not in without)


def _rules(ledger: Ledger, names: Sequence[str]) -> Iterator[tuple[tuple[str, ...], dict[str, int]]]:
    """What is counted of each component, by rules that all of them have."""
    found: dict[tuple[str, ...], dict[str, int]] = {}
    for name in names:
        for switches, macs in bases(ledger.component(name)):
            found.setdefault(switches, {})[name] = macs
    yield from ((switches, macs_of) for switches, macs_of in found.items() if len(macs_of) == len(names))
    parts = ledger.generation.components if ledger.generation else ()
    denoiser = max(parts, key=lambda part: part.macs or 0).name
    for switches, macs_of in found.items():
        plain = found.get(switches[:1], {})
        if _SQUARE in switches and len(switches) > 1 and denoiser in macs_of and len(plain) == len(names):
            yield (*switches, f"in the {denoiser} alone"), {**plain, denoiser: macs_of[denoiser]}


def _countings(ledger: Ledger) -> Iterator[tuple[Callable[[str], int], tuple[str, ...]]]:
    """How often each component's forward for one image and one branch is taken in a generation."""
    generation, workload = ledger.generation, ledger.workload
    assert generation is not None
    assert workload is not None
    rows = {part.name: [(case.calls, case.batch_size) for case in part.cases] for part in generation.components}
    most = max(sum(calls for calls, _ in cases) for cases in rows.values())
    steps = workload.steps or most

    def real(name: str) -> int:
        return sum(calls * batch for calls, batch in rows[name])

    def unguided(name: str) -> int:
        return workload.batch_size * (sum(calls for calls, _ in rows[name]) if _loops(name) else 1)

    def by_steps(name: str) -> int:
        return real(name) * steps // most if _loops(name) else real(name)

    def unguided_steps(name: str) -> int:
        return workload.batch_size * (steps if _loops(name) else 1)

    def _loops(name: str) -> bool:
        return sum(calls for calls, _ in rows[name]) == most

    yield real, ()
    yield unguided, ("one guidance branch",)
    if steps != most:
        yield by_steps, (f"{steps:,} calls for {most:,}",)
        yield unguided_steps, (f"{steps:,} calls for {most:,}", "one guidance branch")


def bases(component: Component) -> Iterator[tuple[tuple[str, ...], int]]:
    """What may be counted of one forward: each with what it does otherwise than the recommended total, and MACs."""
    total = component.recommended
    if total.macs is None:
        return
    yield (), total.macs
    children = _children(component)
    attention = total.by_op.get("attention", 0)
    square = sum(row.query_only_macs for row in component.census.attention) if component.census else 0
    if attention:
        yield ("without attention",), total.macs - attention
        yield from ((("without attention", f"without {child}"), total.macs - attention - macs)
                    for child, macs in children.items())  # fmt: skip
        yield (_SQUARE,), total.macs - attention + square
        yield ("with softmax",), total.macs + component.other_ops.get("softmax", 0)
    for child, macs in children.items():
        yield (f"without {child}",), total.macs - macs
    for backend, outcome in component.backends.items():
        if not isinstance(outcome, Counted) or not outcome.gap:
            continue
        counts = f"as {backend} counts"
        yield (counts,), outcome.macs
        for child, macs in children.items():
            yield (counts, f"without {child}"), outcome.macs - macs
        if any(term.macs == -attention for term in outcome.terms if attention):  # it misses all attention, no more
            yield (counts, _SQUARE), outcome.macs + square
            yield (counts, _SQUARE, "attention of both branches in each"), outcome.macs + 2 * square
        if len(outcome.terms) > 1 and not outcome.residual:
            for size in range(1, min(_TERMS, len(outcome.terms) - 1) + 1):
                for terms in itertools.combinations(outcome.terms, size):
                    yield tuple(term.cause for term in terms), total.macs + sum(term.macs for term in terms)


def _children(component: Component) -> dict[str, int]:
    """MACs by the trace of each direct child of a component; equal modules share a row, and what it ran evenly."""
    census = component.census
    if census is None:
        return {}
    found: dict[str, Fraction] = {}
    for row in census.ops:
        paths = census.modules[row.module].paths
        for path in paths:
            child = path[0].partition(".")[0]
            if child and row.macs:
                found[child] = found.get(child, Fraction(0)) + Fraction(row.macs, len(paths))
    return {child: int(macs) for child, macs in found.items() if macs.denominator == 1}


# -- the verdict -------------------------------------------------------------------------------------------------------


def audit(claim: Claim, ledger: Ledger) -> Audited:
    """What ``claim`` means, held against the ledger of its model and workload."""
    number = published(claim)
    every = list(conventions(ledger, claim, number.unit))
    tried = _simplest(every)
    right = _recommended(ledger, claim, number.unit)
    known = {
        "name": claim.name,
        "model": claim.model,
        "component": claim.component,
        "published": f"{claim.value} {claim.unit}",
        "recommended": right,
        "space": len({(c.exact, c.binary) for c in tried}),
        "chance": number.chance([c.exact for c in tried]),
        "source": claim.source,
    }
    fits = sorted((c for c in tried if number.prints(c.exact, c.binary)), key=lambda c: len(c.switches))
    if fits:
        level = [c for c in fits if len(c.switches) == len(fits[0].switches)]
        return Audited(
            verdict="reproduced" if len(level) == 1 else "ambiguous",
            convention=said(fits[0].switches),
            exact=fits[0].exact,
            distance=fits[0].exact - number.whole,
            steps=_steps(fits[0], every),
            others=tuple(Fit(convention=c.switches, exact=c.exact) for c in fits[1:]),
            **known,  # type: ignore[arg-type]
        )
    closest = min(tried, key=lambda c: (abs(c.exact - number.whole), len(c.switches)), default=None)
    near = closest is not None and abs(closest.exact - number.whole) < _NEAR * number.whole
    return Audited(
        verdict="near" if near else "refuted",
        convention=said(closest.switches) if closest and near else "",
        exact=closest.exact if closest and near else None,
        distance=closest.exact - number.whole if closest and near else None,
        steps=_steps(closest, every) if closest and near else (),
        **known,  # type: ignore[arg-type]
    )


def said(switches: Sequence[str]) -> str:
    """A convention in words."""
    return ", ".join(switches) or "as recommended"


def _steps(chosen: Convention, every: Sequence[Convention]) -> tuple[Fit, ...]:
    """One switch after the other, where the space has what comes between; else two at once."""
    known = {frozenset(convention.switches): convention.exact for convention in every}
    steps, done, waiting = [], frozenset[str](), list[str]()
    for switch in chosen.switches:
        waiting.append(switch)
        if (reached := done | {*waiting}) in known:
            steps.append(Fit(convention=tuple(waiting), exact=known[reached]))
            done, waiting = reached, []
    return tuple(steps)


def _simplest(found: Sequence[Convention]) -> list[Convention]:
    """Of conventions that come to the same number, those with the fewest switches.

    Two that take it alike and count the same number of one forward are one, by whichever name comes first.
    """
    best: dict[tuple[int, bool], dict[tuple[str, ...], Convention]] = {}
    for convention in found:
        alike = best.setdefault((convention.exact, convention.binary), {})
        level = len(convention.switches)
        fewest = min((len(other.switches) for other in alike.values()), default=level)
        if level < fewest:
            alike.clear()
        if level <= fewest:
            alike.setdefault(tuple(sorted(convention.taken)), convention)
    return [convention for alike in best.values() for convention in alike.values()]


def _recommended(ledger: Ledger, claim: Claim, unit: Unit) -> int | None:
    if unit.kind == "params":
        return ledger.component(claim.component).params if claim.component != "generation" else None
    if claim.component == "generation":
        macs = ledger.generation.recommended.macs if ledger.generation else None
    else:
        macs = ledger.component(claim.component).recommended.macs
        macs = None if macs is None else macs * (claim.calls or 1) * (claim.batch_size or 1)
    return None if macs is None else macs * (FLOPS_PER_MAC if unit.kind == "flops" else 1)


# -- a file of claims --------------------------------------------------------------------------------------------------


def audit_all(
    claims: Sequence[Claim],
    ledgers: Sequence[Ledger] = (),
    *,
    allow_code: bool = False,
    progress: Callable[[str, str], None] = lambda model, what: None,
) -> list[Audited]:
    """Audit ``claims``; a model is run once for each workload, where none of ``ledgers`` has it already.

    A model of the form ``module:function`` is code of the caller's, which gives a module and its inputs: it runs only
    with ``allow_code``. Raises `UsageError` for a model or component that there is not.
    """
    runs: dict[tuple[object, ...], Ledger] = {}
    found = []
    for claim in claims:
        key = claim.model, *(getattr(claim, name) for name in _WORKLOAD)
        if key not in runs:
            given = next((ledger for ledger in ledgers if _holds(ledger, claim)), None)
            runs[key] = given or _run(claim, allow_code)
        try:
            found.append(audit(claim, runs[key]))
        except UsageError as error:
            raise UsageError(f"{claim.name}: {error}") from error
        progress(claim.model, claim.name)
    return found


_SIZES = ("height", "width", "frames")
_WORKLOAD = (*_SIZES, "steps", "guidance_scale", "scheduler")


def _holds(ledger: Ledger, claim: Claim) -> bool:
    """Whether a ledger is of the claim's model and workload; what a claim leaves open is the model's own.

    One forward of a component depends on sizes alone.
    """
    matters = _WORKLOAD if claim.component == "generation" else _SIZES
    stated = {name: getattr(claim, name) for name in matters if getattr(claim, name) is not None}
    return ledger.model == claim.model and ledger.workload is not None and all(
        getattr(ledger.workload, name) == value for name, value in stated.items()
    )  # fmt: skip


def _run(claim: Claim, allow_code: bool) -> Ledger:
    if ":" in claim.model:
        return _code(claim, allow_code)
    from crosscheck.run import check_pipeline

    return check_pipeline(
        claim.model,
        height=claim.height,
        width=claim.width,
        num_frames=claim.frames,
        num_inference_steps=claim.steps,
        guidance_scale=claim.guidance_scale,
        scheduler=claim.scheduler,
        backends=["all"],
    )


def _code(claim: Claim, allow_code: bool) -> Ledger:
    """The ledger of a module that the caller's own function makes."""
    if not allow_code:
        raise UsageError(f"{claim.name}: model {claim.model!r} is code, which runs only with --allow-code")
    from crosscheck import ledger
    from crosscheck.measure import check

    place, _, name = claim.model.partition(":")
    try:
        module, *inputs = getattr(importlib.import_module(place), name)()
    except Exception as error:
        raise UsageError(f"{claim.name}: {claim.model} can't be called: {one_line(error)}") from error
    component = msgspec.structs.replace(check(module, *inputs, backends=["all"]), name=claim.component)
    return ledger.of(claim.model, [component])
