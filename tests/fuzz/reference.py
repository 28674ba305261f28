"""Evaluates a jaxpr in far more precision than the program has: the exact results that bounds are held against.

Written apart from the engine: it shares no code with it, and takes its values from `numbers`. Floats are numbers of
that arithmetic, integers and booleans are numpy arrays of their own dtype. A conversion between floats rounds nothing
here; one to an integer truncates and saturates, as XLA's does. Elements that move by an index are moved by JAX itself.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Literal

from tests.fuzz.primitives import RULES, is_float


class Unknown(Exception):
    """A primitive that the reference does not evaluate."""


PROGRAMS = ("jaxpr", "call_jaxpr", "fun_jaxpr")


CALLS = {
    "jit", "pjit", "closed_call", "core_call", "remat", "remat2", "checkpoint", "custom_jvp_call", "custom_vjp_call",
    "custom_vjp_call_jaxpr",
}  # fmt: skip


PASS = {"optimization_barrier", "copy", "copy_p", "stop_gradient", "device_put", "reduce_precision", "name"}


class Reference:
    """One program in one arithmetic; index maps are computed once for each equation."""

    def __init__(self, closed: ClosedJaxpr, numbers):
        self.closed, self.numbers = closed, numbers
        self.maps: dict[tuple, np.ndarray] = {}

    def __call__(self, *inputs) -> list[np.ndarray]:
        with np.errstate(all="ignore"):
            return self.run(
                self.closed,
                [self.enter(x, v.aval.dtype) for x, v in zip(inputs, self.closed.jaxpr.invars, strict=True)],
            )

    def enter(self, x, dtype) -> np.ndarray:
        """A constant or an input, in the dtype that the program gives it."""
        if not is_float(dtype):
            return np.asarray(x).astype(dtype)
        with np.errstate(all="ignore"):
            return self.numbers.array(np.asarray(x).astype(dtype))

    def run(self, program, inputs: Sequence) -> list:
        jaxpr, consts = (program.jaxpr, program.consts) if isinstance(program, ClosedJaxpr) else (program, ())
        env = dict(zip(jaxpr.invars, map(np.asarray, inputs), strict=True))
        env.update((v, self.enter(c, v.aval.dtype)) for v, c in zip(jaxpr.constvars, consts, strict=True))

        def read(atom):
            return self.enter(atom.val, atom.aval.dtype) if isinstance(atom, Literal) else env[atom]

        for eqn in jaxpr.eqns:
            results = self.equation(eqn, [read(x) for x in eqn.invars])
            env.update((v, self.leave(x, v.aval)) for v, x in zip(eqn.outvars, results, strict=True))
        return [read(x) for x in jaxpr.outvars]

    def leave(self, x, aval):
        x = np.asarray(x) if is_float(aval.dtype) else np.asarray(x).astype(aval.dtype)
        assert x.shape == tuple(aval.shape), (x.shape, aval)
        return x

    def equation(self, eqn, operands: list) -> list:
        name = eqn.primitive.name
        if name in CALLS:
            return self.run(next(eqn.params[k] for k in PROGRAMS if k in eqn.params), operands)
        if name in PASS:
            return operands
        if name in CONTROL:
            return CONTROL[name](self, eqn, operands)
        if name in self.numbers.functions and is_float(eqn.outvars[0].aval.dtype):
            return [np.asarray(self.numbers.functions[name](operands[0]))]
        if name not in RULES:
            raise Unknown(name)
        results = RULES[name](self, eqn, *operands)
        return results if isinstance(results, list) else [results]

    def moved(self, eqn, data: np.ndarray, *indices) -> np.ndarray:
        """The flat index in `data` of every element of the result, found by JAX: -1 where it fills in."""
        key = (id(eqn), *(np.asarray(i).tobytes() for i in indices))
        if key not in self.maps:
            numbers = jnp.arange(1, data.size + 1, dtype=jnp.int32).reshape(data.shape)
            params = {**eqn.params, "fill_value": 0} if "fill_value" in eqn.params else eqn.params
            self.maps[key] = np.asarray(eqn.primitive.bind(numbers, *map(jnp.asarray, indices), **params)) - 1
        return self.maps[key]


def _scan(self, eqn, operands) -> list:
    p = eqn.params
    body = p["jaxpr"]
    n, c = scan_counts(p)
    consts, carry, xs = operands[:n], operands[n : n + c], operands[n + c :]
    outputs: list = []
    for i in reversed(range(p["length"])) if p["reverse"] else range(p["length"]):
        out = self.run(body, [*consts, *carry, *(x[i] for x in xs)])
        carry = out[:c]
        outputs.append(out[c:])
    if p["reverse"]:
        outputs.reverse()
    stacked = [
        np.stack([np.asarray(o[j]) for o in outputs]) if outputs else np.zeros(v.aval.shape)
        for j, v in enumerate(eqn.outvars[c:])
    ]
    return [*carry, *stacked]


def scan_counts(p) -> tuple[int, int]:
    """Constants and carries of a scan: newer releases of JAX keep them in a tree."""
    if "num_consts" in p:
        return p["num_consts"], p["num_carry"]
    consts, carry, _ = p["ft_in"].unpack()
    return len(consts), len(carry)


def _while(self, eqn, operands) -> list:
    p = eqn.params
    a, b = p["cond_nconsts"], p["body_nconsts"]
    test, body, state = operands[:a], operands[a : a + b], operands[a + b :]
    while bool(self.run(p["cond_jaxpr"], [*test, *state])[0]):
        state = self.run(p["body_jaxpr"], [*body, *state])
    return state


def _cond(self, eqn, operands) -> list:
    which, *rest = operands
    branches = eqn.params["branches"]
    return self.run(branches[int(np.clip(int(which), 0, len(branches) - 1))], rest)


def _linear_solve(self, eqn, operands) -> list:
    lengths, programs = eqn.params["const_lengths"], eqn.params["jaxprs"]
    skip = lengths.matvec + lengths.vecmat
    b = operands[skip + lengths.solve + lengths.transpose_solve :]
    return self.run(programs.solve, [*operands[skip : skip + lengths.solve], *b])


CONTROL = {"scan": _scan, "while": _while, "cond": _cond, "custom_linear_solve": _linear_solve}
