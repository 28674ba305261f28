"""Constants of a program: integers, booleans and floats whose value does not depend on its inputs.

Masks, indices and loop counters decide the path through a program, so they are evaluated as they are. Floats stay
concrete only while each operation on them is *exact* in the program's own dtype, which error-free transformations
decide (Dekker 1971; Knuth's TwoSum). Otherwise `evaluate` returns None and the arithmetic takes over, where 1/3 is one
third. So a comparison of constants is decided as the float program decides it, or not at all.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from dualform.prove.errors import NOWHERE, ProofError
from dualform.prove.layout import along, matrices

ORDER = {
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "eq": np.equal,
    "ne": np.not_equal,
    "max": np.maximum,
    "min": np.minimum,
    "neg": np.negative,
}
"""Exact on integers and on floats."""

INTEGERS = {
    **ORDER,
    "add": np.add,
    "add_any": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "not": np.invert,
}
"""numpy's integers wrap like JAX's; whatever is not here JAX itself evaluates."""

FLOATS = {
    **ORDER,
    "abs": np.abs,
    "sign": np.sign,
    "floor": np.floor,
    "ceil": np.ceil,
    "rem": np.fmod,
    "is_finite": np.isfinite,
}


def is_float(x) -> bool:
    return isinstance(x, np.ndarray) and x.dtype == np.float64


def carry(value, dtype=None) -> np.ndarray:
    """Floats as float64, everything else as it is; a Python number is first rounded to the `dtype` that it has in JAX.

    Raises:
        ProofError: complex numbers, or keys of random numbers.
    """
    dtype = getattr(value, "dtype", None) if dtype is None else dtype
    if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.extended):
        why = "draw random numbers outside the program and pass them as an input"
        raise ProofError(f"a constant of type {dtype}: {why} ({NOWHERE})")
    with np.errstate(over="ignore"):
        x = np.asarray(value) if dtype is None else np.asarray(value).astype(dtype)
    if x.dtype.kind == "c":
        raise ProofError(f"a complex constant: exact arithmetic knows real numbers only ({NOWHERE})")
    return x.astype(np.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x


def evaluate(eqn, operands: list[np.ndarray]) -> list[np.ndarray] | None:
    """The results of an equation on constants, or None where a float result would be rounded."""
    name = eqn.primitive.name
    results: list[np.ndarray] | None
    with np.errstate(all="ignore"):
        if name == "iota":
            results = [_iota(eqn)]
        elif name == "convert_element_type":
            results = _convert(eqn, operands[0])
        elif any(is_float(x) for x in operands):
            result = _floats(name, eqn, operands)
            results = None if result is None else [np.asarray(result)]
        elif name in INTEGERS:
            results = [np.asarray(INTEGERS[name](*operands))]
        else:
            return _by_jax(eqn, operands)
        results = None if results is None else [np.asarray(x) for x in results]  # numpy makes scalars of single numbers
        known = results is not None and all(_fits(x, v.aval.dtype) for x, v in zip(results, eqn.outvars, strict=True))
    return results if known else None


def _fits(x: np.ndarray, dtype) -> bool:
    """Whether the program's own dtype holds these values without rounding."""
    return not is_float(x) or np.array_equal(x.astype(dtype).astype(np.float64), x, equal_nan=True)


def order(eqn, keys: list[np.ndarray]) -> np.ndarray:
    """Which elements a stable sort by these keys, the first weighing most, puts where along the sorted axis."""
    axis = eqn.params["dimension"]
    if len(keys) == 1:
        return np.argsort(keys[0], axis=axis, kind="stable")
    last = [np.moveaxis(k, axis, -1) for k in reversed(keys)]
    return np.moveaxis(np.lexsort(last, axis=-1), -1, axis)


def binary_places(x: np.ndarray) -> np.ndarray:
    """The smallest k >= 0 for which 2**k x is an integer."""
    mantissa, exponent = np.frexp(np.asarray(x, float))
    whole = np.abs(np.ldexp(mantissa, 53)).astype(np.int64)
    zeros = np.log2(np.maximum(whole & -whole, 1).astype(float))
    return np.where(whole == 0, 0.0, np.maximum(53 - exponent - zeros, 0.0))


def _iota(eqn) -> np.ndarray:
    p = eqn.params
    shape = [1] * len(p["shape"])
    shape[p["dimension"]] = -1
    x = np.arange(p["shape"][p["dimension"]]).astype(p["dtype"]).reshape(shape)
    return carry(np.broadcast_to(x, p["shape"]))


def _convert(eqn, x):
    new = np.dtype(eqn.params["new_dtype"])
    if jnp.issubdtype(new, jnp.floating):
        exact = is_float(x) or x.dtype.kind == "b" or np.all(np.abs(x.astype(float)) < 2.0**53)
        return [x.astype(np.float64)] if exact else None
    if new.kind not in "iub":
        return None
    if is_float(x) and new.kind != "b":
        limits = np.iinfo(new)
        fits = np.all((np.trunc(x) >= float(limits.min)) & (np.trunc(x) < float(limits.max)))
        return [np.trunc(x).astype(new)] if fits else None
    return [x.astype(new)]


def _by_jax(eqn, operands):
    """Any other primitive on integers: JAX itself is the definition."""
    out = eqn.primitive.bind(*[jnp.asarray(x) for x in operands], **eqn.params)
    out = out if eqn.primitive.multiple_results else [out]
    return None if any(jnp.issubdtype(x.dtype, jax.dtypes.extended) for x in out) else [carry(x) for x in out]


# floats ---------------------------------------------------------------------------------------------------------------


def _floats(name, eqn, operands) -> np.ndarray | None:
    p = eqn.params
    if name in FLOATS:
        return FLOATS[name](*operands)
    if name in ("le_to", "lt_to"):
        return _total_order(name, *operands)
    if name == "clamp":
        return np.clip(operands[1], operands[0], operands[2])
    if name == "round":
        return _round(operands[0], int(p["rounding_method"]))
    if name == "reduce_max":
        return np.max(operands[0], axis=tuple(p["axes"]), initial=-np.inf)
    if name == "reduce_min":
        return np.min(operands[0], axis=tuple(p["axes"]), initial=np.inf)
    if name in ("argmax", "argmin"):
        x = operands[0] if name == "argmax" else -operands[0]
        return np.argmax(x, axis=int(p["axes"][0])).astype(p["index_dtype"])
    if name == "cummax":
        return along(eqn, np.maximum.accumulate, operands[0])
    if name == "cummin":
        return along(eqn, np.minimum.accumulate, operands[0])
    if name in ELEMENTWISE:
        return ELEMENTWISE[name](*operands)
    if name in ("square", "integer_pow"):
        return _power(operands[0], p.get("y", 2))
    if name in ("reduce_sum", "cumsum", "dot_general"):
        return _sums(name, eqn, operands)
    return None


def _total_order(name, a, b):
    """-0 comes before +0 and NaN last."""
    tie = (a == b) | (np.isnan(a) & np.isnan(b))
    less = (a < b) | (~np.isnan(a) & np.isnan(b)) | ((a == b) & np.signbit(a) & ~np.signbit(b))
    return less if name == "lt_to" else less | (tie & (np.signbit(a) >= np.signbit(b)))


def _round(x, method: int):
    if method == 1:
        return np.rint(x)
    whole = np.trunc(x)
    return np.where(np.abs(x - whole) >= 0.5, whole + np.sign(x), whole)


def _sum(a, b):
    s = a + b
    t = s - a
    error = (a - (s - t)) + (b - t)
    return s if np.all(np.isinf(a) | np.isinf(b) | (error == 0)) and not np.any(np.isnan(s)) else None


def _product(a, b):
    a, b = np.broadcast_arrays(a, b)
    if not (np.all(_moderate(a)) and np.all(_moderate(b))):
        return None
    p = a * b
    (a1, a2), (b1, b2) = _halves(a), _halves(b)
    return p if np.all(((a1 * b1 - p) + a1 * b2 + a2 * b1) + a2 * b2 == 0) else None


def _moderate(x):
    return (x == 0) | ((np.abs(x) < 1e120) & (np.abs(x) > 1e-120))


def _halves(x):
    c = x * 134217729.0  # 2**27 + 1, Dekker's splitting of a double
    high = c - (c - x)
    return high, x - high


def _quotient(a, b):
    if not np.all(b):
        return None
    q = a / b
    back = _product(q, b)
    return q if back is not None and np.array_equal(back, np.broadcast_to(a, q.shape)) else None


def _exp(x):
    return np.exp(x) if np.all((x == 0) | (x == -np.inf)) else None


def _expm1(x):
    return np.expm1(x) if np.all((x == 0) | (x == -np.inf)) else None


def _log(x):
    return np.where(x == 0, -np.inf, 0.0) if np.all((x == 1) | (x == 0)) else None


def _log1p(x):
    return np.where(x == -1, -np.inf, 0.0) if np.all((x == 0) | (x == -1)) else None


def _sqrt(x):
    root = np.sqrt(np.maximum(x, 0.0))
    square = _product(root, root)
    return root if square is not None and np.array_equal(square, x) else None


def _rsqrt(x):
    root = _sqrt(x)
    return None if root is None else _quotient(np.ones_like(root), root)


def _power(x, n: int):
    """x**n by repeated squaring."""
    out, square, left = np.ones_like(x), x, abs(n)
    while left and out is not None:
        if left & 1:
            out = None if square is None else _product(out, square)
        left >>= 1
        square = None if square is None or not left else _product(square, square)
    return out if n >= 0 or out is None else _quotient(np.ones_like(out), out)


ELEMENTWISE: dict[str, Callable] = {
    "add": _sum,
    "add_any": _sum,
    "sub": lambda a, b: _sum(a, -b),
    "mul": _product,
    "div": _quotient,
    "exp": _exp,
    "expm1": _expm1,
    "log": _log,
    "log1p": _log1p,
    "sqrt": _sqrt,
    "rsqrt": _rsqrt,
}
"""Float results, or None where one would be rounded."""


def _sums(name, eqn, operands):
    """Sums of multiples of one power of two are exact in any order while they fit into the bits of the dtype."""
    if not all(np.all(np.isfinite(x)) for x in operands):
        return None
    unit = 2.0 ** -sum(binary_places(x).max(initial=0.0) for x in operands)
    largest = unit * 2.0 ** (jnp.finfo(eqn.outvars[0].aval.dtype).nmant + 1)

    def total(*xs):
        if name == "dot_general":
            left, right, shape = matrices(eqn, *xs)
            return (left @ right).reshape(shape)
        return xs[0].sum(axis=tuple(eqn.params["axes"])) if name == "reduce_sum" else along(eqn, np.cumsum, xs[0])

    return total(*operands) if np.all(total(*map(np.abs, operands)) < largest) else None
