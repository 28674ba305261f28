"""Both sides of the laws on constructions, (LS5) to (LS11), (LS13), (LS14): gradients of a written loss, and layers."""

import jax
import jax.numpy as jnp
import numpy as np

from dualform import regression as r
from dualform.linear import dual

# (LS5) to (LS9): steps of gradient descent on (1/2N) sum_i |W x_i - y_i|^2


def loss(W, x, y):
    """(LS5), example by example."""
    total = jnp.zeros(())
    for i in range(len(x)):
        total = total + jnp.sum((jnp.sum(W * x[i][None], axis=1) - y[i]) ** 2)
    return total / (2 * len(x))


def step(W, x, y, eta, A=None):
    """(LS8): one step by `jax.grad`."""
    gradient = jax.grad(loss)(W, x, y)
    return W - eta * (gradient if A is None else gradient @ A.T)


def one_step(x, y, q, W0, eta):
    return step(W0, x, y, eta) @ q


def one_step_at_once(x, y, q, W0, eta):
    """The same with the loss in one expression, for many examples."""
    return (W0 - eta * jax.grad(lambda W: jnp.mean(jnp.sum((x @ W.T - y) ** 2, axis=1)) / 2)(W0)) @ q


def steps(x, y, q, W0, eta):
    """(LS7): as many steps as there are rates."""
    for k in range(len(eta)):
        W0 = step(W0, x, y, eta[k])
    return W0 @ q


def layers(x, y, q, eta, W0=None, A=None, gamma=0.0, include_query=False, rho=None):
    """The prediction of the construction."""
    d, k = x.shape[1], y.shape[1]
    P, Q = r.gd_construction(d, eta, labels=k, W0=W0, A=A, gamma=gamma)
    P, Q = (P, Q) if P.ndim == 3 else (P[None], Q[None])
    tokens = r.gd_prompt(x, y, q, W0)
    done = r.lsa_layers(tokens, P, Q, len(x) if rho is None else rho, include_query=include_query)
    return r.gd_prediction(done, k)


def constructed(x, y, q, W0, eta):
    return layers(x, y, q, eta, W0)


def descended(x, y, q, W0, eta):
    return r.descend(x, y, eta, W0=W0) @ q


def error_signals(x, y, q, W0, eta):
    """The step as linear attention over the examples, in the sense of (L3)."""
    return dual(W0, -eta / len(x) * (x @ W0.T - y), x, q)


def four_matrices(x, y, q, W0, eta):
    """The published one: keys, queries, values and a projection that holds eta / N; no divisor."""
    (N, d), k = x.shape, y.shape[1]
    tokens = jnp.concatenate([jnp.concatenate([x, y], 1), jnp.concatenate([q, -W0 @ q])[None]])
    W_K = W_Q = jnp.diag(jnp.concatenate([jnp.ones(d), jnp.zeros(k)]))
    W_V = jnp.concatenate([jnp.zeros((d, d + k)), jnp.concatenate([W0, -jnp.eye(k)], 1)])
    P = eta / N * jnp.eye(d + k)
    keys, values = tokens[:-1] @ W_K.T, tokens[:-1] @ W_V.T
    heads = (tokens @ W_Q.T @ keys.T) @ values
    return -(tokens + heads @ P.T)[-1, d:]


def labels_moved(x, y, q, W0, eta):
    """(LS6) for every example: the labels after the layer."""
    P, Q = r.gd_construction(x.shape[1], eta, labels=y.shape[1], W0=W0)
    return r.lsa(r.gd_prompt(x, y, q, W0), P, Q, len(x), include_query=False)[:-1, x.shape[1] :]


def labels_left(x, y, q, W0, eta):
    return y - x @ (step(W0, x, y, eta) - W0).T


def loss_after(x, y, W0, dW):
    return loss(W0 + dW, x, y)


def loss_of_moved(x, y, W0, dW):
    return r.squared_loss(W0, x, y - x @ dW.T)


def first_layer_only(x, y, q, W0, eta):
    """W_0 in the first layer, zero in those after it."""
    d, k = x.shape[1], y.shape[1]
    first, rest = r.gd_construction(d, eta[:1], labels=k, W0=W0), r.gd_construction(d, eta[1:], labels=k)
    P, Q = (jnp.concatenate(pair) for pair in zip(first, rest, strict=True))
    return r.gd_prediction(r.lsa_layers(r.gd_prompt(x, y, q, W0), P, Q, len(x), include_query=False), k)


def recurrent(x, y, q, W0, eta):
    """One layer, three times."""
    P, Q = r.gd_construction(x.shape[1], eta, labels=y.shape[1], W0=W0)
    tokens = r.gd_prompt(x, y, q, W0)
    done = r.lsa_layers(tokens, P[None], Q[None], len(x), include_query=False, repeat=3)
    return r.gd_prediction(done, y.shape[1])


def same_rate(x, y, q, W0, eta):
    return steps(x, y, q, W0, jnp.stack([eta] * 3))


# preconditioned


def preconditioned(x, y, q, A):
    """(LS8), one label: w <- w - A_l grad, from zero."""
    w = jnp.zeros(x.shape[1])
    for matrix in A:
        w = w - matrix @ jax.grad(lambda w: loss(w[None], x, y[:, None]))(w)
    return jnp.sum(w * q)


def by_construction(x, y, q, A):
    P, Q = r.gd_construction(x.shape[1], jnp.ones(len(A)), A=A)
    return r.gd_prediction(r.lsa_layers(r.gd_prompt(x, y, q), P, Q, len(x), include_query=False))


def masked(x, y, q, A):
    """Ahn et al. as printed: Z in columns, P = e e', Q = -diag(A, 0), a mask that drops the query's column."""
    (n, d), Z = x.shape, r.prompt(x, y, q).T
    P = jnp.zeros((d + 1, d + 1)).at[-1, -1].set(1.0)
    mask = jnp.diag((jnp.arange(n + 1) < n).astype(Z.dtype))
    for matrix in A:
        Q = -jnp.pad(matrix, (0, 1))
        Z = Z + P @ Z @ mask @ (Z.T @ Q @ Z) / n
    return -Z[-1, -1]


def symmetric(form):
    """A form at A + A'."""
    return lambda x, y, q, A: form(x, y, q, A + jnp.swapaxes(A, 1, 2))


def transposed(form):
    return lambda x, y, q, A: form(x, y, q, jnp.swapaxes(A, 1, 2))


# GD++


def curvature(x):
    """H of (LS9): the Hessian of the loss in one row of W."""
    zero = jnp.zeros((1, x.shape[1]))
    return jax.hessian(lambda W: loss(W, x, jnp.zeros((len(x), 1))))(zero)[0, :, 0]


def gd_plus_plus(x, y, q, eta, gamma):
    """Steps from zero on what is left of the labels; inputs and query through I - gamma H after each."""
    k, total = y.shape[1], jnp.zeros(y.shape[1])
    for l in range(len(eta)):
        dW = step(jnp.zeros((k, x.shape[1])), x, y, eta[l])
        total, H = total + dW @ q, curvature(x)
        y, x, q = y - x @ dW.T, x - gamma[l] * x @ H.T, q - gamma[l] * H @ q
    return total


def moving_layers(x, y, q, eta, gamma):
    return layers(x, y, q, eta, gamma=gamma)


def moving_weight(x, y, q, eta, gamma):
    return r.descend(x, y, eta, gamma=gamma) @ q


def without_divisor(x, y, q, eta, gamma):
    """The published constants: rho = 1, eta / N, gamma / N."""
    return layers(x, y, q, eta / len(x), gamma=gamma / len(x), rho=1.0)


def curvature_after(x, gamma):
    """Of the inputs that a layer returns."""
    P, Q = r.gd_construction(x.shape[1], 1.0, gamma=gamma)
    tokens = r.gd_prompt(x, jnp.zeros(len(x)), x[0])
    return curvature(r.lsa(tokens, P, Q, len(x), include_query=False)[:-1, :-1])


def curvature_mapped(x, gamma):
    H = curvature(x)
    shrink = jnp.eye(len(H)) - gamma * H
    return shrink @ H @ shrink


# (LS10): features


def tanh_map(U, V):
    """An MLP with a residual connection."""
    return lambda x: x + U @ jnp.tanh(V @ x)


def on_features(x, y, q, W0, U, V, eta):
    """Gradient descent on the loss with mapped inputs."""
    m = tanh_map(U, V)
    return step(W0, jnp.stack([m(row) for row in x]), y, eta) @ m(q)


def mlp_then_attention(x, y, q, W0, U, V, eta):
    m, k = tanh_map(U, V), y.shape[1]
    tokens = r.map_inputs(r.prompt(x, y, q), m, k)
    tokens = tokens.at[-1, -k:].set(-W0 @ tokens[-1, :-k])
    P, Q = r.gd_construction(x.shape[1], eta, labels=k, W0=W0)
    return r.gd_prediction(r.lsa(tokens, P, Q, len(x), include_query=False), k)


def on_features_from_zero(x, y, q, U, V, eta):
    return on_features(x, y, q, jnp.zeros((y.shape[1], x.shape[1])), U, V, eta)


def kernel(x, y, q, U, V, eta):
    """Labels weighted by the kernel m(x).m(x_q)."""
    m = tanh_map(U, V)
    return eta / len(x) * sum(y[i] * jnp.sum(m(x[i]) * m(q)) for i in range(len(x)))


def mapped_layer(x, y, q, U, V, eta):
    return mlp_then_attention(x, y, q, jnp.zeros((y.shape[1], x.shape[1])), U, V, eta)


# (LS11): the trained layer


def gamma_of(covariance, N):
    """Zhang et al.'s Gamma for prompts of N examples."""
    return (1 + 1 / N) * covariance + jnp.trace(covariance) / N * jnp.eye(len(covariance))


def inverse_step(N):
    """The step that theorem 4.1 says the trained layer takes, x_q' Gamma^-1 (1/M) sum y_i x_i."""
    return lambda x, y, q, C: q @ jnp.linalg.solve(gamma_of(C, N), sum(y[i] * x[i] for i in range(len(x))) / len(x))


def trained_layer(N):
    """The layer at its optimum, on a prompt of another length."""

    def form(x, y, q, C):
        P, Q = r.trained_construction(jnp.linalg.inv(gamma_of(C, N)))
        return r.prediction(r.lsa(r.prompt(x, y, q), P, Q, len(x)))

    return form


def unbalanced(N):
    """All of A in one of the two matrices."""

    def form(x, y, q, C):
        Q = jnp.pad(jnp.linalg.inv(gamma_of(C, N)).T, (0, 1))
        P = jnp.zeros_like(Q).at[-1, -1].set(1.0)
        return r.prediction(r.lsa(r.prompt(x, y, q), 3.0 * P, Q / 3.0, len(x)))

    return form


def covariances(d, N, M):
    """Random prompts and covariances."""

    def sample(rng):
        root = rng.standard_normal((d, d)) / np.sqrt(d)
        return (
            rng.standard_normal((M, d)), rng.standard_normal(M), rng.standard_normal(d), root @ root.T + np.eye(d) / 2
        )  # fmt: skip

    return sample


def squared_norm(which):
    return lambda A: jnp.sum(r.trained_construction(A)[which] ** 2)


def frobenius(A):
    return jnp.sqrt(jnp.sum(A**2))


# (LS13), (LS14): the query's own token, the divisor


def reads_itself(x, y, q, W0, eta):
    return layers(x, y, q, eta, W0, include_query=True)


def with_own_pattern(x, y, q, W0, eta):
    """(LS13): the step and what the query's own token adds."""
    return one_step(x, y, q, W0, eta) - 2 * eta / len(x) * jnp.sum(q * q) * W0 @ q


def from_zero(form):
    """A form of W_0 at W_0 = 0."""
    return lambda x, y, q, eta: form(x, y, q, jnp.zeros((y.shape[1], x.shape[1])), eta)


def two_layers(include_query):
    return lambda x, y, q, eta: layers(x, y, q, jnp.stack([eta, eta]), include_query=include_query)


def with_its_label(x, y, q, target):
    """The true label left in the query's slot, and read by all tokens."""
    tokens = r.prompt(x, y, q).at[-1, -1].set(target)
    return r.gd_prediction(r.lsa(tokens, *r.gd_construction(x.shape[1], 1.0), len(x)))


def without_its_label(x, y, q, target):
    return r.gd_prediction(r.lsa(r.prompt(x, y, q), *r.gd_construction(x.shape[1], 1.0), len(x)))


def kept_divisor(N):
    """The prediction of a trained layer that divides by the N of its training."""
    return lambda x, y, q, A: r.prediction(r.lsa(r.prompt(x, y, q), *r.trained_construction(A), float(N)))


def own_divisor(x, y, q, A):
    return r.prediction(r.lsa(r.prompt(x, y, q), *r.trained_construction(A), float(len(x))))


def times(factor, form):
    return lambda *arguments: factor * form(*arguments)
