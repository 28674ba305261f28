r"""Linear relations between the arguments of exponentials, found and proved modulo a prime.

Softmax identities rest on $e^{a-b} e^b = e^a$. Let $a_1, \dots, a_n$ be all arguments of exp in both programs, as
rational functions of the inputs. Their values at random points modulo $p$ form a matrix whose column relations are
those of the functions; reduced to echelon form it writes every argument as

$$ a_i = r_{i0} \cdot 1 + \sum_j r_{ij} b_j, \qquad r_{ij} \in \mathbb{Q}, \tag{P2} $$

with a basis $b_j$ among the arguments. Exponents are then drawn for the basis and extended by (P2), so that every
algebraic law of exp holds in the draw. A relation is used only as far as it is proved. It is found with a prime and
points that serve no trial, so a false one is false before the trials draw theirs, and each trial checks it: it survives
one with the probability that (P3) counts. (A relation that holds modulo the first prime alone is none to the others.)
"""

from dataclasses import dataclass
from fractions import Fraction
from math import isqrt, lcm

import numpy as np

from dualform.prove.draw import Leaves, Point, Programs, Run, draw, evaluate
from dualform.prove.exponential import Related
from dualform.prove.field import PrimeField

LIMIT = 600
"""Different arguments beyond which relations are not searched: the search takes that many evaluations."""


@dataclass
class Relations:
    """(P2): which basis elements each argument is made of."""

    rows: list[dict[int, Fraction]]  # argument -> {basis element: coefficient}; element 0 is the constant 1
    basis: list[int]  # index of the argument that each basis element is, from element 1 on

    @property
    def unit(self) -> int:
        """The common denominator of all coefficients."""
        return lcm(*(c.denominator for row in self.rows for c in row.values()), 1)

    @property
    def span(self) -> tuple[float, float]:
        """Largest sum of positive coefficients, and largest single negative one, in units of 1/unit."""
        up = max((sum((c for c in row.values() if c > 0), Fraction(0)) for row in self.rows), default=Fraction(0))
        low = max((-c for row in self.rows for c in row.values()), default=Fraction(0))
        return float(up * self.unit), float(max(low, Fraction(0)) * self.unit)

    @property
    def height(self) -> float:
        """log2 of the coefficients of a relation in whole numbers, added up."""
        total = max((1 + sum(map(abs, row.values()), Fraction(0)) for row in self.rows), default=Fraction(1))
        return float(np.log2(float(total * self.unit)))

    def hold(self, arguments: np.ndarray, ring: PrimeField) -> bool:
        """(P2) at one point."""
        known = [1, *(int(arguments[i]) for i in self.basis)]
        p = ring.modulus
        return all(
            sum(_residue(c, p) * known[j] for j, c in row.items()) % p == int(a)
            for row, a in zip(self.rows, arguments, strict=True)
        )

    def exponents(self, group: PrimeField, rng: np.random.Generator) -> np.ndarray:
        """Random exponents for the basis, extended by (P2)."""
        q = group.modulus
        drawn = [int(x) for x in group.random(rng, (len(self.basis) + 1,))]
        return np.array([sum(_residue(c, q) * drawn[j] for j, c in row.items()) % q for row in self.rows], np.uint64)


def find(programs: Programs, prime: int, leaves: Leaves, rng: np.random.Generator) -> Relations | None:
    """All relations between the arguments of exp in the programs, or None where there are too many to search."""
    ring = PrimeField(prime)
    rows = [_arguments(programs, prime, leaves, rng) for _ in range(3)]
    unique, inverse = np.unique(np.stack(rows), axis=1, return_inverse=True)
    if unique.shape[1] > LIMIT:
        return None
    first = np.array([np.flatnonzero(inverse == j)[0] for j in range(unique.shape[1])], int)
    while True:
        matrix = np.stack([np.append(np.uint64(1), row[first]) for row in rows])
        reduced, pivots = echelon(matrix, ring)
        if len(pivots) <= len(rows) - 3:
            break
        rows += [_arguments(programs, prime, leaves, rng) for _ in range(min(len(rows), unique.shape[1] + 4))]
    if 0 not in pivots:
        return None
    columns: list[dict[int, Fraction]] = []
    for j in range(matrix.shape[1]):
        if j in pivots:
            columns.append({pivots.index(j): Fraction(1)})
            continue
        row = {i: rational(int(reduced[i, j]), prime) for i in range(len(pivots)) if reduced[i, j]}
        if any(c is None for c in row.values()):
            return None
        columns.append({i: c for i, c in row.items() if c is not None})
    return Relations([columns[1 + j] for j in np.ravel(inverse)], [int(first[j - 1]) for j in pivots[1:]])


def related(relations: Relations, programs: Programs, point: Point, arguments: np.ndarray) -> Run | None:
    """The run at a point with exponents that respect the relations; None if these fail there, or exps are nested."""
    if len(arguments) != len(relations.rows) or not relations.hold(arguments, point.field):
        return None
    rng = np.random.default_rng(point.key + 1)
    run = evaluate(programs, point, Related(point.group, rng, relations.exponents(point.group, rng)))
    return run if np.array_equal(np.concatenate(run.fresh.arguments), arguments) else None


def _arguments(programs, prime, leaves, rng) -> np.ndarray:
    return np.concatenate(draw(programs, prime, leaves, rng)[1].fresh.arguments)


def echelon(matrix: np.ndarray, ring: PrimeField) -> tuple[np.ndarray, list[int]]:
    """Reduced row echelon form modulo p, and its pivot columns."""
    a = matrix.copy()
    pivots: list[int] = []
    for j in range(a.shape[1]):
        i = len(pivots)
        rows = np.flatnonzero(a[i:, j])
        if not len(rows):
            continue
        a[[i, i + rows[0]]] = a[[i + rows[0], i]]
        a[i] = ring.mul(a[i], ring.inverse(a[i, j : j + 1]))
        others = np.flatnonzero((a[:, j] != 0) & (np.arange(len(a)) != i))
        a[others] = ring.sub(a[others], ring.mul(a[others, j, None], a[None, i]))
        pivots.append(j)
    return a, pivots


def rational(c: int, p: int) -> Fraction | None:
    """The fraction with numerator and denominator below sqrt(p/2) that is c modulo p (Wang 1981), if there is one."""
    bound = isqrt(p // 2)
    (r0, r1), (t0, t1) = (p, c), (0, 1)
    while r1 > bound:
        quotient = r0 // r1
        (r0, r1), (t0, t1) = (r1, r0 - quotient * r1), (t1, t0 - quotient * t1)
    return Fraction(r1, t1) if t1 and abs(t1) <= bound else None


def _residue(c: Fraction, m: int) -> int:
    return c.numerator * pow(c.denominator, -1, m) % m
