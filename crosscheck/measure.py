"""The engine: cases x backends -> outcomes.

Cases on meta are counted in forked processes, side by side: nothing a tool does reaches the caller or another tool, and
a crash, a hang or a death costs one job. Real tensors are counted in this process, one tool after another, with
everything put back after each: after an ordinary multi-threaded forward, a forked child's first forward would hang.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gc
import inspect
import io
import multiprocessing
import os
import signal
import sys
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection, wait
from types import MappingProxyType
from typing import Any, TypeAlias

import msgspec

from crosscheck import backends as registry
from crosscheck.backends.interface import Backend, Case, Count, NotApplicable
from crosscheck.records import (
    CaseResult,
    Census,
    Component,
    Failed,
    Measured,
    NodeRow,
    Raw,
    Skipped,
    TracedGraph,
    UncountedError,
    UsageError,
    named,
    one_line,
)

CLOSED_FORM = ("analytic",)

#: Seconds one tool may take on one case. The slowest core backend takes two on SDXL's UNet.
TIME_LIMIT = 600.0

#: MACs of one forward that a process can hand back: 64 bits.
_MOST = 2**63 - 1

NOTHING = CaseResult(outcomes={})

Progress: TypeAlias = Callable[[str, str], None]
"""Called with a case's name and a tool's as each job ends."""


def measure(
    cases: Sequence[Case],
    names: Sequence[str],
    *,
    known: Mapping[str, CaseResult] = MappingProxyType({}),
    time_limit: float = TIME_LIMIT,
    progress: Progress = lambda case, tool: None,
) -> list[CaseResult]:
    """Count every case with every backend of ``names``; one `CaseResult` for each case, in order.

    ``known`` holds what was counted already, by the case's name: it is not counted again.
    """
    if not (isinstance(time_limit, int | float) and time_limit > 0):
        raise UsageError(f"time limit: got {time_limit!r}; allowed: seconds, more than 0")
    jobs = [
        (i, tuple(name for name in group if name not in known.get(case.name, NOTHING).outcomes))
        for i, case in sorted(enumerate(cases), key=lambda entry: -_size(entry[1]))  # the longest first
        for group in tools(names)
    ]
    jobs = [(i, group) for i, group in jobs if group and group != CLOSED_FORM]
    isolated = can_fork() and all(case.device == "meta" for case in cases)
    results = _in_children(cases, jobs, time_limit, progress) if isolated else _in_process(cases, jobs, progress)
    parts = [[known.get(case.name, NOTHING), *_closed_form(case, names)] for case in cases]
    for (i, _), result in zip(jobs, results, strict=True):
        parts[i].append(result)
    return [_judged(merged(found), names) for found in parts]


def tools(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Names grouped by the file they come from: variants of a tool share a process, and may share a run."""
    table, groups = registry.table(), dict[str, list[str]]()
    for name in names:
        groups.setdefault(table[name].partition(":")[0], []).append(name)
    return [tuple(group) for group in groups.values()]


def notes(case: Case) -> list[str]:
    """What a reader must know of how ``case`` was counted."""
    said = []
    if case.reads_values:
        said.append("its forward reads floating values; on meta they were answered with zeros")
    if case.device == "meta" and not can_fork():
        said.append("no process can be forked here: the backends ran in one, not isolated")
    return said


def _closed_form(case: Case, names: Sequence[str]) -> Iterator[CaseResult]:
    """The closed form needs no process of its own, and gets no module: config and shapes are all it may know."""
    if set(CLOSED_FORM) <= set(names):
        yield count(dataclasses.replace(case, module=None, args=(), kwargs={}), CLOSED_FORM, isolated=False)


def _size(case: Case) -> int:
    return sum(1 for _ in case.module.modules()) if case.module is not None else 0


def can_fork() -> bool:
    """A daemon, such as a cluster's worker, may have no children."""
    forks = "fork" in multiprocessing.get_all_start_methods() and sys.platform != "darwin"
    return forks and not multiprocessing.current_process().daemon


# -- one job -----------------------------------------------------------------------------------------------------------


def count(case: Case, names: Sequence[str], *, isolated: bool) -> CaseResult:
    """Count ``case`` with backends of one tool, here and now. No error of a backend leaves this function."""
    outcomes: dict[str, Raw] = {}
    changes: dict[str, tuple[str, ...]] = {}
    census: Census | None = None
    graph: TracedGraph | None = None
    exported: tuple[NodeRow, ...] = ()
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
            outcomes[backend.name], said = measured(
                backend, result, seconds, isolated=isolated, memory=grown if isolated else 0
            )
            if said is not None:
                census, graph = said.census or census, said.graph or graph
            exported = backend.exported(result) or exported
            changes[backend.name] = tuple(sorted(left - frozenset(backend.leaves_behind)))
    return CaseResult(outcomes=outcomes, census=census, graph=graph, exported=exported, changes=changes)


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


def measured(
    backend: Backend, result: Any, seconds: float, *, isolated: bool, memory: int = 0
) -> tuple[Raw, Count | None]:
    """What a backend reads from its run, as an outcome and, if it is one, as it said it."""
    try:
        said = backend.read(result)
        if type(said.macs) is not int or not 0 <= said.macs <= _MOST:
            raise TypeError(f"returned {said.macs!r} for MACs; allowed: an int from 0")
        if said.by_op and sum(said.by_op.values()) != said.macs:
            raise ValueError(f"returned {said.macs:,} MACs, which by op are {sum(said.by_op.values()):,}")
        number = {
            "version": registry.version_of(backend),
            "macs": said.macs,
            "seconds": round(seconds, 4),
            "by_op": dict(said.by_op),
            "uncounted": dict(said.uncounted),
            "isolated": isolated,
            "memory": memory,
        }
        return msgspec.convert(number, Measured), said
    except Exception as error:
        return _unsuccessful(backend, error), None


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
    from crosscheck.state import preserved

    with preserved(case.module, values=not isolated) as snapshot:
        yield snapshot.changes


def _copied(case: Case) -> Case:
    """With inputs of its own: a forward may change real ones in place."""
    from crosscheck.backends.entry import fresh_inputs

    return fresh_inputs(case)


@contextlib.contextmanager
def _ready(case: Case) -> Iterator[None]:
    """What a run needs: imports that a tool does not disturb, and on meta empty tensors and quick shapes."""
    if case.module is None:
        yield
        return
    from crosscheck.backends.calls import imports_undisturbed

    with imports_undisturbed(), _on_meta(case) if case.device == "meta" else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def _on_meta(case: Case) -> Iterator[None]:
    """A pipeline's component without its tensors, and quick shapes."""
    from crosscheck.backends.entry import emptied
    from crosscheck.backends.meta import QuickMeta

    with emptied(case) if case.hollow else contextlib.nullcontext(), QuickMeta():
        yield


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What a tool prints is no result of ours."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# -- many jobs ---------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class _Child:
    process: Any
    inbox: Connection
    index: int
    deadline: float
    ready: bool = False


def _in_children(
    cases: Sequence[Case], jobs: Sequence[tuple[int, tuple[str, ...]]], time_limit: float, progress: Progress
) -> list[CaseResult]:
    """Run each job in a forked process of its own, as many at once as there are processors."""
    _warm()
    results: dict[int, CaseResult] = {}
    waiting, running = deque(enumerate(jobs)), list[_Child]()
    try:
        while waiting or running:
            while waiting and len(running) < processors():
                index, (case, names) = waiting.popleft()
                running.append(_start(index, cases[case], names, time_limit))
            wait([c.inbox for c in running], max(0.0, min(c.deadline for c in running) - time.monotonic()))
            for child in list(running):
                case, names = jobs[child.index]
                result = _heard(child, names, time_limit)
                if result is None:
                    continue
                if result is _NEVER_STARTED:
                    result = count(cases[case], names, isolated=False)
                results[child.index] = result
                running.remove(child)
                progress(cases[case].name, names[0])
    finally:
        for child in running:
            child.process.kill()
            child.process.join()
    return [results[i] for i in range(len(jobs))]


_NEVER_STARTED = CaseResult(outcomes={})


@functools.cache
def _warm() -> None:
    """Have torch import its Python meta kernels once, here, and not again in every child."""
    import torch

    torch.conv2d(torch.empty(1, 1, 1, 1, device="meta"), torch.empty(1, 1, 1, 1, device="meta"))


def _start(index: int, case: Case, names: tuple[str, ...], time_limit: float) -> _Child:
    context = multiprocessing.get_context("fork")
    inbox, outbox = context.Pipe(duplex=False)
    process = context.Process(target=_child_main, args=(outbox, case, names), daemon=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of forks beside threads; see the docstring
        process.start()
    outbox.close()
    return _Child(process, inbox, index, time.monotonic() + time_limit)


def _child_main(outbox: Connection, case: Case, names: tuple[str, ...]) -> None:
    import torch

    gc.disable()  # a collection would touch, and so copy, every page it shares with the parent
    torch.set_num_threads(1)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    outbox.send_bytes(b"")  # alive: from here on a hang is the tool's own
    run = functools.partial(count, case, names, isolated=True)
    result = _with_a_short_stack(run) if case.hollow else run()
    outbox.send_bytes(msgspec.msgpack.encode(result))


def _with_a_short_stack(run: Callable[[], CaseResult]) -> CaseResult:
    """In a thread of its own: beside each operation ``torch.jit`` notes the whole stack of calls, and the caller's here
    is as deep as the model's.

    Torch's modes are a thread's own: what runs here may need gradients on or off, and no other.
    """
    import torch

    grad = torch.is_grad_enabled()
    with ThreadPoolExecutor(1, initializer=torch.set_grad_enabled, initargs=(grad,)) as thread:
        return thread.submit(run).result()


def _heard(child: _Child, names: tuple[str, ...], time_limit: float) -> CaseResult | None:
    """The result of a child that is done, died or ran out of time; None while it works."""
    result: CaseResult | None = None
    try:
        while result is None and child.inbox.poll():
            message = child.inbox.recv_bytes()
            if message:
                result = msgspec.msgpack.decode(message, type=CaseResult)
            child.ready = True
    except EOFError:
        child.process.join()
        result = _all_failed(names, death(child.process.exitcode))
    if result is None and time.monotonic() >= child.deadline:
        child.process.kill()
        over = f"time limit of {time_limit:g} s reached; it was stopped"
        result = _all_failed(names, over) if child.ready else _NEVER_STARTED
    if result is not None:
        child.process.join()
        child.inbox.close()
    return result


def death(exitcode: int | None) -> str:
    """How a process ended, from its exit code."""
    if exitcode is None or exitcode >= 0:
        return f"its process ended with exit status {exitcode}"
    name = signal.Signals(-exitcode).name
    return f"its process was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")


def _all_failed(names: Sequence[str], error: str) -> CaseResult:
    return CaseResult(outcomes={name: Failed(error=error) for name in names})


def processors() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _in_process(
    cases: Sequence[Case], jobs: Sequence[tuple[int, tuple[str, ...]]], progress: Progress
) -> list[CaseResult]:
    results = []
    for case, names in jobs:
        results.append(count(cases[case], names, isolated=False))
        progress(cases[case].name, names[0])
    return results


# -- one case's parts together -----------------------------------------------------------------------------------------


def merged(parts: Sequence[CaseResult]) -> CaseResult:
    """The outcomes of all, of two of one tool the later; the census of the first that has one, with what others say."""
    census = next((part.census for part in parts if part.census), None)
    graph = next((part.graph for part in parts if part.graph), None)
    exported = next((part.exported for part in parts if part.exported), ())
    if census:
        census = msgspec.structs.replace(census, graph=graph or census.graph, exported=exported or census.exported)
    return CaseResult(
        outcomes={name: outcome for part in parts for name, outcome in part.outcomes.items()},
        census=census,
        graph=graph,
        exported=exported,
        changes={name: left for part in parts for name, left in part.changes.items()},
    )


def _judged(result: CaseResult, names: Sequence[str]) -> CaseResult:
    """Of ``names``, in order; failed where something is left changed that the forward, as traced, does not change."""
    own = set(result.changes.get("aten", ()))
    outcomes = {name: result.outcomes[name] for name in names}
    for name in outcomes.keys() & result.changes.keys():
        outcome, left = outcomes[name], result.changes[name]
        foreign = [change for change in left if change not in own]
        if foreign and isinstance(outcome, Measured):
            outcomes[name] = Failed(error=f"changed what it was given: {'; '.join(foreign)}", version=outcome.version)
    return CaseResult(outcomes=outcomes, census=result.census, changes=result.changes)


# -- any module --------------------------------------------------------------------------------------------------------


def check(
    module: Any,
    *inputs: Any,
    backends: Sequence[str] | None = None,
    time_limit: float = TIME_LIMIT,
    **kwargs: Any,
) -> Component:
    """Count one forward of any ``torch.nn.Module`` with every backend, and explain each difference.

    ``inputs`` and ``kwargs`` go to the forward. On meta tensors nothing is computed and each backend runs in a process
    of its own; real tensors are run as they are. The module, its inputs and torch are left as they were.

    ``backends`` names some, or ``all``; the default is the core ones, and the two references are always among them.
    ``time_limit`` is in seconds, for each. ``check(...)["thop"]`` is a backend's outcome: `Counted`, `Skipped` or
    `Failed`.

    Raises `UncountedError` where the module can't be counted exactly: its own forward raises, reads values that meta
    tensors don't have, or runs an operator that may hold MACs and has no rule.
    """
    from crosscheck import reconcile
    from crosscheck.ledger import environment

    case = case_of(module, inputs, kwargs)
    names = registry.choose(backends)
    (result,) = measure([case], names, time_limit=time_limit)
    trace = result.outcomes["aten"]
    if not isinstance(trace, Measured):
        reason = trace.error if isinstance(trace, Failed) else trace.reason
        raise UncountedError(f"{type(module).__name__}: {reason}{_misgiven(module, inputs, kwargs)}")
    return reconcile.component(case, result, params(module), environment(case.device), notes(case))


def _misgiven(module: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """What a forward takes, where it can't be called with what it was given."""
    signature = inspect.signature(module.forward)
    try:
        signature.bind(*args, **kwargs)
    except TypeError:
        return f"; its forward takes ({', '.join(map(str, signature.parameters.values()))})"
    return ""


def case_of(
    module: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], name: str = "", entry: str = "forward"
) -> Case:
    """``module`` with its inputs as a case. Inputs follow a module on meta there."""
    import torch

    from crosscheck.trees import map_tensors, specs, tensors

    if not isinstance(module, torch.nn.Module):
        raise UsageError(
            f"got {named(module)}; allowed: a torch.nn.Module and its inputs (check_pipeline takes pipelines)"
        )
    held = [*module.parameters(), *module.buffers(), *(t for _, t in tensors((args, dict(kwargs))))]
    device = "meta" if any(t.is_meta for t in held) else held[0].device.type if held else "cpu"
    if device == "meta":
        args, kwargs = map_tensors(lambda t: t.to("meta"), (args, dict(kwargs)))
    method = getattr(module, entry)
    return Case(
        name=name or type(module).__name__,
        class_name=type(module).__name__,
        entry=entry,
        inputs=specs(method, args, kwargs),
        module=module,
        args=args,
        kwargs=kwargs,
        config=_config(module),
        device=device,
    )


def _config(module: Any) -> Mapping[str, Any] | None:
    """The config of a library's own class; a class of the caller's is not what its config says."""
    if type(module).__module__.partition(".")[0] not in {"diffusers", "transformers"}:
        return None
    config: Any = getattr(module, "config", None)
    if hasattr(config, "to_dict"):
        return dict(config.to_dict())
    return dict(config) if isinstance(config, Mapping) else None


def params(module: Any) -> int:
    """Elements of a module's parameters, shared ones once."""
    from torch.nn.parameter import is_lazy

    return sum(p.numel() for p in module.parameters() if not is_lazy(p))
