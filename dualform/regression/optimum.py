r"""What gradient flow on a one-layer network arrives at: the minimiser of the loss over prompts.

The prediction of the layer is $\hat y = x_q^\top A\, m$ with $m = \frac1M \sum_i y_i x_i$ and
$A = w_{22} W_{11}^\top$, the lower right entry of $W_{PV}$ times the d x d block of $W_{KQ}$: one step of gradient
descent from zero, preconditioned by A,

$$ \hat y = x_q \cdot \bigl(0 - A\, \nabla \ell(0)\bigr), \qquad
   \ell(w) = \tfrac1{2M} \sum_i (y_i - w \cdot x_i)^2.                                              \tag{RK4} $$

Over prompts of N examples with $x \sim N(0, \Lambda)$, $w$ of covariance $\Psi$ and label noise $\sigma$, the loss
$L(A) = \frac12 E(\hat y - x_q \cdot w)^2$ is smallest at

$$ A^* = \Psi\, \Gamma^{-1}, \qquad
   \Gamma = \bigl(1 + \tfrac1N\bigr) \Lambda \Psi + \tfrac1N (\mathrm{tr}(\Lambda \Psi) + \sigma^2)\, I.    \tag{RK5} $$

$\Psi = I$, $\sigma = 0$ is theorem 4.1 of Zhang et al. $\Lambda$ and $\Psi$ need not commute; then $\Gamma$ is not
symmetric, and $A^*$ is nevertheless: where $\Psi$ is invertible, $A^{*-1} = (1 + \frac1N) \Lambda + \frac1N
(\mathrm{tr}(\Lambda\Psi) + \sigma^2) \Psi^{-1}$. That it is the minimum, and the only one for positive definite
$\Lambda$ and C, can be read off

$$ \nabla L(A) = \Lambda A C - \Lambda \Psi \Lambda, \qquad
   2 L(A) - 2 L(A^*) = \mathrm{tr}\bigl(\Lambda\, (A - A^*)\, C\, (A - A^*)^\top\bigr),                   \tag{RK6} $$

with C of (RK3) at M = N; for $\Psi = I$ and $\sigma = 0$, $\nabla L = \Lambda A \Lambda \Gamma - \Lambda^2$. Where the
prior and the inputs match, the preconditioner is $\Lambda^{-1}$ and the step is known,

$$ \Psi = \Lambda^{-1}: \quad A^* = \eta N \Lambda^{-1}, \qquad \eta = \frac{1}{N + d + 1 + \sigma^2}.    \tag{RK7} $$

Whatever the inputs and labels are, if by their symmetry the best A is a multiple of the identity, $A = p I$, then it
takes two numbers: with $g(w) = E[x y \mid w]$ and independent queries of covariance $s I$,

$$ p^* = \frac{E|g|^2}{s\, E|m|^2}, \quad E|m|^2 = \bigl(1 - \tfrac1N\bigr) E|g|^2 + \tfrac1N E[y^2 |x|^2]. \tag{RK8} $$

For linear labels on coordinates of variance s and fourth moment $m_4$ this is $p^* = s/q$, $q = s^2 (1 - \frac1N) +
\frac1N (m_4 + (d-1) s^2 + \sigma^2 s)$. For $y = \sqrt2\, \mathrm{relu}(w \cdot x)$ on standard normal inputs it is
$p^* = N/(N + 2d + 3)$.

If every prompt has a covariance of its own, diagonal with independent entries of moments $\mu_{ki} = E\lambda_i^k$,

$$ A^* = \mathrm{diag}_i\; \frac{\mu_{2i}}{(1 + \frac1N)\, \mu_{3i}
   + \frac1N \bigl(\mu_{3i} + \mu_{2i} \sum_{j \ne i} \mu_{1j} + \sigma^2 \mu_{2i}\bigr)}.                \tag{RK9} $$

References: Zhang, Frei, Bartlett 2024, Trained transformers learn linear models in-context (arXiv 2306.09927), theorems
4.1 and 4.5; Ahn et al. 2023 (arXiv 2306.00297), theorem 1; Mahankali, Hashimoto, Ma 2024, One step of gradient descent
is provably the optimal in-context learner with one layer of linear self-attention (arXiv 2307.03576).
"""

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float

from dualform import _check
from dualform.regression import matrices
from dualform.regression.matrices import divided, eye_like, product

Square = Float[np.ndarray, "d d"]
Moments = Float[np.ndarray, "3 d"]


def limit(
    Lambda: Float[ArrayLike, "d d"], N: float, noise: float = 0.0, prior: Float[ArrayLike, "d d"] | None = None
) -> Square:
    r"""The matrix $A^*$ of the trained prediction $x_q^\top A\, \frac1M \sum_i y_i x_i$ (RK5).

    Args:
        Lambda: `[d, d]` covariance of the inputs, positive definite.
        N: examples of a training prompt, or `math.inf`.
        noise: standard deviation of the label noise of training.
        prior: `[d, d]` covariance of the task vectors of training; the identity if None.

    Returns:
        `[d, d]`, in float64.

    Raises:
        ValueError: shapes that do not agree, not floats, no covariance, N below 1, negative noise, a prior without an
            inverse and N infinite.

    Cost: a solve of size d.

    >>> print(limit(np.eye(5), N=20)[0, 0].round(6))  # 1 / (1 + 6/20)
    0.769231
    >>> print(limit(np.diag([2.0, 0.5]), N=10).round(4))
    [[0.4082 0.    ]
     [0.     1.25  ]]

    References: Zhang, Frei, Bartlett 2024 (arXiv 2306.09927), theorem 4.1.
    """
    Lambda = matrices.covariance("Lambda", Lambda, definite=True)
    d = len(Lambda)
    over_N = matrices.over("N", N)
    variance = matrices.number("noise", noise, least=0.0) ** 2
    prior = np.eye(d) if prior is None else matrices.covariance("prior", prior, d, definite=over_N == 0.0)
    return minimiser(Lambda, prior, variance, over_N)


def gamma(Lambda, prior, variance, over_N):
    """Gamma of (RK5) for arrays of either kind, with 1/N for N and the variance of the label noise."""
    both = product(Lambda, prior)
    return (1 + over_N) * both + over_N * (both.trace() + variance) * eye_like(both)


def minimiser(Lambda, prior, variance, over_N):
    """A* of (RK5) for arrays of either kind."""
    return divided(prior, gamma(Lambda, prior, variance, over_N))


def step_size(N: int, d: int, noise: float = 0.0) -> float:
    r"""$\eta = 1/(N + d + 1 + \sigma^2)$ of the step $\hat y = \eta\, x_q^\top \Lambda^{-1} \sum_i y_i x_i$ (RK7).

    It is the best one for inputs $N(0, \Lambda)$ with tasks $N(0, \Lambda^{-1})$, so for standard normal ones of both.

    Args:
        N: examples of a prompt.
        d: inputs a token.
        noise: standard deviation of the label noise.

    Returns:
        The step that multiplies the sum, not the mean.

    Raises:
        ValueError: N or d below 1, negative noise.

    >>> print(round(step_size(20, 5, noise=0.5), 6))  # 1 / 26.25
    0.038095

    References: Mahankali, Hashimoto, Ma 2024 (arXiv 2307.03576).
    """
    N, d = _check.count("N", N, 1), _check.count("d", d, 1)
    return 1.0 / (N + d + 1 + matrices.number("noise", noise, least=0.0) ** 2)


def best_step(N: float, variance: float, signal: float, square: float) -> float:
    r"""The best multiple of the identity, $p^*$ (RK8), for any inputs and labels.

    Args:
        N: examples of a prompt, or `math.inf`.
        variance: s, of each coordinate of the query.
        signal: $E|g|^2$ with $g(w) = E[x y \mid w]$.
        square: $E[y^2 |x|^2]$.

    Returns:
        p of the prediction $p\, x_q \cdot \frac1N \sum_i y_i x_i$.

    Raises:
        ValueError: N below 1, numbers that are not positive.

    >>> print(round(best_step(20, 1.0, signal=5.0, square=5.0 * 7.0), 6))  # linear labels, d = 5
    0.769231

    References: Mahankali, Hashimoto, Ma 2024 (arXiv 2307.03576).
    """
    s, g, q = (matrices.number(n, x, positive=True) for n, x in
               (("variance", variance), ("signal", signal), ("square", square)))  # fmt: skip
    return step(s, g, q, matrices.over("N", N))


def step(variance, signal, square, over_N):
    """p* of (RK8), for numbers of any kind."""
    return signal / (variance * ((1 - over_N) * signal + over_N * square))


def coordinate_limit(d: int, N: float, variance: float, fourth: float, noise: float = 0.0) -> float:
    r"""$p^* = s/q$ for linear labels on inputs with independent coordinates (RK8).

    Args:
        d: inputs a token.
        N: examples of a prompt, or `math.inf`.
        variance: s, of each coordinate.
        fourth: $m_4$, its fourth moment; 3 s^2 for normal ones.
        noise: standard deviation of the label noise.

    Returns:
        p of the prediction $p\, x_q \cdot \frac1N \sum_i y_i x_i$.

    Raises:
        ValueError: sizes below 1, numbers that are not positive, a fourth moment below s^2, which no law has.

    >>> print(round(coordinate_limit(5, 20, 1.0, 3.0), 6))
    0.769231
    """
    d, s = _check.count("d", d, 1), matrices.number("variance", variance, positive=True)
    m4 = matrices.number("fourth", fourth, least=s**2)
    sigma = matrices.number("noise", noise, least=0.0)
    return best_step(N, s, d * s**2, d * (m4 + (d - 1) * s**2 + sigma**2 * s))


def uniform_limit(d: int, N: float, half_width: float = 1.0, noise: float = 0.0) -> float:
    r"""$p^*$ for linear labels on inputs with coordinates uniform on (-half_width, half_width) (RK8).

    Args:
        d: inputs a token.
        N: examples of a prompt, or `math.inf`.
        half_width: a; the variance is $a^2/3$, the fourth moment $a^4/5$.
        noise: standard deviation of the label noise.

    Returns:
        p; a construction with the sum over examples in place of the mean has the rate p / N.

    Raises:
        ValueError: as `coordinate_limit`.

    >>> print(round(uniform_limit(10, 10, 0.5), 4), round(uniform_limit(10, 10, 1.0), 5))
    6.0606 1.51515

    References: von Oswald et al. 2023 (arXiv 2212.07677), whose code draws from (-0.5, 0.5).
    """
    s, m4 = uniform_moments(half_width)
    return coordinate_limit(d, N, s, m4, noise)


def uniform_moments(half_width: float) -> tuple[float, float]:
    """Variance and fourth moment of the uniform law on (-half_width, half_width).

    >>> print(uniform_moments(0.5))
    (0.08333333333333333, 0.0125)
    """
    a = matrices.number("half_width", half_width, positive=True)
    return a**2 / 3, a**4 / 5


def random_covariance_limit(moments: Float[ArrayLike, "3 d"], N: float, noise: float = 0.0) -> Square:
    r"""$A^*$ where every prompt draws its own diagonal covariance (RK9).

    Args:
        moments: `[3, d]`, row k - 1 is $E\lambda_i^k$ of the variances; `exponential_moments` for Exp(1).
        N: examples of a training prompt, or `math.inf`.
        noise: standard deviation of the label noise of training.

    Returns:
        `[d, d]`, diagonal, in float64.

    Raises:
        ValueError: a wrong shape, moments that no positive variance has, N below 1, negative noise.

    >>> print(random_covariance_limit(exponential_moments(5), N=20)[0, 0].round(6))  # 1 / (3 + 10/20)
    0.285714

    References: Zhang, Frei, Bartlett 2024 (arXiv 2306.09927), theorem 4.5.
    """
    moments = variance_moments(moments)
    variance = matrices.number("noise", noise, least=0.0) ** 2
    return np.diag(random_minimiser(moments, variance, matrices.over("N", N)))


def exponential_moments(d: int, scale: float = 1.0) -> Moments:
    """Moments of variances that are scale times Exp(1): those of `RandomDiagonal(scale)`.

    >>> print(exponential_moments(1).ravel())
    [1. 2. 6.]
    """
    d, c = _check.count("d", d, 1), matrices.number("scale", scale, positive=True)
    return np.tile(np.array([[c], [2 * c**2], [6 * c**3]]), (1, d))


def variance_moments(value) -> Moments:
    """`value` as moments [3, d] of positive numbers."""
    moments = matrices.array("moments", value, "k d", k=3)
    first, second, third = moments
    if (first <= 0).any() or (second < first**2 * (1 - 1e-12)).any() or (third * first < second**2 * (1 - 1e-12)).any():
        raise ValueError(
            "moments: got rows that no positive variance has, expected E l, E l^2, E l^3 with E l^2 >= (E l)^2 and "
            "E l E l^3 >= (E l^2)^2; pass raw moments"
        )
    return moments


def random_minimiser(moments, variance, over_N):
    """The diagonal of (RK9) for arrays of either kind."""
    first, second, third = moments[0], moments[1], moments[2]
    others = first.sum() - first
    return second / ((1 + over_N) * third + over_N * (third + second * others + variance * second))
