"""What there is: backends, catalogue models, causes. Imports no counter and no torch."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping

from tabulate import tabulate

from crosscheck import backends, causes, configs, witnesses
from crosscheck.backends import analytic
from crosscheck.records import UsageError
from crosscheck.report.text import WORDS


def list_backends() -> str:
    """Every registered backend with where it comes from; the core ones run by default."""
    kinds = {
        **dict.fromkeys(backends.CORE, "core"),
        **dict.fromkeys(backends.PROBES, "probe"),
        **dict.fromkeys(backends.COUNTERS, "extra"),
    }
    rows = [(name, kinds.get(name, "entry point"), value) for name, value in backends.table().items()]
    return tabulate(rows, headers=("backend", "kind", "class"), tablefmt="simple")


def list_models() -> str:
    """The catalogue: each model's pipeline, parameters, default workload, and which closed forms there are."""
    rows = []
    for name in configs.catalogue():
        config = configs.read(configs.CATALOGUE / name, name)
        stated = configs.stated(configs.CATALOGUE / name)
        models = [component for component in config.components if _is_model(component)]
        formed = [c.class_name for c in models if c.class_name in analytic.FORMS]
        unformed = [c.class_name for c in models if c.class_name not in analytic.FORMS]
        parameters = sum(stated.get(configs.PARAMETERS, {}).values())
        rows.append(
            (
                name,
                config.class_name,
                f"{parameters / 1e9:.2f} B",
                ", ".join(f"{WORDS[key]} {value:g}" for key, value in stated.items() if key in WORDS),
                ", ".join(formed),
                ", ".join(unformed),
            )
        )
    headers = ("model", "pipeline", "parameters", "default workload", "closed forms", "without")
    return tabulate(rows, headers=headers, tablefmt="simple", maxcolwidths=(None, None, None, 24, 40, 30))


def list_causes() -> str:
    """Every cause with the backends it applies to."""
    known: list[causes.Cause | causes.NoNumber] = [*causes.CAUSES.values(), *causes.NO_NUMBER.values()]
    rows = [
        (entry.name, ", ".join(sorted(entry.backends)), ", ".join(entry.releases), entry.summary) for entry in known
    ]
    headers = ("cause", "backends", "releases", "why")
    return tabulate(rows, headers=headers, tablefmt="simple", maxcolwidths=(None, 24, 24, 70))


def explain(name: str) -> str:
    """What a cause is, whom it concerns, and its source. Raises `UsageError` for one that there is not."""
    if (entry := causes.known(name)) is not None:
        said = {"backends": ", ".join(sorted(entry.backends)), "releases": ", ".join(entry.releases)}
        return _told(name, entry.summary, {**said, "source": entry.source})
    if name in witnesses.CAUSES:
        summary, source = witnesses.CAUSES[name]
        return _told(name, summary, {"of": "what a processor executes", "source": source})
    every = [*causes.CAUSES, *causes.NO_NUMBER, *witnesses.CAUSES]
    near = difflib.get_close_matches(name, every, n=3)
    hint = f"did you mean {', '.join(map(repr, near))}? " if near else ""
    raise UsageError(f"unknown cause {name!r}; {hint}crosscheck list causes shows all {len(every):,}")


def _told(name: str, summary: str, facts: Mapping[str, str]) -> str:
    return "\n".join([name, f"  {summary}", *(f"  {what}: {fact}" for what, fact in facts.items() if fact)])


def _is_model(component: configs.ComponentConfig) -> bool:
    return not component.class_name.removesuffix("Fast").endswith(("Scheduler", "Tokenizer", "Processor", "Extractor"))


LISTS: Mapping[str, Callable[[], str]] = {
    "backends": list_backends,
    "models": list_models,
    "causes": list_causes,
}
