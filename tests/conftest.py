"""Settings every test shares."""

import os

# Two tests at a time on two processors: more threads only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import pytest
from hypothesis import settings

settings.register_profile("default", deadline=None, print_blob=True, max_examples=30)
settings.register_profile("releases", deadline=None, print_blob=True, max_examples=10)
settings.register_profile("long", deadline=None, print_blob=True, max_examples=500)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

#: What depends on the releases that are installed: what each environment of tox runs.
RELEASES = frozenset(
    "test_analytic test_causes test_check test_install test_laws test_measure test_meta test_pipelines test_references "
    "test_releases test_tools".split()
)


def pytest_cmdline_main(config):
    """Tests that share the run of the whole catalogue share a worker too."""
    if getattr(config.option, "numprocesses", None) and config.option.dist == "load":
        config.option.dist = "loadgroup"


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.stem in RELEASES:
            item.add_marker("releases")
        if "runs" in item.fixturenames:
            item.add_marker(pytest.mark.xdist_group("runs"))
