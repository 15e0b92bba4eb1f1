"""The two packages that are imported as ``thop``: Lyken17's pytorch-OpCounter, and its fork by Ultralytics.

thop (thop/profile.py:157-247 of 0.1.1.post2209072238) has forward hooks with a rule for each exact module class. It
sees modules, not functional calls, so the field adds a patch of scaled_dot_product_attention; both numbers come from
one run. The fork needs no patch, which would count attention twice.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from crosscheck.backends.entry import Entry
from crosscheck.backends.exact import exact
from crosscheck.case import Backend, Case, Count, NotApplicable
from crosscheck.tracing import sdpa


@dataclass(frozen=True)
class ThopRun:
    """The return value of thop, and the attention calls seen while it ran, in MACs."""

    returned: int
    attention: int
    query_only: int


class Thop(Backend):
    """thop's number plus B x H x N_q x N_kv x (d_qk + d_v) for each attention call the patch saw."""

    name = "thop"
    distribution = "thop"
    leaves_behind = frozenset(
        {
            # thop/profile.py:237-243: buffers go only where a rule was, of a shared module's hooks only the last, and
            # the root's training flag is put on every part.
            "buffer total_ops added",
            "buffer total_params added",
            "forward hook added",
            "training flag changed",
        }
    )

    def __init__(self) -> None:
        _needs(self.distribution)

    def run(self, case: Case) -> ThopRun:
        import thop

        calls: list[sdpa.AttentionCall] = []
        entry = Entry(case)
        with sdpa.observing(calls.append):
            returned, _ = thop.profile(entry, inputs=entry.inputs, verbose=False)
        return ThopRun(
            returned=exact(returned),
            attention=sum(call.macs for call in calls),
            query_only=sum(call.query_only_macs for call in calls),
        )

    def read(self, result: ThopRun) -> Count:
        return Count(macs=result.returned + result.attention)


class ThopPlain(Thop):
    """thop as shipped: attention is a functional call, which its hooks can't see."""

    name = "thop-plain"

    def read(self, result: ThopRun) -> Count:
        return Count(macs=result.returned)


class ThopQueryOnly(Thop):
    """thop with the rule B H N N D + B H N N + B H N N D, N and D taken from the query."""

    name = "thop-query-only"

    def read(self, result: ThopRun) -> Count:
        return Count(macs=result.returned + result.query_only)


class UltralyticsThop(Backend):
    """ultralytics-thop: rules by class and by its bases, and a mode that sees products written as functions.

    thop/profile.py:373-513 of 2.2.3. Its numbers are MACs; norms are charged beside them.
    """

    name = "ultralytics-thop"
    distribution = "ultralytics-thop"

    def __init__(self) -> None:
        _needs(self.distribution)

    def run(self, case: Case) -> int:
        import thop

        entry = Entry(case)
        returned, _ = thop.profile(entry, inputs=entry.inputs, verbose=False)
        return exact(returned)

    def read(self, result: int) -> Count:
        return Count(macs=result)


def _needs(distribution: str) -> None:
    """Raises `NotApplicable` where ``import thop`` gives another package than ``distribution``.

    thop and ultralytics-thop install the same files: of both, those of the one installed last are there.
    """
    recorded = {name: record for name in ("thop", "ultralytics-thop") if (record := _recorded(name))}
    if distribution not in recorded:
        alone = ", in an environment without thop, whose files it replaces" if "thop" in recorded else ""
        raise NotApplicable(f"{distribution} is not installed; install it with: pip install {distribution}{alone}")
    spec = importlib.util.find_spec("thop")
    folder = Path(next(iter(spec.submodule_search_locations or ()), "")) if spec else Path()
    content = (folder / "profile.py").read_bytes() if spec else b""
    if recorded[distribution] != base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode():
        others = next((name for name in recorded if name != distribution), "another package")
        raise NotApplicable(
            f"`import thop` gives the files of {others}, installed over those of {distribution}; uninstall both, then: "
            f"pip install {distribution}"
        )


def _recorded(distribution: str) -> str:
    """The hash of thop/profile.py in the record of what ``distribution`` installed; "" where it is not there."""
    try:
        files = metadata.distribution(distribution).files or ()
    except metadata.PackageNotFoundError:
        return ""
    return next((file.hash.value for file in files if file.as_posix() == "thop/profile.py" and file.hash), "")
