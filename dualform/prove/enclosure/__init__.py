r"""Programs evaluated at one point of the reals, with a bound on how far off each number can be.

A value is a *ball*: a float64 `mid`, and a radius `rad` within which the exact value of the traced program lies, all
rounding of its own dtype left out as in every proof. So a positive ball is a positive number, two balls that do not
meet are two different numbers, and a comparison of balls that do not meet is decided. Elements that are not defined, or
not known to be, are `bad`; a mask may still drop them.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from dualform.prove.enclosure import contractions, elementwise
from dualform.prove.enclosure.balls import Ball as Ball
from dualform.prove.enclosure.balls import gather
from dualform.prove.errors import ProofError, ZeroDenominator, where
from dualform.prove.interpreter import Interpreter
from dualform.prove.programs import Program

RULES: dict[str, Callable] = {**elementwise.RULES, **contractions.RULES}


class Enclosure:
    """The arithmetic of balls."""

    name = "enclosure"
    folds = True

    def __init__(self):
        self.unsure = False  # has a factorisation chosen a pivot that rounding could have chosen otherwise?
        self.rules = {name: partial(rule, self) for name, rule in RULES.items()}

    def lift(self, x: np.ndarray, dtype=None) -> Ball:
        """A constant, exactly; NaN and +inf are bad, -inf is what exp takes to zero."""
        x = np.asarray(x, np.float64)
        return Ball(np.where(np.isnan(x), 0.0, x), np.zeros(x.shape), np.isnan(x) | (x == np.inf))

    def store(self, value):
        return value

    def gather(self, operands, index) -> Ball:
        return gather(operands, index)

    def balls(self, *operands) -> list[Ball]:
        return [self.lift(x) if isinstance(x, np.ndarray) else x for x in operands]

    def ends(self, eqn, x) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Least and largest value, and where neither is known: an error where `eqn` compares them. Constants may be
        infinite."""
        low, high, bad = (x, x, np.isnan(x)) if isinstance(x, np.ndarray) else (x.low, x.high, x.bad)
        if eqn is not None and bad.any():
            raise ZeroDenominator(f"an undefined value is compared ({where(eqn)})")
        return low, high, bad


def enclose(program: Program, inputs: list, any_pivots: bool = False) -> list[Ball | np.ndarray]:
    """The results of a program at a point: balls for real numbers, arrays for integers and masks.

    Args:
        program, inputs: what, and where, in balls or as constants.
        any_pivots: whether the results are known to be the same for all pivots.

    Raises:
        ProofError: a primitive that has no balls, or a comparison that they do not decide.
    """
    arithmetic = Enclosure()
    with np.errstate(all="ignore"):
        out = Interpreter(arithmetic, program.maps).run(program.jaxpr, inputs)
        if arithmetic.unsure and not any_pivots:
            raise ProofError("rounding decides which pivots a factorisation chooses")
        return [arithmetic.lift(x) if isinstance(x, np.ndarray) and x.dtype == np.float64 else x for x in out]
