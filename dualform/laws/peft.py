"""The laws of chapter 7: low-rank factors, adapters, prefixes, scales and biases."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from dualform import peft
from dualform.attention import split_from_weights
from dualform.laws.descent import determinant, zero
from dualform.laws.law import BOUNDED, MEASURED, PROVED, REFUTED, Case, Law, Measurement, widened
from dualform.laws.linear import attended, read
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


ADAPTER = ((K,), (r, K), (r,), (K, r), (K,))
LORA = ((V, K), *FACTORS, *PATTERNS, (K,), ())

LAWS = (
    Law(
        "PE1", "LoRA is a layer plus a product of two thin factors", "y = W x + s B A x",
        (
            Case("many inputs", {"factored": factored, "merged": merged, "lora": peft.lora},
                 ((V, K), *FACTORS, (n, K), ())),
            Case("the change", {"factored": lambda A, U, x, s: s * read(U, read(A, x)),
                                "bottleneck": lambda A, U, x, s: peft.bottleneck(A, U, x, scale=s)},
                 (*FACTORS, (K,), ())),
        ),
        source="Hu et al. 2021; claim C35", full_only=(BOUNDED,),
    ),
    Law(
        "PE2", "both factors receive outer products", r"B += s e (A x)^\top,\ A += s B^\top e x^\top",
        (
            Case("LoRA", {"by hand": by_hand(LINEAR), "recorded": recorded(LINEAR[0]),
                          "descent": descended(LINEAR[0])}, (*FACTORS, *PATTERNS, ())),
            Case("frozen A", {"by hand": by_hand(LINEAR, True), "recorded": recorded(LINEAR[0], True),
                              "descent": descended(LINEAR[0], True)}, (*FACTORS, *PATTERNS, ()), bounded=False),
            Case("through tanh", {"by hand": by_hand(TANH), "recorded": recorded(jnp.tanh),
                                  "descent": descended(jnp.tanh)}, (*FACTORS, *PATTERNS, ()), gradient=False),
            Case("squared loss", {"by hand": squared_by_hand, "sgd": squared_sgd,
                                  "its error signals": squared_replayed},
                 ((1, 2), (2, 1), (2, 2, 2), (2, 2, 2), ()), gradient=False, bounded=False),
        ),
        source="chain rule", full_only=(BOUNDED,),
    ),
    Law(
        "PE3", "LoRA's first step is full finetuning's, with projected scores",
        r"\Delta W = s^2 (\sum_i e_i x_i^\top) A_0^\top A_0",
        (Case("from B = 0", {"first step": first_step, "projected scores": first_scores, "weight": first_weight},
              ((V, K), (r, K), (n, V), (n, K), (K,), ())),),
        domain="B = 0 at the start", source="claim C35", full_only=(BOUNDED,),
    ),
    Law(
        "PE4", "with A frozen one kernel serves all steps",
        r"F(q) = W q + s B_0 A q + s^2 \sum_i e_i (A x_i \cdot A q)",
        (Case("two steps", {"trained": frozen_trained, "dual": frozen_dual}, LORA, sample=lora_settings),),
        source="Zhang et al. 2023; claim C35", full_only=(BOUNDED,),
    ),
    Law(
        "PE5", "LoRA is attention over its training data, in two stages",
        r"F(q) = W q + s B_0 z + s^2 \sum_i e_i (h_i \cdot z), \quad z = A_0 q + \sum_i a_i (x_i \cdot q)",
        (Case("two steps", {"by hand": trained_by_hand, "trained": lora_trained, "dual": lora_two_stage}, LORA,
              sample=lora_settings),),
        source="claim C35", full_only=(BOUNDED,),
    ),
    Law(
        "PE4", "\"with both factors trained the kernel is still that of A at the start\"",
        r"F(q) = W q + s B_0 A_0 q + s^2 \sum_i e_i (A_0 x_i \cdot A_0 q)",
        (Case("two steps", {
            "as claimed": lambda A, E, X, q: peft.lora_frozen_dual(
                jnp.zeros((1, 1)), A, jnp.zeros((1, 1)), *flat(E, X), q),
            "both trained": lambda A, E, X, q: lora_trained(
                jnp.zeros((1, 1)), A, jnp.zeros((1, 1)), E, X, q, jnp.ones(())),
        }, ((1, 1), (2, 1, 1), (2, 1, 1), (1,))),),
        (REFUTED,), full_only=(REFUTED,), source="analyses of LoRA with A frozen, read as LoRA",
    ),
    Law(
        "PE6", "what LoRA changes has rank r at most, whatever trained it", r"\mathrm{rank}(B A) \le r",
        (
            Case("r = 1, all minors", {"zero": no_minors, "minors": lambda U, A: minors(U @ A)}, ((3, 1), (1, 4))),
            Case("r = 2, 3 x 3", {"zero": zero, "determinant": product_determinant}, ((3, 2), (2, 3))),
        ),
        (PROVED,), domain="any optimiser", source="claim C35",
    ),
    Law(
        "PE6", "n patterns of SGD from B = 0 change LoRA's product in at most n dimensions",
        r"B_0 = 0 \Rightarrow \mathrm{rank}(B_n A_n) \le n",
        (Case("two patterns, r = 3, 3 x 3", {"zero": zero, "determinant": trained_determinant},
              ((3, 3), (2, 1, 3), (2, 1, 3)), gradient=False),),
        (PROVED,), domain="SGD without decay", source="claims C35, C45",
    ),
    Law(
        "PE6", "from any start the change has rank 2 r at most",
        r"\mathrm{rank}(B_n A_n - B_0 A_0) \le 2 r",
        (Case("r = 1, 3 x 3", {"zero": zero, "determinant": lambda *a: determinant(changed(*a))},
              ((1, 3), (3, 1), (3, 1, 3), (3, 1, 3)), gradient=False),),
        (PROVED,), source="claim C35",
    ),
    Law(
        "PE6", "\"LoRA's change has rank r\", counted from a start that is not zero",
        r"\mathrm{rank}(B_n A_n - B_0 A_0) \le r",
        (Case("r = 1, 2 x 2", {"zero": zero, "determinant": lambda *a: determinant_2(changed(*a))},
              ((1, 2), (2, 1), (1, 1, 2), (1, 1, 2))),),
        (REFUTED,), source="the rank of the product taken for the rank of its change",
    ),
    Law(
        "PE7", "an adapter is a narrow network beside the identity", r"h + W_2 f(W_1 h + b_1) + b_2",
        (
            Case("tanh", {"as written": adapter_sum(jnp.tanh), "adapter": adapter_by(jnp.tanh)}, ADAPTER),
            Case("many inputs", {"as written": lambda h, W1, b1, W2, b2: jnp.stack(
                                     [adapter_sum(jnp.tanh)(x, W1, b1, W2, b2) for x in h]),
                                 "adapter": adapter_by(jnp.tanh)}, ((n, K), *ADAPTER[1:])),
            Case("W_2 = 0 leaves the network as it was", {
                "h": lambda h, W1, b1: h,
                "adapter": lambda h, W1, b1: peft.adapter(h, W1, b1, jnp.zeros((K, r), h.dtype),
                                                          jnp.zeros(K, h.dtype), jnp.tanh)}, ADAPTER[:3]),
        ),
        source="Houlsby et al. 2019; claim C34", full_only=(BOUNDED,),
    ),
    Law(
        "PE8", "an adapter is attention over learned slots, f in place of the softmax",
        r"h + b_2 + \sum_j g_j (w_j \cdot h + b_{1j}) v_j",
        (
            Case("a ReLU's mask as data", {"as written": masked, "slots": peft.slots}, (*ADAPTER, (r,))),
            Case("tanh", {"slot by slot": slot_by_slot, "adapter": adapter_by(jnp.tanh)}, ADAPTER),
        ),
        source="claim C34; Geva et al. 2021", full_only=(BOUNDED,),
    ),
    Law(
        "PE8", "with a ReLU the gates are 0 or 1", r"g_j = [w_j \cdot h + b_{1j} > 0]",
        (Case("ReLU", {"as written": adapter_sum(jax.nn.relu), "adapter": adapter_by(jax.nn.relu),
                       "slots": relu_slots}, ADAPTER),),
        (BOUNDED,), domain="scores away from zero", source="claim C34", full_only=(BOUNDED,),
    ),
    Law(
        "PE8", "\"an adapter is an update of a weight, like LoRA\"", r"\mathrm{Adapter}(2 h) = 2\, \mathrm{Adapter}(h)",
        (Case("no biases", {
            "as claimed": lambda h, W1, W2: 2 * adapter_by(jnp.tanh)(h, W1, jnp.zeros(1), W2, jnp.zeros(1)),
            "adapter": lambda h, W1, W2: adapter_by(jnp.tanh)(2 * h, W1, jnp.zeros(1), W2, jnp.zeros(1)),
        }, ((1,), (1, 1), (1, 1))),),
        (REFUTED,), full_only=(REFUTED,), domain="f not linear", source="the weight-update reading of light finetuning",
    ),
    Law(
        "PE9", "without f an adapter is a change of the weight: from the left after it, LoRA beside it",
        r"(I + W_2 W_1) W, \quad W + W_2 W_1",
        (
            Case("after", {"adapter": after, "merged": after_merged}, ((V, K), (r, V), (V, r), (K,))),
            Case("beside", {"adapter": beside, "merged": beside_merged, "LoRA": lambda W, W1, W2, x: peft.lora(
                W, W1, W2, x)}, ((V, K), (r, K), (V, r), (K,))),
            Case("rank of the change, r = 2, 3 x 3", {
                "zero": zero, "determinant": lambda W, W1, W2: determinant(peft.merge_after(W, W1, W2) - W),
            }, ((3, 3), (2, 3), (3, 2)), bounded=False),
        ),
        source="He et al. 2022", full_only=(BOUNDED,),
    ),
    Law(
        "PE10", "a trained adapter is attention in two stages, f between them",
        r"F(q) = B_0 f(z) + \sum_i e_i (h_i \cdot f(z))",
        (Case("tanh, biases, two steps", {"trained": adapter_trained, "dual": adapter_dual},
              ((r, 3), (r,), (3, r), (3,), (T, B, 3), (T, B, 3), (3,)), sample=adapter_settings, gradient=False),),
        source="tanh enters the proof as an unknown function; claim C34", full_only=(BOUNDED,),
    ),
    Law(
        "PE11", "a prefix is an update of rank k for linear attention", r"\Delta W = P_V^\top P_K",
        (
            Case("two of prefix", {"over all": prefix_linear, "updated": prefix_updated, "LoRA": prefix_as_lora},
                 ((n, V), (n, K), (2, V), (2, K), (K,))),
            Case("k = 1, all minors", {"zero": no_minors, "minors": lambda U, A: minors(
                peft.prefix_update(U.T, A))}, ((3, 1), (1, 4)), bounded=False),
        ),
        source="claim C35", full_only=(BOUNDED,),
    ),
    Law(
        "PE12", "a prefix is a mixture for softmax attention", r"(1 - \lambda) \mathrm{Attn} + \lambda \mathrm{Attn}_P",
        (Case("two of prefix", {"over all": prefix_softmax, "split": prefix_mixed, "adapter": prefix_as_adapter},
              ((n, V), (n, K), (2, V), (2, K), (K,))),),
        domain="exponentials as independent variables", source="He et al. 2022, eq. 7; claim C35",
        full_only=(BOUNDED,),
    ),
    Law(
        "PE12", "the mixture with shifted exponentials", r"(1 - \lambda) \mathrm{Attn} + \lambda \mathrm{Attn}_P",
        (Case("two of prefix", {"over all": prefix_softmax, "prefix_split": prefix_in_floats},
              ((n, V), (n, K), (2, V), (2, K), (K,))),),
        (BOUNDED,), full_only=(BOUNDED,),
    ),
    Law(
        "PE12", "\"a prefix is added to what softmax attention returns\"",
        r"\mathrm{Attn} + \lambda \mathrm{Attn}_P",
        (Case("one of each", {
            "as claimed": added, "mixture": lambda w, w_P, values, P_V: split_from_weights(w, w_P, values, P_V).attn,
        }, ((1,), (1,), (1, 1), (1, 1))),),
        (REFUTED,), full_only=(REFUTED,), source="claim C35, with a softmax",
    ),
    Law(
        "PE13", "IA3 changes a weight from the left, a metric, or an output", r"\Delta W = \mathrm{diag}(l - 1) W",
        (
            Case("a layer", {"outputs": scaled_outputs, "weight": scaled_weight, "ia3": peft.ia3},
                 ((V, K), (V,), (K,))),
            Case("keys of attention", {"keys": scaled_keys, "query": scaled_query}, ((n, V), (n, K), (K,), (K,)),
                 bounded=False),
            Case("values of attention", {"values": scaled_values, "output": scaled_output},
                 ((n, V), (n, K), (V,), (K,))),
            Case("its determinant", {
                "product": lambda W, l: jnp.prod(l - 1) * determinant(W),
                "determinant": lambda W, l: determinant((l - 1)[:, None] * W)}, ((3, 3), (3,)), bounded=False),
        ),
        source="Liu et al. 2022", full_only=(BOUNDED,),
    ),
    Law(
        "PE13", "\"few trained numbers mean a change of low rank\"", r"\mathrm{rank}(\mathrm{diag}(l - 1) W) < V",
        (Case("2 x 2", {"zero": zero, "determinant": lambda W, l: determinant_2((l - 1)[:, None] * W)},
              ((2, 2), (2,))),),
        (REFUTED,), full_only=(REFUTED,), source="light finetuning taken for low-rank finetuning",
    ),
    Law(
        "PE14", "a trained scale has a score for each output feature",
        r"F(q) = (l_0 + \sum_i e_i \odot W x_i) \odot W q",
        (
            Case("one query", {"trained": ia3_trained, "dual": peft.ia3_dual},
                 ((V, K), (V,), (n, V), (n, K), (K,))),
            Case("many queries", {"trained": lambda W, l, E, X, Q: jnp.stack([ia3_trained(W, l, E, X, q) for q in Q]),
                                  "dual": peft.ia3_dual}, ((V, K), (V,), (n, V), (n, K), (2, K))),
        ),
        full_only=(BOUNDED,),
    ),
    Law(
        "PE15", "a trained bias is attention with scores of 1", r"F(q) = W q + b_0 + \sum_i e_i",
        (
            Case("one query", {"trained": bitfit_trained, "dual": peft.bitfit_dual}, ((V, K), (V,), (n, V), (K,))),
            Case("many queries", {"trained": lambda W, b, E, Q: jnp.stack([bitfit_trained(W, b, E, q) for q in Q]),
                                  "dual": peft.bitfit_dual}, ((V, K), (V,), (n, V), (2, K))),
        ),
        source="Ben Zaken et al. 2021", full_only=(BOUNDED,),
    ),
    Law(
        "PE3", "the projected scores are full finetuning's on average, and spread around it",
        r"E[x^\top A^\top A q] = (r / K)\, x \cdot q", (), (MEASURED,), domain="entries of A of variance 1 / K",
        measure=projected_scores, full_only=(MEASURED,),
    ),
)  # fmt: skip
