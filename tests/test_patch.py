"""Chapter 7: a context as a patch, against loops, exact integers and a real attention layer."""

import re
from fractions import Fraction
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from earned import earns_what_it_claims
from hypothesis import given
from hypothesis import strategies as st
from mutants import MUTANTS

from dualform import patch
from dualform.laws import check, find
from dualform.laws.law import BOUNDED, MEASURED, PROVED, REFUTED
from dualform.laws.patch.definitions import gated, mlp, rows_of_digits
from dualform.prove import identical, rounding_bound
from dualform.rules.ttt import LayerNorm

LAWS = [pytest.param(law, id=f"{law.label} {law.title[:40]}") for law in find("CP")]


def exact(x):
    """Floats as the rational numbers that they are."""
    return np.vectorize(Fraction, otypes=[object])(np.asarray(x, np.float64))


def loop_patch(W, z, a):
    """(CP1), one entry at a time."""
    V, K = W.shape
    square = sum(a[j] * a[j] for j in range(K))
    out = np.zeros((V, K), object)
    for i in range(V):
        change = sum(W[i, j] * (z[j] - a[j]) for j in range(K))
        for j in range(K):
            out[i, j] = change * a[j] / square
    return out


def loop_growing(W, inputs):
    """(CP8), one entry at a time."""
    weights = [W]
    for before, after in pairwise(inputs):
        step, square = W @ (after - before), inputs[0] @ inputs[0]
        weights.append(np.array([[w + e * x / square for w, x in zip(row, inputs[0], strict=True)]
                                 for row, e in zip(weights[-1], step, strict=True)]))  # fmt: skip
    return np.stack(weights)


def loop_absorbing(W, inputs):
    """(CP9), one entry at a time."""
    weights = [W]
    for before, after in pairwise(inputs):
        step, square = weights[-1] @ (before - after), after @ after
        weights.append(np.array([[w + e * x / square for w, x in zip(row, after, strict=True)]
                                 for row, e in zip(weights[-1], step, strict=True)]))  # fmt: skip
    return np.stack(weights)


def solve(M, R):
    """M^-1 R by elimination in rational numbers."""
    rows = np.concatenate([M, R], axis=1)
    for k in range(len(M)):
        pivot = k + next(i for i, x in enumerate(rows[k:, k]) if x != 0)
        rows[[k, pivot]] = rows[[pivot, k]]
        rows[k] = rows[k] / rows[k, k]
        for i in range(len(M)):
            if i != k:
                rows[i] = rows[i] - rows[i, k] * rows[k]
    return rows[:, len(M) :]


def within_its_bound(form, oracle, arguments):
    """In float32, against an oracle in rational numbers: no tolerance but the bound derived from the form."""
    computed = exact(jax.jit(form)(*arguments))
    bound = rounding_bound(form, *arguments)[1]
    truth = oracle(*map(exact, arguments))
    assert computed.shape == truth.shape == bound.shape
    assert (np.abs(computed - truth) <= exact(bound)).all()
    assert np.max(bound) < 1e-3 * float(np.max(np.abs(truth)))


def draw(seed, *shapes):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


# --- laws -------------------------------------------------------------------------------------------------------------


def test_every_labelled_identity_has_a_law_and_every_law_a_label():
    defined = re.findall(r"\\tag\{(\w+)\}", patch.__doc__)
    assert len(defined) == 13 and {law.label for law in find("CP")} == set(defined)
    for label in defined:
        assert any({PROVED, BOUNDED} & set(law.stamps) for law in find(label)), label


@pytest.mark.parametrize("law", LAWS)
def test_laws_earn_what_they_claim(law):
    earns_what_it_claims(law)


@pytest.mark.parametrize("law", [p for p in LAWS if BOUNDED in p.values[0].stamps])
def test_laws_are_bounded_in_bfloat16(law):
    result = check(law, BOUNDED, quick=True, dtypes=("bfloat16",))
    assert result.earned == BOUNDED, result.reason


def test_all_kinds_of_stamps_occur_and_every_claim_that_can_be_broken_is():
    assert {stamp for law in find("CP") for stamp in law.stamps} == {PROVED, BOUNDED, MEASURED, REFUTED}
    mine = [m for m in MUTANTS if m.label.startswith("CP")]
    assert len(mine) >= 30
    assert {m.label for m in mine} == {law.label for law in find("CP") if {PROVED, BOUNDED} & set(law.stamps)}


def test_the_claim_of_an_update_for_all_tokens_has_a_counterexample():
    """C40, as it is often retold."""
    (law,) = [law for law in find("CP11") if REFUTED in law.stamps]
    for case in law.cases:
        claimed, truth = case.forms.values()
        example = identical(claimed, truth, *case.inputs).counterexample
        with jax.enable_x64(True):
            arguments = jax.tree.map(jnp.asarray, jax.tree.map(np.float64, example.inputs))
            gap = np.abs(np.asarray(claimed(*arguments)) - np.asarray(truth(*arguments)))
            bounds = sum(rounding_bound(f, *map(np.asarray, arguments))[1] for f in (claimed, truth))
        assert (gap > bounds).any()


# --- one token --------------------------------------------------------------------------------------------------------


@given(st.sampled_from([(1, 1), (3, 2), (2, 5), (7, 4)]), st.integers(0, 2**32 - 1))
def test_a_patch_is_that_of_the_loop(shape, seed):
    V, K = shape
    rng = np.random.default_rng(seed)
    W, z = (rng.standard_normal(s).astype(np.float32) for s in ((V, K), (K,)))
    a = (rng.choice([-1, 1], K) * rng.uniform(0.5, 2, K)).astype(np.float32)  # its square does not cancel
    within_its_bound(patch.context_patch, loop_patch, (W, z, a))


@given(st.integers(0, 2**32 - 1))
def test_integers_are_patched_without_any_rounding(seed):
    """Inputs of -1 and 1 have the square 4, a power of two, so that even the division is exact."""
    rng = np.random.default_rng(seed)
    W, z = rng.integers(-500, 501, (3, 4)), rng.integers(-500, 501, 4)
    a = rng.choice([-1, 1], 4)
    W, z, a = (x.astype(np.float32) for x in (W, z, a))
    dW = np.asarray(patch.context_patch(W, z, a))
    assert (exact(dW) == loop_patch(*map(exact, (W, z, a)))).all()
    assert ((W + dW) @ a == W @ z).all()
    minors = dW[:, :, None, None] * dW[None, None] - np.swapaxes(dW[:, :, None, None] * dW[None, None], 1, 3)
    assert (minors == 0).all()  # rank 1


def test_no_other_solution_is_smaller():
    """(CP3) in rational numbers: other solutions are larger by exactly the square of their distance."""
    W, z, a, Z = map(exact, draw(0, (3, 5), (5,), (5,), (3, 5)))
    dW = loop_patch(W, z, a)
    other = dW + Z - np.outer(Z @ a, a) / (a @ a)
    assert (other @ a == dW @ a).all() and (dW @ a == W @ (z - a)).all()
    assert np.sum(other**2) == np.sum(dW**2) + np.sum((other - dW) ** 2) > np.sum(dW**2)


def test_the_same_context_as_before_needs_no_patch():
    W, a = draw(1, (3, 4), (4,))
    assert (np.asarray(patch.context_patch(W, a, a)) == 0).all()


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_results_have_the_dtype_of_the_weight(dtype):
    W, z, a = (jnp.asarray(x, dtype) for x in draw(2, (3, 4), (4,), (4,)))
    assert patch.context_patch(W, z, a).dtype == dtype
    assert patch.context_patch(W.astype(jnp.float32), z, a).dtype == jnp.float32
    change = patch.block_patch(W, z, a)
    assert (change.weight.dtype, change.bias.dtype) == (dtype, dtype)
    assert patch.shared_patch(W, z[None], a[None], 0.5).dtype == dtype
    assert patch.growing_patches(W, jnp.stack([a, z])).dtype == dtype


@pytest.mark.parametrize(
    "bad, message",
    [
        (dict(without_context=np.zeros(4, np.float32)), r"without_context: got a vector whose square is 0 in float32"),
        (dict(without_context=np.full(4, 1e-25, np.float32)), "without_context: got a vector whose square is 0"),
        (dict(without_context=np.full(4, 1e25, np.float32)), "without_context: got a vector whose square is inf"),
        (dict(without_context=np.full(4, np.nan, np.float32)), r"without_context: got nan at \[0\]"),
        (dict(with_context=np.ones(3, np.float32)), r"without_context: got shape \(4,\), expected \[K\]"),
        (dict(W=np.ones((2, 3), np.float32)), r"W: got shape \(2, 3\), expected \[V, K\]"),
        (dict(W=np.ones((2, 4), jnp.bfloat16)), "W: got dtype bfloat16, expected that of the patterns"),
        (dict(with_context=np.ones(4, int)), "with_context: got dtype int32, expected a float dtype"),
        (dict(with_context=np.ones(4, jnp.bfloat16)), "got dtypes with_context bfloat16, without_context float32"),
    ],
)
def test_wrong_arguments_are_named(bad, message):
    W, z, a = draw(3, (2, 4), (4,), (4,))
    with pytest.raises(ValueError, match=message):
        patch.context_patch(**{"W": W, "with_context": z, "without_context": a, **bad})


def test_values_are_not_checked_under_jit_and_vmap_works():
    W, z, a = draw(4, (2, 3), (5, 3), (5, 3))
    assert np.isnan(np.asarray(jax.jit(patch.context_patch)(W, z[0], np.zeros(3, np.float32)))).all()
    each = jax.jit(jax.vmap(patch.context_patch, (None, 0, 0)))(W, z, a)
    assert each.shape == (5, 2, 3)
    for one, *arguments in zip(each, z, a, strict=True):
        bound = rounding_bound(patch.context_patch, W, *arguments)[1]
        assert (np.abs(exact(one) - loop_patch(*map(exact, (W, *arguments)))) <= exact(bound)).all()


# --- blocks on a real attention layer ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def streams():
    """Residual streams at the last rows of 12 digits, with and without the rows above as context."""
    Z, A = rows_of_digits(np.random.default_rng(0))
    x = A[:12, -1]
    return (x + Z[:12, -1]).astype(np.float32), (x + A[:12, -1]).astype(np.float32)


@pytest.mark.parametrize(
    "norm",
    [None, patch.RMSNorm(np.linspace(0.5, 2, 8, dtype=np.float32)),
     LayerNorm(np.linspace(0.5, 2, 8, dtype=np.float32), np.linspace(-1, 1, 8, dtype=np.float32))],
    ids=["none", "RMSNorm", "LayerNorm"],
)  # fmt: skip
def test_a_patched_block_answers_as_if_it_had_seen_the_context(streams, norm):
    W, b, W2, b2 = draw(5, (16, 8), (16,), (8, 16), (8,))

    def seen(u1, u0):
        return mlp(u1, W, b, W2, b2, norm)

    def patched(u1, u0):
        change = patch.block_patch(W, u1, u0, norm)
        return mlp(u0, W + change.weight, b, W2, b2 + change.bias, norm)

    def unpatched(u1, u0):
        return mlp(u0, W, b, W2, b2, norm)

    for pair in zip(*streams, strict=True):
        a, c = (np.asarray(jax.jit(f)(*pair), np.float64) for f in (seen, patched))
        allowed = sum(rounding_bound(f, *pair)[1] for f in (seen, patched))
        assert (np.abs(a - c) <= allowed).all()
        assert np.abs(a - np.asarray(unpatched(*pair))).max() > 100 * allowed.max()  # the context does something


def test_a_patched_gated_block_answers_as_if_it_had_seen_the_context(streams):
    W_gate, W_up, W_down = draw(6, (16, 8), (16, 8), (8, 16))
    norm = patch.RMSNorm(np.ones(8, np.float32))

    def patched(u1, u0):
        change = patch.gated_patch(W_gate, W_up, u1, u0, norm)
        return gated(u0, W_gate + change.gate, W_up + change.up, W_down + change.down, norm)

    def seen(u1, u0):
        return gated(u1, W_gate, W_up, W_down, norm)

    for pair in zip(*streams, strict=True):
        gap = np.abs(np.asarray(jax.jit(seen)(*pair), np.float64) - np.asarray(jax.jit(patched)(*pair), np.float64))
        assert (gap <= sum(rounding_bound(f, *pair)[1] for f in (seen, patched))).all()


def test_blocks_refuse_what_cannot_be_patched():
    W, u = draw(7, (3, 4), (4,))
    with pytest.raises(ValueError, match=r"norm\(without_context\): got a vector whose square is 0"):
        patch.block_patch(W, u, np.zeros(4, np.float32), patch.RMSNorm(np.ones(4, np.float32)))
    with pytest.raises(ValueError, match="the hidden vector: got a vector whose square is 0"):
        patch.gated_patch(W, 0 * W, u, u)
    with pytest.raises(ValueError, match=r"W_up: got shape \(2, 4\)"):
        patch.gated_patch(W, W[:2], u, u)


# --- sequences --------------------------------------------------------------------------------------------------------

SEQUENCES = {"growing": (patch.growing_patches, loop_growing), "absorbing": (patch.absorbing_patches, loop_absorbing)}


@pytest.mark.parametrize("name", SEQUENCES)
@pytest.mark.parametrize("n", [0, 1, 5])
def test_sequences_are_those_of_the_loop(name, n):
    for seed in range(3):
        within_its_bound(*SEQUENCES[name], draw(seed, (2, 6), (n + 1, 6)))


def test_the_two_ways_to_consume_a_context_have_different_ranks():
    W, inputs = (x.astype(np.float64) for x in draw(8, (6, 6), (5, 6)))
    with jax.enable_x64(True):
        growing = np.asarray(patch.growing_patches(W, inputs)[-1])
        absorbing = np.asarray(patch.absorbing_patches(W, inputs)[-1])
    assert [np.linalg.matrix_rank(S - W) for S in (growing, absorbing)] == [1, 4]
    with jax.enable_x64(True):  # both exact without context, inputs[0]; different everywhere else
        flipped = np.asarray(patch.absorbing_patches(W, inputs[::-1])[-1])
    assert np.linalg.norm(growing - flipped) > 0.5 * np.linalg.norm(growing - W)


def test_sequences_refuse_what_they_cannot_divide_by():
    W = np.ones((2, 3), np.float32)
    rows = np.array([[1, 1, 1], [0, 0, 0], [2, 1, 0]], np.float32)
    assert patch.growing_patches(W, rows).shape == (3, 2, 3)
    with pytest.raises(ValueError, match=r"inputs\[1:\]: got a vector at \[0\] whose square is 0"):
        patch.absorbing_patches(W, rows)
    with pytest.raises(ValueError, match=r"inputs\[0\]: got a vector whose square is 0"):
        patch.growing_patches(W, rows[1:])
    for sequence in (patch.growing_patches, patch.absorbing_patches):
        with pytest.raises(ValueError, match=r"inputs: got shape \(0, K\), expected at least the input without"):
            sequence(W, rows[:0])


# --- many tokens ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n, K", [(1, 4), (3, 4), (4, 4), (9, 4)])
@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_a_shared_patch_is_the_regression_solved_exactly(n, K, ridge):
    """(CP12) by the other Gram matrix than the one that is solved, where it can be."""
    W, Z, A = draw(9, (3, K), (n, K), (n, K))

    def regression(W, Z, A):
        R, rho = (Z - A) @ W.T, Fraction(float(np.float32(ridge)))
        if n > K or ridge == 0.0:
            tokens = n <= K
            G = A @ A.T if tokens else A.T @ A
            G = G + rho * exact(np.eye(len(G)))
            return solve(G, R).T @ A if tokens else solve(G, A.T @ R).T
        return solve(A.T @ A + rho * exact(np.eye(K)), A.T @ R).T

    within_its_bound(lambda *x: patch.shared_patch(*x, ridge), regression, (W, Z, A))


def test_no_tokens_need_no_patch():
    W, none = np.ones((2, 3), np.float32), np.zeros((0, 3), np.float32)
    assert (np.asarray(patch.shared_patch(W, none, none)) == np.zeros((2, 3))).all()
    assert patch.patch_errors(W, 0 * W, none, none).shape == (0, 2)


def test_a_negative_ridge_is_refused():
    W, A = np.ones((2, 3), np.float32), np.ones((1, 3), np.float32)
    with pytest.raises(ValueError, match="ridge: got -1, expected a number of at least 0"):
        patch.shared_patch(W, A, A, -1.0)


def test_on_real_rows_one_patch_serves_its_token_and_few_others():
    Z, A = (x.astype(np.float32) for x in rows_of_digits(np.random.default_rng(1)))
    Z, A = Z[:20].reshape(-1, 8), A[:20].reshape(-1, 8)  # 140 rows of 20 digits
    (W,) = draw(10, (16, 8))
    nothing = np.linalg.norm(patch.patch_errors(W, 0 * W, Z, A))
    few = np.array([3, 60, 100])
    one, three = patch.context_patch(W, Z[3], A[3]), patch.shared_patch(W, Z[few], A[few])
    allowed = np.linalg.norm(rounding_bound(lambda z, a: patch.patch_errors(W, patch.shared_patch(W, z, a), z, a),
                                            Z[few], A[few])[1])  # fmt: skip
    assert np.linalg.norm(patch.patch_errors(W, one, Z[3:4], A[3:4])) <= allowed < 0.05 * nothing
    assert np.linalg.norm(patch.patch_errors(W, three, Z[few], A[few])) <= allowed
    # columns without ink make the Gram matrix of many rows singular: hence the ridge
    left = np.linalg.norm(patch.patch_errors(W, patch.shared_patch(W, Z, A, 1e-3), Z, A))
    assert 0.1 * nothing < left < 0.9 * nothing  # the best patch for all rows explains a part of what contexts do
    assert left < min(np.linalg.norm(patch.patch_errors(W, p, Z, A)) for p in (one, three))
