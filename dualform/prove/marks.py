"""What values of a program depend on, beside its inputs: choices of pivots, and functions that have a domain.

Some facts about a value are not in the value. Rows that a factorisation chose are plain integers, but another choice
would have been as good. A logarithm is a number like any other, but only where its argument is positive. An arithmetic
marks such values when they arise; the interpreter hands the marks on to all that is computed from them, so that a mark
on a result says what the result rests on. Marks are exact about moves (an element that a mask drops everywhere leaves
no mark) and coarse about everything else: each result of an equation has the marks of all operands.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple


class Pivots(NamedTuple):
    """Depends on the rows that a factorisation chose: number `call` of the run."""

    call: int


class Domain(NamedTuple):
    """Is a real number only where the argument of a function lies in its domain."""

    function: str
    line: str


Mark = Pivots | Domain
NONE: frozenset[Mark] = frozenset()


@dataclass(frozen=True)
class _Entry:
    value: Any  # kept, so that no other value takes its identity
    marks: frozenset[Mark]


class Marks:
    """The marks of the values of a run, by the identity of the values."""

    def __init__(self):
        self._entries: dict[int, _Entry] = {}

    def __bool__(self) -> bool:
        """Whether anything is marked."""
        return bool(self._entries)

    def of(self, *values) -> frozenset[Mark]:
        """All marks of any of the values."""
        found = NONE
        for x in values:
            entry = self._entries.get(id(x))
            found = found if entry is None else found | entry.marks
        return found

    def add(self, values: Iterable, marks: frozenset[Mark]) -> None:
        if marks:
            for x in values:
                self._entries[id(x)] = _Entry(x, marks | self.of(x))

    def replace(self, values: Iterable, marks: frozenset[Mark]) -> None:
        """These marks only, on values that nothing else refers to."""
        for x in values:
            self._entries[id(x)] = _Entry(x, marks)

    def partial(self, x) -> bool:
        """Whether the value is defined on a part of all inputs only."""
        return any(isinstance(mark, Domain) for mark in self.of(x))
