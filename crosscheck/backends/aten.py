"""crosscheck's own trace: every operator that reaches torch's dispatcher, placed by module, function and op.

A `TorchDispatchMode` sees each operator with its shapes; a `TorchFunctionMode` says which torch function it came from;
the SDPA observer says which of them are inside one attention call, and the observer of calls keeps those of functions
that counters replace. Nothing is computed on meta.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from math import prod
from types import MappingProxyType
from typing import Any, NamedTuple
from unittest import mock

import torch
from msgspec import structs
from torch.nn.parameter import is_lazy
from torch.nn.utils.rnn import PackedSequence
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from crosscheck import attention
from crosscheck.backends import calls, rules
from crosscheck.backends.entry import call, fresh_inputs
from crosscheck.backends.interface import Backend, Case, Count
from crosscheck.backends.native import Tokens, natives
from crosscheck.records import HEADLINE, AttentionRow, CallRow, Census, EinsumRow, ModuleRow, Op, OpRow, UncountedError
from crosscheck.state import preserved

_ATTENTION = "scaled_dot_product_attention"


_OPERATORS = (torch._ops.OpOverload, torch._ops.OpOverloadPacket)
#: Properties and methods of tensors, and the operator that each is.
_TRANSPOSED = {"mT": ("mT",), "mH": ("mH",), "adjoint": ("mH",), "H": ("matrix_H",)}


class _Frame(NamedTuple):
    module: int
    direct: bool


class OpKey(NamedTuple):
    """What operations of one row have alike."""

    op: Op
    aten: str
    shapes: tuple[tuple[int, ...], ...]
    out: tuple[int, ...]
    dtype: str
    function: str
    module: int
    grad: bool
    direct: bool
    macs: int
    length: int
    interpolation: int
    complex_part: int
    by_operator: bool
    mapped: int


class _ModuleKey(NamedTuple):
    class_name: str
    base: str
    params: int
    training: bool
    leaf: bool
    calls: int
    direct: int
    visits: int
    native: bool
    parameters: tuple[tuple[str, tuple[int, ...]], ...]
    outputs: tuple[tuple[int, ...], ...]
    positional: tuple[int, ...]
    packed: tuple[tuple[int, int], ...]
    mapped: bool
    derived: bool
    tokens: tuple[int, ...]
    work: frozenset[tuple[Any, int]]
    """What it ran, and how often."""
    root: bool
    """The module itself has a row of its own."""


class _CallKey(NamedTuple):
    function: str
    shapes: tuple[tuple[int, ...], ...]
    arguments: tuple[str, ...]
    out: tuple[int, ...]
    module: int
    macs: int
    is_complex: bool
    kernel: bool
    mapped: int


class _Functions(TorchFunctionMode):
    """Names the outermost torch function that is running, and keeps the equations of einsums."""

    name = ""
    by_operator = False
    complex_convolutions: int | None = None
    """Real convolutions run so far for a complex one; None outside of such."""
    passing: Any = None
    """The function whose call is on its way to outer modes."""

    def __init__(self) -> None:
        super().__init__()
        self.einsums: Counter[tuple[str, tuple[tuple[int, ...], ...], int]] = Counter()
        self.transposed: set[str] = set()
        self.packing: set[str] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # Torch hands over what took the function's place, which has seen this call, and so does to an outer mode.
        func = self.passing = getattr(func, "observed", func)
        # The mode is off while a function runs, so a name stays until that function returns.
        self.name = getattr(func, "__name__", "").partition(".")[0]  # of an overload, the operator's
        self.by_operator = isinstance(func, _OPERATORS)
        if self.name in {"__get__", "adjoint"}:
            read = self.name if self.name == "adjoint" else getattr(func.__self__, "__name__", "")
            self.transposed.update(_TRANSPOSED.get(read, ()))
        if self.name in {"_pack_padded_sequence", "_pad_packed_sequence"}:
            self.packing.add(self.name)
        if self.name == "einsum" and isinstance(args[0], str):
            operands = args[1] if isinstance(args[1], list | tuple) else args[1:]
            shapes = tuple(tuple(x.shape) for x in operands)
            self.einsums[args[0].replace(" ", ""), shapes, _mapped(operands)] += 1
        if self.name.startswith("conv"):
            given = (*args, *(kwargs or {}).values())
            if any(isinstance(value, str) for value in given):
                self.name = "_convolution_mode"  # what padding="same" goes through; some tools know it not
            if any(isinstance(value, torch.Tensor) and value.is_complex() for value in given):
                self.complex_convolutions = 0
        try:
            return func(*args, **(kwargs or {}))
        finally:
            self.name, self.by_operator, self.complex_convolutions, self.passing = "", False, None, None


class _Elsewhere(TorchDispatchMode):
    """Stays in a thread that the forward starts: a mode sees its own thread only, and products there have no place."""

    def __init__(self, unplaced: Callable[[str], None]) -> None:
        super().__init__()
        self._unplaced = unplaced

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if rules.kind(name) in HEADLINE or rules.may_hold_macs(name):
            self._unplaced(f"{func.namespace}::{name} in a thread")
        return func(*args, **(kwargs or {}))


class Tracer(TorchDispatchMode):
    """Counts one forward of ``root`` while it is entered."""

    def __init__(self, root: torch.nn.Module) -> None:
        super().__init__()
        self._paths: dict[int, list[str]] = {}
        self._modules: dict[int, torch.nn.Module] = {}
        for path, module in root.named_modules(remove_duplicate=False):
            self._paths.setdefault(id(module), []).append(path)
            self._modules[id(module)] = module
        self._visits: Counter[int] = Counter()
        self._visit(root)
        self._outputs: dict[int, list[tuple[int, ...]]] = {
            key: [] for key, module in self._modules.items() if module._parameters and _is_leaf(module)
        }
        # Now: a lazy module changes its class at its first forward.
        self._class_names = {key: f"{type(m).__module__}.{type(m).__qualname__}" for key, m in self._modules.items()}
        self._bases = {key: _base(type(m)) for key, m in self._modules.items()}
        self._positional: dict[int, set[int]] = {key: set() for key, base in self._bases.items() if base}
        self._packed: dict[int, list[tuple[int, int]]] = {key: [] for key in self._outputs}
        self._stack = [_Frame(id(root), False)]
        self._functions = _Functions()
        self._thread = threading.get_ident()
        self._attention_depth = 0
        self._calls: Counter[int] = Counter()
        self._direct: Counter[int] = Counter()
        self._inner = 0
        """MACs so far of the innermost observed call."""
        self._mapped = 1
        """How many calls torch.vmap makes one, of the innermost observed one."""
        self._given_mapped: set[int] = set()
        self._derived: set[int] = set()
        self._leaves: dict[int, torch.Tensor] = {}
        """Given to modules, and able to have a gradient."""
        self._in_kernel = self._decomposing = False
        self.calls: Counter[_CallKey] = Counter()
        self.ops: Counter[OpKey] = Counter()
        self.attention: Counter[tuple[attention.AttentionCall, int, str]] = Counter()
        self.bool_numbers: set[str] = set()
        self.untraceable: set[str] = set()
        self._kept_from: frozenset[int] = frozenset()
        """Inside a reentrant checkpoint, ids of the tensors that it was not given: the module's, its function's."""
        self.unplaced: dict[str, str] = {}

    # -- what torch calls ------------------------------------------------------------------------------------------

    def _visit(self, module: torch.nn.Module) -> None:
        self._visits[id(module)] += 1
        for child in module.children():
            self._visit(child)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # True would import torch._dynamo, a second and a half (torch/utils/_python_dispatch.py:109)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        kind = rules.kind(name)
        if kind is None and func.namespace == "aten" and _is_composite(func):
            outer, self._decomposing = self._decomposing, True
            try:
                with self:  # inference mode hands over composite operators whole
                    result = func.decompose(*args, **kwargs)
            finally:
                self._decomposing = outer
            if result is not NotImplemented:
                return result
        outer, self._in_kernel = self._in_kernel, True
        try:
            result = func(*args, **kwargs)
        finally:
            self._in_kernel = outer
        if self._kept_from and any(id(x) in self._kept_from for x in args):
            self.untraceable.add("checkpoint")
        if bool in map(type, args) and any(type(args[i]) is bool for i in _numbers(func) if i < len(args)):
            self.bool_numbers.add(name)
        if kind is not None or func.namespace not in rules.KNOWN_NAMESPACES:
            self._record(func, name, kind, args, result)
        elif rules.may_hold_macs(name):
            self._unplaced(f"{func.namespace}::{name}")
        return result

    def _record(self, func: Any, name: str, kind: Op | None, args: Any, result: Any) -> None:
        if kind is None:
            return self._unplaced(f"{func.namespace}::{name}")
        inputs = [x for x in _flat(args) if isinstance(x, torch.Tensor)]
        outputs = [x for x in _flat((result,)) if isinstance(x, torch.Tensor)]
        if not outputs:
            return None
        if kind in HEADLINE and any(x.layout is not torch.strided for x in inputs):
            return self._unplaced(f"{func.namespace}::{name} on a {inputs[0].layout} tensor")
        out = outputs[0]
        shapes = tuple(tuple(x.shape) for x in inputs)
        frame = self._stack[-1]
        work = rules.macs(name, args, shapes, tuple(out.shape), self._function, out.dtype.is_complex)
        part = 0
        if kind == "conv" and self._functions.complex_convolutions is not None:
            # torch runs three real convolutions for a complex one, which is four by definition
            part = self._functions.complex_convolutions = self._functions.complex_convolutions + 1
            work = [(op, 2 * macs if part == 3 else macs) for op, macs in work]
        for op, macs in work or ((kind, 0),):
            self._inner += macs
            placed: Op = "attention" if macs and self._function == _ATTENTION else op
            self._keep(
                OpKey(
                    placed,
                    name,
                    shapes,
                    tuple(out.shape),
                    str(out.dtype).removeprefix("torch."),
                    self._function,
                    frame.module,
                    torch.is_grad_enabled(),
                    frame.direct,
                    macs,
                    _length(placed, name, args, shapes, tuple(out.shape)),
                    args[2] if name.startswith("grid_sampler") else 0,
                    part,
                    self._functions.by_operator,
                    self._mapped,
                )
            )
        return None

    def _keep(self, key: OpKey) -> None:
        self.ops[key] += 1

    @property
    def _function(self) -> str:
        return _ATTENTION if self._attention_depth else self._functions.name

    def _unplaced(self, name: str) -> None:
        self.unplaced.setdefault(name, self._paths[self._stack[-1].module][0])

    def _observed(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        """``original``, with its calls kept under ``name``."""

        def call(*args: Any, **kwargs: Any) -> Any:
            if self._decomposing or threading.get_ident() != self._thread:
                return original(*args, **kwargs)
            if self._functions.passing is original and not self._in_kernel:
                self._functions.passing = None
                return original(*args, **kwargs)
            given = [x for x in _flat((*args, *kwargs.values())) if isinstance(x, torch.Tensor)]
            mapped = _mapped(given)
            outer, (self._inner, self._mapped) = (self._inner, self._mapped), (0, mapped)
            try:
                result = original(*args, **kwargs)
            finally:
                macs, (self._inner, self._mapped) = self._inner, outer
            if any(type(x).__name__ == "FakeTensor" for x in given):  # torch.compile at work: nothing runs
                return result
            out = next((x for x in _flat((result,)) if isinstance(x, torch.Tensor)), None)
            key = _CallKey(
                name,
                tuple(tuple(x.shape) for x in given),
                calls.words(args, kwargs),
                () if out is None else tuple(out.shape),
                next(frame.module for frame in reversed(self._stack) if not frame.direct),
                macs,
                any(x.is_complex() for x in given),
                self._in_kernel,
                mapped,
            )
            self.calls[key] += 1
            return result

        call.observed = original  # type: ignore[attr-defined]
        return call

    # -- where it runs ---------------------------------------------------------------------------------------------

    def _enter_attention(self, call: attention.AttentionCall) -> None:
        if threading.get_ident() != self._thread:
            return self._unplaced("scaled_dot_product_attention in a thread")
        self._attention_depth += 1
        self.attention[call, self._stack[-1].module, self._functions.name] += 1
        return None

    def _leave_attention(self) -> None:
        if threading.get_ident() == self._thread:
            self._attention_depth -= 1

    @contextmanager
    def _entered(self, module: torch.nn.Module, direct: bool) -> Iterator[None]:
        """Operations belong to the innermost module of the tree; one made in passing is no part of it."""
        if threading.get_ident() != self._thread:
            self._unplaced(f"{type(module).__name__} in a thread")
            yield
            return
        (self._direct if direct else self._calls)[id(module)] += 1
        self._stack.append(_Frame(id(module), direct))
        try:
            yield
        finally:
            self._stack.pop()

    @contextmanager
    def _watching_modules(self) -> Iterator[None]:
        """Know the module that is running: through ``__call__``, or by ``forward`` itself, where hooks see nothing."""
        original_call = torch.nn.Module.__call__
        tracer = self

        def called(module: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
            tracer._given(id(module), args)
            with tracer._entered(module, direct=False) if id(module) in tracer._paths else nullcontext():
                result = original_call(module, *args, **kwargs)
            tracer._returned(id(module), len(args), result)
            return result

        def watched(forward: Callable[..., Any]) -> Callable[..., Any]:
            def run(module: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
                # The module on top is in its own call: this is that call's forward, or its super's.
                direct = id(module) in tracer._paths and tracer._stack[-1].module != id(module)
                with tracer._entered(module, direct=True) if direct else nullcontext():
                    return forward(module, *args, **kwargs)

            return run

        classes = {type(m) for m in self._modules.values() if not isinstance(m, torch.jit.ScriptModule)}
        forwards = [(cls, cls.__dict__.get("forward"), cls.forward) for cls in classes]
        with ExitStack() as stack:
            stack.callback(setattr, torch.nn.Module, "__call__", original_call)
            torch.nn.Module.__call__ = called
            for cls, own, forward in forwards:
                stack.callback(_restore, cls, own)
                cls.forward = watched(forward)
            yield

    def _given(self, module: int, args: tuple[Any, ...]) -> None:
        if args and isinstance(args[0], torch.Tensor) and _is_mapped(args[0]):
            self._given_mapped.add(module)
        if torch._C._functorch.peek_interpreter_stack() is not None and _is_derived():
            self._derived.add(module)
        self._leaves.update((id(x), x) for x in args if isinstance(x, torch.Tensor) and x.requires_grad and x.is_leaf)

    def _returned(self, module: int, positional: int, result: Any) -> None:
        if module in self._positional:
            self._positional[module].add(positional)
        if module in self._outputs:
            self._outputs[module].append(_first_shape(result))
            first = result[0] if isinstance(result, tuple) and result else result
            if isinstance(first, PackedSequence):
                self._packed[module].append((len(first.batch_sizes), int(first.batch_sizes[0])))

    @contextmanager
    def _watching_threads(self) -> Iterator[None]:
        original, tracer = threading.Thread.run, self

        def run(thread: threading.Thread) -> None:
            with _Elsewhere(tracer._unplaced):
                original(thread)

        with mock.patch.object(threading.Thread, "run", run):
            yield

    @contextmanager
    def _watching_for_the_untraceable(self) -> Iterator[None]:
        """Calls that some counters can't take, and products of parameters inside of a function of autograd's."""
        stateless = torch.nn.utils.stateless._functional_call
        checkpoints = sys.modules.get("torch.utils.checkpoint")
        function: Any = getattr(checkpoints, "CheckpointFunction", None)

        def functional_call(*args: Any, **kwargs: Any) -> Any:
            self.untraceable.add("functional_call")
            return stateless(*args, **kwargs)

        gradient = torch.autograd.grad

        def grad(outputs: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            if any(id(x) in self._leaves for x in _flat((inputs,))):
                self.untraceable.add("grad of a leaf")
            return gradient(outputs, inputs, *args, **kwargs)

        transforms = sys.modules.get("torch._functorch.eager_transforms")
        inner: Any = getattr(transforms, "_autograd_grad", None)

        def func_grad(*args: Any, **kwargs: Any) -> Any:
            self.untraceable.add("func.grad")
            return inner(*args, **kwargs)

        def forward(*args: Any) -> Any:
            own = {id(x) for module in self._modules.values() for x in _tensors(module)}
            kept = own.union(map(id, _enclosed(args[1]))).difference(map(id, args))
            outer, self._kept_from = self._kept_from, frozenset(kept)
            try:
                return original(*args)
            finally:
                self._kept_from = outer

        with ExitStack() as stack:
            stack.enter_context(mock.patch.object(torch.nn.utils.stateless, "_functional_call", functional_call))
            stack.enter_context(mock.patch.object(torch.autograd, "grad", grad))
            if inner is not None:
                stack.enter_context(mock.patch.object(transforms, "_autograd_grad", func_grad))
            if function is not None:
                original = function.forward
                stack.enter_context(mock.patch.object(function, "forward", staticmethod(forward)))
            yield

    @contextmanager
    def tracing(self) -> Iterator[Tracer]:
        """Count what runs inside. Raises `UncountedError` where an operator that may hold MACs has no rule."""
        with (
            self._watching_modules(),
            self._watching_threads(),
            self._watching_for_the_untraceable(),
            attention.observing(self._enter_attention, self._leave_attention),
            calls.observing(self._observed),
            self._functions,
            self,
        ):
            try:
                yield self
            except NotImplementedError as error:
                if operator := re.search(r"no rule registered for \w+ (\w+) and mode", str(error)):
                    raise UncountedError(_refusal(operator[1])) from error
                raise
        if self._functions.packing == {"_pack_padded_sequence"}:
            self.untraceable.add("packed sequence")
        if self.unplaced:
            named = ", ".join(f"{name} in {path or 'the module itself'}" for name, path in self.unplaced.items())
            raise UncountedError(_refusal(named))

    # -- what came out ---------------------------------------------------------------------------------------------

    def count(self, device: str, native: Mapping[int, Tokens] = MappingProxyType({})) -> Count:
        """MACs by headline op, and the census; ``native`` are ids of modules that torch may run as one kernel."""
        by_op = self._by_op()
        return Count(macs=sum(by_op.values()), by_op=by_op, census=self._census(device, native))

    def _by_op(self) -> dict[str, int]:
        sums: dict[str, int] = dict.fromkeys(HEADLINE, 0)
        for key, count in self.ops.items():
            if key.op in sums:
                sums[key.op] += key.macs * count
        return sums

    def _census(self, device: str, native: Mapping[int, Tokens]) -> Census:
        """What ran, in distinct rows: modules alike share a row, and so do operations."""
        rows: dict[_ModuleKey, list[tuple[str, ...]]] = {}
        place: dict[int, _ModuleKey] = {}
        work = self._work_of_each()
        for key, module in self._modules.items():
            parameters = _parameters(module) if key in self._outputs else ()
            positional = tuple(sorted(self._positional.get(key, ())))
            alike = _ModuleKey(
                class_name=self._class_names[key],
                base=self._bases[key],
                params=sum(p.numel() for p in module._parameters.values() if p is not None and not is_lazy(p)),
                training=module.training,
                leaf=next(module.children(), None) is None,
                calls=self._calls[key],
                direct=self._direct[key],
                visits=self._visits[key],
                native=key in native,
                parameters=parameters,
                outputs=tuple(self._outputs[key]) if parameters else (),
                positional=() if positional == (1,) else positional,
                packed=tuple(self._packed.get(key, ())),
                mapped=key in self._given_mapped,
                derived=key in self._derived,
                tokens=native[key] if any(native.get(key, ())) else (),
                work=frozenset(work[key]),
                root=self._paths[key][0] == "",
            )
            place[key] = alike
            rows.setdefault(alike, []).append(tuple(self._paths[key]))
        index = {alike: i for i, alike in enumerate(rows)}
        return Census(
            device=device,
            modules=tuple(_module_row(alike, paths) for alike, paths in rows.items()),
            ops=self._op_rows(index, place),
            attention=self._attention_rows(index, place),
            bool_numbers=tuple(sorted(self.bool_numbers)),
            untraceable=tuple(sorted(self.untraceable)),
            transposed=tuple(sorted(self._functions.transposed)),
            einsums=tuple(
                EinsumRow(equation=equation, shapes=shapes, count=count, mapped=mapped)
                for (equation, shapes, mapped), count in self._functions.einsums.items()
            ),
            calls=self._call_rows(index, place),
        )

    def _work_of_each(self) -> defaultdict[int, set[tuple[Any, int]]]:
        """What each module ran, and how often."""
        work: defaultdict[int, set[tuple[Any, int]]] = defaultdict(set)
        for operation, count in self.ops.items():
            work[operation.module].add((operation._replace(module=0), count))
        for called, count in self.calls.items():
            work[called.module].add((called._replace(module=0), count))
        for (seen, module, function), count in self.attention.items():
            work[module].add(((seen, function), count))
        return work

    def _call_rows(self, index: dict[Any, int], place: dict[int, Any]) -> tuple[CallRow, ...]:
        merged: Counter[_CallKey] = Counter()
        for key, count in self.calls.items():
            merged[key._replace(module=index[place[key.module]])] += count
        return tuple(
            CallRow(**{**key._asdict(), "macs": key.macs * count}, count=count) for key, count in merged.items()
        )

    def _op_rows(self, index: dict[Any, int], place: dict[int, Any]) -> tuple[OpRow, ...]:
        merged: Counter[OpKey] = Counter()
        for key, count in self.ops.items():
            merged[key._replace(module=index[place[key.module]])] += count
        return tuple(OpRow(**{**key._asdict(), "macs": key.macs * count}, count=count) for key, count in merged.items())

    def _attention_rows(self, index: dict[Any, int], place: dict[int, Any]) -> tuple[AttentionRow, ...]:
        merged: Counter[tuple[attention.AttentionCall, int, str]] = Counter()
        for (seen, module, function), count in self.attention.items():
            merged[seen, index[place[module]], function] += count
        return tuple(
            AttentionRow(
                **seen._asdict(),
                module=module,
                function=function,
                count=count,
                macs=seen.macs * count,
                causal_macs=seen.causal_macs * count,
                query_only_macs=seen.query_only_macs * count,
            )
            for (seen, module, function), count in merged.items()
        )


def _refusal(operators: str) -> str:
    instead = f"; with {_ATTENTION} in its place it can be" if operators == "flex_attention" else ""
    return f"can't be counted exactly: {operators} may hold MACs and crosscheck has no rule for it{instead}"


class Aten(Backend):
    """The trace as a backend."""

    name = "aten"
    distribution = "torch"

    def run(self, case: Case) -> Count:
        evaluated = _evaluated(case)  # first: what it changes is put back, what the trace itself changes is not
        count = _traced(case)
        if count.census is None or evaluated is None or _work(evaluated) == _work(count.census):
            return count
        return dataclasses.replace(count, census=structs.replace(count.census, evaluated=evaluated))

    def read(self, result: Count) -> Count:
        return result


def _traced(case: Case) -> Count:
    tracer = Tracer(case.module)
    with tracer.tracing():
        call(case)
    return tracer.count(case.device, natives(case))


def _evaluated(case: Case) -> Census | None:
    """The census of a module that is in training, in evaluation; None where there is no other."""
    modules = list(case.module.modules())
    if not any(m.training for m in modules) or any(_is_in_the_making(m) for m in modules):
        return None
    with preserved(case.module, values=case.device != "meta"), suppress(Exception):  # it may run in training only
        case.module.eval()
        return _traced(fresh_inputs(case)).census
    return None


def _is_in_the_making(module: torch.nn.Module) -> bool:
    """Whether its first forward is another than its second: lazy modules, and those that are to be compiled."""
    return "Lazy" in type(module).__name__ or type(module).__name__ == "OptimizedModule"


def _work(census: Census) -> Counter[Any]:
    """What ran, wherever it did."""
    work: Counter[Any] = Counter()
    for row in census.ops:
        work[row.op, row.aten, row.shapes, row.out, row.function] += row.count
    return work


def _module_row(alike: _ModuleKey, paths: list[tuple[str, ...]]) -> ModuleRow:
    said = {name: value for name, value in alike._asdict().items() if name not in {"root", "work"}}
    return ModuleRow(**{**said, "parameters": dict(alike.parameters)}, paths=tuple(paths))


def _base(cls: type) -> str:
    """The nearest class of torch.nn among ``cls`` and its bases; a lazy one is what it becomes."""
    torchs = (base for base in cls.__mro__ if base.__module__.startswith("torch.nn.modules."))
    name = next((base.__name__ for base in torchs if "Lazy" not in base.__name__), "")
    return "" if name == "Module" else name


def _length(op: Op, name: str, args: Any, shapes: tuple[tuple[int, ...], ...], out: tuple[int, ...]) -> int:
    if op == "softmax" and shapes[0]:
        length: int = shapes[0][args[1]]
        return length
    if name in {"avg_pool2d", "avg_pool3d"}:
        dims = int(name[-2])
        stated = dict(zip(("kernel", "stride", "padding", "ceil", "include_pad"), args[1:], strict=False))
        kernel, padding = _each(stated["kernel"], dims), _each(stated.get("padding", 0), dims)
        stride = _each(stated.get("stride") or kernel, dims)
        margin = padding if stated.get("include_pad", True) else (0,) * dims
        sides = zip(shapes[0][-dims:], out[-dims:], kernel, stride, padding, margin, strict=True)
        return prod(
            sum(max(min(i * s - p + k, size + m) - max(i * s - p, -m), 0) for i in range(outputs))
            for size, outputs, k, s, p, m in sides
        )
    return 0


def _each(value: Any, dims: int) -> tuple[int, ...]:
    """A size for each dimension."""
    given = (value,) if isinstance(value, int) else tuple(value)
    return given * dims if len(given) == 1 else given


def _tensors(module: torch.nn.Module) -> Iterator[torch.Tensor]:
    return (x for x in (*module._parameters.values(), *module._buffers.values()) if x is not None)


def _enclosed(function: Any) -> Iterator[torch.Tensor]:
    """Tensors that a function has from around it."""
    for cell in getattr(function, "__closure__", None) or ():
        with suppress(ValueError):  # a name there may have no value yet
            if isinstance(cell.cell_contents, torch.Tensor):
                yield cell.cell_contents


def _is_derived() -> bool:
    """Whether a transform of torch.func's is on that differentiates."""
    functorch = torch._C._functorch
    stack = getattr(functorch, "get_interpreter_stack", None)  # before torch 2.3 only the innermost can be asked
    return any(str(one.key()) in _DERIVATIVES for one in (stack() if stack else [functorch.peek_interpreter_stack()]))


_DERIVATIVES = ("TransformType.Grad", "TransformType.Jvp")
_is_mapped: Callable[[torch.Tensor], bool] = torch._C._functorch.is_batchedtensor


def _mapped(tensors: Iterable[torch.Tensor]) -> int:
    """How many calls torch.vmap makes one: the product of the dimensions that it hides in them."""
    sizes = {}
    functorch = torch._C._functorch
    for tensor in tensors:
        shown = tensor
        while (mapped := _is_mapped(shown)) or functorch.is_gradtrackingtensor(shown):
            held = functorch.get_unwrapped(shown)
            if mapped:
                sizes[functorch.maybe_get_level(shown)] = held.shape[functorch.maybe_get_bdim(shown)]
            shown = held
    return prod(sizes.values())


def _is_leaf(module: torch.nn.Module) -> bool:
    """Whether it has no children but empty containers."""
    return all(isinstance(child, _CONTAINERS) and not len(child) for child in module.children())


_CONTAINERS = (torch.nn.Sequential, torch.nn.ModuleList, torch.nn.ModuleDict)


def _parameters(module: torch.nn.Module) -> tuple[tuple[str, tuple[int, ...]], ...]:
    return tuple((name, tuple(p.shape)) for name, p in module.named_parameters(recurse=False) if not is_lazy(p))


def _first_shape(result: Any) -> tuple[int, ...]:
    """Of the first tensor in it; () where there is none."""
    while isinstance(result, list | tuple) and result:  # a packed sequence is a tuple
        result = result[0]
    return tuple(result.shape) if isinstance(result, torch.Tensor) else ()


def _restore(cls: type, forward: Any) -> None:
    if forward is None:
        del cls.forward  # type: ignore[attr-defined]  # it was inherited before
    else:
        cls.forward = forward  # type: ignore[attr-defined]  # every module class has one


@functools.cache
def _numbers(func: Any) -> tuple[int, ...]:
    """Where its arguments are numbers of any type."""
    return tuple(i for i, argument in enumerate(func._schema.arguments) if "number" in str(argument.type))


@functools.cache
def _is_composite(func: Any) -> bool:
    try:
        return bool(torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd"))
    except RuntimeError:  # a size or stride of a nested tensor, which is asked as an operator and is none
        return False


def _flat(tree: Any) -> Iterator[Any]:
    for item in tree:
        if isinstance(item, list | tuple):
            yield from _flat(item)
        else:
            yield item
