"""The numbers that the reference computes with: 64 bits (fast), or 1000 (the judge of what the fast ones accuse).

Both are numpy arrays, of `longdouble` or of `mpmath.mpf` objects, so that one evaluator serves both.
"""

from collections.abc import Callable
from typing import ClassVar

import mpmath
import numpy as np
from scipy import special

BITS = 1000
"""Mantissa of the slow numbers: 1e38 and 1e-38 lie 253 bits apart, and products double that."""

CONTEXT = mpmath.MPContext()
CONTEXT.prec = BITS
INF, NAN, ZERO = CONTEXT.mpf("inf"), CONTEXT.mpf("nan"), CONTEXT.mpf(0)


class Long:
    """Extended precision of the x86: 2**-64, with exponents far beyond those of float64."""

    name = "longdouble"

    @staticmethod
    def array(x) -> np.ndarray:
        return np.asarray(x).astype(np.longdouble)

    @staticmethod
    def divide(a, b):
        return np.divide(a, b)

    @staticmethod
    def rem(a, b):
        return np.fmod(a, b)

    @staticmethod
    def power(a, b):
        return np.power(a, b)

    @staticmethod
    def finite(x):
        return np.isfinite(x)

    functions: ClassVar[dict[str, Callable]] = {
        "exp": np.exp, "exp2": np.exp2, "expm1": np.expm1, "log": np.log, "log1p": np.log1p, "sqrt": np.sqrt,
        "rsqrt": lambda x: 1 / np.sqrt(x), "cbrt": np.cbrt, "tanh": np.tanh, "sin": np.sin, "cos": np.cos,
        "tan": np.tan, "sinh": np.sinh, "cosh": np.cosh, "atan": np.arctan, "asinh": np.arcsinh,
        "asin": np.arcsin, "acos": np.arccos, "atanh": np.arctanh, "acosh": np.arccosh,
        "logistic": lambda x: 1 / (1 + np.exp(-x)),
        "erf": lambda x: special.erf(x.astype(float)).astype(np.longdouble),
        "erfc": lambda x: special.erfc(x.astype(float)).astype(np.longdouble),
        "floor": np.floor, "ceil": np.ceil, "sign": np.sign, "abs": np.abs,
    }  # fmt: skip


def _each(f: Callable) -> Callable:
    """A function of one number applied to each, with its poles and its domain as IEEE arithmetic has them."""

    def safe(x):
        if CONTEXT.isnan(x):
            return NAN
        return f(x)

    one = np.frompyfunc(safe, 1, 1)
    return lambda x: np.asarray(one(x), object)


def _pair(f: Callable) -> Callable:
    def safe(a, b):
        return NAN if CONTEXT.isnan(a) or CONTEXT.isnan(b) else f(a, b)

    two = np.frompyfunc(safe, 2, 1)
    return lambda a, b: np.asarray(two(a, b), object)


def _exp(x):
    """exp, where a result too long to write is infinite or zero: no dtype holds one."""
    if x > 1e7:
        return INF
    return ZERO if x < -1e7 else CONTEXT.exp(x)


def _log(x):
    if x < 0:
        return NAN
    return -INF if x == 0 else CONTEXT.log(x)


def _sqrt(x):
    return NAN if x < 0 else CONTEXT.sqrt(x)


def _divide(a, b):
    if b != 0:
        return a / b
    return NAN if a == 0 else (INF if a > 0 else -INF)


def _rem(a, b):
    if CONTEXT.isinf(a) or b == 0:
        return NAN
    if CONTEXT.isinf(b):
        return a
    quotient = a / b
    return a - b * (CONTEXT.floor(quotient) if quotient > 0 else CONTEXT.ceil(quotient))


def _power(a, b):
    if b == 0 or a == 1:
        return CONTEXT.mpf(1)
    if a == 0:
        return ZERO if b > 0 else INF
    if CONTEXT.isinf(a) or CONTEXT.isinf(b):
        return CONTEXT.mpf(float(np.power(float(a), float(b))))
    if a < 0 and b != CONTEXT.floor(b):
        return NAN
    size = _exp(b * CONTEXT.log(abs(a)))
    return -size if a < 0 and int(b) % 2 else size


def _tanh(x):
    return CONTEXT.tanh(x) if abs(x) < 1e4 else CONTEXT.sign(x)


def _sinh(x):
    return (_exp(x) - _exp(-x)) / 2


def _wave(f):
    return lambda x: NAN if CONTEXT.isinf(x) else f(x)


def _whole(f):
    return lambda x: x if CONTEXT.isinf(x) else f(x)


def _inside(f):
    return lambda x: f(x) if abs(x) <= 1 else NAN


def _atanh(x):
    if abs(x) < 1:
        return CONTEXT.atanh(x)
    return x * INF if abs(x) == 1 else NAN


def _cbrt(x):
    return CONTEXT.sign(x) * CONTEXT.cbrt(abs(x))


def _erfc(x):
    if abs(x) < 1e4:
        return CONTEXT.erfc(x)
    return ZERO if x > 0 else CONTEXT.mpf(2)


class Multiple:
    """Multiple precision: what both candidates of a violation are held against."""

    name = "mpmath"

    @staticmethod
    def array(x) -> np.ndarray:
        x = np.asarray(x)
        one = np.frompyfunc(lambda v: v if isinstance(v, mpmath.mpf | CONTEXT.mpf) else CONTEXT.mpf(float(v)), 1, 1)
        return np.asarray(one(x if x.dtype == object else x.astype(float)), object)

    divide = staticmethod(_pair(_divide))
    rem = staticmethod(_pair(_rem))
    power = staticmethod(_pair(_power))

    @staticmethod
    def finite(x):
        return np.asarray(np.frompyfunc(lambda v: not (CONTEXT.isinf(v) or CONTEXT.isnan(v)), 1, 1)(x), bool)

    functions: ClassVar[dict[str, Callable]] = {
        name: _each(f)
        for name, f in {
            "exp": _exp, "exp2": lambda x: _exp(x * CONTEXT.ln2), "log": _log, "sqrt": _sqrt, "cbrt": _cbrt,
            "expm1": lambda x: CONTEXT.expm1(x) if abs(x) < 1 else _exp(x) - 1,
            "log1p": lambda x: CONTEXT.log1p(x) if x > -1 and not CONTEXT.isinf(x) else _log(1 + x),
            "rsqrt": lambda x: _divide(CONTEXT.mpf(1), _sqrt(x)) if x >= 0 else NAN,
            "tanh": _tanh, "sin": _wave(CONTEXT.sin), "cos": _wave(CONTEXT.cos), "tan": _wave(CONTEXT.tan),
            "sinh": _sinh, "cosh": lambda x: (_exp(x) + _exp(-x)) / 2,
            "atan": CONTEXT.atan, "asinh": CONTEXT.asinh,
            "asin": _inside(CONTEXT.asin), "acos": _inside(CONTEXT.acos), "atanh": _atanh,
            "logistic": lambda x: 1 / (1 + _exp(-x)),
            "erf": lambda x: CONTEXT.erf(x) if abs(x) < 1e4 else CONTEXT.sign(x), "erfc": _erfc,
            "floor": _whole(CONTEXT.floor), "ceil": _whole(CONTEXT.ceil), "sign": CONTEXT.sign, "abs": abs,
        }.items()
    }  # fmt: skip
