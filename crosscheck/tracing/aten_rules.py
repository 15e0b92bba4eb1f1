"""The op of each aten operator, and the MACs of those that have any.

The shapes are those that reach torch's dispatcher below autograd, where linear is ``addmm`` and attention on meta is
``bmm``. The arithmetic is written out here and shares nothing with the closed forms, which it has to confirm.
Sources: torch/_meta_registrations.py and aten/src/ATen/native/native_functions.yaml of torch 2.13.0.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from crosscheck.records import HEADLINE, Op

Shapes = tuple[tuple[int, ...], ...]
Work = Sequence[tuple[Op, int]]

KNOWN_NAMESPACES = frozenset({"aten", "prim", "prims", "profiler"})

_KINDS: dict[Op, str] = {
    "conv": "convolution _convolution convolution_overrideable mkldnn_convolution _slow_conv2d_forward "
    "slow_conv3d_forward _conv_depthwise2d conv_depthwise3d",
    "linear": "linear _trilinear mkldnn_rnn_layer",
    "attention": "_scaled_dot_product_flash_attention _scaled_dot_product_flash_attention_for_cpu "
    "_scaled_dot_product_efficient_attention _scaled_dot_product_cudnn_attention "
    "_scaled_dot_product_fused_attention_overrideable",
    "matmul": "mm addmm bmm baddbmm addbmm mv addmv dot vdot addr _addmm_activation _int_mm _scaled_mm",
    "softmax": "_softmax _log_softmax _safe_softmax",
    "norm": "native_layer_norm native_group_norm native_batch_norm cudnn_batch_norm batch_norm_with_update "
    "_native_batch_norm_legit _native_batch_norm_legit_no_training _batch_norm_with_update "
    "_batch_norm_no_update _fused_rms_norm linalg_vector_norm",
    "activation": "silu gelu relu relu6 sigmoid tanh leaky_relu elu celu hardtanh hardswish hardsigmoid softplus mish "
    "glu _prelu_kernel prelu log_sigmoid_forward rrelu_with_noise threshold",
    "elementwise": "add sub rsub mul div exp exp2 expm1 log log2 log1p pow sqrt rsqrt sin cos neg abs reciprocal "
    "addcmul addcdiv lerp maximum minimum square erf mean",
    "resample": "upsample_nearest1d upsample_nearest2d upsample_nearest3d _upsample_nearest_exact1d "
    "_upsample_nearest_exact2d _upsample_nearest_exact3d upsample_linear1d upsample_bilinear2d upsample_trilinear3d "
    "upsample_bicubic2d _upsample_bilinear2d_aa _upsample_bicubic2d_aa avg_pool2d avg_pool3d _adaptive_avg_pool2d "
    "_adaptive_avg_pool3d max_pool2d_with_indices max_pool3d_with_indices adaptive_max_pool2d grid_sampler_2d "
    "grid_sampler_3d",
    "embedding": "embedding _embedding_bag",
}
_KIND: dict[str, Op] = {name: op for op, names in _KINDS.items() for name in names.split()}

#: Names that hold products somewhere in torch. One of these without a rule above is refused, never taken for 0.
_SUSPECT = re.compile(
    r"(?<![a-z])(mm|bmm|mv)(?![a-z])|_mm|conv|linalg_|fft|cholesky|svd|(?<![a-z])qr|lu_|triangular_solve|rnn|lstm|gru"
    r"|attention|transformer|einsum|cdist|pdist|linear(?!1d|_spline)|matmul|ormqr|geqrf|householder"
)
_NO_MACS = frozenset(
    {"linalg_vector_norm", "conj", "_conj", "conj_physical", "_to_copy", "_convert_weight_to_int4pack"}
)


def kind(name: str) -> Op | None:
    """The op of aten operator ``name``, in-place forms too; None for views, copies and what is not known."""
    return _KIND.get(name) or _KIND.get(name.rstrip("_"))


@functools.cache
def may_hold_macs(name: str) -> bool:
    """Whether an operator without a rule may hold products."""
    return name not in _NO_MACS and not name.startswith("upsample_") and bool(_SUSPECT.search(name))


def multiplies(name: str, function: str) -> bool:
    """Whether an operator that ``function`` called has MACs by a rule here."""
    return kind(name) in HEADLINE or (name == "mul" and function in OUTER_FUNCTIONS)


def macs(
    name: str, args: tuple[Any, ...], shapes: Shapes, out: tuple[int, ...], function: str, is_complex: bool
) -> Work:
    """(op, MACs) of one operator; empty where it holds none.

    ``shapes`` are those of its tensor inputs in order, ``function`` the torch function it came from.
    """
    name = name if name in _KIND else name.rstrip("_")  # in-place forms have the rule of the other
    if name == "mul":
        outer = function in OUTER_FUNCTIONS and _is_outer(shapes, out)
        work: Work = (("matmul", prod(out)),) if outer else ()
    else:
        work = _MACS[name](args, shapes, out) if name in _MACS else ()
    real = 4 if is_complex else 1  # (a + bi)(c + di) is four real products, as the table in arithmetic.py has it
    return [(_placed(op, name, function), real * count) for op, count in work]


_LINEAR_FUNCTIONS = frozenset(
    "linear bilinear lstm gru rnn_tanh rnn_relu lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell".split()
)
OUTER_FUNCTIONS = frozenset({"einsum", "outer", "ger", "kron"})


def _placed(op: Op, name: str, function: str) -> Op:
    """A product is ``linear`` where a layer's own function wrote it, ``matmul`` where the model did.

    nn.MultiheadAttention's projections come as addmm, its written-out attention as bmm and baddbmm
    (torch/nn/functional.py, multi_head_attention_forward).
    """
    projection = function == "multi_head_attention_forward" and name in {"addmm", "mm"}
    return "linear" if op == "matmul" and (projection or function in _LINEAR_FUNCTIONS) else op


def _is_outer(shapes: Shapes, out: tuple[int, ...]) -> bool:
    """Torch's einsum multiplies elementwise where nothing is contracted; an outer product is larger than both."""
    return len(shapes) == 2 and all(prod(out) > prod(shape) for shape in shapes)


def _convolution(args: tuple[Any, ...], shapes: Shapes, out: tuple[int, ...]) -> Work:
    x, weight = shapes[:2]
    transposed = len(args) > 6 and args[6] is True
    # Every output element (transposed: every input element) meets one filter of the other side's channels.
    return (("conv", prod(x if transposed else out) * prod(weight[1:])),)


def _product(first: int) -> Callable[[tuple[Any, ...], Shapes, tuple[int, ...]], Work]:
    """Batched matrix product of the tensor inputs ``first`` and ``first + 1``; a vector is a matrix of one column."""

    def rule(args: tuple[Any, ...], shapes: Shapes, out: tuple[int, ...]) -> Work:
        a, b = shapes[first], shapes[first + 1]
        columns = b[-1] if len(b) > 1 else 1
        return (("matmul", prod(a) * columns),)

    return rule


def _outer(args: tuple[Any, ...], shapes: Shapes, out: tuple[int, ...]) -> Work:
    return (("matmul", prod(out)),)


def _linear(args: tuple[Any, ...], shapes: Shapes, out: tuple[int, ...]) -> Work:
    return (("linear", prod(shapes[0]) * shapes[1][0]),)


def _trilinear(args: tuple[Any, ...], shapes: Shapes, out: tuple[int, ...]) -> Work:
    """sum(i1 * i2 * i3) over the broadcast of the three, each unsqueezed at its own expand dimensions."""
    expanded = []
    for shape, dims in zip(shapes, args[3:6], strict=True):
        sizes = list(shape)
        for dim in dims:
            sizes.insert(dim, 1)
        expanded.append(sizes)
    return (("linear", prod(max(sizes) for sizes in zip(*expanded, strict=True))),)


def _rnn_layer(args: tuple[Any, ...], shapes: Shapes, out: tuple[int, ...]) -> Work:
    x, w_ih, w_hh = shapes[:3]
    return (("linear", prod(x[:-1]) * (prod(w_ih) + prod(w_hh))),)


def _attention(args: tuple[Any, ...], shapes: Shapes, out: tuple[int, ...]) -> Work:
    query, key, value = shapes[:3]
    return (("attention", prod(query[:-1]) * key[-2] * (query[-1] + value[-1])),)


_MACS: dict[str, Callable[[tuple[Any, ...], Shapes, tuple[int, ...]], Work]] = {
    **dict.fromkeys(_KINDS["conv"].split(), _convolution),
    **dict.fromkeys(_KINDS["attention"].split(), _attention),
    **dict.fromkeys("mm bmm mv dot vdot _int_mm _scaled_mm".split(), _product(0)),
    **dict.fromkeys("addmm baddbmm addmv _addmm_activation".split(), _product(1)),
    "addbmm": _product(1),
    "addr": _outer,
    "linear": _linear,
    "_trilinear": _trilinear,
    "mkldnn_rnn_layer": _rnn_layer,
}
