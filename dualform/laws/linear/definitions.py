"""The other sides of the laws of chapter 1: sums of outer products, pattern by pattern, and what was measured."""

import jax
import jax.numpy as jnp

from dualform import linear
from dualform.laws.law import Measurement, widened


def read(W, x):
    """W x as a sum of products, for one input or many."""
    return jnp.sum(W * x[None], axis=-1) if x.ndim == 1 else jnp.sum(W[None] * x[:, None], axis=-1)


def summed(W0, E, X, x):
    """(L1) as a sum of outer products, one pattern at a time, without a matrix product."""
    W = W0
    for i in range(E.shape[0]):
        W = W + E[i][:, None] * X[i][None, :]
    return read(W, x)


def attended(E, X, x, weights=None, scale=1.0):
    """(L2) and (L8) as they are written: for each query a sum over patterns of value times weighted score."""
    if x.ndim == 1:
        return attended(E, X, x[None], None if weights is None else weights[None], scale)[0]
    rows = []
    for m in range(x.shape[0]):
        row = jnp.zeros(E.shape[1])
        for i in range(E.shape[0]):
            w = 1.0 if weights is None else weights[i] if weights.ndim == 1 else weights[m, i]
            row = row + E[i] * scale * jnp.sum(X[i] * w * x[m])
        rows.append(row)
    return jnp.stack(rows)


def scaled(form):
    return lambda E, X, x, scale: form(E, X, x, None, scale)


def summed_update(E, X):
    """(L1) without a weight."""
    return sum((E[i][:, None] * X[i][None, :] for i in range(E.shape[0])), jnp.zeros((E.shape[1], X.shape[1])))


def unchanged(W0, E, X, x):
    """(L1) without a pattern."""
    return read(W0, x)


def forms(**others):
    """The forms of equation (1), from the definition down."""
    return {"definition": summed, "primal": linear.primal, "dual": linear.dual, **others}


def chunked(size):
    return lambda W0, E, X, x: linear.chunked(W0, E, X, x, chunk_size=size)


def squared(target):
    return lambda Y: 0.5 * jnp.sum((Y - target) ** 2)


def network(target, readout):
    """A loss through a nonlinear layer: tanh, which the proof treats as an unknown function."""
    return lambda Y: 0.5 * jnp.sum((jnp.tanh(Y) @ readout - target) ** 2)


def trained(loss):
    """One SGD step on a real loss, read at x: by jax.grad, by the new weight, and by the dual form of error signals."""

    @widened
    def by_gradient(W0, X, x, eta, *data):
        gradient = jax.grad(lambda W: loss(*data)(read(W, X)))(W0)
        return read(W0 - eta * gradient, x)

    def by_weight(W0, X, x, eta, *data):
        W1, _ = linear.sgd_step(W0, X, loss(*data), eta)
        return read(W1, x)

    def by_dual(W0, X, x, eta, *data):
        _, E = linear.sgd_step(W0, X, loss(*data), eta)
        return linear.dual(W0, E, X, x)

    return {"gradient descent": by_gradient, "new weight": by_weight, "dual": by_dual}


def by_hand(W0, X, x, eta, target):
    """The step on the squared loss with its derivative written out: e_i = eta (t_i - W_0 x_i)."""
    W = W0
    for i in range(X.shape[0]):
        W = W + eta * (target[i] - read(W0, X[i]))[:, None] * X[i][None, :]
    return read(W, x)


def with_bias(form):
    """(L7): the bias as the last column of the weight, a 1 appended to inputs and queries."""

    def biased(W0, b, E, X, x):
        return form(jnp.concatenate([W0, b[:, None]], 1), E, linear.with_bias(X), linear.with_bias(x))

    return biased


def biased_layer(W0, b, E, X, x):
    """A layer with a bias, both changed by the same error signals."""
    W = W0 + sum(jnp.outer(E[i], X[i]) for i in range(E.shape[0]))
    return read(W, x) + b + jnp.sum(E, axis=0)


def no_plus_one(W0, b, E, X, x):
    """What the public code for the dual form reads: scores x_i.q, the bias as it was before training."""
    return linear.dual(W0, E, X, x) + b


def unseen(E, X, Y, x):
    """LinearAttn of E + Z, with Z = (I - X (X'X)^-1 X') Y, which every input is orthogonal to."""
    Z = Y - X @ jnp.linalg.solve(X.T @ X, X.T @ Y)
    return linear.linear_attn(E + Z, X, x)


def integers(shapes, large=None):
    """Draws entries as large as (L10) allows in float32: all four arrays alike, or one large beside three of -1, 0, 1.

    With a size of its own for each array, K A_x (A_0 + n A_E A_X) bounds every partial sum.
    """
    n, K = shapes[2]

    def sizes(a):
        return [a if large in (None, i) else 1 for i in range(4)]

    def fits(a):
        W, E, X, x = sizes(a)
        return K * x * (W + n * E * X) <= 2**24

    low, high = 1, 2**24  # bisection: fits(low), not fits(high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)

    def sample(rng):
        return tuple(
            rng.integers(-size, size + 1, shape).astype(float) for size, shape in zip(sizes(low), shapes, strict=True)
        )

    return sample


def stagnation(rng) -> Measurement:
    """4,096 updates of 2^-25 to a float32 weight of 1: all are lost when added one by one, none when summed first."""
    W0, x = jnp.ones((1, 1), jnp.float32), jnp.ones(1, jnp.float32)
    E, X = jnp.full((4096, 1), 2.0**-25, jnp.float32), jnp.ones((4096, 1), jnp.float32)
    update = 4096 * 2.0**-25

    def lost(form, W):
        got = float(jax.jit(form)(W, E, X, x)[0]) - float(W[0, 0])
        return abs(update - got) / update

    by_recurrence, by_dual = lost(linear.recurrent, W0), lost(linear.dual, W0)
    control = lost(linear.recurrent, jnp.zeros((1, 1), jnp.float32))
    holds = by_recurrence == 1.0 and by_dual < 2.0**-10 and control < 2.0**-10
    return Measurement(
        by_recurrence, by_recurrence, by_recurrence, control,
        f"part of the update that the recurrence loses beside W0 = 1 (dual form: {by_dual:.2g}; control: W0 = 0)",
        holds,
    )  # fmt: skip
