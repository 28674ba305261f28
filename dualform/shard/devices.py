r"""Sums over the devices of a mesh axis, of anything associative, in log2 of their number steps.

Hillis and Steele's scan: in step d = 1, 2, 4, ... every device sends what it has to the one d places on, and puts what
it gets before its own. After each step it covers twice as many devices. Rings are closed, which costs nothing, and what
comes around the end is not used.

References: Hillis, Steele 1986, Data parallel algorithms, Communications of the ACM 29 (12).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp


def from_left(x, axis: str, devices: int, places: int = 1):
    """What the device some places before has; on the first ones, what comes around the end."""
    return jax.lax.ppermute(x, axis, [(i, (i + places) % devices) for i in range(devices)])


def up_to(combine: Callable, x: jax.Array, axis: str, devices: int) -> jax.Array:
    """`combine(earlier, later)` over all devices up to this one. Sends ceil(log2 devices) times the size of x."""
    index, places = jax.lax.axis_index(axis), 1
    while places < devices:
        earlier = from_left(x, axis, devices, places)
        x = jnp.where(index >= places, combine(earlier, x), x)
        places *= 2
    return x


def from_last(x, axis: str, devices: int):
    """What the last device has, on all."""
    mine = jax.lax.axis_index(axis) == devices - 1
    return jax.tree.map(lambda x: jax.lax.psum(jnp.where(mine, x, 0), axis), x)
