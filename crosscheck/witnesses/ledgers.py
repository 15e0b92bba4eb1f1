"""Witnesses' ledgers: those that came with this release, and any other from its file."""

from __future__ import annotations

import functools
from pathlib import Path

import msgspec

from crosscheck import ledger
from crosscheck.records import Component
from crosscheck.witnesses.witnessed import Witness, Witnessed, confirms, processor

#: What was measured and came with this release, one file a model, processor and precision.
LEDGERS = Path(__file__).parent / "measured"


def load_witness(path: Path) -> Witness | None:
    """Read a witness's ledger; None where it is one of a run.

    Raises `ConfigError` for what is no ledger or of another schema.
    """
    content = ledger.read(path)
    return ledger.decoded(path, content, Witness) if ledger.stamp(path, content).witness else None


def confirming(component: Component) -> tuple[str, ...]:
    """Witnesses that came with this release and confirm the recommended number of ``component``.

    Known by its class, parameters, inputs and number: another model's, if it is the same in all of these.
    """
    found = (
        processor(witness) + ("" if witness.witness == "cpu" else f" {part.dtype}")
        for witness in committed()
        for part in witness.components
        if _identity(part) == _identity(component) and part.recommended == component.recommended.macs and confirms(part)
    )
    return tuple(dict.fromkeys(found))


def _identity(part: Component | Witnessed) -> tuple[object, ...]:
    return part.class_name, part.params, tuple((tensor.name, tensor.shape) for tensor in part.inputs)


@functools.cache
def committed() -> tuple[Witness, ...]:
    """The ledgers of `LEDGERS`."""
    return tuple(msgspec.json.decode(path.read_bytes(), type=Witness) for path in sorted(LEDGERS.glob("*.json")))
