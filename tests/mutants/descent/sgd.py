"""Wrong programs for (O1), a run of SGD and its coefficients. Each is a mistake that someone makes."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from dualform import descent
from dualform.descent import Optimizer
from dualform.testing.mutant import Mutant
from mutants.precision import rounded

PLAIN = "heavy ball, coupled decay"
"""The case of (O1) without flags."""

# (O1): the optimiser, step by step


class Now(NamedTuple):
    """The numbers of a step."""

    t: int
    eta: jax.Array
    mu: jax.Array
    dampening: jax.Array
    kept: jax.Array | float  # 1 - dampening, but 1 at the first step
    decay: jax.Array
    scale: jax.Array


def steps(step, when=lambda t, last: t):
    """The optimiser with a step `step(W, buffer, gradient, now) -> (W, buffer)`, whose eta is that of step `when`."""

    def run(W0, gradients, eta, momentum, dampening, weight_decay, scale, ema):
        W, buffer, last = W0, jnp.zeros_like(W0), len(gradients) - 1
        for t, g in enumerate(gradients):
            kept = 1 - dampening if t else 1.0
            now = Now(t, eta[when(t, last)], momentum, dampening, kept, weight_decay, scale[t])
            W, buffer = step(W, buffer, g, now)
        return W

    return run


def heavy_ball(W, b, g, s):
    """The right step, with coupled decay."""
    b = s.mu * b + s.kept * (s.scale * g + s.decay * W)
    return W - s.eta * b, b


def dampened_at_once(W, b, g, s):
    return heavy_ball(W, b, g, s._replace(kept=1 - s.dampening))


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


def shrunk(W, s):
    """The right decay."""
    return W - s.eta * s.decay * W


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
            kept = 1 - dampening if t else 1.0
            new, b = heavy_ball(W, b, g, Now(t, eta[t], momentum, dampening, kept, weight_decay, scale[t]))
            mean, W = average(mean, W, new, ema), new
        return end(mean, ema, len(gradients))

    return run


# (O1): coefficients that went wrong


def coefficients(mistake=lambda a, c, now: (a, c), **wrong):
    """The right (a_T, c) after `mistake(a, c, arguments)`, or those of options changed by `wrong(arguments)`."""

    def form(W0, gradients, eta, momentum, dampening, weight_decay, scale, ema):
        arguments = dict(
            eta=eta, momentum=momentum, dampening=dampening, weight_decay=weight_decay, scale=scale, ema=ema
        )
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


def narrow_buffer(W, b, g, s):
    W, b = heavy_ball(W, b, g, s)
    return W, rounded(b, jnp.bfloat16)


def narrow_weight(W, b, g, s):
    W, b = heavy_ball(W, b, g, s)
    return rounded(W, jnp.bfloat16), b


O1_RUN = (
    (PLAIN, "dampened at once", "dampening also on the first gradient", steps(dampened_at_once)),
    (PLAIN, "no dampening", "dampening ignored", steps(lambda W, b, g, s: heavy_ball(W, b, g, s._replace(kept=1.0)))),
    (PLAIN, "dampened buffer", "dampening on all of the buffer", steps(dampened_buffer)),
    (PLAIN, "rate in the buffer", "momentum of eta times gradient: wrong under a schedule", steps(rate_in_the_buffer)),
    (PLAIN, "late decay", "coupled decay added after momentum", steps(decay_after_momentum)),
    (PLAIN, "decay clipped", "clipping after decay", steps(clipped_decay)),
    (PLAIN, "step clipped", "clipping after momentum", steps(clipped_step)),
    (PLAIN, "constant rate", "the schedule's first rate for all steps", steps(heavy_ball, lambda t, last: 0)),
    (PLAIN, "next rate", "the schedule off by one", steps(heavy_ball, lambda t, last: min(t + 1, last))),
    (PLAIN, "ascent", "the step added", steps(lambda W, b, g, s: heavy_ball(W, b, g, s._replace(eta=-s.eta)))),
    (PLAIN, "decoupled", "decoupled decay where coupled was asked", steps(decoupled(shrunk))),
    ("integers", "narrow buffer", "the momentum buffer kept in bfloat16", steps(narrow_buffer)),
    ("integers", "narrow weight", "no master copy of the weight: it is kept in bfloat16", steps(narrow_weight)),
    ("decoupled", "coupled", "coupled decay where decoupled was asked", steps(heavy_ball)),
    ("decoupled", "decay last", "the weight decays after the step", steps(decay_last)),
    ("decoupled", "decay without rate", "decay not times eta", steps(decoupled(lambda W, s: (1 - s.decay) * W))),
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

MUTANTS = (
    *(Mutant(f"run, {case}: {name}", "O1", "run", form, why, case) for case, name, why, form in O1_RUN),
    *(Mutant(f"coefficients, {case}: {name}", "O1", "coefficients", form, why, case)
      for case, name, why, form in O1_COEFFICIENTS),
)  # fmt: skip

HARMLESS = (
    Mutant("run: Python loop", "O1", "run", steps(heavy_ball), "another loop", PLAIN),
    Mutant("run: average of differences", "O1", "run", averaging(lambda m, W, V, r: m + (1 - r) * (V - m)),
           "the average moved towards the weight", "averaged"),
    Mutant("run: decay subtracted", "O1", "run", steps(decoupled(shrunk)),
           "W - eta lambda W for (1 - eta lambda) W", "decoupled"),
)  # fmt: skip
