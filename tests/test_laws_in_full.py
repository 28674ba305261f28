"""That a full run leaves nothing out: no law, stamp, case, form, gradient, dtype or draw. The rest tests laws in short.

What is compared is recorded and not computed, so all laws fit here; made-up laws show that a recorded comparison, done
for real, notices a wrong program wherever it stands.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dualform.laws import LAWS, Case, Law, Measurement, check, checks
from dualform.laws.law import BOUNDED, MEASURED, PROVED, REFUTED, Comparison
from dualform.prove import Certificate
from dualform.verify import DTYPES, plan

DRAWS = 3
"""Random inputs of a bounded law, unless it says otherwise."""


@pytest.fixture
def recorded(monkeypatch):
    """Everything that `check` compares, in order, and nothing computed."""
    calls = []

    def identical(f, g, *inputs, seed):
        calls.append((f, g))
        return Certificate(True, 1e-20, 0, primes=(), trials=3, seed=seed, over_rationals=True)

    def compare_forms(case, arguments, dtype, result):
        calls.append((case.name, tuple(case.forms.items()), dtype))

    monkeypatch.setattr(checks, "identical", identical)
    monkeypatch.setattr(checks, "traced_once", lambda f: f)
    monkeypatch.setattr(checks, "pullback", lambda f: ("pullback", f))
    monkeypatch.setattr(checks, "output_shapes", lambda f, inputs: ())
    monkeypatch.setattr(checks, "normal", lambda case, rng: ())
    monkeypatch.setattr(checks, "_compare_forms", compare_forms)
    return calls


def unsampled(law):
    """The law without its draws and trainings, which take time."""
    cases = tuple(case if case.sample is None else replace(case, sample=lambda rng: ()) for case in law.cases)
    return replace(law, cases=cases, observe=law.observe and (lambda seed, quick: []))


def claims(stamp):
    return [law for law in LAWS if stamp in law.stamps]


def test_the_plan_has_every_law_at_every_stamp():
    jobs = plan(quick=False, thorough=True, only=None, seed=7)
    planned = [job.args for _, job in jobs]
    assert planned == [(law, stamp, 7, False) for law in LAWS for stamp in law.stamps]
    full = [job.args[0] for _, job in plan(quick=False, only=None, seed=0)]
    assert {law.name for law in LAWS} - {law.name for law in full} == {law.name for law in LAWS if law.thorough}
    assert set(DTYPES["full"]) == set(checks.UNIT) == {"float64", "float32", "bfloat16", "float16"}


def test_proofs_compare_every_form_of_every_case_and_its_gradients(recorded):
    for law in claims(PROVED):
        recorded.clear()
        result = check(unsampled(law), PROVED)
        expected = []
        for case in law.cases:
            first, *others = case.forms.values()
            for form in others:
                expected.append((first, form))
                expected += [(("pullback", first), ("pullback", form))] * case.gradient
        assert recorded == expected, law.name
        assert len(result.details) == len(expected) > 0


def test_bounds_are_taken_in_every_dtype_and_draw_of_every_case(recorded):
    for law in claims(BOUNDED):
        recorded.clear()
        assert not check(unsampled(law), BOUNDED, dtypes=DTYPES["full"]).passed  # for nothing was compared
        dtypes = [d for d in DTYPES["full"] if d in (law.dtypes or DTYPES["full"])]
        expected = [
            (case.name, tuple(case.forms.items()), dtype)
            for case in law.cases
            if case.bounded
            for _ in range(law.draws)
            for dtype in (["float32"] if case.exact else dtypes)
        ]
        assert recorded == expected, law.name
        assert (expected or law.observe) and dtypes and law.draws > 0


def test_what_a_law_observes_is_weighed_with_the_seed_of_the_run():
    seen = []

    def observe(seed, quick):
        seen.append((seed, quick))
        return [Comparison("a network", "rebuilt", "float32", 2.0, 2e-3, 1e-3, 1e-3)]

    observing = [law for law in claims(BOUNDED) if law.observe]
    assert [law.key for law in observing] == ["O9.digits"]
    for law in observing:
        result = check(replace(law, observe=observe), BOUNDED, seed=5, quick=True)
        assert result.earned == "failed" and "off by 0.002, bound 0.001" in result.reason and seen == [(5, True)]


def test_every_counterexample_is_looked_for(recorded):
    for law in claims(REFUTED):
        recorded.clear()
        assert not check(unsampled(law), REFUTED).passed  # the recorder calls everything equal
        assert recorded == [tuple(case.forms.values()) for case in law.cases] != [], law.name


def test_measurements_are_made():
    seen = []

    def measure(rng):
        seen.append(rng.bit_generator.random_raw())
        return Measurement(1.0, 0.9, 1.1, 0.0, "made up", True)

    for law in claims(MEASURED):
        assert law.measure is not None
        assert check(replace(law, measure=measure), MEASURED, seed=5).passed
    assert seen == [np.random.default_rng(5).bit_generator.random_raw()] * len(claims(MEASURED))


# --- done for real ----------------------------------------------------------------------------------------------------

FORMS = {"sum": jnp.sum, "backwards": lambda x: jnp.sum(x[::-1]), "product": lambda x: x @ jnp.ones_like(x)}
CASES = tuple(Case(f"{n} numbers", FORMS, ((n,),), lambda rng, n=n: (rng.uniform(1, 2, n),)) for n in (2, 3))
LAW = Law("X1", "made up", "f = g", CASES)
PLACES = [(case, name) for case in range(len(CASES)) for name in list(FORMS)[1:]]


def planted(place, form):
    case, name = place
    return replace(LAW, cases=tuple(c.with_form(name, form) if i == case else c for i, c in enumerate(CASES)))


def test_the_law_stands():
    assert check(LAW, PROVED).passed
    result = check(LAW, BOUNDED, dtypes=DTYPES["full"])
    compared = [(entry["case"], entry["form"], entry["dtype"]) for entry in result.details]
    assert result.passed and compared == [
        (case.name, form, dtype)
        for case in CASES
        for _ in range(DRAWS)
        for dtype in DTYPES["full"]
        for form in FORMS
        if form != "sum" or dtype in ("float64", "float32")  # a definition has no 16 bits
    ]


def test_comparing_nothing_earns_nothing():
    """Neither a dtype that the law has not, nor a first case that is only proved, may pass for a check in short."""
    assert "nothing was compared" in check(LAW, BOUNDED, dtypes=()).reason
    only_proved = replace(LAW, cases=(replace(CASES[0], bounded=False), CASES[1]))
    assert {entry["case"] for entry in check(only_proved, BOUNDED, quick=True).details} == {CASES[1].name}


@pytest.mark.parametrize("place", PLACES)
def test_one_wrong_value_is_refuted(place):
    wrong = check(planted(place, lambda x: jnp.sum(x) + x[0]), PROVED)
    assert wrong.reason.startswith(f"{CASES[place[0]].name}: value of '{place[1]}' against 'sum': refuted")


@pytest.mark.parametrize("place", PLACES)
def test_one_wrong_gradient_is_refuted(place):
    stopped = planted(place, lambda x: jnp.sum(x[1:]) + jax.lax.stop_gradient(x[0]))
    assert check(stopped, PROVED).reason.startswith(f"{CASES[place[0]].name}: gradient of '{place[1]}'")


@pytest.mark.parametrize("dtype", DTYPES["full"])
@pytest.mark.parametrize("place", PLACES)
def test_one_wrong_dtype_is_out_of_its_bound(place, dtype):
    wrong = planted(place, lambda x: (1.5 if x.dtype == dtype else 1) * jnp.sum(x))
    result = check(wrong, BOUNDED, dtypes=DTYPES["full"])
    assert result.reason.startswith(f"{CASES[place[0]].name}: '{place[1]}' in {dtype} is off by")
    assert {entry["dtype"] for entry in result.details if entry["ratio"] > 1} == {dtype}


def test_what_holds_modulo_the_drawn_primes_only_is_no_proof_of_a_law(monkeypatch):
    law = next(law for law in LAWS if law.key == "L3")
    weaker = Certificate(True, 1e-20, 0, primes=(), trials=3, seed=0, over_rationals=False)
    monkeypatch.setattr(checks, "identical", lambda *arguments, seed: weaker)
    result = checks.check(law, PROVED)
    assert not result.passed and "modulo the drawn primes" in result.reason
