"""What the tools that read a trace by ``torch.jit`` have in common: a trace on meta, and a quicker one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
import torch._meta_registrations
import torch.nn.functional as F

from crosscheck import versions
from crosscheck.records import Shape, TracedGraph, UnusedRow

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
        """Whether it is called in its own way."""
        return any(name in vars(module) or getattr(type(module), name) is not plain[name] for name in inner)

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self._forward_hooks or self._forward_pre_hooks or any(everywhere) or own(self):
            return original(self, *args, **kwargs)
        return self.forward(*args, **kwargs)

    with mock.patch.object(torch.nn.Module, "__call__", call if original in plain.values() else original):
        yield


@contextmanager
def traceable_convolutions() -> Iterator[None]:
    """Let ``torch.jit`` trace convolutions on meta.

    The Meta kernel of aten::convolution is a Python function (torch/_meta_registrations.py, meta_conv): up to torch
    2.4 the trace holds its shape arithmetic and no convolution, from 2.6 it raises. A call of ``torch._convolution``
    is recorded as the very node that a real trace holds. Padding by
    name is another node, aten::_convolution_mode, which records itself once the kernel below it is not traced.
    """
    names = ("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
    traced = {name: _traced(name, getattr(F, name)) for name in names}
    shapes = _untraced(torch._meta_registrations.calc_conv_nd_return_shape)
    with (
        mock.patch.multiple(F, **traced),
        mock.patch.multiple(torch, **traced),
        mock.patch.object(torch._meta_registrations, "calc_conv_nd_return_shape", shapes),
        versions.meta_kernel("convolution_overrideable", _empty_convolution),  # torch has its own from 2.13
    ):
        yield


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


def _traced(name: str, original: Any) -> Any:
    dims, transposed = int(name[-2]), "transpose" in name

    def each(value: Any) -> tuple[int, ...]:
        return (value,) * dims if isinstance(value, int) else tuple(value) * (dims if len(value) == 1 else 1)

    def record(
        x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, extra: Any, groups: int
    ) -> torch.Tensor:
        batched = x.dim() == dims + 2
        out = torch._convolution(
            x if batched else x.unsqueeze(0), weight, bias, each(stride), each(padding), each(dilation), transposed,
            each(extra), groups, False, False, True, True,
        )  # fmt: skip
        return out if batched else out.squeeze(0)

    # Torch's own parameter names: they may come as keywords.
    def forward(input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
                groups: int = 1) -> Any:  # fmt: skip
        if isinstance(padding, str):
            return original(input, weight, bias, stride, padding, dilation, groups)
        return record(input, weight, bias, stride, padding, dilation, 0, groups)

    def transpose(input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
                  groups: int = 1, dilation: Any = 1) -> Any:  # fmt: skip
        return record(input, weight, bias, stride, padding, dilation, output_padding, groups)

    return transpose if transposed else forward


#: What a counter may charge for, by torch.jit's names; of those that it renames afterwards, the new one.
_WORK = frozenset(
    "mul mul_ mean linear matmul addmm addmv bmm baddbmm _convolution scaled_dot_product_attention "
    "layer_norm group_norm batch_norm instance_norm avg_pool1d avg_pool2d avg_pool3d "
    "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d "
    "leaky_relu upsample_nearest2d upsample_bilinear2d".split()
)
_RENAMED = {"multiply": "mul", "multiply_": "mul_", "linalg_matmul": "matmul"}


@contextmanager
def graphs() -> Iterator[list[TracedGraph]]:
    """What is to be known of each graph that ``torch.jit`` makes inside."""
    found: list[TracedGraph] = []
    original = torch._C._create_graph_by_tracing

    def create(function: Any, *others: Any) -> Any:
        ran: Counter[tuple[str, tuple[Shape, ...], Shape]] = Counter()

        def run(*given: Any) -> Any:
            result = function(*given)
            ran.update(_work(torch._C._get_tracing_state().graph()))  # afterwards, what reaches no output is dropped
            return result

        graph, result = original(run, *others)
        kept = Counter(_work(graph))
        unused = ((*row, count) for row, count in (ran - kept).items())
        sizes = (count for (name, _, out), count in kept.items() if name in {"mul", "mul_"} and not out)
        found.append(
            TracedGraph(
                size_products=sum(sizes),
                unused=tuple(UnusedRow(aten=aten, shapes=s, out=out, count=n) for aten, s, out, n in unused),
            )
        )
        return graph, result

    with mock.patch.object(torch._C, "_create_graph_by_tracing", create):
        yield found


def _work(graph: Any) -> Iterator[tuple[str, tuple[Shape, ...], Shape]]:
    """Name, shapes of the tensors that go in, and of the first that comes out, for each operator of `_WORK`."""
    for node in graph.nodes():
        name = node.kind().removeprefix("aten::")
        name = _RENAMED.get(name, name)
        if name in _WORK:
            shapes = [_shape(value) for value in node.inputs()]
            out = _shape(next(node.outputs()))
            if out is not None:
                yield name, tuple(shape for shape in shapes if shape is not None), out


def _shape(value: Any) -> Shape | None:
    sizes = value.type().sizes() if value.type().kind() == "TensorType" else None
    return None if sizes is None else tuple(sizes)
