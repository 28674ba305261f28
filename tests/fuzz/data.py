"""Inputs that are hard on rounding: correlated, cancelling, tied, and at the ends of the range."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from tests.fuzz.programs import Value

KINDS = (
    "normal", "normal", "constant rows", "cancelling", "magnitudes", "zeros and ties", "integers", "telescoping",
    "duplicates", "large", "tiny", "nearly equal", "halves",
)  # fmt: skip


def draw(rng: np.random.Generator, inputs: Sequence[Value], kind: str) -> list[np.ndarray]:
    """One array for every input."""
    return [_array(rng, x, kind).astype(jnp.dtype(x.dtype)) for x in inputs]


def _array(rng, x: Value, kind: str) -> np.ndarray:
    shape, info = x.shape, jnp.finfo(x.dtype)
    eps, largest, tiny = float(info.eps), float(info.max), float(info.smallest_normal)
    normal = rng.normal(size=shape)
    rows = rng.normal(size=(*shape[:-1], 1)) if shape else rng.normal(size=())
    if kind == "normal":
        return normal
    if kind == "constant rows":
        return rows * (1 + rng.choice([1.0, 4.0]) * eps * normal)
    if kind == "nearly equal":
        return rng.normal() * (1 + 2 * eps * normal)
    if kind == "cancelling":
        flat = normal.ravel().copy()
        half = len(flat) // 2
        flat[half : 2 * half] = -rng.permutation(flat[:half]) * (1 + eps * rng.integers(-1, 2, half))
        return flat.reshape(shape)
    if kind == "magnitudes":
        reach = min(np.log10(largest), 38.0)
        with np.errstate(over="ignore", under="ignore"):
            return normal * 10.0 ** rng.uniform(-reach, reach * 0.98, shape)
    if kind == "zeros and ties":
        return rng.choice([0.0, 0.0, 1.0, -1.0, 0.5, 0.3], shape)
    if kind == "integers":
        return rng.integers(-4, 5, shape) * 1.0
    if kind == "halves":
        return rng.integers(-9, 10, shape) / 2
    if kind == "telescoping":
        return rng.normal() + np.arange(normal.size).reshape(shape) * rng.choice([1.0, 0.1, 1e-3])
    if kind == "duplicates":
        flat = rng.normal(size=2)
        return rng.choice(flat, shape)
    if kind == "large":
        return np.clip(normal * largest ** rng.choice([0.3, 0.5, 0.9]), -largest, largest)
    if kind == "tiny":
        with np.errstate(under="ignore"):
            return normal * tiny ** rng.choice([0.4, 0.6, 1.0])
    raise ValueError(kind)
