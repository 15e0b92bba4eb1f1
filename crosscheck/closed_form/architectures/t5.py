"""T5 and UMT5 encoders of transformers 5.24.0."""

from __future__ import annotations

from crosscheck.closed_form.layers import Tokens, attention, linear
from crosscheck.closed_form.options import Inputs, Options, complete, refuse_inputs, refuse_uncovered, shape_of
from crosscheck.closed_form.sizes import Form, prompt_inputs
from crosscheck.closed_form.work import Work

#: What decides MACs, with the defaults of T5Config (models/t5/configuration_t5.py).
T5_DEFAULTS: Options = {
    "d_model": 512,
    "d_kv": 64,
    "d_ff": 2048,
    "num_layers": 6,
    "num_heads": 8,
    "feed_forward_proj": "relu",
}
#: The defaults of UMT5Config (models/umt5/configuration_umt5.py).
UMT5_DEFAULTS: Options = {
    "d_model": 512,
    "d_kv": 64,
    "d_ff": 1024,
    "num_layers": 8,
    "num_heads": 6,
    "feed_forward_proj": "gated-gelu",
}
COVERED = {"feed_forward_proj": ("relu", "gelu", "gelu_new", "silu", "gated-gelu", "gated-relu", "gated-silu")}


def t5_encoder(config: Options, inputs: Inputs) -> Work:
    """T5EncoderModel."""
    return _encoder(complete(config, T5_DEFAULTS), inputs)


def umt5_encoder(config: Options, inputs: Inputs) -> Work:
    """UMT5EncoderModel."""
    return _encoder(complete(config, UMT5_DEFAULTS), inputs)


def _encoder(options: Options, inputs: Inputs) -> Work:
    """Per layer the attention with its four projections, no biases, and an MLP of two, three where it is gated."""
    refuse_inputs(inputs, ("input_ids",), weightless=("attention_mask",))
    refuse_uncovered(options, COVERED)
    batch, count = shape_of(inputs, "input_ids", 2)
    tokens = Tokens(count, options["d_model"])
    matrices = 3 if options["feed_forward_proj"].startswith("gated") else 2
    layer = attention(batch, tokens, tokens, options["num_heads"], options["d_kv"])
    layer += matrices * linear(batch * count, options["d_model"], options["d_ff"])
    layers: int = options["num_layers"]
    return layers * layer


FORMS = {
    "T5EncoderModel": {"forward": Form(t5_encoder, prompt_inputs)},
    "UMT5EncoderModel": {"forward": Form(umt5_encoder, prompt_inputs)},
}
