"""Both sides of the laws on the limit of training, (RK4) to (RK9)."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from dualform.regression import lsa, moments, optimum, prediction, prompt, risks

# (RK4) to (RK9): the optimum


def by_gradient(A, X, y, query):
    """x_q . (0 - A grad l(0)) by jax.grad."""
    start = jnp.zeros_like(query)
    gradient = jax.grad(lambda w: jnp.sum((y - X @ w) ** 2) / (2 * len(X)))(start)
    return jnp.sum(query * (start - A @ gradient))


def one_step(A, X, y, query):
    """x_q' A m."""
    return query @ A @ (X.T @ y) / len(X)


def by_layer(A, X, y, query):
    """The layer with A in W_KQ, transposed, and 1 in W_PV."""
    d = len(query)
    W_PV = jnp.zeros((d + 1, d + 1)).at[d, d].set(1.0)
    W_KQ = jnp.zeros((d + 1, d + 1)).at[:d, :d].set(A.T)
    return prediction(lsa(prompt(X, y, query), W_PV, W_KQ, float(len(X))))


def least_squares(X, y, query):
    return query @ jnp.linalg.solve(X.T @ X, X.T @ y)


def trained(root, over_N):
    Lambda = root @ root.T
    return optimum.minimiser(Lambda, jnp.eye(len(root)), jnp.zeros(()), over_N)


def trained_prediction(root, over_N, X, y, query):
    return one_step(trained(root, over_N), X, y, query)


def as_inverse(root, prior_root, noise, over_N):
    """A* as the inverse of a weighted sum of Lambda and the inverse prior."""
    Lambda, prior = root @ root.T, prior_root @ prior_root.T
    weight = over_N * (jnp.trace(Lambda @ prior) + noise**2)
    return jnp.linalg.inv((1 + over_N) * Lambda + weight * jnp.linalg.inv(prior))


def limit(root, prior_root, noise, over_N):
    return optimum.minimiser(root @ root.T, prior_root @ prior_root.T, noise**2, over_N)


def published_limit(root, over_N):
    """Gamma^-1 of theorem 4.1."""
    Lambda = root @ root.T
    return jnp.linalg.inv((1 + over_N) * Lambda + over_N * jnp.trace(Lambda) * jnp.eye(len(root)))


def loss(A, root, prior_root, noise, over_N):
    """L = R/2 over training prompts."""
    Lambda, prior = root @ root.T, prior_root @ prior_root.T
    return risks.of_step(A, Lambda, prior, noise**2, over_N, Lambda) / 2


def gradient(A, root, prior_root, noise, over_N):
    """(RK6)'s gradient, as it is written."""
    Lambda, prior = root @ root.T, prior_root @ prior_root.T
    C = moments.of_mean(Lambda, prior, noise**2, over_N)
    return Lambda @ A @ C - Lambda @ prior @ Lambda


def published_gradient(A, root, over_N):
    Lambda = root @ root.T
    Gamma = (1 + over_N) * Lambda + over_N * jnp.trace(Lambda) * jnp.eye(len(root))
    return Lambda @ A @ Lambda @ Gamma - Lambda @ Lambda


def published_descent(A, root, over_N):
    return jax.grad(loss)(A, root, jnp.eye(len(root)), jnp.zeros(()), over_N)


def gradient_at(minimiser):
    """The gradient of the loss, by autodiff, at what `minimiser` says."""

    def f(root, prior_root, noise, over_N):
        return jax.grad(loss)(minimiser(root, prior_root, noise, over_N), root, prior_root, noise, over_N)

    return f


def nothing(root, *others):
    return jnp.zeros((len(root), len(root)))


def gap(A, root, prior_root, noise, over_N):
    best = limit(root, prior_root, noise, over_N)
    return 2 * loss(A, root, prior_root, noise, over_N) - 2 * loss(best, root, prior_root, noise, over_N)


def quadratic(A, root, prior_root, noise, over_N):
    Lambda, prior = root @ root.T, prior_root @ prior_root.T
    off = A - limit(root, prior_root, noise, over_N)
    return jnp.trace(Lambda @ off @ moments.of_mean(Lambda, prior, noise**2, over_N) @ off.T)


def matched(root, noise, N):
    """A* for tasks N(0, Lambda^-1)."""
    Lambda = root @ root.T
    return optimum.minimiser(Lambda, jnp.linalg.inv(Lambda), noise**2, 1 / N)


def whitened(root, noise, N):
    eta = 1 / (N + len(root) + 1 + noise**2)
    return eta * N * jnp.linalg.inv(root @ root.T)


def atoms(weights):
    """Three weights that sum to one from two."""
    return jnp.concatenate([weights, 1 - jnp.sum(weights, keepdims=True)])


def squared_mean(weights, x, y):
    """E|m|^2 over prompts of two examples drawn from three pairs (x, y)."""
    p, xy = atoms(weights), y[:, None] * x
    m = (xy[:, None] + xy[None]) / 2
    return jnp.einsum("i,j,ij->", p, p, jnp.sum(m**2, axis=-1))


def squared_mean_formula(weights, x, y):
    p = atoms(weights)
    g = p @ (y[:, None] * x)
    square = jnp.sum(p * y**2 * jnp.sum(x**2, axis=1))
    return signal_part(jnp.sum(g**2), square, jnp.asarray(0.5))


def signal_part(signal, square, over_N):
    return (1 - over_N) * signal + over_N * square


def slope_at_best(variance, signal, square, over_N):
    """The derivative of E y_q^2 - 2 p E|g|^2 + p^2 s E|m|^2 at the best step."""
    p = optimum.step(variance, signal, square, over_N)
    return jax.grad(lambda p: -2 * p * signal + p**2 * variance * signal_part(signal, square, over_N))(p)


def zero(*arguments):
    return jnp.zeros(())


def coordinate_step(s, m4, noise, N):
    """s / q for three coordinates."""
    return s / (s**2 * (1 - 1 / N) + (m4 + 2 * s**2 + noise**2 * s) / N)


def coordinate_best(s, m4, noise, N):
    return optimum.step(s, 3 * s**2, 3 * (m4 + 2 * s**2 + noise**2 * s), 1 / N)


def relu_step(d, N):
    return N / (N + 2 * d + 3)


def relu_best(d, N):
    """With g = w / sqrt(2) and E y^2 |x|^2 = d (d + 2)."""
    one = jnp.ones(())
    return optimum.step(one, d / 2, d * (d + 2), 1 / N)


def mixture(low, high, p):
    """All diagonals of two values a coordinate, their probabilities, and the moments [3, d]."""
    chosen = np.array(list(itertools.product((0, 1), repeat=len(low))))
    values = jnp.where(chosen == 0, low[None], high[None])
    weights = jnp.prod(jnp.where(chosen == 0, p[None], 1 - p[None]), axis=1)
    moments = jnp.stack([p * low**k + (1 - p) * high**k for k in (1, 2, 3)])
    return values, weights, moments


def average_over_covariances(A, low, high, p, noise, over_M):
    values, weights, _ = mixture(low, high, p)
    each = jax.vmap(lambda v: risks.of_step(A, jnp.diag(v), jnp.eye(len(v)), noise**2, over_M, jnp.diag(v)))
    return jnp.sum(weights * each(values))


def random_risk(A, low, high, p, noise, over_M):
    return risks.of_random(A, mixture(low, high, p)[2], noise**2, over_M)


def random_gradient(low, high, p, noise, over_N):
    """The gradient of the averaged risk at (RK9)."""
    A = jnp.diag(optimum.random_minimiser(mixture(low, high, p)[2], noise**2, over_N))
    return jax.grad(average_over_covariances)(A, low, high, p, noise, over_N)


def unlimited_random(variance, low, high, p, w):
    """The prediction for the query 1 at N = M = infinity: of one input, on a prompt of that variance."""
    A = optimum.random_minimiser(mixture(low, high, p)[2], jnp.zeros(()), jnp.zeros(()))
    return A[0] * variance * w
