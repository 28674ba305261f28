"""Small programs with exact oracles, and adversarial inputs for them.

A `Program` runs on JAX arrays; its oracle is a loop over Python `Fraction`s (exact), or over `numpy.longdouble` where
a function such as exp leaves the rationals. `c` turns a constant into the program's dtype, so both sides use the same
rounded constant.
"""

from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from jax import lax

LONG = np.longdouble
DTYPES = ("float32", "float64", "float16", "bfloat16")
NUMPY = {"float64": np.float64, "float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
UNIT = {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
DECADES = {"float64": 300, "float32": 36, "float16": 4, "bfloat16": 36}


class Program(NamedTuple):
    """`run(c, *inputs)` in JAX, `exact(c, *inputs)` on object arrays (Fraction) or on longdouble where `smooth`."""

    name: str
    run: Callable
    exact: Callable
    shapes: tuple
    smooth: bool = False
    simple: bool = True  # few roundings: the error must come near the bound
    narrow: bool = True  # meaningful in 16 bits


def same(name: str, f: Callable, *shapes, **more) -> Program:
    """Elementwise rational programs are their own oracle, on Fractions."""
    return Program(name, f, f, shapes, **more)


def cancel(x, y):
    """Zero, but not in floating point."""
    return (x + y) - x - y


def delta(c, q, k, v, beta):
    def step(S, token):
        q, k, v, beta = token
        S = S + jnp.outer(beta * (v - S @ k), k)
        return S, S @ q

    return lax.scan(step, jnp.zeros((v.shape[1], k.shape[1]), v.dtype), (q, k, v, beta))[1]


def delta_parallel(c, q, k, v, beta):
    L = jnp.tril(beta[:, None] * (k @ k.T), -1) + jnp.eye(len(k), dtype=k.dtype)
    E = jax.scipy.linalg.solve_triangular(L, beta[:, None] * v, lower=True, unit_diagonal=True)
    return jnp.tril(q @ k.T) @ E


def delta_loop(c, q, k, v, beta):
    S = [[Fraction(0)] * k.shape[1] for _ in range(v.shape[1])]
    out = []
    for t in range(len(k)):
        e = [beta[t] * (v[t, i] - sum(S[i][j] * k[t, j] for j in range(k.shape[1]))) for i in range(v.shape[1])]
        S = [[S[i][j] + e[i] * k[t, j] for j in range(k.shape[1])] for i in range(v.shape[1])]
        out.append([sum(S[i][j] * q[t, j] for j in range(k.shape[1])) for i in range(v.shape[1])])
    return np.array(out, object)


def attention(c, q, k, v):
    return jnp.tril(q @ k.T) @ v


def attention_loop(c, q, k, v):
    T = len(k)
    out = [[Fraction(0)] * v.shape[1] for _ in range(T)]
    for t in range(T):
        for i in range(t + 1):
            score = sum(q[t, j] * k[i, j] for j in range(k.shape[1]))
            out[t] = [o + score * x for o, x in zip(out[t], v[i], strict=True)]
    return np.array(out, object)


def gauss(c, A, b):
    """Exact elimination; the zero of a pivot column raises ZeroDivisionError."""
    n = len(b)
    M = [[*A[i], b[i]] for i in range(n)]
    for i in range(n):
        p = next((r for r in range(i, n) if M[r][i] != 0), None)
        if p is None:
            raise ZeroDivisionError
        M[i], M[p] = M[p], M[i]
        for r in range(n):
            if r != i:
                M[r] = [x - M[r][i] / M[i][i] * y for x, y in zip(M[r], M[i], strict=True)]
    return np.array([M[i][n] / M[i][i] for i in range(n)], object)


def gradient(c, W, x, y):
    return jax.grad(lambda W: c(0.5) * jnp.sum((W @ x - y) ** 2))(W)


def gradient_loop(c, W, x, y):
    e = [sum(W[i, j] * x[j] for j in range(len(x))) - y[i] for i in range(len(y))]
    return np.array([[e[i] * x[j] for j in range(len(x))] for i in range(len(y))], object)


def prefix(op):
    def exact(c, x):
        out = [x[0]]
        for value in x[1:]:
            out.append(op(out[-1], value))
        return np.array(out, object)

    return exact


def total(values):
    return np.array(sum(values.ravel().tolist(), Fraction(0)), object)


def where_exact(c, x, y):
    return np.array([a if a > b else 2 * b for a, b in zip(x, y, strict=True)], object)


def scattered(c, x, y):
    return np.array([x[0] + y[1], x[1] + y[0] + y[2], x[2]], object)


def softmax_exact(c, x):
    e = np.exp(x - x.max())
    return e / e.sum()


RATIONAL = [
    same("cancellation", lambda c, x, y: ((x + y) - x - y) ** 2, (3,), (3,)),
    same("horner", lambda c, x, y: (c(0.1) * x + y) * x - c(3.0) * y, (3,), (3,)),
    same("fma", lambda c, x, y, z: (x * y - z) * z, (3,), (3,), (3,)),
    same("products differ", lambda c, x, y, z: (x * y - z) - (x * y + z), (3,), (3,), (3,)),
    same("quotient", lambda c, x, y: (x * y) / (y + c(3.0)), (3,), (3,)),
    same("divide by constant", lambda c, x: x / c(49.0) + x / c(3.0), (3,)),
    same("nested quotients", lambda c, x, y, z: (x / y) / z + x / (y / z), (3,), (3,), (3,)),
    same("quotient of quotients", lambda c, x, y, z, w: (x / y) / (z / w), (3,), (3,), (3,), (3,)),
    same("constant chain", lambda c, x, y: (x * c(300.0)) * c(200.0) * y, (3,), (3,)),
    same("large constants", lambda c, x: (x * c(1e25)) * c(1e-30) * c(1e20), (3,), narrow=False),
    same("shifts", lambda c, x: (x + c(0.1)) + c(0.7), (3,)),
    same("powers of two", lambda c, x, y: x * c(2.0**-10) + y * c(2.0**-10), (3,), (3,)),
    same("cubes", lambda c, x, y: x**3 - y * y * y, (3,), (3,)),
    same("inverse square", lambda c, x: x**-2 * x, (3,)),
    same("matmul", lambda c, A, B: A @ B, (3, 5), (5, 2)),
    Program("sum", lambda c, x: jnp.sum(x), lambda c, x: total(x), ((9,),)),
    Program("sum of sums", lambda c, x: jnp.sum(jnp.sum(x, 1), 0), lambda c, x: total(x), ((2, 3),)),
    Program("mean deviation", lambda c, x: x - jnp.sum(x) / c(8.0), lambda c, x: x - total(x) / 8, ((8,),)),
    Program("cumsum", lambda c, x: lax.cumsum(x), prefix(lambda a, b: a + b), ((8,),)),
    Program("cumprod", lambda c, x: lax.cumprod(x), prefix(lambda a, b: a * b), ((4,),)),
    Program(
        "scaled product",
        lambda c, x: jnp.prod(-(x * c(200.0))),
        lambda c, x: np.array(x[0] * x[1] * x[2] * x[3] * c(200.0) ** 4),
        ((4,),),
    ),
    Program("share", lambda c, x: x / jnp.sum(x), lambda c, x: x / total(x), ((4,),)),
    Program(
        "first over all", lambda c, x: x / x[0] - jnp.max(x / x[0]), lambda c, x: x / x[0] - max(x / x[0]), ((4,),)
    ),
    Program("relu", lambda c, x, y: jnp.maximum(x - y, 0), lambda c, x, y: np.maximum(x - y, 0), ((3,), (3,))),
    Program(
        "where", lambda c, x, y: jnp.where(x > y, x, 2 * y), where_exact, ((3,), (3,)), simple=False
    ),  # doubling is exact
    Program("scatter", lambda c, x, y: x.at[jnp.array([1, 0, 1])].add(y), scattered, ((3,), (3,))),
    Program("attention", attention, attention_loop, ((4, 2), (4, 2), (4, 3))),
    Program("delta", delta, delta_loop, ((4, 2), (4, 2), (4, 2), (4,)), simple=False),
    Program("delta, parallel", delta_parallel, delta_loop, ((4, 2), (4, 2), (4, 2), (4,)), simple=False, narrow=False),
    Program("solve", lambda c, A, b: jnp.linalg.solve(A, b), gauss, ((3, 3), (3,)), simple=False, narrow=False),
    Program("gradient", gradient, gradient_loop, ((2, 3), (3,), (2,))),
]

SMOOTH = [
    Program(
        "exponents add", lambda c, x, y: jnp.exp(x) * jnp.exp(y), lambda c, x, y: np.exp(x + y), ((3,), (3,)), True
    ),
    Program("exponents part", lambda c, x, y: x / jnp.exp(y), lambda c, x, y: x * np.exp(-y), ((3,), (3,)), True),
    Program("gates", lambda c, g: jnp.exp(lax.cumsum(-abs(g))), lambda c, g: np.exp(np.cumsum(-abs(g))), ((6,),), True),
    Program("softmax", lambda c, x: jax.nn.softmax(x), softmax_exact, ((4,),), True),
    Program("norm", lambda c, x: x / jnp.linalg.norm(x), lambda c, x: x / np.sqrt((x * x).sum()), ((4,),), True),
    Program("logarithm", lambda c, x: jnp.log(x * x), lambda c, x: np.log(x * x), ((3,),), True),
    Program("tanh", lambda c, x, y: jnp.tanh(x * y), lambda c, x, y: np.tanh(x * y), ((3,), (3,)), True),
    Program("silu", lambda c, x: x * jax.nn.sigmoid(x), lambda c, x: x / (1 + np.exp(-x)), ((3,),), True),
    Program("waves", lambda c, x: jnp.sin(x) - jnp.cos(x), lambda c, x: np.sin(x) - np.cos(x), ((3,),), True),
]

PROGRAMS = RATIONAL + SMOOTH


def draw(rng: np.random.Generator, dtype: str, shapes: tuple, smooth: bool) -> list[np.ndarray]:
    """One draw of all inputs: moderate, integer, nearly equal, over many decades, tiny, huge, subnormal or zero."""
    kind = rng.integers(8)
    decades = DECADES[dtype] if not smooth else 1.5
    n = max(int(np.prod(s)) for s in shapes)
    base = rng.standard_normal(n)
    out = []
    for shape in shapes:
        size = int(np.prod(shape))
        x = rng.standard_normal(size)
        if kind == 1:
            x = rng.integers(-3, 4, size).astype(float)
        elif kind == 2:
            x = base[:size] * (1 + rng.standard_normal(size) * 10.0 ** rng.uniform(-17, -1))
        elif kind == 3:
            x = x * 10.0 ** rng.uniform(-decades, decades, size)
        elif kind == 4:
            x = x * 10.0 ** (-decades * rng.uniform(0.3, 0.7))
        elif kind == 5:
            x = x * 10.0 ** (decades * rng.uniform(0.1, 0.5))
        elif kind == 6:
            x = np.where(rng.random(size) < 0.2, x * 2.0 ** (-1030 if dtype == "float64" else -130), x)
        elif kind == 7:
            x = np.where(rng.random(size) < 0.3, 0.0, np.round(x * 4) / 4)
        with np.errstate(all="ignore"):
            out.append(x.reshape(shape).astype(NUMPY[dtype]))
    return out


def oracle(program: Program, dtype: str, inputs: list) -> np.ndarray | None:
    """The exact result, None where there is none (a division by zero)."""

    def rounded(value):
        return float(np.asarray(value, np.float64).astype(NUMPY[dtype]))

    if program.smooth:
        with np.errstate(all="ignore"):
            return np.asarray(program.exact(lambda v: LONG(rounded(v)), *(x.astype(LONG) for x in inputs)))
    exact = [np.array([Fraction(float(v)) for v in x.ravel()], object).reshape(x.shape) for x in inputs]
    try:
        return np.asarray(program.exact(lambda v: Fraction(rounded(v)), *exact), object)
    except ZeroDivisionError:
        return None


def error(computed: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """|computed - exact| rounded up to float64: infinite where the computed value is not a number."""
    flat = []
    for y, r in zip(np.asarray(computed).astype(np.float64).ravel(), exact.ravel(), strict=True):
        if not np.isfinite(y):
            flat.append(0.0 if isinstance(r, LONG) and r == y else np.inf)
        elif isinstance(r, Fraction | int):
            gap = abs(Fraction(float(y)) - r)
            near = float(gap) if gap < 2**1023 else np.inf
            flat.append(near if near >= gap else float(np.nextafter(near, np.inf)))
        else:
            flat.append(float(abs(LONG(y) - r)))
    return np.array(flat).reshape(exact.shape)
