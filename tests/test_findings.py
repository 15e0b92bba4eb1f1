"""Each finding's program, where its package is installed in the release that it is about, prints what the page says."""

import re
import subprocess
import sys
from importlib import metadata

import pytest
from packaging.version import Version
from places import REPORTS

from crosscheck import causes

FINDINGS = REPORTS / "findings"
PAGES = sorted(path for path in FINDINGS.glob("*.md") if path.name != "README.md")


def installed(package: str, release: str) -> bool:
    try:
        return Version(metadata.version(package)) == Version(release)
    except metadata.PackageNotFoundError:
        return False


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_program_prints_what_its_page_says(path):
    page = path.read_text()
    package, release = re.match(r"# (\S+) (\S+):", page).groups()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (expected,), (got,) = re.findall(r"^Expected: (.+)$", page, re.M), re.findall(r"^Got: (.+)$", page, re.M)
    assert expected != got
    assert expected in page.partition("Got:")[2].replace(",", "")  # and why
    assert path.stem in {**causes.CAUSES, **causes.PREDICTED_FAILURES}
    if not installed(package, release):
        pytest.skip(f"{package} {release} is not installed")
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == got


def test_the_list_is_complete():
    listed = re.findall(r"\]\(([\w-]+)\.md\)", (FINDINGS / "README.md").read_text())
    assert listed == [path.stem for path in sorted(PAGES, key=lambda path: listed.index(path.stem))]
    assert set(listed) == {path.stem for path in PAGES}
