"""Maxima and minima modulo p: unknown functions of the set of their operands.

Which element of a row is the largest depends on the data. What is used of a maximum is only that it depends on nothing
but the set of elements, that the maximum of one element is this element, that -inf does not count, and that a minimum
is minus the maximum of the opposites. Softmax and its like need no more: any number may be subtracted from a row. Of
two elements the maximum is (a + b + |a - b|) / 2, which is |a| where b is -a, and |x| is the root of x^2.
"""

from collections.abc import Callable
from copy import copy

import numpy as np

from dualform.prove import questions
from dualform.prove.errors import ZeroDenominator, unsupported, where
from dualform.prove.modular.values import Exponent, Residue, Value

LOGARITHMS = "the largest or smallest of log-domain inputs depends on the data"


def pair(m, eqn, a, b):
    """max or min of two operands."""
    bound = questions.extreme(eqn, a, b)
    if bound is not None:
        return [bound]
    a, b = (m.lift(x) if isinstance(x, np.ndarray) else x for x in (a, b))
    shape = np.broadcast_shapes(a.shape, b.shape)
    parts = [_parts(m, eqn, x) for x in (a, b)]
    values, reset, bad = (np.stack([np.broadcast_to(x, shape) for x in part], -1) for part in zip(*parts, strict=True))
    return [_extreme(m, eqn, values, reset, bad)]


def reduced(m, eqn, a):
    """max or min over axes."""
    a, axes = m.lift(a) if isinstance(a, np.ndarray) else a, tuple(eqn.params["axes"])
    kept = [i for i in range(len(a.shape)) if i not in axes]
    shape = tuple(a.shape[i] for i in kept)
    count = int(np.prod([a.shape[i] for i in axes], dtype=int))
    if not count:
        raise unsupported(eqn, m.name, "the largest or smallest of no elements")
    values, reset, bad = (np.transpose(x, (*kept, *axes)).reshape(*shape, count) for x in _parts(m, eqn, a))
    return [_extreme(m, eqn, values, reset, bad)]


def _parts(m, eqn, x) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Residues, where they are -inf, and where they are undefined."""
    if isinstance(x, Residue):
        return x.r, np.zeros(x.shape, bool), x.mask
    if np.any(np.where(x.reset, np.uint64(0), x.e)):
        raise unsupported(eqn, m.name, LOGARITHMS)
    return (np.zeros(x.shape, np.uint64) if x.s is None else x.s), x.reset, np.zeros(x.shape, bool)


def _extreme(m, eqn, values: np.ndarray, reset: np.ndarray, bad: np.ndarray) -> Value:
    """Over the last axis."""
    smallest = eqn.primitive.name.endswith("min")
    shape, count = values.shape[:-1], values.shape[-1]
    rows, gone = values.reshape(-1, count), reset.reshape(-1, count)
    out = largest(m, m.field.neg(rows) if smallest else rows, gone).reshape(shape)
    out = m.field.neg(out) if smallest else out
    low = np.asarray(reset.any(-1) if smallest else reset.all(-1))
    if not low.any():
        return Residue(out, np.asarray(bad.any(-1)))
    if bad.any():
        raise ZeroDenominator(f"an undefined value is compared with -inf ({where(eqn)})")
    return Exponent(np.zeros(shape, np.uint64), low, out)


def largest(m, rows: np.ndarray, gone: np.ndarray) -> np.ndarray:
    """The maximum of the residues of each row of [m, n] that are not -inf, any number where all are."""
    first = np.where(gone.all(axis=1), np.uint64(0), np.min(np.where(gone, np.uint64(2**64 - 1), rows), axis=1))
    rows = np.sort(np.where(gone, first[:, None], rows), axis=1)  # an element twice is as good as once
    new = np.concatenate([np.ones((len(rows), 1), bool), rows[:, 1:] != rows[:, :-1]], axis=1)
    count, (low, high) = new.sum(axis=1), (rows[:, 0], rows[:, -1])
    out = np.where(count == 1, low, np.uint64(0))
    if (count == 2).any():
        out = np.where(count == 2, _of_two(m, low, high), out)
    if (count > 2).any():
        out = np.where(count > 2, m.fresh.of_set("max", rows, new), out)
    return out


def _of_two(m, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    total = m.field.add(a, b)
    distance, _ = absolute_value(m, np.where(total == 0, a, m.field.sub(a, b)))
    half = m.field.mul(m.field.add(total, distance), m.field.from_float(np.asarray(0.5)))
    return np.where(total == 0, distance, half)


def absolute_value(m, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """|x| as the root of x^2, and x^2."""
    squared = m.field.mul(x, x)
    return np.where(squared == 0, np.uint64(0), m.fresh.opaque("sqrt", squared)), squared


def absolute(m, eqn, a):
    if m.signs.positive(a):
        return [copy(a)]
    (a,) = m.residues(eqn, a)
    root, squared = absolute_value(m, a.r)
    return [Residue(root, a.bad, Residue(squared, a.bad))]


RULES: dict[str, Callable] = {
    "abs": absolute,
    **{name: pair for name in ("max", "min")},
    **{name: reduced for name in ("reduce_max", "reduce_min")},
}
