"""The few questions about data whose answer is the same at every point of their domain.

A field value is finite where no denominator is zero, and a logarithm is finite or, where the caller declared so, -inf.
A sum of exponentials is never negative (`dualform.prove.signs`).
So a value equals itself, is above -inf unless it is -inf, and is below +inf; `max(x, -inf)` is x. Library code asks
these to guard against infinities. Any other comparison depends on the data and has no exact meaning. Nor has a question
about what comes from a function with a domain: whether sqrt(x) is NaN depends on x. (The maximum itself is a number
whatever the data, see `dualform.prove.modular.extremes`.)

An arithmetic answers `minus_infinity(eqn, x)`: where the value x is -inf, or an error if x is undefined somewhere.
"""

from collections.abc import Callable

import numpy as np

from dualform.prove.errors import unsupported

MIRRORED = {"gt": "lt", "lt": "gt", "ge": "le", "le": "ge"}
ALL = ("eq", "ne", "gt", "lt", "ge", "le")


def is_finite(arithmetic, eqn, x):
    return [np.asarray(~_low(arithmetic, eqn, x))]  # a mask of one element is an array, too


def _low(arithmetic, eqn, x) -> np.ndarray:
    """Where x is -inf."""
    if arithmetic.marks.partial(x):
        why = "whether the value of a function with a domain is finite, or NaN, depends on the data"
        raise unsupported(eqn, arithmetic.name, why)
    return arithmetic.minus_infinity(eqn, x)


def compare(arithmetic, eqn, a, b):
    """x against itself, against -inf or against +inf."""
    name = eqn.primitive.name
    if a is b:
        return [np.full(_low(arithmetic, eqn, a).shape, name in ("eq", "ge", "le"))]
    if isinstance(a, np.ndarray):
        a, b, name = b, a, MIRRORED.get(name, name)
    if _all(b, -np.inf) and not isinstance(a, np.ndarray):
        low = np.broadcast_to(_low(arithmetic, eqn, a), np.broadcast_shapes(a.shape, b.shape))
        answers = {"eq": low, "le": low, "ne": ~low, "gt": ~low, "ge": low | True, "lt": low & False}
    elif _all(b, np.inf) and not isinstance(a, np.ndarray):
        yes = np.ones(np.broadcast_shapes(_low(arithmetic, eqn, a).shape, b.shape), bool)
        answers = {"eq": ~yes, "ge": ~yes, "gt": ~yes, "ne": yes, "le": yes, "lt": yes}
    elif name in _never_below(arithmetic, a, b):
        _low(arithmetic, eqn, a)  # an undefined value is neither above nor below
        answers = {name: np.full(np.broadcast_shapes(a.shape, b.shape), name in ("ge", "gt", "ne"))}
    else:
        raise unsupported(eqn, arithmetic.name, "a comparison of data, or of constants that rounding decides")
    return [np.asarray(answers[name])]  # also where it has one element


def _never_below(arithmetic, a, b) -> tuple[str, ...]:
    """The comparisons with constants of at most zero that are decided for values that are never negative."""
    if not isinstance(b, np.ndarray) or b.dtype.kind != "f" or not arithmetic.signs.positive(a):
        return ()
    return ALL if np.all(b < 0) else ("ge", "lt") if np.all(b <= 0) else ()


def extreme(eqn, a, b):
    """The other operand of max(x, -inf) and of min(x, inf), or None."""
    bound = -np.inf if eqn.primitive.name == "max" else np.inf
    for x, y in ((a, b), (b, a)):
        if _all(y, bound) and not isinstance(x, np.ndarray):
            return x
    return None


def _all(x, bound: float) -> bool:
    return isinstance(x, np.ndarray) and x.dtype == np.float64 and bool(np.all(x == bound))


RULES: dict[str, Callable] = {
    **{name: compare for name in ALL},
    "is_finite": is_finite,
}
