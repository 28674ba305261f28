"""Programs evaluated in the arithmetic of degrees: how large the rational functions can be that they compute.

The rules mirror those of `dualform.prove.modular`; the bounds themselves are those of `dualform.prove.size.rational`.
Exponentials are variables; a sum of log-domain inputs is bounded by the coefficients that it can have, and negative
ones are cleared with one monomial, the product of all exponentials.
"""

import os
from collections.abc import Callable
from functools import partial

import numpy as np

from dualform.prove import hyperbolic, questions
from dualform.prove.errors import NOWHERE, unsupported, where
from dualform.prove.marks import Marks
from dualform.prove.pivots import Odometer
from dualform.prove.signs import Signs
from dualform.prove.size import contractions, elementwise, extremes, solves
from dualform.prove.size.antilogs import Antilogs, Seen
from dualform.prove.size.logarithm import Logarithm as Logarithm
from dualform.prove.size.logarithm import as_logarithm, gather_logarithms
from dualform.prove.size.rational import Bound as Bound
from dualform.prove.size.rational import Symbols, largest

RULES: dict[str, Callable] = {
    **elementwise.RULES, **contractions.RULES, **solves.RULES, **questions.RULES, **extremes.RULES, **hyperbolic.RULES
}  # fmt: skip
NOTHING = Seen()


class Degree:
    """The arithmetic of bounds.

    `gates` counts the elements of log-domain inputs; their coefficients in exponents are counted in units of 1/`unit`.
    `span` bounds the coefficients (total, low) of related exponentials of field values, and `basis` counts their
    independent ones. `power` bounds the coefficients of logarithms in their arguments, and `products` says whether
    logarithms are sums; both may refer to what another program asked for `before`.
    """

    name = "degree"
    folds = True

    def __init__(
        self, *, gates: int = 0, unit: int = 1, span: tuple[float, float] = (1.0, 0.0), basis: int = 0,
        power: int = 0, products: bool = False, before: Seen = NOTHING, pivots: Odometer | None = None,
    ):  # fmt: skip
        self.symbols = Symbols()
        self.pivots = Odometer() if pivots is None else pivots
        self.gates, self.unit, self.span = gates, unit, span
        self.size = max(gates + basis, 1)  # exponentials that are variables
        self.denominator = 1  # of the coefficients that logarithms were exponentiated with
        self.asked = 0  # exponentials and unknown functions of field values
        self.argument = 0.0  # largest degree of one of their arguments
        self.argument_heights: tuple[float, ...] = (0.0, 0.0, 0.0)  # largest: of numerators, places, of denominators
        self.antilogs = Antilogs(self.symbols, power, products, before)
        self.marks, self.signs = Marks(), Signs()
        self.reached: set[int] = set()  # factorisations whose pivots reach a result
        self.denominators: dict[str, None] = {}  # lines that divide by what is no constant
        self.within: list = []  # filled by the interpreter
        self._lines: dict[tuple[int, int], tuple] = {}
        self.rules = {name: partial(rule, self) for name, rule in RULES.items()}

    def gate(self, reset: np.ndarray) -> Logarithm:
        """A log-domain input, -inf where `reset`."""
        one = np.ones(reset.shape)
        return Logarithm(one, one, np.zeros(reset.shape), reset)

    def lift(self, x: np.ndarray, dtype=None):
        finite = self.symbols.constant(np.where(np.isfinite(x), x, 0.0))
        if not np.any(x == -np.inf):
            return finite
        return as_logarithm(finite, x == -np.inf)

    def store(self, value):
        return value

    def gather(self, operands, index):
        if any(isinstance(x, Logarithm) for x in operands):
            return gather_logarithms(self.symbols, operands, index)
        return self.symbols.gather(operands, index)

    def bounds(self, eqn, *operands) -> list[Bound]:
        """Operands as bounds of field values, or the error for a logarithm where none may be."""
        values = [self._bound(eqn, self.lift(x) if isinstance(x, np.ndarray) else x) for x in operands]
        return [self.symbols.wide(x) for x in values]

    def _bound(self, eqn, x) -> Bound:
        if isinstance(x, Bound):
            return x
        if x.is_field:
            return self.symbols.constant(np.zeros(x.shape)) if x.bound is None else x.bound
        why = "a log-domain value or -inf may only be added, scaled by constants or exponentiated"
        raise unsupported(eqn, self.name, why)

    def check_solution(self, eqn, product, solve, b: list, x: list) -> None:
        """Counts the identities that are checked modulo p among those that a draw may not hit (Z of P3).

        They are A x = b, and the same for random right-hand sides, which are of degree one and so raise degrees by at
        most three beside denominators that are the same.
        """
        degree = height = 0.0
        for bound in self.bounds(eqn, *product(x), *b):
            above, below, high, low = self.symbols.fraction(bound)
            degree += max(0.0, float(np.max(above + below, initial=0.0)))
            height += max(0.0, float(np.max(high + bound.k + low, initial=0.0)))
        self.symbols.new(2 * (degree + 3), 2 * (height + 4))

    def logarithm(self, x) -> Logarithm:
        x = self.lift(x) if isinstance(x, np.ndarray) else x
        return x if isinstance(x, Logarithm) else as_logarithm(x)

    def ratio(self, eqn, a, b) -> Bound:
        """a / b where b is zero at no real point: no condition."""
        x, y = self.bounds(eqn, a, b)
        return self.symbols.times(x, self.symbols.reciprocal(y))

    def minus_infinity(self, eqn, x) -> np.ndarray:
        return x.reset if isinstance(x, Logarithm) else np.zeros(x.shape, bool)

    def line(self, eqn) -> str:
        """File and line of an equation, in short."""
        key = id(eqn), id(self.within[-1]) if self.within else 0
        if key not in self._lines:
            lines = [line for line in map(where, (eqn, *reversed(self.within))) if line != NOWHERE]
            line = os.path.basename(lines[0].split(" in ")[0]) if lines else NOWHERE
            self._lines[key] = line, eqn, list(self.within)  # kept, so that no other equation takes their identities
        return self._lines[key][0]

    def divides(self, eqn, degrees: np.ndarray, by=None) -> None:
        """Notes a division by what has numerators of these degrees, unless it is constant or never zero."""
        if np.any(degrees > 0) and not (by is not None and self.signs.positive(by)):
            self.denominators[self.line(eqn)] = None

    def ask(self, a: Bound) -> np.ndarray:
        """Counts arguments of exp and of unknown functions that are not constant zero, and bounds their size."""
        varies = a.n > -np.inf
        above, below, high, low = self.symbols.fraction(a)
        self.asked += int(np.sum(varies))
        self.argument = max(self.argument, largest(np.where(varies, above + below, 0.0)))
        heights = (largest(np.where(varies, x, 0.0)) for x in (high, a.k, low))
        self.argument_heights = tuple(max(pair) for pair in zip(self.argument_heights, heights, strict=True))
        return varies
