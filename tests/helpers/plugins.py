"""Third-party packages that add a backend and causes, built as wheels and really installed, without a network."""

import contextlib
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

from crosscheck.causes.tool import all_or_nothing


class _OverError(Exception):
    """What was declared goes."""


@contextlib.contextmanager
def declared_apart() -> Iterator[None]:
    """What is declared inside, tools and causes, is gone afterwards."""
    with contextlib.suppress(_OverError), all_or_nothing():
        yield
        raise _OverError


def install(
    folder: Path,
    entries: dict[str, str],
    modules: dict[str, str],
    version: str = "1.2.3",
    causes: dict[str, str] | None = None,
) -> Path:
    """Install the distribution sample-counter with ``modules`` (name -> source) and ``entries`` (backend -> class).

    ``causes`` are entry points of causes (tool -> module).
    """
    info = f"sample_counter-{version}.dist-info"
    groups = {"crosscheck.backends": entries, "crosscheck.causes": causes or {}}
    points = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in named.items())
        for group, named in groups.items()
    ]
    files = {f"{name}.py": source for name, source in modules.items()} | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: sample-counter\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "\n".join(points),
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in (*files, f"{info}/RECORD"))
    folder.mkdir()
    wheel = folder / f"sample_counter-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    target = folder / "site"
    command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--offline", "--no-deps", "--no-config"]
    subprocess.run([*command, "--python", sys.executable, "--target", str(target), str(wheel)], check=True)
    return target
