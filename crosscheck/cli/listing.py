"""Lists of backends, catalogue models and causes. Imports no counter and no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from tabulate import tabulate

from crosscheck import causes
from crosscheck.backends import registry
from crosscheck.closed_form.forms import FORMS
from crosscheck.errors import UsageError
from crosscheck.hints import did_you_mean
from crosscheck.models import configs
from crosscheck.records import CALL_NAMES, Workload, dumps
from crosscheck.report.text import WORDS, escape, table
from crosscheck.witnesses import accounting

Entry: TypeAlias = Mapping[str, Any]
"""One of a list: texts, whole numbers, lists of texts, or a workload."""


def list_backends() -> list[Entry]:
    """Every registered backend with where it comes from; the core ones run by default."""
    kinds = {
        **dict.fromkeys(registry.CORE, "core"),
        **dict.fromkeys(registry.PROBES, "probe"),
        **dict.fromkeys(registry.COUNTERS, "extra"),
    }
    return [
        {"backend": name, "kind": kinds.get(name, "entry point"), "class": value}
        for name, value in registry.table().items()
    ]


def list_models() -> list[Entry]:
    """The catalogue: each model's pipeline, parameters, default workload, and which closed forms there are."""
    entries: list[Entry] = []
    for name in configs.catalogue():
        config = configs.read(configs.CATALOGUE / name, name)
        stated = configs.stated(configs.CATALOGUE / name)
        models = [component.class_name for component in config.components if is_model(component)]
        entries.append(
            {
                "model": name,
                "pipeline": config.class_name,
                "parameters": sum(stated.parameters.values()),
                "default workload": _workload(stated.workload),
                "closed forms": [class_name for class_name in models if class_name in FORMS],
                "without": [class_name for class_name in models if class_name not in FORMS],
            }
        )
    return entries


def _workload(stated: Workload) -> dict[str, Any]:
    """The workload that a model's publishers generate with, by the names of a pipeline's call."""
    fields = {field: getattr(stated, field) for field in ("steps", "guidance_scale", "height", "width", "frames")}
    return {WORDS[CALL_NAMES.get(name, name)]: value for name, value in fields.items() if value is not None}


def list_causes() -> list[Entry]:
    """Every cause with the backends it applies to."""
    return [
        {"cause": entry.name, "backends": sorted(entry.backends), "releases": [*entry.releases], "why": entry.summary}
        for entry in causes.declared()
    ]


LISTS: Mapping[str, Callable[[], list[Entry]]] = {
    "backends": list_backends,
    "models": list_models,
    "causes": list_causes,
}
#: Of a terminal's table, by column.
_WIDTHS = {"default workload": 24, "closed forms": 40, "without": 30, "backends": 24, "releases": 24, "why": 70}


def _text(entries: Sequence[Entry]) -> str:
    rows = [[*map(_cell, entry.values())] for entry in entries]
    widths = [_WIDTHS.get(name) for name in entries[0]]
    return str(tabulate(rows, [*entries[0]], tablefmt="simple", maxcolwidths=widths))


def _markdown(entries: Sequence[Entry]) -> str:
    rows = [[escape(_cell(value)) for value in entry.values()] for entry in entries]
    return table("l" * len(entries[0]), [*entries[0]], rows)


def _cell(value: Any) -> str:
    match value:
        case int():
            return f"{value / 1e9:.2f} B"
        case list():
            return ", ".join(value)
        case dict():
            return ", ".join(f"{word} {number:g}" for word, number in value.items())
    return str(value)


LIST_FORMATS: Mapping[str, Callable[[Sequence[Entry]], str]] = {"table": _text, "json": dumps, "markdown": _markdown}


def explain(name: str) -> Entry:
    """A cause: its summary, backends and source. Raises `UsageError` for one that does not exist."""
    if (entry := causes.find(name)) is not None:
        concerned = {"backends": sorted(entry.backends), "releases": [*entry.releases]}
        return {"cause": name, "why": entry.summary, **concerned, "source": entry.source}
    if name in accounting.CAUSES:
        summary, source = accounting.CAUSES[name]
        return {"cause": name, "why": summary, "of": "what a processor executes", "source": source}
    hint = did_you_mean(name, every_cause())
    raise UsageError(f"unknown cause {name!r}; {hint}crosscheck list causes shows all {len(every_cause()):,}")


def every_cause() -> list[str]:
    """The names that `explain` knows."""
    return [*(entry.name for entry in causes.declared()), *accounting.CAUSES]


def _told(cause: Entry) -> str:
    name, why, *facts = ((what, _cell(fact)) for what, fact in cause.items())
    return "\n".join([name[1], f"  {why[1]}", *(f"  {what}: {fact}" for what, fact in facts if fact)])


def _page(cause: Entry) -> str:
    name, why, *facts = ((what, escape(_cell(fact))) for what, fact in cause.items())
    return "\n\n".join([f"## {name[1]}", why[1], "\n".join(f"- **{what}**: {fact}" for what, fact in facts if fact)])


CAUSE_FORMATS: Mapping[str, Callable[[Entry], str]] = {"table": _told, "json": dumps, "markdown": _page}


def is_model(component: configs.ComponentConfig) -> bool:
    """Whether a component computes: schedulers, tokenizers and processors do not."""
    return not component.class_name.removesuffix("Fast").endswith(("Scheduler", "Tokenizer", "Processor", "Extractor"))
