r"""Functions that are rational in exponentials: logistic, tanh, sinh and cosh, by their definitions.

$$ \sigma(x) = \frac{e^x}{1 + e^x}, \quad \tanh x = \frac{e^{2x} - 1}{e^{2x} + 1}, \quad
   \sinh x, \cosh x = \frac{e^x \mp e^{-x}}{2}. \tag{P7} $$

No denominator is zero at any real x, so an identity with these functions has no condition for them. Both arithmetics
have `rules`, and `ratio(eqn, a, b)`: the quotient by what is never zero.
"""

from collections.abc import Callable

import numpy as np


def logistic(m, eqn, x):
    power = _exp(m, eqn, x)
    return [m.ratio(eqn, power, _sum(m, eqn, power, 1.0))]


def tanh(m, eqn, x):
    (twice,) = m.rules["mul"](eqn, x, np.asarray(2.0))
    power = _exp(m, eqn, twice)
    return [m.ratio(eqn, _sum(m, eqn, power, -1.0), _sum(m, eqn, power, 1.0))]


def _half_sum(sign: float) -> Callable:
    """(exp(x) + sign exp(-x)) / 2."""

    def rule(m, eqn, x):
        power = _exp(m, eqn, x)
        (opposite,) = m.rules["mul"](eqn, m.ratio(eqn, np.ones(power.shape), power), np.asarray(sign))
        return m.rules["mul"](eqn, _sum(m, eqn, power, opposite), np.asarray(0.5))

    return rule


def _exp(m, eqn, x):
    return m.rules["exp"](eqn, x)[0]


def _sum(m, eqn, a, b):
    return m.rules["add_any"](eqn, a, np.full(a.shape, b) if isinstance(b, float) else b)[0]


RULES: dict[str, Callable] = {"logistic": logistic, "tanh": tanh, "sinh": _half_sum(-1.0), "cosh": _half_sum(1.0)}
