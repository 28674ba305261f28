"""The interpreter against exact evaluation: every primitive that it knows, as JAX emits it.

Polynomial programs are run by JAX itself in float64 on small integers and halves, where nothing is rounded. Rational
ones are evaluated with Python's fractions, from definitions.
"""

import itertools
import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from exact_programs import CASES
from jax import lax
from residues import FIELD, Gate, fractions, residues, run

from dualform.prove import ProofError, UnsupportedPrimitive, degree
from dualform.prove.programs import Program, Signature


def primitives(jaxpr) -> set[str]:
    """Names of all primitives of a program, those of inner programs included."""
    found = set()
    for eqn in jaxpr.eqns:
        found.add(eqn.primitive.name)
        for value in eqn.params.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                found |= primitives(inner) if hasattr(inner, "eqns") else set()
    return found


# polynomial programs, judged by JAX in float64 ------------------------------------------------------------------------


def exactly(compiled, arguments) -> list[np.ndarray]:
    """The results in float64, where they are small multiples of 2**-20 and hence not rounded."""
    with jax.enable_x64(True):
        out = [np.asarray(x) for x in jax.tree.leaves(compiled(*arguments))]
    for x in out:
        assert np.all(x * 2.0**20 == np.trunc(x * 2.0**20)) and np.all(np.abs(x) < 2.0**30), "the oracle may be rounded"
    return out


@pytest.mark.parametrize("name", CASES)
def test_polynomial_programs(name):
    f, shapes, emits = CASES[name]
    found = primitives(Program.trace(f, Signature.of(shapes)).jaxpr.jaxpr)
    assert all(found & set(names.split("|")) for names in emits), "the case tests something else"
    rng = np.random.default_rng(0)
    whole = [rng.integers(-3, 4, s).astype(float) for s in shapes]
    halves = [rng.integers(-3, 4, s) / 2 for s in shapes]
    compiled = jax.jit(f)
    for arguments in (whole, halves):
        for got, want in zip(run(f, *arguments), exactly(compiled, arguments), strict=True):
            np.testing.assert_array_equal(got, residues(want) if want.dtype == np.float64 else want)


def test_the_table_covers_the_required_primitives():
    required = """
    add sub mul div neg square integer_pow pow dot_general reduce_sum reduce_prod cumsum cumprod scan while cond
    select_n slice dynamic_slice dynamic_update_slice gather scatter scatter-add scatter-sub scatter-mul concatenate
    stack split tile pad rev broadcast_in_dim transpose reshape squeeze sort iota jit custom_jvp_call custom_vjp_call
    remat2 convert_element_type reduce_precision stop_gradient copy device_put optimization_barrier eq ne gt max min
    is_finite rem argmax
    """
    assert set(required.split()) <= {name for case in CASES.values() for name in case.emits}


def test_every_layout_of_a_batched_product():
    """All orders of [batch, rows, inner] and [batch, inner, columns]."""
    rng = np.random.default_rng(1)
    a, b = rng.integers(-3, 4, (2, 3, 4)), rng.integers(-3, 4, (2, 4, 5))
    want = residues(a.astype(object) @ b.astype(object))
    for pa, pb in itertools.product(itertools.permutations(range(3)), repeat=2):
        numbers = (((pa.index(2),), (pb.index(1),)), ((pa.index(0),), (pb.index(0),)))
        (got,) = run(lambda x, y, n=numbers: lax.dot_general(x, y, n), a.transpose(pa), b.transpose(pb))
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(
    "numbers, rule",
    [
        ((((1, 2), (2, 1)), ((), ())), "ijk,lkj->il"),
        ((((2,), (2,)), ((0, 1), (1, 0))), "ijk,jik->ij"),
        ((((), ()), ((0, 2), (0, 1))), "ijk,ikl->ikjl"),
        ((((), ()), ((), ())), "ijk,lmn->ijklmn"),
        ((((0, 1, 2), (0, 1, 2)), ((), ())), "ijk,ijk->"),
    ],
)
def test_several_axes_at_once(numbers, rule):
    terms = rule.split("->")[0].split(",")
    sizes = dict(zip("ijklmn", (2, 3, 4, 5, 2, 3), strict=True))
    rng = np.random.default_rng(2)
    a, b = (rng.integers(-3, 4, [sizes[axis] for axis in term]) for term in terms)
    (got,) = run(lambda x, y: lax.dot_general(x, y, numbers), a, b)
    np.testing.assert_array_equal(got, residues(np.einsum(rule, a, b)))


# rational programs, judged by fractions -------------------------------------------------------------------------------


def solve(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The solution of a x = b in fractions, b of one or two axes, by Gauss and Jordan."""
    a, x, n = a.copy(), b.reshape(len(a), -1).copy(), len(a)
    for j in range(n):
        i = next(i for i in range(j, n) if a[i, j])
        a[[i, j]], x[[i, j]] = a[[j, i]], x[[j, i]]
        x[j], a[j] = x[j] / a[j, j], a[j] / a[j, j]
        for k in set(range(n)) - {j}:
            x[k], a[k] = x[k] - a[k, j] * x[j], a[k] - a[k, j] * a[j]
    return x.reshape(b.shape)


def solve_each(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.stack([solve(*pair) for pair in zip(a, b, strict=True)])


def determinant(a: np.ndarray) -> Fraction:
    """By permutations."""
    total = Fraction(0)
    for order in itertools.permutations(range(len(a))):
        sign = (-1) ** sum(x > y for i, x in enumerate(order) for y in order[i + 1 :])
        total += sign * math.prod((a[i, j] for i, j in enumerate(order)), start=Fraction(1))
    return total


def ones(n: int) -> np.ndarray:
    return fractions(np.eye(n))


def continued_fraction(x):
    return lax.scan(lambda c, item: (item + 1 / c, 1 / c), x[0], x[1:])


def continued_by_hand(x):
    values = []
    c = x[0]
    for item in x[1:]:
        values.append(1 / c)
        c = item + 1 / c
    return [c, np.array(values)]


def recursive_least_squares(k, v):
    """Rows are keys; the inverse of I + sum k k' is updated by Sherman and Morrison."""

    def step(state, item):
        S, P = state
        k, v = item
        gain = P @ k / (1 + k @ P @ k)
        return (S + jnp.outer(v - S @ k, gain), P - jnp.outer(gain, P @ k)), None

    (S, _), _ = lax.scan(step, (jnp.zeros((v.shape[1], k.shape[1])), jnp.eye(k.shape[1])), (k, v))
    return S


def own_solver(a, b):
    return lax.custom_linear_solve(
        lambda x: a @ x,
        b,
        solve=lambda _, y: jnp.linalg.inv(a) @ y,
        transpose_solve=lambda _, y: jnp.linalg.inv(a).T @ y,
    )


def outer(x, y):
    return np.multiply.outer(x, y)


RATIONAL = {
    "div": (lambda x, y: x / y, lambda x, y: x / y, (3,), (3,)),
    "reciprocal": (lambda x: 1 / x + jnp.reciprocal(x), lambda x: 2 / x, (3,)),
    "negative-powers": (lambda x: x**-1 + x**-3, lambda x: 1 / x + 1 / (x * x * x), (3,)),
    "pow-of-both-signs": (
        lambda x: x[:, None] ** -jnp.arange(3)[None],
        lambda x: np.array([[v**-j for j in range(3)] for v in x]),
        (3,),
    ),
    "mean-of-three": (lambda x: x.mean(), lambda x: x.sum() / 3, (3,)),
    "variance-of-three": (lambda x: x.var(), lambda x: ((x - x.sum() / 3) ** 2).sum() / 3, (3,)),
    "covariance": (lambda x: jnp.cov(x)[0, 1], lambda x: x[0] @ (x[1] - sum(x[1]) / 3) / 2, (2, 3)),
    "normalised": (lambda w, v: (w / w.sum()) @ v, lambda w, v: w @ v / w.sum(), (3,), (3, 2)),
    "continued-fraction": (continued_fraction, continued_by_hand, (5,)),
    "division-under-a-mask": (
        lambda x: jnp.where(jnp.arange(3) > 0, x / (jnp.arange(3.0) * x[1]), 0.0),
        lambda x: np.array([Fraction(0), x[1] / x[1], x[2] / (2 * x[1])]),
        (3,),
    ),
    "gradient-of-a-quotient": (
        jax.grad(lambda x: jnp.sum(x[0] / x[1:])),
        lambda x: np.array([(1 / x[1:]).sum(), *(-x[0] / x[1:] ** 2)]),
        (3,),
    ),
    "solve-vector": (jnp.linalg.solve, solve, (4, 4), (4,)),
    "solve-matrix": (jnp.linalg.solve, solve, (3, 3), (3, 2)),
    "solve-batched": (jnp.linalg.solve, solve_each, (2, 3, 3), (2, 3, 2)),
    "solve-vmapped": (jax.vmap(jnp.linalg.solve), solve_each, (2, 3, 3), (2, 3)),
    "solve-vmapped-over-rhs": (jax.vmap(jnp.linalg.solve, (None, 1), 1), solve, (3, 3), (3, 2)),
    "solve-transposed": (lambda a, b: jnp.linalg.solve(a.T, b), lambda a, b: solve(a.T, b), (3, 3), (3,)),
    "gradient-of-solve": (
        jax.grad(lambda a, b, c: jnp.linalg.solve(a, b) @ c, (0, 1)),
        lambda a, b, c: [-outer(solve(a.T, c), solve(a, b)), solve(a.T, c)],
        (3, 3), (3,), (3,),
    ),
    "jvp-of-solve": (
        lambda a, b, t: jax.jvp(lambda m: jnp.linalg.solve(m, b), (a,), (t,))[1],
        lambda a, b, t: -solve(a, t @ solve(a, b)),
        (3, 3), (3,), (3, 3),
    ),
    "custom_linear_solve": (own_solver, solve, (3, 3), (3,)),
    "inverse": (jnp.linalg.inv, lambda a: solve(a, ones(4)), (4, 4)),
    "inverse-vmapped": (jax.vmap(jnp.linalg.inv), lambda a: np.stack([solve(x, ones(2)) for x in a]), (3, 2, 2)),
    "matrix_power-negative": (lambda a: jnp.linalg.matrix_power(a, -2), lambda a: solve(a @ a, ones(3)), (3, 3)),
    "determinant-2": (jnp.linalg.det, lambda a: np.array(determinant(a)), (2, 2)),
    "determinant-3": (jnp.linalg.det, lambda a: np.array(determinant(a)), (3, 3)),
    "determinants-vmapped": (jax.vmap(jnp.linalg.det), lambda a: np.array([determinant(x) for x in a]), (2, 3, 3)),
    "gradient-of-determinant": (jax.grad(jnp.linalg.det), lambda a: determinant(a) * solve(a, ones(3)).T, (3, 3)),
    "lu_solve": (
        lambda a, b: jax.scipy.linalg.lu_solve(jax.scipy.linalg.lu_factor(a), b), solve, (4, 4), (4,)
    ),
    "lu_solve-transposed": (
        lambda a, b: jax.scipy.linalg.lu_solve(jax.scipy.linalg.lu_factor(a), b, trans=1),
        lambda a, b: solve(a.T, b),
        (4, 4), (4,),
    ),
    "permuted-factors": (lambda a: (lambda p, l, u: p @ l @ u)(*jax.scipy.linalg.lu(a)), lambda a: a, (3, 3)),
    "cho_solve": (
        lambda a, b: jax.scipy.linalg.cho_solve((a, True), b),
        lambda a, b: solve(tril(a) @ tril(a).T, b),
        (3, 3), (3, 2),
    ),
    "ridge": (
        lambda x, y: jnp.linalg.solve(x.T @ x + 0.5 * jnp.eye(2), x.T @ y),
        lambda x, y: solve(x.T @ x + ones(2) / 2, x.T @ y),
        (4, 2), (4,),
    ),
    "recursive-least-squares": (
        recursive_least_squares, lambda k, v: solve(ones(2) + k.T @ k, k.T @ v).T, (4, 2), (4, 3)
    ),
}  # fmt: skip


def tril(a: np.ndarray) -> np.ndarray:
    return np.where(np.tri(len(a), dtype=bool), a, Fraction(0))


@pytest.mark.parametrize("pivot", [0, -1], ids=["first-pivot", "last-pivot"])
@pytest.mark.parametrize("name", RATIONAL)
def test_rational_programs(name, pivot):
    f, oracle, *shapes = RATIONAL[name]
    rng = np.random.default_rng(3)
    arguments = [fractions(rng.choice([-5, -4, -3, -2, -1, 1, 2, 3, 4, 5], s)) for s in shapes]
    want = oracle(*arguments)
    for got, exact in zip(run(f, *arguments, pivot=pivot), want if isinstance(want, list) else [want], strict=True):
        np.testing.assert_array_equal(got, residues(exact))


TRIANGULAR = [
    dict(zip(("left_side", "lower", "transpose_a", "unit_diagonal"), kind, strict=True))
    for kind in itertools.product((False, True), repeat=4)
]


@pytest.mark.parametrize("kind", TRIANGULAR, ids=lambda kind: "-".join(k for k, v in kind.items() if v) or "none")
def test_triangular_solves_of_all_sixteen_kinds(kind):
    """The other triangle, and a unit diagonal, are not read."""
    rng = np.random.default_rng(4)
    nonzero = [-3, -2, -1, 1, 2, 3]
    a, b = fractions(rng.choice(nonzero, (2, 4, 4))), fractions(rng.choice(nonzero, (2, 4, 4)))
    b = b[:, :, :3] if kind["left_side"] else b[:, :3, :]

    def exact(a, b):
        keep = np.tri(4, dtype=bool) if kind["lower"] else np.tri(4, dtype=bool).T
        matrix = np.where(keep, a, Fraction(0))
        if kind["unit_diagonal"]:
            matrix[np.diag_indices(4)] = Fraction(1)
        matrix = matrix.T if kind["transpose_a"] else matrix
        return solve(matrix, b) if kind["left_side"] else solve(matrix.T, b.T).T

    def program(a, b):
        return lax.linalg.triangular_solve(a, b, **kind)

    want = residues(np.stack([exact(*pair) for pair in zip(a, b, strict=True)]))
    for f in (program, jax.vmap(program), lambda a, b: jnp.stack([program(a[0], b[0]), program(a[1], b[1])])):
        (got,) = run(f, a, b)
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("lower", [False, True])
@pytest.mark.parametrize("trans", [0, 1])
@pytest.mark.parametrize("unit", [False, True])
def test_triangular_solves_as_scipy_writes_them(lower, trans, unit):
    rng = np.random.default_rng(5)
    a, b = fractions(rng.choice([-2, -1, 1, 3], (3, 3))), fractions(rng.choice([-2, 1, 3], (3,)))
    matrix = tril(a) if lower else tril(a.T).T
    if unit:
        matrix[np.diag_indices(3)] = Fraction(1)
    want = solve(matrix.T if trans else matrix, b)
    (got,) = run(
        lambda a, b: jax.scipy.linalg.solve_triangular(a, b, trans=trans, lower=lower, unit_diagonal=unit), a, b
    )
    np.testing.assert_array_equal(got, residues(want))


def test_gradients_of_triangular_solves():
    rng = np.random.default_rng(6)
    a, b, c = (fractions(rng.choice([-2, -1, 1, 3], s)) for s in ((3, 3), (3,), (3,)))
    f = jax.grad(lambda a, b, c: jax.scipy.linalg.solve_triangular(a, b, lower=True) @ c, (0, 1))
    back = solve(tril(a).T, c)
    got = run(f, a, b, c)
    np.testing.assert_array_equal(got[0], residues(-tril(outer(back, solve(tril(a), b)))))
    np.testing.assert_array_equal(got[1], residues(back))


# constants ------------------------------------------------------------------------------------------------------------


def tenths():
    return jnp.full((2, 2), 0.1)


SINGLE = {x: Fraction(float(np.float32(x))) for x in (0.1, 1e-20, 1e30, 3.0)}
CONSTANTS = {
    "a-third": (lambda x: x * (jnp.float32(1) / 3), lambda x: x / 3),
    "a-tenth-is-dyadic": (lambda x: 0.1 * x, lambda x: SINGLE[0.1] * x),
    "a-tenth-by-division": (lambda x: x / 10, lambda x: x / 10),
    "lost-by-rounding": (lambda x: x + (jnp.float32(1e-20) + 1.0 - 1.0), lambda x: x + SINGLE[1e-20]),
    "sums-of-constants": (lambda x: x * jnp.full(3, 0.1).sum(), lambda x: x * 3 * SINGLE[0.1]),
    "running-sums": (
        lambda x: x * jnp.cumsum(jnp.array([1e30, 1.0, 0.1]))[2], lambda x: x * (SINGLE[1e30] + 1 + SINGLE[0.1])
    ),
    "products-of-constants": (lambda x: x * jnp.prod(jnp.full(5, 0.1)), lambda x: x * SINGLE[0.1] ** 5),
    "powers-of-constants": (lambda x: x * jnp.float32(0.1) ** 7, lambda x: x * SINGLE[0.1] ** 7),
    "negative-powers": (lambda x: x * jnp.float32(3.0) ** -2, lambda x: x / 9),
    "beyond-float32": (lambda x: x * (jnp.float32(1e30) * 1e30), lambda x: x * SINGLE[1e30] ** 2),
    "beyond-float64": (lambda x: x * jnp.prod(jnp.full(20, 1e30)), lambda x: x * SINGLE[1e30] ** 20),
    "below-float64": (lambda x: x * jnp.prod(jnp.full(20, 1e-20)), lambda x: x * SINGLE[1e-20] ** 20),
    "products-of-matrices": (lambda x: x * (tenths() @ jnp.ones((2, 2)))[0, 0], lambda x: x * 2 * SINGLE[0.1]),
    "matrix-squares": (lambda x: x * (tenths() @ tenths())[0, 0], lambda x: x * 2 * SINGLE[0.1] ** 2),
    "exact-logarithms": (lambda x: x * (jnp.log(1.0) + jnp.log1p(0.0) + jnp.exp(0.0)), lambda x: x),
    "exact-roots": (lambda x: x * jnp.sqrt(2.25) * lax.rsqrt(0.0625), lambda x: 6 * x),
    "zeros-of-functions": (lambda x: x * (jnp.tanh(0.0) + jnp.cos(0.0) + jax.nn.sigmoid(0.0)), lambda x: x * 3 / 2),
    "wrapping-integers": (lambda x: x * ((jnp.arange(3)[2] + jnp.int32(2**31 - 2)) // 2**30), lambda x: -2 * x),
    "saturation": (lambda x: x * jnp.minimum(jnp.float32(7.5).astype(int), 9), lambda x: 7 * x),
    "half-precision": (
        lambda x: x * jnp.full((), 0.1, jnp.bfloat16).astype(x.dtype), lambda x: x * Fraction(float(jnp.bfloat16(0.1)))
    ),
    "rounding": (lambda x: x * (jnp.round(2.5) + jnp.floor(-0.5) + jnp.ceil(0.5) + jnp.trunc(-1.5)), lambda x: x),
    "rounding-away": (lambda x: x * lax.round(jnp.array([2.5, -2.5, 0.49])).sum(), lambda x: 0 * x),
    "extremes": (lambda x: x * jnp.max(jnp.array([0.5, 2.0])) * jnp.clip(5.0, 0, 3), lambda x: 6 * x),
    "running-extremes": (lambda x: x * lax.cummax(jnp.array([0.5, 2.0, 1.0])).sum(), lambda x: x * Fraction(9, 2)),
    "signs": (lambda x: x * jnp.sign(-3.0) * jnp.abs(-3.0), lambda x: -3 * x),
}  # fmt: skip


@pytest.mark.parametrize("name", CONSTANTS)
def test_constants_are_never_rounded(name):
    """Floats in the program are the dyadic rationals that they are; what is done with them is exact."""
    f, oracle = CONSTANTS[name]
    (got,) = run(f, np.array(5))
    assert int(got) == int(residues(oracle(Fraction(5))))


def test_integers_beyond_float64():
    with jax.enable_x64(True):
        (got,) = run(lambda x: x * (jnp.arange(3) + 2**61 - 1).astype(float)[1], np.array(5))
    assert int(got) == 5 * 2**61 % FIELD.modulus


# logarithms -----------------------------------------------------------------------------------------------------------


T = 5
G = Gate(np.array([-1, -3, 2, 0, -2]))


def decays(e):
    """The products of e over j < s <= i, for j <= i."""
    return np.array(
        [
            [math.prod(e[j + 1 : i + 1], start=Fraction(1)) if j <= i else Fraction(0) for j in range(T)]
            for i in range(T)
        ]
    )


def masked_decays(g):
    c = jnp.cumsum(g)
    return jnp.exp(jnp.where(np.tri(T, dtype=bool), c[:, None] - c[None], -jnp.inf))


LOGARITHMS = {
    "exp": (jnp.exp, lambda e: e),
    "expm1": (jnp.expm1, lambda e: e - 1),
    "negated": (lambda g: jnp.exp(-g), lambda e: 1 / e),
    "running-sum": (lambda g: jnp.exp(jnp.cumsum(g)), lambda e: np.cumprod(e)),
    "reverse-running-sum": (lambda g: jnp.exp(lax.cumsum(g, reverse=True)), lambda e: np.cumprod(e[::-1])[::-1]),
    "sum": (lambda g: jnp.exp(g.sum()), lambda e: np.array(math.prod(e))),
    "differences": (masked_decays, decays),
    "triangle-of-ones": (lambda g: jnp.exp(jnp.tri(T) @ g), lambda e: np.cumprod(e)),
    "from-the-right": (lambda g: jnp.exp(g @ jnp.triu(jnp.ones((T, T)))), lambda e: np.cumprod(e)),
    "whole-multiples": (lambda g: jnp.exp(3 * g - g / 0.5), lambda e: e),
    "halves-of-twice": (lambda g: jnp.exp(0.5 * (g + g[::-1]) * 2), lambda e: e * e[::-1]),
    "thirds-of-thrice": (lambda g: jnp.exp((g + g + g) / 3), lambda e: e),
    "mixed-with-constants": (
        lambda g: jnp.exp(jnp.concatenate([jnp.zeros(1), g[1:]])), lambda e: np.array([Fraction(1), *e[1:]])
    ),
    "shifted": (lambda g: jnp.exp(jnp.roll(g, 1).at[0].set(0.0)), lambda e: np.array([Fraction(1), *e[:-1]])),
    "scan": (
        lambda g: jnp.exp(lax.scan(lambda c, x: (c + x, c), 0.0, g)[1]), lambda e: np.cumprod([Fraction(1), *e[:-1]])
    ),
    "field-values-beside": (lambda g: jnp.concatenate([g, jnp.ones(2)])[T:] * jnp.exp(g[:2]), lambda e: e[:2]),
    "gradient": (jax.grad(lambda g: jnp.sum(jnp.exp(jnp.cumsum(g)))), lambda e: np.cumsum(np.cumprod(e)[::-1])[::-1]),
    "compared-with-infinity": (
        lambda g: jnp.where(jnp.isneginf(g), 2.0, jnp.exp(g)), lambda e: np.where(e == 0, Fraction(2), e)
    ),
    "guarded": (lambda g: jnp.exp(jnp.maximum(g, -jnp.inf)), lambda e: e),
}  # fmt: skip


@pytest.mark.parametrize("name", LOGARITHMS)
def test_logarithms(name):
    f, oracle = LOGARITHMS[name]
    (got,) = run(f, G)
    np.testing.assert_array_equal(got, residues(oracle(G.exps)))


RESETS = "exp running-sum reverse-running-sum sum scan compared-with-infinity shifted guarded".split()


@pytest.mark.parametrize("where", [[0], [2], [4], [0, 1], [1, 4], list(range(T))], ids=str)
@pytest.mark.parametrize("name", RESETS)
def test_hard_resets(name, where):
    """exp(-inf) = 0, wherever it is."""
    f, oracle = LOGARITHMS[name]
    reset = np.isin(np.arange(T), where)
    (got,) = run(f, Gate(G.multiples, reset))
    np.testing.assert_array_equal(got, residues(oracle(Gate(G.multiples, reset).exps)))


REFUSED_LOGARITHMS = {
    "product": (lambda g: g * g, "may only be added"),
    "reciprocal": (lambda g: 1 / g, "may only be added"),
    "power": (lambda g: g**2, "may only be added"),
    "by-infinity": (lambda g: jnp.exp(g * jnp.inf), "infinite or undefined constant"),
    "over-zero": (lambda g: jnp.exp(g / 0.0), "infinite or undefined constant"),
    "through-nan": (lambda g: jnp.exp(jnp.full((T, T), jnp.nan) @ g), "infinite or undefined constant"),
}
REFUSED_RESETS = {
    "negated": (lambda g: jnp.exp(-g), r"\+inf"),
    "subtracted": (lambda g: jnp.exp(g - jnp.cumsum(g)), r"\+inf"),
    "times-zero": (lambda g: jnp.exp(0.0 * g), "not positive"),
    "times-minus-one": (lambda g: jnp.exp(-1.0 * g), "not positive"),
    "over-minus-two": (lambda g: jnp.exp(g / -2.0), "not positive"),
    "contracted": (lambda g: jnp.exp(jnp.tri(T) @ g), "NaN"),
}


@pytest.mark.parametrize("name", REFUSED_LOGARITHMS)
def test_what_is_no_sum_of_logarithms_is_refused(name):
    f, match = REFUSED_LOGARITHMS[name]
    with pytest.raises(UnsupportedPrimitive, match=match):
        run(f, G)


@pytest.mark.parametrize("name", REFUSED_RESETS)
def test_infinities_that_floats_would_turn_into_nan_or_infinity_are_refused(name):
    f, match = REFUSED_RESETS[name]
    with pytest.raises(UnsupportedPrimitive, match=match):
        run(f, Gate(G.multiples, np.arange(T) == 1))


# what has no exact meaning --------------------------------------------------------------------------------------------


UNSUPPORTED = {
    "sign": (lambda x: jnp.sign(x), "sign"),
    "comparison": (lambda x: jnp.where(x > 0, x, 0.0), "gt"),
    "equality": (lambda x: jnp.where(x == 1, x, 0.0), "eq"),
    "sort": (lambda x: jnp.sort(x), "sort"),
    "argmax": (lambda x: x[jnp.argmax(x)], "argmax"),
    "floor": (lambda x: jnp.floor(x), "floor"),
    "to-integers": (lambda x: x.astype(int) * 2, "convert_element_type"),
    "data-index": (lambda x: x.at[x.astype(int)].get(mode="clip"), "convert_element_type"),
    "data-condition": (lambda x: lax.while_loop(lambda c: c[0] < 9, lambda c: c * 2, x), "lt"),
    "fractional-power": (lambda x: x**0.5, "pow"),
    "power-of-data": (lambda x: x**x, "pow"),
    "cholesky": (lambda x: jnp.linalg.cholesky(jnp.outer(x, x) + jnp.eye(3)), "cholesky"),
    "complex": (lambda x: (x * 1j).imag, "complex"),
    "to-complex": (lambda x: x.astype(complex).imag, "convert_element_type"),
    "random": (lambda x: x * jax.random.normal(jax.random.key(0), (3,)), "random"),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_the_error_names_the_primitive_and_the_line(name):
    f, primitive = UNSUPPORTED[name]
    line = f.__code__.co_firstlineno
    with pytest.raises(ProofError, match=rf"({primitive}).*{__file__}:{line} in "):
        degree(f, (3,))
    with pytest.raises(ProofError, match=rf"({primitive}).*{__file__}:{line} in "):
        run(f, np.ones(3))


def test_the_line_of_a_call_stands_for_what_happens_inside_jax():
    def f(x):
        y = x * 2
        return jnp.median(y)

    with pytest.raises(UnsupportedPrimitive, match=rf"'sort'.*{__file__}:{f.__code__.co_firstlineno + 2} in "):
        degree(f, (3,))


def test_keys_of_random_numbers_in_a_closure():
    key = jax.random.key(0)
    with pytest.raises(ProofError, match="draw random numbers outside"):
        degree(lambda x: x * jax.random.uniform(key), ())
