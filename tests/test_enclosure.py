"""Balls contain what they should: exact values of programs, for any point inside the balls of their inputs."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from exact_programs import CASES
from jax import lax
from scipy import special

from dualform.prove import ProofError
from dualform.prove.enclosure import Ball, enclose
from dualform.prove.enclosure.elementwise import DECREASING, INCREASING, SLOPE_ONE
from dualform.prove.programs import Program, Signature


def program(f, *shapes) -> Program:
    return Program.trace(f, Signature.of(shapes))


def contains(ball, value) -> bool:
    """Element by element, in exact numbers."""
    flat = zip(np.ravel(ball.mid), np.ravel(ball.rad), np.ravel(value), strict=True)
    return all(abs(Fraction(m) - Fraction(v)) <= Fraction(r) for m, r, v in flat) and not ball.bad.any()


def in_floats(f, arguments) -> list[np.ndarray]:
    with jax.enable_x64(True):
        return [np.asarray(x) for x in jax.tree.leaves(jax.jit(f)(*arguments))]


@pytest.mark.parametrize("name", CASES)
def test_polynomials_at_and_around_whole_numbers(name):
    """Where float64 rounds nothing: balls of radius zero, and balls with the point somewhere inside."""
    f, shapes, _ = CASES[name]
    rng = np.random.default_rng(0)
    point = [rng.integers(-3, 4, s).astype(float) for s in shapes]
    exact = in_floats(f, point)
    traced = program(f, *shapes)
    for radius in (0.0, 0.125):
        off = [np.asarray(x + radius * rng.choice([-1.0, 0.5, 1.0], x.shape)) for x in point]
        try:
            found = enclose(traced, [Ball(x, np.full(x.shape, radius)) for x in off])
        except ProofError as reason:
            assert "rounding decides" in str(reason)
            continue
        for got, want in zip(found, exact, strict=True):
            assert contains(got, want) if isinstance(got, Ball) else np.array_equal(got, want)


FUNCTIONS = {**INCREASING, **DECREASING, **SLOPE_ONE, "tan": np.tan, "cosh": np.cosh, "lgamma": special.gammaln,
             "digamma": special.digamma}  # fmt: skip
INSIDE = {"acosh": 3.0, "log": 2.0, "log2": 2.0, "sqrt": 2.0, "rsqrt": 2.0, "lgamma": 1.5, "digamma": 1.5}


def primitive(name):
    return getattr(lax, name)


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if hasattr(lax, name)])  # not every JAX has log2
@pytest.mark.parametrize("radius", [0.0, 1e-9, 0.1, 0.4])
def test_functions_of_balls(name, radius):
    """Every value of numpy at points of the ball is inside."""
    center = INSIDE.get(name, 0.25)
    (got,) = enclose(program(primitive(name), ()), [Ball(np.array(center), np.array(radius))])
    points = center + radius * np.linspace(-1, 1, 41)
    values = FUNCTIONS[name](points)
    assert not got.bad
    assert np.all((got.low <= values) & (values <= got.high))
    assert got.rad <= 4 * (np.ptp(values) + 4 * radius) + 1e-8, "the ball says nothing"


OUTSIDE = {
    "log": (0.1, 0.2), "log1p": (-0.9, 0.2), "sqrt": (0.1, 0.2), "rsqrt": (0.1, 0.1), "asin": (0.9, 0.2),
    "acos": (-0.9, 0.2), "acosh": (1.1, 0.2), "atanh": (0.9, 0.1), "erf_inv": (-0.9, 0.1), "tan": (1.5, 0.1),
    "lgamma": (0.1, 0.1), "digamma": (-3.0, 0.1),
}  # fmt: skip


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_ball_that_leaves_a_domain_is_bad(name):
    mid, rad = map(np.array, OUTSIDE[name])
    (got,) = enclose(program(primitive(name), ()), [Ball(mid, rad)])
    assert got.bad


def test_a_ball_around_zero_has_no_reciprocal_and_a_mask_may_drop_it():
    x = Ball(np.array([0.1, 3.0]), np.array([0.2, 0.2]))
    (got,) = enclose(program(lambda x: 1 / x, (2,)), [x])
    assert got.bad.tolist() == [True, False]
    (got,) = enclose(program(lambda x: jnp.where(jnp.array([False, True]), 1 / x, x), (2,)), [x])
    assert not got.bad.any()
    (got,) = enclose(program(lambda x: jnp.sum(1 / x), (2,)), [x])
    assert got.bad


def solved(a, b):
    """By Cramer's rule in fractions, for two unknowns."""
    a, b = [[Fraction(x) for x in row] for row in a], [Fraction(x) for x in b]
    determinant = a[0][0] * a[1][1] - a[0][1] * a[1][0]
    return [(b[0] * a[1][1] - a[0][1] * b[1]) / determinant, (a[0][0] * b[1] - b[0] * a[1][0]) / determinant]


@pytest.mark.parametrize("radius", [0.0, 0.01])
def test_solves(radius):
    rng = np.random.default_rng(1)
    for _ in range(20):
        a, b = rng.normal(size=(2, 2)) + 3 * np.eye(2), rng.normal(size=2)
        balls = [Ball(x + radius * rng.uniform(-0.99, 0.99, x.shape), np.full(x.shape, radius)) for x in (a, b)]
        (got,) = enclose(program(jnp.linalg.solve, (2, 2), (2,)), balls, any_pivots=True)
        assert contains(got, solved(a, b))


def test_pivots_that_balls_do_not_tell_apart():
    f = program(lambda a: lax.linalg.lu(a)[2], (2, 2))
    equal = np.array([[1.0, 2.0], [1.0, 3.0]])
    with pytest.raises(ProofError, match="rounding decides which pivots"):
        enclose(f, [Ball(equal, np.zeros((2, 2)))])
    (got,) = enclose(f, [Ball(np.array([[1.0, 2.0], [2.0, 3.0]]), np.zeros((2, 2)))])
    assert got.tolist() == [1, 0]


COMPARISONS = {"lt": jnp.less, "le": jnp.less_equal, "gt": jnp.greater, "ge": jnp.greater_equal, "eq": jnp.equal}


@pytest.mark.parametrize("name", COMPARISONS)
def test_comparisons_are_decided_or_refused(name):
    f, h = program(COMPARISONS[name], (), ()), getattr(np, COMPARISONS[name].__name__)
    for x, y, radius in [(1.0, 2.0, 0.1), (2.0, 1.0, 0.1), (1.0, 1.0, 0.0)]:
        (got,) = enclose(f, [Ball(np.array(v), np.array(radius)) for v in (x, y)])
        assert bool(got) == bool(h(x, y))
    with pytest.raises(ProofError, match="rounding decides"):
        enclose(f, [Ball(np.array(1.0), np.array(0.3)), Ball(np.array(1.2), np.array(0.3))])


def test_minus_infinity_is_what_exp_takes_to_zero():
    (got,) = enclose(program(lambda g: jnp.exp(jnp.cumsum(g)), (3,)), [np.array([-1.0, -np.inf, 2.0])])
    assert not got.bad.any()
    assert got.mid[1:].tolist() == [0.0, 0.0] and got.rad[1:].tolist() == [0.0, 0.0]
