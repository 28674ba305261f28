"""All rules at the ends of their domains over long sequences, around the edge of a chunk of 64, against float64.

Log decays of -inf and -1e4, alternating -100 and -0.01; step sizes 0, 1, 2; momenta 0 and 1; duplicate and zero keys.
Outputs, final states and gradients with cotangents on both, in float32 and bfloat16. Where the derived bound on
rounding says nothing (three chunks of reflections without decay), integers take its place: there no form may round,
and every element must be equal.
"""

import jax
import numpy as np
import pytest
from rule_family import FAMILY, pulled_back
from rule_loops import AXES, run

from dualform.prove import rounding_bound

RULES = {name: rule for name, rule in FAMILY.items() if not rule.norm}  # a norm amplifies rounding: 7 tokens elsewhere
EXACT = {name: rule for name, rule in RULES.items() if rule.integers}

MIXED = [-100.0, -0.01, -np.inf, -np.inf, -1e4, -0.01, -100.0, -0.01, 0.0, -0.5, -0.01]
ALTERNATING = [-100.0, -0.01]
DECAYS = {63: ALTERNATING, 65: ALTERNATING}  # else mixed
STEPS, HALVES = [0.0, 1.0, 2.0, 1.0, 0.0, 2.0, 1.0], [0.0, 1.0, 0.5, 1.0, 0.0, 1.0, 0.5]
MOMENTA = [0.0, 1.0, 1.0, 0.0, 1.0, 0.5, 1.0]

GROWS = {"delta", "ttt"}
"""Over 129 tokens with step sizes of 2 nothing is forgotten and the bound says nothing: there, steps of at most 1."""


def edge(rule, T, dtype="float32"):
    """Arguments at the edges: keys of length 1, of every eight tokens two the same and one zero; rounded to `dtype`."""
    q, k, v, gates, state = rule.draw(T, seed=T)
    k = k / np.linalg.norm(k, axis=1, keepdims=True)
    k[2::8] = k[1::8][: len(k[2::8])]
    k[4::8] = 0
    steps = HALVES if T > 65 and rule.name in GROWS else STEPS
    for name, kind in rule.gates.items():
        if kind == "step":
            gates[name] = np.resize(np.float32(steps), T)
        elif kind == "momentum":
            gates[name] = np.resize(np.float32(MOMENTA), T)
        elif kind == "direction":  # what is removed, and where: RWKV-7 as a delta rule
            gates[name] = k if name == "b" else -np.resize(np.float32(STEPS), T)[:, None] * k
        elif kind.startswith("log"):
            g = np.resize(np.float32(DECAYS.get(T, MIXED)), T)
            gates[name] = np.stack([np.roll(g, c) for c in range(rule.K)], axis=1) if "K" in AXES[kind] else g
    return *jax.tree.map(lambda x: np.asarray(x, dtype), (q, k, v, gates)), state


def with_gradient(rule, arguments):
    """((o, final state), cotangents of all arguments) of the chunked form as a program, and cotangents for it."""
    f = rule.program("chunked")
    rng = np.random.default_rng(7)
    cotangent = jax.tree.map(lambda x: np.asarray(rng.integers(-3, 4, x.shape), x.dtype), jax.eval_shape(f, *arguments))

    def both(arguments, cotangent):
        result, pull = jax.vjp(f, *arguments)
        return result, pull(cotangent)

    return both, cotangent


def some(tree, T):
    """Tokens at the ends and at the edges of chunks: the bound of an element costs a sweep through the program."""
    places = sorted({0, 1, 2, 15, 16, T // 2, *range(62, 66), 126, 127, 128, T - 2, T - 1} & set(range(T)))
    return jax.tree.map(lambda x: x[np.array(places)] if x.ndim and len(x) == T > 60 else x, tree)


def within(computed, expected, bound, T):
    """Element by element; and the bound is less than a tenth of the largest element."""
    computed, expected = some((computed, expected), T)
    for c, e, b in zip(*map(jax.tree.leaves, (computed, expected, bound)), strict=True):
        c = np.asarray(c, np.float64)
        assert c.shape == e.shape == b.shape and np.isfinite(b).all()
        assert (np.abs(c - e) <= b).all(), f"off by {np.max(np.abs(c - e))}, bound {np.max(b)}"
    largest = [max(np.max(np.abs(x), initial=0) for x in jax.tree.leaves(tree)) for tree in (bound, expected)]
    assert largest[0] <= 0.1 * largest[1] or largest == [0, 0]


def finite(tree):
    return all(np.isfinite(np.asarray(x, np.float64)).all() for x in jax.tree.leaves(tree))


# XLA compiles at 65 and 129 tokens. Else the program is evaluated by the engine that derives the bound, which is
# infinite where a float32 run could overflow.
SETTINGS = [(T, "float32") for T in (1, 63, 64, 65, 129)] + [(1, "bfloat16"), (65, "bfloat16")]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_no_tokens_change_nothing(rule, dtype):
    """The state goes through, and so does its cotangent; whole numbers, so that making the state does not round."""
    *tokens, state = rule.draw(0, seed=0, integers=True)
    arguments = *jax.tree.map(lambda x: np.asarray(x, dtype), tokens), state
    both, cotangent = with_gradient(rule, arguments)
    expected = pulled_back(rule, arguments, cotangent)
    jax.tree.map(np.testing.assert_array_equal, run(both, (arguments, cotangent)), expected)


VACUOUS = {("momentum-delta", 129, "float32"), ("momentum-delta", 65, "bfloat16")}
"""Errors fed back through a velocity that nothing slows: the bound says nothing, integers below do."""


def settings():
    for name, rule in RULES.items():
        for T, dtype in SETTINGS:
            if (name, T, dtype) not in VACUOUS:
                yield pytest.param(rule, T, dtype, id=f"{name}-{T}-{dtype}")


@pytest.mark.parametrize("rule, T, dtype", list(settings()))
def test_values_and_gradients_are_within_the_bound(rule, T, dtype):
    arguments = edge(rule, T, dtype)
    both, cotangent = with_gradient(rule, arguments)
    expected = pulled_back(rule, arguments, cotangent)
    assert finite(expected)
    value, bound = rounding_bound(lambda *x: some(both(*x), T), arguments, cotangent)
    if T < 65:
        return within(value, expected, bound, T)
    computed = run(both, (arguments, cotangent))
    assert finite(computed)
    within(computed, expected, bound, T)
    recurrent = rule.program("recurrent")
    _, bound = rounding_bound(lambda *x: some(recurrent(*x), T), *arguments)
    computed = run(recurrent, arguments)
    assert finite(computed)
    within(computed, expected[0], bound, T)


def whole(rule, T, dtype):
    """Integers on which no form rounds: keys along one axis, hard resets or no decay, step sizes 0, 1 and 2.

    Where minibatches, momentum or a second pattern feed an error back, step sizes of 2 would grow: there 0 and 1.
    """
    rng = np.random.default_rng(T)
    q, k, v, gates, state = rule.draw(T, seed=T, integers=True)
    if rule.name in ("delta", "gated_delta", "kda"):
        gates["beta"] = rng.integers(0, 3, T)
    if "a" in gates:
        gates["a"], gates["b"] = -rng.integers(0, 2, (T, 1)) * k, k
    return *jax.tree.map(lambda x: np.asarray(x, dtype), (q, k, v, gates)), jax.tree.map(np.float32, state)


@pytest.mark.parametrize("T, dtype", [(129, "float32"), (64, "bfloat16")])
@pytest.mark.parametrize("rule", EXACT.values(), ids=EXACT)
def test_integers_do_not_round(rule, T, dtype):
    """Every element of outputs, states and gradients is the exact one, or that rounded once to bfloat16."""
    arguments = whole(rule, T, dtype)
    both, cotangent = with_gradient(rule, arguments)
    expected = pulled_back(rule, arguments, cotangent)
    assert max(np.max(np.abs(x)) for x in jax.tree.leaves(expected)) < 2**22
    computed = jax.tree.map(np.asarray, run(both, (arguments, cotangent)))
    rounded = jax.tree.map(lambda e, c: e.astype(c.dtype), expected, computed)
    jax.tree.map(np.testing.assert_array_equal, computed, rounded)
    recurrent = run(rule.program("recurrent"), arguments)
    jax.tree.map(np.testing.assert_array_equal, recurrent, rounded[0])


@pytest.mark.parametrize("form", ["recurrent", "chunked"])
def test_a_minibatch_that_overshoots_grows_as_the_definition_says(form):
    """beta |k|^2 times the minibatch is 4: the error triples, and turns, at every minibatch. Integers below 2^24."""
    rule, T = FAMILY["ttt"], 24
    key = np.zeros((T, rule.K), np.float32)
    key[:, 0] = 1
    ones, twos = np.ones((T, rule.V), np.float32), np.full(T, 2, np.float32)
    gates, state = {"beta": twos, "scale": np.float32(1)}, (np.zeros((rule.V, rule.K), np.float32),)
    o, S = run(rule.program(form), (key, key, ones, gates, state))
    expected = rule.loop(key, key, ones, gates, state)
    jax.tree.map(np.testing.assert_array_equal, (o, S), expected)
    np.testing.assert_array_equal(1 - np.asarray(o)[1::2, 0], (-3.0) ** np.arange(1, T // 2 + 1))
