"""What a law is: an identity as data, with the programs that state its two sides and the stamps that it claims."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

PROVED, BOUNDED, MEASURED, REFUTED = "proved", "bounded", "measured", "refuted"
STAMPS = (PROVED, BOUNDED, MEASURED, REFUTED)


@dataclass(frozen=True)
class Measurement:
    """A number with its uncertainty and a control; `holds` says whether the claim survived."""

    value: float
    low: float
    high: float
    control: float
    meaning: str
    holds: bool


@dataclass(frozen=True)
class Comparison:
    """A computed result against what it should be, and the bound derived for their difference.

    Args:
        case, form, dtype: what was compared, and in which floats.
        ratio: the largest error / bound of an element.
        error, bound: the largest.
        relative: the largest bound, relative to the largest output.
        more: other numbers that a report shows or keeps.
    """

    case: str
    form: str
    dtype: str
    ratio: float
    error: float
    bound: float
    relative: float
    more: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        known = {name: value for name, value in vars(self).items() if name != "more"}
        return {**known, **self.more}


@dataclass(frozen=True)
class Experiment:
    """A measurement of programs that are given by name, so that a planted bug can take the place of one.

    Args:
        run: called with a random generator and the forms by keyword, returns a `Measurement`.
        forms: name -> program.
    """

    run: Callable[..., Measurement]
    forms: Mapping[str, Callable]

    def __call__(self, rng: np.random.Generator) -> Measurement:
        return self.run(rng, **self.forms)

    def with_form(self, name: str, form: Callable) -> "Experiment":
        """The same experiment with one form replaced, as a planted bug does."""
        return replace(self, forms={**self.forms, name: form})


@dataclass(frozen=True)
class Case:
    """One setting of a law: programs of the same arguments that should agree, the first being the definition.

    Args:
        name: what distinguishes this setting.
        forms: name -> function of the arguments; pytrees may go in and come out.
        inputs: what the identity quantifies over, as for `dualform.prove.identical`.
        sample: draws float64 numpy arguments for the bounded stamp; standard normal entries if None.
        gradient: prove the vector-Jacobian products with respect to all arguments as well.
        exact: the bound is zero: `sample` draws integers on which no form may round.
        bounded: whether the bounded stamp is checked in this setting.
        rules: the update rules that it is about.
        within: for an approximation, what the forms may differ by from the definition in exact arithmetic: a program of
            the same arguments, added to the bound on rounding. None for an identity.
    """

    name: str
    forms: Mapping[str, Callable]
    inputs: tuple
    sample: Callable[[np.random.Generator], tuple] | None = None
    gradient: bool = True
    exact: bool = False
    bounded: bool = True
    within: Callable | None = None
    rules: tuple[str, ...] = ()

    def only(self, names: tuple[str, ...]) -> "Case":
        """The same case with some of its forms."""
        return replace(self, forms={name: self.forms[name] for name in names or self.forms})

    def with_form(self, name: str, form: Callable) -> "Case":
        """The same case with one form replaced, as a planted bug does."""
        return replace(self, forms={**self.forms, name: form})


def widened(form: Callable) -> Callable:
    """A form that no library function computes, under the library's rule for 16-bit floats.

    It is computed in float32, and its results return in the dtype of the arguments.
    """

    @wraps(form)
    def wide(*arguments):
        dtypes = [x.dtype for x in jax.tree.leaves(arguments) if hasattr(x, "dtype")]
        if not any(jnp.finfo(dtype).bits < 32 for dtype in dtypes):
            return form(*arguments)
        results = form(*jax.tree.map(lambda x: x.astype(jnp.promote_types(x.dtype, jnp.float32)), arguments))
        return jax.tree.map(lambda x: x.astype(jnp.result_type(*dtypes)), results)

    return wide


@dataclass(frozen=True)
class Law:
    """A labelled identity or claim.

    Args:
        key: unique: the label of its equation, defined once in a chapter; of a label with several laws all but the
            first add a word, such as "L4.stagnation".
        title: one line.
        statement: in TeX.
        cases: settings; for a refuted claim, forms that the claim says are equal.
        stamps: what it earns; `verify` fails where it does not.
        domain: for which inputs it holds.
        observe: for a bounded law, what is compared beside the forms of its cases, such as a trained network with what
            rebuilds it: called with a seed and whether the run is quick, returns `Comparison`s.
        measure: for a measured law, the experiment; an `Experiment` where planted bugs are to be caught by it.
        decoys: name -> forms in place of those of the experiment, of what the law says is not so: zeros, noise, a rival
            explanation. The measurement must not hold for any of them.
        source: whose claim or identity.
        dtypes: those in which it is bounded, all that are asked for if empty.
        draws: random inputs for the bounded stamp.
        quick: the forms that a quick run compares, all if empty.
        full_only: stamps that a quick run leaves out.
        thorough: trains a network for minutes, so only a thorough run checks it.
    """

    key: str
    title: str
    statement: str
    cases: tuple[Case, ...] = ()
    stamps: tuple[str, ...] = (PROVED, BOUNDED)
    domain: str = "all inputs"
    observe: Callable[[int, bool], list["Comparison"]] | None = None
    measure: Callable[[np.random.Generator], Measurement] | None = None
    decoys: Mapping[str, Mapping[str, Callable]] = field(default_factory=dict)
    source: str = ""
    dtypes: tuple[str, ...] = ()
    draws: int = 3
    quick: tuple[str, ...] = ()
    full_only: tuple[str, ...] = ()
    thorough: bool = False

    def __post_init__(self):
        if not re.fullmatch(r"[A-Z]+\d+(\.[a-z]+)?", self.key):
            raise ValueError(f"key: got {self.key!r}, expected a label such as 'L4', or a label and a word: 'L4.words'")
        unknown = [s for s in self.stamps if s not in STAMPS]
        if unknown or not self.stamps:
            raise ValueError(f"stamps: expected some of {STAMPS}, got {self.stamps!r}")

    def with_decoy(self, name: str) -> "Law":
        """The same law about a decoy."""
        if not isinstance(self.measure, Experiment):
            raise ValueError(f"measure: got that of {self.key}, expected an Experiment, whose forms can be replaced")
        return replace(self, measure=replace(self.measure, forms={**self.measure.forms, **self.decoys[name]}))

    @property
    def label(self) -> str:
        """That of its equation."""
        return self.key.partition(".")[0]

    @property
    def name(self) -> str:
        return f"{self.key}: {self.title}"
