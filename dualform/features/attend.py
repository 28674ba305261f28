"""Attention with features in place of a softmax: linear attention, so it has a dual form and a running state."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dualform import _check
from dualform._numerics import ratio
from dualform.features import random_maps, taylor
from dualform.linear import Query, linear_attn
from dualform.rules import normalized

Values = Float[Array, "n V"]
Keys = Float[Array, "n K"]
Output = Float[Array, " V"] | Float[Array, "M V"]


def feature_attn(V: Values, phi_k: Float[Array, "n F"], phi_q: Query, *, causal: bool = False) -> Output:
    r"""Normalised attention of feature-mapped keys and queries, read by `dualform.linear.linear_attn` (FE1).

    The values are the error signals, the features $\phi(k_i)$ are the inputs, and the query is
    $\phi(q) / \sum_i \phi(k_i) \cdot \phi(q)$.

    Args:
        V: [n, V] values.
        phi_k: [n, F] features of the keys.
        phi_q: [F] features of one query, or [M, F].
        causal: token t reads tokens up to t only, by the rule `normalized`; needs M = n.

    Returns:
        [V] or [M, V] in the dtype of V; 0 where the normaliser is 0.

    Raises:
        ValueError: shapes, dtypes that differ, concrete values that are not finite.

    Cost: 2 M n (F + V) flops; `dualform.rules.normalized.chunked` has the causal form in O(n F V).

    >>> V, phi = jnp.array([[1.0], [3.0]]), jnp.ones((2, 5))
    >>> print(feature_attn(V, phi, phi[0]))
    [2.]

    References: Katharopoulos et al. 2020 (arXiv 2006.16236); Ren, Liu 2024 (arXiv 2310.13220).
    """
    sizes: _check.Sizes = {}
    V = _check.array("V", V, "n V", sizes)
    phi_k = _check.array("phi_k", phi_k, "n K", sizes)
    phi_q = _check.array("phi_q", phi_q, "n K" if causal else "K | M K", sizes)
    dtype = _check.same_dtype(V=V, phi_k=phi_k, phi_q=phi_q)
    wide = _check.compute_dtype(V)
    V, phi_k, phi_q = (x.astype(wide) for x in (V, phi_k, phi_q))
    if causal:
        return normalized.parallel(phi_q, phi_k, V, feature_map=_as_they_are)[0].astype(dtype)
    ones = jnp.ones((len(V), 1), wide)
    read = linear_attn(ones, phi_k, phi_q)
    return linear_attn(V, phi_k, ratio(phi_q, jnp.broadcast_to(read, phi_q.shape))).astype(dtype)


def taylor_attn(
    V: Values, K: Keys, q: Query, degree: int = 2, *, scale: _check.Scalar | None = None, causal: bool = False
) -> Output:
    r"""Softmax attention with the exponential series cut off after `degree` (FE2), a linear attention.

    Args:
        V: [n, V] values. K: [n, K] keys. q: [K] one query, or [M, K].
        degree: even ones give positive weights; odd ones may divide by zero. Static.
        scale: of the scores, K**-0.5 if None; its root multiplies keys and queries.
        causal: as `feature_attn`.

    Returns:
        [V] or [M, V] in the dtype of V; `taylor_attn_bound` says how far it may be from softmax attention.

    Raises:
        ValueError: as `feature_attn`; a negative scale or degree.

    Cost: that of `feature_attn` with F = C(K + degree, degree).

    >>> V, K = jnp.array([[1.0], [3.0]]), jnp.array([[0.0], [1.0]])
    >>> print(taylor_attn(V, K, jnp.array([1.0]), degree=8))  # (1 + 3 e) / (1 + e)
    [2.46211...]

    References: Katharopoulos et al. 2020 (arXiv 2006.16236); Arora et al. 2024, Based (arXiv 2402.18668).
    """
    V, K, q, dtype = _inputs(V, K, q, scale)
    features = partial(taylor.taylor_features, degree=degree)
    return feature_attn(V, features(K), features(q), causal=causal).astype(dtype)


def taylor_attn_bound(V: Values, K: Keys, q: Query, degree: int = 2, *, scale: _check.Scalar | None = None) -> Output:
    r"""What `taylor_attn` may differ by from softmax attention in exact arithmetic (FE4).

    $\delta / (1 - \delta)$ times the range of each coordinate of the values, $\delta$ the largest `taylor_bound` of a
    query's scores; infinite where $\delta \ge 1$.

    Args, Raises: those of `taylor_attn`.

    Returns:
        [V] or [M, V], in float32 or wider.

    >>> V, K = jnp.array([[1.0], [3.0]]), jnp.array([[0.0], [1.0]])
    >>> print(taylor_attn_bound(V, K, jnp.array([1.0]), degree=8))
    [5.5...e-06]
    """
    V, K, q, _ = _inputs(V, K, q, scale)
    if len(V) == 0:
        return jnp.zeros((*q.shape[:-1], V.shape[1]), V.dtype)
    delta = jnp.max(taylor.taylor_bound(jnp.matmul(q, K.T, precision="highest"), degree), axis=-1, keepdims=True)
    off = jnp.where(delta < 1, delta / (1 - jnp.where(delta < 1, delta, 0)), jnp.inf)
    span = jnp.max(V, axis=0) - jnp.min(V, axis=0)
    return off * span if q.ndim == 1 else off * span[None]


def random_attn(
    V: Values, K: Keys, q: Query, W: Float[Array, "m K"], kind: str = "positive", *,
    scale: _check.Scalar | None = None, causal: bool = False,
) -> Output:  # fmt: skip
    r"""Softmax attention estimated with random features (FE5, FE6, FE7), a linear attention.

    Numerator and denominator are unbiased; their ratio is not, but approaches softmax attention as m grows. No exponent
    overflows: each query's largest is subtracted, and the largest of all keys.

    Args:
        V: [n, V] values. K: [n, K] keys. q: [K] one query, or [M, K].
        W: [m, K] directions, of `gaussian` or `orthogonal`.
        kind: "positive", "hyperbolic" or "trigonometric". Static.
        scale: of the scores, K**-0.5 if None; its root multiplies keys and queries.
        causal: as `feature_attn`.

    Returns:
        [V] or [M, V] in the dtype of V.

    Raises:
        ValueError: as `feature_attn`; an unknown kind, a negative scale.

    Cost: that of `feature_attn` with F = m, or 2 m for the two kinds of pairs, and 2 (n + M) m K flops for features.

    >>> V, K = jnp.array([[1.0], [3.0]]), jnp.array([[0.0, 0.0], [0.3, 0.4]])
    >>> W = jax.random.normal(jax.random.key(0), (4096, 2))
    >>> exact = jax.nn.softmax(K @ K[1]) @ V
    >>> bool(jnp.abs(random_attn(V, K, K[1], W, scale=1.0) - exact)[0] < 0.02)
    True

    References: Choromanski et al. 2021, Rethinking attention with Performers (arXiv 2009.14794).
    """
    V, K, q, dtype = _inputs(V, K, q, scale)
    features = random_maps.map_named(kind)
    of_query = jax.lax.stop_gradient(random_maps.stable_shift(q, W, kind))
    of_keys = jax.lax.stop_gradient(jnp.max(random_maps.stable_shift(K, W, kind), initial=-jnp.inf)) if len(K) else 0.0
    return feature_attn(V, features(K, W, of_keys), features(q, W, of_query), causal=causal).astype(dtype)


def feature_map(W: Float[Array, "m K"], kind: str = "positive", shift: _check.Scalar = 0.0) -> Callable[[Array], Array]:
    """A random feature map as the `feature_map` of the rule `normalized`, for running states and chunks.

    Args:
        W: [m, K] directions.
        kind: a name in `MAPS`.
        shift: subtracted from all exponents, of queries and keys alike; the same in every call that continues a state.

    Returns:
        A function of [T, K] that returns [T, F].

    >>> phi = feature_map(jax.random.normal(jax.random.key(0), (16, 2)))
    >>> o, state = normalized.chunked(jnp.ones((3, 2)), jnp.ones((3, 2)), jnp.ones((3, 1)), feature_map=phi)
    >>> print(state.S.shape)
    (1, 16)
    """
    return partial(random_maps.map_named(kind), W=W, shift=shift)


def _as_they_are(x):
    return x


def _inputs(V, K, q, scale):
    """Checked arguments in the dtype to compute in, keys and queries each times the root of the scale."""
    sizes: _check.Sizes = {}
    V, K = _check.array("V", V, "n V", sizes), _check.array("K", K, "n K", sizes)
    q = _check.array("q", q, "K | M K", sizes)
    dtype = _check.same_dtype(V=V, K=K, q=q)
    scale = K.shape[1] ** -0.5 if scale is None else _check.scalar("scale", scale, positive=True)
    wide = _check.compute_dtype(V)
    root = jnp.sqrt(jnp.asarray(scale, wide)) if hasattr(scale, "dtype") else scale**0.5
    return V.astype(wide), K.astype(wide) * root, q.astype(wide) * root, dtype
