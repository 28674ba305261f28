"""One trial: both programs evaluated at the same random point modulo the same random prime."""

from dataclasses import dataclass, field

import numpy as np

from dualform.prove.errors import ProofError, ZeroDenominator
from dualform.prove.exponential import Fresh
from dualform.prove.field import PrimeField
from dualform.prove.interpreter import Interpreter
from dualform.prove.marks import Pivots
from dualform.prove.modular import Exponent, Modular, Residue
from dualform.prove.pivots import Odometer
from dualform.prove.programs import Input, Program

REDRAWS = 16

Programs = tuple[Program, Program]
Leaves = tuple[Input, ...]


@dataclass
class Point:
    """A modulus and a value for every input."""

    field: PrimeField
    group: PrimeField
    inputs: list
    key: int  # seeds the exponents of field values

    @staticmethod
    def draw(prime: int, leaves: Leaves, rng: np.random.Generator) -> "Point":
        """Uniform residues, and uniform exponents for log-domain inputs."""
        ring, group = PrimeField(prime), PrimeField((prime - 1) // 2)
        inputs: list = []
        for x in leaves:
            if x.domain == "log":
                inputs.append(Exponent(np.where(x.mask, np.uint64(0), group.random(rng, x.shape)), x.mask))
            else:
                inputs.append(Residue(ring.random(rng, x.shape)))
        return Point(ring, group, inputs, int(rng.integers(2**63)))

    @staticmethod
    def at(prime: int, leaves: Leaves, values: list[np.ndarray], rng: np.random.Generator) -> "Point":
        """Given rational values. exp(1) is drawn: no rational function of it vanishes, for it is transcendental."""
        ring, group = PrimeField(prime), PrimeField((prime - 1) // 2)
        one = group.random(rng, ())
        inputs: list = []
        for x, value in zip(leaves, values, strict=True):
            if x.domain == "log":
                finite = group.from_float(np.where(x.mask, 0.0, value))
                inputs.append(Exponent(group.mul(finite, one), x.mask))
            else:
                inputs.append(np.asarray(value, np.float64))
        return Point(ring, group, inputs, int(rng.integers(2**63)))

    def fresh(self) -> Fresh:
        return Fresh(self.group, np.random.default_rng(self.key))


@dataclass
class Run:
    """What the programs computed at a point: the results of both, and of each for all other orders of pivots."""

    results: list[list]
    fresh: Fresh
    gates_used: bool = field(default=False)
    others: tuple[list[list], ...] = ()

    def agree(self) -> bool:
        return not any(np.any(_differs(x, y)) for x, y in zip(*self.results, strict=True)) and self.steady()

    def steady(self) -> bool:
        """Whether no result depends on the choice of pivots."""
        return not any(
            np.any(_differs(x, y))
            for one, others in zip(self.results, self.others, strict=False)
            for again in others
            for x, y in zip(one, again, strict=True)
        )

    def contrast(self) -> list[tuple[int, int]]:
        """(result, flat element) wherever each program agrees with itself but not with the other."""
        found: list[tuple[int, int]] = []
        for i, (f, g) in enumerate(zip(*self.results, strict=True)):
            differs = _differs(f, g)
            for first, others in zip((f, g), self.others, strict=False):
                for again in others:
                    differs = differs & ~_differs(first, again[i])
            found += [(i, int(j)) for j in np.flatnonzero(differs)]
        return found


def evaluate(programs: Programs, point: Point, fresh: Fresh | None = None) -> Run:
    """Both programs at the point, sharing one supply of exponents.

    Raises:
        ZeroDenominator: this point is a zero of something that a program divides by.
        ProofError: a primitive has no exact meaning.
    """
    fresh = point.fresh() if fresh is None else fresh
    found = [_orders(program, point, fresh) for program in programs]
    first, others = [results[0] for results, _ in found], tuple(results[1:] for results, _ in found)
    return Run(first, fresh, any(used for _, used in found), others)


def _orders(program: Program, point: Point, fresh: Fresh) -> tuple[list[list], bool]:
    """A program's results for every order of pivots that reaches them, and whether exp has met a logarithm."""
    pivots, results, gates_used = Odometer(), [], False
    while True:
        pivots.begin()
        arithmetic = Modular(point.field, fresh, pivots)
        out = Interpreter(arithmetic, program.maps).run(program.jaxpr, point.inputs)
        reached = {mark.call for mark in arithmetic.marks.of(*out) if isinstance(mark, Pivots)}
        out = [arithmetic.lift(x) if isinstance(x, np.ndarray) and x.dtype == np.float64 else x for x in out]
        if any(isinstance(x, Residue) and x.bad is not None for x in out):
            raise ZeroDenominator("a result is divided by zero, or infinite")
        results.append(out)
        gates_used |= arithmetic.gates_used
        if not pivots.advance(reached):
            return results, gates_used


def draw(programs: Programs, prime: int, leaves: Leaves, rng: np.random.Generator) -> tuple[Point, Run]:
    """A point where nothing divides by zero, and the run there."""
    for _ in range(REDRAWS):
        point = Point.draw(prime, leaves, rng)
        try:
            return point, evaluate(programs, point)
        except ZeroDenominator as error:
            last = error
    raise ProofError(f"every one of {REDRAWS} random points divides by zero: {last}")


def _differs(a, b) -> np.ndarray:
    """Element by element."""
    if isinstance(a, Residue) and isinstance(b, Residue):
        return a.r != b.r
    if isinstance(a, Residue | Exponent) and isinstance(b, Residue | Exponent):
        (e, s, reset), (f, t, other) = _parts(a), _parts(b)
        return (reset != other) | (((e != f) | (s != t)) & ~reset)
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a != b
    return np.ones(a.shape, bool)


def _parts(x) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Exponent, residue and where it is -inf."""
    zero = np.zeros(x.shape, np.uint64)
    if isinstance(x, Residue):
        return zero, x.r, zero != 0
    return x.e, zero if x.s is None else x.s, x.reset
