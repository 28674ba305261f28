"""Batteries for `dualform.testing`: what strategies promise, planted bugs that are caught; and for references.

`laws` judges the code that judges planted bugs: a wrong form must be caught, a right one must not.
"""

import math
from collections.abc import Callable
from importlib import import_module

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings

from judge.bug import bare

bare("dualform.laws")
from dualform.laws.checks import Result, check  # noqa: E402
from dualform.laws.law import Case, Experiment, Law, Measurement  # noqa: E402

LAW = Law("J1", "a law", "", (Case("small", {"square": lambda x: x * x, "power": lambda x: x**2}, ((2,),)),))
UNDECIDED = lambda x: jnp.where(x > 0, x * x, x * x)  # noqa: E731
MEASURED = Law(
    "J2", "an experiment", "", stamps=("measured",),
    measure=Experiment(lambda rng, f: Measurement(f(), 0, 0, 0, "", f() > 0), {"f": lambda: 1.0}),
)  # fmt: skip
bare(
    "dualform.laws", Case=Case, Law=Law, Result=Result, check=check,
    find=lambda label: [law for law in (LAW, MEASURED) if law.label == label],
)  # fmt: skip
from dualform.regression import baselines  # noqa: E402
from dualform.rules import heads  # noqa: E402
from dualform.testing import gates, problems, profiles, shapes, tracing, values  # noqa: E402
from dualform.testing.floats import floats, magnitudes, rounded  # noqa: E402
from dualform.testing.mutant import Mutant, caught, rate_of  # noqa: E402

keys = import_module("dualform.testing.keys")  # a function of the package has the same name


def every(strategy, judge: Callable, examples: int = 60) -> list:
    """All of some examples of a strategy, each judged."""
    seen: list = []

    @settings(max_examples=examples, derandomize=True, database=None, deadline=None)
    @given(strategy)
    def look(example):
        seen.append(example)
        judge(example)

    look()
    return seen


def mutants() -> None:
    """A planted bug is caught by the stamp that it deserves, a harmless program is not."""

    def of(form, replacement, label="J1", case=None):
        return caught(Mutant("a bug", label, form, replacement, "a mistake", case))

    wrong = of("power", lambda x: x**2 + 1)
    assert wrong is not None and (wrong.stamp, wrong.of, wrong.verdict) == ("proved", "value", "refuted"), wrong
    definition = of("square", lambda x: x**3)
    assert definition is not None and definition.verdict == "refuted", "a wrong definition"
    assert of("power", lambda x: 1.0 * x * x) is None and of("square", lambda x: x * x * 1.0) is None, "a right program"
    unsure = of("power", UNDECIDED)
    assert unsure is not None and unsure.verdict == "undecided" and unsure.stamp == "proved", unsure
    flat = jax.custom_vjp(lambda x: x * x)
    flat.defvjp(lambda x: (x * x, x), lambda x, ct: (3 * x * ct,))
    gradient = of("power", flat)
    assert gradient is not None and (gradient.of, gradient.verdict) == ("gradient", "refuted"), gradient
    sampled = of("f", lambda: -1.0, "J2")
    assert sampled is not None and (sampled.stamp, sampled.verdict) == ("measured", "off"), sampled
    assert of("f", lambda: 2.0, "J2") is None
    for form, case in (("no such form", None), ("power", "no such case")):
        try:
            Mutant("a bug", "J1", form, lambda x: x, "a mistake", case)
        except ValueError:
            continue
        raise AssertionError("a bug is planted nowhere")
    rate = rate_of({"one": wrong, "two": None, "three": gradient})
    assert (
        (rate.total, rate.caught, rate.missed) == (3, 2, ("two",))
        and "2 of 3" in str(rate)
        and "missed: two" in str(rate)
    )
    assert rate.how == {"by proved value": 1, "by proved gradient": 1}


def arrays() -> None:
    """Families of arrays have the property that they are named after."""
    for dtype in (np.float16, np.float32, jnp.bfloat16):
        tiny, top = float(jnp.finfo(dtype).tiny), float(jnp.finfo(dtype).max)
        low, high = magnitudes(dtype)
        assert low >= tiny and high * high <= top / 4

        def fine(x, tiny=tiny, dtype=dtype):
            wide = np.asarray(x, np.float64)
            assert np.asarray(x).dtype == dtype and np.isfinite(wide).all()
            assert np.all((wide == 0) | (np.abs(wide) >= tiny)), "a subnormal number"

        for shape in ((3, 2), (5, 4)):
            every(values.arrays(shape, dtype), fine, 25)
    for shape in ((3, 2), (4, 2), (6, 5), (7, 3)):
        for seed in range(5):
            one = {f: values.seeded_array(f, seed, 1.0, shape, np.float32).astype(float) for f in values.FAMILIES}
            assert not one["cancelling"].sum(0).any(), "rows that cancel do not"
            assert len(np.unique(one["duplicates"], axis=0)) <= max(1, shape[0] // 3), "rows that are all different"
            assert (one["positive"] > 0).all() and not one["zeros"].any() and np.ptp(one["constant"]) == 0
            assert np.all(one["integers"] == np.rint(one["integers"])) and np.abs(one["integers"]).max() <= 4
            assert np.abs(one["underflow"]).max() ** 2 < 2.0**-117 and np.abs(one["underflow"]).min() >= 2.0**-126
    drawn = every(values.arrays((2, 2), np.float32, families=("cancelling",)), lambda x: None, 40)
    assert all(not np.asarray(x, float).sum(0).any() for x in drawn) and any(np.any(x) for x in drawn)
    assert rounded([1e-40, 1e-46, 1.0, -1e-39], np.float32).tolist() == [0.0, 0.0, 1.0, 0.0]
    every(floats(np.float32, low=-2.0, high=3.0), lambda x: check_range(x, -2.0, 3.0))


def check_range(x, low: float, high: float) -> None:
    assert np.all((np.asarray(x, float) >= low) & (np.asarray(x, float) <= high)), x


def key_kinds() -> None:
    """Keys have the geometry that they are named after."""
    n, K = 3, 5
    every(keys.unit_keys(n, K), lambda k: check_range(np.linalg.norm(k.astype(float), axis=1), 1 - 1e-6, 1 + 1e-6))
    every(
        keys.orthonormal_keys(n, K), lambda k: check_range(k.astype(float) @ k.astype(float).T - np.eye(n), -1e-6, 1e-6)
    )
    every(keys.duplicate_keys(n, K), lambda k: check_range(len(np.unique(k, axis=0)), 1, n - 1))
    every(keys.keys_with_zeros(n, K), lambda k: check_range((~k.any(axis=1)).sum(), 1, n))
    for rows, width in ((3, 5), (1, 4), (4, 2), (6, 6)):
        most = min(rows, width) - 1
        drawn = every(keys.rank_deficient_keys(rows, width), lambda k: None)
        check_range([np.linalg.matrix_rank(k.astype(float)) for k in drawn], 0, most)
    for name in ("orthonormal", "duplicate"):
        try:
            keys.keys(9, 2, kinds=(name,)) if name == "orthonormal" else keys.keys(1, 2, kinds=(name,))
        except ValueError:
            continue
        raise AssertionError(f"{name} keys that do not exist")


def gate_values() -> None:
    """Gates lie where they must, and reach their edges."""
    for shape in ((4,), (5, 4)):
        logs = every(gates.log_decays(shape), lambda g: check_range(g, -np.inf, 0.0), 60)
        assert {0.0, -50.0, -1e4, -np.inf} <= {float(x) for g in logs for x in np.ravel(g)}
        every(gates.log_decays(shape, reset=False), lambda g: check_range(g, -1e4, 0.0), 30)
        steps = every(gates.step_sizes(shape), lambda b: check_range(b, 0.0, 2.0), 40)
        assert {0.0, 1.0, 2.0} <= {float(x) for b in steps for x in np.ravel(b)}
        every(gates.step_sizes(shape, high=1.0), lambda b: check_range(b, 0.0, 1.0), 30)
        every(gates.momenta(shape), lambda m: check_range(m, 0.0, 1.0), 30)


def problem_kinds() -> None:
    """Problems of integers do not round; updates that cancel do so exactly; shapes are never square."""
    shape = shapes.LayerShape(n=5, K=3, V=2, M=1)
    for dtype, bits in ((np.float16, 11), (np.float32, 24), (jnp.bfloat16, 8)):
        A = problems.largest_exact_integer(shape, dtype)
        most = shape.K * A * (A + shape.n * A**2)
        more = shape.K * (A + 1) * (A + 1 + shape.n * (A + 1) ** 2)
        assert most <= 2**bits < more, f"{A} in {dtype}"
    every(problems.integer_problems(np.float32, shapes=(shape,)), lambda p: check_range(
        max(np.abs(np.asarray(x, float)).max() for x in p), 0, problems.largest_exact_integer(shape)))  # fmt: skip
    half = problems.LinearProblem(*(np.random.default_rng(0).standard_normal(s).astype(np.float32)
                                    for s in ((2, 3), (2, 2), (2, 3), (1, 3))))  # fmt: skip
    for seed in range(4):
        whole = problems._cancel(half, 5, seed)
        assert whole.E.shape == (5, 2) and whole.X.shape == (5, 3) and np.abs(whole.E).max() > 0
        exact = sum(np.outer(e, x) for e, x in zip(whole.E.astype(float), whole.X.astype(float), strict=True))
        assert np.abs(exact).max() < 1e-15 * np.abs(whole.E).max() * np.abs(whole.X).max() + 1e-300, exact
    assert shapes.token_counts(4) == (0, 1, 3, 4, 5, 9, 11)
    assert [shapes.bucket(n) for n in (0, 1, 2, 3, 4, 64, 65, 128, 129)] == [0, 1, 2, 4, 4, 64, 128, 128, 256]
    padded = shapes.pad_to_bucket(np.ones((3, 2)))
    assert padded.shape == (4, 2) and padded[:3].all() and not padded[3:].any()
    assert all(s.K != s.V for s in shapes.LAYER_SHAPES)
    seen = every(shapes.token_shapes(4), lambda s: None, 80)
    assert {s.T for s in seen} == set(shapes.token_counts(4)) and all(s.K != s.V for s in seen)


def traces() -> None:
    """A function that is traced too often is noticed, and profiles are what their table says."""

    def traced(limit: int, sizes) -> bool:
        try:
            with tracing.max_traces(lambda x: x + 1, limit) as f:
                for n in sizes:
                    f(jnp.zeros(n))
        except AssertionError as error:
            assert f"expected at most {limit}" in str(error)
            return False
        return True

    assert traced(2, (1, 2, 1, 2)) and not traced(2, (1, 2, 3)) and not traced(0, (1,)) and traced(0, ())
    profiles.register_profiles(environ={})
    ci, thorough, dev = (settings.get_profile(name) for name in ("ci", "thorough", "dev"))
    assert ci.derandomize and ci.database is None and ci.max_examples == 100 and ci.deadline is None
    assert not thorough.derandomize and thorough.max_examples == 2000 and not dev.derandomize and dev.deadline is None
    profiles.register_profiles(environ={"DUALFORM_MAX_EXAMPLES": "7", "DUALFORM_RANDOMIZE": "1"})
    assert settings.get_profile("ci").max_examples == 7 and not settings.get_profile("ci").derandomize
    for bad in ({"DUALFORM_MAX_EXAMPLES": "0"}, {"DUALFORM_RANDOMIZE": "yes"}):
        try:
            profiles.register_profiles(environ=bad)
        except ValueError:
            continue
        raise AssertionError(f"{bad} is taken")


def references() -> None:
    """What rules and baselines are compared with: heads of a batch, the risk of least squares."""
    rng = np.random.default_rng(0)
    B, T, H, Hk = 3, 2, 4, 2
    v = jnp.asarray(rng.standard_normal((B, T, H, 5)), jnp.float32)
    k = jnp.asarray(rng.standard_normal((B, T, Hk, 3)), jnp.float32)
    q = 2 * k
    own = jnp.arange(1.0, H + 1)  # one number for each head
    ids = jnp.asarray(rng.integers(0, 9, (B, T)))
    state = jnp.asarray(rng.standard_normal((B, H, 2)), jnp.float32)
    wide = heads._tokens(q, k, v)
    assert wide[1].shape == (B, T, H, 3)

    def one_head(tokens, each, state, ids):
        q, k, v, gates = tokens
        return v * each + q.sum() + ids[:, None] + gates["g"][:, None], state * each + k.sum()

    g = jnp.asarray(rng.standard_normal((B, T, H)), jnp.float32)
    o, states = heads._map(one_head, (*wide[:3], {"g": g}), own, state, ids)
    q, k, v, g, own, state, ids, o, states = (np.asarray(x) for x in (q, k, v, g, own, state, ids, o, states))
    for b in range(B):
        for h in range(H):
            given = q[b, :, h * Hk // H], k[b, :, h * Hk // H], v[b, :, h], {"g": g[b, :, h]}
            expected, last = one_head(given, own[h], state[b, h], ids[b])
            assert np.allclose(o[b, :, h], expected), f"sequence {b}, head {h}"
            assert np.allclose(states[b, h], last), f"state of sequence {b}, head {h}"
    d = 6
    for k in (d - 1, d, d + 1):
        assert baselines.ols_risk(k, d, sigma=1.0) == math.inf, f"least squares of {k} examples of width {d}"
    assert baselines.ols_risk(0, 1, sigma=1.0) == 1.0 and baselines.ols_risk(0, d, sigma=1.0) == 1.0
    for k in (d - 2, d + 2, 3 * d):  # 1/(k - d - 1) is the mean of the trace of an inverse Wishart matrix over d
        exact = 1 - k / d + k / (d * (d - k - 1)) if k < d else 1 / (k - d - 1)
        assert abs(baselines.ols_risk(k, d, sigma=1.0) - exact) < 1e-12
        assert baselines.ols_risk(k, d) == max(0.0, 1 - k / d)
    steps = [baselines.averaging_risk(10, 5, p) for p in np.linspace(0, 1, 101)]
    assert abs(min(steps) - baselines.best_averaging_risk(10, 5)) < 1e-3
    x = rng.standard_normal((4, 3))
    ridge = float(baselines.ridge_risk(jnp.asarray(x, jnp.float32), 0.5, 0.7))
    A = np.linalg.inv(x.T @ x + 0.5 * np.eye(3))
    assert abs(ridge - np.trace((0.25 * np.eye(3) + 0.49 * x.T @ x) @ A @ A)) < 1e-4 * ridge
