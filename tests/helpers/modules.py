"""Small modules whose MACs can be worked out by hand."""

import pytest
import torch
import torch.nn.functional as F
from installed import holds
from torch import nn


class Block(nn.Module):
    """GroupNorm, SiLU, Conv2d 3x3, Linear to q, k, v, one attention head over 64 tokens, Linear out."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, 32)
        self.conv = nn.Conv2d(32, 32, 3, padding=1)
        self.qkv = nn.Linear(32, 96)
        self.out = nn.Linear(32, 32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.conv(F.silu(self.norm(x))).flatten(2).transpose(1, 2)
        q, k, v = self.qkv(tokens).unsqueeze(1).chunk(3, dim=-1)
        return self.out(F.scaled_dot_product_attention(q, k, v).squeeze(1))


#: conv 32*32*9*64, linear 64*32*96 + 64*32*32, attention 1*1*64*64*(32+32)
BLOCK = {"conv": 589_824, "linear": 262_144, "attention": 262_144, "matmul": 0}
BLOCK_MACS = 1_114_112


def block(device: str = "meta") -> tuple[Block, torch.Tensor]:
    """The block and its input [1, 32, 8, 8]."""
    return Block().to(device), torch.zeros(1, 32, 8, 8, device=device)


class Function(nn.Module):
    """A module whose forward is a given function."""

    def __init__(self, function, **children: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, child in children.items():
            self.add_module(name, child)

    def forward(self, *args, **kwargs):
        return self.function(self, *args, **kwargs)


def zeros(*shape: int, device: str = "meta") -> torch.Tensor:
    return torch.zeros(*shape, device=device)


def compiled() -> Function:
    """A model whose one layer, 3 to 3, is compiled. Skips the test where torch can't on this Python or on meta."""
    if not holds("torch>=2.4"):
        pytest.skip("torch.compile on this Python, on meta: torch>=2.4")
    return Function(lambda self, x: self.a(x), a=torch.compile(nn.Linear(3, 3)))


def outcome_of_compiled(backend: str):
    """What a backend says of a compiled layer, for a process started afresh to ask."""
    import crosscheck

    return crosscheck.check(compiled().to("meta"), zeros(3, 3), backends=(backend,))[backend]


def check_block(outbox) -> None:
    """What a process started afresh does: it can import this module, and not a test's."""
    import crosscheck

    module, x = block()
    outbox.put(crosscheck.check(module, x).recommended.macs)


def compile_after_a_count(outbox):
    """In a process that has not imported torch._dynamo: a checkpoint does, in the middle of the count."""
    import sys
    import warnings

    from torch.utils import checkpoint

    import crosscheck

    model = Function(lambda self, x: checkpoint.checkpoint(self.a, x, use_reentrant=False), a=nn.Linear(8, 8))
    assert "torch._dynamo" not in sys.modules
    macs = crosscheck.check(model, torch.zeros(2, 8), backends=("thop",)).recommended.macs
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # that it does not know torch.add
        explained = sys.modules["torch._dynamo"].explain(lambda x: torch.add(x, 1) @ torch.matmul(x, x))
        outbox.put((macs, explained(torch.zeros(2, 2)).graph_count))
