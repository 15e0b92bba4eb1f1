"""The pytest plugin: MACs in tests, and a baseline that says when they change.

The fixture ``macs_of(module, *inputs)`` is the recommended number of one forward. With the ini option ``macs_baseline``
each call is also held against the number that this JSON file has on record for its test; ``--macs-update`` records the
tests that run anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import pytest

Record: TypeAlias = dict[str, int]
"""MACs of one call by op, those of 0 left out."""
_COUNTED = "crosscheck: macs_of"


class _Baseline:
    """MACs on record for each test, by its id, and those that this run adds."""

    def __init__(self, path: Path, *, update: bool) -> None:
        self.path, self.update = path, update
        self.fresh: dict[str, list[Record]] = {}
        try:
            content = path.read_bytes() if path.exists() else b"{}"
            self.tests = msgspec.json.decode(content, type=dict[str, list[Record]])
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise pytest.UsageError(f"macs_baseline {path}: not a baseline: {error}; mend or delete it") from error
        if update:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise pytest.UsageError(f"macs_baseline {path}: can't be written: {error.strerror}") from error

    def write(self) -> None:
        from crosscheck.files import write_atomically

        tests = dict(sorted((self.tests | self.fresh).items()))
        write_atomically(self.path, msgspec.json.format(msgspec.json.encode(tests)).decode() + "\n")


_RIGHT = "if that is right, record it with --macs-update"
_KEY = pytest.StashKey[_Baseline | None]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the option and the ini option."""
    group = parser.getgroup("crosscheck")
    group.addoption("--macs-update", action="store_true", help="record the MACs of macs_of in macs_baseline")
    parser.addini("macs_baseline", "JSON file, from the root folder, that macs_of is held against", default="")


def pytest_configure(config: pytest.Config) -> None:
    """Read the baseline, if there is one."""
    name, update = config.getini("macs_baseline"), config.getoption("--macs-update")
    if update and not name:
        raise pytest.UsageError("--macs-update: got no macs_baseline; name a JSON file in the ini file")
    config.stash[_KEY] = _Baseline(config.rootpath / name, update=update) if name else None


@pytest.fixture
def macs_of(request: pytest.FixtureRequest) -> Iterator[Callable[..., int]]:
    """``macs_of(module, *inputs, **kwargs)``: the recommended MACs of one forward, on meta or real tensors."""
    baseline, failed = request.config.stash[_KEY], request.session.testsfailed
    on_record = baseline.tests.get(request.node.nodeid, []) if baseline and not baseline.update else None
    counted: list[Record] = []
    request.node.user_properties.append((_COUNTED, counted))

    def count(module: Any, *inputs: Any, **kwargs: Any) -> int:
        from crosscheck.engine.check import check

        recommended = check(module, *inputs, backends=(), **kwargs).recommended
        if recommended.macs is None:
            pytest.fail(f"{type(module).__name__} has no recommended MACs: {recommended.reason}", pytrace=False)
        counted.append({op: macs for op, macs in recommended.by_op.items() if macs})
        if on_record is not None and (changed := _changed(on_record[len(counted) - 1 : len(counted)], counted[-1])):
            call = f"macs_of({type(module).__name__}), call {len(counted)}"
            pytest.fail(f"{call}: {changed}; {_RIGHT}", pytrace=False)
        return recommended.macs

    yield count
    if on_record and len(counted) < len(on_record) and request.session.testsfailed == failed:
        pytest.fail(f"macs_of: {len(counted)} calls, on record {len(on_record)}; {_RIGHT}", pytrace=False)


def _changed(on_record: list[Record], now: Record) -> str:
    """Changes from the record; empty where there are none."""
    if not on_record:
        return f"{sum(now.values()):,} MACs, and none on record"
    (before,) = on_record
    ops = [f"{op} {now.get(op, 0) - before.get(op, 0):+,}" for op in {**before, **now} if now.get(op) != before.get(op)]
    return f"{sum(now.values()):,} MACs, on record {sum(before.values()):,} ({', '.join(ops)})" if ops else ""


class _Recorder:
    """Hears of every test's end, also of those that xdist runs elsewhere."""

    def __init__(self, baseline: _Baseline) -> None:
        self.baseline = baseline

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for name, counted in report.user_properties:
            if name == _COUNTED and report.when == "call" and report.passed and counted:
                self.baseline.fresh[report.nodeid] = counted  # type: ignore[assignment]  # what macs_of put there

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        from crosscheck.report.text import plural

        if not self.baseline.fresh:
            return
        self.baseline.write()
        tests = plural(len(self.baseline.fresh), "test")
        terminalreporter.write_line(f"macs_baseline: recorded {tests} in {self.baseline.path.name}")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Record in the process that hears of every test."""
    baseline = session.config.stash[_KEY]
    if baseline and baseline.update and not hasattr(session.config, "workerinput"):
        session.config.pluginmanager.register(_Recorder(baseline))
