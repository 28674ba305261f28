r"""Bounds where exponentials and logarithms are related by (P2) and (P8).

The exponential of an argument that contains whole multiples of logarithms has powers of the arguments $u_j$ of these
as factors, $\prod_j u_j^{n_j}$ with $|n_j| \le$ `power`. Let $M$ be the product of all numerators and denominators of
arguments of log so far. Then $M^{power} \prod_j u_j^{n_j}$ is a polynomial, whose size that of $M^{2 power}$ bounds. A
logarithm that is a sum (P8) has up to two other logarithms and two arguments of exp as terms.
"""

from typing import NamedTuple

import numpy as np

from dualform.prove.size.rational import Bound, Symbols, largest


class Seen(NamedTuple):
    """What a program asked for, in numbers."""

    asked: int = 0  # logarithms
    degree: float = 0.0  # of M
    height: float = 0.0
    terms: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)  # of the sum of all arguments of exp, as a fraction


class Antilogs:
    """Sizes of the arguments of log and exp that this program and the one `before` it have asked for so far."""

    def __init__(self, symbols: Symbols, power: int, products: bool, before: Seen):
        self._symbols, self._power, self._products = symbols, float(power), products
        self._asked, self._degree, self._height, (n, d, h, c) = before
        self._total = symbols.bound(np.asarray(n), np.asarray(h))
        if d or c:
            symbol = symbols.new(d, c)
            self._total = symbols.wide(self._total)
            self._total.e[symbol] = 1.0

    @property
    def seen(self) -> Seen:
        n, d, h, c = self._symbols.fraction(self._total)
        places = largest(self._total.k)
        return Seen(self._asked, self._degree, self._height, (largest(n), largest(d), largest(h) + places, largest(c)))

    def power(self, shape: tuple[int, ...]) -> Bound:
        """The factor of an exponential."""
        s, w = self._symbols, self._power
        if not w or not self._asked:
            return s.constant(np.ones(shape))
        factor = s.bound(np.full(shape, 2 * w * self._degree), np.full(shape, 2 * w * self._height))
        symbol = s.new(self._degree, self._height, ("antilogs", self._asked))
        factor = s.wide(factor)
        factor.e[symbol] = w
        return factor

    def argument(self, a: Bound) -> None:
        """Notes arguments of exp, which a logarithm may have as terms."""
        if self._products and a.n.size:
            self._total = self._symbols.plus(self._total, self._symbols.along(a.map(np.ravel), 0))

    def logarithm(self, u: Bound) -> Bound:
        """Notes arguments of log, and bounds their logarithms."""
        s = self._symbols
        above, below, high, low = s.fraction(u)
        varies = u.n > -np.inf
        self._degree += float(np.sum(np.where(varies, above + below, 0.0)))
        self._height += float(np.sum(np.where(varies, high + u.k + low, 0.0)))
        self._asked += u.n.size
        if not self._products:
            return s.variable(u.shape)
        terms = s.plus(self._total, s.plus(s.variable(()), s.variable(())))
        # each of them up to twice; 5/2 has a binary place more, as a half of a sum has
        sums = s.times(terms, s.constant(np.asarray(2.5)))
        return s.plus(s.variable(u.shape), sums.map(lambda y: np.broadcast_to(y, u.shape)))
