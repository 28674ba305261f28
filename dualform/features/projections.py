"""Directions for random features: independent Gaussian ones, and orthogonal ones that are Gaussian one by one."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dualform import _check


def gaussian(key: Array, draws: int, features: int, dtype=None) -> Float[Array, "m K"]:
    """Independent directions, each standard normal in R^K.

    Args:
        key: a JAX random key.
        draws: m, how many.
        features: K, entries of a key or query.
        dtype: JAX's default float if None.

    Returns:
        [m, K], one direction a row.

    Raises:
        ValueError: negative counts, no features.

    >>> gaussian(jax.random.key(0), 8, 3).shape
    (8, 3)
    """
    draws, features = _check.count("draws", draws), _check.count("features", features, least=1)
    return jax.random.normal(key, (draws, features), dtype or jnp.result_type(float))


def haar(key: Array, count: int, features: int, dtype=None) -> Float[Array, "count K K"]:
    r"""Orthogonal matrices, uniform (Haar): $Q\, \mathrm{sign}(\mathrm{diag} R)$ of a QR factorisation (FE10).

    The factorisation $G = QR$ of a Gaussian matrix is unique, and its $Q$ uniform, once the diagonal of $R$ is
    positive. LAPACK's is of either sign: the entry of $Q$ in the corner is then never positive, and $Q$ not uniform.

    Args:
        key: a JAX random key.
        count: how many matrices.
        features: K.
        dtype: JAX's default float if None.

    Returns:
        [count, K, K]; rows (and columns) are orthonormal.

    Raises:
        ValueError: negative counts, no features.

    Cost: count QR factorisations, O(count K^3).

    >>> Q = haar(jax.random.key(0), 1, 3)[0]
    >>> bool(jnp.max(jnp.abs(Q @ Q.T - jnp.eye(3))) < 1e-6)
    True

    References: Stewart 1980, The efficient generation of random orthogonal matrices; Mezzadri 2007, How to generate
    random matrices from the classical compact groups (arXiv math-ph/0609050).
    """
    count, features = _check.count("count", count), _check.count("features", features, least=1)
    G = jax.random.normal(key, (count, features, features), dtype or jnp.result_type(float))
    Q, R = jnp.linalg.qr(G)
    signs = jnp.where(jnp.diagonal(R, axis1=-2, axis2=-1) < 0, -1, 1).astype(Q.dtype)
    return Q * signs[:, None, :]


def orthogonal(key: Array, draws: int, features: int, dtype=None) -> Float[Array, "m K"]:
    """Directions that are orthogonal within each block of K, and standard normal each (FE8).

    Args and Returns are those of `gaussian`; rows 0 to K - 1 are one block, K to 2 K - 1 the next, and so on. Blocks
    are independent. Lengths are drawn as those of Gaussian vectors, so that features stay unbiased.

    Raises:
        ValueError: negative counts, no features.

    Cost: O(m K^2).

    >>> W = orthogonal(jax.random.key(0), 4, 3)
    >>> bool(jnp.abs(W[0] @ W[1]) < 1e-5), bool(jnp.abs(W[0] @ W[3]) < 1e-5)
    (True, False)

    References: Yu et al. 2016, Orthogonal random features (arXiv 1610.09072); Choromanski et al. 2021 (arXiv
    2009.14794).
    """
    draws, features = _check.count("draws", draws), _check.count("features", features, least=1)
    of_directions, of_lengths = jax.random.split(key)
    blocks = -(-draws // features)
    directions = haar(of_directions, blocks, features, dtype).reshape(blocks * features, features)[:draws]
    lengths = jnp.linalg.norm(gaussian(of_lengths, draws, features, dtype), axis=-1, keepdims=True)
    return lengths * directions
