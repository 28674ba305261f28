r"""Programs evaluated exactly modulo a random safe prime.

A value is either a *residue* in $\mathbb{F}_p$ or an *exponent*: a quantity that only sums of logarithms reach, written
$a = \ell + s$ with $\ell \in \mathbb{Z}_q$ made of log-domain inputs, $s$ a residue, and possibly $-\infty$. Exponents
may be added, scaled by constants and moved; `exp` turns them into residues by (P1). Anything else is an error.

Floats in a program are the dyadic rationals that they are: 0.1 in float32 is 13421773 / 2**27, not one tenth.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from dualform.prove import hyperbolic, questions
from dualform.prove.errors import ZeroDenominator, unsupported, where
from dualform.prove.exponential import Fresh, Powers
from dualform.prove.field import PrimeField
from dualform.prove.marks import Marks
from dualform.prove.modular import contractions, elementwise, extremes, solves
from dualform.prove.modular.values import Exponent as Exponent
from dualform.prove.modular.values import Residue as Residue
from dualform.prove.modular.values import Value, gather_exponents, gather_residues
from dualform.prove.pivots import Odometer
from dualform.prove.signs import Signs

RULES: dict[str, Callable] = {
    **elementwise.RULES, **contractions.RULES, **solves.RULES, **questions.RULES, **extremes.RULES, **hyperbolic.RULES
}  # fmt: skip


class Modular:
    """Arithmetic modulo p = 2q + 1.

    `fresh` supplies the exponents of field values, and `pivots` says which of the rows that an elimination may choose
    it chooses.
    """

    name = "modular"
    folds = True

    def __init__(self, field: PrimeField, fresh: Fresh, pivots: Odometer | None = None):
        self.field, self.group = field, PrimeField((field.modulus - 1) // 2)
        self.fresh, self.powers = fresh, Powers(field)
        self.pivots = Odometer() if pivots is None else pivots
        self.marks, self.signs = Marks(), Signs()
        self.gates_used = False  # has exp met a logarithm?
        self.check_solution = partial(solves.check_solution, self)
        self.rules = {name: partial(rule, self) for name, rule in RULES.items()}

    def lift(self, x: np.ndarray, dtype=None) -> Value:
        """A constant: residues, exponents where it holds -inf, bad residues where it holds other infinities or NaN."""
        if x.dtype.kind in "iub":
            return Residue(self.field.from_int(x))
        known = np.isfinite(x)
        finite = self.field.from_float(np.where(known, x, 0.0))
        if known.all():
            return Residue(finite)
        reset = x == -np.inf
        return (
            Exponent(np.zeros(x.shape, np.uint64), reset, finite) if (known | reset).all() else Residue(finite, ~known)
        )

    def store(self, value):
        return value

    def gather(self, operands, index) -> Value:
        if any(isinstance(x, Exponent) for x in operands):
            return gather_exponents([self.logarithm(None, x) for x in operands], index)
        return gather_residues(operands, index)

    def line(self, eqn) -> str:
        """Marks need no lines here: those of the arithmetic of degrees become conditions."""
        return ""

    def residues(self, eqn, *operands) -> list[Residue]:
        """Operands as residues, or the error for a logarithm where none may be."""
        return [self._residue(eqn, self.lift(x) if isinstance(x, np.ndarray) else x) for x in operands]

    def _residue(self, eqn, x: Value) -> Residue:
        if isinstance(x, Residue):
            return x
        if x.is_field:
            return Residue(np.zeros(x.shape, np.uint64) if x.s is None else x.s)
        why = "a log-domain value or -inf may only be added, scaled by constants or exponentiated"
        raise unsupported(eqn, self.name, why)

    def logarithm(self, eqn, x) -> Exponent:
        """An operand as an exponent."""
        x = self.lift(x) if isinstance(x, np.ndarray) else x
        if isinstance(x, Exponent):
            return x
        if x.bad is not None:
            raise ZeroDenominator(f"an undefined value reaches a sum of logarithms ({where(eqn)})")
        return Exponent(np.zeros(x.shape, np.uint64), np.zeros(x.shape, bool), x.r)

    def ratio(self, eqn, a, b) -> Residue:
        """a / b where b is zero at no real point."""
        return self.rules["div"](eqn, a, b)[0]

    def minus_infinity(self, eqn, x) -> np.ndarray:
        """Where a value is -inf."""
        if isinstance(x, Exponent):
            return x.reset
        if x.bad is not None:
            raise ZeroDenominator(f"an undefined value is compared ({where(eqn)})")
        return np.zeros(x.shape, bool)
