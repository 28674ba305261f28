r"""Attention over demonstrations as an update of a weight, and finetuning of keys and values as another.

Take one head, drop the softmax, and feed it demonstration tokens $x'_i$ before the query's own tokens $x_i$:

$$ F(q) = \sum_i W_V x'_i\, (W_K x'_i \cdot q) + \sum_i W_V x_i\, (W_K x_i \cdot q).                        \tag{IC1} $$

A bracket is moved, and the head is a linear layer in $q$ whose weight the demonstrations change:

$$ F(q) = (W_{ZSL} + \Delta W_{ICL})\, q, \qquad W_{ZSL} = \sum_i W_V x_i\, (W_K x_i)^\top, \qquad
   \Delta W_{ICL} = \sum_i W_V x'_i\, (W_K x'_i)^\top.                                                    \tag{IC2} $$

This is an identity for linear attention. It is gradient descent on one loss and not on others: each demonstration is a
step of size 1 on the Hebbian loss, whose gradient does not depend on the weight,

$$ \ell_i(W) = -\, W_V x'_i \cdot W W_K x'_i, \qquad -\nabla \ell_i = W_V x'_i\, (W_K x'_i)^\top,           \tag{IC3} $$

with $W_V x'_i$ as error signal. On the squared loss the error signal would be $W_V x'_i - W\, W_K x'_i$, which is not
what attention adds. Finetuning changes $W_K$ and $W_V$ instead. With $G = \sum_i x_i x_i^\top$, the Gram matrix of the
query's own tokens,

$$ (W_V + \Delta W_V)\, G\, (W_K + \Delta W_K)^\top = W_{ZSL} + \Delta W_{FT}, \qquad
   \Delta W_{FT} = \Delta W_V G W_K^\top + W_V G\, \Delta W_K^\top + \Delta W_V G\, \Delta W_K^\top.      \tag{IC4} $$

Of these three terms the last is of second order in the learning rate. The first and the last share the factor
$\Delta W_V G$, so

$$ \mathrm{rank}\, \Delta W_{FT} \le \min(r_V, r_X) + \min(r_K, r_X), \qquad r_V = \mathrm{rank}\, \Delta W_V,\;
   r_K = \mathrm{rank}\, \Delta W_K,\; r_X = \mathrm{rank}\, X,                                           \tag{IC5} $$

not the sum of three, and not $r_X$. The updates of a finetuning run are themselves sums over training patterns $t_j$,
$\Delta W_V = \sum_j e^V_j t_j^\top$ and $\Delta W_K = \sum_j e^K_j t_j^\top$ (L1), so each term is attention in two
hops, from the query to its own tokens and from there to the training patterns, or back:

$$ \Delta W_V G W_K^\top q = \sum_j e^V_j\, (t_j \cdot h), \qquad h = \sum_i x_i\, (W_K x_i \cdot q)
\\ W_V G\, \Delta W_K^\top q = \sum_j (W_V G t_j)\, (e^K_j \cdot q)
\\ \Delta W_V G\, \Delta W_K^\top q = \sum_i e^V_i \Bigl( t_i \cdot \sum_j G t_j\, (e^K_j \cdot q) \Bigr)  \tag{IC6} $$

In the second line the *error signals* are the keys. Compare: $\Delta W_{ICL}$ is made of the demonstrations alone. For
a constant $c$ and any query tokens $X$,

$$ \Delta W_{FT}(cX) = c^2\, \Delta W_{FT}(X), \qquad \Delta W_{ICL} \text{ does not depend on } X:        \tag{IC8} $$

the finetuned update passes through the query's own context and vanishes with it, the in-context one does not. They are
not the same kind of object, and no finetuning run makes them equal for two contexts of different size.

References: Dai et al. 2022, Why can GPT learn in-context? (arXiv 2212.10559), eq. 10 to 13; Irie et al. 2022 (arXiv
2202.05798).
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from dualform import _check
from dualform._numerics import dot
from dualform.linear import delta_w, linear_attn

ValueWeight = Float[Array, "V D"]
KeyWeight = Float[Array, "K D"]
Tokens = Float[Array, "n D"]
Head = Float[Array, "V K"]


class Terms(NamedTuple):
    """The three parts of a finetuned update (IC4), or of what it does to a query (IC6).

    Attributes:
        value: from the change of the values, first order in the learning rate.
        key: from the change of the keys, first order.
        cross: from both, second order.
    """

    value: Array
    key: Array
    cross: Array

    @property
    def total(self) -> Array:
        """Their sum."""
        return self.value + self.key + self.cross


class Ranks(NamedTuple):
    """Upper bounds on the ranks of the three terms and of their sum (IC5)."""

    value: int
    key: int
    cross: int
    total: int


def icl_split(W_V: ValueWeight, W_K: KeyWeight, X: Tokens, X_demo: Float[Array, "d D"]) -> tuple[Head, Head]:
    r"""The weight that a linear head applies to its query, and what demonstrations add to it (IC2).

    $(W_{ZSL} + \Delta W_{ICL})\, q$ is the head's output for the tokens `[X_demo; X]`, without softmax and scale.

    Args:
        W_V: `[V, D]` value projection.
        W_K: `[K, D]` key projection.
        X: `[n, D]` the query's own tokens.
        X_demo: `[d, D]` demonstration tokens.

    Returns:
        (W_zsl, dW_icl), `[V, K]` each; zeros where there is no token.

    Raises:
        ValueError: wrong shapes, no features, different or non-float dtypes, concrete values that are not finite.

    Cost: 2 (n + d) (V D + K D + V K) flops.

    >>> one = jnp.ones((1, 1))
    >>> W_zsl, dW_icl = icl_split(2 * one, 3 * one, one, 5 * one)
    >>> print(W_zsl, dW_icl)
    [[6.]] [[150.]]

    References: Dai et al. 2022 (arXiv 2212.10559), eq. 11 and 12.
    """
    sizes: _check.Sizes = {}
    W_V, W_K = _check.array("W_V", W_V, "V D", sizes), _check.array("W_K", W_K, "K D", sizes)
    X, X_demo = _check.array("X", X, "n D", sizes), _check.array("X_demo", X_demo, "d D", sizes)
    dtype = _check.same_dtype(W_V=W_V, W_K=W_K, X=X, X_demo=X_demo)
    W_V, W_K, X, X_demo = _wide(W_V, W_K, X, X_demo)

    def update(tokens):
        return delta_w(dot(tokens, W_V.T), dot(tokens, W_K.T)).astype(dtype)

    return update(X), update(X_demo)


def ft_update(W_V: ValueWeight, W_K: KeyWeight, dW_V: ValueWeight, dW_K: KeyWeight, X: Tokens) -> Head:
    r"""What finetuned keys and values add to the head's weight, $\Delta W_{FT}$ (IC4).

    Args:
        W_V, W_K: `[V, D]`, `[K, D]` projections before finetuning.
        dW_V, dW_K: `[V, D]`, `[K, D]` their changes.
        X: `[n, D]` the query's own tokens.

    Returns:
        `[V, K]`: $W_{ZSL} + \Delta W_{FT}$ is the finetuned head's weight; zero for n = 0.

    Raises:
        ValueError: wrong shapes, no features, different or non-float dtypes, concrete values that are not finite.

    Cost: 6 n (V + K) D + 6 n V K flops.

    >>> one = jnp.ones((1, 1))
    >>> print(ft_update(one, one, 2 * one, 3 * one, one))
    [[11.]]

    References: Dai et al. 2022 (arXiv 2212.10559), eq. 13.
    """
    terms, dtype = _terms(W_V, W_K, dW_V, dW_K, X)
    return terms.total.astype(dtype)


def ft_terms(W_V: ValueWeight, W_K: KeyWeight, dW_V: ValueWeight, dW_K: KeyWeight, X: Tokens) -> Terms:
    r"""The three terms of `ft_update`, whose arguments these are (IC4).

    Returns:
        `Terms` (value, key, cross), `[V, K]` each.

    Raises and Cost: those of `ft_update`.

    >>> one = jnp.ones((1, 1))
    >>> print(*ft_terms(one, one, 2 * one, 3 * one, one))
    [[2.]] [[3.]] [[6.]]
    """
    terms, dtype = _terms(W_V, W_K, dW_V, dW_K, X)
    return Terms(*(x.astype(dtype) for x in terms))


def two_hop(
    W_V: ValueWeight, W_K: KeyWeight, E_V: Float[Array, "m V"], E_K: Float[Array, "m K"], X_train: Float[Array, "m D"],
    X: Tokens, q: Float[Array, " K"] | Float[Array, "M K"],
) -> Terms:  # fmt: skip
    r"""A finetuned update read at a query as attention over training patterns, with no weight changed (IC6).

    Args:
        W_V, W_K: `[V, D]`, `[K, D]` projections before finetuning.
        E_V, E_K: `[m, V]`, `[m, K]` error signals of the two projections, learning rate and sign included.
        X_train: `[m, D]` the tokens that the projections saw while they were trained.
        X: `[n, D]` the query's own tokens.
        q: `[K]` one query, or `[M, K]` many.

    Returns:
        `Terms` of the output, `[V]` or `[M, V]` each; their `total` is $\Delta W_{FT}\, q$.

    Raises:
        ValueError: wrong shapes, no features, different or non-float dtypes, concrete values that are not finite.

    Cost: O(m n (V + D) + M (n + m) (V + K + D)) flops; neither weight changes nor D by D matrices are formed.

    >>> one = jnp.ones((1, 1))
    >>> print(*two_hop(one, one, 2 * one, 3 * one, one, one, jnp.ones(1)))
    [2.] [3.] [6.]

    References: Irie et al. 2022 (arXiv 2202.05798), for the dual form of each projection.
    """
    sizes: _check.Sizes = {}
    W_V, W_K = _check.array("W_V", W_V, "V D", sizes), _check.array("W_K", W_K, "K D", sizes)
    E_V, E_K = _check.array("E_V", E_V, "m V", sizes), _check.array("E_K", E_K, "m K", sizes)
    X_train, X = _check.array("X_train", X_train, "m D", sizes), _check.array("X", X, "n D", sizes)
    q = _check.array("q", q, "K | M K", sizes)
    dtype = _check.same_dtype(W_V=W_V, W_K=W_K, E_V=E_V, E_K=E_K, X_train=X_train, X=X, q=q)
    W_V, W_K, E_V, E_K, X_train, X, q = _wide(W_V, W_K, E_V, E_K, X_train, X, q)
    context = linear_attn(X, dot(X, W_K.T), q)  # query -> its own tokens
    value = linear_attn(E_V, X_train, context)  # -> training patterns
    key = linear_attn(linear_attn(dot(X, W_V.T), X, X_train), E_K, q)  # error signals are the keys
    cross = linear_attn(E_V, X_train, linear_attn(linear_attn(X, X, X_train), E_K, q))
    return Terms(*(x.astype(dtype) for x in (value, key, cross)))


def rank_bounds(rank_V: int, rank_K: int, rank_X: int) -> Ranks:
    """How large the ranks of a finetuned update and of its terms can be (IC5).

    Args:
        rank_V: rank of dW_V, at most the number of training tokens.
        rank_K: rank of dW_K, at most the number of training tokens.
        rank_X: rank of the query's own tokens, at most their number.

    Returns:
        `Ranks` (value, key, cross, total); the widths of the head bound them as well.

    Raises:
        ValueError: not integers of at least 0.

    >>> rank_bounds(2, 2, 5)
    Ranks(value=2, key=2, cross=2, total=4)
    >>> rank_bounds(8, 8, 1)
    Ranks(value=1, key=1, cross=1, total=2)
    """
    r_V, r_K = _check.count("rank_V", rank_V), _check.count("rank_K", rank_K)
    r_X = _check.count("rank_X", rank_X)
    value, key = min(r_V, r_X), min(r_K, r_X)
    return Ranks(value, key, min(value, key), value + key)


def _terms(W_V, W_K, dW_V, dW_K, X):
    sizes: _check.Sizes = {}
    W_V, W_K = _check.array("W_V", W_V, "V D", sizes), _check.array("W_K", W_K, "K D", sizes)
    dW_V, dW_K = _check.array("dW_V", dW_V, "V D", sizes), _check.array("dW_K", dW_K, "K D", sizes)
    X = _check.array("X", X, "n D", sizes)
    dtype = _check.same_dtype(W_V=W_V, W_K=W_K, dW_V=dW_V, dW_K=dW_K, X=X)
    W_V, W_K, dW_V, dW_K, X = _wide(W_V, W_K, dW_V, dW_K, X)
    V, dV, K, dK = (dot(X, W.T) for W in (W_V, dW_V, W_K, dW_K))
    return Terms(delta_w(dV, K), delta_w(V, dK), delta_w(dV, dK)), dtype


def _wide(*arrays):
    dtype = _check.compute_dtype(*arrays)
    return tuple(jnp.asarray(x, dtype) for x in arrays)
