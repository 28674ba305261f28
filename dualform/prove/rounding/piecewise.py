r"""Primitives with a switch: maxima, absolute values, comparisons, selections, remainders, rounding to integers.

Where the operands' bounds stay on one side of the switch, all executions take the same branch and its derivative.
Where they straddle it, two executions may take different branches; the derivative is then taken as zero (or one half
of each) and q in (R2) covers the hull of both branches.

A comparison that rounding can flip becomes `Doubtful`; `select_n` takes hulls there, and nothing else may use it.
"""

from collections.abc import Callable

import numpy as np
from jax.lax import RoundingMethod

from dualform.prove.errors import unsupported
from dualform.prove.rounding import rewrites
from dualform.prove.rounding.charges import unit, unit_of
from dualform.prove.rounding.elementwise import decided, elementwise, fit, known_nonnegative, rounding, settled
from dualform.prove.rounding.maps import Choose, Scale
from dualform.prove.rounding.tape import Node, Tape


class Doubtful:
    """Booleans that rounding may flip: `low` is certainly true, `high` possibly, `value` in float64."""

    def __init__(self, value, low, high):
        self.value, self.low, self.high = value, low, high
        self.shape = value.shape

    @property
    def doubt(self):
        return self.high & ~self.low


def doubtful(value, low, high):
    """The booleans, plain where none is in doubt."""
    value, low, high = (np.asarray(x) for x in (value, low, high))
    return value if np.array_equal(low, high) else Doubtful(value, low, high)


def sides(x) -> tuple:
    """(value, certainly true, possibly true)."""
    return (x.value, x.low, x.high) if isinstance(x, Doubtful) else (x, x, x)


def take(xs: list, index: np.ndarray):
    """Booleans moved like any other values."""
    parts = zip(*(sides(x) for x in xs), strict=True)
    return doubtful(*(np.concatenate([p.ravel() for p in part])[index] for part in parts))


COMPARE = {
    "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal, "eq": np.equal, "ne": np.not_equal,
}  # fmt: skip


BOOLEAN = {"eq", "ne", "and", "or", "not", "xor", "reduce_and", "reduce_or"}
"""Primitives that also act on booleans."""


def compare(tape: Tape, eqn, a, b) -> list:
    if isinstance(a, Doubtful) or isinstance(b, Doubtful):
        return logic(tape, eqn, a, b)
    value = COMPARE[eqn.primitive.name](a.z, b.z)
    if a is b:  # the test for NaN, x != x
        certain = np.isfinite(a.high) | (a.r == 0)
        return [doubtful(value, value & certain, value | ~certain)]
    shape = eqn.outvars[0].aval.shape
    a, b = fit(tape, a, shape), fit(tape, b, shape)
    certain = decided(tape, lambda: apart(a, b), a, b)
    return [doubtful(value, value & certain, value | ~certain)]


def apart(a: Node, b: Node):
    """Where no execution can order a and b otherwise than float64 does."""
    with np.errstate(invalid="ignore"):
        far = np.abs(a.z - b.z) > a.r + b.r
    return far | ((a.r == 0) & (b.r == 0))


def logic(tape: Tape, eqn, *xs) -> list:
    """Boolean connectives on certain and doubtful values."""
    name = eqn.primitive.name
    parts = [sides(x) for x in xs]
    if any(p[0].dtype != bool for p in parts):
        raise unsupported(eqn, "rounding", "it computes with integers from a comparison that rounding can flip")
    if name == "not":
        value, low, high = parts[0]
        return [doubtful(~value, ~high, ~low)]
    if name in ("and", "or"):
        connect = np.logical_and if name == "and" else np.logical_or
        return [doubtful(*(connect(x, y) for x, y in zip(*parts, strict=True)))]
    if name in ("reduce_and", "reduce_or"):
        reduce = np.all if name == "reduce_and" else np.any
        return [doubtful(*(np.asarray(reduce(x, axis=tuple(eqn.params["axes"]))) for x in parts[0]))]
    (u, ul, uh), (v, vl, vh) = parts
    value = u != v if name in ("xor", "ne") else u == v
    certain = (ul == uh) & (vl == vh)
    return [doubtful(value, value & certain, value | ~certain)]


def off_zero(x: Node):
    """Where no execution changes the sign of x."""
    return (np.abs(x.z) > x.r) | (x.r == 0)


def is_finite(tape: Tape, eqn, x: Node) -> list:
    value = np.isfinite(x.z)
    certain = (value & (x.high <= unit(str(eqn.invars[0].aval.dtype)).largest)) | (x.r == 0)
    return [doubtful(value, value & certain, value | ~certain)]


def select(tape: Tape, eqn, which, *cases) -> list:
    """`select_n` by a doubtful predicate: the hull of the cases where it may flip."""
    if not isinstance(which, Doubtful) or any(not isinstance(c, Node) for c in cases):
        return [select_logic(eqn, which, cases)]
    shape = eqn.outvars[0].aval.shape
    value, doubt = np.broadcast_to(which.value, shape), np.broadcast_to(which.doubt, shape)
    first, second = cases
    z = np.where(value, second.z, first.z)

    def remainder():
        with np.errstate(invalid="ignore"):
            hull = np.abs(first.z - second.z) + first.r + second.r
        same = (first.z == second.z) & (first.r == 0) & (second.r == 0)
        return np.where(doubt, np.where(same, 0.0, np.nan_to_num(hull, nan=np.inf)), 0.0)

    still = settled(z, first, second)
    links = [(first, Choose(np.where(value | doubt, 0.0, 1.0))), (second, Choose(np.where(value & ~doubt, 1.0, 0.0)))]
    extra = remainder() if first.exact and second.exact else np.zeros(())
    still = still & ~doubt if still is not None else None
    node = tape.add(z, links, lambda m: np.broadcast_to(extra, z.shape), remainder, settled=still)
    node.nonnegative = known_nonnegative(first) and known_nonnegative(second)
    if rewrites.alike(first, second):  # XLA removes a choice between equal values
        node.origin = first.origin
    return [node]


def select_logic(eqn, which, cases):
    """A selection among booleans."""
    value, low, high = sides(which)
    if any(isinstance(c, Node) for c in cases) or sides(cases[0])[0].dtype != bool or len(cases) != 2:
        raise unsupported(eqn, "rounding", "it selects by a comparison that rounding can flip")
    (f, fl, fh), (t, tl, th) = (sides(c) for c in cases)
    sure, doubt = np.where(low == high, value, False), low != high
    pick = np.where(value, t, f)
    least = np.where(doubt, tl & fl, np.where(sure, tl, fl))
    most = np.where(doubt, th | fh, np.where(sure, th, fh))
    return doubtful(pick, least, most)


def maximum(tape: Tape, eqn, a: Node, b: Node, sign: float = 1.0) -> list:
    """max(a, b) = (a + b)/2 + |a - b|/2; `sign` -1 for the minimum."""
    shape = eqn.outvars[0].aval.shape
    node = extreme(tape, fit(tape, a, shape), fit(tape, b, shape), sign)
    return [node]


def extreme(tape: Tape, a: Node, b: Node, sign: float) -> Node:
    z = np.maximum(a.z, b.z) if sign > 0 else np.minimum(a.z, b.z)
    clear = decided(tape, lambda: apart(a, b), a, b)
    first = np.where(clear, (sign * a.z >= sign * b.z) * 1.0, 0.5)
    still = np.isinf(z) & clear if np.isinf(z).any() else None
    half = lambda: np.where(clear, 0.0, (a.r + b.r) / 2)  # noqa: E731
    links = [(a, Scale(first)), (b, Scale(1.0 - first))]
    node = tape.add(z, links, lambda m: np.zeros(z.shape), half, settled=still)
    for x, bound in ((a, b), (b, a)):
        if (bound.constant and (bound.z == -sign * np.inf).all()) or rewrites.alike(x, bound):  # XLA removes it
            node.origin = x.origin
    node.nonnegative = (known_nonnegative(a) or known_nonnegative(b)) if sign > 0 else (
        known_nonnegative(a) and known_nonnegative(b)
    )  # fmt: skip
    return node


def minimum(tape: Tape, eqn, a: Node, b: Node) -> list:
    return maximum(tape, eqn, a, b, -1.0)


def clamp(tape: Tape, eqn, low: Node, x: Node, high: Node) -> list:
    low, high = fit(tape, low, x.shape), fit(tape, high, x.shape)
    return [extreme(tape, extreme(tape, x, low, 1.0), high, -1.0)]


def absolute(tape: Tape, eqn, x: Node) -> list:
    clear = decided(tape, lambda: off_zero(x), x)
    z = np.abs(x.z)
    remainder = lambda: np.where(clear, 0.0, x.r)  # noqa: E731
    node = elementwise(tape, z, (x,), (np.where(clear, np.sign(x.z), 0.0),), lambda m: np.zeros(z.shape), remainder)
    node.nonnegative = True
    return [node]


def sign(tape: Tape, eqn, x: Node) -> list:
    clear = decided(tape, lambda: off_zero(x), x)
    return [step(tape, x, np.sign(x.z), np.where(clear, 0.0, 2.0))]


def half_away(x):
    return np.sign(x) * np.floor(np.abs(x) + 0.5)


ROUNDERS: dict[str, Callable] = {"floor": np.floor, "ceil": np.ceil}
ROUND: dict[RoundingMethod, Callable] = {
    RoundingMethod.AWAY_FROM_ZERO: half_away,
    RoundingMethod.TO_NEAREST_EVEN: np.rint,
}


def integral(tape: Tape, eqn, x: Node) -> list:
    """floor, ceil and round: constant between integers, a jump where the bound straddles one."""
    f = ROUNDERS.get(eqn.primitive.name) or ROUND[eqn.params["rounding_method"]]
    decided(tape, lambda: f(x.z + x.r) == f(x.z - x.r), x)
    return [step(tape, x, f(x.z), f(x.z + x.r) - f(x.z - x.r))]


def remainder(tape: Tape, eqn, a: Node, b: Node) -> list:
    """a - n b, n = a/b cut off, which no dtype rounds; where n is in doubt, anything below |b| with the sign of a."""
    shape, unit = eqn.outvars[0].aval.shape, unit_of(eqn)
    a, b = fit(tape, a, shape), fit(tape, b, shape)
    z, count = np.fmod(a.z, b.z), np.trunc(a.z / b.z)
    margin = 1 + 2.0**-50  # of the quotients below

    def known():
        most, least = a.high / np.where(b.low > 0, b.low, np.nan) * margin, a.low / b.high / margin
        same_sign = (np.abs(a.z) > a.r) | (a.r == 0)
        return (np.trunc(most) == np.trunc(least)) & (same_sign | (np.trunc(most) == 0)) | ((a.r == 0) & (b.r == 0))

    clear = decided(tape, known, a, b)
    spread = np.where(off_zero(a), b.high, 2 * b.high)
    derivatives = (np.where(clear, 1.0, 0.0), np.where(clear, -np.nan_to_num(count), 0.0))
    return [elementwise(tape, z, (a, b), derivatives, lambda m: unit.tiny, lambda: np.where(clear, 0.0, spread))]


def step(tape: Tape, x: Node, z, jump) -> Node:
    """A piecewise constant function of x: no derivative, an error of at most `jump`."""
    return tape.add(z, [(x, Scale(np.zeros(x.shape)))], lambda m: np.zeros(z.shape), lambda: jump)


def convert(tape: Tape, eqn, x) -> list:
    """convert_element_type: exact to a wider dtype, one rounding to a narrower one."""
    new = eqn.outvars[0].aval.dtype
    kind = np.dtype(new).kind
    if isinstance(x, Doubtful):
        if kind in "iub":
            raise unsupported(eqn, "rounding", "it makes an integer of a comparison that rounding can flip")
        return [tape.source(x.value.astype(float), x.doubt.astype(float))]
    if kind in "iub":
        return [to_integer(tape, eqn, x, kind)]
    if not isinstance(x, Node):  # an integer above 2**53
        z = x.astype(float)
        return [tape.source(z, unit_of(eqn).u * np.abs(z) + np.abs(z) * 2.0**-53, constant=True)]
    old = str(eqn.invars[0].aval.dtype)
    if old == str(new) or str(new) == "float64" or (str(new) == "float32" and old != "float64"):
        node = tape.move(x.z, x)
    else:
        node = elementwise(tape, x.z, (x,), (1.0,), rounding(unit_of(eqn)))
    node.nonnegative = known_nonnegative(x)
    return [node]


def to_integer(tape: Tape, eqn, x: Node, kind: str):
    if kind == "b":
        value = x.z != 0
        certain = decided(tape, lambda: off_zero(x), x)
        return doubtful(value, value & certain, value | ~certain)
    new = np.dtype(eqn.outvars[0].aval.dtype)
    if not decided(tape, lambda: saturated(x.z - x.r, new) == saturated(x.z + x.r, new), x).all():
        raise unsupported(eqn, "rounding", "an integer part that rounding can change")
    return saturated(x.z, new)


def saturated(x, dtype: np.dtype) -> np.ndarray:
    """Floats to integers as XLA converts them: towards zero, to the nearest number of the dtype, NaN to 0."""
    limits = np.iinfo(dtype)
    whole = np.trunc(np.where(np.isnan(x), 0.0, x))
    inside = (whole > float(limits.min)) & (whole < float(limits.max))
    ends = np.where(whole > 0, np.array(limits.max, dtype), np.array(limits.min, dtype))
    return np.where(inside, np.where(inside, whole, 0).astype(dtype), ends)
