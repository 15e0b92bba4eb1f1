"""The declared space: every number that a convention gives for a model, made from its ledger alone.

`bases` says what is counted of a forward, `Convention` what else is done to it.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

from crosscheck import causes
from crosscheck.audit.published import Unit
from crosscheck.audit.records import Claim
from crosscheck.records import FLOPS_PER_MAC, Census, Component, Counted, GenerationComponent, Ledger, Term

#: Terms of one counter that are tried by themselves and two together.
_TERMS = 2

Habits = Mapping[str, bool]
NO_ATTENTION, MACS_AS_FLOPS, ONE_BRANCH = "leave out attention", "call MACs FLOPs", "forget guidance"
#: What published numbers are often found to do.
HABITS = (NO_ATTENTION, MACS_AS_FLOPS, ONE_BRANCH)


class Base(NamedTuple):
    """The part of one forward that a convention counts."""

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
    """Readings of the unit: what a MAC is taken for, as a switch; a unit that does not say is taken for MACs."""
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
    has_it = {NO_ATTENTION: attention, ONE_BRANCH: guided}
    return {habit: not has for habit, has in has_it.items() if has is not None}


def _times(ledger: Ledger, claim: Claim) -> Iterator[tuple[int, tuple[str, ...], bool | None]]:
    """Multiples that a forward of one image and one branch is quoted in, and whether with both of a generation."""
    asked = claim.forwards
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


def _most_called(ledger: Ledger) -> GenerationComponent:
    """The component called most often that reads no prompts; among equals, the one with the largest batch and MACs."""
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
    """Rules that count each component alike, with whether the denoiser's attention is in."""
    found: dict[tuple[str, ...], dict[str, Base]] = {}
    for name in names:
        for base in bases(ledger, claim, name):
            found.setdefault(base.switches, {})[name] = base
    denoiser = _most_called(ledger).name
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
    """Ways of counting how often each component's forward runs in a generation, guided or not."""
    generation, workload = ledger.generation, ledger.workload
    assert generation is not None
    assert workload is not None
    parts_by_name = {part.name: part for part in generation.components}
    most = _most_called(ledger).calls
    steps = workload.steps or most

    def _loops(name: str) -> bool:
        return parts_by_name[name].calls == most and not name.startswith(_READS)

    def real(name: str) -> int:
        return parts_by_name[name].forwards

    def unguided(name: str) -> int:
        return workload.batch_size * (most if _loops(name) else 1)

    def by_steps(name: str) -> int:
        return real(name) * steps // most if _loops(name) else real(name)

    def unguided_steps(name: str) -> int:
        return workload.batch_size * (steps if _loops(name) else 1)

    guided = any(_loops(name) and real(name) > unguided(name) for name in parts_by_name)
    fewer = f"{steps:,} calls for {most:,}"
    yield real, (), guided or None
    yield unguided, ("one guidance branch",), False if guided else None
    if steps != most:
        yield by_steps, (fewer,), guided or None
        yield unguided_steps, (fewer, "one guidance branch"), False if guided else None


def bases(ledger: Ledger, claim: Claim, name: str) -> Iterator[Base]:
    """Parts of a component's forward that may be counted; by the claim's own counter alone, where it names one."""
    component = ledger.component(name)
    total, census = component.recommended, component.census
    if total.macs is None:
        return
    attention = total.by_op.get("attention", 0)
    has, without = (True, False) if attention else (None, None)
    square = sum(row.query_only_macs for row in census.attention) if census else 0
    counted = [
        (f"as {backend} counts", outcome.macs, aside)
        for backend, outcome, aside in counters(component, ledger)
        if claim.counter in (None, backend)
    ]
    recommended = [("", total.macs, total.macs - attention)] if claim.counter is None else []
    for counts, macs, aside in recommended + counted:
        by = (counts,) if counts else ()
        yield Base(by, macs, has and macs != aside)
        yield Base((*by, _WITHOUT), aside, without)
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
            yield Base((_WITHOUT, f"without {child}"), total.macs - attention - rest.get(child, 0), without)
    for _, outcome, _ in counters(component, ledger):
        for size in range(1, min(_TERMS, len(outcome.terms) - 1) + 1):
            for terms in itertools.combinations(outcome.terms, size):
                missed = any(term.macs == -attention for term in terms)
                macs = total.macs + sum(term.macs for term in terms)
                yield Base(tuple(term.cause for term in terms), macs, has and not missed)


class _Same(NamedTuple):
    """A component, known by being the same object, and its environment: to work out once what every claim needs."""

    component: Component
    environment: Mapping[str, str]

    def __hash__(self) -> int:
        return id(self.component)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Same):
            return False
        return other.component is self.component and other.environment == self.environment


def counters(component: Component, ledger: Ledger) -> list[tuple[str, Counted, int]]:
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


def parts(switch: str, change: int, ledger: Ledger, claim: Claim, unit: Unit) -> tuple[Term, ...]:
    """The parts of a change of rule; empty where they do not add up to it."""
    often = {part.name: part.forwards for part in ledger.generation.components} if ledger.generation else {}
    if claim.component != "generation":
        often = {claim.component: claim.forwards}
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


def simplest(found: Sequence[Convention]) -> list[Convention]:
    """The conventions with the fewest switches among those that give the same number.

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
