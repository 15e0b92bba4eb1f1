"""The execution of a processor, as its own log or counters have it."""

from __future__ import annotations

from crosscheck.records import Op, Record, Shape


class Primitive(Record, frozen=True, kw_only=True):
    """Calls alike of a math library's routine, as its log has them."""

    routine: str
    """``SGEMM`` of MKL, ``convolution`` of oneDNN."""
    sizes: str
    """As they were logged: M, N and K, or oneDNN's description of the problem; empty where none were."""
    macs: int | None
    """Of one call; None where the log gives no size."""
    count: int = 1
    """How many of them."""


class Kernel(Record, frozen=True, kw_only=True):
    """One kernel that a GPU ran, and its counters."""

    name: str
    """As the profiler gives it."""
    grid: Shape
    """Blocks in each dimension."""
    block: Shape
    """Threads of a block in each dimension."""
    tensor: int = 0
    """MACs on the tensor cores: half of the operations they count."""
    ffma: int = 0
    """Fused multiply-adds of float32 outside them, of all threads."""


class Execution(Record, frozen=True, kw_only=True):
    """Operations alike that a processor ran, and what it ran for each."""

    op: Op
    """``conv``, ``linear``, ``attention`` or ``matmul``."""
    aten: str
    """The operator that ran, e.g. ``addmm``."""
    shapes: tuple[Shape, ...]
    """Of its tensor inputs, in order."""
    out: Shape
    """Shape of its result."""
    is_causal: bool = False
    """Of attention."""
    transposed: bool = False
    """Of a convolution."""
    paths: tuple[str, ...]
    """Of the modules that ran it, one for each time; "" is the component itself."""
    macs: int
    """Of one, by its shapes."""
    primitives: tuple[Primitive, ...] = ()
    """What the CPU's libraries logged for one."""
    kernels: tuple[Kernel, ...] = ()
    """What the GPU ran for one."""


class Speed(Record, frozen=True, kw_only=True):
    """Speed of a forward on the GPU, and of its products of matrices."""

    seconds: float
    """Median of one forward, launched as Python does."""
    graph_seconds: float | None = None
    """Median of one replay of the forward captured as a CUDA graph; None where it can't be captured."""
    product_size: int
    """Rows and columns of the square matrices multiplied."""
    product_seconds: float
    """Median of one product of them, in the same precision."""
