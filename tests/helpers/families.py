"""Tiny pipelines of every family: published configs shrunk by rule, and how each class is called.

A component keeps its class and the kinds of its blocks; its levels, layers, widths and vocabulary are cut down.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from PIL import Image

from crosscheck.models import build as pipelines
from crosscheck.models import configs, tokenizers
from crosscheck.models.configs import ComponentConfig, PipelineConfig

CLIP = {
    "hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2, "num_hidden_layers": 2, "projection_dim": 16,
    "vocab_size": 64, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1,
}  # fmt: skip
T5 = {"d_model": 16, "d_kv": 4, "num_heads": 2, "d_ff": 24, "num_layers": 2, "vocab_size": 64}
LLM = {
    "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 4, "vocab_size": 64,
}  # fmt: skip
UNET = {
    "block_out_channels": [8, 16],
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
    "attention_head_dim": 2,
    "cross_attention_dim": 16,
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "sample_size": 32,
    "transformer_layers_per_block": 1,
    "only_cross_attention": False,
}
SHRUNK: Mapping[str, Mapping[str, Any]] = {
    "CLIPTextModel": CLIP,
    "CLIPTextModelWithProjection": CLIP,
    "T5EncoderModel": T5,
    "UMT5EncoderModel": T5,
    "BertModel": {k: v for k, v in LLM.items() if k not in ("num_key_value_heads", "head_dim")},
    "Gemma2Model": LLM | {"query_pre_attn_scalar": 4},
    "LlamaModel": LLM,
    "UNet2DConditionModel": UNET,
    "ControlNetModel": {
        name: UNET[name] for name in UNET if name not in ("up_block_types", "sample_size")
    } | {"conditioning_embedding_out_channels": [8, 8]},
    "AutoencoderKL": {
        "block_out_channels": [8, 8],
        "down_block_types": ["DownEncoderBlock2D"] * 2,
        "up_block_types": ["UpDecoderBlock2D"] * 2,
        "layers_per_block": 1,
        "norm_num_groups": 4,
    },
    "SD3Transformer2DModel": {
        "sample_size": 32, "num_layers": 2, "attention_head_dim": 8, "num_attention_heads": 2,
        "joint_attention_dim": 32, "caption_projection_dim": 16, "pooled_projection_dim": 32, "pos_embed_max_size": 32,
    },
    "FluxTransformer2DModel": {
        "num_layers": 1, "num_single_layers": 1, "attention_head_dim": 8, "num_attention_heads": 2,
        "joint_attention_dim": 16, "pooled_projection_dim": 16, "axes_dims_rope": [2, 2, 4],
    },
    "PixArtTransformer2DModel": {
        "num_layers": 1, "attention_head_dim": 12, "num_attention_heads": 2, "caption_channels": 16,
        "cross_attention_dim": 24, "sample_size": 32,
    },
    "Transformer2DModel": {
        "num_layers": 1, "attention_head_dim": 12, "num_attention_heads": 2, "sample_size": 32,
    },
    "SanaTransformer2DModel": {
        "num_layers": 1, "attention_head_dim": 4, "num_attention_heads": 2, "num_cross_attention_heads": 2,
        "cross_attention_head_dim": 4, "cross_attention_dim": 8, "caption_channels": 16, "sample_size": 32,
        "in_channels": 4, "out_channels": 4,
    },
    "AutoencoderDC": {
        "latent_channels": 4, "attention_head_dim": 4,
        "encoder_block_types": ["ResBlock", "EfficientViTBlock"],
        "decoder_block_types": ["ResBlock", "EfficientViTBlock"],
        "encoder_block_out_channels": [8, 8], "decoder_block_out_channels": [8, 8],
        "encoder_layers_per_block": [1, 1], "decoder_layers_per_block": [1, 1],
        "encoder_qkv_multiscales": [[], [5]], "decoder_qkv_multiscales": [[], [5]],
    },
    "Lumina2Transformer2DModel": {
        "sample_size": 16, "hidden_size": 16, "num_layers": 1, "num_refiner_layers": 1, "num_attention_heads": 2,
        "num_kv_heads": 1, "multiple_of": 2, "cap_feat_dim": 16, "axes_dim_rope": [4, 2, 2], "axes_lens": [512, 64, 64],
    },
    "AuraFlowTransformer2DModel": {
        "sample_size": 32, "num_mmdit_layers": 1, "num_single_dit_layers": 1, "attention_head_dim": 8,
        "num_attention_heads": 2, "joint_attention_dim": 16, "caption_projection_dim": 16, "pos_embed_max_size": 256,
    },
    "HunyuanDiT2DModel": {
        "sample_size": 16, "num_layers": 4, "attention_head_dim": 8, "num_attention_heads": 2, "hidden_size": 16,
        "cross_attention_dim": 16, "cross_attention_dim_t5": 16, "pooled_projection_dim": 8,
        "text_len": 77, "text_len_t5": 256,
    },
    "LTXVideoTransformer3DModel": {
        "num_layers": 1, "attention_head_dim": 8, "num_attention_heads": 4, "cross_attention_dim": 32,
        "caption_channels": 16, "in_channels": 4, "out_channels": 4,
    },
    "AutoencoderKLLTXVideo": {
        "latent_channels": 4, "block_out_channels": [8, 8, 8, 8], "decoder_block_out_channels": [8, 8, 8, 8],
        "layers_per_block": [1] * 5, "decoder_layers_per_block": [1] * 5, "patch_size": 1,
        "spatio_temporal_scaling": [True, True, False, False],
        "decoder_spatio_temporal_scaling": [True, True, False, False],
    },
    "WanTransformer3DModel": {
        "num_layers": 1, "attention_head_dim": 12, "num_attention_heads": 2, "text_dim": 16, "freq_dim": 16,
        "ffn_dim": 24, "in_channels": 16, "out_channels": 16,
    },
    "AutoencoderKLWan": {"base_dim": 3, "z_dim": 16, "num_res_blocks": 1},
    "CogVideoXTransformer3DModel": {
        "num_layers": 1, "attention_head_dim": 8, "num_attention_heads": 2, "text_embed_dim": 16, "time_embed_dim": 8,
        "sample_height": 8, "sample_width": 8, "sample_frames": 9,
    },
    "AutoencoderKLCogVideoX": {
        "block_out_channels": [8, 8, 8, 8], "layers_per_block": 1, "norm_num_groups": 2, "sample_height": 64,
        "sample_width": 64,
    },
    "HunyuanVideoTransformer3DModel": {
        "num_layers": 1, "num_single_layers": 1, "num_refiner_layers": 1, "attention_head_dim": 8,
        "num_attention_heads": 2, "text_embed_dim": 16, "pooled_projection_dim": 16, "rope_axes_dim": [2, 2, 4],
    },
    "AutoencoderKLHunyuanVideo": {
        "block_out_channels": [8, 8, 8, 8], "layers_per_block": 1, "norm_num_groups": 4,
    },
}  # fmt: skip

#: Catalogue model: what its pipeline's parts need beyond their own rule to fit each other.
FITTED: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "sdxl-base": {
        "unet": {
            "cross_attention_dim": 32, "addition_time_embed_dim": 4, "projection_class_embeddings_input_dim": 40,
        },
    },
    "pixart-alpha": {"transformer": {"caption_channels": 16, "cross_attention_dim": 24}},
    "pixart-sigma": {"transformer": {"caption_channels": 16, "cross_attention_dim": 24, "num_layers": 2}},
    # its positions are made for a decoder's scale of 8
    "hunyuan-dit": {
        "vae": {
            "block_out_channels": [8] * 4, "down_block_types": ["DownEncoderBlock2D"] * 4,
            "up_block_types": ["UpDecoderBlock2D"] * 4,
        },
    },
    "sd3-medium": {"text_encoder_3": {"d_model": 32}},
}  # fmt: skip

#: Pipeline class: the catalogue model whose parts it takes.
FAMILIES: Mapping[str, str] = {
    **dict.fromkeys(
        "StableDiffusionPipeline StableDiffusionImg2ImgPipeline StableDiffusionInpaintPipeline "
        "StableDiffusionPAGPipeline StableDiffusionPAGImg2ImgPipeline StableDiffusionPAGInpaintPipeline "
        "StableDiffusionPanoramaPipeline StableDiffusionSAGPipeline LatentConsistencyModelPipeline "
        "LatentConsistencyModelImg2ImgPipeline StableDiffusionInstructPix2PixPipeline "
        "StableDiffusionAdapterPipeline".split(),
        "sd15",
    ),
    **dict.fromkeys(
        "StableDiffusionControlNetPipeline StableDiffusionControlNetImg2ImgPipeline "
        "StableDiffusionControlNetInpaintPipeline StableDiffusionControlNetPAGPipeline "
        "StableDiffusionControlNetPAGInpaintPipeline".split(),
        "sd15-controlnet",
    ),
    "StableDiffusionUpscalePipeline": "sd-x4-upscaler",
    **dict.fromkeys(
        "StableDiffusionXLPipeline StableDiffusionXLImg2ImgPipeline StableDiffusionXLInpaintPipeline "
        "StableDiffusionXLPAGPipeline StableDiffusionXLPAGImg2ImgPipeline StableDiffusionXLPAGInpaintPipeline "
        "StableDiffusionXLControlNetPipeline StableDiffusionXLControlNetImg2ImgPipeline "
        "StableDiffusionXLControlNetInpaintPipeline StableDiffusionXLControlNetPAGPipeline "
        "StableDiffusionXLControlNetPAGImg2ImgPipeline StableDiffusionXLInstructPix2PixPipeline "
        "StableDiffusionXLAdapterPipeline".split(),
        "sdxl-base",
    ),
    **dict.fromkeys(
        "StableDiffusion3Pipeline StableDiffusion3Img2ImgPipeline StableDiffusion3InpaintPipeline "
        "StableDiffusion3PAGPipeline StableDiffusion3PAGImg2ImgPipeline".split(),
        "sd3-medium",
    ),
    **dict.fromkeys(
        "FluxPipeline FluxImg2ImgPipeline FluxInpaintPipeline FluxControlPipeline FluxControlImg2ImgPipeline "
        "FluxControlInpaintPipeline FluxFillPipeline FluxKontextPipeline FluxKontextInpaintPipeline".split(),
        "flux1-dev",
    ),
    "PixArtAlphaPipeline": "pixart-alpha",
    "PixArtSigmaPipeline": "pixart-sigma",
    "PixArtSigmaPAGPipeline": "pixart-sigma",
    "DiTPipeline": "dit-xl-2-256",
    "SanaPipeline": "sana-1600m",
    "SanaPAGPipeline": "sana-1600m",
    "Lumina2Pipeline": "lumina2",
    "AuraFlowPipeline": "auraflow",
    "HunyuanDiTPipeline": "hunyuan-dit",
    "LTXPipeline": "ltx-video",
    "LTXImageToVideoPipeline": "ltx-video",
    "WanPipeline": "wan21-1.3b",
    "CogVideoXPipeline": "cogvideox-2b",
    "CogVideoXVideoToVideoPipeline": "cogvideox-2b",
    "HunyuanVideoPipeline": "hunyuan-video",
}

#: Parts that only some classes have, made here: (class of diffusers, its config).
ADDED: Mapping[str, Mapping[str, tuple[str, Mapping[str, Any]]]] = {
    "LatentConsistencyModelPipeline": {"scheduler": ("LCMScheduler", {})},
    "LatentConsistencyModelImg2ImgPipeline": {"scheduler": ("LCMScheduler", {})},
    "StableDiffusionAdapterPipeline": {
        "adapter": ("T2IAdapter", {"channels": [8, 16], "num_res_blocks": 1, "downscale_factor": 2})
    },
    "StableDiffusionXLAdapterPipeline": {
        "adapter": ("T2IAdapter", {"channels": [8, 16], "num_res_blocks": 1, "downscale_factor": 2})
    },
    **{
        name: {
            "controlnet": (
                "ControlNetModel",
                {
                    **SHRUNK["ControlNetModel"],
                    **FITTED["sdxl-base"]["unet"],
                    "addition_embed_type": "text_time",
                },
            )
        }
        for name in FAMILIES
        if name.startswith("StableDiffusionXLControlNet")
    },
}

#: Changes of the denoiser that a class asks for: image and latent side by side, guidance as an input.
CHANNELS: Mapping[str, dict[str, int]] = {
    "LatentConsistencyModelPipeline": {"time_cond_proj_dim": 8},
    "LatentConsistencyModelImg2ImgPipeline": {"time_cond_proj_dim": 8},
    "StableDiffusionInstructPix2PixPipeline": {"in_channels": 8},
    "StableDiffusionXLInstructPix2PixPipeline": {"in_channels": 8},
    "FluxControlPipeline": {"in_channels": 128, "out_channels": 64},
    "FluxControlImg2ImgPipeline": {"in_channels": 128, "out_channels": 64},
    "FluxControlInpaintPipeline": {"in_channels": 128, "out_channels": 64},
    # the mask's pixels of one token beside image and masked image: 64 + 64 + 4 x 2 x 2 at the decoder's scale of 2
    "FluxFillPipeline": {"in_channels": 64 + 64 + 16, "out_channels": 64},
}


#: Arguments that keep a tiny run tiny, where a class takes them; the rest are its own defaults.
SMALL: dict[str, Any] = {
    "prompt": "a cat",
    "class_labels": [1],
    "height": 64,
    "width": 64,
    "num_frames": 9,
    "num_inference_steps": 2,
    "max_sequence_length": 16,
    "complex_human_instruction": None,
    "use_resolution_binning": False,
    "sag_scale": 0.0,
    "image": Image.new("RGB", (64, 64)),
    "control_image": Image.new("RGB", (64, 64)),
    "mask_image": Image.new("L", (64, 64), 255),
    "video": [Image.new("RGB", (64, 64))] * 9,
    "strength": 1.0,
}
#: What single classes need besides.
OWN: dict[str, dict[str, Any]] = {
    "StableDiffusionUpscalePipeline": {"image": Image.new("RGB", (16, 16))},
    "CogVideoXPipeline": {"max_sequence_length": 226},  # its learned positions are for as many
    "CogVideoXVideoToVideoPipeline": {"max_sequence_length": 226},
    "FluxKontextPipeline": {"max_area": 64 * 64, "_auto_resize": False},
    "FluxKontextInpaintPipeline": {"max_area": 64 * 64, "_auto_resize": False},
}


def call(pipe: Any) -> dict[str, Any]:
    """Arguments for a tiny run of it."""
    parameters = inspect.signature(pipe.__call__).parameters
    given = SMALL | OWN.get(type(pipe).__name__, {})
    return {key: value for key, value in given.items() if key in parameters}


def shrunk(config: PipelineConfig, class_name: str) -> PipelineConfig:
    """The catalogue's configs cut down, for a pipeline of this class."""
    changes = CHANNELS.get(class_name, {})

    def small(part: ComponentConfig) -> ComponentConfig:
        own = {**part.config, **SHRUNK.get(part.class_name, {}), **FITTED.get(config.name, {}).get(part.name, {})}
        if part.name in ("unet", "transformer"):
            own |= changes
        return ComponentConfig(name=part.name, library=part.library, class_name=part.class_name, config=own)

    parts = [part for part in config.components if part.name not in ("safety_checker", "feature_extractor")]
    return PipelineConfig(
        name=config.name,
        class_name=class_name,
        components=tuple(small(part) for part in parts),
        options=config.options,
    )


def build(class_name: str) -> Any:
    """The tiny pipeline with real random weights on the CPU."""
    import diffusers

    config = shrunk(configs.read(configs.CATALOGUE / FAMILIES[class_name], FAMILIES[class_name]), class_name)
    cls = getattr(diffusers, class_name)
    parameters = inspect.signature(cls.__init__).parameters
    torch.manual_seed(0)
    parts = {part.name: _part(part) for part in config.components}
    for name, (added, own) in ADDED.get(class_name, {}).items():
        made = getattr(diffusers, added)(**own)
        parts[name] = made.eval() if isinstance(made, torch.nn.Module) else made
    options = {**config.options, **dict.fromkeys(("safety_checker", "feature_extractor", "image_encoder"))}
    options |= {"requires_safety_checker": False, "add_watermarker": False}
    given = {**options, **parts}
    return cls(**{name: value for name, value in given.items() if name in parameters})


def _part(part: ComponentConfig) -> Any:
    import diffusers
    import transformers

    cls = getattr(diffusers if part.library == "diffusers" else transformers, part.class_name)
    if issubclass(cls, transformers.PreTrainedTokenizerBase):
        return tokenizers.tokenizer(cls, part.config)
    if issubclass(cls, diffusers.SchedulerMixin):
        return cls.from_config(part.config)
    return pipelines._model(cls, dict(part.config))
