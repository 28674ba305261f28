r"""Exact risks of one preconditioned step on prompts of M examples, whatever it was trained on.

The risk is $R = E(x_q^\top A\, m - x_q \cdot w)^2$, without the factor 1/2 of the training loss $L = R/2$, and with a
query whose own label carries no noise. With (RK3), for any A, any covariance $\Lambda$ of the context, $\Lambda_q$ of
the query and $\Psi$ of w, commuting or not,

$$ R = \mathrm{tr}\bigl(\Lambda_q\, (A\Lambda - I)\, \Psi\, (A\Lambda - I)^\top\bigr)
     + \tfrac1M \mathrm{tr}\bigl(\Lambda_q A\, V A^\top\bigr), \qquad
   V = \Lambda\Psi\Lambda + (\mathrm{tr}(\Lambda\Psi) + \sigma^2)\, \Lambda.                 \tag{RK10} $$

The first term is what infinitely many examples leave, the second falls with 1/M. At the limit of training on N
examples, $A = \Gamma^{-1}$ with $\gamma_i = \lambda_i + (\lambda_i + t)/N$, $t = \mathrm{tr} \Lambda$, it is

$$ R(N, M) = \sum_i \lambda_i \Bigl(1 - \frac{\lambda_i}{\gamma_i}\Bigr)^2
           + \frac1M \sum_i \frac{\lambda_i^2 (\lambda_i + t)}{\gamma_i^2}, \qquad
   R(N, N) = \mathrm{tr}\, \Lambda (\Lambda + t I) \bigl((N + 1) \Lambda + t I\bigr)^{-1},               \tag{RK11} $$

$$ \Lambda = I:\quad R(N, N) = \frac{d (d+1)}{N + d + 1}, \qquad
   R(N, M) = d \Bigl(\frac{d+1}{N+d+1}\Bigr)^2 + \frac{1}{M}\, \frac{d (d+1)}{(1 + (d+1)/N)^2}.          \tag{RK12} $$

Labels need not be linear. For *any* joint law of (x, y), with $\Lambda = E[x x^\top]$, $a = \Lambda^{-1} E[x y]$ and
$\Sigma = \mathrm{Cov}(x y)$,

$$ E(\hat y - y_q)^2 = \min_w E(w \cdot x - y)^2 + |\Lambda^{1/2} (A\Lambda - I)\, a|^2
     + \tfrac1M \mathrm{tr}(\Lambda A \Sigma A^\top),                                                    \tag{RK13} $$

so the prediction tends to that of the best linear predictor as M and N grow, and to nothing better.

Where the covariance is drawn anew for every prompt, diagonal with independent entries, as in (RK9),

$$ R = \sum_{ij} A_{ij}^2 \kappa_{ij} - 2 \sum_i A_{ii}\, \mu_{2i} + \sum_i \mu_{1i}, \qquad
   \kappa_{ij} = E[\lambda_i \lambda_j^2 + \tfrac1M \lambda_i \lambda_j (\lambda_j + t + \sigma^2)].      \tag{RK14} $$

For $\lambda \sim \mathrm{Exp}(1)$, $A = \alpha I$ and infinite M, that is $d (1 - 4 \alpha + 6 \alpha^2)$: at best
$d/3$, at $\alpha = 1/3$. Coordinates that are independent and alike but not normal, with $A = p I$, have

$$ R = d s \bigl(1 - 2 p s + p^2 q\bigr), \qquad
   q = s^2 \bigl(1 - \tfrac1M\bigr) + \tfrac1M \bigl(m_4 + (d - 1) s^2 + \sigma^2 s\bigr).               \tag{RK15} $$

Shifts between training and test are in these formulas. Tasks c times as large multiply R by $c^2$. Queries of another
covariance change $\Lambda_q$ only, and R still falls to zero as N and M grow. Inputs c times as large, with labels made
from them, do not pass: least squares answers c times as much, as it should, and the trained layer

$$ \hat y(cX, c\,x_q) = c^3\, \hat y(X, x_q),                                                            \tag{RK26} $$

$c^2$ times too much. For a query at a right angle to all inputs the prediction is zero, whatever the labels, only if A
is a multiple of the identity. For such prompts with one example of label 1 read off every entry of A that it lacks:

$$ e_i^\top A\, e_j = A_{ij}, \qquad
   (e_i + e_j)^\top A\, (e_i - e_j) = A_{ii} - A_{jj} + A_{ji} - A_{ij}.                                 \tag{RK27} $$

References: Zhang, Frei, Bartlett 2024, Trained transformers learn linear models in-context (arXiv 2306.09927), theorem
4.2 and section 4.2 on shifts; Mahankali, Hashimoto, Ma 2024 (arXiv 2307.03576).
"""

from jax.typing import ArrayLike
from jaxtyping import Float

from dualform import _check
from dualform.regression import matrices
from dualform.regression.matrices import eye_like, product
from dualform.regression.moments import Labels
from dualform.regression.optimum import coordinate_limit, limit, uniform_moments, variance_moments

Square = Float[ArrayLike, "d d"]


def risk(
    Lambda: Square,
    N: float,
    M: float,
    *,
    A: Square | None = None,
    noise: float = 0.0,
    prior: Square | None = None,
    scale: float = 1.0,
    query_cov: Square | None = None,
) -> float:
    r"""$E(x_q^\top A\, m - x_q \cdot w)^2$ with $m = \frac1M \sum_i y_i x_i$, exact (RK10).

    Args:
        Lambda: `[d, d]` covariance of the inputs, in training and of the context.
        N: examples of a training prompt, or `math.inf`; used only where `A` is None.
        M: examples of the test prompt, or `math.inf`.
        A: `[d, d]` the prediction's matrix; `limit(Lambda, N)` if None: trained without noise, on tasks N(0, I).
        noise: standard deviation of the label noise in the context of the test prompts.
        prior: `[d, d]` covariance of w in the test prompts; the identity if None.
        scale: multiplies context and query inputs of the test prompts, whose labels are made from the scaled inputs.
        query_cov: `[d, d]` covariance of the query, before scaling; that of the context if None.

    Returns:
        A Python float. Half of it is the loss that training minimises.

    Raises:
        ValueError: shapes that do not agree, not floats, no covariance, N or M below 1, negative noise.

    Cost: about twelve products of d x d matrices.

    >>> import numpy as np
    >>> print(round(risk(np.eye(5), 20, 20), 5))  # 30/26
    1.15385
    >>> print(round(risk(np.diag([2.0, 1.0, 0.5, 0.25]), 10, 10, noise=0.7), 5))
    1.22586

    References: Zhang, Frei, Bartlett 2024 (arXiv 2306.09927), theorem 4.2.
    """
    Lambda = matrices.covariance("Lambda", Lambda, definite=A is None)
    d = len(Lambda)
    matrices.over("N", N)
    A = limit(Lambda, N) if A is None else matrices.array("A", A, "d d", d=d)
    variance = matrices.number("noise", noise, least=0.0) ** 2
    squared = matrices.number("scale", scale) ** 2
    query = Lambda if query_cov is None else matrices.covariance("query_cov", query_cov, d)
    prior = matrices.identity_or("prior", prior, d)
    return float(of_step(A, squared * Lambda, prior, variance, matrices.over("M", M), squared * query))


def of_step(A, Lambda, prior, variance, over_M, query):
    """(RK10) for arrays of either kind, with 1/M for M and the variance of the noise: two terms, neither negative."""
    off = product(A, Lambda) - eye_like(A)
    spread = product(Lambda, prior, Lambda) + ((Lambda * prior).sum() + variance) * Lambda
    bias = product(query, off, prior, off.T).trace()
    return bias + over_M * product(query, A, spread, A.T).trace()


def label_risk(Lambda: Square, M: float, A: Square, labels: Labels) -> float:
    r"""$E(\hat y - y_q)^2$ for labels of any law (RK13).

    Args:
        Lambda: `[d, d]` covariance of the inputs.
        M: examples of the test prompt, or `math.inf`.
        A: `[d, d]` the prediction's matrix, of any training; see `limit`.
        labels: of the test prompts; see `label_moments`. Noise counts in their covariance, not in the query's label.

    Returns:
        A Python float.

    Raises:
        ValueError: shapes that do not agree, not floats, no covariance, M below 1.

    Cost: about six products of d x d matrices.

    >>> import numpy as np
    >>> from dualform.regression import label_moments
    >>> labels = label_moments(lambda x: x[..., 0] + x[..., 1] ** 2, np.eye(2))
    >>> print(round(label_risk(np.eye(2), float("inf"), np.eye(2), labels), 6))  # what the best linear predictor leaves
    3.0

    References: Zhang, Frei, Bartlett 2024 (arXiv 2306.09927), theorem 4.2.
    """
    Lambda = matrices.covariance("Lambda", Lambda)
    d = len(Lambda)
    A = matrices.array("A", A, "d d", d=d)
    best = matrices.array("labels.best", labels.best, "d", d=d)
    covariance = matrices.covariance("labels.covariance", labels.covariance, d)
    residual = matrices.number("labels.residual", labels.residual, least=0.0)
    return float(of_labels(A, Lambda, best, covariance, residual, matrices.over("M", M)))


def of_labels(A, Lambda, best, covariance, residual, over_M):
    """(RK13) for arrays of either kind."""
    off = product(product(A, Lambda) - eye_like(A), best[:, None])
    return residual + product(off.T, Lambda, off)[0, 0] + over_M * product(Lambda, A, covariance, A.T).trace()


def random_covariance_risk(moments: Float[ArrayLike, "3 d"], M: float, A: Square, noise: float = 0.0) -> float:
    r"""The risk where every test prompt draws its own diagonal covariance (RK14).

    Args:
        moments: `[3, d]`, row k - 1 is $E\lambda_i^k$ of the test prompts; see `exponential_moments`.
        M: examples of the test prompt, or `math.inf`.
        A: `[d, d]` the prediction's matrix; see `random_covariance_limit`.
        noise: standard deviation of the label noise in the context.

    Returns:
        A Python float; tasks are N(0, I).

    Raises:
        ValueError: wrong shapes, moments that no positive variance has, M below 1, negative noise.

    Cost: O(d^2).

    >>> from dualform.regression import exponential_moments, random_covariance_limit
    >>> moments = exponential_moments(5)
    >>> print(round(random_covariance_risk(moments, 20, random_covariance_limit(moments, 20)), 6))
    2.142857

    References: Zhang, Frei, Bartlett 2024 (arXiv 2306.09927), theorem 4.5.
    """
    moments = variance_moments(moments)
    A = matrices.array("A", A, "d d", d=moments.shape[1])
    variance = matrices.number("noise", noise, least=0.0) ** 2
    return float(of_random(A, moments, variance, matrices.over("M", M)))


def of_random(A, moments, variance, over_M):
    """(RK14) for arrays of either kind."""
    first, second, third = moments[0], moments[1], moments[2]
    total = first.sum()
    i, j = (slice(None), None), (None, slice(None))
    # E of l_i l_j^2, and of l_i l_j t, for i != j; the diagonal has powers of one variance
    square = first[i] * second[j]
    trace = second[i] * first[j] + first[i] * second[j] + first[i] * first[j] * (total - first[i] - first[j])
    apart = (1 + over_M) * square + over_M * (trace + variance * first[i] * first[j])
    alike = (1 + over_M) * third + over_M * (third + second * (total - first) + variance * second)
    eye = eye_like(A)
    weights = apart * (1 - eye) + alike[i] * eye
    return (A**2 * weights).sum() - 2 * (A.diagonal() * second).sum() + total


def coordinate_risk(
    d: int, N: float, variance: float, fourth: float, *, M: float | None = None, p: float | None = None,
    noise: float = 0.0,
) -> float:  # fmt: skip
    r"""The risk of $p\, x_q \cdot m$ on inputs with independent coordinates, not necessarily normal (RK15).

    Args:
        d: inputs a token.
        N: examples of a training prompt, or `math.inf`; used only where `p` or `M` is None.
        variance: s, of each coordinate.
        fourth: $m_4$, its fourth moment.
        M: examples of the test prompt; N if None.
        p: the step; the best one for N examples without noise if None.
        noise: standard deviation of the label noise of the test prompts.

    Returns:
        A Python float; tasks are N(0, I).

    Raises:
        ValueError: sizes below 1, numbers that are not positive.

    >>> print(round(coordinate_risk(5, 20, 1.0, 3.0), 5))
    1.15385
    """
    d, s = _check.count("d", d, 1), matrices.number("variance", variance, positive=True)
    m4 = matrices.number("fourth", fourth, least=s**2)
    p = coordinate_limit(d, N, s, m4) if p is None else matrices.number("p", p)
    over_M = matrices.over("M", N if M is None else M)
    return float(of_coordinates(p, d, s, m4, matrices.number("noise", noise, least=0.0) ** 2, over_M))


def of_coordinates(p, d, variance, fourth, noise_variance, over_M):
    """(RK15) as two terms, neither negative, for numbers of any kind."""
    s = variance
    spread = fourth + (d - 2) * s**2 + noise_variance * s  # M (q - s^2)
    return d * s * ((1 - p * s) ** 2 + over_M * p**2 * spread)


def uniform_risk(
    d: int, N: float, half_width: float = 1.0, *, M: float | None = None, p: float | None = None, noise: float = 0.0
) -> float:
    r"""The same on inputs with coordinates uniform on (-half_width, half_width) (RK15).

    Args:
        d, N, M, p, noise: as `coordinate_risk`.
        half_width: a; the variance is $a^2/3$, the fourth moment $a^4/5$.

    Returns:
        A Python float. Half of it is the loss that von Oswald et al. plot.

    Raises:
        ValueError: as `coordinate_risk`.

    >>> print(round(uniform_risk(10, 10, 0.5) / 2, 6), round(uniform_risk(10, 10, 1.0) / 2, 6))
    0.206229 0.824916

    References: von Oswald et al. 2023 (arXiv 2212.07677), figure 2.
    """
    s, m4 = uniform_moments(half_width)
    return coordinate_risk(d, N, s, m4, M=M, p=p, noise=noise)
