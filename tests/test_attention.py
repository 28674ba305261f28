"""Attention as an update, against loops in float64 written from the definitions; the laws, the edges."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from attention_loops import D, K, V, finetune_loop, head_loop, integers, normal, softmax_loop, within
from earned import earns_what_it_claims
from mutants import HARMLESS, MUTANTS

import dualform.attention
from dualform import attention
from dualform.laws import find
from dualform.laws.attention import laws
from dualform.prove import rounding_bound

PREFIXES = ("IC", "SX", "MA")


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
    "gate": (lambda: attention.gate(ONES[:0], ONES[:0], ONES[0]), "K: got no tokens, and K_demo has none"),
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
    earns_what_it_claims(law)


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


def test_the_gate_of_an_empty_block_is_what_the_split_says():
    for n, d in ((0, 3), (3, 0)):
        split = attention.softmax_split(ONES[:n], ONES[:n], ONES[:d], ONES[:d], ONES[0])
        assert attention.gate(ONES[:n], ONES[:d], ONES[0]) == split.weight == float(n == 0)
    assert attention.gate(ONES, ONES[:0], ONES).tolist() == [0.0] * len(ONES)
