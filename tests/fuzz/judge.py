"""One evaluation of a bound: what the program computes, and the value returned, against the exact result."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dualform.prove import ProofError, rounding_bound
from tests.fuzz.precision import Long, Multiple
from tests.fuzz.programs import Program
from tests.fuzz.reference import Reference

SLACK = 2.0**-9
"""What the fast reference may err, as a share of the bound; below it the slow reference is asked."""


def x64(program: Program):
    return jax.enable_x64(True) if program.x64 else contextlib.nullcontext()


@dataclass
class Finding:
    """A bound that does not hold."""

    program: Program
    inputs: list[np.ndarray]
    variant: str
    computed: float
    exact: float
    bound: float
    element: tuple[int, ...]

    def report(self) -> str:
        """A program that shows it, as source."""
        lines = ["import jax, jax.numpy as jnp, numpy as np", "from jax import lax", self.program.source(), ""]
        for v, x in zip(self.program.inputs, self.inputs, strict=True):
            lines.append(f"{v.name} = jnp.asarray({np.asarray(x, float).tolist()}, D)".replace("inf", "np.inf"))
        lines.append(
            f"# {self.variant}: at {list(self.element)} computed {self.computed!r}, exact {self.exact!r}, "
            f"bound {self.bound!r}"
        )
        return "\n".join(lines)


class Case:
    """A program with its reference, traced once."""

    def __init__(self, program: Program, bounding: Callable = rounding_bound):
        self.program, self.function, self.bounding = program, program.function(), bounding
        self.refusal = ""
        with x64(program):
            shapes = [jax.ShapeDtypeStruct(v.shape, jnp.dtype(v.dtype)) for v in program.inputs]
            self.jaxpr, self.out = jax.make_jaxpr(self.function, return_shape=True)(*shapes)
        self.fast = Reference(self.jaxpr, Multiple if program.x64 else Long)
        self.slow = self.fast if program.x64 else Reference(self.jaxpr, Multiple)

    def bound(self, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray] | None:
        """(value, bound), or None where the engine refuses."""
        try:
            value, bound = self.bounding(self.function, *inputs)
        except ProofError as error:
            self.refusal = str(error)
            return None
        return np.asarray(value), np.asarray(bound)

    def findings(self, inputs, value, bound, runs: dict[str, np.ndarray]) -> list[Finding]:
        """The violations among some runs and the value itself, each confirmed by the slow reference."""
        finite = np.isfinite(bound)
        if not finite.any():
            return []
        answers = {**runs, "value": value}
        exact = self._exact(self.fast, inputs)
        accused = {
            k: y for k, y in answers.items() if violated(y, exact, bound, SLACK if not self.program.x64 else 0).any()
        }
        if not accused:
            return []
        exact = self._exact(self.slow, inputs)
        found = []
        for variant, y in accused.items():
            bad = violated(y, exact, bound, 0.0)
            if bad.any():
                at = worst(y, exact, bound, bad)
                found.append(
                    Finding(self.program, list(inputs), variant, float(y[at]), _float(exact[at]), float(bound[at]), at)
                )
        return found

    def _exact(self, reference: Reference, inputs) -> np.ndarray:
        with x64(self.program):
            return np.asarray(reference(*inputs)[0])


def _float(x: Any) -> float:
    return float(x)


def violated(y: np.ndarray, exact: np.ndarray, bound: np.ndarray, slack: float) -> np.ndarray:
    """Where a finite bound does not hold; `slack` is added to the errors of a reference that itself errs."""
    y = np.asarray(y, float)
    with np.errstate(all="ignore"):
        odd = np.asarray(exact != exact, bool)
        same = (np.isnan(y) & odd) | np.asarray(exact == y, bool)
        size = np.asarray(abs(exact - y) * (1 + slack) > bound, bool)
    return np.isfinite(bound) & ~same & (size | np.isnan(y) | odd)


def worst(y, exact, bound, bad) -> tuple[int, ...]:
    """The element whose error is the largest in units of its bound."""
    error = np.zeros(y.shape)
    for at in zip(*np.nonzero(bad), strict=True) if bad.shape else [()]:
        e = abs(exact[at] - float(y[at]))
        with np.errstate(all="ignore"):
            error[at] = np.inf if e != e else np.divide(float(e), max(float(bound[at]), 1e-300))
    return tuple(int(i) for i in np.unravel_index(int(error.argmax()), error.shape))


def compiled(cases: Sequence[Case]) -> Callable:
    """Some programs in one compilation; each result is still judged alone."""
    functions = [case.function for case in cases]
    run = jax.jit(lambda inputs: [f(*x) for f, x in zip(functions, inputs, strict=True)])
    return lambda inputs: [np.asarray(y).astype(float) for y in run(inputs)]


def vmapped(case: Case, rows: Sequence[Sequence[np.ndarray]]) -> list[np.ndarray]:
    """One program over all its data sets at once."""
    with x64(case.program):
        stacked = [jnp.asarray(np.stack(x)) for x in zip(*rows, strict=True)]
        return list(np.asarray(jax.jit(jax.vmap(case.function))(*stacked)).astype(float))


def stepwise(case: Case, inputs) -> np.ndarray:
    """One operation after the other."""
    with x64(case.program), jax.disable_jit():
        return np.asarray(case.function(*map(jnp.asarray, inputs))).astype(float)
