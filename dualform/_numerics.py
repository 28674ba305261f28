"""Products and quotients as every chapter takes them, and functions of scipy that are imported when they are used."""

from collections.abc import Callable
from importlib import import_module

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


def from_scipy(module: str, name: str) -> Callable:
    """A function of a module of scipy, imported at its first call: `import dualform` would take a third longer."""

    def call(*arguments, **options):
        return getattr(import_module(f"scipy.{module}"), name)(*arguments, **options)

    return call
