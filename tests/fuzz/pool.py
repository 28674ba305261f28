"""The values and constants at hand while a random program grows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from tests.fuzz.programs import Statement, Value

LARGEST = 24
"""Elements of a value; of programs with large inputs, those of the input."""


CONSTANTS = ["2.0", "0.5", "0.25", "8.0", "-1.0", "1.0", "0.0", "-2.0", "0.3", "-0.7", "0.1", "1/3", "12**0.5", "1e3"]


EXTREME = {
    "float32": ["1e20", "1e-20", "1e30", "-1e30", "1e-30", "1e-38", "1e-40", "1e-45", "3e-39", "1e38"],
    "bfloat16": ["1e20", "1e-20", "1e30", "-1e30", "1e-30", "1e-38", "1e-39", "1e38"],
    "float16": ["300.", "6e4", "1e-5", "1e-7", "6e-8", "-3e4", "1e-4", "1e3"],
    "float64": ["1e200", "1e-200", "1e-310", "5e-324", "1e300", "1e20", "1e-30"],
}


MASKS = {"float16": ["-jnp.inf", "-6e4", "jnp.finfo(D).min"]}


@dataclass
class Pool:
    """The values at hand; readers prefer recent ones, but come back to old ones often (fan-out)."""

    rng: np.random.Generator
    dtype: str
    values: list[Value] = field(default_factory=list)
    count: int = 0
    extreme: float = 0.15
    largest: int = LARGEST

    def name(self) -> str:
        self.count += 1
        return f"v{self.count}"

    def any(self, test: Callable[[Value], bool] = lambda x: True) -> Value | None:
        fit = [x for x in self.values if test(x)]
        if not fit:
            return None
        weights = np.array([1.0 + 1.5 * i / len(fit) for i in range(len(fit))])
        return fit[self.rng.choice(len(fit), p=weights / weights.sum())]

    def like(self, x: Value) -> Value:
        """Another value of the same shape, or the same one."""
        return self.any(lambda y: y.shape == x.shape and y.dtype == x.dtype) or x

    def constant(self, dtype: str) -> str:
        extreme = self.rng.random() < self.extreme
        return str(self.rng.choice(EXTREME[dtype] if extreme else CONSTANTS))

    def array(self, shape: Sequence[int], dtype: str) -> str:
        """A constant array: plain numbers, powers of two, ones, or ties."""
        how = self.rng.integers(4)
        if how == 0:
            return f"jnp.ones({tuple(shape)}, jnp.{dtype})"
        draw = {
            1: lambda n: self.rng.normal(size=n).round(2),
            2: lambda n: 2.0 ** self.rng.integers(-3, 4, n),
            3: lambda n: self.rng.integers(-2, 3, n) / 1.0,
        }[int(how)]
        return f"jnp.asarray({draw(tuple(shape)).tolist()}, jnp.{dtype})"

    def add(self, kind: str, text: str, operands: Sequence[Value], shape: Sequence[int], dtype: str | None = None):
        out = Value(self.name(), tuple(int(n) for n in shape), dtype or operands[0].dtype)
        if out.size > self.largest or out.size == 0:
            return None
        self.values.append(out)
        return Statement(kind, text, tuple(operands), out)

    def pick(self, choices):
        return choices[int(self.rng.integers(len(choices)))]
