"""ultralytics-thop: thop's rules for classes and what derives from them, and a mode that sees products as functions."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import prod

from crosscheck.causes.reading import GATES, as_real, complex_as_real, einsum, elements, gate_charges, products, summed
from crosscheck.causes.tool import Sees, Tool
from crosscheck.records import Census, EinsumRow, ModuleRow, OpRow

ULTRALYTICS_THOP = Tool(
    "ultralytics-thop",
    backends=("ultralytics-thop",),
    release="2.2.3",
    installed="ultralytics-thop",
    sees=Sees.MODULES | Sees.FUNCTIONS,
    evaluates=True,
)

Share = Callable[[OpRow, ModuleRow], int | Fraction]
"""MACs that one row of operations adds to a gap, given the modules it ran in."""

_NORMS = frozenset(
    "BatchNorm1d BatchNorm2d BatchNorm3d SyncBatchNorm InstanceNorm1d InstanceNorm2d InstanceNorm3d LayerNorm "
    "GroupNorm RMSNorm _BatchNorm _InstanceNorm _NormBase".split()
)
_CONVS = frozenset("Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d".split())
_SOFTMAXES = frozenset("Softmax LogSoftmax Softmin Softmax2d".split())
_AVERAGES = frozenset("AvgPool1d AvgPool2d AvgPool3d".split())
_ADAPTIVE = frozenset("AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d".split())
_UPSAMPLES = frozenset("Upsample UpsamplingBilinear2d UpsamplingNearest2d".split())
_RULED = _NORMS | _CONVS | _SOFTMAXES | _AVERAGES | _ADAPTIVE | _UPSAMPLES | GATES.keys()
_RULED |= {"PReLU", "Linear", "Bilinear", "MultiheadAttention"}
_MULTI_HEAD = "multi_head_attention_forward"
#: Functions that the mode counts (thop/profile.py:177-189).
_FUNCTIONS = frozenset("matmul __matmul__ bmm einsum linear scaled_dot_product_attention".split())


def _charge(name: str, bases: frozenset[str], summary: str, source: str) -> Callable[[Share], Share]:
    """A cause by which an operation is charged for in modules that are or derive from ``bases``."""

    def add(share: Share) -> Share:
        ULTRALYTICS_THOP.cause(name, summary, f"{source} (ultralytics-thop {ULTRALYTICS_THOP.release})")(
            lambda census: summed(
                census, lambda row, module: share(row, module) if module.base in bases and not row.direct else 0
            )
        )
        return share

    return add


@_charge(
    "ultralytics-thop-norm",
    _NORMS,
    "ultralytics-thop charges every norm, GroupNorm and RMSNorm too, 4 MACs an element with weights, 2 without.",
    "thop/vision/basic_hooks.py:68-77; thop/vision/calc_func.py:37-39",
)
def _norm(row: OpRow, module: ModuleRow) -> int:
    norm = row.op == "norm" or (row.function == "rms_norm" and row.aten == "pow")  # a torch without a kernel for it
    return (4 if module.params else 2) * elements(row) if norm else 0


@ULTRALYTICS_THOP.cause(
    "ultralytics-thop-softmax",
    "ultralytics-thop charges 3n - 1 MACs for each row of n of nn.Softmax (nn.LogSoftmax one more, nn.Softmin n more) "
    "and of the softmax in multi-head attention, torch's layer or its function.",
    "thop/vision/basic_hooks.py:98-115,204; thop/vision/calc_func.py:42-48 (ultralytics-thop 2.2.3)",
)
def _softmax(census: Census) -> int:
    fused = (row for row in census.attention if row.function == _MULTI_HEAD)
    return summed(census, _softmax_rows) + sum(
        row.count * prod(row.query[:-1]) * (3 * row.key[-2] - 1) for row in fused
    )


def _softmax_rows(row: OpRow, module: ModuleRow) -> int:
    layer = module.base in _SOFTMAXES and not row.direct
    if row.op != "softmax" or not (layer or row.function == _MULTI_HEAD):
        return 0
    more = {"LogSoftmax": 1, "Softmin": row.reduced_size}.get(module.base, 0)
    return elements(row) // row.reduced_size * (3 * row.reduced_size - 1 + more)


@ULTRALYTICS_THOP.cause(
    "ultralytics-thop-output-width",
    "ultralytics-thop takes the output projection of F.multi_head_attention_forward for one from the embedding's width "
    "to itself; it may lead to any other.",
    "thop/profile.py:144-150; thop/vision/basic_hooks.py:202 (ultralytics-thop 2.2.3)",
)
def _output_width(census: Census) -> int:
    widths = {row.module: row.query[-3] * row.query[-1] for row in census.attention if row.function == _MULTI_HEAD}
    linear = (row for row in census.ops if row.function == _MULTI_HEAD and row.op == "linear" and row.module in widths)
    # Projections of query, key and value, packed or not, lead to a multiple of the embedding's width.
    outputs = ((row, widths[row.module]) for row in linear if row.out[-1] % widths[row.module])
    return sum(row.count * prod(row.out[:-1]) * width * (width - row.out[-1]) for row, width in outputs)


@_charge(
    "ultralytics-thop-prelu",
    frozenset({"PReLU"}),
    "ultralytics-thop charges nn.PReLU 1 MAC an element.",
    "thop/vision/basic_hooks.py:90-95",
)
def _prelu(row: OpRow, module: ModuleRow) -> int:
    return elements(row) if row.op == "activation" else 0


@_charge(
    "ultralytics-thop-avgpool",
    _AVERAGES,
    "ultralytics-thop charges nn.AvgPool one MAC for each element that a window adds up and one for each output.",
    "thop/vision/basic_hooks.py:118-130",
)
def _avgpool(row: OpRow, module: ModuleRow) -> int:
    dims = 3 if row.aten == "avg_pool3d" else 2
    return row.count * (prod(row.out[:-dims]) * row.reduced_size + prod(row.out)) if row.reduced_size else 0


@_charge(
    "ultralytics-thop-adaptive-avgpool",
    _ADAPTIVE,
    "ultralytics-thop charges nn.AdaptiveAvgPool one MAC for each element that a window adds up and one for each "
    "output.",
    "thop/vision/basic_hooks.py:133-148",
)
def _adaptive_avgpool(row: OpRow, module: ModuleRow) -> int:
    if row.op != "resample" and row.aten != "mean":  # an output of size 1 is a mean
        return 0
    read = prod(_windows(i, o) for i, o in zip(row.shapes[0], row.out, strict=True))
    return row.count * (read + prod(row.out))


def _windows(size: int, outputs: int) -> int:
    """Elements that ``outputs`` windows over ``size`` elements read; where the two don't divide, windows overlap."""
    return sum(-(-(j + 1) * size // outputs) - j * size // outputs for j in range(outputs))


_UPSAMPLE = {"upsample_linear1d": 5, "upsample_bilinear2d": 11, "upsample_bicubic2d": 259, "upsample_trilinear3d": 31}


@_charge(
    "ultralytics-thop-upsample",
    _UPSAMPLES,
    "ultralytics-thop charges nn.Upsample 5 (linear), 11 (bilinear), 259 (bicubic) or 31 (trilinear) MACs an output "
    "element; F.interpolate is not seen.",
    "thop/vision/basic_hooks.py:152-165",
)
def _upsample(row: OpRow, module: ModuleRow) -> int:
    return _UPSAMPLE.get(row.aten, 0) * row.count * prod(row.out)


@_charge(
    "ultralytics-thop-bilinear",
    frozenset({"Bilinear"}),
    "ultralytics-thop charges nn.Bilinear in1 + 1 products of in2 for each output, not in1.",
    "thop/vision/basic_hooks.py:179-181",
)
def _bilinear(row: OpRow, module: ModuleRow) -> int:
    return row.count * prod(row.out) * row.shapes[1][2] if row.aten == "_trilinear" else 0


@_charge(
    "ultralytics-thop-recurrent",
    frozenset(GATES),
    "ultralytics-thop adds the biases, gates and states of RNN (1 an element of the state, 3 with biases), GRU (7, 13) "
    "and LSTM (8, 16).",
    "thop/rnn_hooks.py:15-89",
)
def _recurrent(row: OpRow, module: ModuleRow) -> Fraction:
    return gate_charges(row, module)


def _missed(census: Census, why: Callable[[OpRow, ModuleRow], bool]) -> int:
    """MACs of the products that no rule for a class counts, of those that are missed for this reason."""
    rows = ((row, census.modules[row.module]) for row in products(census))
    return sum(row.macs for row, module in rows if not _by_class(row, module) and why(row, module))


def _by_class(row: OpRow, module: ModuleRow) -> bool:
    """Whether the rule of its module's class counts a product."""
    if row.direct:
        return row.function == _MULTI_HEAD
    if module.base in _CONVS:
        return row.op == "conv"
    if module.base == "Linear":
        return row.function == "linear"
    return module.base in {"MultiheadAttention", "Bilinear", *GATES} or row.function == _MULTI_HEAD


@ULTRALYTICS_THOP.cause(
    "ultralytics-thop-no-rule",
    "Products written as functions other than matmul, @, bmm, einsum, linear, attention and nn.MultiheadAttention's "
    "have no rule: F.conv2d, addmm, baddbmm, mm, mv, operators of torch.ops.",
    "thop/profile.py:177-189 (ultralytics-thop 2.2.3)",
)
def _no_rule(census: Census) -> int:
    return -_missed(census, lambda row, module: not _is_function(row))


def _is_function(row: OpRow) -> bool:
    """Whether the mode counts what a product came from."""
    return row.function in _FUNCTIONS and not row.by_operator


@ULTRALYTICS_THOP.cause(
    "ultralytics-thop-inside-a-rule",
    "Inside a module whose class has a rule, products written as functions are not counted: the rule stands for all.",
    "thop/profile.py:209,427-430 (ultralytics-thop 2.2.3)",
)
def _inside(census: Census) -> int:
    ruled = {path for module in census.modules if module.base in _RULED for each in module.paths for path in each}

    def inside(row: OpRow, module: ModuleRow) -> bool:
        return _is_function(row) and any(_under(each[0], ruled, row.direct) for each in module.paths)

    return -_missed(census, inside)


def _under(path: str, ruled: set[str], direct: bool) -> bool:
    """Whether the module at ``path``, unless its forward was entered directly, or one that holds it is ``ruled``."""
    names = path.split(".") if path else []
    above = {".".join(names[:i]) for i in range(len(names))}
    return bool(ruled & (above if direct else {*above, path}))


@ULTRALYTICS_THOP.cause(
    "ultralytics-thop-einsum",
    "An einsum of two operands counts the sizes that both have or that are kept, also where nothing is summed; one of "
    "three and more is not counted.",
    "thop/profile.py:153-173 (ultralytics-thop 2.2.3)",
)
def _einsum(census: Census) -> int:
    two = sum(row.count * _pair(row) for row in census.einsums if len(row.shapes) == 2)
    return two - sum(row.macs for row in products(census) if row.function == "einsum")


def _pair(row: EinsumRow) -> int:
    """MACs of a pair of operands: a size that is broadcast, or summed before, counts once."""
    terms, output, sizes = einsum(row.equation, row.shapes)
    first, second = (
        {letter for letter, size in zip(term, shape, strict=True) if size != 1}
        for term, shape in zip(terms, row.shapes, strict=True)
    )
    return prod(sizes[letter] for letter in first | second if letter in first & second or letter in output)


@ULTRALYTICS_THOP.cause(
    "ultralytics-thop-complex-as-real",
    "A product of complex numbers counts as one multiply-add; it is four.",
    "thop/profile.py:133-141; thop/vision/basic_hooks.py:169-176 (ultralytics-thop 2.2.3)",
)
def _complex(census: Census) -> int:
    return complex_as_real(census, lambda row: _by_class(row, census.modules[row.module]) or _is_function(row), as_real)
