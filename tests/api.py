"""Make crosscheck/README.md, the reference of the Python API, from signatures and docstrings: python tests/api.py"""

import re
from collections.abc import Iterator
from pathlib import Path

from griffe import Alias, Class, Function, GriffeLoader, Object

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "crosscheck" / "README.md"
START = """# The Python API

Counts are exact whole numbers of MACs; a MAC is two FLOPs. None is not known, never 0. Sizes of images are in pixels,
shapes are tuples of whole numbers. Records are immutable, and every error is one line. This page is made from the
docstrings by `python tests/api.py`."""
#: Title -> the module that says what it is about, and names; where there are none, all that it defines.
SECTIONS = {
    "Count a module or a pipeline": ("crosscheck", "measure.check run.check_pipeline witnesses.cpu.witness"),
    "What they return": (
        "",
        "records.Component records.Recommended records.Counted records.Skipped records.Failed records.Term "
        "records.TensorSpec records.Ledger records.Workload records.Generation records.GenerationComponent "
        "records.GenerationCase records.Witnessed records.Execution records.Primitive records.Kernel",
    ),
    "Errors": (
        "",
        "records.CrosscheckError records.UsageError records.ConfigError records.UncountedError "
        "records.UnlikeLedgersError",
    ),
    "Profile the components of a pipeline": ("profiler", ""),
    "Sweep": ("sweep", "sweep.sweep sweep.Point"),
    "In tests": ("pytest_plugin", "pytest_plugin.macs_of"),
    "Write a backend": (
        "backends.interface",
        "backends.interface.Backend backends.interface.Case backends.interface.Count backends.interface.NotApplicable "
        "backends.entry.Entry",
    ),
    "Test a backend": ("testing", ""),
    "Write a cause": ("causes.tool", ""),
    "What a cause may look at": (
        "",
        "records.Census records.ModuleRow records.OpRow records.AttentionRow records.CallRow records.EinsumRow "
        "records.NodeRow records.TracedGraph records.UnusedRow",
    ),
}


def page() -> str:
    """The reference."""
    package = GriffeLoader(search_paths=[str(ROOT)]).load("crosscheck")
    blocks, known = [START], set[str]()
    for title, (about, names) in SECTIONS.items():
        module = package if about == "crosscheck" else package[about] if about else None
        things = [package[name] for name in names.split()] or [*filter(_own, module.members.values())]
        blocks += [f"## {title}", *([_text(module)] if module else [])]
        blocks += [block for thing in things for block in _thing(thing)]
        known |= {thing.name for thing in things}
    linked = re.compile(rf"`({'|'.join(sorted(known))})`(?! \|)")
    parts = re.split(r"(```.*?```|^#.*?$)", "\n\n".join(blocks), flags=re.DOTALL | re.MULTILINE)
    parts[::2] = [linked.sub(lambda name: f"[`{name[1]}`](#{name[1].lower()})", part) for part in parts[::2]]
    return "".join(parts) + "\n"


def _own(thing: Object | Alias) -> bool:
    public = isinstance(thing, Class | Function) and not thing.name.startswith("_")
    return public and bool(thing.docstring)


def _text(thing: Object | Alias) -> str:
    """A docstring in markdown: code is between single backticks, and what is indented between fences."""
    text = thing.docstring.value.replace("``", "`") if thing.docstring else ""
    return re.sub(r"::\n\n((?:    .*\n*)+)", lambda code: f":\n\n```python\n{_outdented(code[1])}\n```", text).strip()


def _outdented(code: str) -> str:
    return re.sub(r"^    ", "", code.rstrip(), flags=re.MULTILINE)


def _thing(thing: Object) -> Iterator[str]:
    yield f"### {thing.name}"
    if isinstance(thing, Function) and not thing.decorators:  # a fixture is not called
        yield _signature(thing)
    yield _text(thing)
    if isinstance(thing, Class):
        members = [member for member in thing.all_members.values() if _shown(member)]
        if fields := [_field(member) for member in members if member.is_attribute and member.annotation]:
            yield "\n".join(["| field | type | |", "|:--|:--|:--|", *fields])
        for method in members:
            if method.is_function:
                yield _signature(method)
                yield _text(method)


def _shown(member: Object | Alias) -> bool:
    return member.name == "__getitem__" or not (member.name.startswith("_") or "classmethod" in member.labels)


def _field(field: Object | Alias) -> str:
    given = field.value is not None and "property" not in field.labels
    code = f"{field.annotation}" + (f" = {field.value}" if given else "")
    return f"| `{field.name}` | `{code.replace('|', chr(92) + '|')}` | {' '.join(_text(field).split())} |"


def _signature(function: Object | Alias) -> str:
    code = function.signature()
    if len(code) > 100:
        lines = "".join(f"\n    {code}," for code in _parameters(function))
        code = f"{function.name}({lines}\n) -> {function.returns}"
    return f"```python\n{code}\n```"


def _parameters(function: Object | Alias) -> Iterator[str]:
    starred = False
    for parameter in (given for given in function.parameters if given.name != "self"):
        kind = parameter.kind.value
        if kind == "keyword-only" and not starred:
            yield "*"
        starred |= kind in ("keyword-only", "variadic positional")
        stars = {"variadic positional": "*", "variadic keyword": "**"}.get(kind, "")
        default = "" if stars or parameter.required else f" = {parameter.default}"
        yield f"{stars}{parameter.name}: {parameter.annotation}{default}"


if __name__ == "__main__":
    PAGE.write_text(page())
