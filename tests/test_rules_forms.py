"""Every form of the rules of `rule_loops` is the loop: exactly on integers, proved, and bounded in float32."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rule_loops import CHUNK, CONJUGATE, FORMS, VARIANTS, T, every, provable, proved, run, wide, within

from dualform.linear import linear_attn
from dualform.prove import rounding_bound
from dualform.rules import mesa
from dualform.rules.minibatch import Serving

PACKED = np.array([0, 0, -1, 1, 1, 1, 2], np.int32)
RESETS = [(), (0,), (3,), (T - 1,), (2, 3)]  # none, first, middle, last, adjacent across a chunk's edge

exact = pytest.mark.parametrize("rule", [pytest.param(x, id=n) for n, x in VARIANTS.items() if x.integers])


def sizes(rule, form, n):
    """T, and arguments of the form. Conjugate gradients on a padded chunk divide 0 by 0, which the engine refuses."""
    if rule is CONJUGATE:
        return 4, {"chunk_size": 2} if form == "chunked" else {}
    return min(n, 4) if rule.module is mesa else n, FORMS[form]


# The definition -------------------------------------------------------------------------------------------------------


SETTINGS = [  # T, chunk size, minibatch, segment ids
    (7, 3, 64, [0, 0, 0, 0, 4, 4, -1]),
    (9, 8, 4, [-1, 3, 3, -1, 3, 3, 3, 3, 5]),
    (17, 8, 3, [0] * 6 + [-1] * 2 + [1] + [2] * 8),
]


@exact
@pytest.mark.parametrize("n, chunk_size, minibatch, ids", SETTINGS, ids=lambda x: str(x) if isinstance(x, int) else "")
def test_forms_equal_the_loop_exactly_on_integers(rule, n, chunk_size, minibatch, ids):
    rule = rule.having(minibatch=minibatch)
    arguments = rule.draw(n, seed=n, integers=True)
    expected = rule.loop(*wide(arguments), ids=ids)
    forms = {"chunked": {"chunk_size": chunk_size}}
    if n == 9:
        forms |= {"parallel": {}, "recurrent": {}, "descent": {}}
    for form, more in forms.items():
        got = run(rule.program(form, segment_ids=np.array(ids, np.int32), **more), arguments)
        jax.tree.map(np.testing.assert_array_equal, got, expected)


@every
def test_packed_sequences_stay_within_the_bound_of_their_program(rule):
    arguments, f = rule.draw(T, seed=1), rule.program("chunked", segment_ids=PACKED, chunk_size=CHUNK)
    _, bound = rounding_bound(f, *arguments)
    within(run(f, arguments), rule.loop(*wide(arguments), ids=PACKED), bound)


# Proofs ---------------------------------------------------------------------------------------------------------------


@provable
@pytest.mark.parametrize("form", [x for x in FORMS if x != "recurrent"])
def test_forms_are_proved_equal_from_any_state(rule, form):
    n, more = sizes(rule, form, T)
    decays = any(kind.startswith("log") for kind in rule.gates.values())
    cases = RESETS if form == "chunked" and rule is not CONJUGATE else RESETS[::4]
    for resets in cases if decays else ((),):
        inputs = rule.inputs(n, {min(t, n - 1) for t in resets})
        proved(rule.program("recurrent"), rule.program(form, **more), inputs)


@provable
def test_gradients_are_proved_equal(rule):
    """With cotangents on the output and on the final state, with respect to all arguments."""
    n, more = sizes(rule, "chunked", 4)
    proved(rule.program("recurrent"), rule.program("chunked", **more), rule.inputs(n), gradient=True)


@provable
@pytest.mark.parametrize("n, chunk_size, minibatch", [(1, 8, 4), (2, 64, 3), (8, 8, 3)])
def test_lengths_and_chunk_sizes_need_not_fit(rule, n, chunk_size, minibatch):
    if rule.module is not mesa or n < 8:
        rule = rule.having(minibatch=minibatch)
        proved(rule.program("recurrent"), rule.program("chunked", chunk_size=chunk_size), rule.inputs(n))


@every
def test_no_tokens_leave_the_state_as_it_is(rule):
    arguments = rule.draw(0, seed=0)
    for form in ("parallel", "chunked"):
        o, last = run(rule.program(form), arguments)
        assert o.shape == (0, rule.V)
        jax.tree.map(np.testing.assert_array_equal, last, rule.make_state(*arguments[-1]))


@provable
def test_packed_sequences_are_proved_equal_to_separate_calls(rule):
    if rule is CONJUGATE:
        pytest.skip("conjugate gradients at padding divide 0 by 0, which the engine refuses")

    def separate(q, k, v, gates, state):
        parts = []
        for segment in (0, 1, 2):
            tokens = rule.take(np.flatnonzero(segment == PACKED), q, k, v, gates)
            o, last = rule.call("recurrent", *tokens, rule.make_state(*state) if segment == 0 else None)
            parts.append(o)
        parts.insert(1, jnp.zeros((1, rule.V)))
        return jnp.concatenate(parts), last

    for form in ("recurrent", "chunked"):
        packed = rule.program(form, segment_ids=PACKED, **FORMS[form])
        proved(separate, packed, rule.inputs(T))


@provable
def test_calls_may_be_split_and_resumed(rule):
    n, minibatch = 5, rule.options.get("minibatch", 1)
    if rule is CONJUGATE:
        pytest.skip("conjugate gradients on a padded chunk divide 0 by 0, which the engine refuses")
    cuts = range(minibatch, n, minibatch)

    def whole(q, k, v, gates, state):
        return [rule.program("recurrent")(q, k, v, gates, state)] * len(cuts)

    def split(q, k, v, gates, state):
        results = []
        for cut in cuts:
            parts, now = [], rule.make_state(*state)
            for piece, form in ((slice(0, cut), "chunked"), (slice(cut, n), "parallel")):
                o, now = rule.call(form, *rule.take(piece, q, k, v, gates), now, **FORMS[form])
                parts.append(o)
            results.append((jnp.concatenate(parts), now))
        return results

    proved(whole, split, rule.inputs(n))


@provable
def test_steps_are_the_recurrence(rule):
    n = 5

    def steps(q, k, v, gates, state):
        state, outputs = rule.make_state(*state), []
        for t in range(n):
            *token, at = rule.take(t, q, k, v, gates)
            o, state = rule.module.step(state, *token, **at, **rule.options)
            outputs.append(o)
        return jnp.stack(outputs), state.state if isinstance(state, Serving) else state

    proved(rule.program("recurrent"), steps, rule.inputs(n))


@provable
def test_the_one_read_out_of_error_signals_is_the_output(rule):
    """(F2): linear attention over the error signals, and what is left of the initial state."""

    def read(q, k, v, gates, state):
        scale = gates.get("scale", 1.0)
        plain = {n: x for n, x in gates.items() if n != "scale"}
        E, weights, X, Q = rule.program("errors")(q, k, v, plain, state)
        S, *more = jax.tree.leaves(rule.make_state(*state))
        coasting = "mu" in gates
        Z, left = more[0] if coasting else jnp.zeros_like(S), []
        for t in range(len(q)):
            before, Z = S, gates["mu"][t] * Z if coasting else Z
            S = S * jnp.broadcast_to(jnp.exp(gates["g"][t]), (1, rule.K)) + Z if "g" in gates else S + Z
            left.append((before if rule.reads_first else S) @ Q[t])
        return scale * (linear_attn(E, X, Q, weights) + jnp.stack(left))

    proved(lambda *a: rule.program("recurrent")(*a)[0], read, rule.inputs(4))


# Dtypes, transformations, padding -------------------------------------------------------------------------------------


@every
def test_bfloat16_is_computed_in_float32(rule):
    """The forms of bfloat16 inputs are those of the same numbers in float32, rounded once at the end."""
    q, k, v, gates, state = rule.draw(5, seed=2)
    narrow = [jnp.asarray(x, jnp.bfloat16) for x in (q, k, v)]
    gates = {n: x if n == "norm" else jnp.asarray(x) for n, x in gates.items()}
    f = rule.program("recurrent")
    o, last = run(f, (*narrow, gates, state))
    expected, last32 = run(f, (*(x.astype(jnp.float32) for x in narrow), gates, state))
    assert o.dtype == jnp.bfloat16
    np.testing.assert_array_equal(o, expected.astype(jnp.bfloat16))
    jax.tree.map(np.testing.assert_array_equal, last, last32)


@every
def test_padding_has_no_influence_and_no_gradient(rule):
    """Not even NaN gets through (checks of values are not there under jit)."""
    q, k, v, gates, state = rule.draw(T, seed=3)
    per_token = [n for n in gates if rule.per_token(n)]

    def spoiled(x):
        return np.where((PACKED == -1).reshape(-1, *(1,) * (x.ndim - 1)), np.nan, x).astype(np.float32)

    bad = *map(spoiled, (q, k, v)), {n: spoiled(x) if n in per_token else x for n, x in gates.items()}, state
    form = rule.program("recurrent", segment_ids=PACKED)

    def value_and_gradient(*arguments):
        out, pull = jax.vjp(form, *arguments)
        return out, pull(jax.tree.map(jnp.ones_like, out))

    clean, dirty = (run(value_and_gradient, a) for a in ((q, k, v, gates, state), bad))
    jax.tree.map(np.testing.assert_array_equal, dirty, clean)
    (o, _), (*tokens, d_gates, _) = clean
    for x in (o, *tokens, *(d_gates[n] for n in per_token)):
        assert not np.any(x[PACKED == -1]) and np.any(x[PACKED != -1])


@every
def test_wider_states_widen_the_arithmetic(rule):
    """float64 states beside float32 tokens: computed in float64, the output in the dtype of the tokens."""
    q, k, v, gates, state = rule.draw(3, seed=4)
    with jax.enable_x64():
        state = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), state)
        for form, more in FORMS.items():
            o, last = jax.eval_shape(rule.program(form, **more), q, k, v, gates, state)
            assert o.dtype == jnp.float32
            assert all(x.dtype == jnp.float64 for x in jax.tree.leaves(last))


@every
def test_numpy_float64_arguments_become_the_default_float(rule):
    """Without a warning, which would be an error here."""
    arguments = wide(rule.draw(2, seed=5))
    results = jax.eval_shape(lambda: rule.program("chunked")(*arguments))
    assert {x.dtype for x in jax.tree.leaves(results)} == {np.dtype(np.float32)}
