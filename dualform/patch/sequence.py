"""One patch after another, while tokens of the context are consumed."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dualform import _check
from dualform.patch.token import Weight, dot, require_direction

Inputs = Float[Array, "n+1 K"]
Weights = Float[Array, "n+1 V K"]


def growing_patches(W: Weight, inputs: Inputs) -> Weights:
    r"""The weight after each token that joins the context, all read at the input without context (CP8).

    Args:
        W: `[V, K]` weight; may be wider than the inputs.
        inputs: `[n + 1, K]` what W reads at the token when it sees the first 0, 1, ..., n tokens of the context.

    Returns:
        `[n + 1, V, K]` weights `W_0 = W` to `W_n`, in the dtype of W: `W_i @ inputs[0]` equals `W @ inputs[i]`, and
        `W_n - W` is `context_patch(W, inputs[n], inputs[0])`, of rank 1.

    Raises:
        ValueError: wrong shapes or dtypes, no input, concrete values that are not finite, a first input of zero.

    Cost: 3 n V K flops.

    >>> W, inputs = jnp.array([[1.0, 1.0]]), jnp.array([[1.0, 0.0], [2.0, 0.0], [2.0, 3.0]])
    >>> print((growing_patches(W, inputs) @ inputs[0]).ravel())
    [1. 2. 5.]

    References: Dherin et al. 2025 (arXiv 2507.16003), section 3.
    """
    W, inputs, dtype = _arguments(W, inputs)
    require_direction("inputs[0]", inputs[0])
    a = inputs[0]
    errors = dot(inputs[1:] - inputs[:-1], W.T) / dot(a, a)

    def update(S, e):
        S = S + jnp.outer(e, a)
        return S, S

    return _with_first(W, jax.lax.scan(update, W, errors)[1]).astype(dtype)


def absorbing_patches(W: Weight, inputs: Inputs) -> Weights:
    r"""The weight after each token that is taken out of the context and into the weight (CP9).

    Args:
        W: `[V, K]` weight; may be wider than the inputs.
        inputs: `[n + 1, K]` what W reads at the token when the first 0, 1, ..., n tokens of the context are gone.

    Returns:
        `[n + 1, V, K]` weights `W_0 = W` to `W_n`, in the dtype of W: `W_i @ inputs[i]` equals `W @ inputs[0]`. The
        rank of `W_n - W` is at most n.

    Raises:
        ValueError: wrong shapes or dtypes, no input, concrete values that are not finite, a later input of zero.

    Cost: 5 n V K flops in n sequential steps.

    >>> W, inputs = jnp.array([[1.0, 1.0]]), jnp.array([[2.0, 3.0], [2.0, 0.0], [1.0, 0.0]])
    >>> print([float((W_i @ a)[0]) for W_i, a in zip(absorbing_patches(W, inputs), inputs)])
    [5.0, 5.0, 5.0]

    References: Dherin et al. 2025 (arXiv 2507.16003), in its later versions.
    """
    W, inputs, dtype = _arguments(W, inputs)
    require_direction("inputs[1:]", inputs[1:])

    def update(S, pair):
        before, a = pair
        S = S + jnp.outer(dot(S, before - a) / dot(a, a), a)
        return S, S

    return _with_first(W, jax.lax.scan(update, W, (inputs[:-1], inputs[1:]))[1]).astype(dtype)


def _arguments(W, inputs):
    sizes: _check.Sizes = {}
    inputs, W = _check.array("inputs", inputs, "n K", sizes), _check.array("W", W, "V K", sizes)
    if not len(inputs):
        raise ValueError("inputs: got shape (0, K), expected at least the input without context; put it first")
    _check.no_narrower(inputs.dtype, W=W)
    dtype = _check.compute_dtype(W, inputs)
    return W.astype(dtype), inputs.astype(dtype), W.dtype


def _with_first(W, later):
    return jnp.concatenate([W[None], later])
