r"""Moments of a context: what the matrix $S = \frac1M \sum_i x_i x_i^\top$ and the mean $\frac1M \sum_i y_i x_i$ are.

All that is known exactly about one-layer linear self-attention follows from one identity. For inputs
$x_i \sim N(0, \Lambda)$, independent, and any matrix B, symmetric or not,

$$ E[S B S] = \Lambda B \Lambda + \tfrac1M (\Lambda B^\top \Lambda + \mathrm{tr}(B \Lambda) \Lambda). \tag{RK1} $$

Inputs whose coordinates are independent, symmetric and alike, with variance $s$ and fourth moment $m_4$ (uniform ones
have $s = a^2/3$, $m_4 = a^4/5$), differ from normal ones by a term on the diagonal, which vanishes at $m_4 = 3 s^2$:

$$ E[S B S] = s^2 B + \tfrac1M (s^2 B^\top + s^2 \mathrm{tr}(B) I + (m_4 - 3 s^2)\, \mathrm{diag} B). \tag{RK2} $$

The prediction reads the context through the mean of its labelled inputs, $m = \frac1M \sum_i y_i x_i$. With
$y_i = w \cdot x_i + \epsilon_i$, $w$ of covariance $\Psi$ and noise of variance $\sigma^2$, its second moments are

$$ C = E[m m^\top] = \Lambda \Psi \Lambda
     + \tfrac1M \bigl(\Lambda \Psi \Lambda + (\mathrm{tr}(\Lambda \Psi) + \sigma^2)\, \Lambda\bigr),
   \qquad E[m w^\top] = \Lambda \Psi.                                                               \tag{RK3} $$

Labels of any other kind matter through three things only: the best linear predictor $a = \Lambda^{-1} E[x y]$, the
covariance $\Sigma = \mathrm{Cov}(x y)$, and the error that the best linear predictor leaves. `label_moments` integrates
them for a function of normal inputs by Gauss-Hermite quadrature.

References: Isserlis 1918 (moments of normal variables); Zhang, Frei, Bartlett 2024 (arXiv 2306.09927), appendix.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float

from dualform import _check
from dualform.regression import matrices
from dualform.regression.matrices import eye_like, product

Square = Float[np.ndarray, "d d"]
LARGEST_GRID = 2**22


class Labels(NamedTuple):
    """What a risk depends on of the law of (x, y)."""

    best: Float[np.ndarray, " d"]  # a, the best linear predictor
    covariance: Square  # of x y
    residual: float  # E (a.x - y)^2


def second_moment(
    Lambda: Float[ArrayLike, "d d"], B: Float[ArrayLike, "d d"], M: float = 1, *, excess: float = 0.0
) -> Square:
    r"""$E[S B S]$ for the second-moment matrix S of M independent inputs (RK1), (RK2).

    Args:
        Lambda: `[d, d]` covariance of the inputs.
        B: `[d, d]` any matrix.
        M: number of inputs, or `math.inf`.
        excess: $m_4 - 3 s^2$ of coordinates that are independent and alike, with `Lambda` = s I; 0 for normal inputs.

    Returns:
        `[d, d]`, in float64.

    Raises:
        ValueError: shapes that do not agree, not floats, no covariance, M below 1.

    Cost: four products of d x d matrices.

    >>> print(second_moment(np.eye(2), np.array([[1.0, 2.0], [0.0, 0.0]]), M=1))
    [[3. 2.]
     [2. 1.]]

    References: Isserlis 1918.
    """
    Lambda = matrices.covariance("Lambda", Lambda)
    B = matrices.array("B", B, "d d", d=len(Lambda))
    return sandwiched(Lambda, B, matrices.over("M", M), matrices.number("excess", excess))


def sandwiched(Lambda, B, over_M, excess=0.0):
    """(RK1), (RK2) for arrays of either kind, with 1/M for M."""
    turned = product(Lambda, B.T, Lambda) + (B * Lambda.T).sum() * Lambda
    return product(Lambda, B, Lambda) + over_M * (turned + excess * B * eye_like(B))


def of_mean(Lambda, prior, variance, over_M):
    """C of (RK3) for arrays of either kind, with the variance of the label noise."""
    return sandwiched(Lambda, prior, over_M) + over_M * variance * Lambda


def label_moments(
    function: Callable, Lambda: Float[ArrayLike, "d d"], *, noise: float = 0.0, nodes: int = 12
) -> Labels:
    r"""The three things that matter of labels $y = f(x) + \sigma\epsilon$ for $x \sim N(0, \Lambda)$.

    Args:
        function: f, of inputs `[..., d]`; a task vector is fixed inside it.
        Lambda: `[d, d]` covariance of x, positive definite.
        noise: standard deviation of the label noise.
        nodes: of the quadrature in each direction; exact for polynomials f of degree at most nodes - 2.

    Returns:
        `Labels`, in float64. The residual is that of labels without noise.

    Raises:
        ValueError: no covariance, negative noise, nodes to the power d above 4 million.

    Cost: nodes^d values of f.

    >>> found = label_moments(lambda x: 2 * x[..., 0] + x[..., 1] ** 2, np.eye(2))
    >>> print(abs(found.best.round(6)), round(found.residual, 6))  # the square has mean 1 and second moment 3
    [2. 0.] 3.0

    References: Zhang, Frei, Bartlett 2024 (arXiv 2306.09927), theorem 4.2.
    """
    Lambda = matrices.covariance("Lambda", Lambda, definite=True)
    variance = matrices.number("noise", noise, least=0.0) ** 2
    nodes, d = _check.count("nodes", nodes, 2), len(Lambda)
    if nodes**d > LARGEST_GRID:
        raise ValueError(f"nodes: got {nodes} in each of {d} directions, expected a grid of 4 million; use fewer")
    points, weights = np.polynomial.hermite_e.hermegauss(nodes)
    z = np.stack(np.meshgrid(*[points] * d, indexing="ij"), axis=-1).reshape(-1, d)
    p = np.prod(np.stack(np.meshgrid(*[weights] * d, indexing="ij"), axis=-1).reshape(-1, d), axis=1)
    p = p / np.sum(p)
    x = z @ np.linalg.cholesky(Lambda).T
    with jax.enable_x64(True):  # functions written in JAX keep their digits
        y = np.asarray(function(x), np.float64)
    mean = np.einsum("n,n,nd->d", p, y, x)
    best = np.linalg.solve(Lambda, mean)
    square = np.einsum("n,nd,ne->de", p * y**2, x, x)
    covariance = square + variance * Lambda - np.outer(mean, mean)
    return Labels(best, covariance, float(np.sum(p * (x @ best - y) ** 2)))
