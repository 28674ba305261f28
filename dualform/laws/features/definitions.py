"""Both sides of the laws of chapter 6, as they are written, and the library's programs beside them."""

from math import factorial

import jax
import jax.numpy as jnp

from dualform import features, linear
from dualform.laws.law import widened


def averaged(weights, values):
    """Rows of weights [M, n], divided by their sums, times values [n, V]: sums of products, no matrix product."""
    shares = weights / jnp.sum(weights, axis=1, keepdims=True)
    return jnp.sum(shares[:, :, None] * values[None], axis=1)


def scores(keys, q, scale=1.0):
    """[M, n] inner products of queries and keys."""
    return scale * jnp.sum(q[:, None] * keys[None], axis=-1)


@widened
def softmax(values, keys, q, scale=1.0):
    """Softmax attention, with no shift that would need a maximum."""
    return averaged(jnp.exp(scores(keys, q, scale)), values)


@widened
def over_features(values, phi_k, phi_q):
    """(FE1): weights are inner products of features."""
    return averaged(scores(phi_k, phi_q), values)


@widened
def over_earlier(values, phi_k, phi_q):
    """(FE1) where token t reads tokens up to t."""
    rows = [over_features(values[: t + 1], phi_k[: t + 1], phi_q[t : t + 1])[0] for t in range(len(values))]
    return jnp.stack(rows)


def as_weight(values, phi_k, phi_q):
    """(FE1) with the outer products of values and features added to a weight."""
    nothing = jnp.zeros((values.shape[1], phi_k.shape[1]), values.dtype)
    total = linear.linear_attn(jnp.ones((len(values), 1), values.dtype), phi_k, phi_q)
    return linear.primal(nothing, values, phi_k, phi_q / total)


def series(degree):
    """(FE2): the exponential series of q.k, term by term."""
    return widened(lambda q, k: sum(jnp.sum(q * k) ** j / factorial(j) for j in range(degree + 1)))


def by_monomials(degree):
    """(FE2) with no roots: monomials of the query against weighted monomials of the key."""

    @widened
    def product(q, k):
        weights = features.taylor_weights(q.shape[0], degree).astype(q.dtype)
        return jnp.sum(features.monomials(q, degree) * (weights * features.monomials(k, degree)))

    return product


def by_horner(degree):
    return widened(lambda q, k: features.taylor_exp(jnp.sum(q * k), degree))


def inner(feature_map):
    """The inner product of the features of two rows."""
    return widened(lambda q, k: jnp.sum(feature_map(q) * feature_map(k)))


def kernel_of(feature_map):
    """Inner products [M, n] of features."""
    return widened(lambda keys, q, W: scores(feature_map(keys, W), feature_map(q, W)))


def half_squares(keys, q):
    """[M, n] halves of |q|^2 + |k|^2."""
    return (jnp.sum(q * q, axis=1)[:, None] + jnp.sum(keys * keys, axis=1)[None]) / 2


@widened
def positive_kernel(keys, q, W):
    """(FE5) for all pairs [M, n]: a mean over directions."""
    exponents = scores(W, q)[:, None] + scores(W, keys)[None] - half_squares(keys, q)[:, :, None]
    return jnp.sum(jnp.exp(exponents), axis=-1) / len(W)


@widened
def hyperbolic_kernel(keys, q, W):
    """(FE6): each direction with its negative."""
    return (positive_kernel(keys, q, W) + positive_kernel(keys, q, -W)) / 2


@widened
def trigonometric_kernel(keys, q, W):
    """(FE7): a cosine of differences, by its addition theorem."""
    a, b = scores(W, q)[:, None], scores(W, keys)[None]
    waves = jnp.cos(a) * jnp.cos(b) + jnp.sin(a) * jnp.sin(b)
    return jnp.exp(half_squares(keys, q)) * jnp.sum(waves, axis=-1) / len(W)


KERNELS = {"positive": positive_kernel, "hyperbolic": hyperbolic_kernel, "trigonometric": trigonometric_kernel}


def estimated(kind):
    """Attention whose weights are the estimated kernel."""
    return widened(lambda values, keys, q, W: averaged(KERNELS[kind](keys, q, W), values))


def library(kind):
    """The library's stabilised form."""
    return lambda values, keys, q, W: features.random_attn(values, keys, q, W, kind, scale=1.0)


def unshifted(kind):
    return lambda values, keys, q, W, of_keys, of_queries: estimated(kind)(values, keys, q, W)


def shifted(kind):
    """One number subtracted from the exponents of each query, and one from those of all keys."""
    phi = features.MAPS[kind]
    return lambda values, keys, q, W, of_keys, of_queries: features.feature_attn(
        values, phi(keys, W, of_keys), phi(q, W, of_queries)
    )


def one_direction(values, keys, q, other, w):
    """A single positive feature."""
    return features.feature_attn(values, features.positive_features(keys, w), features.positive_features(q, w))


def one_direction_elsewhere(values, keys, q, other, w):
    """The same, asked another question."""
    return one_direction(values, keys, other, q, w)


def difference(p, delta, values):
    """What relative errors of the weights change, (FE4)."""
    return averaged((p * (1 + delta))[None], values) - averaged(p[None], values)


def by_deviations(p, delta, values):
    """(FE4) by deviations from the true output."""
    total = jnp.sum(p)
    y = p @ values / total
    return (((p * delta) @ (values - y[None])) / (total + jnp.sum(p * delta)))[None]


@widened
def ladder(values, keys, q, scale):
    """(FE12) written out: linear attention, and the gaps in turn."""
    s, count = scores(keys, q, scale), len(values)
    mean = jnp.sum(values, axis=0, keepdims=True) / count
    plain = jnp.sum(s[:, :, None] * values[None], axis=1)
    centring = -jnp.sum(s, axis=1, keepdims=True) / count * mean
    return plain, (1 - count) * plain / count, centring, jnp.broadcast_to(mean, plain.shape)


def first_four(values, keys, q, scale):
    return features.softmax_gaps(values, keys, q, scale=scale)[:4]


def all_five(values, keys, q, scale):
    """(FE12): the five terms add up to softmax attention."""
    return sum(features.softmax_gaps(values, keys, q, scale=scale))


@widened
def gaps_of_exponentials(values, keys, q, scale):
    """The gaps of (FE12) and the remainder of (FE11) from exponentials, with no shift."""
    s = scores(keys, q, scale)
    t = s - jnp.mean(s, axis=1, keepdims=True)
    return features.gaps_from_weights(values, s, jnp.exp(t), jnp.exp(t) - 1 - t)


def from_exponentials(values, keys, q, scale):
    return sum(gaps_of_exponentials(values, keys, q, scale))


def ladder_from_exponentials(values, keys, q, scale):
    return gaps_of_exponentials(values, keys, q, scale)[:4]


@widened
def tangent(values, keys, q, scale):
    """Softmax attention to first order in the scores: its value and its derivative at the query 0, by `jax.jvp`."""
    at, slope = jax.jvp(lambda q: softmax(values, keys, q, scale), (jnp.zeros_like(q),), (q,))
    return at + slope


def surrogate(values, keys, q, scale):
    return features.surrogate_attn(values, keys, q, scale=scale)


def surrogate_as_weight(values, keys, q, scale):
    """(FE13) with the update materialised."""
    return linear.primal(*features.surrogate(values, keys, scale=scale), linear.with_bias(q))


def surrogate_as_step(values, keys, q, scale):
    """(FE13) as it is meant: one step of gradient descent on the mean squared error, from the constant mean."""
    before, _, inputs = features.surrogate(values, keys, scale=scale)
    loss = lambda Y: jnp.sum((Y - values) ** 2) / (2 * len(values))  # noqa: E731
    after, _ = linear.sgd_step(before, inputs, loss, scale)
    return linear.with_bias(q) @ after.T


def unsoftened(values, keys, q):
    """What claim C4 is taken to mean: without its softmax, attention is linear attention."""
    return linear.linear_attn(values, keys, q)
