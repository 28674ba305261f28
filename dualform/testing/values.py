"""Arrays: drawn element by element where that shrinks well, from a seed where it would only be slow.

A family, a way to be difficult for a sum of products, is a law for the elements and a layout of the rows:

    normal       independent normal numbers times a drawn scale
    integers     -4..4: small enough that short programs do not round, and results can be compared with ==
    positive     no cancellation: rounding errors all have a chance to add up
    constant     one number everywhere
    duplicates   few distinct rows
    cancelling   rows that sum to exactly zero, in a shuffled order
    wide         magnitudes log-uniform from 1e-5 to 1e5 (less where the dtype is narrower)
    underflow    magnitudes around the root of the smallest normal number: products underflow, factors do not
    zeros        all zero
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

from dualform.testing.floats import floats, magnitudes, rounded

ELEMENTWISE_UP_TO = 12
"""Elements up to which an array is drawn one by one; 256 floats take 2.5 ms a draw and shrink badly."""

Shape = tuple[int, ...]


class Elements(NamedTuple):
    """A law for elements, for each of the two tiers.

    Attributes:
        drawn: `drawn(dtype)` is the strategy of one element.
        seeded: `seeded(rng, size, scale, dtype)` are many; `scale` counts where the law has a free scale.
    """

    drawn: Callable[[np.dtype], st.SearchStrategy]
    seeded: Callable[[np.random.Generator, Shape, float, np.dtype], np.ndarray]


class Layout(NamedTuple):
    """How an array is made of fewer elements.

    Attributes:
        base: `base(shape)` is the shape of what has to be drawn.
        place: `place(base, shape, rng)` puts it where it belongs.
    """

    base: Callable[[Shape], Shape]
    place: Callable[[np.ndarray, Shape, np.random.Generator], np.ndarray]


def _powers(base: float, low: float, high: float) -> st.SearchStrategy[float]:
    exponents = st.integers(math.ceil(math.log(low, base)), math.floor(math.log(high, base)))
    return st.builds(lambda sign, exponent: sign * base**exponent, st.sampled_from((1.0, -1.0)), exponents)


def _log_uniform(rng: np.random.Generator, size: Shape, low: float, high: float) -> np.ndarray:
    return rng.choice([-1.0, 1.0], size) * np.exp(rng.uniform(math.log(low), math.log(high), size))


def _near_underflow(dtype) -> tuple[float, float]:
    tiny = float(jnp.finfo(dtype).tiny)
    return tiny, 16 * math.sqrt(tiny)


NORMAL = Elements(
    drawn=floats,
    seeded=lambda rng, size, scale, dtype: scale * rng.standard_normal(size),
)
INTEGERS = Elements(
    drawn=lambda dtype: st.integers(-4, 4),
    seeded=lambda rng, size, scale, dtype: rng.integers(-4, 5, size),
)
POSITIVE = Elements(
    drawn=lambda dtype: floats(dtype, low=magnitudes(dtype)[0]),
    seeded=lambda rng, size, scale, dtype: scale * rng.uniform(0.5, 1.0, size),
)
WIDE = Elements(
    drawn=lambda dtype: _powers(10.0, *magnitudes(dtype)),
    seeded=lambda rng, size, scale, dtype: _log_uniform(rng, size, *magnitudes(dtype)),
)
UNDERFLOW = Elements(
    drawn=lambda dtype: _powers(2.0, *_near_underflow(dtype)),
    seeded=lambda rng, size, scale, dtype: _log_uniform(rng, size, *_near_underflow(dtype)),
)


def _repeat_rows(base: np.ndarray, shape: Shape, rng: np.random.Generator) -> np.ndarray:
    return base[rng.integers(0, len(base), shape[0])] if shape and shape[0] else np.zeros(shape)


def _cancel_rows(base: np.ndarray, shape: Shape, rng: np.random.Generator) -> np.ndarray:
    if not shape:
        return np.zeros(())
    odd = np.zeros((shape[0] % 2, *shape[1:]))
    return np.concatenate([base, -base, odd])[rng.permutation(shape[0])]


FULL = Layout(base=lambda shape: shape, place=lambda base, shape, rng: base)
CONSTANT = Layout(base=lambda shape: (), place=lambda base, shape, rng: np.full(shape, base))
DUPLICATES = Layout(base=lambda shape: (max(1, shape[0] // 3), *shape[1:]) if shape else (), place=_repeat_rows)
CANCELLING = Layout(base=lambda shape: (shape[0] // 2, *shape[1:]) if shape else (), place=_cancel_rows)
ZEROS = Layout(base=lambda shape: (0,), place=lambda base, shape, rng: np.zeros(shape))

FAMILIES: dict[str, tuple[Elements, Layout]] = {
    "normal": (NORMAL, FULL),
    "integers": (INTEGERS, FULL),
    "positive": (POSITIVE, FULL),
    "constant": (NORMAL, CONSTANT),
    "duplicates": (NORMAL, DUPLICATES),
    "cancelling": (NORMAL, CANCELLING),
    "wide": (WIDE, FULL),
    "underflow": (UNDERFLOW, FULL),
    "zeros": (NORMAL, ZEROS),
}


def arrays(
    shape: Shape,
    dtype=np.float32,
    *,
    families: Sequence[str] = tuple(FAMILIES),
    elementwise_up_to: int = ELEMENTWISE_UP_TO,
) -> st.SearchStrategy[np.ndarray]:
    """Arrays of a shape and float dtype: finite, without subnormals, plain and adversarial.

    Args:
        shape: the shape; keep the number of distinct shapes small (see `dualform.testing.shapes`).
        dtype: any float dtype that NumPy or ml_dtypes knows.
        families: which of `FAMILIES` to draw.
        elementwise_up_to: the number of elements up to which they are drawn one by one.

    Returns:
        A strategy of NumPy arrays. Small ones shrink to a few ones among zeros, large ones to seed 0.

    Raises:
        ValueError: a family is not known.

    >>> from hypothesis import given
    >>> @given(arrays((2, 3), np.float16))
    ... def is_finite(a):
    ...     assert a.shape == (2, 3) and a.dtype == np.float16 and np.isfinite(a).all()
    >>> is_finite()
    """
    if unknown := [family for family in families if family not in FAMILIES]:
        raise ValueError(f"families: got {unknown[0]!r}, expected some of {', '.join(FAMILIES)}")
    if math.prod(shape) <= elementwise_up_to:
        return st.one_of([elementwise_arrays(family, shape, dtype) for family in families])
    return st.builds(
        lambda family, seed, exponent: seeded_array(family, seed, 10.0**exponent, shape, dtype),
        st.sampled_from(tuple(families)),
        st.integers(0, 2**32 - 1),
        st.sampled_from((0, -3, 3)),
    )


def elementwise_arrays(family: str, shape: Shape, dtype=np.float32) -> st.SearchStrategy[np.ndarray]:
    """Arrays of a family whose elements are drawn one by one: the tier that shrinks to a readable counterexample."""
    elements, layout = FAMILIES[family]
    size = math.prod(layout.base(shape))
    base = st.lists(elements.drawn(np.dtype(dtype)), min_size=size, max_size=size)

    def placed(values: list, seed: int) -> np.ndarray:
        array = np.reshape(np.array(values, np.float64), layout.base(shape))
        return rounded(layout.place(array, shape, np.random.default_rng(seed)), dtype)

    # Only these two layouts use the seed; for the others it would be one more thing to shrink.
    shuffled = layout in (DUPLICATES, CANCELLING)
    return st.builds(placed, base, st.integers(0, 2**16) if shuffled else st.just(0))


def seeded_array(family: str, seed: int, scale: float, shape: Shape, dtype=np.float32) -> np.ndarray:
    """The array of a family that a seed stands for; `scale` is cut to what the dtype holds with room to spare."""
    elements, layout = FAMILIES[family]
    low, high = magnitudes(dtype)
    rng = np.random.default_rng(seed)
    base = elements.seeded(rng, layout.base(shape), float(np.clip(scale, low, high / 8)), np.dtype(dtype))
    return rounded(layout.place(np.clip(base, -high, high), shape, rng), dtype)
