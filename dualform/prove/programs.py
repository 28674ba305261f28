"""Inputs of a proof, and the traced programs that it compares."""

import inspect
from collections.abc import Callable, Iterator, Sequence
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
        dtype: the float that programs are traced in, JAX's default if None.

    Raises:
        ValueError: an unknown domain, a `reset` that does not fit, or a `dtype` that is not of real numbers.
    """

    shape: tuple[int, ...]
    domain: str = "field"
    reset: Any = None
    dtype: Any = None

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

        if self.dtype is not None:
            object.__setattr__(self, "dtype", _float(self.dtype))

    @property
    def real(self) -> np.dtype:
        """The dtype that programs are traced in."""
        return np.dtype(jax.dtypes.canonicalize_dtype(np.float64 if self.dtype is None else self.dtype))

    @property
    def mask(self) -> np.ndarray:
        """Where the input is -inf."""
        return np.zeros(self.shape, bool) if self.reset is None else np.asarray(self.reset)


def _float(dtype) -> np.dtype:
    """A dtype of real numbers, or the error for another."""
    if jnp.issubdtype(dtype, jnp.floating):
        return np.dtype(dtype)
    if jnp.issubdtype(dtype, jnp.complexfloating):
        fix = "pass real and imaginary parts as two arrays of floats"
    elif jnp.issubdtype(dtype, jax.dtypes.extended):
        fix = "draw random numbers outside the functions, and pass them as an array of floats"
    else:
        fix = "close over integers and masks as constants of f and g, or pass an array of floats"
    name = getattr(dtype, "name", getattr(dtype, "__name__", dtype))
    raise ValueError(f"inputs: expected arrays of floats, since identities are about real numbers, got {name}; {fix}")


def _is_count(x) -> bool:
    return isinstance(x, int | np.integer) and not isinstance(x, bool) and bool(x >= 0)


def _is_shape(x) -> bool:
    return isinstance(x, tuple) and all(map(_is_count, x))


def _leaf(x) -> bool:
    return isinstance(x, Input) or _is_shape(x) or hasattr(x, "shape")


def _is_listed(x) -> bool:
    """A shape, but for its brackets."""
    return isinstance(x, list) and bool(x) and all(map(_is_count, x))


def _input(x) -> Input:
    """An `Input` itself, one of a shape, or one like an array, in the dtype of the array."""
    if isinstance(x, Input):
        return x
    return Input(x) if isinstance(x, tuple) else Input(tuple(x.shape), dtype=getattr(x, "dtype", None))


@dataclass(frozen=True)
class Signature:
    """Inputs flattened: leaves and the tree to rebuild a call from them."""

    leaves: tuple[Input, ...]
    tree: Any

    @staticmethod
    def of(inputs: Sequence) -> "Signature":
        """Shapes, `Input`s, arrays of floats (for their shapes and dtypes), and pytrees of them.

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
            if not _leaf(x):
                raise ValueError(
                    f"inputs: expected shapes (tuples of integers), Input objects or pytrees of them, got {x!r}"
                )
        return Signature(tuple(map(_input, leaves)), tree)

    @property
    def structs(self) -> list[jax.ShapeDtypeStruct]:
        """What programs are traced with."""
        return [jax.ShapeDtypeStruct(x.shape, x.real) for x in self.leaves]

    def call(self, f: Callable, leaves: Sequence):
        return f(*jax.tree.unflatten(self.tree, leaves))


@dataclass(frozen=True)
class Program:
    """A traced function: its jaxpr, the tree of its results, and index maps already computed."""

    jaxpr: ClosedJaxpr
    tree: Any
    maps: dict[int, tuple] = field(default_factory=dict, compare=False, repr=False)

    @staticmethod
    def trace(f: Callable, signature: Signature) -> "Program":
        if not callable(f):
            raise ValueError(f"f: expected a function of {len(signature.leaves)} arrays, got {type(f).__name__}")
        _accepts(f, signature)
        tree: list = []

        def flat(*leaves):
            out, structure = jax.tree.flatten(signature.call(f, leaves))
            tree.append(structure)
            return out

        jaxpr = jax.make_jaxpr(flat)(*signature.structs)
        return Program(jaxpr, tree[-1])

    @property
    def narrow(self) -> set[str]:
        """Floats of 16 bits and fewer that values of the program are rounded to."""
        dtypes = {np.dtype(v.aval.dtype) for v in _variables(self.jaxpr.jaxpr) if hasattr(v.aval, "dtype")}
        return {str(d) for d in dtypes if jnp.issubdtype(d, jnp.floating) and d.itemsize < 4}

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        return [x.shape for x in self.jaxpr.out_avals]

    @property
    def dtypes(self) -> list[str]:
        return [str(x.dtype) for x in self.jaxpr.out_avals]


def _variables(jaxpr) -> Iterator:
    """All variables of a jaxpr and of the programs inside."""
    yield from jaxpr.invars
    for eqn in jaxpr.eqns:
        yield from eqn.outvars
        for value in eqn.params.values():
            for inner in jax.tree.leaves(value, is_leaf=lambda x: hasattr(x, "jaxpr") or hasattr(x, "eqns")):
                inner = getattr(inner, "jaxpr", inner)
                yield from _variables(inner) if hasattr(inner, "eqns") else ()


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
