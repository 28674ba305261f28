"""What differs between releases of JAX, in one place; everything else is written for all of them alike.

| since | what changed |
|---|---|
| 0.11.0 | `scan` tells its constants and carries apart by the trees `ft_in` and `ft_out`, no longer by two numbers |
| 0.11.0 | a closed jaxpr is a `Jaxpr` that has its constants with it, and no type of its own |
| 0.11.1 | determinants of 2 x 2 and 3 x 3 matrices eliminate with pivots; their gradients ask `jnp.isinf` |
| 0.11.2 | the primitives `one_minus_square` (derivative of `tanh`) and `log2` |
| 0.12.0 | the primitive `polynomial` (`jnp.polyval`) |
| 0.12.0 | `jnp.searchsorted` and others are one `call_hi_primitive`, which knows its own program |
| 0.12.0 | a 64-bit type of an abstract array warns where JAX has 32 bits |

A new primitive gets its meaning as a program of older ones: `EXACT` is what it means, `COMPUTED` the order of
operations in which JAX compiles it.
"""

import os
import re
from collections.abc import Callable, Mapping
from functools import partial
from itertools import permutations
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import jaxpr_as_fun

NEWEST = "0.12.0.1"
"""The newest release of JAX that dualform was tried with."""

VERSION = jax.__version__
FOLDER = os.path.join(jax.__path__[0], "")


def newer() -> bool:
    """Whether the installed release is newer than any that was tried."""

    def numbers(text: str) -> list[int]:
        return [int(n) for n in re.findall(r"\d+", re.split(r"[a-z+]", text)[0])]

    return numbers(VERSION) > numbers(NEWEST)


def scan_counts(params: Mapping[str, Any]) -> tuple[int, int]:
    """How many of a scan's operands are constants, and how many are carried."""
    if "ft_in" not in params:  # before 0.11.0
        return params["num_consts"], params["num_carry"]
    consts, carry, _ = params["ft_in"].unpack()
    return len(consts), len(carry)


def opened(program) -> tuple[Any, Any]:
    """A program that an equation carries, and its constants."""
    return getattr(program, "jaxpr", program), getattr(program, "consts", None) or ()


def canonical(dtype) -> np.dtype:
    """The type that JAX gives to arrays of this one, by its present setting of 32 or 64 bits."""
    return np.dtype(jax.dtypes.canonicalize_dtype(dtype))


def expansion(eqn) -> Callable:
    """The program of a `call_hi_primitive`, on its operands in order."""
    called = eqn.params["_prim"]
    return lambda *xs: jax.tree.leaves(called.expand(*jax.tree.unflatten(called.in_tree, xs)))


# functions of JAX that compare data, although what they compute has a meaning without -------------------------------


def meaning(eqn) -> Callable | None:
    """What a function of JAX itself computes, where its program asks questions that exact arithmetic cannot answer.

    Such functions are known by name and file. None for any other call.
    """
    program = eqn.params.get("call_jaxpr", eqn.params.get("jaxpr"))
    info = getattr(opened(program)[0], "debug_info", None)
    name, file = getattr(info, "func_name", None), getattr(info, "func_filename", None) or ""
    if name not in MEANINGS or not file.startswith(FOLDER) or len(eqn.invars) != 1 or len(eqn.outvars) != 1:
        return None
    return MEANINGS[name](eqn, program)


def infinite(eqn, program) -> Callable | None:
    """`jnp.isinf`: the program compares an absolute value."""
    if not jnp.issubdtype(eqn.invars[0].aval.dtype, jnp.floating):
        return None
    return lambda x: (x == jnp.inf) | (x == -jnp.inf)


def determinant(size: int, eqn, program) -> Callable | None:
    """The polynomial that a small determinant is, whatever pivots its program chooses.

    Vectorised, the matrices may lie along any two axes and the results in any order: the program shows which, at one
    point.
    """
    given, result = eqn.invars[0].aval, eqn.outvars[0].aval
    point = np.random.default_rng(0).integers(-9, 10, given.shape).astype(np.float64)
    value = np.asarray(jaxpr_as_fun(program)(jnp.asarray(point, given.dtype))[0], np.float64)
    for axes in permutations(range(len(given.shape))):
        i, j = axes[-2:]
        if i > j or given.shape[i] != size or given.shape[j] != size:
            continue
        found = by_cofactors(np.transpose(point, axes))
        if found.shape == result.shape and np.all(np.abs(found - value) <= 0.02 * np.max(np.abs(value), initial=0)):
            return lambda x, axes=axes: by_cofactors(jnp.transpose(x, axes))
    return None


MEANINGS: dict[str, Callable] = {
    "isinf": infinite,
    "_det_2x2": partial(determinant, 2),
    "_det_3x3": partial(determinant, 3),
}


def by_cofactors(a):
    """The determinants of matrices [..., n, n], along the first row."""
    if a.shape[-1] == 1:
        return a[..., 0, 0]
    total = 0
    for j in range(a.shape[-1]):
        minor = [k for k in range(a.shape[-1]) if k != j]
        term = a[..., 0, j] * by_cofactors(a[..., 1:, np.array(minor)])
        total = total + term if j % 2 == 0 else total - term
    return total


# new primitives -------------------------------------------------------------------------------------------------------


def horner(x, *coefficients, unroll=None):
    """`polynomial`: c_0 + x (c_1 + x (...)), the same however much of it is unrolled."""
    total = coefficients[-1]
    for c in reversed(coefficients[:-1]):
        total = total * x + c
    return total


def log2(x, accuracy=None):
    return lax.log(x) * (1 / lax.log(jnp.asarray(2, x.dtype)))


EXACT: dict[str, Callable] = {"one_minus_square": lambda x: 1 - x * x, "log2": log2, "polynomial": horner}
"""A square root squared is known to be what it is the root of, hence not (1 + x)(1 - x)."""

COMPUTED: dict[str, Callable] = {"one_minus_square": lambda x: (1 + x) * (1 - x), "log2": log2, "polynomial": horner}
