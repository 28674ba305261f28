"""What rests on drawing primes: programs that vanish modulo those that somebody knows, seeds, and what is stated."""

import json
import math
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from dualform.prove import Input, identical, identity
from dualform.prove.certificate import LEAST, at_most
from dualform.prove.fingerprint import fingerprint
from dualform.prove.measure import sizes
from dualform.prove.primes import chance_of_division, safe_primes
from dualform.prove.programs import Signature, trace_both

EARLIER = safe_primes(np.random.default_rng(7), 200)
LOG = Input((), "log")


def times(x, n: int):
    """n x, by floats of 20 bits."""
    y = 0 * x
    for k in (60, 40, 20, 0):
        y = y * 2.0**20 + x * float(n >> k & 2**20 - 1)
    return y


def times_all(x, numbers):
    for n in numbers:
        x = times(x, n)
    return x


def times_many(x, numbers, scale: float = 1.0):
    """The same with all numbers at once, each times a scale."""
    a, b, c, d = jnp.array([[float(n >> k & 2**20 - 1) for n in numbers] for k in (60, 40, 20, 0)])
    return x * jnp.prod((((a * 2.0**20 + b) * 2.0**20 + c) * 2.0**20 + d) * scale)


def bits(numbers) -> float:
    """Of their product, less what rounding may take from the logarithm."""
    return math.log2(math.prod(numbers)) * (1 - 1e-12)


def zero(x):
    return 0 * x


@pytest.fixture
def known(monkeypatch):
    """The primes of every proof, known in advance: the one that serves no trial comes first."""
    drawn = safe_primes(np.random.default_rng(11), 4)
    monkeypatch.setattr(identity, "safe_primes", lambda rng, count: drawn[:count])
    return drawn


# programs that vanish modulo primes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("trials", [1, 3])
@pytest.mark.parametrize("count", [1, 200])
def test_the_product_of_earlier_primes_is_not_zero(count, trials):
    certificate = identical(lambda x: times_many(x, EARLIER[:count]), zero, (), trials=trials)
    assert certificate.equal is not True
    one_more = identical(lambda x: x + times_many(x, EARLIER[:count]), lambda x: x, (), trials=trials)
    assert one_more.equal is not True
    # the same number of a size that float64 can show
    assert identical(lambda x: times_many(x, EARLIER[:count], 2.0**-60), zero, (), trials=trials).equal is False


@pytest.mark.parametrize("times_all", [times_all, times_many])
def test_whoever_knows_the_primes_can_write_what_passes(known, times_all):
    """The programs above are exact: they do vanish modulo their primes. So nobody may know those of a proof."""
    assert identical(lambda x: times_all(x, known[1:]), zero, ()).equal is True
    assert identical(lambda x: times_all(x, known[1:3]), zero, ()).equal is not True


@pytest.mark.parametrize("seed", range(3))
def test_the_primes_of_a_seed_are_those_of_one_program(seed):
    """Whoever writes the primes of a seed into a program gets other primes for it."""
    primes = identical(lambda x: x, lambda x: x, (), seed=seed).primes
    certificate = identical(lambda x: x + times_all(x, primes), lambda x: x, (), seed=seed)
    assert certificate.equal is False and not certificate.over_rationals
    assert not set(primes) & set(certificate.primes)


def test_a_gate_times_the_group_orders_of_a_seed():
    """Logarithms are compared modulo q, and exp(g) beside them is the same."""

    def pair(orders):
        return lambda g: (times_all(g, orders), jnp.exp(g))

    programs = pair([1] * 3), lambda g: (zero(g), jnp.exp(g))
    orders = [p // 2 for p in identical(*programs, LOG, seed=5).primes]
    assert identical(pair(orders), programs[1], LOG, seed=5).equal is not True
    assert identical(pair(orders), programs[1], LOG).equal is not True


def test_a_gate_times_known_group_orders_has_their_height(known):
    """It passes trials whose primes it was written for. What is counted against it is the height of its coefficient."""
    orders = [p // 2 for p in known[1:]]
    certificate = identical(lambda g: (times_all(g, orders), jnp.exp(g)), lambda g: (zero(g), jnp.exp(g)), LOG)
    assert certificate.height_bits >= bits(orders)
    assert certificate.failure_probability >= chance_of_division(certificate.height_bits) ** 3
    four = identical(lambda g: (times_all(g, orders[:2]), jnp.exp(g)), lambda g: (zero(g), jnp.exp(g)), LOG)
    assert four.equal is not True  # one prime of the trials is enough


@pytest.mark.parametrize("factor", ["q", "p"])
def test_exponents_that_agree_modulo_known_orders(known, factor):
    """exp(q g) is 1 for every draw, but it is a monomial of degree q: no proof."""
    orders = [p // 2 if factor == "q" else p for p in known[1:]]
    certificate = identical(lambda g: jnp.exp(times_all(g, orders)), lambda g: jnp.exp(zero(g)), LOG)
    assert certificate.equal is not True
    certificate = identical(lambda g: jnp.exp(times(g, orders[0])), lambda g: jnp.exp(zero(g)), LOG, trials=1)
    assert certificate.equal is not True and certificate.degree >= orders[0] * (1 - 1e-12)


def test_arguments_of_exponentials_that_agree_modulo_primes_of_the_trials(known):
    """Two of three: the third tells the arguments apart."""
    f = lambda x, y: jnp.exp(x * x + times_all(y, known[1:3]))  # noqa: E731
    assert identical(f, lambda x, y: jnp.exp(x * x), (), ()).equal is not True


@pytest.mark.parametrize("trials", [1, 3])
def test_a_relation_that_holds_modulo_the_prime_it_was_found_with(known, trials):
    """exp(2 x + p y) = exp(x)**2 modulo that p: the trials have other primes, and each checks the relation."""
    f = lambda x, y: jnp.exp(2 * x * x + times(y, known[0]) * y)  # noqa: E731
    g = lambda x, y: jnp.exp(x * x) ** 2 + zero(y)  # noqa: E731
    certificate = identical(f, g, (), (), trials=trials)
    assert certificate.equal is not True
    true = identical(lambda x, y: jnp.exp(2 * x * x + zero(y)), g, (), (), trials=trials)
    assert true.equal is True and true.method == identity.RELATED


# heights --------------------------------------------------------------------------------------------------------------


def measured(f, g, *inputs):
    signature = Signature.of(inputs)
    return sizes(trace_both(f, g, signature), signature.leaves, None)


def test_binary_places_of_one_argument_count_against_another():
    """x = 2**-100 y is 2**100 x = y in whole numbers."""
    size = measured(lambda x, y: jnp.exp(x * x), lambda x, y: jnp.exp(y * y * 2.0**-50 * 2.0**-50), (), ())
    assert size.distinct >= 100


def test_arguments_of_unknown_functions_count():
    size = measured(lambda x: jnp.tanh(times_all(x, EARLIER[:3])), jnp.tanh, ())
    assert size.distinct >= bits(EARLIER[:3]) and size.collisions > 0


def test_denominators_count():
    size = measured(lambda x: x / (1 + times_all(x, EARLIER[:3])), lambda x: x, ())
    assert size.denominators >= bits(EARLIER[:3])


def test_coefficients_of_logarithms_count():
    size = measured(lambda g: times_all(g, EARLIER[:3]) / 3, zero, LOG)
    assert size.height >= bits(EARLIER[:3])


def test_coefficients_beyond_the_range_of_floats_are_huge_and_not_none():
    """inf * 0 is NaN, and the largest of NaN and 0 was 0: a degree of 0 for any exponent."""

    def f(g):
        for _ in range(9):
            g = g * 1e38
        return jnp.exp(g * 0.0)

    certificate = identical(f, lambda g: jnp.exp(zero(g)), LOG)
    assert certificate.equal is None and certificate.degree > 2**60
    assert json.dumps(certificate.to_dict())


def powers(n):
    """x times 3**(2**n), a constant of 1.6 * 2**n bits; and again, the other way around."""
    power = lambda c, n: lax.fori_loop(0, n, lambda i, y: y * y, c)  # noqa: E731
    return (lambda x: power(jnp.float32(3), n) * x), (lambda x: x * power(jnp.float32(9), n - 1))


def test_a_height_within_reach_is_over_the_rationals():
    """Far larger than the product of three primes, which does not matter."""
    certificate = identical(*powers(20), ())
    assert certificate.equal is True and certificate.height_bits > 2**20
    assert certificate.over_rationals and certificate.holds == "over the rationals"
    assert certificate.failure_probability > chance_of_division(certificate.height_bits) ** 3


def test_a_large_height_needs_more_trials():
    certificate = identical(*powers(37), ())
    assert certificate.equal is None and "bits, so a trial fails with probability" in certificate.reason
    assert "trials=4 would do" in certificate.reason
    again = identical(*powers(37), (), trials=4)
    assert again.equal is True and again.over_rationals
    one = identical(*powers(12), (), trials=1)
    assert one.equal is None and "trials=2 would do" in one.reason


@pytest.mark.parametrize("n", [45, 60, 2000])
def test_a_height_beyond_reach_is_modulo_the_drawn_primes(n):
    certificate = identical(*powers(n), ())
    assert certificate.equal is True and not certificate.over_rationals
    assert str(certificate).startswith("proved modulo the drawn primes: ")
    data = json.loads(json.dumps(certificate.to_dict()))
    assert data["holds"] == "modulo the drawn primes" and data["over_rationals"] is False


# what is stated -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trials", [1, 2, 30, 1000])
def test_no_proof_is_beyond_doubt(trials):
    certificate = identical(lambda x: x + x, lambda x: 2 * x, (), trials=trials)
    assert certificate.equal is True
    assert 0 < LEAST <= certificate.failure_probability < 1e-12
    assert json.loads(json.dumps(certificate.to_dict()))["failure_probability"] > 0
    assert "0.0e" not in str(certificate)


def test_the_failure_probability_covers_the_choice_of_the_prime():
    """One trial: no prime is chosen with more certainty than (P5) allows."""
    certificate = identical(lambda x: x + x, lambda x: 2 * x, (), trials=1)
    assert certificate.failure_probability >= chance_of_division(certificate.height_bits) > 1e-16


@pytest.mark.parametrize("value, text", [(1.01e-20, "1.1e-20"), (1e-300, "1.0e-300"), (0.5, "5.0e-1"), (1.0, "1.0e+0")])
def test_bounds_are_rounded_up_in_print(value, text):
    assert float(at_most(value)) == float(text) and float(at_most(value)) >= value


# seeds ----------------------------------------------------------------------------------------------------------------

PAIRS = {
    "proved": (lambda x, y: (x + y) ** 2, lambda x, y: x * x + 2 * x * y + y * y, (3,), (3,)),
    "refuted": (lambda x, y: (x + y) ** 2, lambda x, y: x * x + y * y, (3,), (3,)),
    "undecided": (lambda x, y: jnp.sort(x), lambda x, y: jnp.sort(1 * x), (3,), (3,)),
    "related": (lambda x, y: jnp.exp(x * x - y) * jnp.exp(y * 1), lambda x, y: jnp.exp(x * x) + zero(y), (3,), (3,)),
}


@pytest.mark.parametrize("verdict", PAIRS)
def test_the_seed_repeats_the_certificate_exactly(verdict):
    first = identical(*PAIRS[verdict])
    again = identical(*PAIRS[verdict], seed=first.seed)
    assert json.dumps(first.to_dict()) == json.dumps(again.to_dict()) and str(first) == str(again)
    assert first.verdict == verdict or verdict == "related"


def test_the_system_draws_a_seed_unless_one_is_given():
    seeds = {identical(*PAIRS["proved"]).seed for _ in range(5)}
    assert len(seeds) == 5 and all(0 <= seed < 2**64 for seed in seeds)
    assert len({identical(*PAIRS["proved"], seed=s).primes for s in (0, 1, 2**64 - 1, 2**70)}) == 4
    assert f"seed {2**64 - 1}" in str(identical(*PAIRS["proved"], seed=2**64 - 1))


PROGRAM = """
import jax.numpy as jnp, jax
from dualform.prove import identical
f = lambda x: jax.lax.scan(lambda c, y: (c + jax.nn.silu(y), c), 0.0, x)[0] + jnp.array([1.0, 2.5])[1]
print(identical(f, lambda x: f(1 * x), (4,), seed=3).primes)
"""


def test_a_seed_repeats_in_another_process():
    """No address and no hash of a text is part of the fingerprint."""
    runs = [
        subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert runs[0] == runs[1] and len(json.loads(runs[0].replace("(", "[").replace(")", "]"))) == 3


VARIANTS = {
    "constant": lambda x: x[0] * 3.0,
    "another constant": lambda x: x[0] * 3.0000002,
    "wiring": lambda x: x[1] * 3.0,
    "array": lambda x: x[0] * jnp.array([3.0, 4.0])[0],
    "another array": lambda x: x[0] * jnp.array([3.0, 5.0])[0],
    "loop": lambda x: lax.fori_loop(0, 3, lambda i, y: y * 3.0, x[0]),
    "longer loop": lambda x: lax.fori_loop(0, 4, lambda i, y: y * 3.0, x[0]),
    "body": lambda x: lax.fori_loop(0, 3, lambda i, y: y * 3.0000002, x[0]),
    "power": lambda x: x[0] ** 3,
    "another power": lambda x: x[0] ** 4,
    "operands": lambda x: x[0] - x[1],
    "operands swapped": lambda x: x[1] - x[0],
}


def test_whatever_decides_what_programs_compute_is_in_the_fingerprint():
    signature, masks = Signature.of(((3,),)), ([True, False], [False, True])
    numbers = [fingerprint(trace_both(f, f, signature), signature.leaves) for f in VARIANTS.values()]
    gates = [Signature.of((Input(2, "log"),))] + [Signature.of((Input(2, "log", np.array(m)),)) for m in masks]
    numbers += [fingerprint(trace_both(jnp.exp, jnp.exp, s), s.leaves) for s in gates]
    assert len(set(numbers)) == len(numbers)
    assert numbers[0] == fingerprint(trace_both(*[VARIANTS["constant"]] * 2, signature), signature.leaves)
