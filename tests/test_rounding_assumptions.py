"""What rounding bounds assume of the compiler, and programs that try to break each assumption on this release of JAX.

The list is the one of `dualform.prove.rounding` and of docs/proof-and-rounding.md, in its order.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from dualform.prove import rounding_bound

LONG = np.longdouble
RNG = np.random.default_rng(7)


def f32(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def near(rows: int, columns: int) -> np.ndarray:
    """Rows that are constant but for their last bits: differences inside a row are all rounding."""
    return (RNG.normal(size=(rows, 1)) + 1e-7 * RNG.normal(size=(rows, columns))).astype(np.float32)


def loud(x):
    """A value whose error, about 0.06, is a million times its operands' rounding: two copies of it differ visibly."""
    return 1e6 * (x - x.mean(-1, keepdims=True))


SILENT = 4e-3
"""A bound below this is broken as soon as two readers see different copies of a loud value."""


def readers(c):
    """One value read by several kernels, in ways that cancel where all of them see the same number."""
    return (c[::-1] - c).sum(0) + (jnp.cumsum(c, 0)[-1] - c.sum(0)) + (c * 0.7 - c[::-1] * 0.7).sum(0)


def assert_within_bound(f, *arguments, silent: float = np.inf):
    value, bound = rounding_bound(f, *arguments)
    computed = np.asarray(jax.jit(f)(*arguments)).astype(np.float64)
    assert (bound < silent).all(), "the test wants a bound that can fail"
    assert (np.abs(computed - value) <= bound).all(), f"error {np.abs(computed - value).max()}, bound {bound.max()}"


def test_two_copies_of_an_elementwise_value_differ():
    """The reason for all this: the compiler rounds one copy of a loud value otherwise than the other."""
    x = near(8, 3)
    assert np.abs(np.asarray(jax.jit(lambda x: readers(loud(x)))(x))).max() > SILENT
    assert_within_bound(lambda x: readers(loud(x)), x)


# --- basic operations ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", [jnp.add, jnp.subtract, jnp.multiply])
def test_basic_operations_are_rounded_correctly(operation):
    scale = np.exp2(RNG.integers(-30, 30, 100_000)).astype(np.float32)
    a, b = f32(100_000) * scale, f32(100_000) * np.flip(scale)
    exact = getattr(np, operation.__name__)(a.astype(np.float64), b.astype(np.float64))  # 48 bits: no rounding matters
    assert np.array_equal(np.asarray(jax.jit(operation)(a, b)), exact.astype(np.float32))


@pytest.mark.parametrize("repeated", [False, True])
def test_division_rounds_once_or_by_a_reciprocal(repeated):
    a, b = f32(100_000), f32(100_000)
    computed = np.asarray(jax.jit(lambda a, b: a / (b[:1] if repeated else b))(a, b)).astype(LONG)
    exact = a.astype(LONG) / (b[:1] if repeated else b).astype(LONG)
    assert (np.abs(computed - exact) <= 2 * 2.0**-24 * np.abs(exact)).all()


# --- contractions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shapes", [((64,), (64,)), ((5, 64), (64,)), ((33, 64), (64, 17)), ((60, 500), (500, 40))])
def test_products_are_formed_in_the_dtype_of_the_program(shapes):
    a, b = (f32(*shape) for shape in shapes)
    exact, size = a.astype(float) @ b.astype(float), np.abs(a).astype(float) @ np.abs(b)
    assert (np.abs(np.asarray(jax.jit(jnp.matmul)(a, b)) - exact) <= a.shape[-1] * 2.0**-24 * size).all()


@pytest.mark.parametrize(
    "shapes", [((64,), (64,)), ((6, 64), (64,)), ((64,), (64, 6)), ((6, 64), (64, 7)), ((18, 64), (64, 20))]
)
def test_nothing_is_added_into_the_accumulator_of_a_contraction(shapes):
    a, b = (np.abs(f32(*shape)) * np.float32(0.01) for shape in shapes)
    start = np.full((a @ b).shape, 1e5, np.float32)
    for f in (
        lambda c, a, b: c + a @ b,
        lambda c, a, b: a @ b + c,
        lambda c, a, b: a @ b - c,
        lambda c, a, b: c - a @ b,
    ):
        assert_within_bound(f, start, a, b)
    if len(shapes[0]) == 1 and len(shapes[1]) == 1:
        assert_within_bound(lambda c, a, b: c + jnp.sum(a * b), start, a, b)


# --- values computed once -----------------------------------------------------------------------------------------

PRODUCTS = [
    ((4, 3), (3,)),
    ((4, 3), (3, 2)),
    ((3,), (3, 4)),
    ((9, 12), (12, 5)),
    ((5, 2), (2, 6)),
    ((2, 3, 4), (2, 4, 5)),
]


@pytest.mark.parametrize("shapes", PRODUCTS)
def test_products_of_matrices_are_computed_once(shapes):
    a, b = near(6, shapes[0][-1])[0] + 0 * f32(*shapes[0]), f32(*shapes[1])
    assert_within_bound(lambda a, b: readers(loud(a) @ b), a, b, silent=SILENT)
    assert_within_bound(lambda a, b: readers((loud(a) * 1.0) @ (b * 0.3 * 2.0)), a, b, silent=SILENT)


def carried(x, length, unroll):
    def body(c, row):
        new = 0.5 * c + loud(row)
        return new, new * 0.7 - c

    c, rows = lax.scan(body, jnp.zeros(x.shape[1]), x[:length], unroll=unroll)
    return readers(rows) + readers(jnp.stack([c, c]) * 0.3)


@pytest.mark.parametrize(("length", "unroll"), [(1, 1), (2, 1), (3, 1), (5, 1), (4, 2), (5, 2), (5, 4), (4, 4), (7, 3)])
def test_what_loops_carry_and_write_is_computed_once(length, unroll):
    """Loops of one trip, which the compiler writes out, make no such promise."""
    looped = length // unroll > 1 and length % unroll == 0
    assert_within_bound(lambda x: carried(x, length, unroll), near(8, 3), silent=SILENT if looped else np.inf)


@pytest.mark.parametrize("trips", [1, 2, 3])
def test_what_other_loops_carry_is_computed_once(trips):
    def counted(x):
        return readers(lax.fori_loop(0, trips, lambda i, c: loud(x) + c[::-1] * 0.3, x))

    def tested(x):
        def body(state):
            return state[0] + 1, loud(x) + state[1][::-1] * 0.3

        return readers(lax.while_loop(lambda state: state[0] < trips, body, (0, x))[1])

    for f in (counted, tested):
        assert_within_bound(f, near(6, 3), silent=SILENT if trips > 1 else np.inf)


def test_what_loops_read_is_computed_once():
    def f(x):
        c = loud(x)
        return lax.scan(lambda s, i: (s + (c[i] - c[5 - i]), c[0] - c[i]), jnp.zeros(3), jnp.arange(6))

    assert_within_bound(lambda x: f(x)[0], near(6, 3), silent=SILENT)
    assert_within_bound(lambda x: readers(f(x)[1]), near(6, 3), silent=SILENT)


def test_products_of_matrices_read_one_copy():
    swapped = np.array([1, 0, 3, 2])

    def f(x, a, b):
        c = loud(x)
        return (c @ a)[:, swapped] - c @ b

    choice = np.eye(4, dtype=np.float32)
    assert_within_bound(f, near(6, 4), choice, choice[:, swapped], silent=SILENT)


def test_solutions_are_computed_once():
    A = f32(3, 3) + 4 * np.eye(3, dtype=np.float32)
    b = near(3, 4)
    assert_within_bound(lambda A, b: readers(jnp.linalg.solve(A, loud(b))), A, b, silent=SILENT)
    assert_within_bound(
        lambda A, b: readers(lax.linalg.triangular_solve(A, loud(b), left_side=True)), A, b, silent=SILENT
    )


def test_a_square_is_not_negative():
    def f(x):
        c = loud(x)
        return jnp.sqrt(c * c) + jnp.sqrt(jnp.square(c)) + jnp.sqrt(jnp.sum(c * c, -1, keepdims=True))

    assert not np.isnan(jax.jit(f)(near(100_000, 3))).any()


# --- integers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("integer", ["int8", "uint8", "int16", "uint16", "int32", "uint32"])
@pytest.mark.parametrize("real", ["float32", "float16", "bfloat16"])
def test_floats_become_integers_by_saturation(real, integer):
    limits = np.iinfo(integer)
    ends = [float(e) + d for e in (limits.min, limits.max, 0) for d in (-2.5, -1.5, -0.5, 0.0, 0.5, 1.5)]
    with np.errstate(over="ignore"):
        x = np.array([*ends, 3e38, -3e38, np.inf, -np.inf, np.nan]).astype(jnp.dtype(real))
    whole = np.trunc(np.nan_to_num(x.astype(float), nan=0.0, posinf=1e300, neginf=-1e300))
    wanted = [min(max(int(v), int(limits.min)), int(limits.max)) for v in whole]
    assert np.asarray(jax.jit(lambda v: v.astype(integer))(x)).tolist() == wanted
    assert rounding_bound(lambda v: v.astype(integer), x).value.tolist() == wanted


REMOVED = {
    "minimum": lambda v: jnp.minimum(v, v),
    "maximum": lambda v: jnp.maximum(v, v),
    "where": lambda v: jnp.where(v > 0, v, v),
    "where, constant": lambda v: jnp.where(True, v, 0.0),
    "mask of ones": lambda v: jnp.where(jnp.ones(2, bool), v, 0.0),
    "clip at infinity": lambda v: jnp.clip(v, -jnp.inf, jnp.inf),
    "times 1": lambda v: v * 1.0,
    "over 1": lambda v: v / 1.0,
    "plus 0": lambda v: v + 0.0,
    "twice negated": lambda v: jnp.negative(jnp.negative(v)),
    "power 1": lambda v: v**1,
    "sum of one": lambda v: jnp.sum(v[None], 0),
    "maximum of one": lambda v: jnp.max(v[None], 0),
    "padded and cut": lambda v: jnp.pad(v, 1)[1:-1],
    "cut and joined": lambda v: jnp.concatenate([v[:1], v[1:]]),
    "written over": lambda v: jax.lax.dynamic_update_slice(jnp.zeros(2), v, (0,)),
    "reversed twice": lambda v: v[::-1][::-1],
    "branches alike": lambda v: jax.lax.cond(v[0] > 0, lambda u: u, lambda u: u, v),
    "loop of one turn": lambda v: jax.lax.fori_loop(0, 1, lambda i, c: v, v),
}


@pytest.mark.parametrize("name", REMOVED)
def test_what_the_compiler_removes_hides_no_quotient(name):
    """(a / b) / (a / b) becomes (a b) / (b a), whose products overflow where the quotients do not."""
    x = jnp.asarray([8.1e18, -2.88e19], jnp.float32)

    def f(x):
        quotient = x / (jnp.abs(x) + 1)
        return quotient / REMOVED[name](quotient)

    value, bound = rounding_bound(f, x)
    with np.errstate(invalid="ignore"):
        error = np.abs(np.asarray(jax.jit(f)(x), np.float64) - value)
    assert np.all((error <= bound) | np.isinf(bound)), (error, bound)


def test_a_quotient_that_is_hidden_by_nothing_overflows():
    """The compiler does what the test above assumes."""
    x = jnp.asarray([-2.88e19], jnp.float32)
    assert np.isnan(jax.jit(lambda x: (v := x / (jnp.abs(x) + 1)) / jnp.minimum(v, v))(x)).all()
