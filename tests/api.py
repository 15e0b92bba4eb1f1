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
    "Count a module or a pipeline": (
        "crosscheck",
        "engine.check.check pipelines.check.check_pipeline witnesses.cpu.witness",
    ),
    "What they return": (
        "",
        "records.run.Component records.run.Recommended records.outcomes.Counted records.outcomes.Skipped "
        "records.outcomes.Failed records.outcomes.Term records.base.TensorSpec records.run.Ledger records.run.Workload "
        "records.run.Generation records.run.GenerationComponent records.run.GenerationCase "
        "witnesses.witnessed.Witnessed witnesses.evidence.Execution witnesses.evidence.Primitive "
        "witnesses.evidence.Kernel",
    ),
    "Errors": (
        "",
        "errors.CrosscheckError errors.UsageError errors.ConfigError errors.UncountedError errors.UnlikeLedgersError",
    ),
    "Profile the components of a pipeline": ("profiler", ""),
    "Sweep": ("sweep", "sweep.sweep sweep.Point"),
    "In tests": ("pytest_plugin", "pytest_plugin.macs_of"),
    "Write a backend": (
        "backends.interface",
        "case.Backend case.Case case.Count case.NotApplicable records.census.Evidence backends.entry.Entry",
    ),
    "Test a backend": ("testing", ""),
    "Write a cause": (
        "causes.tool",
        "causes.tool.Tool causes.tool.Sees causes.tool.Cause causes.tool.PredictedFailure",
    ),
    "What a cause may look at": (
        "",
        "records.census.Census records.census.ModuleRow records.census.OpRow records.census.AttentionRow "
        "records.census.CallRow records.census.EinsumRow records.census.NodeRow records.census.TracedGraph "
        "records.census.UnusedRow",
    ),
}


def page() -> str:
    """The reference."""
    package = GriffeLoader(search_paths=[str(ROOT)]).load("crosscheck")
    blocks, documented = [START], set[str]()
    for title, (about, names) in SECTIONS.items():
        module = package if about == "crosscheck" else package[about] if about else None
        things = [package[name] for name in names.split()] or [*filter(_own, module.members.values())]
        blocks += [f"## {title}", *([_text(module)] if module else [])]
        blocks += [block for thing in things for block in _thing(thing)]
        documented |= {thing.name for thing in things}
    linked = re.compile(rf"`({'|'.join(sorted(documented))})`(?! \|)")
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
    value = str(field.value)
    renamed = re.fullmatch(r"msgspec\.field\(name='(\w+)', default=(.*)\)", value)
    code = f"{field.annotation}" + (f" = {renamed[2] if renamed else value}" if given else "")
    text = " ".join(_text(field).split()) + (f" `{renamed[1]}` in JSON." if renamed else "")
    return f"| `{field.name}` | `{code.replace('|', chr(92) + '|')}` | {text} |"


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
