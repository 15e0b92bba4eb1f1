"""The chart: well-formed, safe, the same bytes each time, readable in light and dark."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest
import sample
from msgspec.structs import replace
from places import HELPERS, ROOT

from crosscheck.records import Counted, Failed, Ledger, Recommended, Skipped, Term
from crosscheck.report.charts import run as chart
from crosscheck.report.charts import style

pytest.importorskip("matplotlib")
ELEMENTS = {"svg", "title", "style", "defs", "g", "path", "rect", "use", "text", "clipPath", "pattern"}
SVG = "{http://www.w3.org/2000/svg}"
SAMPLE = sample.sd21_base()


def texts(drawing: str) -> list[str]:
    return ["".join(node.itertext()) for node in ET.fromstring(drawing).iter(f"{SVG}text")]


def strange() -> dict[str, Ledger]:
    """Ledgers that stretch the drawing."""
    unet = SAMPLE.component("unet")
    huge = Counted(
        version="1", macs=10**400, seconds=0, gap=10**400 - 1, terms=(Term(cause="x", macs=10**400 - 1),), residual=0
    )
    one = replace(unet, recommended=Recommended.from_ops("confirmed", {"conv": 1}), backends={"huge": huge})
    none = replace(
        unet, backends={"a": Skipped(reason="x"), "b": Failed(error="x"), "c": Failed(error="x", predicted_by="k")}
    )
    zero = replace(one, recommended=Recommended.from_ops("confirmed", {}), backends={"z": replace(huge, macs=5, gap=5)})
    many = replace(unet, backends={"m": replace(huge, terms=tuple(Term(cause=f"c{n}", macs=n) for n in range(1, 40)))})
    parts = {
        "huge": (one,),
        "no number": (none,),
        "reference 0": (zero,),
        "many causes": (many,),
        "all": (one, none, zero),
    }
    ledgers = {name: replace(SAMPLE, components=components) for name, components in parts.items()}
    return ledgers | {
        "sample": SAMPLE,
        "hostile": sample.hostile(),
        "no backends": replace(SAMPLE, components=(replace(unet, backends={}),)),
    }


@pytest.mark.parametrize("ledger", strange().values(), ids=strange())
def test_well_formed_and_harmless(ledger: Ledger) -> None:
    drawing = chart.svg(ledger)
    tags = {node.tag.removeprefix(SVG) for node in ET.fromstring(drawing).iter()}
    assert tags <= ELEMENTS
    assert "DOCTYPE" not in drawing
    assert "<script" not in drawing
    assert not re.search(r'\son\w+="|href="(?!#)|url\((?!#)', drawing)


def test_same_bytes_in_another_process() -> None:
    code = "import hashlib, sample; from crosscheck.report.charts import run as chart\n"
    code += "print(hashlib.sha256(chart.svg(sample.sd21_base()).encode()).hexdigest())"
    digests = {hashlib.sha256(chart.svg(SAMPLE).encode()).hexdigest()}
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": f"{ROOT}{os.pathsep}{HELPERS}"}
        out = subprocess.run([sys.executable, "-c", code], check=True, env=environment, capture_output=True, text=True)
        digests.add(out.stdout.strip())
    assert len(digests) == 1


def test_the_callers_matplotlib_settings_neither_matter_nor_change() -> None:
    import matplotlib as mpl

    plain = chart.svg(SAMPLE)
    with mpl.rc_context(
        {"font.size": 30, "axes.facecolor": "red", "svg.fonttype": "path", "xtick.labelsize": 20, "grid.linestyle": ":"}
    ):
        before = dict(mpl.rcParams)
        assert chart.svg(SAMPLE) == plain
        assert dict(mpl.rcParams) == before


def test_ink_follows_the_reader() -> None:
    drawing = chart.svg(SAMPLE)
    css = "".join(node.text or "" for node in ET.fromstring(drawing).iter(f"{SVG}style"))
    assert "prefers-color-scheme:dark" in css
    assert "currentColor" in drawing
    assert "#010203" not in drawing
    colours = {c.lower() for c in re.findall(r"(?:fill|stroke): (#\w+)", drawing)}
    assert colours <= {look.lower() for look in style.COLOURS}, "only the causes have colours of their own"


def test_every_number_verdict_and_cause_is_written() -> None:
    words = texts(chart.svg(SAMPLE))
    outcomes = [o for component in SAMPLE.components for o in component.backends.values() if isinstance(o, Counted)]
    assert words.count("exact") == sum(outcome.gap == 0 for outcome in outcomes)
    # of 402,128,732,160: LayerNorm's 138,608,640; with it all attention less, 63,026,135,040; or N x N of
    # cross-attention, 59,468,513,280, and softmax, 956,989,440, more
    assert {"-15.639 %", "+15.061 %", "+0.034 %", "reference 402,128,732,160 MACs"} <= set(words)
    assert {term.cause for outcome in outcomes for term in outcome.terms} <= set(words)
    for backend in SAMPLE.component("unet").backends:
        assert words.count(backend) == len(SAMPLE.components)


def test_what_has_no_number_says_why() -> None:
    words = texts(chart.svg(strange()["no number"]))
    assert {"skipped", "failed", "failed (known)"} <= set(words)
    assert "exact" not in words


def test_mathematics_in_a_name_is_text() -> None:
    unet = SAMPLE.component("unet")
    term = Term(cause="$c^2$", macs=1)
    backend = Counted(version="1", macs=402_128_732_161, seconds=0, gap=1, terms=(term,), residual=0)
    odd = replace(unet, name="$x_1$", backends={"$b^2$": backend})
    assert {"$x_1$", "$b^2$", "$c^2$"} <= set(texts(chart.svg(replace(SAMPLE, components=(odd,)))))


def test_a_residual_is_red_and_named() -> None:
    drawing = chart.svg(sample.hostile())
    assert chart.RESIDUAL in texts(drawing)
    assert "+30.000 % residual" in texts(drawing)
    assert style.RED in drawing
    assert style.RED not in chart.svg(SAMPLE)


def test_bars_are_the_terms_in_percent() -> None:
    unet = SAMPLE.component("unet")
    panel = chart.Panel(unet, 402_128_732_160)
    ((first, small), (second, large)) = panel.bars(unet["thop-plain"])
    assert (first, second) == ("thop-layernorm-4", "attention-not-counted")
    assert small == pytest.approx(0.0344687)
    assert large == pytest.approx(-15.6731243)
    assert panel.bars(unet["aten"]) == []


def test_equal_percentages_are_equal_lengths_across_components() -> None:
    figure = chart._figure([chart.Panel(c, c.recommended.macs or 0) for c in SAMPLE.components])
    assert len({axes.get_xlim() for axes in figure.axes}) == 1
    assert len({axes.get_position().width for axes in figure.axes}) == 1


def test_labels_do_not_overlap() -> None:
    ledger = replace(SAMPLE, components=(*SAMPLE.components, replace(SAMPLE.components[0], name="text_encoder_2")))
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with mpl.rc_context(style.SETTINGS):
        figure = chart._figure([chart.Panel(c, c.recommended.macs or 0) for c in ledger.components])
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        renderer = canvas.get_renderer()
        shown = [*figure.texts, *figure.legends[0].get_texts()]
        for axes in figure.axes:
            shown += [
                *axes.texts,
                *axes.get_yticklabels(),
                *(t for t in axes.get_xticklabels() if axes is figure.axes[-1]),
            ]
        boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in shown if text.get_text()]
    page = figure.bbox
    for n, (name, box) in enumerate(boxes):
        assert page.x0 <= box.x0, name
        assert box.x1 <= page.x1, name
        assert not [other for other, place in boxes[:n] if box.overlaps(place)], name
