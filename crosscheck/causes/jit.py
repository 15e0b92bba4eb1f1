"""Modules and calls that torch.jit can't trace, whichever counter reads the trace."""

from __future__ import annotations

from crosscheck.causes.reading import has_compiled, has_scripted
from crosscheck.causes.tool import shared_failure
from crosscheck.records import Census

shared_failure(
    "jit-compiled",
    lambda tool: tool.traced,
    "The counter reads a trace by torch.jit, which refuses compiled modules.",
    "torch/_dynamo/eval_frame.py:1127-1131 (2.13.0, error_on_nested_jit_trace); fvcore #137",
    words="torch.jit.trace a dynamo-optimized function",
)(has_compiled)

shared_failure(
    "jit-scripted",
    lambda tool: tool.traced,
    "The counter traces with torch.jit without naming the module, and a scripted module is then no part of the trace.",
    "torch/csrc/jit/frontend/tracer.cpp, gatherParametersAndBuffers (2.13.0)",
    words="is not part of the active trace",
)(has_scripted)


@shared_failure(
    "jit-functional-call",
    lambda tool: tool.traced,
    "The counter reads a trace by torch.jit, while which torch.func.functional_call refuses.",
    "torch/nn/utils/stateless.py:265 (2.13.0)",
    words="The stateless API can't be used with Jitted modules",
)
def _functional_call(census: Census) -> bool:
    return "functional_call" in census.untraceable


@shared_failure(
    "jit-checkpoint",
    lambda tool: tool.traced,
    "The counter reads a trace by torch.jit, which knows inside a reentrant checkpoint the tensors alone that it was "
    "given: no parameter or buffer of the module, nothing that its function encloses.",
    "torch/utils/checkpoint.py:237,273-274 (2.13.0, CheckpointFunction); torch/csrc/jit/frontend/tracer.cpp, getValue",
    words="(unordered_map|_Map_base)::at",
)
def _checkpoint(census: Census) -> bool:
    return "checkpoint" in census.untraceable


@shared_failure(
    "jit-gradient",
    lambda tool: tool.traced,
    "The counter reads a trace by torch.jit, which takes the tensors of torch.func.grad, vjp and their kind for "
    "constants, and can't keep them.",
    "torch/_functorch/eager_transforms.py:157,177 (2.13.0); torch/csrc/jit/frontend/tracer.cpp, getValue",
    words="Cannot (copy out of meta tensor|access data pointer of Tensor|insert a Tensor that requires grad as a "
    "constant)|Unsupported value kind: Tensor",
)
def _gradient(census: Census) -> bool:
    return "func.grad" in census.untraceable
