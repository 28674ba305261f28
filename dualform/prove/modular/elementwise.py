"""Elementwise primitives modulo p. Every rule takes the arithmetic `m`, the equation and its operands."""

from collections.abc import Callable
from copy import copy

import jax.numpy as jnp
import numpy as np

from dualform.prove import concrete
from dualform.prove.domains import DOMAINS, outside
from dualform.prove.errors import unsupported
from dualform.prove.marks import Domain
from dualform.prove.modular.values import Exponent, Residue, spoiled

OPAQUE = (
    "sqrt", "rsqrt", "cbrt", "sin", "cos", "tan", "asin", "acos", "atan",
    "asinh", "acosh", "atanh", "erf", "erfc", "erf_inv", "lgamma", "digamma", "exp2",
)  # fmt: skip
"""Functions known only to give equal values on equal arguments, and these at zero:"""

AT_ZERO = {
    **{name: 0.0 for name in ("sqrt", "cbrt", "sin", "tan", "asin", "atan", "asinh", "atanh", "erf", "erf_inv")},
    **{name: 1.0 for name in ("cos", "erfc", "exp2")},
}


def has_reset(x) -> bool:
    return concrete.is_float(x) and bool(np.any(x == -np.inf))


# sums, differences, scaling -------------------------------------------------------------------------------------------


def add(m, eqn, a, b):
    if isinstance(a, Exponent) or isinstance(b, Exponent) or has_reset(a) or has_reset(b):
        a, b = m.logarithm(eqn, a), m.logarithm(eqn, b)
        s = b.s if a.s is None else a.s if b.s is None else m.field.add(a.s, b.s)
        return [Exponent(m.group.add(a.e, b.e), a.reset | b.reset, s)]
    a, b = m.residues(eqn, a, b)
    return [Residue(m.field.add(a.r, b.r), spoiled(a, b))]


def sub(m, eqn, a, b):
    if isinstance(a, Exponent) or isinstance(b, Exponent) or has_reset(a):
        return add(m, eqn, a, neg(m, eqn, b)[0])
    a, b = m.residues(eqn, a, b)
    return [Residue(m.field.sub(a.r, b.r), spoiled(a, b))]


def neg(m, eqn, a):
    if isinstance(a, Exponent):
        if a.reset.any():
            raise unsupported(eqn, m.name, "it would turn -inf into +inf")
        return [Exponent(m.group.neg(a.e), a.reset, None if a.s is None else m.field.neg(a.s))]
    (a,) = m.residues(eqn, a)
    return [Residue(m.field.neg(a.r), a.bad)]


def _scaled(m, eqn, a: Exponent, c: np.ndarray, inverse: bool = False):
    """A logarithm times constants, or divided by them: exponents may be scaled by any rational, q being prime."""
    if not np.all(np.isfinite(c)) or (inverse and not np.all(c)):
        raise unsupported(eqn, m.name, "a logarithm scaled by an infinite or undefined constant")
    if (a.reset & (np.broadcast_to(c, np.broadcast_shapes(a.shape, c.shape)) <= 0)).any():
        raise unsupported(eqn, m.name, "-inf times a constant that is not positive")

    def scale(ring, x):
        factor = ring.from_float(c)
        return ring.mul(x, ring.inverse(factor) if inverse else factor)

    return [Exponent(scale(m.group, a.e), a.reset, None if a.s is None else scale(m.field, a.s))]


def mul(m, eqn, a, b):
    for x, c in ((a, b), (b, a)):
        if isinstance(x, Exponent) and concrete.is_float(c):
            return _scaled(m, eqn, x, c)
    if a is b and isinstance(a, Residue) and a.root is not None:
        return [copy(a.root)]  # which has the mark of the root, as the argument has not
    a, b = m.residues(eqn, a, b)
    return [Residue(m.field.mul(a.r, b.r), spoiled(a, b))]


def div(m, eqn, a, b):
    if isinstance(a, Exponent) and concrete.is_float(b):
        return _scaled(m, eqn, a, b, inverse=True)
    a, b = m.residues(eqn, a, b)
    zero = b.r == 0
    inverse = m.field.inverse(np.where(zero, np.uint64(1), b.r))
    return [Residue(m.field.mul(a.r, inverse), spoiled(a, b, Residue(b.r, zero)))]


# powers and transcendental functions ----------------------------------------------------------------------------------


def power(m, eqn, a):
    (a,) = m.residues(eqn, a)
    n = eqn.params.get("y", 2)
    if a.root is not None and n % 2 == 0:
        a, n = a.root, n // 2
    out = Residue(m.field.power(a.r, abs(n)), a.bad)
    return [out] if n >= 0 else div(m, eqn, Residue(np.ones(a.shape, np.uint64)), out)


def pow_(m, eqn, a, n):
    """Powers whose exponents are whole constants, such as decay ** (i - j)."""
    n = whole_exponents(m, eqn, n)
    (a,) = m.residues(eqn, a)
    shape = np.broadcast_shapes(a.shape, n.shape)
    base, n = Residue(np.broadcast_to(a.r, shape), np.broadcast_to(a.mask, shape)), np.broadcast_to(n, shape)
    out = np.zeros(shape, np.uint64)
    for k in np.unique(n):
        out[n == k] = m.field.power(base.r[n == k], abs(int(k)))
    down = Residue(np.where(n < 0, out, np.uint64(1)))
    (quotient,) = div(m, eqn, Residue(np.where(n < 0, np.uint64(1), out), base.bad), down)
    return [quotient]


def whole_exponents(arithmetic, eqn, n) -> np.ndarray:
    """The exponents of a power as integers, or the error where they are not."""
    if not isinstance(n, np.ndarray) or np.any(n != np.trunc(n)) or np.any(np.abs(n) > 1 << 16):
        raise unsupported(eqn, arithmetic.name, "an exponent that is not a whole constant below 2**16")
    return n.astype(np.int64)


def exp(m, eqn, a):
    if isinstance(a, Residue):  # bad elements stay bad
        return [Residue(_power(m, *m.fresh.exponent(a.r)), a.bad)]
    a = m.logarithm(eqn, a)
    m.gates_used |= bool(a.e.any())
    h, factor = (np.zeros(a.shape, np.uint64), None) if a.s is None else m.fresh.exponent(a.s)
    return [Residue(np.where(a.reset, np.uint64(0), _power(m, m.group.add(a.e, h), factor)))]


def _power(m, h: np.ndarray, factor: np.ndarray | None) -> np.ndarray:
    return m.powers(h) if factor is None else m.field.mul(m.powers(h), factor)


def expm1(m, eqn, a):
    (power_,) = exp(m, eqn, a)
    return [Residue(m.field.sub(power_.r, np.uint64(1)), power_.bad)]


def log(m, eqn, a):
    """log and log1p, as one function of its argument or of 1 plus its argument."""
    given, name = a, eqn.primitive.name
    (a,) = m.residues(eqn, a)
    bad = a.mask | (outside(name, given) if isinstance(given, np.ndarray) else poles(m, name, a))
    result = Residue(m.fresh.logarithm(m.field.add(a.r, np.uint64(1)) if name == "log1p" else a.r), bad)
    has_domain(m, eqn, given, result)
    return [result]


def opaque(m, eqn, a):
    given, name = a, eqn.primitive.name
    (a,) = m.residues(eqn, a)
    bad = outside(name, given) if isinstance(given, np.ndarray) else poles(m, name, a)
    a = Residue(a.r, a.mask | bad, a.root)
    root = a if name == "sqrt" else None
    if name == "rsqrt":
        (root,) = div(m, eqn, Residue(np.ones(a.shape, np.uint64)), a)
    value = m.fresh.opaque(name, a.r)
    if name in AT_ZERO:
        value = np.where(a.r == 0, m.field.from_float(np.array(AT_ZERO[name])), value)
    result = Residue(value, a.bad, root)
    has_domain(m, eqn, given, result)
    return [result]


def poles(m, name: str, a: Residue) -> np.ndarray:
    """Where the argument of a function is a number at which it has no real value."""
    found = np.zeros(a.shape, bool)
    for pole in DOMAINS[name].poles if name in DOMAINS else ():
        found |= a.r == pole % m.field.modulus
    return found


def has_domain(arithmetic, eqn, given, result) -> None:
    """Marks the value of a function that is not defined everywhere, unless its argument is a known constant."""
    name = eqn.primitive.name
    if name in DOMAINS and not isinstance(given, np.ndarray) and not _inside(arithmetic, name, given):
        arithmetic.marks.add([result], frozenset({Domain(name, arithmetic.line(eqn))}))


def _inside(arithmetic, name: str, given) -> bool:
    """Whether the argument lies inside the domain, or is zero identically, which is a pole or inside."""
    return name in ("log", "log1p", "sqrt", "rsqrt", "lgamma", "digamma") and arithmetic.signs.positive(given)


def real(arithmetic, eqn) -> None:
    """The error for data that are converted to anything but real numbers."""
    if not jnp.issubdtype(eqn.params["new_dtype"], jnp.floating):
        raise unsupported(eqn, arithmetic.name, "data become integers, booleans or complex numbers")


def narrows(eqn) -> bool:
    """Whether a conversion rounds, so that in floats the result need not equal the operand."""
    old, new = (jnp.finfo(v.aval.dtype) for v in (eqn.invars[0], eqn.outvars[0]))
    return new.nmant < old.nmant or new.maxexp < old.maxexp or new.minexp > old.minexp


def convert(m, eqn, a):
    """The same number; rounding makes another object of it, which no comparison takes for the same."""
    real(m, eqn)
    return [m.lift(a) if isinstance(a, np.ndarray) else copy(a) if narrows(eqn) else a]


def reduce_precision(m, eqn, a):
    return [m.lift(a) if isinstance(a, np.ndarray) else copy(a)]


RULES: dict[str, Callable] = {
    **{name: opaque for name in OPAQUE},
    **{name: add for name in ("add", "add_any")},
    **{name: power for name in ("square", "integer_pow")},
    "sub": sub, "neg": neg, "mul": mul, "div": div, "pow": pow_, "exp": exp, "expm1": expm1, "log": log, "log1p": log,
    "convert_element_type": convert, "reduce_precision": reduce_precision,
}  # fmt: skip
