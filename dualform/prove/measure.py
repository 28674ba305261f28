r"""How large are the rational functions that programs compute: degrees and heights.

`degree` and `degrees` are bounds that hold whatever cancels. `Sizes` turns them into the failure probability (P3) of a
trial, for two programs that were fixed before its prime $p = 2q + 1$ and its point were drawn:

$$ P[\text{different programs agree}] \le \frac{D + Z + C}{|S|} + \frac{H}{59} \cdot \frac{A}{M}. $$

Let $f \ne g$ over the rationals, as functions of the inputs and of independent variables for the exponentials and
unknown functions. Then there is something for each of the following that is not zero, and the trial can agree only if
$p$, $q$ or the point makes one of these vanish. The point does so with probability at most $(D + Z + C) / |S|$
(Schwartz and Zippel). What is not zero has an integer coefficient that is not, and $p$ or $q$ divides it with the
probability (P6), in proportion to its height, the binary logarithm of a bound on its absolute value. $H$ adds up

$$ 2^k (N_f D_g - N_g D_f) \in \mathbb{Z}[x], \qquad \| \cdot \|_1 < 2^{\text{height}} \tag{P4} $$

for one element of the result where $f \ne g$, and

- all denominators, pivots included, of both programs (together $Z$): where they do not vanish, the run modulo $p$
  computes $N / D$ modulo $p$. Where they do, the point is drawn again: $D/|S|$ becomes $D/(|S| - Z) \le (D + Z)/|S|$;
- the differences of all pairs of arguments of exponentials and unknown functions, zero being one of them: one variable
  may stand for two arguments only where they are equal;
- one relation (P2) or (P8) that is false over the rationals, if one is. Relations were found with a prime of their own,
  so they are fixed before the primes of the trials are drawn, each of which checks them again.

*Logarithms* are compared modulo $q$, not $p$. A result that is a sum of gates, $\sum_i c_i g_i$ with rational $c_i$, is
a linear form modulo $q$, hence has degree 1 and the height of $c_i - c_i'$ in whole numbers; (P6) bounds the chance of
$q$ as well. *Inside exponentials* nothing has to be told apart modulo $q$: with $u$ the common denominator of all
coefficients, $\exp(\sum_i c_i g_i)$ is a monomial in the variables $v_i = \exp(g_i / u)$ with whole exponents $u c_i$.
The draw evaluates it at $v_i = 4^{e_i}$ with $e_i$ uniform modulo $q$, exactly and for exponents of any size, since $4$
has the order $q$. Different monomials are different polynomials over $\mathbb{F}_p$; that two of them may have the same
values on all squares, if their exponents are congruent modulo $q$, is what $D / |S|$ counts: then $D \ge q = |S|$.

The trials draw independently, and each fails with probability at most (P3) whatever happened in those before: so all
fail with at most its power. Nothing else enters: not whether the product of the primes exceeds the height, nor how many
primes there are. That product would be no protection from programs written *after* the draw, by someone who knows the
seed, the primes and with them the points: $a x - b$ vanishes at one point for each of three primes, with $a$ and $b$ of
half as many bits as the primes have together. So that nobody knows the draw of a program that is still to be written,
it depends on a fingerprint of both programs beside the seed (`dualform.prove.fingerprint`).

A height above about $2^{39}$ bits says nothing. Then the claim is about the drawn primes alone: without its last term
(P3) bounds the chance that programs agree which differ modulo them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from math import lcm, log2
from typing import Any

import jax
import numpy as np

from dualform.prove.domains import conditions
from dualform.prove.errors import ProofError
from dualform.prove.interpreter import Interpreter
from dualform.prove.marks import Domain, Pivots
from dualform.prove.pivots import Odometer
from dualform.prove.primes import SIZE, chance_of_division
from dualform.prove.programs import Input, Program, Signature
from dualform.prove.relations import Relations
from dualform.prove.size import NOTHING, Bound, Degree, Logarithm
from dualform.prove.size.antilogs import Seen
from dualform.prove.size.rational import ZERO, largest

MARGIN = 1 + 2.0**-20
"""Degrees and heights are sums in float64: their rounding, generously."""


def measure(
    program: Program,
    leaves: Sequence[Input],
    found: Relations | None = None,
    unit: int = 1,
    pivots: Odometer | None = None,
    before: Seen = NOTHING,
) -> tuple[Degree, list]:
    """A program's results in the arithmetic of degrees, in a multiple of `unit` that makes every exponent whole.

    Relations may refer to exponentials and logarithms of a program that was run `before`.
    """
    pivots = Odometer() if pivots is None else pivots
    gates = sum(int(np.prod(x.shape)) for x in leaves if x.domain == "log")
    known: dict[str, Any] = {"gates": gates, "before": before}
    if found is not None:
        known |= {"span": found.span, "basis": len(found.basis) + 1, "power": found.power}
        known |= {"products": bool(found.products)}

    def run(unit: int):
        pivots.begin()
        arithmetic = Degree(unit=unit, pivots=pivots, **known)
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
    program: Program, leaves: Sequence[Input], found: Relations | None = None, unit: int = 1, before: Seen = NOTHING
) -> list[tuple[Degree, list]]:
    """`measure` for every order of pivots that reaches the results."""
    pivots, seen = Odometer(), []
    while True:
        seen.append(measure(program, leaves, found, unit, pivots, before))
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
    denominators: float  # heights of all denominators, added up
    distinct: float  # heights of the differences of all pairs of arguments, added up, and one more
    related: float  # height of a relation (P2)
    conditions: tuple[str, ...] = ()  # where the programs are defined
    witnessed: bool = False  # whether a point where they are is to be shown

    @property
    def modular(self) -> float:
        """Failure probability of one trial as far as functions modulo its prime are concerned."""
        return min(1.0, (self.degree + self.zeros + self.collisions) / self.points * MARGIN)

    @property
    def rate(self) -> float:
        """Failure probability of one trial (P3), its prime included."""
        heights = self.height + self.denominators + self.distinct + self.related
        return min(1.0, self.modular + chance_of_division(heights * MARGIN))


def sizes(programs: tuple[Program, Program], leaves: Sequence[Input], found: Relations | None) -> Sizes:
    """The sizes of the comparison of two programs."""
    orders = _both(programs, leaves, found, 1)
    unit = lcm(*(each.unit for seen in orders for each, _ in seen))
    if any(each.unit != unit for seen in orders for each, _ in seen):
        # exponentials of one fraction of a gate are the variables of both programs
        orders = _both(programs, leaves, found, unit)
    return max((_compared(leaves, found, f, g) for f in orders[0] for g in orders[1]), key=lambda size: size.rate)


def _both(programs: tuple[Program, Program], leaves: Sequence[Input], found: Relations | None, unit: int) -> list:
    """Both programs, one after the other: relations of the second may refer to the first."""
    first = measure_orders(programs[0], leaves, found, unit)
    before = [each.antilogs.seen for each, _ in first]
    return [first, measure_orders(programs[1], leaves, found, unit, max(before, key=lambda seen: seen.degree))]


def _compared(leaves: Sequence[Input], found: Relations | None, f: tuple[Degree, list], g: tuple[Degree, list]):
    """The sizes of the comparison of two programs, each for one order of its pivots."""
    (one, a), (two, b) = f, g
    degree, height = 1.0, 0.0
    for x, y in zip(a, b, strict=True):
        if isinstance(x, Bound | Logarithm) and isinstance(y, Bound | Logarithm):
            degree, height = (max(pair) for pair in zip((degree, height), _difference(one, x, two, y), strict=True))
    asked, argument = one.asked + two.asked, max(one.argument, two.argument)
    high, places, low = (max(pair) for pair in zip(one.argument_heights, two.argument_heights, strict=True))
    basis, logs, exponentials = 0, 0, 0.0
    if found is not None:
        basis, logs = len(found.basis), found.logs
        (total, least), weight = found.span, float(found.power)
        exponentials = 4 * (total + 2 * least * (basis + 1) + 2 * weight * two.antilogs.seen.degree)
    random_exponents = asked or any(x.domain == "log" for x in leaves)
    marks = (*one.marks.of(*a), *two.marks.of(*b))
    domains = {mark for mark in marks if isinstance(mark, Domain)}
    denominators = one.denominators | two.denominators
    return Sizes(
        degree,
        zeros=sum(one.symbols.n) + sum(two.symbols.n),
        # asked (asked + 1) / 2 pairs of arguments and 0, each a fraction of at most twice the degree; a relation, with
        # one term for each element of its basis, 1, each logarithm in it and the argument itself, or three arguments of
        # logarithms and two exponentials
        collisions=argument * (asked * (asked + 1) + basis + logs + 5) + exponentials if asked else 0.0,
        # p > 2**60 and q > 2**59; a hashed 64-bit word, reduced, hits no exponent with more than 17/16 of its share
        points=2.0 ** (SIZE - 2) * 16 / 17 if random_exponents else 2.0 ** (SIZE - 1),
        height=height,
        denominators=sum(one.symbols.h) + sum(two.symbols.h),
        distinct=(asked * (asked + 1) / 2 + 1) * (high + places + low + 1) if asked else 0.0,
        related=0.0 if found is None else 3 * (high + places) + (basis + logs + 3) * low + found.height,
        conditions=conditions(domains, denominators),
        # denominators that are rational functions have other points than zeros; those with unknown functions may not
        witnessed=bool(domains) or bool(denominators and asked),
    )


def _difference(one: Degree, x, two: Degree, y) -> tuple[float, float]:
    """Degree and height of x - y, multiplied out."""
    degree = height = 0.0
    if isinstance(x, Logarithm) or isinstance(y, Logarithm):
        logs = one.logarithm(x), two.logarithm(y)
        coefficient = sum(largest(np.maximum(z.top, z.low)) for z in logs)
        degree, height = 1.0, log2(max(coefficient, 1.0)) + sum(log2(z.denominator) for z in logs)
        x, y = (z.bound for z in logs)
    x = one.symbols.constant(np.zeros(())) if x is None else x
    y = two.symbols.constant(np.zeros(())) if y is None else y
    (nx, dx, hx, cx), (ny, dy, hy, cy) = one.symbols.fraction(x), two.symbols.fraction(y)
    n = np.maximum(nx + dy, ny + dx)
    h = np.logaddexp2(hx + cy, hy + cx) + np.maximum(x.k, y.k)
    return max(degree, largest(n)), max(height, largest(h))


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
