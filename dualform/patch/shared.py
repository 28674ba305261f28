"""One patch for many tokens: exact for few, a least-squares fit for more."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from dualform import _check
from dualform.patch.token import Weight, arguments, dot


def shared_patch(
    W: Weight,
    with_context: Float[Array, "n K"],
    without_context: Float[Array, "n K"],
    ridge: _check.Scalar = 0.0,
) -> Weight:
    r"""The patch that serves n tokens best: least squares, with a ridge on its norm (CP12).

    Args:
        W: `[V, K]` weight; may be wider than the inputs.
        with_context: `[n, K]` inputs z_t of the tokens that see the context.
        without_context: `[n, K]` their inputs a_t without it. With `ridge = 0` they must be independent if n <= K, and
            span the input space if n > K.
        ridge: weight of $|\Delta W|^2$ beside the squared errors, at least 0.

    Returns:
        dW `[V, K]` in the dtype of W. For n <= K and `ridge = 0` it is exact for all n tokens, of rank at most n, and
        the smallest that is; for n = 1 it is `context_patch`.

    Raises:
        ValueError: wrong shapes or dtypes, concrete values that are not finite, a ridge below 0.

    Cost: the smaller Gram matrix and its solve, 2 m (n + V) K + m^3 with m = min(n, K), and 2 n V K.

    >>> W, A = jnp.array([[1.0, 1.0]]), jnp.array([[1.0, 0.0], [0.0, 2.0]])
    >>> print(shared_patch(W, 3 * A, A))  # a context that triples every input triples the weight
    [[2. 2.]]

    References: Dherin et al. 2025 (arXiv 2507.16003); Mazzawi et al. 2025 (arXiv 2510.08734), which fits one patch to
    the tokens of a prompt.
    """
    ridge = _check.scalar("ridge", ridge)
    if _check.is_concrete(ridge) and ridge < 0:
        raise ValueError(f"ridge: got {float(ridge):g}, expected a number of at least 0; 0 is plain least squares")
    W, Z, A, dtype = arguments(W, with_context, without_context, "n K")
    (n, K), targets = A.shape, dot(Z - A, W.T)  # R [n, V]
    ridge = jnp.asarray(ridge, W.dtype)
    if n <= K:
        patch = dot(jnp.linalg.solve(dot(A, A.T) + ridge * jnp.eye(n, dtype=W.dtype), targets).T, A)
    else:
        patch = jnp.linalg.solve(dot(A.T, A) + ridge * jnp.eye(K, dtype=W.dtype), dot(A.T, targets)).T
    return patch.astype(dtype)
