"""A number that two programs have in common only if they are written alike.

The draws of a proof depend on it beside the seed. A program with the primes of a seed written into it, or one that
vanishes at the points of a seed, is another program and gets other primes and points. So the failure probability does
not rest on nobody's knowing the seed when the programs were written.
"""

import hashlib
from collections.abc import Sequence
from enum import Enum
from typing import Any

import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from dualform.prove.programs import Input, Program


def fingerprint(programs: Sequence[Program], leaves: Sequence[Input]) -> int:
    """256 bits of everything that decides what is compared: constants, primitives, their parameters, wiring, resets.

    The same in every process. What has no value of its own, such as a function among the parameters, is left out.
    """
    known: dict[int, str] = {}
    inputs = [(x.domain, _plain(x.mask, known)) for x in leaves]
    return int(_digest([inputs, *(_closed(x.jaxpr, known) for x in programs)]), 16)


def _digest(parts: Any) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _closed(x: ClosedJaxpr, known: dict[int, str]) -> str:
    return _digest([_plain(c, known) for c in x.consts] + [_open(x.jaxpr, known)])


def _open(jaxpr: Jaxpr, known: dict[int, str]) -> str:
    """Variables are numbered as they occur; a program that is called often is read once."""
    if id(jaxpr) in known:
        return known[id(jaxpr)]
    numbers: dict[Any, int] = {}

    def atom(x):
        if isinstance(x, Literal):
            return _plain(x.val, known)
        if x in numbers:
            return numbers[x]
        numbers[x] = len(numbers)
        return getattr(x.aval, "shape", None)  # its dtype follows from the primitive and its parameters

    parts: list = [[atom(x) for x in (*jaxpr.constvars, *jaxpr.invars)]]
    for eqn in jaxpr.eqns:
        params = [(name, _plain(eqn.params[name], known)) for name in sorted(eqn.params)]
        parts.append([eqn.primitive.name, params, [atom(x) for x in eqn.invars], [atom(x) for x in eqn.outvars]])
    parts.append([atom(x) for x in jaxpr.outvars])
    known[id(jaxpr)] = _digest(parts)
    return known[id(jaxpr)]


def _plain(x: Any, known: dict[int, str]) -> Any:
    """A parameter or constant as text and numbers that are the same in every process."""
    if x is None or isinstance(x, bool | int | float | complex | str | bytes | np.dtype):
        return repr(x)
    if isinstance(x, ClosedJaxpr):
        return _closed(x, known)
    if isinstance(x, Jaxpr):
        return _open(x, known)
    if isinstance(x, Enum):
        return x.name
    if isinstance(x, tuple | list):
        return [_plain(y, known) for y in x]
    if isinstance(x, dict):
        return [(repr(name), _plain(y, known)) for name, y in x.items()]
    if hasattr(x, "shape") and hasattr(x, "dtype"):
        try:
            values = np.asarray(x)
        except (TypeError, ValueError):  # keys of random generators are no arrays of numbers
            return str(x)
        return str(values.dtype), values.shape, hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()
    text = "" if callable(x) else repr(x)
    return type(x).__name__ if " at 0x" in text else text  # an address is another one in every process
