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
from dualform.rules import trajectory
from dualform.rules.chunks import over_chunks
from dualform.rules.forms import forms
from dualform.rules.minibatch import MINIBATCH, first
from dualform.rules.record import BETA, SQUARED, Dual, Option, Rule


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


def checked_norm(norm: LayerNorm | None, v: Array) -> LayerNorm | None:
    """A layer norm in the dtype of the values, whose axis it has.

    Raises:
        ValueError: no `LayerNorm`, shapes, an eps that is not above 0.
    """
    if norm is None:
        return None
    if not isinstance(norm, LayerNorm):
        raise ValueError(f"norm: got a {type(norm).__name__}, expected None or a LayerNorm(weight, bias, eps)")
    sizes: _check.Sizes = {"V": (v.shape[-1], "v")}
    weight = _check.array("norm.weight", norm.weight, "V", sizes)
    bias = _check.array("norm.bias", norm.bias, "V", sizes)
    eps = jnp.asarray(_check.scalar("norm.eps", norm.eps, positive=True))
    return LayerNorm(*(x.astype(v.dtype) for x in (weight, bias, eps)))


def loss(S, k, v, norm):
    """The inner loss of (T1), or of (T3) with a layer norm."""
    y = dot(S, k)
    return 0.5 * jnp.sum(((y if norm is None else norm(y)) - v) ** 2)


def descend(S, start, k, v, beta, norm):
    """(T1) as it is meant: the gradient at the minibatch's start."""
    return S - beta * jax.grad(loss)(start, k, v, norm)


def write(S, start, k, v, beta, norm):
    """One token of (T1), or of (T3)."""
    return S + jnp.outer(_signal(norm, dot(start, k), v, beta), k)


def block(states, q, k, v, beta, begins, starts, resets, *, norm, minibatch):
    """(T2), (T3) for a block of tokens: unscaled output [T, V] and the two states."""
    S = states[0]
    whole = trajectory.plain(k, resets)
    E, start = signals(states, whole, k, v, beta, begins, starts, norm, minibatch)
    return trajectory.read(whole, (S,), E, k, q), (trajectory.last(whole, (S,), E, k), start)


def unroll(states, q, k, v, beta, begins, starts, resets, *, norm, minibatch) -> Dual:
    """The dual form (T2): the error signals, each counting fully from its own token on."""
    whole = trajectory.plain(k, resets)
    E, _ = signals(states, whole, k, v, beta, begins, starts, norm, minibatch)
    return Dual(E, whole.weights[1:], k, q)


def signals(states, whole, k, v, beta, begins, starts, norm, minibatch):
    """The error signals of a block, and the layer at the start of the minibatch in progress after it.

    They are a solve (T2), or with a norm a walk through the minibatches (T3).
    """
    if norm is None:
        rows = trajectory.seen(whole, starts, first(begins))
        E = trajectory.errors(rows, states, k, v, beta)
        return E, trajectory.last(rows, states, E, k) if len(k) else states[1]
    tokens = k, v, beta, begins, starts
    E, (_, start) = over_chunks(_walk, states, tokens, minibatch, shared={"norm": norm}, minibatch=minibatch)
    return E, start


def _signal(norm, y, v, beta):
    """Error signals of the outputs y [V] or [T, V] that the layer gave at the minibatch's start (T3)."""
    return beta * (v - y) if norm is None else -beta * norm.pull(y, norm(y) - v)


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


def no_longer_than_a_minibatch(chunk_size, *, norm, minibatch):
    """With a layer norm, chunks whose edges are edges of minibatches, or lie inside one (T3)."""
    return chunk_size if norm is None else min(_check.count("chunk_size", chunk_size, least=1), minibatch)


NORM = Option(
    "norm", "None, or the `LayerNorm` that the layer is trained through", None, checked_norm, arrays=True,
)  # fmt: skip

RULE = Rule(
    "ttt", write, descend, block, unroll, gates=(BETA,), options=(MINIBATCH, NORM), erases=True,
    marks=("begins", "starts", "resets"), longest_chunk=no_longer_than_a_minibatch,
    loss=SQUARED, optimiser="minibatch gradient descent",
    recurrence=r"S_t = S_{t-1} + \beta (v - S_{start} k) k^\top", update="T1", label="T2",
    stability="beta |k|^2 times the minibatch <= 2",
    paper="Sun et al. 2024, Learning to (learn at test time) (arXiv 2407.04620)",
    aliases=("fla ttt_linear (target v - k)",),
    costs={
        "parallel": "O(T^2 (K + V)) time, O(T^2) memory; with a norm T / minibatch sequential steps.",
        "chunked": "O(T (K V + chunk (K + V))) time, T / chunk sequential steps, with a norm T / minibatch; backward "
        "keeps two states per chunk.",
    },
    example="""
>>> q = k = v = jnp.ones((3, 1))
>>> print(recurrent(q, k, v, beta=jnp.full(3, 0.5), minibatch=2)[0].ravel())
[0.5 1.  1. ]
""",
)  # fmt: skip


descent, recurrent, parallel, chunked, step, errors = forms(RULE)
