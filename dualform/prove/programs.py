"""Inputs of a proof, and the traced programs that it compares."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr

DOMAINS = ("field", "log")


@dataclass(frozen=True)
class Input:
    """One array that an identity quantifies over.

    Args:
        shape: its shape; an integer n is (n,).
        domain: "field" for a value that programs add, multiply and divide; "log" for one that they only sum and
            exponentiate, such as a log decay.
        reset: for "log", a boolean array of `shape`: where it is -inf. A static case, since -inf is no number.

    Raises:
        ValueError: an unknown domain, or a `reset` that does not fit.
    """

    shape: tuple[int, ...]
    domain: str = "field"
    reset: Any = None

    def __post_init__(self):
        given: Any = self.shape
        shape = (given,) if _is_count(given) else given
        if not _is_shape(shape):
            raise ValueError(
                f"shape: expected a tuple of non-negative integers, or one such integer for a vector, got {given!r}"
            )
        object.__setattr__(self, "shape", tuple(int(n) for n in shape))
        if self.domain not in DOMAINS:
            raise ValueError(f"domain: expected one of {DOMAINS}, got {self.domain!r}")
        if self.reset is not None:
            mask = np.asarray(self.reset)
            if self.domain != "log" or mask.dtype != bool or mask.shape != self.shape:
                raise ValueError(
                    f"reset: expected a boolean array of shape {self.shape} on a 'log' input, "
                    f"got {mask.dtype}{list(mask.shape)} on a {self.domain!r} input"
                )

    @property
    def mask(self) -> np.ndarray:
        """Where the input is -inf."""
        return np.zeros(self.shape, bool) if self.reset is None else np.asarray(self.reset)


def _is_count(x) -> bool:
    return isinstance(x, int | np.integer) and not isinstance(x, bool) and bool(x >= 0)


def _is_shape(x) -> bool:
    return isinstance(x, tuple) and all(map(_is_count, x))


def _leaf(x) -> bool:
    return isinstance(x, Input) or _is_shape(x) or hasattr(x, "shape")


def _is_listed(x) -> bool:
    """A shape, but for its brackets."""
    return isinstance(x, list) and bool(x) and all(map(_is_count, x))


def _is_integral(x) -> bool:
    dtype = None if isinstance(x, Input) else getattr(x, "dtype", None)
    return dtype is not None and not jnp.issubdtype(dtype, jnp.inexact)


def _shape(x) -> tuple[int, ...]:
    """A shape itself, or that of an array."""
    return x if isinstance(x, tuple) else tuple(x.shape)


@dataclass(frozen=True)
class Signature:
    """Inputs flattened: leaves and the tree to rebuild a call from them."""

    leaves: tuple[Input, ...]
    tree: Any

    @staticmethod
    def of(inputs: Sequence) -> "Signature":
        """Shapes, `Input`s, arrays of floats (for their shapes), and pytrees of them.

        Raises:
            ValueError: anything else, such as a list for a shape, integers, masks or keys.
        """
        # a list, since a tuple of integers, or an empty one, is itself a shape
        given = list(inputs)
        for x in jax.tree.leaves(given, is_leaf=lambda x: _leaf(x) or (x is not given and _is_listed(x))):
            if _is_listed(x):
                raise ValueError(f"inputs: expected shapes as tuples, here {tuple(x)!r}, got the list {x!r}")
        leaves, tree = jax.tree.flatten(given, is_leaf=_leaf)
        for x in leaves:
            if _is_integral(x):
                raise ValueError(
                    f"inputs: got an array of type {x.dtype}, expected floats: inputs stand for all real numbers. "
                    "Keep integers, masks and keys in the program (f = lambda x: g(x, indices)), or give a shape"
                )
            if not _leaf(x):
                raise ValueError(
                    f"inputs: expected shapes (tuples of integers), Input objects or pytrees of them, got {x!r}"
                )
        return Signature(tuple(x if isinstance(x, Input) else Input(_shape(x)) for x in leaves), tree)

    def call(self, f: Callable, leaves: Sequence):
        return f(*jax.tree.unflatten(self.tree, leaves))


@dataclass(frozen=True)
class Program:
    """A traced function: its jaxpr in JAX's default float, the tree of its results, and index maps already computed."""

    jaxpr: ClosedJaxpr
    tree: Any
    maps: dict[int, tuple] = field(default_factory=dict, compare=False, repr=False)

    @staticmethod
    def trace(f: Callable, signature: Signature) -> "Program":
        if not callable(f):
            raise ValueError(f"f: expected a function of {len(signature.leaves)} arrays, got {type(f).__name__}")
        _accepts(f, signature)
        dtype = jax.dtypes.canonicalize_dtype(np.float64)
        tree: list = []

        def flat(*leaves):
            out, structure = jax.tree.flatten(signature.call(f, leaves))
            tree.append(structure)
            return out

        jaxpr = jax.make_jaxpr(flat)(*[jax.ShapeDtypeStruct(x.shape, dtype) for x in signature.leaves])
        return Program(jaxpr, tree[-1])

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        return [x.shape for x in self.jaxpr.out_avals]

    @property
    def dtypes(self) -> list[str]:
        return [str(x.dtype) for x in self.jaxpr.out_avals]


def _accepts(f: Callable, signature: Signature) -> None:
    """A clear error for a wrong number of inputs, where Python can tell."""
    count = len(jax.tree_util.treedef_children(signature.tree))
    try:
        parameters = inspect.signature(f)
    except (TypeError, ValueError):  # built-in functions have none
        return
    try:
        parameters.bind(*range(count))
    except TypeError as reason:
        name = getattr(f, "__name__", "f")
        raise ValueError(
            f"inputs: got {count}, but {name}({', '.join(parameters.parameters)}) {reason}; give one input per argument"
        ) from None


def trace_both(f: Callable, g: Callable, signature: Signature) -> tuple[Program, Program]:
    """Both programs, or the error for results that cannot be compared."""
    pair = Program.trace(f, signature), Program.trace(g, signature)
    if pair[0].tree != pair[1].tree or pair[0].shapes != pair[1].shapes:
        raise ValueError(
            f"f and g: expected results of one structure, got {pair[0].tree} of shapes {pair[0].shapes} "
            f"and {pair[1].tree} of shapes {pair[1].shapes}"
        )
    if pair[0].dtypes != pair[1].dtypes:
        raise ValueError(
            f"f and g: expected results of the same types, got {', '.join(pair[0].dtypes)} "
            f"and {', '.join(pair[1].dtypes)}; convert one with .astype"
        )
    return pair
