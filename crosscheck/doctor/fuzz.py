"""Differential fuzzing: random modules under every counter, until something is not explained.

Each tool runs in a process of its own. What is not explained is shrunk by hypothesis to the smallest module that shows
it.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import warnings
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from crosscheck import ledger, reconcile
from crosscheck.backends import registry
from crosscheck.causes import Environment
from crosscheck.engine.job import count, merged
from crosscheck.engine.measure import CLOSED_FORM, tools
from crosscheck.engine.processes import processors
from crosscheck.errors import UsageError
from crosscheck.records import Counted, Failed, Outcome, Record, Skipped


class Finding(Record, frozen=True, kw_only=True):
    """The smallest module found on which a counter's number is not explained."""

    backend: str
    what: str
    """What the counter said, and what it should have."""
    repro: str
    """A program that shows it."""


class Fuzzed(Record, frozen=True, kw_only=True):
    """Findings of random modules about the backends of one tool."""

    backends: tuple[str, ...]
    programs: int = 0
    """Modules counted; 0 where the tool has no answer for any."""
    predicted: int = 0
    """Of these, without a number, as a cause predicts."""
    finding: Finding | None = None
    error: str = ""
    """Why the tool could not be run on."""


class _UnexplainedError(Exception):
    """A number or a failure that no cause explains."""


def fuzz(backends: Sequence[str] | None, programs: int, seed: int) -> Iterator[Fuzzed]:
    """Count ``programs`` random modules with every backend; results come as tools are done.

    The same seed gives the same modules. Raises `UsageError` where hypothesis is not installed.
    """
    try:
        import hypothesis  # noqa: F401  it draws and shrinks
    except ImportError as error:
        raise UsageError(
            "fuzzing needs hypothesis, which draws and shrinks; install it with: pip install hypothesis"
        ) from error
    if programs < 1:
        raise UsageError(f"programs to fuzz: got {programs}; allowed: a whole number from 1")
    names = [name for name in registry.choose(backends or ["all"]) if name not in CLOSED_FORM]
    waiting = deque(tools(names))
    running: dict[Future[Fuzzed], tuple[tuple[str, ...], ProcessPoolExecutor]] = {}
    while waiting or running:
        while waiting and len(running) < processors():
            group = waiting.popleft()
            executor = ProcessPoolExecutor(1, multiprocessing.get_context("fork"))
            running[executor.submit(_under_one_tool, group, programs, seed)] = group, executor
        for done in wait(running, return_when=FIRST_COMPLETED).done:
            group, executor = running.pop(done)
            executor.shutdown()
            try:
                yield done.result()
            except BrokenProcessPool as error:
                yield Fuzzed(backends=group, error=f"its process died: {error}")


def _under_one_tool(group: tuple[str, ...], examples: int, seed: int) -> Fuzzed:
    """All programs under one tool, in this process."""
    import hypothesis
    import torch

    from crosscheck.doctor.programs import programs
    from crosscheck.doctor.writing import PLAIN, Program

    torch.set_num_threads(1)
    loaded = []
    for name in group:
        with contextlib.suppress(Exception, SystemExit):
            loaded.append(registry.load(name).name)
    environment = ledger.environment()
    if all(isinstance(outcome, Skipped) for outcome in _outcomes(PLAIN, loaded, environment).values()):
        return Fuzzed(backends=group)
    counts = Counter[str]()
    smallest: list[Finding] = []

    def explained(program: Program) -> None:
        outcomes = _outcomes(program, loaded, environment)
        counts["programs"] += 1
        counts["predicted"] += any(isinstance(o, Failed) and bool(o.predicted_by) for o in outcomes.values())
        for backend, outcome in outcomes.items():
            if wrong := _wrong(program, backend, outcome) or (backend == "aten" and _contradicted(program)):
                smallest[:] = [Finding(backend=backend, what=wrong, repro=program.repro(backend))]
                raise _UnexplainedError(wrong)

    settings = hypothesis.settings(
        max_examples=examples,
        deadline=None,
        database=None,
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=list(hypothesis.HealthCheck),
        verbosity=hypothesis.Verbosity.quiet,
    )
    test: Any = settings(hypothesis.seed(seed)(hypothesis.given(programs())(explained)))
    with warnings.catch_warnings(), contextlib.suppress(_UnexplainedError):
        warnings.simplefilter("ignore")
        test()
    return Fuzzed(
        backends=group,
        programs=counts["programs"],
        predicted=counts["predicted"],
        finding=smallest[0] if smallest else None,
    )


def _outcomes(program: Any, names: Sequence[str], environment: Environment) -> dict[str, Outcome]:
    import torch

    from crosscheck.tracing.calling import case_of

    inputs = tuple(torch.zeros(shape, device="meta") for shape in program.shapes)
    case = case_of(program.module(), inputs, {})
    with torch.no_grad():
        parts = [count(case, group, isolated=True) for group in {("aten",), tuple(registry.EVALUATED), tuple(names)}]
    result = merged(parts)
    found = reconcile.component(case, result, 0, environment).backends
    return {name: found[name] for name in names}


def _wrong(program: Any, backend: str, outcome: Outcome) -> str:
    """The unexplained part of an outcome; "" where all is explained."""
    if isinstance(outcome, Failed) and not outcome.predicted_by:
        return f"{backend} fails: {outcome.error}"
    if not isinstance(outcome, Counted):
        return ""
    if backend == "aten" and outcome.macs != program.macs:
        return f"aten counts {outcome.macs:,} MACs; by definition it is {program.macs:,}"
    if outcome.residual:
        terms = ", ".join(f"{term.cause} {term.macs:+,}" for term in outcome.terms) or "none"
        numbers = f"{backend} counts {outcome.macs:,} MACs for {program.macs:,}"
        return f"{numbers}; residual {outcome.residual:+,}, terms: {terms}"
    return f"{backend}: {outcome.stale_excuse} predicts no number: a stale excuse" if outcome.stale_excuse else ""


def _contradicted(program: Any) -> str:
    """The contradiction where the CPU's math libraries executed another number than the trace, for no cause; else "".

    Products that they log without a size say nothing.
    """
    import torch

    from crosscheck.witnesses import cpu
    from crosscheck.witnesses.accounting import account
    from crosscheck.witnesses.witnessed import unexplained

    if cpu.unavailable():
        return ""
    seen = cpu.witness(program.module(), *(torch.zeros(shape, device="meta") for shape in program.shapes))
    for execution in unexplained(seen):
        executed = account(execution).executed or 0
        return f"aten counts {execution.macs:,} MACs for {execution.aten}; the CPU executed {executed:,}"
    if seen.elsewhere:
        return f"the CPU executed {seen.elsewhere[0].routine} {seen.elsewhere[0].sizes} outside every operation"
    return ""
