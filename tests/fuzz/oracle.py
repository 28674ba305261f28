"""Are two programs equal? Both evaluated at many points with 1000 bits, apart from the engine."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from dualform.prove import Input
from tests.fuzz.precision import Multiple
from tests.fuzz.reference import Reference, is_float

AGREE = 1e-240
"""Difference below which 1000 bits call two numbers equal, relative to the larger one, or to one."""


@dataclass(frozen=True)
class Difference:
    """A point at which two programs differ."""

    inputs: list[np.ndarray]
    f: float
    g: float
    where: str


class Watched(Reference):
    """A reference that remembers whether a number on the way was infinite or NaN, and keeps inputs as they come."""

    singular = False

    def enter(self, x, dtype):
        if is_float(dtype) and np.asarray(x).dtype == np.float64 and self.inputs:
            return self.numbers.array(x)
        return super().enter(x, dtype)

    def __call__(self, *inputs):
        self.singular = False
        self.inputs = True
        values = [self.enter(x, v.aval.dtype) for x, v in zip(inputs, self.closed.jaxpr.invars, strict=True)]
        self.inputs = False
        with np.errstate(all="ignore"):
            return self.run(self.closed, values)

    def leave(self, x, aval):
        x = super().leave(x, aval)
        if is_float(aval.dtype) and not self.numbers.finite(x).all():
            self.singular = True
        return x


class Oracle:
    """Two programs, traced as a user runs them: arrays in their own dtype, shapes in JAX's default float."""

    def __init__(self, f: Callable, g: Callable, inputs: Sequence):
        self.inputs = [x if isinstance(x, Input | tuple) else np.asarray(x) for x in inputs]
        shapes = [jax.ShapeDtypeStruct(*_kind(x)) for x in self.inputs]
        self.complex = any(s.dtype.kind == "c" for s in shapes)
        if self.complex:
            self.pair = (f, g)
        else:
            flat = [lambda *a, h=h: jax.tree.leaves(h(*a)) for h in (f, g)]
            self.pair = tuple(Watched(jax.make_jaxpr(h)(*shapes), Multiple) for h in flat)

    def at(self, point: Sequence[np.ndarray]) -> tuple[list, list, bool]:
        """Both results, and whether anything on the way was no number."""
        if self.complex:
            with jax.enable_x64(True):
                wide = [jnp.asarray(x) for x in point]
                f, g = ([np.asarray(y) for y in jax.tree.leaves(h(*wide))] for h in self.pair)
            return f, g, False
        f, g = (h(*point) for h in self.pair)
        return f, g, any(h.singular for h in self.pair)

    def differs(self, point: Sequence[np.ndarray], generic: bool, regular: bool = False) -> Difference | None:
        """The difference at a point. Where it is special (zeros, ties) or only `regular` points count, none may be
        singular: rational functions are compared where both have a value."""
        f, g, singular = self.at(point)
        if singular and (regular or not generic):
            return None
        for a, b in zip(f, g, strict=True):
            for i in np.ndindex(*np.shape(a)):
                x, y = np.asarray(a)[i], np.asarray(b)[i]
                if _unequal(x, y, 1e-9 if self.complex else AGREE):
                    return Difference(list(point), _plain(x), _plain(y), "generic" if generic else "special")
        return None

    def search(self, rng: np.random.Generator, count: int = 8, regular: bool = False) -> Difference | None:
        """A point at which the programs differ, among generic ones and among zeros, ties and integers."""
        generic = ["generic", "positive"] * count if regular else ["generic"] * count
        for kind in (*generic, "positive", "large", "zeros", "ties", "integers", "units"):
            point = [draw(rng, x, kind) for x in self.inputs]
            found = self.differs(point, kind in ("generic", "positive", "large"), regular)
            if found is not None:
                return found
        return None


def _kind(x):
    if isinstance(x, Input):
        return x.shape, np.dtype(np.float32)
    return (x, np.dtype(np.float32)) if isinstance(x, tuple) else (x.shape, x.dtype)


def _plain(x):
    return complex(x) if isinstance(x, complex | np.complexfloating) else float(x)


def _unequal(x, y, tolerance: float) -> bool:
    if x != x or y != y:
        return (x != x) != (y != y)
    if x == y:
        return False
    size = max(abs(x), abs(y), 1)
    return bool(abs(x - y) > tolerance * size) if size < float("inf") else True


def draw(rng: np.random.Generator, x, kind: str) -> np.ndarray:
    """One input at one kind of point."""
    shape, dtype = _kind(x)
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return rng.integers(info.min, info.max, shape, endpoint=True, dtype=dtype)
    if dtype.kind == "b":
        return rng.random(shape) < 0.5
    normal = rng.normal(size=shape)
    if dtype.kind == "c":
        return normal + 1j * rng.normal(size=shape)
    values = {
        "generic": lambda: normal,
        "positive": lambda: np.abs(normal),
        "large": lambda: 30 * normal,
        "zeros": lambda: normal * (rng.random(shape) < 0.5),
        "ties": lambda: rng.choice([-1.5, 0.5, 2.0], shape),
        "integers": lambda: rng.integers(-3, 4, shape) * 1.0,
        "units": lambda: rng.choice([-1.0, 1.0, 0.0], shape),
    }[kind]()
    if isinstance(x, Input) and x.reset is not None:
        values = np.where(x.mask, -np.inf, values)
    return np.asarray(values, np.float64)
