"""What every primitive does to exact numbers: `rule(reference, equation, *operands)`."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from tests.fuzz.linear import cholesky, convolution, dot_general, lu, triangular_solve


def is_float(dtype) -> bool:
    return jnp.issubdtype(dtype, jnp.floating)


def take(self, data: np.ndarray, index: np.ndarray):
    flat = data.ravel()
    filled = flat[np.maximum(index, 0)]
    if (index < 0).any():
        filled = np.where(index < 0, self.numbers.array(np.nan) if data.dtype.kind in "fO" else 0, filled)
    return filled


def whole(x) -> bool:
    return np.asarray(x).dtype.kind in "iub"


def div(self, eqn, a, b):
    if whole(a):
        return np.trunc(a / np.where(b == 0, 1, b))
    return self.numbers.divide(a, b)


def rem(self, eqn, a, b):
    return np.fmod(a, b) if whole(a) else self.numbers.rem(a, b)


def larger(a, b):
    """max as IEEE has it: NaN wins."""
    nan = np.asarray(a != a, bool) | np.asarray(b != b, bool)
    return np.where(nan, a + b, np.where(np.asarray(a >= b, bool), a, b))


def smaller(a, b):
    return -larger(-a, -b) if not whole(a) else np.minimum(a, b)


def fold(f: Callable, x: np.ndarray, axes) -> np.ndarray:
    axes = tuple(axes)
    for axis in sorted(axes, reverse=True):
        parts = [np.take(x, i, axis) for i in range(x.shape[axis])]
        x = parts[0]
        for part in parts[1:]:
            x = f(x, part)
    return np.asarray(x)


def running(f: Callable, x: np.ndarray, axis: int, reverse: bool) -> np.ndarray:
    x = np.flip(x, axis) if reverse else x
    parts = [np.take(x, i, axis) for i in range(x.shape[axis])]
    for i in range(1, len(parts)):
        parts[i] = np.asarray(f(parts[i - 1], parts[i]))
    out = np.stack(parts, axis)
    return np.flip(out, axis) if reverse else out


def integer_pow(self, eqn, x):
    n = eqn.params["y"]
    out = x * 0 + 1
    for _ in range(abs(n)):
        out = out * x
    return out if n >= 0 else self.numbers.divide(self.numbers.array(np.ones(x.shape)), out)


def power(self, eqn, x, y):
    return self.numbers.power(x, y if not whole(y) else self.numbers.array(y))


def rounded(self, eqn, x):
    f = self.numbers.functions
    low = f["floor"](x)
    rest = x - low
    if "EVEN" in repr(eqn.params["rounding_method"]):
        half = self.numbers.divide(low, self.numbers.array(np.full(np.shape(low), 2.0)))
        odd = np.asarray(f["floor"](half) != half, bool)
    else:
        odd = np.asarray(x > 0, bool)
    up = np.asarray(rest > 0.5, bool) | (np.asarray(rest == 0.5, bool) & odd)
    return np.where(up, low + 1, low)


def convert(self, eqn, x):
    new, old = eqn.outvars[0].aval.dtype, eqn.invars[0].aval.dtype
    if is_float(new):
        return x if is_float(old) else self.numbers.array(x.astype(float))
    if np.dtype(new).kind == "b":
        return np.asarray(x != 0, bool)
    if not is_float(old):
        return x.astype(new)
    info = np.iinfo(new)

    def one(v):
        if v != v:
            return 0
        return int(info.min if v <= info.min else info.max if v >= info.max else int(v))

    return np.asarray(np.frompyfunc(one, 1, 1)(x)).astype(object).astype(new)


def total(x, axes):
    return np.asarray(np.sum(x, axis=tuple(axes))) if axes else x


def select(self, eqn, which, *cases):
    out = cases[0]
    for i, case in enumerate(cases[1:], 1):
        out = np.where(np.asarray(which) == (i if len(cases) > 2 else True), case, out)
    return out


def clamp(self, eqn, low, x, high):
    return smaller(larger(x, np.broadcast_to(low, x.shape)), np.broadcast_to(high, x.shape))


def broadcast(self, eqn, x, *_):
    shape, where = eqn.params["shape"], eqn.params["broadcast_dimensions"]
    inner = [1] * len(shape)
    for i, axis in enumerate(where):
        inner[axis] = x.shape[i]
    return np.broadcast_to(x.reshape(inner), shape)


def reshape(self, eqn, x, *_):
    first = eqn.params["dimensions"]  # an order to bring the axes in before
    return (x if first is None else x.transpose(first)).reshape(eqn.params["new_sizes"])


def pad(self, eqn, x, value):
    config = eqn.params["padding_config"]
    shape = [
        max(0, low + high + n + max(0, n - 1) * inner) for n, (low, high, inner) in zip(x.shape, config, strict=True)
    ]
    out = np.full(shape, np.asarray(value)[()], dtype=x.dtype)
    for index in np.ndindex(*x.shape):
        target = tuple(low + i * (inner + 1) for i, (low, _, inner) in zip(index, config, strict=True))
        if all(0 <= t < n for t, n in zip(target, shape, strict=True)):
            out[target] = x[index]
    return out


def cut(self, eqn, x):
    p = eqn.params
    strides = p["strides"] or [1] * x.ndim
    return x[tuple(slice(a, b, s) for a, b, s in zip(p["start_indices"], p["limit_indices"], strides, strict=True))]


def gather(self, eqn, x, *indices):
    return take(self, x, self.moved(eqn, x, *indices))


def update(self, eqn, x, new, *indices):
    starts = [int(np.clip(int(i), 0, n - m)) for i, n, m in zip(indices, x.shape, new.shape, strict=True)]
    out = np.array(x)
    out[tuple(slice(s, s + m) for s, m in zip(starts, new.shape, strict=True))] = new
    return out


def scatter_add(self, eqn, x, indices, updates):
    """The matrix of zeros and ones that carries updates to their targets, found by JAX."""
    key = (id(eqn), np.asarray(indices).tobytes())
    if key not in self.maps:
        dtype = eqn.outvars[0].aval.dtype
        eye = jnp.eye(updates.size, dtype=dtype).reshape((updates.size, *updates.shape))
        where = jnp.asarray(indices)
        zeros = jnp.zeros(x.shape, dtype)
        self.maps[key] = np.asarray(jax.vmap(lambda u: eqn.primitive.bind(zeros, where, u, **eqn.params))(eye))
    out = x
    for hit, value in zip(self.maps[key], updates.ravel(), strict=True):
        out = np.where(hit != 0, out + value, out)
    return out


def scatter(self, eqn, x, indices, updates):
    """Updates overwrite: JAX moves the numbers of the elements of both."""
    key = (id(eqn), np.asarray(indices).tobytes())
    if key not in self.maps:
        old = jnp.arange(x.size, dtype=jnp.int32).reshape(x.shape)
        new = x.size + jnp.arange(updates.size, dtype=jnp.int32).reshape(updates.shape)
        self.maps[key] = np.asarray(eqn.primitive.bind(old, jnp.asarray(indices), new, **eqn.params))
    return np.concatenate([x.ravel(), updates.ravel()])[self.maps[key]]


def order(keys: Sequence[np.ndarray], axis: int) -> np.ndarray:
    lists = [np.moveaxis(k, axis, -1).reshape(-1, k.shape[axis]) for k in keys]
    rows = [
        sorted(range(lists[0].shape[1]), key=lambda j, r=r: tuple(k[r, j] for k in lists)) for r in range(len(lists[0]))
    ]
    moved = np.moveaxis(keys[0], axis, -1)
    return np.moveaxis(np.array(rows, int).reshape(moved.shape), -1, axis)


def sort(self, eqn, *xs) -> list:
    axis = eqn.params["dimension"]
    index = order(xs[: eqn.params["num_keys"]], axis)
    return [np.take_along_axis(x, index, axis) for x in xs]


def top_k(self, eqn, x) -> list:
    axis = eqn.params.get("axis", x.ndim - 1) % x.ndim
    index = order([-x], axis)
    index = np.take(index, range(eqn.params["k"]), axis)
    return [np.take_along_axis(x, index, axis), index]


def arg(self, eqn, x, sign=1):
    (axis,) = eqn.params["axes"]
    return np.asarray(np.argmax(sign * x, axis=axis))


def window(f: Callable, start: float) -> Callable:
    """reduce_window by one operation, whose neutral element pads."""

    def rule(self, eqn, x):
        p = eqn.params
        neutral = self.numbers.array(start)[()]
        low = [a for a, _ in p["padding"]]
        shape = [
            a + b + (n - 1) * d + 1 for n, (a, b), d in zip(x.shape, p["padding"], p["base_dilation"], strict=True)
        ]
        padded = np.full(shape, neutral, dtype=x.dtype)
        for index in np.ndindex(*x.shape):
            padded[tuple(a + i * d for a, i, d in zip(low, index, p["base_dilation"], strict=True))] = x[index]
        out = None
        for offset in np.ndindex(*p["window_dimensions"]):
            where = tuple(
                slice(o * d, o * d + (m - 1) * s + 1, s)
                for o, d, m, s in zip(
                    offset, p["window_dilation"], eqn.outvars[0].aval.shape, p["window_strides"], strict=True
                )
            )
            part = padded[where]
            out = part if out is None else f(out, part)
        return out

    return rule


def compared(f: Callable) -> Callable:
    return lambda self, eqn, a, b: np.asarray(f(a, b)).astype(bool)


RULES: dict[str, Callable] = {
    "add": lambda self, eqn, a, b: a + b,
    "add_any": lambda self, eqn, a, b: a + b,
    "sub": lambda self, eqn, a, b: a - b,
    "mul": lambda self, eqn, a, b: a * b,
    "neg": lambda self, eqn, a: -a,
    "abs": lambda self, eqn, a: np.abs(a),
    "sign": lambda self, eqn, a: np.sign(a),
    "square": lambda self, eqn, a: a * a,
    "one_minus_square": lambda self, eqn, a: 1 - a * a,
    "div": div,
    "rem": rem,
    "integer_pow": integer_pow,
    "pow": power,
    "round": rounded,
    "max": lambda self, eqn, a, b: np.maximum(a, b) if whole(a) else larger(a, b),
    "min": lambda self, eqn, a, b: smaller(a, b),
    "lt": compared(np.less),
    "le": compared(np.less_equal),
    "gt": compared(np.greater),
    "ge": compared(np.greater_equal),
    "eq": compared(np.equal),
    "ne": compared(np.not_equal),
    "shift_left": lambda self, eqn, a, b: a << b,
    "shift_right_logical": lambda self, eqn, a, b: (a.view(f"u{a.itemsize}") >> b.view(f"u{a.itemsize}")).view(a.dtype),
    "shift_right_arithmetic": lambda self, eqn, a, b: a >> b,
    "and": lambda self, eqn, a, b: a & b,
    "or": lambda self, eqn, a, b: a | b,
    "xor": lambda self, eqn, a, b: a ^ b,
    "not": lambda self, eqn, a: ~a,
    "is_finite": lambda self, eqn, a: self.numbers.finite(a),
    "select_n": select,
    "clamp": clamp,
    "convert_element_type": convert,
    "dot_general": dot_general,
    "reduce_sum": lambda self, eqn, x: total(x, eqn.params["axes"]),
    "reduce_prod": lambda self, eqn, x: np.asarray(np.prod(x, axis=tuple(eqn.params["axes"]))),
    "reduce_max": lambda self, eqn, x: fold(np.maximum if whole(x) else larger, x, eqn.params["axes"]),
    "reduce_min": lambda self, eqn, x: fold(smaller, x, eqn.params["axes"]),
    "reduce_and": lambda self, eqn, x: np.asarray(np.all(x, axis=tuple(eqn.params["axes"]))),
    "reduce_or": lambda self, eqn, x: np.asarray(np.any(x, axis=tuple(eqn.params["axes"]))),
    "argmax": arg,
    "argmin": lambda self, eqn, x: arg(self, eqn, x, -1),
    "cumsum": lambda self, eqn, x: running(np.add, x, eqn.params["axis"], eqn.params["reverse"]),
    "cumprod": lambda self, eqn, x: running(np.multiply, x, eqn.params["axis"], eqn.params["reverse"]),
    "cummax": lambda self, eqn, x: running(larger, x, eqn.params["axis"], eqn.params["reverse"]),
    "cummin": lambda self, eqn, x: running(smaller, x, eqn.params["axis"], eqn.params["reverse"]),
    "broadcast_in_dim": broadcast,
    "reshape": reshape,
    "squeeze": lambda self, eqn, x: np.squeeze(x, tuple(eqn.params["dimensions"])),
    "expand_dims": lambda self, eqn, x: np.expand_dims(x, tuple(eqn.params["dimensions"])),
    "transpose": lambda self, eqn, x: x.transpose(eqn.params["permutation"]),
    "rev": lambda self, eqn, x: np.flip(x, tuple(eqn.params["dimensions"])),
    "concatenate": lambda self, eqn, *xs: np.concatenate(xs, eqn.params["dimension"]),
    "stack": lambda self, eqn, *xs: np.stack(xs, eqn.params["axis"]),
    "unstack": lambda self, eqn, x: list(np.moveaxis(x, eqn.params["axis"], 0)),
    "split": lambda self, eqn, x: np.split(x, np.cumsum(eqn.params["sizes"])[:-1], eqn.params["axis"]),
    "platform_index": lambda self, eqn: next(
        i for i, p in enumerate(eqn.params["platforms"]) if p is None or "cpu" in p
    ),
    "iota": lambda self, eqn: iota(self, eqn),
    "pad": pad,
    "slice": cut,
    "dynamic_slice": gather,
    "gather": gather,
    "dynamic_update_slice": update,
    "scatter-add": scatter_add,
    "scatter_add": scatter_add,
    "scatter": scatter,
    "tile": lambda self, eqn, x: np.tile(x, eqn.params["reps"]),
    "sort": sort,
    "top_k": top_k,
    "reduce_window_sum": window(np.add, 0.0),
    "reduce_window_max": window(larger, -np.inf),
    "reduce_window_min": window(smaller, np.inf),
    "conv_general_dilated": convolution,
    "triangular_solve": triangular_solve,
    "lu": lu,
    "cholesky": cholesky,
}


def iota(self, eqn):
    p = eqn.params
    inner = [1] * len(p["shape"])
    inner[p["dimension"]] = p["shape"][p["dimension"]]
    out = np.broadcast_to(np.arange(p["shape"][p["dimension"]]).reshape(inner), p["shape"])
    return self.numbers.array(out.astype(float)) if is_float(p["dtype"]) else out
