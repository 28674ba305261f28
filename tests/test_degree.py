"""Bounds of degrees and heights against the truth, found by interpolation, by known theorems and by sympy.

On a random line x = a + t b a rational function keeps its total degree, with probability 1 - 1e-15. Its values there,
modulo a prime, give numerator and denominator by Cauchy interpolation, which knows nothing of the program.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy
from exact_programs import CASES
from jax import lax
from residues import FIELD, GROUP, P

from dualform.prove import Input, degree, degrees
from dualform.prove.exponential import Fresh
from dualform.prove.interpreter import Interpreter
from dualform.prove.measure import measure, sizes
from dualform.prove.modular import Modular, Residue
from dualform.prove.programs import Program, Signature, trace_both

MOST = 40
"""Bounds up to this are compared with the truth: as many points again are needed."""


# polynomials modulo P, coefficients from the constant on --------------------------------------------------------------


def trimmed(a: list[int]) -> list[int]:
    while a and not a[-1]:
        a = a[:-1]
    return a


def product(a: list[int], b: list[int]) -> list[int]:
    out = [0] * (len(a) + len(b) - 1 if a and b else 0)
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            out[i + j] = (out[i + j] + x * y) % P
    return trimmed(out)


def difference(a: list[int], b: list[int]) -> list[int]:
    return trimmed([(x - y) % P for x, y in itertools.zip_longest(a, b, fillvalue=0)])


def divided(a: list[int], b: list[int]) -> tuple[list[int], list[int]]:
    """Quotient and remainder."""
    quotient, inverse = [0] * max(len(a) - len(b) + 1, 0), pow(b[-1], -1, P)
    while len(a) >= len(b):
        factor, shift = a[-1] * inverse % P, len(a) - len(b)
        quotient[shift] = factor
        a = difference(a, [0] * shift + [factor * y % P for y in b])
    return quotient, a


def through(points: list[int], values: list[int]) -> tuple[list[int], list[int]]:
    """Newton's polynomial through the values, and the product of all t - point."""
    polynomial, node = [], [1]
    for t, v in zip(points, values, strict=True):
        at, below = (sum(c * pow(t, i, P) for i, c in enumerate(q)) for q in (polynomial, node))
        factor = (v - at) * pow(below, -1, P) % P
        polynomial = difference(polynomial, [-factor * c % P for c in node])
        node = product(node, [-t % P, 1])
    return polynomial, node


def true_degree(points: list[int], values: list[int]) -> int:
    """The larger degree of numerator and denominator of the simplest rational function with these values."""
    remainder, modulus = through(points, values)
    best = len(remainder) - 1
    (r0, r1), (t0, t1) = (modulus, remainder), ([], [1])
    simplest = len(remainder) + 1
    while r1:
        if len(r1) + len(t1) < simplest:
            simplest, best = len(r1) + len(t1), max(len(r1), len(t1)) - 1
        quotient, rest = divided(r0, r1)
        (r0, r1), (t0, t1) = (r1, rest), (t1, difference(t0, product(quotient, t1)))
    assert not values or not any(values) or simplest < len(points), "too few points to be certain"
    return max(best, 0)


def on_a_line(f, shapes, count: int) -> list[np.ndarray]:
    """Residues [count, elements] of every result at count points of a random line."""
    signature = Signature.of(shapes)
    rng, t = np.random.default_rng(0), np.arange(1, count + 1, dtype=np.uint64)
    arguments = []
    for x in signature.leaves:
        a, b = FIELD.random(rng, (1, *x.shape)), FIELD.random(rng, (1, *x.shape))
        arguments.append(Residue(FIELD.add(a, FIELD.mul(t.reshape(-1, *(1,) * len(x.shape)), b))))
    stacked = Signature(tuple(Input((count, *x.shape)) for x in signature.leaves), signature.tree)
    program = Program.trace(jax.vmap(f), stacked)
    arithmetic = Modular(FIELD, Fresh(GROUP, rng))
    out = Interpreter(arithmetic).run(program.jaxpr, arguments)
    return [(arithmetic.lift(x) if isinstance(x, np.ndarray) else x).r.reshape(count, -1) for x in out]


def compare(f, shapes) -> list[tuple[int, int]]:
    """(bound, truth) for the elements of every result: the first, the last and some between."""
    bounds = [np.ravel(x) for x in jax.tree.leaves(degrees(f, *shapes))]
    largest = max((int(n) for x in bounds for n in x), default=0)
    assert largest <= MOST, f"the bound {largest} is too large to be checked"
    values = on_a_line(f, shapes, 2 * largest + 4)
    points = list(range(1, 2 * largest + 5))
    pairs = []
    for bound, column in zip(bounds, values, strict=True):
        for j in sorted({0, len(bound) // 2, len(bound) - 1} if len(bound) else ()):
            pairs.append((int(bound[j]), true_degree(points, [int(v) for v in column[:, j]])))
    return pairs


def test_interpolation_finds_known_degrees():
    points = list(range(1, 20))
    values = [(t**5 + 3) * pow(t * t + 7, -1, P) % P for t in points]
    assert true_degree(points, values) == 5
    assert true_degree(points, [pow(t**3 + t, -1, P) for t in points]) == 3
    assert true_degree(points, [7] * 19) == 0
    assert true_degree(points, [0] * 19) == 0


@pytest.mark.parametrize("name", [n for n in CASES if "length" not in n and "debug" not in n])
def test_bounds_are_never_below_the_truth_for_polynomials(name):
    f, shapes, _ = CASES[name]
    assert all(bound >= truth for bound, truth in compare(f, shapes)), compare(f, shapes)


# rational functions ---------------------------------------------------------------------------------------------------


def least_squares(k, v):
    def step(state, item):
        S, P = state
        k, v = item
        gain = P @ k / (1 + k @ P @ k)
        return (S + jnp.outer(v - S @ k, gain), P - jnp.outer(gain, k @ P)), None

    (S, _), _ = lax.scan(step, (jnp.zeros((v.shape[1], k.shape[1])), jnp.eye(k.shape[1])), (k, v))
    return S


def swapped(a, b):
    """A zero in the corner, and rows of unequal degree: the elimination must change their order."""
    m = jnp.array([[0.0, 1.0], [1.0, 0.0]]) * jnp.array([[1.0, a[0] ** 3], [a[1], 1.0]])
    return jnp.linalg.solve(m, jnp.stack([b[0], b[1] ** 4]))


RATIONAL = {
    "quotient": (lambda x, y: x / (y * y + 1), (), ()),
    "same-denominator": (lambda x, y: x / y + 1 / y + x * x / y, (), ()),
    "different-denominators": (lambda x: 1 / x[0] + 1 / x[1] + 1 / x[2], (3,)),
    "denominator-of-a-denominator": (lambda x: 1 / (x[0] + 1 / (x[1] + 1 / x[2])), (3,)),
    "cancelling": (lambda x, y: (x * y) / y * x / x, (), ()),
    "power-of-a-quotient": (lambda x, y: (x / y) ** 3 + (x / y) ** -2, (), ()),
    "pow-of-positions": (lambda x: x[:, None] ** jnp.array([[-2, 0, 3]]), (2,)),
    "normalised": (lambda w: w / w.sum(), (4,)),
    "products-of-quotients": (lambda x, y: jnp.prod(x / y) + jnp.cumprod(1 / x)[-1], (3,), (3,)),
    "mean-of-three": (lambda x: x.mean() ** 2, (3,)),
    "triangular": (lambda a, b: jax.scipy.linalg.solve_triangular(a, b, lower=True), (4, 4), (4,)),
    "unit-triangular": (
        lambda a, b: lax.linalg.triangular_solve(a, b, left_side=True, lower=True, unit_diagonal=True), (4, 4), (4, 2)
    ),
    "upper-from-the-right": (lambda a, b: lax.linalg.triangular_solve(a, b, lower=False), (3, 3), (2, 3)),
    "determinant": (jnp.linalg.det, (3, 3)),
    "solve": (jnp.linalg.solve, (3, 3), (3,)),
    "solve-of-different-rows": (lambda a, b, s: jnp.linalg.solve(a * s[:, None] ** 2, b), (2, 2), (2,), (2,)),
    "solve-of-rational-entries": (lambda a, b: jnp.linalg.solve(a / b[:, None], b), (2, 2), (2,)),
    "solve-with-forced-pivots": (swapped, (2,), (2,)),
    "ridge": (lambda x, y: jnp.linalg.solve(x.T @ x + jnp.eye(2), x.T @ y), (2, 2), (2,)),
    "ridge-batched": (lambda x, y: jnp.linalg.solve(x * y[:, None, None], jnp.ones((2, 2, 1))), (2, 2, 2), (2,)),
    "recursive-least-squares": (least_squares, (2, 2), (2, 1)),
    "scatter-of-quotients": (lambda x: (1 / x).at[np.array([0, 0, 1])].add(x[0] / x), (3,)),
    "scatter-mul": (lambda x: x.at[np.array([0, 0, 0])].multiply(x), (3,)),
    "gradient": (jax.grad(lambda x: jnp.sum(x[0] / (x[1:] ** 2 + 1))), (3,)),
}  # fmt: skip


@pytest.mark.parametrize("name", RATIONAL)
def test_bounds_are_never_below_the_truth_for_rational_functions(name):
    f, *shapes = RATIONAL[name]
    assert all(bound >= truth for bound, truth in compare(f, shapes)), compare(f, shapes)


TIGHT = ["quotient", "same-denominator", "different-denominators", "power-of-a-quotient", "normalised", "mean-of-three"]


@pytest.mark.parametrize("name", [*TIGHT, "triangular", "unit-triangular", "determinant", "scatter-mul"])
def test_bounds_are_attained_where_nothing_cancels(name):
    """Shared denominators are not multiplied out."""
    f, *shapes = RATIONAL[name]
    assert max(bound for bound, _ in compare(f, shapes)) == max(truth for _, truth in compare(f, shapes))


OPERATIONS = {
    "sum": lambda u, v, c: u + v,
    "difference": lambda u, v, c: c * u - v,
    "product": lambda u, v, c: u * v,
    "quotient": lambda u, v, c: u / (v + 1),
    "opposite": lambda u, v, c: -u,
    "square": lambda u, v, c: u * u,
    "constant": lambda u, v, c: u / c + v * c,
}
ON_VECTORS = {
    **OPERATIONS,
    "swap": lambda u, v, c: u[::-1],
    "rank-one": lambda u, v, c: jnp.outer(u, v) @ u,
    "total": lambda u, v, c: u.sum() * v,
    "mask": lambda u, v, c: jnp.where(np.array([True, False]), u, v),
    "running-sum": lambda u, v, c: jnp.cumsum(u),
    "running-product": lambda u, v, c: jnp.cumprod(u),
    "inverse-square": lambda u, v, c: (u + 2) ** -2,
    "solve": lambda u, v, c: jnp.linalg.solve(jnp.outer(u, v) + 2 * jnp.eye(2), v),
    "scatter": lambda u, v, c: u.at[np.array([0, 0])].add(v),
}


def random_program(seed: int, operations: dict):
    """A straight line of operations on any two earlier values."""
    rng = np.random.default_rng(seed)
    steps = [
        (rng.choice(list(operations)), rng.random(2), float(rng.choice([0.5, 3.0, -0.75, 6.0, 10.0])))
        for _ in range(rng.integers(3, 7))
    ]

    def f(x, y):
        values = [x, y]
        for name, which, c in steps:
            u, v = (values[int(share * len(values))] for share in which)
            values.append(operations[name](u, v, c))
        return values[-1]

    return f


@pytest.mark.parametrize("seed", range(12))
def test_bounds_are_never_below_the_truth_for_random_programs(seed):
    f = random_program(seed, ON_VECTORS)
    if degree(f, (2,), (2,)) <= MOST:
        assert all(bound >= truth for bound, truth in compare(f, ((2,), (2,)))), compare(f, ((2,), (2,)))


# known degrees --------------------------------------------------------------------------------------------------------


def delta_rule(q, k, v, beta):
    def step(S, item):
        q, k, v, beta = item
        S = S + beta * jnp.outer(v - S @ k, k)
        return S, S @ q

    return lax.scan(step, jnp.zeros((v.shape[1], k.shape[1])), (q, k, v, beta))[1]


def test_delta_rule_has_degree_3t_plus_1():
    T, K, V = 6, 3, 2
    got = degrees(delta_rule, (T, K), (T, K), (T, V), (T,))
    np.testing.assert_array_equal(got, np.broadcast_to(3 * np.arange(1, T + 1)[:, None] + 1, (T, V)))
    pairs = compare(delta_rule, ((3, 2), (3, 2), (3, 1), (3,)))
    assert all(bound == truth for bound, truth in pairs), pairs


@pytest.mark.parametrize("N", [1, 2, 5, 9])
def test_heavy_ball_has_degree_n_plus_3(N):
    """Frozen error signals, learning rate and momentum variable: eta mu**(N-1) e (x.q)."""

    def heavy_ball(e, x, q, eta, mu):
        def step(state, item):
            W, B = state
            B = mu * B + jnp.outer(*item)
            return (W - eta * B, B), None

        zero = jnp.zeros((e.shape[1], x.shape[1]))
        return lax.scan(step, (zero, zero), (e, x))[0][0] @ q

    assert degree(heavy_ball, (N, 2), (N, 3), (3,), (), ()) == N + 3


@pytest.mark.parametrize("N", [1, 2, 4, 7])
def test_online_descent_has_degree_3n_plus_2(N):
    """SGD on (w x - y)**2 / 2, one pattern a step, initial weight and learning rate variable."""

    def train(w, x, y, eta, q):
        def step(w, item):
            x, y = item
            return w - eta * jax.grad(lambda w: 0.5 * (w * x - y) ** 2)(w), None

        return lax.scan(step, w, (x, y))[0] * q

    assert degree(train, (), (N,), (N,), (), ()) == 3 * N + 2


def test_recursive_least_squares_keeps_its_denominators_shared():
    """2**33 or so after 32 steps; multiplied out it would have more digits than atoms."""
    got = degree(least_squares, (32, 8), (32, 3))
    assert 2**32 < got < 2**35


def test_causal_masks_and_zero_states_do_not_inflate_a_bound():
    def attention(q, k, v):
        return jnp.tril(q @ k.T) @ v

    got = degrees(lambda q, k, v: jnp.tril(q @ k.T, -1) @ v, (3, 2), (3, 2), (3, 2))
    np.testing.assert_array_equal(got, [[0, 0], [3, 3], [3, 3]])
    assert degree(attention, (3, 2), (3, 2), (3, 2)) == 3


def test_structure_and_elements():
    got = degrees(lambda x: {"a": x * x, "b": (1 / x[0], jnp.zeros(2), jnp.arange(2))}, (2,))
    assert jax.tree.map(np.ndarray.tolist, got) == {"a": [2, 2], "b": (1, [0, 0], [0, 0])}


def test_bounds_beyond_machine_integers():
    def power(x):
        return lax.fori_loop(0, 70, lambda i, y: y * y, x)

    assert degree(power, ()) == 2**70
    assert degrees(power, (2,)).dtype == object


@pytest.mark.parametrize(
    "step", [lambda y: y, lambda y: 1 / y, lambda y: y / (y * y + 1)], ids=["power", "1/y", "rational"]
)
def test_bounds_beyond_floats_stay_large(step):
    """They neither overflow to infinity nor turn into NaN."""
    assert degree(lambda x: lax.fori_loop(0, 120, lambda i, y: step(y) ** 1000, x), ()) > 1e100


# logarithms -----------------------------------------------------------------------------------------------------------


GATES = {  # program, unit 1/u of the coefficients, degree in exp(g/u)
    "single": (lambda g: jnp.exp(g[0]), 1, 1),
    "sum": (lambda g: jnp.exp(g.sum()), 1, 3),
    "running-sum": (lambda g: jnp.exp(jnp.cumsum(g)), 1, 3),
    "running-sum-of-sums": (lambda g: jnp.exp(jnp.cumsum(jnp.cumsum(g))), 1, 6),
    "twice-the-same": (lambda g: jnp.exp(jnp.stack([g, g]).sum()), 1, 6),
    "triangle": (lambda g: jnp.exp(jnp.tri(3) @ g), 1, 3),
    "polynomial": (lambda g: jnp.exp(g[0]) ** 2 * jnp.exp(3 * g[1]) + jnp.exp(g[2]), 1, 5),
    "moved": (lambda g: jnp.exp(jnp.concatenate([g[:1] * 2, g[1:]])), 1, 2),
    "half": (lambda g: jnp.exp(0.5 * g[0]) * jnp.exp(g[1]), 2, 3),
    "half-of-a-half": (lambda g: jnp.exp(0.5 * (0.5 * g[0])) * jnp.exp(g[1]), 4, 5),
    "quarter-by-a-contraction": (lambda g: jnp.exp(0.5 * (jnp.full(3, 0.5) @ g)) * jnp.exp(g[1]), 4, 7),
    "third": (lambda g: jnp.exp(g[0] / 3) * jnp.exp(g[1]), 3, 4),
    "half-of-a-third": (lambda g: jnp.exp(g[0] / 3 * 0.5) * jnp.exp(g[1]), 6, 7),
    "over-a-quarter": (lambda g: jnp.exp(g[0] / 0.25), 1, 4),
}  # fmt: skip


def measured(f, *inputs) -> tuple[int, float]:
    """The unit, and the largest degree in exponentials of that fraction of a gate."""
    signature = Signature.of(inputs)
    arithmetic, out = measure(Program.trace(f, signature), signature.leaves)
    above, below, _, _ = arithmetic.symbols.fraction(out[0])
    return arithmetic.unit, float(np.maximum(above, below).max())


@pytest.mark.parametrize("name", GATES)
def test_degrees_of_exponentials_of_gates(name):
    f, unit, truth = GATES[name]
    assert measured(f, Input(3, "log")) == (unit, truth)


def test_negative_coefficients_are_cleared():
    """exp(g - h) + 1 = (X + Y) / Y; the bound multiplies by all exponentials."""
    unit, bound = measured(lambda g: jnp.exp(g[0] - 2 * g[1]) + 1, Input(2, "log"))
    assert unit == 1
    assert bound >= 2


# heights --------------------------------------------------------------------------------------------------------------


SCALARS = {
    "powers": lambda x, y: (x + 2 * y) ** 4 - (3 * x - y) ** 2 * x,
    "dyadic": lambda x, y: (x * 0.75 - y * 0.125) ** 3 + x * 0.375,
    "cancelling": lambda x, y: (x + y) ** 2 - (x - y) ** 2,
    "large": lambda x, y: (1000 * x + y) * (x - 4096 * y) + 1.5,
    "horner": lambda x, y: ((((x + 1) * y + 1) * x + 1) * y + 1) * 0.5,
}
FRACTIONS = {
    "quotient": lambda x, y: (x + y) / (x - 3 * y),
    "thirds": lambda x, y: x / 3 + y / 6 - x * y / 12,
    "common-denominator": lambda x, y: 0.5 * x / (y + 4) + 7 / (y + 4),
    "continued": lambda x, y: 1 / (x + 1 / (y + 1 / (2 * x + 1))),
    "of-dyadic-denominators": lambda x, y: x / (0.25 * y + 0.125) + 1,
}


def whole_norm(expression, *symbols) -> int:
    """Sum of the absolute coefficients once they are whole numbers without a common factor."""
    coefficients = sympy.Poly(sympy.expand(expression), *symbols).coeffs()
    scale = sympy.ilcm(1, 1, *(c.q for c in coefficients))
    return int(sum(abs(c * scale) for c in coefficients))


def height(f) -> float:
    """Of the identity f = 0."""
    signature = Signature.of(((), ()))
    programs = trace_both(f, lambda x, y: 0 * x, signature)
    return sizes(programs, signature.leaves, None).height


@pytest.mark.parametrize("name", [*SCALARS, *FRACTIONS])
def test_whole_coefficients_stay_below_the_height(name):
    f = {**SCALARS, **FRACTIONS}[name]
    x, y = sympy.symbols("x y")
    exact = sympy.nsimplify(f(x, y), rational=True)
    numerator, _ = sympy.fraction(sympy.cancel(sympy.together(exact)))
    assert whole_norm(numerator, x, y) <= 2 ** height(f) * (1 + 1e-9)


@pytest.mark.parametrize("seed", range(12))
def test_heights_of_random_programs(seed):
    f = random_program(seed, OPERATIONS)
    x, y = sympy.symbols("x y")
    numerator, _ = sympy.fraction(sympy.cancel(sympy.together(sympy.nsimplify(f(x, y), rational=True))))
    assert numerator == 0 or whole_norm(numerator, x, y) <= 2 ** height(f) * (1 + 1e-9)


@pytest.mark.parametrize("name", ["dyadic", "horner"])
def test_heights_are_no_wild_guesses(name):
    """At most a factor of four too large where nothing cancels."""
    x, y = sympy.symbols("x y")
    exact = sympy.nsimplify(SCALARS[name](x, y), rational=True)
    assert 2 ** height(SCALARS[name]) <= 4 * whole_norm(exact, x, y)


def test_binary_places_of_both_sides_count():
    """a = b 2**-100 is the whole-number identity 2**100 a = b, of height 100 or more, not of height 1."""
    signature = Signature.of(((),))
    programs = trace_both(lambda x: x * 3, lambda x: x * 2.0**-50 * 2.0**-50, signature)
    assert sizes(programs, signature.leaves, None).height >= np.log2(3 * 2.0**100 + 1) - 1e-9


def test_constants_that_share_an_odd_part_share_a_denominator():
    """1/3, 1/6 and 1/12 have the common denominator 12: numerators 4, 2, 1."""
    signature = Signature.of(((),))
    one = sizes(trace_both(lambda x: x / 12 + x / 6 + x / 3, lambda x: 0 * x, signature), signature.leaves, None)
    other = sizes(trace_both(lambda x: x / 3 + x / 6 + x / 12, lambda x: 0 * x, signature), signature.leaves, None)
    assert one.height == other.height >= np.log2(4 + 2 + 1) - 1e-9
    assert one.height <= np.log2(7) + 1e-9
