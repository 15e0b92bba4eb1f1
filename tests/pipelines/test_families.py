"""Pipelines of every family: what runs hollow is what really runs, call by call."""

import families
import pytest
from installed import needs
from real_runs import compare

pytestmark = needs("diffusers>=0.42", "the classes that the newest release has")


@pytest.mark.parametrize("name", families.FAMILIES)
def test_hollow_is_what_really_runs(name):
    compare(lambda: families.build(name), families.call)


def test_there_are_many():
    assert len(families.FAMILIES) >= 60
