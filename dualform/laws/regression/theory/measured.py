"""The numbers of chapter 9's theory: closed forms against prompts that are drawn, gradient flow against its limit.

Given the inputs of a prompt, the error is a quadratic form in the task, the noise and the query, which are integrated
out; only the inputs are sampled. Intervals are five standard errors to either side of the mean.
"""

import math

import jax
import numpy as np

from dualform import regression
from dualform.laws.law import Measurement

SIGMAS = 5.0
FIGURES = 0.5e-5
"""Half a unit in the last of the five decimals to which numbers are tabulated."""
ISOTROPIC, SKEWED = np.eye(5), np.diag([2.0, 1.0, 0.5, 0.25])


def normal_inputs(rng, batch, M, root):
    return rng.standard_normal((batch, M, len(root)), np.float32) @ np.float32(root.T)


def given_inputs(x, A, query, prior, variance):
    """The error of every prompt, task, noise and query integrated out: [batch]."""
    M = x.shape[1]
    S = (np.swapaxes(x, 1, 2) @ x / M).astype(np.float64)  # inputs may be in float32
    off = A @ S - np.eye(len(A))
    bias = np.sum((query @ off) * (off @ prior), axis=(1, 2))
    return bias + variance / M * np.sum((query @ A @ S) * A, axis=(1, 2))


def sampled(rng, batch, M, A, Lambda, *, prior=None, noise=0.0, scale=1.0, query_cov=None):
    """Mean and standard error of the risk over drawn contexts."""
    d = len(Lambda)
    query = scale**2 * (Lambda if query_cov is None else query_cov)
    x = normal_inputs(rng, batch, M, scale * np.linalg.cholesky(Lambda))
    return spread(given_inputs(x, A, query, np.eye(d) if prior is None else prior, noise**2))


def spread(values):
    return float(np.mean(values)), float(np.std(values) / np.sqrt(len(values)))


def judged(found, error, formula, control, meaning, *, table=None, within=None):
    """The formula lies in the interval of what was drawn, the control does not; `table` is the number to come out.

    `within` is the largest relative half-width of the interval at which the measurement says anything.
    """
    low, high = found - SIGMAS * error, found + SIGMAS * error
    holds = low <= formula <= high and not low <= control <= high
    if table is not None:
        holds = holds and abs(formula - table) <= FIGURES
    if within is not None:
        holds = holds and SIGMAS * error <= within * abs(formula)
    return Measurement(found, low, high, control, f"{meaning}; closed form {formula:.6g}", bool(holds))


def against_formula(Lambda, N, table, *, control=None, **test):
    """An experiment on `risk`: the numbers of `table` to come out, on drawn prompts.

    A row is M -> (R, relative half-width of the interval, prompts). The control is the formula for a fifth more
    examples, or with settings of the test prompts changed as in `control`.
    """

    def run(rng, risk, limit):
        found = []
        for M, (number, within, batch) in table.items():
            mean, error = sampled(rng, batch, M, limit(Lambda, N), Lambda, **test)
            wrong = (
                risk(Lambda, N, M, **{**test, **control}) if control else risk(Lambda, N, M + max(1, M // 5), **test)
            )
            meaning = f"drawn risk at N = {N}, M = {M} (control: {' '.join(control or ()) or 'a fifth more'})"
            found.append(judged(mean, error, risk(Lambda, N, M, **test), wrong, meaning, table=number, within=within))
        return next((m for m in found if not m.holds), found[0])

    return run


def anything(rng, risk, limit) -> Measurement:
    """No two of the covariances commute, and the network was trained on yet others."""
    d, M = 3, 6
    Lambda, prior, query, trained_on = (random_covariance(rng, d) for _ in range(4))
    A = limit(Lambda, 9, 0.4, trained_on)
    test = {"prior": prior, "noise": 0.6, "scale": 0.9, "query_cov": query}
    found, error = sampled(rng, 300_000, M, A, Lambda, **test)
    formula = risk(Lambda, 9, M, A=A, **test)
    wrong = risk(Lambda, 9, M, A=A, **{**test, "query_cov": None})
    return judged(found, error, formula, wrong, "drawn risk; control: queries like the context", within=0.02)


def random_covariance(rng, d):
    """Eigenvalues between 1/2 and 2, random directions."""
    directions, _ = np.linalg.qr(rng.standard_normal((d, d)))
    return (directions * np.exp(rng.uniform(-np.log(2), np.log(2), d))) @ directions.T


def stationary(rng, limit, risk) -> Measurement:
    """The derivative of the risk along random directions at the limit, for prior and covariance that do not commute."""
    worst, control = 0.0, math.inf
    for _ in range(20):
        Lambda, prior = random_covariance(rng, 4), random_covariance(rng, 4)
        A, direction = limit(Lambda, 7, 0.3, prior), rng.standard_normal((4, 4))

        def along(t, A=A, direction=direction, Lambda=Lambda, prior=prior):
            return risk(Lambda, 7, 7, A=A + t * direction, noise=0.3, prior=prior)

        # a quadratic in t: the difference quotient is the derivative, and the second difference its curvature
        curvature = along(1.0) - 2 * along(0.0) + along(-1.0)
        worst = max(worst, abs(along(1.0) - along(-1.0)) / curvature)
        control = min(control, curvature)
    return Measurement(
        worst, 0.0, worst, control, "slope over curvature at the limit, largest of 20 (control: least curvature)",
        bool(worst < 1e-10 and control > 0.01),
    )  # fmt: skip


def uniform(rng, uniform_risk, uniform_limit) -> Measurement:
    """Ten uniform coordinates, ten examples."""
    found, numbers = [], {0.5: (6.0606, 0.206229), 1.0: (1.51515, 0.824916)}
    for half_width, (step, loss) in numbers.items():
        p, formula = uniform_limit(10, 10, half_width), uniform_risk(10, 10, half_width) / 2
        x = rng.uniform(-half_width, half_width, (40_000, 10, 10))
        query = np.eye(10) * half_width**2 / 3
        mean, error = spread(given_inputs(x, p * np.eye(10), query, np.eye(10), 0.0) / 2)
        as_normal = regression.risk(query, 10, 10, A=p * np.eye(10)) / 2
        m = judged(mean, error, formula, as_normal, f"half the drawn risk on (-{half_width}, {half_width}); "
                   f"step {p:.5g}; control: the formula of normal inputs", within=0.015)  # fmt: skip
        right = abs(p - step) < 0.5 * 10 ** -len(str(step).split(".")[1]) and abs(formula - loss) < 0.5e-6
        found.append(Measurement(m.value, m.low, m.high, m.control, m.meaning, m.holds and right))
    return next((m for m in found if not m.holds), found[0])


def best_eta(function, noise, share, d, N, table):
    """An experiment: the step that fits best to drawn prompts, over the sum of examples, against `table`.

    `share` is g(w) over w: what a query's label times the query is on average, given w.
    """

    def run(rng, step) -> Measurement:
        x, w, noises = (rng.standard_normal((150_000, *shape), np.float32) for shape in ((N, d), (d,), (N,)))
        y = np.asarray(regression.FUNCTIONS[function](x, w[:, None])) + noise * noises
        total = np.einsum("bmi,bm->bi", x, y).astype(np.float64)
        top, bottom = share * np.sum(w * total, axis=1), np.sum(total**2, axis=1)
        eta = float(np.sum(top) / np.sum(bottom))
        error = float(np.std(top - eta * bottom) / np.sqrt(len(top)) / np.mean(bottom))
        meaning = "step that fits drawn prompts best (control: N + 1)"
        return judged(eta, error, step(N, d), step(N + 1, d), meaning, table=table, within=0.01)

    return run


def nonlinear(rng, label_risk, label_moments) -> Measurement:
    """A task with a square and a cube, against the best linear predictor."""
    Lambda, N, M, w = np.diag([2.0, 1.0, 0.5]), 10, 8, np.array([1.0, -1.0, 0.5])

    def f(x):
        return x @ w + 0.7 * x[..., 0] ** 2 + 0.3 * x[..., 1] ** 3

    labels = label_moments(f, Lambda)
    A = regression.limit(Lambda, N)
    x = normal_inputs(rng, 400_000, M, np.sqrt(Lambda))
    guess = np.einsum("bmi,bm->bi", x, f(x)) / M @ A.T
    off = guess - labels.best  # the query integrated out: E (v.x - y)^2 = |v - a|^2 in Lambda, and the residual
    found, error = spread(labels.residual + np.sum(off**2 * np.diag(Lambda), axis=1))
    formula = label_risk(Lambda, M, A, labels)
    unlimited = label_risk(Lambda, math.inf, np.linalg.inv(Lambda), labels)
    m = judged(found, error, formula, label_risk(Lambda, M + 1, A, labels),
               f"drawn risk, labels with a square and a cube; the best linear predictor leaves {labels.residual:.4f}, "
               f"the risk at N = M = infinity; control: M + 1", within=0.02)  # fmt: skip
    queries = normal_inputs(rng, 400_000, 1, np.sqrt(Lambda))[:, 0]
    of_best, scatter = spread((queries @ labels.best - f(queries)) ** 2)
    holds = m.holds and abs(unlimited - labels.residual) < 1e-9 and abs(of_best - labels.residual) < SIGMAS * scatter
    return Measurement(m.value, m.low, m.high, m.control, m.meaning, bool(holds))


def random_covariances(rng, random_covariance_limit, random_covariance_risk, exponential_moments) -> Measurement:
    """Variances Exp(1) anew in each prompt, five inputs, twenty examples."""
    d, N = 5, 20
    moments = exponential_moments(d)
    A = random_covariance_limit(moments, N)
    variances = rng.exponential(size=(200_000, d))
    x = rng.standard_normal((200_000, N, d), np.float32) * np.sqrt(variances)[:, None]
    off = A @ (np.swapaxes(x, 1, 2) @ x / N) - np.eye(d)
    found, error = spread(np.sum(variances[:, :, None] * off**2, axis=(1, 2)))
    endless = [random_covariance_risk(moments, math.inf, a) / d for a in
               (random_covariance_limit(moments, math.inf), np.eye(d), np.zeros((d, d)))]  # fmt: skip
    m = judged(found, error, random_covariance_risk(moments, N, A), float(np.trace(regression.limit(np.eye(d), N))),
               f"drawn risk, A = {A[0, 0]:.6f} I; at N = M = infinity R/d = {endless[0]:.4f}, with A = I of one "
               f"covariance {endless[1]:.3g}, with A = 0 {endless[2]:.3g}, least squares 0; control: trace of that A",
               table=15 / 7, within=0.03)  # fmt: skip
    right = abs(A[0, 0] - 2 / 7) < 1e-12 and np.allclose(endless, [1 / 3, 3, 1], atol=1e-12, rtol=0)
    return Measurement(m.value, m.low, m.high, m.control, m.meaning, bool(m.holds and right))


def not_least_squares(rng, risk) -> Measurement:
    """Prompts of 20 examples of 5 inputs without noise: the optimum of one layer, and least squares."""
    x = rng.standard_normal((2000, 20, 5))
    w, query = rng.standard_normal((2, 2000, 5))
    y = np.einsum("bmi,bi->bm", x, w)
    solved = np.linalg.solve(np.swapaxes(x, 1, 2) @ x, np.einsum("bmi,bm->bi", x, y)[..., None])[..., 0]
    off = float(np.max(np.abs(np.sum((solved - w) * query, axis=1))))
    value = risk(ISOTROPIC, 20, 20)
    return Measurement(
        value, value, value, off, "least risk of a layer, N = M = 20, d = 5 (control: largest error of least squares)",
        bool(abs(value - 30 / 26) < 1e-12 and off < 1e-10),
    )  # fmt: skip


# Gradient flow


def reaches_limit(rng, flow, limit, trained_construction) -> Measurement:
    """From published starts on random covariances, one of them with noise and a prior that does not commute."""
    worst, apart, early = 0.0, 0.0, math.inf
    for k in range(3):
        Lambda = random_covariance(rng, 3)
        options = {"noise": 0.5, "prior": random_covariance(rng, 3)} if k == 2 else {}
        A = limit(Lambda, 8, **options)
        sigma = regression.largest_start(Lambda, 8) / 2
        path = flow(Lambda, 8, np.array([0.0, 0.1, 400.0]), sigma=sigma, Theta=rng.standard_normal((3, 3)), **options)
        off = np.linalg.norm(path.A - A, axis=(1, 2)) / np.linalg.norm(A)
        with jax.enable_x64(True):
            W_PV, W_KQ = (np.asarray(W) for W in trained_construction(A))
        reached = np.abs(path.U[-1] - W_KQ[:3, :3]).max(), abs(path.v[-1] - W_PV[3, 3])
        worst, early = max(worst, float(off[-1])), min(early, float(off[1]))
        apart = max(apart, float(max(reached)))
    return Measurement(
        worst, 0.0, worst, early, f"distance of A from its limit, relative; matrices off by {apart:.1e} (control: at "
        "time 0.1)", bool(worst < 1e-6 and apart < 1e-6 and early > 0.1),
    )  # fmt: skip


def follows_curve(rng, flow, logistic_flow) -> Measurement:
    """d = 5, N = 20, sigma = 0.05."""
    times = np.linspace(0.0, 8.0, 81)
    path = flow(ISOTROPIC, 20, times, sigma=0.05)
    curve = logistic_flow(times, 5, 20, 0.05)
    off = float(np.max(np.abs(path.A - curve[:, None, None] * np.eye(5))))
    control = float(np.max(np.abs(path.A[:, 0, 0] - logistic_flow(times, 5, 21, 0.05))))
    return Measurement(
        off, 0.0, off, control, f"largest |p - formula| to t = 8; final loss {path.loss[-1]:.6f} (control: N = 21)",
        bool(off < 1e-7 and abs(path.loss[-1] - 15 / 26) < 1e-6 and control > 1e-3),
    )  # fmt: skip


def half_way(rng, flow, half_time) -> Measurement:
    """The time at which the integrated path has half of its limit; and a start at the saddle."""
    expected = half_time(5, 20, 0.05)
    times = np.linspace(expected - 0.01, expected + 0.01, 21)
    p = flow(ISOTROPIC, 20, times, sigma=0.05).A[:, 0, 0]
    found = float(np.interp(0.5 / 1.3, p, times))
    saddle = flow(ISOTROPIC, 20, np.array([50.0]), start=(np.zeros((5, 5)), 0.0))
    smaller = half_time(5, 20, 0.005) - expected
    return Measurement(
        found, found, found, smaller, "time to half of the limit; control: how much later a start ten times smaller, "
        "ln(100) / (2 sqrt 5) and a little more; from zero itself nothing moves",
        bool(abs(found - expected) < 1e-6 and abs(expected - 1.4607) < 0.5e-4 and not saddle.A.any()
             and abs(smaller - np.log(100) / (2 * 5**0.5)) < 1e-3),
    )  # fmt: skip


# Rates


def rates_table(rng, risk, risk_rates) -> Measurement:
    """The numbers of floor and slope, d = 5."""
    floors = [risk(ISOTROPIC, N, math.inf) for N in (20, 200, 1000, 2000)]
    slopes = [(risk(ISOTROPIC, 20, M) - floors[0]) * M for M in (1, 7, 100)]
    by_function = risk_rates(ISOTROPIC, 20)
    exponent = math.log2(floors[3] / floors[2])
    in_M = math.log2((risk(ISOTROPIC, 20, 2000) - floors[0]) / (risk(ISOTROPIC, 20, 1000) - floors[0]))
    holds = (
        abs(floors[0] - 0.26627) < FIGURES and abs(floors[1] - 0.0042417) < 0.5e-7 and abs(exponent + 1.9914) < 0.5e-4
        and np.ptp(slopes) < 1e-11 and abs(slopes[0] - 30 / 1.69) < 1e-11 and abs(in_M + 1) < 1e-9
        and np.allclose(by_function, (floors[0], slopes[0]), rtol=1e-12, atol=0)
    )  # fmt: skip
    return Measurement(
        exponent, exponent, exponent, in_M, f"exponent of N in the floor, from 1,000 to 2,000 examples; floors "
        f"{floors[0]:.5f} at N = 20, {floors[1]:.7f} at 200; slope {slopes[0]:.4f} (control: exponent of M)",
        bool(holds),
    )  # fmt: skip


def below_bounds(rng, risk, risk_bounds, examples_needed) -> Measurement:
    """The risk over its bounds on random covariances, and the number of examples that is said to suffice."""
    worst, control, short, ordered = 0.0, 0.0, 0.0, True
    for _ in range(200):
        d, N, M = (int(rng.integers(1, n)) for n in (6, 40, 40))
        Lambda = random_covariance(rng, d)
        bounds, value = risk_bounds(Lambda, N, M), risk(Lambda, N, M)
        worst = max(worst, value / bounds.by_trace)
        ordered = ordered and bounds.by_trace <= bounds.by_condition * (1 + 1e-12)  # equal for d = 1
        trace = float(np.trace(Lambda))
        control = max(control, value / (bounds.by_trace - d * trace / M))
        epsilon = float(rng.uniform(0.1, 1.0))
        enough = examples_needed(Lambda, epsilon)
        second = risk_bounds(Lambda, N, math.inf).by_condition
        short = max(short, risk(Lambda, N, enough) / (second + epsilon))
    return Measurement(
        worst, worst, worst, control, "largest risk over bound of 200; control: the bound with t/M for (d + 1) t/M; "
        f"with the examples that suffice, risk over the second term plus epsilon: {short:.3f}",
        bool(worst < 1 < control and 0.1 < short <= 1 and ordered),
    )  # fmt: skip


def orthogonal(rng, limit) -> Measurement:
    """The counterexample in numbers: one example (1, 1), the query (1, -1), w = (1, 0)."""
    x, query, w = np.array([1.0, 1.0]), np.array([1.0, -1.0]), np.array([1.0, 0.0])
    skewed, alike = (query @ limit(np.diag(v), 20) @ x * (x @ w) for v in ([2.0, 0.2], [1.0, 1.0]))
    return Measurement(
        float(skewed), float(skewed), float(skewed), float(alike),
        "prediction for a query orthogonal to the only input, covariance diag(2, 0.2), N = 20 (control: covariance I)",
        bool(abs(skewed + 2.67) < 0.005 and alike == 0.0),
    )  # fmt: skip


def shrinkage(rng, risk, limit) -> Measurement:
    """Inputs times 1.5: how much too large predictions are, E[y^ y] / E[y^2], on drawn prompts."""
    c, N = 1.5, 20
    A = limit(ISOTROPIC, N)
    x = c * rng.standard_normal((50_000, N, 5))
    S = np.swapaxes(x, 1, 2) @ x / N
    found, error = spread(np.trace(A @ S, axis1=1, axis2=2) / 5)
    meaning = "mean of prediction times truth over that of truth squared, inputs times 1.5 (control: c for c^2)"
    return judged(found, error, c**2 / 1.3, c / 1.3, meaning, within=0.01)
