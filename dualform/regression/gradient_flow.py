r"""Gradient flow on the two matrices of one layer: the path to the limit, and how long it stays near the start.

The matrices of (LS4) are trained together, $\dot W = -\partial L/\partial W$ for both, over the population of prompts.
A prompt and the same with all labels turned round have the same probability, so where the blocks $w_{21}$ of $W_{PV}$
and $u_{12}$ of $W_{KQ}$ are zero their gradients are too. What is left is $v = w_{22}$ and $U = W_{11}$, with
$A = v\, U^\top$,

$$ \dot U = -v\, \nabla L(A)^\top, \qquad \dot v = -\mathrm{tr}\bigl(\nabla L(A)\, U\bigr), \qquad
   \nabla L(A) = \Lambda A C - \Lambda \Psi \Lambda.                                                      \tag{RK16} $$

For $\Psi = I$ that is $\dot U = v \Lambda^2 - v^2\, \Gamma \Lambda U \Lambda$ (Zhang et al., lemma 5.2). Scaling one
matrix up and the other down leaves the prediction as it is, so along the flow

$$ \tfrac{d}{dt} \bigl(|W_{KQ}|^2 - |W_{PV}|^2\bigr) = 0:                                                \tag{RK17} $$

matrices of equal norm stay so. Zhang et al. start at $v = \sigma$, $U = \sigma\, \Theta\Theta^\top$ with
$|\Theta\Theta^\top| = 1$. The flow rests, at any v, where

$$ v\, U^\top = A^*,                                                                                      \tag{RK18} $$

and of these points it reaches the one with matrices of equal norm, which is (LS11).

The point zero is a saddle: to first order $\dot U = v\, T$, $\dot v = \mathrm{tr}(T^\top U)$ with
$T = \Lambda \Psi \Lambda$, so that twice in sequence

$$ (T, 0) \mapsto (0, |T|^2) \mapsto |T|^2\, (T, 0):                                                     \tag{RK19} $$

what is small grows like $e^{|T| t}$ or shrinks. From a small start the loss stays on a plateau and then drops.

With $\Lambda = s I$, $\Psi = I$ and $\Theta\Theta^\top = I/\sqrt d$ the path is a logistic curve. Let $C = c I$,
$c = s^2 (1 + \frac{d+1}N) + \frac{s \sigma_\epsilon^2}N$. Then $U = u I$, $v = \sqrt d\, u$, and $z = u^2$ follows

$$ \dot z = 2 \sqrt d\, s^2 z - 2 d\, s c\, z^2, \qquad
   z(t) = \frac{z_\infty}{1 + (z_\infty / z_0 - 1)\, e^{-2 \sqrt d s^2 t}}, \quad
   z_\infty = \frac{s}{\sqrt d\, c}, \quad z_0 = \frac{\sigma^2}{d}.                                     \tag{RK20} $$

The step $p = \sqrt d\, z$ of $A = p I$ is half of its limit $s/c$ after

$$ t_{1/2} = \frac{\ln (z_\infty / z_0 - 1)}{2 \sqrt d\, s^2}.                                           \tag{RK21} $$

References: Zhang, Frei, Bartlett 2024, Trained transformers learn linear models in-context (arXiv 2306.09927), sec. 5
and assumption 3.3; the logistic curve is in the manner of Saxe, McClelland, Ganguli 2014 (arXiv 1312.6120).
"""

import math
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float

from dualform import _check
from dualform.regression import matrices
from dualform.regression.matrices import product
from dualform.regression.moments import of_mean
from dualform.regression.optimum import gamma, limit
from dualform.regression.risks import of_step

Square = Float[np.ndarray, "d d"]


class Flow(NamedTuple):
    """A path of gradient flow."""

    times: Float[np.ndarray, " T"]
    U: Float[np.ndarray, "T d d"]  # the block of W_KQ
    v: Float[np.ndarray, " T"]  # the entry of W_PV
    A: Float[np.ndarray, "T d d"]  # v U', the prediction's matrix
    loss: Float[np.ndarray, " T"]  # L = R/2 over training prompts


def flow(
    Lambda: Float[ArrayLike, "d d"],
    N: float,
    times: Float[ArrayLike, " T"],
    *,
    sigma: float = 0.05,
    Theta: Float[ArrayLike, "d k"] | None = None,
    start: tuple[Float[ArrayLike, "d d"], float] | None = None,
    noise: float = 0.0,
    prior: Float[ArrayLike, "d d"] | None = None,
    rtol: float = 1e-10,
) -> Flow:
    r"""Gradient flow of the loss over prompts (RK16), by LSODA, which turns implicit where the flow is stiff.

    Args:
        Lambda: `[d, d]` covariance of the inputs, positive definite.
        N: examples of a training prompt, or `math.inf`.
        times: `[T]` increasing, from 0 or later, at which to return the path.
        sigma: size of both matrices at time 0.
        Theta: `[d, k]`; U starts as sigma Theta Theta' / |Theta Theta'|; the identity if None.
        start: (U, v) at time 0, in place of `sigma` and `Theta`.
        noise: standard deviation of the label noise.
        prior: `[d, d]` covariance of the task vectors; the identity if None.
        rtol: relative tolerance of a step; absolute that times 1e-2.

    Returns:
        `Flow`, in float64.

    Raises:
        ValueError: shapes that do not agree, not floats, no covariance, N below 1, times that do not increase, an
            integration that failed.

    Cost: about five products of d x d matrices a stage, and d^2 + 1 of these for a Jacobian where it is stiff.

    >>> path = flow(np.eye(5), 20, np.array([0.0, 20.0]))
    >>> print(path.A[-1, 0, 0].round(6), path.loss[-1].round(6))  # 1/1.3, and half of 30/26
    0.769231 0.576923

    References: Zhang, Frei, Bartlett 2024 (arXiv 2306.09927), section 5.
    """
    from scipy.integrate import solve_ivp

    Lambda = matrices.covariance("Lambda", Lambda, definite=True)
    d, over_N = len(Lambda), matrices.over("N", N)
    times = matrices.array("times", times, "T")
    if times[0] < 0 or (np.diff(times) <= 0).any():
        raise ValueError(f"times: got {times}, expected increasing ones from 0 on; sort them")
    variance = matrices.number("noise", noise, least=0.0) ** 2
    prior = matrices.identity_or("prior", prior, d)
    rtol = matrices.number("rtol", rtol, positive=True)
    U, v = start_of(d, sigma, Theta) if start is None else start
    U, v = matrices.array("start[0]", U, "d d", d=d), matrices.number("start[1]", v)
    C = of_mean(Lambda, prior, variance, over_N)

    def field(_, state):
        dU, dv = descent_of(state[:-1].reshape(d, d), state[-1], Lambda, prior, C)
        return np.append(dU.ravel(), dv)

    span = (0.0, float(times[-1]) or 1.0)  # the solver wants an interval, also where time 0 alone is asked for
    found = solve_ivp(field, span, np.append(U.ravel(), v), "LSODA", times, rtol=rtol, atol=1e-2 * rtol)
    if not found.success:
        raise ValueError(f"times: the integration failed, {found.message}; take a smaller start or a looser rtol")
    U, v = found.y[:-1].T.reshape(-1, d, d), found.y[-1]
    A = v[:, None, None] * np.swapaxes(U, 1, 2)
    loss = np.array([of_step(a, Lambda, prior, variance, over_N, Lambda) / 2 for a in A])
    return Flow(times, U, v, A, loss)


def descent_of(U, v, Lambda, prior, C):
    """The right-hand sides of (RK16), for arrays of either kind."""
    gradient = product(Lambda, v * U.T, C) - product(Lambda, prior, Lambda)
    return -v * gradient.T, -(gradient * U.T).sum()


def start_of(d: int, sigma: float, Theta: Float[ArrayLike, "d k"] | None = None) -> tuple[Square, float]:
    r"""The published start: $v = \sigma$ and $U = \sigma\, \Theta\Theta^\top / |\Theta\Theta^\top|$.

    Args:
        d: inputs a token.
        sigma: size of both.
        Theta: `[d, k]`, not zero; the identity if None.

    Returns:
        U `[d, d]` and v.

    Raises:
        ValueError: a wrong shape, Theta zero, sigma not above zero.

    >>> U, v = start_of(4, 0.1)
    >>> print(U[0], v)
    [0.05 0.   0.   0.  ] 0.1
    """
    sigma = matrices.number("sigma", sigma, positive=True)
    Theta = np.eye(d) if Theta is None else matrices.array("Theta", Theta, "d k", d=d)
    square = Theta @ Theta.T
    size = np.linalg.norm(square)
    if size == 0:
        raise ValueError("Theta: got zeros, expected a matrix that is not zero; draw another")
    return sigma * square / size, sigma


def largest_start(Lambda: Float[ArrayLike, "d d"], N: float) -> float:
    r"""The sigma below which convergence is guaranteed: $\sigma^2 < 2 / (\sqrt d\, |\Gamma|_{op})$.

    Args:
        Lambda: `[d, d]` covariance of the inputs, positive definite.
        N: examples of a training prompt, or `math.inf`.

    Returns:
        sigma, of noiseless training on tasks N(0, I).

    Raises:
        ValueError: no covariance, N below 1.

    >>> print(round(largest_start(np.eye(4), float("inf")), 6))
    1.0

    References: Zhang, Frei, Bartlett 2024 (arXiv 2306.09927), theorem 4.1.
    """
    Lambda = matrices.covariance("Lambda", Lambda, definite=True)
    G = gamma(Lambda, np.eye(len(Lambda)), 0.0, matrices.over("N", N))
    return float(np.sqrt(2 / (np.sqrt(len(Lambda)) * np.linalg.norm(G, 2))))


def effective_matrix(W_PV: Float[ArrayLike, "D D"], W_KQ: Float[ArrayLike, "D D"]) -> Square:
    r"""$A = w_{22} W_{11}^\top$ of a trained layer, to be compared with `limit`.

    Args:
        W_PV, W_KQ: `[d+1, d+1]` of `lsa`.

    Returns:
        `[d, d]`, in float64. It is all of the prediction where the other entries (LS4) are zero.

    Raises:
        ValueError: shapes that do not agree, no input beside the label.

    >>> W_PV, W_KQ = np.diag([0.0, 0.0, 2.0]), np.diag([3.0, 4.0, 0.0])
    >>> print(effective_matrix(W_PV, W_KQ))
    [[6. 0.]
     [0. 8.]]
    """
    W_PV = matrices.array("W_PV", W_PV, "D D")
    W_KQ = matrices.array("W_KQ", W_KQ, "D D", D=len(W_PV))
    if len(W_PV) < 2:
        raise ValueError(f"W_PV: got shape {W_PV.shape}, expected [d+1, d+1] with an input; add one")
    return W_PV[-1, -1] * W_KQ[:-1, :-1].T


def logistic_flow(
    times: Float[ArrayLike, " T"], d: int, N: float, sigma: float, *, variance: float = 1.0, noise: float = 0.0
) -> Float[np.ndarray, " T"]:
    r"""The step $p(t)$ of $A = p I$ along the flow from $\Theta\Theta^\top = I/\sqrt d$, closed form (RK20).

    Args:
        times: `[T]`.
        d: inputs a token.
        N: examples of a training prompt, or `math.inf`.
        sigma: size of both matrices at time 0.
        variance: s of the inputs N(0, s I).
        noise: standard deviation of the label noise.

    Returns:
        `[T]`, in float64, from sigma^2 / sqrt(d) to the limit.

    Raises:
        ValueError: sizes below 1, sigma or variance not above zero, negative noise.

    >>> print(logistic_flow(np.array([0.0, 2.0, 9.0]), 5, 20, 0.05).round(5))
    [0.00112 0.70595 0.76923]

    References: Zhang, Frei, Bartlett 2024 (arXiv 2306.09927), section 5.
    """
    times = matrices.array("times", times, "T")
    z0, end, rate, root = _logistic(d, N, sigma, variance, noise)
    return root * logistic(times, z0, end, rate, np.exp)


def logistic(t, z0, end, rate, exp):
    """z(t) of (RK20), for numbers of any kind with their exponential."""
    return end / (1 + (end / z0 - 1) * exp(-rate * t))


def half_time(d: int, N: float, sigma: float, *, variance: float = 1.0, noise: float = 0.0) -> float:
    r"""The time at which $p(t)$ is half of its limit (RK21).

    Args:
        d, N, sigma, variance, noise: as `logistic_flow`.

    Returns:
        A time; below zero where the start is above one half already.

    Raises:
        ValueError: as `logistic_flow`, or a start at or above the limit.

    >>> print(round(half_time(5, 20, 0.05), 4))
    1.4607
    """
    z0, end, rate, _ = _logistic(d, N, sigma, variance, noise)
    if z0 >= end:
        raise ValueError(f"sigma: got {sigma!r}, expected a start below the limit; take sigma^2 < {d * end:.3g}")
    return math.log(end / z0 - 1) / rate


def _logistic(d, N, sigma, variance, noise):
    """z_0, z_infinity, rate and sqrt(d) of (RK20)."""
    d, s = _check.count("d", d, 1), matrices.number("variance", variance, positive=True)
    sigma = matrices.number("sigma", sigma, positive=True)
    root = math.sqrt(d)
    end = float(limit(s * np.eye(d), N, noise)[0, 0])  # s / c
    return sigma**2 / d, end / root, 2 * root * s**2, root
