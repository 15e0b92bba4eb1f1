"""The record of a run: its workload, its components, and what one generation runs."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from typing import Any

from crosscheck.errors import UsageError
from crosscheck.hints import did_you_mean
from crosscheck.records.base import FLOPS_PER_MAC, Record, Status, TensorSpec, compact
from crosscheck.records.census import Census
from crosscheck.records.outcomes import Outcome


class Recommended(Record, frozen=True, kw_only=True):
    """The total to use: conv + linear + attention + matmul."""

    status: Status
    """``confirmed``: closed form and trace are equal; ``unconfirmed``: there is the trace alone; with ``unequal`` and
    ``uncounted`` nothing is recommended."""
    macs: int | None = None
    """None where nothing is recommended."""
    flops: int | None = None
    """Two for each MAC."""
    by_op: dict[str, int] = {}
    """MACs by op of the headline, whose sum ``macs`` is."""
    causal_macs: int | None = None
    """The total with causal attention counted as its triangle, where that differs."""
    reason: str = ""
    """Why nothing, or nothing confirmed, is recommended."""

    @classmethod
    def from_ops(
        cls, status: Status, by_op: Mapping[str, int], causal_saving: int = 0, reason: str = ""
    ) -> Recommended:
        """Sum ``by_op`` (MACs); ``causal_saving`` MACs are what the triangle leaves out."""
        macs = sum(by_op.values())
        return cls(
            status=status,
            macs=macs,
            flops=FLOPS_PER_MAC * macs,
            by_op=dict(by_op),
            causal_macs=macs - causal_saving if causal_saving else None,
            reason=reason,
        )


class Component(Record, frozen=True, kw_only=True):
    """One component at batch 1 under every backend. ``component["thop"]`` is that backend's outcome."""

    name: str
    """As the pipeline calls it: ``unet``, ``vae_decoder``; a module by itself goes by its class."""
    class_name: str
    """Without its module: ``UNet2DConditionModel``."""
    entry: str = "forward"
    """The method that was entered: ``forward``, ``decode`` or ``encode``."""
    params: int
    """Elements of all its parameters, tied ones once."""
    inputs: tuple[TensorSpec, ...]
    """The tensors that it was given, at batch 1."""
    recommended: Recommended
    """The total of one forward."""
    backends: dict[str, Outcome]
    """The outcome of each, by its name."""
    other_ops: dict[str, int] = {}
    """Output elements of the ops outside the headline, by op."""
    group: str = ""
    """Of a doctor's case, the kind of operation that it is of."""
    derivation: str = ""
    """Of a doctor's case, its MACs as they are worked out by hand: ``2·10·32·48``."""
    notes: tuple[str, ...] = ()
    """What a reader has to know of these numbers, a sentence each."""
    census: Census | None = None
    """What ran."""

    def __getitem__(self, backend: str) -> Outcome:
        """The outcome of ``backend``; a `UsageError` lists what there is."""
        try:
            return self.backends[backend]
        except KeyError:
            hint = did_you_mean(str(backend), self.backends)
            raise UsageError(
                f"no outcome of backend {backend!r}; {hint}this run has: {', '.join(self.backends)}"
            ) from None

    def __contains__(self, backend: object) -> bool:
        return backend in self.backends

    def __iter__(self) -> Iterator[str]:
        return iter(self.backends)


class GenerationCase(Record, frozen=True, kw_only=True):
    """One distinct input of a component in a generation."""

    inputs: tuple[TensorSpec, ...]
    """As they really are, with the batch."""
    calls: int
    """Times that it was called with this input."""
    batch_size: int
    """Images times guidance branches."""
    macs: int | None
    """Of one call, by the reference."""
    analytic: int | None = None
    """The same by the closed form; None where there is none."""
    aten: int | None = None
    """The same by the trace."""


class GenerationComponent(Record, frozen=True, kw_only=True):
    """All calls of one component in a generation."""

    name: str
    """As of its `Component`."""
    calls: int
    """Times that it was called, with any input."""
    batch_size: int | None
    """None where the calls differ in it."""
    macs: int | None
    """Of all calls together."""
    cases: tuple[GenerationCase, ...]
    """Its distinct inputs."""

    @property
    def forwards(self) -> int:
        """Number of forwards for one image and one guidance branch that all calls are worth."""
        return sum(case.calls * case.batch_size for case in self.cases)


class Generation(Record, frozen=True, kw_only=True):
    """Work of one call of the pipeline."""

    components: tuple[GenerationComponent, ...]
    """Each that was called, once."""
    recommended: Recommended
    """The total of all calls of all components."""
    outside_macs: int
    """MACs run by the pipeline outside every component: beside the total, never in it."""


#: What a diffusers pipeline's call names differently from a `Workload`.
CALL_NAMES = {"frames": "num_frames", "steps": "num_inference_steps"}
#: Components that run at every step, by the names that pipelines give them.
DENOISERS = ("unet", "transformer")


def denoiser_among(names: Container[str]) -> str | None:
    """The one of these components that runs at every step; None where none has its name."""
    return next((name for name in DENOISERS if name in names), None)


class Workload(Record, frozen=True, kw_only=True):
    """The workload asked of the pipeline; sizes in pixels. None where the pipeline takes no such argument."""

    batch_size: int
    """Images of a generation, guidance branches not counted."""
    height: int | None = None
    """Of the image that goes in, where the pipeline takes its size from one."""
    width: int | None = None
    """As the height."""
    frames: int | None = None
    """Of a video."""
    steps: int | None = None
    """``num_inference_steps``: a scheduler may call the denoiser more or less often."""
    guidance_scale: float | None = None
    """Of classifier-free guidance; most pipelines double the batch where it is above 1."""
    scheduler: str = ""
    """Its class."""

    @classmethod
    def of_call(cls, arguments: Mapping[str, Any]) -> Workload:
        """The workload of a pipeline's call, by the names that it has there; other arguments are left out."""
        fields = {field: arguments.get(CALL_NAMES.get(field, field)) for field in cls.__struct_fields__}
        batch_size, scheduler = fields.pop("batch_size"), fields.pop("scheduler")
        return cls(batch_size=1 if batch_size is None else batch_size, scheduler=scheduler or "", **fields)

    @property
    def call(self) -> dict[str, Any]:
        """The known part of it, by the names that a pipeline's call has."""
        fields = {CALL_NAMES.get(field, field): getattr(self, field) for field in self.__struct_fields__}
        return {name: value for name, value in fields.items() if value is not None and value != ""}


class Ledger(Record, frozen=True, kw_only=True):
    """The record of a run: raw totals, census, and the reconciliation made from them."""

    schema: int
    """Of the record's form, 1."""
    model: str
    """Its label: a catalogue name, a folder's, a hub id, or a class."""
    pipeline: str = ""
    """Its class; empty where there is none."""
    workload: Workload | None = None
    """None where modules were counted by themselves, without a pipeline; so is ``generation``."""
    environment: dict[str, str]
    """Releases by package, with ``python`` and ``device``."""
    components: tuple[Component, ...]
    """Each once, at batch 1."""
    generation: Generation | None = None
    """What one call of the pipeline runs."""

    def component(self, name: str) -> Component:
        """The component called ``name``; a `UsageError` lists what there is."""
        for component in self.components:
            if component.name == name:
                return component
        names = [component.name for component in self.components]
        raise UsageError(f"no component {name!r}; {did_you_mean(name, names)}this run has: {', '.join(names)}")

    @property
    def denoiser(self) -> Component | None:
        """The component that runs at every step; None where none has its name."""
        parts = {part.name: part for part in self.components}
        name = denoiser_among(parts)
        return parts[name] if name else None

    def to_json(self) -> str:
        """The ledger as JSON (schema 1)."""
        return compact(self)

    def to_markdown(self) -> str:
        """The report as markdown."""
        from crosscheck.report.pages.run import markdown

        return markdown(self)
