"""Sums, products and contractions over axes in the arithmetic of degrees."""

from collections.abc import Callable
from functools import reduce

import numpy as np

from dualform.prove import concrete, structure
from dualform.prove.layout import along, matrices
from dualform.prove.size.elementwise import same
from dualform.prove.size.logarithm import Logarithm, denominator, negated
from dualform.prove.size.rational import Bound

WORK = 1 << 20
"""Elements of an expanded matrix product that are kept at once."""


def reduce_sum(d, eqn, a):
    axes = tuple(int(i) for i in eqn.params["axes"])
    (a,) = same(d, eqn, a)
    bound = a.bound if isinstance(a, Logarithm) else a
    for axis in sorted(axes, reverse=True):
        bound = None if bound is None else d.symbols.along(bound, axis)
    if not isinstance(a, Logarithm):
        return [bound]
    # One input may be in several of the terms: coefficients add.
    total, top, low = (x.sum(axis=axes) for x in a.parts[:3])
    return [Logarithm(total, top, low, np.any(a.reset, axis=axes), bound, a.denominator)]


def _fold(d, eqn, x: Bound, step: Callable) -> Bound:
    """Running sums or products."""
    axis, backwards = eqn.params["axis"], eqn.params["reverse"]
    count, inner = x.shape[axis], tuple(np.delete(x.shape, axis))
    if not count:
        return x
    out: list[Bound] = []
    for i in reversed(range(count)) if backwards else range(count):
        item = d.symbols.wide(x).map(lambda y, i=i: np.take(y, i, axis))
        out.append(step(out[-1], item) if out else item)
    out = out[::-1] if backwards else out
    return d.symbols.gather(out, np.moveaxis(np.arange(x.n.size).reshape(count, *inner), 0, axis))


def cumsum(d, eqn, a):
    (a,) = same(d, eqn, a)
    if not isinstance(a, Logarithm):
        return [_fold(d, eqn, a, d.symbols.plus)]
    bound = None if a.bound is None else _fold(d, eqn, a.bound, d.symbols.plus)
    total, top, low = (along(eqn, np.cumsum, x) for x in a.parts[:3])
    return [Logarithm(total, top, low, along(eqn, np.logical_or.accumulate, a.reset), bound, a.denominator)]


def cumprod(d, eqn, a):
    return [_fold(d, eqn, d.bounds(eqn, a)[0], d.symbols.times)]


def reduce_prod(d, eqn, a):
    (a,) = d.bounds(eqn, a)
    axes = tuple(int(i) for i in eqn.params["axes"])
    e = a.e.sum(axis=tuple(i + 1 for i in axes))
    return [d.symbols.bound(a.n.sum(axis=axes), a.h.sum(axis=axes), a.k.sum(axis=axes), e)]


def dot(d, eqn, a, b):
    for x, c, swap in ((a, b, False), (b, a, True)):
        if isinstance(x, Logarithm) and concrete.is_float(c):
            return [_log_dot(d, eqn, x, c, swap)]
    return [_field_dot(d, eqn, *d.bounds(eqn, a, b))]


def _field_dot(d, eqn, a: Bound, b: Bound) -> Bound:
    symbols = d.symbols
    a, b = symbols.wide(a), symbols.wide(b)
    parts = [matrices(eqn, *pair) for pair in ((a.n, b.n), (a.h, b.h), (a.k, b.k), *zip(a.e, b.e, strict=True))]
    shape = parts[0][2]

    def side(i) -> Bound:
        n, h, k, *e = (p[i] for p in parts)
        return Bound(n, h, k, np.stack(e) if e else np.zeros((0, *n.shape)), np.zeros(n.shape, int))

    left, right = side(0), side(1)
    count = left.shape[-1]
    if not count or not int(np.prod(shape)):
        return symbols.constant(np.zeros(shape))
    block = max(1, WORK // (int(np.prod(shape)) * (3 + len(a.e))))

    def partial_sum(i: int) -> Bound:
        x = left.map(lambda y: y[:, :, i : i + block, None])
        y = right.map(lambda y: y[:, None, i : i + block, :])
        return symbols.along(symbols.times(x, y), 2)

    return reduce(symbols.plus, map(partial_sum, range(0, count, block))).map(lambda y: y.reshape(shape))


def _log_dot(d, eqn, x: Logarithm, c: np.ndarray, swap: bool) -> Logarithm:
    """Logarithms contracted with constants, the positive and the negative ones apart."""

    def contract(values, weights):
        left, right, shape = matrices(eqn, *((weights, values) if swap else (values, weights)))
        return (left @ right).reshape(shape)

    up, down, turned = np.maximum(c, 0), np.maximum(-c, 0), negated(x, d.gates)
    pairs = zip(x.parts[:3], turned.parts[:3], strict=True)
    total, top, low = (contract(y, up) + contract(z, down) for y, z in pairs)
    bound = None
    if x.bound is not None:
        pair = (d.symbols.constant(c), x.bound) if swap else (x.bound, d.symbols.constant(c))
        bound = _field_dot(d, eqn, *pair)
    return Logarithm(total, top, low, np.zeros(total.shape, bool), bound, x.denominator * denominator(c))


def scatter_add(d, eqn, a, indices, updates):
    """Also for subtraction: signs do not change a bound."""
    return _scatter(d, eqn, a, indices, updates, d.symbols.plus)


def scatter_mul(d, eqn, a, indices, updates):
    return _scatter(d, eqn, a, indices, updates, d.symbols.times)


def _scatter(d, eqn, a, indices, updates, step: Callable):
    """Updates one at a time, since an element may be met repeatedly."""
    a, updates = d.bounds(eqn, a, updates)
    targets = structure.scatter_targets(eqn, a.shape, indices, updates.shape).ravel()
    s, out, flat = d.symbols, a.map(np.ravel), updates.map(np.ravel)
    while (targets >= 0).any():
        first = np.zeros(targets.shape, bool)
        first[np.unique(targets, return_index=True)[1]] = True
        first &= targets >= 0
        met = targets[first]
        new = step(s.wide(out).map(lambda y, met=met: y[met]), s.wide(flat).map(lambda y, first=first: y[first]))
        index = np.arange(out.n.size)
        index[met] = out.n.size + np.arange(len(met))
        out = s.gather([out, new], index)
        targets = np.where(first, structure.FILLED, targets)
    return [s.wide(out).map(lambda y: y.reshape(a.shape))]


RULES: dict[str, Callable] = {
    "dot_general": dot, "reduce_sum": reduce_sum, "cumsum": cumsum, "reduce_prod": reduce_prod, "cumprod": cumprod,
    "scatter-add": scatter_add, "scatter-sub": scatter_add, "scatter-mul": scatter_mul,
}  # fmt: skip
