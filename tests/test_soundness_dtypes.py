"""`identical` judges the programs that the caller has: in the dtypes of the caller, with integers of their widths."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from soundness import not_proved, proved

from dualform.prove import Input, degree, identical
from dualform.prove.programs import Program, Signature

BF16 = jnp.bfloat16


def identity(x):
    return x


# what arrays may be ---------------------------------------------------------------------------------------------------

REFUSED = {
    "complex64": (lambda: jnp.ones(3, jnp.complex64), "got complex64; pass real and imaginary parts"),
    "complex128": (lambda: np.ones(3, np.complex128), "got complex128; pass real and imaginary parts"),
    "int8": (lambda: jnp.ones(3, jnp.int8), "got int8; close over integers"),
    "int32": (lambda: jnp.ones(3, jnp.int32), "got int32; close over integers"),
    "int64": (lambda: np.arange(3), "got int64; close over integers"),
    "uint8": (lambda: jnp.ones(3, jnp.uint8), "got uint8; close over integers"),
    "int4": (lambda: jnp.ones(3, jnp.int4), "got int4; close over integers"),
    "bool": (lambda: np.ones(3, bool), "got bool; close over integers and masks"),
    "key": (lambda: jax.random.key(0), "draw random numbers outside"),
    "struct-of-integers": (lambda: jax.ShapeDtypeStruct((3,), np.int16), "got int16; close over integers"),
    "input-of-integers": (lambda: Input(3, dtype=np.int16), "got int16; close over integers"),
    "inside-a-tree": (lambda: {"a": (np.ones(2, np.float32), np.ones(2, np.int8))}, "got int8"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_identities_are_about_real_numbers(name):
    make, match = REFUSED[name]
    with pytest.raises(ValueError, match=match):
        identical(identity, identity, make())
    with pytest.raises(ValueError, match=match):
        degree(identity, make())


FLOATS = ["float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"]


def seen(dtype):
    """Programs that ask what dtype they run in."""
    return lambda x: x * float(jnp.finfo(x.dtype).eps), lambda x: x * float(jnp.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("given", [jnp.ones, jax.ShapeDtypeStruct, lambda shape, dtype: Input(shape, dtype=dtype)])
def test_programs_are_traced_in_the_dtype_of_the_caller(dtype, given):
    f, g = seen(dtype)
    proved(f, g, given((3,), jnp.dtype(dtype)))
    signature = Signature.of([given((3,), jnp.dtype(dtype))])
    assert Program.trace(f, signature).jaxpr.in_avals[0].dtype == jnp.dtype(dtype)


@pytest.mark.parametrize("dtype", FLOATS)
def test_programs_are_told_apart_in_the_dtype_of_the_caller(dtype):
    other = "float16" if dtype != "float16" else "bfloat16"
    certificate = not_proved(*seen(other), jnp.ones(3, dtype))
    (x,) = certificate.counterexample.inputs
    assert np.array_equal(x, np.asarray(x).astype(jnp.dtype(dtype)).astype(np.float64))


def test_shapes_mean_the_default_float():
    proved(*seen("float32"), (3,))
    proved(*seen("float32"), Input(3))
    proved(*seen("float32"), np.ones(3))  # float64 becomes float32, as in JAX
    with jax.enable_x64(True):
        proved(*seen("float64"), (3,))
        proved(*seen("float64"), np.ones(3))
        proved(*seen("float32"), np.ones(3, np.float32))


def test_numbers_of_numpy_are_arrays():
    proved(*seen("float16"), np.float16(1.0))


def test_inferred_logarithms_keep_their_dtype():
    f, g = (lambda x, h=h: jnp.exp(jnp.cumsum(x)) * h(x[:1]) / x[0] for h in seen("bfloat16"))
    certificate = proved(
        lambda x: jnp.exp(jnp.cumsum(x)) * float(jnp.finfo(x.dtype).eps), lambda x: jnp.exp(jnp.cumsum(x)) * 2.0**-7,
        jnp.ones(3, BF16),
    )  # fmt: skip
    assert certificate.inferred == (0,)
    proved(f, g, jnp.ones(3, BF16))


ROUNDED = {
    "bfloat16": lambda x: x.astype(BF16).astype(x.dtype),
    "float16": lambda x: x.astype(jnp.float16).astype(x.dtype),
    "reduced": lambda x: lax.reduce_precision(x, 8, 7),
    "behind-a-copy": lambda x: jnp.copy(jax.jit(lambda y: y.astype(BF16))(x)).astype(x.dtype),
}


@pytest.mark.parametrize("name", ROUNDED)
def test_whether_rounding_changes_a_number_is_not_answered(name):
    def f(x):
        return jnp.where(ROUNDED[name](x) == x, x, 0.0)

    assert not np.array_equal(f(jnp.float32(0.1)), np.float32(0.1))
    not_proved(f, identity, ())
    not_proved(lambda x: jnp.where(ROUNDED[name](x / 3) == x / 3, x, 0.0), lambda x: 0 * x, ())


def test_a_wider_float_is_the_same_number():
    proved(lambda x: jnp.where(x.astype(jnp.float32) == x, x, 0.0), identity, jnp.ones((), BF16))


def test_rounding_to_narrow_floats_is_stated():
    def through(dtype):
        return lambda x: x.astype(dtype).astype(x.dtype) * 2

    for dtype in ("bfloat16", "float16"):
        certificate = proved(through(dtype), lambda x: x + x, (3,))
        assert certificate.unrounded == (dtype,)
        assert f"exact arithmetic ignores rounding to {dtype}" in str(certificate)
        assert certificate.to_dict()["unrounded"] == [dtype]
    assert proved(lambda x: lax.fori_loop(0, 2, lambda i, c: through(BF16)(c), x), lambda x: 4 * x, ()).unrounded
    assert proved(lambda x: 2 * x, lambda x: x + x, jnp.ones(3, BF16)).unrounded == ("bfloat16",)
    plain = proved(lambda x: 2 * x, lambda x: x + x, (3,))
    assert plain.unrounded == ()
    assert "ignores" not in str(plain)


# integers inside programs ---------------------------------------------------------------------------------------------


def i8(*values):
    return jnp.array(values if len(values) > 1 else values[0], jnp.int8)


def u8(*values):
    return jnp.array(values if len(values) > 1 else values[0], jnp.uint8)


def floats(*values):
    return jnp.array(values if len(values) > 1 else values[0], jnp.float32)


# name -> (a constant of integers or masks, what it would be with integers of any size or another rule)
WIDTHS = {
    "int8-wraps": (lambda: i8(64) * i8(4), 256),
    "int8-sum-wraps": (lambda: i8(100) + i8(100), 200),
    "int8-negation-wraps": (lambda: -i8(-128), 128),
    "int8-absolute-value-wraps": (lambda: jnp.abs(i8(-128)), 128),
    "int8-power-wraps": (lambda: i8(7) ** 3, 343),
    "int8-reduction-wraps": (lambda: lax.reduce(i8(100, 100, 100), np.int8(0), lax.add, (0,)), 300),
    "int8-running-sum-wraps": (lambda: lax.cumsum(i8(100, 100))[1], 200),
    "int8-running-product-wraps": (lambda: lax.cumprod(i8(100, 100))[1], 10000),
    "int8-dot-wraps": (lambda: lax.dot(i8(100, 100), i8(2, 2)), 400),
    "uint8-wraps": (lambda: u8(200) + u8(100), 300),
    "uint8-below-zero": (lambda: u8(3) - u8(5), -2),
    "uint8-negation": (lambda: -u8(1), -1),
    "uint8-not": (lambda: ~u8(1), -2),
    "int32-wraps": (lambda: jnp.int32(2**30) * jnp.int32(4), 2**32),
    "uint32-wraps": (lambda: jnp.uint32(2**31) * jnp.uint32(2), 2**32),
    "shift-left": (lambda: i8(64) << i8(1), 128),
    "shift-right-keeps-the-sign": (lambda: i8(-8) >> i8(1), 124),
    "logical-shift-right": (lambda: lax.shift_right_logical(i8(-8), i8(1)), -4),
    "shift-beyond-the-width": (lambda: lax.shift_left(i8(1), i8(9)), 512),
    "converted-down": (lambda: jnp.int32(300).astype(jnp.int8), 300),
    "converted-to-unsigned": (lambda: jnp.int32(-1).astype(jnp.uint8), -1),
    "quotient-of-a-negative": (lambda: lax.div(jnp.int32(-7), jnp.int32(2)), -4),
    "floor-of-a-negative": (lambda: jnp.int32(-7) // 2, -3),
    "remainder-of-a-negative": (lambda: lax.rem(jnp.int32(-7), jnp.int32(2)), 1),
    "modulus-of-a-negative": (lambda: jnp.int32(-7) % 3, -1),
    "narrow-iota": (lambda: lax.iota(jnp.int8, 200)[150], 150),
    "narrow-unsigned-iota": (lambda: lax.iota(jnp.uint8, 300)[260], 260),
    "loop-counter": (lambda: lax.fori_loop(0, 200, lambda i, c: c + i8(1), i8(0)), 200),
    "scan-counter": (lambda: lax.scan(lambda c, x: (c * x, None), i8(1), i8(4, 8, 16))[0], 512),
    "sum-of-masks": (lambda: (jnp.array(True) + jnp.array(True)).astype(jnp.int32), 2),
    "exclusive-or": (lambda: (jnp.array(True) ^ jnp.array(True)).astype(jnp.int32), 1),
    "argmax-takes-the-first": (lambda: jnp.argmax(floats(1.0, 3.0, 3.0)), 2),
    "argmin-takes-the-first": (lambda: jnp.argmin(floats(3.0, 1.0, 1.0)), 2),
    "argmax-of-integers": (lambda: jnp.argmax(i8(100, 100) + i8(100, 0)), 0),
    "argmax-takes-nan": (lambda: jnp.argmax(floats(1.0, jnp.nan, 3.0)), 2),
    "truncation": (lambda: floats(-2.75).astype(jnp.int8), -3),
    "rounding-to-even": (lambda: jnp.round(floats(2.5)).astype(jnp.int32), 3),
    "clamp": (lambda: jnp.clip(i8(100) + i8(100), -5, 5), 5),
    "maximum-after-wrapping": (lambda: jnp.maximum(u8(3) - u8(5), u8(7)), 7),
    "sorted": (lambda: jnp.sort(i8(100, 27) + i8(100, 0))[0], 27),
    "popcount": (lambda: lax.population_count(i8(-1)), 1),
    "comparison-after-wrapping": (lambda: (i8(100) + i8(100) > 0).astype(jnp.int32), 1),
}


@pytest.mark.parametrize("name", WIDTHS)
def test_integers_keep_their_width(name):
    make, wrong = WIDTHS[name]
    right = int(jax.jit(make)())
    assert right != wrong

    def f(x):
        return x * make().astype(x.dtype)

    proved(f, lambda x: x * float(right), (2,))
    not_proved(f, lambda x: x * float(wrong), (2,))


# products, since JAX converts a constant itself when it traces, and then it does wrap
SATURATED = {
    "above-int8": (lambda: (floats(150.0) * 2).astype(jnp.int8), 300 - 256),
    "below-int8": (lambda: (floats(-150.0) * 2).astype(jnp.int8), 256 - 300),
    "below-uint8": (lambda: (floats(-1.5) * 2).astype(jnp.uint8), 253),
    "nan": (lambda: (floats(jnp.inf) * 0).astype(jnp.int32), 1),
    "above-int32": (lambda: (floats(1.5e9) * 2).astype(jnp.int32), 3_000_000_000 - 2**32),
}


@pytest.mark.parametrize("name", SATURATED)
def test_floats_beyond_an_integer_type_do_not_wrap(name):
    make, wrapped = SATURATED[name]
    not_proved(lambda x: x * make().astype(x.dtype), lambda x: x * float(wrapped), (2,))


@pytest.mark.parametrize("dtype", [jnp.int8, jnp.int32, jnp.uint8, jnp.int4, jnp.bool_, jnp.complex64])
def test_data_never_become_integers(dtype):
    def f(x):
        return x.astype(dtype).astype(x.dtype) if dtype != jnp.complex64 else x.astype(dtype).real

    not_proved(f, identity, (2,)) if dtype != jnp.complex64 else identical(f, identity, (2,))


# counterexamples ------------------------------------------------------------------------------------------------------

EQUAL_AS_TRACED = {
    "eps-of-float32": (
        lambda x: jnp.exp(jnp.abs(x)) * jnp.finfo(x.dtype).eps, lambda x: jnp.exp(jnp.abs(x)) * 2.0**-23, (3,)
    ),
    "tiny-of-float32": (
        lambda x: jnp.maximum(x, x * x) / float(jnp.finfo(x.dtype).max),
        lambda x: jnp.maximum(x * x, x) / float(jnp.finfo(np.float32).max), (3,),
    ),
    "eps-of-bfloat16": (
        lambda x: jnp.abs(x) * jnp.finfo(x.dtype).eps, lambda x: jnp.abs(x) * 2.0**-7, jnp.ones(3, BF16)
    ),
    "branch-on-the-dtype": (
        lambda x: jnp.abs(x) if x.dtype == jnp.float32 else -jnp.abs(x), lambda x: jnp.abs(x) * 1, (3,)
    ),
    "default-of-a-constant": (lambda x: jnp.abs(x) * jnp.sqrt(2.0), lambda x: jnp.sqrt(2.0) * jnp.abs(x), (3,)),
}  # fmt: skip


@pytest.mark.parametrize("name", EQUAL_AS_TRACED)
def test_programs_that_are_equal_in_the_dtype_of_the_caller_are_not_refuted(name):
    f, g, like = EQUAL_AS_TRACED[name]
    assert identical(f, g, like).equal is not False


DIFFERENT = {
    "relu-in-bfloat16": (jax.nn.relu, identity, jnp.ones(3, BF16)),
    "absolute-value-in-float16": (jnp.abs, identity, jnp.ones(3, jnp.float16)),
    "exp-in-bfloat16": (lambda x: jnp.exp(jnp.abs(x)), lambda x: jnp.exp(x), jnp.ones(3, BF16)),
    "a-small-difference-in-bfloat16": (lambda x: jnp.abs(x), lambda x: jnp.abs(x) * (1 + 2.0**-7), jnp.ones(3, BF16)),
    "a-difference-that-float32-hardly-shows": (
        lambda x: jnp.tanh(jnp.abs(x)), lambda x: jnp.tanh(jnp.abs(x)) * (1 + 2.0**-20), (3,)
    ),
    "a-difference-that-float32-does-not-show": (
        lambda x: jnp.sin(jnp.abs(x)) + 2.0**-40 * x, lambda x: jnp.sin(jnp.abs(x)), (3,)
    ),
    "softmax": (jax.nn.softmax, lambda x: jax.nn.softmax(2 * x), (3,)),
    "sorting": (lambda x: jnp.sort(x) + 0 * jnp.exp(x), lambda x: x, (3,)),
}  # fmt: skip


@pytest.mark.parametrize("name", DIFFERENT)
def test_programs_that_differ_are_refuted_in_the_dtype_of_the_caller(name):
    f, g, like = DIFFERENT[name]
    certificate = identical(f, g, like)
    assert certificate.equal is False, certificate
    example = certificate.counterexample
    assert abs(example.f - example.g) > example.bound
    (x,) = example.inputs
    dtype = Signature.of([like]).leaves[0].real
    assert np.array_equal(x, np.asarray(x).astype(dtype).astype(np.float64))


def test_a_program_that_raises_when_it_runs_is_undecided():
    def fails(x):
        raise RuntimeError("no such file")

    def f(x):
        return jax.pure_callback(fails, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    certificate = identical(f, identity, (3,))
    assert certificate.equal is None
    assert "pure_callback" in certificate.reason


def test_a_callback_on_constants_is_not_called():
    def fails(n):
        raise RuntimeError("no such file")

    def f(x):
        return x * jax.pure_callback(fails, jax.ShapeDtypeStruct((), np.int32), jnp.int32(3)).astype(x.dtype)

    certificate = identical(f, identity, (3,))
    assert certificate.equal is None
    assert "pure_callback" in certificate.reason


def test_the_pivots_that_rounding_decides_refute_nothing():
    """At whole numbers two entries are often equally large, and which row is first is then a matter of taste."""

    def f(a):
        return jnp.asarray(lax.linalg.lu(a)[2][0]).astype(a.dtype)

    certificate = identical(f, lambda a: f(a[::-1]) * 1.0, (2, 2))
    if certificate.equal is False:
        (a,) = certificate.counterexample.inputs
        assert abs(a[0, 0]) != abs(a[1, 0])
