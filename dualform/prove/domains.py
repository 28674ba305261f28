"""Functions that are real numbers on a part of the line only: where, in words and in numbers.

An identity with such a function holds where the function is defined, and a certificate says so. Everything else that
the engine knows is finite wherever its operands are, but for division, which is finite where no denominator is zero.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from dualform.prove.errors import NOWHERE
from dualform.prove.marks import Domain


@dataclass(frozen=True)
class Limits:
    """A domain: its words; which arguments are inside; which rational arguments give an infinity or NaN for certain."""

    words: str
    inside: Callable[[np.ndarray], np.ndarray]
    poles: tuple[int, ...] = ()


def _not_an_integer_below_one(x):
    return (x > 0) | (x != np.trunc(x))


POLES = tuple(range(0, -64, -1))
DOMAINS = {
    "log": Limits("is positive", lambda x: x > 0, (0,)),
    "log1p": Limits("is above -1", lambda x: x > -1, (-1,)),
    "sqrt": Limits("is not negative", lambda x: x >= 0),
    "rsqrt": Limits("is positive", lambda x: x > 0, (0,)),
    "tan": Limits("is no odd multiple of pi/2", lambda x: x == x),
    "asin": Limits("is from -1 to 1", lambda x: np.abs(x) <= 1),
    "acos": Limits("is from -1 to 1", lambda x: np.abs(x) <= 1),
    "acosh": Limits("is at least 1", lambda x: x >= 1),
    "atanh": Limits("is between -1 and 1", lambda x: np.abs(x) < 1, (-1, 1)),
    "erf_inv": Limits("is between -1 and 1", lambda x: np.abs(x) < 1, (-1, 1)),
    "lgamma": Limits("is positive or no integer", _not_an_integer_below_one, POLES),
    "digamma": Limits("is positive or no integer", _not_an_integer_below_one, POLES),
}
"""By the name of the primitive."""

SHOWN = 3
"""Lines of a condition, and conditions, that a text shows; the certificate has all."""


def outside(name: str, x: np.ndarray) -> np.ndarray:
    """Where a function has no real value at these numbers."""
    return ~DOMAINS[name].inside(x) if name in DOMAINS else np.zeros(np.shape(x), bool)


def conditions(marks: Iterable[Domain], denominators: Iterable[str]) -> tuple[str, ...]:
    """In words, one for each function or for all denominators, with the lines of the program."""
    lines: dict[str, list[str]] = {}
    for mark in sorted(marks, key=lambda mark: (mark.function, _order(mark.line))):
        what = f"where the argument of {mark.function} {DOMAINS[mark.function].words}"
        lines.setdefault(what, []).append(mark.line)
    for line in sorted(denominators, key=_order):
        lines.setdefault("where no denominator is zero", []).append(line)
    known = {what: [x for x in dict.fromkeys(places) if x != NOWHERE] for what, places in lines.items()}
    return tuple(f"{what} ({', '.join(places)})" if places else what for what, places in known.items())


def _order(line: str) -> tuple[str, int]:
    name, _, number = line.rpartition(":")
    return (name, int(number)) if number.isdigit() else (line, 0)


def shown(given: Sequence[str]) -> str:
    """The conditions in few words."""
    short = []
    for condition in given[:SHOWN]:
        what, _, places = condition.removesuffix(")").partition(" (")
        lines = places.split(", ") if places else []
        more = [f"{len(lines) - SHOWN} more lines"] if len(lines) > SHOWN else []
        short.append(f"{what} ({', '.join([*_merged(lines[:SHOWN]), *more])})" if lines else what)
    more = [f"{len(given) - SHOWN} more conditions"] if len(given) > SHOWN else []
    return "; ".join([*short, *more])


def _merged(lines: Sequence[str]) -> list[str]:
    """The file of a line is left out where the line before it is of the same file."""
    files = [line.rpartition(":")[0] for line in lines]
    numbers = [line.rpartition(":")[2] for line in lines]
    return [number if i and files[i] == files[i - 1] else lines[i] for i, number in enumerate(numbers)]
