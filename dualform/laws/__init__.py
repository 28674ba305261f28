"""The identities as data, each with the stamp that it earns: proved, bounded, measured or refuted.

`LAWS` lists them in the order of the chapters, `find` selects by label, and `check` earns one stamp of one law:

>>> from dualform.laws import check, find
>>> check(find("L7")[0], "proved").passed
True
"""

import re
from dataclasses import replace

from dualform.laws import (
    attention,
    calls,
    depth,
    descent,
    devices,
    family,
    features,
    fewshot,
    induction,
    linear,
    lsa,
    patch,
    peft,
    regression_gpt,
    regression_theory,
    regression_training,
    rules,
)
from dualform.laws.checks import Result as Result
from dualform.laws.checks import check as check
from dualform.laws.law import STAMPS as STAMPS
from dualform.laws.law import Case as Case
from dualform.laws.law import Experiment as Experiment
from dualform.laws.law import Law as Law
from dualform.laws.law import Measurement as Measurement

FAMILY: tuple[Law, ...] = (*family.LAWS, *induction.LAWS, *calls.LAWS, *devices.LAWS)
"""The laws that rules share."""

LAWS: tuple[Law, ...] = (
    *linear.LAWS,
    *descent.LAWS,
    *rules.LAWS,
    *FAMILY,
    *attention.LAWS,
    *features.LAWS,
    *patch.LAWS,
    *peft.LAWS,
    *fewshot.LAWS,
    *lsa.LAWS,
    *depth.LAWS,
    *regression_theory.LAWS,
    *regression_training.LAWS,
    *regression_gpt.LAWS,
)


def find(label: str) -> list[Law]:
    """All laws of a label, e.g. "L3" or "O1"; "L" selects a chapter.

    Raises:
        ValueError: no such label.
    """
    laws = [
        law
        for law in LAWS
        if law.label.lower() == label.lower() or law.label.rstrip("0123456789").lower() == label.lower()
    ]
    if not laws:
        known = ", ".join(dict.fromkeys(law.label for law in LAWS))
        raise ValueError(f"label: got {label!r}, expected one of {known}, or a chapter's letter")
    return laws


def of_rule(name: str) -> list[Law]:
    """The laws of one update rule: its forms, and its part in the laws of the family.

    Raises:
        ValueError: no such rule.
    """
    if name not in rules.LABELS:
        raise ValueError(f"rule: got {name!r}, expected one of {', '.join(rules.LABELS)}")
    own = [law for law in rules.LAWS if law.label in (rules.LABELS[name], rules.OTHER_LABELS.get(name))]
    shared = [(law, tuple(c for c in law.cases if name in _rules_in(c.name))) for law in FAMILY]
    return [*own, *(replace(law, cases=cases) for law, cases in shared if cases)]


def _rules_in(case: str) -> list[str]:
    """The words of a case's name, with the rules that it spells in two words as they are called."""
    return re.findall(r"\w+", case.replace("gated delta", "gated_delta").replace("linear attention", "linear_attn"))
