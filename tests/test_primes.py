"""Drawn moduli: primality judged by sympy, not by the code that found them; chances by counting."""

import math
import time
from collections import Counter

import numpy as np
import pytest
import sympy

from dualform.prove import primes
from dualform.prove.primes import ATTEMPTS, CANDIDATES, chance_of_division, is_safe, safe_prime, safe_primes

DRAWN = safe_primes(np.random.default_rng(0), 400)


def test_every_one_is_a_safe_prime_of_the_range():
    for p in DRAWN:
        assert 2**60 < p < 2**61
        assert sympy.isprime(p), p
        assert sympy.isprime((p - 1) // 2), p


def test_four_generates_the_squares():
    """4 is a square other than 1, so its order is q, the only non-trivial divisor of the group's order."""
    assert all(pow(4, (p - 1) // 2, p) == 1 for p in DRAWN)


def test_draws_are_all_over_the_range():
    """Counts in eight equal parts: chi-squared with 7 degrees of freedom is below 40 but for one seed in 10**6."""
    counts = Counter((p - 2**60) >> 57 for p in DRAWN)
    expected = len(DRAWN) / 8
    assert sum((counts[i] - expected) ** 2 / expected for i in range(8)) < 40


@pytest.mark.parametrize("r", [5, 7, 11])
def test_draws_are_in_all_classes_that_a_safe_prime_may_be_in(r):
    """Not 0 (a divisor of p) and not 1 (a divisor of q) modulo r, and every other class about as often."""
    counts = Counter(p % r for p in DRAWN)
    assert set(counts) == set(range(2, r))
    expected = len(DRAWN) / (r - 2)
    assert sum((n - expected) ** 2 / expected for n in counts.values()) < 50


def test_seeds_have_primes_of_their_own():
    again = safe_primes(np.random.default_rng(0), 5)
    others = [p for seed in range(1, 40) for p in safe_primes(np.random.default_rng(seed), 3)]
    assert again == DRAWN[:5]
    assert len({*others, *DRAWN}) == len(others) + len(DRAWN)


def test_a_draw_takes_milliseconds():
    """The median, since other programs run beside the tests."""
    rng, seconds = np.random.default_rng(1), []
    for _ in range(30):
        started = time.perf_counter()
        safe_prime(rng)
        seconds.append(time.perf_counter() - started)
    assert np.median(seconds) < 0.01


def test_is_safe_agrees_with_sympy():
    rng = np.random.default_rng(2)
    numbers = [12 * int(k) + 11 for k in rng.integers(10, 2000, 500)] + [
        12 * int(k) + 11 for k in rng.integers(2**56, 2**57, 500)
    ]
    safe = [n for n in numbers if is_safe(n)]
    assert safe == [n for n in numbers if sympy.isprime(n) and sympy.isprime(n // 2)]
    assert len(safe) > 20


PSEUDOPRIMES = (2047, 3215031751, 3825123056546413051, 341550071728321, 318665857834031151167461)
"""Composite, and strong probable primes to base 2, to 2..7, to 2..23, to 2..17, to 2..37."""


@pytest.mark.parametrize("n", PSEUDOPRIMES[:-1])
def test_strong_pseudoprimes_are_composite(n):
    assert not sympy.isprime(n)
    assert not primes._is_prime(n)


def test_the_test_is_used_only_where_it_is_proved():
    """The least composite that passes all twelve bases, known since 2015, is far above the range."""
    assert primes._is_prime(PSEUDOPRIMES[-1]) and not sympy.isprime(PSEUDOPRIMES[-1])
    assert 2**61 < PSEUDOPRIMES[-1]


@pytest.mark.parametrize("r", [3, 5, 7, 13, 1000003])
def test_neither_q_nor_p_alone_makes_a_safe_prime(r):
    """p = 2 q + 1 with q prime and p composite, and with p prime and q composite."""
    only_q = next(q for q in iter_primes(2**59) if not sympy.isprime(2 * q + 1))
    only_p = next(p for p in iter_primes(2**60) if not sympy.isprime(p // 2) and p % 4 == 3)
    assert not is_safe(2 * only_q + 1) and not is_safe(only_p)
    assert not is_safe(r * sympy.nextprime(2**60 // r) * 2 + 1)


def iter_primes(n):
    while True:
        n = sympy.nextprime(n)
        yield n


# the chance of a bad prime --------------------------------------------------------------------------------------------


def test_candidates_fill_the_range():
    """All numbers that are 11 modulo 12 between 2**60 and 2**61, and no others."""
    first = primes._lowest()
    last = first + 12 * (CANDIDATES - 1)
    assert first % 12 == 11 and first - 12 < 2**60 <= first
    assert last < 2**61 <= last + 12


def test_the_bound_on_the_chance_of_a_prime_is_above_the_truth():
    """One candidate in some 217 is a safe prime, so one prime has 217 / M of the chance; (P5) says 8192 / M.

    A count of the candidates that are safe: within six standard deviations of what Hardy and Littlewood conjecture.
    """
    rng, count = np.random.default_rng(3), 40_000
    candidates = rng.integers(0, CANDIDATES, count, dtype=np.uint64) * np.uint64(12) + np.uint64(primes._lowest())
    found = sum(is_safe(int(p)) for p in primes._sieved(candidates))
    density = 12 * 2 * 0.6601618158 / (math.log(1.5 * 2**60) * math.log(1.5 * 2**59)) / 2
    assert abs(found - count * density) < 6 * math.sqrt(count * density)
    assert ATTEMPTS > 30 / density  # it never gives up in practice: exp(-30)


def test_every_prime_of_a_small_range_is_drawn_as_often(monkeypatch):
    """The same sampler where all safe primes can be listed: (P5) holds for each of them, and none is preferred."""
    monkeypatch.setattr(primes, "CANDIDATES", 2000)
    lowest = primes._lowest()
    listed = [p for p in range(lowest, lowest + 12 * 2000, 12) if sympy.isprime(p) and sympy.isprime(p // 2)]
    rng, draws = np.random.default_rng(4), 1500
    counts = Counter(safe_prime(rng) for _ in range(draws))
    assert set(counts) <= set(listed)
    expected = draws / len(listed)
    assert sum((counts[p] - expected) ** 2 / expected for p in listed) < len(listed) + 8 * math.sqrt(2 * len(listed))


def test_a_range_without_safe_primes_is_given_up(monkeypatch):
    monkeypatch.setattr(primes, "is_safe", lambda p: False)
    with pytest.raises(RuntimeError, match="no safe prime among 8192 random candidates: the random generator"):
        safe_prime(np.random.default_rng(0))


def test_the_chance_that_a_drawn_prime_divides():
    """Of a product of k primes of the range, each is drawn with at most A / M: the bound is at least k A / M."""
    for k in (1, 5, 400):
        height = math.log2(math.prod(DRAWN[:k]))
        assert chance_of_division(height) >= k * ATTEMPTS / CANDIDATES
        halves = math.log2(math.prod(p // 2 for p in DRAWN[:k]))
        assert chance_of_division(halves) >= k * ATTEMPTS / CANDIDATES * (1 - 1e-12)
    assert chance_of_division(0) == 0
    assert ATTEMPTS / CANDIDATES < 2**-43
