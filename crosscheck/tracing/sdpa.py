"""The observer of ``torch.nn.functional.scaled_dot_product_attention``.

diffusers and transformers look the function up on its module at each call, so replacing the attribute sees them all;
on meta nothing else in torch looks it up, so no call is seen twice (only its own kernels run below it).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from typing import Any, NamedTuple

import torch.nn.functional as F
from torch import Tensor

from crosscheck.tracing.tensor_trees import shape


class AttentionCall(NamedTuple):
    """One call's shapes, with the parameter names torch gives them."""

    query: tuple[int, ...]
    key: tuple[int, ...]
    value: tuple[int, ...]
    is_causal: bool
    masked: bool
    dtype: str

    def _heads(self) -> int:
        """Batch x heads of the result: leading dimensions broadcast, grouped queries keep the query's heads."""
        q, k, v = self.query[:-2], self.key[:-2], self.value[:-2]
        depth = max(len(q), len(k), len(v))
        padded = [(1,) * (depth - len(s)) + tuple(s) for s in (q, k, v)]
        return prod(max(sizes) for sizes in zip(*padded, strict=True))

    def _macs_of(self, pairs: int) -> int:
        """MACs of so many query-key pairs in every head: a score and a weighted value each."""
        return self._heads() * pairs * (self.query[-1] + self.value[-1])

    @property
    def macs(self) -> int:
        """Dense: batch x heads x N_q x N_kv x (d_qk + d_v)."""
        return self._macs_of(self.query[-2] * self.key[-2])

    @property
    def causal_macs(self) -> int:
        """With the triangle that ``is_causal`` masks left out: query i sees the first i + 1 keys."""
        n_q, n_kv = self.query[-2], self.key[-2]
        triangle = min(n_q, n_kv)
        return self._macs_of(triangle * (triangle + 1) // 2 + (n_q - triangle) * n_kv) if self.is_causal else self.macs

    @property
    def query_only_macs(self) -> int:
        """N_q x N_q for the keys' length, and a MAC for each softmax element: B H N N D + B H N N + B H N N D."""
        heads, n, d = prod(self.query[:-2]), self.query[-2], self.query[-1]
        return heads * n * n * (2 * d + 1)


Observer = Callable[[AttentionCall], None]

_lock = threading.Lock()
_observers: list[tuple[Observer, Callable[[], None]]] = []
_original: Any = None
_functional: Any = F


def _observed(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    **kwargs: Any,
) -> Tensor:
    observers = tuple(_observers)
    call = AttentionCall(shape(query), shape(key), shape(value), is_causal, attn_mask is not None, _dtype(query))
    for entered, _ in observers:
        entered(call)
    try:
        result: Tensor = _original(query, key, value, attn_mask, dropout_p, is_causal, **kwargs)
        return result
    finally:
        for _, left in observers:
            left()


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


@contextmanager
def observing(entered: Observer, left: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Call ``entered`` before and ``left`` after every scaled_dot_product_attention, from any thread.

    Nests; torch's own function is back when the outermost observer leaves, also after an error.
    """
    global _original
    entry = (entered, left)
    with _lock:
        if not _observers:
            _original = _functional.scaled_dot_product_attention
            _functional.scaled_dot_product_attention = _observed
        _observers.append(entry)
    try:
        yield
    finally:
        with _lock:
            _observers.remove(entry)
            if not _observers:
                _functional.scaled_dot_product_attention = _original
