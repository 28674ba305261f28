"""Wrong programs for chapter 2, what optimisers make of outer products. Each is a mistake that someone makes."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from dualform import descent
from dualform.descent import Optimizer
from dualform.descent.closed import kept_after
from dualform.testing.mutants.mutant import Mutant

PLAIN = "heavy ball, coupled decay"
"""The case of (O1) without flags."""

# (O1): the optimiser, step by step


class Now(NamedTuple):
    """The numbers of a step."""

    t: int
    eta: jax.Array
    mu: jax.Array
    kept: jax.Array  # 1 - dampening, but 1 at the first step
    decay: jax.Array
    scale: jax.Array


def steps(step, when=lambda t, last: t):
    """The optimiser with a step `step(W, buffer, gradient, now) -> (W, buffer)`, whose eta is that of step `when`."""

    def run(W0, gradients, eta, momentum, dampening, weight_decay, scale, ema):
        W, buffer, last = W0, jnp.zeros_like(W0), len(gradients) - 1
        for t, g in enumerate(gradients):
            kept = 1 - dampening if t else 1.0
            now = Now(t, eta[when(t, last)], momentum, kept, weight_decay, scale[t])
            W, buffer = step(W, buffer, g, now)
        return W

    return run


def heavy_ball(W, b, g, s):
    """The right step, with coupled decay."""
    b = s.mu * b + s.kept * (s.scale * g + s.decay * W)
    return W - s.eta * b, b


def always_dampened(W, b, g, s, dampening):
    b = s.mu * b + (1 - dampening) * (s.scale * g + s.decay * W)
    return W - s.eta * b, b


def dampened_from_the_start(W0, gradients, eta, momentum, dampening, weight_decay, scale, ema):
    step = steps(lambda W, b, g, s: always_dampened(W, b, g, s, dampening))
    return step(W0, gradients, eta, momentum, dampening, weight_decay, scale, ema)


def dampened_buffer(W, b, g, s):
    b = s.kept * (s.mu * b + s.scale * g + s.decay * W)
    return W - s.eta * b, b


def rate_in_the_buffer(W, b, g, s):
    b = s.mu * b + s.eta * s.kept * (s.scale * g + s.decay * W)
    return W - b, b


def decay_after_momentum(W, b, g, s):
    b = s.mu * b + s.kept * s.scale * g
    return W - s.eta * (b + s.decay * W), b


def clipped_decay(W, b, g, s):
    b = s.mu * b + s.kept * s.scale * (g + s.decay * W)
    return W - s.eta * b, b


def clipped_step(W, b, g, s):
    b = s.mu * b + s.kept * (g + s.decay * W)
    return W - s.eta * s.scale * b, b


def decoupled(shrink):
    """Decoupled decay, as `shrink(W, now)`."""

    def step(W, b, g, s):
        b = s.mu * b + s.kept * s.scale * g
        return shrink(W, s) - s.eta * b, b

    return step


def decay_last(W, b, g, s):
    b = s.mu * b + s.kept * s.scale * g
    return (W - s.eta * b) * (1 - s.eta * s.decay), b


def nesterov(ahead):
    """Nesterov's step as `ahead(g, old buffer, new buffer, mu)`."""

    def step(W, b, g, s):
        g = s.scale * g + s.decay * W
        new = s.mu * b + s.kept * g
        return W - s.eta * ahead(g, b, new, s.mu), new

    return step


def averaging(average, start=lambda W0: W0, end=lambda mean, rho, T: mean):
    """The average as `average(mean, W before, W after, rho)`."""

    def run(W0, gradients, eta, momentum, dampening, weight_decay, scale, ema):
        W, b, mean = W0, jnp.zeros_like(W0), start(W0)
        for t, g in enumerate(gradients):
            new, b = heavy_ball(W, b, g, Now(t, eta[t], momentum, 1 - dampening if t else 1.0, weight_decay, scale[t]))
            mean, W = average(mean, W, new, ema), new
        return end(mean, ema, len(gradients))

    return run


# (O1): coefficients that went wrong


def coefficients(mistake=lambda a, c, now: (a, c), **wrong):
    """The right (a_T, c) after `mistake(a, c, arguments)`, or those of options changed by `wrong(arguments)`."""

    def form(W0, gradients, eta, momentum, dampening, weight_decay, scale, ema):
        arguments = dict(eta=eta, momentum=momentum, dampening=dampening, weight_decay=weight_decay, scale=scale, ema=ema)
        options = dict(eta=eta, momentum=momentum, dampening=dampening, weight_decay=weight_decay, scale=scale)
        options |= {name: f(arguments) for name, f in wrong.items()}
        scale = options.pop("scale")
        a, c = mistake(*descent.coefficients(Optimizer(**options), len(gradients), scale=scale), arguments)
        return a * W0 + jnp.tensordot(c, gradients, 1, precision="highest")

    return form


def undecayed(a, c, now):
    """a_T knows of the decay, c does not."""
    o = Optimizer(eta=now["eta"], momentum=now["momentum"], dampening=now["dampening"])
    return a, descent.coefficients(o, len(c), scale=now["scale"])[1]


def initial_average_forgotten(a, c, now):
    return a - now["ema"] ** len(c), c


# (O2) to (O7): the scalars alone


def backwards(eta, momentum, dampening, weight_decay, scale):
    """The matrices multiplied in the wrong order."""
    flipped = Optimizer(eta=eta[::-1], momentum=momentum, dampening=dampening, weight_decay=weight_decay)
    a, c = descent.coefficients(flipped, len(eta), scale=scale[::-1])
    return a, c[::-1]


def sums(c):
    return lambda eta, number: (jnp.ones(()), c(eta, number))


def geometric(eta, mu):
    """The textbook's fraction in place of the sum, for a constant rate; 0/0 at mu = 1."""
    i = jnp.arange(len(eta))
    left = len(eta) - i
    constant = -eta[0] * (1 - mu**left) / (1 - mu)
    rest = descent.heavy_ball(eta - eta[0], mu)
    return jnp.ones(()), constant + rest


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


# (O10): Adam


def elementwise(C, a=lambda eta, decay: jnp.prod(1 - eta * decay)):
    """The Hadamard form with matrices `C(rates, eta, b1, decay)`."""

    def form(W0, gradients, rates, eta, b1, weight_decay):
        return a(eta, weight_decay) * W0 - jnp.sum(C(rates, eta, b1, weight_decay) * gradients, axis=0)

    return form


def right_C(rates, eta, b1, weight_decay):
    return descent.hadamard_from_rates(rates, eta, b1=b1, weight_decay=weight_decay)[1]


def late_C(rates, eta, b1, weight_decay):
    """The sum from the step after."""
    return right_C(rates, eta, b1, weight_decay) - (1 - b1) * _after(eta, weight_decay)[:, None, None] * rates


def _after(eta, weight_decay):
    return kept_after(1 - eta * weight_decay)[-1]


def adam(rates, b1=lambda b1, b2: b1):
    """Adam with wrong rates per entry, `rates(gradients, eta [T, 1, 1], b1, b2, eps)`."""

    def form(W0, gradients, eta, b_1, b_2, eps, weight_decay):
        D = rates(gradients, eta[:, None, None], b_1, b_2, eps)
        a, C = descent.hadamard_from_rates(D, eta, b1=b1(b_1, b_2), weight_decay=weight_decay)
        return a * W0 - jnp.sum(C * gradients, axis=0)

    return form


def moments(gradients, b):
    """The running second moments, and what is missing from their weights, both for every step."""
    weights = (1 - b) * kept_after(jnp.full(len(gradients), b))
    return jnp.tensordot(weights, gradients**2, 1, precision="highest"), missing(gradients, b)


def missing(gradients, b):
    return (1 - b ** jnp.arange(1, len(gradients) + 1))[:, None, None]


def uncorrected(g, eta, b1, b2, eps):
    return eta / (jnp.sqrt(moments(g, b2)[0]) + eps)


def half_corrected(g, eta, b1, b2, eps):
    return eta / missing(g, b1) / (jnp.sqrt(moments(g, b2)[0]) + eps)


def eps_inside(g, eta, b1, b2, eps):
    v, left = moments(g, b2)
    return eta / missing(g, b1) / jnp.sqrt(v / left + eps)


def eps_before_correction(g, eta, b1, b2, eps):
    v, left = moments(g, b2)
    return eta / missing(g, b1) * jnp.sqrt(left) / (jnp.sqrt(v) + eps)


def exchanged(g, eta, b1, b2, eps):
    v, left = moments(g, b1)
    return eta / missing(g, b2) / (jnp.sqrt(v / left) + eps)


def first_rate(g, eta, b1, b2, eps):
    v, left = moments(g, b2)
    return eta[:1] / missing(g, b1) / (jnp.sqrt(v / left) + eps)


def stopped_moments(g, eta, b1, b2, eps):
    v, left = moments(jax.lax.stop_gradient(g), b2)
    return eta / missing(g, b1) / (jnp.sqrt(v / left) + eps)


def mean_channel(W0, g, X, rates, b1, q):
    """One weight for all channels, as if Adam had attention scores."""
    C = right_C(rates, jnp.zeros(len(g)), b1, 0.0).mean(-1)
    return W0 @ q - jnp.sum(C * g * (X @ q)[:, None], axis=0)


O1_RUN = (
    (PLAIN, "dampened at once", "dampening also on the first gradient", dampened_from_the_start),
    (PLAIN, "no dampening", "dampening ignored", steps(lambda W, b, g, s: heavy_ball(W, b, g, s._replace(kept=1.0)))),
    (PLAIN, "dampened buffer", "dampening on all of the buffer", steps(dampened_buffer)),
    (PLAIN, "rate in the buffer", "momentum of eta times gradient: wrong under a schedule", steps(rate_in_the_buffer)),
    (PLAIN, "late decay", "coupled decay added after momentum", steps(decay_after_momentum)),
    (PLAIN, "decay clipped", "clipping after decay", steps(clipped_decay)),
    (PLAIN, "step clipped", "clipping after momentum", steps(clipped_step)),
    (PLAIN, "constant rate", "the schedule's first rate for all steps", steps(heavy_ball, lambda t, last: 0)),
    (PLAIN, "next rate", "the schedule off by one", steps(heavy_ball, lambda t, last: min(t + 1, last))),
    (PLAIN, "ascent", "the step added", steps(lambda W, b, g, s: heavy_ball(W, b, g, s._replace(eta=-s.eta)))),
    (PLAIN, "decoupled", "decoupled decay where coupled was asked", steps(decoupled(lambda W, s: W - s.eta * s.decay * W))),
    ("decoupled", "coupled", "coupled decay where decoupled was asked", steps(heavy_ball)),
    ("decoupled", "decay last", "the weight decays after the step", steps(decay_last)),
    ("decoupled", "decay without rate", "decay not multiplied by eta", steps(decoupled(lambda W, s: (1 - s.decay) * W))),
    ("decoupled", "decay plus", "the weight grows", steps(decoupled(lambda W, s: (1 + s.eta * s.decay) * W))),
    ("nesterov", "no look ahead", "heavy ball", steps(heavy_ball)),
    ("nesterov", "whole buffer", "the buffer without mu", steps(nesterov(lambda g, old, new, mu: g + new))),
    ("nesterov", "old buffer", "the buffer before the step", steps(nesterov(lambda g, old, new, mu: g + mu * old))),
    ("averaged", "exchanged", "rho and 1 - rho exchanged", averaging(lambda m, W, V, r: (1 - r) * m + r * V)),
    ("averaged", "zero start", "the average starts at zero", averaging(lambda m, W, V, r: r * m + (1 - r) * V,
                                                                      start=jnp.zeros_like)),
    ("averaged", "debiased", "from zero, then divided by 1 - rho^T", averaging(
        lambda m, W, V, r: r * m + (1 - r) * V, jnp.zeros_like, lambda m, r, T: m / (1 - r**T))),
    ("averaged", "stale", "the weight before the step averaged", averaging(lambda m, W, V, r: r * m + (1 - r) * W)),
    ("averaged", "not averaged", "the last weight", steps(heavy_ball)),
)  # fmt: skip

O1_COEFFICIENTS = (
    (PLAIN, "shifted", "c off by one in time", coefficients(lambda a, c, now: (a, jnp.roll(c, 1)))),
    (PLAIN, "reversed", "the youngest gradient first", coefficients(lambda a, c, now: (a, c[::-1]))),
    (PLAIN, "sign", "c without its minus", coefficients(lambda a, c, now: (a, -c))),
    (PLAIN, "a is 1", "the initial weight does not decay", coefficients(lambda a, c, now: (jnp.ones(()), c))),
    (PLAIN, "decay in a only", "the gradients do not decay", coefficients(undecayed)),
    (PLAIN, "unclipped", "recorded factors ignored", coefficients(scale=lambda now: jnp.ones_like(now["scale"]))),
    (PLAIN, "clipped twice", "recorded factors squared", coefficients(scale=lambda now: now["scale"] ** 2)),
    (PLAIN, "last step", "the last gradient left out", coefficients(lambda a, c, now: (a, c.at[-1].set(0)))),
    (PLAIN, "first rate", "the schedule's first rate for all", coefficients(eta=lambda now: now["eta"][0])),
    (PLAIN, "stopped rates", "learning rates held constant", coefficients(
        eta=lambda now: jax.lax.stop_gradient(now["eta"]))),
    (PLAIN, "stopped momentum", "momentum held constant", coefficients(
        momentum=lambda now: jax.lax.stop_gradient(now["momentum"]))),
    (PLAIN, "infinite past", "c = -eta / (1 - mu) for every step", coefficients(
        lambda a, c, now: (a, -now["eta"] * now["scale"] / (1 - now["momentum"])))),
    ("nesterov", "no look ahead", "heavy ball's coefficients", coefficients()),
    ("decoupled", "coupled", "the other decay", coefficients()),
    ("averaged", "initial average", "the average starts at zero", coefficients(
        initial_average_forgotten, ema=lambda now: now["ema"])),
    ("averaged", "not averaged", "the last weight's coefficients", coefficients()),
)  # fmt: skip

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
    ("minibatches", "mean of steps", "divided by the number of steps", reading(lambda c, G: spread(c, G) / len(G))),
    ("minibatches of 2, 3 and 1", "largest", "divided by the largest minibatch, as padding does", reading(
        lambda c, G: spread(c, G) / jnp.max(sizes(G)))),
    ("minibatches of 2, 3 and 1", "average size", "divided by the mean size", reading(
        lambda c, G: spread(c, G) / jnp.mean(sizes(G)))),
    ("minibatches of 2, 3 and 1", "tiled", "coefficients in turn, not by step", reading(
        lambda c, G: jnp.tile(c / sizes(G), 2))),
    ("minibatches", "tiled", "coefficients in turn, not by step", reading(lambda c, G: jnp.tile(c, 3) / 3)),
    ("minibatches", "next step", "the coefficient of the step after", reading(
        lambda c, G: descent.pattern_weights(jnp.roll(c, -1), G))),
    ("minibatches", "a is 1", "the initial weight does not decay", reading(a=jnp.ones_like)),
    ("minibatches", "last pattern", "the last pattern of each minibatch skipped", reading(change=skip_last)),
    ("minibatches", "stopped", "coefficients held constant", reading(
        lambda c, G: descent.pattern_weights(jax.lax.stop_gradient(c), G))),
)  # fmt: skip

HADAMARD = (
    ("given rates", "late sum", "the sum from the step after", elementwise(late_C)),
    ("given rates", "whole moment", "without 1 - b1", elementwise(lambda D, *now: right_C(D, *now) / (1 - now[1]))),
    ("given rates", "own rate", "each gradient with its own step's rates", elementwise(
        lambda D, eta, b1, decay: D * right_C(jnp.ones_like(D), eta, b1, decay))),
    ("given rates", "reversed", "the sum from the first step", elementwise(
        lambda D, *now: right_C(D[::-1], *now)[::-1])),
    ("given rates", "decay in a only", "the gradients do not decay", elementwise(
        lambda D, eta, b1, decay: right_C(D, eta, b1, 0.0))),
    ("given rates", "a is 1", "the initial weight does not decay", elementwise(right_C, lambda eta, decay: 1.0)),
    ("given rates", "sign", "added", elementwise(lambda *now: -right_C(*now))),
    ("read at a query", "mean channel", "one weight for all input channels", mean_channel),
    ("Adam itself", "uncorrected", "no bias correction", adam(uncorrected)),
    ("Adam itself", "half corrected", "bias correction of the first moment only", adam(half_corrected)),
    ("Adam itself", "eps inside", "epsilon under the root", adam(eps_inside)),
    ("Adam itself", "eps early", "epsilon before the bias correction", adam(eps_before_correction)),
    ("Adam itself", "exchanged", "b1 and b2 exchanged", adam(exchanged, lambda b1, b2: b2)),
    ("Adam itself", "first rate", "the schedule's first rate for all", adam(first_rate)),
    ("Adam itself", "stopped moments", "second moments held constant", adam(stopped_moments)),
)  # fmt: skip

MUTANTS = (
    *(Mutant(f"run, {case}: {name}", "O1", "run", form, why, case) for case, name, why, form in O1_RUN),
    *(Mutant(f"coefficients, {case}: {name}", "O1", "coefficients", form, why, case)
      for case, name, why, form in O1_COEFFICIENTS),
    Mutant("rows: backwards", "O2", "coefficients", backwards, "matrices multiplied in the other order"),
    *(Mutant(f"{case}: {name}", label, "sum", form, why, case) for label, case, name, why, form in SUMS),
    *(Mutant(f"clip: {name}", "O8", "recorded factors", form, why) for name, why, form in CLIPS),
    *(Mutant(f"{case}: {name}", "O9", "read", form, why, case) for case, name, why, form in MINIBATCHES),
    *(Mutant(f"{case}: {name}", "O10", "Hadamard", form, why, case) for case, name, why, form in HADAMARD),
)  # fmt: skip

HARMLESS = (
    Mutant("run: Python loop", "O1", "run", steps(heavy_ball), "another loop", PLAIN),
    Mutant("run: average of differences", "O1", "run", averaging(lambda m, W, V, r: m + (1 - r) * (V - m)),
           "the average moved towards the weight", "averaged"),
    Mutant("run: decay subtracted", "O1", "run", steps(decoupled(lambda W, s: W - s.eta * s.decay * W)),
           "W - eta lambda W for (1 - eta lambda) W", "decoupled"),
    Mutant("momentum: powers", "O4", "sum", sums(lambda eta, mu: -jnp.stack(
               [jnp.sum(eta[i:] * mu ** jnp.arange(len(eta) - i)) for i in range(len(eta))])),
           "powers of mu for running products", "momentum"),
    Mutant("minibatches: weighted keys", "O9", "read", reading(), "one matrix product", "minibatches of 2, 3 and 1"),
    Mutant("Adam: weighted sums", "O10", "Hadamard", adam(lambda g, eta, b1, b2, eps: eta / missing(g, b1) / (
               jnp.sqrt(moments(g, b2)[0] / moments(g, b2)[1]) + eps)), "moments as one matrix product", "Adam itself"),
)  # fmt: skip
