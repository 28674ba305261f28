r"""Momentum: the layer moves with a velocity that the error signals of its tokens push. Heavy ball.

The inner loss is Hebbian, $-v_t \cdot S k_t$ ("linear_attn"), or squared, $\tfrac12 |S k_t - v_t|^2$ ("delta"):

$$ Z_t = \mu_t Z_{t-1} + e_t k_t^\top, \quad S_t = S_{t-1} + Z_t, \quad e_t = \beta_t v_t
   \ \text{ or }\ \beta_t (v_t - S_{t-1} k_t), \qquad o_t = \mathrm{scale} \cdot S_t q_t.                 \tag{M1} $$

A token is not done when it has been written: its velocity moves the layer again at every later token. Its weight is

$$ w_{ti} = \sum_{s=i}^{t} p_{si}, \qquad p_{si} = \mu_{i+1} \cdots \mu_s,                                 \tag{M2} $$

which grows with age, to $1 / (1 - \mu)$ for a constant $\mu < 1$: heavy ball favours the *old*, the opposite of decay,
and is no moving average of values. With $w_{t0}$ for the initial velocity (the sum of products from the first token on)

$$ o_t = \mathrm{scale} \Bigl( S_0 q_t + w_{t0} Z_0 q_t
       + \sum_{i \le t} w_{ti}\, e_i\, (k_i \cdot q_t) \Bigr).                                             \tag{M3} $$

Products are taken as products and the sum as a sum: $\mu = 0$ and $\mu = 1$ are as good as any other number, where
ratios of cumulative products are 0/0, and so is the closed form $(1 - \mu^{t-i+1}) / (1 - \mu)$. The error signals of
the squared loss are the solution of a triangular system (F4).

References: Polyak 1964, Some methods of speeding up the convergence of iteration methods; Behrouz, Zhong, Mirrokni
2025, Titans (arXiv 2501.00663), for momentum inside a sequence layer.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from dualform._numerics import dot
from dualform.rules import base, trajectory
from dualform.rules.base import Dual, Tokens, Values
from dualform.rules.chunks import over_chunks

Steps = Float[Array, " T"]
Momenta = Float[Array, " T"] | float

RULES = ("linear_attn", "delta")


class State(NamedTuple):
    """The layer and its velocity."""

    S: Float[Array, "V K"]
    Z: Float[Array, "V K"]


def descent(
    q: Tokens, k: Tokens, v: Values, *, beta: Steps, mu: Momenta, rule: str = "linear_attn", scale=1.0,
    initial_state=None, segment_ids=None,
) -> tuple[Values, State]:  # fmt: skip
    """(M1) as it is meant: heavy ball on `jax.grad` of the inner loss, one step per token."""

    def loss(S, k_t, v_t):
        y = dot(S, k_t)
        return -dot(v_t, y) if rule == "linear_attn" else 0.5 * jnp.sum((y - v_t) ** 2)

    def update(state, k_t, v_t, beta_t, mu_t):
        Z = mu_t * state.Z - beta_t * jax.grad(loss)(state.S, k_t, v_t)
        return State(state.S + Z, Z)

    return _by_token(update, q, k, v, beta, mu, rule, scale, initial_state, segment_ids)


def recurrent(
    q: Tokens, k: Tokens, v: Values, *, beta: Steps, mu: Momenta, rule: str = "linear_attn", scale=1.0,
    initial_state=None, segment_ids=None,
) -> tuple[Values, State]:  # fmt: skip
    """(M1) written out.

    Args:
        q, k: [T, K] queries and keys.
        v: [T, V] values.
        beta: [T] step size of each token.
        mu: [T] or one number, the part of the velocity that is left at each token, in [0, 1].
        rule: "linear_attn" for the Hebbian loss, "delta" for the squared one.
        scale: multiplies the output, never the state.
        initial_state: `State` (S, Z), each [V, K], zero if None.
        segment_ids: int [T] of packed sequences, -1 for padding.

    Returns:
        o [T, V] in the dtype of q, and the final `State`, in float32 or wider.

    Raises:
        ValueError: shapes, dtypes, concrete values that are not finite, an unknown rule.

    Cost: O(T K V) time, O(K V) memory, T sequential steps.

    >>> q = k = v = jnp.ones((3, 1))
    >>> print(recurrent(q, k, v, beta=jnp.ones(3), mu=0.5)[0].ravel())
    [1.   2.5  4.25]
    """

    def update(state, k_t, v_t, beta_t, mu_t):
        return write(state, k_t, v_t, beta_t, mu_t, rule)

    return _by_token(update, q, k, v, beta, mu, rule, scale, initial_state, segment_ids)


def write(state, k_t, v_t, beta_t, mu_t, rule):
    """One token of (M1)."""
    e = beta_t * (v_t if rule == "linear_attn" else v_t - dot(state.S, k_t))
    Z = mu_t * state.Z + jnp.outer(e, k_t)
    return State(state.S + Z, Z)


def step(state: State, q_t, k_t, v_t, *, beta, mu, rule: str = "linear_attn", scale=1.0) -> tuple[Array, State]:
    """(M1) for one token from a state: the form that serves. Returns (o_t [V], state)."""
    state = base.wide(state)
    _known(rule)
    state = State(*state)
    dtype = state.S.dtype
    q_t, k, v, beta, mu = (jnp.asarray(x, dtype) for x in (q_t, k_t, v_t, beta, mu))
    state = write(state, k, v, beta, mu, rule)
    return (scale * dot(state.S, q_t)).astype(v_t.dtype), state


def errors(
    q: Tokens, k: Tokens, v: Values, *, beta: Steps, mu: Momenta, rule: str = "linear_attn", initial_state=None,
    segment_ids=None,
) -> Dual:  # fmt: skip
    """The dual form (M3): the error signals, weighted by (M2)."""
    call, state, tokens = _call(q, k, v, beta, mu, rule, initial_state, segment_ids)
    E, layer, _ = _signals(rule, state, *tokens[1:])
    return Dual(E, layer.weights[1:], call.k, call.q)


def parallel(
    q: Tokens, k: Tokens, v: Values, *, beta: Steps, mu: Momenta, rule: str = "linear_attn", scale=1.0,
    initial_state=None, segment_ids=None,
) -> tuple[Values, State]:  # fmt: skip
    """(M3) over the whole sequence at once. Cost: O(T^2 (K + V)) time, with segments O(T^3), O(T^2) memory."""
    call, state, tokens = _call(q, k, v, beta, mu, rule, initial_state, segment_ids)
    o, state = block(state, *tokens, rule=rule)
    return call.finish(scale * o), state


def chunked(
    q: Tokens, k: Tokens, v: Values, *, beta: Steps, mu: Momenta, rule: str = "linear_attn", scale=1.0,
    initial_state=None, segment_ids=None, chunk_size: int = 64,
) -> tuple[Values, State]:  # fmt: skip
    """`parallel` inside chunks, layer and velocity carried between them.

    Cost: O(T (K V + chunk (K + V))) time, T / chunk sequential steps; backward keeps one state per chunk.
    """
    call, state, tokens = _call(q, k, v, beta, mu, rule, initial_state, segment_ids)
    o, state = over_chunks(block, state, tokens, chunk_size, rule=rule)
    return call.finish(scale * o), state


def block(state, q, k, v, beta, mu, real, starts=None, g=None, *, rule):
    """(M3) for a block of tokens: unscaled output [T, V] and final state."""
    E, layer, velocity = _signals(rule, state, k, v, beta, mu, real, starts, g)
    S, Z = trajectory.last(layer, state, E, k), trajectory.last(velocity, state, E, k)
    return trajectory.read(layer, state, E, k, q), State(S, Z)


def paths(
    mu: Float[Array, " T"], real: Bool[Array, " T"], g: Float[Array, " T"] | None = None
) -> tuple[trajectory.Path, trajectory.Path]:
    """What the layer and the velocity are made of (F3), from the initial (S, Z): the sums and products of (M2).

    With log decays g the layer forgets, $S_t = e^{g_t} S_{t-1} + Z_t$, and each of its moves decays from then on.
    Tokens that are not real leave both alone: the velocity stays, but does not move the layer.
    """
    mu, moves = jnp.where(real, mu, 1), real.astype(mu.dtype)
    products, from_first = _products(mu), jnp.cumprod(mu)
    pushed = jnp.concatenate([(moves * from_first)[:, None], moves[:, None] * products], axis=1)
    if g is None:
        left, moved = jnp.ones_like(mu), jnp.cumsum(pushed, axis=0)
    else:
        left, moved = jnp.exp(base.from_start(g)), dot(jnp.exp(base.spans(g)), pushed)
    layer = trajectory.path(jnp.stack([left, moved[:, 0]], axis=1), moved[:, 1:], (1.0, 0.0))
    nothing = jnp.zeros_like(from_first)
    return layer, trajectory.path(jnp.stack([nothing, from_first], axis=1), products, (0.0, 1.0))


def _products(mu: Float[Array, " T"]) -> Float[Array, "T T"]:
    """Each span's own product of momenta (M2): p at [t, i], and 0 where i > t."""
    t, i = jnp.arange(len(mu))[:, None], jnp.arange(len(mu))[None, :]
    return jnp.where(t >= i, jnp.cumprod(jnp.where(t > i, mu[:, None], 1), axis=0), 0)


def _signals(rule, state, k, v, beta, mu, real, starts, g):
    """The error signals of a block, and the paths of its layer and velocity."""
    layer, velocity = paths(mu, real, g)
    if rule == "linear_attn":
        return beta[:, None] * v, layer, velocity
    return trajectory.errors(trajectory.seen(layer, starts), state, k, v, beta), layer, velocity


def _known(rule):
    if rule not in RULES:
        raise ValueError(f"rule: got {rule!r}, expected one of {RULES}")


def _call(q, k, v, beta, mu, rule, initial_state, segment_ids):
    """The call, the initial state, and the tokens of `block`."""
    _known(rule)
    mu = float(mu) if isinstance(mu, int) and not isinstance(mu, bool) else mu
    call = base.arguments(q, k, v, {"beta": (beta, "T"), "mu": (mu, "T |")}, segment_ids)
    shape = call.v.shape[1], call.k.shape[1]
    state = base.initial_pair(initial_state, State, (shape, shape), call.v.dtype)
    call = call.beside(*state)
    T = len(call.k)
    mu, g = jnp.broadcast_to(call.gates["mu"], (T,)), base.resets(None, call.starts, call.k)
    real = jnp.ones(T, bool) if call.padding is None else ~call.padding
    if call.starts is not None:
        mu = jnp.where(call.starts, 0, mu)
    return call, state, (call.q, call.k, call.v, call.gates["beta"], mu, real, call.starts, g)


def _by_token(update, q, k, v, beta, mu, rule, scale, initial_state, segment_ids):
    call, state, (_, k, v, beta, mu, *_) = _call(q, k, v, beta, mu, rule, initial_state, segment_ids)
    return base.over_tokens(update, lambda state, q_t: scale * dot(state.S, q_t), state, call, (k, v, beta, mu))
