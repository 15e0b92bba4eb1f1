"""Settings every test shares."""

import os

# Two tests at a time on two processors: more threads only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import pytest
from hypothesis import settings

settings.register_profile("default", deadline=None, print_blob=True, max_examples=10)
settings.register_profile("thorough", deadline=None, print_blob=True, max_examples=100)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

#: Fixtures that take long to make: the tests that share one share a worker too.
SHARED = ("runs", "examined")


@pytest.hookimpl(tryfirst=True)  # a worker reads the groups in the same hook
def pytest_collection_modifyitems(items):
    for item in items:
        for fixture in SHARED:
            if fixture in item.fixturenames:
                item.add_marker(pytest.mark.xdist_group(fixture))
