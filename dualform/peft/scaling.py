"""IA3 and BitFit: a trained number for each feature, multiplied or added."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from dualform import _check
from dualform.linear import linear_attn

Weight = Float[Array, "V K"]
PerFeature = Float[Array, " V"]
Query = Float[Array, " K"] | Float[Array, "M K"]
Output = Float[Array, " V"] | Float[Array, "M V"]


def ia3(W: Weight, l: PerFeature, x: Query) -> Output:
    r"""A frozen layer whose outputs are rescaled, $l \odot W x$ (PE13).

    Args:
        W: `[V, K]` frozen weight.
        l: `[V]` trained factors; ones at the start.
        x: `[K]` or `[M, K]` inputs.

    Returns:
        `[V]` or `[M, V]` in the dtype of x.

    Raises:
        ValueError: wrong shapes or dtypes, concrete values that are not finite.

    Cost: 2 M V K flops; V trained numbers.

    >>> print(ia3(jnp.eye(2), jnp.array([1.0, 3.0]), jnp.array([5.0, 7.0])))
    [ 5. 21.]

    References: Liu et al. 2022 (arXiv 2205.05638).
    """
    W, l, x, dtype = _layer(W, "l", l, x)
    return (jnp.broadcast_to(l, (*x.shape[:-1], len(l))) * _dot(x, W.T)).astype(dtype)


def ia3_dual(W: Weight, l: PerFeature, E: Float[Array, "n V"], X: Float[Array, "n K"], x: Query) -> Output:
    r"""The rescaled layer after training, as attention with a score for each output feature (PE14).

    Args:
        W: `[V, K]` frozen weight.
        l: `[V]` factors before training.
        E: `[n, V]` error signals of the layer's outputs.
        X: `[n, K]` inputs.
        x: `[K]` or `[M, K]` queries.

    Returns:
        `[V]` or `[M, V]` in the dtype of x.

    Raises:
        ValueError: wrong shapes or dtypes, concrete values that are not finite.

    Cost: 2 (M + n) V K + 2 M n V flops.

    >>> W, one = jnp.eye(2), jnp.ones(2)
    >>> print(ia3_dual(W, one, jnp.array([[1.0, 0.0]]), jnp.array([[2.0, 3.0]]), jnp.array([5.0, 7.0])))
    [15.  7.]
    """
    sizes: _check.Sizes = {}
    E, X = _check.array("E", E, "n V", sizes), _check.array("X", X, "n K", sizes)
    W, l, x, dtype = _layer(W, "l", l, x, sizes, E=E, X=X)
    keys, query = (_dot(p.astype(W.dtype), W.T) for p in (X, jnp.atleast_2d(x)))
    scores = keys[None] * query[:, None]  # [M, n, V]: one for each output feature
    out = l[None] * query + jnp.sum(E.astype(W.dtype)[None] * scores, axis=1)
    return out.reshape(*x.shape[:-1], len(l)).astype(dtype)


def bitfit_dual(W: Weight, b: PerFeature, E: Float[Array, "n V"], x: Query) -> Output:
    r"""A frozen layer after its bias was trained: attention in which every score is 1 (PE15).

    Args:
        W: `[V, K]` frozen weight.
        b: `[V]` bias before training.
        E: `[n, V]` error signals of the layer's outputs.
        x: `[K]` or `[M, K]` queries.

    Returns:
        `[V]` or `[M, V]` in the dtype of x; the training inputs are not needed, for nothing depends on them.

    Raises:
        ValueError: wrong shapes or dtypes, concrete values that are not finite.

    Cost: 2 M V K + n V flops; V trained numbers.

    >>> print(bitfit_dual(jnp.eye(2), jnp.zeros(2), jnp.array([[1.0, 2.0], [1.0, 0.0]]), jnp.array([5.0, 7.0])))
    [7. 9.]

    References: Ben Zaken, Ravfogel, Goldberg 2021, BitFit (arXiv 2106.10199).
    """
    sizes: _check.Sizes = {}
    E = _check.array("E", E, "n V", sizes)
    W, b, x, dtype = _layer(W, "b", b, x, sizes, E=E)
    ones = jnp.ones((len(E), 1), W.dtype), jnp.ones((*x.shape[:-1], 1), W.dtype)
    out = _dot(x, W.T) + linear_attn(E.astype(W.dtype), *ones)
    return (out + jnp.broadcast_to(b, out.shape)).astype(dtype)


def _layer(W, name, vector, x, sizes=None, **patterns):
    """The layer's arguments checked and widened, and the dtype of the result."""
    sizes = {} if sizes is None else sizes
    x, W = _check.array("x", x, "K | M K", sizes), _check.array("W", W, "V K", sizes)
    vector = _check.array(name, vector, "V", sizes)
    dtype = _check.same_dtype(x=x, **patterns)
    _check.no_narrower(dtype, W=W, **{name: vector})
    wide = _check.compute_dtype(W, vector, x)
    return W.astype(wide), vector.astype(wide), x.astype(wide), dtype


def _dot(a, b):
    return jnp.matmul(a, b, precision="highest")
