r"""Mean squared errors of random features as estimates of $e^{q \cdot k}$: exact, and an upper bound (FE5 to FE9).

All are means over the directions for one fixed pair (q, k), and all estimates are unbiased, so these are variances.
"""

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln, xlogy
from jaxtyping import Array, Float

from dualform import _check

Rows = Float[Array, "*batch K"]
Batch = Float[Array, "*batch"]

TERMS = 512
"""Terms of the series of (FE8); what is left of it is bounded by its last factor."""


def positive_mse(q: Rows, k: Rows, draws: int) -> Batch:
    r"""$e^{2 q \cdot k} (e^{\lambda} - 1) / m$ with $\lambda = |q + k|^2$, for m independent positive features (FE5).

    Args:
        q, k: [..., K] a query and a key, broadcast against each other.
        draws: m, how many directions. Static.

    Returns:
        [...] mean squared errors, in float32 or wider.

    Raises:
        ValueError: shapes, dtypes, no draws.

    >>> q = jnp.array([0.6, 0.8])
    >>> print(positive_mse(q, -q, 16), positive_mse(q, 0 * q, 16))
    0.0 0.10739...

    References: Choromanski et al. 2021 (arXiv 2009.14794), lemma 2.
    """
    score, plus, _, m = _pair(q, k, draws)
    return jnp.exp(2 * score) * jnp.expm1(plus) / m


def hyperbolic_mse(q: Rows, k: Rows, draws: int) -> Batch:
    r"""$\tfrac12 (1 - e^{-\lambda})$ times that of `positive_mse`, for m directions and 2 m features (FE6).

    Args, Returns, Raises are those of `positive_mse`.

    >>> q = jnp.array([0.6, 0.8])
    >>> print(hyperbolic_mse(q, 0 * q, 16))
    0.03394...

    References: Choromanski et al. 2021 (arXiv 2009.14794), lemma 2.
    """
    score, plus, _, m = _pair(q, k, draws)
    return -jnp.exp(2 * score) * jnp.expm1(plus) * jnp.expm1(-plus) / (2 * m)


def trigonometric_mse(q: Rows, k: Rows, draws: int) -> Batch:
    r"""$e^{|q|^2 + |k|^2} (1 - e^{-|q - k|^2})^2 / (2m)$, for m directions and 2 m features (FE7).

    Args, Returns, Raises are those of `positive_mse`.

    >>> q = jnp.array([0.6, 0.8])
    >>> print(trigonometric_mse(q, q, 16))
    0.0

    References: Yu et al. 2016 (arXiv 1610.09072); Choromanski et al. 2021 (arXiv 2009.14794), lemma 2.
    """
    score, plus, minus, m = _pair(q, k, draws)
    return jnp.exp(plus - 2 * score) * jnp.expm1(-minus) ** 2 / (2 * m)  # |q|^2 + |k|^2 = |q + k|^2 - 2 q.k


def orthogonal_mse(q: Rows, k: Rows, draws: int) -> Batch:
    r"""The exact error of positive features with `orthogonal` directions, any number of blocks (FE8).

    Args, Returns, Raises are those of `positive_mse`.

    Cost: 512 terms of a series for each pair.

    >>> q = jnp.array([0.6, 0.8])
    >>> bool(orthogonal_mse(q, q, 2) < positive_mse(q, q, 2))
    True

    References: derived here, see the chapter's introduction; Choromanski et al. 2021 (arXiv 2009.14794), theorem 2, has
    the upper bound.
    """
    score, plus, _, m = _pair(q, k, draws)
    K = jnp.shape(q)[-1]
    return jnp.exp(2 * score) * (jnp.expm1(plus) / m - _same_block(m, K) * _deficit(plus, K))


def orthogonal_bound(q: Rows, k: Rows, draws: int) -> Batch:
    r"""An upper bound on `orthogonal_mse`: `positive_mse` less $\tfrac{2f}{K+2}(e^{q\cdot k}-e^{-(|q|^2+|k|^2)/2})^2$.

    $f$ is the part of all ordered pairs of directions that are in one block and different, $(m - 1) / m$ for a single
    block (FE9).

    Args, Returns, Raises are those of `positive_mse`.

    >>> q = jnp.array([0.6, 0.8])
    >>> bool(orthogonal_mse(q, q, 2) <= orthogonal_bound(q, q, 2) < positive_mse(q, q, 2))
    True

    References: Choromanski et al. 2021 (arXiv 2009.14794), theorem 2, for one block.
    """
    score, plus, _, m = _pair(q, k, draws)
    K = jnp.shape(q)[-1]
    gained = 2 / (K + 2) * jnp.expm1(-plus / 2) ** 2
    return jnp.exp(2 * score) * (jnp.expm1(plus) / m - _same_block(m, K) * gained)


def _pair(q, k, draws):
    """q.k, |q + k|^2, |q - k|^2 and the number of draws."""
    q, k = _check.float_array("q", q), _check.float_array("k", k)
    if q.ndim == 0 or k.ndim == 0 or q.shape[-1] != k.shape[-1] or q.shape[-1] == 0:
        raise ValueError(f"q, k: got shapes {q.shape} and {k.shape}, expected [..., K] with one K for both; reshape")
    wide = _check.compute_dtype(q, k)
    q, k = q.astype(wide), k.astype(wide)
    score, plus, minus = (jnp.sum(x, axis=-1) for x in (q * k, (q + k) ** 2, (q - k) ** 2))
    return score, plus, minus, _check.count("draws", draws, least=1)


def _same_block(m, K):
    """The part of the m^2 ordered pairs of directions that are orthogonal."""
    whole, rest = divmod(m, K)
    return (whole * K * (K - 1) + rest * (rest - 1)) / m**2


def _deficit(plus, K):
    r"""$E_{N \sim \mathrm{Poisson}(\lambda)} [1 - \prod_{j<N} (K + j)/(K + 2j)]$ (FE8); every term is positive."""
    j = np.arange(TERMS)
    lost = 1 - np.concatenate([[1.0, 1.0], np.cumprod((K + j[1:]) / (K + 2 * j[1:]))])  # N = 0, 1, then 2, 3, ...
    n = jnp.arange(TERMS + 1, dtype=plus.dtype)
    n = n.reshape(*(1,) * plus.ndim, -1)
    weights = jnp.exp(xlogy(n, plus[..., None]) - plus[..., None] - gammaln(n + 1))
    seen = jnp.matmul(weights, jnp.asarray(lost, plus.dtype), precision="highest")
    return seen + lost[-1] * jnp.maximum(1 - jnp.sum(weights, axis=-1), 0)
