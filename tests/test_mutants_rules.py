"""The planted bugs of the update rules: there are some for every rule and form, and for every law that names them.

That each is caught, and that what is harmless is not, is tested with all others in `test_mutants.py`.
"""

import pytest
from mutants import HARMLESS, MUTANTS
from mutants.rules.common import FORMS, by_rule, table

from dualform.laws import find
from dualform.laws.rules import laws as rules
from dualform.rules import RULES

PLANTED = {rule: by_rule(rule, MUTANTS) for rule in RULES}


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_has_planted_bugs_in_every_form(rule):
    forms = {form: [m for m in PLANTED[rule] if m.form == form] for form in FORMS}
    assert all(forms.values()), {form for form in FORMS if not forms[form]}
    assert len(PLANTED[rule]) >= 20
    assert any(m.label == "F1" and "packed" in m.name for m in PLANTED[rule])  # sequences packed into one
    assert any("initial state lost" in m.name for m in forms["errors"])


def test_every_setting_of_the_rules_laws_has_one():
    """Options of which another value is the default are forms of their own."""
    for label in {law.label for law in rules.LAWS}:
        assert any(m.label == label for m in MUTANTS), label
    for name in ("delta error", "conjugate gradients"):
        assert any(m.case == name for m in MUTANTS), name
    assert all(any(m.case == f"{rule}, integers" for m in PLANTED[rule]) for rule in RULES)


def test_every_rule_has_a_harmless_variant_but_those_that_are_like_another():
    without = {rule for rule in RULES if not by_rule(rule, HARMLESS)}
    assert without <= {"gated_delta", "gla"}


def test_the_table_counts_them_all():
    rows = table().splitlines()[2:]
    counts = [[int(cell) for cell in row.strip("| ").split(" | ")[1:]] for row in rows]
    assert len(rows) == len(RULES) + 1
    assert counts[-1] == [sum(column) for column in zip(*counts[:-1], strict=True)]
    assert counts[-1][-1] == sum(len(planted) for planted in PLANTED.values())


def test_a_case_named_by_a_mutant_is_a_case_of_its_law():
    for mutant in (m for planted in PLANTED.values() for m in planted):
        assert mutant.case in {case.name for law in find(mutant.label) for case in law.cases}
