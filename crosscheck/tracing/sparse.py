"""Products of sparse tensors: what is multiplied are the entries that are stored, zeros among them too."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import torch

from crosscheck.tracing.tensor_trees import flat

#: Places of the two factors among the arguments.
_FACTORS = {
    **dict.fromkeys("mm bmm mv dot hspmm _sparse_sparse_matmul _sparse_mm_reduce_impl".split(), (0, 1)),
    **dict.fromkeys("addmm addmv baddbmm addbmm _sparse_addmm sspaddmm sparse_sampled_addmm".split(), (1, 2)),
    "linear": (0, 1),
}


_LAYOUTS = {torch.sparse_coo, torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc}


class Stored(NamedTuple):
    """MACs of a product of sparse tensors: of what is stored, and of all that it stands for."""

    macs: int
    dense: int


def is_sparse(x: Any) -> bool:
    """Whether it is a tensor that stores some of its elements only."""
    return isinstance(x, torch.Tensor) and x.layout in _LAYOUTS


def has_sparse(args: Sequence[Any]) -> bool:
    """Whether one of an operator's arguments is."""
    return any(map(is_sparse, flat(args)))


def untold(name: str, args: Sequence[Any]) -> str:
    """The layout of the first tensor whose entries do not tell how much ``name`` multiplies; empty where all do."""
    layouts = [x.layout for x in flat(args) if isinstance(x, torch.Tensor) and not x.is_nested]
    other = next((layout for layout in layouts if layout not in {*_LAYOUTS, torch.strided, torch._mkldnn}), None)
    if other is None and has_sparse(args) and stored(name, args) is None:
        other = next(layout for layout in layouts if layout in _LAYOUTS)
    return str(other or "")


def dense_macs(name: str, args: Sequence[Any]) -> int:
    """MACs of operator ``name`` if its sparse tensors were dense; 0 where it has none."""
    found = stored(name, args) if has_sparse(args) else None
    return found.dense if found else 0


def stored(name: str, args: Sequence[Any]) -> Stored | None:
    """MACs of operator ``name`` where an argument is sparse; None where they can't be told from its entries."""
    if name not in _FACTORS:
        return None
    a, b = (args[place] for place in _FACTORS[name])
    columns = b.shape[0] if name == "linear" else b.shape[-1] if b.ndim > 1 else 1
    dense = prod(a.shape) * columns
    if name == "sparse_sampled_addmm":  # the places of the first that has entries are the result's
        return Stored(_entries(args[0]) * a.shape[-1], dense)
    if name == "_sparse_mm_reduce_impl" and args[2] not in {"sum", "mean"}:  # the largest product is not added up
        return Stored(0, 0)
    if is_sparse(a) and is_sparse(b):
        return None if a.is_meta else Stored(_meetings(a, b.mT if name == "linear" else b), dense)
    if is_sparse(a):
        return Stored(_entries(a) * columns, dense)
    return Stored(prod(a.shape[:-1]) * _entries(b) // prod(b.shape[:-2]), dense)


def _entries(x: Any) -> int:
    """Numbers that are stored, those of whole blocks too."""
    values = x._values() if x.layout is torch.sparse_coo else x.values()
    entries: int = values.numel()
    return entries


def _meetings(a: Any, b: Any) -> int:
    """How often an entry of a column of ``a`` meets one of the same row of ``b``."""
    columns, rows = (
        torch.bincount(x.to_sparse_coo()._indices()[dim], minlength=size)
        for x, dim, size in ((a, 1, a.shape[1]), (b, 0, b.shape[0]))
    )
    return int((columns * rows).sum())  # no matrix product, which would be taken for one of the model's
