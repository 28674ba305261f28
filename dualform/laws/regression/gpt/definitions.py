"""Both sides of the laws on the small GPT and on the baselines, (GP1) to (GP12): token by token, and the library."""

import jax
import jax.numpy as jnp

from dualform import regression
from dualform._numerics import dot
from dualform.laws.attention.softmax.definitions import causal_attn
from dualform.prove import Input
from dualform.regression import baselines, similarity
from dualform.regression.gpt import GPT, GPTWeights, gpt_predictions, initial_gpt, prefix_loss

TINY = GPT(d=2, points=2, width=4, layers=1, heads=2)


def weights_like(config: GPT) -> GPTWeights:
    """The structure of a network's weights, for a law's inputs."""
    return jax.tree.map(lambda w: Input(w.shape), initial_gpt(config, 0))


def drawn(config: GPT, *shapes):
    """Draws a network as it starts, its biases and norms not at their defaults, and normal entries for the rest."""

    def sample(rng):
        weights = initial_gpt(config, int(rng.integers(2**31)))
        near = jax.tree.map(lambda w: w + 0.1 * rng.standard_normal(w.shape), weights)
        return (near, *(rng.standard_normal(shape) for shape in shapes))

    return sample


# (GP1) to (GP4): the network


def tokens(x, y):
    """(GP1) row by row."""
    rows = []
    for i in range(len(x)):
        rows.append(x[i])
        rows.append(jnp.stack([y[i] if j == 0 else jnp.zeros_like(y[i]) for j in range(x.shape[1])]))
    return jnp.stack(rows[:-1])


def affine(pair, x):
    """W x + b for one token."""
    return jnp.sum(pair[0] * x[None], axis=-1) + pair[1]


def normed(pair, u):
    """LayerNorm of one token."""
    centred = u - jnp.sum(u) / len(u)
    return pair[0] * (centred * jax.lax.rsqrt(jnp.sum(centred**2) / len(u) + 1e-6)) + pair[1]


def part(pair, head):
    return pair[0][head], pair[1][head]


def by_token(weights, x, y):
    """(GP2) token by token and head by head, attention as (SX1) is written."""
    read = tokens(x, y)
    h = [affine(weights.read_in, t) + weights.positions[j] for j, t in enumerate(read)]
    for block in weights.blocks:
        n = [normed(block.norm1, u) for u in h]
        found = []
        for head in range(len(block.keys[0])):
            V, K, Q = (
                jnp.stack([affine(part(m, head), u) for u in n]) for m in (block.values, block.keys, block.queries)
            )
            found.append(causal_attn(V, K, Q, K.shape[1] ** -0.5))
        u = [h[j] + affine(block.out, jnp.concatenate([f[j] for f in found])) for j in range(len(h))]
        h = [v + affine(block.down, jax.nn.gelu(affine(block.up, normed(block.norm2, v)))) for v in u]
    w_out, b_out = weights.read_out
    return jnp.stack([jnp.sum(w_out * normed(weights.norm, h[2 * i])) + b_out for i in range(len(x))])


def unshifted(V, K, Q):
    """Causal softmax attention without the shift by a maximum, which no proof can follow; the shift is (SX5)."""
    return causal_attn(V, K, Q, K.shape[1] ** -0.5)


def library(weights, x, y):
    """The library's program with attention as it is written."""
    return gpt_predictions(weights, x, y, unshifted)


def prefixes(weights, x, y):
    """Each prediction from a prompt of its own, which ends with its input."""
    return jnp.stack([library(weights, x[: i + 1], y[: i + 1])[-1] for i in range(len(x))])


def future(predict):
    """(GP3): how predictions change when everything that comes later is replaced."""

    def change(weights, x, y, x_other, y_other):
        out = []
        for i in range(len(x)):
            x_new = jnp.concatenate([x[: i + 1], x_other[i + 1 :]])
            y_new = jnp.concatenate([y[:i], y_other[i:]])
            out.append((predict(weights, x_new, y_new) - predict(weights, x, y))[: i + 1])
        return jnp.concatenate(out)

    return change


def nothing(weights, x, y, x_other, y_other):
    n = len(x)
    return jnp.zeros(n * (n + 1) // 2, x.dtype)


def loss_by_prompt(weights, x, y):
    """(GP4) with a prompt for each number of examples, two prompts a batch."""
    squares = [jnp.sum((prefixes(weights, x[b], y[b]) - y[b]) ** 2) for b in range(len(x))]
    return sum(squares, jnp.zeros(())) / y.size


def loss_in_one_pass(weights, x, y):
    return prefix_loss(jax.vmap(lambda x, y: library(weights, x, y))(x, y), y)


# (GP5) to (GP9): the baselines


def normal_equations(x, y, lam):
    """(GP5)'s first form, in the inputs' space whatever k is."""
    d = x.shape[1]
    S = sum((row[:, None] * row[None, :] for row in x), jnp.zeros((d, d)))
    return jnp.linalg.solve(S + lam * jnp.eye(d), sum((y[i] * x[i] for i in range(len(x))), jnp.zeros(d)))


def left_over(solve):
    """What a least-squares solution must make zero: the gradient, or residuals and the part outside the inputs' span.

    z is any vector; z minus its projection on the inputs is orthogonal to all of them.
    """

    def conditions(x, y, z):
        w, (k, d) = solve(x, y), x.shape
        if k >= d:
            return dot(dot(x, w) - y, x)
        outside = z - dot(jnp.linalg.solve(dot(x, x.T), dot(x, z)), x)
        return jnp.append(dot(x, w) - y, jnp.sum(outside * w))

    return conditions


def zeros_left(x, y, z):
    k, d = x.shape
    return jnp.zeros(d if k >= d else k + 1)


def posterior(x, y, sigma, tau):
    """(GP6): the conditional mean of a Gaussian, Cov(w, y) Cov(y)^-1 y."""
    covariance = tau**2 * dot(x, x.T) + sigma**2 * jnp.eye(len(x))
    return tau**2 * dot(jnp.linalg.solve(covariance, y), x)


def summed_average(x, y, divisor):
    return sum((y[i] * x[i] for i in range(len(x))), jnp.zeros(x.shape[1])) / divisor


def best_by_hand(k, d, sigma):
    """(GP8) at the p where its derivative is zero, and that derivative."""
    p = 1 / (1 + (d + 1 + sigma**2) / k)
    slope = jax.grad(lambda p: baselines.averaging_risk(k, d, p, sigma))(p)
    return baselines.averaging_risk(k, d, p, sigma), slope


def best_by_library(k, d, sigma):
    return baselines.best_averaging_risk(k, d, sigma), jnp.zeros(())


def trace_form(x, lam, sigma, tau):
    """(GP9)'s first form over tasks and noises one by one: bias for each task e_j, variance for each label."""
    k, d = x.shape
    fits = [normal_equations(x, dot(x, jnp.eye(d)[j]), lam) for j in range(d)]
    bias = sum((jnp.sum((fits[j] - jnp.eye(d)[j]) ** 2) for j in range(d)), jnp.zeros(()))
    noise = sum((jnp.sum(normal_equations(x, jnp.eye(k)[i], lam) ** 2) for i in range(k)), jnp.zeros(()))
    return tau**2 * bias + sigma**2 * noise


def with_excess(x, lam, sigma, tau):
    """(GP9)'s last form: the risk of Bayes, and what another parameter costs."""
    d = x.shape[1]
    S, eye, best = dot(x.T, x), jnp.eye(d), sigma**2 / tau**2
    A, B = jnp.linalg.inv(S + lam * eye), jnp.linalg.inv(S + best * eye)
    excess = jnp.trace(dot(dot(S, dot(A, A)), B))
    return sigma**2 * jnp.trace(B) + tau**2 * (lam - best) ** 2 * excess


def one_step_answer(x, y, q):
    """The answer of the best one-layer linear attention."""
    return jnp.sum(regression.averaging(x, y, baselines.best_divisor(*x.shape)) * q)


def ols_answer(x, y, q):
    return jnp.sum(regression.ols(x, y) * q)


# (GP10) to (GP12): similarity


def squares(a, b):
    """(GP10) one answer at a time."""
    gaps = [(a[i, j] - b[i, j]) ** 2 for i in range(a.shape[0]) for j in range(a.shape[1])]
    return sum(gaps, jnp.zeros(())) / len(gaps)


def weight_itself(queries, w):
    return w


def fitted_weight(queries, w):
    """The fit to the answers of a linear predictor."""
    return similarity.implied_weights(queries, dot(queries, w))


def fit_by_gradient(queries, outputs):
    """(GP11)'s condition: the gradient of the squared error at the fit."""
    w = similarity.implied_weights(queries, outputs)
    return sum(((dot(queries[j], w) - outputs[j]) * queries[j] for j in range(len(queries))), jnp.zeros_like(w))


def no_gradient(queries, outputs):
    return jnp.zeros(queries.shape[1])


def distances(v, w):
    """(GP11) one entry at a time."""
    gaps = [(v[i, j] - w[i, j]) ** 2 for i in range(v.shape[0]) for j in range(v.shape[1])]
    return sum(gaps, jnp.zeros(())) / v.shape[0]
