"""DeepSpeed: functions of its own in the place of torch's."""

from __future__ import annotations

from crosscheck.causes import replaced
from crosscheck.causes import replaced_failures as failures
from crosscheck.causes.reading import TENSOR, given
from crosscheck.causes.tool import Sees, Tool
from crosscheck.records import Census

DEEPSPEED = Tool(
    "deepspeed",
    backends=("deepspeed",),
    release="0.19.8",
    installed="crosscheck[counters]",
    sees=Sees.FUNCTIONS,
    evaluates=True,
)
_COUNTER = replaced.Counter(
    DEEPSPEED,
    "DeepSpeed",
    replaced.functions(
        "torch.matmul Tensor.matmul Tensor.__matmul__ torch.mm Tensor.mm torch.bmm Tensor.bmm torch.addmm Tensor.addmm "
        "torch.baddbmm torch.einsum",
        replaced.ATTENTION,
    ),
    sums_by_parent=False,
)


@DEEPSPEED.cause(
    "deepspeed-no-rule",
    "Products by other ways than the functions that DeepSpeed replaces count as 0: Tensor.baddbmm, mv, LSTM and GRU.",
    "deepspeed/profiling/flops_profiler/profiler.py:890-973 (0.19.8)",
)
def _no_rule(census: Census) -> int:
    return replaced.no_rule(census, _COUNTER)


_COUNTER.cause(
    "deepspeed-einsum", replaced.einsum_without_macs, "deepspeed/profiling/flops_profiler/profiler.py:803 (0.19.8)"
)
_COUNTER.cause("deepspeed-vmap", replaced.vmap, "deepspeed/profiling/flops_profiler/profiler.py:877-883 (0.19.8)")
_COUNTER.cause("deepspeed-matmul", replaced.matmul, "deepspeed/profiling/flops_profiler/profiler.py:773 (0.19.8)")
_COUNTER.cause("deepspeed-linear", replaced.linear, "deepspeed/profiling/flops_profiler/profiler.py:523-526 (0.19.8)")
_COUNTER.cause(
    "deepspeed-same-padding", replaced.same_padding, "deepspeed/profiling/flops_profiler/profiler.py:582-597 (0.19.8)"
)
_COUNTER.cause(
    "deepspeed-meta-kernels", replaced.meta_kernels, "deepspeed/profiling/flops_profiler/profiler.py:877-883 (0.19.8)"
)
_COUNTER.cause(
    "deepspeed-complex-as-real",
    replaced.complex_as_real,
    "deepspeed/profiling/flops_profiler/profiler.py:523-526 (0.19.8)",
)
_COUNTER.cause(
    "deepspeed-compiled", replaced.compiled, "deepspeed/profiling/flops_profiler/profiler.py:1184-1185 (0.19.8)"
)


@DEEPSPEED.cause(
    "deepspeed-attention-batch",
    "DeepSpeed counts attention by the query's leading sizes: too little where keys and values have more.",
    "deepspeed/profiling/flops_profiler/profiler.py:867-868 (0.19.8)",
)
def _attention_batch(census: Census) -> int:
    return replaced.off(census, _COUNTER, "scaled_dot_product_attention")


_COUNTER.cause("deepspeed-padding", replaced.padding, "deepspeed/profiling/flops_profiler/profiler.py:523-526 (0.19.8)")

_COUNTER.fails("deepspeed-lazy", failures.lazy, "deepspeed/profiling/flops_profiler/profiler.py:183 (0.19.8)")
_COUNTER.fails("deepspeed-scripted", failures.scripted, "deepspeed/profiling/flops_profiler/profiler.py:104 (0.19.8)")
_COUNTER.fails(
    "deepspeed-unbatched-convolution",
    failures.unbatched_convolution,
    "deepspeed/profiling/flops_profiler/profiler.py:570 (0.19.8)",
)
_COUNTER.fails(
    "deepspeed-convolution-lists",
    failures.convolution_lists,
    "deepspeed/profiling/flops_profiler/profiler.py:580-593 (0.19.8)",
)
_COUNTER.fails(
    "deepspeed-einsum-list", failures.einsum_list, "deepspeed/profiling/flops_profiler/profiler.py:790 (0.19.8)"
)
_COUNTER.fails(
    "deepspeed-einsum-sublists", failures.einsum_sublists, "deepspeed/profiling/flops_profiler/profiler.py:790 (0.19.8)"
)
_COUNTER.fails(
    "deepspeed-arguments", failures.arguments, "deepspeed/profiling/flops_profiler/profiler.py:553-565,769,830 (0.19.8)"
)


@DEEPSPEED.fails(
    "deepspeed-attention-by-name",
    "DeepSpeed's function takes query, key and value by position alone; by name, as in diffusers, they are missing.",
    "deepspeed/profiling/flops_profiler/profiler.py:863 (0.19.8)",
    words=r"^TypeError: _attn_flops_compute\(\) missing",
)
def _attention_by_name(census: Census) -> bool:
    return failures.any_call(census, replaced.ATTENTION, lambda call: given(call)[0][:3] != [TENSOR] * 3)


_COUNTER.fails(
    "deepspeed-interpolate-by-name",
    failures.interpolate_by_name,
    "deepspeed/profiling/flops_profiler/profiler.py:721 (0.19.8)",
)
_COUNTER.fails(
    "deepspeed-recurrent-by-name",
    failures.recurrent_by_name,
    "deepspeed/profiling/flops_profiler/profiler.py:1070,1097 (0.19.8)",
)
_COUNTER.fails(
    "deepspeed-packed-sequence",
    failures.packed_sequence,
    "deepspeed/profiling/flops_profiler/profiler.py:1071 (0.19.8)",
)
