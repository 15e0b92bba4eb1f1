"""A ledger of Stable Diffusion 2.1-base as it was really measured, written down by hand."""

from __future__ import annotations

from crosscheck.records import (
    SCHEMA,
    AttentionRow,
    Census,
    Component,
    Counted,
    Failed,
    Generation,
    GenerationCase,
    GenerationComponent,
    Ledger,
    ModuleRow,
    OpRow,
    Outcome,
    Recommended,
    Skipped,
    TensorSpec,
    Term,
    Workload,
)

VERSIONS = {
    "analytic": "0.1.0",
    "aten": "0.1.0",
    "thop": "0.1.1.post2209072238",
    "thop-plain": "0.1.1.post2209072238",
    "thop-query-only": "0.1.1.post2209072238",
    "fvcore": "0.1.5.post20221221",
    "fvcore-plain": "0.1.5.post20221221",
    "flop_counter": "2.13.0+cpu",
}
ENVIRONMENT = {
    "python": "3.11.7",
    "torch": "2.13.0+cpu",
    "diffusers": "0.42.1",
    "transformers": "5.23.0",
    "thop": "0.1.1.post2209072238",
    "fvcore": "0.1.5.post20221221",
    "device": "meta",
}
UNSEEN = {"aten::scaled_dot_product_attention": 32, "aten::silu": 66, "aten::add": 88, "aten::gelu": 16}


def counted(reference: int, backend: str, uncounted: dict[str, int] | None = None, **terms: int) -> Counted:
    """An outcome that ``terms`` explain fully; their names have ``_`` for ``-``."""
    found = tuple(Term(cause=cause.replace("_", "-"), macs=macs) for cause, macs in terms.items() if macs)
    gap = sum(term.macs for term in found)
    return Counted(
        version=VERSIONS[backend],
        macs=reference + gap,
        seconds=0.123456,
        uncounted=uncounted or {},
        gap=gap,
        terms=found,
        residual=0,
    )


def backends(
    reference: int,
    attention: int,
    *,
    layernorm: int = 0,
    groupnorm: int = 0,
    upsample: int = 0,
    padding: int = 0,
    softmax: int = 0,
) -> dict[str, Outcome]:
    """All eight, from the elements of the norms and upsamplings and the MACs of the attention rules."""
    thop = {"thop_layernorm_4": 4 * layernorm}
    fvcore = {
        "fvcore_groupnorm_5": 5 * groupnorm,
        "fvcore_layernorm_5": 5 * layernorm,
        "fvcore_upsample": upsample,
    }
    missing = {"attention_not_counted": -attention}
    query_only = {"query_only_n_by_n": padding, "softmax_as_macs": softmax}
    return {
        "analytic": counted(reference, "analytic"),
        "aten": counted(reference, "aten"),
        "thop": counted(reference, "thop", **thop),
        "thop-plain": counted(reference, "thop-plain", **thop, **missing),
        "thop-query-only": counted(reference, "thop-query-only", **thop, **query_only),
        "fvcore": counted(reference, "fvcore", **fvcore),
        "fvcore-plain": counted(reference, "fvcore-plain", UNSEEN, **fvcore, **missing),
        "flop_counter": counted(reference, "flop_counter"),
    }


def census() -> Census:
    """A small one, of the right form."""
    module = ModuleRow(
        class_name="torch.nn.modules.linear.Linear",
        paths=(("down.0.to_q",), ("down.1.to_q",)),
        params=102_400,
        training=False,
        leaf=True,
        calls=1,
    )
    op = OpRow(
        op="linear",
        aten="mm",
        shapes=((4096, 320), (320, 320)),
        out=(4096, 320),
        dtype="float32",
        function="linear",
        module=0,
        grad=False,
        count=2,
        macs=838_860_800,
    )
    call = AttentionRow(
        query=(1, 5, 4096, 64),
        key=(1, 5, 77, 64),
        value=(1, 5, 77, 64),
        is_causal=False,
        masked=False,
        dtype="float32",
        module=0,
        count=5,
        macs=1_009_254_400,
        causal_macs=1_009_254_400,
        query_only_macs=54_106_521_600,
    )
    return Census(modules=(module,), ops=(op,), attention=(call,))


def unet() -> Component:
    by_op = {"conv": 209_180_426_240, "linear": 129_922_170_880, "attention": 63_026_135_040, "matmul": 0}
    return Component(
        name="unet",
        class_name="UNet2DConditionModel",
        params=865_910_724,
        inputs=(
            TensorSpec(name="sample", shape=(1, 4, 64, 64), dtype="float32"),
            TensorSpec(name="timestep", shape=(), dtype="int64"),
            TensorSpec(name="encoder_hidden_states", shape=(1, 77, 1024), dtype="float32"),
        ),
        recommended=Recommended.from_ops("confirmed", by_op),
        backends=backends(
            402_128_732_160,
            63_026_135_040,
            layernorm=34_652_160,
            groupnorm=45_056_000,
            upsample=4_259_840,
            padding=59_468_513_280,
            softmax=956_989_440,
        ),
        other_ops={"softmax": 478_494_720, "norm": 79_708_160, "activation": 95_000_000, "resample": 4_259_840},
        notes=("the checkpoint's class predicts noise; the counts do not depend on it",),
        census=census(),
    )


def vae_decoder() -> Component:
    by_op = {"conv": 1_235_784_630_272, "linear": 4_294_967_296, "attention": 17_179_869_184, "matmul": 0}
    return Component(
        name="vae_decoder",
        class_name="AutoencoderKL",
        entry="decode",
        params=49_490_199,
        inputs=(TensorSpec(name="z", shape=(1, 4, 64, 64), dtype="float32"),),
        recommended=Recommended.from_ops("confirmed", by_op),
        backends=backends(
            1_257_259_466_752,
            17_179_869_184,
            groupnorm=459_276_288,
            upsample=109_051_904,
            softmax=16_777_216,
        ),
        other_ops={"softmax": 16_777_216, "norm": 459_276_288, "resample": 109_051_904},
    )


def text_encoder() -> Component:
    by_op = {"conv": 0, "linear": 22_284_337_152, "attention": 279_279_616, "matmul": 0}
    return Component(
        name="text_encoder",
        class_name="CLIPTextModel",
        params=340_387_840,
        inputs=(TensorSpec(name="input_ids", shape=(1, 77), dtype="int64"),),
        recommended=Recommended.from_ops("confirmed", by_op, causal_saving=137_826_304),
        backends=backends(22_563_616_768, 279_279_616, layernorm=3_705_856, softmax=2_181_872),
        other_ops={"softmax": 2_181_872, "norm": 3_705_856, "embedding": 157_696},
    )


def part(name: str, calls: int, batch: int, macs: int, inputs: tuple[TensorSpec, ...] = ()) -> GenerationComponent:
    """All calls of a component, with one distinct input; ``macs`` of one call."""
    case = GenerationCase(inputs=inputs, calls=calls, batch_size=batch, macs=macs, analytic=macs, aten=macs)
    return GenerationComponent(name=name, calls=calls, batch_size=batch, macs=calls * macs, cases=(case,))


def generation() -> Generation:
    parts = (
        part("text_encoder", 2, 1, 22_563_616_768),
        part("unet", 31, 2, 804_257_464_320),
        part("vae_decoder", 1, 1, 1_257_259_466_752),
    )
    by_op = {
        "conv": 62 * 209_180_426_240 + 1_235_784_630_272,
        "linear": 62 * 129_922_170_880 + 4_294_967_296 + 2 * 22_284_337_152,
        "attention": 62 * 63_026_135_040 + 17_179_869_184 + 2 * 279_279_616,
        "matmul": 0,
    }
    return Generation(components=parts, recommended=Recommended.from_ops("confirmed", by_op), outside_macs=0)


def sd21_base() -> Ledger:
    """Three components, eight backends, all explained."""
    return Ledger(
        schema=SCHEMA,
        model="sd21-base",
        pipeline="StableDiffusionPipeline",
        workload=Workload(batch_size=1, height=512, width=512, steps=30, guidance_scale=7.5, scheduler="PNDMScheduler"),
        environment=dict(ENVIRONMENT),
        components=(text_encoder(), unet(), vae_decoder()),
        generation=generation(),
    )


HOSTILE = (
    "</script>|`x` [a](https://evil.example) <img src=x onerror=alert(1)> **b** _c_ $d$ \n# h\r\n| - | \x00\u202e&amp;"
)


def hostile() -> Ledger:
    """The same with a stranger's strings wherever a ledger holds one."""
    bad = Component(
        name=HOSTILE,
        class_name=HOSTILE,
        entry=HOSTILE,
        params=1,
        inputs=(TensorSpec(name=HOSTILE, shape=(1,), dtype=HOSTILE),),
        recommended=Recommended(status="unconfirmed", macs=10, flops=20, by_op={HOSTILE: 10}, reason=HOSTILE),
        backends={
            HOSTILE: Counted(
                version=HOSTILE,
                macs=13,
                seconds=0.0,
                uncounted={HOSTILE: 3},
                isolated=False,
                gap=3,
                terms=(Term(cause=HOSTILE, macs=2),),
                residual=1,
            ),
            HOSTILE + "2": Skipped(reason=HOSTILE),
            HOSTILE + "3": Failed(error=HOSTILE, version=HOSTILE, predicted_by=HOSTILE + "4"),
            HOSTILE + "5": Failed(error=HOSTILE),
        },
        other_ops={HOSTILE: 7},
        notes=(HOSTILE,),
        census=census(),
    )
    return Ledger(
        schema=SCHEMA,
        model=HOSTILE,
        pipeline=HOSTILE,
        workload=Workload(batch_size=1, height=8, width=8, steps=1, guidance_scale=1.0, scheduler=HOSTILE),
        environment={HOSTILE: HOSTILE},
        components=(bad,),
        generation=Generation(
            components=(part(HOSTILE, 1, 1, 10),),
            recommended=Recommended(status="unequal", reason=HOSTILE),
            outside_macs=5,
        ),
    )
