"""flops-profiler: functions of its own in the place of torch's."""

from __future__ import annotations

from crosscheck.causes import replaced
from crosscheck.causes import replaced_failures as failures
from crosscheck.causes.reading import argument, given
from crosscheck.causes.tool import Sees, Tool
from crosscheck.records import Census

FLOPS_PROFILER = Tool(
    "flops-profiler",
    backends=("flops-profiler",),
    release="0.1.2",
    installed="crosscheck[counters]",
    sees=Sees.FUNCTIONS,
    evaluates=True,
)
_COUNTER = replaced.Counter(
    FLOPS_PROFILER,
    "flops-profiler",
    replaced.functions(
        "torch.matmul Tensor.matmul torch.mm Tensor.mm torch.bmm Tensor.bmm torch.addmm Tensor.addmm torch.baddbmm "
        "Tensor.baddbmm torch.einsum"
    ),
    root=False,
)

_COUNTER.cause("flops-profiler-attention", replaced.attention, "flops_profiler/profiler.py:1035-1130 (0.1.2)")


@FLOPS_PROFILER.cause(
    "flops-profiler-no-rule",
    "Products by other ways than the functions that flops-profiler replaces count as 0: a @ b, mv, LSTM and GRU.",
    "flops_profiler/profiler.py:1035-1130 (0.1.2)",
)
def _no_rule(census: Census) -> int:
    return replaced.no_rule(census, _COUNTER)


_COUNTER.cause("flops-profiler-einsum", replaced.einsum_without_macs, "flops_profiler/profiler.py:956 (0.1.2)")
_COUNTER.cause("flops-profiler-vmap", replaced.vmap, "flops_profiler/profiler.py:1007-1012 (0.1.2)")
_COUNTER.cause("flops-profiler-matmul", replaced.matmul, "flops_profiler/profiler.py:926 (0.1.2)")
_COUNTER.cause("flops-profiler-linear", replaced.linear, "flops_profiler/profiler.py:680-683 (0.1.2)")
_COUNTER.cause("flops-profiler-meta-kernels", replaced.meta_kernels, "flops_profiler/profiler.py:1007-1012 (0.1.2)")
_COUNTER.cause("flops-profiler-complex-as-real", replaced.complex_as_real, "flops_profiler/profiler.py:680-683 (0.1.2)")
_COUNTER.cause("flops-profiler-shared-module", replaced.shared_module, "flops_profiler/profiler.py:1397-1402 (0.1.2)")
_COUNTER.cause("flops-profiler-compiled", replaced.compiled, "flops_profiler/profiler.py:1397-1402 (0.1.2)")


@FLOPS_PROFILER.cause(
    "flops-profiler-own-forward",
    "flops-profiler calls forward itself, so that the hooks of the model do not run: functions that the model calls "
    "outside its children are lost, of an nn.Linear by itself all.",
    "flops_profiler/profiler.py:1507-1511,1009-1012 (0.1.2)",
)
def _own_forward(census: Census) -> int:
    calls = (call for call in census.calls if call.function in _COUNTER.counted)
    return -sum(call.macs for call in calls if replaced.is_root(census.modules[call.module]))


_COUNTER.cause("flops-profiler-padding", replaced.padding, "flops_profiler/profiler.py:680-683 (0.1.2)")

_COUNTER.fails("flops-profiler-lazy", failures.lazy, "flops_profiler/profiler.py:195 (0.1.2)")
_COUNTER.fails("flops-profiler-scripted", failures.scripted, "flops_profiler/profiler.py:104 (0.1.2)")
_COUNTER.fails("flops-profiler-no-parameters", failures.no_parameters, "flops_profiler/profiler.py:71 (0.1.2)")
_COUNTER.fails(
    "flops-profiler-unbatched-convolution", failures.unbatched_convolution, "flops_profiler/profiler.py:741 (0.1.2)"
)
_COUNTER.fails(
    "flops-profiler-convolution-lists", failures.convolution_lists, "flops_profiler/profiler.py:751-761 (0.1.2)"
)
_COUNTER.fails(
    "flops-profiler-scale-factors", failures.scale_factors_by_name, "flops_profiler/profiler.py:895-898 (0.1.2)"
)
_COUNTER.fails("flops-profiler-einsum-list", failures.einsum_list, "flops_profiler/profiler.py:943 (0.1.2)")
_COUNTER.fails("flops-profiler-einsum-sublists", failures.einsum_sublists, "flops_profiler/profiler.py:943 (0.1.2)")
_COUNTER.fails("flops-profiler-arguments", failures.arguments, "flops_profiler/profiler.py:714-727,922,960 (0.1.2)")


@FLOPS_PROFILER.fails(
    "flops-profiler-transposed-convolution",
    "flops-profiler misspells groups, so that every transposed convolution ends in a NameError.",
    "flops_profiler/profiler.py:813 (0.1.2)",
    words="^NameError: name 'grofups'",
)
def _transposed_convolution(census: Census) -> bool:
    return failures.any_call(census, replaced.TRANSPOSED, lambda call: True)


@FLOPS_PROFILER.fails(
    "flops-profiler-named-padding",
    'flops-profiler reckons with padding="same" and "valid" as with numbers.',
    "flops_profiler/profiler.py:751,757-760 (0.1.2)",
    words="^TypeError: unsupported operand type",
)
def _named_padding(census: Census) -> bool:
    return failures.any_call(census, replaced.CONVS, lambda call: isinstance(argument(call, 4, "padding"), str))


@FLOPS_PROFILER.fails(
    "flops-profiler-upsample",
    "flops-profiler takes the size and scale of an interpolation by name alone; nn.Upsample gives them by position.",
    "flops_profiler/profiler.py:885 (0.1.2)",
    words=r"^TypeError: _upsample_flops_compute\(\) takes 1 positional argument",
)
def _upsample(census: Census) -> bool:
    return failures.any_call(census, failures.RESIZING, lambda call: len(given(call)[0]) > 1)


_COUNTER.fails(
    "flops-profiler-recurrent-by-name", failures.recurrent_by_name, "flops_profiler/profiler.py:1219,1246 (0.1.2)"
)
_COUNTER.fails("flops-profiler-packed-sequence", failures.packed_sequence, "flops_profiler/profiler.py:1220 (0.1.2)")
