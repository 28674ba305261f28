"""Shapes: a small fixed set, so that few programs are compiled, and never square, so that no transpose hides.

A fresh shape costs a compile of 50-400 ms and a repeated one 0.1 ms, hence a property that draws shapes
freely spends its time in the compiler. Here shapes come from short lists, and `bucket` rounds the one
axis that may vary (patterns, tokens) up to a short list too.
"""

from itertools import count
from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st


class LayerShape(NamedTuple):
    """Sizes of a linear layer's problem: n patterns, M queries, widths K in and V out."""

    n: int
    K: int
    V: int
    M: int


class TokenShape(NamedTuple):
    """Sizes of a sequence: T tokens, widths K of keys and V of values."""

    T: int
    K: int
    V: int


LAYER_SHAPES = (
    LayerShape(n=0, K=2, V=1, M=1),
    LayerShape(n=1, K=1, V=2, M=1),
    LayerShape(n=2, K=2, V=3, M=2),
    LayerShape(n=5, K=3, V=2, M=1),
    LayerShape(n=5, K=4, V=1, M=3),
    LayerShape(n=17, K=8, V=5, M=4),
)
"""No pattern, one, fewer and more patterns than inputs; K != V in all; ordered so that shrinking ends small."""

BUCKETS = (0, 1, 2, 4, 8, 16, 32, 64, 128)


def layer_shapes(shapes: tuple[LayerShape, ...] = LAYER_SHAPES) -> st.SearchStrategy[LayerShape]:
    """One of the given layer shapes; shrinks to the first."""
    return st.sampled_from(shapes)


def token_counts(chunk_size: int) -> tuple[int, ...]:
    """Sequence lengths around the edge of a chunk, where chunked forms go wrong, and a prime beyond two chunks.

    >>> token_counts(4)
    (0, 1, 3, 4, 5, 9, 11)
    """
    if chunk_size < 1:
        raise ValueError(f"chunk_size: got {chunk_size}, expected at least 1; use 4 for small cases")
    prime = next(p for p in count(2 * chunk_size + 2) if all(p % d for d in range(2, p)))
    return tuple(sorted({0, 1, chunk_size - 1, chunk_size, chunk_size + 1, 2 * chunk_size + 1, prime}))


def token_shapes(chunk_size: int = 4, widths: tuple[tuple[int, int], ...] = ((1, 2), (3, 2))):
    """Sequences around the chunk edge with key and value widths `(K, V)` from a list; shrinks to one token.

    Raises:
        ValueError: a pair of widths is square, which would hide a transposed state.
    """
    for K, V in widths:
        if K == V:
            raise ValueError(f"widths: got K = V = {K}, expected K != V; a square state hides a transpose")
    counts = sorted(token_counts(chunk_size), key=lambda T: (T == 0, T))
    return st.builds(lambda T, KV: TokenShape(T, *KV), st.sampled_from(counts), st.sampled_from(widths))


def bucket(size: int, buckets: tuple[int, ...] = BUCKETS) -> int:
    """The smallest bucket that holds `size`; sizes above the largest bucket are rounded up to its multiples.

    >>> [bucket(size) for size in (0, 3, 64, 129)]
    [0, 4, 64, 256]
    """
    if size < 0:
        raise ValueError(f"size: got {size}, expected a size that is not negative; pass the length of an axis")
    return next((b for b in sorted(buckets) if b >= size), -(-size // max(buckets)) * max(buckets))


def pad_to_bucket(array, axis: int = 0, buckets: tuple[int, ...] = BUCKETS) -> np.ndarray:
    """The array with zeros appended along `axis` up to the next bucket.

    Padded patterns are inert: a zero error signal or a zero key adds nothing to equation (L1), so a padded
    problem has the value of the drawn one and a compile is shared by all sizes of its bucket.

    >>> pad_to_bucket(np.ones((3, 2))).shape
    (4, 2)
    """
    array = np.asarray(array)
    widths = [(0, 0)] * array.ndim
    widths[axis] = (0, bucket(array.shape[axis], buckets) - array.shape[axis])
    return np.pad(array, widths)
