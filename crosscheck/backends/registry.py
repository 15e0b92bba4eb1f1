"""The table of backends: name -> "module:Class", and those that other packages add.

Nothing is imported until a backend is loaded, so that a missing or broken tool costs its own row only.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, entry_points, version

from packaging.version import InvalidVersion, Version

from crosscheck.case import Backend, NotApplicable
from crosscheck.errors import UsageError
from crosscheck.hints import did_you_mean, require_list

GROUP = "crosscheck.backends"

CORE = {
    "analytic": "crosscheck.backends.analytic:Analytic",
    "aten": "crosscheck.backends.aten:Aten",
    "thop": "crosscheck.backends.thop:Thop",
    "thop-plain": "crosscheck.backends.thop:ThopPlain",
    "thop-query-only": "crosscheck.backends.thop:ThopQueryOnly",
    "fvcore": "crosscheck.backends.fvcore:Fvcore",
    "fvcore-plain": "crosscheck.backends.fvcore:FvcorePlain",
    "flop_counter": "crosscheck.backends.flop_counter:FlopCounter",
}
#: Ours too, and run when asked for: tools in ways that go wrong.
PROBES = {
    "fvcore-meta": "crosscheck.backends.fvcore:FvcoreMeta",
}
#: Counters of the field that are not installed with crosscheck: pip install "crosscheck[counters]".
COUNTERS = {
    "calflops": "crosscheck.backends.calflops:Calflops",
    "deepspeed": "crosscheck.backends.deepspeed:DeepSpeed",
    "flops-profiler": "crosscheck.backends.flops_profiler:FlopsProfiler",
    "onnx-tool": "crosscheck.backends.onnx_tool:OnnxTool",
    "ptflops": "crosscheck.backends.ptflops:Ptflops",
    "ptflops-aten": "crosscheck.backends.ptflops:PtflopsAten",
    "ultralytics-thop": "crosscheck.backends.thop:UltralyticsThop",
    "torchinfo": "crosscheck.backends.torchinfo:Torchinfo",
    "torchprofile": "crosscheck.backends.torchprofile:Torchprofile",
    "torch-flops": "crosscheck.backends.torch_flops:TorchFlops",
}
#: Run beside the trace where a module is in training, for what causes have to know, and no outcome of its own.
EVALUATED = {"aten-evaluated": "crosscheck.backends.aten:AtenEvaluated"}
#: Always computed, whichever are asked for: the closed form, and the trace that must equal it.
REFERENCES = ("analytic", "aten")


def table() -> dict[str, str]:
    """Every backend there is: ours, then the entry points of other installed packages."""
    return {**{point.name: point.value for point in entry_points(group=GROUP)}, **CORE, **PROBES, **COUNTERS}


def choose(names: Sequence[str] | None) -> tuple[str, ...]:
    """The names to run, references first. None: the core ones; ``all``: every registered one.

    Raises `UsageError` for a name that is not registered, with the nearest that is.
    """
    registered = table()
    if names is None:
        return tuple(CORE)
    require_list("backends", names)
    wanted = tuple(registered) if "all" in names else tuple(names)
    for name in wanted:
        if name not in registered:
            hint = did_you_mean(str(name), registered)
            raise UsageError(f"unknown backend {name!r}; {hint}allowed: {', '.join([*registered, 'all'])}")
    return tuple(dict.fromkeys((*REFERENCES, *wanted)))


def load(name: str) -> Backend:
    """The backend called ``name``. Raises `NotApplicable` where its tool can't be imported."""
    place = {**table(), **EVALUATED}[name]
    module, _, attribute = place.partition(":")
    try:
        backend = getattr(importlib.import_module(module), attribute)()
    except ImportError as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        hint = f"; install it with: pip install {missing.partition('.')[0]}" if missing else ""
        raise NotApplicable(f"{error}{hint}") from error
    if not isinstance(backend, Backend):
        raise TypeError(f"{place} is not a crosscheck.backends.interface.Backend")
    if getattr(backend, "name", None) != name or not hasattr(backend, "distribution"):
        raise TypeError(f"{place} needs name = {name!r}, as it is registered, and a distribution")
    return backend


def version_of(backend: Backend) -> str:
    """Version of the tool a backend translates."""
    from crosscheck import __version__

    if not backend.distribution:
        return __version__
    try:
        installed = version(backend.distribution)
    except PackageNotFoundError:
        return "unknown"
    try:
        return str(Version(installed))
    except InvalidVersion:
        return installed
