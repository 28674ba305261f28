"""Wrong programs for depth: curvature, spectra, Newton, copied labels, two levels of noise. Mistakes that are made."""

import jax.numpy as jnp

from dualform.laws.regression.depth import definitions as f
from dualform.regression import copying, curvature, depth, newton, noise_levels
from dualform.regression.lsa import lsa, lsa_layers
from dualform.testing.mutant import Mutant

# (DE1), (DE2): layers of GD++


def plus(eta=lambda e, g: e, gamma=lambda e, g: g, rho=lambda n: n, query=False):
    """A layer of GD++ with a mistake in its scalars, its divisor, or what it reads."""

    def form(x, y, q, e, g):
        P, Q = f.plus_matrices(eta(e, g), gamma(e, g), x.shape[1])
        return lsa(f.tokens_of(x, y, q), P, Q, float(rho(len(x))), include_query=query)

    return form


def one_after_the_other(x, y, q, e, g):
    """The labels read the inputs that the same layer has moved."""
    zero = jnp.zeros_like(e)
    tokens = f.tokens_of(x, y, q)
    for P, Q in (f.plus_matrices(zero, g, x.shape[1]), f.plus_matrices(e, zero, x.shape[1])):
        tokens = lsa(tokens, P, Q, float(len(x)), include_query=False)
    return tokens


def network(query=False, sign=-1.0, backwards=False):
    def form(x, w, q, eta, gamma):
        order = range(len(eta))[::-1] if backwards else range(len(eta))
        layers = [f.plus_matrices(eta[l], gamma[l], x.shape[1]) for l in order]
        P, Q = (jnp.stack(m) for m in zip(*layers, strict=True))
        tokens = f.tokens_of(x, jnp.sum(x * w[None], axis=1), q)
        return sign * lsa_layers(tokens, P, Q, float(len(x)), include_query=query)[-1, -1]

    return form


# (DE3) to (DE7): spectra


def spectrum(step=lambda r, l, e: r * (1 - e * l), move=lambda l, g: l * (1 - g * l) ** 2):
    """The residuals with another step, or another map of the spectrum."""

    def form(values, A, eta, gamma):
        r = jnp.ones_like(values)
        for e, g in zip(eta, gamma, strict=True):
            r, values = step(r, values, e), move(values, g)
        return r

    return form


def residuals(**mistake):
    wrong = spectrum(**mistake)
    return lambda values, A, eta, gamma: f.rotated(wrong(values, A, eta, gamma), A)


def moved_first(values, A, eta, gamma):
    """The step of a layer on the spectrum after its correction."""
    r = jnp.ones_like(values)
    for e, g in zip(eta, gamma, strict=True):
        values = curvature.spectrum_map(values, g)
        r = r * (1 - e * values)
    return f.rotated(r, A)


def mean_risk(values, A, eta, gamma, variance):
    return variance * jnp.mean(depth.residuals(values, eta, gamma) ** 2)


def half_risk(values, A, eta, gamma, variance):
    return 0.5 * depth.context_risk(values, eta, gamma, variance=variance)


def no_variance(values, A, eta, gamma, variance):
    return depth.context_risk(values, eta, gamma)


def unsquared(a, b):
    """The correction from the ends where their roots are asked for."""
    found = curvature.gather(a * a, b * b)
    return found.low, curvature.spectrum_map(b * b, found.gamma), found.high / found.low


def at_the_top(a, b):
    """The largest eigenvalue put at the local maximum, 1 / (3 gamma)."""
    gamma = 1 / (3 * b * b)
    low = curvature.spectrum_map(a * a, gamma)
    return low, curvature.spectrum_map(b * b, gamma), 4 / (27 * gamma) / low


def sums(inputs, key, batch, examples, d):
    """Sums over the examples for means."""
    return examples * depth.spectra(inputs, key, batch, examples, d)


def covariances(inputs, key, batch, examples, d):
    """Inputs centred first."""
    x, _ = inputs.draw(key, batch, examples, d)
    x = x - jnp.mean(x, axis=1, keepdims=True)
    return jnp.maximum(jnp.linalg.eigvalsh(jnp.einsum("bni,bnj->bij", x, x) / examples), 0.0)


def no_curvature(values, layers, *, curvature=True, **settings):
    return depth.best_scalars(values, layers, curvature=False, **settings)


def large_steps(low, high, *, layers=None, eps=None, correct=True):
    """Steps of 1 / m, right for the smallest eigenvalue alone."""
    found = curvature.schedule(low, high, layers=layers, eps=eps, correct=correct)
    return found._replace(eta=[2 * e for e in found.eta])


def weak_correction(low, high, *, layers=None, eps=None, correct=True):
    """The correction of a layer halved, its steps as they were."""
    found = curvature.schedule(low, high, layers=layers, eps=eps, correct=correct)
    return found._replace(gamma=[g / 2 for g in found.gamma])


# (DE9) to (DE12): Newton


def newton_like(start=lambda S, a: a * S.T, step=lambda M, S: 2 * M - M @ S @ M, steps=lambda k: k):
    def of(k):
        def form(S, alpha):
            M = start(S, alpha)
            for _ in range(steps(k)):
                M = step(M, S)
            return M

        return form

    return of


def missing(k, **mistake):
    return lambda S, alpha: jnp.eye(len(S)) - newton_like(**mistake)(k)(S, alpha) @ S


def by_layers(values=lambda P: P, pairs=lambda Q: Q, stored=lambda S: S):
    """(DE12) with other layers, or another block for S."""

    def form(S, M):
        P, Q = newton.newton_layers(len(S))
        return lsa_layers(newton.newton_tokens(stored(S), M), values(P), pairs(Q), 1.0)[:, : len(S)]

    return form


def scratch_kept(S, M):
    """The second layer does not clear its scratch."""
    d = len(S)
    P, Q = newton.newton_layers(d)
    return lsa_layers(newton.newton_tokens(S, M), P.at[1, 3 * d :].set(0.0), Q, 1.0)[:, d:]


# (DE13) to (DE15): copying


def copy(reads=None, values=lambda P: P):
    """The copying head with other positions, or other values."""

    def form(x, y, q):
        d, N = x.shape[1], len(x)
        P, Q = copying.copy_matrices(d, N)
        if reads is not None:
            at = jnp.array([reads(t, 2 * N + 1) for t in range(2 * N + 1)])
            Q = jnp.zeros_like(Q).at[d + 1 + at, d + 1 + jnp.arange(2 * N + 1)].set(1.0)
        return lsa(copying.alternating_prompt(x, y, q), values(P), Q, 1.0)

    return form


def softly(change=lambda s: s, **mistake):
    def form(x, y, q, sharpness):
        tokens = copying.alternating_prompt(x, y, q)
        P, Q = copying.copy_matrices(x.shape[1], len(x))
        if mistake:
            Q = Q.T
        return copying.softmax_copy(tokens, P, Q, change(sharpness))[:, x.shape[1]]

    return form


def stream(rho=lambda n: n, query=False, steps=1):
    def form(x, y, q, eta):
        tokens = f.copied(x, y, q)
        P, Q = (copying.on_pairs(m, len(x)) for m in f.plus_matrices(eta, jnp.zeros_like(eta), x.shape[1]))
        for _ in range(steps):
            tokens = lsa(tokens, P, Q, float(rho(len(x))), include_query=query)
        return -tokens[-1, x.shape[1]]

    return form


# (DE16) to (DE18): four scalars


def heads(change):
    """Heads for other scalars."""
    return lambda tokens, omega: lsa(
        tokens, *noise_levels.diagonal_heads(change(omega), tokens.shape[1] - 1), 1.0, include_query=False
    )


def query_read(tokens, omega):
    return lsa(tokens, *noise_levels.diagonal_heads(omega, tokens.shape[1] - 1), 1.0)


def factors(step=lambda u, v: (1 + u + v) / ((1 + u) * (1 + v)), rescale=lambda n, u, v: -1 / (n**2 * (1 + u + v))):
    def form(n, first, second):
        u, v = first**2 / n, second**2 / n
        return jnp.stack([step(u, v) * (1 + rescale(n, u, v) * n * s**2) for s in (first, second)])

    return form


def levels(step, rescale):
    """Two layers for the measurement."""

    def two_levels(n, first, second):
        omega = noise_levels.two_levels(n, first, second)
        return omega.at[0, 1, 0].multiply(step).at[1, 1, 1].multiply(rescale)

    return two_levels


RECURRENT = "DE4.recurrent"

PLANTED = (
    ("ascent", "the labels go up", "DE1", "lsa", plus(eta=lambda e, g: -e), "four examples"),
    ("curvature added", "I + gamma S", "DE1", "lsa", plus(gamma=lambda e, g: -g), "four examples"),
    ("exchanged", "gamma for eta", "DE1", "lsa", plus(lambda e, g: g, lambda e, g: e), "four examples"),
    ("query divided", "rho counts the query", "DE1", "lsa", plus(rho=lambda n: n + 1), "four examples"),
    ("query read", "the query is an example", "DE1", "lsa", plus(query=True), "four examples"),
    ("one after the other", "labels read moved inputs", "DE1", "lsa", one_after_the_other, "four examples"),
    ("query read", "the query is an example", "DE2", "lsa_layers", network(query=True), "two layers"),
    ("sign", "plus the query's label", "DE2", "lsa_layers", network(sign=1.0), "two layers"),
    ("backwards", "the last layer first", "DE2", "lsa_layers", network(backwards=True), "two layers"),
    ("unsquared map", "one factor of (I - gamma S) forgotten", "DE3", "residuals",
     residuals(move=lambda l, g: l * (1 - g * l)), "three layers"),
    ("fixed spectrum", "every layer reads the first spectrum", "DE3", "residuals", residuals(move=lambda l, g: l),
     "three layers"),
    ("moved first", "the step after the correction", "DE3", "residuals", moved_first, "three layers"),
    ("sum of steps", "steps added", "DE3", "residuals", residuals(step=lambda r, l, e: r - e * l), "three layers"),
    ("mean", "a mean over the spectrum", "DE4", "context_risk", mean_risk, "two layers"),
    ("half", "half the squared error", "DE4", "context_risk", half_risk, "two layers"),
    ("no variance", "the query's variance forgotten", "DE4", "context_risk", no_variance, "two layers"),
    ("sums", "spectra of sums", "DE4", "spectra", sums, RECURRENT),
    ("covariances", "spectra of centred inputs", "DE4", "spectra", covariances, RECURRENT),
    ("no curvature", "gamma never used", "DE4", "best_scalars", no_curvature, RECURRENT),
    ("half slope", "the square's factor two forgotten", "DE5", "spectrum_map",
     lambda l, g: (1 - g * l) * (1 - 2 * g * l), "slope"),
    ("top", "the maximum at 1 / (2 gamma)", "DE5", "spectrum_map",
     lambda l, g: (4 / (27 * g) - curvature.spectrum_map(l, g), curvature.spectrum_map(1 / (2 * g), g)),
     "below the top"),
    ("ends for roots", "roots forgotten", "DE6", "gather", unsquared, "roots of the ends"),
    ("largest at the top", "1 / (3 M)", "DE6", "gather", at_the_top, "roots of the ends"),
    ("linear", "first order near one", "DE7", "gather", lambda a, b: (b / a) ** 2 * 4 / 27 * 27 / 4 - 1,
     "roots of the ends"),
    ("steps too large", "twice the step", "DE8", "schedule", large_steps, None),
    ("weak correction", "gamma halved", "DE8", "schedule", weak_correction, None),
    ("no transpose", "from alpha S", "DE9", "newton_inverse",
     newton_like(start=lambda S, a: a * S)(3), "three steps"),
    ("other side", "S M M", "DE9", "newton_inverse", newton_like(step=lambda M, S: 2 * M - S @ M @ M)(3),
     "three steps"),
    ("one step fewer", "k - 1", "DE10", "iteration", missing(3, steps=lambda k: k - 1), "Newton, 3 steps"),
    ("linear rate", "M + M_0 (I - S M)", "DE10", "iteration",
     lambda S, a: jnp.eye(len(S)) - newton.descent_inverse(S, a, 3) @ S, "Newton, 3 steps"),
    ("twice k", "2 k steps for 2^k", "DE11", "gradient descent", f.descent_answer(f.squared_residual, 6),
     "Newton 3, GD 8"),
    ("S for its transpose", "S stored as it is", "DE12", "lsa_layers", by_layers(stored=lambda S: S.T), "from any M"),
    ("added", "M S M added", "DE12", "lsa_layers", by_layers(values=lambda P: P.at[0].multiply(-1.0)), "from any M"),
    ("pairs transposed", "keys for queries", "DE12", "lsa_layers",
     by_layers(pairs=lambda Q: Q.transpose(0, 2, 1)), "from any M"),
    ("scratch kept", "Z not cleared", "DE12", "after", scratch_kept, "other blocks"),
    ("token before", "copies what came before", "DE13", "lsa",
     copy(lambda t, T: t - 1 if t % 2 == 0 and t > 0 else t), "three examples"),
    ("everybody copies", "label tokens copy the next input's", "DE13", "lsa", copy(lambda t, T: min(t + 1, T - 1)),
     "three examples"),
    ("wraps around", "the query reads the first label", "DE13", "lsa",
     copy(lambda t, T: (t + 1) % T if t % 2 == 0 and t < T - 1 else 1 if t == T - 1 else t), "three examples"),
    ("inputs copied", "the whole token as the value", "DE13", "lsa",
     copy(values=lambda P: P.at[0, 0].set(1.0)), "three examples"),
    ("soft", "sharpness forgotten", "DE14", "softmax_copy", softly(lambda s: 0 * s + 1), "three examples"),
    ("half as sharp", "half the sharpness", "DE14", "softmax_copy", softly(lambda s: s / 2), "three examples"),
    ("transposed", "keys for queries", "DE14", "softmax_copy", softly(transposed=True), "three examples"),
    ("tokens counted", "rho counts tokens", "DE15", "network", stream(rho=lambda n: 2 * n), "one step"),
    ("query read", "the second layer reads the query", "DE15", "network", stream(query=True, steps=2), "two steps"),
    ("transposed scalars", "omega_xy for omega_yx", "DE16", "lsa", heads(lambda o: o.T), "one layer"),
    ("no energy", "omega_yy forgotten", "DE16", "lsa", heads(lambda o: o * jnp.array([[1.0, 1.0], [1.0, 0.0]])),
     "one layer"),
    ("query read", "the query is an example", "DE16", "lsa", query_read, "one layer"),
    ("full step", "c = 1", "DE18", "two_levels", factors(step=lambda u, v: 1.0), "factors"),
    ("no n", "omega without 1 / n", "DE18", "two_levels", factors(rescale=lambda n, u, v: -1 / (n * (1 + u + v))),
     "factors"),
    ("tangent", "the slope at no noise", "DE18", "two_levels", factors(rescale=lambda n, u, v: -1 / n**2), "factors"),
    ("no rescaling", "the second layer does nothing", "DE18", "two_levels", levels(1.0, 0.0), None),
    ("wrong way", "noise raises the answer", "DE18", "two_levels", levels(1.0, -1.0), None),
)  # fmt: skip

TITLE18 = "DE18.oracle"


def right_residuals(values, A, eta, gamma):
    """The product taken from the last layer to the first, the map multiplied out."""
    spectrum, seen = values, []
    for e, g in zip(eta, gamma, strict=True):
        seen.append(1 - e * spectrum)
        spectrum = spectrum - 2 * g * spectrum**2 + g**2 * spectrum**3
    r = jnp.ones_like(values)
    for factor in reversed(seen):
        r = factor * r
    return f.rotated(r, A)


def right_newton(S, alpha):
    """Schulz's form, M + M (I - S M)."""
    M = alpha * S.T
    for _ in range(3):
        M = M + M @ (jnp.eye(len(S)) - S @ M)
    return M


def right_copy(x, y, q):
    """The pairs by indexing."""
    tokens = copying.alternating_prompt(x, y, q)
    d = x.shape[1]
    tokens = tokens.at[0:-1:2, d].add(y)
    return tokens.at[1::2, d].add(y)


def right_heads(tokens, omega):
    """Four heads, one for each scalar."""
    d = tokens.shape[1] - 1
    x = jnp.diag(jnp.append(jnp.ones(d), 0.0))
    y = jnp.eye(d + 1) - x
    P = jnp.stack([x, x, y, y])
    Q = jnp.stack([omega[0, 0] * x, omega[0, 1] * y, omega[1, 0] * x, omega[1, 1] * y])
    return lsa(tokens, P, Q, 1.0, include_query=False)


RIGHT = (
    ("backwards product", "factors from last to first", "DE3", "residuals", right_residuals, "three layers"),
    ("Schulz", "M + M (I - S M)", "DE9", "newton_inverse", right_newton, "three steps"),
    ("indexing", "labels by their places", "DE13", "lsa", right_copy, "three examples"),
    ("four heads", "one for each scalar", "DE16", "lsa", right_heads, "one layer"),
)  # fmt: skip


def _mutants(rows):
    names = {"DE8": None, "DE18": TITLE18}
    return tuple(
        Mutant(f"{label} {form}: {name}", label, form, program, description, case or names[label])
        for name, description, label, form, program, case in rows
    )


MUTANTS = _mutants(PLANTED)
HARMLESS = _mutants(RIGHT)
