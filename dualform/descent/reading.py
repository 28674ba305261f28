"""A trained layer, read by linear attention over every pattern of every minibatch (O9)."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dualform import _check
from dualform.linear import linear_attn

Outputs = Float[Array, "T B V"] | Sequence[Float[Array, "B V"]]
Inputs = Float[Array, "T B K"] | Sequence[Float[Array, "B K"]]


def mean_gradients(gradients: Outputs, X: Inputs) -> Float[Array, "T V K"]:
    r"""What the optimiser is given at each step, $\bar g_t = \frac1{B_t} \sum_i g_{ti} x_{ti}^\top$ (O9).

    Args:
        gradients: `[T, B, V]` derivative of each pattern's own loss by the layer's output, or a sequence of T arrays
            `[B_t, V]` where the minibatches differ in size.
        X: `[T, B, K]` the inputs that the layer saw, or a sequence of T arrays `[B_t, K]`.

    Returns:
        `[T, V, K]`; zero for an empty minibatch.

    Raises:
        ValueError: shapes that do not match, no features, dtypes that are not one float dtype, concrete values not
            finite.

    Cost: 2 n V K flops for n patterns in all, T V K numbers.

    >>> print(mean_gradients(jnp.array([[[1.0], [3.0]]]), jnp.array([[[2.0, 0.0], [0.0, 4.0]]])))
    [[[1. 6.]]]
    """
    batches, dtype = _minibatches(gradients, X)
    means = []
    for g, x in batches:  # one stack of equal minibatches, or many stacks of one
        wide = _check.compute_dtype(g)
        sums = jnp.einsum("tbv,tbk->tvk", g.astype(wide), x.astype(wide), precision=jax.lax.Precision.HIGHEST)
        means.append((sums / max(g.shape[1], 1)).astype(dtype))
    return jnp.concatenate(means)


def pattern_weights(c: Float[Array, " T"], gradients: Outputs) -> Float[Array, " n"]:
    r"""The weight of every pattern in (O9), $c_t / B_t$ for each of the $B_t$ patterns of step t, in order.

    Args:
        c: `[T]` coefficients of the steps' mean gradients.
        gradients: the minibatches, of which only the sizes count.

    Returns:
        `[n]`, n patterns in all, in the dtype of c.

    Raises:
        ValueError: c not `[T]` or not floats.

    >>> print(pattern_weights(jnp.array([-1.0, -2.0]), [jnp.zeros((1, 3)), jnp.zeros((2, 3))]))
    [-1. -1. -1.]
    """
    sizes = [len(g) for g in gradients] if isinstance(gradients, Sequence) else [gradients.shape[1]] * len(gradients)
    c = _check.array("c", c, "T", {"T": (len(sizes), "the minibatches")})
    step = np.repeat(np.arange(len(sizes)), sizes)
    return c[step] / np.asarray(sizes, c.dtype)[step]


def read(
    a: _check.Scalar,
    c: Float[Array, " T"],
    W0: Float[Array, "V K"],
    gradients: Outputs,
    X: Inputs,
    x: Float[Array, " K"] | Float[Array, "M K"],
) -> Float[Array, " V"] | Float[Array, "M V"]:
    r"""The layer after training, read without its weight (O9).

    $W_T q = a_T W_0 q + \sum_{t,i} \frac{c_t}{B_t}\, g_{ti}\, (x_{ti} \cdot q)$

    Args:
        a, c: from `coefficients`.
        W0: `[V, K]` initial weight; may be wider than the patterns.
        gradients: `[T, B, V]` output gradients, or a sequence of `[B_t, V]`.
        X: `[T, B, K]` inputs, or a sequence of `[B_t, K]`.
        x: `[K]` or `[M, K]` queries q.

    Returns:
        `[V]` or `[M, V]`.

    Raises:
        ValueError: as `mean_gradients` and `dualform.linear.linear_attn`.

    Cost: 2 M n (V + K) + 2 M V K flops for n patterns in all.

    >>> from dualform.descent import Optimizer, coefficients
    >>> a, c = coefficients(Optimizer(eta=1.0), 1)
    >>> W0, gradients, X = jnp.array([[5.0, 5.0]]), jnp.array([[[1.0], [3.0]]]), jnp.array([[[2.0, 0.0], [0.0, 4.0]]])
    >>> print(read(a, c, W0, gradients, X, jnp.array([1.0, 1.0])))
    [3.]

    References: Irie et al. 2022 (arXiv 2202.05798), whose runs use momentum: there c_t is not -eta.
    """
    batches, dtype = _minibatches(gradients, X)
    V, K = batches[0][0].shape[2], batches[0][1].shape[2]
    x = _check.array("x", x, "K | M K", {"K": (K, "X")})
    W0 = _check.array("W0", W0, "V K", {"V": (V, "gradients"), "K": (K, "X")})
    _check.same_dtype(X=batches[0][1], x=x)
    _check.no_narrower(dtype, W0=W0)
    weights = pattern_weights(c, gradients)
    # Widened here, so that the one rounding to the patterns' dtype is that of the sum.
    wide = _check.compute_dtype(W0, x, weights)
    E, keys = (jnp.concatenate([p[i].reshape(-1, p[i].shape[2]) for p in batches]).astype(wide) for i in (0, 1))
    initial = jnp.matmul(x.astype(wide), W0.astype(wide).T, precision=jax.lax.Precision.HIGHEST)
    a = jnp.asarray(_check.scalar("a", a), wide)
    return (a * initial + linear_attn(E, keys, x.astype(wide), weights.astype(wide))).astype(dtype)


def _minibatches(gradients, X):
    """Pairs of stacks `[T, B, V]`, `[T, B, K]`, checked: one pair if all minibatches are of a size, else one a step."""
    if isinstance(gradients, Sequence) != isinstance(X, Sequence):
        raise ValueError(
            "gradients, X: got an array and a sequence, expected two of a kind; pass both as [T, B, ...] arrays"
        )
    if not isinstance(gradients, Sequence):
        sizes: _check.Sizes = {}
        g, x = _check.array("gradients", gradients, "T B V", sizes), _check.array("X", X, "T B K", sizes)
        return [(g, x)], _check.same_dtype(gradients=g, X=x)
    if len(gradients) != len(X) or not gradients:
        raise ValueError(
            f"gradients, X: got {len(gradients)} and {len(X)} minibatches, expected the same number, at least one; "
            "for none pass arrays [0, B, V] and [0, B, K]"
        )
    features: _check.Sizes = {}
    pairs = []
    for t, pair in enumerate(zip(gradients, X, strict=True)):
        features.pop("B", None)  # the one axis that may differ from step to step
        g = _check.array(f"gradients[{t}]", pair[0], "B V", features)
        x = _check.array(f"X[{t}]", pair[1], "B K", features)
        pairs.append((g[None], x[None]))
    return pairs, _check.same_dtype(
        **{f"minibatch {t} of {n}": p[i] for t, p in enumerate(pairs) for i, n in enumerate("gX")}
    )
