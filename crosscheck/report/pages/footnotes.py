"""Footnotes of a report: what was left out, why counters differ, what the words mean, what the run was made with."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from crosscheck import causes
from crosscheck.records import OPS, Census, Counted, Failed, Ledger, Measured, Skipped
from crosscheck.report.pages.bridges import link
from crosscheck.report.text import count, details, escape, names, plural, table
from crosscheck.report.verdict import outcomes, verdict

DEFINITIONS = """\
## Definitions

- **MAC**: one multiply-accumulate; a dot product of n is n MACs. **FLOPs** = 2 x MACs.
- **Total**: conv + linear + attention + matmul. Attention is B x H x N_q x N_kv x (d_qk + d_v) MACs: batch, heads,
  queries, keys, and the widths of a key and a value. Products written out are matmul. All other operations are listed
  beside the total, never added.
- **Per forward**: one call of a component for one image and one guidance branch, in its most expensive case.
  **Per generation**: every call that one run of the pipeline makes, at the batch it makes it with.
- **Gap**: a backend's own number less the reference. **Term**: the part of a gap that one named cause predicts from
  shapes and versions alone. **Residual**: the gap less its terms; **explained** means it is 0. There is no tolerance.
- **Confirmed**: a closed form from the config and a trace of what ran give the same integer. **Unconfirmed**: trace
  only."""


def anchors(found: list[str]) -> dict[str, str]:
    """A link target for each cause, all of them distinct and plain."""
    targets: dict[str, str] = {}
    for name in found:
        slug = "cause-" + (re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60] or "unnamed")
        taken = slug in targets.values()
        targets[name] = f"{slug}-{len(targets)}" if taken else slug
    return targets


def explanations(targets: Mapping[str, str]) -> Iterator[str]:
    """The causes that fired and the failures that were predicted: name, explanation, source."""
    if targets:
        yield "## Why they differ"
        yield "\n".join(_explanation(name, target) for name, target in targets.items())


def left_out(ledger: Ledger, targets: Mapping[str, str]) -> Iterator[str]:
    """Other ops, what tools say they passed over, skipped and failed backends, notes."""
    yield "## Not counted, skipped, failed"
    sections = [_other_ops(ledger), _missing(ledger, targets), _passed_over(ledger), _notes(ledger)]
    yield from [section for section in sections if section] or ["Nothing."]


def provenance(ledger: Ledger) -> Iterator[str]:
    """Versions, and the size of the census that every explanation rests on."""
    yield "## Provenance"
    rows = [(escape(key), escape(value)) for key, value in ledger.environment.items()]
    rows += [(f"backend {escape(name)}", ", ".join(found)) for name, found in _versions(ledger).items()]
    yield details("Versions", table("ll", ("What", "Which"), rows))
    if sizes := [f"{escape(c.name)} {_size(c.census)}" for c in ledger.components if c.census]:
        yield f"Census: {'; '.join(sizes)}."
    inside = [
        f"{escape(name)} ({escape(c.name)})" for c, name, o in outcomes(ledger) if not getattr(o, "isolated", True)
    ]
    if inside:
        yield f"Not isolated, run in the main process: {names(inside)}."


def explained(name: str) -> Iterator[str]:
    """A cause's summary, the releases it depends on, and its source, a line each; not escaped."""
    entry = causes.find(name)
    if entry is None:
        yield "No explanation on record."
        return
    yield entry.summary
    if entry.releases:
        yield f"In {names(entry.releases, last='or')}"
    yield f"Source: {entry.source}"


def _explanation(name: str, target: str) -> str:
    return f'- <a id="{target}"></a>**{escape(name)}**: {"<br>".join(map(escape, explained(name)))}'


def _other_ops(ledger: Ledger) -> str:
    found = {op for c in ledger.components for op in c.other_ops}
    ops = [*(op for op in OPS if op in found), *sorted(found - set(OPS))]
    if not ops:
        return ""
    rows = [(escape(c.name), *(count(c.other_ops.get(op, 0)) for op in ops)) for c in ledger.components]
    intro = "Other operations, in output elements. Conventions differ on them; they are in no total."
    return f"{intro}\n\n{table('l' + 'r' * len(ops), ('Component', *map(escape, ops)), rows)}"


def _missing(ledger: Ledger, targets: Mapping[str, str]) -> str:
    """Skipped and failed backends, the components with the same reason in one row."""
    rows: dict[tuple[str, str, str], list[str]] = {}
    for component, backend, outcome in outcomes(ledger):
        match outcome:
            case Skipped():
                reason = escape(outcome.reason)
            case Failed():
                reason = escape(outcome.error)
            case Counted():
                continue
        reason = f"{link(outcome.predicted_by, targets)}: {reason}" if outcome.predicted_by else reason
        rows.setdefault((escape(backend), verdict(outcome), reason), []).append(escape(component.name))
    cells = [(backend, names(where), kind, reason) for (backend, kind, reason), where in rows.items()]
    return table("llll", ("Backend", "Component", "Outcome", "Reason"), cells) if cells else ""


def _passed_over(ledger: Ledger) -> str:
    rows = [
        (escape(c.name), escape(name), ", ".join(f"{escape(op)} ({n:,})" for op, n in sorted(o.uncounted.items())))
        for c, name, o in outcomes(ledger)
        if isinstance(o, Measured) and o.uncounted
    ]
    headers = ("Component", "Backend", "Operations (how often)")
    return details("Operations that a tool says it did not count", table("lll", headers, rows)) if rows else ""


def _notes(ledger: Ledger) -> str:
    return "\n".join(f"- **{escape(c.name)}**: {escape(note)}" for c in ledger.components for note in c.notes)


def _versions(ledger: Ledger) -> dict[str, list[str]]:
    """The versions each backend ran with; one, unless components disagree."""
    found: dict[str, list[str]] = {}
    for _, name, outcome in outcomes(ledger):
        version = "" if isinstance(outcome, Skipped) else escape(outcome.version)
        if version and version not in found.setdefault(name, []):
            found[name].append(version)
    return {name: versions for name, versions in found.items() if versions}


def _size(census: Census) -> str:
    parts = [
        (sum(len(row.paths) for row in census.modules), "module", len(census.modules)),
        (sum(row.count for row in census.ops), "operation", len(census.ops)),
        (sum(row.count for row in census.attention), "attention call", len(census.attention)),
    ]
    return ", ".join(f"{plural(size, noun)} in {plural(rows, 'row')}" for size, noun, rows in parts if rows)
