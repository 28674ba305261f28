r"""Linear relations between the arguments of exponentials, found and proved modulo a prime.

Softmax identities rest on $e^{a-b} e^b = e^a$. Let $a_1, \dots, a_n$ be all arguments of exp in both programs, and
$\ell_1, \dots, \ell_m$ the values of log. Their values at random points modulo $p$ form a matrix whose column relations
are those of the functions; reduced to echelon form it writes every argument as

$$ a_i = r_{i0} + \sum_j r_{ij} b_j + \sum_j n_{ij} \ell_j, \qquad
   r_{ij} \in \mathbb{Q}, \; n_{ij} \in \mathbb{Z}, \tag{P2} $$

with a basis $b_j$ among the arguments, each before those that are made of it. Exponents are then drawn for the basis
and extended by (P2), and $e^{\ell_j}$ is the argument of that logarithm, so that every algebraic law of exp holds in
the draw. A relation is used only as far as it is proved. It is found with a prime and points that serve no trial, so a
false one is false before the trials draw theirs, and each trial checks it: it survives one with the probability that
(P3) counts. (A relation that holds modulo the first prime alone is none to the others.)

Arguments may depend on other exponentials. Every value of a run is a rational function of the inputs, of one variable
for each element of the basis and of one for each logarithm of `dualform.prove.logarithms` that is no product. A trial
checks (P2) between these functions. In the order of the program it follows that the real arguments have the same
relations once the variables are the real exponentials, since all that a row refers to comes before it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from math import isqrt, lcm

import numpy as np

from dualform.prove import logarithms
from dualform.prove.draw import REDRAWS, Leaves, Point, Programs, Run, draw, evaluate
from dualform.prove.errors import ProofError
from dualform.prove.exponential import Fresh, Powers
from dualform.prove.field import PrimeField
from dualform.prove.logarithms import Product

LIMIT = 600
"""Different arguments beyond which relations are not searched: the search takes that many evaluations."""
DEEPEST = 4
"""How deep exponentials may be inside exponentials whose relations are searched."""
WHOLE = 64
"""Largest coefficient of a logarithm in an exponent."""


@dataclass
class Relations:
    """(P2): what each argument of exp is made of, and each argument of log."""

    rows: list[dict[int, Fraction]]  # argument -> {basis element: coefficient}; element 0 is the constant 1
    basis: list[int]  # index of the argument that each basis element is, from element 1 on
    powers: dict[int, dict[int, int]] = field(default_factory=dict)  # argument -> {logarithm: whole coefficient}
    products: dict[int, Product] = field(default_factory=dict)  # logarithm -> what its argument is made of
    logs: int = 0  # how many logarithms there are

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
    def power(self) -> int:
        """Largest coefficient of a logarithm in an exponent."""
        return max((abs(n) for row in self.powers.values() for n in row.values()), default=0)

    @property
    def height(self) -> float:
        """log2 of the coefficients of a relation in whole numbers, added up."""
        total = max((1 + sum(map(abs, row.values()), Fraction(0)) for row in self.rows), default=Fraction(1))
        logs = max((sum(map(abs, row.values())) for row in self.powers.values()), default=0)
        return float(np.log2(float((total + logs) * self.unit)))

    def hold(self, fresh: Fresh, ring: PrimeField) -> bool:
        """(P2) at the point of a run."""
        arguments, values = (_joined(x) for x in (fresh.arguments, fresh.logarithms))
        known = [1, *(int(arguments[i]) for i in self.basis)]
        p = ring.modulus

        def right(i: int) -> int:
            linear = sum(_residue(c, p) * known[j] for j, c in self.rows[i].items())
            return linear + sum(n * int(values[j]) for j, n in self.powers.get(i, {}).items())

        return all(right(i) % p == int(a) for i, a in enumerate(arguments))

    def exponents(self, group: PrimeField, rng: np.random.Generator) -> np.ndarray:
        """Random exponents for the basis, extended by (P2)."""
        q = group.modulus
        drawn = [int(x) for x in group.random(rng, (len(self.basis) + 1,))]
        return np.array([sum(_residue(c, q) * drawn[j] for j, c in row.items()) % q for row in self.rows], np.uint64)


class Related(Fresh):
    """Exponentials and logarithms that respect relations, in the order in which programs ask for them."""

    def __init__(self, point: Point, relations: Relations):
        rng = np.random.default_rng(point.key + 1)
        super().__init__(point.group, rng)
        self._field, self._relations = point.field, relations
        self._exponents = relations.exponents(point.group, rng)
        self._plain = Powers(point.field)(self._exponents)
        self.powers: list[int] = []  # the exponentials of all arguments

    def exponent(self, residues: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        here = slice(self.count, self.count + residues.size)
        self.arguments.append(np.ravel(residues))
        factors = np.array([self._factor(i) for i in range(here.start, here.stop)], np.uint64)
        self.powers += [int(x) for x in self._field.mul(self._plain[here], factors)]
        return self._exponents[here].reshape(residues.shape), factors.reshape(residues.shape)

    def _factor(self, i: int) -> int:
        """The exponential of the logarithms in an argument."""
        p, out = self._field.modulus, 1
        for j, n in self._relations.powers.get(i, {}).items():
            out = out * logarithms.power(int(_joined(self.antilogs)[j]), n, p) % p
        return out

    def _logarithms(self, residues: np.ndarray) -> np.ndarray:
        values, start = super()._logarithms(residues).ravel(), self.logs
        if not self._relations.products:
            return values.reshape(residues.shape)
        earlier, arguments = [int(x) for x in _joined(self.logarithms)], _joined(self.arguments)
        for i, value in enumerate(values):
            product = self._relations.products.get(start + i)
            earlier.append(
                int(value) if product is None else product.logarithm(earlier, arguments, self._field.modulus)
            )
        return np.array(earlier[start:], np.uint64).reshape(residues.shape)

    def holds(self) -> bool:
        """Whether all relations hold at the point of the run that this was part of."""
        return self._relations.hold(self, self._field) and logarithms.hold(
            self._relations.products, _joined(self.antilogs), self.powers, self._field.modulus
        )


def find(programs: Programs, prime: int, leaves: Leaves, rng: np.random.Generator) -> Relations | None:
    """All relations between the arguments of exp and log in the programs, or None where there are too many to search.

    Arguments inside which exponentials stand may be related only where these respect their own relations, so the search
    is repeated with relations that it found, from the inside out.
    """

    def plain() -> Fresh:
        return draw(programs, prime, leaves, rng)[1].fresh

    found = _linear(plain, PrimeField(prime))
    for _ in range(DEEPEST):
        if found is None:
            return None
        point, run = draw(programs, prime, leaves, rng)
        again = related(found, programs, point, run)
        if again is None or np.array_equal(_joined(again.fresh.arguments), _joined(run.fresh.arguments)):
            break
        deeper = _linear(partial(_respecting, found, programs, prime, leaves, rng), PrimeField(prime))
        if deeper is None or len(deeper.basis) == len(found.basis):
            break
        found = deeper
    if found is not None and found.logs:
        runs = [_respecting(found, programs, prime, leaves, rng) for _ in range(2)]
        seen = [(_joined(fresh.antilogs), np.array(fresh.powers, np.uint64)) for fresh in runs]
        found.products = logarithms.find(seen, runs[0].before, PrimeField(prime))
    return found


def _respecting(found: Relations, programs: Programs, prime: int, leaves: Leaves, rng) -> "Related":
    """A random point at which exponentials respect relations."""
    for _ in range(REDRAWS):
        point, run = draw(programs, prime, leaves, rng)
        again = related(found, programs, point, run)
        if again is not None and isinstance(again.fresh, Related):
            return again.fresh
    raise ProofError("relations between exponentials were found, but do not hold")


def _linear(sample: Callable[[], Fresh], ring: PrimeField) -> Relations | None:
    """(P2) between arguments of exp and values of log, from random points."""

    def seen() -> tuple[np.ndarray, np.ndarray]:
        fresh = sample()
        return _joined(fresh.logarithms), _joined(fresh.arguments)

    rows = [seen() for _ in range(3)]
    (logs, _), (arguments, place) = (_different(np.stack(part)) for part in zip(*rows, strict=True))
    count = len(logs) + len(arguments)
    if count > LIMIT:
        return None
    while True:
        matrix = np.stack([np.concatenate([[np.uint64(1)], log[logs], exp[arguments]]) for log, exp in rows])
        reduced, pivots = echelon(matrix, ring)
        if len(pivots) <= len(rows) - 3:
            break
        rows += [seen() for _ in range(min(len(rows), count + 4))]
    if 0 not in pivots:
        return None
    first = 1 + len(logs)  # column of the first argument
    basis = [j for j in pivots if j >= first]
    element = {0: 0, **{j: 1 + i for i, j in enumerate(basis)}}
    columns: list[tuple[dict[int, Fraction], dict[int, int]]] = []
    for j in range(first, first + len(arguments)):
        parts = {pivots[i]: rational(int(reduced[i, j]), ring.modulus) for i in range(len(pivots)) if reduced[i, j]}
        known = {i: c for i, c in parts.items() if c is not None}
        whole = {int(logs[i - 1]): int(c) for i, c in known.items() if 1 <= i < first}
        if len(known) < len(parts) or any(abs(c) > WHOLE or c != int(c) for i, c in known.items() if 1 <= i < first):
            return None
        columns.append(({element[i]: c for i, c in known.items() if i in element}, whole))
    return Relations(
        [columns[j][0] for j in place],
        [int(arguments[j - first]) for j in basis],
        {i: columns[j][1] for i, j in enumerate(place) if columns[j][1]},
        logs=len(rows[0][0]),
    )


def _different(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of the columns of [points, n], the first of each kind, in their order, and of which kind each column is."""
    if not values.shape[1]:
        return np.zeros(0, int), np.zeros(0, int)
    _, first, kind = np.unique(values, axis=1, return_index=True, return_inverse=True)
    order = np.argsort(first)
    return first[order], np.argsort(order)[np.ravel(kind)]


def related(relations: Relations, programs: Programs, point: Point, run: Run) -> Run | None:
    """The run again with exponentials that respect the relations; None if these fail there."""
    if run.fresh.count != len(relations.rows) or run.fresh.logs != relations.logs:
        return None
    fresh = Related(point, relations)
    again = evaluate(programs, point, fresh)
    return again if fresh.holds() else None


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(0, np.uint64)


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
