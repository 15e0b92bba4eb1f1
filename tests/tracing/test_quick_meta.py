"""QuickMeta answers as torch's own Meta kernels do: shapes, dtypes, strides, and errors."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from crosscheck.tracing.quick_meta import RULES, QuickMeta

pytestmark = pytest.mark.releases

SIZE = st.integers(1, 5)
DTYPES = [torch.float32, torch.float16, torch.float64, torch.int64]


def m(*shape, dtype=torch.float32):
    return torch.empty(shape, dtype=dtype, device="meta")


@st.composite
def calls(draw):
    """A function of meta tensors, plain or not: transposed, expanded, of mixed dtypes, broadcast."""
    a, b, c, d = (draw(SIZE) for _ in range(4))
    dtype = draw(st.sampled_from(DTYPES))
    other = draw(st.sampled_from([dtype, dtype, torch.float32]))
    x = m(a, b, c, d, dtype=dtype)
    x = draw(
        st.sampled_from([x, x, x.transpose(1, 2), x.to(memory_format=torch.channels_last), x[:, :1].expand(a, b, c, d)])
    )
    y = draw(
        st.sampled_from(
            [m(a, b, c, d, dtype=other), m(d, dtype=other), m(b, 1, 1, dtype=other), 2, 0.5, m(dtype=other)]
        )
    )
    weights = draw(st.booleans())
    norm = (m(x.shape[-1], dtype=dtype),) * 2 if weights else (None, None)
    group = (m(x.shape[1], dtype=dtype),) * 2 if weights else (None, None)
    kernel, stride, padding, dilation = (
        draw(st.integers(1, 3)),
        draw(SIZE),
        draw(st.integers(0, 2)),
        draw(st.integers(1, 2)),
    )
    axis, extra, groups = draw(st.integers(-4, 3)), draw(st.integers(0, 1)), draw(st.sampled_from([1, x.shape[1], 2]))
    return draw(
        st.sampled_from(
            [
                lambda: F.silu(x),
                lambda: F.gelu(x, approximate="tanh"),
                lambda: x.sigmoid(),
                lambda: x.softmax(axis),
                lambda: x.tanh(),
                lambda: -x,
                lambda: x.rsqrt(),
                lambda: x**2,
                lambda: x**-0.5,
                lambda: x.clamp_min(1e-12),
                lambda: x.clamp_min(m(dtype=dtype)),
                lambda: x.mean(axis, keepdim=weights),
                lambda: x.mean((axis, 1), keepdim=weights),
                lambda: x.mean((axis - stride, 1)),
                lambda: F.normalize(x, dim=axis),
                lambda: torch.linalg.vector_norm(x, dim=(axis, extra)),
                lambda: torch.cat([x, x[: 1 + extra]], axis),
                lambda: torch.cat([x, m(a, b, c, d, dtype=other), x], axis + extra),
                lambda: torch.cat([x, m(0, dtype=dtype)], axis),
                lambda: x + y,
                lambda: x - y,
                lambda: x * y,
                lambda: x / y,
                lambda: torch.add(x, y, alpha=2),
                lambda: F.linear(x, m(3, x.shape[-1], dtype=other), m(3, dtype=dtype)),
                lambda: F.linear(x, m(3, x.shape[-1] + extra, dtype=dtype)),
                lambda: x.flatten(0, 1) @ m(a * b, x.shape[-1], 3, dtype=other)[: a * b],
                lambda: torch.bmm(x.flatten(0, 1), m(a * b, x.shape[-1] + extra, 3, dtype=dtype)),
                lambda: F.layer_norm(x, x.shape[-1:], *norm),
                lambda: F.layer_norm(x, x.shape[-2:]),
                lambda: F.group_norm(x, groups, *group),
                lambda: F.conv2d(x, m(4, x.shape[1], kernel, kernel, dtype=other), None, stride, padding, dilation),
                lambda: F.conv1d(x.flatten(2), m(2 * x.shape[1], 1, kernel, dtype=dtype), groups=x.shape[1]),
                lambda: F.conv_transpose2d(x, m(x.shape[1], 2, kernel, kernel, dtype=dtype), stride=stride),
                lambda: F.scaled_dot_product_attention(x, x, x),
            ]
        )
    )


def outcome(call):
    try:
        result = call()
    except Exception as error:
        return type(error)
    return result.shape, result.dtype, result.stride(), result.device


@given(calls())
def test_as_torchs_own_kernels(call):
    torchs = outcome(call)
    with QuickMeta():
        ours = outcome(call)
    assert ours == torchs or (isinstance(ours, type) and isinstance(torchs, type))


class Seen(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.ops = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.ops.append(str(func))
        return func(*args, **(kwargs or {}))


def test_a_tool_above_it_sees_the_same_operators():
    module = torch.nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, device="meta")
    seen = []
    for quick in (False, True):
        with torch.no_grad(), QuickMeta() if quick else Seen(), Seen() as mode:
            module(m(2, 5, 16))
        seen.append(mode.ops)
    assert seen[0] == seen[1]
    assert len(seen[0]) > 10


@pytest.mark.parametrize("rule", list(RULES), ids=str)
def test_every_rule_answers_something(rule):
    """A rule that never fires is dead weight."""
    x = m(2, 4, 4)
    inputs = {
        "addmm": (m(3), m(2, 4), m(4, 3)),
        "mm": (m(2, 4), m(4, 3)),
        "bmm": (x, x),
        "native_layer_norm": (x, [4], None, None, 1e-5),
        "native_group_norm": (x, None, None, 2, 4, 4, 2, 1e-5),
        "convolution": (x, m(3, 4, 1), None, [1], [0], [1], False, [0], 1),
        "mul": (x, 2.0),
        "pow": (x, 2),
        "clamp_min": (x, 1e-12),
        "mean": (x, [-1], True),
        "linalg_vector_norm": (x, 2, [1]),
        "cat": ([x, x], 1),
        "_softmax": (x, -1, False),
        "_safe_softmax": (x, -1),
    }
    name = rule.overloadpacket.__name__
    args = inputs.get(name, (x, x) if "Tensor" in str(rule) else (x,))

    assert RULES[rule](*args) is not None
