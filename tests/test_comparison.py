"""Runs held against each other: what changed is found, and only that."""

from __future__ import annotations

import pytest
import sample
from msgspec.structs import replace

from crosscheck.records import Counted, Failed, Ledger, Recommended, Term, UnlikeLedgersError, UsageError
from crosscheck.report import compare

NEW = sample.sd21_base()
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
    return {(row.component, row.backend): row.changes for row in compare(ledgers).rows if row.changed}


def test_the_same_numbers_in_another_environment() -> None:
    comparison = compare([OLD, NEW])
    assert comparison.labels == ("torch 2.6.0", "torch 2.13.0+cpu")
    assert len(comparison.rows) == 3 * (8 + 1) + 1
    assert not any(row.changed for row in comparison.rows)
    assert not comparison.changed_totals
    assert comparison.summary == "sd21-base: 0 of 28 numbers changed over 2 runs; no recommended total changed."


def test_a_changed_number_with_its_terms() -> None:
    newer = with_thop(NEW, 7, Term(cause="new-rule", macs=7))
    assert changed(OLD, newer) == {
        ("unet", "thop"): "-138,608,633 MACs, no longer thop-layernorm-4 +138,608,640, now new-rule +7"
    }
    assert not compare([OLD, newer]).changed_totals


def test_the_same_number_for_another_reason_is_a_change() -> None:
    other = with_thop(NEW, 138_608_640, Term(cause="other", macs=138_608_640))
    assert changed(OLD, other) == {("unet", "thop"): "no longer thop-layernorm-4 +138,608,640, now other +138,608,640"}


def test_a_changed_verdict() -> None:
    unet = NEW.component("unet")
    failed = replace(NEW, components=(replace(unet, backends=unet.backends | {"fvcore": Failed(error="x")}),))
    before = replace(OLD, components=(unet,))
    ((key, text),) = changed(before, failed).items()
    assert key == ("unet", "fvcore")
    assert text.startswith("explained, then failed, no longer fvcore-groupnorm-5")


def test_a_backend_or_component_of_one_run_only() -> None:
    fewer = replace(OLD, components=OLD.components[:2])
    comparison = compare([fewer, NEW])
    assert comparison.changed_totals
    (row,) = [row for row in comparison.rows if (row.component, row.backend) == ("vae_decoder", "aten")]
    assert [str(cell) for cell in row.cells] == ["absent", "1,257,259,466,752"]
    assert row.changes == "absent, then exact"


@pytest.mark.parametrize(
    "other",
    [
        replace(NEW, generation=replace(NEW.generation, recommended=Recommended.of("confirmed", {"conv": 5}))),
        replace(NEW, generation=replace(NEW.generation, recommended=Recommended(status="unequal"))),
        replace(
            NEW,
            components=tuple(replace(c, recommended=Recommended.of("confirmed", {"conv": 5})) for c in NEW.components),
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
    assert changed(OLD, other) == {("generation", "recommended"): "confirmed, then unconfirmed"}
    assert not compare([OLD, other]).changed_totals


def test_three_runs_say_in_which_it_changed() -> None:
    newest = replace(with_thop(NEW, 0), environment=NEW.environment | {"torch": "2.14.1"})
    assert changed(OLD, NEW, newest) == {
        ("unet", "thop"): "in run 3: -138,608,640 MACs, explained, then exact, no longer thop-layernorm-4 +138,608,640"
    }


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (replace(NEW, model="sd15"), r"model \(sd21-base and sd15\)"),
        (replace(NEW, workload=replace(NEW.workload, height=768)), r"height \(512 and 768\)"),
        (replace(NEW, workload=replace(NEW.workload, scheduler="DDIM")), r"scheduler \(PNDMScheduler and DDIM\)"),
    ],
)
def test_unlike_ledgers_are_refused_by_what_differs(other: Ledger, words: str) -> None:
    with pytest.raises(UnlikeLedgersError, match=words):
        compare([OLD, NEW, other])


@pytest.mark.parametrize("number", [0, 1])
def test_one_ledger_is_no_comparison(number: int) -> None:
    with pytest.raises(UsageError, match="two or more"):
        compare([NEW] * number)


def test_runs_of_one_environment_are_told_apart_by_number() -> None:
    assert compare([NEW, NEW]).labels == ("run 1", "run 2")
    assert compare([OLD, NEW, NEW]).labels == ("torch 2.6.0", "torch 2.13.0+cpu run 2", "torch 2.13.0+cpu run 3")


def test_markdown_and_terminal_tables() -> None:
    comparison = compare([OLD, with_thop(NEW, 7, Term(cause="new-rule", macs=7))])
    for text in (comparison.markdown, comparison.text):
        assert "402,267,340,800" in text
        assert "402,128,732,167" in text
        assert "now new-rule +7" in text
        assert comparison.summary in text
    assert comparison.markdown.startswith("# sd21-base\n")
    assert "|" not in comparison.text
