"""Wrong programs for (O2) to (O9) and (O11), single features of SGD. Each is a mistake that someone makes."""

import jax
import jax.numpy as jnp

from dualform import descent
from dualform.descent import Optimizer
from dualform.laws.descent.laws import change
from dualform.testing.mutant import Mutant

# (O2) to (O7): the scalars alone


def backwards(eta, momentum, dampening, weight_decay, scale):
    """The matrices multiplied in the wrong order."""
    flipped = Optimizer(eta=eta[::-1], momentum=momentum, dampening=dampening, weight_decay=weight_decay)
    a, c = descent.coefficients(flipped, len(eta), scale=scale[::-1])
    return a, c[::-1]


def sums(c):
    return lambda eta, number: (jnp.ones(()), c(eta, number))


def geometric(eta, mu):
    """The textbook's fraction in place of the sum for a constant rate, and the sum for what is left of a schedule."""
    powers = jnp.stack([mu ** (len(eta) - i) for i in range(len(eta))])
    constant = -eta[0] * (1 - powers) / (1 - mu)
    return jnp.ones(()), constant + descent.heavy_ball(eta - eta[0], mu)


# (O8): clipping


def clipping(factor):
    """Recorded factors as `factor(norms)` of the gradients' norms `[T]`."""

    def form(W0, gradients, eta):
        scale = factor(jnp.sqrt(jnp.sum(gradients**2, axis=(1, 2))))
        a, c = descent.coefficients(Optimizer(eta=eta), len(gradients), scale=scale)
        return a * W0 + jnp.tensordot(c, gradients, 1, precision="highest")

    return form


def clip_entries(W0, gradients, eta):
    return W0 - eta * jnp.sum(jnp.clip(gradients, -1, 1), axis=0)


# (O9): patterns of minibatches


def reading(weights=descent.pattern_weights, a=lambda a: a, change=lambda G: G):
    """The layer read at its patterns, each with `weights(c, G)`."""

    def form(W0, G, X, q, eta, momentum, weight_decay):
        o = Optimizer(eta=eta, momentum=momentum, weight_decay=weight_decay)
        a_T, c = descent.coefficients(o, len(G))
        E, keys = (jnp.concatenate([jnp.asarray(p) for p in P]) for P in (change(G), X))
        return a(a_T) * (W0 @ q) + (weights(c, G) * (keys @ q)) @ E

    return form


def sizes(G):
    return jnp.array([len(g) for g in G], float)


def spread(c, G):
    """One number a step, repeated for each of its patterns."""
    return jnp.concatenate([jnp.repeat(c[t], len(g)) for t, g in enumerate(G)])


def skip_last(G):
    return [jnp.asarray(g).at[-1].set(0) for g in G]


SUMS = (
    ("O3", "schedule", "sign", "c without its minus", lambda eta: (jnp.ones(()), eta)),
    ("O4", "momentum", "one power more", "mu^(t-i+1)", sums(lambda eta, mu: mu * descent.heavy_ball(eta, mu))),
    ("O4", "momentum", "later steps only", "t > i", sums(lambda eta, mu: descent.heavy_ball(eta, mu) + eta)),
    ("O4", "momentum", "eta of i", "the rate of the gradient's own step for all", sums(
        lambda eta, mu: eta * descent.heavy_ball(jnp.ones_like(eta), mu))),
    ("O4", "momentum 1", "geometric series", "a closed fraction, 0/0 at mu = 1", geometric),
    ("O5", "Nesterov", "no power more", "without the mu of the look ahead", sums(
        lambda eta, mu: -eta + descent.heavy_ball(eta, mu))),
    ("O5", "Nesterov", "gradient forgotten", "only the buffer", sums(lambda eta, mu: mu * descent.heavy_ball(eta, mu))),
    ("O6", "coupled", "own step decays", "t >= i", lambda eta, d: (
        descent.decay(eta, d)[0], descent.decay(eta, d)[1] * (1 - eta * d))),
    ("O6", "decoupled", "exponential", "exp(-eta lambda), the continuous limit", lambda eta, d: (
        jnp.exp(-jnp.sum(eta) * d), -eta * jnp.exp(-(jnp.sum(eta) - jnp.cumsum(eta)) * d))),
    ("O7", "average", "one power more", "rho^(T-t+1)", sums(lambda eta, rho: rho * descent.averaged(eta, rho))),
    ("O7", "average", "complement", "1 - rho forgotten", sums(lambda eta, rho: descent.averaged(eta, rho) / (1 - rho))),
)  # fmt: skip

CLIPS = (
    ("larger", "max for min: small gradients grow", clipping(lambda norms: jnp.maximum(1.0, 1 / norms))),
    ("normalised", "every gradient brought to norm 1", clipping(lambda norms: 1 / norms)),
    ("squared", "the norm's square root forgotten", clipping(lambda norms: jnp.minimum(1.0, 1 / norms**2))),
    ("twice", "the factor squared", clipping(lambda norms: jnp.minimum(1.0, 1 / norms) ** 2)),
    ("inverse", "norm / clip", clipping(lambda norms: jnp.minimum(1.0, norms))),
    ("whole run", "one norm for all steps", clipping(lambda norms: jnp.minimum(
        1.0, jnp.ones_like(norms) / jnp.sqrt(jnp.sum(norms**2))))),
    ("by entry", "entries clipped, not the norm", clip_entries),
)  # fmt: skip

MINIBATCHES = (
    ("minibatches", "sum", "the sum over a minibatch for its mean", reading(spread)),
    ("minibatches", "mean of all", "divided by the number of patterns", reading(
        lambda c, G: spread(c, G) / jnp.sum(sizes(G)))),
    ("minibatches of 2, 3 and 1", "largest", "divided by the largest minibatch, as padding does", reading(
        lambda c, G: spread(c, G) / jnp.max(sizes(G)))),
    ("minibatches of 2, 3 and 1", "tiled", "coefficients in turn, not by step", reading(
        lambda c, G: jnp.concatenate([c / sizes(G)] * 2))),
    ("minibatches", "tiled", "coefficients in turn, not by step", reading(lambda c, G: jnp.concatenate([c / 3] * 3))),
    ("minibatches", "next step", "the coefficient of the step after", reading(
        lambda c, G: descent.pattern_weights(jnp.roll(c, -1), G))),
    ("minibatches", "a is 1", "the initial weight does not decay", reading(a=jnp.ones_like)),
    ("minibatches", "last pattern", "the last pattern of each minibatch skipped", reading(change=skip_last)),
    ("minibatches of 2, 3 and 1", "stopped", "coefficients held constant", reading(
        lambda c, G: descent.pattern_weights(jax.lax.stop_gradient(c), G))),
)  # fmt: skip

MUTANTS = (
    Mutant("rows: backwards", "O2", "coefficients", backwards, "matrices multiplied in the other order"),
    *(Mutant(f"{case}: {name}", label, "sum", form, why, case) for label, case, name, why, form in SUMS),
    *(Mutant(f"clip: {name}", "O8", "recorded factors", form, why) for name, why, form in CLIPS),
    *(Mutant(f"{case}: {name}", "O9", "read", form, why, case) for case, name, why, form in MINIBATCHES),
    Mutant("rank: decayed weight", "O11", "determinant", change(False), "the decay of W_0 counted as change"),
)  # fmt: skip

HARMLESS = (
    Mutant("momentum: powers", "O4", "sum", sums(lambda eta, mu: -jnp.stack(
               [sum(eta[t] * mu ** (t - i) for t in range(i, len(eta))) for i in range(len(eta))])),
           "powers of mu for running products", "momentum"),
    Mutant("minibatches: weighted scores", "O9", "read", reading(), "one matrix product", "minibatches of 2, 3 and 1"),
)  # fmt: skip
