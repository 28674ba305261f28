r"""Several heads: each has a weight and an update of its own, and the layer adds what they read.

A layer of $H$ heads without softmax maps a token $x$ to
$\sum_h W_O^h\, \mathrm{LinearAttn}(X W_V^{h\top}, X W_K^{h\top}, W_Q^h x)$. By (IC2) each head is a weight plus its
update, so the whole layer is one weight changed by the sum of $H$ updates, each of rank at most the number of
demonstration tokens and at most the width of a head:

$$ y = \sum_h W_O^h\, (W_{ZSL}^h + \Delta W_{ICL}^h)\, W_Q^h\, x.                                          \tag{IC9} $$

Axes are `[tokens, heads, features]`. The causal mask lets query t see as many tokens as end with its own: with fewer
queries than tokens, the queries are the last ones.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dualform import _check
from dualform.linear import linear_attn

HeadValues = Float[Array, "n H V"]
HeadKeys = Float[Array, "n H K"]
HeadQueries = Float[Array, "M H K"]


def linear_heads(
    V: HeadValues, K: HeadKeys, Q: HeadQueries, *, causal: bool = False, scale: _check.Scalar = 1.0
) -> Float[Array, "M H V"]:
    r"""Linear attention of several heads (IC9): `dualform.linear.linear_attn` for each.

    Args:
        V: `[n, H, V]` values of n tokens in H heads.
        K: `[n, H, K]` keys.
        Q: `[M, H, K]` queries.
        causal: query t of M sees the tokens up to n - M + t; needs M <= n.
        scale: multiplies every score.

    Returns:
        `[M, H, V]`; zeros for n = 0.

    Raises:
        ValueError: wrong shapes, no features or heads, different or non-float dtypes, concrete values that are not
            finite, more queries than tokens under the causal mask.

    Cost: 2 M n H (V + K) flops, M n H scores.

    >>> V = jnp.ones((3, 2, 1))
    >>> print(linear_heads(V, V, V, causal=True)[:, 0].ravel(), linear_heads(V, V, V)[:, 1].ravel())
    [1. 2. 3.] [3. 3. 3.]
    """
    sizes: _check.Sizes = {}
    V, K = _check.array("V", V, "n H V", sizes), _check.array("K", K, "n H K", sizes)
    Q = _check.array("Q", Q, "M H K", sizes)
    _check.same_dtype(V=V, K=K, Q=Q)
    n, M = len(V), len(Q)
    if causal and M > n:
        raise ValueError(f"Q: got {M} queries, expected at most the {n} tokens of V; a query is one of the tokens")
    weights = jnp.tril(jnp.ones((M, n), V.dtype), n - M) if causal else None
    attend = jax.vmap(lambda v, k, q: linear_attn(v, k, q, weights, scale), in_axes=1, out_axes=1)
    return attend(V, K, Q)
