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
from jaxtyping import Array, Float

from dualform._numerics import dot
from dualform.linear import linear_attn
from dualform.rules import base
from dualform.rules.base import Dual, State, Tokens, Values
from dualform.rules.chunks import over_chunks

Gates = Float[Array, "T K"]


def descent(
    q: Tokens, k: Tokens, v: Values, *, g: Gates, scale=1.0, initial_state=None, segment_ids=None
) -> tuple[Values, State]:
    """(G1) as it is meant: decay, then `jax.grad` of the Hebbian loss, one step per token."""

    def loss(S, k_t, v_t):
        return -dot(v_t, dot(S, k_t))

    def update(S, k_t, v_t, g_t):
        S = S * jnp.exp(g_t)[None, :]
        return S - jax.grad(loss)(S, k_t, v_t)

    return _by_token(update, q, k, v, g, scale, initial_state, segment_ids)


def recurrent(
    q: Tokens, k: Tokens, v: Values, *, g: Gates, scale=1.0, initial_state=None, segment_ids=None
) -> tuple[Values, State]:
    """(G1) written out.

    Args:
        q, k: [T, K] queries and keys.
        v: [T, V] values.
        g: [T, K] log decay of each channel before each token's write, at most 0; -inf forgets that channel.
        scale: multiplies the output, never the state.
        initial_state: [V, K], zero if None.
        segment_ids: int [T] of packed sequences, -1 for padding.

    Returns:
        o [T, V] in the dtype of q, and the final state [V, K], in float32 or wider.

    Raises:
        ValueError: shapes, dtypes, concrete values that are not finite, g above 0 or NaN.

    Cost: O(T K V) time, O(K V) memory, T sequential steps.

    >>> q = k = jnp.ones((2, 2))
    >>> g = jnp.array([[0.0, 0.0], [0.0, -jnp.inf]])
    >>> print(recurrent(q, k, jnp.ones((2, 1)), g=g)[1])
    [[2. 1.]]
    """
    return _by_token(write, q, k, v, g, scale, initial_state, segment_ids)


def write(S, k_t, v_t, g_t):
    """One token of (G1)."""
    return S * jnp.exp(g_t)[None, :] + jnp.outer(v_t, k_t)


def step(state: State, q_t, k_t, v_t, *, g, scale=1.0) -> tuple[Array, State]:
    """(G1) for one token from a state: the form that serves. Returns (o_t [V], state)."""
    state = base.wide(state)
    S = write(state, k_t.astype(state.dtype), v_t.astype(state.dtype), jnp.asarray(g, state.dtype))
    return (scale * dot(S, q_t.astype(S.dtype))).astype(v_t.dtype), S


def errors(q: Tokens, k: Tokens, v: Values, *, g: Gates, initial_state=None, segment_ids=None) -> Dual:
    """The dual form (G2): values as they are, weights [T, T, K] the decay of each channel since each was written."""
    call, g = _call(q, k, v, g, segment_ids)
    return Dual(call.v, jnp.exp(base.spans(g)), call.k, call.q)


def parallel(
    q: Tokens, k: Tokens, v: Values, *, g: Gates, scale=1.0, initial_state=None, segment_ids=None
) -> tuple[Values, State]:
    """(G2) over the whole sequence at once. Cost: O(T^2 (K + V)) time, O(T^2 K) memory: for short sequences."""
    call, g = _call(q, k, v, g, segment_ids)
    S = base.initial(initial_state, (v.shape[1], k.shape[1]), call.v.dtype)
    o, S = block(S, call.q, call.k, call.v, g)
    return call.finish(scale * o), S


def chunked(
    q: Tokens, k: Tokens, v: Values, *, g: Gates, scale=1.0, initial_state=None, segment_ids=None, chunk_size: int = 16
) -> tuple[Values, State]:
    """`parallel` inside chunks, the state carried between them.

    Cost: O(T (K V + chunk (K + V))) time, O(chunk^2 K) memory beside the tokens, T / chunk sequential steps; backward
    keeps one state per chunk.
    """
    call, g = _call(q, k, v, g, segment_ids)
    S = base.initial(initial_state, (v.shape[1], k.shape[1]), call.v.dtype)
    o, S = over_chunks(block, S, (call.q, call.k, call.v, g), chunk_size)
    return call.finish(scale * o), S


def block(S, q, k, v, g):
    """(G2) for a block of tokens from the state S: unscaled output [T, V] and final state."""
    o = dot(q * jnp.exp(base.from_start(g)), S.T) + linear_attn(v, k, q, jnp.exp(base.spans(g)))
    left = jnp.exp(base.to_end(g))
    return o, S * jnp.exp(jnp.sum(g, axis=0))[None, :] + dot(v.T, left * k)


def _call(q, k, v, g, segment_ids):
    call = base.arguments(q, k, v, {"g": (g, "T K")}, segment_ids)
    return call, base.resets(call.gates["g"], call.starts, call.k)


def _by_token(update, q, k, v, g, scale, initial_state, segment_ids):
    call, g = _call(q, k, v, g, segment_ids)
    S = base.initial(initial_state, (v.shape[1], k.shape[1]), call.v.dtype)
    return base.over_tokens(update, lambda S, q_t: scale * dot(S, q_t), S, call, (call.k, call.v, g))
