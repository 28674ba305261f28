"""Checks of arguments, shared by every chapter.

A failure is a `ValueError` that names the argument, what came, what was expected and the fix. Shapes and dtypes are
always checked; values only where they are concrete, so under `jit`, `grad` and `vmap` those checks are not there.
"""

import math
import operator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

AXES = {
    "n": "patterns",
    "V": "output features",
    "K": "input features",
    "M": "queries",
    "T": "steps",
    "B": "patterns of a minibatch",
    "D": "model features",
    "H": "heads",
}
FEATURES = ("V", "K", "D", "H")

Sizes = dict[str, tuple[int, str]]
"""Axis name -> its size, and the argument that set it."""

Scalar = float | Float[Array, ""]


def array(name: str, value, layouts: str, sizes: Sizes | None = None, *, finite: bool = True) -> jax.Array:
    """`value` as a float array of one of the layouts ("n K", or "K | M K"), whose axes agree with those of `sizes`.

    Args:
        name: the argument's name, for the message.
        value: anything that `jnp.asarray` takes.
        layouts: names of axes, alternatives separated by "|". Feature axes (V, K) must not be empty.
        sizes: sizes of the axes of the arguments checked before, to which this argument's are added.
        finite: refuse NaN and infinity where the value is concrete.

    Raises:
        ValueError: not numbers, integers, complex, a wrong shape, an empty feature axis, not finite.
    """
    sizes = {} if sizes is None else sizes
    x = float_array(name, value)
    alternatives = [layout.split() for layout in layouts.split("|")]
    for axes in alternatives:
        if _fits(axes, x.shape, sizes):
            break
    else:
        turned = any(_fits(axes, x.shape[::-1], sizes) for axes in alternatives if len(axes) == x.ndim == 2)
        fix = f"it looks transposed; pass {name}.T" if turned else f"reshape {name}"
        raise ValueError(f"{name}: got shape {x.shape}, expected {_expected(alternatives, sizes)}; {fix}")
    if empty := [a for a, s in zip(axes, x.shape, strict=True) if a in FEATURES and s == 0]:
        raise ValueError(
            f"{name}: got shape {x.shape}, expected at least one feature on axis {empty[0]} ({AXES[empty[0]]}); "
            "no patterns are fine, no features are not"
        )
    for axis, size in zip(axes, x.shape, strict=True):
        sizes.setdefault(axis, (size, name))
    if finite:
        require_finite(name, x)
    return x


def float_array(name: str, value) -> jax.Array:
    """`value` through `jnp.asarray`; integers, booleans, complex numbers and everything else are refused."""
    try:
        x = jnp.asarray(value)
    except (TypeError, ValueError) as reason:
        raise ValueError(
            f"{name}: got a {type(value).__name__}, expected an array of floats; pass one that jnp.asarray accepts"
        ) from reason
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(
            f"{name}: got dtype {x.dtype}, expected a float dtype; convert it, e.g. jnp.asarray({name}, jnp.float32)"
        )
    return x


def scalar(name: str, value, *, positive: bool = False) -> Scalar:
    """`value` as a Python float or a float array of shape (); finite, and above zero if `positive`."""
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    number: Scalar = float(value) if plain else float_array(name, value)
    if jnp.shape(number) != ():
        raise ValueError(f"{name}: got shape {jnp.shape(number)}, expected a single number; pass one value")
    require_finite(name, number)
    if positive and is_concrete(number) and not number > 0:
        raise ValueError(
            f"{name}: got {float(number):g}, expected a number above zero; make it positive or leave it out"
        )
    return number


def count(name: str, value, least: int = 0) -> int:
    """`value` as a Python int of at least `least`: sizes are static."""
    try:
        number = operator.index(value)
    except TypeError as reason:  # floats, and tracers, whose value no program may depend on
        raise ValueError(
            f"{name}: got {value!r}, expected a Python integer, for it sets a shape; under jit mark it static"
        ) from reason
    if isinstance(value, bool) or number < least:
        raise ValueError(f"{name}: got {value!r}, expected an integer of at least {least}; pass a larger one")
    return number


def same_dtype(**arrays: jax.Array) -> jnp.dtype:
    """The one dtype of all the arrays."""
    dtypes = {x.dtype for x in arrays.values()}
    if len(dtypes) > 1:
        got = ", ".join(f"{name} {x.dtype}" for name, x in arrays.items())
        raise ValueError(f"{', '.join(arrays)}: got dtypes {got}, expected one dtype for all; convert with .astype")
    return dtypes.pop()


def no_narrower(dtype, **arrays: jax.Array | None) -> None:
    """States, gates and step sizes share the dtype of the patterns or are wider; None is passed over."""
    for name, x in arrays.items():
        if x is not None and x.dtype != dtype and jnp.finfo(x.dtype).bits <= jnp.finfo(dtype).bits:
            raise ValueError(
                f"{name}: got dtype {x.dtype}, expected that of the patterns, {dtype}, or a wider one; use .astype"
            )


def compute_dtype(*values) -> jnp.dtype:
    """The dtype to compute in: float64 if any array has it, else float32 (so bfloat16 and float16 are widened).

    Python numbers have no say; without any array it is JAX's default float.
    """
    dtypes = [x.dtype for x in values if hasattr(x, "dtype")]
    if not dtypes:
        return jnp.result_type(float)
    return jnp.dtype(jnp.float64 if jnp.float64 in dtypes else jnp.float32)


def is_concrete(x) -> bool:
    """Whether the values of `x` can be looked at here and now."""
    return not isinstance(x, jax.core.Tracer) and getattr(x, "is_fully_addressable", True)


def require_finite(name: str, x) -> None:
    """Refuse NaN and infinity in a concrete number or array; say where the first one is."""
    if isinstance(x, float):
        bad, where = not math.isfinite(x), ""
    elif not is_concrete(x):
        return
    else:
        known = np.asarray(x)  # numpy: inside a trace jnp would record, not compute
        places = np.argwhere(~np.isfinite(known))
        bad, where = len(places) > 0, f" at {places[0].tolist()}" if x.ndim and len(places) else ""
        x = known[tuple(places[0])] if bad else x
    if bad:
        raise ValueError(
            f"{name}: got {float(x)}{where}, expected finite numbers; find where it arose and mend it there"
        )


def _fits(axes: list[str], shape: tuple[int, ...], sizes: Sizes) -> bool:
    """Whether a shape has these axes, of the sizes that are known; an axis that is named twice has one size."""
    seen = {axis: size for axis, (size, _) in sizes.items()}
    return len(axes) == len(shape) and all(seen.setdefault(a, s) == s for a, s in zip(axes, shape, strict=True))


def _expected(alternatives: list[list[str]], sizes: Sizes) -> str:
    layouts = " or ".join(f"[{', '.join(axes)}]" for axes in alternatives)
    names = list(dict.fromkeys(a for axes in alternatives for a in axes))
    known = [f"{a} = {sizes[a][0]} as in {sizes[a][1]}" for a in names if a in sizes]
    meaning = ", ".join(f"{a}: {AXES[a]}" for a in names if a in AXES)
    return f"{layouts} ({meaning})" + (f" with {' and '.join(known)}" if known else "")
