r"""How large are the rational functions that programs compute: degrees and heights.

`degree` and `degrees` are bounds that hold whatever cancels. `Sizes` turns them into the failure probability (P3) of a
comparison, and into the height of the identity that was tested:

$$ 2^k (N_f D_g - N_g D_f) \in \mathbb{Z}[x], \qquad \| \cdot \|_1 < 2^{\text{height}}. \tag{P4} $$

If it vanishes modulo primes whose product is at least $2^{\text{height}}$, all its coefficients are divisible by that
product and smaller than it, hence zero: the identity holds over the rationals.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from math import lcm

import jax
import numpy as np

from dualform.prove.domains import conditions
from dualform.prove.errors import ProofError
from dualform.prove.interpreter import Interpreter
from dualform.prove.marks import Domain, Pivots
from dualform.prove.pivots import Odometer
from dualform.prove.primes import SAFE_PRIMES, SIZE
from dualform.prove.programs import Input, Program, Signature
from dualform.prove.relations import Relations
from dualform.prove.size import Bound, Degree, Logarithm
from dualform.prove.size.rational import ZERO


def measure(
    program: Program,
    leaves: Sequence[Input],
    found: Relations | None = None,
    unit: int = 1,
    pivots: Odometer | None = None,
) -> tuple[Degree, list]:
    """A program's results in the arithmetic of degrees, in a multiple of `unit` that makes every exponent whole."""
    pivots = Odometer() if pivots is None else pivots
    gates = sum(int(np.prod(x.shape)) for x in leaves if x.domain == "log")
    span, basis = ((1.0, 0.0), 0) if found is None else (found.span, len(found.basis) + 1)

    def run(unit: int):
        pivots.begin()
        arithmetic = Degree(gates=gates, unit=unit, span=span, basis=basis, pivots=pivots)
        values: list = [
            arithmetic.gate(x.mask) if x.domain == "log" else arithmetic.symbols.variable(x.shape) for x in leaves
        ]
        with np.errstate(over="ignore", invalid="ignore"):
            out = Interpreter(arithmetic, program.maps).run(program.jaxpr, values)
        arithmetic.reached = {mark.call for mark in arithmetic.marks.of(*out) if isinstance(mark, Pivots)}
        out = [arithmetic.lift(x) if isinstance(x, np.ndarray) and x.dtype == np.float64 else x for x in out]
        return arithmetic, out

    arithmetic, out = run(unit)
    common = lcm(unit, arithmetic.denominator)
    return (arithmetic, out) if common == unit else run(common)


def measure_orders(
    program: Program, leaves: Sequence[Input], found: Relations | None = None, unit: int = 1
) -> list[tuple[Degree, list]]:
    """`measure` for every order of pivots that reaches the results."""
    pivots, seen = Odometer(), []
    while True:
        seen.append(measure(program, leaves, found, unit, pivots))
        if not pivots.advance(seen[-1][0].reached):
            return seen


@dataclass(frozen=True)
class Sizes:
    """What (P3) and (P4) need to know of a comparison."""

    degree: float  # D: of the identity, over all results
    zeros: float  # Z: of all denominators together
    collisions: float  # C: times |S|, the chance that two different arguments coincide, or a relation is false
    points: float  # |S|
    height: float  # (P4)
    distinct: float  # height of a difference of two arguments of exponentials or unknown functions
    related: float  # height of a relation (P2)
    conditions: tuple[str, ...] = ()  # where the programs are defined
    witnessed: bool = False  # whether a point where they are is to be shown

    @property
    def rate(self) -> float:
        """Failure probability of one trial."""
        chance = (self.degree + self.zeros + self.collisions) / self.points
        return min(1.0, chance) if np.isfinite(chance) else 1.0

    def over_rationals(self, primes: Sequence[int]) -> bool:
        """Whether agreement modulo these primes implies equality over the rationals (P4).

        Relations hold modulo all the primes or are not used; arguments must be told apart modulo each of them.
        """
        bits = sum(np.log2(p) for p in primes) - 1
        return bool(self.height < bits and self.related < bits and self.distinct < SIZE - 2)


def sizes(programs: tuple[Program, Program], leaves: Sequence[Input], found: Relations | None) -> Sizes:
    """The sizes of the comparison of two programs."""
    orders = [measure_orders(p, leaves, found) for p in programs]
    unit = lcm(*(each.unit for seen in orders for each, _ in seen))
    if any(each.unit != unit for seen in orders for each, _ in seen):
        # exponentials of one fraction of a gate are the variables of both programs
        orders = [measure_orders(p, leaves, found, unit) for p in programs]
    return max((_compared(leaves, found, f, g) for f in orders[0] for g in orders[1]), key=lambda size: size.rate)


def _compared(leaves: Sequence[Input], found: Relations | None, f: tuple[Degree, list], g: tuple[Degree, list]):
    """The sizes of the comparison of two programs, each for one order of its pivots."""
    (one, a), (two, b) = f, g
    degree, height = 1.0, 0.0
    for x, y in zip(a, b, strict=True):
        if isinstance(x, Bound | Logarithm) and isinstance(y, Bound | Logarithm):
            degree, height = (max(pair) for pair in zip((degree, height), _difference(one, x, two, y), strict=True))
    asked = one.asked + two.asked
    above, below = (max(pair) for pair in zip(one.argument_heights, two.argument_heights, strict=True))
    random_exponents = asked or any(x.domain == "log" for x in leaves)
    marks = (*one.marks.of(*a), *two.marks.of(*b))
    domains = {mark for mark in marks if isinstance(mark, Domain)}
    denominators = one.denominators | two.denominators
    return Sizes(
        degree,
        zeros=sum(one.symbols.n) + sum(two.symbols.n),
        # pairs of arguments (0 is one of them) differ by a fraction of at most twice the degree, and a relation has at
        # most one term for each argument
        collisions=asked * (asked + 2) * max(one.argument, two.argument),
        # a hashed 64-bit word, reduced, hits no exponent with more than 17/16 of its share
        points=(SAFE_PRIMES[-1] - 1) / 2 * 16 / 17 if random_exponents else SAFE_PRIMES[-1],
        height=height,
        distinct=above + below + 1 if asked and found is None else 0.0,
        related=0.0 if found is None else above + len(found.basis) * below + found.height,
        conditions=conditions(domains, denominators),
        # denominators that are rational functions have other points than zeros; those with unknown functions may not
        witnessed=bool(domains) or bool(denominators and asked),
    )


def _difference(one: Degree, x, two: Degree, y) -> tuple[float, float]:
    """Degree and height of x - y, multiplied out."""
    degree = height = 0.0
    if isinstance(x, Logarithm) or isinstance(y, Logarithm):
        logs = one.logarithm(x), two.logarithm(y)
        coefficients = sum(float(np.max(np.maximum(z.top, z.low), initial=0.0)) for z in logs)
        degree, height = 1.0, float(np.log2(max(coefficients, 1.0) * logs[0].denominator * logs[1].denominator))
        x, y = (z.bound for z in logs)
    x = one.symbols.constant(np.zeros(())) if x is None else x
    y = two.symbols.constant(np.zeros(())) if y is None else y
    (nx, dx, hx, cx), (ny, dy, hy, cy) = one.symbols.fraction(x), two.symbols.fraction(y)
    n = np.maximum(nx + dy, ny + dx)
    h = np.logaddexp2(hx + cy, hy + cx) + np.maximum(x.k, y.k)
    return max(degree, float(np.max(n, initial=0.0))), max(height, float(np.max(h, initial=0.0)))


def degrees(f: Callable, *inputs):
    """Bounds on the total degree, element by element: of the numerator or the denominator, whichever is larger.

    Args:
        f: a function of arrays that JAX can trace.
        *inputs: one per argument, as for `identical`.

    Returns:
        Integer arrays (Python integers where a bound passes 2**63) in the structure of f's result. A constant zero has
        degree 0, and so has a mask or an index. Bounds above 2**53 are rounded to that many bits.

    Raises:
        ProofError: a primitive has no exact meaning.

    Cost: a few array operations for each primitive, times the number of denominators.

    >>> degrees(lambda x, y: x * y / (1 + x), (), ())
    array(2)
    """
    signature = Signature.of(inputs)
    program = Program.trace(f, signature)
    orders = [[_largest(each, x) for x in out] for each, out in measure_orders(program, signature.leaves)]
    return jax.tree.unflatten(program.tree, [reduce(np.maximum, found) for found in zip(*orders, strict=True)])


def degree(f: Callable, *inputs) -> int:
    """The largest of `degrees`.

    >>> degree(lambda x, y: x * y * y, (2,), (2,))
    3
    """
    return max((int(n) for x in jax.tree.leaves(degrees(f, *inputs)) for n in np.ravel(x)), default=0)


def _largest(arithmetic: Degree, x) -> np.ndarray:
    if isinstance(x, Logarithm):
        bound = arithmetic.symbols.constant(np.zeros(x.shape)) if x.bound is None else x.bound
        return np.maximum(_largest(arithmetic, bound), (np.maximum(x.top, x.low) > 0).astype(np.int64))
    if not isinstance(x, Bound):
        return np.zeros(np.shape(x), np.int64)
    above, below, _, _ = arithmetic.symbols.fraction(x)
    n = np.maximum(np.where(above == ZERO, 0.0, above), below)
    if not np.all(np.isfinite(n)):
        raise ProofError("degree: the bound passes the range of floats")
    whole = np.array([int(v) for v in np.ravel(n)], dtype=np.int64 if np.all(n < 2.0**62) else object)
    return whole.reshape(n.shape)
