r"""What the correction of the curvature does to a spectrum, and how many layers it saves.

One layer of GD++ maps each eigenvalue of the examples' second moment by $f(\lambda) = \lambda (1 - \gamma \lambda)^2$,

$$ f'(\lambda) = (1 - \gamma\lambda)(1 - 3\gamma\lambda), \qquad f\Bigl(\frac{1}{3\gamma}\Bigr) = \frac{4}{27\gamma},
   \qquad \frac{4}{27\gamma} - f(\lambda) = \gamma^2 \Bigl(\lambda - \frac{1}{3\gamma}\Bigr)^2
   \Bigl(\frac{4}{3\gamma} - \lambda\Bigr):                                                             \tag{DE5} $$

small eigenvalues stay, those near $1/3\gamma$ gather below $4/27\gamma$, those near $1/\gamma$ are lost. On a spectrum
within $[m, M]$ the correction that brings both ends to one value, which is then the smallest, is

$$ \gamma = \frac{1}{M + \sqrt{Mm} + m}, \qquad f(m) = f(M), \qquad
   \kappa' = \frac{4}{27\gamma f(m)} = \frac{4\,(\kappa + \sqrt\kappa + 1)^3}{27\,\kappa\,(\sqrt\kappa + 1)^2}
                                                                                                        \tag{DE6} $$

with $\kappa = M/m$ before and $\kappa'$ after, and with $s = \sqrt\kappa$

$$ \kappa' - 1 = \frac{(s - 1)^2\, (s + 2)^2\, (2s + 1)^2}{27\, s^2\, (s + 1)^2}.                          \tag{DE7} $$

A large $\kappa$ falls by 4/27 a layer, and near one $\kappa' - 1 \approx \frac{3}{16} (\kappa - 1)^2$: first a
number of layers in $\log\kappa$, then one in $\log\log\frac1\epsilon$. With the step $\eta_l = 2/(M_l + m_l)$ of each
layer the error that is left is

$$ |\hat y - w \cdot x_q| \le \epsilon\, |w|\, |x_q|, \qquad
   \epsilon = \prod_l \frac{\kappa_l - 1}{\kappa_l + 1}.                                                  \tag{DE8} $$

Without correction $\kappa_l$ stays what it was, and the layers needed grow as $\frac12 \kappa \log\frac1\epsilon$.

References: von Oswald et al. 2023 (arXiv 2212.07677), appendix A.10; Vladymyrov et al. 2024, Linear transformers are
versatile in-context learners (arXiv 2402.14180), theorem 5.1.
"""

import math
from typing import Any, NamedTuple

from dualform import _check


class Schedule(NamedTuple):
    """Scalars of the layers of GD++ for a spectrum, and how it contracts."""

    eta: list[float]
    gamma: list[float]
    conditions: list[float]  # kappa_l before each layer
    error: float  # epsilon of (DE8)


class Gathered(NamedTuple):
    """A correction and the ends of the spectrum after it."""

    gamma: _check.Scalar
    low: _check.Scalar
    high: _check.Scalar


def spectrum_map(values: Any, gamma: _check.Scalar) -> Any:
    r"""Where a layer of GD++ sends eigenvalues, $\lambda (1 - \gamma\lambda)^2$ (DE3, DE5).

    Args:
        values: eigenvalues of the second moment of the layer's inputs, an array of any shape or a number.
        gamma: the layer's correction.

    Returns:
        as `values`.

    Cost: 4 flops a value.

    >>> print(spectrum_map(3.0, 1 / 9))  # the maximum, at 1 / (3 gamma): 4 / (27 gamma)
    1.3333333333333335
    """
    return values * (1 - gamma * values) ** 2


def gather(root_low: _check.Scalar, root_high: _check.Scalar) -> Gathered:
    r"""The correction that brings both ends of a spectrum to one value, and the spectrum's new ends (DE6).

    Args:
        root_low, root_high: square roots of the ends m and M.

    Returns:
        `Gathered(gamma, low, high)`.

    Cost: a few operations.

    >>> print(gather(1.0, 10.0).high / gather(1.0, 10.0).low)  # kappa falls from 100 to
    16.744...
    """
    gamma = 1 / (root_high * root_high + root_high * root_low + root_low * root_low)
    return Gathered(gamma, spectrum_map(root_low * root_low, gamma), 4 / (27 * gamma))


def schedule(low: float, high: float, *, layers: int | None = None, eps: float | None = None, correct: bool = True):
    r"""Scalars for every layer on a spectrum within [low, high], by (DE6), and the error that they leave (DE8).

    Args:
        low, high: the ends m and M of the spectrum.
        layers: how many, or
        eps: until the error is at most this.
        correct: False for gradient descent, whose steps are all alike.

    Returns:
        `Schedule(eta, gamma, conditions, error)`.

    Raises:
        ValueError: ends that are not 0 < low <= high, neither or both of layers and eps, eps not within (0, 1).

    Cost: a few operations a layer.

    >>> many, few = schedule(0.01, 1.0, eps=1e-6, correct=False), schedule(0.01, 1.0, eps=1e-6)
    >>> print(len(many.eta), len(few.eta))
    691 6

    References: Vladymyrov et al. 2024 (arXiv 2402.14180), theorem 5.1.
    """
    low, high = float(_check.scalar("low", low, positive=True)), float(_check.scalar("high", high, positive=True))
    if low > high:
        raise ValueError(f"low: got {low:g} above high = {high:g}, expected the smaller end; exchange them")
    if (layers is None) == (eps is None):
        raise ValueError(f"layers, eps: got {layers} and {eps}, expected exactly one; leave the other out")
    if eps is not None and not 0 < eps < 1:
        raise ValueError(f"eps: got {eps}, expected a number between 0 and 1; it is relative to the size of the answer")
    wanted = math.inf if layers is None else _check.count("layers", layers)
    eta: list[float] = []
    gamma: list[float] = []
    conditions: list[float] = []
    error = 1.0
    while len(eta) < wanted and (eps is None or error > eps):
        eta.append(2 / (low + high))
        conditions.append(high / low)
        error *= (high - low) / (high + low)
        if correct:
            found = gather(math.sqrt(low), math.sqrt(high))
            low, high = float(found.low), max(float(found.low), float(found.high))  # once met, rounding exchanges them
        gamma.append(float(found.gamma) if correct else 0.0)
    return Schedule(eta, gamma, conditions, error)
