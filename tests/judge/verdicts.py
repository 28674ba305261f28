"""Batteries for what judges laws: checks, the report of a run, and the exit status of a command."""

import contextlib
import io
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np

from judge.bug import bare

bare("dualform.laws")
from dualform.laws import checks, law  # noqa: E402
from dualform.laws.checks import Result, check  # noqa: E402
from dualform.laws.descent.measured import trained_layers  # noqa: E402
from dualform.laws.features import measured as sampling  # noqa: E402
from dualform.laws.law import Case, Experiment, Law, Measurement  # noqa: E402

bare("dualform.laws", LAWS=(), Law=Law, Result=Result, check=check, find=lambda only: [], of_rule=lambda rule: [])
from dualform import cli, verify  # noqa: E402

SHAPE = ((3,),)
SQUARE, AGAIN, WRONG = (lambda x: x * x), (lambda x: x**2), (lambda x: x * x + 1)


def a_law(*forms, stamps=("proved",), inputs=SHAPE, measure=None, **case) -> Law:
    """A law of these forms, in one case."""
    named = {f"form {i}": form for i, form in enumerate(forms)}
    cases = (Case("a case", named, inputs, **case),) if forms else ()
    return Law("J1", "a law", "", cases, stamps=stamps, measure=measure, draws=2)


def earned(planted: Law, expected: str, **options) -> Result:
    result = check(planted, planted.stamps[0], seed=0, **options)
    assert result.earned == expected, f"{planted.stamps[0]}, {result.earned}, not {expected}: {result.reason}"
    assert result.passed == (expected == planted.stamps[0])
    return result


@jax.custom_vjp
def turned(x):
    """x * x with a gradient that is wrong."""
    return x * x


turned.defvjp(lambda x: (x * x, x), lambda x, ct: (3 * x * ct,))


def proved() -> None:
    """A proved law fails where a form is wrong, undecided or missing, in its value or its gradient."""
    result = earned(a_law(SQUARE, AGAIN), "proved")
    kinds = [detail["of"] for detail in result.details]
    assert kinds == ["value", "gradient"], kinds
    parts = [detail["failure_probability"] for detail in result.details]
    assert abs(result.failure_probability - sum(parts)) <= 1e-12 * sum(parts), "failure probabilities add up"
    three = earned(a_law(SQUARE, AGAIN, lambda x: x * x * 1), "proved")
    assert (
        len(three.details) == 4
        and three.failure_probability >= sum(d["failure_probability"] for d in three.details) * 0.999
    )
    earned(a_law(SQUARE, AGAIN, WRONG), "failed")
    earned(a_law(SQUARE, AGAIN, lambda x: jnp.where(x > 0, x * x, x * x)), "failed")  # undecided
    earned(a_law(SQUARE, turned), "failed")
    assert check(a_law(SQUARE, turned, gradient=False), "proved", seed=0).passed
    assert check(a_law(SQUARE, turned), "proved", seed=0, quick=True).passed, "a quick run has no gradients"
    earned(a_law(SQUARE), "failed")  # nothing to compare with
    empty = earned(a_law(), "failed")
    assert "nothing was compared" in empty.reason
    late = Law("J1", "two cases", "", (*a_law(SQUARE, AGAIN).cases, *a_law(SQUARE, WRONG).cases), stamps=("proved",))
    earned(late, "failed")
    limited = earned(a_law(lambda x: jnp.sqrt(x) ** 2, lambda x: x, gradient=False), "proved")
    assert limited.conditions == ("where the argument of sqrt is not negative",)


def off_by_one_unit(x):
    """In float32 the square of one element is off by much more than rounding."""
    return (x * x).at[77].add(1e-4)


def bounds() -> None:
    """A bounded law fails for one wrong element of many, for NaN, and where the bound says nothing."""
    options = dict(stamps=("bounded",), inputs=((200,),))
    fine = earned(a_law(SQUARE, AGAIN, **options), "bounded")
    assert fine.worst is not None and fine.worst <= 1
    earned(a_law(SQUARE, off_by_one_unit, **options), "failed")
    earned(a_law(SQUARE, lambda x: (x * x).at[3].set(jnp.nan), **options), "failed")
    earned(a_law(SQUARE, AGAIN, sample=lambda rng: (rng.standard_normal(200),), bounded=False, **options), "failed")
    earned(a_law(lambda x: (x + 1e9) - 1e9, lambda x: ((x + 1e9) - 1e9) * 1, **options), "vacuous")
    integers = dict(**options, exact=True, sample=lambda rng: (rng.integers(-4, 5, 200).astype(float),))
    earned(a_law(SQUARE, AGAIN, **integers), "bounded")
    earned(a_law(SQUARE, lambda x: x * x * (1 + 2.0**-23), **integers), "failed")
    earned(a_law(SQUARE, lambda x: jnp.where(x == 2, jnp.nan, x * x), **integers), "failed")
    within = earned(a_law(SQUARE, lambda x: x * x + 1e-3, within=lambda x: 0 * x + 2e-3, **options), "bounded")
    (share,) = {d["ratio"] for d in within.details[:2] if d["form"] == "form 1"}
    assert 0.3 < share < 0.7, share
    both = earned(a_law(SQUARE, AGAIN, **options), "bounded", dtypes=("float32", "bfloat16"))
    assert {d["dtype"] for d in both.details} == {"float32", "bfloat16"} and len(both.details) == 2 * (2 + 1)


def ratios() -> None:
    """Errors over bounds, element by element."""
    zero = np.zeros(3)
    found = checks._ratio(np.array([0, 1e-6, 0]), zero, np.array([1.0, 1e-7, 1.0]))
    assert abs(found["ratio"] - 10) < 1e-9 and found["error"] == 1e-6 and found["bound"] == 1e-7, found
    assert checks._ratio(zero, zero, zero)["ratio"] == 0.0
    assert checks._ratio(np.array([0, 1e-30, 0]), zero, zero)["ratio"] == np.inf
    assert checks._ratio(np.array([np.nan, 0, 0]), zero, zero + 1)["ratio"] == np.inf
    assert checks._ratio(zero, np.array([0, np.nan, 0]), zero + 1)["ratio"] == np.inf
    assert checks._ratio([zero + 2, zero], [zero, zero], [zero + 1, zero + 1])["ratio"] == 2.0
    assert checks._ratio(zero + 4, zero + 4, np.array([1.0, 2.0, 0.0]))["relative"] == 0.5
    assert checks._difference(zero, np.array([0, np.nan, 0]))["ratio"] == np.inf
    assert checks._difference(zero, np.array([0, 0, 1e-30]))["ratio"] == np.inf
    assert checks._difference(zero, zero)["ratio"] == 0.0
    assert checks._distance(np.zeros(3), np.zeros((3, 1))) == np.inf
    assert checks._distance([zero, zero + 3], [zero, zero]) == 3.0


def claims() -> None:
    """A refuted claim needs a counterexample, a measured one an experiment that holds."""
    earned(a_law(SQUARE, WRONG, stamps=("refuted",)), "refuted")
    earned(a_law(SQUARE, AGAIN, stamps=("refuted",)), "failed")
    earned(a_law(lambda x: jnp.sin(2 * x), lambda x: 2 * jnp.sin(x) * jnp.cos(x), stamps=("refuted",)), "failed")
    for holds in (True, np.True_, False, np.False_):
        measured = Measurement(1.0, 0.9, 1.1, 2.0, "a number", holds)
        earned(a_law(stamps=("measured",), measure=lambda rng, m=measured: m), "measured" if holds else "failed")
    earned(a_law(stamps=("measured",)), "failed")  # no experiment
    experiment = Experiment(lambda rng, f: Measurement(f(), 0, 0, 0, "", f() > 0), {"f": lambda: 1.0})
    assert experiment(np.random.default_rng(0)).holds
    assert not experiment.with_form("f", lambda: -1.0)(np.random.default_rng(0)).holds
    case = Case("a case", {"one": SQUARE, "two": AGAIN}, SHAPE)
    assert case.with_form("two", WRONG).forms == {"one": SQUARE, "two": WRONG}
    assert list(case.only(("two",)).forms) == ["two"] and case.only(()).forms == case.forms
    for stamps in ((), ("sworn",)):
        try:
            Law("J1", "", "", stamps=stamps)
        except ValueError:
            continue
        raise AssertionError(f"a law with the stamps {stamps}")
    half = law.widened(lambda x: x * 257 - x * 256)(jnp.ones(2, jnp.bfloat16))
    assert half.dtype == jnp.bfloat16 and np.all(np.asarray(half, float) == 1.0), "16-bit floats are computed in 32"


def samplers() -> None:
    """Monte Carlo against a formula: every pair must fit, without bias, and the control must not."""
    fits, off, biased = (1.01, 0.01, 0.5), (1.2, 0.01, 0.5), (1.01, 0.01, 7.0)
    for found, control, holds in (
        ([fits, fits], 2.0, True), ([fits, off], 2.0, False), ([off, fits], 2.0, False), ([fits, biased], 2.0, False),
        ([fits, fits], 1.0, False), ([fits, (0.8, 0.05, 0.1)], 1.02, False),
    ):  # fmt: skip
        assert bool(sampling.judged(found, control, "").holds) == holds, (found, control)
    numbers = np.random.default_rng(0).standard_normal(10_000)
    mean, error = sampling.mean_and_error(numbers)
    assert abs(error - 0.01) < 0.0005 and abs(mean - numbers.mean()) < 1e-12
    rng = np.random.default_rng(0)
    for draws in (3, 4):
        W = np.asarray(sampling.sets_of(sampling.independent, rng, 4, draws, 5))
        assert W.shape == (4, draws, 5) and not np.array_equal(W[0], W[1])


def runs() -> None:
    """A run passes if every law earned every stamp that it claims, and if there was one."""
    good, bad = Result("J1", "a law", "proved", True), Result("J2", "another", "proved", False, reason="wrong")
    assert verify.Report(0, True, results=[good]).passed
    assert (
        not verify.Report(0, True, results=[good, bad]).passed
        and not verify.Report(0, True, results=[bad, good]).passed
    )
    assert not verify.Report(0, True).passed, "a run of nothing"
    assert verify.Report(0, True, results=[bad]).to_dict()["results"][0]["earned"] == "failed"
    assert verify._plain({"a": np.inf, "b": [np.float64(1)]}) == {"a": None, "b": [1.0]}

    def raising(rng):
        raise RuntimeError("no such thing")

    broken = a_law(stamps=("measured",), measure=raising)
    rows = verify._checked(broken, "measured", 0, True)
    assert [r.earned for r in rows] == ["error"] and not rows[0].passed and "no such thing" in rows[0].traceback
    several = Law("J3", "a law", "", a_law(SQUARE, AGAIN).cases, stamps=("proved", "bounded"), full_only=("bounded",))
    long = Law("J4", "a law", "", a_law(SQUARE, AGAIN).cases, thorough=True)
    verify.LAWS = (several, long)
    verify.find = lambda only: [several, long]
    for options, jobs in (
        (dict(quick=False), ["J3 proved", "J3 bounded"]), (dict(quick=True), ["J3 proved"]),
        (dict(quick=False, thorough=True), ["J3 proved", "J3 bounded", "J4 proved", "J4 bounded"]),
    ):  # fmt: skip
        found = [name for name, _ in verify.plan(**options, only=None, seed=0)]
        assert found == jobs, f"{options}: {found}"
    seen = []
    verify.check = lambda planted, stamp, *, seed, quick, dtypes: seen.append((stamp, seed, dtypes)) or good
    for _, job in verify.plan(quick=False, only="J", seed=3, proof_seed=11):
        job()
    full = ("float64", "float32", "bfloat16", "float16")
    assert seen == [("proved", 11, full), ("bounded", 3, full)], seen
    seen.clear()
    report = verify.verify(quick=True, only="J", seed=4)
    assert report.passed and len(report.results) == 1 and (report.seed, report.proof_seed) == (4, 4)
    proved = verify.script(Result("J3", "a law", "proved", False), verify.Report(3, True, proof_seed=11))
    assert "seed=11" in proved and "seed=3" in verify.script(
        Result("J3", "a law", "bounded", False), verify.Report(3, True, proof_seed=11)
    )


def trained() -> None:
    """The trained network, its training replaced: off by more than the bound, or a bound that says nothing."""
    layer = SimpleNamespace(gradients=np.zeros((2, 5, 3)))
    training = SimpleNamespace(layers=(layer,), optimizer=None, accuracy=0.9)

    def result(error, bound):
        compared = SimpleNamespace(
            trained=np.ones((2, 2)),
            error=np.array(error),
            bound=np.array(bound),
            ratio=float(np.max(np.divide(error, bound))),
        )
        fake = SimpleNamespace(load=lambda seed: None, train=lambda *a, **k: training, compare=lambda *a: compared)
        sys.modules["dualform.digits"] = sys.modules["dualform"].digits = fake
        law = Law("J9", "a trained network", "", stamps=("bounded",), observe=trained_layers)
        return check(law, "bounded", quick=True)

    assert result([1e-6, 2e-6], [1e-5, 1e-5]).earned == "bounded"
    assert result([1e-6, 2e-5], [1e-5, 1e-5]).earned == "failed"
    assert result([1e-6, 2e-6], [1e-5, 1.0]).earned == "vacuous"


def statuses() -> None:
    """Exit status 0 where all is earned, 1 where something is not, 2 for bad usage."""
    good, bad = Result("J1", "a law", "proved", True), Result("J2", "another", "proved", False, reason="wrong")
    vacuous = Result("J3", "a third", "bounded", False, worst=0.1, vacuous=True)
    crashed = Result("J4", "a fourth", "measured", False, traceback="Traceback")
    verify.plan = lambda **options: []
    for results, status in (
        ([good], 0),
        ([good, bad], 1),
        ([bad, good], 1),
        ([good, vacuous], 1),
        ([crashed], 1),
        ([], 1),
    ):

        def checked(report, results=results, **options):
            report.proof_seed, report.results, report.complete = 7, results, True

        verify.verify = checked
        code, text = command("verify", "--quick")
        assert code == status, f"exit status {code} for {[r.earned for r in results]}"
        assert ("every law earned its stamp" in text) == (status == 0), text
        assert "proofs' seed 7" in text
    bare("judged", f=SQUARE, same=AGAIN, other=lambda x: x, unknown=lambda x: jnp.where(x > 0, x * x, x * x))
    for name, status in (("same", 0), ("other", 1), ("unknown", 1)):
        code, text = command("prove", "judged:f", f"judged:{name}", "--input", "scalar", "--seed", "1")
        assert code == status, f"exit status {code} for {text}"
    for arguments in (("prove", "judged:f", "judged:none", "--input", "2"), ("prove", "judged:f", "judged:same",
     "--input", "two"),
                      ()):  # fmt: skip
        assert command(*arguments)[0] == 2, arguments
    assert command("prove", "judged:f", "judged:same", "--input", "2", "--trials", "0")[0] == 2


def command(*arguments: str) -> tuple[int, str]:
    """Exit status and what was printed."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            status = cli.main(arguments)
        except SystemExit as stop:
            status = stop.code
    return status, out.getvalue()
