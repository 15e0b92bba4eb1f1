"""Every pipeline that diffusers' own fast tests build, run twice, really and hollow: the counts must be equal.

    python tests/upstream.py DIFFUSERS_CHECKOUT [-k PART] [--json FILE] [--page reports/pipelines.md]

The checkout is the caller's: nothing of it is kept here. What its tests load from the hub is made here instead, tiny.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import inspect
import json
import multiprocessing
import os
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import Any
from unittest import mock

TIME_LIMIT = 240
#: What a test case that builds a pipeline has.
BUILDS = ("get_dummy_components", "get_dummy_inputs", "pipeline_class")


def found(checkout: Path, part: str) -> list[str]:
    """Every test module of a pipeline."""
    paths = sorted((checkout / "tests/pipelines").rglob("test_*.py"))
    return [".".join(path.relative_to(checkout).with_suffix("").parts) for path in paths if part in str(path)]


def stand_ins() -> list[Any]:
    """In place of what the tests load from the hub."""
    import transformers

    from crosscheck import vocabulary

    def tokenizer(cls: Any, *args: Any, **kwargs: Any) -> Any:
        kind = "T5Tokenizer" if "t5" in str(args[0]).lower() else "BertTokenizer" if "Bert" in str(args[0]) else ""
        kind = kind or ("GemmaTokenizer" if "gemma" in str(args[0]) else "Qwen2Tokenizer")
        own = getattr(transformers, kind) if cls is transformers.AutoTokenizer else cls
        length = {"model_max_length": 77} if "CLIP" in own.__name__ else {"model_max_length": 512}
        return vocabulary.tokenizer(own, length | {"pad_token": "<pad>"} if "Qwen" in own.__name__ else length)

    t5 = transformers.T5Config(
        vocab_size=1103, d_model=32, d_kv=8, d_ff=37, num_layers=5, num_heads=4, relative_attention_num_buckets=8
    )

    def t5_encoder(cls: Any, *args: Any, **kwargs: Any) -> Any:
        return cls(t5).eval()

    def auto_config(cls: Any, *args: Any, **kwargs: Any) -> Any:
        if "t5" not in str(args[0]):
            raise OSError(f"{args[0]} is not made here")
        return t5

    def bert(cls: Any, *args: Any, **kwargs: Any) -> Any:
        tiny = transformers.BertConfig(
            vocab_size=1124, hidden_size=32, num_hidden_layers=5, num_attention_heads=4, intermediate_size=37
        )
        return cls(tiny).eval()

    def patched(owner: Any, function: Any) -> Any:
        return mock.patch.object(owner, "from_pretrained", classmethod(function))

    return [
        patched(transformers.PreTrainedTokenizerBase, tokenizer),
        patched(transformers.AutoTokenizer, tokenizer),
        patched(transformers.AutoConfig, auto_config),
        patched(transformers.T5EncoderModel, t5_encoder),
        patched(
            transformers.UMT5EncoderModel, lambda cls, *a, **k: cls(transformers.UMT5Config(**t5_sizes(t5))).eval()
        ),
        patched(transformers.BertModel, bert),
    ]


def t5_sizes(config: Any) -> dict[str, Any]:
    names = ("vocab_size", "d_model", "d_kv", "d_ff", "num_layers", "num_heads")
    return {name: getattr(config, name) for name in names}


def compared(module: str, name: str) -> dict[str, Any]:
    """One test case's pipeline, run really and hollow."""
    import torch
    from real_runs import observed, told

    import crosscheck.hollow
    from crosscheck.run import modules

    case = getattr(importlib.import_module(module), name)()
    takes_device = "device" in inspect.signature(case.get_dummy_inputs).parameters
    inputs = functools.partial(case.get_dummy_inputs, *["cpu"] * takes_device)

    def made() -> Any:
        torch.manual_seed(0)
        pipe = case.pipeline_class(**case.get_dummy_components())
        pipe.set_progress_bar_config(disable=True)
        for part in modules(pipe).values():
            part.eval()
        torch.manual_seed(0)
        return pipe

    pipe = made()
    with torch.no_grad():
        real, real_outside = observed(modules(pipe), lambda: pipe(**inputs()))
    pipe = made()  # anew: some keep what they made at their first call
    hollow = crosscheck.hollow.Hollow(modules(pipe))
    given = inputs()
    with hollow.answering(), torch.no_grad():
        pipe(**given)
    said = told(hollow)
    return {
        "pipeline": exported(type(pipe)),
        "equal": real == said,
        "outside": [real_outside, hollow.outside_macs],
        "differences": differences(real, said),
    }


def exported(cls: type) -> str:
    """The class of diffusers that it is; some tests wrap it in their own."""
    import diffusers

    return next((c.__name__ for c in cls.__mro__ if hasattr(diffusers, c.__name__)), cls.__name__)


def differences(real: dict[str, list[Any]], said: dict[str, list[Any]]) -> list[str]:
    lines = []
    for name in sorted(real.keys() | said.keys()):
        a, b = real.get(name, []), said.get(name, [])
        if a != b:
            first = next(((x, y) for x, y in zip(a, b, strict=False) if x != y), (None, None))
            total = [sum(macs for macs, _ in calls if macs) for calls in (a, b)]
            lines.append(f"{name}: calls {len(a)}/{len(b)} macs {total[0]}/{total[1]} first {str(first)[:300]}")
    return lines


def child(checkout: str, module: str, out: Any) -> None:
    """Every test case of one module, in a process of its own."""
    sys.path[:0] = [checkout]
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    warnings.simplefilter("ignore")
    import torch

    torch.set_num_threads(1)
    with mock.patch.dict(os.environ):
        patches = stand_ins()
        for patch in patches:
            patch.start()
        try:
            loaded = importlib.import_module(module)
        except BaseException as error:
            out.put((module, "", {"error": f"import: {type(error).__name__}: {str(error)[:200]}"}))
            return
        seen = set()
        for name, cls in vars(loaded).items():
            own = isinstance(cls, type) and cls.__module__ == module
            if not own or not all(hasattr(cls, name) for name in BUILDS):
                continue
            built = (cls.pipeline_class, cls.get_dummy_components, cls.get_dummy_inputs)
            if built in seen:
                continue
            seen.add(built)
            try:
                result = compared(module, name)
            except BaseException as error:
                where = traceback.extract_tb(error.__traceback__)
                stage = "hollow" if any("hollow.py" in f.filename for f in where) else "real"
                place = [f"{Path(f.filename).name}:{f.lineno}" for f in where[-3:]]
                pipeline = exported(cls.pipeline_class) if isinstance(cls.pipeline_class, type) else "?"
                text = f"{type(error).__name__}: {str(error)[:300]} {place}"
                result = {"pipeline": pipeline, "stage": stage, "error": text}
            out.put((module, name, result))


def page(results: list[dict[str, Any]]) -> str:
    """Every pipeline class that diffusers exports: equal, or why not."""
    import diffusers
    from families import FAMILIES

    from crosscheck.report.text import escape, table

    said: dict[str, str] = {}
    for result in results:
        name = result.get("pipeline", "")
        if result.get("equal"):
            said[name] = "equal"
        elif said.get(name) != "equal":
            said[name] = "; ".join(result.get("differences", [])) or result.get("error", "")
    exported = [name for name in sorted(dir(diffusers)) if name.endswith("Pipeline")]
    rows, equal = [], 0
    for name in exported:
        cls = getattr(diffusers, name)
        if not (isinstance(cls, type) and issubclass(cls, diffusers.DiffusionPipeline)):
            continue  # modular, Flax and ONNX ones, and those that need a package that is not installed
        verdict = said.get(name, "no test case of diffusers builds it")
        if name in FAMILIES:
            verdict = "equal"
        equal += verdict == "equal"
        rows.append((escape(name), verdict if verdict == "equal" else escape(verdict, 160)))
    return (
        "# Pipelines\n\n"
        f"Every pipeline class that diffusers {diffusers.__version__} exports, tiny, run twice: really, with random "
        "weights on the CPU, and hollow. "
        "Equal means: the same calls of each component, the same shapes, the same MACs. Where it is not, the reason is "
        "that of the run as it ended.\n\n"
        f"{equal} of {len(rows)} are equal.\n\n{table('ll', ('Pipeline', 'Hollow and real'), rows)}\n"
    )


def main() -> None:
    """Run all, and say what differs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("checkout", type=Path)
    parser.add_argument("-k", default="", metavar="PART")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--page", type=Path, help="a table of every pipeline class that diffusers exports")
    parser.add_argument("-n", type=int, default=2)
    arguments = parser.parse_args()
    import diffusers
    import transformers
    from diffusers import FluxPipeline, StableDiffusionXLPipeline, WanPipeline  # noqa: F401  once, not in every child
    from transformers import CLIPTextModel, T5EncoderModel  # noqa: F401

    import crosscheck.run  # noqa: F401

    for library in (diffusers, transformers):
        library.logging.set_verbosity_error()
    warnings.simplefilter("ignore")
    waiting = found(arguments.checkout, arguments.k)
    context = multiprocessing.get_context("fork")
    results: dict[str, Any] = {}
    running: list[tuple[str, Any, Any, float]] = []
    while waiting or running:
        while waiting and len(running) < arguments.n:
            module = waiting.pop(0)
            queue = context.SimpleQueue()
            process = context.Process(target=child, args=(str(arguments.checkout), module, queue))
            process.start()
            running.append((module, process, queue, time.monotonic()))
        time.sleep(0.1)
        for entry in list(running):
            module, process, queue, started = entry
            over = time.monotonic() - started > TIME_LIMIT
            if over:
                process.kill()
                process.join()
                results[module] = {"error": "time limit"}
            while not queue.empty():
                place, name, result = queue.get()
                results[f"{place}:{name}"] = result
                good = result.get("equal")
                verdict = "equal" if good else "DIFFERENT" if "equal" in result else "error"
                why = "" if good else result.get("differences") or result.get("error")
                print(verdict, place, name, result.get("pipeline"), why, flush=True)
            if not process.is_alive():
                process.join()
                running.remove(entry)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))
    if arguments.page:
        arguments.page.write_text(page(list(results.values())))
    good = [r for r in results.values() if r.get("equal")]
    print(f"{len(good)} of {len(results)} equal, {len({r['pipeline'] for r in good})} pipeline classes")


if __name__ == "__main__":
    main()
