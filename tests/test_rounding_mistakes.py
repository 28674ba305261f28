"""Mistakes planted in rounding arithmetic, each with a program whose error then exceeds the bound."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from rounding_programs import LONG, cancel

from dualform.prove.rounding import bound as entry
from dualform.prove.rounding import (
    charges,
    contractions,
    elementwise,
    functions,
    piecewise,
    rewrites,
    rounding_bound,
    solves,
    tape,
)

RNG = np.random.default_rng(3)


def f32(*shape, scale=1.0):
    return (RNG.standard_normal(shape) * scale).astype(np.float32)


@dataclasses.dataclass
class Mistake:
    """What is broken, and a program whose error then exceeds the bound; `order` emulates a compiler's choice."""

    name: str
    target: Any
    attribute: str
    broken: Callable  # original -> replacement
    program: Callable
    inputs: tuple
    order: Callable | None = None


def unit_with(**changes):
    return lambda original: lambda name: original(name)._replace(**{k: v(original(name)) for k, v in changes.items()})


def without_remainder(original):
    return lambda self, z, links, local, remainder=None, **more: original(self, z, links, local, None, **more)


def computed_once(original):
    """Every value in memory: no reader has a copy of its own."""

    def append(self, node):
        node.stored = True
        return original(self, node)

    return append


def wrapped(original):
    return lambda x, dtype: np.trunc(x).astype(np.int64).astype(dtype)


def any_sign(original):
    return lambda z, a, b: np.isinf(z)


def nothing(original):
    return lambda *a, **k: None


def zero(original):
    return lambda *a: 0.0


def behind_no_op(x):
    c = x * np.float32(0.3) * np.float32(2.0)
    return c - c.max(-1, keepdims=True)


def fused_no_op(x):
    """The product meets the subtraction unrounded (FMA); the largest of them has been rounded."""
    c = LONG(x) * LONG(np.float32(0.3)) * 2
    return (c - c.astype(np.float32).max(-1, keepdims=True)).astype(np.float32)


def any_infinity(original):
    return lambda z, a, b, unit: np.isinf(z)


def masked_square(x):
    return jnp.where(jnp.arange(1) < 0, x, -jnp.inf) + x * x


def infinite_centred(x):
    return jnp.inf * (x - x.mean())


def centred_twice(x):
    c = x - x.mean(-1, keepdims=True)
    return (c[::-1] - c).sum(0)


def grown_twice(x):
    c = jnp.exp(1e6 * (x - x.mean(-1, keepdims=True)))
    return (c[::-1] - c).sum(0)


def inner_twice(x, y):
    c = jnp.exp(3e5 * ((x @ y) - 11.0))
    return (jnp.stack([c, c + 1.0, c])[::-1] - jnp.stack([c, c + 1.0, c])).sum()


def to_bytes(x):
    return jnp.round(x * 127).astype(jnp.int8).astype(jnp.float32) / 127


def forward_dot(x, y):
    s = np.float32(0)
    for a, b in zip(x, y, strict=True):
        s = np.float32(s + a * b)
    return s


def triangular(A, b):
    return lax.linalg.triangular_solve(A, b, left_side=True, lower=True)


X, Y = f32(400, scale=1e3), f32(400)
TENS = np.array([43.7, 41.3, 44.1, 40.9], np.float32)
ONE_AND_MANY = (np.array([1.0] + [2.0**-24] * 60, np.float32), np.ones(61, np.float32))
LOW = (np.tril(f32(4, 4)) + 3 * np.eye(4, dtype=np.float32), f32(4, 9))
LARGE = np.linspace(80, 88, 4000, dtype=np.float32)
FULL = (f32(4, 4) + 4 * np.eye(4, dtype=np.float32), f32(4))


NOISE = np.random.default_rng(0)
ROWS = NOISE.normal(size=(8, 12)).astype(np.float32)
NEAR = (NOISE.normal(size=(8, 1)) + 1e-7 * NOISE.normal(size=(8, 3))).astype(np.float32)
FLAT = np.array([1.0, 1.0, 1.0 + 2.0**-23], np.float32)
HALF_UP = dict.fromkeys(lax.RoundingMethod, lambda x: np.floor(x + 0.5))


def no_flush(original):
    return lambda x, dtype: np.zeros(x.shape)


def all_exact(original):
    return lambda arithmetic, x, dtype: arithmetic.tape.source(x.astype(float))


def rounds_once(original):
    return lambda unit, c=1.0: original(unit)


def charges_one(original):
    return lambda name, unit: 1.0


def certain_signs(original):
    return lambda x: np.ones(x.shape, bool)


def one_term(original):
    return lambda dims, a, b: 1


def exactly(original):
    return lambda n, u: 0.0 * np.asarray(n)


def certain_pairs(original):
    return lambda a, b: np.ones(a.shape, bool)


def chain(x):
    return (x * np.float32(1e20)) * np.float32(1e30)


def shifts(x):
    return (x + np.float32(8.743163)) + np.float32(0.01090856)


# Newer compilers than that of JAX 0.10 no longer make all rewrites; here they are made by hand.


def chained_once(x):
    with np.errstate(over="ignore"):
        return x * (np.float32(1e20) * np.float32(1e30))


def shifted_once(x):
    return x + (np.float32(8.743163) + np.float32(0.01090856))


def powered(x):
    with np.errstate(over="ignore"):
        return np.float32(np.prod(x) ** np.float32(-0.3))


def divided_once(x, y):
    product = x * x * y
    with np.errstate(divide="ignore"):
        return np.float32(1) / np.where(np.abs(product) < np.finfo(np.float32).tiny, np.float32(0), product)


def squared_apart(x):
    with np.errstate(over="ignore"):
        return (x * x) * np.float32(0.09)


def added(x):
    return np.exp((x + x[::-1]).astype(float)).astype(np.float32)


def scattered(x, v):
    return x + jnp.zeros(1).at[jnp.zeros(16, int)].add(v)


def full(n, *values):
    return tuple(np.full(n, v, np.float32) for v in values)


MISTAKES = [
    Mistake("no second order", tape.Tape, "add", without_remainder, lambda x, y: cancel(x, y) ** 2, (X, Y)),
    Mistake("no underflow", charges, "unit", unit_with(tiny=lambda u: 0.0), jnp.square, full(1, 1e-25)),
    Mistake("no overflow", charges, "unit", unit_with(largest=lambda u: np.inf), jnp.square, full(1, 1e25)),
    Mistake("half a unit", charges, "unit", unit_with(u=lambda u: u.u / 2), jnp.add, (X, Y)),
    Mistake("exact subnormal inputs", entry, "enter", all_exact, jnp.multiply, full(1, 1e-40, 1e20)),
    Mistake("divisions round once", elementwise, "rounding", rounds_once, lambda x: x / np.float32(41.0), (X,)),
    Mistake("a perfect exponential", functions, "charge", charges_one, jnp.exp, (LARGE,)),
    Mistake("products behind a no-op", tape.Tape, "append", computed_once, behind_no_op, (ROWS,), fused_no_op),
    Mistake("sums computed once", tape.Tape, "append", computed_once, centred_twice, (NEAR,)),
    Mistake("exponentials computed once", tape.Tape, "append", computed_once, grown_twice, (NEAR,)),
    Mistake("integers that wrap", piecewise, "saturated", wrapped, to_bytes, full(1, 2.0)),
    Mistake("halves rounded up", piecewise, "ROUND", lambda _: HALF_UP, jnp.round, full(1, 2.5)),
    Mistake("exact subnormal constants", entry, "flushed", no_flush, lambda x: jnp.log(x + 1e-45), full(1, 0.0)),
    Mistake("infinities of any sign", elementwise, "signed", any_sign, infinite_centred, (FLAT,)),
    Mistake("an infinity that nothing meets", elementwise, "summed", any_infinity, masked_square, full(1, -8e27)),
    Mistake("no sums of constants", rewrites, "sums", nothing, shifts, full(1, -8.742935), shifted_once),
    Mistake("no scatter after add", rewrites, "sums", nothing, scattered, (*full(1, 1e8), *full(16, 3.0))),
    Mistake(
        "no powers of constants", rewrites, "many", zero, lambda x: jnp.prod(x * np.float32(1e20)), full(4, 1.1e-20)
    ),
    Mistake("no products of constants", rewrites, "products", nothing, chain, full(3, 1e-30), chained_once),
    Mistake(
        "no products of divisors", rewrites, "quotients", nothing, lambda x, y, z: x / y / z, full(3, 1e38, 1e25, 1e25)
    ),
    Mistake(
        "no powers of products",
        rewrites,
        "raised",
        lambda _: lambda x, y: {},
        lambda x: jnp.prod(x ** np.float32(-0.3)),
        full(6, 1e12),
        powered,
    ),
    Mistake(
        "a power is no divisor",
        rewrites,
        "power_origin",
        lambda _: lambda x, n: {},
        lambda x, y: x**-2 / y,
        full(1, 0.5, -3.8e-38),
        divided_once,
    ),
    Mistake(
        "a sum with nothing forgets its factors",
        rewrites,
        "sum_origin",
        lambda _: lambda a, b: {},
        lambda x: jnp.square(x * np.float32(0.3) + 0.0),
        full(1, 3.15e19),
        squared_apart,
    ),
    Mistake(
        "a sum of one forgets its factors",
        rewrites,
        "alone",
        lambda _: lambda x, shape: {},
        lambda x: jnp.square((x * np.float32(0.3))[None].sum(0)),
        full(1, 3.15e19),
        squared_apart,
    ),
    Mistake(
        "no sums of exponents", rewrites, "_exponents", nothing, lambda x: jnp.exp(x) * jnp.exp(x[::-1]), (TENS,), added
    ),
    Mistake(
        "certain orders", piecewise, "apart", certain_pairs, lambda x, y: jnp.where(cancel(x, y) > 0, 1.0, 2.0), (X, Y)
    ),
    Mistake("certain signs", piecewise, "off_zero", certain_signs, lambda x, y: jnp.abs(cancel(x, y)), (X, Y)),
    Mistake("dots round once", contractions, "_terms", one_term, jnp.dot, ONE_AND_MANY, forward_dot),
    Mistake("exact substitution", solves, "product", exactly, triangular, LOW),
    Mistake("exact elimination", solves, "product", exactly, jnp.linalg.solve, FULL),
]


def excess(mistake: Mistake) -> float:
    """Worst error minus bound, over the compiled program and the emulated order."""
    value, bound = rounding_bound(mistake.program, *mistake.inputs)
    runs = [jax.jit(mistake.program)] + ([mistake.order] if mistake.order else [])
    worst = -np.inf
    for run in runs:
        y = np.asarray(run(*mistake.inputs), float)
        with np.errstate(invalid="ignore"):
            gap = np.where(np.isinf(bound), -np.inf, np.where(np.isfinite(y), np.abs(y - value), np.inf) - bound)
        worst = max(worst, float(gap.max()))
    return worst


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda m: m.name)
def test_planted_mistakes_are_caught(mistake, monkeypatch):
    assert excess(mistake) <= 0, "the bound itself holds"
    original = getattr(mistake.target, mistake.attribute)
    monkeypatch.setattr(mistake.target, mistake.attribute, mistake.broken(original))
    assert excess(mistake) > 0, "the mistake went unnoticed"
