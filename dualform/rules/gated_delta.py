r"""The gated delta rule: the layer forgets, then takes one step of SGD on its reading error. Gated DeltaNet.

Weight decay multiplies the state before the gradient of $\ell_t(S) = \tfrac12 |S k_t - v_t|^2$ is taken, so the error
is that of the state which has decayed already:

$$ A_t = e^{g_t} S_{t-1}, \qquad S_t = A_t + \beta_t (v_t - A_t k_t) k_t^\top,
   \qquad o_t = \mathrm{scale} \cdot S_t q_t.                                                              \tag{B1} $$

Unrolled, an error signal $e_t = \beta_t (v_t - A_t k_t)$ counts with the decay since it was written, as a value does in
(E2):

$$ o_t = \mathrm{scale} \Bigl( e^{g_1 + \dots + g_t} S_0 q_t
       + \sum_{i \le t} e^{g_{i+1} + \dots + g_t}\, e_i\, (k_i \cdot q_t) \Bigr).                          \tag{B2} $$

The decays enter the unit-triangular system (U1) of the error signals too, in both of its sides. With $w_{ti}$ and
$w_{t0}$ of (U3):

$$ (I + L)\, E = \mathrm{diag}(\beta)\, (V - \mathrm{diag}(w_{\cdot 0}) K S_0^\top),
   \qquad L_{ti} = \beta_t\, w_{ti}\, (k_t \cdot k_i), \quad i < t.                                         \tag{B3} $$

Traps: a causal mask without the decays in $L$ is a widespread error, as is taking the error before the decay. At
$g = 0$ this is the delta rule (D1). A reset, $g_t = -\infty$, starts anew: nothing before it is left.

References: Yang, Kautz, Hatamizadeh 2024, Gated Delta Networks (arXiv 2412.06464), eq. 10.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dualform._numerics import dot
from dualform.rules import base, delta
from dualform.rules.base import Dual, State, Tokens, Values
from dualform.rules.chunks import over_chunks

Steps = Float[Array, " T"]
Gates = Float[Array, " T"]


def descent(
    q: Tokens, k: Tokens, v: Values, *, beta: Steps, g: Gates, scale=1.0, initial_state=None, segment_ids=None
) -> tuple[Values, State]:
    """(B1) as it is meant: decay, then `jax.grad` of the squared loss, one step per token."""

    def update(S, k_t, v_t, beta_t, g_t):
        A = jnp.exp(g_t) * S
        return A - beta_t * jax.grad(delta.squared)(A, k_t, v_t)

    return _by_token(update, q, k, v, beta, g, scale, initial_state, segment_ids)


def recurrent(
    q: Tokens, k: Tokens, v: Values, *, beta: Steps, g: Gates, scale=1.0, initial_state=None, segment_ids=None
) -> tuple[Values, State]:
    """(B1) written out.

    Args:
        q, k: [T, K] queries and keys.
        v: [T, V] values.
        beta: [T] step sizes; 0 writes nothing, 1 with a key of length 1 stores the value exactly.
        g: [T] log decay before each token's step, at most 0; -inf forgets everything.
        scale: multiplies the output, never the state.
        initial_state: [V, K], zero if None.
        segment_ids: int [T] of packed sequences, -1 for padding.

    Returns:
        o [T, V] in the dtype of q, and the final state [V, K], in float32 or wider.

    Raises:
        ValueError: shapes, dtypes, concrete values that are not finite, g above 0 or NaN.

    Cost: O(T K V) time, O(K V) memory, T sequential steps.

    >>> k, v = jnp.ones((2, 1)), jnp.array([[4.0], [4.0]])
    >>> print(recurrent(k, k, v, beta=jnp.array([1.0, 0.5]), g=jnp.log(jnp.array([1.0, 0.5])))[0].ravel())
    [4. 3.]
    """
    return _by_token(write, q, k, v, beta, g, scale, initial_state, segment_ids)


def write(S, k_t, v_t, beta_t, g_t):
    """One token of (B1)."""
    A = jnp.exp(g_t) * S
    return A + jnp.outer(beta_t * (v_t - dot(A, k_t)), k_t)


def step(state: State, q_t, k_t, v_t, *, beta, g, scale=1.0) -> tuple[Array, State]:
    """(B1) for one token from a state: the form that serves. Returns (o_t [V], state)."""
    state = base.wide(state)
    gates = (jnp.asarray(x, state.dtype) for x in (beta, g))
    S = write(state, k_t.astype(state.dtype), v_t.astype(state.dtype), *gates)
    return (scale * dot(S, q_t.astype(S.dtype))).astype(v_t.dtype), S


def errors(q: Tokens, k: Tokens, v: Values, *, beta: Steps, g: Gates, initial_state=None, segment_ids=None) -> Dual:
    """The dual form (B2): error signals by (B3), weights the decay since each was written."""
    _, S, tokens = _call(q, k, v, beta, g, initial_state, segment_ids)
    return delta.unroll(S, *tokens)


def parallel(
    q: Tokens, k: Tokens, v: Values, *, beta: Steps, g: Gates, scale=1.0, initial_state=None, segment_ids=None
) -> tuple[Values, State]:
    """(B2) over the whole sequence at once. Cost: O(T^2 (K + V)) time, O(T^2) memory."""
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
    chunk_size: int = 64,
) -> tuple[Values, State]:
    """`parallel` inside chunks, the state carried between them.

    Cost: O(T (K V + chunk (K + V))) time, T / chunk sequential steps; backward keeps one state per chunk.
    """
    call, S, tokens = _call(q, k, v, beta, g, initial_state, segment_ids)
    o, S = over_chunks(delta.block, S, tokens, chunk_size)
    return call.finish(scale * o), S


def _call(q, k, v, beta, g, initial_state, segment_ids):
    call = base.arguments(q, k, v, {"beta": (beta, "T"), "g": (g, "T")}, segment_ids)
    S = base.initial(initial_state, (call.v.shape[1], call.k.shape[1]), call.v.dtype)
    call = call.beside(S)
    g = base.resets(call.gates["g"], call.starts, call.k)
    return call, S, (call.q, call.k, call.v, call.gates["beta"], g)


def _by_token(update, q, k, v, beta, g, scale, initial_state, segment_ids):
    call, S, (_, *tokens) = _call(q, k, v, beta, g, initial_state, segment_ids)
    return base.over_tokens(update, lambda S, q_t: scale * dot(S, q_t), S, call, tuple(tokens))
