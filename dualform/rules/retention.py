r"""Scalar decay: the layer forgets at every token, then takes a Hebbian step. RetNet, Mamba-2 (SSD), simple GLA.

The inner loss is $\ell_t(S) = -v_t \cdot S k_t$, whose gradient is $-v_t k_t^\top$, and weight decay multiplies the
state before the step:

$$ S_t = e^{g_t} S_{t-1} + v_t k_t^\top, \qquad o_t = \mathrm{scale} \cdot S_t q_t.                        \tag{E1} $$

Unrolled, the values are the error signals themselves, and a token's weight is the decay since it was written:

$$ o_t = \mathrm{scale} \Bigl( e^{g_1 + \dots + g_t} S_0 q_t
       + \sum_{i \le t} e^{g_{i+1} + \dots + g_t}\, v_i\, (k_i \cdot q_t) \Bigr).                          \tag{E2} $$

Every sum of log decays is summed as it stands, so a reset ($g = -\infty$) is exact and spans between resets keep their
digits. RetNet has $g$ constant per head, Mamba-2 $g_t = -\Delta_t A$ with $v_t$ scaled by $\Delta_t$.

References: Sun et al. 2023, Retentive Network (arXiv 2307.08621); Dao, Gu 2024, Transformers are SSMs (arXiv
2405.21060).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dualform._numerics import dot
from dualform.linear import linear_attn
from dualform.rules import base
from dualform.rules.base import Dual, State, Tokens, Values
from dualform.rules.chunks import over_chunks

Gates = Float[Array, " T"]


def descent(
    q: Tokens, k: Tokens, v: Values, *, g: Gates, scale=1.0, initial_state=None, segment_ids=None
) -> tuple[Values, State]:
    """(E1) as it is meant: decay, then `jax.grad` of the Hebbian loss, one step per token."""

    def loss(S, k_t, v_t):
        return -jnp.dot(v_t, dot(S, k_t))

    def update(S, k_t, v_t, g_t):
        S = jnp.exp(g_t) * S
        return S - jax.grad(loss)(S, k_t, v_t)

    return _by_token(update, q, k, v, g, scale, initial_state, segment_ids)


def recurrent(
    q: Tokens, k: Tokens, v: Values, *, g: Gates, scale=1.0, initial_state=None, segment_ids=None
) -> tuple[Values, State]:
    """(E1) written out.

    Args:
        q, k: [T, K] queries and keys.
        v: [T, V] values.
        g: [T] log decay before each token's write, at most 0; -inf forgets everything.
        scale: multiplies the output, never the state.
        initial_state: [V, K], zero if None.
        segment_ids: int [T] of packed sequences, -1 for padding.

    Returns:
        o [T, V] in the dtype of q, and the final state [V, K], in float32 or wider.

    Raises:
        ValueError: shapes, dtypes, concrete values that are not finite, g above 0 or NaN.

    Cost: O(T K V) time, O(K V) memory, T sequential steps.

    >>> q = k = v = jnp.ones((2, 1))
    >>> print(recurrent(q, k, v, g=jnp.log(jnp.array([1.0, 0.5])))[0].ravel())
    [1.  1.5]
    """
    return _by_token(write, q, k, v, g, scale, initial_state, segment_ids)


def write(S, k_t, v_t, g_t):
    """One token of (E1)."""
    return jnp.exp(g_t) * S + jnp.outer(v_t, k_t)


def step(state: State, q_t, k_t, v_t, *, g, scale=1.0) -> tuple[Array, State]:
    """(E1) for one token from a state: the form that serves. Returns (o_t [V], state)."""
    state = base.wide(state)
    S = write(state, k_t.astype(state.dtype), v_t.astype(state.dtype), jnp.asarray(g, state.dtype))
    return (scale * dot(S, q_t.astype(S.dtype))).astype(v_t.dtype), S


def errors(q: Tokens, k: Tokens, v: Values, *, g: Gates, initial_state=None, segment_ids=None) -> Dual:
    """The dual form (E2): values as they are, weights the decay since each was written."""
    call, g = _call(q, k, v, g, segment_ids)
    return Dual(call.v, jnp.exp(base.spans(g)), call.k, call.q)


def parallel(
    q: Tokens, k: Tokens, v: Values, *, g: Gates, scale=1.0, initial_state=None, segment_ids=None
) -> tuple[Values, State]:
    """(E2) over the whole sequence at once. Cost: O(T^2 (K + V)) time, O(T^2) memory."""
    call, g = _call(q, k, v, g, segment_ids)
    S = base.initial(initial_state, (v.shape[1], k.shape[1]), call.v.dtype)
    o, S = block(S, call.q, call.k, call.v, g)
    return call.finish(scale * o), S


def chunked(
    q: Tokens, k: Tokens, v: Values, *, g: Gates, scale=1.0, initial_state=None, segment_ids=None, chunk_size: int = 64
) -> tuple[Values, State]:
    """`parallel` inside chunks, the state carried between them.

    Cost: O(T (K V + chunk (K + V))) time, T / chunk sequential steps; backward keeps one state per chunk.
    """
    call, g = _call(q, k, v, g, segment_ids)
    S = base.initial(initial_state, (v.shape[1], k.shape[1]), call.v.dtype)
    o, S = over_chunks(block, S, (call.q, call.k, call.v, g), chunk_size)
    return call.finish(scale * o), S


def block(S, q, k, v, g):
    """(E2) for a block of tokens from the state S: unscaled output [T, V] and final state."""
    o = jnp.exp(base.from_start(g))[:, None] * dot(q, S.T) + linear_attn(v, k, q, jnp.exp(base.spans(g)))
    left = jnp.exp(base.to_end(g))[:, None]
    return o, jnp.exp(jnp.sum(g)) * S + dot((left * v).T, k)


def _call(q, k, v, g, segment_ids):
    call = base.arguments(q, k, v, {"g": (g, "T")}, segment_ids)
    return call, base.resets(call.gates["g"], call.starts, call.k)


def _by_token(update, q, k, v, g, scale, initial_state, segment_ids):
    call, g = _call(q, k, v, g, segment_ids)
    S = base.initial(initial_state, (v.shape[1], k.shape[1]), call.v.dtype)

    def token(S, x):
        q_t, k_t, v_t, g_t = x
        S = update(S, k_t, v_t, g_t)
        return S, scale * dot(S, q_t)

    S, o = jax.lax.scan(token, S, (call.q, call.k, call.v, g))
    return call.finish(o), S
