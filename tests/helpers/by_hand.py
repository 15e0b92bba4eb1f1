"""Models whose MACs are worked out from what is published of their sizes, with nothing of the package."""

#: FLUX.1-dev: 19 blocks of two streams and 38 of one, 3,072 wide; latents of 64, T5's text of 4,096, CLIP's of 768.
DOUBLE, SINGLE, WIDTH, LATENT, T5, CLIP = 19, 38, 3072, 64, 4096, 768
FREQUENCIES = 64  # of rotary embeddings: half of a head's 128


def flux_dev(pixels: int, text: int, batch: int = 1) -> dict[str, int]:
    """One forward over ``pixels`` patches of the image and ``text`` tokens."""
    tokens, square = pixels + text, WIDTH**2
    # of each token: q, k, v and out, and a feed-forward of four times the width, up and down
    blocks = (DOUBLE + SINGLE) * (4 + 2 * 4) * square * tokens
    # of each image: six of each stream shift, scale and gate, three of the one
    modulation = (DOUBLE * 2 * 6 + SINGLE * 3) * square
    # what comes in and goes out; two of the last norm; time and guidance of 256, and CLIP's text, by two layers each
    ends = 2 * LATENT * WIDTH * pixels + T5 * WIDTH * text
    embedded = 2 * square + 2 * (256 * WIDTH + square) + CLIP * WIDTH + square
    return {
        "linear": batch * (blocks + modulation + ends + embedded),
        "attention": batch * (DOUBLE + SINGLE) * 2 * WIDTH * tokens**2,
        "matmul": FREQUENCIES * tokens,  # the outer product of places and frequencies, of all images at once
    }


def flux_dev_elementwise(pixels: int, text: int) -> int:
    """Elements of all products that are not added, for one image.

    Of each token in a block: the norm's scale and the gate of attention and of the feed-forward in both streams, of
    both together in the one; cosine and sine of q and of k.
    """
    blocks = (DOUBLE * (2 + 2 + 4) + SINGLE * (2 + 4)) * WIDTH * (pixels + text)
    last = WIDTH * pixels
    # frequencies of 128, times the time, and scaled: of the time and of the guidance, each first times 1,000
    times = 2 * (3 * 128 + 1)
    return blocks + last + times + FREQUENCIES
