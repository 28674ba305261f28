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
from dualform.rules import base


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
        return Decay(one, jnp.tril(jnp.ones((len(like), len(like)), like.dtype)), one, jnp.ones((1, 1), like.dtype))
    columns = g if g.ndim == 2 else g[:, None]
    whole = jnp.sum(columns, axis=0, keepdims=True)
    return Decay(*(jnp.exp(x) for x in (base.from_start(columns), base.spans(g), base.to_end(columns), whole)))


def scores(x: Float[Array, "T K"], y: Float[Array, "T K"], pairs: Float[Array, "T T *K"]) -> Float[Array, "T T"]:
    r"""$x_t \cdot \mathrm{diag}(w_{ti})\, y_i$ at [t, i] (L8)."""
    if pairs.ndim == 2:
        return pairs * dot(x, y.T)
    return jnp.einsum("tik,tk->ti", pairs * y[None], x, precision=jax.lax.Precision.HIGHEST)
