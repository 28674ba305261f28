"""Sums, products, contractions and solves on balls."""

from collections.abc import Callable

import numpy as np

from dualform.prove import structure
from dualform.prove.enclosure import balls
from dualform.prove.enclosure.balls import Ball, between
from dualform.prove.errors import ZeroDenominator, where
from dualform.prove.layout import lower_triangular, matrices


def dot(m, eqn, a, b):
    a, b = m.balls(a, b)
    parts = [matrices(eqn, *pair) for pair in zip(_parts(a), _parts(b), strict=True)]
    left, right = (Ball(*(p[i] for p in parts)) for i in range(2))
    return [balls.matmul(left, right).map(lambda y: y.reshape(parts[0][2]))]


def _parts(x: Ball) -> tuple[np.ndarray, ...]:
    return x.mid, x.rad, x.bad


def reduce_sum(m, eqn, a):
    (a,) = m.balls(a)
    return [balls.total(a, tuple(eqn.params["axes"]))]


def reduce_prod(m, eqn, a):
    (a,) = m.balls(a)
    for axis in sorted(eqn.params["axes"], reverse=True):
        out = Ball(np.ones(np.delete(a.shape, axis)), 0.0)
        for i in range(a.shape[axis]):
            out = balls.mul(out, a.map(lambda y, i=i, axis=axis: np.take(y, i, axis)))
        a = out
    return [a]


def extreme(m, eqn, a):
    (a,), axes = m.balls(a), tuple(eqn.params["axes"])
    pick, start = (np.max, -np.inf) if eqn.primitive.name == "reduce_max" else (np.min, np.inf)
    low, high = (pick(x, axis=axes, initial=start) for x in (a.low, a.high))
    return [between(low, high, a.bad.any(axes))]


def _fold(step: Callable) -> Callable:
    """A running sum or product."""

    def rule(m, eqn, a):
        (a,), axis = m.balls(a), eqn.params["axis"]
        count = a.shape[axis]
        order = range(count - 1, -1, -1) if eqn.params["reverse"] else range(count)
        out: dict[int, Ball] = {}
        last = None
        for i in order:
            item = a.map(lambda y, i=i: np.take(y, i, axis))
            last = out[i] = item if last is None else step(last, item)
        if not count:
            return [a]
        return [Ball(*(np.stack([getattr(out[i], p) for i in range(count)], axis) for p in ("mid", "rad", "bad")))]

    return rule


def _scatter(step: Callable) -> Callable:
    def rule(m, eqn, a, indices, updates):
        a, updates = m.balls(a, updates)
        targets = structure.scatter_targets(eqn, a.shape, indices, updates.shape).ravel()
        out, new = a.map(lambda y: np.array(y).ravel()), updates.map(np.ravel)
        for i in np.flatnonzero(targets >= 0):
            j = targets[i]
            x = step(*(y.map(lambda z, k=k: z[k]) for y, k in ((out, j), (new, i))))
            out.mid[j], out.rad[j], out.bad[j] = x.mid, x.rad, x.bad
        return [out.map(lambda y: y.reshape(a.shape))]

    return rule


def triangular_solve(m, eqn, a, b):
    """Substitution, row by row."""
    a, b = m.balls(a, b)
    parts = [lower_triangular(eqn, *pair) for pair in zip(_parts(a), _parts(b), strict=True)]
    matrix, rhs = (Ball(*(p[i] for p in parts)) for i in range(2))
    rows: list[Ball] = []
    for i in range(matrix.shape[-1]):
        x = rhs.map(lambda y, i=i: y[..., i, :])
        for j, done in enumerate(rows):
            x = balls.add(x, balls.neg(balls.mul(matrix.map(lambda y, i=i, j=j: y[..., i, j, None]), done)))
        if not eqn.params["unit_diagonal"]:
            x = balls.mul(x, balls.reciprocal(matrix.map(lambda y, i=i: y[..., i, i, None])))
        rows.append(x)
    if not rows:
        return [b]
    back = parts[0][2]
    return [Ball(*(back(np.stack([getattr(x, p) for x in rows], -2)) for p in ("mid", "rad", "bad")))]


def lu(m, eqn, a):
    """Elimination with the largest pivots."""
    (a,) = m.balls(a)
    *batch, rows, columns = a.shape
    size = min(rows, columns)
    flat = a.map(lambda y: np.array(y).reshape(-1, rows, columns))
    pivots = np.tile(np.arange(size, dtype=np.int32), (len(flat.mid), 1))
    orders = np.tile(np.arange(rows, dtype=np.int32), (len(flat.mid), 1))
    for b in range(len(flat.mid)):
        x = flat.map(lambda y, b=b: y[b].copy())
        for k in range(size):
            least, most = np.abs(x.mid[k:, k]) - x.rad[k:, k], np.abs(x.mid[k:, k]) + x.rad[k:, k]
            best = k + int(np.argmax(np.abs(x.mid[k:, k])))
            m.unsure |= bool(np.any(np.delete(most, best - k) >= least[best - k]))
            pivots[b, k] = best
            orders[b, [k, best]] = orders[b, [best, k]]
            for y in _parts(x):
                y[[k, best]] = y[[best, k]]
            if k + 1 < rows and not np.abs(x.mid[k, k]) > x.rad[k, k]:
                raise ZeroDenominator(f"a pivot may be zero ({where(eqn)})")
            lower = x.map(lambda y, k=k: y[k + 1 :, k])
            lower = balls.mul(lower, balls.reciprocal(x.map(lambda y, k=k: y[k : k + 1, k])))
            upper = x.map(lambda y, k=k: y[None, k, k + 1 :])
            inner = x.map(lambda y, k=k: y[k + 1 :, k + 1 :])
            inner = balls.add(inner, balls.neg(balls.mul(lower.map(lambda y: y[:, None]), upper)))
            for y, column, rest in zip(_parts(x), _parts(lower), _parts(inner), strict=True):
                y[k + 1 :, k], y[k + 1 :, k + 1 :] = column, rest
        for y, part in zip(_parts(flat), _parts(x), strict=True):
            y[b] = part
    out = flat.map(lambda y: y.reshape(a.shape))
    return [out, pivots.reshape(*batch, size), orders.reshape(*batch, rows)]


RULES: dict[str, Callable] = {
    "dot_general": dot, "reduce_sum": reduce_sum, "reduce_prod": reduce_prod, "reduce_max": extreme,
    "reduce_min": extreme, "cumsum": _fold(balls.add), "cumprod": _fold(balls.mul),
    "triangular_solve": triangular_solve, "lu": lu,
    "scatter-add": _scatter(balls.add), "scatter-mul": _scatter(balls.mul),
    "scatter-sub": _scatter(lambda x, y: balls.add(x, balls.neg(y))),
}  # fmt: skip
