"""Programs that the engine cannot read: each is a sentence with the user's line, never a crash and never a proof."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.experimental import io_callback
from residues import residues, run

from dualform.prove import Input, ProofError, UnsupportedPrimitive, degree, identical, rounding_bound
from dualform.prove.errors import first_line

HERE = r"test_crashes\.py:\d+ in \S*"
ONES = np.ones(3, np.float32)


def undecided(f, g, *inputs) -> str:
    certificate = identical(f, g, *inputs)
    assert certificate.equal is None, certificate
    return certificate.reason


# callbacks ------------------------------------------------------------------------------------------------------------


def doubled(x):
    return jax.pure_callback(lambda x: np.asarray(x) * 2, jax.ShapeDtypeStruct(x.shape, jnp.float32), x)


def raising(x):
    def call(x):
        raise RuntimeError("nobody answers")

    return jax.pure_callback(call, x, x)


def printed(x):
    return io_callback(lambda x: np.asarray(x) * 2, jax.ShapeDtypeStruct(x.shape, x.dtype), x)


def twice(x):
    return x * 2


@pytest.mark.parametrize(
    ("f", "name"), [(doubled, "pure_callback"), (raising, "pure_callback"), (printed, "io_callback")]
)
def test_a_callback_leaves_the_question_undecided(f, name):
    assert re.search(rf"'{name}' has no meaning .*{HERE}{f.__name__}", undecided(f, twice, (3,)))
    with pytest.raises(UnsupportedPrimitive, match=rf"'{name}' has no meaning in degree .*{HERE}{f.__name__}"):
        degree(f, (3,))
    with pytest.raises(UnsupportedPrimitive, match=rf"'{name}' has no meaning in rounding .*{HERE}{f.__name__}"):
        rounding_bound(f, ONES)


def test_the_reason_says_why_no_counterexample_was_sought(capfd):
    assert "sought in floats: RuntimeError: nobody answers" in undecided(raising, twice, (3,))


def test_a_program_that_insists_on_its_dtype_runs_in_it():
    def insists(x):
        if x.dtype != jnp.float32:
            raise KeyError("float32 only")
        return jnp.linalg.svd(jnp.outer(x, x))[1]

    assert "sought in floats" not in undecided(insists, twice, (3,))


def test_a_callback_on_constants_is_evaluated_by_jax_unless_it_has_effects():
    def pure(x):
        return x * jax.pure_callback(lambda n: np.asarray(n) * 2, jax.ShapeDtypeStruct((3,), jnp.int32), jnp.arange(3))

    def impure(x):
        return x * io_callback(lambda n: np.asarray(n) * 2, jax.ShapeDtypeStruct((3,), jnp.int32), jnp.arange(3))

    assert identical(pure, lambda x: x * jnp.array([0, 2, 4]), (3,))
    assert re.search(rf"'io_callback' .* it has effects.*{HERE}impure", undecided(impure, twice, (3,)))
    why = rf"'pure_callback' .* on constants: RuntimeError: nobody answers \(.*{HERE}raising"
    assert re.search(why, undecided(lambda x: x * raising(jnp.arange(3)), twice, (3,)))


# random numbers -------------------------------------------------------------------------------------------------------

KEY = jax.random.key(0)


def noisy(x):
    return x * jax.random.normal(jax.random.key(0), x.shape)


def test_random_numbers_belong_outside():
    why = "draw random numbers outside the program and pass them as an input"
    assert re.search(rf"'random_seed' .*{why} \(.*{HERE}noisy", undecided(noisy, noisy, (3,)))
    assert why in undecided(lambda x: x * jax.random.normal(KEY, (3,)), twice, (3,))
    with pytest.raises(ProofError, match=rf"'random_seed' .*{why} \(.*{HERE}noisy"):
        rounding_bound(noisy, ONES)
    with pytest.raises(ProofError, match=rf"a constant of type key<fry>: {why}"):
        rounding_bound(lambda x: x * jax.random.normal(KEY, (3,)), ONES)
    with pytest.raises(ProofError, match=why):
        degree(noisy, (3,))


def test_keys_are_no_inputs():
    with pytest.raises(ValueError, match=r"an input has dtype key<fry>: .* pass them as an input"):
        rounding_bound(lambda key, x: x * jax.random.normal(key, (3,)), KEY, ONES)
    with pytest.raises(
        ValueError,
        match=r"inputs: expected arrays of floats, .* got key<fry>; draw random numbers",
    ):
        identical(lambda key, x: x, lambda key, x: x, KEY, (3,))


# convolutions with negative padding -----------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", [(-1, -1), (-2, 1), (3, -2), (-5, 0), (-4, -1)])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("stride", [1, 2])
def test_negative_padding_cuts(padding, dilation, stride):
    def f(x, kernel):
        return lax.conv_general_dilated(x, kernel, (stride,), [padding], lhs_dilation=(dilation,))

    rng = np.random.default_rng(0)
    x, kernel = rng.integers(-9, 10, (1, 2, 6)).astype(float), rng.integers(-9, 10, (3, 2, 2)).astype(float)
    want = np.asarray(f(jnp.float32(x), jnp.float32(kernel))).astype(int)
    np.testing.assert_array_equal(run(f, x, kernel)[0], residues(want))
    gradient, cotangent = jax.grad(lambda x: f(x, jnp.float32(kernel)).sum()), np.ones(x.shape)
    np.testing.assert_array_equal(
        run(gradient, cotangent)[0], residues(np.asarray(gradient(jnp.float32(x))).astype(int))
    )


def test_a_convolution_with_negative_padding_has_a_bound():
    def f(x, kernel):
        return lax.conv_general_dilated(x, kernel, (1,), [(-1, 0)])

    x, kernel = (np.random.default_rng(0).normal(size=(1, 1, n)).astype(np.float32) for n in (5, 2))
    value, bound = rounding_bound(f, x, kernel)
    assert (
        value.shape == (1, 1, 3) and (np.abs(np.asarray(f(x, kernel)) - value) <= bound).all() and (bound < 1e-5).all()
    )


# numbers that bounds do not know --------------------------------------------------------------------------------------


@pytest.mark.parametrize("q", [0.3, 0.7, 0.45])
def test_quantiles_have_bounds(q):
    x = np.random.default_rng(1).standard_normal(9).astype(np.float32)
    value, bound = rounding_bound(lambda x: jnp.quantile(x, q), x)
    assert abs(float(jax.jit(lambda x: jnp.quantile(x, q))(x)) - value) <= bound < 1e-5
    position = np.float32(q) * np.float32(8)  # the program rounds it; the bound covers that
    assert abs(value - np.quantile(x.astype(float), float(position) / 8)) <= bound


@pytest.mark.parametrize("q", [0.0, 0.5, 1.0])
def test_a_quantile_that_rounding_could_move_has_a_bound_or_says_why(q):
    x = np.arange(9, dtype=np.float32)
    try:
        value, bound = rounding_bound(lambda x: jnp.quantile(x, q), x)
    except ProofError as error:
        assert re.search(rf"an integer part that rounding can change.*{HERE}", str(error))
    else:
        assert abs(float(jnp.quantile(x, q)) - value) <= bound


@pytest.mark.parametrize(
    ("f", "why"),
    [
        (lambda x: jnp.fft.fft(x).real, "'convert_element_type' .* its result is complex64, not float64, float32"),
        (lambda x: jnp.fft.irfft(jnp.fft.rfft(x)), "'fft' "),
        (lambda x: (x * (1 + 1j)).real, "its result is complex64"),
        (lambda x: x.astype("float8_e4m3fn").astype(x.dtype), "its result is float8_e4m3fn, not float64, float32"),
        (lambda x: x.astype("float8_e5m2").astype(x.dtype), "its result is float8_e5m2"),
        (lambda x: x.astype("int4").astype(x.dtype), "its result is int4"),
        (lambda x: x * jnp.ones(3, "int4").astype(x.dtype), "a constant of type int4"),
        (lambda x: jnp.linalg.svd(jnp.outer(x, x))[1], "'svd'"),
        (lambda x: lax.igamma(x, x), "'igamma'"),
    ],
    ids=["fft", "rfft", "complex", "e4m3", "e5m2", "int4", "constant int4", "svd", "igamma"],
)
def test_no_bound_is_a_sentence_with_the_line(f, why):
    with pytest.raises(ProofError, match=f"{why}.*{HERE}"):
        rounding_bound(f, ONES)


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2", "int4"])
def test_inputs_of_unknown_types_are_refused(dtype):
    with pytest.raises(ValueError, match=f"dtype (is )?{dtype}: expected"):
        rounding_bound(lambda x: x * 2, jnp.ones(3, dtype))


@pytest.mark.parametrize("dtype", ["int4", "uint4", "int2", "uint2", "int8", "uint8", "bool"])
def test_integers_of_any_width_lose_something(dtype):
    """x -> integer -> x is not x: it was proved to be for integers of a few bits."""
    assert identical(lambda x: x.astype(dtype).astype(jnp.float32), lambda x: x, (3,)).equal is not True
    with pytest.raises(ProofError, match=f"data become integers.*{HERE}"):
        degree(lambda x: x.astype(dtype).astype(jnp.float32), (3,))


def test_narrow_integers_are_no_constants():
    """Their sums wrap at other numbers than those of 8 bits."""
    reason = undecided(lambda x: x * (jnp.full(3, 7, "int4") + jnp.full(3, 7, "int4")).astype(x.dtype), twice, (3,))
    assert "a constant of type int4" in reason


# inputs and results ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given", [np.array([0, 1]), jnp.array([0, 1]), np.array([True, False]), np.int32(3), np.zeros((2, 2), np.uint8)]
)
def test_integer_arrays_are_no_inputs(given):
    why = f"inputs: expected arrays of floats, .* got {given.dtype}; close over integers and masks as constants"
    for question in (lambda: identical(twice, twice, given), lambda: degree(lambda x, i: x, (3,), given)):
        with pytest.raises(ValueError, match=why):
            question()


@pytest.mark.parametrize("given", [[3, 4], [3], [np.int64(2), 2]])
def test_a_list_is_no_shape(given):
    shape, text = re.escape(repr(tuple(given))), re.escape(repr(given))
    why = rf"inputs: expected shapes as tuples, here {shape}, got the list {text}"
    for inputs in ([given], [(2,), {"a": given}], [[(2,), given]]):
        with pytest.raises(ValueError, match=why):
            identical(lambda *x: 1.0, lambda *x: 1.0, *inputs)
    with pytest.raises(ValueError, match="shape: expected a tuple of non-negative integers"):
        Input(given)


def test_lists_of_inputs_remain_trees():
    assert identical(lambda pair: pair[0] @ pair[1], lambda pair: jnp.dot(*pair), [(3,), (3,)])
    assert identical(lambda pair: pair[0] + 1, lambda pair: 1 + pair[0], [Input(2), np.ones(3)])
    assert identical(lambda x: 1.0, lambda x: 1.0, [])
    with pytest.raises(ValueError, match=r"inputs: expected shapes .*, got 3"):
        identical(twice, twice, 3)
    with pytest.raises(ValueError, match=r"inputs: expected shapes .*, got 3"):
        identical(lambda x, y: x, lambda x, y: x, 3, 4)


@pytest.mark.parametrize(
    ("f", "g", "types"),
    [
        (lambda x: x.astype(jnp.bfloat16), lambda x: x, "bfloat16 and float32"),
        (lambda x: jnp.arange(3), lambda x: jnp.arange(3.0), "int32 and float32"),
        (lambda x: jnp.arange(3) > 1, lambda x: (jnp.arange(3) > 1).astype(int), "bool and int32"),
        (lambda x: (x, x.astype(jnp.float16)), lambda x: (x, x), "float32, float16 and float32, float32"),
    ],
)
def test_results_of_other_types_are_not_compared(f, g, types):
    with pytest.raises(ValueError, match=rf"f and g: expected results of the same types, got {types}; .*astype"):
        identical(f, g, (3,))


def test_exceptions_of_anybody_in_one_line():
    assert first_line(ValueError("one\ntwo")) == "ValueError: one"
    assert first_line(KeyError()) == "KeyError: no message"
    quoted = 'INTERNAL: error\nTraceback (most recent call last):\n  File "a.py"\nRuntimeError: inner\n'
    assert first_line(RuntimeError(quoted)) == "RuntimeError: inner"


def test_numpys_numbers_do_not_leak():
    """Conversions of arrays of shape () are numbers to numpy; arithmetic on them is the same."""
    pick = np.array([5.0, 7.0], np.float32)
    value, _ = rounding_bound(lambda x: x[jnp.floor(x[0] * 0.1).astype(int)], pick)
    assert value == 5.0
    assert identical(lambda x: x[jnp.floor(jnp.array(1.5)).astype(int)], lambda x: x[1], (3,))
