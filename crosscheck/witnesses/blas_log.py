"""The log of MKL and oneDNN about the products they execute, read line by line.

MKL writes ``MKL_VERBOSE SGEMM(T,N,5120,256,1280,0x7f..,...) 49.78ms ...``, oneDNN
``onednn_verbose,v1,primitive,exec,cpu,convolution,jit:avx2,forward_training,...,mb1_ic320oc320_ih64oh64kh3...,47.8``,
older releases the latter without ``v1`` and ``primitive``. A batched product of MKL has pointers for its sizes, and one
of torch's own loop leaves no line: what can't be sized stays unknown.

Sources: torch/backends/mkl/__init__.py, torch/backends/mkldnn/__init__.py of torch 2.13.0, the guides to verbose mode
of oneMKL 2024.2 and oneDNN 3.12.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from math import prod
from typing import NamedTuple

from crosscheck.records import Shape, Term
from crosscheck.witnesses.evidence import Execution, Primitive

#: Cause -> what it is, and its source.
CAUSES = {
    "causal-blocks": (
        "Blocks of keys that a causal mask hides from a whole block of queries are left out.",
        "aten/src/ATen/native/cpu/FlashAttentionKernel.cpp of torch 2.13.0, cpu_flash_attention",
    ),
    "bias-as-product": (
        "Torch's own transposed convolution of three dimensions adds its bias as a product with ones.",
        "aten/src/ATen/native/NaiveConvolutionTranspose3d.cpp of torch 2.13.0, slow_conv_transpose3d_out_cpu_template",
    ),
}

_MKL = re.compile(r"MKL_VERBOSE ([A-Z0-9_]+)\(([^)]*)\)")
#: What else MKL has that multiplies matrices or vectors.
_MULTIPLIES = re.compile(r"GEMM|GEMV|DOT|GER|SYM|SYR|HEM|HER|TRM|TRS|MATMUL")
#: What else oneDNN has that multiplies, without a rule here.
_OTHER_PRODUCTS = frozenset({"gemm_api", "sdpa", "gated_mlp", "augru"})
_SIZE = re.compile(r"([a-z]+)(\d+)")
#: Keys of a block in torch's fused attention.
_KEYS = 512
_GATES = {"vanilla_rnn": 1, "vanilla_lstm": 4, "vanilla_gru": 3, "lbr_gru": 3}


class Marks(NamedTuple):
    """The lines between which an operation runs; ``key`` is no text that a forward prints by chance."""

    key: str

    def line(self, operation: int | None) -> str:
        """The line that says which operation the following ones belong to; None: to none."""
        return f"{self.key} {'none' if operation is None else operation}"

    def read(self, log: Iterable[str]) -> dict[int | None, tuple[Primitive, ...]]:
        """Operation -> the primitives logged for it, alike ones together; under None those outside of every one."""
        found: dict[int | None, Counter[tuple[str, str, int | None]]] = {}
        operation: int | None = None
        for line in log:
            if line.startswith(self.key):
                marked = line.removeprefix(self.key).strip()
                operation = None if marked == "none" else int(marked)
            elif (logged := primitive(line)) is not None:
                found.setdefault(operation, Counter())[logged.routine, logged.sizes, logged.macs] += 1
        return {
            operation: tuple(
                Primitive(routine=routine, sizes=sizes, macs=macs, count=count)
                for (routine, sizes, macs), count in sorted(calls.items(), key=lambda entry: entry[0][:2])
            )
            for operation, calls in found.items()
        }


def primitive(line: str) -> Primitive | None:
    """The product that a line of a log tells of; None where it tells of none."""
    if match := _MKL.search(line):
        return _mkl(match[1], match[2].split(","))
    if line.startswith(("onednn_verbose", "dnnl_verbose")):
        return _onednn(line.rstrip().split(","))
    return None


def _mkl(routine: str, arguments: list[str]) -> Primitive | None:
    kind = routine[1:]
    real = 4 if routine[0] in "CZ" else 1  # a complex product is four real ones
    sizes = {"GEMM": arguments[2:5], "GEMM3M": arguments[2:5], "GEMV": arguments[1:3], "GER": arguments[:2]}.get(kind)
    if sizes is None and kind.startswith("DOT"):
        sizes = arguments[:1]
    if sizes is not None and all(size.isdecimal() for size in sizes):
        macs = real * prod(map(int, sizes))
        return Primitive(routine=routine, sizes=" x ".join(sizes), macs=macs)
    return Primitive(routine=routine, sizes="", macs=None) if _MULTIPLIES.search(routine) else None


def _onednn(fields: list[str]) -> Primitive | None:
    """After ``exec,cpu``: primitive, implementation, propagation, formats, attributes, algorithm, problem, time."""
    if "exec" not in fields:
        return None
    kind, *described = fields[fields.index("exec") + 2 :]
    if kind in _OTHER_PRODUCTS:
        return Primitive(routine=kind, sizes=described[-2], macs=None)
    if kind not in {*_PROBLEMS, "matmul"}:
        return None  # reorders, sums: no products
    problem, algorithm = described[-2], described[-3]
    if kind == "matmul":
        return Primitive(routine=kind, sizes=problem, macs=_matmul(problem))
    size = {name: int(digits) for name, digits in _SIZE.findall(problem)}
    return Primitive(routine=kind, sizes=problem, macs=_PROBLEMS[kind](size, algorithm))


def _matmul(problem: str) -> int:
    """``2x64x32:2x32x48``, and in older releases ``:2x64x48`` after it; leading dimensions broadcast."""
    a, b = ([int(size) for size in shape.split("x")] for shape in problem.split(":")[:2])
    batch = prod(max(sizes) for sizes in zip(a[:-2], b[:-2], strict=True))
    return batch * a[-2] * a[-1] * b[-1]


def _convolution(size: dict[str, int], _: str) -> int:
    """Channels are those of all groups; what runs backward is described as the convolution that it inverts."""
    outputs = prod(size.get(f"o{axis}", 1) for axis in "dhw")
    return size["mb"] * size["oc"] * outputs * size["ic"] // size.get("g", 1) * _kernel(size)


def _deconvolution(size: dict[str, int], _: str) -> int:
    inputs = prod(size.get(f"i{axis}", 1) for axis in "dhw")
    return size["mb"] * size["ic"] * inputs * size["oc"] // size.get("g", 1) * _kernel(size)


def _kernel(size: dict[str, int]) -> int:
    return prod(size.get(f"k{axis}", 1) for axis in "dhw")


def _inner_product(size: dict[str, int], _: str) -> int:
    return size["mb"] * size["oc"] * size["ic"] * prod(size.get(f"i{axis}", 1) for axis in "dhw")


def _rnn(size: dict[str, int], algorithm: str) -> int | None:
    """Each step of each layer multiplies its input and its state by the weights of every gate."""
    gates = next((count for name, count in _GATES.items() if name in algorithm), None)
    if gates is None:
        return None
    directions = 2 if "bidirectional" in algorithm else 1
    return size["l"] * directions * size["t"] * size["mb"] * gates * size["dhc"] * (size["slc"] + size["sic"])


_PROBLEMS = {
    "convolution": _convolution,
    "deconvolution": _deconvolution,
    "inner_product": _inner_product,
    "rnn": _rnn,
}


# -- what it says of an operation --------------------------------------------------------------------------------------


def executed(execution: Execution) -> int | None:
    """MACs that the log has for one of ``execution``; None where it has no line for it, or one without a size."""
    if not execution.macs and not execution.primitives:
        return 0
    macs = [None if p.macs is None else p.count * p.macs for p in execution.primitives]
    return None if not macs or None in macs else sum(m for m in macs if m is not None)


def terms(execution: Execution) -> tuple[Term, ...]:
    """Why the processor executes another number than the shapes give."""
    if execution.aten == "_scaled_dot_product_flash_attention_for_cpu" and execution.is_causal:
        return (Term(cause="causal-blocks", macs=-_skipped(*execution.shapes[:3])),)
    torchs_own = execution.transposed and any("GEMM" in primitive.routine for primitive in execution.primitives)
    if torchs_own and len(execution.out) == 5 and len(execution.shapes) == 3:
        return (Term(cause="bias-as-product", macs=prod(execution.out)),)
    return ()


def _skipped(query: Shape, key: Shape, value: Shape) -> int:
    """MACs of the key blocks that a causal mask hides from a whole block of queries: the kernel leaves them out.

    Source: aten/src/ATen/native/cpu/FlashAttentionKernel.cpp of torch 2.13.0, cpu_flash_attention: queries go in blocks
    of 256, 64 or 32 by their number, keys in blocks of 512, and a block of queries sees key blocks that begin before
    its own last row.
    """
    queries, keys = query[-2], key[-2]
    rows = 256 if queries >= 768 else 64 if queries >= 192 else 32
    skipped = 0
    for first in range(0, queries, rows):
        block = min(rows, queries - first)
        last = min(first + block, keys)
        seen = min(-(-last // _KEYS) * _KEYS, keys)
        skipped += block * (keys - seen)
    return prod(query[:-2]) * skipped * (query[-1] + value[-1])
