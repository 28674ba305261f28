"""Extremes of many elements, and elements put in order.

Where the bounds of the elements say which comes first, the result moves with the winner. Where they do not, the value
is known all the same: extremes and sorted values move by no more than the widest error among the elements. Which
element it was is then unknown, and what asks for that is refused.
"""

import math

import numpy as np

from dualform.prove.errors import unsupported
from dualform.prove.rounding import rewrites
from dualform.prove.rounding.elementwise import known_nonnegative
from dualform.prove.rounding.maps import Scale
from dualform.prove.rounding.tape import Node, Tape


def reduce_extreme(tape: Tape, eqn, x: Node) -> list:
    """reduce_max and reduce_min: the winner's derivative where it is certain, else the widest candidate's bound."""
    sign = 1.0 if eqn.primitive.name == "reduce_max" else -1.0
    axes = tuple(eqn.params["axes"])
    if not axes:
        return [tape.move(x.z, x)]
    winner, candidates = winners(x, axes, sign)
    if (candidates.sum(axis=-1) > 1).any() and tape.tighten(x):
        winner, candidates = winners(x, axes, sign)
    shape = tuple(n for i, n in enumerate(x.shape) if i not in axes)
    z = x.z.ravel()[winner].reshape(shape)
    r = np.moveaxis(x.r, axes, range(-len(axes), 0)).reshape(candidates.shape)
    unclear = (candidates.sum(axis=-1) > 1) & (np.where(candidates, r, 0.0).max(axis=-1) > 0)
    spread = np.where(unclear, np.where(candidates, r, 0.0).max(axis=-1), 0.0)
    moved = tape.gather([x], winner.reshape(shape))
    still = np.isinf(z) & ~unclear if np.isinf(z).any() else None
    node = tape.add(
        z, [(moved, Scale(np.where(unclear, 0.0, 1.0)))], lambda m: np.zeros(shape), lambda: spread, settled=still
    )
    node.nonnegative = known_nonnegative(x)
    node.origin = rewrites.alone(x, shape)
    return [node]


def winners(x: Node, axes: tuple, sign: float):
    """Flat indices of the extremes, and which elements might be one in some execution."""
    back = range(-len(axes), 0)
    shape = tuple(n for i, n in enumerate(x.shape) if i not in axes)
    rows = math.prod(shape), math.prod(x.shape[i] for i in axes)
    numbers = np.moveaxis(np.arange(x.z.size).reshape(x.shape), axes, back).reshape(rows)
    z = sign * np.moveaxis(x.z, axes, back).reshape(rows)
    r = np.moveaxis(x.r, axes, back).reshape(rows)
    best = z.argmax(axis=-1)
    winner = np.take_along_axis(numbers, best[:, None], 1)[:, 0]
    floor = np.where(np.isnan(z - r), -np.inf, z - r).max(axis=-1, keepdims=True)
    return winner, (~(z + r < floor)).reshape(*shape, rows[1])


def arg_extreme(tape: Tape, eqn, x: Node) -> list:
    """argmax and argmin, where rounding cannot change them."""
    sign = 1.0 if eqn.primitive.name == "argmax" else -1.0
    axes = tuple(eqn.params["axes"])
    _, candidates = winners(x, axes, sign)
    if (candidates.sum(axis=-1) > 1).any() and tape.tighten(x):
        _, candidates = winners(x, axes, sign)
    r = np.moveaxis(x.r, axes, range(-len(axes), 0)).reshape(candidates.shape)
    if ((candidates.sum(axis=-1) > 1) & (np.where(candidates, r, 0.0).max(axis=-1) > 0)).any():
        raise unsupported(eqn, "rounding", "two candidates are closer than their rounding errors")
    return [np.asarray((sign * x.z).argmax(axis=axes[0]), eqn.outvars[0].aval.dtype)]


def sort(tape: Tape, eqn, *xs) -> list:
    """Sorting by one key: by an order that rounding cannot change, or the key alone."""
    p = eqn.params
    axis, key = p["dimension"], xs[0]
    if p["num_keys"] != 1 or not isinstance(key, Node):
        raise unsupported(eqn, "rounding", "it sorts by several keys")
    order = np.argsort(key.z, axis=axis, kind="stable")
    if not fixed(key, order, axis):
        if len(xs) > 1:
            raise unsupported(eqn, "rounding", "two keys are closer than their rounding errors")
        return [shuffled(tape, key, np.take_along_axis(key.z, order, axis), axis)]
    index = np.take_along_axis(np.arange(key.z.size).reshape(key.shape), order, axis)
    return [tape.gather([x], index) if isinstance(x, Node) else x.ravel()[index] for x in xs]


def top_k(tape: Tape, eqn, x: Node) -> list:
    """The k largest, and where they stood, in an order that rounding cannot change."""
    axis, k = eqn.params.get("axis", x.z.ndim - 1), eqn.params["k"]
    order = np.argsort(-x.z, axis=axis, kind="stable")
    if not fixed(x, order, axis, k):
        raise unsupported(eqn, "rounding", "two candidates are closer than their rounding errors")
    first = np.take(order, np.arange(k), axis)
    index = np.take_along_axis(np.arange(x.z.size).reshape(x.shape), first, axis)
    return [tape.gather([x], index), first.astype(eqn.outvars[1].aval.dtype)]


def fixed(x: Node, order, axis: int, count: int | None = None) -> bool:
    """Whether rounding cannot change this order, or, given `count`, which elements come first and how."""
    z, r = (np.moveaxis(np.take_along_axis(v, order, axis), axis, -1) for v in (x.z, x.r))
    if z.shape[-1] < 2:
        return True
    sign = -1.0 if (z[..., 0] < z[..., -1]).any() else 1.0
    z = sign * z
    rest = [
        np.flip(np.maximum.accumulate(np.flip(v, -1), -1), -1)[..., 1:]
        for v in (z + r, np.where(r > 0, z + r, -np.inf))
    ]
    first, error = z[..., :-1], r[..., :-1]
    clear = (first - error > rest[0]) | (
        (error == 0) & (first > rest[1])
    )  # exact ties stay in the order of a stable sort
    return bool(clear[..., :count].all())


def shuffled(tape: Tape, x: Node, z, axis: int) -> Node:
    """Sorted values of doubtful order: each errs by at most the widest error along the axis."""
    tape.tighten(x)
    widest = lambda: np.broadcast_to(x.r.max(axis=axis, keepdims=True, initial=0.0), z.shape)  # noqa: E731
    return tape.add(z, [(x, Scale(np.zeros(x.shape)))], lambda m: np.zeros(z.shape), widest)
