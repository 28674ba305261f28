"""Vectorised arithmetic modulo p and q against Python's own integers."""

import math

import numpy as np
import pytest
import sympy

from dualform.prove.field import BLOCK, PrimeField
from dualform.prove.primes import safe_primes

P, OTHER = safe_primes(np.random.default_rng(0), 2)
MODULI = {
    "p": P, "q": P // 2, "another p": OTHER, "its q": OTHER // 2,
    "smallest": sympy.nextprime(2**59), "largest": sympy.prevprime(2**61),
    "above 2**60": sympy.nextprime(2**60), "below 2**60": sympy.prevprime(2**60),
}  # fmt: skip
rings = pytest.mark.parametrize("ring", [PrimeField(m) for m in MODULI.values()], ids=MODULI.keys())


def worst(ring: PrimeField) -> list[int]:
    """Residues at the edges of limbs, words and of the field."""
    edges = [m + d for k in (0, 1, 21, 30, 31, 32, 40, 42, 52, 53, 59, 60) for m in (1 << k,) for d in (-1, 0, 1)]
    m = ring.modulus
    return sorted({x % m for x in [*edges, m - 1, m - 2, m // 2, m // 2 + 1, m - (1 << 21), m - (1 << 31)]})


def pairs(ring: PrimeField) -> tuple[list[int], list[int]]:
    """All pairs of edges, and random ones."""
    edges = worst(ring)
    a, b = [x for x in edges for _ in edges], [y for _ in edges for y in edges]
    rng = np.random.default_rng(0)
    more = [[int(x) for x in ring.random(rng, (500,))] for _ in range(2)]
    return a + more[0], b + more[1]


def words(x) -> np.ndarray:
    return np.array(x, np.uint64)


def ints(x) -> list:
    return np.asarray(x).tolist()


@rings
@pytest.mark.parametrize(
    "name, exact",
    [("add", lambda a, b: a + b), ("sub", lambda a, b: a - b), ("mul", lambda a, b: a * b)],
    ids=["add", "sub", "mul"],
)
def test_binary_operations(ring, name, exact):
    a, b = pairs(ring)
    got = getattr(ring, name)(words(a), words(b))
    assert got.dtype == np.uint64
    assert ints(got) == [exact(x, y) % ring.modulus for x, y in zip(a, b, strict=True)]


@rings
def test_binary_operations_broadcast_and_take_scalars(ring):
    a, b = words([[1], [ring.modulus - 1]]), words([5, ring.modulus - 2, 7])
    for name, exact in (("add", int.__add__), ("sub", int.__sub__), ("mul", int.__mul__)):
        got = getattr(ring, name)(a, b)
        assert ints(got) == [[exact(x, y) % ring.modulus for y in ints(b)] for x in ints(a.ravel())]
        scalar = getattr(ring, name)(words(ring.modulus - 1), words(ring.modulus - 1))
        assert int(scalar) == exact(ring.modulus - 1, ring.modulus - 1) % ring.modulus


@rings
def test_negation(ring):
    a = worst(ring)
    assert ints(ring.neg(words(a))) == [-x % ring.modulus for x in a]


@rings
def test_reduction_of_any_word(ring):
    a = [
        0,
        1,
        2**63,
        2**64 - 1,
        2**61 - 1,
        2**61,
        2**61 + 1,
        2**62,
        *(k * ring.modulus + d for k in range(1, 8) for d in (-1, 0, 1)),
    ]
    a = [x for x in a if x < 2**64]
    assert ints(ring.reduce(words(a))) == [x % ring.modulus for x in a]


@rings
@pytest.mark.parametrize(
    "shape",
    [(1, 1, 1), (3, 4, 5), (2, 0, 3), (0, 2, 3), (1, BLOCK, 1), (2, BLOCK + 1, 2), (1, 3 * BLOCK + 7, 1)],
    ids=str,
)
def test_matmul(ring, shape):
    """Every entry m - 1 makes the largest possible limb products and sums; random ones catch a wrong limb."""
    m, k, n = shape
    rng = np.random.default_rng(1)
    largest = np.full((m, k), ring.modulus - 1, np.uint64), np.full((k, n), ring.modulus - 1, np.uint64)
    assert ints(ring.matmul(*largest)) == [[k % ring.modulus] * n for _ in range(m)]
    a, b = ring.random(rng, (m, k)), ring.random(rng, (k, n))
    exact = a.astype(object) @ b.astype(object) % ring.modulus if k else np.zeros((m, n), int)
    assert ints(ring.matmul(a, b)) == ints(exact)


@rings
def test_batched_matmul(ring):
    rng = np.random.default_rng(2)
    a, b = ring.random(rng, (2, 3, 4, 5)), ring.random(rng, (2, 3, 5, 6))
    assert ints(ring.matmul(a, b)) == ints(np.matmul(a.astype(object), b.astype(object)) % ring.modulus)


@rings
@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 2), (0, 1, 2), ()], ids=str)
def test_sums_and_products_over_axes(ring, axes):
    a = ring.random(np.random.default_rng(3), (3, 4, 5))
    a[0] = ring.modulus - 1
    big = a.astype(object)
    for axis in sorted(axes, reverse=True):
        big = np.add.reduce(big, axis)
    assert ints(ring.sum(a, axes)) == ints(big % ring.modulus)
    big = a.astype(object)
    for axis in sorted(axes, reverse=True):
        big = np.multiply.reduce(big, axis)
    assert ints(ring.prod(a, axes)) == ints(big % ring.modulus)


@rings
def test_sums_of_many_largest_residues(ring):
    n = 100_000
    assert int(ring.sum(np.full(n, ring.modulus - 1, np.uint64), (0,))) == -n % ring.modulus


@rings
def test_empty_sums_and_products(ring):
    empty = np.zeros((0, 3), np.uint64)
    assert ints(ring.sum(empty, (0,))) == [0, 0, 0]
    assert ints(ring.prod(empty, (0,))) == [1, 1, 1]


@rings
@pytest.mark.parametrize("length", [1, 2, 3, 8, 13])
@pytest.mark.parametrize("axis", [0, 1])
def test_running_sums_and_products(ring, length, axis):
    a = ring.random(np.random.default_rng(length), (length, length))
    a[0] = ring.modulus - 1
    big = a.astype(object)
    assert ints(ring.cumsum(a, axis)) == ints(np.cumsum(big, axis) % ring.modulus)
    assert ints(ring.cumprod(a, axis)) == ints(np.cumprod(big, axis) % ring.modulus)
    assert ints(a) == ints(big), "operands are left alone"


@rings
@pytest.mark.parametrize("n", [0, 1, 2, 3, 10, 61, 1000])
def test_powers(ring, n):
    a = worst(ring)
    assert ints(ring.power(words(a), n)) == [pow(x, n, ring.modulus) for x in a]


@rings
@pytest.mark.parametrize("size", [0, 1, 2, 3, 7, 64])
def test_inverses(ring, size):
    a = [x for x in worst(ring) if x][:size]
    assert ints(ring.inverse(words(a))) == [pow(x, -1, ring.modulus) for x in a]


@rings
def test_inverses_keep_shapes(ring):
    a = ring.random(np.random.default_rng(4), (3, 5))
    assert ints(ring.mul(a, ring.inverse(a))) == [[1] * 5] * 3
    assert int(ring.inverse(words(2))) == pow(2, -1, ring.modulus)


@rings
def test_zero_has_no_inverse(ring):
    with pytest.raises(ZeroDivisionError, match="zero"):
        ring.inverse(words([1, 0, 2]))


@rings
def test_add_at_adds_up_repeated_elements(ring):
    top = ring.modulus - 1
    got = ring.add_at(words([top, 1, 2]), np.array([0, 0, 2, 0]), words([top, top, 5, 7]))
    assert ints(got) == [(3 * top + 7) % ring.modulus, 1, 7]


@rings
def test_floats_are_dyadic_rationals(ring):
    tiny, huge = 5e-324, 1.7976931348623157e308
    x = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.5,
        -0.75,
        0.1,
        float(np.float32(0.1)),
        2.0**61,
        -(2.0**61),
        2.0**-61,
        math.pi,
        tiny,
        -huge,
    ]
    x += [float(v) for v in np.random.default_rng(5).standard_normal(50)]

    def exact(v):
        numerator, denominator = v.as_integer_ratio()
        return numerator * pow(denominator, -1, ring.modulus) % ring.modulus

    assert ints(ring.from_float(np.array(x))) == [exact(v) for v in x]
    assert int(ring.from_float(np.array(-0.375))) == exact(-0.375)
    assert ring.from_float(np.zeros((2, 0))).shape == (2, 0)


@rings
def test_integers(ring):
    info = np.iinfo(np.int64)
    x = np.array([0, 1, -1, info.max, info.min, 2**61, -(2**61), ring.modulus, -ring.modulus])
    assert ints(ring.from_int(x)) == [int(v) % ring.modulus for v in x]
    assert ints(ring.from_int(np.array([2**64 - 1, ring.modulus], np.uint64))) == [(2**64 - 1) % ring.modulus, 0]
    assert ints(ring.from_int(np.array([True, False]))) == [1, 0]
    assert ints(ring.from_int(np.array([-5, 5], np.int32))) == [ring.modulus - 5, 5]


@rings
def test_random_residues_fill_the_field(ring):
    x = ring.random(np.random.default_rng(6), (4000,))
    assert int(x.max()) < ring.modulus
    shares = np.histogram(x.astype(float), 4, (0.0, float(ring.modulus)))[0] / len(x)
    assert np.all(np.abs(shares - 0.25) < 5 * math.sqrt(0.25 * 0.75 / len(x)))  # five standard deviations


@pytest.mark.parametrize("seed", range(25))
def test_products_modulo_many_moduli(seed):
    """Estimated quotients are right whatever the modulus; any odd one will do, a prime or not."""
    rng = np.random.default_rng(seed)
    p = int(rng.integers(2**60, 2**61)) | 1
    for m in (p, p // 2 | 1):
        ring = PrimeField(m)
        a, b = pairs(ring)
        assert ints(ring.mul(words(a), words(b))) == [x * y % m for x, y in zip(a, b, strict=True)]
        wide = [int(x) for x in rng.integers(0, 2**64, 200, dtype=np.uint64)]
        wide += [m * k + d for k in (1, 7) for d in (-1, 0)]
        assert ints(ring.reduce(words(wide))) == [x % m for x in wide]
        left, right = ring.random(rng, (3, 50)), ring.random(rng, (50, 3))
        assert ints(ring.matmul(left, right)) == ints(left.astype(object) @ right.astype(object) % m)


@pytest.mark.parametrize("m", [MODULI["smallest"], P // 2, P, MODULI["largest"]], ids=["smallest", "q", "p", "largest"])
def test_products_next_to_a_multiple_of_the_modulus(m):
    """Where a product is 0, 1 or -1 modulo m, the exact quotient is next to a whole number: either side of it."""
    ring, rng = PrimeField(m), np.random.default_rng(8)
    a = [x for x in worst(ring) if x] + [int(x) for x in ring.random(rng, (500,)) if x]
    for target in (1, 2, m - 1, m - 2, 0):
        b = [target * pow(x, -1, m) % m for x in a]
        assert ints(ring.mul(words(a), words(b))) == [target] * len(a)
        assert ints(ring.mul(words(b), words(a))) == [target] * len(a)
        rows = ring.matmul(words(a)[:, None, None], words(b)[:, None, None])
        assert ints(rows.ravel()) == [target] * len(a)


def test_nothing_warns_where_words_wrap():
    ring = PrimeField(MODULI["largest"])
    with np.errstate(all="raise"):
        for top in (np.uint64(ring.modulus - 1), words(ring.modulus - 1), words([ring.modulus - 1])):
            assert ints(ring.mul(top, top)) in (1, [1])
            assert ints(ring.sub(np.uint64(0), top)) in (1, [1])
            assert ints(ring.add(top, top)) in (ring.modulus - 2, [ring.modulus - 2])
            assert ints(ring.reduce(top)) in (ring.modulus - 1, [ring.modulus - 1])


@pytest.mark.parametrize("modulus", [7, 2**59 - 55, 2**61, 2**60 + 2, 2**61 + 1, 2**62 + 1])
def test_moduli_out_of_range_are_refused(modulus):
    with pytest.raises(ValueError, match=r"modulus: expected an odd prime between 2\*\*59 and 2\*\*61, got"):
        PrimeField(modulus)
