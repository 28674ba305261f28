r"""Which predictor is a network most like? Its outputs on the same prompts against those of known ones.

Two predictors $A, B$ read the same k examples and answer the same queries. Akyurek et al. measure the mean squared
difference of their answers, its mean over all $k < d$, and the distance of the linear functions that fit them best:

$$ \mathrm{SPD}(A, B) = E\,(A(q) - B(q))^2, \qquad \mathrm{MSPD} = \frac1d \sum_{k < d} \mathrm{SPD}_k, \tag{GP10} $$

$$ \mathrm{ILWD}(A, B) = E\,|w_A - w_B|^2, \qquad w_A = \arg\min_w \sum_j (w \cdot q_j - A(q_j))^2.    \tag{GP11} $$

For predictors that are linear in the query the fit returns their weights, and over standard normal queries SPD is ILWD.
The *implied ridge parameter* is that of the ridge predictor nearest in SPD over all prompts,

$$ \hat\lambda = \arg\min_\lambda \mathrm{SPD}(A, \mathrm{ridge}_\lambda).                              \tag{GP12} $$

It is 0 for least squares, $\sigma^2/\tau^2$ for the Bayes predictor, and infinite for a predictor of zeros. Gradient
descent that is stopped early shrinks too, by another rule. With the singular values $s$ of the inputs ridge multiplies
the part of least squares along each by $s^2 / (s^2 + \lambda)$, gradient flow on the sum of squares after a time t by

$$ 1 - e^{-t s^2}, \qquad \hat t = \arg\min_t \mathrm{SPD}(A, \mathrm{flow}_t).                            \tag{GP13} $$

Both have one parameter, so that their distances can be compared.

References: Akyurek et al. 2023, What learning algorithm is in-context learning? (arXiv 2211.15661), section 4.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dualform import _check
from dualform._numerics import dot
from dualform.regression.gpt import GPTWeights, gpt_predictions

Outputs = Float[Array, "B m"]
RANGE = (1e-6, 1e4)
"""Where the implied parameter is looked for."""


class Implied(NamedTuple):
    """The ridge parameter nearest to a predictor."""

    lam: float
    distance: float  # the SPD to that ridge predictor
    to_ols: float  # the SPD to ridge at the lower end of the range, which is least squares


class ImpliedFlow(NamedTuple):
    """The time of gradient flow that is nearest to a predictor."""

    time: float
    distance: float  # the SPD to gradient flow that is stopped then


def spd(a: Outputs, b: Outputs) -> Float[Array, ""]:
    """The mean squared difference of two predictors' answers (GP10).

    >>> print(spd(jnp.array([[1.0, 2.0]]), jnp.array([[1.0, 4.0]])))
    2.0
    """
    return jnp.mean((a - b) ** 2)


def implied_weights(queries: Float[Array, "m d"], outputs: Float[Array, " m"]) -> Float[Array, " d"]:
    """The linear function that fits the answers to the queries best (GP11).

    Args:
        queries: `[m, d]` of full rank, m at least d.
        outputs: `[m]` answers of a predictor after one prompt.

    Returns:
        `[d]`.

    Raises:
        ValueError: wrong shapes, fewer queries than inputs.

    Cost: m d^2 + d^3 / 3 multiplications.

    >>> print(implied_weights(jnp.eye(2) * 2, jnp.array([2.0, 6.0])))
    [1. 3.]
    """
    sizes: _check.Sizes = {}
    queries, outputs = _check.array("queries", queries, "m d", sizes), _check.array("outputs", outputs, "m", sizes)
    if len(queries) < queries.shape[1]:
        raise ValueError(f"queries: got {len(queries)}, expected at least {queries.shape[1]}; ask more of them")
    return jnp.linalg.solve(dot(queries.T, queries), dot(outputs, queries))


def ilwd(v: Float[Array, "B d"], w: Float[Array, "B d"]) -> Float[Array, ""]:
    """The mean squared distance of two predictors' weights (GP11).

    >>> print(ilwd(jnp.array([[1.0, 2.0]]), jnp.array([[4.0, 6.0]])))
    25.0
    """
    return jnp.mean(jnp.sum((v - w) ** 2, axis=-1))


def implied_ridge(
    x: Float[Array, "B k d"], y: Float[Array, "B k"], queries: Float[Array, "B m d"], outputs: Outputs
) -> Implied:
    """The parameter of the ridge predictor that is nearest to a predictor, over all prompts (GP12).

    Args:
        x, y: `[B, k, d]` and `[B, k]`, the examples of B prompts, k at least 1.
        queries: `[B, m, d]`.
        outputs: `[B, m]` the predictor's answers.

    Returns:
        `Implied`; the parameter between the ends of `RANGE`.

    Cost: B singular value decompositions, then B m d multiplications for each of about 100 parameters; float64.

    References: Akyurek et al. 2023 (arXiv 2211.15661), section 4.2.
    """
    distances = _distances(x, y, queries, outputs, ridge_factor)
    return Implied(*_nearest(distances, RANGE), float(np.mean(distances(RANGE[0]))))


def implied_flow(
    x: Float[Array, "B k d"], y: Float[Array, "B k"], queries: Float[Array, "B m d"], outputs: Outputs
) -> ImpliedFlow:
    """The time at which gradient flow on the examples is nearest to a predictor, over all prompts (GP13).

    Args, cost: as `implied_ridge`.

    Returns:
        `ImpliedFlow`; the time between the inverses of the ends of `RANGE`.

    References: Ali, Kolter, Tibshirani 2019, A continuous-time view of early stopping for least squares regression.

    >>> x, y, q = np.ones((1, 1, 1)), np.ones((1, 1)), np.ones((1, 1, 1))
    >>> print(round(implied_flow(x, y, q, np.array([[0.5]])).time, 4))
    0.6931
    """
    return ImpliedFlow(*_nearest(_distances(x, y, queries, outputs, flow_factor), (1 / RANGE[1], 1 / RANGE[0])))


def distances_to(
    x: Float[Array, "B k d"], y: Float[Array, "B k"], queries: Float[Array, "B m d"], outputs: Outputs, *,
    lam: float | None = None, time: float | None = None,
) -> np.ndarray:  # fmt: skip
    """Prompt by prompt, the mean squared distance of a predictor from ridge (GP12) or from gradient flow (GP13).

    Args:
        x, y, queries, outputs: as `implied_ridge`.
        lam: the parameter of ridge; or
        time: that of gradient flow.

    Returns:
        `[B]` in float64.

    Raises:
        ValueError: none of the two parameters, or both.
    """
    factor, parameter = (ridge_factor, lam) if time is None else (flow_factor, time)
    if parameter is None or None not in (lam, time):
        raise ValueError(f"lam, time: got {lam!r} and {time!r}, expected one of them; pass the other predictor's alone")
    return _distances(x, y, queries, outputs, factor)(parameter)


def ridge_factor(s: np.ndarray, lam: float) -> np.ndarray:
    """What ridge makes of a singular value (GP12)."""
    return s / (s**2 + lam)


def flow_factor(s: np.ndarray, time: float) -> np.ndarray:
    """What gradient flow makes of a singular value (GP13)."""
    return -np.expm1(-time * s**2) / np.where(s > 0, s, 1)


def _distances(x, y, queries, outputs, factor: Callable) -> Callable[[float], np.ndarray]:
    """parameter -> the mean squared distance [B] of the outputs from the predictor with it."""
    X, Y, Q, out = (np.asarray(a, np.float64) for a in (x, y, queries, outputs))
    U, s, Vt = np.linalg.svd(X, full_matrices=False)  # [B, k, r], [B, r], [B, r, d]
    labels, read = np.einsum("bkr,bk->br", U, Y), np.einsum("bmd,brd->bmr", Q, Vt)
    return lambda parameter: np.mean((np.einsum("bmr,br->bm", read, factor(s, parameter) * labels) - out) ** 2, axis=1)


def _nearest(distances: Callable[[float], np.ndarray], ends: tuple[float, float]) -> tuple[float, float]:
    """(the parameter between the ends at which the mean distance is least, that distance)."""
    from scipy.optimize import minimize_scalar

    def distance(log: float) -> float:
        return float(np.mean(distances(np.exp(log))))

    grid = np.linspace(float(np.log(ends[0])), float(np.log(ends[1])), 47)
    on_grid = [distance(g) for g in grid]
    best = int(np.argmin(on_grid))
    around = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    near = minimize_scalar(distance, bounds=around, method="bounded", options={"xatol": 1e-9})
    log, value = (grid[best], on_grid[best]) if on_grid[best] <= near.fun else (near.x, float(near.fun))
    return float(np.exp(log)), value


def gpt_answers(
    weights: GPTWeights, x: Float[Array, "B k d"], y: Float[Array, "B k"], queries: Float[Array, "B m d"]
) -> Outputs:
    """A GPT's answers to m queries after the same examples, each query in a sequence of its own.

    Args:
        weights: of the network.
        x, y: `[B, k, d]` and `[B, k]`.
        queries: `[B, m, d]`.

    Returns:
        `[B, m]`.

    Raises:
        ValueError: as `gpt_predictions`.

    Cost: B m passes.
    """

    def one(x, y, q):
        return gpt_predictions(weights, jnp.concatenate([x, q[None]]), jnp.append(y, jnp.zeros((), y.dtype)))[-1]

    return _answers(one, x, y, queries)


def _answers(one, x, y, queries):
    return jax.jit(jax.vmap(jax.vmap(one, (None, None, 0))))(x, y, queries)
