"""What `rounding_bound` returns: value and bound, and how good the bound is."""

from typing import Any, NamedTuple

import jax
import numpy as np

VACUOUS = 0.1
"""A bound above this part of the largest output says nothing about it."""


class Pair(NamedTuple):
    """Two pytrees of float64 arrays, in the structure of a program's result."""

    value: Any
    bound: Any


class RoundingBound(Pair):
    """The pair (value, bound), and how good the bound is.

    A bound is always rigorous under the stated assumptions; it may be too large to say anything. A program that cannot
    be bounded at all is refused: `ProofError`.

    Attributes:
        value, bound: float64 arrays in the structure of the program's result.
        fallbacks: where a cruder bound was taken than the method gives, and why: one sentence each.
    """

    fallbacks: tuple[str, ...] = ()

    @classmethod
    def of(cls, value: Any, bound: Any, fallbacks: tuple[str, ...]) -> "RoundingBound":
        pair = cls(value, bound)
        pair.fallbacks = fallbacks
        return pair

    @property
    def share(self) -> float:
        """The largest bound as a part of the largest value, array by array; infinite where nothing is known."""
        return max((_share(v, b) for v, b in zip(*map(jax.tree.leaves, self), strict=True)), default=0.0)

    @property
    def verdict(self) -> str:
        """Either "rigorous" or "vacuous": true, but larger than `VACUOUS` of the output."""
        return "vacuous" if self.share > VACUOUS else "rigorous"

    def __str__(self) -> str:
        return "; ".join([f"{self.verdict}: the largest bound is {self.share:.2g} of the output", *self.fallbacks])


def _share(value: np.ndarray, bound: np.ndarray) -> float:
    if not np.any(bound):
        return 0.0
    size = np.max(np.abs(value), where=np.isfinite(value), initial=0.0)
    return float(np.max(bound) / size) if size else float("inf")
