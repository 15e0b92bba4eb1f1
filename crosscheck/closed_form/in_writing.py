"""The closed form itself: MACs of a pipeline's components in latent height, width, frames, batch and text tokens.

From the configs alone. Nothing but the standard library and msgspec is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import lcm
from typing import Any

from crosscheck.case import called
from crosscheck.closed_form.arithmetic import Size
from crosscheck.closed_form.forms import FORMS, count, inputs_of
from crosscheck.closed_form.options import NoClosedForm
from crosscheck.closed_form.polynomial import Abs, Atom, Floor, Least, Polynomial
from crosscheck.closed_form.sizes import Sizes, latent_frames, latent_scale
from crosscheck.closed_form.work import Work
from crosscheck.errors import UsageError
from crosscheck.models import configs
from crosscheck.records import FLOPS_PER_MAC, HEADLINE, Record, Workload, denoiser_among

#: Symbols, and what they stand for.
SYMBOLS = {
    "b": "images",
    "h": "latent height",
    "w": "latent width",
    "f": "latent frames",
    "n": "tokens of text",
}


@dataclass(frozen=True, kw_only=True)
class Part:
    """A component's method with a closed form: its config, and the sizes of the model's default workload."""

    name: str
    class_name: str
    entry: str
    config: Mapping[str, Any]
    sizes: Sizes
    """Ints, of the default workload or of the one that was asked for."""

    def work(self, sizes: Sizes) -> Work:
        """MACs by op at these sizes: ints, or symbols. Raises `UsageError` for a size the model does not take."""
        try:
            given = inputs_of(self.class_name, self.entry, self.config, sizes)
            return count(self.class_name, self.config, self.entry, given)
        except NoClosedForm as reason:
            raise UsageError(f"{self.name} ({self.class_name}): {reason}") from reason

    def formula(self) -> Formula:
        """The closed form in symbols."""
        work = self.work(Sizes(*map(Polynomial.symbol, SYMBOLS)))
        by_op: dict[str, Polynomial] = {op: _polynomial(getattr(work, op)) for op in HEADLINE}
        total = sum(by_op.values(), Polynomial({}))
        divisors = _divisors(total)
        scaled = [divisors.get(name, 1) * Polynomial.symbol(name) for name in SYMBOLS]
        plain, _ = _polynomial(self.work(Sizes(*scaled)).total).saturated()
        return Formula(
            by_op=by_op,
            total=total,
            divisors=divisors,
            least=total.saturated()[1],
            polynomial=plain.divided(divisors),
        )


@dataclass(frozen=True, kw_only=True)
class Formula:
    """MACs of one call as a function of the sizes."""

    by_op: Mapping[str, Polynomial]
    total: Polynomial
    """Exact at every size, with its roundings."""
    divisors: Mapping[str, int]
    """What a size must be a multiple of for ``polynomial`` to hold."""
    least: Mapping[Polynomial, int]
    """What must be at least how much for that."""
    polynomial: Polynomial

    def at(self, sizes: Sizes) -> int:
        """MACs at these sizes."""
        return self.total.at(dict(zip(SYMBOLS, sizes, strict=True)))


def parts(
    config: configs.PipelineConfig,
    stated: configs.Stated,
    *,
    height: int | None = None,
    width: int | None = None,
    frames: int | None = None,
    batch_size: int = 1,
    tokens: int | None = None,
) -> list[Part]:
    """Every component of a model with a closed form, from its configs and stated workload.

    Sizes are pixels, None for the model's own. Raises `UsageError` for a size that is not allowed.
    """
    by_name = {component.name: component for component in config.components}
    asked = Workload(batch_size=batch_size, height=height, width=width, frames=frames)
    pixels = _pixels(config, by_name, stated.workload, asked)
    found = []
    for component in config.components:
        name, class_name, forms = component.name, component.class_name, FORMS.get(component.class_name, {})
        text = tokens or stated.tokens.get(name) or _tokens(name, by_name)
        sizes = Sizes(batch_size, *pixels, text)
        entries = ("decode", "encode") if "decode" in forms else forms
        found += [
            Part(name=called(name, entry), class_name=class_name, entry=entry, config=component.config, sizes=sizes)
            for entry in entries
        ]
    return found


#: Where a pipeline takes less than every whole latent (their ``check_inputs``, diffusers 0.42.1).
_MULTIPLES = {
    "FluxPipeline": 16,
    "StableDiffusion3Pipeline": 16,
    "WanPipeline": 16,
    "SanaPipeline": 32,
    "LTXPipeline": 32,
}


def _pixels(
    config: configs.PipelineConfig,
    by_name: Mapping[str, configs.ComponentConfig],
    stated: Workload,
    asked: Workload,
) -> tuple[int, int, int]:
    """Latent height, width and frames of a workload in pixels."""
    vae = by_name["vae"].config if "vae" in by_name else {}
    scale = 1 if "Upscale" in config.class_name else latent_scale(vae) if vae else 8
    multiple = max(scale, _MULTIPLES.get(config.class_name, 1))
    denoiser = denoiser_among(by_name)
    own = by_name[denoiser].config if denoiser else {}
    sample = own.get("sample_size") or (own.get("sample_height"), own.get("sample_width"))
    sides = sample if isinstance(sample, list | tuple) else (sample, sample)
    latent = []
    for key, side in zip(("height", "width"), sides, strict=True):
        size = getattr(asked, key) or getattr(stated, key) or (side and side * scale)
        if not isinstance(size, int):
            raise UsageError(f"{config.name} has no default {key}; give --{key}")
        if size % multiple:
            raise UsageError(f"{key}: got {size}; allowed: a multiple of {multiple} ({config.class_name})")
        latent.append(size // scale)
    frames = asked.frames or stated.frames or own.get("sample_frames")
    return (*latent, latent_frames(vae, frames) if frames else 1)  # type: ignore[return-value]


def _tokens(name: str, by_name: Mapping[str, configs.ComponentConfig]) -> int:
    """The maximum of the text encoder's tokenizer; CLIP's 77 where it states none."""
    tokenizer = by_name.get(name.replace("text_encoder", "tokenizer") if "text_encoder" in name else "tokenizer")
    length = tokenizer.config.get("model_max_length") if tokenizer else None
    return length if isinstance(length, int) and length != configs.UNLIMITED else 77


def _polynomial(value: Size) -> Polynomial:
    return value if isinstance(value, Polynomial) else Polynomial({(): value})


def _divisors(total: Polynomial) -> dict[str, int]:
    """The least multiples of the sizes at which nothing is rounded."""
    found: dict[str, int] = {}
    for atom in total.atoms():
        for name, by in _chain(atom, 1):
            if by > 1:
                found[name] = lcm(found.get(name, 1), by)
    return found


def _chain(atom: Atom, by: int) -> list[tuple[str, int]]:
    """The sizes below a rounded division, with all that they are divided by."""
    if isinstance(atom, str):
        return [(atom, by)]
    by *= atom.by if isinstance(atom, Floor) else 1
    return [pair for monomial in atom.inner.terms for inner, _ in monomial for pair in _chain(inner, by)]


# -- in writing --------------------------------------------------------------------------------------------------------


class Written(Record, frozen=True, kw_only=True):
    """A component's closed form in writing, and its value at the sizes that were asked for."""

    name: str
    class_name: str
    entry: str = "forward"
    """The method that is called: ``forward``, ``decode`` or ``encode``."""
    symbols: dict[str, str]
    """Those of the formula, and what they stand for."""
    formula: str
    """MACs of one call, exact at every size."""
    rounded: dict[str, str] = {}
    """What its short names stand for, where it has roundings."""
    conditions: tuple[str, ...] = ()
    polynomial: str
    """MACs where the conditions hold: without roundings."""
    latex: str
    """The exact formula in LaTeX."""
    sizes: dict[str, int]
    """Of each symbol, where it is evaluated."""
    macs: int
    flops: int
    by_op: dict[str, int]
    """MACs by headline op."""


def written(part: Part) -> Written:
    """The formula of a part, when it is a polynomial, in LaTeX, and its value at the part's sizes."""
    formula, sizes, work = part.formula(), dict(zip(SYMBOLS, part.sizes, strict=True)), part.work(part.sizes)
    names, atoms = _names(formula.total), formula.total.atoms()
    used = [name for name in SYMBOLS if name in atoms]
    multiples = [f"{name} a multiple of {by}" for name, by in formula.divisors.items()]
    least = [f"{_written(part, names)} at least {number}" for part, number in formula.least.items()]
    return Written(
        name=part.name,
        class_name=part.class_name,
        entry=part.entry,
        symbols={name: SYMBOLS[name] for name in used},
        formula=_written(formula.total, names),
        rounded={short: _rounded(atom, names) for atom, short in names.items()},
        conditions=(*multiples, *least),
        polynomial=_written(formula.polynomial, {}),
        latex=latex(formula),
        sizes={name: sizes[name] for name in used},
        macs=work.total,
        flops=FLOPS_PER_MAC * work.total,
        by_op={op: getattr(work, op) for op in HEADLINE},
    )


def latex(formula: Formula) -> str:
    """The exact formula in LaTeX."""
    return r"\mathrm{MACs} = " + _latex_written(formula.total)


def _latex_written(value: Polynomial) -> str:
    names: dict[Atom, str] = {atom: _latex_rounded(atom) for atom in value.atoms() if not isinstance(atom, str)}
    return _written(value, names, times=r"\,", power="^{{{}}}", fraction=r"\tfrac{{{}}}{{{}}}")


def _names(total: Polynomial) -> dict[Atom, str]:
    """Short names of the rounded divisions: h2 is the second of h."""
    names: dict[Atom, str] = {}
    for atom in total.atoms():
        if not isinstance(atom, str):
            letters = "".join(dict.fromkeys(name for name, _ in _chain(atom, 1)))
            names[atom] = f"{letters}{sum(name.rstrip('0123456789') == letters for name in names.values()) + 1}"
    return names


def _rounded(atom: Atom, names: Mapping[Atom, str]) -> str:
    if isinstance(atom, str):
        return atom
    if isinstance(atom, Abs):
        return f"abs({_written(atom.inner, names)})"
    if isinstance(atom, Least):
        return f"min({_written(atom.inner, names)}, {atom.than})"
    inner, up = _upwards(atom)
    written = _written(inner, names)
    return f"{'ceil' if up else 'floor'}({written if len(inner.terms) == 1 else f'({written})'}/{atom.by})"


def _latex_rounded(atom: Floor | Abs | Least) -> str:
    if isinstance(atom, Abs):
        return rf"\left| {_latex_written(atom.inner)} \right|"
    if isinstance(atom, Least):
        return rf"\min({_latex_written(atom.inner)}, {atom.than})"
    inner, up = _upwards(atom)
    left, right = (r"\lceil", r"\rceil") if up else (r"\lfloor", r"\rfloor")
    return rf"\left{left} \tfrac{{{_latex_written(inner)}}}{{{atom.by}}} \right{right}"


def _upwards(atom: Floor) -> tuple[Polynomial, bool]:
    """The dividend, and whether it is rounded up: floor((x + 1) / 2) is ceil(x / 2)."""
    up = atom.inner.terms.get((), 0) == atom.by - 1
    return (atom.inner - (atom.by - 1) if up else atom.inner), up


def _written(
    value: Polynomial, names: Mapping[Atom, str], times: str = "*", power: str = "**{}", fraction: str = "{}/{}"
) -> str:
    """The largest powers first."""
    written = []
    for monomial, coefficient in sorted(value.terms.items(), key=lambda term: -sum(p for _, p in term[0])):
        factors = [names.get(a, str(a)) + (power.format(p) if p > 1 else "") for a, p in monomial]
        if isinstance(coefficient, Fraction) and coefficient.denominator > 1:
            factors.insert(0, fraction.format(coefficient.numerator, coefficient.denominator))
        elif coefficient != 1 or not factors:
            factors.insert(0, str(int(coefficient)))
        written.append(times.join(factors))
    return " + ".join(written).replace("+ -", "- ") or "0"
