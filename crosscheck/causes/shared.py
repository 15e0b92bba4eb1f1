"""Causes of every tool with a trait: attention, layers that torch runs as one kernel, and evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from crosscheck.causes.reading import attention_macs, evaluated, fused, products
from crosscheck.causes.tool import shared_cause
from crosscheck.records import AttentionRow, Census


@shared_cause(
    "attention-not-counted",
    lambda tool: tool.misses_attention,
    "scaled_dot_product_attention is not counted: it is a functional call, which module hooks don't see, and "
    "the trace holds one operator that has no handle.",
    "thop/profile.py:188 (hooks only); fvcore/nn/flop_count.py:26-44 (no aten::scaled_dot_product_attention); "
    "torchinfo/torchinfo.py:652-657 (1.8.0, hooks only)",
)
def _attention_not_counted(census: Census) -> int:
    return -attention_macs(census)


@shared_cause(
    "query-only-n-by-n",
    lambda tool: tool.attention_by_query,
    "Attention is charged N_q x N_q instead of N_q x N_kv, with the query's width for the value's: cross-attention "
    "over 77 tokens costs as much as self-attention over the whole image.",
    "the rule B H N N D + B H N N + B H N N D with N and D from the query alone",
)
def _query_only(census: Census) -> int:
    return sum(row.query_only_macs - row.macs for row in _patched(census)) - _query_softmax(census)


@shared_cause(
    "softmax-as-macs",
    lambda tool: tool.attention_by_query,
    "One MAC is charged for each element of the softmax: B x H x N x N. A softmax has no multiply-accumulate.",
    "the middle term of B H N N D + B H N N + B H N N D",
)
def _query_softmax(census: Census) -> int:
    return sum(row.count * prod(row.query[:-1]) * row.query[-2] for row in _patched(census))


def _patched(census: Census) -> Iterator[AttentionRow]:
    """The calls that a patch sees: none in a layer that torch runs as one kernel while the tool counts."""
    return (row for row in census.attention if not census.modules[row.module].native)


_KERNEL = "torch/nn/modules/activation.py:1433; torch/nn/modules/transformer.py:917"


@shared_cause(
    "native-layer",
    lambda tool: tool.by_operator,
    "In evaluation and without gradients torch runs nn.MultiheadAttention and nn.TransformerEncoderLayer on a CPU as "
    "one kernel each, of which the counter knows nothing.",
    _KERNEL,
    looks_at="ran",
)
def _native_layer(census: Census) -> int:
    return -_macs_inside(fused(census), census)


@shared_cause(
    "native-attention",
    lambda tool: tool.by_function,
    "In evaluation and without gradients torch runs nn.MultiheadAttention on a CPU as one kernel, which calls none of "
    "the functions that the counter has replaced.",
    _KERNEL,
    looks_at="ran",
)
def _native_attention(census: Census) -> int:
    return -_macs_inside(fused(census, "MultiheadAttention"), census)


def _macs_inside(modules: frozenset[int], census: Census) -> int:
    return sum(row.macs for row in products(census) if row.module in modules)


@shared_cause(
    "evaluation",
    lambda tool: tool.evaluating,
    "The counter puts the model in evaluation first; in training it runs other parts.",
    "thop/profile.py:208; ptflops/pytorch_engine.py:35 and aten_engine.py:114 (0.7.5); torchinfo/torchinfo.py:285-286 "
    "(1.8.0); calflops/flops_counter.py:112 (0.3.2); flops_profiler/profiler.py:1477 (0.1.2); "
    "deepspeed/profiling/flops_profiler/profiler.py:1238 (0.19.8)",
    looks_at="given",
)
def _evaluation(census: Census) -> int:
    return sum(row.macs for row in evaluated(census).ops) - sum(row.macs for row in census.ops)
