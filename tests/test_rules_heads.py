"""Batches and heads, and the final states of packed sequences: every rule against one call at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rule_family import FAMILY

from dualform.prove import rounding_bound
from dualform.rules import RULES, final_states, over_heads, ttt

B, T, H = 2, 5, 4
EXACT = {name: rule for name, rule in FAMILY.items() if rule.integers}
exact = pytest.mark.parametrize("rule", EXACT.values(), ids=EXACT.keys())

IDS = np.array([[0, 0, 1, 1, -1], [4, -1, 4, 6, 6]], np.int32)
PACKED = np.array([0, 0, -1, 0, 3, 4, 4], np.int32)
PLACES = ([0, 1, 3], [4], [5, 6])


def record(rule):
    return RULES[rule.module.__name__.rsplit(".", 1)[1]]


def heads(rule, T=T, H=H, B=B):
    """One draw of integers for each sequence and head: [[arguments of (b, h)]]."""
    return [[rule.draw(T, seed=10 * b + h, integers=rule.integers) for h in range(H)] for b in range(B)]


def stacked(rule, draws):
    """The same as arrays [B, T, H, ...]; what is no gate per token is that of the first head."""
    tokens, states = [], []
    for row in draws:
        per_token = [(q, k, v, {n: x for n, x in g.items() if rule.per_token(n)}) for q, k, v, g, _ in row]
        tokens.append(jax.tree.map(lambda *x: np.stack(x, 1), *per_token))
        states.append(jax.tree.map(lambda *x: np.stack(x), *[rule.make_state(*x[4]) for x in row]))
    (q, k, v, gates), state = (jax.tree.map(lambda *x: np.stack(x), *parts) for parts in (tokens, states))
    return q, k, v, {**draws[0][0][3], **gates}, state


def one_by_one(rule, draws, ids=None, keys=lambda h: h):
    """A loop over sequences and heads."""
    options = {name: x for name, x in draws[0][0][3].items() if not rule.per_token(name)}

    @jax.jit
    def call(q, k, v, gates, state, ids):
        return rule.call("recurrent", q, k, v, {**gates, **options}, rule.make_state(*state), segment_ids=ids)

    out = []
    for b, row in enumerate(draws):
        for h, (_, _, v, gates, state) in enumerate(row):
            out.append(call(*row[keys(h)][:2], v, gates, state, None if ids is None else ids[b]))
    shape = len(draws), len(draws[0])
    o, state = jax.tree.map(lambda *x: np.stack(x).reshape(*shape, *x[0].shape), *out)
    return o.transpose(0, 2, 1, 3), state


def together(rule, ids=None, form="auto"):
    """`over_heads` of stacked arguments, compiled."""

    def f(q, k, v, gates, state, ids):
        more = {**gates, **rule.options}
        return over_heads(record(rule), q, k, v, form=form, initial_state=state, segment_ids=ids, **more)

    return jax.jit(lambda *x: f(*x, ids))


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@exact
def test_heads_are_single_calls(rule):
    draws = heads(rule)
    arguments = stacked(rule, draws)
    got = together(rule, IDS)(*arguments)
    same(got, one_by_one(rule, draws, IDS))
    assert isinstance(got[1], tuple) == isinstance(arguments[-1], tuple)


@pytest.mark.parametrize("form", ["auto", "recurrent", "parallel"])
def test_forms_reach_the_rule(form):
    rule = EXACT["gated_delta"]
    draws = heads(rule)
    same(together(rule, form=form)(*stacked(rule, draws)), one_by_one(rule, draws))
    with pytest.raises(ValueError, match="form: got 'fast'"):
        together(rule, form="fast")(*stacked(rule, draws))


@pytest.mark.parametrize("rule", [EXACT[n] for n in ("kda", "momentum-delta")], ids=["kda", "momentum-delta"])
def test_heads_of_values_share_keys(rule):
    """Heads 0 and 1 read key head 0, heads 2 and 3 key head 1."""
    draws = heads(rule)
    q, k, *rest = stacked(rule, draws)
    got = together(rule)(q[:, :, ::2], k[:, :, ::2], *rest)
    same(got, one_by_one(rule, draws, keys=lambda h: h - h % 2))


def test_gradients_of_shared_keys_are_sums_over_heads():
    rule = EXACT["gated_delta"]
    q, k, v, gates, state = stacked(rule, heads(rule))

    @jax.jit
    def gradient(q, k):
        def total(k):
            o, S = together(rule)(q, k, v, gates, state)
            return jnp.sum(o) + jnp.sum(S * state)

        return jax.grad(total)(k)

    q, k = q[:, :, ::2], k[:, :, ::2]
    whole = gradient(*(np.repeat(x, 2, axis=2) for x in (q, k)))
    same(gradient(q, k), whole[:, :, ::2] + whole[:, :, 1::2])


@pytest.mark.parametrize("name", ["mesa", "ttt"])
def test_a_ridge_and_a_norm_may_differ_between_heads(name):
    """Up to the bound on rounding of a single call."""
    rng = np.random.default_rng(0)
    q, k, v, beta = (rng.uniform(0.5, 1, (1, T, 2, n)).astype(np.float32) for n in (3, 3, 3, 1))
    beta, rows = beta[..., 0], np.array([[1.0, 2, 3], [4, 5, 6]], np.float32)
    if name == "mesa":
        more, of_head = {"g": -beta, "lam": rows}, lambda h: {"g": -beta[0, :, h], "lam": rows[h]}
    else:
        norm = ttt.LayerNorm(rows, rows[0], 0.5)
        more = {"minibatch": 2, "norm": norm}
        of_head = lambda h: {"minibatch": 2, "norm": norm._replace(weight=rows[h])}  # noqa: E731
    o, _ = jax.jit(lambda: over_heads(RULES[name], q, k, v, beta=beta, **more))()
    for h in range(2):
        one = q[0, :, h], k[0, :, h], v[0, :, h]
        value, bound = rounding_bound(lambda *x, h=h: RULES[name](*x, beta=beta[0, :, h], **of_head(h))[0], *one)
        assert (np.abs(o[0, :, h] - value) <= bound).all()
        assert np.max(bound) < 0.01 * np.max(np.abs(value))


TOKENS = {name: np.ones((B, T, H, n), np.float32) for name, n in (("q", 3), ("k", 3), ("v", 2))}
GATE = np.ones((B, T, H), np.float32)
MISTAKES = {
    "v: got shape": {"v": np.ones((T, H, 2), np.float32)},
    "k: got shape": {"k": np.ones((B, T + 1, H, 3), np.float32)},
    "k: got 3 heads and 4 of v": {"q": np.ones((B, T, 3, 3), np.float32), "k": np.ones((B, T, 3, 3), np.float32)},
    "beta: got shape": {"beta": GATE[..., 0]},
    "beta: got nan": {"beta": np.where(np.arange(H) == 1, np.nan, GATE)},
    "g: got 1, expected log decays": {"g": GATE},
    "initial_state: got shape": {"initial_state": np.zeros((H, B, 2, 3), np.float32)},
    "segment_ids: got shape": {"segment_ids": np.zeros((T, B), int)},
    "segment_ids: got ids that decrease": {"segment_ids": IDS[:, ::-1]},
}


@pytest.mark.parametrize("message", MISTAKES)
def test_mistakes_are_named(message):
    arguments = {**TOKENS, "beta": GATE, "g": -GATE, **MISTAKES[message]}
    with pytest.raises(ValueError, match=message):
        over_heads(RULES["gated_delta"], **arguments)


# The final states of packed sequences ---------------------------------------------------------------------------------


def packed(rule, **more):
    """`final_states` as a function of one draw."""

    def f(q, k, v, gates, state):
        start = rule.make_state(*state)
        return final_states(record(rule), q, k, v, **gates, **rule.options, initial_state=start, **more)

    return f


def separate(rule, places=PLACES):
    """The states of loops of their own; the initial state belongs to the first."""

    def f(q, k, v, gates, state):
        states = []
        for place in places:
            states.append(rule.loop(*rule.take(np.array(place), q, k, v, gates), state)[1])
            state = jax.tree.map(np.zeros_like, state)
        return jax.tree.map(lambda *x: np.stack(x), *states)

    return f


@exact
def test_final_states_are_those_of_separate_calls(rule):
    arguments = rule.draw(len(PACKED), seed=3, integers=True)
    same(jax.jit(packed(rule, segment_ids=PACKED))(*arguments), separate(rule)(*arguments))


@exact
def test_final_states_under_jit(rule):
    """The ids are an argument of one compiled program; states left over are zero."""
    one, other = np.array([0, 0, -1, 0, 3, 4, 4]), np.array([-1, 2, 2, 2, 2, 7, -1])
    f = jax.jit(lambda ids, *x: packed(rule, segment_ids=ids, num_segments=3, max_length=4, form="recurrent")(*x))
    arguments = rule.draw(len(PACKED), seed=4, integers=True)
    same(f(one, *arguments), separate(rule)(*arguments))
    left_over = jax.tree.map(lambda x: x[2], f(other, *arguments))
    assert all((x == 0).all() for x in jax.tree.leaves(left_over))
    first_two = jax.tree.map(lambda x: x[:2], f(other, *arguments))
    same(first_two, separate(rule, ([1, 2, 3, 4], [5]))(*arguments))


def test_a_segment_that_is_too_long_has_no_state():
    rule = EXACT["delta"]
    arguments = rule.draw(len(PACKED), seed=5, integers=True)
    states = jax.jit(lambda ids: packed(rule, segment_ids=ids, num_segments=3, max_length=2)(*arguments))(PACKED)
    assert np.isnan(states[0]).all()
    same(states[1:], separate(rule)(*arguments)[1:])


@pytest.mark.parametrize("rule", [EXACT[n] for n in ("kda", "titans")], ids=["kda", "titans"])
def test_gradients_of_final_states(rule):
    arguments = rule.draw(len(PACKED), seed=6, integers=True)
    weights = jax.tree.map(lambda x: np.arange(x.size, dtype=np.float32).reshape(x.shape), separate(rule)(*arguments))

    def one_by_one(q, k, v, gates, state):
        start, states = rule.make_state(*state), []
        for place in PLACES:
            states.append(rule.call("recurrent", *rule.take(np.array(place), q, k, v, gates), start)[1])
            start = None
        return jax.tree.map(lambda *x: jnp.stack(x), *states)

    def gradient(f):
        return jax.jit(lambda *x: jax.vjp(f, *x)[1](weights))(*arguments)

    got = gradient(packed(rule, segment_ids=PACKED))
    same(got, gradient(one_by_one))
    assert all((x[2] == 0).all() for x in got[:3])  # padding


@pytest.mark.parametrize("rule", [FAMILY[n] for n in ("titans", "mesa")], ids=["titans", "mesa"])
def test_no_tokens_and_no_segments(rule):
    arguments = rule.take(slice(0, 0), *rule.draw(1, seed=7)[:4])
    state = rule.draw(1, seed=7)[4]
    for ids, more, count in (([], {}, 0), ([], {"num_segments": 2}, 2)):
        states = packed(rule, segment_ids=np.array(ids, np.int32), **more)(*arguments, state)
        start = rule.make_state(*state)
        assert jax.tree.map(lambda x: x.shape[1:], states) == jax.tree.map(lambda x: x.shape, start)
        assert {len(x) for x in jax.tree.leaves(states)} == {count}
        if count:
            same(jax.tree.map(lambda x: x[0], states), start)


def test_mistakes_of_final_states_are_named():
    ones, ids = np.ones((7, 2), np.float32), PACKED
    call = lambda ids=ids, **more: final_states(RULES["retention"], ones, ones, ones, segment_ids=ids, **more)  # noqa: E731
    g = np.zeros(7, np.float32)
    with pytest.raises(ValueError, match="num_segments: got None while segment_ids are traced"):
        jax.jit(lambda ids: call(ids, g=g))(ids)
    with pytest.raises(ValueError, match="num_segments: got 2, expected at least 3"):
        call(num_segments=2, g=g)
    with pytest.raises(ValueError, match="max_length: got 2, expected at least 3"):
        call(max_length=2, g=g)
    with pytest.raises(ValueError, match="g: got 1, expected log decays"):
        call(g=g + 1)
    with pytest.raises(ValueError, match="ids that decrease"):
        call(ids=ids[::-1], g=g)


# The form "auto" ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RULES)
def test_auto_is_the_form_that_was_measured_to_be_fastest(name, monkeypatch):
    """As programs: one block up to the rule's own chunk, chunks beyond it and wherever the size of a chunk is given."""
    rule = next(x for x in FAMILY.values() if x.module is RULES[name].module)
    record, forms = RULES[name], []

    def traced(n, **more):
        q, k, v, gates, state = rule.draw(n, seed=0)
        monkeypatch.setattr(rule.module, "parallel", lambda *a, **m: forms.append("parallel") or kept[0](*a, **m))
        monkeypatch.setattr(rule.module, "chunked", lambda *a, **m: forms.append(m["chunk_size"]) or kept[1](*a, **m))
        return record(q, k, v, **gates, **rule.options, initial_state=rule.make_state(*state), **more)

    kept = rule.module.parallel, rule.module.chunked
    for n in (1, record.chunk, record.chunk + 1):
        o, _ = traced(n)
        assert o.shape == (n, rule.V)
    traced(5, chunk_size=2)
    assert forms == ["parallel", "parallel", record.chunk, 2]
