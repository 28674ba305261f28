r"""Kimi delta attention: every input channel of the layer forgets at its own rate, then a step of SGD. KDA.

The gated delta rule with a decay per key channel; the error is that of the state which has decayed already:

$$ A_t = S_{t-1}\, \mathrm{diag}(e^{g_t}), \qquad S_t = A_t + \beta_t (v_t - A_t k_t) k_t^\top,
   \qquad o_t = \mathrm{scale} \cdot S_t q_t.                                                              \tag{K1} $$

Unrolled, the weight of an error signal $e_t = \beta_t (v_t - A_t k_t)$ is a vector, one decay per channel, as in (G2):

$$ o_t = \mathrm{scale} \Bigl( S_0\, \mathrm{diag}(w_{t0})\, q_t
       + \sum_{i \le t} e_i\, (k_i \cdot \mathrm{diag}(w_{ti})\, q_t) \Bigr),                             \tag{K2} $$

with $w$ of (U3), and the error signals solve the unit-triangular system (U1)

$$ (I + L)\, E = \mathrm{diag}(\beta)\, (V - (w_{\cdot 0} \odot K) S_0^\top),
   \qquad L_{ti} = \beta_t\, (k_t \cdot \mathrm{diag}(w_{ti})\, k_i), \quad i < t.                         \tag{K3} $$

With one decay for all channels this is the gated delta rule (B1). Weights are formed for every pair of tokens and every
channel, which is exact at every decay and takes T^2 K numbers: short chunks keep that small, and the default is 16.

References: Kimi Team 2025, Kimi Linear: an expressive, efficient attention architecture (arXiv 2510.26692).
"""

import jax
import jax.numpy as jnp

from dualform.rules import delta
from dualform.rules.forms import forms
from dualform.rules.gla import PAIRS_OF_CHANNELS
from dualform.rules.record import BETA, CHANNEL_DECAY, SQUARED, Rule


def descend(S, k, v, beta, g):
    """(K1) as it is meant: decay, then a step down the gradient."""
    A = S * jnp.exp(g)[None, :]
    return A - beta * jax.grad(delta.loss)(A, k, v)


def write(S, k, v, beta, g):
    """One token of (K1)."""
    return delta.write(S * jnp.exp(g)[None, :], k, v, beta)


RULE = Rule(
    "kda", write, descend, delta.block, delta.unroll, gates=(BETA, CHANNEL_DECAY), rotates=False, erases=True,
    loss=SQUARED, optimiser="SGD after weight decay per key channel",
    recurrence=r"A = S_{t-1} \mathrm{diag}(e^{g}),\ S_t = A + \beta (v - A k) k^\top", update="K1", label="K2",
    stability="0 <= beta |k|^2 <= 2", paper="Kimi Team 2025, Kimi Linear (arXiv 2510.26692)", aliases=("fla kda",),
    chunk_size=16, chunk=8, costs=PAIRS_OF_CHANNELS,
    example="""
>>> k, v = jnp.array([[1.0, 0.0], [0.0, 1.0]]), jnp.array([[4.0], [4.0]])
>>> print(recurrent(k, k, v, beta=jnp.ones(2), g=jnp.log(jnp.array([[1.0, 1.0], [0.25, 1.0]])))[1])
[[1. 4.]]
""",
)  # fmt: skip


descent, recurrent, parallel, chunked, step, errors = forms(RULE)
