"""calflops: functions of its own in the place of torch's."""

from __future__ import annotations

from crosscheck.causes import replaced
from crosscheck.causes import replaced_failures as failures
from crosscheck.causes.tool import Sees, Tool
from crosscheck.records import Census

CALFLOPS = Tool(
    "calflops",
    backends=("calflops",),
    release="0.3.2",
    installed="crosscheck[counters]",
    sees=Sees.FUNCTIONS,
    evaluates=True,
)
_COUNTER = replaced.Counter(
    CALFLOPS,
    "calflops",
    replaced.functions("torch.matmul Tensor.matmul torch.addmm Tensor.addmm torch.baddbmm torch.einsum"),
    split_twice=True,
)

_COUNTER.cause("calflops-attention", replaced.attention, "calflops/pytorch_ops.py:452-525 (0.3.2)")


@CALFLOPS.cause(
    "calflops-no-rule",
    "Products by other ways than the functions that calflops replaces count as 0: a @ b, mm, bmm, Tensor.baddbmm, mv, "
    "LSTM and GRU.",
    "calflops/pytorch_ops.py:452-525 (0.3.2)",
)
def _no_rule(census: Census) -> int:
    return replaced.no_rule(census, _COUNTER)


_COUNTER.cause("calflops-einsum", replaced.einsum_without_macs, "calflops/pytorch_ops.py:308 (0.3.2)")
_COUNTER.cause("calflops-vmap", replaced.vmap, "calflops/pytorch_ops.py:358-364 (0.3.2)")
_COUNTER.cause("calflops-matmul", replaced.matmul, "calflops/pytorch_ops.py:278 (0.3.2)")
_COUNTER.cause("calflops-linear", replaced.linear, "calflops/pytorch_ops.py:37-40 (0.3.2)")
_COUNTER.cause("calflops-same-padding", replaced.same_padding, "calflops/pytorch_ops.py:96-111 (0.3.2)")
_COUNTER.cause("calflops-complex-as-real", replaced.complex_as_real, "calflops/pytorch_ops.py:37-40 (0.3.2)")
_COUNTER.cause("calflops-shared-module", replaced.shared_module, "calflops/utils.py:278-282 (0.3.2)")
_COUNTER.cause("calflops-compiled", replaced.compiled, "calflops/utils.py:278-282 (0.3.2)")


@CALFLOPS.cause(
    "calflops-transposed-groups",
    "The weight of a transposed convolution holds one group's filters, which calflops divides by the groups once more.",
    "calflops/pytorch_ops.py:140,161 (0.3.2)",
)
def _transposed_groups(census: Census) -> int:
    return replaced.off(census, _COUNTER, "conv_transpose1d conv_transpose2d conv_transpose3d")


_COUNTER.cause("calflops-padding", replaced.padding, "calflops/pytorch_ops.py:37-40 (0.3.2)")

_COUNTER.fails("calflops-lazy", failures.lazy, "calflops/calculate_pipline.py:135 (0.3.2)")
_COUNTER.fails("calflops-scripted", failures.scripted, "calflops/calculate_pipline.py:87 (0.3.2)")
_COUNTER.fails("calflops-no-parameters", failures.no_parameters, "calflops/flops_counter.py:121 (0.3.2)")
_COUNTER.fails("calflops-unbatched-convolution", failures.unbatched_convolution, "calflops/pytorch_ops.py:84 (0.3.2)")
_COUNTER.fails("calflops-convolution-lists", failures.convolution_lists, "calflops/pytorch_ops.py:94-107 (0.3.2)")
_COUNTER.fails("calflops-scale-factors", failures.scale_factors, "calflops/pytorch_ops.py:246-250 (0.3.2)")
_COUNTER.fails("calflops-einsum-list", failures.einsum_list, "calflops/pytorch_ops.py:295 (0.3.2)")
_COUNTER.fails("calflops-einsum-sublists", failures.einsum_sublists, "calflops/pytorch_ops.py:295 (0.3.2)")
_COUNTER.fails("calflops-arguments", failures.arguments, "calflops/pytorch_ops.py:67-79,312 (0.3.2)")
_COUNTER.fails("calflops-interpolate-by-name", failures.interpolate_by_name, "calflops/pytorch_ops.py:230 (0.3.2)")
_COUNTER.fails("calflops-recurrent-by-name", failures.recurrent_by_name, "calflops/pytorch_ops.py:400,428 (0.3.2)")
_COUNTER.fails("calflops-packed-sequence", failures.packed_sequence, "calflops/pytorch_ops.py:401 (0.3.2)")
