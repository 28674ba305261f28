"""The identities as data, each with the stamp that it earns: proved, bounded, measured or refuted.

`LAWS` lists them in the order of the chapters, `find` selects by label, and `check` earns one stamp of one law:

>>> from dualform.laws import check, find
>>> check(find("L7")[0], "proved").passed
True
"""

import re
from dataclasses import replace

from dualform.laws.attention import laws as attention
from dualform.laws.checks import Result as Result
from dualform.laws.checks import check as check
from dualform.laws.descent import laws as descent
from dualform.laws.features import laws as features
from dualform.laws.fewshot import laws as fewshot
from dualform.laws.law import STAMPS as STAMPS
from dualform.laws.law import Case as Case
from dualform.laws.law import Experiment as Experiment
from dualform.laws.law import Law as Law
from dualform.laws.law import Measurement as Measurement
from dualform.laws.linear import laws as linear
from dualform.laws.patch import laws as patch
from dualform.laws.peft import laws as peft
from dualform.laws.regression.depth import laws as depth
from dualform.laws.regression.gpt import laws as gpt
from dualform.laws.regression.layers import laws as layers
from dualform.laws.regression.theory import laws as theory
from dualform.laws.regression.training import laws as training
from dualform.laws.rules import calls, family, induction
from dualform.laws.rules import laws as rules
from dualform.laws.shard import laws as shard

FAMILY: tuple[Law, ...] = (*family.LAWS, *induction.LAWS, *calls.LAWS, *shard.LAWS)
"""The laws that rules share."""

CHAPTERS = (attention, features, patch, peft, fewshot, layers, depth, theory, training, gpt)
LAWS: tuple[Law, ...] = (
    *linear.LAWS, *descent.LAWS, *rules.LAWS, *FAMILY, *(law for chapter in CHAPTERS for law in chapter.LAWS)
)  # fmt: skip


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
