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

sys.path.append(str(Path(__file__).parent / "helpers"))

TIME_LIMIT = 240
#: What a test case that builds a pipeline has.
BUILDS = ("get_dummy_components", "get_dummy_inputs", "pipeline_class")


def found(checkout: Path, part: str) -> list[str]:
    """Every test module of a pipeline."""
    paths = sorted((checkout / "tests/pipelines").rglob("test_*.py"))
    return [".".join(path.relative_to(checkout).with_suffix("").parts) for path in paths if part in str(path)]


#: The ids that Qwen's models of images and text have by default for what stands around an image.
QWEN_TOKENS = {
    "<|im_start|>": 151644,
    "<|im_end|>": 151645,
    "<|vision_start|>": 151652,
    "<|vision_end|>": 151653,
    "<|image_pad|>": 151655,
    "<|video_pad|>": 151656,
}
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }} {% if message['content'] is string %}"
    "{{ message['content'] }}{% else %}{% for part in message['content'] %}{% if part['type'] == 'text' %}"
    "{{ part['text'] }}{% else %}<|vision_start|><|image_pad|><|vision_end|>{% endif %}{% endfor %}{% endif %}"
    "<|im_end|>{% endfor %}"
)
T5 = {"vocab_size": 1103, "d_model": 32, "d_kv": 8, "d_ff": 37, "num_layers": 5, "num_heads": 4}
DECODER = {
    "vocab_size": 2048,
    "hidden_size": 16,
    "intermediate_size": 37,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
}
BERT = {"vocab_size": 1124, "hidden_size": 32, "num_hidden_layers": 5, "num_attention_heads": 4}
QWEN_TEXT = {
    **DECODER,
    "vocab_size": 152064,
    "rope_scaling": {"mrope_section": [1, 1, 2], "rope_type": "default"},
}
SIGLIP = {
    "hidden_size": 32,
    "intermediate_size": 37,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 8,
}
#: What the tests load from the hub, as small: the sizes that its config takes.
MODELS: dict[str, dict[str, Any]] = {
    "T5EncoderModel": T5 | {"relative_attention_num_buckets": 8},
    "UMT5EncoderModel": T5,
    "BertModel": BERT | {"intermediate_size": 37},
    "LlamaForCausalLM": DECODER,
    "Gemma3ForConditionalGeneration": {
        "text_config": DECODER | {"hidden_size": 32, "head_dim": 8},
        "vision_config": SIGLIP,
        "mm_tokens_per_image": 16,
    },
    "SiglipVisionModel": SIGLIP,
    "Qwen2VLForConditionalGeneration": {
        "text_config": QWEN_TEXT,
        "vision_config": {"depth": 2, "embed_dim": 32, "hidden_size": 16, "num_heads": 4, "mlp_ratio": 1},
    },
    "Qwen3VLForConditionalGeneration": {
        "text_config": QWEN_TEXT | {"head_dim": 8},
        "vision_config": {
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 37,
            "num_heads": 4,
            "out_hidden_size": 16,
            "deepstack_visual_indexes": [1],
        },
    },
    "ChatGLMModel": {
        "num_layers": 2,
        "padded_vocab_size": 2048,
        "hidden_size": 8,
        "ffn_hidden_size": 37,
        "kv_channels": 8,
        "num_attention_heads": 4,
        "multi_query_group_num": 2,
        "multi_query_attention": True,
        "seq_length": 256,
        "rmsnorm": True,
        "add_bias_linear": False,
        "add_qkv_bias": True,
        "original_rope": True,
    },
}


class WithPositions:
    """As ChatGLM's tokenizer, which says where each token stands."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        import torch

        encoded = self._tokenizer(*args, **kwargs)
        encoded["position_ids"] = torch.arange(encoded["input_ids"].shape[1]).expand_as(encoded["input_ids"])
        return encoded


def stand_ins() -> list[Any]:
    """In place of what the tests load from the hub."""
    import transformers
    from diffusers.pipelines.kolors.tokenizer import ChatGLMTokenizer
    from tokenizers import Regex, models, pre_tokenizers
    from transformers.feature_extraction_utils import FeatureExtractionMixin
    from transformers.image_processing_base import ImageProcessingMixin

    from crosscheck.models import tokenizers

    def tokenizer(cls: Any, *args: Any, **kwargs: Any) -> Any:
        place = str(args[0]).lower()
        kinds = {"t5": "T5Tokenizer", "bert": "BertTokenizer", "gemma": "GemmaTokenizer", "llama": "LlamaTokenizer"}
        kind = next((kind for part, kind in kinds.items() if part in place), "Qwen2Tokenizer")
        own = getattr(transformers, kind) if cls in (transformers.AutoTokenizer, ChatGLMTokenizer) else cls
        length = {"model_max_length": 77 if "CLIP" in own.__name__ else 512}
        made = tokenizers.tokenizer(own, length | ({"pad_token": "<pad>"} if "Qwen" in own.__name__ else {}))
        if "Qwen" in own.__name__:
            vocabulary = made.backend_tokenizer.get_vocab() | QWEN_TOKENS
            made.backend_tokenizer.model = models.WordLevel(vocabulary, unk_token=made.unk_token)
            made.backend_tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")  # templates are cut off
            made.add_special_tokens({"additional_special_tokens": list(QWEN_TOKENS)})
        if cls is ChatGLMTokenizer:
            return WithPositions(made)
        return made

    def auto_config(cls: Any, *args: Any, **kwargs: Any) -> Any:
        if "t5" not in str(args[0]).lower():
            raise OSError(f"{args[0]} is not made here")
        return transformers.T5Config(**MODELS["T5EncoderModel"])

    def model(cls: Any, *args: Any, **kwargs: Any) -> Any:
        if cls.__name__ not in MODELS:
            raise OSError(f"{args[0]} is not made here")
        return cls(cls.config_class(**MODELS[cls.__name__])).eval()

    def processor(cls: Any, *args: Any, **kwargs: Any) -> Any:
        own = transformers.Qwen2VLProcessor if cls is transformers.AutoProcessor else cls
        if "Qwen" not in own.__name__ or "Qwen" not in str(args[0]):
            raise OSError(f"{args[0]} is not made here")
        return own(
            image_processor=transformers.Qwen2VLImageProcessor(),
            tokenizer=tokenizer(transformers.Qwen2Tokenizer, ""),
            video_processor=transformers.Qwen2VLVideoProcessor(),
            chat_template=TEMPLATE,
        )

    def default(cls: Any, *args: Any, **kwargs: Any) -> Any:
        size = {"size": {"height": 32, "width": 32}} if cls.__name__.startswith(("Siglip", "DPT")) else {}
        return cls(**size, **{name: value for name, value in kwargs.items() if name == "hop_length"})

    def patched(owner: Any, function: Any) -> Any:
        return mock.patch.object(owner, "from_pretrained", classmethod(function))

    return [
        patched(transformers.PreTrainedTokenizerBase, tokenizer),
        patched(transformers.AutoTokenizer, tokenizer),
        patched(transformers.AutoConfig, auto_config),
        patched(transformers.PreTrainedModel, model),
        patched(transformers.ProcessorMixin, processor),
        patched(transformers.AutoProcessor, processor),
        patched(ImageProcessingMixin, default),
        patched(FeatureExtractionMixin, default),
    ]


def compared(module: str, name: str) -> dict[str, Any]:
    """One test case's pipeline, run really and hollow."""
    import torch
    from real_runs import observed, told

    import crosscheck.pipelines.hollow
    from crosscheck.pipelines.check import modules

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
    hollow = crosscheck.pipelines.hollow.Hollow(modules(pipe))
    given = inputs()
    with hollow.answering(), torch.no_grad():
        pipe(**given)
    hollow_calls = told(hollow)
    return {
        "pipeline": exported(type(pipe)),
        "equal": real == hollow_calls,
        "outside": [real_outside, hollow.outside_macs],
        "differences": differences(real, hollow_calls),
    }


def exported(cls: type) -> str:
    """The class of diffusers that it is; some tests wrap it in their own."""
    import diffusers

    return next((c.__name__ for c in cls.__mro__ if hasattr(diffusers, c.__name__)), cls.__name__)


def differences(real: dict[str, list[Any]], hollow_calls: dict[str, list[Any]]) -> list[str]:
    lines = []
    for name in sorted(real.keys() | hollow_calls.keys()):
        a, b = real.get(name, []), hollow_calls.get(name, [])
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
            if built in seen or not isinstance(cls.pipeline_class, type) or _takes_more(cls.get_dummy_components):
                continue  # the same again, or a base of test cases
            seen.add(built)
            try:
                result = compared(module, name)
            except BaseException as error:
                where = traceback.extract_tb(error.__traceback__)
                stage = "hollow" if any("hollow.py" in f.filename for f in where) else "real"
                place = [f"{Path(f.filename).name}:{f.lineno}" for f in where[-3:]]
                pipeline = exported(cls.pipeline_class)
                text = f"{type(error).__name__}: {str(error)[:300]} {place}"
                result = {"pipeline": pipeline, "stage": stage, "error": text}
            out.put((module, name, result))


def _takes_more(function: Any) -> bool:
    parameters = list(inspect.signature(function).parameters.values())[1:]
    return any(p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters)


def page(results: list[dict[str, Any]]) -> str:
    """Every pipeline class that diffusers exports: equal, or why not."""
    import diffusers
    from families import FAMILIES

    from crosscheck.report.text import escape, table

    outcomes: dict[str, str] = {}
    for result in results:
        if outcomes.get(name := result.get("pipeline", "")) == "equal":
            continue
        if "error" in result:
            place = "hollow: " if result.get("stage") == "hollow" else "its test case ends in "
            outcomes[name] = place + " ".join(result["error"].split()).partition(" ['")[0]
        else:
            outcomes[name] = "equal" if result["equal"] else "; ".join(result["differences"])
    outcomes.update(dict.fromkeys(FAMILIES, "equal"))
    classes = {name: getattr(diffusers, name) for name in sorted(dir(diffusers)) if "Pipeline" in name}
    # Not the modular, Flax and ONNX ones, nor those that need a package that is not installed.
    pipelines = [
        name
        for name, cls in classes.items()
        if isinstance(cls, type)
        and issubclass(cls, diffusers.DiffusionPipeline)
        and cls is not diffusers.DiffusionPipeline
    ]
    verdicts = {name: outcomes.get(name, "no test case of diffusers builds it") for name in pipelines}
    rows = [
        (escape(name), verdict if verdict == "equal" else escape(verdict, 160)) for name, verdict in verdicts.items()
    ]
    equal = list(verdicts.values()).count("equal")
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
