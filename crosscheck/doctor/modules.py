"""The modules that the doctor's cases are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


class Function(nn.Module):
    """A module whose forward is a given function."""

    def __init__(self, function: Callable[..., Any], **children: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, child in children.items():
            self.add_module(name, child)

    def forward(self, *args: Any) -> Any:
        return self.function(self, *args)


class Model(nn.Module):
    """A model with the layer that is counted as its part, and a parameter: some counters need one."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part
        self.scale = nn.Parameter(torch.zeros(1))

    def forward(self, *args: Any) -> Any:
        return self.part(*args)


class OwnLinear(nn.Linear):
    """A subclass that changes nothing."""


class OwnConv2d(nn.Conv2d):
    """A subclass that changes nothing."""


class LowRank(nn.Module):
    """LoRA as it is written by hand: a frozen layer and two thin ones beside it."""

    def __init__(self, inputs: int, outputs: int, rank: int) -> None:
        super().__init__()
        self.base = nn.Linear(inputs, outputs)
        self.down = nn.Linear(inputs, rank, bias=False)
        self.up = nn.Linear(rank, outputs, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base(x) + 0.5 * self.up(self.down(x))


class Attends(nn.Module):
    """Tokens of 32 through one linear layer to q, k and v, and one head of attention."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(32, 96, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x).unsqueeze(1).chunk(3, dim=-1)
        return F.scaled_dot_product_attention(q, k, v).squeeze(1)


class Aliased(nn.Module):
    """One linear layer under two parents, called once through each."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.Linear(32, 32)
        self.first, self.second = nn.Sequential(layer), nn.Sequential(layer)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x))


class TwoNames(nn.Module):
    """One linear layer that its parent holds under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = self.second = nn.Linear(32, 32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x))


class Branches(nn.Module):
    """A module whose layer depends on the size of the input."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.narrow = nn.Linear(32, 64), nn.Linear(32, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        layer = self.wide if x.shape[1] > 5 else self.narrow
        return sum(layer(x) for _ in range(x.shape[0]))
