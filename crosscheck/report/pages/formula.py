"""Closed forms in writing: for a terminal, as JSON, and as a page with their LaTeX. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from crosscheck.closed_form.in_writing import Written
from crosscheck.records import dumps
from crosscheck.report.text import escape


def text(forms: Sequence[Written]) -> str:
    """For a terminal."""
    blocks = ((_title(form), *_lines(form), f"LaTeX: {form.latex}", _value(form)) for form in forms)
    return "\n\n".join("\n  ".join(lines) for lines in blocks)


def markdown(forms: Sequence[Written]) -> str:
    """The page."""
    return "\n\n".join(block for form in forms for block in _blocks(form)) + "\n"


FORMATS: dict[str, Callable[[Sequence[Written]], str]] = {"table": text, "json": dumps, "markdown": markdown}


def _title(form: Written) -> str:
    return f"{form.name}: {form.class_name}" + ("" if form.entry == "forward" else f".{form.entry}")


def _lines(form: Written) -> Iterator[str]:
    yield "where " + ", ".join(f"{symbol} is {meaning}" for symbol, meaning in form.symbols.items())
    yield f"MACs = {form.formula}"
    if form.rounded:
        yield "  with " + ", ".join(f"{short} = {meaning}" for short, meaning in form.rounded.items())
        yield f"with {' and '.join(form.conditions)}: MACs = {form.polynomial}"


def _value(form: Written) -> str:
    at = ", ".join(f"{symbol} = {size}" for symbol, size in form.sizes.items())
    by_op = ", ".join(f"{op} {macs:,}" for op, macs in form.by_op.items() if macs)
    return f"at {at}: {form.macs:,} MACs ({by_op}), {form.flops:,} FLOPs"


def _blocks(form: Written) -> Iterator[str]:
    yield f"## {escape(_title(form))}"
    yield f"```math\n{form.latex}\n```"
    yield "\n".join(f"- {escape(line.strip())}" for line in (*_lines(form), _value(form)))
