"""Wrong programs for (O10), Adam and its kind. Each is a mistake that someone makes."""

import jax
import jax.numpy as jnp

from dualform import descent
from dualform.descent.closed import kept_after
from dualform.testing.mutant import Mutant

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
    """The running second moments, and the sum of their weights, for every step."""
    weights = (1 - b) * kept_after(jnp.full(len(gradients), b))
    return jnp.tensordot(weights, gradients**2, 1, precision="highest"), missing(gradients, b)


def missing(gradients, b):
    return (1 - jnp.cumprod(jnp.full(len(gradients), b)))[:, None, None]


def corrected(g, eta, b1, b2, eps):
    """The right rates."""
    v, left = moments(g, b2)
    return eta / missing(g, b1) / (jnp.sqrt(v / left) + eps)


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
    return corrected(g, eta[:1], b1, b2, eps)


def stopped_moments(g, eta, b1, b2, eps):
    return corrected(jax.lax.stop_gradient(g), eta, b1, b2, eps)


def mean_channel(W0, g, X, rates, b1, q):
    """One weight for all channels, as if Adam had attention scores."""
    C = right_C(rates, jnp.zeros(len(g)), b1, 0.0).mean(-1)
    return W0 @ q - jnp.sum(C * g * (X @ q)[:, None], axis=0)


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

MUTANTS = tuple(Mutant(f"{case}: {name}", "O10", "Hadamard", form, why, case) for case, name, why, form in HADAMARD)

HARMLESS = (
    Mutant("Adam: weighted sums", "O10", "Hadamard", adam(corrected), "moments as one matrix product", "Adam itself"),
)
