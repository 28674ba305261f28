"""What each rule of rounding arithmetic promises."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from hypothesis import given
from hypothesis import strategies as st
from jax import lax
from rounding_programs import LONG, NUMPY, UNIT, cancel

from dualform.prove.errors import UnsupportedPrimitive
from dualform.prove.rounding import bound as entry
from dualform.prove.rounding import charges, rounding_bound

RNG = np.random.default_rng(3)
X, Y = (RNG.standard_normal((2, 40)) * [[1e3], [1.0]]).astype(np.float32)


def f32(*shape, scale=1.0):
    return (RNG.standard_normal(shape) * scale).astype(np.float32)


def holds(f: Callable, *inputs, exact=None) -> float:
    """Asserts that a float32 program stays within its bound of its float64 value; returns the worst error / bound."""
    value, bound = rounding_bound(f, *inputs)
    reference = value if exact is None else exact
    worst = 0.0
    for run in (jax.jit(f), lambda *a: f(*map(jnp.asarray, a))):
        pairs = zip(jax.tree.leaves(run(*inputs)), jax.tree.leaves(reference), jax.tree.leaves(bound), strict=True)
        for y, z, b in pairs:
            with np.errstate(invalid="ignore"):
                e = np.where(np.asarray(y, float) == z, 0.0, np.abs(np.asarray(y, float) - z))
            assert not np.isnan(b).any()
            assert (e <= b).all(), (e, b)
            worst = max(
                worst, float(np.divide(e, b, out=np.zeros_like(e), where=(b > 0) & (b < np.inf)).max(initial=0))
            )
    return worst


# --- charges ----------------------------------------------------------------------------------------------------

RANGES = {
    "sqrt": (lax.sqrt, np.sqrt, (1e-30, 1e30), False),
    "rsqrt": (lax.rsqrt, lambda x: 1 / np.sqrt(x), (1e-30, 1e30), False),
    "cbrt": (lax.cbrt, np.cbrt, (1e-30, 1e30), True),
    "exp": (lax.exp, np.exp, (1e-9, 88.7), True),
    "expm1": (lax.expm1, np.expm1, (1e-9, 88.7), True),
    "log": (lax.log, np.log, (1e-30, 1e30), False),
    "log1p": (lax.log1p, np.log1p, (1e-9, 0.999), True),
    "logistic": (lax.logistic, lambda x: 1 / (1 + np.exp(-x)), (1e-9, 80), True),
    "tanh": (lax.tanh, np.tanh, (1e-9, 30), True),
    "erf": (lax.erf, scipy.special.erf, (1e-9, 6), True),
    "sin": (lax.sin, np.sin, (1e-9, 1e4), True),
    "cos": (lax.cos, np.cos, (1e-9, 1e4), True),
}
RANGES |= {
    "tan": (lax.tan, np.tan, (1e-9, 1e4), True),
    "asin": (lax.asin, np.arcsin, (1e-9, 1.0), True),
    "acos": (lax.acos, np.arccos, (1e-9, 0.999), True),
    "atan": (lax.atan, np.arctan, (1e-9, 1e9), True),
    "sinh": (lax.sinh, np.sinh, (1e-9, 80.0), True),
    "cosh": (lax.cosh, np.cosh, (1e-9, 80.0), True),
    "asinh": (lax.asinh, np.arcsinh, (1e-9, 1e30), True),
    "acosh": (lax.acosh, np.arccosh, (1.001, 1e30), False),
    "atanh": (lax.atanh, np.arctanh, (1e-9, 0.999), True),
    "erfc": (lax.erfc, scipy.special.erfc, (1e-9, 8.0), True),
}
RANGES["exp2"] = (lax.exp2, np.exp2, (1e-9, 120.0), True)
ARGUMENTS = {
    "exp2": lambda x: 1.5 * np.abs(x),
    "sinh": np.abs,
    "cosh": np.abs,
    "erfc": lambda x: 2 * np.maximum(x, 0) ** 2,
}
"""Further units of roundoff where XLA scales the argument of an exponential before it takes it."""
LOOSE = {
    *((name, "float64") for name in ("log1p", "atanh", "atan", "expm1")),
    *((name, "float32") for name in ("exp", "expm1")),
}
"""Charges that one release of XLA needs and another does not."""


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_charges_cover_the_functions_over_their_range(dtype):
    """The stated charges are assumptions about XLA: measured here against a wider format."""
    seen = {}
    for name, (f, reference, (low, high), both) in RANGES.items():
        if dtype == "float64" and name in ("erf", "erfc"):
            continue  # no wider reference
        x = np.geomspace(low, min(high, 10.0) if dtype == "float16" else high, 100_000)
        x = np.concatenate([x, np.linspace(low, min(high, 2.0), 50_000)])
        x = (np.concatenate([x, -x]) if both else x).astype(NUMPY[dtype])
        with jax.enable_x64(dtype == "float64"):
            y = np.asarray(jax.jit(f)(x))
        wide = LONG if dtype == "float64" else np.float64
        with np.errstate(all="ignore"):
            exact = reference(x.astype(wide))
            unit = charges.unit(dtype)
            kept = (np.abs(exact) < unit.largest * 0.99) & np.isfinite(exact)
            relative = np.maximum(np.abs(y.astype(wide) - exact) - unit.tiny, 0) / (unit.u * np.abs(exact))
        allowed = charges.charge(name, unit) + (ARGUMENTS[name](x.astype(float)) if name in ARGUMENTS else 0.0)
        share = np.where(kept & (exact != 0), relative / allowed, 0.0)
        seen[name] = round(float(np.nanmax(share)), 2)
    print(dtype, "share of the charge used:", seen)
    assert max(seen.values()) <= 1.0
    if dtype in ("float32", "float64"):
        tight = [share for name, share in seen.items() if (name, dtype) not in LOOSE]
        assert min(tight) > 0.15, "a charge far above what is seen"


# --- contract ---------------------------------------------------------------------------------------------------


def test_structure_integers_and_setting():
    def f(state, n):
        return {"sum": state["a"] + state["b"][0], "index": n + 1, "picked": state["a"][n]}

    state = {"a": f32(3), "b": (np.float64(0.1), None)}
    value, bound = rounding_bound(f, state, 2, dtype="float32")
    assert set(value) == set(bound) == {"sum", "index", "picked"}
    assert value["index"] == 3 and bound["index"] == 0 and bound["picked"] == 0
    assert value["picked"] == state["a"][2] and value["sum"].dtype == np.float64
    assert np.array_equal(value["sum"], state["a"].astype(float) + float(np.float32(0.1))), "inputs are rounded first"
    assert jnp.result_type(float) == jnp.float32


def test_float64_without_touching_the_setting():
    value, bound = rounding_bound(lambda x: x * 0.1, np.array([1.0, 3.0]))
    assert jnp.result_type(float) == jnp.float32
    assert (bound <= 2.0**-52 * value).all() and (bound > 0).all()
    with jax.enable_x64(True):
        inside = rounding_bound(lambda x: x * 0.1, np.array([1.0, 3.0]))
    assert np.array_equal(inside[1], bound)


def test_moving_elements_costs_nothing():
    x = f32(3, 4)
    _, bound = rounding_bound(lambda x: jnp.concatenate([-x.T, x.T[::-1]]).reshape(-1)[3:] * 2.0, x)
    assert (bound < 2.0**-125).all(), "doubling may underflow, but not round"
    assert not rounding_bound(lambda x: jnp.where(jnp.tri(3, 4) > 0, x, 0), x)[1].any()


@pytest.mark.parametrize("bad", [np.ones(2, complex), np.array(["a"])])
def test_inputs_that_are_not_numbers(bad):
    with pytest.raises(ValueError, match=r"input has dtype .* expected floats"):
        rounding_bound(lambda x: x, bad)


@pytest.mark.parametrize("dtype", ["int8", "float8_e4m3fn", "double precision"])
def test_dtypes_that_are_not_known(dtype):
    with pytest.raises(ValueError, match=r"dtype is .*: expected one of float64"):
        rounding_bound(lambda x: x, np.ones(2), dtype=dtype)


def test_unsupported_primitives_name_the_line():
    with pytest.raises(UnsupportedPrimitive, match=r"'lgamma'.*test_rounding_rules\.py"):
        rounding_bound(lambda x: lax.lgamma(x), f32(2))


def test_overflow_is_infinite_and_never_nan():
    x = np.array([1e38, 1.0, 0.0], np.float32)
    for f in (lambda x: x * 10, lambda x: (x * 10) - (x * 10), lambda x: jnp.exp(x), lambda x: 1 / x):
        bound = rounding_bound(f, x)[1]
        assert not np.isnan(bound).any() and np.isfinite(bound[1]) and np.isinf(bound).any()


def test_the_running_bound_takes_over_where_sweeps_would_take_too_long(monkeypatch):
    """(R4) is a bound as well: close to (R3) where no errors cancel, cruder in a recursion."""

    def program(x, y):
        return jnp.tril(x @ y) @ x

    def recursion(x, y):
        return lax.fori_loop(0, 30, lambda i, s: s - 1.5 * (s - y), x)

    x, y = f32(6, 4), f32(4, 6)
    swept, repeated = rounding_bound(program, x, y)[1], rounding_bound(recursion, X, Y)[1]
    monkeypatch.setattr(entry, "EFFORT", 0)
    assert holds(program, x, y) > 0.05 and holds(recursion, X, Y) >= 0.0
    assert (rounding_bound(program, x, y)[1] <= swept * 1.5).all()
    assert (rounding_bound(recursion, X, Y)[1] > repeated * 2).all()


# --- masks and switches -----------------------------------------------------------------------------------------


def test_minus_infinity_masks_and_gates():
    x, mask = f32(5, 5), np.tri(5, dtype=bool)
    assert holds(lambda x: jax.nn.softmax(jnp.where(mask, x, -jnp.inf), axis=-1), x) > 0.05
    g = np.array([-0.3, -np.inf, -0.2, -1e4, 0.0], np.float32)
    value, bound = rounding_bound(lambda g: jnp.exp(jnp.cumsum(g)), g)
    assert (value[1:] == 0).all() and np.isfinite(bound).all() and not bound[1:3].any()
    assert holds(lambda g: jnp.exp(jnp.cumsum(g)), g) > 0.0
    assert np.isfinite(rounding_bound(lambda a: jnp.exp(jnp.cumsum(jnp.log(a))), np.array([0.5, 0, 2], "f"))[1]).all()

    def decays(g):  # exp of differences of running sums, as chunked gated rules form them
        total = jnp.cumsum(g)
        return jnp.exp(jnp.where(mask, total[:, None] - total[None], -jnp.inf))

    holds(decays, f32(5))


def test_switches_away_from_their_edge_cost_nothing():
    x = np.array([2.0, -3.0, 0.0], np.float32)
    for f in (
        jnp.abs,
        jax.nn.relu,
        jnp.sign,
        jnp.floor,
        lambda x: jnp.clip(x, -1, 1),
        lambda x: jnp.where(x > 1, x, -x),
    ):
        assert not rounding_bound(f, x)[1].any()
        holds(f, x)


def test_switches_on_their_edge_take_the_hull():
    for f in (
        lambda x, y: jnp.sign(cancel(x, y)),
        lambda x, y: jnp.floor(cancel(x, y)),
        lambda x, y: jnp.maximum(cancel(x, y), 0) * 1e6,
        lambda x, y: jnp.where(cancel(x, y) > 0, x, y),
        lambda x, y: (cancel(x, y) > 0).astype(jnp.float32),
        lambda x, y: jnp.where((cancel(x, y) > 0) & (x > 0) | (y > 9), 3.0, 4.0),
        lambda x, y: jnp.max(cancel(x, y)) + jnp.min(x + y),
        lambda x, y: jnp.sqrt(jnp.abs(cancel(x, y))),
        lambda x, y: jnp.clip(x + y, -100, 100),
    ):
        holds(f, X, Y)


def test_choices_that_rounding_can_change_are_refused():
    x, y = X[:8], Y[:8]
    for f in (
        lambda x, y: lax.cond(cancel(x, y)[0] > 0, lambda: 1.0, lambda: 2.0),
        lambda x, y: lax.while_loop(lambda s: cancel(x, s)[0] > 0, lambda s: s + 1, y),
        lambda x, y: jnp.argmax(cancel(x, y)),
        lambda x, y: jnp.argsort(cancel(x, y)),
        lambda x, y: lax.top_k(cancel(x, y), 3),
        lambda x, y: x[(cancel(x, y)[0] > 0).astype(int)],
    ):
        with pytest.raises(UnsupportedPrimitive, match="rounding"):
            rounding_bound(f, x, y)


def test_choices_that_rounding_cannot_change_are_taken():
    x = np.array([3.0, -1.0, 2.0], np.float32)
    holds(lambda x: lax.cond(x[0] > 1, lambda: x * 0.1, lambda: x), x)
    holds(lambda x: lax.while_loop(lambda s: jnp.sum(s) < 100, lambda s: s * 1.7, x), x)
    holds(lambda x: x[jnp.argmax(x)] * x[jnp.argsort(x)], x)
    holds(lambda x: jnp.max(x, axis=1), np.zeros((0, 3), np.float32))
    holds(lambda x: jnp.prod(x, axis=1), np.zeros((2, 0), np.float32))
    holds(lambda x: jnp.prod(x, axis=0), np.zeros((0, 2), np.float32))
    holds(lambda x: lax.fori_loop(0, 5, lambda i, s: s * 0.3 + x[i % 3], x), x)


# --- linear systems and programs of programs --------------------------------------------------------------------


@pytest.mark.parametrize("left_side", [True, False])
@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("transpose_a", [True, False])
@pytest.mark.parametrize("unit_diagonal", [True, False])
def test_triangular_systems_in_every_layout(left_side, lower, transpose_a, unit_diagonal):
    A, b = f32(2, 3, 3) + 2 * np.eye(3, dtype=np.float32), f32(2, 3, 4) if left_side else f32(2, 4, 3)

    def f(A, b):
        A, b = A * A + 1, b * b
        return lax.linalg.triangular_solve(
            A, b, left_side=left_side, lower=lower, transpose_a=transpose_a, unit_diagonal=unit_diagonal
        )

    value, _ = rounding_bound(f, A, b)
    with jax.enable_x64(True):
        assert np.allclose(value, f(jnp.asarray(A, float), jnp.asarray(b, float)), rtol=2.0**-30, atol=0)
    assert holds(f, A, b) > 0.01


def test_general_systems():
    A, b = f32(4, 4) + 4 * np.eye(4, dtype=np.float32), f32(4)
    spd = (A @ A.T).astype(np.float32)
    for f, inputs in (
        (lambda A, b: jnp.linalg.solve(A * A, b * b), (A, b)),
        (lambda A, b: jnp.linalg.solve(A, b), (A, f32(4, 3))),
        (lambda A, b: jnp.linalg.solve(A, b[..., None])[..., 0], (np.stack([A, spd]), f32(2, 4))),
        (lambda A: jnp.linalg.inv(A), (A,)),
        (lambda A, b: jax.scipy.linalg.solve(A * 2, b, assume_a="pos"), (spd, b)),
        (jax.grad(lambda A, b: jnp.sum(jnp.linalg.solve(A, b) ** 2), argnums=(0, 1)), (A, b)),
    ):
        assert holds(f, *inputs) > 0.001
    with pytest.raises(UnsupportedPrimitive, match="factors"):
        rounding_bound(jnp.linalg.det, A)


def test_linear_systems_at_the_edge_of_the_range():
    """An entry of L that is flushed to zero, an unknown that overflows, a matrix without inverse."""
    w = np.array([3031040.0, 2.6e-18, -3.9e-33, -1.03e-4])
    A, b = (4 * np.eye(4) + np.outer(w, w)).astype(np.float32), np.array([-1.1e16, -5e-29, -2.6e-13, -6e22], np.float32)
    holds(jnp.linalg.solve, A, b)

    def substitute(A, b):
        return lax.linalg.triangular_solve(A, b, left_side=True, lower=True)

    L = np.array([[1, 0, 0], [1, 1e-30, 0], [1, 1e-30, 1]], np.float32)
    value, bound = rounding_bound(substitute, L, np.array([[1], [1e15], [2]], np.float32))
    assert value[1, 0] > 1e44 and np.isinf(bound[:, 0]).all()
    for f in (jnp.linalg.solve, lambda A, b: substitute(A, b[:, None])):
        assert np.isinf(rounding_bound(f, np.zeros((2, 2), np.float32), np.ones(2, np.float32))[1]).all()


def test_programs_of_programs():
    x, W = f32(4), f32(4, 4, scale=0.5)

    @jax.checkpoint
    def layer(W, x):
        return jnp.tanh(W @ x) * jax.nn.softplus(x)

    def loss(W, x):
        return jnp.sum(jax.jit(layer)(W, layer(W, x)) ** 2)

    assert holds(jax.grad(loss), W, x) > 0.001
    assert holds(jax.vmap(jax.value_and_grad(loss), in_axes=(None, 0)), W, f32(3, 4)) > 0.001
    assert holds(jax.jacfwd(lambda x: jnp.cumprod(x) / jnp.prod(x)), x) > 0.001
    assert holds(jax.grad(lambda x: jnp.sum(x[jnp.array([0, 0, 3])] ** 3)), x) > 0.05
    assert holds(lambda x: jnp.linalg.norm(x) + jax.scipy.special.logsumexp(x) + jnp.std(x), x) > 0.001


def test_accumulating_in_a_wider_dtype_is_charged_less():
    x = f32(64, 64).astype(NUMPY["bfloat16"])
    narrow = rounding_bound(lambda x: x @ x, x)[1]
    wide = rounding_bound(lambda x: jnp.matmul(x, x, preferred_element_type=jnp.float32), x)[1]
    assert wide.max() < narrow.max() * 2.0**-10


def test_zeros_of_a_mask_are_not_counted():
    q, k = f32(32, 4), f32(32, 4)
    bound = rounding_bound(lambda q, k: jnp.where(np.tri(32, dtype=bool), q @ k.T, 0) @ jnp.ones((32, 1)), q, k)[1]
    assert bound[0, 0] < bound[-1, 0] / 8


# --- properties -------------------------------------------------------------------------------------------------

NUMBERS = st.floats(-(2.0**20), 2.0**20, width=32, allow_subnormal=False)


@given(st.lists(NUMBERS, min_size=3, max_size=3), st.integers(-20, 20))
def test_a_power_of_two_scales_value_and_bound(numbers, k):
    """A homogeneous program has no preferred unit: only underflow does not scale."""
    x = np.array(numbers, np.float32)
    scaled = np.ldexp(x, k).astype(np.float32)
    f = lambda x: x[0] * x[1] - x[1] * x[2] + x[2] * x[2] / 3  # noqa: E731
    (v, b), (w, c) = rounding_bound(f, x), rounding_bound(f, scaled)
    room = 2.0**-100 * (1 + np.abs(x).max()) * (1 + 4.0**k)
    assert w == v * 4.0**k
    assert abs(c - b * 4.0**k) <= 2.0**-18 * c + room


@given(st.lists(NUMBERS, min_size=2, max_size=2))
def test_the_bound_covers_a_cancelling_program(numbers):
    x, y = (np.full(1, v, np.float32) for v in numbers)
    holds(lambda x, y: ((x + y) - x - y) * ((x * y) / 3 - y), x, y)


def test_units_are_what_they_say():
    for name, u in UNIT.items():
        unit = charges.unit(name)
        assert u <= unit.u <= u * (1 + 2.0**-27) and unit.narrow == (name in ("float16", "bfloat16"))
        assert unit.largest == float(jnp.finfo(name).max) and unit.tiny == float(jnp.finfo(name).smallest_normal)
    with pytest.raises(ValueError, match="expected one of"):
        charges.unit("int32")


def loud(v):
    """A difference that is all rounding, a million times."""
    return 1e6 * (v - v.mean(-1, keepdims=True))


FROM_DATA = {
    "quantised": lambda y: jnp.round(y * 127).astype(jnp.int8).astype(y.dtype) / 127,
    "mask": lambda y: (y > 0).astype(y.dtype) / 3,
    "choice": lambda y: jnp.where(y > 0, 1.0, 2.0) / 3,
    "sign": lambda y: jnp.sign(y) / 3,
    "floor": lambda y: jnp.floor(y) / 3,
    "position": lambda y: (jnp.argmax(y, -1, keepdims=True) + jnp.zeros(y.shape, int)).astype(y.dtype) / 127,
    "looked-up": lambda y: jnp.arange(3.0, dtype=y.dtype)[(y > 0).astype(int)] / 3,
    "in-a-loop": lambda y: lax.fori_loop(0, 3, lambda i, c: c + (y > i).astype(int), jnp.zeros(y.shape, int)) / 3.0,
}


@pytest.mark.parametrize("name", FROM_DATA)
def test_no_compiler_computes_with_what_comes_from_data(name):
    """It is exact, but what is computed from it is rounded when the program runs."""
    y = np.array([[2.08, 2.09, 2.1, 2.2, 2.3, 2.4]])
    with jax.enable_x64(True):
        f = lambda y: loud(FROM_DATA[name](y))  # noqa: E731
        value, bound = rounding_bound(f, y)
        assert (bound > 1e-12).all()
        assert (np.abs(np.asarray(jax.jit(f)(y)) - value) <= bound).all()


def test_no_compiler_computes_with_integers_that_are_given():
    f = lambda i: loud(i.astype(jnp.float32) / 3)  # noqa: E731
    assert (rounding_bound(f, np.ones((1, 6), int))[1] > 1e-3).all()
