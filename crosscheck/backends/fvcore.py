"""fvcore (facebookresearch/fvcore): handles over the graph of a torch.jit trace.

Its "flops" are multiply-adds for products, and operations for norms and resampling (fvcore/nn/flop_count.py:25-44 of
0.1.5.post20221221). The trace is made once and read twice, with and without a handle for attention.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from math import prod
from typing import Any
from unittest import mock

import torch
import torch._meta_registrations
import torch.nn.functional as F
from torch.utils._python_dispatch import _disable_current_modes

from crosscheck import formulas, versions
from crosscheck.backends.entry import Entry
from crosscheck.backends.interface import Backend, Case, Count, NotApplicable
from crosscheck.backends.thop import exact


@dataclass(frozen=True)
class FvcoreRun:
    """fvcore's totals with and without the handle for attention, and what it says it did not count."""

    handled: int
    plain: int
    unsupported: dict[str, int]


class Fvcore(Backend):
    """fvcore with a handle for aten::scaled_dot_product_attention."""

    name = "fvcore"
    distribution = "fvcore"

    def run(self, case: Case) -> FvcoreRun:
        from fvcore.nn import FlopCountAnalysis, jit_analysis

        logging.getLogger("fvcore").setLevel(logging.ERROR)  # one warning for each operation it does not count
        entry = Entry(case)
        graphs: list[Any] = []

        def trace(*args: Any) -> Any:
            """The same graph for both readings: changing a handle makes fvcore trace again."""
            if not graphs:
                with traceable_convolutions() if case.device == "meta" else nullcontext():
                    graphs.append(original(*args))
            return graphs[0]

        original = jit_analysis._get_scoped_trace_graph
        with mock.patch.object(jit_analysis, "_get_scoped_trace_graph", trace), _quickly():
            analysis = FlopCountAnalysis(entry, entry.inputs).ancestor_mode("caller")
            plain = exact(analysis.total())
            unsupported = dict(analysis.unsupported_ops())
            analysis.set_op_handle("aten::scaled_dot_product_attention", attention_handle)
            handled = exact(analysis.total())
        return FvcoreRun(handled=handled, plain=plain, unsupported=unsupported)

    def read(self, result: FvcoreRun) -> Count:
        left = {op: n for op, n in result.unsupported.items() if op != "aten::scaled_dot_product_attention"}
        return Count(macs=result.handled, uncounted=left)


class FvcorePlain(Fvcore):
    """fvcore as shipped."""

    name = "fvcore-plain"

    def read(self, result: FvcoreRun) -> Count:
        return Count(macs=result.plain, uncounted=result.unsupported)


class FvcoreMeta(Backend):
    """fvcore as shipped, on meta tensors: what someone gets who does as with any other counter."""

    name = "fvcore-meta"
    distribution = "fvcore"

    def run(self, case: Case) -> FvcoreRun:
        from fvcore.nn import FlopCountAnalysis

        if case.device != "meta":
            raise NotApplicable("on real tensors fvcore as shipped is fvcore-plain")
        logging.getLogger("fvcore").setLevel(logging.ERROR)
        entry = Entry(case)
        with _disable_current_modes(), _quickly():  # torch's own meta kernels, on which it depends what is traced
            analysis = FlopCountAnalysis(entry, entry.inputs).ancestor_mode("caller")
            plain = exact(analysis.total())
        return FvcoreRun(handled=plain, plain=plain, unsupported=dict(analysis.unsupported_ops()))

    def read(self, result: FvcoreRun) -> Count:
        return Count(macs=result.plain, uncounted=result.unsupported)


#: What a call of a module goes through on its way to ``forward``; the last is of a compiled one.
_CALLS = ("_wrapped_call_impl", "_call_impl", "_slow_forward", "_compiled_call_impl")


@contextmanager
def _quickly() -> Iterator[None]:
    """Leave out what the total does not depend on, and torch.jit takes half of its time for.

    These are fvcore's scope for every module, as operations are copied out of every scope they are in, and the calls
    around a forward that look for hooks, as the whole stack of calls is noted beside every operation.
    """
    from fvcore.nn import jit_analysis
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

    with (
        mock.patch.object(jit_analysis, "_named_modules_without_dup", lambda model: [("", model)]),
        mock.patch.object(torch.nn.Module, "__call__", call if original in plain.values() else original),
    ):
        yield


def attention_handle(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """The handle its users add: B x H x N_q x N_kv x (d_qk + d_v) from the traced shapes of query, key and value."""
    query, key, value = (v.type().sizes() for v in inputs[:3])
    out = outputs[0].type().sizes()
    return int(formulas.attention(1, prod(out[:-2]), query[-2], key[-2], query[-1], value[-1]))


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
