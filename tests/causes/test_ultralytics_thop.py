"""thop and its fork by Ultralytics install the same files: which is there is known, and each counts as itself."""

import base64
import hashlib
import sys

import pytest
import torch
from installed import extra
from modules import Function

import crosscheck
from crosscheck.backends import registry
from crosscheck.case import NotApplicable
from crosscheck.records import Counted

THOP, FORK = "thop", "ultralytics-thop"
FILES = {THOP: b"# of thop\n", FORK: b"# of the fork\n"}


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """A folder of installed packages: ``environment(THOP, FORK)`` installs the fork over thop."""

    def install(*distributions):
        (tmp_path / "thop").mkdir()
        for name in distributions:
            (tmp_path / "thop" / "profile.py").write_bytes(FILES[name])
            digest = base64.urlsafe_b64encode(hashlib.sha256(FILES[name]).digest()).rstrip(b"=").decode()
            folder = tmp_path / f"{name.replace('-', '_')}-1.0.dist-info"
            folder.mkdir()
            (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
            (folder / "RECORD").write_text(f"thop/profile.py,sha256={digest},{len(FILES[name])}\n")
        (tmp_path / "thop" / "__init__.py").write_text("")
        monkeypatch.setattr("sys.path", [str(tmp_path)])
        monkeypatch.delitem(sys.modules, "thop", raising=False)

    import crosscheck.backends.thop  # before nothing else can be imported

    assert crosscheck.backends.thop
    return install


@pytest.mark.parametrize(
    ("installed", "asked", "words"),
    [
        ((), THOP, "thop is not installed; install it with: pip install thop"),
        ((THOP,), FORK, "in an environment without thop, whose files it replaces"),
        ((FORK,), THOP, "thop is not installed"),
        ((THOP, FORK), THOP, "gives the files of ultralytics-thop, installed over those of thop"),
        ((FORK, THOP), FORK, "gives the files of thop, installed over those of ultralytics-thop"),
    ],
)
def test_the_other_package_is_named(installed, asked, words, environment):
    environment(*installed)
    with pytest.raises(NotApplicable, match=words):
        registry.load(asked)


@pytest.mark.parametrize(
    ("installed", "asked"), [((THOP,), THOP), ((FORK,), FORK), ((FORK, THOP), THOP), ((THOP, FORK), FORK)]
)
def test_the_one_whose_files_are_there_is_taken(installed, asked, environment):
    environment(*installed)
    assert registry.load(asked).name == asked


@pytest.mark.parametrize("backend", [extra(FORK)])
def test_no_patch_is_added_to_a_tool_that_sees_attention(backend):
    module = Function(lambda self, q, k: torch.nn.functional.scaled_dot_product_attention(q, k, k))
    shapes = (1, 2, 5, 4), (1, 2, 7, 4)
    outcome = crosscheck.check(module, *(torch.empty(s, device="meta") for s in shapes), backends=(backend,))[backend]
    assert (outcome.macs, outcome.gap) == (2 * 5 * 7 * 8, 0)


@pytest.mark.parametrize("model", ["sd21-base", "sdxl-base"])
@pytest.mark.parametrize("backend", [extra(FORK)])
def test_published_models_are_explained(model, backend):
    run = crosscheck.check_pipeline(model, backends=(backend,))
    outcomes = {part.name: part[backend] for part in run.components}
    assert all(isinstance(outcome, Counted) and outcome.residual == 0 for outcome in outcomes.values()), outcomes
    assert any(outcome.gap for outcome in outcomes.values())
