"""The promises of dualform.testing: every strategy really keeps to its domain and really reaches its edges."""

import math
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import InvalidArgument

from dualform import testing

DTYPES = [np.dtype(d) for d in (jnp.float16, jnp.bfloat16, jnp.float32, np.float64)]
by_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)

# A search for one example that must exist, not a check of many.
SEARCH = settings(max_examples=2000, database=None, derandomize=True, phases=[Phase.generate], deadline=None)


def reached(strategy, condition) -> bool:
    """Whether the strategy draws a value that meets the condition; `find` raises NoSuchExample if it does not."""
    find(strategy, condition, settings=SEARCH)
    return True


def wide(array) -> np.ndarray:
    return np.asarray(array, np.float64)


def roundoff(dtype) -> float:
    return float(jnp.finfo(dtype).eps) / 2


def has_subnormals(array) -> bool:
    size = np.abs(wide(array))
    return bool(((size > 0) & (size < float(jnp.finfo(array.dtype).tiny))).any())


def distinct(rows) -> int:
    return len(np.unique(wide(rows), axis=0))


# Shapes


def test_layer_shapes_are_few_never_square_and_reach_the_edges():
    assert all(shape.K != shape.V for shape in testing.LAYER_SHAPES)
    assert {0, 1, 2, 5} <= {shape.n for shape in testing.LAYER_SHAPES}
    assert any(shape.n > shape.K for shape in testing.LAYER_SHAPES)
    assert len(testing.LAYER_SHAPES) <= 12
    for shape in testing.LAYER_SHAPES:
        assert reached(testing.layer_shapes(), lambda drawn, shape=shape: drawn == shape)


@pytest.mark.parametrize("chunk_size", [1, 2, 4, 16])
def test_token_counts_surround_the_chunk_edge(chunk_size):
    counts = testing.token_counts(chunk_size)
    C = chunk_size
    assert {1, C - 1, C, C + 1, 2 * C + 1} <= set(counts)
    assert max(counts) > 2 * C + 1 and all(max(counts) % d for d in range(2, max(counts)))


def test_token_shapes_reach_every_length():
    for T in testing.token_counts(4):
        assert reached(testing.token_shapes(4), lambda shape, T=T: shape.T == T and shape.K != shape.V)


def test_bad_shapes_are_named():
    with pytest.raises(ValueError, match=r"chunk_size: got 0"):
        testing.token_counts(0)
    with pytest.raises(ValueError, match=r"K = V = 3.*transpose"):
        testing.token_shapes(4, widths=((3, 3),))
    with pytest.raises(ValueError, match=r"size: got -1"):
        testing.bucket(-1)


@given(st.integers(0, 1000))
def test_bucket_holds_its_size_and_wastes_less_than_one_bucket(size):
    bucket = testing.bucket(size)
    assert bucket >= size
    assert testing.bucket(bucket) == bucket
    assert size == 0 or bucket < 2 * size or bucket - size < max(testing.BUCKETS)


@given(testing.linear_problems())
def test_padding_to_a_bucket_leaves_the_layer_as_it_was(problem):
    E, X = testing.pad_to_bucket(problem.E), testing.pad_to_bucket(problem.X)
    assert len(E) == len(X) == testing.bucket(len(problem.E))
    assert not E[len(problem.E) :].any() and np.array_equal(E[: len(problem.E)], problem.E)
    # einsum adds the patterns in order, hence the zero terms come last and change no bit
    updates = np.einsum("nv,nk->vk", wide(problem.E), wide(problem.X), optimize=False)
    padded = np.einsum("nv,nk->vk", wide(E), wide(X), optimize=False)
    assert np.array_equal(padded, updates)


# Values


@by_dtype
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3), (9, 4)], ids=str)
def test_arrays_keep_their_promises(dtype, shape):
    @given(testing.arrays(shape, dtype))
    def check(array):
        assert type(array) is np.ndarray and array.shape == shape and array.dtype == dtype
        assert np.isfinite(wide(array)).all() and not has_subnormals(array)
        product = np.abs(wide(array)).max(initial=0.0) ** 2
        assert product < float(jnp.finfo(dtype).max)

    check()


@by_dtype
@pytest.mark.parametrize("shape", [(2, 3), (9, 4)], ids=str)
def test_every_family_is_what_its_name_says(dtype, shape):
    tiny, (low, high) = float(jnp.finfo(dtype).tiny), testing.magnitudes(dtype)
    said = {
        "normal": lambda a: (a > 0).any() and (a < 0).any(),
        "integers": lambda a: np.array_equal(a, np.round(a)) and np.abs(a).max() == 4,
        "positive": lambda a: (a > 0).all() and distinct(a) > 1,
        "constant": lambda a: a.any() and np.unique(a).size == 1,
        "duplicates": lambda a: a.any() and distinct(a) < len(a),
        "cancelling": lambda a: a.any() and all(math.fsum(column) == 0 for column in a.T),
        "wide": lambda a: np.abs(a).max() / np.abs(a).min() > math.sqrt(high / low) / 4,
        "underflow": lambda a: (np.abs(a) >= tiny).all() and np.abs(a).min() ** 2 < tiny,
        "zeros": lambda a: not a.any(),
    }
    assert set(said) == set(testing.FAMILIES)
    for family, condition in said.items():
        assert reached(testing.arrays(shape, dtype, families=[family]), lambda a, c=condition: bool(c(wide(a)))), family


@by_dtype
@given(seed=st.integers(0, 2**32 - 1), exponent=st.sampled_from((-3, 0, 3)))
def test_cancelling_arrays_always_cancel_exactly(dtype, seed, exponent):
    array = wide(testing.seeded_array("cancelling", seed, 10.0**exponent, (7, 4), dtype))
    assert [math.fsum(column) for column in array.T] == [0.0] * 4


@pytest.mark.parametrize(
    "family, smallest",
    [
        ("normal", [[0, 0], [2, 0]]),
        ("integers", [[0, 0], [2, 0]]),
        ("constant", [[2, 2], [2, 2]]),
        ("duplicates", [[2, 0], [2, 0]]),
        ("wide", [[1, 1], [10, 1]]),
    ],
)
def test_small_arrays_shrink_element_by_element(family, smallest):
    whole = settings(SEARCH, phases=[Phase.generate, Phase.shrink])
    found = find(testing.arrays((2, 2), families=[family]), lambda a: a[1, 0] > 1, settings=whole)
    assert found.tolist() == smallest


def test_wide_values_reach_both_ends_in_float32():
    assert reached(
        testing.arrays((9, 4), families=["wide"]), lambda a: np.abs(a).min() < 1e-4 and np.abs(a).max() > 1e4
    )


def test_an_unknown_family_is_named():
    with pytest.raises(ValueError, match=r"families: got 'gaussian', expected some of normal"):
        testing.arrays((2, 3), families=["gaussian"])


@by_dtype
@given(data=st.data())
def test_rounded_is_nearest_and_flushes(dtype, data):
    tiny = float(jnp.finfo(dtype).tiny)
    value = data.draw(testing.floats(dtype))
    assert float(testing.rounded(value, dtype)) == value
    assert float(testing.rounded(tiny, dtype)) == tiny
    assert float(testing.rounded(tiny / 2, dtype)) == 0.0
    assert float(testing.rounded(-math.inf, dtype)) == -math.inf


@pytest.mark.parametrize("dtype", testing.FLOAT_DTYPES, ids=str)
@given(data=st.data())
def test_jax_takes_what_is_drawn_without_changing_it(dtype, data):
    array = data.draw(testing.arrays((2, 3), dtype))
    taken = jnp.asarray(array)
    assert taken.dtype == dtype and np.array_equal(np.asarray(taken), array)
    # multiplying by one flushes subnormals; nothing of that kind was drawn
    assert np.array_equal(np.asarray(taken * jnp.ones((), dtype)), array)


# Gates and step sizes


@by_dtype
@pytest.mark.parametrize("shape", [(3,), (11, 3)], ids=str)
def test_log_decays(dtype, shape):
    @given(testing.log_decays(shape, dtype))
    def check(g):
        assert g.shape == shape and g.dtype == dtype
        assert (wide(g) <= 0).all() and not has_subnormals(g)

    check()
    for special in testing.LOG_DECAYS:
        expected = float(testing.rounded(special, dtype))
        assert reached(testing.log_decays(shape, dtype), lambda g, e=expected: bool((wide(g) == e).any())), special
        # each special also alone: a sequence of resets, a sequence without decay
        assert reached(testing.log_decays(shape, dtype), lambda g, e=expected: bool((wide(g) == e).all())), special
    interior = lambda g: bool(((wide(g) < -1e-3) & (wide(g) > -20)).any())  # noqa: E731
    assert reached(testing.log_decays(shape, dtype), interior)


@pytest.mark.parametrize("shape", [(3,), (11, 3)], ids=str)
def test_log_decays_without_reset_are_finite(shape):
    @given(testing.log_decays(shape, reset=False))
    def check(g):
        assert np.isfinite(g).all()

    check()


@by_dtype
@pytest.mark.parametrize("shape", [(3,), (11, 3)], ids=str)
@pytest.mark.parametrize("high", [0.5, 1.0, 2.0])
def test_step_sizes(dtype, shape, high):
    @given(testing.step_sizes(shape, dtype, high=high))
    def check(beta):
        assert beta.shape == shape and beta.dtype == dtype
        assert (wide(beta) >= 0).all() and (wide(beta) <= high).all() and not has_subnormals(beta)

    check()
    for special in [beta for beta in testing.STEP_SIZES if beta <= high]:
        drawn = testing.step_sizes(shape, dtype, high=high)
        assert reached(drawn, lambda beta, s=special: bool((wide(beta) == s).any())), special
    assert reached(
        testing.step_sizes(shape, dtype, high=high), lambda b: bool(((wide(b) > 0) & (wide(b) < high)).all())
    )


def test_momenta_reach_zero_one_and_what_is_near_one():
    for special in testing.MOMENTA:
        assert reached(testing.momenta(), lambda mu, s=special: float(mu) == float(np.float32(s)))

    @given(testing.momenta((4,)))
    def check(mu):
        assert mu.shape == (4,) and (mu >= 0).all() and (mu <= 1).all()

    check()


def test_a_bad_step_size_is_named():
    with pytest.raises(ValueError, match=r"high: got -1"):
        testing.step_sizes((3,), high=-1)


# Keys

KEY_SHAPES = [(0, 3), (1, 1), (2, 4), (3, 3), (7, 4)]


@by_dtype
@pytest.mark.parametrize("n, K", KEY_SHAPES)
def test_unit_keys(dtype, n, K):
    u = roundoff(dtype)

    @given(testing.unit_keys(n, K, dtype))
    def check(keys):
        assert keys.shape == (n, K) and keys.dtype == dtype and not has_subnormals(keys)
        # each entry is rounded once, so its square is off by 2u + u^2; the rest is the float64 of this line
        slack = 2 * u + u * u + 2 * (K + 4) * 2.0**-53
        assert (np.abs((wide(keys) ** 2).sum(1) - 1) <= slack).all()

    check()


@by_dtype
@pytest.mark.parametrize("n, K", [(0, 3), (1, 1), (2, 4), (3, 3)])
def test_orthonormal_keys(dtype, n, K):
    u = roundoff(dtype)

    @given(testing.orthonormal_keys(n, K, dtype))
    def check(keys):
        assert keys.shape == (n, K) and keys.dtype == dtype
        # sum_l |a_l||b_l| <= 1 for unit rows; Householder QR in float64 is orthonormal to a few K^1.5 u64
        slack = 2 * u + u * u + 16 * K**1.5 * 2.0**-53
        assert (np.abs(wide(keys) @ wide(keys).T - np.eye(n)) <= slack).all()

    check()


@given(testing.duplicate_keys(5, 3))
def test_duplicate_keys_repeat_and_are_not_zero(keys):
    assert distinct(keys) < 5 and (np.abs(keys).max(1) > 0).all()


@given(testing.keys_with_zeros(5, 3))
def test_keys_with_zeros_have_some(keys):
    assert not keys.any(1).all()


def test_keys_with_zeros_have_others_too():
    assert reached(testing.keys_with_zeros(5, 3), lambda keys: keys.any(1).sum() == 4)


@by_dtype
@pytest.mark.parametrize("n, K", [(1, 2), (4, 4), (9, 6)])
def test_rank_deficient_keys_have_deficient_rank_exactly(dtype, n, K):
    @given(testing.rank_deficient_keys(n, K, dtype))
    def check(keys):
        assert keys.dtype == dtype
        assert exact_rank(keys) < min(n, K)

    check()
    largest = min(n, K, 5) - 1
    assert reached(testing.rank_deficient_keys(n, K, dtype), lambda keys: exact_rank(keys) == largest)


def exact_rank(matrix) -> int:
    """The rank of an integer matrix by elimination in Python's exact integers."""
    rows = [[int(entry) for entry in row] for row in wide(matrix)]
    rank = 0
    for column in range(len(rows[0])):
        pivot = next((row for row in rows[rank:] if row[column]), None)
        if pivot is None:
            continue
        rows.remove(pivot)
        rows.insert(rank, pivot)
        for i in range(rank + 1, len(rows)):
            a, b = rows[i][column], pivot[column]
            rows[i] = [b * x - a * y for x, y in zip(rows[i], pivot, strict=True)]
        rank += 1
    return rank


@pytest.mark.parametrize("n, K", KEY_SHAPES)
def test_keys_draw_every_kind_that_the_shape_allows(n, K):
    @given(testing.keys(n, K))
    def check(keys):
        assert keys.shape == (n, K) and keys.dtype == np.float32 and np.isfinite(keys).all()

    check()
    if n >= 2:
        assert reached(testing.keys(n, K), lambda keys: keys.any() and distinct(keys) < n)
        assert reached(testing.keys(n, K), lambda keys: not keys.any(1).all() and keys.any())


def test_impossible_keys_are_named():
    with pytest.raises(ValueError, match=r"n: got 4 keys of width K = 3"):
        testing.orthonormal_keys(4, 3)
    with pytest.raises(ValueError, match=r"none exists"):
        testing.keys(4, 3, kinds=["orthonormal"])
    with pytest.raises(ValueError, match=r"kinds: got 'square'"):
        testing.keys(4, 3, kinds=["square"])
    with pytest.raises(ValueError, match=r"at least 2 keys"):
        testing.duplicate_keys(1, 3)
    with pytest.raises(ValueError, match=r"at least 1 key"):
        testing.keys_with_zeros(0, 3)
    with pytest.raises(ValueError, match=r"full rank"):
        testing.rank_deficient_keys(0, 3)


# Problems


@pytest.mark.parametrize("dtype", testing.FLOAT_DTYPES, ids=str)
def test_linear_problems_fit_together(dtype):
    @given(testing.linear_problems(dtype))
    def check(problem):
        W0, E, X, x = problem
        (V, K), n = W0.shape, len(E)
        assert E.shape == (n, V) and X.shape == (n, K) and x.shape[1] == K
        assert any(shape[:3] == (n, K, V) and len(x) == shape.M for shape in testing.LAYER_SHAPES)
        assert {a.dtype for a in problem} == {np.dtype(dtype)}
        assert not any(has_subnormals(a) for a in problem)

    check()


def test_linear_problems_draw_updates_that_cancel_exactly():
    def cancels(problem):
        terms = wide(problem.E)[:, :, None] * wide(problem.X)[:, None, :]
        return terms.any() and all(math.fsum(column) == 0 for column in terms.reshape(len(terms), -1).T)

    assert reached(testing.linear_problems(np.float32, shapes=testing.LAYER_SHAPES[3:]), cancels)


@pytest.mark.parametrize("dtype", testing.FLOAT_DTYPES, ids=str)
def test_no_form_rounds_an_integer_problem(dtype):
    @given(testing.integer_problems(dtype))
    def check(problem):
        W0, E, X, x = (wide(a).astype(np.int64).astype(object) for a in problem)
        exact = x @ (W0 + E.T @ X).T
        for form in ("materialised", "read out"):
            assert np.array_equal(exact, op_by_op(problem, form)), form

    check()


def op_by_op(problem, form):
    """(L1) in the problem's dtype, rounding after every operation, as two of the possible orders."""
    W0, E, X, x = problem
    out = np.zeros((len(x), len(W0)), W0.dtype)
    for m, v in np.ndindex(out.shape):
        total = W0.dtype.type(0)
        for k in range(W0.shape[1]):
            weight = W0[v, k]
            if form == "materialised":
                for e, key in zip(E, X, strict=True):
                    weight = weight + e[v] * key[k]
            total = total + weight * x[m, k]
        if form == "read out":
            for e, key in zip(E, X, strict=True):
                score = W0.dtype.type(0)
                for k in range(W0.shape[1]):
                    score = score + key[k] * x[m, k]
                total = total + e[v] * score
        out[m, v] = total
    return wide(out).astype(np.int64).astype(object)


@pytest.mark.parametrize("dtype", testing.FLOAT_DTYPES, ids=str)
@pytest.mark.parametrize("shape", testing.LAYER_SHAPES, ids=str)
def test_the_largest_exact_integer_is_the_largest(dtype, shape):
    A = testing.largest_exact_integer(shape, dtype)
    limit = 2 ** (jnp.finfo(dtype).nmant + 1)
    assert A >= 1
    assert shape.K * A * (A + shape.n * A**2) <= limit < shape.K * (A + 1) * ((A + 1) + shape.n * (A + 1) ** 2)


def test_too_large_a_shape_for_integers_is_named():
    with pytest.raises(ValueError, match=r"too large for exact integers in bfloat16"):
        testing.integer_problems(jnp.bfloat16, shapes=[testing.LayerShape(n=400, K=8, V=2, M=1)])


def test_float_dtypes_shrink_to_float32_and_reach_bfloat16():
    assert find(testing.float_dtypes(), lambda dtype: True, settings=SEARCH) in testing.FLOAT_DTYPES
    shrunk = find(testing.float_dtypes(), lambda dtype: True, settings=settings(SEARCH, phases=list(Phase)))
    assert shrunk == np.float32
    assert reached(testing.float_dtypes(), lambda dtype: dtype == jnp.bfloat16)


# Optimisers


@given(testing.optimizer_runs())
def test_optimizer_runs_are_consistent(run):
    opt = run.optimizer
    assert run.steps in testing.STEP_COUNTS
    assert np.shape(opt.eta) in ((), (run.steps,)) and (np.asarray(opt.eta) >= 0).all()
    assert 0 <= opt.momentum <= 1 and 0 <= opt.dampening <= 1 and 0 <= opt.weight_decay <= 0.5
    assert not opt.nesterov or (opt.momentum > 0 and opt.dampening == 0)
    assert opt.ema is None or 0 <= opt.ema < 1
    assert (run.scale is None) == (opt.clip is None)
    if run.scale is not None:
        assert run.scale.shape == (run.steps,) and (run.scale > 0).all() and (run.scale <= 1).all()


@pytest.mark.parametrize(
    "used",
    [
        lambda run: run.optimizer.nesterov,
        lambda run: run.optimizer.dampening > 0,
        lambda run: run.optimizer.momentum == 1,
        lambda run: run.optimizer.weight_decay > 0 and run.optimizer.decoupled,
        lambda run: run.optimizer.weight_decay > 0 and not run.optimizer.decoupled,
        lambda run: run.optimizer.ema is not None,
        lambda run: run.scale is not None and (run.scale < 1).any() and (run.scale == 1).any(),
        lambda run: run.steps > 1 and np.ndim(run.optimizer.eta) == 1,
        lambda run: run.steps == 0,
        lambda run: run.optimizer.clip is not None and run.optimizer.ema is not None and run.optimizer.nesterov,
    ],
    ids=["nesterov", "dampening", "momentum 1", "decoupled", "coupled", "ema", "clip", "schedule", "no steps", "all"],
)
def test_every_option_of_the_optimizer_is_drawn(used):
    assert reached(testing.optimizer_runs(), lambda run: bool(used(run)))


# Profiles


@pytest.fixture
def profile_of_the_suite():
    """Loads the suite's profile again after a test that loads others."""
    yield
    testing.load_profile()


def test_profiles_really_load(profile_of_the_suite):
    for name, examples in [("dev", 30), ("ci", 100), ("thorough", 2000)]:
        assert testing.load_profile(name, environ={}) == name
        loaded = settings.default
        assert loaded.max_examples == examples and loaded.deadline is None and loaded.print_blob
        assert set(loaded.suppress_health_check) == {HealthCheck.too_slow, HealthCheck.differing_executors}
        assert loaded.derandomize == (name == "ci")
        assert (loaded.database is None) == (name != "dev")


def test_the_environment_chooses_and_overrides(profile_of_the_suite):
    assert testing.load_profile(environ={}) == "dev"
    assert testing.load_profile(environ={"CI": "true"}) == "ci"
    assert testing.load_profile(environ={"CI": "true", "DUALFORM_PROFILE": "thorough"}) == "thorough"
    testing.load_profile(environ={"CI": "true", "DUALFORM_MAX_EXAMPLES": "7", "DUALFORM_RANDOMIZE": "1"})
    assert settings.default.max_examples == 7 and not settings.default.derandomize
    for name in testing.PROFILES:
        testing.load_profile(name, environ={"DUALFORM_MAX_EXAMPLES": "3"})
        assert settings.default.max_examples == 3


@pytest.mark.parametrize(
    "environ, message",
    [
        ({"DUALFORM_PROFILE": "nightly"}, r"profile: got 'nightly', expected one of dev, ci, thorough"),
        ({"DUALFORM_MAX_EXAMPLES": "many"}, r"DUALFORM_MAX_EXAMPLES: got 'many'"),
        ({"DUALFORM_MAX_EXAMPLES": "0"}, r"DUALFORM_MAX_EXAMPLES: got '0'"),
        ({"DUALFORM_RANDOMIZE": "yes"}, r"DUALFORM_RANDOMIZE: got 'yes'"),
    ],
)
def test_bad_environments_are_named(environ, message, profile_of_the_suite):
    with pytest.raises(ValueError, match=message):
        testing.load_profile(environ=environ)


def test_the_suite_runs_under_a_dualform_profile():
    assert settings.default.deadline is None
    assert HealthCheck.differing_executors in settings.default.suppress_health_check


def test_a_slow_first_call_is_not_flaky():
    compiled = []

    @given(st.integers(0, 3))
    def compiles_once(value):
        if not compiled:
            compiled.append(jax.jit(lambda x: jnp.linalg.inv(jnp.tril(x) + jnp.eye(32)))(jnp.ones((32, 32))))
        assert value <= 3

    compiles_once()
    assert len(compiled) == 1


def test_float64_of_jax_is_refused_but_ours_is_numpy():
    """What the strategies avoid: with x64 off, float64 for JAX does not exist, while NumPy's is drawn freely."""
    assert jnp.zeros((), np.float32).dtype == np.float32
    assert not jax.config.jax_enable_x64
    with pytest.raises(InvalidArgument):
        find(st.floats(width=48), lambda value: True)
    assert reached(testing.arrays((2,), np.float64), lambda array: bool((np.float32(1) * array != 0).any()))


# Tracing


def _double(x, times=2):
    return x * times


def test_jitted_is_one_object_per_function_and_static_argument():
    assert testing.jitted(_double) is testing.jitted(_double)
    assert testing.jitted(_double, "times") is not testing.jitted(_double)
    assert float(testing.jitted(_double, "times")(3.0, times=4)) == 12


def test_max_traces_counts_signatures():
    with testing.max_traces(_double, 2) as f:
        for size in (1, 2, 1, 2):
            assert f(jnp.ones(size)).tolist() == [2.0] * size
    with pytest.raises(AssertionError, match=r"_double was traced 2 times, expected at most 1"):
        with testing.max_traces(_double, 1) as f:
            f(jnp.ones(1)), f(jnp.ones(2))


def test_buckets_save_compiles():
    with testing.max_traces(jnp.sum, len(testing.BUCKETS)) as total:
        for n in range(65):
            assert float(total(testing.pad_to_bucket(np.ones(n, np.float32)))) == n


# Importing


def test_importing_dualform_imports_no_optional_package_and_changes_no_setting():
    script = """
import sys, pkgutil, jax
before = dict(jax.config.values)
import dualform
heavy = sorted({"hypothesis", "matplotlib", "optax", "sklearn"} & set(sys.modules))
assert not heavy, heavy
assert dict(jax.config.values) == before
print("light")
"""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environ)
    assert result.stdout == "light\n", result.stderr


def test_importing_the_strategies_imports_no_optimiser():
    script = "import sys, dualform.testing; print('optax' in sys.modules, 'sklearn' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.stdout == "False False\n", result.stderr
