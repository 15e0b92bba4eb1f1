"""Backends of third parties: installed beside crosscheck, they are found, run and held against the reference."""

import importlib
import json
import sys
from pathlib import Path

import plugins
import pytest
import tiny
from command import cli, tells
from modules import BLOCK, BLOCK_MACS, block

import crosscheck
from crosscheck import causes
from crosscheck.backends import registry
from crosscheck.records import Failed, Skipped

#: Torch's own counter under another name: a tool of somebody else's, counting exactly where torch does.
SAMPLE = """
from torch.utils.flop_counter import FlopCounterMode

from crosscheck.backends.entry import call
from crosscheck.backends.interface import Backend, Count


class Sample(Backend):
    name = "sample"
    distribution = "sample-counter"

    def run(self, case):
        with FlopCounterMode(display=False) as counter:
            call(case)
        return counter.get_total_flops()

    def read(self, result):
        assert result % 2 == 0
        return Count(macs=result // 2)
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Install a package with backends and make it importable here."""

    def install(entries, modules, **options):
        site = plugins.install(tmp_path / "package", entries, modules, **options)
        monkeypatch.syspath_prepend(site)
        importlib.invalidate_caches()
        return site

    with plugins.declared_apart():
        yield install
    for name in [name for name in sys.modules if name.startswith("sample_")]:
        del sys.modules[name]


def counter(returns: str, *, name: str = "sample", distribution: str = "sample-counter") -> str:
    """A module with a backend whose number is the expression ``returns``."""
    return f"""
from crosscheck.backends.interface import Backend, Count


class Sample(Backend):
    name = {name!r}
    distribution = {distribution!r}

    def run(self, case):
        return {returns}

    def read(self, result):
        return result
"""


@pytest.mark.parametrize("device", ["meta", "cpu"])
@pytest.mark.parametrize("asked", ["sample", "all"])
def test_an_installed_package_adds_a_backend(installed, device, asked):
    installed({"sample": "sample_module:Sample"}, {"sample_module": SAMPLE})
    module, x = block(device)

    check = crosscheck.check(module, x, backends=(asked,))

    assert check["sample"].version == "1.2.3"
    # torch's counter doesn't see attention on the CPU, and no cause excuses a tool it doesn't know
    unseen = BLOCK["attention"] if device == "cpu" else 0
    assert (check["sample"].macs, check["sample"].residual) == (BLOCK_MACS - unseen, -unseen)
    everything = {*registry.CORE, *registry.PROBES, *registry.COUNTERS}
    assert set(check.backends) == {"sample", *(everything if asked == "all" else registry.REFERENCES)}


def test_on_the_command_line(tmp_path):
    site = plugins.install(tmp_path / "package", {"sample": "sample_module:Sample"}, {"sample_module": SAMPLE})
    tiny.folder(tmp_path / "tiny")

    listed = cli("list", "backends", paths=[site])
    run = cli("run", tmp_path / "tiny", "-b", "sample", "--json", tmp_path / "x.json", paths=[site])

    (row,) = (line.split() for line in listed.stdout.splitlines() if line.startswith("sample "))
    assert row == ["sample", "entry", "point", "sample_module:Sample"]
    assert run.returncode == 0, run.stderr
    for part in json.loads((tmp_path / "x.json").read_text())["components"]:
        outcome = part["backends"]["sample"]
        assert (outcome["status"], outcome["version"], outcome["residual"]) == ("counted", "1.2.3", 0)
        assert outcome["macs"] == part["recommended"]["macs"]


def test_a_wrong_number_of_a_third_partys_is_exit_status_1(tmp_path):
    wrong = counter("Count(macs=5)")
    site = plugins.install(tmp_path / "package", {"sample": "sample_module:Sample"}, {"sample_module": wrong})
    tiny.folder(tmp_path / "tiny")

    run = cli("run", tmp_path / "tiny", "-b", "sample", paths=[site])

    residual = 5 - tiny.LINEAR - tiny.ATTENTION
    assert run.returncode == 1
    assert f"crosscheck: tiny: sample leaves a residual of {residual:,} MACs in text_encoder" in run.stderr.splitlines()


def test_none_is_registered_without_the_package():
    assert "sample" not in registry.table()
    with pytest.raises(crosscheck.CrosscheckError, match="unknown backend 'sample'"):
        crosscheck.check(*block(), backends=("sample",))


def test_listing_and_choosing_import_no_backend(installed):
    installed({"sample": "sample_module:Sample"}, {"sample_module": "raise SystemExit('imported')"})

    assert registry.table()["sample"] == "sample_module:Sample"
    assert registry.choose(("sample",)) == ("analytic", "aten", "sample")


def test_a_counter_that_is_not_installed_is_skipped_with_the_line_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ptflops", None)  # as if it were not there
    monkeypatch.delitem(sys.modules, "crosscheck.backends.ptflops", raising=False)

    check = crosscheck.check(*block(), backends=("ptflops-aten",))

    assert isinstance(check["ptflops-aten"], Skipped)
    assert check["ptflops-aten"].reason.endswith("install it with: pip install ptflops")


def test_a_core_name_stays_ours(installed):
    wrong = counter("Count(macs=1)", name="thop")
    installed({"thop": "sample_module:Sample"}, {"sample_module": wrong})

    check = crosscheck.check(*block(), backends=("thop",))

    assert registry.table() == registry.CORE | registry.PROBES | registry.COUNTERS
    assert check["thop"].macs == BLOCK_MACS


BROKEN = {
    "its tool is missing": (
        "import no_such_tool.deep",
        "Skipped: [...]no_such_tool[...]; install it with: pip install no_such_tool",
    ),
    "its tool lacks a name": ("from json.tool import no_such_name", "Skipped: [...]no_such_name"),
    "it can't be parsed": ("def", "SyntaxError: [...]sample_module.py"),
    "it raises when imported": ("1 / 0", "ZeroDivisionError: "),
    "it exits when imported": ("import sys; sys.exit('no licence')", "SystemExit: no licence"),
    "it has no such class": ("", "AttributeError: [...]Sample"),
    "it is no backend": (
        "class Sample: pass",
        "TypeError: sample_module:Sample is not a crosscheck.backends.interface",
    ),
    "another name": (
        counter("Count(macs=5)", name="other"),
        "TypeError: sample_module:Sample needs name = 'sample', as it is registered, and a distribution",
    ),
    "no distribution": (
        counter("Count(macs=5)").replace("    distribution", "    package"),
        "TypeError: sample_module:Sample needs name = 'sample', as it is registered, and a distribution",
    ),
    "it exits": (counter("exit(3)"), "SystemExit: 3"),
    "it calls itself": (counter("self.run(case)"), "RecursionError: "),
    "a bool": (counter("Count(macs=True)"), "TypeError: returned True for MACs; allowed: an int from 0"),
    "a negative number": (counter("Count(macs=-1)"), "TypeError: returned -1 for MACs; allowed: an int from 0"),
    "beyond 64 bits": (counter("Count(macs=2**63)"), f"TypeError: returned {2**63} for MACs; allowed: an int from 0"),
    "ops that don't add up": (
        counter("Count(macs=5, by_op={'conv': 3})"),
        "ValueError: returned 5 MACs, which by op are 3",
    ),
    "a float by op": (counter("Count(macs=5, by_op={'conv': 5.0})"), ""),
    "no ops": (counter("Count(macs=5, by_op=None)"), "TypeError: "),
    "text that is no text": (counter("(_ for _ in ()).throw(ValueError(chr(0xdcff)))"), "ValueError: ?"),
}


@pytest.mark.parametrize("device", ["meta", "cpu"])
@pytest.mark.parametrize(("source", "message"), BROKEN.values(), ids=BROKEN)
def test_a_broken_one_costs_its_own_row_only(installed, tmp_path, device, source, message):
    installed({"sample": "sample_module:Sample"}, {"sample_module": source})

    check = crosscheck.check(*block(device), backends=("sample", "thop"))

    outcome = check["sample"]
    text = f"Skipped: {outcome.reason}" if isinstance(outcome, Skipped) else outcome.error
    assert text.startswith(message.partition("[...]")[0])
    assert tells(text, message)
    assert isinstance(outcome, Skipped if message.startswith("Skipped") else Failed)
    assert (check["thop"].macs, check["thop"].residual) == (BLOCK_MACS, 0)


def test_a_version_of_no_scheme_is_recorded_as_it_is(installed):
    site = installed({"sample": "sample_module:Sample"}, {"sample_module": counter("Count(macs=5)")})
    (metadata,) = Path(site).glob("sample_counter-*/METADATA")
    metadata.write_text(metadata.read_text().replace("Version: 1.2.3", "Version: build of today"))

    check = crosscheck.check(*block(), backends=("sample",))

    assert check["sample"].version == "build of today"
    assert check["sample"].residual == 5 - BLOCK_MACS


def test_a_distribution_that_is_not_installed_has_an_unknown_version(installed):
    source = counter("Count(macs=5)", distribution="no-such-distribution")
    installed({"sample": "sample_module:Sample"}, {"sample_module": source})

    assert crosscheck.check(*block(), backends=("sample",))["sample"].version == "unknown"


#: A counter that misses attention and charges norms: of the block 2,048 elements for 262,144 MACs.
OFF = f"""
from crosscheck.case import Backend, Count


class Sample(Backend):
    name = "sample"
    distribution = "sample-counter"

    def run(self, case):
        return {BLOCK_MACS - BLOCK["attention"] + 32 * 64}

    def read(self, result):
        return Count(macs=result)
"""
OFF_CAUSES = """
from math import prod

from crosscheck.causes.tool import Sees, Tool

SAMPLE = Tool(
    "sample-tool", backends=("sample",), release="1.2.3", installed="sample-counter", sees=Sees.MODULES,
    misses_attention=("sample",),
)


@SAMPLE.cause("sample-norm", "sample charges a MAC an element of a norm.", "sample_module.py:11")
def norm(census):
    return sum(row.count * prod(row.out) for row in census.ops if row.op == "norm")
"""


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_a_package_brings_the_causes_of_its_counter(installed, device):
    modules = {"sample_module": OFF, "sample_causes": OFF_CAUSES}
    installed({"sample": "sample_module:Sample"}, modules, causes={"sample": "sample_causes"})

    check = crosscheck.check(*block(device), backends=("sample", "thop"))

    terms = {term.cause: term.macs for term in check["sample"].terms}
    assert terms == {"attention-not-counted": -BLOCK["attention"], "sample-norm": 32 * 64}
    assert (check["sample"].residual, check["thop"].residual) == (0, 0)
    assert causes.find("sample-norm").backends == {"sample"}


def test_without_them_its_gap_is_a_residual(installed):
    installed({"sample": "sample_module:Sample"}, {"sample_module": OFF, "sample_causes": OFF_CAUSES})

    check = crosscheck.check(*block(), backends=("sample",))

    assert (check["sample"].terms, check["sample"].residual) == ((), 32 * 64 - BLOCK["attention"])
    assert causes.find("sample-norm") is None


BROKEN_CAUSES = {
    "its module is missing": (None, "ModuleNotFoundError: No module named 'sample_causes'"),
    "it raises after it declared": (f"{OFF_CAUSES}\n1 / 0", "ZeroDivisionError: division by zero"),
    "it exits": ("raise SystemExit('no licence')", "SystemExit: no licence"),
    "a name that we have": (
        OFF_CAUSES.replace("sample-norm", "thop-prelu"),
        "ValueError: 'thop-prelu' is declared twice; a cause or a predicted failure has a name of its own",
    ),
    "a backend that we have": (
        OFF_CAUSES.replace('"sample",', '"thop",'),
        "ValueError: the backend 'thop' of 'sample-tool' is 'thop''s; it has one tool",
    ),
}


@pytest.mark.parametrize(("source", "why"), BROKEN_CAUSES.values(), ids=BROKEN_CAUSES)
def test_broken_causes_cost_those_of_that_package_alone(installed, source, why):
    modules = {"sample_module": OFF} | ({"sample_causes": source} if source else {})
    before = causes.declared()
    installed({"sample": "sample_module:Sample"}, modules, causes={"sample": "sample_causes"})

    with pytest.warns(RuntimeWarning) as warned:
        check = crosscheck.check(*block(), backends=("sample", "thop"))

    assert [str(each.message) for each in warned] == [
        f"sample = 'sample_causes' of crosscheck.causes brings no causes: {why}"
    ]
    assert (check["sample"].terms, check["sample"].residual) == ((), 32 * 64 - BLOCK["attention"])
    assert check["thop"].residual == 0
    assert causes.declared() == before


def test_the_command_line_lists_and_explains_them(tmp_path):
    modules = {"sample_causes": OFF_CAUSES}
    site = plugins.install(tmp_path / "package", {}, modules, causes={"sample": "sample_causes"})

    listed = cli("list", "causes", paths=[site])
    explained = cli("explain", "sample-norm", paths=[site])

    (row,) = (line.split() for line in listed.stdout.splitlines() if line.startswith("sample-norm "))
    assert row[1] == "sample"
    assert "sample_module.py:11" in explained.stdout


def test_the_command_line_lists_ours_where_theirs_are_broken(tmp_path):
    site = plugins.install(tmp_path / "package", {}, {"sample_causes": "1 / 0"}, causes={"sample": "sample_causes"})

    listed = cli("list", "causes", paths=[site])

    assert listed.returncode == 0
    assert "thop-layernorm-4" in listed.stdout
    assert "brings no causes: ZeroDivisionError: division by zero" in listed.stderr
