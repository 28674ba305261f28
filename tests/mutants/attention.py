"""Wrong programs for attention: updates of heads, mixtures with a gate, momentum. Each is a mistake that is made."""

import jax
import jax.numpy as jnp

from dualform import attention
from dualform.descent.closed import kept_after
from dualform.laws.attention.momentum import definitions as averages
from dualform.laws.attention.softmax import definitions as mixtures
from dualform.linear import linear_attn
from dualform.testing.mutant import Mutant

# (IC2) to (IC4): updates of a head


def split(
    W_zsl=lambda W_V, W_K, X, Y: (X @ W_V.T).T @ (X @ W_K.T), dW=lambda W_V, W_K, X, Y: (Y @ W_V.T).T @ (Y @ W_K.T)
):
    """The split head with another weight or another update, X the own tokens and Y the demonstrations."""
    return lambda W_V, W_K, X, Y, q: q @ (W_zsl(W_V, W_K, X, Y) + dW(W_V, W_K, X, Y)).T


def update(W_V, W_K, dW_V, dW_K, X):
    """The update through the Gram matrix, right."""
    return dW_V @ X.T @ X @ W_K.T + W_V @ X.T @ X @ dW_K.T + dW_V @ X.T @ X @ dW_K.T


def first_order(W_V, W_K, dW_V, dW_K, X):
    return dW_V @ X.T @ X @ W_K.T + W_V @ X.T @ X @ dW_K.T


def no_gram(W_V, W_K, dW_V, dW_K, X):
    return (W_V + dW_V) @ (W_K + dW_K).T - W_V @ W_K.T


def cross_twice(W_V, W_K, dW_V, dW_K, X):
    """The changed weight on both sides of both first terms."""
    return dW_V @ X.T @ X @ (W_K + dW_K).T + (W_V + dW_V) @ X.T @ X @ dW_K.T


def centred_gram(W_V, W_K, dW_V, dW_K, X):
    """The covariance of the tokens for their Gram matrix."""
    return update(W_V, W_K, dW_V, dW_K, X - jnp.mean(X, axis=0, keepdims=True))


def stopped_change(W_V, W_K, dW_V, dW_K, X):
    return update(W_V, W_K, dW_V, jax.lax.stop_gradient(dW_K), X)


UPDATES = (
    ("own tokens twice", "demonstrations read the query's tokens", "IC2", "split",
     split(dW=lambda W_V, W_K, X, Y: (X @ W_V.T).T @ (X @ W_K.T)), "one query"),
    ("step down", "the update subtracted, as a gradient is", "IC2", "split",
     split(dW=lambda W_V, W_K, X, Y: -(Y @ W_V.T).T @ (Y @ W_K.T)), "one query"),
    ("mixed pairs", "values of own tokens, keys of demonstrations", "IC2", "split",
     split(dW=lambda W_V, W_K, X, Y: (X[: len(Y)] @ W_V.T).T @ (Y @ W_K.T)), "one query"),
    ("first order", "without the cross term", "IC4", "ft_update", first_order, "three own tokens"),
    ("cross twice", "the cross term in both groups", "IC4", "ft_update", cross_twice, "three own tokens"),
    ("no context", "the Gram matrix left out", "IC4", "ft_update", no_gram, "three own tokens"),
    ("covariance", "tokens centred first", "IC4", "ft_update", centred_gram, "three own tokens"),
    ("stopped keys", "the change of the keys held constant", "IC4", "ft_update", stopped_change, "three own tokens"),
)  # fmt: skip

# (IC6), (IC7): two hops, and a finetuning run


def hops(value=None, key=None, cross=None):
    """Two hops with one of the three terms replaced, each a function of the same arguments."""

    def form(*arguments):
        terms = attention.two_hop(*arguments)
        new = zip((value, key, cross), terms, strict=True)
        return tuple(term if wrong is None else wrong(*arguments) for wrong, term in new)

    return form


def one_hop(W_V, W_K, E_V, E_K, T, X, q):
    """The query meets the training patterns directly."""
    return linear_attn(E_V, T @ W_K.T, q)


def keys_are_inputs(W_V, W_K, E_V, E_K, T, X, q):
    """Keys of training patterns for their error signals."""
    return linear_attn(linear_attn(X @ W_V.T, X, T), T @ W_K.T, q)


def diagonal(W_V, W_K, E_V, E_K, T, X, q):
    """Only i = j of the double sum."""
    return linear_attn(E_V * jnp.sum((T @ X.T) ** 2, axis=1)[:, None], E_K, q)


def tuned(rate=lambda eta: eta, signals=lambda run: run):
    """The two-hop reading of a run with something done to its rate or to its recording."""

    def form(W_V, W_K, X_train, Q, targets, eta, X, q):
        run = signals(attention.finetune(W_V, W_K, X_train, Q, targets, rate(eta)))
        zero_shot = linear_attn(X @ W_V.T, X @ W_K.T, q)
        return zero_shot + attention.two_hop(W_V, W_K, run.E_V, run.E_K, run.X, X, q).total

    return form


def frozen_run(W_V, W_K, X_train, Q, targets, eta, X, q):
    """All gradients taken at the initial weights."""
    runs = [attention.finetune(W_V, W_K, X_train[s : s + 1], Q[s : s + 1], targets[s : s + 1], eta) for s in (0, 1)]
    E_V, E_K, T = (jnp.concatenate([getattr(run, name) for run in runs]) for name in ("E_V", "E_K", "X"))
    return linear_attn(X @ W_V.T, X @ W_K.T, q) + attention.two_hop(W_V, W_K, E_V, E_K, T, X, q).total


RUNS = (
    ("one hop", "the context skipped", "IC6", "two_hop", hops(value=one_hop), "one query"),
    ("input keys", "training keys for error signals", "IC6", "two_hop", hops(key=keys_are_inputs), "one query"),
    ("diagonal", "the double sum's diagonal", "IC6", "two_hop", hops(cross=diagonal), "one query"),
    ("ascent", "error signals without their minus", "IC7", "two_hop",
     tuned(signals=lambda run: run._replace(E_V=-run.E_V, E_K=-run.E_K)), "squared loss"),
    ("frozen", "all gradients at the initial weights", "IC7", "two_hop", frozen_run, "squared loss"),
    ("values only", "the keys' update forgotten", "IC7", "two_hop",
     tuned(signals=lambda run: run._replace(E_K=0 * run.E_K)), "squared loss"),
)  # fmt: skip

# (IC9) to (IC11): heads, similarity


def mask_from_start(values, keys, queries, scale):
    """The mask aligned with the first token, not with the last."""
    M, n = len(queries), len(values)
    heads = [
        linear_attn(values[:, h], keys[:, h], queries[:, h], jnp.tril(jnp.ones((M, n))), scale)
        for h in range(values.shape[1])
    ]
    return jnp.stack(heads, axis=1)


def strict_mask(values, keys, queries, scale):
    M, n = len(queries), len(values)
    seen = jnp.tril(jnp.ones((M, n)), n - M - 1)
    return jnp.stack(
        [linear_attn(values[:, h], keys[:, h], queries[:, h], seen, scale) for h in range(values.shape[1])], axis=1
    )


def one_output(W_O, W_V, W_K, W_Q, X, X_demo, x):
    """The heads' updates added before each meets its own output projection."""
    total = sum(W for h in range(2) for W in attention.icl_split(W_V[h], W_K[h], X, X_demo))
    return W_O[0] @ total @ W_Q[0] @ x + W_O[1] @ total @ W_Q[1] @ x


SHAPES = (
    ("mask from the start", "aligned with the first token", "IC9", "linear_heads", mask_from_start,
     "the last two tokens"),
    ("strict mask", "without the query's own position", "IC9", "linear_heads", strict_mask,
     "as many queries as tokens"),
    ("heads added first", "one update for all output projections", "IC9", "one weight", one_output, "two heads"),
    ("not normalised", "differences of the states as they are", "IC10", "update_similarity",
     lambda h, a, b: attention.update_similarity(h, h + a, h + b, normalize=False), "random states"),
    ("updates normalised", "updates in place of states", "IC10", "update_similarity",
     lambda h, a, b: attention.update_similarity(h, a, b), "random states"),
    ("ratio of lengths", "c taken for its root", "IC11", "unrelated_cosine",
     lambda c: attention.unrelated_cosine(c * c), "in the ratio"),
    ("half forgotten", "1 - s", "IC11", "unrelated_cosine", lambda c: 2 * attention.unrelated_cosine(c),
     "in the ratio"),
)  # fmt: skip

# (SX1) to (SX7): softmax


def causal(seen, scale_of=lambda scale: scale):
    """Softmax attention over the positions that `seen(t, i)` allows."""

    def form(V, K, Q, scale):
        s = scale_of(scale) * Q @ K.T
        t, i = jnp.arange(len(V))[:, None], jnp.arange(len(V))[None, :]
        w = jnp.exp(s - jnp.max(s, axis=1, keepdims=True)) * seen(t, i)
        return (w @ V) / jnp.sum(w, axis=1, keepdims=True)

    return form


def unnormalised(V, K, q, scale):
    """The maximum subtracted from the scores, but the sum forgotten."""
    s = scale * q @ K.T
    return jnp.exp(s - jnp.max(s, axis=-1, keepdims=True)) @ V


def mixed(weight):
    """The mixture with another gate, `weight(own mass, demonstrations' mass)`."""

    def form(w, w_demo, V, V_demo):
        zsl, demo, _ = attention.split_from_weights(w, w_demo, V, V_demo)
        share = weight(jnp.sum(w), jnp.sum(w_demo))
        return (1 - share) * zsl + share * demo

    return form


def additive(w, w_demo, V, V_demo):
    """No gate on the zero-shot part."""
    zsl, demo, share = attention.split_from_weights(w, w_demo, V, V_demo)
    return zsl + share * demo


def one_shift(s, s_demo, V, V_demo, c, c_demo, largest):
    """Each block shifted by its own number, and nothing given back."""
    return tuple(attention.split_from_weights(jnp.exp(s - c), jnp.exp(s_demo - c_demo), V, V_demo))


def shifts_exchanged(s, s_demo, V, V_demo, c, c_demo, largest):
    factors = jnp.exp(c_demo - largest), jnp.exp(c - largest)
    return tuple(attention.split_from_weights(jnp.exp(s - c), jnp.exp(s_demo - c_demo), V, V_demo, factors))


def equal_blocks(w, V):
    """Every block alike, however many tokens it has."""
    return jnp.mean(attention.blocks_from_weights(w, V).outputs, axis=0)


def softmax_of_maxima(w, V):
    blocks = attention.blocks_from_weights(w, V)
    masses = jnp.stack([jnp.sum(x) / len(x) for x in w])
    return (masses / jnp.sum(masses)) @ blocks.outputs


SOFTMAX = (
    ("later position", "the mask one too wide", "SX1", "causal_softmax_attn",
     causal(lambda t, i: i <= t + 1), "causal"),
    ("first position only", "everything before, not itself, but for the first", "SX1", "causal_softmax_attn",
     causal(lambda t, i: (i < t) | ((t == 0) & (i == 0))), "causal"),
    ("scale squared", "the scale on queries and on keys", "SX1", "causal_softmax_attn",
     causal(lambda t, i: i <= t, lambda scale: scale**2), "causal"),
    ("unnormalised", "the sum of the weights forgotten", "SX1", "softmax_attn", unnormalised, "many queries"),
    ("default scale", "1/K for 1/sqrt(K)", "SX1", "softmax_attn",
     lambda V, K, q: attention.softmax_attn(V, K, q, 1 / K.shape[1]), "one query, default scale"),
    ("gate exchanged", "the share of the own tokens for that of the demonstrations", "SX2", "split_from_weights",
     mixed(lambda own, demo: own / (own + demo)), "the mixture"),
    ("additive", "no gate on the zero-shot part", "SX2", "split_from_weights", additive, "the mixture"),
    ("equal blocks", "a mean over blocks", "SX3", "blocks_from_weights", equal_blocks, "three blocks"),
    ("mean masses", "masses divided by the number of tokens", "SX3", "blocks_from_weights", softmax_of_maxima,
     "three blocks"),
    ("gate of maxima", "largest scores for log-sum-exp", "SX4", "gate",
     lambda K, K_demo, q, scale: jax.nn.sigmoid(jnp.max(scale * K_demo @ q) - jnp.max(scale * K @ q)), "one query"),
    ("nothing given back", "own shifts without factors", "SX5", "shifted", one_shift, "two blocks"),
    ("factors exchanged", "each block gets the other's", "SX5", "shifted", shifts_exchanged, "two blocks"),
    ("gap without gate", "the whole zero-shot part", "SX6", "gap",
     lambda w, w_demo, V, V_demo: -mixtures.zero_shot(w, w_demo, V, V_demo), "the gap"),
    ("counted once", "a block for a token", "SX7", "gate",
     lambda w, V, V_demo: w / (w + w) + 0 * w * jnp.sum(V) * jnp.sum(V_demo), "three own tokens, five demonstrations"),
)  # fmt: skip

# (MA1) to (MA11): momentum


def weighted_past(weights):
    """The average with weights `weights(powers [T, T])` of the values, eta^(t-i) at [t, i]."""
    return lambda V, eta: weights(kept_after(jnp.broadcast_to(eta, (len(V),))), eta) @ V


def narrow_powers(V, eta):
    """Powers of eta for the last five positions only."""
    T = len(V)
    t, i = jnp.arange(T)[:, None], jnp.arange(T)[None, :]
    return jnp.where(t - i < 4, jnp.tril(kept_after(jnp.broadcast_to(eta, (T,))), -1), 0) @ V


def kernels(kept=jax.nn.sigmoid, first=0, amplitude=lambda gamma, delta: gamma):
    """The learned average with other rates, another first lag or other amplitudes."""

    def form(V, gamma, delta, scale):
        T = len(V)
        lags = [kept(delta) ** tau for tau in range(first, first + T)]
        kernel = jnp.stack([scale * jnp.sum(amplitude(gamma, delta) * p, axis=1) for p in lags])
        return jnp.stack([sum(kernel[t - i] * V[i] for i in range(t + 1)) for t in range(T)])

    return form


def past_kernel(V, gamma, delta, scale):
    """The printed average's past only, with the posted kernel."""
    powers = attention.learned_kernel(gamma, delta, len(V), scale)
    now = powers[0][None] * V
    return attention.learned_average(V, gamma, delta, scale, "recurrent") - now


def shared_kernel(V, gamma, delta, scale):
    first_gamma, first_delta = (jnp.broadcast_to(x[:1], x.shape) for x in (gamma, delta))
    return attention.learned_average(V, first_gamma, first_delta, scale, "recurrent")


def heavy(weights):
    """Causal linear attention with weights `weights(powers, mu)`."""

    def form(V, K, Q, mu, scale):
        powers = kept_after(jnp.broadcast_to(mu, (len(V),)))
        return linear_attn(V, K, Q, weights(powers, mu), scale)

    return form


def logs_forgotten(V, K, Q, mu, scale):
    """Coefficients added to the scores, not their logarithms."""
    s = scale * Q @ K.T + attention.heavy_ball_weights(len(V), mu)
    w = jnp.tril(jnp.exp(s - jnp.max(s, axis=1, keepdims=True)))
    return (w @ V) / jnp.sum(w, axis=1, keepdims=True)


def mass_unweighted(V, K, Q, mu, scale):
    """Coefficients in the numerator alone."""
    w = jnp.tril(jnp.exp(scale * Q @ K.T))
    return (attention.heavy_ball_weights(len(V), mu) * w) @ V / jnp.sum(w, axis=1, keepdims=True)


def reversed_filter(V, K, q, mu):
    """Scores filtered over the past."""
    return (kept_after(jnp.broadcast_to(mu, (len(V),))) @ (K @ q)) @ V


def short_fft(V, kernel):
    """Transforms one too short for the last lag."""
    n = 2 * len(V) - 2
    transformed = [jnp.fft.rfft(x, n=n, axis=0) for x in (V, kernel)]
    return jnp.fft.irfft(transformed[0] * transformed[1], n=n, axis=0)[: len(V)]


def correlation(V, kernel):
    """The kernel's transform conjugated: a correlation."""
    transformed = [jnp.fft.rfft(x, n=2 * len(V), axis=0) for x in (V, kernel)]
    return jnp.fft.irfft(transformed[0] * jnp.conj(transformed[1]), n=2 * len(V), axis=0)[: len(V)]


MOMENTUM = (
    ("present too", "i <= t", "MA2", "recurrent", weighted_past(lambda p, eta: p), "six positions"),
    ("one power less", "eta^(t-i-1)", "MA2", "recurrent", weighted_past(lambda p, eta: jnp.tril(p, -1) / eta),
     "six positions"),
    ("normalised", "times 1 - eta", "MA2", "recurrent", weighted_past(lambda p, eta: (1 - eta) * jnp.tril(p, -1)),
     "six positions"),
    ("future", "the transposed mask", "MA2", "recurrent", weighted_past(lambda p, eta: jnp.tril(p, -1).T),
     "six positions"),
    ("window", "old positions cut off", "MA2", "recurrent", narrow_powers, "six positions"),
    ("printed in place of posted", "the current position left out", "MA3", "by sum", past_kernel, "the average"),
    ("first lag 1", "the kernel starts one lag late", "MA3", "by sum", kernels(first=1), "the average"),
    ("rates as they are", "the sigmoid forgotten", "MA3", "by sum", kernels(kept=lambda delta: delta), "the average"),
    ("damped", "amplitudes times 1 - rate, as in an average that sums to one", "MA3", "by sum",
     kernels(amplitude=lambda gamma, delta: gamma * (1 - jax.nn.sigmoid(delta))), "the average"),
    ("shared kernel", "the first channel's kernel for all", "MA4", "recurrent", shared_kernel, "five positions"),
    ("no padding", "a circular convolution", "MA5", "fft", averages.without_padding, None),
    ("short padding", "two numbers too few", "MA5", "fft", short_fft, None),
    ("correlation", "the kernel reversed in time", "MA5", "fft", correlation, None),
    ("velocity", "RetNet for heavy ball", "MA6", "heavy_ball_attn", heavy(lambda p, mu: p), "five positions"),
    ("moving average", "1 - mu on every write", "MA6", "heavy_ball_attn",
     heavy(lambda p, mu: (1 - mu) * jnp.cumsum(p, axis=0)), "five positions"),
    ("infinite past", "1 / (1 - mu) for every token", "MA6", "heavy_ball_attn",
     heavy(lambda p, mu: jnp.tril(jnp.ones_like(p)) / (1 - mu)), "five positions"),
    ("old for new", "the youngest counts most", "MA6", "heavy_ball_attn",
     heavy(lambda p, mu: jnp.tril(jnp.cumsum(p, axis=1))), "five positions"),
    ("one step late", "the buffer before the token", "MA6", "heavy_ball_attn",
     heavy(lambda p, mu: jnp.cumsum(mu * p, axis=0)), "five positions"),
    ("late bias", "the velocity after the token", "MA7", "bias",
     lambda V, eta: averages.average("sum")(V, eta) + eta * V, "five positions"),
    ("same profile", "heavy ball's weights decay too", "MA9", "weights",
     lambda mu, eta: tuple(-x for x in averages.age_steps(5)(mu, eta)), "five positions"),
    ("past filter", "scores filtered over the past", "MA10", "filtered scores", reversed_filter, "five positions"),
    ("no logarithm", "coefficients added to the scores", "MA11", "heavy_ball_softmax", logs_forgotten,
     "four positions"),
    ("mass unweighted", "coefficients in the numerator alone", "MA11", "heavy_ball_softmax", mass_unweighted,
     "four positions"),
)  # fmt: skip

MUTANTS = tuple(
    Mutant(f"{label}, {form}: {name}", label, form, program, why, case)
    for name, why, label, form, program, case in (*UPDATES, *RUNS, *SHAPES, *SOFTMAX, *MOMENTUM)
)

HARMLESS = (
    Mutant("split: one matrix product", "IC2", "split", split(), "products of matrices", "many queries"),
    Mutant("ft_update: through the Gram matrix", "IC4", "ft_update", update, "D by D matrices", "three own tokens"),
    Mutant("two_hop: recorded run", "IC7", "two_hop", tuned(), "written out", "squared loss"),
    Mutant("causal softmax: one shift for a row", "SX1", "causal_softmax_attn", causal(lambda t, i: i <= t),
           "the shift seen or not", "causal"),
    Mutant("mixture: the share", "SX2", "split_from_weights", mixed(lambda own, demo: demo / (own + demo)),
           "the gate from masses", "the mixture"),
    Mutant("average: strict triangle", "MA2", "recurrent", weighted_past(lambda p, eta: jnp.tril(p, -1)),
           "weights for a recurrence", "six positions"),
    Mutant("heavy ball: sums of powers", "MA6", "heavy_ball_attn", heavy(lambda p, mu: jnp.cumsum(p, axis=0)),
           "weights summed", "five positions"),
)  # fmt: skip
