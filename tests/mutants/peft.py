"""Wrong programs for chapter 8, light finetuning. Each is a mistake that someone makes."""

import jax
import jax.numpy as jnp

from dualform import linear, peft
from dualform.laws.peft import laws
from dualform.laws.peft.definitions import LINEAR, TANH, averaged, exponentials, flat
from dualform.testing.mutant import Mutant

# (PE1) to (PE5): LoRA, as functions of W, A [r, K], U [V, r], E [T, B, V], X [T, B, K], a query and the scale


def loop(f, df, signals=None, keys=None, down=None, frozen=False):
    """Training with other values for A, `signals(df(z), U, e, s)`, or other keys for B, `keys(f(z), z)`."""
    signals = signals or (lambda d, U, e, s: d * s * (e @ U))
    keys = keys or (lambda h, z: h)

    def form(A, U, E, X, s):
        for e, x in zip(E, X, strict=True):
            z = x @ A.T
            dA = signals(df(z), U, e, s).T @ x
            U_next = U + s * e.T @ keys(f(z), z)
            A, U = A if frozen else A + (dA if down is None else down(A, U_next, e, x, s)), U_next
        return A, U

    return form


def new_factor(A, U_next, e, x, s):
    """A moves by the B that has just been updated."""
    return s * (e @ U_next).T @ x


def thawed(A, U, E, X, s):
    """A trained where it should be frozen."""
    return loop(*LINEAR)(A, U, E, X, s)


def two_stage(signals=lambda p: p, keys=lambda p, A: p, z=None, scale=lambda s: s * s):
    """(PE5) with something done to the recorded patterns or to the query's features."""

    def form(W, A, U, E, X, q, s):
        run = peft.bottleneck_run(A, U, E, X, scale=s)
        e, x = flat(E, X)
        a, h = flat(run.signals, run.keys)
        features = A @ q + linear.linear_attn(signals(a), x, q) if z is None else z(A, run, q)
        late = linear.linear_attn(e, keys(h, x @ A.T), features, scale=scale(s))
        return W @ q + s * U @ features + late

    return form


def one_kernel(kernel, scale=lambda s: s * s, start=True):
    """(PE4) with other scores, `kernel(A, X, q)` [n]."""

    def form(W, A, U, E, X, q, s):
        e, x = flat(E, X)
        return W @ q + start * s * U @ (A @ q) + scale(s) * kernel(A, x, q) @ e

    return form


def projected(kernel, scale=lambda s: s * s):
    """(PE3) with other scores."""
    return lambda W, A, E, X, q, s: W @ q + scale(s) * kernel(A, X, q) @ E


def right_kernel(A, x, q):
    return (x @ A.T) @ (A @ q)


# (PE6): ranks


def with_update(A, E, X):
    """A step of full finetuning beside LoRA: the change is no longer thin."""
    run = peft.bottleneck_run(A, jnp.zeros((3, len(A))), E, X)
    return laws.determinant(run.B @ run.A + jnp.eye(3))


def decayed(A, U, E, X):
    """Weight decay on both factors: the change now holds the start at another size, and still only 2 r dimensions."""
    run = peft.bottleneck_run(A, U, E, X)
    return laws.determinant(0.9 * run.B @ run.A - U @ A + 0.1 * jnp.eye(3))


# (PE7) to (PE10): adapters


def narrow(change):
    """An adapter as `change(h, score, W2, b2)` of its scores W_1 h + b_1."""
    return lambda h, W1, b1, W2, b2: change(h, h @ W1.T + b1, W2, b2)


def slot_gates(change):
    return lambda h, W1, b1, W2, b2, g: peft.slots(h, W1, b1, W2, b2, change(g))


def softmax_slots(h, W1, b1, W2, b2):
    """Normalised weights, as attention has them, in place of tanh."""
    return h + W2 @ jax.nn.softmax(W1 @ h + b1) + b2


def adapter_read(features=lambda f, z: f(z), bias=True, signal=lambda a: a, residual=True):
    """(PE10) with a mistake."""

    def form(W1, b1, W2, b2, E, X, h):
        A, U = peft.adapter_factors(W1, b1, W2, b2)
        f, extend = peft.biased(jnp.tanh), linear.with_bias
        run = peft.bottleneck_run(A, U, E, extend(X), f)
        e, x = flat(E, extend(X))
        a, k = flat(run.signals, run.keys)
        q = extend(h) if bias else jnp.concatenate([h, jnp.zeros(1)])
        z = A @ extend(h) + linear.linear_attn(signal(a), x, q)
        out = U @ features(f, z) + linear.linear_attn(e, k, features(f, z))
        return h + out if residual else out

    return form


def undifferentiated(W1, b1, W2, b2, E, X, h):
    """The values of the first stage without f'."""
    A, U = peft.adapter_factors(W1, b1, W2, b2)
    f = peft.biased(jnp.tanh)
    for e, x in zip(E, linear.with_bias(X), strict=True):
        A, U = A + (e @ U[:, :-1]).T @ x, U + e.T @ f(x @ A.T)
    return h + U @ f(A @ linear.with_bias(h))


# (PE11), (PE12): prefixes


def mixed(weights, mix=lambda gate, own, prefix: (1 - gate) * own + gate * prefix):
    """(PE12) with the gate of other weights, or another mixture."""

    def form(values, keys, P_V, P_K, q):
        w, w_P = exponentials(keys, q), exponentials(P_K, q)
        own, prefix = weights(w, w_P)
        return mix(prefix / (own + prefix), averaged(w, values), averaged(w_P, P_V))

    return form


def right_weights(w, w_P):
    return jnp.sum(w), jnp.sum(w_P)


# (PE13) to (PE15): scales and biases


def scale_scores(change):
    """(PE14) as `change(E, W x_i, W q)` [V], beside the start."""
    return lambda W, l, E, X, q: l * (W @ q) + change(E, X @ W.T, W @ q)


LORA = (
    ("PE1", "many inputs", "lora", "no scale", "alpha / r forgotten", lambda W, A, U, x, s: peft.lora(W, A, U, x)),
    ("PE1", "many inputs", "lora", "scale twice", "squared", lambda W, A, U, x, s: peft.lora(W, A, s * U, x, s)),
    ("PE1", "many inputs", "lora", "no W", "the frozen weight forgotten", lambda W, A, U, x, s: peft.bottleneck(
        A, U, x, scale=s)),
    ("PE1", "many inputs", "lora", "merged twice", "the change also in the weight", lambda W, A, U, x, s: peft.lora(
        W + s * U @ A, A, U, x, s)),
    ("PE2", "LoRA", "recorded", "new factor", "A moved by the new B", loop(*LINEAR, down=new_factor)),
    ("PE2", "LoRA", "recorded", "no scale in A", "the scale forgotten backwards", loop(
        *LINEAR, signals=lambda d, U, e, s: e @ U)),
    ("PE2", "LoRA", "recorded", "frozen", "A does not move", loop(*LINEAR, frozen=True)),
    ("PE2", "LoRA", "recorded", "sign in A", "A climbs", loop(*LINEAR, signals=lambda d, U, e, s: -s * (e @ U))),
    ("PE2", "LoRA", "recorded", "mean", "the mean over the minibatch for A", loop(
        *LINEAR, signals=lambda d, U, e, s: s * (e @ U) / len(e))),
    ("PE2", "LoRA", "descent", "stopped A", "B's past is cut off", lambda A, U, E, X, s: laws.descended(LINEAR[0])(
        jax.lax.stop_gradient(A), U, E, X, s)),
    ("PE2", "frozen A", "recorded", "thawed", "A is trained", thawed),
    ("PE2", "through tanh", "recorded", "no derivative", "f' forgotten", loop(
        *TANH, signals=lambda d, U, e, s: s * (e @ U))),
    ("PE2", "through tanh", "recorded", "keys before f", "what B reads taken before f", loop(
        *TANH, keys=lambda h, z: z)),
    ("PE3", "from B = 0", "projected scores", "no projection", "full finetuning's scores", projected(
        lambda A, x, q: x @ q)),
    ("PE3", "from B = 0", "projected scores", "scale once", "s for s squared", projected(right_kernel, lambda s: s)),
    ("PE3", "from B = 0", "projected scores", "per rank", "divided by r", projected(
        lambda A, x, q: right_kernel(A, x, q) / len(A))),
    ("PE4", "two steps", "dual", "scale once", "s for s squared", one_kernel(right_kernel, lambda s: s)),
    ("PE4", "two steps", "dual", "no start", "the B of the start forgotten", one_kernel(right_kernel, start=False)),
    ("PE4", "two steps", "dual", "one projection", "the query projected twice, the keys not at all", one_kernel(
        lambda A, x, q: x @ (A.T @ (A @ (A.T @ (A @ q)))))),
    ("PE5", "two steps", "dual", "one stage", "the features of A at the start", two_stage(
        z=lambda A, run, q: A @ q)),
    ("PE5", "two steps", "dual", "fresh keys", "keys by A at the start", two_stage(keys=lambda h, fresh: fresh)),
    ("PE5", "two steps", "dual", "scale once", "s for s squared", two_stage(scale=lambda s: s)),
    ("PE5", "two steps", "dual", "sign", "the first stage subtracted", two_stage(signals=lambda a: -a)),
    ("PE5", "two steps", "dual", "last pattern", "the last pattern of the first stage lost", two_stage(
        signals=lambda a: a.at[-1].set(0))),
    ("PE5", "two steps", "dual", "stopped record", "recorded keys held constant", two_stage(
        keys=lambda h, fresh: jax.lax.stop_gradient(h))),
)  # fmt: skip

RANKS = (
    ("two patterns, r = 3, 3 x 3", "unfrozen", "the weight trained as well", with_update),
    ("r = 1, 3 x 3", "decay of W", "something of full rank decays beside", decayed),
)

ADAPTERS = (
    ("PE7", "tanh", "adapter", "no residual", "the adapter in place of the layer", narrow(
        lambda h, z, W2, b2: W2 @ jnp.tanh(z) + b2)),
    ("PE7", "tanh", "adapter", "activated twice", "f after the second weight, too", narrow(
        lambda h, z, W2, b2: h + jnp.tanh(W2 @ jnp.tanh(z) + b2))),
    ("PE7", "tanh", "adapter", "bias inside", "the second bias before the second weight", narrow(
        lambda h, z, W2, b2: h + W2 @ (jnp.tanh(z) + b2[: len(z)]))),
    ("PE7", "tanh", "adapter", "ReLU", "another activation", narrow(
        lambda h, z, W2, b2: h + W2 @ jnp.maximum(z, 0) + b2)),
    ("PE7", "tanh", "adapter", "stopped residual", "the layer below is cut off", narrow(
        lambda h, z, W2, b2: jax.lax.stop_gradient(h) + W2 @ jnp.tanh(z) + b2)),
    ("PE8", "a ReLU's mask as data", "slots", "no gates", "every slot open", slot_gates(jnp.ones_like)),
    ("PE8", "a ReLU's mask as data", "slots", "squared gates", "gates on keys and values", slot_gates(lambda g: g * g)),
    ("PE8", "a ReLU's mask as data", "slots", "bias ungated", "the first bias outside the gate",
     lambda h, W1, b1, W2, b2, g: h + W2 @ (g * (W1 @ h) + b1) + b2),
    ("PE8", "tanh", "adapter", "softmax", "weights that sum to 1", softmax_slots),
    ("PE8", "ReLU", "slots", "leaky", "closed gates leak", lambda h, W1, b1, W2, b2: peft.slots(
        h, W1, b1, W2, b2, jnp.where(W1 @ h + b1 > 0, 1.0, 0.01))),
    ("PE9", "after", "merged", "transposed", "rows for columns", lambda W, W1, W2, x: W @ x + (W2 @ W1).T @ (W @ x)),
    ("PE9", "after", "merged", "no identity", "the layer replaced", lambda W, W1, W2, x: W2 @ (W1 @ (W @ x))),
    ("PE9", "beside", "merged", "in series", "through the layer", lambda W, W1, W2, x: W @ x + W2 @ (W1 @ (2 * x))),
    ("PE10", "tanh, biases, two steps", "dual", "no f", "f left out at the query", adapter_read(
        lambda f, z: linear.with_bias(z))),
    ("PE10", "tanh, biases, two steps", "dual", "no 1", "scores of the first stage without the bias's 1", adapter_read(
        bias=False)),
    ("PE10", "tanh, biases, two steps", "dual", "one stage", "A as it was", adapter_read(signal=jnp.zeros_like)),
    ("PE10", "tanh, biases, two steps", "dual", "no derivative", "f' forgotten in the record", undifferentiated),
    ("PE10", "tanh, biases, two steps", "dual", "no residual", "h forgotten", adapter_read(residual=False)),
)  # fmt: skip

PREFIXES = (
    ("PE11", "two of prefix", "updated", "keys with keys", "P_K' P_K", lambda v, k, P_V, P_K, q: linear.linear_attn(
        v, k, q) + P_V.T @ (P_K @ (P_K.T @ (P_K @ q)))),
    ("PE11", "two of prefix", "updated", "mean", "divided by the prefix length", lambda v, k, P_V, P_K, q: (
        linear.linear_attn(v, k, q) + P_V.T @ (P_K @ q) / len(P_K))),
    ("PE12", "two of prefix", "adapter", "no shrinking", "added to attention", mixed(
        right_weights, lambda gate, own, prefix: own + gate * prefix)),
    ("PE12", "two of prefix", "adapter", "no gate", "the mean of the two", mixed(
        right_weights, lambda gate, own, prefix: (own + prefix) / 2)),
    ("PE12", "two of prefix", "adapter", "exchanged", "the gate of the other block", mixed(
        lambda w, w_P: (jnp.sum(w_P), jnp.sum(w)))),
    ("PE12", "two of prefix", "adapter", "by counting", "the gate of equal scores", mixed(
        lambda w, w_P: (float(len(w)), float(len(w_P))))),
    ("PE12", "two of prefix", "prefix_split", "default scale", "scores divided by a root", lambda v, k, P_V, P_K, q: (
        peft.prefix_split(v, k, P_V, P_K, q).attn)),
)  # fmt: skip

SCALES = (
    ("PE13", "a layer", "ia3", "added", "1 + l for l, as if l started at zero", lambda W, l, x: peft.ia3(W, 1 + l, x)),
    ("PE13", "a layer", "weight", "columns", "inputs scaled", lambda W, l, x: (W + W * (jnp.mean(l) - 1)) @ x),
    ("PE13", "keys of attention", "query", "twice", "on keys and query", lambda v, k, l, q: linear.linear_attn(
        v, k * l[None], l * q)),
    ("PE13", "values of attention", "output", "mean", "one factor for all features", lambda v, k, l, q: jnp.mean(
        l) * linear.linear_attn(v, k, q)),
    ("PE14", "one query", "dual", "scalar score", "attention's score of the outputs", scale_scores(
        lambda E, Y, y: (Y @ y) @ E)),
    ("PE14", "one query", "dual", "inputs", "scores without W", lambda W, l, E, X, q: l * (W @ q) + (X @ q) @ E),
    ("PE14", "one query", "dual", "sign", "the step taken up the loss", scale_scores(lambda E, Y, y: -jnp.sum(
        E * Y, axis=0) * y)),
    ("PE15", "one query", "dual", "mean", "the mean of the patterns", lambda W, b, E, q: W @ q + b + jnp.mean(E, 0)),
    ("PE15", "one query", "dual", "no start", "the bias before training forgotten", lambda W, b, E, q: (
        W @ q + jnp.sum(E, 0))),
    ("PE15", "one query", "dual", "real scores", "scores x_i.q with a constant input", lambda W, b, E, q: (
        W @ q + b + jnp.sum(E, 0) * jnp.sum(q))),
)  # fmt: skip

MUTANTS = (
    *(Mutant(f"LoRA, {label}, {case}: {name}", label, which, form, why, case)
      for label, case, which, name, why, form in LORA),
    *(Mutant(f"rank: {name}", "PE6", "determinant", form, why, case) for case, name, why, form in RANKS),
    *(Mutant(f"adapter, {label}: {name}", label, which, form, why, case)
      for label, case, which, name, why, form in ADAPTERS),
    *(Mutant(f"prefix, {label}: {name}", label, which, form, why, case)
      for label, case, which, name, why, form in PREFIXES),
    *(Mutant(f"scale, {label}, {case}: {name}", label, which, form, why, case)
      for label, case, which, name, why, form in SCALES),
)  # fmt: skip

HARMLESS = (
    Mutant("LoRA: scale on A", "PE1", "lora", lambda W, A, U, x, s: peft.lora(W, s * A, U, x), "s B A as B (s A)",
           "many inputs"),
    Mutant("LoRA: query pulled back", "PE4", "dual", one_kernel(lambda A, x, q: x @ (A.T @ (A @ q))),
           "the query projected and brought back", "two steps"),
    Mutant("adapter: gates of tanh", "PE8", "adapter", lambda h, W1, b1, W2, b2: peft.slots(
               h, W1, b1, W2, b2, jnp.tanh(W1 @ h + b1) / (W1 @ h + b1)), "f(score) / score as gates", "tanh"),
    Mutant("prefix: behind the tokens", "PE11", "updated", lambda v, k, P_V, P_K, q: linear.linear_attn(
               jnp.concatenate([v, P_V]), jnp.concatenate([k, P_K]), q), "linear attention has no order",
           "two of prefix"),
)  # fmt: skip
