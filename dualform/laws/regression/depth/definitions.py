"""Both sides of the laws on depth and curvature: layers token by token, matrices, spectra; and the library."""

import jax
import jax.numpy as jnp

from dualform.regression import copying, curvature, depth, noise_levels
from dualform.regression.lsa import lsa, lsa_layers
from dualform.regression.newton import descent_inverse, newton_inverse, newton_layers, newton_tokens

# (DE1), (DE2): layers of GD++


def gd_plus(x, y, query, eta, gamma):
    """(DE1) as it is written, for one layer: all tokens after it, those of the examples and the query."""
    N = len(x)
    tokens, labels = [*x, query], [*y, jnp.zeros(())]
    out = []
    for e, label in zip(tokens, labels, strict=True):
        moved, lowered = e, label
        for i in range(N):
            score = jnp.sum(x[i] * e)
            moved = moved - gamma / N * x[i] * score
            lowered = lowered - eta / N * y[i] * score
        out.append(jnp.concatenate([moved, lowered[None]]))
    return jnp.stack(out)


def tokens_of(x, y, query):
    return jnp.concatenate([jnp.concatenate([x, y[:, None]], 1), jnp.append(query, jnp.zeros((), query.dtype))[None]])


def plus_matrices(eta, gamma, d):
    """GD++ as diagonal heads, with rho = N."""
    zero = jnp.zeros_like(eta)
    return noise_levels.diagonal_heads(jnp.stack([jnp.stack([-gamma, zero]), jnp.stack([-eta, zero])]), d)


def plus_layer(x, y, query, eta, gamma):
    P, Q = plus_matrices(eta, gamma, x.shape[1])
    return lsa(tokens_of(x, y, query), P, Q, float(len(x)), include_query=False)


def plus_network(x, w, query, eta, gamma):
    """The prediction of a network of layers of GD++, on labels w.x."""
    layers = [plus_matrices(e, g, x.shape[1]) for e, g in zip(eta, gamma, strict=True)]
    P, Q = (jnp.stack(matrices) for matrices in zip(*layers, strict=True))
    y = jnp.sum(x * w[None], axis=1)
    return -lsa_layers(tokens_of(x, y, query), P, Q, float(len(x)), include_query=False)[-1, -1]


def residual_matrix(S, eta, gamma):
    """R_L of (DE2)."""
    I, R = jnp.eye(len(S)), jnp.eye(len(S))
    for e, g in zip(eta, gamma, strict=True):
        R = R @ (I - e * S)
        S = (I - g * S) @ S @ (I - g * S)
    return R


def plus_by_matrices(x, w, query, eta, gamma):
    R = residual_matrix(sum(jnp.outer(e, e) for e in x) / len(x), eta, gamma)
    return w @ (query - R @ query)


# (DE3), (DE4): the spectrum


def rotation(A):
    """An orthogonal matrix for any square one, by Cayley's transform."""
    skew, I = A - A.T, jnp.eye(len(A))
    return jnp.linalg.solve(I + skew, I - skew)


def rotated(values, A):
    V = rotation(A)
    return V @ jnp.diag(values) @ V.T


def residual_of_matrix(values, A, eta, gamma):
    return residual_matrix(rotated(values, A), eta, gamma)


def residual_of_spectrum(values, A, eta, gamma):
    return rotated(depth.residuals(values, eta, gamma), A)


def averaged_error(values, A, eta, gamma, variance):
    """(DE4) for w uniform on sqrt(d) times the unit vectors and a query that is, times sqrt(variance)."""
    R, d = residual_of_matrix(values, A, eta, gamma), len(values)
    errors = [(R[i, j]) ** 2 * d * d * variance for i in range(d) for j in range(d)]
    return sum(errors) / (d * d)


def risk_of_spectrum(values, A, eta, gamma, variance):
    return depth.context_risk(values, eta, gamma, variance=variance)


# (DE9) to (DE12): Newton


def missing(inverse, steps):
    """What the iteration misses to the inverse, I - M S."""
    return lambda S, alpha: jnp.eye(len(S)) - inverse(S, alpha, steps) @ S


def newton_power(steps):
    def f(S, alpha):
        E = jnp.eye(len(S)) - alpha * S.T @ S
        for _ in range(steps):
            E = E @ E
        return E

    return f


def descent_power(steps):
    def f(S, eta):
        E = jnp.eye(len(S))
        for _ in range(steps):
            E = E @ (jnp.eye(len(S)) - eta * S)
        return E

    return f


def newton_loop(steps):
    """(DE9) entry by entry."""

    def times(A, B):
        return jnp.sum(A[:, :, None] * B[None], axis=1)

    def f(S, alpha):
        M = alpha * S.T
        for _ in range(steps):
            M = M + M - times(times(M, S), M)
        return M

    return f


def newton_library(steps):
    return lambda S, alpha: newton_inverse(S, alpha, steps)


def newton_by_layers(steps):
    """(DE12): two layers of linear attention, repeated."""

    def f(S, alpha):
        tokens = newton_tokens(S, alpha * S.T)
        return lsa_layers(tokens, *newton_layers(len(S)), 1.0, repeat=steps)[:, : len(S)]

    return f


def step_by_hand(S, M):
    return M + M - M @ S @ M


def step_by_layers(S, M):
    return lsa_layers(newton_tokens(S, M), *newton_layers(len(S)), 1.0)[:, : len(S)]


def left_over(S, M):
    """The tokens beside M after a step: they are what they were."""
    return lsa_layers(newton_tokens(S, M), *newton_layers(len(S)), 1.0)[:, len(S) :]


def as_before(S, M):
    return newton_tokens(S, M)[:, len(S) :]


def newton_answer(steps):
    return lambda S, b, alpha: newton_inverse(S, alpha, steps) @ b


def descent_answer(loss, steps):
    """Gradient descent by jax.grad on a loss of S w and b."""

    def f(S, b, alpha):
        w = jnp.zeros_like(b)
        for _ in range(steps):
            w = w - alpha * jax.grad(loss)(w, S, b)
        return w

    return f


def squared_residual(w, S, b):
    return 0.5 * jnp.sum((S @ w - b) ** 2)


def quadratic(w, S, b):
    """The loss of least squares, up to a constant, for a symmetric S."""
    return 0.5 * w @ S @ w - b @ w


def symmetric(f):
    return lambda A, b, alpha: f(A + A.T, b, alpha)


def descent_matrix_answer(steps):
    return lambda S, b, alpha: descent_inverse(S, alpha, steps) @ b


# (DE5) to (DE7): the map of a spectrum


def slope(value, gamma):
    return jax.grad(curvature.spectrum_map)(value, gamma)


def slope_by_hand(value, gamma):
    return (1 - gamma * value) * (1 - 3 * gamma * value)


def below_top(value, gamma):
    """How far the map is below its local maximum, with that maximum."""
    return 4 / (27 * gamma) - curvature.spectrum_map(value, gamma), curvature.spectrum_map(1 / (3 * gamma), gamma)


def below_top_by_hand(value, gamma):
    top = 1 / (3 * gamma)
    return gamma**2 * (value - top) ** 2 * (4 * top - value), 4 / (27 * gamma)


def gathered(a, b):
    """Both ends after the library's correction, and the ratio of the new ends."""
    found = curvature.gather(a, b)
    return found.low, curvature.spectrum_map(b * b, found.gamma), found.high / found.low


def gathered_by_hand(a, b):
    s = b / a
    k = s * s
    low = a * a * (1 - a * a / (b * b + a * b + a * a)) ** 2
    return low, low, 4 * (k + s + 1) ** 3 / (27 * k * (s + 1) ** 2)


def excess(a, b):
    found = curvature.gather(a, b)
    return found.high / found.low - 1


def excess_by_hand(a, b):
    s = b / a
    return ((s - 1) * (s + 2) * (2 * s + 1)) ** 2 / (27 * s**2 * (s + 1) ** 2)


# (DE13) to (DE15): copying


def copied_loop(x, y, query):
    """(DE13) as it is written: the tokens after the head."""
    T, rows = 2 * len(x) + 1, []
    for j in range(len(x)):
        rows += [jnp.concatenate([x[j], y[j][None]]), jnp.concatenate([jnp.zeros_like(x[j]), 2 * y[j][None]])]
    rows.append(jnp.concatenate([query, jnp.zeros(1)]))
    return jnp.concatenate([jnp.stack(rows), jnp.eye(T)], axis=1)


def copied(x, y, query):
    tokens = copying.alternating_prompt(x, y, query)
    return lsa(tokens, *copying.copy_matrices(x.shape[1], len(x)), 1.0)


def labels_after(form):
    """The labels alone, with a sharpness that the definition has no use for."""
    return lambda x, y, query, sharpness: form(x, y, query, sharpness)[:, x.shape[1]]


def softly_copied(x, y, query, sharpness):
    tokens = copying.alternating_prompt(x, y, query)
    return copying.softmax_copy(tokens, *copying.copy_matrices(x.shape[1], len(x)), sharpness)


def copy_bound(x, y, query, sharpness):
    zeros = jnp.zeros_like(y)
    own = jnp.append(jnp.stack([zeros, y], axis=1).ravel(), 0.0)
    reads = jnp.append(jnp.stack([y, y], axis=1).ravel(), 0.0)
    return copying.copy_error(own, reads, sharpness)


def step_from_stream(steps):
    """(DE15): the copying head, then `steps` layers of gradient descent, then minus the query's label."""

    def f(x, y, query, eta):
        tokens = copied(x, y, query)
        P, Q = (copying.on_pairs(matrix, len(x)) for matrix in plus_matrices(eta, jnp.zeros_like(eta), x.shape[1]))
        for _ in range(steps):
            tokens = lsa(tokens, P, Q, float(len(x)), include_query=False)
        return -tokens[-1, x.shape[1]]

    return f


def descent_from_pairs(steps):
    def f(x, y, query, eta):
        def loss(w):
            return jnp.sum((x @ w - y) ** 2) / (2 * len(x))

        w = jnp.zeros_like(query)
        for _ in range(steps):
            w = w - eta * jax.grad(loss)(w)
        return jnp.sum(w * query)

    return f


# (DE16) to (DE18): four scalars


def heads_layer(tokens, omega):
    return lsa(tokens, *noise_levels.diagonal_heads(omega, tokens.shape[1] - 1), 1.0, include_query=False)


def two_layers(form):
    return lambda tokens, first, second: form(form(tokens, first), second)


def one_head(tokens, p, q):
    """A head with diagonal weights (p_x, p_y) and (q_x, q_y)."""

    def diagonal(pair):
        return jnp.diag(jnp.append(jnp.broadcast_to(pair[0], tokens.shape[1] - 1), pair[1]))

    return lsa(tokens, diagonal(p), diagonal(q), 1.0, include_query=False)


def of_rank_one(tokens, p, q):
    return noise_levels.four_scalars(tokens, jnp.outer(p, q))


def determinant(p, q):
    """omega_xx omega_yy - omega_xy omega_yx of heads [H, 2], [H, 2]."""
    omega = p.T @ q
    return omega[0, 0] * omega[1, 1] - omega[0, 1] * omega[1, 0]


def zero(p, q):
    return jnp.zeros(())


def ridge_factors(n, first, second):
    return jnp.stack([n / (n + first**2), n / (n + second**2)])


def adapted_factors(n, first, second):
    omega = noise_levels.two_levels(n, first, second)
    step, rescale = -n * omega[0, 1, 0], omega[1, 1, 1]
    return jnp.stack([step * (1 + rescale * n * sigma**2) for sigma in (first, second)])


def orthogonal_context(A, t, y, query):
    """A prompt of 4 examples of 2 inputs whose second moment is t^2 times the identity."""
    return tokens_of(t * rotation(A)[:, :2], y, query)


def adapted(A, t, y, query, step, rescale):
    """What two layers with omega_yx = -step / t^2 and omega_yy = rescale alone answer."""
    zero = jnp.zeros_like(t)
    tokens = orthogonal_context(A, t, y, query)
    for omega in ([[zero, zero], [-step / t**2, zero]], [[zero, zero], [zero, rescale]]):
        tokens = heads_layer(tokens, jnp.stack([jnp.stack(row) for row in omega]))
    return -tokens[-1, -1]


def adapted_by_hand(A, t, y, query, step, rescale):
    """Least squares, times step (1 + rescale lambda), with lambda from the residuals."""
    x = t * rotation(A)[:, :2]
    ols = x.T @ y / t**2
    energy = jnp.sum((y - x @ ols) ** 2) + (1 - step) ** 2 * t**2 * jnp.sum(ols**2)
    return step * (1 + rescale * energy) * jnp.sum(ols * query)
