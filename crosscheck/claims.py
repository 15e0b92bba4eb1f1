"""Audit of published numbers: which convention prints these digits, and what the right number is.

The conventions tried are a finite, declared space, made from a ledger alone: `bases` says what is counted, `Convention`
what else is done to it. A number is explained only by a convention that prints exactly its digits; how likely that is
by chance is worked out from the space.
"""

from __future__ import annotations

import functools
import importlib
import itertools
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import msgspec

from crosscheck import causes
from crosscheck.records import (
    FLOPS_PER_MAC,
    Accuracy,
    Audited,
    Census,
    Claim,
    Claims,
    Component,
    ConfigError,
    Counted,
    Fit,
    GenerationComponent,
    Ledger,
    Misjudged,
    Term,
    UsageError,
    Verdict,
    Weighed,
    one_line,
)

_PREFIXES = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5, "b": 3}
_PRINTED = re.compile(r"(?:\d{1,3}(?:,\d{3})+|[\d_]+)(?:\.\d+)?(?:[eE][+-]?\d{1,2})?", re.ASCII)
#: Digits that a number may have.
_LONGEST = 40
_UNIT = re.compile(r"^\s*([kmgtpb]?)\s*(flops?|macs?|madds?|params?|parameters)?\s*$", re.IGNORECASE)
#: How far off a number may be to be called near, as a share of it.
_NEAR = Fraction(1, 1000)
#: A hit that is likelier by chance is no evidence for its convention.
SIGNIFICANT = 0.05
#: Terms of one counter that are tried by themselves and two together.
_TERMS = 2


class Unit(NamedTuple):
    """A unit as printed."""

    kind: str
    """``flops``, ``macs``, ``params``; empty where it does not say."""
    power: int
    """Of 1,000."""

    def prefix(self, binary: bool = False) -> int:
        """What its prefix stands for."""
        return int((1024 if binary else 1000) ** self.power)

    def decimal(self, exact: int, binary: bool) -> int:
        """What shows as much with a decimal prefix."""
        return exact * self.prefix() // self.prefix(binary)


class Published(NamedTuple):
    """A number as printed."""

    value: Decimal
    unit: Unit

    def prints(self, exact: int, binary: bool = False) -> bool:
        """Whether ``exact`` comes to the same digits, rounded to the places that are printed."""
        with localcontext(prec=3 * _LONGEST):
            scaled = Decimal(exact) / self.unit.prefix(binary)
            return scaled.quantize(self._step, rounding=ROUND_HALF_EVEN) == self.value

    def whole(self, binary: bool = False) -> int:
        """The number without its prefix, rounded to a whole one."""
        return int((self.value * self.unit.prefix(binary)).to_integral_value())

    @property
    def _step(self) -> Decimal:
        return Decimal(1).scaleb(int(self.value.as_tuple().exponent))

    def near(self, exact: int, binary: bool = False) -> bool:
        """Whether ``exact`` is less than 0.1 % off."""
        return abs(exact - self.whole(binary)) < _NEAR * self.whole(binary)

    def chance(self, candidates: Sequence[int]) -> float:
        """Share of the decade around it, by its logarithm, that prints as one of ``candidates``."""
        step = float(self._step * self.unit.prefix())
        digits = {round(candidate / step) for candidate in candidates}
        return self._covered(((digit - 0.5) * step, (digit + 0.5) * step) for digit in digits)

    def chance_near(self, candidates: Sequence[int]) -> float:
        """Share of the decade around it, by its logarithm, that is near one of ``candidates``."""
        off = float(_NEAR)
        return self._covered((candidate / (1 + off), candidate / (1 - off)) for candidate in candidates)

    def _covered(self, intervals: Iterable[tuple[float, float]]) -> float:
        middle = float(self.whole()) or 1.0
        low, high = middle / math.sqrt(10), middle * math.sqrt(10)
        covered, reached = 0.0, low
        for first, last in sorted(intervals):
            start, end = max(first, reached), min(last, high)
            if end > start:
                covered += math.log(end / start)
                reached = end
        return covered / math.log(10)


Habits = Mapping[str, bool]
NO_ATTENTION, MACS_AS_FLOPS, ONE_BRANCH = "leave out attention", "call MACs FLOPs", "forget guidance"
#: What published numbers are often found to do.
HABITS = (NO_ATTENTION, MACS_AS_FLOPS, ONE_BRANCH)


class Base(NamedTuple):
    """What is counted of one forward."""

    switches: tuple[str, ...]
    """What it does otherwise than the recommended total."""
    macs: int
    attention: bool | None
    """Whether attention is in it; None where the model has none."""


class Convention(NamedTuple):
    """One way to come to a number: what it does otherwise than the recommended total in the unit that is printed."""

    counted: tuple[str, ...]
    """Of one forward."""
    taken: tuple[str, ...]
    """How often, in which unit, and of which components."""
    exact: int
    binary: bool = False
    habits: Habits = {}
    """Those that it can have, and whether it has them."""

    @property
    def switches(self) -> tuple[str, ...]:
        """All of it."""
        return (*self.counted, *self.taken)


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


def _place(path: Path, text: str, said: str) -> str:
    """``file:line``, from where an error says it is: ``$.claim[2].value``."""
    lines = text.splitlines()
    if match := re.search(r"line (\d+)", said):
        return f"{path}:{match[1]}"
    if not (match := re.search(r"\$\.(\w+)\[(\d+)\](?:\.(\w+))?", said)):
        return str(path)
    starts = [number for number, line in enumerate(lines) if re.match(rf"\s*\[\[\s*{match[1]}\s*\]\]", line)]
    if int(match[2]) >= len(starts):
        return str(path)
    start = starts[int(match[2])]
    field = match[3] or (named[1] if (named := re.search(r"field `(\w+)`", said)) else None)
    end = next((number for number in starts if number > start), len(lines))
    found = (n for n in range(start, end) if field and re.match(rf"\s*{field}\s*=", lines[n]))
    return f"{path}:{next(found, start) + 1}"


def published(claim: Claim) -> Published:
    """The number of ``claim``. Raises `ValueError` where it is none, or its unit is not known."""
    text = claim.value.strip()
    if not _PRINTED.fullmatch(text) or not text.strip("_") or len(text) > _LONGEST:
        raise ValueError(f"value: got {claim.value!r}; allowed: a number as printed, such as '339.224' or '10,232.3'")
    value = Decimal(text.replace(",", "").replace("_", ""))
    match = _UNIT.match(claim.unit)
    if match is None or (match[1] == "b" and not (match[2] or "").lower().startswith("param")):
        raise ValueError(f"unit: got {claim.unit!r}; allowed: FLOPs, MACs or params, with k, M, G, T, P or (params) B")
    kind = (match[2] or "").lower()
    name = "macs" if kind.startswith("ma") else "params" if kind.startswith("p") else "flops" if kind else ""
    return Published(value, Unit(name, _PREFIXES[match[1].lower()]))


# -- the conventions ---------------------------------------------------------------------------------------------------

_WITHOUT = "without attention"
_SQUARE = "attention as N_q x N_q with softmax"
_TWICE = "attention of both branches in each"
_HALF = "MACs called FLOPs"
_DOUBLE = "FLOPs called MACs"
_BRANCHES = "both guidance branches"
#: What reads prompts, once each, whatever the steps.
_READS = "text_encoder"


def conventions(ledger: Ledger, claim: Claim, unit: Unit) -> Iterator[Convention]:
    """Every number that the declared space has for ``claim``."""
    found = [*(_generation(ledger, claim) if claim.component == "generation" else _component(ledger, claim))]
    for factor, switch in _factors(unit):
        called = {MACS_AS_FLOPS: switch == _HALF} if unit.kind == "flops" else {}
        for one in found:
            told = one.taken + ((switch,) if switch else ())
            habits = {**one.habits, **called}
            yield Convention(one.counted, told, factor * one.exact, habits=habits)
            if unit.power:
                yield Convention(one.counted, (*told, "binary prefix"), factor * one.exact, binary=True, habits=habits)
    yield from _parameters(ledger, claim, unit)


def _factors(unit: Unit) -> tuple[tuple[int, str], ...]:
    """What a MAC is taken for, and the switch that it is; a unit that does not say is taken for MACs."""
    if unit.kind == "flops":
        return (FLOPS_PER_MAC, ""), (1, _HALF)
    return (1, ""), (FLOPS_PER_MAC, _DOUBLE if unit.kind else "2 for each MAC")


def _parameters(ledger: Ledger, claim: Claim, unit: Unit) -> Iterator[Convention]:
    """Of a component; where not all of it runs, as of a VAE that decodes, of what does, and of that without a part."""
    switch = () if unit.kind == "params" else ("parameters instead",)
    if claim.component == "generation":
        yield Convention((), switch, sum(component.params for component in ledger.components))
    for component in ledger.components:
        if claim.component not in (component.name, "generation"):
            continue
        told = (f"of the {component.name} alone", *switch) if claim.component == "generation" else switch
        yield Convention((), told, component.params)
        if component.census:
            parts = _children(component.census, [row.params * len(row.paths) for row in component.census.modules])
            worked = {
                path[0].partition(".")[0]
                for row in component.census.ops
                for path in component.census.modules[row.module].paths
            }
            ran = {child: params for child, params in parts.items() if child in worked}
            if ran.keys() < parts.keys():
                yield Convention(("what runs",), told, sum(ran.values()))
                for child, params in ran.items():
                    yield Convention(("what runs", f"without {child}"), told, sum(ran.values()) - params)


def _component(ledger: Ledger, claim: Claim) -> Iterator[Convention]:
    """One forward or more of one component, in MACs."""
    for base in bases(ledger, claim, claim.component):
        for times, taken, guided in _times(ledger, claim):
            yield Convention(base.switches, taken, times * base.macs, habits=_habits(base.attention, guided))


def _habits(attention: bool | None, guided: bool | None) -> dict[str, bool]:
    known = {NO_ATTENTION: attention, ONE_BRANCH: guided}
    return {habit: not has for habit, has in known.items() if has is not None}


def _times(ledger: Ledger, claim: Claim) -> Iterator[tuple[int, tuple[str, ...], bool | None]]:
    """How often a forward for one image and one branch may be taken, and whether with both branches of a generation."""
    asked = (claim.calls or 1) * (claim.batch_size or 1)
    yield asked, (), None
    part = _part(ledger, claim.component)
    if part is None or ledger.workload is None:
        return
    branches = _branches(ledger, claim.component)
    steps = claim.steps or ledger.workload.steps or 1
    alike = steps == ledger.workload.steps and claim.scheduler in (None, ledger.workload.scheduler)
    often = {part.calls: f"all {part.calls:,} calls"} if alike else {}
    if branches > 1:
        yield asked * branches, (_BRANCHES,), None
    for calls, name in ({steps: f"times {steps:,} steps"} | often).items():
        if calls > 1 and claim.calls is None:
            yield asked * calls, (name,), False if branches > 1 else None
            if branches > 1:
                yield asked * calls * branches, (name, _BRANCHES), True


def _part(ledger: Ledger, name: str) -> GenerationComponent | None:
    parts = ledger.generation.components if ledger.generation else ()
    return next((part for part in parts if part.name == name), None)


def _denoiser(ledger: Ledger) -> GenerationComponent:
    """What is called the most, of all that does not read prompts; of several, with the largest batch and MACs."""
    parts = ledger.generation.components if ledger.generation else ()
    images = [part for part in parts if not part.name.startswith(_READS)]
    return max(images or parts, key=lambda part: (part.calls, part.batch_size or 0, part.macs or 0))


def _branches(ledger: Ledger, name: str) -> int:
    """Branches of guidance that a component runs at once in a generation."""
    part = _part(ledger, name)
    return (part.batch_size or 1) // ledger.workload.batch_size if part and ledger.workload else 1


def _generation(ledger: Ledger, claim: Claim) -> Iterator[Convention]:
    """All components, or some, over a generation, counted each by the same rule or the denoiser by one of its own."""
    if ledger.generation is None or ledger.workload is None:
        return
    names = [part.name for part in ledger.generation.components if part.macs is not None]
    left_out = [*itertools.chain.from_iterable(itertools.combinations(names, k) for k in range(len(names)))]
    for switches, base_of, attention in _rules(ledger, claim, names):
        for counting, taken, guided in _countings(ledger):
            sums = {name: counting(name) * base_of[name].macs for name in names}
            for without in left_out:
                told = tuple(f"without {name}" for name in without)
                macs = sum(macs for name, macs in sums.items() if name not in without)
                yield Convention(switches, (*taken, *told), macs, habits=_habits(attention, guided))


def _rules(
    ledger: Ledger, claim: Claim, names: Sequence[str]
) -> Iterator[tuple[tuple[str, ...], Mapping[str, Base], bool | None]]:
    """What is counted of each component, by rules that all of them have, and whether the denoiser's attention is."""
    found: dict[tuple[str, ...], dict[str, Base]] = {}
    for name in names:
        for base in bases(ledger, claim, name):
            found.setdefault(base.switches, {})[name] = base
    denoiser = _denoiser(ledger).name
    for switches, those in found.items():
        if len(those) == len(names):
            yield switches, those, those[denoiser].attention
        if _SQUARE in switches and denoiser in those:
            before = switches.index(_SQUARE)
            alone = {**found[switches[:before]], denoiser: those[denoiser]}
            told = (*switches[: before + 1], f"in the {denoiser} alone", *switches[before + 1 :])
            if len(alone) == len(names):
                yield told, alone, those[denoiser].attention


def _countings(ledger: Ledger) -> Iterator[tuple[Callable[[str], int], tuple[str, ...], bool | None]]:
    """How often each component's forward for one image and one branch is taken in a generation, guided or not."""
    generation, workload = ledger.generation, ledger.workload
    assert generation is not None
    assert workload is not None
    rows = {part.name: [(case.calls, case.batch_size) for case in part.cases] for part in generation.components}
    most = _denoiser(ledger).calls
    steps = workload.steps or most

    def _loops(name: str) -> bool:
        return sum(calls for calls, _ in rows[name]) == most and not name.startswith(_READS)

    def real(name: str) -> int:
        return sum(calls * batch for calls, batch in rows[name])

    def unguided(name: str) -> int:
        return workload.batch_size * (sum(calls for calls, _ in rows[name]) if _loops(name) else 1)

    def by_steps(name: str) -> int:
        return real(name) * steps // most if _loops(name) else real(name)

    def unguided_steps(name: str) -> int:
        return workload.batch_size * (steps if _loops(name) else 1)

    guided = any(_loops(name) and real(name) > unguided(name) for name in rows)
    fewer = f"{steps:,} calls for {most:,}"
    yield real, (), guided or None
    yield unguided, ("one guidance branch",), False if guided else None
    if steps != most:
        yield by_steps, (fewer,), guided or None
        yield unguided_steps, (fewer, "one guidance branch"), False if guided else None


def bases(ledger: Ledger, claim: Claim, name: str) -> Iterator[Base]:
    """What may be counted of one forward of a component; by the claim's own counter alone, where it names one."""
    component = ledger.component(name)
    total, census = component.recommended, component.census
    if total.macs is None:
        return
    attention = total.by_op.get("attention", 0)
    has = True if attention else None
    square = sum(row.query_only_macs for row in census.attention) if census else 0
    counted = [
        (f"as {backend} counts", outcome.macs, aside)
        for backend, outcome, aside in _counters(component, ledger)
        if claim.counter in (None, backend)
    ]
    recommended = [("", total.macs, total.macs - attention)] if claim.counter is None else []
    for counts, macs, aside in recommended + counted:
        by = (counts,) if counts else ()
        yield Base(by, macs, has and macs != aside)
        yield Base((*by, _WITHOUT), aside, has and False)
        yield Base((*by, _SQUARE), aside + square, has)
        if _branches(ledger, name) > 1:
            yield Base((*by, _SQUARE, _TWICE), aside + 2 * square, has)
    if claim.counter is not None:
        return
    yield Base(("with softmax",), total.macs + component.other_ops.get("softmax", 0), has)
    if census:
        rest = _macs_of_children(causes.without_attention(census))
        for child, macs in _macs_of_children(census).items():
            yield Base((f"without {child}",), total.macs - macs, has)
            yield Base((_WITHOUT, f"without {child}"), total.macs - attention - rest.get(child, 0), has and False)
    for _, outcome, _ in _counters(component, ledger):
        for size in range(1, min(_TERMS, len(outcome.terms) - 1) + 1):
            for terms in itertools.combinations(outcome.terms, size):
                missed = any(term.macs == -attention for term in terms)
                macs = total.macs + sum(term.macs for term in terms)
                yield Base(tuple(term.cause for term in terms), macs, has and not missed)


class _Same(NamedTuple):
    """A component, known by being the same object: to work out once what every claim of it needs."""

    component: Component
    environment: Mapping[str, str]

    def __hash__(self) -> int:
        return id(self.component)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.component is self.component


def _counters(component: Component, ledger: Ledger) -> list[tuple[str, Counted, int]]:
    """The counters that are explained, with what each counts of all but attention; first those that count no more."""
    return _asides(_Same(component, ledger.environment))


@functools.lru_cache(maxsize=256)
def _asides(same: _Same) -> list[tuple[str, Counted, int]]:
    component, environment = same
    if component.census is None:
        return []
    rest = causes.without_attention(component.census)
    macs = sum(row.macs for row in rest.ops)
    found = [
        (backend, outcome, macs + sum(term.macs for term in causes.explain(backend, environment, rest)))
        for backend, outcome in component.backends.items()
        if isinstance(outcome, Counted) and not outcome.residual
    ]
    return sorted(found, key=lambda counter: counter[1].macs != counter[2])


def _macs_of_children(census: Census) -> dict[str, int]:
    """MACs by the trace of each direct child of a component."""
    ran = [0] * len(census.modules)
    for row in census.ops:
        ran[row.module] += row.macs
    return _children(census, ran)


def _children(census: Census, shares: Sequence[int]) -> dict[str, int]:
    """A number of each direct child of a component, not 0, from that of each row of modules: they share it evenly."""
    found: dict[str, Fraction] = {}
    for row, share in zip(census.modules, shares, strict=True):
        for path in row.paths if share else ():
            if child := path[0].partition(".")[0]:
                found[child] = found.get(child, Fraction(0)) + Fraction(share, len(row.paths))
    return {child: int(number) for child, number in found.items() if number.denominator == 1}


# -- the verdict -------------------------------------------------------------------------------------------------------


def audit(claim: Claim, ledger: Ledger) -> Audited:
    """What ``claim`` means, held against the ledger of its model and workload.

    Raises `UsageError` for a component or counter that the ledger does not have.
    """
    number = published(claim)
    if claim.component == "generation" and ledger.generation is None:
        raise UsageError("a module by itself has no generation; its component is 'forward'")
    backends = sorted({name for component in ledger.components for name in component.backends})
    if claim.counter not in (None, *backends):
        raise UsageError(f"no numbers of counter {claim.counter!r}; there are those of: {', '.join(backends)}")
    every = list(conventions(ledger, claim, number.unit))
    tried = _simplest(every)
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
        convention=said(chosen.switches) if chosen else "",
        exact=chosen.exact if chosen else None,
        recommended=_recommended(ledger, claim, number.unit),
        distance=chosen.exact - number.whole(chosen.binary) if chosen else None,
        steps=_steps(chosen, every, ledger, claim, number.unit) if chosen else (),
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


def said(switches: Sequence[str]) -> str:
    """A convention in words."""
    return ", ".join(switches) or "as recommended"


def _steps(
    chosen: Convention, every: Sequence[Convention], ledger: Ledger, claim: Claim, unit: Unit
) -> tuple[Fit, ...]:
    """One switch after the other, where the space has what comes between; else two at once."""
    known = {frozenset(convention.switches): convention.exact for convention in every}
    steps, done, waiting = [], frozenset[str](), list[str]()
    for switch in chosen.switches:
        waiting.append(switch)
        if (reached := done | {*waiting}) in known:
            change = known[reached] - (known.get(done) or _recommended(ledger, claim, unit) or 0)
            parts = _parts(switch, change, ledger, claim, unit) if len(waiting) == 1 else ()
            steps.append(Fit(convention=tuple(waiting), exact=known[reached], parts=parts))
            done, waiting = reached, []
    return tuple(steps)


def _parts(switch: str, change: int, ledger: Ledger, claim: Claim, unit: Unit) -> tuple[Term, ...]:
    """What a change of the rule is made of; nothing where that does not add up to it."""
    often = {part.name: _taken(part) for part in ledger.generation.components} if ledger.generation else {}
    if claim.component != "generation":
        often = {claim.component: (claim.calls or 1) * (claim.batch_size or 1)}
    factor = FLOPS_PER_MAC if unit.kind == "flops" else 1
    for counted in (False, True):  # attention is counted already, or not
        sums: dict[str, int] = {}
        for name, times in often.items():
            if switch != _TWICE or _branches(ledger, name) > 1:
                for cause, macs in _shares(switch, ledger.component(name), counted):
                    sums[cause] = sums.get(cause, 0) + factor * times * macs
        if len(sums) > 1 and sum(sums.values()) == change:
            return tuple(Term(cause=cause, macs=macs) for cause, macs in sums.items() if macs)
    return ()


def _shares(switch: str, component: Component, counted: bool) -> Iterator[tuple[str, int]]:
    """The parts of a change in one forward."""
    if switch in (_SQUARE, _TWICE) and component.census:
        attention = component.recommended.by_op.get("attention", 0)
        square = sum(row.query_only_macs for row in component.census.attention)
        softmax = sum(row.query_only_macs // (2 * row.query[-1] + 1) for row in component.census.attention)
        yield from [] if counted else [("attention", attention)]
        yield "N_q x N_q instead of N_q x N_kv", square - softmax - attention
        yield "softmax as MACs", softmax
    for backend, outcome in component.backends.items():
        if switch == f"as {backend} counts" and isinstance(outcome, Counted):
            yield from ((term.cause, term.macs) for term in outcome.terms)


def _taken(part: GenerationComponent) -> int:
    """Forwards for one image and one branch that a generation has of a component."""
    return sum(case.calls * case.batch_size for case in part.cases)


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
        those = [ledger.component(claim.component)] if claim.component != "generation" else ledger.components
        return sum(component.params for component in those)
    if claim.component == "generation":
        macs = ledger.generation.recommended.macs if ledger.generation else None
    else:
        macs = ledger.component(claim.component).recommended.macs
        macs = None if macs is None else macs * (claim.calls or 1) * (claim.batch_size or 1)
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
            off = {name: outcome.macs - aside - attention for name, outcome, aside in _counters(component, ledger)}
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
    from crosscheck.run import check_pipeline

    return check_pipeline(
        claim.model,
        height=claim.height,
        width=claim.width,
        num_frames=claim.frames,
        num_inference_steps=claim.steps,
        guidance_scale=claim.guidance_scale,
        scheduler=claim.scheduler,
        batch_size=claim.batch_size or 1 if claim.component == "generation" else 1,
        backends=["all"],
    )


def _code(claim: Claim, allow_code: bool) -> Ledger:
    """The ledger of a module that the caller's own function makes."""
    if not allow_code:
        raise UsageError(f"model {claim.model!r} is code, which runs only with --allow-code")
    from crosscheck import ledger
    from crosscheck.measure import check

    place, _, name = claim.model.partition(":")
    try:
        module, *inputs = getattr(importlib.import_module(place), name)()
    except Exception as error:
        raise UsageError(f"{claim.model} can't be called: {one_line(error)}") from error
    component = msgspec.structs.replace(check(module, *inputs, backends=["all"]), name=claim.component)
    return ledger.of(claim.model, [component])
