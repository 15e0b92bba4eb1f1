"""The ledgers of the releases that tox installs: complete, explained, alike in the totals, and not stale."""

import re

import pytest
from packaging.version import Version
from places import REPORTS
from scripts import measure_releases, promised

import crosscheck
from crosscheck import causes, ledger, reconcile
from crosscheck.records import Counted
from crosscheck.report import verdict
from crosscheck.report.charts import versions as drift_chart
from crosscheck.report.comparison import compare
from crosscheck.report.pages import versions as drift

pytestmark = pytest.mark.releases

LEDGERS = REPORTS / "ledgers"
TEXTS = re.compile(r"<text[^>]*>([^<]*)<")

#: Confirmed in `tests/pipelines/test_pipelines.py` against published numbers; the same whatever is installed.
TOTALS = {
    ("sd21-base", "unet"): 402_128_732_160,
    ("sd21-base", "text_encoder"): 22_563_616_768,
    ("sd21-base", "generation"): 26_234_368_094_208,
    ("sdxl-base", "unet"): 3_380_618_199_040,
    # the block of the README, by hand
    ("small-cpu", "block"): 1_114_112,
}


def folder_of(environment: str) -> str:
    """``torch2.2.2-diffusers0.25.1`` as the folder of its ledgers."""
    return re.sub(r"([a-z])(\d)", r"\1-\2", environment.replace("-", "_"))


ENVIRONMENTS = {folder_of(environment): environment for environment in promised.environments()}


@pytest.fixture(scope="module")
def committed():
    """Folder -> model -> ledger, as it was written."""
    return {
        folder.name: {path.name.removesuffix(".json.gz"): ledger.load(path) for path in folder.iterdir()}
        for folder in LEDGERS.iterdir()
    }


@pytest.fixture(scope="module")
def comparison():
    """Of all of them, in the order in which a shell names them."""
    return compare([ledger.load(path) for path in sorted(LEDGERS.glob("*/*.json.gz"))])


def test_every_environment_of_tox_has_its_ledgers_and_no_other_has(committed):
    models = {*measure_releases.MODELS, "small-cpu"}
    assert {name: set(ledgers) for name, ledgers in committed.items()} == dict.fromkeys(ENVIRONMENTS, models)


@pytest.mark.parametrize("folder", ENVIRONMENTS)
def test_a_ledger_was_made_with_the_releases_its_environment_promises(committed, folder):
    for run in committed[folder].values():
        for pin in promised.pins(ENVIRONMENTS[folder]):
            if pin.name in ledger.PACKAGES:
                assert pin.specifier.contains(Version(run.environment[pin.name]).public), (folder, run.model, pin)
        assert ("peft" in run.environment) == ("peft" in folder)


@pytest.mark.parametrize("folder", ENVIRONMENTS)
def test_a_ledger_is_explained_to_the_last_mac_by_the_causes_as_they_are_now(committed, folder):
    for run in committed[folder].values():
        reconciled, changed = reconcile.reconcile_again(run)
        assert (reconciled, changed) == (run, ())
        assert verdict.problems(run) == []


def test_the_recommended_totals_are_the_same_integer_in_every_release(comparison):
    totals = {(row.model, row.component): row.outcomes for row in comparison.rows if row.backend == "recommended"}
    # four of sd15, sdxl-base and their generations, three of the others, three small ones
    assert len(totals) == 2 * (4 + 1) + 2 * (3 + 1) + 3
    for what, outcomes in totals.items():
        (cell,) = outcomes  # one outcome in every run
        assert cell.verdict == ("unconfirmed" if what == ("small-cpu", "block") else "confirmed"), what
    assert {what: next(iter(totals[what])).macs for what in TOTALS} == TOTALS
    assert not comparison.changed_totals


def test_conv_and_linear_are_the_same_in_every_release_and_the_products_together(committed):
    """Up to transformers 4.42 attention is written out: the split differs, the work does not."""
    sums = {}
    for folder, ledgers in committed.items():
        for run in ledgers.values():
            for component in run.components:
                by_op = component.recommended.by_op
                parts = (by_op["conv"], by_op["linear"], by_op["attention"] + by_op["matmul"])
                sums.setdefault((run.model, component.name), {}).setdefault(parts, []).append(folder)
    assert all(len(parts) == 1 for parts in sums.values())
    written_out = [
        folder
        for folder, of in committed.items()
        if of["sd21-base"].component("text_encoder").recommended.by_op["matmul"]
    ]
    assert sorted(written_out) == sorted(
        folder for folder, of in committed.items() if causes.holds("transformers<4.43", of["sd15"].environment)
    )


def fired(run: crosscheck.Ledger) -> set[str]:
    """The causes that a ledger's outcomes name."""
    outcomes = [outcome for component in run.components for outcome in component.backends.values()]
    terms = {term.cause for outcome in outcomes if isinstance(outcome, Counted) for term in outcome.terms}
    return terms | {
        outcome.predicted_by for outcome in outcomes if not isinstance(outcome, Counted) and outcome.predicted_by
    }


@pytest.mark.parametrize("name", [*causes.CAUSES, *causes.PREDICTED_FAILURES])
def test_a_cause_fires_in_the_releases_it_names_and_in_no_other(committed, name):
    """A stale excuse: a cause that no longer fires in its range, or a range that is too wide or too narrow."""
    cause = causes.find(name)
    if not cause.releases:
        return
    for folder, ledgers in committed.items():
        environment = ledgers["sd15"].environment
        expected = any(causes.holds(condition, environment) for condition in cause.releases)
        assert (name in set().union(*map(fired, ledgers.values()))) is expected, folder


def test_what_the_releases_are_known_for(comparison):
    """Each, with its number, in the runs where it is so and in no other."""
    cells = {(row.model, row.component, row.backend): row for row in comparison.rows}

    def releases(model, component, backend, macs):
        row = cells[model, component, backend]
        environments = [e for e, cell in zip(comparison.environments, row.cells, strict=True) if cell.macs == macs]
        return {(e["torch"].partition("+")[0], e["diffusers"], "peft" in e) for e in environments}

    every = {(e["torch"].partition("+")[0], e["diffusers"], "peft" in e) for e in comparison.environments}
    # torch's counter, attention on the CPU: the block without its 262,144
    blind = releases("small-cpu", "block", "flop_counter", 1_114_112 - 262_144)
    assert blind == {e for e in every if Version("2.3") <= Version(e[0]) < Version("2.15")}
    seeing = releases("small-cpu", "block", "flop_counter", 1_114_112)
    assert seeing == every - blind - releases("small-cpu", "block", "flop_counter", None)
    assert releases("sd21-base", "unet", "flop_counter", None) == {e for e in every if e[0] == "2.0.1"}
    # thop has no rule for LoRACompatible layers. Left are conv_in and conv_out, 4 and 320 channels on 64 x 64 each, and
    # four an element of LayerNorm, three in each block of attention; in the first era the time's embedding too
    norms = 4 * 3 * (5 * 320 * 4096 + 5 * 640 * 1024 + 5 * 1280 * 256 + 1280 * 64)
    left = 2 * (64 * 64 * 4 * 320 * 9) + norms
    embedding = 320 * 1280 + 1280 * 1280
    assert releases("sd21-base", "unet", "thop-plain", left + embedding) == {("2.0.1", "0.21.4", False)}
    assert releases("sd21-base", "unet", "thop-plain", left) == {("2.2.2", "0.25.1", False)}
    # the patch of attention adds nothing to a text encoder that writes it out
    # 23 layers of 1,024 with a feed-forward of 4,096; four an element of two norms in each, and of the last
    linear, norms = 23 * 77 * (4 * 1024 * 1024 + 2 * 1024 * 4096), 4 * (2 * 23 + 1) * 77 * 1024
    eager = releases("sd21-base", "text_encoder", "thop", linear + norms)
    assert eager == {e for e in every if e[1] in {"0.21.4", "0.25.1", "0.27.2"}}
    # fvcore on meta: linear layers, five an element of a norm and one an element upsampled, no convolution. LayerNorm
    # is as above; GroupNorm before each block of attention, in a resnet of what comes in and what goes out, and last
    blocks = 5 * 320 * 4096 + 5 * 640 * 1024 + 5 * 1280 * 256 + 1280 * 64
    groups = blocks + (4 * 320 + (960 + 640 + 640 + 3 * 320) + 320) * 64 * 64
    groups += ((320 + 3 * 640) + (1920 + 1280 + 960 + 3 * 640)) * 32 * 32
    groups += ((640 + 3 * 1280) + (2560 + 2560 + 1920 + 3 * 1280)) * 16 * 16
    groups += (4 * 1280 + 4 * 1280 + (3 * 2560 + 3 * 1280)) * 8 * 8
    upsampled = 1280 * 16 * 16 + 1280 * 32 * 32 + 640 * 64 * 64
    macs = 129_922_170_880 + 5 * (3 * blocks + groups) + upsampled
    dropped = releases("sd21-base", "unet", "fvcore-meta", macs)
    assert dropped == {e for e in every if Version(e[0]) < Version("2.5")}
    assert releases("sd21-base", "unet", "fvcore-meta", None) == every - dropped


def test_the_page_is_made_from_the_ledgers(comparison):
    assert (REPORTS / "versions.md").read_text() == drift.markdown(comparison, ("versions.svg",))
    assert TEXTS.findall((REPORTS / "versions.svg").read_text()) == TEXTS.findall(drift_chart.svg(comparison))


def test_the_small_modules_count_as_on_record(committed):
    """In each environment of tox its own ledger; the others are held against the pipelines' tests."""
    folder = measure_releases.folder_name(ledger.environment())
    if folder not in committed:
        pytest.skip(f"no ledgers of {folder}")
    fresh, old = measure_releases.small(), committed[folder]["small-cpu"]
    assert measure_releases.timeless(fresh, census=False) == measure_releases.timeless(old, census=False), (
        "write it again: tox exec -e ENV -- python tests/measure_releases.py reports/ledgers"
    )
