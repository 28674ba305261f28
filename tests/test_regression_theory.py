"""The theory of regression in context, against loops over indices written from the definitions; laws, edges."""

import itertools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from earned import earns_what_it_claims
from mutants import HARMLESS, MUTANTS

from dualform import regression
from dualform.laws import check, find
from dualform.laws.law import MEASURED, PROVED, REFUTED, Experiment
from dualform.laws.regression.theory.laws import LAWS
from dualform.regression import (
    coordinate_limit,
    coordinate_risk,
    effective_matrix,
    examples_needed,
    exponential_moments,
    flow,
    half_time,
    label_moments,
    label_risk,
    largest_start,
    limit,
    logistic_flow,
    lsa,
    prediction,
    prompt,
    random_covariance_limit,
    random_covariance_risk,
    risk,
    risk_bounds,
    risk_rates,
    second_moment,
    start_of,
    step_size,
    trained_construction,
    uniform_limit,
    uniform_risk,
)

ISOTROPIC, SKEWED = np.eye(5), np.diag([2.0, 1.0, 0.5, 0.25])
UNIT = 2.0**-53


def covariance(seed, d=3):
    """Positive definite, with random directions."""
    root = np.random.default_rng(seed).standard_normal((d, d))
    return root @ root.T + np.eye(d) / 4


def matrix(seed, d=3):
    return np.random.default_rng(seed).standard_normal((d, d))


def near(found, true, operations, size=None):
    """Both are sums of products of so many terms: each is off by at most that many roundings of the terms' sizes."""
    size = np.max(np.abs(true)) if size is None else size
    assert np.max(np.abs(np.asarray(found) - np.asarray(true))) <= 2 * operations * UNIT * size, (found, true)


# --- oracles ----------------------------------------------------------------------------------------------------------


def fourth(Lambda, a, b, c, e):
    """E x_a x_b x_c x_e of a normal vector, by the three pairings."""
    return Lambda[a, b] * Lambda[c, e] + Lambda[a, c] * Lambda[b, e] + Lambda[a, e] * Lambda[b, c]


def mean_moment_loop(Lambda, prior, noise, M):
    """E m_a m_b: over pairs of examples and indices of the two tasks and inputs."""
    d = len(Lambda)
    out = np.zeros((d, d))
    for a, b in itertools.product(range(d), repeat=2):
        for k, l in itertools.product(range(M), repeat=2):
            for c, e in itertools.product(range(d), repeat=2):
                same = fourth(Lambda, a, c, e, b) if k == l else Lambda[a, c] * Lambda[e, b]
                out[a, b] += prior[c, e] * same / M**2
            if k == l:
                out[a, b] += noise**2 * Lambda[a, b] / M**2
    return out


def risk_loop(Lambda, M, A, prior, noise, query):
    """E (x_q.(A m - w))^2 entry by entry."""
    d = len(Lambda)
    C, total = mean_moment_loop(Lambda, prior, noise, M), 0.0
    for i, j in itertools.product(range(d), repeat=2):
        square = prior[i, j]
        for a in range(d):
            for b in range(d):
                square += A[i, a] * C[a, b] * A[j, b]
            for c in range(d):  # E m_a w_j = Lambda_ac Psi_cj
                square -= A[i, a] * Lambda[a, c] * prior[c, j] + A[j, a] * Lambda[a, c] * prior[c, i]
        total += query[j, i] * square
    return total


def least_squares_limit(Lambda, prior, noise, N):
    """The stationary point of the loss, from d^2 linear equations in the entries of A."""
    d = len(Lambda)
    C = mean_moment_loop(Lambda, prior, noise, N)
    equations, right = np.zeros((d * d, d * d)), np.zeros(d * d)
    for i, j in itertools.product(range(d), repeat=2):
        for a, b in itertools.product(range(d), repeat=2):
            equations[i * d + j, a * d + b] = Lambda[i, a] * C[b, j]
            right[i * d + j] += Lambda[i, a] * prior[a, b] * Lambda[b, j]
    return np.linalg.solve(equations, right).reshape(d, d), np.linalg.cond(equations)


# --- moments, limits, risks -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("M", [1, 2, 3])
def test_second_moments_are_sums_over_pairings(M):
    Lambda, B = covariance(0), matrix(1)
    true = np.zeros((3, 3))
    for a, b, c, e in itertools.product(range(3), repeat=4):
        apart = Lambda[a, c] * Lambda[e, b]
        true[a, b] += B[c, e] * (fourth(Lambda, a, c, e, b) + (M - 1) * apart) / M
    near(second_moment(Lambda, B, M), true, 300, np.max(np.abs(B)) * np.max(Lambda) ** 2 * 27)


def test_infinitely_many_inputs_have_no_spread():
    Lambda, B = covariance(0), matrix(1)
    assert (second_moment(Lambda, B, math.inf) == Lambda @ B @ Lambda).all()


def test_uniform_coordinates_have_their_own_moments():
    """Three values of z with the moments of U(-1, 1) up to the fifth: 0 and +-sqrt(3/5)."""
    z, p = np.sqrt(0.6) * np.array([0.0, 1.0, -1.0]), np.array([4, 2.5, 2.5]) / 9
    B, true = matrix(2, 2), np.zeros((2, 2))
    for i, j in itertools.product(range(3), repeat=2):
        x = np.array([z[i], z[j]])
        true += p[i] * p[j] * np.outer(x, x) @ B @ np.outer(x, x)
    found = second_moment(np.eye(2) / 3, B, 1, excess=1 / 5 - 3 / 9)
    near(found, true, 60, np.max(np.abs(B)))


@pytest.mark.parametrize("N, noise", [(2, 0.0), (3, 0.7)])
def test_the_limit_solves_the_equations_of_its_gradient(N, noise):
    Lambda, prior = covariance(3), covariance(4)
    assert np.abs(Lambda @ prior - prior @ Lambda).max() > 0.1  # they do not commute
    true, condition = least_squares_limit(Lambda, prior, noise, N)
    near(limit(Lambda, N, noise, prior), true, 100 * condition)
    near(limit(Lambda, N, noise, prior), limit(Lambda, N, noise, prior).T, 1000)


@pytest.mark.parametrize("M", [1, 3])
def test_the_risk_is_a_sum_over_indices(M):
    Lambda, prior, query, A = covariance(5), covariance(6), covariance(7), matrix(8)
    true = risk_loop(Lambda, M, A, prior, 0.6, query)
    near(risk(Lambda, 9, M, A=A, noise=0.6, prior=prior, query_cov=query), true, 2000, 10 * abs(true))
    c = 1.3
    true = risk_loop(c**2 * Lambda, M, A, prior, 0.6, c**2 * query)
    near(risk(Lambda, 9, M, A=A, noise=0.6, prior=prior, query_cov=query, scale=c), true, 2000, 10 * abs(true))


def test_the_tabulated_numbers():
    table = {
        (20, 20): 1.15385, (20, 60): 0.56213, (20, 5): 3.81657,
    }  # fmt: skip
    for (N, M), number in table.items():
        assert round(risk(ISOTROPIC, N, M), 5) == number
    assert round(risk(SKEWED, 10, 10), 5) == 1.15221 and round(risk(SKEWED, 10, 40), 5) == 0.59080
    assert round(risk(np.diag([4, 1, 1, 0.1, 0.1, 0.1]), 30, 15), 5) == 1.58307
    assert round(risk(np.eye(20), 40, 40), 5) == 6.88525
    assert round(risk(SKEWED, 10, 10, noise=0.7), 5) == 1.22586
    assert round(risk(SKEWED, 10, 10, scale=1.5), 5) == 11.72533
    assert round(risk(SKEWED, 10, 10, query_cov=np.diag([0.1, 0.1, 3, 3])), 5) == 3.27907
    assert round(risk(ISOTROPIC, 20, math.inf), 5) == 0.26627
    assert round(step_size(20, 5, 0.5), 6) == 0.038095
    assert round(half_time(5, 20, 0.05), 4) == 1.4607
    A = random_covariance_limit(exponential_moments(5), 20)
    assert round(A[0, 0], 6) == 0.285714 and (A == np.diag(np.diag(A))).all()
    assert round(random_covariance_risk(exponential_moments(5), 20, A), 6) == 2.142857
    endless = random_covariance_limit(exponential_moments(5), math.inf)
    for scale, number in ((1.0, 1 / 3), (4.0, 25 + 1 / 3), (9.0, 387.0)):
        found = random_covariance_risk(exponential_moments(5, scale), math.inf, endless) / 5
        assert math.isclose(found, number, rel_tol=1e-12)
    losses = [uniform_risk(n, n, 0.5) / 2 for n in (10, 15, 20, 25)]
    assert [round(x, 4) for x in losses] == [0.2062, 0.3104, 0.4146, 0.5187]


def test_a_longer_prompt_is_never_worse_and_infinity_is_the_limit():
    Lambda = covariance(9)
    risks = [risk(Lambda, 12, M) for M in (1, 2, 10, 1000, 10**9, math.inf)]
    assert risks == sorted(risks, reverse=True) and math.isclose(risks[-2], risks[-1], rel_tol=1e-6)
    assert risk(Lambda, math.inf, math.inf) < 1e-28
    near(limit(Lambda, math.inf), np.linalg.inv(Lambda), 100 * np.linalg.cond(Lambda))


def test_digits_do_not_depend_on_the_default_float():
    value = risk(covariance(0), 7, 5)
    assert isinstance(value, float)
    with jax.enable_x64(True):
        assert risk(covariance(0), 7, 5) == value
    arrays = risk(jnp.asarray(SKEWED, jnp.float32), 10, 10)
    assert arrays == risk(SKEWED, 10, 10)  # these entries are exact in float32


def test_random_covariances_are_averages_of_fixed_ones():
    """Two values in each of two coordinates; A has entries off the diagonal."""
    values, A = np.array([[0.5, 3.0], [1.0, 2.0]]), matrix(10, 2)
    moments = np.stack([np.mean(values**k, axis=1) for k in (1, 2, 3)])
    risks = [risk(np.diag([a, b]), 1, 4, A=A, noise=0.3) for a in values[0] for b in values[1]]
    near(random_covariance_risk(moments, 4, A, noise=0.3), np.mean(risks), 1000, 10 * np.mean(risks))


def test_labels_of_a_square_have_known_moments():
    labels = label_moments(lambda x: x[..., 0] ** 2, np.eye(2), noise=0.5)
    near(labels.best, [0, 0], 1000, 1.0)
    near(labels.covariance, np.diag([15.25, 3.25]), 10_000)  # E x^6 and E x^4, and the noise
    near(labels.residual, 3.0, 10_000)


def test_linear_labels_are_those_of_a_task():
    Lambda, w, A = covariance(11), np.array([1.0, -2.0, 0.5]), matrix(12)
    labels = label_moments(lambda x: x @ w, Lambda, noise=0.4)
    found = label_risk(Lambda, 5, A, labels._replace(residual=0.0))
    near(found, risk(Lambda, 1, 5, A=A, noise=0.4, prior=np.outer(w, w)), 1e5, found)
    assert labels.residual < 1e-20


def test_normal_coordinates_are_a_special_case():
    for M in (3, 20, math.inf):
        assert math.isclose(coordinate_risk(4, 9, 2.0, 12.0, M=M, noise=0.5),
                            risk(2 * np.eye(4), 9, M, noise=0.5), rel_tol=1e-13)  # fmt: skip
    assert math.isclose(coordinate_limit(4, 9, 2.0, 12.0, 0.5), limit(2 * np.eye(4), 9, 0.5)[0, 0], rel_tol=1e-14)
    assert math.isclose(uniform_risk(4, 9, 3.0), 9 * uniform_risk(4, 9, 1.0), rel_tol=1e-14)
    assert math.isclose(uniform_limit(4, 9, 3.0), uniform_limit(4, 9, 1.0) / 9, rel_tol=1e-14)


# --- rates, gradient flow ---------------------------------------------------------------------------------------------


def test_rates_and_bounds_on_any_covariance():
    for seed in range(5):
        Lambda = covariance(20 + seed, 2 + seed % 3)
        floor, slope = risk_rates(Lambda, 6)
        for M in (1, 4, 100):
            assert math.isclose(risk(Lambda, 6, M), floor + slope / M, rel_tol=1e-12)
            assert risk(Lambda, 6, M) <= risk_bounds(Lambda, 6, M).by_trace <= risk_bounds(Lambda, 6, M).by_condition
        assert risk(Lambda, 6, examples_needed(Lambda, 0.1)) <= risk_bounds(Lambda, 6, math.inf).by_condition + 0.1


def descent_loop(Lambda, N, U, v, time, steps):
    """Euler's method on the published equations, entry by entry."""
    d, t = len(Lambda), np.trace(Lambda)
    Gamma = (1 + 1 / N) * Lambda + t / N * np.eye(d)
    for _ in range(steps):
        G, dU, dv = Gamma @ Lambda @ U @ Lambda, np.zeros_like(U), 0.0
        square = Lambda @ Lambda
        for i, j in itertools.product(range(d), repeat=2):
            dU[i, j] = -(v**2) * G[i, j] + v * square[i, j]
            dv -= v * G[i, j] * U[i, j] - square[i, j] * U[i, j]
        U, v = U + time / steps * dU, v + time / steps * dv
    return U, v


def test_the_flow_is_the_limit_of_small_steps():
    Lambda, (U, v) = covariance(30, 2), start_of(2, 0.3, matrix(31, 2))
    path = flow(Lambda, 5, np.array([0.0, 1.0]), start=(U, v))
    near(path.U[0], U, 4)
    near(path.v[0], v, 4)
    (coarse, a), (fine, b) = (descent_loop(Lambda, 5, U, v, 1.0, steps) for steps in (2000, 4000))
    # the error of Euler's method halves with the step, so twice the fine one minus the coarse one is far closer
    gap = np.abs(fine - coarse).max() + abs(b - a)
    assert np.abs(2 * fine - coarse - path.U[1]).max() < gap / 50 and abs(2 * b - a - path.v[1]) < gap / 50


def test_the_flow_arrives_from_either_side():
    Lambda, A = SKEWED, limit(SKEWED, 10)
    times = np.array([1.0, 300.0])
    path = flow(Lambda, 10, times, sigma=largest_start(Lambda, 10) * 0.9)
    assert np.abs(path.A[-1] - A).max() < 1e-7 and path.loss[0] > path.loss[-1]
    assert math.isclose(2 * path.loss[-1], risk(Lambda, 10, 10), rel_tol=1e-9)
    assert np.allclose(np.linalg.norm(path.U, axis=(1, 2)), path.v, rtol=1e-8)
    U, v = start_of(4, 0.1)
    mirrored = flow(Lambda, 10, times, start=(-U, -v))
    assert (mirrored.v < 0).all() and np.abs(mirrored.A[-1] - A).max() < 1e-7


def test_the_flow_with_noise_and_a_prior():
    Lambda, prior = covariance(32), covariance(33)
    path = flow(Lambda, 4, np.array([500.0]), sigma=0.1, noise=0.8, prior=prior)
    assert np.abs(path.A[-1] - limit(Lambda, 4, 0.8, prior)).max() < 1e-6


def test_the_logistic_curve_with_noise_and_another_variance():
    times = np.linspace(0, 4, 9)
    path = flow(0.7 * np.eye(3), 6, times, sigma=0.2, noise=0.9)
    curve = logistic_flow(times, 3, 6, 0.2, variance=0.7, noise=0.9)
    assert np.abs(path.A[:, 0, 0] - curve).max() < 1e-8 and curve[0] == pytest.approx(0.04 / 3**0.5, rel=1e-14)
    half = logistic_flow(np.array([half_time(3, 6, 0.2, variance=0.7, noise=0.9)]), 3, 6, 0.2, variance=0.7, noise=0.9)
    assert math.isclose(half[0], limit(0.7 * np.eye(3), 6, 0.9)[0, 0] / 2, rel_tol=1e-13)


def test_the_matrix_of_a_layer_is_what_predicts():
    A = matrix(34)
    with jax.enable_x64(True):
        W_PV, W_KQ = trained_construction(A)
    near(effective_matrix(W_PV, W_KQ), A, 10)
    X, y, query = matrix(35)[:2], np.array([1.0, -2.0]), matrix(36)[0]
    with jax.enable_x64(True):
        found = prediction(lsa(prompt(*(jnp.asarray(x) for x in (X, y, query))), W_PV, W_KQ, 2.0))
    near(found, query @ A @ (X.T @ y) / 2, 200, 10.0)


# --- laws -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "law", [pytest.param(law, id=f"{law.label} {law.title[:40]}") for law in LAWS if MEASURED not in law.stamps]
)
def test_identities_are_proved_and_claims_refuted(law):
    earns_what_it_claims(law)


CHEAP = ("RK4", "RK6", "RK18", "RK20", "RK21", "RK22", "RK23", "RK27")


@pytest.mark.parametrize(
    "law",
    [pytest.param(law, id=f"{law.label} {law.title[:40]}") for law in LAWS
     if MEASURED in law.stamps and law.label in CHEAP],
)  # fmt: skip
def test_measurements_that_draw_nothing_large(law):
    assert check(law, MEASURED, seed=1).passed


def test_every_label_has_laws_and_planted_bugs():
    import dualform.laws.regression.theory.moments
    from dualform.regression import gradient_flow, moments, optimum, rates, risks

    modules = moments, optimum, risks, gradient_flow, rates, dualform.laws.regression.theory.moments
    defined = [label for module in modules for label in re.findall(r"\\tag\{(\w+)\}", module.__doc__)]
    assert sorted(defined, key=lambda label: int(label[2:])) == [f"RK{i}" for i in range(1, 28)]
    assert {law.label for law in LAWS} == set(defined) == {law.label for law in find("RK")}
    assert {law.label for law in LAWS if PROVED in law.stamps} == set(defined) - {
        "RK21",
        "RK23",
    }
    assert all(law.source for law in LAWS if REFUTED in law.stamps)
    planted = [m for m in MUTANTS if m.label.startswith("RK")]
    assert len(planted) >= 60 and sum(m.label.startswith("RK") for m in HARMLESS) >= 5
    # RK25 states numbers; the others have a form to plant a bug in
    assert {m.label for m in planted} == set(defined) - {"RK25", "RK12"}
    assert all(isinstance(law.measure, Experiment) for law in LAWS if law.measure is not None)


# --- edges ------------------------------------------------------------------------------------------------------------

BAD = {
    "integers": (lambda: limit(np.eye(2, dtype=int), 5), r"Lambda: got dtype int64, expected a float dtype"),
    "not square": (lambda: limit(np.ones((2, 3)), 5), r"Lambda: got shape \(2, 3\), expected \[d, d\]"),
    "not symmetric": (lambda: limit(np.array([[1.0, 0.5], [0, 1]]), 5), r"Lambda: got a matrix that is not symmetric"),
    "not definite": (lambda: limit(np.diag([1.0, 0.0]), 5), r"Lambda: got the eigenvalue 0, expected all above zero"),
    "negative": (lambda: risk(np.eye(2), 5, 5, prior=-np.eye(2)), r"prior: got the eigenvalue -1, expected all of at"),
    "not finite": (lambda: limit(np.full((1, 1), np.nan), 5), r"Lambda: got nan, expected finite numbers"),
    "no array": (lambda: limit([[1.0], [2.0, 3.0]], 5), r"Lambda: got a list, expected an array of floats"),
    "other size": (lambda: risk(np.eye(2), 5, 5, query_cov=np.eye(3)), r"query_cov: got shape \(3, 3\).*with d = 2"),
    "A": (lambda: risk(np.eye(2), 5, 5, A=np.eye(3)), r"A: got shape \(3, 3\), expected \[d, d\] with d = 2"),
    "no example": (lambda: risk(np.eye(2), 5, 0), r"M: got 0, expected an integer of at least 1 or math.inf"),
    "half an example": (lambda: risk(np.eye(2), 2.5, 5), r"N: got 2.5, expected an integer or math.inf"),
    "noise": (lambda: limit(np.eye(2), 5, noise=-1.0), r"noise: got -1, expected a number of at least 0"),
    "scale": (lambda: risk(np.eye(2), 5, 5, scale=math.inf), r"scale: got inf, expected a number that is finite"),
    "width": (lambda: uniform_limit(2, 2, 0.0), r"half_width: got 0, expected a number above zero"),
    "fourth": (lambda: coordinate_limit(2, 2, 1.0, 0.5), r"fourth: got 0.5, expected a number of at least 1"),
    "moments": (lambda: random_covariance_limit(np.ones((2, 3)), 5), r"moments: got shape \(2, 3\).*k = 3"),
    "central": (lambda: random_covariance_limit(np.array([[1.0], [0.5], [1.0]]), 5), r"moments: got rows that no"),
    "grid": (lambda: label_moments(lambda x: x[..., 0], np.eye(9)), r"nodes: got 12 in each of 9 directions"),
    "times": (lambda: flow(np.eye(2), 5, np.array([1.0, 0.5])), r"times: got .*expected increasing ones from 0 on"),
    "Theta": (lambda: start_of(2, 0.1, np.zeros((2, 2))), r"Theta: got zeros, expected a matrix that is not zero"),
    "sigma": (lambda: start_of(2, 0.0), r"sigma: got 0, expected a number above zero"),
    "start": (lambda: half_time(1, 20, 1.0), r"sigma: got 1.0, expected a start below the limit"),
    "label alone": (lambda: effective_matrix(np.eye(1), np.eye(1)), r"W_PV: got shape \(1, 1\), expected"),
    "epsilon": (lambda: examples_needed(np.eye(2), 0.0), r"epsilon: got 0, expected a number above zero"),
    "word": (lambda: risk(np.eye(2), 5, 5, noise="a"), r"noise: got a str, expected a number"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_errors_name_the_argument(name):
    call, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        call()


def test_degenerate_tasks_and_queries_are_legal():
    prior = np.diag([1.0, 0.0])  # one of two entries of w is zero
    A = limit(np.eye(2), 5, prior=prior)
    assert A[1].tolist() == [0.0, 0.0] and A[0, 0] == pytest.approx(1 / 1.4)
    assert risk(np.eye(2), 5, 5, prior=prior, query_cov=np.zeros((2, 2))) == 0.0
    with pytest.raises(ValueError, match=r"prior: got the eigenvalue 0, expected all above zero"):
        limit(np.eye(2), math.inf, prior=prior)
    assert regression.limit(np.diag([1e-8, 1e8]), 5).shape == (2, 2)
    assert flow(np.eye(2), 5, np.array([0.0])).A[0] == pytest.approx(0.05**2 / 2**0.5 * np.eye(2))
