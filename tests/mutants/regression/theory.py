"""Wrong programs for the theory of regression in context: moments, limits, risks, gradient flow, rates."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from dualform import regression
from dualform.laws.regression.theory import limits, paths
from dualform.laws.regression.theory import moments as averages
from dualform.laws.regression.theory import values as figures
from dualform.regression import lsa, moments, optimum, prediction, prompt, rates, risks
from dualform.testing.mutant import Mutant

# (RK1) to (RK3): moments


def sandwich(turned=lambda L, B: L @ B.T @ L, trace=lambda L, B: jnp.trace(L @ B) * L, over=0.5):
    """Moments of two inputs in the plane with other terms."""

    def form(root, B):
        L = root @ root.T
        return L @ B @ L + over * (turned(L, B) + trace(L, B))

    return form


def mean_moments(variance=lambda noise: noise**2 / 2, cross=lambda L, prior: L @ prior):
    """(RK3) for two examples with other noise, or tasks on the other side."""

    def form(root, prior_root, noise):
        L, prior = root @ root.T, prior_root @ prior_root.T
        return moments.sandwiched(L, prior, jnp.asarray(0.5)) + variance(noise) * L, cross(L, prior)

    return form


MOMENTS = (
    ("not turned", "B for its transpose in the second pairing", "RK1", "sandwiched",
     sandwich(turned=lambda L, B: L @ B @ L), "two inputs in the plane"),
    ("no trace", "the third pairing left out", "RK1", "sandwiched", sandwich(trace=lambda L, B: 0 * L),
     "two inputs in the plane"),
    ("pairs", "1/M^2 for 1/M", "RK1", "sandwiched", sandwich(over=0.25), "two inputs in the plane"),
    ("normal", "the fourth moment of a normal law", "RK2", "sandwiched",
     lambda p, q, B: moments.sandwiched(averages.of_weights(p, q)[0] * jnp.eye(2), B, jnp.asarray(0.5)),
     "two inputs in the plane"),
    ("deviation", "noise that is not squared", "RK3", "of_mean", mean_moments(lambda noise: noise / 2),
     "two examples in the plane"),
    ("one noise", "noise that does not average out", "RK3", "of_mean", mean_moments(lambda noise: noise**2),
     "two examples in the plane"),
    ("other side", "the prior before the covariance", "RK3", "of_mean", mean_moments(cross=lambda L, prior: prior @ L),
     "two examples in the plane"),
)  # fmt: skip

# (RK4) to (RK9): the step and the limit


def layer(A_of=lambda A: A.T, rho=lambda X: float(len(X)), label=1.0):
    """The layer with something done to its matrices or its divisor."""

    def form(A, X, y, query):
        d = len(query)
        W_PV = jnp.zeros((d + 1, d + 1)).at[d, d].set(label)
        W_KQ = jnp.zeros((d + 1, d + 1)).at[:d, :d].set(A_of(A))
        return prediction(lsa(prompt(X, y, query), W_PV, W_KQ, rho(X)))

    return form


def limit(gamma_of=lambda L, prior, variance, over: optimum.gamma(L, prior, variance, over), solve=None):
    """The limit with another Gamma, or another use of it."""
    solve = solve or (lambda prior, gamma: prior @ jnp.linalg.inv(gamma))

    def form(root, prior_root, noise, over_N):
        L, prior = root @ root.T, prior_root @ prior_root.T
        return solve(prior, gamma_of(L, prior, noise**2, over_N))

    return form


def gamma(trace=lambda L, prior: jnp.trace(L @ prior), more=lambda over: 1 + over, noise=lambda variance: variance):
    """Gamma with another trace, another factor or other noise."""

    def form(L, prior, variance, over):
        return more(over) * L @ prior + over * (trace(L, prior) + noise(variance)) * jnp.eye(len(L))

    return form


def whitened(dimensions):
    def form(root, noise, N):
        return N / (N + dimensions(len(root)) + noise**2) * jnp.linalg.inv(root @ root.T)

    return form


def random_gradient(denominator):
    """The gradient at a diagonal with another denominator of (RK9), of the moments and 1/N."""

    def form(low, high, p, noise, over_N):
        mu = limits.mixture(low, high, p)[2]
        A = jnp.diag(mu[1] / denominator(mu, noise**2, over_N))
        return jax.grad(limits.average_over_covariances)(A, low, high, p, noise, over_N)

    return form


OPTIMUM = (
    ("M over N", "the divisor of training prompts of four", "RK4", "lsa", layer(rho=lambda X: 4.0), "by the layer"),
    ("transposed", "A where its transpose belongs", "RK4", "lsa", layer(A_of=lambda A: A), "by the layer"),
    ("ascent", "the other sign", "RK4", "lsa", layer(label=-1.0), "by the layer"),
    ("transposed Gamma", "Gamma' for Gamma", "RK5", "minimiser",
     limit(solve=lambda prior, g: prior @ jnp.linalg.inv(g.T)), "any prior"),
    ("trace of inputs", "the prior left out of the trace", "RK5", "minimiser",
     limit(gamma(trace=lambda L, prior: jnp.trace(L))), "any prior"),
    ("no own term", "1 for 1 + 1/N", "RK5", "minimiser", limit(gamma(more=lambda over: 1)), "any prior"),
    ("noise forgotten", "the optimum of labels without noise", "RK5", "minimiser",
     limit(gamma(noise=lambda variance: 0 * variance)), "any prior"),
    ("least squares", "the inverse covariance", "RK6", "at the limit",
     limits.gradient_at(lambda root, prior_root, noise, over_N: jnp.linalg.inv(root @ root.T)), "any prior"),
    ("missing 1/2", "the gradient of R for that of L", "RK6", "formula", lambda *args: 2 * limits.gradient(*args),
     "any prior"),
    ("d for d + 1", "one pairing less", "RK7", "whitened", whitened(lambda d: d), "in the plane"),
    ("all pairs", "pairs of examples with themselves counted twice", "RK8", "formula",
     lambda weights, x, y: limits.squared_mean_formula(weights, x, y) + jnp.sum((limits.atoms(weights) @ (y[:,
     None] * x)) ** 2),
     "mean of two examples"),
    ("normal", "the fourth moment of a normal law", "RK8", "step",
     lambda s, m4, noise, N: limits.coordinate_best(s, 3 * s**2, noise, N), "coordinates"),
    ("linear labels", "the step of linear labels for a relu", "RK8", "step", lambda d, N: N / (N + d + 1), "relu"),
    ("own variance twice", "the trace over all coordinates as if independent", "RK9", "at the limit",
     random_gradient(lambda mu, s2, k: (1 + k) * mu[2] + k * (mu[1] * jnp.sum(mu[0]) + s2 * mu[1])),
     "two values in each of three coordinates"),
    ("noise in the sum", "noise that is not divided by N", "RK7", "step",
     lambda N, d: 1 / (N + d + 1 + N * 0.25), None),
)  # fmt: skip

# (RK10) to (RK15): risks


def step_risk(bias=None, spread=None, variance=None):
    """(RK10) for two examples in the plane with one of its parts replaced."""

    def form(A, root, prior_root, noise, query_root):
        L, prior, query = (r @ r.T for r in (root, prior_root, query_root))
        off = A @ L - jnp.eye(2)
        one = bias(off, prior, query) if bias else jnp.trace(query @ off @ prior @ off.T)
        V = spread(L, prior, noise) if spread else L @ prior @ L + (jnp.trace(L @ prior) + noise**2) * L
        two = variance(A, V, query, L) if variance else jnp.trace(query @ A @ V @ A.T) / 2
        return one + two

    return form


def exchanged(values, over_N, over_M):
    """Trained on M, tested on N."""
    return figures.at_limit(values, over_M, over_N)


def of_labels(weights_of):
    """(RK13) with something else for the covariance of x y."""

    def form(A, weights, x, y):
        Lambda, best, covariance, residual = figures.label_numbers(weights, x, y)
        g = Lambda @ best
        return risks.of_labels(A, Lambda, best, weights_of(covariance, g), residual, jnp.asarray(0.5))

    return form


def apart(A, low, high, p, noise, over_M):
    """Entries off the diagonal weighted as if no coordinate met itself in the trace."""
    mu = limits.mixture(low, high, p)[2]
    right = risks.of_random(A, mu, noise**2, over_M)
    first, second = mu[0], mu[1]
    missing = (second - first**2)[:, None] * first[None]
    return right - over_M * jnp.sum(A**2 * missing * (1 - jnp.eye(len(A))))


def test_prompts(change):
    """The library's risk with the settings of the test prompts changed, for A as it is."""

    def form(Lambda, N, M, *, A=None, **test):
        A = regression.limit(Lambda, N) if A is None else A
        return change(Lambda, N, M, A, test)

    return form


def scaled(powers):
    """Inputs scaled, but context and query by other powers of the scale than they are."""

    def change(Lambda, N, M, A, test):
        c = test.pop("scale", 1.0)
        query = test.pop("query_cov", Lambda)
        context, of_query = (c**k for k in powers)
        return regression.risk(context * Lambda, N, M, A=A, query_cov=of_query * np.asarray(query), **test)

    return test_prompts(change)


def variance_for_deviation(Lambda, N, M, A, test):
    return regression.risk(Lambda, N, M, A=A, **{**test, "noise": test.get("noise", 0.0) ** 0.5})


def noisy_query(Lambda, N, M, A, test):
    return regression.risk(Lambda, N, M, A=A, **test) + test.get("noise", 0.0) ** 2


SHIFTED = "RK10.scaled"
NOISY = "RK10.noise"

RISKS = (
    ("noisy query", "the query's label with noise", "RK10", "of_step",
     lambda A, r, p, noise, q: averages.step_risk(2)(A, r, p, noise, q) + noise**2, "two examples in the plane"),
    ("same query", "the context's covariance for the query's", "RK10", "of_step",
     lambda A, r, p, noise, q: averages.step_risk(2)(A, r, p, noise, r), "two examples in the plane"),
    ("no prior in the bias", "tasks of covariance I in the first term", "RK10", "of_step",
     step_risk(bias=lambda off, prior, query: jnp.trace(query @ off @ off.T)), "two examples in the plane"),
    ("no trace", "the noise of the other coordinates", "RK10", "of_step",
     step_risk(spread=lambda L, prior, noise: L @ prior @ L + noise**2 * L), "two examples in the plane"),
    ("A transposed", "A' V A", "RK10", "of_step",
     step_risk(variance=lambda A, V, query, L: jnp.trace(query @ A.T @ V @ A) / 2), "two examples in the plane"),
    ("M squared", "1/M^2", "RK10", "of_step",
     step_risk(variance=lambda A, V, query, L: jnp.trace(query @ A @ V @ A.T) / 4), "two examples in the plane"),
    ("scaled once", "the scale for its square", "RK10", "risk", scaled((1, 1)), SHIFTED),
    ("query not scaled", "the context's inputs alone", "RK10", "risk", scaled((2, 0)), SHIFTED),
    ("root of noise", "a variance for a deviation", "RK10", "risk", test_prompts(variance_for_deviation), NOISY),
    ("noise in the answer", "the query's label with noise", "RK10", "risk", test_prompts(noisy_query), NOISY),
    ("exchanged", "the prompts of training and test", "RK11", "of_step", exchanged, "three eigenvalues"),
    ("not centred", "E[y^2 x x'] for the covariance", "RK13", "of_labels",
     of_labels(lambda covariance, g: covariance + jnp.outer(g, g)), "three pairs, two examples"),
    ("residual forgotten", "as if labels were linear", "RK13", "label_risk",
     lambda Lambda, M, A, labels: regression.label_risk(Lambda, M, A, labels) - labels.residual, None),
    ("apart", "variances independent of themselves", "RK14", "of_random", apart,
     "two values in each of three coordinates"),
    ("powers", "2^(k-1) for k!", "RK9", "exponential_moments", lambda d: np.tile([[1.0], [2.0], [4.0]], (1, d)), None),
    ("normal", "the fourth moment of a normal law", "RK15", "of_coordinates",
     lambda step, p, q, noise: risks.of_coordinates(
         step, 2, averages.of_weights(p, q)[0], 3 * averages.of_weights(p, q)[0] ** 2, noise**2, jnp.asarray(0.5)),
     "two examples in the plane"),
    ("half the width", "the whole interval for half of it", "RK15", "uniform_limit",
     lambda d, N, a: regression.uniform_limit(d, N, a / 2),
     "RK15.uniform"),
)  # fmt: skip

# (RK16) to (RK27): flow, rates, shifts


def flow_field(of_U=lambda g, U, v: -v * g.T, of_v=lambda g, U, v: -jnp.sum(g * U.T)):
    """The flow from the gradient g in A, with one side wrong."""

    def form(U, v, root, prior_root, noise, over_N):
        g = limits.gradient(v * U.T, root, prior_root, noise, over_N)
        return of_U(g, U, v), of_v(g, U, v)

    return form


def rest_not_transposed(v, root, prior_root, noise, over_N):
    """U with the limit of inputs and tasks exchanged, in place of A*."""
    U = limits.limit(prior_root, root, noise, over_N) / v
    return paths.flow_field(U, v, root, prior_root, noise, over_N)


def curve(rate_of=lambda rate: rate, ratio=lambda end, z0: end / z0 - 1):
    """The derivative of a logistic curve with another rate or start."""

    def form(t, z0, end, rate):
        return jax.grad(lambda t: end / (1 + ratio(end, z0) * jnp.exp(-rate_of(rate) * t)))(t)

    return form


def rates_of(floor):
    """(RK22) with `floor` of 1/N for its square."""

    def form(values, over_N, over_M):
        more = values + jnp.sum(values)
        g = values + over_N * more
        return floor(over_N) * jnp.sum(values * more**2 / g**2) + over_M * jnp.sum(values**2 * more / g**2)

    return form


def other_floor(Lambda, N):
    found = regression.risk_rates(Lambda, N)
    return found._replace(floor=found.floor * N)


def loose(values, over_N, over_M):
    """The second bound with d for d^2."""
    d, t = len(values), jnp.sum(values)
    second = over_M * (d + 1) * t + over_N**2 * (1 + 2 * d + d * values[0] / values[1]) * t
    return second - rates.bounds_of(values, values[0] / values[1], over_N, over_M)[0]


def smaller_bounds(Lambda, N, M):
    """d for d + 1 in the first term."""
    found, over = regression.risk_bounds(Lambda, N, M), float(np.trace(Lambda)) / M
    return regression.RiskBounds(found.by_trace - over, found.by_condition - over)


def curve_of_step(times, d, N, sigma):
    """A start that is not divided by the root of d."""
    return regression.logistic_flow(times, d, N, sigma * d**0.25)


def stays(flow):
    """A path whose time runs half as fast: the factor 1/2 of the loss forgotten twice over."""
    return lambda Lambda, N, times, **options: flow(Lambda, N, times / 2, **options)


FLOW = (
    ("missing 1/2", "the gradient of R for that of L", "RK16", "descent_of",
     lambda *args: tuple(2 * x for x in paths.flow_field(*args)), "any prior"),
    ("not transposed", "A = v U", "RK16", "descent_of", flow_field(of_U=lambda g, U, v: -v * g), "any prior"),
    ("ascent in v", "one sign", "RK16", "descent_of", flow_field(of_v=lambda g, U, v: jnp.sum(g * U.T)), "any prior"),
    ("one prompt", "no mirror: labels are not turned round", "RK16", "autodiff of lsa",
     lambda U, v, X, w, noise, query: tuple(
         part(jax.grad(paths.layer_loss, (0, 1))(
             jnp.zeros((3, 3)).at[2, 2].set(v), jnp.zeros((3, 3)).at[:2, :2].set(U), X, w, noise, query))
         for part in (lambda g: g[0][2, :2], lambda g: g[1][2, :2])), "a prompt and its mirror"),
    ("half balanced", "the last row of the values only once", "RK17", "values", lambda *args: paths.of_PV(*args) / 2,
     "all entries"),
    ("exchanged", "inputs and tasks", "RK18", "descent_of", rest_not_transposed, "any prior"),
    ("limit without noise", "where the flow does not arrive", "RK18", "limit",
     lambda Lambda, N, noise=0.0, prior=None: regression.limit(Lambda, N, 0.0, prior), None),
    ("not balanced", "all of the size in the values", "RK18", "trained_construction",
     lambda A: tuple(W * k for W, k in zip(regression.trained_construction(A), (2.0, 0.5), strict=True)), None),
    ("once", "the size for its square", "RK19", "|T|^2 T",
     lambda *args: (paths.growth(*args)[0] / jnp.sum(paths.growth(*args)[0] ** 2), jnp.zeros(())), "any prior"),
    ("half the rate", "u for its square", "RK20", "derivative", curve(rate_of=lambda rate: rate / 2),
     "the curve solves it"),
    ("start at a half", "the start left out of the curve", "RK20", "at time 0",
     lambda z0, end, rate: end / (1 + end / z0), "its start"),
    ("start of p", "z_0 for p_0", "RK20", "logistic_flow", curve_of_step, None),
    ("slow clock", "the factor 1/2 of the loss twice", "RK20", "flow", stays(regression.flow), None),
    ("no start", "ln(z_infinity / z_0)", "RK21", "half_time",
     lambda d, N, sigma: math.log(d**0.5 / (1 + (d + 1) / N) / sigma**2) / (2 * d**0.5), None),
    ("first order", "a floor that falls like 1/N", "RK22", "rates_of", rates_of(lambda over: over),
     "three eigenvalues"),
    ("N for N squared", "a floor that falls like 1/N", "RK22", "risk_rates", other_floor, None),
    ("d for d + 1", "one pairing less", "RK23", "risk_bounds", smaller_bounds, None),
    ("few examples", "epsilon for its inverse", "RK23", "examples_needed", lambda Lambda, epsilon: 1, None),
    ("d for d squared", "in the second bound", "RK24", "difference", loose, "second bound"),
    ("equivariant", "scaled as least squares is", "RK26", "cubed",
     lambda A, X, w, query, c: c * limits.one_step(A, X, X @ w, query), "one layer"),
    ("squared", "the query not scaled", "RK26", "cubed",
     lambda A, X, w, query, c: c**2 * limits.one_step(A, X, X @ w, query), "one layer"),
    ("once", "c for its square", "RK26", "squared times", lambda A, r, p, q, c: paths.squared_times(A, r, p, q, c) / c,
     "in the plane"),
    ("symmetric", "A_ij for A_ji", "RK27", "orthogonal queries", lambda A: paths.probes(A.T), "in space"),
    ("identity", "the limit of inputs alike", "RK27", "limit", lambda Lambda, N: regression.limit(np.eye(2), N), None),
)  # fmt: skip

MUTANTS = tuple(
    Mutant(f"{label}, {form}: {name}", label, form, program, why, case)
    for name, why, label, form, program, case in (*MOMENTS, *OPTIMUM, *RISKS, *FLOW)
)


def symmetric_limit(root, prior_root, noise, over_N):
    """Gamma' before the prior: A* is symmetric."""
    L, prior = root @ root.T, prior_root @ prior_root.T
    return jnp.linalg.solve(optimum.gamma(L, prior, noise**2, over_N).T, prior)


def expanded_risk(A, root, prior_root, noise, query_root):
    """The risk as a square, multiplied out."""
    L, prior, query = (r @ r.T for r in (root, prior_root, query_root))
    C = moments.of_mean(L, prior, noise**2, jnp.asarray(0.5))
    return jnp.trace(query @ (A @ C @ A.T - A @ L @ prior - prior @ L @ A.T + prior))


HARMLESS = (
    Mutant("sandwiched: by trace", "RK1", "sandwiched", sandwich(), "terms in another order",
           "two inputs in the plane"),
    Mutant("minimiser: Gamma' first", "RK5", "minimiser", symmetric_limit, "the transpose of a symmetric matrix",
           "any prior"),
    Mutant("of_step: multiplied out", "RK10", "of_step", expanded_risk, "one quadratic form",
           "two examples in the plane"),
    Mutant("descent_of: entry by entry", "RK16", "descent_of", flow_field(), "from the gradient in A", "any prior"),
    Mutant("rates_of: in place", "RK22", "rates_of", rates_of(lambda over: over * over), "floor and slope at once",
           "three eigenvalues"),
    Mutant("half_time: by the curve", "RK21", "half_time",
           lambda d, N, sigma: regression.half_time(d, N, sigma, variance=1.0), "all defaults", None),
)  # fmt: skip
