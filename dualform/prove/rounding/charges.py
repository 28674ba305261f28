r"""What one operation may err, by its dtype: the standard model and the stated charges.

Every floating-point operation obeys, with the unit roundoff $u$ of the dtype it returns and its smallest normal
number $\eta$,

$$ \mathrm{fl}(a \circ b) = (a \circ b)(1 + \delta) + \epsilon, \qquad |\delta| \le c\,u, \quad |\epsilon| \le \eta,
   \tag{R1} $$

where $c = 1$ for the basic operations and `CHARGES` states it for the others. The term $\eta$ is the whole price of
underflow in a result, gradual or flushed to zero; XLA also reads subnormal *inputs* as zero, which costs

$$ |\hat x - x| \le |x| \quad\text{where } |x| < \eta. \tag{R5} $$

Sums and dot products need no separate $\gamma_n$: in every order, with or without FMA, $n$ products err by at most
$n u \sum |a_i||b_i|$ for any $n$ (Jeannerod and Rump 2013), and $n$ summands by at most $(n - 1) u \sum |a_i|$.

The charges are *assumptions about the compiler*, not theorems: XLA evaluates these functions by polynomials whose
error nobody proves. Each is about twice the largest error met over the function's whole range on a CPU (the tests
measure it again), in units of roundoff. The outlier is real: XLA's `log1p` in float64 loses 240 units near -0.41.

References: Higham, *Accuracy and Stability of Numerical Algorithms*, 2nd ed. 2002, ch. 2-3; Jeannerod and Rump 2013,
"Improved error bounds for inner products in floating-point arithmetic", SIAM J. Matrix Anal. Appl. 34.
"""

from functools import cache
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

DTYPES = ("float64", "float32", "float16", "bfloat16")
"""The dtypes that a program may be run in."""

U64 = 2.0**-53
"""Unit roundoff of the arithmetic in which values and bounds are computed."""

SWEEP = 2.0**-26
"""Relative error of a derivative carried through a sweep: fewer than 2**26 terms meet in any one of them."""

VANISHED = 2.0**-1050
"""What a derivative may lose to underflow in float64, where at most 2**20 products meet: it matters only to programs
in float64 whose errors are as large as 2**30, and there it is charged on every r."""

INFLATE = 1.0 + 2.0**-20
"""Covers the rounding of the bound's own sums of non-negative terms."""


class Unit(NamedTuple):
    """The arithmetic of one dtype. `u` also covers the float64 arithmetic that evaluates the same operation."""

    u: float
    tiny: float
    largest: float
    narrow: bool


@cache
def unit(name: str) -> Unit:
    """The unit of a dtype: roundoff, smallest normal number, largest number, and whether it has 16 bits."""
    if name not in DTYPES:
        raise ValueError(f"dtype {name}: expected one of {', '.join(DTYPES)}")
    info = jnp.finfo(name)
    u = float(info.eps) / 2
    double = name == "float64"
    return Unit(u if double else u + 2 * U64, float(info.smallest_normal), float(info.max), info.bits == 16)


def unit_of(eqn) -> Unit:
    """The unit of an equation's result."""
    return unit(str(eqn.outvars[0].aval.dtype))


def limited(exponent_bits: int, mantissa_bits: int) -> Unit:
    """The unit of `reduce_precision`."""
    bias = 2 ** (exponent_bits - 1) - 1
    u = 2.0 ** -(mantissa_bits + 1)
    return Unit(u + 2 * U64, 2.0 ** (1 - bias), (2 - 2 * u) * 2.0**bias, True)


CHARGES = {
    "sqrt": (2.0, 2.0, 2.0),
    "rsqrt": (3.0, 3.0, 3.0),
    "cbrt": (12.0, 4.0, 2.0),
    "exp": (6.0, 12.0, 2.0),
    "exp2": (6.0, 12.0, 2.0),
    "expm1": (12.0, 14.0, 4.0),
    "log": (4.0, 4.0, 2.0),
    "log1p": (512.0, 8.0, 2.0),
    "logistic": (8.0, 8.0, 4.0),
    "tanh": (16.0, 10.0, 2.0),
    "erf": (10.0, 12.0, 2.0),
    "sin": (4.0, 4.0, 2.0),
    "cos": (4.0, 4.0, 2.0),
    "tan": (4.0, 4.0, 2.0),
    "asin": (6.0, 6.0, 4.0),
    "acos": (6.0, 7.0, 4.0),
    "atan": (8.0, 7.0, 2.0),
    "atan2": (10.0, 10.0, 4.0),
    "sinh": (8.0, 8.0, 2.0),
    "cosh": (8.0, 8.0, 2.0),
    "asinh": (7.0, 7.0, 4.0),
    "acosh": (10.0, 9.0, 5.0),
    "atanh": (320.0, 7.0, 4.0),
    "erfc": (16.0, 16.0, 2.0),
    "pow": (8.0, 16.0, 4.0),
}
"""Units of roundoff charged to a function in (float64, float32, 16 bits), relative to the result."""


def charge(name: str, unit: Unit) -> float:
    """The charge of a function in a dtype."""
    return CHARGES[name][2 if unit.narrow else 0 if unit.u == U64 else 1]


def product(n: np.ndarray | float, u: float) -> np.ndarray | float:
    """The relative error of `n` factors (1 + d), |d| <= u: gamma_n, infinite where n u reaches 1."""
    nu = np.asarray(n * u)
    return np.where(nu < 1, nu / np.where(nu < 1, 1 - nu, 1), np.inf)
