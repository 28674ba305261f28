"""What is made from a rule's record: signatures, docstrings, their examples, and the errors of a wrong call."""

import doctest
import inspect

import jax.numpy as jnp
import pytest

from dualform.rules import NAMES, RULES, delta, ttt

FORMS = ("descent", "recurrent", "parallel", "chunked", "step", "errors")
rules = pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())


@rules
@pytest.mark.parametrize("form", FORMS)
def test_the_docstring_of_a_form_explains_every_argument(rule, form):
    function = rule.form(form)
    assert (function.__name__, function.__module__) == (form, f"dualform.rules.{rule.name}")
    for name in inspect.signature(function).parameters:
        assert f"{name}:" in function.__doc__ or f"{name}, " in function.__doc__, name
    for part in ("Args:", "Returns:", "Raises:", "Cost:", "References:"):
        assert part in function.__doc__, part
    assert f"({rule.label})" in function.__doc__ or f"({rule.update})" in function.__doc__
    assert max(map(len, function.__doc__.splitlines())) <= 120


@rules
def test_examples_of_the_forms_hold(rule):
    """Doctest does not collect them: their functions are made in another module."""
    text, names = rule.form("recurrent").__doc__, dict(vars(rule.module))
    example = doctest.DocTestParser().get_doctest(text, names, rule.name, None, 0)
    assert len(example.examples) >= 2
    assert doctest.DocTestRunner().run(example).failed == 0


def test_the_names_are_the_keys():
    assert tuple(RULES) == NAMES == tuple(rule.name for rule in RULES.values())


def test_signatures_are_those_of_the_contract():
    assert str(inspect.signature(delta.chunked)) == (
        "(q, k, v, *, beta, scale=1.0, initial_state=None, segment_ids=None, chunk_size=64)"
    )
    assert str(inspect.signature(ttt.step)) == "(state, q_t, k_t, v_t, *, beta, minibatch, norm=None, scale=1.0)"
    assert str(inspect.signature(RULES["mesa"].form("errors"))) == (
        "(q, k, v, *, beta, g, lam, solver='exact', iterations=None, initial_state=None, segment_ids=None)"
    )


def test_a_missing_or_unknown_argument_is_named_with_the_rule():
    x = jnp.eye(2)
    with pytest.raises(
        TypeError, match=r"delta.recurrent: missing a required.* 'beta'; .*recurrent\(q, k, v, \*, beta"
    ):
        delta.recurrent(x, x, x)
    with pytest.raises(TypeError, match=r"delta.parallel: got an unexpected keyword argument 'g'"):
        RULES["delta"](x, x, x, beta=jnp.ones(2), g=jnp.zeros(2), form="parallel")
