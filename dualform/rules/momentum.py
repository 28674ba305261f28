r"""Momentum: the layer moves with a velocity that the error signals of its tokens push. Heavy ball.

The inner loss is Hebbian, $-v_t \cdot S k_t$ ("linear_attn"), or squared, $\tfrac12 |S k_t - v_t|^2$ ("delta"):

$$ Z_t = \mu_t Z_{t-1} + e_t k_t^\top, \quad S_t = S_{t-1} + Z_t, \quad e_t = \beta_t v_t
   \ \text{ or }\ \beta_t (v_t - S_{t-1} k_t), \qquad o_t = \mathrm{scale} \cdot S_t q_t.                 \tag{M1} $$

A token is not done when it has been written: its velocity moves the layer again at every later token. Its weight is

$$ w_{ti} = \sum_{s=i}^{t} p_{si}, \qquad p_{si} = \mu_{i+1} \cdots \mu_s,                                 \tag{M2} $$

which grows with age, to $1 / (1 - \mu)$ for a constant $\mu < 1$: heavy ball favours the *old*, the opposite of decay,
and is no moving average of values. With $w_{t0}$ for the initial velocity (the sum of products from the first token on)

$$ o_t = \mathrm{scale} \Bigl( S_0 q_t + w_{t0} Z_0 q_t
       + \sum_{i \le t} w_{ti}\, e_i\, (k_i \cdot q_t) \Bigr).                                             \tag{M3} $$

Products are taken as products and the sum as a sum: $\mu = 0$ and $\mu = 1$ are as good as any other number, where
ratios of cumulative products are 0/0, and so is the closed form $(1 - \mu^{t-i+1}) / (1 - \mu)$. The error signals of
the squared loss are the solution of a triangular system (F4).

References: Polyak 1964, Some methods of speeding up the convergence of iteration methods; Behrouz, Zhong, Mirrokni
2025, Titans (arXiv 2501.00663), for momentum inside a sequence layer.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from dualform._numerics import dot
from dualform.rules import delta, retention, trajectory
from dualform.rules.decay import from_start, spans
from dualform.rules.forms import forms
from dualform.rules.record import BETA, HEBBIAN, MU, SQUARED, Dual, Option, Rule, StateKind, one_of

LOSSES = {"linear_attn": retention.loss, "delta": delta.loss}
"""The inner losses, by the rule that descends each without momentum."""


class State(NamedTuple):
    """The layer and its velocity."""

    S: Float[Array, "V K"]
    Z: Float[Array, "V K"]


def descend(state, k, v, beta, mu, *, rule):
    """(M1) as it is meant: heavy ball on the gradient of the inner loss."""
    Z = mu * state.Z - beta * jax.grad(LOSSES[rule])(state.S, k, v)
    return State(state.S + Z, Z)


def write(state, k, v, beta, mu, *, rule):
    """One token of (M1)."""
    e = beta * (v if rule == "linear_attn" else v - dot(state.S, k))
    Z = mu * state.Z + jnp.outer(e, k)
    return State(state.S + Z, Z)


def block(state, q, k, v, beta, mu, real, starts, resets, *, rule):
    """(M3) for a block of tokens: unscaled output [T, V] and final state."""
    E, layer, velocity = _signals(rule, state, k, v, beta, mu, real, starts, resets)
    S, Z = trajectory.last(layer, state, E, k), trajectory.last(velocity, state, E, k)
    return trajectory.read(layer, state, E, k, q), State(S, Z)


def unroll(state, q, k, v, beta, mu, real, starts, resets, *, rule) -> Dual:
    """The dual form (M3): the error signals, weighted by (M2)."""
    E, layer, _ = _signals(rule, state, k, v, beta, mu, real, starts, resets)
    return Dual(E, layer.weights[1:], k, q)


def paths(
    mu: Float[Array, " T"], real: Bool[Array, " T"], g: Float[Array, " T"] | None = None
) -> tuple[trajectory.Path, trajectory.Path]:
    """What the layer and the velocity are made of (F3), from the initial (S, Z): the sums and products of (M2).

    With log decays g the layer forgets, $S_t = e^{g_t} S_{t-1} + Z_t$, and each of its moves decays from then on.
    Tokens that are not real leave both alone: the velocity stays, but does not move the layer.
    """
    mu, moves = jnp.where(real, mu, 1), real.astype(mu.dtype)
    products, from_first = _products(mu), jnp.cumprod(mu)
    pushed = jnp.concatenate([(moves * from_first)[:, None], moves[:, None] * products], axis=1)
    if g is None:
        left, moved = jnp.ones_like(mu), jnp.cumsum(pushed, axis=0)
    else:
        left, moved = jnp.exp(from_start(g)), dot(jnp.exp(spans(g)), pushed)
    layer = trajectory.path(jnp.stack([left, moved[:, 0]], axis=1), moved[:, 1:], (1.0, 0.0))
    nothing = jnp.zeros_like(from_first)
    return layer, trajectory.path(jnp.stack([nothing, from_first], axis=1), products, (0.0, 1.0))


def _products(mu: Float[Array, " T"]) -> Float[Array, "T T"]:
    """Each span's own product of momenta (M2): p at [t, i], and 0 where i > t."""
    t, i = jnp.arange(len(mu))[:, None], jnp.arange(len(mu))[None, :]
    return jnp.where(t >= i, jnp.cumprod(jnp.where(t > i, mu[:, None], 1), axis=0), 0)


def _signals(rule, state, k, v, beta, mu, real, starts, resets):
    """The error signals of a block, and the paths of its layer and velocity."""
    layer, velocity = paths(mu, real, resets)
    if rule == "linear_attn":
        return beta[:, None] * v, layer, velocity
    return trajectory.errors(trajectory.seen(layer, starts), state, k, v, beta), layer, velocity


PAIR = StateKind(("V K", "V K"), State)
"""A layer and its velocity."""

LOSS = Option(
    "rule", '"linear_attn" for the Hebbian loss, "delta" for the squared one', "linear_attn",
    one_of("rule", (*LOSSES,)),
)  # fmt: skip

RULE = Rule(
    "momentum", write, descend, block, unroll, gates=(BETA, MU), options=(LOSS,), state=PAIR,
    marks=("real", "starts", "resets"), erases=lambda rule="linear_attn", **_: rule == "delta",
    loss=HEBBIAN + " or " + SQUARED, optimiser="SGD with heavy ball",
    recurrence=r"Z_t = \mu Z_{t-1} + e_t k^\top,\ S_t = S_{t-1} + Z_t", update="M1", label="M3",
    stability="0 <= mu < 1, and beta |k|^2 < 2 (1 + mu) for the delta error",
    paper="Polyak 1964, heavy ball", aliases=("fla momentum_delta_rule",),
    costs={"parallel": "O(T^2 (K + V)) time, with segments O(T^3), O(T^2) memory."},
    example="""
>>> q = k = v = jnp.ones((3, 1))
>>> print(recurrent(q, k, v, beta=jnp.ones(3), mu=0.5)[0].ravel())
[1.   2.5  4.25]
""",
)  # fmt: skip


descent, recurrent, parallel, chunked, step, errors = forms(RULE)
