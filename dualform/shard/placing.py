"""What surrounds a program for many devices: checks on whole arguments, and where arrays lie on a mesh."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from dualform import _check


def axis_size(mesh: Mesh, axis: str) -> int:
    """The number of devices along an axis of a mesh."""
    if not isinstance(mesh, Mesh):
        raise ValueError(f"mesh: got a {type(mesh).__name__}, expected a jax.sharding.Mesh; make one by jax.make_mesh")
    if axis not in mesh.shape:
        raise ValueError(f"axis: got {axis!r}, expected one of the mesh's {mesh.axis_names}; name one of these")
    return mesh.shape[axis]


def checked(form: Callable, **arguments):
    """The shapes of a form's result, after its own checks of whole arguments; nothing is computed.

    Arrays that can be looked at here are closed over, so that the form can, too. The others are known by their shapes.
    """
    leaves, tree = jax.tree.flatten(arguments)
    hidden = [None if _in_sight(x) else jax.ShapeDtypeStruct(x.shape, x.dtype) for x in leaves]

    def whole(hidden):
        values = [x if y is None else y for x, y in zip(leaves, hidden, strict=True)]
        return form(**jax.tree.unflatten(tree, values))

    return jax.eval_shape(whole, hidden)


def _in_sight(x) -> bool:
    """Whether the values of an array are known, and its type says nothing of where it lies (Explicit axes do)."""
    return _check.is_concrete(x) and not any(jax.typeof(x).sharding.spec)


def place(tree, mesh: Mesh, axis: str, spec: PartitionSpec):
    """Arrays as a spec has them. Only axes of type Explicit need it; the compiler sees to all others."""
    if mesh.axis_types[mesh.axis_names.index(axis)] != AxisType.Explicit:
        return tree

    def move(x):
        wanted = (*spec, *[None] * (x.ndim - len(spec)))
        return x if tuple(jax.typeof(x).sharding.spec) == wanted else jax.reshard(x, NamedSharding(mesh, spec))

    return jax.tree.map(move, tree)


def pad(x: jax.Array, axis: int, size: int, value=0) -> jax.Array:
    """An array filled up along one axis."""
    if x.shape[axis] == size:
        return x
    widths = [(0, size - x.shape[axis] if i == axis else 0) for i in range(x.ndim)]
    return jnp.pad(x, widths, constant_values=value)


def rounded_up(n: int, multiple: int) -> int:
    """The least multiple that is not below n."""
    return -(-n // multiple) * multiple
