r"""What dropping the softmax drops: three gaps of first order, a remainder with its bound, and the linear surrogate."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dualform import _check
from dualform.linear import Query, dual, with_bias

Values = Float[Array, "n V"]
Keys = Float[Array, "n K"]
Output = Float[Array, " V"] | Float[Array, "M V"]
Scores = Float[Array, " n"] | Float[Array, "M n"]

SHARPEST = 3**0.5 / 36
r"""Half the largest third moment $E[(s - \mu)^2 (v - m)]$ of two numbers in [0, 1] (FE11)."""


class Gaps(NamedTuple):
    """Softmax attention as linear attention plus what is missing in it (FE12): the five add up to it.

    Each is [V] or [M, V]: the unnormalised linear attention; then the gaps that its missing factor 1/n, its uncentred
    scores and its missing mean leave, each closed after the ones before it; then what is of second order in the scores.
    """

    linear: Array
    factor: Array
    centring: Array
    mean: Array
    remainder: Array


class Surrogate(NamedTuple):
    """A dual form (L3) with a bias: weight before W0 [V, K + 1], error signals E [n, V], inputs X [n, K + 1]."""

    W0: Array
    E: Array
    X: Array


def softmax_gaps(V: Values, K: Keys, q: Query, *, scale: _check.Scalar | None = None) -> Gaps:
    r"""The gaps between linear and softmax attention at the same scores (FE12).

    Args:
        V: [n, V] values. K: [n, K] keys. q: [K] one query, or [M, K].
        scale: of the scores of both, K**-0.5 if None.

    Returns:
        `Gaps`, in the dtype of V. The remainder is computed as (FE11) has it, not as a difference, so that it keeps its
        digits where the scores are small.

    Raises:
        ValueError: shapes, dtypes that differ, concrete values that are not finite.

    Cost: 2 M n (K + 2 V) flops, M n exponentials.

    >>> V, K = jnp.array([[1.0], [3.0]]), jnp.array([[0.0], [1.0]])
    >>> for name, gap in softmax_gaps(V, K, jnp.array([1.0]))._asdict().items():
    ...     print(name, gap)
    linear [3.]
    factor [-1.5]
    centring [-1.]
    mean [2.]
    remainder [-0.03788...]
    """
    V, s, dtype = _scores(V, K, q, scale)
    if len(V) == 0:
        zero = jnp.zeros((*s.shape[:-1], V.shape[1]), dtype)
        return Gaps(zero, zero, zero, zero, zero)
    t = s - jnp.mean(s, axis=-1, keepdims=True)
    top = jax.lax.stop_gradient(jnp.max(t, axis=-1, keepdims=True))
    near = jnp.minimum(t, 1)  # beyond, exp(t) may overflow and 1 + t no longer cancels it
    excess = jnp.where(t < 1, (jnp.expm1(near) - near) * jnp.exp(-top), jnp.exp(t - top) - (1 + t) * jnp.exp(-top))
    gaps = gaps_from_weights(V, s, jnp.exp(t - top), excess)
    return Gaps(*(x.astype(dtype) for x in gaps))


def gaps_from_weights(V: Values, s: Scores, weights: Scores, excess: Scores) -> Gaps:
    r"""`softmax_gaps` from given exponentials (FE12): it only adds, multiplies and divides, so it can be proved.

    Args:
        V: [n, V] values, n at least 1.
        s: [n] or [M, n] scores.
        weights: $c\, e^{t_i}$ with $t_i = s_i - \bar s$, in the shape of s, c any number for each query.
        excess: $c\, (e^{t_i} - 1 - t_i)$, the same c.

    Returns:
        `Gaps`.

    Cost: 8 M n V flops.
    """
    n = len(V)
    mean = jnp.mean(V, axis=0)
    mean = mean if s.ndim == 1 else jnp.broadcast_to(mean[None], (len(s), len(mean)))
    average = jnp.mean(s, axis=-1, keepdims=True)
    linear = _weighted(s, V)
    first = mean + _weighted(s - average, V) / n
    remainder = (_weighted(excess, V) - _total(excess) * first) / _total(weights)
    return Gaps(linear, linear / n - linear, -average * mean, mean, remainder)


def remainder_bound(V: Values, K: Keys, q: Query, *, scale: _check.Scalar | None = None) -> Output:
    r"""How far softmax attention can be from its first order, for each coordinate (FE11).

    $\tfrac{\sqrt 3}{36}$ times the squared range of the query's scores times the range of the values' coordinate. The
    constant cannot be smaller.

    Args, Raises: those of `softmax_gaps`.

    Returns:
        [V] or [M, V], in float32 or wider.

    Cost: 2 M n K flops.

    >>> V, K = jnp.array([[1.0], [3.0]]), jnp.array([[0.0], [1.0]])
    >>> print(remainder_bound(V, K, jnp.array([1.0])))
    [0.096225...]
    """
    V, s, _ = _scores(V, K, q, scale)
    if len(V) == 0:
        return jnp.zeros((*s.shape[:-1], V.shape[1]), V.dtype)
    of_scores = jnp.max(s, axis=-1, keepdims=True) - jnp.min(s, axis=-1, keepdims=True)
    of_values = jnp.max(V, axis=0) - jnp.min(V, axis=0)
    return SHARPEST * of_scores**2 * (of_values if s.ndim == 1 else of_values[None])


def surrogate(V: Values, K: Keys, *, scale: _check.Scalar | None = None) -> Surrogate:
    r"""The linear attention that equals softmax attention to first order in the scores, as a dual form (FE13).

    Before the keys were seen, the layer is the constant $\bar v$; then each key adds the error signal
    $\mathrm{scale}\,(v_i - \bar v)/n$, which is one step of gradient descent on the mean of $\tfrac12 |W k_i - v_i|^2$.

    Args:
        V: [n, V] values. K: [n, K] keys.
        scale: of the scores, K**-0.5 if None; here it is the learning rate.

    Returns:
        `Surrogate` for `dualform.linear.dual` and its other forms; queries are `with_bias(q)`.

    Raises:
        ValueError: shapes, dtypes that differ, concrete values that are not finite.

    Cost: n V additions.

    >>> from dualform import linear
    >>> V, K = jnp.array([[1.0], [3.0]]), jnp.array([[0.0], [1.0]])
    >>> layer = surrogate(V, K)
    >>> print(layer.W0, linear.delta_w(layer.E, layer.X), linear.dual(*layer, with_bias(jnp.array([1.0]))))
    [[0. 2.]] [[0.5 0. ]] [2.5]
    """
    sizes: _check.Sizes = {}
    V, K = _check.array("V", V, "n V", sizes), _check.array("K", K, "n K", sizes)
    dtype = _check.same_dtype(V=V, K=K)
    wide = _check.compute_dtype(V)
    V, n = V.astype(wide), max(len(V), 1)
    mean = jnp.sum(V, axis=0, keepdims=True) / n
    W0 = jnp.concatenate([jnp.zeros((V.shape[1], K.shape[1]), wide), mean.T], axis=1)
    return Surrogate(W0, ((V - mean) / n * _scale(scale, K)).astype(dtype), with_bias(K))


def surrogate_attn(V: Values, K: Keys, q: Query, *, scale: _check.Scalar | None = None) -> Output:
    r"""The surrogate read at queries, $\bar v + \tfrac1n \sum_i (v_i - \bar v)\, s_i$ (FE13).

    Args, Raises: those of `softmax_gaps`. Returns [V] or [M, V] in the dtype of V; `remainder_bound` is its distance
    from softmax attention.

    Cost: 2 M n (K + V) flops by the dual form, or n V K once and V K a query as a weight.

    >>> V, K = jnp.array([[1.0], [3.0]]), jnp.array([[0.0], [1.0]])
    >>> print(surrogate_attn(V, K, jnp.array([1.0])))
    [2.5]
    """
    sizes: _check.Sizes = {}
    V, K = _check.array("V", V, "n V", sizes), _check.array("K", K, "n K", sizes)
    q = _check.array("q", q, "K | M K", sizes)
    dtype = _check.same_dtype(V=V, K=K, q=q)
    V, K, q = (x.astype(_check.compute_dtype(V)) for x in (V, K, q))
    return dual(*surrogate(V, K, scale=scale), with_bias(q)).astype(dtype)


def _scale(scale, K):
    return K.shape[1] ** -0.5 if scale is None else _check.scalar("scale", scale)


def _scores(V, K, q, scale):
    """Checked and widened values, scores [n] or [M, n], and the dtype of the result."""
    sizes: _check.Sizes = {}
    V, K = _check.array("V", V, "n V", sizes), _check.array("K", K, "n K", sizes)
    q = _check.array("q", q, "K | M K", sizes)
    dtype = _check.same_dtype(V=V, K=K, q=q)
    V, K, q = (x.astype(_check.compute_dtype(V)) for x in (V, K, q))
    return V, jnp.matmul(q, K.T, precision="highest") * _scale(scale, K), dtype


def _weighted(w, V):
    return jnp.matmul(w, V, precision="highest")


def _total(w):
    return jnp.sum(w, axis=-1, keepdims=True)
