"""The command line as its users meet it: a process, two streams, files and an exit status."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import plugins
import pytest
import tiny
from command import TORCH_AND_TOOLS, arguments, cli, environment, refused, tells
from msgspec.structs import replace

import crosscheck
from crosscheck.cli import app as command_line
from crosscheck.records import Component, Counted, Ledger, Recommended


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def with_outcome(ledger: Ledger, component: str, name: str, **changes: object) -> Ledger:
    """The ledger with one outcome changed."""

    def changed(part: Component) -> Component:
        return replace(part, backends=part.backends | {name: replace(part.backends[name], **changes)})

    return replace(
        ledger, components=tuple(changed(part) if part.name == component else part for part in ledger.components)
    )


def one_off(ledger: Ledger) -> Ledger:
    """thop says one MAC more of the UNet, and the record says so throughout."""
    thop = ledger.component("unet")["thop"]
    return with_outcome(ledger, "unet", "thop", macs=thop.macs + 1, gap=thop.gap + 1, residual=1)


# -- run ---------------------------------------------------------------------------------------------------------------


def test_run_writes_report_chart_and_ledger(place):
    tiny.folder(place / "tiny")

    done = cli("run", "tiny", "-o", "new/reports", "--json", "new/out.json")

    assert done.returncode == 0, done.stderr
    files = ["new/reports/tiny.md", "new/reports/tiny.svg", "new/reports/tiny.json", "new/out.json"]
    assert sorted(str(p.relative_to(place)) for p in place.glob("n*/**/*.*")) == sorted(files)
    assert done.stderr.splitlines() == [
        *(f"crosscheck: wrote {file}" for file in files),
        "crosscheck: tiny: every counter is explained to the last MAC",
    ]
    assert done.stdout.startswith("tiny\n\ncomponent ")
    assert "All 8 backends are explained to the last MAC for 3 components" in done.stdout

    text = (place / "new/out.json").read_text()
    assert (place / "new/reports/tiny.json").read_text() == text
    ledger = json.loads(text)
    size = {"height": 32, "width": 32}  # a latent of 16 in a VAE that halves once
    own = {"batch_size": 1, "steps": 30, "guidance_scale": 7.5, "scheduler": "PNDMScheduler"}
    assert ledger["workload"] == own | size
    (encoder,) = (part for part in ledger["components"] if part["name"] == "text_encoder")
    assert encoder["recommended"]["macs"] == tiny.LINEAR + tiny.ATTENTION
    assert encoder["backends"]["thop-plain"]["macs"] == tiny.LINEAR + 4 * tiny.NORMS
    assert encoder["backends"]["thop-plain"]["residual"] == 0
    calls = {part["name"]: (part["calls"], part["batch_size"]) for part in ledger["generation"]["components"]}
    # PNDM asks once more than it has steps, guidance doubles the batch, prompt and negative prompt are apart
    assert calls == {"text_encoder": (2, 1), "unet": (31, 2), "vae_decoder": (1, 1)}


def test_several_models_make_json_a_folder(here, place):
    for name in ("one", "two"):
        tiny.folder(place / name)

    done = here("run", "one", "./two/", "-b", "thop", "--steps", 2, "--guidance-scale", 1, "--json", "ledgers")

    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir("ledgers")) == ["one.json", "two.json"]
    for name in ("one", "two"):
        ledger = json.loads(Path(f"ledgers/{name}.json").read_text())
        assert ledger["model"] == name
        assert [list(part["backends"]) for part in ledger["components"]] == [["analytic", "aten", "thop"]] * 3
        # two steps are three calls of PNDM; without guidance there is no second branch
        assert [part["calls"] for part in ledger["generation"]["components"]] == [1, 3, 1]


# -- report ------------------------------------------------------------------------------------------------------------


def test_report_needs_no_torch_and_no_counter_and_gives_the_same_bytes(place):
    ledger = tiny.ledger()
    Path("a.json").write_text(ledger.to_json())

    there = cli("report", "a.json", "-o", "there")
    elsewhere = cli("report", "a.json", "-o", "elsewhere", without=TORCH_AND_TOOLS)
    bare = cli("report", "a.json", "-o", "bare", without=("matplotlib", *TORCH_AND_TOOLS))

    for done in (there, elsewhere, bare):
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
    page = Path("there/tiny.md").read_bytes()
    assert Path("elsewhere/tiny.md").read_bytes() == page
    assert Path("elsewhere/tiny.svg").read_bytes() == Path("there/tiny.svg").read_bytes()
    assert page.decode().replace("![How far off each backend is, and why](tiny.svg)", "") not in {"", page.decode()}
    assert os.listdir("bare") == ["tiny.md"]
    assert Path("bare/tiny.md").read_text() == ledger.to_markdown()


def test_a_hub_id_is_a_file_name_without_folders(place):
    Path("a.json").write_text(replace(tiny.ledger(), model="org/name").to_json())

    done = cli("report", "a.json", "-o", ".")

    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir()) == ["a.json", "org--name.md", "org--name.svg"]


def test_a_residual_is_exit_status_1(place):
    Path("a.json").write_text(one_off(tiny.ledger()).to_json())

    done = cli("report", "a.json", "-o", ".")

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "crosscheck: tiny: thop leaves a residual of +1 MACs in unet"


def test_a_ledger_is_reconciled_again_and_what_changed_is_named(place):
    encoder = tiny.ledger().component("text_encoder")["thop"]
    assert isinstance(encoder, Counted)
    old = with_outcome(tiny.ledger(), "text_encoder", "thop", terms=(), residual=encoder.gap)
    Path("old.json").write_text(old.to_json())
    Path("new.json").write_text(tiny.ledger().to_json())

    repeated, report = (cli("report", f"{name}.json", "-o", name) for name in ("old", "new"))

    line = "crosscheck: old.json: reconciled again with this crosscheck; changed: text_encoder: thop"
    assert line in repeated.stderr.splitlines()
    assert "reconciled again" not in report.stderr
    assert repeated.returncode == report.returncode == 0
    assert Path("old/tiny.md").read_bytes() == Path("new/tiny.md").read_bytes()


def test_several_reports_get_an_index_that_replaces_nothing_of_the_users(place):
    for name in ("one", "two"):
        Path(f"{name}.json").write_text(replace(tiny.ledger(), model=name).to_json())
    Path("mine").mkdir()
    Path("mine/README.md").write_text("# Mine\n")

    fresh, repeated, mine = (cli("report", "one.json", "two.json", "-o", folder) for folder in ("new", "new", "mine"))

    assert [done.returncode for done in (fresh, repeated, mine)] == [0, 0, 0]
    assert "[one](one.md)" in Path("new/README.md").read_text()
    assert fresh.stderr == repeated.stderr
    assert "crosscheck: kept mine/README.md: it is not an index of reports" in mine.stderr.splitlines()
    assert Path("mine/README.md").read_text() == "# Mine\n"


# -- compare -----------------------------------------------------------------------------------------------------------


def changed_total(ledger: Ledger) -> Ledger:
    """The generation with one more call of the text encoder, everywhere."""
    first, *others = ledger.generation.components
    assert first.name == "text_encoder"
    (case,) = first.cases
    more = replace(first, calls=3, macs=3 * case.macs, cases=(replace(case, calls=3),))
    old = ledger.generation.recommended.by_op
    by_op = old | {
        "linear": old["linear"] + tiny.LINEAR,
        "attention": old["attention"] + tiny.ATTENTION,
    }
    total = Recommended.from_ops("confirmed", by_op)
    return replace(ledger, generation=replace(ledger.generation, components=(more, *others), recommended=total))


# 28 numbers: of three components eight backends and the recommended one, and the generation's
COMPARED = {
    "the same": (lambda ledger: ledger, 0, "0 of 28 numbers changed"),
    "a residual": (one_off, 1, "1 of 28 numbers changed over 2 runs; no recommended total changed"),
    "a total": (changed_total, 1, f"MACs (+{tiny.LINEAR + tiny.ATTENTION:,})"),
}


@pytest.mark.parametrize(("change", "status", "words"), COMPARED.values(), ids=COMPARED)
def test_compare_says_what_changed(place, change, status, words):
    Path("a.json").write_text(tiny.ledger().to_json())
    Path("b.json").write_text(change(tiny.ledger()).to_json())

    done = cli("compare", "a.json", "b.json", without=TORCH_AND_TOOLS)

    residual = "crosscheck: tiny: thop leaves a residual of +1 MACs in unet\n" if change is one_off else ""
    assert (done.returncode, done.stderr) == (status, residual)
    assert words in done.stdout


def test_compare_writes_a_page_and_a_chart(place):
    for release in ("2.10.0", "2.9.1"):
        ledger = replace(tiny.ledger(), environment=tiny.ledger().environment | {"torch": release})
        Path(f"{release}.json").write_text(ledger.to_json())

    done = cli("compare", "2.10.0.json", "2.9.1.json", "-o", "new", without=TORCH_AND_TOOLS)

    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == ["crosscheck: wrote new/versions.md", "crosscheck: wrote new/versions.svg"]
    assert "|     1 | 2.9.1   |\n|     2 | 2.10.0  |" in Path("new/versions.md").read_text()
    assert Path("new/versions.svg").read_text().startswith("<?xml")


# -- gate --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def baseline(place):
    """A folder, and the ledger that was made of it."""
    tiny.folder(place / "tiny")
    Path("baseline.json").write_text(tiny.ledger().to_json())


def test_a_gate_lets_through_what_did_not_change(here, baseline):
    done = here("gate", "baseline.json", "tiny")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "crosscheck: tiny: as in baseline.json\n"


def test_a_gate_stops_changed_macs(here, baseline):
    tiny.edit(Path("tiny/text_encoder/config.json"), intermediate_size=tiny.HIDDEN + 1)

    done = here("gate", "baseline.json", "tiny")

    more = 2 * tiny.TOKENS * tiny.WIDTH  # one column of the first layer, one row of the second
    was = tiny.LINEAR + tiny.ATTENTION
    assert done.returncode == 1
    assert f"text_encoder: recommended: {was:,}, then {was + more:,} MACs (+{more:,})" in done.stdout.splitlines()
    assert "generation: recommended: " in done.stdout
    assert done.stderr == "crosscheck: tiny: 2 changes since baseline.json\n"


def test_a_gate_stops_a_changed_verdict(baseline):
    done = cli("gate", "baseline.json", "tiny", without=("fvcore",))
    assert done.returncode == 1
    assert "unet: fvcore: explained, then failed, no longer fvcore-groupnorm-5" in done.stdout


# -- list and help -----------------------------------------------------------------------------------------------------

SHOWN = {
    ("list", "backends"): "crosscheck.backends.thop:ThopQueryOnly",
    ("list", "models"): "sdxl-base",
    ("list", "causes"): "thop-layernorm-4",
    ("--help",): "compare",
    ("run", "--help"): "--guidance-scale",
    ("report", "--help"): "LEDGER...",
    ("compare", "--help"): "LEDGER LEDGER...",
    ("gate", "--help"): "BASELINE.json",
    ("list", "--help"): "backends|models|causes",
}


@pytest.mark.parametrize(("args", "words"), SHOWN.items(), ids=map(" ".join, SHOWN))
def test_what_there_is_is_shown_without_torch_or_a_counter(args, words):
    done = cli(*args, without=("matplotlib", *TORCH_AND_TOOLS))

    assert (done.returncode, done.stderr) == (0, "")
    assert words in done.stdout


# -- bad input ---------------------------------------------------------------------------------------------------------


def spoiled(place: Path) -> None:
    """Everything that the refusals below name."""
    (place / "file").write_text("")
    (place / "claims.toml").write_text('name = "x"\n')
    (place / "empty").mkdir()
    (place / "whole").mkdir()
    for name in ("good", "broken", "layers", "sample", "guided", "tokens", "hidden"):
        tiny.folder(place / name)
    tiny.folder(place / "whole" / "good")
    (place / "broken/unet/config.json").write_text('{"layers_per_block": ')
    tiny.edit(place / "layers/unet/config.json", layers_per_block=10**9)
    text = tiny.ledger().to_json()
    (place / "good.json").write_text(text)
    (place / "schema.json").write_text(text.replace('"schema":1,', '"schema":2,', 1))
    (place / "other.json").write_text(replace(tiny.ledger(), model="other").to_json())
    thop = tiny.ledger().component("unet")["thop"]
    (place / "false.json").write_text(with_outcome(tiny.ledger(), "unet", "thop", macs=thop.macs + 1).to_json())
    (place / "module.json").write_text(replace(tiny.ledger(), workload=None, generation=None).to_json())
    nothing = replace(tiny.ledger().generation, components=(), recommended=Recommended.from_ops("confirmed", {}))
    (place / "nothing.json").write_text(replace(tiny.ledger(), components=(), generation=nothing).to_json())


REFUSED = {
    "": "; crosscheck --help shows what is allowed",
    "profile": "'profile'[...]; crosscheck --help shows what is allowed",
    "--nonsense": "--nonsense[...]; crosscheck --help shows what is allowed",
    "run --nonsense": "--nonsense[...]; crosscheck run --help shows what is allowed",
    "run --step 3": "--step [...]; crosscheck run --help shows what is allowed",
    "run --steps": "--steps[...]; crosscheck --help shows what is allowed",
    "run good --steps abc": "got: run good --steps abc; crosscheck run --help shows what is allowed",
    "run good --steps 2.5": "got: run good --steps 2.5",
    "run good --steps 0": "steps: got 0; allowed: a whole number from 1 to 10,000",
    "run good --steps -3": "steps: got -3; allowed",
    "run good --height 0": "height: got 0; allowed: a whole number from 1 to 8,192",
    "run good --width -8": "width: got -8; allowed",
    "run good --height 1000000000": "height: got 1000000000; allowed",
    "run good --height 8192 --width 8192 --batch-size 2": "got 134,217,728 pixels; allowed: up to 67,108,864 in all",
    "run good --batch-size 0": "batch size: got 0; allowed",
    "run good --guidance-scale nan": "guidance scale: got nan; allowed: a finite number",
    "run good --guidance-scale inf": "guidance scale: got inf; allowed",
    "run sd21-bas": "unknown model 'sd21-bas'; did you mean 'sd21-base'? allowed: auraflow, ",
    "run no/such/folder": "unknown model 'no/such/folder'; allowed",
    "run file": "org/name; a file is none of these: a model is known by its configs, not its weights",
    "run GOOD,SD15": "unknown model 'GOOD,SD15'; allowed",
    "run SD15,sdxl-base": "did you mean 'sd15' and 'sdxl-base', each by itself? allowed",
    "run SDXL": "did you mean 'sdxl-base' or 'sdxl-refiner'? allowed",
    "run https://huggingface.co/org/name/tree/main": "did you mean 'org/name'? allowed",
    "run good/unet": "good/unet has no model_index.json; allowed: a diffusers pipeline folder; did you mean good?",
    "run good -b FVCORE": "unknown backend 'FVCORE'; did you mean 'fvcore'? allowed",
    "run good -b thop,fvcore": "did you mean 'thop' and 'fvcore', each by itself? allowed",
    "formula sd15 --component vae": "did you mean 'vae_decoder' or 'vae_encoder'? allowed",
    "formula sd15 --component unett": "'unett' of sd15; did you mean 'unet'? allowed",
    "explain LayerNorm": "did you mean 'thop-layernorm-4' or 'thop-layernorm-2' or 'fvcore-layernorm-5'?",
    "run good -b thopp": "unknown backend 'thopp'; did you mean 'thop'? allowed: analytic, aten, thop,",
    "run empty": "empty has no model_index.json; allowed: a diffusers pipeline folder",
    "run broken": "broken/unet/config.json: not valid JSON",
    "run layers": "layers_per_block: got 1000000000; allowed: up to 1,024",
    "run good nomodel": "unknown model 'nomodel'",
    "run good whole/good -o new": "'good' and 'whole/good' would both be written as good",
    "run good -o file": "can't write to file: [...]; give a folder that can be written",
    "run good -o file/new": "can't write to file/new: [...]; give a folder that can be written",
    "run good --json file/out.json": "can't write to file: ",
    "run good --json no/such/out.json": "can't write no/such/out.json: there is no folder no/such; make it first",
    "sweep good --json no/such/out.json": "can't write no/such/out.json: there is no folder no/such; make it first",
    "doctor --json no/such/out.json": "can't write no/such/out.json: there is no folder no/such; make it first",
    "run good --json empty": "--json empty is a folder; with one model it names a file",
    "run good layers --json file": "can't write to file: ",
    "report good.json": "-o[...]; crosscheck report --help shows what is allowed",
    "report -o new": "LEDGER...[...]; crosscheck report --help shows what is allowed",
    "report good.json -o file": "can't write to file: ",
    "report nosuch.json -o new": "nosuch.json: can't be read: [...]; give a file that crosscheck wrote with --json",
    "report claims.toml -o new": "claims.toml: not a ledger: [...]; give a file that crosscheck wrote",
    "report empty -o new": "empty: can't be read: [...]; give a file that crosscheck wrote",
    "report file -o new": "file: not a ledger: [...]; give a file that crosscheck wrote",
    "report schema.json -o new": "schema.json: schema 2; allowed: 1; read it with the crosscheck that wrote it",
    "report false.json -o new": "false.json: the record contradicts itself: unet: thop: gap is",
    "report good.json good.json -o new": "'good.json' and 'good.json' would both be written as tiny",
    "compare": "LEDGER LEDGER...[...]; crosscheck compare --help shows what is allowed",
    "compare good.json": "got 1 ledger: give two or more",
    "compare good.json other.json": "the ledgers differ in model (tiny and other)",
    "compare good.json good.json -o file": "can't write to file: ",
    "gate": "BASELINE.json[...]; crosscheck gate --help shows what is allowed",
    "gate nosuch.json": "nosuch.json: can't be read",
    "gate good.json": "unknown model 'tiny'; allowed",
    "gate module.json": "module.json is of a module by itself; give the ledger of a pipeline",
    "list": "backends|models|causes[...]; crosscheck list --help shows what is allowed",
    "list model": "can't list 'model'; did you mean 'models'? allowed: backends, models, causes",
    "list nonsense": "can't list 'nonsense'; allowed: backends, models, causes",
}


@pytest.fixture(scope="module")
def spoils(tmp_path_factory):
    place = tmp_path_factory.mktemp("spoils")
    spoiled(place)
    return place


@pytest.mark.parametrize(("args", "words"), REFUSED.items(), ids=REFUSED)
def test_bad_input_is_refused_in_one_line_before_torch_is_imported(spoils, args, words):
    line = refused(cli(*args.split(), cwd=spoils, without=TORCH_AND_TOOLS))

    assert tells(line, words)
    assert not (spoils / "new").exists()


REFUSED_BY_THE_PIPELINE = {
    "--height 515": "StableDiffusionPipeline rejects this call: ",
    "--scheduler HeunDiscretScheduler": "'HeunDiscretScheduler'; did you mean 'HeunDiscreteScheduler'?",
    "--scheduler DDIM": "'DDIM'; did you mean 'DDIMScheduler' or",
}


@pytest.mark.parametrize(("args", "words"), REFUSED_BY_THE_PIPELINE.items(), ids=REFUSED_BY_THE_PIPELINE)
def test_what_the_pipeline_rejects_is_refused_in_one_line(here, spoils, monkeypatch, args, words):
    monkeypatch.chdir(spoils)
    assert words in refused(here("run", "good", *args.split(), "--json", "x.json"))
    assert not (spoils / "x.json").exists()


def test_nothing_measured_is_exit_status_2(spoils, tmp_path):
    done = cli("report", spoils / "nothing.json", "-o", tmp_path)

    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "crosscheck: error: tiny: nothing was measured"


def test_debug_shows_the_traceback_and_keeps_the_line_and_the_exit_status():
    for args in (("--debug", "run", "nomodel"), ("run", "nomodel", "--debug")):
        done = cli(*args)
        assert done.returncode == 2
        first, *_, last = done.stderr.splitlines()
        assert first == "Traceback (most recent call last):"
        assert last.startswith("crosscheck: error: unknown model 'nomodel'")


def test_an_error_of_ours_is_one_line_too():
    first = "import crosscheck.cli.listing as l; l.LISTS = {'models': lambda: {}['no\\nsuch']}"

    line = refused(cli("list", "models", first=first))

    assert line == r"crosscheck: error: KeyError: 'no\nsuch'; --debug shows where"


def test_a_strangers_strings_do_not_reach_the_terminal_raw(place):
    Path("a.json").write_text(replace(one_off(tiny.ledger()), model="\x1b[2Jevil\nname").to_json())

    done = cli("report", "a.json", "-o", ".")

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("crosscheck: [2Jevil name: thop leaves")


# -- what cuts it short ------------------------------------------------------------------------------------------------

ENDLESS = """
import os, time
from crosscheck.backends.interface import Backend

class Endless(Backend):
    name = "endless"
    distribution = ""

    def run(self, case):
        with open("started.part", "w") as file:
            file.write(str(os.getpid()))
        os.rename("started.part", "started")
        time.sleep(1_000)

    def read(self, result):
        return result
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="backends run in forked processes")
def test_an_interrupted_run_leaves_no_file_and_no_process(place):
    tiny.folder(place / "tiny")
    site = plugins.install(place / "sample", {"endless": "endless:Endless"}, {"endless": ENDLESS})
    command = arguments("run", "tiny", "-b", "endless", "--steps", 1, "-o", "out", "--json", "x.json")
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **streams, env=environment(site)) as run:
        while not Path("started").exists():
            assert run.poll() is None, run.stderr.read()
            time.sleep(0.05)
        run.send_signal(signal.SIGINT)
        out, err = run.communicate()

    assert (
        run.returncode == command_line.INTERRUPTED == 128 + signal.SIGINT
    )  # what shells say of an interrupted command
    assert (out, err) == ("", "crosscheck: interrupted; no file was left half-written\n")
    assert os.listdir("out") == []
    assert not Path("x.json").exists()
    with pytest.raises(ProcessLookupError):
        os.kill(int(Path("started").read_text()), 0)


def test_an_interrupt_that_a_package_answers_with_an_error_of_its_own_is_an_interrupt():
    first = """
import os, signal, crosscheck.cli.listing

def half_imported():
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except KeyboardInterrupt:
        raise RuntimeError("Failed to import")

crosscheck.cli.listing.LISTS = {"models": half_imported}
"""
    done = cli("list", "models", first=first)

    assert (done.returncode, done.stderr) == (130, "crosscheck: interrupted; no file was left half-written\n")


@pytest.mark.parametrize("interrupted", ["part.replace", "part.write_bytes"])
def test_an_interrupt_while_a_file_is_written_leaves_the_old_ones_whole(place, interrupted):
    Path("a.json").write_text(tiny.ledger().to_json())
    old = ("tiny.md", "tiny.svg")
    for name in old:
        Path(name).write_text("old")
    first = f"""
import os, signal, pathlib

real = pathlib.Path.{interrupted.removeprefix("part.")}

def half(self, *args):
    real(self, *args) if {interrupted == "part.write_bytes"} else None
    os.kill(os.getpid(), signal.SIGINT)

pathlib.Path.{interrupted.removeprefix("part.")} = half
"""
    done = cli("report", "a.json", "-o", ".", first=first)

    assert done.returncode == 130
    assert sorted(os.listdir()) == ["a.json", *old]
    assert [Path(name).read_text() for name in old] == ["old", "old"]


@pytest.mark.parametrize(
    ("args", "status"), [(("list", "causes"), 0), (("compare", "a.json", "b.json"), 1)], ids=["list", "compare"]
)
def test_a_reader_that_has_gone_changes_neither_exit_status_nor_stderr(place, args, status):
    Path("a.json").write_text(tiny.ledger().to_json())
    Path("b.json").write_text(changed_total(tiny.ledger()).to_json())
    reader, writer = os.pipe()
    os.close(reader)

    done = subprocess.run(
        arguments(*args), stdout=writer, stderr=subprocess.PIPE, text=True, env=environment(), check=False
    )
    os.close(writer)

    assert (done.returncode, done.stderr) == (status, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device to write to")
def test_a_full_disk_is_one_line():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            arguments("list", "models"), stdout=full, stderr=subprocess.PIPE, text=True, env=environment(), check=False
        )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert tells(line, "crosscheck: error: OSError: [...]; --debug shows where")


# -- refused once the pipeline is built: here, where torch is imported already -----------------------------------------


SPOILED = {
    "sample size": ("unet/config.json", {"sample_size": 10**6}, (), "sample_size: got 1000000; allowed: up to 4,096"),
    "sample size 0": ("unet/config.json", {"sample_size": 0}, (), "height: got 0; allowed"),
    "sample size text": ("unet/config.json", {"sample_size": "64"}, (), "sample_size: got '64'; allowed"),
    "sample sizes": ("unet/config.json", {"sample_size": [8, 8, 8]}, (), "sample_size: got [8, 8, 8]; allowed"),
    "tokens": ("tokenizer/tokenizer_config.json", {"model_max_length": 10**6}, (), "got 1000000; allowed: up to 13"),
    "batch of the model's own size": (
        "unet/config.json",
        {"sample_size": 4096},  # 8192 x 8192 pixels, the most for a batch of one
        ("--batch-size", "2"),
        "got 134,217,728 pixels; allowed: up to 67,108,864",
    ),
    "a base class": (
        "scheduler/scheduler_config.json", {}, ("--scheduler", "SchedulerMixin"), "unknown scheduler 'SchedulerMixin'",
    ),
    "a model": (
        "scheduler/scheduler_config.json", {}, ("--scheduler", "AutoencoderKL"), "unknown scheduler 'AutoencoderKL'",
    ),
    "a path": ("scheduler/scheduler_config.json", {}, ("--scheduler", "os.path"), "unknown scheduler 'os.path'"),
    "another config": (
        "scheduler/scheduler_config.json",
        {},
        ("--scheduler", "UnCLIPScheduler"),
        "UnCLIPScheduler can't be made from PNDMScheduler's config: ",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("file", "changes", "args", "words"), SPOILED.values(), ids=SPOILED)
def test_what_only_the_pipeline_knows_is_refused_in_one_line(here, place, file, changes, args, words):
    tiny.edit(tiny.folder(place / "tiny") / file, **changes)

    assert words in refused(here("run", "tiny", "-b", "aten", *args))


def test_a_scheduler_whose_packages_are_missing_names_them(here, monkeypatch, place):
    import diffusers

    class Absent:
        _backends = ["torch", "scipy"]

    monkeypatch.setattr(diffusers, "LMSDiscreteScheduler", Absent)
    tiny.folder(place / "tiny")

    line = refused(here("run", "tiny", "--scheduler", "LMSDiscreteScheduler"))

    assert "scheduler 'LMSDiscreteScheduler' needs torch, scipy; install what is missing" in line


@pytest.mark.parametrize(
    ("cause", "lines"),
    [
        ("thop-layernorm-4", ["thop-layernorm-4", "  backends: thop, thop-plain, thop-query-only", "  source: thop/"]),
        ("three-tf32", ["three-tf32", "  of: what a processor executes", "  source: aten/src/ATen/"]),
    ],
)
def test_a_cause_is_explained(cause, lines):
    done = cli("explain", cause, without=TORCH_AND_TOOLS)
    assert done.returncode == 0, done.stderr
    shown = done.stdout.splitlines()
    assert all(any(line.startswith(start) for line in shown) for start in lines), done.stdout


def test_an_unknown_cause_is_one_line_with_what_is_near():
    line = refused(cli("explain", "thop-layernorm"))
    assert "unknown cause 'thop-layernorm'; did you mean 'thop-layernorm-4'" in line


def test_the_release_is_told():
    done = cli("--version", without=TORCH_AND_TOOLS)
    assert (done.returncode, done.stdout) == (0, f"crosscheck {crosscheck.__version__}\n")
    assert cli("run", "-h", without=TORCH_AND_TOOLS).stdout == cli("run", "--help", without=TORCH_AND_TOOLS).stdout
