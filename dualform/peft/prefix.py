"""Prefix tuning: trained keys and values in front of the tokens."""

from jaxtyping import Array, Float

from dualform import _check
from dualform.attention import Split, softmax_split
from dualform.linear import delta_w

Values = Float[Array, "n V"]
Keys = Float[Array, "n K"]
Query = Float[Array, " K"] | Float[Array, "M K"]


def prefix_update(P_V: Float[Array, "k V"], P_K: Float[Array, "k K"]) -> Float[Array, "V K"]:
    r"""What a prefix is to linear attention: an update of rank at most k, $P_V^\top P_K$ (PE11).

    A prefix is k more patterns, so this is `delta_w`. To softmax attention it is no update at all (PE12).

    >>> import jax.numpy as jnp
    >>> print(prefix_update(jnp.array([[1.0], [2.0]]), jnp.eye(2)))
    [[1. 2.]]
    """
    return delta_w(P_V, P_K)


def prefix_split(
    V: Values, K: Keys, P_V: Float[Array, "k V"], P_K: Float[Array, "k K"], q: Query,
    scale: _check.Scalar | None = None,
) -> Split:  # fmt: skip
    r"""What a prefix is to softmax attention: a mixture with a gate, and no update (PE12).

    A prefix is a block of demonstrations that are trained rather than read, so this is `softmax_split` (SX2).

    Args:
        V, K: `[n, V]`, `[n, K]` values and keys of the tokens.
        P_V, P_K: `[k, V]`, `[k, K]` trained values and keys.
        q: `[K]` or `[M, K]` queries.
        scale: multiplies every score; None for K**-0.5.

    Returns:
        A `Split`: `zsl` without the prefix, `demo` from the prefix alone, `weight` lambda, and `attn`, the mixture.

    Raises and Cost are those of `softmax_split`.

    >>> import jax.numpy as jnp
    >>> one, zero = jnp.ones((1, 1)), jnp.zeros((1, 1))
    >>> print(prefix_split(one, zero, 3 * one, zero, jnp.ones(1)).attn)
    [2.]

    References: Li, Liang 2021 (arXiv 2101.00190); He et al. 2022 (arXiv 2110.04366), eq. 7.
    """
    return softmax_split(V, K, P_V, P_K, q, scale)
