"""Minibatches of tokens that share one gradient point: where they begin, and how far a serving state is in its own."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from dualform import _check
from dualform.rules.record import Option, layer
from dualform.rules.tokens import Call

MINIBATCH = Option(
    "minibatch", "tokens that share one gradient point, at least 1; it need not divide T; static",
    check=lambda value, v: _check.count("minibatch", value, least=1), tried=2,
)  # fmt: skip
"""A rule that has this option gets the layer at the start of the token's minibatch after the state."""


class Serving(NamedTuple):
    """A state inside a minibatch: what the recurrence holds, the layer at the minibatch's start, its tokens so far."""

    state: Array | tuple
    start: Float[Array, "V K"]
    count: Int[Array, ""]


def begins(minibatch: int, call: Call) -> Bool[Array, " T"]:
    """The first token of every minibatch, counted from the start of the call and of each segment, without padding."""
    T = len(call.k)
    if call.starts is None or not T:
        return jnp.arange(T) % minibatch == 0
    count = jnp.cumsum(~call.padding) - 1
    origin = jax.lax.cummax(jnp.where(call.starts, count, 0))
    return ~call.padding & ((count - origin) % minibatch == 0)


def first(begin: Bool[Array, " T"]) -> Int[Array, " T"]:
    """For each token the first of its minibatch, -1 if that lies before the block."""
    return jax.lax.cummax(jnp.where(begin, jnp.arange(len(begin)), -1)) if len(begin) else jnp.arange(0)


def at_minibatch(state, minibatch: int) -> Serving:
    """The serving state before the next token, a new minibatch begun if the last one is full."""
    minibatch = _check.count("minibatch", minibatch, least=1)
    if not isinstance(state, Serving):
        return Serving(state, layer(state), jnp.zeros((), jnp.int32))
    full = state.count == minibatch
    start = jnp.where(full, layer(state.state), state.start)
    return Serving(state.state, start, jnp.where(full, 0, state.count))
