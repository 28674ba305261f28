"""Adapters: a narrow network after a layer, or beside it."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dualform import _check
from dualform.linear import linear_attn, with_bias
from dualform.peft.bottleneck import Activation, Down, Up, bottleneck

Hidden = Float[Array, " d"] | Float[Array, "M d"]
Narrow = Float[Array, "r d"]
Wide = Float[Array, "d r"]


def adapter(
    h: Hidden, W1: Narrow, b1: Float[Array, " r"], W2: Wide, b2: Float[Array, " d"],
    activation: Activation = jax.nn.relu,
) -> Hidden:  # fmt: skip
    r"""An adapter after a layer, $h + W_2 f(W_1 h + b_1) + b_2$ (PE7).

    Args:
        h: `[d]` or `[M, d]` outputs of the layer.
        W1, b1: `[r, d]`, `[r]` down to r features.
        W2, b2: `[d, r]`, `[d]` up again. Zero at the start leaves the network as it was.
        activation: f.

    Returns:
        `[d]` or `[M, d]` in the dtype of h.

    Raises:
        ValueError: wrong shapes or dtypes, concrete values that are not finite.

    Cost: 4 M r d flops; 2 r d + r + d trained numbers.

    >>> h, W1, W2 = jnp.array([1.0, -1.0]), jnp.array([[1.0, 0.0]]), jnp.array([[2.0], [0.0]])
    >>> print(adapter(h, W1, jnp.zeros(1), W2, jnp.zeros(2)))
    [ 3. -1.]

    References: Houlsby et al. 2019 (arXiv 1902.00751); with rows as tokens it is h + f(h W_1' + b_1) W_2' + b_2.
    """
    h, A, B, dtype = _arguments(h, W1, b1, W2, b2)
    return (h + bottleneck(A, B, with_bias(h), biased(activation))).astype(dtype)


def adapter_factors(W1: Narrow, b1: Float[Array, " r"], W2: Wide, b2: Float[Array, " d"]) -> tuple[Down, Up]:
    r"""Biases as weights of an input that is always 1 (L7): $A = [W_1, b_1]$, $B = [W_2, b_2]$.

    With inputs `with_bias(h)` and the activation `biased(f)` an adapter is then the `bottleneck` of these factors, and
    `bottleneck_run`, `bottleneck_dual` and `bottleneck_sgd` train and read it.

    >>> A, B = adapter_factors(jnp.ones((1, 2)), jnp.zeros(1), jnp.ones((2, 1)), jnp.zeros(2))
    >>> print(A, B.tolist())
    [[1. 1. 0.]] [[1.0, 0.0], [1.0, 0.0]]
    """
    sizes: _check.Sizes = {}
    W1, b1 = _check.array("W1", W1, "r d", sizes), _check.array("b1", b1, "r", sizes)
    W2, b2 = _check.array("W2", W2, "d r", sizes), _check.array("b2", b2, "d", sizes)
    return jnp.concatenate([W1, b1[:, None]], 1), jnp.concatenate([W2, b2[:, None]], 1)


def biased(activation: Activation) -> Callable[[Array], Array]:
    """An activation whose features get a 1 appended, for the bias of what follows (L7)."""
    return lambda z: with_bias(activation(z))


def slots(
    h: Hidden, W1: Narrow, b1: Float[Array, " r"], W2: Wide, b2: Float[Array, " d"], gates: Float[Array, "..."]
) -> Hidden:
    r"""The adapter as attention over r learned slots, $h + \sum_j g_j (w_j \cdot h + b_{1j})\, v_j + b_2$ (PE8).

    The rows of W1 are keys, the columns of W2 values; the activation takes the place of the softmax. For a ReLU the
    gate of a slot is 1 where its score is positive, else 0; for any activation it is f(score) / score.

    Args:
        h, W1, b1, W2, b2: those of `adapter`.
        gates: `[r]`, or `[M, r]` for many h: what each slot's score is multiplied by.

    Returns:
        `[d]` or `[M, d]` in the dtype of h.

    Raises:
        ValueError: wrong shapes or dtypes, concrete values that are not finite.

    Cost: 4 M r d flops.

    >>> h, W1, W2 = jnp.array([1.0, -1.0]), jnp.eye(2), jnp.array([[2.0, 5.0], [0.0, 5.0]])
    >>> print(slots(h, W1, jnp.zeros(2), W2, jnp.zeros(2), jnp.array([1.0, 0.0])))
    [ 3. -1.]

    References: Geva et al. 2021, Feed-forward layers are key-value memories (arXiv 2012.14913).
    """
    h, A, B, dtype = _arguments(h, W1, b1, W2, b2)
    gates = _check.float_array("gates", gates)
    read = linear_attn(B[:, :-1].T, A, with_bias(h), gates.astype(h.dtype))
    return (h + read + jnp.broadcast_to(B[:, -1], h.shape)).astype(dtype)


def merge_after(W: Float[Array, "d K"], W1: Narrow, W2: Wide) -> Float[Array, "d K"]:
    r"""An adapter without nonlinearity after a layer, merged into it: $(I + W_2 W_1)\, W$ (PE9).

    Args:
        W: `[d, K]` weight of the layer.
        W1, W2: `[r, d]`, `[d, r]`.

    Returns:
        `[d, K]` in the dtype of W; it differs from W by rank r at most, in the span of the columns of W2.

    Raises:
        ValueError: wrong shapes or dtypes, concrete values that are not finite.

    Cost: 4 r d K flops.

    >>> print(merge_after(jnp.eye(2), jnp.array([[1.0, 0.0]]), jnp.array([[0.0], [3.0]])))
    [[1. 0.]
     [3. 1.]]
    """
    sizes: _check.Sizes = {}
    W, W1 = _check.array("W", W, "d K", sizes), _check.array("W1", W1, "r d", sizes)
    W2 = _check.array("W2", W2, "d r", sizes)
    return _add(W, W2, _product(W1, W))


def merge_beside(W: Float[Array, "V K"], W1: Float[Array, "r K"], W2: Float[Array, "V r"]) -> Float[Array, "V K"]:
    r"""An adapter without nonlinearity beside a layer, merged into it: $W + W_2 W_1$, which is LoRA (PE9).

    Args:
        W: `[V, K]` weight of the layer.
        W1, W2: `[r, K]`, `[V, r]`.

    Returns:
        `[V, K]` in the dtype of W.

    Raises:
        ValueError: wrong shapes or dtypes, concrete values that are not finite.

    Cost: 2 r V K flops.

    >>> print(merge_beside(jnp.eye(2), jnp.array([[1.0, 0.0]]), jnp.array([[0.0], [3.0]])))
    [[1. 0.]
     [3. 1.]]
    """
    sizes: _check.Sizes = {}
    W, W1 = _check.array("W", W, "V K", sizes), _check.array("W1", W1, "r K", sizes)
    W2 = _check.array("W2", W2, "V r", sizes)
    return _add(W, W2, W1)


def _arguments(h, W1, b1, W2, b2):
    """h and both factors, checked and widened, and the dtype of the result."""
    h = _check.array("h", h, "d | M d")
    A, B = adapter_factors(W1, b1, W2, b2)
    _check.array("W1", W1, "r d", {"d": (h.shape[-1], "h")})
    _check.no_narrower(h.dtype, W1=A, W2=B)
    wide = _check.compute_dtype(h, A, B)
    return h.astype(wide), A.astype(wide), B.astype(wide), h.dtype


def _add(W, left, right):
    wide = _check.compute_dtype(W, left, right)
    return (W.astype(wide) + _product(left.astype(wide), right.astype(wide))).astype(W.dtype)


def _product(a, b):
    wide = _check.compute_dtype(a, b)
    return jnp.matmul(a.astype(wide), b.astype(wide), precision="highest")
