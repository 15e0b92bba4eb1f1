"""The rooms of the package: an import goes sideways inside its room or down, wherever it is written."""

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import crosscheck

PACKAGE = Path(crosscheck.__file__).parent
#: From the lowest: files and folders of the package, none of which may import one that comes after it.
FLOORS = """
    __init__ errors files hints records case ledger causes reconcile tracing models closed_form backends engine
    pipelines witnesses audit doctor sweep profiler testing report pytest_plugin cli
""".split()
#: They run where torch is not installed.
WITHOUT_TORCH = "__init__ errors files hints records case ledger causes reconcile closed_form report".split()
TORCH = {
    "torch",
    "diffusers",
    "transformers",
    "accelerate",
    "peft",
    "thop",
    "fvcore",
    "torchinfo",
    "ptflops",
    "deepspeed",
}
#: Rooms that share nothing, though the second is lower: a reference would confirm itself, a page would count.
APART = {("closed_form", "tracing"), ("closed_form", "models/build.py"), ("report", "tracing"), ("report", "engine")}
#: They import what a name says that is in no line of theirs: the package's own, a plugin's, code that was allowed.
BY_NAME = {"__init__.py", "backends/registry.py", "causes/__init__.py", "causes/plugins.py", "audit/verdicts.py"}
#: Importing file -> imported file: why it may go up. One that is no longer needed fails.
EXCEPTIONS = {
    (
        "records/run.py",
        "report/pages/run.py",
    ): "Ledger.to_markdown is what users call; a record knows no page otherwise",
}


def imports(file: Path, late: bool = True) -> Iterator[str]:
    """The modules that a file imports, of ``from a import b`` a.b: ``late`` ones too, in functions and for types."""
    tree = ast.parse(file.read_text())
    for node in ast.walk(tree) if late else tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def file_of(module: str) -> str | None:
    """The file of the package that an import leads to; None for another package's."""
    name = module.removeprefix("crosscheck.")
    place = PACKAGE.parent.joinpath(*(crosscheck._NAMES.get(name) or module).split("."))
    for path in (
        place.with_suffix(".py"),
        place / "__init__.py",
        place.parent.with_suffix(".py"),
        place.parent / "__init__.py",
    ):
        if path.is_file() and path.is_relative_to(PACKAGE):
            return path.relative_to(PACKAGE).as_posix()
    return None


def arrows(file: str, late: bool = True) -> set[str]:
    return {to for module in imports(PACKAGE / file, late) if (to := file_of(module)) not in (None, file)}


def names_torch(file: str, late: bool = True) -> bool:
    return not TORCH.isdisjoint(module.partition(".")[0] for module in imports(PACKAGE / file, late))


FILES = [path.relative_to(PACKAGE).as_posix() for path in sorted(PACKAGE.rglob("*.py"))]
ARROWS = {file: arrows(file) for file in FILES}


def floor(file: str) -> int:
    return FLOORS.index(file.partition("/")[0].removesuffix(".py"))


def test_imports_go_down():
    assert {file.partition("/")[0].removesuffix(".py") for file in FILES} == {*FLOORS}
    up = {(file, to) for file, found in ARROWS.items() for to in found if floor(to) > floor(file)}
    assert up == EXCEPTIONS.keys()


def test_rooms_that_share_nothing_stay_apart():
    met = {(file, to) for file, found in ARROWS.items() for to in found}
    assert not {(a, b) for a, b in met for one, other in APART if a.startswith(one) and b.startswith(other)}


def test_imports_are_where_they_can_be_read():
    """By a statement: a name that is imported by a call is in no arrow, nor is what hangs on ``crosscheck`` itself."""
    by_call = re.compile(r"import_module\(|__import__\(|^ *import crosscheck$", re.M)
    assert {file for file in FILES if by_call.search((PACKAGE / file).read_text())} == BY_NAME


def test_there_are_no_circles():
    down = {file: {to for to in found if (file, to) not in EXCEPTIONS} for file, found in ARROWS.items()}
    try:
        TopologicalSorter(down).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_rooms_without_torch_name_none_and_import_none_by_others():
    rooms = {file for file in FILES if file.partition("/")[0].removesuffix(".py") in WITHOUT_TORCH}
    assert not {file for file in rooms if names_torch(file)}

    reached, further = set(), rooms
    while further:
        reached |= further
        further = {to for file in further for to in arrows(file, late=False)} - reached
    assert not {file for file in reached if names_torch(file, late=False)}
