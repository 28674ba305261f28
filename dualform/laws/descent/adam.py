"""Both sides of the laws on Adam and its kind (O10): the literal loop, the library, and settings as in practice."""

import jax.numpy as jnp

from dualform import descent
from dualform.laws.descent.definitions import K, T, V
from dualform.laws.linear.definitions import read


def adam_loop(W0, gradients, eta, b1, b2, eps, weight_decay):
    """Kingma and Ba's algorithm 1 with Loshchilov and Hutter's decay."""
    W, m, v = W0, jnp.zeros_like(W0), jnp.zeros_like(W0)
    p1, p2 = 1.0, 1.0
    for t in range(gradients.shape[0]):
        m, v = b1 * m + (1 - b1) * gradients[t], b2 * v + (1 - b2) * gradients[t] ** 2
        p1, p2 = p1 * b1, p2 * b2
        W = (1 - eta[t] * weight_decay) * W - eta[t] * (m / (1 - p1)) / (jnp.sqrt(v / (1 - p2)) + eps)
    return W


def adam_dual(W0, gradients, eta, b1, b2, eps, weight_decay):
    a, C = descent.hadamard(gradients, eta, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay)
    return a * W0 - jnp.sum(C * gradients, axis=0)


def adam_settings(rng):
    """With betas that bfloat16 can hold: rounded to 1, they would divide by zero."""
    W0, gradients = rng.standard_normal((V, K)), rng.standard_normal((3, V, K))
    return W0, gradients, rng.uniform(0.01, 0.2, 3), 0.875, 0.9921875, 1e-3, 0.01


def rates_loop(W0, gradients, rates, eta, b1, weight_decay):
    """Any optimiser with learning rates of its own for each entry, here given."""
    W, m = W0, jnp.zeros_like(W0)
    for t in range(gradients.shape[0]):
        m = b1 * m + (1 - b1) * gradients[t]
        W = (1 - eta[t] * weight_decay) * W - rates[t] * m
    return W


def rates_run(W0, gradients, rates, eta, b1, weight_decay):
    return descent.run_from_rates(W0, gradients, rates, eta, b1=b1, weight_decay=weight_decay)


def rates_dual(W0, gradients, rates, eta, b1, weight_decay):
    a, C = descent.hadamard_from_rates(rates, eta, b1=b1, weight_decay=weight_decay)
    return a * W0 - jnp.sum(C * gradients, axis=0)


def rates_settings(rng):
    return (
        rng.standard_normal((V, K)), rng.standard_normal((T, V, K)), rng.uniform(0.01, 1, (T, V, K)),
        rng.uniform(0.01, 0.2, T), rng.uniform(0.5, 0.99), rng.uniform(0, 0.02),
    )  # fmt: skip


def patterns_loop(W0, g, X, rates, b1, q):
    """One pattern a step: the layer after the elementwise optimiser, read at q."""
    W = rates_loop(W0, g[:, :, None] * X[:, None, :], rates, jnp.zeros(len(g)), b1, 0.0)
    return read(W, q)


def patterns_read(W0, g, X, rates, b1, q):
    return descent.read_hadamard(*descent.hadamard_from_rates(rates, b1=b1), W0, g, X, q)


def patterns_settings(rng):
    W0, g, X, q = (rng.standard_normal(shape) for shape in ((V, K), (T, V), (T, K), (K,)))
    return W0, g, X, rng.uniform(0.01, 1, (T, V, K)), rng.uniform(0.5, 0.99), q
