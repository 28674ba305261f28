"""Chapter 1 against double loops written from its definitions: exactly on integers, within derived bounds on floats."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dualform import linear

V, K, M = 2, 3, 4
FORMS = {
    "primal": linear.primal,
    "dual": linear.dual,
    "recurrent": linear.recurrent,
    "descent": linear.descent,
    "chunked-1": lambda *a: linear.chunked(*a, chunk_size=1),
    "chunked-2": lambda *a: linear.chunked(*a, chunk_size=2),
    "chunked-5": lambda *a: linear.chunked(*a, chunk_size=5),
    "chunked-64": linear.chunked,
}
forms = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
sizes = pytest.mark.parametrize("n", [0, 1, 2, 5])


def integers(seed, *shapes, largest=4, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return [rng.integers(-largest, largest + 1, shape).astype(dtype) for shape in shapes]


def problem(n, seed=0, **options):
    return integers(seed, (V, K), (n, V), (n, K), (M, K), **options)


def oracle(W0, E, X, x, weights=None, scale=1.0):
    """(L1) and (L8), term by term in float64. Weights `[M, n, K]`, queries `[M, K]`."""
    W0, E, X, x = (np.asarray(a, np.float64) for a in (W0, E, X, x))
    y = np.zeros((len(x), W0.shape[0]))
    for m in range(len(x)):
        for j in range(W0.shape[0]):
            for k in range(W0.shape[1]):
                y[m, j] += W0[j, k] * x[m, k]
                for i in range(len(X)):
                    w = 1.0 if weights is None else float(weights[m, i, k])
                    y[m, j] += scale * w * E[i, j] * X[i, k] * x[m, k]
    return y


def gamma(roundings, unit):
    return roundings * unit / (1 - roundings * unit)


def unit(dtype):
    return float(jnp.finfo(dtype).eps) / 2


# --- the forms agree with the definition ------------------------------------------------------------------------------


@forms
@sizes
def test_forms_equal_the_definition_exactly_on_integers(form, n):
    """(L1), (L3) to (L6), and (L10): no rounding, so no tolerance."""
    W0, E, X, x = problem(n)
    np.testing.assert_array_equal(form(W0, E, X, x), oracle(W0, E, X, x))
    np.testing.assert_array_equal(form(W0, E, X, x[0]), oracle(W0, E, X, x[:1])[0])


@forms
@pytest.mark.parametrize("family", ["normal", "cancelling", "wide"])
def test_forms_stay_within_the_derived_bound(form, family):
    """|computed - exact| <= gamma_R sum of |terms|, R = n + K + 1 (one more for a chunk's own addition), element by
    element; the oracle's own float64 roundings are charged too."""
    n = 5
    rng = np.random.default_rng(3)
    W0, E, X, x = (rng.standard_normal(s).astype(np.float32) for s in ((V, K), (n, V), (n, K), (M, K)))
    if family == "cancelling":
        W0 = -(E.T @ X)
    if family == "wide":
        E, X = (a * np.float32(2.0) ** rng.integers(-20, 20, a.shape) for a in (E, X))
    roundings = n + K + 2
    terms = oracle(*map(np.abs, (W0, E, X, x)))
    oracle_roundings = K * (n + 1) + 4  # one addition per term, and the products of one
    bound = (gamma(roundings, 2.0**-24) + 2 * gamma(oracle_roundings, 2.0**-53)) * terms
    assert (np.abs(np.asarray(form(W0, E, X, x), np.float64) - oracle(W0, E, X, x)) <= bound).all()


@pytest.mark.parametrize("n", [0, 1, 5])
def test_delta_w_is_the_sum_of_outer_products(n):
    _, E, X, _ = problem(n, seed=1)
    expected = np.zeros((V, K))
    for i in range(n):
        for j in range(V):
            for k in range(K):
                expected[j, k] += E[i, j] * X[i, k]
    np.testing.assert_array_equal(linear.delta_w(E, X), expected)
    np.testing.assert_array_equal(linear.linear_attn(E, X, np.eye(K, dtype=np.float32)).T, expected)  # (L2)


@pytest.mark.parametrize("layout", ["n", "M n", "M n K"])
def test_weighted_reading_equals_the_definition_exactly(layout):
    """(L8), integer weights and scale."""
    n = 5
    _, E, X, x = problem(n, seed=2)
    shapes = {"n": (1, n, 1), "M n": (M, n, 1), "M n K": (M, n, K)}
    (full,) = integers(5, shapes[layout])
    weights = {"n": full[0, :, 0], "M n": full[:, :, 0], "M n K": full}[layout]
    expected = oracle(np.zeros((V, K)), E, X, x, np.broadcast_to(full, (M, n, K)), scale=3.0)
    np.testing.assert_array_equal(linear.linear_attn(E, X, x, weights, scale=3.0), expected)
    one = weights if layout == "n" else weights[0]  # [n] or [n, K] for a single query
    np.testing.assert_array_equal(linear.linear_attn(E, X, x[0], one, scale=3), expected[0])


def test_many_queries_and_one_weight_per_pattern_are_not_taken_for_channels():
    """With n = K = M the layouts [n], [M, n] and [M, n, K] are told apart by rank alone."""
    E, X, x, w = integers(6, (3, V), (3, 3), (3, 3), (3, 3))
    expected = oracle(np.zeros((V, 3)), E, X, x, np.broadcast_to(w[:, :, None], (3, 3, 3)))
    np.testing.assert_array_equal(linear.linear_attn(E, X, x, w), expected)
    channels = oracle(np.zeros((V, 3)), E, X, x[:1], w[None])
    np.testing.assert_array_equal(linear.linear_attn(E, X, x[0], w), channels[0])


def test_bias_is_one_more_input_that_is_always_one():
    """(L7): a layer W x + b trained with its bias has scores x_i . x + 1."""
    W0, E, X, x = problem(5, seed=7)
    (b,) = integers(8, (V,))
    expected = oracle(W0, E, X, x)
    for j in range(V):
        expected[:, j] += b[j] + E[:, j].sum()
    out = linear.dual(np.c_[W0, b], E, linear.with_bias(X), linear.with_bias(x))
    np.testing.assert_array_equal(out, expected)
    assert (np.asarray(linear.dual(W0, E, X, x)) + b != expected).any()  # the bias's own update is not optional
    assert linear.with_bias(jnp.ones((2, 5, K), jnp.bfloat16)).dtype == jnp.bfloat16
    np.testing.assert_array_equal(linear.with_bias(x)[:, -1], np.ones(M))


def test_coefficients_are_not_unique():
    """(L9): x_4 = x_0 + x_1, so adding z to e_0 and e_1 and taking it off e_4 changes nothing."""
    W0, E, X, x = problem(5, seed=9)
    X[4] = X[0] + X[1]
    Z = np.zeros_like(E)
    Z[0], Z[1], Z[4] = (3, -2), (3, -2), (-3, 2)
    assert (Z.T @ X == 0).all()
    for form in FORMS.values():
        np.testing.assert_array_equal(form(W0, E + Z, X, x), form(W0, E, X, x))
    Z[4] = 0
    assert (np.asarray(linear.dual(W0, E + Z, X, x)) != np.asarray(linear.dual(W0, E, X, x))).any()


def test_integers_up_to_the_limit_never_round_and_far_beyond_it_they_do():
    """(L10): K A (A_0 + n A^2) <= 2^24 for A_0 = A = 103 at n = 5, K = 3."""
    n, A = 5, 103
    assert K * A * (A + n * A * A) <= 2**24 < K * (A + 1) * ((A + 1) + n * (A + 1) ** 2)
    at_the_limit = [np.full(s, A, np.float32) for s in ((V, K), (n, V), (n, K), (M, K))]
    beyond = [np.full(s, 10 * A + 1, np.float32) for s in ((V, K), (n, V), (n, K), (M, K))]
    for form in FORMS.values():
        np.testing.assert_array_equal(form(*at_the_limit), oracle(*at_the_limit))
        assert (np.asarray(form(*beyond), np.float64) != oracle(*beyond)).all()


# --- descent ----------------------------------------------------------------------------------------------------------


def coupled_loss(Y):
    """Neither quadratic nor a sum over patterns; its derivative is 3 y^2 plus the other patterns' product terms."""
    return jnp.sum(Y**3) + jnp.sum(Y[:1] * jnp.sum(Y, axis=0, keepdims=True))


def coupled_derivative(Y):
    out = np.zeros_like(Y)
    for i in range(Y.shape[0]):
        for j in range(Y.shape[1]):
            out[i, j] = 3 * Y[i, j] ** 2 + Y[0, j] + (Y[:, j].sum() if i == 0 else 0)
    return out


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("eta", [1.0, -2.0])
def test_a_step_on_any_loss_is_the_dual_form(n, eta):
    """(L6), exactly: W - eta dL/dW, read at x, is W_0 x + LinearAttn(-eta dL/dY, X, x)."""
    W0, _, X, x = problem(n, seed=10, largest=2)
    Y = np.array([[sum(W0[j, k] * X[i, k] for k in range(K)) for j in range(V)] for i in range(n)])
    W1, E = linear.sgd_step(W0, X, coupled_loss, eta)
    np.testing.assert_array_equal(E, -eta * coupled_derivative(Y))
    np.testing.assert_array_equal(linear.error_signals(coupled_loss, Y, eta), E)
    np.testing.assert_array_equal(x @ np.asarray(W1).T, oracle(W0, -eta * coupled_derivative(Y), X, x))
    np.testing.assert_array_equal(linear.dual(W0, E, X, x), x @ np.asarray(W1).T)


def test_a_step_on_no_patterns_changes_nothing():
    W0 = problem(0)[0]
    W1, E = linear.sgd_step(W0, np.zeros((0, K), np.float32), lambda Y: jnp.sum(Y**2))
    np.testing.assert_array_equal(W1, W0)
    assert E.shape == (0, V)


def test_a_step_on_cross_entropy_is_made_of_its_error_signals():
    """Softmax makes E inexact; given E, the weight is W_0 + E'X within gamma_(n + 2)."""
    rng = np.random.default_rng(11)
    n = 5
    W0, X = (rng.standard_normal(s).astype(np.float32) for s in ((V, K), (n, K)))
    labels = np.arange(n) % V

    def cross_entropy(Y):
        return -jnp.mean(jax.nn.log_softmax(Y)[np.arange(n), labels])

    W1, E = linear.sgd_step(W0, X, cross_entropy, eta=0.5)
    W64, E64, X64 = (np.asarray(a, np.float64) for a in (W0, E, X))
    bound = gamma(n + 2, 2.0**-24) * (np.abs(W64) + np.abs(E64).T @ np.abs(X64))
    assert (np.abs(np.asarray(W1, np.float64) - (W64 + E64.T @ X64)) <= bound).all()
    assert (np.asarray(E)[np.arange(n), labels] > 0).all()  # the error signal points to the label


# --- precision --------------------------------------------------------------------------------------------------------


@forms
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32], ids=lambda d: d.__name__)
def test_dtype_is_kept_and_low_precision_rounds_once(form, dtype):
    """Low precision: the float32 bound, then one rounding to the output's dtype. Inputs are rounded beforehand."""
    n = 5
    rng = np.random.default_rng(12)
    W0, E, X, x = (jnp.asarray(rng.standard_normal(s), dtype) for s in ((V, K), (n, V), (n, K), (M, K)))
    out = form(W0, E, X, x)
    assert out.dtype == dtype
    exact, terms = oracle(W0, E, X, x), oracle(*(np.abs(np.asarray(a, np.float64)) for a in (W0, E, X, x)))
    inside = (gamma(n + K + 2, 2.0**-24) + 2 * gamma(K * (n + 1) + 4, 2.0**-53)) * terms
    bound = inside + (0 if dtype == jnp.float32 else unit(dtype)) * (np.abs(exact) + inside)
    assert (np.abs(np.asarray(out, np.float64) - exact) <= bound).all()


@forms
def test_float64_is_float64(form):
    W0, E, X, x = problem(5, seed=13, largest=50_000, dtype=np.float64)
    assert np.abs(oracle(W0, E, X, x)).max() > 2**24  # beyond float32, exact in float64
    with jax.enable_x64(True):
        out = form(W0, E, X, x)
        assert out.dtype == jnp.float64
        np.testing.assert_array_equal(out, oracle(W0, E, X, x))


def test_states_and_weights_may_be_wider_than_patterns():
    W0, E, X, x = problem(5, seed=14)
    E, X, x = (jnp.asarray(a, jnp.bfloat16) for a in (E, X, x))
    W0 = W0 + np.float32(2.0**-12)  # lost if W0 were rounded to bfloat16
    out = linear.dual(W0, E, X, x * 0 + 1)
    expected = oracle(W0, E, X, np.ones((M, K)))
    np.testing.assert_array_equal(out, jnp.asarray(expected, jnp.bfloat16))
    weights = jnp.full(5, 1 + 2.0**-12, jnp.float32)
    assert linear.linear_attn(E, X, x, weights).dtype == jnp.bfloat16


def test_bfloat16_does_not_stagnate():
    """1000 updates of 2^-9 to a weight of 1: in bfloat16 arithmetic nothing would move, in float32 the sum is exact."""
    one, E, X = (
        jnp.ones((1, 1), jnp.bfloat16),
        jnp.full((1000, 1), 2.0**-9, jnp.bfloat16),
        jnp.ones((1000, 1), jnp.bfloat16),
    )
    for form in FORMS.values():
        assert float(form(one, E, X, one[0])[0]) == 1 + 1000 * 2.0**-9


def test_the_dual_form_keeps_what_the_primal_recursion_loses():
    """Updates of 2^-25 to a float32 weight of 1 vanish one by one; attention adds them up first."""
    one, E, X = jnp.ones((1, 1)), jnp.full((4096, 1), 2.0**-25), jnp.ones((4096, 1))
    assert float(linear.recurrent(one, E, X, one[0])[0]) == 1
    assert float(linear.dual(one, E, X, one[0])[0]) == 1 + 2.0**-13


def test_precision_is_pinned_to_highest():
    for form in FORMS.values():
        text = str(jax.make_jaxpr(form)(*problem(5)))
        assert text.count("dot_general") == text.count("precision=(Precision.HIGHEST, Precision.HIGHEST)") > 0


# --- transformations --------------------------------------------------------------------------------------------------


@forms
def test_jit_and_vmap_change_nothing(form):
    problems = [problem(5, seed) for seed in range(3)]
    batch = [np.stack(arrays) for arrays in zip(*problems, strict=True)]
    expected = np.stack([oracle(*p) for p in problems])
    np.testing.assert_array_equal(jax.vmap(form)(*batch), expected)
    np.testing.assert_array_equal(jax.jit(form)(*problems[0]), expected[0])


@forms
@pytest.mark.parametrize("n", [0, 5])
def test_gradients_equal_their_own_definition_exactly(form, n):
    """Of sum r.F(x): by W0 sum r x', by e_i sum r (x_i.x), by x_i sum (r.e_i) x, by x W0'r + sum (r.e_i) x_i."""
    W0, E, X, x = problem(n, seed=15, largest=3)
    (r,) = integers(16, (M, V), largest=3)
    by = [np.zeros(a.shape) for a in (W0, E, X, x)]
    for m in range(M):
        for j in range(V):
            for k in range(K):
                by[0][j, k] += r[m, j] * x[m, k]
                by[3][m, k] += W0[j, k] * r[m, j]
                for i in range(n):
                    by[1][i, j] += r[m, j] * X[i, k] * x[m, k]
                    by[2][i, k] += r[m, j] * E[i, j] * x[m, k]
                    by[3][m, k] += r[m, j] * E[i, j] * X[i, k]
    gradients = jax.grad(lambda *a: jnp.sum(r * form(*a)), argnums=(0, 1, 2, 3))(W0, E, X, x)
    for computed, expected in zip(gradients, by, strict=True):
        np.testing.assert_array_equal(computed, expected)


def test_values_are_not_checked_under_jit():
    W0, E, X, x = problem(2)
    E[0, 0] = np.nan
    out = jax.jit(linear.dual)(W0, E, X, x)
    assert np.isnan(out[:, 0]).all() and np.isfinite(out[:, 1]).all()


# --- bad input --------------------------------------------------------------------------------------------------------

W0, E, X, x = (jnp.asarray(a) for a in problem(5))
NAN = jnp.full((5, V), jnp.nan)


def attn(**changed):
    return lambda: linear.linear_attn(**({"E": E, "X": X, "x": x} | changed))


def dual(**changed):
    return lambda: linear.dual(**({"W0": W0, "E": E, "X": X, "x": x} | changed))


BAD = {
    "E rank": (attn(E=E[0]), r"E: got shape \(2,\), expected \[n, V\]"),
    "X rank": (attn(X=X[None]), r"X: got shape \(1, 5, 3\), expected \[n, K\]"),
    "x rank": (attn(x=x[None]), r"x: got shape \(1, 4, 3\), expected \[K\] or \[M, K\]"),
    "numbers of patterns": (attn(X=X[:3]), r"X: got shape \(3, 3\), expected .* with n = 5 as in E"),
    "query width": (attn(x=x[:, :2]), r"x: got shape \(4, 2\), expected .* with K = 3 as in X"),
    "W0 transposed": (
        dual(W0=W0.T),
        r"W0: got shape \(3, 2\), expected \[V, K\].* with V = 2 as in E and K = 3 as in X",
    ),
    "no input features": (
        attn(X=X[:, :0], x=x[:, :0]),
        r"X: got shape \(5, 0\), expected at least one feature on axis K",
    ),
    "no output features": (attn(E=E[:, :0]), r"E: got shape \(5, 0\), expected at least one feature on axis V"),
    "weights length": (
        attn(weights=jnp.ones(4)),
        r"weights: got shape \(4,\), expected \[n\] or \[M, n\] or \[M, n, K\]",
    ),
    "weights transposed": (attn(weights=jnp.ones((5, 4))), r"weights: got shape \(5, 4\), expected .*n = 5 as in E"),
    "weights of many for one": (
        attn(x=x[0], weights=jnp.ones((4, 5))),
        r"weights: got shape \(4, 5\), expected \[n\] or",
    ),
    "weights not finite": (attn(weights=jnp.full(5, jnp.inf)), r"weights: got inf at \[0\], expected finite"),
    "integers": (attn(E=E.astype(int)), r"E: got dtype int32, expected a float dtype; convert it"),
    "booleans": (attn(weights=jnp.ones(5, bool)), r"weights: got dtype bool, expected a float dtype"),
    "complex": (attn(x=x + 0j), r"x: got dtype complex64, expected a float dtype"),
    "mixed dtypes": (
        attn(x=x.astype(jnp.float16)),
        r"E, X, x: got dtypes E float32, X float32, x float16, expected one",
    ),
    "narrow W0": (dual(W0=W0.astype(jnp.bfloat16)), r"W0: got dtype bfloat16, expected that of the patterns, float32"),
    "halves of two kinds": (
        lambda: linear.dual(W0.astype(jnp.float16), *(a.astype(jnp.bfloat16) for a in (E, X, x))),
        r"W0: got dtype float16, expected that of the patterns, bfloat16, or a wider one",
    ),
    "narrow weights": (attn(weights=jnp.ones(5, jnp.float16)), r"weights: got dtype float16, expected"),
    "NaN": (attn(E=NAN), r"E: got nan at \[0, 0\], expected finite numbers"),
    "infinity": (dual(W0=W0.at[1, 2].set(jnp.inf)), r"W0: got inf at \[1, 2\], expected finite"),
    "not an array": (attn(E=object()), r"E: got a object, expected an array of floats"),
    "None": (attn(X=None), r"X: got a NoneType, expected an array of floats"),
    "ragged": (attn(X=[[1.0], [1.0, 2.0]]), r"X: got a list, expected an array of floats"),
    "scale not finite": (attn(scale=math.nan), r"scale: got nan, expected finite"),
    "scale shape": (attn(scale=jnp.ones(2)), r"scale: got shape \(2,\), expected a single number"),
    "scale complex": (attn(scale=1j), r"scale: got dtype complex64, expected a float dtype"),
    "delta_w": (lambda: linear.delta_w(E, X[:2]), r"X: got shape \(2, 3\)"),
    "delta_w mixed": (lambda: linear.delta_w(E, X.astype(jnp.float16)), r"E, X: got dtypes E float32, X float16"),
    "chunk_size 0": (lambda: linear.chunked(W0, E, X, x, 0), r"chunk_size: got 0, expected an integer of at least 1"),
    "chunk_size float": (lambda: linear.chunked(W0, E, X, x, 2.0), r"chunk_size: got 2.0, expected a Python integer"),
    "chunk_size bool": (lambda: linear.chunked(W0, E, X, x, True), r"chunk_size: got True"),
    "chunk_size traced": (
        lambda: jax.jit(lambda c: linear.chunked(W0, E, X, x, c))(2),
        r"chunk_size: got .*, expected a Python integer, for it sets a shape",
    ),
    "loss not a number": (
        lambda: linear.error_signals(lambda Y: Y, E),
        r"loss: got a function that returns shape \(5, 2\)",
    ),
    "eta not finite": (lambda: linear.error_signals(jnp.sum, E, math.inf), r"eta: got inf, expected finite"),
    "step shapes": (lambda: linear.sgd_step(W0.T, X, jnp.sum), r"W0: got shape \(3, 2\), expected .* K = 3 as in X"),
    "step integers": (lambda: linear.sgd_step(W0, X.astype(int), jnp.sum), r"X: got dtype int32"),
    "bias of a number": (lambda: linear.with_bias(1.0), r"x: got shape \(\), expected \[..., K\]"),
    "bias of nothing": (lambda: linear.with_bias(jnp.ones((2, 0))), r"x: got shape \(2, 0\)"),
}


@pytest.mark.parametrize("call, message", BAD.values(), ids=BAD.keys())
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@forms
def test_every_form_checks_its_arguments(form):
    with pytest.raises(ValueError, match=r"x: got dtype int32"):
        form(W0, E, X, x.astype(int))
    with pytest.raises(ValueError, match=r"E, X, x: got dtypes"):
        form(W0, E, X.astype(jnp.bfloat16), x)
    with pytest.raises(ValueError, match=r"W0: got shape"):
        form(W0[:1], E, X, x)
    with pytest.raises(ValueError, match=r"E: got nan"):
        form(W0, NAN, X, x)


def test_arrays_closed_over_by_a_jitted_function_are_checked_too():
    """They are concrete inside the trace, where jnp would record operations instead of computing them."""
    W0, E, X = jnp.ones((2, 3)), jnp.ones((4, 2)), jnp.ones((4, 3))
    assert jax.jit(lambda x: linear.dual(W0, E, X, x))(jnp.ones(3)).tolist() == [15.0, 15.0]
    E = E.at[1, 1].set(jnp.nan)
    with pytest.raises(ValueError, match=r"E: got nan at \[1, 1\]"):
        jax.jit(lambda x: linear.dual(W0, E, X, x))(jnp.ones(3))
