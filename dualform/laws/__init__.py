"""The identities as data, each with the stamp that it earns: proved, bounded, measured or refuted.

`LAWS` lists them in the order of the chapters, `find` selects by label, and `check` earns one stamp of one law:

>>> from dualform.laws import check, find
>>> check(find("L7")[0], "proved").passed
True
"""

from dualform.laws import descent, family, linear, rules
from dualform.laws.checks import Result as Result
from dualform.laws.checks import check as check
from dualform.laws.law import STAMPS as STAMPS
from dualform.laws.law import Case as Case
from dualform.laws.law import Law as Law
from dualform.laws.law import Measurement as Measurement

LAWS: tuple[Law, ...] = (*linear.LAWS, *descent.LAWS, *rules.LAWS, *family.LAWS)


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
