r"""The delta rule: the layer takes one step of SGD per token on its own reading error. DeltaNet.

The inner loss is $\ell_t(S) = \tfrac12 |S k_t - v_t|^2$, how far what the layer returns for the key is from the value:

$$ S_t = S_{t-1} - \beta_t \nabla \ell_t(S_{t-1}) = S_{t-1} + \beta_t (v_t - S_{t-1} k_t) k_t^\top,
   \qquad o_t = \mathrm{scale} \cdot S_t q_t.                                                              \tag{D1} $$

What each step writes is an outer product of the error signal $e_t = \beta_t (v_t - S_{t-1} k_t)$ and the key. Unrolled,
the output is linear attention whose values are the error signals:

$$ o_t = \mathrm{scale} \Bigl( S_0 q_t + \sum_{i \le t} e_i\, (k_i \cdot q_t) \Bigr).                      \tag{D2} $$

An error signal depends on those before it, $e_t = \beta_t (v_t - S_0 k_t - \sum_{i<t} e_i\, (k_i \cdot k_t))$, which is
a unit-triangular system (U1), with $K$ and $V$ the keys and values as rows:

$$ (I + L)\, E = \mathrm{diag}(\beta)\, (V - K S_0^\top),
   \qquad L = \mathrm{tril}(\mathrm{diag}(\beta)\, K K^\top, -1).                                          \tag{D3} $$

Along $k_t$ a step multiplies the state by $1 - \beta_t |k_t|^2$: it is stable for $0 \le \beta_t |k_t|^2 \le 2$ and
grows without bound beyond. Trap: some libraries scale q by $K^{-1/2}$ unasked; here `scale` is 1.

References: Schlag, Irie, Schmidhuber 2021, Linear transformers are secretly fast weight programmers (arXiv 2102.11174),
eq. 24; Yang et al. 2024, Parallelizing linear transformers with the delta rule (arXiv 2406.06484).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dualform._numerics import dot
from dualform.rules import base
from dualform.rules.base import Dual, State, Tokens, Values
from dualform.rules.chunks import over_chunks
from dualform.rules.decay import decays, scores
from dualform.rules.triangular import solve_unit_lower

Steps = Float[Array, " T"]


def descent(
    q: Tokens, k: Tokens, v: Values, *, beta: Steps, scale=1.0, initial_state=None, segment_ids=None
) -> tuple[Values, State]:
    """(D1) as it is meant: `jax.grad` of the squared loss, one step per token."""

    def update(S, k_t, v_t, beta_t):
        return S - beta_t * jax.grad(squared)(S, k_t, v_t)

    return _by_token(update, q, k, v, beta, scale, initial_state, segment_ids)


def squared(S, k_t, v_t):
    """The inner loss of (D1), and of the rules with decay."""
    return 0.5 * jnp.sum((dot(S, k_t) - v_t) ** 2)


def recurrent(
    q: Tokens, k: Tokens, v: Values, *, beta: Steps, scale=1.0, initial_state=None, segment_ids=None
) -> tuple[Values, State]:
    """(D1) written out.

    Args:
        q, k: [T, K] queries and keys.
        v: [T, V] values.
        beta: [T] step sizes; 0 leaves the state alone, 1 with a key of length 1 stores the value exactly.
        scale: multiplies the output, never the state.
        initial_state: [V, K], zero if None.
        segment_ids: int [T] of packed sequences, -1 for padding.

    Returns:
        o [T, V] in the dtype of q, and the final state [V, K], in float32 or wider.

    Raises:
        ValueError: shapes, dtypes, concrete values that are not finite.

    Cost: O(T K V) time, O(K V) memory, T sequential steps.

    >>> k, v = jnp.array([[1.0, 0.0], [1.0, 0.0]]), jnp.array([[2.0], [5.0]])
    >>> print(recurrent(k, k, v, beta=jnp.array([1.0, 0.5]))[0].ravel())
    [2.  3.5]
    """
    return _by_token(write, q, k, v, beta, scale, initial_state, segment_ids)


def write(S, k_t, v_t, beta_t):
    """One token of (D1)."""
    return S + jnp.outer(beta_t * (v_t - dot(S, k_t)), k_t)


def step(state: State, q_t, k_t, v_t, *, beta, scale=1.0) -> tuple[Array, State]:
    """(D1) for one token from a state: the form that serves. Returns (o_t [V], state)."""
    state = base.wide(state)
    S = write(state, k_t.astype(state.dtype), v_t.astype(state.dtype), jnp.asarray(beta, state.dtype))
    return (scale * dot(S, q_t.astype(S.dtype))).astype(v_t.dtype), S


def errors(q: Tokens, k: Tokens, v: Values, *, beta: Steps, initial_state=None, segment_ids=None) -> Dual:
    """The dual form (D2): error signals by (D3), each of weight 1 from its own token on, within its segment."""
    call, S, g = _call(q, k, v, beta, initial_state, segment_ids)
    return unroll(S, call.q, call.k, call.v, call.gates["beta"], g)


def parallel(
    q: Tokens, k: Tokens, v: Values, *, beta: Steps, scale=1.0, initial_state=None, segment_ids=None
) -> tuple[Values, State]:
    """(D2) over the whole sequence at once. Cost: O(T^2 (K + V)) time, O(T^2) memory."""
    call, S, g = _call(q, k, v, beta, initial_state, segment_ids)
    o, S = block(S, call.q, call.k, call.v, call.gates["beta"], g)
    return call.finish(scale * o), S


def chunked(
    q: Tokens,
    k: Tokens,
    v: Values,
    *,
    beta: Steps,
    scale=1.0,
    initial_state=None,
    segment_ids=None,
    chunk_size: int = 64,
) -> tuple[Values, State]:
    """`parallel` inside chunks, the state carried between them.

    Cost: O(T (K V + chunk (K + V))) time, T / chunk sequential steps; backward keeps one state per chunk.
    """
    call, S, g = _call(q, k, v, beta, initial_state, segment_ids)
    tokens = (call.q, call.k, call.v, call.gates["beta"], g)
    o, S = over_chunks(block, S, tokens, chunk_size)
    return call.finish(scale * o), S


def block(S, q, k, v, beta, g=None):
    """(D2) for a block of tokens from the state S: unscaled output [T, V] and final state.

    With log decays g it is (B2), one for the whole state [T], or (K2), one per key channel [T, K].
    """
    decay = decays(g, k)
    E = signals(S, k, v, beta, decay)
    o = dot(decay.start * q, S.T) + dot(scores(q, k, decay.pairs), E)
    return o, decay.all * S + dot(E.T, decay.end * k)


def unroll(S, q, k, v, beta, g=None) -> Dual:
    """The dual form (D2), (B2) or (K2) of a block of tokens from the state S."""
    decay = decays(g, k)
    return Dual(signals(S, k, v, beta, decay), decay.pairs, k, q)


def signals(S, k, v, beta, decay):
    """The error signals of a block: the system (D3), (B3), (K3). Only the past of a score enters the solve."""
    L = beta[:, None] * scores(k, k, decay.pairs)
    return solve_unit_lower(L, beta[:, None] * (v - dot(decay.start * k, S.T)))


def _call(q, k, v, beta, initial_state, segment_ids):
    call = base.arguments(q, k, v, {"beta": (beta, "T")}, segment_ids)
    S = base.initial(initial_state, (call.v.shape[1], call.k.shape[1]), call.v.dtype)
    call = call.beside(S)
    return call, S, base.resets(None, call.starts, call.k)


def _by_token(update, q, k, v, beta, scale, initial_state, segment_ids):
    call, S, _ = _call(q, k, v, beta, initial_state, segment_ids)
    tokens = (call.k, call.v, call.gates["beta"])
    return base.over_tokens(update, lambda S, q_t: scale * dot(S, q_t), S, call, tokens)
