"""The laws of chapter 6: a context as a patch of the next weight."""

from collections.abc import Callable
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np

from dualform import patch
from dualform.laws.law import BOUNDED, MEASURED, PROVED, REFUTED, Case, Law, Measurement, widened
from dualform.laws.linear import attended, read
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


LAWS = (
    Law(
        "CP1", "a context is a rank-1 patch of the next weight, for its token",
        r"(W + \Delta W) a = W z, \quad \Delta W = W (z - a) a^\top / |a|^2",
        (
            Case("one token", {"with context": seen, "patched": patched}, TOKEN),
            Case("the patch", {"definition": outer_product, "context_patch": patch.context_patch}, TOKEN),
            Case("any function after it", {"with context": hidden, "patched": patched_hidden,
                                           "a bias instead": patched_bias}, (*TOKEN, (V,))),
        ),
        domain="a not zero", source="Dherin et al. 2025; claim C40, for one token",
    ),
    Law(
        "CP2", "the patch is one pattern, written by one step of gradient descent",
        r"\Delta W q = W (z - a) / |a|^2 \cdot (a \cdot q)",
        (Case("read at a query", {"patch": patch_read, "one pattern": one_pattern, "a step of SGD": one_step},
              (*TOKEN, (K,))),),
        domain="a not zero",
        full_only=(BOUNDED,),
    ),
    Law(
        "CP3", "no change of the weight that does the same is smaller",
        r"|\Delta W + Z P|^2 = |\Delta W|^2 + |Z P|^2, \quad P = I - a a^\top / |a|^2",
        (
            Case("a change outside a", {"one norm": whole_norm, "two norms": two_norms}, (*TOKEN, (V, K))),
            Case("any solution", {"its norm": lambda *sides: jnp.sum(solution(*sides) ** 2),
                                  "patch and rest": beyond_the_patch}, (*TOKEN, (V, K))),
        ),
        domain="a not zero",
        full_only=(BOUNDED,),
    ),
    Law(
        "CP4", "with a skip connection the output bias carries the stream",
        r"\Delta b_2 = u_1 - u_0", (blocks("none"),), domain="any function in the block: tanh stands for it",
        source="Dherin et al. 2025",
        full_only=(BOUNDED,),
    ),
    Law(
        "CP5", "with a norm in front the patch reads what the norm returns",
        r"\Delta W = W (n_1 - n_0) n_0^\top / |n_0|^2", (blocks("RMSNorm", (K,)), blocks("LayerNorm", (K,), (K,))),
        domain="RMSNorm, LayerNorm; normed inputs not zero", source="Dherin et al. 2025; Innocenti and Achour 2025",
    ),
    Law(
        "CP6", "in a gated block without biases the outer weight carries the stream",
        r"\Delta W_d = (u_1 - u_0) h^\top / |h|^2",
        (Case("RMSNorm, SiLU", {"with context": gated_seen, "patched": gated_patched},
              ((V, K), (V, K), (K, V), (K,), (K,), (K,))),),
        domain="hidden vector not zero", source="Goldwaser et al. 2025",
    ),
    Law(
        "CP7", "every token of a linear context brings its patch; softmax puts a gate on the difference",
        r"\Delta W = \sum_i (k_i \cdot q) W v_i a^\top / |a|^2",
        (
            Case("linear attention", {"patch": linear_context, "a patch per token": patch_per_token},
                 ((V, K), (K,), (n, K), (n, 2), (2,))),
            Case("softmax attention", {"patch": softmax_context, "gated": gated_patch_of_context},
                 ((V, K), (2,), (2, K), (3,), (3, K)), sample=weights),
        ),
        domain="softmax weights as independent variables",
        full_only=(BOUNDED,),
    ),
    Law(
        "CP8", "patches of a growing context add up to one of rank 1",
        r"W_i = W_{i-1} + W (a_i - a_{i-1}) a_0^\top / |a_0|^2, \quad W_i a_0 = W a_i",
        (
            Case("after each token", {"with context": seen_rows, "patched": growing_rows}, ((V, K), (n + 1, K))),
            Case("after the last", {"one patch": whole_patch, "sum of patches": last_growing,
                                    "descent": linear_losses}, ((V, K), (n + 1, K))),
        ),
        domain="first input not zero", source="Dherin et al. 2025",
        full_only=(BOUNDED,),
    ),
    Law(
        "CP9", "a weight absorbs the context token by token",
        r"W_i = W_{i-1} + W_{i-1} (a_{i-1} - a_i) a_i^\top / |a_i|^2, \quad W_i a_i = W a_0",
        (
            Case("after each token", {"whole context": first_output, "patched": absorbing_rows}, ((V, K), (n + 1, K))),
            Case("after the last", {"as published": multiplied, "absorbing_patches": last_absorbing},
                 ((V, K), (n + 1, K))),
        ),
        domain="later inputs not zero", source="Dherin et al. 2025, later versions",
        full_only=(BOUNDED,),
    ),
    Law(
        "CP10", "absorbing a context is the delta rule on one value",
        r"W_i = W_{i-1} + \beta_i (W a_0 - W_{i-1} a_i) a_i^\top, \quad \beta_i = 1 / |a_i|^2",
        (Case("after the last", {"absorbing_patches": last_absorbing, "delta": by_delta("recurrent"),
                                 "delta, dual form": by_delta("chunked")}, ((V, K), (n + 1, K))),),
        (PROVED,), domain="later inputs not zero",
    ),
    Law(
        "CP8", "\"the weight after a context does not depend on the order of consumption\"",
        r"W_n \text{ of (CP8)} = W_n \text{ of (CP9)}",
        (Case("two tokens", {
            "growing": lambda W, a, first, second, both: last_growing(W, jnp.stack([a, first, both])),
            "absorbing": lambda W, a, first, second, both: last_absorbing(W, jnp.stack([both, second, a])),
        }, ((1, 2), (2,), (2,), (2,), (2,))),),
        (REFUTED,), source="reading the two versions of Dherin et al. 2025 as one",
    ),
    Law(
        "CP11", "at another token a patch is off by a difference of two changes",
        r"(W + \Delta W) a_t - W z_t = W ((z - a)(a \cdot a_t)/|a|^2 - (z_t - a_t))",
        (Case("other tokens", {"patch_errors": off_by, "difference": difference_of_changes},
              (*TOKEN, (n, K), (n, K))),),
        domain="a not zero",
        full_only=(BOUNDED,),
    ),
    Law(
        "CP11", "\"a context acts as an update of the weight\", one for all tokens",
        r"(W + \Delta W) a_t = W z_t",
        (
            Case("another token", {"as claimed": elsewhere, "with context": other_seen},
                 ((1, 2), (2,), (2,), (2,), (2,))),
            Case("linear context", {"as claimed": linear_elsewhere, "with context": linear_seen},
                 ((1, 2), (2, 2), (2,), (2,))),
        ),
        (REFUTED,), source="claim C40, as it is retold: the papers say token-dependent",
    ),
    Law(
        "CP12", "the patch that serves many tokens is a regression",
        r"\Delta W = R^\top (A A^\top + \rho I)^{-1} A = R^\top A (A^\top A + \rho I)^{-1}",
        (
            Case("three tokens", {"tokens' Gram": first_gram, "features' Gram": second_gram,
                                  "shared_patch": patch.shared_patch}, ((V, K), (3, K), (3, K), ()), sample=spread(3)),
            Case("six tokens", {"tokens' Gram": first_gram, "features' Gram": second_gram,
                                "shared_patch": patch.shared_patch}, ((V, K), (6, K), (6, K), ()), sample=spread(6)),
            Case("gradient at the patch", {"zero": no_slope, "slope": slope}, ((V, K), (5, K), (5, K), ()),
                 gradient=False, bounded=False),
            Case("as many tokens as features", {"with context": exact_rows, "patched": shared_rows},
                 ((V, K), (K, K), (K, K)), sample=spread(K, False), gradient=False),
            Case("fewer tokens", {"with context": exact_rows, "patched": shared_rows},
                 ((V, K), (2, K), (2, K)), sample=spread(2, False), gradient=False),
            Case("one token", {"context_patch": lambda W, z, a: patch.context_patch(W, z[0], a[0]),
                               "shared_patch": patch.shared_patch}, ((V, K), (1, K), (1, K))),
        ),
        domain="independent inputs, or a ridge",
        full_only=(BOUNDED,),
    ),
    Law(
        "CP12", "a linear context has one patch for all tokens, and regression finds it", r"\Delta W = W S",
        (Case("six tokens", {"W S": lambda W, S, A: W @ S,
                             "shared_patch": lambda W, S, A: patch.shared_patch(W, A + A @ S.T, A)},
              ((V, K), (K, K), (6, K)), gradient=False),),
        (PROVED,), domain="inputs that span the space",
    ),
    Law(
        "CP13", "what the best patch leaves, and what the distance to it adds",
        r"J(D) = J(\Delta W) + |A (D - \Delta W)^\top|^2 + \rho |D - \Delta W|^2",
        (Case("five tokens", {"objective": objective, "left and added": left_and_added},
              ((2, 3), (5, 3), (5, 3), (), (2, 3)), gradient=False),),
        (PROVED,), domain="Gram matrix invertible",
    ),
    Law(
        "CP11", "on rows of real digits the patch of one row misses the change at the others", "", (), (MEASURED,),
        domain="softmax attention over the rows above", measure=other_tokens, source="claim C40",
        full_only=(MEASURED,),
    ),
)  # fmt: skip
