"""Wrong programs for chapter 7, a context as a patch. Each is a mistake that someone makes."""

from itertools import pairwise

import jax
import jax.numpy as jnp

from dualform import patch
from dualform.laws.patch.definitions import NORMS, averaged, mlp, projected
from dualform.patch import least_norm
from dualform.testing.mutant import Mutant

# (CP1), (CP2): one token. Forms are functions of W [V, K], z [K] with context, a [K] without.


def square(a):
    return jnp.sum(a * a)


def outer(change, key):
    """The patch as `change(W, z, a)` times `key(z, a)`."""
    return lambda W, z, a: jnp.outer(change(W, z, a), key(z, a))


def right_change(W, z, a):
    return W @ (z - a)


def right_key(z, a):
    return a / square(a)


def late(W, z, a):
    """The patched weight reads the input that already saw the context: it is counted twice."""
    return (W + patch.context_patch(W, z, a)) @ z


def one_pattern(e, key=lambda z, a: a):
    return lambda W, z, a, q: e(W, z, a) * jnp.sum(key(z, a) * q)


def gradient_step(loss, rate):
    """A step on `loss(M, W, z, a)` at the rate `rate(W, z, a)`."""
    return lambda W, z, a, q: -rate(W, z, a) * jax.grad(lambda M: loss(M, W, z, a))(W) @ q


# (CP4) to (CP6): blocks


def block(change):
    """A patched block, `change(W, u1, u0, norm) -> (dW, db, db2)`."""

    def form(kind):
        def f(W, b, W2, b2, u1, u0, *parameters):
            norm = NORMS[kind](*parameters)
            dW, db, db2 = change(W, u1, u0, norm)
            return mlp(u0, W + dW, b + db, W2, b2 + db2, norm)

        return f

    return form


def right_block(W, u1, u0, norm, weight=1.0, inner=0.0, outer=1.0):
    p = patch.block_patch(W, u1, u0, norm)
    return weight * p.weight, inner * (W @ (u1 - u0)), outer * p.bias


def unnormed(W, u1, u0, norm):
    """The patch of the streams, where W reads the norm of them."""
    return patch.context_patch(W, u1, u0), 0.0, u1 - u0


def normed_stream(W, u1, u0, norm):
    """The stream's difference taken after the norm."""
    return patch.block_patch(W, u1, u0, norm).weight, 0.0, norm(u1) - norm(u0)


def mixed_norm(W, u1, u0, norm):
    """The change is normed, the key is not."""
    return jnp.outer(W @ (norm(u1) - norm(u0)), u0) / square(u0), 0.0, u1 - u0


def gated(change):
    """A patched gated block, `change(right patch, W_gate, W_up, n1, n0, u1 - u0)`."""

    def form(W_gate, W_up, W_down, u1, u0, weight):
        norm = patch.RMSNorm(weight)
        n1, n0 = norm(u1), norm(u0)
        p = change(patch.gated_patch(W_gate, W_up, u1, u0, norm), W_gate, W_up, n1, n0, u1 - u0)
        hidden = jax.nn.silu((W_gate + p.gate) @ n0) * ((W_up + p.up) @ n0)
        return u0 + (W_down + p.down) @ hidden

    return form


def old_hidden(p, W_gate, W_up, n1, n0, stream):
    return p._replace(down=least_norm(stream, jax.nn.silu(W_gate @ n0) * (W_up @ n0)))


def only_gate(p, W_gate, W_up, n1, n0, stream):
    return p._replace(up=0 * p.up)


def no_stream(p, W_gate, W_up, n1, n0, stream):
    return p._replace(down=0 * p.down)


def before_the_gate(p, W_gate, W_up, n1, n0, stream):
    return p._replace(down=least_norm(stream, jax.nn.silu(W_gate @ n1)))


# (CP7): contexts


def per_token(weigh):
    """A patch for each token of a linear context, with the factor `weigh(a, values, keys, q)` [n]."""
    return lambda W, a, values, keys, q: jnp.outer(W @ (weigh(a, values, keys, q) @ values), a)


def gate_of(gate, change=lambda context, a: context - a):
    """The patch of a softmax context with `gate(own mass, mass of the context)`."""

    def form(W, w, values, w_context, values_context):
        a, context = averaged(w, values), averaged(w_context, values_context)
        share = gate(jnp.sum(w), jnp.sum(w_context))
        return least_norm(share * (W @ change(context, a)), a)

    return form


# (CP8) to (CP10): sequences


def loop(update, read):
    """`update(W_0, W_{i-1}, a_{i-1}, a_i, a_0)` for each token of the context, read at `read(inputs, i)`."""

    def form(W, inputs):
        S, rows = W, []
        for i, a in enumerate(inputs):
            S = update(W, S, inputs[i - 1], a, inputs[0]) if i else S
            rows.append(S @ read(inputs, i))
        return jnp.stack(rows)

    return form


def growing(update):
    return loop(update, lambda inputs, i: inputs[0])


def absorbing(update):
    return loop(update, lambda inputs, i: inputs[i])


def delta(beta=lambda keys: 1 / jnp.sum(keys * keys, axis=1), value=lambda W, before, a, first: W @ first):
    """The delta rule with other steps, or other values."""

    def form(W, inputs):
        S = W
        for before, a, step in zip(inputs[:-1], inputs[1:], beta(inputs[1:]), strict=True):
            S = S + step * jnp.outer(value(W, before, a, inputs[0]) - S @ a, a)
        return S

    return form


# (CP11) to (CP13): many tokens


def difference(share):
    return lambda W, z, a, Z, A: (share(A, a)[:, None] * (z - a)[None] - (Z - A)) @ W.T


def regression(gram, ridge=lambda ridge: ridge, inputs=lambda A: A):
    """A regression of the tokens with something done to its Gram matrix, ridge or inputs."""

    def form(W, Z, A, rho):
        R, A = (Z - A) @ W.T, inputs(A)
        return R.T @ jnp.linalg.solve(gram(A @ A.T) + ridge(rho) * jnp.eye(len(A)), A)

    return form


def mean_patch(W, Z, A, ridge):
    """The mean of the tokens' own patches."""
    return jnp.mean(jax.vmap(patch.context_patch, (None, 0, 0))(W, Z, A), axis=0)


def projected_outputs(W, Z, A, ridge):
    """The targets are the outputs, not their change."""
    return (Z @ W.T).T @ jnp.linalg.solve(A @ A.T + ridge * jnp.eye(len(A)), A)


def parts(left, added):
    """(CP13) with other parts: `left(R, dW, A, ridge)`, `added(difference, A, ridge)`."""

    def form(W, Z, A, ridge, D):
        dW = patch.shared_patch(W, Z, A, ridge)
        return left((Z - A) @ W.T, dW, A, ridge) + added(D - dW, A, ridge)

    return form


def right_left(R, dW, A, ridge):
    return square(R) - square(A @ dW.T) - ridge * square(dW)


def right_added(difference, A, ridge):
    return square(A @ difference.T) + ridge * square(difference)


PATCH = (
    ("no square", "not divided by |a|^2", outer(right_change, lambda z, a: a)),
    ("one root", "divided by |a|", outer(right_change, lambda z, a: a / jnp.sqrt(square(a)))),
    ("epsilon", "1e-8 added to |a|^2, as public code does", outer(right_change, lambda z, a: a / (square(a) + 1e-8))),
    ("whole output", "W z for W (z - a): the old output comes on top", outer(lambda W, z, a: W @ z, right_key)),
    ("key with context", "the key is z", outer(right_change, lambda z, a: z / square(z))),
    ("square with context", "divided by |z|^2", outer(right_change, lambda z, a: a / square(z))),
    ("sign", "without minus with", outer(lambda W, z, a: W @ (a - z), right_key)),
    ("no W", "the change of the input, cut to V rows", outer(lambda W, z, a: (z - a)[: len(W)], right_key)),
    ("stopped key", "the key held constant", outer(right_change, lambda z, a: jax.lax.stop_gradient(right_key(z, a)))),
    ("stopped input", "the layer before the patch is cut off", lambda W, z, a: patch.context_patch(
        W, jax.lax.stop_gradient(z), a)),
)  # fmt: skip

BLOCKS = (
    ("CP4", "norm: none", "no bias", "the residual stream forgotten", block(
        lambda W, u1, u0, norm: right_block(W, u1, u0, norm, outer=0.0))("none")),
    ("CP4", "norm: none", "bias twice", "the stream's change in both places", block(
        lambda W, u1, u0, norm: right_block(W, u1, u0, norm, outer=2.0))("none")),
    ("CP4", "norm: none", "both remedies", "a patched weight and a patched inner bias", block(
        lambda W, u1, u0, norm: right_block(W, u1, u0, norm, inner=1.0))("none")),
    ("CP4", "norm: none", "no weight", "a steering vector alone", block(
        lambda W, u1, u0, norm: right_block(W, u1, u0, norm, weight=0.0))("none")),
    ("CP5", "norm: RMSNorm", "unnormed", "the patch of what goes into the norm", block(unnormed)("RMSNorm")),
    ("CP5", "norm: LayerNorm", "unnormed", "the patch of what goes into the norm", block(unnormed)("LayerNorm")),
    ("CP5", "norm: RMSNorm", "normed stream", "the stream's change after the norm", block(normed_stream)("RMSNorm")),
    ("CP5", "norm: RMSNorm", "mixed", "the key before the norm", block(mixed_norm)("RMSNorm")),
    ("CP6", "RMSNorm, SiLU", "old hidden", "the hidden vector without context", gated(old_hidden)),
    ("CP6", "RMSNorm, SiLU", "only gate", "the second inner weight forgotten", gated(only_gate)),
    ("CP6", "RMSNorm, SiLU", "no stream", "the outer weight forgotten", gated(no_stream)),
    ("CP6", "RMSNorm, SiLU", "before the gate", "the gate alone as hidden vector", gated(before_the_gate)),
)  # fmt: skip

CONTEXTS = (
    ("linear attention", "a patch per token", "no square", "not divided by |a|^2", per_token(
        lambda a, v, keys, q: keys @ q)),
    ("linear attention", "a patch per token", "no scores", "every token counts alike", per_token(
        lambda a, v, keys, q: jnp.ones(len(keys)) / square(a))),
    ("linear attention", "a patch per token", "softmax", "scores normalised", per_token(
        lambda a, v, keys, q: jax.nn.softmax(keys @ q) / square(a))),
    ("softmax attention", "gated", "no gate", "as if attention were linear", gate_of(lambda own, context: 1.0)),
    ("softmax attention", "gated", "other gate", "1 - lambda", gate_of(lambda own, context: own / (own + context))),
    ("softmax attention", "gated", "odds", "divided by the own mass", gate_of(lambda own, context: context / own)),
    ("softmax attention", "gated", "added", "what was there is not shrunk", gate_of(
        lambda own, context: context / (own + context), lambda context, a: context)),
)  # fmt: skip

SEQUENCES = (
    ("CP8", "patched", "moving key", "each patch with the input before it as key", growing(
        lambda W, S, before, a, first: S + least_norm(W @ (a - before), before))),
    ("CP8", "patched", "compound", "the patched weight in place of W", growing(
        lambda W, S, before, a, first: S + least_norm(S @ (a - before), first))),
    ("CP8", "patched", "from the start", "each patch holds all patches before it", growing(
        lambda W, S, before, a, first: S + least_norm(W @ (a - first), first))),
    ("CP9", "patched", "frozen", "W in place of the patched weight", absorbing(
        lambda W, S, before, a, first: S + least_norm(W @ (before - a), a))),
    ("CP9", "patched", "old key", "the key before the token is gone", absorbing(
        lambda W, S, before, a, first: S + least_norm(S @ (before - a), before))),
    ("CP9", "patched", "replaced", "each patch instead of the last", absorbing(
        lambda W, S, before, a, first: W + least_norm(W @ (before - a), a))),
)  # fmt: skip

DELTAS = (
    ("step 1", "keys taken for unit vectors", delta(beta=lambda keys: jnp.ones(len(keys)))),
    ("mean step", "one step size for all keys", delta(beta=lambda keys: jnp.full(len(keys), 1 / square(keys)))),
    ("moving value", "the output before each token", delta(value=lambda W, before, a, first: W @ before)),
)

MANY = (
    ("CP11", "other tokens", "difference", "no square", "not divided by |a|^2", difference(lambda A, a: A @ a)),
    ("CP11", "other tokens", "difference", "whole change", "the patch acts fully on every token", difference(
        lambda A, a: jnp.ones(len(A)))),
    ("CP11", "other tokens", "difference", "cosine", "divided by both norms", difference(
        lambda A, a: A @ a / jnp.sqrt(square(a) * jnp.sum(A * A, axis=1)))),
    ("CP12", "three tokens", "shared_patch", "mean patch", "tokens' own patches averaged", mean_patch),
    ("CP12", "three tokens", "shared_patch", "no ridge", "the ridge forgotten", regression(
        lambda G: G, lambda ridge: 0 * ridge)),
    ("CP12", "three tokens", "shared_patch", "ridge per token", "the ridge times n", regression(
        lambda G: G, lambda ridge: 3 * ridge)),
    ("CP12", "three tokens", "shared_patch", "diagonal", "tokens taken for orthogonal", regression(
        lambda G: jnp.diag(jnp.diag(G)))),
    ("CP12", "three tokens", "shared_patch", "whole outputs", "outputs for their change", projected_outputs),
    ("CP12", "six tokens", "shared_patch", "centred", "inputs centred, as regressions do", regression(
        lambda G: G, inputs=lambda A: A - A.mean(0)[None])),
    ("CP13", "five tokens", "left and added", "no ridge inside", "the best patch's own norm forgotten", parts(
        lambda R, dW, A, ridge: square(R) - square(A @ dW.T), right_added)),
    ("CP13", "five tokens", "left and added", "no ridge outside", "the distance without the ridge", parts(
        right_left, lambda gap, A, ridge: square(A @ gap.T))),
)  # fmt: skip

MUTANTS = (
    *(Mutant(f"context_patch: {name}", "CP1", "context_patch", form, why) for name, why, form in PATCH),
    Mutant("patched: read with context", "CP1", "patched", late, "the context counted twice", "one token"),
    Mutant("patched: bias before W", "CP1", "a bias instead", lambda W, z, a, b: jnp.tanh(W @ a + (b + W @ z)),
           "the whole output as bias", "any function after it"),
    Mutant("one pattern: no rate", "CP2", "one pattern", one_pattern(right_change), "the step size forgotten"),
    Mutant("one pattern: key with context", "CP2", "one pattern",
           one_pattern(lambda W, z, a: right_change(W, z, a) / square(a), lambda z, a: z), "the key is z"),
    Mutant("step: no half", "CP2", "a step of SGD",
           gradient_step(lambda M, W, z, a: square(M @ a - W @ z), lambda W, z, a: 1 / square(a)), "the factor 2 left"),
    Mutant("step: moving target", "CP2", "a step of SGD",
           gradient_step(lambda M, W, z, a: 0.5 * square(M @ (a - z)), lambda W, z, a: 1 / square(a)),
           "the target moves with the weight"),
    Mutant("norms: not projected", "CP3", "two norms",
           lambda W, z, a, Z: square(patch.context_patch(W, z, a)) + square(Z), "any change, not one outside a"),
    Mutant("norms: of the sum", "CP3", "two norms",
           lambda W, z, a, Z: square(patch.context_patch(W, z, a) + Z) - square(Z) + square(projected(Z, a)),
           "a cross term left"),
    Mutant("solutions: from zero", "CP3", "patch and rest",
           lambda W, z, a, D: square(patch.context_patch(W, z, a)) + square(D - patch.context_patch(W, z, a)),
           "any matrix taken for a solution"),
    *(Mutant(f"block, {case}: {name}", label, "patched", form, why, case) for label, case, name, why, form in BLOCKS),
    *(Mutant(f"context: {name}", "CP7", which, form, why, case) for case, which, name, why, form in CONTEXTS),
    *(Mutant(f"sequence, {label}: {name}", label, which, form, why, "after each token")
      for label, which, name, why, form in SEQUENCES),
    *(Mutant(f"absorbing: {name}", "CP10", "delta", form, why) for name, why, form in DELTAS),
    *(Mutant(f"tokens, {label}: {name}", label, which, form, why, case)
      for label, case, which, name, why, form in MANY),
)  # fmt: skip

HARMLESS = (
    Mutant("context_patch: difference of outputs", "CP1", "context_patch", outer(
               lambda W, z, a: W @ z - W @ a, right_key), "two products, then their difference"),
    Mutant("sequence: running sum", "CP8", "sum of patches", lambda W, inputs: W + sum(
               least_norm(W @ (a - before), inputs[0])
               for before, a in pairwise(inputs)), "patches summed at the end"),
    Mutant("tokens: inverse", "CP12", "shared_patch", lambda W, Z, A, ridge: (
               ((Z - A) @ W.T).T @ jnp.linalg.inv(A @ A.T + ridge * jnp.eye(len(A))) @ A), "an inverse for a solve",
           "three tokens"),
)  # fmt: skip
