r"""Functions of one number: their values, derivatives and charges.

The mean value theorem asks of each function how far its derivative can be from the one at z within r of z (`gain`): the
ends of the interval decide where the derivative is monotone, and its distance from zero where it is even or odd.
"""

from collections.abc import Callable

import numpy as np

from dualform._numerics import from_scipy
from dualform.prove.rounding import rewrites
from dualform.prove.rounding.charges import charge, unit_of
from dualform.prove.rounding.elementwise import elementwise, rounding
from dualform.prove.rounding.tape import Node, Tape

erf64, erfc64 = from_scipy("special", "erf"), from_scipy("special", "erfc")


def function(value, slope, gain, *, nonnegative=False, scaled=None, origin=None, pole=None) -> Callable:
    """The rule of a function: `gain(x, d)` bounds |slope(xi) - d| within x.r of x.z."""

    def rule(tape: Tape, eqn, x: Node) -> list[Node]:
        unit = unit_of(eqn)
        c = charge(eqn.primitive.name, unit)
        c = c if scaled is None else c + scaled(x)
        z, d = value(x.z), slope(x.z)
        basic = rounding(unit, c)
        fixed = np.isinf(x.z) & (x.r == 0)  # exp(-inf) = 0, tanh(inf) = 1: no error at all

        def local(m):
            return np.where(fixed, 0.0, basic(m)) if fixed.any() else basic(m)

        def remainder():
            q = np.nan_to_num(gain(x, d), nan=np.inf, posinf=np.inf)
            return np.where(x.r > 0, np.maximum(q, 0.0) * x.r, 0.0)

        infinite = None if pole is None else (x.z == pole) & (x.r == 0)
        d = np.where(fixed, 0.0, d)
        node = elementwise(tape, z, (x,), (d,), local, remainder, pole=infinite)
        node.nonnegative = nonnegative
        node.origin = {} if origin is None else origin(x)
        return [node]

    return rule


# how far a derivative moves -------------------------------------------------------------------------------------------


def inward(slope) -> Callable:
    """For a slope that falls with x > 0: the end nearer to zero; a bound that reaches zero says nothing."""
    return lambda x, d: np.where(x.z - x.r > 0, np.abs(slope(np.maximum(x.z - x.r, 0.0)) - d), np.inf)


def bell(slope) -> Callable:
    """For an even slope that falls with |x|: the larger of the changes towards zero and away from it."""
    return lambda x, d: np.maximum(slope(x.low) - d, d - slope(x.high))


def bowl(slope, end: float = np.inf) -> Callable:
    """For an even slope that grows with |x| below `end`, where it is infinite."""
    return lambda x, d: np.where(x.high < end, np.maximum(slope(x.high) - d, d - slope(x.low)), np.inf)


def ends(slope) -> Callable:
    """For a monotone slope."""
    return lambda x, d: np.maximum(np.abs(slope(x.z + x.r) - d), np.abs(slope(x.z - x.r) - d))


def growth(function, rate: float = 1.0) -> Callable:
    """For exponentials. Of a masked score, -1e30 with an error of 1e22, the exponential is zero whatever the error."""

    def gain(x, d):
        near = d * np.expm1(rate * np.minimum(x.r, 1.0))
        return np.where(x.r < 1.0, near, np.maximum(rate * function(x.z + x.r), np.finfo(float).tiny))

    return gain


def wave(x, d):
    return np.minimum(x.r, 2.0)


# slopes ---------------------------------------------------------------------------------------------------------------


def sech2(x):
    e = np.exp(-2 * np.abs(x))
    return 4 * e / (1 + e) ** 2


def sigmoid(x):
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, e) / (1 + e)


def sigmoid_slope(x):
    e = np.exp(-np.abs(x))
    return e / (1 + e) ** 2


def gauss(x):
    return 2 / np.sqrt(np.pi) * np.exp(-(x**2))


def tan_slope(x):
    return 1 + np.tan(x) ** 2


def asin_slope(x):
    return 1 / np.sqrt((1 - x) * (1 + x))


def atanh_slope(x):
    return 1 / ((1 - x) * (1 + x))


def acosh_slope(x):
    return 1 / np.sqrt((x - 1) * (x + 1))


def tan_gain(x, d):
    """As for `bowl`, in the distance from the nearest multiple of pi; infinite where that may reach pi/2."""
    centre = np.abs(x.z - np.pi * np.rint(x.z / np.pi)) + 4e-16 * np.abs(x.z)
    high = centre + x.r
    least = tan_slope(np.maximum(centre - x.r, 0.0))
    return np.where(high < np.pi / 2, np.maximum(tan_slope(np.minimum(high, np.pi / 2)) - d, d - least), np.inf)


def argument(x: Node, rate: float = 1.0):
    """Roundings of an argument that XLA scales before it takes the exponential."""
    return rate * np.where(np.isinf(x.z), 0.0, x.high)


LN2 = float(np.log(2.0))
EXP = function(np.exp, np.exp, growth(np.exp), nonnegative=True, origin=rewrites.exponent)
FUNCTIONS: dict[str, Callable] = {
    "exp": EXP,
    "exp2": function(
        np.exp2,
        lambda x: LN2 * np.exp2(x),
        growth(np.exp2, LN2),
        nonnegative=True,
        scaled=lambda x: argument(x, 1.5),  # XLA takes exp(x ln 2), with the product rounded
        origin=rewrites.exponent,
    ),
    "expm1": function(np.expm1, np.exp, growth(np.exp)),
    "log": function(np.log, lambda x: 1 / x, inward(lambda x: 1 / x), pole=0.0),
    "log1p": function(
        np.log1p,
        lambda x: 1 / (1 + x),
        lambda x, d: np.where(1 + x.z - x.r > 0, 1 / (1 + x.z - x.r) - d, np.inf),
        pole=-1.0,
    ),
    "rsqrt": function(lambda x: x**-0.5, lambda x: -0.5 * x**-1.5, inward(lambda x: -0.5 * x**-1.5)),
    "tanh": function(np.tanh, sech2, bell(sech2)),
    "logistic": function(sigmoid, sigmoid_slope, bell(sigmoid_slope), nonnegative=True),
    "erf": function(erf64, gauss, bell(gauss)),
    "erfc": function(
        erfc64,
        lambda x: -gauss(x),
        lambda x, d: bell(gauss)(x, -d),
        nonnegative=True,
        scaled=lambda x: 2 * np.where(np.isinf(x.z), 0.0, np.maximum(x.z + x.r, 0.0)) ** 2,  # exp(-x^2), x^2 rounded
    ),
    "sin": function(np.sin, np.cos, wave),
    "cos": function(np.cos, lambda x: -np.sin(x), wave),
    "tan": function(np.tan, tan_slope, tan_gain),
    "asin": function(np.arcsin, asin_slope, bowl(asin_slope, 1.0)),
    "acos": function(np.arccos, lambda x: -asin_slope(x), lambda x, d: bowl(asin_slope, 1.0)(x, -d), nonnegative=True),
    "atan": function(np.arctan, lambda x: 1 / (1 + x * x), bell(lambda x: 1 / (1 + x * x))),
    "sinh": function(np.sinh, np.cosh, bowl(np.cosh), scaled=argument),
    "cosh": function(np.cosh, np.sinh, ends(np.sinh), nonnegative=True, scaled=argument),
    "asinh": function(np.arcsinh, lambda x: 1 / np.hypot(1, x), bell(lambda x: 1 / np.hypot(1, x))),
    "acosh": function(
        np.arccosh,
        acosh_slope,
        lambda x, d: np.where(x.z - x.r > 1, acosh_slope(np.maximum(x.z - x.r, 1.0)) - d, np.inf),
        nonnegative=True,
    ),
    "atanh": function(np.arctanh, atanh_slope, bowl(atanh_slope, 1.0)),
}
"""The functions whose charges `dualform.prove.rounding.charges` states; `sqrt`, `cbrt` and `pow` are in `roots`."""
