r"""Safe primes between $2^{60}$ and $2^{61}$: every trial of a proof draws its own, after the programs are fixed.

A float constant is an integer times a power of two, so a program may contain $2^{61}$ exactly, and modulo the Mersenne
prime $2^{61} - 1$ the function $x \mapsto 2^{61} x$ *is* the identity. No fixed prime is safe from such accidents, and
no list of primes either: a program may contain the product of the list. Each prime here is safe, $p = 2q + 1$ with $q$
prime, so that the squares form a group of prime order $q$: exponents live in the field $\mathbb{Z}_q$ and may be
divided, which the log-domain arithmetic needs (see `dualform.prove.modular`).

**The chance of a bad prime, without an assumption.** Every safe prime above 7 is 11 modulo 12. The sampler draws
candidates $12 k + 11$ uniformly from the $M = 2^{60} / 12$ of the range, one after the other, and returns the first
that is a safe prime; it gives up after $A = 8192$. Let $B$ be any set of primes that was fixed before the draw. The
prime returned is one of at most $A$ uniform candidates, each of which lies in $B$ with probability $|B| / M$, so

$$ P[p \in B] \le A\, |B| / M, \qquad A / M < 2^{-43}. \tag{P5} $$

No theorem says how many safe primes there are, and none is needed. If they are as dense as Hardy and Littlewood
conjecture (4.4e14 in the range), and as samples show, one candidate in 217 is one: (P5) is 38 times larger than the
truth, and the sampler gives up with probability 4e-17.

A number $n \ne 0$ below $2^H$ has fewer than $H / 59$ prime divisors above $2^{59}$. For each trial, then,

$$ P[p \mid n] \le \frac{H}{59} \cdot \frac{A}{M}, \qquad P[q \mid n] \le \frac{H}{59} \cdot \frac{A}{M}. \tag{P6} $$
"""

import secrets
from functools import cache

import numpy as np

SIZE = 61
"""Bits of every prime."""
CANDIDATES = (1 << (SIZE - 1)) // 12
"""Numbers that are 11 modulo 12 between 2**60 and 2**61: M of (P5)."""
ATTEMPTS = 1 << 13
"""Candidates that are looked at before the sampler gives up: A of (P5)."""
BLOCK = 512
"""Candidates that are sieved at once."""
SIEVE = 256
"""Candidates are sieved by the primes below this."""
WITNESSES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)
"""Bases for which the Miller-Rabin test decides all numbers below 2**81 (Sorenson and Webster 2015)."""


def system_seed() -> int:
    """64 bits of the system's entropy, for a proof whose programs are fixed by now."""
    return secrets.randbits(64)


def chance_of_division(height: float) -> float:
    """Bound (P6) on the chance that a prime drawn here, or its q, divides a number n, 0 < |n| < 2**height."""
    return height / (SIZE - 2) * ATTEMPTS / CANDIDATES


def safe_primes(rng: np.random.Generator, count: int) -> tuple[int, ...]:
    """Independent draws, of which two are equal by chance only.

    Cost: about a millisecond each.
    """
    return tuple(safe_prime(rng) for _ in range(count))


def safe_prime(rng: np.random.Generator) -> int:
    """The first safe prime among uniform candidates.

    Raises:
        RuntimeError: there was none among `ATTEMPTS` candidates, which befalls one sound draw in 10**16.
    """
    for _ in range(ATTEMPTS // BLOCK):
        candidates = rng.integers(0, CANDIDATES, BLOCK, dtype=np.uint64) * np.uint64(12) + np.uint64(_lowest())
        for p in _sieved(candidates):
            if is_safe(int(p)):
                return int(p)
    raise RuntimeError(f"no safe prime among {ATTEMPTS} random candidates: the random generator {rng!r} is broken")


def is_safe(p: int) -> bool:
    """Whether an odd p > 7 below 2**81 is a prime 2 q + 1 with q prime.

    Once q is known to be prime, one power decides p (Pocklington): 4 has order q modulo every prime divisor r of p, as
    gcd(4 - 1, p) = 1; so q divides r - 1, and r > q is more than the square root of p.
    """
    q = p // 2
    return pow(2, q - 1, q) == 1 and p % 3 != 0 and pow(4, q, p) == 1 and _is_prime(q)


def _is_prime(n: int) -> bool:
    """Miller and Rabin's test for an odd n above 37."""
    odd, twos = n - 1, 0
    while not odd & 1:
        odd, twos = odd >> 1, twos + 1
    return all(_passes(pow(a, odd, n), twos, n) for a in WITNESSES)


def _passes(x: int, twos: int, n: int) -> bool:
    if x in (1, n - 1):
        return True
    for _ in range(twos - 1):
        x = x * x % n
        if x == n - 1:
            return True
    return False


@cache
def _lowest() -> int:
    """The smallest candidate: the first number from 2**60 on that is 11 modulo 12."""
    return (1 << (SIZE - 1)) + (11 - (1 << (SIZE - 1))) % 12


@cache
def _small_primes() -> tuple[np.uint64, ...]:
    return tuple(np.uint64(r) for r in range(5, SIEVE) if all(r % d for d in range(2, int(r**0.5) + 1)))


def _sieved(candidates: np.ndarray) -> np.ndarray:
    """In the same order, without those where a small prime divides p or q = (p - 1) / 2."""
    for r in _small_primes():
        candidates = candidates[candidates % r > np.uint64(1)]
    return candidates
