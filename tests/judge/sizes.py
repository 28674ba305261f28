"""Batteries for failure probabilities: degrees, heights and denominators are at least what they are by hand."""

from fractions import Fraction
from math import log2

import jax.numpy as jnp
import numpy as np
from jax import lax

from dualform.prove import Certificate, Input, identical, identity
from dualform.prove.certificate import at_most
from dualform.prove.measure import Sizes, degree, measure, sizes
from dualform.prove.programs import Signature, trace_both
from dualform.prove.relations import Relations
from judge.arithmetic import refused

CHANCE = 2**13 * 12 / 2**60 / 59
"""That a prime divides n, for each bit of n: 2**13 candidates out of 2**60 / 12, and 59 bits at least a prime."""


def size_of(f, g, *inputs) -> Sizes:
    """The sizes of a comparison."""
    signature = Signature.of(inputs)
    return sizes(trace_both(f, g, signature), signature.leaves, None)


def nothing(*inputs):
    """A zero that depends on its arguments in name only."""
    return jnp.zeros(())


def least(what: str, found: float, true: float) -> None:
    """A bound is one."""
    assert found >= true * (1 - 1e-12), f"{what}: {found} is below {true}, which it is by hand"


def degrees() -> None:
    """Degrees of numerators and denominators."""
    for name, true, f, *inputs in (
        ("x y y", 3, lambda x, y: x * y * y, (), ()), ("1 / x^3", 3, lambda x: 1 / x**3, ()),
        ("a product of five", 5, jnp.prod, (5,)), ("(1 + x)^8", 8, lambda x: (1 + x) ** 8, ()),
        ("running products", 4, jnp.cumprod, (4,)), ("a determinant of order 3", 3, jnp.linalg.det, (3, 3)),
        ("x.x times x.x", 4, lambda x: jnp.dot(x, x) ** 2, (3,)), ("x^-2", 2, lambda x: lax.integer_pow(x, -2), ()),
        ("a solve", 3, lambda a, b: jnp.linalg.solve(a, b), (2, 2), (2,)),
        ("a triangular solve", 3, lambda a: lax.linalg.triangular_solve(a, jnp.ones((3, 1)), left_side=True,
         lower=True), (3, 3)),
        ("1/x + 1/y", 2, lambda x, y: 1 / x + 1 / y, (), ()),
        ("a scatter of products", 3, lambda x, y: x.at[np.array([0, 0])].multiply(y)[0], (2,), (2,)),
    ):  # fmt: skip
        least(name, degree(f, *inputs), true)
    for name, true, f, g, *inputs in (
        ("1/x^3 against 1/y^3", 3, lambda x, y: 1 / (x * x * x), lambda x, y: 1 / (y * y * y), (), ()),
        ("x^2 against 1/y", 3, lambda x, y: x * x, lambda x, y: 1 / y, (), ()),
        ("x^6", 6, lambda x: x**6, lambda x: x, ()),
    ):
        least(name, size_of(f, g, *inputs).degree, true)


def gates() -> None:
    """Exponentials of gates are variables, powers of them count, and negative ones are multiplied out."""
    g = Input((), "log")
    for name, true, f, h, *inputs in (
        ("e^3g", 3, lambda a: jnp.exp(3 * a), jnp.exp, g),
        ("e^(3g/2) in halves", 3, lambda a: jnp.exp(a / 2) * jnp.exp(a), jnp.exp, g),
        ("e^(a/2 + b/3) in sixths", 5, lambda a, b: jnp.exp(a / 2 + b / 3), lambda a, b: jnp.exp(a), g, g),
        ("e^5g and e^(g/3), both in thirds", 15, lambda a: jnp.exp(5 * a), lambda a: jnp.exp(a / 3), g),
        ("e^-2a + e^-2b", 2, lambda a, b: jnp.exp(-2 * a) + jnp.exp(-2 * b), lambda a, b: nothing(), g, g),
        ("e^-(-(a + b))", 2, lambda a, b: jnp.exp(jnp.negative(-(a + b))), lambda a, b: nothing(), g, g),
        ("e^(3a + b) through a matrix", 4, lambda a: jnp.exp(np.float32([3, 1]) @ a), lambda a: nothing(), Input(2,
         "log")),
        ("e^(a - 3b) through a matrix", 3, lambda a: jnp.exp(np.float32([-3, -1]) @ a) + jnp.exp(np.float32([-1,
         -3]) @ a),
         lambda a: nothing(), Input(2, "log")),
        ("e^(sum of four)", 4, lambda a: jnp.exp(a.sum()), lambda a: nothing(), Input(4, "log")),
        ("e^(running sum)", 4, lambda a: jnp.exp(jnp.cumsum(a))[-1], lambda a: nothing(), Input(4, "log")),
    ):  # fmt: skip
        least(name, size_of(f, h, *inputs).degree, true)
    signature = Signature.of([()])
    program, _ = trace_both(lambda x: jnp.exp(10 * x), lambda x: jnp.exp(x), signature)
    found = Relations([{1: Fraction(10)}], [0])
    arithmetic, (out,) = measure(program, signature.leaves, found)
    least("e^10x, an exponential that is the tenth power of the basis", float(arithmetic.symbols.fraction(out)[0]), 10)


def heights() -> None:
    """Bits of coefficients in whole numbers."""
    big = np.float32(2**20 + 1)
    for name, true, f, g, *inputs in (
        ("a constant", log2(big), lambda x: big * x, lambda x: x, ()),
        ("64 equal terms", 6, lambda x: jnp.sum(jnp.broadcast_to(x, (64,))), nothing, ()),
        ("a running sum", 6, lambda x: jnp.cumsum(jnp.broadcast_to(x, (64,)))[-1], nothing, ()),
        ("a product", 2 * log2(big), lambda x, y: (big * x) * (big * y), nothing, (), ()),
        ("a dot product", 2 * log2(big) + 3, lambda x: jnp.dot(big * x, big * x) + 0, nothing, (8,)),
        ("a fifth power", 5 * log2(big), lambda x: (big * x) ** 5, nothing, ()),
        ("places of a sum", 40, lambda x, y: x + 2.0**-40 * y, lambda x, y: x, (), ()),
        ("places of a product", 80, lambda x, y: (2.0**-40 * y + x) * (2.0**-40 * x + y), lambda x, y: x, (), ()),
        ("places of a power", 120, lambda x, y: (2.0**-40 * y + x) ** 3, lambda x, y: x, (), ()),
        # 1/(b x + 1) + 1/(b y + 1) has the numerator b x + b y + 2
        ("a sum of quotients", log2(big), lambda x, y: 1 / (big * x + 1) + 1 / (big * y + 1), nothing, (), ()),
        ("a difference of quotients", log2(big), lambda x, y: 1 / (big * x + y), lambda x, y: 1 / (x + y), (), ()),
    ):
        least(name, size_of(f, g, *inputs).height, true)


def denominators() -> None:
    """What a point and a prime must not make zero, of both programs together."""
    big = np.float32(2**20 + 1)
    one, two = lambda x, y: x + y, lambda x, y: x * y**5 / y**5 + y
    least("zeros of g", size_of(one, two, (), ()).zeros, 5)
    least("zeros of f", size_of(two, one, (), ()).zeros, 5)
    least("zeros of two quotients", size_of(lambda x, y: 1 / x + 1 / y, one, (), ()).zeros, 2)
    least("minors of order 1 to 3", size_of(lambda a: lax.linalg.lu(a)[0][2, 2], lambda a: a[0, 0], (3, 3)).zeros, 6)
    least("a constant's height", size_of(lambda x, y: x / big, one, (), ()).denominators, log2(big))
    least("height in g", size_of(one, lambda x, y: x / (big * y + 1), (), ()).denominators, log2(big))
    least("height in f", size_of(lambda x, y: x / (big * y + 1), one, (), ()).denominators, log2(big))
    small = size_of(lambda x, y: x / (2.0**-40 * y + x), one, (), ()).denominators
    least("binary places of a denominator", small, 40)
    minors = size_of(lambda a: lax.linalg.lu(big * a)[0][2, 2], lambda a: a[0, 0], (3, 3)).denominators
    least("heights of minors of order 1 to 3", minors, 6 * log2(big))


def collisions() -> None:
    """Arguments that coincide by chance, and the set that exponents are drawn from."""
    f, g = (lambda x: jnp.exp(x).sum()), (lambda x: jnp.exp(x[::-1]).sum())
    size = size_of(f, g, (3,))
    # six arguments and zero make 21 pairs, whose difference has the degree 2 at most where each has 1 over 1
    least("pairs of arguments", size.collisions, 6 * 7)
    least("heights of 21 differences, of one bit each", size.distinct, 21)
    assert size.points <= 2.0**59 * 16 / 17, "a hashed word hits no exponent with more than 17/16 of its share of q"
    for h in (jnp.cbrt, jnp.exp, jnp.log):
        unknown = size_of(lambda x, h=h: h(x) + h(x * x), lambda x, h=h: h(x * x) + h(x), ())
        least("pairs of unknown functions' arguments", unknown.collisions, 2 * 4 * 5)
        assert unknown.points <= 2.0**59 * 16 / 17
    logs = size_of(lambda a: jnp.exp(a) * jnp.exp(a), lambda a: jnp.exp(2 * a), Input((), "log"))
    assert logs.points <= 2.0**59 * 16 / 17 and size_of(lambda x: x, lambda x: x, ()).points <= 2.0**60
    far = lambda x: jnp.exp(2.0**-40 * x * x) + jnp.exp(x / 3)  # noqa: E731
    least("places of arguments", size_of(far, far, ()).distinct, 10 * 40)


def rates() -> None:
    """The probability (P3), computed again from all its parts."""
    parts = dict(degree=11.0, zeros=7.0, collisions=5.0, points=2.0**59, height=1e6, denominators=3e6, distinct=7e6)
    for related in (0.0, 2e7):
        size = Sizes(**parts, related=related)
        least("modulo a prime", size.modular, (11 + 7 + 5) / 2**59)
        least("with the prime", size.rate, 23 / 2**59 + (1.1e7 + related) * CHANCE)
        assert size.rate < 1.01 * (23 / 2**59 + (1.1e7 + related) * CHANCE), "beyond all measure"
    assert Sizes(**{**parts, "degree": 1e30}, related=0.0).rate == 1.0


def weighed() -> None:
    """What a certificate says of its own failure."""
    constant = np.float32(2.0**100)
    for trials in (1, 2, 3, 5):
        certificate = identical(
            lambda x, y: (x + y) ** 2, lambda x, y: x * x + 2 * x * y + y * y, (), (), trials=trials
        )
        assert certificate.trials == trials == len(certificate.primes) == len(set(certificate.primes))
        least("failure probability", certificate.failure_probability, (2 / 2**60 + 2 * CHANCE) ** trials)
        least("degree", certificate.degree, 2)
        high = identical(lambda x: constant * (constant * x), lambda x: x * constant * constant, (), trials=trials)
        assert high.equal and high.over_rationals and high.holds == "over the rationals"
        least("failure probability with its prime", high.failure_probability, (200 * CHANCE) ** trials)
    certain = identical(lambda x: x + x, lambda x: 2 * x, (), trials=40)
    assert certain.equal and 0 < certain.failure_probability <= 1e-300
    steep = [lambda x: ((x**1024) ** 1024) ** 1024, lambda x: ((x**1024) ** 1024) ** 1024]
    for trials in (1, 3):
        doubtful = identical(*steep, (), trials=trials)
        least("failure probability", doubtful.failure_probability, (2.0**30 / 2**60) ** trials)
        assert (doubtful.equal is True) == (doubtful.failure_probability <= 1e-12), doubtful
    assert identical(*steep, (), trials=1).equal is None, "one trial in 10**9 fails"
    tower = lambda x: lax.fori_loop(0, 60, lambda i, y: y * y, x)  # noqa: E731
    assert not identical(tower, lambda x: tower(x) * 1, ()), "a degree of 2**60"
    hidden = identity.sizes
    try:
        # heights beyond all bounds: the identity is claimed modulo the drawn primes
        identity.sizes = lambda *given: Sizes(2.0, 0.0, 0.0, 2.0**60, 1e16, 0.0, 0.0, 0.0)
        drawn = identical(lambda x: x + x, lambda x: 2 * x, ())
    finally:
        identity.sizes = hidden
    assert drawn.equal and not drawn.over_rationals and drawn.holds == "modulo the drawn primes"


def certificates() -> None:
    """A certificate in print and as a truth value."""
    for p in (1.2345e-5, 1.9999e-300, 3.0e-17, 0.1, 9.96e-20):
        for digits in (0, 1, 2):
            assert p <= float(at_most(p, digits)) <= p * (1 + 1.01 * 10.0**-digits), at_most(p, digits)
    unknown, known, refuted = Certificate(None, 1.0, 0), Certificate(True, 1e-30, 2), Certificate(False, 0.0, 2)
    assert known and not unknown and not refuted
    assert [c.verdict for c in (known, refuted, unknown)] == ["proved", "refuted", "undecided"]
    assert known.holds == "modulo the drawn primes" and refuted.holds is None and unknown.holds is None
    assert unknown.to_dict()["failure_probability"] == 1.0 and known.to_dict()["verdict"] == "proved"
    half = identical(
        lambda x: x.astype(jnp.bfloat16) + x.astype(jnp.bfloat16), lambda x: 2 * x.astype(jnp.bfloat16), ()
    )
    assert half.equal and half.unrounded == ("bfloat16",) and "ignores rounding to bfloat16" in str(half)
    sums = lambda x, y: (jnp.sqrt(jnp.log(x)) + jnp.log1p(y)) + 1 / y**2  # noqa: E731
    double = identical(sums, lambda x, y: 1 * sums(x, y), (), ())
    words = " ".join(double.conditions)
    for function in ("log ", "sqrt", "log1p", "no denominator is zero"):
        assert double.equal and function in words, f"{function} is not among {double.conditions}"
    inverse = identical(lambda x: lax.integer_pow(x, -2), lambda x: lax.integer_pow(x, -1) ** 2, ())
    assert inverse.equal and inverse.conditions and "denominator" in inverse.conditions[0]
    assert identical(lambda x: x + x, lambda x: 2 * x, ()).conditions == ()
    for kept, conditions in ((False, 0), (True, 1)):
        chosen = identical(
            lambda x, k=kept: jnp.where(np.array(k), jnp.sqrt(x), x), lambda x, k=kept: jnp.sqrt(x) if k else x, ()
        )
        assert chosen.equal and len(chosen.conditions) == conditions, "a mask that drops a root, or keeps it"
    refused(lambda: degree(lambda x: lax.sort(x)[0], (3,)), "the degree of a sort")
