"""A backend's number is its tool's own: break the tool's rule and see the number follow."""

import dataclasses
import importlib
import multiprocessing

import modules
import pytest
import torch
from installed import extra, needs
from modules import BLOCK, BLOCK_MACS, Block, Function, block, zeros
from torch import nn

import crosscheck
from crosscheck.engine import measure
from crosscheck.records import Skipped
from crosscheck.tracing.calling import case_of

pytestmark = pytest.mark.releases

imported_by_name = torch.nn.functional.conv2d


def tripled(monkeypatch, tool):
    """Triple one rule inside an installed tool."""
    if tool == "thop":
        rules = importlib.import_module("thop.profile").register_hooks  # thop.profile is its function too
        original = rules[nn.Linear]
        monkeypatch.setitem(rules, nn.Linear, lambda m, x, y: [original(m, x, y) for _ in range(3)] and None)
        return BLOCK["linear"]
    if tool == "fvcore":
        handles = importlib.import_module("fvcore.nn.flop_count")._DEFAULT_SUPPORTED_OPS
        original = handles["aten::_convolution"]
        monkeypatch.setitem(
            handles, "aten::_convolution", lambda i, o: original(i, o) + original(i, o) + original(i, o)
        )
        return BLOCK["conv"]
    from torch.utils import flop_counter

    original = flop_counter.flop_registry[torch.ops.aten.bmm]
    monkeypatch.setitem(flop_counter.flop_registry, torch.ops.aten.bmm, lambda *a, **k: 3 * original(*a, **k))
    return BLOCK["attention"]


@pytest.mark.parametrize(
    ("tool", "names"),
    [
        ("thop", ("thop", "thop-plain", "thop-query-only")),
        ("fvcore", ("fvcore", "fvcore-plain")),
        pytest.param("flop_counter", ("flop_counter",), marks=needs("torch>=2.1", "torch's own counter")),
    ],
)
def test_a_tripled_rule_raises_the_total_and_leaves_a_residual(tool, names, monkeypatch):
    module, x = block()
    before = crosscheck.check(module, x, backends=names)
    more = 2 * tripled(monkeypatch, tool)

    after = crosscheck.check(module, x, backends=names)

    for name in names:
        assert before[name].residual == 0
        assert after[name].macs == before[name].macs + more
        assert after[name].residual == more
    assert after.recommended.macs == BLOCK_MACS


# -- fvcore on meta is fvcore on real tensors --------------------------------------------------------------------------

CONVOLUTIONS = [
    (nn.Conv1d(8, 12, 3, stride=2, padding=1), (2, 8, 17)),
    (nn.Conv1d(8, 12, 4, padding="same", dilation=3), (2, 8, 17)),
    (nn.Conv2d(8, 12, (3, 5), padding="same", groups=4), (1, 8, 16, 17)),
    (nn.Conv2d(8, 12, 3, padding="valid"), (8, 16, 17)),
    (nn.Conv2d(8, 12, 3, padding=1, padding_mode="reflect"), (1, 8, 16, 17)),
    (nn.Conv3d(4, 6, 3, dilation=(1, 2, 1)), (1, 4, 8, 9, 10)),
    (nn.ConvTranspose1d(8, 12, 4, stride=2), (2, 8, 9)),
    (nn.ConvTranspose2d(8, 12, 4, stride=(2, 3), padding=1, output_padding=(1, 2), groups=4), (1, 8, 7, 8)),
    (nn.ConvTranspose3d(4, 6, 3, stride=2, dilation=2), (1, 4, 5, 5, 5)),
    (nn.MultiheadAttention(16, 4, batch_first=True), None),
    (nn.Sequential(nn.Upsample(scale_factor=2), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(3)), (1, 8, 16, 17)),
    (Block(), (1, 32, 8, 8)),
]


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize(("module", "shape"), CONVOLUTIONS, ids=lambda v: type(v).__name__)
def test_fvcore_on_meta_equals_fvcore_on_real_tensors(module, shape, plain):
    """The real run is fvcore alone, with none of our code in its trace; the handle for attention is set by hand."""
    from fvcore.nn import FlopCountAnalysis

    from crosscheck.backends.fvcore import attention_handle

    inputs = (torch.zeros(shape),) if shape else (torch.zeros(1, 5, 16),) * 3
    real = FlopCountAnalysis(module, inputs).unsupported_ops_warnings(False)
    if not plain:
        real.set_op_handle("aten::scaled_dot_product_attention", attention_handle)
    expected = real.total()

    hollow = case_of(module.to("meta"), tuple(x.to("meta") for x in inputs), {})
    name = "fvcore-plain" if plain else "fvcore"
    outcome = measure.measure([hollow], (name,))[0].outcomes[name]
    module.to_empty(device="cpu")

    assert outcome.macs == expected
    assert expected > 0 or plain or isinstance(getattr(module, "padding", None), str)


@pytest.mark.filterwarnings("ignore")  # a trace warns of what it takes for constant
@pytest.mark.parametrize(("module", "shape"), CONVOLUTIONS, ids=lambda v: type(v).__name__)
def test_torchprofile_on_meta_equals_torchprofile_on_real_tensors(module, shape):
    """The real run is torchprofile alone, with none of our code in its trace: products of sizes are as many."""
    profile_macs = pytest.importorskip("torchprofile").profile_macs
    inputs = (torch.zeros(shape),) if shape else (torch.zeros(1, 5, 16),) * 3
    expected = profile_macs(module, inputs)

    hollow = case_of(module.to("meta"), tuple(x.to("meta") for x in inputs), {})
    outcome = measure.measure([hollow], ("torchprofile",))[0].outcomes["torchprofile"]
    module.to_empty(device="cpu")

    assert outcome.macs == expected


def test_torch_flops_is_skipped_without_cuda_tensors():
    pytest.importorskip("torch_flops")
    for device in ("meta", "cpu"):
        outcome = crosscheck.check(*block(device), backends=("torch-flops",))["torch-flops"]
        assert isinstance(outcome, Skipped)
        assert "needs CUDA tensors" in outcome.reason


def test_torch_flops_total_is_halved(monkeypatch):
    """As on a GPU: 2 x 8 - 1 operations and one for the bias, for each of 2 x 3 x 5 outputs."""
    pytest.importorskip("torch_flops")
    from crosscheck.backends.torch_flops import TorchFlops

    for name in ("reset_peak_memory_stats", "max_memory_allocated"):
        monkeypatch.setattr(torch.cuda, name, lambda device: 0)
    case = dataclasses.replace(case_of(nn.Linear(8, 5), (torch.zeros(2, 3, 8),), {}), device="cuda")

    backend = TorchFlops()
    assert backend.read(backend.run(case)).macs == 2 * 3 * 5 * 8


def test_onnx_tool_is_skipped_on_meta():
    pytest.importorskip("onnx_tool")
    outcome = crosscheck.check(*block("meta"), backends=("onnx-tool",))["onnx-tool"]
    assert isinstance(outcome, Skipped)
    assert "exports no model on meta" in outcome.reason


@pytest.mark.filterwarnings("ignore")  # the exporter warns of itself
def test_onnx_tool_gives_what_its_users_get(tmp_path):
    onnx_tool = pytest.importorskip("onnx_tool")
    file, module, x = tmp_path / "model.onnx", nn.Sequential(nn.Conv2d(3, 4, 3), nn.SiLU()), torch.zeros(1, 3, 8, 8)
    torch.onnx.export(module, (x,), file, dynamo=False)
    graph = onnx_tool.loadmodel(str(file)).graph
    graph.shape_infer()
    graph.profile()

    assert crosscheck.check(module, x, backends=("onnx-tool",))["onnx-tool"].macs == graph.macs[0]


def test_the_exporter_s_complaints_are_swallowed(capfd):
    pytest.importorskip("onnx_tool")
    outcome = crosscheck.check(nn.Bilinear(3, 3, 3), *[torch.zeros(2, 3)] * 2, backends=("onnx-tool",))["onnx-tool"]
    assert outcome.predicted_by == "onnx-tool-not-exported"
    assert capfd.readouterr() == ("", "")


def test_a_module_s_flags_are_as_before_an_export():
    pytest.importorskip("onnx_tool")
    module = nn.Sequential(nn.Linear(3, 3), nn.Dropout().eval())
    outcome = crosscheck.check(module, torch.zeros(2, 3), backends=("onnx-tool",))["onnx-tool"]
    assert (outcome.residual, [m.training for m in module.modules()]) == (0, [True, True, False])


@pytest.mark.filterwarnings("ignore")  # the exporter warns of what it takes for constant
def test_shapes_that_an_exported_graph_computes_are_known():
    """ONNX's own inference stops at a chunk, whose size is computed in the graph."""
    pytest.importorskip("onnx_tool")

    class Gated(nn.Module):
        def forward(self, x):
            a, b = x.chunk(2, dim=-1)
            return a.reshape(b.shape[0], -1) * b.flatten(1).sigmoid()

    check = crosscheck.check(Gated(), torch.zeros(2, 5, 8), backends=("onnx-tool",))
    assert [row.outputs for row in check.census.exported if row.op_type == "Sigmoid"] == [((2, 20),)]
    assert all(None not in row.outputs for row in check.census.exported)
    assert check["onnx-tool"].residual == 0


def twice_the_rows(module, args, *result):
    """Of what goes in, as a hook before a forward does; only the linear layer has hooks."""
    return (args[0].repeat(2, 1),) if isinstance(module, nn.Linear) else None


@pytest.mark.parametrize("everywhere", [False, True])
def test_fvcore_runs_the_hooks_that_there_are(everywhere):
    module, x = nn.Sequential(nn.Linear(8, 4), nn.ReLU()).to("meta"), zeros(3, 8)
    register = nn.modules.module.register_module_forward_pre_hook if everywhere else module[0].register_forward_pre_hook
    handle = register(twice_the_rows)
    try:
        outcome = measure.measure([case_of(module, (x,), {})], ("fvcore-plain",))[0].outcomes["fvcore-plain"]
    finally:
        handle.remove()
    assert outcome.macs == 2 * 3 * 8 * 4
    assert outcome.uncounted == {"aten::repeat": 1}


class OwnCall(nn.Linear):
    """Runs its forward twice by a way of its own."""

    def _call_impl(self, *args, **kwargs):
        return super()._call_impl(*args, **kwargs) + super()._call_impl(*args, **kwargs)


@needs("torch>=2.1", "before, a call passes by what a subclass makes of _call_impl")
def test_fvcore_calls_a_module_in_the_module_s_own_way():
    outcome = measure.measure([case_of(OwnCall(8, 4).to("meta"), (zeros(3, 8),), {})], ("fvcore",))[0]
    assert outcome.outcomes["fvcore"].macs == 2 * 3 * 8 * 4


def test_fvcore_without_help_fails_or_drops_convolutions_on_meta():
    """What the help is for: alone, fvcore can't trace a convolution on meta."""
    from fvcore.nn import FlopCountAnalysis

    module, x = nn.Conv2d(8, 12, 3).to("meta"), zeros(1, 8, 16, 16)
    try:
        total = FlopCountAnalysis(module, (x,)).total()
    except (TypeError, AssertionError):
        return  # torch 2.6 and later
    assert total == 0


@pytest.mark.parametrize("tool", ["fvcore", "torchprofile"])
@pytest.mark.parametrize(
    "function",
    [
        lambda self, x: imported_by_name(x, self.a.weight, padding=1, stride=2),
        lambda self, x: torch.ops.aten.conv2d(x, self.a.weight),
        lambda self, x: torch.vmap(self.a)(x[None]),
        lambda self, x: self.a(x[0]),
    ],
)
def test_a_convolution_by_any_way_is_traced_on_meta_as_on_the_cpu(function, tool):
    if tool == "torchprofile":
        pytest.importorskip("torchprofile")
    module = Function(function, a=nn.Conv2d(8, 12, 3))
    on_cpu, on_meta = (
        measure.measure([case_of(module.to(device), (torch.zeros(1, 8, 16, 16, device=device),), {})], (tool,))
        for device in ("cpu", "meta")
    )
    macs = on_cpu[0].outcomes[tool].macs
    assert on_meta[0].outcomes[tool].macs == macs > 12 * 8 * 9


# -- the attention patch -----------------------------------------------------------------------------------------------


def test_the_observer_nests_and_is_always_taken_off():
    import torch.nn.functional as F

    from crosscheck.tracing.sdpa import observing

    original, seen = F.scaled_dot_product_attention, ([], [])
    q = zeros(1, 2, 3, 4)
    with observing(seen[0].append):
        with pytest.raises(RuntimeError, match="inside"), observing(seen[1].append):
            F.scaled_dot_product_attention(query=q, key=q, value=q, is_causal=True)
            raise RuntimeError("inside")
        F.scaled_dot_product_attention(q, q, q)

    assert F.scaled_dot_product_attention is original
    assert [len(calls) for calls in seen] == [2, 1]
    assert seen[1][0].is_causal
    assert seen[1][0].macs == 2 * 3 * 3 * (4 + 4)
    assert seen[1][0].causal_macs == 2 * (1 + 2 + 3) * (4 + 4)
    assert seen[1][0].query_only_macs == 2 * 3 * 3 * (2 * 4 + 1)


def test_thop_sees_attention_that_is_called_by_keyword_and_in_a_shared_module():
    import torch.nn.functional as F

    attend = Function(lambda self, q: F.scaled_dot_product_attention(query=q, key=q, value=q))
    module = Function(lambda self, q: self.a(self.a(q)), a=attend)

    check = crosscheck.check(module, zeros(1, 2, 3, 4), backends=("thop",))

    assert check["thop"].macs == 2 * (2 * 3 * 3 * (4 + 4))


# -- counters that put functions of their own in the place of torch's --------------------------------------------------

REPLACING = ("calflops", "flops-profiler", "deepspeed", "ptflops")


@pytest.mark.parametrize("name", map(extra, REPLACING))
def test_a_counter_that_replaces_functions_counts_alike_each_time_and_on_meta(name):
    """In this process, where what it left in the place of torch's functions would count again."""
    before = {owner: dict(vars(owner)) for owner in (torch, torch.Tensor, torch.nn.functional)}
    model = Function(
        lambda self, x: self.out(self.block(x)) @ x.flatten(2)[:, :8],
        block=Block(),
        out=nn.Linear(32, 8),
    )
    x = torch.zeros(1, 32, 8, 8)

    first, second = (crosscheck.check(model, x, backends=(name,))[name] for _ in range(2))
    on_meta = crosscheck.check(model.to("meta"), x.to("meta"), backends=(name,))[name]

    assert (first.residual, first.macs) == (0, second.macs)
    assert (on_meta.residual, on_meta.macs) == (0, first.macs)
    for owner, functions in before.items():
        now = vars(owner)
        assert not [n for n in functions if n in now and callable(functions[n]) and now[n] is not functions[n]]
        assert "matmul" in now or owner is not torch


def test_calls_are_kept_by_the_name_that_they_were_made_by():
    def forward(self, a):
        return a @ a + torch.matmul(a, a) + a.matmul(a) + torch.add(a, 1) + torch.nn.functional.softmax(a, dim=-1)

    for device in ("meta", "cpu"):
        census = crosscheck.check(Function(forward), zeros(3, 4, 4, device=device), backends=()).census
        assert {call.function: (call.count, call.macs) for call in census.calls} == {
            "Tensor.__matmul__": (1, 3 * 4 * 4 * 4),
            "torch.matmul": (1, 3 * 4 * 4 * 4),
            "Tensor.matmul": (1, 3 * 4 * 4 * 4),
            "torch.add": (1, 0),
            "F.softmax": (1, 0),
        }


@needs("torch>=2.4", "before, a checkpoint imports no compiler")
def test_a_compiler_that_is_imported_during_a_count_knows_torch_s_functions():
    context = multiprocessing.get_context("spawn")
    outbox = context.Queue()
    child = context.Process(target=modules.compile_after_a_count, args=(outbox,), daemon=True)  # and so counts itself
    child.start()
    assert outbox.get(timeout=120) == (2 * 8 * 8, 1)
    child.join()
