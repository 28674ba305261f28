"""Both fuzzers, briefly: no bound is exceeded and no verdict is wrong; and they would notice if one were.

The long runs are `python -m tests.fuzz.bounds --programs 20000 --evaluations 200000` and
`python -m tests.fuzz.identities --count 5000`.
"""

import re
import warnings
from functools import cache
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from dualform.prove import rounding_bound
from tests.fuzz import bounds, identities
from tests.fuzz.families import FAMILIES
from tests.fuzz.oracle import Oracle
from tests.fuzz.pairs import SLOT, Pair, filled
from tests.fuzz.precision import Long, Multiple
from tests.fuzz.reference import Reference


def told(tally) -> str:
    """What a run found, for the message of a failure."""
    found = [x["program"] for x in getattr(tally, "findings", ())] + [
        x["program"] for x in getattr(tally, "violations", ())
    ]
    return "\n\n".join([*found, *(f"{c['error']}\n{c['program']}" for c in tally.crashes)])


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_random_program_exceeds_its_bound(seed):
    tally = bounds.explore(50, 200, seed, shrink=3)
    assert not tally.failed, told(tally)
    assert tally.programs == 50 and tally.evaluations >= 200
    assert tally.unjudged.total() <= 3, tally.unjudged
    assert tally.refused + tally.infinite < tally.evaluations / 2, "most programs say nothing about rounding"


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_random_identity_is_judged_wrongly(seed):
    tally = identities.explore(50, seed)
    assert not tally.failed, told(tally)
    assert tally.skipped.total() <= 3, tally.skipped
    verdicts = {verdict for _, verdict in tally.verdicts}
    assert {"proved", "refuted"} <= verdicts
    assert tally.verdicts["equal", "proved"] > tally.verdicts["equal", "undecided"]


def forgetful(primitive: str):
    """A bound that charges nothing to programs with some primitive: a planted bug."""

    def bounding(f, *args):
        value, bound = rounding_bound(f, *args)
        with jax.enable_x64(True):
            text = str(jax.make_jaxpr(f)(*args))
        return value, bound * 0 if re.search(rf"\b{primitive}\b", text) else bound

    return bounding


@cache
def violating() -> int:
    """Programs in violation as the engine is: none, but a planted bug must be seen whatever else there is."""
    return bounds.explore(30, 60, 7, shrink=0).violating


@pytest.mark.parametrize("primitive", ["mul", "exp"])
def test_bounds_that_forget_a_primitive_are_found(primitive):
    planted = bounds.explore(30, 60, 7, shrink=1, bounding=forgetful(primitive))
    assert planted.violating > violating()
    assert "def f(" in planted.findings[0]["program"]


def test_bounds_a_little_too_small_are_found():
    def stingy(f, *args):
        value, bound = rounding_bound(f, *args)
        return value, bound / 8

    assert bounds.explore(30, 60, 7, shrink=0, bounding=stingy).violating > violating()


def test_values_that_are_wrong_are_found():
    def shifted(f, *args):
        value, bound = rounding_bound(f, *args)
        return value * (1 + 1e-3), bound

    assert bounds.explore(20, 20, 7, shrink=1, bounding=shifted).failed


def always(verdict: bool | None):
    """A prover that looks at nothing: a planted bug."""

    def prover(f, g, *inputs, trials, seed):
        zeros = tuple(np.zeros(x.shape if hasattr(x, "shape") else x) for x in inputs)
        example = SimpleNamespace(inputs=zeros) if verdict is False else None
        return SimpleNamespace(equal=verdict, counterexample=example, reason="it looks at nothing")

    return prover


def test_provers_that_always_say_proved_are_found():
    tally = identities.explore(40, 7, always(True))
    assert len(tally.violations) > 10
    assert {v["what"] for v in tally.violations} == {"proved although different"}
    assert "identical(f, g" in tally.violations[0]["program"]


def test_provers_that_always_say_refuted_are_found():
    tally = identities.explore(40, 7, always(False))
    assert len(tally.violations) > 10
    assert "refuted although equal" in {v["what"] for v in tally.violations}


def test_provers_that_never_decide_break_nothing():
    tally = identities.explore(30, 7, always(None))
    assert not tally.failed and not {verdict for _, verdict in tally.verdicts} - {"undecided", "refused input"}


EXACT = {
    "arithmetic": lambda x, y: (x + y) * x - y * 0.5 + x**3,
    "division": lambda x, y: x / 4 + jnp.mod(x, 4) - lax.rem(x, 3.0),
    "extremes": lambda x, y: jnp.maximum(x, y) - jnp.minimum(x, 0) + jnp.clip(x, -1, 1) + jnp.abs(y) * jnp.sign(x),
    "rounding": lambda x, y: jnp.round(x / 2) + jnp.floor(x / 4) - jnp.ceil(y / 4),
    "integers": lambda x, y: (x * 100).astype(jnp.int8).astype(jnp.float32) + (y.astype(jnp.int32) // 2),
    "logic": lambda x, y: jnp.where((x > 0) & ~(y == 1) | (x != x), x, y),
    "sums": lambda x, y: x.sum(0) + y.sum() - x.max(0) + y.min() + jnp.prod(x[:2], 0),
    "running": lambda x, y: jnp.cumsum(x, 0) + lax.cummax(y, 1) - lax.cummin(x, 0, reverse=True)
    + jnp.cumprod(x[:2], 0).sum(),
    "products": lambda x, y: x @ y.T + jnp.outer(x[0], y[0])[:3, :3],
    "einsum": lambda x, y: jnp.einsum("ij,ij,j->i", x, y, x[0]),
    "movement": lambda x, y: jnp.roll(x[::-1].T, 1, 0).reshape(3, 4) + lax.reshape(y, (3, 4), (1, 0)),
    "padding": lambda x, y: lax.pad(x, 7.0, ((1, -1, 2), (0, 1, 0))),
    "gather": lambda x, y: x[jnp.array([2, 0, 2])] + jnp.take_along_axis(y, jnp.argmax(x, 1, keepdims=True), 1),
    "scatter": lambda x, y: x.at[jnp.array([0, 0, 2])].add(y) + x.at[jnp.array([2, 9])].set(y[:2]),
    "update": lambda x, y: lax.dynamic_update_slice(x, y[:1, :2], (1, 1)) + jnp.stack([y[0], y[1], y[2]]),
    "sorting": lambda x, y: jnp.sort(x, 1) + lax.top_k(y, 4)[0] + jnp.argsort(x, 0),
    "convolution": lambda x, y: lax.conv_general_dilated(x[None, None], y[None, None, :2, :2], (1, 1), "SAME")[0, 0],
    "dilation": lambda x, y: lax.conv_general_dilated(
        x[:, None], y[:1, None, :2], (2,), [(1, 2)], lhs_dilation=(2,))[:, 0],
    "windows": lambda x, y: lax.reduce_window(x, -np.inf, lax.max, (2, 2), (1, 2), "SAME")
    + lax.reduce_window(y, 0.0, lax.add, (2, 2), (1, 2), "SAME"),
    "scan": lambda x, y: lax.scan(lambda s, v: (s * 2 + v[0], s - v[1]), x[0], (x, y), reverse=True)[1],
    "loops": lambda x, y: lax.fori_loop(0, 3, lambda i, s: s + x[i], y) + lax.cond(True, lambda v: v, lambda v: -v, x),
    "while": lambda x, y: lax.while_loop(lambda c: c[0] < 2, lambda c: (c[0] + 1, c[1] + x), (0, y))[1],
    "gradient": lambda x, y: jax.grad(lambda u: (u**3 * y).sum() + jnp.cumsum(u, 1).max())(x),
    "triangular": lambda x, y: lax.linalg.triangular_solve(
        jnp.eye(3) + jnp.tril(x[:, :3], -1), y, left_side=True, lower=True
    ),
    "lu": lambda x, y: lax.linalg.lu(jnp.diag(jnp.array([4.0, 2.0, 1.0])) + jnp.tri(3, k=-1))[0],
    "cholesky": lambda x, y: jnp.linalg.cholesky(jnp.array([[4.0, 2.0], [2.0, 5.0]])) * x[0, 0],
}  # fmt: skip


@pytest.mark.parametrize("numbers", [Long, Multiple])
@pytest.mark.parametrize("name", EXACT)
def test_the_reference_computes_what_jax_computes_exactly(name, numbers):
    """Small integers, which float32 does not round: both must agree to the last bit."""
    rng = np.random.default_rng(len(name))
    with jax.numpy_rank_promotion("allow"):
        for _ in range(3):
            x, y = rng.integers(-3, 4, (2, 3, 4)).astype(np.float32)
            expected = np.asarray(jax.jit(EXACT[name])(x, y)).astype(float)
            (exact,) = Reference(jax.make_jaxpr(EXACT[name])(x, y), numbers)(x, y)
            np.testing.assert_array_equal(expected, exact.astype(float))


@pytest.mark.parametrize("name", Multiple.functions)
def test_functions_of_1000_bits_agree_with_those_of_64(name):
    """Two libraries: where they agree to one part in 2**50, none has a wrong domain, sign or pole."""
    if name not in Long.functions:
        pytest.skip("only one library has it")
    x = np.array([-np.inf, -90.0, -1.5, -1.0, -0.3, 0.0, 1e-5, 0.7, 1.0, 2.5, 60.0, np.inf, np.nan])
    with np.errstate(all="ignore"):
        slow, fast = (np.asarray(n.functions[name](n.array(x))).astype(float) for n in (Multiple, Long))
    np.testing.assert_allclose(slow, fast, rtol=2.0**-50, atol=0)


SLOTTED = sorted({kind for kind, _, f, g in FAMILIES if SLOT.search(f + g)})


@pytest.mark.parametrize("kind", SLOTTED)
def test_slots_of_written_identities_mean_what_they_say(kind):
    """With every right choice the oracle finds no difference, with one wrong choice it does."""
    rng = np.random.default_rng(0)
    with warnings.catch_warnings(), jax.numpy_rank_promotion("allow"):
        warnings.simplefilter("ignore")
        for k, inputs, f, g in FAMILIES:
            slots = [(side, i) for side, text in enumerate((f, g)) for i in range(len(SLOT.findall(text)))]
            if k != kind or not slots or "multiplied" in f:
                continue
            for wrong in (None, slots[int(rng.integers(len(slots)))]):
                chosen = [filled(rng, t, wrong[1] if wrong and wrong[0] == s else None) for s, t in enumerate((f, g))]
                chosen = [t.replace("{k}", "2").replace("{a}", "0.5") for t in chosen]
                difference = Oracle(*Pair(kind, inputs, *chosen, None).build()).search(rng, 2)
                assert (difference is None) == (wrong is None), (chosen, difference)
