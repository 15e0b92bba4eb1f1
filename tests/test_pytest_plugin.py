"""The pytest plugin as its users meet it: in a project of their own."""

import json

import pytest
import torch  # noqa: F401  pytester takes away what its runs import, and torch can't be imported twice

pytest_plugins = ["pytester"]

TEST = """
import torch

def test_one(macs_of):
    # 4 rows of 8 x {width}
    assert macs_of(torch.nn.Linear(8, {width}, device="meta"), torch.zeros(4, 8, device="meta")) == 4 * 8 * {width}

def test_two_calls(macs_of):
    for size in (1, 2):
        macs_of(torch.nn.Conv1d(3, 5, size), torch.zeros(1, 3, 6))

def test_none():
    pass
"""
#: the linear layer; 5 x 3 channels, kernels of 1 and 2 on 6 and 5 places
RECORDED = {
    "test_it.py::test_one": [{"linear": 4 * 8 * 5}],
    "test_it.py::test_two_calls": [{"conv": 5 * 3 * 6}, {"conv": 5 * 3 * 2 * 5}],
}


@pytest.fixture
def project(pytester):
    pytester.makefile(".py", test_it=TEST.format(width=5))
    pytester.makeini("[pytest]\nmacs_baseline = macs.json")
    return pytester


def test_without_a_baseline_it_is_a_number(project):
    project.makeini("[pytest]")
    project.runpytest().assert_outcomes(passed=3)


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_update_records_and_the_next_run_holds_against_it(project, workers):
    first = project.runpytest_subprocess("--macs-update", *workers)

    first.assert_outcomes(passed=3)
    first.stdout.fnmatch_lines(["macs_baseline: recorded 2 tests in macs.json"])
    assert json.loads((project.path / "macs.json").read_text()) == RECORDED
    project.runpytest().assert_outcomes(passed=3)


def test_changed_macs_fail_by_op_until_they_are_recorded(project):
    (project.path / "macs.json").write_text(json.dumps(RECORDED))
    project.makefile(".py", test_it=TEST.format(width=6))

    changed = project.runpytest()
    changed.assert_outcomes(passed=2, failed=1)
    changed.stdout.fnmatch_lines(["macs_of(Linear), call 1: 192 MACs, on record 160 (linear +32); if that is right,*"])
    assert json.loads((project.path / "macs.json").read_text()) == RECORDED

    project.runpytest("--macs-update", "-k", "test_one").assert_outcomes(passed=1, deselected=2)
    assert json.loads((project.path / "macs.json").read_text()) == RECORDED | {
        "test_it.py::test_one": [{"linear": 4 * 8 * 6}]
    }
    project.runpytest().assert_outcomes(passed=3)


def test_what_is_not_on_record_fails(project):
    (project.path / "macs.json").write_text(
        json.dumps({"test_it.py::test_two_calls": RECORDED["test_it.py::test_two_calls"][:1]})
    )

    result = project.runpytest()

    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(
        ["macs_of(Linear), call 1: 160 MACs, and none on record;*", "macs_of(Conv1d), call 2:*"]
    )


def test_a_failed_test_is_not_recorded(project):
    project.makefile(
        ".py",
        test_it=TEST.format(width=5)
        + "\ndef test_bad(macs_of):\n    macs_of(torch.nn.Linear(2, 2), torch.zeros(2))\n    assert 0\n",
    )
    project.runpytest("--macs-update").assert_outcomes(passed=3, failed=1)
    assert json.loads((project.path / "macs.json").read_text()) == RECORDED


def test_a_call_that_is_no_longer_made_fails(project):
    more = RECORDED | {"test_it.py::test_one": [*RECORDED["test_it.py::test_one"], {"conv": 7}]}
    (project.path / "macs.json").write_text(json.dumps(more))
    result = project.runpytest()
    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines(["macs_of: 1 calls, on record 2; if that is right,*"])


def test_a_baseline_that_can_not_be_written_is_one_line(project):
    (project.path / "file").write_text("")
    project.makeini("[pytest]\nmacs_baseline = file/macs.json")
    result = project.runpytest("--macs-update")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: macs_baseline *file/macs.json: can't be written: *"])


@pytest.mark.parametrize("content", ["{", "[]", '{"a": 1}', '{"a": [{"conv": 0.5}]}', "\xff"])
def test_a_broken_baseline_is_one_line(project, content):
    (project.path / "macs.json").write_text(content, encoding="latin-1")
    result = project.runpytest()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: macs_baseline *macs.json: not a baseline: *"])


def test_update_without_a_baseline_is_a_usage_error(project):
    project.makeini("[pytest]")
    result = project.runpytest("--macs-update")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --macs-update: got no macs_baseline;*"])


def test_a_module_that_can_not_be_counted_fails_with_the_reason(project):
    project.makepyfile(
        test_it="import torch\nclass Bad(torch.nn.Module):\n    forward = lambda self, x: torch.linalg.qr(x)[0]\n"
        "def test_it(macs_of):\n    macs_of(Bad(), torch.zeros(3, 3))\n"
    )
    result = project.runpytest()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*UncountedError: Bad: can't be counted exactly: aten::linalg_qr*"])


def test_loading_the_plugin_imports_no_torch(pytester):
    pytester.makepyfile("import sys\ndef test_it():\n    assert 'torch' not in sys.modules")
    pytester.runpytest_subprocess().assert_outcomes(passed=1)
