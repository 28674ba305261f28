"""Triangular solves and LU factorisations in the arithmetic of degrees."""

from collections.abc import Callable

import numpy as np

from dualform.prove.layout import lower_triangular
from dualform.prove.marks import Pivots
from dualform.prove.size.rational import ZERO, Bound


def triangular_solve(d, eqn, a, b):
    """Substitution, row by row."""
    a, b = d.bounds(eqn, a, b)
    s = d.symbols
    matrix = a.map(lambda y: lower_triangular(eqn, y, np.zeros(b.shape))[0])
    rhs = b.map(lambda y: lower_triangular(eqn, np.zeros(a.shape), y)[1])
    if not eqn.params["unit_diagonal"] and matrix.n.size:
        d.divides(eqn, np.diagonal(matrix.n, axis1=-2, axis2=-1))
    rows: list[Bound] = []
    for i in range(matrix.shape[-1]):
        x = s.wide(rhs).map(lambda y, i=i: y[..., i, :])
        for j, done in enumerate(rows):
            x = s.plus(x, s.times(s.wide(matrix).map(lambda y, i=i, j=j: y[..., i, j, None]), done))
        if not eqn.params["unit_diagonal"]:
            x = s.times(x, s.reciprocal(s.wide(matrix).map(lambda y, i=i: y[..., i, i, None])))
        rows.append(x)
    if not rows:
        return [b]
    *batch, n = rhs.shape[:-2] + rhs.shape[-1:]
    index = np.moveaxis(np.arange(rhs.n.size).reshape(len(rows), *batch, n), 0, -2)
    return [s.gather(rows, lower_triangular(eqn, np.zeros(a.shape), np.zeros(b.shape))[2](index))]


def lu(d, eqn, a):
    """Entries of L and U are quotients of minors, by Cramer's rule: U_ij = M / (R m_(i-1)), L_ij = M / m_j.

    The matrix is first brought over one common denominator R; m_k is the leading minor of order k. An elimination may
    put any row first, so all rows share one bound of degree and height, and the order is of no consequence here.
    """
    (a,) = d.bounds(eqn, a)
    d.divides(eqn, a.n)
    *batch, m, n = a.shape
    s, order = d.symbols, min(m, n)
    flat = a.map(lambda y: y.reshape(-1, m * n))
    zero = flat.n == ZERO
    common = np.where(zero, -np.inf, flat.e).max(axis=-1, keepdims=True, initial=-np.inf)
    common = np.where(np.isfinite(common), common, 0.0)  # [symbols, batch, 1]
    lack = np.where(zero, 0.0, common - flat.e)
    degree = np.maximum((flat.n + np.tensordot(s.n, lack, 1)).max(axis=-1, initial=0.0), 0.0)  # [batch]
    entries = (flat.h + np.tensordot(s.h, lack, 1)).reshape(-1, m, n)
    height = np.maximum(np.logaddexp2.reduce(entries, axis=-1, initial=ZERO).max(axis=-1, initial=0.0), 0.0)
    places = np.where(zero, 0.0, flat.k).max(axis=-1, initial=0.0)
    step = height + places  # a minor of order k, times 2**(places k), has integer coefficients below 2**(step k)
    minors = np.array(
        [[s.new(degree[b] * k, step[b] * k) for k in range(1, order + 1)] for b in range(len(degree))], int
    )
    minors = minors.reshape(len(degree), order)
    shape = (len(degree), m, n)
    out_n, out_h, out_k, e = np.zeros(shape), np.zeros(shape), np.zeros(shape), np.zeros((len(s.n), *shape))
    for b in range(len(degree)):
        for i in range(m):
            for j in range(n):
                k = min(i, j)  # M has k + 1 rows
                if i <= j:
                    e[: len(common), b, i, j] = common[:, b, 0]
                    below = k - 1  # index of the minor in the denominator
                    out_k[b, i, j] = places[b]
                else:
                    below = k
                if i == j:  # exactly m_i / m_(i-1)
                    e[minors[b, i], b, i, j] -= 1
                else:
                    out_n[b, i, j] = degree[b] * (k + 1)
                    out_h[b, i, j] = step[b] * (k + 1) - places[b] * (i < j)
                if below >= 0:
                    e[minors[b, below], b, i, j] += 1
    if m and n:
        diagonal = np.arange(order)
        out_h[:, diagonal, diagonal] = -places[:, None]
    result = s.bound(*(x.reshape(a.shape) for x in (out_n, out_h, out_k)), e.reshape(-1, *a.shape))
    call = d.pivots.call()
    pivots = np.tile(np.arange(order, dtype=np.int32), (len(degree), 1))
    orders = np.tile(np.arange(m, dtype=np.int32), (len(degree), 1))
    for b, k in np.ndindex(len(degree), order):  # any row may be the pivot
        pivots[b, k] = k + d.pivots.choose(call, m - k)
        orders[b, [k, pivots[b, k]]] = orders[b, [pivots[b, k], k]]
    results = [result, pivots.reshape(*batch, order), orders.reshape(*batch, m)]
    d.marks.add(results, frozenset({Pivots(call)}))
    return results


RULES: dict[str, Callable] = {"triangular_solve": triangular_solve, "lu": lu}
