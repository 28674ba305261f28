"""The flops of a program's matrix products, counted in its jaxpr."""

import math
from collections.abc import Callable

import jax
from jax.interpreters.partial_eval import dce_jaxpr


def product_flops(f: Callable, *args) -> int:
    """Multiplications and additions of all `dot_general` of f, those in a loop as often as it runs.

    Products that nothing depends on are not counted: no compiler runs them. A chunk that is differentiated has some.

    >>> import jax.numpy as jnp
    >>> product_flops(lambda a, b: jax.lax.fori_loop(0, 10, lambda i, c: c @ b, a), jnp.ones((2, 3)), jnp.ones((3, 3)))
    360
    """
    jaxpr = jax.make_jaxpr(f)(*args).jaxpr
    return _of(dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))[0])


def _of(jaxpr) -> int:
    total = 0
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "dot_general":
            (contracted, _), _ = eqn.params["dimension_numbers"]
            inner = math.prod(eqn.invars[0].aval.shape[axis] for axis in contracted)
            total += 2 * inner * math.prod(eqn.outvars[0].aval.shape)
        else:
            times = eqn.params.get("length", 1) if eqn.primitive.name == "scan" else 1
            total += times * sum(_of(inner) for inner in _inner(eqn.params))
    return total


def _inner(params):
    for value in params.values():
        for x in value if isinstance(value, tuple | list) else (value,):
            x = getattr(x, "jaxpr", x)
            if hasattr(x, "eqns"):
                yield x
