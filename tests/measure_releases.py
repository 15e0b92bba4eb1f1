"""Measure the installed releases into ledgers: ``python tests/measure_releases.py reports/ledgers``.

Every catalogue model on meta, and small modules on real CPU tensors, where torch runs other kernels. The ledgers go
into a folder named by the releases; `crosscheck compare` holds such folders against each other.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent / "helpers"))

import tiny
import torch
from modules import block
from msgspec.structs import replace
from packaging.version import Version

import crosscheck
from crosscheck import ledger
from crosscheck.backends import registry
from crosscheck.files import write_atomically
from crosscheck.models import configs
from crosscheck.report import verdict

MEASURED = (*registry.CORE, *registry.PROBES)
#: Models that every supported release of diffusers has; the others of the catalogue come from newer ones.
MODELS = ("sd15", "sd21-base", "sd21", "sdxl-base")


def releases(environment: dict[str, str]) -> dict[str, str]:
    """The environment without peft, and accelerate which it brings, where they don't change what diffusers builds."""
    needless = {"peft", "accelerate"} if Version(environment["diffusers"]) >= Version("0.27") else set()
    return {name: release for name, release in environment.items() if name not in needless}


def folder_name(environment: dict[str, str]) -> str:
    """``torch-2.13.0_diffusers-0.42.1``, and peft where it changes what diffusers builds."""
    named = releases(environment)
    public = {name: named[name].partition("+")[0] for name in ("torch", "diffusers", "peft") if name in named}
    return "_".join(f"{name}-{release}" for name, release in public.items())


def small() -> crosscheck.Ledger:
    """The block of the README, and Stable Diffusion's UNet and text encoder with a few channels, on CPU tensors."""
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    with tempfile.TemporaryDirectory() as place:
        folder = tiny.folder(Path(place) / "tiny")
        read = {part: configs.read_json(folder / part / "config.json") for part in ("unet", "text_encoder")}
    unet = UNet2DConditionModel.from_config(read["unet"]).eval()
    text_encoder = CLIPTextModel(CLIPTextConfig.from_dict(read["text_encoder"])).eval()
    cases = {
        "block": block("cpu"),
        "unet": (unet, torch.zeros(1, 4, 16, 16), torch.tensor(1), torch.zeros(1, 77, 16)),
        "text_encoder": (text_encoder, torch.zeros(1, 77, dtype=torch.long)),
    }
    with torch.no_grad():
        checked = [replace(crosscheck.check(*case), name=name) for name, case in cases.items()]
    return ledger.of_modules("small-cpu", checked, "cpu")


def timeless(run: crosscheck.Ledger, *, census: bool) -> Any:
    """A ledger's JSON without what differs from run to run: seconds, processes, releases, and backends not core.

    What a census calls things may differ between releases; the counts may not.
    """
    value = json.loads(run.to_json())
    del value["environment"]
    for component in value["components"]:
        for name in () if census else ("census", "other_ops"):
            del component[name]
        for name in ("graph", "exported") if census else ():
            component["census"].pop(name, None)  # known where backends were run that are not core
        for name, outcome in list(component["backends"].items()):
            for key in ("seconds", "memory", "isolated", "version", *(() if census else ("uncounted",))):
                outcome.pop(key, None)
            if name not in registry.CORE:
                del component["backends"][name]
    return value


def same_but_for_seconds(one: str, other: str) -> bool:
    """Whether two ledgers' texts differ in timings alone."""
    seconds = re.compile(r'"seconds": ?[\d.e-]+')
    return seconds.sub("", one) == seconds.sub("", other)


def main() -> None:
    place = Path(sys.argv[1]) / folder_name(ledger.environment())
    runs = [*(crosscheck.check_pipeline(model, backends=MEASURED) for model in MODELS), small()]
    for run in runs:
        path, text = place / f"{run.model}.json.gz", run.to_json()
        if not path.exists() or not same_but_for_seconds(ledger.read(path).decode(), text):
            write_atomically(path, gzip.compress(text.encode(), mtime=0))
    problems = [f"{run.model}: {problem}" for run in runs for problem in verdict.problems(run)]
    print(*problems, f"measured into {place}", sep="\n", file=sys.stderr)
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
