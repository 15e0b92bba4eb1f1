"""What a trace by torch.jit can't be made of, whichever counter reads it."""

from __future__ import annotations

import re
from collections.abc import Callable

from crosscheck.causes.declare import PredictedFailure, has_compiled, has_scripted, predict_failure
from crosscheck.records import Census

_TRACED = frozenset({"fvcore", "fvcore-plain", "fvcore-meta", "torchprofile", "onnx-tool"})


def _refused(name: str, summary: str, source: str, words: str, applies: Callable[[Census], bool]) -> None:
    predict_failure(PredictedFailure(f"jit-{name}", summary, source, _TRACED, re.compile(words), applies))


_refused(
    "compiled",
    "The counter reads a trace by torch.jit, which refuses compiled modules.",
    "torch/_dynamo/eval_frame.py:1127-1131 (2.13.0, error_on_nested_jit_trace); fvcore #137",
    "torch.jit.trace a dynamo-optimized function",
    has_compiled,
)
_refused(
    "scripted",
    "The counter traces with torch.jit without naming the module, and a scripted module is then no part of the trace.",
    "torch/csrc/jit/frontend/tracer.cpp, gatherParametersAndBuffers (2.13.0)",
    "is not part of the active trace",
    has_scripted,
)
_refused(
    "functional-call",
    "The counter reads a trace by torch.jit, while which torch.func.functional_call refuses.",
    "torch/nn/utils/stateless.py:265 (2.13.0)",
    "The stateless API can't be used with Jitted modules",
    lambda census: "functional_call" in census.untraceable,
)
_refused(
    "checkpoint",
    "The counter reads a trace by torch.jit, which knows inside a reentrant checkpoint the tensors alone that it was "
    "given: no parameter or buffer of the module, nothing that its function encloses.",
    "torch/utils/checkpoint.py:237,273-274 (2.13.0, CheckpointFunction); torch/csrc/jit/frontend/tracer.cpp, getValue",
    "(unordered_map|_Map_base)::at",
    lambda census: "checkpoint" in census.untraceable,
)
_refused(
    "gradient",
    "The counter reads a trace by torch.jit, which takes the tensors of torch.func.grad, vjp and their kind for "
    "constants, and can't keep them.",
    "torch/_functorch/eager_transforms.py:157,177 (2.13.0); torch/csrc/jit/frontend/tracer.cpp, getValue",
    "Cannot (copy out of meta tensor|access data pointer of Tensor|insert a Tensor that requires grad as a constant)|"
    "Unsupported value kind: Tensor",
    lambda census: "func.grad" in census.untraceable,
)
