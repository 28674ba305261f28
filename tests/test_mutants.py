"""The planted-bug zoo: the laws catch every wrong program, and no right one however it is written."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mutants import HARMLESS, MUTANTS

from dualform.laws import find
from dualform.laws.checks import normal
from dualform.laws.law import BOUNDED, MEASURED, PROVED
from dualform.testing.mutant import Mutant, Rate, catch_rate, caught, rate_of

named = {"ids": lambda mutant: mutant.name.replace(" ", "_")}
HALF_THE_DIGITS = 2.0**-26
"""Rounding in float64 does not reach this far in six short steps, and no mistake is as small."""


def compiled(form, gradient):
    """Values, or the vector-Jacobian product with ones, in float64 and without the engine."""

    def pulled_back(*arguments):
        values, pull_back = jax.vjp(form, *arguments)
        return pull_back(jax.tree.map(jnp.ones_like, values))

    program = jax.jit(pulled_back if gradient else form, compiler_options={"xla_backend_optimization_level": 0})

    def outputs(arguments):
        with jax.enable_x64(True):
            arguments = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), arguments)
            return [np.asarray(x) for x in jax.tree.leaves(program(*arguments))]

    return outputs


def difference(mutant, gradient=False):
    """The largest relative difference from the original on a few draws; infinite where the mutant is not finite."""
    worst = 0.0
    for case in mutant.originals():
        pair = [compiled(form, gradient) for form in (case.forms[mutant.form], mutant.replacement)]
        for seed in (5, 6, 7):
            arguments = (case.sample or functools.partial(normal, case))(np.random.default_rng(seed))
            for right, wrong in zip(*(outputs(arguments) for outputs in pair), strict=True):
                assert right.shape == wrong.shape and np.isfinite(right).all()
                gap = np.abs(np.where(np.isfinite(wrong), wrong, np.inf) - right)
                worst = max(worst, float(np.max(gap / np.max(np.abs(right), initial=1.0), initial=0.0)))
    return worst


# --- the zoo ----------------------------------------------------------------------------------------------------------


def test_the_zoo_is_large_and_covers_every_law():
    assert len(MUTANTS) >= 60
    assert len({m.name for m in (*MUTANTS, *HARMLESS)}) == len(MUTANTS) + len(HARMLESS)
    assert all(m.description for m in (*MUTANTS, *HARMLESS))
    assert sum(m.label.startswith("L") for m in MUTANTS) >= 30 and sum(m.label.startswith("O") for m in MUTANTS) >= 30
    claimed = {law.label for law in (*find("L"), *find("O")) if {PROVED, BOUNDED} & set(law.stamps)}
    assert {m.label for m in MUTANTS} >= claimed


# --- the laws ---------------------------------------------------------------------------------------------------------

CATCHES = {}


def caught_by(mutant):
    if mutant.name not in CATCHES:
        CATCHES[mutant.name] = caught(mutant)
    return CATCHES[mutant.name]


@pytest.mark.parametrize("mutant", MUTANTS, **named)
def test_every_mutant_is_caught(mutant, record_property):
    catch = caught_by(mutant)
    record_property("planted bug", f"{catch.stamp} {catch.of}" if catch else "missed")
    assert catch is not None, f"{mutant.name} ({mutant.description}) earns every stamp of {mutant.label}"
    assert catch.verdict in ("refuted", "off"), catch  # a counterexample or a broken bound, not a mere lack of proof
    assert (
        catch.mutant == mutant.name and catch.law.startswith((f"{mutant.label}: ", f"{mutant.label}.")) and catch.reason
    )
    assert mutant.case in (None, catch.case)
    # and rightly so: by numbers, without the engine, it is another function or has another derivative
    if catch.of == "gradient":
        assert difference(mutant) <= HALF_THE_DIGITS < difference(mutant, gradient=True)
    elif catch.stamp == BOUNDED:
        assert difference(mutant) > HALF_THE_DIGITS
    elif catch.stamp == MEASURED:  # off by more than its uncertainty; the law itself is measured elsewhere
        assert catch.reason.startswith("measured ")
    else:
        assert (found := re.search(r"f = (\S+), g = (\S+) on inputs", catch.reason)), catch.reason
        assert float(found[1]) != float(found[2])


@pytest.mark.parametrize("mutant", HARMLESS, **named)
def test_no_harmless_variant_is_caught(mutant):
    assert caught(mutant) is None
    assert all(mutant.replacement is not case.forms[mutant.form] for case in mutant.originals())


@pytest.mark.parametrize("seed", [1])
@pytest.mark.parametrize("name", ["dual: epsilon", "dual: stopped keys", "clip: twice", "precision: TF32 patterns"])
def test_a_catch_does_not_depend_on_the_draw(name, seed):
    mutant = next(m for m in MUTANTS if m.name == name)
    first, again = caught_by(mutant), caught(mutant, seed=seed)
    assert (again.stamp, again.of, again.verdict) == (first.stamp, first.of, first.verdict)


def test_gradients_are_needed():
    stopped = next(m for m in MUTANTS if m.name == "dual: stopped keys")
    assert difference(stopped) == 0.0
    assert (caught_by(stopped).stamp, caught_by(stopped).of) == (PROVED, "gradient")


def test_floating_point_is_needed():
    fraction = next(m for m in MUTANTS if m.name == "momentum 1: geometric series")
    assert caught_by(fraction).stamp == BOUNDED  # the same rational function, so no proof tells them apart
    anywhere_else = Mutant("elsewhere", "O4", "sum", fraction.replacement, "away from 0/0", "momentum")
    assert caught(anywhere_else) is None


# --- the records ------------------------------------------------------------------------------------------------------


def test_a_mutant_must_replace_something():
    with pytest.raises(ValueError, match=r"form: got 'dual' in case 'no such case', expected a form of .* law L3"):
        Mutant("lost", "L3", "dual", lambda *arguments: 0, "", case="no such case")
    with pytest.raises(ValueError, match=r"form: got 'duel', expected a form"):
        Mutant("lost", "L3", "duel", lambda *arguments: 0, "")
    with pytest.raises(ValueError, match=r"label: got 'L99'"):
        Mutant("lost", "L99", "dual", lambda *arguments: 0, "")


def test_planting_leaves_the_law_and_its_definition_alone():
    mutant = next(m for m in MUTANTS if m.name == "dual: sign")
    (law,) = mutant.planted()
    assert list(law.cases[0].forms) == ["definition", "dual"]
    assert law.cases[0].forms["dual"] is mutant.replacement
    (original,) = mutant.originals()
    assert original.forms["definition"] is law.cases[0].forms["definition"]
    assert original.forms["dual"] is not mutant.replacement


def test_the_definition_can_be_mutated_too():
    assert caught(Mutant("definition", "L4", "definition", lambda W0, E, X, x: W0 @ x, "", "one query")) is not None


def test_the_rate_counts_what_was_missed():
    fine = HARMLESS[0]
    rate = catch_rate([MUTANTS[0], fine])
    assert rate == Rate(2, (fine.name,), {"by proved value": 1})
    assert (rate.caught, str(rate)) == (1, f"1 of 2 planted bugs caught (1 by proved value); missed: {fine.name}")
    assert str(rate_of({})) == "0 of 0 planted bugs caught"
