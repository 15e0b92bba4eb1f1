"""Every model of the catalogue: what its folder states is so, and its report is not stale."""

import re

import families
import msgspec
import pytest
from by_hand import flux_dev
from installed import needs
from places import REPORTS

import crosscheck
from crosscheck import ledger
from crosscheck.backends import registry
from crosscheck.closed_form import in_writing
from crosscheck.closed_form.forms import FORMS
from crosscheck.models import configs
from crosscheck.records import Counted, Failed
from crosscheck.report.charts import run as chart
from crosscheck.report.charts import scoreboard as scoreboard_chart
from crosscheck.report.pages import counters, overview, scoreboard
from crosscheck.report.pages import run as report

MODELS = configs.catalogue()

pytestmark = needs("diffusers>=0.42", "the classes that the newest release has")


@pytest.mark.parametrize("model", MODELS)
def test_a_run_is_as_stated_and_as_reported(model):
    run = crosscheck.check_pipeline(model, backends=())
    folder = configs.CATALOGUE / model
    stated = configs.stated(folder)
    config = configs.read(folder, model)
    written = {part.name: part for part in in_writing.parts(config, stated)}
    old = ledger.load(REPORTS / f"{model}.json")

    parameters: dict[str, int] = {}
    for component in run.components:
        base = next(n for n in stated.parameters if component.name in (n, f"{n}_encoder", f"{n}_decoder"))
        parameters[base] = component.params
        assert component.recommended == old.component(component.name).recommended
        if component.name in written:
            part = written[component.name]
            assert part.work(part.sizes).total == component.recommended.macs, component.name
            assert part.formula().at(part.sizes) == component.recommended.macs
        confirmed = component.recommended.status == "confirmed"
        assert confirmed == (component.class_name in FORMS)
    assert parameters == {name: stated.parameters[name] for name in parameters}
    assert run.generation == old.generation
    assert run.workload == old.workload


@pytest.mark.parametrize("model", MODELS)
def test_every_counter_is_explained(model):
    for component in ledger.load(REPORTS / f"{model}.json").components:
        for name, outcome in component.backends.items():
            where = (component.name, name, outcome)
            if isinstance(outcome, Counted):
                assert outcome.residual == 0, where
            elif isinstance(outcome, Failed):
                assert outcome.predicted_by, where
            else:
                assert name in {"analytic", *NOT_HERE}, where


#: One shares thop's files, one needs a GPU, one needs weights.
NOT_HERE = ("ultralytics-thop", "torch-flops", "onnx-tool")


def test_every_counter_was_run():
    ran = {
        name for model in MODELS for part in ledger.load(REPORTS / f"{model}.json").components for name in part.backends
    }
    assert ran >= set(registry.table()) - set(NOT_HERE)


@pytest.mark.parametrize("model", MODELS)
def test_the_reports_are_made_from_their_ledgers(model):
    run = ledger.load(REPORTS / f"{model}.json")
    assert (REPORTS / f"{model}.md").read_text() == report.markdown(run, [f"{model}.svg"])
    drawn = re.compile(r"<text[^>]*>([^<]*)<")
    assert drawn.findall((REPORTS / f"{model}.svg").read_text()) == drawn.findall(chart.svg(run))


def test_the_index_is_made_from_the_ledgers():
    ledgers = [ledger.load(REPORTS / f"{name}.json") for name in ("counters", *MODELS)]
    assert (REPORTS / "README.md").read_text() == overview.index(ledgers)


def test_the_scoreboard_is_made_from_the_ledgers():
    """Of the counters that can be installed together; the fork of thop was scored where it is."""
    operations, *models = (ledger.load(REPORTS / f"{name}.json") for name in ("counters", *MODELS))
    scores = {score.backend: score for score in scoreboard.scores(models, operations)}
    committed = {
        score.backend: score
        for score in msgspec.json.decode((REPORTS / "scoreboard.json").read_bytes(), type=tuple[scoreboard.Score, ...])
    }
    assert {name: committed[name] for name in scores} == scores
    assert set(committed) - set(scores) == {"ultralytics-thop"}
    assert (REPORTS / "scoreboard.md").read_text() == scoreboard.page(list(committed.values()))
    assert (REPORTS / "scoreboard.svg").read_text() == scoreboard_chart.svg(models, [*committed])


def test_the_page_of_counters_is_made_from_its_ledger():
    assert (REPORTS / "counters.md").read_text() == counters.markdown(
        ledger.load(REPORTS / "counters.json"), ["counters.svg"]
    )


def test_the_page_of_pipelines_says_how_many_are_equal():
    page = (REPORTS / "pipelines.md").read_text()
    rows = dict(re.findall(r"^\| (\w+) +\| (.*?) +\|$", page, re.MULTILINE))
    equal = [name for name, verdict in rows.items() if verdict == "equal"]
    assert f"{len(equal)} of {len(rows) - 1} are equal." in page  # a row less: the heading
    assert set(families.FAMILIES) <= set(equal)
    assert not [verdict for verdict in rows.values() if "macs" in verdict]  # none ran and came out different


def test_flux_is_as_published():
    # FLUX.1 has 12 B parameters by its publishers; at 1024 x 1024 it is 64 x 64 patches and 512 tokens
    run = crosscheck.check_pipeline("flux1-dev", backends=(), num_inference_steps=1)
    transformer = run.component("transformer")
    assert round(transformer.params / 1e9) == 12
    assert transformer.recommended.by_op == {"conv": 0} | flux_dev(64 * 64, 512)
    assert transformer.recommended.status == "confirmed"
