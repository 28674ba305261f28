"""Both sides of the laws on attention as an update, (IC1) to (IC11): sums token by token, and the library."""

import jax
import jax.numpy as jnp
import numpy as np

from dualform import attention
from dualform._numerics import dot
from dualform.laws.law import Case, Measurement, widened
from dualform.laws.linear.definitions import attended, read
from dualform.linear import linear_attn

V, K, D = 2, 3, 4
"""Widths of a head's values and keys, and of the model."""


def case(name, first, second, inputs, sample=None, **options):
    """A case of two forms, each a (name, program)."""
    return Case(name, dict((first, second)), inputs, sample, **options)


def project(W, X):
    """W x for every token, one token at a time."""
    return jnp.stack([read(W, x) for x in X]) if len(X) else jnp.zeros((0, len(W)))


def summed_head(W_V, W_K, tokens, q):
    """(IC1) token by token."""
    return attended(project(W_V, tokens), project(W_K, tokens), q)


def in_context(W_V, W_K, X, X_demo, q):
    """(IC1) of demonstrations and the query's own tokens together."""
    return summed_head(W_V, W_K, jnp.concatenate([X_demo, X]), q)


def gain(W_V, W_K, X, X_demo, q):
    """What demonstrations add to the output: attention over all tokens, less attention over the query's own."""
    return in_context(W_V, W_K, X, X_demo, q) - summed_head(W_V, W_K, X, q)


@widened
def one_attention(W_V, W_K, X, X_demo, q):
    """(IC1) as one call of linear attention."""
    tokens = jnp.concatenate([X_demo, X])
    return linear_attn(dot(tokens, W_V.T), dot(tokens, W_K.T), q)


@widened
def split_head(W_V, W_K, X, X_demo, q):
    """(IC2): the query's own weight plus the update."""
    W_zsl, dW_icl = attention.icl_split(W_V, W_K, X, X_demo)
    return dot(q, (W_zsl + dW_icl).T)


@widened
def hebbian_run(W_V, W_K, X, X_demo):
    """(IC3): from the weight of the own tokens, a step of `jax.grad` for each demonstration."""
    W = attention.icl_split(W_V, W_K, X, X_demo)[0]
    for x in X_demo:
        v, k = read(W_V, x), read(W_K, x)
        W = W - jax.grad(lambda W, v=v, k=k: -jnp.sum(v * read(W, k)))(W)
    return W


@widened
def squared_run(W_V, W_K, X, X_demo):
    """The same run on the squared loss."""
    W = attention.icl_split(W_V, W_K, X, X_demo)[0]
    for x in X_demo:
        v, k = read(W_V, x), read(W_K, x)
        W = W - jax.grad(lambda W, v=v, k=k: 0.5 * jnp.sum((read(W, k) - v) ** 2))(W)
    return W


@widened
def split_weight(W_V, W_K, X, X_demo):
    return sum(attention.icl_split(W_V, W_K, X, X_demo))


def outer_sum(A, B):
    """sum_i a_i b_i', one outer product at a time."""
    return sum((a[:, None] * b[None, :] for a, b in zip(A, B, strict=True)), jnp.zeros((A.shape[1], B.shape[1])))


def finetuned_weight(W_V, W_K, X):
    """W_V G W_K' token by token."""
    return outer_sum(project(W_V, X), project(W_K, X))


def change(W_V, W_K, dW_V, dW_K, X):
    """(IC4) as the difference of the weights after and before."""
    return finetuned_weight(W_V + dW_V, W_K + dW_K, X) - finetuned_weight(W_V, W_K, X)


@widened
def three_terms(W_V, W_K, dW_V, dW_K, X):
    return attention.ft_terms(W_V, W_K, dW_V, dW_K, X).total


def separate_terms(W_V, W_K, dW_V, dW_K, X):
    """Each term of (IC4) through the Gram matrix."""
    G = outer_sum(X, X)

    def through(A, B):
        return jnp.sum(project(A, G.T)[:, :, None] * B.T[:, None, :], axis=0)

    return through(dW_V, W_K), through(W_V, dW_K), through(dW_V, dW_K)


def library_terms(W_V, W_K, dW_V, dW_K, X):
    return tuple(attention.ft_terms(W_V, W_K, dW_V, dW_K, X))


def ft_settings(rng):
    """Projections, changes a tenth as large, and tokens."""
    shapes = (V, D), (K, D), (V, D), (K, D), (3, D)
    scale = (1, 1, 0.1, 0.1, 1)
    return tuple(s * rng.standard_normal(shape) for s, shape in zip(scale, shapes, strict=True))


def determinant(M):
    """Of a 3 x 3 matrix: zero if and only if its rank is below 3."""
    a, b, c = M
    return jnp.dot(a, jnp.cross(b, c))


def low_rank(W_V, W_K, E_V, E_K, X_train, X):
    """The determinant of a finetuned update."""
    return determinant(attention.ft_update(W_V, W_K, dot(E_V.T, X_train), dot(E_K.T, X_train), X))


def minor(W_V, W_K, E_V, E_K, X_train, X):
    """A 2 x 2 minor of it."""
    M = attention.ft_update(W_V, W_K, dot(E_V.T, X_train), dot(E_K.T, X_train), X)
    return M[0, 0] * M[1, 1] - M[0, 1] * M[1, 0]


def zero(*arguments):
    return jnp.zeros(())


@widened
def terms_at_query(W_V, W_K, E_V, E_K, X_train, X, q):
    """(IC4) with the changes of (L1), read at q."""
    dW_V, dW_K = outer_sum(E_V, X_train), outer_sum(E_K, X_train)
    return tuple(read(term, q) for term in separate_terms(W_V, W_K, dW_V, dW_K, X))


def hops(W_V, W_K, E_V, E_K, X_train, X, q):
    return tuple(attention.two_hop(W_V, W_K, E_V, E_K, X_train, X, q))


# (IC7): a finetuning run


@widened
def finetuned_by_hand(W_V, W_K, X_train, Q, targets, eta, X, q):
    """SGD on the squared loss with its derivatives written out, read in a new context."""
    for s in range(len(X_train)):
        v, k = project(W_V, X_train[s]), project(W_K, X_train[s])
        e = -eta * (attended(v, k, Q[s]) - targets[s])
        dV = sum(e[:, None] * jnp.sum(k[i] * Q[s]) * X_train[s, i][None] for i in range(len(v)))
        dK = sum(jnp.sum(v[i] * e) * Q[s][:, None] * X_train[s, i][None] for i in range(len(v)))
        W_V, W_K = W_V + dV, W_K + dK
    return summed_head(W_V, W_K, X, q)


def finetuned_by_gradient(loss):
    """`jax.grad` of a loss through the head, one step a sequence, read in a new context."""

    @widened
    def run(W_V, W_K, X_train, Q, targets, eta, X, q):
        for s in range(len(X_train)):

            def of_weights(W_V, W_K, s=s):
                return loss(summed_head(W_V, W_K, X_train[s], Q[s]), targets[s])

            g_V, g_K = jax.grad(of_weights, (0, 1))(W_V, W_K)
            W_V, W_K = W_V - eta * g_V, W_K - eta * g_K
        return summed_head(W_V, W_K, X, q)

    return run


def through_tanh(y, target):
    return 0.5 * jnp.sum((jnp.tanh(y) - target) ** 2)


def finetuned_forms(loss=attention.squared):
    """The finetuned head read by its weights, by the update's formula, and by two hops."""

    def run(W_V, W_K, X_train, Q, targets, eta):
        return attention.finetune(W_V, W_K, X_train, Q, targets, eta, loss)

    @widened
    def by_weights(W_V, W_K, X_train, Q, targets, eta, X, q):
        tuned = run(W_V, W_K, X_train, Q, targets, eta)
        return dot(attention.icl_split(tuned.W_V, tuned.W_K, X, X)[0], q)

    @widened
    def by_update(W_V, W_K, X_train, Q, targets, eta, X, q):
        tuned = run(W_V, W_K, X_train, Q, targets, eta)
        dW_ft = attention.ft_update(W_V, W_K, tuned.W_V - W_V, tuned.W_K - W_K, X)
        return dot(attention.icl_split(W_V, W_K, X, X)[0] + dW_ft, q)

    @widened
    def by_hops(W_V, W_K, X_train, Q, targets, eta, X, q):
        tuned = run(W_V, W_K, X_train, Q, targets, eta)
        zero_shot = linear_attn(dot(X, W_V.T), dot(X, W_K.T), q)
        return zero_shot + attention.two_hop(W_V, W_K, tuned.E_V, tuned.E_K, tuned.X, X, q).total

    return {"finetuned head": by_weights, "ft_update": by_update, "two_hop": by_hops}


def tuning(S, n, m):
    """Shapes of a run of S sequences of n tokens, read in a context of m tokens."""
    return (V, D), (K, D), (S, n, D), (S, K), (S, V), (), (m, D), (K,)


def tuning_settings(rng):
    """A run with a small rate."""
    *arrays, X, q = (rng.standard_normal(shape) if shape else 0.05 for shape in tuning(2, 2, 3))
    return (*arrays, X, q)


def digit_rows(rng):
    """Every other row of handwritten digits as tokens: two images and their classes to train on, one to read.

    Pixels lie in [0, 1]; the query is the mean row seen through the key projection of the untrained head.
    """
    from sklearn.datasets import load_digits

    data = load_digits()
    chosen = rng.integers(0, len(data.images), 3)
    images = data.images[chosen, ::2] / 16.0
    W_V, W_K = rng.standard_normal((10, 8)) / 8**0.5, rng.standard_normal((6, 8)) / 8**0.5
    Q = images.mean(axis=1) @ W_K.T
    targets = np.eye(10)[data.target[chosen[:2]]]
    return W_V, W_K, images[:2], Q[:2], targets, 0.05, images[2], Q[2]


DIGITS = ((10, 8), (6, 8), (2, 4, 8), (2, 6), (2, 10), (), (4, 8), (6,))

# (IC9): heads

HEADS = ((2, 2, D), (2, V, D), (2, K, D), (2, K, D))
"""W_O [H, D_out, V] with D_out = 2, W_V, W_K, W_Q."""
OUT = (2, 2, V)


def summed_layer(W_O, W_V, W_K, W_Q, X, X_demo, x):
    """Head by head, token by token."""
    tokens = jnp.concatenate([X_demo, X])
    heads = range(len(W_O))
    return sum(read(W_O[h], summed_head(W_V[h], W_K[h], tokens, read(W_Q[h], x))) for h in heads)


@widened
def layer_of_heads(W_O, W_V, W_K, W_Q, X, X_demo, x):
    tokens = jnp.concatenate([X_demo, X])
    values, keys = (jnp.einsum("hkd,nd->nhk", W, tokens, precision="highest") for W in (W_V, W_K))
    query = jnp.einsum("hkd,d->hk", W_Q, x, precision="highest")
    out = attention.linear_heads(values, keys, query[None])[0]
    return jnp.einsum("hov,hv->o", W_O, out, precision="highest")


@widened
def one_weight(W_O, W_V, W_K, W_Q, X, X_demo, x):
    """(IC9): a single matrix for the whole layer."""
    heads = []
    for h in range(len(W_O)):
        W_zsl, dW_icl = attention.icl_split(W_V[h], W_K[h], X, X_demo)
        heads.append(dot(dot(W_O[h], W_zsl + dW_icl), W_Q[h]))
    return dot(jnp.sum(jnp.stack(heads), axis=0), x)


def causal_loop(values, keys, queries, scale):
    """Linear attention of every head, query t over the tokens up to its own."""
    n, M = len(values), len(queries)
    return jnp.stack([
        jnp.stack([
            attended(values[: n - M + t + 1, h], keys[: n - M + t + 1, h], queries[t, h], None, scale)
            for h in range(values.shape[1])
        ])
        for t in range(M)
    ])  # fmt: skip


def causal_heads(values, keys, queries, scale):
    return attention.linear_heads(values, keys, queries, causal=True, scale=scale)


# (IC10), (IC11): similarity


def cosine_of_updates(h, a, b):
    """(IC10) as it is written, states of one row."""

    def unit(x):
        return x / jnp.sqrt(jnp.sum(x * x))

    one, other = unit(h + a) - unit(h), unit(h + b) - unit(h)
    return jnp.sum(one * other) / (jnp.sqrt(jnp.sum(one * one)) * jnp.sqrt(jnp.sum(other * other)))


@widened
def library_cosine(h, a, b):
    return attention.update_similarity(h, h + a, h + b)


def published_cosine(s):
    """The middle of (IC11), with c = 1 / s^2 - 1."""
    c = 1 / (s * s) - 1
    return (1 - s) ** 2 / (s * s * c + (1 - s) ** 2)


def of_ratio(c):
    """The middle of (IC11) from the ratio."""
    s = 1 / jnp.sqrt(1 + c)
    return (1 - s) ** 2 / (s * s * c + (1 - s) ** 2)


@widened
def orthogonal(c):
    """The measure on three orthogonal vectors."""
    h, a, b = (jnp.zeros(3, c.dtype).at[i].set(1) for i in range(3))
    return attention.update_similarity(h, h + jnp.sqrt(c) * a, h + jnp.sqrt(c) * b)


def unrelated_updates(rng) -> Measurement:
    """Gaussian states and updates of 2,048 features, updates three times as large in the square: 200 draws."""
    h, a, b = rng.standard_normal((3, 200, 2048))
    a, b = (np.sqrt(3.0) * x for x in (a, b))

    def mean(normalize):
        cosines = np.asarray(attention.update_similarity(*map(jnp.asarray, (h, h + a, h + b)), normalize=normalize))
        return float(cosines.mean()), float(cosines.std(ddof=1) / np.sqrt(len(cosines)))

    (value, error), (control, its_error) = mean(True), mean(False)
    expected, width = float(attention.unrelated_cosine(3.0)), 4 * error
    return Measurement(
        value, value - width, value + width, control,
        f"mean cosine of unrelated updates after normalising the states, four standard errors each way; (IC11) says "
        f"{expected:g}; control: the states not normalised",
        bool(abs(value - expected) <= width and value - width > 0.2 and abs(control) <= 4 * its_error),
    )  # fmt: skip
