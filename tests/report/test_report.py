"""The report: right to the last MAC as printed, the same bytes each time, and safe with a stranger's strings."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest
import sample
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from msgspec.structs import replace
from places import HELPERS, ROOT

from crosscheck import causes
from crosscheck.records import Component, Counted, Failed, Generation, Ledger, Outcome, Recommended, Skipped, Term
from crosscheck.report import comparison, verdict
from crosscheck.report.pages import overview, terminal
from crosscheck.report.pages import run as report
from crosscheck.report.pages import versions as drift
from crosscheck.report.text import escape, giga, percent, plain, ratio, signed_percent, stem


def section(text: str, heading: str) -> str:
    """The text under one heading, up to the next."""
    return re.split(r"^#+ ", text.split(f"\n{heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def tables(text: str) -> list[list[list[str]]]:
    """Every table as rows of cells, the line of dashes left out."""
    blocks = re.findall(r"(?:^\|.*\n?)+", text, flags=re.MULTILINE)
    rows = [[[c.strip() for c in line.strip("|").split("|")] for line in block.splitlines()] for block in blocks]
    return [[table[0], *table[2:]] for table in rows]


def number(cell: str) -> int:
    """What a reader reads; an empty cell adds nothing."""
    return int(cell.replace(",", "").strip("*") or 0)


def with_outcome(ledger: Ledger, component: str, backend: str, outcome: Outcome) -> Ledger:
    parts = [
        replace(part, backends=part.backends | {backend: outcome}) if part.name == component else part
        for part in ledger.components
    ]
    return replace(ledger, components=tuple(parts))


def with_recommended(ledger: Ledger, component: str, total: Recommended) -> Ledger:
    parts = [replace(part, recommended=total) if part.name == component else part for part in ledger.components]
    return replace(ledger, components=tuple(parts))


def off_by(outcome: Outcome, macs: int) -> Counted:
    """``outcome`` with a residual of ``macs``."""
    assert isinstance(outcome, Counted)
    return replace(outcome, macs=outcome.macs + macs, gap=outcome.gap + macs, residual=macs)


SAMPLE = sample.sd21_base()
RESIDUAL = with_outcome(SAMPLE, "unet", "fvcore", off_by(SAMPLE.component("unet")["fvcore"], -1_234))


@pytest.mark.parametrize("ledger", [SAMPLE, RESIDUAL], ids=["explained", "residual"])
@pytest.mark.parametrize("name", ["text_encoder", "unet", "vae_decoder"])
def test_bridges_add_up_as_printed(ledger: Ledger, name: str) -> None:
    printed = section(report.markdown(ledger), f"### {name}")
    component = ledger.component(name)
    seen = {}
    for header, *rows in tables(printed):
        for column, backend in enumerate(header[1:], start=1):
            *summands, total = [number(row[column]) for row in rows]
            assert sum(summands) == total
            assert summands[0] == component.recommended.macs
            seen[backend] = total
    off = {b: o.macs for b, o in component.backends.items() if isinstance(o, Counted) and o.gap}
    assert seen == off
    (exact,) = re.findall(r"^No gap: (.*)\.$", printed, flags=re.MULTILINE)
    assert re.split(", | and ", exact) == [b for b in component.backends if b not in off]


def test_a_bridge_of_many_backends_is_split_and_loses_none() -> None:
    unet = SAMPLE.component("unet")
    many = replace(unet, backends={f"b{n}": off_by(unet["thop"], n) for n in range(13)})
    printed = tables(section(report.markdown(replace(SAMPLE, components=(many,))), "### unet"))
    assert [len(header) - 1 for header, *_ in printed] == [4, 4, 5]
    assert [name for header, *_ in printed for name in header[1:]] == list(many.backends)


def test_reference_by_op_adds_up_as_printed() -> None:
    lines = re.findall(r"Reference: ([\d,]+) MACs = (.*)\.", report.markdown(SAMPLE))
    assert len(lines) == 3
    for total, ops in lines:
        assert number(total) == sum(number(op) for op in re.findall(r"[\d,]{2,}", ops))


def test_totals_add_up_as_printed() -> None:
    forward, generation = tables(section(report.markdown(SAMPLE), "## Recommended totals"))
    unet = ["unet", "402,128,732,160", "804,257,464,320", "402.129", "confirmed"]
    assert unet in [row[:5] for row in forward]
    _, *parts, total = generation
    assert [number(cell) for cell in total[3:5]] == [26_234_368_094_208, 52_468_736_188_416]
    assert [sum(number(part[n]) for part in parts) for n in (3, 4)] == [26_234_368_094_208, 52_468_736_188_416]
    assert [part[1:3] + part[5:] for part in parts] == [
        ["2", "1", "0.17 %"],
        ["31", "2", "95.04 %"],
        ["1", "1", "4.79 %"],
    ]


def test_headline_has_every_backend_of_every_component() -> None:
    (_, *rows), *_ = tables(section(report.markdown(SAMPLE), "## Every backend"))
    outcomes = [(b, o) for c in SAMPLE.components for b, o in c.backends.items() if isinstance(o, Counted)]
    assert [(row[1], number(row[2])) for row in rows] == [(b, o.macs) for b, o in outcomes]
    first = [f"**{c.name}**" if n == 0 else "" for c in SAMPLE.components for n in range(8)]
    assert [row[0] for row in rows] == first
    assert [row[4] for row in rows] == ["explained" if o.gap else "exact" for _, o in outcomes]
    # without attention, 63,026,135,040, and with four an element of LayerNorm, 138,608,640, of 402,128,732,160
    assert [row[3:] for row in rows if row[1] == "thop-plain"][1] == ["-15.639 %", "explained"]


def test_breakdown_by_op_and_by_component() -> None:
    (_, *rows), *_ = tables(section(report.markdown(SAMPLE), "## Where the MACs are"))
    # conv 209,180,426,240, linear 129,922,170,880, attention 63,026,135,040 of 402,128,732,160; 62 times that of
    # 26,234,368,094,208
    assert ["unet", "52.02 %", "32.31 %", "15.67 %", "0 %", "95.04 %"] in rows


def test_total_without_the_safety_checker_beside_the_total() -> None:
    checker = sample.part("safety_checker", 1, 1, 1_000)
    generation = replace(SAMPLE.generation, components=(*SAMPLE.generation.components, checker), outside_macs=77)
    text = section(report.markdown(replace(SAMPLE, generation=generation)), "## Recommended totals")
    (row,) = [row for row in tables(text)[1] if row[0] == "total without safety_checker"]
    assert [number(cell) for cell in row[3:5]] == [26_234_368_094_208, 52_468_736_188_416]
    assert "beside the total and not in it: 77 MACs" in text
    assert "without" not in section(report.markdown(SAMPLE), "## Recommended totals")


def test_distinct_cases_are_listed_where_there_are_several() -> None:
    decoder = SAMPLE.generation.components[2]
    two = replace(decoder, batch_size=None, cases=(decoder.cases[0], replace(decoder.cases[0], aten=5)))
    text = report.markdown(replace(SAMPLE, generation=replace(SAMPLE.generation, components=(two,))))
    assert "The distinct inputs of a component" in text
    assert "varies" in text
    assert "The distinct inputs of a component" not in report.markdown(SAMPLE)


def test_causal_total_beside_the_dense_one() -> None:
    # 23 layers 1,024 wide; of 77 x 77 pairs 77 x 78 / 2 are on and below the diagonal
    total = 22_563_616_768 - 23 * 2 * 1024 * (77 * 77 - 77 * 78 // 2)
    assert f"counted as its triangle: {total:,} MACs" in report.markdown(SAMPLE)


NOTHING = Recommended(status="uncounted", reason="no rule for my::op")
BAD = {
    "residual": (RESIDUAL, "fvcore leaves a residual of -1,234 MACs in unet"),
    "unequal": (
        with_recommended(SAMPLE, "unet", Recommended(status="unequal", reason="conv differs by 1")),
        "closed form and trace differ for unet (conv differs by 1)",
    ),
    "uncounted": (with_recommended(SAMPLE, "unet", NOTHING), "unet could not be counted (no rule for my::op)"),
    "generation": (
        replace(SAMPLE, generation=replace(SAMPLE.generation, recommended=NOTHING)),
        "the generation could not be counted (no rule for my::op)",
    ),
    "failed": (
        with_outcome(SAMPLE, "unet", "thop", Failed(error="TypeError")),
        "thop failed on unet and no cause predicts it (TypeError)",
    ),
}


@pytest.mark.parametrize(("ledger", "words"), BAD.values(), ids=BAD)
def test_what_is_wrong_is_the_verdict(ledger: Ledger, words: str) -> None:
    assert verdict.problems(ledger) == [words]
    assert f"**Not settled: {words}.**" in report.markdown(ledger).splitlines()


def test_many_problems_are_counted_not_listed() -> None:
    failed = {name: Failed(error="no") for name in "abcde"}
    ledger = replace(SAMPLE, components=(replace(SAMPLE.component("unet"), backends=failed),))
    assert len(verdict.problems(ledger)) == 5
    assert verdict.sentence(ledger).endswith("; c failed on unet and no cause predicts it (no) and 2 more.")


EXPLAINED = "All 8 backends are explained to the last MAC for 3 components"
CONFIRMED = "the recommended totals are confirmed by closed form and trace."
FINE = {
    "all": (
        SAMPLE,
        f"{EXPLAINED}; {CONFIRMED}",
    ),
    "skipped": (
        with_outcome(SAMPLE, "unet", "calflops", Skipped(reason="not installed")),
        f"{EXPLAINED} (1 skipped); {CONFIRMED}",
    ),
    "known": (
        with_outcome(SAMPLE, "unet", "calflops", Failed(error="boom", predicted_by="calflops-kwargs")),
        f"{EXPLAINED} (1 failed (known)); {CONFIRMED}",
    ),
    "unconfirmed": (
        with_recommended(SAMPLE, "unet", replace(SAMPLE.component("unet").recommended, status="unconfirmed")),
        f"{EXPLAINED}; the recommended totals are unconfirmed (no closed form for unet).",
    ),
    "nothing": (replace(SAMPLE, components=()), "No backend counted anything."),
}


@pytest.mark.parametrize(("ledger", "words"), FINE.values(), ids=FINE)
def test_nothing_wrong_is_the_verdict(ledger: Ledger, words: str) -> None:
    assert verdict.problems(ledger) == []
    assert verdict.sentence(ledger) == words
    assert report.markdown(ledger).splitlines()[2] == f"**{words}**"


def test_an_unknown_total_is_never_zero() -> None:
    ledger = replace(
        with_recommended(SAMPLE, "unet", NOTHING),
        generation=Generation(components=(), recommended=NOTHING, outside_macs=0),
    )
    forward, *_ = tables(section(report.markdown(ledger), "## Recommended totals"))
    assert ["unet", "unknown", "unknown", "unknown", "uncounted", ""] in forward
    assert "**unet** is uncounted: no rule for my::op" in report.markdown(ledger)


def test_with_nothing_recommended_the_bridge_starts_from_the_gap() -> None:
    ledger = with_recommended(SAMPLE, "unet", Recommended(status="unequal"))
    (header, reference, *_), *_ = tables(section(report.markdown(ledger), "### unet"))
    assert reference == ["reference"] + ["402,128,732,160"] * (len(header) - 1)


def test_skipped_and_failed_give_their_reasons_once() -> None:
    ledger = with_outcome(SAMPLE, "unet", "torchinfo", Skipped(reason="not installed"))
    ledger = with_outcome(ledger, "text_encoder", "torchinfo", Skipped(reason="not installed"))
    ledger = with_outcome(ledger, "unet", "calflops", Failed(error="KeyError: 'x'", predicted_by="a-known-failure"))
    text = report.markdown(ledger)
    missing = tables(section(text, "## Not counted, skipped, failed"))[1]
    assert ["torchinfo", "text_encoder and unet", "skipped", "not installed"] in missing
    prediction = "[a-known-failure](#cause-a-known-failure): KeyError: 'x'"
    assert ["calflops", "unet", "failed (known)", prediction] in missing
    assert "**a-known-failure**: No explanation on record." in text


def test_what_tools_passed_over_other_ops_and_notes() -> None:
    text = section(report.markdown(SAMPLE), "## Not counted, skipped, failed")
    assert "aten::scaled_dot_product_attention (32)" in text
    assert "478,494,720" in text
    assert "- **unet**: the checkpoint's class predicts noise" in text


@pytest.mark.parametrize("ledger", [SAMPLE, RESIDUAL, sample.hostile()], ids=["sample", "residual", "hostile"])
def test_every_cause_leads_to_one_explanation(ledger: Ledger) -> None:
    text = report.markdown(ledger)
    targets = re.findall(r'<a id="([^"]+)"></a>', text)
    assert len(targets) == len(set(targets)) > 0
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) == set(targets)


def test_explanations_name_their_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        causes, "CAUSES", {"thop-layernorm-4": SimpleNamespace(summary="4 an element", source="a.py:3", releases=())}
    )
    monkeypatch.setattr(
        causes,
        "PREDICTED_FAILURES",
        {"tool-breaks": SimpleNamespace(summary="it breaks", source="b.py:5", releases=())},
    )
    ledger = with_outcome(SAMPLE, "unet", "tool", Failed(error="x", predicted_by="tool-breaks"))
    text = section(report.markdown(ledger), "## Why they differ")
    assert "**thop-layernorm-4**: 4 an element<br>Source: a.py:3" in text
    assert "**tool-breaks**: it breaks<br>Source: b.py:5" in text
    assert "**attention-not-counted**: No explanation on record." in text


def test_versions_are_printed_as_they_are() -> None:
    text = report.markdown(replace(SAMPLE, components=(), environment={"python": "3.10", "x": "1e5"}))
    assert [row[1] for row in tables(section(text, "## Provenance"))[0][1:]] == ["3.10", "1e5"]


def slower(component: Component) -> Component:
    backends = {n: replace(o, seconds=9.87654) if isinstance(o, Counted) else o for n, o in component.backends.items()}
    return replace(component, backends=backends)


def test_same_bytes_for_the_same_ledger_timings_aside() -> None:
    slowed = replace(SAMPLE, components=tuple(slower(component) for component in SAMPLE.components))
    assert report.markdown(SAMPLE) == report.markdown(slowed) == report.markdown(sample.sd21_base())


def test_no_clock_host_path_or_duration() -> None:
    text = report.markdown(SAMPLE, ("sd21-base.svg",))
    for private in ("0.123", socket.gethostname(), str(ROOT), str(Path.home()), "second"):
        assert private not in text
    assert not re.search(r"\b20\d\d-\d\d|\d\d:\d\d", text)


class Page(HTMLParser):
    """What a browser sees: tags with their attributes, and the text of table cells."""

    def __init__(self, markdown: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[str] = []
        self.feed(MarkdownIt("commonmark").enable("table").render(markdown))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in {"td", "th"}:
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        if self.cells:
            self.cells[-1] += data.strip("\n")


TABLE = {"table", "thead", "tbody", "tr", "th", "td"}
OURS = TABLE | {"h1", "h2", "h3", "p", "strong", "ul", "li", "details", "summary", "a", "br", "img"}


@pytest.mark.parametrize("page", ["report", "comparison", "index"])
def test_a_strangers_strings_stay_text(page: str) -> None:
    hostile = sample.hostile()
    pages = {
        "report": report.markdown(hostile, ("x.svg",)),
        "comparison": drift.markdown(
            comparison.compare([hostile, replace(hostile, environment={sample.HOSTILE: "2"})])
        ),
        "index": overview.index([hostile]),
    }
    text = pages[page]
    seen = Page(text)
    assert {tag for tag, _ in seen.tags} <= OURS
    assert [attributes["src"] for tag, attributes in seen.tags if tag == "img"] == ["x.svg"] * (page == "report")
    links = [attributes["href"] or "" for tag, attributes in seen.tags if tag == "a" and "href" in attributes]
    assert all(re.fullmatch(r"#cause-[a-z0-9-]+|[\w.-]+\.(md|json)", link) for link in links)
    assert plain(sample.HOSTILE) in seen.cells
    assert text.isprintable() or set(filter(lambda c: not c.isprintable(), text)) == {"\n"}
    for rows in tables(text):
        assert len({len(row) for row in rows}) == 1


NASTY = st.text(alphabet="|`*_[]()<>&#$~\\!-+=.:/@ 1aw\n\t\"'{}", max_size=30) | st.text(max_size=30)


@given(text=NASTY)
def test_escaped_text_reads_as_written_in_a_cell_and_in_a_list(text: str) -> None:
    wanted = plain(text)
    assert Page(f"| a | b |\n|---|---|\n| {escape(text)} | end |\n").cells[2:] == [wanted, "end"]
    listed = MarkdownIt("commonmark").parse(f"- {escape(text)}")
    assert [token.type for token in listed].count("bullet_list_open") == 1
    children = [child for token in listed if token.type == "inline" for child in token.children or []]
    assert "".join(child.content for child in children) == wanted
    assert {child.type for child in children} <= {"text", "text_special"}


@pytest.mark.parametrize("address", ["https://evil.example", "http://x", "www.evil.example", "WWW.x.y"])
def test_addresses_do_not_become_links(address: str) -> None:
    assert not re.search(r"://|www\.", escape(f"see {address}"), flags=re.IGNORECASE)


@pytest.mark.parametrize("name", ["text_encoder", "vae_decoder", "0.1.1.post2209072238", "aten::add", "thop-plain"])
def test_ordinary_names_stay_searchable(name: str) -> None:
    assert escape(name) == name


def test_long_strings_are_cut() -> None:
    assert len(plain("x" * 10_000_000)) == 600


def test_ratios_are_rounded_once_from_the_exact_fraction() -> None:
    assert ratio(26_234_368_094_208, 10**12) == "26.234"
    assert ratio(10**30 + 5 * 10**26, 10**30) == "1.000"
    assert ratio(2_675, 1_000, 2) == "2.68"
    assert giga(1_257_259_466_752) == "1,257.259"
    assert percent(1, 10**12) == "<0.01 %"
    assert percent(-1, 10**12) == "-<0.01 %"
    assert signed_percent(1, 10**12) == "+<0.001 %"
    assert signed_percent(0, 5) == "0 %"
    assert percent(3, 0) == "n/a"


@pytest.mark.parametrize(
    ("model", "file"),
    [
        ("sd21-base", "sd21-base"),
        ("org/name", "org--name"),
        ("../../etc/x", "--..--etc--x"),
        ("", "model"),
        ("a b)", "a_b_"),
    ],
)
def test_file_names(model: str, file: str) -> None:
    assert stem(model) == file


def test_write_gives_the_report_and_its_chart(tmp_path: Path) -> None:
    paths = report.write(replace(SAMPLE, model="org/name"), tmp_path / "new")
    assert [path.name for path in paths] == ["org--name.md", "org--name.svg"]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["org--name.md", "org--name.svg"]
    assert "(org--name.svg)" in paths[0].read_text(encoding="utf-8")


def test_interrupted_writing_leaves_the_old_file_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "sd21-base.md"
    old.write_text("old")

    def interrupted(*_: Path) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        report.write(SAMPLE, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["sd21-base.md"]
    assert old.read_text() == "old"


def run_without(*packages: str, folder: Path) -> list[Path]:
    """Write the sample's report in a process where ``packages`` can't be imported."""
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({packages!r}))\n"
        "import pathlib, sample\nfrom crosscheck.report import comparison\n"
        "from crosscheck.report.pages import overview, run, versions\n"
        "run.write(sample.sd21_base(), pathlib.Path(sys.argv[1]))\n"
        "versions.markdown(comparison.compare([sample.sd21_base()] * 2)); overview.index([sample.sd21_base()])\n"
    )
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{HELPERS}"}
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True, env=environment)
    return sorted(folder.iterdir())


def test_renders_where_torch_is_not_installed(tmp_path: Path) -> None:
    files = run_without("torch", "diffusers", "transformers", "thop", "fvcore", folder=tmp_path)
    assert [file.name for file in files] == ["sd21-base.md", "sd21-base.svg"]
    assert files[0].read_text(encoding="utf-8") == report.markdown(SAMPLE, ("sd21-base.svg",))


def test_without_matplotlib_the_report_says_how_to_get_the_chart(tmp_path: Path) -> None:
    (file,) = run_without("matplotlib", folder=tmp_path)
    text = file.read_text(encoding="utf-8")
    assert text == report.markdown(SAMPLE)
    assert "pip install 'crosscheck[report]'" in text
    assert "![" not in text
    assert "pip install" not in report.markdown(SAMPLE, ("sd21-base.svg",))


def test_index_links_reports_and_ledgers() -> None:
    text = overview.index([SAMPLE, replace(RESIDUAL, model="org/name")])
    generations, forwards, counters = tables(text)
    assert [
        "[sd21-base](sd21-base.md)",
        "26,234,368,094,208",
        "26.234",
        "confirmed",
        "[JSON](sd21-base.json)",
    ] in generations
    assert generations[2][0] == "[org/name](org--name.md)"
    assert generations[2][3] == "**not settled**"
    assert ["", "unet", "402,128,732,160", "confirmed"] in forwards
    # thop as shipped: 339,241,205,760 of 402,128,732,160 is 15.638 % less
    row = dict(zip(counters[0], next(row for row in counters if row[0] == "sd21-base"), strict=True))
    assert (row["One forward, GMACs"], row["thop-plain"]) == ("402.129", "-15.64 %")


def test_summary_for_a_terminal() -> None:
    text = terminal.summary(RESIDUAL)
    # 402,128,732,160; norms and upsampling of 402,800,640; and 1,234 less
    assert re.search(r"^unet +fvcore +402,531,531,566 +\+0\.100 % +residual$", text, flags=re.MULTILINE)
    assert re.search(r"^one generation +26,234,368,094,208 +52,468,736,188,416 +confirmed$", text, flags=re.MULTILINE)
    assert text.endswith(f"\n{verdict.sentence(RESIDUAL)}\n")
    assert "&#" not in terminal.summary(sample.hostile())
    assert plain(sample.HOSTILE) in terminal.summary(sample.hostile()).splitlines()
    assert "\x00" not in terminal.summary(sample.hostile())


def test_a_cause_named_twice_is_one_summand() -> None:
    unet = SAMPLE.component("unet")
    twice = replace(unet["thop"], terms=(Term(cause="x", macs=138_608_000), Term(cause="x", macs=640)))
    text = report.markdown(with_outcome(SAMPLE, "unet", "thop", twice))
    assert [row[1] for row in tables(section(text, "### unet"))[0] if row[0].startswith("[x]")] == ["+138,608,640"]
