"""Failures of ptflops' engine for PyTorch."""

from __future__ import annotations

from crosscheck.causes.ptflops import HOOKED, NORMS, PTFLOPS, RESIZING
from crosscheck.causes.reading import argument, by_name, given, has_compiled, has_lazy, is_one_of, without_padding
from crosscheck.records import Census


@PTFLOPS.fails(
    "ptflops-scale-factors",
    "ptflops takes scale factors that are no tuple for one number: a list is none.",
    "ptflops/pytorch_ops.py:377-380 (0.7.5)",
    words=r"unsupported operand type\(s\) for \*\* or pow\(\): 'list'",
)
def _scale_factors(census: Census) -> bool:
    return any(
        call.function in RESIZING
        and argument(call, 1, "size") is None
        and isinstance(argument(call, 2, "scale_factor"), list)
        for call in census.calls
    )


@PTFLOPS.fails(
    "ptflops-unbatched-attention",
    "ptflops asks the inputs of nn.MultiheadAttention for a third size, which without a batch they lack.",
    "ptflops/pytorch_ops.py:194-196 (0.7.5)",
    words="IndexError'>: tuple index out of range",
)
def _unbatched_attention(census: Census) -> bool:
    return any(call.function == "F.multi_head_attention_forward" and len(call.shapes[0]) < 3 for call in census.calls)


@PTFLOPS.fails(
    "ptflops-baddbmm-by-name",
    "ptflops' function for addmm and baddbmm has other names for the operands of baddbmm.",
    "ptflops/pytorch_ops.py:390 (0.7.5)",
    words=r"_addmm_tensor_flops_hook\(\) got an unexpected keyword argument",
)
def _baddbmm_by_name(census: Census) -> bool:
    return any(
        call.function == "torch.baddbmm" and bool({"batch1", "batch2"} & given(call)[1].keys()) for call in census.calls
    )


_RECURRENT = "RNN GRU LSTM RNNCell GRUCell LSTMCell"
#: Classes whose hook reads the first input.
_READ = " ".join(
    (
        _RECURRENT,
        *NORMS.values(),
        *(HOOKED[f"F.{name}"] for name in "linear conv1d conv_transpose1d avg_pool1d".split()),
    )
)


@PTFLOPS.fails(
    "ptflops-input-by-name",
    "ptflops' hooks take a layer's input by position, and hooks are given none by name: conv(input=x).",
    "ptflops/pytorch_ops.py:36,47,52,63,138,165 (0.7.5)",
    words="IndexError'>: tuple index out of range",
)
def _input_by_name(census: Census) -> bool:
    return any(by_name(module, _READ) for module in census.modules)


@PTFLOPS.fails(
    "ptflops-attention-by-name",
    "ptflops' hook of nn.MultiheadAttention takes three inputs by position, no more and no less.",
    "ptflops/pytorch_ops.py:183 (0.7.5)",
    words=r"ValueError'>: (not enough|too many) values to unpack \(expected 3",
)
def _attention_by_name(census: Census) -> bool:
    return any(
        is_one_of(module, "MultiheadAttention") and {*module.positional_counts} - {3} for module in census.modules
    )


@PTFLOPS.fails(
    "ptflops-packed-sequence",
    "ptflops asks the input of a recurrent layer for its shape, and a packed sequence has none.",
    "ptflops/pytorch_ops.py:139 (0.7.5)",
    words="'PackedSequence' object has no attribute 'shape'",
)
def _packed_sequence(census: Census) -> bool:
    return any(module.packed_outputs and is_one_of(module, _RECURRENT) for module in census.modules)


PTFLOPS.fails(
    "ptflops-lazy",
    "ptflops prepares the modules of its classes before the first forward, when a lazy one is of another.",
    "ptflops/pytorch_engine.py:98,307 (0.7.5)",
    words="has no attribute '__flops__'",
)(has_lazy)
PTFLOPS.fails(
    "ptflops-compiled",
    "ptflops puts objects without a name in the place of functions; torch.compile asks for their names.",
    "ptflops/pytorch_engine.py:336-345 (0.7.5)",
    words="'torch_function_wrapper' object has no attribute '__name__'",
)(has_compiled)


@PTFLOPS.fails(
    "ptflops-padding",
    "nn.TransformerEncoder makes a nested tensor of tokens without padding, which has no sizes, and "
    "ptflops asks for them.",
    "ptflops/pytorch_ops.py:36-40 (0.7.5); torch/nn/modules/transformer.py:527-531 (2.13.0)",
    words="NestedTensorImpl doesn't support sizes",
)
def _padding(census: Census) -> bool:
    return bool(without_padding(census))
