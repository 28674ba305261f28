r"""How fast the risk falls with the examples of training prompts, N, and of the test prompt, M.

By (RK11) the two enter differently. In M the risk is exactly a floor plus a multiple of 1/M,

$$ R(N, M) = \mathrm{floor}(N) + \frac{\mathrm{slope}(N)}{M}, \qquad
   \mathrm{floor} = \frac1{N^2} \sum_i \frac{\lambda_i (\lambda_i + t)^2}{\gamma_i^2}, \quad
   \mathrm{slope} = \sum_i \frac{\lambda_i^2 (\lambda_i + t)}{\gamma_i^2},                               \tag{RK22} $$

and the floor, what training on short prompts costs however long the test prompt is, falls like $1/N^2$. Zhang et al.
bound the risk by

$$ B(N, M) = \frac{(d + 1)\, t}{M} + \frac{1}{N^2} \bigl(t + 2 d t + t^2\, \mathrm{tr}(\Lambda^{-1})\bigr)
   \le \frac{(d + 1)\, t}{M} + \frac{(1 + 2 d + d^2 \kappa)\, t}{N^2},                                   \tag{RK23} $$

$\kappa$ the ratio of the largest to the smallest eigenvalue. How much that gives away can be written down, as a sum
none of whose terms is negative:

$$ B - R = \sum_i \Bigl(\frac{(\lambda_i + t)^3}{N^3 \lambda_i} + \frac{(\lambda_i + t)^2}{N M}\Bigr)
           \frac{\gamma_i + \lambda_i}{\gamma_i^2}, \qquad
   d^2 \kappa - t\, \mathrm{tr} \Lambda^{-1} = \sum_{ij} \Bigl(\kappa - \frac{\lambda_i}{\lambda_j}\Bigr). \tag{RK24} $$

So both are valid, and the first is off by $O(1/N^3 + 1/(NM))$ only. Its use: the risk is at most the second term plus
$\epsilon$ as soon as $M \ge (d + 1)\, t / \epsilon$ (their corollary 4.3).

References: Zhang, Frei, Bartlett 2024, Trained transformers learn linear models in-context (arXiv 2306.09927), theorem
4.2 and corollary 4.3.
"""

import math
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float

from dualform.regression import matrices

Square = Float[ArrayLike, "d d"]


class Rates(NamedTuple):
    """R(N, M) = floor + slope / M."""

    floor: float
    slope: float


class RiskBounds(NamedTuple):
    """Upper bounds on R(N, M)."""

    by_trace: float  # the first of (RK23)
    by_condition: float  # the second


def risk_rates(Lambda: Square, N: float) -> Rates:
    r"""Floor and slope of the risk in 1/M, after training on N examples (RK22).

    Args:
        Lambda: `[d, d]` covariance of the inputs, positive definite.
        N: examples of a training prompt, or `math.inf`.

    Returns:
        `Rates`: `risk(Lambda, N, M)` is floor + slope / M.

    Raises:
        ValueError: no covariance, N below 1.

    Cost: eigenvalues of a d x d matrix.

    >>> found = risk_rates(np.eye(5), 20)
    >>> print(round(found.floor, 5), round(found.slope, 4))  # 5 (6/26)^2, 30 / 1.3^2
    0.26627 17.7515

    References: Zhang, Frei, Bartlett 2024 (arXiv 2306.09927), section 4.1.
    """
    values = np.linalg.eigvalsh(matrices.covariance("Lambda", Lambda, definite=True))
    floor, slope = rates_of(values, matrices.over("N", N))
    return Rates(float(floor), float(slope))


def rates_of(values, over_N):
    """(RK22) for arrays of either kind, from eigenvalues."""
    more = values + values.sum()
    gamma = values + over_N * more
    return over_N**2 * (values * more**2 / gamma**2).sum(), (values**2 * more / gamma**2).sum()


def risk_bounds(Lambda: Square, N: float, M: float) -> RiskBounds:
    r"""The published upper bounds on the risk (RK23).

    Args:
        Lambda: `[d, d]` covariance of the inputs, positive definite.
        N: examples of a training prompt, or `math.inf`.
        M: examples of the test prompt, or `math.inf`.

    Returns:
        `RiskBounds`, for training and test without noise on tasks N(0, I).

    Raises:
        ValueError: no covariance, N or M below 1.

    Cost: eigenvalues of a d x d matrix.

    >>> print([round(x, 2) for x in risk_bounds(np.eye(2), 10, 10)])  # the risk is 6/13
    [0.78, 0.78]

    References: Zhang, Frei, Bartlett 2024 (arXiv 2306.09927), theorem 4.2.
    """
    values = np.linalg.eigvalsh(matrices.covariance("Lambda", Lambda, definite=True))
    found = bounds_of(values, values[-1] / values[0], matrices.over("N", N), matrices.over("M", M))
    return RiskBounds(*(float(x) for x in found))


def bounds_of(values, condition, over_N, over_M):
    """(RK23) for arrays of either kind, from eigenvalues and their condition number."""
    d, t = len(values), values.sum()
    by_examples = over_M * (d + 1) * t
    return (
        by_examples + over_N**2 * (t + 2 * d * t + t**2 * (1 / values).sum()),
        by_examples + over_N**2 * (1 + 2 * d + d**2 * condition) * t,
    )


def examples_needed(Lambda: Square, epsilon: float) -> int:
    r"""M after which the test prompt costs at most epsilon beyond the floor: $M \ge (d + 1)\, t / \epsilon$ (RK23).

    Args:
        Lambda: `[d, d]` covariance of the inputs.
        epsilon: what may be added to the bound's second term.

    Returns:
        A number of examples.

    Raises:
        ValueError: no covariance, epsilon not above zero.

    >>> print(examples_needed(np.eye(5), 0.25))
    120

    References: Zhang, Frei, Bartlett 2024 (arXiv 2306.09927), corollary 4.3.
    """
    Lambda = matrices.covariance("Lambda", Lambda)
    needed = (len(Lambda) + 1) * float(np.trace(Lambda)) / matrices.number("epsilon", epsilon, positive=True)
    return max(1, math.ceil(needed))
