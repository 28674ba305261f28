"""Balls: numbers with a radius, and the few operations that others are made of.

A float64 operation rounds by at most half a unit of its result. `UNIT` is two units, which leaves room for the rounding
of the radii themselves; `TINY` stands for underflow.
"""

from collections.abc import Callable, Sequence

import numpy as np

UNIT, TINY = 2.0**-51, 1e-300
FUNCTION = 2.0**-44
"""Relative error that a function of numpy or scipy is trusted with: 512 units."""


class Ball:
    """Numbers within `rad` of `mid`; nothing is known where `bad`. An infinite radius is bad as well."""

    __slots__ = ("bad", "mid", "rad")

    def __init__(self, mid, rad, bad=None):
        self.mid, rad = np.asarray(mid, np.float64), np.asarray(rad, np.float64)
        low = self.mid == -np.inf
        self.rad = np.where(low, 0.0, np.broadcast_to(rad, self.mid.shape))
        bad = np.zeros(self.mid.shape, bool) if bad is None else np.broadcast_to(bad, self.mid.shape)
        self.bad = bad | ~np.isfinite(self.rad) | (~np.isfinite(self.mid) & ~low)

    @property
    def shape(self):
        return self.mid.shape

    @property
    def low(self) -> np.ndarray:
        return np.where(self.rad == 0, self.mid, _down(self.mid - self.rad))

    @property
    def high(self) -> np.ndarray:
        return np.where(self.rad == 0, self.mid, _up(self.mid + self.rad))

    def map(self, f: Callable) -> "Ball":
        """The same movement of elements in every part."""
        return Ball(f(self.mid), f(self.rad), f(self.bad))


def _down(x):
    return np.nextafter(x, -np.inf)


def _up(x):
    return np.nextafter(x, np.inf)


def between(low, high, bad) -> Ball:
    """The ball around an interval."""
    mid = np.where(low == high, low, low / 2 + high / 2)
    rad = np.where(low == high, 0.0, _up(np.maximum(high - mid, mid - low)) * (1 + UNIT))
    return Ball(mid, rad, bad)


def rounded(mid, rad, bad) -> Ball:
    """A result of one operation: its own rounding is added."""
    return Ball(mid, (rad + UNIT * np.abs(mid)) * (1 + 8 * UNIT) + TINY, bad)


def add(a: Ball, b: Ball) -> Ball:
    """Exact where both are and the sum does not round (Knuth's TwoSum): x - x is zero."""
    total = a.mid + b.mid
    part = total - a.mid
    error = (a.mid - (total - part)) + (b.mid - part)
    out = rounded(total, a.rad + b.rad, a.bad | b.bad)
    exact = (a.rad == 0) & (b.rad == 0) & (error == 0)
    return Ball(out.mid, np.where(exact, 0.0, out.rad), out.bad)


def neg(a: Ball) -> Ball:
    return Ball(-a.mid, a.rad, a.bad)


def mul(a: Ball, b: Ball) -> Ball:
    """Exact where one of them is zero."""
    rad = np.abs(a.mid) * b.rad + np.abs(b.mid) * a.rad + a.rad * b.rad
    out = rounded(a.mid * b.mid, rad, a.bad | b.bad)
    nothing = ((a.mid == 0) & (a.rad == 0)) | ((b.mid == 0) & (b.rad == 0))
    return Ball(out.mid, np.where(nothing & np.isfinite(out.mid), 0.0, out.rad), out.bad)


def reciprocal(a: Ball) -> Ball:
    """Bad where zero is in the ball."""
    least = np.abs(a.mid) * (1 - UNIT) - a.rad
    zero = ~(least > 0)
    mid = 1 / np.where(zero, 1.0, a.mid)
    return rounded(mid, a.rad * np.abs(mid) / np.where(zero, 1.0, least), a.bad | zero)


def power(a: Ball, n: int) -> Ball:
    """a**n for a whole n, by repeated squaring."""
    out, square, left = Ball(np.ones(a.shape), np.zeros(a.shape), a.bad), a, abs(n)
    while left:
        if left & 1:
            out = mul(out, square)
        left >>= 1
        square = mul(square, square) if left else square
    return out if n >= 0 else reciprocal(out)


def matmul(a: Ball, b: Ball) -> Ball:
    """[..., m, k] @ [..., k, n]."""
    terms = a.shape[-1]
    large = np.abs(a.mid) @ np.abs(b.mid)
    rad = np.abs(a.mid) @ b.rad + a.rad @ (np.abs(b.mid) + b.rad) + (terms + 2) * UNIT * large
    bad = (a.bad.astype(float) @ np.ones(b.shape) + np.ones(a.shape) @ b.bad.astype(float)) > 0
    return Ball(a.mid @ b.mid, rad * (1 + (2 * terms + 8) * UNIT) + (terms + 1) * TINY, bad)


def total(a: Ball, axes: tuple[int, ...]) -> Ball:
    terms = int(np.prod([a.shape[i] for i in axes]))
    rad = a.rad.sum(axes) + (terms + 2) * UNIT * np.abs(a.mid).sum(axes)
    return Ball(a.mid.sum(axes), rad * (1 + (terms + 8) * UNIT) + terms * TINY, a.bad.any(axes))


def gather(operands: Sequence[Ball], index: np.ndarray) -> Ball:
    """Elements of balls laid end to end."""
    mid, rad, bad = (np.concatenate([np.ravel(getattr(x, p)) for x in operands])[index] for p in ("mid", "rad", "bad"))
    return Ball(mid, rad, bad)
