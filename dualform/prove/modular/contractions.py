"""Sums, products and contractions over axes, modulo p."""

from collections.abc import Callable

import numpy as np

from dualform.prove import concrete, structure
from dualform.prove.errors import unsupported
from dualform.prove.layout import along, matrices
from dualform.prove.modular.elementwise import has_reset, neg
from dualform.prove.modular.values import Exponent, Residue


def dot(m, eqn, a, b):
    for x, c, swap in ((a, b, False), (b, a, True)):
        if isinstance(x, Exponent) and concrete.is_float(c):
            return _log_dot(m, eqn, x, c, swap)
    a, b = m.residues(eqn, a, b)
    left, right, shape = matrices(eqn, a.r, b.r)
    bad = None
    if a.bad is not None or b.bad is not None:
        spoils = (matrices(eqn, a.mask, np.ones(b.shape, bool)), matrices(eqn, np.ones(a.shape, bool), b.mask))
        bad = sum(x.astype(float) @ y for x, y, _ in spoils).reshape(shape) > 0
    return [Residue(m.field.matmul(left, right).reshape(shape), bad)]


def _log_dot(m, eqn, x: Exponent, c: np.ndarray, swap: bool):
    """Logarithms contracted with constants, such as a triangle of ones; -inf times zero is NaN, hence an error."""
    if x.reset.any():
        raise unsupported(eqn, m.name, "-inf meets a zero of the constant matrix, which is NaN in floats")
    if not np.all(np.isfinite(c)):
        raise unsupported(eqn, m.name, "a logarithm scaled by an infinite or undefined constant")

    def contract(ring, values):
        pair = (ring.from_float(c), values) if swap else (values, ring.from_float(c))
        left, right, shape = matrices(eqn, *pair)
        return ring.matmul(left, right).reshape(shape)

    e = contract(m.group, x.e)
    return [Exponent(e, np.zeros(e.shape, bool), None if x.s is None else contract(m.field, x.s))]


def reduce_sum(m, eqn, a):
    axes = tuple(eqn.params["axes"])
    if isinstance(a, Exponent) or has_reset(a):
        a = m.logarithm(eqn, a)
        s = None if a.s is None else m.field.sum(a.s, axes)
        return [Exponent(m.group.sum(a.e, axes), a.reset.any(axis=axes), s)]
    (a,) = m.residues(eqn, a)
    return [Residue(m.field.sum(a.r, axes), None if a.bad is None else a.mask.any(axis=axes))]


def cumsum(m, eqn, a):
    if isinstance(a, Exponent) or has_reset(a):
        a = m.logarithm(eqn, a)
        s = None if a.s is None else along(eqn, m.field.cumsum, a.s)
        return [Exponent(along(eqn, m.group.cumsum, a.e), along(eqn, np.logical_or.accumulate, a.reset), s)]
    return _running(m, eqn, a, m.field.cumsum)


def cumprod(m, eqn, a):
    return _running(m, eqn, a, m.field.cumprod)


def _running(m, eqn, a, fold: Callable):
    """An undefined element spoils all that follow."""
    (a,) = m.residues(eqn, a)
    bad = None if a.bad is None else along(eqn, np.logical_or.accumulate, a.mask)
    return [Residue(along(eqn, fold, a.r), bad)]


def reduce_prod(m, eqn, a):
    (a,) = m.residues(eqn, a)
    axes = tuple(eqn.params["axes"])
    return [Residue(m.field.prod(a.r, axes), None if a.bad is None else a.mask.any(axis=axes))]


def scatter_add(m, eqn, a, indices, updates):
    """Updates added to the elements that the indices name; repeated ones add up."""
    a, updates = m.residues(eqn, a, updates)
    targets, kept, bad = _targets(eqn, a, indices, updates)
    values = updates.r.ravel()[kept]
    return [Residue(m.field.add_at(a.r.ravel(), targets, values).reshape(a.shape), bad)]


def scatter_sub(m, eqn, a, indices, updates):
    return scatter_add(m, eqn, a, indices, *neg(m, eqn, updates))


def scatter_mul(m, eqn, a, indices, updates):
    a, updates = m.residues(eqn, a, updates)
    targets, kept, bad = _targets(eqn, a, indices, updates)
    out = a.r.ravel().copy()
    for target, value in zip(targets, updates.r.ravel()[kept], strict=True):
        out[target] = int(out[target]) * int(value) % m.field.modulus
    return [Residue(out.reshape(a.shape), bad)]


def _targets(eqn, a: Residue, indices, updates: Residue):
    """(the flat elements that updates go to, which updates are not dropped, the elements that end undefined)."""
    targets = structure.scatter_targets(eqn, a.shape, indices, updates.shape).ravel()
    kept = targets >= 0
    bad = a.mask.ravel().copy()
    bad[targets[kept & updates.mask.ravel()]] = True
    return targets[kept], kept, bad.reshape(a.shape)


RULES: dict[str, Callable] = {
    "dot_general": dot, "reduce_sum": reduce_sum, "cumsum": cumsum, "reduce_prod": reduce_prod, "cumprod": cumprod,
    "scatter-add": scatter_add, "scatter-sub": scatter_sub, "scatter-mul": scatter_mul,
}  # fmt: skip
