r"""Bounds of rational functions, with denominators as shared symbols.

A value is bounded as $N / \prod_j d_j^{e_j}$: `n` bounds the total degree of the numerator $N$, and each $d_j$ is the
numerator of something that the program divided by, entered once in a table however often it is used. Sums over common
denominators take the larger exponent instead of multiplying denominators out, which keeps the bound of recursive least
squares near $2^{T+1}$ instead of a number with a million digits.

`h` bounds $\log_2 \|N\|_1$, the sum of the absolute coefficients, and `k` their binary places, so that $2^k N$ has
integer coefficients below $2^{h + k}$: an identity that holds modulo primes whose product is larger than that holds
over the rationals (see `dualform.prove.identity`).

Zeros are recognised where they are constants, or products with constants; their degree is minus infinity. Every other
number here is an upper bound, whatever cancels.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

ZERO = -np.inf


@dataclass
class Bound:
    """Bounds of an array of rational functions."""

    n: np.ndarray  # degree of the numerator, -inf for zero
    h: np.ndarray  # log2 of its 1-norm, -inf for zero
    k: np.ndarray  # binary places of its coefficients
    e: np.ndarray  # [symbols, *shape] exponents of the denominators, negative where a symbol multiplies
    tag: np.ndarray  # equal tags are copies of one element

    @property
    def shape(self):
        return self.n.shape

    def map(self, f: Callable) -> "Bound":
        """The same movement of elements in every part."""
        moved = [f(x) for x in (self.n, self.h, self.k, self.tag)]
        e = np.stack([f(x) for x in self.e]) if len(self.e) else np.zeros((0, *moved[0].shape))
        return Bound(*moved[:3], e, moved[3])


@dataclass
class Symbols:
    """The denominators of one or several programs."""

    n: list[float] = field(default_factory=list)
    h: list[float] = field(default_factory=list)
    known: dict = field(default_factory=dict)  # what was divided by -> its symbol
    tags: int = 0

    def new(self, n: float, h: float, key=None) -> int:
        if key is not None and key in self.known:
            return self.known[key]
        self.n.append(float(n))
        self.h.append(float(h))
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
        k = np.zeros(np.shape(n)) if k is None else k
        e = np.zeros((len(self.n), *np.shape(n))) if e is None else e
        return Bound(n, h, k, e, self.fresh_tags(np.shape(n)))

    def variable(self, shape) -> Bound:
        """An input: degree one, coefficient one."""
        return self.bound(np.ones(shape), np.zeros(shape))

    def constant(self, x: np.ndarray) -> Bound:
        """Dyadic rationals m / 2**k."""
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
        pair = [np.stack(p) for p in zip((a.n, a.h, a.k, a.tag), (b.n, b.h, b.k, b.tag), strict=True)]
        return self.along(Bound(*pair[:3], np.stack([a.e, b.e], axis=1), pair[3]), 0)

    def times(self, a: Bound, b: Bound) -> Bound:
        a, b = self.wide(a), self.wide(b)
        shape = np.broadcast_shapes(a.shape, b.shape)
        ea, eb = (x.e.reshape(len(x.e), *(1,) * (len(shape) - len(x.shape)), *x.shape) for x in (a, b))
        return self.bound(a.n + b.n, a.h + b.h, a.k + b.k, np.broadcast_to(ea + eb, (len(ea), *shape)))

    def power(self, x: Bound, y: int) -> Bound:
        """x**y for y >= 0."""
        x = self.wide(x)
        n, h = (np.where(x.n == ZERO, ZERO if y else 0.0, np.where(x.n == ZERO, 0.0, part) * y) for part in (x.n, x.h))
        return self.bound(n, h, x.k * y, x.e * y)

    def reciprocal(self, x: Bound, value: np.ndarray | None = None) -> Bound:
        """1/x: denominators become factors, the numerator a symbol, shared by all copies of the same element.

        `value` is given where x is a constant: then equal constants share a symbol.
        """
        x = self.wide(x)
        n, h, k, tag = (y.ravel() for y in (x.n, x.h, x.k, x.tag))
        unit = (n == 0) & (h == 0) & (k == 0)
        keys = tag if value is None else [odd_part(v) for v in value.ravel()]
        rows = [
            -1 if unit[i] else self.new(max(n[i], 0.0), max(h[i] + k[i], 0.0), ("constant" if value is not None else "tag", int(keys[i])))
            for i in range(n.size)
        ]
        e = -self.wide(x).e.reshape(len(self.n), n.size)
        used = np.flatnonzero(np.array(rows, int) >= 0)
        e[np.array(rows, int)[used], used] += 1
        # x = 2**-k N' with N' the symbol's integers, so 1/x carries the factor 2**k.
        return self.bound(np.zeros(x.shape), k.reshape(x.shape), None, e.reshape(-1, *x.shape))

    def gather(self, operands, index) -> Bound:
        flat = [self.wide(x).map(np.ravel) for x in operands]
        n, h, k, tag = (np.concatenate([getattr(x, part) for x in flat])[index] for part in ("n", "h", "k", "tag"))
        return Bound(n, h, k, np.concatenate([x.e for x in flat], axis=1)[:, index], tag)

    def fraction(self, x: Bound):
        """Degrees and heights of numerator and denominator, element by element."""
        x = self.wide(x)
        below, above = np.maximum(x.e, 0), np.maximum(-x.e, 0)

        def weigh(table, e):
            return np.tensordot(np.array(table), e, 1) if len(table) else np.zeros(x.shape)

        numerator = np.where(x.n == ZERO, ZERO, x.n + weigh(self.n, above))
        return numerator, weigh(self.n, below), x.h + x.k + weigh(self.h, above), weigh(self.h, below)


def binary_places(x: np.ndarray) -> np.ndarray:
    """The smallest k >= 0 for which 2**k x is an integer."""
    mantissa, exponent = np.frexp(np.asarray(x, float))
    whole = np.abs(np.ldexp(mantissa, 53)).astype(np.int64)
    zeros = np.log2(np.maximum(whole & -whole, 1).astype(float))
    return np.where(whole == 0, 0.0, np.maximum(53 - exponent - zeros, 0.0))


def odd_part(x: float) -> int:
    """The odd integer m with x = +- m 2**k."""
    whole = abs(int(np.ldexp(np.frexp(x)[0], 53)))
    return whole // max(whole & -whole, 1)
