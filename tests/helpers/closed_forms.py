"""The closed forms that are tested apart from those of Stable Diffusion, whose classes are in real_models."""

from crosscheck.closed_form.architectures import (
    autoencoder_dc,
    cogvideox_transformer_3d,
    controlnet,
    dit_transformer_2d,
    ltx_video_transformer_3d,
    pixart_transformer_2d,
    sana_transformer_2d,
    sd3_transformer_2d,
    wan_transformer_3d,
)

IMAGE = {
    ("SD3Transformer2DModel", "forward"): sd3_transformer_2d.forward,
    ("PixArtTransformer2DModel", "forward"): pixart_transformer_2d.forward,
    ("DiTTransformer2DModel", "forward"): dit_transformer_2d.forward,
    ("Transformer2DModel", "forward"): dit_transformer_2d.legacy,
    ("SanaTransformer2DModel", "forward"): sana_transformer_2d.forward,
    ("AutoencoderDC", "encode"): autoencoder_dc.encode,
    ("AutoencoderDC", "decode"): autoencoder_dc.decode,
    ("AutoencoderDC", "forward"): autoencoder_dc.forward,
}
T5 = ("T5EncoderModel", "UMT5EncoderModel")
TEXT = (*T5, "FluxTransformer2DModel")
VIDEO = {
    "WanTransformer3DModel": wan_transformer_3d,
    "LTXVideoTransformer3DModel": ltx_video_transformer_3d,
    "CogVideoXTransformer3DModel": cogvideox_transformer_3d,
    "ControlNetModel": controlnet,
}
