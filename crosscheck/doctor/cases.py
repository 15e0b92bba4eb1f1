"""The doctor's cases: one operation or layer each, with its MACs worked out by hand.

Truth is conv + linear + attention + matmul as `crosscheck.closed_form.arithmetic` has it: dense, causal too; a bias, a
norm, an activation, a softmax, a pooling are 0. It is written as a sum of products of sizes, which the report shows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

from crosscheck.doctor.laws import CALLED
from crosscheck.doctor.modules import (
    Aliased,
    Attends,
    Branches,
    Function,
    LowRank,
    Model,
    OwnConv2d,
    OwnLinear,
    TwoNames,
)

Shape = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class DoctorCase:
    """One module with the shapes that go in, and its MACs as a sum of products."""

    group: str
    name: str
    build: Callable[[], nn.Module]
    shapes: tuple[Shape, ...]
    truth: tuple[Shape, ...]
    device: str = "meta"
    dtype: torch.dtype = torch.float32
    repeats: int = 1

    def model(self) -> nn.Module:
        """A model of one part."""
        return Model(self.build())

    @property
    def macs(self) -> int:
        """The truth as a number."""
        return sum(map(prod, self.truth))

    @property
    def derivation(self) -> str:
        """The truth as it is worked out, e.g. ``2·10·32·48``."""
        return " + ".join("·".join(map(str, factors)) for factors in self.truth) or "0"


def _peft_lora() -> nn.Module:
    from peft import LoraConfig, inject_adapter_in_model

    module = Function(lambda self, x: self.layer(x), layer=nn.Linear(32, 48))
    return inject_adapter_in_model(LoraConfig(r=4, lora_alpha=4, target_modules=["layer"]), module)


def _first(layer: nn.Module) -> nn.Module:
    """The first of what ``layer`` returns."""
    return Function(lambda self, *x: self.layer(*x)[0], layer=layer)


def _attention(**options: Any) -> nn.Module:
    return Function(lambda self, q, k, v: F.scaled_dot_product_attention(q, k, v, **options))


def _mha(need_weights: bool, **options: Any) -> nn.Module:
    layer = nn.MultiheadAttention(64, 4, batch_first=True, **options).eval()

    def forward(self: Any, query: torch.Tensor, *key: torch.Tensor) -> torch.Tensor:
        key = key or (query,)
        result: torch.Tensor = self.layer(query, key[0], key[0], need_weights=need_weights)[0]
        return result

    return Function(forward, layer=layer)


def _case(group: str, name: str, build: Callable[[], nn.Module], shapes: Any, *truth: Shape, **more: Any) -> DoctorCase:
    return DoctorCase(group=group, name=name, build=build, shapes=tuple(shapes), truth=truth, **more)


def _function(
    group: str, name: str, function: Callable[..., Any], shapes: Any, *truth: Shape, **more: Any
) -> DoctorCase:
    return _case(group, name, lambda: Function(lambda self, *x: function(*x)), shapes, *truth, **more)


def _named(group: str, name: str, place: Any, function: str, shapes: Any, *truth: Shape) -> DoctorCase:
    """A function of torch looked up as it is called, as in ``torch.bmm(a, b)``: counters that replace it are seen."""
    return _case(group, name, lambda: Function(lambda self, *x: getattr(place, function)(*x)), shapes, *truth)


_IMAGE = [(2, 8, 16, 16)]
_TOKENS = [(2, 10, 32)]
# Queries, keys and values of 2 images and 4 heads: 64 queries, 64 or 77 keys, 16 wide.
_SELF = [(2, 4, 64, 16)] * 3
_CROSS = [(2, 4, 64, 16), (2, 4, 77, 16), (2, 4, 77, 16)]


def _convolutions() -> Iterator[DoctorCase]:
    """Output positions x output channels x input channels of a group x kernel; transposed by input positions."""
    group = "convolution"
    yield _case(group, "Conv1d", lambda: nn.Conv1d(8, 12, 3), [(2, 8, 16)], (2, 14, 12, 8, 3))
    yield _case(group, "Conv2d", lambda: nn.Conv2d(8, 12, 3, padding=1), _IMAGE, (2, 16, 16, 12, 8, 9))
    yield _case(group, "Conv2d, no bias", lambda: nn.Conv2d(8, 12, 3, bias=False), _IMAGE, (2, 14, 14, 12, 8, 9))
    yield _case(group, "Conv2d, stride 2", lambda: nn.Conv2d(8, 12, 3, 2, 1), _IMAGE, (2, 8, 8, 12, 8, 9))
    yield _case(group, "Conv2d, dilation 2", lambda: nn.Conv2d(8, 12, 3, dilation=2), _IMAGE, (2, 12, 12, 12, 8, 9))
    yield _case(group, "Conv2d, 4 groups", lambda: nn.Conv2d(8, 12, 3, 1, 1, groups=4), _IMAGE, (2, 16, 16, 12, 2, 9))
    yield _case(group, "Conv2d, depthwise", lambda: nn.Conv2d(8, 8, 3, 1, 1, groups=8), _IMAGE, (2, 16, 16, 8, 1, 9))
    yield _case(group, "Conv2d, padding=same", lambda: nn.Conv2d(8, 12, 3, padding="same"), _IMAGE,
                (2, 16, 16, 12, 8, 9))  # fmt: skip
    yield _case(group, "Conv2d, reflected", lambda: nn.Conv2d(8, 12, 3, padding=1, padding_mode="reflect"), _IMAGE,
                (2, 16, 16, 12, 8, 9))  # fmt: skip
    yield _case(group, "Conv2d, circular", lambda: nn.Conv2d(8, 12, 3, padding=1, padding_mode="circular"), _IMAGE,
                (2, 16, 16, 12, 8, 9))  # fmt: skip
    yield _case(group, "Conv2d, one image unbatched", lambda: nn.Conv2d(8, 12, 3), [(8, 16, 16)], (14, 14, 12, 8, 9))
    yield _case(group, "Conv3d", lambda: nn.Conv3d(4, 6, 3), [(2, 4, 6, 8, 8)], (2, 4, 6, 6, 6, 4, 27))
    yield _case(group, "Conv3d, 2 groups", lambda: nn.Conv3d(4, 6, 3, groups=2), [(2, 4, 6, 8, 8)],
                (2, 4, 6, 6, 6, 2, 27))  # fmt: skip
    yield _case(group, "ConvTranspose1d", lambda: nn.ConvTranspose1d(8, 12, 4, 2), [(2, 8, 16)], (2, 16, 8, 12, 4))
    yield _case(group, "ConvTranspose2d", lambda: nn.ConvTranspose2d(8, 12, 4, 2, 1), _IMAGE, (2, 16, 16, 8, 12, 16))
    yield _case(group, "ConvTranspose2d, 4 groups", lambda: nn.ConvTranspose2d(8, 12, 4, 2, 1, groups=4), _IMAGE,
                (2, 16, 16, 8, 3, 16))  # fmt: skip
    yield _case(group, "ConvTranspose3d", lambda: nn.ConvTranspose3d(4, 6, 2, 2), [(2, 4, 4, 8, 8)],
                (2, 4, 8, 8, 4, 6, 8))  # fmt: skip
    yield _named(group, "F.conv2d", F, "conv2d", [*_IMAGE, (12, 8, 3, 3)],
                    (2, 14, 14, 12, 8, 9))  # fmt: skip
    yield _named(group, "F.conv_transpose2d", F, "conv_transpose2d",
                    [*_IMAGE, (8, 12, 4, 4)], (2, 16, 16, 8, 12, 16))  # fmt: skip


def _linear_layers() -> Iterator[DoctorCase]:
    """Rows x inputs x outputs."""
    group = "linear"
    yield _case(group, "Linear", lambda: nn.Linear(32, 48), _TOKENS, (2, 10, 32, 48))
    yield _case(group, "Linear, no bias", lambda: nn.Linear(32, 48, bias=False), _TOKENS, (2, 10, 32, 48))
    yield _case(group, "Linear, one vector", lambda: nn.Linear(32, 48), [(32,)], (32, 48))
    yield _case(group, "Linear, a batch of rows", lambda: nn.Linear(32, 48), [(3, 32)], (3, 32, 48))
    yield _case(group, "LazyLinear", lambda: nn.LazyLinear(48), _TOKENS, (2, 10, 32, 48))
    yield _named(group, "F.linear", F, "linear", [*_TOKENS, (48, 32)], (2, 10, 32, 48))
    yield _named(group, "F.linear with bias", F, "linear", [*_TOKENS, (48, 32), (48,)], (2, 10, 32, 48))
    yield _case(group, "Bilinear", lambda: nn.Bilinear(8, 6, 5), [(4, 8), (4, 6)], (4, 8, 6, 5))
    # every step: 4, 3 or 1 gates x 32 x (inputs + 32); another layer takes 32, both directions 2 x 32 inputs
    yield _case(group, "LSTM", lambda: _first(nn.LSTM(16, 32)), [(10, 2, 16)], (10, 2, 4, 32, 48))
    yield _case(group, "LSTM, 2 layers, both directions",
                lambda: _first(nn.LSTM(16, 32, num_layers=2, bidirectional=True)), [(10, 2, 16)],
                (10, 2, 2, 4, 32, 48), (10, 2, 2, 4, 32, 96))  # fmt: skip
    yield _case(group, "GRU", lambda: _first(nn.GRU(16, 32)), [(10, 2, 16)], (10, 2, 3, 32, 48))
    yield _case(group, "RNN", lambda: _first(nn.RNN(16, 32)), [(10, 2, 16)], (10, 2, 32, 48))
    yield _case(group, "LSTMCell", lambda: _first(nn.LSTMCell(16, 32)), [(2, 16)], (2, 4, 32, 48))


def _attentions() -> Iterator[DoctorCase]:
    """Batch x heads x queries x keys x (d_qk + d_v), and the projections of the layers that have them."""
    group = "attention"
    cross = (2, 4, 64, 77, 32)
    yield _case(group, "SDPA, self", _attention, _SELF, (2, 4, 64, 64, 32))
    yield _case(group, "SDPA, cross", _attention, _CROSS, cross)
    yield _function(group, "SDPA by keywords", lambda q, k, v: F.scaled_dot_product_attention(query=q, key=k, value=v),
                    _CROSS, cross)  # fmt: skip
    yield _case(group, "SDPA, d_v of 24", _attention, [*_CROSS[:2], (2, 4, 77, 24)], (2, 4, 64, 77, 16 + 24))
    yield _case(group, "SDPA, causal", lambda: _attention(is_causal=True), _SELF, (2, 4, 64, 64, 32))
    yield _named(group, "SDPA with a mask", F, "scaled_dot_product_attention", [*_CROSS, (64, 77)],
                    cross)  # fmt: skip
    yield _case(group, "SDPA, grouped queries", lambda: _attention(enable_gqa=True),
                [(2, 4, 64, 16), (2, 2, 77, 16), (2, 2, 77, 16)], cross)  # fmt: skip
    yield _case(group, "SDPA without heads", _attention, [(2, 64, 16), (2, 77, 16), (2, 77, 16)], (2, 64, 77, 32))
    yield _function(group, "attention written out", lambda q, k, v: (q @ k.transpose(-1, -2)).softmax(-1) @ v, _CROSS,
                    cross)  # fmt: skip
    # 10 queries, 4 projections of 64 x 64, 4 heads of 16
    mha = ((2, 10, 4, 64, 64), (2, 4, 10, 10, 32))
    yield _case(group, "MultiheadAttention, need_weights=False", lambda: _mha(False), [(2, 10, 64)], *mha)
    yield _case(group, "MultiheadAttention, need_weights=True", lambda: _mha(True), [(2, 10, 64)], *mha)
    # 20 keys of 48: query and output 64 x 64 a query, key and value 48 x 64 a key
    yield _case(group, "MultiheadAttention, cross", lambda: _mha(False, kdim=48, vdim=48), [(2, 10, 64), (2, 20, 48)],
                (2, 10, 2, 64, 64), (2, 20, 2, 48, 64), (2, 4, 10, 20, 32))  # fmt: skip
    layer = (*mha, (2, 10, 2, 64, 128))  # and two linear layers, 64 to 128 and back
    yield _case(group, "TransformerEncoderLayer, training",
                lambda: nn.TransformerEncoderLayer(64, 4, 128, dropout=0.0, batch_first=True), [(2, 10, 64)],
                *layer)  # fmt: skip
    yield _case(group, "TransformerEncoderLayer, evaluation, on the CPU",
                lambda: nn.TransformerEncoderLayer(64, 4, 128, batch_first=True).eval(), [(2, 10, 64)], *layer,
                device="cpu")  # fmt: skip
    yield _case(group, "MultiheadAttention, evaluation, on the CPU", lambda: _mha(False), [(2, 10, 64)], *mha,
                device="cpu")  # fmt: skip
    yield _case(group, "SDPA, on the CPU", _attention, _CROSS, cross, device="cpu")
    yield _case(group, "SDPA, d_v of 24, on the CPU", _attention, [*_CROSS[:2], (2, 4, 77, 24)],
                (2, 4, 64, 77, 16 + 24), device="cpu")  # fmt: skip


def _products() -> Iterator[DoctorCase]:
    """Rows x contracted x columns."""
    group = "matrix product"
    wide, batched = [(2, 4, 10, 16), (2, 4, 16, 12)], [(8, 10, 16), (8, 16, 12)]
    yield _function(group, "a @ b", lambda a, b: a @ b, wide, (8, 10, 16, 12))
    yield _named(group, "torch.matmul", torch, "matmul", wide, (8, 10, 16, 12))
    yield _function(group, "Tensor.matmul", lambda a, b: a.matmul(b), wide, (8, 10, 16, 12))
    yield _named(group, "torch.mm", torch, "mm", [(10, 16), (16, 12)], (10, 16, 12))
    yield _named(group, "torch.bmm", torch, "bmm", batched, (8, 10, 16, 12))
    yield _named(group, "torch.addmm", torch, "addmm", [(12,), (10, 16), (16, 12)], (10, 16, 12))
    yield _named(group, "torch.baddbmm", torch, "baddbmm", [(8, 10, 12), *batched], (8, 10, 16, 12))
    yield _named(group, "torch.addbmm", torch, "addbmm", [(10, 12), *batched], (8, 10, 16, 12))
    yield _named(group, "matmul, few by many", torch, "matmul", [(10, 16), (8, 16, 12)], (8, 10, 16, 12))
    yield _named(group, "matmul, many by few", torch, "matmul", [(8, 10, 16), (16, 12)], (8, 10, 16, 12))
    yield _named(group, "matmul, broadcast", torch, "matmul", [(2, 1, 10, 16), (4, 16, 12)], (2, 4, 10, 16, 12))
    yield _named(group, "matrix @ vector", torch, "matmul", [(10, 16), (16,)], (10, 16))
    yield _named(group, "vector @ matrix", torch, "matmul", [(16,), (16, 12)], (16, 12))
    yield _named(group, "torch.mv", torch, "mv", [(10, 16), (16,)], (10, 16))
    yield _named(group, "torch.dot", torch, "dot", [(16,), (16,)], (16,))
    yield _named(group, "torch.outer", torch, "outer", [(64,), (32,)], (64, 32))
    yield _function(group, "einsum bhid,bhjd->bhij", lambda a, b: torch.einsum("bhid,bhjd->bhij", a, b), _CROSS[:2],
                    (2, 4, 64, 77, 16))  # fmt: skip
    yield _function(group, "einsum bqd,bkd->bqk", lambda a, b: torch.einsum("bqd,bkd->bqk", a, b),
                    [(8, 64, 16), (8, 77, 16)], (8, 64, 77, 16))  # fmt: skip
    yield _function(group, "einsum i,j->ij", lambda a, b: torch.einsum("i,j->ij", a, b), [(64,), (32,)], (64, 32))
    yield _function(group, "einsum ...ij,...jk->...ik", lambda a, b: torch.einsum("...ij,...jk->...ik", a, b), wide,
                    (8, 10, 16, 12))  # fmt: skip
    # left to right: (ij, jk) first, then (ik, kl)
    yield _function(group, "einsum ij,jk,kl->il", lambda a, b, c: torch.einsum("ij,jk,kl->il", a, b, c),
                    [(10, 16), (16, 12), (12, 8)], (10, 16, 12), (10, 12, 8))  # fmt: skip
    yield _function(group, "torch.tensordot", lambda a, b: torch.tensordot(a, b, dims=1), [(2, 10, 16), (16, 12)],
                    (20, 16, 12))  # fmt: skip
    # a complex product is four real ones
    yield _function(group, "a @ b, complex", lambda a, b: a @ b, [(10, 16), (16, 12)], (4, 10, 16, 12),
                    dtype=torch.complex64)  # fmt: skip


def _modules() -> Iterator[DoctorCase]:
    """Layers held, called and changed in the ways that models do."""
    group = CALLED
    once = (2, 10, 32, 32)
    yield _case(group, "a layer called twice", lambda: Function(lambda self, x: self.a(self.a(x)), a=nn.Linear(32, 32)),
                _TOKENS, once, once)  # fmt: skip
    yield _case(group, "a layer under two names", TwoNames, _TOKENS, once, once)
    yield _case(group, "a layer under two parents", Aliased, _TOKENS, once, once)
    yield _case(group, "a subclass of Linear", lambda: OwnLinear(32, 48), _TOKENS, (2, 10, 32, 48))
    yield _case(group, "a subclass of Conv2d", lambda: OwnConv2d(8, 12, 3), _IMAGE, (2, 14, 14, 12, 8, 9))
    yield _case(group, "forward called directly",
                lambda: Function(lambda self, x: self.a.forward(x), a=nn.Linear(32, 48)), _TOKENS,
                (2, 10, 32, 48))  # fmt: skip
    lora = ((2, 10, 32, 48), (2, 10, 32, 4), (2, 10, 4, 48))
    yield _case(group, "LoRA, by hand", lambda: LowRank(32, 48, 4), _TOKENS, *lora)
    if find_spec("peft"):
        yield _case(group, "LoRA, of peft", _peft_lora, _TOKENS, *lora)
    yield _case(group, "Linear, weight-normed", lambda: parametrizations.weight_norm(nn.Linear(32, 48)), _TOKENS,
                (2, 10, 32, 48))  # fmt: skip
    # in evaluation the norm is a product with both vectors: u (W v), 48 x 32 and 48
    yield _case(group, "Linear, spectral-normed", lambda: parametrizations.spectral_norm(nn.Linear(32, 48)).eval(),
                _TOKENS, (2, 10, 32, 48), (48, 32), (48,))  # fmt: skip
    yield _case(group, "a branch and a loop", Branches, _TOKENS, (2, 2, 10, 32, 64))
    yield _case(group, "a checkpointed layer",
                lambda: Function(lambda self, x: checkpoint(self.a, x, use_reentrant=False), a=nn.Linear(32, 48)),
                _TOKENS, (2, 10, 32, 48))  # fmt: skip
    yield _case(group, "a compiled layer",
                lambda: Function(lambda self, x: self.a(x), a=torch.compile(nn.Linear(32, 48))), _TOKENS,
                (2, 10, 32, 48))  # fmt: skip
    yield _case(group, "a scripted layer",
                lambda: Function(lambda self, x: self.a(x), a=torch.jit.script(nn.Linear(32, 48))), _TOKENS,
                (2, 10, 32, 48))  # fmt: skip
    yield _case(group, "64 tokens", Attends, [(1, 64, 32)], (64, 32, 96), (64, 64, 64))
    yield _case(group, "128 tokens", Attends, [(1, 128, 32)], (128, 32, 96), (128, 128, 64))
    yield _case(group, "64 tokens of 2 images", Attends, [(2, 64, 32)], (2, 64, 32, 96), (2, 64, 64, 64))
    yield _case(group, "64 tokens, counted twice", Attends, [(1, 64, 32)], (64, 32, 96), (64, 64, 64), repeats=2)
    yield _case(group, "64 tokens on the CPU", Attends, [(1, 64, 32)], (64, 32, 96), (64, 64, 64), device="cpu")


def _free() -> Iterator[DoctorCase]:
    """A case without MACs."""
    group = "no MACs"
    layers: dict[str, Callable[[], nn.Module]] = {
        "LayerNorm": lambda: nn.LayerNorm(16),
        "LayerNorm without weights": lambda: nn.LayerNorm(16, elementwise_affine=False),
        "RMSNorm": lambda: nn.RMSNorm(16),
        "GroupNorm": lambda: nn.GroupNorm(4, 8),
        "BatchNorm2d, evaluation": lambda: nn.BatchNorm2d(8).eval(),
        "BatchNorm2d, training": lambda: nn.BatchNorm2d(8),
        "InstanceNorm2d": lambda: nn.InstanceNorm2d(8),
        "ReLU": nn.ReLU,
        "SiLU": nn.SiLU,
        "GELU": nn.GELU,
        "PReLU": nn.PReLU,
        "Softmax": lambda: nn.Softmax(dim=1),
        "AvgPool2d": lambda: nn.AvgPool2d(2),
        "AdaptiveAvgPool2d": lambda: nn.AdaptiveAvgPool2d(4),
        "MaxPool2d": lambda: nn.MaxPool2d(2),
        "Upsample, nearest": lambda: nn.Upsample(scale_factor=2),
        "Upsample, bilinear": lambda: nn.Upsample(scale_factor=2, mode="bilinear"),
        "PixelShuffle": lambda: nn.PixelShuffle(2),
        "Dropout, training": nn.Dropout,
    }
    functions: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "F.interpolate, nearest": lambda x: F.interpolate(x, scale_factor=2),
        "F.interpolate, bilinear": lambda x: F.interpolate(x, size=(24, 24), mode="bilinear"),
        "Tensor.softmax": lambda x: x.softmax(-1),
        "x + x": lambda x: x + x,
        "x * 0.5": lambda x: x * 0.5,
        "x * x": lambda x: x * x,
        "x.mean": lambda x: x.mean(-1),
    }
    for name, build in layers.items():
        yield _case(group, name, build, _IMAGE)
    for name, function in functions.items():
        yield _function(group, name, function, _IMAGE)
    yield _case(
        group, "Embedding", lambda: Function(lambda self, x: self.a(x.long()), a=nn.Embedding(100, 32)), [(2, 10)]
    )


def cases() -> tuple[DoctorCase, ...]:
    """Every case, in the order of the report."""
    parts = (_convolutions, _linear_layers, _attentions, _products, _modules, _free)
    return tuple(case for part in parts for case in part())
