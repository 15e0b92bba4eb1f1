"""Backends that are wrong on purpose. Each must be caught by name."""

import os
import signal
import time

import torch

from crosscheck.backends.aten import Aten
from crosscheck.case import Backend, Count
from crosscheck.tracing.calling import call


def right(case):
    return sum(Aten().run(case).by_op.values())


class Broken(Backend):
    distribution = ""

    def read(self, result):
        return result


class DropsALayer(Broken):
    """Counts all but the last linear layer."""

    name = "drops-a-layer"

    def run(self, case):
        return Count(macs=right(case) - 64 * 32 * 32)


class DoublesAttention(Broken):
    name = "doubles-attention"

    def run(self, case):
        by_op = Aten().run(case).by_op
        return Count(macs=sum(by_op.values()) + by_op["attention"])


class Mutates(Broken):
    """Right number, but it leaves a hook, another training flag and a smaller layer."""

    name = "mutates"

    def run(self, case):
        macs = right(case)
        case.module.train(not case.module.training)
        case.module.register_forward_hook(lambda *_: None)
        case.module.out = torch.nn.Linear(1, 1)
        return Count(macs=macs)


class PatchesTorch(Broken):
    name = "patches-torch"

    def run(self, case):
        macs = right(case)
        torch.nn.functional.linear = lambda *_: None
        return Count(macs=macs)


class Raises(Broken):
    name = "raises"

    def run(self, case):
        raise KeyError("no rule\nfor this")


class ReturnsNothing(Broken):
    name = "returns-nothing"

    def run(self, case):
        call(case)


class ReturnsAFloat(Broken):
    name = "returns-a-float"

    def run(self, case):
        return Count(macs=1.5)


class Hangs(Broken):
    name = "hangs"

    def run(self, case):
        time.sleep(1_000)


class Dies(Broken):
    name = "dies"

    def run(self, case):
        os.kill(os.getpid(), signal.SIGKILL)


class Exits(Broken):
    name = "exits"

    def run(self, case):
        os._exit(3)


class EatsMemory(Broken):
    """Runs out of the memory it may have."""

    name = "eats-memory"

    def run(self, case):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        with open("/proc/self/statm") as statm:
            used = int(statm.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, used + 2**28))
        return Count(macs=len(bytearray(2**34)))


class Prints(Broken):
    name = "prints"

    def run(self, case):
        print("noise")
        os.write(1, b"noise\n")
        return Count(macs=right(case))


ALL = {cls.name: f"broken:{cls.__name__}" for cls in Broken.__subclasses__()}
