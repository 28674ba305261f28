"""Where arrays lie on a mesh."""

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec


def axis_size(mesh: Mesh, axis: str) -> int:
    """The number of devices along an axis of a mesh."""
    if not isinstance(mesh, Mesh):
        raise ValueError(f"mesh: got a {type(mesh).__name__}, expected a jax.sharding.Mesh; make one by jax.make_mesh")
    if axis not in mesh.shape:
        raise ValueError(f"axis: got {axis!r}, expected one of the mesh's {mesh.axis_names}; name one of these")
    return mesh.shape[axis]


def place(tree, mesh: Mesh, axis: str, spec: PartitionSpec):
    """Arrays as a spec has them. Only axes of type Explicit need it; the compiler sees to all others."""
    if mesh.axis_types[mesh.axis_names.index(axis)] != AxisType.Explicit:
        return tree
    return jax.tree.map(lambda x: jax.reshard(x, NamedSharding(mesh, spec)), tree)


def pad(x: jax.Array, axis: int, size: int, value=0) -> jax.Array:
    """An array filled up along one axis."""
    if x.shape[axis] == size:
        return x
    widths = [(0, size - x.shape[axis] if i == axis else 0) for i in range(x.ndim)]
    return jax.numpy.pad(x, widths, constant_values=value)


def rounded_up(n: int, multiple: int) -> int:
    """The least multiple that is not below n."""
    return -(-n // multiple) * multiple
