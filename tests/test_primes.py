"""The committed moduli: primality judged by sympy, not by the code that found them."""

import sympy

from dualform.prove.primes import OFFSETS, SAFE_PRIMES, SIZE


def test_there_are_many_and_all_are_different():
    assert len(SAFE_PRIMES) >= 64
    assert len(set(SAFE_PRIMES)) == len(SAFE_PRIMES) == len(OFFSETS)


def test_every_one_is_a_safe_prime():
    for p in SAFE_PRIMES:
        assert sympy.isprime(p), p
        assert sympy.isprime((p - 1) // 2), p


def test_they_lie_just_below_2_to_the_61():
    """The field's folding of products needs 2**61 - p < 2**18."""
    assert all(0 < 2**SIZE - p < 2**18 for p in SAFE_PRIMES)
    assert list(SAFE_PRIMES) == sorted(SAFE_PRIMES, reverse=True)


def test_they_are_the_largest_ones_without_a_gap():
    """Nobody chose which safe primes to leave out. A safe prime above 7 is 11 modulo 12."""
    first = (2**SIZE - SAFE_PRIMES[-1]) // 12 * 12
    candidates = (2**SIZE - c for c in range(1, first + 12) if (2**SIZE - c) % 12 == 11)
    found = [p for p in candidates if p >= SAFE_PRIMES[-1] and sympy.isprime((p - 1) // 2) and sympy.isprime(p)]
    assert found == list(SAFE_PRIMES)


def test_the_mersenne_prime_is_not_among_them():
    """Modulo 2**61 - 1 every power 2**61 in a program is 1."""
    assert 2**61 - 1 not in SAFE_PRIMES


def test_four_generates_the_squares():
    """4 is a square other than 1, so its order is q, the only non-trivial divisor of the group's order."""
    assert all(pow(4, (p - 1) // 2, p) == 1 for p in SAFE_PRIMES)
