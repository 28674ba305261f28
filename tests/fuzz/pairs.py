"""Random pairs of programs, as source: half equal by construction, half different by one changed operation."""

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dualform.prove import Input
from dualform.prove.primes import safe_primes
from tests.fuzz import algebra
from tests.fuzz.families import FAMILIES

SLOT = re.compile("«([^»]*)»")


PRIMES = safe_primes(np.random.default_rng(0), 96)
"""Primes that a program may know: others than those of its own proof."""


def multiplied(x, count: int):
    """x times the first of `PRIMES`, each written with constants that a float32 holds."""
    for prime in PRIMES[:count]:
        y = x * 0
        for k in (60, 40, 20, 0):
            y = y * 2.0**20 + x * float((prime >> k) & ((1 << 20) - 1))
        x = y
    return x


NAMES = {
    "jax": jax, "jnp": jnp, "lax": lax, "np": np, "Input": Input, "PRIMES": PRIMES, "multiplied": multiplied
}  # fmt: skip


@dataclass(frozen=True)
class Pair:
    """Two programs as source, with the inputs that they take."""

    kind: str
    inputs: str
    f: str
    g: str
    meant: bool | None

    def build(self) -> tuple[Callable, Callable, tuple]:
        return tuple(eval(x, dict(NAMES)) for x in (self.f, self.g, self.inputs))

    def source(self, trials: int, seed: int) -> str:
        """A program that shows the verdict."""
        head = "import jax, jax.numpy as jnp, numpy as np\nfrom jax import lax\n"
        head += "from dualform.prove import Input, identical\n"
        if "multiplied" in self.f:
            head += f"from tests.fuzz.pairs import PRIMES\n{inspect.getsource(multiplied)}"
        return f"{head}f = {self.f}\ng = {self.g}\nprint(identical(f, g, *{self.inputs}, trials={trials}, seed={seed}))"


def generated(rng: np.random.Generator) -> Pair:
    """A random pair: half true, half false by one change."""
    meant = bool(rng.random() < 0.5)
    return _algebraic(rng, meant) if rng.random() < 0.5 else _written(rng, meant)


def _algebraic(rng, meant: bool) -> Pair:
    exp = bool(rng.random() < 0.35)
    e = algebra.random(rng, int(rng.integers(2, 5)), exp)
    other = algebra.rewritten(rng, e, int(rng.integers(1, 7)))
    if not meant:
        for _ in range(8):
            new = algebra.changed(rng, other)
            if new is not None:
                other = new
                break
    shape = f"({algebra.N}, {algebra.N})"
    zero = f"jnp.zeros({shape})"
    head = f"lambda {', '.join(algebra.VARS)}: {zero} + "
    kind = "exponential algebra" if "exp" in algebra.render(e) else "algebra"
    return Pair(kind, f"({', '.join([shape] * 3)})", head + algebra.render(e), head + algebra.render(other), meant)


def _written(rng, meant: bool) -> Pair:
    kind, inputs, f, g = FAMILIES[rng.integers(len(FAMILIES))]
    numbers = {
        "{n}": str(rng.choice([1, 3, 6, 64], p=[0.4, 0.3, 0.27, 0.03])),
        "{k}": str(rng.integers(1, 4)),
        "{a}": str(rng.choice([0.1, 0.5, -0.7])),
    }
    for hole, value in numbers.items():
        f, g = f.replace(hole, value), g.replace(hole, value)
    slots = [(side, i) for side, text in enumerate((f, g)) for i in range(len(SLOT.findall(text)))]
    wrong = slots[rng.integers(len(slots))] if slots and not meant else None
    f, g = (filled(rng, text, wrong[1] if wrong and wrong[0] == side else None) for side, text in enumerate((f, g)))
    meaning = None if not slots else meant
    names = SLOT.sub("", f).split(":")[0].removeprefix("lambda ").split(", ")
    if rng.random() < 0.5:
        f, g = _around(rng, kind, inputs, names, f, g)
    return Pair(kind, inputs, f, g, meaning)


def filled(rng, text: str, wrong: int | None) -> str:
    count = iter(range(99))

    def choose(match):
        right, *others = match.group(1).split("|")
        return str(rng.choice(others)) if next(count) == wrong else right

    return SLOT.sub(choose, text)


AROUND = (
    "2.0 * {}", "{} - 1", "({}, 0.5)", "jnp.sum({})", "({} * 1.0, {})", "{} ** 2", "-({})", "jnp.ravel({})[::-1]",
    "jax.tree.map(lambda v: v + 1, {{'a': {}}})", "jnp.where(True, {}, 0.)", "0.3 * {} + 0.1",
)  # fmt: skip
BEFORE = ("2 * {}", "{} - 1", "-{}", "{} * {}", "{} + {}", "0.5 * {}", "1 + {} * {}", "{}[::-1]")


def _around(rng, kind: str, inputs: str, names: list[str], f: str, g: str) -> tuple[str, str]:
    """Both programs in the same surroundings: what follows them, or what comes before."""
    list_of = ", ".join(names)
    if kind != "dtype" and rng.random() < 0.6:
        after = str(rng.choice(AROUND))
        f, g = (
            f"lambda {list_of}: {after.replace('{}', f'({h})({list_of})')}".replace("{{", "{").replace("}}", "}")
            for h in (f, g)
        )
    if "Input" not in inputs and "jnp" not in inputs and ", ()" not in inputs and rng.random() < 0.4:
        i = int(rng.integers(len(names)))
        before = str(rng.choice(BEFORE)).replace("{}", names[i])
        call = ", ".join(before if j == i else n for j, n in enumerate(names))
        f, g = (f"lambda {list_of}: ({h})({call})" for h in (f, g))
    return f, g
