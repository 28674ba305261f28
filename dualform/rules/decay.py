r"""What the decays inside a block of tokens do to a read.

A token that was written at step i and is read at step t has decayed by the gates after i up to t, one for the whole
state or one per key channel c, and what was there before the block by all gates up to t:

$$ w_{tic} = e^{g_{i+1,c} + \dots + g_{t,c}} \quad (i \le t),
   \qquad w_{t0c} = e^{g_{1,c} + \dots + g_{t,c}}.                                                         \tag{U3} $$

A read is then $x \cdot \mathrm{diag}(w_{ti})\, y$ for each pair of tokens (L8). With one gate per channel this costs
T^2 K numbers and does not become a product of matrices: dividing y by its prefix of decays, as $(x w_{t0}) \cdot
(y / w_{i0})$, would, but it overflows from a summed decay of -88 in float32 and is 0/0 after a reset. Chunks keep T
small instead.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dualform._numerics import dot

SHORT = 128
"""Tokens of the longest block whose decays are summed by products and masks, T^3 and T^2 additions, which are faster
than cumulative sums while they are few."""


class Decay(NamedTuple):
    """Decays of a block (U3), with C = K where they are one per key channel and C = 1 otherwise.

    Multiply queries by `start` to read the state before the block, keys by `end` to write the state after it, and that
    state by `all`.
    """

    start: Float[Array, "T C"]
    pairs: Float[Array, "T T *K"]
    end: Float[Array, "T C"]
    all: Float[Array, "1 C"]


def decays(g: Array | None, like: Float[Array, "T K"]) -> Decay:
    """The decays (U3) of log gates [T] or [T, K]; ones, and causal, where there are none."""
    if g is None:
        one = jnp.ones((len(like), 1), like.dtype)
        return Decay(one, causal(jnp.ones((len(like), len(like)), like.dtype)), one, jnp.ones((1, 1), like.dtype))
    columns = g if g.ndim == 2 else g[:, None]
    whole = jnp.sum(columns, axis=0, keepdims=True)
    return Decay(*(jnp.exp(x) for x in (from_start(columns), spans(g), to_end(columns), whole)))


def one_earlier(decay: Decay) -> tuple[Array, Array]:
    """(start, pairs) as a token finds them before its own decay: those of the token before it."""
    start = jnp.concatenate([jnp.ones_like(decay.start[:1]), decay.start[:-1]])
    return start, jnp.concatenate([jnp.zeros_like(decay.pairs[:1]), decay.pairs[:-1]])


def scores(x: Float[Array, "T K"], y: Float[Array, "T K"], pairs: Float[Array, "T T *K"]) -> Float[Array, "T T"]:
    r"""$x_t \cdot \mathrm{diag}(w_{ti})\, y_i$ at [t, i] (L8)."""
    if pairs.ndim == 2:
        return pairs * dot(x, y.T)
    return jnp.einsum("tik,tk->ti", pairs * y[None], x, precision=jax.lax.Precision.HIGHEST)


def causal(scores: Float[Array, "T T"]) -> Float[Array, "T T"]:
    """Scores of a token with itself and earlier ones."""
    return jnp.tril(scores)


def spans(g: Array) -> Array:
    r"""The log decay between two tokens of g [T] or [T, K], $\sum_{i < s \le t} g_s$ at [t, i], and -inf where i > t.

    Each span is summed as that span. Differences of prefix sums would cancel where decays are strong (float32 is off by
    2e-4 at alternating -100 and -0.01) and give NaN after a reset.
    """
    T = len(g)
    s, i = jnp.arange(T)[:, None], jnp.arange(T)[None, :]
    if g.ndim == 1 and T <= SHORT:  # a product with zeros and ones sums all spans; a reset, no number of it, cuts them
        reset = g == -jnp.inf
        part = jnp.sum(_up_to(reset), axis=1)
        total = dot(_up_to(jnp.where(reset, 0, g)), (s > i).astype(g.dtype))
        return jnp.where((s >= i) & (part[:, None] == part[None, :]), total, -jnp.inf)
    later = (s > i).reshape(T, T, *(1,) * (g.ndim - 1))
    total = jnp.cumsum(jnp.where(later, g[:, None], 0), axis=0)
    return jnp.where((s >= i).reshape(later.shape), total, -jnp.inf)


def from_start(g: Array) -> Array:
    r"""The log decay from the initial state up to and with each token, $\sum_{s \le t} g_s$."""
    return jnp.sum(_up_to(g), axis=1) if g.ndim == 1 and len(g) <= SHORT else jnp.cumsum(g, axis=0)


def to_end(g: Array) -> Array:
    r"""The log decay after each token up to the end, $\sum_{s > t} g_s$, summed as it stands."""
    if g.ndim == 1 and len(g) <= SHORT:
        t = jnp.arange(len(g))
        return jnp.sum(jnp.where(t[:, None] < t[None, :], g[None, :], 0), axis=1)
    return jnp.cumsum(jnp.concatenate([g[1:], jnp.zeros_like(g[:1])])[::-1], axis=0)[::-1]


def _up_to(g: Float[Array, " T"]) -> Float[Array, "T T"]:
    """g_s at [t, s] for s up to t, else 0."""
    t = jnp.arange(len(g))
    return jnp.where(t[:, None] >= t[None, :], g[None, :], 0)
