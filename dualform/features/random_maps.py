r"""Random features, made of $w \cdot x$ for random directions $w$, with $E\, \phi(q) \cdot \phi(k) = e^{q \cdot k}$.

All three have the form $e^{a(x)}$ or $e^{a(x)}$ times a cosine. Exponents are large where $x$ is, so a `shift` may be
subtracted from them: a number for each query cancels in normalised attention, and so does one number for all keys.
`stable_shift` gives the largest exponent of each row.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

from dualform import _check

Rows = Float[Array, "*batch K"]
Features = Float[Array, "*batch F"]
Shift = _check.Scalar | Float[Array, "*batch 1"]


def positive_features(x: Rows, W: Float[Array, "m K"], shift: Shift = 0.0) -> Features:
    r"""$\phi(x)_r = m^{-1/2} e^{w_r \cdot x - |x|^2/2}$ (FE5): positive, so that weights are too.

    Args:
        x: [..., K] keys or queries.
        W: [m, K] directions, e.g. of `gaussian` or `orthogonal`.
        shift: subtracted from every exponent; a number, or [..., 1], one for each row.

    Returns:
        [..., m], in the dtype of x.

    Raises:
        ValueError: shapes, dtypes, concrete values that are not finite.

    Cost: 2 m K flops and m exponentials for each row. Exponents are at most |w|^2 / 2, about K / 2, whatever x is.

    >>> print(positive_features(jnp.zeros((1, 3)), jnp.ones((4, 3))))
    [[0.5 0.5 0.5 0.5]]

    References: Choromanski et al. 2021, Rethinking attention with Performers (arXiv 2009.14794), lemma 1.
    """
    x, W, dtype = _arguments(x, W)
    exponent = _project(x, W) - _half_square(x)
    return (jnp.exp(exponent - shift) / jnp.sqrt(jnp.asarray(len(W), x.dtype))).astype(dtype)


def hyperbolic_features(x: Rows, W: Float[Array, "m K"], shift: Shift = 0.0) -> Features:
    r"""$\phi(x) = (2m)^{-1/2} e^{-|x|^2/2} (e^{w_r \cdot x}, e^{-w_r \cdot x})_r$ (FE6): positive, and even in $w$.

    Args, Raises and Cost are those of `positive_features`. Returns [..., 2 m].

    >>> print(hyperbolic_features(jnp.zeros((1, 3)), jnp.ones((2, 3))))
    [[0.5 0.5 0.5 0.5]]

    References: Choromanski et al. 2021 (arXiv 2009.14794), lemma 1.
    """
    x, W, dtype = _arguments(x, W)
    projected, half = _project(x, W), _half_square(x)
    exponent = jnp.concatenate([projected - half, -projected - half], axis=-1)
    return (jnp.exp(exponent - shift) / jnp.sqrt(jnp.asarray(2 * len(W), x.dtype))).astype(dtype)


def trigonometric_features(x: Rows, W: Float[Array, "m K"], shift: Shift = 0.0) -> Features:
    r"""$\phi(x) = m^{-1/2} e^{|x|^2/2} (\cos w_r \cdot x, \sin w_r \cdot x)_r$ (FE7): weights may be negative.

    Args, Raises and Cost are those of `positive_features`. Returns [..., 2 m].

    >>> print(trigonometric_features(jnp.zeros((1, 3)), jnp.ones((4, 3))))
    [[0.5 0.5 0.5 0.5 0. 0. 0. 0. ]]

    References: Rahimi, Recht 2007, Random features for large-scale kernel machines; Choromanski et al. 2021 (arXiv
    2009.14794), eq. 5.
    """
    x, W, dtype = _arguments(x, W)
    projected = _project(x, W)
    waves = jnp.concatenate([jnp.cos(projected), jnp.sin(projected)], axis=-1)
    return (jnp.exp(_half_square(x) - shift) * waves / jnp.sqrt(jnp.asarray(len(W), x.dtype))).astype(dtype)


MAPS: dict[str, Callable] = {
    "positive": positive_features,
    "hyperbolic": hyperbolic_features,
    "trigonometric": trigonometric_features,
}
"""Random feature maps by name."""


def stable_shift(x: Rows, W: Float[Array, "m K"], kind: str = "positive") -> Float[Array, "*batch 1"]:
    """The largest exponent of each row's features; subtracted from queries one by one, from keys by their maximum.

    Args:
        x, W: those of the feature map.
        kind: its name in `MAPS`.

    Returns:
        [..., 1], float32 or wider.

    Raises:
        ValueError: as the feature maps; an unknown kind.

    >>> print(stable_shift(jnp.array([[2.0, 0.0]]), jnp.eye(2)))
    [[0.]]
    """
    map_named(kind)
    x, W, _ = _arguments(x, W)
    if kind == "trigonometric":
        return _half_square(x)
    projected = _project(x, W)
    projected = jnp.abs(projected) if kind == "hyperbolic" else projected
    return jnp.max(projected, axis=-1, keepdims=True) - _half_square(x)


def map_named(kind: str) -> Callable:
    """A feature map by name.

    Raises:
        ValueError: an unknown kind.
    """
    if kind not in MAPS:
        raise ValueError(f"kind: got {kind!r}, expected one of {', '.join(MAPS)}; see dualform.features")
    return MAPS[kind]


def _arguments(x, W):
    x, W = _check.float_array("x", x), _check.array("W", W, "M K")
    if x.ndim == 0 or x.shape[-1] != W.shape[1]:
        raise ValueError(f"x: got shape {x.shape}, expected [..., {W.shape[1]}], K as in W; draw W for K = x.shape[-1]")
    if len(W) == 0:
        raise ValueError(f"W: got shape {W.shape}, expected at least one direction; draw more")
    _check.require_finite("x", x)
    wide = _check.compute_dtype(x, W)
    return x.astype(wide), W.astype(wide), x.dtype


def _project(x, W):
    return jnp.matmul(x, W.T, precision="highest")


def _half_square(x):
    return jnp.sum(x * x, axis=-1, keepdims=True) / 2
