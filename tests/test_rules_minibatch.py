"""What is true of ttt, momentum and titans alone: what they reduce to, how minibatches are counted, bad inputs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rule_loops import VARIANTS, proved, wide

from dualform.prove import Input, identical
from dualform.rules import delta, linear_attn, momentum, retention, titans, ttt
from dualform.rules.minibatch import Serving

T, K, V = 7, 3, 2
TOKENS = ((T, K), (T, K), (T, V))
FORMS = {"recurrent": {}, "parallel": {}, "chunked": {"chunk_size": 3}}
forms = pytest.mark.parametrize("form, more", FORMS.items(), ids=FORMS.keys())


# What they reduce to --------------------------------------------------------------------------------------------------


@forms
def test_ttt_with_minibatch_1_is_the_delta_rule(form, more):
    def one(q, k, v, beta, S):
        return delta.recurrent(q, k, v, beta=beta, initial_state=S)

    def other(q, k, v, beta, S):
        return getattr(ttt, form)(q, k, v, beta=beta, minibatch=1, initial_state=S, **more)

    proved(one, other, (*TOKENS, (T,), (V, K)), gradient=form == "chunked")


@forms
@pytest.mark.parametrize("minibatch", [T, 64])
def test_ttt_with_one_minibatch_from_zero_is_linear_attention(form, more, minibatch):
    def one(q, k, v, beta):
        return linear_attn.recurrent(q, k, beta[:, None] * v)

    def other(q, k, v, beta):
        return getattr(ttt, form)(q, k, v, beta=beta, minibatch=minibatch, **more)

    proved(one, other, (*TOKENS, (T,)))


@forms
@pytest.mark.parametrize("rule", momentum.LOSSES)
def test_momentum_0_is_the_rule_itself(form, more, rule):
    def one(q, k, v, beta, S, Z):
        if rule == "delta":
            return delta.recurrent(q, k, v, beta=beta, initial_state=S)
        return linear_attn.recurrent(q, k, beta[:, None] * v, initial_state=S)

    def other(q, k, v, beta, S, Z):
        o, state = getattr(momentum, form)(q, k, v, beta=beta, mu=0.0, rule=rule, initial_state=(S, Z), **more)
        return o, state.S

    proved(one, other, (*TOKENS, (T,), (V, K), (V, K)))


def test_the_velocity_is_retention():
    """The buffer of heavy ball is the state of a layer with decay mu: RetNet reads it, heavy ball sums it up."""

    def one(q, k, v, beta, g, Z):
        return retention.recurrent(q, k, beta[:, None] * v, g=g, initial_state=Z)[1]

    def other(q, k, v, beta, g, Z):
        return momentum.chunked(q, k, v, beta=beta, mu=jnp.exp(g), initial_state=(0 * Z, Z), chunk_size=3)[1].Z

    proved(one, other, (*TOKENS, (T,), Input((T,), "log", np.arange(T) == 3), (V, K)))


def test_constant_momentum_has_the_textbook_weights():
    """(M2): (1 - mu^(t-i+1)) / (1 - mu); and where that is 0/0, at mu = 1, the token's age, exactly."""
    age = np.arange(T)[:, None] - np.arange(T)[None, :] + 1

    def weights(mu):
        q, k, v = (jnp.ones(shape) for shape in TOKENS)
        return momentum.errors(q, k, v, beta=jnp.ones(T), mu=mu).weights

    def closed(mu):
        powers = jnp.stack([jnp.stack([mu ** max(int(a), 0) for a in row]) for row in age])
        return jnp.tril((1 - powers) / (1 - mu))

    proved(closed, weights, ((),))
    np.testing.assert_array_equal(weights(1), np.maximum(age, 0))
    np.testing.assert_array_equal(weights(0), np.tril(np.ones((T, T))))


@forms
@pytest.mark.parametrize("minibatch", [1, 3])
def test_titans_without_momentum_and_decay_is_ttt(form, more, minibatch):
    def one(q, k, v, beta, S, Z):
        return ttt.recurrent(q, k, v, beta=beta, minibatch=minibatch, initial_state=S)

    def other(q, k, v, beta, S, Z):
        still = {"mu": 0, "g": jnp.zeros(T), "minibatch": minibatch, "initial_state": (S, Z)}
        o, state = getattr(titans, form)(q, k, v, beta=beta, **still, **more)
        return o, state.S

    proved(one, other, (*TOKENS, (T,), (V, K), (V, K)))


def test_titans_without_decay_and_minibatch_is_momentum_on_the_delta_rule():
    def one(q, k, v, beta, mu, S, Z):
        return momentum.recurrent(q, k, v, beta=beta, mu=mu, rule="delta", initial_state=(S, Z))

    def other(q, k, v, beta, mu, S, Z):
        still = {"g": jnp.zeros(T), "minibatch": 1, "initial_state": (S, Z)}
        return titans.chunked(q, k, v, beta=beta, mu=mu, chunk_size=3, **still)

    proved(one, other, (*TOKENS, (T,), (T,), (V, K), (V, K)))


# Minibatches ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ttt", "ttt-norm", "titans"])
@pytest.mark.parametrize("minibatch, chunk_size", [(3, 1), (3, 2), (3, 5), (5, 3)])
def test_chunks_and_minibatches_need_not_fit(name, minibatch, chunk_size):
    rule = VARIANTS[name].having(minibatch=minibatch)
    proved(rule.program("recurrent"), rule.program("chunked", chunk_size=chunk_size), rule.inputs(T))


def test_many_segments_may_share_a_chunk():
    """With a layer norm, whose chunks are walked through minibatch by minibatch."""
    rule, ids = VARIANTS["ttt-norm"].having(minibatch=4), np.array([0, 1, 1, -1, 2, 3, 3], np.int32)
    packed = [rule.program(form, segment_ids=ids) for form in ("recurrent", "parallel", "chunked")]
    for f in packed[1:]:
        proved(packed[0], f, rule.inputs(T))


@pytest.mark.parametrize("name", ["ttt", "titans"])
def test_segment_ids_may_be_traced(name):
    rule, ids = VARIANTS[name], np.array([0, 0, 0, -1, 1, 1, 2], np.int32)
    arguments = rule.draw(T, seed=10, integers=True)
    traced = jax.jit(lambda ids: rule.program("chunked", chunk_size=3, segment_ids=ids)(*arguments))(ids)
    jax.tree.map(np.testing.assert_array_equal, traced, rule.loop(*wide(arguments), ids=ids))


def test_a_call_split_inside_a_minibatch_begins_a_new_one():
    def whole(q, k, v, beta):
        return ttt.recurrent(q, k, v, beta=beta, minibatch=2)[1]

    def split(q, k, v, beta):
        _, S = ttt.recurrent(q[:1], k[:1], v[:1], beta=beta[:1], minibatch=2)
        return ttt.recurrent(q[1:], k[1:], v[1:], beta=beta[1:], minibatch=2, initial_state=S)[1]

    assert identical(whole, split, (3, K), (3, K), (3, V), (3,)).equal is False


def test_serving_steps_may_be_scanned():
    """The serving state keeps its structure, so that it fits `lax.scan`."""
    rule = VARIANTS["titans"]
    q, k, v, gates, state = rule.draw(T, seed=11, integers=True)
    scale = gates.pop("scale")
    state = jax.tree.map(jnp.asarray, rule.make_state(*state))

    def token(serving, x):
        o, serving = titans.step(serving, *x[:3], scale=scale, minibatch=2, **x[3])
        return serving, o

    serving, o = jax.lax.scan(token, Serving(state, state.S, jnp.zeros((), jnp.int32)), (q, k, v, gates))
    expected = rule.loop(*wide((q, k, v, {**gates, "scale": scale}, state)))
    jax.tree.map(np.testing.assert_array_equal, (o, serving.state), expected)


def test_the_norm_is_that_of_its_formula():
    norm = ttt.LayerNorm(jnp.array([1.0, 2.0]), jnp.array([10.0, 20.0]), eps=0.0)
    np.testing.assert_array_equal(norm(jnp.array([[3.0, 1.0], [4.0, 8.0]])), [[11.0, 18.0], [9.0, 22.0]])


def test_the_pull_back_of_the_norm_is_its_gradient():
    def by_jax(weight, bias, eps, y, r):
        return jax.vjp(ttt.LayerNorm(weight, bias, eps), y)[1](r)[0]

    def by_hand(weight, bias, eps, y, r):
        return ttt.LayerNorm(weight, bias, eps).pull(y, r)

    proved(by_jax, by_hand, ((4,), (4,), (), (2, 4), (2, 4)))


# Bad inputs -----------------------------------------------------------------------------------------------------------


def tokens(**others):
    return {"q": jnp.ones((T, K)), "k": jnp.ones((T, K)), "v": jnp.ones((T, V)), "beta": jnp.ones(T), **others}


@pytest.mark.parametrize(
    "f, arguments, message",
    [
        (ttt.chunked, tokens(minibatch=0), "minibatch: got 0"),
        (ttt.chunked, tokens(minibatch=2.0), "minibatch: got 2.0, expected a Python integer"),
        (ttt.chunked, tokens(minibatch=2, beta=jnp.ones((T, 1))), r"beta: got shape \(7, 1\)"),
        (ttt.chunked, tokens(minibatch=2, norm=jnp.ones(V)), "norm: got a ArrayImpl, expected None or a LayerNorm"),
        (ttt.chunked, tokens(minibatch=2, norm=ttt.LayerNorm(jnp.ones(K), jnp.ones(V))), "norm.weight: got shape"),
        (ttt.chunked, tokens(minibatch=2, norm=ttt.LayerNorm(jnp.ones(V), jnp.ones(V), 0.0)), "norm.eps: got 0"),
        (momentum.chunked, tokens(mu=0.5, rule="sgd"), "rule: got 'sgd'"),
        (momentum.chunked, tokens(mu=jnp.ones(T + 1)), r"mu: got shape \(8,\)"),
        (momentum.chunked, tokens(mu=jnp.nan), "mu: got nan"),
        (momentum.chunked, tokens(mu=0.5, initial_state=jnp.ones((V, K))), r"initial_state: .* a pair \(S, Z\)"),
        (titans.chunked, tokens(mu=0.5, g=jnp.full(T, 0.5), minibatch=2), "g: got 0.5"),
        (titans.chunked, tokens(mu=0.5, g=jnp.zeros(T), minibatch=-1), "minibatch: got -1"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)  # fmt: skip
def test_bad_inputs_are_named(f, arguments, message):
    with pytest.raises(ValueError, match=message):
        f(**arguments)
