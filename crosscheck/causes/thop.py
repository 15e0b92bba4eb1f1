"""thop: a rule for each exact module class."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import prod

from crosscheck.causes.reading import (
    GATES,
    as_real,
    attention_macs,
    complex_as_real,
    elements,
    gate_charges,
    is_one_of,
    products,
    projects_state,
    summed,
    without_batch,
)
from crosscheck.causes.tool import Sees, Tool
from crosscheck.records import Census, ModuleRow, OpRow

THOP = Tool(
    "thop",
    backends=("thop", "thop-plain", "thop-query-only"),
    release="0.1.1.post2209072238",
    installed="crosscheck",
    sees=Sees.MODULES,
    evaluates=True,
    misses_attention=("thop-plain",),
    attention_by_query=("thop-query-only",),
)

Share = Callable[[OpRow, ModuleRow], int | Fraction]
"""MACs that one row of operations adds to a gap, given the modules it ran in."""

_THOP_CHARGES: list[Share] = []
CONVS = "Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d"
RECURRENT = " ".join(GATES)
UPSAMPLES = "Upsample UpsamplingBilinear2d UpsamplingNearest2d"


def _thop_charge(name: str, classes: str, summary: str, source: str) -> Callable[[Share], Share]:
    """A cause by which thop charges for an operation in modules of exactly ``classes``, where its hook fires."""

    def add(share: Share) -> Share:
        def hooked(row: OpRow, module: ModuleRow) -> int | Fraction:
            return share(row, module) if is_one_of(module, classes) and not row.direct else 0

        _THOP_CHARGES.append(hooked)
        THOP.cause(name, summary, source)(lambda census: summed(census, hooked))
        return share

    return add


@_thop_charge(
    "thop-layernorm-4",
    "LayerNorm",
    "thop charges 4 MACs an element for LayerNorm with weights. It has no rule for GroupNorm, so one UNet is half and "
    "half.",
    "thop/vision/basic_hooks.py:60-69 doubles thop/vision/calc_func.py:43-45 (2 an element)",
)
def _thop_layernorm(row: OpRow, module: ModuleRow) -> int:
    return 4 * elements(row) if row.op == "norm" and module.params else 0


@_thop_charge(
    "thop-layernorm-2",
    "LayerNorm",
    "thop charges 2 MACs an element for LayerNorm without weights.",
    "thop/vision/calc_func.py:43-45",
)
def _thop_plain_layernorm(row: OpRow, module: ModuleRow) -> int:
    return 2 * elements(row) if row.op == "norm" and not module.params else 0


@_thop_charge(
    "thop-batchnorm",
    "BatchNorm1d BatchNorm2d BatchNorm3d InstanceNorm1d InstanceNorm2d InstanceNorm3d SyncBatchNorm",
    "thop charges BatchNorm and InstanceNorm 4 MACs an element with weights, 2 without.",
    "thop/profile.py:29-31,33-35,69; thop/vision/basic_hooks.py:60-69",
)
def _thop_batchnorm(row: OpRow, module: ModuleRow) -> int:
    return (4 if module.params else 2) * elements(row) if row.op == "norm" else 0


_UPSAMPLE = {"upsample_nearest": 1, "upsample_linear1d": 5, "upsample_bilinear2d": 11, "upsample_bicubic2d": 259}


@_thop_charge(
    "thop-upsample",
    UPSAMPLES,
    "thop charges nn.Upsample 1 (nearest), 5 (linear), 11 (bilinear) or 259 (bicubic) MACs an output element; "
    "F.interpolate is not seen.",
    "thop/vision/calc_func.py:75-87",
)
def upsampled(row: OpRow, module: ModuleRow) -> int:
    """MACs that thop charges for a row of operations in a module of `UPSAMPLES`."""
    each = next((macs for name, macs in _UPSAMPLE.items() if row.aten.startswith(name)), 0)
    return each * row.count * prod(row.out)


@_thop_charge(
    "thop-softmax",
    "Softmax",
    "thop charges nn.Softmax 3n - 1 MACs for each row of n.",
    "thop/vision/calc_func.py:57-62",
)
def _thop_softmax(row: OpRow, module: ModuleRow) -> int:
    return elements(row) // row.reduced_size * (3 * row.reduced_size - 1) if row.op == "softmax" else 0


@_thop_charge("thop-prelu", "PReLU", "thop charges nn.PReLU 1 MAC an element.", "thop/vision/basic_hooks.py:82-87")
def _thop_prelu(row: OpRow, module: ModuleRow) -> int:
    return elements(row) if row.op == "activation" else 0


@_thop_charge(
    "thop-avgpool",
    "AvgPool1d AvgPool2d AvgPool3d",
    "thop charges nn.AvgPool 1 MAC an output element.",
    "thop/vision/calc_func.py:65-66",
)
def _thop_avgpool(row: OpRow, module: ModuleRow) -> int:
    return row.count * prod(row.out) if row.op == "resample" else 0


@_thop_charge(
    "thop-adaptive-avgpool",
    "AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d",
    "thop charges nn.AdaptiveAvgPool one MAC an output element and one for each input element that goes into it; "
    "without a batch a dimension is left out.",
    "thop/vision/basic_hooks.py:114-121; thop/vision/calc_func.py:69-72",
)
def _thop_adaptive_avgpool(row: OpRow, module: ModuleRow) -> int:
    if row.op != "resample" and row.aten != "mean":  # an output of size 1 is a mean
        return 0
    dims = int(module.base[-2])
    pooled = list(zip(row.shapes[0], row.out, strict=True))[-dims:]
    operator = 3 if dims == 3 else 2  # torch pools one dimension as two
    seen = pooled if len(row.shapes[0]) > operator + 1 else pooled[1:]
    window = prod(before / after for before, after in seen)  # the fractions of float64 that thop has
    return row.count * int((window + 1) * prod(row.out))


@_thop_charge(
    "thop-transposed-conv",
    "ConvTranspose1d ConvTranspose2d ConvTranspose3d",
    "thop charges a transposed convolution by its output, so a stride multiplies it: x 4 for stride 2 in 2-D.",
    "thop/vision/basic_hooks.py:22-34; thop/vision/calc_func.py:28-34",
)
def _thop_transposed(row: OpRow, module: ModuleRow) -> int:
    if row.op != "conv":
        return 0
    weight = row.shapes[1]
    return _thop_convolution(row, module, groups=row.out[1] // weight[1]) - as_real(row)


@_thop_charge(
    "thop-unbatched-conv",
    "Conv1d Conv2d Conv3d",
    "thop takes the second size of the input for its channels; of one image without a batch it is the height.",
    "thop/vision/calc_func.py:28-34",
)
def _thop_unbatched(row: OpRow, module: ModuleRow) -> int:
    if row.op != "conv" or not _unbatched(row, module):
        return 0
    x, weight = row.shapes[:2]
    return _thop_convolution(row, module, groups=x[1] // weight[1]) - as_real(row)


def _thop_convolution(row: OpRow, module: ModuleRow, groups: int) -> int:
    """The charge of thop/vision/calc_func.py:28-34."""
    if row.complex_part in (1, 2):  # the layer is called once
        return 0
    x, weight = row.shapes[:2]
    channels = x[2] if _unbatched(row, module) else x[1]
    return row.count * prod(row.out) * (channels // groups) * prod(weight[2:])


def _unbatched(row: OpRow, module: ModuleRow) -> bool:
    """Whether the layer returned a dimension less than the operator, which has a batch always."""
    return any(len(shape) < len(row.out) for shape in module.outputs)


@_thop_charge(
    "thop-recurrent",
    RECURRENT,
    "thop adds the biases, gates and states of RNN (1 an element of the state, 3 with biases), GRU (7, 13) and LSTM "
    "(8, 16).",
    "thop/rnn_hooks.py:6-75",
)
def _thop_recurrent(row: OpRow, module: ModuleRow) -> Fraction:
    return gate_charges(row, module)


@_thop_charge(
    "thop-lstm-projection",
    "LSTM",
    "thop takes the states of an nn.LSTM with proj_size for as wide as its cells, and leaves the projection out.",
    "thop/rnn_hooks.py:56-72,180-188",
)
def _thop_projection(row: OpRow, module: ModuleRow) -> Fraction:
    """Of each layer and direction one projection makes a state of ``narrow`` of one of ``wide``."""
    if not projects_state(row, module):
        return Fraction(0)
    narrow, wide = module.parameters["weight_hr_l0"]
    projections = [name for name in module.parameters if name.startswith("weight_hr")]
    directions = 2 if "weight_hr_l0_reverse" in projections else 1
    read = 1 + directions * (1 - Fraction(directions, len(projections)))  # by itself, and by all layers but the first
    each = 4 * wide * (wide - narrow) * read - narrow * wide
    return row.count * prod(row.out[:-1]) * each


@_thop_charge(
    "thop-unbatched-recurrent",
    "RNN GRU LSTM",
    "thop multiplies by both leading sizes of the input of nn.RNN, nn.GRU and nn.LSTM; without a batch they are the "
    "steps and the width.",
    "thop/rnn_hooks.py:96-102,117,119",
)
def _thop_unbatched_recurrent(row: OpRow, module: ModuleRow) -> Fraction:
    return (without_batch(module) - 1) * _thop_once(row, module)


@_thop_charge(
    "thop-packed-sequence",
    "RNN GRU LSTM",
    "thop takes a packed sequence for one of the longest sequence's steps in each.",
    "thop/rnn_hooks.py:93-95,117,119",
)
def _thop_packed(row: OpRow, module: ModuleRow) -> Fraction:
    rows = sum(prod(shape[:-1]) for shape in module.outputs)
    packed = sum(shape[0] for shape in module.outputs if len(shape) == 2) if module.packed_outputs else 0
    return Fraction(sum(map(prod, module.packed_outputs)) - packed, rows or 1) * _thop_once(row, module)


def _thop_once(row: OpRow, module: ModuleRow) -> Fraction:
    """The charge of thop for a step of a sequence."""
    if row.op != "linear":
        return Fraction(0)
    return row.macs + gate_charges(row, module) + _thop_projection(row, module)


def _thop_rule(row: OpRow, module: ModuleRow) -> bool:
    """Whether a product ran in a module of a class with a rule for it."""
    return (
        (row.op == "linear" and row.function == "linear" and is_one_of(module, "Linear"))
        or (row.op == "conv" and is_one_of(module, CONVS))
        or is_one_of(module, RECURRENT)
    )


def _thop_missed(census: Census, why: Callable[[OpRow, ModuleRow], bool]) -> int:
    """MACs of the products without a rule, of those that are missed for this reason."""
    rows = ((row, census.modules[row.module]) for row in products(census) if row.op != "attention")
    return sum(row.macs for row, module in rows if not _thop_rule(row, module) and why(row, module))


def _lora_compatible(row: OpRow, module: ModuleRow) -> bool:
    return module.class_name in {
        "diffusers.models.lora.LoRACompatibleConv",
        "diffusers.models.lora.LoRACompatibleLinear",
    }


def _eager_attention(row: OpRow, module: ModuleRow) -> bool:
    attention = module.class_name.startswith("transformers.") and module.class_name.endswith("Attention")
    return attention and row.aten in {"bmm", "baddbmm"}


@THOP.cause(
    "thop-lora-compatible",
    "diffusers made convolutions and linear layers of LoRACompatibleConv and LoRACompatibleLinear, unless peft was "
    "there from 0.22: subclasses, for which thop has no rule, so that it counts almost nothing of a UNet.",
    "thop/profile.py:188 (type(m) in register_hooks); diffusers 0.21.4 models/lora.py:103,170",
    seen_in=("diffusers>=0.19,<0.22", "diffusers>=0.22,<0.27 and no peft"),
)
def _thop_lora_compatible(census: Census) -> int:
    return -_thop_missed(census, _lora_compatible)


@THOP.cause(
    "thop-eager-attention",
    "transformers wrote attention out as two products before CLIP took scaled_dot_product_attention: functional calls, "
    "which thop does not see, and the patch of scaled_dot_product_attention adds nothing.",
    "thop/profile.py:188 (hooks only); transformers 4.42.4 models/clip/modeling_clip.py:273,313",
    seen_in=("transformers<4.43",),
)
def _thop_eager_attention(census: Census) -> int:
    return -_thop_missed(census, _eager_attention)


@THOP.cause(
    "thop-no-rule",
    "Products outside the exact classes that thop has rules for are not counted: F.linear, matmul, einsum, subclasses "
    "of nn.Linear and nn.Conv2d, nn.MultiheadAttention.",
    "thop/profile.py:188 (type(m) in register_hooks)",
)
def _thop_no_rule(census: Census) -> int:
    return -_thop_missed(
        census, lambda row, module: not (_lora_compatible(row, module) or _eager_attention(row, module))
    )


@THOP.cause(
    "thop-attention-unpatched",
    "Attention called by a name that was imported from torch, not looked up on torch.nn.functional, passes the patch.",
    "torch/nn/functional.py (the attribute that is patched is one name of several)",
    variants=("thop", "thop-query-only"),
)
def _thop_unpatched(census: Census) -> int:
    return sum(row.macs for row in census.attention) - attention_macs(census)


@THOP.cause(
    "thop-native-attention",
    "thop counts in evaluation and without gradients, where torch runs nn.MultiheadAttention on a CPU as one kernel: "
    "no scaled_dot_product_attention is called, and the patch adds nothing.",
    "thop/profile.py:208,211; torch/nn/modules/activation.py:1433",
    variants=("thop", "thop-query-only"),
)
def _thop_native(census: Census) -> int:
    return -sum(row.macs for row in products(census) if row.op == "attention" and census.modules[row.module].native)


@THOP.cause(
    "thop-direct-forward",
    "A module whose forward is called directly, not through __call__, fires no hook.",
    "torch/nn/modules/module.py, _call_impl (hooks run there)",
)
def _thop_direct(census: Census) -> int:
    return -sum(row.macs for row in products(census) if row.direct and _thop_rule(row, census.modules[row.module]))


@THOP.cause(
    "thop-shared-module",
    "A module that several parents share gets a hook from each and is summed under each: twice shared counts 4 times.",
    "thop/profile.py:209 (model.apply registers a hook a visit); thop/profile.py:214-233 (dfs_count adds a visit)",
)
def _thop_shared(census: Census) -> int:
    def charged(row: OpRow, module: ModuleRow) -> int | Fraction:
        counted = as_real(row) if _thop_rule(row, module) and not row.direct else 0
        return (module.visits**2 - 1) * (counted + sum(charge(row, module) for charge in _THOP_CHARGES))

    return summed(census, charged)


@THOP.cause(
    "thop-vmap",
    "Inside of torch.vmap tensors show their shapes without the mapped dimension, by which thop counts.",
    "thop/vision/basic_hooks.py:29-30,66,85,101,110,116-120,136,145 (shapes alone); torch/_functorch/vmap.py (2.13.0)",
)
def _thop_vmap(census: Census) -> int:
    return summed(census, lambda row, module: _thop_whole(row, module) * (Fraction(1, row.mapped or 1) - 1))


def _thop_whole(row: OpRow, module: ModuleRow) -> int | Fraction:
    """All that thop counts for a row of operations."""
    counted = as_real(row) if _thop_rule(row, module) and not row.direct else 0
    return module.visits**2 * (counted + sum(charge(row, module) for charge in _THOP_CHARGES))


@THOP.cause(
    "thop-padding",
    "In evaluation and without gradients nn.TransformerEncoder leaves out the tokens that its mask calls padding, on "
    "real tensors, and thop counts the others.",
    "thop/profile.py:208,211; torch/nn/modules/transformer.py:527-531 (2.13.0)",
)
def _thop_padding(census: Census) -> int:
    return summed(census, lambda row, module: _thop_whole(row, module) * (Fraction(*module.tokens or (1, 1)) - 1))


@THOP.cause(
    "thop-complex-as-real",
    "A product of complex numbers counts as one multiply-add; it is four.",
    "thop/vision/calc_func.py:90-91 (shapes alone)",
)
def _thop_complex(census: Census) -> int:
    return complex_as_real(census, lambda row: not row.direct and _thop_rule(row, census.modules[row.module]), as_real)
