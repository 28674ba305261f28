"""No law compares a program with itself, which would be proved whatever the program does."""

import jax
import jax.numpy as jnp
import pytest
from tautologies import same

from dualform.laws import LAWS, Case
from dualform.laws.law import PROVED
from dualform.linear import linear_attn

CHAPTERS = sorted({law.label.rstrip("0123456789") for law in LAWS if PROVED in law.stamps})
WITH_X = ((3, 2), (3, 2), (2,), (2, 2))


@pytest.mark.parametrize("letters", CHAPTERS)
def test_both_sides_of_a_proof_are_different_programs(letters):
    cases = [(law, case) for law in LAWS for case in law.cases if PROVED in law.stamps]
    mine = [(law, case) for law, case in cases if law.label.rstrip("0123456789") == letters]
    assert [(law.key, case.name, *pair) for law, case in mine for pair in same(case)] == []


def attended(E, X, x, context):
    return linear_attn(E, X, x)


@pytest.mark.parametrize(
    "other",
    [
        jax.jit(attended),
        lambda E, X, x, context: attended(E, X, x, 2 * context),  # no result needs what differs
        lambda E, X, x, context: jax.jit(lambda *a: linear_attn(*a))(E, X, x),
        jax.checkpoint(attended),
    ],
    ids=["jit", "another context", "jit inside", "checkpoint"],
)
def test_a_vacuous_case_is_seen(other):
    assert list(same(Case("vacuous", {"one": attended, "other": other}, WITH_X))) == [("one", "other")]


def test_a_rewritten_program_is_another():
    loop = lambda E, X, x, context: sum(E[i] * jnp.dot(X[i], x) for i in range(3))  # noqa: E731
    assert list(same(Case("two programs", {"one": attended, "other": loop}, WITH_X))) == []
    assert list(same(Case("constants", {"2": lambda E, *_: 2 * E, "3": lambda E, *_: 3 * E}, WITH_X))) == []
