"""Depth, curvature, Newton, copying, four scalars: against loops in float64; the laws, the planted bugs, the edges."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from earned import earns_what_it_claims
from mutants.regression import depth as planted

from dualform.laws import check
from dualform.laws.law import MEASURED
from dualform.laws.regression.depth.laws import LAWS
from dualform.regression import (
    Gaussian,
    Uniform,
    alternating_prompt,
    best_scalars,
    copy_error,
    copy_matrices,
    depth_risk,
    descent_inverse,
    diagonal_heads,
    four_scalars,
    lsa,
    lsa_layers,
    newton_inverse,
    newton_layers,
    newton_tokens,
    residuals,
    schedule,
    softmax_copy,
    spectra,
    two_levels,
)

named = {"ids": lambda x: getattr(x, "name", str(x)).replace(" ", "_")[:60]}


def close(got, exact, roundings):
    """Within so many roundings of float32, relative to the largest entry."""
    exact = np.asarray(exact)
    return np.max(np.abs(np.asarray(got, np.float64) - exact)) <= roundings * 2.0**-24 * np.max(np.abs(exact))


def gd_plus_loop(x, y, query, eta, gamma):
    """Layers of (DE1) in float64, entry by entry; minus the query's label."""
    tokens = [np.append(e, label) for e, label in zip([*x, query], [*y, 0.0], strict=True)]
    for e, g in zip(eta, gamma, strict=True):
        new = [t.copy() for t in tokens]
        for j, token in enumerate(tokens):
            for other in tokens[:-1]:
                score = sum(other[k] * token[k] for k in range(len(query)))
                for k in range(len(query)):
                    new[j][k] -= g / len(x) * other[k] * score
                new[j][-1] -= e / len(x) * other[-1] * score
        tokens = new
    return -tokens[-1][-1]


def test_the_residuals_of_a_spectrum_are_the_errors_of_the_network():
    """(DE3) against the loop: eigenvectors as queries and tasks find the error in each direction."""
    rng = np.random.default_rng(0)
    x = rng.integers(-2, 3, (6, 3)).astype(float)
    values, vectors = np.linalg.eigh(x.T @ x / 6)
    eta, gamma = [0.3, 0.5], [0.1, 0.0]
    r = residuals(jnp.asarray(values, jnp.float32), jnp.array(eta), jnp.array(gamma))
    for i in range(3):
        v = vectors[:, i]
        error = v @ v - gd_plus_loop(x, x @ v, v, eta, gamma)
        assert abs(error - float(r[i])) < 2.0**-20 * max(1.0, abs(error))


def test_the_risk_of_a_context_is_the_mean_error_over_tasks_and_queries():
    """(DE4) on drawn tasks and queries, by the loop's matrix."""
    rng = np.random.default_rng(1)
    x = rng.uniform(-0.5, 0.5, (5, 2))
    values = np.linalg.eigvalsh(x.T @ x / 5)
    columns = [[w @ q - gd_plus_loop(x, x @ w, q, [3.0, 4.0], [1.0, 0.0]) for q in np.eye(2)] for w in np.eye(2)]
    risk = depth_risk(jnp.asarray(values[None], jnp.float32), [3.0, 4.0], [1.0], variance=1 / 12)
    assert abs(risk.mean - np.sum(np.square(columns)) / 12) < 1e-6 and risk.error == 0


def test_spectra_are_those_of_the_second_moments_of_the_inputs():
    values = spectra(Uniform(0.5), jax.random.key(0), 2000, 8, 3)
    x, _ = Uniform(0.5).draw(jax.random.key(0), 2000, 8, 3)
    S = np.einsum("bni,bnj->bij", np.asarray(x, np.float64), np.asarray(x, np.float64)) / 8
    assert np.abs(np.asarray(values) - np.linalg.eigvalsh(S)).max() < 1e-6
    assert abs(values.sum(1).mean() - 3 / 12) < 5 * values.sum(1).std() / 2000**0.5
    assert (spectra(Gaussian(), jax.random.key(0), 5, 1, 3)[:, :2] < 1e-6).all()  # one example: rank one


def test_the_best_scalars_are_no_worse_than_their_neighbours():
    values = spectra(Gaussian(), jax.random.key(0), 3000, 20, 5)
    best = best_scalars(values, 2, starts=2)
    for factor in (0.97, 1.03):
        for i in range(3):
            eta, gamma = best.eta.copy(), best.gamma.copy()
            (eta if i < 2 else gamma)[i % 2] *= factor
            assert depth_risk(values, eta, gamma).mean > best.risk
    one = best_scalars(values, 1)
    assert abs(one.eta[0] - np.mean(values) / np.mean(np.square(values))) < 1e-5 and len(one.gamma) == 0
    assert best_scalars(values, 2, shared=True, starts=1).eta.shape == (2,)


def test_a_schedule_needs_few_layers_and_keeps_its_promise():
    plain, plus = (schedule(0.01, 1.0, eps=1e-6, correct=c) for c in (False, True))
    assert len(plain.eta) == int(np.ceil(np.log(1e6) / np.log(101 / 99))) and set(plain.gamma) == {0.0}
    assert len(plus.eta) == 6 and plus.conditions == sorted(plus.conditions, reverse=True) and plus.error <= 1e-6
    r = residuals(jnp.linspace(0.01, 1.0, 200), jnp.array(plus.eta), jnp.array(plus.gamma))
    assert jnp.max(jnp.abs(r)) <= plus.error + 1e-5
    assert schedule(2.0, 2.0, layers=3).error == 0 and len(schedule(2.0, 2.0, layers=3).eta) == 3
    assert schedule(1.0, 2.0, layers=0).error == 1.0


@pytest.mark.parametrize("steps", [0, 1, 4])
def test_newton_and_its_layers_invert(steps):
    S, alpha = np.array([[2.0, 1.0], [0.0, 1.0]]), 0.25
    M = alpha * S.T
    for _ in range(steps):
        M = 2 * M - M @ S @ M
    assert close(newton_inverse(np.float32(S), alpha, steps), M, 40)
    tokens = newton_tokens(np.float32(S), np.float32(alpha * S.T))
    assert close(lsa_layers(tokens, *newton_layers(2), 1.0, repeat=steps)[:, :2], M, 40)
    if steps == 4:
        assert np.abs(M @ S - np.eye(2)).max() < 0.2
    D = np.zeros((2, 2))
    for _ in range(steps):
        D = D + 0.5 * (np.eye(2) - S @ D)
    assert close(descent_inverse(np.float32(S), 0.5, steps), D, 40) or steps == 0


def test_labels_are_copied_to_their_inputs():
    x, y, q = np.float32([[1, 2], [3, 4]]), np.float32([5, -6]), np.float32([7, 8])
    tokens = alternating_prompt(x, y, q)
    exact = np.float32([[1, 2, 5], [0, 0, 10], [3, 4, -6], [0, 0, -12], [7, 8, 0]])
    assert (lsa(tokens, *copy_matrices(2, 2), 1.0)[:, :3] == exact).all()
    for beta in (0.0, 3.0, 30.0):
        soft = softmax_copy(tokens, *copy_matrices(2, 2), beta)[:, :3]
        own, reads = np.float32([0, 5, 0, -6, 0]), np.float32([5, 5, -6, -6, 0])
        assert (np.abs(soft - exact)[:, 2] <= copy_error(own, reads, beta) + 2.0**-20).all()
        assert (soft[:, :2] == exact[:, :2]).all()
    assert np.abs(softmax_copy(tokens, *copy_matrices(2, 2), 0.0)[:, 2] - exact[:, 2]).max() > 1


def test_four_scalars_on_a_prompt_by_hand():
    tokens, omega = np.float32([[1, 0, 2], [0, 1, 3], [1, 1, 0]]), np.float32([[2, 3], [5, 7]])
    # Sigma = I, a = (2, 3), lambda = 13
    exact = [[3 + 12, 18, 2 + 10 + 182], [18, 3 + 27, 3 + 15 + 273], [3, 3, 25]]
    assert (four_scalars(tokens, omega) == np.float32(exact)).all()
    assert (lsa(tokens, *diagonal_heads(omega, 2), 1.0, include_query=False) == np.float32(exact)).all()


def test_two_layers_are_ridge_regression_at_both_levels():
    omega = np.asarray(two_levels(50.0, 1.0, 5.0), np.float64)
    assert (omega != 0).sum() == 2
    for sigma in (1.0, 5.0):
        factor = -50 * omega[0, 1, 0] * (1 + omega[1, 1, 1] * 50 * sigma**2)
        assert abs(factor - 50 / (50 + sigma**2)) < 1e-6


BAD = {
    "layers": (lambda: residuals(jnp.ones(2), 0.1), "layers: got None"),
    "lengths": (lambda: residuals(jnp.ones(2), jnp.ones(3), jnp.ones(1)), "eta, gamma: got"),
    "zeros": (lambda: best_scalars(jnp.zeros((3, 2)), 1), "values: got spectra that are all zero"),
    "no layer": (lambda: best_scalars(jnp.ones((3, 2)), 0), "layers: got 0"),
    "ends": (lambda: schedule(2.0, 1.0, layers=1), "low: got 2"),
    "both": (lambda: schedule(1.0, 2.0, layers=1, eps=0.1), "layers, eps: got"),
    "eps": (lambda: schedule(1.0, 2.0, eps=2.0), "eps: got 2"),
    "square": (lambda: newton_inverse(jnp.ones((2, 3)), 0.1, 1), "S: got shape"),
    "omega": (lambda: diagonal_heads(jnp.ones((2, 3)), 2), "omega: got shape"),
    "labels": (lambda: alternating_prompt(jnp.ones((2, 3)), jnp.ones(3), jnp.ones(3)), "y: got shape"),
    "batch": (lambda: spectra(Gaussian(), jax.random.key(0), 0, 2, 2), "batch: got 0"),
}


@pytest.mark.parametrize("name", BAD)
def test_arguments_are_checked(name):
    call, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("law", [law for law in LAWS if MEASURED not in law.stamps], **named)
def test_laws_earn_what_they_claim(law):
    earns_what_it_claims(law)


@pytest.mark.parametrize("law", [law for law in LAWS if law.label == "DE8"], **named)
def test_measured_laws_hold_and_say_what_they_measured(law):
    result = check(law, MEASURED)
    assert result.earned == MEASURED, result.reason
    assert result.details[0]["control"] > 1000 * result.details[0]["value"]


def test_bugs_are_planted_in_every_part():
    """That each is caught is in test_mutants.py."""
    assert len(planted.MUTANTS) >= 50 and len(planted.HARMLESS) >= 4
    labels = {m.label for m in planted.MUTANTS}
    assert labels == {f"DE{i}" for i in range(1, 19)} - {"DE17"}
