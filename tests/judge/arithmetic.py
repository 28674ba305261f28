"""Batteries for what is below a proof: residues, primes, constants, moved elements, balls."""

import math
from fractions import Fraction
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
from jax import lax

from dualform.prove import concrete, domains, lowered, structure
from dualform.prove.enclosure import Ball, Enclosure, balls, enclose
from dualform.prove.errors import ProofError
from dualform.prove.exponential import Fresh, Powers
from dualform.prove.field import PrimeField
from dualform.prove.pivots import Odometer
from dualform.prove.primes import _is_prime, chance_of_division, is_safe, safe_prime, safe_primes
from dualform.prove.programs import Program, Signature

RNG = np.random.default_rng(0)
P = safe_prime(np.random.default_rng(7))


def words(shape, m: int = P) -> np.ndarray:
    """Residues, the ends among them, and many that are within a few units of a multiple of m over another."""
    x = RNG.integers(0, m, shape, dtype=np.uint64)
    ends = np.array([0, 1, 2, m - 1, m - 2, m // 2, m // 3 + 1], np.uint64)
    return np.where(RNG.random(shape) < 0.3, RNG.choice(ends, shape), x)


def field() -> None:
    """Residues against Python's integers."""
    ring = PrimeField(P)
    a, b = words(20_000), words(20_000)
    one, two = a.astype(object), b.astype(object)
    for name, found, exact in (
        ("mul", ring.mul(a, b), one * two), ("add", ring.add(a, b), one + two), ("sub", ring.sub(a, b), one - two),
        ("neg", ring.neg(a), -one), ("power", ring.power(a, 5), one**5),
    ):  # fmt: skip
        assert np.array_equal(found.astype(object), exact % P), name
    # products that are a little less than a multiple of the modulus: a quotient that is estimated too large fails there
    near = words(2000)
    near = near[near > 2]
    for less in (0, 1, 2):
        other = np.array([pow(int(x), -1, P) * (P - less) % P for x in near], np.uint64)
        assert np.array_equal(ring.mul(near, other), np.full(len(near), (P - less) % P, np.uint64)), (
            "mul near a multiple"
        )
    for x in (RNG.integers(0, 2**64, 5000, dtype=np.uint64), np.uint64(P) * np.arange(1, 8, dtype=np.uint64)):
        assert np.array_equal(ring.reduce(x).astype(object), x.astype(object) % P), "reduce"
    whole = np.array([-(2**63), -1, -2, 0, 1, 2**63 - 1, -P % 2**62], np.int64)
    assert [int(x) for x in ring.from_int(whole)] == [int(x) % P for x in whole], "from_int"
    reals = np.concatenate([RNG.standard_normal(50) * 10.0 ** RNG.integers(-30, 30, 50), [0.1, -2.5, 0.0, 2.0**61]])
    exact = [Fraction(x).numerator * pow(Fraction(x).denominator, -1, P) % P for x in reals]
    assert [int(x) for x in ring.from_float(reals)] == exact, "from_float"
    full = ((P >> 42) - 1 << 42) + 2**42 - 1  # limbs as large as they come
    for k in (3, 2047, 2048, 2049, 6149, 20_001):
        x, y = np.full((2, k), full, np.uint64), np.full((k, 1), full, np.uint64)
        x[1] = words(k)
        found = ring.matmul(x, y).astype(object)
        assert np.array_equal(found, x.astype(object) @ y.astype(object) % P), f"matmul of {k} terms"
    table = words((5, 7))
    exact_table = table.astype(object)
    assert np.array_equal(ring.sum(table, (0,)).astype(object), exact_table.sum(0) % P), "sum"
    assert np.array_equal(ring.cumsum(table, 1).astype(object), exact_table.cumsum(1) % P), "cumsum"
    assert np.array_equal(ring.prod(table, (1,)).astype(object), exact_table.prod(1) % P), "prod"
    assert np.array_equal(ring.cumprod(table, 1).astype(object), np.cumprod(exact_table % P, 1) % P), "cumprod"
    many = ring.add_at(np.zeros(2, np.uint64), np.zeros(40, int), np.full(40, P - 1, np.uint64))
    assert int(many[0]) == 40 * (P - 1) % P, "add_at"
    units = words(9)
    units = units[units > 0]
    assert all(int(x) * int(y) % P == 1 for x, y in zip(units, ring.inverse(units), strict=True)), "inverse"


def draws() -> None:
    """Points and primes come from all of the sets that the failure probabilities divide by."""
    ring = PrimeField(P)
    drawn = ring.random(np.random.default_rng(1), (4000,)).astype(float)
    assert drawn.max() > 0.99 * P and abs(drawn.mean() / P - 0.5) < 0.05 and len(np.unique(drawn)) == 4000
    assert abs(np.mean(drawn % 2) - 0.5) < 0.05 or drawn.max() > 2**53  # float64 cannot tell odd from even above
    primes = safe_primes(np.random.default_rng(2), 24)
    share = np.array([(p - 2**60) / 2**60 for p in primes])
    assert len(set(primes)) == 24 and 0 <= share.min() < 0.2 and 0.8 < share.max() < 1
    for p in primes:
        assert p % 12 == 11 and pow(3, p - 1, p) == 1 and pow(5, p // 2 - 1, p // 2) == 1
    fresh = Fresh(PrimeField(P // 2), np.random.default_rng(3))
    values = fresh.exponent(np.arange(4000, dtype=np.uint64))[0].astype(float)
    assert values[0] == 0 and values.max() > 0.98 * P / 2 and len(np.unique(values)) == 4000
    assert not np.array_equal(fresh.opaque("sin", units := words(50)), fresh.opaque("cos", units))
    assert np.array_equal(fresh.opaque("sin", units), fresh.opaque("sin", units))


def primes() -> None:
    """Safe primes by trial division, pseudoprimes, and the chance of a bad one."""
    plain = [n for n in range(2, 6000) if all(n % d for d in range(2, int(n**0.5) + 1))]
    known = {p for p in plain if p // 2 in plain}
    for p in range(83, 6000, 12):  # 11 modulo 12
        assert is_safe(p) == (p in known), p
    for liar in (2047, 1373653, 25326001, 3215031751, 2152302898747, 341550071728321):
        assert not _is_prime(liar), f"{liar} is no prime, though a strong pseudoprime to small bases"
    # at most H / 59 primes above 2**59 divide n < 2**H; each of 2**13 candidates is one with the chance 12 / 2**60
    for height in (1.0, 59.0, 1e6):
        assert chance_of_division(height) >= height / 59 * 2**13 * 12 / 2**60


def exponentials() -> None:
    """4**h for exponents of any size."""
    ring, group = PrimeField(P), PrimeField(P // 2)
    h = words(300, P // 2)
    assert [int(x) for x in Powers(ring)(h)] == [pow(4, int(x), P) for x in h]
    sums = ring.mul(Powers(ring)(h), Powers(ring)(h[::-1]))
    assert np.array_equal(sums, Powers(ring)(group.add(h, h[::-1])))


def constants() -> None:
    """Floats stay concrete while they are exact in the dtype of the program, and no longer."""
    big, x = np.array(2.0**60), np.array
    for name, result in {
        "2**60 + 1": concrete._sum(big, x(1.0)), "1 + 2**-60": concrete._sum(x(1.0), x(2.0**-60)),
         "a square of 55 bits": concrete._product(x(2.0**27 + 1), x(2.0**27 + 1)),
        "a third": concrete._quotient(x(1.0), x(3.0)), "e": concrete._exp(x(1.0)), "log 2": concrete._log(x(2.0)),
        "root of 2": concrete._sqrt(x(2.0)), "root of -1": concrete._sqrt(x(-1.0)), "1.1**2": concrete._power(x(1.1),
         2),
        "expm1 of 1": concrete._expm1(x(1.0)), "log1p of 1": concrete._log1p(x(1.0)),
    }.items():  # fmt: skip
        assert result is None, f"{name} is rounded, and taken for exact: {result}"
    for name, result, exact in (
        ("3 - 1", concrete._sum(x(3.0), x(-1.0)), 2), ("3 / 4", concrete._quotient(x(3.0), x(4.0)), 0.75),
        ("root of 9/4", concrete._sqrt(x(2.25)), 1.5), ("1.5**3", concrete._power(x(1.5), 3), 3.375),
        ("exp 0", concrete._exp(x(0.0)), 1), ("log 0", concrete._log(x(0.0)), -np.inf),
        ("round half away", concrete._round(x(-2.5), 0), -3), ("round half to even", concrete._round(x(2.5), 1), 2),
    ):  # fmt: skip
        assert result is not None and float(result) == exact, name
    reals = np.array([0.0, 1.0, 0.75, -3.5, 2.0**-40, 3 * 2.0**20, 0.1])
    exact = [0] + [max(Fraction(v).denominator.bit_length() - 1, 0) for v in reals[1:]]
    assert np.array_equal(concrete.binary_places(reals), exact), "binary places"
    half = np.dtype("float32")
    assert not concrete._fits(np.array([1e8 + 1]), half) and concrete._fits(np.array([1e8]), half)
    eqn = SimpleNamespace(params={"axes": (0,)}, outvars=[SimpleNamespace(aval=SimpleNamespace(dtype=half))])
    assert concrete._sums("reduce_sum", eqn, [np.array([2.0**24, 1.0])]) is None
    assert float(concrete._sums("reduce_sum", eqn, [np.array([2.0**23, 1.0])])) == 2.0**23 + 1
    eqn = SimpleNamespace(params={"new_dtype": np.int32})
    assert concrete._convert(eqn, np.array(2.0**31)) is None and int(concrete._convert(eqn, np.array(-2.5))[0]) == -2
    keys = [np.array([1, 0, 1, 0, 1, 0] * 4), np.arange(24)[::-1] // 6]
    by_both = concrete.order(SimpleNamespace(params={"dimension": 0}), keys)
    assert by_both.tolist() == sorted(range(24), key=lambda i: (keys[0][i], keys[1][i])), "sort by two keys"
    one = concrete.order(SimpleNamespace(params={"dimension": 0}), keys[:1])
    assert one.tolist() == sorted(range(24), key=lambda i: keys[0][i]), "a stable sort"


def at(f, *inputs) -> list:
    """The results of a program at a point in balls, as plain numbers."""
    program = Program.trace(f, Signature.of([np.shape(x) for x in inputs]))
    return [x.mid if isinstance(x, Ball) else x for x in enclose(program, [Ball(x, 0.0) for x in inputs])]


X = np.arange(1.0, 13.0).reshape(3, 4)
V = np.arange(1.0, 7.0)
MOVES = {
    "transpose": (lambda x: jnp.transpose(x[None], (2, 0, 1)), X, X.T[:, None]),
    "permutation": (lambda x: jnp.transpose(x.reshape(2, 2, 3), (1, 2, 0)), X, X.reshape(2, 2, 3).transpose(1, 2, 0)),
    "slice": (lambda x: lax.slice(x, (0, 1), (3, 4), (2, 2)), X, X[0:3:2, 1:4:2]),
    "rev": (lambda x: lax.rev(x, (1,)), X, X[:, ::-1]),
    "split": (lambda x: tuple(lax.split(x, (1, 3), axis=1)), X, (X[:, :1], X[:, 1:])),
    "split-of-three": (lambda x: tuple(lax.split(x, (1, 2, 1), axis=1)), X, (X[:, :1], X[:, 1:3], X[:, 3:])),
    "pad": (lambda x: lax.pad(x, 9.0, ((2, 1, 0),)), V, np.array([9, 9, 1, 2, 3, 4, 5, 6, 9.0])),
    "pad-inside": (lambda x: lax.pad(x[:3], 9.0, ((0, 0, 2),)), V, np.array([1, 9, 9, 2, 9, 9, 3.0])),
    "pad-below-zero": (lambda x: lax.pad(x, 9.0, ((-1, -2, 0),)), V, np.array([2, 3, 4.0])),
    "dynamic-slice-beyond": (lambda x: lax.dynamic_slice(x, (np.int32(5),), (3,)), V, np.array([4, 5, 6.0])),
    "dynamic-slice-before": (lambda x: lax.dynamic_slice(x, (np.int32(-9),), (3,)), V, np.array([4, 5, 6.0]) - 3),
    "update": (lambda x: lax.dynamic_update_slice(x, x[:2], (np.int32(9),)), V, np.array([1, 2, 3, 4, 1, 2.0])),
    "select": (lambda x: jnp.where(np.arange(6) > 2, x, -x), V, np.array([-1, -2, -3, 4, 5, 6.0])),
    "concatenate": (lambda x: jnp.concatenate([x[1:], x], axis=0), X, np.concatenate([X[1:], X])),
    "gather": (lambda x: x[np.array([2, 0, -1])], V, np.array([3, 1, 6.0])),
    "tile": (lambda x: jnp.tile(x, (2, 1)), X, np.tile(X, (2, 1))),
    "scatter-add": (lambda x: x.at[np.array([0, 0, 9])].add(x[:3]), V, np.array([4, 2, 3, 4, 5, 6.0])),
    "cumsum-reverse": (lambda x: lax.cumsum(x, reverse=True), V, np.cumsum(V[::-1])[::-1]),
    "cumprod-reverse": (lambda x: lax.cumprod(x, reverse=True), V, np.cumprod(V[::-1])[::-1]),
    "cummax-reverse": (lambda x: lax.cummax(x[::-1] * 1, reverse=True), V, np.array([6, 5, 4, 3, 2, 1.0])),
    "cummin": (lambda x: lax.cummin(x[::-1]), V, V[::-1]),
    "window": (lambda x: lax.reduce_window(x, 0.0, lax.add, (2,), (2,), "VALID"), V, np.array([3, 7, 11.0])),
    "convolution": (
        lambda x: lax.conv_general_dilated(x[None, None], x[None, None, :2], (1,), "VALID")[0, 0],
        V, V[:-1] + 2 * V[1:],
    ),
    "scan": (lambda x: lax.scan(lambda c, y: (c + y, c), 0.0, x), V, (V.sum(), np.cumsum(V) - V)),
    "scan-reverse": (
        lambda x: lax.scan(lambda c, y: (c + y, c), 0.0, x, reverse=True), V, (V.sum(), V.sum() - np.cumsum(V))
    ),
    "loop": (lambda x: lax.fori_loop(0, 3, lambda i, c: c * x[i + 1], x[0]), V, 24.0),
    "branch": (lambda x: lax.switch(np.int32(7), [lambda y: y, lambda y: -y, lambda y: 2 * y], x), V, 2 * V),
    "sort-by-constants": (lambda x: lax.sort((np.array([2, 0, 1, 5, 4, 3]), x), num_keys=1)[1], V, V[[1, 2, 0, 5, 4,
     3]]),
    "matrix-product": (lambda x: jnp.einsum("ij,kj->ki", x, 2 * x), X, 2 * X @ X.T),
    "batched-product": (
        lambda x: lax.dot_general(x.reshape(2, 3, 2), x.reshape(2, 2, 3), (((2,), (1,)), ((0,), (0,)))),
        X, X.reshape(2, 3, 2) @ X.reshape(2, 2, 3),
    ),
    "upper-solve": (
        lambda x: lax.linalg.triangular_solve(jnp.triu(x[:, :3]), x[:, 3:], left_side=True, lower=False),
        X, np.linalg.solve(np.triu(X[:, :3]), X[:, 3:]),
    ),
    "solve-from-the-right": (
        lambda x: lax.linalg.triangular_solve(jnp.tril(x[:, :3]), x[:2, 1:], lower=True),
        X, np.linalg.solve(np.tril(X[:, :3]).T, X[:2, 1:].T).T,
    ),
}  # fmt: skip
"""Programs on small whole numbers, and what they give by hand."""


def moves() -> None:
    """Moved elements, loops and contractions are where JAX puts them."""
    for name, (f, x, expected) in MOVES.items():
        found = at(f, x)
        wanted = expected if isinstance(expected, tuple) else (expected,)
        for one, two in zip(found, wanted, strict=True):
            assert np.shape(one) == np.shape(two) and np.allclose(one, two, rtol=1e-12), f"{name}: {one}, not {two}"
    assert structure.FILLED < 0 and lowered.WRITTEN.keys() >= {"cummax", "conv_general_dilated"}


def inside(ball: Ball, exact, what: str) -> None:
    """Every exact number lies in its ball."""
    flat = np.ravel(np.asarray(exact, object))
    for low, high, bad, x in zip(ball.low.ravel(), ball.high.ravel(), ball.bad.ravel(), flat, strict=True):
        assert low <= high or bad, f"{what}: an interval from {low} to {high}"
        assert bad or Fraction(float(low)) <= x <= Fraction(float(high)), f"{what}: {float(x)} not in {low} to {high}"


def corners(x: Ball):
    """The exact ends of balls."""
    for side in (-1, 1):
        ends = [Fraction(m) + side * Fraction(r) for m, r in zip(x.mid.ravel(), x.rad.ravel(), strict=True)]
        yield np.array([*ends, None], object)[:-1].reshape(x.shape)


def enclosures() -> None:
    """Balls hold what every choice of numbers in their operands gives, whatever is rounded."""
    rng = np.random.default_rng(5)
    a, b = (Ball(rng.standard_normal((3, 3)), 2.0 ** -rng.integers(2, 40, (3, 3)).astype(float)) for _ in range(2))
    for x in corners(a):
        for y in corners(b):
            inside(balls.add(a, b), x + y, "sum")
            inside(balls.mul(a, b), x * y, "product")
            inside(balls.matmul(a, b), x @ y, "matrix product")
        inside(balls.total(a, (0,)), x.sum(0), "total")
        inside(balls.power(a, 3), x * x * x, "cube")
    positive = Ball(np.abs(a.mid) + 1, a.rad)
    for x in corners(positive):
        inside(balls.reciprocal(positive), 1 / x, "reciprocal")
    points = Ball(rng.standard_normal((3, 3)), np.zeros((3, 3)))
    (x, _), (y, _) = corners(points), corners(positive)
    inside(balls.mul(points, points), x * x, "product of numbers")
    inside(balls.add(points, points.map(lambda m: m[::-1])), x + x[::-1], "sum of numbers")
    inside(balls.reciprocal(Ball(np.array([3.0]), np.array([0.0]))), [Fraction(1, 3)], "a third")
    assert balls.reciprocal(Ball(np.array([0.5]), np.array([0.5]))).bad.all(), "a ball with zero inside is inverted"


FUNCTIONS = {
    "exp": math.exp, "tanh": math.tanh, "cosh": math.cosh, "sin": math.sin, "cos": math.cos, "abs": abs,
    "erf": math.erf, "erfc": math.erfc, "atan": math.atan, "rsqrt": lambda x: 1 / math.sqrt(x), "sqrt": math.sqrt,
    "log": math.log, "lgamma": math.lgamma, "acos": lambda x: math.acos(x / 4), "asinh": math.asinh,
}  # fmt: skip


def enclosed_functions() -> None:
    """Functions of balls hold the values at all points of the balls; comparisons are decided where they can be."""
    for name, f in FUNCTIONS.items():
        positive = name in ("rsqrt", "sqrt", "log", "lgamma")
        ball = Ball(np.array([1.1, 2.5]) if positive else np.array([0.1, 1.5]), np.array([0.3, 0.2]))
        given = balls.mul(ball, Ball(np.array(0.25), np.array(0.0))) if name == "acos" else ball
        (found,) = Enclosure().rules[name](SimpleNamespace(primitive=SimpleNamespace(name=name), params={}), given)
        for x in np.linspace(ball.mid - ball.rad, ball.mid + ball.rad, 41):
            inside(found, [Fraction(f(v)) for v in x], name)
    for f in (jnp.sqrt, jnp.log):
        assert enclose(Program.trace(f, Signature.of([()])), [np.array(-1.0)])[0].bad.all(), "no number, and not bad"
    strict = Program.trace(lambda x, y: jnp.where(x < y, 1.0, 0.0), Signature.of([(), ()]))
    for less, more, truth in ((2.0, 2.0, 0.0), (1.0, 2.0, 1.0), (2.0, 1.0, 0.0)):
        assert float(enclose(strict, [Ball(less, 0.0), Ball(more, 0.0)])[0].mid) == truth, f"{less} < {more}"
    close = Program.trace(lambda x: jnp.where(x * 3.0 / 3.0 > x, 1.0, 0.0), Signature.of([()]))
    refused(lambda: enclose(close, [Ball(0.7, 0.0)]), "a comparison that rounding decides")
    tie = Program.trace(lambda a: lax.linalg.lu(a)[0], Signature.of([(2, 2)]))
    refused(lambda: enclose(tie, [Ball([[1.0, 2.0], [1.0, 3.0]], 0.0)]), "a choice between two equal pivots")


def refused(run, what: str) -> None:
    """The engine says that it does not know."""
    try:
        answer = run()
    except ProofError:
        return
    raise AssertionError(f"{what} is answered: {answer}")


def pivots() -> None:
    """Every order of pivots that reaches a result is tried, once."""
    for counts, reaching in (((3, 2), {0}), ((4, 3, 2), {0}), ((2, 5), {0})):
        odometer, seen = Odometer(), []
        while True:
            odometer.begin()
            call = odometer.call()
            seen.append(tuple(odometer.choose(call, count) for count in counts))
            if not odometer.advance(reaching):
                break
        assert len(seen) == len(set(seen)) == int(np.prod(counts)), f"{counts}: {seen}"
    odometer, seen = Odometer(), []
    while True:  # only the second of two factorisations reaches the result
        odometer.begin()
        first, second = odometer.call(), odometer.call()
        seen.append((odometer.choose(first, 4), odometer.choose(second, 3)))
        if not odometer.advance({second}):
            break
    assert {choice for _, choice in seen} == {0, 1, 2} and {choice for choice, _ in seen} == {0}, seen


def limits() -> None:
    """Where functions are real numbers."""
    outside = {
        "log": [0.0, -1e-9], "log1p": [-1.0, -3.0], "sqrt": [-1e-9, -0.5], "rsqrt": [0.0, -1.0], "asin": [1.5, -1.1],
        "acos": [1.5, -1.1], "acosh": [0.9, -2.0], "atanh": [1.0, -1.0], "erf_inv": [1.0, -1.0], "lgamma": [0.0, -3.0],
        "digamma": [0.0, -1.0],
    }  # fmt: skip
    for name, points in outside.items():
        assert domains.outside(name, np.array(points)).all(), name
        assert domains.DOMAINS[name].words.startswith("is "), name
    inner = {"log": 0.5, "sqrt": 0.0, "asin": 1.0, "acosh": 1.0, "atanh": 0.5, "lgamma": -0.5, "log1p": -0.5}
    for name, point in inner.items():
        assert not domains.outside(name, np.array(point)), name
