"""Evaluates a jaxpr in another arithmetic.

A program's values are either *concrete* (numpy arrays: masks, indices, counters, exact constants) or values of the
chosen arithmetic. Control flow and the movement of elements are the same in every arithmetic and live here and in
`structure`; an arithmetic supplies only what its numbers mean:

    class Arithmetic:
        name: str                                  # used in messages
        folds: bool                                # may floats stay concrete while exact?
        rules: dict[str, Callable]                 # primitive name -> rule(eqn, *operands) -> list of results
        def lift(self, x: np.ndarray, dtype)       # a constant (float64 array) as a value
        def gather(self, operands, index)          # element index[j] of the operands laid end to end

and values with a `shape`. A rule sees operands as they are, concrete or not, and lifts what it needs. An arithmetic may
have a `marks`, too: what values depend on beside the inputs, which is handed on here (`dualform.prove.marks`).
"""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from typing import Any, Protocol

import numpy as np
from jax.extend.core import ClosedJaxpr, Literal

from dualform import _jax
from dualform.prove import concrete, lowered, parameters, structure
from dualform.prove.errors import ProofError, placed, unsupported
from dualform.prove.marks import Marks, Pivots
from dualform.prove.runtime import Runtime
from dualform.prove.signs import Signs

CALLS = ("jaxpr", "call_jaxpr", "fun_jaxpr")
"""Parameters under which primitives that call a program keep it."""

CALLERS = {
    "jit", "pjit", "closed_call", "core_call", "remat", "remat2", "checkpoint", "custom_jvp_call", "custom_vjp_call",
    "custom_vjp_call_jaxpr", "custom_lin",
}  # fmt: skip


class Arithmetic(Protocol):
    """What the interpreter asks of a number system."""

    name: str
    folds: bool

    @property
    def rules(self) -> Mapping[str, Callable]: ...

    def lift(self, x: np.ndarray, dtype) -> Any: ...

    def gather(self, operands: Sequence, index: np.ndarray) -> Any: ...

    def store(self, value) -> Any:
        """A value that a loop carries, writes or reads from outside: it is computed once, whoever reads it."""
        return value


class Interpreter:
    """Runs jaxprs in one arithmetic. Index maps that depend on shapes only are computed once an equation.

    Interpreters of one program may share them: they are the same in every arithmetic.
    """

    def __init__(self, arithmetic: Arithmetic, maps: dict[int, tuple] | None = None):
        self.arithmetic = arithmetic
        self._maps: dict[int, tuple] = {} if maps is None else maps
        self.marks: Marks | None = getattr(arithmetic, "marks", None)
        self.runtime: Runtime | None = getattr(arithmetic, "runtime", None)
        self.signs: Signs | None = getattr(arithmetic, "signs", None)
        self.within: list = getattr(arithmetic, "within", [])  # the equations whose programs are being run

    def run(self, closed: ClosedJaxpr, arguments: Sequence) -> list:
        """The program's results on values of the arithmetic (or concrete arrays)."""
        return self.evaluate(closed.jaxpr, closed.consts, arguments)

    def evaluate(self, jaxpr, consts, arguments) -> list:
        env: dict = {}

        def read(atom):
            return (
                self._constant(atom.val, getattr(atom.aval, "dtype", None)) if isinstance(atom, Literal) else env[atom]
            )

        for var, value in zip(jaxpr.constvars, consts, strict=True):
            env[var] = self._constant(value, var.aval.dtype)
        env.update(zip(jaxpr.invars, arguments, strict=True))
        for eqn in self._live(jaxpr):
            try:
                results = self.equation(eqn, [read(x) for x in eqn.invars])
            except ProofError as error:
                raise placed(error, eqn) from None
            except KeyError as error:
                raise parameters.missing(eqn, error.args[0]) from error
            env.update(zip(eqn.outvars, results, strict=True))
        return [read(x) for x in jaxpr.outvars]

    def _live(self, jaxpr) -> list:
        if id(jaxpr) not in self._maps:
            self._maps[id(jaxpr)] = (jaxpr, live(jaxpr))
        return self._maps[id(jaxpr)][1]

    def equation(self, eqn, operands: list) -> list:
        name = eqn.primitive.name
        rules = self.arithmetic.rules
        parameters.check(eqn, interpreted=name in rules)
        if name in CONTROL and name not in rules:
            return self._inside(eqn, lambda: CONTROL[name](self, eqn, operands))
        if name in CALLERS:
            return self._inside(eqn, lambda: self._call(self._written(eqn) or _program(eqn), operands))
        if name in structure.RULES and self._moves(name, operands):
            return self._move(eqn, operands)
        if all(isinstance(x, np.ndarray) for x in operands) and (
            self.arithmetic.folds or not any(concrete.is_float(x) for x in operands)
        ):
            results = concrete.evaluate(eqn, operands)
            if results is not None:
                own = [self._own(x, v.aval.dtype) for x, v in zip(results, eqn.outvars, strict=True)]
                return self._marked(own, operands)
        if name not in rules:
            if (program := self._written(eqn)) is not None:
                return self._inside(eqn, lambda: self._call(program, operands))
            raise unsupported(eqn, self.arithmetic.name)
        # numpy makes numbers of arrays of shape ()
        results = [np.asarray(x) if isinstance(x, np.generic) else x for x in rules[name](eqn, *operands)]
        if self.signs is not None:
            self.signs.after(name, operands, results)
        return self._marked(results, operands)

    def _marked(self, results: list, operands: Sequence) -> list:
        """The results, with the marks of all operands; they come from data if an operand does."""
        if self.marks:
            self.marks.add(results, self.marks.of(*operands))
        if self.runtime is not None and any(map(self.runtime.depends, operands)):
            self.runtime.note(results)
        return results

    def _inside(self, eqn, run: Callable[[], list]) -> list:
        """The results of an equation that runs programs of its own."""
        self.within.append(eqn)
        try:
            return run()
        finally:
            self.within.pop()

    def _constant(self, value, dtype):
        return self._own(concrete.carry(value, dtype), dtype)

    def _own(self, x, dtype):
        return x if self.arithmetic.folds or not concrete.is_float(x) else self.arithmetic.lift(x, dtype)

    def _call(self, program, operands) -> list:
        return self.evaluate(*_jax.opened(program), operands)

    def _written(self, eqn) -> ClosedJaxpr | None:
        """A primitive as a program of simpler ones, if it is one, traced once."""
        if id(eqn) not in self._maps:
            self._maps[id(eqn)] = (eqn, lowered.program(eqn, self.arithmetic.folds))
        return self._maps[id(eqn)][1]

    def _moves(self, name, operands) -> bool:
        """Whether the operands that are not data are concrete."""
        data = structure.data_operands(name, len(operands))
        return all(isinstance(x, np.ndarray) for i, x in enumerate(operands) if i not in data)

    def _move(self, eqn, operands) -> list:
        name = eqn.primitive.name
        positions = structure.data_operands(name, len(operands))
        if len(positions) == len(operands):
            if id(eqn) not in self._maps:
                self._maps[id(eqn)] = (eqn, structure.index_maps(eqn, operands))
            maps = self._maps[id(eqn)][1]
        else:
            maps = structure.index_maps(eqn, operands)
        data = [operands[i] for i in positions]
        if any((m == structure.FILLED).any() for m in maps):
            data.append(self._fill(eqn))
            maps = [np.where(m == structure.FILLED, sum(int(np.prod(x.shape)) for x in data) - 1, m) for m in maps]
        moved = [self.take(data, m, v.aval.dtype) for m, v in zip(maps, eqn.outvars, strict=True)]
        return self._marked(moved, [x for i, x in enumerate(operands) if i not in positions])

    def _fill(self, eqn) -> np.ndarray:
        """What JAX puts where an index is out of bounds."""
        fill, dtype = eqn.params.get("fill_value"), np.dtype(eqn.outvars[0].aval.dtype)
        if fill is None and dtype.kind in "iub":
            raise unsupported(eqn, self.arithmetic.name, "an index into integers is out of bounds")
        return concrete.carry(np.nan if fill is None else fill, dtype)

    def take(self, data: Sequence, index: np.ndarray, dtype):
        """Moves elements: concrete where all operands are, else in the arithmetic."""
        if all(isinstance(x, np.ndarray) for x in data):
            flat = np.concatenate([x.ravel() for x in data]) if len(data) > 1 else data[0].ravel()
            result = np.array(flat[index])  # a copy, since marks go by identity
        else:
            lifted = [self.arithmetic.lift(x, dtype) if isinstance(x, np.ndarray) else x for x in data]
            result = self.arithmetic.gather(lifted, index)
            if self.signs is not None and all(map(self.signs.positive, data)):
                self.signs.note([result])
        return self._marked([result], self._moved(data, index) if self.marks or self.runtime is not None else ())[0]

    def _moved(self, data: Sequence, index: np.ndarray) -> list:
        """The operands of which an element is moved."""
        ends = np.cumsum([int(np.prod(x.shape)) for x in data])
        met = np.unique(np.searchsorted(ends, index.ravel(), side="right"))
        return [data[i] for i in met]

    def item(self, x, i: int, dtype):
        """x[i]."""
        if isinstance(x, np.ndarray):
            return self._marked([np.array(x[i])], [x])[0]
        inner = tuple(x.shape[1:])
        size = int(np.prod(inner))
        return self.take([x], np.arange(i * size, (i + 1) * size).reshape(inner), dtype)

    def stored(self, x):
        """A value in a loop's memory."""
        return x if isinstance(x, np.ndarray) else self.arithmetic.store(x)

    def stack(self, items: list, aval):
        """Results of a loop, stacked along a new first axis."""
        if not items:
            return self._own(np.zeros(aval.shape, _carried(aval.dtype)), aval.dtype)
        return self.take(items, np.arange(int(np.prod(aval.shape))).reshape(aval.shape), aval.dtype)


def live(jaxpr) -> list:
    """The equations that a result or an effect depends on, as a compiler keeps them."""
    used, kept = {x for x in jaxpr.outvars if not isinstance(x, Literal)}, []
    for eqn in reversed(jaxpr.eqns):
        if eqn.effects or used.intersection(eqn.outvars):
            used.update(x for x in eqn.invars if not isinstance(x, Literal))
            kept.append(eqn)
    return kept[::-1]


def _carried(dtype):
    return np.float64 if np.dtype(dtype).kind not in "iub" else dtype


def _program(eqn):
    for key in CALLS:
        if key in eqn.params:
            return eqn.params[key]
    raise unsupported(eqn, "any", "it carries no program that the interpreter knows")


def _scan(self: Interpreter, eqn, operands) -> list:
    p = eqn.params
    n, c = _jax.scan_counts(p)
    consts, carry, xs = operands[:n], operands[n : n + c], operands[n + c :]
    body = p["jaxpr"]
    steps: list[list] = []
    step = 0
    dtypes = [v.aval.dtype for v in body.jaxpr.invars[n + c :]]
    trips, unroll = p["length"] // p["unroll"], p["unroll"]
    looped = trips > 1  # a loop of one trip is none: the compiler writes it out
    if looped:
        consts, carry, xs = ([self.stored(x) for x in part] for part in (consts, carry, xs))
    for i in reversed(range(p["length"])) if p["reverse"] else range(p["length"]):
        items = [self.item(x, i, d) for x, d in zip(xs, dtypes, strict=True)]
        out = self._call(body, [*consts, *carry, *items])
        carry = out[:c]
        step += 1
        if looped and step <= trips * unroll:
            out[c:] = [self.stored(x) for x in out[c:]]
            carry = [self.stored(x) for x in carry] if step % unroll == 0 else carry
        steps.append(out[c:])
    if p["reverse"]:
        steps.reverse()
    avals = [v.aval for v in eqn.outvars[c:]]
    return [*carry, *(self.stack([s[j] for s in steps], aval) for j, aval in enumerate(avals))]


def _while(self: Interpreter, eqn, operands) -> list:
    p = eqn.params
    a, b = p["cond_nconsts"], p["body_nconsts"]
    test, body, state = operands[:a], operands[a : a + b], operands[a + b :]
    tests: list = []
    trips = 0
    while True:
        (go,) = self._call(p["cond_jaxpr"], [*test, *state])
        if not isinstance(go, np.ndarray):
            raise unsupported(eqn, self.arithmetic.name, "its condition depends on the data")
        tests += [go] if self.marks else []
        if trips > 1 or (trips and bool(go)):  # a loop of one trip is none: the compiler writes it out
            state = [self.stored(x) for x in state]
        if not bool(go):
            return self._marked(list(state), tests)
        trips += 1
        state = self._call(p["body_jaxpr"], [*body, *state])


def _cond(self: Interpreter, eqn, operands) -> list:
    which, *rest = operands
    if not isinstance(which, np.ndarray):
        raise unsupported(eqn, self.arithmetic.name, "its predicate depends on the data")
    branches = eqn.params["branches"]
    return self._marked(self._call(branches[int(np.clip(int(which), 0, len(branches) - 1))], rest), [which])


def _linear_solve(self: Interpreter, eqn, operands) -> list:
    """`jnp.linalg.solve` and its kin: the program that solves, on its own constants and the right-hand side.

    Its result rests on no choice of pivots if it is the one solution of the system that the equation itself states.
    """
    lengths, programs = eqn.params["const_lengths"], eqn.params["jaxprs"]
    skip = lengths.matvec + lengths.vecmat
    matrix, consts = operands[: lengths.matvec], operands[skip : skip + lengths.solve]
    b = operands[skip + lengths.solve + lengths.transpose_solve :]
    x = self._call(programs.solve, [*consts, *b])
    if not self.marks:
        return x
    stated = self.marks.of(*matrix, *b)
    chosen = {mark for mark in self.marks.of(*x) if isinstance(mark, Pivots)} - stated
    if chosen:
        self.arithmetic.check_solution(  # type: ignore[attr-defined]  # an arithmetic that marks pivots has it
            eqn, lambda v: self._call(programs.matvec, [*matrix, *v]),
            lambda v: self._call(programs.solve, [*consts, *v]), b, x,
        )  # fmt: skip
        kept = self.marks.of(*x) - chosen
        x = [copy(v) for v in x]
        self.marks.replace(x, kept | stated)
    return x


def _sort(self: Interpreter, eqn, operands) -> list:
    """Data may be moved in the order of constants."""
    keys = operands[: eqn.params["num_keys"]]
    if not all(isinstance(x, np.ndarray) for x in keys):
        raise unsupported(eqn, self.arithmetic.name, "it puts data in order")
    numbers = np.arange(keys[0].size).reshape(keys[0].shape)
    index = np.take_along_axis(numbers, concrete.order(eqn, keys), eqn.params["dimension"])
    return self._marked([self.take([x], index, v.aval.dtype) for x, v in zip(operands, eqn.outvars, strict=True)], keys)


def _pass(self: Interpreter, eqn, operands) -> list:
    """Barriers, placements and names: every result is its operand. Debugging primitives have no result."""
    return operands[: len(eqn.outvars)]


CONTROL: dict[str, Callable] = {
    **{name: _pass for name in ("optimization_barrier", "device_put", "sharding_constraint", "reshard", "name")},
    **{name: _pass for name in ("debug_print", "debug_callback")},
    "sort": _sort,
    "scan": _scan,
    "while": _while,
    "cond": _cond,
    "custom_linear_solve": _linear_solve,
}
