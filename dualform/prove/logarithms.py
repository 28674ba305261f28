r"""Products that relate the arguments of logarithms, found and proved modulo a prime.

The log of a sum of exponentials is guarded: $\log \sum_i e^{x_i - m} + m = \log \sum_i e^{x_i}$. Let $u_1, u_2, \dots$
be all arguments of log in both programs, and $a_1, a_2, \dots$ those of exp. Where

$$ u_i^r = u_j^{s} u_l^{t} \, e^{a_k - a_h}, \qquad s, t \in \{-1, 0, 1\}, \; r \in \{1, 2\}, \tag{P8} $$

each factor being optional and before $u_i$ in the order of the program, the logarithm of $u_i$ is the sum of those of
the factors, divided by r: where an identity is claimed all arguments of logarithms are positive. The other logarithms
are variables. Like (P2), a product is found with a prime and points that serve no trial, and each trial checks it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np

from dualform.prove.field import PrimeField

Numbers = Sequence | np.ndarray
MOST_PAIRS, MOST = 12, 200
"""Different arguments beyond which products with two other arguments, or with any, are not searched."""


@dataclass(frozen=True)
class Product:
    """(P8) without its left side."""

    root: int = 1  # r
    logs: tuple[tuple[int, int], ...] = ()  # (logarithm, 1 or -1)
    arguments: tuple[tuple[int, int], ...] = ()  # (argument of exp, 1 or -1)

    def value(self, antilogs: Numbers, powers: Numbers, p: int) -> int:
        """The right side, modulo p."""
        out = 1
        for known, factors in ((antilogs, self.logs), (powers, self.arguments)):
            for i, n in factors:
                out = out * power(int(known[i]), n, p) % p
        return out

    def logarithm(self, logarithms: Numbers, arguments: Numbers, p: int) -> int:
        """The logarithm of u, modulo p."""
        parts = ((logarithms, self.logs), (arguments, self.arguments))
        total = sum(n * int(known[i]) for known, factors in parts for i, n in factors)
        return total * pow(self.root, -1, p) % p

    def holds(self, u: int, antilogs: Numbers, powers: Numbers, p: int) -> bool:
        """(P8) at a point."""
        return pow(u, self.root, p) == self.value(antilogs, powers, p)


def power(u: int, n: int, p: int) -> int:
    """u^n modulo p. The logarithm of 0 is undefined, and so is what is computed from it: here any number will do."""
    return pow(u, n, p) if u % p else 0


def hold(products: Mapping[int, Product], antilogs: Numbers, powers: Numbers, p: int) -> bool:
    """(P8) at the point of a run."""
    return all(product.holds(int(antilogs[i]), antilogs, powers, p) for i, product in products.items())


def find(seen: Sequence[tuple[np.ndarray, np.ndarray]], before: Sequence[int], ring: PrimeField) -> dict[int, Product]:
    """The arguments of log that are products, each of such as are none.

    Args:
        seen: arguments of log, and the values of all exponentials, at each of two points.
        before: for each argument of log, how many exponentials came before it.
        ring: the prime field.
    """
    found: dict[int, Product] = {}
    (antilogs, powers), _ = seen
    base: list[int] = []
    kinds: dict[tuple, int] = {}
    for i in range(len(antilogs)):
        same = kinds.setdefault(tuple(int(u[i]) for u, _ in seen), i)
        if same != i:
            found[i] = Product(logs=((same, 1),)) if same not in found else found[same]
            continue
        if len(kinds) > MOST:
            break
        product = _product(int(antilogs[i]), antilogs, powers[: before[i]], base, ring) if antilogs[i] else None
        if product is not None and all(product.holds(int(u[i]), u, e, ring.modulus) for u, e in seen):
            found[i] = product
        elif antilogs[i]:
            base.append(i)
    return found


def _product(u: int, antilogs: np.ndarray, powers: np.ndarray, base: Sequence[int], ring: PrimeField) -> Product | None:
    """u as a product (P8), the simplest first."""
    values, p = np.append(powers, np.uint64(1)), ring.modulus
    order = np.argsort(values, kind="stable")
    for root, logs in _choices(base):
        rest = pow(u, root, p) * pow(Product(logs=logs).value(antilogs, powers, p), -1, p) % p
        wanted = ring.mul(values, np.full(values.shape, rest, np.uint64))  # e^{a_k} = rest e^{a_h}
        place = order[np.minimum(np.searchsorted(values[order], wanted), len(values) - 1)]
        hits = np.flatnonzero(values[place] == wanted)
        if len(hits) and (logs or len(powers)):
            h, k = int(hits[-1]), int(place[hits[-1]])
            return Product(root, logs, tuple((i, n) for i, n in ((k, 1), (h, -1)) if i < len(powers) and k != h))
    return None


def _choices(base: Sequence[int]) -> Iterator[tuple[int, tuple[tuple[int, int], ...]]]:
    """r, and none, one or two of the arguments that are no products, each as a factor or divisor."""
    yield 1, ()
    signed = [(i, n) for i in base for n in (1, -1)]
    for root in (1, 2):
        yield from ((root, (factor,)) for factor in signed)
        if len(base) <= MOST_PAIRS:
            yield from ((root, pair) for pair in combinations_with_replacement(signed, 2))
