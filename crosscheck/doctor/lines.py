"""The lines that a random program may have, by the dimensions of what they are given: hypothesis draws their sizes."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from hypothesis import strategies as st

from crosscheck.doctor.writing import ClassText, Line, Shape

Maker = Callable[[st.DrawFn, ClassText, str, Shape], Line]
#: Dimensions -> what makes a line on a value of so many.
MAKERS: dict[int, list[Maker]] = {}


def _on(*ranks: int) -> Callable[[Maker], Maker]:
    def add(maker: Maker) -> Maker:
        for rank in ranks:
            MAKERS.setdefault(rank, []).append(maker)
        return maker

    return add


def chosen(draw: st.DrawFn, *values: Any) -> Any:
    """One of ``values``."""
    return draw(st.sampled_from(values))


def yes_or_no(draw: st.DrawFn) -> bool:
    """Either."""
    return draw(st.booleans())


def layer_on(name: str, made: str, x: str, macs: Callable[[Shape], int] = lambda out: 0) -> Line:
    """A layer called ``name`` on ``x``."""
    return Line((f"{name} = {made}",), f"{name}({x})", macs)


# -- convolutions: (batch, channels, sizes ...) ------------------------------------------------------------------------


@_on(3, 4, 5)
def _conv(draw: st.DrawFn, cls: ClassText, x: str, shape: Shape) -> Line:
    dims, inputs = len(shape) - 2, shape[1]
    groups = draw(st.sampled_from([g for g in range(1, inputs + 1) if inputs % g == 0]))
    outputs, kernel = groups * chosen(draw, 1, 2, 3), chosen(draw, 1, 2, 3)
    name = "OwnConv2d" if dims == 2 and chosen(draw, False, False, False, True) else f"nn.Conv{dims}d"
    stride = chosen(draw, 1, 1, 2)
    padding = chosen(draw, 0, 1, "'same'" if stride == 1 else 1)
    options = (
        f"stride={stride}, padding={padding}, dilation={chosen(draw, 1, 1, 2)}, groups={groups}, bias={yes_or_no(draw)}"
    )
    if dims == 2 and padding == 1:
        options += f", padding_mode={chosen(draw, 'zeros', 'zeros', 'reflect', 'circular')!r}"
    layer = cls.fresh()
    work = inputs // groups * kernel**dims
    return Line(
        (f"{layer} = {name}({inputs}, {outputs}, {kernel}, {options})",), f"{layer}({x})", lambda out: prod(out) * work
    )


@_on(3, 4, 5)
def _transposed(draw: st.DrawFn, cls: ClassText, x: str, shape: Shape) -> Line:
    dims, inputs = len(shape) - 2, shape[1]
    groups = draw(st.sampled_from([g for g in range(1, inputs + 1) if inputs % g == 0]))
    outputs, kernel = groups * chosen(draw, 1, 2), chosen(draw, 1, 2, 3)
    options = f"stride={chosen(draw, 1, 2)}, padding={chosen(draw, 0, 1)}, groups={groups}, bias={yes_or_no(draw)}"
    layer = cls.fresh()
    work = prod(shape) * (outputs // groups) * kernel**dims
    return Line(
        (f"{layer} = nn.ConvTranspose{dims}d({inputs}, {outputs}, {kernel}, {options})",),
        f"{layer}({x})",
        lambda out: work,
    )


@_on(4)
def _conv_function(draw: st.DrawFn, cls: ClassText, x: str, shape: Shape) -> Line:
    outputs, layer = chosen(draw, 2, 3), cls.fresh()
    work = shape[1] * 9
    return Line(
        (f"{layer} = nn.Parameter(torch.zeros({outputs}, {shape[1]}, 3, 3))",),
        f"F.conv2d({x}, {layer}, padding=1)",
        lambda out: prod(out) * work,
    )


@_on(4)
def _image_free(draw: st.DrawFn, cls: ClassText, x: str, shape: Shape) -> Line:
    channels = shape[1]
    made = chosen(
        draw,
        f"nn.GroupNorm(1, {channels})",
        f"nn.GroupNorm({channels}, {channels}, affine=False)",
        f"nn.BatchNorm2d({channels})",
        f"nn.InstanceNorm2d({channels}, affine={yes_or_no(draw)})",
        f"nn.AvgPool2d({chosen(draw, 2, 3)}, padding={chosen(draw, 0, 1)}, count_include_pad={yes_or_no(draw)})",
        "nn.MaxPool2d(2)",
        f"nn.AdaptiveAvgPool2d({chosen(draw, 1, 2, 3)})",
        "nn.Upsample(scale_factor=2)",
        "nn.Upsample(scale_factor=2, mode='bilinear')",
        "nn.PReLU()",
        "nn.Softmax(dim=1)",
    )
    return layer_on(cls.fresh(), made, x)


@_on(4)
def _resized(draw: st.DrawFn, cls: ClassText, x: str, shape: Shape) -> Line:
    mode = chosen(draw, "nearest", "bilinear")
    size = chosen(draw, "scale_factor=2", "size=(5, 7)")
    return Line((), f"F.interpolate({x}, {size}, mode={mode!r})")


@_on(4)
def _to_tokens(draw: st.DrawFn, cls: ClassText, x: str, shape: Shape) -> Line:
    return Line((), f"{x}.flatten(2).transpose(1, 2)")


# -- tokens: (batch, tokens, width) ------------------------------------------------------------------------------------


@_on(2, 3, 4)
def _linear(draw: st.DrawFn, cls: ClassText, x: str, shape: Shape) -> Line:
    outputs, layer = chosen(draw, shape[-1], 4, 6), cls.fresh()
    made = f"{chosen(draw, 'nn.Linear', 'nn.Linear', 'OwnLinear')}({shape[-1]}, {outputs}, bias={yes_or_no(draw)})"
    if chosen(draw, False, False, False, True):
        made = f"nn.utils.parametrizations.weight_norm({made})"
    work = prod(shape) * outputs
    return Line((f"{layer} = {made}",), f"{layer}{chosen(draw, '', '', '', '.forward')}({x})", lambda out: work)


@_on(3)
def _linear_function(draw: st.DrawFn, cls: ClassText, x: str, shape: Shape) -> Line:
    outputs, weight, bias = chosen(draw, 4, 6), cls.fresh(), cls.fresh()
    layers = (
        f"{weight} = nn.Parameter(torch.zeros({outputs}, {shape[-1]}))",
        f"{bias} = nn.Parameter(torch.zeros({outputs}))",
    )
    with_bias = yes_or_no(draw)
    call = f"F.linear({x}, {weight}, {bias})" if with_bias else f"F.linear({x}, {weight})"
    work = prod(shape) * outputs
    return Line(layers[: 1 + with_bias], call, lambda out: work)


@_on(2, 3)
def _token_free(draw: st.DrawFn, cls: ClassText, x: str, shape: Shape) -> Line:
    width = shape[-1]
    made = chosen(
        draw,
        f"nn.LayerNorm({width})",
        f"nn.LayerNorm({width}, elementwise_affine=False)",
        "nn.GELU()",
        "nn.SiLU()",
        "nn.ReLU()",
        "nn.Dropout(0.1)",
        "nn.Softmax(dim=-1)",
    )
    return layer_on(cls.fresh(), made, x)


@_on(2, 3, 4)
def _elementwise(draw: st.DrawFn, cls: ClassText, x: str, shape: Shape) -> Line:
    return Line(
        (), chosen(draw, f"{x} + {x}", f"{x} * 0.5", f"{x} * {x}", f"F.silu({x})", f"{x}.softmax(-1)", f"{x}.mean(-1)")
    )


@_on(3)
def _heads(draw: st.DrawFn, cls: ClassText, x: str, shape: Shape) -> Line:
    heads = draw(st.sampled_from([h for h in (1, 2, 3) if shape[-1] % h == 0]))
    return Line((), f"{x}.unflatten(-1, ({heads}, {shape[-1] // heads})).transpose(1, 2)")


@_on(3, 4)
def _attention(draw: st.DrawFn, cls: ClassText, x: str, shape: Shape) -> Line:
    options = chosen(draw, "", "", ", is_causal=True", ", attn_mask=None, dropout_p=0.0")
    call = chosen(draw, f"{x}, {x}, {x}", f"query={x}, key={x}, value={x}")
    work = 2 * prod(shape) * shape[-2]
    return Line((), f"F.scaled_dot_product_attention({call}{options})", lambda out: work)


@_on(3)
def _cross_attention(draw: st.DrawFn, cls: ClassText, x: str, shape: Shape) -> Line:
    """Keys and values are parameters: so many, and of another width for the values."""
    keys, width, key, value = chosen(draw, 3, 5), chosen(draw, shape[-1], 3), cls.fresh(), cls.fresh()
    layers = (
        f"{key} = nn.Parameter(torch.zeros({shape[0]}, {keys}, {shape[-1]}))",
        f"{value} = nn.Parameter(torch.zeros({shape[0]}, {keys}, {width}))",
    )
    work = prod(shape[:-1]) * keys * (shape[-1] + width)
    return Line(layers, f"F.scaled_dot_product_attention({x}, {key}, {value})", lambda out: work)


@_on(3)
def _multihead(draw: st.DrawFn, cls: ClassText, x: str, shape: Shape) -> Line:
    batch, tokens, width = shape
    heads = draw(st.sampled_from([h for h in (1, 2) if width % h == 0]))
    layer = cls.fresh()
    made = f"{layer} = nn.MultiheadAttention({width}, {heads}, batch_first=True)"
    call = f"{layer}({x}, {x}, {x}, need_weights={yes_or_no(draw)})[0]"
    work = batch * (4 * tokens * width * width + 2 * tokens * tokens * width)
    return Line((made,), call, lambda out: work)


@_on(3)
def _recurrent(draw: st.DrawFn, cls: ClassText, x: str, shape: Shape) -> Line:
    batch, tokens, width = shape
    kind, gates = chosen(draw, ("LSTM", 4), ("GRU", 3), ("RNN", 1))
    hidden, layer, bias = chosen(draw, 3, 5), cls.fresh(), yes_or_no(draw)
    work = batch * tokens * gates * hidden * (width + hidden)
    return Line(
        (f"{layer} = nn.{kind}({width}, {hidden}, batch_first=True, bias={bias})",),
        f"{layer}({x})[0]",
        lambda out: work,
    )


@_on(3)
def _product(draw: st.DrawFn, cls: ClassText, x: str, shape: Shape) -> Line:
    batch, tokens, width = shape
    outputs, other = chosen(draw, 4, 6), cls.fresh()
    batched = (f"{other} = nn.Parameter(torch.zeros({batch}, {width}, {outputs}))",)
    flat = (f"{other} = nn.Parameter(torch.zeros({width}, {outputs}))",)
    vector = (f"{other} = nn.Parameter(torch.zeros({width}))",)
    added = cls.fresh()
    zero = f"{added} = nn.Parameter(torch.zeros(()))"
    work = prod(shape) * outputs
    layers, call, macs = chosen(
        draw,
        (batched, f"{x} @ {other}", work),
        (batched, f"torch.matmul({x}, {other})", work),
        (batched, f"torch.bmm({x}, {other})", work),
        ((zero, *batched), f"torch.baddbmm({added}, {x}, {other})", work),
        (batched, f"torch.einsum('bij,bjk->bik', {x}, {other})", work),
        (flat, f"{x} @ {other}", work),
        (flat, f"torch.einsum('bij,jk->bik', {x}, {other})", work),
        (flat, f"{x}[0].mm({other})", work // batch),
        ((zero, *flat), f"torch.addmm({added}, {x}[0], {other})", work // batch),
        (flat, f"torch.tensordot({x}, {other}, dims=1)", work),
        (vector, f"{x} @ {other}", prod(shape)),
        (vector, f"torch.mv({x}[0], {other})", prod(shape) // batch),
        ((), f"{x} @ {x}.transpose(1, 2)", prod(shape) * tokens),
        ((), f"torch.matmul({x}[0], {x}.transpose(1, 2))", prod(shape) * tokens),
        ((), f"torch.einsum('bid,bjd->bij', {x}, {x})", prod(shape) * tokens),
    )
    return Line(layers, call, lambda out: macs)


@_on(3)
def _low_rank(draw: st.DrawFn, cls: ClassText, x: str, shape: Shape) -> Line:
    """LoRA as it is written by hand."""
    width, base, down, up = shape[-1], cls.fresh(), cls.fresh(), cls.fresh()
    layers = (
        f"{base} = nn.Linear({width}, 4)",
        f"{down} = nn.Linear({width}, 2, bias=False)",
        f"{up} = nn.Linear(2, 4, bias=False)",
    )
    work = prod(shape[:-1]) * (width * 4 + width * 2 + 2 * 4)
    return Line(layers, f"{base}({x}) + 0.5 * {up}({down}({x}))", lambda out: work)
