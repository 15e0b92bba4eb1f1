"""torchinfo (TylerYep/torchinfo): forward hooks, parameters times a size of each leaf layer's output.

Its "mult-adds" are multiply-adds, biases included (torchinfo/layer_info.py:225-245, model_statistics.py:31-33 of
1.8.0).
"""

from __future__ import annotations

import torchinfo

from crosscheck.backends.entry import Entry
from crosscheck.case import Backend, Case, Count


class Torchinfo(Backend):
    """``torchinfo.summary(...).total_mult_adds``."""

    name = "torchinfo"
    distribution = "torchinfo"
    # torchinfo/torchinfo.py:281-313: eval(), and then the root's training flag for every part
    leaves_behind = frozenset({"training flag changed"})

    def run(self, case: Case) -> int:
        entry = Entry(case)
        return int(torchinfo.summary(entry, input_data=list(entry.inputs), verbose=0).total_mult_adds)

    def read(self, result: int) -> Count:
        return Count(macs=result)
