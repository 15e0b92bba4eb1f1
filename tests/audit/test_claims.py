"""Published numbers are audited: digits are matched exactly, chance is stated, bad files are refused by line."""

import json
import math
import re

import pytest
import sample
from by_hand import flux_dev, flux_dev_elementwise
from command import TORCH_AND_TOOLS, cli, refused, tells
from msgspec import structs
from places import REPORTS

from crosscheck import ledger
from crosscheck.audit import conventions, verdicts
from crosscheck.audit.published import published
from crosscheck.audit.records import Accuracy, Claim, Overhead
from crosscheck.errors import ConfigError, UsageError
from crosscheck.models import configs
from crosscheck.records import Term
from crosscheck.report.pages import claims as page


def run(model):
    return ledger.load(REPORTS / f"{model}.json")


def claim(value, unit, component="unet", model="sd21-base", **workload):
    return Claim(name="a claim", model=model, component=component, value=value, unit=unit, source="here", **workload)


def audited(value, unit, component="unet", model="sd21-base", **workload):
    return verdicts.audit(claim(value, unit, component, model, **workload), run(model))


# -- what a number means -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "unit", "component", "model", "convention", "exact"),
    [
        ("402128732160", "MACs", "unet", "sd21-base", "as recommended", 402_128_732_160),
        ("804.257464320", "GFLOPs", "unet", "sd21-base", "as recommended", 804_257_464_320),
        ("402.128732160", "GFLOPs", "unet", "sd21-base", "MACs called FLOPs", 402_128_732_160),
        # 402,128,732,160 / 2^30 = 374.5115...
        ("374.512", "GMACs", "unet", "sd21-base", "binary prefix", 402_128_732_160),
        ("12465990696960", "MACs", "unet", "sd21-base", "all 31 calls", 31 * 402_128_732_160),
        ("865.910724", "M params", "unet", "sd21-base", "as recommended", 865_910_724),
        ("865.910724", "MMACs", "unet", "sd21-base", "parameters instead", 865_910_724),
        # published: BK-SDM repository, issue 53
        ("338749194240", "MACs", "unet", "sd15", "as thop-plain counts", 338_749_194_240),
        ("6545882112", "MACs", "text_encoder", "sd15", "as thop-plain counts", 6_545_882_112),
        # thop's too, which counts nothing else there; 4 x 4 channels, 64 x 64 pixels are 65,536 MACs less
        ("1240079532032", "MACs", "vae_decoder", "sd15", "without attention, without post_quant_conv",
         1_240_079_597_568 - 65_536),
        # 256 tokens of 1,152: in each of 28 blocks 12 squares a token, attention, 7 squares and 256 x 1,152 of the
        # time's embedding; patches of 2 x 2 x 4 in and 2 x 2 x 8 out; last 3 squares and 256 x 1,152
        ("119", "Gflops", "transformer", "dit-xl-2-256", "MACs called FLOPs", 118_666_838_016),
        ("26234368094208", "MACs", "generation", "sd21-base", "as recommended", 26_234_368_094_208),
        # 30 x 804,257,464,320 + 2 x 22,563,616,768 + 1,257,259,466,752
        ("25430110629888", "MACs", "generation", "sd21-base", "30 calls for 31", 25_430_110_629_888),
        ("24977108627456", "MACs", "generation", "sd21-base", "without vae_decoder",
         26_234_368_094_208 - 1_257_259_466_752),
    ],
)  # fmt: skip
def test_the_simplest_convention_that_prints_the_digits_is_found(value, unit, component, model, convention, exact):
    outcome = audited(value, unit, component, model)
    assert (outcome.verdict, outcome.convention, outcome.exact) == ("reproduced", convention, exact)


def test_two_that_are_equally_simple_are_ambiguous():
    outcome = audited("339", "GMACs")
    others = {verdicts.convention_text(fit.convention): fit.exact for fit in outcome.others} | {
        outcome.convention: outcome.exact
    }
    assert outcome.verdict == "ambiguous"
    twice = audited("804257464320", "MACs")  # two FLOPs a MAC, or a call at batch 2: the same number
    assert twice.verdict == "ambiguous"
    assert {twice.convention, *(verdicts.convention_text(fit.convention) for fit in twice.others)} >= {
        "both guidance branches",
        "FLOPs called MACs",
    }
    assert others["without attention"] == 402_128_732_160 - 63_026_135_040
    # with four an element of LayerNorm, three in each block of attention
    norms = 4 * 3 * (5 * 320 * 4096 + 5 * 640 * 1024 + 5 * 1280 * 256 + 1280 * 64)
    assert others["as thop-plain counts"] == 402_128_732_160 - 63_026_135_040 + norms == 339_241_205_760


def test_a_number_that_is_near_is_not_explained():
    outcome = audited("402.2", "GMACs", model="sd21-base")
    assert outcome.verdict in ("reproduced", "ambiguous")  # 402.2 is what some counter prints
    outcome = audited("401.9", "GMACs")
    assert outcome.verdict == "near"
    assert outcome.distance == outcome.exact - 401_900_000_000 != 0


def test_a_number_that_nothing_comes_near_is_refuted():
    for value, component in (("6.148", "text_encoder"), ("49.432", "vae_decoder"), ("10232.300", "generation")):
        outcome = audited(value, "GMACs", component)
        assert (outcome.verdict, outcome.exact, outcome.convention) == ("refuted", None, "")
        assert outcome.recommended


def test_the_guide_of_the_same_profiler_is_taken_apart():
    """thop's UNet, the N x N rule of both passes in each, 30 calls, VAE and text by thop: 36,453 GMACs."""
    outcome = audited("36.453", "TFLOPs", "generation", steps=30)
    # UNet 2 x (339,241,205,760 + 2 x 123,451,637,760) a step, x 30; thop's VAE; thop's text encoder, twice.
    # N x N: self-attention 2 x (5 x 320 x 4096^2 + 5 x 640 x 1024^2 + 5 x 1280 x 256^2 + 1280 x 64^2) = 61,247,324,160,
    # as much again for cross-attention, and softmax of both, a MAC a score where heads are 64 wide:
    # 2 x 61,247,324,160 + 61,247,324,160 / 64 = 123,451,637,760
    by_hand = 30 * 2 * (339_241_205_760 + 2 * 123_451_637_760) + 1_240_079_597_568 + 2 * 22_299_160_576
    assert by_hand in {outcome.exact, *(fit.exact for fit in outcome.others)}
    assert "attention of both branches in each" in outcome.convention
    # one change after the other: what a counter misses, N x N once and once more, elsewhere not, a call, the unit
    plain = 31 * 2 * 339_241_205_760 + 1_240_079_597_568 + 2 * 22_299_160_576
    square = 123_451_637_760
    assert (outcome.steps[0].convention, outcome.steps[0].exact) == (("as thop-plain counts",), 2 * plain)
    assert outcome.steps[-1].exact == outcome.exact
    assert outcome.steps[-2].exact == 2 * outcome.exact == 2 * by_hand
    assert outcome.steps[-3].exact == 2 * (plain + 31 * 2 * 2 * square)


def test_a_claim_that_names_its_counter_is_held_against_no_other():
    # thop's UNet and N x N of both passes in it, both guidance branches: 2 x (339,241,205,760 + 2 x 123,451,637,760)
    by_hand = 2 * (339_241_205_760 + 2 * 123_451_637_760)
    named, free = (audited("1,172.3", "GMACs", counter=counter) for counter in ("thop-plain", None))
    assert by_hand in {named.exact, *(fit.exact for fit in named.others)}
    assert named.convention.startswith("as thop-plain counts")
    assert all(fit.convention[0] == "as thop-plain counts" for fit in named.others)
    assert named.space < free.space
    # that of a whole generation, to the last MAC: VAE and text encoders have no branches, so thop's own
    whole = audited("36.453", "TFLOPs", "generation", counter="thop-plain")
    assert (whole.verdict, whole.exact) == (
        "reproduced",
        30 * by_hand + 1_240_079_597_568 + 2 * 22_299_160_576,
    )
    # each row of its bridge is what its words say: 62 forwards, 2 FLOPs a MAC, and what a forward's change is made of
    changes = {step.convention[0]: step for step in whole.steps}
    (doubled,) = (step for name, step in changes.items() if name == "attention of both branches in each")
    assert {part.cause: part.macs for part in doubled.parts} == {
        "attention": 62 * 2 * 63_026_135_040,
        # cross-attention in the UNet, N_q x N_q instead of N_q x 77: 61,247,324,160 for the rest of 63,026,135,040
        "N_q x N_q instead of N_q x N_kv": 62 * 2 * 59_468_513_280,
        "softmax as MACs": 62 * 2 * (123_451_637_760 - 63_026_135_040 - 59_468_513_280),
    }
    assert {part.cause for part in whole.steps[0].parts} == {"attention-not-counted", "thop-layernorm-4"}
    with pytest.raises(UsageError, match=r"no numbers of counter 'thopp'; there are those of: .*thop-plain"):
        audited("1", "GMACs", counter="thopp")


# Stable Diffusion XL's UNet at 128 x 128. 3,380,618,199,040 is published; of attention there are ten blocks 640 wide
# over 64 x 64 and sixty 1,280 wide over 32 x 32, over themselves and over 77 tokens.
BLOCKS = ((10, 640, 64 * 64), (60, 1280, 32 * 32))
SDXL_WITHOUT_ATTENTION = 3_380_618_199_040 - sum(n * 2 * width * tokens * (tokens + 77) for n, width, tokens in BLOCKS)
# torchprofile charges a norm an element: three in each block; one before each of the 5 and 6 groups of blocks; two in
# each resnet, over what comes in and what goes out, and the last: channels over 128 x 128, 64 x 64 and 32 x 32
SDXL_NORMS = (
    sum(n * 3 * width * tokens for n, width, tokens in BLOCKS)
    + 5 * 640 * 64 * 64
    + 6 * 1280 * 32 * 32
    + (4 * 320 + (960 + 640 + 640 + 3 * 320) + 320) * 128 * 128
    + ((320 + 3 * 640) + (1920 + 1280 + 960 + 3 * 640)) * 64 * 64
    + ((640 + 3 * 1280) + 4 * 1280 + (2560 + 2560 + 1920 + 3 * 1280)) * 32 * 32
)
# a gate in each block, four times as wide; frequencies, times a number and scaled: 160 of one time, 128 of six sizes
SDXL_ELEMENTWISE = sum(n * 4 * width * tokens for n, width, tokens in BLOCKS) + 3 * 160 + (1 + 6 + 6) * 128
# and products of two sizes: heads and their width in 140 attentions, height and width in the 11 groups of blocks


@pytest.mark.parametrize(
    ("value", "unit", "component", "model", "exact"),
    [
        # published: diffusers benchmarks, by a torchprofile that sees no attention: linear layers, each element of an
        # elementwise product, and six products of two sizes (of cosine and sine in three axes); no outer product
        ("59523.04", "GFLOPs", "transformer", "flux1-dev",
         2 * (flux_dev(4096, 512)["linear"] + flux_dev_elementwise(4096, 512) + 6)),
        ("5979.1", "GFLOPs", "unet", "sdxl-base", 2 * (SDXL_WITHOUT_ATTENTION + SDXL_NORMS + SDXL_ELEMENTWISE + 151)),
    ],
)  # fmt: skip
def test_a_counter_without_its_attention_is_a_convention(value, unit, component, model, exact):
    outcome = audited(value, unit, component, model)
    assert (outcome.convention, outcome.exact) == ("as torchprofile counts, without attention", exact)
    assert outcome.habits["leave out attention"]


def test_parameters_of_the_half_that_runs():
    # a VAE's decoder and its post_quant_conv: 4 x 4 weights and 4 biases, of 49,490,179 and 20
    assert audited("49490199", "params", "vae_decoder", "sd15").convention == "what runs"
    assert audited("49490179", "params", "vae_decoder", "sd15").convention == "what runs, without post_quant_conv"
    assert audited("83653863", "params", "vae_decoder", "sd15").convention == "as recommended"


def test_of_near_numbers_the_simplest_is_named():
    outcome = audited("339.224", "GMACs")
    assert (outcome.verdict, outcome.convention, outcome.exact) == ("near", "as thop-plain counts", 339_241_205_760)
    assert outcome.distance == 17_205_760  # 339,241,205,760 - 339,224,000,000
    # two are as simple as what it counts: that, and the parameters, which are in another decade
    near = audited("402.2", "GMACs", counter="flop_counter")
    assert (near.verdict, near.simple) == ("near", 2)
    # within 0.1 % of one number is a share of the decade of about 0.002 / ln(10)
    assert near.chance == pytest.approx(0.002 / math.log(10), rel=0.01)


def test_habits_are_those_that_the_simplest_conventions_share():
    attention, flops, guidance = conventions.HABITS
    assert audited("119", "Gflops", "transformer", "dit-xl-2-256").habits == {attention: False, flops: True}
    assert audited("339", "GMACs").habits == {attention: True}
    # one branch of 31 calls, and all else: 31 x 402,128,732,160 + 22,563,616,768 + 1,257,259,466,752
    alone = audited(str(31 * 402_128_732_160 + 22_563_616_768 + 1_257_259_466_752), "MACs", "generation")
    assert alone.habits == {attention: False, guidance: True}
    assert audited("26234368094208", "MACs", "generation").habits == {attention: False, guidance: False}
    rows = page.habits([alone, audited("119", "Gflops", "transformer", "dit-xl-2-256"), audited("339.224", "GMACs")])
    assert [[cell.strip() for cell in row.strip("|").split("|")] for row in rows.splitlines()[2:]] == [
        [attention, "0 of 2", "1 of 1"],
        [flops, "1 of 1", "can't be told of any"],
        [guidance, "1 of 1", "can't be told of any"],
    ]


def test_a_likely_hit_is_said_to_be_no_evidence():
    assert "no evidence" in page.markdown([audited("1.2", "TMACs")])
    assert "no evidence" not in page.markdown([audited("338749194240", "MACs", model="sd15")])


# -- what is claimed of counters ---------------------------------------------------------------------------------------


def test_accuracy_on_attention_is_held_against_every_component():
    accuracy = Accuracy(name="mine", counter="thop-query-only", than="calflops", source="here")
    weighed = verdicts.weigh(accuracy, [run("sd21-base")])
    unet, encoder = (next(c for c in weighed.components if c.component == name) for name in ("unet", "text_encoder"))
    # N x N of the queries and softmax as 123,451,637,760; calflops sees none of the 63,026,135,040
    assert (unet.attention, unet.off, unet.than) == (63_026_135_040, 60_425_502_720, -63_026_135_040)
    # self-attention alone: only softmax is too many, 23 layers x 16 heads x 77 x 77
    assert (encoder.off, encoder.than) == (2_181_872, -encoder.attention)
    text = page.markdown([], [weighed])
    assert "Holds: closer than calflops on 3 of 3 components" in text
    alone = verdicts.weigh(structs.replace(accuracy, than=None), [run("sd21-base")])
    # 60,425,502,720 / 63,026,135,040 = 95.87 %
    assert "Does not hold: off by 0.10 % of it on sd21-base's vae&#95;decoder" in page.markdown([], [alone]).replace(
        "vae_decoder", "vae&#95;decoder"
    )
    assert "to 95.87 % of it on sd21-base's unet; right on 0 of 3 components" in page.markdown([], [alone])
    with pytest.raises(UsageError, match="no ledger has numbers of nothing and calflops; give one that has"):
        verdicts.weigh(structs.replace(accuracy, counter="nothing"), [run("sd21-base")])


def test_overhead_is_told_in_medians():
    overhead = Overhead(
        name="mine", counter="thop", what="a laptop", plain=(10, 12, 11), counted=(11, 12, 22), source="x"
    )
    # medians 11 and 12; ratios 1.1, 1 and 2
    assert "1.09 x a forward by itself (12 s and 11 s, medians of 3 in turn; 1.00 to 2.00 x)" in page.markdown(
        [], [], [overhead]
    )


def test_digits_are_rounded_as_printed():
    number = published(claim("339.2", "GMACs"))
    assert number.prints(339_249_999_999)
    assert number.prints(339_150_000_001)
    assert not number.prints(339_250_000_001)
    assert published(claim("1,258", "GMACs")).prints(1_257_500_000_001)


def test_the_chance_of_a_hit_is_the_share_of_its_decade_that_is_covered():
    number = published(claim("100", "GMACs"))
    # of [31.6, 316] G, one number covers 0.5 G on each side of 100 G, two of 100 G no more, 5,000 G none
    once = math.log(100.5 / 99.5) / math.log(10)
    assert number.chance([100 * 10**9]) == pytest.approx(once)
    assert number.chance([100 * 10**9, 100 * 10**9 + 1, 5_000 * 10**9]) == pytest.approx(once)
    assert audited("402", "GMACs").chance > audited("402.129", "GMACs").chance > 0


@pytest.mark.parametrize(
    ("unit", "kind", "power"),
    [
        ("GFLOPs", "flops", 3), ("Gflops", "flops", 3), ("TFLOPS", "flops", 4), ("MACs", "macs", 0),
        ("GMAC", "macs", 3), ("G", "", 3), ("M params", "params", 2), ("B params", "params", 3), ("GMAdds", "macs", 3),
    ],
)  # fmt: skip
def test_units_are_read_as_they_are_printed(unit, kind, power):
    assert published(claim("1", unit)).unit == (kind, power)


# -- files -------------------------------------------------------------------------------------------------------------

GOOD = """\
[[claim]]
name = "a"
model = "sd21-base"
component = "unet"
value = "339.224"
unit = "GMACs"
source = "here"

[[claim]]
name = "b"
model = "sd21-base"
component = "unet"
value = "402.129"
unit = "GMACs"
source = "there"
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('value = "402.129"', "value = 402.129", "claims.toml:13: [...]; write it in quotes, as it is printed; "),
        ('value = "402.129"', 'value = "1e999"', "claims.toml:13: value: got '1e999'; allowed: a number as printed"),
        ('value = "402.129"', 'value = "1,2"', "claims.toml:13: value: got '1,2'; allowed: a number as printed"),
        ('value = "402.129"', 'value = "402.129"\nsteps = 0', "claims.toml:14: [...]steps[...]; a claim has: "),
        ('value = "402.129"', 'value = "402.129"\nguidance_scale = nan',
         "claims.toml:14: [...]guidance_scale[...]; a claim has: "),
        (
            'component = "unet"\nvalue = "402.129"',
            'component = "generation"\nvalue = "402.129"\ncalls = 2',
            "claims.toml:14: calls: got 2; allowed: with a component alone",
        ),
        ('value = "402.129"', 'value = "many"', "claims.toml:13: value: got 'many'; allowed: a number as printed"),
        ('"GMACs"\nsource = "there"', '"GB"\nsource = "there"', "claims.toml:14: unit: got 'GB'; allowed"),
        ('model = "sd21-base"\ncomponent = "unet"\nvalue = "402.129"', 'value = "1"',
         "claims.toml:9: [...]model[...]; a claim has: "),
        ('name = "b"', 'nam = "b"', "claims.toml:10: [...]`nam`[...]; a claim has: name, model, "),
        ('name = "b"', "name = b", "claims.toml:10: [...]; a claim has: name, model, "),
        (
            GOOD,
            '[[overhead]]\nname = "a"\ncounter = "b"\nwhat = "c"\nsource = "d"\nplain = [1.0, 2.0]\ncounted = [3.0]\n',
            "claims.toml:7: counted: got 1 times; allowed: one for each of plain's",
        ),
        (GOOD, "", "claims.toml: holds no claim; write a [[claim]] with: name, model"),
        (GOOD, '[[accuracy]]\nname = "a"\n', "claims.toml:1: [...]counter[...]; a claim has: name, model, "),
    ],
)  # fmt: skip
def test_a_malformed_claim_is_named_by_file_line_and_field(old, new, message, tmp_path):
    file = tmp_path / "claims.toml"
    file.write_text(GOOD.replace(old, new))
    with pytest.raises(ConfigError, match=r"claims\.toml") as error:
        verdicts.load(file)
    assert tells(str(error.value), message)
    assert "\n" not in str(error.value)


def test_the_command_prints_what_the_contract_says_without_torch(tmp_path):
    file = tmp_path / "claims.toml"
    file.write_text(GOOD)
    done = cli("audit", file, "--format", "json", "--ledger", REPORTS / "sd21-base.json", "-o", tmp_path,
               without=TORCH_AND_TOOLS)  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, second = json.loads(done.stdout)["claims"]
    assert {"name", "verdict", "convention", "published", "exact", "recommended"} <= first.keys() & second.keys()
    assert (second["verdict"], second["exact"], second["recommended"]) == (
        "reproduced",
        402_128_732_160,
        402_128_732_160,
    )
    assert (first["verdict"], first["published"]) == ("near", "339.224 GMACs")
    assert "402,128,732,160" in (tmp_path / "claims.md").read_text()


def test_a_refuted_claim_ends_with_status_1(tmp_path):
    file = tmp_path / "claims.toml"
    file.write_text(GOOD.replace("402.129", "6.148"))
    done = cli("audit", file, "--ledger", REPORTS / "sd21-base.json")
    assert done.returncode == 1
    assert "1 refuted" in done.stderr


def test_code_runs_only_where_it_is_allowed(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import torch\n\ndef block():\n    with torch.device('meta'):\n"
        "        return torch.nn.Linear(30, 40), torch.empty(5, 30)\n"
    )
    file = tmp_path / "claims.toml"
    wanted = GOOD.partition("\n\n")[0].replace("sd21-base", "mine:block").replace("unet", "forward")
    file.write_text(wanted.replace("339.224", "6000").replace("GMACs", "MACs"))
    assert "model 'mine:block' is code, which runs only with --allow-code" in refused(cli("audit", file))
    done = cli("audit", file, "--allow-code", "--format", "json", paths=[tmp_path])
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["claims"][0]["verdict"] == "reproduced"  # 5 x 30 x 40
    file.write_text(file.read_text().replace("mine:block", "mine:none"))
    assert "mine:none can't be called: AttributeError" in refused(cli("audit", file, "--allow-code", paths=[tmp_path]))


def test_a_component_that_there_is_not_is_one_line(tmp_path):
    file = tmp_path / "claims.toml"
    file.write_text(GOOD.replace('"unet"', '"vae"'))
    assert "no component 'vae'" in refused(cli("audit", file, "--ledger", REPORTS / "sd21-base.json"))


def test_hostile_claims_harm_no_page():
    hostile = structs.replace(
        audited("402", "GMACs"),
        name=sample.HOSTILE,
        model=sample.HOSTILE,
        source=sample.HOSTILE,
        published=sample.HOSTILE,
    )
    assert "<script" not in page.markdown([hostile])


def test_the_shipped_claims_are_audited_as_committed(monkeypatch):
    monkeypatch.syspath_prepend(REPORTS)  # where vision_models.py is
    shipped = verdicts.load(REPORTS / "claims.toml")
    # first the models' own workloads, then others
    ledgers = [ledger.load(path) for folder in (REPORTS, REPORTS / "claims") for path in ledger.runs(folder)]
    assert [one.model for one in ledgers][: len(configs.catalogue())] == list(configs.catalogue())
    found, weighed = verdicts.audit_all(shipped, ledgers, allow_code=True)
    assert page.markdown(found, weighed, shipped.overhead) == (REPORTS / "claims.md").read_text()
    readme = (REPORTS.parent / "README.md").read_text()
    assert f"<!-- claims -->\n{page.habits(found)}\n<!-- /claims -->" in readme
    # as the front page says: most leave out attention and call MACs FLOPs
    shares = re.findall(r"\| (?:leave out attention|call MACs FLOPs) +\| +(\d+) of (\d+) ", page.habits(found))
    assert len(shares) == 2
    assert all(2 * int(some) > int(every) for some, every in shares)


def test_a_forward_depends_on_sizes_and_guidance_and_a_generation_on_all():
    ledger = run("sd21-base")  # 512 x 512, 30 steps, guidance 7.5
    assert verdicts._holds(ledger, claim("1", "MACs", steps=25, height=512))
    assert not verdicts._holds(ledger, claim("1", "MACs", guidance_scale=1.0))
    assert not verdicts._holds(ledger, claim("1", "MACs", "generation", batch_size=2))
    # with another scheduler than the ledger's, its 31 calls are not the claim's
    assert audited(str(31 * 402_128_732_160), "MACs").convention == "all 31 calls"
    assert audited(str(31 * 402_128_732_160), "MACs", scheduler="DDIMScheduler").convention != "all 31 calls"
    assert not verdicts._holds(ledger, claim("1", "MACs", height=768))
    assert not verdicts._holds(ledger, claim("1", "MACs", "generation", steps=25))
    assert verdicts._holds(ledger, claim("1", "MACs", "generation", steps=30))
    # 25 calls, whatever the ledger has
    outcome = audited(str(25 * 402_128_732_160), "MACs", steps=25)
    assert (outcome.verdict, outcome.convention) == ("reproduced", "times 25 steps")


def test_what_a_counter_counts_depends_on_the_releases_that_counted(monkeypatch):
    """A cause that holds in one release only, worth 7, of one and the same component."""
    run = ledger.load(REPORTS / "sd21-base.json")
    unet = run.component("unet")
    monkeypatch.setattr(
        conventions.causes,
        "explain",
        lambda backend, releases, rest: [Term(cause="x", macs=7)] * (releases["torch"] == "2"),
    )
    without = {
        torch: {aside for _, _, aside in conventions.counters(unet, structs.replace(run, environment={"torch": torch}))}
        for torch in ("1", "2")
    }
    assert without == {"1": {402_128_732_160 - 63_026_135_040}, "2": {402_128_732_160 - 63_026_135_040 + 7}}
