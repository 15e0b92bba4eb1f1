"""The two references share no arithmetic, and follow one table of conventions."""

import subprocess
import sys

import pytest
import torch
from installed import COUNTING
from modules import Function
from torch import nn

import crosscheck
from crosscheck.closed_form import arithmetic

pytestmark = pytest.mark.releases

LOADED = """
import sys, {module}
print(*sorted(name for name in sys.modules if name.startswith("crosscheck")))
"""


def loaded_by(module):
    script = LOADED.format(module=module)
    return set(
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    )


def test_closed_forms_and_trace_share_only_records_and_the_interface():
    shared = loaded_by("crosscheck.backends.analytic") & loaded_by("crosscheck.backends.aten")

    records = {name for name in shared if name.startswith("crosscheck.records")}
    assert shared - records == {
        "crosscheck",
        "crosscheck.backends",
        "crosscheck.case",
        "crosscheck.errors",
        "crosscheck.hints",
    }


def traced(function, *inputs):
    return crosscheck.check(Function(lambda self, *args: function(*args)), *inputs, backends=()).recommended.by_op


def test_outer_products_and_bilinear_layers_follow_the_table():
    assert traced(torch.outer, torch.ones(5), torch.ones(7))["matmul"] == arithmetic.outer(5, 7)
    module = nn.Bilinear(8, 6, 5)
    macs = crosscheck.check(module, torch.ones(4, 8), torch.ones(4, 6), backends=()).recommended.macs
    assert macs == arithmetic.bilinear(4, 8, 6, 5)


@pytest.mark.parametrize(("dtype", "complex_operands"), [(torch.float32, 0), (torch.complex64, 2)])
def test_complex_numbers_follow_the_table(dtype, complex_operands):
    a, b = torch.ones(3, 4, dtype=dtype), torch.ones(4, 5, dtype=dtype)

    assert traced(torch.mm, a, b)["matmul"] == arithmetic.real_macs(3 * 4 * 5, complex_operands)


def test_half_precision_counts_alike():
    module = nn.Sequential(nn.Conv2d(4, 8, 3), nn.Flatten(), nn.Linear(8 * 36, 5)).to(torch.bfloat16)

    check = crosscheck.check(module, torch.ones(2, 4, 8, 8, dtype=torch.bfloat16))

    # the convolution's 6 x 6 outputs, then the linear layer, for two images
    assert check.recommended.macs == 2 * (8 * 36 * 4 * 9 + 8 * 36 * 5)
    assert {check[name].gap for name in COUNTING[1:]} == {0}
