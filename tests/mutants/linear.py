"""Wrong programs for chapter 1, the linear layer updated by outer products. Each is a mistake that someone makes."""

import jax
import jax.numpy as jnp

from dualform import linear
from dualform.testing.mutant import Mutant
from mutants.precision import rounded

# The forms of (L1), right and wrong, as functions of W0 [V, K], E [n, V], X [n, K] and x [K] or [M, K].


def scores(mistake):
    """The dual form with something done to its scores x_i . x."""
    return lambda W0, E, X, x: x @ W0.T + mistake(x @ X.T) @ E


def skipping(form, part):
    """A form that does not see some of the patterns."""
    return lambda W0, E, X, x: form(W0, E[part], X[part], x)


def running_sum(dtype):
    """Scores times values added up one by one in a narrow dtype: an accumulator of the wrong type."""

    def attend(W0, E, X, x):
        total = jnp.zeros((*x.shape[:-1], E.shape[1]))
        for i in range(E.shape[0]):
            total = rounded(total + jnp.tensordot(x @ X[i], E[i], 0), dtype)
        return x @ W0.T + total

    return attend


def column_major(W0, E, X, x):
    """The outer products written to memory column by column, and read row by row."""
    return x @ (W0 + (X.T @ E).reshape(W0.shape)).T


def scan(update):
    """W <- update(W, e, x), pattern by pattern, read at the end."""

    def recurrent(W0, E, X, x):
        W, _ = jax.lax.scan(lambda W, pattern: (update(W, *pattern), None), W0, (E, X))
        return x @ W.T

    return recurrent


def stale_read(W0, E, X, x):
    def update(state, pattern):
        W, _ = state
        return (W + jnp.outer(*pattern), W), None

    (_, W), _ = jax.lax.scan(update, (W0, W0), (E, X))
    return x @ W.T


def chunks(fold_from, rest_from):
    """Chunks of 3, of which `fold_from(c)` says where they start; what is left starts at `rest_from(whole)`."""

    def chunked(W0, E, X, x):
        count = E.shape[0] // 3
        W = W0
        for c in range(count):
            part = slice(fold_from(c), 3 * c + 3)
            W = W + E[part].T @ X[part]
        part = slice(rest_from(3 * count), None)
        return x @ W.T + (x @ X[part].T) @ E[part]

    return chunked


def clamped(W0, E, X, x):
    """Chunks cut by dynamic_slice alone, which moves the last one back until it fits: some patterns count twice."""
    W = W0
    for c in range(-(-E.shape[0] // 3)):
        E_c, X_c = (jax.lax.dynamic_slice_in_dim(a, 3 * c, 3) for a in (E, X))
        W = W + E_c.T @ X_c
    return x @ W.T


def stale_state(W0, E, X, x):
    """The state as it was before the last whole chunk."""
    last = 3 * (E.shape[0] // 3) - 3
    return linear.dual(W0 + E[:last].T @ X[:last], E[last + 3 :], X[last + 3 :], x)


def hand_written(pull_back):
    """The dual form with a backward pass of its own, `pull_back((W0, E, X, x), ct)`."""
    form = jax.custom_vjp(linear.dual)
    form.defvjp(lambda *arguments: (linear.dual(*arguments), arguments), pull_back)
    return form


def mean_too_early(arguments, ct):
    """The cotangent of every x_i with the mean error signal in place of e_i."""
    W0, E, X, x = arguments
    one_for_all = jnp.outer(jnp.full(len(E), E.mean(0) @ ct), x)
    return jnp.outer(ct, x), jnp.outer(X @ x, ct), one_for_all, ct @ W0 + (E @ ct) @ X


def memory_forgotten(arguments, ct):
    """The cotangent of the query through W0 alone."""
    W0, E, X, x = arguments
    return jnp.outer(ct, x), jnp.outer(X @ x, ct), jnp.outer(E @ ct, x), ct @ W0


def step(signals):
    """The dual form of one step on 1/2 |W x_i - t_i|^2, with error signals `signals(residual, eta)`."""
    return lambda W0, X, x, eta, target: linear.dual(W0, signals(X @ W0.T - target, eta), X, x)


def after_the_step(W0, X, x, eta, target):
    """Error signals of the weight after the step: those of the next one."""
    W1 = W0 - eta * (X @ W0.T - target).T @ X
    return linear.dual(W0, -eta * (X @ W1.T - target), X, x)


def biased(extend_X, extend_x, extend_W=lambda W, b: jnp.concatenate([W, b[:, None]], 1)):
    return lambda W0, b, E, X, x: linear.dual(extend_W(W0, b), E, extend_X(X), extend_x(x))


def ones_first(a):
    return jnp.concatenate([jnp.ones((*a.shape[:-1], 1)), a], -1)


def zeros_last(a):
    return jnp.concatenate([a, jnp.zeros((*a.shape[:-1], 1))], -1)


def weighted(mistake):
    """Weighted linear attention with something done to its weights."""
    return lambda E, X, x, w: linear.linear_attn(E, X, x, mistake(w))


def guessed(E, X, x, w):
    """Weights [M, n] taken for one per query and channel whenever the shape allows it."""
    return ((x * w) @ X.T) @ E if w.shape[-1] == X.shape[-1] else linear.linear_attn(E, X, x, w)


DUAL = (
    ("sign", "the update is subtracted", scores(lambda s: -s)),
    ("no W0", "the initial weight is forgotten", lambda W0, E, X, x: linear.linear_attn(E, X, x)),
    ("W0 twice", "the initial weight is in the update as well", lambda W0, E, X, x: linear.dual(2 * W0, E, X, x)),
    ("softmax", "attention as usual, normalised exponentials", scores(lambda s: jnp.exp(s) / jnp.exp(s).sum())),
    ("abs scores", "sizes of scores, as the public analysis code plots them", scores(jnp.abs)),
    ("relu scores", "negative scores dropped, as feature maps do", scores(jax.nn.relu)),
    ("squared scores", "a kernel machine's kernel instead of the layer's", scores(jnp.square)),
    ("cosine", "keys normalised", lambda W0, E, X, x: linear.dual(W0, E, X / jnp.linalg.norm(X, axis=1)[:, None], x)),
    ("root of K", "the scale of softmax attention", lambda W0, E, X, x: linear.dual(W0, E, X / len(x) ** 0.5, x)),
    ("mean", "averaged over the patterns", lambda W0, E, X, x: linear.dual(W0, E / len(E), X, x)),
    ("epsilon", "1e-6 added to each score", scores(lambda s: s + 1e-6)),
    ("misaligned", "patterns reversed in E alone", lambda W0, E, X, x: linear.dual(W0, E[::-1], X, x)),
    ("last pattern", "an upper limit off by one", skipping(linear.dual, slice(-1))),
    ("first pattern", "a lower limit off by one", skipping(linear.dual, slice(1, None))),
    ("stopped keys", "the keys held constant", lambda W0, E, X, x: linear.dual(W0, E, jax.lax.stop_gradient(X), x)),
    ("stopped scores", "attention weights held constant", scores(jax.lax.stop_gradient)),
    ("detached W0", "the initial weight held constant", lambda W0, *a: linear.dual(jax.lax.stop_gradient(W0), *a)),
    ("wrong rule for X", "a hand-written backward pass with a mean too early", hand_written(mean_too_early)),
    ("wrong rule for x", "a hand-written backward pass that forgets the patterns", hand_written(memory_forgotten)),
)  # fmt: skip

MUTANTS = (
    *(Mutant(f"dual: {name}", "L3", "dual", form, why, case="one query") for name, why, form in DUAL),
    Mutant("primal: column major", "L3", "primal", column_major, "the outer product transposed in memory", "one query"),
    Mutant("primal: sign", "L1", "primal", lambda W0, E, X, x: linear.primal(W0, -E, X, x), "the gradient added"),
    Mutant("primal: first pattern", "L1", "primal", skipping(linear.primal, slice(1, None)), "the first update lost"),
    Mutant("delta_w: transposed", "L1", "delta_w", lambda E, X: (X.T @ E).reshape(E.shape[1], -1), "x e' for e x'"),
    Mutant("delta_w: centred", "L1", "delta_w", lambda E, X: linear.delta_w(E - E.mean(0)[None], X), "a covariance"),
    Mutant("linear_attn: no scale", "L2", "linear_attn", lambda E, X, x, s: linear.linear_attn(E, X, x),
           "the scale ignored", "scaled"),
    Mutant("linear_attn: scale twice", "L2", "linear_attn", lambda E, X, x, s: linear.linear_attn(E, X, s * x, scale=s),
           "queries scaled, and scores again", "scaled"),
    Mutant("linear_attn: divided", "L2", "linear_attn", lambda E, X, x, s: linear.linear_attn(E, X, x) / s,
           "a temperature instead of a scale", "scaled"),
    Mutant("recurrent: stale", "L4", "recurrent", stale_read, "read before the last write", "one query"),
    Mutant("recurrent: delta rule", "L4", "recurrent", scan(lambda W, e, x: W + jnp.outer(e - W @ x, x)),
           "the delta rule: the layer's own output is subtracted", "one query"),
    Mutant("recurrent: leak", "L4", "recurrent", scan(lambda W, e, x: 0.999 * W + jnp.outer(e, x)),
           "the weight forgets a thousandth per step", "one query"),
    Mutant("recurrent: one backward step", "L4", "recurrent",
           scan(lambda W, e, x: jax.lax.stop_gradient(W) + jnp.outer(e, x)), "truncated backpropagation", "one query"),
    Mutant("chunked: remainder", "L5", "chunked", chunks(lambda c: 3 * c, lambda whole: whole + 3),
           "patterns after the last whole chunk ignored", "chunks of 3, 7 patterns"),
    Mutant("chunked: boundary lost", "L5", "chunked", chunks(lambda c: 3 * c + (c > 0), lambda whole: whole),
           "the first pattern of later chunks lost", "chunks of 3, 7 patterns"),
    Mutant("chunked: boundary twice", "L5", "chunked", chunks(lambda c: max(3 * c - 1, 0), lambda whole: whole),
           "the last pattern of a chunk also in the next", "chunks of 3, 7 patterns"),
    Mutant("chunked: rest twice", "L5", "chunked", chunks(lambda c: 3 * c, lambda whole: whole - 1),
           "the last folded pattern attended to as well", "chunks of 3, 7 patterns"),
    Mutant("chunked: clamped", "L5", "chunked", clamped, "dynamic_slice clamps its start", "chunks of 3, 7 patterns"),
    Mutant("chunked: stale state", "L5", "chunked", stale_state, "the state one chunk old", "chunks of 3, 7 patterns"),
    Mutant("descent: ascent", "L6", "descent", lambda W0, E, X, x: linear.descent(W0, -E, X, x), "up the gradient",
           "linear loss"),
    Mutant("descent: mean loss", "L6", "descent", lambda W0, E, X, x: linear.descent(W0, E / len(X), X, x),
           "the gradient of the mean of the losses", "linear loss"),
    Mutant("signals: sign and rate", "L6", "dual", step(lambda r, eta: r), "the gradient as it is", "squared loss"),
    Mutant("signals: no rate", "L6", "dual", step(lambda r, eta: -r), "the learning rate forgotten", "squared loss"),
    Mutant("signals: factor 2", "L6", "dual", step(lambda r, eta: -2 * eta * r), "the square without its 1/2",
           "squared loss"),
    Mutant("signals: mean", "L6", "dual", step(lambda r, eta: -eta * r / r.size), "numpy.mean for sum", "squared loss"),
    Mutant("signals: one step late", "L6", "dual", after_the_step, "taken after the update", "squared loss"),
    Mutant("bias: no 1", "L7", "dual", biased(zeros_last, linear.with_bias), "scores without the 1"),
    Mutant("bias: 1 first", "L7", "dual", biased(ones_first, ones_first), "the bias read as another column"),
    Mutant("bias: added again", "L7", "dual", lambda W0, b, E, X, x: b + biased(
               linear.with_bias, linear.with_bias)(W0, b, E, X, x), "the bias added to the layer that has it"),
    Mutant("weights: ignored", "L8", "linear_attn", weighted(lambda w: None), "no weights at all"),
    Mutant("weights: squared", "L8", "linear_attn", weighted(lambda w: w * w), "applied to keys and queries"),
    Mutant("weights: transposed", "L8", "linear_attn", weighted(lambda w: w.T), "queries and patterns exchanged",
           "[M, n] with M = n"),
    Mutant("weights: normalised", "L8", "linear_attn", weighted(lambda w: w / w.sum(-1, keepdims=True)),
           "made to sum to 1", "[M, n]"),
    Mutant("weights: strict mask", "L8", "linear_attn", weighted(lambda w: w - jnp.diag(jnp.diag(w))),
           "a pattern hidden from its own query", "[M, n] with M = n"),
    Mutant("weights: mean channel", "L8", "linear_attn", weighted(lambda w: w.mean(-1)),
           "one weight for all input channels", "[M, n, K]"),
    Mutant("weights: reversed channels", "L8", "linear_attn", weighted(lambda w: w[..., ::-1]),
           "input channels in another order", "one query, [n, K]"),
    Mutant("weights: guessed", "L8", "linear_attn", guessed, "the layout guessed from the shape",
           "[M, n] with n = K"),
    Mutant("unseen: not projected", "L9", "E + Z", lambda E, X, Y, x: linear.linear_attn(E + Y, X, x),
           "any change of the coefficients"),
    Mutant("unseen: columns of X", "L9", "E + Z",
           lambda E, X, Y, x: linear.linear_attn(E + X @ jnp.linalg.solve(X.T @ X, X.T @ Y), X, x),
           "the projection onto what the inputs see"),
    Mutant("precision: float16 sum", "L10", "dual", running_sum(jnp.float16), "attention accumulated in float16"),
    Mutant("precision: bfloat16 sum", "L10", "dual", running_sum(jnp.bfloat16), "attention accumulated in bfloat16"),
    Mutant("precision: bfloat16 scores", "L10", "dual", scores(lambda s: rounded(s, jnp.bfloat16)), "scores rounded"),
    Mutant("precision: bfloat16 inputs", "L10", "dual",
           lambda *arguments: linear.dual(*(rounded(a, jnp.bfloat16) for a in arguments)),
           "inputs rounded, sums in float32, as matrix units do"),
    Mutant("precision: TF32 patterns", "L10", "primal",
           lambda W0, *patterns: linear.primal(W0, *(rounded(a, jnp.float32, mantissa_bits=10) for a in patterns)),
           "the default of many devices: ten bits of the factors"),
)  # fmt: skip

HARMLESS = (
    Mutant("dual: einsum", "L3", "dual", lambda W0, E, X, x: W0 @ x + jnp.einsum("nv,nk,k->v", E, X, x),
           "one einsum of three factors", "one query"),
    Mutant("dual: reversed sum", "L3", "dual", lambda W0, E, X, x: linear.dual(W0, E[::-1], X[::-1], x),
           "patterns in another order", "one query"),
    Mutant("dual: hidden W0", "L3", "dual", lambda W0, E, X, x: linear.dual(
               jnp.zeros_like(W0), jnp.concatenate([W0.T, E]), jnp.concatenate([jnp.eye(W0.shape[1]), X]), x),
           "the initial weight as K more patterns", "one query"),
    Mutant("recurrent: associative scan", "L4", "recurrent", lambda W0, E, X, x: (
               W0 + jax.lax.associative_scan(jnp.add, E[:, :, None] * X[:, None, :])[-1]) @ x,
           "prefix sums as a tree", "one query"),
    Mutant("recurrent: fori_loop", "L4", "recurrent", lambda W0, E, X, x: jax.lax.fori_loop(
               0, E.shape[0], lambda i, W: W + jnp.outer(E[i], X[i]), W0) @ x,
           "a loop over indices", "one query"),
    Mutant("recurrent: backwards", "L4", "recurrent", lambda W0, E, X, x: scan(
               lambda W, e, x: W + jnp.outer(e, x))(W0, E[::-1], X[::-1], x),
           "the last pattern first", "one query"),
    Mutant("descent: vjp", "L6", "descent", lambda W0, E, X, x: (
               W0 + jax.vjp(lambda W: X @ W.T, W0)[1](E)[0]) @ x, "the vector-Jacobian product itself", "linear loss"),
    Mutant("weights: on the keys", "L8", "linear_attn", lambda E, X, x, w: jnp.einsum("mnk,mk->mn", w * X[None], x) @ E,
           "keys weighted first", "[M, n, K]"),
    Mutant("precision: float32 casts", "L10", "dual", lambda W0, E, X, x: linear.dual(
               *(a.astype(jnp.float32) for a in (W0, E, X, x))), "casts that change nothing", "large E"),
)  # fmt: skip
