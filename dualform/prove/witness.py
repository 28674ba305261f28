"""A point of the reals at which programs are defined.

An identity that holds "where x is positive and -x is positive" holds nowhere, and is not proved. So a program with
functions that have a domain is evaluated at random points, in balls, until one is found at which all results of both
programs are numbers: every argument that matters then lies inside its domain, and no denominator is zero, for certain.
"""

from collections.abc import Iterator

import jax
import jax.extend as jex
import numpy as np

from dualform.prove.draw import Leaves, Programs
from dualform.prove.enclosure import Ball, Enclosure, enclose
from dualform.prove.errors import ProofError

FIRST = 12
"""Points that are tried one by one before programs are run at many."""
MANY = 512
KEPT = 32
"""Points of those that are tried in balls."""


def exists(programs: Programs, leaves: Leaves, rng: np.random.Generator) -> bool:
    """Whether a point was found at which both programs are defined."""
    points = (_point(leaves, rng, i) for i in range(FIRST))
    return any(defined(programs, x) for x in points) or any(
        defined(programs, x) for x in _promising(programs, leaves, rng)
    )


def defined(programs: Programs, point: list[np.ndarray]) -> bool:
    """Whether all results of both programs are real numbers at a point, for certain.

    The point is given in balls, not as constants: of a constant zero the logarithm is -inf, as a reset of gates is.
    """
    balls = [Enclosure().lift(x) for x in point]
    try:
        found = [x for program in programs for x in enclose(program, balls, any_pivots=True)]
    except ProofError:
        return False
    return not any(x.bad.any() for x in found if isinstance(x, Ball))


def _point(leaves: Leaves, rng: np.random.Generator, i: int) -> list[np.ndarray]:
    """Points of many sizes and signs: the same kind of numbers for all inputs, or another for each."""
    kinds = [i % len(KINDS)] * len(leaves) if i < 2 * len(KINDS) else rng.integers(len(KINDS), size=len(leaves))
    return [
        np.where(x.mask, -np.inf, np.asarray(KINDS[k](rng, x.shape), np.float64)).astype(x.real).astype(np.float64)
        for x, k in zip(leaves, kinds, strict=True)
    ]


KINDS = (
    lambda rng, shape: rng.uniform(0.1, 0.9, shape),
    lambda rng, shape: rng.standard_normal(shape),
    lambda rng, shape: rng.uniform(1.1, 3.0, shape),
    lambda rng, shape: rng.integers(-3, 4, shape),
    lambda rng, shape: -rng.uniform(0.1, 2.0, shape),
    lambda rng, shape: rng.uniform(-1.0, 1.0, shape) * 2.0**-6,
    lambda rng, shape: rng.integers(1, 5, shape),
    lambda rng, shape: 8.0 * rng.standard_normal(shape),
)


def _promising(programs: Programs, leaves: Leaves, rng: np.random.Generator) -> Iterator[list[np.ndarray]]:
    """Of many points, those at which runs in floats are finite."""
    points = [_point(leaves, rng, i) for i in range(MANY)]
    batch = [np.stack([p[j] for p in points]) for j in range(len(leaves))]
    finite = np.ones(MANY, bool)
    try:
        for program in programs:
            run = jax.jit(jax.vmap(jex.core.jaxpr_as_fun(program.jaxpr), axis_size=MANY))
            arguments = [np.asarray(x).astype(leaf.real) for x, leaf in zip(batch, leaves, strict=True)]
            for out in run(*arguments) if arguments else ():
                values = np.asarray(out).astype(np.float64).reshape(MANY, -1)
                finite &= np.isfinite(values).all(axis=1)
    except Exception:  # not every program can be run at many points at once; what is undecided stays so
        return
    yield from (points[i] for i in np.flatnonzero(finite)[:KEPT])
