"""What is installed is what is tested."""

import os
from importlib.metadata import files, version
from pathlib import Path

import pytest
from packaging.version import Version

import crosscheck

pytestmark = pytest.mark.releases

under_tox = pytest.mark.skipif("CROSSCHECK_UNDER_TOX" not in os.environ, reason="tox installs the wheel and says so")


@under_tox
def test_the_crosscheck_in_use_is_the_installed_one():
    assert "site-packages" in Path(crosscheck.__file__).parts


@under_tox
def test_the_wheel_holds_catalogue_and_page_and_neither_tests_nor_reports():
    packed = [str(path) for path in files("crosscheck")]
    assert "crosscheck/catalogue/sd21-base/unet/config.json" in packed
    assert "crosscheck/report/explore/explore.html" in packed
    assert not [path for path in packed if path.startswith(("tests", "reports"))]


def test_the_promised_tools_load():
    from crosscheck.backends import registry

    for name in registry.CORE:
        assert registry.load(name).name == name
    assert Version(version("thop")) == Version("0.1.1.post2209072238")
