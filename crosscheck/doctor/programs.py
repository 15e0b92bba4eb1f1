"""Random modules as the text of a Python program, with their MACs by definition: hypothesis strategies."""

from __future__ import annotations

import functools

from hypothesis import strategies as st

from crosscheck.doctor.lines import MAKERS, chosen, layer_on, yes_or_no
from crosscheck.doctor.writing import PRELUDE, ClassText, Line, Program, Shape


def _more(draw: st.DrawFn) -> bool:
    """Whether to go on: drawn with each part, which is a strategy of its own, so that shrinking can leave it out."""
    return bool(chosen(draw, False, True, True, True))


def _write(draw: st.DrawFn, cls: ClassText, most: int) -> None:
    """Draw up to ``most`` lines."""
    for _ in range(most):
        if not draw(_lines(cls)):
            return


@st.composite
def _lines(draw: st.DrawFn, cls: ClassText) -> bool:
    """A line on a value so far, now and then with its layer called once more; whether there was one."""
    if not _more(draw):
        return False
    x = draw(st.sampled_from(list(cls.values)))
    shape = tuple(cls.values[x].shape)
    if len(shape) not in MAKERS:
        return True
    line = draw(st.sampled_from(MAKERS[len(shape)]))(draw, cls, x, shape)
    way = chosen(draw, "once", "once", "once", "once", "twice", "branch", "list")
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
def _blocks(draw: st.DrawFn, root: ClassText, number: int) -> str:
    """A module of its own that ``root`` calls, once or twice; "" where there is none."""
    if not _more(draw):
        return ""
    x = draw(st.sampled_from(list(root.values)))
    shape = tuple(root.values[x].shape)
    block = ClassText(f"Block{number}", (shape,))
    _write(draw, block, 3)
    if not block.lines or len(block.unused) > 1:
        return ""
    exec(block.source(), root.scope)  # noqa: S102
    layer = root.fresh()
    called = layer_on(layer, f"{block.name}()", x, functools.partial(_always, block.macs))
    name = root.add(called, (x,))
    if name and root.values[name].shape == shape and yes_or_no(draw):
        root.add(called._replace(layers=(), call=f"{layer}({name})"), (name,))
    return block.source()


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """A module of some lines, up to two of them calls of a module of its own."""
    shapes = {
        2: (chosen(draw, 2, 3), 6),
        3: (chosen(draw, 1, 2), chosen(draw, 3, 4, 5), chosen(draw, 4, 6)),
        4: (chosen(draw, 1, 2), chosen(draw, 2, 4), chosen(draw, 5, 6), 6),
        5: (1, 2, 4, 4, 5),
    }
    given = (shapes[chosen(draw, 3, 3, 4, 4, 5, 2)],)
    root = ClassText("Root", given)
    _write(draw, root, 4)
    blocks = [source for number in range(2) if (source := draw(_blocks(root, number)))]
    _write(draw, root, 2)
    return Program(source="\n\n".join([PRELUDE, *blocks, root.source()]), shapes=given, macs=root.macs)
