"""What there is: backends, catalogue models, causes. Imports no counter and no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tabulate import tabulate

from crosscheck import backends, causes, configs


def list_backends() -> str:
    """Every registered backend with where it comes from; the core ones run by default."""
    rows = [
        (name, "core" if name in backends.CORE else "entry point", value) for name, value in backends.table().items()
    ]
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
    rows = [(cause.name, ", ".join(sorted(cause.backends)), cause.summary) for cause in causes.CAUSES.values()]
    return tabulate(rows, headers=("cause", "backends", "why"), tablefmt="simple", maxcolwidths=(None, 24, 70))


def _is_model(component: configs.ComponentConfig) -> bool:
    return not component.class_name.endswith(("Scheduler", "Tokenizer", "Processor", "Extractor"))


LISTS: Mapping[str, Callable[[], str]] = {
    "backends": list_backends,
    "models": list_models,
    "causes": list_causes,
}
