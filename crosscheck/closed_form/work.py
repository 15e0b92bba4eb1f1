"""The answer of a closed form: MACs by op."""

from __future__ import annotations

from dataclasses import dataclass

from crosscheck.closed_form.arithmetic import Size


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """MACs of a module by op: ints, or sympy expressions where a size was a symbol."""

    conv: Size = 0
    linear: Size = 0
    attention: Size = 0
    """Calls of scaled_dot_product_attention."""
    matmul: Size = 0
    """Products written out: mm, bmm, einsum."""

    def __add__(self, other: Work) -> Work:
        return Work(
            conv=self.conv + other.conv,
            linear=self.linear + other.linear,
            attention=self.attention + other.attention,
            matmul=self.matmul + other.matmul,
        )

    def __mul__(self, times: Size) -> Work:
        return Work(
            conv=self.conv * times,
            linear=self.linear * times,
            attention=self.attention * times,
            matmul=self.matmul * times,
        )

    __rmul__ = __mul__

    @property
    def total(self) -> Size:
        """All four together."""
        return self.conv + self.linear + self.attention + self.matmul
