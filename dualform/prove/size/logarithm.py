"""Bounds of sums of log-domain inputs: what coefficients each input can have."""

from collections.abc import Callable
from dataclasses import dataclass
from math import lcm

import numpy as np

from dualform.prove.size.rational import Bound, Symbols, dyadic


@dataclass
class Logarithm:
    """A sum of log-domain inputs, plus a field value, or -inf."""

    total: np.ndarray  # sum of the positive coefficients
    top: np.ndarray  # largest coefficient
    low: np.ndarray  # largest negated coefficient
    reset: np.ndarray  # -inf
    bound: Bound | None = None
    denominator: int = 1  # of all coefficients

    @property
    def shape(self):
        return self.total.shape

    @property
    def parts(self) -> tuple[np.ndarray, ...]:
        return self.total, self.top, self.low, self.reset

    @property
    def is_field(self) -> bool:
        """No logarithm is in it: only moved beside some."""
        return not (np.any(self.top) or np.any(self.low) or np.any(self.reset))

    def map(self, f: Callable) -> "Logarithm":
        total, top, low, reset = map(f, self.parts)
        return Logarithm(total, top, low, reset, None if self.bound is None else self.bound.map(f), self.denominator)


def as_logarithm(x: Bound, reset: np.ndarray | None = None) -> Logarithm:
    """A field value among logarithms, or -inf where `reset`."""
    zero = np.zeros(x.shape)
    return Logarithm(zero, zero, zero, np.zeros(x.shape, bool) if reset is None else reset, x)


def gather_logarithms(symbols: Symbols, operands, index: np.ndarray) -> Logarithm:
    """Elements of logarithms laid end to end."""
    logs = [x if isinstance(x, Logarithm) else as_logarithm(x) for x in operands]
    columns = zip(*(x.parts for x in logs), strict=True)
    total, top, low, reset = (np.concatenate([np.ravel(part) for part in column])[index] for column in columns)
    bound = None
    if any(x.bound is not None for x in logs):
        filled = [symbols.constant(np.zeros(x.shape)) if x.bound is None else x.bound for x in logs]
        bound = symbols.gather(filled, index)
    return Logarithm(total, top, low, reset, bound, lcm(*(x.denominator for x in logs)))


def plus(symbols: Symbols, a: Logarithm, b: Logarithm) -> Logarithm:
    shape = np.broadcast_shapes(a.shape, b.shape)
    a, b = (x.map(lambda y: np.broadcast_to(y, shape)) for x in (a, b))
    bound = b.bound if a.bound is None else a.bound if b.bound is None else symbols.plus(a.bound, b.bound)
    total, top, low = (x + y for x, y in zip(a.parts[:3], b.parts[:3], strict=True))
    return Logarithm(total, top, low, a.reset | b.reset, bound, lcm(a.denominator, b.denominator))


def negated(a: Logarithm, gates: int) -> Logarithm:
    """A negative coefficient is at least -low, for each of the inputs."""
    return Logarithm(a.low * gates, a.low, a.top, a.reset, a.bound, a.denominator)


def scaled(symbols: Symbols, a: Logarithm, c: np.ndarray, gates: int, inverse: bool = False) -> Logarithm:
    """Times constants, or divided by them."""
    shape = np.broadcast_shapes(a.shape, c.shape)
    a, down = a.map(lambda y: np.broadcast_to(y, shape)), np.broadcast_to(c, shape) < 0
    size = np.abs(c) if not inverse else _over(np.abs(c))
    turned = negated(a, gates)
    total, top, low = (np.where(down, y, x) * size for x, y in zip(a.parts[:3], turned.parts[:3], strict=True))
    bound = a.bound
    if bound is not None:
        factor = symbols.constant(c)
        bound = symbols.times(bound, symbols.reciprocal(factor, c) if inverse else factor)
    return Logarithm(total, top, low, a.reset, bound, a.denominator * denominator(c, inverse))


def _over(c: np.ndarray) -> np.ndarray:
    """1/c, rounded up unless c is a power of two."""
    with np.errstate(divide="ignore"):
        return np.where(np.frexp(c)[0] == 0.5, 1 / c, np.nextafter(1 / c, np.inf))


def denominator(c: np.ndarray, inverse: bool = False) -> int:
    """Of constants m 2**j, or of their reciprocals."""
    parts = [dyadic(v) for v in np.unique(c[c != 0])]
    places = max((j if inverse else -j for _, j in parts), default=0)
    return lcm(*(m for m, _ in parts if inverse)) * 2 ** max(places, 0)
