"""Problems for a linear layer: initial weight, error signals, patterns and queries of one dtype.

Equation (L1) is a sum of products of three factors, so a problem can be difficult as a whole where each of its
arrays is plain: error signals that cancel over one and the same key, products that underflow. The problems
drawn here are of both kinds, beside those whose arrays are drawn independently.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

from dualform.testing.floats import FLOAT_DTYPES, rounded
from dualform.testing.shapes import LAYER_SHAPES, LayerShape
from dualform.testing.values import FAMILIES, arrays


class LinearProblem(NamedTuple):
    """A linear layer, what was added to it, and what it is asked.

    Attributes:
        W0: initial weight `[V, K]`.
        E: error signals `[n, V]`.
        X: patterns (keys) `[n, K]`.
        x: queries `[M, K]`.
    """

    W0: np.ndarray
    E: np.ndarray
    X: np.ndarray
    x: np.ndarray


def linear_problems(
    dtype=np.float32,
    *,
    shapes: Sequence[LayerShape] = LAYER_SHAPES,
    families: Sequence[str] = tuple(FAMILIES),
) -> st.SearchStrategy[LinearProblem]:
    """Problems (W0, E, X, x) of one dtype: every array of a drawn family, or updates that cancel exactly.

    Args:
        dtype: float dtype of all four arrays.
        shapes: which `LayerShape`s; a fresh one costs a compile.
        families: value families (`dualform.testing.values.FAMILIES`).

    Returns:
        A strategy of `LinearProblem`s of NumPy arrays.

    >>> from hypothesis import given
    >>> @given(linear_problems(np.float32))
    ... def fits(problem):
    ...     W0, E, X, x = problem
    ...     assert E.shape == (len(X), len(W0)) and x.shape[1] == W0.shape[1] == X.shape[1]
    >>> fits()
    """
    of_shape = {shape: _of_shape(shape, np.dtype(dtype), tuple(families)) for shape in shapes}
    return st.sampled_from(tuple(shapes)).flatmap(of_shape.__getitem__)


def float_dtypes(dtypes: Sequence[np.dtype] = FLOAT_DTYPES) -> st.SearchStrategy[np.dtype]:
    """A float dtype that JAX computes in with x64 off: float16, bfloat16 or float32; shrinks to float32."""
    return st.sampled_from(tuple(reversed(dtypes)))


def _of_shape(shape: LayerShape, dtype, families) -> st.SearchStrategy[LinearProblem]:
    n, K, V, M = shape

    def independent(sizes) -> st.SearchStrategy[LinearProblem]:
        return st.builds(LinearProblem, *(arrays(size, dtype, families=families) for size in sizes))

    drawn = independent([(V, K), (n, V), (n, K), (M, K)])
    if "cancelling" not in families:
        return drawn
    half = independent([(V, K), (n // 2, V), (n // 2, K), (M, K)])
    return st.one_of(drawn, st.builds(lambda problem, seed: _cancel(problem, n, seed), half, st.integers(0, 2**32 - 1)))


def _cancel(half: LinearProblem, n: int, seed: int) -> LinearProblem:
    """Each (e, x) of the half followed somewhere by (-e, x): dW is exactly zero, and no partial sum need be."""
    order = np.random.default_rng(seed).permutation(n)
    pad = np.zeros((n % 2, 1), half.E.dtype)
    E = np.concatenate([half.E, -half.E, np.repeat(pad, half.E.shape[1], 1)])
    X = np.concatenate([half.X, half.X, np.repeat(pad, half.X.shape[1], 1)])
    return half._replace(E=E[order], X=X[order])


def largest_exact_integer(shape: LayerShape, dtype=np.float32) -> int:
    """The largest A such that integers in -A..A make every form of (L1) free of rounding in a dtype.

    Every partial result of every form, in any order of summation, with or without FMA, is an integer of size
    at most P = K A (A + n A^2). All integers up to 2^p are represented in a format with p significant bits,
    hence P <= 2^p means that nothing is rounded and that all forms return the same number, compared with ==.

    >>> largest_exact_integer(LayerShape(n=32, K=16, V=8, M=1), np.float32)
    31
    """
    limit = 2 ** (jnp.finfo(dtype).nmant + 1)
    A = 0
    while shape.K * (A + 1) * ((A + 1) + shape.n * (A + 1) ** 2) <= limit:
        A += 1
    return A


def integer_problems(
    dtype=np.float32, *, shapes: Sequence[LayerShape] = LAYER_SHAPES
) -> st.SearchStrategy[LinearProblem]:
    """Problems of integers on which no form of (L1) rounds: their results are compared with ==, no tolerance.

    Raises:
        ValueError: a shape is so large that in this dtype only zeros would be free of rounding.
    """
    for shape in shapes:
        if largest_exact_integer(shape, dtype) < 1:
            raise ValueError(
                f"shapes: got {shape}, too large for exact integers in {np.dtype(dtype)}; use a wider dtype"
            )

    def integer_problem(shape: LayerShape) -> st.SearchStrategy[LinearProblem]:
        n, K, V, M = shape
        A = largest_exact_integer(shape, dtype)

        def integers(size: tuple[int, int]) -> st.SearchStrategy[np.ndarray]:
            if math.prod(size) <= 12:
                listed = st.lists(st.integers(-A, A), min_size=math.prod(size), max_size=math.prod(size))
                return listed.map(lambda values: rounded(np.reshape(values, size), dtype))
            seeds = st.integers(0, 2**32 - 1)
            return seeds.map(lambda seed: rounded(np.random.default_rng(seed).integers(-A, A + 1, size), dtype))

        return st.builds(LinearProblem, *(integers(size) for size in [(V, K), (n, V), (n, K), (M, K)]))

    # Built once per shape: building strategies for each example takes longer than drawing from them.
    of_shape = {shape: integer_problem(shape) for shape in shapes}
    return st.sampled_from(tuple(shapes)).flatmap(of_shape.__getitem__)
