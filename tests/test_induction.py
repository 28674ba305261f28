"""The induction over chunks: what its laws leave to tests, and that its parts fail when they should."""

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dualform.laws import check, find
from dualform.laws.law import PROVED
from dualform.laws.rules import induction
from dualform.prove import ProofError, identical
from dualform.prove.programs import Signature
from dualform.rules import RULES

DELTA = RULES["delta"]
T_BETWEEN = sum(n * induction.size(DELTA) for n in induction.TURNS) // 2


@pytest.mark.parametrize("name", RULES)
def test_no_tokens_leave_the_state_alone(name):
    """The base of the induction at T = 0."""
    rule = RULES[name]
    inputs = Signature.of(induction.quantified(rule, 0))
    q, k, v, own, start, _ = jax.tree.unflatten(inputs.tree, [jnp.ones(x.shape) for x in inputs.leaves])
    for form in ("recurrent", "chunked"):
        o, state = rule.form(form)(q, k, v, **own, initial_state=start, **rule.tried)
        assert o.shape == v.shape
        jax.tree.map(np.testing.assert_array_equal, state, start)


@pytest.mark.parametrize("name", RULES)
def test_every_rule_has_all_parts(name):
    C = induction.size(RULES[name])
    one, fold = (find(label)[0] for label in ("F9", "F10"))
    tokens = [case.name for case in one.cases if case.gradient and case.name.startswith(f"{name}:")]
    assert tokens == [f"{name}: {n} of {C} tokens" for n in range(C, 0, -1)]
    folds = [case for case in fold.cases if case.name.startswith(f"{name}:")]
    assert [case.inputs[0][0] for case in folds] == [2 * C, 2 * C + 1, 2 * C + 1]
    gated = [case for case in one.cases if case.name.startswith(f"{name}: {C} tokens, resets")]
    assert len(gated) >= 2**C - 1 or not any(gate.log for gate in RULES[name].gates)


def only(law, start):
    return replace(law, cases=tuple(case for case in law.cases if case.name.startswith(start)))


def late(form):
    """Right up to 50 chunks, then another program."""

    def f(q, k, v, gates, S, scale):
        o, S = form(q, k, v, gates, S, scale)
        return (o, S) if len(q) <= T_BETWEEN else (o + 0 * o, S)

    return f


def test_a_loop_that_changes_its_mind_is_caught():
    """At two and three chunks no arithmetic can see it."""
    law = only(find("F10")[0], "delta: 2 chunks of 3 and")
    assert check(law, PROVED).passed
    case = law.cases[0]
    broken = induction.the_same_loop(DELTA, late(induction.chunked(DELTA)))
    with pytest.raises(ProofError, match="not the same loop forward"):
        identical(case.forms["chunk by chunk"], broken, *case.inputs)


def test_a_backward_pass_that_changes_its_mind_is_caught():
    chunked = induction.chunked(DELTA)

    def f(q, k, v, gates, S, scale):
        @jax.custom_vjp
        def same(x):
            return x

        back = (lambda _, y: (y,)) if len(q) <= T_BETWEEN else (lambda _, y: (0 * y,))
        same.defvjp(lambda x: (x, None), back)
        return chunked(same(q), k, v, gates, S, scale)

    broken = induction.the_same_loop(DELTA, f)
    with pytest.raises(ProofError, match="not the same loop backward"):
        identical(chunked, broken, *induction.quantified(DELTA, 6))


def test_a_chunk_that_is_wrong_from_a_state_is_caught():
    """From zero it is right, so that the first chunk of a sequence shows nothing."""
    law = only(find("F9")[0], "delta: 3 of 3")
    (case,) = law.cases
    good = case.forms["chunked"]

    def forgets(q, k, v, gates, S, scale):
        o, after = good(q, k, v, gates, S, scale)
        return o - scale * (q @ S.T), after

    result = check(replace(law, cases=(replace(case, gradient=False).with_form("chunked", forgets),)), PROVED)
    assert not result.passed and "refuted" in result.reason


def test_names_in_other_libraries_are_given_for_every_rule():
    page = (Path(__file__).parents[1] / "docs" / "names.md").read_text(encoding="utf-8")
    for name in RULES:
        assert f"| `{name}`" in page, name
