r"""What layers of linear self-attention do to a token, whichever token it is.

A layer that does not read the query's token is one matrix times each token, by (LS2): the same for all of them, query
included. So is a stack of layers, with $G_0 = \sum_{i \le N} e_i e_i^\top$ of the prompt as it came,

$$ e_j^{(l)} = T_l\, e_j, \qquad
   T_{l+1} = \Bigl(I + \frac1\rho \sum_h W_{PV}^h\, T_l G_0 T_l^\top\, W_{KQ}^h\Bigr) T_l, \quad T_0 = I. \tag{LS12} $$

Vladymyrov et al. write its blocks: $x_j^{(l)} = M x_j + y_j u$ and $y_j^{(l)} = a y_j - w \cdot x_j$, so
$T = \begin{pmatrix} M & u \\ -w^\top & a \end{pmatrix}$; the query becomes $(M x_q,\, -w \cdot x_q)$. Three things
follow, for any depth, any number of heads and any weights. The prediction is linear in the query. It depends on the
examples only through $\sum x x^\top$, $\sum y x$ and $\sum y^2$. And outputs over the tokens stay in the span of the
columns of inputs and labels: with linear labels no output resembles $x_1^2$.

References: Vladymyrov, von Oswald, Sandler, Ge 2024, Linear transformers are versatile in-context learners (arXiv
2402.14180), theorems 4.1 and 4.2.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dualform import _check
from dualform._numerics import dot


def token_map(
    gram: Float[Array, "D D"],
    W_PV: Float[Array, "L D D"] | Float[Array, "L H D D"],
    W_KQ: Float[Array, "L D D"] | Float[Array, "L H D D"],
    rho: _check.Scalar,
) -> Float[Array, "D D"]:
    r"""The matrix that layers of `lsa_layers` with `include_query=False` multiply every token by (LS12).

    Args:
        gram: `[D, D]` sum of $e_i e_i^\top$ over the examples, without the query.
        W_PV: `[L, D, D]` one matrix a layer, or `[L, H, D, D]`.
        W_KQ: of the shape of `W_PV`.
        rho: divisor of every layer, the number of examples.

    Returns:
        `[D, D]`, T of (LS12): `lsa_layers(tokens, ...)` is `tokens @ T.T`.

    Raises:
        ValueError: wrong shapes, dtypes that are not one float dtype, concrete values that are not finite, rho <= 0.

    Cost: L (4 H + 6) D^3 flops, whatever the number of examples.

    >>> print(token_map(jnp.eye(2), jnp.eye(2)[None], 2 * jnp.eye(2)[None], rho=1.0))
    [[3. 0.]
     [0. 3.]]

    References: Vladymyrov et al. 2024 (arXiv 2402.14180), theorem 4.1.
    """
    sizes: _check.Sizes = {}
    W_PV = _check.array("W_PV", W_PV, "L D D | L H D D", sizes)
    W_KQ = _check.array("W_KQ", W_KQ, "L D D" if W_PV.ndim == 3 else "L H D D", sizes)
    gram = _check.array("gram", gram, "D D", sizes)
    dtype = _check.same_dtype(gram=gram, W_PV=W_PV, W_KQ=W_KQ)
    rho = _check.scalar("rho", rho, positive=True)
    wide = _check.compute_dtype(gram)
    P, Q = (W.astype(wide) if W.ndim == 4 else W.astype(wide)[:, None] for W in (W_PV, W_KQ))
    T, G = jnp.eye(gram.shape[0], dtype=wide), gram.astype(wide)
    for p, q in zip(P, Q, strict=True):
        now = dot(dot(T, G), T.T)
        change = jnp.sum(jax.vmap(lambda p, q, now=now: dot(dot(p, now), q))(p, q), axis=0)
        T = T + dot(change / jnp.asarray(rho, wide), T)
    return T.astype(dtype)
