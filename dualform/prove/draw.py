"""One trial: both programs evaluated at the same random point modulo the same random prime."""

from dataclasses import dataclass, field

import numpy as np

from dualform.prove.errors import ProofError, ZeroDenominator
from dualform.prove.exponential import Fresh
from dualform.prove.field import PrimeField
from dualform.prove.interpreter import Interpreter
from dualform.prove.modular import Exponent, Modular, Residue
from dualform.prove.programs import Input, Program

REDRAWS = 16


@dataclass
class Point:
    """A modulus and a random value for every input."""

    field: PrimeField
    group: PrimeField
    inputs: list
    key: int  # seeds the exponents of field values

    @staticmethod
    def draw(prime: int, leaves: tuple[Input, ...], rng: np.random.Generator) -> "Point":
        ring, group = PrimeField(prime), PrimeField((prime - 1) // 2)
        inputs: list = []
        for x in leaves:
            if x.domain == "log":
                inputs.append(Exponent(np.where(x.mask, np.uint64(0), group.random(rng, x.shape)), x.mask))
            else:
                inputs.append(Residue(ring.random(rng, x.shape)))
        return Point(ring, group, inputs, int(rng.integers(2**63)))

    def fresh(self) -> Fresh:
        return Fresh(self.group, np.random.default_rng(self.key))


@dataclass
class Run:
    """What the programs computed at a point."""

    results: list[list]
    fresh: Fresh
    gates_used: bool = field(default=False)

    def agree(self) -> bool:
        return all(_equal(a, b) for a, b in zip(*self.results, strict=True))


def evaluate(programs: tuple[Program, ...], point: Point, fresh: Fresh | None = None) -> Run:
    """Every program at the point, sharing one supply of exponents.

    Raises:
        ZeroDenominator: this point is a zero of something that a program divides by.
        ProofError: a primitive has no exact meaning.
    """
    fresh = point.fresh() if fresh is None else fresh
    arithmetic = Modular(point.field, fresh)
    results = []
    for program in programs:
        out = Interpreter(arithmetic).run(program.jaxpr, point.inputs)
        out = [arithmetic.lift(x) if isinstance(x, np.ndarray) and x.dtype == np.float64 else x for x in out]
        if any(isinstance(x, Residue) and x.bad is not None for x in out):
            raise ZeroDenominator("a result divides by zero")
        results.append(out)
    return Run(results, fresh, arithmetic.gates_used)


def draw(programs: tuple[Program, ...], prime: int, leaves: tuple[Input, ...], rng: np.random.Generator) -> tuple[Point, Run]:
    """A point where nothing divides by zero, and the run there."""
    for _ in range(REDRAWS):
        point = Point.draw(prime, leaves, rng)
        try:
            return point, evaluate(programs, point)
        except ZeroDenominator as error:
            last = error
    raise ProofError(f"every one of {REDRAWS} random points divides by zero: {last}")


def _equal(a, b) -> bool:
    if isinstance(a, Exponent) != isinstance(b, Exponent):
        return False
    if isinstance(a, Exponent):
        s = [np.zeros(x.shape, np.uint64) if x.s is None else x.s for x in (a, b)]
        finite = ~a.reset
        return bool(np.array_equal(a.reset, b.reset) and (((a.e == b.e) & (s[0] == s[1])) | ~finite).all())
    if isinstance(a, Residue) and isinstance(b, Residue):
        return bool(np.array_equal(a.r, b.r))
    return bool(np.array_equal(a, b))
