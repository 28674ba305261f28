r"""Tokens that alternate, $x_1, y_1, x_2, y_2, \dots, x_q$, turned into pairs by one head that copies.

A language model reads an input and its label as two tokens. With a one-hot position $p_t \in R^T$ appended, the
tokens of $N$ examples and a query are $(x_j, 0, p_{2j-1})$, $(0, y_j, p_{2j})$ and $(x_q, 0, p_T)$, $T = 2N + 1$.
A head whose scores are $p_i \cdot \Pi p_t$ reads one token, where $\Pi$ sends the position of an input to that of its
label, and every other position to its own. Its values are the labels. So

$$ (x_j, 0) \leftarrow (x_j, 0) + \sum_i (0, y_i)\,(p_i \cdot \Pi p_{2j-1}) = (x_j, y_j),
   \qquad (x_q, 0) \leftarrow (x_q, 0),                                                                 \tag{DE13} $$

and label tokens become $(0, 2 y_j)$: they have no input, so that no layer of gradient descent sees them. With a softmax
over scores of sharpness $\beta$ the token that is read has the weight $1 - (T - 1)\epsilon$ and each other
$\epsilon = 1 / (e^\beta + T - 1)$. With $c_i$ the label of token $i$ (0 for inputs), $\pi(t)$ the token that $t$ reads

$$ |\text{copied}_t - c_{\pi(t)}| \le \epsilon \sum_i |c_i - c_{\pi(t)}|,                                 \tag{DE14} $$

which also bounds what the query wrongly gets. The copying layer and one layer of gradient descent are one step on the
pairs, and K such layers are K steps:

$$ \hat y = \frac{\eta}{N} \sum_j y_j\,(x_j \cdot x_q).                                                  \tag{DE15} $$

References: von Oswald et al. 2023, Transformers learn in-context by gradient descent (arXiv 2212.07677), proposition 3.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dualform import _check
from dualform._numerics import dot
from dualform.attention import softmax_attn

Tokens = Float[Array, "T D"]
Matrix = Float[Array, "D D"]


def alternating_prompt(x: Float[Array, "N d"], y: Float[Array, " N"], query: Float[Array, " d"]) -> Tokens:
    r"""Tokens $x_1, y_1, \dots, x_q$ with their one-hot positions appended.

    Args:
        x: `[N, d]` inputs of the examples.
        y: `[N]` labels.
        query: `[d]` the input to predict for.

    Returns:
        `[2N+1, d+1+2N+1]`: input, label, position.

    Raises:
        ValueError: shapes that do not agree, dtypes that are not one float dtype, concrete values that are not finite.

    Cost: a copy.

    >>> print(alternating_prompt(jnp.array([[2.0]]), jnp.array([5.0]), jnp.array([3.0])))
    [[2. 0. 1. 0. 0.]
     [0. 5. 0. 1. 0.]
     [3. 0. 0. 0. 1.]]
    """
    sizes: _check.Sizes = {}
    x, y = _check.array("x", x, "N d", sizes), _check.array("y", y, "N", sizes)
    query = _check.array("query", query, "d", sizes)
    dtype = _check.same_dtype(x=x, y=y, query=query)
    N, d = x.shape
    inputs = jnp.concatenate([x, jnp.zeros((N, 1), dtype)], axis=1)
    labels = jnp.concatenate([jnp.zeros((N, d), dtype), y[:, None]], axis=1)
    pairs = jnp.stack([inputs, labels], axis=1).reshape(2 * N, d + 1)
    last = jnp.concatenate([query, jnp.zeros(1, dtype)])
    return jnp.concatenate([jnp.concatenate([pairs, last[None]]), jnp.eye(2 * N + 1, dtype=dtype)], axis=1)


def copy_matrices(d: int, examples: int) -> tuple[Matrix, Matrix]:
    r"""The copying head (DE13) as matrices of `lsa`, to be used with rho = 1 and all tokens read.

    Args:
        d: entries of an input.
        examples: N.

    Returns:
        W_PV and W_KQ, `[D, D]` with D = d + 1 + 2N + 1.

    Raises:
        ValueError: d below one.

    >>> from dualform.regression import lsa
    >>> tokens = alternating_prompt(jnp.array([[2.0]]), jnp.array([5.0]), jnp.array([3.0]))
    >>> print(lsa(tokens, *copy_matrices(1, 1), rho=1.0)[:, :2])  # a pair, a label token, the query
    [[ 2.  5.]
     [ 0. 10.]
     [ 3.  0.]]

    References: von Oswald et al. 2023 (arXiv 2212.07677), proposition 3.
    """
    d, N = _check.count("d", d, 1), _check.count("examples", examples)
    T = 2 * N + 1
    reads = [t + 1 if t % 2 == 0 and t + 1 < T else t for t in range(T)]
    W_PV, W_KQ = np.zeros((2, d + 1 + T, d + 1 + T))
    W_PV[d, d] = 1.0
    for t, source in enumerate(reads):
        W_KQ[d + 1 + source, d + 1 + t] = 1.0
    return jnp.asarray(W_PV), jnp.asarray(W_KQ)


def softmax_copy(tokens: Tokens, W_PV: Matrix, W_KQ: Matrix, sharpness: _check.Scalar) -> Tokens:
    r"""The copying head with a softmax over its scores, off by the bound of (DE14).

    Args:
        tokens: `[T, D]` from `alternating_prompt`.
        W_PV, W_KQ: from `copy_matrices`.
        sharpness: $\beta$, the score of the token that is read; others score 0.

    Returns:
        `[T, D]`, the tokens after the head.

    Raises:
        ValueError: shapes that do not agree.

    Cost: T^2 scores.

    >>> tokens = alternating_prompt(jnp.array([[2.0]]), jnp.array([5.0]), jnp.array([3.0]))
    >>> print(jnp.round(softmax_copy(tokens, *copy_matrices(1, 1), 20.0)[:, :2], 4))
    [[ 2.  5.]
     [ 0. 10.]
     [ 3.  0.]]
    """
    sizes: _check.Sizes = {}
    tokens = _check.array("tokens", tokens, "T D", sizes)
    W_PV, W_KQ = _check.array("W_PV", W_PV, "D D", sizes), _check.array("W_KQ", W_KQ, "D D", sizes)
    return tokens + softmax_attn(dot(tokens, W_PV.T), tokens, dot(tokens, W_KQ.T), sharpness)


def on_pairs(matrix: Matrix, examples: int) -> Matrix:
    r"""A matrix of a layer on pairs, widened for tokens that carry their positions: rows and columns of zeros.

    Args:
        matrix: `[d+1, d+1]`, or `[H, d+1, d+1]` for heads.
        examples: N.

    Returns:
        `[..., D, D]` with D = d + 1 + 2N + 1.

    Raises:
        ValueError: not a matrix of floats.

    >>> print(on_pairs(jnp.ones((2, 2)), 0))
    [[1. 1. 0.]
     [1. 1. 0.]
     [0. 0. 0.]]
    """
    matrix = _check.array("matrix", matrix, "D D | H D D")
    more = 2 * _check.count("examples", examples) + 1
    return jnp.pad(matrix, [(0, 0)] * (matrix.ndim - 2) + [(0, more), (0, more)])


def copy_error(c: Float[Array, " T"], reads: Float[Array, " T"], sharpness: _check.Scalar) -> Float[Array, " T"]:
    r"""The bound of (DE14) on what a softmax copies wrongly.

    Args:
        c: `[T]` labels of the tokens, 0 for inputs.
        reads: `[T]` the label that each token should read, $c_{\pi(t)}$.
        sharpness: $\beta$.

    Returns:
        `[T]`.

    >>> print(copy_error(jnp.array([0.0, 5.0, 0.0]), jnp.array([5.0, 5.0, 0.0]), 0.0))  # uniform weights 1/3
    [3.3333335 3.3333335 1.6666667]
    """
    epsilon = 1 / (jnp.exp(jnp.asarray(sharpness, c.dtype)) + (len(c) - 1))
    return epsilon * jnp.sum(jnp.abs(c[None] - reads[:, None]), axis=1)
