"""torch-flops: a graph by torch.fx. It counts beside a GPU alone, and no cause explains its gap yet."""

from __future__ import annotations

from crosscheck.causes.tool import Sees, Tool

TORCH_FLOPS = Tool(
    "torch-flops",
    backends=("torch-flops",),
    release="0.4.1",
    installed="crosscheck[counters]",
    sees=Sees.SYMBOLS,
)
