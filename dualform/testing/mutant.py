"""Planted bugs: a wrong program in place of one form of a law, and which law and stamp catch it."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from dualform.laws import Case, Law, Result, check, find
from dualform.laws.law import BOUNDED, MEASURED, PROVED, Experiment
from dualform.prove.programs import Signature

STAGES = ((PROVED, "value"), (PROVED, "gradient"), (BOUNDED, "value"), (MEASURED, "value"))
"""How a mutant is looked for, cheapest first."""


@dataclass(frozen=True)
class Mutant:
    """A wrong program in place of one form of a law.

    Args:
        name: unique, "what: mistake".
        label: of the law, e.g. "L3".
        form: name of the form that it replaces.
        replacement: the wrong program, of the same arguments.
        description: the mistake, in one line.
        case: name of the only case of the law that it replaces the form in (of a measured law, its key); None for all
            that have it.
    """

    name: str
    label: str
    form: str
    replacement: Callable
    description: str
    case: str | None = None

    def __post_init__(self):
        if not self.planted():
            where = f" in case {self.case!r}" if self.case else ""
            raise ValueError(
                f"form: got {self.form!r}{where}, expected a form of a proved, bounded or measured law {self.label}; "
                "see dualform.laws.find"
            )

    def planted(self) -> list[Law]:
        """The laws with the form replaced: one law per case, the smallest first, with only the two forms.

        Measured laws come last, those whose measurement is an `Experiment` with such a form.
        """
        laws = [law for law in find(self.label) if PROVED in law.stamps or BOUNDED in law.stamps]
        by_case = [
            replace(law, cases=(self._plant(case),), quick=())
            for law in laws
            for case in sorted(law.cases, key=_size)
            if self.form in case.forms and self.case in (None, case.name)
        ]
        measured = [
            replace(law, cases=(), stamps=(MEASURED,), measure=law.measure.with_form(self.form, self.replacement))
            for law in find(self.label)
            if isinstance(law.measure, Experiment) and self.form in law.measure.forms
            if self.case in (None, law.key)
        ]
        return by_case + measured

    def originals(self) -> list[Case]:
        """The cases as they are, in the order of `planted`; measured laws have none."""
        planted = [law for law in self.planted() if law.cases]
        return [case for law in planted for case in _original(law).cases if case.name == law.cases[0].name]

    def _plant(self, case: Case) -> Case:
        first = next(iter(case.forms))
        kept = {name: form for name, form in case.forms.items() if name in (first, self.form)}
        kept = kept if len(kept) > 1 else dict([*case.forms.items()][:2])  # the definition itself is replaced
        return replace(case, forms=kept).with_form(self.form, self.replacement)


@dataclass(frozen=True)
class Catch:
    """What gave a mutant away.

    Attributes:
        mutant: its name.
        law, case: the law, as "key: title", and its case; of a measured law its key.
        stamp: "proved", "bounded" or "measured", the stamp that the law did not earn.
        of: "value" or "gradient".
        verdict: "refuted" by a counterexample, "off" by more than its bound or its uncertainty, "vacuous" for a bound
            that says nothing, or "undecided": neither proof nor bound could be derived.
        reason: the law's message.
    """

    mutant: str
    law: str
    case: str
    stamp: str
    of: str
    verdict: str
    reason: str


def caught(mutant: Mutant, *, seed: int = 0, dtypes: Iterable[str] = ("float32",)) -> Catch | None:
    """Checks the mutant's law, with the mutant in place, at one stamp after the other until one is not earned.

    Values are proved first, then gradients, then values are bounded in floating point, then measured. What is certain
    (a counterexample, an error beyond the bound) goes before what could not be derived.

    Args:
        mutant: which.
        seed: of all draws.
        dtypes: for the bounded stamp.

    Returns:
        What gave it away, or None for a program that earns every stamp that the law claims.

    >>> def minus(W0, E, X, x):
    ...     return x @ W0.T - x @ X.T @ E
    >>> catch = caught(Mutant("dual: minus", "L3", "dual", minus, "the update is subtracted"))
    >>> print(catch.law, "->", catch.verdict)
    L3: the dual form: a changed layer is the old one plus linear attention -> refuted
    """
    dtypes, undecided = tuple(dtypes), None
    for stamp, of in STAGES:
        for law in mutant.planted():
            if not _compares(law, stamp, of) or (of == "gradient" and undecided):
                continue
            quick = stamp == PROVED and of == "value"
            result = check(law, stamp, seed=seed, quick=quick, dtypes=dtypes)
            if result.earned == stamp:
                continue
            verdict, case = _verdict(result), law.cases[0].name if law.cases else law.key
            catch = Catch(mutant.name, law.name, case, stamp, of, verdict, result.reason)
            if verdict in ("refuted", "off"):
                return catch
            undecided = undecided or catch
    return undecided


def _compares(law: Law, stamp: str, of: str) -> bool:
    """Whether the planted law claims the stamp, and its case takes part in it."""
    takes_part = all(case.gradient if of == "gradient" else case.bounded or stamp != BOUNDED for case in law.cases)
    return stamp in law.stamps and takes_part


def _verdict(result: Result) -> str:
    if result.stamp == PROVED:
        return next(entry["verdict"] for entry in result.details if entry["verdict"] != "proved")
    if result.earned == "vacuous":
        return "vacuous"
    if result.stamp == MEASURED:
        return "off"
    return "off" if not (result.worst or 0.0) <= 1.0 else "undecided"


@dataclass(frozen=True)
class Rate:
    """How many mutants were caught, and how."""

    total: int
    missed: tuple[str, ...]
    how: dict[str, int]  # "proved value", "proved gradient", "bounded value" -> mutants

    @property
    def caught(self) -> int:
        return self.total - len(self.missed)

    def __str__(self) -> str:
        how = ", ".join(f"{count} {name}" for name, count in self.how.items())
        missed = f"; missed: {', '.join(self.missed)}" if self.missed else ""
        return f"{self.caught} of {self.total} planted bugs caught" + (f" ({how})" if how else "") + missed


def catch_rate(mutants: Iterable[Mutant], *, seed: int = 0) -> Rate:
    """How many of the mutants are caught, by which stamp, in their values or in their gradients.

    Cost: up to about a second for each.
    """
    return rate_of({mutant.name: caught(mutant, seed=seed) for mutant in mutants})


def rate_of(catches: dict[str, Catch | None]) -> Rate:
    """The rate of catches already made: name -> what `caught` returned."""
    how = Counter(f"by {c.stamp} {c.of}" for c in catches.values() if c is not None)
    return Rate(len(catches), tuple(name for name, c in catches.items() if c is None), dict(how.most_common()))


def _size(case: Case) -> int:
    return sum(int(np.prod(x.shape)) for x in Signature.of(case.inputs).leaves)


def _original(law: Law) -> Law:
    return next(other for other in find(law.label) if other.key == law.key)
