"""The verdict of a proof, with all that is needed to weigh and repeat it."""

from dataclasses import dataclass
from decimal import ROUND_CEILING, Context
from typing import Any

import numpy as np

from dualform.prove.domains import shown

PROVED, REFUTED, UNDECIDED = "proved", "refuted", "undecided"
RATIONALS, DRAWN = "over the rationals", "modulo the drawn primes"
LEAST = 1e-300
"""Bound of every smaller failure probability: none is zero."""


def at_most(probability: float, digits: int = 1) -> str:
    """An upper bound in print, rounded up."""
    rounded = Context(prec=digits + 1, rounding=ROUND_CEILING).create_decimal(repr(float(probability)))
    return f"{rounded:.{digits}e}"


@dataclass(frozen=True)
class Counterexample:
    """Inputs on which two programs differ, in float64."""

    inputs: tuple  # the arguments of f and g, as the caller passes them
    f: float
    g: float
    path: str  # which element of the result
    bound: float  # rounding can explain no larger difference than this; 0 where exact arithmetic confirms it

    def __str__(self) -> str:
        return f"at {self.path}: f = {self.f:.17g}, g = {self.g:.17g} on inputs {_short(self.inputs)}"


@dataclass(frozen=True)
class Certificate:
    """What is known about f = g.

    Attributes:
        equal: True (proved), False (refuted by `counterexample`), None (undecided, for `reason`).
        failure_probability: bound on the chance that different functions pass as equal, over the random draws of primes
            and points after the programs were fixed. Never 0 but where refuted: nothing has passed, then.
        degree: bound on the degree of the polynomial identity that was tested.
        counterexample: inputs on which f and g differ in float64, as small as could be found.
        reason: why the verdict is not "proved"; empty where it is.
        primes: moduli of the trials.
        height_bits: the tested identity has integer coefficients below 2**height_bits.
        over_rationals: the failure probability covers primes that hide a difference, so it is that of the identity over
            the rationals. Else heights are too large, and the identity is claimed modulo the drawn primes only.
        method: how exponentials were treated.
        log_inputs: indices of flattened inputs in the log domain; those in `inferred` were declared as field.
        opaque: functions of which only "equal arguments give equal values" was used.
        trials, seed: repeat the proof exactly.
        conditions: where the programs are defined, in words with lines of the source: what is proved holds there.
        unrounded: floats of 16 bits and fewer in the programs, to which exact arithmetic does not round.
    """

    equal: bool | None
    failure_probability: float
    degree: int
    counterexample: Counterexample | None = None
    reason: str = ""
    primes: tuple[int, ...] = ()
    height_bits: float = float("inf")
    over_rationals: bool = False
    method: str = "polynomial"
    log_inputs: tuple[int, ...] = ()
    inferred: tuple[int, ...] = ()
    opaque: tuple[str, ...] = ()
    trials: int = 0
    seed: int = 0
    conditions: tuple[str, ...] = ()
    unrounded: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        return {True: PROVED, False: REFUTED, None: UNDECIDED}[self.equal]

    @property
    def holds(self) -> str | None:
        """Where the identity holds, if it is proved."""
        return None if not self.equal else RATIONALS if self.over_rationals else DRAWN

    def __bool__(self) -> bool:
        """True only where proved."""
        return self.equal is True

    def __str__(self) -> str:
        if self.equal is False:
            return f"refuted: {self.counterexample}"
        if self.equal is None:
            return f"undecided: {self.reason}"
        extra = [f"inputs {list(self.inferred)} read as logarithms"] if self.inferred else []
        extra += [f"{', '.join(self.opaque)} as unknown functions"] if self.opaque else []
        extra += [f"exact arithmetic ignores rounding to {', '.join(self.unrounded)}"] if self.unrounded else []
        notes = f" ({'; '.join(extra)})" if extra else ""
        notes += f", {shown(self.conditions)}" if self.conditions else ""
        return (
            f"proved {self.holds}: degree at most {self.degree}, {self.trials} trials, "
            f"failure probability at most {at_most(self.failure_probability)}, seed {self.seed}; "
            f"exponentials: {self.method}{notes}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        c = self.counterexample
        return {
            "verdict": self.verdict,
            "failure_probability": self.failure_probability,
            "degree": self.degree,
            "reason": self.reason,
            "primes": list(self.primes),
            "height_bits": None if np.isinf(self.height_bits) else self.height_bits,
            "over_rationals": self.over_rationals,
            "holds": self.holds,
            "method": self.method,
            "log_inputs": list(self.log_inputs),
            "inferred": list(self.inferred),
            "opaque": list(self.opaque),
            "trials": self.trials,
            "seed": self.seed,
            "conditions": list(self.conditions),
            "unrounded": list(self.unrounded),
            "counterexample": None if c is None else {"f": c.f, "g": c.g, "at": c.path, "inputs": _lists(c.inputs)},
        }


def _lists(x):
    if isinstance(x, dict):
        return {k: _lists(v) for k, v in x.items()}
    return [_lists(v) for v in x] if isinstance(x, (list, tuple)) else np.asarray(x).tolist()


def _short(inputs) -> str:
    text = str(_lists(inputs))
    return text if len(text) <= 400 else text[:400] + " ..."
