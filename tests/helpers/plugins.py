"""Third-party packages that add a backend, built as wheels and really installed, without a network."""

import subprocess
import sys
import zipfile
from pathlib import Path


def install(folder: Path, entries: dict[str, str], modules: dict[str, str], version: str = "1.2.3") -> Path:
    """Install the distribution sample-counter with ``modules`` (name -> source) and ``entries`` (backend -> class)."""
    info = f"sample_counter-{version}.dist-info"
    points = "\n".join(f"{name} = {value}" for name, value in entries.items())
    files = {f"{name}.py": source for name, source in modules.items()} | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: sample-counter\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[crosscheck.backends]\n{points}\n",
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
