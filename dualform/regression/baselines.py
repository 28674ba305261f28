r"""Predictors to compare with: least squares, ridge, averaging, nearest neighbours, lasso; and their exact risks.

Ridge regression with parameter $\lambda$ is a solve with the smaller of two matrices,

$$ w_\lambda = (X^\top X + \lambda I)^{-1} X^\top y = X^\top (X X^\top + \lambda I)^{-1} y,             \tag{GP5} $$

and at $\lambda = 0$ it is least squares: the solution where $k \ge d$, the one of least norm where $k < d$. With
$w \sim N(0, \tau^2 I)$ and label noise $\sigma$ the posterior mean of $w$ is ridge with $\lambda = \sigma^2 / \tau^2$,

$$ E[w \mid X, y] = \tau^2 X^\top (\tau^2 X X^\top + \sigma^2 I)^{-1} y.                              \tag{GP6} $$

Averaging, $w = \frac1k \sum_i y_i x_i$, is one step of gradient descent from zero; with the divisor $k + d + 1 +
\sigma^2$ for k it is the best such step for standard normal inputs and tasks.

Risks are $E(\hat y - w \cdot x_q)^2 / d$ for $x, w \sim N(0, I)$, a query without noise: 1 for predicting zero, and

$$ R_{OLS} = 1 - \frac kd + \frac{\sigma^2 k}{d(d - k - 1)} \ (k < d - 1), \qquad
   \frac{\sigma^2}{k - d - 1} \ (k > d + 1),                                                          \tag{GP7} $$

infinite between these if there is noise and $\max(0, 1 - k/d)$ if not; for $w = \frac pk \sum_i y_i x_i$

$$ R(p) = (1 - p)^2 + \frac{p^2}{k} (d + 1 + \sigma^2), \qquad
   \min_p R = \frac{d + 1 + \sigma^2}{k + d + 1 + \sigma^2};                                         \tag{GP8} $$

and for ridge, given the inputs, with $S = X^\top X$ and $\lambda_0 = \sigma^2/\tau^2$ (not divided by d)

$$ R_\lambda = \mathrm{tr}\,(\lambda^2 \tau^2 I + \sigma^2 S)(S + \lambda I)^{-2}
   = \sigma^2\, \mathrm{tr}\,(S + \lambda_0 I)^{-1}
   + \tau^2 (\lambda - \lambda_0)^2\, \mathrm{tr}\, S (S + \lambda I)^{-2} (S + \lambda_0 I)^{-1},    \tag{GP9} $$

so on no set of inputs is another parameter better than $\lambda_0$.

References: Garg et al. 2022 (arXiv 2208.01066), section 3; Akyurek et al. 2023 (arXiv 2211.15661), section 4; Hastie,
Montanari, Rosset, Tibshirani 2022, Surprises in high-dimensional ridgeless least squares (arXiv 1903.08560).
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dualform import _check
from dualform._numerics import dot

Inputs = Float[Array, "k d"]
Labels = Float[Array, " k"]
Vector = Float[Array, " d"]


def ridge(x: Inputs, y: Labels, lam: _check.Scalar) -> Vector:
    r"""Ridge regression without intercept (GP5): the w of least $|Xw - y|^2 + \lambda |w|^2$.

    Args:
        x: `[k, d]` inputs.
        y: `[k]` labels.
        lam: parameter, at least 0; a sum over examples is penalised, not a mean.

    Returns:
        `[d]`, in float32 for 16-bit inputs. At 0 the inputs must be in general position, and errors grow with the
        square of X's condition number: take float64 where k is near d.

    Raises:
        ValueError: wrong shapes, dtypes that differ, concrete values that are not finite, a parameter below 0.

    Cost: 2 k d m + m^3 / 3 multiplications, m = min(k, d).

    >>> print(ridge(jnp.array([[2.0, 0.0]]), jnp.array([4.0]), 4.0))
    [1. 0.]

    References: Hoerl and Kennard 1970.
    """
    x, y, lam = _arguments(x, y, lam)
    k, d = x.shape
    small = k <= d
    gram = dot(x, x.T) if small else dot(x.T, x)
    gram = gram + jnp.asarray(lam, x.dtype) * jnp.eye(min(k, d), dtype=x.dtype)
    if not k:
        return jnp.zeros(d, x.dtype)
    return dot(jnp.linalg.solve(gram, y), x) if small else jnp.linalg.solve(gram, dot(y, x))


def ols(x: Inputs, y: Labels) -> Vector:
    """Least squares, and of several solutions the one of least norm: (GP5) at 0. As `ridge`.

    >>> print(ols(jnp.array([[1.0, 1.0]]), jnp.array([4.0])))
    [2. 2.]
    """
    return ridge(x, y, 0.0)


def bayes(x: Inputs, y: Labels, sigma: _check.Scalar, tau: _check.Scalar = 1.0) -> Vector:
    """The posterior mean of w ~ N(0, tau^2 I) under label noise sigma > 0: `ridge` at sigma^2 / tau^2 (GP6).

    >>> print(bayes(jnp.array([[2.0, 0.0]]), jnp.array([4.0]), sigma=2.0))
    [1. 0.]
    """
    tau = _check.scalar("tau", tau, positive=True)
    return ridge(x, y, (_check.scalar("sigma", sigma) / tau) ** 2)


def averaging(x: Inputs, y: Labels, divisor: _check.Scalar | None = None) -> Vector:
    """The sum of labels times inputs over k, or over another divisor.

    Args:
        x, y: `[k, d]` and `[k]`.
        divisor: None for k; `best_divisor(k, d, sigma)` for the best step (GP8).

    Returns:
        `[d]`; zeros for k = 0.

    Raises:
        ValueError: as `ridge`; a divisor that is not above zero.

    Cost: k d multiplications.

    >>> print(averaging(jnp.array([[1.0, 0.0], [3.0, 2.0]]), jnp.array([1.0, 1.0])))
    [2. 1.]

    References: Garg et al. 2022 (arXiv 2208.01066), section 3.
    """
    x, y, _ = _arguments(x, y, 0.0)
    count = max(len(x), 1) if divisor is None else _check.scalar("divisor", divisor, positive=True)
    return dot(y, x) / jnp.asarray(count, x.dtype)


def best_divisor(k: int, d: int, sigma: float = 0.0) -> float:
    """The divisor of the best step for standard normal inputs and tasks (GP8).

    >>> print(best_divisor(40, 20))
    61.0
    """
    return k + d + 1 + sigma**2


def nearest(x: Inputs, y: Labels, query: Vector, neighbours: int = 3) -> Float[Array, ""]:
    """The mean label of the nearest inputs, of all of them if there are fewer; 0 if there are none.

    Args:
        x, y: `[k, d]` and `[k]`.
        query: `[d]`.
        neighbours: how many.

    Returns:
        One number.

    Raises:
        ValueError: as `ridge`; no neighbours.

    Cost: k d multiplications and a sort.

    >>> print(nearest(jnp.array([[0.0], [1.0], [9.0]]), jnp.array([2.0, 4.0, 100.0]), jnp.array([0.4]), neighbours=2))
    3.0
    """
    x, y, _ = _arguments(x, y, 0.0)
    query = _check.array("query", query, "d", {"d": (x.shape[1], "x")})
    m = min(_check.count("neighbours", neighbours, 1), len(x))
    if not m:
        return jnp.zeros((), y.dtype)
    near = jax.lax.top_k(-jnp.sum((x - query[None]) ** 2, axis=1), m)[1]
    return jnp.mean(y[near])


def lasso(x: np.ndarray, y: np.ndarray, alpha: float = 0.01) -> np.ndarray:
    r"""The w of least $|Xw - y|^2 / 2k + \alpha |w|_1$, by scikit-learn.

    Args:
        x, y: `[k, d]` and `[k]`.
        alpha: parameter.

    Returns:
        `[d]`; zeros for k = 0.

    Cost: some passes of coordinate descent.

    >>> print(lasso(np.eye(2), np.array([3.0, 0.1]), alpha=0.5))  # every entry shrinks by k alpha
    [2. 0.]
    """
    from sklearn.linear_model import Lasso

    if not len(x):
        return np.zeros(np.shape(x)[1])
    return Lasso(alpha=alpha, fit_intercept=False).fit(np.asarray(x), np.asarray(y)).coef_


def ols_risk(k: int, d: int, sigma: float = 0.0) -> float:
    """The risk of least squares, over d (GP7).

    >>> print(ols_risk(5, 20), ols_risk(30, 20), ols_risk(30, 20, sigma=1.0), ols_risk(20, 20, sigma=1.0))
    0.75 0.0 0.1111111111111111 inf
    """
    if not sigma:
        return max(0.0, 1 - k / d)
    if d - 1 <= k <= d + 1:
        return float("inf") if k else 1.0
    return 1 - k / d + sigma**2 * k / (d * (d - k - 1)) if k < d else sigma**2 / (k - d - 1)


def averaging_risk(k, d, p=1.0, sigma=0.0):
    """The risk of the sum of labels times inputs times p / k, over d; the first of (GP8).

    >>> print(averaging_risk(10, 20))
    2.1
    """
    return (1 - p) ** 2 + p**2 / k * (d + 1 + sigma**2)


def best_averaging_risk(k, d, sigma=0.0):
    """The least of these: the best step of gradient descent, or the best one-layer linear attention (GP8).

    >>> print(best_averaging_risk(10, 5))
    0.375
    """
    return (d + 1 + sigma**2) / (k + d + 1 + sigma**2)


def ridge_risk(x: Inputs, lam: _check.Scalar, sigma: _check.Scalar, tau: _check.Scalar = 1.0) -> Float[Array, ""]:
    """The risk of ridge on these inputs, over all tasks, noises and standard normal queries; not divided by d (GP9).

    Args:
        x: `[k, d]` inputs.
        lam: parameter of ridge.
        sigma: label noise.
        tau: standard deviation of the entries of w.

    Returns:
        One number.

    Raises:
        ValueError: as `ridge`.

    Cost: k d^2 + 4 d^3 / 3 multiplications.

    >>> print(ridge_risk(jnp.zeros((0, 3)), 1.0, 0.5))  # no example: the risk of zero
    3.0
    """
    x = _check.array("x", x, "k d")
    x, d = x.astype(_check.compute_dtype(x)), x.shape[1]
    S, eye = dot(x.T, x), jnp.eye(d, dtype=x.dtype)
    A = jnp.linalg.solve(S + lam * eye, eye)
    return lam**2 * tau**2 * jnp.sum(A * A.T) + sigma**2 * jnp.sum(dot(A, S) * A.T)


def _arguments(x, y, lam):
    sizes: _check.Sizes = {}
    x, y = _check.array("x", x, "k d", sizes), _check.array("y", y, "k", sizes)
    _check.same_dtype(x=x, y=y)
    lam = _check.scalar("lam", lam)
    if _check.is_concrete(lam) and not lam >= 0:
        raise ValueError(f"lam: got {float(lam):g}, expected at least 0; a negative parameter is no regression")
    wide = _check.compute_dtype(x)
    return x.astype(wide), y.astype(wide), lam
