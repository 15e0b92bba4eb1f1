"""torch's own counter."""

from __future__ import annotations

from crosscheck.causes.reading import complex_as_real, products, sparse_as_dense
from crosscheck.causes.tool import Sees, Tool
from crosscheck.records import Census, OpRow, Skipped

FLOP_COUNTER = Tool(
    "flop_counter",
    backends=("flop_counter",),
    release="2.13.0",
    installed="crosscheck",
    sees=Sees.OPERATORS,
)


@FLOP_COUNTER.cause(
    "flop_counter-cpu-attention",
    "The fused CPU kernel of scaled_dot_product_attention has no formula, so attention counts as 0, silently.",
    "torch/utils/flop_counter.py:729-751 lacks _scaled_dot_product_flash_attention_for_cpu; pytorch #195460",
    only_in="torch>=2.3,<2.15",
)
def _flop_counter_cpu(census: Census) -> int:
    return -sum(row.macs for row in census.ops if row.aten == _ON_CPU)


_REGISTERED = frozenset(
    "mm addmm bmm baddbmm _scaled_mm convolution _convolution cudnn_convolution convolution_overrideable "
    "_slow_conv2d_forward _scaled_dot_product_efficient_attention _scaled_dot_product_flash_attention "
    "_scaled_dot_product_cudnn_attention".split()
)
_ON_CPU = "_scaled_dot_product_flash_attention_for_cpu"


@FLOP_COUNTER.cause(
    "flop_counter-no-formula",
    "Matrix-vector products, dot and outer products, in-place and integer ones, bilinear layers, distances, affine "
    "grids, grouped products, those of sparse tensors by an operator of their own and the fused CPU LSTM have no "
    "formula.",
    "torch/utils/flop_counter.py:729-751",
)
def _flop_counter_no_formula(census: Census) -> int:
    return -sum(row.macs for row in products(census) if not _flop_counter_sees(row))


def _flop_counter_sees(row: OpRow) -> bool:
    return row.aten in _REGISTERED or row.aten == _ON_CPU  # which has a cause of its own


@FLOP_COUNTER.cause(
    "flop_counter-sparse-as-dense",
    "Formulas know shapes alone: of a sparse tensor all elements count, those too that it does not store.",
    "torch/utils/flop_counter.py:76-104",
)
def _flop_counter_sparse(census: Census) -> int:
    return sparse_as_dense(census, _flop_counter_sees)


@FLOP_COUNTER.cause(
    "flop_counter-complex-as-real",
    "A product of complex numbers counts as one multiply-add; it is four. For a convolution torch runs three.",
    "torch/utils/flop_counter.py:729-751 (formulas of shapes alone); aten/src/ATen/native/Convolution.cpp, "
    "complex_convolution",
)
def _flop_counter_complex(census: Census) -> int:
    return complex_as_real(census, _flop_counter_sees)


@FLOP_COUNTER.fails(
    "flop_counter-absent",
    "torch had no FlopCounterMode before 2.1.",
    "torch 2.0.1 has no torch/utils/flop_counter.py",
    words="no FlopCounterMode",
    outcome=Skipped,
    only_in="torch<2.1",
)
def _absent(census: Census) -> bool:
    return True


@FLOP_COUNTER.fails(
    "flop_counter-gradient-of-input",
    "torch's counter asks whether the gradient of what a module was given will be computed, which "
    "torch.autograd.grad can't say of a leaf.",
    "torch/utils/module_tracker.py:133-136; torch/autograd/graph.py:664",
    words="A leaf node was passed to _will_engine_execute_node",
)
def _gradient_of_input(census: Census) -> bool:
    return "grad of a leaf" in census.untraceable
