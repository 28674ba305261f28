r"""Momentum as it is: linear attention with heavy ball's coefficients (MA6), and softmax attention with them (MA11)."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from dualform import _check
from dualform.attention.softmax import causal_softmax_attn
from dualform.rules import momentum

Values = Float[Array, "T V"]
Tokens = Float[Array, "T K"]


def heavy_ball_weights(T: int, mu: _check.Scalar) -> Float[Array, "T T"]:
    r"""How much a pattern counts under heavy ball, $c_{ti} = \sum_{s=i}^t \mu^{s-i}$ at `[t, i]`, 0 for i > t (MA6).

    The last row is minus `dualform.descent.heavy_ball` at learning rate 1. The sum is summed: the fraction
    $(1 - \mu^{t-i+1}) / (1 - \mu)$ is 0/0 at 1.

    Args:
        T: number of positions; static.
        mu: momentum.

    Returns:
        `[T, T]`, in float32 or wider.

    Raises:
        ValueError: T not an integer >= 0, momentum not a finite number.

    Cost: O(T^2).

    >>> print(heavy_ball_weights(3, 0.5))
    [[1.   0.   0.  ]
     [1.5  1.   0.  ]
     [1.75 1.5  1.  ]]
    """
    T = _check.count("T", T)
    mu = _check.scalar("mu", mu)
    wide = _check.compute_dtype(mu)
    nothing = jnp.zeros((T, 1), wide)
    return momentum.errors(nothing, nothing, nothing, beta=jnp.ones(T, wide), mu=jnp.asarray(mu, wide)).weights


def heavy_ball_attn(V: Values, K: Tokens, Q: Tokens, mu: _check.Scalar, scale: _check.Scalar = 1.0) -> Values:
    r"""Linear attention with momentum: $\sum_{i \le t} c_{ti}\, v_i\, (k_i \cdot q_t)$ (MA6).

    The update rule "momentum" with step size 1, in this chapter's order of arguments.

    Args:
        V: `[T, V]` values, one row a position.
        K, Q: `[T, K]` keys and queries.
        mu: momentum.
        scale: multiplies every score.

    Returns:
        `[T, V]`.

    Raises:
        ValueError: as `moattn`.

    Cost: 2 T^2 (V + K) flops; `dualform.rules.momentum.chunked` takes O(T V K).

    >>> V = jnp.ones((3, 1))
    >>> print(heavy_ball_attn(V, V, V, 0.5).ravel())
    [1.   2.5  4.25]

    References: Polyak 1964.
    """
    V = _check.array("V", V, "T V")
    return momentum.parallel(Q, K, V, beta=jnp.ones(len(V), _check.compute_dtype(V)), mu=mu, scale=scale)[0]


def heavy_ball_softmax(
    V: Values, K: Tokens, Q: Tokens, mu: _check.Scalar, scale: _check.Scalar | None = None
) -> Values:
    r"""Causal softmax attention with heavy ball's coefficients on its exponentials (MA11).

    Args:
        V: `[T, V]` values, one row a position.
        K, Q: `[T, K]` keys and queries.
        mu: momentum, at least 0; 0 is plain attention.
        scale: multiplies the scores; None for K**-0.5.

    Returns:
        `[T, V]`, a convex mixture of the values seen.

    Raises:
        ValueError: as `moattn`; a concrete momentum below 0, for which weights could vanish.

    Cost: 2 T^2 (V + K) flops.

    >>> V = jnp.array([[0.0], [1.0]])
    >>> print(heavy_ball_softmax(V, 0 * V, 0 * V, 0.5).ravel())
    [0.  0.4]
    """
    V = _check.array("V", V, "T V")
    mu = _check.scalar("mu", mu)
    if _check.is_concrete(mu) and mu < 0:
        raise ValueError(f"mu: got {float(mu):g}, expected at least 0; a negative momentum gives weights of both signs")
    wide = jnp.asarray(mu, _check.compute_dtype(V))
    return causal_softmax_attn(V, K, Q, scale, heavy_ball_weights(len(V), wide))
