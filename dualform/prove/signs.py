"""Values that are positive wherever they are not zero identically: exponentials, and what is made of them.

Libraries guard a sum of exponentials as if it could be negative, and a quotient by it has no condition. So both exact
arithmetics know of values of which every element is zero at all points or positive at all points. Sums, products,
quotients, maxima and moves of such values are such values, as are constants that are not negative.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

POSITIVE = ("exp", "exp2", "logistic", "cosh")
"""Primitives whose results are such values, whatever the operands are (exp and logistic are zero at -inf)."""
KEEP = (
    "add", "add_any", "mul", "div", "max", "min", "reduce_sum", "reduce_prod", "reduce_max", "reduce_min", "cumsum",
    "cumprod", "dot_general", "integer_pow", "pow", "square", "sqrt", "rsqrt", "cbrt", "abs", "convert_element_type",
    "reduce_precision",
)  # fmt: skip
"""Primitives whose results are such values if all operands are."""


class Signs:
    """Which values of a run are known to be of this kind, by the identity of the values."""

    def __init__(self):
        self._known: dict[int, Any] = {}  # the values are kept, so that no other value takes their identity

    def positive(self, x) -> bool:
        """Whether every element is zero at all points or positive at all points."""
        return bool(np.all((x >= 0) & np.isfinite(x))) if isinstance(x, np.ndarray) else id(x) in self._known

    def note(self, values: Sequence) -> None:
        """These values are of this kind."""
        self._known.update((id(x), x) for x in values if not isinstance(x, np.ndarray))

    def after(self, name: str, operands: Sequence, results: Sequence) -> None:
        """What is known of the results of a primitive."""
        if name in POSITIVE or (name in KEEP and all(map(self.positive, operands))):
            self.note(results)
