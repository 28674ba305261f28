"""Which forms of a law are one program, once calls are written out and what no result needs is dropped."""

from collections.abc import Callable, Iterator

import jax
from jax.extend import core

from dualform.laws import Case
from dualform.prove.programs import Signature

CALLS = ("jit", "pjit", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call", "remat2", "checkpoint")


def text(form: Callable, inputs: tuple) -> str:
    """A program as text, in which variables have the numbers of their first use from the end."""
    signature = Signature.of(inputs)
    shapes = [jax.ShapeDtypeStruct(x.shape, jax.numpy.result_type(float)) for x in signature.leaves]
    closed = jax.make_jaxpr(form)(*jax.tree.unflatten(signature.tree, shapes))
    equations, outputs, inputs_ = written_out(closed)
    names = {v: f"in{i}" for i, v in enumerate(inputs_)}
    lines: list[str] = []
    made = {v: e for e in equations for v in e[2]}

    def name(x) -> str:
        if isinstance(x, core.Literal):
            return f"{x.val!r}:{x.aval}"
        if x not in names:
            if x not in made:
                return f"const:{x}"
            primitive, operands, results, params = made[x]
            read = [name(y) for y in operands]
            for y in results:
                names[y] = f"v{len(names)}"
            lines.append(f"{', '.join(names[y] for y in results)} = {primitive}[{params}] {' '.join(read)}")
        return names[x]

    results = " ".join(name(x) for x in outputs)
    return "\n".join([*lines, results])


def written_out(closed) -> tuple[list, list, list]:
    """(equations, results, arguments) of a traced program without calls: (primitive, operands, results, parameters)."""
    equations: list = []

    def walk(jaxpr, consts, arguments) -> list:
        known = dict(zip(jaxpr.constvars, consts, strict=True)) | dict(zip(jaxpr.invars, arguments, strict=True))

        def of(x):
            return x if isinstance(x, core.Literal) else known.get(x, x)

        for e in jaxpr.eqns:
            inner = e.params.get("jaxpr", e.params.get("call_jaxpr"))
            operands = [of(x) for x in e.invars]
            if e.primitive.name in CALLS and inner is not None:
                inner = inner if hasattr(inner, "consts") else core.ClosedJaxpr(inner, ())
                results = walk(inner.jaxpr, [Constant(c) for c in inner.consts], operands)
                known.update(zip(e.outvars, results, strict=True))
            else:
                fresh = [Value() for _ in e.outvars]
                equations.append((e.primitive.name, operands, fresh, str(e.params)))
                known.update(zip(e.outvars, fresh, strict=True))
        return [of(x) for x in jaxpr.outvars]

    consts = [Constant(c) for c in closed.consts]
    return equations, walk(closed.jaxpr, consts, closed.jaxpr.invars), closed.jaxpr.invars


class Value:
    """A result of an equation."""


class Constant(Value):
    """An array that is built into a program."""

    def __init__(self, array):
        self.array = array

    def __str__(self):
        return str(jax.numpy.asarray(self.array).tolist())


def same(case: Case) -> Iterator[tuple[str, str]]:
    """Pairs of forms of a case that are one program, each with the definition, which is the first."""
    definition, *others = case.forms
    first = text(case.forms[definition], case.inputs)
    for other in others:
        if text(case.forms[other], case.inputs) == first:
            yield definition, other
