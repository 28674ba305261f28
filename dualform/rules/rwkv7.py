r"""RWKV-7: a delta rule whose removal key, write-back key and rates are free, per channel. Generalised delta, DPLR.

The state decays per channel, what it holds at $a_t$ is written back at $b_t$, and the value is added at the key:

$$ S_t = S_{t-1} (\mathrm{diag}(e^{g_t}) + a_t b_t^\top) + v_t k_t^\top,
   \qquad o_t = \mathrm{scale} \cdot S_t q_t.                                                              \tag{W1} $$

RWKV-7 itself sets $a = -\hat\kappa$ and $b = \hat\kappa \odot \alpha$ with a unit removal key $\hat\kappa$ and rates
$\alpha \in (0, 1)$. With $a = -\beta k \odot e^{g}$, $b = k$ and $\beta v$ for $v$ it is KDA (K1).

A token writes two outer products, so the dual form has 2T patterns: $v_i$ at key $k_i$, and $p_i = S_{i-1} a_i$ at key
$b_i$. With $w$ of (U3):

$$ o_t = \mathrm{scale} \Bigl( S_0\, \mathrm{diag}(w_{t0})\, q_t
       + \sum_{i \le t} v_i\, (k_i \cdot \mathrm{diag}(w_{ti})\, q_t)
       + \sum_{i \le t} p_i\, (b_i \cdot \mathrm{diag}(w_{ti})\, q_t) \Bigr),                              \tag{W2} $$

and the signals $p$, which read the state one token earlier, solve the unit-triangular system (U1)

$$ p_t - \sum_{i<t} p_i\, (b_i \cdot \mathrm{diag}(w_{t-1,i})\, a_t)
   = S_0\, \mathrm{diag}(w_{t-1,0})\, a_t + \sum_{i<t} v_i\, (k_i \cdot \mathrm{diag}(w_{t-1,i})\, a_t).    \tag{W3} $$

As descent this is a *semi-gradient*: a step on $-v_t \cdot S k_t - p_t \cdot S b_t$ with the target $p_t$ held fixed,
although it depends on the state. For general $a, b$ no loss has this update as its gradient: $S \mapsto S a b^\top$
has the Jacobian $I \otimes b a^\top$, which is symmetric only where a and b are parallel.

Trap: $g_t = -\infty$ is no reset here. The state before it returns through $S_{t-1} a_t b_t^\top$ unless $a_t = 0$ too;
`segment_ids` cut both. Weights of pairs take T^2 K numbers, so the default chunk is 16, as in KDA.

References: Peng et al. 2025, RWKV-7 "Goose" with expressive dynamic state evolution (arXiv 2503.14456).
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

Gates = Float[Array, "T K"]


def descent(
    q: Tokens, k: Tokens, v: Values, *, g: Gates, a: Gates, b: Gates, scale=1.0, initial_state=None, segment_ids=None
) -> tuple[Values, State]:
    """(W1) as a semi-gradient: decay, then `jax.grad` of a loss whose second target came from the state before.

    The target is held fixed by passing it in beside S: `stop_gradient` would do the same for the inner gradient, but it
    would cut the outer ones, through which the layer learns its gates, as well.
    """

    def loss(S, p_t, k_t, v_t, b_t):
        return -dot(v_t, dot(S, k_t)) - dot(p_t, dot(S, b_t))

    def update(S, k_t, v_t, g_t, a_t, b_t):
        p_t = dot(S, a_t)
        A = S * jnp.exp(g_t)[None, :]
        return A - jax.grad(loss)(A, p_t, k_t, v_t, b_t)

    return _by_token(update, q, k, v, g, a, b, scale, initial_state, segment_ids)


def recurrent(
    q: Tokens, k: Tokens, v: Values, *, g: Gates, a: Gates, b: Gates, scale=1.0, initial_state=None, segment_ids=None
) -> tuple[Values, State]:
    """(W1) written out.

    Args:
        q, k: [T, K] queries and keys.
        v: [T, V] values.
        g: [T, K] log decay of each channel, at most 0; -inf forgets that channel, but for what a and b bring back.
        a: [T, K] where the state is read before it decays; minus the removal key in RWKV-7.
        b: [T, K] where what was read is written.
        scale: multiplies the output, never the state.
        initial_state: [V, K], zero if None.
        segment_ids: int [T] of packed sequences, -1 for padding.

    Returns:
        o [T, V] in the dtype of q, and the final state [V, K], in float32 or wider.

    Raises:
        ValueError: shapes, dtypes, concrete values that are not finite, g above 0 or NaN.

    Cost: O(T K V) time, O(K V) memory, T sequential steps.

    >>> k, v, g = jnp.array([[1.0, 0.0], [0.0, 1.0]]), jnp.array([[4.0], [1.0]]), jnp.zeros((2, 2))
    >>> print(recurrent(k, k, v, g=g, a=-0.5 * k[::-1], b=k[::-1])[1])
    [[2. 1.]]
    """
    return _by_token(write, q, k, v, g, a, b, scale, initial_state, segment_ids)


def write(S, k_t, v_t, g_t, a_t, b_t):
    """One token of (W1)."""
    return S * jnp.exp(g_t)[None, :] + jnp.outer(dot(S, a_t), b_t) + jnp.outer(v_t, k_t)


def step(state: State, q_t, k_t, v_t, *, g, a, b, scale=1.0) -> tuple[Array, State]:
    """(W1) for one token from a state: the form that serves. Returns (o_t [V], state)."""
    state = base.wide(state)
    gates = (jnp.asarray(x, state.dtype) for x in (g, a, b))
    S = write(state, k_t.astype(state.dtype), v_t.astype(state.dtype), *gates)
    return (scale * dot(S, q_t.astype(S.dtype))).astype(v_t.dtype), S


def errors(
    q: Tokens, k: Tokens, v: Values, *, g: Gates, a: Gates, b: Gates, initial_state=None, segment_ids=None
) -> Dual:
    """The dual form (W2): E = [v; p] by (W3), X = [k; b], both 2T long, and weights [T, 2T, K]."""
    _, S, (q, k, v, g, a, b) = _call(q, k, v, g, a, b, initial_state, segment_ids)
    decay = decays(g, k)
    p = carried(S, k, v, a, b, decay)
    weights = jnp.concatenate([decay.pairs, decay.pairs], axis=1)
    return Dual(jnp.concatenate([v, p]), weights, jnp.concatenate([k, b]), q)


def parallel(
    q: Tokens, k: Tokens, v: Values, *, g: Gates, a: Gates, b: Gates, scale=1.0, initial_state=None, segment_ids=None
) -> tuple[Values, State]:
    """(W2) over the whole sequence at once. Cost: O(T^2 (K + V)) time, O(T^2 K) memory: for short sequences."""
    call, S, tokens = _call(q, k, v, g, a, b, initial_state, segment_ids)
    o, S = block(S, *tokens)
    return call.finish(scale * o), S


def chunked(
    q: Tokens,
    k: Tokens,
    v: Values,
    *,
    g: Gates,
    a: Gates,
    b: Gates,
    scale=1.0,
    initial_state=None,
    segment_ids=None,
    chunk_size: int = 16,
) -> tuple[Values, State]:
    """`parallel` inside chunks, the state carried between them.

    Cost: O(T (K V + chunk (K + V))) time, O(chunk^2 K) memory beside the tokens, T / chunk sequential steps; backward
    keeps one state per chunk.
    """
    call, S, tokens = _call(q, k, v, g, a, b, initial_state, segment_ids)
    o, S = over_chunks(block, S, tokens, chunk_size)
    return call.finish(scale * o), S


def block(S, q, k, v, g, a, b):
    """(W2) for a block of tokens from the state S: unscaled output [T, V] and final state."""
    decay = decays(g, k)
    p = carried(S, k, v, a, b, decay)
    o = dot(decay.start * q, S.T)
    o = o + dot(scores(q, k, decay.pairs), v) + dot(scores(q, b, decay.pairs), p)
    return o, decay.all * S + dot(v.T, decay.end * k) + dot(p.T, decay.end * b)


def carried(S, k, v, a, b, decay):
    """The signals p_t = S_{t-1} a_t of a block, by the system (W3): every decay is that of one token earlier."""
    pairs = jnp.concatenate([jnp.zeros_like(decay.pairs[:1]), decay.pairs[:-1]])
    start = jnp.concatenate([jnp.ones_like(decay.start[:1]), decay.start[:-1]])
    right = dot(start * a, S.T) + dot(scores(a, k, pairs), v)
    return solve_unit_lower(-scores(a, b, pairs), right)


def _call(q, k, v, g, a, b, initial_state, segment_ids):
    call = base.arguments(q, k, v, {"g": (g, "T K"), "a": (a, "T K"), "b": (b, "T K")}, segment_ids)
    S = base.initial(initial_state, (call.v.shape[1], call.k.shape[1]), call.v.dtype)
    call = call.beside(S)
    g, a, b = call.gates["g"], call.gates["a"], call.gates["b"]
    if call.starts is not None:
        a = jnp.where(call.starts[:, None], 0, a)  # the state before a segment is read neither by k nor by a
    return call, S, (call.q, call.k, call.v, base.resets(g, call.starts, call.k), a, b)


def _by_token(update, q, k, v, g, a, b, scale, initial_state, segment_ids):
    call, S, (_, *tokens) = _call(q, k, v, g, a, b, initial_state, segment_ids)
    return base.over_tokens(update, lambda S, q_t: scale * dot(S, q_t), S, call, tuple(tokens))
