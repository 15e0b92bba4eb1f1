"""Random modules as the text of a Python program, with their MACs by definition: hypothesis strategies.

A program is written a line at a time. Each line is run on meta as soon as it is drawn, which gives the shapes for the
next; its MACs are worked out from these shapes, apart from everything that counts. A line that torch refuses is left
out. All that is computed is returned, so that no tracer may drop it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

import torch
from hypothesis import strategies as st

Shape = tuple[int, ...]

PRELUDE = '''import torch
import torch.nn.functional as F
from torch import nn


class OwnLinear(nn.Linear):
    """A subclass that changes nothing."""


class OwnConv2d(nn.Conv2d):
    """A subclass that changes nothing."""
'''


class Program(NamedTuple):
    """A module's source, the shapes that go in, and its MACs."""

    source: str
    shapes: tuple[Shape, ...]
    macs: int

    def module(self) -> torch.nn.Module:
        """The module, on meta."""
        with torch.device("meta"):
            made: torch.nn.Module = _namespace(self.source)["Root"]()
        return made

    def repro(self, backend: str) -> str:
        """A program of its own that shows what ``backend`` says."""
        inputs = ", ".join(f"torch.zeros{shape}" for shape in self.shapes)
        return (
            f'{self.source}\n\nif __name__ == "__main__":\n    import crosscheck\n\n'
            f'    with torch.device("meta"), torch.no_grad():\n'
            f"        check = crosscheck.check(Root(), {inputs}, backends=({backend!r},))\n"
            f"    print({self.macs:_}, check[{backend!r}])\n"
        )


PLAIN = Program(
    source=PRELUDE
    + """

class Root(nn.Module):
    def __init__(self):
        super().__init__()
        self.m1 = nn.Linear(6, 2)

    def forward(self, x0):
        return self.m1(x0)
""",
    shapes=((2, 6),),
    macs=2 * 6 * 2,
)


def _namespace(source: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "fuzzed"}
    exec(source, names)  # noqa: S102  written by this file
    return names


_PRELUDED = _namespace(PRELUDE)


class Line(NamedTuple):
    """One call: the layers that it needs, its text, and its MACs from the shapes that go in and come out."""

    layers: tuple[str, ...]
    call: str
    macs: Callable[[Shape], int] = lambda out: 0


class _Class:
    """A class that is being written, and an instance of it to run its lines on."""

    def __init__(self, name: str, shapes: tuple[Shape, ...]) -> None:
        self.name = name
        self.layers: list[str] = []
        self.lines: list[str] = []
        self.values: dict[str, Any] = {}
        self.unused: list[str] = []
        self.macs = 0
        self._count = 0
        self.scope: dict[str, Any] = {**_PRELUDED, "self": torch.nn.Module()}
        with torch.device("meta"):
            for i, shape in enumerate(shapes):
                self._store(f"x{i}", torch.zeros(shape))
        self.arguments = list(self.values)

    def _store(self, name: str, value: Any) -> None:
        self.values[name] = self.scope[name] = value
        self.unused.append(name)

    def fresh(self) -> str:
        """A name for a layer."""
        self._count += 1
        return f"self.m{self._count}"

    def add(self, line: Line, uses: tuple[str, ...]) -> str | None:
        """Run a line and keep it; None where torch refuses it, or it is no tensor."""
        try:
            with torch.device("meta"), torch.no_grad():
                for layer in line.layers:
                    exec(layer, self.scope)  # noqa: S102
                value = eval(line.call, self.scope)  # noqa: S307
        except (RuntimeError, ValueError, TypeError, IndexError, AssertionError):
            return None
        if not isinstance(value, torch.Tensor) or not value.numel() or value.numel() > 100_000:
            return None
        name = f"x{len(self.values)}"
        self.layers += line.layers
        self.lines.append(f"{name} = {line.call}")
        self.macs += line.macs(tuple(value.shape))
        self._store(name, value)
        self.unused = [unused for unused in self.unused if unused not in uses]
        return name

    def source(self) -> str:
        """The class as text."""
        layers = self.layers or ["pass"]
        body = [
            *self.lines,
            f"return [{', '.join(self.unused)}]" if len(self.unused) > 1 else f"return {self.unused[0]}",
        ]
        lines = [f"class {self.name}(nn.Module):", "    def __init__(self):", "        super().__init__()"]
        lines += [f"        {layer}" for layer in layers]
        lines += ["", f"    def forward(self, {', '.join(self.arguments)}):", *(f"        {line}" for line in body)]
        return "\n".join(lines) + "\n"


Maker = Callable[[st.DrawFn, _Class, str, Shape], Line]
_MAKERS: dict[int, list[Maker]] = {}


def _on(*ranks: int) -> Callable[[Maker], Maker]:
    def add(maker: Maker) -> Maker:
        for rank in ranks:
            _MAKERS.setdefault(rank, []).append(maker)
        return maker

    return add


def _of(draw: st.DrawFn, *values: Any) -> Any:
    return draw(st.sampled_from(values))


def _bool(draw: st.DrawFn) -> bool:
    return draw(st.booleans())


def _layer(name: str, made: str, x: str, macs: Callable[[Shape], int] = lambda out: 0) -> Line:
    """A layer called ``name`` on ``x``."""
    return Line((f"{name} = {made}",), f"{name}({x})", macs)


# -- convolutions: (batch, channels, sizes ...) ------------------------------------------------------------------------


@_on(3, 4, 5)
def _conv(draw: st.DrawFn, cls: _Class, x: str, shape: Shape) -> Line:
    dims, inputs = len(shape) - 2, shape[1]
    groups = draw(st.sampled_from([g for g in range(1, inputs + 1) if inputs % g == 0]))
    outputs, kernel = groups * _of(draw, 1, 2, 3), _of(draw, 1, 2, 3)
    name = "OwnConv2d" if dims == 2 and _of(draw, False, False, False, True) else f"nn.Conv{dims}d"
    stride = _of(draw, 1, 1, 2)
    padding = _of(draw, 0, 1, "'same'" if stride == 1 else 1)
    options = f"stride={stride}, padding={padding}, dilation={_of(draw, 1, 1, 2)}, groups={groups}, bias={_bool(draw)}"
    if dims == 2 and padding == 1:
        options += f", padding_mode={_of(draw, 'zeros', 'zeros', 'reflect', 'circular')!r}"
    layer = cls.fresh()
    work = inputs // groups * kernel**dims
    return Line(
        (f"{layer} = {name}({inputs}, {outputs}, {kernel}, {options})",), f"{layer}({x})", lambda out: prod(out) * work
    )


@_on(3, 4, 5)
def _transposed(draw: st.DrawFn, cls: _Class, x: str, shape: Shape) -> Line:
    dims, inputs = len(shape) - 2, shape[1]
    groups = draw(st.sampled_from([g for g in range(1, inputs + 1) if inputs % g == 0]))
    outputs, kernel = groups * _of(draw, 1, 2), _of(draw, 1, 2, 3)
    options = f"stride={_of(draw, 1, 2)}, padding={_of(draw, 0, 1)}, groups={groups}, bias={_bool(draw)}"
    layer = cls.fresh()
    work = prod(shape) * (outputs // groups) * kernel**dims
    return Line(
        (f"{layer} = nn.ConvTranspose{dims}d({inputs}, {outputs}, {kernel}, {options})",),
        f"{layer}({x})",
        lambda out: work,
    )


@_on(4)
def _conv_function(draw: st.DrawFn, cls: _Class, x: str, shape: Shape) -> Line:
    outputs, layer = _of(draw, 2, 3), cls.fresh()
    work = shape[1] * 9
    return Line(
        (f"{layer} = nn.Parameter(torch.zeros({outputs}, {shape[1]}, 3, 3))",),
        f"F.conv2d({x}, {layer}, padding=1)",
        lambda out: prod(out) * work,
    )


@_on(4)
def _image_free(draw: st.DrawFn, cls: _Class, x: str, shape: Shape) -> Line:
    channels = shape[1]
    made = _of(
        draw,
        f"nn.GroupNorm(1, {channels})",
        f"nn.GroupNorm({channels}, {channels}, affine=False)",
        f"nn.BatchNorm2d({channels})",
        f"nn.InstanceNorm2d({channels}, affine={_bool(draw)})",
        f"nn.AvgPool2d({_of(draw, 2, 3)}, padding={_of(draw, 0, 1)}, count_include_pad={_bool(draw)})",
        "nn.MaxPool2d(2)",
        f"nn.AdaptiveAvgPool2d({_of(draw, 1, 2, 3)})",
        "nn.Upsample(scale_factor=2)",
        "nn.Upsample(scale_factor=2, mode='bilinear')",
        "nn.PReLU()",
        "nn.Softmax(dim=1)",
    )
    return _layer(cls.fresh(), made, x)


@_on(4)
def _resized(draw: st.DrawFn, cls: _Class, x: str, shape: Shape) -> Line:
    mode = _of(draw, "nearest", "bilinear")
    size = _of(draw, "scale_factor=2", "size=(5, 7)")
    return Line((), f"F.interpolate({x}, {size}, mode={mode!r})")


@_on(4)
def _to_tokens(draw: st.DrawFn, cls: _Class, x: str, shape: Shape) -> Line:
    return Line((), f"{x}.flatten(2).transpose(1, 2)")


# -- tokens: (batch, tokens, width) ------------------------------------------------------------------------------------


@_on(2, 3, 4)
def _linear(draw: st.DrawFn, cls: _Class, x: str, shape: Shape) -> Line:
    outputs, layer = _of(draw, shape[-1], 4, 6), cls.fresh()
    made = f"{_of(draw, 'nn.Linear', 'nn.Linear', 'OwnLinear')}({shape[-1]}, {outputs}, bias={_bool(draw)})"
    if _of(draw, False, False, False, True):
        made = f"nn.utils.parametrizations.weight_norm({made})"
    work = prod(shape) * outputs
    return Line((f"{layer} = {made}",), f"{layer}{_of(draw, '', '', '', '.forward')}({x})", lambda out: work)


@_on(3)
def _linear_function(draw: st.DrawFn, cls: _Class, x: str, shape: Shape) -> Line:
    outputs, weight, bias = _of(draw, 4, 6), cls.fresh(), cls.fresh()
    layers = (
        f"{weight} = nn.Parameter(torch.zeros({outputs}, {shape[-1]}))",
        f"{bias} = nn.Parameter(torch.zeros({outputs}))",
    )
    with_bias = _bool(draw)
    call = f"F.linear({x}, {weight}, {bias})" if with_bias else f"F.linear({x}, {weight})"
    work = prod(shape) * outputs
    return Line(layers[: 1 + with_bias], call, lambda out: work)


@_on(2, 3)
def _token_free(draw: st.DrawFn, cls: _Class, x: str, shape: Shape) -> Line:
    width = shape[-1]
    made = _of(
        draw,
        f"nn.LayerNorm({width})",
        f"nn.LayerNorm({width}, elementwise_affine=False)",
        "nn.GELU()",
        "nn.SiLU()",
        "nn.ReLU()",
        "nn.Dropout(0.1)",
        "nn.Softmax(dim=-1)",
    )
    return _layer(cls.fresh(), made, x)


@_on(2, 3, 4)
def _elementwise(draw: st.DrawFn, cls: _Class, x: str, shape: Shape) -> Line:
    return Line(
        (), _of(draw, f"{x} + {x}", f"{x} * 0.5", f"{x} * {x}", f"F.silu({x})", f"{x}.softmax(-1)", f"{x}.mean(-1)")
    )


@_on(3)
def _heads(draw: st.DrawFn, cls: _Class, x: str, shape: Shape) -> Line:
    heads = draw(st.sampled_from([h for h in (1, 2, 3) if shape[-1] % h == 0]))
    return Line((), f"{x}.unflatten(-1, ({heads}, {shape[-1] // heads})).transpose(1, 2)")


@_on(3, 4)
def _attention(draw: st.DrawFn, cls: _Class, x: str, shape: Shape) -> Line:
    options = _of(draw, "", "", ", is_causal=True", ", attn_mask=None, dropout_p=0.0")
    call = _of(draw, f"{x}, {x}, {x}", f"query={x}, key={x}, value={x}")
    work = 2 * prod(shape) * shape[-2]
    return Line((), f"F.scaled_dot_product_attention({call}{options})", lambda out: work)


@_on(3)
def _cross_attention(draw: st.DrawFn, cls: _Class, x: str, shape: Shape) -> Line:
    """Keys and values are parameters: so many, and of another width for the values."""
    keys, width, key, value = _of(draw, 3, 5), _of(draw, shape[-1], 3), cls.fresh(), cls.fresh()
    layers = (
        f"{key} = nn.Parameter(torch.zeros({shape[0]}, {keys}, {shape[-1]}))",
        f"{value} = nn.Parameter(torch.zeros({shape[0]}, {keys}, {width}))",
    )
    work = prod(shape[:-1]) * keys * (shape[-1] + width)
    return Line(layers, f"F.scaled_dot_product_attention({x}, {key}, {value})", lambda out: work)


@_on(3)
def _multihead(draw: st.DrawFn, cls: _Class, x: str, shape: Shape) -> Line:
    batch, tokens, width = shape
    heads = draw(st.sampled_from([h for h in (1, 2) if width % h == 0]))
    layer = cls.fresh()
    made = f"{layer} = nn.MultiheadAttention({width}, {heads}, batch_first=True)"
    call = f"{layer}({x}, {x}, {x}, need_weights={_bool(draw)})[0]"
    work = batch * (4 * tokens * width * width + 2 * tokens * tokens * width)
    return Line((made,), call, lambda out: work)


@_on(3)
def _recurrent(draw: st.DrawFn, cls: _Class, x: str, shape: Shape) -> Line:
    batch, tokens, width = shape
    kind, gates = _of(draw, ("LSTM", 4), ("GRU", 3), ("RNN", 1))
    hidden, layer, bias = _of(draw, 3, 5), cls.fresh(), _bool(draw)
    work = batch * tokens * gates * hidden * (width + hidden)
    return Line(
        (f"{layer} = nn.{kind}({width}, {hidden}, batch_first=True, bias={bias})",),
        f"{layer}({x})[0]",
        lambda out: work,
    )


@_on(3)
def _product(draw: st.DrawFn, cls: _Class, x: str, shape: Shape) -> Line:
    batch, tokens, width = shape
    outputs, other = _of(draw, 4, 6), cls.fresh()
    batched = (f"{other} = nn.Parameter(torch.zeros({batch}, {width}, {outputs}))",)
    flat = (f"{other} = nn.Parameter(torch.zeros({width}, {outputs}))",)
    vector = (f"{other} = nn.Parameter(torch.zeros({width}))",)
    added = cls.fresh()
    zero = f"{added} = nn.Parameter(torch.zeros(()))"
    work = prod(shape) * outputs
    layers, call, macs = _of(
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
def _low_rank(draw: st.DrawFn, cls: _Class, x: str, shape: Shape) -> Line:
    """LoRA as it is written by hand."""
    width, base, down, up = shape[-1], cls.fresh(), cls.fresh(), cls.fresh()
    layers = (
        f"{base} = nn.Linear({width}, 4)",
        f"{down} = nn.Linear({width}, 2, bias=False)",
        f"{up} = nn.Linear(2, 4, bias=False)",
    )
    work = prod(shape[:-1]) * (width * 4 + width * 2 + 2 * 4)
    return Line(layers, f"{base}({x}) + 0.5 * {up}({down}({x}))", lambda out: work)


# -- whole programs ----------------------------------------------------------------------------------------------------


def _more(draw: st.DrawFn) -> bool:
    """Whether to go on: drawn with each part, which is a strategy of its own, so that shrinking can leave it out."""
    return bool(_of(draw, False, True, True, True))


def _write(draw: st.DrawFn, cls: _Class, most: int) -> None:
    """Draw up to ``most`` lines."""
    for _ in range(most):
        if not draw(_lines(cls)):
            return


@st.composite
def _lines(draw: st.DrawFn, cls: _Class) -> bool:
    """A line on a value so far, now and then with its layer called once more; whether there was one."""
    if not _more(draw):
        return False
    x = draw(st.sampled_from(list(cls.values)))
    shape = tuple(cls.values[x].shape)
    if len(shape) not in _MAKERS:
        return True
    line = draw(st.sampled_from(_MAKERS[len(shape)]))(draw, cls, x, shape)
    way = _of(draw, "once", "once", "once", "once", "twice", "branch", "list")
    if way == "list" and line.layers:
        line = _in_a_list(line)
    if way == "branch":
        line = line._replace(call=f"({line.call}) if {x}.shape[0] < 100 else {x}")
    name = cls.add(line, (x,))
    if name and way == "twice" and cls.values[name].shape == cls.values[x].shape and f"({x})" in line.call:
        cls.add(Line((), line.call.replace(f"({x})", f"({name})"), line.macs), (name,))
    return True


def _in_a_list(line: Line) -> Line:
    """Its first layer held under a second parent as well, where it is a module."""
    layer, _, made = line.layers[0].partition(" = ")
    if not made.startswith(("nn.Linear", "nn.Conv", "nn.LayerNorm")):
        return line
    return line._replace(layers=(*line.layers, f"{layer}a = nn.ModuleList([{layer}])"))


def _always(macs: int, out: Shape) -> int:
    return macs


@st.composite
def _blocks(draw: st.DrawFn, root: _Class, number: int) -> str:
    """A module of its own that ``root`` calls, once or twice; "" where there is none."""
    if not _more(draw):
        return ""
    x = draw(st.sampled_from(list(root.values)))
    shape = tuple(root.values[x].shape)
    block = _Class(f"Block{number}", (shape,))
    _write(draw, block, 3)
    if not block.lines or len(block.unused) > 1:
        return ""
    exec(block.source(), root.scope)  # noqa: S102
    layer = root.fresh()
    called = _layer(layer, f"{block.name}()", x, functools.partial(_always, block.macs))
    name = root.add(called, (x,))
    if name and root.values[name].shape == shape and _bool(draw):
        root.add(called._replace(layers=(), call=f"{layer}({name})"), (name,))
    return block.source()


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """A module of some lines, up to two of them calls of a module of its own."""
    shapes = {
        2: (_of(draw, 2, 3), 6),
        3: (_of(draw, 1, 2), _of(draw, 3, 4, 5), _of(draw, 4, 6)),
        4: (_of(draw, 1, 2), _of(draw, 2, 4), _of(draw, 5, 6), 6),
        5: (1, 2, 4, 4, 5),
    }
    given = (shapes[_of(draw, 3, 3, 4, 4, 5, 2)],)
    root = _Class("Root", given)
    _write(draw, root, 4)
    blocks = [source for number in range(2) if (source := draw(_blocks(root, number)))]
    _write(draw, root, 2)
    return Program(source="\n\n".join([PRELUDE, *blocks, root.source()]), shapes=given, macs=root.macs)
