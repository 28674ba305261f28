"""Triangular solves and LU factorisations modulo p."""

from collections.abc import Callable

import numpy as np

from dualform.prove.errors import ZeroDenominator, unsupported, where
from dualform.prove.layout import lower_triangular
from dualform.prove.marks import Pivots
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
    """Elimination. Over a field any non-zero pivot is as good; `m.pivots` says which of them is taken.

    A float program takes the largest one, which no rational function describes. What the choices reach is therefore
    evaluated for all of them, and proved only if it is the same (`dualform.prove.pivots`).
    """
    (a,) = m.residues(eqn, a)
    if a.bad is not None:
        raise ZeroDenominator(f"an undefined value reaches a factorisation ({where(eqn)})")
    call = m.pivots.call()
    chosen = False
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
            pivot[k] = k + usable[m.pivots.choose(call, len(usable))]
            chosen |= len(usable) > 1
            x[[k, pivot[k]]], order[[k, pivot[k]]] = x[[pivot[k], k]], order[[pivot[k], k]]
            x[k + 1 :, k] = m.field.mul(x[k + 1 :, k], m.field.inverse(x[k : k + 1, k]))
            update = m.field.mul(x[k + 1 :, k, None], x[None, k, k + 1 :])
            x[k + 1 :, k + 1 :] = m.field.sub(x[k + 1 :, k + 1 :], update)
    results = [Residue(out.reshape(a.shape)), pivots.reshape(*batch, size), orders.reshape(*batch, rows)]
    if chosen:
        m.marks.add(results, frozenset({Pivots(call)}))
    return results


def check_solution(m, eqn, product: Callable, solve: Callable, b: list, x: list) -> None:
    """Raises an error unless x is the one solution of product(x) = b, where solve(b) was taken to be x.

    With random u and c, product(u + solve(c)) = product(u) + c: then the product is affine along all that `solve`
    returns, and takes values in every direction. So it is a linear map, up to a constant, with an inverse, and there is
    no other x for any choice that `solve` rests on. Each is an identity of low degree, tested as all others are.
    """
    right, found = m.residues(eqn, *b), m.residues(eqn, *x)
    u, c = ([Residue(m.field.random(m.fresh.rng, v.shape)) for v in values] for values in (found, right))
    y = m.residues(eqn, *solve(c))
    back = m.residues(eqn, *product(found))
    one = m.residues(eqn, *product([Residue(m.field.add(v.r, w.r)) for v, w in zip(u, y, strict=True)]))
    two = m.residues(eqn, *product(u))
    if any(v.bad is not None for v in (*right, *found, *y, *back, *one, *two)):
        raise ZeroDenominator(f"an undefined value reaches a solve ({where(eqn)})")
    inside = all(np.array_equal(v.r, w.r) for v, w in zip(back, right, strict=True))
    if not inside or any(np.any(v.r != m.field.add(w.r, z.r)) for v, w, z in zip(one, two, c, strict=True)):
        why = "it solves no linear system with one solution, so what it returns may depend on pivots"
        raise unsupported(eqn, m.name, why)


RULES: dict[str, Callable] = {"triangular_solve": triangular_solve, "lu": lu}
