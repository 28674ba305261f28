"""Elementwise primitives on balls. Every rule takes the arithmetic `m`, the equation and its operands."""

from collections.abc import Callable
from copy import copy

import numpy as np

from dualform._numerics import from_scipy
from dualform.prove.domains import DOMAINS
from dualform.prove.enclosure import balls
from dualform.prove.enclosure.balls import FUNCTION, TINY, Ball, between
from dualform.prove.errors import unsupported
from dualform.prove.modular.elementwise import narrows, real, whole_exponents

INCREASING: dict[str, Callable] = {
    "exp": np.exp, "exp2": np.exp2, "expm1": np.expm1, "log": np.log, "log1p": np.log1p, "log2": np.log2,
    "sqrt": np.sqrt, "cbrt": np.cbrt, "tanh": np.tanh, "sinh": np.sinh, "asinh": np.arcsinh, "acosh": np.arccosh,
    "atan": np.arctan, "asin": np.arcsin, "atanh": np.arctanh, "erf": from_scipy("special", "erf"),
    "erf_inv": from_scipy("special", "erfinv"), "logistic": from_scipy("special", "expit"),
}  # fmt: skip
DECREASING: dict[str, Callable] = {
    "acos": np.arccos, "erfc": from_scipy("special", "erfc"), "rsqrt": lambda x: 1 / np.sqrt(x),
}  # fmt: skip
SLOPE_ONE: dict[str, Callable] = {"sin": np.sin, "cos": np.cos}
"""Functions whose derivative is at most one."""


def _widened(low, high, bad) -> Ball:
    """An interval between computed values of a function."""
    wide = FUNCTION * np.maximum(np.abs(low), np.abs(high)) + TINY
    return between(low - wide, high + wide, bad)


def _outside(name: str, a: Ball) -> np.ndarray:
    """Where a ball is not known to lie in a function's domain, an interval."""
    if name not in DOMAINS:
        return np.zeros(a.shape, bool)
    inside = DOMAINS[name].inside
    return ~(inside(a.low) & inside(a.high))


def monotone(m, eqn, a):
    (a,), name = m.balls(a), eqn.primitive.name
    bad = a.bad | _outside(name, a)
    low, high = (np.where(bad, 0.5, x) for x in (a.low, a.high))
    if name in INCREASING:
        return [_widened(INCREASING[name](low), INCREASING[name](high), bad)]
    return [_widened(DECREASING[name](high), DECREASING[name](low), bad)]


def exp(m, eqn, a):
    """Also of -inf, exactly."""
    (a,) = m.balls(a)
    (value,), zero = monotone(m, eqn, a), a.mid == -np.inf
    return [Ball(np.where(zero, 0.0, value.mid), np.where(zero, 0.0, value.rad), value.bad)]


def acosh(m, eqn, a):
    (a,) = m.balls(a)
    bad = a.bad | ~(a.low >= 1)
    low, high = (np.where(bad, 1.5, x) for x in (a.low, a.high))
    return [_widened(np.arccosh(low), np.arccosh(high), bad)]


def smooth(m, eqn, a):
    """|f(x) - f(mid)| <= |x - mid|."""
    (a,) = m.balls(a)
    value = SLOPE_ONE[eqn.primitive.name](np.where(a.bad, 0.0, a.mid))
    return [Ball(value, a.rad * (1 + FUNCTION) + FUNCTION, a.bad)]


def cosh(m, eqn, a):
    (a,) = m.balls(a)
    large = np.maximum(np.abs(a.low), np.abs(a.high))
    small = np.where((a.low <= 0) & (a.high >= 0), 0.0, np.minimum(np.abs(a.low), np.abs(a.high)))
    return [_widened(np.cosh(small), np.cosh(large), a.bad)]


def tan(m, eqn, a):
    """Increasing between two poles."""
    (a,) = m.balls(a)
    pair = [np.floor(x / np.pi - 0.5 + shift) for x in (a.low, a.high) for shift in (-1e-9, 1e-9)]
    bad = a.bad | (np.ptp(np.stack(pair), axis=0) > 0) | ~(np.abs(a.mid) < 1e6)
    low, high = (np.where(bad, 0.5, x) for x in (a.low, a.high))
    slack = 1e-9 * (1 + np.maximum(np.tan(low) ** 2, np.tan(high) ** 2))
    return [between(np.tan(low) - slack, np.tan(high) + slack, bad)]


def gamma(m, eqn, a):
    """lgamma and digamma of positive numbers; lgamma falls to its least value near 1.46 and rises from there."""
    (a,), name = m.balls(a), eqn.primitive.name
    bad = a.bad | ~(a.low > 0)
    low, high = (np.where(bad, 1.5, x) for x in (a.low, a.high))
    f = from_scipy("special", "digamma" if name == "digamma" else "gammaln")
    ends = f(low), f(high)
    if name == "digamma":
        return [_widened(ends[0] - FUNCTION, ends[1] + FUNCTION, bad)]
    least = np.where((low < 1.47) & (high > 1.45), -0.1215, np.minimum(*ends))
    return [_widened(least - FUNCTION, np.maximum(*ends) + FUNCTION, bad)]


def add(m, eqn, a, b):
    return [balls.add(*m.balls(a, b))]


def sub(m, eqn, a, b):
    a, b = m.balls(a, b)
    return [balls.add(a, balls.neg(b))]


def neg(m, eqn, a):
    return [balls.neg(*m.balls(a))]


def mul(m, eqn, a, b):
    return [balls.mul(*m.balls(a, b))]


def div(m, eqn, a, b):
    a, b = m.balls(a, b)
    return [balls.mul(a, balls.reciprocal(b))]


def power(m, eqn, a):
    (a,) = m.balls(a)
    return [balls.power(a, eqn.params.get("y", 2))]


def pow_(m, eqn, a, n):
    n = whole_exponents(m, eqn, n)
    (a,) = m.balls(a)
    shape = np.broadcast_shapes(a.shape, n.shape)
    a, n = a.map(lambda y: np.broadcast_to(y, shape)), np.broadcast_to(n, shape)
    mid, rad, bad = np.zeros(shape), np.zeros(shape), np.zeros(shape, bool)
    for k in np.unique(n):
        here = n == k
        part = balls.power(a.map(lambda y, here=here: y[here]), int(k))
        mid[here], rad[here], bad[here] = part.mid, part.rad, part.bad
    return [Ball(mid, rad, bad)]


def compare(m, eqn, a, b):
    """Decided where the balls do not meet, or are points."""
    name = eqn.primitive.name
    same = a is b
    (a, a_high, _), (b, b_high, _) = m.ends(eqn, a), m.ends(eqn, b)
    less, more, equal = a_high < b, a > b_high, (a == b_high) & (a_high == b) | same
    not_less, not_more = (a >= b_high) | same, (a_high <= b) | same
    yes, no = {
        "lt": (less, not_less), "ge": (not_less, less), "gt": (more, not_more), "le": (not_more, more),
        "eq": (equal, less | more), "ne": (less | more, equal),
    }[name]  # fmt: skip
    if not np.all(yes | no):
        raise unsupported(eqn, m.name, "a comparison that rounding decides")
    return [np.asarray(yes)]


def extreme(m, eqn, a, b):
    pick = np.maximum if eqn.primitive.name == "max" else np.minimum
    (low, high, bad), (other_low, other_high, other) = m.ends(None, a), m.ends(None, b)
    return [between(pick(low, other_low), pick(high, other_high), bad | other)]


def absolute(m, eqn, a):
    (a,) = m.balls(a)
    return [Ball(np.abs(a.mid), a.rad, a.bad)]


def sign(m, eqn, a):
    low, high, _ = m.ends(eqn, a)
    if not np.all((low > 0) | (high < 0) | (low == high)):
        raise unsupported(eqn, m.name, "a sign that rounding decides")
    return [m.lift(np.sign(low))]


def clamp(m, eqn, low, x, high):
    (a, a_high, one), (b, b_high, two), (c, c_high, three) = (m.ends(None, y) for y in (low, x, high))
    least, most = np.minimum(np.maximum(b, a), c), np.minimum(np.maximum(b_high, a_high), c_high)
    return [between(least, most, one | two | three)]


def is_finite(m, eqn, x):
    low, _, _ = m.ends(eqn, x)
    return [np.asarray(np.isfinite(low))]


def convert(m, eqn, a):
    real(m, eqn)
    (a,) = m.balls(a)
    return [copy(a) if narrows(eqn) else a]


def reduce_precision(m, eqn, a):
    return [copy(x) for x in m.balls(a)]


RULES: dict[str, Callable] = {
    **{name: monotone for name in (*INCREASING, *DECREASING)},
    **{name: smooth for name in SLOPE_ONE},
    **{name: compare for name in ("eq", "ne", "gt", "lt", "ge", "le")},
    **{name: extreme for name in ("max", "min")},
    **{name: gamma for name in ("lgamma", "digamma")},
    **{name: add for name in ("add", "add_any")},
    **{name: power for name in ("square", "integer_pow")},
    "exp": exp, "acosh": acosh, "cosh": cosh, "tan": tan, "sub": sub, "neg": neg, "mul": mul, "div": div, "pow": pow_,
    "abs": absolute, "sign": sign, "clamp": clamp, "is_finite": is_finite, "convert_element_type": convert,
    "reduce_precision": reduce_precision,
}  # fmt: skip
