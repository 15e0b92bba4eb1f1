"""A tool's number as the exact integer that it stands for, in MACs."""

from __future__ import annotations

from crosscheck.records import FLOPS_PER_MAC


def exact(number: float) -> int:
    """A tool's float as the integer it stands for. Raises `ValueError` where it is none.

    thop and fvcore sum in float64, which holds integers exactly up to 2**53.
    """
    if number != int(number) or abs(number) > 2**53:
        raise ValueError(f"{number!r} is not an exact count")
    return int(number)


def halved(flops: int) -> int:
    """FLOPs, two a MAC, in MACs. Raises `ValueError` where they are no whole number of them."""
    macs, rest = divmod(flops, FLOPS_PER_MAC)
    if rest:
        raise ValueError(f"{flops} FLOPs is not a whole number of MACs")
    return macs
