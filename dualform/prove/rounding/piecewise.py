r"""Primitives with a switch: maxima, absolute values, comparisons, selections, rounding to integers.

Where the operands' bounds stay on one side of the switch, all executions take the same branch and its derivative.
Where they straddle it, two executions may take different branches; the derivative is then taken as zero (or one half
of each) and q in (R2) covers the hull of both branches.

A comparison that rounding can flip becomes `Doubtful`; `select_n` takes hulls there, and nothing else may use it.
"""

import math

import numpy as np

from dualform.prove.errors import unsupported
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


ROUNDERS = {"floor": np.floor, "ceil": np.ceil}


def integral(tape: Tape, eqn, x: Node) -> list:
    """floor, ceil and round: constant between integers, a jump where the bound straddles one."""
    away = eqn.params.get("rounding_method")
    f = ROUNDERS.get(eqn.primitive.name) or (np.rint if away is not None and "EVEN" in str(away) else half_away)
    decided(tape, lambda: f(x.z + x.r) == f(x.z - x.r), x)
    return [step(tape, x, f(x.z), f(x.z + x.r) - f(x.z - x.r))]


def half_away(x):
    return np.sign(x) * np.floor(np.abs(x) + 0.5)


def step(tape: Tape, x: Node, z, jump) -> Node:
    """A piecewise constant function of x: no derivative, an error of at most `jump`."""
    return tape.add(z, [(x, Scale(np.zeros(x.shape)))], lambda m: np.zeros(z.shape), lambda: jump)


def reduce_extreme(tape: Tape, eqn, x: Node) -> list:
    """reduce_max and reduce_min: the winner's derivative where it is certain, else the widest candidate's bound."""
    sign = 1.0 if eqn.primitive.name == "reduce_max" else -1.0
    axes = tuple(eqn.params["axes"])
    if not axes:
        return [tape.move(x.z, x)]
    winner, candidates = winners(x, axes, sign)
    if (candidates.sum(axis=-1) > 1).any() and tape.tighten(x):
        winner, candidates = winners(x, axes, sign)
    shape = tuple(n for i, n in enumerate(x.shape) if i not in axes)
    z = x.z.ravel()[winner].reshape(shape)
    r = np.moveaxis(x.r, axes, range(-len(axes), 0)).reshape(candidates.shape)
    unclear = (candidates.sum(axis=-1) > 1) & (np.where(candidates, r, 0.0).max(axis=-1) > 0)
    spread = np.where(unclear, np.where(candidates, r, 0.0).max(axis=-1), 0.0)
    moved = tape.gather([x], winner.reshape(shape))
    still = np.isinf(z) & ~unclear if np.isinf(z).any() else None
    node = tape.add(
        z, [(moved, Scale(np.where(unclear, 0.0, 1.0)))], lambda m: np.zeros(shape), lambda: spread, settled=still
    )
    node.nonnegative = known_nonnegative(x)
    return [node]


def winners(x: Node, axes: tuple, sign: float):
    """Flat indices of the extremes, and which elements might be one in some execution."""
    back = range(-len(axes), 0)
    shape = tuple(n for i, n in enumerate(x.shape) if i not in axes)
    rows = math.prod(shape), math.prod(x.shape[i] for i in axes)
    numbers = np.moveaxis(np.arange(x.z.size).reshape(x.shape), axes, back).reshape(rows)
    z = sign * np.moveaxis(x.z, axes, back).reshape(rows)
    r = np.moveaxis(x.r, axes, back).reshape(rows)
    best = z.argmax(axis=-1)
    winner = np.take_along_axis(numbers, best[:, None], 1)[:, 0]
    floor = np.where(np.isnan(z - r), -np.inf, z - r).max(axis=-1, keepdims=True)
    return winner, (~(z + r < floor)).reshape(*shape, rows[1])


def arg_extreme(tape: Tape, eqn, x: Node) -> list:
    """argmax and argmin, where rounding cannot change them."""
    sign = 1.0 if eqn.primitive.name == "argmax" else -1.0
    axes = tuple(eqn.params["axes"])
    _, candidates = winners(x, axes, sign)
    if (candidates.sum(axis=-1) > 1).any() and tape.tighten(x):
        _, candidates = winners(x, axes, sign)
    r = np.moveaxis(x.r, axes, range(-len(axes), 0)).reshape(candidates.shape)
    if ((candidates.sum(axis=-1) > 1) & (np.where(candidates, r, 0.0).max(axis=-1) > 0)).any():
        raise unsupported(eqn, "rounding", "two candidates are closer than their rounding errors")
    return [np.asarray((sign * x.z).argmax(axis=axes[0]), eqn.outvars[0].aval.dtype)]


def sort(tape: Tape, eqn, *xs) -> list:
    """Sorting by one key whose order rounding cannot change."""
    p = eqn.params
    axis, key = p["dimension"], xs[0]
    if p["num_keys"] != 1 or not isinstance(key, Node):
        raise unsupported(eqn, "rounding", "it sorts by several keys")
    order = np.argsort(key.z, axis=axis, kind="stable")
    z, r = (np.take_along_axis(v, order, axis) for v in (key.z, key.r))
    gap = np.diff(z, axis=axis)
    need = np.delete(r, 0, axis) + np.delete(r, -1, axis)
    if not ((gap > need) | (need == 0)).all():
        raise unsupported(eqn, "rounding", "two keys are closer than their rounding errors")
    index = np.take_along_axis(np.arange(z.size).reshape(z.shape), order, axis)
    return [tape.gather([x], index) if isinstance(x, Node) else x.ravel()[index] for x in xs]


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
        node = elementwise(tape, x.z, (x,), (1.0,), rounding(unit_of(eqn)), split=True)
    node.nonnegative = known_nonnegative(x)
    return [node]


def to_integer(tape: Tape, eqn, x: Node, kind: str):
    if kind == "b":
        value = x.z != 0
        certain = decided(tape, lambda: off_zero(x), x)
        return doubtful(value, value & certain, value | ~certain)
    if not decided(tape, lambda: np.trunc(x.z - x.r) == np.trunc(x.z + x.r), x).all():
        raise unsupported(eqn, "rounding", "an integer part that rounding can change")
    return np.trunc(x.z).astype(eqn.outvars[0].aval.dtype)
