"""The rooms of the package: an import goes sideways inside its room or down, wherever it is written."""

import ast
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
TORCH = {"torch", "diffusers", "transformers"}
#: Importing file -> imported file: why it may go up. One that is no longer needed fails.
EXCEPTIONS = {
    (
        "records/run.py",
        "report/pages/run.py",
    ): "Ledger.to_markdown is what users call; a record knows no page otherwise",
}


def imports(file: Path) -> Iterator[str]:
    """The modules that a file imports, in functions and for types too; of ``from a import b`` both a.b and a."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def file_of(module: str) -> str | None:
    """The file of the package that an import leads to; None for another package's."""
    place = PACKAGE.parent.joinpath(*module.split("."))
    for path in (
        place.with_suffix(".py"),
        place / "__init__.py",
        place.parent.with_suffix(".py"),
        place.parent / "__init__.py",
    ):
        if path.is_file() and path.is_relative_to(PACKAGE):
            return path.relative_to(PACKAGE).as_posix()
    return None


FILES = [path.relative_to(PACKAGE).as_posix() for path in sorted(PACKAGE.rglob("*.py"))]
ARROWS = {
    file: {to for module in imports(PACKAGE / file) if (to := file_of(module)) not in (None, file)} for file in FILES
}


def floor(file: str) -> int:
    return FLOORS.index(file.partition("/")[0].removesuffix(".py"))


def test_imports_go_down():
    up = {(file, to) for file, found in ARROWS.items() for to in found if floor(to) > floor(file)}
    assert up == EXCEPTIONS.keys()


def test_there_are_no_circles():
    down = {file: {to for to in found if (file, to) not in EXCEPTIONS} for file, found in ARROWS.items()}
    try:
        TopologicalSorter(down).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize(
    "file", [file for file in FILES if file.partition("/")[0].removesuffix(".py") in WITHOUT_TORCH]
)
def test_no_torch_in_rooms_that_do_without(file):
    assert not {module.partition(".")[0] for module in imports(PACKAGE / file)} & TORCH
