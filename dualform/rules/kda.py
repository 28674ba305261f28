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
from jaxtyping import Array, Float

from dualform._numerics import dot
from dualform.rules import base, delta
from dualform.rules.base import Dual, State, Tokens, Values
from dualform.rules.chunks import over_chunks

Steps = Float[Array, " T"]
Gates = Float[Array, "T K"]


def descent(
    q: Tokens, k: Tokens, v: Values, *, beta: Steps, g: Gates, scale=1.0, initial_state=None, segment_ids=None
) -> tuple[Values, State]:
    """(K1) as it is meant: decay, then `jax.grad` of the squared loss, one step per token."""

    def update(S, k_t, v_t, beta_t, g_t):
        A = S * jnp.exp(g_t)[None, :]
        return A - beta_t * jax.grad(delta.squared)(A, k_t, v_t)

    return _by_token(update, q, k, v, beta, g, scale, initial_state, segment_ids)


def recurrent(
    q: Tokens, k: Tokens, v: Values, *, beta: Steps, g: Gates, scale=1.0, initial_state=None, segment_ids=None
) -> tuple[Values, State]:
    """(K1) written out.

    Args:
        q, k: [T, K] queries and keys.
        v: [T, V] values.
        beta: [T] step sizes; 0 writes nothing, 1 with a key of length 1 stores the value exactly.
        g: [T, K] log decay of each channel before each token's step, at most 0; -inf forgets that channel.
        scale: multiplies the output, never the state.
        initial_state: [V, K], zero if None.
        segment_ids: int [T] of packed sequences, -1 for padding.

    Returns:
        o [T, V] in the dtype of q, and the final state [V, K], in float32 or wider.

    Raises:
        ValueError: shapes, dtypes, concrete values that are not finite, g above 0 or NaN.

    Cost: O(T K V) time, O(K V) memory, T sequential steps.

    >>> k, v = jnp.array([[1.0, 0.0], [0.0, 1.0]]), jnp.array([[4.0], [4.0]])
    >>> print(recurrent(k, k, v, beta=jnp.ones(2), g=jnp.log(jnp.array([[1.0, 1.0], [0.25, 1.0]])))[1])
    [[1. 4.]]
    """
    return _by_token(write, q, k, v, beta, g, scale, initial_state, segment_ids)


def write(S, k_t, v_t, beta_t, g_t):
    """One token of (K1)."""
    A = S * jnp.exp(g_t)[None, :]
    return A + jnp.outer(beta_t * (v_t - dot(A, k_t)), k_t)


def step(state: State, q_t, k_t, v_t, *, beta, g, scale=1.0) -> tuple[Array, State]:
    """(K1) for one token from a state: the form that serves. Returns (o_t [V], state)."""
    state = base.wide(state)
    gates = (jnp.asarray(x, state.dtype) for x in (beta, g))
    S = write(state, k_t.astype(state.dtype), v_t.astype(state.dtype), *gates)
    return (scale * dot(S, q_t.astype(S.dtype))).astype(v_t.dtype), S


def errors(q: Tokens, k: Tokens, v: Values, *, beta: Steps, g: Gates, initial_state=None, segment_ids=None) -> Dual:
    """The dual form (K2): error signals by (K3), weights [T, T, K] the decay of each channel since each was written."""
    _, S, tokens = _call(q, k, v, beta, g, initial_state, segment_ids)
    return delta.unroll(S, *tokens)


def parallel(
    q: Tokens, k: Tokens, v: Values, *, beta: Steps, g: Gates, scale=1.0, initial_state=None, segment_ids=None
) -> tuple[Values, State]:
    """(K2) over the whole sequence at once. Cost: O(T^2 (K + V)) time, O(T^2 K) memory: for short sequences."""
    call, S, tokens = _call(q, k, v, beta, g, initial_state, segment_ids)
    o, S = delta.block(S, *tokens)
    return call.finish(scale * o), S


def chunked(
    q: Tokens,
    k: Tokens,
    v: Values,
    *,
    beta: Steps,
    g: Gates,
    scale=1.0,
    initial_state=None,
    segment_ids=None,
    chunk_size: int = 16,
) -> tuple[Values, State]:
    """`parallel` inside chunks, the state carried between them.

    Cost: O(T (K V + chunk (K + V))) time, O(chunk^2 K) memory beside the tokens, T / chunk sequential steps; backward
    keeps one state per chunk. The decays take T chunk K exponentials, so that chunks of 16 are faster than of 64.
    """
    call, S, tokens = _call(q, k, v, beta, g, initial_state, segment_ids)
    o, S = over_chunks(delta.block, S, tokens, chunk_size)
    return call.finish(scale * o), S


def _call(q, k, v, beta, g, initial_state, segment_ids):
    call = base.arguments(q, k, v, {"beta": (beta, "T"), "g": (g, "T K")}, segment_ids)
    S = base.initial(initial_state, (call.v.shape[1], call.k.shape[1]), call.v.dtype)
    call = call.beside(S)
    g = base.resets(call.gates["g"], call.starts, call.k)
    return call, S, (call.q, call.k, call.v, call.gates["beta"], g)


def _by_token(update, q, k, v, beta, g, scale, initial_state, segment_ids):
    call, S, (_, *tokens) = _call(q, k, v, beta, g, initial_state, segment_ids)
    return base.over_tokens(update, lambda S, q_t: scale * dot(S, q_t), S, call, tuple(tokens))
