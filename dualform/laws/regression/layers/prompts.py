"""Whether prompts come from the laws that their task names (LS15): moments, and independence of all that is drawn.

Every part is first divided by what its law says its standard deviation is, so that all numbers of a prompt should be
uncorrelated with variance 1. Three kinds of product are averaged over prompts: of two numbers of one prompt, of one
number with those of the next prompt, and of numbers at the same place of two streams. The last is what finds a key that
is used twice: the same numbers then come out, but in an array of another shape, at other prompts.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from dualform import regression as r
from dualform.laws.law import Measurement

BATCH, N = 10_000, 3
LIMIT = 6.5
"""In standard errors: of 1,000 normal numbers one is beyond it in one of ten million runs."""

COVARIANCE = np.array([[2.0, 0.5, 0.0], [0.5, 1.0, -0.3], [0.0, -0.3, 0.5]])
PRIOR = np.array([[1.0, 0.4, 0.2], [0.4, 0.5, 0.0], [0.2, 0.0, 2.0]])
SHIFTED = np.diag([0.5, 1.0, 4.0])

LINEAR = r.Task(3, r.Gaussian(jnp.asarray(COVARIANCE)), query=r.Gaussian(jnp.asarray(SHIFTED)),
                prior=jnp.asarray(PRIOR), noise=0.5)  # fmt: skip
UNIFORM = r.Task(3, r.Uniform(0.5))
RANDOM = r.Task(3, r.RandomDiagonal(2.0))
SPARSE = r.Task(3, sparse=1, noise=(0.5, 2.0))


def measured(task, moments, streams):
    """An experiment on a sampler: moments that its law fixes, and the independence of its streams.

    Args:
        task: whose prompts are drawn.
        moments: of prompts, pairs of values `[B, ...]` and what they average to.
        streams: of prompts, two tuples: numbers to multiply within and across prompts, and streams to align, the
            inputs' first.
    """

    def run(rng, prompts) -> Measurement:
        p = prompts(task, jax.random.key(int(rng.integers(2**31))), BATCH, N)
        p = r.Prompts._make(np.asarray(a, np.float64) for a in p)
        scores = [np.asarray([_exact(p)])]
        scores += [deviation(*pair) for pair in (*moments(p), *_independence(*streams(p)))]
        worst = float(np.max(np.concatenate(scores)))
        control = float(np.max(deviation(streams(p)[1][0].reshape(-1, 1) ** 2, 0.0)))
        return Measurement(
            worst, 0.0, LIMIT, control,
            f"largest deviation of {sum(map(len, scores)):,} moments and products of streams from what the task says, "
            f"in standard errors over {BATCH:,} prompts; control: the product of two streams from one key",
            bool(worst <= LIMIT < control),
        )  # fmt: skip

    return run


def deviation(values, expected):
    """Of averages over the first axis, in standard errors; infinite where constants are off by more than rounding."""
    values = np.asarray(values, np.float64).reshape(len(values), -1)
    expected = np.ravel(np.broadcast_to(expected, values.shape[1:]) if np.ndim(expected) < 2 else expected)
    gap, error = np.abs(values.mean(axis=0) - expected), values.std(axis=0) / np.sqrt(len(values))
    same = gap <= 2.0**-22 * np.abs(expected)  # constants, rounded to float32
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.nan_to_num(np.where(same, 0.0, gap / error), nan=np.inf, posinf=np.inf)


def _exact(p) -> float:
    """Zero if targets are w.x_q within float32's rounding of d products and sums, else infinite."""
    bound = p.w.shape[1] * 2.0**-23 * np.sum(np.abs(p.w * p.query), axis=1)
    return 0.0 if (np.abs(p.target - np.sum(p.w * p.query, axis=1)) <= bound).all() else np.inf


def _independence(parts, aligned):
    """Products of numbers that should be uncorrelated, of variance 1 and mean 0, and what they average to."""
    flat = np.concatenate([part.reshape(BATCH, -1) for part in parts], axis=1)
    i, k = np.triu_indices(flat.shape[1])
    yield flat, 0.0
    yield flat[:, i] * flat[:, k], (i == k).astype(float)
    yield flat[:-1:2, :, None] * flat[1::2, None], 0.0
    for one, other in itertools.combinations(aligned, 2):
        size = min(one.size, other.size)
        yield one.ravel()[:size] * other.ravel()[:size], 0.0


def _whole(x, query=None):
    """Inputs as they were drawn, with the query after the examples; zero where another law draws the query."""
    last = np.zeros_like(x[:, :1]) if query is None else query[:, None]
    return np.concatenate([x, last], axis=1)


def _white(rows, covariance):
    """Rows of this covariance, turned into rows of covariance I by the inverse of its symmetric root."""
    values, vectors = np.linalg.eigh(covariance)
    return rows @ (vectors / np.sqrt(values)) @ vectors.T


def _noise(p):
    """What the labels have beside w.x, over the level of the prompt."""
    return (p.y - np.sum(p.x * p.w[:, None], axis=-1)) / p.noise[:, None]


def linear_streams(p):
    parts = _white(p.x, COVARIANCE), _white(p.query, SHIFTED), _white(p.w, PRIOR), _noise(p)
    return parts, (_whole(parts[0]), *parts[1:])


def linear_moments(p):
    yield p.noise == 0.5, 1.0
    yield p.covariance[None], SHIFTED
    yield np.stack([part.reshape(BATCH, -1)[:, 0] ** 4 for part in linear_streams(p)[0]], axis=1), 3.0


def uniform_streams(p):
    x, query = p.x * np.sqrt(12.0), p.query * np.sqrt(12.0)
    return (x, query, p.w), (_whole(x, query), p.w)


def uniform_moments(p):
    """Of U(-1/2, 1/2): variance 1/12, fourth moment 1/80, product of two squares 1/144; nothing outside."""
    yield p.x[:, 0] ** 2, 1 / 12
    yield p.x[:, 0] ** 4, 1 / 80
    yield p.x[:, 0, 0] ** 2 * p.x[:, 0, 1] ** 2, 1 / 144
    yield np.abs(p.x).max(axis=(1, 2)) <= 0.5, 1.0
    yield p.covariance[None], np.eye(3) / 12


def _variances(p):
    return np.diagonal(p.covariance, axis1=1, axis2=2)


def random_streams(p):
    root = np.sqrt(_variances(p))
    x, query, spread = p.x / root[:, None], p.query / root, _variances(p) / 2 - 1
    return (x, query, p.w, spread), (_whole(x, query), p.w, spread)


def random_moments(p):
    """Of 2 Exp(1): mean 2, second moment 8; two tokens of a prompt share their variances."""
    yield _variances(p), 2.0
    yield _variances(p) ** 2, 8.0
    yield p.x[:, 0] ** 2 * p.x[:, 1] ** 2, 8.0
    yield p.x[:, 0, 0] ** 2 * p.x[:, 1, 1] ** 2, 4.0
    yield p.x[:, 0] ** 2 * p.query**2, 8.0


def sparse_streams(p):
    kept = ((p.w != 0) - 1 / 3) / np.sqrt(2 / 9)
    level = (p.noise == 2.0) * 2.0 - 1
    parts = p.x, p.query, p.w * np.sqrt(3.0), _noise(p)
    return (*parts, kept[:, 0], level), (_whole(p.x, p.query), p.w, _noise(p), kept, level)


def sparse_moments(p):
    """One of three entries, each as often as the others; two levels, one as often as the other."""
    kept = p.w != 0
    yield kept.sum(axis=1) == 1, 1.0
    yield kept, 1 / 3
    yield (p.noise == 0.5) | (p.noise == 2.0), 1.0
    yield p.noise == 2.0, 0.5
