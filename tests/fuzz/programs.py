"""Random programs as data: inputs, statements, a result. They are written out as Python, and shrink.

A statement is a piece of source with holes: `{0}`, `{1}`, ... for its operands and, where it takes several lines,
`{out}` for its result. `D` is the dtype of the program, so that one source serves every dtype.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

NAMES = {"jax": jax, "jnp": jnp, "lax": lax, "np": np}


@dataclass(frozen=True)
class Value:
    """A variable of a program."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))


@dataclass(frozen=True)
class Statement:
    """One line, or a few, that make one value of others."""

    kind: str
    text: str
    operands: tuple[Value, ...]
    out: Value

    def source(self) -> str:
        text = self.text.format(*(x.name for x in self.operands), out=self.out.name)
        return text if "{out}" in self.text else f"{self.out.name} = {text}"


@dataclass(frozen=True)
class Program:
    """Inputs, statements in order, and the value that is returned.

    `wrap` is None, or "grad": the gradient of the result's weighted sum by the first input.
    """

    inputs: tuple[Value, ...]
    statements: tuple[Statement, ...]
    result: Value
    dtype: str
    wrap: str | None = None

    @property
    def x64(self) -> bool:
        return self.dtype == "float64"

    @property
    def kinds(self) -> frozenset[str]:
        return frozenset(s.kind for s in self.statements) | ({self.wrap} if self.wrap else set())

    def source(self) -> str:
        """The program as a function `f`."""
        names = ", ".join(x.name for x in self.inputs)
        body = [line for s in self.statements for line in s.source().split("\n")] + [f"return {self.result.name}"]
        lines = [f"D = jnp.{self.dtype}", ""]
        if self.wrap is None:
            lines += [f"def f({names}):", *("    " + line for line in body)]
        else:
            lines += [f"def inner({names}):", *("    " + line for line in body), ""]
            lines += [f"def f({names}):", f"    y, back = jax.vjp(inner, {names})"]
            lines += ["    return back(jnp.asarray(np.linspace(-1, 1, y.size).reshape(y.shape), y.dtype))[0]"]
        return "\n".join(lines)

    def function(self) -> Callable:
        """The program compiled from its source."""
        names = dict(NAMES)
        exec(compile(self.source(), "<fuzz>", "exec"), names)
        return names["f"]

    def pruned(self) -> "Program":
        """Without the statements that nothing reads."""
        needed, kept = {self.result.name}, []
        for s in reversed(self.statements):
            if s.out.name in needed:
                kept.append(s)
                needed |= {x.name for x in s.operands}
        return replace(self, statements=tuple(reversed(kept)))

    def smaller(self) -> Iterator["Program"]:
        """Programs with one thing less: an earlier result, a statement passed over, an operand exchanged."""
        if self.wrap is not None:
            yield replace(self, wrap=None)
        for s in self.statements[:-1]:
            yield replace(self, result=s.out).pruned()
        for i in reversed(range(len(self.statements))):
            s = self.statements[i]
            earlier = [*self.inputs, *(t.out for t in self.statements[:i])]
            for x in earlier:
                if x.shape == s.out.shape and x.dtype == s.out.dtype:
                    yield self._without(i, x).pruned()

    def _without(self, i: int, x: Value) -> "Program":
        """Every reader of statement i reads x instead."""
        name = self.statements[i].out.name
        rest = [
            replace(t, operands=tuple(x if v.name == name else v for v in t.operands))
            for j, t in enumerate(self.statements)
            if j != i
        ]
        return replace(self, statements=tuple(rest), result=x if self.result.name == name else self.result)
