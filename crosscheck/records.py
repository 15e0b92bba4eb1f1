"""Every record of crosscheck, its units, and the errors.

A count is an exact ``int`` in MACs, or it is not known: then the outcome is `Skipped` or `Failed`, never 0.
One multiply-accumulate (MAC) is two floating-point operations (FLOPs); this is the only place that says so.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Annotated, Literal, TypeAlias, get_args

import msgspec

FLOPS_PER_MAC = 2
SCHEMA = 1

Op: TypeAlias = Literal[
    "conv", "linear", "attention", "matmul", "softmax", "norm", "activation", "elementwise", "resample", "embedding"
]
OPS: tuple[Op, ...] = get_args(Op)
#: What everybody means by MACs. The other ops are listed beside them, in elements, and never added.
HEADLINE: tuple[Op, ...] = ("conv", "linear", "attention", "matmul")

Status: TypeAlias = Literal["confirmed", "unconfirmed", "unequal", "uncounted"]
Shape: TypeAlias = tuple[int, ...]


class CrosscheckError(Exception):
    """What crosscheck refuses: one line saying what was got, what is allowed, what to do."""


class UsageError(CrosscheckError, ValueError):
    """A bad argument, name or size."""


class ConfigError(CrosscheckError, ValueError):
    """A model folder, config, ledger or claims file that is broken or not allowed."""


class UnlikeLedgersError(CrosscheckError, ValueError):
    """Ledgers of different cases: comparing them would compare two questions."""


class UncountedError(CrosscheckError, RuntimeError):
    """A module that can't be counted exactly, and why."""


def one_line(error: BaseException, plain: tuple[type[BaseException], ...] = (CrosscheckError,)) -> str:
    """An error in its own words: the class, unless it is a ``plain`` one, and the first line of its text."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    text = text.encode(errors="replace").decode()
    return text if text and isinstance(error, plain) else f"{type(error).__name__}: {text}".removesuffix(": ")


def meant(got: str, allowed: Iterable[str]) -> str:
    """``did you mean 'thop'? ``, to go before what is allowed; empty where nothing is near ``got``."""
    known = {name.casefold(): name for name in allowed}
    parts = [part.strip() for part in got.casefold().split(",")]
    if len(parts) > 1 and all(part in known for part in parts):
        return f"did you mean {' and '.join(repr(known[part]) for part in parts)}, each by itself? "
    (word, *_) = parts
    near = [word] if word in known else [name for name in known if word and name.startswith(word)]
    near = near or [name for name in known if len(word) > 2 and word in name]
    near = near or difflib.get_close_matches(word, known, n=1)
    return f"did you mean {' or '.join(repr(known[name]) for name in sorted(near, key=len)[:3])}? " if near else ""


def named(got: object) -> str:
    """What was given where something else was wanted, as a reader calls it."""
    if got is None:
        return "None"
    return f"the class {got.__name__}" if isinstance(got, type) else f"a {type(got).__name__}"


def listed(what: str, got: object) -> None:
    """Refuse one thing, or a text, where several in a list are wanted."""
    if isinstance(got, str) or not isinstance(got, Iterable):
        example = f", such as [{got!r}]" if isinstance(got, str) else ""
        raise UsageError(f"{what}: got {got!r}; allowed: a list{example}")


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all records: immutable, named fields, JSON in and out."""


class TensorSpec(Record, frozen=True, kw_only=True):
    """One tensor that goes into a case."""

    name: str
    """The parameter it is given for; dotted inside dictionaries (``added_cond_kwargs.time_ids``)."""
    shape: Shape
    """Sizes of its dimensions; () of a scalar."""
    dtype: str
    """As torch names it: ``float32``."""


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
    positional: tuple[int, ...] = ()
    """Of a class of torch.nn's, how many inputs its calls were given by position, each number once; left out where all
    were given one."""
    packed: tuple[tuple[int, int], ...] = ()
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
    length: int = 0
    """Size of the dimension a softmax runs over; what an average pooling adds up over one channel, all windows."""
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
    """What ran in one forward, in distinct rows: all that causes may look at."""

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


class Term(Record, frozen=True, kw_only=True):
    """One named cause with its exact, signed share of a gap, in MACs."""

    cause: str
    """Its name, which ``crosscheck explain`` knows."""
    macs: int
    """Beyond the reference; negative where the backend falls short of it."""


class Measured(Record, frozen=True, kw_only=True, tag_field="status", tag="measured"):
    """A backend's own number, before it is held against the reference."""

    version: str
    """Of the tool that was run."""
    macs: int
    """What the tool returned, in MACs of one forward."""
    seconds: float
    """That the tool took."""
    by_op: dict[str, int] = {}
    """MACs by headline op, where the tool tells them apart."""
    uncounted: dict[str, int] = {}
    """Operations the tool itself says it did not count, and how often."""
    isolated: bool = True
    """Ran in a process of its own."""
    memory: int = 0
    """Bytes by which the peak of that process grew."""


class Counted(Measured, frozen=True, kw_only=True, tag_field="status", tag="counted"):
    """A backend's number, its gap to the reference, and the terms that explain the gap."""

    gap: int
    """``macs`` less the reference's."""
    terms: tuple[Term, ...]
    """The causes that were predicted to apply, each with its share of the gap."""
    residual: int
    """``gap`` less the terms; explained means 0."""
    stale_excuse: str = ""
    """The sourced prediction that this backend gives no number here, which it did."""


class Skipped(Record, frozen=True, kw_only=True, tag_field="status", tag="skipped"):
    """A backend that does not apply, and why."""

    reason: str
    """In its own words: what is not installed, or which case it does not cover."""
    known: str = ""
    """The sourced cause that predicts this, if one does."""


class Failed(Record, frozen=True, kw_only=True, tag_field="status", tag="failed"):
    """A backend that broke, in its own words."""

    error: str
    """The first line of what was raised."""
    version: str = ""
    """Of the tool that was run."""
    known: str = ""
    """The sourced cause that predicts this failure, if one does."""


Raw: TypeAlias = Measured | Skipped | Failed


class CaseResult(Record, frozen=True, kw_only=True):
    """What the backends said of one case, and what ran in it."""

    outcomes: dict[str, Raw]
    census: Census | None = None
    graph: TracedGraph | None = None
    """The part of the census that a backend knows and the trace does not."""
    exported: tuple[NodeRow, ...] = ()
    """So is this."""
    changes: dict[str, tuple[str, ...]] = {}
    """What each backend left changed on the module or on torch."""


Outcome: TypeAlias = Counted | Skipped | Failed


class Recommended(Record, frozen=True, kw_only=True):
    """The total to use: conv + linear + attention + matmul."""

    status: Status
    """``confirmed``: closed form and trace are equal; ``unconfirmed``: there is the trace alone; with ``unequal`` and
    ``uncounted`` nothing is recommended."""
    macs: int | None = None
    """None where nothing is recommended."""
    flops: int | None = None
    """Two for each MAC."""
    by_op: dict[str, int] = {}
    """MACs by op of the headline, whose sum ``macs`` is."""
    causal_macs: int | None = None
    """The total with causal attention counted as its triangle, where that differs."""
    reason: str = ""
    """Why nothing, or nothing confirmed, is recommended."""

    @classmethod
    def of(cls, status: Status, by_op: Mapping[str, int], causal_saving: int = 0, reason: str = "") -> Recommended:
        """Sum ``by_op`` (MACs); ``causal_saving`` MACs are what the triangle leaves out."""
        macs = sum(by_op.values())
        return cls(
            status=status,
            macs=macs,
            flops=FLOPS_PER_MAC * macs,
            by_op=dict(by_op),
            causal_macs=macs - causal_saving if causal_saving else None,
            reason=reason,
        )


class Component(Record, frozen=True, kw_only=True):
    """One component at batch 1 under every backend. ``component["thop"]`` is that backend's outcome."""

    name: str
    """As the pipeline calls it: ``unet``, ``vae_decoder``; a module by itself goes by its class."""
    class_name: str
    """Without its module: ``UNet2DConditionModel``."""
    entry: str = "forward"
    """The method that was entered: ``forward``, ``decode`` or ``encode``."""
    params: int
    """Elements of all its parameters, tied ones once."""
    inputs: tuple[TensorSpec, ...]
    """The tensors that it was given, at batch 1."""
    recommended: Recommended
    """The total of one forward."""
    backends: dict[str, Outcome]
    """The outcome of each, by its name."""
    other_ops: dict[str, int] = {}
    """Output elements of the ops outside the headline, by op."""
    notes: tuple[str, ...] = ()
    """What a reader has to know of these numbers, a sentence each."""
    census: Census | None = None
    """What ran."""

    def __getitem__(self, backend: str) -> Outcome:
        """The outcome of ``backend``; a `UsageError` lists what there is."""
        try:
            return self.backends[backend]
        except KeyError:
            hint = meant(backend, self.backends)
            raise UsageError(
                f"no outcome of backend {backend!r}; {hint}this run has: {', '.join(self.backends)}"
            ) from None


class GenerationCase(Record, frozen=True, kw_only=True):
    """One distinct input of a component in a generation."""

    inputs: tuple[TensorSpec, ...]
    """As they really are, with the batch."""
    calls: int
    """Times that it was called with this input."""
    batch_size: int
    """Images times guidance branches."""
    macs: int | None
    """Of one call, by the reference."""
    analytic: int | None = None
    """The same by the closed form; None where there is none."""
    aten: int | None = None
    """The same by the trace."""


class GenerationComponent(Record, frozen=True, kw_only=True):
    """All calls of one component in a generation."""

    name: str
    """As of its `Component`."""
    calls: int
    """Times that it was called, with any input."""
    batch_size: int | None
    """None where the calls differ in it."""
    macs: int | None
    """Of all calls together."""
    cases: tuple[GenerationCase, ...]
    """Its distinct inputs."""

    @property
    def forwards(self) -> int:
        """What all calls are worth in forwards for one image and one guidance branch."""
        return sum(case.calls * case.batch_size for case in self.cases)


class Generation(Record, frozen=True, kw_only=True):
    """What one call of the pipeline really runs."""

    components: tuple[GenerationComponent, ...]
    """Each that was called, once."""
    recommended: Recommended
    """The total of all calls of all components."""
    outside_macs: int
    """MACs run by the pipeline outside every component: beside the total, never in it."""


class Workload(Record, frozen=True, kw_only=True):
    """What the pipeline was asked for; sizes in pixels. None where the pipeline takes no such argument."""

    batch_size: int
    """Images of a generation, guidance branches not counted."""
    height: int | None = None
    """Of the image that goes in, where the pipeline takes its size from one."""
    width: int | None = None
    """As the height."""
    frames: int | None = None
    """Of a video."""
    steps: int | None = None
    """``num_inference_steps``: a scheduler may call the denoiser more or less often."""
    guidance_scale: float | None = None
    """Of classifier-free guidance; most pipelines double the batch where it is above 1."""
    scheduler: str = ""
    """Its class."""


Verdict: TypeAlias = Literal["reproduced", "ambiguous", "near", "refuted"]


Amount: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
Seconds: TypeAlias = Annotated[float, msgspec.Meta(gt=0, lt=1e9)]


class Claim(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A number that somebody published, as it is printed."""

    name: str
    model: str
    component: str
    """A component's name, or ``generation``."""
    value: str
    """Its digits are its precision."""
    unit: str
    """``GMACs``, ``TFLOPs``, ``M params``; ``G`` alone says neither."""
    source: str
    height: Amount | None = None
    width: Amount | None = None
    frames: Amount | None = None
    batch_size: Amount | None = None
    steps: Amount | None = None
    guidance_scale: Annotated[float, msgspec.Meta(ge=0, le=1000)] | None = None
    scheduler: str | None = None
    calls: Amount | None = None
    """Calls of the component that the number is of; default one."""
    counter: str | None = None
    """The backend that it was counted with, where the source says so: no other's conventions are tried."""

    @property
    def forwards(self) -> int:
        """Of a component, how many forwards for one image the number is of."""
        return (self.calls or 1) * (self.batch_size or 1)


class Accuracy(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What somebody claims of a counter: that it is right about attention, everywhere or more than another."""

    name: str
    counter: str
    than: str | None = None
    """The other counter; without one, that it is as right on every model."""
    source: str


class Overhead(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What somebody claims of a counter's cost, with times measured side by side, in turn."""

    name: str
    counter: str
    what: str
    """What was run, and where."""
    plain: tuple[Seconds, ...]
    """Of a forward by itself."""
    counted: tuple[Seconds, ...]
    """Of one under the counter."""
    source: str


class Claims(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file of claims."""

    claim: tuple[Claim, ...] = ()
    accuracy: tuple[Accuracy, ...] = ()
    overhead: tuple[Overhead, ...] = ()


class Misjudged(Record, frozen=True, kw_only=True):
    """How far off a counter is on one component's attention, in MACs."""

    model: str
    component: str
    attention: int
    """What it is."""
    off: int
    than: int | None = None
    """How far off the other counter is."""


class Weighed(Record, frozen=True, kw_only=True):
    """A claim of accuracy, held against every component that has attention and that the counters have numbers of."""

    accuracy: Accuracy
    components: tuple[Misjudged, ...]


class Fit(Record, frozen=True, kw_only=True):
    """A convention under which a model comes to a number."""

    convention: tuple[str, ...]
    """What it does otherwise than the recommended total; empty where nothing."""
    exact: int
    """What it comes to, in the units of ``unit`` without its prefix."""
    parts: tuple[Term, ...] = ()
    """Of one change of a bridge, what it is made of, where that is known; they add up to it."""


class Audited(Record, frozen=True, kw_only=True):
    """A claim, and the simplest convention that prints its digits."""

    name: str
    model: str
    component: str
    verdict: Verdict
    published: str
    convention: str = ""
    exact: int | None = None
    """What that convention comes to, where one prints the digits, or is near."""
    recommended: int | None = None
    """The recommended total, in the claim's unit without its prefix."""
    distance: int | None = None
    """``exact`` less the published number, rounded to a whole one."""
    steps: tuple[Fit, ...] = ()
    """From the recommended total to ``exact``, one change after the other, and what each comes to."""
    others: tuple[Fit, ...] = ()
    """Further conventions that print the same digits: not told apart at this precision; of one that is near, those
    that are near and as simple."""
    habits: dict[str, bool] = {}
    """What published numbers are often found to do, and whether this one does; where the simplest conventions agree."""
    space: int = 0
    """Numbers that were tried."""
    simple: int = 0
    """Of them, by conventions as simple as ``convention``; all, where none fits."""
    chance: float = 0.0
    """That a number drawn from the decade around the published one prints as any of ``simple``; or, where no number
    prints the digits, that it is near one."""
    source: str = ""


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
    """How fast a forward was on the GPU, and how fast it multiplies matrices."""

    seconds: float
    """Median of one forward, launched as Python does."""
    graph_seconds: float | None = None
    """Median of one replay of the forward captured as a CUDA graph; None where it can't be captured."""
    product_size: int
    """Rows and columns of the square matrices multiplied."""
    product_seconds: float
    """Median of one product of them, in the same precision."""


class Witnessed(Record, frozen=True, kw_only=True):
    """One component with what a processor executed for one forward of it."""

    name: str
    """As of a `Component`; so are the next three."""
    class_name: str
    params: int
    inputs: tuple[TensorSpec, ...]
    dtype: str
    """What it was run in."""
    recommended: int | None
    """MACs of one forward, by the reference."""
    executions: tuple[Execution, ...]
    """What ran, alike ones together."""
    elsewhere: tuple[Primitive, ...] = ()
    """Products that the library logged outside every operation."""
    speed: Speed | None = None
    """Measured on a GPU alone."""

    @property
    def macs(self) -> int | None:
        """MACs executed, all of them sized by the processor's own record; None where any is not."""
        from crosscheck import witnesses

        return witnesses.executed(self)

    @property
    def by_module(self) -> dict[str, int | None]:
        """MACs executed by each module itself, by its path ("" is the component); None where any is not known."""
        from crosscheck import witnesses

        return witnesses.by_module(self)


class Witness(Record, frozen=True, kw_only=True):
    """The ledger of a witness: evidence from a real execution. Raw; what it says is made from it again."""

    schema: int
    witness: Literal["cpu", "ncu"]
    processor: str
    model: str
    workload: Workload | None = None
    environment: dict[str, str]
    components: tuple[Witnessed, ...]
    refused: dict[str, str] = {}
    """Components that were not run, and why."""


class Ledger(Record, frozen=True, kw_only=True):
    """The record of a run: raw totals, census, and the reconciliation made from them."""

    schema: int
    """Of the record's form, 1."""
    model: str
    """Its label: a catalogue name, a folder's, a hub id, or a class."""
    pipeline: str = ""
    """Its class; empty where there is none."""
    workload: Workload | None = None
    """None where modules were counted by themselves, without a pipeline; so is ``generation``."""
    environment: dict[str, str]
    """Releases by package, with ``python`` and ``device``."""
    components: tuple[Component, ...]
    """Each once, at batch 1."""
    generation: Generation | None = None
    """What one call of the pipeline runs."""

    def component(self, name: str) -> Component:
        """The component called ``name``; a `UsageError` lists what there is."""
        for component in self.components:
            if component.name == name:
                return component
        names = [component.name for component in self.components]
        raise UsageError(f"no component {name!r}; {meant(name, names)}this run has: {', '.join(names)}")

    def to_json(self) -> str:
        """The ledger as JSON (schema 1)."""
        from crosscheck import ledger

        return ledger.dumps(self)

    def to_markdown(self) -> str:
        """The report as markdown."""
        from crosscheck import report

        return report.markdown(self)
