"""Matrices of the theory of regression in context: one arithmetic for numpy and JAX, and checks in float64.

The public functions compute in numpy's float64, whatever JAX's default float is. What they compute is written once, for
arrays of either kind, so that the proofs read the same formulas as the numbers.
"""

import math
import operator
from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np

Matrix = np.ndarray | jax.Array


def product(*factors: Matrix) -> Matrix:
    """The matrix product of all factors."""
    if all(isinstance(x, np.ndarray) for x in factors):
        return reduce(np.matmul, factors)
    return reduce(lambda a, b: jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST), factors)


def divided(a: Matrix, b: Matrix) -> Matrix:
    """a b^-1, by a solve."""
    kind = np if all(isinstance(x, np.ndarray) for x in (a, b)) else jnp
    return kind.linalg.solve(b.T, a.T).T


def eye_like(a: Matrix) -> Matrix:
    """The identity of the size, kind and dtype of a square matrix."""
    return (np if isinstance(a, np.ndarray) else jnp).eye(a.shape[0], dtype=a.dtype)


def array(name: str, value, *layouts: str, **sizes: int) -> np.ndarray:
    """`value` in float64, of one of the layouts ("d d"); numbers that are not finite floats are refused.

    Raises:
        ValueError: integers, complex, not numbers, not finite, a shape of another layout or of other sizes.
    """
    try:
        x = np.asarray(value)
    except (TypeError, ValueError) as reason:
        raise ValueError(f"{name}: got a {type(value).__name__}, expected an array of floats; pass one") from reason
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(f"{name}: got dtype {x.dtype}, expected a float dtype; convert it with np.asarray(..., float)")
    x = x.astype(np.float64)
    if not any(_fits(x.shape, layout.split(), sizes) for layout in layouts):
        known = ", ".join(f"{axis} = {size}" for axis, size in sizes.items())
        expected = " or ".join(f"[{', '.join(layout.split())}]" for layout in layouts)
        raise ValueError(
            f"{name}: got shape {x.shape}, expected {expected}{' with ' * bool(known)}{known}, sizes of one and more; "
            f"reshape {name}"
        )
    if not np.isfinite(x).all():
        raise ValueError(f"{name}: got {x[~np.isfinite(x)][0]}, expected finite numbers; find where it arose")
    return x


def covariance(name: str, value, d: int | None = None, *, definite: bool = False) -> np.ndarray:
    """`value` as a covariance [d, d]: symmetric, with no eigenvalue below zero, or all above it if `definite`.

    Rounding is allowed for: asymmetry and negative eigenvalues up to d times the dtype's roundoff of the largest entry.
    """
    x = array(name, value, "d d", **({} if d is None else {"d": d}))
    given = np.asarray(value).dtype
    slack = 4 * len(x) * float(jnp.finfo(given).eps) * float(np.max(np.abs(x)))
    if np.max(np.abs(x - x.T)) > slack:
        raise ValueError(
            f"{name}: got a matrix that is not symmetric, expected a covariance; pass ({name} + {name}.T)/2"
        )
    x = (x + x.T) / 2
    least = float(np.linalg.eigvalsh(x)[0])
    if least < -slack or (definite and least <= 0):
        wanted = "above zero" if definite else "of at least zero"
        raise ValueError(f"{name}: got the eigenvalue {least:.3g}, expected all {wanted}; pass a covariance")
    return x


def identity_or(name: str, value, d: int) -> np.ndarray:
    """A covariance, the identity if None."""
    return np.eye(d) if value is None else covariance(name, value, d)


def over(name: str, count: float) -> float:
    """One over a number of examples, 0 for infinitely many.

    Raises:
        ValueError: not an integer of at least 1, nor `math.inf`.
    """
    try:
        number = math.inf if count == math.inf else operator.index(count)  # type: ignore[arg-type]
    except (TypeError, ValueError) as reason:
        raise ValueError(f"{name}: got {count!r}, expected an integer or math.inf; pass how many examples") from reason
    if isinstance(count, bool) or not number >= 1:
        raise ValueError(f"{name}: got {count!r}, expected an integer of at least 1 or math.inf; add an example")
    return 1.0 / number


def number(name: str, value, *, positive: bool = False, least: float = -math.inf) -> float:
    """`value` as a finite float, above zero if `positive`, at least `least`.

    Raises:
        ValueError: not a number, not finite, too small.
    """
    try:
        x = float(value)
    except (TypeError, ValueError) as reason:
        raise ValueError(f"{name}: got a {type(value).__name__}, expected a number; pass one") from reason
    if not math.isfinite(x) or (positive and x <= 0) or x < least:
        wanted = "above zero" if positive else f"of at least {least:g}" if least > -math.inf else "that is finite"
        raise ValueError(f"{name}: got {x:g}, expected a number {wanted}; pass another")
    return x


def _fits(shape, axes, sizes) -> bool:
    known = dict(sizes)
    if len(shape) != len(axes):
        return False
    return all(size == known.setdefault(a, size) and size > 0 for a, size in zip(axes, shape, strict=True))
