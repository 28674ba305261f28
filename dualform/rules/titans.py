r"""Titans with a linear memory: minibatches of `ttt`, momentum, and decay of the layer.

The inner loss is $\tfrac12 |S k_t - v_t|^2$, its gradient taken at the state that the token's minibatch began with, the
moment $r(t)$; decay multiplies the layer, not the velocity:

$$ Z_t = \mu_t Z_{t-1} + e_t k_t^\top, \quad S_t = e^{g_t} S_{t-1} + Z_t, \quad
   e_t = \beta_t (v_t - S_{r(t)} k_t), \qquad o_t = \mathrm{scale} \cdot S_t q_t.                         \tag{J1} $$

Each time that the velocity of a token moves the layer, that move begins to decay; a token's weight is the sum over its
moves, with products $p_{si}$ of momenta (M2):

$$ w_{ti} = \sum_{s=i}^{t} e^{g_{s+1} + \dots + g_t}\, p_{si}, \qquad
   o_t = \mathrm{scale} \Bigl( e^{g_1 + \dots + g_t} S_0 q_t + w_{t0} Z_0 q_t
       + \sum_{i \le t} w_{ti}\, e_i\, (k_i \cdot q_t) \Bigr).                                             \tag{J2} $$

The error signals of a block are one triangular system (F4). Both factors of $w$ are built as products and sums of
spans, never as ratios: momentum 0 and decay $-\infty$ are legal. A reset by $g_t = -\infty$ forgets what the layer was,
after the gradient of token t was taken and before its move; the velocity goes on.

The paper writes decay as $1 - \alpha_t = e^{g_t}$, its loss without the factor 1/2 (so its step sizes are half of
these), and in the formulas for chunks divides by cumulative products. Its deep memory, an MLP, is linear attention
layer by layer only, and is not here. torch's coupled weight decay is another rule: it enters the velocity.

References: Behrouz, Zhong, Mirrokni 2025, Titans: learning to memorize at test time (arXiv 2501.00663), section 3.
"""

import jax
import jax.numpy as jnp

from dualform._numerics import dot
from dualform.rules import delta, momentum, trajectory
from dualform.rules.forms import forms
from dualform.rules.minibatch import MINIBATCH, first
from dualform.rules.momentum import PAIR, State
from dualform.rules.record import BETA, DECAY, MU, SQUARED, Dual, Rule


def descend(state, start, k, v, beta, mu, g):
    """(J1) as it is meant: heavy ball on the gradient at the minibatch's start, and weight decay."""
    Z = mu * state.Z - beta * jax.grad(delta.loss)(start, k, v)
    return State(jnp.exp(g) * state.S + Z, Z)


def write(state, start, k, v, beta, mu, g):
    """One token of (J1)."""
    Z = mu * state.Z + jnp.outer(beta * (v - dot(start, k)), k)
    return State(jnp.exp(g) * state.S + Z, Z)


def block(states, q, k, v, beta, mu, g, real, starts, begins):
    """(J2) for a block of tokens: unscaled output [T, V], and the state and the layer at the minibatch's start."""
    state = states[0]
    E, rows, layer, velocity = _signals(states, k, v, beta, mu, g, real, starts, begins)
    S, Z = (trajectory.last(path, state, E, k) for path in (layer, velocity))
    start = trajectory.last(rows, (*state, states[1]), E, k)
    return trajectory.read(layer, state, E, k, q), (State(S, Z), start)


def unroll(states, q, k, v, beta, mu, g, real, starts, begins) -> Dual:
    """The dual form (J2): the error signals (F4), weighted by decayed sums of momenta."""
    E, _, layer, _ = _signals(states, k, v, beta, mu, g, real, starts, begins)
    return Dual(E, layer.weights[1:], k, q)


def _signals(states, k, v, beta, mu, g, real, starts, begins):
    """The error signals of a block, the moments that they saw, and the paths of its layer and velocity."""
    layer, velocity = momentum.paths(mu, real, g)
    rows = trajectory.seen(layer, starts, first(begins))
    return trajectory.errors(rows, (*states[0], states[1]), k, v, beta), rows, layer, velocity


RULE = Rule(
    "titans", write, descend, block, unroll, gates=(BETA, MU, DECAY), options=(MINIBATCH,), state=PAIR,
    marks=("real", "starts", "begins"), erases=True,
    loss=SQUARED, optimiser="minibatch heavy ball with weight decay",
    recurrence=r"Z_t = \mu Z_{t-1} + \beta (v - S_{start} k) k^\top,\ S_t = e^{g} S_{t-1} + Z_t",
    update="J1", label="J2", stability="ttt and momentum are",
    paper="Behrouz, Zhong, Mirrokni 2025, Titans (arXiv 2501.00663), linear memory", aliases=("fla titans_linear",),
    costs={
        "parallel": "O(T^3) time for the weights, O(T^2) memory: for short sequences.",
        "chunked": "O(T (K V + chunk (K + V + chunk))) time, T / chunk sequential steps; backward keeps three matrices "
        "per chunk.",
    },
    example="""
>>> q = k = v = jnp.ones((3, 1))
>>> half = jnp.full(3, 0.5)
>>> print(recurrent(q, k, v, beta=half, mu=half, g=jnp.zeros(3), minibatch=3)[0].ravel())
[0.5   1.25  2.125]
""",
)  # fmt: skip


descent, recurrent, parallel, chunked, step, errors = forms(RULE)
