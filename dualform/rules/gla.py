r"""Gated linear attention: every input channel of the layer forgets at its own rate, then a Hebbian step.

The inner loss is $\ell_t(S) = -v_t \cdot S k_t$; weight decay multiplies each column of the state before the step:

$$ S_t = S_{t-1}\, \mathrm{diag}(e^{g_t}) + v_t k_t^\top, \qquad o_t = \mathrm{scale} \cdot S_t q_t.       \tag{G1} $$

Unrolled, the values are the error signals, and the weight of a token is a vector, the decay since it was written, one
number per channel: scores are taken in a metric that depends on both ends.

$$ o_t = \mathrm{scale} \Bigl( S_0\, \mathrm{diag}(e^{g_1 + \dots + g_t})\, q_t
       + \sum_{i \le t} v_i \bigl(k_i \cdot \mathrm{diag}(e^{g_{i+1} + \dots + g_t})\, q_t\bigr) \Bigr)    \tag{G2} $$

The product form of the weights, $e^{b_t} \cdot e^{-b_i}$ with prefix sums $b$, would turn this into one matrix product
of rescaled queries and keys; it overflows as soon as the decay over a chunk passes 88 (float32). Here each span is
summed as that span, and no weight exceeds 1.

References: Yang et al. 2023, Gated linear attention transformers with hardware-efficient training (arXiv 2312.06635).
"""

import jax
import jax.numpy as jnp

from dualform._numerics import dot
from dualform.linear import linear_attn
from dualform.rules.decay import from_start, spans, to_end
from dualform.rules.forms import forms
from dualform.rules.record import CHANNEL_DECAY, HEBBIAN, Dual, Rule
from dualform.rules.retention import loss


def descend(S, k, v, g):
    """(G1) as it is meant: decay, then a step down the gradient."""
    A = S * jnp.exp(g)[None, :]
    return A - jax.grad(loss)(A, k, v)


def write(S, k, v, g):
    """One token of (G1)."""
    return S * jnp.exp(g)[None, :] + jnp.outer(v, k)


def block(S, q, k, v, g):
    """(G2) for a block of tokens from the state S: unscaled output [T, V] and final state."""
    o = dot(q * jnp.exp(from_start(g)), S.T) + linear_attn(v, k, q, jnp.exp(spans(g)))
    left = jnp.exp(to_end(g))
    return o, S * jnp.exp(jnp.sum(g, axis=0))[None, :] + dot(v.T, left * k)


def unroll(S, q, k, v, g) -> Dual:
    """The dual form (G2): values as they are, weights [T, T, K] the decay of each channel since each was written."""
    return Dual(v, jnp.exp(spans(g)), k, q)


PAIRS_OF_CHANNELS = {
    "parallel": "O(T^2 (K + V)) time, O(T^2 K) memory: for short sequences.",
    "chunked": "O(T (K V + chunk (K + V))) time, O(chunk^2 K) memory beside the tokens, T / chunk sequential steps; "
    "backward keeps one state per chunk. The decays take T chunk K exponentials, so that short chunks are faster.",
}
"""The costs of rules with a decay for every channel: weights of pairs take T^2 K numbers."""

RULE = Rule(
    "gla", write, descend, block, unroll, gates=(CHANNEL_DECAY,), rotates=False,
    loss=HEBBIAN, optimiser="SGD with weight decay per key channel",
    recurrence=r"S_t = S_{t-1} \mathrm{diag}(e^{g}) + v k^\top", update="G1", label="G2",
    paper="Yang et al. 2023, Gated Linear Attention (arXiv 2312.06635)", aliases=("fla gla",),
    chunk_size=16, chunk=8, costs=PAIRS_OF_CHANNELS,
    example="""
>>> q = k = jnp.ones((2, 2))
>>> g = jnp.array([[0.0, 0.0], [0.0, -jnp.inf]])
>>> print(recurrent(q, k, jnp.ones((2, 1)), g=g)[1])
[[2. 1.]]
""",
)  # fmt: skip


descent, recurrent, parallel, chunked, step, errors = forms(RULE)
