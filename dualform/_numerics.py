"""Products and quotients as every chapter takes them."""

import jax
import jax.numpy as jnp
from jaxtyping import Array


def dot(a: Array, b: Array) -> Array:
    """A matrix product at full precision."""
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def ratio(a: Array, b: Array) -> Array:
    """a / b, and 0 with zero gradient where b is 0 (or so small that 1 / b is infinite)."""
    divides = jnp.isfinite(1 / b)
    return jnp.where(divides, a / jnp.where(divides, b, 1), 0)
