"""Evaluates a jaxpr in far more precision than the program has: the exact results that bounds are held against.

Written apart from the engine: it shares no code with it, and takes its values from `numbers`. Floats are numbers of
that arithmetic, integers and booleans are numpy arrays of their own dtype. A conversion between floats rounds nothing
here; one to an integer truncates and saturates, as XLA's does. Elements that move by an index are moved by JAX itself.
"""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Literal


class Unknown(Exception):
    """A primitive that the reference does not evaluate."""


PROGRAMS = ("jaxpr", "call_jaxpr", "fun_jaxpr")
CALLS = {
    "jit", "pjit", "closed_call", "core_call", "remat", "remat2", "checkpoint", "custom_jvp_call", "custom_vjp_call",
    "custom_vjp_call_jaxpr",
}  # fmt: skip
PASS = {"optimization_barrier", "copy", "copy_p", "stop_gradient", "device_put", "reduce_precision", "name"}


def is_float(dtype) -> bool:
    return jnp.issubdtype(dtype, jnp.floating)


class Reference:
    """One program in one arithmetic; index maps are computed once for each equation."""

    def __init__(self, closed: ClosedJaxpr, numbers):
        self.closed, self.numbers = closed, numbers
        self.maps: dict[tuple, np.ndarray] = {}

    def __call__(self, *inputs) -> list[np.ndarray]:
        with np.errstate(all="ignore"):
            return self.run(self.closed, [self.enter(x, v.aval.dtype) for x, v in zip(inputs, self.closed.jaxpr.invars)])

    def enter(self, x, dtype) -> np.ndarray:
        """A constant or an input, in the dtype that the program gives it."""
        if not is_float(dtype):
            return np.asarray(x).astype(dtype)
        with np.errstate(all="ignore"):
            return self.numbers.array(np.asarray(x).astype(dtype))

    def run(self, program, inputs: Sequence) -> list:
        jaxpr, consts = (program.jaxpr, program.consts) if isinstance(program, ClosedJaxpr) else (program, ())
        env = dict(zip(jaxpr.invars, map(np.asarray, inputs)))
        env.update((v, self.enter(c, v.aval.dtype)) for v, c in zip(jaxpr.constvars, consts))

        def read(atom):
            return self.enter(atom.val, atom.aval.dtype) if isinstance(atom, Literal) else env[atom]

        for eqn in jaxpr.eqns:
            results = self.equation(eqn, [read(x) for x in eqn.invars])
            env.update((v, self.leave(x, v.aval)) for v, x in zip(eqn.outvars, results))
        return [read(x) for x in jaxpr.outvars]

    def leave(self, x, aval):
        x = np.asarray(x) if is_float(aval.dtype) else np.asarray(x).astype(aval.dtype)
        assert x.shape == tuple(aval.shape), (x.shape, aval)
        return x

    def equation(self, eqn, operands: list) -> list:
        name = eqn.primitive.name
        if name in CALLS:
            return self.run(next(eqn.params[k] for k in PROGRAMS if k in eqn.params), operands)
        if name in PASS:
            return operands
        if name in CONTROL:
            return CONTROL[name](self, eqn, operands)
        if name in self.numbers.functions and is_float(eqn.outvars[0].aval.dtype):
            return [np.asarray(self.numbers.functions[name](operands[0]))]
        if name not in RULES:
            raise Unknown(name)
        results = RULES[name](self, eqn, *operands)
        return results if isinstance(results, list) else [results]

    def moved(self, eqn, data: np.ndarray, *indices) -> np.ndarray:
        """The flat index in `data` of every element of the result, found by JAX: -1 where it fills in."""
        key = (id(eqn), *(np.asarray(i).tobytes() for i in indices))
        if key not in self.maps:
            numbers = jnp.arange(1, data.size + 1, dtype=jnp.int32).reshape(data.shape)
            params = {**eqn.params, "fill_value": 0} if "fill_value" in eqn.params else eqn.params
            self.maps[key] = np.asarray(eqn.primitive.bind(numbers, *map(jnp.asarray, indices), **params)) - 1
        return self.maps[key]


def take(self, data: np.ndarray, index: np.ndarray):
    flat = data.ravel()
    filled = flat[np.maximum(index, 0)]
    if (index < 0).any():
        filled = np.where(index < 0, self.numbers.array(np.nan) if data.dtype.kind in "fO" else 0, filled)
    return filled


def _scan(self, eqn, operands) -> list:
    p = eqn.params
    body = p["jaxpr"]
    n, c = scan_counts(p)
    consts, carry, xs = operands[:n], operands[n : n + c], operands[n + c :]
    outputs: list = []
    for i in reversed(range(p["length"])) if p["reverse"] else range(p["length"]):
        out = self.run(body, [*consts, *carry, *(x[i] for x in xs)])
        carry = out[:c]
        outputs.append(out[c:])
    if p["reverse"]:
        outputs.reverse()
    stacked = [
        np.stack([np.asarray(o[j]) for o in outputs]) if outputs else np.zeros(v.aval.shape)
        for j, v in enumerate(eqn.outvars[c:])
    ]
    return [*carry, *stacked]


def scan_counts(p) -> tuple[int, int]:
    """Constants and carries of a scan: newer releases of JAX keep them in a tree."""
    if "num_consts" in p:
        return p["num_consts"], p["num_carry"]
    consts, carry, _ = p["ft_in"].unpack()
    return len(consts), len(carry)


def _while(self, eqn, operands) -> list:
    p = eqn.params
    a, b = p["cond_nconsts"], p["body_nconsts"]
    test, body, state = operands[:a], operands[a : a + b], operands[a + b :]
    while bool(self.run(p["cond_jaxpr"], [*test, *state])[0]):
        state = self.run(p["body_jaxpr"], [*body, *state])
    return state


def _cond(self, eqn, operands) -> list:
    which, *rest = operands
    branches = eqn.params["branches"]
    return self.run(branches[int(np.clip(int(which), 0, len(branches) - 1))], rest)


def _linear_solve(self, eqn, operands) -> list:
    lengths, programs = eqn.params["const_lengths"], eqn.params["jaxprs"]
    skip = lengths.matvec + lengths.vecmat
    b = operands[skip + lengths.solve + lengths.transpose_solve :]
    return self.run(programs.solve, [*operands[skip : skip + lengths.solve], *b])


CONTROL = {"scan": _scan, "while": _while, "cond": _cond, "custom_linear_solve": _linear_solve}


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
    if new == bool:
        return np.asarray(x != 0, bool)
    if not is_float(old):
        return x.astype(new)
    info = np.iinfo(new)

    def one(v):
        if v != v:
            return 0
        return int(info.min if v <= info.min else info.max if v >= info.max else int(v))

    return np.asarray(np.frompyfunc(one, 1, 1)(x)).astype(object).astype(new)


def dot_general(self, eqn, a, b):
    (ca, cb), (ba, bb) = eqn.params["dimension_numbers"]
    fa = [i for i in range(a.ndim) if i not in (*ca, *ba)]
    fb = [i for i in range(b.ndim) if i not in (*cb, *bb)]
    batch, rows, columns = [a.shape[i] for i in ba], [a.shape[i] for i in fa], [b.shape[i] for i in fb]
    terms = math.prod(a.shape[i] for i in ca)
    left = a.transpose(*ba, *fa, *ca).reshape(math.prod(batch), math.prod(rows), terms)
    right = b.transpose(*bb, *cb, *fb).reshape(math.prod(batch), terms, math.prod(columns))
    out = np.sum(left[:, :, :, None] * right[:, None, :, :], axis=2)
    return np.asarray(out).reshape((*batch, *rows, *columns))


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


def pad(self, eqn, x, value):
    config = eqn.params["padding_config"]
    shape = [max(0, low + high + n + max(0, n - 1) * inner) for n, (low, high, inner) in zip(x.shape, config)]
    out = np.full(shape, np.asarray(value)[()], dtype=x.dtype)
    for index in np.ndindex(*x.shape):
        target = tuple(low + i * (inner + 1) for i, (low, _, inner) in zip(index, config))
        if all(0 <= t < n for t, n in zip(target, shape)):
            out[target] = x[index]
    return out


def cut(self, eqn, x):
    p = eqn.params
    strides = p["strides"] or [1] * x.ndim
    return x[tuple(slice(a, b, s) for a, b, s in zip(p["start_indices"], p["limit_indices"], strides))]


def gather(self, eqn, x, *indices):
    return take(self, x, self.moved(eqn, x, *indices))


def update(self, eqn, x, new, *indices):
    starts = [int(np.clip(int(i), 0, n - m)) for i, n, m in zip(indices, x.shape, new.shape)]
    out = np.array(x)
    out[tuple(slice(s, s + m) for s, m in zip(starts, new.shape))] = new
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
    for hit, value in zip(self.maps[key], updates.ravel()):
        out = np.where(hit != 0, out + value, out)
    return out


def order(keys: Sequence[np.ndarray], axis: int) -> np.ndarray:
    lists = [np.moveaxis(k, axis, -1).reshape(-1, k.shape[axis]) for k in keys]
    rows = [sorted(range(lists[0].shape[1]), key=lambda j, r=r: tuple(k[r, j] for k in lists)) for r in range(len(lists[0]))]
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
        shape = [a + b + (n - 1) * d + 1 for n, (a, b), d in zip(x.shape, p["padding"], p["base_dilation"])]
        padded = np.full(shape, neutral, dtype=x.dtype)
        for index in np.ndindex(*x.shape):
            padded[tuple(a + i * d for a, i, d in zip(low, index, p["base_dilation"]))] = x[index]
        out = None
        for offset in np.ndindex(*p["window_dimensions"]):
            where = tuple(
                slice(o * d, o * d + (m - 1) * s + 1, s)
                for o, d, m, s in zip(offset, p["window_dilation"], eqn.outvars[0].aval.shape, p["window_strides"])
            )
            part = padded[where]
            out = part if out is None else f(out, part)
        return out

    return rule


def convolution(self, eqn, lhs, rhs):
    """Each element of the kernel meets one element of the image at each place: JAX tells which."""
    key = (id(eqn),)
    if key not in self.maps:
        numbers = jnp.arange(1, lhs.size + 1, dtype=jnp.float32).reshape(lhs.shape)
        params = {**eqn.params, "preferred_element_type": np.dtype(np.float32)}
        eye = jnp.eye(rhs.size, dtype=jnp.float32).reshape(rhs.size, *rhs.shape)
        one = jax.vmap(lambda k: eqn.primitive.bind(numbers, k, **params))
        self.maps[key] = np.rint(np.asarray(one(eye))).astype(int) - 1
    out = self.numbers.array(np.zeros(eqn.outvars[0].aval.shape))
    for index, k in zip(self.maps[key], rhs.ravel()):
        out = np.where(index < 0, out, out + lhs.ravel()[np.maximum(index, 0)] * k)
    return out


def triangular_solve(self, eqn, a, b):
    p = eqn.params
    if not p["left_side"]:
        turned = triangular(self, np.swapaxes(a, -1, -2), np.swapaxes(b, -1, -2), not p["lower"], p)
        return np.swapaxes(turned, -1, -2)
    return triangular(self, a, b, p["lower"], p)


def triangular(self, a, b, lower: bool, p):
    if p["transpose_a"]:
        a, lower = np.swapaxes(a, -1, -2), not lower
    n = a.shape[-1]
    x = np.array(b)
    for i in range(n) if lower else reversed(range(n)):
        others = range(i) if lower else range(i + 1, n)
        row = x[..., i, :]
        for j in others:
            row = row - a[..., i, j][..., None] * x[..., j, :]
        if not p["unit_diagonal"]:
            row = self.numbers.divide(row, np.broadcast_to(a[..., i, i][..., None], row.shape))
        x[..., i, :] = row
    return x


def lu(self, eqn, a) -> list:
    m, n = a.shape[-2:]
    flat = np.array(a).reshape(-1, m, n)
    pivots, orders = [], []
    for x in flat:
        perm, pivot = list(range(m)), []
        for k in range(min(m, n)):
            best = max(range(k, m), key=lambda i, k=k: abs(x[i, k]))
            pivot.append(best)
            x[[k, best]] = x[[best, k]]
            perm[k], perm[best] = perm[best], perm[k]
            for i in range(k + 1, m):
                x[i, k] = self.numbers.divide(x[i, k], x[k, k])[()]
                x[i, k + 1 :] = x[i, k + 1 :] - x[i, k] * x[k, k + 1 :]
        pivots.append(pivot)
        orders.append(perm)
    batch = a.shape[:-2]
    return [flat.reshape(a.shape), np.array(pivots).reshape(*batch, min(m, n)), np.array(orders).reshape(*batch, m)]


def cholesky(self, eqn, a):
    n = a.shape[-1]
    flat = np.array(a).reshape(-1, n, n)
    root = self.numbers.functions["sqrt"]
    for x in flat:
        for j in range(n):
            x[j, j] = root(np.asarray(x[j, j] - sum(x[j, k] * x[j, k] for k in range(j))))[()]
            for i in range(j + 1, n):
                x[i, j] = self.numbers.divide(x[i, j] - sum(x[i, k] * x[j, k] for k in range(j)), x[j, j])[()]
                x[j, i] = x[j, i] * 0
    return flat.reshape(a.shape)


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
    "reshape": lambda self, eqn, x, *_: x.reshape(eqn.params["new_sizes"]),
    "squeeze": lambda self, eqn, x: np.squeeze(x, tuple(eqn.params["dimensions"])),
    "expand_dims": lambda self, eqn, x: np.expand_dims(x, tuple(eqn.params["dimensions"])),
    "transpose": lambda self, eqn, x: x.transpose(eqn.params["permutation"]),
    "rev": lambda self, eqn, x: np.flip(x, tuple(eqn.params["dimensions"])),
    "concatenate": lambda self, eqn, *xs: np.concatenate(xs, eqn.params["dimension"]),
    "stack": lambda self, eqn, *xs: np.stack(xs, eqn.params["axis"]),
    "unstack": lambda self, eqn, x: list(np.moveaxis(x, eqn.params["axis"], 0)),
    "split": lambda self, eqn, x: np.split(x, np.cumsum(eqn.params["sizes"])[:-1], eqn.params["axis"]),
    "platform_index": lambda self, eqn: next(i for i, p in enumerate(eqn.params["platforms"]) if p is None or "cpu" in p),
    "iota": lambda self, eqn: iota(self, eqn),
    "pad": pad,
    "slice": cut,
    "dynamic_slice": gather,
    "gather": gather,
    "dynamic_update_slice": update,
    "scatter-add": scatter_add,
    "scatter_add": scatter_add,
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
