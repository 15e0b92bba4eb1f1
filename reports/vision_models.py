"""Image classifiers of published numbers, without weights: each gives a module on meta and its input."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoModelForImageClassification, PretrainedConfig
from transformers.models.convnext import ConvNextConfig
from transformers.models.efficientnet import EfficientNetConfig
from transformers.models.mobilenet_v2 import MobileNetV2Config
from transformers.models.resnet import ResNetConfig
from transformers.models.vit import ViTConfig


def _built(config: PretrainedConfig, pixels: int) -> tuple[Any, torch.Tensor]:
    """A classifier of ImageNet's 1,000 classes, and one image."""
    config.num_labels = 1000
    with torch.device("meta"):
        return AutoModelForImageClassification.from_config(config).eval(), torch.empty(1, 3, pixels, pixels)


def resnet18() -> tuple[Any, torch.Tensor]:
    """ResNet-18 at 224 pixels."""
    sizes = {"hidden_sizes": [64, 128, 256, 512], "depths": [2, 2, 2, 2], "embedding_size": 64}
    return _built(ResNetConfig(layer_type="basic", **sizes), 224)


def mobilenet_v2() -> tuple[Any, torch.Tensor]:
    """MobileNetV2 at 224 pixels."""
    return _built(MobileNetV2Config(), 224)


def efficientnet_b0() -> tuple[Any, torch.Tensor]:
    """EfficientNet-B0 at 224 pixels."""
    return _built(EfficientNetConfig(width_coefficient=1.0, depth_coefficient=1.0, hidden_dim=1280), 224)


def convnext_tiny() -> tuple[Any, torch.Tensor]:
    """ConvNeXt-T at 224 pixels."""
    return _built(ConvNextConfig(), 224)


def convnext_base_384() -> tuple[Any, torch.Tensor]:
    """ConvNeXt-B at 384 pixels."""
    return _built(ConvNextConfig(hidden_sizes=[128, 256, 512, 1024], depths=[3, 3, 27, 3]), 384)


def vit_b_16() -> tuple[Any, torch.Tensor]:
    """ViT-B/16 at 224 pixels."""
    return _built(ViTConfig(), 224)
