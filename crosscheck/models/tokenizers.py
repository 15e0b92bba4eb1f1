"""Tokenizers without a published vocabulary: real ones, of the model's own lengths and special tokens.

Pipelines pad to a length of their own or of the tokenizer's, so which words it knows does not matter there. Where a
model runs as many tokens as the prompt has, the count is that of a vocabulary in which every word is one token.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from crosscheck.models.configs import UNLIMITED
from crosscheck.tracing import versions

_SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
#: Special tokens that a class puts before and after a text, by the beginning of its name.
_AROUND = {
    "CLIP": ("bos_token", "eos_token"),
    "T5": ("", "eos_token"),
    "UMT5": ("", "eos_token"),
    "Bert": ("cls_token", "sep_token"),
    "Roberta": ("cls_token", "sep_token"),
    "XLMRoberta": ("cls_token", "sep_token"),
    "Gemma": ("bos_token", ""),
    "Llama": ("bos_token", ""),
}
#: For models whose own template is not among the configs: the messages, one after another.
_TEMPLATE = (
    "{% for message in messages %}{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{{ part['text'] if 'text' in part else part['type'] }} {% endfor %}"
    "{% endif %} {% endfor %}"
)


def tokenizer(cls: type, config: Mapping[str, Any]) -> Any:
    """A tokenizer with the special tokens, lengths and padding of ``cls`` and its config, and a token for each word."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    defaults = inspect.signature(cls.__init__).parameters  # type: ignore[misc]
    special: dict[str, str] = {}
    for name in _SPECIAL:
        text = config.get(name, defaults[name].default if name in defaults else None)
        text = text.get("content") if isinstance(text, Mapping) else text
        if isinstance(text, str):
            special[name] = text
    special.setdefault("unk_token", "<unk>")
    special.setdefault("pad_token", special["unk_token"])  # without one nothing can be padded
    words = dict.fromkeys(special.values())
    ids = {word: i for i, word in enumerate(words)}
    made = Tokenizer(models.WordLevel(ids, unk_token=special["unk_token"]))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    before, after = (special.get(name, "") for name in _around(cls, config))
    made.post_processor = processors.TemplateProcessing(
        single=[*filter(None, [before]), "$A", *filter(None, [after])],
        special_tokens=[(word, ids[word]) for word in {before, after} - {""}],
    )
    options = {name: config[name] for name in ("model_max_length", "padding_side", "truncation_side") if name in config}
    if options.get("model_max_length") == UNLIMITED:
        del options["model_max_length"]
    result = PreTrainedTokenizerFast(
        tokenizer_object=made,
        model_input_names=cls.model_input_names,  # type: ignore[attr-defined]
        **options,
        **special,
    )
    versions.add_tokens_encoder(result)
    result.chat_template = config.get("chat_template", _TEMPLATE)
    return result


def _around(cls: type, config: Mapping[str, Any]) -> tuple[str, str]:
    beginnings = (name for name in _AROUND if cls.__name__.startswith(name))
    before, after = _AROUND.get(max(beginnings, key=len, default=""), ("", ""))
    if "add_bos_token" in config:
        before = "bos_token" if config["add_bos_token"] else ""
    if "add_eos_token" in config:
        after = "eos_token" if config["add_eos_token"] else ""
    return before, after
