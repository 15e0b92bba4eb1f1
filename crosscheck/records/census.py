"""The census of one forward: what ran, in distinct rows with counts. All that causes may look at."""

from __future__ import annotations

from collections import Counter

import msgspec
from msgspec import structs

from crosscheck.records.base import Op, Record, Shape


class ModuleRow(Record, frozen=True, kw_only=True):
    """Census: modules alike in everything but their place: what ran in them too."""

    class_name: str
    """Exact class with its module, e.g. ``torch.nn.modules.linear.Linear``."""
    base: str = ""
    """The class of torch.nn that it is or derives from, e.g. ``Linear``; empty where that is ``Module`` alone."""
    paths: tuple[tuple[str, ...], ...]
    """For each module all its dotted paths; several where parents share it."""
    params: int
    """Elements of its own parameters, its children's left out."""
    training: bool
    leaf: bool
    """Has no child modules."""
    calls: int
    """Times each was entered through ``__call__``."""
    direct: int = 0
    """Times each was entered by ``forward`` itself, where hooks don't see it."""
    visits: int = 1
    """Times a walk over children reaches each: more than once where several parents share it."""
    native: bool = False
    """Torch runs it, or what holds it, as one kernel in evaluation without gradients, where nothing watches the
    parts."""
    tokens: tuple[int, ...] = ()
    """Where torch then leaves padding out: the tokens that it keeps, and of how many."""
    parameters: dict[str, Shape] = {}
    """Its own parameters by name, tied ones once; where it is a leaf."""
    outputs: tuple[Shape, ...] = ()
    """Of a leaf with parameters, the shape of the first tensor that each call through ``__call__`` returned."""
    positional_counts: tuple[int, ...] = msgspec.field(name="positional", default=())
    """Of a class of torch.nn's, how many inputs its calls were given by position, each number once; left out where all
    were given one."""
    packed_outputs: tuple[tuple[int, int], ...] = msgspec.field(name="packed", default=())
    """Steps and sequences, at first, of each packed sequence that its calls returned."""
    mapped: bool = False
    """Was given a tensor first that torch.vmap maps."""
    derived: bool = False
    """Was entered inside of torch.func.grad, jvp or their kind."""


class OpRow(Record, frozen=True, kw_only=True):
    """Census: executed operations alike in everything, in modules of one row."""

    op: Op
    aten: str
    """The operator that ran, e.g. ``addmm``."""
    shapes: tuple[Shape, ...]
    """Of its tensor inputs, in order."""
    out: Shape
    dtype: str
    function: str
    """The outermost torch function it came from, e.g. ``linear``; empty where none was seen."""
    module: int
    """Index of the `ModuleRow` whose modules ran it."""
    grad: bool
    """Whether gradients were being recorded."""
    direct: bool = False
    """Ran in a ``forward`` entered directly, not through ``__call__``."""
    count: int
    """How many ran, in all."""
    macs: int = 0
    """MACs of all of them; 0 outside the headline."""
    dense_macs: int = 0
    """Of sparse tensors, whose ``macs`` are of the entries that they store, what the same is of dense ones."""
    reduced_size: int = msgspec.field(name="length", default=0)
    """Size of the dimension a softmax runs over; what an average pooling adds up over one channel, all windows; points
    of one Fourier transform."""
    interpolation: int = 0
    """Of a grid sampler, as torch numbers them: 0 bilinear, 1 nearest, 2 bicubic."""
    complex_part: int = 0
    """Which of the three real convolutions it is that torch runs for a complex one; the last stands for two."""
    by_operator: bool = False
    """Came from a call of ``torch.ops``: ``function`` is the operator's name."""
    mapped: int = 1
    """That of the `CallRow` that it ran in, if it did in one."""


class AttentionRow(Record, frozen=True, kw_only=True):
    """Census: calls of scaled_dot_product_attention alike in everything."""

    query: Shape
    key: Shape
    value: Shape
    is_causal: bool
    masked: bool
    dtype: str
    module: int
    function: str = ""
    """The outermost torch function it came from, e.g. ``multi_head_attention_forward``; empty where none was seen."""
    count: int
    macs: int
    """Dense MACs of all of them: batch x heads x N_q x N_kv x (d_qk + d_v)."""
    causal_macs: int
    """The same with the masked-out upper triangle left out, where ``is_causal``."""
    query_only_macs: int
    """What N_q x N_q with softmax would give: batch x heads x N_q x N_q x (2 d_qk + 1)."""


class EinsumRow(Record, frozen=True, kw_only=True):
    """Census: calls of torch.einsum alike, whatever operators they became."""

    equation: str
    shapes: tuple[Shape, ...]
    count: int
    mapped: int = 1
    """As of a `CallRow`."""


class UnusedRow(Record, frozen=True, kw_only=True):
    """Census: operators alike whose result reaches no output."""

    aten: str
    shapes: tuple[Shape, ...]
    out: Shape
    count: int
    equation: str = ""
    """Of an einsum."""
    interpolation: int = 0
    """Of a grid sampler, as torch numbers them."""


class TracedGraph(Record, frozen=True, kw_only=True):
    """Census: what the graph that torch.jit makes of a forward holds otherwise than what ran."""

    size_products: int = 0
    """Products without dimensions: of sizes, mostly, which are tensors there."""
    unused: tuple[UnusedRow, ...] = ()
    """Products, norms, means and resampling that it has dropped."""


class NodeRow(Record, frozen=True, kw_only=True):
    """Census: nodes alike of the ONNX graph that torch.onnx makes of a forward."""

    op_type: str
    inputs: tuple[Shape | None, ...]
    """By ONNX's own shape inference. None: not given, or not known."""
    outputs: tuple[Shape | None, ...]
    attributes: dict[str, int | str | tuple[int, ...]] = {}
    """Those that are whole numbers, words or lists of whole numbers."""
    count: int


class CallRow(Record, frozen=True, kw_only=True):
    """Census: calls alike of a function that counters replace."""

    function: str
    """By the name it was called: ``F.linear``, ``torch.matmul``, ``Tensor.__matmul__`` (which is ``@``)."""
    shapes: tuple[Shape, ...]
    """Of the tensors among its arguments, in order."""
    arguments: tuple[str, ...]
    """As they were given: ``T`` for a tensor, a plain value as Python writes it, ``name=`` before a keyword's."""
    out: Shape
    module: int
    """Index of the `ModuleRow` of the innermost module entered through ``__call__``: where hooks would place it."""
    count: int
    macs: int = 0
    """MACs of all of them, those of calls inside left out."""
    is_complex: bool = False
    kernel: bool = False
    """Made by a kernel of torch's own that is written in Python, as many are on meta."""
    mapped: int = 1
    """How many of torch.vmap's it stands for: tensors show their shapes without the mapped dimensions there."""


class Census(Record, frozen=True, kw_only=True):
    """Operations of one forward, in distinct rows: all that causes may look at."""

    modules: tuple[ModuleRow, ...]
    ops: tuple[OpRow, ...]
    attention: tuple[AttentionRow, ...] = ()
    einsums: tuple[EinsumRow, ...] = ()
    calls: tuple[CallRow, ...] = ()
    bool_numbers: tuple[str, ...] = ()
    """Operators that were given a Python bool where they take a number."""
    untraceable: tuple[str, ...] = ()
    """What the forward used that some counters can't take: functional_call, a reentrant checkpoint, gradients by
    torch.func, and those by torch.autograd.grad for a leaf that a module was given, sequences that are packed and never
    padded."""
    transposed: tuple[str, ...] = ()
    """Operators by which matrices were transposed, of those that not every graph has a node for: mT, mH, matrix_H."""
    graph: TracedGraph | None = None
    """Known where a backend was run that reads such a graph."""
    exported: tuple[NodeRow, ...] = ()
    """Known where a backend was run that reads an exported graph."""
    evaluated: Census | None = None
    """What runs in evaluation, where that is not what ran in training: most counters switch over."""
    device: str = "meta"


class Evidence(Record, frozen=True, kw_only=True):
    """Facts about a forward that a tool knows beside its number."""

    census: Census | None = None
    """What ran; the trace alone gives it."""
    evaluated: Census | None = None
    """What ran of a module in training once it was put in evaluation."""
    graph: TracedGraph | None = None
    """What those know that read a graph by torch.jit."""
    exported: tuple[NodeRow, ...] = ()
    """What those know that read a graph of ONNX."""

    def or_else(self, other: Evidence) -> Evidence:
        """This evidence of each kind, where there is any, else the other's."""
        return Evidence(
            census=self.census or other.census,
            evaluated=self.evaluated or other.evaluated,
            graph=self.graph or other.graph,
            exported=self.exported or other.exported,
        )

    @property
    def whole(self) -> Census | None:
        """The census with all that is known; None where nothing was traced."""
        if self.census is None:
            return None
        evaluated = self.evaluated if self.evaluated and _work(self.evaluated) != _work(self.census) else None
        return structs.replace(
            self.census,
            evaluated=evaluated or self.census.evaluated,
            graph=self.graph or self.census.graph,
            exported=self.exported or self.census.exported,
        )


def _work(census: Census) -> Counter[tuple[object, ...]]:
    """The work of one forward, wherever it ran."""
    work: Counter[tuple[object, ...]] = Counter()
    for row in census.ops:
        work[row.op, row.aten, row.shapes, row.out, row.function] += row.count
    return work
