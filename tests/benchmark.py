"""Speed and memory, as ratios measured side by side in one run: ``python tests/benchmark.py``, ``--help`` for more.

Absolute times depend on the machine and its neighbours; ratios of processes run in turn do not, much. The limits are
what the project promises; a broken one is said, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

CATALOGUE = Path(__file__).parent.parent / "crosscheck" / "catalogue"

#: Builds models on meta and runs torch's own counter once over each component: what any counter has to do.
COUNT_ONCE = """
import json, sys, torch
from pathlib import Path
from torch.utils.flop_counter import FlopCounterMode
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from transformers import CLIPTextConfig, CLIPTextModel

def count(model, latent, width):
    read = lambda part: json.loads((Path(sys.argv[1]) / model / part / "config.json").read_text())
    with torch.device("meta"), torch.no_grad():
        unet = UNet2DConditionModel.from_config(read("unet"))
        vae = AutoencoderKL.from_config(read("vae"))
        text = CLIPTextModel(CLIPTextConfig(**read("text_encoder")))
        sample = torch.zeros(1, 4, latent, latent)
        for run in (
            lambda: unet(sample, torch.tensor(1), torch.zeros(1, 77, width)),
            lambda: vae.decode(sample),
            lambda: text(torch.zeros(1, 77, dtype=torch.long)),
        ):
            with FlopCounterMode(display=False) as counter:
                run()
            print(counter.get_total_flops() // 2)
"""
FLOOR = COUNT_ONCE + 'count("sd21-base", 64, 1024)\n'
FURTHER = (
    COUNT_ONCE
    + """
import time
count("sd21-base", 64, 1024)
started = time.perf_counter()
count("sd15", 64, 768)
print("further", time.perf_counter() - started)
"""
)
RUN = "from crosscheck.cli import main; main()"
RUN_FURTHER = """
import time, crosscheck
crosscheck.check_pipeline("sd21-base")
started = time.perf_counter()
crosscheck.check_pipeline("sd15")
print("further", time.perf_counter() - started)
"""
#: FLUX.1-dev: its classes imported, each component built on meta and counted once.
FLUX_FLOOR = """
import json, sys, torch
from pathlib import Path
from torch.utils.flop_counter import FlopCounterMode
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

read = lambda part: json.loads((Path(sys.argv[1]) / "flux1-dev" / part / "config.json").read_text())
with torch.device("meta"), torch.no_grad():
    transformer = FluxTransformer2DModel.from_config(read("transformer"))
    vae = AutoencoderKL.from_config(read("vae"))
    clip = CLIPTextModel(CLIPTextConfig(**read("text_encoder")))
    t5 = T5EncoderModel(T5Config(**read("text_encoder_2")))
    image, text = torch.zeros(1, 4096, 64), torch.zeros(1, 512, 4096)
    positions = {"img_ids": torch.zeros(4096, 3), "txt_ids": torch.zeros(512, 3)}
    pooled, one = torch.zeros(1, 768), torch.ones(1)
    for run in (
        lambda: transformer(image, text, pooled, one, guidance=one, **positions),
        lambda: vae.decode(torch.zeros(1, 16, 128, 128)),
        lambda: clip(torch.zeros(1, 77, dtype=torch.long)),
        lambda: t5(torch.zeros(1, 512, dtype=torch.long)),
    ):
        with FlopCounterMode(display=False) as counter:
            run()
        print(counter.get_total_flops() // 2)
"""
#: The same pipeline with 2,000 denoising calls more, in a process that has run it once.
MORE_CALLS = """
import time, crosscheck
def seconds(steps):
    started = time.perf_counter()
    crosscheck.check_pipeline("flux1-dev", num_inference_steps=steps, backends=())
    return time.perf_counter() - started
seconds(2)
print("further", (seconds(2028) - seconds(28)) / 2000)
"""
#: What the field does: thop with the attention patch on real float32 weights, computing everything.
NAIVE = """
import json, sys, thop, torch
from pathlib import Path
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from transformers import CLIPTextConfig, CLIPTextModel
from crosscheck.tracing.sdpa import observing

read = lambda part: json.loads((Path(sys.argv[1]) / "sd21-base" / part / "config.json").read_text())
unet, vae = UNet2DConditionModel.from_config(read("unet")), AutoencoderKL.from_config(read("vae"))
vae.forward = vae.decode
text = CLIPTextModel(CLIPTextConfig(**read("text_encoder")))
sample = torch.zeros(1, 4, 64, 64)
for model, inputs in (
    (unet, (sample, torch.tensor(1), torch.zeros(1, 77, 1024))),
    (vae, (sample,)),
    (text, (torch.zeros(1, 77, dtype=torch.long),)),
):
    calls = []
    with observing(calls.append):
        macs, _ = thop.profile(model, inputs=inputs, verbose=False)
    print(int(macs) + sum(call.macs for call in calls))
"""

#: What a counter costs: forwards of a UNet with real weights, by themselves and under thop with the rule of N x N for
#: attention, in turn.
OVERHEAD = """
import json, sys, time, thop, torch
from pathlib import Path
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from crosscheck.tracing.sdpa import observing

config = json.loads((Path(sys.argv[1]) / "sd21-base" / "unet" / "config.json").read_text())
device, dtype = (sys.argv[3], torch.float16) if sys.argv[3] != "cpu" else ("cpu", torch.float32)
unet = UNet2DConditionModel.from_config(config).eval().to(device, dtype)
latent, text = (torch.zeros(*shape, device=device, dtype=dtype) for shape in ((1, 4, 64, 64), (1, 77, 1024)))
inputs = latent, torch.tensor(1, device=device), text
wait = torch.cuda.synchronize if device == "cuda" else lambda: None

def seconds(run):
    wait()
    started = time.perf_counter()
    with torch.no_grad():
        run()
    wait()
    return time.perf_counter() - started

def counted():
    calls = []
    with observing(calls.append):
        macs, _ = thop.profile(unet, inputs=inputs, verbose=False)
    return int(macs) + sum(call.query_only_macs for call in calls)

for _ in range(3):
    seconds(counted), seconds(lambda: unet(*inputs))  # so that neither is first
print(json.dumps([[seconds(lambda: unet(*inputs)), seconds(counted)] for _ in range(int(sys.argv[2]))]))
"""


class Cost(NamedTuple):
    """Of one process with all its children: seconds, and the peak of memory in any one of them."""

    seconds: float
    gigabytes: float
    further: float


def cost(script: str, *arguments: str) -> Cost:
    """Run ``script`` in a process of its own."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", script, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    printed = process.stdout.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"a process failed with {process.returncode}: {script[:60]!r}")
    further = [float(line.split()[1]) for line in printed.splitlines() if line.startswith("further")]
    return Cost(time.perf_counter() - started, usage.ru_maxrss * 1024 / 1e9, further[0] if further else 0.0)


def median(costs: list[Cost]) -> Cost:
    return Cost(*(statistics.median(values) for values in zip(*costs, strict=True)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="rounds, of which the median counts")
    parser.add_argument("--naive", action="store_true", help="also against real weights: a minute, 7 GB")
    parser.add_argument("--catalogue", action="store_true", help="also every model of the catalogue: four minutes")
    parser.add_argument("--overhead", action="store_true", help="instead, what thop adds to a real forward, as a claim")
    parser.add_argument("--device", default="cpu", help="of --overhead: cpu in float32, cuda in float16")
    options = parser.parse_args()
    if options.overhead:
        return overhead(options.rounds, options.device)
    everything = Path(tempfile.mkdtemp()) / "ledger.json"
    scripts = {
        "floor": (FLOOR, str(CATALOGUE)),
        "run": (RUN, "run", "sd21-base", "--json", str(Path(tempfile.mkdtemp()) / "ledger.json")),
        "run, all": (RUN, "run", "sd21-base", "-b", "all", "--json", str(everything)),
        "further, floor": (FURTHER, str(CATALOGUE)),
        "further, run": (RUN_FURTHER,),
        "flux, floor": (FLUX_FLOOR, str(CATALOGUE)),
        "flux, run": (
            RUN,
            "run",
            "flux1-dev",
            "--steps",
            "28",
            "--json",
            str(Path(tempfile.mkdtemp()) / "ledger.json"),
        ),
        "flux, calls": (MORE_CALLS,),
        "empty": ("pass",),
        "import": ("import crosscheck",),
    }
    taken: dict[str, list[Cost]] = {name: [] for name in scripts}
    for _ in range(options.rounds):
        for name, script in scripts.items():
            taken[name].append(cost(*script))
    costs = {name: median(times) for name, times in taken.items()}
    if options.catalogue:
        names = sorted(path.parent.name for path in CATALOGUE.glob("*/model_index.json"))
        costs["catalogue"] = cost(RUN, "run", *names, "-o", tempfile.mkdtemp())
    if options.naive:
        costs["naive"] = cost(NAIVE, str(CATALOGUE))
    return report(costs, slowest(everything))


def overhead(rounds: int, device: str) -> int:
    """Print what a counter adds to a forward as a claims file has it."""
    command = [sys.executable, "-W", "ignore", "-c", OVERHEAD, str(CATALOGUE), str(rounds), device]
    pairs = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    for name, seconds in zip(("plain", "counted"), zip(*pairs, strict=True), strict=True):
        print(f"{name} = {[round(one, 4) for one in seconds]}")
    return 0


def slowest(path: Path) -> float:
    """Seconds that the slowest backend took by itself, over all components of a ledger."""
    seconds: dict[str, float] = {}
    for component in json.loads(path.read_text())["components"]:
        for name, outcome in component["backends"].items():
            seconds[name] = seconds.get(name, 0.0) + outcome.get("seconds", 0.0)
    return max(seconds.values())


def report(costs: dict[str, Cost], slowest_backend: float) -> int:
    """Print each promise with what was measured; 1 if one is broken."""
    floor, run = costs["floor"], costs["run"]
    everything = costs["run, all"].seconds - slowest_backend
    promises = [
        ("run sd21-base, eight backends / floor", run.seconds / floor.seconds, 1.5, "x"),
        ("run sd21-base, peak of any one process", run.gigabytes, 0.6, "GB"),
        ("run sd21-base, all backends, less the slowest / floor", everything / floor.seconds, 3, "x"),
        ("a further model / counting it once", costs["further, run"].further / costs["further, floor"].further, 7, "x"),
        ("run flux1-dev, eight backends / floor", costs["flux, run"].seconds / costs["flux, floor"].seconds, 3, "x"),
        ("run flux1-dev, peak of any one process", costs["flux, run"].gigabytes, 0.8, "GB"),
        ("flux1-dev, a further denoising call", 1000 * costs["flux, calls"].further, 5, "ms"),
        ("import crosscheck - empty", 1000 * (costs["import"].seconds - costs["empty"].seconds), 50, "ms"),
    ]
    if "naive" in costs:
        naive = costs["naive"]
        promises += [
            ("run sd21-base / naive thop, seconds", run.seconds / naive.seconds, 1 / 5, "x"),
            ("run sd21-base / naive thop, memory", run.gigabytes / naive.gigabytes, 1 / 10, "x"),
        ]
    if "catalogue" in costs:
        promises.append(("run the whole catalogue", costs["catalogue"].seconds / 60, 4, "minutes"))
    for name, times in costs.items():
        print(
            f"{name:16} {times.seconds:7.2f} s {times.gigabytes:6.2f} GB"
            + (f" {times.further:7.2f} s further" if times.further else "")
        )
    for name, measured, limit, unit in promises:
        print(f"{'ok    ' if measured <= limit else 'BROKEN'} {name}: {measured:.2f} {unit}, promised {limit:.2f}")
    return int(any(measured > limit for _, measured, limit, _ in promises))


if __name__ == "__main__":
    sys.exit(main())
