"""The page to explore: exact in its data and in a browser, alone on a disc, safe with a stranger's strings."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import sample
import tiny
from command import TORCH_AND_TOOLS, cli, refused
from msgspec.structs import replace
from places import REPORTS

from crosscheck import causes
from crosscheck import ledger as files
from crosscheck.records import Counted, Ledger, Recommended

pytest.importorskip("plotly")

from crosscheck.report.explore import page as explore

SHIPPED = sorted(path.stem for path in REPORTS.glob("*.json") if path.stem not in {"counters", "scoreboard"})
HEADLINE = {"conv", "linear", "attention", "matmul"}

needs_reports = pytest.mark.skipif(not SHIPPED, reason="the shipped ledgers are not here")


@cache
def shipped(model: str) -> Ledger:
    return files.load(REPORTS / f"{model}.json")


@cache
def components(model: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = explore.data(shipped(model))["components"]
    return found


# -- the data ----------------------------------------------------------------------------------------------------------


def by_path(component: dict[str, Any]) -> dict[str, Counter[str]]:
    """MACs of each module by itself, by operation."""
    return {
        path: Counter({op: int(n) for op, n in row["macs"].items()})
        for row in component["modules"]
        for path in row["paths"]
    }


def seen_by(component: dict[str, Any], backend: dict[str, Any]) -> dict[str, Counter[str]]:
    """The same as a counter sees it: what it misses is taken from an operation, what it adds goes by its cause."""
    seen = by_path(component)
    for term in backend["terms"]:
        for row, op, each in term["placed"] or []:
            for path in component["modules"][row]["paths"]:
                seen[path][op if int(each) < 0 else term["cause"]] += int(each)
    return seen


@needs_reports
@pytest.mark.parametrize("model", SHIPPED)
def test_modules_add_up_to_the_recommended_total(model: str) -> None:
    for component, held in zip(components(model), shipped(model).components, strict=True):
        by_op = sum(by_path(component).values(), Counter())
        assert by_op == Counter({op: n for op, n in held.recommended.by_op.items() if n})
        assert by_op.total() == int(component["macs"]) == held.recommended.macs
        other = Counter(dict.fromkeys(held.other_ops, 0))
        for row in component["modules"]:
            other.update({op: int(n) * len(row["paths"]) for op, n in row["other"].items()})
        assert other == held.other_ops


@needs_reports
@pytest.mark.parametrize("model", SHIPPED)
def test_modules_and_what_is_not_placed_add_up_to_each_counters_number(model: str) -> None:
    for component, held in zip(components(model), shipped(model).components, strict=True):
        for backend in component["backends"]:
            outcome = held[backend["name"]]
            assert ("macs" in backend) == isinstance(outcome, Counted)
            if not isinstance(outcome, Counted):
                continue
            seen = seen_by(component, backend)
            assert min(n for work in seen.values() for n in work.values()) >= 0
            placed = {term["cause"] for term in backend["terms"] if term["placed"] is not None}
            rest = outcome.residual + sum(term.macs for term in outcome.terms if term.cause not in placed)
            assert sum(work.total() for work in seen.values()) + rest == outcome.macs


@needs_reports
def test_nearly_every_term_of_the_shipped_ledgers_is_placed() -> None:
    """What is left depends on the whole graph: sizes that are tensors in a trace, einsums, what reaches no output."""
    left = {
        term["cause"]
        for model in SHIPPED
        for component in components(model)
        for backend in component["backends"]
        for term in backend.get("terms", ())
        if term["placed"] is None
    }
    assert left <= {"torchprofile-size-products", "torchprofile-einsum", "torchprofile-unused", "fvcore-einsum"}


@needs_reports
def test_attention_is_where_it_ran() -> None:
    """Of equal modules, those over 4,096 tokens cost more than those over 1,024, and text costs least."""
    (unet,) = (c for c in components("sd21-base") if c["name"] == "unet")
    block = "{}.attentions.0.transformer_blocks.0.{}"
    paths = by_path(unet)
    # heads x queries x keys x (64 for the keys' width + 64 for the values')
    assert paths[block.format("down_blocks.0", "attn1")] == {"attention": 5 * 4096 * 4096 * 128}
    assert paths[block.format("down_blocks.0", "attn2")] == {"attention": 5 * 4096 * 77 * 128}
    assert paths[block.format("down_blocks.1", "attn1")] == {"attention": 10 * 1024 * 1024 * 128}


@needs_reports
def test_a_counter_that_misses_attention_has_none_and_charges_norms_where_they_are() -> None:
    (unet,) = (c for c in components("sd21-base") if c["name"] == "unet")
    (thop,) = (b for b in unet["backends"] if b["name"] == "thop-plain")
    seen = seen_by(unet, thop)
    assert sum(work["attention"] for work in seen.values()) == 0
    norm = "down_blocks.0.attentions.0.transformer_blocks.0.norm1"
    assert seen[norm] == {"thop-layernorm-4": 4 * 4096 * 320}  # 4 an element: 64 x 64 tokens of 320


def with_unet(ledger: Ledger, **changes: Any) -> Ledger:
    parts = [replace(part, **changes) if part.name == "unet" else part for part in ledger.components]
    return replace(ledger, components=tuple(parts))


def unet_of(ledger: Ledger) -> dict[str, Any]:
    return next(c for c in explore.data(ledger)["components"] if c["name"] == "unet")


def test_a_term_that_is_no_sum_of_its_shares_is_not_placed() -> None:
    ledger = tiny.ledger()
    unet = ledger.component("unet")
    thop = unet["thop"]
    assert isinstance(thop, Counted)
    (term,) = thop.terms
    more = replace(thop, terms=(replace(term, macs=term.macs + 1),), macs=thop.macs + 1, gap=thop.gap + 1)
    for outcome, placed in ((thop, True), (more, False)):
        data = unet_of(with_unet(ledger, backends=unet.backends | {"thop": outcome}))
        (backend,) = (b for b in data["backends"] if b["name"] == "thop")
        assert [t["placed"] is not None for t in backend["terms"]] == [placed]


def test_a_term_that_takes_more_than_there_is_is_not_placed() -> None:
    """The record of attention says more than its operations do: what is missing of it can't be taken from them."""
    ledger = tiny.ledger()
    unet = ledger.component("unet")
    query_only = unet["thop-query-only"]
    assert isinstance(query_only, Counted)
    assert unet.census is not None
    assert unet.recommended.macs is not None
    more = tuple(replace(row, macs=row.query_only_macs + 3 * 10**12) for row in unet.census.attention)  # of 3 and of 1
    census = replace(unet.census, attention=more)
    terms = causes.explain("thop-query-only", ledger.environment, census)
    gap = sum(term.macs for term in terms)
    outcome = replace(query_only, terms=terms, gap=gap, macs=unet.recommended.macs + gap)
    ledger = with_unet(ledger, census=census, backends={"thop-query-only": outcome})
    (backend,) = unet_of(ledger)["backends"]
    assert [term["cause"] for term in backend["terms"] if term["placed"] is None] == ["query-only-n-by-n"]


def test_modules_that_can_not_have_run_the_same_are_not_told_apart() -> None:
    ledger = sample.sd21_base()
    (row,) = unet_of(ledger)["modules"]
    assert row["macs"] == {}  # 5 calls of attention in 2 modules
    census = replace(sample.census(), attention=())
    (row,) = unet_of(with_unet(ledger, census=census))["modules"]
    assert row["macs"] == {"linear": str(838_860_800 // 2)}
    assert row["paths"] == ["down.0.to_q", "down.1.to_q"]


def test_a_generation_is_a_whole_number_of_forwards_or_not_taken_apart() -> None:
    ledger = sample.sd21_base()
    assert [c["times"] for c in explore.data(ledger)["components"]] == ["2", "62", "1"]
    assert ledger.generation is not None
    encoder, *others = ledger.generation.components
    (case,) = encoder.cases
    assert case.macs is not None
    shorter = replace(case, calls=1, macs=case.macs - 1)
    varies = replace(encoder, cases=(replace(case, calls=1), shorter), macs=2 * case.macs - 1)
    generation = replace(ledger.generation, components=(varies, *others))
    assert explore.data(replace(ledger, generation=generation))["components"][0]["times"] is None


# -- the file ----------------------------------------------------------------------------------------------------------


def test_same_bytes_in_another_process_and_without_torch(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(tiny.ledger().to_json())
    for folder in ("one", "two"):
        done = cli("report", "a.json", "-o", folder, "--html", without=TORCH_AND_TOOLS, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert f"crosscheck: wrote {folder}/tiny.html" in done.stderr.splitlines()
    one, two = ((tmp_path / folder / "tiny.html").read_bytes() for folder in ("one", "two"))
    assert one == two
    assert {path.name for path in (tmp_path / "one").iterdir()} == {"tiny.html", "tiny.md", "tiny.svg"}
    for private in (socket.gethostname(), str(tmp_path), str(Path.home())):
        assert private.encode() not in one.split(b'id="data">')[1].split(b"</script>")[0]


def test_run_writes_the_page_beside_the_report_or_here(tmp_path: Path) -> None:
    tiny.folder(tmp_path / "tiny")
    here = cli("run", "tiny", "-b", "thop", "--html", cwd=tmp_path)
    beside = cli("run", "tiny", "-b", "thop", "-o", "out", "--html", cwd=tmp_path)
    assert (here.returncode, beside.returncode) == (0, 0), here.stderr + beside.stderr
    assert (tmp_path / "tiny.html").read_bytes() == (tmp_path / "out/tiny.html").read_bytes()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "tiny.html",
        "tiny.json",
        "tiny.md",
        "tiny.svg",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "tiny", "tiny.html"]


@pytest.mark.parametrize("command", [("run", "tiny"), ("report", "a.json", "-o", "out")], ids=["run", "report"])
def test_without_plotly_one_line_says_how_to_install_it_and_nothing_is_run(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    done = cli(*command, "--html", without=("plotly",), cwd=tmp_path)
    assert refused(done) == (
        "crosscheck: error: --html needs plotly, which is not installed; pip install 'crosscheck[report]'"
    )
    assert not [*tmp_path.iterdir()]


class Tags(HTMLParser):
    """Tags outside of scripts, and what scripts there are."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


@pytest.mark.parametrize("ledger", [sample.sd21_base(), sample.hostile()], ids=["sample", "hostile"])
def test_the_file_is_whole_and_loads_nothing(ledger: Ledger) -> None:
    page = Tags(explore.html(ledger)).seen
    assert [attributes.get("type") for tag, attributes in page if tag == "script"] == ["application/json", None, None]
    assert not {tag for tag, _ in page} & {"a", "link", "img", "iframe", "object", "embed", "base"}
    assert not [attributes for _, attributes in page if attributes.keys() & {"src", "href", "onerror", "onload"}]
    (policy,) = (a["content"] for tag, a in page if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.split(" ", 1) for rule in (policy or "").split("; "))
    assert re.fullmatch(r"'sha256-[\w+/]{43}=' 'sha256-[\w+/]{43}='", rules.pop("script-src"))
    assert rules == {
        "default-src": "'none'",
        "style-src": "'unsafe-inline'",
        "img-src": "data: blob:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }


def test_data_can_not_end_its_script() -> None:
    name = "<!--<script></script><script>alert(1)</script>&amp;"
    text = explore.html(replace(sample.hostile(), model=name)).split('id="data">', 1)[1].split("</script>", 1)[0]
    assert json.loads(text)["model"] == name
    assert not set("<>&\u2028\u2029") & set(text)


def test_every_colour_is_that_of_the_charts() -> None:
    from crosscheck.report.charts.style import COLOURS

    colours = explore.data(sample.sd21_base())["colours"]
    assert {colours[op] for op in HEADLINE} == set(COLOURS[:4])
    assert set(colours.values()) <= set(COLOURS)


# -- in a browser ------------------------------------------------------------------------------------------------------

PROGRAMS = [("chromium", "chromium-browser", "google-chrome"), ("chromedriver",)]


class Browser:
    """A page in Chromium, with what was asked of the network and what went wrong."""

    def __init__(self, programs: list[str]) -> None:
        from selenium import webdriver

        options = webdriver.ChromeOptions()
        options.binary_location = programs[0]
        for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,900"):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(programs[1]))

    def open(self, path: Path) -> None:
        self.driver.get("about:blank")
        for log in ("browser", "performance"):
            self.driver.get_log(log)
        self.driver.get(path.as_uri())

    def problems(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Addresses of all that was loaded since the page was opened."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]

    def script(self, code: str, *arguments: Any) -> Any:
        return self.driver.execute_script(code, *arguments)

    def choose(self, **choices: str) -> None:
        """Choose in several lists, and have the page drawn once."""
        code = """const lists = document.getElementById("switches").elements;
            for (const [name, value] of Object.entries(arguments[0])) lists[name].value = value;
            lists[0].dispatchEvent(new Event("change", { bubbles: true }));
            return Object.fromEntries(Object.keys(arguments[0]).map(name => [name, lists[name].value]));"""
        assert self.script(code, choices) == choices

    def text(self, selector: str) -> str:
        return self.driver.find_element("css selector", selector).text

    def wait(self, holds: Callable[[], Any]) -> Any:
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self.driver, 10).until(lambda _: holds())

    def texts(self, selector: str) -> list[str]:
        """Of all that match, shown or not."""
        return self.script("return [...document.querySelectorAll(arguments[0])].map(e => e.textContent)", selector)

    def rows(self, table: str) -> list[list[str]]:
        cells, columns = self.texts(f"#{table} tbody td"), len(self.columns(table))
        return [cells[start : start + columns] for start in range(0, len(cells), columns)]

    def columns(self, table: str) -> list[str]:
        return self.texts(f"#{table} thead th")

    def click(self, table: str, column: str) -> None:
        place = self.columns(table).index(column)
        self.driver.find_elements("css selector", f"#{table} thead button")[place].click()

    def total(self) -> int:
        return number(self.text("#total").split()[0])

    def map_root(self, element: str = "map") -> int:
        """What the map says its root is worth: the text of the node without a parent."""
        code = "const t = document.getElementById(arguments[0]).data[0]; return t.text[t.parents.indexOf('')]"
        return number(self.script(code, element))

    def leaves(self, element: str = "map") -> list[int]:
        code = """const t = document.getElementById(arguments[0]).data[0], inner = new Set(t.parents);
            return t.ids.flatMap((id, i) => inner.has(id) ? [] : [t.text[i]])"""
        return [number(text) for text in self.script(code, element)]


def number(text: str) -> int:
    return int(text.replace(",", ""))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    pytest.importorskip("selenium")
    found = [next(filter(None, map(shutil.which, names)), None) for names in PROGRAMS]
    if None in found:
        missing = "no Chromium and its driver here: apt-get install chromium chromium-driver"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(missing)
    opened = Browser([program for program in found if program])
    yield opened
    opened.driver.quit()


@pytest.fixture
def show(browser: Browser, tmp_path: Path) -> Any:
    """Opens a ledger's page; at the end nothing went wrong and nothing but the page was loaded."""
    opened: list[Path] = []

    def open_page(ledger: Ledger) -> Browser:
        opened.extend(explore.write(ledger, tmp_path))
        browser.open(opened[-1])
        return browser

    yield open_page
    assert browser.problems() == []
    assert browser.requests() == [opened[-1].as_uri()]


def forward(ledger: Ledger, backend: str = "") -> int:
    """One forward of each component, by the recommended totals or a counter's own."""
    if not backend:
        return sum(part.recommended.macs or 0 for part in ledger.components)
    return sum(o.macs for part in ledger.components for o in [part[backend]] if isinstance(o, Counted))


LEDGERS = [
    pytest.param(tiny.ledger, id="tiny"),
    pytest.param(sample.sd21_base, id="sample"),
    pytest.param(lambda: shipped("sd21-base"), id="sd21-base", marks=needs_reports),
]


@pytest.mark.parametrize("make", LEDGERS)
def test_switches_show_the_ledgers_own_numbers(show: Any, make: Any) -> None:
    ledger: Ledger = make()
    page, whole = show(ledger), ledger.generation.recommended.macs
    assert page.text("#model") == ledger.model
    assert page.total() == page.map_root() == sum(page.leaves()) == whole
    page.choose(unit="FLOPs")
    assert page.text("#total") == f"{2 * whole:,} FLOPs"
    page.choose(unit="MACs", work="forward")
    assert page.total() == page.map_root() == sum(page.leaves()) == forward(ledger)
    for part in ledger.components:
        page.choose(component=part.name)
        assert page.total() == page.map_root() == sum(page.leaves()) == part.recommended.macs
        assert f"One forward of {part.name}, the recommended total; confirmed." == page.text("#meaning")
    page.choose(component="all components", ops="all")
    assert (
        page.text("#elements")
        == f"{sum(n for part in ledger.components for n in part.other_ops.values()):,} output elements."
    )
    page.choose(work="generation", unit="FLOPs")
    parts = {part.name: part for part in ledger.generation.components}
    times = {p.name: parts[p.name].calls * parts[p.name].batch_size for p in ledger.components}
    elements = sum(times[part.name] * n for part in ledger.components for n in part.other_ops.values())
    assert page.text("#elements") == f"{elements:,} output elements."  # which are no FLOPs
    assert page.map_root("others-map") == sum(page.leaves("others-map")) == elements


@pytest.mark.parametrize("make", LEDGERS)
def test_each_counter_shows_its_own_number_and_bridge(show: Any, make: Any) -> None:
    ledger: Ledger = make()
    page = show(ledger)
    page.choose(work="forward")
    assert "Choose a counter" in page.text("#bridges")
    for backend in ledger.components[0].backends:
        counted = [(part, part[backend]) for part in ledger.components if isinstance(part[backend], Counted)]
        if not counted:
            continue
        page.choose(counter=backend, component="all components")
        assert page.total() == forward(ledger, backend)
        placed = re.findall(r" ([+-][\d,]+)[,.]", page.text("#unplaced"))
        below = sum(min(number(text), 0) for text in placed)
        assert page.map_root() == sum(page.leaves())
        assert page.map_root() + below <= page.total() <= page.map_root()
        (part, outcome) = counted[-1]
        page.choose(component=part.name)
        cells = page.texts("#bridges tbody td:nth-child(2)")
        *steps, last = map(number, cells)
        assert steps == [part.recommended.macs, *(term.macs for term in outcome.terms), outcome.residual]
        assert sum(steps) == last == outcome.macs


@needs_reports
@pytest.mark.parametrize("model", ["hunyuan-video", "hunyuan-dit"])
def test_totals_beyond_what_javascript_counts_exactly(show: Any, model: str) -> None:
    ledger = shipped(model)
    whole = ledger.generation.recommended.macs
    page = show(ledger)
    assert page.total() == page.map_root() == sum(page.leaves()) == whole
    assert page.rows("generation")[0][3] == f"{ledger.generation.components[0].macs:,}"
    page.choose(counter="thop-plain", component="transformer")
    part = next(part for part in ledger.generation.components if part.name == "transformer")
    assert (
        page.total()
        == page.map_root()
        == part.calls * part.batch_size * ledger.component("transformer")["thop-plain"].macs
    )


def test_numbers_next_to_each_other_beyond_2_to_the_53_are_told_apart(show: Any) -> None:
    ledger = sample.sd21_base()
    parts = tuple(sample.part(name, 1, 1, 2**60 + n) for n, name in enumerate(("one", "two", "three")))
    total = Recommended.from_ops("confirmed", {"conv": 3 * 2**60 + 3})
    page = show(replace(ledger, generation=replace(ledger.generation, components=parts, recommended=total)))
    page.click("generation", "MACs")
    assert [row[0] for row in page.rows("generation")] == ["three", "two", "one"]
    assert [number(row[3]) for row in page.rows("generation")] == [2**60 + 2, 2**60 + 1, 2**60]
    page.click("generation", "MACs")
    assert [row[0] for row in page.rows("generation")] == ["one", "two", "three"]


def test_headers_sort_and_say_so(show: Any) -> None:
    ledger = tiny.ledger()
    page = show(ledger)
    counted = [o.macs for part in ledger.components for o in part.backends.values() if isinstance(o, Counted)]
    page.click("counters", "MACs")
    assert [number(row[2]) for row in page.rows("counters")] == sorted(counted, reverse=True)
    state = "return [...document.querySelectorAll('#counters th')].map(h => h.getAttribute('aria-sort'))"
    assert page.script(state) == ["none", "none", "descending", *["none"] * 5]
    page.driver.switch_to.active_element.send_keys("\n")  # the header keeps the focus
    assert [number(row[2]) for row in page.rows("counters")] == sorted(counted)
    assert page.script(state)[2] == "ascending"
    page.click("counters", "Counter")
    names = [backend for part in ledger.components for backend in part.backends]
    assert [row[1] for row in page.rows("counters")] == sorted(names)
    page.choose(unit="FLOPs")  # keeps the order
    assert [row[1] for row in page.rows("counters")] == sorted(names)
    assert sorted(number(row[2]) for row in page.rows("counters")) == sorted(2 * macs for macs in counted)


@needs_reports
def test_what_has_no_number_is_last_both_ways(show: Any) -> None:
    page = show(shipped("sd21-base"))
    page.choose(component="unet")
    unknown = {
        name for name, o in shipped("sd21-base").component("unet").backends.items() if not isinstance(o, Counted)
    }
    for _ in range(2):
        page.click("counters", "Gap")
        assert {row[1] for row in page.rows("counters")[-len(unknown) :]} == unknown
    assert all(row[7] for row in page.rows("counters")[-len(unknown) :])


def test_modules_have_what_is_inside_and_a_filter(show: Any) -> None:
    ledger = tiny.ledger()
    page = show(ledger)
    page.choose(work="forward", component="text_encoder")
    rows = {row[0]: row for row in page.rows("modules")}
    whole = rows["text_encoder"]
    assert [number(cell) for cell in (whole[1], whole[4])] == [
        tiny.LINEAR + tiny.ATTENTION,
        ledger.component("text_encoder").params,
    ]
    assert whole[2] == "100.00 %"
    feed_forward = next(row for path, row in rows.items() if path.endswith(".mlp"))
    assert number(feed_forward[1]) == 2 * tiny.TOKENS * tiny.WIDTH * tiny.HIDDEN
    assert feed_forward[3] == "0"
    page.driver.find_element("id", "filter").send_keys("CLIPMLP")
    assert [row[5] for row in page.rows("modules")] == ["CLIPMLP"]
    assert page.text("#shown") == f"1 of {len(rows)} modules"
    page.driver.find_element("id", "filter").send_keys("x")
    assert page.rows("modules") == []


@needs_reports
def test_pointing_at_a_tile_tells_its_exact_number_and_a_click_goes_inside(show: Any) -> None:
    from selenium.webdriver import ActionChains

    page = show(shipped("sd21-base"))
    page.choose(work="forward", component="unet")
    slice_of = """return [...document.querySelectorAll('#map g.slice')]
        .find(slice => slice.textContent.startsWith(arguments[0]))"""
    tile = page.wait(lambda: page.script(slice_of, "upsamplers.0.conv"))
    ActionChains(page.driver).move_to_element(tile).perform()
    hover = "return [...document.querySelectorAll('#map .hoverlayer tspan')].map(line => line.textContent).join(' ')"
    words = page.wait(lambda: page.script(hover))
    # 3 x 3 kernels from 1,280 to 1,280 channels at 32 x 32, or from 640 to 640 at 64 x 64
    assert 9 * 1280 * 1280 * 32 * 32 == 9 * 640 * 640 * 64 * 64 == 15_099_494_400
    assert re.search(r"unet up_blocks\.[12]\.upsamplers\.0\.conv Conv2d conv 15,099,494,400 MACs 3\.75 % of all", words)
    header = page.script(slice_of, "down_blocks.0")
    ActionChains(page.driver).move_to_element_with_offset(header, 0, 8 - header.size["height"] // 2).click().perform()
    page.wait(lambda: page.script("return document.querySelector('#map .pathbar')?.textContent") == "unet")
    assert not page.script(slice_of, "mid_block")


def test_a_strangers_strings_do_nothing(show: Any) -> None:
    tags = "<b>x</b><a href='https://evil.example'>y</a><img src=x onerror='window.hit=1'>"
    ledger = replace(sample.hostile(), model=f"</script><script>window.hit = 1</script>{tags}")
    (part,) = ledger.components
    census = replace(sample.census(), attention=())
    (module,), (op,) = census.modules, census.ops
    paths = ((tags,), (f"__proto__.constructor.{sample.HOSTILE}",))
    odd = replace(module, paths=paths, class_name=tags)
    macs = op.macs
    part = replace(
        part,
        name=tags,
        recommended=Recommended.from_ops("unconfirmed", {"linear": macs}),
        backends={"toString": Counted(version=tags, macs=macs, seconds=0.0, gap=0, terms=(), residual=0)},
        census=replace(census, modules=(odd,)),
    )
    generation = replace(ledger.generation, components=(sample.part(tags, 1, 1, macs),))
    page = show(replace(ledger, components=(part,), generation=generation))
    for choices in ({"ops": "all", "work": "forward"}, {"counter": "toString", "component": tags}):
        page.choose(**choices)
        assert page.total() == macs
        assert not page.script("return window.hit")
        # plotly makes anchors of <a>, and bold of <b>; ours are none
        drawn = (
            "return document.querySelectorAll('main a, main img, main b:not(.bar b), svg tspan[style*=bold]').length"
        )
        assert page.script(drawn) == 0
    assert tags in page.script(
        "return [...document.querySelectorAll('#map .slicetext')].map(t => t.textContent).join()"
    )


@pytest.mark.parametrize(
    "ledger", [sample.hostile(), replace(sample.sd21_base(), components=(), generation=None)], ids=["hostile", "empty"]
)
def test_any_ledger_makes_a_page(show: Any, ledger: Ledger) -> None:
    page = show(ledger)
    assert page.text("#total") in {"10 MACs", "no number"}


def test_what_is_of_no_known_module_is_one_entry(show: Any) -> None:
    ledger = sample.sd21_base()  # with a census of one component's one row only
    page = show(ledger)
    page.choose(work="forward", component="text_encoder", counter="thop-plain")
    assert page.text("#unplaced") == (
        "text_encoder: not placed in a module: operations of no known module +22,563,616,768, "
        "thop-layernorm-4 +14,823,424, attention-not-counted -279,279,616."
    )
    assert page.leaves() == [22_563_616_768 + 14_823_424 - 279_279_616]
    assert [row[1:4] for row in page.rows("modules")] == [["22,299,160,576", "100.00 %", "0"]]


@pytest.mark.parametrize("width", [1280, 400])
def test_nothing_is_wider_than_the_window(show: Any, width: int) -> None:
    page = show(tiny.ledger())
    page.choose(counter="thop-plain", ops="all")
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    page.wait(lambda: page.script("return document.documentElement.scrollWidth") <= width)
    page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
