"""Floats of every dtype that JAX computes in, without what XLA changes behind a test's back.

XLA flushes subnormal numbers to zero, so a test that draws them tests the flushing: none is drawn here. And
with x64 off JAX has no float64: what is drawn here are Python floats and NumPy arrays, never JAX arrays, so
that float64, for an oracle, can be had under either setting.
"""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

FLOAT_DTYPES = tuple(np.dtype(d) for d in (jnp.float16, jnp.bfloat16, jnp.float32))
"""What JAX computes in with its default configuration."""


def magnitudes(dtype) -> tuple[float, float]:
    """The magnitudes drawn for a dtype: 1e-5 to 1e5, cut so that they are normal and products of two are finite.

    >>> magnitudes(np.float32)
    (1e-05, 100000.0)
    >>> magnitudes(np.float16)[1] ** 2 < 65504
    True
    """
    info = jnp.finfo(dtype)
    return max(1e-5, 4 * float(info.tiny)), min(1e5, math.sqrt(float(info.max)) / 4)


def rounded(values, dtype) -> np.ndarray:
    """The values rounded to a dtype, what would be subnormal flushed to zero as XLA does."""
    array = np.asarray(values, np.float64).astype(dtype)
    return np.where(np.abs(array.astype(np.float64)) < float(jnp.finfo(dtype).tiny), np.zeros((), dtype), array)


def floats(dtype=np.float32, *, low: float | None = None, high: float | None = None) -> st.SearchStrategy[float]:
    """Finite, normal floats of a dtype between `low` and `high`, by default of any size up to `magnitudes`."""
    dtype = np.dtype(dtype)
    limit = magnitudes(dtype)[1]
    low, high = (-limit if low is None else low), (limit if high is None else high)
    # bfloat16 is drawn as float32, whose exponents it shares, and rounded.
    options: dict[str, Any] = {"allow_nan": False, "allow_infinity": False, "allow_subnormal": False}
    drawn: st.SearchStrategy[float]
    if dtype == np.float16:
        drawn = st.floats(float(np.float16(low)), float(np.float16(high)), width=16, **options)
    elif dtype == np.float64:
        drawn = st.floats(low, high, **options)
    else:
        drawn = st.floats(float(np.float32(low)), float(np.float32(high)), width=32, **options)
    return drawn.map(lambda value: float(rounded(value, dtype)))
