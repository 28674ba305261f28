"""Conjugate gradients with a fixed number of iterations, for many systems at once."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dualform._numerics import ratio


def conjugate_gradients(
    matvec: Callable[[Array], Array], b: Float[Array, "*T K"], iterations: int
) -> Float[Array, "*T K"]:
    """Solves A x = b for symmetric positive definite A, row by row of b, by a fixed number of iterations from x = 0.

    A row whose residual is zero is done and stays as it is. The derivative is that of the solution, not of the
    iterations: one more solve with the same matvec.

    References: Hestenes, Stiefel 1952, Methods of conjugate gradients for solving linear systems.
    """

    def square(x):
        return jnp.sum(x * x, axis=-1, keepdims=True)

    def solve(matvec, b):
        def iterate(carry, _):
            x, r, p, size = carry
            image = matvec(p)
            alpha = ratio(size, jnp.sum(p * image, axis=-1, keepdims=True))
            r = r - alpha * image
            return (x + alpha * p, r, r + ratio(square(r), size) * p, square(r)), None

        (x, *_), _ = jax.lax.scan(iterate, (jnp.zeros_like(b), b, b, square(b)), length=iterations)
        return x

    return jax.lax.custom_linear_solve(matvec, b, solve, symmetric=True)
