"""Batteries for rounding bounds: errors that really occur, in one order or another that a compiler may choose.

The errors are those of numpy in float32, where every operation is written out; so nothing is compiled. Many programs
have (x + 2**27) - 2**27 in them: in float32 it moves any x below 8 to 0 and more to 16, an error as large as one likes.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dualform.prove import rounding_bound
from dualform.prove.rounding import VACUOUS, RoundingBound
from dualform.prove.rounding.charges import U64, charge, product, unit
from judge.arithmetic import refused

F = np.float32
U, TINY = 2.0**-24, 2.0**-126
BIG = F(2.0**27)
"""Its unit is 16."""
X = F(7.5)
"""Lost beside `BIG`."""


def bounded(what: str, f: Callable, computed, *arguments, of=None) -> None:
    """A result that a compiler may compute is within the bound."""
    value, bound = bound_of(f, *arguments)
    computed = np.asarray(computed, np.float64)
    with np.errstate(invalid="ignore"):
        off = np.where(computed == value, 0.0, np.abs(computed - value))
    assert np.all(off <= bound), f"{what}: {computed} is off by {np.max(off):.3g}, bound {np.asarray(bound)}"
    assert np.all(np.isfinite(computed) | np.isinf(bound)), f"{what}: {computed} is bounded by {bound}"
    assert of is None or np.max(bound) <= of, f"{what}: a bound of {bound}, more than {of}"


HELD: list = []


def bound_of(f: Callable, *arguments) -> RoundingBound:
    """The bound of a program that may call `lost`: `BIG` is an input, which no compiler knows."""

    def program(big, *given):
        HELD.append(big)
        try:
            return f(*given)
        finally:
            HELD.pop()

    return rounding_bound(program, BIG, *arguments)


def lost(x, scale=1.0):
    """x in exact arithmetic; in float32 the next multiple of 16, times the scale: a power of two."""
    big = HELD[-1] if scale == 1.0 else HELD[-1] * F(scale)
    return (x + big) - big


def operations() -> None:
    """One operation, at arguments where it errs most."""
    rng = np.random.default_rng(0)
    a, b = rng.uniform(1, 2, (2, 400)).astype(F)
    bounded("a sum", lambda x, y: x + y, a + b, a, b, of=4 * U)
    bounded("a difference", lambda x, y: x - y, F(1e8) - b, np.full_like(b, 1e8), b)
    bounded("a product", lambda x, y: x * y, a * b, a, b, of=5 * U)
    bounded("a quotient", lambda x, y: x / y, a / b, a, b, of=8 * U)
    bounded("a product with a rounded reciprocal", lambda x, y: x / y, a * (F(1) / b), a, b)
    bounded("a cube", lambda x: x**3, a * a * a, a)
    bounded("a sixth power", lambda x: x**6, (a * a * a) * (a * a * a), a)
    bounded("three factors", lambda x, y: (x * y) * x, (a * b) * a, a, b)
    bounded("a reciprocal cube", lambda x: lax.integer_pow(x, -3), F(1) / (a * a * a), a)
    bounded("a product below the normal numbers", lambda x, y: x * y, F(0), F(1e-20), F(1e-20))
    bounded("a product beyond the largest", lambda x, y: x * y, np.inf, F(1e20), F(1e30))
    bounded("a sum beyond the largest", lambda x, y: x + y, np.inf, F(3e38), F(3e38))
    bounded("a subnormal input", lambda x: x * F(1e30), F(0), F(1e-40))
    bounded("a subnormal constant", lambda x: x * F(1e-40), F(0), F(1e30))
    bounded("fewer bits", lambda x: lax.reduce_precision(x, 8, 7), F(1.0), F(1 + 2.0**-8))
    half = jnp.bfloat16(1.0)
    bounded("bfloat16", lambda x: x.astype(jnp.bfloat16), half.astype(F), F(1 + 2.0**-8))
    with jax.enable_x64(True):
        bounded("float32 from float64", lambda x: x.astype(F).astype(np.float64), 1.0, np.float64(1 + 2.0**-25))
    for n in (2, 100, 1000):
        assert float(product(n, 2.0**-11)) >= (1 + 2.0**-11) ** n - 1, f"gamma of {n} factors in float16"
    assert float(product(2048, 2.0**-11)) == np.inf


def second_order() -> None:
    """Errors as large as the numbers themselves."""
    most = F(7.9)
    bounded("a product of two errors", lambda x, y: (lost(x) - most) * (lost(y) - most), most * most, most, most)
    bounded("a power of an error", lambda x: (lost(x) - most) ** 2, most * most, most)
    bounded("a quotient", lambda x: 1 / (lost(x) - 7), np.float32(-1 / 7), X)
    bounded("an exponential", lambda x: jnp.exp(lost(x)), np.exp(16.0), F(8.6))
    bounded("a hyperbolic tangent", lambda x: jnp.tanh(lost(x)), 0.0, most)
    bounded("a logistic function", lambda x: lax.logistic(lost(x)), 0.5, most)
    bounded("a sine", lambda x: jnp.sin(lost(x)), 0.0, F(3 * np.pi / 2))
    bounded("a cosine", lambda x: jnp.cos(lost(x)), 1.0, F(np.pi))
    bounded("a root near zero", lambda x: jnp.sqrt((lost(x, 2.0**-10) - x) ** 2), 7.5 / 1024, F(7.5 / 1024))
    bounded("a root of what may be negative", lambda x: jnp.sqrt(lost(x) - 7), np.inf, X)
    bounded("a logarithm of what may be negative", lambda x: jnp.log(lost(x) - 7), np.inf, X)
    bounded(
        "an angle on the cut", lambda x: jnp.arctan2((lost(x) - 7) / 64, -jnp.ones(())), np.arctan2(-7 / 64, -1), F(7.1)
    )
    bounded("a power", lambda x: (2 + lost(x)) ** 1.5, 2**1.5, most)
    bounded(
        "a dot product", lambda x, y: jnp.dot(lost(x) - most, lost(y) - most), 2 * most**2, F([7.9] * 2), F([7.9] * 2)
    )
    bounded("a product of many", lambda x: jnp.prod(lost(x) - most), most**2, F([7.9] * 2))
    with jax.enable_x64(True):
        bounded("an overflow in float64", lambda x: x * x, np.inf, np.float64(1e200))


def switches() -> None:
    """Where rounding may choose the other branch."""
    bounded("a selection", lambda x: jnp.where(lost(x) > 4, 100.0, -100.0), -100.0, X)
    bounded("a selection, mirrored", lambda x: jnp.where(lax.lt(F(4) + 0 * x, lost(x)), 100.0, -100.0), -100.0, X)
    bounded("a selection of data", lambda x, y: jnp.where(lost(x) > 4, y, -y), F(-3), X, F(3))
    bounded("a maximum", lambda x: jnp.maximum(lost(x), 0.0), 0.0, F(7.99))
    bounded("a minimum", lambda x: jnp.minimum(lost(x), 0.0), 0.0, F(-7.99))
    bounded("a clamp", lambda x: jnp.clip(lost(x), 0.0, 100.0), 0.0, F(7.99))
    bounded("an absolute value", lambda x: jnp.abs(lost(x)), 0.0, F(7.99))
    bounded("a sign", lambda x: jnp.sign(lost(x) - 7), -1.0, X)
    bounded("a floor", lambda x: jnp.floor(lost(x)), 0.0, X)
    bounded("a rounding", lambda x: jnp.round(lost(x)), 0.0, X)
    bounded("a remainder", lambda x: lax.rem(lost(x, 2.0**-10), F(7)), 0.0, F(6.999))
    bounded("a largest element", lambda x: jnp.max(jnp.stack([lost(x), F(0) * x])), 0.0, F(7.99))
    bounded("a sorted array", lambda x: jnp.sort(jnp.stack([lost(x), F(1) + 0 * x])), F([0, 1]), X)
    bounded("a sorted array, the other way", lambda x: jnp.sort(jnp.stack([lost(x), F(9) + 0 * x])), F([9, 16]), F(8.6))
    bounded("a truth value", lambda x: (lost(x) > 4).astype(F), 0.0, X)
    bounded("both of two", lambda x: ((lost(x) > 4) & (x > 0)).astype(F), 0.0, X)
    bounded("not", lambda x: (~(lost(x) > 4)).astype(F), 1.0, X)
    for what, f in {
        "an integer part": lambda x: lost(x).astype(jnp.int32) * F(1),
         "an index": lambda x: jnp.argmax(jnp.stack([lost(x), F(3) + 0 * x])),
        "a permutation": lambda x: lax.sort((jnp.stack([lost(x), F(3) + 0 * x]), jnp.arange(2)), num_keys=1)[1],
        "the first of two": lambda x: lax.top_k(jnp.stack([lost(x), F(3) + 0 * x]), 1)[1],
    }.items():  # fmt: skip
        refused(lambda f=f: bound_of(f, X), what)


def sums() -> None:
    """Sums and products of many elements in the orders that err most."""
    rng = np.random.default_rng(1)
    a, b = rng.uniform(1, 2, (2, 500)).astype(F)
    worst = max(range(500), key=lambda i: abs(float(a[i] * b[i]) - float(a[i]) * float(b[i])))
    bounded(
        "a dot product of one",
        lambda x, y: jnp.dot(x, y),
        a[worst] * b[worst],
        a[worst : worst + 1],
        b[worst : worst + 1],
    )
    two = max(range(499), key=lambda i: abs(float(a[i] + a[i + 1]) - float(a[i]) - float(a[i + 1])))
    bounded("a sum of two", jnp.sum, a[two] + a[two + 1], a[two : two + 2])
    bounded("a running sum of two", lambda x: jnp.cumsum(x)[1], a[two] + a[two + 1], a[two : two + 2])
    bounded("a product of two", jnp.prod, a[worst] * b[worst], F([a[worst], b[worst]]))
    bounded("a running product", lambda x: jnp.cumprod(x)[1], a[worst] * b[worst], F([a[worst], b[worst]]))
    ones = np.concatenate([F([2.0**24]), np.ones(64, F)])
    bounded("a sum in the order of elements", jnp.sum, F(2.0**24), ones)
    bounded("a running sum", lambda x: jnp.cumsum(x)[-1], F(2.0**24), ones)
    bounded("a dot product in the order of elements", lambda x: jnp.dot(x, np.ones(65, F)), F(2.0**24), ones)
    at = np.zeros(64, int)
    bounded("a scatter into one element", lambda x, y: x.at[at].add(y)[0], F(2.0**24), F([2.0**24]), np.ones(64, F))
    bounded("a sum that overflows on the way", jnp.sum, np.inf, F([3e38, 3e38, -3e38, -3e38]))
    bounded(
        "a dot product that overflows on the way",
        lambda x: jnp.dot(x, np.ones(4, F)),
        np.inf,
        F([3e38, 3e38, -3e38, -3e38]),
    )
    bounded("a product that overflows on the way", jnp.prod, np.inf, F([1e20, 1e20, 1e-30, 1e-5]))
    bounded("a sum of sums", lambda x: jnp.sum(jnp.sum(x, axis=1)), F(2.0**24), ones[:64].reshape(8, 8))


def copies() -> None:
    """(R8): two readers of a value that is computed twice do not share its rounding; what is stored is shared."""
    x = F(1 + 2.0**-12)
    c, d = F(1 + 2.0**-11), F(1 + 2.0**-11)
    off = F(2.0**-24)  # what the rounded product lacks; fused with the subtraction it is not rounded

    def twice(x, y, c, d):
        p = x * y
        return (p - c) - (p - d)

    bounded("a product, fused once", twice, off, x, x, c, d)

    def inner(x, y, c, d):
        p = jnp.dot(x, y)
        return (p - c) - (p - d)

    bounded("an inner product, fused once", inner, off, F([x, 0]), F([x, 0]), c, d)

    def looped(x, y, c, d):
        p = x * y
        inside = lax.scan(lambda s, _: (s + (p - c), None), jnp.zeros(()), None, length=3)[0]
        return inside - 3 * (p - d)

    bounded("a product that a loop reads from memory", looped, 3 * off, x, x, c, d)

    def read(x, y, c, d):
        p = x * y
        return (p @ x)[0, 0] * 0 + (p - c)[0, 0] - (p - d)[0, 0]

    square = F([[x, 1], [1, 1]])
    bounded("a product that a matrix product reads", read, off, square, square, c, d)
    stored = lambda x, y, c, d: (lambda p: ((p - c) - (p - d))[0, 0])(x @ y)  # noqa: E731
    value, bound = rounding_bound(stored, square, square, c, d)
    assert bound < 1e-6 and float(value) == 0


def sweeps() -> None:
    """Derivatives of many paths add up; what cancels is not charged."""
    rng = np.random.default_rng(3)
    # 2**24 and 64 ones, summed one by one, are 2**24; two rows, so that the product is stored
    rows = np.stack([np.concatenate([F([2.0**24]), np.ones(64, F)])] * 2)
    ones, whole = np.ones((65, 2), F), np.full((2, 2), 2.0**24)

    def many(x, y):
        p = x @ y
        return sum(2.0**k * p for k in range(7)) + 0.0

    bounded("seven multiples of a stored product", many, 127.0 * whole, rows, ones)
    bounded("its transpose", lambda x, y: 127.0 * (x @ y).T, 127.0 * whole, rows, ones)
    bounded("a running sum", lambda x, y: jnp.cumsum(jnp.stack([x @ y] * 8), 0)[-1], 8 * whole, rows, ones)
    bounded(
        "a sum from behind", lambda x, y: lax.cumsum(jnp.stack([x @ y] * 8), reverse=True)[0], 8 * whole, rows, ones
    )
    _, bound = rounding_bound(lambda x, y: (lambda p: p - 0.5 * p - 0.5 * p)(x @ y), rows, ones)
    assert np.max(bound) < 4 * U * 2.0**24, f"what cancels is charged: {bound}"
    n = 40
    w = rng.uniform(0.5, 1, n).astype(F)
    chain, total = lambda v: lax.scan(lambda s, y: (s * F(1.25) + y, None), jnp.zeros(()), v)[0], F(0)
    for y in w:
        total = total * F(1.25) + y
    bounded("a recursion that grows", chain, total, w)


def tape() -> None:
    """Elements that move and repeat; infinite errors; truth values that are results."""
    moved = lambda v: jnp.concatenate([v * F(2.0**20), v])[np.array([3, 0, 1, 0, 3])]  # noqa: E731
    _, bounds = rounding_bound(lambda v: moved(v * v), F([1.7, 1e-3]))
    exact = U * np.array([1e-6, 2.89 * 2**20, 1e-6 * 2**20, 2.89 * 2**20, 1e-6])
    assert np.all(bounds >= exact) and np.all(bounds < 3 * exact), f"{bounds}, not about {exact}"
    indexed = lambda v: lost(v)[np.array([1, 0, 1, 0, 0])]  # noqa: E731
    bounded("repeated elements", lambda v: (indexed(v) > 4).astype(F), F([0, 0, 0, 0, 0]), F([7.5, 1e-3]))
    bounded("one of two infinite errors", lambda v: jnp.sum(jnp.exp(v)), np.inf, F([100, 1]))
    _, doubts = bound_of(lambda v: jnp.stack([lost(v) > 4, v > 4]), X)
    assert doubts.tolist() == [1.0, 0.0], "a truth value that rounding may flip is off by one"


def solves() -> None:
    """Linear systems."""
    rng = np.random.default_rng(4)
    a, b = rng.uniform(1, 2, (2, 300)).astype(F)
    worst = max(range(300), key=lambda i: abs(float(b[i] * (F(1) / a[i])) - float(b[i]) / float(a[i])))
    one, right = a[worst].reshape(1, 1), b[worst].reshape(1)
    computed = (b[worst] * (F(1) / a[worst])).reshape(1)
    bounded("a system of one", jnp.linalg.solve, computed, one, right)
    lower = lambda m, v: lax.linalg.triangular_solve(m, v[:, None], left_side=True, lower=True)[:, 0]  # noqa: E731
    bounded("a triangular system of one", lower, computed, one, right)
    matrix = F([[1, 0], [-1, 1e-4]])
    first = b[worst] * F(1) / a[worst]
    matrix[0, 0] = a[worst]
    bounded("substitution", lower, F([first, (b[0] + first) / F(1e-4)]), matrix, F([b[worst], b[0]]))
    tiny = F([[1e-7, 1], [1, 1]])
    _, bound = rounding_bound(lambda m, v: jnp.linalg.solve(m, v), tiny, F([1, 2]))
    assert np.all(bound >= 0.1 * U) and np.all(bound < 1e-4)
    upper = F([[1, 1e4], [0, 1]])
    bounded("a triangle with large entries", lambda m, v: lax.linalg.triangular_solve(m, v[:, None], left_side=True,
     lower=False)[:, 0],
            F([b[0] - F(1e4) * b[1], b[1]]), upper, F([b[0], b[1]]))  # fmt: skip


def rewrites() -> None:
    """What XLA's simplifier makes of a program, in numpy."""
    one, small = np.float32(1), np.float32(2.0**-25)
    bounded("(x + c) + d", lambda x: (x + one) + small, F(-1) + (one + small), F(-1))
    big = np.float32(1e30)
    bounded("(x c) d", lambda x: (x * big) * big, np.inf, F(1e-30))
    tiny = np.float32(1e-30)
    bounded("(x c) d, below", lambda x: (x * tiny) * tiny, F(0), F(1e30))
    rng = np.random.default_rng(5)
    a, b = rng.uniform(20, 40, (2, 4000)).astype(F)
    i = int(np.argmax(np.abs((a + b).astype(float) - a.astype(float) - b) / (a + b)))
    merged = np.exp(np.float64(a[i] + b[i]))
    bounded("exp(a) exp(b)", lambda x, y: jnp.exp(x) * jnp.exp(y), merged, a[i], b[i])
    bounded("exp(a) / exp(-b)", lambda x, y: jnp.exp(x) / jnp.exp(-y), merged, a[i], b[i])
    k = max(range(4000), key=lambda i: abs(float(a[i] * F(3)) - 3 * float(a[i])))
    bounded("exp(a)^3", lambda x: jnp.exp(x) ** 3, np.exp(np.float64(a[k] * F(3) - F(60))), a[k] - F(20))
    j = max(range(4000), key=lambda i: abs(float(a[i] * F(np.log(2))) - float(a[i]) * float(np.log(2))))
    bounded("exp2 by exp", jnp.exp2, np.exp(np.float64(a[j] * F(np.log(2)))), a[j])
    bounded("(a / b) / c", lambda x, y, z: (x / y) / z, F(0), F(1e38), F(1e30), F(1e30))
    bounded("(a / b) / c, below", lambda x, y, z: (x / y) / z, np.inf, F(1e-30), F(1e-30), F(1e-30))
    bounded("a c + b c", lambda x, y: x * F(2.0**-100) + y * F(2.0**-100), np.inf, F(3e38), F(3e38))
    bounded("a^-2 / b", lambda x, y: x**-2 / y, -np.inf, F(0.5), F(-3.8e-38))
    bounded("a^y / b, y = -2", lambda x, y: x ** F(-2.0) / y, -np.inf, F(0.5), F(-3.8e-38))
    bounded("prod(x^y)", lambda x: jnp.prod(x ** F(-0.3)), F(0), np.full(6, 1e12, F))
    bounded("prod(c x^y)", lambda x: jnp.prod(2 * x ** F(-0.3)), F(0), np.full(6, 1e12, F))
    bounded("prod(x^y), below", lambda x: jnp.prod(x ** F(-0.3)), np.inf, np.full(4, 1e-10, F))
    bounded("(x c + 0)^2", lambda x: (x * F(0.3) + 0) ** 2, np.inf, F(3.15e19))
    bounded("(0 + x c)^2", lambda x: (0 - (-x * F(0.3))) ** 2, np.inf, F(3.15e19))
    for what, one in (("sum", jnp.sum), ("prod", jnp.prod), ("max", jnp.max), ("min", jnp.min)):
        bounded(f"{what}(x c)^2 of one", lambda x, f=one: f((x * F(0.3))[None], 0) ** 2, np.inf, F(3.15e19))
    bounded("cumsum(x c)^2 of one", lambda x: jnp.cumsum(x * F(0.3)) ** 2, np.inf, F([3.15e19]))
    bounded("max(x c, -inf)^2", lambda x: jnp.maximum(x * F(0.3), -jnp.inf) ** 2, np.inf, F(3.15e19))
    for what, same in (
        ("min", lambda v: jnp.minimum(v, v)),
        ("where", lambda v: jnp.where(v > 0, v, v)),
        ("times one", lambda v: v * F(1)),
        ("over one", lambda v: v / F(1)),
        ("padded and cut", lambda v: jnp.pad(v, 1)[1:-1]),
    ):
        apart = lambda x, f=same: (x / (x + 1)) / f(x / (x + 1))  # noqa: E731
        bounded(f"(a / b) / (a / b), {what}", apart, F([np.inf]), F([2.8e19]))
    at = np.zeros(3, int)
    bounded("x + scatter(y)", lambda x, y, v: x + y.at[at].add(v), F([2.0**24]), F([2.0**24]), F([0.0]), F([1, 1, 1]))
    total = jnp.sum
    bounded(
        "sum(sum)",
        lambda x: total(total(x, 1)),
        F(2.0**24),
        np.concatenate([F([2.0**24]), np.ones(63, F)]).reshape(8, 8),
    )


def runtime() -> None:
    """What comes from data is exact, and what is computed from it is rounded: differences of 3/3 are not zero."""

    def loud(v):
        return 1e6 * (v - v.mean(-1, keepdims=True))

    six = np.full((1, 6), 1.5, F)
    for what, f, x in (
        ("a mask", lambda x: (x > 0).astype(x.dtype), six),
        ("a choice", lambda x: jnp.where(x > 0, F(1), F(2)), six),
        ("a whole number", jnp.floor, six),
        ("a position", lambda x: (1 + jnp.argmax(x, -1)[:, None] + jnp.zeros(x.shape, int)).astype(x.dtype), six),
        ("a row that is looked up", lambda x: jnp.arange(3, dtype=x.dtype)[(x > 0).astype(int)], six),
        ("an integer that is given", lambda i: i.astype(jnp.float32), np.ones((1, 6), int)),
    ):
        bound = bound_of(lambda x, f=f: loud(f(x) * 3 / 3), x)[1]
        assert np.min(bound) > 1e-3, f"{what}: differences of three thirds are bounded by {np.min(bound)}"
    assert np.max(bound_of(lambda x: loud(jnp.full((1, 6), F(0.25))) + 0 * x, six)[1]) < 1


def charges() -> None:
    """Functions compiled here, over a range, and what is stated of them."""
    rng = np.random.default_rng(6)
    x = np.concatenate([rng.uniform(-8, 8, 20_000), rng.uniform(-0.7, 0.7, 20_000)]).astype(F)
    both = {"exp": (jnp.exp, np.exp), "tanh": (jnp.tanh, np.tanh), "expm1": (jnp.expm1, np.expm1), "sin": (jnp.sin,
     np.sin),
            "logistic": (lax.logistic, lambda v: 1 / (1 + np.exp(-v)))}  # fmt: skip
    found = jax.jit(lambda v: [f(v) for f, _ in both.values()])(x)
    for (name, (_, exact)), computed in zip(both.items(), found, strict=True):
        true = exact(x.astype(float))
        off = np.max(np.abs(np.asarray(computed, float) - true) / np.abs(true)) / U
        assert 1.0 <= off <= charge(name, unit("float32")), f"{name} errs by {off:.2f} units"
    assert charge("log1p", unit("float64")) >= 240, "XLA's log1p loses 240 units near -0.41"
    assert unit("float64").u == U64 and unit("float32").u >= U and unit("bfloat16").u >= 2.0**-8
    assert unit("float16").tiny == 2.0**-14 and unit("float32").largest < 2.0**128


def verdicts() -> None:
    """What is said of a bound."""
    assert 0 < VACUOUS <= 0.5
    mixed = RoundingBound.of(np.array([1.0, 2.0]), np.array([1e-9, 1.0]), ())
    assert mixed.share == 0.5 and mixed.verdict == "vacuous" and str(mixed).startswith("vacuous")
    good = RoundingBound.of(np.array([1.0, 2.0]), np.array([1e-9, 1e-7]), ("crude",))
    assert good.verdict == "rigorous" and good.fallbacks == ("crude",)
    assert RoundingBound.of(np.array([0.0]), np.array([1e-9]), ()).verdict == "vacuous"
    assert RoundingBound.of([np.ones(2), np.ones(2)], [np.zeros(2), np.array([0, np.inf])], ()).verdict == "vacuous"
    unbounded = bound_of(lambda x: jnp.exp(lost(x) * 100), X)
    assert unbounded.verdict == "vacuous"
