"""crosscheck's own trace: every operator that reaches torch's dispatcher, placed by module, function and op.

A `TorchDispatchMode` sees each operator with its shapes; a `TorchFunctionMode` says which torch function it came from;
the SDPA observer says which of them are inside one attention call, and the observer of calls keeps those of functions
that counters replace. Nothing is computed on meta.
"""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from crosscheck.errors import UncountedError
from crosscheck.records import HEADLINE, CallRow, Census, Op, OpRow
from crosscheck.tracing import aten_rules, replaced_functions, sdpa, sparse
from crosscheck.tracing.census import Tally, census
from crosscheck.tracing.functions import RunningFunction
from crosscheck.tracing.fused_layers import Tokens
from crosscheck.tracing.lengths import reduced_size
from crosscheck.tracing.modules import RunningModules
from crosscheck.tracing.operators import why_refused
from crosscheck.tracing.patching import like
from crosscheck.tracing.tensor_trees import flat, shape
from crosscheck.tracing.threads import watching_threads
from crosscheck.tracing.transforms import mapped_calls
from crosscheck.tracing.untraceable import UntraceableCalls

_ATTENTION = "scaled_dot_product_attention"


class Traced(NamedTuple):
    """Result of a trace: MACs by headline op, and the census."""

    by_op: dict[str, int]
    census: Census


class Observer(Protocol):
    """Hears of each operator with products as it runs."""

    def begins(self) -> None:
        """One is about to run."""

    def ended(self, ran: OpRow | None, path: str, arguments: Mapping[str, Any]) -> None:
        """It ran in the module at ``path`` with these arguments, and is counted as ``ran``; None where it failed."""


class Tracer(TorchDispatchMode):
    """Counts one forward of ``root`` while it is entered."""

    def __init__(self, root: torch.nn.Module, observer: Observer | None = None) -> None:
        super().__init__()
        self._modules = RunningModules(root, self._unplaced)
        self._function = RunningFunction()
        self._untraceable = UntraceableCalls(self._modules.modules.values(), self._modules.leaves)
        self._observer = observer
        self._thread = threading.get_ident()
        self._tally = Tally()
        self._refused: dict[str, str] = {}
        """Operators that may hold MACs and have no rule, and the module where each first ran."""
        self._attention_depth = 0
        self._inner = 0
        """MACs so far of the innermost observed call."""
        self._mapped = 1
        """How many calls torch.vmap makes one, of the innermost observed one."""
        self._in_kernel = self._decomposing = False

    @contextmanager
    def tracing(self) -> Iterator[Tracer]:
        """Count what runs inside. Raises `UncountedError` where an operator that may hold MACs has no rule."""
        with (
            self._modules.watching(),
            watching_threads(self._unplaced),
            self._untraceable.watching(),
            sdpa.observing(self._enter_attention, self._leave_attention),
            replaced_functions.observing(self._observed),
            self._function.watching(),
            self,
        ):
            try:
                yield self
            except NotImplementedError as error:
                if operator := re.search(r"no rule registered for \w+ (\w+) and mode", str(error)):
                    raise UncountedError(_refusal(operator[1])) from error
                raise
        if self._function.packing == {"_pack_padded_sequence"}:
            self._untraceable.found.add("packed sequence")
        if self._function.came_back:
            ways_out = " and ".join(sorted(self._function.ways_out - {"data_ptr"}))
            raise UncountedError(
                f"can't be counted exactly: its forward takes numbers out of torch by {ways_out} and brings others "
                "back, and what is done to them in between is not seen"
            )
        if self._refused:
            operators = ", ".join(f"{name} in {path or 'the module itself'}" for name, path in self._refused.items())
            reasons = dict.fromkeys(filter(None, map(why_refused, self._refused)))
            raise UncountedError(_refusal(operators) + (f": {', and '.join(reasons)}" if reasons else ""))

    def traced(self, device: str, native: Mapping[int, Tokens] = MappingProxyType({})) -> Traced:
        """The count on ``device``; ``native`` are ids of modules that torch may run as one kernel."""
        if device != "meta":  # where there are no numbers
            self._untraceable.found.update(self._function.ways_out)
        found = census(self._tally, self._modules, self._function, self._untraceable.found, device, native)
        return Traced(self._tally.by_op(), found)

    # -- what torch calls ----------------------------------------------------------------------------------------------

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # True would import torch._dynamo, a second and a half (torch/utils/_python_dispatch.py:109)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self._observer is None or not aten_rules.multiplies(aten_rules.key(func), self._function_name):
            return self._dispatched(func, args, kwargs)[0]
        self._observer.begins()
        ran: OpRow | None = None
        try:
            result, ran = self._dispatched(func, args, kwargs)
        finally:
            path = self._modules.paths[self._modules.innermost.module][0]
            names = (argument.name for argument in func._schema.arguments)
            self._observer.ended(ran, path, dict(zip(names, args, strict=False)) | kwargs)
        return result

    def _dispatched(self, func: Any, args: Any, kwargs: Any) -> tuple[Any, OpRow | None]:
        """The result of the operator, and how it is counted."""
        name = aten_rules.key(func)
        kind = aten_rules.kind(name)
        if kind is None and func.namespace == "aten" and _is_composite(func) and not _has_nested(args):
            outer, self._decomposing = self._decomposing, True
            try:
                with self:  # inference mode hands over composite operators whole
                    result = func.decompose(*args, **kwargs)
            finally:
                self._decomposing = outer
            if result is not NotImplemented:
                return result, None
        outer, self._in_kernel = self._in_kernel, True
        try:
            result = func(*args, **kwargs)
        finally:
            self._in_kernel = outer
        self._untraceable.operator(args)
        if bool in map(type, args) and any(type(args[i]) is bool for i in _numbers(func) if i < len(args)):
            self._tally.bool_numbers.add(name)
        if kind is not None:
            return result, self._record(func, name, kind, _in_order(func, args, kwargs), result)
        if not aten_rules.is_placed(name):
            self._unplaced(func.overloadpacket._qualified_op_name)
        return result, None

    def _record(self, func: Any, name: str, kind: Op, args: Any, result: Any) -> OpRow | None:
        inputs = [x for x in flat(args) if isinstance(x, torch.Tensor)]
        out = next((x for x in flat((result,)) if isinstance(x, torch.Tensor)), None)
        if out is None:
            return None
        if kind in HEADLINE and (uncounted := sparse.untold(name, args) or _untold_of_nested(name, inputs)):
            self._unplaced(f"{func.overloadpacket._qualified_op_name} on a {uncounted} tensor")
            return None
        shapes, made = tuple(map(shape, inputs)), shape(out)
        frame, function = self._modules.innermost, self._function_name
        op, macs = aten_rules.macs(name, args, shapes, made, function, out.dtype.is_complex) or (kind, 0)
        part = 0
        if kind == "conv" and self._function.complex_convolutions is not None:
            # torch runs three real convolutions for a complex one, which is four by definition
            part = self._function.complex_convolutions = self._function.complex_convolutions + 1
            macs *= 2 if part == 3 else 1
        self._inner += macs
        placed: Op = "attention" if macs and function == _ATTENTION else op
        row = OpRow(
            op=placed,
            aten=name,
            shapes=shapes,
            out=made,
            dtype=str(out.dtype).removeprefix("torch."),
            function=function,
            module=frame.module,
            grad=torch.is_grad_enabled(),
            direct=frame.direct,
            count=1,
            macs=macs,
            dense_macs=sparse.dense_macs(name, args) if kind in HEADLINE else 0,
            reduced_size=reduced_size(placed, name, args, shapes, made),
            interpolation=args[2] if name.startswith("grid_sampler") else 0,
            complex_part=part,
            by_operator=self._function.by_operator,
            mapped=self._mapped,
        )
        self._tally.ops[row] += 1
        return row

    @property
    def _function_name(self) -> str:
        return _ATTENTION if self._attention_depth else self._function.name

    def _unplaced(self, name: str) -> None:
        self._refused.setdefault(name, self._modules.paths[self._modules.innermost.module][0])

    # -- calls that operators are inside of ----------------------------------------------------------------------------

    def _observed(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        """``original``, with its calls kept under ``name``."""

        @like(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            if self._decomposing or threading.get_ident() != self._thread:
                return original(*args, **kwargs)
            if self._function.passing is original and not self._in_kernel:
                self._function.passing = None
                return original(*args, **kwargs)
            given = [x for x in flat((*args, *kwargs.values())) if isinstance(x, torch.Tensor)]
            mapped = mapped_calls(given)
            outer, (self._inner, self._mapped) = (self._inner, self._mapped), (0, mapped)
            try:
                result = original(*args, **kwargs)
            finally:
                macs, (self._inner, self._mapped) = self._inner, outer
            if any(type(x).__name__ == "FakeTensor" for x in given):  # torch.compile at work: nothing runs
                return result
            out = next((x for x in flat((result,)) if isinstance(x, torch.Tensor)), None)
            row = CallRow(
                function=name,
                shapes=tuple(map(shape, given)),
                arguments=replaced_functions.words(args, kwargs),
                out=() if out is None else shape(out),
                module=self._modules.called,
                count=1,
                macs=macs,
                is_complex=any(x.is_complex() for x in given),
                kernel=self._in_kernel,
                mapped=mapped,
            )
            self._tally.calls[row] += 1
            return result

        call.observed = original  # type: ignore[attr-defined]
        return call

    def _enter_attention(self, call: sdpa.AttentionCall) -> None:
        if threading.get_ident() != self._thread:
            return self._unplaced("scaled_dot_product_attention in a thread")
        self._attention_depth += 1
        self._tally.attention[call, self._modules.innermost.module, self._function.name] += 1
        return None

    def _leave_attention(self) -> None:
        if threading.get_ident() == self._thread:
            self._attention_depth -= 1


def _refusal(operators: str) -> str:
    instead = f"; with {_ATTENTION} in its place it can be" if operators == "flex_attention" else ""
    return f"can't be counted exactly: {operators} may hold MACs and crosscheck has no rule for it{instead}"


def _has_nested(args: Any) -> bool:
    """Whether one is a nested tensor, for which torch has kernels of what it else decomposes."""
    return any(isinstance(x, torch.Tensor) and x.is_nested for x in flat(args))


def _untold_of_nested(name: str, inputs: Sequence[torch.Tensor]) -> str:
    """``nested`` where the rows of one nested tensor do not meet a matrix: what the parts are like then decides."""
    nested = [x.is_nested for x in inputs]
    return "nested" if any(nested) and (any(nested[1:]) or name not in {"linear", "mm"}) else ""


def _in_order(func: Any, args: Any, kwargs: Any) -> Any:
    """The arguments that an operator takes by position, those too that were given by name."""
    places = [argument for argument in func._schema.arguments if not argument.kwarg_only]
    if not any(argument.name in kwargs for argument in places):
        return args
    return (*args, *(kwargs.get(argument.name, argument.default_value) for argument in places[len(args) :]))


@functools.cache
def _numbers(func: Any) -> tuple[int, ...]:
    """Places of the arguments that are numbers of any type."""
    return tuple(i for i, argument in enumerate(func._schema.arguments) if "number" in str(argument.type))


@functools.cache
def _is_composite(func: Any) -> bool:
    try:
        return bool(torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd"))
    except RuntimeError:  # a size or stride of a nested tensor, which is asked as an operator and is none
        return False
