"""The doctor: its truths are by hand, its tables say what was counted, its fuzzing finds and shrinks what is wrong."""

import re
import subprocess
import sys

import broken
import pytest
import torch
from command import cli, refused
from hypothesis import given
from installed import needs
from msgspec import structs

from crosscheck import ledger
from crosscheck.backends import registry
from crosscheck.case import Count
from crosscheck.doctor import cases as table
from crosscheck.doctor import examine
from crosscheck.doctor.fuzz import _contradicted, fuzz
from crosscheck.doctor.programs import programs
from crosscheck.doctor.writing import PLAIN
from crosscheck.errors import CrosscheckError
from crosscheck.records import Counted, Failed
from crosscheck.report import tally
from crosscheck.report.pages import counters, scoreboard
from crosscheck.witnesses import blas_log, cpu

pytestmark = needs("torch>=2.6", "the cases are written for a torch of today")


@pytest.fixture(scope="module")
def examined():
    """Every case by the trace, thop and torch's own counter."""
    return examine.examine(["thop", "thop-plain", "flop_counter"])


def found(examined, name):
    (component,) = (c for c in examined.components if c.name.endswith(f": {name}"))
    return component


# -- the cases ---------------------------------------------------------------------------------------------------------


def test_there_are_enough_cases_and_each_has_a_name_of_its_own():
    names = [(case.group, case.name) for case in table.cases()]
    assert len(names) == len(set(names)) >= 60


@pytest.mark.parametrize(
    ("name", "macs"),
    [
        ("Conv2d", 442_368),  # 2 x 16 x 16 outputs of 12 channels, 8 x 9 each, is twice 221,184
        ("Conv2d, 4 groups", 110_592),  # a quarter
        ("ConvTranspose2d, 4 groups", 196_608),  # 2 x 16 x 16 inputs of 8 channels meet 12 / 4 filters of 4 x 4
        ("Linear", 30_720),  # 20 x 32 x 48
        ("SDPA, cross", 1_261_568),  # 8 heads, 64 x 77, 16 wide for scores and for values
        ("SDPA, d_v of 24", 1_576_960),  # and 24 for values: 40 / 32 of it
        ("torch.baddbmm", 15_360),  # 8 x 10 x 16 x 12
        ("einsum bhid,bhjd->bhij", 630_784),  # the scores alone: half
        ("LSTM", 122_880),  # 10 x 2 steps, 4 gates of 32 over 16 + 32
    ],
)
def test_the_truth_is_that_of_the_arithmetic_beside_it(name, macs):
    (case,) = (case for case in table.cases() if case.name == name)
    assert case.macs == macs


def test_the_trace_is_exact_on_every_case(examined):
    assert {c.name: c["aten"].gap for c in examined.components if c["aten"].gap} == {}


def test_a_truth_that_is_not_what_ran_is_refused(monkeypatch):
    wrong = [structs_like(case) for case in table.cases() if case.name == "Linear"]
    monkeypatch.setattr(table, "cases", lambda: tuple(wrong))
    with pytest.raises(CrosscheckError, match=r"Linear: the trace counts 30720, by hand it is 2·10·32·49"):
        examine.examine(["thop"])


def structs_like(case):
    import dataclasses

    return dataclasses.replace(case, truth=((2, 10, 32, 49),))


def test_every_cell_is_explained(examined):
    for component in examined.components:
        for name, outcome in component.backends.items():
            where = f"{component.name}: {name}: {outcome}"
            if isinstance(outcome, Failed):
                assert outcome.predicted_by, where
            elif isinstance(outcome, Counted):
                assert outcome.residual == 0, where


def test_the_fast_path_is_seen_and_explained(examined):
    """On the CPU, in evaluation and without gradients, the layer is one kernel: 0 for a counter of operators."""
    outcome = found(examined, "TransformerEncoderLayer, evaluation, on the CPU")["flop_counter"]
    # 2 x 10 tokens: four projections of 64 x 64, two layers of 64 x 128, and 4 heads over 10 x 10
    whole = 20 * (4 * 64 * 64 + 2 * 64 * 128) + 2 * 4 * 10 * 10 * 32
    assert (outcome.macs, outcome.gap) == (0, -whole)
    assert {term.cause for term in outcome.terms} == {"native-layer"}


# -- its tables --------------------------------------------------------------------------------------------------------


def test_the_page_names_the_wrong_number_and_its_cause(examined):
    page = counters.markdown(examined)
    (row,) = (line for line in page.splitlines() if line.startswith("| SDPA, self "))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    # 2 images, 4 heads, 64 x 64, 16 + 16 wide
    assert cells[1] == "1,048,576 = 2·4·64·64·32"
    shown = counters.shown(examined)
    assert cells[2 + shown.index("thop")] == "="
    assert cells[2 + shown.index("thop-plain")] == "0<br>[attention-not-counted](#cause-attention-not-counted)"


def test_the_terminal_shows_the_same_cells(examined):
    text = counters.text(examined)
    (number,) = re.findall(r"^ *(\d+) attention-not-counted$", text, re.MULTILINE)
    (row,) = (line for line in text.splitlines() if line.startswith("SDPA, self "))
    assert f"0 {number}" in row
    assert text.rstrip().endswith("none unexplained.")


def test_laws_say_which_counter_breaks_which(examined):
    (laws,) = re.findall(r"^\| Counter +\| tokens .*\n.*\n((?:\|.*\n)+)", counters.markdown(examined), re.MULTILINE)
    verdicts = {
        cells[1].strip(): [c.strip() for c in cells[2:-1]] for cells in (row.split("|") for row in laws.splitlines())
    }
    assert verdicts["aten"] == ["kept"] * 5
    # without attention twice the tokens are twice the work: 128 x 32 x 96 and half of it
    assert verdicts["thop-plain"][0] == "broken: 393,216 after 196,608"
    # twice shared counts four times: 20 rows of 32 x 32, twice, and four times that
    assert verdicts["thop"][2] == "broken: 163,840 after 40,960"


def test_a_counter_that_grows_breaks_the_law_of_repetition(monkeypatch):
    monkeypatch.setattr(registry, "table", lambda: {**TABLE, Grows.name: f"{__name__}:Grows"})
    wanted = ("64 tokens", "64 tokens, counted twice")
    chosen = tuple(case for case in table.cases() if case.name in wanted)
    monkeypatch.setattr(table, "cases", lambda: chosen)
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])
    result = examine.examine([Grows.name])
    rows = [line for line in counters.markdown(result).splitlines() if line.startswith("| grows ")]
    assert "broken: 458,753 after 458,752" in rows[-1]  # 64 x 32 x 96 + 64 x 64 x 64, and one more


TABLE = registry.table()


class Grows(broken.Broken):
    """One more each time in the same process."""

    name = "grows"
    times = 0

    def run(self, case):
        Grows.times += 1
        return Count(macs=broken.right(case) + Grows.times - 1)


def test_what_has_no_answer_is_named_and_not_shown(examined):
    assert "analytic" not in counters.shown(examined)
    assert "analytic: no closed form" in counters.markdown(examined)


def test_a_strangers_ledger_stays_text(examined):
    name = "</script>|`x`: <b>"
    hostile = structs.replace(
        examined, components=(structs.replace(examined.components[0], name=name, group=name, derivation="<i>|"),)
    )
    page = counters.markdown(hostile)
    assert "<b>" not in page
    assert "</script>" not in page
    assert "<i>" not in page


def test_the_ledger_comes_back_and_gives_the_same_page(examined, tmp_path):
    path = tmp_path / "counters.json"
    path.write_text(examined.to_json())
    assert counters.markdown(ledger.load(path)) == counters.markdown(examined)
    assert tally.is_doctors(ledger.load(path))


# -- the scoreboard ----------------------------------------------------------------------------------------------------


def test_a_score_is_the_range_of_the_gaps(examined):
    import sample

    (score,) = (s for s in scoreboard.scores([sample.sd21_base()], examined) if s.backend == "thop-plain")
    unet = sample.sd21_base().component("unet")
    assert (score.lowest.gap, score.lowest.macs) == (unet["thop-plain"].gap, unet.recommended.macs)
    assert score.operations == sum(isinstance(c["thop-plain"], Counted) for c in examined.components)
    assert score.wrong == sum(isinstance(o := c["thop-plain"], Counted) and o.gap != 0 for c in examined.components)


def test_counters_of_another_environment_keep_their_score(examined, tmp_path):
    import sample

    models = [sample.sd21_base()]
    scoreboard.write(models, examined, tmp_path)
    other = structs.replace(scoreboard.scores(models, examined)[0], backend="elsewhere")
    text = (tmp_path / "scoreboard.json").read_bytes()
    (tmp_path / "scoreboard.json").write_bytes(text.replace(b'"backend": "thop"', b'"backend": "elsewhere"'))
    scoreboard.write(models, examined, tmp_path)
    page = (tmp_path / "scoreboard.md").read_text()
    assert f"| {other.backend} " in page
    assert "| thop " in page


def test_a_broken_scoreboard_is_one_clear_line(examined, tmp_path):
    (tmp_path / "scoreboard.json").write_text("{}")
    with pytest.raises(CrosscheckError, match=r"not a scoreboard: .*; delete it"):
        scoreboard.write([], examined, tmp_path)


# -- fuzzing -----------------------------------------------------------------------------------------------------------


@given(program=programs())
def test_a_program_costs_what_it_says_and_what_torch_counts(program):
    """By definition as it was written, by the trace, and by torch's own counter on the trace of it."""
    module = program.module()
    inputs = [torch.zeros(shape, device="meta") for shape in program.shapes]
    import crosscheck

    with torch.no_grad():
        assert crosscheck.check(module, *inputs, backends=()).recommended.macs == program.macs


@pytest.mark.parametrize("programs", [4, pytest.param(20, marks=pytest.mark.thorough)])
def test_the_same_seed_gives_the_same_verdict(programs):
    runs = [list(fuzz(["flop_counter"], programs, 7)) for _ in range(2)]
    by_name = [{result.backends: result for result in run} for run in runs]
    assert by_name[0] == by_name[1]
    assert all(result.programs == programs and not result.finding for result in runs[0])


class ForgetsConvolutions(broken.Broken):
    """Counts a convolution of stride 2 as one of stride 1 with as many outputs: nothing; but a bias as a MAC."""

    name = "counts-biases"

    def run(self, case):
        biased = [m for m in case.module.modules() if isinstance(m, torch.nn.Linear) and m.bias is not None]
        return Count(macs=broken.right(case) + len(biased))


@pytest.fixture
def with_a_broken_counter(monkeypatch):
    monkeypatch.setattr(registry, "table", lambda: {**TABLE, "counts-biases": f"{__name__}:ForgetsConvolutions"})


@pytest.mark.parametrize("programs", [10, pytest.param(200, marks=pytest.mark.thorough)])
def test_what_is_not_explained_is_shrunk_to_a_program(with_a_broken_counter, programs):
    results = {result.backends: result for result in fuzz(["counts-biases"], programs, 3)}
    assert results["aten",].finding is None
    finding = results["counts-biases",].finding
    assert finding.backend == "counts-biases"
    lines = [line.strip() for line in finding.repro.splitlines() if re.match(r"\s+x\d+ = ", line)]
    assert len(lines) == 1  # one linear layer is all it takes
    assert (
        re.search(r"self\.m\d+ = (nn\.\w*Linear|OwnLinear)\(.*bias=True", finding.repro)
        or "nn.Linear(" in finding.repro
    )
    # torch itself is enough to build it: the program is complete
    code = finding.repro.partition('if __name__ == "__main__":')[0] + "\nprint(Root())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout


def test_a_tool_that_dies_is_said_and_costs_no_other(monkeypatch):
    monkeypatch.setattr(registry, "table", lambda: {**TABLE, "dies": "broken:Dies"})
    results = {result.backends: result for result in fuzz(["dies", "flop_counter"], 5, 1)}
    assert results["flop_counter",].programs == 5
    assert "its process died" in results["dies",].error


# -- the command -------------------------------------------------------------------------------------------------------


def test_the_command_writes_page_ledger_and_chart(tmp_path):
    done = cli("doctor", "-b", "flop_counter", "-o", tmp_path)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"counters.md", "counters.json", "counters.svg"}
    assert "torch.baddbmm" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-b", "no-such"), "unknown backend 'no-such'"),
        (("--fuzz", "0"), "allowed: a whole number from 1"),
        (("--fuzz", "5", "-o", "x"), "leave out -o, --json and --format"),
        (("--seed", "3"), "goes with --fuzz N"),
    ],
)
def test_bad_input_is_one_line(arguments, words, tmp_path):
    assert words in refused(cli("doctor", *arguments, cwd=tmp_path))


def test_fuzzing_without_hypothesis_says_how_to_get_it():
    assert "pip install hypothesis" in refused(cli("doctor", "--fuzz", "1", without=["hypothesis"]))


@pytest.mark.skipif(bool(cpu.unavailable()), reason=cpu.unavailable())
def test_the_trace_is_held_against_what_the_cpu_executed(monkeypatch):
    assert _contradicted(PLAIN) == ""
    monkeypatch.setattr(blas_log, "executed", lambda execution: execution.macs + 1)
    assert _contradicted(PLAIN) == "aten counts 24 MACs for addmm; the CPU executed 25"  # 2 x 6 @ 6 x 2
