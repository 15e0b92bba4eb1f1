"""One backend's fault is caught by name and costs its own row only."""

import broken
import pytest
import torch
from command import tells
from installed import COUNTING
from modules import BLOCK_MACS, Function, block
from torch import nn

import crosscheck
from crosscheck.backends import registry
from crosscheck.records import Counted, Failed

pytestmark = pytest.mark.releases


@pytest.fixture
def with_broken(monkeypatch):
    """The core backends and the broken ones, each from a file of its own, as real ones are."""
    table = {**registry.table(), **broken.ALL}
    monkeypatch.setattr(registry, "table", lambda: table)
    monkeypatch.setattr("crosscheck.engine.measure.tools", lambda names: [(name,) for name in names])


CAUGHT = {
    "raises": "KeyError: 'no rule\\nfor this'",
    "returns-nothing": "AttributeError: [...]",
    "returns-a-float": "TypeError: returned 1.5 for MACs; allowed: an int from 0",
    "mutates": ("changed what it was given: child module out replaced; forward hook added; training flag changed"),
    "patches-torch": "changed what it was given: torch.nn.functional.linear replaced",
    # a process of its own ends with these
    "hangs": "time limit of 6 s reached; it was stopped",
    "dies": "its process was killed by SIGKILL (out of memory?)",
    "exits": "its process ended with exit status 3",
    "eats-memory": "MemoryError",
}


@pytest.mark.parametrize("name", CAUGHT)
def test_a_fault_costs_its_own_row_only(name, with_broken):
    module, x = block()

    check = crosscheck.check(module, x, backends=(name, "thop"), time_limit=6)

    assert check[name] == Failed(error=check[name].error, version=check[name].version)
    assert tells(check[name].error, CAUGHT[name])
    assert isinstance(check["thop"], Counted)
    assert check["thop"].macs == check.recommended.macs == BLOCK_MACS


@pytest.mark.parametrize("name", CAUGHT)
def test_on_real_tensors_too(name, with_broken):
    module, x = block("cpu")
    linear, parts = torch.nn.functional.linear, dict(module.named_modules())

    check = crosscheck.check(module, x, backends=(name, "fvcore"), time_limit=6)

    assert tells(check[name].error, CAUGHT[name])
    assert check["fvcore"].residual == 0
    assert torch.nn.functional.linear is linear
    assert dict(module.named_modules()) == parts
    assert module.training
    assert not module._forward_hooks


@pytest.mark.parametrize(("name", "residual"), [("drops-a-layer", -64 * 32 * 32), ("doubles-attention", 262_144)])
def test_a_wrong_number_leaves_a_residual(name, residual, with_broken):
    module, x = block()

    check = crosscheck.check(module, x, backends=(name,))

    assert check[name].gap == check[name].residual == residual
    assert check[name].terms == ()


def test_what_a_backend_prints_reaches_nobody(with_broken, capfd):
    for device in ("meta", "cpu"):
        module, x = block(device)
        check = crosscheck.check(module, x, backends=("prints",))
        assert check["prints"].residual == 0
    out, _ = capfd.readouterr()
    assert out in {"", "noise\n"}  # in this process, a write past Python's stdout can't be kept back


def test_a_missing_tool_is_skipped_with_the_way_to_get_it(monkeypatch):
    table = {**registry.table(), "absent": "no_such_tool:Backend"}
    monkeypatch.setattr(registry, "table", lambda: table)
    module, x = block()

    check = crosscheck.check(module, x, backends=("absent",))

    assert tells(check["absent"].reason, "no_such_tool[...]; install it with: pip install no_such_tool")


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_each_backend_runs_isolated(device):
    module, x = block(device)
    assert crosscheck.check(module, x, backends=("thop",))["thop"].isolated


def test_each_backend_begins_from_the_caller_s_state():
    """A result that is kept beside the module is found by no backend, and by the next call of the caller's."""
    module, kept = nn.Linear(4, 4, bias=False), []

    def once(self, x):
        kept.append(kept[0] if kept else self.a(x))
        return kept[-1]

    check = crosscheck.check(Function(once, a=module), torch.zeros(2, 4), backends=("thop", "fvcore", "flop_counter"))

    counted = [outcome for outcome in check.backends.values() if isinstance(outcome, Counted)]
    assert {outcome.macs - sum(term.macs for term in outcome.terms) for outcome in counted} == {2 * 4 * 4}
    assert kept == []


def test_where_there_is_no_fork_the_backends_run_here_and_it_is_said(monkeypatch):
    monkeypatch.setattr("crosscheck.engine.measure.can_fork", lambda: False)
    module, x = block()

    check = crosscheck.check(module, x, backends=COUNTING)

    assert {name: check[name].residual for name in COUNTING[1:]} == dict.fromkeys(COUNTING[1:], 0)
    assert not any(o.isolated for o in check.backends.values() if isinstance(o, Counted))
    assert check.notes == ("no process can be forked here: the backends ran in one, not isolated",)
    assert not [name for name, _ in module.named_buffers()]
