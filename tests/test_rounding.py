"""Rounding bounds are never violated, and they are useful."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rounding_programs import DTYPES, LONG, NUMPY, PROGRAMS, UNIT, Program, delta, delta_parallel, draw, error, oracle

from dualform.prove.rounding import rounding_bound

CASES = 10_000


def x64(dtype: str):
    """The caller's own setting, x64 only while float64 programs run."""
    return jax.enable_x64(True) if dtype == "float64" else contextlib.nullcontext()


def bind(program: Program, dtype: str):
    """The program with its constants in its dtype."""
    return lambda *inputs: program.run(lambda value: jnp.asarray(np.asarray(value).astype(NUMPY[dtype])), *inputs)


def stepwise(program: Program, dtype: str):
    """The program run operation by operation."""
    return lambda *inputs: bind(program, dtype)(*map(jnp.asarray, inputs))


def judge(program: Program, dtype: str, inputs: list, runs: list) -> tuple[int, float, bool]:
    """(violations, worst error / bound, is the bound finite) of one case."""
    value, bound = rounding_bound(bind(program, dtype), *inputs)
    with x64(dtype):
        results = [np.asarray(run(*inputs)) for run in runs]
    exact = oracle(program, dtype, inputs)
    finite = np.isfinite(bound)
    if exact is None or not finite.any():
        return 0, 0.0, bool(finite.all())
    # the longdouble oracle obeys the same bound with 2**-64 in place of u, so it is off by at most 2**-10 of it
    slack = 1.0 + 2.0**-10 if program.smooth else 1.0
    wrong, worst = 0, 0.0
    for computed in [*results, value]:
        e = np.where(finite, error(computed, exact), 0.0)
        wrong += int((e > bound * slack).sum())
        ratio = np.divide(e, bound, out=np.zeros_like(bound), where=finite & (bound > 0))
        worst = max(worst, float(ratio.max(initial=0.0)))
    return wrong, worst, bool(finite.all())


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
def test_ten_thousand_cases_never_violate_the_bound(dtype):
    """A case is one draw of all inputs of one program, run jitted and, one in four, operation by operation."""
    rng = np.random.default_rng(DTYPES.index(dtype))
    programs = [p for p in PROGRAMS if p.narrow or dtype in ("float32", "float64")]
    draws = -(-CASES // (len(DTYPES) * len(programs)))
    cases = violations = finite = 0
    ratios = {}
    for program in programs:
        compiled = jax.jit(bind(program, dtype))
        for i in range(draws):
            inputs = draw(rng, dtype, program.shapes, program.smooth)
            wrong, ratio, whole = judge(
                program, dtype, inputs, [compiled, stepwise(program, dtype)] if i % 4 == 0 else [compiled]
            )
            cases, violations, finite = cases + 1, violations + wrong, finite + whole
            ratios[program] = max(ratios.get(program, 0.0), ratio)
            assert not wrong, f"{program.name} in {dtype}: error / bound = {ratio} at {inputs}"
    near = np.median(list(ratios.values()))
    print(
        f"{dtype}: {cases} cases, {violations} violations, {finite / cases:.0%} finite, median worst ratio {near:.2f}"
    )
    assert cases * len(DTYPES) >= CASES and violations == 0
    assert finite / cases > 0.6
    assert not [(p.name, r) for p, r in ratios.items() if p.simple and r < 0.05], "bounds that are never approached"
    assert jnp.result_type(float) == jnp.float32, "x64 was left on"


def orders(x: np.ndarray, y: np.ndarray):
    """A dot product in several orders, with and without FMA, in the dtype of x."""
    kind = x.dtype.type

    def sequence(pairs):
        s = kind(0)
        for a, b in pairs:
            s = kind(s + kind(a * b))
        return s

    def fused(pairs):
        s = kind(0)
        for a, b in pairs:  # a b is exact in longdouble for 32 bits; its sum is rounded once more, 2**-40 of a unit
            s = kind(LONG(a) * LONG(b) + LONG(s))
        return s

    def tree(terms):
        while len(terms) > 1:
            terms = [kind(sum(terms[i : i + 2], kind(0))) for i in range(0, len(terms), 2)]
        return terms[0]

    pairs = list(zip(x, y, strict=True))
    return {
        "forward": sequence(pairs),
        "backward": sequence(pairs[::-1]),
        "fused": fused(pairs),
        "fused backward": fused(pairs[::-1]),
        "tree": tree([kind(a * b) for a, b in pairs]),
        "numpy": kind(x @ y),
    }


def hard_dots():
    rng = np.random.default_rng(5)
    u = np.float32(2.0**-24)
    for n in (1, 2, 7, 32, 200):
        x, y = rng.standard_normal((2, n)).astype(np.float32)
        yield x, y
        yield np.concatenate([x, -x]), np.concatenate([y, y * np.float32(1 + 2.0**-20)])
        yield np.concatenate([[1], np.full(n, u)]).astype(np.float32), np.ones(n + 1, np.float32)
        yield x * np.float32(10.0) ** rng.integers(-15, 15, n), y


def test_every_order_of_a_dot_product():
    """(R6): sequential, reversed, pairwise and fused sums, and BLAS."""
    worst = {}
    for x, y in hard_dots():
        x, y = x.astype(np.float32), y.astype(np.float32)
        _, bound = rounding_bound(lambda x, y: x @ y, x, y)
        exact = oracle(Program("", None, lambda c, x, y: np.array(x @ y), ((), ())), "float32", [x, y])
        for name, computed in orders(x, y).items():
            e = float(error(np.array(computed), exact))
            assert e <= bound, (name, len(x), e, float(bound))
            worst[name] = max(worst.get(name, 0.0), e / float(bound))
    print({k: round(v, 3) for k, v in worst.items()})
    assert worst["forward"] > 0.9, "adding u to 1 loses every summand: the bound is attained"


def sequence(T: int, d: int, seed: int, dtype: str = "float32"):
    """Unit keys, step sizes in (0, 2)."""
    rng = np.random.default_rng(seed)
    q, k, v = rng.standard_normal((3, T, d))
    k /= np.linalg.norm(k, axis=1, keepdims=True)
    return [x.astype(NUMPY[dtype]) for x in (q, k, v, rng.uniform(0, 2, T))]


@pytest.mark.parametrize(("dtype", "most"), [("float32", 300), ("float64", 300)])
def test_delta_rule_stays_within_a_few_hundred_units(dtype, most):
    for seed in range(3):
        inputs = sequence(64, 8, seed, dtype)
        value, bound = rounding_bound(lambda *a: delta(None, *a), *inputs)
        with x64(dtype):
            computed = np.asarray(jax.jit(lambda *a: delta(None, *a))(*inputs))
        units = bound.max() / np.abs(value).max() / UNIT[dtype]
        worst = float((np.abs(computed - value) / bound).max())
        print(f"delta rule, T = 64, {dtype}: {units:.0f} u, worst error / bound {worst:.3f}")
        assert units < most and worst <= 1
        assert (bound <= 0.1 * np.abs(value).max()).all(), "vacuous"


@pytest.mark.parametrize("form", [delta_parallel, lambda c, q, k, v, beta: jnp.tril(q @ k.T) @ v])
def test_parallel_forms_are_not_vacuous(form):
    inputs = sequence(64, 8, 0)
    value, bound = rounding_bound(lambda *a: form(None, *a), *inputs)
    computed = np.asarray(jax.jit(lambda *a: form(None, *a))(*inputs))
    units = bound.max() / np.abs(value).max() / UNIT["float32"]
    print(f"parallel form, T = 64: {units:.0f} u, worst {float((np.abs(computed - value) / bound).max()):.3f}")
    assert (np.abs(computed - value) <= bound).all()
    assert units < 20_000


def test_sixteen_bits_are_bounded_too():
    """float16 keeps a bound of a few per cent over 64 steps; bfloat16 over 8."""
    for dtype, T in (("float16", 64), ("bfloat16", 8)):
        inputs = sequence(T, 8, 1, dtype)
        value, bound = rounding_bound(lambda *a: delta(None, *a), *inputs)
        computed = np.asarray(jax.jit(lambda *a: delta(None, *a))(*inputs)).astype(float)
        print(f"{dtype}, T = {T}: bound {bound.max() / np.abs(value).max():.3f} of the output")
        assert (np.abs(computed - value) <= bound).all()
        assert bound.max() < 0.3 * np.abs(value).max()
