"""Both sides of the laws on values of the risk, its rates and bounds, and on labels of any law."""

import jax.numpy as jnp

from dualform.laws.regression.theory.limits import atoms, trained
from dualform.regression import optimum, rates, risks

# (RK11) to (RK13), (RK22) to (RK24): values


def at_limit(values, over_N, over_M):
    """R(N, M) at the limit of training, for a diagonal covariance."""
    Lambda, one = jnp.diag(values), jnp.eye(len(values))
    A = optimum.minimiser(Lambda, one, jnp.zeros(()), over_N)
    return risks.of_step(A, Lambda, one, jnp.zeros(()), over_M, Lambda)


def by_eigenvalues(values, over_N, over_M):
    """(RK11) as it is written."""
    total, out = jnp.sum(values), jnp.zeros(())
    for i in range(len(values)):
        gamma = values[i] + over_N * (values[i] + total)
        out = out + values[i] * (1 - values[i] / gamma) ** 2
        out = out + over_M * values[i] ** 2 * (values[i] + total) / gamma**2
    return out


def trained_loss(root, N):
    Lambda, one = root @ root.T, jnp.eye(len(root))
    return risks.of_step(trained(root, 1 / N), Lambda, one, jnp.zeros(()), 1 / N, Lambda)


def trained_loss_formula(root, N):
    Lambda, one = root @ root.T, jnp.eye(len(root))
    more = Lambda + jnp.trace(Lambda) * one
    return jnp.trace(jnp.linalg.solve((N + 1) * Lambda + jnp.trace(Lambda) * one, more @ Lambda))


def isotropic(d):
    """R(N, N), and R(N, M) for M != N."""
    return lambda N, M: (at_limit(jnp.ones(d), 1 / N, 1 / N), at_limit(jnp.ones(d), 1 / N, 1 / M))


def isotropic_formula(d):
    def f(N, M):
        slope = d * (d + 1) / (1 + (d + 1) / N) ** 2
        return d * (d + 1) / (N + d + 1), d * ((d + 1) / (N + d + 1)) ** 2 + slope / M

    return f


def with_rates(values, over_N, over_M):
    floor, slope = rates.rates_of(values, over_N)
    return floor + over_M * slope


def slack(values, over_N, over_M):
    """The first bound minus the risk."""
    bound, _ = rates.bounds_of(values, values[0], over_N, over_M)
    return bound - at_limit(values, over_N, over_M)


def slack_terms(values, over_N, over_M):
    """(RK24): terms that are not negative."""
    more = values + jnp.sum(values)
    gamma = values + over_N * more
    return jnp.sum((over_N**3 * more**3 / values + over_N * over_M * more**2) * (gamma + values) / gamma**2)


def bounds_apart(values, over_N, over_M):
    """The second bound minus the first, for eigenvalues whose largest and smallest come first."""
    first, second = rates.bounds_of(values, values[0] / values[1], over_N, over_M)
    return second - first


def apart_terms(values, over_N, over_M):
    condition, total = values[0] / values[1], jnp.sum(values)
    return over_N**2 * total * jnp.sum(condition - values[:, None] / values[None])


def average_labels(A, weights, x, y):
    """E(y^ - y_q)^2 over prompts of two examples and queries, all drawn from three pairs (x, y)."""
    p, xy = atoms(weights), y[:, None] * x
    m = (xy[:, None] + xy[None]) / 2
    guess = jnp.einsum("qi,ik,abk->abq", x, A, m)
    return jnp.einsum("a,b,q,abq->", p, p, p, (guess - y[None, None]) ** 2)


def label_numbers(weights, x, y):
    """Lambda, a, Sigma and the residual of three pairs."""
    p, xy = atoms(weights), y[:, None] * x
    Lambda, g = jnp.einsum("n,ni,nj->ij", p, x, x), p @ xy
    best = jnp.linalg.solve(Lambda, g)
    covariance = jnp.einsum("n,ni,nj->ij", p, xy, xy) - jnp.outer(g, g)
    return Lambda, best, covariance, jnp.sum(p * (x @ best - y) ** 2)


def label_risk(A, weights, x, y):
    Lambda, best, covariance, residual = label_numbers(weights, x, y)
    return risks.of_labels(A, Lambda, best, covariance, residual, jnp.asarray(0.5))


def unlimited_labels(weights, x, y):
    """N = M = infinity."""
    Lambda, best, covariance, residual = label_numbers(weights, x, y)
    return risks.of_labels(jnp.linalg.inv(Lambda), Lambda, best, covariance, residual, jnp.zeros(()))


def best_linear(weights, x, y):
    return label_numbers(weights, x, y)[3]


def unlimited(root, prior_root, query_root):
    """N = M = infinity, with queries of any covariance."""
    Lambda, prior, query = (r @ r.T for r in (root, prior_root, query_root))
    nothing = jnp.zeros(())
    A = optimum.minimiser(Lambda, prior, nothing, nothing)
    return risks.of_step(A, Lambda, prior, nothing, nothing, query)
