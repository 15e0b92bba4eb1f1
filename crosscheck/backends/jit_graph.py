"""A trace on meta by ``torch.jit``, and a quicker one, for the tools that read such a trace."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch._meta_registrations

from crosscheck.records import Shape, TracedGraph, UnusedRow
from crosscheck.tracing import versions
from crosscheck.tracing.patching import replaced, replaced_items
from crosscheck.tracing.quick_meta import RULES

#: What a call of a module goes through on its way to ``forward``; the last is of a compiled one.
_CALLS = ("_wrapped_call_impl", "_call_impl", "_slow_forward", "_compiled_call_impl")


@contextmanager
def quick_calls() -> Iterator[None]:
    """Leave out the calls around a forward that look for hooks where there are none.

    Beside every operation ``torch.jit`` notes the whole stack of calls, which takes half of its time; no total depends
    on it.
    """
    from torch.nn.modules import module as modules

    original = torch.nn.Module.__call__
    everywhere = modules._global_forward_hooks, modules._global_forward_pre_hooks
    inner = [name for name in _CALLS if hasattr(torch.nn.Module, name)]
    plain = {name: getattr(torch.nn.Module, name) for name in inner}

    def own(module: Any) -> bool:
        """Whether it is called in a way of its own."""
        return any(name in vars(module) or getattr(type(module), name) is not plain[name] for name in inner)

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self._forward_hooks or self._forward_pre_hooks or any(everywhere) or own(self):
            return original(self, *args, **kwargs)
        return self.forward(*args, **kwargs)

    with replaced(torch.nn.Module, "__call__", call if original in plain.values() else original):
        yield


@contextmanager
def traceable_convolutions() -> Iterator[None]:
    """Let ``torch.jit`` trace convolutions on meta, where `QuickMeta` answers.

    The Meta kernel of aten::convolution is a Python function (torch/_meta_registrations.py, meta_conv): up to torch
    2.4 the trace holds its shape arithmetic and no convolution, from 2.6 it raises. On other devices the kernel calls
    aten::_convolution, which is what a trace holds; so it is called here. Padding by name is another node,
    aten::_convolution_mode, which records itself once the kernel below it is not traced.
    """
    shapes = _untraced(torch._meta_registrations.calc_conv_nd_return_shape)
    with (
        replaced_items(RULES, {torch.ops.aten.convolution.default: _recorded}),
        replaced(torch._meta_registrations, "calc_conv_nd_return_shape", shapes),
        versions.meta_kernel("convolution_overrideable", _empty_convolution),  # torch has its own from 2.13
    ):
        yield


def _recorded(*args: Any) -> torch.Tensor | None:
    """The convolution as the tracer sees it, which a dispatch mode is hidden from."""
    if torch._C._get_tracing_state() is None:
        return None
    tracer = torch._C._dispatch_key_parse("Tracer")
    torch._C._dispatch_tls_set_dispatch_key_excluded(tracer, False)
    try:
        return torch._convolution(*args, False, False, True, True)
    finally:
        torch._C._dispatch_tls_set_dispatch_key_excluded(tracer, True)


def _untraced(function: Any) -> Any:
    """Run ``function`` out of the tracer's sight: while it looks, sizes are tensors."""

    def run(*args: Any, **kwargs: Any) -> Any:
        state = torch._C._get_tracing_state()
        if state is None:
            return function(*args, **kwargs)
        torch._C._set_tracing_state(None)
        try:
            return function(*args, **kwargs)
        finally:
            torch._C._set_tracing_state(state)

    return run


def _empty_convolution(
    x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, transposed: bool, extra: Any, groups: int
) -> torch.Tensor:
    spatial = zip(x.shape[2:], weight.shape[2:], stride, padding, dilation, extra, strict=True)
    if transposed:
        sizes = [(n - 1) * s - 2 * p + d * (k - 1) + e + 1 for n, k, s, p, d, e in spatial]
        channels = weight.shape[1] * groups
    else:
        sizes = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d, _ in spatial]
        channels = weight.shape[0]
    out: torch.Tensor = x.new_empty([x.shape[0], channels, *sizes])
    return out


#: What a counter may charge for, by torch.jit's names; of those that it renames afterwards, the new one.
_WORK = frozenset(
    "mul mul_ mean linear matmul mm addmm addmv bmm baddbmm einsum _convolution scaled_dot_product_attention "
    "layer_norm group_norm batch_norm instance_norm avg_pool1d avg_pool2d avg_pool3d "
    "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d "
    "leaky_relu upsample_nearest2d upsample_bilinear2d grid_sampler lstm".split()
)
_RENAMED = {"multiply": "mul", "multiply_": "mul_", "linalg_matmul": "matmul"}


class _Work(NamedTuple):
    """An operator of `_WORK`: as an `UnusedRow` has it."""

    aten: str
    shapes: tuple[Shape, ...]
    out: Shape
    equation: str
    interpolation: int


@contextmanager
def graphs() -> Iterator[list[TracedGraph]]:
    """Facts about each graph that ``torch.jit`` makes inside."""
    found: list[TracedGraph] = []
    original = torch._C._create_graph_by_tracing

    def create(function: Any, *others: Any) -> Any:
        ran: Counter[_Work] = Counter()

        def run(*given: Any) -> Any:
            result = function(*given)
            # afterwards, what reaches no output is dropped
            ran.update(_work(node, name) for node, name in _nodes(torch._C._get_tracing_state().graph()))
            return result

        graph, result = original(run, *others)
        complete = sum(1 for _ in _nodes(graph)) == sum(ran.values())
        surviving = ran if complete else Counter(_work(node, name) for node, name in _nodes(graph))
        sizes = (count for work, count in surviving.items() if work.aten in {"mul", "mul_"} and not work.out)
        found.append(
            TracedGraph(
                size_products=sum(sizes),
                unused=tuple(UnusedRow(**work._asdict(), count=count) for work, count in (ran - surviving).items()),
            )
        )
        return graph, result

    with replaced(torch._C, "_create_graph_by_tracing", create):
        yield found


def _nodes(graph: Any) -> Iterator[tuple[Any, str]]:
    """The nodes of `_WORK`, with their names; those in a scope, which fvcore makes, are in a block until the end."""
    for node in graph.nodes():
        name = node.kind().removeprefix("aten::")
        name = _RENAMED.get(name, name)
        if name in _WORK:
            yield node, name
        elif name == "prim::TracedModuleForward":
            yield from _nodes(next(node.blocks()))


def _work(node: Any, name: str) -> _Work:
    inputs = list(node.inputs())
    given = inputs[1].node().inputs() if name == "einsum" else inputs
    if name == "lstm":  # the input, and the last states
        given = [inputs[0], list(node.outputs())[1]]
    shapes = tuple(shape for shape in map(_shape, given) if shape is not None)
    equation = inputs[0].toIValue().replace(" ", "") if name == "einsum" else ""
    interpolation = inputs[2].toIValue() if name == "grid_sampler" else 0
    return _Work(name, shapes, _shape(next(node.outputs())) or (), equation, interpolation)


def _shape(value: Any) -> Shape | None:
    sizes = value.type().sizes() if value.type().kind() == "TensorType" else None
    return None if sizes is None else tuple(sizes)
