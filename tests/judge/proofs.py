"""Batteries for the proof itself: false identities are not proved, true ones are."""

from fractions import Fraction
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dualform.prove import Certificate, Input, identical, identity, parameters, relations
from dualform.prove.draw import Point, draw, evaluate
from dualform.prove.field import PrimeField
from dualform.prove.fingerprint import fingerprint
from dualform.prove.primes import safe_prime, safe_primes
from dualform.prove.programs import Signature, trace_both
from dualform.prove.relations import Relations, rational
from judge.arithmetic import refused

P = safe_prime(np.random.default_rng(7))
ODD = np.arange(11, 51, 2, dtype=np.float32)


def decided(f, g, *inputs, **options) -> Certificate:
    """The verdict without a search for counterexamples in floats, which takes compiled programs."""
    whole = identity._refuted
    identity._refuted = lambda search, undecided: undecided
    try:
        return identical(f, g, *inputs, **options)
    finally:
        identity._refuted = whole


def false(what: str, f, g, *inputs, **options) -> None:
    certificate = decided(f, g, *inputs, **options)
    assert certificate.equal is not True, f"{what}, which is false, is {certificate}"


def true(what: str, f, g, *inputs, **options) -> Certificate:
    certificate = decided(f, g, *inputs, **options)
    assert certificate.equal is True, f"{what}, which is true, is {certificate}"
    return certificate


def programs(f, g, *inputs):
    signature = Signature.of(inputs)
    return trace_both(f, g, signature), signature.leaves


def exps() -> None:
    """Relations between exponentials are used as far as they hold."""
    true("e^a e^b = e^(a+b)", lambda a, b: jnp.exp(a) * jnp.exp(b), lambda a, b: jnp.exp(a + b), (3,), (3,))
    true("(e^(x/2))^2 = e^x", lambda x: jnp.exp(x / 2) ** 2, jnp.exp, ())
    for what, f, g, *inputs in (  # of products: no logarithms
        ("(e^(x/2))^2 = e^x", lambda x: jnp.exp(x * x / 2) ** 2, lambda x: jnp.exp(x * x), ()),
        ("e^(x/3) e^(2x/3) = e^x", lambda x: jnp.exp(x * x / 3) * jnp.exp(2 * x * x / 3), lambda x: jnp.exp(x * x), ()),
        ("e^(a + b)", lambda a, b: jnp.exp(a * a) * jnp.exp(b * b), lambda a, b: jnp.exp(a * a + b * b), (), ()),
        ("five", lambda x: jnp.exp(x * x).sum(), lambda x: (jnp.exp(x * x / 2) ** 2)[::-1].sum(), (5,)),
    ):
        method = true(what, f, g, *inputs).method
        assert method == "proved linear relations (P2)", f"{what}: {method}"
    true("e^0 = 1", lambda x: jnp.exp(x - x), lambda x: x * 0 + 1, ())
    four = lambda x: jnp.exp(4 * x * x)  # noqa: E731
    three = lambda x: jnp.exp(x * x) * jnp.exp(2 * x * x)  # noqa: E731
    for what, f, g in (
        ("e^x = e^2x", jnp.exp, lambda x: jnp.exp(2 * x)),
        ("e^x = 1 + x", jnp.exp, lambda x: 1 + x),
        ("e^x e^2x = e^4x", three, four),
        ("expm1 = exp", jnp.expm1, jnp.exp),
        ("e^x^2 = (e^x)^2", lambda x: jnp.exp(x * x), lambda x: jnp.exp(x) ** 2),
        ("e^x = e^(x + 1)", jnp.exp, lambda x: jnp.exp(x + 1)),
    ):
        false(what, f, g, ())
    found, used = relations.find, []

    def recorded(both, prime, leaves, rng):
        used.append(prime)
        return found(both, prime, leaves, rng)

    def wrong(both, prime, leaves, rng):  # as a prime that divides the difference would have it
        rows = [{1: Fraction(1)}, {1: Fraction(2)}, {1: Fraction(3)}]
        return Relations(rows, [0])

    try:
        relations.find = recorded
        certificate = true("e^x e^2x = e^3x", three, lambda x: jnp.exp(3 * x * x), ())
        assert used and not set(used) & set(certificate.primes), "relations are found with the primes that check them"
        relations.find = wrong
        true("e^x e^2x = e^3x", three, lambda x: jnp.exp(3 * x * x), ())
        false("e^x e^2x = e^4x", three, four, ())
    finally:
        relations.find = found


def relation() -> None:
    """One relation at one point, rational numbers from residues, and nested exponentials."""
    ring = PrimeField(P)
    x = 123456789
    arguments = np.array([x, 2 * x, x * pow(3, -1, P) % P, (x + 5) % P], np.uint64)
    right = [{1: Fraction(1)}, {1: Fraction(2)}, {1: Fraction(1, 3)}, {0: Fraction(5), 1: Fraction(1)}]
    fresh = SimpleNamespace(arguments=[arguments], logarithms=[])
    assert Relations(right, [0]).hold(fresh, ring)
    for i, row in enumerate(
        ({1: Fraction(2)}, {1: Fraction(1)}, {1: Fraction(1, 2)}, {0: Fraction(4), 1: Fraction(1)})
    ):
        assert not Relations([*right[:i], row, *right[i + 1 :]], [0]).hold(fresh, ring), row
    drawn = Relations(right, [0]).exponents(PrimeField(P // 2), np.random.default_rng(0))
    q = P // 2
    one = int(drawn[0])
    assert int(drawn[1]) == 2 * one % q and 3 * int(drawn[2]) % q == one and one > 2**40
    for p in (101, 1009):
        for c in range(p):
            found = rational(c, p)
            fits = [(n, d) for d in range(1, int((p / 2) ** 0.5) + 1) for n in (c * d % p, c * d % p - p)
                    if n * n <= p / 2]  # fmt: skip
            assert (found is None) == (not fits), f"{c} modulo {p} is {found}, not one of {fits}"
            assert found is None or (found.numerator - c * found.denominator) % p == 0
            assert found is None or 2 * max(found.numerator**2, found.denominator**2) <= p, (
                f"{found} is not the only one"
            )
    for factor in (1, 2):
        both, leaves = programs(lambda x: jnp.exp(jnp.exp(x)), lambda x, n=factor: jnp.exp(jnp.exp(x) * n), ())
        point, run = draw(both, P, leaves, np.random.default_rng(1))
        rows = Relations([{1: Fraction(1)}, {2: Fraction(1)}] * 2, [0, 1])
        again = relations.related(rows, both, point, run)
        assert (again is not None) == (factor == 1), "relations hold between arguments that depend on exponents"
    independent = relations.find(*programs(lambda x: jnp.exp(x).sum(), lambda x: jnp.exp(x[::-1]).sum(), (5,))[:1],
                                 P, Signature.of([(5,)]).leaves, np.random.default_rng(2))  # fmt: skip
    assert len(independent.basis) == 5 and all(len(row) == 1 for row in independent.rows)
    halves = Relations([{1: Fraction(1, 2)}, {1: Fraction(-3)}, {1: Fraction(1)}], [2])
    assert halves.unit == 2 and halves.span[0] >= 2 and halves.span[1] >= 6 and halves.height >= 3


def algebra() -> None:
    """Rational functions, and what is undefined."""
    for what, f, g, *inputs in (
        ("(x + y)^2", lambda x, y: (x + y) ** 2, lambda x, y: x * x + 2 * x * y + y * y, (), ()),
        ("1/x + 1/y", lambda x, y: 1 / x + 1 / y, lambda x, y: (x + y) / (x * y), (), ()),
        ("x / 3 * 3", lambda x: x / 3 * 3, lambda x: x, ()),
        ("sums", lambda x: jnp.cumsum(x)[-1], jnp.sum, (7,)),
        ("root squared", lambda x: jnp.sqrt(x) ** 2, lambda x: x, ()),
        ("root to the fourth", lambda x: jnp.sqrt(x) ** 4, lambda x: x * x, ()),
        ("cos 0 = 1", lambda x: jnp.cos(0 * x) + x, lambda x: 1 + x, ()),
        ("expm1 = exp - 1", jnp.expm1, lambda x: jnp.exp(x) - 1, ()),
        ("decays", lambda g: jnp.exp(g[0]) * jnp.exp(g[1]), lambda g: jnp.exp(jnp.cumsum(g))[1], Input(2, "log")),
        ("a reset", lambda g, x: jnp.exp(g) * x, lambda g, x: 0 * x,
         Input(2, "log", reset=np.array([True, True])), (2,)),
        ("an inverse", lambda a: jnp.linalg.inv(a) @ a, lambda a: a * 0 + jnp.eye(2), (2, 2)),
        ("a determinant", jnp.linalg.det, lambda a: a[0, 0] * a[1, 1] - a[0, 1] * a[1, 0], (2, 2)),
        ("subtraction", lambda x, y: x.at[0].subtract(y), lambda x, y: x.at[0].add(-y), (2,), ()),
        ("x > -inf", lambda x: jnp.where(x > -jnp.inf, x, 0.0), lambda x: x, ()),
        ("-inf < x", lambda x: jnp.where(lax.lt(np.float32(-jnp.inf), x), x, 0.0), lambda x: x, ()),
        ("max(x, -inf)", lambda x: jnp.maximum(x, -jnp.inf), lambda x: x, ()),
        ("a solve of any pivots", jnp.linalg.solve, lambda a, b: jnp.linalg.inv(a) @ b, (2, 2), (2,)),
    ):  # fmt: skip
        true(what, f, g, *inputs)
    for what, f, g, *inputs in (
        ("x = y", lambda x, y: x, lambda x, y: y, (), ()), ("x^2 = x", lambda x: x * x, lambda x: x, ()),
        ("2**61 x = x", lambda x: x * 2.0**61, lambda x: x, ()), ("0.1 = 1/10", lambda x: x * 0.1, lambda x: x / 10,
         ()),
        ("x/(x - x) = x", lambda x: x / (x - x), lambda x: x, ()),
        ("a dot product with 0/0", lambda x: jnp.dot(x / (x - x), x), lambda x: jnp.dot(x, x), (2,)),
        ("a sum of 0/0", lambda x: jnp.sum(x / (x - x)), jnp.sum, (2,)),
        ("a running sum of 0/0", lambda x: jnp.cumsum(jnp.stack([x / (x - x), x]))[1], lambda x: 2 * x, ()),
        ("root cubed", lambda x: jnp.sqrt(x) ** 3, lambda x: x, ()),
        ("root times another", lambda x, y: jnp.sqrt(x) * y, lambda x, y: x, (), ()),
        ("cos 0 = 0", lambda x: jnp.cos(0 * x), lambda x: 0 * x, ()), ("sin = tanh", jnp.sin, jnp.tanh, ()),
        ("subtraction is addition", lambda x, y: x.at[0].subtract(y), lambda x, y: x.at[0].add(y), (2,), ()),
        ("a reversed sum", lambda x: lax.cumsum(x, reverse=True), jnp.cumsum, (3,)),
        ("a reset is none", lambda g, x: jnp.exp(g) * x, lambda g, x: x, Input(2, "log", reset=np.array([True,
         True])), (2,)),
        ("-inf times 0", lambda g: jnp.exp(0 * g), lambda g: 0 * jnp.exp(g),
         Input(2, "log", reset=np.array([True, True]))),
        ("a mask of -inf", lambda g: g + np.float32([-np.inf, 0]), lambda g: g, Input(2, "log")),
        ("constants that float32 rounds", lambda x: jnp.where(jnp.ones(()) * 2.0**24 + 1 > 2.0**24, x, 0.0),
         lambda x: x, ()),
        ("max(x, inf) = x", lambda x: jnp.maximum(x, jnp.inf), lambda x: x, ()),
        ("x >= inf", lambda x: jnp.where(x >= jnp.inf, x, 0.0), lambda x: x, ()),
        ("x < -inf", lambda x: jnp.where(x < -jnp.inf, 0.0, x), lambda x: 0 * x, ()),
    ):  # fmt: skip
        false(what, f, g, *inputs)
    for f, pole in ((jnp.log1p, lambda x: x - x - 1), (jnp.log, lambda x: x - x), (lax.rsqrt, lambda x: 0 * x)):
        refused(lambda f=f, pole=pole: undefined(lambda x: f(pole(x))), f"{f} at its pole")


def undefined(f):
    both, leaves = programs(f, f, ())
    return draw(both, P, leaves, np.random.default_rng(0))[1].results


def zeros() -> None:
    """Functions at zero, where they are known."""
    at_zero = {
        jnp.cos: 1.0, jnp.sin: 0.0, jnp.tanh: 0.0, jnp.sqrt: 0.0, jax.nn.sigmoid: 0.5, jnp.cosh: 1.0, jnp.sinh: 0.0,
        jnp.arctan: 0.0, lax.erf: 0.0, lax.erfc: 1.0, jnp.log1p: 0.0, jnp.cbrt: 0.0, jnp.exp2: 1.0,
    }  # fmt: skip
    for f, value in at_zero.items():
        true(f"{f} at 0", lambda x, f=f: f(x - x) + x, lambda x, v=value: x + v, ())
        false(f"{f} at 0", lambda x, f=f: f(x - x) + x, lambda x, v=value: x + (1.0 - v), ()) if value != 0.5 else None
        false(f"{f} is constant", lambda x, f=f: f(x) + x, lambda x, v=value: x + v, ())


def domains() -> None:
    """Nothing that holds nowhere is proved, and no question that data decide is answered."""
    for what, f, g, *inputs in (
        ("root of a negative", lambda x: jnp.sqrt(-1 - x * x) ** 2, lambda x: -1 - x * x, ()),
        ("x sqrt(-1/2)", lambda x: x * jnp.sqrt(-0.5 * jnp.ones(())), lambda x: jnp.sqrt(-0.5 * jnp.ones(())) * x, ()),
        ("two results of two domains", lambda x: (jnp.log(x), jnp.log(-x)), lambda x: (1 * jnp.log(x),
         1 * jnp.log(-x)), ()),
        ("a denominator of exponentials", lambda x: x / (jnp.exp(x * x) * jnp.exp(-x * x) - 1),
         lambda x: -x / (1 - jnp.exp(-x * x) * jnp.exp(x * x)), ()),
        ("a denominator of sines", lambda x: x / (jnp.sin(x) ** 2 + jnp.cos(x) ** 2 - 1),
         lambda x: x / (-1 + jnp.cos(x) ** 2 + jnp.sin(x) ** 2), ()),
        ("isnan of a root", lambda x: jnp.where(jnp.isnan(jnp.sqrt(x)), -x, x), lambda x: x, ()),
        ("isnan behind a sum", lambda x: jnp.where(jnp.isnan(jnp.sqrt(x) + 1), -x, x), lambda x: x, ()),
        ("isnan behind a move", lambda x: jnp.where(jnp.isnan(jnp.concatenate([x, jnp.sqrt(x)])[2:]), -x, x),
         lambda x: x, (2,)),
        ("isnan behind a mask", lambda x: jnp.where(jnp.isnan(jnp.where(np.array(True), jnp.sqrt(x), x)), -x, x),
         lambda x: x, ()),
        ("isnan behind a loop", lambda x: jnp.where(jnp.isnan(lax.fori_loop(0, 2, lambda i, c: c * jnp.log(x), x)),
         -x, x),
         lambda x: x, ()),
        ("log above -inf", lambda x: jnp.where(jnp.log(x) > -jnp.inf, x, 0.0), lambda x: x, ()),
        ("finite log", lambda x: jnp.where(jnp.isfinite(jnp.log(x)), x, 0.0), lambda x: x, ()),
        ("what bfloat16 keeps", lambda x: jnp.where(x.astype(jnp.bfloat16).astype(x.dtype) == x, x, 0.0), lambda x: x,
         ()),
        ("what fewer bits keep", lambda x: jnp.where(lax.reduce_precision(x, 8, 7) == x, x, 0.0), lambda x: x, ()),
    ):  # fmt: skip
        false(what, f, g, *inputs)
    true("root of a positive", lambda x: jnp.sqrt(1 + x * x) ** 2, lambda x: 1 + x * x, ())
    true("x == x", lambda x: jnp.where(x == x, x, 0.0), lambda x: x, ())


def solved(a, s, choose):
    """A system with many solutions, of which the pivots of `a` choose one: x_0 + x_1 = s, and 0 = 0."""
    rows = lax.linalg.lu(a)[2]
    b = jnp.stack([s, 0 * s])
    return lax.custom_linear_solve(
        lambda v: jnp.stack([v.sum(), 0 * v[0]]), b, lambda _, r: choose(rows, jnp.stack([r[0], r[1]])),
    )  # fmt: skip


def pivots() -> None:
    """What depends on the choice of pivots is not proved."""
    order = lambda a: lax.linalg.lu(a)[2]  # noqa: E731
    for what, f, g in (
        ("the rows stay", lambda a, x: x[order(a)], lambda a, x: x),
        ("the rows are exchanged", lambda a, x: x[order(a)], lambda a, x: x[::-1]),
        ("a selection by rows", lambda a, x: jnp.where(order(a)[0] == 0, x, -x), lambda a, x: x),
        ("a branch by rows", lambda a, x: lax.cond(order(a)[0] == 0, lambda: x, lambda: -x), lambda a, x: x),
        ("the first factor", lambda a, x: lax.linalg.lu(a)[0][0] * x, lambda a, x: a[0] * x),
        ("one of many solutions", lambda a, x: solved(a, x[0], lambda rows, r: r[rows]),
         lambda a, x: jnp.stack([x[0], 0 * x[0]])),
        ("a loop as long as rows say", lambda a, x: lax.while_loop(lambda c: c[0] < order(a)[0], lambda c: (c[0] + 1,
         -c[1]),
         (0, x))[1], lambda a, x: x),
        ("sorted by rows", lambda a, x: lax.sort((order(a), x), num_keys=1)[1], lambda a, x: x),
    ):  # fmt: skip
        false(what, f, g, (2, 2), (2,))


def draws() -> None:
    """Draws depend on the programs and the seed; every trial counts."""
    f, g = (lambda x: x * 3 + 1), (lambda x: 1 + 3 * x)
    one = true("3 x + 1", f, g, (), seed=5)
    again = true("3 x + 1", f, g, (), seed=5)
    assert again.primes == one.primes and again.seed == 5, "a seed does not repeat the proof"
    other = true("3 x + 2", lambda x: x * 3 + 2, lambda x: 2 + 3 * x, (), seed=5)
    assert not set(one.primes) & set(other.primes), "programs have no part in the draw"
    assert not set(one.primes) & set(true("3 x + 1", f, g, (), seed=6).primes)
    a, b = np.arange(6.0, dtype=np.float32), np.arange(6.0, dtype=np.float32)[::-1].copy()
    marks = {
        "a constant array": (lambda x: x * a, lambda x: x * b), "a literal": (lambda x: x * 3, lambda x: x * 5),
        "a parameter": (lambda x: x.sum() + x, lambda x: x.prod() + x), "a power": (lambda x: x**3, lambda x: x**4),
        "wiring": (lambda x: jnp.cos(x) - x, lambda x: x - jnp.cos(x)),
        "an axis": (lambda x: jnp.flip(x.reshape(2, 3), 0), lambda x: jnp.flip(x.reshape(2, 3), 1)),
        "an inner program": (lambda x: lax.scan(lambda c, y: (c + y, c), 0.0, x)[1],
                             lambda x: lax.scan(lambda c, y: (c * y, c), 0.0, x)[1]),
    }  # fmt: skip
    for what, (one, two) in marks.items():
        first, second = (programs(h, h, (6,)) for h in (one, two))
        assert fingerprint(*first) != fingerprint(*second), f"{what} leaves no mark"
        assert fingerprint(*first) == fingerprint(*programs(one, one, (6,)))
    fixed = safe_primes(np.random.default_rng(3), 4)
    whole = identity.safe_primes

    def product(x):  # x times the primes of the later trials, in parts that float32 holds
        for p in fixed[2:]:
            x = (
                x * np.float32(p >> 48) * 2.0**48
                + x * np.float32(p >> 24 & 0xFFFFFF) * 2.0**24
                + x * np.float32(p & 0xFFFFFF)
            )
        return x

    identity.safe_primes = lambda rng, count: fixed[:count]
    try:
        false("x = x + (p_2 p_3) x", lambda x: x, lambda x: x + product(x), (), seed=0)
        sums = lambda a, b: jnp.exp(a * a) * jnp.exp(b * b) + a  # noqa: E731
        false("the same beside relations", sums, lambda a, b: jnp.exp(a * a + b * b) + a + product(a), (), (), seed=0)
    finally:
        identity.safe_primes = whole
    both, leaves = programs(lambda g: g, lambda g: g * 1, Input(3, "log"))
    inputs = Point.draw(P, leaves, np.random.default_rng(0)).inputs
    assert evaluate(both, Point.draw(P, leaves, np.random.default_rng(0))).agree() and inputs[0].e.max() > 2**50


def refutations() -> None:
    """Nothing true is refuted, and what is refuted is so by a number."""

    def size(x):
        return jnp.where(x > 0, x, -x)

    for what, f, g in (
        ("rounding that is large", lambda x, y: size(x) + 1e8 * y - 1e8 * y, lambda x, y: size(x)),
        ("the order of a sum", lambda x, y: (size(jnp.cbrt(x)) / ODD + jnp.cbrt(x) / 3) + jnp.cbrt(x) / 7,
         lambda x, y: size(jnp.cbrt(x)) / ODD + (jnp.cbrt(x) / 3 + jnp.cbrt(x) / 7)),
        ("cbrt is odd", lambda x, y: jnp.cbrt(-x), lambda x, y: -jnp.cbrt(x)),
    ):  # fmt: skip
        certificate = identical(f, g, (), (), seed=1)
        assert certificate.equal is not False, f"{what}: a true identity is {certificate}"
        assert certificate.reason or certificate.equal
    certificate = identical(lambda x: x * 2.0**61, lambda x: x, ())
    example = certificate.counterexample
    assert certificate.equal is False and certificate.failure_probability == 0.0 and not certificate
    assert example.f == 2.0**61 * float(example.inputs[0]) and example.g == float(example.inputs[0]) != 0


def refusals() -> None:
    """What the engine does not know, and results that cannot be compared, are errors."""
    for f, g in (
        (lambda x: x, lambda x: x.astype(jnp.bfloat16)), (lambda x: x, lambda x: (x, x)), (lambda x: x,
         lambda x: x[None]),
    ):  # fmt: skip
        try:
            identical(f, g, ())
        except ValueError as error:
            assert "expected results" in str(error)
        else:
            raise AssertionError("results of different kinds are compared")
    eqn = jax.make_jaxpr(lambda x: jnp.cumsum(x))(jnp.zeros(3)).jaxpr.eqns
    inner = [e for e in eqn if e.primitive.name == "cumsum"] or list(eqn[0].params["jaxpr"].jaxpr.eqns)
    (known,) = [e for e in inner if e.primitive.name == "cumsum"]
    parameters.check(known, interpreted=True)
    for extra in ({"exclusive": True}, {"exclusive": 1.0}):
        odd = SimpleNamespace(
            primitive=known.primitive, params={**known.params, **extra}, source_info=known.source_info
        )
        refused(lambda odd=odd: parameters.check(odd, interpreted=True), f"a parameter {extra}")
    short = SimpleNamespace(primitive=known.primitive, params={"axis": 0}, source_info=known.source_info)
    refused(lambda: parameters.check(short, interpreted=True), "a parameter that is missing")
    refused(lambda: undefined(lambda x: lax.sort(jnp.stack([x, -x]))[0]), "a sort of data")
