"""What the README and CONTRIBUTING say is so."""

import inspect
import re
import shlex
import sys
import tomllib
from fractions import Fraction
from itertools import pairwise
from types import SimpleNamespace

import msgspec
import plugins
import pytest
import tiny
import torch
from command import cli
from modules import BLOCK, BLOCK_MACS, block
from places import REPORTS, ROOT
from scripts import tables

import crosscheck
from crosscheck import causes, ledger
from crosscheck.audit import verdicts
from crosscheck.backends import registry
from crosscheck.cli import listing
from crosscheck.models import configs
from crosscheck.report.pages import scoreboard

README = (ROOT / "README.md").read_text()
PROSE = " ".join(README.split())
CONTRIBUTING = (ROOT / ".github" / "CONTRIBUTING.md").read_text()
API = (ROOT / "crosscheck" / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """Their code in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", README + CONTRIBUTING + API, flags=re.MULTILINE | re.DOTALL)


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def number(text: str) -> int:
    return int(text.replace(",", ""))


# -- its numbers -------------------------------------------------------------------------------------------------------

ROWS = {
    "`thop` with a patch for attention": "thop",
    "`thop` as shipped": "thop-plain",
    "torch's `FlopCounterMode` (2.3 to 2.14)": "flop_counter",
    "`fvcore` as shipped": "fvcore-plain",
}


def test_the_block_table_is_what_check_gives():
    (table,) = re.findall(r"<!-- block -->\n(.*?)<!-- /block -->", README, flags=re.DOTALL)
    _, _, *rows = map(cells, table.splitlines())
    check = crosscheck.check(*block("cpu"))

    assert [row[0] for row in rows] == list(ROWS)
    for name, macs, off, _ in rows:
        outcome = check[ROWS[name]]
        assert (outcome.macs, outcome.residual) == (number(macs), 0), name
        percent = f"{float(Fraction(100 * outcome.gap, check.recommended.macs)):.1f} %"
        assert off == ("0" if outcome.gap == 0 else percent), name


def test_the_block_by_hand():
    (numbers,) = re.findall(r"worth ([\d, +=]+) MACs by hand", PROSE)
    *summands, total = map(number, re.split(r" [+=] ", numbers))
    assert summands == [BLOCK["conv"], BLOCK["linear"], BLOCK["attention"]]
    assert sum(summands) == total == BLOCK_MACS


#: The rows of the Stable Diffusion 2.1 table and their MACs.
SD21 = {
    "UNet, one forward": 402_128_732_160,
    "VAE decoder, one decode": 1_257_259_466_752,
    "text encoder, one prompt": 22_563_616_768,
    # 62 UNet forwards, two prompts, one decode
    "one generation: 31 UNet calls at batch 2, two prompts, one decode": 62 * 402_128_732_160
    + 2 * 22_563_616_768
    + 1_257_259_466_752,
}


def test_the_stable_diffusion_table_is_what_the_reference_gives():
    rows = {name: cells(line)[1:] for line in README.splitlines() for name in SD21 if line.startswith(f"| {name} |")}
    assert {name: (number(macs), number(flops)) for name, (macs, flops) in rows.items()} == {
        name: (macs, 2 * macs) for name, macs in SD21.items()
    }

    run = crosscheck.check_pipeline("sd21-base", backends=("thop-plain",))

    unet, decoder, encoder = (run.component(name) for name in ("unet", "vae_decoder", "text_encoder"))
    assert [part.recommended.macs for part in (unet, decoder, encoder)] == list(SD21.values())[:3]
    assert run.generation.recommended.macs == SD21["one generation: 31 UNet calls at batch 2, two prompts, one decode"]
    assert run.generation.recommended.status == "confirmed"
    giga, percent = re.findall(r"for the UNet, (\d+) GMACs without attention, (\d+) % of the work", PROSE)[0]
    assert int(giga) == unet["thop-plain"].macs // 10**9
    assert int(percent) == round(100 * unet.recommended.by_op["attention"] / unet.recommended.macs)


def test_the_counters_table_is_the_scoreboard():
    (table,) = re.findall(r"<!-- counters -->\n(.*?)\n<!-- /counters -->", README, flags=re.DOTALL)
    record = REPORTS / "scoreboard.json"
    scores = msgspec.json.decode(record.read_bytes(), type=tuple[scoreboard.Score, ...])
    assert table == scoreboard.board(scores)


def test_the_table_of_counters_is_as_they_are_declared():
    (table,) = re.findall(r"<!-- tools -->\n(.*?)\n<!-- /tools -->", CONTRIBUTING, flags=re.DOTALL)
    assert table == tables.tools()


@pytest.mark.parametrize("what", ["a counter", "a cause", "an architecture", "a model", "a claim", "a torch release"])
def test_a_recipe_has_at_most_twenty_lines(what):
    (recipe,) = re.findall(rf"^## Add {what}\n(.*?)(?=^## )", CONTRIBUTING, flags=re.DOTALL | re.MULTILINE)
    assert len(recipe.strip().splitlines()) <= 20


# -- its commands ------------------------------------------------------------------------------------------------------

COMMANDS = [
    words[1:]
    for line in "\n".join(blocks("sh")).replace(" && ", "\n").splitlines()
    if (words := shlex.split(line, comments=True)) and words[0].endswith("crosscheck")
]


@pytest.fixture(scope="module")
def help_of():
    """The help of a command, asked for once."""
    shown = {}

    def ask(command: str) -> str:
        if command not in shown:
            done = cli(command, "--help")
            assert done.returncode == 0, done.stderr
            shown[command] = done.stdout
        return shown[command]

    return ask


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_its_commands_and_their_options_exist(words, help_of):
    command, *rest = words
    for option in (word for word in rest if word.startswith("-")):
        assert re.search(rf"(?<![\w-]){option}\b", help_of(command)), option
    assert {command for command, *_ in COMMANDS} == {
        "run", "report", "compare", "gate", "list", "formula", "sweep", "doctor", "witness", "audit",
        "explain",
    }  # fmt: skip


def test_the_models_and_backends_it_runs_exist():
    for command, *words in COMMANDS:
        for before, word in pairwise([command, *words]):
            if before == "-b":
                assert word in {*registry.CORE, "all", "NAME"}
            elif command == "run" and not before.startswith("-") and not word.startswith("-"):
                assert word in {*configs.catalogue(), "NAME"}


def test_the_lists_it_names_exist():
    (line,) = (line for line in README.splitlines() if line.startswith("crosscheck list "))
    named = re.findall(r"\w+", line.replace("also", ""))[2:]
    assert set(named) == set(listing.LISTS)


def test_the_extras_they_install_exist():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    installed = re.findall(r"-e '\.\[(.*?)\]'", README + CONTRIBUTING)
    assert len(installed) == 2
    for extras in installed:
        assert set(extras.split(",")) <= project["optional-dependencies"].keys()


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / ".github" / "CONTRIBUTING.md"])
def test_their_links_lead_somewhere(page):
    folder = page.parent
    links = [link for link in re.findall(r"\]\(([^)]+)\)", page.read_text()) if "://" not in link]
    assert links
    for link in links:
        file, _, title = link.partition("#")
        file = file or page.name
        assert (folder / file).exists(), link
        titles = re.findall(r"^#+ (.*)$", (folder / file).read_text(), re.MULTILINE) if title else []
        assert not title or title in [heading.lower().replace(" ", "-") for heading in titles], link


def test_the_files_of_tests_it_names_exist():
    named = re.findall(r"tests/[\w/]+\.py", CONTRIBUTING)
    assert len(named) > 5
    assert all((ROOT / name).exists() for name in named)


# -- its python --------------------------------------------------------------------------------------------------------


def test_the_python_example_runs(monkeypatch):
    signature = inspect.signature(crosscheck.check_pipeline)
    asked, ledger = [], tiny.ledger()

    def stand_in(*args, **kwargs):
        """The real signature, and a model that runs in no time."""
        bound = signature.bind(*args, **kwargs)
        assert not bound.arguments.get("call")
        asked.append(bound.arguments["model"])
        return ledger

    monkeypatch.setattr(crosscheck, "check_pipeline", stand_in)
    module, x = block()
    (example,) = (code for code in blocks("python") if "check = crosscheck.check(" in code)
    names = {"module": module, "x": x}

    exec(example, names)

    assert asked == ["sd21-base"]
    assert names["check"].recommended.macs == BLOCK_MACS


def test_the_example_of_a_backend_is_found_and_counts(tmp_path, monkeypatch):
    """A package with the README's class and entry point, and a tool that gives the parameters."""
    (example,) = (code for code in blocks("python") if "Backend)" in code)
    ((name, value, group),) = re.findall(r'`(\S+) = "(my_package:\S+)"` under `\[project.entry-points."(\S+)"\]', API)
    assert group == registry.GROUP
    site = plugins.install(tmp_path / "package", {name: value}, {"my_package": example})
    monkeypatch.syspath_prepend(site)

    def count(entry, inputs):
        return sum(p.numel() for p in entry.parameters()) + inputs[0].numel()

    monkeypatch.setitem(sys.modules, "my_counter", SimpleNamespace(count=count))
    module, x = block()

    check = crosscheck.check(module, x, backends=("my-counter",))

    assert check["my-counter"].macs == sum(p.numel() for p in module.parameters()) + x.numel()
    assert check["my-counter"].version == "unknown"  # no distribution my-counter is installed


def test_the_example_of_a_claim_can_be_audited(tmp_path):
    (example,) = (text for text in blocks("toml") if "[[claim]]" in text)
    file = tmp_path / "claims.toml"
    file.write_text(example)
    (claim,) = verdicts.load(file).claim
    assert verdicts.audit(claim, ledger.load(ROOT / "reports" / "sd21-base.json")).verdict == "ambiguous"


def test_the_example_of_a_cause_predicts():
    (example,) = (code for code in blocks("python") if ".cause(" in code)
    census = crosscheck.check(torch.nn.Softmax(-1), torch.zeros(3, 5, device="meta"), backends=("aten",)).census
    with plugins.declared_apart():
        exec(example, {})
        (term,) = causes.explain("my-counter", {}, census)
    assert (term.cause, term.macs) == ("my-counter-softmax", 3 * 5)


def test_a_cause_of_a_package_is_found_by_the_entry_point_that_contributing_names():
    assert f'[project.entry-points."{causes.plugins.GROUP}"]' in CONTRIBUTING


def test_torch_is_blind_on_a_cpu_in_the_releases_that_its_cause_names():
    words = causes.in_words(causes.find("flop_counter-cpu-attention").only_in)
    ranges = [re.findall(r"\d\.\d+ to \d\.\d+", line) for line in README.splitlines() if "`FlopCounterMode`" in line]
    assert [*filter(None, ranges)] == [[words.removeprefix("torch ")]] * 2
