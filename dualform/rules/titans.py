r"""Titans with a linear memory: minibatches of `ttt`, momentum, and decay of the layer.

The inner loss is $\tfrac12 |S k_t - v_t|^2$, its gradient taken at the state that the token's minibatch began with, the
moment $r(t)$; decay multiplies the layer, not the velocity:

$$ Z_t = \mu_t Z_{t-1} + e_t k_t^\top, \quad S_t = e^{g_t} S_{t-1} + Z_t, \quad
   e_t = \beta_t (v_t - S_{r(t)} k_t), \qquad o_t = \mathrm{scale} \cdot S_t q_t.                         \tag{J1} $$

Each time that the velocity of a token moves the layer, that move begins to decay; a token's weight is the sum over its
moves, with products $p_{si}$ of momenta (M2):

$$ w_{ti} = \sum_{s=i}^{t} e^{g_{s+1} + \dots + g_t}\, p_{si}, \qquad
   o_t = \mathrm{scale} \Bigl( e^{g_1 + \dots + g_t} S_0 q_t + w_{t0} Z_0 q_t
       + \sum_{i \le t} w_{ti}\, e_i\, (k_i \cdot q_t) \Bigr).                                             \tag{J2} $$

The error signals of a block are one triangular system (F4). Both factors of $w$ are built as products and sums of
spans, never as ratios: momentum 0 and decay $-\infty$ are legal. A reset by $g_t = -\infty$ forgets what the layer was,
after the gradient of token t was taken and before its move; the velocity goes on.

The paper writes decay as $1 - \alpha_t = e^{g_t}$, its loss without the factor 1/2 (so its step sizes are half of
these), and in the formulas for chunks divides by cumulative products. Its deep memory, an MLP, is linear attention
layer by layer only, and is not here. torch's coupled weight decay is another rule: it enters the velocity.

References: Behrouz, Zhong, Mirrokni 2025, Titans: learning to memorize at test time (arXiv 2501.00663), section 3.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dualform import _check
from dualform._numerics import dot
from dualform.rules import base, momentum, trajectory
from dualform.rules.base import Dual, Tokens, Values
from dualform.rules.chunks import over_chunks
from dualform.rules.minibatch import Serving, at_minibatch, begins, first
from dualform.rules.momentum import Momenta, State

Steps = Float[Array, " T"]


def descent(
    q: Tokens, k: Tokens, v: Values, *, beta: Steps, mu: Momenta, g: Steps, minibatch: int, scale=1.0,
    initial_state=None, segment_ids=None,
) -> tuple[Values, State]:  # fmt: skip
    """(J1) as it is meant: heavy ball on `jax.grad` of the loss at the minibatch's start, and weight decay."""

    def loss(S, k_t, v_t):
        return 0.5 * jnp.sum((dot(S, k_t) - v_t) ** 2)

    def update(state, start, k_t, v_t, beta_t, mu_t, g_t):
        Z = mu_t * state.Z - beta_t * jax.grad(loss)(start, k_t, v_t)
        return State(jnp.exp(g_t) * state.S + Z, Z)

    return _by_token(update, q, k, v, beta, mu, g, minibatch, scale, initial_state, segment_ids)


def recurrent(
    q: Tokens, k: Tokens, v: Values, *, beta: Steps, mu: Momenta, g: Steps, minibatch: int, scale=1.0,
    initial_state=None, segment_ids=None,
) -> tuple[Values, State]:  # fmt: skip
    """(J1) written out.

    Args:
        q, k: [T, K] queries and keys.
        v: [T, V] values, the targets of the layer.
        beta: [T] step size of each token.
        mu: [T] or one number, the part of the velocity that is left at each token, in [0, 1].
        g: [T] log decay of the layer at each token, at most 0; -inf forgets everything but the velocity.
        minibatch: tokens that share one gradient point, at least 1; it need not divide T. Static.
        scale: multiplies the output, never the state.
        initial_state: `momentum.State` (S, Z), each [V, K], zero if None.
        segment_ids: int [T] of packed sequences, -1 for padding; both layer and velocity begin anew.

    Returns:
        o [T, V] in the dtype of q, and the final `momentum.State`, in float32 or wider.

    Raises:
        ValueError: shapes, dtypes, concrete values that are not finite, g above 0 or NaN, a minibatch below 1.

    Cost: O(T K V) time, O(K V) memory, T sequential steps.

    >>> q = k = v = jnp.ones((3, 1))
    >>> half = jnp.full(3, 0.5)
    >>> print(recurrent(q, k, v, beta=half, mu=half, g=jnp.zeros(3), minibatch=3)[0].ravel())
    [0.5   1.25  2.125]
    """
    return _by_token(write, q, k, v, beta, mu, g, minibatch, scale, initial_state, segment_ids)


def write(state, start, k_t, v_t, beta_t, mu_t, g_t):
    """One token of (J1)."""
    Z = mu_t * state.Z + jnp.outer(beta_t * (v_t - dot(start, k_t)), k_t)
    return State(jnp.exp(g_t) * state.S + Z, Z)


def step(state: State | Serving, q_t, k_t, v_t, *, beta, mu, g, minibatch: int, scale=1.0) -> tuple[Array, Serving]:
    """(J1) for one token: the form that serves. Returns (o_t [V], `Serving`), which knows its minibatch's start.

    A bare (S, Z) begins a minibatch.
    """
    state = base.wide(state)
    state, start, count = at_minibatch(state, minibatch)
    state, dtype = State(*state), start.dtype
    q_t, k, v, beta, mu, g = (jnp.asarray(x, dtype) for x in (q_t, k_t, v_t, beta, mu, g))
    state = write(state, start, k, v, beta, mu, g)
    return (scale * dot(state.S, q_t)).astype(v_t.dtype), Serving(state, start, count + 1)


def errors(
    q: Tokens, k: Tokens, v: Values, *, beta: Steps, mu: Momenta, g: Steps, minibatch: int, initial_state=None,
    segment_ids=None,
) -> Dual:  # fmt: skip
    """The dual form (J2): the error signals (F4), weighted by decayed sums of momenta."""
    call, state, (_, k, v, beta, *rest) = _call(q, k, v, beta, mu, g, minibatch, initial_state, segment_ids)
    E, _, layer, _ = _signals((*state, state.S), k, v, beta, *rest)
    return Dual(E, layer.weights[1:], call.k, call.q)


def parallel(
    q: Tokens, k: Tokens, v: Values, *, beta: Steps, mu: Momenta, g: Steps, minibatch: int, scale=1.0,
    initial_state=None, segment_ids=None,
) -> tuple[Values, State]:  # fmt: skip
    """(J2) over the whole sequence at once. Cost: O(T^3) time for the weights, O(T^2) memory: for short sequences."""
    call, state, tokens = _call(q, k, v, beta, mu, g, minibatch, initial_state, segment_ids)
    if not len(call.k):
        return call.finish(jnp.zeros_like(call.v)), state
    o, (S, Z, _) = block((*state, state.S), *tokens)
    return call.finish(scale * o), State(S, Z)


def chunked(
    q: Tokens, k: Tokens, v: Values, *, beta: Steps, mu: Momenta, g: Steps, minibatch: int, scale=1.0,
    initial_state=None, segment_ids=None, chunk_size: int = 64,
) -> tuple[Values, State]:  # fmt: skip
    """`parallel` inside chunks; layer, velocity and the start of the minibatch in progress are carried between them.

    Chunks and minibatches need not fit each other.

    Cost: O(T (K V + chunk (K + V + chunk))) time, T / chunk sequential steps; backward keeps three matrices per chunk.
    """
    call, state, tokens = _call(q, k, v, beta, mu, g, minibatch, initial_state, segment_ids)
    o, (S, Z, _) = over_chunks(block, (*state, state.S), tokens, chunk_size)
    return call.finish(scale * o), State(S, Z)


def block(states, q, k, v, beta, mu, g, real, starts, begin):
    """(J2) for a block of tokens: unscaled output [T, V] and the states (S, Z, S at the minibatch's start) after it."""
    E, rows, layer, velocity = _signals(states, k, v, beta, mu, g, real, starts, begin)
    S, Z = (trajectory.last(path, states[:2], E, k) for path in (layer, velocity))
    return trajectory.read(layer, states[:2], E, k, q), (S, Z, trajectory.last(rows, states, E, k))


def _signals(states, k, v, beta, mu, g, real, starts, begin):
    """The error signals of a block, the moments that they saw, and the paths of its layer and velocity."""
    layer, velocity = momentum.paths(mu, real, g)
    rows = trajectory.seen(layer, starts, first(begin))
    return trajectory.errors(rows, states, k, v, beta), rows, layer, velocity


def _call(q, k, v, beta, mu, g, minibatch, initial_state, segment_ids):
    """The call, the initial state, and the tokens of `block`."""
    minibatch = _check.count("minibatch", minibatch, least=1)
    mu = float(mu) if isinstance(mu, int) and not isinstance(mu, bool) else mu
    call = base.arguments(q, k, v, {"beta": (beta, "T"), "mu": (mu, "T |"), "g": (g, "T")}, segment_ids)
    shape = call.v.shape[1], call.k.shape[1]
    state = base.initial_pair(initial_state, State, (shape, shape), call.v.dtype)
    call = call.beside(*state)
    T = len(call.k)
    mu, g = jnp.broadcast_to(call.gates["mu"], (T,)), base.resets(call.gates["g"], call.starts, call.k)
    real = jnp.ones(T, bool) if call.padding is None else ~call.padding
    if call.starts is not None:
        mu = jnp.where(call.starts, 0, mu)
    tokens = call.q, call.k, call.v, call.gates["beta"], mu, g, real, call.starts, begins(minibatch, call)
    return call, state, tokens


def _by_token(update, q, k, v, beta, mu, g, minibatch, scale, initial_state, segment_ids):
    call, state, tokens = _call(q, k, v, beta, mu, g, minibatch, initial_state, segment_ids)
    _, k, v, beta, mu, g, _, _, begin = tokens

    def token(carry, k_t, v_t, beta_t, mu_t, g_t, begin_t):
        state, start = carry
        start = jnp.where(begin_t, state.S, start)
        return update(state, start, k_t, v_t, beta_t, mu_t, g_t), start

    def read(carry, q_t):
        return scale * dot(carry[0].S, q_t)

    o, (state, _) = base.over_tokens(token, read, (state, state.S), call, (k, v, beta, mu, g, begin))
    return o, state
