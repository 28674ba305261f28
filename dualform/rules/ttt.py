r"""Test-time training: a linear layer that takes SGD steps of which every minibatch shares one gradient point.

The inner loss is $\ell_t(S) = \tfrac12 |S k_t - v_t|^2$. Its gradient is taken at the state that the minibatch of token
$t$ began with, the moment $r(t)$, so that the tokens of a minibatch do not wait for each other:

$$ S_t = S_{t-1} + e_t k_t^\top, \quad e_t = \beta_t (v_t - S_{r(t)} k_t), \qquad
   o_t = \mathrm{scale} \cdot S_t q_t.                                                                    \tag{T1} $$

Minibatches are counted from the start of the call and of each segment, so a call may be split at multiples of
`minibatch` only (`step` remembers where its minibatch began). Minibatch 1 is the delta rule; a minibatch of the whole
sequence, from a zero state, is linear attention with values $\beta_t v_t$. Unrolled,

$$ o_t = \mathrm{scale} \Bigl( S_0 q_t + \sum_{i \le t} e_i\, (k_i \cdot q_t) \Bigr), \qquad
   (I + L) E = \mathrm{diag}(\beta)(V - K S_0^\top), \quad
   L_{ij} = \beta_i [j \le r(i)]\, (k_i \cdot k_j).                                                        \tag{T2} $$

**Layer norm.** TTT-Linear trains the layer through a layer norm: the loss is $\tfrac12 |\mathrm{LN}(S k_t) - v_t|^2$,

$$ e_t = -\beta_t J^\top (\mathrm{LN}(y) - v_t), \qquad y = S_{r(t)} k_t, \quad
   J = \partial\, \mathrm{LN}(y) / \partial y.                                                             \tag{T3} $$

Error signals are then no linear function of the state, (T2) has no solve, and *parallel means within a minibatch*: the
minibatches are walked through one after the other. TTT-Linear's targets are $v_t - k_t$ and its output is
$q_t + \mathrm{LN}(o_t)$; both are one line around a call.

A minibatch whose keys all point one way multiplies the error by $1 - \sum \beta_t |k_t|^2$: where that sum passes 2
the layer may grow without bound.

References: Sun et al. 2024, Learning to (learn at test time): RNNs with expressive hidden states (arXiv 2407.04620).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dualform import _check
from dualform._numerics import dot
from dualform.rules import base, trajectory
from dualform.rules.base import Dual, State, Tokens, Values
from dualform.rules.chunks import over_chunks
from dualform.rules.minibatch import Serving, at_minibatch, begins, first

Steps = Float[Array, " T"]


class LayerNorm(NamedTuple):
    """$w \\cdot (y - \\bar y) / \\sqrt{\\mathrm{var}(y) + \\epsilon} + b$ over the last axis; weight and bias [V]."""

    weight: Float[Array, " V"]
    bias: Float[Array, " V"]
    eps: float = 1e-6

    def __call__(self, y):
        centred = y - jnp.mean(y, axis=-1, keepdims=True)
        variance = jnp.mean(centred * centred, axis=-1, keepdims=True)
        return self._row(self.weight, y) * (centred * jax.lax.rsqrt(variance + self.eps)) + self._row(self.bias, y)

    def pull(self, y, residual):
        """The residual of the normed output, pulled back to y: J' of (T3)."""
        centred = y - jnp.mean(y, axis=-1, keepdims=True)
        spread = jnp.mean(centred * centred, axis=-1, keepdims=True) + self.eps
        e = self._row(self.weight, y) * residual
        along = centred * (jnp.mean(e * centred, axis=-1, keepdims=True) / spread)
        return jax.lax.rsqrt(spread) * (e - jnp.mean(e, axis=-1, keepdims=True) - along)

    @staticmethod
    def _row(x, y):
        return jnp.broadcast_to(x, y.shape)


def descent(
    q: Tokens, k: Tokens, v: Values, *, beta: Steps, minibatch: int, norm: LayerNorm | None = None, scale=1.0,
    initial_state=None, segment_ids=None,
) -> tuple[Values, State]:  # fmt: skip
    """(T1) as it is meant: `jax.grad` of the inner loss at the minibatch's start, one step per token."""

    def loss(S, k_t, v_t, norm):
        y = dot(S, k_t)
        return 0.5 * jnp.sum(((y if norm is None else norm(y)) - v_t) ** 2)

    def update(S, start, k_t, v_t, beta_t, norm):
        return S - beta_t * jax.grad(loss)(start, k_t, v_t, norm)

    return _by_token(update, q, k, v, beta, minibatch, norm, scale, initial_state, segment_ids)


def recurrent(
    q: Tokens, k: Tokens, v: Values, *, beta: Steps, minibatch: int, norm: LayerNorm | None = None, scale=1.0,
    initial_state=None, segment_ids=None,
) -> tuple[Values, State]:  # fmt: skip
    """(T1) written out, or (T3) with a layer norm.

    Args:
        q, k: [T, K] queries and keys.
        v: [T, V] values, the targets of the layer.
        beta: [T] step size of each token.
        minibatch: tokens that share one gradient point, at least 1; it need not divide T. Static.
        norm: None, or the `LayerNorm` that the layer is trained through.
        scale: multiplies the output, never the state.
        initial_state: [V, K], zero if None.
        segment_ids: int [T] of packed sequences, -1 for padding.

    Returns:
        o [T, V] in the dtype of q, and the final state [V, K], in float32 or wider.

    Raises:
        ValueError: shapes, dtypes, concrete values that are not finite, a minibatch below 1.

    Cost: O(T K V) time, O(K V) memory, T sequential steps.

    >>> q = k = v = jnp.ones((3, 1))
    >>> print(recurrent(q, k, v, beta=jnp.full(3, 0.5), minibatch=2)[0].ravel())
    [0.5 1.  1. ]
    """
    return _by_token(_write, q, k, v, beta, minibatch, norm, scale, initial_state, segment_ids)


def step(
    state: State | Serving, q_t, k_t, v_t, *, beta, minibatch: int, norm: LayerNorm | None = None, scale=1.0
) -> tuple[Array, Serving]:
    """(T1) for one token: the form that serves. Returns (o_t [V], `Serving`), which knows where its minibatch began.

    A bare [V, K] begins a minibatch.
    """
    state = base.wide(state)
    S, start, count = at_minibatch(state, minibatch)
    k_t, v = k_t.astype(S.dtype), v_t.astype(S.dtype)
    S = _write(S, start, k_t, v, jnp.asarray(beta, S.dtype), _norm(norm, v.shape[0], S.dtype))
    return (scale * dot(S, q_t.astype(S.dtype))).astype(v_t.dtype), Serving(S, start, count + 1)


def errors(
    q: Tokens, k: Tokens, v: Values, *, beta: Steps, minibatch: int, norm: LayerNorm | None = None,
    initial_state=None, segment_ids=None,
) -> Dual:  # fmt: skip
    """The dual form (T2): the error signals, each counting fully from its own token on."""
    call, S, g, norm, begin = _call(q, k, v, beta, minibatch, norm, initial_state, segment_ids)
    whole = trajectory.plain(call.k, g)
    return Dual(_errors(call, S, whole, norm, begin, minibatch), whole.weights[1:], call.k, call.q)


def parallel(
    q: Tokens, k: Tokens, v: Values, *, beta: Steps, minibatch: int, norm: LayerNorm | None = None, scale=1.0,
    initial_state=None, segment_ids=None,
) -> tuple[Values, State]:  # fmt: skip
    """(T2) over the whole sequence at once; with a layer norm its error signals minibatch by minibatch (T3).

    Cost: O(T^2 (K + V)) time, O(T^2) memory; with a norm T / minibatch sequential steps.
    """
    call, S, g, norm, begin = _call(q, k, v, beta, minibatch, norm, initial_state, segment_ids)
    whole = trajectory.plain(call.k, g)
    E = _errors(call, S, whole, norm, begin, minibatch)
    o = trajectory.read(whole, (S,), E, call.k, call.q)
    return call.finish(scale * o), trajectory.last(whole, (S,), E, call.k)


def chunked(
    q: Tokens, k: Tokens, v: Values, *, beta: Steps, minibatch: int, norm: LayerNorm | None = None, scale=1.0,
    initial_state=None, segment_ids=None, chunk_size: int = 64,
) -> tuple[Values, State]:  # fmt: skip
    """`parallel` inside chunks; the state and that at the start of the minibatch in progress are carried on.

    Chunks and minibatches need not fit each other; with a layer norm no chunk is longer than a minibatch.

    Cost: O(T (K V + chunk (K + V))) time, T / chunk sequential steps; backward keeps two states per chunk.
    """
    call, S, g, norm, begin = _call(q, k, v, beta, minibatch, norm, initial_state, segment_ids)
    if norm is not None:
        chunk_size = min(_check.count("chunk_size", chunk_size, least=1), minibatch)
    tokens = call.q, call.k, call.v, call.gates["beta"], begin, call.starts, g
    o, (S, _) = over_chunks(block, (S, S), tokens, chunk_size, shared={"norm": norm}, minibatch=minibatch)
    return call.finish(scale * o), S


def block(states, q, k, v, beta, begin, starts, g, *, norm, minibatch):
    """(T2), (T3) for a block of tokens: unscaled output [T, V] and the two states."""
    S, start = states
    whole = trajectory.plain(k, g)
    if norm is None:
        rows = trajectory.seen(whole, starts, first(begin))
        E = trajectory.errors(rows, states, k, v, beta)
        start = trajectory.last(rows, states, E, k)
    else:
        E, (_, start) = _walk(states, k, v, beta, begin, starts, norm=norm, minibatch=minibatch)
    return trajectory.read(whole, (S,), E, k, q), (trajectory.last(whole, (S,), E, k), start)


def _write(S, start, k_t, v_t, beta_t, norm):
    """One token of (T1)."""
    return S + jnp.outer(_signal(norm, dot(start, k_t), v_t, beta_t), k_t)


def _signal(norm, y, v, beta):
    """Error signals of the outputs y [V] or [T, V] that the layer gave at the minibatch's start (T3)."""
    return beta * (v - y) if norm is None else -beta * norm.pull(y, norm(y) - v)


def _errors(call, S, whole, norm, begin, minibatch):
    """The error signals of all tokens: a solve (T2), or with a norm a walk through the minibatches (T3)."""
    if norm is None:
        rows = trajectory.seen(whole, call.starts, first(begin))
        return trajectory.errors(rows, (S, S), call.k, call.v, call.gates["beta"])
    tokens = call.k, call.v, call.gates["beta"], begin, call.starts
    return over_chunks(_walk, (S, S), tokens, minibatch, shared={"norm": norm}, minibatch=minibatch)[0]


def _walk(states, k, v, beta, begin, starts, *, norm, minibatch):
    """Error signals and states of at most a minibatch of tokens, in which others may end and begin (T3).

    All tokens of one minibatch at once. The states are S and what it was when the minibatch in progress began.
    """
    number, size = jnp.cumsum(begin) - begin[0], len(k)

    def train(carry, mine):
        S, start, E = carry
        if starts is not None:
            S = jnp.where(jnp.any(starts & mine), 0, S)
        start = jnp.where(jnp.any(begin & mine), S, start)
        e = _signal(norm, dot(k, start.T), v, jnp.where(mine, beta, 0)[:, None])
        return S + dot(e.T, k), start, E + e

    def train_if_any(carry, n):
        mine = number == n
        return jax.lax.cond(jnp.any(mine), train, lambda carry, _: carry, carry, mine), None

    carry = *states, jnp.zeros_like(v)
    if starts is None:  # then at most two minibatches meet here
        for n in range(1 if minibatch % size == 0 else 2):
            carry = train(carry, number == n)
    else:
        carry, _ = jax.lax.scan(train_if_any, carry, jnp.arange(size))
    return carry[2], carry[:2]


def _norm(norm, V, dtype):
    if norm is None:
        return None
    if not isinstance(norm, LayerNorm):
        raise ValueError(f"norm: got a {type(norm).__name__}, expected None or a LayerNorm(weight, bias, eps)")
    sizes: _check.Sizes = {"V": (V, "v")}
    weight = _check.array("norm.weight", norm.weight, "V", sizes)
    bias = _check.array("norm.bias", norm.bias, "V", sizes)
    eps = jnp.asarray(_check.scalar("norm.eps", norm.eps, positive=True))
    return LayerNorm(*(x.astype(dtype) for x in (weight, bias, eps)))


def _call(q, k, v, beta, minibatch, norm, initial_state, segment_ids):
    minibatch = _check.count("minibatch", minibatch, least=1)
    call = base.arguments(q, k, v, {"beta": (beta, "T")}, segment_ids)
    S = base.initial(initial_state, (v.shape[1], k.shape[1]), call.v.dtype)
    call = call.beside(S)
    norm = _norm(norm, v.shape[1], call.v.dtype)
    return call, S, base.resets(None, call.starts, call.k), norm, begins(minibatch, call)


def _by_token(write, q, k, v, beta, minibatch, norm, scale, initial_state, segment_ids):
    call, S, _, norm, begin = _call(q, k, v, beta, minibatch, norm, initial_state, segment_ids)

    def update(carry, k_t, v_t, beta_t, begin_t):
        S, start = carry
        start = jnp.where(begin_t, S, start)
        return write(S, start, k_t, v_t, beta_t, norm), start

    tokens = call.k, call.v, call.gates["beta"], begin
    o, (S, _) = base.over_tokens(update, lambda S, q_t: scale * dot(S[0], q_t), (S, S), call, tokens)
    return o, S
