"""Both sides of the laws of chapter 7, as they are written, and the library's programs beside them."""

from collections.abc import Callable
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np

from dualform import patch
from dualform.laws.law import Case, Measurement, widened
from dualform.laws.linear.definitions import attended, read
from dualform.linear import linear_attn
from dualform.rules import RULES
from dualform.rules.ttt import LayerNorm

V, K, n = 3, 4, 3
TOKEN = ((V, K), (K,), (K,))  # W, with context, without


# (CP1) to (CP3): one token


def outer_product(W, z, a):
    """(CP1) entry by entry."""
    change, square = read(W, z) - read(W, a), jnp.sum(a * a)
    return jnp.stack([change[i] * a / square for i in range(W.shape[0])])


def seen(W, z, a):
    return read(W, z)


@widened
def patched(W, z, a):
    return read(W + patch.context_patch(W, z, a), a)


def hidden(W, z, a, b):
    return jnp.tanh(read(W, z) + b)


@widened
def patched_hidden(W, z, a, b):
    return jnp.tanh(read(W + patch.context_patch(W, z, a), a) + b)


@widened
def patched_bias(W, z, a, b):
    """The bias takes the whole change: exact for the token too, and no matrix changes."""
    return jnp.tanh(read(W, a) + (b + read(W, z - a)))


@widened
def patch_read(W, z, a, q):
    return read(patch.context_patch(W, z, a), q)


@widened
def one_pattern(W, z, a, q):
    """(CP2): the patch as linear attention over a single pattern."""
    e = read(W, z - a) / jnp.sum(a * a)
    return linear_attn(e[None], a[None], q)


@widened
def one_step(W, z, a, q):
    """(CP2): the patch as a step of gradient descent, by `jax.grad`."""
    loss = lambda M: 0.5 * jnp.sum((read(M, a) - read(W, z)) ** 2)  # noqa: E731
    return read(-jax.grad(loss)(W) / jnp.sum(a * a), q)


def projected(Z, a):
    """Z (I - a a' / |a|^2)."""
    return Z - jnp.outer(read(Z, a), a) / jnp.sum(a * a)


@widened
def whole_norm(W, z, a, Z):
    return jnp.sum((patch.context_patch(W, z, a) + projected(Z, a)) ** 2)


@widened
def two_norms(W, z, a, Z):
    return jnp.sum(patch.context_patch(W, z, a) ** 2) + jnp.sum(projected(Z, a) ** 2)


def solution(W, z, a, D):
    """Any matrix that sends a to W (z - a): an arbitrary D, corrected along a."""
    return D + jnp.outer(read(W, z - a) - read(D, a), a) / jnp.sum(a * a)


@widened
def beyond_the_patch(W, z, a, D):
    dW = patch.context_patch(W, z, a)
    return jnp.sum(dW**2) + jnp.sum((solution(W, z, a, D) - dW) ** 2)


# (CP4) to (CP6): blocks


def mlp(u, W, b, W2, b2, norm=None):
    """A block with a skip connection; tanh is an unknown function to the proof."""
    n = u if norm is None else norm(u)
    return u + read(W2, jnp.tanh(read(W, n) + b)) + b2


NORMS: dict[str, Callable] = {"none": lambda: None, "RMSNorm": patch.RMSNorm, "LayerNorm": LayerNorm}


def block_seen(kind):
    return lambda W, b, W2, b2, u1, u0, *norm: mlp(u1, W, b, W2, b2, NORMS[kind](*norm))


def block_patched(kind):
    def form(W, b, W2, b2, u1, u0, *parameters):
        norm = NORMS[kind](*parameters)
        change = patch.block_patch(W, u1, u0, norm)
        return mlp(u0, W + change.weight, b, W2, b2 + change.bias, norm)

    return widened(form)


def gated(u, W_gate, W_up, W_down, norm):
    n = norm(u)
    return u + read(W_down, jax.nn.silu(read(W_gate, n)) * read(W_up, n))


def gated_seen(W_gate, W_up, W_down, u1, u0, weight):
    return gated(u1, W_gate, W_up, W_down, patch.RMSNorm(weight))


@widened
def gated_patched(W_gate, W_up, W_down, u1, u0, weight):
    norm = patch.RMSNorm(weight)
    change = patch.gated_patch(W_gate, W_up, u1, u0, norm)
    return gated(u0, W_gate + change.gate, W_up + change.up, W_down + change.down, norm)


BLOCK = ((V, K), (V,), (K, V), (K,), (K,), (K,))


def blocks(kind, *norm):
    return Case(f"norm: {kind}", {"with context": block_seen(kind), "patched": block_patched(kind)}, (*BLOCK, *norm))


# (CP7): what a context is made of


@widened
def linear_context(W, a, values, keys, q):
    return patch.context_patch(W, a + attended(values, keys, q), a)


@widened
def patch_per_token(W, a, values, keys, q):
    """A patch for each token of the context, added up."""
    square = jnp.sum(a * a)
    return sum(jnp.outer(read(W, values[i]) * jnp.sum(keys[i] * q), a) / square for i in range(len(keys)))


def averaged(w, values):
    return jnp.sum(w[:, None] * values, axis=0) / jnp.sum(w)


@widened
def softmax_context(W, w, values, w_context, values_context):
    """Attention from unnormalised weights, with and without the context's."""
    z = averaged(jnp.concatenate([w, w_context]), jnp.concatenate([values, values_context]))
    return patch.context_patch(W, z, averaged(w, values))


@widened
def gated_patch_of_context(W, w, values, w_context, values_context):
    a, context = averaged(w, values), averaged(w_context, values_context)
    gate = jnp.sum(w_context) / (jnp.sum(w) + jnp.sum(w_context))
    return gate * jnp.outer(read(W, context - a), a) / jnp.sum(a * a)


def weights(rng):
    """Weights of attention are positive."""
    return (
        rng.standard_normal((V, K)), rng.uniform(0.1, 2, 2), rng.standard_normal((2, K)), rng.uniform(0.1, 2, 3),
        rng.standard_normal((3, K)),
    )  # fmt: skip


# (CP8) to (CP10): one token of the context after another


def seen_rows(W, inputs):
    return jnp.stack([read(W, a) for a in inputs])


@widened
def growing_rows(W, inputs):
    return jnp.stack([read(S, inputs[0]) for S in patch.growing_patches(W, inputs)])


@widened
def whole_patch(W, inputs):
    return W + patch.context_patch(W, inputs[-1], inputs[0])


def last_growing(W, inputs):
    return patch.growing_patches(W, inputs)[-1]


@widened
def linear_losses(W, inputs):
    """(CP8) by `jax.grad` of the losses tr(D_i' W), with D_i held fixed."""
    a, S = inputs[0], W
    for i in range(1, len(inputs)):
        D = jnp.outer(read(W, inputs[i - 1] - inputs[i]), a)
        S = S - jax.grad(lambda M, D=D: jnp.sum(D * M))(S) / jnp.sum(a * a)
    return S


def first_output(W, inputs):
    return jnp.stack([read(W, inputs[0])] * len(inputs))


@widened
def absorbing_rows(W, inputs):
    return jnp.stack([read(S, a) for S, a in zip(patch.absorbing_patches(W, inputs), inputs, strict=True)])


def last_absorbing(W, inputs):
    return patch.absorbing_patches(W, inputs)[-1]


def multiplied(W, inputs):
    """(CP9) as it was published: W_i = W_{i-1} (I + h_i (a_{i-1} - a_i) a_i')."""
    S = W
    for before, a in pairwise(inputs):
        S = S @ (jnp.eye(len(a)) + jnp.outer(before - a, a) / jnp.sum(a * a))
    return S


def by_delta(form):
    """(CP10): the delta rule on keys a_1 .. a_n and one value."""

    def run(W, inputs):
        keys = inputs[1:]
        values = jnp.stack([read(W, inputs[0])] * len(keys))
        _, S = RULES["delta"].form(form)(keys, keys, values, beta=1 / jnp.sum(keys * keys, axis=1), initial_state=W)
        return S

    return widened(run)


# (CP11) to (CP13): many tokens


def off_by(W, z, a, Z, A):
    return patch.patch_errors(W, patch.context_patch(W, z, a), Z, A)


@widened
def difference_of_changes(W, z, a, Z, A):
    share = jnp.sum(A * a[None], axis=1) / jnp.sum(a * a)
    return read(W, share[:, None] * (z - a)[None] - (Z - A))


def elsewhere(W, z, a, z_other, a_other):
    return read(W + patch.context_patch(W, z, a), a_other)


def other_seen(W, z, a, z_other, a_other):
    return read(W, z_other)


def linear_elsewhere(W, S, x, y):
    """The friendliest contextual layer, one fixed matrix: the patch made at x, read at y."""
    return read(W + patch.context_patch(W, x + read(S, x), x), y)


def linear_seen(W, S, x, y):
    return read(W, y + read(S, y))


def exact_rows(W, Z, A):
    return read(W, Z)


@widened
def shared_rows(W, Z, A):
    return read(W + patch.shared_patch(W, Z, A), A)


@widened
def first_gram(W, Z, A, ridge):
    """(CP12) by the tokens' Gram matrix."""
    R = read(W, Z - A)
    return R.T @ jnp.linalg.solve(A @ A.T + ridge * jnp.eye(len(A)), A)


@widened
def second_gram(W, Z, A, ridge):
    """(CP12) by the features' Gram matrix."""
    R = read(W, Z - A)
    return jnp.linalg.solve((A.T @ A + ridge * jnp.eye(A.shape[1])).T, A.T @ R).T


def objective(W, Z, A, ridge, D):
    return jnp.sum((read(D, A) - read(W, Z - A)) ** 2) + ridge * jnp.sum(D**2)


@widened
def slope(W, Z, A, ridge):
    return jax.grad(lambda D: objective(W, Z, A, ridge, D))(patch.shared_patch(W, Z, A, ridge))


def no_slope(W, Z, A, ridge):
    return jnp.zeros_like(W)


def left_and_added(W, Z, A, ridge, D):
    """(CP13): what the best patch leaves, and what the distance to it adds."""
    dW = patch.shared_patch(W, Z, A, ridge)
    left = jnp.sum(read(W, Z - A) ** 2) - jnp.sum(read(dW, A) ** 2) - ridge * jnp.sum(dW**2)
    return left + jnp.sum(read(D - dW, A) ** 2) + ridge * jnp.sum((D - dW) ** 2)


def spread(shape_n, with_ridge=True):
    """Draws inputs that are well spread, so that their Gram matrix can be solved in few bits."""

    def sample(rng):
        Q = np.linalg.qr(rng.standard_normal((max(shape_n, K), min(shape_n, K))))[0]
        A = Q.T if shape_n < K else Q
        W, Z = rng.standard_normal((V, K)), rng.standard_normal((shape_n, K))
        return (W, Z, 2 * A, rng.uniform(0.1, 1)) if with_ridge else (W, Z, 2 * A)

    return sample


def rows_of_digits(rng):
    """Softmax attention of each row of 60 digits over the rows above it: inputs with and without that context."""
    from dualform import digits

    x = digits.load(int(rng.integers(1 << 30))).train_x[:60].reshape(60, 8, 8)
    x = x + 0.1  # a row without ink is a zero input, which no patch acts on
    Z = []
    for image in x:
        scores = image @ image.T * np.sqrt(8)
        w = np.exp(np.where(np.tril(np.ones((8, 8))) > 0, scores, -np.inf))
        Z.append(w / w.sum(1, keepdims=True) @ image)
    return np.stack(Z)[:, 1:], x[:, 1:]  # the first row has no context


def other_tokens(rng) -> Measurement:
    """How far a patch is from the change that the context makes at the other rows of the same digit."""
    Z, A = rows_of_digits(rng)
    W = rng.standard_normal((16, 8)).astype(np.float32)

    def off(W, Z, A):
        patches = jax.vmap(patch.context_patch, (None, 0, 0))(W, Z, A)
        errors = jax.vmap(patch.patch_errors, (None, 0, None, None))(W, patches, Z, A)  # [patch, token, V]
        return jnp.sum(errors**2, -1), jnp.sum(read(W, Z - A) ** 2, -1)

    errors, changes = (np.asarray(x, np.float64) for x in jax.jit(jax.vmap(off, (None, 0, 0)))(
        W, Z.astype(np.float32), A.astype(np.float32)))  # fmt: skip
    own = np.eye(Z.shape[1], dtype=bool)
    per_digit = np.sqrt(errors[:, ~own].sum(1) / (changes.sum(1) * (len(own) - 1)))
    control = float(np.sqrt(errors[:, own].sum() / changes.sum()))
    low, high = np.quantile(rng.choice(per_digit, (500, len(per_digit))).mean(1), [0.025, 0.975])
    value = float(per_digit.mean())
    return Measurement(
        value, float(low), float(high), control,
        "error of a row's patch at the other rows of the digit, relative to the change that the context makes there "
        "(no patch at all: 1); control: at its own row",
        bool(low > 0.5 and control < 1e-5),
    )  # fmt: skip
