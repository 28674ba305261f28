"""Both sides of the laws on gradient flow, and on shifts and orthogonal queries."""

import itertools

import jax
import jax.numpy as jnp

from dualform.laws.regression.theory.limits import least_squares, limit, loss, one_step, trained
from dualform.laws.regression.theory.moments import step_risk
from dualform.regression import lsa, moments, prediction, prompt
from dualform.regression.gradient_flow import descent_of, logistic

# (RK16) to (RK20): gradient flow


def flow_by_autodiff(U, v, root, prior_root, noise, over_N):
    def f(U, v):
        return loss(v * U.T, root, prior_root, noise, over_N)

    dU, dv = jax.grad(f, (0, 1))(U, v)
    return -dU, -dv


def flow_field(U, v, root, prior_root, noise, over_N):
    Lambda, prior = root @ root.T, prior_root @ prior_root.T
    return descent_of(U, v, Lambda, prior, moments.of_mean(Lambda, prior, noise**2, over_N))


def published_flow(U, v, root, over_N):
    """Lemma 5.2."""
    Lambda, d = root @ root.T, len(root)
    Gamma = (1 + over_N) * Lambda + over_N * jnp.trace(Lambda) * jnp.eye(d)
    dU = v * Lambda @ Lambda - v**2 * Gamma @ Lambda @ U @ Lambda
    return dU, -jnp.trace(v * Gamma @ Lambda @ U @ Lambda @ U.T - Lambda @ Lambda @ U.T)


def own_flow(U, v, root, over_N):
    return flow_field(U, v, root, jnp.eye(len(root)), jnp.zeros(()), over_N)


def layer_loss(W_PV, W_KQ, X, w, noise, query):
    y = X @ w + noise
    return (prediction(lsa(prompt(X, y, query), W_PV, W_KQ, float(len(X)))) - jnp.sum(w * query)) ** 2 / 2


def cross_gradients(U, v, X, w, noise, query):
    """Gradients of the blocks w_21 and u_12 where they are zero, on a prompt and the same with labels turned round."""
    d = len(query)
    W_PV = jnp.zeros((d + 1, d + 1)).at[d, d].set(v)
    W_KQ = jnp.zeros((d + 1, d + 1)).at[:d, :d].set(U)

    def f(P, Q):
        return layer_loss(P, Q, X, w, noise, query) + layer_loss(P, Q, X, -w, -noise, query)

    P, Q = jax.grad(f, (0, 1))(W_PV, W_KQ)
    return P[d, :d], Q[d, :d]


def no_cross_gradients(U, *others):
    return jnp.zeros(len(U)), jnp.zeros(len(U))


def radial(W_PV, W_KQ, X, w, noise, query):
    """What the flow does to |W_KQ|^2 / 2 and to |W_PV|^2 / 2 on any prompt."""
    P, Q = jax.grad(layer_loss, (0, 1))(W_PV, W_KQ, X, w, noise, query)
    return -jnp.sum(Q * W_KQ), -jnp.sum(P * W_PV)


def of_KQ(*arguments):
    return radial(*arguments)[0]


def of_PV(*arguments):
    return radial(*arguments)[1]


def at_rest(v, root, prior_root, noise, over_N):
    """The flow where v U' = A*."""
    U = limit(root, prior_root, noise, over_N).T / v
    return flow_field(U, v, root, prior_root, noise, over_N)


def rest(v, root, *others):
    return jnp.zeros((len(root), len(root))), jnp.zeros(())


def linearised(root, prior_root, noise, over_N):
    """The flow's derivative at zero, applied twice to (T, 0)."""
    Lambda, prior = root @ root.T, prior_root @ prior_root.T
    T, none = Lambda @ prior @ Lambda, jnp.zeros((len(root), len(root)))

    def field(U, v):
        return flow_field(U, v, root, prior_root, noise, over_N)

    def once(direction):
        return jax.jvp(field, (none, jnp.zeros(())), direction)[1]

    return once(once((T, jnp.zeros(()))))


def growth(root, prior_root, noise, over_N):
    Lambda, prior = root @ root.T, prior_root @ prior_root.T
    T = Lambda @ prior @ Lambda
    return jnp.sum(T**2) * T, jnp.zeros(())


def speed_of_curve(t, z0, end, rate):
    return jax.grad(lambda t: logistic(t, z0, end, rate, jnp.exp))(t)


def logistic_field(t, z0, end, rate):
    z = logistic(t, z0, end, rate, jnp.exp)
    return rate * z * (1 - z / end)


def start_of_curve(z0, end, rate):
    return logistic(jnp.zeros(()), z0, end, rate, jnp.exp)


def isotropic_flow(u, s, noise, over_N):
    """The flow at U = u I, v = 2 u, in four dimensions: along (I, 2), and with dz/dt = 2 u du/dt."""
    dU, dv = flow_field_of(u * jnp.eye(4), 2 * u, s * jnp.eye(4), jnp.eye(4), noise, over_N)
    return dU, dv, 2 * u * dU[0, 0]


def flow_field_of(U, v, Lambda, prior, noise, over_N):
    return descent_of(U, v, Lambda, prior, moments.of_mean(Lambda, prior, noise**2, over_N))


def isotropic_formulas(u, s, noise, over_N):
    """(RK20) with sqrt(d) = 2."""
    z, c = u**2, s**2 * (1 + 5 * over_N) + s * noise**2 * over_N
    du = 2 * u * s**2 - 4 * u**3 * s * c
    return du * jnp.eye(4), 2 * du, 4 * s**2 * z - 8 * s * c * z**2


# (RK26), (RK27): shifts, and queries orthogonal to the context


def scaled_prediction(A, X, w, query, c):
    return one_step(A, c * X, c * X @ w, c * query)


def cubed_prediction(A, X, w, query, c):
    return c**3 * one_step(A, X, X @ w, query)


def scaled_least_squares(X, w, query, c):
    return least_squares(c * X, c * X @ w, c * query)


def least_squares_scaled(X, w, query, c):
    return c * least_squares(X, X @ w, query)


def stronger_tasks(A, root, prior_root, query_root, c):
    return step_risk(2)(A, root, c * prior_root, jnp.zeros(()), query_root)


def squared_times(A, root, prior_root, query_root, c):
    return c**2 * step_risk(2)(A, root, prior_root, jnp.zeros(()), query_root)


def orthogonal_prediction(A, x, w):
    """One example and a query at a right angle to it."""
    query = jnp.stack([-x[1], x[0]])
    return one_step(A, x[None], (x @ w)[None], query)


def orthogonal_of_trained(root, over_N, x, w):
    return orthogonal_prediction(trained(root, over_N), x, w)


def orthogonal_in_space(alpha, X, y):
    """Two examples in space, and the query along their cross product, for A a multiple of the identity."""
    return one_step(alpha * jnp.eye(3), X, y, jnp.cross(X[0], X[1]))


def probes(A):
    """Predictions with label 1 for a query e_i and the example e_j, and for e_i + e_j and e_i - e_j, all i != j."""
    one, e = jnp.ones(1), jnp.eye(len(A))
    apart = [one_step(A, e[j][None], one, e[i]) for i, j in itertools.permutations(range(len(A)), 2)]
    turned = [one_step(A, (e[i] - e[j])[None], one, e[i] + e[j]) for i, j in itertools.combinations(range(len(A)), 2)]
    return jnp.stack(apart), jnp.stack(turned)


def entries(A):
    """What they say of A: entries off the diagonal, and differences of entries on it."""
    pairs = list(itertools.combinations(range(len(A)), 2))
    apart = [A[i, j] for i, j in itertools.permutations(range(len(A)), 2)]
    turned = [A[i, i] - A[j, j] + A[j, i] - A[i, j] for i, j in pairs]
    return jnp.stack(apart), jnp.stack(turned)
