"""The patch of one token: the smallest change of a matrix that sends a given input to a given output."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dualform import _check

Weight = Float[Array, "V K"]
Row = Float[Array, " K"]


def context_patch(W: Weight, with_context: Row, without_context: Row) -> Weight:
    r"""What a context did to one token, as a change of the next weight, $W (z - a)\, a^\top / |a|^2$ (CP1).

    Args:
        W: `[V, K]` weight that reads the contextual layer's output; may be wider than the inputs.
        with_context: `[K]` its input z when the token sees the whole context.
        without_context: `[K]` its input a when the token sees less of it; not zero.

    Returns:
        dW `[V, K]` of rank at most 1, in the dtype of W: `(W + dW) @ without_context` equals `W @ with_context`.

    Raises:
        ValueError: wrong shapes or dtypes, concrete values that are not finite, an `without_context` whose square
            underflows to zero or overflows.

    Cost: 3 V K flops; but the two inputs cost a pass of the contextual layer each, so a patch saves no computation.

    >>> W = jnp.array([[1.0, 2.0], [0.0, 1.0]])
    >>> dW = context_patch(W, jnp.array([3.0, 1.0]), jnp.array([1.0, 0.0]))
    >>> print((W + dW) @ jnp.array([1.0, 0.0]), W @ jnp.array([3.0, 1.0]))
    [5. 1.] [5. 1.]

    References: Dherin et al. 2025, Learning without training (arXiv 2507.16003), theorem 2.2.
    """
    W, z, a, dtype = arguments(W, with_context, without_context, "K")
    require_direction("without_context", a)
    return least_norm(dot(W, z - a), a).astype(dtype)


def least_norm(target: Float[Array, " V"], key: Row) -> Weight:
    r"""The smallest matrix D with D key = target, $t a^\top / |a|^2$: a pattern with value $t / |a|^2$ (CP2, CP3)."""
    return jnp.outer(target / dot(key, key), key)


def patch_errors(
    W: Weight, dW: Weight, with_context: Float[Array, "n K"], without_context: Float[Array, "n K"]
) -> Float[Array, "n V"]:
    r"""What a patch gets wrong on other tokens, $r_t = (W + \Delta W)\, a_t - W z_t$ (CP11).

    Args:
        W: `[V, K]` weight.
        dW: `[V, K]` any patch of it.
        with_context: `[n, K]` inputs z_t of n tokens that see the context.
        without_context: `[n, K]` their inputs a_t without it.

    Returns:
        `[n, V]` in the dtype of W; zeros where the patch is exact.

    Raises:
        ValueError: wrong shapes or dtypes, concrete values that are not finite.

    Cost: 4 n V K flops.

    >>> W, Z, A = jnp.ones((1, 2)), jnp.array([[2.0, 0.0], [0.0, 3.0]]), jnp.array([[1.0, 0.0], [1.0, 1.0]])
    >>> print(patch_errors(W, context_patch(W, Z[0], A[0]), Z, A).ravel())
    [0. 0.]
    >>> print(patch_errors(W, context_patch(W, Z[1], A[1]), Z, A).ravel())
    [-0.5  0. ]
    """
    sizes: _check.Sizes = {}
    W, Z, A, dtype = arguments(W, with_context, without_context, "n K", sizes)
    dW = _check.array("dW", dW, "V K", sizes).astype(W.dtype)
    return (dot(A, dW.T) - dot(Z - A, W.T)).astype(dtype)


def arguments(W, with_context, without_context, layout, sizes=None):
    """W and the inputs with and without context, checked and widened, and the dtype of the result."""
    sizes = {} if sizes is None else sizes
    z = _check.array("with_context", with_context, layout, sizes)
    a = _check.array("without_context", without_context, layout, sizes)
    W = _check.array("W", W, "V K", sizes)
    _check.no_narrower(_check.same_dtype(with_context=z, without_context=a), W=W)
    dtype = _check.compute_dtype(W, z, a)
    return W.astype(dtype), z.astype(dtype), a.astype(dtype), W.dtype


def require_direction(name: str, a: jax.Array) -> None:
    """Refuse a concrete vector, or a concrete array of them, whose square is zero or not finite in its dtype."""
    if not _check.is_concrete(a):
        return
    known = np.asarray(a)
    with np.errstate(over="ignore", under="ignore"):
        squares = np.sum(known * known, axis=-1)
    bad = (squares < np.finfo(known.dtype).tiny) | ~np.isfinite(squares)
    if bad.any():
        where = f" at {np.argwhere(bad)[0].tolist()}" if squares.ndim else ""
        raise ValueError(
            f"{name}: got a vector{where} whose square is {squares[bad].ravel()[0]:g} in {known.dtype}, expected one "
            "that can be divided by; no patch acts on a zero input, and others can be scaled or taken in float64"
        )


def dot(a, b):
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)
