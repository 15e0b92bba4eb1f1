"""check(): any module, every backend, each gap explained."""

import copy
import multiprocessing
import random
import re
import sys
import threading

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from installed import COUNTING, holds, needs
from modules import BLOCK, BLOCK_MACS, Block, Function, block, check_block, zeros
from torch import nn

import crosscheck
from crosscheck.errors import CrosscheckError, UncountedError, UsageError
from crosscheck.records import Counted, Failed, Skipped

pytestmark = pytest.mark.releases

# What each counter says of the block, and why: GroupNorm at 5 x 32 x 64 elements in fvcore, attention 262,144,
# one softmax MAC for each of 64 x 64 scores under the query-only rule.
NORM, ATTENTION, SOFTMAX = 5 * 32 * 64, 262_144, 64 * 64


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_the_block_under_every_counter(device):
    module, x = block(device)
    check = crosscheck.check(module, x)
    expected = {
        "aten": {},
        "thop": {},
        "thop-plain": {"attention-not-counted": -ATTENTION},
        "thop-query-only": {"softmax-as-macs": SOFTMAX},
        "fvcore": {"fvcore-groupnorm-5": NORM},
        "fvcore-plain": {"attention-not-counted": -ATTENTION, "fvcore-groupnorm-5": NORM},
        # torch's own counter had no formula for the fused CPU kernel; on meta attention runs as two bmm
        "flop_counter": {"flop_counter-cpu-attention": -ATTENTION}
        if device == "cpu" and holds("torch>=2.3,<2.15")
        else {},
    }

    assert check.recommended.status == "unconfirmed"
    assert check.recommended.by_op == BLOCK
    assert check.recommended.macs == BLOCK_MACS
    assert check.recommended.flops == 2 * BLOCK_MACS
    assert isinstance(check["analytic"], Skipped)
    for name in COUNTING[1:]:
        outcome, terms = check[name], expected[name]
        assert isinstance(outcome, Counted), (name, outcome)
        assert {term.cause: term.macs for term in outcome.terms} == terms, name
        assert (outcome.residual, outcome.macs) == (0, BLOCK_MACS + sum(terms.values())), name


def test_the_reference_is_computed_whichever_backend_is_asked_for():
    module, x = block()

    check = crosscheck.check(module, x, backends=("thop",))

    assert list(check.backends) == ["analytic", "aten", "thop"]


def test_an_unknown_backend_is_refused_with_the_nearest_name():
    module, x = block()
    with pytest.raises(UsageError, match="unknown backend 'thopp'; did you mean 'thop'"):
        crosscheck.check(module, x, backends=("thopp",))


MISUSED = {
    "a text of backends": (
        lambda module, x: crosscheck.check(module, x, backends="thop"),
        "backends: got 'thop'; allowed: a list, such as ['thop']",
    ),
    "a number of backends": (
        lambda module, x: crosscheck.check(module, x, backends=3),
        "backends: got 3; allowed: a list",
    ),
    "no backend's name": (
        lambda module, x: crosscheck.check(module, x, backends=[None]),
        "unknown backend None; allowed: analytic",
    ),
    "no time": (
        lambda module, x: crosscheck.check(module, x, time_limit=0),
        "time limit: got 0; allowed: seconds, more than 0",
    ),
    "a text of time": (
        lambda module, x: crosscheck.check(module, x, time_limit="5"),
        "time limit: got '5'; allowed: seconds",
    ),
    "None": (
        lambda module, x: crosscheck.check(None, x),
        "got None; allowed: a torch.nn.Module and its inputs (check_pipeline takes pipelines)",
    ),
    "a class": (
        lambda module, x: crosscheck.check(type(module), x),
        "got the class Linear; allowed: a torch.nn.Module",
    ),
    "an input is missing": (
        lambda module, x: crosscheck.check(module),
        "argument: 'input'; its forward takes (input: torch.Tensor)",
    ),
    "an input too many": (
        lambda module, x: crosscheck.check(module, x, mask=x),
        "argument 'mask'; its forward takes (input: torch.Tensor)",
    ),
    "a module as a pipeline": (
        lambda module, x: crosscheck.check_pipeline(module),
        "got a Linear; allowed: a model's name, a folder or a diffusers pipeline (crosscheck.check takes modules)",
    ),
    "no pipeline": (
        lambda module, x: crosscheck.check_pipeline(None),
        "got None; allowed: a model's name",
    ),
    "no name": (
        lambda module, x: crosscheck.check_pipeline(""),
        "unknown model ''; allowed: auraflow",
    ),
    "a scheduler's class": (
        lambda module, x: crosscheck.check_pipeline(scheduler=type(module), backends=()),
        "scheduler: got the class Linear; allowed: the name of a scheduler class of diffusers",
    ),
}


@pytest.mark.parametrize(("misuse", "message"), MISUSED.values(), ids=MISUSED)
def test_a_wrong_use_is_one_line_that_says_what_is_allowed(misuse, message):
    with pytest.raises(CrosscheckError, match=re.escape(message)) as refused:
        misuse(nn.Linear(3, 4), torch.zeros(2, 3))
    assert "\n" not in str(refused.value)


def test_what_is_no_module_is_refused():
    with pytest.raises(UsageError, match=r"got a int; allowed: a torch\.nn\.Module"):
        crosscheck.check(3)


# -- forwards that torch allows ----------------------------------------------------------------------------------------

LINEAR = 10 * 32 * 48  # ten rows


def in_grad_modes(self, x):
    with torch.no_grad():
        x = self.a(x)
    with torch.enable_grad():
        return self.a(x[..., :32])


def checkpointed(self, x):
    from torch.utils.checkpoint import checkpoint

    return checkpoint(self.a, x, use_reentrant=False)


def autocasted(self, x):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return self.a(x)


def inferred(self, x):
    with torch.inference_mode():
        return self.a(x)


class Output(dict):
    pass


def profiled(self, x):
    with torch.profiler.record_function("range"):
        return self.a(x)


FORWARDS = {
    "grad modes": (in_grad_modes, 2 * LINEAR),
    "checkpoint": (checkpointed, LINEAR),
    "autocast": (autocasted, LINEAR),
    "inference mode": (inferred, LINEAR),
    "a dictionary": (lambda self, x: {"y": self.a(x), "n": 3}, LINEAR),
    "nothing": (lambda self, x: None if self.a(x) is None else None, LINEAR),
    "direct forward": (lambda self, x: self.a.forward(x), LINEAR),
    "functional": (lambda self, x: F.linear(x, self.a.weight), LINEAR),
    "matmul operator": (lambda self, x: x @ self.a.weight.T, LINEAR),
    "einsum": (lambda self, x: torch.einsum("ni,oi->no", x, self.a.weight), LINEAR),
    "matrix-vector": (lambda self, x: self.a.weight @ x[0], 32 * 48),
    "in place": (lambda self, x: torch.zeros_like(x @ self.a.weight.T).addmm_(x, self.a.weight.T), 2 * LINEAR),
    "called out, by name": (
        lambda self, x: F.conv1d(input=x[None], weight=self.a.weight[:10, :10, None]),
        10 * 10 * 32,
    ),
    "a profiler's range": (profiled, LINEAR),
    "outer": (lambda self, x: torch.outer(x[0], x[1]), 32 * 32),
    "einsum outer": (lambda self, x: torch.einsum("i,j->ij", x[0], x[1]), 32 * 32),
    "elementwise einsum": (lambda self, x: torch.einsum("ij,ij->ij", x, x), 0),
    "reshape only": (lambda self, x: x.reshape(32, 10).T.contiguous(), 0),
}


@pytest.mark.parametrize("device", ["meta", "cpu"])
@pytest.mark.parametrize("name", FORWARDS)
def test_forwards_of_every_kind_are_counted(name, device):
    if (name, device) == ("checkpoint", "meta") and holds("torch>=2.1,<2.6"):
        pytest.skip("this torch's checkpoint takes no meta tensors")
    function, macs = FORWARDS[name]
    module = Function(function, a=nn.Linear(32, 48)).to(device)

    check = crosscheck.check(module, zeros(10, 32, device=device), backends=("aten",))

    assert check.recommended.macs == macs


class OwnForward(nn.Linear):
    """Calls its base's forward: that is no direct call of a module."""

    def forward(self, x):
        return super().forward(x)


def test_a_forward_that_calls_its_bases_is_entered_once():
    def forward(self, x):
        made_in_passing = nn.Linear(32, 48, device=x.device)
        return self.a(x) + self.b(x) + made_in_passing(x)

    module = Function(forward, a=nn.Linear(32, 48), b=OwnForward(32, 48)).to("meta")

    check = crosscheck.check(module, zeros(10, 32), backends=("thop",))

    assert check.recommended.macs == 3 * LINEAR
    assert [row.direct for row in check.census.ops if row.macs] == [False] * 3
    # thop knows nn.Linear alone, and only those that are there before the call
    assert {t.cause: t.macs for t in check["thop"].terms} == {"thop-no-rule": -2 * LINEAR}


def test_products_by_hand_are_matmul_and_layers_are_linear():
    module = Function(lambda self, x: self.a(x) @ self.a(x).T, a=nn.Linear(32, 48))

    check = crosscheck.check(module.to("meta"), zeros(10, 32), backends=("aten",))

    # the layer twice, then [10, 48] @ [48, 10]
    assert check.recommended.by_op == {"conv": 0, "linear": 2 * LINEAR, "attention": 0, "matmul": 10 * 48 * 10}


MHA_PROJECTIONS = 4 * 16 * 64 * 64  # q, k, v and out on 16 tokens of 64
MHA_PRODUCTS = 4 * 16 * 16 * (16 + 16)  # four heads of 16


@pytest.mark.parametrize("device", ["meta", "cpu"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("weights", [True, False])
@pytest.mark.parametrize("grad", [True, False])
def test_multihead_attention_on_all_its_paths(device, training, weights, grad):
    module = nn.MultiheadAttention(64, 4, batch_first=True).to(device).train(training)
    x = zeros(1, 16, 64, device=device)

    with torch.set_grad_enabled(grad):
        check = crosscheck.check(module, x, x, x, need_weights=weights, backends=("aten",))

    by_op = check.recommended.by_op
    assert by_op["linear"] == MHA_PROJECTIONS
    assert by_op["attention" if not weights else "matmul"] == MHA_PRODUCTS
    assert check.recommended.macs == MHA_PROJECTIONS + MHA_PRODUCTS


@pytest.mark.parametrize("device", ["meta", "cpu"])
@pytest.mark.parametrize(
    ("module", "shape", "macs"),
    [
        # 10 steps of 3 sequences: gates x hidden x (input + hidden)
        (nn.LSTM(16, 32), (10, 3, 16), 10 * 3 * 4 * 32 * (16 + 32)),
        (nn.GRU(16, 32), (10, 3, 16), 10 * 3 * 3 * 32 * (16 + 32)),
        (nn.RNN(16, 32), (10, 3, 16), 10 * 3 * 1 * 32 * (16 + 32)),
        (nn.LSTM(16, 32, num_layers=2, bidirectional=True), (10, 3, 16),
         10 * 3 * 4 * 32 * 2 * ((16 + 32) + (64 + 32))),
    ],
)  # fmt: skip
def test_recurrent_layers_are_linear(module, shape, macs, device):
    check = crosscheck.check(copy.deepcopy(module).to(device), zeros(*shape, device=device), backends=("aten",))

    assert check.recommended.by_op["linear"] == check.recommended.macs == macs


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_convolutions_of_every_dimension(device):
    # output (transposed: input) elements x channels of the other side a group x kernel
    cases = [
        (nn.Conv1d(8, 12, 3, padding="same", groups=4), (2, 8, 16), 2 * 12 * 16 * 2 * 3),
        (nn.Conv2d(8, 12, 3, stride=2, dilation=2), (1, 8, 16, 17), 12 * 6 * 7 * 8 * 9),
        (nn.Conv3d(4, 6, 3), (1, 4, 8, 8, 8), 6 * 6**3 * 4 * 27),
        (nn.ConvTranspose2d(8, 12, 4, stride=2, groups=4), (1, 8, 8, 8), 8 * 64 * 3 * 16),
        (nn.Conv2d(8, 12, 3), (8, 16, 16), 12 * 14 * 14 * 8 * 9),  # no batch dimension
    ]
    for module, shape, macs in cases:
        check = crosscheck.check(module.to(device), zeros(*shape, device=device), backends=("aten",))
        assert check.recommended.by_op["conv"] == macs, module


@needs("torch>=2.5", "enable_gqa")
def test_grouped_queries_and_broadcast_heads():
    q, k, v = zeros(2, 8, 5, 16), zeros(2, 2, 7, 16), zeros(2, 2, 7, 24)
    module = Function(lambda self, q, k, v: F.scaled_dot_product_attention(q, k, v, enable_gqa=True))

    check = crosscheck.check(module, q, k, v, backends=("aten", "thop"))

    assert check.recommended.by_op["attention"] == 2 * 8 * 5 * 7 * (16 + 24)
    assert check["thop"].macs == check.recommended.macs


def test_causal_attention_shows_its_triangle_beside_the_dense_count():
    module = Function(lambda self, q: F.scaled_dot_product_attention(q, q, q, is_causal=True))

    check = crosscheck.check(module, zeros(1, 2, 5, 8), backends=("aten",))

    assert check.recommended.macs == 2 * 5 * 5 * 16
    assert check.recommended.causal_macs == 2 * (1 + 2 + 3 + 4 + 5) * 16


def test_scripted_children_are_counted():
    scripted = torch.jit.script(nn.Linear(32, 48))
    module = Function(lambda self, x: self.a(x), a=scripted)

    check = crosscheck.check(module, torch.zeros(10, 32), backends=("aten",))

    assert check.recommended.macs == LINEAR


@needs("torch>=2.4", "torch.compile on this Python, on meta")
@pytest.mark.parametrize("dynamic", [False, True])
def test_compiled_children_are_counted(dynamic):
    layer = torch.compile(nn.Linear(32, 48), backend="eager", dynamic=dynamic)  # or with sizes that are symbols
    compiled = Function(lambda self, x: self.a(x), a=layer)

    check = crosscheck.check(compiled, torch.zeros(10, 32), backends=("aten",))

    assert check.recommended.macs == LINEAR


# -- what can't be counted ---------------------------------------------------------------------------------------------


def test_control_flow_on_values_is_refused_on_meta_and_run_on_real_tensors():
    module = Function(lambda self, x: self.a(x) if x.sum() > 0 else x, a=nn.Linear(32, 48))
    with pytest.raises(UncountedError, match=r"^Function: .*[Mm]eta"):
        crosscheck.check(copy.deepcopy(module).to("meta"), zeros(10, 32))

    assert crosscheck.check(module, torch.ones(10, 32), backends=("aten",)).recommended.macs == LINEAR


def test_a_forward_that_raises_is_refused_in_one_line():
    def broken(self, x):
        raise RuntimeError("no such\nluck")

    with pytest.raises(crosscheck.CrosscheckError, match=r"^Function: RuntimeError: no such$"):
        crosscheck.check(Function(broken), zeros(1))


@needs("torch>=2.4", "torch.library.custom_op")
def test_a_custom_operator_is_refused_by_name():
    @torch.library.custom_op("crosscheck_tests::mystery", mutates_args=())
    def mystery(x: torch.Tensor) -> torch.Tensor:
        return x @ x

    mystery.register_fake(lambda x: torch.empty_like(x))

    with pytest.raises(UncountedError, match="crosscheck_tests::mystery in inner may hold MACs"):
        crosscheck.check(
            Function(lambda self, x: self.inner(x), inner=Function(lambda self, x: mystery(x))), zeros(4, 4)
        )


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.linalg.svd(x)[0],
        lambda x: torch.linalg.matrix_exp(x),
        lambda x: torch.linalg.solve_triangular(x, x, upper=True),
    ],
    ids=["svd", "matrix_exp", "solve_triangular"],
)
def test_operators_that_may_hold_macs_are_refused(function):
    with pytest.raises(
        UncountedError, match="may hold MACs and crosscheck has no rule for it: a factorization or a solver"
    ):
        crosscheck.check(Function(lambda self, x: function(x)), torch.rand(4, 4))


@needs("torch>=2.6", "flex_attention on a CPU")
def test_flex_attention_is_refused_in_one_clear_line():
    from torch.nn.attention.flex_attention import flex_attention

    module = Function(lambda self, x: self.inner(x), inner=Function(lambda self, x: flex_attention(x, x, x)))
    line = (
        "Function: can't be counted exactly: flex_attention may hold MACs and crosscheck has no rule for it; "
        "with scaled_dot_product_attention in its place it can be"
    )
    with pytest.raises(UncountedError, match=f"^{re.escape(line)}$"):
        crosscheck.check(module, torch.zeros(1, 2, 16, 16))


def test_work_in_a_thread_is_refused():
    def threaded(self, x):
        results = []
        worker = threading.Thread(target=lambda: results.append(self.a(x)))
        worker.start()
        worker.join()
        return results[0]

    with pytest.raises(UncountedError, match="in a thread"):
        crosscheck.check(Function(threaded, a=nn.Linear(32, 48)).to("meta"), zeros(10, 32))


# -- nothing of the caller's is changed --------------------------------------------------------------------------------


def state(module):
    functions = {name: getattr(F, name) for name in ("linear", "conv2d", "scaled_dot_product_attention")}
    return {
        "functions": functions,
        "call": nn.Module.__call__,
        "tensors": {k: v.clone() for k, v in module.state_dict().items()},
        "attributes": {name: sorted(vars(m)) for name, m in module.named_modules()},
        "training": [m.training for m in module.modules()],
        "hooks": [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in module.modules()],
        "classes": [type(m) for m in module.modules()],
        "forwards": [type(m).__dict__.get("forward") for m in module.modules()],
        "rng": torch.get_rng_state(),
        "random": random.getstate(),
    }


def same(before, after):
    tensors = before.pop("tensors"), after.pop("tensors")
    assert tensors[0].keys() == tensors[1].keys()
    assert all(torch.equal(tensors[0][k], tensors[1][k]) for k in tensors[0])
    assert torch.equal(before.pop("rng"), after.pop("rng"))
    assert before == after


def busy(self, x):
    """Draws random numbers, changes its input, its own attribute and its norm's statistics."""
    self.seen = x.shape
    x += torch.rand_like(x) * random.random()
    return self.a(self.norm(x))


@pytest.mark.parametrize("fails", [False, True])
def test_module_and_torch_are_as_before(fails):
    def forward(self, x):
        result = busy(self, x)
        if fails:
            raise RuntimeError("after all that")
        return result

    linear = nn.utils.parametrizations.spectral_norm(nn.Linear(32, 48))
    module = Function(forward, a=linear, norm=nn.BatchNorm1d(32)).train()
    module.a.register_forward_hook(lambda *_: None)
    x = torch.ones(10, 32)
    before = state(module)

    if fails:
        with pytest.raises(UncountedError, match="after all that"):
            crosscheck.check(module, x)
    else:
        check = crosscheck.check(module, x)
        assert not any(isinstance(o, Failed) for o in check.backends.values()), check.backends

    same(before, state(module))
    assert torch.equal(x, torch.ones(10, 32))


def test_a_lazy_module_stays_lazy():
    module = Function(lambda self, x: self.a(x), a=nn.LazyLinear(48))

    check = crosscheck.check(module, torch.zeros(10, 32), backends=("aten",))

    assert check.recommended.macs == LINEAR
    assert type(module.a) is nn.LazyLinear
    assert isinstance(module.a.weight, nn.parameter.UninitializedParameter)


def test_tied_weights_and_shared_modules():
    a = nn.Linear(32, 32)
    b = nn.Linear(32, 32)
    b.weight = a.weight
    module = Function(lambda self, x: self.b(self.a(self.a(x))), a=a, b=b).to("meta")

    check = crosscheck.check(module, zeros(10, 32), backends=("aten", "thop", "fvcore"))

    assert check.recommended.macs == 3 * 10 * 32 * 32
    assert check["thop"].gap == check["fvcore"].gap == 0


# -- where it may be called from ---------------------------------------------------------------------------------------


def heavy_forward():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    nn.Conv2d(16, 16, 3)(torch.rand(8, 16, 64, 64))
    torch.set_num_threads(threads)


def test_after_a_multithreaded_forward_of_the_callers():
    heavy_forward()
    module, x = block()
    assert crosscheck.check(module, x, time_limit=60).recommended.macs == BLOCK_MACS
    real, x = block("cpu")
    assert crosscheck.check(real, x).recommended.macs == BLOCK_MACS


def test_from_a_thread():
    found = []
    module, x = block()
    worker = threading.Thread(target=lambda: found.append(crosscheck.check(module, x)))
    worker.start()
    worker.join(120)

    assert found[0].recommended.macs == BLOCK_MACS


def test_under_spawn():
    context = multiprocessing.get_context("spawn")
    outbox = context.Queue()
    process = context.Process(target=check_block, args=(outbox,))
    process.start()
    assert outbox.get(timeout=120) == BLOCK_MACS
    process.join()


def test_the_outcome_of_a_backend_not_asked_for_is_refused():
    module, x = block()
    check = crosscheck.check(module, x, backends=("aten",))
    with pytest.raises(UsageError, match="no outcome of backend 'thop'; this run has: analytic, aten"):
        check["thop"]


def test_the_block_is_the_class_that_the_readme_shows():
    assert sum(p.numel() for p in Block().parameters()) == 64 + (9_216 + 32) + (3_072 + 96) + (1_024 + 32)


def test_products_in_a_thread_are_refused_without_a_module_too():
    def threaded(self, x):
        thread = threading.Thread(target=lambda: x @ x.T)
        thread.start()
        thread.join()
        return x

    with pytest.raises(UncountedError, match="aten::mm in a thread"):
        crosscheck.check(Function(threaded), zeros(10, 32))


def test_the_scripted_fast_path_of_an_encoder_layer_is_refused():
    layer = torch.jit.script(nn.TransformerEncoderLayer(64, 4, 128, batch_first=True).eval())
    with torch.no_grad(), pytest.raises(UncountedError, match="_transformer_encoder_layer_fwd"):
        crosscheck.check(Function(lambda self, x: self.a(x), a=layer), torch.randn(1, 8, 64), backends=("aten",))


@needs("torch>=2.6", "before, no lazy buffer becomes a real one under a torch function mode")
def test_a_lazy_buffer_stays_lazy():
    module = nn.Sequential(nn.LazyLinear(8), nn.LazyBatchNorm1d())
    before = dict(module.named_parameters()), dict(module.named_buffers())

    assert crosscheck.check(module, torch.zeros(2, 4)).recommended.macs == 2 * 4 * 8

    assert type(module[1]) is nn.LazyBatchNorm1d
    after = dict(module.named_parameters()), dict(module.named_buffers())
    assert all(old[name] is value for old, new in zip(before, after, strict=True) for name, value in new.items())


@pytest.mark.parametrize("device", ["meta", "cpu"])
@pytest.mark.parametrize("channels", [4, 5])
def test_a_complex_convolution_is_four_real_ones_whatever_torch_runs(device, channels):
    module = nn.Conv1d(channels, 7, 3, dtype=torch.complex64, device=device)
    x = torch.zeros(2, channels, 10, dtype=torch.complex64, device=device)

    check = crosscheck.check(module, x, backends=("aten",))

    assert check.recommended.macs == 4 * (2 * 7 * 8 * channels * 3)


@pytest.mark.parametrize("module", [nn.LSTMCell(16, 32), nn.GRUCell(16, 32), nn.RNNCell(16, 32)])
def test_fvcore_sees_the_products_of_a_cell(module):
    assert crosscheck.check(module, torch.zeros(2, 16), backends=("fvcore",))["fvcore"].residual == 0


imported_by_name = F.scaled_dot_product_attention


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_attention_imported_by_name_is_attention(device):
    module = Function(lambda self, q: imported_by_name(q, q, q))

    check = crosscheck.check(module, zeros(1, 2, 5, 8, device=device), backends=("thop", "thop-plain"))

    assert check.recommended.by_op["attention"] == check.recommended.macs == 2 * 5 * 5 * 16
    assert {t.cause: t.macs for t in check["thop"].terms} == {"thop-attention-unpatched": -2 * 5 * 5 * 16}
    assert check["thop"].residual == check["thop-plain"].residual == 0


class Cache:
    seen = 0


class Stateful(nn.Module):
    """Keeps state in an object, a nested list and a dictionary."""

    def __init__(self):
        super().__init__()
        self.cache, self.rows, self.sums = Cache(), [[]], {"x": torch.zeros(3)}
        self.linear = nn.Linear(4, 4)

    def forward(self, x):
        self.cache.seen += 1
        self.rows[0].append(x)
        self.sums["x"].add_(1)
        return self.linear(x.repeat(self.cache.seen, 1))


def test_what_a_module_keeps_deeper_down_is_as_before():
    module, seed = Stateful(), torch.manual_seed

    check = crosscheck.check(module, torch.zeros(2, 4))

    assert check.recommended.macs == 2 * 4 * 4
    assert all(outcome.residual == 0 for outcome in check.backends.values() if isinstance(outcome, Counted))
    assert (vars(module.cache), module.rows, module.sums["x"].tolist()) == ({}, [[]], [0, 0, 0])
    assert torch.manual_seed is seed


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_products_of_a_backward_without_a_rule_are_refused(device):
    """A gradient in a forward multiplies too: what is known is counted, what is not is never taken for 0."""

    def gradient(self, x):
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            return torch.autograd.grad(self.layer(x).sum(), x)[0]

    convolution = Function(gradient, layer=nn.Conv2d(2, 3, 3)).to(device)
    with pytest.raises(UncountedError, match="aten::convolution_backward in the module itself may hold MACs"):
        crosscheck.check(convolution, zeros(1, 2, 8, 8, device=device), backends=("aten",))
    linear = Function(gradient, layer=nn.Linear(4, 5)).to(device)
    check = crosscheck.check(linear, zeros(3, 4, device=device), backends=("aten",))
    assert check.recommended.macs == 3 * 4 * 5 + 3 * 5 * 4  # forward, and the gradient of the input


class Attend(nn.Module):
    def forward(self, query, key):
        return F.scaled_dot_product_attention(query, key, key)


class AttendsToBoth(nn.Module):
    """Three modules alike in all but what they run."""

    def __init__(self):
        super().__init__()
        self.first, self.text, self.second = Attend(), Attend(), Attend()

    def forward(self, image, text):
        return self.second(self.text(self.first(image, image), text), image)


def test_modules_alike_share_a_row_of_the_census_where_they_ran_the_same():
    census = crosscheck.check(AttendsToBoth(), torch.rand(1, 2, 16, 8), torch.rand(1, 2, 3, 8)).census
    rows = {row.paths: sum(op.macs for op in census.ops if op.module == i) for i, row in enumerate(census.modules)}
    # heads x queries x keys x (8 + 8), of two modules and of one
    assert rows[("first",), ("second",)] == 2 * (2 * 16 * 16 * 16)
    assert rows[(("text",),)] == 2 * 16 * 3 * 16


# -- what is not seen, and what is not one forward ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.from_numpy(x.numpy() @ np.ones((6, 5), dtype="float32")),
        lambda x: torch.as_tensor(np.asarray(x) @ np.ones((6, 5), dtype="float32")),
        lambda x: torch.from_numpy(np.from_dlpack(x) @ np.ones((6, 5), dtype="float32")),
    ],
    ids=["numpy", "array", "dlpack"],
)
def test_numbers_that_leave_torch_are_refused(function):
    with pytest.raises(UncountedError, match="takes numbers out of torch by"):
        crosscheck.check(Function(lambda self, x: function(x)), torch.ones(4, 6), backends=("aten",))


def test_lengths_may_leave_torch():
    module = Function(lambda self, x, n: self.a(x[: int(n.numpy().max())]), a=nn.Linear(6, 5))
    assert (
        crosscheck.check(module, torch.ones(4, 6), torch.tensor([2, 3]), backends=("aten",)).recommended.macs
        == 3 * 6 * 5
    )


def test_an_address_that_is_handed_on_is_told():
    module = Function(lambda self, x: self.a(x) + (x.data_ptr() > 0), a=nn.Linear(6, 5))
    (note,) = crosscheck.check(module, torch.ones(4, 6), backends=("aten",)).notes
    assert "data_ptr" in note


def test_numbers_that_leave_torch_for_good_are_told():
    """As a safety checker's scores are, which are compared."""
    module = Function(lambda self, x: self.a(x) if (x.numpy() > 0).all() else x, a=nn.Linear(6, 5))
    check = crosscheck.check(module, torch.ones(4, 6), backends=("aten",))
    assert check.recommended.macs == 4 * 6 * 5
    assert "numpy" in check.notes[0]


@pytest.mark.parametrize("draw", [random.random, np.random.rand], ids=["random", "numpy"])
def test_a_draw_of_layers_is_one_draw_to_all_and_told(draw):
    def forward(self, x):
        for _ in range(1 + int(8 * draw())):
            x = self.a(x)
        return x

    check = crosscheck.check(Function(forward, a=nn.Linear(6, 6)), torch.ones(4, 6))
    assert check.recommended.macs % (4 * 6 * 6) == 0
    assert {o.residual for o in check.backends.values() if isinstance(o, Counted)} == {0}
    assert "one draw" in check.notes[0]


class Nameless(tuple):
    def __len__(self):
        raise NotImplementedError


class Closed:
    @property
    def __dict__(self):
        raise RuntimeError


@pytest.mark.parametrize("device", ["meta", "cpu"])
@pytest.mark.parametrize("kept", [Nameless((1, 2)), Closed()], ids=["length", "attributes"])
def test_what_a_module_keeps_may_refuse_to_be_looked_at(kept, device):
    module = Function(lambda self, x: self.a(x), a=nn.Linear(6, 5))
    module.kept, module.several = kept, [kept]
    assert crosscheck.check(module.to(device), torch.ones(4, 6, device=device)).recommended.macs == 4 * 6 * 5


def test_a_frozen_script_is_counted():
    frozen = torch.jit.freeze(torch.jit.script(nn.Linear(6, 5).eval()))
    assert crosscheck.check(frozen, torch.ones(4, 6), backends=("aten",)).recommended.macs == 4 * 6 * 5
    with pytest.raises(UncountedError):
        crosscheck.check(frozen, backends=("aten",))


def test_outcomes_are_looked_up_and_listed_by_their_backends():
    module, x = block()
    check = crosscheck.check(module, x, backends=("thop",))
    assert list(check) == ["analytic", "aten", "thop"]
    assert "thop" in check
    assert "fvcore" not in check


def test_eight_threads_at_once_leave_torch_as_it_was_and_count_right():
    names = ("linear", "conv2d", "scaled_dot_product_attention", "softmax", "layer_norm")
    before = [getattr(F, name) for name in names], nn.Module.__call__, sys.stdout
    found = []

    def count(device):
        module, x = block(device)
        found.append(crosscheck.check(module, x).recommended.macs)

    threads = [threading.Thread(target=count, args=("cpu" if i % 2 else "meta",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)

    assert found == [BLOCK_MACS] * 8
    assert ([getattr(F, name) for name in names], nn.Module.__call__, sys.stdout) == before
