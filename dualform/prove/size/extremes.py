"""Maxima and minima in the arithmetic of degrees: unknown functions, or one of their operands."""

from collections.abc import Callable
from copy import copy

import numpy as np

from dualform.prove import questions
from dualform.prove.errors import unsupported
from dualform.prove.modular.extremes import LOGARITHMS
from dualform.prove.size.logarithm import Logarithm, as_logarithm
from dualform.prove.size.rational import Bound


def pair(d, eqn, a, b):
    bound = questions.extreme(eqn, a, b)
    if bound is not None:
        return [bound]
    (x, one), (y, two) = (_parts(d, eqn, z) for z in (a, b))
    shape = np.broadcast_shapes(x.shape, y.shape)
    x, y = (z.map(lambda part: np.broadcast_to(part, shape)) for z in (x, y))
    reset = one | two if eqn.primitive.name == "min" else one & two
    return [_value(d, d.symbols.plus(x, y), np.broadcast_to(reset, shape))]


def reduced(d, eqn, a):
    axes = tuple(int(i) for i in eqn.params["axes"])
    total, reset = _parts(d, eqn, a)
    for axis in sorted(axes, reverse=True):
        total = d.symbols.along(total, axis)
    low = np.asarray(reset.any(axes) if eqn.primitive.name == "reduce_min" else reset.all(axes))
    return [_value(d, total, low)]


def _parts(d, eqn, a) -> tuple[Bound, np.ndarray]:
    a = d.lift(a) if isinstance(a, np.ndarray) else a
    bound, reset = (a, np.zeros(a.shape, bool)) if isinstance(a, Bound) else (a.bound, a.reset)
    if isinstance(a, Logarithm) and (np.any(a.top) or np.any(a.low)):
        raise unsupported(eqn, d.name, LOGARITHMS)
    bound = d.symbols.constant(np.zeros(a.shape)) if bound is None else bound
    d.ask(bound)
    return bound, reset


def _value(d, total: Bound, reset: np.ndarray):
    """A variable, the only element that counts, or half the sum of two and a variable: no larger than 3/2 of all."""
    d.ask(d.symbols.power(total, 2))  # the difference of two elements, squared
    value = d.symbols.plus(total, d.symbols.variable(total.shape))
    value = d.symbols.times(value, d.symbols.constant(np.asarray(1.5)))
    return as_logarithm(value, reset) if reset.any() else value


def absolute(d, eqn, a):
    if d.signs.positive(a):
        return [copy(a)]
    (a,) = d.bounds(eqn, a)
    squared, value = d.symbols.power(a, 2), d.symbols.variable(a.shape)
    d.ask(squared)
    value.root = squared
    return [value]


RULES: dict[str, Callable] = {
    "abs": absolute,
    **{name: pair for name in ("max", "min")},
    **{name: reduced for name in ("reduce_max", "reduce_min")},
}
