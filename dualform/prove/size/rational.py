r"""Bounds of rational functions, with denominators as shared symbols.

A value is bounded as $N / \prod_j d_j^{e_j}$: `n` bounds the total degree of the numerator $N$, and each $d_j$ is the
numerator of something that the program divided by, entered once in a table however often it is used. Sums over common
denominators take the larger exponent instead of multiplying denominators out, which keeps the bound of recursive least
squares near $2^{T+1}$ instead of a number with a million digits.

`h` bounds $\log_2 \|N\|_1$, the sum of the absolute coefficients, and `k` their binary places, so that $2^k N$ has
integer coefficients below $2^{h + k}$: so few large primes divide one of them that a random prime hardly ever does, and
what holds modulo random primes holds over the rationals (see `dualform.prove.measure`).

Zeros are recognised where they are constants, or products with constants; their degree is minus infinity. Every other
number here is an upper bound, whatever cancels. Bounds stop growing at `HUGE`, far beyond what can be proved.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from dualform.prove.concrete import binary_places

ZERO = -np.inf
HUGE = 1e150


@dataclass
class Bound:
    """Bounds of an array of rational functions."""

    n: np.ndarray  # degree of the numerator, -inf for zero
    h: np.ndarray  # log2 of its 1-norm, -inf for zero
    k: np.ndarray  # binary places of its coefficients
    e: np.ndarray  # [symbols, *shape] exponents of the denominators, negative where a symbol multiplies
    tag: np.ndarray  # equal tags are copies of one element
    root: "Bound | None" = None  # of a square root: what it is the root of

    @property
    def shape(self):
        return self.n.shape

    def map(self, f: Callable) -> "Bound":
        """The same movement of elements in every part."""
        n, h, k, tag = (f(x) for x in (self.n, self.h, self.k, self.tag))
        e = np.stack([f(x) for x in self.e]) if len(self.e) else np.zeros((0, *n.shape))
        return Bound(n, h, k, e, tag)


@dataclass
class Symbols:
    """The denominators of a program."""

    n: list[float] = field(default_factory=list)
    h: list[float] = field(default_factory=list)
    known: dict = field(default_factory=dict)  # what was divided by -> its symbol
    tags: int = 0

    def new(self, n: float, h: float, key=None) -> int:
        """A symbol of degree n and height h, shared by all that are made with the same key."""
        if key is not None and key in self.known:
            return self.known[key]
        self.n.append(min(float(n), HUGE))
        self.h.append(min(float(h), HUGE))
        if key is not None:
            self.known[key] = len(self.n) - 1
        return len(self.n) - 1

    def fresh_tags(self, shape) -> np.ndarray:
        size = int(np.prod(shape))
        self.tags += size
        return np.arange(self.tags - size, self.tags).reshape(shape)

    def wide(self, x: Bound) -> Bound:
        """With a row for every symbol known by now."""
        missing = len(self.n) - len(x.e)
        if missing:
            x.e = np.concatenate([x.e, np.zeros((missing, *x.shape))])
        return x

    def bound(self, n, h, k=None, e=None) -> Bound:
        k = np.zeros(np.shape(n)) if k is None else np.minimum(k, HUGE)
        e = np.zeros((len(self.n), *np.shape(n))) if e is None else np.clip(e, -HUGE, HUGE)
        return Bound(np.minimum(n, HUGE), np.minimum(h, HUGE), k, e, self.fresh_tags(np.shape(n)))

    def variable(self, shape) -> Bound:
        """An input: degree one, coefficient one."""
        return self.bound(np.ones(shape), np.zeros(shape))

    def constant(self, x: np.ndarray) -> Bound:
        """Dyadic rationals m / 2**k."""
        x = np.asarray(x, np.float64)
        with np.errstate(divide="ignore"):
            return self.bound(np.where(x == 0, ZERO, 0.0), np.log2(np.abs(x)), binary_places(x))

    # arithmetic -----------------------------------------------------------------------------------------------------

    def _common(self, n, h, e, axis: int):
        """Terms along an axis over their common denominators: degrees, heights, exponents."""
        zero = n == ZERO
        common = np.where(zero, -np.inf, e).max(axis=axis + 1, keepdims=True)
        common = np.where(np.isfinite(common), common, 0.0)
        lack = np.where(zero, 0.0, common - e)
        return n + np.tensordot(self.n, lack, 1), h + np.tensordot(self.h, lack, 1), common.squeeze(axis + 1)

    def along(self, x: Bound, axis: int) -> Bound:
        """The sum over one axis."""
        x = self.wide(x)
        inner = tuple(np.delete(x.shape, axis))
        if not x.shape[axis]:
            return self.constant(np.zeros(inner))
        n, h, e = (x.n, x.h, np.zeros((0, *inner))) if not len(x.e) else self._common(x.n, x.h, x.e, axis)
        k = np.where(x.n == ZERO, 0.0, x.k).max(axis=axis)
        return self.bound(n.max(axis=axis), np.logaddexp2.reduce(h, axis=axis), k, e)

    def plus(self, a: Bound, b: Bound) -> Bound:
        shape = np.broadcast_shapes(a.shape, b.shape)
        a, b = (self.wide(x).map(lambda y: np.broadcast_to(y, shape)) for x in (a, b))
        n, h, k, tag = (np.stack(p) for p in ((a.n, b.n), (a.h, b.h), (a.k, b.k), (a.tag, b.tag)))
        return self.along(Bound(n, h, k, np.stack([a.e, b.e], axis=1), tag), 0)

    def times(self, a: Bound, b: Bound) -> Bound:
        a, b = self.wide(a), self.wide(b)
        shape = np.broadcast_shapes(a.shape, b.shape)
        ea, eb = (x.e.reshape(len(x.e), *(1,) * (len(shape) - len(x.shape)), *x.shape) for x in (a, b))
        return self.bound(a.n + b.n, a.h + b.h, a.k + b.k, np.broadcast_to(ea + eb, (len(ea), *shape)))

    def power(self, x: Bound, y) -> Bound:
        """x**y for y >= 0, one or an array of the same shape."""
        x = self.wide(x)
        zero, y = x.n == ZERO, np.broadcast_to(y, x.shape)
        n, h = (np.where(zero, np.where(y > 0, ZERO, 0.0), np.where(zero, 0.0, part) * y) for part in (x.n, x.h))
        return self.bound(n, h, x.k * y, x.e * y)

    def reciprocal(self, x: Bound, value: np.ndarray | None = None) -> Bound:
        """1/x: denominators become factors, the numerator a symbol, shared by all copies of the same element.

        `value` is given where x is a constant m 2**j: then the odd m is the symbol, and 1/x = 2**-j / m.
        """
        if value is not None:
            return self._constant_reciprocal(value)
        x = self.wide(x)
        n, h, k, tag = (y.ravel() for y in (x.n, x.h, x.k, x.tag))
        unit = (n == 0) & (h + k == 0)  # N' = +-1
        rows = np.array(
            [
                -1 if unit[i] else self.new(max(n[i], 0.0), max(h[i] + k[i], 0.0), ("tag", int(tag[i])))
                for i in range(n.size)
            ],
            int,
        )
        # x = 2**-k N' with N' the symbol's integers, so 1/x carries the factor 2**k.
        return self._over(x.shape, k, np.zeros(n.size), rows, -self.wide(x).e.reshape(len(self.n), n.size))

    def _constant_reciprocal(self, value: np.ndarray) -> Bound:
        parts = [dyadic(v) for v in value.ravel()]
        rows = np.array([-1 if m <= 1 else self.new(0.0, np.log2(float(m)), ("odd", m)) for m, _ in parts], int)
        doubled = np.array([j for _, j in parts], float)
        return self._over(value.shape, -doubled, np.maximum(doubled, 0.0), rows, np.zeros((len(self.n), len(parts))))

    def _over(self, shape, h, k, rows, e) -> Bound:
        """A constant of height h and k places over one symbol an element (none where its row is -1)."""
        used = np.flatnonzero(rows >= 0)
        e[rows[used], used] += 1
        return self.bound(np.zeros(shape), np.reshape(h, shape), np.reshape(k, shape), e.reshape(-1, *shape))

    def gather(self, operands, index) -> Bound:
        flat = [self.wide(x).map(np.ravel) for x in operands]
        n, h, k, tag = (np.concatenate([getattr(x, part) for x in flat])[index] for part in ("n", "h", "k", "tag"))
        return Bound(n, h, k, np.concatenate([x.e for x in flat], axis=1)[:, index], tag)

    def fraction(self, x: Bound):
        """Degrees of numerator and denominator, and their heights, element by element; the numerator's still carries
        `x.k` binary places."""
        x = self.wide(x)
        below, above = np.maximum(x.e, 0), np.maximum(-x.e, 0)

        def weigh(table, e):
            return np.tensordot(np.array(table), e, 1) if len(table) else np.zeros(x.shape)

        numerator = np.where(x.n == ZERO, ZERO, x.n + weigh(self.n, above))
        return numerator, weigh(self.n, below), x.h + weigh(self.h, above), weigh(self.h, below)


def largest(x) -> float:
    """The largest of some bounds and 0, at most `HUGE`. One that passed the range of floats counts as huge."""
    return float(np.max(np.minimum(np.where(np.isnan(x), HUGE, x), HUGE), initial=0.0))


def dyadic(x: float) -> tuple[int, int]:
    """The odd integer m and the integer j with x = +- m 2**j; zeros for 0."""
    numerator, denominator = float(x).as_integer_ratio()
    power = abs(numerator) & -abs(numerator)
    return (abs(numerator) // power, power.bit_length() - denominator.bit_length()) if numerator else (0, 0)
