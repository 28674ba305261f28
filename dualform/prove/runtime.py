"""Concrete arrays that depend on data: a compiler does not know them, and cannot compute with them in advance.

Rounding arithmetic computes integers, booleans and indices concretely, also where they come from the inputs. Operations
on constants are done by the compiler, who rounds as NumPy does. Operations on what comes from data are done when the
program runs, and are charged like all others.
"""

from collections.abc import Sequence

import numpy as np


class Runtime:
    """The arrays of a run that come from data, by their identity; other values have a flag `constant`."""

    def __init__(self):
        self._arrays: dict[int, np.ndarray] = {}  # kept, so that no other array takes their identity

    def depends(self, x) -> bool:
        """Whether a value is known only when the program runs."""
        return id(x) in self._arrays if isinstance(x, np.ndarray) else not getattr(x, "constant", False)

    def note(self, values: Sequence) -> None:
        """These values come from data."""
        for x in values:
            if isinstance(x, np.ndarray):
                self._arrays[id(x)] = x
            elif getattr(x, "constant", False):
                x.constant = False
