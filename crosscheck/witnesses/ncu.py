"""What Nsight Compute counts of a GPU's kernels, and why it is more or less than the shapes of an operation give.

A kernel multiplies in tiles, whose size is in its name: rows, columns and depth that do not fill the last tile are
multiplied all the same. Blocks are launched in whole clusters, and a depth may be split among blocks. What runs on the
tensor cores is counted by the operations they do (two a MAC), what runs beside them by its fused multiply-adds.

Measured with Nsight Compute 2025.3.1 on an H100, torch 2.11.0, CUDA 13.0, cuDNN 9.19. The rules were made on Stable
Diffusion 2.1-base, SDXL and FLUX.1. Run on Stable Diffusion 1.5, SD3 and DiT for the first time, they explained 1,161
of 1,162 products and convolutions, and attention where heads are 64 wide; other widths came with these.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from math import prod
from typing import NamedTuple

from crosscheck.errors import ConfigError
from crosscheck.records import Term
from crosscheck.witnesses.evidence import Execution, Kernel

RANGE = "operation"
FFMA = "smsp__sass_thread_inst_executed_op_ffma_pred_on.sum"
#: Operations of the tensor cores, by what they multiply.
TENSOR = {
    "bfloat16": "sm__ops_path_tensor_src_bf16_dst_fp32.sum",
    "float16": "sm__ops_path_tensor_src_fp16_dst_fp32.sum",
    "float32": "sm__ops_path_tensor_src_tf32_dst_fp32.sum",
}

_XMMA = "the kernel's name and grid, as cuBLAS 13.0 and cuDNN 9.19 have them"
_CUTLASS = "aten/src/ATen/native/transformers/cuda/mem_eff_attention of torch 2.11.0"
#: Cause -> what it is, and its source.
CAUSES = {
    "tile-padding": (
        "Rows, columns, queries, keys or heads' widths that fill up the last tile are multiplied like any other.",
        _XMMA,
    ),
    "cluster-padding": ("Blocks are launched in whole clusters; those without a tile multiply zeros.", _XMMA),
    "depth-padding": ("The depth of a product, or each slice of it, is rounded up to the tile's.", _XMMA),
    "scale-ffma": (
        "Beside the tensor cores, alpha A B + beta C is a fused multiply-add an output, in some for each slice.",
        "read off these measurements: no kernel's name says how often",
    ),
    "bias-ffma": (
        "A kernel of torch's own adds the bias to each output, times one.",
        "CUDAFunctor_add in the kernel's name",
    ),
    "three-tf32": (
        "Torch's own attention multiplies float32 by three products of TF32 on the tensor cores, allowed or not.",
        f"{_CUTLASS}, gemm_kernel_utils.h: OpMultiplyAddFastF32",
    ),
    "causal-tiles": ("Tiles that a causal mask hides whole are left out.", f"{_CUTLASS}, kernel_forward.h"),
    "plain-products": (
        "An outer product adds nothing up: plain multiplications, of which no counter here knows.",
        "torch.outer is aten::mul",
    ),
}

_RANGES = "thread Domain:Push/Pop_Range:PL_Type:PL_Value:CLR_Type:Color:Msg_Type:Msg"


def read(text: str) -> dict[int, tuple[Kernel, ...]]:
    """Operation -> its kernels in order, from ``ncu --csv --page raw --nvtx``.

    Raises `ConfigError` where a column is missing or a kernel belongs to no operation.
    """
    table = "\n".join(line for line in text.splitlines() if line.startswith('"'))  # others are ncu's own remarks
    found: dict[int, list[Kernel]] = {}
    for row in csv.DictReader(io.StringIO(table)):
        if not row.get("Kernel Name"):  # the line of units
            continue
        try:
            operation = re.search(rf"{RANGE} (\d+)", row[_RANGES])
            if operation is None:
                raise ValueError(f"kernel {row['Kernel Name'][:60]!r} belongs to no operation")
            found.setdefault(int(operation[1]), []).append(_kernel(row))
        except (KeyError, ValueError) as error:
            raise ConfigError(f"Nsight Compute's table: {type(error).__name__}: {error}") from error
    return {operation: tuple(kernels) for operation, kernels in found.items()}


def _kernel(row: dict[str, str]) -> Kernel:
    operations = sum(_number(row[column]) for column in TENSOR.values() if column in row)
    if operations % 2:
        raise ValueError(f"{operations} tensor operations are no whole number of MACs")
    return Kernel(
        name=row["Kernel Name"],
        grid=_shape(row["Grid Size"]),
        block=_shape(row["Block Size"]),
        tensor=operations // 2,
        ffma=_number(row[FFMA]),
    )


def _number(text: str) -> int:
    return int(text.replace(",", ""))


def _shape(text: str) -> tuple[int, ...]:
    return tuple(int(size) for size in re.findall(r"\d+", text))


# -- what it says of an operation --------------------------------------------------------------------------------------


def executed(execution: Execution) -> int:
    """MACs of one of ``execution``: on the tensor cores where a kernel uses them, else its fused multiply-adds.

    Those that a kernel does beside its tensor cores scale and round: they are no products of the operation.
    """
    return sum(kernel.tensor or kernel.ffma for kernel in execution.kernels)


def terms(execution: Execution) -> tuple[Term, ...]:
    """Why the GPU executes another number than the shapes give, cause by cause."""
    if execution.aten == "mul":  # an outer product adds nothing up: plain multiplications, which no counter here counts
        return (Term(cause="plain-products", macs=-execution.macs),)
    found: dict[str, int] = {}
    for kernel in execution.kernels:
        for cause, macs in _terms(kernel, execution):
            found[cause] = found.get(cause, 0) + macs
    return tuple(Term(cause=cause, macs=macs) for cause, macs in found.items() if macs)


class _Product(NamedTuple):
    """An operation as batched products of matrices: ``[rows, depth] @ [depth, columns]``."""

    batch: int
    rows: int
    columns: int
    depth: int
    taps: int = 1
    """Of a convolution: what its depth has for each channel."""

    @property
    def outputs(self) -> int:
        return self.batch * self.rows * self.columns


def _product(execution: Execution) -> _Product:
    if execution.aten == "convolution":  # a row is a pixel, a column a filter
        weight = execution.shapes[1]
        pixels = execution.out[0] * prod(execution.out[2:])
        return _Product(1, pixels, execution.out[1], prod(weight[1:]), prod(weight[2:]))
    a = execution.shapes[1 if execution.aten in ("addmm", "baddbmm", "addmv") else 0]
    if len(execution.out) < 2:  # of a vector, or one number: a matrix of one column
        return _Product(1, prod(execution.out), 1, a[-1])
    *batch, rows, columns = execution.out
    return _Product(prod(batch), rows, columns, a[-1])


def _terms(kernel: Kernel, execution: Execution) -> Iterator[tuple[str, int]]:
    if kernel.name.startswith("void at::"):  # torch's own elementwise kernels: of these the sum is output + 1 x bias
        if "CUDAFunctor_add" in kernel.name:
            yield "bias-ffma", _product(execution).outputs
    elif execution.op == "attention" and "_scaled" in execution.aten:
        yield from _attention(kernel, execution)
    else:
        yield from _tiled(kernel, execution)


class _Tile(NamedTuple):
    rows: int
    columns: int
    depth: int = 1
    cluster_rows: int = 1
    cluster_columns: int = 1


def _tile(name: str, convolution: bool) -> _Tile | None:
    """The tile in a kernel's name."""
    if match := re.match(r"nvjet_sm90_[a-z]+_(\d+)x(\d+)_(\d+)x\d+_(\d+)x(\d+)_.*_([NT])[NT]{2}\b", name):
        first, second, depth, cluster_first, cluster_second = map(int, match.groups()[:5])
        if convolution and match[6] == "N":  # channels first: the pixels are what cuBLAS has as rows of its own
            return _Tile(first, second, depth, cluster_first, cluster_second)
        return _Tile(second, first, depth, cluster_second, cluster_first)  # by columns, as cuBLAS stores
    if match := re.search(r"_tilesize(\d+)x(\d+)x(\d+)_", name):
        return _Tile(*map(int, match.groups()))
    if match := re.search(r"cutlass_\d+_\w*gemm_(?:\w+?_)?(\d+)x(\d+)_(\d+)x\d+_", name):
        first, second, depth = map(int, match.groups())
        return _Tile(second, first, depth)
    if match := re.search(r"cutlass_\w*fprop_(?:\w+?_)?(\d+)x(\d+)_(\d+)x\d+_", name):
        return _Tile(*map(int, match.groups()))
    if match := re.search(r"sgemm_largek_lds64<\d+, \d+, (\d+), (\d+),", name):  # as powers of two
        return _Tile(2 ** int(match[2]), 2 ** int(match[1]))
    if match := re.search(r"convolve_common_engine_float_NHWC<\w+, \w+, \d+, (\d+), (\d+), (\d+),", name):
        return _Tile(*(2 ** int(power) for power in match.groups()))
    return None


def _tiled(kernel: Kernel, execution: Execution) -> Iterator[tuple[str, int]]:
    product, tile = _product(execution), _tile(kernel.name, execution.op == "conv")
    if tile is None:
        if "internal::kernel" in kernel.name:  # cuBLAS for one row: without tiles
            yield "scale-ffma", product.outputs
        return
    rows, columns = _up(product.rows, tile.rows), _up(product.columns, tile.columns)
    filled = product.batch * rows * columns
    if "execute_split_k" in kernel.name:
        yield "scale-ffma", filled
        return
    yield "tile-padding", (filled - product.outputs) * product.depth
    slices = 1 if kernel.name.startswith("nvjet") else kernel.grid[2]
    launched = filled
    if kernel.name.startswith("nvjet"):
        launched = product.batch * _up(rows, tile.rows * tile.cluster_rows)
        launched *= _up(columns, tile.columns * tile.cluster_columns)
    elif "xmma" in kernel.name:  # no cluster in the name: more blocks than tiles are there to fill it
        launched = max(filled, prod(kernel.grid) // slices * tile.rows * tile.columns)
    yield "cluster-padding", (launched - filled) * product.depth
    taps = product.taps if "fprop" in kernel.name else 1  # these go through the channels of one tap after the other
    depth = taps * _up(product.depth // taps, tile.depth)
    if "xmma" in kernel.name:  # each slice of the depth is padded, in others the last
        depth = slices * _up(-(-depth // slices), tile.depth)
    yield "depth-padding", launched * (depth - product.depth)
    if not any(_SUMS.search(other.name) for other in execution.kernels):
        yield "scale-ffma", filled * _scales(kernel.name, slices)


#: Kernels that add up slices of the depth, which the kernels before them leave as they are.
_SUMS = re.compile("splitKreduce|execute_split_k")


def _scales(name: str, slices: int) -> int:
    """Times that a kernel beside the tensor cores makes alpha A B + beta C of an output: once, or as each slice adds.

    No name says so: read off the measurements, and true of all of them.
    """
    if "_xmma_gemm" in name and "_ffma_" in name:
        return 1
    return slices if "simt_sgemm" in name or "sgemm_largek" in name else 0


def _up(size: int, step: int) -> int:
    return -(-size // step) * step


def _attention(kernel: Kernel, execution: Execution) -> Iterator[tuple[str, int]]:
    """Queries, keys and heads' widths that fill up their last tile, and tiles that a causal mask hides whole."""
    query, key, value = execution.shapes[:3]
    if match := re.search(r"_flash_fprop_wgmma\w*?_(\d+)x(\d+)x(\d+)_4x1x1_", kernel.name):
        groups = kernel.block[0] // 128 - 1  # of four warps; one more brings the data
        rows, keys, width = groups * int(match[1]), int(match[2]), int(match[3])
        step, products = keys, 1
        scored, weighed = _up(query[-1], width), _up(value[-1], width)
    elif match := re.search(r"fmha_cutlassF_(\w+?)_aligned_(\d+)x(\d+)_", kernel.name):
        rows, keys, step = int(match[2]), int(match[3]), _STEP
        products = 3 if match[1] == "f32" else 1
        scored, weighed = _up(query[-1], step), _up(value[-1], keys)
    else:
        return
    heads, queries = prod(query[:-2]), query[-2]
    hidden = filled = 0
    for first in range(0, queries, rows):
        seen = min(first + rows, key[-2]) if execution.is_causal else key[-2]
        hidden += min(rows, queries - first) * (key[-2] - seen) * (query[-1] + value[-1])
        # Scores are of whole tiles; the values they weigh are taken in steps.
        filled += rows * (_up(seen, keys) * scored + _up(seen, step) * weighed)
    yield "causal-tiles", -heads * hidden
    yield "tile-padding", heads * filled - (execution.macs - heads * hidden)
    yield "three-tf32", (products - 1) * heads * filled


#: What a product of torch's own kernel takes of its depth at a time; float32 it multiplies by three products of TF32.
#: Source: aten/src/ATen/native/transformers/cuda/mem_eff_attention of torch 2.11.0: gemm_kernel_utils.h,
#: DefaultGemmType of float from Sm80 (ThreadK, OpMultiplyAddFastF32); kernel_forward.h, MM0 and MM1 (ThreadblockShape,
#: gemm_k_iterations).
_STEP = 32
