"""Failures of thop."""

from __future__ import annotations

from crosscheck.causes.reading import by_name, has_compiled, has_scripted, is_one_of
from crosscheck.causes.thop import CONVS, RECURRENT, THOP, UPSAMPLES, upsampled
from crosscheck.records import Census

THOP.fails(
    "thop-compiled",
    "A compiled module hands attributes on to the module inside it, so that thop registers its buffer there twice.",
    "thop/profile.py:174 (register_buffer); torch/_dynamo/eval_frame.py, OptimizedModule",
    words="attribute 'total_ops' already exists",
)(has_compiled)
THOP.fails(
    "thop-scripted",
    "A scripted module takes no new buffer, and thop registers one in every module.",
    "thop/profile.py:174 (register_buffer); torch/jit/_script.py, RecursiveScriptModule",
    words="Can't add a new parameter after ScriptModule construction",
)(has_scripted)


#: Classes whose hook reads the first input, as far as it counts.
_READ = (
    f"{CONVS} {RECURRENT} BatchNorm1d BatchNorm2d BatchNorm3d InstanceNorm1d InstanceNorm2d InstanceNorm3d "
    "SyncBatchNorm LayerNorm PReLU LeakyReLU Softmax AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d"
)


def _thop_reads_nothing(census: Census) -> bool:
    read = any(by_name(module, _READ) for module in census.modules)
    return read or any(
        by_name(census.modules[row.module], UPSAMPLES) and upsampled(row, census.modules[row.module])
        for row in census.ops
    )


THOP.fails(
    "thop-input-by-name",
    "thop's hooks take a layer's input by position, and hooks are given none by name: conv(input=x).",
    "thop/vision/basic_hooks.py:23,64,83,91,99,116,135; thop/rnn_hooks.py:18,50,81,93; "
    "torch/nn/modules/module.py, _call_impl",
    words="^IndexError: tuple index out of range",
)(_thop_reads_nothing)
_WITHOUT_MACS = (
    "ZeroPad2d ReLU ReLU6 MaxPool1d MaxPool2d MaxPool3d AdaptiveMaxPool1d AdaptiveMaxPool2d AdaptiveMaxPool3d "
    "AvgPool1d AvgPool2d AvgPool3d Dropout Sequential PixelShuffle Linear"
)


@THOP.fails(
    "thop-gradient",
    "thop's hooks add to a buffer in place, which torch.func.grad, vjp, jvp and their kind forbid.",
    "thop/vision/basic_hooks.py:28,69,87,103,111,121,136,147 (in place)",
    words="that would mutate a captured Tensor",
)
def _gradient(census: Census) -> bool:
    return any(
        module.derived and is_one_of(module, f"{_READ} {UPSAMPLES} {_WITHOUT_MACS}") for module in census.modules
    )
