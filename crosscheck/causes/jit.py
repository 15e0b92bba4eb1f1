"""What a trace by torch.jit can't be made of, whichever counter reads it."""

from __future__ import annotations

import re

from crosscheck.causes.declare import NoNumber, has_compiled, has_scripted, no_number

_TRACED = frozenset({"fvcore", "fvcore-plain", "fvcore-meta", "torchprofile"})

no_number(
    NoNumber(
        name="jit-compiled",
        summary="The counter reads a trace by torch.jit, which refuses compiled modules.",
        source="torch/_dynamo/eval_frame.py (error_on_nested_jit_trace); fvcore #137",
        backends=_TRACED,
        words=re.compile("torch.jit.trace a dynamo-optimized function"),
        applies=has_compiled,
    )
)
no_number(
    NoNumber(
        name="jit-scripted",
        summary="The counter traces with torch.jit without naming the module, and a scripted module is then no part "
        "of the trace.",
        source="torch/csrc/jit/frontend/tracer.cpp, gatherParametersAndBuffers (2.13.0)",
        backends=_TRACED,
        words=re.compile("is not part of the active trace"),
        applies=has_scripted,
    )
)
