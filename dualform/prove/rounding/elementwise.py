r"""Arithmetic on elements.

For two executions that stay within r of z, the mean value theorem bounds what the derivative at z leaves out of (R2):

$$ |q| \le \sup_{|\xi - z| \le r} |\varphi'(\xi) - \varphi'(z)| \; r, $$

evaluated in closed form for each operation below, and for functions of one number in `functions`.
An infinite value that all executions share (the -inf of a mask) has derivative and error zero.
"""

from collections.abc import Callable

import numpy as np

from dualform.prove.rounding import rewrites
from dualform.prove.rounding.charges import Unit, product, unit_of
from dualform.prove.rounding.maps import Scale
from dualform.prove.rounding.tape import Node, Tape


def fit(tape: Tape, x: Node, shape: tuple) -> Node:
    """An operand repeated to the result's shape: scalars, and axes of length one."""
    if x.shape == tuple(shape):
        return x
    return tape.gather([x], np.broadcast_to(np.arange(x.z.size).reshape(x.shape), shape))


def settled(z, *operands: Node):
    """Where a result is infinite because an operand is, in every execution; None where nothing is infinite."""
    if np.isfinite(z).all():
        return None
    return np.isinf(z) & np.any([infinite(p) for p in operands], axis=0)


def infinite(x: Node):
    """Elements that are infinite, with the same sign, in every execution."""
    return np.isinf(x.z) & (x.r == 0)


def summed(z, a: Node, b: Node, unit: Unit):
    """Where a sum is infinite in every execution: one operand is, and the other cannot overflow against it."""
    if np.isfinite(z).all():
        return None
    bounded = [infinite(p) | (p.high <= unit.largest) for p in (a, b)]
    return np.isinf(z) & (infinite(a) | infinite(b)) & bounded[0] & bounded[1]


def signed(z, a: Node, b: Node):
    """Where a product or quotient is infinite in every execution; its sign is known only if both operands' are."""
    if np.isfinite(z).all():
        return None
    return np.isinf(z) & (infinite(a) | infinite(b)) & (infinite(a) | (a.low > 0)) & (infinite(b) | (b.low > 0))


def weight(d, operand: Node, still) -> tuple[Scale, np.ndarray | None]:
    """An elementwise derivative made finite, and where it was not although the operand errs."""
    d = np.asarray(d, float)
    if np.isfinite(d).all():
        return Scale(d if still is None else np.where(still, 0.0, d)), None
    good = np.isfinite(d)
    wild = ~good & (operand.r > 0)
    return Scale(np.where(good if still is None else good & ~still, d, 0.0)), wild if wild.any() else None


def elementwise(tape: Tape, z, operands, derivatives, local, remainder=None, *, pole=None, still=None) -> Node:
    """Records an elementwise operation with the given partial derivatives; at a `pole` it is infinite, as computed.

    `still` says where it is infinite in every execution; where an operand is, if nothing is given.
    """
    z = np.asarray(z)
    still = settled(z, *operands) if still is None else still
    if still is not None and pole is not None:
        still = still | pole
    links, wild = [], None
    for p, d in zip(operands, derivatives, strict=True):
        scale, w = weight(d, p, still)
        links.append((p, scale))
        wild = w if wild is None else wild if w is None else wild | w
    guarded = local if wild is None else (lambda m: np.where(wild, np.inf, local(m)))
    return tape.add(z, links, guarded, remainder, settled=still)


def decided(tape: Tape, test: Callable, *operands: Node):
    """A test of the operands' bounds, made again on tighter bounds where some element fails it."""
    answer = test()
    if not answer.all() and sum([tape.tighten(p) for p in operands]):
        answer = test()
    return answer


def rounding(unit: Unit, c: float = 1.0) -> Callable:
    """(R1) for a result of magnitude at most m: c u m + eta, infinite on overflow."""

    def local(m):
        eps = c * unit.u * m + unit.tiny
        return np.where(m > unit.largest, np.inf, eps) if (m > unit.largest).any() else eps

    return local


def add(tape: Tape, eqn, a: Node, b: Node, sign: float = 1.0) -> list[Node]:
    shape, unit = eqn.outvars[0].aval.shape, unit_of(eqn)
    a, b = fit(tape, a, shape), fit(tape, b, shape)
    basic, more = rounding(unit), rewrites.sums(a, b, unit)
    nothing = zero(a) | zero(b)

    def local(m):
        eps = np.where(nothing, 0.0, basic(m))
        return eps if more is None else eps + more

    z = a.z + sign * b.z
    node = elementwise(tape, z, (a, b), (1.0, sign), local, still=summed(z, a, b, unit))
    node.nonnegative = sign > 0 and known_nonnegative(a) and known_nonnegative(b)
    node.origin = rewrites.sum_origin(a, b)
    return [node]


def sub(tape: Tape, eqn, a: Node, b: Node) -> list[Node]:
    return add(tape, eqn, a, b, -1.0)


def mul(tape: Tape, eqn, a: Node, b: Node) -> list[Node]:
    shape, unit = eqn.outvars[0].aval.shape, unit_of(eqn)
    same = a is b
    a, b = fit(tape, a, shape), fit(tape, b, shape)
    basic, more = rounding(unit), rewrites.products(a, b, unit)
    shift, nothing = dyadic(a) | dyadic(b), zero(a) | zero(b)
    charged = shift.any() or nothing.any()

    def local(m):
        eps = basic(m)
        if charged:
            eps = np.where(nothing, 0.0, np.where(shift & (eps < np.inf), unit.tiny, eps))
        return eps if more is None else eps + more(m)

    z = a.z * b.z
    node = elementwise(tape, z, (a, b), (b.z, a.z), local, lambda: 2 * a.r * b.r, still=signed(z, a, b))
    node.nonnegative = same or (known_nonnegative(a) and known_nonnegative(b))
    node.origin = rewrites.product_origin(a, b)
    return [node]


def div(tape: Tape, eqn, a: Node, b: Node) -> list[Node]:
    """Two roundings: XLA multiplies by the rounded reciprocal of a constant or of a broadcast divisor."""
    shape, unit = eqn.outvars[0].aval.shape, unit_of(eqn)
    a, b = fit(tape, a, shape), fit(tape, b, shape)
    z, inverse = a.z / b.z, 1.0 / b.z
    basic, more = rounding(unit, 2.0), rewrites.quotients(a, b, unit)
    exact, nothing = dyadic(b) & b.constant, zero(a)

    def local(m):
        eps = basic(m)
        eps = np.where(exact & (eps < np.inf), unit.tiny, eps) + unit.tiny * a.high
        eps = np.where(nothing, 0.0, eps)
        return eps if more is None else eps + more(m)

    def remainder():
        least = b.low
        safe = np.where(least > 0, least, np.nan)
        first = b.r / (np.abs(b.z) * safe) * a.r
        second = (a.high / safe**2 - np.abs(z * inverse)) * b.r
        return np.where(b.r > 0, np.nan_to_num(first + np.maximum(second, 0.0), nan=np.inf), 0.0)

    node = elementwise(tape, z, (a, b), (inverse, -z * inverse), local, remainder, still=signed(z, a, b))
    node.nonnegative = known_nonnegative(a) and known_nonnegative(b)
    node.origin = rewrites.quotient_origin(a, b)
    return [node]


def neg(tape: Tape, eqn, a: Node) -> list[Node]:
    return [tape.move(-a.z, a, -1.0)]


def zero(x: Node):
    """Elements that are zero in every execution."""
    return (x.z == 0) & (x.r == 0)


def dyadic(x: Node):
    """Elements that are a power of two, or zero, in every execution: multiplying by them does not round."""
    if not x.constant:
        return np.zeros(x.shape, bool)
    return (x.r == 0) & np.isfinite(x.z) & ((x.z == 0) | (np.frexp(np.abs(x.z))[0] == 0.5))


def known_nonnegative(x: Node) -> bool:
    return x.nonnegative or (x.exact and not (x.z < 0).any())


def power(tape: Tape, eqn, x: Node, n: int | None = None) -> list[Node]:
    """An integer power: at most |n| - 1 products in any order, and two roundings more for a reciprocal."""
    n = eqn.params["y"] if n is None else n
    unit = unit_of(eqn)
    if n == 1:
        return [tape.move(x.z, x)]
    count = max(abs(n) - 1, 0) + (2 if n < 0 else 0)
    eps, more = float(product(count, unit.u)), rewrites.powers(x, n, unit)
    size = np.abs(x.z)

    def local(m):
        grown = np.maximum(x.high, 1.0) ** abs(n)
        flush = count * unit.tiny * grown
        if n < 0:
            least = np.minimum(x.low, 1.0) ** abs(n)
            flush = np.where(least > 4 * unit.tiny, flush + count * unit.tiny * grown / least**2, np.inf)
            grown = np.maximum(grown, np.minimum(1 / least, 2 * unit.largest))
        bad = (m > unit.largest) | (grown > unit.largest)
        return np.where(bad, np.inf, eps * m + flush + more) if n else np.zeros(x.shape)

    def remainder():
        if n > 1:
            gain = x.high ** (n - 1) - size ** (n - 1)
        elif n < 0:
            least = np.where(x.low > 0, x.low, np.nan)
            gain = np.nan_to_num(least ** (n - 1.0) - size ** (n - 1.0), nan=np.inf)
        else:
            return np.zeros(x.shape)
        return np.where(x.r > 0, np.abs(n) * np.maximum(gain, 0.0) * x.r, 0.0)

    node = elementwise(tape, x.z ** float(n), (x,), (n * x.z ** (n - 1.0),), local, remainder)
    node.nonnegative = n % 2 == 0 or known_nonnegative(x)
    node.origin = rewrites.power_origin(x, n)
    return [node]


def square(tape: Tape, eqn, x: Node) -> list[Node]:
    return power(tape, eqn, x, 2)
