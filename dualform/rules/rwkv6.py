r"""RWKV-6: gated linear attention that reads before it writes, with a bonus for the newest token. Finch.

The layer forgets per channel and takes a Hebbian step, as in (G1). What the query reads is the state that the token
found, and the token itself with a weight of its own, the bonus $u$, one number per channel for all tokens:

$$ o_t = \mathrm{scale} \cdot \bigl( S_{t-1} + v_t (u \odot k_t)^\top \bigr) q_t, \qquad
   S_t = S_{t-1}\, \mathrm{diag}(e^{g_t}) + v_t k_t^\top.                                                  \tag{G3} $$

Unrolled, the values are the error signals. With $w$ of (U3), a token's weight is that of the token before, since the
newest decay comes after the read, and its own is the bonus:

$$ o_t = \mathrm{scale} \Bigl( S_0\, \mathrm{diag}(w_{t-1,0})\, q_t
       + \sum_{i < t} v_i\, (k_i \cdot \mathrm{diag}(w_{t-1,i})\, q_t)
       + v_t\, (k_t \cdot \mathrm{diag}(u)\, q_t) \Bigr).                                                  \tag{G4} $$

Trap: a hard reset, $g_t = -\infty$, acts after token t has read, so that token t still sees the past. `segment_ids`
cut before it reads.

References: Peng et al. 2024, Eagle and Finch: RWKV with matrix-valued states and dynamic recurrence (arXiv 2404.05892).
"""

import jax.numpy as jnp
import numpy as np

from dualform._numerics import dot
from dualform.linear import linear_attn
from dualform.rules import gla
from dualform.rules.decay import Decay, decays, one_earlier
from dualform.rules.forms import forms
from dualform.rules.record import CHANNEL_DECAY, HEBBIAN, Dual, Gate, Rule


def seen(before, after, k, v, g, *, u):
    """The state that the query of (G3) reads."""
    return before + jnp.outer(v, u * k)


def block(S, q, k, v, g, starts, *, u):
    """(G4) for a block of tokens from the state S: unscaled output [T, V] and final state."""
    decay, (start, weights) = _weights(k, g, starts, u)
    return dot(start * q, S.T) + linear_attn(v, k, q, weights), decay.all * S + dot(v.T, decay.end * k)


def unroll(S, q, k, v, g, starts, *, u) -> Dual:
    """The dual form (G4): values as they are, weights [T, T, K] of one token earlier, and the bonus."""
    return Dual(v, _weights(k, g, starts, u)[1][1], k, q)


def _weights(k, g, starts, u) -> tuple[Decay, tuple]:
    """The decays of a block, and the weights of (G4) for the state before it and for its tokens."""
    decay = decays(g, k)
    start, pairs = one_earlier(decay)
    if starts is not None:  # nothing before a segment is read by its first token
        start, pairs = jnp.where(starts[:, None], 0, start), jnp.where(starts[:, None, None], 0, pairs)
    return decay, (start, pairs + jnp.eye(len(k), dtype=k.dtype)[:, :, None] * u[None, None, :])


BONUS = Gate(
    "u", "K", "any", "bonus, the weight of each channel of the newest token in its own output",
    draw=lambda rng, shape, k: rng.standard_normal(shape), whole=lambda t, k: np.arange(k.shape[1]) - 1.0,
)  # fmt: skip

RULE = Rule(
    "rwkv6", gla.write, gla.descend, block, unroll, seen=seen, gates=(CHANNEL_DECAY, BONUS), marks=("starts",),
    rotates=False, loss=HEBBIAN, optimiser="SGD with weight decay per key channel, read before the step",
    recurrence=r"o_t = (S_{t-1} + v (u \odot k)^\top) q,\ S_t = S_{t-1} \mathrm{diag}(e^{g}) + v k^\top",
    update="G3", label="G4", paper="Peng et al. 2024, Eagle and Finch (arXiv 2404.05892)",
    aliases=("fla rwkv6", "jax-linear-attention rwkv6"), chunk_size=16, chunk=8, costs=gla.PAIRS_OF_CHANNELS,
    example="""
>>> q = k = jnp.ones((3, 1))
>>> v = jnp.array([[1.0], [2.0], [4.0]])
>>> print(recurrent(q, k, v, g=jnp.zeros((3, 1)), u=jnp.array([0.5]))[0].ravel())
[0.5 2.  5. ]
""",
)  # fmt: skip

descent, recurrent, parallel, chunked, step, errors = forms(RULE)
