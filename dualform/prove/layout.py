"""Primitives in standard form: batched matrix products, lower triangular solves, running sums."""

import numpy as np


def matrices(eqn, a: np.ndarray, b: np.ndarray):
    """The operands of a dot_general as batches of matrices [B, m, k] and [B, k, n], and the shape of the result."""
    (ca, cb), (ba, bb) = (tuple(tuple(map(int, d)) for d in pair) for pair in eqn.params["dimension_numbers"])
    fa = [i for i in range(a.ndim) if i not in ca + ba]
    fb = [i for i in range(b.ndim) if i not in cb + bb]
    batch = [a.shape[i] for i in ba]
    rows, inner, columns = ([x.shape[i] for i in d] for x, d in ((a, fa), (a, ca), (b, fb)))
    m, k, n, size = (int(np.prod(d)) for d in (rows, inner, columns, batch))
    left = np.transpose(a, [*ba, *fa, *ca]).reshape(size, m, k)
    right = np.transpose(b, [*bb, *cb, *fb]).reshape(size, k, n)
    return left, right, (*batch, *rows, *columns)


def lower_triangular(eqn, a: np.ndarray, b: np.ndarray):
    """A triangular solve as M x = r with M lower triangular, and the map from x back to the primitive's result.

    Upper triangles become lower ones by reversing both axes; solves from the right by transposing.
    """
    p = eqn.params
    left, lower = p["left_side"], p["lower"]
    flipped = p["transpose_a"] != (not left)
    matrix = np.swapaxes(a, -1, -2) if flipped else a
    rhs = b if left else np.swapaxes(b, -1, -2)
    upwards = lower == flipped
    if upwards:
        matrix, rhs = matrix[..., ::-1, ::-1], rhs[..., ::-1, :]

    def back(x):
        x = x[..., ::-1, :] if upwards else x
        return x if left else np.swapaxes(x, -1, -2)

    return matrix, rhs, back


def along(eqn, fold, x: np.ndarray) -> np.ndarray:
    """A running sum or product, from whichever end the equation starts."""
    axis = eqn.params["axis"]
    return np.flip(fold(np.flip(x, axis), axis), axis) if eqn.params["reverse"] else fold(x, axis)
