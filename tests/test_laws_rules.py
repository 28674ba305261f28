"""The laws of chapter 4: every rule, every form; and the laws between rules."""

import pytest
from earned import earns_what_it_claims

from dualform.laws import FAMILY, check, find, of_rule
from dualform.laws.law import BOUNDED, MEASURED, PROVED, REFUTED
from dualform.laws.rules import laws as rules
from dualform.rules import RULES

LAWS = [pytest.param(law, id=f"{law.label} {law.title[:30]}") for law in (*rules.LAWS, *FAMILY)]


@pytest.mark.parametrize("law", LAWS)
def test_laws_earn_what_they_claim(law):
    earns_what_it_claims(law)


@pytest.mark.parametrize("name", RULES)
def test_rules_are_bounded_in_bfloat16(name):
    (law,) = find(RULES[name].label)[:1]
    result = check(law, BOUNDED, quick=True, dtypes=("bfloat16",))
    assert result.earned == BOUNDED, result.reason


def test_every_rule_has_its_laws():
    for name in RULES:
        laws = of_rule(name)
        assert laws[0].label == RULES[name].label
        assert len(laws) >= 4  # its forms, cutting, packing, causality at least
    with pytest.raises(ValueError, match="expected one of linear_attn"):
        of_rule("deltanet")


def test_all_kinds_of_stamps_occur():
    stamps = {stamp for law in (*rules.LAWS, *FAMILY) for stamp in law.stamps}
    assert stamps == {PROVED, BOUNDED, MEASURED, REFUTED}


def test_mesa_names_a_ridge_that_is_not_positive_inside_a_trace_too():
    """A constant of the traced program is concrete: its check must not compute with JAX, which would record instead."""
    import jax
    import jax.numpy as jnp

    q = jnp.ones((2, 3))
    lam = jnp.array([1.0, -2.0, 1.0])
    with pytest.raises(ValueError, match="lam: got -2"):
        jax.jit(lambda q: RULES["mesa"](q, q, q, beta=jnp.ones(2), g=jnp.zeros(2), lam=lam)[0])(q)
