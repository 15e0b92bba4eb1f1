"""Findings of witnesses: for the terminal, and as a page for each processor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from math import prod
from pathlib import Path

from crosscheck.files import write_atomically
from crosscheck.records import FLOPS_PER_MAC, Term, compact
from crosscheck.report.text import count, details, escape, plain, plural, ratio, signed, signed_percent, stem, table
from crosscheck.witnesses.accounting import CAUSES, account, runs
from crosscheck.witnesses.evidence import Execution
from crosscheck.witnesses.kinds import KINDS, by_cause, kind
from crosscheck.witnesses.witnessed import Witness, Witnessed, confirms, processor, unexplained, unsized


def file(witness: Witness) -> str:
    """The name of a witness's page: ``witness-cpu``, ``witness-h100``."""
    return f"witness-{stem(processor(witness).lower().replace(' ', '-'))}"


def ledger_file(witness: Witness) -> str:
    """The name of a witness's ledger, one for each model and precision."""
    precisions = "-".join(sorted({part.dtype for part in witness.components}))
    return f"{file(witness)}-{stem(witness.model)}" + (f"-{stem(precisions)}" if witness.witness != "cpu" else "")


def verdict(part: Witnessed) -> str:
    """The verdict of a component's execution on its recommended number."""
    if missing := unsized(part):
        return f"not witnessed: {plural(runs(missing), 'operation')} executed, size not logged"
    if part.elsewhere:
        return f"{plural(sum(p.count for p in part.elsewhere), 'product')} beside every operation"
    if odd := unexplained(part):
        return f"explained but for {plural(runs(odd), 'operation')} of {runs(part.executions):,}"
    if not confirms(part):
        return "another number of operations than recommended"
    return "executed exactly" if part.macs == part.recommended else "explained to the last MAC"


def problems(witness: Witness) -> Iterator[str]:
    """Contradictions of a recommended number, and what is not explained."""
    for part in witness.components:
        if not unsized(part) and not confirms(part):
            yield f"{part.name}: {verdict(part)}"


def text(witness: Witness) -> str:
    """A witness in a few lines, for a terminal."""
    rows = [
        (plain(part.name), plain(part.dtype), count(part.recommended), _executed(part), plain(verdict(part)))
        for part in witness.components
    ]
    headers = ("component", "precision", "recommended MACs", "executed MACs", "verdict")
    lines = [plain(f"{witness.model} on {witness.processor}"), table("llrrl", headers, rows, style="simple")]
    lines += [f"{plain(part.name)}: {line}" for part in witness.components for line in _odd(part)]
    return "\n\n".join(lines) + "\n"


def write(seen: Sequence[Witness], folder: Path) -> list[Path]:
    """Write a page with its charts into ``folder`` for each processor."""
    from crosscheck.report.charts import witness as chart
    from crosscheck.report.charts.style import available

    written = []
    for page in dict.fromkeys(map(file, seen)):
        those = [witness for witness in seen if file(witness) == page]
        ran = any(part.macs for witness in those for part in witness.components)
        charts = chart.charts(those, page) if ran and available() else {}
        written.append(write_atomically(folder / f"{page}.md", markdown(those, tuple(charts))))
        written += [write_atomically(folder / name, drawn) for name, drawn in charts.items()]
    return written


def markdown(seen: Sequence[Witness], charts: Sequence[str] = ()) -> str:
    """The page of one processor."""
    return "\n\n".join(_blocks(seen, charts)) + "\n"


FORMATS: dict[str, Callable[[Witness], str]] = {
    "table": text,
    "json": compact,
    "markdown": lambda witness: markdown([witness]),
}


def _blocks(seen: Sequence[Witness], charts: Sequence[str]) -> Iterator[str]:
    first = seen[0]
    yield f"# What {'the CPU' if first.witness == 'cpu' else f'an {escape(processor(first))}'} executed"
    yield _WHAT[first.witness]
    rows = [
        (escape(w.model), escape(p.name), escape(p.dtype), count(p.recommended), _executed(p), _beyond(p), verdict(p))
        for w in seen
        for p in w.components
    ]
    headers = ("Model", "Component", "Precision", "Recommended MACs", "Executed MACs", "Beyond", "Verdict")
    yield table("lllrrrl", headers, rows) if rows else "No component was run."
    yield from (f"- **{escape(w.model)}** {escape(name)} was not run: {escape(reason)}" for w in seen
                for name, reason in w.refused.items())  # fmt: skip
    yield from (f"![{words}]({name})" for name, words in zip(charts, _CHARTS, strict=False))
    yield from _refuted([part for witness in seen for part in witness.components])
    if any(part.speed for witness in seen for part in witness.components):
        yield from _speeds(seen)
    for witness in seen:
        for part in witness.components:
            yield f"## {escape(witness.model)}: {escape(part.name)}, {escape(part.dtype)}"
            yield from _part(part)
    if used := [cause for cause in CAUSES if any(cause in by_cause(p.executions) for w in seen
                for p in w.components)]:  # fmt: skip
        yield "## Causes"
        yield "\n".join(f"- `{cause}`: {what} Source: {source}." for cause in used
                        for what, source in [CAUSES[cause]])  # fmt: skip
    yield "## Measured with"
    yield "\n".join(f"- {escape(w.model)}: {escape(w.processor)}; " + ", ".join(
        f"{escape(name)} {escape(release)}" for name, release in w.environment.items()) for w in seen)  # fmt: skip


_WHAT = {
    "cpu": "Each component was run once in float32, with random weights, for one image and one guidance branch. MKL "
    "and oneDNN, which multiply for torch on the CPU, log the sizes of the problems they are given. The sum of M x N x "
    "K over the matrix products, and of the convolutions by their sizes, is held against the recommended number. No "
    "counter has a part in it; the trace only says to which operation a line of the log belongs. What a library pads "
    "inside is not in its log. Batched products are logged without their sizes, and small ones not at all; a component "
    "that has any is not witnessed.",
    "ncu": "Each component was run once, with random weights, for one image and one guidance branch, and Nsight "
    "Compute read the GPU's own counters for every kernel. Executed is, of each kernel, the MACs on the tensor cores "
    "(half of the operations they count), or where it does not use them its fused multiply-adds; what a kernel with "
    "tensor cores does beside them, to scale and for softmax, is listed apart. A GPU multiplies in tiles, and its "
    "float32 attention takes three products of TF32 for one of float32, although TF32 is off for torch's products: so "
    "it executes more than a model needs. Each operation's difference is taken apart into named causes, predicted from "
    "the kernel's name and grid and from the operation's shapes, never from the counters.",
}
_CHARTS = (
    "MACs that each component needs, and what was executed",
    "What was executed beyond what is needed, by kind of layer",
)


def _executed(part: Witnessed) -> str:
    return "not witnessed" if part.macs is None else count(part.macs)


def _beyond(part: Witnessed) -> str:
    if part.macs is None or not part.recommended:
        return ""
    beyond = part.macs - part.recommended
    return f"{signed(beyond)} ({signed_percent(beyond, part.recommended)})" if beyond else "0"


def _odd(part: Witnessed) -> Iterator[str]:
    """The operations that are not sized or not explained, in a line each."""
    for execution in (*unsized(part), *unexplained(part)):
        accounted = account(execution)
        missing = "executed, size not logged" if execution.primitives else "no line in the log"
        what = missing if accounted.executed is None else f"{signed(accounted.residual or 0)} unexplained"
        yield (
            f"{plain(execution.paths[0]) or 'the component itself'}"
            + (f" and {len(execution.paths) - 1:,} more" if len(execution.paths) > 1 else "")
            + f": {execution.aten} of {_shapes(execution)}, {count(execution.macs)} MACs: {what}"
        )


def _shapes(execution: Execution) -> str:
    return ", ".join("x".join(map(str, shape)) or "scalar" for shape in execution.shapes)


def _part(part: Witnessed) -> Iterator[str]:
    """A component by kind of layer, then what its operations ran as."""
    rows = []
    for layer in KINDS:
        those = [execution for execution in part.executions if kind(execution) == layer]
        if not those:
            continue
        needed = sum(len(e.paths) * e.macs for e in those)
        exact = sum(len(e.paths) for e in those if account(e).executed == e.macs)
        causes = by_cause(those)
        sized = all(account(e).executed is not None for e in those)
        rows.append(
            (
                layer,
                count(runs(those)),
                count(exact),
                count(needed),
                count(needed + sum(causes.values())) if sized else "not witnessed",
                ", ".join(f"{cause} {signed(macs)}" for cause, macs in causes.items()),
            )
        )
    headers = ("Layers", "Operations", "Exact", "MACs by their shapes", "Executed", "Difference")
    yield table("lrrrrl", headers, rows)
    beside = sum(len(e.paths) * k.ffma for e in part.executions for k in e.kernels if k.tensor)
    if beside:
        yield f"Beside the tensor cores, in the same kernels: {beside:,} fused multiply-adds, not in these numbers."
    if odd := [*_odd(part)]:
        yield "\n".join(f"- {escape(line)}" for line in odd)
    yield details("What the operations ran as", _ran_as(part))


def _ran_as(part: Witnessed) -> str:
    """Routines or kernels with products, how often, and their MACs."""
    calls: Counter[str] = Counter()
    macs: Counter[str] = Counter()
    unknown = set()
    for execution in part.executions:
        for primitive in execution.primitives:
            times = len(execution.paths) * primitive.count
            calls[primitive.routine] += times
            macs[primitive.routine] += times * (primitive.macs or 0)
            if primitive.macs is None:
                unknown.add(primitive.routine)
        for kernel in execution.kernels:
            if kernel.tensor or kernel.ffma:
                name = f"{_kernel(kernel.name)}, {'tensor cores' if kernel.tensor else 'FFMA'}"
                calls[name] += len(execution.paths)
                macs[name] += len(execution.paths) * (kernel.tensor or kernel.ffma)
    rows = [
        (f"`{name}`", count(calls[name]), "not logged" if name in unknown else count(macs[name]))
        for name, _ in sorted(macs.items(), key=lambda entry: (-entry[1], entry[0]))
    ]
    return table("lrr", ("Ran as", "Calls", "MACs"), rows)


def _kernel(name: str) -> str:
    """A kernel's name without its parameters, and not too long."""
    return plain(name.partition("(")[0].removeprefix("void ").replace("|", "/").replace("`", "'"), 100)


def _refuted(parts: Sequence[Witnessed]) -> Iterator[str]:
    """The published formula that these executions contradict: N x N for attention over keys of another length."""
    found: dict[tuple[int, int, int], tuple[int, int, int]] = {}
    for part in parts:
        for execution in part.executions:
            accounted = account(execution)
            if kind(execution) != "cross-attention" or not accounted.executed or _thrice(accounted.terms):
                continue
            query, key, value = execution.shapes[:3]
            square = prod(query[:-1]) * query[-2] * (query[-1] + value[-1])
            found.setdefault((query[-2], key[-2], prod(query[:-2])), (execution.macs, accounted.executed, square))
    rows = [
        (*map(count, (*sizes, by_shapes, ran, square)), f"{ratio(square, ran, 1)} times")
        for sizes, (by_shapes, ran, square) in sorted(found.items(), reverse=True)
    ]
    if rows:
        yield "## What this refutes"
        yield (
            "A formula in use takes attention for heads x N_q x N_q x 2 d, also where the keys are those of a text. "
            "What ran grows with the keys, N_q x N_kv, here with the keys as they were padded:"
        )
        headers = ("Queries", "Keys", "Heads", "N_q x N_kv", "Executed MACs", "N_q x N_q would be", "Of what ran")
        yield table("rrrrrrr", headers, rows)


def _thrice(terms: Sequence[Term]) -> bool:
    """Whether each product was made of three."""
    return any(term.cause == "three-tf32" for term in terms)


def _speeds(seen: Sequence[Witness]) -> Iterator[str]:
    """Model FLOPs utilisation: of what a model needs, and of what the GPU executed for it."""
    yield "## How fast"
    yield (
        "FLOPs of the model (two a MAC) in a second, against a square product in the same precision on the same "
        "card just after. The honest numerator is what the model needs; the padded one is what the card executed, "
        "where both ran on the same units. Medians of 20; a graph leaves out the time that Python takes to launch, and "
        "is what the rates are of."
    )
    rows = []
    for witness in seen:
        for part in witness.components:
            speed = part.speed
            if speed is None or part.recommended is None:
                continue
            rate = FLOPS_PER_MAC * speed.product_size**3 / speed.product_seconds
            seconds = speed.graph_seconds or speed.seconds
            achieved = FLOPS_PER_MAC * part.recommended / seconds
            padded = FLOPS_PER_MAC * (part.macs or part.recommended) / seconds
            mixed = any(_thrice(account(execution).terms) for execution in part.executions)
            rows.append(
                (
                    escape(witness.model),
                    escape(part.name),
                    escape(part.dtype),
                    f"{1e3 * speed.seconds:.2f}",
                    "" if speed.graph_seconds is None else f"{1e3 * speed.graph_seconds:.2f}",
                    f"{achieved / 1e12:.0f}",
                    f"{rate / 1e12:.0f}",
                    f"{100 * achieved / rate:.0f} %",
                    "" if mixed else f"{100 * padded / rate:.0f} %",
                )
            )
    headers = (
        "Model",
        "Component",
        "Precision",
        "ms",
        "ms as a graph",
        "TFLOP/s",
        "Product's TFLOP/s",
        "Utilisation",
        "Padded",
    )
    yield table("lllrrrrrr", headers, rows)
