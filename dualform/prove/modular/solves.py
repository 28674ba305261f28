"""Triangular solves and LU factorisations modulo p."""

from collections.abc import Callable

import numpy as np

from dualform.prove.errors import ZeroDenominator, where
from dualform.prove.layout import lower_triangular
from dualform.prove.modular.values import Residue


def triangular_solve(m, eqn, a, b):
    """Substitution, row by row."""
    a, b = m.residues(eqn, a, b)
    if a.bad is not None or b.bad is not None:
        raise ZeroDenominator(f"an undefined value reaches a solve ({where(eqn)})")
    matrix, rhs, back = lower_triangular(eqn, a.r, b.r)
    field, x = m.field, rhs.copy()
    unit = eqn.params["unit_diagonal"]
    diagonal = np.diagonal(matrix, axis1=-2, axis2=-1)
    if not unit and not diagonal.all():
        raise ZeroDenominator(f"a triangular matrix has a zero on its diagonal ({where(eqn)})")
    inverse = None if unit else field.inverse(diagonal)
    for i in range(matrix.shape[-1]):
        if i:
            done = field.matmul(matrix[..., i : i + 1, :i], x[..., :i, :])[..., 0, :]
            x[..., i, :] = field.sub(x[..., i, :], done)
        if inverse is not None:
            x[..., i, :] = field.mul(x[..., i, :], inverse[..., i, None])
    return [Residue(back(x))]


def lu(m, eqn, a):
    """Elimination. Over a field any non-zero pivot is as good; `m.pivot` says which of them is taken.

    A float program takes the largest one, which no rational function describes. Every program with an elimination is
    therefore evaluated with different choices, and a result that depends on them is never proved (`Run`).
    """
    (a,) = m.residues(eqn, a)
    if a.bad is not None:
        raise ZeroDenominator(f"an undefined value reaches a factorisation ({where(eqn)})")
    m.pivoted = True
    batch, (rows, columns) = a.shape[:-2], a.shape[-2:]
    size = min(rows, columns)
    out = a.r.reshape(-1, rows, columns).copy()
    pivots = np.tile(np.arange(size, dtype=np.int32), (len(out), 1))
    orders = np.tile(np.arange(rows, dtype=np.int32), (len(out), 1))
    for x, pivot, order in zip(out, pivots, orders, strict=True):
        for k in range(size):
            usable = np.flatnonzero(x[k:, k])
            if not len(usable):
                continue
            pivot[k] = k + usable[m.pivot]
            x[[k, pivot[k]]], order[[k, pivot[k]]] = x[[pivot[k], k]], order[[pivot[k], k]]
            x[k + 1 :, k] = m.field.mul(x[k + 1 :, k], m.field.inverse(x[k : k + 1, k]))
            update = m.field.mul(x[k + 1 :, k, None], x[None, k, k + 1 :])
            x[k + 1 :, k + 1 :] = m.field.sub(x[k + 1 :, k + 1 :], update)
    return [Residue(out.reshape(a.shape)), pivots.reshape(*batch, size), orders.reshape(*batch, rows)]


RULES: dict[str, Callable] = {"triangular_solve": triangular_solve, "lu": lu}
