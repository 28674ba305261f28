"""Both sides of the laws of chapter 8, as they are written, and the library's programs beside them."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from dualform import peft
from dualform.attention import split_from_weights
from dualform.laws.descent.laws import determinant
from dualform.laws.law import Measurement, widened
from dualform.laws.linear.definitions import attended, read
from dualform.linear import linear_attn, with_bias

T, B, V, K, r, n = 2, 2, 3, 4, 2, 3
FACTORS = ((r, K), (V, r))  # A, B
PATTERNS = ((T, B, V), (T, B, K))  # E, X


# (PE1) to (PE5): LoRA


def factored(W, A, U, x, s):
    """(PE1) as sums of products."""
    return read(W, x) + s * read(U, read(A, x))


def merged(W, A, U, x, s):
    return read(W + s * jnp.sum(U[:, :, None] * A[None], axis=1), x)


def stepped(f, df, A, U, E, X, s, frozen=False) -> tuple[Array, Array]:
    """(PE2) pattern by pattern, with the derivative of f written out."""
    for e, x in zip(E, X, strict=True):
        dA, dU = jnp.zeros_like(A), jnp.zeros_like(U)
        for i in range(len(e)):
            z = read(A, x[i])
            dA = dA + (df(z) * s * jnp.sum(U * e[i][:, None], axis=0))[:, None] * x[i][None]
            dU = dU + s * e[i][:, None] * f(z)[None]
        A, U = A if frozen else A + dA, U + dU
    return A, U


LINEAR: tuple[Callable, Callable] = (lambda z: z), jnp.ones_like
TANH: tuple[Callable, Callable] = jnp.tanh, lambda z: 1 - jnp.tanh(z) ** 2


def by_hand(pair: tuple[Callable, Callable], frozen=False):
    return widened(lambda A, U, E, X, s: stepped(*pair, A, U, E, X, s, frozen))


def recorded(activation, frozen=False):
    def form(A, U, E, X, s):
        run = peft.bottleneck_run(A, U, E, X, activation, s, frozen)
        return run.A, run.B

    return widened(form)


def descended(activation, frozen=False):
    """(PE2) by `jax.grad` of the linear loss whose output gradients are minus the error signals."""

    def form(A, U, E, X, s):
        for e, x in zip(E, X, strict=True):
            loss = lambda A, U, e=e, x=x: -jnp.sum(e * s * read(U, activation(read(A, x))))  # noqa: E731
            dA, dU = jax.grad(loss, (0, 1))(A, U)
            A, U = A if frozen else A - dA, U - dU
        return A, U

    return widened(form)


def squared(targets):
    return lambda Y, t: 0.5 * jnp.sum((Y - targets[t]) ** 2)


def squared_by_hand(A, U, X, targets, eta):
    """Two steps on the squared loss, its error signals written out."""
    for x, target in zip(X, targets, strict=True):
        e = eta * (target - read(U, read(A, x)))
        A, U = stepped(*LINEAR, A, U, e[None], x[None], 1.0)
    return A, U


def squared_sgd(A, U, X, targets, eta):
    return peft.bottleneck_sgd(A, U, X, squared(targets), eta)[:2]


def squared_replayed(A, U, X, targets, eta):
    _, _, E = peft.bottleneck_sgd(A, U, X, squared(targets), eta)
    run = peft.bottleneck_run(A, U, E, X)
    return run.A, run.B


def first_step(W, A, E, X, q, s):
    """One step on both factors from B = 0."""
    run = peft.bottleneck_run(A, jnp.zeros((V, r), A.dtype), E[None], X[None], scale=s)
    return peft.lora(W, run.A, run.B, q, s)


@widened
def first_scores(W, A, E, X, q, s):
    """(PE3): the dual form of full finetuning with every score projected."""
    scores = jnp.sum(read(A, X) * read(A, q)[None], axis=1)
    return read(W, q) + s * s * jnp.sum(E * scores[:, None], axis=0)


@widened
def first_weight(W, A, E, X, q, s):
    return read(W + s * s * (E.T @ X) @ (A.T @ A), q)


def flat(E, X) -> tuple[Array, Array]:
    return E.reshape(-1, E.shape[-1]), X.reshape(-1, X.shape[-1])


@widened
def frozen_trained(W, A, U, E, X, q, s):
    run = peft.bottleneck_run(A, U, E, X, scale=s, frozen=True)
    return peft.lora(W, run.A, run.B, q, s)


def frozen_dual(W, A, U, E, X, q, s):
    return peft.lora_frozen_dual(W, A, U, *flat(E, X), q, s)


@widened
def trained_by_hand(W, A, U, E, X, q, s):
    return factored(W, *stepped(*LINEAR, A, U, E, X, s), q, s)


@widened
def lora_trained(W, A, U, E, X, q, s):
    run = peft.bottleneck_run(A, U, E, X, scale=s)
    return peft.lora(W, run.A, run.B, q, s)


@widened
def lora_two_stage(W, A, U, E, X, q, s):
    return peft.lora_dual(W, A, U, E, X, peft.bottleneck_run(A, U, E, X, scale=s), q, s)


def lora_settings(rng):
    """Small steps, as in practice."""
    W, A, U, X, q = (rng.standard_normal(s) for s in ((V, K), *FACTORS, (T, B, K), (K,)))
    return W, A, U, 0.1 * rng.standard_normal((T, B, V)), X, q, rng.uniform(0.5, 2)


# (PE6): ranks


def minors(M):
    """All 2 x 2 minors: zero if and only if the rank is below 2."""
    products = M[:, :, None, None] * M[None, None]
    return products - jnp.swapaxes(products, 1, 3)


def no_minors(U, A):
    return jnp.zeros((len(U), A.shape[1], len(U), A.shape[1]))


def product_determinant(U, A):
    return determinant(U @ A)


def trained_determinant(A, E, X):
    run = peft.bottleneck_run(A, jnp.zeros((3, len(A))), E, X)
    return determinant(run.B @ run.A)


def changed(A, U, E, X):
    run = peft.bottleneck_run(A, U, E, X)
    return run.B @ run.A - U @ A


# (PE7) to (PE10): adapters


def adapter_sum(activation):
    """(PE7) as sums of products."""
    return lambda h, W1, b1, W2, b2: h + read(W2, activation(read(W1, h) + b1)) + b2


def adapter_by(activation):
    return lambda h, W1, b1, W2, b2: peft.adapter(h, W1, b1, W2, b2, activation)


@widened
def slot_by_slot(h, W1, b1, W2, b2):
    """Attention over slots, tanh in place of the softmax."""
    out = h + b2
    for j in range(len(W1)):
        out = out + jnp.tanh(jnp.sum(W1[j] * h) + b1[j]) * W2[:, j]
    return out


def masked(h, W1, b1, W2, b2, gates):
    """A ReLU whose mask is given."""
    return h + read(W2, gates * (read(W1, h) + b1)) + b2


def relu_slots(h, W1, b1, W2, b2):
    scores = read(W1, h) + b1
    return peft.slots(h, W1, b1, W2, b2, jnp.where(scores > 0, 1.0, 0.0).astype(h.dtype))


@widened
def after(W, W1, W2, x):
    h = read(W, x)
    return h + read(W2, read(W1, h))


@widened
def after_merged(W, W1, W2, x):
    return read(peft.merge_after(W, W1, W2), x)


@widened
def beside(W, W1, W2, x):
    return read(W, x) + read(W2, read(W1, x))


@widened
def beside_merged(W, W1, W2, x):
    return read(peft.merge_beside(W, W1, W2), x)


def adapter_trained(W1, b1, W2, b2, E, X, h):
    """Trained by hand, then read."""
    A, U = peft.adapter_factors(W1, b1, W2, b2)
    f = peft.biased(jnp.tanh)
    for e, x in zip(E, X, strict=True):
        A, U = _adapter_step(A, U, e, jnp.concatenate([x, jnp.ones((len(x), 1), x.dtype)], 1))
    return h + read(U, f(read(A, jnp.concatenate([h, jnp.ones(1, h.dtype)]))))


def _adapter_step(A, U, e, x):
    z = read(A, x)
    signals = (1 - jnp.tanh(z) ** 2) * read(U[:, :-1].T, e)
    keys = jnp.concatenate([jnp.tanh(z), jnp.ones((len(z), 1), z.dtype)], 1)
    dA = jnp.sum(signals[:, :, None] * x[:, None], axis=0)
    return A + dA, U + jnp.sum(e[:, :, None] * keys[:, None], axis=0)


@widened
def adapter_dual(W1, b1, W2, b2, E, X, h):
    """(PE10): the two stages with f between them."""
    A, U = peft.adapter_factors(W1, b1, W2, b2)
    f, X, q = peft.biased(jnp.tanh), with_bias(X), with_bias(h)
    run = peft.bottleneck_run(A, U, E, X, f)
    return h + peft.bottleneck_dual(A, U, E, X, run, q, f)


def adapter_settings(rng):
    d = 3
    W1, b1, W2, b2, X, h = (rng.standard_normal(s) for s in ((r, d), (r,), (d, r), (d,), (T, B, d), (d,)))
    return W1, b1, W2, b2, 0.1 * rng.standard_normal((T, B, d)), X, h


# (PE11), (PE12): prefixes


def prefix_linear(values, keys, P_V, P_K, q):
    return attended(jnp.concatenate([P_V, values]), jnp.concatenate([P_K, keys]), q)


@widened
def prefix_updated(values, keys, P_V, P_K, q):
    return linear_attn(values, keys, q) + read(peft.prefix_update(P_V, P_K), q)


@widened
def prefix_as_lora(values, keys, P_V, P_K, q):
    """A = P_K and B = P_V', beside the weight that the tokens make."""
    return peft.lora(values.T @ keys, P_K, P_V.T, q)


def averaged(w, values):
    return jnp.sum(w[:, None] * values, axis=0) / jnp.sum(w)


def exponentials(keys, q):
    return jnp.exp(jnp.sum(keys * q[None], axis=1))


def prefix_softmax(values, keys, P_V, P_K, q):
    """Softmax attention as it is written, over prefix and tokens."""
    return averaged(jnp.concatenate([exponentials(P_K, q), exponentials(keys, q)]), jnp.concatenate([P_V, values]))


def prefix_mixed(values, keys, P_V, P_K, q):
    """(PE12), by the split of unnormalised weights."""
    return split_from_weights(exponentials(keys, q), exponentials(P_K, q), values, P_V).attn


@widened
def prefix_as_adapter(values, keys, P_V, P_K, q):
    """(PE12) as He et al. write it: a shrunk output and a gated bottleneck."""
    w, w_P = exponentials(keys, q), exponentials(P_K, q)
    gate = jnp.sum(w_P) / (jnp.sum(w) + jnp.sum(w_P))
    return (1 - gate) * averaged(w, values) + gate * read(P_V.T, w_P / jnp.sum(w_P))


def prefix_in_floats(values, keys, P_V, P_K, q):
    return peft.prefix_split(values, keys, P_V, P_K, q, scale=1.0).attn


def added(w, w_P, values, P_V):
    """The gated output of the prefix on top of an output that is not shrunk."""
    split = split_from_weights(w, w_P, values, P_V)
    return split.zsl + split.weight * split.demo


# (PE13) to (PE15): scales and biases


def scaled_outputs(W, l, x):
    return l * read(W, x)


@widened
def scaled_weight(W, l, x):
    return read(W + (l - 1)[:, None] * W, x)


def scaled_keys(values, keys, l, q):
    return attended(values, keys * l[None], q)


def scaled_query(values, keys, l, q):
    return linear_attn(values, keys, l * q)


def scaled_values(values, keys, l, q):
    return attended(values * l[None], keys, q)


def scaled_output(values, keys, l, q):
    return l * linear_attn(values, keys, q)


def determinant_2(M):
    return M[0, 0] * M[1, 1] - M[0, 1] * M[1, 0]


@widened
def ia3_trained(W, l, E, X, q):
    """SGD on l, by `jax.grad`, one pattern at a time."""
    for i in range(len(X)):
        l = l + jax.grad(lambda l, i=i: jnp.sum(E[i] * l * read(W, X[i])))(l)
    return l * read(W, q)


@widened
def bitfit_trained(W, b, E, q):
    for i in range(len(E)):
        b = b + jax.grad(lambda b, i=i: jnp.sum(E[i] * b))(b)
    return read(W, q) + b


# Random factors


def projected_scores(rng) -> Measurement:
    """(PE3) on real digits: scores through 400 random A, relative to the scores of full finetuning times r / K."""
    from dualform import digits

    x = digits.load(0).train_x[:40].astype(np.float64)
    keys, queries = x[:20], x[20:]
    rank, draws = 8, 400
    A = rng.standard_normal((draws, rank, 64)) / 8.0  # entries of variance 1 / K
    projected = np.einsum("drk,ik,drl,jl->dij", A, keys, A, queries, optimize=True)
    full = keys @ queries.T
    ratios = np.mean(projected / full[None] * 64 / rank, axis=(1, 2))  # one for each A
    spread = ratios.std(ddof=1) / np.sqrt(draws)
    value, single = float(ratios.mean()), float(np.std(projected[:, 0, 0] / full[0, 0] * 64 / rank))
    cosine = full[0, 0] / np.linalg.norm(keys[0]) / np.linalg.norm(queries[0])
    expected = np.sqrt((1 + 1 / cosine**2) / rank)  # of a Gaussian A
    low, high = value - 3.89 * spread, value + 3.89 * spread  # 99.99 %
    return Measurement(
        value, float(low), float(high), single,
        "projected score over score, times K / r, mean over random A (1: unbiased); control: its standard deviation "
        f"from one A to another at rank 8, {expected:.2f} by theory",
        bool(low < 1 < high and abs(single / expected - 1) < 0.25),
    )  # fmt: skip
