"""What there is: backends, catalogue models, causes. Imports no counter and no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tabulate import tabulate

from crosscheck import backends, causes, configs


def list_backends() -> str:
    """Every registered backend with where it comes from; the core ones run by default."""
    kinds = dict.fromkeys(backends.CORE, "core") | dict.fromkeys(backends.PROBES, "probe")
    rows = [(name, kinds.get(name, "entry point"), value) for name, value in backends.table().items()]
    return tabulate(rows, headers=("backend", "kind", "class"), tablefmt="simple")


def list_models() -> str:
    """The catalogue: each model's pipeline class and components."""
    rows = []
    for name in configs.catalogue():
        config = configs.read(configs.CATALOGUE / name, name)
        rows.append((name, config.class_name, ", ".join(c.class_name for c in config.components if _is_model(c))))
    return tabulate(rows, headers=("model", "pipeline", "models"), tablefmt="simple")


def list_causes() -> str:
    """Every cause with the backends it applies to."""
    known: list[causes.Cause | causes.NoNumber] = [*causes.CAUSES.values(), *causes.NO_NUMBER.values()]
    rows = [
        (entry.name, ", ".join(sorted(entry.backends)), ", ".join(entry.releases), entry.summary) for entry in known
    ]
    headers = ("cause", "backends", "releases", "why")
    return tabulate(rows, headers=headers, tablefmt="simple", maxcolwidths=(None, 24, 24, 70))


def _is_model(component: configs.ComponentConfig) -> bool:
    return not component.class_name.endswith(("Scheduler", "Tokenizer", "Processor", "Extractor"))


LISTS: Mapping[str, Callable[[], str]] = {
    "backends": list_backends,
    "models": list_models,
    "causes": list_causes,
}
