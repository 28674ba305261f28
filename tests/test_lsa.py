"""Linear self-attention and its constructions, against loops in float64 written from the definitions; the laws."""

import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from earned import earns_what_it_claims
from mutants import HARMLESS, MUTANTS

from dualform import regression as r
from dualform.laws import check, find
from dualform.laws.regression.layers import laws
from dualform.laws.regression.layers import prompts as forms
from dualform.prove import rounding_bound
from dualform.regression import constructions, explicit, invariance, tasks


def normal(seed, *shapes, scale=1.0):
    rng = np.random.default_rng(seed)
    return [(scale * rng.standard_normal(shape)).astype(np.float32) for shape in shapes]


def within(f, arguments, exact, vacuous=1e-3):
    """A compiled program lies within its own rounding bound of a loop in float64, whose rounding is a little more."""
    arguments = [np.asarray(x) for x in arguments]
    got, bound = np.asarray(jax.jit(f)(*arguments), np.float64), rounding_bound(f, *arguments)[1]
    assert got.shape == np.shape(exact)
    assert (np.abs(got - exact) <= bound * (1 + 10 * 2.0**-29)).all(), (got, exact, bound)
    assert np.max(bound) <= vacuous * np.max(np.abs(exact))


def wide(f, *arguments):
    """A compiled program in float64."""
    with jax.enable_x64(True):
        return jax.tree.map(np.asarray, jax.jit(f)(*(jnp.asarray(a, jnp.float64) for a in arguments)))


# --- oracles ----------------------------------------------------------------------------------------------------------


def layer_loop(tokens, W_PV, W_KQ, rho, read=True):
    """(LS1) and (LS3), index by index."""
    tokens, W_PV, W_KQ = (np.asarray(a, np.float64) for a in (tokens, W_PV, W_KQ))
    heads = zip(W_PV, W_KQ, strict=True) if W_PV.ndim == 3 else [(W_PV, W_KQ)]
    T, D = tokens.shape
    out = tokens.copy()
    for P, Q in heads:
        for j in range(T):
            for i in range(T if read else T - 1):
                score = sum(tokens[i, a] * Q[a, b] * tokens[j, b] for a in range(D) for b in range(D))
                for a in range(D):
                    out[j, a] += sum(P[a, b] * tokens[i, b] for b in range(D)) * score / rho
    return out


def descent_loop(x, y, rates, W0, A=None):
    """Steps on (1/2N) sum |W x - y|^2 with the derivative by hand, entry by entry; the gradient times A' (LS8)."""
    x, y, W = np.asarray(x, np.float64), np.asarray(y, np.float64), np.array(W0, np.float64)
    N, d = x.shape
    for k, eta in enumerate(np.atleast_1d(np.asarray(rates, np.float64))):
        slope = np.zeros_like(W)
        for i in range(N):
            for a in range(len(W)):
                error = sum(W[a, b] * x[i, b] for b in range(d)) - y[i, a]
                for b in range(d):
                    slope[a, b] += error * x[i, b] / N
        B = np.eye(d) if A is None else np.asarray(A[k], np.float64)
        for a in range(len(W)):
            W[a] -= eta * np.array([sum(slope[a, b] * B[c, b] for b in range(d)) for c in range(d)])
    return W


def moving_loop(x, y, q, rates, gammas):
    """GD++ (LS9) entry by entry: each layer predicts from what is left and moves all inputs."""
    x, y, q = (np.array(a, np.float64) for a in (x, y, q))
    N, d = x.shape
    total = np.zeros(y.shape[1])
    for eta, gamma in zip(rates, gammas, strict=True):
        H = np.zeros((d, d))
        for i in range(N):
            for a in range(d):
                for b in range(d):
                    H[a, b] += x[i, a] * x[i, b] / N
        step = descent_loop(x, y, [eta], np.zeros((y.shape[1], d)))
        total += [sum(step[a, b] * q[b] for b in range(d)) for a in range(len(step))]
        for i in range(N):
            y[i] -= [sum(step[a, b] * x[i, b] for b in range(d)) for a in range(len(step))]
        x, q = x - gamma * x @ H, q - gamma * H @ q
    return total


# --- the layer --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [r.lsa, r.lsa_attention])
@pytest.mark.parametrize("read", [True, False])
@pytest.mark.parametrize("heads", [(), (2,)])
def test_a_layer_is_its_double_sum(form, read, heads):
    arrays = normal(1, (4, 3), (*heads, 3, 3), (*heads, 3, 3))
    exact = layer_loop(*arrays, 3.0, read)
    within(lambda *a: form(*a, 3.0, include_query=read), arrays, exact)


def test_layers_follow_each_other():
    tokens, P, Q = normal(2, (4, 3), (2, 2, 3, 3), (2, 2, 3, 3), scale=0.5)
    exact = layer_loop(layer_loop(tokens, P[0], Q[0], 3.0), P[1], Q[1], 3.0)
    within(lambda *a: r.lsa_layers(*a, 3.0), (tokens, P, Q), exact)
    again = layer_loop(layer_loop(tokens, P[0], Q[0], 3.0), P[0], Q[0], 3.0)
    computed = r.lsa_layers(tokens, P[:1], Q[:1], 3.0, repeat=2)
    bound = rounding_bound(lambda *a: r.lsa_layers(r.lsa_layers(*a, 3.0), *a[1:], 3.0), tokens, P[:1], Q[:1])[1]
    assert (np.abs(computed - again) <= bound * (1 + 10 * 2.0**-29)).all()
    assert (r.lsa_layers(tokens, P, Q, 3.0, repeat=0) == tokens).all()


def test_the_reduced_form_is_the_prediction():
    x, y, q, P, Q = normal(3, (5, 2), (5,), (2,), (3, 3), (3, 3))
    exact = layer_loop(np.vstack([np.c_[x, y], [*q, 0.0]]), P, Q, 5.0)[-1, -1]
    within(lambda *a: r.reduced(r.prompt(*a[:3]), *a[3:], 5.0), (x, y, q, P, Q), exact)


# --- constructions ----------------------------------------------------------------------------------------------------


def layers(x, y, q, eta, W0=None, A=None, gamma=0.0):
    P, Q = r.gd_construction(x.shape[1], eta, labels=y.shape[1], W0=W0, A=A, gamma=gamma)
    P, Q = (P, Q) if P.ndim == 3 else (P[None], Q[None])
    return r.gd_prediction(
        r.lsa_layers(r.gd_prompt(x, y, q, W0), P, Q, len(x), include_query=False), y.shape[1]
    )  # fmt: skip


@pytest.mark.parametrize("steps, k", [(1, 3), (3, 2)])
def test_layers_are_steps_of_gradient_descent(steps, k):
    x, y, q, W0 = normal(4, (6, 2), (6, k), (2,), (k, 2))
    eta = np.array([0.5, 0.25, 0.375], np.float32)[:steps]
    W = descent_loop(x, y, eta, W0)
    within(lambda *a: layers(*a[:3], eta, a[3]), (x, y, q, W0), W @ q.astype(float))
    within(lambda x, y, W0: r.descend(x, y, eta, W0=W0), (x, y, W0), W)


def test_a_matrix_in_the_scores_acts_by_its_transpose():
    x, y, q, A = normal(5, (6, 2), (6, 1), (2,), (3, 2, 2))
    W = descent_loop(x, y, np.ones(3), np.zeros((1, 2)), A)
    within(lambda x, y, q, A: layers(x, y, q, 1.0, A=A), (x, y, q, A), W @ q.astype(float))
    within(lambda x, y, A: r.descend(x, y, 1.0, A=A), (x, y, A), W)
    assert (r.gd_construction(2, 1.0, A=A[0])[1][:2, :2] == A[0].T).all()
    other = descent_loop(x, y, np.ones(3), np.zeros((1, 2)), np.swapaxes(A, 1, 2))
    assert np.abs(other - W).max() > 0.1


def test_moving_inputs_are_gd_plus_plus():
    x, y, q = normal(6, (6, 2), (6, 2), (2,))
    eta, gamma = np.array([0.5, 0.25, 0.75], np.float32), np.array([0.25, 0.125, 0.0], np.float32)
    exact = moving_loop(x, y, q, eta, gamma)
    within(lambda *a: layers(*a, eta, gamma=gamma), (x, y, q), exact)
    within(lambda x, y, q: r.descend(x, y, eta, gamma=gamma) @ q, (x, y, q), exact)


def test_gd_plus_plus_with_a_preconditioner_is_what_its_layers_do():
    x, y, q, A = normal(7, (6, 2), (6, 2), (2,), (2, 2, 2), scale=0.7)
    eta = np.array([0.5, 0.25], np.float32)
    steps = wide(lambda x, y, q, A: r.descend(x, y, eta, A=A, gamma=eta) @ q, x, y, q, A)
    assert np.abs(steps - wide(lambda x, y, q, A: layers(x, y, q, eta, A=A, gamma=eta), x, y, q, A)).max() < 1e-12


def test_the_published_size_within_its_tolerances():
    x, y, q, W0 = normal(8, (45, 12), (45, 8), (12,), (8, 12))
    exact = descent_loop(x, y, [0.25], W0) @ q.astype(float)
    assert np.abs(jax.jit(layers)(x, y, q, 0.25, W0) - exact).max() < 1e-5
    assert np.abs(wide(lambda *a: layers(*a[:3], 0.25, a[3]), x, y, q, W0) - exact).max() < 1e-12


def test_features_are_inputs_of_another_kind():
    x, y, q = normal(9, (5, 2), (5, 1), (2,))
    tokens = r.map_inputs(r.prompt(x, y, q), lambda v: jnp.stack([v[0], v[1], v[0] * v[1]]))
    mapped = np.c_[x, x[:, 0] * x[:, 1]]
    assert (tokens == np.vstack([np.c_[mapped, y], [*q, q[0] * q[1], 0.0]])).all()
    P, Q = r.gd_construction(3, 0.5)
    exact = (descent_loop(mapped, y, [0.5], np.zeros((1, 3))) @ np.array([*q, q[0] * q[1]], float))[0]
    within(lambda t: r.gd_prediction(r.lsa(t, P, Q, 5.0, include_query=False)), (tokens,), exact)


def test_the_trained_layer_is_one_preconditioned_step():
    x, y, q, root = normal(10, (9, 4), (9,), (4,), (4, 4))
    C = root @ root.T + np.eye(4, dtype=np.float32)
    Gamma = (1 + 1 / 7) * C.astype(float) + np.trace(C.astype(float)) / 7 * np.eye(4)
    mean = sum(float(y[i]) * x[i].astype(float) for i in range(9)) / 9

    def layer(x, y, q, A):
        P, Q = r.trained_construction(A)
        return r.prediction(r.lsa(r.prompt(x, y, q), P, Q, 9.0)), jnp.linalg.norm(P) - jnp.linalg.norm(Q)

    value, norms = wide(layer, x, y, q, np.linalg.inv(Gamma))
    assert abs(value - q @ np.linalg.solve(Gamma, mean)) < 1e-12 and abs(norms) < 1e-12


@pytest.mark.parametrize("heads", [1, 2])
def test_one_matrix_moves_all_tokens(heads):
    tokens, P, Q = normal(11, (5, 3), (2, heads, 3, 3), (2, heads, 3, 3), scale=0.5)
    exact = layer_loop(layer_loop(tokens, P[0], Q[0], 4.0, False), P[1], Q[1], 4.0, False)
    within(lambda t, P, Q: t @ r.token_map(t[:-1].T @ t[:-1], P, Q, 4.0).T, (tokens, P, Q), exact)
    if heads == 1:
        gram = tokens[:-1].T @ tokens[:-1]
        assert (r.token_map(gram, P[:, 0], Q[:, 0], 4.0) == r.token_map(gram, P, Q, 4.0)).all()


def test_gradients_of_the_construction_are_those_of_gradient_descent():
    x, y, q, W0 = normal(12, (3, 2), (3, 1), (2,), (1, 2))
    through = wide(jax.grad(lambda *a: layers(*a[:3], 0.5, a[3])[0], argnums=range(4)), x, y, q, W0)

    def loop(x, y, q, W0):  # differences of the loop, a polynomial of degree 4: at most 1e-10 and rounding off
        return (descent_loop(x, y, [0.5], W0) @ q)[0]

    for i, gradient in enumerate(through):
        for place in np.ndindex(gradient.shape):
            up, down = ([np.array(a, np.float64) for a in (x, y, q, W0)] for _ in range(2))
            up[i][place] += 1e-5
            down[i][place] -= 1e-5
            assert abs((loop(*up) - loop(*down)) / 2e-5 - gradient[place]) < 1e-8


# --- arguments --------------------------------------------------------------------------------------------------------

ONES = np.ones((2, 2), np.float32)
BAD = {
    "width": (lambda: r.gd_construction(0, 0.1), "d: got 0, expected an integer of at least 1"),
    "labels": (lambda: r.gd_construction(2, 0.1, labels=0), "labels: got 0, expected an integer of at least 1"),
    "start": (lambda: r.gd_construction(2, 0.1, W0=np.ones((2, 3), np.float32)), r"W0: got shape \(2, 3\)"),
    "matrix": (lambda: r.gd_construction(3, 0.1, A=ONES), r"A: got shape \(2, 2\), expected \[3, 3\]"),
    "rates": (lambda: r.gd_construction(2, ONES), r"eta: got shape \(2, 2\), expected a number or one for each layer"),
    "not finite": (lambda: r.gd_construction(2, float("nan")), "eta: got nan, expected finite"),
    "layers": (
        lambda: r.gd_construction(2, np.ones(2, np.float32), gamma=np.ones(3, np.float32)),
        "eta, gamma: got layers eta 2, gamma 3, expected the same number in each",
    ),
    "steps": (
        lambda: r.descend(ONES, ONES, np.ones(2, np.float32), A=np.ones((3, 2, 2), np.float32)),
        "eta, A: got layers eta 2, A 3",
    ),
    "start that moves": (lambda: r.gd_construction(2, 0.1, W0=ONES[0], gamma=0.1), "W0: got one beside gamma"),
    "the same, descend": (lambda: r.descend(ONES, ONES[0], 0.1, W0=ONES[0], gamma=0.1), "W0: got one beside gamma"),
    "no examples": (lambda: r.descend(ONES[:0], ONES[:0], 0.1), "x: got no examples, expected at least one"),
    "not square": (lambda: r.trained_construction(np.ones((2, 3), np.float32)), r"A: got shape \(2, 3\)"),
    "zero": (lambda: r.trained_construction(0 * ONES), "A: got zero, expected a matrix that is not"),
    "no inputs": (lambda: r.map_inputs(ONES, lambda x: x, labels=2), "tokens: got 2 columns, expected more than the 2"),
    "prompt": (lambda: r.gd_prompt(ONES, ONES, ONES[0], ONES[:1]), r"W0: got shape \(1, 2\), expected \[2, 2\]"),
    "divisor": (lambda: r.token_map(ONES, ONES[None], ONES[None], 0.0), "rho: got 0, expected a number above zero"),
    "gram": (lambda: r.token_map(ONES[:1], ONES[None], ONES[None], 1.0), r"gram: got shape \(1, 2\)"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments_are_named(name):
    call, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        call()


def test_one_label_may_come_without_its_axis():
    x, y, q, w0 = normal(13, (5, 2), (5,), (2,), (2,))
    one, axis = (
        jax.jit(lambda x, y, w: r.descend(x, y, 0.5, W0=w))(*a) for a in ((x, y, w0), (x, y[:, None], w0[None]))
    )
    assert one.shape == (2,) and axis.shape == (1, 2) and (axis[0] == one).all()
    assert (r.gd_construction(2, 0.5, W0=w0)[0] == r.gd_construction(2, 0.5, W0=w0[None])[0]).all()
    assert (r.gd_prompt(x, y, q, w0) == r.gd_prompt(x, y[:, None], q, w0[None])).all()
    tokens = normal(13, (4, 3))[0]
    assert r.gd_prediction(tokens).shape == () and r.gd_prediction(tokens) == r.gd_prediction(tokens, 1)[0]
    assert (r.gd_prediction(tokens, 2) == -tokens[-1, 1:]).all()


def test_narrow_prompts_are_computed_wide():
    x, y, q, W0 = (jnp.asarray(a, jnp.bfloat16) for a in normal(14, (5, 2), (5, 2), (2,), (2, 2)))
    steps = jax.jit(lambda x, y, W0: r.descend(x, y, 0.5, W0=W0))
    W, exact = steps(x, y, W0), steps(*(a.astype(jnp.float32) for a in (x, y, W0)))
    assert W.dtype == jnp.bfloat16 and (W == exact.astype(jnp.bfloat16)).all()
    assert r.gd_prompt(x, y, q, W0).dtype == jnp.bfloat16
    for P, Q in (r.trained_construction(W0), r.gd_construction(2, 0.5, labels=2, W0=W0)):
        assert P.dtype == Q.dtype == jnp.bfloat16
    assert r.token_map(W0, W0[None], W0[None], 1.0).dtype == jnp.bfloat16


def test_constructions_go_through_jit_and_vmap():
    x, y, q = normal(15, (3, 6, 2), (3, 6, 1), (3, 2))
    etas = jnp.array([0.25, 0.5, 0.75])
    together = jax.jit(jax.vmap(layers))(x, y, q, etas)
    for b in range(3):
        bound = rounding_bound(lambda *a: layers(*a), x[b], y[b], q[b], np.asarray(etas[b]))[1]
        assert (np.abs(together[b] - layers(x[b], y[b], q[b], etas[b])) <= 2 * bound).all()


# --- laws and planted bugs --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("law", [pytest.param(law, id=f"{law.label} {law.title[:40]}") for law in laws.LAWS])
def test_laws_earn_what_they_claim(law):
    earns_what_it_claims(law)


def test_samplers_are_not_accused_for_other_seeds():
    """Four runs of each: no deviation may even come near the limit."""
    for law in find("LS15"):
        values = [check(law, "measured", seed=seed).details[0]["value"] for seed in range(1, 5)]
        assert max(values) < 0.85 * forms.LIMIT, law.title


def test_every_label_has_a_law_that_stands_and_planted_bugs():
    modules = sys.modules["dualform.regression.lsa"], constructions, explicit, invariance, tasks
    defined = [label for module in modules for label in re.findall(r"\\tag\{(\w+)\}", module.__doc__)]
    assert len(defined) == len(set(defined)) == 15
    assert {law.label for law in laws.LAWS} == {law.label for law in find("LS")} == set(defined)
    assert {law.label for law in laws.LAWS if {"proved", "measured"} & set(law.stamps)} == set(defined)
    planted = [m for m in MUTANTS if m.label.startswith("LS")]
    assert {m.label for m in planted} == set(defined)
    assert len(planted) >= 60 and sum(m.label.startswith("LS") for m in HARMLESS) >= 5
