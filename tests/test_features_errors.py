"""Chapter 6: mean squared errors against quadrature and exact series, and what random directions must be."""

import math
from fractions import Fraction
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dualform import features
from dualform.features.mse import _deficit
from dualform.prove import rounding_bound

K = 3


# Exact errors ---------------------------------------------------------------------------------------------------------


def quadrature(f, nodes):
    """The mean of f of a standard normal number, by Gauss and Hermite."""
    x, w = np.polynomial.hermite_e.hermegauss(nodes)
    return float(np.sum(w / np.sum(w) * f(x)))


@pytest.mark.parametrize("kind", features.MAPS)
def test_mean_squared_errors_are_the_integrals(kind):
    """For one direction the estimate depends on w through a single normal number: its mean square is an integral."""
    mse = {
        "positive": features.positive_mse,
        "hyperbolic": features.hyperbolic_mse,
        "trigonometric": features.trigonometric_mse,
    }[kind]
    rng = np.random.default_rng(4)
    for _ in range(5):
        q, k = (np.asarray(x, np.float32) for x in 0.5 * rng.standard_normal((2, K)))
        a, b = np.asarray(q, np.float64), np.asarray(k, np.float64)
        plus, minus = np.linalg.norm(a + b), np.linalg.norm(a - b)
        half, truth = (a @ a + b @ b) / 2, np.exp(a @ b)
        estimate = {
            "positive": lambda x, plus=plus, half=half: np.exp(plus * x - half),
            "hyperbolic": lambda x, plus=plus, half=half: np.cosh(plus * x) * np.exp(-half),
            "trigonometric": lambda x, minus=minus, half=half: np.cos(minus * x) * np.exp(half),
        }[kind]
        squared = lambda x, f=estimate, t=truth: (f(x) - t) ** 2  # noqa: E731
        fine, coarse = quadrature(squared, 90), quadrature(squared, 60)
        rounding = 200 * 2.0**-53 * quadrature(lambda x, f=estimate, t=truth: f(x) ** 2 + t**2, 90)
        bound = rounding_bound(partial(mse, draws=3), q, k)[1] + (abs(fine - coarse) + rounding) / 3
        assert bound < 0.01 * fine
        assert abs(float(mse(q, k, 3)) - fine / 3) <= bound
        biases = abs(quadrature(estimate, 90) - truth), abs(quadrature(estimate, 90) - quadrature(estimate, 60))
        assert biases[0] <= biases[1] + rounding


def rising(a, i):
    return math.prod((a + j for j in range(i)), start=Fraction(1))


@pytest.mark.parametrize("entries", [1, 2, 3, 8, 33])
def test_orthogonal_moments_sum_to_the_series(entries):
    """(FE8), coefficient by coefficient: moments of two coordinates of a uniform direction, lengths put in again."""
    half = Fraction(entries, 2)
    for m in range(20):
        by_moments = Fraction(0)
        for i in range(m + 1):
            j = m - i
            gaussian = [Fraction(math.prod(range(1, 2 * a, 2))) for a in (i, j)]  # E g^{2a}
            lengths = [2**a * rising(half, a) for a in (i, j, m)]  # E r^{2a}
            mixed = gaussian[0] * gaussian[1] / lengths[2] * lengths[0] * lengths[1]
            by_moments += mixed / math.factorial(2 * i) / math.factorial(2 * j)
        kummer = rising(Fraction(entries), m) / rising(half, m) / math.factorial(m) / 2**m
        product = math.prod((Fraction(entries + j, entries + 2 * j) for j in range(m)), start=Fraction(1))
        assert by_moments == kummer == product / math.factorial(m)


def test_the_upper_bound_holds_term_by_term():
    """(FE9): what a Poisson number N loses, against its share of the bound."""
    for entries in range(1, 41):
        left = Fraction(1)
        for N in range(1, 60):
            left *= Fraction(entries + N - 1, entries + 2 * (N - 1))
            assert 1 - left >= Fraction(2, entries + 2) * (1 - Fraction(1, 2 ** (N - 1)))


@pytest.mark.parametrize("plus", [0.0, 1e-3, 0.7, 9.0, 120.0])
def test_the_series_in_floating_point(plus):
    """`_deficit` in float64 against the sum in exact arithmetic, lgamma charged 8 units, log 4, exp 6."""
    with jax.enable_x64(True):
        computed = float(_deficit(jnp.asarray(plus), 4))
    s, left, weight, weights = Fraction(plus), Fraction(1), Fraction(1), []
    for N in range(513):
        weights.append((float(weight), 1 - left))
        left *= Fraction(4 + N, 4 + 2 * N)
        weight *= s / (N + 1)
        weight = weight.limit_denominator(10**60) if weight > 10**-40 else weight
    raw = sum(Fraction(w) * lost for w, lost in weights)
    exact = float(raw) * math.exp(-plus)
    exponent = [N * abs(math.log(plus)) if plus else 0.0 for N in range(513)]
    units = [8 * math.lgamma(N + 1) + 5 * exponent[N] + plus + 6 + 513 + 8 for N in range(513)]
    allowed = sum(w * (float(lost) + 2.0**-50) * u for (w, lost), u in zip(weights, units, strict=True))
    assert abs(computed - exact) <= 2.0**-53 * (allowed * math.exp(-plus) + 8 * exact)


def test_errors_without_anything_orthogonal_are_those_of_independent_directions():
    q, k = jnp.asarray([0.5]), jnp.asarray([0.3])  # in one dimension every block is one direction
    for f in (features.orthogonal_mse, features.orthogonal_bound):
        np.testing.assert_allclose(f(q, k, 3), features.positive_mse(q, k, 3), rtol=4 * jnp.finfo(jnp.float32).eps)
        np.testing.assert_array_equal(
            f(jnp.ones(4), jnp.ones(4), 1), features.positive_mse(jnp.ones(4), jnp.ones(4), 1)
        )


def test_errors_broadcast():
    q, k = jnp.ones((3, 1, K)) / 4, jnp.ones((1, 2, K)) / 5
    for f in (*sampling_errors(), features.orthogonal_mse, features.orthogonal_bound):
        assert f(q, k, 4).shape == (3, 2)


def sampling_errors():
    return features.positive_mse, features.hyperbolic_mse, features.trigonometric_mse


# Directions -----------------------------------------------------------------------------------------------------------


def test_the_corner_of_a_raw_factorisation_is_never_positive():
    """The trap: half of all orthogonal matrices have a positive corner, those of LAPACK's QR never."""
    G = jax.random.normal(jax.random.key(0), (2000, 4, 4))
    assert (np.asarray(jnp.linalg.qr(G)[0])[:, 0, 0] <= 0).all()
    positive = np.mean(np.asarray(features.haar(jax.random.key(0), 2000, 4))[:, 0, 0] > 0)
    assert abs(positive - 0.5) <= 5 * 0.5 / 2000**0.5


def test_uniform_matrices_have_uniform_moments():
    """Means of entries and of products of two entries, five standard errors wide."""
    N, d = 20_000, 3
    Q = np.asarray(features.haar(jax.random.key(1), N, d), np.float64)
    gram = np.einsum("nij,nkj->nik", Q, Q)
    assert np.max(np.abs(gram - np.eye(d))) <= 64 * d * 2.0**-24
    flat = Q.reshape(N, -1)
    products = flat[:, :, None] * flat[:, None]
    for samples, expected in ((flat, 0.0), (products, np.eye(d * d) / d)):
        errors = np.std(samples, axis=0) / N**0.5
        assert (np.abs(np.mean(samples, axis=0) - expected) <= 5 * errors).all()
    triple = Q[:, 0, 0] * Q[:, 1, 1] * Q[:, 2, 2]  # not zero: det = 1 or -1 alike, but signs of minors are shared
    assert abs(np.mean(triple)) <= 5 * np.std(triple) / N**0.5


def test_orthogonal_directions_come_in_blocks_and_repeat_with_their_key():
    W = np.asarray(features.orthogonal(jax.random.key(3), 7, 3), np.float64)
    gram = W @ W.T
    sizes = np.sqrt(np.diag(gram))
    cosines = gram / sizes[:, None] / sizes[None]
    blocks = np.arange(7) // 3
    together = blocks[:, None] == blocks[None]
    assert np.max(np.abs(cosines[together] - np.eye(7)[together])) <= 64 * 3 * 2.0**-24
    assert np.min(np.abs(cosines[~together])) > 64 * 3 * 2.0**-24
    np.testing.assert_array_equal(features.orthogonal(jax.random.key(3), 7, 3), W.astype(np.float32))
    assert (np.asarray(features.orthogonal(jax.random.key(4), 7, 3)) != W).all()
    assert features.orthogonal(jax.random.key(0), 0, 3).shape == (0, 3)
