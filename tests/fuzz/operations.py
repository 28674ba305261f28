"""The statements that random programs are made of, and how often each is taken."""

from collections.abc import Callable

from tests.fuzz.arrays import both, centred, cumulative, difference, gathered, product, reduction
from tests.fuzz.elementwise import binary, cast, constant, constant_array, mixed, no_op, unary, whole
from tests.fuzz.structure import delta, loop, movement, solve, window

OPERATIONS: list[tuple[float, Callable]] = [
    (4.0, unary), (5.0, binary), (1.5, mixed), (4.0, constant), (1.0, constant_array), (3.0, no_op), (3.0, reduction),
    (3.0, centred), (0.8, gathered), (0.6, cumulative), (2.0, product), (0.8, both), (3.0, difference), (2.0, movement),
    (0.9, cast), (0.2, whole), (1.2, loop), (0.5, delta), (0.4, solve), (0.2, window),
]  # fmt: skip

SPECIAL = (
    *[no_op] * 4, *[centred] * 4, *[constant] * 2, loop, product, binary, reduction,
)  # fmt: skip
"""What begins a program that goes on to compare two readings of one value."""
