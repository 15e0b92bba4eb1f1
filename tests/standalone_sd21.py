"""Stable Diffusion 2.1-base at 512 x 512 by hand: the numbers of every report, from the published configs alone.

Imports nothing but the standard library. ``python tests/standalone_sd21.py`` prints them.
"""

import json
from pathlib import Path

CONFIGS = Path(__file__).parent.parent / "crosscheck" / "catalogue" / "sd21-base"


def config(part):
    return json.loads((CONFIGS / part / "config.json").read_text())


def conv(pixels, inputs, outputs, kernel=3):
    return pixels * inputs * outputs * kernel**2


def attention(queries, keys, width):
    """Scores and weighted values of all heads together: their widths add up."""
    return queries * keys * 2 * width


def text_encoder(tokens=77):
    c = config("text_encoder")
    width, inner = c["hidden_size"], c["intermediate_size"]
    layer = tokens * width * (4 * width + 2 * inner) + attention(tokens, tokens, width)
    return c["num_hidden_layers"] * layer


def resnet(pixels, inputs, outputs, time=0):
    macs = conv(pixels, inputs, outputs) + conv(pixels, outputs, outputs) + time * outputs
    return macs + (conv(pixels, inputs, outputs, 1) if inputs != outputs else 0)


def transformer(pixels, width, text, tokens=77):
    """In and out, self-attention, cross-attention, and a gated feed-forward of four times the width."""
    projections = 2 * pixels * width**2
    self_attention = 4 * pixels * width**2 + attention(pixels, pixels, width)
    cross_attention = 2 * pixels * width**2 + 2 * tokens * text * width + attention(pixels, tokens, width)
    return projections + self_attention + cross_attention + pixels * width * 8 * width + pixels * 4 * width * width


def unet(side=64):
    c = config("unet")
    widths, layers, text = c["block_out_channels"], c["layers_per_block"], c["cross_attention_dim"]
    first, time = widths[0], 4 * widths[0]
    macs = first * time + time * time + conv(side**2, c["in_channels"], first)
    skips, width = [first], first
    for level, kind in enumerate(c["down_block_types"]):
        for _ in range(layers):
            macs += resnet(side**2, width, widths[level], time)
            width = widths[level]
            macs += transformer(side**2, width, text) if "CrossAttn" in kind else 0
            skips.append(width)
        if level < len(widths) - 1:
            side //= 2
            macs += conv(side**2, width, width)
            skips.append(width)
    macs += 2 * resnet(side**2, width, width, time) + transformer(side**2, width, text)
    for level, kind in enumerate(c["up_block_types"]):
        target = widths[::-1][level]
        for _ in range(layers + 1):
            macs += resnet(side**2, width + skips.pop(), target, time)
            width = target
            macs += transformer(side**2, width, text) if "CrossAttn" in kind else 0
        if level < len(widths) - 1:
            side *= 2
            macs += conv(side**2, width, width)
    return macs + conv(side**2, first, c["out_channels"])


def vae_decoder(side=64):
    c = config("vae")
    widths, latent = c["block_out_channels"][::-1], c["latent_channels"]
    width = widths[0]
    macs = conv(side**2, latent, latent, 1) + conv(side**2, latent, width)
    macs += 2 * resnet(side**2, width, width) + 4 * side**2 * width**2 + attention(side**2, side**2, width)
    for level, target in enumerate(widths):
        for _ in range(c["layers_per_block"] + 1):
            macs += resnet(side**2, width, target)
            width = target
        if level < len(widths) - 1:
            side *= 2
            macs += conv(side**2, width, width)
    return macs + conv(side**2, width, c["out_channels"])


def generation(calls=31, branches=2):
    """PNDM's first step takes two calls: 31 for 30 steps."""
    return calls * branches * unet() + branches * text_encoder() + vae_decoder()


if __name__ == "__main__":
    for part in (text_encoder, unet, vae_decoder, generation):
        print(f"{part.__name__:13} {part():>20,} MACs")
