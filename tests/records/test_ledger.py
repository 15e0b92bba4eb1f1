"""Ledgers as JSON: the contract's keys, the same after a round trip, and read with suspicion."""

from __future__ import annotations

import copy
import gzip
import json
from typing import Any

import msgspec
import pytest
import sample
import tiny
from msgspec.structs import replace

from crosscheck import ledger, reconcile
from crosscheck.errors import ConfigError
from crosscheck.records import Counted, Failed, Ledger, Measured, Skipped
from crosscheck.report import verdict


@pytest.fixture(scope="module")
def text():
    """A ledger laid out for people, which is read like any other."""
    return json.dumps(json.loads(tiny.ledger().to_json()), indent=1)


@pytest.fixture
def tree(text):
    """The ledger as a stranger's tool reads it; free to be changed."""
    return json.loads(text)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.json"


def part(tree: dict[str, Any], name: str) -> dict[str, Any]:
    """A component, by name."""
    (found,) = (component for component in tree["components"] if component["name"] == name)
    return found


def refused(path, content: str | bytes | dict[str, Any]) -> str:
    """What the ledger is refused with, in one line that names the file."""
    if isinstance(content, dict):
        content = json.dumps(content)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(ConfigError) as caught:
        reconcile.reconcile_again(ledger.load(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


# -- the contract ------------------------------------------------------------------------------------------------------

NUMBER = {"status", "macs", "flops", "by_op"}


def test_schema_1_has_the_promised_keys(tree):
    assert tree["schema"] == 1
    assert {"model", "workload", "environment", "components", "generation"} < tree.keys()
    assert tree["workload"].keys() == {"batch_size", "height", "width", "steps", "guidance_scale", "scheduler"}
    assert {"python", "torch", "diffusers", "device"} <= tree["environment"].keys()
    for component in tree["components"]:
        assert {"name", "class_name", "params", "inputs", "recommended", "backends"} <= component.keys()
        assert all({"name", "shape", "dtype"} == given.keys() for given in component["inputs"])
        assert component["recommended"].keys() >= NUMBER
        assert component["recommended"]["by_op"].keys() == {"conv", "linear", "attention", "matmul"}
        for outcome in component["backends"].values():
            assert outcome["status"] == "counted"
            assert {"version", "macs", "gap", "terms", "residual", "seconds"} <= outcome.keys()
            assert all(term.keys() == {"cause", "macs"} for term in outcome["terms"])
    assert tree["generation"]["recommended"].keys() >= NUMBER
    for component in tree["generation"]["components"]:
        assert {"name", "calls", "batch_size", "macs", "cases"} == component.keys()
        assert all({"inputs", "calls", "batch_size", "macs"} <= case.keys() for case in component["cases"])


def test_its_numbers_mean_what_is_promised(tree):
    encoder = part(tree, "text_encoder")
    macs = tiny.LINEAR + tiny.ATTENTION
    assert encoder["class_name"] == "CLIPTextModel"
    assert encoder["inputs"] == [{"name": "input_ids", "shape": [1, 77], "dtype": "int64"}]
    # 49,408 tokens and 77 positions of 16; q, k, v and out, up and down with biases; two norms and the last
    layer = 4 * (16 * 16 + 16) + (16 * 32 + 32) + (32 * 16 + 16) + 2 * 2 * 16
    assert encoder["params"] == (49_408 + 77) * 16 + layer + 2 * 16
    assert encoder["recommended"]["status"] == "confirmed"
    assert encoder["recommended"]["by_op"] == {
        "conv": 0,
        "linear": tiny.LINEAR,
        "attention": tiny.ATTENTION,
        "matmul": 0,
    }
    assert (encoder["recommended"]["macs"], encoder["recommended"]["flops"]) == (macs, 2 * macs)
    thop = encoder["backends"]["thop"]
    assert thop["version"] == "0.1.1.post2209072238"
    assert thop["terms"] == [{"cause": "thop-layernorm-4", "macs": 4 * tiny.NORMS}]
    assert (thop["macs"], thop["gap"], thop["residual"]) == (macs + 4 * tiny.NORMS, 4 * tiny.NORMS, 0)
    (twice,) = (c for c in tree["generation"]["components"] if c["name"] == "text_encoder")
    assert (twice["calls"], twice["batch_size"], twice["macs"]) == (2, 1, 2 * macs)
    assert tree["generation"]["recommended"]["macs"] == sum(c["macs"] for c in tree["generation"]["components"])


def test_skipped_and_failed_have_their_reasons():
    backends = {"x": Skipped(reason="not installed"), "y": Failed(error="KeyError: 'a'")}
    text = replace(tiny.ledger(), components=(replace(tiny.ledger().components[0], backends=backends),)).to_json()

    written = json.loads(text)["components"][0]["backends"]

    assert written == {
        "x": {"status": "skipped", "reason": "not installed"},
        "y": {"status": "failed", "error": "KeyError: 'a'"},
    }


@pytest.mark.parametrize("original", [tiny.ledger, sample.sd21_base, sample.hostile], ids=["real", "sample", "hostile"])
def test_the_same_after_a_round_trip(original):
    text = original().to_json()

    back = msgspec.json.decode(text, type=Ledger)

    assert back == original()
    assert back.to_json() == text
    assert text.endswith("}\n")


def test_a_ledger_at_rest_is_read_as_it_was_written(path, text):
    path.write_text(text)

    assert ledger.load(path) == tiny.ledger()
    assert reconcile.reconcile_again(ledger.load(path)) == (tiny.ledger(), ())


def test_a_gzipped_ledger_is_read_alike(path, text):
    path.write_bytes(gzip.compress(text.encode()))

    assert ledger.load(path) == tiny.ledger()


def test_what_is_written_is_one_line():
    line, end = tiny.ledger().to_json().split("\n")

    assert json.loads(line)["model"] == "tiny"
    assert end == ""


def test_more_fields_are_welcome(path, tree):
    tree["later"] = {"deep": [{"er": None}]}
    tree["workload"]["seed"] = 16
    tree["components"][0]["backends"]["thop"]["note"] = "x"
    tree["components"][0]["census"]["ops"][0]["stream"] = 3
    path.write_text(json.dumps(tree))

    assert ledger.load(path) == tiny.ledger()


# -- records that contradict themselves --------------------------------------------------------------------------------


def set_in(*keys: str | int, by: int = 1, to: Any = None):
    """Change one entry of a tree."""

    def change(tree: Any) -> None:
        *path, last = keys
        for key in path:
            tree = part(tree, key) if key in {"unet", "text_encoder"} else tree[key]
        tree[last] = tree[last] + by if to is None else to

    return change


THOP = ("unet", "backends", "thop")
#: One entry off by one where nothing else is said. By PNDM there were 31 calls, by guidance at a batch of 2, and the
#: terms gave the gap.
CONTRADICTIONS = {
    "raw total": (set_in(*THOP, "macs"), "unet: thop: gap is"),
    "gap": (set_in(*THOP, "gap"), "unet: thop: residual is 0, its parts give 1"),
    "residual": (set_in(*THOP, "residual", to=-5), "unet: thop: residual is -5, its parts give 0"),
    "term": (set_in(*THOP, "terms", 0, "macs", by=-1), "unet: thop: residual is 0, its parts give 1"),
    "a term more": (set_in(*THOP, "terms", to=[]), "unet: thop: residual is 0, its parts give"),
    "by op of a backend": (set_in("unet", "backends", "aten", "by_op", "conv"), "unet: aten: macs is"),
    "by op": (set_in("unet", "recommended", "by_op", "linear"), "unet: recommended macs is"),
    "flops": (set_in("unet", "recommended", "flops"), "unet: recommended flops is"),
    "census": (set_in("unet", "census", "ops", 0, "macs", to=5), "unet: aten: macs is"),
    "a component twice": (lambda tree: tree["components"].append(part(tree, "unet")), "unet is there 2 times"),
    "calls": (set_in("generation", "components", 1, "calls"), "generation: unet: calls is 32, its parts give 31"),
    "calls of a case": (set_in("generation", "components", 1, "cases", 0, "calls"), "calls is 31, its parts give 32"),
    "macs of a case": (set_in("generation", "components", 1, "cases", 0, "macs"), "generation: unet: macs is"),
    "macs of all calls": (set_in("generation", "components", 1, "macs"), "generation: unet: macs is"),
    "batch size": (set_in("generation", "components", 1, "batch_size"), "unet: batch_size is 3, its parts give 2"),
    "closed form": (set_in("generation", "components", 1, "cases", 0, "analytic"), "generation: unet: analytic is"),
    "generation's flops": (set_in("generation", "recommended", "flops"), "generation: recommended flops is"),
    "a part of the generation": (lambda tree: tree["generation"]["components"].pop(), "generation: recommended is"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "words"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_a_contradiction_is_refused_by_name(path, tree, change, words):
    change(tree)

    message = refused(path, tree)

    assert message.startswith(f"{path}: the record contradicts itself: ")
    assert words in message


# -- what is no ledger -------------------------------------------------------------------------------------------------


def edited(old: str, new: str):
    """Replace text that is there exactly so."""

    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new, 1)

    return change


#: What we say, whatever the library that reads JSON adds.
NO_LEDGER = "not a ledger: "
NOT_A_LEDGER = {
    "a later schema": (edited('"schema": 1,', '"schema": 2,'), "schema 2; allowed: 1; read it with the"),
    "schema 0": (edited('"schema": 1,', '"schema": 0,'), "schema 0; allowed: 1"),
    "a text schema": (edited('"schema": 1,', '"schema": "1",'), NO_LEDGER),
    "a true schema": (edited('"schema": 1,', '"schema": true,'), NO_LEDGER),
    "no schema": (edited('"schema": 1,', ""), NO_LEDGER),
    "no environment": (edited('"environment"', '"surroundings"'), NO_LEDGER),
    "nothing": (lambda text: "", NO_LEDGER),
    "cut short": (lambda text: text[: len(text) // 2], NO_LEDGER),
    "a list": (lambda text: f"[{text}]", NO_LEDGER),
    "not JSON": (lambda text: "schema: 1", NO_LEDGER),
    "NaN": (edited('"guidance_scale": 7.5', '"guidance_scale": NaN'), NO_LEDGER),
    "infinity": (edited('"guidance_scale": 7.5', '"guidance_scale": 1e999'), NO_LEDGER),
    "null": (edited('"batch_size": 1', '"batch_size": null'), NO_LEDGER),
    "a fraction of a MAC": (edited('"outside_macs": 0', '"outside_macs": 0.5'), NO_LEDGER),
    "text for a number": (edited('"outside_macs": 0', '"outside_macs": "0"'), NO_LEDGER),
    "an unknown status": (edited('"status": "counted"', '"status": "fine"'), NO_LEDGER),
    "an unknown recommendation": (edited('"status": "confirmed"', '"status": "sure"'), NO_LEDGER),
    "a huge number": (edited('"outside_macs": 0', f'"outside_macs": {"9" * 10_000}'), NO_LEDGER),
    "deep nesting": (lambda text: '{"schema": 1, "x": ' + "[" * 10**6 + "]" * 10**6 + "}", NO_LEDGER),
    "deep from the start": (lambda text: "[" * 10**6, NO_LEDGER),
    "half a surrogate": (edited('"model": "tiny"', '"model": "\\ud800"'), NO_LEDGER),
    "UTF-16": (lambda text: text.encode("utf-16"), NO_LEDGER),
    "Latin-1": (lambda text: text.replace("tiny", "t\xefny").encode("latin-1"), NO_LEDGER),
    "too long": (lambda text: text + " " * ledger.MAX_BYTES, "too long; allowed: up to 16,000,000 bytes"),
    "too long once unpacked": (lambda text: gzip.compress(bytes(17_000_000)), "too long; allowed: up to 16,000,000"),
    "cut off while packed": (lambda text: gzip.compress(text.encode())[:-9], "a broken gzip file"),
    "no gzip but its first bytes": (lambda text: b"\x1f\x8b" + text.encode(), "a broken gzip file"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "words"), NOT_A_LEDGER.values(), ids=NOT_A_LEDGER)
def test_what_is_no_ledger_is_refused(path, text, change, words):
    message = refused(path, change(text))

    assert message.startswith(f"{path}: ")
    assert words in message


def test_a_number_beyond_all_models_is_still_added_up(path, tree):
    huge = 10**30
    tree["components"] = [part(tree, "text_encoder")]
    thop = tree["components"][0]["backends"]["thop"]
    before = dict(thop)
    thop |= {"macs": before["macs"] + huge, "gap": before["gap"] + huge, "residual": huge}
    path.write_text(json.dumps(tree))

    back, changed = reconcile.reconcile_again(ledger.load(path))

    assert changed == ()
    assert verdict.problems(back) == [f"thop leaves a residual of +{huge:,} MACs in text_encoder"]


@pytest.mark.parametrize("file", ["/dev/zero", "."], ids=["an endless file", "a folder"])
def test_what_is_no_file_is_refused(file):
    with pytest.raises(ConfigError, match=r"^(/dev/zero: too long|\.: can't be read)"):
        ledger.load(ledger.Path(file))


# -- reconciled again --------------------------------------------------------------------------------------------------

BROKEN_CENSUS = {
    "a module that is not there": set_in("unet", "census", "ops", 0, "module", to=10**6),
    "a module beyond any index": set_in("unet", "census", "ops", 0, "module", to=10**30),
    "attention without a shape": set_in("unet", "census", "attention", 0, "query", to=[]),
}


@pytest.mark.parametrize("change", BROKEN_CENSUS.values(), ids=BROKEN_CENSUS)
def test_a_census_that_causes_trip_over_is_refused(path, tree, change):
    change(tree)

    assert refused(path, tree).startswith("unet: the ledger can't be reconciled again: ")


def test_old_terms_are_made_again_and_the_changed_cells_named(path, tree):
    """A record of a crosscheck that knew no cause for LayerNorm, and another for the text encoder's attention."""
    expected = copy.deepcopy(tree)
    thop = part(tree, "unet")["backends"]["thop"]
    thop |= {"terms": [], "residual": thop["gap"]}
    plain = part(tree, "text_encoder")["backends"]["thop-plain"]
    plain["terms"][0]["cause"] = "another-name"
    path.write_text(json.dumps(tree))

    back, changed = reconcile.reconcile_again(ledger.load(path))

    assert changed == ("text_encoder: thop-plain", "unet: thop")
    assert json.loads(back.to_json()) == expected


def test_raw_totals_are_never_made_again(path, tree):
    outcome = part(tree, "text_encoder")["backends"]["thop"]
    outcome |= {"macs": outcome["macs"] + 7, "gap": outcome["gap"] + 7, "residual": 7}
    path.write_text(json.dumps(tree))

    back, changed = reconcile.reconcile_again(ledger.load(path))

    thop = back.component("text_encoder")["thop"]
    assert isinstance(thop, Counted)
    assert (thop.macs, thop.residual, changed) == (tiny.LINEAR + tiny.ATTENTION + 4 * tiny.NORMS + 7, 7, ())


def test_a_recommendation_is_made_again_from_the_two_references(path, tree):
    """Closed form and trace differ in the raw record, whatever the recommendation says of it."""
    encoder = part(tree, "text_encoder")
    analytic = encoder["backends"]["analytic"]
    analytic["macs"] += 1
    analytic["by_op"]["linear"] += 1
    analytic |= {"gap": 1, "residual": 1}
    path.write_text(json.dumps(tree))

    back, changed = reconcile.reconcile_again(ledger.load(path))

    assert "text_encoder: recommended" in changed
    recommended = back.component("text_encoder").recommended
    assert (recommended.status, recommended.macs) == ("unequal", None)
    assert recommended.reason == f"analytic and aten differ in linear: {tiny.LINEAR + 1:,} and {tiny.LINEAR:,}"
    assert verdict.problems(back)[0].startswith("closed form and trace differ for text_encoder")


def test_a_release_of_many_digits_is_refused(path, tree):
    tree["environment"]["torch"] = "9" * 5_000
    assert "the ledger can't be reconciled again: " in refused(path, tree)


def test_a_measured_outcome_is_held_against_the_reference():
    part = tiny.ledger().component("text_encoder")
    old = part["thop-plain"]
    assert isinstance(old, Counted)
    raw = Measured(version=old.version, macs=old.macs, seconds=old.seconds)

    _, outcomes = reconcile.reconcile({**part.backends, "thop-plain": raw}, part.census, tiny.ledger().environment)

    held = outcomes["thop-plain"]
    assert {term.cause: term.macs for term in held.terms} == {
        "attention-not-counted": -tiny.ATTENTION,
        "thop-layernorm-4": 4 * tiny.NORMS,
    }
    assert held.gap == 4 * tiny.NORMS - tiny.ATTENTION
