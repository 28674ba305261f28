r"""The frozen dual form over patterns that lie on many devices."""

from functools import partial

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from dualform import _check
from dualform import linear as one
from dualform.linear import Errors, Inputs, Output, Query, Weights
from dualform.shard.placing import axis_size, checked, pad, place, rounded_up


def linear_attn(
    mesh: Mesh, axis: str, E: Errors, X: Inputs, x: Query, weights: Weights | None = None, scale: _check.Scalar = 1.0
) -> Output:
    r"""Linear attention over patterns that are sharded along an axis of a mesh (Y6).

    Args:
        mesh, axis: the devices; other axes of the mesh are left to the compiler.
        E: [n, V] error signals, sharded along n.
        X: [n, K] inputs, likewise.
        x: [K] or [M, K] queries, on all devices.
        weights: None, or those of `dualform.linear.linear_attn`, sharded along n.
        scale: multiplies every score.

    Returns:
        [V] or [M, V] on all devices, in the dtype of the patterns; partial sums are added in float32 or wider.

    Raises:
        ValueError: as `dualform.linear.linear_attn`; an axis that the mesh does not have.

    Cost: on each of P devices the flops of n / P patterns, and one sum of M V numbers over devices, whatever n. Any n
    will do, but unless P divides it patterns are padded, and move between devices.

    >>> mesh = Mesh(jax.devices()[:1], ("patterns",))
    >>> E, X = jnp.array([[1.0], [10.0]]), jnp.array([[1.0, 0.0], [1.0, 1.0]])
    >>> print(linear_attn(mesh, "patterns", E, X, jnp.array([2.0, 3.0])))
    [52.]
    """
    devices = axis_size(mesh, axis)
    E, X, x = (_check.float_array(n, y) for n, y in (("E", E), ("X", X), ("x", x)))
    weights = None if weights is None else _check.float_array("weights", weights)
    scale = _check.scalar("scale", scale)
    dtype = checked(one.linear_attn, E=E, X=X, x=x, weights=weights).dtype
    wide = _check.compute_dtype(E, X, x, weights)
    size = rounded_up(len(E), devices)
    patterns = [pad(E.astype(wide), 0, size), pad(X.astype(wide), 0, size)]
    where = 1 if x.ndim == 2 and weights is not None and weights.ndim > 1 else 0
    if weights is not None:
        patterns.append(pad(weights.astype(wide), where, size))
    return _on_devices(mesh, axis, where, patterns, x.astype(wide), jnp.asarray(scale, wide)).astype(dtype)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _on_devices(mesh, axis, where, patterns, x, scale):
    def work(patterns, x, scale):
        E, X, *weights = patterns
        return jax.lax.psum(one.linear_attn(E, X, x, *weights), axis) * scale

    along, everywhere = PartitionSpec(axis), PartitionSpec()
    specs = [along, along, PartitionSpec(*[None] * where, axis)][: len(patterns)]
    patterns = [place(y, mesh, axis, spec) for y, spec in zip(patterns, specs, strict=True)]
    x, scale = place((x, scale), mesh, axis, everywhere)
    return jax.shard_map(
        work, mesh=mesh, axis_names={axis}, in_specs=(specs, everywhere, everywhere), out_specs=everywhere
    )(patterns, x, scale)
