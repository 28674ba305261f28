"""Elementwise primitives in the arithmetic of degrees.

Every rule takes the arithmetic `d`, the equation and its operands.
"""

from collections.abc import Callable
from math import lcm

import numpy as np

from dualform.prove import concrete
from dualform.prove.modular.elementwise import OPAQUE, has_domain, real, whole_exponents
from dualform.prove.size import logarithm
from dualform.prove.size.logarithm import Logarithm
from dualform.prove.size.rational import HUGE, ZERO, Bound


def add(d, eqn, a, b):
    a, b = (d.lift(x) if isinstance(x, np.ndarray) else x for x in (a, b))
    if isinstance(a, Bound) and isinstance(b, Bound):
        return [d.symbols.plus(a, b)]
    if eqn.primitive.name == "sub":
        (b,) = neg(d, eqn, b)
    return [logarithm.plus(d.symbols, d.logarithm(a), d.logarithm(b))]


def neg(d, eqn, a):
    if isinstance(a, Logarithm):
        return [logarithm.negated(a, d.gates)]
    return [d.bounds(eqn, a)[0].map(lambda y: y)]  # no root any more, as in the modular arithmetic


def same(d, eqn, a):
    return [d.lift(a) if isinstance(a, np.ndarray) else a]


def mul(d, eqn, a, b):
    for x, c in ((a, b), (b, a)):
        if isinstance(x, Logarithm) and concrete.is_float(c):
            return [logarithm.scaled(d.symbols, x, c, d.gates)]
    if a is b and isinstance(a, Bound) and a.root is not None:
        return [a.root.map(lambda y: y)]  # which has the mark of the root, as the argument has not
    return [d.symbols.times(*d.bounds(eqn, a, b))]


def div(d, eqn, a, b):
    if isinstance(a, Logarithm) and concrete.is_float(b):
        return [logarithm.scaled(d.symbols, a, b, d.gates, inverse=True)]
    x, y = d.bounds(eqn, a, b)
    d.divides(eqn, y.n, b)
    return [d.symbols.times(x, d.symbols.reciprocal(y, b if concrete.is_float(b) else None))]


def power(d, eqn, a):
    given, (a,) = a, d.bounds(eqn, a)
    y = eqn.params.get("y", 2)
    if a.root is not None and y % 2 == 0:
        a, y = a.root, y // 2
    if y < 0:
        d.divides(eqn, a.n, given)
    return [d.symbols.power(d.symbols.reciprocal(a) if y < 0 else a, abs(y))]


def pow_(d, eqn, a, n):
    """Powers whose exponents are whole constants."""
    n = whole_exponents(d, eqn, n)
    given, (a,) = a, d.bounds(eqn, a)
    shape, s = np.broadcast_shapes(a.shape, n.shape), d.symbols
    a, n = a.map(lambda y: np.broadcast_to(y, shape)), np.broadcast_to(n, shape)
    up = s.power(a, np.maximum(n, 0))
    if np.any(n < 0):
        d.divides(eqn, a.n, given)
    return [s.times(up, s.power(s.reciprocal(a), np.maximum(-n, 0))) if np.any(n < 0) else up]


def exp(d, eqn, a):
    a, s = d.logarithm(a), d.symbols
    unit = float(min(d.unit, int(HUGE)))
    total, low = a.total * unit, a.low * unit
    if np.any(a.top) or np.any(a.low):
        d.denominator = lcm(d.denominator, a.denominator)
    if a.bound is not None:
        varies = d.ask(a.bound)
        d.antilogs.argument(a.bound)
        total, low = total + varies * d.span[0], low + varies * d.span[1]
    n = np.where(a.reset, ZERO, total + low * d.size)
    h = np.where(a.reset, ZERO, 0.0)
    value = s.bound(n, h)
    if np.any(low):
        monomial = s.new(d.size, 0.0, "monomial")
        value = s.wide(value)
        value.e[monomial] = low
    return [value if a.bound is None else s.times(value, d.antilogs.power(a.shape))]


def expm1(d, eqn, a):
    (power_,) = exp(d, eqn, a)
    return [d.symbols.plus(power_, d.symbols.constant(np.ones(power_.shape)))]


def log(d, eqn, a):
    """A variable, or a sum of variables and arguments of exponentials."""
    given, (a,) = a, d.bounds(eqn, a)
    u = d.symbols.plus(a, d.symbols.constant(np.ones(a.shape))) if eqn.primitive.name == "log1p" else a
    d.ask(u)
    value = d.antilogs.logarithm(u)
    has_domain(d, eqn, given, value)
    return [value]


def opaque(d, eqn, a):
    given, (a,) = a, d.bounds(eqn, a)
    d.ask(a)
    value = d.symbols.variable(a.shape)
    if eqn.primitive.name in ("sqrt", "rsqrt"):
        value.root = a if eqn.primitive.name == "sqrt" else d.symbols.reciprocal(a)
    has_domain(d, eqn, given, value)
    return [value]


def convert(d, eqn, a):
    real(d, eqn)
    return same(d, eqn, a)


RULES: dict[str, Callable] = {
    **{name: opaque for name in OPAQUE},
    **{name: add for name in ("add", "add_any", "sub")},
    **{name: power for name in ("square", "integer_pow")},
    "neg": neg, "mul": mul, "div": div, "pow": pow_, "exp": exp, "expm1": expm1, "log": log, "log1p": log,
    "convert_element_type": convert, "reduce_precision": same,
}  # fmt: skip
