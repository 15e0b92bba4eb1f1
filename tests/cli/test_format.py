"""--format: on stdout the result alone, as JSON the record that --json writes, as markdown the page that -o writes."""

import functools
import json
from pathlib import Path

import pytest
import sample
import tiny
from command import TORCH_AND_TOOLS, cli, refused
from msgspec.structs import replace

from crosscheck import ledger
from crosscheck.cli import listing
from crosscheck.doctor import cases
from crosscheck.report.pages import counters, gate, witness
from crosscheck.witnesses import cpu, ledgers

CAUSE = "thop-layernorm-4"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with two models and two ledgers, of which the second is another release's."""
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        tiny.folder(tmp_path / name)
    Path("a.json").write_text(tiny.ledger().to_json())
    other = replace(tiny.ledger(), environment=tiny.ledger().environment | {"torch": "2.9.1"})
    Path("b.json").write_text(other.to_json())
    return tmp_path


@pytest.fixture
def printed_here(here):
    """The same of a command that imports torch: in this process, where it is imported already."""
    return functools.partial(printed, command=here)


def printed(*args, status=0, command=cli, **options):
    """What a command prints as JSON, read, and as markdown."""
    as_json, as_markdown = (command(*args, "--format", form, **options) for form in ("json", "markdown"))
    assert (as_json.returncode, as_markdown.returncode) == (status, status), as_json.stderr + as_markdown.stderr
    return json.loads(as_json.stdout), as_markdown.stdout


def read(path):
    return json.loads(Path(path).read_text())


def test_a_run_is_its_ledger_and_its_report(place, printed_here):
    found, page = printed_here("run", "one", "-b", "thop", "--json", "out.json")
    # the second run wrote out.json: the same but for its times
    written = ledger.load(Path("out.json"))
    assert found.keys() == read("out.json").keys()
    assert found["generation"] == read("out.json")["generation"]
    assert page == written.to_markdown()


def test_several_runs_are_one_array_and_their_reports_in_turn(place, printed_here):
    found, page = printed_here("run", "one", "two", "-b", "aten", "--json", "ledgers")
    assert [entry["model"] for entry in found] == ["one", "two"]
    assert [entry["generation"] for entry in found] == [
        read(f"ledgers/{name}.json")["generation"] for name in "one two".split()
    ]
    assert page == "".join(ledger.load(Path(f"ledgers/{name}.json")).to_markdown() for name in ("one", "two"))


def test_a_comparison_is_its_rows_and_its_page(place):
    found, page = printed("compare", "a.json", "b.json", "-o", "new", without=("matplotlib", *TORCH_AND_TOOLS))
    assert found["models"] == ["tiny"]
    macs = {(row["component"], row["backend"]): [cell["macs"] for cell in row["cells"]] for row in found["rows"]}
    assert macs["text_encoder", "recommended"] == 2 * [tiny.LINEAR + tiny.ATTENTION]
    assert page == Path("new/versions.md").read_text()


def test_a_gate_is_what_it_stops(place, printed_here):
    assert printed_here("gate", "a.json", "one") == ({"changes": []}, "No recommended total and no verdict changed.\n")

    tiny.edit(Path("one/text_encoder/config.json"), intermediate_size=tiny.HIDDEN + 1)
    found, page = printed_here("gate", "a.json", "one", status=1)

    was, more = tiny.LINEAR + tiny.ATTENTION, 2 * tiny.TOKENS * tiny.WIDTH
    line = f"text_encoder: recommended: {was:,}, then {was + more:,} MACs (+{more:,})"
    assert found["changes"][0] == line
    assert page.splitlines()[0] == f"- {line}"


def test_a_gate_harms_no_page():
    assert "<" not in gate.markdown([sample.HOSTILE])
    assert len(gate.markdown([sample.HOSTILE]).splitlines()) == 1


def test_a_sweep_is_its_points_and_its_page(place):
    found, page = printed("sweep", "one", "--height", 32, "--height", 64, "--json", "out.json")
    assert found == read("out.json")
    assert [point["asked"]["height"] for point in found] == [32, 64]
    assert page.startswith("# Sweep\n\n| Model ")
    assert all(f"{point['macs']:,}" in page for point in found)


def test_a_doctors_examination_is_its_ledger_and_its_page(place, printed_here, monkeypatch):
    few = cases.cases()[:3]
    monkeypatch.setattr(cases, "cases", lambda: few)
    found, page = printed_here("doctor", "-b", "thop", "--json", "out.json")
    written = ledger.load(Path("out.json"))
    assert len(found["components"]) == 3
    assert [part["name"] for part in found["components"]] == [part.name for part in written.components]
    assert page == counters.markdown(written)


def test_what_fuzzing_finds_has_no_other_form():
    assert "leave out -o, --json and --format" in refused(cli("doctor", "--fuzz", 1, "--format", "json"))


def test_a_formula_is_its_parts():
    found, page = printed("formula", "sd21-base", without=TORCH_AND_TOOLS)
    unet = next(part for part in found if part["name"] == "unet")
    assert (unet["macs"], unet["flops"]) == (402_128_732_160, 804_257_464_320)  # tests/standalone_sd21.py
    assert sum(unet["by_op"].values()) == unet["macs"]
    assert unet["sizes"] == {"b": 1, "h": 64, "w": 64, "n": 77}
    assert unet["conditions"] == ["h a multiple of 8", "w a multiple of 8"]
    assert eval(unet["polynomial"], {}, unet["sizes"]) == unet["macs"]
    assert f"## unet: UNet2DConditionModel\n\n```math\n{unet['latex']}\n```" in page.replace("&#95;", "_")


@pytest.mark.parametrize("what", listing.LISTS)
def test_lists_are_their_entries(what):
    found, page = printed("list", what, without=TORCH_AND_TOOLS)
    assert found == listing.LISTS[what]()
    header, rule, *rows = page.splitlines()
    assert header.startswith("| ")
    assert set(rule) <= set("|:-")
    assert len(rows) == len(found)


def test_models_are_listed_with_numbers():
    found, _ = printed("list", "models", without=TORCH_AND_TOOLS)
    (model,) = (entry for entry in found if entry["model"] == "sd21-base")
    # UNet, text encoder, both halves of the autoencoder: the published checkpoints'
    assert model["parameters"] == 865_910_724 + 340_387_840 + 83_653_863
    assert model["default workload"] == {"steps": 30}


def test_a_cause_is_its_facts():
    found, page = printed("explain", CAUSE, without=TORCH_AND_TOOLS)
    assert (found["cause"], found["backends"]) == (CAUSE, ["thop", "thop-plain", "thop-query-only"])
    assert page.startswith(f"## {CAUSE}\n\n")
    assert "\n- **backends**: thop, thop-plain, thop-query-only\n" in page


@pytest.mark.skipif(bool(cpu.unavailable()), reason=cpu.unavailable())
def test_a_witness_is_its_ledger_and_its_page(place, printed_here):
    found, page = printed_here("witness", "one", "--with", "cpu", "--component", "text_encoder", "--json", "out.json")
    assert found == read("out.json")
    assert page == witness.markdown([ledgers.load_witness(Path("out.json"))])


def test_a_form_that_there_is_not_is_one_line():
    line = refused(cli("list", "models", "--format", "html"))
    assert line.endswith("; got: list models --format html; crosscheck list --help shows what is allowed")
