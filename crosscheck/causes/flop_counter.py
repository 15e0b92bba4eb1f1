"""torch's own counter."""

from __future__ import annotations

import re

from crosscheck.causes.declare import PredictedFailure, cause, complex_as_real, predict_failure, products
from crosscheck.records import Census, OpRow, Skipped

_FLOP_COUNTER = frozenset({"flop_counter"})


@cause(
    "flop_counter-cpu-attention",
    _FLOP_COUNTER,
    "The fused CPU kernel of scaled_dot_product_attention has no formula, so attention counts as 0, silently.",
    "torch/utils/flop_counter.py:729-751 lacks _scaled_dot_product_flash_attention_for_cpu; pytorch #195460",
    only_in="torch>=2.3,<2.15",
)
def _flop_counter_cpu(census: Census) -> int:
    return -sum(row.macs for row in census.ops if row.aten == "_scaled_dot_product_flash_attention_for_cpu")


_UNREGISTERED = frozenset(
    "mv addmv dot vdot addr _trilinear mul mkldnn_rnn_layer addbmm _addmm_activation _int_mm".split()
)


@cause(
    "flop_counter-no-formula",
    _FLOP_COUNTER,
    "Matrix-vector products, dot and outer products, in-place and integer ones, bilinear layers and the fused CPU LSTM "
    "have no formula.",
    "torch/utils/flop_counter.py:729-751",
)
def _flop_counter_no_formula(census: Census) -> int:
    return -sum(row.macs for row in products(census) if not _flop_counter_sees(row))


def _flop_counter_sees(row: OpRow) -> bool:
    return row.aten not in _UNREGISTERED and not row.aten.endswith("_")


@cause(
    "flop_counter-complex-as-real",
    _FLOP_COUNTER,
    "A product of complex numbers counts as one multiply-add; it is four. For a convolution torch runs three.",
    "torch/utils/flop_counter.py:729-751 (formulas of shapes alone); aten/src/ATen/native/Convolution.cpp, "
    "complex_convolution",
)
def _flop_counter_complex(census: Census) -> int:
    return complex_as_real(census, _flop_counter_sees)


predict_failure(
    PredictedFailure(
        name="flop_counter-absent",
        summary="torch had no FlopCounterMode before 2.1.",
        source="torch 2.0.1 has no torch/utils/flop_counter.py",
        backends=_FLOP_COUNTER,
        outcome=Skipped,
        words=re.compile("no FlopCounterMode"),
        only_in="torch<2.1",
        applies=lambda census: True,
    )
)
predict_failure(
    PredictedFailure(
        name="flop_counter-gradient-of-input",
        summary="torch's counter asks whether the gradient of what a module was given will be computed, which "
        "torch.autograd.grad can't say of a leaf.",
        source="torch/utils/module_tracker.py:133-136; torch/autograd/graph.py:664",
        backends=_FLOP_COUNTER,
        words=re.compile("A leaf node was passed to _will_engine_execute_node"),
        applies=lambda census: "grad of a leaf" in census.untraceable,
    )
)
