"""Witnesses: logs and counters are read as they are written, and what was executed is what the shapes give."""

import os
import re
import stat
import time

import pytest
import sample
import tiny
import torch
import torch.nn.functional as F
from command import TORCH_AND_TOOLS, cli, refused
from installed import needs
from modules import BLOCK_MACS, Function, block
from msgspec import structs
from torch import nn

import crosscheck
from crosscheck.errors import ConfigError, CrosscheckError, UncountedError, UsageError
from crosscheck.records import Recommended, Term
from crosscheck.report.pages import witness as page
from crosscheck.tracing import calling
from crosscheck.witnesses import accounting, blas_log, cpu, gpu, ledgers, ncu, subject, witnessed
from crosscheck.witnesses.accounting import account
from crosscheck.witnesses.evidence import Execution, Kernel
from crosscheck.witnesses.ledgers import load_witness

logged = pytest.mark.skipif(bool(cpu.unavailable()), reason=cpu.unavailable())


# -- the log of the CPU's math libraries -------------------------------------------------------------------------------

ONEDNN = (
    "onednn_verbose,v1,primitive,exec,cpu,{},jit:avx2,{},src:f32:a:blocked:aBcd8b::f0,attr-scratchpad:user,{},{},1.5"
)
OLDER = "onednn_verbose,exec,cpu,{},jit:avx2,{},src_f32::blocked:aBcd8b:f0,attr-scratchpad:user ,{},{},1.5"


def onednn(kind, problem, propagation="forward_training", algorithm="alg:convolution_direct", form=ONEDNN):
    return form.format(kind, propagation, algorithm, problem)


@pytest.mark.parametrize(
    ("line", "macs"),
    [
        ("MKL_VERBOSE SGEMM(T,N,5120,256,1280,0x7f,0x7f,1280,0x7f,0x7f,5120) 49.78ms CNR:OFF", 5120 * 256 * 1280),
        ("MKL_VERBOSE DGEMM(N,N,50,30,40,0x7f,0x7f,50,0x7f,40,0x7f,0x7f,50) 84.99us", 50 * 30 * 40),
        # (a + bi)(c + di) is four real products
        ("MKL_VERBOSE CGEMM(N,N,50,30,40,0x7f,0x7f,50,0x7f,40,0x7f,0x7f,50) 1.22ms", 4 * 50 * 30 * 40),
        ("MKL_VERBOSE SGEMV(t,400,300,0x7f,0x7f,400,0x7f,1,0x7f,0x7f,1) 18.28us", 400 * 300),
        ("MKL_VERBOSE SDOT(300,0x7f,1,0x7f,1) 10.04ms", 300),
        ("MKL_VERBOSE SGEMM_BATCH(N,N,0x7f59,0x7f59,0x7f59,0x7f59,0x7f59) 161.93us", None),
        ("MKL_VERBOSE SSYRK(U,N,30,40,0x7f,0x7f,40,0x7f,0x7f,30) 1us", None),  # no rule: not known, never 0
        (onednn("rnn", "l1t5mb3sic64slc32dhc64dic64", algorithm="alg:vanilla_augru direction:unidirectional"), None),
        (onednn("gemm_api", "64x32:32x48"), None),
        # 64 x 64 outputs of 320 filters, 320 x 3 x 3 each
        (onednn("convolution", "mb1_ic320oc320_ih64oh64kh3sh1dh0ph1_iw64ow64kw3sw1dw0pw1"), 64 * 64 * 320 * 320 * 9),
        # 2 images, 31 x 31 outputs of 64 filters, 32 / 4 x 3 x 3 each
        (onednn("convolution", "g4mb2_ic32oc64_ih64oh31kh3sh2dh1ph1_iw64ow31kw3sw2dw1pw1"), 2 * 31 * 31 * 64 * 8 * 9),
        (onednn("convolution", "mb2_ic32oc64_iw640ow640kw3sw1dw0pw1"), 2 * 640 * 64 * 32 * 3),
        (onednn("convolution", "mb1_ic4oc8_id5od3kd3_ih6oh4kh3_iw7ow5kw3"), 3 * 4 * 5 * 8 * 4 * 27),
        (onednn("convolution", "mb2_ic32oc64_ih64oh62kh3_iw64ow62kw3", form=OLDER), 2 * 62 * 62 * 64 * 32 * 9),
        # 2 images, each of 32 x 64 x 64 inputs meets 16 filters of 3 x 3
        (onednn("deconvolution", "mb2_ic32oc16_ih64oh129kh3sh2_iw64ow129kw3sw2"), 2 * 32 * 64 * 64 * 16 * 9),
        (onednn("deconvolution", "g2mb2_ic32oc32_ih64oh129kh3_iw64ow129kw3"), 2 * 32 * 64 * 64 * 16 * 9),
        # the same, described as the convolution of 129 x 129 that it inverts
        (onednn("convolution", "mb2_ic16oc32_ih129oh64kh3_iw129ow64kw3", "backward_data"), 2 * 32 * 64 * 64 * 16 * 9),
        (onednn("inner_product", "mb256ic1280oc5120"), 256 * 1280 * 5120),
        (onednn("inner_product", "mb2ic8ih3iw3oc5"), 2 * 8 * 9 * 5),
        (onednn("matmul", "2x1x64x32:1x8x32x48"), 2 * 8 * 64 * 32 * 48),
        (onednn("matmul", "64x32:32x48:64x48", form=OLDER), 64 * 32 * 48),
        # 5 steps of 3, four gates of 64 over 32 inputs and 64 states
        (onednn("rnn", "l1t5mb3sic64slc32dhc64dic64", algorithm="alg:vanilla_lstm direction:unidirectional"),
         5 * 3 * 4 * 64 * (32 + 64)),
        (onednn("rnn", "l1t5mb3sic64slc32dhc64dic64", algorithm="alg:lbr_gru direction:bidirectional_concat"),
         2 * 5 * 3 * 3 * 64 * (32 + 64)),
    ],
)  # fmt: skip
def test_a_line_of_a_log_is_so_many_macs(line, macs):
    assert blas_log.primitive(line).macs == macs


@pytest.mark.parametrize(
    "line",
    [
        "MKL_VERBOSE oneMKL 2024.0 Update 2 Product build 20240605 for Intel(R) 64 architecture, lp64 gnu_thread",
        "MKL_VERBOSE SAXPY(300,0x7f,0x7f,1,0x7f,1) 1us",
        "onednn_verbose,v1,info,cpu,isa:Intel AVX2",
        "onednn_verbose,v1,primitive,create_nested:cache_miss,cpu,convolution,jit,backward_data,src,,alg,mb2_ic16oc32",
        onednn("reorder", "1x320x64x64"),
        "what the caller's own module prints",
    ],
)  # fmt: skip
def test_a_line_without_a_product_is_none(line):
    assert blas_log.primitive(line) is None


def test_what_is_logged_belongs_to_the_operation_that_was_running():
    gemm, marks = "MKL_VERBOSE SGEMM(N,N,2,3,4,0x1,0x1,2,0x1,4,0x1,0x1,2) 1us", blas_log.Marks("a key")
    lines = [gemm, marks.line(0), gemm, gemm, marks.line(None), "another key 1", marks.line(1), gemm]
    found = marks.read(lines)
    assert {place: sum(p.count * p.macs for p in calls) for place, calls in found.items()} == {None: 24, 0: 48, 1: 24}


def causal(queries, keys, heads=5, width=64):
    return Execution(
        op="attention",
        aten="_scaled_dot_product_flash_attention_for_cpu",
        shapes=((1, heads, queries, width), (1, heads, keys, width), (1, heads, keys, width)),
        out=(1, heads, queries, width),
        is_causal=True,
        paths=("",),
        macs=heads * queries * keys * 2 * width,
    )


@pytest.mark.parametrize(
    ("queries", "keys", "skipped"),
    [
        (77, 77, 0),  # one block of keys, seen by each block of queries
        (1024, 1024, 512 * 512),  # queries 0 to 511 see the first block of keys, the others both
        (600, 600, 512 * 88),  # blocks of 64 queries: those before 512 don't see the last 88 keys
    ],
)
def test_causal_attention_leaves_out_blocks_of_512_keys(queries, keys, skipped):
    terms = blas_log.terms(causal(queries, keys))
    assert sum(term.macs for term in terms) == -5 * skipped * 128


# -- any module on the CPU ---------------------------------------------------------------------------------------------


def attend(self, q, k=None, **kwargs):
    k = q if k is None else k
    return F.scaled_dot_product_attention(q, k, k, **kwargs)


@logged
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_module_executes_what_its_shapes_give(device):
    module, x = block(device)
    seen = crosscheck.witness(module, x)
    assert (seen.macs, seen.recommended) == (BLOCK_MACS, BLOCK_MACS)
    assert all(account(execution).residual == 0 for execution in seen.executions)
    # 32 x 32 x 9 x 64, 64 x 32 x 96, 64 x 64 x (32 + 32), 64 x 32 x 32
    assert seen.by_module == {"conv": 589_824, "qkv": 196_608, "": 262_144, "out": 65_536}


@logged
@pytest.mark.parametrize(
    ("module", "inputs", "macs"),
    [
        (nn.Conv1d(6, 8, 3), [(2, 6, 40)], 2 * 38 * 8 * 6 * 3),
        (nn.Conv2d(32, 64, 3, stride=2, dilation=2, groups=4), [(2, 32, 64, 64)], 2 * 30 * 30 * 64 * 8 * 9),
        (nn.Conv2d(32, 32, 3, padding="same", groups=32), [(2, 32, 64, 64)], 2 * 64 * 64 * 32 * 9),
        (nn.Conv3d(4, 8, 3), [(1, 4, 5, 6, 7)], 3 * 4 * 5 * 8 * 4 * 27),
        (nn.ConvTranspose1d(6, 8, 3), [(2, 6, 40)], 2 * 40 * 6 * 8 * 3),
        (nn.ConvTranspose2d(32, 16, 3, stride=2, groups=2), [(2, 32, 64, 64)], 2 * 32 * 64 * 64 * 8 * 9),
        (nn.Linear(40, 50), [(3, 7, 40)], 21 * 40 * 50),
        (nn.LSTM(32, 64), [(5, 3, 32)], 5 * 3 * 4 * 64 * (32 + 64)),
        (nn.GRU(32, 64), [(5, 3, 32)], 5 * 3 * 3 * 64 * (32 + 64)),
        (Function(lambda self, a, b: a @ b), [(300, 400), (400,)], 300 * 400),
        (Function(attend), [(1, 5, 200, 64), (1, 5, 77, 64)], 5 * 200 * 77 * 128),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else None,
)
def test_operations_are_logged_with_their_sizes(module, inputs, macs):
    assert crosscheck.witness(module, *(torch.randn(shape) for shape in inputs)).macs == macs


@logged
def test_fewer_macs_of_causal_attention_are_explained():
    seen = crosscheck.witness(Function(attend), torch.randn(1, 5, 1024, 64), is_causal=True)
    (execution,) = seen.executions
    # 512 of 1,024 queries leave out 512 keys, 2 x 64 MACs for each pair, in 5 heads
    assert account(execution) == (
        5 * (1024 * 1024 - 512 * 512) * 128,
        (Term(cause="causal-blocks", macs=-5 * 512 * 512 * 128),),
        0,
    )
    assert seen.macs == account(execution).executed


@logged
def test_a_bias_that_is_added_as_a_product_is_explained():
    seen = crosscheck.witness(nn.ConvTranspose3d(2, 1, 1), torch.randn(1, 2, 4, 4, 5))
    (execution,) = seen.executions
    bias = Term(cause="bias-as-product", macs=4 * 4 * 5)  # one of each output
    assert account(execution) == (2 * 80 + 80, (bias,), 0)
    assert crosscheck.witness(nn.ConvTranspose3d(2, 1, 1, bias=False), torch.randn(1, 2, 4, 4, 5)).macs == 2 * 80


@logged
def test_what_leaves_no_size_in_the_log_is_not_witnessed():
    seen = crosscheck.witness(nn.MultiheadAttention(64, 4), *[torch.randn(5, 2, 64)] * 3)
    assert seen.macs is None
    assert {execution.aten for execution in witnessed.unsized(seen)} == {"bmm"}
    assert seen.by_module[""] is None
    assert page.verdict(seen) == "not witnessed: 2 operations executed, size not logged"
    small = crosscheck.witness(Function(lambda self, a: a @ a), torch.randn(2, 3, 3))
    assert small.macs is None
    assert small.executions[0].primitives == ()


@logged
def test_it_runs_after_a_forward_in_many_threads():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        big = torch.randn(600, 600)
        assert (big @ big).shape == (600, 600)
        assert crosscheck.witness(nn.Linear(600, 600), big).macs == 600**3
    finally:
        torch.set_num_threads(threads)


@logged
def test_the_module_is_left_as_it_was():
    module, x = block("meta")
    before = dict(module.named_parameters())
    crosscheck.witness(module, x)
    assert all(parameter is before[name] and parameter.is_meta for name, parameter in module.named_parameters())
    assert not torch.is_inference_mode_enabled()


@logged
def test_integers_that_are_real_keep_their_values():
    with torch.device("meta"):
        module = Function(lambda self, x, ids: self.linear(x[: int(ids.max())]), linear=nn.Linear(4, 4))
    seen = crosscheck.witness(module, torch.empty(9, 4, device="meta"), torch.tensor([2, 5, 3]))
    assert seen.macs == 5 * 4 * 4


class Growing(nn.Module):
    """Its sequence is longer at each call, as with a cache."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.calls = nn.Linear(8, 8), 0

    def forward(self, x):
        self.calls += 1
        return self.linear(x.repeat(self.calls, 1))


@logged
def test_what_it_runs_is_the_first_forward():
    module = Growing()
    assert crosscheck.witness(module, torch.randn(5, 8)).macs == 5 * 8 * 8
    assert module.calls == 0


def chatty(self, x):
    print("working", end="", flush=True)
    os.write(1, b"MKL_VERBOSE is on")
    return self.linear(x)


@logged
def test_what_a_forward_prints_is_no_line_of_the_log(capfd):
    module = Function(chatty, linear=nn.Linear(30, 40))
    assert crosscheck.witness(module, torch.randn(5, 30)).macs == 5 * 30 * 40
    assert capfd.readouterr().out == ""


@logged
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_modules_of_any_precision_are_run_in_float32(dtype):
    module = nn.Linear(30, 40).to(dtype)
    seen = crosscheck.witness(module, torch.randn(5, 30, dtype=dtype))
    assert seen.executions[0].primitives[0].routine == "SGEMM"
    assert seen.macs == 5 * 30 * 40


@logged
def test_lazy_modules_are_run():
    module = nn.LazyLinear(40)
    assert crosscheck.witness(module, torch.randn(5, 30)).macs == 5 * 30 * 40
    assert isinstance(module, nn.LazyLinear)


@logged
def test_a_forward_that_hangs_is_stopped():
    case = calling.case_of(Function(lambda self, x: time.sleep(60)), (torch.randn(2),), {})
    with pytest.raises(UncountedError, match="time limit of 2 s reached; it was stopped"):
        cpu.run(case, time_limit=2)


@logged
def test_a_product_outside_every_operation_is_seen():
    (w,) = [w for w in ledgers.committed() if w.witness == "cpu" and w.model == "sd21-base"]
    part = w.components[0]
    sized = structs.replace(part, elsewhere=(blas_log.primitive("MKL_VERBOSE SDOT(300,0x7f,1,0x7f,1) 1us"),))
    assert (sized.macs, page.verdict(sized)) == (part.macs + 300, "1 product beside every operation")
    unsized = structs.replace(part, elsewhere=(blas_log.primitive("MKL_VERBOSE SGEMM_BATCH(N,N,0x7f) 1us"),))
    assert unsized.macs is None


@pytest.mark.parametrize(
    ("device", "dtype", "held"),
    [
        ("meta", torch.float32, True),
        ("meta", torch.bfloat16, True),
        ("cpu", torch.float32, False),
        ("cpu", torch.float64, True),
    ],
)
def test_memory_is_that_of_float32(device, dtype, held):
    """1,000 x 1,000 weights and biases where they must be made, the inputs there too, and 10 x 1,000 outputs."""
    module = nn.Linear(1_000, 1_000, device=device, dtype=dtype)
    x = torch.zeros(10, 1_000, device=device, dtype=dtype)
    made = 1_000 * 1_000 + 1_000 + 10 * 1_000 if held else 0
    assert subject.memory(calling.case_of(module, (x,), {})) == 4 * (made + 10 * 1_000)


@logged
def test_a_forward_that_fails_is_one_line():
    with pytest.raises(UncountedError, match=r"^RuntimeError: .+$") as error:
        crosscheck.witness(nn.Linear(3, 4), torch.randn(2, 5))
    assert "\n" not in str(error.value)


@logged
def test_a_process_that_dies_is_one_line():
    with pytest.raises(CrosscheckError, match="the witness gave no answer: its process was killed by SIGKILL"):
        crosscheck.witness(Function(lambda self, x: os.kill(os.getpid(), 9)), torch.randn(2))


@logged
def test_what_does_not_fit_into_memory_is_refused(monkeypatch):
    monkeypatch.setattr(cpu, "available", lambda: 3 * 10**9)
    with torch.device("meta"):
        module = nn.Linear(30_000, 30_000)  # 3.6 GB
    with pytest.raises(UsageError, match=r"^Linear needs about 4\.7 GB in float32, 3\.0 GB are free; choose"):
        crosscheck.witness(module, torch.empty(1, 30_000, device="meta"))


def test_a_torch_without_the_libraries_is_refused(monkeypatch):
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: False)
    with pytest.raises(UsageError, match=r"^no CPU witness: this torch \S+ is built without MKL, whose log is read$"):
        crosscheck.witness(nn.Linear(3, 4), torch.randn(2, 3))


# -- a model on the CPU ------------------------------------------------------------------------------------------------


@logged
@needs("torch>=2.6", "the command line is the same in every release")
@pytest.mark.parametrize(
    ("component", "macs"),
    [
        ("text_encoder", 22_563_616_768),  # tests/standalone_sd21.py, text_encoder()
        pytest.param("unet", 402_128_732_160, marks=pytest.mark.thorough),
    ],
)
def test_a_component_of_full_size_executes_exactly_what_is_recommended(component, macs, tmp_path):
    done = cli("witness", "sd21-base", "--with", "cpu", "--component", component, "-o", tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(rf"{component} +float32 +{macs:,} +{macs:,} +executed exactly", done.stdout)
    seen = load_witness(tmp_path / "witness-cpu-sd21-base.json")
    (part,) = seen.components
    assert (part.recommended, part.macs) == (macs, macs)
    assert f"| {macs:,} | {macs:,} |" in re.sub(" +", " ", (tmp_path / "witness-cpu.md").read_text())


#: One process kills itself, another never ends: not on meta, where the pipeline runs first.
SPOILED = """
import os, time
from crosscheck.witnesses import cpu, subject

run, patient = subject.run, cpu.run

def limited(case, *rest):
    return patient(case, *rest, **{"time_limit": 5} if case.name == "vae_decoder" else {})

def spoiled(case, *rest):
    {"unet": lambda: os.kill(os.getpid(), 9), "vae_decoder": lambda: time.sleep(600)}.get(case.name, int)()
    return run(case, *rest)

subject.run, cpu.run = spoiled, limited
"""


@logged
def test_a_component_that_dies_or_hangs_costs_no_other(tmp_path):
    tiny.folder(tmp_path / "tiny")

    done = cli("witness", "tiny", "--with", "cpu", "-o", ".", "--json", "seen.json", first=SPOILED, cwd=tmp_path)

    reasons = {
        "unet": "the witness gave no answer: its process was killed by SIGKILL (out of memory?)",
        "vae_decoder": "time limit of 5 s reached; it was stopped",
    }
    assert done.returncode == 1
    assert done.stderr.splitlines()[:2] == [f"crosscheck: tiny: {name}: {why}" for name, why in reasons.items()]
    seen = load_witness(tmp_path / "seen.json")
    assert seen.refused == reasons
    (encoder,) = seen.components
    assert (encoder.name, encoder.recommended) == ("text_encoder", tiny.LINEAR + tiny.ATTENTION)
    assert "**tiny** unet was not run: the witness gave no answer" in (tmp_path / "witness-cpu.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("sd21-base --with cpu --component vae", "no component 'vae' in sd21-base; did you mean 'vae_decoder'?"),
        ("sd21-base --with cpu --dtype bfloat16", "--dtype 'bfloat16' with the CPU witness; allowed: float32"),
        ("sd21-base --with gpu", "; got: witness sd21-base --with gpu; crosscheck witness --help"),
        ("sd21-bse --with cpu", "did you mean 'sd21-base'?"),
    ],
)  # fmt: skip
def test_bad_requests_are_one_line(arguments, message):
    assert message in refused(cli("witness", *arguments.split()))


# -- a GPU's counters --------------------------------------------------------------------------------------------------

#: As Nsight Compute 2025.3.1 wrote it on an H100, most columns left out.
TABLE = """==WARNING== Note: Running with unmodified GPU clocks. If not controlled otherwise, profiling results may be inconsistent.
==PROF== Connected to process 1354 (/usr/bin/python3.12)
"ID","thread Domain:Push/Pop_Range:PL_Type:PL_Value:CLR_Type:Color:Msg_Type:Msg","Kernel Name","Block Size","Grid Size","sm__ops_path_tensor_src_bf16_dst_fp32.sum","smsp__sass_thread_inst_executed_op_ffma_pred_on.sum"
"","","","","","","inst"
"0","1354  ""<default domain>:operation 0:none:none:none:none:none:none"" ","nvjet_sm90_tst_64x8_64x16_4x1_v_bz_bias_TNT","(384, 1, 1)","(4, 5, 1)","6,553,600","0"
"3","1354  ""<default domain>:operation 2:none:none:none:none:none:none"" ","void at::elementwise_kernel<128, 4>(int, T3)","(128, 1, 1)","(2560, 1, 1)","0","1,310,720"
"""  # noqa: E501


def test_a_table_of_counters_is_read():
    found = ncu.read(TABLE)
    assert found[0] == (
        Kernel(name="nvjet_sm90_tst_64x8_64x16_4x1_v_bz_bias_TNT", grid=(4, 5, 1), block=(384, 1, 1), tensor=3_276_800),
    )
    assert found[2][0].ffma == 1_310_720
    assert sorted(found) == [0, 2]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("operation 2", "another range", "kernel 'void at::elementwise_kernel<128, 4>"),
        ("6,553,600", "6,553,601", "6553601 tensor operations are no whole number of MACs"),
        ("6,553,600", "nan", "ValueError"),
        ("Kernel Name", "Name", ""),
        ("_op_ffma_", "_op_fma_", "KeyError"),
    ],
)
def test_a_table_that_is_not_one_is_refused(old, new, message):
    if message:
        with pytest.raises(ConfigError, match=f"Nsight Compute's table: .*{message}"):
            ncu.read(TABLE.replace(old, new))
    else:
        assert ncu.read(TABLE.replace(old, new)) == {}


def ran(aten, shapes, out, macs, *kernels, op="linear", is_causal=False):
    return Execution(
        op=op, aten=aten, shapes=shapes, out=out, paths=("",), macs=macs, kernels=kernels, is_causal=is_causal
    )


def tensor(name, grid, macs, block=(384, 1, 1)):
    return Kernel(name=name, grid=grid, block=block, tensor=macs)


def ffma(name, grid, count, block=(128, 1, 1)):
    return Kernel(name=name, grid=grid, block=block, ffma=count)


FLASH = "cudnn_generated_fort_native_sdpa_sm90_flash_fprop_wgmma_f16_knob_7_64x128x64_4x1x1_cga1x1x1_kernel0_0"
CUTLASS = "fmha_cutlassF_f32_aligned_64x64_rf_sm80(PyTorchMemEffAttention::AttentionKernel<float>::Params)"
GEMM = (
    "sm80_xmma_gemm_f32f32_f32f32_f32_tn_n_tilesize{}_stage3_warpsize1x4x1_ffma_aligna4_alignc4_execute_{}__5x_cublas"
)
FPROP = "sm90_xmma_fprop_implicit_gemm_bf16bf16_bf16f32_f32_nhwckrsc_nhwc_tilesize64x64x64_warpgroupsize1x1x1_g1"
CUDNN = "void cutlass__5x_cudnn::Kernel<cutlass_tensorop_bf16_s16816fprop_optimized_bf16"
ADD = "void at::elementwise_kernel<128, 2, at::CUDAFunctor_add<float>>(at::TensorIteratorBase &)"

#: What was measured on an H100 -> the MACs of each cause, by hand.
MEASURED = {
    "one row fills a tile of eight": (
        ran("addmm", ((1280,), (1, 320), (320, 1280)), (1, 1280), 1 * 320 * 1280,
            tensor("nvjet_sm90_tst_64x8_64x16_4x1_v_bz_bias_TNT", (4, 5, 1), 3_276_800)),
        {"tile-padding": 7 * 320 * 1280},
    ),
    # 320 columns are 5 tiles of 64, and clusters have 2; 77 rows are 10 tiles of 8, and clusters have 4
    "tiles fill whole clusters": (
        ran("mm", ((77, 1024), (1024, 320)), (77, 320), 77 * 1024 * 320,
            tensor("nvjet_sm90_tst_64x8_64x16_2x4_h_bz_TNT", (8, 9, 1), 37_748_736)),
        {"tile-padding": (80 - 77) * 1024 * 320, "cluster-padding": (96 * 384 - 80 * 320) * 1024},
    ),
    # channels first: the 1,024 pixels are 16 tiles of 64, the 640 filters 8 of 80; nothing is padded
    "a convolution with its channels first": (
        ran("convolution", ((1, 1920, 32, 32), (640, 1920, 1, 1), (640,)), (1, 640, 32, 32), 1024 * 640 * 1920,
            tensor("nvjet_sm90_tst_64x80_64x11_2x1_v_bz_NNT", (2, 64, 1), 1_258_291_200), op="conv"),
        {},
    ),
    # 1,280 filters are 20 tiles, a cluster has 3; the bias is added by a kernel of torch's
    "a convolution whose clusters are in the grid": (
        ran("convolution", ((1, 640, 16, 16), (1280, 640, 3, 3), (1280,)), (1, 1280, 16, 16), 256 * 1280 * 640 * 9,
            tensor(FPROP, (21, 4, 1), 1_981_808_640), ffma(ADD, (640, 1, 1), 327_680), op="conv"),
        {"cluster-padding": 64 * 256 * 640 * 9, "bias-ffma": 256 * 1280},
    ),
    "a convolution of so few channels that it runs beside the tensor cores": (
        ran("convolution", ((1, 4, 64, 64), (320, 4, 3, 3), (320,)), (1, 320, 64, 64), 4096 * 320 * 36,
            ffma("void convolve_common_engine_float_NHWC<__nv_bfloat16, __nv_bfloat16, 128, 6, 7, 3, 3, 5, 1, 0>(int)",
                 (64, 3, 1), 62_914_560), ffma(ADD, (2560, 1, 1), 1_310_720), op="conv"),
        # 320 filters are 3 tiles of 128; 4 x 3 x 3 deep are 5 steps of 8
        {"tile-padding": 4096 * 64 * 36, "depth-padding": 4096 * 384 * 4, "bias-ffma": 4096 * 320},
    ),
    "77 keys fill a tile of 128": (
        ran("_scaled_dot_product_cudnn_attention", ((1, 5, 4096, 64), (1, 5, 77, 64), (1, 5, 77, 64)),
            (1, 5, 4096, 64), 5 * 4096 * 77 * 128, tensor(FLASH, (132, 1, 1), 335_544_320), op="attention"),
        {"tile-padding": 5 * 4096 * (128 - 77) * 128},
    ),
    "alpha times each output": (
        ran("mm", ((4096, 320), (320, 320)), (4096, 320), 4096 * 320 * 320,
            ffma(GEMM.format("64x64x8", "kernel"), (64, 5, 1), 420_741_120)),
        {"scale-ffma": 4096 * 320},
    ),
    # 640 in 3 slices are 214 each, and a tile is 8 deep: 3 x 216
    "a depth in three slices": (
        ran("mm", ((1024, 640), (640, 640)), (1024, 640), 1024 * 640 * 640,
            ffma(GEMM.format("64x128x8", "kernel"), (16, 5, 3), 425_328_640)),
        {"depth-padding": 1024 * 640 * 8, "scale-ffma": 1024 * 640},
    ),
    # 77 rows are 3 tiles of 32; the kernel that adds up 8 slices scales each of 96 x 320
    "slices that another kernel adds up": (
        ran("mm", ((77, 1024), (1024, 320)), (77, 320), 77 * 1024 * 320,
            ffma(GEMM.format("32x32x8", "kernel"), (3, 10, 8), 31_457_280),
            ffma(GEMM.format("32x32x8", "split_k_kernel"), (3, 10, 1), 30_720)),
        {"tile-padding": 19 * 1024 * 320, "scale-ffma": 96 * 320},
    ),
    "each of four slices scales": (
        ran("addmm", ((1024,), (77, 1024), (1024, 1024)), (77, 1024), 77 * 1024 * 1024,
            ffma("void sgemm_largek_lds64<1, 0, 5, 5, 4, 4, 4, 34>(float *)", (32, 3, 4), 101_056_512)),
        {"tile-padding": 19 * 1024 * 1024, "scale-ffma": 4 * 96 * 1024},
    ),
    "one row without tiles": (
        ran("addmm", ((1280,), (1, 320), (320, 1280)), (1, 1280), 320 * 1280,
            ffma("std::enable_if<!T7, void>::type internal::kernel<int, int, float>(cublas)", (320, 1, 1), 410_880)),
        {"scale-ffma": 1280},
    ),
    "float32 attention in three products of TF32": (
        ran("_scaled_dot_product_efficient_attention", ((1, 5, 4096, 64),) * 3, (1, 5, 4096, 64),
            5 * 4096 * 4096 * 128, tensor(CUTLASS, (64, 5, 1), 32_212_254_720, (32, 4, 1)), op="attention"),
        {"three-tf32": 2 * 5 * 4096 * 4096 * 128},
    ),
    # scores of 2 tiles of 64 keys; the values of 77 keys in 3 steps of 32
    "77 keys of float32": (
        ran("_scaled_dot_product_efficient_attention", ((1, 5, 4096, 64), (1, 5, 77, 64), (1, 5, 77, 64)),
            (1, 5, 4096, 64), 5 * 4096 * 77 * 128, tensor(CUTLASS, (64, 5, 1), 880_803_840), op="attention"),
        {"tile-padding": 5 * 4096 * 64 * (128 - 77 + 96 - 77), "three-tf32": 2 * 5 * 4096 * 64 * (128 + 96)},
    ),
    # 64 queries see 64 keys; the other 13 fill 64 rows and see all 77, as above
    "causal attention of float32": (
        ran("_scaled_dot_product_efficient_attention", ((1, 16, 77, 64),) * 3, (1, 16, 77, 64), 16 * 77 * 77 * 128,
            tensor(CUTLASS, (2, 16, 1), 69_206_016, (32, 4, 1)), op="attention", is_causal=True),
        {"causal-tiles": -16 * 64 * 13 * 128, "three-tf32": 2 * 16 * 64 * 64 * (64 + 64 + 128 + 96),
         "tile-padding": 16 * (64 * 64 * (64 + 64 + 128 + 96) - (64 * 64 + 13 * 77) * 128)},
    ),
    # heads of 40 fill a tile of 64 in both products
    "heads that are narrower than a tile": (
        ran("_scaled_dot_product_cudnn_attention", ((1, 8, 4096, 40),) * 3, (1, 8, 4096, 40), 8 * 4096 * 4096 * 80,
            tensor(FLASH, (132, 1, 1), 17_179_869_184), op="attention"),
        {"tile-padding": 8 * 4096 * 4096 * (128 - 80)},
    ),
    # heads of 72 are 3 steps of 32 deep in the scores, and fill a tile of 128 in the values
    "heads that are narrower than a tile, in float32": (
        ran("_scaled_dot_product_efficient_attention", ((1, 16, 256, 72),) * 3, (1, 16, 256, 72), 16 * 256 * 256 * 144,
            tensor(CUTLASS.replace("64x64", "64x128"), (4, 16, 1), 704_643_072), op="attention"),
        {"tile-padding": 16 * 256 * 256 * (96 + 128 - 144), "three-tf32": 2 * 16 * 256 * 256 * (96 + 128)},
    ),
    # 16 channels of each of 2 x 2 taps are 64 deep
    "a convolution that goes tap by tap": (
        ran("convolution", ((1, 16, 128, 128), (1536, 16, 2, 2), (1536,)), (1, 1536, 64, 64), 4096 * 1536 * 64,
            tensor(f"{CUDNN}_256x128_64x3_nhwc_align8>", (64, 3, 1), 1_610_612_736), op="conv"),
        {"depth-padding": 4096 * 1536 * 4 * (64 - 16)},
    ),
    "an outer product adds nothing up": (
        ran("mul", ((4608, 1), (8,)), (4608, 8), 4608 * 8,
            ffma("void at::elementwise_kernel<128, 2, at::BinaryFunctor<double>>(int)", (9, 1, 1), 0), op="matmul"),
        {"plain-products": -4608 * 8},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MEASURED)
def test_what_a_gpu_executes_is_taken_apart(name):
    execution, causes = MEASURED[name]
    message = account(execution)
    assert {term.cause: term.macs for term in message.terms} == causes
    assert message.residual == 0


@pytest.mark.parametrize("name", MEASURED)
def test_one_mac_more_is_not_explained(name):
    execution, _ = MEASURED[name]
    first, *others = execution.kernels
    first = structs.replace(first, **({"tensor": first.tensor + 1} if first.tensor else {"ffma": first.ffma + 1}))
    assert account(structs.replace(execution, kernels=(first, *others))).residual == 1


def test_a_product_with_a_vector_is_one_column():
    execution = ran(
        "mv", ((300, 400), (400,)), (300,), 300 * 400, ffma("gemv2T_kernel_val<int, int, float>", (300, 1, 1), 120_000)
    )
    assert account(execution) == (120_000, (), 0)


def test_copies_beside_a_product_are_no_bias():
    copy = ffma("void at::elementwise_kernel<128, 4, at::direct_copy_kernel_cuda>(int)", (320, 1, 1), 512)
    execution = ran(
        "mm",
        ((64, 64), (64, 64)),
        (64, 64),
        64**3,
        tensor("nvjet_sm90_tst_64x64_64x16_1x1_h_bz_TNT", (1, 1, 1), 64**3),
        copy,
    )
    assert account(execution).residual == 512


def test_every_cause_of_a_gpu_has_a_measured_case():
    assert {cause for _, causes in MEASURED.values() for cause in causes} == set(ncu.CAUSES)


def test_without_a_gpu_one_line_says_what_is_missing():
    if torch.cuda.is_available():
        pytest.skip("a GPU is here")
    line = refused(cli("witness", "sd21-base", "--with", "ncu"))
    assert re.search(r"no ncu witness: torch \S+ sees no CUDA GPU$", line)


def test_without_the_profiler_one_line_says_what_is_missing(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("PATH", "")
    assert gpu.unavailable() == "ncu is not on the PATH; install Nsight Compute, which comes with the CUDA toolkit"


@pytest.mark.parametrize(
    ("says", "status", "error", "line"),
    [
        ("==ERROR== ERR_NVGPUCTRPERM - The user does not have permission", 1, UsageError, "run as root, or load"),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried", 1, UsageError, "does not fit into"),
        ("==ERROR== Failed to initialize the profiler: LibraryNotLoaded", 1, UsageError, "can't reach the driver"),
        ("Traceback\nValueError: what is wrong", 3, CrosscheckError, "exit status 3: ValueError: what is wrong"),
    ],
)  # fmt: skip
def test_a_profiler_that_fails_is_one_line(says, status, error, line, tmp_path):
    program = tmp_path / "ncu"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{says}\nEND\nexit {status}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    with pytest.raises(error, match=line):
        gpu._called([str(program)])


# -- what came with this release ---------------------------------------------------------------------------------------

COMMITTED = [(witness, part) for witness in ledgers.committed() for part in witness.components]


def entry_name(entry):
    witness, part = entry
    return f"{page.file(witness)}-{witness.model}-{part.name}-{part.dtype}"


@pytest.mark.parametrize("entry", COMMITTED, ids=entry_name)
def test_a_committed_witness_confirms_its_number(entry):
    """Residual 0 for every attention and for 95 % of the operations at least; the CPU executes exactly."""
    witness, part = entry
    assert page.verdict(part) in (
        "executed exactly",
        "explained to the last MAC",
        "explained but for 1 operation of 41",  # of the VAE in float32: a 1 x 1 convolution of four channels
    )
    assert (part.macs == part.recommended) is (witness.witness == "cpu")
    odd = witnessed.unexplained(part)
    assert all(execution.op != "attention" for execution in odd)
    assert 100 * accounting.runs(odd) <= 5 * accounting.runs(part.executions)
    assert sum(len(execution.paths) * execution.macs for execution in part.executions) == part.recommended


def test_the_largest_models_are_witnessed():
    found = {entry_name(entry): entry[1].recommended for entry in COMMITTED}
    assert found["witness-cpu-sd21-base-unet-float32"] == 402_128_732_160
    assert found["witness-h100-sd21-base-unet-bfloat16"] == 402_128_732_160
    for name in (
        "cpu-sd21-base-vae_decoder-float32",
        "cpu-sd21-base-text_encoder-float32",
        "cpu-sd15-unet-float32",
        "cpu-sdxl-base-unet-float32",
        "h100-sd21-base-vae_decoder-bfloat16",
        "h100-sd21-base-text_encoder-bfloat16",
        "h100-sd21-base-unet-float32",
        "h100-sd21-base-vae_decoder-float32",
        "h100-sd21-base-text_encoder-float32",
        "h100-sdxl-base-unet-bfloat16",
        "h100-flux1-dev-transformer-bfloat16",
        "h100-sd3-medium-transformer-bfloat16",
        "h100-dit-xl-2-256-transformer-float32",
    ):
        assert f"witness-{name}" in found


def test_the_tensor_cores_do_what_pads_their_tiles_and_not_what_is_beside_them():
    """The whole UNet in bf16, as Nsight Compute counted it in a run of its own: 402,128,732,160 - 47,185,920 beside the
    tensor cores + 6,252,953,600 of padding.
    """
    (part,) = (
        part for entry in COMMITTED for part in entry[1:] if entry_name(entry) == "witness-h100-sd21-base-unet-bfloat16"
    )
    on_tensor_cores = sum(len(e.paths) * kernel.tensor for e in part.executions for kernel in e.kernels)
    assert on_tensor_cores == 408_334_499_840 == 402_128_732_160 - 47_185_920 + 6_252_953_600


def test_reports_say_which_witnesses_confirm_a_number():
    part = next(
        part for witness, part in COMMITTED if entry_name((witness, part)) == "witness-cpu-sd21-base-unet-float32"
    )
    component = crosscheck.Component(
        name="anything",
        class_name=part.class_name,
        params=part.params,
        inputs=part.inputs,
        recommended=Recommended.from_ops("confirmed", {"conv": part.recommended}),
        backends={},
    )
    assert {"CPU", "H100 bfloat16", "H100 float32"} <= set(ledgers.confirming(component))
    other = structs.replace(component, recommended=Recommended.from_ops("confirmed", {"conv": 1}))
    assert ledgers.confirming(other) == ()
    assert ledgers.confirming(structs.replace(component, params=1)) == ()
    assert ledgers.confirming(structs.replace(component, inputs=())) == ()


def test_pages_are_made_without_torch_and_are_the_committed_ones(tmp_path):
    files = sorted(ledgers.LEDGERS.glob("*.json"))
    done = cli("report", *files, "-o", tmp_path, without=TORCH_AND_TOOLS)
    assert done.returncode == 0, done.stderr
    reports = ledgers.LEDGERS.parents[2] / "reports"
    for name in ("witness-cpu.md", "witness-h100.md"):
        assert (tmp_path / name).read_text() == (reports / name).read_text()


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_a_hostile_witness_harms_no_page(kind, tmp_path):
    witness = next(witness for witness, _ in COMMITTED if (witness.witness == "cpu") == (kind == "cpu"))
    hostile = structs.replace(
        witness,
        model=sample.HOSTILE,
        processor=sample.HOSTILE,
        components=tuple(
            structs.replace(part, name=sample.HOSTILE, dtype=sample.HOSTILE) for part in witness.components
        ),
        refused={sample.HOSTILE: sample.HOSTILE},
    )
    for file in page.write([hostile], tmp_path):
        assert "<img" not in file.read_text()
        assert "</script>|" not in file.read_text()
    assert "\x00" not in page.text(hostile)


def test_a_broken_witness_ledger_is_refused(tmp_path):
    file = tmp_path / "w.json"
    file.write_text('{"schema": 1, "witness": "cpu", "model": 3}')
    assert "not a ledger" in refused(cli("report", file, "-o", tmp_path))
