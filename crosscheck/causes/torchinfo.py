"""torchinfo: the parameters of each leaf layer, times a size of its output."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod

from crosscheck.causes.reading import as_real, complex_as_real, has_compiled, products
from crosscheck.causes.tool import Sees, Tool
from crosscheck.records import Census, ModuleRow, OpRow, Shape

TORCHINFO = Tool(
    "torchinfo",
    backends=("torchinfo",),
    release="1.8.0",
    installed="crosscheck[counters]",
    sees=Sees.MODULES,
    evaluates=True,
    misses_attention=("torchinfo",),
)


def _is_hooked(module: ModuleRow) -> bool:
    """Leaves with weights are what it counts; of what torch.jit made it knows no call."""
    named = any("weight" in name or "bias" in name for name in module.parameters)
    return named and not module.class_name.startswith("torch.jit.")


def _is_convolution(module: ModuleRow) -> bool:
    return "Conv" in module.class_name.rpartition(".")[2]


def _is_recurrent(module: ModuleRow) -> bool:
    """Whether it is a recurrent layer, by the names of its parameters: ``weight_ih_l0`` and the like."""
    return any(_is_inner(name) for name in module.parameters)


def _is_inner(name: str) -> bool:
    return name not in {"weight", "bias"} and ("weight" in name or "bias" in name)


def _charge(module: ModuleRow, wanted: Callable[[str], bool]) -> int:
    """The charge for the wanted parameters, over all calls of the row's modules."""
    return len(module.paths) * sum(
        prod(shape) * _times(module, name, out)
        for out in module.outputs
        for name, shape in module.parameters.items()
        if wanted(name)
    )


def _times(module: ModuleRow, name: str, out: Shape) -> int:
    if _is_inner(name):
        return prod(out[:2])
    if name not in {"weight", "bias"} or not out:
        return 0
    return out[0] * (prod(out[2:]) if _is_convolution(module) else 1)


def _hooked(census: Census) -> Iterator[tuple[ModuleRow, int]]:
    """The modules it counts, and the MACs of theirs that a hook fires for."""
    macs = dict.fromkeys(range(len(census.modules)), 0)
    for row in products(census):
        if _is_layers_own(row):
            macs[row.module] += as_real(row)
    return ((module, macs[i]) for i, module in enumerate(census.modules) if _is_hooked(module))


def _is_layers_own(row: OpRow) -> bool:
    return row.op != "attention" and not row.direct


@TORCHINFO.cause(
    "torchinfo-linear-tokens",
    "torchinfo charges a layer its weights once for each index of its output's first dimension: the tokens of a "
    "transformer, a second dimension, are left out, and an input without a batch is charged by its features.",
    "torchinfo/layer_info.py:241-242 (1.8.0); torchinfo #77, #226",
)
def _tokens(census: Census) -> int:
    return _weights(census, of_convolutions=False)


def _weights(census: Census, *, of_convolutions: bool) -> int:
    """The distance from the MACs of these products to the weights of the layers that multiply."""
    return sum(
        _charge(module, lambda name: name == "weight") - macs
        for module, macs in _hooked(census)
        if macs and _is_convolution(module) == of_convolutions and not _is_recurrent(module)
    )


@TORCHINFO.cause(
    "torchinfo-conv-by-output",
    "torchinfo charges a layer with Conv in its class's name its weights for each position of its output. Of a "
    "transposed convolution those are more than its input's, by the stride; of one without a batch, or of a linear "
    "layer by that name, one dimension is left out.",
    "torchinfo/layer_info.py:237-240 (1.8.0)",
)
def _convolutions(census: Census) -> int:
    return _weights(census, of_convolutions=True)


@TORCHINFO.cause(
    "torchinfo-recurrent",
    "torchinfo charges LSTM, GRU and other layers with several weights all their parameters, biases too, for each "
    "index of the first two dimensions of what they return.",
    "torchinfo/layer_info.py:243-245 (1.8.0)",
)
def _recurrent(census: Census) -> int:
    return sum(_charge(module, lambda name: True) - macs for module, macs in _hooked(census) if _is_recurrent(module))


@TORCHINFO.cause(
    "torchinfo-bias",
    "torchinfo counts the bias of a linear layer or a convolution as a MAC, as often as its weights.",
    "torchinfo/layer_info.py:235-242 (1.8.0)",
)
def _bias(census: Census) -> int:
    return sum(
        _charge(module, lambda name: name == "bias")
        for module, macs in _hooked(census)
        if macs and not _is_recurrent(module)
    )


@TORCHINFO.cause(
    "torchinfo-parameters-as-macs",
    "torchinfo counts the parameters of norms as MACs for each index of the first dimension, and those of an "
    "embedding: its whole table.",
    "torchinfo/layer_info.py:233-242 (1.8.0)",
)
def _parameters(census: Census) -> int:
    return sum(
        _charge(module, lambda name: True) for module, macs in _hooked(census) if not macs and not _is_recurrent(module)
    )


@TORCHINFO.cause(
    "torchinfo-not-a-layer",
    "Products outside the layers that torchinfo counts are missed: functional calls, matmul, einsum, layers with "
    "children of their own or parameters by other names, such as those of nn.MultiheadAttention.",
    "torchinfo/model_statistics.py:31-33; torchinfo/layer_info.py:233-245 (1.8.0)",
)
def _not_a_layer(census: Census) -> int:
    rows = ((row, census.modules[row.module]) for row in products(census) if row.op != "attention")
    return -sum(row.macs for row, module in rows if not _is_hooked(module))


@TORCHINFO.cause(
    "torchinfo-direct-forward",
    "A layer whose forward is called directly, not through __call__, fires no hook.",
    "torch/nn/modules/module.py, _call_impl (hooks run there)",
)
def _direct(census: Census) -> int:
    rows = ((row, census.modules[row.module]) for row in products(census) if row.op != "attention" and row.direct)
    return -sum(row.macs for row, module in rows if _is_hooked(module))


@TORCHINFO.cause(
    "torchinfo-complex-as-real",
    "A product of complex numbers counts as one multiply-add; it is four.",
    "torchinfo/layer_info.py:233-245 (1.8.0), of shapes alone",
)
def _complex(census: Census) -> int:
    return complex_as_real(census, lambda row: _is_layers_own(row) and _is_hooked(census.modules[row.module]), as_real)


TORCHINFO.fails(
    "torchinfo-compiled",
    "torchinfo asks whether any child is true, and a compiled one answers with its length, which the layer "
    "inside it has not.",
    "torchinfo/layer_info.py:52 (1.8.0); torch/_dynamo/eval_frame.py, OptimizedModule",
    words=r"does not support len\(\)",
)(has_compiled)


@TORCHINFO.fails(
    "torchinfo-vmap",
    "torchinfo asks the first input of every module for its data, which torch.vmap forbids.",
    "torchinfo/layer_info.py:104; torchinfo/torchinfo.py:304 (1.8.0, its words for any error)",
    words="^RuntimeError: Failed to run torchinfo",
)
def _vmap(census: Census) -> bool:
    return any(module.mapped for module in census.modules)


@TORCHINFO.fails(
    "torchinfo-padding",
    "nn.TransformerEncoder makes a nested tensor of tokens without padding, which has no sizes, and "
    "torchinfo asks for them.",
    "torchinfo/layer_info.py:107; torchinfo/torchinfo.py:304 (1.8.0, its words for any error)",
    words="^RuntimeError: Failed to run torchinfo",
)
def _padding(census: Census) -> bool:
    return any(module.tokens for module in census.modules)
