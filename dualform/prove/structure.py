"""Primitives that only move elements: each is a map of indices, written once and used by every arithmetic.

A rule receives, in place of its data operands, integer arrays that number all elements of all data operands, and
returns the same numbers rearranged: element j of the result is element `index[j]` of the operands laid end to end.
Residues, degrees, float values with their derivatives and concrete constants are all moved by that one map.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from dualform.prove.errors import unsupported

FILLED = -1
"""Index of an element that JAX fills in (an out-of-bounds gather)."""


def broadcast_in_dim(eqn, x):
    shape = eqn.params["shape"]
    expanded = [1] * len(shape)
    for axis, d in enumerate(eqn.params["broadcast_dimensions"]):
        expanded[int(d)] = x.shape[axis]
    return np.broadcast_to(x.reshape(expanded), shape)


def reshape(eqn, x):
    dimensions = eqn.params.get("dimensions")
    x = x if dimensions is None else np.transpose(x, dimensions)
    return x.reshape(eqn.outvars[0].aval.shape)


def to_result_shape(eqn, x):
    return x.reshape(eqn.outvars[0].aval.shape)


def transpose(eqn, x):
    return np.transpose(x, [int(i) for i in eqn.params["permutation"]])


def tile(eqn, x):
    return np.tile(x, eqn.params["reps"])


def slice_(eqn, x):
    p = eqn.params
    strides = p["strides"] or (1,) * x.ndim
    return x[tuple(slice(*s) for s in zip(p["start_indices"], p["limit_indices"], strides, strict=True))]


def rev(eqn, x):
    return np.flip(x, tuple(int(d) for d in eqn.params["dimensions"]))


def concatenate(eqn, *xs):
    return np.concatenate(xs, axis=int(eqn.params["dimension"]))


def stack(eqn, *xs):
    return np.stack(xs, axis=int(eqn.params["axis"]))


def unstack(eqn, x):
    axis = int(eqn.params["axis"])
    return [np.take(x, i, axis) for i in range(x.shape[axis])]


def split(eqn, x):
    return np.split(x, np.cumsum(eqn.params["sizes"])[:-1], axis=int(eqn.params["axis"]))


def pad(eqn, x, value):
    for axis, (low, high, interior) in enumerate(tuple(map(int, c)) for c in eqn.params["padding_config"]):
        if interior and x.shape[axis]:
            shape = list(x.shape)
            shape[axis] = (x.shape[axis] - 1) * (interior + 1) + 1
            spread = np.full(shape, value)
            spread[(slice(None),) * axis + (slice(None, None, interior + 1),)] = x
            x = spread
        widths = [(0, 0)] * x.ndim
        widths[axis] = (max(low, 0), max(high, 0))
        x = np.pad(x, widths, constant_values=value)
        x = x[(slice(None),) * axis + (slice(max(-low, 0), x.shape[axis] - max(-high, 0)),)]
    return x


def dynamic_slice(eqn, x, *starts):
    sizes = eqn.params["slice_sizes"]
    begin = [min(max(int(s), 0), n - size) for s, n, size in zip(starts, x.shape, sizes, strict=True)]
    return x[tuple(slice(b, b + size) for b, size in zip(begin, sizes, strict=True))]


def dynamic_update_slice(eqn, x, update, *starts):
    begin = [min(max(int(s), 0), n - size) for s, n, size in zip(starts, x.shape, update.shape, strict=True)]
    x = x.copy()
    x[tuple(slice(b, b + size) for b, size in zip(begin, update.shape, strict=True))] = update
    return x


def select_n(eqn, which, *cases):
    which = np.broadcast_to(np.asarray(which), cases[0].shape).astype(np.int64)
    return np.choose(which, cases) if len(cases) <= 31 else np.take_along_axis(np.stack(cases), which[None], 0)[0]


def gather(eqn, x, indices):
    """JAX's own gather, run on the element numbers (shifted by one, so that 0 marks a filled element)."""
    params = dict(eqn.params, fill_value=0)
    return np.asarray(eqn.primitive.bind(jnp.asarray(x + 1, jnp.int32), jnp.asarray(indices), **params), np.int64) - 1


def scatter(eqn, x, indices, updates):
    """JAX's own scatter (overwriting), run on the element numbers."""
    data = [jnp.asarray(a, jnp.int32) for a in (x, updates)]
    return np.asarray(eqn.primitive.bind(data[0], jnp.asarray(indices), data[1], **eqn.params), np.int64)


def scatter_targets(eqn, operand_shape, indices, update_shape) -> np.ndarray:
    """For each update of a scatter-add, the flat element of the operand that it goes to, or FILLED if dropped.

    The transpose of scatter-add with respect to its updates is the gather that reads their targets, so JAX is asked
    for that transpose on the element numbers. float32 holds them exactly up to 2**24.

    Raises:
        UnsupportedPrimitive: indices that depend on the data, or 2**24 elements.
    """
    if not isinstance(indices, np.ndarray):
        raise unsupported(eqn, "any", "its indices depend on the data")
    size = int(np.prod(operand_shape))
    if size >= 1 << 24:
        raise unsupported(eqn, "any", f"it scatters into {size} elements, more than 2**24")
    numbers = jnp.asarray(np.arange(1, size + 1, dtype=np.float32).reshape(operand_shape))
    how = {k: eqn.params[k] for k in ("dimension_numbers", "indices_are_sorted", "unique_indices", "mode")}

    def add(updates):
        return jax.lax.scatter_add(jnp.zeros(operand_shape, jnp.float32), jnp.asarray(indices), updates, **how)

    (targets,) = jax.linear_transpose(add, jax.ShapeDtypeStruct(update_shape, jnp.float32))(numbers)
    return np.asarray(targets).astype(np.int64) - 1


def same(eqn, x):
    return x


RULES: dict[str, Callable] = {
    "broadcast_in_dim": broadcast_in_dim,
    "reshape": reshape,
    "squeeze": to_result_shape,
    "expand_dims": to_result_shape,
    "transpose": transpose,
    "tile": tile,
    "slice": slice_,
    "rev": rev,
    "concatenate": concatenate,
    "stack": stack,
    "unstack": unstack,
    "split": split,
    "pad": pad,
    "dynamic_slice": dynamic_slice,
    "dynamic_update_slice": dynamic_update_slice,
    "select_n": select_n,
    "gather": gather,
    "scatter": scatter,
    "copy": same,
    "copy_p": same,
    "stop_gradient": same,
    "pvary": same,
}

DATA = {
    "dynamic_slice": (0,),
    "dynamic_update_slice": (0, 1),
    "gather": (0,),
    "scatter": (0, 2),
}
"""Operands that hold data, where not all do; the others are concrete integers (`select_n`: all but the first)."""


def data_operands(name: str, count: int) -> tuple[int, ...]:
    """Positions of the operands that are moved."""
    return tuple(range(1, count)) if name == "select_n" else DATA.get(name, tuple(range(count)))


def index_maps(eqn, operands: list) -> list[np.ndarray]:
    """The index map of every result of a structural equation; `operands` need only have shapes where they are data."""
    name = eqn.primitive.name
    numbered, offset = list(operands), 0
    for i in data_operands(name, len(operands)):
        shape = np.shape(operands[i]) if isinstance(operands[i], np.ndarray) else operands[i].shape
        size = int(np.prod(shape))
        numbered[i] = np.arange(offset, offset + size).reshape(shape)
        offset += size
    out = RULES[name](eqn, *numbered)
    return list(out) if isinstance(out, (list, tuple)) else [out]
