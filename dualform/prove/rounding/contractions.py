r"""Sums and products of many elements, in every order.

A dot product of $n$ non-zero terms, a tree or a sequence of any shape, with or without FMA, errs by

$$ |\mathrm{fl}(a \cdot b) - a \cdot b| \le n u \sum_i |a_i||b_i| + 2 n \eta, \qquad
   \Bigl|\mathrm{fl}\sum_i x_i - \sum_i x_i\Bigr| \le (n - 1) u \sum_i |x_i| + n \eta. \tag{R6} $$

Terms that are zero in every execution (a causal mask) take no part, so row t of a masked product is charged t terms.
Products have no such bound without a condition on n; they are charged gamma_n.
"""

import math
from collections.abc import Callable

import numpy as np

from dualform.prove import structure
from dualform.prove.errors import unsupported
from dualform.prove.rounding import rewrites
from dualform.prove.rounding.charges import Unit, product, unit_of
from dualform.prove.rounding.elementwise import infinite, known_nonnegative, zero
from dualform.prove.rounding.maps import Contract, Cumulate, Dims, Scale, Scatter, Sum, SumTo, running
from dualform.prove.rounding.tape import Node, Tape


def dot_general(tape: Tape, eqn, a: Node, b: Node) -> list[Node]:
    dims = Dims(eqn.params["dimension_numbers"], a.shape, b.shape)
    return [dot(tape, dims, a, b, unit_of(eqn), _inputs_round(eqn))]


def _inputs_round(eqn) -> int:
    """One rounding more where the products are formed in another dtype than the result's."""
    return int(any(v.aval.dtype != eqn.outvars[0].aval.dtype for v in eqn.invars))


def dot(tape: Tape, dims: Dims, a: Node, b: Node, unit: Unit, extra: int = 0) -> Node:
    """A contraction with (R6); `extra` roundings for each term."""
    if dims.m > 1 and dims.n > 1:  # only products with vectors are fused with what makes their operands
        a, b = tape.read(a), tape.read(b)
    z = dims.dot(a.z, b.z)
    az, bz = (np.where(np.isfinite(p.z), p.z, 0.0) for p in (a, b))
    count = _terms(dims, a, b) + extra

    def local(m):
        total = dims.dot(a.high, b.high)
        eps = count * (unit.u * total + 2 * unit.tiny)
        return np.where((total > unit.largest) & (np.asarray(count) > 0), np.inf, eps)

    def remainder():
        return 2 * dims.dot(a.r, b.r) if not (a.exact or b.exact) else np.zeros(())

    links = [(a, Contract(dims, 0, bz)), (b, Contract(dims, 1, az))]
    node = tape.add(z, links, local, remainder, stored=dims.stored and not unit.narrow)
    node.nonnegative = known_nonnegative(a) and known_nonnegative(b)
    return node


def _terms(dims: Dims, a: Node, b: Node):
    """Terms of each result that are not zero in every execution."""
    if not (zero(a).any() or zero(b).any()):
        return dims.k
    return dims.dot(1.0 - zero(a), 1.0 - zero(b))


def reduce_sum(tape: Tape, eqn, x: Node) -> list[Node]:
    axes = tuple(eqn.params["axes"])
    if not axes:
        return [tape.move(x.z, x)]
    unit = unit_of(eqn)
    z = x.z.sum(axis=axes)
    count = (1.0 - zero(x)).sum(axis=axes)
    merged = x.origin.get("total")

    def local(m):
        total = x.high.sum(axis=axes)
        eps = np.maximum(count - 1, 0) * unit.u * total + count * unit.tiny
        if merged is not None:  # XLA makes one sum of a sum of sums
            whole = merged[1].sum(axis=axes)
            eps = np.maximum(eps, merged[0].sum(axis=axes) * (unit.u * whole + unit.tiny))
        return np.where(total > unit.largest, np.inf, eps)

    node = tape.add(z, [(x, SumTo(axes, x.shape))], local, settled=_infinite(z, x, lambda v: v.sum(axis=axes), unit))
    node.nonnegative = known_nonnegative(x)
    if merged is None:
        node.origin = {"total": (count, x.high.sum(axis=axes))}
    else:
        node.origin = {"total": (merged[0].sum(axis=axes), merged[1].sum(axis=axes))}
    node.origin = {**rewrites.alone(x, node.shape), **node.origin}
    return [node]


def _infinite(z, x: Node, total: Callable, unit: Unit):
    """Where a sum is infinite because a summand is, and not by an overflow of the others."""
    certain = infinite(x)
    if not np.isinf(z).any() or not certain.any() or (np.isinf(x.z) & ~certain).any():
        return None
    return np.isinf(z) & (total(np.where(certain, 0.0, x.high)) <= unit.largest)


def cumsum(tape: Tape, eqn, x: Node) -> list[Node]:
    axis, reverse, unit = eqn.params["axis"], eqn.params["reverse"], unit_of(eqn)
    z = running(x.z, axis, reverse)
    count = running(1.0 - zero(x), axis, reverse)

    def local(m):
        total = running(x.high, axis, reverse)
        eps = np.maximum(count - 1, 0) * unit.u * total + count * unit.tiny
        return np.where(total > unit.largest, np.inf, eps)

    still = _infinite(z, x, lambda v: running(v, axis, reverse), unit)
    if still is not None:  # past an infinite summand no other summand matters
        finite = np.where(np.isfinite(x.z), 1.0, 0.0)
        links: list[tuple] = [(x, _Masked(Cumulate(axis, reverse), np.where(still, 0.0, 1.0), finite))]
    else:
        links = [(x, Cumulate(axis, reverse))]
    node = tape.add(z, links, local, settled=still)
    node.nonnegative = known_nonnegative(x)
    if x.shape[axis] == 1:
        node.origin = x.origin
    return [node]


class _Masked:
    """A map between elements that stay finite."""

    def __init__(self, inner, out_mask, in_mask):
        self.inner, self.out_mask, self.in_mask = inner, out_mask, in_mask

    def vjp(self, ct):
        return self.inner.vjp(ct * self.out_mask) * self.in_mask

    def push(self, r):
        return self.inner.push(r * self.in_mask) * self.out_mask


def reduce_prod(tape: Tape, eqn, x: Node) -> list[Node]:
    axes = tuple(eqn.params["axes"])
    if not axes:
        return [tape.move(x.z, x)]
    back = tuple(range(-len(axes), 0))

    def derivative(v):
        lines = np.moveaxis(v, axes, back)
        kept = lines.shape[: lines.ndim - len(axes)]
        flat = lines.reshape(*kept, math.prod(lines.shape[len(kept) :]))
        return Sum(axes, np.moveaxis(_others(flat).reshape(lines.shape), back, axes))

    return [_multiplied(tape, x, lambda v: v.prod(axis=axes), derivative, unit_of(eqn))]


def _others(lines):
    """For each element the product of the others along the last axis."""
    if not lines.shape[-1]:
        return lines
    ones = np.ones((*lines.shape[:-1], 1))
    before = np.concatenate([ones, np.cumprod(lines, -1)[..., :-1]], -1)
    after = np.concatenate([np.flip(np.cumprod(np.flip(lines, -1), -1), -1)[..., 1:], ones], -1)
    return before * after


def cumprod(tape: Tape, eqn, x: Node) -> list[Node]:
    axis, reverse = eqn.params["axis"], eqn.params["reverse"]

    def along(v):
        return np.flip(np.cumprod(np.flip(v, axis), axis), axis) if reverse else np.cumprod(v, axis)

    def derivative(v):
        return _Prefix(_prefixes(np.moveaxis(v, axis, -1), reverse), axis)

    return [_multiplied(tape, x, along, derivative, unit_of(eqn))]


def _prefixes(lines, reverse: bool):
    """d (product of elements up to i) / d element j: [..., n, n], 0 where j > i."""
    n = lines.shape[-1]
    order = slice(None, None, -1) if reverse else slice(None)
    lines = lines[..., order]
    out = np.zeros((*lines.shape, n))
    for j in range(n):
        kept = lines.copy()
        kept[..., j] = 1.0
        out[..., j:, j] = np.cumprod(kept, -1)[..., j:]
    return out[..., order, :][..., order]


class _Prefix:
    """The derivative of running products along an axis."""

    def __init__(self, jacobian, axis: int):
        self.jacobian, self.axis = jacobian, axis

    def vjp(self, ct):
        lines = np.moveaxis(ct, self.axis + 1, -1)
        return np.moveaxis((lines[..., None, :] @ self.jacobian)[..., 0, :], -1, self.axis + 1)

    def push(self, r):
        lines = np.moveaxis(r, self.axis, -1)
        return np.moveaxis((np.abs(self.jacobian) @ lines[..., None])[..., 0], -1, self.axis)


def _multiplied(tape: Tape, x: Node, along, derivative, unit: Unit) -> Node:
    """A product of many elements: along(v) multiplies, derivative(v) is its gradient at v."""
    z, d = along(x.z), derivative(x.z)
    count = np.maximum(_factors(x, along), 1.0)
    gamma, more = product(count - 1, unit.u), rewrites.many(x, along, unit)

    def local(m):
        grown = along(np.maximum(x.high, 1.0))
        eps = gamma * along(x.high) + count * unit.tiny * grown + more
        return np.where(grown > unit.largest, np.inf, eps)

    def remainder():
        return np.maximum(derivative(x.high).push(x.r) - d.push(x.r), 0.0)

    node = tape.add(z, [(x, d)], local, remainder)
    node.nonnegative = known_nonnegative(x)
    if (count == 1).all():
        node.origin = rewrites.alone(x, node.shape)
    return node


def _factors(x: Node, along) -> np.ndarray:
    """How many factors each product has."""
    small = 2.0 ** (1 / 64)  # so that 2**16 factors stay finite
    return np.rint(64 * np.log2(along(np.full(x.shape, small))))


def scatter_add(tape: Tape, eqn, x: Node, indices, updates: Node) -> list[Node]:
    """Updates added to an operand, in any order."""
    if not isinstance(indices, np.ndarray):
        raise unsupported(eqn, "rounding", "its indices depend on the data")
    unit = unit_of(eqn)
    target = structure.scatter_targets(eqn, x.shape, indices, updates.shape)
    d = Scatter(target, updates.shape, x.shape)
    z = x.z + d.push(updates.z)
    count = d.push(1.0 - zero(updates))

    def total():
        return x.high + d.push(updates.high)

    def local(m):
        most = total()
        return np.where(most > unit.largest, np.inf, count * (unit.u * most + unit.tiny))

    node = tape.add(z, [(x, Scale(1.0)), (updates, d)], local)
    node.nonnegative = known_nonnegative(x) and known_nonnegative(updates)
    node.origin = {"scatter": (count, total())}
    return [node]
