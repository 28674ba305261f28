"""Constants of a program: integers, booleans and floats whose value does not depend on its inputs.

Masks, indices and loop counters decide the path through a program, so they are evaluated as they are. Floats stay
concrete only while each operation on them is *exact* in float64, which error-free transformations decide (Dekker 1971;
Knuth's TwoSum); otherwise `evaluate` returns None and the arithmetic takes over, where 1/3 is one third.
"""

import jax.numpy as jnp
import numpy as np

INTEGERS = {
    "add": np.add,
    "add_any": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "neg": np.negative,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "not": np.invert,
}

ORDER = {
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "eq": np.equal,
    "ne": np.not_equal,
    "max": np.maximum,
    "min": np.minimum,
    "abs": np.abs,
    "sign": np.sign,
    "floor": np.floor,
    "ceil": np.ceil,
    "neg": np.negative,
    "is_finite": np.isfinite,
}
"""Exact on floats as well."""

REDUCTIONS = {
    "reduce_max": np.max,
    "reduce_min": np.min,
    "reduce_and": np.all,
    "reduce_or": np.any,
}


def is_float(x) -> bool:
    return isinstance(x, np.ndarray) and x.dtype == np.float64


def evaluate(eqn, operands: list[np.ndarray]) -> list[np.ndarray] | None:
    """The results of an equation on constants, or None where a float result would be rounded."""
    name = eqn.primitive.name
    if name == "iota":
        return [_iota(eqn)]
    if name == "convert_element_type":
        return _convert(eqn, operands[0])
    if name == "sort":
        return _sort(eqn, operands)
    if name in REDUCTIONS:
        return [np.asarray(REDUCTIONS[name](operands[0], axis=tuple(eqn.params["axes"])))]
    if any(is_float(x) for x in operands):
        return _floats(name, eqn, operands)
    if name in INTEGERS:
        return [np.asarray(INTEGERS[name](*operands))]
    if name in ORDER:
        return [np.asarray(ORDER[name](*operands))]
    return _by_jax(eqn, operands)


def _iota(eqn) -> np.ndarray:
    p = eqn.params
    shape = [1] * len(p["shape"])
    shape[p["dimension"]] = -1
    x = np.arange(p["shape"][p["dimension"]], dtype=p["dtype"]).reshape(shape)
    return _carry(np.broadcast_to(x, p["shape"]))


def _convert(eqn, x):
    new = np.dtype(eqn.params["new_dtype"])
    if is_float(x) and not jnp.issubdtype(new, jnp.floating):
        return [x.astype(bool)] if new == bool else [np.trunc(x).astype(new)]
    if jnp.issubdtype(new, jnp.floating):
        return [x.astype(np.float64)] if is_float(x) or x.dtype == bool or np.all(np.abs(x.astype(float)) <= 2**53) else None
    return [x.astype(new)]


def _sort(eqn, operands):
    p = eqn.params
    axis, keys = p["dimension"], p["num_keys"]
    order = np.argsort(operands[0], axis=axis, kind="stable") if keys == 1 else _lexicographic(operands[:keys], axis)
    return [np.take_along_axis(x, order, axis) for x in operands]


def _lexicographic(keys, axis):
    return np.lexsort([np.moveaxis(k, axis, -1) for k in keys[::-1]], axis=-1) if axis in (-1, keys[0].ndim - 1) else None


def _floats(name, eqn, operands):
    if name in ORDER:
        return [_carry(ORDER[name](*operands))]
    if name in ("add", "add_any"):
        return _exact_sum(*operands)
    if name == "sub":
        return _exact_sum(operands[0], -operands[1])
    if name == "mul":
        return _exact_product(*operands)
    if name == "div":
        return _exact_quotient(*operands)
    if name == "clamp":
        return [np.clip(operands[1], operands[0], operands[2])]
    if name == "exp":
        return _exact_exp(operands[0])
    if name in ("log", "log1p"):
        return _exact_log(operands[0] if name == "log" else operands[0] + 1.0)
    if name == "sqrt":
        root = np.sqrt(np.maximum(operands[0], 0.0))
        return [root] if _exact_product(root, root) is not None and np.array_equal(root * root, operands[0]) else None
    if name in ("square", "integer_pow"):
        return _exact_power(operands[0], eqn.params.get("y", 2))
    if name in ("reduce_sum", "cumsum", "dot_general"):
        return _small_integers(name, eqn, operands)
    return None


def _exact_sum(a, b):
    with np.errstate(invalid="ignore", over="ignore"):
        s = a + b
        t = s - a
        error = (a - (s - t)) + (b - t)
    return [s] if np.all(np.isinf(s) | (error == 0)) else None


def _exact_product(a, b):
    a, b = np.broadcast_arrays(a, b)
    if a.size and not (np.all(_moderate(a)) and np.all(_moderate(b))):
        return None
    p = a * b
    (a1, a2), (b1, b2) = _halves(a), _halves(b)
    return [p] if np.all(((a1 * b1 - p) + a1 * b2 + a2 * b1) + a2 * b2 == 0) else None


def _moderate(x):
    return (x == 0) | ((np.abs(x) < 1e120) & (np.abs(x) > 1e-120))


def _halves(x):
    c = x * 134217729.0  # 2**27 + 1, Dekker's splitting of a double
    high = c - (c - x)
    return high, x - high


def _exact_quotient(a, b):
    if not np.all(b):
        return None
    q = a / b
    back = _exact_product(q, b)
    return [q] if back is not None and np.array_equal(back[0], np.broadcast_to(a, q.shape)) else None


def _exact_exp(x):
    return [np.exp(x)] if np.all((x == 0) | (x == -np.inf)) else None


def _exact_log(x):
    if not np.all((x == 1) | (x == 0)):
        return None
    return [np.where(x == 0, -np.inf, 0.0)]


def _exact_power(x, n):
    if n < 0:
        return None
    out = [np.ones_like(x)]
    for _ in range(n):
        out = None if out is None else _exact_product(out[0], x)
    return out


def _small_integers(name, eqn, operands):
    """Sums of integers that stay below 2**53 are exact in any order."""
    if any(x.size and not np.all(x == np.trunc(x)) for x in operands):
        return None
    if name == "reduce_sum":
        total = np.abs(operands[0]).sum(axis=tuple(eqn.params["axes"]))
        return [np.asarray(operands[0].sum(axis=tuple(eqn.params["axes"])))] if np.all(total < 2.0**53) else None
    if name == "cumsum":
        x = operands[0]
        x = np.flip(x, eqn.params["axis"]) if eqn.params["reverse"] else x
        s = np.cumsum(x, axis=eqn.params["axis"])
        ok = np.all(np.cumsum(np.abs(x), axis=eqn.params["axis"]) < 2.0**53)
        return [np.flip(s, eqn.params["axis"]) if eqn.params["reverse"] else s] if ok else None
    return None


def _by_jax(eqn, operands):
    """Any other primitive on integers: JAX itself is the definition."""
    out = eqn.primitive.bind(*[jnp.asarray(x) for x in operands], **eqn.params)
    return [_carry(x) for x in (out if eqn.primitive.multiple_results else [out])]


def _carry(x) -> np.ndarray:
    """Floats as float64, everything else as it is."""
    x = np.asarray(x)
    return x.astype(np.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x


carry = _carry
