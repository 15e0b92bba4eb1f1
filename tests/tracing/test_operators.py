"""Every operator that torch has is placed: it has a rule, holds no products, or is refused by name."""

import inspect

import pytest
import torch
import torch.nn.functional as F
from installed import needs
from modules import Function
from torch import nn

import crosscheck
from crosscheck.errors import UncountedError
from crosscheck.records import Counted
from crosscheck.tracing import aten_rules, operators

pytestmark = pytest.mark.releases


def reaching_a_mode() -> set[str]:
    """Operators of aten, in the release in use, that torch does not decompose before a dispatch mode sees them."""
    return {
        name.removeprefix("aten::").partition(".")[0]
        for name in torch._C._dispatch_get_all_op_names()
        if name.startswith("aten::")
        and not torch._C._dispatch_has_kernel_for_dispatch_key(name, "CompositeImplicitAutograd")
    }


def test_every_operator_is_placed():
    refused = {name for names in operators.REFUSED.values() for name in names.split()}
    unplaced = [
        name
        for name in sorted(reaching_a_mode())
        if not aten_rules.is_placed(name) and not {name, operators.plain(name)} & refused
    ]
    assert unplaced == []


def test_no_operator_is_placed_twice():
    refused = [name for names in operators.REFUSED.values() for name in names.split()]
    placed = [*operators.WITHOUT_PRODUCTS, *refused]
    assert len(placed) == len({*placed})
    assert [name for name in placed if aten_rules.kind(name)] == []


@pytest.mark.parametrize("name", ["relu_", "_foreach_add", "_foreach_lerp_", "torchvision::nms", "c10d::allreduce_"])
def test_forms_go_with_the_plain_operator(name):
    assert aten_rules.is_placed(name)


@pytest.mark.parametrize(
    "name", ["mm", "linalg_qr", "convolution_backward", "cdist", "unheard_of", "prims::svd", "x::mm"]
)
def test_what_holds_products_is_in_no_list_of_what_holds_none(name):
    assert not operators.holds_none(name)


#: 6 x 5, with the entries of an upper triangle: 5 + 4 + 3 + 2 + 1.
TRIANGLE = torch.ones(6, 5).triu()
ENTRIES = 15


def rows(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.ones(shape, dtype=dtype)


@pytest.mark.filterwarnings("ignore:Sparse CSR")
@pytest.mark.parametrize(
    ("function", "inputs", "macs"),
    [
        # a difference squared and added for each coordinate of each pair: below 25 vectors torch does so, above it has
        # a matrix product do it, of two coordinates more
        (torch.cdist, (rows(4, 3), rows(5, 3)), 4 * 5 * 3),
        (torch.cdist, (rows(2, 30, 3), rows(2, 40, 3)), 2 * 30 * 40 * 3),
        (lambda x, y: torch.cdist(x, y, p=1), (rows(4, 3), rows(5, 3)), 0),
        # pairs of 6 vectors: 6 * 5 / 2
        (F.pdist, (rows(6, 3),), 15 * 3),
        (lambda x: F.pdist(x, p=1), (rows(6, 3),), 0),
        # each point (x, y, 1) times the two columns of theta; in space (x, y, z, 1) times three
        (lambda theta: F.affine_grid(theta, (2, 3, 4, 5)), (rows(2, 2, 3),), 2 * 4 * 5 * 2 * 3),
        (lambda theta: F.affine_grid(theta, (2, 3, 4, 5, 6)), (rows(2, 3, 4),), 2 * 4 * 5 * 6 * 3 * 4),
        # each stored entry meets a row of 7
        *(
            (lambda x, sparse=sparse: sparse(TRIANGLE) @ x, (rows(5, 7),), ENTRIES * 7)
            for sparse in (torch.Tensor.to_sparse, torch.Tensor.to_sparse_csr, torch.Tensor.to_sparse_csc)
        ),
        (lambda x: torch.sparse.mm(TRIANGLE.to_sparse(), x), (rows(5, 7),), ENTRIES * 7),
        (lambda x: torch.sparse.addmm(rows(6, 7), TRIANGLE.to_sparse(), x), (rows(5, 7),), ENTRIES * 7),
        (lambda x: torch.hspmm(TRIANGLE.to_sparse(), x).to_dense(), (rows(5, 7),), ENTRIES * 7),
        (lambda x: torch.smm(TRIANGLE.to_sparse(), x).to_dense(), (rows(5, 7),), ENTRIES * 7),
        (lambda x: TRIANGLE.to_sparse() @ x, (rows(5),), ENTRIES),
        (lambda x: x @ TRIANGLE.to_sparse_csr(), (rows(7, 6),), ENTRIES * 7),
        (lambda x: F.linear(x, TRIANGLE.to_sparse_csr()), (rows(7, 5),), ENTRIES * 7),
        # blocks are stored whole: two of three 2 x 2
        (lambda x: torch.block_diag(rows(2, 2), rows(2, 2)).to_sparse_bsr((2, 2)) @ x, (rows(4, 3),), 2 * 4 * 3),
        # column k of the triangle has k + 1 entries, and so has row k of what is transposed
        (
            lambda x: torch.sparse.mm(TRIANGLE.to_sparse(), TRIANGLE.t().to_sparse()).to_dense() * x,
            (rows(6, 6),),
            sum(k * k for k in range(1, 6)),
        ),
        # for each stored place a dot product over 4
        (
            lambda x, y: torch.sparse.sampled_addmm(TRIANGLE.to_sparse_csr(), x, y).to_dense(),
            (rows(6, 4), rows(4, 5)),
            ENTRIES * 4,
        ),
        # 7 of 9 steps have a whole window of 3, for 2 sequences, 3 to 4 channels
        (torch.conv_tbc, (rows(9, 2, 3), rows(3, 3, 4), rows(4)), 7 * 2 * 4 * 3 * 3),
        pytest.param(
            lambda x, y: torch._int_mm(x, y),
            (rows(32, 16, dtype=torch.int8), rows(16, 32, dtype=torch.int8)),
            32 * 16 * 32,
            marks=needs("torch>=2.4", "integer products on a CPU"),
        ),
        (F.linear, (rows(4, 6), rows(6)), 4 * 6),
        (lambda x: torch.fft.ifft2(torch.fft.fft2(x)).real, (rows(4, 8),), 0),
    ],
)
def test_a_rule_counts_what_is_multiplied_and_added(function, inputs, macs):
    check = crosscheck.check(Function(lambda self, *args: function(*args)), *inputs, backends=("aten",))
    assert check.recommended.macs == macs


@needs("torch>=2.9", "a grouped product on a CPU")
@pytest.mark.parametrize(
    ("a", "b", "ends", "macs"),
    [
        # rows by expert: each of 8 meets one of two 16 x 32
        ((8, 16), (2, 16, 32), (3, 8), 8 * 16 * 32),
        # columns by expert: each of 8 meets one of two 32 x 16
        ((2, 32, 16), (16, 8), (3, 8), 32 * 16 * 8),
        # depth by expert: 8 in all
        ((16, 8), (8, 32), (3, 8), 16 * 8 * 32),
    ],
)
def test_a_row_meets_the_matrix_of_its_own_expert_alone(a, b, ends, macs):
    inputs = (rows(*a, dtype=torch.bfloat16), rows(*b, dtype=torch.bfloat16), torch.tensor(ends, dtype=torch.int32))
    module = Function(lambda self, x, y, offs: torch._grouped_mm(x, y, offs=offs))
    assert crosscheck.check(module, *inputs, backends=("aten",)).recommended.macs == macs


def test_a_sparse_product_says_what_a_dense_one_would_be():
    module = Function(lambda self, x: TRIANGLE.to_sparse() @ x)
    (note,) = crosscheck.check(module, rows(5, 7), backends=("aten",)).notes
    assert f"{ENTRIES * 7} MACs" in note
    assert f"{6 * 5 * 7}" in note


def test_a_fourier_transform_is_beside_the_total():
    """5 N log2 N for each of 3 rows of 16 complex points, half of it for 3 of 16 real ones."""
    module = Function(lambda self, x: (torch.fft.fft(x * 1j), torch.fft.rfft(x)))
    check = crosscheck.check(module, rows(3, 16), backends=("aten",))
    assert check.recommended.macs == 0
    assert f"{3 * 5 * 16 * 4 + 3 * 5 * 16 * 4 // 2:,} FLOPs" in check.notes[0]


@needs("torch>=2.4", "before, torch aborts the process on a jagged tensor under a dispatch mode")
@pytest.mark.parametrize("layout", [torch.strided, getattr(torch, "jagged", None)], ids=str)
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_rows_of_nested_tensors_are_all_multiplied(layout):
    """5 and 3 rows of 8 to 6."""
    nested = torch.nested.nested_tensor([rows(5, 8), rows(3, 8)], layout=layout)
    module = nn.Sequential(nn.Linear(8, 6), nn.GELU())
    assert crosscheck.check(module, nested, backends=("aten",)).recommended.macs == (5 + 3) * 8 * 6


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_products_of_nested_parts_are_refused():
    nested = torch.nested.nested_tensor([rows(2, 5, 8), rows(2, 3, 8)])
    module = Function(lambda self, x: torch.matmul(x, x.transpose(-1, -2)))
    with pytest.raises(UncountedError, match="aten::matmul"):
        crosscheck.check(module, nested)


def test_nothing_mapped_is_nothing_multiplied():
    module = Function(lambda self, x: torch.vmap(self.a)(x), a=nn.Linear(6, 5))
    check = crosscheck.check(module, rows(0, 6), backends=("deepspeed", "ptflops"))
    assert check.recommended.macs == 0
    assert {o.residual for o in check.backends.values() if isinstance(o, Counted)} == {0}


def test_a_sparse_weight_is_multiplied_as_it_is_stored():
    layer = nn.Linear(5, 6, bias=False)
    layer.weight = nn.Parameter(TRIANGLE.to_sparse())
    assert crosscheck.check(layer, rows(4, 5), backends=("aten",)).recommended.macs == ENTRIES * 4


def test_a_forward_is_called_with_what_its_signature_takes():
    """As transformers looks for ``logits_to_keep``; without it the head would read 8 tokens, not the last."""

    class Head(nn.Linear):
        def forward(self, x, last_alone=False):
            return super().forward(x[-1:] if last_alone else x)

    def generate(self, x):
        known = "last_alone" in inspect.signature(self.head.forward).parameters
        assert inspect.getfullargspec(type(self.head).forward).args == ["self", "x", "last_alone"]
        return self.head(x, **({"last_alone": True} if known else {}))

    module = Function(generate, head=Head(4, 5))
    assert crosscheck.check(module, rows(8, 4), backends=("aten",)).recommended.macs == 4 * 5
