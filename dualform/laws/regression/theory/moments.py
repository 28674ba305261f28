r"""Expectations over prompts as finite sums, so that closed forms can be proved and not only sampled.

A risk is the mean of a polynomial: of degree four in each input, of degree two in the task, in the noise and in the
query. So the normal law may be replaced by any law with the same moments up to that degree, and there are small ones
with rational weights. For each coordinate of an input take

$$ P(z = 0) = \tfrac12, \quad P(z = \pm 1) = \tfrac16, \quad P(z = \pm 2) = \tfrac1{12}:
   \qquad E[z^k] = E_{N(0, 1)}[z^k], \quad k = 0, \ldots, 5,                                             \tag{RK25} $$

and signs for tasks, noise and queries, whose moments are right up to the third. $x = F z$ then has the moments of
$N(0, F F^\top)$ up to the fifth. The mean over all prompts of M examples is a sum of $5^{dM}$ terms times
$2^{d}\, 2^{M}\, 2^{d}$, which exact arithmetic adds up for symbolic F, A, prior, noise and query.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from dualform.regression import lsa, moments, prediction, prompt, risks

VALUES, WEIGHTS = (0.0, 1.0, -1.0, 2.0, -2.0), (6, 2, 2, 1, 1)
"""(RK25), the weights in twelfths: integers, for one twelfth is no float."""


def grid(count):
    """All combinations of `count` values, and their weights times 12^count."""
    z = np.array(list(itertools.product(VALUES, repeat=count))).reshape(-1, count)
    return z, np.array([float(np.prod(w)) for w in itertools.product(WEIGHTS, repeat=count)])


def signs(count):
    """All combinations of `count` signs."""
    return np.array(list(itertools.product((1.0, -1.0), repeat=count))).reshape(-1, count)


def contexts(d, M):
    """All contexts [5^(dM), M, d] of standard inputs, and their weights times 12^(dM)."""
    z, weights = grid(d * M)
    return jnp.asarray(z.reshape(-1, M, d)), jnp.asarray(weights)


def mean(values, weights, count):
    return jnp.tensordot(weights, values, 1) / 12.0**count


def moments_by_points(coefficients):
    """E of a polynomial of degree 5 in one coordinate."""
    z, weights = grid(1)
    powers = jnp.asarray(z[:, 0][:, None] ** np.arange(6))
    return mean(powers @ coefficients, jnp.asarray(weights), 1)


def moments_of_normal(c):
    return c[0] + c[2] + 3 * c[4]


# (RK1) to (RK3): moments of a context


def average_sandwich(M):
    """E[S B S] as a sum over contexts."""

    def f(root, B):
        z, weights = contexts(len(root), M)
        x = z @ root.T
        S = jnp.einsum("bmi,bmj->bij", x, x) / M
        return mean(S @ B @ S, weights, len(root) * M)

    return f


def sandwich(M):
    return lambda root, B: moments.sandwiched(root @ root.T, B, 1 / jnp.asarray(float(M)))


def weighted_points(p, q, count):
    """Contexts' values, with symbolic weights p for ones and q for twos."""
    z = np.array(list(itertools.product(VALUES, repeat=count))).reshape(-1, count)
    of_value = jnp.stack([1 - 2 * p - 2 * q, p, p, q, q])
    chosen = np.array(list(itertools.product(range(5), repeat=count))).reshape(-1, count)
    return jnp.asarray(z), jnp.prod(of_value[chosen], axis=1)


def of_weights(p, q):
    """Variance and fourth moment of a coordinate with those weights: any two numbers."""
    return 2 * (p + 4 * q), 2 * (p + 16 * q)


def average_coordinates(p, q, B):
    """E[S B S] for two inputs with independent coordinates."""
    z, weights = weighted_points(p, q, 4)
    x = z.reshape(-1, 2, 2)
    S = jnp.einsum("bmi,bmj->bij", x, x) / 2
    return jnp.tensordot(weights, S @ B @ S, 1)


def coordinates(p, q, B):
    s, m4 = of_weights(p, q)
    return moments.sandwiched(s * jnp.eye(2), B, jnp.asarray(0.5), m4 - 3 * s**2)


def examples(root, prior_root, noise, M):
    """All contexts x [B, M, d], tasks w [W, d], labels y [B, W, E, M], means m [B, W, E, d], and weights."""
    d = len(root)
    z, weights = contexts(d, M)
    x, w = z @ root.T, jnp.asarray(signs(d)) @ prior_root.T
    y = jnp.einsum("bmi,wi->bwm", x, w)[:, :, None] + noise * jnp.asarray(signs(M))[None, None]
    return x, w, y, jnp.einsum("bwem,bmi->bwei", y, x) / M, weights


def average_of_mean(root, prior_root, noise):
    """(RK3) as a sum, M = 2."""
    _, w, _, m, weights = examples(root, prior_root, noise, 2)
    square = jnp.mean(m[..., :, None] * m[..., None, :], axis=(1, 2))
    cross = jnp.mean(m[..., :, None] * w[None, :, None, None, :], axis=(1, 2))
    return mean(square, weights, 4), mean(cross, weights, 4)


def of_mean(root, prior_root, noise):
    Lambda, prior = root @ root.T, prior_root @ prior_root.T
    return moments.of_mean(Lambda, prior, noise**2, jnp.asarray(0.5)), Lambda @ prior


# (RK10): the risk


def average_risk(M):
    """R as a sum over contexts, tasks, noise and queries."""

    def f(A, root, prior_root, noise, query_root):
        _, w, _, m, weights = examples(root, prior_root, noise, M)
        off = jnp.einsum("ij,bwej->bwei", A, m) - w[None, :, None]
        query = jnp.asarray(signs(len(root))) @ query_root.T
        error = jnp.einsum("bwei,qi->bweq", off, query) ** 2
        return mean(jnp.mean(error, axis=(1, 2, 3)), weights, len(root) * M)

    return f


def layer_risk(U, v, root, prior_root, query_root):
    """The same with M = 2 and no noise, through the layer itself: v in W_PV, U in W_KQ."""
    d = len(root)
    x, w, y, _, weights = examples(root, prior_root, jnp.zeros(()), 2)
    y = y[:, :, 0]
    W_PV = jnp.zeros((d + 1, d + 1)).at[d, d].set(v)
    W_KQ = jnp.zeros((d + 1, d + 1)).at[:d, :d].set(U)
    query = jnp.asarray(signs(d)) @ query_root.T

    def off(x, y, w, query):
        return (prediction(lsa(prompt(x, y, query), W_PV, W_KQ, 2.0)) - jnp.sum(w * query)) ** 2

    by_query = jax.vmap(off, (None, None, None, 0))
    by_task = jax.vmap(by_query, (None, 0, 0, None))
    error = jax.vmap(by_task, (0, 0, None, None))(x, y, w, query)
    return mean(jnp.mean(error, axis=(1, 2)), weights, 2 * d)


def risk_of_layer(U, v, root, prior_root, query_root):
    zero = jnp.zeros(())
    return step_risk(2)(v * U.T, root, prior_root, zero, query_root)


def step_risk(M):
    def f(A, root, prior_root, noise, query_root):
        Lambda, prior, query = (r @ r.T for r in (root, prior_root, query_root))
        return risks.of_step(A, Lambda, prior, noise**2, 1 / jnp.asarray(float(M)), query)

    return f


def average_coordinate_risk(step, p, q, noise):
    """(RK15) as a sum: two coordinates, two examples, standard tasks, queries of the same variance."""
    z, weights = weighted_points(p, q, 4)
    x, w = z.reshape(-1, 2, 2), jnp.asarray(signs(2))
    y = jnp.einsum("bmi,wi->bwm", x, w)[:, :, None] + noise * jnp.asarray(signs(2))[None, None]
    m = jnp.einsum("bwem,bmi->bwei", y, x) / 2
    s, _ = of_weights(p, q)
    error = s * jnp.sum((step * m - w[None, :, None]) ** 2, axis=-1)
    return jnp.tensordot(weights, jnp.mean(error, axis=(1, 2)), 1)


def coordinate_risk(step, p, q, noise):
    s, m4 = of_weights(p, q)
    return risks.of_coordinates(step, 2, s, m4, noise**2, jnp.asarray(0.5))
