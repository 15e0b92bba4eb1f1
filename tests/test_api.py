"""The reference of the Python API is made from the docstrings, as they are now."""

import re

import pytest

pytest.importorskip("griffe", reason="griffelib makes the reference")
from scripts import api

import crosscheck


def test_the_reference_is_current():
    assert api.PAGE.read_text() == api.page(), "run python tests/api.py"


def test_every_public_name_is_in_it():
    titles = set(re.findall(r"^### (\w+)$", api.PAGE.read_text(), re.MULTILINE))
    assert {name for name in crosscheck.__all__ if name != "__version__"} <= titles


def test_its_links_lead_somewhere():
    page = api.PAGE.read_text()
    titles = {title.lower() for title in re.findall(r"^### (\w+)$", page, re.MULTILINE)}
    links = set(re.findall(r"\]\(#(\w+)\)", page))
    assert "counted" in links
    assert links <= titles


def test_every_field_of_what_is_returned_is_told_with_its_type():
    page = api.PAGE.read_text()
    (section,) = re.findall(r"^## What they return\n(.*?)^## ", page, re.MULTILINE | re.DOTALL)
    untold = set(re.findall(r"^\| `(\w+)` \| .* \|  \|$", section, re.MULTILINE))
    assert untold <= {"inputs", "class_name", "params"}  # told of a component already
    assert "| `macs` | `int` | What the tool returned, in MACs of one forward. |" in section
