"""Hollow components: what reads values, what changes between calls, what can't be run."""

import functools

import pytest
import torch
from torch import nn

from crosscheck.errors import UncountedError
from crosscheck.pipelines.hollow import Hollow
from crosscheck.tracing.real_integers import real_integers


def run(module, *calls, name="part"):
    """The component's answers to these calls, and its cases: calls and MACs of each."""
    hollow = Hollow({name: module})
    with hollow.answering(), torch.no_grad():
        answers = [module(*args) for args in calls]
    cases = hollow.cases().get(name, [])
    return answers, [(case.calls, case.macs) for case in cases], cases


class Lengths(nn.Module):
    """Runs as many tokens as the mask leaves."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 8)

    def forward(self, x, mask):
        return self.linear(x[:, : int(mask.sum(1).max())])


def test_what_a_mask_holds_is_part_of_the_input_where_the_forward_reads_it():
    x = torch.zeros(1, 6, 4)
    masks = [torch.tensor([[1] * n + [0] * (6 - n)]) for n in (2, 5, 2)]

    answers, cases, _ = run(Lengths(), *((x, mask) for mask in masks))

    assert [tuple(a.shape) for a in answers] == [(1, 2, 8), (1, 5, 8), (1, 2, 8)]
    assert cases == [(2, 2 * 4 * 8), (1, 5 * 4 * 8)]


def test_what_nobody_reads_is_no_part_of_it():
    embedding = nn.Embedding(10, 4)
    _, cases, _ = run(embedding, *((torch.tensor([n]),) for n in range(3)))
    assert cases == [(3, 0)]


class Selected(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 8)

    def forward(self, x, mask):
        return self.linear(x[mask])


def test_a_real_mask_selects_from_a_hollow_tensor():
    mask = torch.tensor([[True, False, True], [False, False, True]])
    answers, cases, _ = run(Selected(), (torch.zeros(2, 3, 4), mask))
    assert tuple(answers[0].shape) == (3, 8)
    assert cases == [(1, 3 * 4 * 8)]


class Decides(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else x + 1


def test_a_branch_on_a_floating_value_is_named():
    with pytest.raises(UncountedError, match=r"part \(Decides\) can't be run hollow"):
        run(Decides(), (torch.ones(2),))


class DecidesOnItem(nn.Module):
    """As caches of features do: (difference / size).item() against a threshold."""

    def forward(self, x):
        return x if abs(x.mean().item() / 2) < 0.1 else x + 1


def test_a_branch_on_a_value_that_was_read_is_named():
    with pytest.raises(UncountedError, match="can't be run hollow: its forward decides on a floating value"):
        run(DecidesOnItem(), (torch.ones(2),))


class Scales(nn.Module):
    def forward(self, x):
        return x * x.max().item()


def test_a_value_that_is_only_reckoned_with_is_zero_and_said():
    _, _, (case,) = run(Scales(), (torch.ones(2),))
    assert case.case.reads_values


class Optional(nn.Module):
    """Leaves its layer out where the condition is all zeros."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x, condition):
        return x if (condition == 0).all() else self.linear(x)


def test_a_branch_on_an_input_is_taken_as_it_would_be():
    x, none, some = torch.zeros(3, 4), torch.zeros(2), torch.tensor([0.0, 0.5])
    _, cases, _ = run(Optional(), (x, none), (x, some), (x + 1, some), (x, none))
    assert cases == [(2, 0), (2, 3 * 4 * 4)]


class FloatMask(nn.Module):
    """A mask that came as numbers selects the tokens."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x, mask):
        everything = torch.ones(2, dtype=mask.dtype, device=mask.device)
        return self.linear(x[mask.bool()]), self.linear(x[:2][everything.bool()])


def test_a_mask_of_numbers_is_real_too():
    _, cases, _ = run(FloatMask(), (torch.zeros(3, 4), torch.tensor([1.0, 0.0, 1.0])))
    assert cases == [(1, 2 * 4 * 4 + 2 * 4 * 4)]


class JoinedMask(nn.Module):
    """The mask of two texts together, as numbers, says how many tokens there are."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x, mask):
        mask = torch.cat([mask.new_ones(1, 2), mask[:, None].flatten(1)], dim=1)
        return self.linear(x[:, : mask.sum(1, dtype=torch.int)[0]])


def test_what_is_made_of_a_mask_of_numbers_is_real_too():
    x = torch.zeros(1, 8, 4)
    masks = [torch.tensor([[1.0] * n + [0.0] * (4 - n)]) for n in (1, 3, 1)]
    _, cases, _ = run(JoinedMask(), *((x, mask) for mask in masks))
    assert cases == [(2, (2 + 1) * 4 * 4), (1, (2 + 3) * 4 * 4)]


class Changed(nn.Module):
    def forward(self, x):
        x[0] = 1
        return x if (x == 0).all() else x + 1


def test_an_input_that_was_changed_is_no_longer_known():
    with pytest.raises(UncountedError, match="can't be run hollow"):
        run(Changed(), (torch.zeros(2),))


class Experts(nn.Module):
    """Each token goes to the expert of its largest score."""

    def __init__(self):
        super().__init__()
        self.gate, self.experts = nn.Linear(4, 2), nn.ModuleList(nn.Linear(4, 8) for _ in range(2))

    def forward(self, x):
        chosen = self.gate(x).argmax(-1)
        return [self.experts[int(expert)](x[chosen == expert]) for expert in chosen.unique()]


def test_routing_is_that_of_zeros_and_said():
    _, cases, (case,) = run(Experts(), (torch.randn(5, 4),))
    # the gate's 5 x 4 x 2, and all five tokens through the first expert
    assert cases == [(1, 5 * 4 * 2 + 5 * 4 * 8)]
    assert case.case.reads_values


class Skips(nn.Module):
    """Runs its layer every other call, as caches of features do."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)


def test_calls_that_a_replaced_forward_skips_are_counted_as_they_run():
    module, count = Skips(), 0

    def forward(x):
        nonlocal count
        count += 1
        return module.linear(x) if count % 2 else x

    module.forward = forward
    _, cases, _ = run(module, *[(torch.zeros(3, 4),)] * 5)
    assert sorted(cases) == [(2, 0), (3, 3 * 4 * 4)]


class Parts(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.norm = nn.Linear(4, 4), nn.LayerNorm(4)


def test_a_part_called_by_itself_has_its_path():
    module = Parts()
    hollow = Hollow({"part": module})
    with hollow.answering():
        module.norm(module.inner(torch.zeros(2, 4)))
    assert {name: calls[0].macs for name, calls in hollow.cases().items()} == {"part.inner": 2 * 4 * 4}


def test_weights_are_real_outside_and_as_before_afterwards():
    module = Parts()
    weight = module.inner.weight
    hollow = Hollow({"part": module})
    with hollow.answering():
        module.inner(torch.zeros(2, 4))
        assert module.inner.weight is weight
        assert module.norm.weight.sum().item() == 4
    assert module.inner.weight is weight


class Generates(nn.Module):
    def generate(self, x):
        return x


def test_generated_tokens_are_not_made_up():
    module = Generates()
    hollow = Hollow({"writer": module})
    message = r"writer \(Generates\) can't be run hollow: how many tokens it generates depends on values"
    with hollow.answering(), pytest.raises(UncountedError, match=message):
        module.generate(torch.zeros(1))


def test_integers_are_real_and_floats_hollow():
    x = torch.empty(3, 4, device="meta")
    lengths = torch.tensor([1, 2])
    with real_integers(True) as mode:
        assert torch.arange(3, device="meta").tolist() == [0, 1, 2]
        assert lengths.to("meta").sum().item() == 3
        assert torch.full((2,), 7, device=x.device, dtype=torch.long).tolist() == [7, 7]
        assert x.new_ones(2, dtype=torch.bool).tolist() == [True, True]
        assert (x + lengths[0]).is_meta
        assert x.to("cpu").is_meta
        assert torch.repeat_interleave(x[:2], lengths, dim=0).shape == (3, 4)
        assert x.masked_select(torch.ones(3, 4, dtype=torch.bool)).shape == (12,)
        assert mode.read == []
        assert float(x.sum().item()) == 0
        assert [tuple(t.shape) for t in mode.read] == [()]
        assert x.topk(2).indices.shape == (3, 2)
    with real_integers(False) as mode:
        assert mode is None
        assert torch.arange(3, device="meta").is_meta


class Keeps(nn.Module):
    """Makes a table at its first call, by a product, and keeps it."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.table = None

    def forward(self, x):
        if self.table is None:
            self.table = torch.ones(3, 2) @ torch.ones(2, 4)
        return self.linear(x) + self.table


def test_a_table_made_at_the_first_call_counts_once_and_is_gone_afterwards():
    module, x = Keeps(), torch.zeros(3, 4)
    _, cases, _ = run(module, (x,), (x,), (x,))
    # 3 x 4 x 4 = 48 for the layer; 3 x 2 x 4 = 24 for the table
    assert cases == [(1, 48 + 24), (2, 48)]
    assert module.table is None
    assert module(x).shape == (3, 4)  # a table on meta could not be added to a real tensor


class Table:
    """As some rotary embeddings are: no module, and called like one."""

    made = None

    def __call__(self):
        if self.made is None:
            self.made = torch.ones(3, 2, device=torch.get_default_device()) @ torch.ones(2, 4)
        return self.made


class Tables(nn.Module):
    """Keeps what it makes at its first call in an object of its own, and in a cache of its class."""

    def __init__(self):
        super().__init__()
        self.table = Table()

    @functools.lru_cache  # noqa: B019  its cache is what is tested
    def offset(self, device):
        return torch.ones(3, 5, device=device) @ torch.ones(5, 4, device=device)

    def forward(self, x):
        return x + self.table() + self.offset(x.device)


def test_a_table_kept_outside_of_modules_counts_once_and_is_gone_afterwards():
    module, x = Tables(), torch.zeros(3, 4)
    for _ in range(2):
        _, cases, _ = run(module, (x,), (x,), (x,))
        # 3 x 2 x 4 = 24 and 3 x 5 x 4 = 60
        assert cases == [(1, 24 + 60), (2, 0)]
        assert module.table.made is None
    assert module(x).shape == (3, 4)
