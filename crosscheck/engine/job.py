"""One job: a case under the backends of one tool, here and now, with everything put back after."""

from __future__ import annotations

import contextlib
import io
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from crosscheck.backends import registry
from crosscheck.case import Backend, Case, NotApplicable
from crosscheck.errors import one_line
from crosscheck.records import CaseResult, Evidence, Failed, Measured, Raw, Skipped

#: MACs of one forward that a process can hand back: 64 bits.
_MOST = 2**63 - 1

#: Of a case that was not counted yet.
NOTHING = CaseResult(outcomes={})


def count(case: Case, names: Sequence[str], *, isolated: bool) -> CaseResult:
    """Count ``case`` with backends of one tool, here and now. No error of a backend leaves this function."""
    outcomes: dict[str, Raw] = {}
    changes: dict[str, tuple[str, ...]] = {}
    evidence = Evidence()
    for run, variants in _runs(names, outcomes).items():
        with _untouched(case, isolated) as changed:
            started, peak = time.perf_counter(), _peak_memory()
            try:
                with _quiet(), _ready(case):
                    for _ in range(case.repeats):
                        result = run(variants[0], case if isolated or case.module is None else _copied(case))
            except (Exception, SystemExit) as error:
                outcomes.update({backend.name: _unsuccessful(backend, error) for backend in variants})
                continue
            seconds, grown = time.perf_counter() - started, _peak_memory() - peak
            left = changed()
        for backend in variants:
            memory = grown if isolated else 0
            outcomes[backend.name] = outcome_of(backend, result, seconds, isolated=isolated, memory=memory)
            evidence = backend.evidence(result).or_else(evidence)
            changes[backend.name] = tuple(sorted(left - frozenset(backend.leaves_behind)))
    return CaseResult(outcomes=outcomes, evidence=evidence, changes=changes)


def _peak_memory() -> int:
    """Bytes that this process held at most; 0 where the system does not say."""
    try:
        import resource
    except ImportError:  # on Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _runs(names: Sequence[str], outcomes: dict[str, Raw]) -> dict[Any, list[Backend]]:
    """Loaded backends by the run they share; those that can't be loaded get their outcome at once."""
    runs: dict[Any, list[Backend]] = {}
    for name in names:
        try:
            backend = registry.load(name)
        except NotApplicable as reason:
            outcomes[name] = Skipped(reason=str(reason))
        except (Exception, SystemExit) as error:
            outcomes[name] = Failed(error=one_line(error))
        else:
            runs.setdefault(type(backend).run, []).append(backend)
    return runs


def outcome_of(backend: Backend, result: Any, seconds: float, *, isolated: bool, memory: int = 0) -> Raw:
    """The number that a backend reads from its run, or why it gives none."""
    try:
        count = backend.read(result)
        if type(count.macs) is not int or not 0 <= count.macs <= _MOST:
            raise TypeError(f"returned {count.macs!r} for MACs; allowed: an int from 0")
        if count.by_op and sum(count.by_op.values()) != count.macs:
            raise ValueError(f"returned {count.macs:,} MACs, which by op are {sum(count.by_op.values()):,}")
        number = {
            "version": registry.version_of(backend),
            "macs": count.macs,
            "seconds": round(seconds, 4),
            "by_op": dict(count.by_op),
            "uncounted": dict(count.uncounted),
            "isolated": isolated,
            "memory": memory,
        }
        return msgspec.convert(number, Measured)
    except Exception as error:
        return _unsuccessful(backend, error)


def _unsuccessful(backend: Backend, error: BaseException) -> Raw:
    if isinstance(error, NotApplicable):
        return Skipped(reason=str(error))
    return Failed(error=one_line(error), version=registry.version_of(backend))


@contextlib.contextmanager
def _untouched(case: Case, isolated: bool) -> Iterator[Callable[[], frozenset[str]]]:
    """Put the case's module and torch back afterwards; inside, name what is not as it was."""
    if case.module is None:
        yield frozenset
        return
    from crosscheck.tracing.snapshot import preserved

    with preserved(case.module, values=not isolated) as snapshot:
        yield snapshot.changes


def _copied(case: Case) -> Case:
    """With inputs of its own: a forward may change real ones in place."""
    from crosscheck.tracing.calling import fresh_inputs

    return fresh_inputs(case)


@contextlib.contextmanager
def _ready(case: Case) -> Iterator[None]:
    """Setting of a run: imports that a tool does not disturb, and on meta empty tensors and quick shapes."""
    if case.module is None:
        yield
        return
    from crosscheck.tracing.replaced_functions import imports_undisturbed

    with imports_undisturbed(), _on_meta(case) if case.device == "meta" else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def _on_meta(case: Case) -> Iterator[None]:
    """A pipeline's component without its tensors, and quick shapes."""
    from crosscheck.tracing.calling import emptied
    from crosscheck.tracing.quick_meta import QuickMeta

    with emptied(case) if case.hollow else contextlib.nullcontext(), QuickMeta():
        yield


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Standard output and warnings thrown away: what a tool prints is no result of ours."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def merged(parts: Sequence[CaseResult]) -> CaseResult:
    """The outcomes of all, of two of one tool the later; of each kind of evidence the first that there is."""
    evidence = Evidence()
    for part in parts:
        evidence = evidence.or_else(part.evidence)
    return CaseResult(
        outcomes={name: outcome for part in parts for name, outcome in part.outcomes.items()},
        evidence=evidence,
        changes={name: left for part in parts for name, left in part.changes.items()},
    )
