"""Runs held against each other: what changed is found, and only that."""

from __future__ import annotations

from html import unescape

import pytest
import sample
from msgspec.structs import replace

from crosscheck.errors import UnlikeLedgersError, UsageError
from crosscheck.records import Component, Counted, Failed, Ledger, Recommended, TensorSpec, Term
from crosscheck.report import comparison
from crosscheck.report.charts import versions as drift_chart
from crosscheck.report.comparison import compare, numbered, regressions
from crosscheck.report.pages import versions as drift

NEW = sample.sd21_base()
SMALL = (TensorSpec(name="sample", shape=(1, 4, 8, 8), dtype="float32"),)
OLD = replace(NEW, environment=NEW.environment | {"torch": "2.6.0"})


def with_thop(ledger: Ledger, gap: int, *terms: Term) -> Ledger:
    """The ledger with another number of thop's on the unet."""
    unet = ledger.component("unet")
    before = unet["thop"]
    assert isinstance(before, Counted)
    thop = replace(before, macs=before.macs - before.gap + gap, gap=gap, terms=terms)
    parts = [replace(c, backends=c.backends | {"thop": thop}) if c.name == "unet" else c for c in ledger.components]
    return replace(ledger, components=tuple(parts))


def changed(*ledgers: Ledger) -> dict[tuple[str, str], str]:
    return {(row.component, row.backend): row.changes for row in compare(ledgers).rows if row.others}


def test_the_same_numbers_in_another_environment() -> None:
    comparison = compare([OLD, NEW])
    assert comparison.labels == (("torch 2.6.0",), ("torch 2.13.0+cpu",))
    assert len(comparison.rows) == 3 * (8 + 1) + 1
    assert not comparison.changed
    assert not comparison.changed_totals
    assert comparison.summary == "sd21-base: 0 of 28 numbers changed over 2 runs; no recommended total changed."


def test_a_changed_number_with_its_terms() -> None:
    newer = with_thop(NEW, 7, Term(cause="new-rule", macs=7))
    assert changed(OLD, newer) == {
        ("unet", "thop"): "from run 1: 402,267,340,800, then 402,128,732,167 MACs (-138,608,633), "
        "no longer thop-layernorm-4 +138,608,640, now new-rule +7"
    }
    assert not compare([OLD, newer]).changed_totals


def test_the_same_number_for_another_reason_is_a_change() -> None:
    other = with_thop(NEW, 138_608_640, Term(cause="other", macs=138_608_640))
    assert changed(OLD, other) == {
        ("unet", "thop"): "from run 1: no longer thop-layernorm-4 +138,608,640, now other +138,608,640"
    }


def test_a_changed_verdict() -> None:
    unet = NEW.component("unet")
    failed = replace(NEW, components=(replace(unet, backends=unet.backends | {"fvcore": Failed(error="x")}),))
    before = replace(OLD, components=(unet,))
    ((key, text),) = changed(before, failed).items()
    assert key == ("unet", "fvcore")
    assert text.startswith("from run 1: explained, then failed, no longer fvcore-groupnorm-5")


def test_a_backend_or_component_of_one_run_only() -> None:
    fewer = replace(OLD, components=OLD.components[:2])
    comparison = compare([fewer, NEW])
    assert comparison.changed_totals
    (row,) = [row for row in comparison.rows if (row.component, row.backend) == ("vae_decoder", "aten")]
    assert [(cell.macs, cell.verdict) for cell in row.cells] == [(None, "absent"), (1_257_259_466_752, "exact")]
    assert row.changes == "from run 1: absent, then exact"


@pytest.mark.parametrize(
    "other",
    [
        replace(NEW, generation=replace(NEW.generation, recommended=Recommended.from_ops("confirmed", {"conv": 5}))),
        replace(NEW, generation=replace(NEW.generation, recommended=Recommended(status="unequal"))),
        replace(
            NEW,
            components=tuple(
                replace(c, recommended=Recommended.from_ops("confirmed", {"conv": 5})) for c in NEW.components
            ),
        ),
    ],
    ids=["generation", "generation unknown", "component"],
)
def test_a_changed_recommended_total(other: Ledger) -> None:
    comparison = compare([OLD, other])
    assert comparison.changed_totals
    assert comparison.summary.endswith("a recommended total changed.")


def test_a_changed_status_is_a_change_but_not_of_the_total() -> None:
    status = replace(NEW.generation.recommended, status="unconfirmed")
    other = replace(NEW, generation=replace(NEW.generation, recommended=status))
    assert changed(OLD, other) == {("generation", "recommended"): "from run 1: confirmed, then unconfirmed"}
    assert not compare([OLD, other]).changed_totals


def test_many_runs_say_in_which_it_was_otherwise() -> None:
    fixed = [replace(with_thop(NEW, 0), environment=NEW.environment | {"torch": v}) for v in ("2.14.1", "2.15.0")]
    assert changed(fixed[1], NEW, OLD, fixed[0]) == {
        ("unet", "thop"): "from runs 1 and 2: 402,267,340,800, then 402,128,732,160 MACs (-138,608,640), "
        "explained, then exact, no longer thop-layernorm-4 +138,608,640"
    }


def test_runs_stand_in_the_order_of_their_releases() -> None:
    releases = ["2.10.0", "2.2.2", "2.13.0+cpu", "2.6.0"]
    runs = [replace(NEW, environment=NEW.environment | {"torch": release}) for release in releases]
    assert [label for (label,) in compare(runs).labels] == [
        "torch 2.2.2",
        "torch 2.6.0",
        "torch 2.10.0",
        "torch 2.13.0+cpu",
    ]


def test_labels_take_the_fewest_packages_that_tell_runs_apart() -> None:
    environments = [
        {"torch": "2.2.2", "diffusers": "0.25.1", "transformers": "4.36.2"},
        {"torch": "2.2.2", "diffusers": "0.25.1", "transformers": "4.36.2", "peft": "0.7.1"},
        {"torch": "2.2.2", "diffusers": "0.27.2", "transformers": "4.39.3"},
    ]
    labels = compare([replace(NEW, environment=environment) for environment in environments]).labels
    assert labels == (
        ("diffusers 0.25.1",),
        ("diffusers 0.25.1", "peft 0.7.1"),
        ("diffusers 0.27.2",),
    )


def test_models_are_compared_side_by_side_and_one_alone_is_refused() -> None:
    other = [replace(ledger, model="sd15") for ledger in (OLD, NEW)]
    comparison = compare([OLD, NEW, *other])
    assert comparison.models == ("sd21-base", "sd15")
    assert len(comparison.rows) == 2 * (3 * (8 + 1) + 1)
    with pytest.raises(UnlikeLedgersError, match="sd15 has one alone"):
        compare([OLD, NEW, other[0]])


def test_a_gate_stops_a_changed_total_and_a_changed_verdict_and_nothing_else() -> None:
    explained_otherwise = with_thop(NEW, 7, Term(cause="new-rule", macs=7))
    assert regressions(OLD, NEW) == []
    assert regressions(OLD, explained_otherwise) == []  # another number, explained all the same

    residual = with_thop(NEW, 7)
    (line,) = regressions(OLD, replace(residual, components=tuple(map(_with_residual, residual.components))))
    assert line.startswith("unet: thop: 402,267,340,800, then 402,128,732,167 MACs")
    assert "explained, then residual" in line

    total = replace(NEW.generation, recommended=Recommended.from_ops("confirmed", {"conv": 5}))
    (line,) = regressions(OLD, replace(NEW, generation=total))
    assert line == "generation: recommended: 26,234,368,094,208, then 5 MACs (-26,234,368,094,203)"


def test_a_gate_reads_from_the_baseline_to_the_new_run_whatever_their_releases() -> None:
    newer = replace(NEW, environment=NEW.environment | {"torch": "2.15.0"})
    more = replace(NEW, generation=replace(NEW.generation, recommended=Recommended.from_ops("confirmed", {"conv": 5})))
    (line,) = regressions(newer, more)
    assert line == "generation: recommended: 26,234,368,094,208, then 5 MACs (-26,234,368,094,203)"


def test_another_model_under_the_same_name_is_stopped_by_a_gate_not_refused() -> None:
    unet = NEW.component("unet")
    other = replace(unet, inputs=SMALL, recommended=Recommended.from_ops("confirmed", {"conv": 5}))
    (line,) = regressions(NEW, replace(NEW, components=(NEW.components[0], other, NEW.components[2])))
    assert line == "unet: recommended: 402,128,732,160, then 5 MACs (-402,128,732,155)"


def _with_residual(component: Component) -> Component:
    thop = component["thop"]
    assert isinstance(thop, Counted)
    residual = thop.gap - sum(term.macs for term in thop.terms)
    return replace(component, backends=component.backends | {"thop": replace(thop, residual=residual)})


def test_spans_of_runs() -> None:
    assert numbered([3]) == "run 3"
    assert numbered([1, 2, 5, 6, 7, 9]) == "runs 1 and 2, 5 to 7, 9"


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (replace(NEW, model="sd15"), r"model \(sd21-base and sd15\)"),
        (replace(NEW, workload=replace(NEW.workload, height=768)), r"height \(512 and 768\)"),
        (replace(NEW, workload=replace(NEW.workload, scheduler="DDIM")), r"scheduler \(PNDMScheduler and DDIM\)"),
        (replace(NEW, workload=None), r"kind \(a pipeline and a module by itself\)"),
        (replace(NEW, environment=NEW.environment | {"device": "cpu"}), r"device \(meta and cpu\)"),
        (
            replace(NEW, components=tuple(replace(c, class_name="Other") for c in NEW.components[:1])),
            r"class of text_encoder \(CLIPTextModel and Other\)",
        ),
        (
            replace(NEW, components=(NEW.components[0], replace(NEW.components[1], inputs=SMALL))),
            r"unet: sample \(\(1, 4, 64, 64\) and \(1, 4, 8, 8\)\)",
        ),
    ],
)
def test_unlike_ledgers_are_refused_by_what_differs(other: Ledger, words: str) -> None:
    with pytest.raises(UnlikeLedgersError, match=words):
        compare([OLD, NEW, other])


def test_unlike_ledgers_are_found_whichever_come_first() -> None:
    without = replace(OLD, components=NEW.components[:1])
    small = replace(NEW, components=(NEW.components[0], replace(NEW.components[1], inputs=SMALL)))
    with pytest.raises(UnlikeLedgersError, match="unet: sample"):
        compare([without, NEW, small])


@pytest.mark.parametrize("number", [0, 1])
def test_one_ledger_is_no_comparison(number: int) -> None:
    with pytest.raises(UsageError, match="two or more"):
        compare([NEW] * number)


def test_runs_of_one_environment_are_columns_of_their_own() -> None:
    assert compare([NEW, NEW]).labels == ((), ())
    assert compare([OLD, NEW, NEW]).labels == (("torch 2.6.0",), ("torch 2.13.0+cpu",), ("torch 2.13.0+cpu",))


def test_page_and_terminal_text() -> None:
    comparison = compare([OLD, with_thop(NEW, 7, Term(cause="new-rule", macs=7))])
    for text in (drift.markdown(comparison), drift.text(comparison)):
        assert "402,267,340,800" in text
        assert "402,128,732,167" in text
        assert "new-rule" in text
        assert comparison.summary in text
        assert "2.6.0" in text
    assert "|" not in drift.text(comparison)


def test_the_worst_of_a_counter_is_its_largest_gap_or_its_failure() -> None:
    unet = NEW.component("unet")
    failed = replace(NEW, components=(replace(unet, backends=unet.backends | {"fvcore": Failed(error="x")}),))
    before, after = comparison.worst(compare([replace(OLD, components=OLD.components), failed]))["fvcore"]
    assert before.macs is not None
    # The decoder's norms and upsampling, 0.19 % against 0.10. Of a resnet what comes in and what goes out: at 64 x 64
    # two of the middle with its attention's, and three more; then three at each size; and the last
    norms = (
        (5 + 6) * 512 * 64 * 64 + 6 * 512 * 128 * 128 + (512 + 5 * 256) * 256 * 256 + (256 + 5 * 128 + 128) * 512 * 512
    )
    upsampled = 512 * 128 * 128 + 512 * 256 * 256 + 256 * 512 * 512
    assert before.gap == 5 * norms + upsampled
    assert after.verdict == "failed"


def test_a_residual_shows_wherever_a_comparison_is_read() -> None:
    residual = with_thop(NEW, 7)
    ledger = replace(residual, components=tuple(map(_with_residual, residual.components)))
    comparison = compare([OLD, ledger])
    for text in (drift.markdown(comparison), drift.text(comparison)):
        assert "+<0.001 % residual" in unescape(text)
    assert "not explained" in drift_chart.svg(comparison)
    assert "not explained" not in drift_chart.svg(compare([OLD, NEW]))


def test_a_strangers_strings_are_harmless_on_the_page() -> None:
    hostile = sample.hostile()
    page = drift.markdown(compare([hostile, replace(hostile, environment={"torch": sample.HOSTILE})]))
    assert "<script" not in page
    assert "<img" not in page
