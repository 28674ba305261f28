r"""Linear self-attention on prompts of regression: the layer, its heads, its depth, and what of it the prediction uses.

A prompt is a matrix of tokens. Row $i$ is an example, $e_i = (x_i, y_i)$; the last row is the query, $(x_q, 0)$. One
layer reads all tokens through one pair of matrices and adds what it finds to each:

$$ e_j \leftarrow e_j + \frac1\rho \sum_i (W_{PV}\, e_i)\,(e_i \cdot W_{KQ}\, e_j).                \tag{LS1} $$

That is (L2) with values $W_{PV} e_i$, keys $e_i$ and queries $W_{KQ} e_j$. With tokens as the columns of $E$, as the
papers write it, it is $E + W_{PV} E\,(E^\top W_{KQ} E)/\rho$. By (L1) the tokens are one weight matrix, and no score
needs to be formed:

$$ e_j \leftarrow e_j + \frac1\rho\, W_{PV}\, G\, W_{KQ}\, e_j, \qquad G = \sum_i e_i e_i^\top.     \tag{LS2} $$

The sum runs over all tokens (`include_query=True`: Zhang et al.) or over the examples alone (von Oswald et al., Ahn et
al.). The divisor $\rho$ is the number of examples of *the prompt at hand*: $N$ in training, $M$ in a test. A model that
keeps $\rho = N$ on a prompt of $M$ examples returns $M/N$ times its prediction. Heads add up,

$$ e_j \leftarrow e_j + \frac1\rho \sum_h W_{PV}^h\, G\, W_{KQ}^h\, e_j,                            \tag{LS3} $$

and layers follow each other; a recurrent network applies one layer several times.

Read-out: the prediction is the last entry of the query's token (Zhang et al.), or minus that entry (von Oswald et al.
and Ahn et al., whose layers subtract). With one layer, one label a token and both sums over all tokens, only the last
row $(w_{21}^\top, w_{22})$ of $W_{PV}$ and the first $d$ columns of $W_{KQ}$ have a part in it:

$$ \hat y = \frac1\rho\, (w_{21}^\top, w_{22})\, G\, W_{KQ}[:, :d]\; x_q.                           \tag{LS4} $$

References: Zhang, Frei, Bartlett 2024, Trained transformers learn linear models in-context (arXiv 2306.09927), eq.
3.3; von Oswald et al. 2023, Transformers learn in-context by gradient descent (arXiv 2212.07677), eq. 1; Ahn et al.
2023, Transformers learn to implement preconditioned gradient descent (arXiv 2306.00297).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dualform import _check
from dualform._numerics import dot

Tokens = Float[Array, "T D"]
Matrices = Float[Array, "D D"] | Float[Array, "H D D"]


def prompt(x: Float[Array, "N d"], y: Float[Array, " N"] | Float[Array, "N k"], query: Float[Array, " d"]) -> Tokens:
    r"""The tokens of a prompt: rows $(x_i, y_i)$, then $(x_q, 0)$.

    Args:
        x: `[N, d]` inputs of the examples.
        y: `[N]` labels, or `[N, k]` for k labels each.
        query: `[d]` the input to predict for.

    Returns:
        `[N+1, d+1]` (`[N+1, d+k]`).

    Raises:
        ValueError: shapes that do not agree, dtypes that are not one float dtype, concrete values that are not finite.

    Cost: a copy.

    >>> print(prompt(jnp.array([[1.0, 2.0]]), jnp.array([5.0]), jnp.array([3.0, 4.0])))
    [[1. 2. 5.]
     [3. 4. 0.]]
    """
    sizes: _check.Sizes = {}
    x, y = _check.array("x", x, "N d", sizes), _check.array("y", y, "N | N k", sizes)
    query = _check.array("query", query, "d", sizes)
    _check.same_dtype(x=x, y=y, query=query)
    labels = y[:, None] if y.ndim == 1 else y
    examples = jnp.concatenate([x, labels], axis=1)
    last = jnp.concatenate([query, jnp.zeros(labels.shape[1], x.dtype)])
    return jnp.concatenate([examples, last[None]])


def lsa(tokens: Tokens, W_PV: Matrices, W_KQ: Matrices, rho: _check.Scalar, *, include_query: bool = True) -> Tokens:
    r"""One layer of linear self-attention, all heads (LS1, LS3), by the matrix of the tokens (LS2).

    Args:
        tokens: `[T, D]` rows are tokens, the query last.
        W_PV: `[D, D]` projection times values, or `[H, D, D]` for H heads.
        W_KQ: keys times queries, of the shape of `W_PV`.
        rho: divisor, the number of examples in `tokens` (T - 1), not that of the prompts of training.
        include_query: whether the query's own token is among the keys and values.

    Returns:
        `[T, D]`, all tokens after the layer.

    Raises:
        ValueError: wrong shapes, dtypes that are not one float dtype, concrete values that are not finite, rho <= 0.

    Cost: 2 T D (D + H D) + 4 H D^3 flops, D^2 (1 + H) numbers.

    >>> tokens = prompt(jnp.array([[1.0], [2.0]]), jnp.array([3.0, 6.0]), jnp.array([1.0]))
    >>> label, inputs = jnp.array([[0.0, 0.0], [0.0, 1.0]]), jnp.array([[0.2, 0.0], [0.0, 0.0]])
    >>> print(lsa(tokens, label, inputs, rho=2)[-1])  # 0.2 (1 * 3 + 2 * 6) / 2 at the label's place
    [1.  1.5]

    References: Zhang et al. 2024 (arXiv 2306.09927), eq. 3.3; von Oswald et al. 2023 (arXiv 2212.07677), eq. 1.
    """
    tokens, W_PV, W_KQ, rho = _arguments(tokens, W_PV, W_KQ, rho)
    wide = _widen(tokens)
    change = _merged(_gram(wide, include_query), _widen(W_PV), _widen(W_KQ))
    return (wide + dot(wide, change.T) / jnp.asarray(rho, wide.dtype)).astype(tokens.dtype)


def lsa_attention(
    tokens: Tokens, W_PV: Matrices, W_KQ: Matrices, rho: _check.Scalar, *, include_query: bool = True
) -> Tokens:
    r"""The same layer as attention, score by score (LS1): `lsa` with the bracket moved.

    Args, Returns, Raises: those of `lsa`.

    Cost: H (4 T D^2 + 4 T^2 D) flops, H T^2 scores.

    >>> tokens, matrix = jnp.array([[1.0, 2.0], [3.0, 0.0]]), jnp.eye(2)
    >>> print(jnp.array_equal(lsa_attention(tokens, matrix, matrix, 1.0), lsa(tokens, matrix, matrix, 1.0)))
    True

    References: von Oswald et al. 2023 (arXiv 2212.07677), eq. 1.
    """
    tokens, W_PV, W_KQ, rho = _arguments(tokens, W_PV, W_KQ, rho)
    wide, P, Q = _widen(tokens), _widen(W_PV), _widen(W_KQ)
    read = wide if include_query else wide[:-1]
    one = jax.vmap(lambda p, q: dot(dot(dot(wide, q.T), read.T), dot(read, p.T)))
    heads = one(P, Q) if P.ndim == 3 else one(P[None], Q[None])
    return (wide + jnp.sum(heads, axis=0) / jnp.asarray(rho, wide.dtype)).astype(tokens.dtype)


def lsa_layers(
    tokens: Tokens,
    W_PV: Float[Array, "L D D"] | Float[Array, "L H D D"],
    W_KQ: Float[Array, "L D D"] | Float[Array, "L H D D"],
    rho: _check.Scalar,
    *,
    include_query: bool = True,
    repeat: int = 1,
) -> Tokens:
    """Layers of linear self-attention in sequence, each as `lsa`; `repeat=K` with one layer is a recurrent network.

    Args:
        tokens: `[T, D]` rows are tokens, the query last.
        W_PV: `[L, D, D]` one matrix a layer, or `[L, H, D, D]`.
        W_KQ: of the shape of `W_PV`.
        rho: divisor of every layer, the number of examples in `tokens`.
        include_query: whether the query's own token is among the keys and values.
        repeat: how often the whole stack is applied.

    Returns:
        `[T, D]`, all tokens after the last layer.

    Raises:
        ValueError: as `lsa`, or `repeat` is negative.

    Cost: L times repeat layers; the program has L of them, whatever `repeat` is.

    >>> tokens, layer = jnp.array([[1.0, 2.0], [3.0, 0.0]]), jnp.eye(2)[None] / 4
    >>> once = lsa(tokens, layer[0], layer[0], 1.0)
    >>> print(jnp.allclose(lsa_layers(tokens, layer, layer, 1.0, repeat=2), lsa(once, layer[0], layer[0], 1.0)))
    True
    """
    W_PV = _check.array("W_PV", W_PV, "L D D | L H D D")
    W_KQ = _check.array("W_KQ", W_KQ, "L D D | L H D D")
    repeat = _check.count("repeat", repeat)
    if W_PV.shape != W_KQ.shape:
        raise ValueError(f"W_KQ: got shape {W_KQ.shape}, expected that of W_PV, {W_PV.shape}; reshape W_KQ")

    def once(_, e):
        for P, Q in zip(W_PV, W_KQ, strict=True):
            e = lsa(e, P, Q, rho, include_query=include_query)
        return e

    tokens = _check.array("tokens", tokens, "T D")
    return once(0, tokens) if repeat == 1 else jax.lax.fori_loop(0, repeat, once, tokens)


def prediction(tokens: Tokens) -> Float[Array, ""]:
    """What the layer says of the query: the last entry of the last token (von Oswald et al. take minus this).

    >>> print(prediction(jnp.array([[1.0, 2.0], [3.0, 4.0]])))
    4.0
    """
    return _check.array("tokens", tokens, "T D")[-1, -1]


def reduced(tokens: Tokens, W_PV: Matrices, W_KQ: Matrices, rho: _check.Scalar) -> Float[Array, ""]:
    r"""The prediction of one layer from the parts of the matrices that have one in it (LS4).

    Args:
        tokens: `[T, D]` a prompt, whose last entry is 0.
        W_PV: `[D, D]`, or `[H, D, D]`; only the last row is read.
        W_KQ: likewise; its last column is not read.
        rho: divisor, the number of examples in `tokens`.

    Returns:
        A number, `prediction(lsa(tokens, W_PV, W_KQ, rho))`.

    Raises:
        ValueError: as `lsa`.

    Cost: 2 T D^2 + 2 H D^2 flops.

    References: Zhang et al. 2024 (arXiv 2306.09927), section 3.2.
    """
    tokens, W_PV, W_KQ, rho = _arguments(tokens, W_PV, W_KQ, rho)
    wide, P, Q = _widen(tokens), _widen(W_PV), _widen(W_KQ)
    P, Q = (P, Q) if P.ndim == 3 else (P[None], Q[None])
    asked = dot(Q[:, :, :-1], wide[-1, :-1])  # [H, D]
    return (jnp.sum(dot(P[:, -1], _gram(wide, True)) * asked) / jnp.asarray(rho, wide.dtype)).astype(tokens.dtype)


def _arguments(tokens, W_PV, W_KQ, rho):
    sizes: _check.Sizes = {}
    tokens = _check.array("tokens", tokens, "T D", sizes)
    W_PV = _check.array("W_PV", W_PV, "D D | H D D", sizes)
    W_KQ = _check.array("W_KQ", W_KQ, "D D" if W_PV.ndim == 2 else "H D D", sizes)
    _check.same_dtype(tokens=tokens, W_PV=W_PV, W_KQ=W_KQ)
    return tokens, W_PV, W_KQ, _check.scalar("rho", rho, positive=True)


def _gram(tokens, include_query: bool):
    """G of (LS2)."""
    read = tokens if include_query else tokens[:-1]
    return dot(read.T, read)


def _merged(G, P, Q):
    """The sum over heads of P G Q."""
    if P.ndim == 2:
        return dot(dot(P, G), Q)
    return jnp.sum(jax.vmap(lambda p, q: dot(dot(p, G), q))(P, Q), axis=0)


def _widen(x):
    """16-bit floats are computed in float32."""
    return x.astype(_check.compute_dtype(x))
