r"""Functions whose derivative is infinite at zero, general powers, and angles.

Near zero the mean value theorem says nothing; there these functions are bounded by how they spread points:
$|\sqrt a - \sqrt b| \le \sqrt{|a - b|}$ for $a, b \ge 0$ and $|\sqrt[3] a - \sqrt[3] b| \le 2^{2/3} \sqrt[3]{|a - b|}$.
"""

import numpy as np

from dualform.prove.rounding import rewrites
from dualform.prove.rounding.charges import charge, unit_of
from dualform.prove.rounding.elementwise import decided, elementwise, fit, known_nonnegative, rounding
from dualform.prove.rounding.tape import Node, Tape


def sqrt(tape: Tape, eqn, x: Node) -> list[Node]:
    """Of a value that may be negative in some execution the bound is infinite."""
    unit = unit_of(eqn)
    z = np.sqrt(x.z)
    away = decided(tape, lambda: x.z > x.r, x)
    d = np.where(away, 0.5 / np.where(away, z, 1.0), 0.0)
    inside = known_nonnegative(x)

    def remainder():
        least = np.sqrt(np.where(away, np.maximum(x.z - x.r, 0.0), 1.0))
        smooth = np.where(least > 0, 0.5 / np.where(least > 0, least, 1.0) - d, np.inf) * x.r
        near = np.sqrt(x.r) if inside else np.where(x.r > 0, np.inf, 0.0)
        return np.where(x.r > 0, np.where(away & (x.z > x.r), np.maximum(smooth, 0.0), near), 0.0)

    node = elementwise(tape, z, (x,), (d,), rounding(unit, charge("sqrt", unit)), remainder)
    node.nonnegative = True
    return [node]


def cbrt(tape: Tape, eqn, x: Node) -> list[Node]:
    unit = unit_of(eqn)
    z = np.cbrt(x.z)
    away = decided(tape, lambda: np.abs(x.z) > x.r, x)
    d = np.where(away, 1 / (3 * np.where(away, z, 1.0) ** 2), 0.0)

    def remainder():
        least = np.cbrt(np.where(away, x.low, 1.0)) ** 2
        smooth = np.where(least > 0, 1 / (3 * np.where(least > 0, least, 1.0)) - d, np.inf) * x.r
        near = np.abs(d) * x.r + 1.6 * np.cbrt(x.r)
        return np.where(x.r > 0, np.where(x.low > 0, np.maximum(smooth, 0.0), near), 0.0)

    return [elementwise(tape, z, (x,), (d,), rounding(unit, charge("cbrt", unit)), remainder)]


def power(tape: Tape, eqn, x: Node, y) -> list[Node]:
    """x^y for positive x, its gradient enclosed by intervals; for any x where y is a whole constant; else infinite.

    XLA may take exp(y log x) where it knows the logarithm of x, so an argument of size |y log x| is rounded.
    """
    unit, shape = unit_of(eqn), eqn.outvars[0].aval.shape
    if not isinstance(y, Node):  # an integer exponent
        y = tape.source(np.asarray(y, float), constant=True)
    x, y = fit(tape, x, shape), fit(tape, y, shape)
    z = x.z**y.z
    whole = (y.r == 0) & (y.z == np.trunc(y.z)) & (np.abs(y.z) < 1 << 16)
    log = np.log(np.where(x.z != 0, np.abs(x.z), 1.0))
    dx, dy = np.where(y.z == 0, 0.0, y.z * x.z ** (y.z - 1)), np.where(whole, 0.0, z * log)
    c = charge("pow", unit)
    known = "exponent" in x.origin

    def local(m):
        extra = 3 * y.high * (x.origin["exponent"][0] + np.abs(log)) if known else 0.0
        return np.where((x.z > x.r) | whole, rounding(unit, c + extra)(m), np.inf)

    def remainder():
        q = np.where(whole, _whole_gain(x, y), _interval_gain(x, y, dx, dy))
        return np.where((x.r > 0) | (y.r > 0), np.nan_to_num(q, nan=np.inf), 0.0)

    node = elementwise(tape, z, (x, y), (dx, dy), local, remainder)
    node.origin = rewrites.raised(x, y)
    node.nonnegative = bool((~whole | (y.z % 2 == 0)).all()) or known_nonnegative(x)
    return [node]


def _whole_gain(x: Node, y: Node):
    """What the derivative of a whole power leaves out: it is monotone in |x|, and changes sign at most with x."""
    size, n = np.abs(x.z), y.z - 1
    low = np.where(x.r < size, x.low, np.where(n < 0, np.nan, 0.0))
    change = np.maximum(np.abs(x.high**n - size**n), np.abs(size**n - low**n))
    change = np.where((x.r >= size) & (n != 0), x.high**n + size**n, change)
    return np.where(y.z == 0, 0.0, np.where((n < 0) & (x.r >= size), np.nan, np.abs(y.z) * change * x.r))


def _interval_gain(x: Node, y: Node, dx, dy):
    """The same for a positive x and any y, from the ends of both intervals."""
    low, high = np.where((x.low > 0) & (x.z > 0), x.low, np.nan), x.high
    ends = [(a, b) for a in (low, high) for b in (y.z - y.r, y.z + y.r)]
    p = np.array([a ** (b - 1) for a, b in ends])
    f = np.array([a**b for a, b in ends])
    slope_x = np.array([q * e for q in (p.min(0), p.max(0)) for e in (y.z - y.r, y.z + y.r)])
    slope_y = np.array([q * e for q in (f.min(0), f.max(0)) for e in (np.log(low), np.log(high))])
    return np.abs(slope_x - dx).max(0) * x.r + np.abs(slope_y - dy).max(0) * y.r


def atan2(tape: Tape, eqn, y: Node, x: Node) -> list[Node]:
    """The angle of (x, y): second derivatives are at most 1 / (x^2 + y^2); on the cut it may turn by 2 pi."""
    unit, shape = unit_of(eqn), eqn.outvars[0].aval.shape
    y, x = fit(tape, y, shape), fit(tape, x, shape)
    least = x.low**2 + y.low**2
    square = np.where(least > 0, x.z**2 + y.z**2, 1.0)
    known = (least > 0) & ((x.z - x.r > 0) | (y.low > 0))

    def remainder():
        spread = (x.r + y.r) ** 2 / np.where(least > 0, least, 1.0)
        return np.where((x.r > 0) | (y.r > 0), np.where(known, spread, 2 * np.pi), 0.0)

    derivatives = (np.where(known, x.z / square, 0.0), np.where(known, -y.z / square, 0.0))
    return [
        elementwise(tape, np.arctan2(y.z, x.z), (y, x), derivatives, rounding(unit, charge("atan2", unit)), remainder)
    ]
