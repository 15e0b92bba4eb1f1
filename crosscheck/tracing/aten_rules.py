"""The op of each operator of torch, and the MACs of those that have any; the others are in `operators`.

The shapes are those that reach torch's dispatcher below autograd, where linear is ``addmm`` and attention on meta is
``bmm``. The arithmetic is written out here and shares nothing with the closed forms, which it has to confirm.
Sources: torch/_meta_registrations.py and aten/src/ATen/native/native_functions.yaml of torch 2.13.0.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any, TypeAlias

from crosscheck.records import HEADLINE, Op
from crosscheck.tracing import operators, sparse

Shapes: TypeAlias = tuple[tuple[int, ...], ...]
Rule: TypeAlias = Callable[[tuple[Any, ...], Shapes, tuple[int, ...]], int]

_LINEAR_FUNCTIONS = frozenset(
    "linear bilinear lstm gru rnn_tanh rnn_relu lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell".split()
)
OUTER_FUNCTIONS = frozenset({"einsum", "outer", "ger", "kron"})


def key(func: Any) -> str:
    """The name of an operator in these tables: ``addmm`` of aten's, ``quantized::linear`` of another namespace's."""
    name: str = func.overloadpacket.__name__
    return name if func.namespace == "aten" else f"{func.namespace}::{name}"


def kind(name: str) -> Op | None:
    """The op of operator ``name``, in-place forms too; None for views, copies and what is not known."""
    return _KIND.get(name) or _KIND.get(name.rstrip("_"))


def is_placed(name: str) -> bool:
    """Whether an operator has a rule, or is known to hold no products."""
    of_plain = kind(operators.plain(name))
    return bool(kind(name)) or operators.holds_none(name) or (of_plain is not None and of_plain not in HEADLINE)


def multiplies(name: str, function: str) -> bool:
    """Whether an operator that ``function`` called has MACs by a rule here."""
    return kind(name) in HEADLINE or (name == "mul" and function in OUTER_FUNCTIONS)


def macs(
    name: str, args: tuple[Any, ...], shapes: Shapes, out: tuple[int, ...], function: str, is_complex: bool
) -> tuple[Op, int] | None:
    """The op and the MACs of one operator; None where it holds none.

    ``shapes`` are those of its tensor inputs in order, ``function`` the torch function it came from. Of sparse tensors
    it is what is multiplied, the entries that are stored.
    """
    name = name if name in _KIND else name.rstrip("_")  # in-place forms have the rule of the other
    op: Op = "matmul"
    if name == "mul":
        count = prod(out) if function in OUTER_FUNCTIONS and _is_outer(shapes, out) else 0
    elif name not in _RULES:
        return None
    else:
        op, rule = _RULES[name]
        stored = sparse.stored(name, args) if sparse.has_sparse(args) else None
        count = stored.macs if stored else rule(args, shapes, out)
    real = 4 if is_complex else 1  # (a + bi)(c + di) is four real products, as the table in arithmetic.py has it
    return (_placed(op, name, function), real * count) if count else None


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


def _convolution(args: tuple[Any, ...], shapes: Shapes, out: tuple[int, ...]) -> int:
    x, weight = shapes[:2]
    transposed = len(args) > 6 and args[6] is True
    # Every output element (transposed: every input element) meets one filter of the other side's channels.
    return prod(x if transposed else out) * prod(weight[1:])


def _plain_convolution(args: tuple[Any, ...], shapes: Shapes, out: tuple[int, ...]) -> int:
    return prod(out) * prod(shapes[1][1:])


def _transposed_convolution(args: tuple[Any, ...], shapes: Shapes, out: tuple[int, ...]) -> int:
    return prod(shapes[0]) * prod(shapes[1][1:])


def _steps_first_convolution(args: tuple[Any, ...], shapes: Shapes, out: tuple[int, ...]) -> int:
    """conv_tbc, whose weight is [kernel, channels in, channels out]."""
    return prod(out) * prod(shapes[1][:2])


def _product(first: int) -> Rule:
    """Batched matrix product of the tensor inputs ``first`` and ``first + 1``; a vector is a matrix of one column."""

    def rule(args: tuple[Any, ...], shapes: Shapes, out: tuple[int, ...]) -> int:
        a, b = shapes[first], shapes[first + 1]
        return prod(a) * (b[-1] if len(b) > 1 else 1)

    return rule


def _products(args: tuple[Any, ...], shapes: Shapes, out: tuple[int, ...]) -> int:
    """Matrices of one list times those of another, one by one."""
    pairs = zip(shapes[: len(args[0])], shapes[len(args[0]) :], strict=True)
    return sum(prod(a) * b[-1] for a, b in pairs)


def _grouped_product(args: tuple[Any, ...], shapes: Shapes, out: tuple[int, ...]) -> int:
    """Rows, columns or depth are in groups (of experts), and each row meets the columns of its own group alone."""
    a, b = shapes[:2]
    groups = a[0] if len(a) > len(b) else 1
    return prod(a) * b[-1] // groups


def _outer(args: tuple[Any, ...], shapes: Shapes, out: tuple[int, ...]) -> int:
    return prod(out)


def _linear(args: tuple[Any, ...], shapes: Shapes, out: tuple[int, ...]) -> int:
    x, weight = shapes[:2]
    return prod(x) * (weight[0] if len(weight) > 1 else 1)


def _packed_linear(args: tuple[Any, ...], shapes: Shapes, out: tuple[int, ...]) -> int:
    """A linear layer by its logical shape: its weight is packed into fewer numbers, or is no tensor."""
    return prod(shapes[0]) * out[-1]


def _trilinear(args: tuple[Any, ...], shapes: Shapes, out: tuple[int, ...]) -> int:
    """sum(i1 * i2 * i3) over the broadcast of the three, each unsqueezed at its own expand dimensions."""
    expanded = []
    for shape, dims in zip(shapes, args[3:6], strict=True):
        sizes = list(shape)
        for dim in dims:
            sizes.insert(dim, 1)
        expanded.append(sizes)
    return prod(max(sizes) for sizes in zip(*expanded, strict=True))


def _rnn_layer(args: tuple[Any, ...], shapes: Shapes, out: tuple[int, ...]) -> int:
    x, w_ih, w_hh = shapes[:3]
    return prod(x[:-1]) * (prod(w_ih) + prod(w_hh))


def _attention(args: tuple[Any, ...], shapes: Shapes, out: tuple[int, ...]) -> int:
    query, key, value = shapes[:3]
    return prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def _euclidean(args: tuple[Any, ...], shapes: Shapes, out: tuple[int, ...]) -> int:
    """Euclidean distances by definition, a square for each coordinate.

    Above 25 vectors torch has a matrix product do it, with the norms and ones as two coordinates more
    (aten/src/ATen/native/Distance.cpp:97): what is executed, not what is asked for.
    """
    return prod(out) * shapes[0][-1]


def _distances(args: tuple[Any, ...], shapes: Shapes, out: tuple[int, ...]) -> int:
    """Of another norm than the Euclidean, differences are not multiplied by themselves and added up."""
    norm = args[len(shapes)] if len(args) > len(shapes) else 2
    return _euclidean(args, shapes, out) if norm == 2 else 0


def _affine_grid(args: tuple[Any, ...], shapes: Shapes, out: tuple[int, ...]) -> int:
    """Each point of a grid, a 1 beside its 2 or 3 coordinates, is multiplied by theta."""
    return prod(out) * (out[-1] + 1)


_PRODUCTS: tuple[tuple[Op, Rule, str], ...] = (
    (
        "conv",
        _convolution,
        "convolution _convolution convolution_overrideable mkldnn_convolution _slow_conv2d_forward slow_conv3d_forward "
        "_conv_depthwise2d conv_depthwise3d",
    ),
    (
        "conv",
        _plain_convolution,
        "slow_conv_dilated2d slow_conv_dilated3d _nnpack_spatial_convolution cudnn_convolution cudnn_convolution_relu "
        "cudnn_convolution_add_relu miopen_convolution miopen_convolution_relu miopen_convolution_add_relu "
        "miopen_depthwise_convolution _mps_convolution torchvision::deform_conv2d",
    ),
    (
        "conv",
        _transposed_convolution,
        "slow_conv_transpose2d slow_conv_transpose3d cudnn_convolution_transpose miopen_convolution_transpose "
        "_mps_convolution_transpose",
    ),
    ("conv", _steps_first_convolution, "conv_tbc"),
    ("linear", _linear, "linear mkldnn_linear"),
    (
        "linear",
        _packed_linear,
        "_weight_int8pack_mm _weight_int4pack_mm _weight_int4pack_mm_for_cpu _weight_int4pack_mm_with_scales_and_zeros "
        "_dyn_quant_matmul_4bit _mixed_dtypes_linear quantized::linear quantized::linear_relu "
        "quantized::linear_dynamic quantized::linear_relu_dynamic quantized::linear_dynamic_fp16 "
        "quantized::linear_relu_dynamic_fp16",
    ),
    ("linear", _trilinear, "_trilinear"),
    ("linear", _rnn_layer, "mkldnn_rnn_layer"),
    (
        "attention",
        _attention,
        "_scaled_dot_product_flash_attention _scaled_dot_product_flash_attention_for_cpu "
        "_scaled_dot_product_efficient_attention _scaled_dot_product_cudnn_attention "
        "_scaled_dot_product_fused_attention_overrideable",
    ),
    (
        "matmul",
        _product(0),
        "mm bmm mv dot vdot _int_mm _scaled_mm _scaled_mm_v2 hspmm _sparse_sparse_matmul _sparse_mm_reduce_impl",
    ),
    (
        "matmul",
        _product(1),
        "addmm baddbmm addbmm addmv _addmm_activation _scaled_addmm _sparse_addmm sspaddmm sparse_sampled_addmm",
    ),
    ("matmul", _products, "_foreach_mm"),
    ("matmul", _grouped_product, "_grouped_mm _scaled_grouped_mm _scaled_grouped_mm_v2"),
    ("matmul", _outer, "addr"),
    ("matmul", _euclidean, "_euclidean_dist"),
    ("matmul", _distances, "_cdist_forward _pdist_forward"),
    ("matmul", _affine_grid, "affine_grid_generator cudnn_affine_grid_generator"),
)
_RULES: dict[str, tuple[Op, Rule]] = {name: (op, rule) for op, rule, names in _PRODUCTS for name in names.split()}

_WITHOUT_PRODUCTS: dict[Op, str] = {
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
    "fft": "_fft_c2c _fft_r2c _fft_c2r",
}
_KIND: dict[str, Op] = {name: op for name, (op, _) in _RULES.items()} | {
    name: op for op, names in _WITHOUT_PRODUCTS.items() for name in names.split()
}
