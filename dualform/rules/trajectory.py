r"""What a state is made of, moment by moment: shared by the rules whose error signals read the state.

Whatever the optimiser (minibatches, momentum, decay), as long as it is linear in the gradients, the state after $t$
tokens is a mixture of the states $I_c$ that a block of tokens begins with and of the outer products written since:

$$ S_t = \sum_c a_{tc} I_c + \sum_{i \le t} w_{ti}\, e_i k_i^\top.                                         \tag{F3} $$

If the error signal of token $i$ reads a state before it, of moment $r(i) < i$, as the squared loss does,
$e_i = \beta_i (v_i - S_{r(i)} k_i)$, then (F3) makes the error signals of all tokens one unit lower-triangular system:

$$ (I + L) E = \mathrm{diag}(\beta) \Bigl( V - \sum_c \mathrm{diag}(a_{rc})\, K I_c^\top \Bigr), \qquad
   L_{ij} = \beta_i\, w_{r(i) j}\, (k_i \cdot k_j).                                                       \tag{F4} $$
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from dualform._numerics import dot
from dualform.linear import linear_attn
from dualform.rules.decay import causal, from_start, spans
from dualform.rules.triangular import solve_unit_lower


class Path(NamedTuple):
    """(F3) at moments 0 to T: before the first token, and after each. N = T + 1, or T for a choice of moments."""

    initial: Float[Array, "N C"]
    weights: Float[Array, "N T"]


def path(initial, weights, first: tuple[float, ...]) -> Path:
    """A path from its rows after each token; `first` is the mixture before them."""
    begin = jnp.asarray(first, initial.dtype)[None]
    nothing = jnp.zeros((1, weights.shape[1]), weights.dtype)
    return Path(jnp.concatenate([begin, initial]), jnp.concatenate([nothing, weights]))


def plain(k, g: Float[Array, " T"] | None) -> Path:
    """Every outer product counts fully from its own token on, or as scalar decay lets it."""
    if g is None:
        weights = causal(jnp.ones((len(k), len(k)), k.dtype))
        return path(jnp.ones((len(k), 1), k.dtype), weights, (1.0,))
    return path(jnp.exp(from_start(g))[:, None], jnp.exp(spans(g)), (1.0,))


def seen(whole: Path, starts: Bool[Array, " T"] | None, first: Int[Array, " T"] | None = None) -> Path:
    """The moments r of (F4), one per token: just before the token `first` that each token's gradient goes back to.

    None is the token itself. Where `first` is negative it lies before the block: the state of that moment must be given
    as one more initial state, the last. The first token of a segment sees zeros.
    """
    rows = Path(*(x[:-1] for x in whole))
    if starts is not None:
        rows = Path(*(jnp.where(starts[:, None], 0, x) for x in rows))
    if first is None:
        return rows
    before = first[:, None] < 0
    rows = Path(*(jnp.where(before, 0, x[jnp.maximum(first, 0)]) for x in rows))
    return rows._replace(initial=jnp.concatenate([rows.initial, before.astype(rows.initial.dtype)], axis=1))


def errors(rows: Path, states: tuple, k, v, beta) -> Float[Array, "T V"]:
    """The error signals of a squared loss (F4) that saw the state at `rows`."""
    L = beta[:, None] * rows.weights * dot(k, k.T)
    return solve_unit_lower(L, beta[:, None] * (v - _mixture(rows, states, k)))


def read(whole: Path, states: tuple, E, k, q) -> Float[Array, "T V"]:
    """(F3) after each token, times its query."""
    rows = Path(*(x[1:] for x in whole))
    return _mixture(rows, states, q) + linear_attn(E, k, q, rows.weights)


def last(rows: Path, states: tuple, E, k) -> Float[Array, "V K"]:
    """The state at the last moment."""
    initial = sum(rows.initial[-1, c] * I for c, I in enumerate(states))
    return initial + dot((rows.weights[-1][:, None] * E).T, k)


def _mixture(rows, states, x):
    return sum(rows.initial[:, c, None] * dot(x, I.T) for c, I in enumerate(states))
