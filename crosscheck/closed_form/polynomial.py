"""Polynomials with integer coefficients in named sizes, and roundings and minima of such: what closed forms answer.

Closed forms only add, subtract, multiply, divide by an int and compare, so this small part of a computer algebra
system is enough, and it is there in milliseconds: importing sympy takes longer than everything else that ``formula``
does. Sympy's symbols go through the same closed forms, and tests hold both against each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Floor:
    """A whole part: floor(inner / by)."""

    inner: Polynomial
    by: int

    def at(self, sizes: Mapping[str, int]) -> int:
        """The value for these sizes."""
        return self.inner.at(sizes) // self.by


@dataclass(frozen=True, slots=True)
class Abs:
    """A distance."""

    inner: Polynomial

    def at(self, sizes: Mapping[str, int]) -> int:
        """The value for these sizes."""
        return abs(self.inner.at(sizes))


@dataclass(frozen=True, slots=True)
class Least:
    """The smaller of a polynomial and a number."""

    inner: Polynomial
    than: int

    def at(self, sizes: Mapping[str, int]) -> int:
        """The value for these sizes."""
        return min(self.inner.at(sizes), self.than)


Atom: TypeAlias = "str | Floor | Abs | Least"
Monomial: TypeAlias = tuple[tuple[Atom, int], ...]
"""Atoms with their powers, in the order of their text."""


class Polynomial:
    """A sum of monomials with integer coefficients (fractions where it was divided exactly)."""

    __slots__ = ("terms",)

    def __init__(self, terms: Mapping[Monomial, int | Fraction]) -> None:
        self.terms = {monomial: coefficient for monomial, coefficient in terms.items() if coefficient}

    @classmethod
    def symbol(cls, name: str) -> Polynomial:
        """A size by name: an integer from 1."""
        return cls({((name, 1),): 1})

    def __add__(self, other: Polynomial | int) -> Polynomial:
        terms = dict(self.terms)
        for monomial, coefficient in _terms(other).items():
            terms[monomial] = terms.get(monomial, 0) + coefficient
        return Polynomial(terms)

    __radd__ = __add__

    def __neg__(self) -> Polynomial:
        return self * -1

    def __sub__(self, other: Polynomial | int) -> Polynomial:
        return self + other * -1

    def __rsub__(self, other: int) -> Polynomial:
        return self * -1 + other

    def __mul__(self, other: Polynomial | int) -> Polynomial:
        terms: dict[Monomial, int | Fraction] = {}
        for one, a in self.terms.items():
            for two, b in _terms(other).items():
                monomial = _product(one, two)
                terms[monomial] = terms.get(monomial, 0) + a * b
        return Polynomial(terms)

    __rmul__ = __mul__

    def __pow__(self, power: int) -> Polynomial:
        result = Polynomial({(): 1})
        for _ in range(power):
            result = result * self
        return result

    def __floordiv__(self, by: int) -> Polynomial:
        """Rounded down; what divides exactly is taken out, so that alike divisions have one form."""
        whole = Polynomial({monomial: coefficient // by for monomial, coefficient in self.terms.items()})
        rest = self - whole * by
        if not set(rest.terms) - {()}:  # below ``by`` in itself
            return whole
        return whole + Polynomial({((Floor(rest, by), 1),): 1})

    def __abs__(self) -> Polynomial:
        return Polynomial({((Abs(self), 1),): 1})

    def least(self, than: int) -> Polynomial:
        """The smaller of this and a number."""
        return Polynomial({((Least(self, than), 1),): 1})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Polynomial | int) and self.terms == _terms(other)

    def __hash__(self) -> int:
        return hash(frozenset(self.terms.items()))

    def atoms(self) -> list[Atom]:
        """Sizes and rounded divisions in it, what a division holds before it."""
        found: dict[Atom, None] = {}
        for monomial in self.terms:
            for atom, _ in monomial:
                if not isinstance(atom, str):
                    found.update(dict.fromkeys(atom.inner.atoms()))
                found[atom] = None
        return list(found)

    def at(self, sizes: Mapping[str, int]) -> int:
        """The value for these sizes."""
        values: dict[Atom, int] = {name: size for name, size in sizes.items()}  # noqa: C416  str to Atom
        for monomial in self.terms:
            for atom, _ in monomial:
                if atom not in values and not isinstance(atom, str):
                    values[atom] = atom.at(sizes)
        products = (c * prod(values[atom] ** power for atom, power in term) for term, c in self.terms.items())
        return int(sum(products))

    def saturated(self) -> tuple[Polynomial, dict[Polynomial, int]]:
        """With each minimum at its number, and what must be at least how much for that."""
        result, conditions = Polynomial({}), dict[Polynomial, int]()
        for monomial, coefficient in self.terms.items():
            term = Polynomial({(): coefficient})
            for atom, power in monomial:
                if isinstance(atom, Least):
                    conditions[atom.inner] = atom.than
                    term = term * atom.than**power
                else:
                    term = term * Polynomial({((atom, power),): 1})
            result = result + term
        return result, conditions

    def divided(self, by: Mapping[str, int]) -> Polynomial:
        """With each of these sizes divided by its number, exactly."""

        def divisor(monomial: Monomial) -> int:
            return prod(by.get(atom, 1) ** power for atom, power in monomial if isinstance(atom, str))

        return Polynomial({term: Fraction(coefficient, divisor(term)) for term, coefficient in self.terms.items()})


def _terms(value: Polynomial | int) -> Mapping[Monomial, int | Fraction]:
    return value.terms if isinstance(value, Polynomial) else {(): value} if value else {}


def _product(one: Monomial, two: Monomial) -> Monomial:
    if not one or not two:
        return one or two
    powers = dict(one)
    for atom, power in two:
        powers[atom] = powers.get(atom, 0) + power
    return tuple(sorted(powers.items(), key=lambda entry: _order(entry[0])))


def _order(atom: Atom) -> tuple[int, str]:
    """Sizes by name, then what is rounded or compared by what it holds."""
    if isinstance(atom, str):
        return (0, atom)
    inner = [_order(part) for part in atom.inner.atoms()]
    return (1, f"{inner} {type(atom).__name__} {sorted(map(str, atom.inner.terms.values()))}")
