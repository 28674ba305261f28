"""Attention as an update: loops in float64 written from the definitions, and what compares programs with them."""

import jax
import numpy as np

from dualform.prove import rounding_bound

V, K, D = 2, 3, 4


def integers(seed, *shapes, largest=3, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return [rng.integers(-largest, largest + 1, shape).astype(dtype) for shape in shapes]


def normal(seed, *shapes, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def within(f, arguments, exact, vacuous=1e-3):
    """The result of a compiled program lies within its own rounding bound of what a loop in float64 says.

    The loop's own rounding is that bound scaled to float64, times ten for its other order.
    """
    arguments = [np.asarray(x) for x in arguments]
    computed, (_, bounds) = jax.jit(f)(*arguments), rounding_bound(f, *arguments)
    for got, true, bound in zip(*(jax.tree.leaves(x) for x in (computed, exact, bounds)), strict=True):
        got, size = np.asarray(got, np.float64), float(np.max(np.abs(true), initial=0.0))
        assert got.shape == np.shape(true)
        assert (np.abs(got - true) <= bound * (1 + 10 * 2.0**-29)).all(), (got, true, bound)
        assert np.max(bound, initial=0.0) <= vacuous * size or size == 0


def head_loop(W_V, W_K, tokens, q):
    """(IC1) index by index."""
    W_V, W_K, tokens, q = (np.asarray(x, np.float64) for x in (W_V, W_K, tokens, q))
    out = np.zeros(len(W_V))
    for x in tokens:
        score = 0.0
        for k in range(len(W_K)):
            for d in range(len(x)):
                score += W_K[k, d] * x[d] * q[k]
        for j in range(len(W_V)):
            for d in range(len(x)):
                out[j] += W_V[j, d] * x[d] * score
    return out


def softmax_loop(values, keys, q, scale, weights=None):
    """(SX1) index by index; a row of scores may be shifted by anything, here by its largest."""
    values, keys, q = (np.asarray(x, np.float64) for x in (values, keys, q))
    scores = [scale * sum(k[i] * q[i] for i in range(len(q))) for k in keys]
    top = max(scores, default=0.0)
    weights = np.ones(len(keys)) if weights is None else weights
    terms = [weights[i] * np.exp(s - top) for i, s in enumerate(scores)]
    return sum(t * v for t, v in zip(terms, values, strict=True)) / sum(terms)


def past_loop(values, eta):
    values = np.asarray(values, np.float64)
    out = np.zeros_like(values)
    for t in range(len(values)):
        for i in range(t):
            out[t] += float(eta) ** (t - i) * values[i]
    return out


def kernel_loop(values, gamma, delta, scale):
    values, gamma, delta = (np.asarray(x, np.float64) for x in (values, gamma, delta))
    kept, out = 1 / (1 + np.exp(-delta)), np.zeros_like(values)
    for t in range(len(values)):
        for i in range(t + 1):
            for c in range(values.shape[1]):
                for n in range(gamma.shape[1]):
                    out[t, c] += scale * gamma[c, n] * kept[c, n] ** (t - i) * values[i, c]
    return out


def heavy_loop(values, keys, queries, mu):
    """Heavy ball, the layer and its velocity entry by entry."""
    values, keys, queries = (np.asarray(x, np.float64) for x in (values, keys, queries))
    S, Z, out = (np.zeros(s) for s in ((values.shape[1], keys.shape[1]),) * 2 + (values.shape,))
    for t in range(len(values)):
        for a in range(S.shape[0]):
            for b in range(S.shape[1]):
                Z[a, b] = mu * Z[a, b] + values[t, a] * keys[t, b]
                S[a, b] += Z[a, b]
        for a in range(S.shape[0]):
            out[t, a] = sum(S[a, b] * queries[t, b] for b in range(S.shape[1]))
    return out


def finetune_loop(W_V, W_K, X, Q, targets, eta):
    """SGD on half the squared error, derivatives by hand, entry by entry."""
    W_V, W_K = np.array(W_V, np.float64), np.array(W_K, np.float64)
    X, Q, targets = (np.asarray(x, np.float64) for x in (X, Q, targets))
    for s in range(len(X)):
        residual = head_loop(W_V, W_K, X[s], Q[s]) - targets[s]
        g_V, g_K = np.zeros_like(W_V), np.zeros_like(W_K)
        for x in X[s]:
            k, v = W_K @ x, W_V @ x
            for d in range(len(x)):
                for j in range(len(W_V)):
                    g_V[j, d] += residual[j] * sum(k * Q[s]) * x[d]
                for j in range(len(W_K)):
                    g_K[j, d] += sum(v * residual) * Q[s][j] * x[d]
        W_V, W_K = W_V - eta * g_V, W_K - eta * g_K
    return W_V, W_K
