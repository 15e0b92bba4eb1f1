"""thop (Lyken17/pytorch-OpCounter): forward hooks with a rule for each exact module class.

thop/profile.py:157-247 of 0.1.1.post2209072238. It sees modules, not functional calls, so the field adds a patch of
scaled_dot_product_attention; both numbers come from one run.
"""

from __future__ import annotations

from dataclasses import dataclass

from crosscheck import attention
from crosscheck.backends.entry import Entry
from crosscheck.backends.interface import Backend, Case, Count, NotApplicable


@dataclass(frozen=True)
class ThopRun:
    """What thop returned, and the attention calls seen while it ran, in MACs."""

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

    def run(self, case: Case) -> ThopRun:
        import thop

        if not hasattr(thop.profile.__globals__["register_hooks"], "items"):
            raise NotApplicable("this `thop` is not Lyken17's; found another package of that import name")
        calls: list[attention.AttentionCall] = []
        entry = Entry(case)
        with attention.observing(calls.append):
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


def exact(number: float) -> int:
    """A tool's float as the integer it stands for. Raises `ValueError` where it is none.

    thop and fvcore sum in float64, which holds integers exactly up to 2**53.
    """
    if number != int(number) or abs(number) > 2**53:
        raise ValueError(f"{number!r} is not an exact count")
    return int(number)
