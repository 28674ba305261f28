"""What is true of the Hebbian rules and of mesa alone: what they reduce to, the feature map, the ridge, bad inputs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rule_loops import CONJUGATE, VARIANTS, proved, run, wide, within

from dualform.laws.checks import pullback
from dualform.prove import Input, rounding_bound
from dualform.rules import gla, linear_attn, mesa, normalized, retention

T, K, V = 7, 3, 2
TOKENS = ((T, K), (T, K), (T, V))
FORMS = {"recurrent": {}, "parallel": {}, "chunked": {"chunk_size": 3}}
forms = pytest.mark.parametrize("form, more", FORMS.items(), ids=FORMS.keys())


# What they reduce to --------------------------------------------------------------------------------------------------


@forms
def test_linear_attention_of_packed_sequences_is_retention_with_resets(form, more):
    ids = np.array([3, 3, 5, 5, 5, 8, 8], np.int32)
    g = np.where([False, False, True, False, False, True, False], -np.inf, 0).astype(np.float32)

    def packed(q, k, v, S):
        return getattr(linear_attn, form)(q, k, v, initial_state=S, segment_ids=ids, **more)

    def reset(q, k, v, S):
        return retention.recurrent(q, k, v, g=g, initial_state=S)

    proved(reset, packed, (*TOKENS, (V, K)))


@forms
def test_gla_with_equal_channels_is_retention(form, more):
    def scalar(q, k, v, g, S):
        return retention.recurrent(q, k, v, g=g, initial_state=S)

    def channels(q, k, v, g, S):
        g = jnp.broadcast_to(g[:, None], k.shape)
        return getattr(gla, form)(q, k, v, g=g, initial_state=S, **more)

    reset = np.arange(T) == 3
    proved(scalar, channels, (*TOKENS, Input((T,), "log", reset), (V, K)), gradient=form == "chunked")


def test_gla_without_decay_is_linear_attention():
    q, k, v, _, (S,) = VARIANTS["gla"].draw(T, seed=0, integers=True)
    got = gla.chunked(q, k, v, g=jnp.zeros((T, K)), initial_state=S, chunk_size=3)
    jax.tree.map(np.testing.assert_array_equal, got, linear_attn.recurrent(q, k, v, initial_state=S))


# The normaliser -------------------------------------------------------------------------------------------------------


@forms
def test_normalised_weights_sum_to_one(form, more):
    """Equal values come out as they went in, whatever the feature map, and whatever the queries and keys."""

    def f(q, k, c):
        return getattr(normalized, form)(q, k, jnp.broadcast_to(c, (T, V)), feature_map=jnp.tanh, **more)[0]

    proved(lambda q, k, c: jnp.broadcast_to(c, (T, V)), f, ((T, K), (T, K), (1, V)))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_features_do_not_cancel(dtype):
    """elu(x) + 1 would be exactly 0 here in bfloat16; its derivative is 1 above zero and itself below."""
    x = jnp.array([-80.0, -8.0, -1e-3, 0.0, 3.0], dtype)
    phi, slope = jax.jvp(normalized.elu_plus_one, (x,), (jnp.ones_like(x),))
    exact = np.asarray(x, np.float64)
    unit = float(jnp.finfo(dtype).eps) / 2
    expected = np.where(exact >= 0, exact + 1, np.exp(exact))
    assert (np.abs(np.asarray(phi, np.float64) - expected) <= 4 * unit * expected).all()  # exp: 3 units, and a rounding
    np.testing.assert_array_equal(slope, np.where(exact >= 0, 1, np.asarray(phi)))


def test_a_query_far_below_zero_does_not_underflow():
    """All features of the query are 0 in float32 (from -104 on); the output, a ratio, is an ordinary number."""
    q = np.array([[-200.0, -203.0, -201.0]] * 2, np.float32)
    k, v = np.array([[0.0, 1.0, -1.0], [2.0, 0.0, 1.0]], np.float32), np.array([[1.0], [3.0]], np.float32)
    features = np.where(k >= 0, k + 1, np.exp(np.minimum(k, 0.0, dtype=np.float64)))
    weights = features @ np.exp(q[0].astype(np.float64) + 200)
    expected = np.array([[1.0], [(weights[0] + 3 * weights[1]) / weights.sum()]])
    f = lambda *a: normalized.chunked(*a)[0]  # noqa: E731
    _, bound = rounding_bound(f, q, k, v)
    within(f(q, k, v), expected, bound)


def test_nothing_to_read_is_zero_with_zero_gradient():
    relu = {"feature_map": lambda x: jnp.maximum(x, 0)}
    q, k, v = -jnp.ones((2, K)), jnp.ones((2, K)), jnp.ones((2, V))
    for form in ("recurrent", "chunked"):

        def value_and_gradient(*a, form=form):
            o, pull = jax.vjp(lambda *b: getattr(normalized, form)(*b, **relu)[0], *a)
            return o, pull(jnp.ones_like(o))

        for x in jax.tree.leaves(run(value_and_gradient, (q, k, v))):
            np.testing.assert_array_equal(x, 0)


def test_features_may_be_wider_than_keys():
    def f(form, **more):
        squares = lambda x: jnp.concatenate([x * x, x], axis=1)  # noqa: E731
        return lambda q, k, v, S, z: getattr(normalized, form)(
            q, k, v, feature_map=squares, initial_state=(S, z), **more
        )

    inputs = (*TOKENS, (V, 2 * K), (2 * K,))
    proved(f("recurrent"), f("chunked", chunk_size=3), inputs)


# The ridge ------------------------------------------------------------------------------------------------------------


def test_mesa_is_where_the_gradient_of_its_objective_vanishes():
    """(Z1): the layer, read with unit queries after the tokens, is a zero of `jax.grad` of the objective."""
    n, K = 4, 2

    def objective(W, k, v, beta, g, lam):
        total = 0.5 * jnp.sum(lam * jnp.sum(W * W, axis=0))
        for i in range(n):
            weight = beta[i] * jnp.exp(sum((g[s] for s in range(i + 1, n)), jnp.zeros(())))
            total = total + 0.5 * weight * jnp.sum((W @ k[i] - v[i]) ** 2)
        return total

    def gradient(k, v, beta, g, lam):
        ended = [jnp.concatenate([x, jnp.zeros((K, *x.shape[1:]))]) for x in (k, v, beta, g)]
        q = jnp.concatenate([jnp.zeros((n, K)), jnp.eye(K)])
        k_, v_, beta_, g_ = ended
        o, _ = mesa.chunked(q, k_, v_, beta=beta_, g=g_, lam=lam, chunk_size=4)
        return jax.grad(objective)(o[n:].T, k, v, beta, g, lam)

    inputs = ((n, K), (n, V), (n,), Input((n,), "log"), (K,))
    proved(lambda *a: jnp.zeros((V, K)), gradient, inputs)


def test_conjugate_gradients_need_as_many_iterations_as_eigenvalues():
    """Parallel keys and one ridge: H + lam I has two eigenvalues, whatever K."""
    n, K = 3, 4
    tokens = {"beta": (n,), "lam": ()}

    def f(q, size, direction, v, gates, **more):
        k = size[:, None] * direction[None]
        return mesa.chunked(q, k, v, g=jnp.zeros(n), chunk_size=n, **gates, **more)[0]

    def two(*a):
        return f(*a, solver="cg", iterations=2)

    proved(f, two, ((n, K), (n,), (K,), (n, V), tokens))


def test_conjugate_gradients_in_float64_are_as_good_as_elimination_in_float32():
    """At padding, at a padded last chunk, after resets; values, and gradients by one more solve."""
    rule = CONJUGATE.having(iterations=4)
    q, k, v, gates, state = rule.draw(T, seed=8)
    gates["g"] = np.array([-np.inf, -0.1, -100, 0, -np.inf, -np.inf, -0.2], np.float32)
    gates["beta"][[1, 5]] = 0, 2
    k[3] = k[2]
    arguments, ids = (q, k, v, gates, state), np.array([0, 0, 0, -1, 0, 2, 2], np.int32)
    elimination = VARIANTS["mesa"].program("chunked", chunk_size=3, segment_ids=ids)
    shapes = jax.eval_shape(elimination, *arguments)
    cotangent = jax.tree.map(lambda x: np.random.default_rng(9).standard_normal(x.shape).astype(np.float32), shapes)
    _, bound = rounding_bound(elimination, *arguments)
    _, bound_of_gradient = rounding_bound(pullback(elimination), arguments, cotangent)
    with jax.enable_x64():
        exact, ct = (jax.tree.map(jnp.asarray, wide(x)) for x in (arguments, cotangent))
        f = rule.program("chunked", chunk_size=3, segment_ids=ids)
        within(run(f, exact), rule.loop(*wide(arguments), ids=ids), bound)
        gradients = [run(pullback(g), (exact, ct)) for g in (f, elimination)]
        within(*gradients, bound_of_gradient, margin=None)


# Bad inputs -----------------------------------------------------------------------------------------------------------


def tokens(**others):
    return {"q": jnp.ones((T, K)), "k": jnp.ones((T, K)), "v": jnp.ones((T, V)), **others}


MESA = {"beta": jnp.ones(T), "g": jnp.zeros(T), "lam": 1.0}


@pytest.mark.parametrize(
    "f, arguments, message",
    [
        (linear_attn.chunked, tokens(chunk_size=0), "chunk_size: got 0"),
        (linear_attn.recurrent, tokens(v=jnp.ones((T + 1, V))), r"v: got shape \(8, 2\)"),
        (linear_attn.recurrent, tokens(q=jnp.ones((T, K), int)), "q: got dtype int32"),
        (linear_attn.recurrent, tokens(k=jnp.ones((T, K), jnp.bfloat16)), "expected one dtype"),
        (linear_attn.recurrent, tokens(k=jnp.ones((T, 0)), q=jnp.ones((T, 0))), "at least one feature"),
        (linear_attn.parallel, tokens(initial_state=jnp.ones((K, V))), "initial_state: .* transposed"),
        (linear_attn.parallel, tokens(segment_ids=jnp.array([0, 1, 0, 1, 1, 1, 1])), "segment_ids: .* decrease"),
        (linear_attn.parallel, tokens(v=jnp.full((T, V), jnp.nan)), "v: got nan"),
        (gla.chunked, tokens(g=jnp.ones((T, K))), "g: got 1, expected log decays of at most 0"),
        (gla.chunked, tokens(g=jnp.full((T, K), jnp.nan)), "g: got nan"),
        (gla.chunked, tokens(g=jnp.zeros(T)), r"g: got shape \(7,\)"),
        (normalized.recurrent, tokens(feature_map="relu"), "feature_map: got 'relu'"),
        (normalized.recurrent, tokens(feature_map=jnp.sum), "feature_map: got features of shape"),
        (normalized.recurrent, tokens(initial_state=jnp.ones((V, K))), r"initial_state: .* a pair \(S, z\)"),
        (normalized.recurrent, tokens(initial_state=(jnp.ones((V, K)), jnp.ones(V))), "initial_state.z: got shape"),
        (mesa.chunked, tokens(**MESA | {"lam": 0.0}), "lam: got 0, expected values above 0"),
        (mesa.chunked, tokens(**MESA | {"lam": -jnp.ones(K)}), "lam: got -1"),
        (mesa.chunked, tokens(**MESA | {"lam": jnp.ones(K + 1)}), r"lam: got shape \(4,\)"),
        (mesa.chunked, tokens(**MESA | {"beta": -jnp.ones(T)}), "beta: got -1, expected values of at least 0"),
        (mesa.chunked, tokens(**MESA, solver="lu"), "solver: got 'lu'"),
        (mesa.chunked, tokens(**MESA, solver="cg", iterations=0), "iterations: got 0"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_bad_inputs_are_named(f, arguments, message):
    with pytest.raises(ValueError, match=message):
        f(**arguments)
