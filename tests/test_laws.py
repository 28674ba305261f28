"""The laws: each earns what it claims, each labelled identity has one, and a false one fails."""

import re
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from earned import earns_what_it_claims
from hypothesis import given
from hypothesis import strategies as st

from dualform import descent, linear, testing
from dualform.laws import FAMILY, STAMPS, Case, Law, Measurement, check, find, of_rule
from dualform.laws import LAWS as EVERY
from dualform.laws.law import BOUNDED, MEASURED, PROVED, REFUTED, widened
from dualform.prove import identical, rounding_bound
from dualform.rules import RULES

CHAPTERS = [*find("L"), *find("O")]


# --- every law earns every stamp that it claims -----------------------------------------------------------------------


@pytest.mark.parametrize("law", [pytest.param(law, id=f"{law.label} {law.title[:40]}") for law in CHAPTERS])
def test_laws_earn_what_they_claim(law):
    earns_what_it_claims(law)


@pytest.mark.parametrize("law", [pytest.param(law, id=law.name[:40]) for law in CHAPTERS if REFUTED in law.stamps])
def test_counterexamples_of_refuted_claims_stand(law):
    for case in law.cases:
        claimed, truth = case.forms.values()
        example = identical(claimed, truth, *case.inputs).counterexample
        number, element = re.fullmatch(r"result (\d+), element \[(.*)\]", example.path).groups()
        place = int(number), tuple(int(i) for i in element.split(",") if i)
        arguments = jax.tree.map(np.float64, example.inputs)
        (a, bound_a), (b, bound_b) = (again(form, arguments, place) for form in (claimed, truth))
        assert abs(a - b) > bound_a + bound_b  # the two sides differ by more than rounding can do
        # the counterexample is of the programs as they are traced by default, where 0.1 is the float32 next to it
        for form, value in ((claimed, example.f), (truth, example.g)):
            here, bound = traced(form, arguments, place)
            assert abs(here - value) <= bound


def again(form, arguments, place):
    """One element of a form's result, run in float64, and the bound on its rounding error."""
    number, element = place
    with jax.enable_x64(True):
        result = jax.tree.leaves(form(*jax.tree.map(jnp.asarray, arguments)))[number]
        _, bound = rounding_bound(form, *arguments)
    return float(result[element]), float(jax.tree.leaves(bound)[number][element])


def traced(form, arguments, place):
    """One element of a form's result as it is traced in float32, and the bound on the rounding of that."""
    number, element = place
    value, bound = rounding_bound(form, *jax.tree.map(np.float32, arguments))
    return tuple(float(jax.tree.leaves(x)[number][element]) for x in (value, bound))


def test_a_check_is_repeatable():
    law = find("L2")[0]
    for stamp in law.stamps:
        assert check(law, stamp, seed=3, quick=True).details == check(law, stamp, seed=3, quick=True).details
    one, two = (check(law, PROVED, seed=seed, quick=True).details[0]["primes"] for seed in (3, 4))
    assert one != two


# --- labels -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chapter", [linear, descent], ids=["linear", "descent"])
def test_every_labelled_identity_has_a_law_and_every_law_a_label(chapter):
    defined = re.findall(r"\\tag\{(\w+)\}", chapter.__doc__)
    assert len(defined) >= 10
    laws = find(defined[0][0])
    assert {law.label for law in laws} == set(defined)
    for label in defined:
        assert any({PROVED, BOUNDED} & set(law.stamps) for law in laws if law.label == label), label


def test_laws_have_names_of_their_own():
    names = [law.name for law in EVERY]
    assert len(set(names)) == len(names)
    for law in CHAPTERS:
        assert law.name == f"{law.key}: {law.title}" and law.statement
        assert len({case.name for case in law.cases}) == len(law.cases)
        assert all(len(case.forms) >= 2 for case in law.cases)
        assert law.source or REFUTED not in law.stamps, f"{law.name}: whose claim is refuted?"


def test_find_selects_by_label_or_chapter():
    assert [law.label for law in find("l3")] == ["L3"]
    assert {law.label for law in find("O")} == {law.label for law in EVERY if re.fullmatch(r"O\d+", law.label)}
    assert [law.stamps for law in find("L7")] == [(PROVED, BOUNDED), (REFUTED,)]
    for unknown in ("L99", "", "X", "3"):
        with pytest.raises(
            ValueError, match=rf"label: got {unknown!r}, expected one of L1, L2.*a chapter's letter, or a key"
        ):
            find(unknown)


# --- a false law fails ------------------------------------------------------------------------------------------------


def law_of(forms, stamps=(PROVED,), inputs=((3,),), **options):
    return Law("X1", "made up", "f = g", (Case("the case", forms, inputs, **options),), stamps)


def test_a_law_must_claim_a_known_stamp():
    with pytest.raises(ValueError, match=r"stamps: expected some of .*, got \('true',\)"):
        replace(CHAPTERS[0], stamps=("true",))
    with pytest.raises(ValueError, match=r"stamps: expected some of"):
        replace(CHAPTERS[0], stamps=())
    with pytest.raises(ValueError, match=r"stamp: L1 claims \('proved', 'bounded'\), got 'refuted'"):
        check(find("L1")[0], REFUTED)
    assert set(STAMPS) == {PROVED, BOUNDED, MEASURED, REFUTED}


def test_a_false_identity_is_not_proved():
    result = check(law_of({"cube": lambda x: x**3, "square": lambda x: x**2}), PROVED)
    assert not result.passed and result.earned == "failed"
    assert result.reason.startswith("the case: value of 'square' against 'cube': refuted: at result 0")


def test_a_wrong_gradient_is_not_proved():
    detached = law_of({"square": lambda x: x * x, "detached": lambda x: x * jax.lax.stop_gradient(x)})
    assert check(detached, PROVED, quick=True).passed  # values alone
    assert "gradient of 'detached' against 'square'" in check(detached, PROVED).reason
    assert check(replace(detached, cases=(replace(detached.cases[0], gradient=False),)), PROVED).passed


def test_a_form_is_bounded_by_the_definition_not_by_itself():
    result = check(law_of({"sum": jnp.sum, "wrong": lambda x: 1.01 * jnp.sum(x)}, (BOUNDED,)), BOUNDED)
    assert result.worst > 1e3 and result.reason.startswith("the case: 'wrong' in float32 is off by")


def test_a_program_that_loses_its_digits_is_vacuous_not_bounded():
    def cancelled(x):
        return (x + 2.0**26) - 2.0**26

    result = check(law_of({"x": lambda x: x, "cancelled": cancelled}, (BOUNDED,)), BOUNDED)
    assert result.earned == "vacuous" and not result.passed and result.worst <= 1.0
    assert "the bound of 'cancelled' in float32 is" in result.reason


def test_nan_is_out_of_every_bound():
    result = check(law_of({"zero": jnp.zeros_like, "0/0": lambda x: (x - x) / (x - x)}, (BOUNDED,)), BOUNDED)
    assert not result.passed and result.worst == np.inf


def test_exact_means_exact():
    def ones(rng):
        return (np.ones(3),)

    next_float = {"x": lambda x: x, "next": lambda x: x + jnp.finfo(jnp.float32).eps}
    result = check(law_of(next_float, (BOUNDED,), sample=ones, exact=True), BOUNDED)
    assert not result.passed and result.worst == np.inf and "bound 0" in result.reason
    assert check(
        law_of({"x": lambda x: x, "same": lambda x: x + 0.0}, (BOUNDED,), sample=ones, exact=True), BOUNDED
    ).passed


def test_a_true_claim_is_not_refuted():
    result = check(law_of({"as claimed": lambda x: x + x, "truth": lambda x: 2 * x}, (REFUTED,)), REFUTED)
    assert not result.passed and "no counterexample to 'as claimed' = 'truth'" in result.reason


def test_a_measurement_must_hold():
    def fails(rng):
        return Measurement(0.5, 0.4, 0.6, 0.5, "no better than the control", False)

    law = Law("X1", "made up", "f > g", (), (MEASURED,), measure=fails)
    assert "no better than the control" in check(law, MEASURED).reason
    assert "has no experiment" in check(replace(law, measure=None), MEASURED).reason


def test_replacing_a_form_leaves_the_case_alone():
    case = find("L4")[0].cases[0]
    wrong = case.with_form("recurrent", linear.primal)
    assert list(wrong.forms) == list(case.forms) and wrong.forms["recurrent"] is linear.primal
    assert case.forms["recurrent"] is linear.recurrent


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_widened_forms_compute_in_float32_and_return_what_came(dtype):
    seen = []

    def double(x):
        seen.append(x.dtype)
        return x + x

    assert widened(double)(jnp.ones(2, dtype)).dtype == dtype
    assert seen == [jnp.float32]


# --- properties, on every family of problems --------------------------------------------------------------------------

FORMS = {
    "primal": jax.jit(linear.primal),
    "dual": jax.jit(linear.dual),
    "recurrent": jax.jit(linear.recurrent),
    "chunked": jax.jit(lambda W0, E, X, x: linear.chunked(W0, E, X, x, chunk_size=3)),
    "descent": jax.jit(linear.descent),
}
FEW = tuple(s for s in testing.LAYER_SHAPES if s.n in (0, 1, 5))


@given(st.data())
def test_all_forms_of_a_layer_agree_within_the_sum_of_their_bounds(data):
    dtype = data.draw(testing.float_dtypes(), label="dtype")
    problem = data.draw(testing.linear_problems(dtype, shapes=FEW), label="problem")
    computed = {name: np.asarray(form(*problem), np.float64) for name, form in FORMS.items()}
    bounds = {name: rounding_bound(form, *problem)[1] for name, form in FORMS.items()}
    first, *others = FORMS
    for name in others:
        with np.errstate(invalid="ignore"):
            gap = np.abs(computed[name] - computed[first])  # NaN where both overflow, and then the bounds are infinite
        allowed = bounds[name] + bounds[first]
        assert ((gap <= allowed) | np.isinf(allowed)).all(), (name, gap, allowed)
        if dtype == np.float32:
            assert np.isfinite(allowed).all()


@given(st.data())
def test_all_forms_of_a_layer_agree_bit_for_bit_on_integers(data):
    dtype = data.draw(st.sampled_from([np.float32, jnp.bfloat16]), label="dtype")
    shapes = [s for s in testing.LAYER_SHAPES if testing.largest_exact_integer(s, dtype) >= 1]
    problem = data.draw(testing.integer_problems(dtype, shapes=shapes), label="problem")
    first, *others = (np.asarray(form(*problem)) for form in FORMS.values())
    for other in others:
        assert (other == first).all()


@jax.jit
def run(optimizer, W0, gradients, scale):
    return descent.run(optimizer, W0, gradients, scale=scale)


@jax.jit
def by_coefficients(optimizer, W0, gradients, scale):
    a, c = descent.coefficients(optimizer, len(gradients), scale=scale)
    return a * W0 + jnp.tensordot(c, gradients, 1, precision="highest")


@given(testing.optimizer_runs(), st.integers(0, 2**32 - 1))
def test_the_coefficients_of_any_optimiser_are_those_of_its_run(drawn, seed):
    rng = np.random.default_rng(seed)
    W0, gradients = (rng.standard_normal(s).astype(np.float32) for s in ((2, 3), (drawn.steps, 2, 3)))
    scale = None if drawn.scale is None else drawn.scale.astype(np.float32)
    numbers = jax.tree.map(np.float32, drawn.optimizer)
    arguments = (numbers, W0, gradients, scale)
    ran, summed = (np.asarray(f(*arguments), np.float64) for f in (run, by_coefficients))
    allowed = rounding_bound(run, *arguments)[1] + rounding_bound(by_coefficients, *arguments)[1]
    assert np.isfinite(allowed).all()
    assert (np.abs(ran - summed) <= allowed).all()


def test_keys_are_unique_and_begin_with_their_label():
    keys = [law.key for law in EVERY]
    assert len(set(keys)) == len(keys) > 300
    for law in EVERY:
        assert law.key == law.label or law.key.startswith(f"{law.label}."), law.name
        assert law in find(law.key)
    assert {law.label for law in EVERY} <= set(keys), "the first law of a label has the label for its key"
    with pytest.raises(ValueError, match="key: got 'l4'"):
        Law("l4", "a title", "")
    with pytest.raises(ValueError, match=r"label: got 'L4\.stagnatio'.*did you mean L4\.stagnation\?"):
        find("L4.stagnatio")


def test_keys_do_not_change_unseen():
    """Documents, recorded runs and people name laws by their keys: a change belongs into tests/law_keys.txt as well."""
    known = (Path(__file__).parent / "law_keys.txt").read_text(encoding="utf-8").split()
    assert [law.key for law in EVERY] == known


def test_cases_of_the_family_say_which_rules_they_are_about():
    for law in FAMILY:
        for case in law.cases:
            assert case.rules and set(case.rules) <= set(RULES), (law.name, case.name)
    assert "W1" in [law.key for law in of_rule("rwkv7")]


WITH_DECOYS = [(law, name) for law in EVERY for name in law.decoys]


@pytest.mark.parametrize("law, name", WITH_DECOYS, ids=[f"{law.key} {name}" for law, name in WITH_DECOYS])
def test_no_measurement_holds_of_a_decoy(law, name):
    """As planted bugs must fail a proof: a law that zeros or a rival explanation pass says nothing."""
    assert not law.with_decoy(name).measure(np.random.default_rng(0)).holds


def test_laws_with_decoys_have_two_and_hold_without_them():
    for law in (law for law in EVERY if law.decoys):
        assert len(law.decoys) >= 2
        assert law.measure(np.random.default_rng(0)).holds
