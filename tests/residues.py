"""Runs a program modulo a prime, and rational numbers as residues to compare with."""

from fractions import Fraction

import numpy as np

from dualform import _jax
from dualform.prove.exponential import Fresh
from dualform.prove.field import PrimeField
from dualform.prove.interpreter import Interpreter
from dualform.prove.modular import Exponent, Modular, Residue
from dualform.prove.pivots import Odometer
from dualform.prove.primes import safe_prime
from dualform.prove.programs import Program, Signature

P = safe_prime(np.random.default_rng(7))
FIELD, GROUP = PrimeField(P), PrimeField((P - 1) // 2)


def fractions(x) -> np.ndarray:
    """The same numbers as exact rationals, in an object array."""
    x = np.asarray(x)
    return np.array([Fraction(v) for v in x.ravel().tolist()] + [None], object)[:-1].reshape(x.shape)


def residues(x) -> np.ndarray:
    """Rational numbers (floats, Fractions, integers) modulo P."""
    flat = [Fraction(v) for v in np.asarray(x, object).ravel()]
    return np.array([v.numerator * pow(v.denominator, -1, P) % P for v in flat], np.uint64).reshape(np.shape(x))


class Gate:
    """A log-domain argument: its multiples of log 4, -inf where `reset`."""

    def __init__(self, multiples, reset=None):
        self.multiples = np.asarray(multiples)
        self.reset = np.zeros(self.multiples.shape, bool) if reset is None else np.asarray(reset)

    @property
    def shape(self):
        return self.multiples.shape

    @property
    def exps(self) -> np.ndarray:
        """The exponentials, exactly."""
        powers = [Fraction(4) ** int(k) for k in self.multiples.ravel()]
        return np.where(self.reset, Fraction(0), np.array(powers + [None], object)[:-1].reshape(self.shape))


class Chosen(Odometer):
    """Always the first usable row, or always the last."""

    def __init__(self, pivot: int):
        super().__init__()
        self.pivot = pivot

    def choose(self, call: int, count: int) -> int:
        return range(count)[self.pivot]


def run(f, *arguments, pivot: int = 0) -> list[np.ndarray]:
    """The results of f modulo P as residues (masks and indices as they are)."""
    program = Program.trace(f, Signature.of([x.shape for x in arguments]))
    arithmetic = Modular(FIELD, Fresh(GROUP, np.random.default_rng(0)), Chosen(pivot))
    values = [
        Exponent(GROUP.from_int(x.multiples), x.reset) if isinstance(x, Gate) else Residue(residues(x))
        for x in arguments
    ]
    out = Interpreter(arithmetic).run(program.jaxpr, values)
    out = [arithmetic.lift(x) if isinstance(x, np.ndarray) and x.dtype == np.float64 else x for x in out]
    assert all(x.bad is None for x in out if isinstance(x, Residue))
    return [x.r if isinstance(x, Residue) else x for x in out]


def with_parameters(name: str, f, change, *arguments) -> list[np.ndarray]:
    """As `run`, with the parameters of f's outer equations of one name changed."""
    program = Program.trace(f, Signature.of([x.shape for x in arguments]))
    jaxpr, consts = _jax.opened(program.jaxpr)
    eqns = [eqn.replace(params=change(eqn.params)) if eqn.primitive.name == name else eqn for eqn in jaxpr.eqns]
    values = [Residue(residues(x)) for x in arguments]
    arithmetic = Modular(FIELD, Fresh(GROUP, np.random.default_rng(0)))
    out = Interpreter(arithmetic).evaluate(jaxpr.replace(eqns=eqns), consts, values)
    return [x.r if isinstance(x, Residue) else x for x in out]
