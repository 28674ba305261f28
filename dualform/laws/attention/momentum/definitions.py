"""Both sides of the laws on momentum attention and on momentum, (MA1) to (MA11): sums by position, and the library."""

import jax
import jax.numpy as jnp
import numpy as np

from dualform import attention, descent
from dualform._numerics import dot
from dualform.descent import Optimizer
from dualform.laws.attention.softmax.definitions import averaged, causal_attn, exponentials
from dualform.laws.law import Measurement, widened
from dualform.linear import linear_attn
from dualform.rules import momentum, retention

# (MA1) to (MA5): the published variants


def past_sum(V, eta):
    """(MA1)'s average as it is written."""
    rows = []
    for t in range(len(V)):
        row = jnp.zeros(V.shape[1])
        for i in range(t):
            power = jnp.ones(())
            for _ in range(t - i):
                power = power * eta
            row = row + power * V[i]
        rows.append(row)
    return jnp.stack(rows)


def average(form):
    return lambda V, eta: attention.past_average(V, eta, form)


def published(V, K, Q, eta, scale):
    return causal_attn(V, K, Q, scale) + past_sum(V, eta)


def moattn(form):
    return lambda V, K, Q, eta, scale: attention.moattn(V, K, Q, eta, scale, form)


def kernel_sum(V, gamma, delta, scale):
    """(MA3) as it is written: position by position, component by component."""
    kept = jax.nn.sigmoid(delta)
    rows = []
    for t in range(len(V)):
        row = jnp.zeros(V.shape[1])
        for i in range(t + 1):
            power = jnp.ones_like(kept)
            for _ in range(t - i):
                power = power * kept
            row = row + scale * jnp.sum(gamma * power, axis=1) * V[i]
        rows.append(row)
    return jnp.stack(rows)


def learned(form):
    return lambda V, gamma, delta, scale: attention.learned_average(V, gamma, delta, scale, form)


def posted(V, K, Q, gamma, delta, scale):
    return causal_attn(V, K, Q, scale) + kernel_sum(V, gamma, delta, scale)


def posted_library(form):
    return lambda V, K, Q, gamma, delta, scale: attention.moattn_learned(V, K, Q, gamma, delta, scale, scale, form)


def average_settings(T, V):
    return lambda rng: (rng.standard_normal((T, V)), rng.uniform(0.3, 0.95))


def kernel_settings(T, V, N):
    """As the authors initialise it."""
    return lambda rng: (
        rng.standard_normal((T, V)), rng.standard_normal((V, N)), 0.2 * rng.standard_normal((V, N)), V**-0.5
    )  # fmt: skip


def fourier_error(rng, fft) -> Measurement:
    """Averages of 1,024 positions by Fourier transforms in float32, against the sum in float64.

    The first channel has a learned kernel, the second one that does not fade, of entries 1 and -1.
    """
    T, N = 1024, 8
    gamma, delta = rng.standard_normal((1, N)), 0.2 * rng.standard_normal((1, N))
    learned = np.asarray(attention.learned_kernel(jnp.asarray(gamma), jnp.asarray(delta), T))
    V = np.stack([rng.standard_normal(T), rng.choice([-1.0, 1.0], T)], axis=1).astype(np.float32)
    kernel = np.concatenate([learned, rng.choice([-1.0, 1.0], (T, 1))], axis=1).astype(np.float32)
    exact = np.stack([np.convolve(kernel[:, c].astype(float), V[:, c].astype(float))[:T] for c in (0, 1)], axis=1)

    def off(convolve):
        error = np.linalg.norm(np.asarray(convolve(V, kernel), np.float64) - exact, axis=0)
        return float(np.max(error / fourier_bound(V.astype(float), kernel.astype(float), 2.0**-24)))

    value, control = off(fft), off(without_padding)
    return Measurement(
        value, 0.0, 1.0, control,
        "error over the bound for two transforms, a product and a transform back, in the 2-norm of a channel; "
        "control: no padding",
        bool(value <= 1 < control),
    )  # fmt: skip


def fourier_bound(V, kernel, u):
    """In the 2-norm, for each channel, from the bound of one transform (Higham 2002, theorem 24.2).

    A transform of N numbers is off by at most theta of its length, theta = L eta / (1 - L eta), L = log2 N,
    eta = w + gamma_4 (sqrt 2 + w), for roots of unity that are off by at most w, here 2 u. Products of transforms are
    bounded by the 2-norm of one and the largest entry of the other, which is at most the 1-norm of what was
    transformed.
    """

    def gamma(n):
        return n * u / (1 - n * u)

    N = 2 * len(V)
    eta = 2 * u + gamma(4) * (2**0.5 + 2 * u)
    theta = np.log2(N) * eta / (1 - np.log2(N) * eta)
    (k1, k2), (v1, v2) = ((np.linalg.norm(x, 1, axis=0), np.linalg.norm(x, axis=0)) for x in (kernel, V))
    size = k2 * v1
    spread = theta * (size + v2 * k1) + theta**2 * N**0.5 * k2 * v2
    return (1 + theta) * (spread + 2**0.5 * gamma(2) * (size + spread)) + theta * size


def without_padding(V, kernel):
    """A circular convolution: the future wraps around into the past."""
    transformed = jnp.fft.rfft(V, axis=0) * jnp.fft.rfft(kernel, axis=0)
    return jnp.fft.irfft(transformed, n=len(V), axis=0)


# (MA6) to (MA11): momentum


def heavy_ball_sum(V, K, Q, mu, scale):
    """(MA6): the recurrence written out."""
    Z = S = jnp.zeros((V.shape[1], K.shape[1]))
    rows = []
    for t in range(len(V)):
        Z = mu * Z + V[t][:, None] * K[t][None, :]
        S = S + Z
        rows.append(scale * jnp.sum(S * Q[t][None], axis=1))
    return jnp.stack(rows)


@widened
def by_optimizer(V, K, Q, mu, scale):
    """(MA6) with the coefficients of chapter 2, for each position those of a run that ends there."""
    T = len(V)
    rows = [-descent.heavy_ball(jnp.ones(t + 1, V.dtype), mu) for t in range(T)]
    weights = jnp.stack([jnp.concatenate([c, jnp.zeros(T - len(c), V.dtype)]) for c in rows])
    return linear_attn(V, K, Q, weights, scale)


def running_sum(V, K, Q, g, S):
    """Heavy ball with momentum exp(g) at every token, its layer as it is."""
    T = len(V)
    beta = jnp.ones(T, V.dtype)
    return momentum.recurrent(Q, K, V, beta=beta, mu=jnp.exp(jnp.broadcast_to(g, (T,))), initial_state=(S, 0 * S))


def of_retention(V, K, Q, g, S):
    """The same as the running sum of RetNet's states, and the last of these as the velocity."""
    T = len(V)
    layer, Z, rows = S, 0 * S, []
    for t in range(T):
        now = slice(t, t + 1)
        _, Z = retention.recurrent(Q[now], K[now], V[now], g=jnp.broadcast_to(g, (1,)), initial_state=Z)
        layer = layer + Z
        rows.append(dot(layer, Q[t]))
    return jnp.stack(rows), momentum.State(layer, Z)


def bias_velocity(V, eta):
    """(MA7): a layer with key 1 at every token, its velocity before each one."""
    T = len(V)
    ones, beta = jnp.ones((T, 1), V.dtype), jnp.ones(T, V.dtype)
    layer, _ = momentum.recurrent(ones, ones, V, beta=beta, mu=eta)
    velocity = jnp.diff(layer, axis=0, prepend=jnp.zeros_like(layer[:1]))
    return eta * jnp.concatenate([jnp.zeros_like(layer[:1]), velocity[:-1]])


def without_softmax(V, K, Q, eta):
    """MoAttn on linear attention."""
    causal = jnp.tril(jnp.ones((len(V), len(V)), V.dtype))
    return linear_attn(V, K, Q, causal) + attention.past_average(V, eta)


def difference_at_zero(V, K, eta, mu):
    """MoAttn without softmax minus heavy ball, both at the query zero (MA8)."""
    nothing = jnp.zeros_like(K)
    return without_softmax(V, K, nothing, eta) - attention.heavy_ball_attn(V, K, nothing, mu)


def sum_over_past(V, eta):
    """What momentum attention adds, value by value: eta^(t-i) v_i for every i before t."""
    rows = [sum((eta ** (t - i) * V[i] for i in range(t)), jnp.zeros(V.shape[1])) for t in range(len(V))]
    return jnp.stack(rows)


def excess(form):
    """What a variant adds to causal linear attention."""

    def f(V, K, Q, number):
        causal = jnp.tril(jnp.ones((len(V), len(V)), V.dtype))
        return form(V, K, Q, number) - linear_attn(V, K, Q, causal)

    return f


def both_queries(V, K, Q, R, number):
    """Heavy ball's excess at the sum of two queries."""
    return excess(attention.heavy_ball_attn)(V, K, Q + R, number)


def one_by_one(V, K, Q, R, number):
    f = excess(attention.heavy_ball_attn)
    return f(V, K, Q, number) + f(V, K, R, number)


def age_steps(T):
    """(MA9): how much more a pattern counts than the next younger one, for heavy ball and for MoAttn."""

    def f(mu, eta):
        c = attention.heavy_ball_weights(T, mu)
        kept = descent.closed.kept_after(jnp.broadcast_to(eta, (T,)))
        return c[-1, :-1] - c[-1, 1:], kept[-1, :-2] - kept[-1, 1:-1]

    return f


def powers(T):
    """(MA9)'s right-hand sides."""

    def f(mu, eta):
        old = [mu ** (T - 1 - i) for i in range(T - 1)]
        recent = [-(1 - eta) * eta ** (T - 2 - i) for i in range(T - 2)]
        return jnp.stack(old), jnp.stack(recent)

    return f


def momentum_on_values(V, K, q, mu):
    """(MA10): values averaged before they are written."""
    mean, out = jnp.zeros(V.shape[1]), jnp.zeros(V.shape[1])
    for t in range(len(V)):
        mean = mu * mean + V[t]
        out = out + mean * jnp.sum(K[t] * q)
    return out


@widened
def filtered_scores(V, K, q, mu):
    scores = dot(K, q)
    return dot(dot(scores, descent.closed.kept_after(jnp.broadcast_to(mu, (len(V),)))), V)


def heavy_ball_at_end(V, K, q, mu):
    return attention.heavy_ball_attn(V, K, jnp.broadcast_to(q, K.shape), mu)[-1]


def weighted_softmax(V, K, Q, mu, scale):
    """(MA11) as it is written."""
    rows = []
    for t in range(len(V)):
        w = exponentials(K[: t + 1], Q[t], scale)
        c = jnp.stack([sum((_power(mu, s - i) for s in range(i, t + 1)), jnp.zeros(())) for i in range(t + 1)])
        rows.append(averaged(c * w, V[: t + 1]))
    return jnp.stack(rows)


def _power(x, n):
    out = jnp.ones(())
    for _ in range(n):
        out = out * x
    return out


def printed_recursion(W, gradients, eta, rate):
    """The gradient descent beside (MA1): at step t all gradients before it, weighted by powers of eta."""
    for t in range(1, len(gradients) + 1):
        for i in range(t):
            W = W - rate * _power(eta, t - i) * gradients[i]
    return W


def as_heavy_ball(W, gradients, eta, rate):
    return descent.run(Optimizer(eta=rate * eta, momentum=eta), W, gradients)


def momentum_settings(T, V, K):
    """Tokens, a momentum and a scale."""
    return lambda rng: (
        rng.standard_normal((T, V)), rng.standard_normal((T, K)), rng.standard_normal((T, K)),
        rng.uniform(0.3, 0.95), rng.uniform(0.3, 1.0),
    )  # fmt: skip
