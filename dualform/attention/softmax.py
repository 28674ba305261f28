r"""Softmax attention: the average of values with exponential weights (SX1), for all positions or causally.

Exponentials overflow, so a row of scores is shifted by its largest one before it is exponentiated; the average does not
change (SX5).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from dualform import _check
from dualform._numerics import dot, ratio

Values = Float[Array, "n V"]
Keys = Float[Array, "n K"]
Query = Float[Array, " K"] | Float[Array, "M K"]
Output = Float[Array, " V"] | Float[Array, "M V"]


def softmax_attn(V: Values, K: Keys, q: Query, scale: _check.Scalar | None = None) -> Output:
    r"""Softmax attention, $\sum_i w_i v_i / \sum_i w_i$ with $w_i = e^{\mathrm{scale}\, k_i \cdot q}$ (SX1).

    Args:
        V: `[n, V]` values.
        K: `[n, K]` keys.
        q: `[K]` one query, or `[M, K]` many.
        scale: multiplies every score; None for K**-0.5.

    Returns:
        `[V]` or `[M, V]`; zeros for n = 0.

    Raises:
        ValueError: wrong shapes, no features, different or non-float dtypes, concrete values that are not finite.

    Cost: 2 M n (V + K) flops, M n exponentials, M n numbers.

    >>> V, K = jnp.array([[0.0], [1.0]]), jnp.array([[0.0], [jnp.log(3.0)]])
    >>> print(softmax_attn(V, K, jnp.array([1.0]), scale=1.0).round(6))
    [0.75]

    References: Vaswani et al. 2017 (arXiv 1706.03762), eq. 1.
    """
    sizes: _check.Sizes = {}
    V, K = _check.array("V", V, "n V", sizes), _check.array("K", K, "n K", sizes)
    q = _check.array("q", q, "K | M K", sizes)
    dtype = _check.same_dtype(V=V, K=K, q=q)
    V, K, q = (x.astype(_check.compute_dtype(V)) for x in (V, K, q))
    w, _ = shifted(scores(K, q, scale))
    return average(w, V)[0].astype(dtype)


def causal_softmax_attn(
    V: Float[Array, "T V"], K: Float[Array, "T K"], Q: Float[Array, "T K"], scale: _check.Scalar | None = None,
    weights: Float[Array, "T T"] | None = None,
) -> Float[Array, "T V"]:  # fmt: skip
    r"""Softmax attention in which position t sees the positions up to t (SX1), each $w_i$ times a weight if given.

    Args:
        V: `[T, V]` values, one row a position.
        K, Q: `[T, K]` keys and queries.
        scale: multiplies every score; None for K**-0.5.
        weights: `[T, T]` positive numbers that multiply $w_i$ at `[t, i]`: what adding their logarithm to the scores
            does. None for 1. May be wider than the values.

    Returns:
        `[T, V]`.

    Raises:
        ValueError: as `softmax_attn`.

    Cost: 2 T^2 (V + K) flops, T^2 exponentials, T^2 numbers.

    >>> V, K = jnp.array([[2.0], [4.0]]), jnp.zeros((2, 1))
    >>> print(causal_softmax_attn(V, K, K).ravel())
    [2. 3.]
    """
    sizes: _check.Sizes = {}
    V, K = _check.array("V", V, "T V", sizes), _check.array("K", K, "T K", sizes)
    Q = _check.array("Q", Q, "T K", sizes)
    dtype = _check.same_dtype(V=V, K=K, Q=Q)
    if weights is not None:
        weights = _check.array("weights", weights, "T T", sizes)
        _check.no_narrower(dtype, weights=weights)
    wide = _check.compute_dtype(V, weights)
    V, K, Q = (x.astype(wide) for x in (V, K, Q))
    seen = jnp.tril(jnp.ones((len(V), len(V)), bool))
    w, _ = shifted(scores(K, Q, scale), seen)
    w = w if weights is None else w * weights.astype(wide)
    return average(w, V)[0].astype(dtype)


def average(w: Array, V: Values) -> tuple[Output, Array]:
    """The values averaged with weights `[..., n]`, and the sum of the weights; zero where that is zero (SX1)."""
    mass = jnp.sum(w, axis=-1)
    return ratio(dot(w, V), mass[..., None]), mass


def scores(K: Keys, q: Query, scale: _check.Scalar | None) -> Array:
    """scale k_i . q, with K**-0.5 for None."""
    scale = K.shape[-1] ** -0.5 if scale is None else _check.scalar("scale", scale)
    return jnp.asarray(scale, q.dtype) * dot(q, K.T)


def shifted(s: Array, seen: Bool[Array, "..."] | None = None) -> tuple[Array, Array]:
    """exp(s - c) and the shift c, the largest score of each row that is seen; what is not seen weighs 0 (SX5)."""
    if not s.shape[-1]:
        return s, jnp.zeros(s.shape[:-1], s.dtype)
    # the function does not depend on the shift, so neither may its gradient
    c = jax.lax.stop_gradient(jnp.max(s, axis=-1, where=seen, initial=-jnp.inf))
    if seen is None:
        return jnp.exp(s - c[..., None]), c
    below = jnp.where(seen, s - c[..., None], 0)  # exp of an unseen larger score would be infinite
    return jnp.where(seen, jnp.exp(below), 0), c
