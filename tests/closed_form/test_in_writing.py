"""The closed form in writing: exact at every size, and the polynomial under its condition alone."""

import re
import subprocess
import sys
from math import ceil, floor

import pytest
import sympy
from by_hand import flux_dev
from command import TORCH_AND_TOOLS, cli, refused
from installed import needs
from published_configs import SD21, unet_inputs
from real_models import traced_macs
from scripts import standalone_sd21
from strategies import Drawn

import crosscheck
from crosscheck.closed_form import in_writing
from crosscheck.closed_form.forms import count, inputs_of
from crosscheck.closed_form.polynomial import Abs, Floor, Least, Polynomial
from crosscheck.closed_form.sizes import Sizes
from crosscheck.errors import UsageError
from crosscheck.models import configs


def part(model, name, **asked):
    folder = configs.CATALOGUE / model
    found = in_writing.parts(configs.read(folder, model), configs.stated(folder), **asked)
    return next(p for p in found if p.name == name)


# -- polynomials -------------------------------------------------------------------------------------------------------

H, W = Polynomial.symbol("h"), Polynomial.symbol("w")


def test_arithmetic():
    assert (H + 2) * (W - 1) == H * W - H + 2 * W - 2
    assert 3 - H == H * -1 + 3
    assert (H + W) ** 2 == H * H + 2 * H * W + W * W
    assert ((H + 1) * (W + 1)).at({"h": 4, "w": 6}) == 5 * 7


def test_rounded_divisions():
    assert (4 * H + 8) // 4 == H + 2
    assert (H + 2 - 2 - 1) // 2 + 1 == (H + 1) // 2  # as a convolution of stride 2 writes it
    assert [((H - 1) // 2 + 1).at({"h": h}) for h in (1, 2, 3, 4, 5)] == [1, 1, 2, 2, 3]
    assert (H // 2).terms == {((Floor(H, 2), 1),): 1}
    assert (4 * H + 3) // 2 == 2 * H + 1


def test_minima_and_distances():
    least = (H * W - 1).least(1)
    assert [least.at({"h": h, "w": 1}) for h in (1, 2, 3)] == [0, 1, 1]
    assert [abs(H - 3).at({"h": h}) for h in (1, 3, 4)] == [2, 0, 1]
    assert (least * H).saturated() == (H, {H * W - 1: 1})
    assert isinstance(least.atoms()[-1], Least)
    assert isinstance(abs(H).atoms()[-1], Abs)


# -- formulas ----------------------------------------------------------------------------------------------------------

#: Components with all kinds of roundings.
PARTS = [
    ("sd21-base", "unet"), ("sdxl-base", "unet"), ("sd15-controlnet", "controlnet"), ("sd21-base", "vae_decoder"),
    ("flux1-dev", "transformer"), ("sd3-medium", "transformer"), ("pixart-alpha", "transformer"),
    ("dit-xl-2-256", "transformer"), ("sana-1600m", "transformer"), ("sana-1600m", "vae_decoder"),
    ("wan21-1.3b", "transformer"), ("ltx-video", "transformer"), ("cogvideox-2b", "transformer"),
]  # fmt: skip


@pytest.mark.parametrize(("model", "name"), PARTS)
@pytest.mark.parametrize("latent", [64, 65, 68, 72])
def test_the_formula_is_the_closed_form_at_every_size(model, name, latent):
    chosen = part(model, name)
    made = chosen.formula()
    square = model.startswith("dit")  # diffusers' DiT makes square images alone
    sizes = chosen.sizes._replace(height=latent, width=latent if square else latent + 4)

    exact = chosen.work(sizes).total

    assert made.at(sizes) == exact
    values = dict(zip(in_writing.SYMBOLS, sizes, strict=True))
    holds = all(values[symbol] % by == 0 for symbol, by in made.divisors.items())
    holds &= all(polynomial.at(values) >= number for polynomial, number in made.least.items())
    assert (made.polynomial.at(values) == exact) >= holds
    if latent == 65 and made.divisors.get("h", 1) > 1:
        assert not holds
        assert made.polynomial.at(values) != exact


def test_it_is_what_sympy_makes_of_the_same_closed_form():
    chosen = part("sd21-base", "unet")
    names = sympy.symbols(" ".join(in_writing.SYMBOLS), integer=True, positive=True)
    shapes = inputs_of(chosen.class_name, chosen.entry, chosen.config, Sizes(*names))
    total = count(chosen.class_name, chosen.config, chosen.entry, shapes).total
    for latent in (64, 65, 67):
        sizes = chosen.sizes._replace(height=latent)
        assert int(total.subs(dict(zip(names, sizes, strict=True)))) == chosen.formula().at(sizes)


def test_a_decoder_by_hand():
    # sd21-base's decoder: all but the mid block's attention (4,096 pixels: 2 x n x n x 512) is linear in the pixels
    made = part("sd21-base", "vae_decoder").formula()
    assert made.divisors == {}
    assert made.total == made.polynomial
    assert made.total.terms[(("b", 1), ("h", 2), ("w", 2))] == 2 * 512


# -- the command -------------------------------------------------------------------------------------------------------


def test_the_command_needs_no_torch():
    done = cli("formula", "sd21-base", "--component", "unet", without=(*TORCH_AND_TOOLS, "sympy", "numpy"))
    assert (done.returncode, done.stderr) == (0, "")
    # by tests/standalone_sd21.py, unet()
    assert "at b = 1, h = 64, w = 64, n = 77: 402,128,732,160 MACs" in done.stdout
    assert "804,257,464,320 FLOPs" in done.stdout


@pytest.mark.parametrize(("height", "width"), [(512, 512), (520, 456)])
def test_what_is_printed_can_be_evaluated(height, width):
    done = cli("formula", "sd21-base", "--component", "unet", "--height", height, "--width", width)
    written = re.search(r"  MACs = (.*)\n    with (.*)\n", done.stdout)
    names = {"ceil": ceil, "floor": floor, "b": 1, "h": height // 8, "w": width // 8, "n": 77}
    for definition in written[2].split(", "):
        name, _, value = definition.partition(" = ")
        names[name] = eval(value, {}, names)
    stated = re.search(r"n = 77: ([\d,]+) MACs", done.stdout)[1].replace(",", "")
    assert eval(written[1], {}, names) == int(stated)


def test_latex_is_given():
    """Of a text encoder, which has two terms: 23 layers of 1,024, whose feed-forward is 4,096 wide."""
    scores_and_values = 23 * 2 * 1024
    projections = 23 * (4 * 1024 * 1024 + 2 * 1024 * 4096)
    done = cli("formula", "sd21-base", "--component", "text_encoder")
    expected = rf"LaTeX: \mathrm{{MACs}} = {scores_and_values}\,b\,n^{{2}} + {projections}\,b\,n"
    assert expected in (line.strip() for line in done.stdout.splitlines())


def evaluated(latex: str, **sizes: int) -> int:
    """The value of what LaTeX says, by its signs alone."""
    code = latex.removeprefix(r"\mathrm{MACs} = ").replace(r"\,", "*")
    code = code.replace(r"\left\lfloor", "floor(").replace(r"\left\lceil", "ceil(")
    code = code.replace(r"\right\rfloor", ")").replace(r"\right\rceil", ")")
    while r"\tfrac" in code:  # the innermost first
        code, found = re.subn(r"\\tfrac\{([^{}]*)\}\{(\d+)\}", r"((\1)/\2)", code)
        assert found, code
    code = re.sub(r"\^\{(\d+)\}", r"**\1", code)
    return eval(code, {"floor": floor, "ceil": ceil}, sizes)


@pytest.mark.parametrize("sizes", [(1, 128, 128, 512), (2, 127, 65, 512), (3, 1, 2, 7)])
def test_latex_is_the_work_by_hand_at_every_size(sizes):
    """Pixels come in patches of two by two: of an odd latent a row is left over."""
    batch, height, width, text = sizes
    latex = in_writing.latex(part("flux1-dev", "transformer").formula())
    by_hand = sum(flux_dev((height // 2) * (width // 2), text, batch).values())
    assert evaluated(latex, b=batch, h=height, w=width, n=text) == by_hand


@pytest.mark.parametrize("side", [8, 64, 128])
def test_latex_of_roundings_within_roundings(side):
    latex = in_writing.latex(part("sd21-base", "unet").formula())
    assert evaluated(latex, b=1, h=side, w=side, n=77) == standalone_sd21.unet(side)
    # three convolutions of stride 2, each over half as many pixels rounded up: the real class says how many
    odd = Drawn("UNet2DConditionModel", SD21, "forward", unet_inputs(side + 1, 1024))
    assert evaluated(latex, b=1, h=side + 1, w=side + 1, n=77) == sum(traced_macs(odd).values())


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("sd21-bas",), "unknown model 'sd21-bas'; did you mean 'sd21-base'?"),
        (("sd21-base", "--component", "unett"), "allowed: text_encoder, unet, vae_decoder, vae_encoder"),
        (("sd21-base", "--height", "515"), "height: got 515; allowed: a multiple of 8"),
        (("sd21-base", "--height", "0"), "height: got 0"),
        (("sd21-base", "--width", "-8"), "width: got -8"),
        (("sd21-base", "--tokens", "78"), "78 tokens are more than max_position_embeddings=77"),
    ],
)
def test_bad_input_is_one_line(args, message):
    assert message in refused(cli("formula", *args))


def test_no_library_is_imported():
    code = (
        "import sys; import crosscheck.closed_form.in_writing; "
        "print({'torch', 'sympy', 'numpy', 'diffusers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@needs("diffusers>=0.42", "the classes that the newest release has")
@pytest.mark.parametrize("model", ["flux1-schnell", "sd3-medium", "wan21-1.3b", "ltx-video"])
def test_a_size_that_the_pipeline_refuses_has_no_formula(model):
    """Half of what the pipeline allows: whole latents, but not whole patches of them."""
    folder = configs.CATALOGUE / model
    config = configs.read(folder, model)
    multiple = in_writing._MULTIPLES[config.class_name]
    height = 512 + multiple // 2
    with pytest.raises(UsageError, match=r"rejects this call: .|would take another size: ."):
        crosscheck.check_pipeline(model, backends=(), height=height)
    with pytest.raises(UsageError, match=f"got {height}; allowed: a multiple of {multiple} "):
        in_writing.parts(config, configs.stated(folder), height=height)
