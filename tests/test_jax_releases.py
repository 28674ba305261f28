"""What differs between releases of JAX: both shapes of each difference, whichever release is installed.

Where the installed release has only one shape, the other is built: an equation with other parameters, or a primitive
of the same name.
"""

import re
from fractions import Fraction
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.extend.core import Primitive, jaxpr_as_fun
from residues import fractions, residues, run, with_parameters

import dualform
from dualform import _jax, cli
from dualform.prove import UnsupportedPrimitive, degree, identical, rounding_bound

HERE = r"test_jax_releases\.py:\d+"


def walk(jaxpr):
    """All equations of a program and of the programs in it."""
    for eqn in jaxpr.eqns:
        yield eqn
        for value in eqn.params.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from walk(inner)


# scan: numbers before 0.11.0, trees since -----------------------------------------------------------------------------


class Tree:
    """A stand-in for the trees of 0.11.0."""

    def __init__(self, *parts):
        self.parts = parts

    def unpack(self):
        return self.parts


def mixed(a, b, xs):
    """A scan with two constants, one carry and one sequence; the carry alone would not tell them apart."""
    return lax.scan(lambda c, x: (c * a + x - b, c * b), xs[0], xs)


ARGUMENTS = (np.float64(3), np.float64(-2), np.arange(4.0) - 1)


def oracle(a, b, xs):
    c, ys = xs[0], []
    for x in xs:
        ys.append(c * b)
        c = c * a + x - b
    return [c, np.array(ys)]


@pytest.mark.parametrize("shape", ["installed", "numbers", "trees"])
def test_a_scan_of_every_release_means_the_same(shape):
    def change(params):
        rest = {k: v for k, v in params.items() if k not in ("num_consts", "num_carry", "ft_in", "ft_out")}
        if shape == "numbers":
            return {**rest, "num_consts": 2, "num_carry": 1, "linear": ()}
        if shape == "trees":
            return {**rest, "ft_in": Tree("ab", "c", "x"), "ft_out": Tree("c", "y")}
        return params

    for got, want in zip(with_parameters("scan", mixed, change, *ARGUMENTS), oracle(*ARGUMENTS), strict=True):
        np.testing.assert_array_equal(got, residues(want))


@pytest.mark.parametrize(
    "f",
    [
        mixed,
        lambda a, b, xs: jax.grad(lambda xs: mixed(a, b, xs)[1].sum())(xs),
        lambda a, b, xs: jax.jvp(lambda b: mixed(a, b, xs), (b,), (a,)),
        lambda a, b, xs: jax.linearize(lambda xs: mixed(a, b, xs), xs)[1](xs),
        lambda a, b, xs: jax.vmap(lambda a: mixed(a, b, xs))(xs),
        lambda a, b, xs: jax.grad(jax.checkpoint(lambda xs: mixed(a, b, xs)[1].sum()))(xs),
    ],
    ids=["value", "gradient", "tangent", "linearised", "vectorised", "rematerialised"],
)
def test_the_counts_are_those_of_the_program(f):
    """Constants, carries and sequences of every scan that differentiation makes: the body and the shapes show them."""
    scans = [e for e in walk(jax.make_jaxpr(f)(*ARGUMENTS).jaxpr) if e.primitive.name == "scan"]
    assert scans
    for eqn in scans:
        consts, carry = _jax.scan_counts(eqn.params)
        body, _ = _jax.opened(eqn.params["jaxpr"])
        lead = (eqn.params["length"],)
        for i, (outer, inner) in enumerate(zip(eqn.invars, body.invars, strict=True)):
            assert outer.aval.shape == (() if i < consts + carry else lead) + inner.aval.shape
        for i, (outer, inner) in enumerate(zip(eqn.outvars, body.outvars, strict=True)):
            assert outer.aval.shape == (() if i < carry else lead) + inner.aval.shape


def test_what_differs_between_releases_stands_in_one_place():
    package = Path(dualform.__file__).parent
    spelled = re.compile(r"num_carry|ft_in|one_minus_square|call_hi_primitive|_det_2x2|canonicalize_dtype")
    found = {str(p.relative_to(package)) for p in package.rglob("*.py") if spelled.search(p.read_text())}
    assert found <= {"_jax.py", "prove/parameters.py", "prove/lowered.py", "prove/programs.py", "laws/checks.py"}


# new primitives -------------------------------------------------------------------------------------------------------


def primitive(name: str):
    """The primitive of the installed JAX, or one of the same name and shape."""
    public = getattr(lax, f"{name}_p", None)
    if public is not None:
        return public
    made = Primitive(name)
    made.def_abstract_eval(lambda x, *more, **params: x)
    made.def_impl(_jax.COMPUTED[name])
    jax.interpreters.mlir.register_lowering(made, jax.interpreters.mlir.lower_fun(_jax.COMPUTED[name], False))
    return made


SQUARE, LOG2, POLYNOMIAL = map(primitive, ("one_minus_square", "log2", "polynomial"))
accuracy = {"accuracy": None} if hasattr(lax, "log2_p") else {}


def horner(x, *c):
    return POLYNOMIAL.bind(x, *c)


def square(x):
    return SQUARE.bind(x)


def log2(x):
    return LOG2.bind(x, **accuracy)


def test_one_minus_square_is_exact():
    x = fractions([Fraction(1, 3), -2, Fraction(7, 5)])
    np.testing.assert_array_equal(run(square, x)[0], residues(1 - x * x))
    assert degree(square, (3,)) == 2
    assert identical(square, lambda x: (1 - x) * (1 + x), (3,))
    assert identical(lambda x: square(jnp.sqrt(x)), lambda x: 1 - x, (3,)), "a root squared is known"
    assert not identical(square, lambda x: 1 - x * x * (1 + x * 2.0**-100), (3,))


def test_one_minus_square_of_constants_is_folded_as_the_program_rounds():
    pick = np.array([4, 3, 0])
    assert identical(lambda x: x[square(jnp.arange(3)) + 3], lambda x: x[pick], (5,))
    assert identical(lambda x: jnp.where(square(jnp.array(0.5)) == 0.75, x, 0), lambda x: x, (2,))


def test_a_polynomial_is_exact():
    x = fractions([Fraction(1, 3), -2])
    c = [fractions(v) for v in (3, Fraction(-1, 2), 5, 7)]
    want = c[0].item() + x * (c[1].item() + x * (c[2].item() + x * c[3].item()))
    np.testing.assert_array_equal(run(lambda x, *c: horner(x, *map(spread(2), c)), x, *c)[0], residues(want))
    assert degree(lambda x, *c: horner(x, *c), (), (), (), ()) == 3


def spread(n):
    return lambda c: jnp.broadcast_to(c, (n,))


@pytest.mark.parametrize("count", [1, 3, 12])
def test_a_polynomial_of_any_length_is_its_sum(count):
    """Twelve coefficients are evaluated in a loop."""
    shapes = [(2,)] * (count + 1)
    assert identical(horner, lambda x, *c: sum(a * x**i for i, a in enumerate(c)), *shapes)
    refuted = identical(horner, lambda x, *c: sum(a * x**i for i, a in enumerate(c)) + x * 2.0**-60, *shapes)
    assert refuted.equal is not True


def test_a_binary_logarithm_is_a_logarithm():
    assert identical(log2, lambda x: jnp.log(x) * (1 / jnp.log(jnp.float32(2))), (3,))
    assert identical(log2, lambda x: jnp.log(x), (3,)).equal is False


LONG = np.longdouble
DTYPES = ("float64", "float32", "float16", "bfloat16")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("f", "exact", "low", "high"),
    [
        (square, lambda x: (1 - x) * (1 + x), 0.5, 1.5),
        (square, lambda x: (1 - x) * (1 + x), 1e-12, 1.0),
        (log2, np.log2, 1e-4, 1e4),
        (log2, np.log2, 0.9, 1.1),
        (lambda x: horner(x, *(jnp.full(x.shape, c, x.dtype) for c in (1, -3, 3, -1))), lambda x: (1 - x) ** 3, 0.5, 2),
        (lambda x: horner(x, *(jnp.full(x.shape, 1 - i % 3, x.dtype) for i in range(12))), None, -1.2, 1.2),
    ],
    ids=["square near 1", "square near 0", "log2", "log2 near 1", "cancelling cube", "twelve terms"],
)
def test_bounds_of_new_primitives_hold_and_are_near(f, exact, low, high, dtype):
    if exact is None:
        exact = lambda x: sum((1 - i % 3) * x**i for i in range(12))  # noqa: E731
    x = np.random.default_rng(0).uniform(low, high, 500).astype(jnp.dtype(dtype))
    value, bound = rounding_bound(f, x)
    with jax.enable_x64(dtype == "float64"):
        y = np.asarray(jax.jit(f)(jnp.asarray(x)))
    want = exact(x.astype(LONG))
    assert (np.abs(y.astype(LONG) - want) <= bound).all() and (np.abs(value - want) <= bound).all()
    assert np.max(np.abs(y.astype(LONG) - want) / bound) > 0.05, "the bound says little"


def test_the_derivative_of_tanh_of_this_release_is_proved_and_bounded():
    derivative = jax.grad(lambda x: jnp.sum(jnp.tanh(x)))
    assert identical(derivative, lambda x: 1 - jnp.tanh(x) ** 2, (3,))
    assert identical(derivative, lambda x: 1 - jnp.tanh(x), (3,)).equal is False
    x = np.linspace(-3, 3, 200).astype(np.float32)
    value, bound = rounding_bound(derivative, x)
    assert (np.abs(np.asarray(jax.jit(derivative)(x)) - value) <= bound).all()
    assert (bound <= 0.01 * value).all()


# primitives that know their own program -------------------------------------------------------------------------------


class Own:
    """What a `call_hi_primitive` carries."""

    in_tree = jax.tree.structure(((0, 0), 0))

    def expand(self, pair, z):
        return {"sum": pair[0] + pair[1] * z}


HIGH = Primitive("call_hi_primitive")
HIGH.multiple_results = True
HIGH.def_abstract_eval(lambda x, y, z, _prim: [x])


def test_a_high_primitive_is_its_program():
    def f(x, y, z):
        return HIGH.bind(x, y, z, _prim=Own())[0]

    assert identical(f, lambda x, y, z: x + y * z, (2,), (2,), (2,))
    assert identical(f, lambda x, y, z: x + z * x, (2,), (2,), (2,)).equal is not True
    assert degree(f, (), (), ()) == 2
    x = np.float32([1.1, 1.2])
    assert np.array_equal(rounding_bound(f, x, x, x)[1], rounding_bound(lambda x, y, z: x + y * z, x, x, x)[1])


class Sorting:
    """A program of JAX's own, with no line of the user's in it."""

    in_tree = jax.tree.structure(((0, 0, 0),))
    expand = staticmethod(lax.sort)


def test_what_a_written_out_primitive_cannot_do_has_the_line_of_its_caller():
    def sorts(x, y, z):
        return HIGH.bind(x, y, z, _prim=Sorting())[0]

    with pytest.raises(UnsupportedPrimitive, match=rf"'sort' .*{HERE} in \S*sorts"):
        degree(sorts, (2,), (2,), (2,))


def test_searchsorted_picks_as_numpy_does():
    edges = np.array([0.0, 1.0, 1.0, 2.5])
    for side in ("left", "right"):
        for at in (-1.0, 0.0, 1.0, 2.0, 9.0):
            picked = min(int(np.searchsorted(edges, at, side)), 3)
            f = lambda x, at=at, side=side: x[jnp.searchsorted(jnp.array(edges), at, side=side)]  # noqa: E731
            assert identical(f, lambda x, picked=picked: x[picked], (4,)), (side, at)


# determinants: eliminations since 0.11.1 ------------------------------------------------------------------------------


def determinant(a):
    """By permutations."""
    if a.shape[0] == 2:
        return a[0, 0] * a[1, 1] - a[0, 1] * a[1, 0]
    rows = [(0, 1, 2), (1, 2, 0), (2, 0, 1)]
    return sum(a[0, i] * a[1, j] * a[2, k] - a[0, k] * a[1, j] * a[2, i] for i, j, k in rows)


@pytest.mark.parametrize("n", [2, 3])
def test_a_determinant_is_its_polynomial(n):
    assert identical(jnp.linalg.det, determinant, (n, n))
    assert degree(jnp.linalg.det, (n, n)) == n
    assert identical(jnp.linalg.det, lambda a: determinant(a) + a[0, 0] * 2.0**-60, (n, n)).equal is not True
    assert identical(jnp.linalg.det, lambda a: -determinant(a), (n, n)).equal is False


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("count", [2, 3, 4])
def test_vectorised_determinants_whichever_axes_they_lie_along(n, axis, count):
    shape = [n, n]
    shape.insert(axis, count)
    many = jax.vmap(jnp.linalg.det, in_axes=axis)
    assert identical(many, lambda a: jnp.stack([determinant(jnp.take(a, i, axis)) for i in range(count)]), tuple(shape))


def test_a_batch_of_batches_of_determinants():
    twice = jax.vmap(jax.vmap(jnp.linalg.det, in_axes=2), in_axes=1)
    assert identical(
        twice, lambda a: jnp.array([[determinant(a[:, i, :, j]) for j in (0, 1)] for i in (0, 1)]), (2,) * 4
    )


@pytest.mark.parametrize("n", [2, 3])
def test_the_gradient_of_a_determinant_is_its_cofactors(n):
    assert identical(jax.grad(jnp.linalg.det), jax.grad(determinant), (n, n))


def test_a_function_of_the_same_name_is_not_believed():
    """Only JAX's own determinant is known to be one."""

    @jax.custom_jvp
    def _det_2x2(a):
        return jnp.where(jnp.abs(a[0, 0]) > jnp.abs(a[1, 0]), determinant(a), -determinant(a))

    _det_2x2.defjvp(lambda p, t: (_det_2x2(*p), determinant(t[0])))
    assert identical(_det_2x2, determinant, (2, 2)).equal is not True
    with pytest.raises(UnsupportedPrimitive, match=rf"'gt' .*{HERE} in \S*_det_2x2"):
        degree(_det_2x2, (2, 2))

    @jax.jit
    def isinf(x):
        return jnp.abs(x) > 3

    assert identical(lambda x: jnp.where(isinf(x), 0, x), lambda x: x, (2,)).equal is not True


def test_numbers_are_not_infinite_and_resets_are():
    assert identical(lambda x: jnp.where(jnp.isinf(x), 0, x), lambda x: x, (2,))
    gate = dualform.prove.Input((3,), "log", reset=np.array([False, True, False]))
    assert identical(
        lambda g: jnp.where(jnp.isinf(g), 5.0, jnp.exp(g)), lambda g: jnp.exp(g) + 5.0 * (g == -jnp.inf), gate
    )
    assert np.array_equal(run(lambda x: x * jnp.isinf(jnp.array([1.0, np.inf, -np.inf])), np.ones(3))[0], [0, 1, 1])


def test_bounds_of_determinants_hold():
    rng = np.random.default_rng(0)
    for n in (2, 3):
        a = rng.standard_normal((40, n, n)).astype(np.float32)
        value, bound = rounding_bound(jnp.linalg.det, a)
        assert (np.abs(np.asarray(jax.jit(jnp.linalg.det)(a)) - value) <= bound).all() and np.isfinite(bound).all()
        assert np.allclose(value, np.linalg.det(a.astype(float)))


# the rest -------------------------------------------------------------------------------------------------------------


def test_64_bit_integers_are_no_warning():
    value, bound = rounding_bound(lambda x, i: x[i], np.float32([1, 2]), np.array([1, 0]))
    assert np.array_equal(value, [2, 1]) and not bound.any()


def test_constants_of_inner_programs_are_found():
    table = np.array([1.0, 2.0, 4.0])

    def f(x):
        return lax.scan(lambda c, y: (c + y * jnp.asarray(table)[2], c), x[0], jax.jit(lambda y: y * table)(x))

    got = run(f, np.ones(3))
    np.testing.assert_array_equal(got[0], residues(np.float64(1 + 4 * 7)))
    program, consts = _jax.opened(jax.make_jaxpr(lambda x: x * table)(table))
    assert len(program.constvars) == len(consts)
    assert jaxpr_as_fun(jax.make_jaxpr(lambda x: x * table)(table))(table)[0][2] == 16


@pytest.mark.parametrize(
    ("version", "newer"),
    [("0.10.2", False), (_jax.NEWEST, False), ("0.12.0.2", True), ("0.12.1", True), ("0.13.0.dev20270101", True),
     ("0.9.9", False), ("1.0.0rc1", True)],
)  # fmt: skip
def test_a_release_is_newer_than_any_tried(monkeypatch, version, newer):
    monkeypatch.setattr(_jax, "VERSION", version)
    assert _jax.newer() is newer


def test_verify_says_that_jax_is_newer(monkeypatch, capsys):
    monkeypatch.setattr(_jax, "VERSION", "9.0.0")
    assert cli.main(["verify", "--only", "L4", "--quick"]) == 0
    assert f"JAX 9.0.0 is newer than {_jax.NEWEST}, the newest" in capsys.readouterr().out
    monkeypatch.setattr(_jax, "VERSION", "0.10.0")
    assert cli.main(["verify", "--only", "L4", "--quick"]) == 0
    assert "newer" not in capsys.readouterr().out
