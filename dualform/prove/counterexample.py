"""Small inputs on which two programs differ, confirmed.

Modulo a prime two programs differ at a random point, which convinces but teaches nothing. Here the programs, as they
were traced in the caller's dtype, are run on small integers (negative halves for logarithms) until they visibly differ;
then every entry that can be made zero, and every other that can be made one, is. Floats alone prove nothing, so a
difference counts only if

- exact arithmetic confirms it at these very inputs, where even comparisons and maxima have a meaning, or
- the results lie in balls that do not meet (`dualform.prove.enclosure`), or
- it is larger than the rounding bounds of both programs together.

A dtype shows only so many digits. So where the runs agree, the traced programs are evaluated in balls, whose radii are
those of float64, and exactly.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import accumulate
from math import prod

import jax
import jax.extend as jex
import jax.numpy as jnp
import numpy as np

from dualform.prove.certificate import Counterexample
from dualform.prove.draw import Point, Programs, evaluate
from dualform.prove.enclosure import Ball, enclose
from dualform.prove.errors import ProofError, first_line
from dualform.prove.modular import Residue
from dualform.prove.primes import safe_primes
from dualform.prove.programs import Input, Program, Signature
from dualform.prove.relations import rational
from dualform.prove.rounding import rounding_bound

TRIES = 96
FAINT = 8
"""Points with small results that are checked where no others differ."""
FINE = 2.0**-12
"""Of every third point: constants such as the eps of an optimiser matter beside small numbers only."""
EXACT_TRIES = 8
SHRINKS = 600
PRIMES, JUDGES = 3, 5
"""Moduli of an exact comparison, and of an exact result."""
BALL_TRIES = 8

Values = list[np.ndarray]
Pair = tuple[list, list]
"""The results of both programs in balls."""
Place = tuple[int, int]
"""Result and flat element."""


@dataclass(frozen=True)
class Search:
    """Two programs as they were traced, and what they are called with."""

    programs: Programs
    signature: Signature
    seed: int
    stopped: list[str] = field(default_factory=list)
    """Why the programs could not be run in float64, if they could not."""

    @cached_property
    def primes(self) -> tuple[int, ...]:
        """Moduli of the exact runs, other ones than those of the trials."""
        return safe_primes(np.random.default_rng((self.seed, 1)), JUDGES)

    def find(self) -> Counterexample | None:
        """A small counterexample, or None if none was found that can be confirmed."""
        rng = np.random.default_rng(self.seed)
        return self._by_floats(rng) or self._by_balls(rng) or self._exactly(rng)

    def _by_floats(self, rng) -> Counterexample | None:
        # A few hundred small points: compiling takes longer than running.
        compiled = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
        pair = [compiled(jex.core.jaxpr_as_fun(program.jaxpr)) for program in self.programs]
        visible = self._visible()

        def run(leaves: Values) -> list[Values]:
            arguments = [x.astype(leaf.real) for x, leaf in zip(leaves, self.signature.leaves, strict=True)]
            return [[np.asarray(x) for x in h(*arguments)] for h in pair]

        def differ(leaves: Values) -> bool:
            return _gap(run(leaves), visible) is not None

        faint: list[tuple[float, Values, list[Values]]] = []  # points where results differ that are small themselves
        for attempt in range(TRIES):
            leaves = self._small(rng, attempt)
            try:
                if not differ(leaves):
                    results = run(leaves)
                    if (place := _gap(results, visible, 0.0)) is not None:
                        f, g = (float(np.ravel(result[place[0]])[place[1]]) for result in results)
                        faint.append((abs(f - g), leaves, results))
                    continue
                points = _shrink(leaves, self.signature.leaves, differ, SHRINKS), leaves
                runs = [run(point) for point in points]
            except Exception as error:  # a program may call back what raises anything
                self.stopped.append(first_line(error))
                return None
            for point, results in zip(points, runs, strict=True):  # what is smaller may differ by less
                if (found := self._confirmed(point, results, _gap(results, visible))) is not None:
                    return found
        for _, point, results in sorted(faint, key=lambda entry: -entry[0])[:FAINT]:
            if (found := self._confirmed(point, results, _gap(results, visible, 0.0))) is not None:
                return found
        return None

    def _by_balls(self, rng) -> Counterexample | None:
        def apart(leaves: Values) -> list[Place]:
            balls = self._balls(leaves)
            return [] if balls is None else _apart(*balls)

        for attempt in range(BALL_TRIES):
            leaves = self._small(rng, 8 * attempt)
            if apart(leaves):
                leaves = _shrink(leaves, self.signature.leaves, lambda x: bool(apart(x)), SHRINKS // 4)
                balls, place = self._balls(leaves), apart(leaves)[0]
                if balls is not None:
                    return self._example(leaves, *self._ball_values(balls, place), place, self._slack(balls, place))
        return None

    def _small(self, rng, attempt: int) -> Values:
        """Small numbers that the dtypes of the inputs hold."""
        return [_small(x, rng, attempt).astype(x.real).astype(np.float64) for x in self.signature.leaves]

    def _visible(self) -> float:
        """Relative difference of two results from which on they are worth a check, in the dtypes of the programs."""
        dtypes = [v.dtype for program in self.programs for v in program.jaxpr.out_avals]
        units = [float(jnp.finfo(d).eps) for d in dtypes if jnp.issubdtype(d, jnp.floating)]
        return max([2.0**-52, *units]) ** 0.57

    def _balls(self, leaves: Values) -> Pair | None:
        """Both programs at these inputs in balls; None if a primitive has none, or balls do not decide a comparison."""
        try:
            return enclose(self.programs[0], leaves), enclose(self.programs[1], leaves)
        except ProofError:
            return None

    def _confirmed(self, leaves: Values, results: list[Values], place: Place | None) -> Counterexample | None:
        """The counterexample at these inputs, if it is one."""
        if place is None:
            return None
        balls, differ = self._balls(leaves), self._exact_differences(leaves)
        if differ is not None and place not in differ:
            return None
        if balls is not None and place in _apart(*balls):
            slack = 0.0 if differ is not None else self._slack(balls, place)
            return self._example(leaves, *self._ball_values(balls, place), place, slack)
        if differ is not None:
            f, g = (float(np.ravel(result[place[0]])[place[1]]) for result in results)
            return self._example(leaves, f, g, place, 0.0)
        (f, one), (g, two) = (self._rounding(program, leaves, place) for program in self.programs)
        return self._example(leaves, f, g, place, one + two) if abs(f - g) > one + two else None

    def _ball_values(self, balls: Pair, place: Place) -> tuple[float, float]:
        f, g = (float(np.ravel(x.mid if isinstance(x, Ball) else x)[place[1]]) for x in (b[place[0]] for b in balls))
        return f, g

    def _slack(self, balls: Pair, place: Place) -> float:
        """The radii of two results together."""
        return sum(float(np.ravel(x.rad)[place[1]]) for x in (b[place[0]] for b in balls) if isinstance(x, Ball))

    def _exact_differences(self, leaves: Values) -> list[Place] | None:
        """Where the programs differ at these inputs in exact arithmetic; None if that is not known."""
        rng = np.random.default_rng((self.seed, 2))
        found: list[Place] = []
        for prime in self.primes[:PRIMES]:  # one prime may divide the difference
            try:
                run = evaluate(self.programs, Point.at(prime, self.signature.leaves, leaves, rng))
            except ProofError:
                return None
            if run.fresh.count or run.fresh.functions:
                return None
            if found := run.contrast():
                break
        return found

    def _rounding(self, program: Program, leaves: Values, place: Place) -> tuple[float, float]:
        """Value and derived bound of one element, an infinite bound where none can be derived."""
        arguments = [x.astype(leaf.real) for x, leaf in zip(leaves, self.signature.leaves, strict=True)]
        try:
            value, bound = rounding_bound(jex.core.jaxpr_as_fun(program.jaxpr), *arguments)
        except ValueError:
            return 0.0, np.inf
        f, slack = (float(np.ravel(jax.tree.leaves(x)[place[0]])[place[1]]) for x in (value, bound))
        return f, slack

    def _example(self, leaves: Values, f: float, g: float, place: Place, bound: float) -> Counterexample:
        i, j = place
        index = np.unravel_index(j, self.programs[0].shapes[i])
        where = f"result {i}, element {[int(k) for k in index]}"
        return Counterexample(tuple(jax.tree.unflatten(self.signature.tree, leaves)), f, g, where, bound)

    def _exactly(self, rng) -> Counterexample | None:
        """A difference of the traced programs, with both values as exact rationals."""
        for attempt in range(EXACT_TRIES):
            leaves = [
                np.where(x.mask, -np.inf, 0.0) if x.domain == "log" else small
                for x, small in zip(self.signature.leaves, self._small(rng, 16 * attempt), strict=True)
            ]
            if self._exact_differences(leaves):
                leaves = _shrink(
                    leaves, self.signature.leaves, lambda x: bool(self._exact_differences(x)), SHRINKS // 4
                )
                for place in self._exact_differences(leaves) or []:
                    values = self._rational_values(leaves, place)
                    if values is not None and values[0] != values[1]:
                        return self._example(leaves, *values, place, 0.0)
        return None

    def _rational_values(self, leaves: Values, place: Place) -> tuple[float, float] | None:
        """Both results at one place, from their residues modulo several primes; the last prime is the judge."""
        primes = self.primes
        residues: list[list[int]] = []
        for p in primes:
            run = evaluate(self.programs, Point.at(p, self.signature.leaves, leaves, np.random.default_rng(self.seed)))
            if not all(isinstance(out[place[0]], Residue) for out in run.results[:2]):
                return None
            residues.append([int(np.ravel(out[place[0]].r)[place[1]]) for out in run.results[:2]])
        values = []
        for column in zip(*residues, strict=True):
            value = rational(_chinese(column[:-1], primes[:-1]), prod(primes[:-1]))
            if value is None or (value.numerator - column[-1] * value.denominator) % primes[-1]:
                return None
            values.append(float(value))
        return values[0], values[1]


def _chinese(residues: Sequence[int], primes: Sequence[int]) -> int:
    """The number below the primes' product that has these residues."""
    *_, (x, _) = accumulate(
        zip(residues, primes, strict=True),
        lambda known, new: (
            known[0] + known[1] * ((new[0] - known[0]) * pow(known[1], -1, new[1]) % new[1]),
            known[1] * new[1],
        ),
    )
    return x


def _small(x: Input, rng: np.random.Generator, attempt: int) -> np.ndarray:
    size = 1 + attempt // 16
    if x.domain == "log":
        return np.where(x.mask, -np.inf, -0.5 * rng.integers(0, 2 * size + 1, x.shape))
    whole = rng.integers(-size, size + 1, x.shape).astype(np.float64)
    return np.asarray(whole * FINE) if attempt % 3 == 2 else whole


def _apart(a: Sequence, b: Sequence) -> list[Place]:
    """Where results are different for certain."""
    found: list[Place] = []
    for i, (x, y) in enumerate(zip(a, b, strict=True)):
        if isinstance(x, Ball) and isinstance(y, Ball):
            differ = ((x.high < y.low) | (x.low > y.high)) & ~x.bad & ~y.bad
        elif isinstance(x, np.ndarray) and isinstance(y, np.ndarray):
            differ = x != y
        else:
            continue
        found += [(i, int(j)) for j in np.flatnonzero(differ)]
    return found


def _gap(pair: Sequence[Values], visible: float, floor: float = 1.0) -> Place | None:
    """Where the relative difference between finite values is largest, if it is visible anywhere.

    Values below `floor` count as large as that: beside a zero, all that rounding leaves would be visible.
    """
    best, where = visible, None
    for i, (x, y) in enumerate(zip(*pair, strict=True)):
        x, y = np.ravel(x).astype(np.float64), np.ravel(y).astype(np.float64)
        with np.errstate(invalid="ignore"):
            scale = np.maximum(np.maximum(np.abs(x), np.abs(y)), max(floor, 1e-300))
            ratio = np.where(np.isfinite(x) & np.isfinite(y), np.abs(x - y) / scale, 0.0)
        if ratio.size and ratio.max() > best:
            best, where = float(ratio.max()), (i, int(ratio.argmax()))
    return where


def _shrink(leaves: Values, inputs: Sequence[Input], differ: Callable[[Values], bool], left: int) -> Values:
    """Entries replaced by zero where the difference survives, else by one: whole arrays first, then single elements."""

    def attempt(i: int, x: np.ndarray) -> None:
        nonlocal leaves, left
        trial = [*leaves[:i], x, *leaves[i + 1 :]]
        left -= 1
        if differ(trial):
            leaves = trial

    for i, x in enumerate(leaves):
        if not np.any(inputs[i].mask):
            attempt(i, np.zeros_like(x))
    for target in (0.0, 1.0):
        for i, given in enumerate(inputs):
            for j in range(leaves[i].size):
                old = leaves[i].flat[j]
                if old in (0.0, target) or not np.isfinite(old) or (target and given.domain == "log") or left <= 0:
                    continue
                x = leaves[i].copy()
                x.flat[j] = target
                attempt(i, x)
    return leaves
