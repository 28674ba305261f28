"""What is made from a rule's record: signatures, docstrings, their examples, and the errors of a wrong call."""

import doctest
import inspect

import jax.numpy as jnp
import pytest

from dualform import linear
from dualform.rules import NAMES, RULES, delta, final_states, over_heads, ttt

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


def test_rules_are_given_by_name_or_by_record():
    x = jnp.ones((1, 2, 1, 2))
    one, other = (over_heads(rule, x, x, x)[0] for rule in ("linear_attn", RULES["linear_attn"]))
    assert (one == other).all()
    by_name = final_states("linear_attn", x[0, :, 0], x[0, :, 0], x[0, :, 0], segment_ids=jnp.array([0, 1]))
    assert by_name.shape == (2, 2, 2)
    with pytest.raises(ValueError, match="rule: got a list; pass a name or a record"):
        over_heads([], x, x, x)


def test_another_name_is_answered_with_the_nearest():
    with pytest.raises(KeyError, match=r"'deltanet', expected one of linear_attn.*; did you mean 'delta'"):
        RULES["deltanet"]
    with pytest.raises(ValueError, match=r"rule: got 'gla2', .*; did you mean 'gla'"):
        over_heads("gla2", None, None, None)
    with pytest.raises(TypeError, match=r"dualform.rules.delta is a module; call RULES\['delta'\]\(q, k, v"):
        delta(1, 2, 3)


def test_a_transposed_weight_is_said_to_look_transposed():
    with pytest.raises(ValueError, match=r"W0: got shape \(3, 2\), .*it looks transposed"):
        linear.primal(jnp.ones((3, 2)), jnp.ones((4, 2)), jnp.ones((4, 3)), jnp.ones(3))
