r"""Newton's iteration for an inverse, the gradient descent that it skips through, and layers of attention that do it.

The iteration squares what is missing to the inverse:

$$ M_0 = \alpha S^\top, \qquad M_{k+1} = 2 M_k - M_k S M_k,                                              \tag{DE9} $$
$$ I - M_k S = (I - \alpha S^\top S)^{2^k}, \qquad \text{gradient descent: } I - M_k S = (I - \eta S)^k.  \tag{DE10} $$

It converges for $0 < \alpha < 2 / |S|^2$. With $S = \sum_i x_i x_i^\top$ and $b = \sum_i y_i x_i$ the vector
$M_k b$ tends to least squares. It is not another path: Newton's step $k$ is the point that gradient descent on
$\frac12 |S w - b|^2$ with step $\alpha$ reaches after $2^k$ steps from zero,

$$ M_k b = w_{2^k}, \qquad w_{j+1} = w_j - \alpha S^\top (S w_j - b), \quad w_0 = 0,                      \tag{DE11} $$

so each further Newton step is worth as many steps of gradient descent as all steps before it.

Linear attention multiplies matrices. Let row $j$ of the tokens be $(m_j, s_j, i_j, z_j)$: row $j$ of $M$, of $S^\top$,
of the identity and of a scratch block $Z = 0$. A head whose scores pair block $A$ of a query with block $B$ of a key,
and whose values are block $C$, returns $A B^\top C$. Two layers of one head each make a step of (DE9):

$$ Z \leftarrow Z - M S M; \qquad M \leftarrow M + (M + Z), \quad Z \leftarrow Z - Z.                     \tag{DE12} $$

The first pairs $M$ with $S^\top$. The second pairs the identity with itself, so that every token reads itself alone.
The same two layers repeated are as many steps as wanted.

References: Ben-Israel, Cohen 1966, On iterative computation of generalized inverses; Fu et al. 2023, Transformers learn
to achieve second-order convergence rates for in-context linear regression (arXiv 2310.17086); Giannou et al. 2024, How
well can Transformers emulate in-context Newton's method? (arXiv 2403.03183).
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dualform import _check
from dualform._numerics import dot

Square = Float[Array, "d d"]


def newton_inverse(S: Square, alpha: _check.Scalar, steps: int) -> Square:
    r"""Newton's iteration for the inverse, from $\alpha S^\top$ (DE9).

    Args:
        S: `[d, d]` the matrix to invert.
        alpha: scale of the start; it converges for alpha below 2 over the square of the largest singular value.
        steps: k.

    Returns:
        `[d, d]`, $M_k$.

    Raises:
        ValueError: S not square, or of no float dtype; values that are not finite.

    Cost: 4 d^3 flops a step.

    >>> print(newton_inverse(jnp.array([[2.0]]), 0.125, 3))  # 1 - M S = (1 - 4/8)^8
    [[0.49804688]]

    References: Fu et al. 2023 (arXiv 2310.17086), section 3.
    """
    S = _matrix(S)
    dtype, S = S.dtype, S.astype(_check.compute_dtype(S))
    M = jnp.asarray(alpha, S.dtype) * S.T
    for _ in range(_check.count("steps", steps)):
        M = 2 * M - dot(dot(M, S), M)
    return M.astype(dtype)


def descent_inverse(S: Square, eta: _check.Scalar, steps: int) -> Square:
    r"""What gradient descent on $\frac12 w^\top S w - b^\top w$ makes of $b$ in k steps from 0, as a matrix (DE10).

    Args:
        S: `[d, d]` the matrix to invert.
        eta: the step.
        steps: k.

    Returns:
        `[d, d]`, $M_k$ with $w_k = M_k b$.

    Raises:
        ValueError: as `newton_inverse`.

    Cost: 2 d^3 flops a step.

    >>> print(descent_inverse(jnp.array([[2.0]]), 0.25, 8))  # 1 - M S = (1 - 1/2)^8
    [[0.49804688]]
    """
    S = _matrix(S)
    dtype, S = S.dtype, S.astype(_check.compute_dtype(S))
    eta, identity = jnp.asarray(eta, S.dtype), jnp.eye(len(S), dtype=S.dtype)
    M = jnp.zeros_like(S)
    for _ in range(_check.count("steps", steps)):
        M = M + eta * (identity - dot(S, M))
    return M.astype(dtype)


def newton_tokens(S: Square, M: Square) -> Float[Array, "d 4d"]:
    r"""The tokens that the layers of (DE12) work on: rows $(m_j, s_j, i_j, 0)$.

    Args:
        S: `[d, d]` the matrix to invert.
        M: `[d, d]` the approximation to start from.

    Returns:
        `[d, 4d]`; after the layers, the first d columns are the next approximation.

    Raises:
        ValueError: matrices of different shapes or dtypes, as `newton_inverse`.

    >>> print(newton_tokens(jnp.array([[2.0]]), jnp.array([[0.3]])))
    [[0.3 2.  1.  0. ]]
    """
    sizes: _check.Sizes = {}
    S, M = _matrix(S, sizes), _check.array("M", M, "D D", sizes)
    dtype = _check.same_dtype(S=S, M=M)
    return jnp.concatenate([M, S.T, jnp.eye(len(S), dtype=dtype), jnp.zeros_like(S)], axis=1)


def newton_layers(d: int) -> tuple[Float[Array, "2 4d 4d"], Float[Array, "2 4d 4d"]]:
    r"""The two layers of linear attention that make a step of Newton's iteration (DE12), for `lsa_layers` with rho = 1.

    Args:
        d: rows of the matrix to invert.

    Returns:
        W_PV and W_KQ, `[2, 4d, 4d]` each.

    Raises:
        ValueError: d below one.

    >>> from dualform.regression import lsa_layers
    >>> tokens = newton_tokens(jnp.array([[2.0]]), jnp.array([[0.25]]))
    >>> print(lsa_layers(tokens, *newton_layers(1), 1.0, repeat=3)[:, :1])
    [[0.49804688]]

    References: Giannou et al. 2024 (arXiv 2403.03183).
    """
    d = _check.count("d", d, 1)
    m, s, i, z = range(4)
    values = [_blocks(d, {(z, m): -1.0}), _blocks(d, {(m, m): 1.0, (m, z): 1.0, (z, z): -1.0})]
    pairs = [_blocks(d, {(s, m): 1.0}), _blocks(d, {(i, i): 1.0})]
    return jnp.stack(values), jnp.stack(pairs)


def _blocks(d, entries):
    """A matrix of 4 x 4 blocks, each a multiple of the identity; (row, column) -> multiple."""
    grid = np.zeros((4, 4))
    for place, value in entries.items():
        grid[place] = value
    return jnp.asarray(np.kron(grid, np.eye(d)))


def _matrix(S, sizes: _check.Sizes | None = None):
    return _check.array("S", S, "D D", sizes)
