"""Attention as an update, against loops in float64 written from the definitions; the laws, the edges."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dualform.attention
from dualform import attention, descent
from dualform.laws import attention as laws
from dualform.laws import check, find
from dualform.laws.averages import fourier_bound
from dualform.laws.law import BOUNDED, PROVED
from dualform.prove import rounding_bound
from dualform.testing.mutants import HARMLESS, MUTANTS

V, K, D = 2, 3, 4
PREFIXES = ("IC", "SX", "MA")


def integers(seed, *shapes, largest=3, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return [rng.integers(-largest, largest + 1, shape).astype(dtype) for shape in shapes]


def normal(seed, *shapes, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def within(f, arguments, exact, vacuous=1e-3):
    """The result of a compiled program lies within its own rounding bound of what a loop in float64 says.

    The loop's own rounding is that bound scaled to float64, times ten for its other order.
    """
    arguments = [np.asarray(x) for x in arguments]
    computed, (_, bounds) = jax.jit(f)(*arguments), rounding_bound(f, *arguments)
    for got, true, bound in zip(*(jax.tree.leaves(x) for x in (computed, exact, bounds)), strict=True):
        got, size = np.asarray(got, np.float64), float(np.max(np.abs(true), initial=0.0))
        assert got.shape == np.shape(true)
        assert (np.abs(got - true) <= bound * (1 + 10 * 2.0**-29)).all(), (got, true, bound)
        assert np.max(bound, initial=0.0) <= vacuous * size or size == 0


# --- oracles ----------------------------------------------------------------------------------------------------------


def head_loop(W_V, W_K, tokens, q):
    """(IC1) index by index."""
    W_V, W_K, tokens, q = (np.asarray(x, np.float64) for x in (W_V, W_K, tokens, q))
    out = np.zeros(len(W_V))
    for x in tokens:
        score = 0.0
        for k in range(len(W_K)):
            for d in range(len(x)):
                score += W_K[k, d] * x[d] * q[k]
        for j in range(len(W_V)):
            for d in range(len(x)):
                out[j] += W_V[j, d] * x[d] * score
    return out


def softmax_loop(values, keys, q, scale, weights=None):
    """(SX1) index by index; a row of scores may be shifted by anything, here by its largest."""
    values, keys, q = (np.asarray(x, np.float64) for x in (values, keys, q))
    scores = [scale * sum(k[i] * q[i] for i in range(len(q))) for k in keys]
    top = max(scores, default=0.0)
    weights = np.ones(len(keys)) if weights is None else weights
    terms = [weights[i] * np.exp(s - top) for i, s in enumerate(scores)]
    return sum(t * v for t, v in zip(terms, values, strict=True)) / sum(terms)


def past_loop(values, eta):
    values = np.asarray(values, np.float64)
    out = np.zeros_like(values)
    for t in range(len(values)):
        for i in range(t):
            out[t] += float(eta) ** (t - i) * values[i]
    return out


def kernel_loop(values, gamma, delta, scale):
    values, gamma, delta = (np.asarray(x, np.float64) for x in (values, gamma, delta))
    kept, out = 1 / (1 + np.exp(-delta)), np.zeros_like(values)
    for t in range(len(values)):
        for i in range(t + 1):
            for c in range(values.shape[1]):
                for n in range(gamma.shape[1]):
                    out[t, c] += scale * gamma[c, n] * kept[c, n] ** (t - i) * values[i, c]
    return out


def heavy_loop(values, keys, queries, mu):
    """Heavy ball, the layer and its velocity entry by entry."""
    values, keys, queries = (np.asarray(x, np.float64) for x in (values, keys, queries))
    S, Z, out = (np.zeros(s) for s in ((values.shape[1], keys.shape[1]),) * 2 + (values.shape,))
    for t in range(len(values)):
        for a in range(S.shape[0]):
            for b in range(S.shape[1]):
                Z[a, b] = mu * Z[a, b] + values[t, a] * keys[t, b]
                S[a, b] += Z[a, b]
        for a in range(S.shape[0]):
            out[t, a] = sum(S[a, b] * queries[t, b] for b in range(S.shape[1]))
    return out


def finetune_loop(W_V, W_K, X, Q, targets, eta):
    """SGD on half the squared error, derivatives by hand, entry by entry."""
    W_V, W_K = np.array(W_V, np.float64), np.array(W_K, np.float64)
    X, Q, targets = (np.asarray(x, np.float64) for x in (X, Q, targets))
    for s in range(len(X)):
        residual = head_loop(W_V, W_K, X[s], Q[s]) - targets[s]
        g_V, g_K = np.zeros_like(W_V), np.zeros_like(W_K)
        for x in X[s]:
            k, v = W_K @ x, W_V @ x
            for d in range(len(x)):
                for j in range(len(W_V)):
                    g_V[j, d] += residual[j] * sum(k * Q[s]) * x[d]
                for j in range(len(W_K)):
                    g_K[j, d] += sum(v * residual) * Q[s][j] * x[d]
        W_V, W_K = W_V - eta * g_V, W_K - eta * g_K
    return W_V, W_K


# --- updates of a head ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("own, demos", [(3, 2), (0, 2), (3, 0), (0, 0)])
def test_a_linear_head_is_a_weight_and_its_update(own, demos):
    W_V, W_K, X, X_demo, q = integers(0, (V, D), (K, D), (own, D), (demos, D), (K,))
    W_zsl, dW_icl = attention.icl_split(W_V, W_K, X, X_demo)
    assert (W_zsl @ q == head_loop(W_V, W_K, X, q)).all()
    assert (dW_icl @ q == head_loop(W_V, W_K, X_demo, q)).all()


@pytest.mark.parametrize("n", [0, 1, 5])
def test_a_finetuned_head_is_a_weight_and_three_terms(n):
    W_V, W_K, dW_V, dW_K, X, q = integers(1, (V, D), (K, D), (V, D), (K, D), (n, D), (K,))
    before, after = head_loop(W_V, W_K, X, q), head_loop(W_V + dW_V, W_K + dW_K, X, q)
    assert (attention.ft_update(W_V, W_K, dW_V, dW_K, X) @ q == after - before).all()
    terms = attention.ft_terms(W_V, W_K, dW_V, dW_K, X)
    assert (terms.total == attention.ft_update(W_V, W_K, dW_V, dW_K, X)).all()
    assert (terms.value @ q == head_loop(dW_V, W_K, X, q)).all()
    assert (terms.key @ q == head_loop(W_V, dW_K, X, q)).all()
    assert (terms.cross @ q == head_loop(dW_V, dW_K, X, q)).all()


@pytest.mark.parametrize("queries", [(), (4,)])
def test_two_hops_read_the_terms(queries):
    W_V, W_K, E_V, E_K, T, X, q = integers(2, (V, D), (K, D), (3, V), (3, K), (3, D), (2, D), (*queries, K), largest=2)
    terms = attention.ft_terms(W_V, W_K, E_V.T @ T, E_K.T @ T, X)
    read = attention.two_hop(W_V, W_K, E_V, E_K, T, X, q)
    for hop, weight in zip(read, terms, strict=True):
        assert (hop == q @ weight.T).all()


def test_ranks_are_reached_and_not_exceeded():
    rng = np.random.default_rng(3)
    W = 6  # as wide in values and keys as the model, so that no width hides a rank
    for m, n in ((1, 5), (2, 5), (5, 2), (4, 1)):
        W_V, W_K, E_V, E_K = (rng.standard_normal(s) for s in ((W, W), (W, W), (m, W), (m, W)))
        T, X = rng.standard_normal((m, W)), rng.standard_normal((n, W))
        with jax.enable_x64(True):
            terms = attention.ft_terms(W_V, W_K, E_V.T @ T, E_K.T @ T, X)
            bounds = attention.rank_bounds(m, m, n)
            for term, bound in zip((*terms, terms.total), bounds, strict=True):
                assert np.linalg.matrix_rank(np.asarray(term), rtol=1e-10) == min(bound, W)


@pytest.mark.parametrize("S, n", [(1, 1), (3, 2)])
def test_a_finetuning_run_is_what_the_loop_says_and_its_record_rebuilds_it(S, n):
    W_V, W_K, X, Q, targets = normal(4, (V, D), (K, D), (S, n, D), (S, K), (S, V))
    new = normal(5, (3, D), (K,))
    expected = finetune_loop(W_V, W_K, X, Q, targets, 0.0625)

    within(lambda *a: attention.finetune(*a, 0.0625)[:2], (W_V, W_K, X, Q, targets), expected)

    def rebuilt(W_V, W_K, X, Q, targets, context, q):
        run = attention.finetune(W_V, W_K, X, Q, targets, 0.0625)
        zero_shot = attention.icl_split(W_V, W_K, context, context)[0] @ q
        return zero_shot + attention.two_hop(W_V, W_K, run.E_V, run.E_K, run.X, context, q).total

    within(rebuilt, (W_V, W_K, X, Q, targets, *new), head_loop(*expected, *new))


def test_a_finetuning_run_learns_and_takes_any_loss_and_schedule():
    W_V, W_K, X, Q, targets = normal(6, (V, D), (K, D), (1, 3, D), (1, K), (1, V))
    again = [np.repeat(x, 30, axis=0) for x in (X, Q, targets)]
    run = attention.finetune(0.3 * W_V, 0.3 * W_K, *again, jnp.full(30, 0.003))
    assert run.losses[-1] < 0.5 * run.losses[0]
    assert run.E_V.shape == (90, V) and run.E_K.shape == (90, K) and run.X.shape == (90, D)
    cosine = attention.finetune(W_V, W_K, X, Q, targets, 0.1, lambda y, t: -jnp.sum(y * t))
    assert (cosine.W_V != run.W_V).any()
    empty = attention.finetune(W_V, W_K, X[:0], Q[:0], targets[:0], 0.1)
    assert (empty.W_V == W_V).all() and empty.E_V.shape == (0, V)


@pytest.mark.parametrize("causal, M", [(False, 5), (True, 5), (True, 2), (True, 0), (False, 0)])
def test_heads_are_attention_one_by_one(causal, M):
    n, H = 5, 3
    values, keys, queries = integers(7, (n, H, V), (n, H, K), (M, H, K))
    out = np.asarray(attention.linear_heads(values, keys, queries, causal=causal, scale=2.0))
    for t in range(M):
        for h in range(H):
            seen = n - M + t + 1 if causal else n
            expected = sum((2 * values[i, h] * (keys[i, h] @ queries[t, h]) for i in range(seen)), np.zeros(V))
            assert (out[t, h] == expected).all()


# --- softmax ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1.0, 40.0, 3000.0])
def test_softmax_attention_at_scores_of_every_size(size):
    values, keys, queries = normal(8, (5, V), (5, K), (3, K))
    keys = (size * keys).astype(np.float32)
    expected = np.stack([softmax_loop(values, keys, q, 0.5) for q in queries])
    within(lambda *a: attention.softmax_attn(*a, 0.5), (values, keys, queries), expected)
    within(lambda v, k, q: attention.softmax_blocks([v], [k], q, 0.5).attn, (values, keys, queries), expected)
    assert (attention.softmax_blocks([values], [keys], queries, 0.5).gates == 1).all()


def test_causal_softmax_attention_ignores_later_positions():
    values, keys, queries = normal(9, (5, V), (5, K), (5, K))
    expected = np.stack([softmax_loop(values[: t + 1], keys[: t + 1], queries[t], K**-0.5) for t in range(5)])
    within(attention.causal_softmax_attn, (values, keys, queries), expected)
    keys[3:] = 1e4  # enormous scores, after position 2
    queries = np.abs(queries)
    before = attention.causal_softmax_attn(values[:3], keys[:3], queries[:3])
    after = attention.causal_softmax_attn(values, keys, queries)
    assert np.isfinite(after).all() and (after[:3] == before).all()


def split_loop(values, keys, demo_values, demo_keys, q, scale):
    zsl, demo = softmax_loop(values, keys, q, scale), softmax_loop(demo_values, demo_keys, q, scale)
    scores = [scale * np.asarray(x, np.float64) @ np.asarray(q, np.float64) for x in (keys, demo_keys)]
    top = max(s.max() for s in scores)
    own, other = (np.exp(s - top).sum() for s in scores)
    return zsl, demo, other / (own + other)


@pytest.mark.parametrize("shift", [0.0, 60.0, -60.0, 500.0, -500.0])
def test_the_split_keeps_both_parts_however_far_apart_the_scores_are(shift):
    """Scores of one block lie `shift` above the other's: float32 exponentials over- and underflow from 88 on."""
    values, keys, demo_values, demo_keys = normal(10, (3, V), (3, K), (4, V), (4, K))
    q = np.array([1.0, 0.5, -0.25], np.float32)
    demo_keys[:, 0] += shift
    arguments = values, keys, demo_values, demo_keys, q
    expected = split_loop(*arguments, 1.0)

    def split(*arguments):
        split = attention.softmax_split(*arguments, 1.0)
        return split.zsl, split.demo, split.attn

    attn = (1 - expected[2]) * expected[0] + expected[2] * expected[1]
    within(split, arguments, (*expected[:2], attn))
    for share in (
        lambda *a: attention.softmax_split(*a, 1.0).weight,
        lambda v, k, w, d, q: attention.gate(k, d, q, 1.0),
    ):
        within(share, arguments, np.asarray(expected[2]), vacuous=np.inf if shift < 0 else 1e-3)


def test_gradients_of_the_split_are_those_of_attention_over_all_tokens():
    arrays = normal(11, (2, 1), (2, 1), (1, 1), (1, 1), (1,))

    def split(values, keys, demo_values, demo_keys, q):
        return attention.softmax_split(values, keys, demo_values, demo_keys, q).attn[0]

    def together(values, keys, demo_values, demo_keys, q):
        w = jnp.exp(jnp.concatenate([demo_keys, keys]) @ q)
        return (w @ jnp.concatenate([demo_values, values]))[0] / w.sum()

    with jax.enable_x64(True):
        exact = jax.grad(together, argnums=range(5))(*(jnp.asarray(x, jnp.float64) for x in arrays))
        exact = jax.tree.map(np.asarray, exact)
    within(jax.grad(split, argnums=range(5)), arrays, exact)


def test_empty_blocks_are_legal():
    values, keys, q = normal(12, (3, V), (3, K), (K,))
    none = attention.softmax_split(values, keys, values[:0], keys[:0], q)
    assert none.weight == 0 and (none.demo == 0).all() and (none.attn == attention.softmax_attn(values, keys, q)).all()
    only = attention.softmax_split(values[:0], keys[:0], values, keys, q)
    assert only.weight == 1 and (only.zsl == 0).all()
    nothing = attention.softmax_split(values[:0], keys[:0], values[:0], keys[:0], q)
    assert (nothing.attn == 0).all() and nothing.weight == 0
    assert (attention.softmax_attn(values[:0], keys[:0], q) == 0).all()
    blocks = attention.softmax_blocks([values, values[:0], values], [keys, keys[:0], keys], q)
    assert blocks.gates.tolist() == [0.5, 0.0, 0.5]


def test_the_gate_of_many_equal_demonstrations_tends_to_one():
    zero = np.zeros((4, K), np.float32)
    for n_d in (1, 4, 60):
        (demos,) = normal(0, (n_d, V))
        split = attention.softmax_split(zero[:, :V], zero, demos, np.zeros((n_d, K), np.float32), zero[0])
        assert float(split.weight) == np.float32(n_d / (4 + n_d))


# --- momentum ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("T", [1, 2, 7])
@pytest.mark.parametrize("form", ["recurrent", "sum"])
def test_past_averages(form, T):
    (values,) = normal(13, (T, V))
    within(lambda v: attention.past_average(v, 0.75, form), (values,), past_loop(values, 0.75))


@pytest.mark.parametrize("T", [1, 2, 7])
@pytest.mark.parametrize("form", ["recurrent", "sum"])
def test_learned_averages(form, T):
    values, gamma, delta = normal(14, (T, V), (V, 8), (V, 8))
    delta = (0.2 * delta).astype(np.float32)
    exact = kernel_loop(values, gamma, delta, V**-0.5)
    within(lambda v, g, d: attention.learned_average(v, g, d, form=form), (values, gamma, delta), exact)


@pytest.mark.parametrize("T", [1, 2, 3, 64])
def test_fourier_transforms_stay_within_their_bound(T):
    values, gamma, delta = normal(15, (T, V), (V, 8), (V, 8))
    kernel = np.asarray(attention.learned_kernel(gamma, delta, T, 1.0))
    wide = kernel.astype(float), values.astype(float)
    exact = np.stack([np.convolve(wide[0][:, c], wide[1][:, c])[:T] for c in range(V)], axis=1)
    got = np.asarray(attention.fft_convolve(values, kernel), np.float64)
    bound = fourier_bound(values.astype(float), kernel.astype(float), 2.0**-24)
    assert (np.linalg.norm(got - exact, axis=0) <= bound).all()
    printed = np.asarray(attention.past_average(values, 0.5, "fft"), np.float64)
    powers = np.where(np.arange(T) == 0, 0, 0.5 ** np.arange(T))[:, None] * np.ones(V)
    size = fourier_bound(values.astype(float), powers, 2.0**-24)
    assert (np.linalg.norm(printed - past_loop(values, 0.5), axis=0) <= size).all()


def test_momentum_attention_is_softmax_attention_and_an_average():
    values, keys, queries, gamma, delta = normal(16, (5, V), (5, K), (5, K), (V, 8), (V, 8))
    attn = np.stack([softmax_loop(values[: t + 1], keys[: t + 1], queries[t], K**-0.5) for t in range(5)])
    within(lambda *a: attention.moattn(*a, 0.5), (values, keys, queries), attn + past_loop(values, 0.5))
    exact = attn + kernel_loop(values, gamma, delta, 0.25)
    within(
        lambda *a: attention.moattn_learned(*a, kernel_scale=0.25, form="recurrent"),
        (values, keys, queries, gamma, delta), exact,
    )  # fmt: skip
    plain = attention.causal_softmax_attn(values, keys, queries)
    by_fft = attention.learned_average(values, gamma, delta, 0.25, "fft")
    assert (attention.moattn_learned(values, keys, queries, gamma, delta, None, 0.25) == plain + by_fft).all()


@pytest.mark.parametrize("mu", [0.0, 0.5, 1.0])
def test_heavy_ball(mu):
    values, keys, queries = integers(17, (5, V), (5, K), (5, K))
    expected = heavy_loop(values, keys, queries, mu)
    assert (np.asarray(attention.heavy_ball_attn(values, keys, queries, mu)) == expected).all()
    weights = np.asarray(attention.heavy_ball_weights(5, mu))
    assert (weights[-1] == -np.asarray(descent.heavy_ball(jnp.ones(5), mu))).all()
    coefficients = descent.coefficients(descent.Optimizer(eta=1.0, momentum=mu), 5)[1]
    assert (weights[-1] == -np.asarray(coefficients)).all()


@pytest.mark.parametrize("mu", [0.0, 0.5, 1.0])
def test_heavy_ball_with_softmax(mu):
    values, keys, queries = normal(18, (5, V), (5, K), (5, K))
    rows = []
    for t in range(5):
        c = [sum(mu**s for s in range(t - i + 1)) for i in range(t + 1)]
        rows.append(softmax_loop(values[: t + 1], keys[: t + 1], queries[t], K**-0.5, c))
    within(lambda *a: attention.heavy_ball_softmax(*a, mu), (values, keys, queries), np.stack(rows))


def test_time_profiles_are_opposite():
    heavy = np.asarray(attention.heavy_ball_weights(6, 0.7))[-1]
    one_hot = np.eye(6, dtype=np.float32)
    recent = np.asarray(attention.past_average(one_hot, 0.7))[-1][:5]  # the weight of each value at the last position
    assert (np.diff(heavy) < 0).all() and (np.diff(recent) > 0).all()


@pytest.mark.parametrize("eta", [0.125, 0.5, 0.875])
@pytest.mark.parametrize("mu", [0.125, 0.5, 0.875])
def test_momentum_attention_is_no_momentum_for_any_pair_of_numbers(eta, mu):
    values, keys, queries = integers(19, (4, V), (4, K), (4, K))  # with eighths nothing rounds
    causal = np.tril(np.ones((4, 4), np.float32))

    def linear(queries):
        return (causal * (queries @ keys.T)) @ values

    def gap(queries):
        moattn = linear(queries) + attention.past_average(values, eta)
        return np.asarray(moattn - attention.heavy_ball_attn(values, keys, queries, mu))

    assert (gap(queries)[1:] != 0).any()
    assert (gap(0 * queries) == past_loop(values, eta)).all() and (gap(0 * queries)[1:] != 0).any()


# --- similarity -------------------------------------------------------------------------------------------------------


def test_unrelated_updates_of_normalised_states_look_alike():
    assert float(attention.unrelated_cosine(3.0)) == 0.25
    assert float(attention.unrelated_cosine(0.0)) == 0.0
    assert float(attention.unrelated_cosine(1e12)) <= 0.5
    h, a, b = np.eye(3, dtype=np.float32)
    for c, d in ((3.0, 3.0), (8.0, 0.5), (0.015625, 0.015625)):
        s, t = (1 + c) ** -0.5, (1 + d) ** -0.5
        # the inner product and the two lengths of (IC11), each difference of unit vectors by itself
        lengths = np.sqrt((1 - s) ** 2 + s * s * c), np.sqrt((1 - t) ** 2 + t * t * d)
        exact = np.asarray((1 - s) * (1 - t) / (lengths[0] * lengths[1]))
        ratios = np.float32(c), np.float32(d)
        within(attention.unrelated_cosine, ratios, exact)
        within(lambda c, d: attention.update_similarity(h, h + jnp.sqrt(c) * a, h + jnp.sqrt(d) * b), ratios, exact)
        assert attention.update_similarity(h, h + np.sqrt(c) * a, h + np.sqrt(d) * b, normalize=False) == 0


def test_similarity_in_the_limits():
    h, a = normal(20, (4, 16), (4, 16))
    within(lambda h, a: attention.update_similarity(h, h + a, h + a), (h, a), np.ones(4))
    within(lambda h, a: attention.update_similarity(h, h + a, h - a, normalize=False), (h, a), -np.ones(4))
    assert (attention.update_similarity(h, h, h + a) == 0).all()
    gradient = jax.grad(lambda h: attention.update_similarity(h, h, h).sum())(jnp.zeros((2, 3)))
    assert np.isfinite(gradient).all()
    with pytest.raises(ValueError, match=r"h_other: got shape \(3,\), expected \[..., V\]"):
        attention.update_similarity(h, h, np.ones(3, np.float32))
    with pytest.raises(ValueError, match="ratio: got -1, expected at least 0"):
        attention.unrelated_cosine(-1.0)


# --- arguments --------------------------------------------------------------------------------------------------------

ONES = np.ones((2, 2), np.float32)
BAD = {
    "integers": (lambda: attention.softmax_attn(np.ones((2, 2), int), ONES, ONES), r"V: got dtype int"),
    "features": (lambda: attention.softmax_attn(ONES, ONES, np.ones((2, 3), np.float32)), r"q: got shape \(2, 3\)"),
    "dtypes": (lambda: attention.softmax_attn(ONES.astype(np.float16), ONES, ONES), "V, K, q: got dtypes"),
    "no features": (lambda: attention.softmax_attn(ONES[:, :0], ONES, ONES), "at least one feature on axis V"),
    "not finite": (lambda: attention.softmax_attn(ONES / 0, ONES, ONES), "expected finite numbers"),
    "demonstrations": (lambda: attention.softmax_split(ONES, ONES, ONES[:1], ONES, ONES), "K_demo: got shape"),
    "blocks": (lambda: attention.softmax_blocks([ONES], [], ONES), "K: got 0 blocks, expected as many as of V, 1"),
    "factors": (lambda: attention.blocks_from_weights([ONES[0]], [ONES], [1.0, 2.0]), "factors: got 2, expected one"),
    "weights": (lambda: attention.split_from_weights(ONES[0], ONES, ONES, ONES), r"w_demo: got shape \(2, 2\)"),
    "gate": (lambda: attention.gate(ONES[:0], ONES, ONES[0]), "K: got no tokens, expected at least one"),
    "split": (lambda: attention.icl_split(ONES, ONES, ONES, np.ones((2, 3), np.float32)), "X_demo: got shape"),
    "model width": (lambda: attention.icl_split(ONES[:, :0], ONES[:, :0], ONES[:, :0], ONES), "at least one feature"),
    "changes": (lambda: attention.ft_update(ONES, ONES, ONES[:1], ONES, ONES), "dW_V: got shape"),
    "ranks": (lambda: attention.rank_bounds(1, 1, 0.5), "rank_X: got 0.5, expected a Python integer"),
    "heads": (
        lambda: attention.linear_heads(ONES[:, None], ONES[:, None], np.ones((3, 1, 2), np.float32), causal=True),
        "Q: got 3 queries, expected at most the 2 tokens of V",
    ),
    "loss": (
        lambda: attention.finetune(ONES, ONES, ONES[None], ONES[:1], ONES[:1], 0.1, lambda y, t: y - t),
        r"loss: got a function that returns shape \(2,\)",
    ),
    "rates": (lambda: attention.finetune(ONES, ONES, ONES[None], ONES[:1], ONES[:1], np.ones(2, np.float32)), "eta"),
    "eta": (lambda: attention.moattn(ONES, ONES, ONES, float("nan")), "eta: got nan, expected finite"),
    "form": (lambda: attention.moattn(ONES, ONES, ONES, 0.5, form="dft"), "form: got 'dft', expected one of"),
    "channels": (lambda: attention.learned_average(ONES, ONES[:1], ONES[:1]), "gamma: got shape"),
    "momentum": (lambda: attention.heavy_ball_softmax(ONES, ONES, ONES, -0.1), "mu: got -0.1, expected at least 0"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments_are_named(name):
    call, message = BAD[name]
    with np.errstate(divide="ignore"), pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_narrow_inputs_are_computed_wide(dtype):
    values, keys, queries = (jnp.asarray(x, dtype) for x in normal(21, (5, V), (5, K), (5, K)))
    wide = [x.astype(jnp.float32) for x in (values, keys, queries)]
    for f in (
        attention.softmax_attn, attention.causal_softmax_attn, lambda *a: attention.moattn(*a, 0.5),
        lambda *a: attention.heavy_ball_softmax(*a, 0.5), lambda *a: attention.heavy_ball_attn(*a, 0.5),
        lambda v, k, q: attention.softmax_split(v, k, v, k, q).demo,
    ):  # fmt: skip
        out = f(values, keys, queries)
        assert out.dtype == dtype and (out == f(*wide).astype(dtype)).all()


def test_everything_goes_through_jit_and_vmap():
    batch = normal(22, (2, 3, V), (2, 3, K), (2, K))
    together = jax.jit(jax.vmap(attention.softmax_attn))(*batch)
    for b in range(2):
        arrays = [x[b] for x in batch]
        bound = rounding_bound(attention.softmax_attn, *arrays)[1]
        assert (np.abs(together[b] - attention.softmax_attn(*arrays)) <= 2 * bound).all()
    zeros = (batch[0][0, :0], batch[1][0, :0], batch[1][0, :0])
    assert attention.moattn(*zeros, 0.5).shape == (0, V)
    assert attention.heavy_ball_attn(*zeros, 0.5).shape == (0, V)
    assert attention.learned_average(zeros[0], np.ones((V, 2), np.float32), np.ones((V, 2), np.float32)).shape == (0, V)


# --- laws and planted bugs --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("law", [pytest.param(law, id=f"{law.label} {law.title[:40]}") for law in laws.LAWS])
def test_laws_earn_what_they_claim(law):
    for stamp in law.stamps:
        result = check(law, stamp, quick=stamp == BOUNDED)
        assert result.earned == stamp, result.reason
        if stamp == PROVED:
            assert 0 < result.failure_probability < 1e-12
            seen = {(d["case"], d["forms"][1]) for d in result.details if d["of"] == "value"}
            assert seen == {(case.name, form) for case in law.cases for form in list(case.forms)[1:]}
        if stamp == BOUNDED:
            assert result.worst is not None and result.worst <= 1


def test_every_label_has_a_law_that_stands_and_planted_bugs():
    names = "update", "tuning", "heads", "similarity", "blocks", "momentum"
    modules = [getattr(dualform.attention, name) for name in names]
    defined = [label for module in modules for label in re.findall(r"\\tag\{(\w+)\}", module.__doc__)]
    assert len(defined) == len(set(defined)) == 29
    assert {law.label for law in laws.LAWS} == set(defined)
    stand = {law.label for law in laws.LAWS if {"proved", "bounded", "measured"} & set(law.stamps)}
    assert stand == set(defined)
    for prefix in PREFIXES:
        assert {law.label for law in find(prefix)} == {label for label in defined if label.startswith(prefix)}
    planted = [m for m in MUTANTS if m.label[:2] in PREFIXES]
    assert len(planted) >= 50 and sum(m.label[:2] in PREFIXES for m in HARMLESS) >= 5
    # one statement is the sum of others and has no form to plant a bug in: IC1 is a definition, IC3, IC5 and IC8 are
    # about forms that IC2, IC4 and IC6 plant bugs in, MA1 and MA8 about those of SX1, MA2 and MA6
    assert {m.label for m in planted} >= set(defined) - {"IC1", "IC3", "IC5", "IC8", "MA1", "MA8"}
