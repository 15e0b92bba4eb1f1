"""The real classes of diffusers and transformers, and torch's own counter over one call of them."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from installed import attention_as_products
from strategies import Drawn
from transformers import (
    CLIPConfig,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModel,
    CLIPVisionModelWithProjection,
)

from crosscheck.backends.aten import Aten
from crosscheck.tracing.calling import case_of

CLASSES = {
    cls.__name__: (cls, config_class)
    for cls, config_class in (
        (UNet2DConditionModel, None),
        (AutoencoderKL, None),
        (CLIPTextModel, CLIPTextConfig),
        (CLIPTextModelWithProjection, CLIPTextConfig),
        (CLIPVisionModel, CLIPVisionConfig),
        (CLIPVisionModelWithProjection, CLIPVisionConfig),
        (StableDiffusionSafetyChecker, CLIPConfig),
    )
}
LABELS = ("input_ids", "class_labels", "timestep")


def build(class_name: str, config: dict[str, Any], device: str = "meta") -> torch.nn.Module:
    cls, config_class = CLASSES[class_name]
    with torch.device(device):
        return (cls(**config) if config_class is None else cls(config_class(**config))).eval()


def arguments(inputs: dict[str, tuple[int, ...]], device: str = "meta") -> dict[str, Any]:
    """Tensors of these shapes, dotted names nested; rank 1 and ids are integers."""
    nested: dict[str, Any] = {}
    for name, shape in inputs.items():
        integer = (name in LABELS and len(shape) < 2) or name == "input_ids"
        tensor = torch.zeros(shape, dtype=torch.long if integer else torch.float32, device=device)
        outer, _, inner = name.partition(".")
        if inner:
            nested.setdefault(outer, {})[inner] = tensor
        else:
            nested[outer] = tensor
    return nested


def call(module: torch.nn.Module, entry: str, inputs: dict[str, tuple[int, ...]], device: str = "meta") -> None:
    method = getattr(module, entry)
    given = arguments(inputs, device)
    if "encoder_hidden_states" in inspect.signature(method).parameters:
        given.setdefault("encoder_hidden_states", None)
    with torch.no_grad():
        method(**given)


def traced_macs(drawn: Drawn) -> dict[str, int]:
    """MACs of one call by op, by crosscheck's own trace on meta."""
    module = build(drawn.class_name, drawn.config)
    given = arguments(drawn.inputs)
    method = getattr(module, drawn.entry)
    if "encoder_hidden_states" in inspect.signature(method).parameters:
        given.setdefault("encoder_hidden_states", None)
    case = dataclasses.replace(case_of(module, (), given, entry=drawn.entry), real_integers=True)
    with torch.no_grad():
        return dict(Aten().run(case).by_op)


def torch_macs(drawn: Drawn) -> tuple[int, int]:
    """Convolution MACs and all other MACs of one call, by torch's FlopCounterMode.

    On meta, where it sees attention as products. The safety checker reads values, so it is run on the CPU, with
    attention as products too: the counter has no rule for the CPU's fused kernel.
    """
    real = drawn.class_name == "StableDiffusionSafetyChecker"
    device = "cpu" if real else "meta"
    module = build(drawn.class_name, drawn.config, device)
    attention = attention_as_products() if real else contextlib.nullcontext()
    from torch.utils.flop_counter import FlopCounterMode

    with attention, FlopCounterMode(display=False) as counter:
        call(module, drawn.entry, drawn.inputs, device)
    flops = counter.get_flop_counts()["Global"]
    conv = sum(value for op, value in flops.items() if "convolution" in str(op))
    return conv // 2, (sum(flops.values()) - conv) // 2
