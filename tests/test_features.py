"""Chapter 6: features and attention by them against double loops, exact series and the rules; the edges."""

import math
from fractions import Fraction
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from earned import earns_what_it_claims
from mutants import features as softmax_features
from rule_loops import within

from dualform import features, linear
from dualform.laws import Case, Law, check
from dualform.laws.features.laws import LAWS
from dualform.laws.law import BOUNDED
from dualform.prove import identical, rounding_bound
from dualform.rules import normalized

n, V, K, M = 5, 2, 3, 4
KINDS = list(features.MAPS)
kinds = pytest.mark.parametrize("kind", KINDS)


def drawn(seed=0, size=1.0, dtype=np.float32):
    """Values, keys, queries."""
    rng = np.random.default_rng(seed)
    return [
        np.asarray(s * rng.standard_normal(shape), dtype) for s, shape in ((1, (n, V)), (size, (n, K)), (size, (M, K)))
    ]


def directions(seed, m, K=K):
    return np.asarray(np.random.default_rng(seed).standard_normal((m, K)), np.float32)


# The laws -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("law", [pytest.param(law, id=f"{law.label} {law.title[:40]}") for law in LAWS])
def test_laws_earn_what_they_claim(law):
    earns_what_it_claims(law)


def test_every_label_has_a_law_and_every_law_a_label():
    import re

    defined = set(re.findall(r"\\tag\{(\w+)\}", features.__doc__))
    assert defined == {law.label for law in LAWS} and len(defined) == 13
    assert {m.label for m in softmax_features.MUTANTS} == defined


def allowing(amount):
    """A law that the series of two terms is the exponential, up to an allowed difference."""
    forms = {"exp": jnp.exp, "series": lambda s: 1 + s}
    case = Case("s", forms, ((9,),), lambda rng: (rng.uniform(-0.2, 0.2, 9),), within=amount)
    return Law("X1", "made up", "e^s = 1 + s", (case,), (BOUNDED,))


def test_an_approximation_is_held_to_what_it_is_allowed():
    assert check(allowing(lambda s: s**2 / 2 * jnp.exp(jnp.maximum(s, 0))), BOUNDED).earned == BOUNDED
    too_little = check(allowing(lambda s: s**2 / 4), BOUNDED)
    assert not too_little.passed and too_little.worst > 1 and "'series' in float32 is off by" in too_little.reason
    assert check(allowing(lambda s: 0 * s + 1), BOUNDED).earned == "vacuous"


def test_a_measured_law_hosts_planted_bugs():
    mutant = next(m for m in softmax_features.MUTANTS if m.name.endswith("FE8 mse: independent"))
    (law,) = mutant.planted()
    assert law.measure.forms["mse"] is features.positive_mse and mutant.originals() == []
    original = next(law for law in LAWS if law.label == "FE8")
    assert original.measure.forms["mse"] is features.orthogonal_mse


# Against loops --------------------------------------------------------------------------------------------------------


def kernel_loop(kind, q, k, W):
    """phi(q).phi(k) from the definition, in float64."""
    q, k, W = (np.asarray(x, np.float64) for x in (q, k, W))
    total = 0.0
    for w in W:
        if kind == "trigonometric":
            total += math.exp((q @ q + k @ k) / 2) * math.cos(w @ (q - k))
        else:
            sides = (1,) if kind == "positive" else (1, -1)
            total += sum(math.exp(side * (w @ (q + k)) - (q @ q + k @ k) / 2) for side in sides) / len(sides)
    return total / len(W)


def attention_loop(weight, values, keys, queries, causal=False):
    """Normalised attention with weights `weight(q, k)`."""
    rows = []
    for t, q in enumerate(queries):
        last = t + 1 if causal else len(keys)
        w = [weight(q, keys[i]) for i in range(last)]
        rows.append(sum(w[i] * np.asarray(values[i], np.float64) for i in range(last)) / sum(w))
    return np.array(rows)


@kinds
@pytest.mark.parametrize("causal", [False, True])
def test_random_attention_is_the_loop(kind, causal):
    values, keys, q = drawn(1, 0.4)
    q = keys[::-1].copy() if causal else q
    W = directions(2, 7)
    f = lambda *a: features.random_attn(*a, kind, scale=0.7, causal=causal)  # noqa: E731
    root = 0.7**0.5
    expected = attention_loop(lambda a, b: kernel_loop(kind, root * a, root * b, W), values, keys, q, causal)
    within(f(values, keys, q, W), expected, rounding_bound(f, values, keys, q, W)[1])


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("degree", [0, 1, 2, 4])
def test_taylor_attention_is_the_loop(degree, causal):
    values, keys, q = drawn(3, 0.5)
    q = keys[::-1].copy() if causal else q
    f = lambda *a: features.taylor_attn(*a, degree, causal=causal)  # noqa: E731

    def series(a, b):
        s = float(np.dot(np.asarray(a, np.float64), np.asarray(b, np.float64))) / K**0.5
        return sum(s**j / math.factorial(j) for j in range(degree + 1))

    expected = attention_loop(series, values, keys, q, causal)
    within(f(values, keys, q), expected, rounding_bound(f, values, keys, q)[1])


def test_gradients_of_random_attention_are_those_of_the_definition():
    """Shifts are constants to autodiff, rightly: they cancel."""
    values, keys, q = (x[:2] for x in drawn(5, 0.5))
    W = directions(6, 2)

    def definition(values, keys, q, W):
        z = q[:, None] + keys[None]
        norms = jnp.sum(q**2, -1)[:, None] + jnp.sum(keys**2, -1)[None]
        w = jnp.sum(jnp.exp(jnp.sum(z[:, :, None] * W[None, None], -1)), -1) * jnp.exp(-norms / 2)
        return jnp.sum(w[:, :, None] * values[None], 1) / jnp.sum(w, 1, keepdims=True)

    def gradient(f):
        return lambda *a: jax.grad(lambda *b: jnp.sum(f(*b) ** 2), (0, 1, 2, 3))(*a)

    library = gradient(lambda *a: features.random_attn(*a, scale=1.0))
    with jax.enable_x64(True):
        expected = gradient(definition)(*(jnp.asarray(x, jnp.float64) for x in (values, keys, q, W)))
    bound = rounding_bound(library, values, keys, q, W)[1]
    within(library(values, keys, q, W), jax.tree.map(np.asarray, expected), bound)


def test_the_rule_normalized_runs_the_same_attention():
    """Recurrent, with a state of F features, against all at once."""
    values, keys, q = drawn(7, 0.5)
    q, W = keys[::-1].copy(), directions(8, 6)
    phi = features.feature_map(W, "positive", shift=0.3)
    o, state = normalized.recurrent(q, keys, values, feature_map=phi)
    f = lambda *a: features.random_attn(*a, W, scale=1.0, causal=True)  # noqa: E731
    g = lambda *a: normalized.recurrent(a[2], a[1], a[0], feature_map=phi)[0]  # noqa: E731
    allowed = rounding_bound(f, values, keys, q)[1] + rounding_bound(g, values, keys, q)[1]
    assert (np.abs(np.asarray(o, np.float64) - np.asarray(f(values, keys, q), np.float64)) <= allowed).all()
    assert state.S.shape == (V, 6) and np.max(allowed) < 0.1


# Taylor ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entries, degree", [(1, 0), (1, 5), (3, 2), (3, 3), (2, 6)])
def test_monomials_are_all_there_once(entries, degree):
    """At powers of a large base, monomials are told apart by their values: exponents are digits."""
    base = degree + 1
    x = jnp.asarray([2.0 ** (base**i) for i in range(entries)], jnp.float32)
    found = np.log2(np.asarray(features.monomials(x, degree), np.float64)).astype(int)
    digits = [[e // base**i % base for i in range(entries)] for e in found]
    assert len(set(found)) == len(found) == features.feature_count(entries, degree)
    assert sorted(map(sum, digits)) == list(map(sum, digits)) and max(map(sum, digits)) == degree
    weights = [1 / math.prod(map(math.factorial, row)) for row in digits]
    np.testing.assert_array_equal(features.taylor_weights(entries, degree), np.asarray(weights, np.float32))


def test_lagranges_bound_holds_and_is_nearly_attained():
    """In exact arithmetic: e^s by its series with rational arguments, cut off where no digit changes."""
    worst = 0.0
    for degree in range(0, 13):
        for s in (Fraction(sign * a, 16) for sign in (1, -1) for a in (1, 7, 16, 50, 160)):
            partial_sum = sum(s**j / math.factorial(j) for j in range(degree + 1))
            exponential = sum(s**j / math.factorial(j) for j in range(120))
            gap = abs(partial_sum / exponential - 1)
            bound = abs(s) ** (degree + 1) / math.factorial(degree + 1) * max(Fraction(1), 1 / exponential)
            assert gap <= bound
            worst = max(worst, float(gap / bound))
            computed = float(features.taylor_bound(jnp.asarray([float(s)], jnp.float32), degree)[0])
            tight = rounding_bound(partial(features.taylor_bound, degree=degree), np.float32([float(s)]))[1][0]
            assert abs(computed - float(bound)) <= tight
    assert worst > 0.95


def test_odd_degrees_may_divide_by_zero_and_say_zero():
    out = features.taylor_attn(jnp.ones((1, 1)), jnp.ones((1, 1)), -jnp.ones((1, 1)), degree=1, scale=1.0)
    np.testing.assert_array_equal(out, 0)  # the only weight is 1 + s = 0


def test_the_bound_is_infinite_where_it_says_nothing():
    values, keys, q = drawn(9, 3.0)
    assert np.isinf(features.taylor_attn_bound(values, keys, 9 * q, 2)).any()


# Numerical safety -----------------------------------------------------------------------------------------------------


@kinds
@pytest.mark.parametrize("size", [1e-20, 1.0, 30.0, 1e3])
def test_no_size_of_keys_overflows(kind, size):
    values, keys, q = drawn(11, size)
    out = features.random_attn(values, keys, q, directions(12, 16), kind)
    assert np.isfinite(out).all()
    if kind != "trigonometric":  # weights are positive: outputs are between the values, or 0 where all are lost
        low, high = (f(values, axis=0) for f in (np.min, np.max))
        room = 1e-5 * np.max(np.abs(values))
        lost = (np.asarray(out) == 0).all(axis=1)
        assert (((out >= low[None] - room) & (out <= high[None] + room)).all(axis=1) | lost).all()


def test_shifted_features_reach_one():
    keys, W = drawn(13, 40.0)[1], directions(14, 8)
    for kind, phi in features.MAPS.items():
        shift = features.stable_shift(keys, W, kind)
        largest = np.max(np.abs(phi(keys, W, shift)), axis=-1)
        assert (largest <= 1).all() and (largest > 0.05).all(), kind


def test_sixteen_bits_are_computed_in_more():
    values, keys, q = (jnp.asarray(x, jnp.bfloat16) for x in drawn(15, 0.5))
    W = directions(16, 8)
    wide = [np.asarray(x, np.float32) for x in (values, keys, q)]
    for f in (
        partial(features.taylor_attn, degree=2),
        lambda *a: features.random_attn(*a, W),
        features.surrogate_attn,
    ):
        out = f(values, keys, q)
        assert out.dtype == jnp.bfloat16
        expected = np.asarray(f(*wide), np.float64)
        assert (np.abs(np.asarray(out, np.float64) - expected) <= 2.0**-7 * np.max(np.abs(expected))).all()


def test_one_query_no_keys_jit_and_vmap():
    values, keys, q = drawn(17, 0.5)
    W = directions(18, 4)
    forms = {
        "taylor": features.taylor_attn,
        "bound": features.taylor_attn_bound,
        "random": lambda V, K, q: features.random_attn(V, K, q, W),
        "surrogate": features.surrogate_attn,
        "remainder": features.remainder_bound,
        "gaps": lambda V, K, q: features.softmax_gaps(V, K, q).remainder,
    }
    for name, f in forms.items():
        many = f(values, keys, q)
        assert many.shape == (M, V), name
        within(f(values, keys, q[1]), np.asarray(many[1]), 2 * rounding_bound(f, values, keys, q[1])[1], None)
        nothing = f(values[:0], keys[:0], q)
        np.testing.assert_array_equal(nothing, np.zeros((M, V)))
        heads = jax.eval_shape(jax.jit(jax.vmap(f)), *(jnp.stack([x] * 2) for x in (values, keys, q)))
        assert heads.shape == (2, M, V)


# Dropping the softmax -------------------------------------------------------------------------------------------------


def softmax_loop(values, keys, q, scale):
    """Float64, shifted by the largest score."""
    values, keys, q = (np.asarray(x, np.float64) for x in (values, keys, q))
    s = scale * q @ keys.T
    p = np.exp(s - s.max(axis=1, keepdims=True))
    return (p / p.sum(axis=1, keepdims=True)) @ values


@pytest.mark.parametrize("size", [1e-3, 0.1, 1.0, 10.0])
def test_gaps_add_up_to_softmax_attention_and_the_remainder_keeps_its_digits(size):
    values, keys, q = drawn(19)
    q = np.asarray(size * q, np.float32)
    f = partial(features.softmax_gaps, scale=0.5)
    gaps = f(values, keys, q)
    bounds = rounding_bound(f, values, keys, q)[1]
    expected = softmax_loop(values, keys, q, 0.5)
    total = sum(np.asarray(g, np.float64) for g in gaps)
    assert (np.abs(total - expected) <= sum(bounds) + 2.0**-48).all()
    first = sum(np.asarray(g, np.float64) for g in rounding_bound(f, values, keys, q)[0][:4])
    remainder = expected - first
    within(gaps.remainder, remainder, bounds.remainder + 2.0**-48)  # below a tenth of the remainder, even at 1e-3
    limit = features.remainder_bound(values, keys, q, scale=0.5)
    assert (np.abs(remainder) <= np.asarray(limit) * (1 + 2.0**-20)).all()


def test_a_difference_would_have_lost_those_digits():
    values, keys, q = drawn(19)
    q = np.asarray(1e-3 * q, np.float32)
    f = partial(features.softmax_gaps, scale=0.5)
    truth = np.asarray(rounding_bound(f, values, keys, q)[0].remainder)
    by_difference = jax.nn.softmax(0.5 * q @ keys.T) @ values - features.surrogate_attn(values, keys, q, scale=0.5)
    gap = np.abs(np.asarray(by_difference) - truth)
    assert np.max(gap) > 0.1 * np.max(np.abs(truth)) > np.max(np.abs(np.asarray(f(values, keys, q).remainder) - truth))


def test_no_distribution_beats_the_constant():
    """Third moments of random weights on random points of the unit square, and the extremes that the proof leaves."""
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.full(4, 0.5), 40_000)
    s, v = rng.random((2, 40_000, 4)) ** rng.choice([0.02, 1, 50], (2, 40_000, 4))
    mean = lambda x: np.sum(p * x, axis=1, keepdims=True)  # noqa: E731
    moments = mean((s - mean(s)) ** 2 * (v - mean(v)))
    largest = 3**0.5 / 18
    assert 0.95 * largest < np.max(np.abs(moments)) <= largest
    b, x, y = np.meshgrid(*[np.linspace(0, 1, 101)] * 3)
    assert np.max(b * (1 - b) * (x * (1 - x) + (1 - 2 * b) * (x - y) ** 2)) <= largest
    b = (3 - 3**0.5) / 6
    assert abs(b * (1 - b) * (1 - 2 * b) - largest) <= 4 * 2.0**-53


def test_the_surrogate_is_every_form_of_a_linear_layer():
    """(FE13) by all forms of chapter 1, proved."""

    def by(form):
        return lambda values, keys, q: form(*features.surrogate(values, keys, scale=0.5), linear.with_bias(q))

    inputs = ((n, V), (n, K), (M, K))
    for form in (linear.primal, linear.recurrent, linear.chunked, linear.descent):
        assert identical(by(linear.dual), by(form), *inputs).equal is True


# Mistakes -------------------------------------------------------------------------------------------------------------


def test_wrong_arguments_are_named():
    values, keys, q = drawn(21)
    W = directions(22, 4)
    with pytest.raises(ValueError, match=r"kind: got 'cosine', expected one of positive, hyperbolic, trigonometric"):
        features.random_attn(values, keys, q, W, "cosine")
    with pytest.raises(ValueError, match=r"kind: got 'cosine'"):
        features.feature_map(W, "cosine")
    with pytest.raises(ValueError, match=r"x: got shape \(4, 3\), expected \[\.\.\., 2\], K as in W"):
        features.positive_features(q, W[:, :2])
    with pytest.raises(ValueError, match=r"W: got shape \(0, 3\), expected at least one direction"):
        features.trigonometric_features(q, W[:0])
    with pytest.raises(ValueError, match=r"degree: got -1, expected an integer of at least 0"):
        features.taylor_attn(values, keys, q, -1)
    with pytest.raises(ValueError, match=r"draws: got 2\.5, expected a Python integer"):
        features.positive_mse(q, q, 2.5)
    with pytest.raises(ValueError, match=r"draws: got 0, expected an integer of at least 1"):
        features.orthogonal_mse(q, q, 0)
    with pytest.raises(ValueError, match=r"q, k: got shapes \(4, 3\) and \(2,\), expected .* one K for both"):
        features.hyperbolic_mse(q, np.ones(2, np.float32), 2)
    with pytest.raises(ValueError, match=r"features: got 0, expected an integer of at least 1"):
        features.gaussian(jax.random.key(0), 2, 0)
    with pytest.raises(ValueError, match=r"q: got shape \(4, 2\)"):
        features.softmax_gaps(values, keys, q[:, :2])
    with pytest.raises(ValueError, match=r"scale: got -1, expected a number above zero"):
        features.taylor_attn(values, keys, q, scale=-1.0)
    with pytest.raises(ValueError, match=r"phi_q: got shape \(2, 3\)"):
        features.feature_attn(values, keys, q[:2], causal=True)
    with pytest.raises(ValueError, match=r"V, phi_k, phi_q: got dtypes"):
        features.feature_attn(values, jnp.asarray(keys, jnp.bfloat16), q)
    with pytest.raises(ValueError, match=r"x: got dtype int32, expected a float dtype"):
        features.taylor_features(jnp.arange(3), 2)
    with pytest.raises(ValueError, match=r"x: got shape \(\), expected \[\.\.\., K\]"):
        features.monomials(jnp.ones(()), 2)
