"""Compiled once: a cache of jitted functions, and a guard against recompilation."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax


@functools.cache
def jitted(f: Callable, *static_argnames: str) -> Callable:
    """`jax.jit(f)`, the same object every time: a property that asks for it per example compiles once per shape.

    Args:
        f: a hashable function; pass one defined at module level, since a lambda made per example is new each time.
        static_argnames: names of the arguments to compile in.

    >>> import jax.numpy as jnp
    >>> jitted(jnp.tanh) is jitted(jnp.tanh)
    True
    """
    return jax.jit(f, static_argnames=static_argnames or None)


@contextmanager
def max_traces(f: Callable, limit: int, **jit_options: Any) -> Iterator[Callable]:
    """Give `jax.jit(f)` to the block and raise if it was traced more than `limit` times.

    A trace is what precedes a compile; one per distinct signature (shapes, dtypes, static arguments) is right.

    Raises:
        AssertionError: there were more traces, each a compile that a caller pays for.

    >>> import jax.numpy as jnp
    >>> with max_traces(jnp.sin, 1) as sin:
    ...     close = abs(float(sin(1.0)) - float(sin(1.0)))
    >>> close
    0.0
    """
    traces = 0

    @functools.wraps(f)
    def counted(*args, **kwargs):
        nonlocal traces
        traces += 1
        return f(*args, **kwargs)

    yield jax.jit(counted, **jit_options)
    if traces > limit:
        name = getattr(f, "__name__", repr(f))
        raise AssertionError(f"{name} was traced {traces} times, expected at most {limit}; draw from fewer shapes")
