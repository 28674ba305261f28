r"""Linear attention: a linear layer that takes one Hebbian step per token and never forgets.

The inner loss $\ell_t(S) = -v_t \cdot S k_t$ rewards an output along the value. Its gradient is $-v_t k_t^\top$
wherever the state is, so the step, with learning rate 1, is

$$ S_t = S_{t-1} + v_t k_t^\top, \qquad o_t = \mathrm{scale} \cdot S_t q_t.                               \tag{A1} $$

This is the linear layer of (L1) with the values as error signals: unrolled, attention without softmax.

$$ o_t = \mathrm{scale} \Bigl( S_0 q_t + \sum_{i \le t} v_i\, (k_i \cdot q_t) \Bigr)                      \tag{A2} $$

The error signals depend on nothing but their own token. That is why this rule needs no solve, and also why it cannot
correct itself: a key that is written twice is read twice.

Packed sequences are scalar decay (E1) with log decays of 0 and minus infinity, and use its block.

References: Katharopoulos et al. 2020, Transformers are RNNs (arXiv 2006.16236); Schlag, Irie, Schmidhuber 2021, Linear
transformers are secretly fast weight programmers (arXiv 2102.11174).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from dualform._numerics import dot
from dualform.linear import linear_attn
from dualform.rules import base, retention
from dualform.rules.base import Dual, State, Tokens, Values
from dualform.rules.chunks import over_chunks


def descent(
    q: Tokens, k: Tokens, v: Values, *, scale=1.0, initial_state=None, segment_ids=None
) -> tuple[Values, State]:
    """(A1) as it is meant: one step down `jax.grad` of the Hebbian loss per token."""

    def loss(S, k_t, v_t):
        return -dot(v_t, dot(S, k_t))

    def update(S, k_t, v_t):
        return S - jax.grad(loss)(S, k_t, v_t)

    return _by_token(update, q, k, v, scale, initial_state, segment_ids)


def recurrent(
    q: Tokens, k: Tokens, v: Values, *, scale=1.0, initial_state=None, segment_ids=None
) -> tuple[Values, State]:
    """(A1) written out.

    Args:
        q, k: [T, K] queries and keys.
        v: [T, V] values.
        scale: multiplies the output, never the state.
        initial_state: [V, K], zero if None.
        segment_ids: int [T] of packed sequences, -1 for padding.

    Returns:
        o [T, V] in the dtype of q, and the final state [V, K], in float32 or wider.

    Raises:
        ValueError: shapes, dtypes, concrete values that are not finite.

    Cost: O(T K V) time, O(K V) memory, T sequential steps.

    >>> q = k = jnp.ones((3, 1))
    >>> print(recurrent(q, k, jnp.array([[1.0], [2.0], [3.0]]))[0].ravel())
    [1. 3. 6.]
    """
    return _by_token(write, q, k, v, scale, initial_state, segment_ids)


def write(S, k_t, v_t):
    """One token of (A1)."""
    return S + jnp.outer(v_t, k_t)


def step(state: State, q_t, k_t, v_t, *, scale=1.0) -> tuple[Array, State]:
    """(A1) for one token from a state: the form that serves. Returns (o_t [V], state)."""
    state = base.wide(state)
    S = write(state, k_t.astype(state.dtype), v_t.astype(state.dtype))
    return (scale * dot(S, q_t.astype(S.dtype))).astype(v_t.dtype), S


def errors(q: Tokens, k: Tokens, v: Values, *, initial_state=None, segment_ids=None) -> Dual:
    """The dual form (A2): the values are the error signals, and each counts fully from its own token on."""
    call, g = _call(q, k, v, segment_ids)
    return Dual(call.v, _weights(call.k, g), call.k, call.q)


def parallel(
    q: Tokens, k: Tokens, v: Values, *, scale=1.0, initial_state=None, segment_ids=None
) -> tuple[Values, State]:
    """(A2) over the whole sequence at once. Cost: O(T^2 (K + V)) time, O(T^2) memory."""
    call, g = _call(q, k, v, segment_ids)
    S = base.initial(initial_state, (v.shape[1], k.shape[1]), call.v.dtype)
    o, S = block(S, call.q, call.k, call.v, g)
    return call.finish(scale * o), S


def chunked(
    q: Tokens, k: Tokens, v: Values, *, scale=1.0, initial_state=None, segment_ids=None, chunk_size: int = 64
) -> tuple[Values, State]:
    """`parallel` inside chunks, the state carried between them.

    Cost: O(T (K V + chunk (K + V))) time, T / chunk sequential steps; backward keeps one state per chunk.
    """
    call, g = _call(q, k, v, segment_ids)
    S = base.initial(initial_state, (v.shape[1], k.shape[1]), call.v.dtype)
    o, S = over_chunks(block, S, (call.q, call.k, call.v, g), chunk_size)
    return call.finish(scale * o), S


def block(S, q, k, v, g=None):
    """(A2) for a block of tokens from the state S: unscaled output [T, V] and final state; g marks resets, if any."""
    if g is not None:
        return retention.block(S, q, k, v, g)
    return dot(q, S.T) + linear_attn(v, k, q, _weights(k, None)), S + dot(v.T, k)


def _weights(k, g):
    """1 for tokens up to the query's own, 0 after it and across a reset."""
    return base.causal(jnp.ones((len(k), len(k)), k.dtype)) if g is None else jnp.exp(base.spans(g))


def _call(q, k, v, segment_ids):
    call = base.arguments(q, k, v, {}, segment_ids)
    return call, base.resets(None, call.starts, call.k)


def _by_token(update, q, k, v, scale, initial_state, segment_ids):
    call, _ = _call(q, k, v, segment_ids)
    S = base.initial(initial_state, (v.shape[1], k.shape[1]), call.v.dtype)
    return base.over_tokens(update, lambda S, q_t: scale * dot(S, q_t), S, call, (call.k, call.v))
