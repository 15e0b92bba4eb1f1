"""Every backend obeys the laws, and a backend that breaks one is caught by it."""

import broken
import pytest
from installed import COUNTING, extra

from crosscheck import testing
from crosscheck.backends import registry
from crosscheck.backends.aten import Aten
from crosscheck.case import Count

pytestmark = pytest.mark.releases

OURS = [name for name in COUNTING if name != "analytic"]  # it knows architectures, not modules


#: They count nothing on meta, where the laws are tried.
REAL = {"torch-flops", "onnx-tool"}
EXTRA = [extra(name) for name in registry.COUNTERS if name not in REAL]


@pytest.mark.parametrize("backend", [*OURS, *EXTRA])
@pytest.mark.parametrize("law", testing.LAWS)
def test_laws(law, backend):
    law(backend)


class PerCall(broken.Broken):
    """Forgets the batch."""

    name = "forgets-the-batch"

    def run(self, case):
        return Count(macs=Aten().run(case).macs // case.args[0].shape[0])


class PerModule(broken.Broken):
    """Counts a module once however often it is called."""

    name = "once-a-module"

    def run(self, case):
        calls = 2 if hasattr(case.module, "module") else 1
        return Count(macs=Aten().run(case).macs // calls)


class PerLayer(broken.Broken):
    """Adds something of its own for each container."""

    name = "charges-for-containers"

    def run(self, case):
        return Count(macs=Aten().run(case).macs + 2 * len(list(case.module.children())))


class PerElement(broken.Broken):
    """Counts what only moves data."""

    name = "charges-for-moving"

    def run(self, case):
        return Count(macs=Aten().run(case).macs + case.args[0].numel())


class Grows(broken.Broken):
    """Another number each time."""

    name = "grows"

    def run(self, case):
        import time

        return Count(macs=time.monotonic_ns())


@pytest.mark.parametrize(
    ("law", "cls"),
    [
        (testing.doubling_the_batch_doubles_macs, PerCall),
        (testing.a_module_called_twice_counts_twice, PerModule),
        (testing.sequential_adds_up, PerLayer),
        (testing.reshaping_is_free, PerElement),
        (testing.repeating_changes_nothing, Grows),
        (testing.reshaping_is_free, broken.Raises),
    ],
)
def test_a_law_catches_the_backend_that_breaks_it(law, cls, monkeypatch):
    table = {**registry.table(), cls.name: f"{cls.__module__}:{cls.__name__}"}
    monkeypatch.setattr(registry, "table", lambda: table)
    with pytest.raises(testing.BrokenLawError, match=cls.name):
        law(cls.name)
