"""Rounding that a compiler does not undo."""

import jax
import jax.numpy as jnp


def rounded(a, dtype, mantissa_bits=None):
    """Rounding that stays: XLA may skip the two casts of `a.astype(dtype).astype(a.dtype)`, as excess precision."""
    info = jnp.finfo(dtype)
    return jax.lax.reduce_precision(a, exponent_bits=info.nexp, mantissa_bits=mantissa_bits or info.nmant)
