"""The identities as data, each with the stamp that it earns: proved, bounded, measured or refuted.

`LAWS` lists them in the order of the chapters, `find` selects by label or key, and `check` earns one stamp of one law:

>>> from dualform.laws import check, find
>>> check(find("L7")[0], "proved").passed
True
"""

from dataclasses import replace
from difflib import get_close_matches

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
from dualform.rules import record

FAMILY: tuple[Law, ...] = (*family.LAWS, *induction.LAWS, *calls.LAWS, *shard.LAWS)
"""The laws that rules share."""

CHAPTERS = (attention, features, patch, peft, fewshot, layers, depth, theory, training, gpt)
LAWS: tuple[Law, ...] = (
    *linear.LAWS, *descent.LAWS, *rules.LAWS, *FAMILY, *(law for chapter in CHAPTERS for law in chapter.LAWS)
)  # fmt: skip


def find(name: str) -> list[Law]:
    """The laws of a label ("L4"), of a chapter's letters ("L"), or the one of a key ("L4.stagnation").

    Raises:
        ValueError: no such law.
    """
    wanted = name.lower()
    laws = [law for law in LAWS if wanted in (law.label.lower(), law.label.rstrip("0123456789").lower())]
    laws = laws or [law for law in LAWS if wanted == law.key.lower()]
    if not laws:
        known = dict.fromkeys(law.label for law in LAWS)
        near = get_close_matches(name, [*known, *(law.key for law in LAWS)], 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(
            f"label: got {name!r}, expected one of {', '.join(known)}, a chapter's letter, or a key of `dualform list`"
            f"{hint}"
        )
    return laws


def of_rule(name: str) -> list[Law]:
    """The laws of one update rule: its forms, and its part in the laws that rules share.

    Raises:
        ValueError: no such rule.
    """
    name = record.as_rule(name).name
    about = [(law, tuple(case for case in law.cases if name in case.rules)) for law in (*rules.LAWS, *FAMILY)]
    return [replace(law, cases=cases) for law, cases in about if cases]
