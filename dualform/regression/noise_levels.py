r"""Four scalars a layer, and how two layers adapt to the noise of the labels.

Heads of linear attention with diagonal weights, $W_{PV}^k = \mathrm{diag}(p_x^k I, p_y^k)$ and
$W_{KQ}^k = \mathrm{diag}(q_x^k I, q_y^k)$, act through four numbers $\omega_{ab} = \sum_k p_a^k q_b^k$ alone:

$$ x_j \leftarrow x_j + \omega_{xx} \Sigma x_j + \omega_{xy}\, y_j\, a, \qquad
   y_j \leftarrow y_j + \omega_{yx}\, a \cdot x_j + \omega_{yy}\, \lambda\, y_j,                          \tag{DE16} $$

with $\Sigma = \sum_i x_i x_i^\top$, $a = \sum_i y_i x_i$, $\lambda = \sum_i y_i^2$ over the examples. Two heads reach
any four numbers. One head reaches those with

$$ \omega_{xx}\, \omega_{yy} = \omega_{xy}\, \omega_{yx}.                                               \tag{DE17} $$

GD++ (DE1) is $\omega_{xx} = -\gamma/N$, $\omega_{yx} = -\eta/N$. The number $\omega_{yy}$ rescales the answer by how
large the labels still are. After a layer with $\omega_{yx} = -c/n$ alone, the labels are residuals, and
$\lambda \approx n \sigma^2$; a second layer with $\omega_{yy}$ alone multiplies the answer by
$1 + \omega_{yy} \lambda$. Where $\Sigma = n I$, ridge regression for noise $\sigma^2$ and $w \sim N(0, I)$ is
$n / (n + \sigma^2)$ times least squares. So for two levels $\sigma_1, \sigma_2$, with $u_k = \sigma_k^2 / n$,

$$ c = \frac{1 + u_1 + u_2}{(1 + u_1)(1 + u_2)}, \qquad \omega_{yy} = -\frac{1}{n^2 (1 + u_1 + u_2)}
   \quad\Rightarrow\quad c\,(1 + \omega_{yy}\, n \sigma_k^2) = \frac{n}{n + \sigma_k^2}, \quad k = 1, 2:
                                                                                                        \tag{DE18} $$

the same two layers are ridge regression at both levels, without being told which one it is. It is a limit: as $n$
grows with $u_k$ held fixed, $\Sigma / n \to I$ and $\lambda / n^2 \to u_k$.

References: Vladymyrov, von Oswald, Sandler, Ge 2024, Linear transformers are versatile in-context learners
(arXiv 2402.14180), sections 4 and 5.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from dualform import _check

Four = Float[Array, "2 2"]


def diagonal_heads(omega: Four, d: int) -> tuple[Float[Array, "2 D D"], Float[Array, "2 D D"]]:
    r"""Two heads of `lsa` with diagonal weights and the four scalars (DE16); use them with rho = 1.

    Args:
        omega: `[2, 2]`, rows: what changes (x, y), columns: what of the token asks (x, y).
        d: entries of an input.

    Returns:
        W_PV and W_KQ, `[2, d+1, d+1]`.

    Raises:
        ValueError: omega of another shape, or of no float dtype.

    >>> P, Q = diagonal_heads(jnp.array([[-0.1, 0.0], [-0.5, 0.0]]), 1)  # GD++: gamma / N = 0.1, eta / N = 0.5
    >>> print(P[0] @ Q[0] + P[1] @ Q[1])
    [[-0.1  0. ]
     [ 0.   0. ]]

    References: Vladymyrov et al. 2024 (arXiv 2402.14180), section 4.
    """
    omega, d = _four(omega), _check.count("d", d, 1)
    x = jnp.concatenate([jnp.ones(d, omega.dtype), jnp.zeros(1, omega.dtype)])
    W_PV = jnp.stack([jnp.diag(x), jnp.diag(1 - x)])
    W_KQ = jnp.stack([jnp.diag(row[0] * x + row[1] * (1 - x)) for row in omega])
    return W_PV, W_KQ


def four_scalars(tokens: Float[Array, "T D"], omega: Four) -> Float[Array, "T D"]:
    r"""A layer with the four scalars as it is written (DE16): the query, the last token, is not among what is read.

    Args:
        tokens: `[T, D]` rows (x_j, y_j), the query last.
        omega: `[2, 2]` as in `diagonal_heads`.

    Returns:
        `[T, D]`; what `lsa` returns with `diagonal_heads`, `rho=1` and `include_query=False`.

    Raises:
        ValueError: shapes or dtypes that do not agree.

    Cost: 8 T d flops: no matrix is formed.

    >>> tokens = jnp.array([[1.0, 3.0], [2.0, 6.0], [1.0, 0.0]])
    >>> print(four_scalars(tokens, jnp.array([[0.0, 0.0], [-0.2, 0.0]]))[-1])  # GD: minus the prediction
    [ 1. -3.]
    """
    sizes: _check.Sizes = {}
    tokens, omega = _check.array("tokens", tokens, "T D", sizes), _four(omega)
    dtype = _check.same_dtype(tokens=tokens, omega=omega)
    tokens, omega = (z.astype(_check.compute_dtype(z)) for z in (tokens, omega))  # 16-bit floats in float32
    x, y = tokens[:, :-1], tokens[:, -1]
    X, Y = x[:-1], y[:-1]
    a, energy = jnp.sum(Y[:, None] * X, axis=0), jnp.sum(Y * Y)
    read = jnp.sum(X[None] * x[:, None], axis=2)  # x_i . x_j, [T, N]
    new_x = x + omega[0, 0] * jnp.sum(read[:, :, None] * X[None], axis=1) + omega[0, 1] * y[:, None] * a[None]
    new_y = y + omega[1, 0] * jnp.sum(x * a[None], axis=1) + omega[1, 1] * energy * y
    return jnp.concatenate([new_x, new_y[:, None]], axis=1).astype(dtype)


def two_levels(n: _check.Scalar, first: _check.Scalar, second: _check.Scalar) -> Float[Array, "2 2 2"]:
    r"""The two layers that adapt to two levels of noise (DE18).

    Args:
        n: examples in the prompt.
        first, second: the standard deviations of the two levels.

    Returns:
        `[2, 2, 2]` omega of each layer: the first is a gradient step, the second rescales.

    Raises:
        ValueError: concrete numbers that are not finite, or n not above zero.

    >>> omega = two_levels(100.0, 0.0, 10.0)
    >>> print(omega[0, 1, 0], omega[1, 1, 1])  # -c / n and omega_yy
    -0.01 -5e-05

    References: Vladymyrov et al. 2024 (arXiv 2402.14180), theorem 5.2.
    """
    n = jnp.asarray(_check.scalar("n", n, positive=True))
    u, v = (jnp.asarray(_check.scalar(k, s)) ** 2 / n for k, s in (("first", first), ("second", second)))
    step = (1 + u + v) / ((1 + u) * (1 + v))
    zero = jnp.zeros_like(n)
    descend = jnp.stack([jnp.stack([zero, zero]), jnp.stack([-step / n, zero])])
    rescale = jnp.stack([jnp.stack([zero, zero]), jnp.stack([zero, -1 / (n * n * (1 + u + v))])])
    return jnp.stack([descend, rescale])


def _four(omega):
    omega = _check.float_array("omega", omega)
    if omega.shape != (2, 2):
        raise ValueError(f"omega: got shape {omega.shape}, expected [2, 2], rows x and y by columns x and y; reshape")
    _check.require_finite("omega", omega)
    return omega
