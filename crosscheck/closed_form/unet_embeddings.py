"""The embeddings of UNet2DConditionModel in diffusers 0.42.1: time, class, added conditions, projected text."""

from __future__ import annotations

from crosscheck.closed_form.arithmetic import Size
from crosscheck.closed_form.layers import linear, matmul, timestep_embedding
from crosscheck.closed_form.options import Inputs, NoClosedForm, Options, agree, shape_of
from crosscheck.closed_form.work import Work


def embeddings(options: Options, inputs: Inputs, batch: Size) -> Work:
    """All that is computed beside the image, before the blocks."""
    return (
        _time_embedding(options, inputs, batch)
        + _class_embedding(options, inputs, batch)
        + _added_embedding(options, inputs, batch)
        + _text_projection(options, inputs)
    )


def time_widths(options: Options) -> tuple[int, int]:
    """Width of the sinusoids and of the embedding made from them (unet_2d_condition.py:550-576)."""
    first = options["block_out_channels"][0]
    if options["time_embedding_type"] == "fourier":
        width = options["time_embedding_dim"] or 2 * first
        return width, width
    return first, options["time_embedding_dim"] or 4 * first


def _time_embedding(options: Options, inputs: Inputs, batch: Size) -> Work:
    """At the sample's batch even for one timestep, which is expanded before (unet_2d_condition.py:865)."""
    sinusoids, width = time_widths(options)
    work = timestep_embedding(batch, sinusoids, width)
    if "timestep" in inputs:
        agree("the batch of timestep", (*inputs["timestep"], 1)[0], 1, batch)
    if "timestep_cond" in inputs:
        rows, features = shape_of(inputs, "timestep_cond", 2)
        agree("the batch of timestep_cond", rows, 1, batch)
        agree("the width of timestep_cond", features, options["time_cond_proj_dim"])
        work += linear(rows, features, sinusoids)
    return work


def _class_embedding(options: Options, inputs: Inputs, batch: Size) -> Work:
    """MACs by class_embed_type; None with num_class_embeds is a lookup in a table, which multiplies nothing."""
    kind, concat = options["class_embed_type"], options["class_embeddings_concat"]
    if kind is None and options["num_class_embeds"] is None:
        if concat:
            msg = "class_embeddings_concat=True has no class embedding to concatenate"
            raise NoClosedForm(msg)
        return Work()
    sinusoids, width = time_widths(options)
    rows, *features = shape_of(inputs, "class_labels", 1 if kind in (None, "timestep") else 2)
    agree("the batch of class_labels", rows, *((batch,) if concat else (1, batch)))
    given = options["projection_class_embeddings_input_dim"]
    if features:
        agree("the width of class_labels", features[0], width if kind == "identity" else given)
    works = {
        "timestep": lambda: timestep_embedding(rows, sinusoids, width),
        "projection": lambda: timestep_embedding(rows, given, width),
        "simple_projection": lambda: linear(rows, given, width),
    }
    return works.get(kind, Work)()


def _added_embedding(options: Options, inputs: Inputs, batch: Size) -> Work:
    kind = options["addition_embed_type"]
    if kind is None:
        return Work()
    if options["class_embeddings_concat"]:
        msg = f"addition_embed_type={kind!r} does not fit the width that class_embeddings_concat=True gives"
        raise NoClosedForm(msg)
    return (_text_time_embedding if kind == "text_time" else _pooled_text_embedding)(options, inputs, batch)


def _text_time_embedding(options: Options, inputs: Inputs, batch: Size) -> Work:
    """SDXL: the pooled prompt beside the sinusoids of every time id, through two linear layers."""
    rows, pooled = shape_of(inputs, "added_cond_kwargs.text_embeds", 2)
    id_rows, ids = shape_of(inputs, "added_cond_kwargs.time_ids", 2)
    agree("the batch of text_embeds", rows, 1, batch)
    agree("the batch of time_ids", id_rows, rows)
    features = pooled + ids * options["addition_time_embed_dim"]
    agree("the width of text_embeds and time_ids", features, options["projection_class_embeddings_input_dim"])
    return timestep_embedding(rows, features, time_widths(options)[1])


def _pooled_text_embedding(options: Options, inputs: Inputs, batch: Size) -> Work:
    """TextTimeEmbedding: the mean token attends to itself and all tokens, by einsum (embeddings.py:1596-1721)."""
    rows, count, width = shape_of(inputs, "encoder_hidden_states", 3)
    agree("the batch of encoder_hidden_states", rows, batch)
    agree("the width of encoder_hidden_states", width, options["encoder_hid_dim"] or options["cross_attention_dim"])
    heads = options["addition_embed_type_num_heads"]
    agree(f"the rest of width {width} over addition_embed_type_num_heads={heads}", width % heads, 0)
    return (
        linear(batch, width, width)
        + 2 * linear(batch * (count + 1), width, width)
        + 2 * matmul(batch * heads, 1, width // heads, count + 1)
        + linear(batch, width, time_widths(options)[1])
    )


def _text_projection(options: Options, inputs: Inputs) -> Work:
    """encoder_hid_dim alone means text_proj (unet_2d_condition.py:585)."""
    features = options["encoder_hid_dim"]
    if features is None:
        agree("encoder_hid_dim_type without encoder_hid_dim", options["encoder_hid_dim_type"], None)
        return Work()
    out = options["cross_attention_dim"]
    if not isinstance(out, int):
        msg = f"cross_attention_dim={out!r} is not the one width that encoder_hid_dim={features} is projected to"
        raise NoClosedForm(msg)
    rows, count, width = shape_of(inputs, "encoder_hidden_states", 3)
    agree("the width of encoder_hidden_states", width, features)
    return linear(rows * count, features, out)
